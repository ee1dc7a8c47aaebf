/*
 * A file of an export that can be followed while it is written. The file itself is the only buffer: the feed
 * says how much of it stands there, holds it open, and wakes those who have read all of it.
 *
 * The two lengths are published together: every piece below gzip_bytes has its entry below index_bytes. What
 * is published never changes. Followers neither keep the file from getting its name nor from being deleted.
 *
 * Threading: any thread; a lock is held for no I/O. A waiter belongs to the thread that owns its mailbox.
 */
#ifndef SERVER_EXPORT_FEED_H
#define SERVER_EXPORT_FEED_H

#include "codec/base/mailbox.h"

enum export_feed_state {
    EXPORT_FEED_GROWS,
    EXPORT_FEED_COMPLETE, /* the file is recorded: nothing follows */
    EXPORT_FEED_BROKEN    /* it will never be complete */
};

struct export_feed_view {
    uint64_t gzip_bytes;
    uint64_t index_bytes;
    enum export_feed_state state;
};

struct export_feed;

/* One reference. Copies both descriptors, which can be read. NULL: there are no more descriptors. */
struct export_feed *export_feed_new(int fd, int index_fd);
struct export_feed *export_feed_ref(struct export_feed *feed); /* NULL is fine */
void export_feed_unref(struct export_feed *feed);

int export_feed_fd(const struct export_feed *feed);
int export_feed_index_fd(const struct export_feed *feed);

/* By whoever writes the file. */
void export_feed_publish(struct export_feed *feed, uint64_t gzip_bytes, uint64_t index_bytes);
/* Only the first end counts. */
void export_feed_end(struct export_feed *feed, enum export_feed_state state);

struct export_feed_view export_feed_look(struct export_feed *feed);

struct export_feed_waiter {
    struct message message; /* first; `deliver` is the waiter's own */
    struct mailbox *reply_to;
    struct export_feed_waiter *older, *newer;
    bool is_posted;
};
/* Something was published since `seen`: false. Else the message is posted once when it is. */
bool export_feed_wait(struct export_feed *feed, struct export_feed_waiter *waiter,
                      const struct export_feed_view *seen);
/* Of one that waits. True: its message will not come. False: it is in the mailbox already. */
bool export_feed_unwait(struct export_feed *feed, struct export_feed_waiter *waiter);

#endif
