#include "codec/segment_table.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"
#include "codec/instant.h"
#include "codec/resource.h"

#include <stdlib.h>

static uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

static void append_number(struct buffer *target, uint64_t value)
{
    char *at = buffer_reserve(target, 10);
    size_t size = 0;
    for (; value >= 0x80; value >>= 7)
        at[size++] = (char)(value | 0x80);
    at[size++] = (char)value;
    target->size += size;
}

static uint64_t take_number(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader_u8(reader);
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    reader->failed = true;
    return 0;
}

static int instant_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static size_t instants_collect(const struct segment_entry *entries, size_t count, int64_t *instants)
{
    size_t all = 0;
    for (size_t i = 0; i < count; i++) {
        /* Neighbours often share their instants; what is left over is sorted. */
        if (i == 0 || entries[i].stamp_us != entries[i - 1].stamp_us)
            instants[all++] = entries[i].stamp_us;
        if (entries[i].source_us != instants[all - 1])
            instants[all++] = entries[i].source_us;
    }
    qsort(instants, all, sizeof *instants, instant_compare);
    size_t distinct = 1;
    for (size_t i = 1; i < all; i++)
        if (instants[i] != instants[distinct - 1])
            instants[distinct++] = instants[i];
    return distinct;
}

static size_t instant_index(const int64_t *instants, size_t count, int64_t instant)
{
    const int64_t *found = bsearch(&instant, instants, count, sizeof *instants, instant_compare);
    CHECK(found);
    return (size_t)(found - instants);
}

static void encode_times(const struct segment_entry *entries, size_t count, int64_t oldest_us,
                         int64_t *instants, struct buffer *target)
{
    size_t distinct = instants_collect(entries, count, instants);
    append_number(target, distinct);
    /* Differences wrap: they are exact modulo 2^64, and so is the way back. */
    append_number(target, zigzag((int64_t)((uint64_t)instants[0] - (uint64_t)oldest_us)));
    for (size_t i = 1; i < distinct; i++)
        append_number(target, (uint64_t)instants[i] - (uint64_t)instants[i - 1]);
    for (size_t i = 0; i < count; i++)
        append_number(target, instant_index(instants, distinct, entries[i].stamp_us));
    for (size_t i = 0; i < count; i++) {
        size_t stamp = instant_index(instants, distinct, entries[i].stamp_us);
        size_t source = instant_index(instants, distinct, entries[i].source_us);
        append_number(target, zigzag((int64_t)source - (int64_t)stamp));
    }
}

static void encode_days(const struct segment_entry *entries, size_t count, struct buffer *target)
{
    int64_t base = INT64_MAX;
    for (size_t i = 0; i < count; i++)
        if (entries[i].service_first_day != DAY_NONE && entries[i].service_first_day < base)
            base = entries[i].service_first_day;
    if (base == INT64_MAX)
        base = 0;
    append_number(target, zigzag(base));
    for (size_t i = 0; i < count; i++) {
        int64_t first = entries[i].service_first_day;
        append_number(target, first == DAY_NONE ? 0 : (uint64_t)(1 + first - base));
    }
    for (size_t i = 0; i < count; i++) {
        int64_t first = entries[i].service_first_day;
        int64_t last = entries[i].service_last_day;
        append_number(target, last == DAY_NONE ? 0 : 1 + zigzag(last - (first == DAY_NONE ? base : first)));
    }
}

static size_t shared_bytes(struct slice a, struct slice b)
{
    size_t shared = 0;
    while (shared < a.size && shared < b.size && a.data[shared] == b.data[shared])
        shared++;
    return shared;
}

static void encode_ids(const struct segment_entry *entries, size_t count, struct buffer *target)
{
    buffer_reserve(target, count * (2 + RESOURCE_ID_MAX)); /* nothing moves below */
    uint8_t *shared = (uint8_t *)buffer_extend(target, count);
    uint8_t *rest = (uint8_t *)buffer_extend(target, count);
    struct slice before = {"", 0};
    for (size_t i = 0; i < count; i++) {
        struct slice tail = slice_skip(entries[i].id, shared_bytes(before, entries[i].id));
        shared[i] = (uint8_t)(entries[i].id.size - tail.size);
        rest[i] = (uint8_t)tail.size;
        buffer_append_slice(target, tail);
        before = entries[i].id;
    }
}

void segment_table_encode(const struct segment_entry *entries, size_t count, int64_t oldest_us,
                          int64_t *instants, struct buffer *target)
{
    size_t begin = target->size;
    encode_times(entries, count, oldest_us, instants, target);
    for (size_t i = 0; i < count; i++)
        append_number(target, entries[i].size);
    encode_days(entries, count, target);
    encode_ids(entries, count, target);
    CHECK(target->size - begin <= SEGMENT_TABLE_BYTES_MAX(count));
}

void segment_table_init(struct segment_table *table)
{
    *table = (struct segment_table){0};
}

void segment_table_release(struct segment_table *table)
{
    mem_free(table->entries);
    mem_free(table->instants);
    buffer_release(&table->raw);
    buffer_release(&table->ids);
    segment_table_init(table);
}

static enum status table_inflate(struct segment_table *table, const struct segment *segment,
                                 struct inflater *inflater, struct error *error)
{
    buffer_reset(&table->raw);
    if (segment->table.size == segment->table_raw_bytes) {
        buffer_append_slice(&table->raw, segment->table);
        return STATUS_OK;
    }
    enum status status = inflater_stream(inflater, segment->table, segment->table_raw_bytes,
                                         buffer_reserve(&table->raw, segment->table_raw_bytes), error);
    if (status != STATUS_OK)
        return status;
    table->raw.size = segment->table_raw_bytes;
    return STATUS_OK;
}

