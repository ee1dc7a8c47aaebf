#include "storage/beneficiary.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/reader.h"
#include "storage/accounts.h"
#include "storage/homes.h"

#define BENEFICIARY_KIND    'B'
#define BENEFICIARY_VERSION 2
#define MBI_KIND            'M'
#define MBI_VERSION         2

void beneficiary_init(struct beneficiary *beneficiary)
{
    *beneficiary = (struct beneficiary){.lost_us = INT64_MIN};
}

static enum status beneficiary_parse(struct slice value, struct beneficiary *ret_beneficiary,
                                     struct error *error)
{
    struct beneficiary b = {0};
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    uint8_t types = reader_u8(&reader);
    b.mbi_count = reader_u8(&reader);
    b.aco_count = reader_u8(&reader);
    b.hidden_count = reader_u8(&reader);
    b.home = reader_u32(&reader);
    b.lost_us = reader_i64(&reader);
    if (reader.failed || kind != BENEFICIARY_KIND || version != BENEFICIARY_VERSION ||
        types != RESOURCE_TYPE_COUNT || b.mbi_count > RESOURCE_MBI_MAX ||
        b.aco_count > BENEFICIARY_ACOS_MAX || b.hidden_count > BENEFICIARY_ACOS_MAX)
        return error_set(error, STATUS_CORRUPT, "a beneficiary's row is malformed");
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        b.changed[i] = reader_u64(&reader);
    for (size_t i = 0; i < b.aco_count; i++)
        b.acos[i] = reader_u32(&reader);
    for (size_t i = 0; i < b.hidden_count; i++)
        b.hidden[i] = reader_u32(&reader);
    for (size_t i = 0; i < b.mbi_count; i++)
        b.mbis[i] = reader_sized(&reader);
    if (!reader_done(&reader))
        return error_set(error, STATUS_CORRUPT, "a beneficiary's row has a wrong size");
    *ret_beneficiary = b;
    return STATUS_OK;
}

enum status beneficiary_get(struct engine_txn *txn, struct slice id, struct beneficiary *ret_beneficiary,
                            struct error *error)
{
    struct key key;
    key_of_id(&key, id);
    struct slice value;
    enum status status = engine_get(txn, TABLE_BENEFICIARY, key_slice(&key), &value, error);
    return status == STATUS_OK ? beneficiary_parse(value, ret_beneficiary, error) : status;
}

