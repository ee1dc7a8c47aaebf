#include "codec/deflate.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <isa-l.h>
#include <libdeflate.h>
#include <zlib.h>

#define GOOD_LEVEL 6 /* of libdeflate */
#define BEST_LEVEL 9 /* of libdeflate */
#define FAST_LEVEL 1 /* of ISA-L */

static const char sync_marker[4] = "\x00\x00\xff\xff";

struct deflater {
    /* DEFLATE_LEVEL_FAST, else NULL */
    struct isal_zstream *fast;
    uint8_t *fast_memory;
    /* The others, else NULL */
    struct libdeflate_compressor *dense;
    z_stream walker;
    struct buffer walked;
};

struct deflater *deflater_new(enum deflate_level level)
{
    struct deflater *deflater = mem_new(struct deflater);
    if (level == DEFLATE_LEVEL_FAST) {
        deflater->fast = mem_new(struct isal_zstream);
        deflater->fast_memory = mem_zalloc(ISAL_DEF_LVL1_DEFAULT);
    } else {
        deflater->dense = libdeflate_alloc_compressor(level == DEFLATE_LEVEL_BEST ? BEST_LEVEL : GOOD_LEVEL);
        CHECK(deflater->dense);
        CHECK(inflateInit2(&deflater->walker, -MAX_WBITS) == Z_OK);
    }
    return deflater;
}

void deflater_free(struct deflater *deflater)
{
    if (!deflater)
        return;
    if (deflater->dense) {
        inflateEnd(&deflater->walker);
        libdeflate_free_compressor(deflater->dense);
    }
    mem_free(deflater->fast);
    mem_free(deflater->fast_memory);
    buffer_release(&deflater->walked);
    mem_free(deflater);
}

static void piece_fast(struct deflater *deflater, struct slice raw, struct buffer *target)
{
    struct isal_zstream *stream = deflater->fast;
    isal_deflate_init(stream);
    stream->level = FAST_LEVEL;
    stream->level_buf = deflater->fast_memory;
    stream->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    stream->flush = SYNC_FLUSH;
    stream->end_of_stream = 0;
    stream->next_in = (uint8_t *)(uintptr_t)raw.data; /* the library takes no const, and writes nothing */
    stream->avail_in = (uint32_t)raw.size;
    /* Room for the whole piece at once: a second call could flush again, and one marker is enough. */
    size_t room = raw.size + raw.size / 8 + 4096;
    stream->next_out = (uint8_t *)buffer_reserve(target, room);
    stream->avail_out = (uint32_t)room;
    CHECK(isal_deflate(stream) == COMP_OK);
    CHECK(stream->avail_in == 0 && stream->avail_out > 0);
    target->size += room - stream->avail_out;
}

/* Where the last block of a stream begins and where the stream ends, in bits. */
static void stream_walk(struct deflater *deflater, struct slice stream, size_t raw_size,
                        size_t *ret_last_block, size_t *ret_end)
{
    z_stream *walker = &deflater->walker;
    CHECK(inflateReset(walker) == Z_OK);
    walker->next_in = (Bytef *)(uintptr_t)stream.data;
    walker->avail_in = (uInt)stream.size;
    /* One byte more than there is, since zlib stops where the room ends. */
    buffer_reset(&deflater->walked);
    walker->next_out = (Bytef *)buffer_reserve(&deflater->walked, raw_size + 1);
    walker->avail_out = (uInt)raw_size + 1;
    size_t last_block = 0;
    for (;;) {
        CHECK(inflate(walker, Z_BLOCK) == Z_OK);
        /* data_type: bits that the last byte has left; 64 in the last block; 128 right behind a block */
        unsigned state = (unsigned)walker->data_type;
        if (!(state & 128))
            continue;
        size_t bit = (stream.size - walker->avail_in) * 8 - (state & 7);
        if (state & 64) {
            CHECK(walker->avail_out == 1 && (bit + 7) / 8 == stream.size);
            *ret_last_block = last_block;
            *ret_end = bit;
            return;
        }
        last_block = bit;
    }
}