static bool decode_times(struct segment_table *table, const struct segment *segment, struct reader *reader)
{
    struct segment_entry *entries = table->entries;
    size_t count = segment->count;
    uint64_t distinct = take_number(reader);
    if (distinct < 1 || distinct > 2 * count)
        return false;
    if (table->instant_capacity < distinct) {
        mem_free(table->instants);
        table->instants = mem_new_array(int64_t, distinct);
        table->instant_capacity = distinct;
    }
    int64_t *instants = table->instants;
    instants[0] = (int64_t)((uint64_t)segment->oldest_us + (uint64_t)unzigzag(take_number(reader)));
    for (size_t i = 1; i < distinct; i++) {
        instants[i] = (int64_t)((uint64_t)instants[i - 1] + take_number(reader));
        if (instants[i] <= instants[i - 1])
            return false;
    }
    int64_t oldest = INT64_MAX;
    int64_t newest = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        uint64_t index = take_number(reader);
        if (index >= distinct)
            return false;
        entries[i].stamp_us = instants[index];
        entries[i].offset = (uint32_t)index; /* until the sizes are read */
        oldest = instants[index] < oldest ? instants[index] : oldest;
        newest = instants[index] > newest ? instants[index] : newest;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t index = (uint64_t)unzigzag(take_number(reader)) + entries[i].offset;
        if (index >= distinct)
            return false;
        entries[i].source_us = instants[index];
    }
    return oldest == segment->oldest_us && newest == segment->newest_us;
}

static bool decode_sizes(struct segment_table *table, const struct segment *segment, struct reader *reader)
{
    uint32_t offset = 0;
    for (size_t i = 0; i < segment->count; i++) {
        uint64_t size = take_number(reader);
        if (size < 1 || size > segment->raw_bytes - offset)
            return false;
        table->entries[i].offset = offset;
        table->entries[i].size = (uint32_t)size;
        offset += (uint32_t)size;
    }
    return offset == segment->raw_bytes;
}

/* DAY_NONE is not among the days that are written as numbers. */
static bool day_fits(int64_t day)
{
    return day > INT32_MIN && day <= INT32_MAX;
}

static bool decode_days(struct segment_table *table, const struct segment *segment, struct reader *reader)
{
    int64_t base = unzigzag(take_number(reader));
    if (!day_fits(base))
        return false;
    for (size_t i = 0; i < segment->count; i++) {
        uint64_t number = take_number(reader);
        if (number > UINT32_MAX || !day_fits(base + (int64_t)number - 1 + (number == 0)))
            return false;
        table->entries[i].service_first_day = number == 0 ? DAY_NONE : (int32_t)(base + (int64_t)number - 1);
    }
    for (size_t i = 0; i < segment->count; i++) {
        uint64_t number = take_number(reader);
        if (number > (uint64_t)UINT32_MAX * 2)
            return false;
        int64_t first = table->entries[i].service_first_day;
        int64_t last = number == 0 ? 0 : unzigzag(number - 1) + (first == DAY_NONE ? base : first);
        if (!day_fits(last))
            return false;
        table->entries[i].service_last_day = number == 0 ? DAY_NONE : (int32_t)last;
    }
    return true;
}

static bool decode_ids(struct segment_table *table, const struct segment *segment, struct reader *reader)
{
    size_t count = segment->count;
    struct slice shared = reader_take(reader, count);
    struct slice rest = reader_take(reader, count);
    if (reader->failed)
        return false;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += (uint8_t)shared.data[i] + (size_t)(uint8_t)rest.data[i];
    buffer_reset(&table->ids);
    char *at = buffer_reserve(&table->ids, bytes);
    struct slice before = {"", 0};
    for (size_t i = 0; i < count; i++) {
        size_t shared_size = (uint8_t)shared.data[i];
        size_t rest_size = (uint8_t)rest.data[i];
        struct slice tail = reader_take(reader, rest_size);
        if (reader->failed || shared_size > before.size || rest_size < 1 ||
            shared_size + rest_size > RESOURCE_ID_MAX)
            return false;
        if (shared_size)
            memcpy(at, before.data, shared_size);
        memcpy(at + shared_size, tail.data, rest_size);
        struct slice id = {at, shared_size + rest_size};
        if (slice_compare(before, id) >= 0)
            return false;
        table->entries[i].id = id;
        before = id;
        at += id.size;
    }
    return true;
}

enum status segment_table_read(struct segment_table *table, const struct segment *segment,
                               struct inflater *inflater, struct error *error)
{
    size_t count = segment->count;
    table->count = 0;
    enum status status = table_inflate(table, segment, inflater, error);
    if (status != STATUS_OK) {
        error_prefix(error, "segment table");
        return status;
    }
    if (table->capacity < count) {
        mem_free(table->entries);
        table->entries = mem_new_array(struct segment_entry, count);
        table->capacity = count;
    }
    struct reader reader = reader_make(buffer_slice(&table->raw));
    const char *wrong = !decode_times(table, segment, &reader)   ? "times"
                        : !decode_sizes(table, segment, &reader) ? "sizes"
                        : !decode_days(table, segment, &reader)  ? "days"
                        : !decode_ids(table, segment, &reader)   ? "ids"
                        : !reader_done(&reader)                  ? "end"
                                                                 : NULL;
    if (wrong)
        return error_set(error, STATUS_CORRUPT, "segment table: wrong %s", wrong);
    for (size_t i = 0; i < count; i++)
        table->entries[i].content_hash = load_u64_le(segment->hashes.data + 8 * i);
    table->count = count;
    return STATUS_OK;
}

const struct segment_entry *segment_table_find(const struct segment_table *table, struct slice id)
{
    size_t low = 0;
    size_t high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = slice_compare(table->entries[middle].id, id);
        if (order == 0)
            return &table->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
