#include "codec/segment.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"
#include "codec/instant.h"
#include "codec/resource.h"
#include "codec/segment_table.h"

#define SEGMENT_KIND    'S'
#define SEGMENT_VERSION 2
#define HASH_SIZE       sizeof(uint64_t)

static enum status corrupt(struct error *error, const char *what)
{
    return error_set(error, STATUS_CORRUPT, "segment: %s", what);
}

enum status segment_open(struct slice value, struct segment *ret_segment, struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader);
    uint8_t version = reader_u8(&reader);
    struct segment segment;
    segment.count = reader_u16(&reader);
    segment.raw_bytes = reader_u32(&reader);
    segment.crc = reader_u32(&reader);
    segment.crc_operator = reader_u32(&reader);
    uint32_t table_bytes = reader_u32(&reader);
    uint32_t piece_bytes = reader_u32(&reader);
    segment.oldest_us = reader_i64(&reader);
    segment.newest_us = reader_i64(&reader);
    uint8_t level = reader_u8(&reader);
    if (reader.failed)
        return corrupt(error, "shorter than its header");
    if (kind != SEGMENT_KIND)
        return corrupt(error, "not a segment");
    if (version != SEGMENT_VERSION)
        return error_set(error, STATUS_UNSUPPORTED, "segment: version %u, this build reads version %u",
                         version, SEGMENT_VERSION);
    if (segment.count < 1)
        return corrupt(error, "no resources");
    if (segment.raw_bytes < segment.count || segment.raw_bytes > SEGMENT_RAW_MAX ||
        segment.raw_bytes > (uint64_t)piece_bytes * DEFLATE_RATIO_MAX)
        return corrupt(error, "impossible size of the lines");
    if (segment.crc_operator == 0)
        return corrupt(error, "impossible CRC operator");
    if (segment.oldest_us > segment.newest_us)
        return corrupt(error, "its oldest stamp is newer than its newest");
    if (level > DEFLATE_LEVEL_BEST)
        return corrupt(error, "an unknown level");
    segment.level = (enum deflate_level)level;
    segment.table = reader_take(&reader, table_bytes);
    segment.hashes = reader_take(&reader, segment.count * HASH_SIZE);
    segment.piece = reader_take(&reader, piece_bytes);
    struct slice end = reader_take(&reader, DEFLATE_END_SIZE);
    if (!reader_done(&reader))
        return corrupt(error, "its length is not what its header says");
    if (memcmp(end.data, DEFLATE_END, DEFLATE_END_SIZE) != 0)
        return corrupt(error, "its end is missing");
    *ret_segment = segment;
    return STATUS_OK;
}

enum status segment_inflate(const struct segment *segment, struct inflater *inflater, struct buffer *target,
                            struct error *error)
{
    char *raw = buffer_reserve(target, segment->raw_bytes);
    enum status status = inflater_piece(inflater, segment->piece, segment->raw_bytes, raw, error);
    if (status != STATUS_OK) {
        error_prefix(error, "segment");
        return status;
    }
    if (crc32_of(0, slice_make(raw, segment->raw_bytes)) != segment->crc)
        return corrupt(error, "the CRC of its lines differs");
    target->size += segment->raw_bytes;
    return STATUS_OK;
}

static enum status lines_check(const struct segment_table *table, const char *raw, struct error *error)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct segment_entry *entry = &table->entries[i];
        const char *line = raw + entry->offset;
        if (memchr(line, '\n', entry->size) != line + entry->size - 1)
            return error_set(error, STATUS_CORRUPT, "segment: resource %zu is not one line of %u bytes", i,
                             entry->size);
    }
    return STATUS_OK;
}

enum status segment_check(const struct segment *segment, struct inflater *inflater, struct error *error)
{
    struct segment_table table;
    struct buffer raw = BUFFER_INIT;
    segment_table_init(&table);
    enum status status = segment_inflate(segment, inflater, &raw, error);
    if (status != STATUS_OK)
        goto done;
    if (segment->crc_operator != crc32_operator(segment->raw_bytes)) {
        status = corrupt(error, "its CRC operator is not that of its length");
        goto done;
    }
    status = segment_table_read(&table, segment, error);
    if (status != STATUS_OK)
        goto done;
    status = lines_check(&table, raw.data, error);
done:
    buffer_release(&raw);
    segment_table_release(&table);
    return status;
}

struct segment_builder {
    struct deflater *deflater;
    enum deflate_level level;
    struct segment_entry *entries; /* ids borrow from `ids` only in segment_builder_finish */
    size_t count;
    size_t capacity;
    struct buffer ids;
    struct buffer raw;
    uint64_t *numbers; /* four for each of `capacity` */
    int64_t oldest_us;
    int64_t newest_us;
};

