/*
 * LMDB behind the engine seam. What matters of its ways:
 *
 * - MDB_NOTLS: a read transaction belongs to whoever holds it, not to its thread's slot; a thread may have
 *   several.
 * - Neither MDB_WRITEMAP nor MDB_NOSYNC: with a full disk or after a power cut they end in SIGBUS.
 * - A process must not open a file twice: its own lock does not stop it from starting the lock file anew
 *   under the feet of the first, and the first close drops the lock. Hence the list of open files.
 * - A file that was cut short ends in SIGBUS when a page is missing, and LMDB follows what a damaged page
 * says into memory that is not there: explain_memory_faults(). Where it does not, leaf_check() finds the
 * damage.
 * - A short write (a full disk) is reported as EIO, like a failing disk. write_code() tells them apart.
 * - A reader that is not scheduled for two commits may begin in the middle of the second: begin_snapshot().
 */
#include "storage/engine_impl.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "storage/lmdb_page.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GIB UINT64_C(1024) * 1024 * 1024
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* gcc */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1 /* clang */
#endif
#endif
#ifdef SANITIZED
#define MAP_BYTES_DEFAULT (16 * GIB) /* their shadow leaves less address space */
#else
#define MAP_BYTES_DEFAULT (1024 * GIB)
#endif
#define READERS_MAX_DEFAULT 512
#define SPACE_PROBE_BYTES   (1024 * 1024)
#define SNAPSHOT_TRIES_MAX  1000 /* each but the first because two commits came in between */

struct lmdb_engine {
    struct engine engine;
    MDB_env *env;
    MDB_dbi tables[ENGINE_TABLES_MAX];
    char *path;
    size_t page_bytes;
    /* In the list of open files. A forked child inherits the list, but none of the locks. */
    struct lmdb_engine *next_open;
    dev_t device;
    ino_t inode;
    pid_t process;
    /* A read that has ended, with its slot in LMDB's table of readers, for the next one; NULL while it is
     * taken. Only by atomic exchange. */
    struct lmdb_txn *spare;
};

/* A place in a table. */
struct lmdb_place {
    MDB_cursor *cursor;
    const char *leaf; /* the last one that was found sound */
};

struct lmdb_txn {
    struct engine_txn txn;
    MDB_txn *lmdb;
    uint64_t page_count; /* of a read: what the file has, at least as many as the snapshot names */
    struct lmdb_place gets[ENGINE_TABLES_MAX]; /* of a read: where it looked last; opened when it is used */
};

struct lmdb_cursor {
    struct engine_cursor cursor;
    struct lmdb_place place;
};

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lmdb_engine *open_engines;

static struct lmdb_engine *lmdb_engine_of(struct engine *engine)
{
    return (struct lmdb_engine *)engine;
}

static MDB_txn *lmdb_txn_of(struct engine_txn *txn)
{
    return ((struct lmdb_txn *)txn)->lmdb;
}

static MDB_dbi lmdb_table(struct engine_txn *txn, unsigned table)
{
    return lmdb_engine_of(txn->engine)->tables[table];
}

static MDB_val val_of(struct slice slice)
{
    return (MDB_val){.mv_size = slice.size, .mv_data = (void *)(uintptr_t)slice.data};
}

static struct slice slice_of(const MDB_val *val)
{
    return slice_make(val->mv_data, val->mv_size);
}

/* ---- Errors ---- */

static enum status status_of(int code)
{
    switch (code) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return STATUS_NO_SPACE;
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL: /* a tree deeper than any real one */
    case MDB_PAGE_FULL:
        return STATUS_CORRUPT;
    case MDB_READERS_FULL:
    case EAGAIN:
        return STATUS_BUSY;
    case MDB_VERSION_MISMATCH:
    case MDB_MAP_RESIZED: /* another process was given a larger map and uses it */
        return STATUS_UNSUPPORTED;
    case MDB_TXN_FULL:
        return STATUS_TOO_LARGE;
    case MDB_PANIC:
        return STATUS_IO;
    default:
        return code > 0 && code != EINVAL ? STATUS_IO : STATUS_INTERNAL;
    }
}

static const char *advice_of(int code)
{
    switch (code) {
    case MDB_MAP_FULL:
        return " (the store has reached its map size: raise map_bytes)";
    case MDB_MAP_RESIZED:
        return " (another process opened it with a larger map: use the same map_bytes)";
    case ENOMEM:
        return " (so much address space is refused: choose a smaller map_bytes)";
    default:
        return "";
    }
}

static enum status lmdb_fail(const char *path, int code, struct error *error, const char *what)
{
    return error_set(error, status_of(code), "%s: %s: %s%s", path, what, mdb_strerror(code), advice_of(code));
}

static enum status engine_fail(struct engine *engine, int code, struct error *error, const char *what)
{
    return lmdb_fail(lmdb_engine_of(engine)->path, code, error, what);
}

static enum status table_fail(struct engine_txn *txn, unsigned table, int code, struct error *error,
                              const char *what)
{
    return error_set(error, status_of(code), "%s: table %s: %s: %s%s", lmdb_engine_of(txn->engine)->path,
                     txn->engine->table_names[table], what, mdb_strerror(code), advice_of(code));
}

