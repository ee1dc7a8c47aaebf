#include "storage/interval.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/reader.h"

#define INTERVAL_KIND    'A'
#define INTERVAL_VERSION 1
#define INTERVAL_BYTES   36

enum status interval_row_parse(struct slice value, struct interval_row *row, struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    size_t count = reader_u16(&reader);
    if (reader.failed || kind != INTERVAL_KIND || version != INTERVAL_VERSION || count > INTERVALS_MAX)
        return error_set(error, STATUS_CORRUPT, "a row of intervals is malformed");
    for (size_t i = 0; i < count; i++) {
        struct interval *item = &row->items[i];
        item->start_us = reader_i64(&reader);
        item->end_us = reader_i64(&reader);
        item->birth = reader_u64(&reader);
        item->death = reader_u64(&reader);
        item->home = reader_u32(&reader);
    }
    if (!reader_done(&reader))
        return error_set(error, STATUS_CORRUPT, "a row of intervals has a wrong size");
    row->count = count;
    return STATUS_OK;
}

enum status interval_row_get(struct engine_txn *txn, unsigned table, struct slice key,
                             struct interval_row *row, struct error *error)
{
    row->count = 0;
    struct slice value;
    enum status status = engine_get(txn, table, key, &value, error);
    return status == STATUS_OK ? interval_row_parse(value, row, error) : status;
}

static void row_remove(struct interval_row *row, size_t index)
{
    memmove(row->items + index, row->items + index + 1, (row->count - index - 1) * sizeof *row->items);
    row->count--;
}

/* The version whose loss matters least: the closed interval that ended first, else the first that was
 * superseded; never the standing open one. */
static size_t row_least(const struct interval_row *row)
{
    size_t least = row->count, superseded = row->count;
    for (size_t i = row->count; i-- > 0;) {
        if (row->items[i].death != SEQUENCE_NEVER)
            superseded = i;
        if (row->items[i].end_us != INTERVAL_OPEN_US &&
            (least == row->count || row->items[i].end_us <= row->items[least].end_us))
            least = i;
    }
    if (least == row->count)
        least = superseded;
    CHECK(least < row->count); /* at most one item is open and stands */
    return least;
}

enum status interval_row_put(struct store_write *write, unsigned table, struct slice key,
                             struct interval_row *row, uint64_t oldest_sequence, struct error *error)
{
    for (size_t i = row->count; i-- > 0;) {
        if (row->items[i].death != SEQUENCE_NEVER && row->items[i].death <= oldest_sequence)
            row_remove(row, i);
    }
    while (row->count > INTERVALS_MAX)
        row_remove(row, row_least(row));
    struct buffer value = BUFFER_INIT;
    buffer_append_u8(&value, INTERVAL_KIND);
    buffer_append_u8(&value, INTERVAL_VERSION);
    buffer_append_u16(&value, (uint16_t)row->count);
    for (size_t i = 0; i < row->count; i++) {
        const struct interval *item = &row->items[i];
        buffer_append_i64(&value, item->start_us);
        buffer_append_i64(&value, item->end_us);
        buffer_append_u64(&value, item->birth);
        buffer_append_u64(&value, item->death);
        buffer_append_u32(&value, item->home);
    }
    enum status status = engine_put(write->txn, table, key, buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

struct interval *interval_row_open_one(struct interval_row *row)
{
    for (size_t i = 0; i < row->count; i++) {
        if (row->items[i].death == SEQUENCE_NEVER && row->items[i].end_us == INTERVAL_OPEN_US)
            return &row->items[i];
    }
    return NULL;
}

void interval_row_begin(struct interval_row *row, int64_t start_us, uint64_t sequence, uint32_t home)
{
    CHECK(!interval_row_open_one(row) && row->count < INTERVALS_MAX + 2);
    row->items[row->count++] = (struct interval){.start_us = start_us,
                                                 .end_us = INTERVAL_OPEN_US,
                                                 .birth = sequence,
                                                 .death = SEQUENCE_NEVER,
                                                 .home = home};
}

void interval_row_end(struct interval_row *row, int64_t end_us, uint64_t sequence)
{
    struct interval *open = interval_row_open_one(row);
    CHECK(open && row->count < INTERVALS_MAX + 2);
    struct interval closed = *open;
    open->death = sequence;
    closed.end_us = end_us;
    closed.birth = sequence;
    if (closed.end_us > closed.start_us)
        row->items[row->count++] = closed;
}

void interval_row_move(struct interval_row *row, uint64_t sequence, uint32_t home)
{
    struct interval *open = interval_row_open_one(row);
    CHECK(open && row->count < INTERVALS_MAX + 2);
    struct interval moved = *open;
    open->death = sequence;
    moved.birth = sequence;
    moved.home = home;
    row->items[row->count++] = moved;
}

bool interval_row_may_move(const struct interval_row *row, uint64_t oldest_sequence)
{
    size_t kept = 0;
    for (size_t i = 0; i < row->count; i++)
        kept += row->items[i].death == SEQUENCE_NEVER || row->items[i].death > oldest_sequence;
    return kept + (oldest_sequence != UINT64_MAX) <=
           INTERVALS_MAX; /* without a job nobody needs the old one */
}

bool interval_is_visible(const struct interval *interval, uint64_t sequence)
{
    return interval->birth <= sequence && (interval->death == SEQUENCE_NEVER || interval->death > sequence);
}

const struct interval *interval_row_open_at(const struct interval_row *row, uint64_t sequence)
{
    for (size_t i = 0; i < row->count; i++) {
        if (row->items[i].end_us == INTERVAL_OPEN_US && interval_is_visible(&row->items[i], sequence))
            return &row->items[i];
    }
    return NULL;
}

bool interval_row_covers(const struct interval_row *row, uint64_t sequence, int64_t instant_us)
{
    for (size_t i = 0; i < row->count; i++) {
        const struct interval *item = &row->items[i];
        if (interval_is_visible(item, sequence) && item->start_us <= instant_us && instant_us < item->end_us)
            return true;
    }
    return false;
}
