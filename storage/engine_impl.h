/*
 * What engine.c shares with the engines behind it, and nobody else includes.
 *
 * engine.c does for every engine: checksums, cursor bounds, failpoints, the rules of engine.h. An engine
 * does the rest: it keeps pairs of bytes in order, in tables, in transactions. It is one struct
 * engine_backend; its own structs begin with the ones below.
 *
 * Threading: as engine.h.
 */
#ifndef STORAGE_ENGINE_IMPL_H
#define STORAGE_ENGINE_IMPL_H

#include "codec/base/buffer.h"
#include "storage/engine.h"

#include <pthread.h>

struct engine {
    const struct engine_backend *backend;
    char *table_names[ENGINE_TABLES_MAX];
    size_t table_count;
    bool read_only;
};

struct engine_txn {
    struct engine *engine;
    struct engine_cursor *cursors; /* open ones */
    bool is_write;
    /* Of a write transaction: */
    pthread_t thread;
    uint64_t writes;
    uint64_t writes_of[ENGINE_TABLES_MAX];
    enum status broken;  /* a write failed: only engine_end is left */
    bool lent;           /* values were handed out since the last write */
    struct buffer spare; /* holds what is written while the engine moves what it was borrowed from */
};

struct engine_cursor {
    struct engine_txn *txn;
    struct engine_cursor *next, **link; /* in txn->cursors */
    unsigned table;
    enum { ENGINE_CURSOR_BEFORE, ENGINE_CURSOR_WITHIN, ENGINE_CURSOR_END } state;
    uint64_t writes; /* of the table, when the cursor was last moved */
    size_t from_size, to_size;
    /* The key at which the walk is to begin; then the last one that was given. */
    char from[ENGINE_KEY_SIZE_MAX];
    char to[ENGINE_KEY_SIZE_MAX];
};

/* Keys are within bounds and values are as stored, their checksums included. Functions that begin or open
 * give a zeroed struct; engine.c fills the fields above. STATUS_NOT_FOUND comes without a text. */
struct engine_backend {
    enum status (*open)(const struct engine_options *options, struct engine **ret_engine,
                        struct error *error);
    void (*close)(struct engine *engine);

    enum status (*begin)(struct engine *engine, bool is_write, struct engine_txn **ret_txn,
                         struct error *error);
    /* Both free the transaction, whatever happens; its cursors are closed. */
    enum status (*commit)(struct engine_txn *txn, struct error *error);
    void (*end)(struct engine_txn *txn);

    enum status (*get)(struct engine_txn *txn, unsigned table, struct slice key, struct slice *ret_stored,
                       struct error *error);
    /* The value is `parts`, one behind the other. Neither they nor the key were borrowed from this
     * transaction since its last write. */
    enum status (*put)(struct engine_txn *txn, unsigned table, struct slice key, const struct slice *parts,
                       size_t part_count, struct error *error);
    enum status (*delete)(struct engine_txn *txn, unsigned table, struct slice key, struct error *error);

    enum status (*cursor_open)(struct engine_txn *txn, unsigned table, struct engine_cursor **ret_cursor,
                               struct error *error);
    void (*cursor_close)(struct engine_cursor *cursor);
    /* The first pair whose key is `from` or behind it (empty: the table's first). */
    enum status (*cursor_seek)(struct engine_cursor *cursor, struct slice from, struct slice *ret_key,
                               struct slice *ret_stored, struct error *error);
    /* Only after a seek or next that found a pair. */
    enum status (*cursor_next)(struct engine_cursor *cursor, struct slice *ret_key, struct slice *ret_stored,
                               struct error *error);

    enum status (*stats)(struct engine *engine, struct engine_stats *ret_stats, struct error *error);
    enum status (*table_stats)(struct engine_txn *txn, unsigned table, struct engine_table_stats *ret_stats,
                               struct error *error);
    enum status (*copy)(struct engine *engine, engine_sink *sink, void *context, struct error *error);
    enum status (*release_space)(struct engine_txn *txn, int64_t max_us, uint64_t *position,
                                 uint64_t *ret_bytes, bool *ret_more, struct error *error);
    uint64_t (*newest_commit)(struct engine *engine);
    uint64_t (*commit_seen)(struct engine_txn *txn);
    unsigned (*clear_stale_readers)(struct engine *engine);
};

/* Takes the checksum off a stored value and compares it. */
NODISCARD enum status engine_value_check(struct engine_txn *txn, unsigned table, struct slice key,
                                         struct slice stored, struct slice *ret_value, struct error *error);

extern const struct engine_backend engine_lmdb;

#endif