/* Whether EIO was a short write. The disk is then full still: what was written lies in the file. */
static bool space_is_gone(MDB_env *env)
{
    int fd;
    struct stat stat;
    if (mdb_env_get_fd(env, &fd) != 0 || fstat(fd, &stat) != 0)
        return false;
    int code = posix_fallocate(fd, stat.st_size, SPACE_PROBE_BYTES);
    return code == ENOSPC || code == EDQUOT || code == EFBIG;
}

/* The true reason of a write or commit that failed. A sync may report a full disk too, and then what it was
 * to sync is lost. If the disk is full still, that is no more than a write that was refused: nothing names
 * the pages yet, and LMDB writes them again before anything does. If it is not, the sync itself failed. */
static int write_code(MDB_env *env, int code)
{
    if (code == EIO || code == ENOSPC || code == EDQUOT || code == EFBIG)
        code = space_is_gone(env) ? ENOSPC : EIO;
    /* Once the page that makes a commit stand could not be written, LMDB refuses to go on: no answer that
     * makes the caller go on either. */
    MDB_txn *txn;
    int begun = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (begun == MDB_PANIC)
        return MDB_PANIC;
    if (begun == 0)
        mdb_txn_abort(txn);
    return code;
}

static void stop_on_damage(MDB_env *env, const char *text)
{
    const char *path = "the store";
    mdb_env_get_path(env, &path);
    fprintf(stderr, "%s is damaged and the process stops; restore it from a backup (%s)\n", path, text);
    abort();
}

/* A page that the map promises and the file does not have, or what a damaged page leads to. Nothing is
 * answered from it; the instruction runs again when this returns, and ends the process. */
static void on_memory_fault(int number)
{
    static const char bus[] = "a page of the store cannot be read (its file was cut short, a page leads "
                              "beyond it, or the disk fails) "
                              "and the process stops; restore it from a backup\n";
    static const char fault[] =
        "the process used memory that is not there and stops: either the store is damaged or the program is "
        "wrong; sluicectl verify tells, and stops in the same way if the store's own structure is damaged\n";
    /* Another thread may be here too: it comes again until the first has told, and that ends the process. */
    static bool is_told;
    if (__atomic_test_and_set(&is_told, __ATOMIC_RELAXED))
        return;
    if (number == SIGBUS)
        (void)!write(STDERR_FILENO, bus, sizeof bus - 1);
    else
        (void)!write(STDERR_FILENO, fault, sizeof fault - 1);
    signal(number, SIG_DFL);
}

/* Unless the program has its own way: sanitizers do. */
static void explain_memory_faults(void)
{
    static const int numbers[] = {SIGBUS, SIGSEGV};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction now, wanted = {.sa_handler = on_memory_fault};
        sigemptyset(&wanted.sa_mask);
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
            sigaction(numbers[i], &wanted, NULL);
    }
}

/* A bound of file sizes (RLIMIT_FSIZE) is then an error of the write, and not the end of the process. */
static void tell_full_files(void)
{
    struct sigaction now, wanted = {.sa_handler = SIG_IGN};
    if (sigaction(SIGXFSZ, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        sigaction(SIGXFSZ, &wanted, NULL);
}

/* ---- Opening ---- */

/* Opens the tables by name, all in one transaction; with `create` it makes them. */
static int open_tables(struct lmdb_engine *engine, const struct engine_options *options,
                       bool *ret_missing_all, const char **ret_missing)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(engine->env, NULL, options->read_only ? MDB_RDONLY : 0, &txn);
    if (code != 0)
        return code;
    size_t found = 0;
    for (size_t i = 0; code == 0 && i < options->table_count; i++) {
        code = mdb_dbi_open(txn, options->tables[i], options->create ? MDB_CREATE : 0, &engine->tables[i]);
        if (code == 0) {
            found++;
        } else if (code == MDB_NOTFOUND) {
            if (!*ret_missing)
                *ret_missing = options->tables[i];
            code = 0;
        }
    }
    *ret_missing_all = found == 0;
    if (code != 0 || *ret_missing) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn); /* also of a read: it keeps the table handles */
}

