#include "tools/backup/restore.h"

#include "codec/base/arena.h"
#include "codec/base/failpoint.h"
#include "server/job_files.h"
#include "server/job_sweep.h"
#include "storage/restored.h"
#include "tools/backup/folder.h"
#include "tools/backup/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PART_NAME "restore.part"

struct restore {
    const struct restore_options *options;
    struct restore_counts *counts;
    struct copy_progress progress;
    uint64_t total_bytes;
    uint64_t disk_bytes; /* what they take, without their holes */
    struct buffer part;  /* DIR/restore.part */
    struct buffer manifest_text;
    struct manifest manifest;
    struct arena arena;
    struct buffer from, to; /* paths */
    bool made_dir;
    bool owns_dir; /* it was empty when it was locked: what is in it now is from here */
};

static void show_progress(void *context, uint64_t done_bytes)
{
    struct restore *restore = context;
    if (restore->options->progress)
        restore->options->progress(restore->options->context, done_bytes, restore->total_bytes);
}

static const char *part(struct restore *restore)
{
    return buffer_text(&restore->part);
}

/* ---- the backup ---- */

static enum status read_manifest_text(struct restore *restore, int fd, const char *path, struct error *error)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return error_set_errno(error, "%s: cannot read", path);
    if ((uint64_t)stat.st_size > MANIFEST_BYTES_MAX)
        return error_set(error, STATUS_TOO_LARGE, "%s: is too large for a manifest", path);
    size_t size = (size_t)stat.st_size, done = 0;
    char *text = buffer_extend(&restore->manifest_text, size);
    while (done < size) {
        ssize_t got = read(fd, text + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set_errno(error, "%s: cannot read", path);
        if (got == 0)
            return error_set(error, STATUS_CORRUPT, "%s: is being changed", path);
        done += (size_t)got;
    }
    return STATUS_OK;
}

static enum status read_manifest(struct restore *restore, struct error *error)
{
    const char *path = folder_path(&restore->from, restore->options->path, MANIFEST_NAME);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(error, STATUS_NOT_FOUND, "%s: holds no backup (there is no %s in it)",
                         restore->options->path, MANIFEST_NAME);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", path);
    struct error found;
    enum status status = read_manifest_text(restore, fd, path, &found);
    close(fd);
    if (status == STATUS_OK) {
        status = manifest_parse(buffer_slice(&restore->manifest_text), &restore->arena, &restore->manifest,
                                &found);
        if (status != STATUS_OK)
            error_prefix(&found, "%s", path);
    }
    if (status != STATUS_OK && error)
        *error = found;
    if (status == STATUS_OK && restore->manifest.store_format != STORE_FORMAT_VERSION)
        return error_set(
            error, STATUS_UNSUPPORTED,
            "%s: the store in it has format %u, this program reads format %d; use the matching program",
            restore->options->path, restore->manifest.store_format, STORE_FORMAT_VERSION);
    return status;
}

/* Every file is there; how large all are together. */
static enum status measure(struct restore *restore, struct error *error)
{
    bool has_store = false, has_key = false;
    for (size_t i = 0; i < restore->manifest.count; i++) {
        struct slice name = restore->manifest.entries[i].name;
        struct stat stat;
        buffer_reset(&restore->from);
        buffer_appendf(&restore->from, "%s/%.*s", restore->options->path, SLICE_PRINT(name));
        if (lstat(buffer_text(&restore->from), &stat) != 0 || !S_ISREG(stat.st_mode))
            return error_set(error, STATUS_NOT_FOUND, "%s: is missing in the backup",
                             buffer_text(&restore->from));
        restore->total_bytes += (uint64_t)stat.st_size;
        restore->disk_bytes += copy_disk_bytes(&stat);
        has_store = has_store || slice_equal_text(name, MANIFEST_STORE);
        has_key = has_key || slice_equal_text(name, MANIFEST_KEY);
    }
    if (!has_store || !has_key)
        return error_set(error, STATUS_CORRUPT, "%s: its manifest names no %s", restore->options->path,
                         has_store ? MANIFEST_KEY : MANIFEST_STORE);
    return STATUS_OK;
}

/* ---- DIR ---- */

static bool dir_has(struct restore *restore, const char *name)
{
    struct stat stat;
    return lstat(folder_path(&restore->to, restore->options->dir, name), &stat) == 0;
}

/* Empty, or what an interrupted restore left: no store, and nothing that is not a restore's. */
static enum status check_dir(struct restore *restore, struct error *error)
{
    static const char *const nothing[] = {NULL};
    static const char *const own[] = {PART_NAME, "keys", "jobs", "lock", NULL};
    const char *dir = restore->options->dir;
    if (folder_has_only(dir, nothing) || (dir_has(restore, PART_NAME) && folder_has_only(dir, own)))
        return STATUS_OK;
    return error_set(error, STATUS_EXISTS, "%s: is not empty; restore into a new data directory", dir);
}

