/*
 * The index of resources: whose is the resource of this type and id?
 *
 * It has as many entries as there are resources, so it is kept densely: blocks of entries in order of their
 * ids, each id without what it has in common with the one before, each beneficiary once a block. A row a
 * resource took 95 bytes of the store each, a fifth of all that a compacted store takes; an entry takes 10 to
 * 40, as ids and beneficiaries are alike or not.
 *
 * A block's key is the upper bound of its ids, which it need not hold any more: so the first block whose key
 * is not less than an id is the only one that may hold it, and what is put at the end changes no key. The
 * last block of a type has a bound above all ids.
 *
 *   key    u8 type, u8 0, id bound; of the last block: u8 type, u8 1
 *   value  u8 'I', u8 version, u16 entries, u16 beneficiaries; of each beneficiary: u8 size, bytes;
 *          of each entry: u8 bytes of the id before that it begins with, u8 size of the rest, rest,
 *          u16 beneficiary
 *
 * Threading: reads need a transaction of the calling thread; writes happen within a write request.
 */
#ifndef STORAGE_RESOURCE_INDEX_H
#define STORAGE_RESOURCE_INDEX_H

#include "codec/base/arena.h"
#include "storage/writer.h"

#define RESOURCE_BLOCK_BYTES_MAX 4000 /* with key, checksum and the engine's own: within a page of 4 KiB */

/* The beneficiary, borrowed from the transaction. STATUS_NOT_FOUND. */
NODISCARD enum status resource_index_get(struct engine_txn *txn, enum resource_type type, struct slice id,
                                         struct slice *ret_beneficiary, struct error *error);

/* Whatever they led to before. Cheapest in ascending order. Neither may be borrowed from the transaction. */
NODISCARD enum status resource_index_put(struct store_write *write, enum resource_type type,
                                         const struct slice *ids, size_t count, struct slice beneficiary,
                                         struct error *error);
/* Those that are there. Likewise. */
NODISCARD enum status resource_index_delete(struct store_write *write, enum resource_type type,
                                            const struct slice *ids, size_t count, struct error *error);

/* Blocks that are cut where something comes between stay half full. A step looks at RESOURCE_PACK_BLOCKS of
 * them from `position` on (empty: from the beginning), and fills fewer with the same entries, if that saves a
 * tenth. A block that cannot be read stays as it is and ends a step. A write request of its own; ret_more:
 * another one is to go on from ret_next. */
#define RESOURCE_PACK_BLOCKS 64
struct resource_index_pack {
    struct write_request request;
    struct key position, ret_next;
    bool ret_more;
    struct error ret_damage; /* STATUS_OK, or why the block at the position was passed */
};
void resource_index_pack_init(struct resource_index_pack *pack, struct slice position);

/* A row of TABLE_RESOURCE, for those who walk it. */
struct resource_index_entry {
    struct slice id;
    uint16_t beneficiary; /* its number in the block */
};
struct resource_block {
    enum resource_type type;
    struct slice bound;          /* empty: above all ids */
    struct slice *beneficiaries; /* borrowed, as the bound, from key and value */
    size_t beneficiary_count;
    struct resource_index_entry *entries;
    size_t count;
};
/* STATUS_CORRUPT unless everything is in order, and within the bound. */
NODISCARD enum status resource_block_read(struct slice key, struct slice value, struct arena *arena,
                                          struct resource_block *ret_block, struct error *error);

#endif