/* A damaged page may give the root of one table for another's. */
static enum status names_check(const struct lmdb_engine *engine, const char *path, struct error *error)
{
    MDB_txn *txn;
    MDB_dbi names;
    MDB_cursor *cursor;
    MDB_val key, value;
    enum status status = STATUS_OK;
    int code = mdb_txn_begin(engine->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_fail(path, code, error, "cannot read the tables");
    code = mdb_dbi_open(txn, NULL, 0, &names);
    if (code == 0)
        code = mdb_cursor_open(txn, names, &cursor);
    if (code == 0) {
        while (status == STATUS_OK && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
            const char *name = key.mv_data, *leaf = name - (uintptr_t)name % engine->page_bytes;
            if (!lmdb_leaf_is_sound(LMDB_TABLE_NAMES, leaf, engine->page_bytes, 0))
                status = error_set(error, STATUS_CORRUPT, "%s: the table of its tables is damaged", path);
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    if (status == STATUS_OK && code != 0 && code != MDB_NOTFOUND)
        return lmdb_fail(path, code, error, "cannot read the tables");
    return status;
}

static enum status open_environment(struct lmdb_engine *engine, const struct engine_options *options,
                                    struct error *error)
{
    int code = mdb_env_create(&engine->env);
    if (code == 0)
        code = mdb_env_set_maxdbs(engine->env, (MDB_dbi)options->table_count);
    if (code == 0)
        code = mdb_env_set_maxreaders(engine->env,
                                      options->readers_max ? options->readers_max : READERS_MAX_DEFAULT);
    if (code == 0)
        code = mdb_env_set_mapsize(engine->env, options->map_bytes ? options->map_bytes : MAP_BYTES_DEFAULT);
    if (code == 0)
        code = mdb_env_set_assert(engine->env, stop_on_damage);
    if (code == 0)
        code = mdb_env_open(engine->env, options->path,
                            MDB_NOSUBDIR | MDB_NOTLS | (options->read_only ? MDB_RDONLY : 0u), 0600);
    if (code == ENOMEM)
        return error_set(error, STATUS_UNSUPPORTED, "%s: cannot open: %s%s", options->path,
                         mdb_strerror(code), advice_of(code));
    if (code != 0)
        return lmdb_fail(options->path, code, error, "cannot open");

    bool missing_all = false;
    const char *missing = NULL;
    code = open_tables(engine, options, &missing_all, &missing);
    if (code != 0)
        return lmdb_fail(options->path, code, error, "cannot open the tables");
    if (missing_all)
        return error_set(error, STATUS_NOT_FOUND, "%s: holds no store yet", options->path);
    if (missing)
        return error_set(error, STATUS_UNSUPPORTED,
                         "%s: has no table %s: another version made it, or it is damaged", options->path,
                         missing);
    MDB_stat stat;
    code = mdb_env_stat(engine->env, &stat);
    if (code != 0)
        return lmdb_fail(options->path, code, error, "cannot open");
    engine->page_bytes = stat.ms_psize;
    return names_check(engine, options->path, error);
}

static bool is_open(const struct stat *file)
{
    for (struct lmdb_engine *engine = open_engines; engine; engine = engine->next_open) {
        if (engine->device == file->st_dev && engine->inode == file->st_ino && engine->process == getpid())
            return true;
    }
    return false;
}

static void txn_free(struct lmdb_txn *txn)
{
    mdb_txn_abort(txn->lmdb);
    mem_free(txn);
}

/* Out of the list only when nothing of LMDB is open any more: see the top. NULL is allowed. */
static void engine_free(struct lmdb_engine *engine)
{
    if (!engine)
        return;
    if (engine->spare && engine->process == getpid()) /* the slot of a forked child's is its parent's */
        txn_free(engine->spare);
    if (engine->env)
        mdb_env_close(engine->env);
    pthread_mutex_lock(&open_lock);
    struct lmdb_engine **link = &open_engines;
    while (*link != engine)
        link = &(*link)->next_open;
    *link = engine->next_open;
    pthread_mutex_unlock(&open_lock);
    mem_free(engine->path);
    mem_free(engine);
}

static enum status open_file(const struct engine_options *options, struct stat *ret_file, struct error *error)
{
    if (options->create) {
        int fd = open(options->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno == EEXIST)
            return error_set(error, STATUS_EXISTS, "%s: is there already", options->path);
        if (fd < 0)
            return error_set_errno(error, "%s: cannot make", options->path);
        close(fd);
    }
    if (stat(options->path, ret_file) != 0) {
        if (errno == ENOENT)
            return error_set(error, STATUS_NOT_FOUND, "%s: is not there", options->path);
        return error_set_errno(error, "%s: cannot open", options->path);
    }
    /* LMDB would make a new store of an empty file, or fail to where it may only read. */
    if (!options->create && ret_file->st_size == 0)
        return error_set(error, STATUS_NOT_FOUND, "%s: holds no store yet", options->path);
    return STATUS_OK;
}

static void remove_files(const char *path)
{
    struct buffer lock = BUFFER_INIT;
    buffer_appendf(&lock, "%s-lock", path);
    unlink(buffer_text(&lock));
    unlink(path);
    buffer_release(&lock);
}

/* Finds or makes the file and puts an engine without an environment into the list. The lock is not held while
 * LMDB opens: it has locks of its own, and reads the disk. */
static enum status engine_reserve(const struct engine_options *options, struct lmdb_engine **ret_engine,
                                  struct error *error)
{
    struct stat file;
    pthread_mutex_lock(&open_lock);
    enum status status = open_file(options, &file, error);
    if (status == STATUS_OK && is_open(&file))
        status = error_set(error, STATUS_BUSY, "%s: this process has it open already", options->path);
    if (status == STATUS_OK) {
        struct lmdb_engine *engine = mem_new(struct lmdb_engine);
        engine->path = mem_strdup(options->path);
        engine->device = file.st_dev;
        engine->inode = file.st_ino;
        engine->process = getpid();
        engine->next_open = open_engines;
        open_engines = engine;
        *ret_engine = engine;
    }
    pthread_mutex_unlock(&open_lock);
    return status;
}

static enum status lmdb_open(const struct engine_options *options, struct engine **ret_engine,
                             struct error *error)
{
    struct lmdb_engine *engine;
    enum status status = engine_reserve(options, &engine, error);
    if (status != STATUS_OK)
        return status;
    tell_full_files();
    explain_memory_faults(); /* the opening reads pages already */
    status = open_environment(engine, options, error);
    if (status == STATUS_OK) {
        *ret_engine = &engine->engine;
        return STATUS_OK;
    }
    engine_free(engine);
    if (options->create)
        remove_files(options->path);
    return status;
}

static void lmdb_close(struct engine *engine)
{
    engine_free(lmdb_engine_of(engine));
}

/* ---- Transactions ---- */

/* Begins to read. LMDB first looks which commit is the newest, T, and then copies the root that T left in one
 * of two places. T+2 writes its root into the same place before its sync, and is announced after it. A thread
 * that stood still in between would read what is not durable yet, as the next reader would not. So the copy
 * counts only if T+2 has not been written when it is there. */
static int begin_snapshot(MDB_env *env, struct lmdb_txn *txn)
{
    MDB_envinfo info;
    int code = txn->lmdb ? mdb_txn_renew(txn->lmdb) : mdb_txn_begin(env, NULL, MDB_RDONLY, &txn->lmdb);
    for (int tries = 1; code == 0; tries++) {
        code = mdb_env_info(env, &info);
        if (code == 0 && info.me_last_txnid <= mdb_txn_id(txn->lmdb) + 1) {
            txn->page_count = info.me_last_pgno + 1;
            return 0;
        }
        if (code == 0 && tries == SNAPSHOT_TRIES_MAX)
            code = EAGAIN;
        mdb_txn_reset(txn->lmdb);
        if (code == 0)
            code = mdb_txn_renew(txn->lmdb);
    }
    mdb_txn_abort(txn->lmdb); /* NULL is fine */
    txn->lmdb = NULL;
    return code;
}

static enum status lmdb_begin(struct engine *engine, bool is_write, struct engine_txn **ret_txn,
                              struct error *error)
{
    struct lmdb_engine *lmdb = lmdb_engine_of(engine);
    struct lmdb_txn *txn = is_write ? NULL : __atomic_exchange_n(&lmdb->spare, NULL, __ATOMIC_ACQUIRE);
    if (!txn)
        txn = mem_new(struct lmdb_txn);
    int code = is_write ? mdb_txn_begin(lmdb->env, NULL, 0, &txn->lmdb) : begin_snapshot(lmdb->env, txn);
    int cleared = 0;
    if (code == MDB_READERS_FULL && mdb_reader_check(lmdb->env, &cleared) == 0 && cleared > 0)
        code = begin_snapshot(lmdb->env, txn);
    if (code != 0) {
        mem_free(txn);
        return engine_fail(engine, code, error, "cannot begin a transaction");
    }
    *ret_txn = &txn->txn;
    return STATUS_OK;
}

static enum status lmdb_commit(struct engine_txn *txn, struct error *error)
{
    struct engine *engine = txn->engine;
    MDB_env *env = lmdb_engine_of(engine)->env;
    int code = mdb_txn_commit(lmdb_txn_of(txn));
    mem_free(txn);
    if (code != 0)
        return engine_fail(engine, write_code(env, code), error, "cannot commit");
    return STATUS_OK;
}

static void lmdb_end(struct engine_txn *txn)
{
    struct lmdb_engine *lmdb = lmdb_engine_of(txn->engine);
    struct lmdb_txn *ended = (struct lmdb_txn *)txn, *none = NULL;
    for (size_t i = 0; i < ENGINE_TABLES_MAX; i++)
        if (ended->gets[i].cursor)
            mdb_cursor_close(ended->gets[i].cursor);
    bool is_spare = !txn->is_write;
    *ended = (struct lmdb_txn){.lmdb = ended->lmdb};
    if (is_spare) {
        mdb_txn_reset(ended->lmdb);
        is_spare = __atomic_compare_exchange_n(&lmdb->spare, &none, ended, false, __ATOMIC_RELEASE,
                                               __ATOMIC_RELAXED);
    }
    if (!is_spare)
        txn_free(ended);
}

/* The leaf that holds `key`, once for as long as the place stays in it. Only of a read: its pages lie in the
 * map, which begins at the begin of a page; what a transaction itself wrote does not. */
static enum status leaf_check(struct engine_txn *txn, unsigned table, struct lmdb_place *place,
                              const char *key, struct error *error)
{
    const struct lmdb_engine *engine = lmdb_engine_of(txn->engine);
    const char *leaf = key - (uintptr_t)key % engine->page_bytes;
    if (txn->is_write || leaf == place->leaf)
        return STATUS_OK;
    uint64_t page_count = ((struct lmdb_txn *)txn)->page_count;
    if (!lmdb_leaf_is_sound(LMDB_TABLE_PAIRS, leaf, engine->page_bytes, page_count))
        return error_set(error, STATUS_CORRUPT, "%s: table %s: a page is damaged", engine->path,
                         txn->engine->table_names[table]);
    place->leaf = leaf;
    return STATUS_OK;
}

static enum status place_move(struct engine_txn *txn, unsigned table, struct lmdb_place *place,
                              MDB_cursor_op op, MDB_val *key, MDB_val *value, struct error *error)
{
    int code = mdb_cursor_get(place->cursor, key, value, op);
    if (code == MDB_NOTFOUND)
        return STATUS_NOT_FOUND;
    if (code != 0)
        return table_fail(txn, table, code, error, "cannot read");
    return leaf_check(txn, table, place, key->mv_data, error);
}

/* That nothing is found is an answer too, and must not come from damage. So a read looks at the pairs on both
 * sides: the key would stand between them, the way to them was right, and neither is the pair itself with
 * another key. */
static enum status read_get(struct engine_txn *txn, unsigned table, struct slice key,
                            struct slice *ret_stored, struct error *error)
{
    struct lmdb_place *place = &((struct lmdb_txn *)txn)->gets[table];
    if (!place->cursor) {
        int code = mdb_cursor_open(lmdb_txn_of(txn), lmdb_table(txn, table), &place->cursor);
        if (code != 0)
            return table_fail(txn, table, code, error, "cannot open a cursor");
    }
    MDB_cursor_op before = MDB_LAST;
    for (MDB_cursor_op op = MDB_SET_RANGE;; op = before) {
        MDB_val found = val_of(key), value;
        enum status status = place_move(txn, table, place, op, &found, &value, error);
        if (status == STATUS_OK) {
            int order = slice_compare(slice_of(&found), key);
            if (op == MDB_SET_RANGE && order == 0) {
                *ret_stored = slice_of(&value);
                return STATUS_OK;
            }
            if (op == MDB_SET_RANGE ? order < 0 : order >= 0)
                return error_set(error, STATUS_CORRUPT, "%s: table %s: its keys are out of order",
                                 lmdb_engine_of(txn->engine)->path, txn->engine->table_names[table]);
            struct slice checked;
            status = engine_value_check(txn, table, slice_of(&found), slice_of(&value), &checked, error);
            before = MDB_PREV;
        }
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
        if (op != MDB_SET_RANGE)
            return STATUS_NOT_FOUND;
    }
}

static enum status lmdb_get(struct engine_txn *txn, unsigned table, struct slice key,
                            struct slice *ret_stored, struct error *error)
{
    if (!txn->is_write)
        return read_get(txn, table, key, ret_stored, error);
    MDB_val key_val = val_of(key), value;
    int code = mdb_get(lmdb_txn_of(txn), lmdb_table(txn, table), &key_val, &value);
    if (code == MDB_NOTFOUND)
        return STATUS_NOT_FOUND;
    if (code != 0)
        return table_fail(txn, table, code, error, "cannot read");
    *ret_stored = slice_of(&value);
    return STATUS_OK;
}

static enum status write_fail(struct engine_txn *txn, unsigned table, int code, struct error *error)
{
    return table_fail(txn, table, write_code(lmdb_engine_of(txn->engine)->env, code), error, "cannot write");
}

static enum status lmdb_put(struct engine_txn *txn, unsigned table, struct slice key,
                            const struct slice *parts, size_t part_count, struct error *error)
{
    MDB_val key_val = val_of(key), value = {.mv_size = 0};
    for (size_t i = 0; i < part_count; i++)
        value.mv_size += parts[i].size;
    /* MDB_RESERVE: the parts are put together in the page itself. */
    int code = mdb_put(lmdb_txn_of(txn), lmdb_table(txn, table), &key_val, &value, MDB_RESERVE);
    if (code != 0)
        return write_fail(txn, table, code, error);
    char *target = value.mv_data;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].size)
            memcpy(target, parts[i].data, parts[i].size);
        target += parts[i].size;
    }
    return STATUS_OK;
}

