#include "storage/writer.h"

#include "codec/base/bytes.h"
#include "codec/base/mem.h"
#include "tests/support/load_fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TABLE TABLE_ROSTER /* any that nothing here reads */

enum request_kind { WRITES, FAILS_BEFORE, FAILS_AFTER, WAITS };

/* A request that writes its number under its key, or fails as it is told. */
struct request {
    struct write_request base;
    uint64_t number;
    enum request_kind kind;
    sem_t *begun, *go; /* WAITS: keeps the writer until `go` */
    unsigned runs;
    uint64_t sequence;
    int64_t instant_us;
    unsigned *order; /* counts the requests applied */
    unsigned position;
};

static enum status request_apply(struct write_request *base, struct store_write *write, struct error *error)
{
    struct request *request = (struct request *)base;
    struct key key;
    char value[8];
    request->runs++;
    request->sequence = write->sequence;
    request->instant_us = write->instant_us;
    if (request->kind == WAITS) {
        sem_post(request->begun);
        sem_wait(request->go);
    }
    if (request->kind == FAILS_BEFORE)
        return error_set(error, STATUS_CONFLICT, "number %d comes before", (int)request->number);
    key_of_u64(&key, request->number);
    store_u64_le(value, write->sequence);
    enum status status = engine_put(write->txn, TABLE, key_slice(&key), slice_make(value, 8), error);
    if (status == STATUS_OK && request->kind == FAILS_AFTER)
        return error_set(error, STATUS_INVALID, "number %d comes after", (int)request->number);
    if (request->order)
        request->position = ++*request->order;
    return status;
}

static void request_init(struct request *request, uint64_t number, enum request_kind kind,
                         struct mailbox *replies)
{
    *request = (struct request){.base = {.apply = request_apply, .reply_to = replies}, .number = number};
    request->kind = kind;
}

/* A writer that is held inside a first request, so that those that follow come as one group. */
struct fixture {
    struct store_fixture store;
    struct mailbox *replies;
    struct request blocker;
    sem_t begun, go;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    load_clock_shift(0);
    store_fixture_open(&f->store);
    f->replies = mailbox_new(1);
    sem_init(&f->begun, 0, 0);
    sem_init(&f->go, 0, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_fixture_close(&f->store);
    mailbox_free(f->replies);
    sem_destroy(&f->begun);
    sem_destroy(&f->go);
    mem_free(f);
    load_clock_shift(0);
    return 0;
}

static void hold(struct fixture *f)
{
    request_init(&f->blocker, 1000000, WAITS, f->replies);
    f->blocker.begun = &f->begun;
    f->blocker.go = &f->go;
    assert_true(writer_submit(f->store.writer, &f->blocker.base));
    sem_wait(&f->begun);
}

static void collect(struct fixture *f, size_t count)
{
    while (count) {
        struct message *list = mailbox_wait(f->replies, INT64_MAX);
        for (; list; list = list->next) {
            assert_true(count > 0);
            count--;
        }
    }
}

static void let_go(struct fixture *f, size_t answers)
{
    sem_post(&f->go);
    collect(f, answers + 1);
    assert_int_equal(f->blocker.base.status, STATUS_OK);
}

/* The sequence under which a number was written; 0: it was not. */
static uint64_t written(struct fixture *f, uint64_t number)
{
    struct engine_txn *txn = store_fixture_read(&f->store);
    struct key key;
    struct slice value;
    key_of_u64(&key, number);
    enum status status = engine_get(txn, TABLE, key_slice(&key), &value, NULL);
    uint64_t sequence = status == STATUS_OK ? load_u64_le(value.data) : 0;
    engine_end(txn);
    return sequence;
}

static void a_group_answers_everybody_and_each_has_its_own_sequence(void **state)
{
    struct fixture *f = *state;
    struct request requests[50];
    hold(f);
    for (size_t i = 0; i < 50; i++) {
        request_init(&requests[i], i, WRITES, f->replies);
        assert_true(writer_submit(f->store.writer, &requests[i].base));
    }
    let_go(f, 50);
    int64_t before_us = f->blocker.instant_us;
    uint64_t before = f->blocker.sequence;
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(requests[i].base.status, STATUS_OK);
        assert_int_equal(requests[i].runs, 1);
        assert_int_equal(requests[i].sequence, before + 1);
        assert_int_equal(written(f, i), requests[i].sequence);
        assert_true(requests[i].instant_us > before_us);
        before = requests[i].sequence;
        before_us = requests[i].instant_us;
    }
}

static void who_fails_before_writing_fails_alone(void **state)
{
    struct fixture *f = *state;
    struct request requests[9];
    hold(f);
    for (size_t i = 0; i < 9; i++) {
        request_init(&requests[i], i, i % 3 == 1 ? FAILS_BEFORE : WRITES, f->replies);
        assert_true(writer_submit(f->store.writer, &requests[i].base));
    }
    let_go(f, 9);
    uint64_t before = f->blocker.sequence;
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(requests[i].runs, 1);
        if (i % 3 == 1) {
            assert_int_equal(requests[i].base.status, STATUS_CONFLICT);
            assert_non_null(strstr(requests[i].base.error.text, "comes before"));
            assert_int_equal(written(f, i), 0);
        } else {
            assert_int_equal(requests[i].base.status, STATUS_OK);
            assert_int_equal(requests[i].sequence, ++before); /* no number is lost by a refusal */
            assert_int_equal(written(f, i), requests[i].sequence);
        }
    }
}

