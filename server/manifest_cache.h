/*
 * Manifests of completed jobs, as they were last rendered. Clients poll a job, and some do so long after it
 * is completed; its manifest is the same each time, for the files of a completed job never change.
 *
 * What may change is whose the job is, whether it is still Completed, and its times. The caller decides it
 * from the job's record, of which the times are part of what is looked for, and so is the base URL; or
 * nothing was committed to the store since he last did (engine_newest_commit), which manifest_cache_recall
 * sees.
 *
 * Bounds: MANIFEST_CACHE_ENTRIES of at most MANIFEST_CACHE_BYTES_MAX; what was used least recently makes
 * room.
 *
 * Threading: each reactor has its own.
 */
#ifndef SERVER_MANIFEST_CACHE_H
#define SERVER_MANIFEST_CACHE_H

#include "storage/jobs.h"

#define MANIFEST_CACHE_ENTRIES   32
#define MANIFEST_CACHE_BYTES_MAX ((size_t)32 * 1024)

struct manifest_cache;
struct manifest_cache *manifest_cache_new(void);
void manifest_cache_free(struct manifest_cache *cache);

struct kept_manifest {
    struct slice text; /* borrowed until the next call of manifest_cache_keep */
    int64_t expires_us;
};
/* The manifest of a job whose record was read at `commit`; false if it is not there. */
bool manifest_cache_find(struct manifest_cache *cache, const struct job *job, uint64_t commit,
                         struct slice base_url, struct kept_manifest *ret_manifest);
/* That of the ACO's job, if `commit` is the one at which it was last found or kept, and `now_us` is before
 * the instant at which the job is Completed no longer. */
bool manifest_cache_recall(struct manifest_cache *cache, uint64_t job_id, uint32_t aco, uint64_t commit,
                           int64_t now_us, struct slice base_url, struct kept_manifest *ret_manifest);
/* Copies; one that is too large is not kept. */
void manifest_cache_keep(struct manifest_cache *cache, const struct job *job, uint64_t commit,
                         struct slice base_url, struct slice manifest);

#endif
