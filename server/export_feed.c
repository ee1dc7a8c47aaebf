#include "server/export_feed.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

struct export_feed {
    pthread_mutex_t lock;
    unsigned references;
    int fd, index_fd;
    struct export_feed_view view;
    struct export_feed_waiter *newest;
};

struct export_feed *export_feed_new(int fd, int index_fd)
{
    int own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int own_index_fd = own_fd < 0 ? -1 : fcntl(index_fd, F_DUPFD_CLOEXEC, 0);
    if (own_index_fd < 0) {
        if (own_fd >= 0)
            close(own_fd);
        return NULL;
    }
    struct export_feed *feed = mem_new(struct export_feed);
    pthread_mutex_init(&feed->lock, NULL);
    feed->references = 1;
    feed->fd = own_fd;
    feed->index_fd = own_index_fd;
    return feed;
}

struct export_feed *export_feed_ref(struct export_feed *feed)
{
    if (!feed)
        return NULL;
    pthread_mutex_lock(&feed->lock);
    feed->references++;
    pthread_mutex_unlock(&feed->lock);
    return feed;
}

void export_feed_unref(struct export_feed *feed)
{
    if (!feed)
        return;
    pthread_mutex_lock(&feed->lock);
    bool is_last = --feed->references == 0;
    pthread_mutex_unlock(&feed->lock);
    if (!is_last)
        return;
    CHECK(!feed->newest);
    close(feed->fd);
    close(feed->index_fd);
    pthread_mutex_destroy(&feed->lock);
    mem_free(feed);
}

int export_feed_fd(const struct export_feed *feed)
{
    return feed->fd;
}

int export_feed_index_fd(const struct export_feed *feed)
{
    return feed->index_fd;
}

static void remove_waiter(struct export_feed *feed, struct export_feed_waiter *waiter)
{
    if (waiter->older)
        waiter->older->newer = waiter->newer;
    *(waiter->newer ? &waiter->newer->older : &feed->newest) = waiter->older;
}

/* Under the lock, so that a mailbox whose owner has stopped waiting is not touched any more. */
static void wake_all(struct export_feed *feed)
{
    for (struct export_feed_waiter *waiter; (waiter = feed->newest);) {
        remove_waiter(feed, waiter);
        waiter->is_posted = true;
        mailbox_post_reply(waiter->reply_to, &waiter->message);
    }
}

void export_feed_publish(struct export_feed *feed, uint64_t gzip_bytes, uint64_t index_bytes)
{
    pthread_mutex_lock(&feed->lock);
    CHECK(gzip_bytes >= feed->view.gzip_bytes && index_bytes >= feed->view.index_bytes);
    if (feed->view.state == EXPORT_FEED_GROWS && gzip_bytes > feed->view.gzip_bytes) {
        feed->view.gzip_bytes = gzip_bytes;
        feed->view.index_bytes = index_bytes;
        wake_all(feed);
    }
    pthread_mutex_unlock(&feed->lock);
}

void export_feed_end(struct export_feed *feed, enum export_feed_state state)
{
    pthread_mutex_lock(&feed->lock);
    if (feed->view.state == EXPORT_FEED_GROWS) {
        feed->view.state = state;
        wake_all(feed);
    }
    pthread_mutex_unlock(&feed->lock);
}

struct export_feed_view export_feed_look(struct export_feed *feed)
{
    pthread_mutex_lock(&feed->lock);
    struct export_feed_view view = feed->view;
    pthread_mutex_unlock(&feed->lock);
    return view;
}

bool export_feed_wait(struct export_feed *feed, struct export_feed_waiter *waiter,
                      const struct export_feed_view *seen)
{
    CHECK(waiter->message.deliver && waiter->reply_to);
    pthread_mutex_lock(&feed->lock);
    bool waits = feed->view.gzip_bytes == seen->gzip_bytes && feed->view.state == seen->state;
    if (waits) {
        waiter->is_posted = false;
        waiter->newer = NULL;
        waiter->older = feed->newest;
        if (waiter->older)
            waiter->older->newer = waiter;
        feed->newest = waiter;
    }
    pthread_mutex_unlock(&feed->lock);
    return waits;
}

bool export_feed_unwait(struct export_feed *feed, struct export_feed_waiter *waiter)
{
    pthread_mutex_lock(&feed->lock);
    bool in_time = !waiter->is_posted;
    if (in_time)
        remove_waiter(feed, waiter);
    pthread_mutex_unlock(&feed->lock);
    return in_time;
}
