#include "storage/roster_source.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "storage/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROSTER_BYTES_MAX ((size_t)2 * 1024 * 1024 * 1024) /* of a file, all its parts together */
#define DAY_US           (86400 * US_PER_SECOND)

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
    else if ((uint64_t)info.st_size > ROSTER_BYTES_MAX)
        status = error_set(error, STATUS_TOO_LARGE, "%s: is larger than %zu bytes", path, ROSTER_BYTES_MAX);
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

static int link_compare(const void *a, const void *b)
{
    return memcmp(a, b, 2 * MBI_SIZE_MAX);
}

/* Sorts and drops repeats: a beneficiary may have several rows. */
static void sort_unique(struct buffer *items, size_t size, int (*compare)(const void *, const void *))
{
    size_t count = items->size / size, kept = 0;
    if (count == 0)
        return;
    qsort(items->data, count, size, compare);
    for (size_t i = 0; i < count; i++) {
        const char *item = items->data + i * size;
        if (kept && compare(items->data + (kept - 1) * size, item) == 0)
            continue;
        memmove(items->data + kept++ * size, item, size);
    }
    items->size = kept * size;
}

static void append_mbi(struct buffer *mbis, struct slice mbi)
{
    char *place = buffer_extend(mbis, MBI_SIZE_MAX);
    memset(place, ' ', MBI_SIZE_MAX);
    memcpy(place, mbi.data, mbi.size < MBI_SIZE_MAX ? mbi.size : MBI_SIZE_MAX);
}

static enum status take_mbi(void *context, struct slice mbi, struct error *error)
{
    struct roster_file *roster = context;
    if (roster->mbis.size / MBI_SIZE_MAX >= ROSTER_MBIS_MAX)
        return error_set(error, STATUS_TOO_LARGE, "more than %zu rows", ROSTER_MBIS_MAX);
    append_mbi(&roster->mbis, mbi);
    return STATUS_OK;
}

static enum status take_link(void *context, struct slice current, struct slice previous, struct error *error)
{
    struct roster_file *roster = context;
    if (roster->links.size / (2 * (size_t)MBI_SIZE_MAX) >= ROSTER_MBIS_MAX)
        return error_set(error, STATUS_TOO_LARGE, "more than %zu links between MBIs", ROSTER_MBIS_MAX);
    append_mbi(&roster->links, current);
    append_mbi(&roster->links, previous);
    return STATUS_OK;
}

static enum status roster_take_name(struct roster_file *roster, const char *name, struct error *error)
{
    enum status status = cclf_name_parse(slice_from_text(name), &roster->name, error);
    if (status != STATUS_OK)
        return status;
    snprintf(roster->file, sizeof roster->file, "%s", name);
    if (roster->name.part) /* "-1": the parts are one file */
        *strrchr(roster->file, '-') = '\0';
    return STATUS_OK;
}

/* ---- what belongs together ---- */

/* The texts of a package's files. */
struct package {
    bool has[CCLF_KIND_OTHER]; /* by kind: CCLF0, CCLF8, CCLF9 */
    struct buffer text[CCLF_KIND_OTHER];
};

static const char *const kind_names[CCLF_KIND_OTHER] = {
    [CCLF_KIND_SUMMARY] = "CCLF0",
    [CCLF_KIND_BENEFICIARIES] = "CCLF8",
    [CCLF_KIND_CROSS_REFERENCE] = "CCLF9",
};

static void package_release(struct package *package)
{
    for (size_t i = 0; i < CCLF_KIND_OTHER; i++)
        buffer_release(&package->text[i]);
}

static size_t name_size_without_part(const char *name, const struct cclf_name *parsed)
{
    return parsed->part ? (size_t)(strrchr(name, '-') - name) : strlen(name);
}

/* Part n of the file whose first part is the entry `first`; its index, or the count if there is none. */
static size_t archive_find_part(struct archive *archive, size_t first, unsigned part)
{
    const char *name = base_name(archive_name(archive, first));
    struct cclf_name parsed, other_parsed;
    if (cclf_name_parse(slice_from_text(name), &parsed, NULL) != STATUS_OK)
        return archive_count(archive);
    size_t size = name_size_without_part(name, &parsed);
    for (size_t i = 0; i < archive_count(archive); i++) {
        const char *other = base_name(archive_name(archive, i));
        if (cclf_name_parse(slice_from_text(other), &other_parsed, NULL) == STATUS_OK &&
            other_parsed.part == part && name_size_without_part(other, &other_parsed) == size &&
            memcmp(name, other, size) == 0)
            return i;
    }
    return archive_count(archive);
}

