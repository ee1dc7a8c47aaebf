#include "tools/backup/backup.h"

#include "codec/base/arena.h"
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/failpoint.h"
#include "server/job_files.h"
#include "server/job_sweep.h"
#include "storage/store.h"
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

struct backup {
    const struct backup_options *options;
    struct backup_counts *counts;
    struct copy_progress progress;
    uint64_t total_bytes;
    struct buffer part; /* PATH.part */
    struct buffer text; /* of the manifest */
    struct manifest manifest;
    struct buffer from, to; /* paths */
    char store_digest[COPY_DIGEST_SIZE];
};

static void show_progress(void *context, uint64_t done_bytes)
{
    struct backup *backup = context;
    if (backup->options->progress)
        backup->options->progress(backup->options->context, done_bytes, backup->total_bytes);
}

static const char *part(struct backup *backup)
{
    return buffer_text(&backup->part);
}

/* Where it is to stand: not there yet, and not within DIR, where it would be part of what it copies. */
static enum status check_path(const struct backup_options *options, struct error *error)
{
    struct stat stat;
    if (lstat(options->path, &stat) == 0)
        return error_set(error, STATUS_EXISTS, "%s: is there already; choose a new name for the backup",
                         options->path);
    char *slash = strrchr(options->path, '/');
    struct buffer parent = BUFFER_INIT;
    if (slash && slash[1] == '\0')
        return error_set(error, STATUS_INVALID, "%s: give the name without a slash at its end",
                         options->path);
    if (slash)
        buffer_append(&parent, options->path, (size_t)(slash - options->path) + 1);
    else
        buffer_append_text(&parent, ".");
    char *dir = realpath(options->dir, NULL), *above = realpath(buffer_text(&parent), NULL);
    enum status status = STATUS_OK;
    size_t size = dir ? strlen(dir) : 0;
    if (!dir || !above)
        status = error_set_errno(error, "%s: cannot look for it", dir ? buffer_text(&parent) : options->dir);
    else if (strncmp(above, dir, size) == 0 && (above[size] == '/' || above[size] == '\0'))
        status = error_set(error, STATUS_INVALID, "%s: lies within %s; a backup belongs elsewhere",
                           options->path, options->dir);
    free(dir);
    free(above);
    buffer_release(&parent);
    return status;
}

/* PATH.part, empty and locked. What an interrupted backup left there is removed; anything else is not. */
static enum status make_part(struct backup *backup, int *ret_lock, struct error *error)
{
    static const char *const own[] = {MANIFEST_NAME, MANIFEST_STORE, MANIFEST_STORE "-lock",
                                      "keys",        "jobs",         NULL};
    enum status status = folder_make(part(backup), error);
    bool is_there = status == STATUS_EXISTS;
    if (status != STATUS_OK && !is_there)
        return status;
    status = folder_lock(part(backup), ret_lock, error);
    if (status != STATUS_OK || !is_there)
        return status;
    if (!folder_has_only(part(backup), own))
        status =
            error_set(error, STATUS_EXISTS, "%s: is in the way, and is no interrupted backup", part(backup));
    for (const char *const *name = own; status == STATUS_OK && *name; name++)
        status = folder_remove_all(folder_path(&backup->to, part(backup), *name), error);
    if (status != STATUS_OK)
        close(*ret_lock);
    return status;
}

/* ---- the store ---- */

static enum status take_piece(void *context, struct slice bytes, struct error *error)
{
    if (failpoint_hit("backup.store.piece"))
        return error_set_errno(error, "the store cannot be copied");
    return copy_output_write(context, bytes, error);
}

static enum status file_bytes(struct store *store, uint64_t *ret_bytes, struct error *error)
{
    struct engine_stats stats;
    enum status status = engine_stats(store_engine(store), &stats, error);
    if (status == STATUS_OK)
        *ret_bytes = stats.file_bytes;
    return status;
}

static enum status check_room(struct backup *backup, struct error *error)
{
    struct statvfs disk;
    struct stat file;
    const char *path = folder_path(&backup->from, backup->options->dir, MANIFEST_STORE);
    if (stat(path, &file) != 0)
        return error_set_errno(error, "%s: its size is not known", path);
    if (statvfs(part(backup), &disk) != 0)
        return error_set_errno(error, "%s: its free space is not known", part(backup));
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize, needed_bytes = copy_disk_bytes(&file);
    if (free_bytes < needed_bytes)
        return error_set(error, STATUS_NO_SPACE,
                         "%s: %" PRIu64 " bytes are free there, the store alone takes %" PRIu64,
                         backup->options->path, free_bytes, needed_bytes);
    return STATUS_OK;
}

