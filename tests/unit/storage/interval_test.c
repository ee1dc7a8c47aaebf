#include "storage/interval.h"

#include "codec/base/buffer.h"
#include "tests/support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void an_interval_holds_its_start_and_not_its_end(void **state)
{
    (void)state;
    struct interval_row row = {.count = 0};
    interval_row_begin(&row, 100, 1, 7);
    interval_row_end(&row, 200, 2);
    assert_false(interval_row_covers(&row, 2, 99));
    assert_true(interval_row_covers(&row, 2, 100));
    assert_true(interval_row_covers(&row, 2, 199));
    assert_false(interval_row_covers(&row, 2, 200));
}

static void each_sequence_sees_its_own_version(void **state)
{
    (void)state;
    struct interval_row row = {.count = 0};
    interval_row_begin(&row, 100, 10, 7);
    interval_row_end(&row, 200, 20);
    interval_row_begin(&row, 300, 30, 8);
    assert_null(interval_row_open_at(&row, 9));
    assert_int_equal(interval_row_open_at(&row, 10)->home, 7);
    assert_int_equal(interval_row_open_at(&row, 19)->start_us, 100);
    assert_null(interval_row_open_at(&row, 20));
    assert_null(interval_row_open_at(&row, 29));
    assert_int_equal(interval_row_open_at(&row, 30)->home, 8);
    assert_true(interval_row_covers(&row, 19, 1000));
    assert_false(interval_row_covers(&row, 20, 1000));
    assert_true(interval_row_covers(&row, 20, 150));
    assert_false(interval_row_covers(&row, 29, 300));
    assert_true(interval_row_covers(&row, 30, 300));
}

static void an_empty_interval_leaves_no_history(void **state)
{
    (void)state;
    struct interval_row row = {.count = 0};
    interval_row_begin(&row, 100, 10, 7);
    interval_row_end(&row, 100, 20);
    assert_int_equal(row.count, 1);
    assert_null(interval_row_open_one(&row));
    assert_false(interval_row_covers(&row, 20, 100));
    assert_true(interval_row_covers(&row, 19, 100));
}

struct put {
    struct write_request request;
    struct interval_row *row;
    uint64_t oldest_sequence;
};

static enum status put_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct put *put = (struct put *)request;
    return interval_row_put(write, TABLE_EXPORTABLE, SLICE_LITERAL("k"), put->row, put->oldest_sequence,
                            error);
}

static void put_and_get(struct store_fixture *f, struct interval_row *row, uint64_t oldest_sequence)
{
    struct put put = {{.apply = put_run}, row, oldest_sequence};
    assert_int_equal(writer_call(f->writer, &put.request, NULL), STATUS_OK);
    struct engine_txn *txn = store_fixture_read(f);
    assert_int_equal(interval_row_get(txn, TABLE_EXPORTABLE, SLICE_LITERAL("k"), row, NULL), STATUS_OK);
    engine_end(txn);
}

static void versions_that_no_job_sees_are_dropped(void **state)
{
    (void)state;
    struct store_fixture f;
    struct interval_row row = {.count = 0};
    store_fixture_open(&f);
    interval_row_begin(&row, 100, 10, 7);
    interval_row_end(&row, 200, 20);
    interval_row_begin(&row, 300, 30, 7);
    interval_row_end(&row, 400, 40);
    put_and_get(&f, &row, 19);
    assert_int_equal(row.count, 4); /* a job at 19 sees the first as open */
    put_and_get(&f, &row, 20);
    assert_int_equal(row.count, 3);
    put_and_get(&f, &row, UINT64_MAX);
    assert_int_equal(row.count, 2);
    assert_int_equal(row.items[0].start_us, 100);
    assert_int_equal(row.items[1].end_us, 400);
    store_fixture_close(&f);
}

