/*
 * The columns of a segment's table (their order and form: segment.h). Internal to segment.c.
 *
 * Threading: pure but for its outputs.
 */
#ifndef CODEC_SEGMENT_TABLE_H
#define CODEC_SEGMENT_TABLE_H

#include "codec/segment.h"

/* What a table's columns can take at most: RESOURCE_ID_MAX and 2 bytes of id, two new instants of 10 bytes
 * with indexes of 3, a size of 5, days of 5 and 6. */
#define SEGMENT_TABLE_BYTES_MAX(count) ((size_t)64 + (size_t)(count)*128)

/* Appends the columns. `instants` is the memory for 2 * count numbers. */
void segment_table_encode(const struct segment_entry *entries, size_t count, int64_t oldest_us,
                          int64_t *instants, struct buffer *target);

#endif
