/*
 * Reading files for bodies, without blocking a reactor: what is in the page cache is read at once (preadv2
 * with RWF_NOWAIT), the rest by an I/O worker.
 *
 * A window is a stretch of a file in memory. A reader belongs to one body and has at most one read on its
 * way.
 *
 * Threading: the body's thread; while `busy` the windows belong to the I/O worker.
 */
#ifndef SERVER_FILE_WINDOW_H
#define SERVER_FILE_WINDOW_H

#include "codec/base/buffer.h"
#include "server/io_workers.h"

#include <stdint.h>

/* Deflate grows what it cannot compress by five bytes a block of 64 KB at most; twice is more than enough. */
#define PIECE_BYTES_MAX (2 * SEGMENT_RAW_MAX)

struct file_window {
    int fd;
    uint64_t file_bytes; /* nothing is read beyond */
    uint64_t offset;     /* in the file, of data[0] */
    struct buffer data;
};

enum file_fill {
    FILE_FILL_OK,
    FILE_FILL_WAIT, /* the task is on its way */
    FILE_FILL_FAIL
};

struct file_reader {
    struct io_workers *io;
    struct io_task task; /* reply_to and dropped are the owner's */
    void (*finished)(struct io_task *task);
    bool busy;          /* the task is with an I/O worker */
    enum status status; /* of the last task; the owner's own tasks set it too */
    bool always_hops;   /* the file system knows no RWF_NOWAIT */
    struct file_window *wanted;
    uint64_t wanted_offset;
    size_t wanted_bytes;
};

/* Makes [offset, offset + bytes) be in the window, or sends a worker for it; then `finished` is called. At
 * least `bytes` and at most `bytes_max` are read, both within file_bytes. */
enum file_fill file_reader_fill(struct file_reader *reader, struct file_window *window, uint64_t offset,
                                size_t bytes, size_t bytes_max);

/* Inflates the piece at `offset`, which the window holds, into raw_bytes at `target`. False: it is not right.
 */
struct inflater;
bool file_window_inflate(struct file_window *window, uint64_t offset, size_t piece_bytes,
                         struct inflater *inflater, size_t raw_bytes, char *target);

#endif
