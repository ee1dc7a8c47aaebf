#include "codec/encoder.h"

#include "codec/base/arena.h"
#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/instant.h"

/* Of filtered pieces that wait to be written: what bounds an encoder's memory when a `_since` falls into one
 * segment after another. */
#define ENCODER_SCRATCH_MAX ((size_t)4 * 1024 * 1024)

struct encoder {
    struct gzip_splice splice;
    uint64_t count;
    bool open; /* between begin and end */

    struct iovec slices[ENCODER_OUTPUT_MAX];
    size_t slice_count;
    size_t slice_bytes;
    char header[GZIP_HEADER_SIZE];
    char trailer[GZIP_TRAILER_SIZE];
    struct arena scratch; /* filtered pieces, until encoder_clear_output */
    struct buffer index;

    /* For the filtered path; made when it is first taken. */
    struct deflater *deflater;
    struct inflater *inflater;
    struct segment_table table;
    struct buffer raw;
    struct buffer piece;
};

void encoder_index_entry_store(char target[ENCODER_INDEX_ENTRY_SIZE], const struct encoder_index_entry *entry)
{
    store_u64_le(target, entry->gzip_offset);
    store_u64_le(target + 8, entry->raw_offset);
    store_u32_le(target + 16, entry->piece_bytes);
    store_u32_le(target + 20, entry->raw_bytes);
}

void encoder_index_entry_load(const char source[ENCODER_INDEX_ENTRY_SIZE],
                              struct encoder_index_entry *ret_entry)
{
    ret_entry->gzip_offset = load_u64_le(source);
    ret_entry->raw_offset = load_u64_le(source + 8);
    ret_entry->piece_bytes = load_u32_le(source + 16);
    ret_entry->raw_bytes = load_u32_le(source + 20);
}

struct encoder *encoder_new(void)
{
    struct encoder *encoder = mem_new(struct encoder);
    arena_init(&encoder->scratch);
    segment_table_init(&encoder->table);
    return encoder;
}

void encoder_free(struct encoder *encoder)
{
    if (!encoder)
        return;
    arena_release(&encoder->scratch);
    buffer_release(&encoder->index);
    deflater_free(encoder->deflater);
    inflater_free(encoder->inflater);
    segment_table_release(&encoder->table);
    buffer_release(&encoder->raw);
    buffer_release(&encoder->piece);
    mem_free(encoder);
}

static void output_add(struct encoder *encoder, const void *data, size_t size)
{
    CHECK(encoder->slice_count < ENCODER_OUTPUT_MAX);
    encoder->slices[encoder->slice_count++] = (struct iovec){(void *)(uintptr_t)data, size};
    encoder->slice_bytes += size;
}

void encoder_begin(struct encoder *encoder)
{
    encoder_clear_output(encoder);
    encoder_clear_index(encoder);
    encoder->count = 0;
    encoder->open = true;
    gzip_splice_begin(&encoder->splice, encoder->header);
    output_add(encoder, encoder->header, sizeof encoder->header);
}

static void piece_add(struct encoder *encoder, struct slice piece, uint32_t raw_bytes, uint32_t crc,
                      uint32_t crc_operator)
{
    struct encoder_index_entry entry = {encoder->splice.gzip_bytes, encoder->splice.raw_bytes,
                                        (uint32_t)piece.size, raw_bytes};
    encoder_index_entry_store(buffer_extend(&encoder->index, ENCODER_INDEX_ENTRY_SIZE), &entry);
    gzip_splice_piece(&encoder->splice, piece.size, raw_bytes, crc, crc_operator);
    output_add(encoder, piece.data, piece.size);
}

/* Moves the wanted lines to the front of `raw`, which holds all of them. */
static size_t lines_pick(const struct segment_table *table, int64_t since_us, int64_t until_us,
                         struct buffer *raw)
{
    size_t picked = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct segment_entry *entry = &table->entries[i];
        if (entry->stamp_us <= since_us || entry->stamp_us > until_us)
            continue;
        memmove(raw->data + bytes, raw->data + entry->offset, entry->size);
        bytes += entry->size;
        picked++;
    }
    raw->size = bytes;
    return picked;
}

