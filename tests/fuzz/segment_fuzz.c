/*
 * Segments. The first byte chooses:
 *
 *   'V'  the rest is a stored value: opened, read, inflated, checked and filtered, whatever it is
 *   'T'  the rest is a table behind a header that fits it: count, raw bytes, oldest and newest stamp come
 * first 'B'  the rest is a recipe of resources: what is built must check, and give back the same
 */
#include "codec/encoder.h"

#include "codec/base/check.h"
#include "codec/base/reader.h"
#include "codec/instant.h"
#include "codec/resource.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECIPE_ENTRIES_MAX 64

static struct inflater *inflater;
static struct encoder *encoder;
static struct segment_table table;
static struct buffer scratch;

static void table_must_agree(const struct segment *segment)
{
    CHECK(table.count == segment->count);
    uint64_t offset = 0;
    for (size_t i = 0; i < table.count; i++) {
        const struct segment_entry *entry = &table.entries[i];
        CHECK(entry->offset == offset && entry->size > 0);
        offset += entry->size;
        CHECK(entry->stamp_us >= segment->oldest_us && entry->stamp_us <= segment->newest_us);
        CHECK(entry->id.size >= 1 && entry->id.size <= RESOURCE_ID_MAX);
        CHECK(i == 0 || slice_compare(table.entries[i - 1].id, entry->id) < 0);
        CHECK(segment_table_find(&table, entry->id) == entry);
    }
    CHECK(offset == segment->raw_bytes);
}

static void encode(const struct segment *segment, int64_t since_us)
{
    encoder_begin(encoder);
    uint64_t before = encoder_gzip_bytes(encoder);
    enum status status = encoder_segment(encoder, segment, since_us, INSTANT_MAX_US, NULL);
    CHECK(status == STATUS_OK || status == STATUS_CORRUPT);
    CHECK(status == STATUS_OK || encoder_gzip_bytes(encoder) == before);
    CHECK(encoder_count(encoder) <= segment->count);
    encoder_end(encoder);
    encoder_clear_output(encoder);
}

static void run_value(struct slice value)
{
    struct segment segment;
    struct error error;
    enum status status = segment_open(value, &segment, &error);
    if (status != STATUS_OK) {
        CHECK(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED);
        return;
    }
    if (segment_table_read(&table, &segment, &error) == STATUS_OK)
        table_must_agree(&segment);
    else
        CHECK(table.count == 0 && error.status == STATUS_CORRUPT);
    buffer_reset(&scratch);
    bool inflates = segment_inflate(&segment, inflater, &scratch, &error) == STATUS_OK;
    CHECK(scratch.size == (inflates ? segment.raw_bytes : 0));
    bool checks = segment_check(&segment, inflater, &error) == STATUS_OK;
    CHECK(!checks || (inflates && table.count == segment.count));
    encode(&segment, INSTANT_MIN_US);
    encode(&segment, segment.oldest_us);
}

static void run_table(struct slice input)
{
    struct reader reader = reader_make(input);
    uint16_t count = reader_u16(&reader);
    uint16_t raw_bytes = reader_u16(&reader);
    int64_t oldest_us = reader_i64(&reader);
    int64_t newest_us = reader_i64(&reader);
    struct slice columns = reader_take(&reader, reader_left(&reader));
    static const char piece[64] = {0};
    struct buffer value = BUFFER_INIT;
    buffer_append(&value, "S\x02", 2);
    buffer_append_u16(&value, count);
    buffer_append_u32(&value, raw_bytes);
    buffer_append_u32(&value, 0);
    buffer_append_u32(&value, crc32_operator(raw_bytes));
    buffer_append_u32(&value, (uint32_t)columns.size);
    buffer_append_u32(&value, sizeof piece);
    buffer_append_i64(&value, oldest_us);
    buffer_append_i64(&value, newest_us);
    buffer_append_u8(&value, DEFLATE_LEVEL_GOOD);
    buffer_append_slice(&value, columns);
    memset(buffer_extend(&value, 8 * (size_t)count), 0xa5, 8 * (size_t)count);
    buffer_append(&value, piece, sizeof piece);
    buffer_append(&value, DEFLATE_END, DEFLATE_END_SIZE);
    run_value(buffer_slice(&value));
    buffer_release(&value);
}