static enum status clear_dir(struct restore *restore, struct error *error)
{
    static const char *const own[] = {"keys", "jobs", PART_NAME, NULL}; /* the mark of a restore last */
    enum status status = STATUS_OK;
    for (const char *const *name = own; status == STATUS_OK && *name; name++)
        status = folder_remove_all(folder_path(&restore->to, restore->options->dir, *name), error);
    return status;
}

static enum status prepare_dir(struct restore *restore, int *ret_lock, struct error *error)
{
    const char *dir = restore->options->dir;
    enum status status = folder_make(dir, error);
    restore->made_dir = status == STATUS_OK;
    if (status == STATUS_EXISTS)
        status = check_dir(restore, error);
    if (status == STATUS_OK)
        status = folder_lock(dir, ret_lock, error);
    if (status != STATUS_OK)
        return status;
    status =
        check_dir(restore, error); /* again: another restore may have ended before this one had the lock */
    restore->owns_dir = status == STATUS_OK;
    if (status == STATUS_OK)
        status = clear_dir(restore, error);
    if (status == STATUS_OK && chmod(dir, 0700) != 0)
        status = error_set_errno(error, "%s: cannot set its mode", dir);
    if (status == STATUS_OK)
        status = folder_make(part(restore), error);
    if (status == STATUS_OK)
        status = folder_make(folder_path(&restore->to, part(restore), "keys"), error);
    if (status == STATUS_OK)
        status = folder_make(folder_path(&restore->to, part(restore), "jobs"), error);
    return status;
}

static void undo(struct restore *restore)
{
    unlink(folder_path(&restore->to, restore->options->dir, MANIFEST_STORE));
    if (clear_dir(restore, NULL) != STATUS_OK)
        return; /* the next restore does it */
    if (restore->made_dir)
        (void)rmdir(restore->options->dir);
}

static enum status check_room(struct restore *restore, struct error *error)
{
    struct statvfs disk;
    if (statvfs(part(restore), &disk) != 0)
        return error_set_errno(error, "%s: its free space is not known", restore->options->dir);
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (free_bytes < restore->disk_bytes)
        return error_set(error, STATUS_NO_SPACE,
                         "%s: %" PRIu64 " bytes are free there, the backup takes %" PRIu64,
                         restore->options->dir, free_bytes, restore->disk_bytes);
    return STATUS_OK;
}

/* ---- copying ---- */

static enum status copy_entry(struct restore *restore, const struct manifest_entry *entry,
                              struct error *error)
{
    char name[256], digest[COPY_DIGEST_SIZE];
    uint64_t bytes;
    snprintf(name, sizeof name, "%.*s", SLICE_PRINT(entry->name));
    if (strncmp(name, "jobs/", 5) == 0) {
        char *slash = strrchr(name, '/');
        *slash = '\0';
        enum status made = folder_need(folder_path(&restore->to, part(restore), name), error);
        if (made != STATUS_OK)
            return made;
        *slash = '/';
    }
    enum status status =
        copy_file(folder_path(&restore->from, restore->options->path, name),
                  folder_path(&restore->to, part(restore), name), &restore->progress, digest, &bytes, error);
    if (status == STATUS_OK && !slice_equal_text(entry->digest, digest))
        status = error_set(error, STATUS_CORRUPT,
                           "%s: is damaged or was changed: its SHA-256 is not that of the manifest",
                           buffer_text(&restore->from));
    return status;
}

/* ---- the store ---- */

struct job_check {
    struct restore *restore;
    uint64_t id;
    bool lacks_a_file;
};

static enum status check_job_file(void *context, const char *name, bool is_optional, struct error *error)
{
    (void)error;
    struct job_check *check = context;
    struct stat stat;
    buffer_reset(&check->restore->to);
    buffer_appendf(&check->restore->to, "%s/jobs/%" PRIu64 "/%s", part(check->restore), check->id, name);
    if (!is_optional && lstat(buffer_text(&check->restore->to), &stat) != 0)
        check->lacks_a_file = true;
    return STATUS_OK;
}

