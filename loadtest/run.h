/*
 * One run of a load test: the sessions (one a credential), what they do, and when.
 *
 * A *session* is an ACO's client: it has a token and renews it, and at most one export at a time. *Timers*
 * say what is done when. A scenario (scenario.h) begins work at its pace; what is begun calls back into
 * `measure`.
 *
 * Threading: one thread.
 */
#ifndef LOADTEST_RUN_H
#define LOADTEST_RUN_H

#include "codec/base/arena.h"
#include "loadtest/client.h"
#include "loadtest/credentials.h"
#include "loadtest/options.h"

struct run;

typedef void run_callback(void *context);

/* What all exports of one ACO must have in common while the store does not change. */
struct run_content {
    bool known;
    uint64_t count, bytes, sum;
};

struct session {
    struct run *run;
    const struct credential *credential;
    char *user_password, *token; /* owned; token NULL: none yet */
    bool asks_for_token;
    int64_t token_asked_us, renew_us;
    bool exports;  /* an export runs */
    char *job_url; /* a Completed job that a scenario keeps; owned */
    struct run_content content;
};

struct run_timer {
    int64_t at_us;
    run_callback *fire;
    void *context;
};

struct run {
    const struct options *options;
    struct client *client;
    struct measure measure;
    struct arena arena;
    struct session *sessions;
    size_t session_count;
    size_t job_count;     /* the first so many sessions have a Completed job to look at */
    struct buffer timers; /* struct run_timer; a heap, the next one first */
    uint64_t random;
    int64_t begin_us, end_us; /* when work is begun; monotonic */
    size_t exports_running;
};

NODISCARD enum status run_open(struct run *run, const struct options *options, struct error *error);
void run_close(struct run *run);

/* Calls `fire` at that time or soon after. */
void run_at(struct run *run, int64_t at_us, run_callback *fire, void *context);
uint64_t run_random(struct run *run, uint64_t bound); /* below bound */

/* Gets every session's token; STATUS_DENIED if one is refused. */
NODISCARD enum status run_log_in(struct run *run, struct error *error);
/* Goes on until `until_us`, or, with `done`, until that says so. */
NODISCARD enum status run_until(struct run *run, int64_t until_us, bool (*done)(struct run *run),
                                struct error *error);

/* A GET with the session's token that is measured as `kind`; anything but `expected` is a failure. */
void run_get(struct session *session, enum measure_kind kind, const char *url, long expected,
             int64_t intended_us);
/* POST /auth/token, measured. */
void run_get_token(struct session *session, int64_t intended_us);

/* A failed reply's place in the measure. */
void run_note_failure(struct run *run, enum measure_kind kind, const struct client_reply *reply,
                      const char *what);

#endif
