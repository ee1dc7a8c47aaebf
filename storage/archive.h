/*
 * Zip archives, read whole entry by whole entry, by libzip.
 *
 * Threading: an archive belongs to one thread.
 */
#ifndef STORAGE_ARCHIVE_H
#define STORAGE_ARCHIVE_H

#include "codec/base/buffer.h"

#include <stdint.h>

#define ARCHIVE_ENTRIES_MAX 10000

struct archive;

/* True if the file begins as a zip archive does. */
bool archive_is_one(const char *path);
NODISCARD enum status archive_open(const char *path, struct archive **ret_archive, struct error *error);
void archive_close(struct archive *archive); /* NULL is allowed */
size_t archive_count(const struct archive *archive);
/* Borrowed until archive_close. */
const char *archive_name(const struct archive *archive, size_t index);
/* Appends the entry's bytes; its CRC is checked. STATUS_TOO_LARGE if the target would then hold more than
 * bytes_max: a small archive may inflate to anything. */
NODISCARD enum status archive_read(struct archive *archive, size_t index, size_t bytes_max,
                                   struct buffer *target, struct error *error);

#endif
