/*
 * Bodies out of finished export files: the stored gzip bytes as they are, or the identity bytes, inflated
 * piece by piece along the index that stands behind the gzip bytes.
 *
 * Neither blocks the reactor: bytes that are in the page cache are read at once (preadv2 with RWF_NOWAIT),
 * others by an I/O worker while the body says BODY_PULL_WAIT. Memory is one window a body, and only while it
 * is being sent. Reading (rather than mapping) means that a bad sector or a truncated file is an error,
 * never a SIGBUS.
 *
 * A body gives the whole, or some ranges of it, one after another. A range of the identity bytes begins at
 * the piece that holds its first byte, found in the index: its cost does not depend on where it lies.
 *
 * When all identity bytes are asked for they are checked against the gzip trailer's CRC and length before the
 * last of them is handed out: a body that is not right never looks complete.
 *
 * A body opened on a file outlives the file's deletion.
 *
 * Threading: a body belongs to its reactor's thread.
 */
#ifndef SERVER_FILE_BODY_H
#define SERVER_FILE_BODY_H

#include "server/exchange.h"
#include "server/io_workers.h"
#include "server/precondition.h"

enum file_coding { FILE_CODING_GZIP, FILE_CODING_IDENTITY };

struct file_body;

struct file_body_options {
    struct io_workers *io;
    struct mailbox *reply_to; /* of the reactor */
    enum file_coding coding;
    const char *path;    /* copied */
    uint64_t gzip_bytes; /* what the file must have before its index */
    uint64_t raw_bytes;
    const struct byte_range *ranges; /* of the coding's bytes, each not empty; copied */
    size_t range_count;              /* 0: the whole */
    /* What stands before each range and behind the last one: range_count + 1 texts, or NULL. Borrowed until
     * the body is closed. */
    const struct slice *texts;
    void *context; /* of both */
    /* The file was opened, or not: STATUS_NOT_FOUND if it is not there, STATUS_CORRUPT if its size is wrong.
     * On OK take file_body_source; in every case the body is closed through it. */
    void (*opened)(void *context, struct file_body *body, enum status status, const struct error *error);
    /* Bytes have come after a BODY_PULL_WAIT: exchange_resume. */
    void (*ready)(void *context);
};

/* Opens on an I/O worker. `opened` is called later, on the thread that owns reply_to. */
struct file_body *file_body_open(const struct file_body_options *options);
struct body_source *file_body_source(struct file_body *body);

/* Which coding to serve (RFC 9110 section 12.5.3), without the field: identity. False: none is acceptable. */
bool file_coding_choose(const struct slice *accept_encoding, enum file_coding *ret_coding);

#endif