static void who_fails_after_writing_leaves_nothing_and_the_others_are_applied_again(void **state)
{
    struct fixture *f = *state;
    struct request requests[9];
    hold(f);
    for (size_t i = 0; i < 9; i++) {
        request_init(&requests[i], i, i == 4 ? FAILS_AFTER : i == 7 ? FAILS_BEFORE : WRITES, f->replies);
        assert_true(writer_submit(f->store.writer, &requests[i].base));
    }
    let_go(f, 9);
    for (size_t i = 0; i < 9; i++) {
        if (i == 4)
            assert_int_equal(requests[i].base.status, STATUS_INVALID);
        else if (i == 7)
            assert_int_equal(requests[i].base.status, STATUS_CONFLICT);
        else
            assert_int_equal(requests[i].base.status, STATUS_OK);
        assert_int_equal(written(f, i), i == 4 || i == 7 ? 0 : requests[i].sequence);
        assert_int_equal(requests[i].runs, i <= 4 ? 2 : 1);
    }
    assert_non_null(strstr(requests[4].base.error.text, "number 4 comes after"));
}

static void a_failure_after_a_write_alone_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct request request;
    struct error error = {0};
    request_init(&request, 1, FAILS_AFTER, NULL);
    assert_int_equal(writer_call(f->store.writer, &request.base, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "comes after"));
    assert_int_equal(written(f, 1), 0);
    request_init(&request, 2, WRITES, NULL);
    assert_int_equal(writer_call(f->store.writer, &request.base, &error), STATUS_OK);
    assert_int_equal(written(f, 2), request.sequence);
}

static void instants_grow_when_the_clock_jumps_back(void **state)
{
    struct fixture *f = *state;
    static const long shifts[] = {0, 3600, -3600, 100000, -100000, 0};
    int64_t before_us = INT64_MIN;
    uint64_t before = 0;
    for (size_t i = 0; i < 6; i++) {
        load_clock_shift(shifts[i]);
        for (int j = 0; j < 3; j++) {
            struct request request;
            request_init(&request, i, WRITES, NULL);
            assert_int_equal(writer_call(f->store.writer, &request.base, NULL), STATUS_OK);
            assert_true(request.instant_us > before_us);
            assert_true(request.sequence > before);
            before_us = request.instant_us;
            before = request.sequence;
        }
        if (shifts[i] == -100000)
            store_fixture_reopen(&f->store); /* nor is it forgotten */
    }
}

