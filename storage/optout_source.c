#include "storage/optout_source.h"

#include "codec/base/bytes.h"
#include "storage/import_source.h"

#include <stdlib.h>
#include <sys/stat.h>

bool optout_path_name(const char *path, char name[SUPPRESSION_FILE_NAME_MAX + 1],
                      struct optout_name *ret_parsed, struct error *error)
{
    const char *slash = strrchr(path, '/');
    struct slice base = slice_from_text(slash ? slash + 1 : path);
    if (base.size > 3 && memcmp(base.data + base.size - 3, ".gz", 3) == 0)
        base.size -= 3;
    if (optout_name_parse(base, ret_parsed, error) != STATUS_OK)
        return false;
    memcpy(name, base.data, base.size); /* one length fits them all */
    name[base.size] = '\0';
    return true;
}

/* In the order of the store's keys: MBI, date, and N before Y. */
static int row_compare(const void *a, const void *b)
{
    const char *x = a, *y = b;
    int order = memcmp(x, y, MBI_SIZE_MAX); /* padded with blanks, which come before all that an MBI has */
    if (order == 0) {
        int32_t day = (int32_t)load_u32_le(x + MBI_SIZE_MAX), other = (int32_t)load_u32_le(y + MBI_SIZE_MAX);
        order = (day > other) - (day < other);
    }
    return order ? order : x[MBI_SIZE_MAX + 4] - y[MBI_SIZE_MAX + 4];
}

static void rows_sort(struct buffer *rows)
{
    size_t count = rows->size / SUPPRESSION_ROW_BYTES, kept = 0;
    if (count == 0)
        return;
    qsort(rows->data, count, SUPPRESSION_ROW_BYTES, row_compare);
    for (size_t i = 0; i < count; i++) {
        const char *row = rows->data + i * SUPPRESSION_ROW_BYTES;
        if (kept && row_compare(rows->data + (kept - 1) * SUPPRESSION_ROW_BYTES, row) == 0)
            continue;
        memmove(rows->data + kept++ * SUPPRESSION_ROW_BYTES, row, SUPPRESSION_ROW_BYTES);
    }
    rows->size = kept * SUPPRESSION_ROW_BYTES;
}

static enum status take_line(struct optout_file *file, const struct import_line *line, struct error *error)
{
    struct optout_row row;
    bool is_row;
    if (line->too_long)
        return error_set(error, STATUS_INVALID, "line %llu is no row of an opt-out file",
                         (unsigned long long)line->number);
    enum status status = optout_read_line(&file->counts, line->number, line->text, &row, &is_row, error);
    if (status != STATUS_OK || !is_row || row.preference == ' ')
        return status;
    if (file->counts.rows > OPTOUT_ROWS_MAX)
        return error_set(error, STATUS_TOO_LARGE, "more than %llu rows", (unsigned long long)OPTOUT_ROWS_MAX);
    char *place = buffer_extend(&file->rows, SUPPRESSION_ROW_BYTES);
    memset(place, ' ', MBI_SIZE_MAX);
    memcpy(place, row.mbi.data, row.mbi.size);
    store_u32_le(place + MBI_SIZE_MAX, (uint32_t)row.effective_day);
    place[MBI_SIZE_MAX + 4] = row.preference;
    return STATUS_OK;
}

static enum status read_lines(struct optout_file *file, struct import_source *source, struct error *error)
{
    enum status status;
    do {
        struct import_block block = {.text = BUFFER_INIT};
        status = import_source_next(source, &block, error);
        if (status == STATUS_OK) {
            for (size_t i = 0; status == STATUS_OK && i < import_block_count(&block); i++)
                status = take_line(file, import_block_line(&block, i), error);
        }
        import_block_release(&block);
    } while (status == STATUS_OK);
    return status == STATUS_NOT_FOUND ? optout_read_end(&file->counts, error) : status;
}

enum status optout_file_load(const char *path, struct optout_file *ret_file, struct error *error)
{
    struct optout_file file = {.rows = BUFFER_INIT};
    struct optout_name name;
    struct import_source *source = NULL;
    struct stat info;
    enum status status = STATUS_OK;
    optout_reader_init(&file.counts);
    if (!optout_path_name(path, file.name, &name, error))
        status = STATUS_INVALID;
    else if (stat(path, &info) != 0)
        status = error_set_errno(error, "%s: cannot look at it", path);
    else if (!S_ISREG(info.st_mode)) /* opening a pipe could wait for ever */
        status = error_set(error, STATUS_INVALID, "is no regular file");
    if (status == STATUS_OK)
        status = import_source_open(path, &source, error);
    if (status == STATUS_OK) {
        status = read_lines(&file, source, error);
        import_source_close(source);
    }
    if (status != STATUS_OK) {
        optout_file_release(&file);
        if (error && strncmp(error->text, path, strlen(path)) != 0)
            error_prefix(error, "%s", path);
        return status;
    }
    rows_sort(&file.rows);
    *ret_file = file;
    return STATUS_OK;
}

void optout_file_release(struct optout_file *file)
{
    buffer_release(&file->rows);
}

struct slice optout_file_part(const struct optout_file *file, size_t offset)
{
    struct slice left = slice_skip(buffer_slice(&file->rows), offset);
    size_t end = SUPPRESSION_PORTION * (size_t)SUPPRESSION_ROW_BYTES;
    if (end >= left.size)
        return left;
    while (end < left.size &&
           memcmp(left.data + end, left.data + end - SUPPRESSION_ROW_BYTES, MBI_SIZE_MAX) == 0)
        end += SUPPRESSION_ROW_BYTES;
    return slice_make(left.data, end);
}
