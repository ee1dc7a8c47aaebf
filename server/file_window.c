#include "server/file_window.h"

#include "codec/base/check.h"
#include "codec/base/failpoint.h"
#include "codec/deflate.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/uio.h>

#define READAHEAD_BYTES    ((size_t)4 * 1024 * 1024) /* that an I/O worker brings into the page cache */
#define INDEX_WINDOW_BYTES ((size_t)ENCODER_INDEX_ENTRY_SIZE * 1024)
/* Deflate grows what it cannot compress by five bytes a block of 64 KB at most; twice is more than enough. */
#define PIECE_BYTES_MAX (2 * SEGMENT_RAW_MAX)

/* Reads into the window until it holds `bytes` from `offset` on. What is there already is kept. */
static enum file_fill window_read(struct file_window *window, uint64_t offset, size_t bytes, int flags)
{
    if (offset < window->offset || offset > window->offset + window->data.size) {
        buffer_reset(&window->data);
        window->offset = offset;
    } else if (offset > window->offset) {
        size_t passed = (size_t)(offset - window->offset);
        memmove(window->data.data, window->data.data + passed, window->data.size - passed);
        window->data.size -= passed;
        window->offset = offset;
    }
    while (window->data.size < bytes) {
        struct iovec room = {buffer_reserve_pages(&window->data, bytes - window->data.size),
                             bytes - window->data.size};
        ssize_t got = -1;
        if (!failpoint_hit("download.read"))
            got = preadv2(window->fd, &room, 1, (off_t)(window->offset + window->data.size), flags);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN || errno == EOPNOTSUPP ? FILE_FILL_WAIT : FILE_FILL_FAIL;
        if (got == 0)
            return FILE_FILL_FAIL; /* shorter than it was */
        window->data.size += (size_t)got;
    }
    return FILE_FILL_OK;
}

static bool window_holds(const struct file_window *window, uint64_t offset, size_t bytes)
{
    return offset >= window->offset && offset + bytes <= window->offset + window->data.size;
}

static void task_read(struct io_task *task)
{
    struct file_reader *reader = (struct file_reader *)((char *)task - offsetof(struct file_reader, task));
    struct file_window *window = reader->wanted;
    (void)readahead(window->fd, (off_t)reader->wanted_offset, READAHEAD_BYTES);
    reader->status = window_read(window, reader->wanted_offset, reader->wanted_bytes, 0) == FILE_FILL_OK
                         ? STATUS_OK
                         : STATUS_IO;
}

enum file_fill file_reader_fill(struct file_reader *reader, struct file_window *window, uint64_t offset,
                                size_t bytes, size_t bytes_max)
{
    CHECK(!reader->busy);
    if (window_holds(window, offset, bytes))
        return FILE_FILL_OK;
    if (reader->status != STATUS_OK || offset > window->file_bytes || bytes > window->file_bytes - offset)
        return FILE_FILL_FAIL;
    if (bytes_max > window->file_bytes - offset)
        bytes_max = (size_t)(window->file_bytes - offset);
    if (bytes > bytes_max)
        bytes_max = bytes;
    enum file_fill result = FILE_FILL_WAIT;
    if (!reader->always_hops)
        result = window_read(window, offset, bytes_max, RWF_NOWAIT);
    if (result == FILE_FILL_WAIT && window_holds(window, offset, bytes))
        return FILE_FILL_OK; /* part of it was in memory */
    if (result != FILE_FILL_WAIT)
        return result;
    if (!reader->always_hops && errno == EOPNOTSUPP)
        reader->always_hops = true;
    reader->wanted = window;
    reader->wanted_offset = offset;
    reader->wanted_bytes = bytes_max;
    reader->task.run = task_read;
    reader->task.finished = reader->finished;
    reader->busy = true;
    io_workers_submit(reader->io, &reader->task);
    return FILE_FILL_WAIT;
}

/* ---- cursors ---- */

enum file_fill file_cursor_take(struct file_cursor *cursor, struct file_reader *reader, size_t bytes_max,
                                struct slice *ret_chunk)
{
    struct file_window *file = &cursor->file;
    enum file_fill result = file_reader_fill(reader, file, cursor->at, 1, FILE_BODY_WINDOW_BYTES);
    if (result != FILE_FILL_OK)
        return result;
    size_t skip = (size_t)(cursor->at - file->offset);
    size_t size = file->data.size - skip;
    if (size > bytes_max)
        size = bytes_max;
    *ret_chunk = slice_make(file->data.data + skip, size);
    cursor->at += size;
    return FILE_FILL_OK;
}

