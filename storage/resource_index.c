#include "storage/resource_index.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"

#define BLOCK_KIND        'I'
#define BLOCK_VERSION     1
#define BLOCK_HEADER_SIZE 6
/* Of an entry with a beneficiary of its own. One fits into each block twice, so every block can be cut. */
#define ENTRY_BYTES_MAX (2 + RESOURCE_ID_MAX + 2 + 1 + RESOURCE_ID_MAX)

/* ---- one block ---- */

static void key_bound(struct key *key, enum resource_type type, struct slice bound)
{
    key_init(key);
    key_u8(key, (uint8_t)type);
    key_u8(key, bound.size == 0);
    if (bound.size)
        key_id(key, bound);
}

static enum status corrupt(struct error *error, const char *what)
{
    return error_set(error, STATUS_CORRUPT, "a block of the index of resources: %s", what);
}

static enum status key_read(struct slice key, struct resource_block *block, struct error *error)
{
    uint8_t type, is_last;
    if (!key_take_u8(&key, &type) || type >= RESOURCE_TYPE_COUNT || !key_take_u8(&key, &is_last) ||
        is_last > 1)
        return corrupt(error, "its key is malformed");
    block->type = (enum resource_type)type;
    block->bound = slice_make("", 0);
    if (!is_last && !key_take_id(&key, &block->bound))
        return corrupt(error, "its key is malformed");
    return key.size == 0 ? STATUS_OK : corrupt(error, "its key is malformed");
}

static enum status entries_read(struct slice value, struct arena *arena, struct resource_block *block,
                                struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    size_t count = reader_u16(&reader), beneficiary_count = reader_u16(&reader);
    if (reader.failed || kind != BLOCK_KIND || version != BLOCK_VERSION || count == 0 ||
        count > reader_left(&reader) || beneficiary_count > reader_left(&reader))
        return corrupt(error, "its header is malformed");
    block->beneficiaries = arena_alloc(arena, beneficiary_count * sizeof *block->beneficiaries);
    block->beneficiary_count = beneficiary_count;
    for (size_t i = 0; i < beneficiary_count; i++)
        block->beneficiaries[i] = reader_take(&reader, reader_u8(&reader));
    block->entries = arena_alloc(arena, count * sizeof *block->entries);
    block->count = count;
    struct slice before = slice_make("", 0);
    for (size_t i = 0; i < count; i++) {
        size_t shared = reader_u8(&reader), rest_size = reader_u8(&reader);
        struct slice rest = reader_take(&reader, rest_size);
        uint16_t beneficiary = reader_u16(&reader);
        if (reader.failed || shared > before.size || shared + rest_size > RESOURCE_ID_MAX ||
            beneficiary >= beneficiary_count)
            return corrupt(error, "an entry is malformed");
        char *id = arena_alloc(arena, shared + rest_size);
        if (shared)
            memcpy(id, before.data, shared);
        memcpy(id + shared, rest.data, rest_size);
        block->entries[i] = (struct resource_index_entry){slice_make(id, shared + rest_size), beneficiary};
        if (slice_compare(before, block->entries[i].id) >= 0)
            return corrupt(error, "its ids are not in order");
        before = block->entries[i].id;
    }
    return reader_done(&reader) ? STATUS_OK : corrupt(error, "its length is not what its header says");
}

enum status resource_block_read(struct slice key, struct slice value, struct arena *arena,
                                struct resource_block *ret_block, struct error *error)
{
    struct resource_block block;
    enum status status = key_read(key, &block, error);
    if (status == STATUS_OK)
        status = entries_read(value, arena, &block, error);
    if (status != STATUS_OK)
        return status;
    if (block.bound.size && slice_compare(block.entries[block.count - 1].id, block.bound) > 0)
        return corrupt(error, "it holds an id beyond its bound");
    *ret_block = block;
    return STATUS_OK;
}

/* The block that may hold the id, its bytes borrowed. STATUS_NOT_FOUND. */
static enum status block_find(struct engine_txn *txn, enum resource_type type, struct slice id,
                              struct slice *ret_key, struct slice *ret_value, struct error *error)
{
    struct key from, prefix;
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, TABLE_RESOURCE, &cursor, error);
    if (status != STATUS_OK)
        return status;
    key_bound(&from, type, id);
    key_init(&prefix);
    key_u8(&prefix, (uint8_t)type);
    engine_seek_prefix(cursor, key_slice(&prefix), key_slice(&from));
    status = engine_next(cursor, ret_key, ret_value, error);
    engine_cursor_close(cursor);
    return status;
}

