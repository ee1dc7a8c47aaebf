/*
 * Files that appear only when they are whole: written as <name>.part, fsynced, renamed. The caller syncs the
 * folder afterwards.
 *
 * Threading: one thread at a time.
 */
#ifndef SERVER_EXPORT_OUTPUT_H
#define SERVER_EXPORT_OUTPUT_H

#include "codec/base/buffer.h"

#include <stdint.h>
#include <sys/uio.h>

struct export_output {
    int fd;     /* -1: not open; can be read too, for those who follow */
    char *path; /* with its suffix */
    char *part_path;
    uint64_t bytes;   /* written so far */
    uint64_t flushed; /* of them, those whose writing to the disk was started */
};

#define EXPORT_OUTPUT_INIT                                                                                   \
    {                                                                                                        \
        .fd = -1                                                                                             \
    }

NODISCARD enum status export_output_open(struct export_output *output, const char *dir, uint64_t job_id,
                                         const char *uuid, const char *suffix, struct error *error);
NODISCARD enum status export_output_write(struct export_output *output, const struct iovec *slices,
                                          size_t count, struct error *error);
NODISCARD enum status export_output_append(struct export_output *output, struct slice data,
                                           struct error *error);
/* Starts writing to the disk without waiting, so that the final sync is short; of little that waits only with
 * `all`. */
void export_output_flush(struct export_output *output, bool all);
NODISCARD enum status export_output_sync(struct export_output *output, struct error *error);
/* Gives it its name, unless it has it. */
NODISCARD enum status export_output_publish(struct export_output *output, struct error *error);
/* Closes; what was not published is removed. Safe on one that was never opened. */
void export_output_release(struct export_output *output);

#endif