/* Reads the one file of a kind, which may be cut into parts 1 to n. *ret_name: its name, or its first part's;
 * borrowed from the archive. NULL if there is none. */
static enum status package_take(struct package *package, struct archive *archive, enum cclf_kind kind,
                                const char **ret_name, struct error *error)
{
    size_t first = ARCHIVE_ENTRIES_MAX, count = 0;
    *ret_name = NULL;
    bool has_parts = false, has_whole = false;
    for (size_t i = 0; i < archive_count(archive); i++) {
        struct cclf_name name;
        if (cclf_name_parse(slice_from_text(base_name(archive_name(archive, i))), &name, NULL) != STATUS_OK ||
            name.kind != kind)
            continue;
        has_parts |= name.part != 0;
        has_whole |= name.part == 0;
        count++;
        if (first == ARCHIVE_ENTRIES_MAX || name.part == 1)
            first = i;
    }
    if (count == 0)
        return STATUS_OK;
    if (has_whole && count > 1)
        return error_set(error, STATUS_INVALID, "several %s files in one archive", kind_names[kind]);
    enum status status = STATUS_OK;
    struct buffer *text = &package->text[kind];
    for (unsigned part = has_parts; status == STATUS_OK && part < count + has_parts; part++) {
        size_t index = archive_find_part(archive, first, part);
        if (index == archive_count(archive))
            return error_set(error, STATUS_INVALID, "the %s file has %zu parts, and none of them is part %u",
                             kind_names[kind], count, part);
        if (text->size && text->data[text->size - 1] != '\n')
            buffer_append_char(text, '\n');
        status = archive_read(archive, index, ROSTER_BYTES_MAX, text, error);
    }
    package->has[kind] = status == STATUS_OK;
    *ret_name = base_name(archive_name(archive, first));
    return status;
}

/* To 2019 each file of a package is an archive of its own, beside the others, and its name differs in one
 * character. It need not be there. */
static enum status package_take_beside(struct package *package, const char *path, enum cclf_kind kind,
                                       struct error *error)
{
    struct buffer other = BUFFER_INIT;
    const char *name = base_name(path), *entry;
    struct archive *archive;
    buffer_append_text(&other, path);
    buffer_text(&other);
    /* "T.BCD.ACO.ZC8Y18": the name has passed. */
    other.data[(size_t)(name - path) + sizeof "T.BCD.ACO.ZC" - 1] = kind == CCLF_KIND_SUMMARY ? '0' : '9';
    enum status status = STATUS_OK;
    if (archive_is_one(buffer_text(&other))) {
        status = archive_open(buffer_text(&other), &archive, error);
        if (status == STATUS_OK) {
            status = package_take(package, archive, kind, &entry, error);
            if (status == STATUS_OK && !entry)
                status = error_set(error, STATUS_INVALID, "no %s file in the archive", kind_names[kind]);
            archive_close(archive);
        }
        if (status != STATUS_OK)
            error_prefix(error, "%s beside it", base_name(buffer_text(&other)));
    }
    buffer_release(&other);
    return status;
}

/* The one file of a kind that stands beside a CCLF8 file and is of the same ACO, year and day; none, if there
 * are several. */
static enum status package_take_file_beside(struct package *package, const char *path,
                                            const struct cclf_name *own, enum cclf_kind kind,
                                            struct error *error)
{
    struct buffer folder = BUFFER_INIT, found = BUFFER_INIT;
    size_t count = 0;
    buffer_append(&folder, path, (size_t)(base_name(path) - path));
    DIR *directory = opendir(folder.size ? buffer_text(&folder) : ".");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct cclf_name name;
        if (cclf_name_parse(slice_from_text(entry->d_name), &name, NULL) != STATUS_OK || name.kind != kind ||
            name.part || strcmp(name.aco, own->aco) != 0 || name.runout != own->runout ||
            name.test != own->test || name.performance_year != own->performance_year ||
            name.at_us / DAY_US != own->at_us / DAY_US)
            continue;
        struct stat info;
        struct buffer other = BUFFER_INIT;
        buffer_appendf(&other, "%s%s", buffer_text(&folder), entry->d_name);
        if (stat(buffer_text(&other), &info) == 0 && S_ISREG(info.st_mode)) {
            count++;
            buffer_reset(&found);
            buffer_append_slice(&found, buffer_slice(&other));
        }
        buffer_release(&other);
    }
    if (directory)
        closedir(directory);
    enum status status = STATUS_OK;
    if (count == 1)
        status = read_whole_file(buffer_text(&found), &package->text[kind], error);
    package->has[kind] = count == 1 && status == STATUS_OK;
    buffer_release(&folder);
    buffer_release(&found);
    return status;
}

