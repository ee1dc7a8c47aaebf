#include "server/file_body.h"

#include "codec/base/check.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "server/field_list.h"
#include "server/file_window.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct file_body {
    struct body_source source; /* first member */
    struct file_reader reader;
    struct file_body_options options;
    char *path;
    struct error error;
    bool waiting; /* the last answer was BODY_PULL_WAIT */
    bool closed;  /* while it was busy: free when it is back */

    struct byte_range ranges[RANGES_MAX]; /* of the coding's bytes */
    size_t range_count;
    size_t range_at;   /* the range that is handed out */
    uint64_t given;    /* bytes of it that were handed out */
    size_t text_given; /* bytes of the text before it that were handed out */
    bool is_placed;    /* the cursor stands at the range's begin */

    struct file_cursor cursor; /* of gzip only `file` and `at`: the next byte to hand out */

    /* Identity */
    struct buffer raw; /* inflated, handed out up to raw_given */
    size_t raw_given;
    bool raw_is_ready; /* nothing that has to be checked first stands between it and the client */
    size_t raw_skip;   /* bytes of the next piece that lie before the range */
};

static void body_free(struct file_body *body)
{
    if (body->cursor.file.fd >= 0)
        close(body->cursor.file.fd);
    buffer_release(&body->cursor.file.data);
    buffer_release(&body->cursor.index.data);
    buffer_release(&body->raw);
    inflater_free(body->cursor.inflater);
    mem_free(body->path);
    mem_free(body);
}

static struct file_body *body_of_task(struct io_task *task)
{
    return (struct file_body *)((char *)task - offsetof(struct file_body, reader.task));
}

/* The task is back. */
static void finished_task(struct io_task *task)
{
    struct file_body *body = body_of_task(task);
    body->reader.busy = false;
    if (body->closed)
        body_free(body);
    else if (body->waiting)
        body->options.ready(body->options.context);
}

/* ---- gzip: the bytes as they are ---- */

static enum body_pull pull_gzip(struct file_body *body, size_t bytes_max, struct slice *ret_chunk)
{
    if (body->reader.busy)
        return BODY_PULL_WAIT;
    switch (file_cursor_take(&body->cursor, &body->reader, bytes_max, ret_chunk)) {
    case FILE_FILL_OK:
        return BODY_PULL_MORE;
    case FILE_FILL_WAIT:
        return BODY_PULL_WAIT;
    case FILE_FILL_FAIL:
        break;
    }
    return BODY_PULL_FAIL;
}

/* ---- identity ---- */

static const struct byte_range *range_now(const struct file_body *body)
{
    return &body->ranges[body->range_at];
}

static bool range_is_whole(const struct file_body *body)
{
    return range_now(body)->begin == 0 && range_now(body)->end == body->options.raw_bytes;
}

/* Inflates until a window's worth is there, or the range's end. The last piece of all is only given out once
 * it is known that all of them were right. */
static enum file_fill fill_raw(struct file_body *body)
{
    while (body->cursor.raw_at < range_now(body)->end) {
        struct encoder_index_entry entry;
        enum file_fill result = file_cursor_peek(&body->cursor, &body->reader, &entry);
        if (result == FILE_FILL_OK && entry.raw_bytes > body->options.raw_bytes - body->cursor.raw_at)
            return FILE_FILL_FAIL;
        if (result == FILE_FILL_OK && body->raw.size &&
            body->raw.size + entry.raw_bytes > FILE_BODY_WINDOW_BYTES)
            return FILE_FILL_OK;
        if (result == FILE_FILL_OK)
            result = file_cursor_inflate(&body->cursor, &body->reader, &entry, &body->raw);
        if (result == FILE_FILL_WAIT && body->raw.size)
            return FILE_FILL_OK; /* what is there goes out meanwhile */
        if (result != FILE_FILL_OK)
            return result;
    }
    if (!range_is_whole(body))
        return FILE_FILL_OK;
    return file_cursor_check_trailer(&body->cursor, &body->reader);
}

static enum body_pull pull_identity(struct file_body *body, size_t bytes_max, struct slice *ret_chunk)
{
    if (!body->raw_is_ready) {
        if (body->reader.busy)
            return BODY_PULL_WAIT;
        if (body->raw_given == body->raw.size) { /* else it waits for the trailer's check */
            buffer_reset(&body->raw);
            body->raw_given = 0;
        }
        enum file_fill result = fill_raw(body);
        if (result != FILE_FILL_OK)
            return result == FILE_FILL_WAIT ? BODY_PULL_WAIT : BODY_PULL_FAIL;
        body->raw_is_ready = true;
        body->raw_given = body->raw_skip;
        body->raw_skip = 0;
    }
    size_t size = body->raw.size - body->raw_given;
    if (size > bytes_max)
        size = bytes_max;
    *ret_chunk = slice_make(body->raw.data + body->raw_given, size);
    body->raw_given += size;
    body->raw_is_ready = body->raw_given < body->raw.size;
    return BODY_PULL_MORE;
}

/* ---- ranges ---- */

