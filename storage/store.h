/*
 * The store: one data directory (DIR), its engine, its format version, its clock and its sequence.
 *
 *   DIR/store.mdb (+ lock)  the engine's file          DIR/lock          held by the one process that writes
 *   DIR/keys/               signing keys (0600)        DIR/control.sock  the writer's socket, with sluiced
 *   DIR/jobs/<id>/          files of exports
 *
 * Time. Every write request has a sequence number and an instant of its own; both only grow, whatever the
 * machine's clock does. Stored things are versions: born at one sequence, superseded at another. Whoever
 * reads "at sequence s" sees what was born at s or before and not superseded at s or before.
 *
 * Threading: a store is shared by all threads. Reading is by short engine transactions; writing only by
 * storage/writer.h.
 */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include "storage/engine.h"
#include "storage/keys.h"

#define STORE_FORMAT_VERSION 3
#define SEQUENCE_NEVER       UINT64_C(0) /* as a death: not superseded */

enum store_access {
    STORE_ACCESS_READ, /* beside whoever writes */
    STORE_ACCESS_WRITE /* takes DIR/lock; STATUS_BUSY if another process holds it */
};

struct store_options {
    uint64_t map_bytes; /* 0: 1 TiB */
};

struct store;

/* Makes DIR (0700) with an empty store. STATUS_EXISTS if DIR exists and is not empty. After a failure all is
 * as it was. */
NODISCARD enum status store_create(const char *dir, const struct store_options *options, struct error *error);
/* STATUS_NOT_FOUND if DIR holds no store; STATUS_UNSUPPORTED for another format version. */
NODISCARD enum status store_open(const char *dir, enum store_access access,
                                 const struct store_options *options, struct store **ret_store,
                                 struct error *error);
void store_close(struct store *store); /* NULL is allowed */

const char *store_dir(const struct store *store);
struct engine *store_engine(struct store *store);

/* The state of the clock as of a transaction. */
struct store_clock {
    uint64_t sequence;  /* of the newest write request */
    int64_t instant_us; /* its instant */
};
NODISCARD enum status store_clock_read(struct engine_txn *txn, struct store_clock *ret_clock,
                                       struct error *error);

/* A counter that grows with each change of ACOs and credentials: token caches follow it. Published by the
 * writer after commit; an atomic load. Only meaningful in the process that writes. */
uint64_t store_accounts_generation(const struct store *store);

/* What a write request's apply function works with. */
struct store_write {
    struct store *store;
    struct engine_txn *txn;
    uint64_t sequence;     /* of this request */
    int64_t instant_us;    /* of this request: later than every earlier one's */
    bool accounts_changed; /* set by whoever changes ACOs or credentials */
    /* What job_oldest_sequence gives within this request; 0: not known. A roster and a batch of deltas ask
     * for it again and again, and it is a walk over all active jobs. */
    uint64_t oldest_sequence;
};

/* The smallest number from a named counter in TABLE_META, from 1, never given twice. */
NODISCARD enum status store_counter_next(struct store_write *write, const char *name, uint64_t *ret_value,
                                         struct error *error);

/* Leaves out the numbers up to the next multiple of `step`. */
NODISCARD enum status store_counter_skip(struct store_write *write, const char *name, uint64_t step,
                                         struct error *error);

/* Used by writer.c alone. */
NODISCARD enum status store_clock_write(struct engine_txn *txn, const struct store_clock *clock,
                                        struct error *error);
void store_publish_accounts(struct store *store);

#endif
