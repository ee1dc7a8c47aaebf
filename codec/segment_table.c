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

/* ---- Numbers: LEB128 */

static void append_number(struct buffer *target, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        buffer_append_u8(target, (uint8_t)(value | 0x80));
    buffer_append_u8(target, (uint8_t)value);
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

/* ---- Columns: the lowest value, the bits of the largest distance from it, the distances in so many bits */

static unsigned bits_of(uint64_t value)
{
    return value ? 64 - (unsigned)__builtin_clzll(value) : 0;
}

static void append_bits(struct buffer *target, const uint64_t *values, size_t count, uint64_t base,
                        unsigned width)
{
    uint64_t pending = 0;
    unsigned used = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = values[i] - base;
        pending |= value << used;
        if (used + width < 64) {
            used += width;
            continue;
        }
        buffer_append_u64(target, pending);
        pending = used ? value >> (64 - used) : 0;
        used = used + width - 64;
    }
    for (; used > 0; used -= used < 8 ? used : 8, pending >>= 8)
        buffer_append_u8(target, (uint8_t)pending);
}

static void append_column(struct buffer *target, const uint64_t *values, size_t count)
{
    uint64_t low = values[0];
    uint64_t high = values[0];
    for (size_t i = 1; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    append_number(target, low);
    buffer_append_u8(target, (uint8_t)bits_of(high - low));
    append_bits(target, values, count, low, bits_of(high - low));
}

struct column {
    uint64_t base;
    unsigned width;
    const uint8_t *at;
    unsigned bit; /* of *at */
};

/* Takes the bits of `count` values; there are so many then. */
static struct column take_bits(struct reader *reader, size_t count, uint64_t base, unsigned width)
{
    struct slice bytes = {"", 0};
    if (width > 64)
        reader->failed = true;
    else
        bytes = reader_take(reader, (count * width + 7) / 8);
    return (struct column){base, reader->failed ? 0 : width, (const uint8_t *)bytes.data, 0};
}

static struct column take_column(struct reader *reader, size_t count)
{
    uint64_t base = take_number(reader);
    unsigned width = reader_u8(reader);
    return take_bits(reader, count, base, width);
}

static uint64_t column_next(struct column *column)
{
    uint64_t value = 0;
    for (unsigned have = 0; have < column->width;) {
        unsigned left = column->width - have;
        unsigned part = 8 - column->bit < left ? 8 - column->bit : left;
        value |= (uint64_t)(*column->at >> column->bit & ((1u << part) - 1)) << have;
        have += part;
        column->bit += part;
        column->at += column->bit / 8;
        column->bit %= 8;
    }
    return column->base + value; /* may wrap; whoever asks checks the range */
}

/* ---- Writing */

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

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void encode_times(const struct segment_entry *entries, size_t count, int64_t oldest_us,
                         uint64_t *numbers, struct buffer *target)
{
    int64_t *instants = (int64_t *)numbers;
    uint64_t *values = numbers + 2 * count;
    size_t distinct = instants_collect(entries, count, instants);
    /* Differences wrap: they are exact modulo 2^64, and so is the way back. */
    uint64_t first = (uint64_t)instants[0];
    uint64_t unit = 0;
    for (size_t i = 0; i < distinct; i++) {
        values[i] = (uint64_t)instants[i] - first;
        unit = common_divisor(unit, values[i]);
    }
    append_number(target, distinct);
    append_number(target, zigzag((int64_t)(first - (uint64_t)oldest_us)));
    append_number(target, unit);
    for (size_t i = 1; i < distinct; i++)
        values[i] /= unit;
    append_column(target, values, distinct);
    for (size_t i = 0; i < count; i++)
        values[i] = instant_index(instants, distinct, entries[i].stamp_us);
    append_column(target, values, count);
    for (size_t i = 0; i < count; i++)
        values[i] = zigzag((int64_t)(instant_index(instants, distinct, entries[i].source_us) - values[i]));
    append_column(target, values, count);
}

static void encode_days(const struct segment_entry *entries, size_t count, uint64_t *numbers,
                        struct buffer *target)
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
        numbers[i] = first == DAY_NONE ? 0 : (uint64_t)(1 + first - base);
    }
    append_column(target, numbers, count);
    for (size_t i = 0; i < count; i++) {
        int64_t first = entries[i].service_first_day;
        int64_t last = entries[i].service_last_day;
        numbers[i] = last == DAY_NONE ? 0 : 1 + zigzag(last - (first == DAY_NONE ? base : first));
    }
    append_column(target, numbers, count);
}

static size_t shared_bytes(struct slice a, struct slice b)
{
    size_t shared = 0;
    while (shared < a.size && shared < b.size && a.data[shared] == b.data[shared])
        shared++;
    return shared;
}

static void encode_ids(const struct segment_entry *entries, size_t count, uint64_t *numbers,
                       struct buffer *target)
{
    uint64_t *shared = numbers;
    uint64_t *rest = numbers + count;
    bool used[256] = {false};
    for (size_t i = 0; i < count; i++) {
        struct slice id = entries[i].id;
        shared[i] = i == 0 ? 0 : shared_bytes(entries[i - 1].id, id);
        rest[i] = id.size - shared[i];
        for (size_t at = shared[i]; at < id.size; at++)
            used[(uint8_t)id.data[at]] = true;
    }
    append_column(target, shared, count);
    append_column(target, rest, count);