static enum status lmdb_delete(struct engine_txn *txn, unsigned table, struct slice key, struct error *error)
{
    MDB_val key_val = val_of(key);
    int code = mdb_del(lmdb_txn_of(txn), lmdb_table(txn, table), &key_val, NULL);
    if (code == MDB_NOTFOUND)
        return STATUS_NOT_FOUND;
    return code == 0 ? STATUS_OK : write_fail(txn, table, code, error);
}

/* ---- Cursors ---- */

static enum status lmdb_cursor_open(struct engine_txn *txn, unsigned table, struct engine_cursor **ret_cursor,
                                    struct error *error)
{
    MDB_cursor *lmdb;
    int code = mdb_cursor_open(lmdb_txn_of(txn), lmdb_table(txn, table), &lmdb);
    if (code != 0)
        return table_fail(txn, table, code, error, "cannot open a cursor");
    struct lmdb_cursor *cursor = mem_new(struct lmdb_cursor);
    cursor->place.cursor = lmdb;
    *ret_cursor = &cursor->cursor;
    return STATUS_OK;
}

static void lmdb_cursor_close(struct engine_cursor *cursor)
{
    mdb_cursor_close(((struct lmdb_cursor *)cursor)->place.cursor);
    mem_free(cursor);
}

static enum status cursor_move(struct engine_cursor *cursor, MDB_val *key, MDB_cursor_op op,
                               struct slice *ret_key, struct slice *ret_stored, struct error *error)
{
    MDB_val value;
    struct lmdb_place *place = &((struct lmdb_cursor *)cursor)->place;
    enum status status = place_move(cursor->txn, cursor->table, place, op, key, &value, error);
    if (status != STATUS_OK)
        return status;
    *ret_key = slice_of(key);
    *ret_stored = slice_of(&value);
    return STATUS_OK;
}

