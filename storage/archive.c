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

enum status archive_read(struct archive *archive, size_t index, struct buffer *target, struct error *error)
{
    const char *name = archive_name(archive, index);
    zip_file_t *file = zip_fopen_index(archive->zip, index, 0);
    if (!file)
        return error_set(error, STATUS_INVALID, "%s: entry %s cannot be opened: %s", archive->path, name,
                         zip_strerror(archive->zip));
    enum status status = STATUS_OK;
    uint64_t total = 0;
    while (status == STATUS_OK) {
        zip_int64_t got = zip_fread(file, buffer_reserve(target, READ_BYTES), READ_BYTES);
        if (got == 0)
            break;
        if (got < 0) {
            status = error_set(error, STATUS_INVALID, "%s: entry %s is damaged: %s", archive->path, name,
                               zip_file_strerror(file));
        } else {
            target->size += (size_t)got;
            total += (uint64_t)got;
            if (total > ARCHIVE_ENTRY_BYTES_MAX)
                status = error_set(error, STATUS_TOO_LARGE, "%s: entry %s is over %llu bytes", archive->path,
                                   name, (unsigned long long)ARCHIVE_ENTRY_BYTES_MAX);
        }
    }
    /* zip_fread checks the CRC only when the end was read; zip_fclose tells. */
    int code = zip_fclose(file);
    if (status == STATUS_OK && code != 0)
        status = error_set(error, STATUS_INVALID, "%s: entry %s is damaged", archive->path, name);
    return status;
}
