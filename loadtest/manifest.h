/*
 * The files that a job's manifest lists.
 *
 * Threading: plain values.
 */
#ifndef LOADTEST_MANIFEST_H
#define LOADTEST_MANIFEST_H

#include "codec/base/arena.h"
#include "codec/base/status.h"

#include <stdint.h>

#define MANIFEST_FILES_MAX 100000

struct manifest_file {
    const char *type, *url; /* in the arena */
    uint64_t count, bytes;  /* fileSize: identity bytes */
    bool has_count, has_bytes;
};

struct manifest {
    struct manifest_file *output; /* in the arena */
    size_t output_count;
    size_t error_count; /* entries of `error` */
};

/* STATUS_INVALID: no manifest. */
NODISCARD enum status manifest_parse(struct slice body, struct arena *arena, struct manifest *ret_manifest,
                                     struct error *error);

#endif
