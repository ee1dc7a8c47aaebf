#include "server/job_files.h"

#include "codec/base/failpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

void export_path(struct buffer *target, const char *dir, uint64_t job_id, const char *uuid,
                 const char *suffix)
{
    buffer_appendf(target, "%s/jobs/%" PRIu64 "/%s%s", dir, job_id, uuid, suffix);
}

/* "DIR/jobs" or "DIR/jobs/<id>". */
static void folder_path(struct buffer *target, const char *dir, const uint64_t *job_id)
{
    buffer_appendf(target, "%s/jobs", dir);
    if (job_id)
        buffer_appendf(target, "/%" PRIu64, *job_id);
}

enum status disk_open_failed(const char *path, struct error *error)
{
    bool is_passing = errno == EMFILE || errno == ENFILE;
    enum status status = error_set_errno(error, "%s: cannot open", path);
    return is_passing ? STATUS_BUSY : status;
}

enum status disk_sync_folder(const char *path, struct error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return disk_open_failed(path, error);
    enum status status = STATUS_OK;
    if (failpoint_hit("export.dir-fsync") || fsync(fd) != 0)
        status = error_set_errno(error, "%s: cannot sync", path);
    close(fd);
    return status;
}

static enum status make_folder(const char *path, struct error *error)
{
    if (failpoint_hit("export.mkdir") || (mkdir(path, 0700) != 0 && errno != EEXIST))
        return error_set_errno(error, "%s: cannot make this directory", path);
    return STATUS_OK;
}

enum status job_files_prepare(const char *dir, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    folder_path(&path, dir, NULL);
    enum status status = make_folder(buffer_text(&path), error);
    /* Also if an earlier process made it and died before the sync. */
    if (status == STATUS_OK)
        status = disk_sync_folder(dir, error);
    buffer_release(&path);
    return status;
}

static enum status open_folder(const char *path, int *ret_fd, struct error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return disk_open_failed(path, error);
    *ret_fd = fd;
    return STATUS_OK;
}

enum status job_files_open_all(const char *dir, int *ret_fd, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    folder_path(&path, dir, NULL);
    enum status status = open_folder(buffer_text(&path), ret_fd, error);
    buffer_release(&path);
    return status;
}

enum status job_files_open(const char *dir, uint64_t job_id, int *ret_fd, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    folder_path(&path, dir, &job_id);
    enum status status = make_folder(buffer_text(&path), error);
    if (status == STATUS_OK)
        status = open_folder(buffer_text(&path), ret_fd, error);
    buffer_release(&path);
    return status;
}

enum status job_files_sync(int folder_fd, const char *dir, struct error *error)
{
    if (failpoint_hit("export.dir-fsync") || fsync(folder_fd) != 0)
        return error_set_errno(error, "%s/jobs: cannot sync", dir);
    return STATUS_OK;
}

static enum status remove_name(int folder, const char *path, const char *name, uint64_t *bytes,
                               struct error *error)
{
    struct stat stat = {.st_size = 0};
    (void)fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW);
    if (unlinkat(folder, name, 0) == 0)
        *bytes += (uint64_t)stat.st_size;
    else if (errno != ENOENT)
        return error_set_errno(error, "%s: cannot remove a file", path);
    return STATUS_OK;
}

/* Removes what `sweep` does not keep; with `all` everything. */
static enum status remove_names(const char *path, struct job_files_sweep *sweep, bool all,
                                struct error *error)
{
    DIR *folder = opendir(path);
    if (!folder)
        return errno == ENOENT ? STATUS_OK : error_set_errno(error, "%s: cannot open", path);
    enum status status = STATUS_OK;
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!all && sweep->keeps_file(sweep->context, entry->d_name))
            continue;
        status = remove_name(dirfd(folder), path, entry->d_name, &sweep->ret_bytes, error);
        sweep->ret_removed += !all;
    }
    closedir(folder);
    return status;
}

static enum status remove_folder(const char *path, struct job_files_sweep *sweep, struct error *error)
{
    enum status status = remove_names(path, sweep, true, error);
    if (status == STATUS_OK && rmdir(path) != 0 && errno != ENOENT)
        status = error_set_errno(error, "%s: cannot remove", path);
    return status;
}

enum status job_files_remove(const char *dir, uint64_t job_id, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    struct job_files_sweep unused = {.ret_bytes = 0};
    folder_path(&path, dir, &job_id);
    enum status status = remove_folder(buffer_text(&path), &unused, error);
    buffer_release(&path);
    return status;
}

/* Only what this program could have made is ever removed: folders whose names are numbers. */
static bool name_is_job(const char *name, uint64_t *ret_id)
{
    char *end;
    if (*name < '1' || *name > '9')
        return false;
    errno = 0;
    *ret_id = strtoull(name, &end, 10);
    return *end == '\0' && errno == 0;
}

static enum status sweep_job(const char *dir, uint64_t job_id, struct job_files_sweep *sweep,
                             struct error *error)
{
    bool keeps = false;
    struct buffer path = BUFFER_INIT;
    folder_path(&path, dir, &job_id);
    enum status status = sweep->keeps_job(sweep->context, job_id, &keeps, error);
    if (status == STATUS_OK && keeps)
        status = remove_names(buffer_text(&path), sweep, false, error);
    else if (status == STATUS_OK) {
        sweep->ret_removed++;
        status = remove_folder(buffer_text(&path), sweep, error);
    }
    buffer_release(&path);
    return status;
}

enum status job_files_sweep(const char *dir, struct job_files_sweep *sweep, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    folder_path(&path, dir, NULL);
    enum status status = STATUS_OK;
    DIR *folder = opendir(buffer_text(&path));
    if (!folder) {
        status = error_set_errno(error, "%s: cannot open", buffer_text(&path));
        buffer_release(&path);
        return status;
    }
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(folder));) {
        uint64_t job_id;
        if (name_is_job(entry->d_name, &job_id))
            status = sweep_job(dir, job_id, sweep, error);
    }
    closedir(folder);
    buffer_release(&path);
    return status;
}

enum status disk_check_reserve(const char *dir, uint64_t reserve_bytes, struct error *error)
{
    struct statvfs vfs;
    if (failpoint_hit("export.statvfs") || statvfs(dir, &vfs) != 0)
        return error_set_errno(error, "%s: cannot tell the free space", dir);
    uint64_t free_bytes = (uint64_t)vfs.f_bavail * (uint64_t)vfs.f_frsize;
    if (free_bytes < reserve_bytes)
        return error_set(error, STATUS_NO_SPACE,
                         "%s: %" PRIu64 " bytes are free, fewer than the reserve of %" PRIu64, dir,
                         free_bytes, reserve_bytes);
    return STATUS_OK;
}