/* ---- checks ---- */

/* Fewer are refused too: who is missing from a file that was cut would leave the ACO. */
static enum status check_count(enum cclf_kind kind, uint64_t expected, uint64_t rows, struct error *error)
{
    if (rows == expected)
        return STATUS_OK;
    return error_set(error, STATUS_INVALID, "CCLF0 says %llu %s, the %s file has %llu rows",
                     (unsigned long long)expected,
                     kind == CCLF_KIND_BENEFICIARIES ? "beneficiaries" : "cross references", kind_names[kind],
                     (unsigned long long)rows);
}

static enum status roster_parse(struct roster_file *roster, const struct package *package,
                                struct error *error)
{
    struct slice summary = buffer_slice(&package->text[CCLF_KIND_SUMMARY]);
    struct cclf_counted rows = {.record_bytes = CCLF8_RECORD_BYTES},
                        links = {.record_bytes = CCLF9_RECORD_BYTES};
    uint64_t link_rows = 0;
    enum status status = STATUS_OK;
    if (package->has[CCLF_KIND_SUMMARY]) {
        status = cclf0_parse(summary, &rows.count, &rows.record_bytes, error);
        if (status == STATUS_OK && package->has[CCLF_KIND_CROSS_REFERENCE])
            status = cclf0_find(summary, "CCLF9", &links, error);
        if (links.record_bytes < CCLF9_RECORD_BYTES) /* one of CMS's packages says 54 */
            links.record_bytes = CCLF9_RECORD_BYTES;
    }
    if (status == STATUS_OK)
        status = cclf8_parse(buffer_slice(&package->text[CCLF_KIND_BENEFICIARIES]), rows.record_bytes,
                             take_mbi, roster, &roster->rows, error);
    if (status == STATUS_OK && package->has[CCLF_KIND_SUMMARY])
        status = check_count(CCLF_KIND_BENEFICIARIES, rows.count, roster->rows, error);
    if (status == STATUS_OK && package->has[CCLF_KIND_CROSS_REFERENCE])
        status = cclf9_parse(buffer_slice(&package->text[CCLF_KIND_CROSS_REFERENCE]), links.record_bytes,
                             take_link, roster, &link_rows, error);
    if (status == STATUS_OK && links.there)
        status = check_count(CCLF_KIND_CROSS_REFERENCE, links.count, link_rows, error);
    return status;
}

static enum status roster_from_archive(struct roster_file *roster, const char *path, struct archive *archive,
                                       const struct cclf_name *outer, struct error *error)
{
    struct package package = {.has = {false}};
    const char *name = NULL, *unused;
    bool is_split_up = outer->kind == CCLF_KIND_ARCHIVE && outer->holds != CCLF_KIND_ARCHIVE; /* to 2019 */
    enum status status = package_take(&package, archive, CCLF_KIND_BENEFICIARIES, &name, error);
    if (status == STATUS_OK && !name)
        status = error_set(error, STATUS_INVALID, "no CCLF8 file in the archive");
    if (status == STATUS_OK)
        status = package_take(&package, archive, CCLF_KIND_SUMMARY, &unused, error);
    if (status == STATUS_OK)
        status = package_take(&package, archive, CCLF_KIND_CROSS_REFERENCE, &unused, error);
    if (status == STATUS_OK && is_split_up && !package.has[CCLF_KIND_SUMMARY])
        status = package_take_beside(&package, path, CCLF_KIND_SUMMARY, error);
    if (status == STATUS_OK && is_split_up && !package.has[CCLF_KIND_CROSS_REFERENCE])
        status = package_take_beside(&package, path, CCLF_KIND_CROSS_REFERENCE, error);
    bool is_whole = outer->holds == CCLF_KIND_ARCHIVE || (!is_split_up && archive_count(archive) > 1);
    if (status == STATUS_OK && is_whole && !package.has[CCLF_KIND_SUMMARY])
        status = error_set(error, STATUS_INVALID, "no CCLF0 file in the archive");
    if (status == STATUS_OK)
        status = roster_take_name(roster, name, error);
    if (status == STATUS_OK && !*roster->name.aco)
        memcpy(roster->name.aco, outer->aco, sizeof roster->name.aco);
    if (status == STATUS_OK && *outer->aco && strcmp(roster->name.aco, outer->aco) != 0)
        status = error_set(error, STATUS_INVALID, "the archive is of ACO %s, its CCLF8 file of %s",
                           outer->aco, roster->name.aco);
    if (status == STATUS_OK)
        status = roster_parse(roster, &package, error);
    package_release(&package);
    return status;
}