static enum status lmdb_cursor_seek(struct engine_cursor *cursor, struct slice from, struct slice *ret_key,
                                    struct slice *ret_stored, struct error *error)
{
    MDB_val key = val_of(from);
    return cursor_move(cursor, &key, from.size ? MDB_SET_RANGE : MDB_FIRST, ret_key, ret_stored, error);
}

static enum status lmdb_cursor_next(struct engine_cursor *cursor, struct slice *ret_key,
                                    struct slice *ret_stored, struct error *error)
{
    MDB_val key = {.mv_size = 0};
    return cursor_move(cursor, &key, MDB_NEXT, ret_key, ret_stored, error);
}

/* ---- Statistics ---- */

struct reader_walk {
    unsigned count;
    size_t oldest_txn; /* SIZE_MAX: none */
};

/* A line of mdb_reader_list, "<pid> <thread> <transaction>" or "-" for a slot without one; else a title. */
static int reader_line(const char *line, void *context)
{
    struct reader_walk *walk = context;
    int pid;
    size_t thread, txn;
    int fields = sscanf(line, "%d %zx %zu", &pid, &thread, &txn);
    if (fields != 3)
        return 0;
    walk->count++;
    if (txn < walk->oldest_txn)
        walk->oldest_txn = txn;
    return 0;
}

