#include "storage/engine.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "codec/deflate.h"
#include "storage/engine_impl.h"
#include "storage/keys.h"

#define CHECKSUM_SIZE 4 /* CRC-32C of key and value, little-endian, behind the value */

static void check_table(const struct engine_txn *txn, unsigned table)
{
    CHECK(table < txn->engine->table_count);
}

static void check_key(struct slice key)
{
    CHECK(key.size >= 1 && key.size <= ENGINE_KEY_SIZE_MAX);
}

enum status engine_open(const struct engine_options *options, struct engine **ret_engine, struct error *error)
{
    CHECK(options->table_count >= 1 && options->table_count <= ENGINE_TABLES_MAX);
    CHECK(!(options->create && options->read_only));
    struct engine *engine;
    enum status status = engine_lmdb.open(options, &engine, error);
    if (status != STATUS_OK)
        return status;
    engine->backend = &engine_lmdb;
    engine->table_count = options->table_count;
    engine->read_only = options->read_only;
    for (size_t i = 0; i < options->table_count; i++)
        engine->table_names[i] = mem_strdup(options->tables[i]);
    *ret_engine = engine;
    return STATUS_OK;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    for (size_t i = 0; i < engine->table_count; i++)
        mem_free(engine->table_names[i]);
    engine->backend->close(engine);
}

enum status engine_begin_read(struct engine *engine, struct engine_txn **ret_txn, struct error *error)
{
    struct engine_txn *txn;
    enum status status = engine->backend->begin(engine, false, &txn, error);
    if (status != STATUS_OK)
        return status;
    txn->engine = engine;
    *ret_txn = txn;
    return STATUS_OK;
}

enum status engine_begin_write(struct engine *engine, struct engine_txn **ret_txn, struct error *error)
{
    CHECK(!engine->read_only);
    if (failpoint_hit("engine.begin-write"))
        return error_set_errno(error, "the store's transaction cannot begin");
    struct engine_txn *txn;
    enum status status = engine->backend->begin(engine, true, &txn, error);
    if (status != STATUS_OK)
        return status;
    txn->engine = engine;
    txn->is_write = true;
    txn->thread = pthread_self();
    *ret_txn = txn;
    return STATUS_OK;
}

/* What every end of a transaction has in common; the engine frees the struct itself. */
static void txn_close(struct engine_txn *txn)
{
    CHECK(!txn->is_write || pthread_equal(txn->thread, pthread_self()));
    while (txn->cursors)
        engine_cursor_close(txn->cursors);
    buffer_release(&txn->spare);
}

enum status engine_commit(struct engine_txn *txn, struct error *error)
{
    CHECK(txn->is_write);
    const struct engine_backend *backend = txn->engine->backend;
    enum status broken = txn->broken;
    txn_close(txn);
    if (broken != STATUS_OK) {
        backend->end(txn);
        return error_set(error, broken, "the store's transaction is given up: a write in it failed");
    }
    if (failpoint_hit("engine.commit.before")) {
        backend->end(txn);
        return error_set_errno(error, "the store's transaction cannot be committed");
    }
    enum status status = backend->commit(txn, error);
    if (status == STATUS_OK && failpoint_hit("engine.commit.after"))
        status = error_set_errno(error, "the store's transaction may not be durable");
    return status;
}

void engine_end(struct engine_txn *txn)
{
    if (!txn)
        return;
    txn_close(txn);
    txn->engine->backend->end(txn);
}

static uint32_t checksum_of(struct slice key, struct slice head, struct slice rest)
{
    return crc32c_of(crc32c_of(crc32c_of(0, key), head), rest);
}

enum status engine_value_check(struct engine_txn *txn, unsigned table, struct slice key, struct slice stored,
                               struct slice *ret_value, struct error *error)
{
    if (stored.size >= CHECKSUM_SIZE) {
        struct slice value = {stored.data, stored.size - CHECKSUM_SIZE};
        if (load_u32_le(value.data + value.size) == checksum_of(key, value, slice_make(NULL, 0))) {
            txn->lent = true;
            *ret_value = value;
            return STATUS_OK;
        }
    }
    char text[KEY_TEXT_SIZE];
    key_text(key, text);
    return error_set(error, STATUS_CORRUPT, "table %s, key %s: the stored value fails its checksum",
                     txn->engine->table_names[table], text);
}

enum status engine_get(struct engine_txn *txn, unsigned table, struct slice key, struct slice *ret_value,
                       struct error *error)
{
    check_table(txn, table);
    check_key(key);
    struct slice stored;
    enum status status = txn->engine->backend->get(txn, table, key, &stored, error);
    if (status != STATUS_OK)
        return status;
    return engine_value_check(txn, table, key, stored, ret_value, error);
}

