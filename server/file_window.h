/*
 * Reading files for bodies, without blocking a reactor: what is in the page cache is read at once (preadv2
 * with RWF_NOWAIT), the rest by an I/O worker.
 *
 * A window is a stretch of a file in memory. A reader belongs to one body and has at most one read on its
 * way. A cursor goes through an export's file, piece by piece along its index.
 *
 * Threading: the body's thread; while `busy` the windows belong to the I/O worker.
 */
#ifndef SERVER_FILE_WINDOW_H
#define SERVER_FILE_WINDOW_H

#include "codec/base/buffer.h"
#include "codec/encoder.h"
#include "server/io_workers.h"

#include <stdint.h>

#define FILE_BODY_WINDOW_BYTES ((size_t)256 * 1024)

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

/* A place in a file, and for identity bytes in its index: the piece that comes next. The windows' data and
 * the inflater are the owner's to release. */
struct file_cursor {
    struct file_window file;
    uint64_t at; /* the next byte of the file */
    struct file_window index;
    uint64_t index_at; /* the piece's entry */
    uint64_t raw_at;   /* its bytes, in the identity bytes */
    uint32_t crc;      /* of all that was inflated */
    struct inflater *inflater;
};

/* The next bytes of the file as they are, one to bytes_max of them; they stay until the next call. */
enum file_fill file_cursor_take(struct file_cursor *cursor, struct file_reader *reader, size_t bytes_max,
                                struct slice *ret_chunk);
/* The piece's entry, if it fits what comes before it. */
enum file_fill file_cursor_peek(struct file_cursor *cursor, struct file_reader *reader,
                                struct encoder_index_entry *ret_entry);
/* Inflates it, appends it to `raw` and goes on to the next. Nothing is done unless OK. */
enum file_fill file_cursor_inflate(struct file_cursor *cursor, struct file_reader *reader,
                                   const struct encoder_index_entry *entry, struct buffer *raw);
/* Behind the last piece: does the file end here, and with a trailer that agrees with all of them? */
enum file_fill file_cursor_check_trailer(struct file_cursor *cursor, struct file_reader *reader);

#endif