enum status resource_index_get(struct engine_txn *txn, enum resource_type type, struct slice id,
                               struct slice *ret_beneficiary, struct error *error)
{
    struct slice key, value;
    enum status status = block_find(txn, type, id, &key, &value, error);
    if (status != STATUS_OK)
        return status;
    struct reader reader = reader_make(slice_skip(value, 2));
    size_t count = reader_u16(&reader), beneficiary_count = reader_u16(&reader);
    struct reader beneficiaries = reader;
    for (size_t i = 0; i < beneficiary_count; i++)
        (void)reader_take(&reader, reader_u8(&reader));
    /* The id is put together where the one before stands. */
    char found[2 * UINT8_MAX];
    for (size_t i = 0; i < count; i++) {
        size_t shared = reader_u8(&reader), rest_size = reader_u8(&reader);
        struct slice rest = reader_take(&reader, rest_size);
        size_t beneficiary = reader_u16(&reader);
        if (reader.failed || value.data[0] != BLOCK_KIND || value.data[1] != BLOCK_VERSION ||
            beneficiary >= beneficiary_count)
            return corrupt(error, "an entry is malformed");
        memcpy(found + shared, rest.data, rest_size);
        int order = slice_compare(slice_make(found, shared + rest_size), id);
        if (order > 0)
            return STATUS_NOT_FOUND;
        if (order == 0) {
            for (size_t k = 0; k < beneficiary; k++)
                (void)reader_take(&beneficiaries, reader_u8(&beneficiaries));
            *ret_beneficiary = reader_take(&beneficiaries, reader_u8(&beneficiaries));
            return STATUS_OK;
        }
    }
    return STATUS_NOT_FOUND;
}

/* ---- writing blocks ---- */

struct block_writer {
    struct buffer beneficiaries; /* as in the value */
    struct buffer entries;       /* likewise */
    const struct slice *names;   /* what the entries' numbers mean */
    uint16_t *numbers;           /* those numbers in this block, NUMBER_NONE: not yet */
    size_t name_count;
    size_t count, beneficiary_count;
    struct slice last;
};

#define NUMBER_NONE UINT16_MAX

static void block_writer_reset(struct block_writer *writer)
{
    buffer_reset(&writer->beneficiaries);
    buffer_reset(&writer->entries);
    writer->count = writer->beneficiary_count = 0;
    for (size_t i = 0; i < writer->name_count; i++)
        writer->numbers[i] = NUMBER_NONE;
    writer->last = slice_make("", 0);
}

static size_t block_writer_bytes(const struct block_writer *writer)
{
    return BLOCK_HEADER_SIZE + writer->beneficiaries.size + writer->entries.size;
}

static void block_writer_add(struct block_writer *writer, const struct resource_index_entry *entry)
{
    uint16_t *number = &writer->numbers[entry->beneficiary];
    if (*number == NUMBER_NONE) {
        struct slice name = writer->names[entry->beneficiary];
        *number = (uint16_t)writer->beneficiary_count++;
        buffer_append_u8(&writer->beneficiaries, (uint8_t)name.size);
        buffer_append_slice(&writer->beneficiaries, name);
    }
    size_t shared = 0;
    while (shared < writer->last.size && shared < entry->id.size &&
           writer->last.data[shared] == entry->id.data[shared])
        shared++;
    buffer_append_u8(&writer->entries, (uint8_t)shared);
    buffer_append_u8(&writer->entries, (uint8_t)(entry->id.size - shared));
    buffer_append_slice(&writer->entries, slice_skip(entry->id, shared));
    buffer_append_u16(&writer->entries, *number);
    writer->last = entry->id;
    writer->count++;
}

