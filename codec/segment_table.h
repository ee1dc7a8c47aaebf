/*
 * The columns of a segment's table (their order and form: segment.h). Internal to segment.c.
 *
 * Threading: pure but for its outputs.
 */
#ifndef CODEC_SEGMENT_TABLE_H
#define CODEC_SEGMENT_TABLE_H

#include "codec/segment.h"

/* Appends the columns. `numbers` is memory for 4 * count numbers. */
void segment_table_encode(const struct segment_entry *entries, size_t count, int64_t oldest_us,
                          uint64_t *numbers, struct buffer *target);

#endif