    size_t rest_total = 0;
    for (size_t i = 0; i < count; i++)
        rest_total += rest[i];
    uint8_t codes[256];
    size_t alphabet = 0;
    for (size_t byte = 0; byte < 256; byte++)
        if (used[byte])
            codes[byte] = (uint8_t)alphabet++;
    unsigned width = bits_of(alphabet - 1);
    if (alphabet + (rest_total * width + 7) / 8 >= rest_total) {
        alphabet = 0; /* nothing gained: the bytes as they are */
        width = 8;
    }
    buffer_append_u8(target, (uint8_t)alphabet);
    for (size_t byte = 0; byte < 256; byte++) {
        if (used[byte] && alphabet)
            buffer_append_u8(target, (uint8_t)byte);
        if (!alphabet)
            codes[byte] = (uint8_t)byte;
    }
    uint64_t pending = 0;
    unsigned filled = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t at = shared[i]; at < entries[i].id.size; at++) {
            pending |= (uint64_t)codes[(uint8_t)entries[i].id.data[at]] << filled;
            filled += width;
            for (; filled >= 8; filled -= 8, pending >>= 8)
                buffer_append_u8(target, (uint8_t)pending);
        }
    if (filled > 0)
        buffer_append_u8(target, (uint8_t)pending);
}

void segment_table_encode(const struct segment_entry *entries, size_t count, int64_t oldest_us,
                          uint64_t *numbers, struct buffer *target)
{
    encode_times(entries, count, oldest_us, numbers, target);
    for (size_t i = 0; i < count; i++)
        numbers[i] = entries[i].size;
    append_column(target, numbers, count);
    encode_days(entries, count, numbers, target);
    encode_ids(entries, count, numbers, target);
}

/* ---- Reading */

void segment_table_init(struct segment_table *table)
{
    *table = (struct segment_table){0};
}

void segment_table_release(struct segment_table *table)
{
    mem_free(table->entries);
    mem_free(table->instants);
    buffer_release(&table->ids);
    segment_table_init(table);
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
    uint64_t first = (uint64_t)segment->oldest_us + (uint64_t)unzigzag(take_number(reader));
    uint64_t unit = take_number(reader);
    struct column column = take_column(reader, distinct);
    for (size_t i = 0; i < distinct; i++) {
        uint64_t distance;
        if (__builtin_mul_overflow(column_next(&column), unit, &distance))
            return false;
        instants[i] = (int64_t)(first + distance);
    }
    int64_t oldest = INT64_MAX;
    int64_t newest = INT64_MIN;
    column = take_column(reader, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t index = column_next(&column);
        if (index >= distinct)
            return false;
        entries[i].stamp_us = instants[index];
        entries[i].offset = (uint32_t)index; /* until the sizes are read */
        oldest = instants[index] < oldest ? instants[index] : oldest;
        newest = instants[index] > newest ? instants[index] : newest;
    }
    column = take_column(reader, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t index = (uint64_t)unzigzag(column_next(&column)) + entries[i].offset;
        if (index >= distinct)
            return false;
        entries[i].source_us = instants[index];
    }
    return oldest == segment->oldest_us && newest == segment->newest_us;
}

static bool decode_sizes(struct segment_table *table, const struct segment *segment, struct reader *reader)
{
    uint32_t offset = 0;
    struct column column = take_column(reader, segment->count);
    for (size_t i = 0; i < segment->count; i++) {
        uint64_t size = column_next(&column);
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
    struct column column = take_column(reader, segment->count);
    for (size_t i = 0; i < segment->count; i++) {
        uint64_t number = column_next(&column);
        if (number > UINT32_MAX)
            return false;
        int64_t first = number == 0 ? base : base + (int64_t)number - 1;
        if (!day_fits(first))
            return false;
        table->entries[i].service_first_day = number == 0 ? DAY_NONE : (int32_t)first;
    }
    column = take_column(reader, segment->count);
    for (size_t i = 0; i < segment->count; i++) {
        uint64_t number = column_next(&column);
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
    struct column shared_sizes = take_column(reader, count);
    struct column rest_sizes = take_column(reader, count);
    size_t alphabet_size = reader_u8(reader);
    struct slice alphabet = reader_take(reader, alphabet_size);
    size_t rest_total = 0;
    for (struct column sizes = rest_sizes; count > 0; count--) {
        uint64_t rest = column_next(&sizes);
        if (rest < 1 || rest > RESOURCE_ID_MAX)
            return false;
        rest_total += rest;
    }
    struct column codes = take_bits(reader, rest_total, 0, alphabet_size ? bits_of(alphabet_size - 1) : 8);
    if (reader->failed)
        return false;

    buffer_reset(&table->ids);
    char *at = buffer_reserve(&table->ids, segment->count * RESOURCE_ID_MAX);
    struct slice before = {"", 0};
    for (size_t i = 0; i < segment->count; i++) {
        uint64_t shared = column_next(&shared_sizes);
        uint64_t rest = column_next(&rest_sizes);
        if (shared > before.size || shared + rest > RESOURCE_ID_MAX)
            return false;
        memcpy(at, before.data, shared);
        for (uint64_t j = 0; j < rest; j++) {
            uint64_t code = column_next(&codes);
            if (alphabet_size && code >= alphabet_size)
                return false;
            at[shared + j] = alphabet_size ? alphabet.data[code] : (char)code;
        }
        struct slice id = {at, shared + rest};
        if (slice_compare(before, id) >= 0)
            return false;
        table->entries[i].id = id;
        before = id;
        at += id.size;
    }
    return true;
}

enum status segment_table_read(struct segment_table *table, const struct segment *segment,
                               struct error *error)
{
    size_t count = segment->count;
    table->count = 0;
    if (table->capacity < count) {
        mem_free(table->entries);
        table->entries = mem_new_array(struct segment_entry, count);
        table->capacity = count;
    }
    struct reader reader = reader_make(segment->table);
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
