/*
 * A body that follows a file while it is written (server/export_feed.h): the gzip bytes as they stand, or the
 * identity bytes, inflated piece by piece. It ends when the file is complete, and fails when it is broken.
 *
 * The identity bytes are compared with the trailer's CRC and length before the body ends. While it waits for
 * more to be written it holds no memory but its own.
 *
 * Threading: a body belongs to its reactor's thread.
 */
#ifndef SERVER_FEED_BODY_H
#define SERVER_FEED_BODY_H

#include "server/export_feed.h"
#include "server/file_body.h"

struct feed_body_options {
    struct io_workers *io;
    struct mailbox *reply_to; /* of the reactor */
    enum file_coding coding;
    struct export_feed *feed; /* takes a reference of its own */
    void *context;
    /* Bytes, or the end, have come after a BODY_PULL_WAIT: exchange_resume. */
    void (*ready)(void *context);
};

/* Of unknown length. */
struct body_source *feed_body_new(const struct feed_body_options *options);

#endif
