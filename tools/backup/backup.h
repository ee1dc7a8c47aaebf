/*
 * Backup: a consistent copy of a data directory, made while it is served.
 *
 *     PATH/store.mdb            the whole store as of one moment
 *     PATH/keys/token.pem       the key that signs access tokens
 *     PATH/jobs/<id>/...        the finished files of jobs that the store counts on
 *     PATH/MANIFEST             what it is of, and the SHA-256 of each file (manifest.h)
 *
 * It is made under the name PATH.part and gets its own when all of it is on disk. So what stands under PATH
 * is a whole backup; what an interrupted one left goes with the next.
 *
 * The store is copied in one go, from one snapshot: while that lasts, pages that a writer lets go of are not
 * used again, so a store that is written to grows by what is written, once (engine_copy). Files of jobs come
 * after it. One that the server deletes in between is left out with its whole job, which restore then
 * cancels, as happened.
 *
 * Threading: one thread.
 */
#ifndef TOOLS_BACKUP_BACKUP_H
#define TOOLS_BACKUP_BACKUP_H

#include "codec/base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define BACKUP_PART_SUFFIX ".part"

struct backup_options {
    const char *dir;  /* the data directory */
    const char *path; /* must not be there; its parent must, and not be within DIR */
    bool without_job_files;
    void *context;
    void (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes); /* may be NULL */
};

struct backup_counts {
    uint64_t files, bytes;
    uint64_t sequence;
    int64_t instant_us; /* the moment that it is of */
    uint64_t jobs_left_out;
    uint64_t snapshot_us; /* how long the store was kept from reusing pages */
    uint64_t grown_bytes; /* the store's file, meanwhile */
};

/* STATUS_EXISTS: PATH is there. STATUS_INVALID: it lies within DIR. STATUS_BUSY: another process makes it.
 * After a failure nothing stands under either name. */
NODISCARD enum status backup_run(const struct backup_options *options, struct backup_counts *ret_counts,
                                 struct error *error);

#endif
