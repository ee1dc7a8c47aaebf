#include "codec/base/mailbox.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

#include <cmocka.h>

struct note {
    struct message message;
    unsigned sender;
    unsigned number;
};

static bool is_readable(struct mailbox *mailbox)
{
    struct pollfd watched = {.fd = mailbox_fd(mailbox), .events = POLLIN};
    return poll(&watched, 1, 0) == 1;
}

static void messages_come_out_in_the_order_they_were_posted(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new(3);
    struct note notes[3] = {0};
    assert_null(mailbox_take(mailbox));
    for (size_t i = 0; i < 3; i++)
        assert_true(mailbox_post(mailbox, &notes[i].message));
    assert_int_equal(mailbox_waiting(mailbox), 3);
    struct message *list = mailbox_take(mailbox);
    for (size_t i = 0; i < 3; i++, list = list->next)
        assert_ptr_equal(list, &notes[i].message);
    assert_null(list);
    assert_int_equal(mailbox_waiting(mailbox), 0);
    assert_null(mailbox_take(mailbox));
    mailbox_free(mailbox);
}

static void a_full_mailbox_refuses_posts_and_takes_replies(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new(1);
    struct note first = {0}, second = {0}, reply = {0};
    assert_true(mailbox_post(mailbox, &first.message));
    assert_false(mailbox_post(mailbox, &second.message));
    mailbox_post_reply(mailbox, &reply.message);
    struct message *list = mailbox_take(mailbox);
    assert_ptr_equal(list, &first.message);
    assert_ptr_equal(list->next, &reply.message);
    assert_null(list->next->next);
    assert_true(mailbox_post(mailbox, &second.message));
    assert_ptr_equal(mailbox_take(mailbox), &second.message);
    mailbox_free(mailbox);
}

static void the_fd_is_readable_while_messages_wait(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new(4);
    struct note notes[2] = {0};
    assert_false(is_readable(mailbox));
    for (size_t i = 0; i < 2; i++) {
        assert_true(mailbox_post(mailbox, &notes[i].message));
        assert_true(is_readable(mailbox));
    }
    assert_non_null(mailbox_take(mailbox));
    assert_false(is_readable(mailbox));
    mailbox_post_reply(mailbox, &notes[0].message);
    assert_true(is_readable(mailbox));
    assert_non_null(mailbox_take(mailbox));
    assert_false(is_readable(mailbox));
    mailbox_free(mailbox);
}

static void waiting_ends_at_the_deadline(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new(1);
    int64_t begun_us = clock_monotonic_us();
    assert_null(mailbox_wait(mailbox, begun_us - 1));
    assert_null(mailbox_wait(mailbox, begun_us + 20000));
    assert_true(clock_monotonic_us() >= begun_us + 20000);
    struct note note = {0};
    assert_true(mailbox_post(mailbox, &note.message));
    assert_ptr_equal(mailbox_wait(mailbox, begun_us - 1), &note.message);
    mailbox_free(mailbox);
}

static void waiting_needs_no_file_descriptor(void **state)
{
    (void)state;
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct mailbox *mailbox = mailbox_new(1);
    struct note note = {0};
    assert_true(mailbox_post(mailbox, &note.message));
    assert_ptr_equal(mailbox_wait(mailbox, INT64_MAX), &note.message);
    assert_true(mailbox_post(mailbox, &note.message));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(is_readable(mailbox)); /* the fd that comes later tells of what came earlier */
    assert_ptr_equal(mailbox_take(mailbox), &note.message);
    assert_false(is_readable(mailbox));
    mailbox_free(mailbox);
}

/* Many senders, one receiver. */

enum { SENDERS = 4, NOTES_EACH = 5000, CAPACITY = 8 };

struct senders {
    struct mailbox *mailbox;
    pthread_t threads[SENDERS];
    unsigned next_sender; /* atomic */
    unsigned refused;     /* atomic */
    unsigned expected[SENDERS];
    unsigned received;
};

static void note_deliver(struct message *message, void *receiver)
{
    struct note *note = (struct note *)message;
    struct senders *senders = receiver;
    /* Each sender's notes keep their order. */
    assert_int_equal(note->number, senders->expected[note->sender]);
    senders->expected[note->sender]++;
    senders->received++;
    mem_free(note);
}

static void *send_notes(void *argument)
{
    struct senders *senders = argument;
    unsigned sender = __atomic_fetch_add(&senders->next_sender, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < NOTES_EACH; i++) {
        struct note *note = mem_new(struct note);
        note->message.deliver = note_deliver;
        note->sender = sender;
        note->number = i;
        if (i % 2 == 0) {
            mailbox_post_reply(senders->mailbox, &note->message);
            continue;
        }
        while (!mailbox_post(senders->mailbox, &note->message)) {
            __atomic_fetch_add(&senders->refused, 1, __ATOMIC_RELAXED);
            sched_yield();
        }
    }
    return NULL;
}

static void no_message_of_many_senders_is_lost(void **state)
{
    (void)state;
    static struct senders senders;
    senders.mailbox = mailbox_new(CAPACITY);
    for (size_t i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&senders.threads[i], NULL, send_notes, &senders), 0);
    while (senders.received < SENDERS * NOTES_EACH) {
        /* Never a lost wake-up: the receiver would wait for ever. */
        struct message *list = mailbox_wait(senders.mailbox, INT64_MAX);
        assert_non_null(list);
        message_deliver_all(list, &senders);
    }
    for (size_t i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(senders.threads[i], NULL), 0);
    assert_null(mailbox_take(senders.mailbox));
    assert_false(is_readable(senders.mailbox));
    mailbox_free(senders.mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_out_in_the_order_they_were_posted),
        cmocka_unit_test(a_full_mailbox_refuses_posts_and_takes_replies),
        cmocka_unit_test(the_fd_is_readable_while_messages_wait),
        cmocka_unit_test(waiting_ends_at_the_deadline),
        cmocka_unit_test(waiting_needs_no_file_descriptor),
        cmocka_unit_test(no_message_of_many_senders_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