static int32_t recipe_day(uint32_t number)
{
    return number % 5 == 0 ? DAY_NONE : (int32_t)(number % (2 * 9999 * 366)) - 9999 * 366;
}

static void run_recipe(struct slice input)
{
    static struct segment_builder *builders[2];
    struct segment_entry entries[RECIPE_ENTRIES_MAX];
    struct slice lines[RECIPE_ENTRIES_MAX];
    struct reader reader = reader_make(input);
    uint8_t level = reader_u8(&reader) & 1;
    size_t count = 0;
    while (count < RECIPE_ENTRIES_MAX && reader_left(&reader) > 0) {
        struct segment_entry *entry = &entries[count];
        *entry = (struct segment_entry){
            .source_us = reader_i64(&reader),
            .stamp_us = reader_i64(&reader),
            .service_first_day = recipe_day(reader_u32(&reader)),
            .service_last_day = recipe_day(reader_u32(&reader)),
        };
        uint8_t id_size = reader_u8(&reader);
        uint8_t line_size = reader_u8(&reader);
        entry->id = reader_take(&reader, id_size % (RESOURCE_ID_MAX + 1));
        lines[count] = reader_take(&reader, line_size);
        entry->content_hash = (uint64_t)entry->source_us * UINT64_C(0x9e3779b97f4a7c15);
        if (reader.failed || entry->id.size == 0 ||
            (count > 0 && slice_compare(entries[count - 1].id, entry->id) >= 0))
            break;
        if (lines[count].size > 0 && memchr(lines[count].data, '\n', lines[count].size))
            lines[count].size = 0;
        count++;
    }
    if (count == 0)
        return;
    if (!builders[level])
        builders[level] = segment_builder_new(level ? DEFLATE_LEVEL_BEST : DEFLATE_LEVEL_GOOD);
    struct buffer value = BUFFER_INIT;
    struct buffer raw = BUFFER_INIT;
    for (size_t i = 0; i < count; i++) {
        segment_builder_add(builders[level], &entries[i], lines[i]);
        buffer_append_slice(&raw, lines[i]);
        buffer_append_char(&raw, '\n');
    }
    segment_builder_finish(builders[level], &value);

    struct segment segment;
    CHECK(segment_open(buffer_slice(&value), &segment, NULL) == STATUS_OK);
    CHECK(segment_check(&segment, inflater, NULL) == STATUS_OK);
    CHECK(segment_table_read(&table, &segment, NULL) == STATUS_OK);
    table_must_agree(&segment);
    for (size_t i = 0; i < count; i++) {
        const struct segment_entry *back = &table.entries[i];
        CHECK(slice_equal(back->id, entries[i].id));
        CHECK(back->source_us == entries[i].source_us && back->stamp_us == entries[i].stamp_us);
        CHECK(back->service_first_day == entries[i].service_first_day);
        CHECK(back->service_last_day == entries[i].service_last_day);
        CHECK(back->content_hash == entries[i].content_hash);
        CHECK(back->size == lines[i].size + 1);
    }
    buffer_reset(&scratch);
    CHECK(segment_inflate(&segment, inflater, &scratch, NULL) == STATUS_OK);
    CHECK(slice_equal(buffer_slice(&scratch), buffer_slice(&raw)));
    encode(&segment, entries[count / 2].stamp_us);
    buffer_release(&value);
    buffer_release(&raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!inflater) {
        inflater = inflater_new();
        encoder = encoder_new();
    }
    if (size == 0)
        return 0;
    struct slice rest = slice_make(data + 1, size - 1);
    if (data[0] == 'V')
        run_value(rest);
    else if (data[0] == 'T')
        run_table(rest);
    else if (data[0] == 'B')
        run_recipe(rest);
    return 0;
}
