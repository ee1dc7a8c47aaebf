#include "storage/archive.h"

#include "codec/base/mem.h"

#include <fcntl.h>
#include <unistd.h>
#include <zip.h>

#define READ_BYTES ((size_t)1024 * 1024)

struct archive {
    zip_t *zip;
    char *path;
};

bool archive_is_one(const char *path)
{
    char begin[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool is_one = read(fd, begin, sizeof begin) == sizeof begin && memcmp(begin, "PK\3\4", 4) == 0;
    close(fd);
    return is_one;
}

enum status archive_open(const char *path, struct archive **ret_archive, struct error *error)
{
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!zip) {
        zip_error_t detail;
        zip_error_init_with_code(&detail, code);
        enum status status = error_set(error, STATUS_INVALID, "%s: cannot be read as a zip archive: %s", path,
                                       zip_error_strerror(&detail));
        zip_error_fini(&detail);
        return status;
    }
    if (zip_get_num_entries(zip, 0) > ARCHIVE_ENTRIES_MAX) {
        zip_discard(zip);
        return error_set(error, STATUS_TOO_LARGE, "%s: more than %d entries", path, ARCHIVE_ENTRIES_MAX);
    }
    struct archive *archive = mem_new(struct archive);
    archive->zip = zip;
    archive->path = mem_strdup(path);
    *ret_archive = archive;
    return STATUS_OK;
}

void archive_close(struct archive *archive)
{
    if (!archive)
        return;
    zip_discard(archive->zip);
    mem_free(archive->path);
    mem_free(archive);
}

size_t archive_count(const struct archive *archive)
{
    return (size_t)zip_get_num_entries(archive->zip, 0);
}

const char *archive_name(const struct archive *archive, size_t index)
{
    const char *name = zip_get_name(archive->zip, index, 0);
    return name ? name : "";
}

static enum status too_large(const struct archive *archive, const char *name, size_t bytes_max,
                             struct error *error)
{
    return error_set(error, STATUS_TOO_LARGE, "%s: entry %s, with the parts before it, is over %zu bytes",
                     archive->path, name, bytes_max);
}

enum status archive_read(struct archive *archive, size_t index, size_t bytes_max, struct buffer *target,
                         struct error *error)
{
    const char *name = archive_name(archive, index);
    zip_stat_t info;
    /* What an archive says of itself is a hint: it saves inflating what would be refused. */
    if (zip_stat_index(archive->zip, index, 0, &info) == 0 && (info.valid & ZIP_STAT_SIZE) &&
        (target->size > bytes_max || info.size > bytes_max - target->size))
        return too_large(archive, name, bytes_max, error);
    zip_file_t *file = zip_fopen_index(archive->zip, index, 0);
    if (!file)
        return error_set(error, STATUS_INVALID, "%s: entry %s cannot be opened: %s", archive->path, name,
                         zip_strerror(archive->zip));
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        zip_int64_t got = zip_fread(file, buffer_reserve(target, READ_BYTES), READ_BYTES);
        if (got == 0)
            break;
        if (got < 0) {
            status = error_set(error, STATUS_INVALID, "%s: entry %s is damaged: %s", archive->path, name,
                               zip_file_strerror(file));
        } else {
            target->size += (size_t)got;
            if (target->size > bytes_max)
                status = too_large(archive, name, bytes_max, error);
        }
    }
    /* zip_fread checks the CRC only when the end was read; zip_fclose tells. */
    int code = zip_fclose(file);
    if (status == STATUS_OK && code != 0)
        status = error_set(error, STATUS_INVALID, "%s: entry %s is damaged", archive->path, name);
    return status;
}