/* LMDB keeps its free pages in its table 0: each value is a list, its length first. */
static int free_pages(MDB_env *env, size_t *ret_pages)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    int code = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return code;
    size_t pages = 0;
    code = mdb_cursor_open(txn, 0, &cursor);
    if (code == 0) {
        MDB_val key, value;
        while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
            size_t length = 0;
            if (value.mv_size >= sizeof length)
                memcpy(&length, value.mv_data, sizeof length);
            pages += length;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    if (code != MDB_NOTFOUND)
        return code;
    *ret_pages = pages;
    return 0;
}

static enum status lmdb_stats(struct engine *engine, struct engine_stats *ret_stats, struct error *error)
{
    MDB_env *env = lmdb_engine_of(engine)->env;
    MDB_envinfo info;
    MDB_stat stat;
    size_t pages = 0;
    struct reader_walk walk = {.oldest_txn = SIZE_MAX};
    int code = mdb_env_info(env, &info);
    if (code == 0)
        code = mdb_env_stat(env, &stat);
    if (code == 0 && mdb_reader_list(env, reader_line, &walk) < 0)
        code = EIO;
    if (code == 0)
        code = free_pages(env, &pages);
    if (code != 0)
        return engine_fail(engine, code, error, "cannot read its statistics");
    *ret_stats = (struct engine_stats){
        .map_bytes = info.me_mapsize,
        .file_bytes = (info.me_last_pgno + 1) * stat.ms_psize,
        .free_bytes = pages * stat.ms_psize,
        .readers = walk.count,
        .readers_max = info.me_maxreaders,
        .oldest_reader_age = walk.oldest_txn < info.me_last_txnid ? info.me_last_txnid - walk.oldest_txn : 0,
    };
    return STATUS_OK;
}

static enum status lmdb_table_stats(struct engine_txn *txn, unsigned table,
                                    struct engine_table_stats *ret_stats, struct error *error)
{
    MDB_stat stat;
    int code = mdb_stat(lmdb_txn_of(txn), lmdb_table(txn, table), &stat);
    if (code != 0)
        return table_fail(txn, table, code, error, "cannot read its statistics");
    *ret_stats = (struct engine_table_stats){
        .entries = stat.ms_entries,
        .pages_bytes = (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * stat.ms_psize,
    };
    return STATUS_OK;
}

/* ---- Copying ---- */

#define COPY_PIPE_BYTES (1024 * 1024)

/* LMDB writes its copy into a descriptor, so a thread writes into a pipe. For a moment it holds the lock of
 * writers, to copy both roots: two pages, for which an empty pipe has room. */
struct copy_thread {
    MDB_env *env;
    int fd;
    int code;
};

static void *copy_main(void *argument)
{
    struct copy_thread *copy = argument;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE); /* when the sink failed, and nobody reads on: EPIPE */
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    copy->code = mdb_env_copyfd2(copy->env, copy->fd, 0);
    close(copy->fd);
    return NULL;
}

