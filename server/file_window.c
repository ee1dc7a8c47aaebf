#include "server/file_window.h"

#include "codec/base/check.h"
#include "codec/base/failpoint.h"
#include "codec/deflate.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/uio.h>

#define READAHEAD_BYTES ((size_t)4 * 1024 * 1024) /* that an I/O worker brings into the page cache */

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
        struct iovec room = {buffer_reserve(&window->data, bytes - window->data.size),
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

bool file_window_inflate(struct file_window *window, uint64_t offset, size_t piece_bytes,
                         struct inflater *inflater, size_t raw_bytes, char *target)
{
    char kept[DEFLATE_END_SIZE];
    CHECK(window_holds(window, offset, piece_bytes));
    /* DEFLATE_END is put behind the piece for a moment, over what stands there or into unused room. */
    if (!window_holds(window, offset, piece_bytes + DEFLATE_END_SIZE))
        buffer_reserve(&window->data, DEFLATE_END_SIZE);
    char *piece = window->data.data + (offset - window->offset), *behind = piece + piece_bytes;
    memcpy(kept, behind, DEFLATE_END_SIZE);
    memcpy(behind, DEFLATE_END, DEFLATE_END_SIZE);
    enum status status = inflater_piece(inflater, slice_make(piece, piece_bytes), raw_bytes, target, NULL);
    memcpy(behind, kept, DEFLATE_END_SIZE);
    return status == STATUS_OK;
}
