/*
 * What a store must answer, said as plainly as can be: the oracle of tests/unit/server/model_test.c.
 *
 * The model is a few small arrays that are walked from begin to end. It knows nothing of segments, keys,
 * sequences, homes or versions, and uses nothing of the code that it judges: it follows the words of
 * docs/decisions/time.md and of the headers of storage. It has no history but one: intervals of attribution,
 * which _since asks for. An export's answer is written down whole at its kick-off.
 *
 * Everybody is a number here: ACOs, beneficiaries, MBIs, and the resources of each type. Patient n is
 * beneficiary n's.
 *
 * Threading: one thread.
 */
#ifndef TESTS_SUPPORT_MODEL_H
#define TESTS_SUPPORT_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_ACOS            3
#define MODEL_BENEFICIARIES   12
#define MODEL_MBIS            16
#define MODEL_NUMBERS         60 /* of a type */
#define MODEL_CONTENT_MAX     700
#define MODEL_ROSTERS_MAX     256 /* of an ACO */
#define MODEL_INTERVALS_MAX   256 /* of an ACO and a beneficiary */
#define MODEL_PREFERENCES_MAX 256 /* of an MBI */
#define MODEL_ITEMS_MAX       (2 * MODEL_NUMBERS + MODEL_BENEFICIARIES)

enum model_type { MODEL_EOB, MODEL_COVERAGE, MODEL_PATIENT, MODEL_TYPES };

#define MODEL_NEVER   INT64_MIN
#define MODEL_FOREVER INT64_MAX

/* An instant that only the store knows: later than `after`, and `until` at the latest. Tests ask nothing
 * whose answer would depend on where in between it lies. */
struct moment {
    int64_t after, until;
};
struct moment moment_exactly(int64_t us);
bool moment_is_exact(const struct moment *moment);
/* Fails where that cannot be known. */
bool moment_is_later(const struct moment *moment, int64_t us);
/* True if moment_is_later would fail. */
bool moment_hides(const struct moment *moment, int64_t us);

/* One resource as it was accepted once. */
struct model_version {
    enum model_type type;
    int number;
    int owner;                       /* its beneficiary */
    char content[MODEL_CONTENT_MAX]; /* all but meta */
    struct moment source;            /* the time by which it is judged against others */
    struct moment stamp;             /* what it is exported under */
};

/* What is known of a resource that was deleted, and does not stand again. */
struct model_tombstone {
    bool exists;
    int owner; /* -1: it never stood here, and nobody is told */
    struct moment source, stamp;
};

struct model_interval {
    struct moment start, end; /* end excluded; MODEL_FOREVER while it lasts */
};

struct model_attribution { /* of a beneficiary to an ACO */
    bool direct;           /* by import --aco */
    struct moment direct_since;
    bool exportable;
    struct model_interval intervals[MODEL_INTERVALS_MAX];
    int interval_count;
};

struct model_beneficiary {
    int mbis[MODEL_MBIS]; /* those it carries now, the current ones first */
    int mbi_count;
    int64_t lost; /* newest transactionTime of an ACO that lost it, as of then */
    struct model_attribution of[MODEL_ACOS];
};

struct model_preference {
    int64_t at; /* the begin of its day */
    bool opts_out;
};

struct model_mbi {
    int carrier; /* the beneficiary whose Patient carries it; -1: nobody */
    struct model_preference preferences[MODEL_PREFERENCES_MAX];
    int preference_count;
    /* As was found when it was looked at last, which is when one came, or when time had changed the answer.
     */
    bool suppressed;
    struct moment lifted; /* since when it is not; of one that never was: MODEL_NEVER */
    int64_t due;          /* when time may change the answer; MODEL_FOREVER */
};

struct model_roster {
    int64_t at;
    int name;
};

struct model_aco {
    int64_t given;           /* newest transactionTime */
    bool listed[MODEL_MBIS]; /* by its newest roster */
    struct moment listed_since[MODEL_MBIS];
    struct model_roster rosters[MODEL_ROSTERS_MAX];
    int roster_count;
};

