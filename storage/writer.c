#include "storage/writer.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define WRITER_GROUP_MAX 128 /* requests in one commit */
/* Commits in a row of urgent requests alone, while bulk waits. */
#define WRITER_URGENT_GROUPS_MAX 4

struct writer {
    struct store *store;
    struct mailbox *inbox;
    pthread_t thread;
    /* Taken from the inbox and not yet applied: urgent ones first, each list oldest first. */
    struct message *urgent, **urgent_end;
    struct message *bulk, **bulk_end;
    size_t waiting;         /* in both lists */
    unsigned urgent_groups; /* in a row that left bulk waiting */
    bool stopping;
};

/* Stops the thread: posted behind everything else. */
static void writer_deliver_stop(struct message *message, void *receiver)
{
    struct writer *writer = receiver;
    mem_free(message);
    writer->stopping = true;
}

static struct write_request *request_of(struct message *message)
{
    return (struct write_request *)message; /* message is the first member */
}

static void writer_sort(struct writer *writer, struct message *list)
{
    while (list) {
        struct message *message = list;
        list = list->next;
        message->next = NULL;
        if (message->deliver == writer_deliver_stop) {
            message->deliver(message, writer);
            continue;
        }
        writer->waiting++;
        if (request_of(message)->urgent) {
            *writer->urgent_end = message;
            writer->urgent_end = &message->next;
        } else {
            *writer->bulk_end = message;
            writer->bulk_end = &message->next;
        }
    }
}

static struct write_request *writer_pop_urgent(struct writer *writer)
{
    struct message *message = writer->urgent;
    if (!message)
        return NULL;
    writer->urgent = message->next;
    if (!writer->urgent)
        writer->urgent_end = &writer->urgent;
    message->next = NULL;
    writer->waiting--;
    return request_of(message);
}

static struct write_request *writer_pop_bulk(struct writer *writer)
{
    struct message *message = writer->bulk;
    if (!message)
        return NULL;
    writer->bulk = message->next;
    if (!writer->bulk)
        writer->bulk_end = &writer->bulk;
    message->next = NULL;
    writer->waiting--;
    return request_of(message);
}

/*
 * The requests of the next commit. Urgent ones get a commit of their own: a kick-off that shared it with
 * megabytes of an import would wait until they are on disk. Yet bulk has its turn.
 */
static size_t writer_take_group(struct writer *writer, struct write_request **requests)
{
    bool both = writer->urgent && writer->bulk;
    bool only_urgent = both && writer->urgent_groups < WRITER_URGENT_GROUPS_MAX;
    writer->urgent_groups = only_urgent ? writer->urgent_groups + 1 : 0;
    struct write_request *request = both && !only_urgent ? writer_pop_bulk(writer) : NULL;
    size_t count = 0, bytes = 0;
    while (count < WRITER_GROUP_MAX && bytes < WRITER_GROUP_BYTES_MAX) {
        if (!request)
            request = writer_pop_urgent(writer);
        if (!request && !only_urgent)
            request = writer_pop_bulk(writer);
        if (!request)
            break;
        requests[count++] = request;
        bytes += request->bytes;
        request = NULL;
    }
    return count;
}

static void writer_answer(struct write_request *request, enum status status, const struct error *error)
{
    request->status = status;
    if (error)
        request->error = *error;
    mailbox_post_reply(request->reply_to, &request->message);
}

/* Applies one request in the open transaction, with its own sequence and instant. `clock` moves on only if
 * it succeeds. */
static enum status writer_apply(struct writer *writer, struct engine_txn *txn, struct write_request *request,
                                struct store_clock *clock, bool *ret_accounts_changed, struct error *error)
{
    int64_t now_us = clock_now_us();
    struct store_write write = {
        .store = writer->store,
        .txn = txn,
        .sequence = clock->sequence + 1,
        .instant_us = now_us > clock->instant_us ? now_us : clock->instant_us + 1,
    };
    enum status status = request->apply(request, &write, error);
    if (status == STATUS_OK) {
        CHECK(write.instant_us > clock->instant_us);
        clock->sequence = write.sequence;
        clock->instant_us = write.instant_us;
        *ret_accounts_changed |= write.accounts_changed;
    }
    return status;
}

/* A sync that failed leaves pages that are neither on disk nor dirty: reading them back would lie. */
static void writer_stop_if_untrusted(enum status status, const struct error *error)
{
    if (status == STATUS_IO || status == STATUS_INTERNAL) {
        fprintf(stderr, "the store cannot be written and the process stops: %s\n", error->text);
        abort();
    }
}

