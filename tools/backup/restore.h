/*
 * Restore: a data directory from a backup (backup.h).
 *
 * Everything is copied into DIR/restore.part and compared with the manifest, and the store is told that it
 * was restored (storage/restored.h), before anything gets its place. The store gets it last, in one rename: a
 * DIR is restored in full, or holds no store. What an interrupted restore left goes with the next.
 *
 * Jobs that the store counts as active or finished and whose files are not in the backup are cancelled: their
 * clients are told so, and export again. Active jobs that have theirs go on when sluiced starts.
 *
 * Threading: one thread.
 */
#ifndef TOOLS_BACKUP_RESTORE_H
#define TOOLS_BACKUP_RESTORE_H

#include "codec/base/status.h"

#include <stdint.h>

struct restore_options {
    const char *dir;  /* must not be there, or be empty */
    const char *path; /* the backup; nothing in it is changed */
    void *context;
    void (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes); /* may be NULL */
};

struct restore_counts {
    uint64_t files, bytes;
    uint64_t sequence;
    int64_t instant_us;  /* the moment that the backup is of */
    int64_t restored_us; /* noted with each ACO as a transactionTime that may have been given */
    uint64_t jobs_cancelled;
};

/* STATUS_EXISTS: DIR is not empty. STATUS_NOT_FOUND: PATH is no backup, or lacks a file. STATUS_CORRUPT: a
 * file in it, which the text names, is not what it was. STATUS_UNSUPPORTED: of another version. After a
 * failure DIR is as it was. */
NODISCARD enum status restore_run(const struct restore_options *options, struct restore_counts *ret_counts,
                                  struct error *error);

#endif