enum status beneficiary_put(struct store_write *write, struct slice id, const struct beneficiary *beneficiary,
                            struct error *error)
{
    struct buffer value = BUFFER_INIT;
    buffer_append_u8(&value, BENEFICIARY_KIND);
    buffer_append_u8(&value, BENEFICIARY_VERSION);
    buffer_append_u8(&value, RESOURCE_TYPE_COUNT);
    buffer_append_u8(&value, (uint8_t)beneficiary->mbi_count);
    buffer_append_u8(&value, (uint8_t)beneficiary->aco_count);
    buffer_append_u8(&value, (uint8_t)beneficiary->hidden_count);
    buffer_append_u32(&value, beneficiary->home);
    buffer_append_i64(&value, beneficiary->lost_us);
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        buffer_append_u64(&value, beneficiary->changed[i]);
    for (size_t i = 0; i < beneficiary->aco_count; i++)
        buffer_append_u32(&value, beneficiary->acos[i]);
    for (size_t i = 0; i < beneficiary->hidden_count; i++)
        buffer_append_u32(&value, beneficiary->hidden[i]);
    for (size_t i = 0; i < beneficiary->mbi_count; i++)
        buffer_append_sized(&value, beneficiary->mbis[i]);
    struct key key;
    key_of_id(&key, id);
    enum status status =
        engine_put(write->txn, TABLE_BENEFICIARY, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status == STATUS_OK ? homes_note(write, id, beneficiary, error) : status;
}

bool beneficiary_is_to_move(const struct beneficiary *beneficiary)
{
    bool is_at_home = beneficiary->aco_count == 0; /* nobody would gain anything */
    for (size_t i = 0; i < beneficiary->aco_count; i++)
        is_at_home |= beneficiary->acos[i] == beneficiary->home;
    return !is_at_home;
}

enum status beneficiary_watermark(struct engine_txn *txn, const struct beneficiary *beneficiary,
                                  int64_t *ret_us, struct error *error)
{
    int64_t watermark_us = beneficiary->lost_us;
    for (size_t i = 0; i < beneficiary->aco_count; i++) {
        struct aco aco;
        enum status status = aco_get(txn, beneficiary->acos[i], &aco, error);
        if (status != STATUS_OK)
            return status;
        if (aco.newest_transaction_time_us > watermark_us)
            watermark_us = aco.newest_transaction_time_us;
    }
    *ret_us = watermark_us;
    return STATUS_OK;
}

struct slice mbi_row_beneficiary(const struct mbi_row *row)
{
    return slice_make(row->beneficiary, row->beneficiary_size);
}

enum status mbi_row_get(struct engine_txn *txn, struct slice mbi, struct mbi_row *row, struct error *error)
{
    struct key key;
    key_of_id(&key, mbi);
    struct slice value;
    *row = (struct mbi_row){.suppressed_us = INT64_MIN, .due_us = INT64_MAX};
    enum status status = engine_get(txn, TABLE_MBI, key_slice(&key), &value, error);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        return status;
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    size_t aco_count = reader_u8(&reader);
    uint8_t suppressed = reader_u8(&reader);
    row->suppressed_us = reader_i64(&reader);
    row->due_us = reader_i64(&reader);
    struct slice beneficiary = reader_sized(&reader);
    if (reader.failed || kind != MBI_KIND || version != MBI_VERSION || aco_count > BENEFICIARY_ACOS_MAX ||
        suppressed > 1 || beneficiary.size > RESOURCE_ID_MAX)
        return error_set(error, STATUS_CORRUPT, "an MBI's row is malformed");
    row->suppressed = suppressed;
    memcpy(row->beneficiary, beneficiary.data, beneficiary.size);
    row->beneficiary_size = beneficiary.size;
    row->aco_count = aco_count;
    for (size_t i = 0; i < aco_count; i++)
        row->acos[i] = reader_u32(&reader);
    if (!reader_done(&reader))
        return error_set(error, STATUS_CORRUPT, "an MBI's row has a wrong size");
    return STATUS_OK;
}

enum status mbi_row_put(struct store_write *write, struct slice mbi, const struct mbi_row *row,
                        struct error *error)
{
    struct buffer value = BUFFER_INIT;
    buffer_append_u8(&value, MBI_KIND);
    buffer_append_u8(&value, MBI_VERSION);
    buffer_append_u8(&value, (uint8_t)row->aco_count);
    buffer_append_u8(&value, row->suppressed);
    buffer_append_i64(&value, row->suppressed_us);
    buffer_append_i64(&value, row->due_us);
    buffer_append_sized(&value, mbi_row_beneficiary(row));
    for (size_t i = 0; i < row->aco_count; i++)
        buffer_append_u32(&value, row->acos[i]);
    struct key key;
    key_of_id(&key, mbi);
    enum status status = engine_put(write->txn, TABLE_MBI, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

void key_attribution(struct key *key, uint32_t aco, struct slice mbi)
{
    key_init(key);
    key_u32(key, aco);
    key_id(key, mbi);
}

void key_attribution_direct(struct key *key, uint32_t aco, struct slice beneficiary)
{
    char text[RESOURCE_ID_MAX + sizeof DIRECT_MARK];
    CHECK(beneficiary.size <= RESOURCE_ID_MAX);
    memcpy(text, DIRECT_MARK, sizeof DIRECT_MARK - 1);
    memcpy(text + sizeof DIRECT_MARK - 1, beneficiary.data, beneficiary.size);
    key_attribution(key, aco, slice_make(text, sizeof DIRECT_MARK - 1 + beneficiary.size));
}
