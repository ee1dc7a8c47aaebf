/*
 * A store and everything that the model test (tests/unit/server/model_test.c) does with it and knows of it:
 * the naive model, the jobs with the answers that they must give, a client for each ACO, the clock.
 *
 * Every operation draws what it does from a seed, the model, and the clock. An operation may run in a process
 * that is killed: then the test's own process does it once more with what the other acknowledged (`acked`),
 * in the model alone; or, if it was not acknowledged, again (`repeats`), as whoever got no answer does.
 *
 * What is wrong ends the process with a message.
 *
 * Threading: one thread.
 */
#ifndef TESTS_SUPPORT_WORLD_H
#define TESTS_SUPPORT_WORLD_H

#include "codec/base/buffer.h"
#include "codec/base/clock.h"
#include "server/export_run.h"
#include "storage/control.h"
#include "storage/packer.h"
#include "tests/support/model.h"
#include "tests/support/store_fixture.h"

#include <inttypes.h>

#define OPERATIONS_MAX       220 /* of an episode */
#define CRASH_OPERATIONS_MAX 8
#define LINES_MAX            10
#define LINE_BYTES_MAX       (MODEL_CONTENT_MAX + 300)
#define WORLD_MAP_BYTES      (UINT64_C(256) * 1024 * 1024)
#define WORLD_KEEP_US        (INT64_C(100) * 365 * 86400 * 1000000) /* files stay */
#define DAY_US               INT64_C(86400000000)
#define LONG_AGO_US          INT64_C(1609459200000000) /* 2021-01-01 */

extern const char *const aco_ids[MODEL_ACOS];
extern const char *const beneficiary_ids[MODEL_BENEFICIARIES]; /* in the order of their bytes */
extern const char *const mbi_texts[MODEL_MBIS];                /* likewise */

/* ---- operations ---- */

enum operation_kind {
    OPERATION_IMPORT,
    OPERATION_PACK, /* packs and keeps the delta */
    OPERATION_SEND, /* brings it to the writer, who may find it stale */
    OPERATION_ROSTER,
    OPERATION_KICK_OFF,
    OPERATION_CLIENT, /* of the loop: kicks off, or lets its export finish */
    OPERATION_STEP,   /* a few slices of an active export */
    OPERATION_FINISH,
    OPERATION_CANCEL,
    OPERATION_COLLECT,
    OPERATION_CLOCK,
    OPERATION_REOPEN,
    OPERATION_CRASH, /* a few others in a process that is killed meanwhile */
    OPERATION_VERIFY,
    OPERATION_MOVE, /* some beneficiaries to new homes, or a part of one */
    OPERATION_COMPACT,
    OPERATION_OPT_OUT,
    OPERATION_RESTORE, /* goes on with a copy, as after a restore */
    OPERATION_MERGE,   /* packs one beneficiary's compaction; sent with OPERATION_SEND */
    OPERATION_KIND_COUNT
};

struct operation {
    enum operation_kind kind;
    uint64_t seed;
};

extern const char *const operation_names[OPERATION_KIND_COUNT];
/* `in_crash`: one that may run in a process that is killed. */
enum operation_kind operation_choose_kind(uint64_t *random, bool in_crash);

/* ---- what there is ---- */

#define ENDPOINTS 4
#define JOBS_MAX  (OPERATIONS_MAX * 2 * (CRASH_OPERATIONS_MAX + 1))

struct tracked_job {
    uint64_t id;
    int endpoint; /* -1: the twin's */
    struct model_request request;
    int64_t transaction_time;
    struct model_answer answer, full; /* full: without _since */
    uint64_t twin_hash;               /* of the bytes of an export of the same view; 0: there is none */
    bool ended;
    struct export_run *run;
    uint64_t random;
};

/* A client that keeps the newest line of each resource that it was sent. */
struct held {
    char *line; /* NULL or empty: nothing */
    int beneficiary;
    int64_t deleted; /* the stamp of the last deletion that it was told of */
};
struct client {
    int64_t since;
    struct held held[MODEL_TYPES][MODEL_NUMBERS];
};

struct load {
    struct model_line lines[LINES_MAX];
    int count;
    int aco;
    int64_t now;
};

struct pending { /* a delta on its way */
    bool exists;
    bool merges; /* by the compactor: the model knows nothing of it */
    struct load load;
    int64_t after;
    struct buffer encoding;
};

#define ENDED_MAX (MODEL_ACOS * ENDPOINTS + 1)

/* What an operation did that cannot be worked out again. */
struct ack {
    int64_t instant, fake_now;
    struct {
        uint64_t id, hash;
        int64_t transaction_time, twin_time;
    } kicked;
    uint64_t ended[ENDED_MAX]; /* jobs; 0: no more */
};

struct world {
    const char *root;
    char dir[STORE_FIXTURE_PATH_MAX + 8];
    struct store *store;
    struct writer *writer;
    struct link *link;
    struct service service;
    struct exports_options options;
    struct packer *packer;
    struct model model;
    int64_t instant; /* of the newest write request, as far as we looked */
    uint32_t numbers[MODEL_ACOS];
    struct tracked_job *jobs[JOBS_MAX];
    size_t job_count;
    struct client clients[MODEL_ACOS];
    struct load last_load;
    struct pending pending;
    int next_roster, next_file;
    size_t step;
    const char *doing;
    bool traces;
    uint64_t done[OPERATION_KIND_COUNT], compared;

    /* Of an operation that is done again after a crash, or was done by a process that died. */
    bool repeats;
    const struct ack *acked;
    struct ack ack;
};

/* The clock of the process (codec/base/clock.h), which model_test.c puts in the place of the true one. */
extern int64_t fake_now_us;
extern int64_t fake_tick_us; /* by which each look moves it */

/* Opens the store in world->dir and starts its writer; stops and closes both. */
void world_open(struct world *world);
void world_close(struct world *world);

void world_fail(const struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void world_trace(const struct world *world, const char *format, ...) PRINTF_LIKE(2, 3);
void world_expect_ok(const struct world *world, enum status status, const struct error *error);

struct engine_txn *world_read(struct world *world);
/* Takes the newest instant of the store into world->ack. */
void world_look_at_clock(struct world *world);
/* From `after` to the newest instant: those of an operation that is done. Every operation asks at its end. */
struct moment world_span(struct world *world, int64_t after);
/* What no later write request's instant, nor a packer's clock, can be earlier than. */
int64_t world_now(const struct world *world);

/* Collects what is superseded; what stays though no job is active is wrong. */
void world_collect(struct world *world, size_t limit);
void world_expect_nothing_superseded(struct world *world);

/* Closes what runs a job. */
void job_stop(struct tracked_job *job);

unsigned draw_below(uint64_t *random, unsigned bound);
bool draw_one_in(uint64_t *random, unsigned bound);

#endif
