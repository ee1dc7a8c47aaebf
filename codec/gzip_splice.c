#include "codec/gzip_splice.h"

#include "codec/base/bytes.h"
#include "codec/deflate.h"

void gzip_splice_begin(struct gzip_splice *splice, char header[GZIP_HEADER_SIZE])
{
    /* Magic, deflate, no flags, no time, no hints, and an operating system that is not told: RFC 1952, 2.3.
     */
    static const char bytes[GZIP_HEADER_SIZE] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff";
    memcpy(header, bytes, sizeof bytes);
    *splice = (struct gzip_splice){0, 0, GZIP_HEADER_SIZE};
}

void gzip_splice_piece(struct gzip_splice *splice, size_t piece_bytes, uint64_t raw_bytes, uint32_t crc,
                       uint32_t crc_operator)
{
    splice->crc = crc32_join(splice->crc, crc, crc_operator);
    splice->raw_bytes += raw_bytes;
    splice->gzip_bytes += piece_bytes;
}

static void trailer_make(char trailer[GZIP_TRAILER_SIZE], uint32_t crc, uint64_t raw_bytes)
{
    memcpy(trailer, DEFLATE_END, DEFLATE_END_SIZE);
    store_u32_le(trailer + DEFLATE_END_SIZE, crc);
    store_u32_le(trailer + DEFLATE_END_SIZE + 4, (uint32_t)raw_bytes);
}

void gzip_splice_end(struct gzip_splice *splice, char trailer[GZIP_TRAILER_SIZE])
{
    trailer_make(trailer, splice->crc, splice->raw_bytes);
    splice->gzip_bytes += GZIP_TRAILER_SIZE;
}

bool gzip_trailer_is(const char trailer[GZIP_TRAILER_SIZE], uint32_t crc, uint64_t raw_bytes)
{
    char right[GZIP_TRAILER_SIZE];
    trailer_make(right, crc, raw_bytes);
    return memcmp(trailer, right, sizeof right) == 0;
}