/* Deflates lines into a piece that lives until the output is cleared. */
static void lines_add(struct encoder *encoder, struct slice lines, uint64_t count)
{
    if (!encoder->deflater)
        encoder->deflater = deflater_new(DEFLATE_LEVEL_FAST);
    buffer_reset(&encoder->piece);
    deflater_piece(encoder->deflater, lines, &encoder->piece);
    piece_add(encoder, arena_copy(&encoder->scratch, buffer_slice(&encoder->piece)), (uint32_t)lines.size,
              crc32_of(0, lines), crc32_operator(lines.size));
    encoder->count += count;
}

static enum status segment_filter(struct encoder *encoder, const struct segment *segment, int64_t since_us,
                                  int64_t until_us, struct error *error)
{
    if (!encoder->inflater)
        encoder->inflater = inflater_new();
    enum status status = segment_table_read(&encoder->table, segment, error);
    if (status != STATUS_OK)
        return status;
    buffer_reset(&encoder->raw);
    status = segment_inflate(segment, encoder->inflater, &encoder->raw, error);
    if (status != STATUS_OK)
        return status;
    size_t picked = lines_pick(&encoder->table, since_us, until_us, &encoder->raw);
    if (picked == 0)
        return STATUS_OK;
    lines_add(encoder, buffer_slice(&encoder->raw), picked);
    return STATUS_OK;
}

enum status encoder_segment(struct encoder *encoder, const struct segment *segment, int64_t since_us,
                            int64_t until_us, struct error *error)
{
    CHECK(encoder->open && !encoder_output_is_full(encoder));
    if (since_us == INSTANT_MIN_US)
        since_us = INT64_MIN; /* no bound: not even the first instant is left out */
    if (segment->newest_us <= since_us || segment->oldest_us > until_us)
        return STATUS_OK;
    if (segment->oldest_us <= since_us || segment->newest_us > until_us)
        return segment_filter(encoder, segment, since_us, until_us, error);
    piece_add(encoder, segment->piece, segment->raw_bytes, segment->crc, segment->crc_operator);
    encoder->count += segment->count;
    return STATUS_OK;
}

void encoder_lines(struct encoder *encoder, struct slice lines, uint64_t count)
{
    CHECK(encoder->open && !encoder_output_is_full(encoder));
    CHECK(lines.size && lines.size <= SEGMENT_RAW_MAX);
    lines_add(encoder, lines, count);
}

void encoder_end(struct encoder *encoder)
{
    CHECK(encoder->open);
    encoder->open = false;
    gzip_splice_end(&encoder->splice, encoder->trailer);
    output_add(encoder, encoder->trailer, sizeof encoder->trailer);
}

bool encoder_output_is_full(const struct encoder *encoder)
{
    /* One slice is kept for the trailer. */
    return encoder->slice_count >= ENCODER_OUTPUT_MAX - 1 || encoder->scratch.bytes >= ENCODER_SCRATCH_MAX;
}

const struct iovec *encoder_output(const struct encoder *encoder, size_t *ret_count, size_t *ret_bytes)
{
    *ret_count = encoder->slice_count;
    *ret_bytes = encoder->slice_bytes;
    return encoder->slices;
}

void encoder_clear_output(struct encoder *encoder)
{
    encoder->slice_count = 0;
    encoder->slice_bytes = 0;
    arena_reset(&encoder->scratch);
}

struct slice encoder_index(const struct encoder *encoder)
{
    return buffer_slice(&encoder->index);
}

void encoder_clear_index(struct encoder *encoder)
{
    buffer_reset(&encoder->index);
}

uint64_t encoder_count(const struct encoder *encoder)
{
    return encoder->count;
}

uint64_t encoder_raw_bytes(const struct encoder *encoder)
{
    return encoder->splice.raw_bytes;
}

uint64_t encoder_gzip_bytes(const struct encoder *encoder)
{
    return encoder->splice.gzip_bytes;
}
