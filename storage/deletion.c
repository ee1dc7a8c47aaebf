#include "storage/deletion.h"

#include "codec/base/buffer.h"
#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"
#include "storage/resource_index.h"

#define TOMBSTONE_KIND    'T'
#define TOMBSTONE_VERSION 1
#define DELETED_KIND      'D'
#define DELETED_VERSION   1

/* ---- tombstones ---- */

enum status tombstone_parse(struct slice value, struct tombstone *ret_tombstone, struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    struct tombstone tombstone = {.source_us = reader_i64(&reader)};
    tombstone.stamp_us = reader_i64(&reader);
    tombstone.birth = reader_u64(&reader);
    tombstone.changed = reader_u64(&reader);
    tombstone.beneficiary = reader_sized(&reader);
    if (!reader_done(&reader) || kind != TOMBSTONE_KIND || version != TOMBSTONE_VERSION ||
        tombstone.beneficiary.size > RESOURCE_ID_MAX)
        return error_set(error, STATUS_CORRUPT, "a tombstone's row is malformed");
    *ret_tombstone = tombstone;
    return STATUS_OK;
}

enum status tombstone_get(struct engine_txn *txn, enum resource_type type, struct slice id,
                          struct tombstone *ret_tombstone, struct error *error)
{
    struct key key;
    struct slice value;
    key_resource(&key, type, id);
    enum status status = engine_get(txn, TABLE_TOMBSTONE, key_slice(&key), &value, error);
    return status == STATUS_OK ? tombstone_parse(value, ret_tombstone, error) : status;
}