static void piece_dense(struct deflater *deflater, struct slice raw, struct buffer *target)
{
    size_t begin = target->size;
    size_t room = libdeflate_deflate_compress_bound(deflater->dense, raw.size);
    char *room_begin = buffer_reserve(target, room);
    target->size +=
        libdeflate_deflate_compress(deflater->dense, raw.size ? raw.data : "", raw.size, room_begin, room);
    CHECK(target->size > begin);
    struct slice stream = slice_skip(buffer_slice(target), begin);
    size_t last_block;
    size_t end;
    stream_walk(deflater, stream, raw.size, &last_block, &end);
    /* The final block becomes an ordinary one (BFINAL is a block's first bit), and a stored block without
     * bytes aligns the end: three zero bits and padding, which may need one byte more. */
    uint8_t *bytes = (uint8_t *)target->data + begin;
    bytes[last_block / 8] &= (uint8_t) ~(1u << (last_block % 8));
    if (end % 8 != 0)
        bytes[end / 8] &= (uint8_t)((1u << (end % 8)) - 1);
    target->size = begin + (end + 7) / 8;
    if (target->size * 8 < begin * 8 + end + 3)
        buffer_append_u8(target, 0);
    buffer_append(target, sync_marker, sizeof sync_marker);
}

void deflater_piece(struct deflater *deflater, struct slice raw, struct buffer *target)
{
    CHECK(raw.size <= DEFLATE_RAW_BYTES_MAX);
    size_t begin = target->size;
    if (deflater->fast)
        piece_fast(deflater, raw, target);
    else
        piece_dense(deflater, raw, target);
    CHECK(target->size - begin >= sizeof sync_marker);
    CHECK(memcmp(target->data + target->size - sizeof sync_marker, sync_marker, sizeof sync_marker) == 0);
}

struct inflater {
    struct libdeflate_decompressor *decompressor;
};

struct inflater *inflater_new(void)
{
    struct inflater *inflater = mem_new(struct inflater);
    inflater->decompressor = libdeflate_alloc_decompressor();
    CHECK(inflater->decompressor);
    return inflater;
}

void inflater_free(struct inflater *inflater)
{
    if (!inflater)
        return;
    libdeflate_free_decompressor(inflater->decompressor);
    mem_free(inflater);
}

enum status inflater_piece(struct inflater *inflater, struct slice piece, size_t raw_size, char *target,
                           struct error *error)
{
    /* Without the marker the piece might end inside a byte, and would inflate alone but not spliced. */
    if (piece.size < sizeof sync_marker ||
        memcmp(piece.data + piece.size - sizeof sync_marker, sync_marker, sizeof sync_marker) != 0)
        return error_set(error, STATUS_CORRUPT, "a deflated piece does not end with a sync marker");
    size_t all = piece.size + DEFLATE_END_SIZE;
    size_t used = 0;
    size_t made = 0;
    enum libdeflate_result result = libdeflate_deflate_decompress_ex(inflater->decompressor, piece.data, all,
                                                                     target, raw_size, &used, &made);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE)
        return error_set(error, STATUS_CORRUPT, "a deflated piece holds more than %zu bytes", raw_size);
    if (result != LIBDEFLATE_SUCCESS)
        return error_set(error, STATUS_CORRUPT, "a deflated piece is damaged");
    if (made != raw_size)
        return error_set(error, STATUS_CORRUPT, "a deflated piece holds %zu bytes instead of %zu", made,
                         raw_size);
    if (used != all)
        return error_set(error, STATUS_CORRUPT, "a deflated piece ends after %zu of %zu bytes", used, all);
    return STATUS_OK;
}

uint32_t crc32_of(uint32_t crc, struct slice data)
{
    return crc32_gzip_refl(crc, (const unsigned char *)data.data, data.size);
}

uint32_t crc32_operator(uint64_t size_of_second)
{
    return (uint32_t)crc32_combine_gen((z_off_t)size_of_second);
}

uint32_t crc32_join(uint32_t crc_first, uint32_t crc_second, uint32_t operator_of_second)
{
    /* No length has the operator zero, and zlib never returns from it: it could only come from damage. */
    if (operator_of_second == 0)
        return crc_second;
    return (uint32_t)crc32_combine_op(crc_first, crc_second, operator_of_second);
}

uint32_t crc32c_of(uint32_t crc, struct slice data)
{
    /* The library computes the bare register; the standard inverts it before and after. Its length is an
     * int. */
    const size_t chunk_max = 1 << 30;
    while (data.size > 0) {
        size_t chunk = data.size < chunk_max ? data.size : chunk_max;
        crc = ~crc32_iscsi((unsigned char *)(uintptr_t)data.data, (int)chunk, ~crc);
        data = slice_skip(data, chunk);
    }
    return crc;
}
