#include "storage/roster_source.h"

#include "codec/base/mem.h"
#include "storage/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROSTER_BYTES_MAX ((off_t)2 * 1024 * 1024 * 1024)

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static enum status read_whole_file(const char *path, struct buffer *target, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", path);
    enum status status = STATUS_OK;
    if (fstat(fd, &info) != 0)
        status = error_set_errno(error, "%s: cannot look at it", path);
    else if (info.st_size > ROSTER_BYTES_MAX)
        status = error_set(error, STATUS_TOO_LARGE, "%s: is larger than %lld bytes", path,
                           (long long)ROSTER_BYTES_MAX);
    size_t left = status == STATUS_OK ? (size_t)info.st_size : 0;
    while (status == STATUS_OK && left) {
        ssize_t got = read(fd, buffer_reserve(target, left), left);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            status = error_set(error, STATUS_IO, "%s: cannot be read to its end", path);
        } else {
            target->size += (size_t)got;
            left -= (size_t)got;
        }
    }
    close(fd);
    return status;
}

static int mbi_compare(const void *a, const void *b)
{
    return memcmp(a, b, MBI_SIZE_MAX);
}

static enum status take_mbi(void *context, struct slice mbi, struct error *error)
{
    struct buffer *mbis = context;
    if (mbis->size / MBI_SIZE_MAX >= ROSTER_MBIS_MAX)
        return error_set(error, STATUS_TOO_LARGE, "more than %zu rows", ROSTER_MBIS_MAX);
    char *place = buffer_extend(mbis, MBI_SIZE_MAX);
    memset(place, ' ', MBI_SIZE_MAX);
    memcpy(place, mbi.data, mbi.size < MBI_SIZE_MAX ? mbi.size : MBI_SIZE_MAX);
    return STATUS_OK;
}

/* Sorts and drops repeats: a beneficiary may have several rows. */
static void sort_mbis(struct buffer *mbis)
{
    size_t count = mbis->size / MBI_SIZE_MAX, kept = 0;
    if (count == 0)
        return;
    qsort(mbis->data, count, MBI_SIZE_MAX, mbi_compare);
    for (size_t i = 0; i < count; i++) {
        const char *mbi = mbis->data + i * MBI_SIZE_MAX;
        if (kept && mbi_compare(mbis->data + (kept - 1) * MBI_SIZE_MAX, mbi) == 0)
            continue;
        memmove(mbis->data + kept++ * MBI_SIZE_MAX, mbi, MBI_SIZE_MAX);
    }
    mbis->size = kept * MBI_SIZE_MAX;
}

static enum status roster_parse_rows(struct roster_file *roster, struct slice text, uint32_t record_bytes,
                                     struct error *error)
{
    enum status status = cclf8_parse(text, record_bytes, take_mbi, &roster->mbis, &roster->rows, error);
    if (status == STATUS_OK)
        sort_mbis(&roster->mbis);
    return status;
}

static enum status roster_take_name(struct roster_file *roster, const char *name, struct error *error)
{
    enum status status = cclf_name_parse(slice_from_text(name), &roster->name, error);
    if (status != STATUS_OK)
        return status;
    snprintf(roster->file, sizeof roster->file, "%s", name);
    return STATUS_OK;
}

/* The one entry of a kind; ARCHIVE_ENTRIES_MAX if there is none. */
static enum status archive_find(struct archive *archive, enum cclf_kind kind, const char *what,
                                size_t *ret_index, struct error *error)
{
    *ret_index = ARCHIVE_ENTRIES_MAX;
    for (size_t i = 0; i < archive_count(archive); i++) {
        struct cclf_name name;
        if (cclf_name_parse(slice_from_text(base_name(archive_name(archive, i))), &name, NULL) != STATUS_OK ||
            name.kind != kind)
            continue;
        if (*ret_index != ARCHIVE_ENTRIES_MAX)
            return error_set(error, STATUS_INVALID, "several %s files in one archive", what);
        *ret_index = i;
    }
    return STATUS_OK;
}

