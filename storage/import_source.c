#include "storage/import_source.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/bundle.h"
#include "codec/json_reader.h"
#include "codec/ndjson.h"
#include "codec/resource.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define DIRECTORY_DEPTH_MAX 16
#define FILES_MAX           ((size_t)1000 * 1000)
/* Blocks begin small, so that many small files do not take much memory. */
#define FIRST_BLOCK_BYTES ((size_t)64 * 1024)
#define INPUT_BYTES       ((size_t)64 * 1024) /* of a file, before it is inflated */

/* ---- which files ---- */

static bool ends_with(const char *name, const char *ending)
{
    size_t size = strlen(name), ending_size = strlen(ending);
    return size >= ending_size && strcmp(name + size - ending_size, ending) == 0;
}

static bool is_json_document(const char *name)
{
    return ends_with(name, ".json") || ends_with(name, ".json.gz");
}

static bool is_importable(const char *name)
{
    return name[0] != '.' &&
           (ends_with(name, ".ndjson") || ends_with(name, ".ndjson.gz") || is_json_document(name));
}

struct file_finder {
    struct import_files *files;
    struct buffer paths; /* char * */
};

static enum status finder_add(struct file_finder *finder, const char *path, uint64_t bytes,
                              struct error *error)
{
    if (finder->paths.size / sizeof(char *) >= FILES_MAX)
        return error_set(error, STATUS_TOO_LARGE, "more than %zu files in one import", FILES_MAX);
    char *copy = arena_text(&finder->files->arena, slice_from_text(path));
    buffer_append(&finder->paths, &copy, sizeof copy);
    finder->files->bytes += bytes;
    return STATUS_OK;
}

static enum status finder_walk(struct file_finder *finder, const char *path, unsigned depth,
                               struct error *error)
{
    if (depth > DIRECTORY_DEPTH_MAX)
        return error_set(error, STATUS_TOO_LARGE, "%s: directories nest deeper than %d", path,
                         DIRECTORY_DEPTH_MAX);
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        return error_set_errno(error, "%s: cannot read the directory", path);
    enum status status = STATUS_OK;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        struct buffer full = BUFFER_INIT;
        struct stat info;
        buffer_appendf(&full, "%s/%s", path, name);
        if (status == STATUS_OK && name[0] != '.') {
            if (stat(buffer_text(&full), &info) != 0)
                status = error_set_errno(error, "%s: cannot look at it", buffer_text(&full));
            else if (S_ISDIR(info.st_mode) && entries[i]->d_type != DT_LNK)
                status = finder_walk(finder, buffer_text(&full), depth + 1, error);
            else if (S_ISREG(info.st_mode) && is_importable(name))
                status = finder_add(finder, buffer_text(&full), (uint64_t)info.st_size, error);
        }
        buffer_release(&full);
        free(entries[i]);
    }
    free(entries);
    return status;
}

enum status import_files_find(const char *const *paths, size_t count, struct import_files *ret_files,
                              struct error *error)
{
    *ret_files = (struct import_files){.arena = ARENA_INIT};
    struct file_finder finder = {.files = ret_files, .paths = BUFFER_INIT};
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        struct stat info;
        size_t before = finder.paths.size;
        if (strcmp(paths[i], "-") == 0) {
            status = finder_add(&finder, paths[i], 0, error);
        } else if (stat(paths[i], &info) != 0) {
            status = error_set_errno(error, "%s: cannot look at it", paths[i]);
        } else if (S_ISDIR(info.st_mode)) {
            status = finder_walk(&finder, paths[i], 0, error);
            if (status == STATUS_OK && finder.paths.size == before)
                status = error_set(error, STATUS_INVALID,
                                   "%s: no *.ndjson, *.ndjson.gz, *.json or *.json.gz in it", paths[i]);
        } else {
            status = finder_add(&finder, paths[i], (uint64_t)info.st_size, error);
        }
    }
    ret_files->count = finder.paths.size / sizeof(char *);
    size_t unused;
    ret_files->paths = (char **)(void *)buffer_detach(&finder.paths, &unused);
    if (status != STATUS_OK)
        import_files_release(ret_files);
    return status;
}

void import_files_release(struct import_files *files)
{
    arena_release(&files->arena);
    mem_free(files->paths);
    *files = (struct import_files){.arena = ARENA_INIT};
}

/* ---- blocks ---- */

void import_block_release(struct import_block *block)
{
    buffer_release(&block->text);
    buffer_release(&block->lines);
    arena_release(&block->arena);
}

size_t import_block_count(const struct import_block *block)
{
    return block->lines.size / sizeof(struct import_line);
}

const struct import_line *import_block_line(const struct import_block *block, size_t index)
{
    return (const struct import_line *)(const void *)block->lines.data + index;
}

static struct slice block_keep(struct import_block *block, struct slice text)
{
    bool is_inside = text.data >= block->text.data && text.data < block->text.data + block->text.size;
    return is_inside ? text : arena_copy(&block->arena, text);
}

