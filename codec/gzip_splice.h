/*
 * One valid single-member gzip file (RFC 1952) out of deflate pieces that were made elsewhere: the ten-byte
 * header, the pieces as they are, DEFLATE_END, and a trailer with the combined CRC-32 and the length
 * modulo 2^32. No mtime and no name, so the same pieces give the same bytes.
 *
 * Threading: plain values.
 */
#ifndef CODEC_GZIP_SPLICE_H
#define CODEC_GZIP_SPLICE_H

#include "codec/base/slice.h"

#include <stdint.h>

#define GZIP_HEADER_SIZE  10
#define GZIP_TRAILER_SIZE 10 /* DEFLATE_END, CRC-32, length */

struct gzip_splice {
    uint32_t crc;
    uint64_t raw_bytes;
    uint64_t gzip_bytes; /* header and pieces so far, and the trailer once it is made */
};

/* Starts a file; writes its header. */
void gzip_splice_begin(struct gzip_splice *splice, char header[GZIP_HEADER_SIZE]);
/* Accounts for a piece that the caller copies into the file. */
void gzip_splice_piece(struct gzip_splice *splice, size_t piece_bytes, uint64_t raw_bytes, uint32_t crc,
                       uint32_t crc_operator);
void gzip_splice_end(struct gzip_splice *splice, char trailer[GZIP_TRAILER_SIZE]);
/* The same from the other side: does this trailer close lines of that CRC and length? */
bool gzip_trailer_is(const char trailer[GZIP_TRAILER_SIZE], uint32_t crc, uint64_t raw_bytes);

#endif