/* Against a list of what was begun and ended. */
static void random_changes_are_seen_at_every_sequence(void **state)
{
    (void)state;
    struct store_fixture f;
    uint64_t random = store_fixture_seed();
    store_fixture_open(&f);
    for (int round = 0; round < 20; round++) {
        enum { CHANGES = 40 };
        int64_t starts[CHANGES], ends[CHANGES];
        uint64_t births[CHANGES], deaths[CHANGES];
        size_t count = 0;
        struct interval_row row = {.count = 0};
        uint64_t sequence = 0, oldest = 1 + store_fixture_random(&random) % 60;
        int64_t now = 1000;
        for (int i = 0; i < CHANGES; i++) {
            sequence += store_fixture_random(&random) % 3;
            now += (int64_t)(store_fixture_random(&random) % 5);
            if (!interval_row_open_one(&row)) {
                starts[count] = now;
                births[count] = sequence;
                ends[count] = INTERVAL_OPEN_US;
                deaths[count++] = UINT64_MAX;
                interval_row_begin(&row, now, sequence, 1);
            } else {
                ends[count - 1] = now;
                deaths[count - 1] = sequence;
                interval_row_end(&row, now, sequence);
            }
            put_and_get(&f, &row, oldest);
        }
        for (uint64_t seen = oldest; seen <= sequence + 1; seen++) {
            for (int64_t at = 999; at <= now + 1; at++) {
                bool want = false;
                for (size_t i = 0; i < count; i++) {
                    int64_t end = deaths[i] <= seen ? ends[i] : INTERVAL_OPEN_US;
                    want |= births[i] <= seen && starts[i] <= at && at < end;
                }
                if (interval_row_covers(&row, seen, at) != want)
                    fail_msg("at %d, seen from %d: %d", (int)at, (int)seen, (int)!want);
            }
        }
    }
    store_fixture_close(&f);
}

static void a_full_row_loses_its_oldest_history_and_never_what_is_open(void **state)
{
    (void)state;
    struct store_fixture f;
    store_fixture_open(&f);
    for (int pinned = 0; pinned < 2; pinned++) {
        for (int is_empty = 0; is_empty < 2; is_empty++) {
            struct interval_row row = {.count = 0};
            for (uint64_t i = 1; i <= 2 * INTERVALS_MAX + 1; i++) {
                int64_t at_us = is_empty ? 5 : (int64_t)i * 10;
                if (i % 2)
                    interval_row_begin(&row, at_us, i, 7);
                else
                    interval_row_end(&row, at_us, i);
                put_and_get(&f, &row, pinned ? 0 : UINT64_MAX);
                assert_true(row.count <= INTERVALS_MAX);
                assert_int_equal(interval_row_open_one(&row) != NULL, i % 2);
            }
        }
    }
    store_fixture_close(&f);
}

static void a_damaged_row_is_refused(void **state)
{
    (void)state;
    struct interval_row row;
    struct error error;
    assert_int_equal(interval_row_parse(SLICE_LITERAL(""), &row, &error), STATUS_CORRUPT);
    assert_int_equal(interval_row_parse(SLICE_LITERAL("A\1\1\0"), &row, &error), STATUS_CORRUPT);
    assert_int_equal(interval_row_parse(SLICE_LITERAL("A\2\0\0"), &row, &error), STATUS_CORRUPT);
    assert_int_equal(interval_row_parse(SLICE_LITERAL("A\1\0\0x"), &row, &error), STATUS_CORRUPT);
    assert_int_equal(interval_row_parse(SLICE_LITERAL("A\1\xff\xff"), &row, &error), STATUS_CORRUPT);
    assert_int_equal(interval_row_parse(SLICE_LITERAL("A\1\0\0"), &row, &error), STATUS_OK);
    assert_int_equal(row.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interval_holds_its_start_and_not_its_end),
        cmocka_unit_test(each_sequence_sees_its_own_version),
        cmocka_unit_test(an_empty_interval_leaves_no_history),
        cmocka_unit_test(versions_that_no_job_sees_are_dropped),
        cmocka_unit_test(random_changes_are_seen_at_every_sequence),
        cmocka_unit_test(a_full_row_loses_its_oldest_history_and_never_what_is_open),
        cmocka_unit_test(a_damaged_row_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
