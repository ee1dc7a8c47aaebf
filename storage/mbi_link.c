#include "storage/mbi_link.h"

#include "codec/base/buffer.h"
#include "codec/base/reader.h"

#define LINK_KIND    'L'
#define LINK_VERSION 1

void key_mbi_link(struct key *key, struct slice mbi, struct slice other)
{
    key_of_id(key, mbi);
    key_id(key, other);
}

enum status mbi_link_parse(struct slice key, struct slice value, struct mbi_link *ret_link,
                           struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader), is_newer = reader_u8(&reader);
    ret_link->birth = reader_u64(&reader);
    if (!reader_done(&reader) || kind != LINK_KIND || version != LINK_VERSION || is_newer > 1 ||
        !key_take_id(&key, &ret_link->mbi) || !key_take_id(&key, &ret_link->other) || key.size)
        return error_set(error, STATUS_CORRUPT, "a row of table %s is malformed",
                         table_names[TABLE_MBI_LINK]);
    ret_link->is_newer = is_newer;
    return STATUS_OK;
}

static enum status link_put_side(struct store_write *write, struct slice mbi, struct slice other,
                                 bool is_newer, struct error *error)
{
    struct buffer value = BUFFER_INIT;
    struct key key;
    buffer_append_u8(&value, LINK_KIND);
    buffer_append_u8(&value, LINK_VERSION);
    buffer_append_u8(&value, is_newer);
    buffer_append_u64(&value, write->sequence);
    key_mbi_link(&key, mbi, other);
    enum status status = engine_put(write->txn, TABLE_MBI_LINK, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

enum status mbi_link_put(struct store_write *write, struct slice current, struct slice previous,
                         bool *ret_is_new, struct error *error)
{
    struct key key;
    struct slice found;
    *ret_is_new = false;
    if (slice_equal(current, previous))
        return STATUS_OK;
    key_mbi_link(&key, current, previous);
    enum status status = engine_get(write->txn, TABLE_MBI_LINK, key_slice(&key), &found, error);
    if (status != STATUS_NOT_FOUND)
        return status;
    *ret_is_new = true;
    status = link_put_side(write, current, previous, true, error);
    return status == STATUS_OK ? link_put_side(write, previous, current, false, error) : status;
}

static bool is_listed(const struct slice *mbis, size_t count, struct slice mbi)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(mbis[i], mbi))
            return true;
    }
    return false;
}

static enum status expand_one(struct engine_txn *txn, struct slice beneficiary, struct slice mbi,
                              struct slice *mbis, size_t *count, struct arena *arena, struct error *error)
{
    struct engine_cursor *cursor;
    struct key prefix;
    struct slice key, value;
    enum status status = engine_cursor_open(txn, TABLE_MBI_LINK, &cursor, error);
    if (status != STATUS_OK)
        return status;
    key_of_id(&prefix, mbi);
    engine_seek_prefix(cursor, key_slice(&prefix), (struct slice){0});
    while (*count < RESOURCE_MBI_MAX && (status = engine_next(cursor, &key, &value, error)) == STATUS_OK) {
        struct mbi_link link;
        struct mbi_row row;
        status = mbi_link_parse(key, value, &link, error);
        if (status == STATUS_OK && is_listed(mbis, *count, link.other))
            continue;
        if (status == STATUS_OK)
            status = mbi_row_get(txn, link.other, &row, error);
        if (status != STATUS_OK)
            break;
        if (row.beneficiary_size == 0 || slice_equal(mbi_row_beneficiary(&row), beneficiary))
            mbis[(*count)++] = arena_copy(arena, link.other);
    }
    engine_cursor_close(cursor);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status mbi_link_expand(struct engine_txn *txn, struct slice beneficiary, struct slice *mbis,
                            size_t *count, struct arena *arena, struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < *count && *count < RESOURCE_MBI_MAX; i++)
        status = expand_one(txn, beneficiary, mbis[i], mbis, count, arena, error);
    return status;
}
