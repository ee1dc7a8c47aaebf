/*
 * Manifests of completed jobs, as they were last rendered. Clients poll a job, and some do so long after it
 * is completed; its manifest is the same each time, for the files of a completed job never change.
 *
 * What may change is decided by the caller with each request, from the job's record: whose the job is, and
 * whether it is still Completed. The record's times are part of what is looked for, and so is the base URL.
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

/* The manifest, borrowed until the next call of manifest_cache_keep; false if it is not there. */
bool manifest_cache_find(struct manifest_cache *cache, const struct job *job, struct slice base_url,
                         struct slice *ret_manifest);
/* Copies; one that is too large is not kept. */
void manifest_cache_keep(struct manifest_cache *cache, const struct job *job, struct slice base_url,
                         struct slice manifest);

#endif