static enum status block_writer_put(struct block_writer *writer, struct store_write *write,
                                    enum resource_type type, struct slice bound, struct error *error)
{
    struct buffer value = BUFFER_INIT;
    struct key key;
    buffer_append_u8(&value, BLOCK_KIND);
    buffer_append_u8(&value, BLOCK_VERSION);
    buffer_append_u16(&value, (uint16_t)writer->count);
    buffer_append_u16(&value, (uint16_t)writer->beneficiary_count);
    buffer_append_slice(&value, buffer_slice(&writer->beneficiaries));
    buffer_append_slice(&value, buffer_slice(&writer->entries));
    CHECK(value.size <= RESOURCE_BLOCK_BYTES_MAX);
    key_bound(&key, type, bound);
    enum status status = engine_put(write->txn, TABLE_RESOURCE, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

/* A bound between two ids, the first of which it includes: as high as it can be, so that what comes next in
 * the order of the first finds room behind it and does not stand before the second. */
static struct slice bound_between(struct slice first, struct slice second, char text[RESOURCE_ID_MAX])
{
    size_t same = 0;
    while (same < first.size && first.data[same] == second.data[same])
        same++;
    unsigned char next = (unsigned char)second.data[same];
    bool is_above = same == first.size || next - 1 > (unsigned char)first.data[same] ||
                    same + 1 == first.size || (unsigned char)first.data[same + 1] < UINT8_MAX;
    if (next == 1 || same + 2 > RESOURCE_ID_MAX || !is_above)
        return first;
    memcpy(text, second.data, same);
    text[same] = (char)(next - 1);
    text[same + 1] = (char)UINT8_MAX;
    return slice_make(text, same + 2);
}

/* Writes the entries as one block under its bound, or as several, the last of which is under it. `cut`: where
 * those end that have come just now. */
static enum status entries_write(struct store_write *write, const struct resource_block *block, size_t cut,
                                 struct error *error)
{
    const struct resource_index_entry *entries = block->entries;
    size_t count = block->count;
    struct block_writer writer = {.names = block->beneficiaries,
                                  .name_count = block->beneficiary_count,
                                  .numbers = mem_new_array(uint16_t, block->beneficiary_count)};
    enum status status = STATUS_OK;
    size_t bytes_max = RESOURCE_BLOCK_BYTES_MAX, total = 0, bytes_before_cut = 0;
    block_writer_reset(&writer);
    for (size_t i = 0; i < count; i++) {
        if (i == cut)
            bytes_before_cut = block_writer_bytes(&writer);
        block_writer_add(&writer, &entries[i]);
    }
    total = block_writer_bytes(&writer);
    if (total > RESOURCE_BLOCK_BYTES_MAX) {
        /* What comes in order comes behind the block's last one, or behind the last of its kind: then what
         * stands before stays full. Anywhere else parts of equal size have the most room. */
        bool is_cut = bytes_before_cut >= total / 4 && bytes_before_cut <= total - total / 4;
        if (cut < count && !is_cut) {
            size_t parts = total / (RESOURCE_BLOCK_BYTES_MAX - ENTRY_BYTES_MAX) + 1;
            bytes_max = total / parts + ENTRY_BYTES_MAX;
        }
        block_writer_reset(&writer);
        for (size_t i = 0; status == STATUS_OK && i < count; i++) {
            if ((is_cut && i == cut) || block_writer_bytes(&writer) + ENTRY_BYTES_MAX > bytes_max) {
                char text[RESOURCE_ID_MAX];
                status = block_writer_put(&writer, write, block->type,
                                          bound_between(writer.last, entries[i].id, text), error);
                block_writer_reset(&writer);
            }
            block_writer_add(&writer, &entries[i]);
        }
    }
    if (status == STATUS_OK)
        status = block_writer_put(&writer, write, block->type, block->bound, error);
    buffer_release(&writer.beneficiaries);
    buffer_release(&writer.entries);
    mem_free(writer.numbers);
    return status;
}

/* ---- changes ---- */

struct change {
    struct store_write *write;
    enum resource_type type;
    const struct slice *ids;
    size_t count;
    struct slice beneficiary; /* empty: they go */
    struct arena arena;       /* of the block that is changed */
};

/* Of ids[first..], in ascending order, how many belong into a block with this bound. */
static size_t change_run(const struct change *change, size_t first, struct slice bound)
{
    size_t end = first + 1;
    while (end < change->count && slice_compare(change->ids[end - 1], change->ids[end]) < 0 &&
           (bound.size == 0 || slice_compare(change->ids[end], bound) <= 0))
        end++;
    return end - first;
}

/* Merges the block's entries with ids[first..first + run), until the next change. Gives the place behind
 * them.
 */
static size_t change_merge(struct change *change, struct resource_block *block, size_t first, size_t run)
{
    /* The beneficiary's number in the block, or the next one. */
    struct slice *names = arena_alloc(&change->arena, (block->beneficiary_count + 1) * sizeof *names);
    uint16_t number = 0;
    for (size_t i = 0; i < block->beneficiary_count; i++)
        names[i] = block->beneficiaries[i];
    while (number < block->beneficiary_count && !slice_equal(names[number], change->beneficiary))
        number++;
    if (change->beneficiary.size && number == block->beneficiary_count)
        names[block->beneficiary_count++] = change->beneficiary;
    block->beneficiaries = names;

    struct resource_index_entry *merged = arena_alloc(&change->arena, (block->count + run) * sizeof *merged);
    size_t at = 0, count = 0;
    for (size_t i = first; i < first + run; i++) {
        while (at < block->count && slice_compare(block->entries[at].id, change->ids[i]) < 0)
            merged[count++] = block->entries[at++];
        if (at < block->count && slice_equal(block->entries[at].id, change->ids[i]))
            at++;
        if (change->beneficiary.size)
            merged[count++] = (struct resource_index_entry){change->ids[i], number};
    }
    size_t place = count;
    while (at < block->count)
        merged[count++] = block->entries[at++];
    block->entries = merged;
    block->count = count;
    return place;
}

/* Changes the block that ids[first] belongs into; *ret_run: so many ids were done. */
static enum status change_block(struct change *change, size_t first, size_t *ret_run, struct error *error)
{
    struct slice key, value;
    struct resource_block block = {.type = change->type, .bound = slice_make("", 0)};
    arena_reset(&change->arena);
    enum status status =
        block_find(change->write->txn, change->type, change->ids[first], &key, &value, error);
    if (status == STATUS_OK) {
        /* Copies: what is borrowed is about to be written over. */
        key = arena_copy(&change->arena, key);
        value = arena_copy(&change->arena, value);
        status = resource_block_read(key, value, &change->arena, &block, error);
    } else if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
    }
    if (status != STATUS_OK)
        return status;
    *ret_run = change_run(change, first, block.bound);
    bool is_there = block.count > 0;
    size_t place = change_merge(change, &block, first, *ret_run);
    if (block.count)
        return entries_write(change->write, &block, place, error);
    return is_there ? engine_delete(change->write->txn, TABLE_RESOURCE, key, error) : STATUS_OK;
}

static enum status change_apply(struct change *change, struct error *error)
{
    enum status status = STATUS_OK;
    size_t run;
    for (size_t first = 0; status == STATUS_OK && first < change->count; first += run)
        status = change_block(change, first, &run, error);
    arena_release(&change->arena);
    return status;
}

enum status resource_index_put(struct store_write *write, enum resource_type type, const struct slice *ids,
                               size_t count, struct slice beneficiary, struct error *error)
{
    CHECK(beneficiary.size >= 1 && beneficiary.size <= RESOURCE_ID_MAX);
    struct change change = {
        .write = write, .type = type, .ids = ids, .count = count, .beneficiary = beneficiary};
    return change_apply(&change, error);
}

enum status resource_index_delete(struct store_write *write, enum resource_type type, const struct slice *ids,
                                  size_t count, struct error *error)
{
    struct change change = {.write = write, .type = type, .ids = ids, .count = count};
    return change_apply(&change, error);
}

/* ---- packing ---- */

struct packing {
    struct store_write *write;
    struct arena arena;
    struct key keys[RESOURCE_PACK_BLOCKS];
    struct resource_block blocks[RESOURCE_PACK_BLOCKS];
    size_t count, entry_count, bytes;
};

static void packing_go_on_behind(struct resource_index_pack *pack, struct slice key)
{
    CHECK(key.size < sizeof pack->ret_next.bytes);
    memcpy(pack->ret_next.bytes, key.data, key.size);
    pack->ret_next.bytes[key.size] = '\0'; /* the next key in order */
    pack->ret_next.size = key.size + 1;
}

/* One more block, behind those that were read. STATUS_NOT_FOUND: there is none. */
static enum status packing_read_one(struct packing *packing, struct engine_cursor *cursor,
                                    struct slice *ret_key, size_t *ret_bytes, struct error *error)
{
    struct slice key, value;
    struct resource_block *block = &packing->blocks[packing->count];
    struct key *own = &packing->keys[packing->count];
    *ret_key = (struct slice){0};
    enum status status = engine_next(cursor, &key, &value, error);
    if ((status != STATUS_OK && status != STATUS_CORRUPT) || key.size == 0)
        return status;
    CHECK(key.size < sizeof own->bytes);
    own->size = key.size;
    memcpy(own->bytes, key.data, key.size);
    *ret_key = key_slice(own);
    if (status != STATUS_OK)
        return status;
    *ret_bytes = value.size;
    return resource_block_read(key_slice(own), arena_copy(&packing->arena, value), &packing->arena, block,
                               error);
}

/* Reads blocks of one type from the position on, up to one that is damaged. If that is the first one, it is
 * passed. */
static enum status packing_read(struct packing *packing, struct resource_index_pack *pack,
                                struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(packing->write->txn, TABLE_RESOURCE, &cursor, error);
    if (status != STATUS_OK)
        return status;
    engine_seek(cursor, key_slice(&pack->position), (struct slice){0});
    struct error found = {.status = STATUS_OK};
    while (packing->count < RESOURCE_PACK_BLOCKS) {
        struct slice key;
        size_t bytes = 0;
        status = packing_read_one(packing, cursor, &key, &bytes, &found);
        if (status == STATUS_CORRUPT && key.size) {
            if (packing->count == 0) {
                pack->ret_damage = found;
                packing_go_on_behind(pack, key);
            }
            status = STATUS_OK;
            break;
        }
        if (status != STATUS_OK || packing->blocks[packing->count].type != packing->blocks[0].type)
            break;
        packing->entry_count += packing->blocks[packing->count].count;
        packing->bytes += bytes;
        packing->count++;
        packing_go_on_behind(pack, key);
    }
    engine_cursor_close(cursor);
    pack->ret_more = status != STATUS_NOT_FOUND;
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (error)
        *error = found;
    return status;
}

/* All entries as those of one block; its names are the blocks' names, one after another. */
static struct resource_block packing_join(struct packing *packing)
{
    size_t names = 0;
    for (size_t i = 0; i < packing->count; i++)
        names += packing->blocks[i].beneficiary_count;
    struct resource_block all = packing->blocks[packing->count - 1]; /* type and bound */
    all.beneficiaries = arena_alloc(&packing->arena, names * sizeof *all.beneficiaries);
    all.entries = arena_alloc(&packing->arena, packing->entry_count * sizeof *all.entries);
    all.count = all.beneficiary_count = 0;
    for (size_t i = 0; i < packing->count; i++) {
        const struct resource_block *block = &packing->blocks[i];
        uint16_t numbers_from = (uint16_t)all.beneficiary_count;
        for (size_t k = 0; k < block->beneficiary_count; k++)
            all.beneficiaries[all.beneficiary_count++] = block->beneficiaries[k];
        for (size_t k = 0; k < block->count; k++) {
            all.entries[all.count] = block->entries[k];
            all.entries[all.count++].beneficiary = (uint16_t)(numbers_from + block->entries[k].beneficiary);
        }
    }
    return all;
}

static enum status pack_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct resource_index_pack *pack = (struct resource_index_pack *)request;
    struct packing *packing = mem_new(struct packing);
    packing->write = write;
    pack->ret_next = pack->position;
    enum status status = packing_read(packing, pack, error);
    size_t wanted = packing->bytes / (RESOURCE_BLOCK_BYTES_MAX - ENTRY_BYTES_MAX) + 1;
    if (status == STATUS_OK && packing->count > 1 && wanted + packing->count / 10 < packing->count) {
        struct resource_block all = packing_join(packing);
        for (size_t i = 0; status == STATUS_OK && i + 1 < packing->count; i++)
            status = engine_delete(write->txn, TABLE_RESOURCE, key_slice(&packing->keys[i]), error);
        if (status == STATUS_OK)
            status = entries_write(write, &all, all.count, error);
    }
    arena_release(&packing->arena);
    mem_free(packing);
    return status;
}

void resource_index_pack_init(struct resource_index_pack *pack, struct slice position)
{
    *pack = (struct resource_index_pack){
        .request = {.apply = pack_run, .bytes = RESOURCE_PACK_BLOCKS * RESOURCE_BLOCK_BYTES_MAX}};
    CHECK(position.size < sizeof pack->position.bytes);
    if (position.size)
        memcpy(pack->position.bytes, position.data, position.size);
    pack->position.size = position.size;
}