/* Counts a write before it is tried: one that fails may have changed something. */
static enum status write_begin(struct engine_txn *txn, unsigned table, struct error *error)
{
    CHECK(txn->is_write);
    check_table(txn, table);
    if (txn->broken != STATUS_OK)
        return error_set(error, txn->broken, "the store's transaction is given up: a write in it failed");
    txn->writes++;
    txn->writes_of[table]++;
    return STATUS_OK;
}

/* The key's bytes where no write moves them: it may lie in the very page that is written. */
static struct slice key_copy(struct slice key, char target[ENGINE_KEY_SIZE_MAX])
{
    check_key(key);
    memcpy(target, key.data, key.size);
    return slice_make(target, key.size);
}

enum status engine_put(struct engine_txn *txn, unsigned table, struct slice key, struct slice value,
                       struct error *error)
{
    return engine_put2(txn, table, key, value, slice_make(NULL, 0), error);
}

enum status engine_put2(struct engine_txn *txn, unsigned table, struct slice key, struct slice head,
                        struct slice rest, struct error *error)
{
    CHECK(head.size <= ENGINE_VALUE_SIZE_MAX && rest.size <= ENGINE_VALUE_SIZE_MAX - head.size);
    enum status status = write_begin(txn, table, error);
    if (status != STATUS_OK)
        return status;
    char key_bytes[ENGINE_KEY_SIZE_MAX];
    key = key_copy(key, key_bytes);
    if (txn->lent) {
        buffer_reset(&txn->spare);
        buffer_append_slice(&txn->spare, head);
        buffer_append_slice(&txn->spare, rest);
        head = buffer_slice(&txn->spare);
        rest = slice_make(NULL, 0);
    }
    char checksum[CHECKSUM_SIZE];
    store_u32_le(checksum, checksum_of(key, head, rest));
    if (failpoint_hit("engine.put")) {
        status = error_set_errno(error, "table %s: cannot write", txn->engine->table_names[table]);
    } else {
        const struct slice parts[] = {head, rest, slice_make(checksum, sizeof checksum)};
        status = txn->engine->backend->put(txn, table, key, parts, sizeof parts / sizeof *parts, error);
    }
    txn->broken = status;
    txn->lent = false;
    return status;
}

enum status engine_delete(struct engine_txn *txn, unsigned table, struct slice key, struct error *error)
{
    enum status status = write_begin(txn, table, error);
    if (status != STATUS_OK)
        return status;
    char key_bytes[ENGINE_KEY_SIZE_MAX];
    status = txn->engine->backend->delete (txn, table, key_copy(key, key_bytes), error);
    if (status == STATUS_NOT_FOUND) {
        txn->writes--;
        txn->writes_of[table]--;
        return status;
    }
    txn->broken = status;
    txn->lent = false;
    return status;
}

uint64_t engine_writes(const struct engine_txn *txn)
{
    return txn->writes;
}

enum status engine_cursor_open(struct engine_txn *txn, unsigned table, struct engine_cursor **ret_cursor,
                               struct error *error)
{
    check_table(txn, table);
    struct engine_cursor *cursor;
    enum status status = txn->engine->backend->cursor_open(txn, table, &cursor, error);
    if (status != STATUS_OK)
        return status;
    cursor->txn = txn;
    cursor->table = table;
    cursor->next = txn->cursors;
    cursor->link = &txn->cursors;
    if (cursor->next)
        cursor->next->link = &cursor->next;
    txn->cursors = cursor;
    *ret_cursor = cursor;
    return STATUS_OK;
}

void engine_cursor_close(struct engine_cursor *cursor)
{
    if (!cursor)
        return;
    *cursor->link = cursor->next;
    if (cursor->next)
        cursor->next->link = cursor->link;
    cursor->txn->engine->backend->cursor_close(cursor);
}

void engine_seek(struct engine_cursor *cursor, struct slice from, struct slice to)
{
    CHECK(from.size <= sizeof cursor->from && to.size <= sizeof cursor->to);
    if (from.size)
        memmove(cursor->from, from.data, from.size);
    if (to.size)
        memmove(cursor->to, to.data, to.size);
    cursor->from_size = from.size;
    cursor->to_size = to.size;
    cursor->state = ENGINE_CURSOR_BEFORE;
}

void engine_seek_prefix(struct engine_cursor *cursor, struct slice prefix, struct slice from)
{
    CHECK(prefix.size <= sizeof cursor->to);
    CHECK(from.size == 0 || slice_starts_with(from, prefix));
    /* The first key behind all that begin with the prefix: the prefix with its last byte below 0xff
     * counted up and what follows cut off. None if all its bytes are 0xff. */
    char end[ENGINE_KEY_SIZE_MAX];
    size_t end_size = prefix.size;
    while (end_size && (unsigned char)prefix.data[end_size - 1] == 0xff)
        end_size--;
    if (end_size) {
        memcpy(end, prefix.data, end_size);
        end[end_size - 1] = (char)((unsigned char)end[end_size - 1] + 1);
    }
    engine_seek(cursor, from.size ? from : prefix, slice_make(end, end_size));
}

