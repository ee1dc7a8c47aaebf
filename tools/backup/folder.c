#include "tools/backup/folder.h"

#include "server/job_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WALK_DESCRIPTORS 16

enum status folder_make(const char *path, struct error *error)
{
    if (!mkdir(path, 0700))
        return STATUS_OK;
    if (errno == EEXIST)
        return error_set(error, STATUS_EXISTS, "%s: is there already", path);
    return error_set_errno(error, "%s: cannot make this directory", path);
}

enum status folder_need(const char *path, struct error *error)
{
    enum status status = folder_make(path, error);
    return status == STATUS_EXISTS ? STATUS_OK : status;
}

const char *folder_path(struct buffer *target, const char *dir, const char *name)
{
    buffer_reset(target);
    buffer_appendf(target, "%s/%s", dir, name);
    return buffer_text(target);
}

/* What a walk stumbled over; nftw takes no context. */
static __thread struct error *walk_error;

static int sync_visited(const char *path, const struct stat *stat, int kind, struct FTW *at)
{
    (void)stat, (void)at;
    if (kind == FTW_DP && disk_sync_folder(path, walk_error) != STATUS_OK)
        return 1;
    return 0;
}

static int remove_visited(const char *path, const struct stat *stat, int kind, struct FTW *at)
{
    (void)stat, (void)kind, (void)at;
    if (remove(path) == 0 || errno == ENOENT)
        return 0;
    error_set_errno(walk_error, "%s: cannot remove", path);
    return 1;
}

static enum status walk(const char *path, __nftw_func_t visit, struct error *error)
{
    struct error found = {.status = STATUS_OK};
    walk_error = &found;
    int result = nftw(path, visit, WALK_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
    if (result == 0 || (result < 0 && errno == ENOENT))
        return STATUS_OK;
    if (result < 0)
        error_set_errno(&found, "%s: cannot walk", path);
    if (error)
        *error = found;
    return found.status;
}

enum status folder_sync_all(const char *path, struct error *error)
{
    return walk(path, sync_visited, error);
}

enum status folder_remove_all(const char *path, struct error *error)
{
    return walk(path, remove_visited, error);
}

bool folder_has_only(const char *path, const char *const *names)
{
    DIR *folder = opendir(path);
    bool has_only = folder != NULL;
    for (struct dirent *entry; has_only && (entry = readdir(folder));) {
        bool is_known = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (const char *const *name = names; !is_known && *name; name++)
            is_known = strcmp(entry->d_name, *name) == 0;
        has_only = is_known;
    }
    if (folder)
        closedir(folder);
    return has_only;
}

enum status folder_lock(const char *path, int *ret_fd, struct error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int problem = errno;
        close(fd);
        errno = problem;
        return problem == EWOULDBLOCK ? error_set(error, STATUS_BUSY, "%s: another process is at it", path)
                                      : error_set_errno(error, "%s: cannot lock", path);
    }
    *ret_fd = fd;
    return STATUS_OK;
}
