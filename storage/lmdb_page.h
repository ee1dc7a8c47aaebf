/*
 * Whether a leaf of an LMDB tree is what LMDB writes. Values have checksums (storage/engine.c), pages have
 * none: a bit that flips in a page's own fields would hide pairs, or show others in their place. LMDB packs
 * the nodes of a page without gaps, so their sizes must add up; hence one wrong bit in a leaf's fields does
 * not pass. Branches are not seen here. A walk notices what they lead astray by the order of its keys, and
 * sluicectl verify by their number; a single look-up may not.
 *
 * The layout is that of LMDB 0.9 (MDB_DATA_VERSION 1).
 *
 * Threading: pure.
 */
#ifndef STORAGE_LMDB_PAGE_H
#define STORAGE_LMDB_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lmdb_table_kind {
    LMDB_TABLE_PAIRS,
    LMDB_TABLE_NAMES, /* the table of tables: each value is the root of one */
};

/* `page` has `page_size` bytes, and is a leaf of a table whose keys are unique. Its keys ascend. What it
 * names beside its own bytes (overflow pages) lies within the file's `page_count` pages; names have none. */
bool lmdb_leaf_is_sound(enum lmdb_table_kind kind, const char *page, size_t page_size, uint64_t page_count);

#endif