static enum status tombstone_put(struct store_write *write, enum resource_type type, struct slice id,
                                 const struct tombstone *tombstone, struct error *error)
{
    struct buffer value = BUFFER_INIT;
    buffer_append_u8(&value, TOMBSTONE_KIND);
    buffer_append_u8(&value, TOMBSTONE_VERSION);
    buffer_append_i64(&value, tombstone->source_us);
    buffer_append_i64(&value, tombstone->stamp_us);
    buffer_append_u64(&value, tombstone->birth);
    buffer_append_u64(&value, write->sequence);
    buffer_append_sized(&value, tombstone->beneficiary);
    struct key key;
    key_resource(&key, type, id);
    enum status status =
        engine_put(write->txn, TABLE_TOMBSTONE, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

/* ---- rows of deletions ---- */

static void key_deleted_since(struct key *key, struct slice beneficiary, int64_t stamp_us)
{
    key_of_id(key, beneficiary);
    key_instant(key, stamp_us);
}

void key_deleted(struct key *key, const struct deletion *deletion)
{
    key_deleted_since(key, deletion->beneficiary, deletion->stamp_us);
    key_u8(key, (uint8_t)deletion->type);
    key_id(key, deletion->id);
    key_u64(key, deletion->birth);
}

enum status deletion_parse(struct slice key, struct slice value, struct deletion *ret_deletion,
                           struct error *error)
{
    struct deletion deletion;
    uint8_t type;
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    deletion.death = reader_u64(&reader);
    if (!key_take_id(&key, &deletion.beneficiary) || !key_take_instant(&key, &deletion.stamp_us) ||
        !key_take_u8(&key, &type) || type >= RESOURCE_TYPE_COUNT || !key_take_id(&key, &deletion.id) ||
        !key_take_u64(&key, &deletion.birth) || key.size)
        return error_set(error, STATUS_CORRUPT, "a key of table %s is malformed", table_names[TABLE_DELETED]);
    if (!reader_done(&reader) || kind != DELETED_KIND || version != DELETED_VERSION)
        return error_set(error, STATUS_CORRUPT, "a deletion's row is malformed");
    deletion.type = (enum resource_type)type;
    *ret_deletion = deletion;
    return STATUS_OK;
}

static enum status deletion_put(struct store_write *write, const struct key *key, uint64_t death,
                                struct error *error)
{
    char value[2 + sizeof death] = {DELETED_KIND, DELETED_VERSION};
    store_u64_le(value + 2, death);
    return engine_put(write->txn, TABLE_DELETED, key_slice(key), slice_make(value, sizeof value), error);
}

/* ---- changes ---- */

enum status deletion_record(struct store_write *write, enum resource_type type, struct slice id,
                            struct slice beneficiary, int64_t source_us, int64_t stamp_us,
                            struct error *error)
{
    struct key key;
    struct slice owner;
    enum status status = resource_index_get(write->txn, type, id, &owner, error);
    if (status == STATUS_NOT_FOUND || (status == STATUS_OK && !slice_equal(owner, beneficiary)))
        return error_set(error, STATUS_INVALID, "a delta deletes a resource that is not there");
    if (status == STATUS_OK)
        status = resource_index_delete(write, type, &id, 1, error);
    if (status != STATUS_OK)
        return status;
    struct deletion deletion = {
        .beneficiary = beneficiary, .id = id, .type = type, .stamp_us = stamp_us, .birth = write->sequence};
    struct tombstone tombstone = {
        .source_us = source_us, .stamp_us = stamp_us, .birth = write->sequence, .beneficiary = beneficiary};
    key_deleted(&key, &deletion);
    status = deletion_put(write, &key, SEQUENCE_NEVER, error);
    return status == STATUS_OK ? tombstone_put(write, type, id, &tombstone, error) : status;
}

enum status deletion_remember(struct store_write *write, enum resource_type type, struct slice id,
                              int64_t source_us, struct error *error)
{
    struct tombstone tombstone = {.source_us = source_us};
    char beneficiary[RESOURCE_ID_MAX];
    enum status status = tombstone_get(write->txn, type, id, &tombstone, error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    if (status == STATUS_OK && tombstone.source_us >= source_us)
        return STATUS_OK;
    tombstone.source_us = source_us;
    /* The row that it borrows from is about to change. */
    if (tombstone.beneficiary.size)
        memcpy(beneficiary, tombstone.beneficiary.data, tombstone.beneficiary.size);
    tombstone.beneficiary = slice_make(beneficiary, tombstone.beneficiary.size);
    return tombstone_put(write, type, id, &tombstone, error);
}

static enum status deletion_supersede(struct store_write *write, const struct key *key, bool is_pinned,
                                      struct error *error)
{
    if (!is_pinned)
        return engine_delete(write->txn, TABLE_DELETED, key_slice(key), error);
    struct key dead;
    key_of_u64(&dead, write->sequence);
    key_u8(&dead, DEAD_DELETED);
    CHECK(dead.size + key->size <= sizeof dead.bytes);
    memcpy(dead.bytes + dead.size, key->bytes, key->size);
    dead.size += key->size;
    enum status status = deletion_put(write, key, write->sequence, error);
    return status == STATUS_OK
               ? engine_put(write->txn, TABLE_DEAD, key_slice(&dead), SLICE_LITERAL(""), error)
               : status;
}

enum status deletion_end(struct store_write *write, enum resource_type type, struct slice id, bool is_pinned,
                         struct error *error)
{
    struct tombstone tombstone;
    enum status status = tombstone_get(write->txn, type, id, &tombstone, error);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status == STATUS_OK && tombstone.beneficiary.size) {
        struct key key;
        struct deletion deletion = {.beneficiary = tombstone.beneficiary,
                                    .id = id,
                                    .type = type,
                                    .stamp_us = tombstone.stamp_us,
                                    .birth = tombstone.birth};
        key_deleted(&key, &deletion);
        status = deletion_supersede(write, &key, is_pinned, error);
        if (status == STATUS_NOT_FOUND)
            status = error_set(error, STATUS_CORRUPT, "a deletion is missing that a tombstone names");
    }
    struct key key;
    key_resource(&key, type, id);
    return status == STATUS_OK ? engine_delete(write->txn, TABLE_TOMBSTONE, key_slice(&key), error) : status;
}

enum status deletion_collect(struct store_write *write, struct slice deleted_key, struct error *error)
{
    return engine_delete(write->txn, TABLE_DELETED, deleted_key, error);
}

/* ---- scanning ---- */

struct deletion_scan {
    struct engine_cursor *cursor;
    uint64_t sequence;
    struct key prefix; /* of the beneficiary that is asked about */
    /* The cursor has walked on from `floor` (0 bytes: from before all) to what waits, or to the end: nothing
     * stands between the two. */
    struct key floor;
    bool is_placed;
    bool at_end;
    bool waits;
    enum status status; /* of what waits: STATUS_OK, or STATUS_CORRUPT with its text */
    struct error damage;
    struct key key;
    struct slice value; /* borrowed until the cursor's next step */
};

enum status deletion_scan_open(struct engine_txn *txn, uint64_t sequence, struct deletion_scan **ret_scan,
                               struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, TABLE_DELETED, &cursor, error);
    if (status != STATUS_OK)
        return status;
    struct deletion_scan *scan = mem_new(struct deletion_scan);
    scan->cursor = cursor;
    scan->sequence = sequence;
    *ret_scan = scan;
    return STATUS_OK;
}

void deletion_scan_close(struct deletion_scan *scan)
{
    if (!scan)
        return;
    engine_cursor_close(scan->cursor);
    mem_free(scan);
}

bool deletion_scan_is_over(const struct deletion_scan *scan)
{
    return scan->is_placed && scan->at_end;
}

void deletion_scan_seek(struct deletion_scan *scan, struct slice beneficiary, int64_t since_us)
{
    struct key from;
    key_of_id(&scan->prefix, beneficiary);
    key_deleted_since(&from, beneficiary, since_us == INT64_MAX ? since_us : since_us + 1);
    bool is_ahead = scan->is_placed && slice_compare(key_slice(&scan->floor), key_slice(&from)) <= 0;
    if (is_ahead &&
        (scan->at_end || (scan->waits && slice_compare(key_slice(&from), key_slice(&scan->key)) <= 0)))
        return;
    scan->floor = from;
    scan->is_placed = true;
    scan->at_end = scan->waits = false;
    engine_seek(scan->cursor, key_slice(&from), (struct slice){0});
}

/* Lets the row that comes next wait. */
static enum status scan_step(struct deletion_scan *scan, struct error *error)
{
    struct slice key;
    struct error found;
    enum status status = engine_next(scan->cursor, &key, &scan->value, &found);
    scan->at_end = status == STATUS_NOT_FOUND;
    if (status == STATUS_NOT_FOUND)
        return status;
    bool is_row = status == STATUS_OK || (status == STATUS_CORRUPT && key.size);
    if (!is_row || key.size > sizeof scan->key.bytes) {
        if (is_row)
            return error_set(error, STATUS_CORRUPT, "a key of table %s is malformed",
                             table_names[TABLE_DELETED]);
        if (error)
            *error = found;
        return status;
    }
    memcpy(scan->key.bytes, key.data, key.size);
    scan->key.size = key.size;
    scan->status = status;
    if (status != STATUS_OK)
        scan->damage = found;
    scan->waits = true;
    return STATUS_OK;
}

enum status deletion_scan_next(struct deletion_scan *scan, struct deletion *ret_deletion, struct error *error)
{
    for (;;) {
        enum status status = STATUS_OK;
        struct deletion deletion;
        if (scan->at_end)
            return STATUS_NOT_FOUND;
        if (!scan->waits)
            status = scan_step(scan, error);
        if (status != STATUS_OK)
            return status;
        if (!slice_starts_with(key_slice(&scan->key), key_slice(&scan->prefix)))
            return STATUS_NOT_FOUND;
        scan->waits = false;
        scan->floor = scan->key;
        if (scan->status != STATUS_OK) {
            if (error)
                *error = scan->damage;
            return scan->status;
        }
        status = deletion_parse(key_slice(&scan->key), scan->value, &deletion, error);
        if (status != STATUS_OK)
            return status;
        if (deletion.birth > scan->sequence ||
            (deletion.death != SEQUENCE_NEVER && deletion.death <= scan->sequence))
            continue;
        *ret_deletion = deletion;
        return STATUS_OK;
    }
}
