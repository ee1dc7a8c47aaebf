#include "codec/base/mailbox.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t lock;
    struct message *oldest;
    struct message **end; /* where the next message is linked */
    size_t waiting;
    size_t capacity;
    int fd;
    bool signalled; /* the eventfd holds a count; changes together with it, under the lock */
};

struct mailbox *mailbox_new(size_t capacity)
{
    struct mailbox *mailbox = mem_new(struct mailbox);
    CHECK(pthread_mutex_init(&mailbox->lock, NULL) == 0);
    mailbox->end = &mailbox->oldest;
    mailbox->capacity = capacity;
    mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    /* Mailboxes are made at the start, before any input: without one the program cannot run. */
    CHECK(mailbox->fd >= 0);
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (!mailbox)
        return;
    CHECK(!mailbox->oldest);
    close(mailbox->fd);
    pthread_mutex_destroy(&mailbox->lock);
    mem_free(mailbox);
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
        if (!mailbox->signalled) {
            /* Under the lock: a signal that came after the receiver emptied the box would wake it in vain,
             * and one lost would leave the message there for ever. */
            uint64_t one = 1;
            CHECK(write(mailbox->fd, &one, sizeof one) == (ssize_t)sizeof one);
            mailbox->signalled = true;
        }
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

struct message *mailbox_take(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    struct message *list = mailbox->oldest;
    mailbox->oldest = NULL;
    mailbox->end = &mailbox->oldest;
    mailbox->waiting = 0;
    if (mailbox->signalled) {
        uint64_t count;
        CHECK(read(mailbox->fd, &count, sizeof count) == (ssize_t)sizeof count);
        mailbox->signalled = false;
    }
    pthread_mutex_unlock(&mailbox->lock);
    return list;
}

struct message *mailbox_wait(struct mailbox *mailbox, int64_t deadline_us)
{
    for (;;) {
        struct message *list = mailbox_take(mailbox);
        if (list)
            return list;
        struct timespec left, *timeout = NULL;
        if (deadline_us != INT64_MAX) {
            int64_t left_us = deadline_us - clock_monotonic_us();
            if (left_us <= 0)
                return NULL;
            left.tv_sec = left_us / US_PER_SECOND;
            left.tv_nsec = left_us % US_PER_SECOND * 1000;
            timeout = &left;
        }
        struct pollfd watched = {.fd = mailbox->fd, .events = POLLIN};
        CHECK(ppoll(&watched, 1, timeout, NULL) >= 0 || errno == EINTR);
    }
}

int mailbox_fd(const struct mailbox *mailbox)
{
    return mailbox->fd;
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
