/*
 * A few threads that wait for the disk, so that reactors do not. A task runs on one of them and then comes
 * back as a message.
 *
 * The tasks that wait are as many as there are connections at most: each sends its next one only when the
 * last is back. So submitting never refuses.
 *
 * Threading: io_workers_submit from any thread.
 */
#ifndef SERVER_IO_WORKERS_H
#define SERVER_IO_WORKERS_H

#include "codec/base/mailbox.h"
#include "codec/base/status.h"

struct io_task {
    struct message message; /* used by the pool; comes back to reply_to */
    void (*run)(struct io_task *task);
    /* On the thread that owns reply_to. Owns the task. */
    void (*finished)(struct io_task *task);
    /* In its place, on the pool's thread, if the task was abandoned. Owns the task. */
    void (*dropped)(struct io_task *task);
    struct mailbox *reply_to;
    bool is_posted, is_abandoned; /* the pool's */
};

struct io_workers;

NODISCARD enum status io_workers_start(unsigned count, struct io_workers **ret_workers, struct error *error);
/* Runs everything that waits, then joins. */
void io_workers_stop(struct io_workers *workers);

void io_workers_submit(struct io_workers *workers, struct io_task *task);
/* Nobody waits for the task any more, and reply_to may soon be gone. True: `dropped` will be called. False:
 * it is in the mailbox already, and `finished` will be called. */
bool io_workers_abandon(struct io_workers *workers, struct io_task *task);

#endif
