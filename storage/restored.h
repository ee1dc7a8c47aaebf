/*
 * What a store that was brought back from a backup must be told, before anybody uses it.
 *
 * It is older than what clients saw: the lost store may have given transactionTimes up to now. So each ACO
 * notes this request's instant as one that was given. Whatever is imported or attributed from now on is then
 * stamped later than that (docs/decisions/time.md), and a client that asks `_since` a time of the lost store
 * misses nothing of it. What it has already may come again.
 *
 * Job ids that the lost store gave are skipped, so that no client takes another job for its own.
 *
 * Threading: as writer.h.
 */
#ifndef STORAGE_RESTORED_H
#define STORAGE_RESTORED_H

#include "storage/writer.h"

#define RESTORED_JOB_IDS 1000000 /* the next job gets the next multiple of this, plus 1 */

struct store_restored {
    struct write_request request;
    int64_t ret_instant_us; /* noted with each ACO */
};
void store_restored_init(struct store_restored *restored);

#endif