static uint64_t index_place(const struct file_body *body, uint64_t number)
{
    return body->options.gzip_bytes + number * ENCODER_INDEX_ENTRY_SIZE;
}

static bool index_read(struct file_body *body, uint64_t number, struct encoder_index_entry *ret_entry)
{
    char bytes[ENCODER_INDEX_ENTRY_SIZE];
    ssize_t got;
    do {
        got = pread(body->cursor.index.fd, bytes, sizeof bytes, (off_t)index_place(body, number));
    } while (got < 0 && errno == EINTR);
    if (got != sizeof bytes)
        return false;
    encoder_index_entry_load(bytes, ret_entry);
    return true;
}

/* Stands at the piece that holds the range's first byte: a search in the index, on an I/O worker. */
static bool place_identity(struct file_body *body)
{
    struct encoder_index_entry entry;
    uint64_t index_bytes = body->cursor.index.file_bytes - body->options.gzip_bytes;
    uint64_t low = 0, high = index_bytes / ENCODER_INDEX_ENTRY_SIZE; /* it is in [low, high) */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (!index_read(body, middle, &entry))
            return false;
        *(entry.raw_offset <= range_now(body)->begin ? &low : &high) = middle;
    }
    if (high == 0 || !index_read(body, low, &entry) || entry.raw_offset > range_now(body)->begin ||
        range_now(body)->begin - entry.raw_offset >= entry.raw_bytes)
        return false;
    body->cursor.index_at = index_place(body, low);
    body->cursor.at = entry.gzip_offset;
    body->cursor.raw_at = entry.raw_offset;
    body->raw_skip = (size_t)(range_now(body)->begin - entry.raw_offset);
    body->is_placed = true;
    return true;
}

static void task_place(struct io_task *task)
{
    struct file_body *body = body_of_task(task);
    body->reader.status = place_identity(body) ? STATUS_OK : STATUS_IO;
}

/* Goes to the begin of the range that comes next. False: a worker does it. */
static bool range_place(struct file_body *body)
{
    buffer_reset(&body->raw);
    body->raw_given = 0;
    body->raw_is_ready = false;
    body->cursor.crc = 0;
    if (body->options.coding == FILE_CODING_GZIP) {
        body->cursor.at = range_now(body)->begin;
        body->is_placed = true;
        return true;
    }
    body->reader.task.run = task_place;
    body->reader.task.finished = finished_task;
    body->reader.busy = true;
    io_workers_submit(body->options.io, &body->reader.task);
    return false;
}

/* The text that stands before a range, or behind the last one. False: all of it was given. */
static bool pull_text(struct file_body *body, size_t bytes_max, struct slice *ret_chunk)
{
    if (!body->options.texts)
        return false;
    struct slice rest = slice_skip(body->options.texts[body->range_at], body->text_given);
    if (!rest.size)
        return false;
    if (rest.size > bytes_max)
        rest.size = bytes_max;
    body->text_given += rest.size;
    *ret_chunk = rest;
    return true;
}

static bool body_is_at_end(const struct file_body *body)
{
    return body->range_at == body->range_count &&
           (!body->options.texts || body->text_given == body->options.texts[body->range_at].size);
}

static enum body_pull pull_range(struct file_body *body, size_t bytes_max, struct slice *ret_chunk)
{
    if (body->reader.busy && !body->is_placed)
        return BODY_PULL_WAIT;
    if (!body->reader.busy && body->reader.status != STATUS_OK)
        return BODY_PULL_FAIL;
    if (!body->is_placed && !range_place(body))
        return BODY_PULL_WAIT;
    uint64_t left = range_now(body)->end - range_now(body)->begin - body->given;
    if (bytes_max > left)
        bytes_max = (size_t)left;
    enum body_pull result = body->options.coding == FILE_CODING_IDENTITY
                                ? pull_identity(body, bytes_max, ret_chunk)
                                : pull_gzip(body, bytes_max, ret_chunk);
    if (result != BODY_PULL_MORE)
        return result;
    body->given += ret_chunk->size;
    if (ret_chunk->size == left) {
        body->range_at++;
        body->given = 0;
        body->text_given = 0;
        body->is_placed = false;
    }
    return BODY_PULL_MORE;
}

/* ---- opening and closing ---- */

static enum body_pull body_pull(struct body_source *source, size_t bytes_max, struct slice *ret_chunk)
{
    struct file_body *body = (struct file_body *)source; /* its first member */
    *ret_chunk = (struct slice){NULL, 0};
    enum body_pull result = BODY_PULL_MORE;
    if (!pull_text(body, bytes_max, ret_chunk) && body->range_at < body->range_count)
        result = pull_range(body, bytes_max, ret_chunk);
    if (result == BODY_PULL_MORE && body_is_at_end(body))
        result = BODY_PULL_END;
    body->waiting = result == BODY_PULL_WAIT;
    return result;
}

/* The last piece of the index ends where the trailer begins. */
static bool index_ends_right(struct file_body *body, uint64_t entries)
{
    struct encoder_index_entry last;
    return index_read(body, entries - 1, &last) &&
           last.gzip_offset + last.piece_bytes + GZIP_TRAILER_SIZE == body->options.gzip_bytes;
}

