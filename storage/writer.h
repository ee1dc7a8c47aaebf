/*
 * The writer: the one thread that writes. Requests wait in a bounded mailbox; the writer applies as many as
 * wait, commits them as a group (one fsync), and only then answers each. Nothing is acknowledged before it
 * is durable. Urgent requests go first and, while bulk ones wait, in a commit of their own.
 *
 * A request's apply function reads and writes through write->txn. It must check before it writes: a status
 * other than OK without a write before it refuses this request alone. If it fails after a write, the whole
 * group is thrown away and the other requests are applied again one by one, each in a commit of its own; so
 * apply may run more than once and must start afresh each time.
 *
 * When a commit fails because a sync failed, the process stops with a message (abort): what the page
 * cache holds can no longer be trusted. A full disk or map is STATUS_NO_SPACE, and the writer goes on.
 *
 * Threading: writer_submit and writer_call from any thread.
 */
#ifndef STORAGE_WRITER_H
#define STORAGE_WRITER_H

#include "codec/base/mailbox.h"
#include "storage/store.h"

#define WRITER_QUEUE_MAX       256                       /* requests that may wait */
#define WRITER_GROUP_BYTES_MAX ((size_t)8 * 1024 * 1024) /* request->bytes in one commit */

struct write_request {
    struct message message; /* comes back to reply_to with status and error set */
    /* Runs on the writer's thread. */
    enum status (*apply)(struct write_request *request, struct store_write *write, struct error *error);
    struct mailbox *reply_to; /* NULL with writer_call */
    size_t bytes;             /* about how much it writes; keeps groups bounded */
    bool urgent;              /* goes before bulk requests that wait (kick-offs, revocations) */
    enum status status;
    struct error error;
};

struct writer;

/* Starts the thread. The store was opened with STORE_ACCESS_WRITE. */
NODISCARD enum status writer_start(struct store *store, struct writer **ret_writer, struct error *error);
struct store *writer_store(struct writer *writer);
/* Applies everything that waits, then joins. */
void writer_stop(struct writer *writer);

/* False if the queue is full: answer 503, or wait and try again. On true the message belongs to the writer
 * until it is delivered to reply_to. */
bool writer_submit(struct writer *writer, struct write_request *request);
/* Waits for room and for the answer; for threads that may block. Gives back request->status. */
NODISCARD enum status writer_call(struct writer *writer, struct write_request *request, struct error *error);

#endif
