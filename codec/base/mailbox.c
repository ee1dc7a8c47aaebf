#include "codec/base/mailbox.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t lock;
    struct message *oldest;
    struct message **end; /* where the next message is linked */
    size_t waiting;
    size_t capacity;
    pthread_cond_t arrived; /* for mailbox_wait */
    int fd;                 /* an eventfd; -1 until somebody asks for it */
    bool signalled;         /* it holds a count; changes together with it, under the lock */
};

struct mailbox *mailbox_new(size_t capacity)
{
    struct mailbox *mailbox = mem_new(struct mailbox);
    pthread_condattr_t monotonic;
    CHECK(pthread_mutex_init(&mailbox->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&mailbox->arrived, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    mailbox->end = &mailbox->oldest;
    mailbox->capacity = capacity;
    mailbox->fd = -1;
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (!mailbox)
        return;
    CHECK(!mailbox->oldest);
    if (mailbox->fd >= 0)
        close(mailbox->fd);
    pthread_cond_destroy(&mailbox->arrived);
    pthread_mutex_destroy(&mailbox->lock);
    mem_free(mailbox);
}

/* Under the lock: a signal that came after the receiver emptied the box would wake it in vain, and one lost
 * would leave the message there for ever. */
static void mailbox_signal(struct mailbox *mailbox)
{
    uint64_t one = 1;
    pthread_cond_signal(&mailbox->arrived);
    if (mailbox->fd < 0 || mailbox->signalled)
        return;
    CHECK(write(mailbox->fd, &one, sizeof one) == (ssize_t)sizeof one);
    mailbox->signalled = true;
}

static bool mailbox_put(struct mailbox *mailbox, struct message *message, size_t capacity)
{
    message->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    bool taken = mailbox->waiting < capacity;
    if (taken) {
        *mailbox->end = message;
        mailbox->end = &message->next;
        mailbox->waiting++;
        mailbox_signal(mailbox);
    }
    pthread_mutex_unlock(&mailbox->lock);
    return taken;
}

bool mailbox_post(struct mailbox *mailbox, struct message *message)
{
    return mailbox_put(mailbox, message, mailbox->capacity);
}

void mailbox_post_reply(struct mailbox *mailbox, struct message *message)
{
    mailbox_put(mailbox, message, SIZE_MAX);
}

/* Under the lock. */
static struct message *mailbox_empty(struct mailbox *mailbox)
{
    struct message *list = mailbox->oldest;
    mailbox->oldest = NULL;
    mailbox->end = &mailbox->oldest;
    mailbox->waiting = 0;
    if (mailbox->signalled) {
        uint64_t count;
        CHECK(read(mailbox->fd, &count, sizeof count) == (ssize_t)sizeof count);
        mailbox->signalled = false;
    }
    return list;
}

struct message *mailbox_take(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    struct message *list = mailbox_empty(mailbox);
    pthread_mutex_unlock(&mailbox->lock);
    return list;
}

struct message *mailbox_wait(struct mailbox *mailbox, int64_t deadline_us)
{
    struct timespec until = {deadline_us / US_PER_SECOND, deadline_us % US_PER_SECOND * 1000};
    bool in_time = true;
    pthread_mutex_lock(&mailbox->lock);
    while (!mailbox->oldest && in_time)
        in_time = (deadline_us == INT64_MAX
                       ? pthread_cond_wait(&mailbox->arrived, &mailbox->lock)
                       : pthread_cond_timedwait(&mailbox->arrived, &mailbox->lock, &until)) == 0;
    struct message *list = mailbox_empty(mailbox);
    pthread_mutex_unlock(&mailbox->lock);
    return list;
}

int mailbox_fd(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    if (mailbox->fd < 0) {
        mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        /* Asked for at the start, before any input: without it the program cannot run. */
        CHECK(mailbox->fd >= 0);
        if (mailbox->oldest)
            mailbox_signal(mailbox);
    }
    int fd = mailbox->fd;
    pthread_mutex_unlock(&mailbox->lock);
    return fd;
}

size_t mailbox_waiting(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    size_t waiting = mailbox->waiting;
    pthread_mutex_unlock(&mailbox->lock);
    return waiting;
}

void message_deliver_all(struct message *list, void *receiver)
{
    while (list) {
        struct message *message = list;
        list = message->next;
        message->next = NULL;
        message->deliver(message, receiver);
    }
}
