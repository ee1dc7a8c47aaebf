/*
 * Kick-off requests: header fields and query in, what to export or the problem to answer out. The checks run
 * in the order of docs/api.md section 3, and the first that fails answers: Accept, Prefer, group, _type,
 * _since, _outputFormat, unsupported parameters.
 *
 * Threading: pure functions.
 */
#ifndef SERVER_KICKOFF_H
#define SERVER_KICKOFF_H

#include "codec/base/arena.h"
#include "server/router.h"
#include "storage/jobs.h"

/* Data loaded before this day carries an arbitrary date, so a _since before it selects everything. */
#define KICKOFF_SINCE_MIN_US INT64_C(1581465600000000) /* 2020-02-12T00:00:00Z */

#define KICKOFF_PROBLEM_MAX 200

struct kickoff_input {
    const struct slice *accept; /* NULL: the request has no such field */
    const struct slice *prefer;
    const struct slice *group; /* NULL: the Patient endpoint */
    struct slice query;        /* still encoded */
    int64_t newest_us;         /* a _since later than this lies in the future */
};

struct kickoff {
    char endpoint[JOB_ENDPOINT_MAX + 1];
    enum resource_type types[RESOURCE_TYPE_COUNT]; /* in the order of the request */
    size_t type_count;
    int64_t since_us; /* INSTANT_MIN_US: everything */
    bool separates_new;
    bool partial_manifests;
    struct slice warnings; /* names of parameters ignored under handling=lenient, one a line */
};

struct kickoff_problem {
    unsigned http_status;
    const char *issue_code;
    enum problem_class class;
    char text[KICKOFF_PROBLEM_MAX];
};

/* The texts of problems that are also found later, inside the kick-off's transaction. */
#define KICKOFF_TEXT_FUTURE                                                                                  \
    "Invalid date format supplied in _since parameter. Date must be a date that has already passed"

/* True with *ret_kickoff filled in (its slices live in the arena), or false with the problem. */
bool kickoff_parse(const struct kickoff_input *input, struct arena *arena, struct kickoff *ret_kickoff,
                   struct kickoff_problem *ret_problem);

/* What a parameter of that name is told: the text of the 400, and of the warning under handling=lenient. The
 * name is bounded and made printable. */
void kickoff_unsupported_text(struct slice name, char text[KICKOFF_PROBLEM_MAX]);

#endif
