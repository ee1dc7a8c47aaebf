/*
 * Statistics: what the store holds, per ACO and resource type. From summaries, so it costs a walk over the
 * beneficiaries and not over the data.
 *
 * It walks in steps (read_steps.h): each beneficiary is counted once, as it is when it is read. What cannot
 * be read costs only itself.
 *
 * Threading: one thread.
 */
#ifndef STORAGE_STATISTICS_H
#define STORAGE_STATISTICS_H

#include "storage/accounts.h"
#include "storage/read_steps.h"
#include "storage/resources.h"

struct statistics_row {
    uint64_t beneficiaries; /* exportable ones that have resources of this type */
    uint64_t resources, segments, raw_bytes, stored_bytes;
    int64_t newest_us; /* INT64_MIN: none */
};

struct statistics {
    uint64_t beneficiaries; /* exportable */
    uint64_t unreadable;    /* those that are damaged, and not counted */
    struct statistics_row of[RESOURCE_TYPE_COUNT];
};

/* What the ACO may export now. aco 0: everything stored, attributed or not. */
NODISCARD enum status statistics_read(struct read_steps *steps, uint32_t aco,
                                      struct statistics *ret_statistics, struct error *error);

#endif