/* Jobs that lack a file, appended to `ids`. Those whose records cannot be read stay as they are. */
static enum status find_lacking(struct restore *restore, struct store *store, struct buffer *ids,
                                struct error *error)
{
    struct engine_txn *txn;
    struct buffer all = BUFFER_INIT;
    struct arena arena = ARENA_INIT;
    enum status status = engine_begin_read(store_engine(store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = job_list_ids(txn, 0, &all, error);
    if (status == STATUS_CORRUPT)
        status = STATUS_OK;
    for (size_t at = 0; status == STATUS_OK && at < all.size; at += sizeof(uint64_t)) {
        struct job_check check = {.restore = restore};
        struct job job;
        memcpy(&check.id, all.data + at, sizeof check.id);
        arena_reset(&arena);
        if (job_get(txn, check.id, &arena, &job, NULL) != STATUS_OK)
            continue;
        status = job_files_visit(&job, check_job_file, &check, error);
        if (check.lacks_a_file)
            buffer_append(ids, &check.id, sizeof check.id);
    }
    engine_end(txn);
    arena_release(&arena);
    buffer_release(&all);
    return status;
}

static enum status tell_store(struct restore *restore, struct store *store, struct writer *writer,
                              struct error *error)
{
    struct buffer ids = BUFFER_INIT;
    struct store_restored restored;
    enum status status = find_lacking(restore, store, &ids, error);
    for (size_t at = 0; status == STATUS_OK && at < ids.size; at += sizeof(uint64_t)) {
        struct job_change change;
        uint64_t id;
        memcpy(&id, ids.data + at, sizeof id);
        job_change_init(&change, JOB_CHANGE_DELETE, id);
        status = writer_call(writer, &change.request, error);
        restore->counts->jobs_cancelled++;
    }
    store_restored_init(&restored);
    if (status == STATUS_OK)
        status = writer_call(writer, &restored.request, error);
    if (status == STATUS_OK)
        restore->counts->restored_us = restored.ret_instant_us;
    buffer_release(&ids);
    return status;
}

static enum status settle_store(struct restore *restore, struct error *error)
{
    struct store *store;
    struct writer *writer;
    enum status status = store_open(part(restore), STORE_ACCESS_WRITE, NULL, &store, error);
    if (status != STATUS_OK)
        return status;
    status = writer_start(store, &writer, error);
    if (status == STATUS_OK) {
        status = tell_store(restore, store, writer, error);
        writer_stop(writer);
    }
    store_close(store);
    unlink(folder_path(&restore->to, part(restore), MANIFEST_STORE "-lock"));
    unlink(folder_path(&restore->to, part(restore), "lock"));
    return status;
}

/* ---- the end ---- */

/* The store last: with it DIR is a data directory. */
static enum status publish(struct restore *restore, struct error *error)
{
    static const char *const names[] = {"keys", "jobs", MANIFEST_STORE};
    enum status status = folder_sync_all(part(restore), error);
    for (size_t i = 0; status == STATUS_OK && i < sizeof names / sizeof *names; i++) {
        folder_path(&restore->from, part(restore), names[i]);
        folder_path(&restore->to, restore->options->dir, names[i]);
        if (failpoint_hit("restore.rename") ||
            rename(buffer_text(&restore->from), buffer_text(&restore->to)) != 0)
            status = error_set_errno(error, "%s: cannot rename", buffer_text(&restore->from));
        if (status == STATUS_OK)
            status = disk_sync_folder(restore->options->dir, error);
    }
    return status;
}

static enum status sync_parent(const char *path, struct error *error)
{
    struct buffer parent = BUFFER_INIT;
    buffer_appendf(&parent, "%s/..", path);
    enum status status = disk_sync_folder(buffer_text(&parent), error);
    buffer_release(&parent);
    return status;
}

static enum status run(struct restore *restore, struct error *error)
{
    enum status status = check_room(restore, error);
    for (size_t i = 0; status == STATUS_OK && i < restore->manifest.count; i++)
        status = copy_entry(restore, &restore->manifest.entries[i], error);
    if (status == STATUS_OK)
        status = settle_store(restore, error);
    if (status == STATUS_OK && restore->made_dir)
        status = sync_parent(restore->options->dir, error);
    return status == STATUS_OK ? publish(restore, error) : status;
}

enum status restore_run(const struct restore_options *options, struct restore_counts *ret_counts,
                        struct error *error)
{
    struct restore restore = {.options = options, .counts = ret_counts, .arena = ARENA_INIT};
    int lock = -1;
    restore.progress = (struct copy_progress){&restore, show_progress, 0};
    *ret_counts = (struct restore_counts){0};
    buffer_appendf(&restore.part, "%s/%s", options->dir, PART_NAME);
    enum status status = read_manifest(&restore, error);
    if (status == STATUS_OK)
        status = measure(&restore, error);
    if (status == STATUS_OK) {
        status = prepare_dir(&restore, &lock, error);
        if (status == STATUS_OK)
            status = run(&restore, error);
        if (status == STATUS_OK)
            (void)rmdir(part(&restore));
        else if (restore.owns_dir)
            undo(&restore);
        if (lock >= 0)
            close(lock);
    }
    ret_counts->files = restore.manifest.count;
    ret_counts->bytes = restore.progress.done_bytes;
    ret_counts->sequence = restore.manifest.sequence;
    ret_counts->instant_us = restore.manifest.instant_us;
    buffer_release(&restore.part);
    buffer_release(&restore.manifest_text);
    buffer_release(&restore.from);
    buffer_release(&restore.to);
    arena_release(&restore.arena);
    return status;
}