static enum status roster_from_cclf8(struct roster_file *roster, const char *path,
                                     const struct cclf_name *own, struct error *error)
{
    struct package package = {.has = {[CCLF_KIND_BENEFICIARIES] = true}};
    enum status status = STATUS_OK;
    if (own->part) /* the others would leave */
        status = error_set(error, STATUS_INVALID, "is one part of a file: give the archive with all of them");
    if (status == STATUS_OK)
        status = read_whole_file(path, &package.text[CCLF_KIND_BENEFICIARIES], error);
    if (status == STATUS_OK)
        status = package_take_file_beside(&package, path, own, CCLF_KIND_SUMMARY, error);
    if (status == STATUS_OK)
        status = package_take_file_beside(&package, path, own, CCLF_KIND_CROSS_REFERENCE, error);
    if (status == STATUS_OK)
        status = roster_parse(roster, &package, error);
    package_release(&package);
    return status;
}

static enum status roster_from_csv(struct roster_file *roster, const char *path, struct error *error)
{
    struct buffer text = BUFFER_INIT;
    enum status status = read_whole_file(path, &text, error);
    if (status == STATUS_OK)
        status = csv_roster_parse(buffer_slice(&text), take_mbi, roster, &roster->rows, error);
    buffer_release(&text);
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
    if (outer.kind == CCLF_KIND_ARCHIVE && outer.holds != CCLF_KIND_ARCHIVE &&
        outer.holds != CCLF_KIND_BENEFICIARIES)
        return error_set(error, STATUS_INVALID,
                         "is no archive of a CCLF8 file: only that one names beneficiaries");
    bool is_archive = archive_is_one(path);
    if (outer.kind == CCLF_KIND_ARCHIVE && !is_archive)
        return error_set(error, STATUS_INVALID, "has an archive's name and is no zip archive");
    if (is_archive) {
        struct archive *archive;
        status = archive_open(path, &archive, error);
        if (status != STATUS_OK)
            return status;
        status = roster_from_archive(roster, path, archive, &outer, error);
        archive_close(archive);
        return status;
    }
    if (outer.kind != CCLF_KIND_BENEFICIARIES && outer.kind != CCLF_KIND_CSV)
        return error_set(error, STATUS_INVALID, "is no CCLF8 file: only that one names beneficiaries");
    status = roster_take_name(roster, name, error);
    if (status != STATUS_OK)
        return status;
    return outer.kind == CCLF_KIND_CSV ? roster_from_csv(roster, path, error)
                                       : roster_from_cclf8(roster, path, &outer, error);
}

/* Whose it is, if its name does not tell: of a CSV file's name nobody says that its third part is an ACO. */
static enum status roster_take_aco(struct roster_file *roster, const char *aco_id, struct error *error)
{
    bool is_told = *roster->name.aco && roster->name.kind != CCLF_KIND_CSV;
    if (aco_id && is_told && strcmp(aco_id, roster->name.aco) != 0)
        return error_set(error, STATUS_INVALID, "is of ACO %s, by its name", roster->name.aco);
    if (aco_id && !aco_id_is_valid(slice_from_text(aco_id)))
        return error_set(error, STATUS_INVALID, "\"%s\" is no ACO id", aco_id);
    if (aco_id)
        snprintf(roster->name.aco, sizeof roster->name.aco, "%s", aco_id);
    if (!*roster->name.aco)
        return error_set(error, STATUS_INVALID, "its name does not tell the ACO: give it by --aco");
    return STATUS_OK;
}

enum status roster_file_load(const char *path, const char *aco_id, struct roster_file *ret_roster,
                             struct error *error)
{
    struct roster_file roster = {.mbis = BUFFER_INIT, .links = BUFFER_INIT};
    enum status status = roster_load(path, &roster, error);
    if (status == STATUS_OK)
        status = roster_take_aco(&roster, aco_id, error);
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
    sort_unique(&roster.mbis, MBI_SIZE_MAX, mbi_compare);
    sort_unique(&roster.links, 2 * MBI_SIZE_MAX, link_compare);
    *ret_roster = roster;
    return STATUS_OK;
}

void roster_file_release(struct roster_file *roster)
{
    buffer_release(&roster->mbis);
    buffer_release(&roster->links);
}

size_t roster_file_count(const struct roster_file *roster)
{
    return roster->mbis.size / MBI_SIZE_MAX;
}
