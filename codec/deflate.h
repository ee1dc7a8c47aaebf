/*
 * Raw deflate (RFC 1951), three libraries behind one face: libdeflate compresses what is kept, and inflates;
 * ISA-L compresses what somebody waits for; zlib finds block boundaries and combines CRCs
 * (docs/decisions/compression.md).
 *
 * A *piece* is a run of deflate blocks that needs nothing before it and ends on a byte boundary without a
 * final block, so pieces can be copied behind one another. Its last four bytes are 00 00 FF FF, the empty
 * stored block of a sync flush. DEFLATE_END closes a stream of pieces.
 *
 * Nothing larger than DEFLATE_RAW_BYTES_MAX goes into a piece (CHECK).
 *
 * Threading: a deflater or inflater belongs to one thread at a time; crc functions are pure.
 */
#ifndef CODEC_DEFLATE_H
#define CODEC_DEFLATE_H

#include "codec/base/buffer.h"

#include <stdint.h>

enum deflate_level {
    DEFLATE_LEVEL_GOOD, /* imports */
    DEFLATE_LEVEL_BEST, /* compaction */
    DEFLATE_LEVEL_FAST  /* what an export picks out of a segment; in no segment */
};

#define DEFLATE_END           "\x03\x00" /* an empty final block with fixed codes */
#define DEFLATE_END_SIZE      2
#define DEFLATE_RAW_BYTES_MAX ((size_t)1024 * 1024 * 1024)
#define DEFLATE_RATIO_MAX     1032 /* 258 bytes out of two bits: more cannot be */

struct deflater;
struct deflater *deflater_new(enum deflate_level level);
void deflater_free(struct deflater *deflater);
/* Appends one piece that holds `raw`. The same input gives the same bytes; at DEFLATE_LEVEL_FAST only on
 * processors of the same kind. */
void deflater_piece(struct deflater *deflater, struct slice raw, struct buffer *target);

struct inflater;
struct inflater *inflater_new(void);
void inflater_free(struct inflater *inflater);
/* Inflates one piece of exactly `raw_size` bytes into `target` (room for raw_size bytes). `piece` must be
 * followed in memory by DEFLATE_END (segments store it so). STATUS_CORRUPT if it is not that. */
NODISCARD enum status inflater_piece(struct inflater *inflater, struct slice piece, size_t raw_size,
                                     char *target, struct error *error);

uint32_t crc32_of(uint32_t crc, struct slice data); /* gzip's CRC-32; start with 0 */
/* The CRC of A followed by B, from their CRCs and the operator of B's length. */
uint32_t crc32_operator(uint64_t size_of_second);
uint32_t crc32_join(uint32_t crc_first, uint32_t crc_second, uint32_t operator_of_second);

/* CRC-32C (Castagnoli), of stored keys and values; start with 0. */
uint32_t crc32c_of(uint32_t crc, struct slice data);

#endif