static enum status copy_drain(int fd, engine_sink *sink, void *context, struct error *error)
{
    char *piece = mem_alloc(COPY_PIPE_BYTES);
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        ssize_t got = read(fd, piece, COPY_PIPE_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = error_set_errno(error, "the copy of the store cannot be read");
        if (got <= 0)
            break;
        status = sink(context, slice_make(piece, (size_t)got), error);
    }
    mem_free(piece);
    return status;
}

static enum status lmdb_copy(struct engine *engine, engine_sink *sink, void *context, struct error *error)
{
    int ends[2];
    pthread_t thread;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set_errno(error, "a pipe cannot be made");
    (void)fcntl(ends[1], F_SETPIPE_SZ, COPY_PIPE_BYTES); /* larger is faster, not needed */
    struct copy_thread copy = {.env = lmdb_engine_of(engine)->env, .fd = ends[1]};
    if (pthread_create(&thread, NULL, copy_main, &copy) != 0) {
        close(ends[0]);
        close(ends[1]);
        return error_set(error, STATUS_INTERNAL, "a thread for the copy cannot be started");
    }
    enum status status = copy_drain(ends[0], sink, context, error);
    close(ends[0]);
    pthread_join(thread, NULL);
    if (status == STATUS_OK && copy.code != 0)
        status = engine_fail(engine, copy.code, error, "cannot be copied");
    return status;
}

static uint64_t lmdb_newest_commit(struct engine *engine)
{
    MDB_envinfo info;
    CHECK(mdb_env_info(lmdb_engine_of(engine)->env, &info) == 0); /* it only fails without an environment */
    return info.me_last_txnid;
}

static uint64_t lmdb_commit_seen(struct engine_txn *txn)
{
    return mdb_txn_id(lmdb_txn_of(txn));
}

static unsigned lmdb_clear_stale_readers(struct engine *engine)
{
    int cleared = 0;
    if (mdb_reader_check(lmdb_engine_of(engine)->env, &cleared) != 0 || cleared < 0)
        return 0;
    return (unsigned)cleared;
}

/* ---- Giving space back ---- */

/* LMDB's record T in its table 0 lists the pages that transaction T did not need any more, the largest first.
 * Whoever reads at T or later does not read them; so when T is older than every reader, a writer takes them
 * and writes over them, before its commit. The newest commit C counts as a reader: after a crash the store
 * may come back to C or, if C's root did not get to the disk, to C - 1, and records older than C hold what
 * neither needs. What a writer may write over, a hole may be made of, at the same time: under the writer's
 * lock. Pages that are taken later are written in full, and free ones are never read.
 *
 * The record's pages are read from a snapshot (LMDB opens no cursor on table 0 in a write transaction), which
 * is the state that the write transaction began with: nobody commits meanwhile. */

#define ROOT_PAGES   2                    /* the file's first pages, never free */
#define WINDOW_PAGES ((size_t)256 * 1024) /* looked at together: what lies side by side is one hole */

struct release {
    int fd; /* its own: LMDB moves the offset of the other one */
    size_t page_bytes;
    uint64_t begin, end; /* of the window, pages */
    unsigned char *free; /* a bit a page of the window */
    int64_t deadline_us;
    uint64_t bytes;
};

/* Marks what a record lists within the window. Nothing vouches for a list but that it falls, never to the two
 * roots: one that does not would mark pages that are not free, or bits that are not there. */
static int release_mark(struct release *release, const MDB_val *record)
{
    size_t count;
    if (record->mv_size < sizeof count)
        return MDB_CORRUPTED;
    memcpy(&count, record->mv_data, sizeof count);
    if (count > record->mv_size / sizeof(size_t) - 1)
        return MDB_CORRUPTED;
    const char *pages = (const char *)record->mv_data + sizeof count;
    size_t low = 0, high = count; /* the first one below the window's end */
    while (low < high) {
        size_t middle = low + (high - low) / 2, page;
        memcpy(&page, pages + middle * sizeof page, sizeof page);
        if (page >= release->end)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t page, above = release->end; low < count; low++, above = page) {
        memcpy(&page, pages + low * sizeof page, sizeof page);
        if (page >= above || page < ROOT_PAGES)
            return MDB_CORRUPTED;
        if (page < release->begin)
            break;
        release->free[(page - release->begin) / 8] |= (unsigned char)(1u << (page - release->begin) % 8);
    }
    return 0;
}