static void urgent_requests_go_first(void **state)
{
    struct fixture *f = *state;
    struct request requests[10];
    unsigned order = 0;
    hold(f);
    for (size_t i = 0; i < 10; i++) {
        request_init(&requests[i], i, WRITES, f->replies);
        requests[i].base.urgent = i >= 7;
        requests[i].order = &order;
        assert_true(writer_submit(f->store.writer, &requests[i].base));
    }
    let_go(f, 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(requests[i].position, i >= 7 ? i - 6 : i + 4);
}

/* A kick-off does not wait until an import's megabytes are on disk: what fails in a commit runs again, and
 * only what shared it. */
static void urgent_requests_have_a_commit_of_their_own(void **state)
{
    struct fixture *f = *state;
    struct request requests[6];
    hold(f);
    for (size_t i = 0; i < 6; i++) {
        request_init(&requests[i], i, i == 2 ? FAILS_AFTER : WRITES, f->replies);
        requests[i].base.urgent = i >= 3;
        assert_true(writer_submit(f->store.writer, &requests[i].base));
    }
    let_go(f, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(requests[i].runs, i >= 3 ? 1 : 2);
}

static void urgent_requests_without_end_leave_bulk_its_turn(void **state)
{
    struct fixture *f = *state;
    struct request requests[10];
    unsigned order = 0;
    hold(f);
    for (size_t i = 0; i < 10; i++) {
        request_init(&requests[i], i, WRITES, f->replies);
        requests[i].base.urgent = i > 0;
        requests[i].base.bytes = WRITER_GROUP_BYTES_MAX; /* a commit each */
        requests[i].order = &order;
        assert_true(writer_submit(f->store.writer, &requests[i].base));
    }
    let_go(f, 10);
    assert_int_equal(requests[0].position, 5); /* behind four */
    assert_int_equal(requests[9].position, 10);
}

static void large_requests_do_not_share_a_commit(void **state)
{
    struct fixture *f = *state;
    struct request requests[4];
    hold(f);
    for (size_t i = 0; i < 4; i++) {
        request_init(&requests[i], i, i == 3 ? FAILS_AFTER : WRITES, f->replies);
        requests[i].base.bytes = WRITER_GROUP_BYTES_MAX;
        assert_true(writer_submit(f->store.writer, &requests[i].base));
    }
    let_go(f, 4);
    for (size_t i = 0; i < 4; i++) /* the last one's failure costs nobody a second run */
        assert_int_equal(requests[i].runs, 1);
}

static void the_queue_is_bounded_and_writer_call_waits_for_room(void **state)
{
    struct fixture *f = *state;
    static struct request requests[3 * WRITER_QUEUE_MAX];
    size_t accepted = 0;
    hold(f);
    while (accepted < 3 * WRITER_QUEUE_MAX) {
        request_init(&requests[accepted], accepted, WRITES, f->replies);
        if (!writer_submit(f->store.writer, &requests[accepted].base))
            break;
        accepted++;
    }
    assert_int_equal(accepted, WRITER_QUEUE_MAX);
    let_go(f, accepted);
    struct request last;
    request_init(&last, 5000, WRITES, NULL);
    assert_int_equal(writer_call(f->store.writer, &last.base, NULL), STATUS_OK);
    for (size_t i = 0; i < accepted; i++)
        assert_int_equal(written(f, i), requests[i].sequence);
}

static void stopping_applies_what_waits(void **state)
{
    struct fixture *f = *state;
    struct request requests[200];
    hold(f);
    for (size_t i = 0; i < 200; i++) {
        request_init(&requests[i], i, WRITES, f->replies);
        assert_true(writer_submit(f->store.writer, &requests[i].base));
    }
    sem_post(&f->go);
    store_fixture_reopen(&f->store);
    collect(f, 201);
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(requests[i].base.status, STATUS_OK);
        assert_int_equal(written(f, i), requests[i].sequence);
    }
}

struct caller {
    pthread_t thread;
    struct fixture *fixture;
    uint64_t first;
    uint64_t sequences[100];
};

static void *caller_main(void *argument)
{
    struct caller *caller = argument;
    for (size_t i = 0; i < 100; i++) {
        struct request request;
        request_init(&request, caller->first + i, i % 10 == 9 ? FAILS_AFTER : WRITES, NULL);
        enum status status = writer_call(caller->fixture->store.writer, &request.base, NULL);
        caller->sequences[i] = status == STATUS_OK ? request.sequence : 0;
    }
    return NULL;
}

static void many_callers_get_each_their_own_answer(void **state)
{
    struct fixture *f = *state;
    struct caller callers[8];
    for (size_t i = 0; i < 8; i++) {
        callers[i] = (struct caller){.fixture = f, .first = i * 100};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]), 0);
    }
    for (size_t i = 0; i < 8; i++)
        pthread_join(callers[i].thread, NULL);
    for (size_t i = 0; i < 8; i++) {
        for (size_t j = 0; j < 100; j++)
            assert_int_equal(written(f, i * 100 + j), callers[i].sequences[j]);
    }
}

static enum status change_accounts(struct write_request *request, struct store_write *write,
                                   struct error *error)
{
    (void)request;
    write->accounts_changed = true;
    return engine_put(write->txn, TABLE, SLICE_LITERAL("a"), SLICE_LITERAL("b"), error);
}

static enum status fail_to_change_accounts(struct write_request *request, struct store_write *write,
                                           struct error *error)
{
    (void)request;
    write->accounts_changed = true;
    return error_set(error, STATUS_INVALID, "no");
}

static void the_generation_of_accounts_follows_their_changes_alone(void **state)
{
    struct fixture *f = *state;
    struct request request;
    uint64_t generation = store_accounts_generation(f->store.store);
    request_init(&request, 1, WRITES, NULL);
    assert_int_equal(writer_call(f->store.writer, &request.base, NULL), STATUS_OK);
    assert_int_equal(store_accounts_generation(f->store.store), generation);
    struct write_request change = {.apply = fail_to_change_accounts};
    assert_int_equal(writer_call(f->store.writer, &change, NULL), STATUS_INVALID);
    assert_int_equal(store_accounts_generation(f->store.store), generation);
    change = (struct write_request){.apply = change_accounts};
    assert_int_equal(writer_call(f->store.writer, &change, NULL), STATUS_OK);
    assert_int_equal(store_accounts_generation(f->store.store), generation + 1);
}

int main(void)
{
    load_clock_shift(0);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_group_answers_everybody_and_each_has_its_own_sequence),
        TEST(who_fails_before_writing_fails_alone),
        TEST(who_fails_after_writing_leaves_nothing_and_the_others_are_applied_again),
        TEST(a_failure_after_a_write_alone_leaves_nothing),
        TEST(instants_grow_when_the_clock_jumps_back),
        TEST(urgent_requests_go_first),
        TEST(urgent_requests_have_a_commit_of_their_own),
        TEST(urgent_requests_without_end_leave_bulk_its_turn),
        TEST(large_requests_do_not_share_a_commit),
        TEST(the_queue_is_bounded_and_writer_call_waits_for_room),
        TEST(stopping_applies_what_waits),
        TEST(many_callers_get_each_their_own_answer),
        TEST(the_generation_of_accounts_follows_their_changes_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