static enum status copy_store(struct backup *backup, struct store *store, struct error *error)
{
    struct copy_output output = COPY_OUTPUT_INIT;
    uint64_t after = 0;
    enum status status = file_bytes(store, &backup->total_bytes, error);
    if (status == STATUS_OK)
        status = check_room(backup, error);
    if (status == STATUS_OK)
        status = copy_output_open(&output, folder_path(&backup->to, part(backup), MANIFEST_STORE),
                                  &backup->progress, error);
    int64_t begun_us = clock_monotonic_us();
    if (status == STATUS_OK)
        status = engine_copy(store_engine(store), take_piece, &output, error);
    backup->counts->snapshot_us = (uint64_t)(clock_monotonic_us() - begun_us);
    if (status == STATUS_OK)
        status = copy_output_finish(&output, backup->store_digest, error);
    if (status == STATUS_OK)
        status = file_bytes(store, &after, error);
    if (status == STATUS_OK && after > backup->total_bytes)
        backup->counts->grown_bytes = after - backup->total_bytes;
    copy_output_release(&output);
    return status;
}

static enum status add_entry(struct backup *backup, const char *name, const char *digest)
{
    manifest_add(&backup->text, name, digest);
    backup->manifest.count++;
    return STATUS_OK;
}

/* DIR/name to PATH.part/name. */
static enum status copy_one(struct backup *backup, const char *name, struct error *error)
{
    char digest[COPY_DIGEST_SIZE];
    uint64_t bytes;
    enum status status =
        copy_file(folder_path(&backup->from, backup->options->dir, name),
                  folder_path(&backup->to, part(backup), name), &backup->progress, digest, &bytes, error);
    return status == STATUS_OK ? add_entry(backup, name, digest) : status;
}

/* ---- files of jobs ---- */

struct job_copy {
    struct backup *backup;
    uint64_t id;
};

static enum status copy_job_file(void *context, const char *name, bool is_optional, struct error *error)
{
    struct job_copy *copy = context;
    char path[128];
    snprintf(path, sizeof path, "jobs/%" PRIu64 "/%s", copy->id, name);
    enum status status = copy_one(copy->backup, path, error);
    return status == STATUS_NOT_FOUND && is_optional ? STATUS_OK : status;
}

static enum status copy_job(struct backup *backup, const struct job *job, struct error *error)
{
    struct job_copy copy = {backup, job->id};
    struct buffer folder = BUFFER_INIT;
    size_t size = backup->text.size, count = backup->manifest.count;
    buffer_appendf(&folder, "%s/jobs/%" PRIu64, part(backup), job->id);
    enum status status = folder_make(buffer_text(&folder), error);
    if (status == STATUS_OK)
        status = job_files_visit(job, copy_job_file, &copy, error);
    if (status == STATUS_NOT_FOUND) { /* deleted since the snapshot */
        backup->counts->jobs_left_out++;
        backup->text.size = size;
        backup->manifest.count = count;
        status = folder_remove_all(buffer_text(&folder), error);
    }
    buffer_release(&folder);
    return status;
}

/* By the copy's own records, which nobody changes. */
static enum status copy_jobs(struct backup *backup, struct engine_txn *txn, struct error *error)
{
    struct buffer ids = BUFFER_INIT;
    enum status status = job_list_ids(txn, 0, &ids, error);
    if (status == STATUS_CORRUPT)
        status = STATUS_OK;
    for (size_t at = 0; status == STATUS_OK && at < ids.size; at += sizeof(uint64_t)) {
        struct arena arena = ARENA_INIT;
        struct job job;
        uint64_t id;
        memcpy(&id, ids.data + at, sizeof id);
        status = job_get(txn, id, &arena, &job, error);
        if (status == STATUS_OK && job_state_has_files(job.state))
            status = copy_job(backup, &job, error);
        else if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED || status == STATUS_NOT_FOUND) {
            backup->counts->jobs_left_out++; /* whose files they are only its record could tell */
            status = STATUS_OK;
        }
        arena_release(&arena);
    }
    buffer_release(&ids);
    return status;
}