static void block_add(struct import_block *block, uint64_t number, struct slice text, bool too_long)
{
    struct import_line line = {.number = number, .text = block_keep(block, text), .too_long = too_long};
    buffer_append(&block->lines, &line, sizeof line);
}

static void block_add_entry(struct import_block *block, const struct bundle_entry *entry)
{
    bool too_long = entry->text.size > RESOURCE_BYTES_MAX;
    struct import_line line = {
        .number = entry->number,
        .text = too_long ? (struct slice){NULL, 0} : block_keep(block, entry->text),
        .too_long = too_long,
        .is_entry = true,
        .is_deletion = entry->is_deletion,
        .time = block_keep(block, entry->time),
    };
    buffer_append(&block->lines, &line, sizeof line);
}

/* ---- sources ---- */

enum source_format { SOURCE_FORMAT_UNKNOWN, SOURCE_FORMAT_PLAIN, SOURCE_FORMAT_GZIP };

struct import_source {
    char *path;
    int fd;
    enum source_format format;
    z_stream inflater; /* of a gzip file; its input is `input` */
    bool in_member;    /* of a gzip file, which may have several */
    uint8_t *input;    /* INPUT_BYTES */
    uint64_t position;
    bool is_document;
    bool at_end;
    size_t block_bytes;
    struct ndjson_splitter splitter;
};

enum status import_source_open(const char *path, struct import_source **ret_source, struct error *error)
{
    int fd =
        strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", path);
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    struct import_source *source = mem_new(struct import_source);
    source->path = mem_strdup(path);
    source->fd = fd;
    source->input = mem_alloc_pages(INPUT_BYTES);
    source->inflater.next_in = source->input;
    CHECK(inflateInit2(&source->inflater, MAX_WBITS + 16) == Z_OK); /* + 16: gzip's header and trailer */
    source->is_document = is_json_document(path);
    source->block_bytes = FIRST_BLOCK_BYTES;
    ndjson_splitter_init(&source->splitter, RESOURCE_BYTES_MAX);
    *ret_source = source;
    return STATUS_OK;
}

void import_source_close(struct import_source *source)
{
    if (!source)
        return;
    inflateEnd(&source->inflater);
    close(source->fd);
    ndjson_splitter_release(&source->splitter);
    mem_free(source->input);
    mem_free(source->path);
    mem_free(source);
}

uint64_t import_source_position(const struct import_source *source)
{
    return source->position;
}

size_t import_source_block_bytes(const struct import_source *source)
{
    return source->is_document ? 0 : source->block_bytes;
}

/* *ret_got 0: the file's end. */
static enum status file_read(struct import_source *source, void *target, size_t bytes_max, size_t *ret_got,
                             struct error *error)
{
    ssize_t got;
    do
        got = read(source->fd, target, bytes_max);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return error_set_errno(error, "%s: cannot be read", source->path);
    source->position += (uint64_t)got;
    *ret_got = (size_t)got;
    return STATUS_OK;
}

/* Reads until at least `wanted` bytes of input wait, or the file ends. */
static enum status input_fill(struct import_source *source, size_t wanted, struct error *error)
{
    z_stream *in = &source->inflater;
    size_t got = 1;
    while (got && in->avail_in < wanted) {
        memmove(source->input, in->next_in, in->avail_in);
        in->next_in = source->input;
        enum status status =
            file_read(source, source->input + in->avail_in, INPUT_BYTES - in->avail_in, &got, error);
        if (status != STATUS_OK)
            return status;
        in->avail_in += (uInt)got;
    }
    return STATUS_OK;
}

#define ZIP_MARK "PK\3\4"

static bool input_is_zip(const struct import_source *source)
{
    const z_stream *in = &source->inflater;
    return in->avail_in >= sizeof ZIP_MARK - 1 && memcmp(in->next_in, ZIP_MARK, sizeof ZIP_MARK - 1) == 0;
}

static bool input_is_gzip(const struct import_source *source)
{
    const z_stream *in = &source->inflater;
    return in->avail_in >= 2 && in->next_in[0] == 0x1f && in->next_in[1] == 0x8b; /* RFC 1952 section 2.3.1 */
}

/* By what stands in the file, whatever its name. */
static enum status source_find_format(struct import_source *source, struct error *error)
{
    enum status status = input_fill(source, sizeof ZIP_MARK - 1, error);
    if (status != STATUS_OK)
        return status;
    if (input_is_zip(source))
        return error_set(error, STATUS_INVALID, "%s: is a zip archive: unpack it, and import what is in it",
                         source->path);
    source->format = input_is_gzip(source) ? SOURCE_FORMAT_GZIP : SOURCE_FORMAT_PLAIN;
    /* Of an upload that failed at its begin. */
    if (source->inflater.avail_in == 0 && ends_with(source->path, ".gz"))
        return error_set(error, STATUS_INVALID, "%s: is empty, and so no gzip file", source->path);
    return STATUS_OK;
}

