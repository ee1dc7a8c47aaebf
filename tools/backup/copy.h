/*
 * Files that are copied and hashed in one pass: the bytes of a backup.
 *
 * What is written is handed to the disk in windows, and waited for: a file of gigabytes that is synced at its
 * end would hold up every sync of a server on the same disk until it is there. Blocks of zeros become holes.
 *
 * Threading: one thread.
 */
#ifndef TOOLS_BACKUP_COPY_H
#define TOOLS_BACKUP_COPY_H

#include "codec/base/slice.h"
#include "codec/base/status.h"

#include <stdint.h>

#define COPY_DIGEST_SIZE  65 /* SHA-256 in hex, NUL-terminated */
#define COPY_WINDOW_BYTES (UINT64_C(8) * 1024 * 1024)

/* How far the whole work has come. */
struct copy_progress {
    void *context;
    void (*show)(void *context, uint64_t done_bytes); /* may be NULL */
    uint64_t done_bytes;
};

struct copy_output {
    int fd;
    char *path;
    uint64_t bytes;
    uint64_t written; /* up to here it is on disk */
    uint64_t flushed; /* and to here on its way there */
    void *digest;
    struct copy_progress *progress;
};
#define COPY_OUTPUT_INIT ((struct copy_output){.fd = -1})

/* Makes the file (0600); it must not be there. */
NODISCARD enum status copy_output_open(struct copy_output *output, const char *path,
                                       struct copy_progress *progress, struct error *error);
NODISCARD enum status copy_output_write(struct copy_output *output, struct slice bytes, struct error *error);
/* Syncs it and gives its digest. */
NODISCARD enum status copy_output_finish(struct copy_output *output, char ret_digest[COPY_DIGEST_SIZE],
                                         struct error *error);
void copy_output_release(struct copy_output *output);

/* A whole file, durable but for its name. STATUS_NOT_FOUND: there is no source (a symbolic link is none). */
NODISCARD enum status copy_file(const char *source, const char *target, struct copy_progress *progress,
                                char ret_digest[COPY_DIGEST_SIZE], uint64_t *ret_bytes, struct error *error);

/* About what a copy of the file takes on the disk: a store has holes after a compaction. */
struct stat;
uint64_t copy_disk_bytes(const struct stat *file);

/* The digest of bytes in memory. */
void copy_digest(struct slice bytes, char ret_digest[COPY_DIGEST_SIZE]);

#endif