/* What the copy says of itself; then the rest by it. */
static enum status read_copy(struct backup *backup, struct store *copy, struct error *error)
{
    struct engine_txn *txn;
    struct store_clock clock;
    enum status status = engine_begin_read(store_engine(copy), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = store_clock_read(txn, &clock, error);
    if (status == STATUS_OK) {
        backup->counts->sequence = backup->manifest.sequence = clock.sequence;
        backup->counts->instant_us = backup->manifest.instant_us = clock.instant_us;
        manifest_begin(&backup->text, &backup->manifest);
        status = add_entry(backup, MANIFEST_STORE, backup->store_digest);
    }
    if (status == STATUS_OK)
        status = copy_one(backup, MANIFEST_KEY, error);
    if (status == STATUS_OK && backup->manifest.has_job_files)
        status = copy_jobs(backup, txn, error);
    engine_end(txn);
    return status;
}

static enum status copy_rest(struct backup *backup, struct error *error)
{
    struct store *copy;
    enum status status = folder_make(folder_path(&backup->to, part(backup), "keys"), error);
    if (status == STATUS_OK)
        status = folder_make(folder_path(&backup->to, part(backup), "jobs"), error);
    if (status == STATUS_OK)
        status = store_open(part(backup), STORE_ACCESS_READ, NULL, &copy, error);
    if (status != STATUS_OK)
        return status;
    status = read_copy(backup, copy, error);
    store_close(copy);
    unlink(folder_path(&backup->to, part(backup), MANIFEST_STORE "-lock"));
    return status;
}

/* ---- the end ---- */

static enum status write_manifest(struct backup *backup, struct error *error)
{
    struct copy_output output = COPY_OUTPUT_INIT;
    char digest[COPY_DIGEST_SIZE];
    manifest_end(&backup->text, backup->manifest.count);
    enum status status =
        copy_output_open(&output, folder_path(&backup->to, part(backup), MANIFEST_NAME), NULL, error);
    if (status == STATUS_OK)
        status = copy_output_write(&output, buffer_slice(&backup->text), error);
    if (status == STATUS_OK)
        status = copy_output_finish(&output, digest, error);
    copy_output_release(&output);
    return status;
}

/* Never over something else. Not every file system knows of RENAME_NOREPLACE (NFS does not); there a name
 * that comes between is replaced only if it is an empty folder's. */
static bool rename_to_new(const char *from, const char *to)
{
    struct stat stat;
    if (failpoint_hit("backup.rename"))
        return false;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    if (lstat(to, &stat) == 0) {
        errno = EEXIST;
        return false;
    }
    return rename(from, to) == 0;
}

/* Its own name, when all of it is on disk. */
static enum status publish(struct backup *backup, struct error *error)
{
    struct buffer parent = BUFFER_INIT;
    const char *path = backup->options->path, *slash = strrchr(path, '/');
    enum status status = folder_sync_all(part(backup), error);
    if (status == STATUS_OK && !rename_to_new(part(backup), path))
        status = error_set_errno(error, "%s: cannot rename it to %s", part(backup), path);
    if (slash)
        buffer_append(&parent, path, (size_t)(slash - path) + 1);
    else
        buffer_append_text(&parent, ".");
    if (status == STATUS_OK)
        status = disk_sync_folder(buffer_text(&parent), error);
    buffer_release(&parent);
    return status;
}

static enum status run(struct backup *backup, struct error *error)
{
    struct store *store;
    enum status status = store_open(backup->options->dir, STORE_ACCESS_READ, NULL, &store, error);
    if (status != STATUS_OK)
        return status;
    status = copy_store(backup, store, error);
    store_close(store);
    if (status == STATUS_OK)
        status = copy_rest(backup, error);
    if (status == STATUS_OK)
        status = write_manifest(backup, error);
    return status == STATUS_OK ? publish(backup, error) : status;
}

enum status backup_run(const struct backup_options *options, struct backup_counts *ret_counts,
                       struct error *error)
{
    struct backup backup = {
        .options = options,
        .counts = ret_counts,
        .progress = {&backup, show_progress, 0},
        .manifest = {.store_format = STORE_FORMAT_VERSION, .has_job_files = !options->without_job_files},
    };
    int lock = -1;
    *ret_counts = (struct backup_counts){0};
    buffer_appendf(&backup.part, "%s%s", options->path, BACKUP_PART_SUFFIX);
    enum status status = check_path(options, error);
    if (status == STATUS_OK)
        status = make_part(&backup, &lock, error);
    if (status == STATUS_OK) {
        status = run(&backup, error);
        if (status != STATUS_OK)
            (void)!folder_remove_all(part(&backup), NULL); /* what stays goes with the next one */
        close(lock);
    }
    ret_counts->files = backup.manifest.count;
    ret_counts->bytes = backup.progress.done_bytes;
    buffer_release(&backup.part);
    buffer_release(&backup.text);
    buffer_release(&backup.from);
    buffer_release(&backup.to);
    return status;
}
