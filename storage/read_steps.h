/*
 * Long walks in short read transactions. A reader that stays open keeps LMDB from reusing pages, so whoever
 * walks the whole store ends his transaction when a step is over, hands on what he found, and goes on in a
 * fresh one. What the walk may then say of things that change meanwhile is its own matter: the usual way is
 * to look at all that belongs together (a beneficiary, a job) within one step.
 *
 *     read_steps_init(&steps, engine);
 *     for each thing:
 *         read_steps_begin(&steps, &error)       begins a transaction if none is open
 *         ... reads with steps.txn ...
 *         read_steps_rest(&steps)                ends it if the step has lasted long enough
 *     read_steps_end(&steps);
 *
 * Nobody writes to a pipe, a file or a client within a step.
 *
 * Threading: one thread.
 */
#ifndef STORAGE_READ_STEPS_H
#define STORAGE_READ_STEPS_H

#include "codec/base/clock.h"
#include "storage/engine.h"

#define READ_STEP_US (US_PER_SECOND / 20)

struct read_steps {
    struct engine *engine;
    struct engine_txn *txn; /* NULL between steps */
    int64_t deadline_us;
};

static inline void read_steps_init(struct read_steps *steps, struct engine *engine)
{
    *steps = (struct read_steps){.engine = engine};
}

NODISCARD static inline enum status read_steps_begin(struct read_steps *steps, struct error *error)
{
    if (steps->txn)
        return STATUS_OK;
    steps->deadline_us = clock_monotonic_us() + READ_STEP_US;
    return engine_begin_read(steps->engine, &steps->txn, error);
}

static inline bool read_steps_are_due(const struct read_steps *steps)
{
    return clock_monotonic_us() >= steps->deadline_us;
}

/* Closes the transaction's cursors too. */
static inline void read_steps_end(struct read_steps *steps)
{
    engine_end(steps->txn);
    steps->txn = NULL;
}

static inline void read_steps_rest(struct read_steps *steps)
{
    if (steps->txn && read_steps_are_due(steps))
        read_steps_end(steps);
}

#endif