enum file_fill file_cursor_peek(struct file_cursor *cursor, struct file_reader *reader,
                                struct encoder_index_entry *ret_entry)
{
    enum file_fill result = file_reader_fill(reader, &cursor->index, cursor->index_at,
                                             ENCODER_INDEX_ENTRY_SIZE, INDEX_WINDOW_BYTES);
    if (result != FILE_FILL_OK)
        return result;
    encoder_index_entry_load(cursor->index.data.data + (cursor->index_at - cursor->index.offset), ret_entry);
    bool fits = ret_entry->gzip_offset == cursor->at && ret_entry->raw_offset == cursor->raw_at &&
                ret_entry->raw_bytes > 0 && ret_entry->raw_bytes <= SEGMENT_RAW_MAX &&
                ret_entry->piece_bytes <= PIECE_BYTES_MAX && cursor->at <= cursor->file.file_bytes &&
                ret_entry->piece_bytes <= cursor->file.file_bytes - cursor->at;
    return fits ? FILE_FILL_OK : FILE_FILL_FAIL;
}

/* DEFLATE_END is put behind the piece for a moment, over what stands there or into unused room. */
static bool inflate_piece(struct file_cursor *cursor, const struct encoder_index_entry *entry, char *target)
{
    struct file_window *file = &cursor->file;
    size_t piece_bytes = entry->piece_bytes;
    char kept[DEFLATE_END_SIZE];
    if (!window_holds(file, cursor->at, piece_bytes + DEFLATE_END_SIZE))
        buffer_reserve_pages(&file->data, DEFLATE_END_SIZE);
    char *piece = file->data.data + (cursor->at - file->offset), *behind = piece + piece_bytes;
    memcpy(kept, behind, DEFLATE_END_SIZE);
    memcpy(behind, DEFLATE_END, DEFLATE_END_SIZE);
    enum status status =
        inflater_piece(cursor->inflater, slice_make(piece, piece_bytes), entry->raw_bytes, target, NULL);
    memcpy(behind, kept, DEFLATE_END_SIZE);
    return status == STATUS_OK;
}

enum file_fill file_cursor_inflate(struct file_cursor *cursor, struct file_reader *reader,
                                   const struct encoder_index_entry *entry, struct buffer *raw)
{
    /* With what stands behind the piece, or inflating would make the window grow. */
    uint64_t behind = cursor->file.file_bytes - cursor->at - entry->piece_bytes;
    size_t bytes = entry->piece_bytes + (behind < DEFLATE_END_SIZE ? (size_t)behind : DEFLATE_END_SIZE);
    enum file_fill result =
        file_reader_fill(reader, &cursor->file, cursor->at, bytes, FILE_BODY_WINDOW_BYTES);
    if (result != FILE_FILL_OK)
        return result;
    char *target = buffer_reserve(raw, entry->raw_bytes);
    if (!inflate_piece(cursor, entry, target))
        return FILE_FILL_FAIL;
    cursor->crc = crc32_of(cursor->crc, slice_make(target, entry->raw_bytes));
    raw->size += entry->raw_bytes;
    cursor->raw_at += entry->raw_bytes;
    cursor->at += entry->piece_bytes;
    cursor->index_at += ENCODER_INDEX_ENTRY_SIZE;
    return FILE_FILL_OK;
}

enum file_fill file_cursor_check_trailer(struct file_cursor *cursor, struct file_reader *reader)
{
    if (cursor->at + GZIP_TRAILER_SIZE != cursor->file.file_bytes)
        return FILE_FILL_FAIL;
    enum file_fill result =
        file_reader_fill(reader, &cursor->file, cursor->at, GZIP_TRAILER_SIZE, GZIP_TRAILER_SIZE);
    if (result != FILE_FILL_OK)
        return result;
    const char *trailer = cursor->file.data.data + (cursor->at - cursor->file.offset);
    return gzip_trailer_is(trailer, cursor->crc, cursor->raw_at) ? FILE_FILL_OK : FILE_FILL_FAIL;
}