struct segment_builder *segment_builder_new(enum deflate_level level)
{
    struct segment_builder *builder = mem_new(struct segment_builder);
    CHECK(level <= DEFLATE_LEVEL_BEST);
    builder->level = level;
    builder->deflater = deflater_new(level);
    return builder;
}

void segment_builder_free(struct segment_builder *builder)
{
    if (!builder)
        return;
    deflater_free(builder->deflater);
    mem_free(builder->entries);
    mem_free(builder->numbers);
    buffer_release(&builder->ids);
    buffer_release(&builder->raw);
    mem_free(builder);
}

static void builder_grow(struct segment_builder *builder)
{
    builder->capacity = builder->capacity ? builder->capacity * 2 : 64;
    builder->entries = mem_realloc(builder->entries, builder->capacity * sizeof *builder->entries);
    builder->numbers = mem_realloc(builder->numbers, builder->capacity * 4 * sizeof *builder->numbers);
}

static bool day_is_valid(int32_t day)
{
    const int32_t day_max = 9999 * 366;
    return day == DAY_NONE || (day >= -day_max && day <= day_max);
}

void segment_builder_add(struct segment_builder *builder, const struct segment_entry *entry,
                         struct slice json)
{
    CHECK(builder->count < SEGMENT_COUNT_MAX);
    CHECK(entry->id.size >= 1 && entry->id.size <= RESOURCE_ID_MAX);
    CHECK(json.size < SEGMENT_RAW_MAX - builder->raw.size);
    CHECK(day_is_valid(entry->service_first_day) && day_is_valid(entry->service_last_day));
    if (builder->count > 0) {
        size_t last_size = builder->entries[builder->count - 1].id.size;
        struct slice last = {builder->ids.data + builder->ids.size - last_size, last_size};
        CHECK(slice_compare(last, entry->id) < 0);
    }
    if (builder->count == builder->capacity)
        builder_grow(builder);
    struct segment_entry *added = &builder->entries[builder->count];
    *added = *entry;
    added->offset = (uint32_t)builder->raw.size;
    added->size = (uint32_t)json.size + 1;
    buffer_append_slice(&builder->ids, entry->id);
    buffer_append_slice(&builder->raw, json);
    buffer_append_char(&builder->raw, '\n');
    if (builder->count == 0 || entry->stamp_us < builder->oldest_us)
        builder->oldest_us = entry->stamp_us;
    if (builder->count == 0 || entry->stamp_us > builder->newest_us)
        builder->newest_us = entry->stamp_us;
    builder->count++;
}

size_t segment_builder_count(const struct segment_builder *builder)
{
    return builder->count;
}

size_t segment_builder_raw_bytes(const struct segment_builder *builder)
{
    return builder->raw.size;
}

bool segment_builder_is_full_for(const struct segment_builder *builder, size_t line_bytes)
{
    return builder->count == SEGMENT_COUNT_MAX ||
           (builder->count > 0 && builder->raw.size + line_bytes > SEGMENT_RAW_TARGET);
}

void segment_builder_finish(struct segment_builder *builder, struct buffer *target)
{
    CHECK(builder->count > 0);
    const char *id = builder->ids.data;
    for (size_t i = 0; i < builder->count; i++) {
        builder->entries[i].id.data = id;
        id += builder->entries[i].id.size;
    }
    struct slice raw = buffer_slice(&builder->raw);
    size_t begin = target->size;
    buffer_extend(target, SEGMENT_HEADER_SIZE);
    size_t table_begin = target->size;
    segment_table_encode(builder->entries, builder->count, builder->oldest_us, builder->numbers, target);
    size_t table_bytes = target->size - table_begin;
    for (size_t i = 0; i < builder->count; i++)
        buffer_append_u64(target, builder->entries[i].content_hash);
    size_t piece_begin = target->size;
    deflater_piece(builder->deflater, raw, target);
    size_t piece_bytes = target->size - piece_begin;
    buffer_append(target, DEFLATE_END, DEFLATE_END_SIZE);

    char *header = target->data + begin;
    header[0] = SEGMENT_KIND;
    header[1] = SEGMENT_VERSION;
    store_u16_le(header + 2, (uint16_t)builder->count);
    store_u32_le(header + 4, (uint32_t)raw.size);
    store_u32_le(header + 8, crc32_of(0, raw));
    store_u32_le(header + 12, crc32_operator(raw.size));
    store_u32_le(header + 16, (uint32_t)table_bytes);
    store_u32_le(header + 20, (uint32_t)piece_bytes);
    store_u64_le(header + 24, (uint64_t)builder->oldest_us);
    store_u64_le(header + 32, (uint64_t)builder->newest_us);
    header[40] = (char)builder->level;

    builder->count = 0;
    buffer_reset(&builder->ids);
    buffer_reset(&builder->raw);
}
