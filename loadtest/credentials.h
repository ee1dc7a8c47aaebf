/*
 * The credentials of a load test: a file of what `sluicectl credentials create` prints, one after another,
 * three lines each: name, client id, secret. Blank lines between them are passed over.
 *
 * Threading: plain values.
 */
#ifndef LOADTEST_CREDENTIALS_H
#define LOADTEST_CREDENTIALS_H

#include "codec/base/arena.h"
#include "codec/base/status.h"

#define CREDENTIALS_MAX            100000
#define CREDENTIALS_FILE_BYTES_MAX ((size_t)64 * 1024 * 1024)

struct credential {
    const char *name, *client_id, *secret; /* in the arena */
};

/* STATUS_INVALID names the line. No secret stands in an error. */
NODISCARD enum status credentials_read(const char *path, struct arena *arena, struct credential **ret_list,
                                       size_t *ret_count, struct error *error);

#endif
