#include "storage/store.h"

#include "codec/base/buffer.h"
#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_FILE   "store.mdb"
#define META_FORMAT  "format"
#define META_CLOCK   "clock"
#define META_COUNTER "counter." /* + name */

struct store {
    char *dir;
    struct engine *engine;
    int lock_fd; /* of DIR/lock, held while open for writing; -1 for readers */
    uint64_t accounts_generation;
};

static struct slice meta_key(const char *name)
{
    return slice_from_text(name);
}

static enum status store_engine_open(const char *dir, bool create, bool read_only,
                                     const struct store_options *options, struct engine **ret_engine,
                                     struct error *error)
{
    struct buffer path = BUFFER_INIT;
    buffer_appendf(&path, "%s/%s", dir, STORE_FILE);
    struct engine_options engine_options = {
        .path = buffer_text(&path),
        .tables = table_names,
        .table_count = TABLE_COUNT,
        .map_bytes = options ? options->map_bytes : 0,
        .create = create,
        .read_only = read_only,
    };
    enum status status = engine_open(&engine_options, ret_engine, error);
    buffer_release(&path);
    return status;
}

static bool directory_is_empty(DIR *directory)
{
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return false;
    }
    return true;
}

static enum status make_subdirectory(const char *dir, const char *name, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    buffer_appendf(&path, "%s/%s", dir, name);
    enum status status = STATUS_OK;
    if (mkdir(buffer_text(&path), 0700) != 0)
        status = error_set_errno(error, "%s: cannot make this directory", buffer_text(&path));
    buffer_release(&path);
    return status;
}

static enum status sync_directory(const char *path, struct error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", path);
    enum status status = STATUS_OK;
    if (fsync(fd) != 0)
        status = error_set_errno(error, "%s: cannot sync", path);
    close(fd);
    return status;
}

/* The first transaction: format version and clock. A DIR without it is no store. */
static enum status store_write_format(struct engine *engine, struct error *error)
{
    struct engine_txn *txn;
    enum status status = engine_begin_write(engine, &txn, error);
    if (status != STATUS_OK)
        return status;
    struct buffer format = BUFFER_INIT;
    buffer_append_u32(&format, STORE_FORMAT_VERSION);
    status = engine_put(txn, TABLE_META, meta_key(META_FORMAT), buffer_slice(&format), error);
    if (status == STATUS_OK)
        status = store_clock_write(txn, &(struct store_clock){.sequence = 0, .instant_us = 0}, error);
    buffer_release(&format);
    if (status != STATUS_OK) {
        engine_end(txn);
        return status;
    }
    return engine_commit(txn, error);
}

/* Of a creation that failed: the next one must not find a DIR that is not empty. */
static void remove_what_was_made(const char *dir, bool made)
{
    static const char *const names[] = {STORE_FILE, STORE_FILE "-lock", "jobs", "keys"};
    struct buffer path = BUFFER_INIT;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        buffer_reset(&path);
        buffer_appendf(&path, "%s/%s", dir, names[i]);
        remove(buffer_text(&path));
    }
    if (made)
        rmdir(dir);
    buffer_release(&path);
}

/* A program may be started without some of them. The first files opened would then be given their numbers,
 * and what is printed or logged would be written into the store. */
static enum status open_standard_streams(struct error *error)
{
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", O_RDWR) != stream)
            return error_set_errno(error, "/dev/null: cannot open in place of a closed standard stream");
    return STATUS_OK;
}