static enum status read_plain(struct import_source *source, char *target, size_t bytes_max, size_t *ret_got,
                              struct error *error)
{
    z_stream *in = &source->inflater;
    if (in->avail_in == 0)
        return file_read(source, target, bytes_max, ret_got, error);
    *ret_got = in->avail_in < bytes_max ? in->avail_in : bytes_max;
    memcpy(target, in->next_in, *ret_got);
    in->next_in += *ret_got;
    in->avail_in -= (uInt)*ret_got;
    return STATUS_OK;
}

/* Begins the next member; *ret_begun false at the end of the file. */
static enum status gzip_begin_member(struct import_source *source, bool *ret_begun, struct error *error)
{
    z_stream *in = &source->inflater;
    enum status status = input_fill(source, 2, error);
    *ret_begun = status == STATUS_OK && in->avail_in > 0;
    if (!*ret_begun)
        return status;
    /* gunzip passes over it with a warning, zlib's gzread without; it may be the better part of a load. */
    if (!input_is_gzip(source))
        return error_set(error, STATUS_INVALID, "%s: what follows the end of the gzip data is no gzip data",
                         source->path);
    CHECK(inflateReset(in) == Z_OK);
    source->in_member = true;
    return STATUS_OK;
}

static enum status read_gzip(struct import_source *source, char *target, size_t bytes_max, size_t *ret_got,
                             struct error *error)
{
    z_stream *in = &source->inflater;
    in->next_out = (uint8_t *)target;
    in->avail_out = (uInt)bytes_max;
    while (in->avail_out == bytes_max) {
        bool begun = true;
        enum status status =
            source->in_member ? input_fill(source, 1, error) : gzip_begin_member(source, &begun, error);
        if (status != STATUS_OK)
            return status;
        if (!begun)
            break;
        if (in->avail_in == 0)
            return error_set(error, STATUS_INVALID, "%s: the gzip file is cut short", source->path);
        int code = inflate(in, Z_NO_FLUSH);
        if (code != Z_OK && code != Z_STREAM_END)
            return error_set(error, STATUS_INVALID, "%s: the gzip file is damaged: %s", source->path,
                             in->msg ? in->msg : zError(code));
        source->in_member = code != Z_STREAM_END;
    }
    *ret_got = bytes_max - in->avail_out;
    return STATUS_OK;
}

/* Appends up to bytes_max bytes: fewer only at the end, or before what is wrong. */
static enum status source_read(struct import_source *source, struct buffer *target, size_t bytes_max,
                               struct error *error)
{
    enum status status = STATUS_OK;
    if (source->format == SOURCE_FORMAT_UNKNOWN)
        status = source_find_format(source, error);
    char *at = buffer_reserve_pages(target, bytes_max);
    size_t left = bytes_max, got = 1;
    while (status == STATUS_OK && left && got) {
        got = 0;
        status = source->format == SOURCE_FORMAT_GZIP ? read_gzip(source, at, left, &got, error)
                                                      : read_plain(source, at, left, &got, error);
        at += got;
        left -= got;
    }
    target->size += bytes_max - left;
    source->at_end = left > 0;
    return status;
}

static enum status take_line(void *context, uint64_t number, struct slice line, bool too_long,
                             struct error *error)
{
    (void)error;
    block_add(context, number, line, too_long);
    return STATUS_OK;
}

/* Any document but a Bundle is one resource. */
static enum status source_document(struct import_source *source, struct import_block *block,
                                   struct error *error)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK && !source->at_end) {
        status = source_read(source, &block->text, IMPORT_BLOCK_BYTES, error);
        if (status == STATUS_OK && block->text.size > JSON_DOCUMENT_BYTES_MAX)
            status = error_set(error, STATUS_TOO_LARGE, "%s: over %zu bytes; give large loads as NDJSON",
                               source->path, JSON_DOCUMENT_BYTES_MAX);
    }
    if (status != STATUS_OK)
        return status;
    struct slice document = ndjson_skip_mark(buffer_slice(&block->text));
    struct bundle bundle;
    bundle_init(&bundle);
    status = bundle_read(&bundle, document, error);
    if (status != STATUS_OK)
        error_prefix(error, "%s", source->path);
    else if (!bundle.is_bundle)
        block_add(block, 1, document, document.size > RESOURCE_BYTES_MAX);
    for (size_t i = 0; i < bundle_count(&bundle); i++)
        block_add_entry(block, bundle_entry_at(&bundle, i));
    bundle_release(&bundle);
    return status;
}

enum status import_source_next(struct import_source *source, struct import_block *block, struct error *error)
{
    if (source->at_end)
        return STATUS_NOT_FOUND;
    if (source->is_document)
        return source_document(source, block, error);
    enum status read_status = source_read(source, &block->text, source->block_bytes, error);
    if (source->block_bytes < IMPORT_BLOCK_BYTES)
        source->block_bytes *= 2;
    enum status status =
        ndjson_splitter_feed(&source->splitter, buffer_slice(&block->text), take_line, block, error);
    if (status == STATUS_OK && source->at_end && read_status == STATUS_OK)
        status = ndjson_splitter_end(&source->splitter, take_line, block, error);
    return read_status != STATUS_OK ? read_status : status;
}