enum status engine_next(struct engine_cursor *cursor, struct slice *ret_key, struct slice *ret_value,
                        struct error *error)
{
    struct engine_txn *txn = cursor->txn;
    const struct engine_backend *backend = txn->engine->backend;
    struct slice key, stored;
    enum status status;
    switch (cursor->state) {
    case ENGINE_CURSOR_BEFORE:
        status =
            backend->cursor_seek(cursor, slice_make(cursor->from, cursor->from_size), &key, &stored, error);
        cursor->writes = txn->writes_of[cursor->table];
        break;
    case ENGINE_CURSOR_WITHIN:
        CHECK(cursor->writes == txn->writes_of[cursor->table]); /* seek after writing to the table */
        status = backend->cursor_next(cursor, &key, &stored, error);
        break;
    default:
        return STATUS_NOT_FOUND;
    }
    bool is_first = cursor->state == ENGINE_CURSOR_BEFORE;
    cursor->state = ENGINE_CURSOR_END;
    /* Keys ascend. Those that do not are not where they belong, and others may be missing. */
    int order = status == STATUS_OK ? slice_compare(key, slice_make(cursor->from, cursor->from_size)) : 1;
    if (order < (is_first ? 0 : 1) || (status == STATUS_OK && key.size > sizeof cursor->from))
        status = error_set(error, STATUS_CORRUPT, "table %s: its keys are out of order",
                           txn->engine->table_names[cursor->table]);
    if (status != STATUS_OK) {
        if (status == STATUS_CORRUPT)
            *ret_key = slice_make("", 0);
        return status;
    }
    memcpy(cursor->from, key.data, key.size);
    cursor->from_size = key.size;
    if (cursor->to_size && slice_compare(key, slice_make(cursor->to, cursor->to_size)) >= 0)
        return STATUS_NOT_FOUND;
    cursor->state = ENGINE_CURSOR_WITHIN;
    *ret_key = key;
    return engine_value_check(txn, cursor->table, key, stored, ret_value, error);
}

enum status engine_each(struct engine_txn *txn, unsigned table, struct slice prefix, engine_handler *handler,
                        void *context, struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, table, &cursor, error);
    if (status != STATUS_OK)
        return status;
    engine_seek_prefix(cursor, prefix, slice_make(NULL, 0));
    enum status damage = STATUS_OK;
    for (;;) {
        struct slice key, value;
        struct error found = {.status = STATUS_OK};
        status = engine_next(cursor, &key, &value, &found);
        if (status == STATUS_NOT_FOUND)
            break;
        if (status == STATUS_OK)
            status = handler(context, key, value, &found);
        if (status == STATUS_OK)
            continue;
        bool is_damage = status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED;
        if (error && (!is_damage || damage == STATUS_OK))
            *error = found;
        if (!is_damage) {
            engine_cursor_close(cursor);
            return status;
        }
        if (damage == STATUS_OK)
            damage = status;
    }
    engine_cursor_close(cursor);
    return damage;
}

enum status engine_stats(struct engine *engine, struct engine_stats *ret_stats, struct error *error)
{
    return engine->backend->stats(engine, ret_stats, error);
}

enum status engine_table_stats(struct engine_txn *txn, unsigned table, struct engine_table_stats *ret_stats,
                               struct error *error)
{
    check_table(txn, table);
    return txn->engine->backend->table_stats(txn, table, ret_stats, error);
}

enum status engine_copy(struct engine *engine, engine_sink *sink, void *context, struct error *error)
{
    return engine->backend->copy(engine, sink, context, error);
}

enum status engine_release_space(struct engine_txn *txn, int64_t max_us, uint64_t *position,
                                 uint64_t *ret_bytes, bool *ret_more, struct error *error)
{
    CHECK(txn->is_write && txn->writes == 0);
    return txn->engine->backend->release_space(txn, max_us, position, ret_bytes, ret_more, error);
}

uint64_t engine_newest_commit(struct engine *engine)
{
    return engine->backend->newest_commit(engine);
}

uint64_t engine_commit_seen(struct engine_txn *txn)
{
    CHECK(!txn->is_write);
    return txn->engine->backend->commit_seen(txn);
}

unsigned engine_clear_stale_readers(struct engine *engine)
{
    return engine->backend->clear_stale_readers(engine);
}
