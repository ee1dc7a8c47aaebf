/*
 * A mailbox: the only door between threads. Posting a message moves its ownership to the receiver.
 *
 * Bounded: mailbox_post refuses when `capacity` messages wait, and the sender tells his client to come
 * back later. A reply travels in its request's own message, so it always has room: mailbox_post_reply
 * never refuses (there can be no more replies than requests that were admitted elsewhere).
 *
 * A receiver either waits in mailbox_wait, or watches mailbox_fd in its event loop and calls
 * mailbox_take when it is readable. The fd is signalled for the first message only. Whoever only waits needs
 * no file descriptor, and so none can be lacking when there are none left.
 *
 * Threading: post from any thread; one receiving thread.
 */
#ifndef CODEC_BASE_MAILBOX_H
#define CODEC_BASE_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first member of every message struct. `deliver` runs on the receiving thread and owns the message. */
struct message {
    struct message *next;
    void (*deliver)(struct message *message, void *receiver);
};

struct mailbox;

struct mailbox *mailbox_new(size_t capacity);
/* Messages still inside are not delivered: the owner empties it first (CHECK). */
void mailbox_free(struct mailbox *mailbox);

bool mailbox_post(struct mailbox *mailbox, struct message *message);
void mailbox_post_reply(struct mailbox *mailbox, struct message *message);

/* Everything that waits, oldest first, as a list by `next`; NULL if nothing. Never blocks. */
struct message *mailbox_take(struct mailbox *mailbox);
/* Waits for a message until the deadline (clock_monotonic_us; INT64_MAX: for ever), then as mailbox_take. */
struct message *mailbox_wait(struct mailbox *mailbox, int64_t deadline_us);
/* An eventfd, made at the first call, which belongs into the start of the program (CHECK). */
int mailbox_fd(struct mailbox *mailbox);
size_t mailbox_waiting(struct mailbox *mailbox);

/* Calls deliver on each message of a taken list. */
void message_deliver_all(struct message *list, void *receiver);

#endif