struct model {
    struct model_aco acos[MODEL_ACOS];
    struct model_beneficiary beneficiaries[MODEL_BENEFICIARIES];
    struct model_mbi mbis[MODEL_MBIS];
    bool linked[MODEL_MBIS][MODEL_MBIS]; /* both ways: one person's, as a roster told */
    int lookback_days;                   /* 0: none */
    bool lookback_changed;
    int newest[MODEL_TYPES][MODEL_NUMBERS]; /* index of the version that stands; -1: none */
    struct model_tombstone tombstones[MODEL_TYPES][MODEL_NUMBERS];
    struct model_version *versions; /* all there ever were; owned */
    int version_count;
};

void model_init(struct model *model);
void model_release(struct model *model);

/* ---- what changes it ---- */

struct model_line {
    enum model_type type;
    int number;
    int beneficiary; /* of a deletion: model_find_owners */
    bool deletes;    /* then without content; without a time: now */
    char content[MODEL_CONTENT_MAX];
    bool has_time;
    int64_t time;
    int mbis[MODEL_MBIS]; /* of a Patient; in its order */
    int mbi_count;
};

struct model_counts {
    unsigned added, replaced, identical, late, refused, stamped, undated, future, deleted, deleted_unknown;
};

/* Whose the resources are that an import's lines delete: as is known, else as its other lines say; -1:
 * nobody's. */
void model_find_owners(const struct model *model, struct model_line *lines, int count);

/* The time by which what stands, or was deleted, is judged against what comes; NULL: neither. */
const struct moment *model_source(const struct model *model, enum model_type type, int number);

/* Lines of one import, or of one beneficiary and type. `aco` -1: without --aco. `now`: no line's time lies
 * between it and the import's own clock. `span`: in which its write requests' instants lie; what is stamped
 * may have been so from `packed_after` on, which is not later. */
void model_import(struct model *model, int aco, const struct model_line *lines, int count, int64_t now,
                  struct moment span, int64_t packed_after, struct model_counts *ret_counts);

enum model_verdict { MODEL_ACCEPTED, MODEL_REPEATED, MODEL_DIFFERENT, MODEL_OUTDATED, MODEL_AHEAD };
/* `now` as above. */
struct model_link {
    int mbi, other;
};
enum model_verdict model_roster(struct model *model, int aco, int name, int64_t at,
                                const struct model_link *links, int link_count, const bool listed[MODEL_MBIS],
                                int64_t now, struct moment span);

/* Preferences of one MBI. `now` as above. */
void model_prefer(struct model *model, int mbi, const struct model_preference *preferences, int count,
                  int64_t now, struct moment span);
/* It takes effect with the next model_settle. */
void model_set_lookback(struct model *model, int days);
/* Lets opt-outs follow the time. */
void model_settle(struct model *model, int64_t now, struct moment span);

/* A store that was brought back may have given transactionTimes until now. */
void model_restored(struct model *model, int64_t now);

/* Settles, too. */
void model_kick_off(struct model *model, int aco, int64_t transaction_time);

/* ---- what it answers ---- */

enum model_set { MODEL_ALL, MODEL_EXISTING, MODEL_NEW };

struct model_request {
    int aco;
    int64_t since; /* MODEL_NEVER: everything */
    bool separates;
    enum model_type types[MODEL_TYPES];
    int type_count;
};

struct model_item {
    enum model_set set;
    int version;
};

struct model_deletion {
    enum model_type type;
    int number;
    int owner;
    struct moment stamp;
};

struct model_answer {
    struct model_item items[MODEL_ITEMS_MAX];
    int count;
    struct model_deletion deletions[MODEL_ITEMS_MAX];
    int deletion_count;
    bool exportable[MODEL_BENEFICIARIES];
    bool existing[MODEL_BENEFICIARIES]; /* exportable, and was at _since */
};
void model_answer(const struct model *model, const struct model_request *request,
                  struct model_answer *ret_answer);

/* If something hides the answer for this _since: true, and an instant nearby that is better. */
bool model_hides(const struct model *model, int64_t us, int64_t *ret_better);

#endif
