/*
 * Verify: walks the whole store and lists what is wrong: checksums, keys, order, segments against their
 * tables, indexes against the data. Works beside a live server, in short read transactions: a record and what
 * it refers to are looked at in one of them. Totals are compared only if nothing was written meanwhile.
 *
 * Threading: one thread.
 */
#ifndef STORAGE_VERIFY_H
#define STORAGE_VERIFY_H

#include "storage/store.h"

struct verify_counts {
    uint64_t records; /* key and value pairs read */
    uint64_t segments, resources;
    uint64_t raw_bytes; /* inflated and checked */
    uint64_t beneficiaries;
    uint64_t faults;
};

struct verify_options {
    void *context;
    int64_t step_us; /* how long one read transaction may live, but for one record; 0: READ_STEP_US */
    /* One fault: where (table and key as text) and what. No transaction is open, here and in progress. */
    void (*fault)(void *context, const char *where, const char *what);
    /* Now and then; may be NULL. */
    void (*progress)(void *context, const struct verify_counts *counts);
};

/* STATUS_OK also if there are faults: see the counts. */
NODISCARD enum status verify_run(struct store *store, const struct verify_options *options,
                                 struct verify_counts *ret_counts, struct error *error);

#endif
