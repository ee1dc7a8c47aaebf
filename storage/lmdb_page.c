#include "storage/lmdb_page.h"

#include "codec/base/bytes.h"
#include "codec/base/slice.h"

#define PAGE_HEADER_SIZE                                                                                     \
    16 /* u64 number, u16 unused, u16 flags, u16 lower, u16 upper; then u16 each: nodes */
#define PAGE_KINDS       0x6f
#define PAGE_LEAF        0x02
#define NODE_HEADER_SIZE 8 /* u32 size of the data, u16 flags, u16 size of the key; then key and data */
#define NODE_TABLE       0x02
#define NODE_OVERFLOW    0x01 /* in the place of the data: u64 number of the page where it begins */

/* The node's bytes in the page, rounded up as LMDB does; 0 if it is not sound. */
static size_t node_size(enum lmdb_table_kind kind, const char *page, size_t page_size, size_t upper,
                        size_t offset, uint64_t page_count, struct slice *ret_key)
{
    if (offset < upper || offset % 2 || offset + NODE_HEADER_SIZE > page_size)
        return 0;
    const char *node = page + offset;
    size_t data_size = load_u32_le(node);
    unsigned flags = load_u16_le(node + 4);
    size_t key_size = load_u16_le(node + 6);
    size_t size = NODE_HEADER_SIZE + key_size;
    if (key_size == 0 || offset + size > page_size)
        return 0;
    if (kind == LMDB_TABLE_NAMES ? flags != NODE_TABLE : flags > NODE_OVERFLOW)
        return 0;
    *ret_key = slice_make(node + NODE_HEADER_SIZE, key_size);
    if (flags == NODE_OVERFLOW) {
        size += sizeof(uint64_t);
        if (offset + size > page_size)
            return 0;
        uint64_t first = load_u64_le(ret_key->data + key_size);
        uint64_t pages = (PAGE_HEADER_SIZE - 1 + data_size) / page_size + 1;
        if (first >= page_count || pages > page_count - first)
            return 0;
    } else {
        size += data_size;
    }
    size += size % 2;
    return offset + size <= page_size ? size : 0;
}

bool lmdb_leaf_is_sound(enum lmdb_table_kind kind, const char *page, size_t page_size, uint64_t page_count)
{
    size_t lower = load_u16_le(page + 12), upper = load_u16_le(page + 14), sum = 0;
    if ((load_u16_le(page + 10) & PAGE_KINDS) != PAGE_LEAF || lower % 2 || lower <= PAGE_HEADER_SIZE ||
        lower > upper || upper > page_size)
        return false;
    struct slice last = {0};
    for (size_t at = PAGE_HEADER_SIZE; at < lower; at += 2) {
        struct slice key;
        size_t size = node_size(kind, page, page_size, upper, load_u16_le(page + at), page_count, &key);
        if (size == 0 || (last.size && slice_compare(last, key) >= 0))
            return false;
        sum += size;
        last = key;
    }
    return sum == page_size - upper;
}