static enum status writer_commit(struct writer *writer, struct engine_txn *txn,
                                 const struct store_clock *clock, bool accounts_changed, struct error *error)
{
    enum status status = store_clock_write(txn, clock, error);
    if (status != STATUS_OK) {
        engine_end(txn);
        return status;
    }
    status = engine_commit(txn, error);
    if (status == STATUS_OK && accounts_changed)
        store_publish_accounts(writer->store);
    writer_stop_if_untrusted(status, error);
    return status;
}

/* Applies `count` requests in one transaction and answers them. Returns false, with nothing applied and
 * nobody answered, if one failed after it had written. */
static bool writer_run_group(struct writer *writer, struct write_request **requests, size_t count)
{
    struct error error = {0};
    struct engine_txn *txn = NULL;
    struct store_clock clock = {0};
    bool accounts_changed = false;
    enum status statuses[WRITER_GROUP_MAX];
    size_t applied = 0;
    CHECK(count <= WRITER_GROUP_MAX);

    enum status status = engine_begin_write(store_engine(writer->store), &txn, &error);
    if (status == STATUS_OK)
        status = store_clock_read(txn, &clock, &error);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        uint64_t writes_before = engine_writes(txn);
        requests[i]->error.text[0] = '\0';
        statuses[i] = writer_apply(writer, txn, requests[i], &clock, &accounts_changed, &requests[i]->error);
        if (statuses[i] == STATUS_OK) {
            applied++;
        } else if (engine_writes(txn) != writes_before) {
            if (count > 1) {
                engine_end(txn);
                return false;
            }
            status = statuses[i]; /* alone: thrown away below */
            error = requests[i]->error;
        }
    }
    if (status == STATUS_OK && applied) {
        status = writer_commit(writer, txn, &clock, accounts_changed, &error);
    } else {
        engine_end(txn);
    }
    for (size_t i = 0; i < count; i++) {
        if (status != STATUS_OK)
            writer_answer(requests[i], status, &error);
        else
            writer_answer(requests[i], statuses[i], NULL);
    }
    return true;
}

static void *writer_main(void *argument)
{
    struct writer *writer = argument;
    while (!writer->stopping || writer->waiting) {
        /* Bounded: what is taken and not yet applied never exceeds two inboxes. */
        if (writer->waiting == 0)
            writer_sort(writer, mailbox_wait(writer->inbox, INT64_MAX));
        else if (writer->waiting <= WRITER_QUEUE_MAX)
            writer_sort(writer, mailbox_take(writer->inbox));

        struct write_request *requests[WRITER_GROUP_MAX];
        size_t count = writer_take_group(writer, requests);
        if (count && !writer_run_group(writer, requests, count)) {
            for (size_t i = 0; i < count; i++)
                CHECK(writer_run_group(writer, requests + i, 1));
        }
    }
    return NULL;
}

enum status writer_start(struct store *store, struct writer **ret_writer, struct error *error)
{
    struct writer *writer = mem_new(struct writer);
    writer->store = store;
    writer->inbox = mailbox_new(WRITER_QUEUE_MAX);
    writer->urgent_end = &writer->urgent;
    writer->bulk_end = &writer->bulk;
    if (pthread_create(&writer->thread, NULL, writer_main, writer) != 0) {
        mailbox_free(writer->inbox);
        mem_free(writer);
        return error_set(error, STATUS_INTERNAL, "the writer's thread cannot be started");
    }
    *ret_writer = writer;
    return STATUS_OK;
}

struct store *writer_store(struct writer *writer)
{
    return writer->store;
}

void writer_stop(struct writer *writer)
{
    if (!writer)
        return;
    struct message *stop = mem_new(struct message);
    stop->deliver = writer_deliver_stop;
    mailbox_post_reply(writer->inbox, stop); /* never refused */
    pthread_join(writer->thread, NULL);
    mailbox_free(writer->inbox);
    mem_free(writer);
}

bool writer_submit(struct writer *writer, struct write_request *request)
{
    CHECK(request->apply && request->reply_to);
    return mailbox_post(writer->inbox, &request->message);
}

enum status writer_call(struct writer *writer, struct write_request *request, struct error *error)
{
    struct mailbox *replies = mailbox_new(1);
    request->reply_to = replies;
    while (!mailbox_post(writer->inbox, &request->message)) {
        /* Full: the writer answers somebody within a commit; look again a little later. */
        struct message *none = mailbox_wait(replies, clock_monotonic_us() + 2000);
        CHECK(!none);
    }
    struct message *reply = mailbox_wait(replies, INT64_MAX);
    CHECK(reply == &request->message);
    mailbox_free(replies);
    request->reply_to = NULL;
    if (request->status != STATUS_OK && error)
        *error = request->error;
    return request->status;
}