enum status store_create(const char *dir, const struct store_options *options, struct error *error)
{
    bool made = mkdir(dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return error_set_errno(error, "%s: cannot make the data directory", dir);
    DIR *directory = opendir(dir);
    if (!directory)
        return error_set_errno(error, "%s: cannot open the data directory", dir);
    bool is_empty = directory_is_empty(directory);
    closedir(directory);
    if (!is_empty)
        return error_set(error, STATUS_EXISTS, "%s: is not empty; choose a new data directory", dir);
    if (!made && chmod(dir, 0700) != 0)
        return error_set_errno(error, "%s: cannot set its mode", dir);

    struct engine *engine = NULL;
    enum status status = open_standard_streams(error);
    if (status == STATUS_OK)
        status = make_subdirectory(dir, "keys", error);
    if (status == STATUS_OK)
        status = make_subdirectory(dir, "jobs", error);
    if (status == STATUS_OK)
        status = store_engine_open(dir, true, false, options, &engine, error);
    if (status == STATUS_OK) {
        status = store_write_format(engine, error);
        engine_close(engine);
    }
    if (status == STATUS_OK)
        status = sync_directory(dir, error);
    if (status != STATUS_OK)
        remove_what_was_made(dir, made);
    return status;
}

static enum status store_take_lock(const char *dir, int *ret_fd, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    buffer_appendf(&path, "%s/lock", dir);
    enum status status = STATUS_OK;
    int fd = open(buffer_text(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        status = error_set_errno(error, "%s: cannot open the lock file", buffer_text(&path));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            status = error_set(error, STATUS_BUSY,
                               "%s: another process (sluiced or sluicectl) writes this data directory", dir);
        else
            status = error_set_errno(error, "%s: cannot lock", buffer_text(&path));
        close(fd);
    } else {
        *ret_fd = fd;
    }
    buffer_release(&path);
    return status;
}

static enum status store_check_format(struct engine *engine, const char *dir, struct error *error)
{
    struct engine_txn *txn;
    enum status status = engine_begin_read(engine, &txn, error);
    if (status != STATUS_OK)
        return status;
    struct slice value;
    status = engine_get(txn, TABLE_META, meta_key(META_FORMAT), &value, error);
    if (status == STATUS_NOT_FOUND)
        status = error_set(error, STATUS_NOT_FOUND,
                           "%s: holds an unfinished store; remove it and run sluicectl init", dir);
    if (status == STATUS_OK) {
        struct reader reader = reader_make(value);
        uint32_t version = reader_u32(&reader);
        if (!reader_done(&reader))
            status = error_set(error, STATUS_CORRUPT, "%s: the store's format record is damaged", dir);
        else if (version != STORE_FORMAT_VERSION)
            status = error_set(
                error, STATUS_UNSUPPORTED,
                "%s: the store has format %u, this program reads format %u; use the matching program", dir,
                version, STORE_FORMAT_VERSION);
    }
    engine_end(txn);
    return status;
}

enum status store_open(const char *dir, enum store_access access_wanted, const struct store_options *options,
                       struct store **ret_store, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    buffer_appendf(&path, "%s/%s", dir, STORE_FILE);
    int problem = access(buffer_text(&path), F_OK) == 0 ? 0 : errno;
    buffer_release(&path);
    errno = problem;
    if (problem == ENOENT || problem == ENOTDIR)
        return error_set(error, STATUS_NOT_FOUND, "%s: holds no store; make one with sluicectl init", dir);
    if (problem)
        return error_set_errno(error, "%s: cannot look for the store in it", dir);

    int lock_fd = -1;
    struct engine *engine = NULL;
    enum status status = open_standard_streams(error);
    if (status == STATUS_OK && access_wanted == STORE_ACCESS_WRITE)
        status = store_take_lock(dir, &lock_fd, error);
    if (status == STATUS_OK)
        status = store_engine_open(dir, false, access_wanted == STORE_ACCESS_READ, options, &engine, error);
    if (status == STATUS_OK)
        status = store_check_format(engine, dir, error);
    if (status != STATUS_OK) {
        engine_close(engine);
        if (lock_fd >= 0)
            close(lock_fd);
        return status;
    }
    if (access_wanted == STORE_ACCESS_WRITE)
        engine_clear_stale_readers(engine);

    struct store *store = mem_new(struct store);
    store->dir = mem_strdup(dir);
    store->engine = engine;
    store->lock_fd = lock_fd;
    store->accounts_generation = 1;
    *ret_store = store;
    return STATUS_OK;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    engine_close(store->engine);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    mem_free(store->dir);
    mem_free(store);
}

const char *store_dir(const struct store *store)
{
    return store->dir;
}

struct engine *store_engine(struct store *store)
{
    return store->engine;
}

enum status store_clock_read(struct engine_txn *txn, struct store_clock *ret_clock, struct error *error)
{
    struct slice value;
    enum status status = engine_get(txn, TABLE_META, meta_key(META_CLOCK), &value, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_CORRUPT, "the store's clock is missing");
    if (status != STATUS_OK)
        return status;
    struct reader reader = reader_make(value);
    struct store_clock clock;
    clock.sequence = reader_u64(&reader);
    clock.instant_us = reader_i64(&reader);
    if (!reader_done(&reader))
        return error_set(error, STATUS_CORRUPT, "the store's clock has %zu bytes", value.size);
    *ret_clock = clock;
    return STATUS_OK;
}

enum status store_clock_write(struct engine_txn *txn, const struct store_clock *clock, struct error *error)
{
    char value[16];
    store_u64_le(value, clock->sequence);
    store_u64_le(value + 8, (uint64_t)clock->instant_us);
    return engine_put(txn, TABLE_META, meta_key(META_CLOCK), slice_make(value, sizeof value), error);
}

#define COUNTER_KEY_SIZE 64

static enum status counter_get(struct engine_txn *txn, const char *name, char key[COUNTER_KEY_SIZE],
                               uint64_t *ret_newest, struct error *error)
{
    int size = snprintf(key, COUNTER_KEY_SIZE, "%s%s", META_COUNTER, name);
    CHECK(size > 0 && (size_t)size < COUNTER_KEY_SIZE);
    struct slice value;
    enum status status = engine_get(txn, TABLE_META, meta_key(key), &value, error);
    if (status == STATUS_NOT_FOUND) {
        *ret_newest = 0;
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        return status;
    if (value.size != 8)
        return error_set(error, STATUS_CORRUPT, "the store's counter %s has %zu bytes", name, value.size);
    *ret_newest = load_u64_le(value.data);
    return STATUS_OK;
}

static enum status counter_put(struct engine_txn *txn, const char *key, uint64_t newest, struct error *error)
{
    char value[8];
    store_u64_le(value, newest);
    return engine_put(txn, TABLE_META, meta_key(key), slice_make(value, sizeof value), error);
}

enum status store_counter_next(struct store_write *write, const char *name, uint64_t *ret_value,
                               struct error *error)
{
    char key[COUNTER_KEY_SIZE];
    uint64_t newest;
    enum status status = counter_get(write->txn, name, key, &newest, error);
    if (status == STATUS_OK)
        status = counter_put(write->txn, key, newest + 1, error);
    if (status == STATUS_OK)
        *ret_value = newest + 1;
    return status;
}

enum status store_counter_skip(struct store_write *write, const char *name, uint64_t step,
                               struct error *error)
{
    char key[COUNTER_KEY_SIZE];
    uint64_t newest;
    enum status status = counter_get(write->txn, name, key, &newest, error);
    return status == STATUS_OK ? counter_put(write->txn, key, newest - newest % step + step, error) : status;
}

uint64_t store_accounts_generation(const struct store *store)
{
    return __atomic_load_n(&store->accounts_generation, __ATOMIC_ACQUIRE);
}

void store_publish_accounts(struct store *store)
{
    __atomic_add_fetch(&store->accounts_generation, 1, __ATOMIC_ACQ_REL);
}