/* File and index are windows on the same file. */
static enum status open_both(struct file_body *body, struct error *error)
{
    const char *path = body->path;
    uint64_t gzip_bytes = body->options.gzip_bytes;
    struct stat stat;
    int fd = -1;
    if (failpoint_hit("download.open") || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0) {
        if (errno == ENOENT)
            return error_set(error, STATUS_NOT_FOUND, "%s is not there", path);
        return error_set_errno(error, "%s: cannot open", path);
    }
    body->cursor.file.fd = body->cursor.index.fd = fd;
    if (fstat(fd, &stat) != 0)
        return error_set_errno(error, "%s: cannot look at it", path);
    uint64_t bytes = (uint64_t)stat.st_size;
    if (bytes <= gzip_bytes || (bytes - gzip_bytes) % ENCODER_INDEX_ENTRY_SIZE ||
        !index_ends_right(body, (bytes - gzip_bytes) / ENCODER_INDEX_ENTRY_SIZE))
        return error_set(error, STATUS_CORRUPT, "%s has another size than when it was written", path);
    body->cursor.file.file_bytes = gzip_bytes;
    body->cursor.index.file_bytes = bytes;
    return STATUS_OK;
}

static void task_open(struct io_task *task)
{
    struct file_body *body = body_of_task(task);
    struct error *error = &body->error;
    enum status status = open_both(body, error);
    if (status == STATUS_OK && body->options.coding == FILE_CODING_IDENTITY && !place_identity(body))
        status = error_set(error, STATUS_CORRUPT, "%s has an index that does not fit it", body->path);
    body->reader.status = status;
}

static void finished_open(struct io_task *task)
{
    struct file_body *body = body_of_task(task);
    body->reader.busy = false;
    body->options.opened(body->options.context, body, body->reader.status, &body->error);
}

static void dropped(struct io_task *task)
{
    body_free(body_of_task(task));
}

static void body_close(struct body_source *source)
{
    struct file_body *body = (struct file_body *)source;
    if (!body->reader.busy)
        body_free(body);
    else if (!io_workers_abandon(body->options.io, &body->reader.task))
        body->closed = true; /* its message is already there and frees it */
}

struct file_body *file_body_open(const struct file_body_options *options)
{
    bool identity = options->coding == FILE_CODING_IDENTITY;
    struct file_body *body = mem_new(struct file_body);
    body->source.pull = body_pull;
    body->source.close = body_close;
    body->options = *options;
    body->path = mem_strdup(options->path);
    body->cursor.file.fd = -1;
    body->cursor.index.fd = -1;
    if (identity)
        body->cursor.inflater = inflater_new();
    body->ranges[0] = (struct byte_range){0, identity ? options->raw_bytes : options->gzip_bytes};
    body->range_count = 1;
    CHECK(options->range_count <= RANGES_MAX);
    if (options->range_count) {
        memcpy(body->ranges, options->ranges, options->range_count * sizeof *options->ranges);
        body->range_count = options->range_count;
    }
    body->reader.io = options->io;
    body->reader.finished = finished_task;
    body->reader.task.run = task_open;
    body->reader.task.finished = finished_open;
    body->reader.task.dropped = dropped;
    body->reader.task.reply_to = options->reply_to;
    body->reader.busy = true;
    io_workers_submit(options->io, &body->reader.task);
    return body;
}

struct body_source *file_body_source(struct file_body *body)
{
    return &body->source;
}

/* ---- negotiation ---- */

bool file_coding_choose(const struct slice *accept_encoding, enum file_coding *ret_coding)
{
    enum { GZIP, IDENTITY, ANY, CODINGS };
    bool named[CODINGS] = {false};
    unsigned quality_of[CODINGS] = {0}, quality;
    struct slice rest = accept_encoding ? *accept_encoding : (struct slice){NULL, 0};
    for (struct field_item item; field_list_next(&rest, &item);) {
        int coding = field_equal(item.value, "gzip") || field_equal(item.value, "x-gzip") ? GZIP
                     : field_equal(item.value, "identity")                                ? IDENTITY
                     : field_equal(item.value, "*")                                       ? ANY
                                                                                          : CODINGS;
        if (coding == CODINGS || !field_item_quality(&item, &quality))
            continue;
        if (!named[coding] || quality > quality_of[coding])
            quality_of[coding] = quality;
        named[coding] = true;
    }
    unsigned gzip = named[GZIP] ? quality_of[GZIP] : quality_of[ANY];
    /* Identity is acceptable unless it is excluded, but nobody's first choice unless it is named. */
    bool identity_is_named = named[IDENTITY] || named[ANY];
    unsigned identity = named[IDENTITY] ? quality_of[IDENTITY] : quality_of[ANY];
    if (identity_is_named && identity == 0 && gzip == 0)
        return false;
    *ret_coding =
        gzip > 0 && (!identity_is_named || gzip >= identity) ? FILE_CODING_GZIP : FILE_CODING_IDENTITY;
    return true;
}