static enum status roster_from_archive(struct roster_file *roster, struct archive *archive,
                                       const struct cclf_name *outer, struct error *error)
{
    size_t summary_at, rows_at;
    struct buffer summary = BUFFER_INIT, rows = BUFFER_INIT;
    uint64_t count = 0;
    uint32_t record_bytes = CCLF8_RECORD_BYTES;
    enum status status = archive_find(archive, CCLF_KIND_SUMMARY, "CCLF0", &summary_at, error);
    if (status == STATUS_OK)
        status = archive_find(archive, CCLF_KIND_BENEFICIARIES, "CCLF8", &rows_at, error);
    if (status == STATUS_OK && rows_at == ARCHIVE_ENTRIES_MAX)
        status = error_set(error, STATUS_INVALID, "no CCLF8 file in the archive");
    /* Archives of the older era hold one file each, so there the counts are elsewhere. */
    if (status == STATUS_OK && summary_at == ARCHIVE_ENTRIES_MAX && archive_count(archive) > 1)
        status = error_set(error, STATUS_INVALID, "no CCLF0 file in the archive");
    if (status == STATUS_OK && summary_at != ARCHIVE_ENTRIES_MAX)
        status = archive_read(archive, summary_at, &summary, error);
    if (status == STATUS_OK && summary_at != ARCHIVE_ENTRIES_MAX)
        status = cclf0_parse(buffer_slice(&summary), &count, &record_bytes, error);
    if (status == STATUS_OK)
        status = roster_take_name(roster, base_name(archive_name(archive, rows_at)), error);
    if (status == STATUS_OK && !*roster->name.aco)
        memcpy(roster->name.aco, outer->aco, sizeof roster->name.aco);
    if (status == STATUS_OK && *outer->aco && strcmp(roster->name.aco, outer->aco) != 0)
        status = error_set(error, STATUS_INVALID, "the archive is of ACO %s, its CCLF8 file of %s",
                           outer->aco, roster->name.aco);
    if (status == STATUS_OK)
        status = archive_read(archive, rows_at, &rows, error);
    if (status == STATUS_OK)
        status = roster_parse_rows(roster, buffer_slice(&rows), record_bytes, error);
    /* Fewer are refused too: who is missing from a file that was cut would leave the ACO. */
    if (status == STATUS_OK && summary_at != ARCHIVE_ENTRIES_MAX && roster->rows != count)
        status =
            error_set(error, STATUS_INVALID, "CCLF0 says %llu beneficiaries, the CCLF8 file has %llu rows",
                      (unsigned long long)count, (unsigned long long)roster->rows);
    buffer_release(&summary);
    buffer_release(&rows);
    return status;
}

static enum status roster_load(const char *path, struct roster_file *roster, struct error *error)
{
    const char *name = base_name(path);
    struct cclf_name outer;
    struct stat info;
    enum status status = cclf_name_parse(slice_from_text(name), &outer, error);
    if (status != STATUS_OK)
        return status;
    if (stat(path, &info) != 0)
        return error_set_errno(error, "%s: cannot look at it", path);
    if (!S_ISREG(info.st_mode)) /* opening a pipe could wait for ever */
        return error_set(error, STATUS_INVALID, "is no regular file");
    if (archive_is_one(path)) {
        struct archive *archive;
        status = archive_open(path, &archive, error);
        if (status == STATUS_OK) {
            status = roster_from_archive(roster, archive, &outer, error);
            archive_close(archive);
        }
        return status;
    }
    if (outer.kind == CCLF_KIND_ARCHIVE)
        return error_set(error, STATUS_INVALID, "has an archive's name and is no zip archive");
    if (outer.kind != CCLF_KIND_BENEFICIARIES)
        return error_set(error, STATUS_INVALID, "is no CCLF8 file: only that one names beneficiaries");
    struct buffer text = BUFFER_INIT;
    status = roster_take_name(roster, name, error);
    if (status == STATUS_OK)
        status = read_whole_file(path, &text, error);
    if (status == STATUS_OK)
        status = roster_parse_rows(roster, buffer_slice(&text), CCLF8_RECORD_BYTES, error);
    buffer_release(&text);
    return status;
}

enum status roster_file_load(const char *path, struct roster_file *ret_roster, struct error *error)
{
    struct roster_file roster = {.mbis = BUFFER_INIT};
    enum status status = roster_load(path, &roster, error);
    if (status == STATUS_OK && !*roster.name.aco)
        status = error_set(error, STATUS_INVALID, "its name does not tell the ACO");
    if (status == STATUS_OK && roster.name.runout)
        status = error_set(error, STATUS_UNSUPPORTED, "is a run-out file, which changes no attribution");
    if (status == STATUS_OK && roster.mbis.size == 0)
        status = error_set(error, STATUS_INVALID,
                           "names no beneficiary: refused, since it would take all from the ACO");
    if (status != STATUS_OK) {
        roster_file_release(&roster);
        if (error && strncmp(error->text, path, strlen(path)) != 0)
            error_prefix(error, "%s", path);
        return status;
    }
    *ret_roster = roster;
    return STATUS_OK;
}

void roster_file_release(struct roster_file *roster)
{
    buffer_release(&roster->mbis);
}

size_t roster_file_count(const struct roster_file *roster)
{
    return roster->mbis.size / MBI_SIZE_MAX;
}