static int release_mark_all(struct release *release, MDB_txn *snapshot, size_t oldest_txn)
{
    MDB_cursor *cursor;
    MDB_val key, record;
    int code = mdb_cursor_open(snapshot, 0, &cursor);
    if (code != 0)
        return code;
    while ((code = mdb_cursor_get(cursor, &key, &record, MDB_NEXT)) == 0) {
        size_t txn;
        if (key.mv_size != sizeof txn)
            continue;
        memcpy(&txn, key.mv_data, sizeof txn);
        if (txn >= oldest_txn)
            break; /* they are in order */
        code = release_mark(release, &record);
        if (code != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

/* Makes a hole of [begin, end), bytes, unless it is one already. */
static int release_hole(struct release *release, off_t begin, off_t end)
{
    off_t data = lseek(release->fd, begin, SEEK_DATA);
    if (data >= end || (data < 0 && errno == ENXIO))
        return 0;
    if (failpoint_hit("engine.release") ||
        fallocate(release->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin, end - begin) != 0)
        return errno;
    release->bytes += (uint64_t)(end - (data > begin ? data : begin));
    return 0;
}

/* Makes holes of what is marked; *next: the page to go on with. */
static int release_window(struct release *release, uint64_t *next)
{
    uint64_t page = release->begin;
    while (page < release->end) {
        uint64_t first = page;
        size_t bit = page - release->begin;
        if (release->free[bit / 8] == 0) {
            page += 8 - bit % 8;
            continue;
        }
        while (page < release->end &&
               release->free[(page - release->begin) / 8] >> (page - release->begin) % 8 & 1)
            page++;
        int code = page == first ? 0
                                 : release_hole(release, (off_t)(first * release->page_bytes),
                                                (off_t)(page * release->page_bytes));
        if (code != 0)
            return code;
        if (page == first)
            page++;
        else if (clock_monotonic_us() >= release->deadline_us)
            break;
    }
    *next = page < release->end ? page : release->end;
    return 0;
}

/* What lies behind the last page that was ever used. */
static int release_tail(struct release *release, uint64_t page_count)
{
    struct stat file;
    off_t begin = (off_t)(page_count * release->page_bytes);
    if (fstat(release->fd, &file) != 0)
        return errno;
    if (begin >= file.st_size)
        return 0;
    /* What was reserved and never written counts as a hole for lseek, and takes space. */
    return fallocate(release->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin, file.st_size - begin) ==
                   0
               ? 0
               : errno;
}

static enum status lmdb_release_space(struct engine_txn *txn, int64_t max_us, uint64_t *position,
                                      uint64_t *ret_bytes, bool *ret_more, struct error *error)
{
    struct lmdb_engine *engine = lmdb_engine_of(txn->engine);
    struct reader_walk walk = {.oldest_txn = mdb_txn_id(lmdb_txn_of(txn)) - 1};
    struct release release = {.fd = -1, .deadline_us = clock_monotonic_us() + max_us};
    MDB_txn *snapshot = NULL;
    MDB_envinfo info;
    MDB_stat stat;
    uint64_t page = *position, page_count = 0;
    (void)lmdb_clear_stale_readers(txn->engine);
    int code = mdb_env_info(engine->env, &info);
    if (code == 0)
        code = mdb_env_stat(engine->env, &stat);
    if (code == 0 && mdb_reader_list(engine->env, reader_line, &walk) < 0)
        code = EIO;
    if (code == 0)
        code = mdb_txn_begin(engine->env, NULL, MDB_RDONLY, &snapshot);
    if (code == 0 && (release.fd = open(engine->path, O_RDWR | O_CLOEXEC)) < 0)
        code = errno;
    if (code != 0)
        goto done;
    release.page_bytes = stat.ms_psize;
    release.free = mem_alloc(WINDOW_PAGES / 8);
    page_count = info.me_last_pgno + 1;
    do {
        memset(release.free, 0, WINDOW_PAGES / 8);
        release.begin = page;
        release.end = page + WINDOW_PAGES < page_count ? page + WINDOW_PAGES : page_count;
        if (release.begin < release.end)
            code = release_mark_all(&release, snapshot, walk.oldest_txn);
        if (code == 0 && release.begin < release.end)
            code = release_window(&release, &page);
    } while (code == 0 && page < page_count && clock_monotonic_us() < release.deadline_us);
    if (code == 0 && page >= page_count)
        code = release_tail(&release, page_count);
done:
    mdb_txn_abort(snapshot);
    mem_free(release.free);
    if (release.fd >= 0)
        close(release.fd);
    if (code == EOPNOTSUPP)
        return error_set(error, STATUS_UNSUPPORTED,
                         "%s: its file system makes no holes in files: free pages keep their space",
                         engine->path);
    if (code != 0)
        return engine_fail(txn->engine, code, error, "cannot give space back");
    *ret_bytes = release.bytes;
    *ret_more = page < page_count;
    *position = page;
    return STATUS_OK;
}

const struct engine_backend engine_lmdb = {
    .open = lmdb_open,
    .close = lmdb_close,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .end = lmdb_end,
    .get = lmdb_get,
    .put = lmdb_put,
    .delete = lmdb_delete,
    .cursor_open = lmdb_cursor_open,
    .cursor_close = lmdb_cursor_close,
    .cursor_seek = lmdb_cursor_seek,
    .cursor_next = lmdb_cursor_next,
    .stats = lmdb_stats,
    .table_stats = lmdb_table_stats,
    .copy = lmdb_copy,
    .release_space = lmdb_release_space,
    .newest_commit = lmdb_newest_commit,
    .commit_seen = lmdb_commit_seen,
    .clear_stale_readers = lmdb_clear_stale_readers,
};
