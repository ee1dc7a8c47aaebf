/*
 * The engine seam: an ordered key-value store with transactions. Everything else in storage is written
 * once, above it, in keys and bytes. LMDB stands behind it (engine_lmdb.c).
 *
 * What will hurt you:
 * - Keys and values handed out are borrowed: until the cursor's next step, the transaction's next write, or
 *   its end, whichever comes first. (LMDB keeps them longer; do not rely on it.)
 * - One write transaction at a time in the whole system; only storage/writer.c begins one.
 * - A read transaction pins every page that was live when it began: keep it short, never wait for a client
 *   or a disk write inside one (50 ms is long).
 * - A transaction and its cursors belong to one thread.
 *
 * Checksums: every value is stored with the CRC-32C of its key and itself, and checked at each read.
 * A value that fails is STATUS_CORRUPT with table and key in the text, never an answer; a cursor can go on
 * behind it.
 *
 * Keys are 1 to ENGINE_KEY_SIZE_MAX bytes, in memcmp order.
 */
#ifndef STORAGE_ENGINE_H
#define STORAGE_ENGINE_H

#include "codec/base/slice.h"
#include "codec/base/status.h"

#include <stdint.h>

#define ENGINE_KEY_SIZE_MAX   500
#define ENGINE_VALUE_SIZE_MAX ((size_t)1024 * 1024 * 1024)
#define ENGINE_TABLES_MAX     32

struct engine;
struct engine_txn;
struct engine_cursor;

struct engine_options {
    const char *path;          /* of the data file; its folder must exist */
    const char *const *tables; /* names; a table is then its index here */
    size_t table_count;
    uint64_t map_bytes;   /* the most the store can ever hold, address space; 0: 1 TiB (sanitizers: 16 GiB) */
    unsigned readers_max; /* transactions at once, in all processes; 0: 512; may be raised later */
    bool create;          /* make it; STATUS_EXISTS if it is there */
    bool read_only;       /* begin_write is a bug */
};

/* STATUS_NOT_FOUND: no file, or one whose making was interrupted. STATUS_BUSY: this process has it open
 * already (LMDB's locks would be lost). STATUS_UNSUPPORTED: another version's file, or too large a map.
 * Threading: any thread. engine_close: no transaction may be open. */
NODISCARD enum status engine_open(const struct engine_options *options, struct engine **ret_engine,
                                  struct error *error);
void engine_close(struct engine *engine);

/* STATUS_BUSY: readers_max transactions are open. */
NODISCARD enum status engine_begin_read(struct engine *engine, struct engine_txn **ret_txn,
                                        struct error *error);
/* Waits for the write transaction of another process. */
NODISCARD enum status engine_begin_write(struct engine *engine, struct engine_txn **ret_txn,
                                         struct error *error);
/* Ends a write transaction durably (fsynced), and closes its cursors. On failure nothing of it stands;
 * STATUS_IO after a failed sync means that the process must stop, for the page cache can no longer be
 * trusted. */
NODISCARD enum status engine_commit(struct engine_txn *txn, struct error *error);
/* Ends a read transaction, or throws a write transaction away. NULL is allowed. Closes its cursors. */
void engine_end(struct engine_txn *txn);

/* STATUS_NOT_FOUND (without a text) if there is none. */
NODISCARD enum status engine_get(struct engine_txn *txn, unsigned table, struct slice key,
                                 struct slice *ret_value, struct error *error);
/* Key and value may be borrowed from this transaction itself. After a put or delete that failed (other than
 * STATUS_NOT_FOUND) only engine_end is left: all else gives the same status again. */
NODISCARD enum status engine_put(struct engine_txn *txn, unsigned table, struct slice key, struct slice value,
                                 struct error *error);
/* As engine_put with the value given as two runs of bytes (a record's header and its payload). */
NODISCARD enum status engine_put2(struct engine_txn *txn, unsigned table, struct slice key, struct slice head,
                                  struct slice rest, struct error *error);
/* STATUS_NOT_FOUND if there was none. */
NODISCARD enum status engine_delete(struct engine_txn *txn, unsigned table, struct slice key,
                                    struct error *error);

/* Number of writes (puts and deletes) in this transaction so far; those that failed count, a delete that
 * found nothing does not. */
uint64_t engine_writes(const struct engine_txn *txn);

/* A cursor walks one table in key order within [from, to); `to` of size 0 means to the end. engine_seek may
 * be called again and again on one cursor: cheaper than opening a new one. Before its first seek a cursor
 * stands before the whole table. Writes to its table while a cursor is open: seek again afterwards (CHECK).
 */
NODISCARD enum status engine_cursor_open(struct engine_txn *txn, unsigned table,
                                         struct engine_cursor **ret_cursor, struct error *error);
void engine_cursor_close(struct engine_cursor *cursor); /* NULL is allowed */
/* Copies both bounds. */
void engine_seek(struct engine_cursor *cursor, struct slice from, struct slice to);
/* All keys that begin with `prefix`, from `from` on (if from.size > 0, it must begin with the prefix). */
void engine_seek_prefix(struct engine_cursor *cursor, struct slice prefix, struct slice from);
/* The next pair. STATUS_NOT_FOUND (without a text) at the end. STATUS_CORRUPT: ret_key is set, and the next
 * call goes on behind it; an empty ret_key means that the engine's own structure is damaged, and the next
 * call is at the end. Any other failure ends the walk too. */
NODISCARD enum status engine_next(struct engine_cursor *cursor, struct slice *ret_key,
                                  struct slice *ret_value, struct error *error);

/* Calls `handler` on each pair whose key begins with `prefix`, in key order; it must not write to the table.
 * STATUS_CORRUPT and STATUS_UNSUPPORTED, the engine's or the handler's, do not end the walk: a record that
 * cannot be read costs only itself, and the first one's status and text are the answer in the end. Any other
 * status but STATUS_OK ends it at once. */
typedef enum status engine_handler(void *context, struct slice key, struct slice value, struct error *error);
NODISCARD enum status engine_each(struct engine_txn *txn, unsigned table, struct slice prefix,
                                  engine_handler *handler, void *context, struct error *error);

struct engine_stats {
    uint64_t map_bytes;  /* bound */
    uint64_t file_bytes; /* allocated for pages, used or free */
    uint64_t free_bytes; /* of them, free for reuse */
    unsigned readers;    /* transactions that read, in all processes */
    unsigned readers_max;
    uint64_t oldest_reader_age; /* transactions between the oldest reader and now */
};
struct engine_table_stats {
    uint64_t entries, pages_bytes;
};
NODISCARD enum status engine_stats(struct engine *engine, struct engine_stats *ret_stats,
                                   struct error *error);
NODISCARD enum status engine_table_stats(struct engine_txn *txn, unsigned table,
                                         struct engine_table_stats *ret_stats, struct error *error);
/* Hands the whole store as of one moment to `sink`, in pieces and in order: bytes that engine_open reads when
 * they stand in a file. They are read past all checksums, so damage is copied as it is. It keeps pages from
 * being reused until the last piece is taken, so a store that is written to meanwhile grows. */
typedef enum status engine_sink(void *context, struct slice bytes, struct error *error);
NODISCARD enum status engine_copy(struct engine *engine, engine_sink *sink, void *context,
                                  struct error *error);
/* Within a write transaction that has written nothing yet (CHECK): gives the disk space of free pages back to
 * the file system, in the order of their places from *position on (0: from the beginning), for at most max_us
 * and then as long as one call takes. The file stays as long as it is, with holes in it. What readers see,
 * and what a crash would come back to, keeps its pages. *ret_more: *position says where to go on.
 * STATUS_UNSUPPORTED: the file system makes no holes. */
NODISCARD enum status engine_release_space(struct engine_txn *txn, int64_t max_us, uint64_t *position,
                                           uint64_t *ret_bytes, bool *ret_more, struct error *error);
/* The newest commit's number; it may still be on its way to the disk. As long as it stays the same, each read
 * sees what a read of that commit saw. Costs no transaction. */
uint64_t engine_newest_commit(struct engine *engine);
/* The commit that a read transaction sees. */
uint64_t engine_commit_seen(struct engine_txn *txn);
/* Frees the slots of readers whose process is gone; returns how many. */
unsigned engine_clear_stale_readers(struct engine *engine);

#endif
