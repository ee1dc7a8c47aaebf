#include "storage/attribution.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/interval.h"
#include "storage/resources.h"
#include "tests/support/load_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ACO     "A0001"
#define OTHER   "A0002"
#define PATIENT RESOURCE_TYPE_PATIENT
#define DAY     (86400 * US_PER_SECOND)

struct fixture {
    struct load_fixture load;
    uint32_t aco, other;
    int64_t began_us;
    unsigned versions;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    load_clock_shift(0);
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    f->other = store_fixture_add_aco(&f->load.store, OTHER);
    f->began_us = clock_now_us();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_clock_shift(0);
    load_verify(&f->load);
    load_fixture_close(&f->load);
    mem_free(f);
    return 0;
}

/* A Patient with that MBI (NULL: none), newer than the ones before it. */
static void patient(struct fixture *f, const char *id, const char *mbi, const char *aco_id)
{
    struct buffer text = BUFFER_INIT;
    char time[INSTANT_TEXT_SIZE];
    f->versions++;
    instant_format(f->began_us - DAY + (int64_t)f->versions * US_PER_SECOND, time);
    load_line(&text, PATIENT, id, id, mbi, f->versions, time);
    struct import_counts counts = load_text(&f->load, buffer_slice(&text), aco_id);
    assert_int_equal(counts.added + counts.replaced, 1);
    buffer_release(&text);
}

/* "b1 b2+ ": with a + for those that were exportable at since_us. */
static const char *exportable_at(struct fixture *f, uint32_t aco, uint64_t sequence, int64_t since_us)
{
    static struct buffer text;
    buffer_release(&text);
    struct exportable_scan *scan;
    struct exportable exportable;
    struct error error = {0};
    enum status status;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(exportable_scan_open(txn, aco, sequence, since_us, &scan, &error), STATUS_OK);
    while ((status = exportable_scan_next(scan, &exportable, &error)) == STATUS_OK)
        buffer_appendf(&text, "%.*s%s ", SLICE_PRINT(exportable.beneficiary), exportable.at_since ? "+" : "");
    assert_int_equal(status, STATUS_NOT_FOUND);
    exportable_scan_close(scan);
    engine_end(txn);
    return buffer_text(&text);
}

static const char *exportable_now(struct fixture *f, uint32_t aco, int64_t since_us)
{
    return exportable_at(f, aco, UINT64_MAX - 1, since_us);
}

static void get_row(struct fixture *f, uint32_t aco, const char *beneficiary, struct interval_row *row)
{
    struct key key;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    key_aco_beneficiary(&key, aco, slice_from_text(beneficiary));
    assert_int_equal(interval_row_get(txn, TABLE_EXPORTABLE, key_slice(&key), row, NULL), STATUS_OK);
    engine_end(txn);
}

static void a_roster_lets_join_and_leave_and_come_back(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", NULL);
    patient(f, "b2", "2A", NULL);
    assert_string_equal(exportable_now(f, f->aco, 0), "");
    load_roster(&f->load, ACO, "r1", f->began_us - 3 * DAY, "1A 2A");
    assert_string_equal(exportable_now(f, f->aco, 0), "b1 b2 ");
    load_roster(&f->load, ACO, "r2", f->began_us - 2 * DAY, "2A");
    assert_string_equal(exportable_now(f, f->aco, 0), "b2 ");
    load_roster(&f->load, ACO, "r3", f->began_us - 1 * DAY, "1A 2A");
    assert_string_equal(exportable_now(f, f->aco, f->began_us - 4 * DAY), "b1 b2 ");
    assert_string_equal(exportable_now(f, f->aco, f->began_us - 3 * DAY), "b1+ b2+ ");
    assert_string_equal(exportable_now(f, f->aco, f->began_us - 3 * DAY - 1), "b1 b2 ");
    assert_string_equal(exportable_now(f, f->aco, f->began_us - 2 * DAY), "b1 b2+ ");
    assert_string_equal(exportable_now(f, f->aco, f->began_us - 2 * DAY - 1), "b1+ b2+ ");
    assert_string_equal(exportable_now(f, f->aco, f->began_us - DAY / 2), "b1+ b2+ ");
    assert_string_equal(exportable_now(f, f->other, 0), "");
}

static void a_roster_again_or_an_older_one_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    load_roster(&f->load, ACO, "r1", f->began_us - 3 * DAY, "1A 2A");
    load_roster(&f->load, ACO, "r3", f->began_us - 1 * DAY, "1A");
    uint64_t before = load_contents_hash(&f->load);
    assert_int_equal(load_try_roster(&f->load, ACO, "r3", f->began_us - 1 * DAY, "1A", &error),
                     STATUS_EXISTS);
    assert_int_equal(load_try_roster(&f->load, ACO, "r1", f->began_us - 3 * DAY, "1A 2A", &error),
                     STATUS_EXISTS);
    assert_int_equal(load_try_roster(&f->load, ACO, "r2", f->began_us - 2 * DAY, "1A 2A", &error),
                     STATUS_CONFLICT);
    assert_non_null(strstr(error.text, "newer roster"));
    assert_int_equal(load_contents_hash(&f->load), before);
    load_roster(&f->load, OTHER, "r2", f->began_us - 2 * DAY, "1A"); /* another ACO's order is its own */
}

static void another_roster_of_the_same_name_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    int64_t at_us = f->began_us - 1 * DAY;
    static const char *const others[] = {"3A", "1A", "1A 2A 3A", "1A 3A"};
    load_roster(&f->load, ACO, "r", at_us, "1A 2A");
    patient(f, "b9", "9A", ACO); /* by import --aco, which is in no roster */
    uint64_t before = load_contents_hash(&f->load);
    assert_int_equal(load_try_roster(&f->load, ACO, "r", at_us, "1A 2A", &error), STATUS_EXISTS);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(load_try_roster(&f->load, ACO, "r", at_us, others[i], &error), STATUS_CONFLICT);
        assert_non_null(strstr(error.text, "with other contents"));
    }
    assert_int_equal(load_contents_hash(&f->load), before);
    load_roster(&f->load, ACO, "q", at_us, "1A"); /* at the same time, and the last one now */
    assert_int_equal(load_try_roster(&f->load, ACO, "r", at_us, "1A 2A", &error), STATUS_EXISTS);
    load_roster(&f->load, ACO, "r", f->began_us, "3A"); /* the same name at a later time is another one */
}

static void a_malformed_roster_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    uint64_t before = load_contents_hash(&f->load);
    assert_int_equal(load_try_roster(&f->load, ACO, "r", 0, "2A 1A", &error), STATUS_INVALID);
    assert_int_equal(load_try_roster(&f->load, ACO, "r", 0, "1A 1A", &error), STATUS_INVALID);
    assert_int_equal(load_try_roster(&f->load, ACO, "r", 0, "!b1", &error), STATUS_INVALID);
    assert_int_equal(load_try_roster(&f->load, ACO, "r", INT64_MAX, "1A", &error), STATUS_INVALID);
    assert_int_equal(load_try_roster(&f->load, "A7777", "r", 0, "1A", &error), STATUS_NOT_FOUND);
    assert_int_equal(load_contents_hash(&f->load), before);
}

static void the_patient_may_come_before_or_after_the_roster(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", NULL);
    load_roster(&f->load, ACO, "r", f->began_us - DAY, "1A 2A");
    assert_string_equal(exportable_now(f, f->aco, 0), "b1 ");
    patient(f, "b2", "2A", NULL);
    assert_string_equal(exportable_now(f, f->aco, 0), "b1 b2 ");
    struct interval_row row;
    get_row(f, f->aco, "b2", &row); /* exportable from the import on, not from the roster's time */
    assert_true(row.items[0].start_us >= f->began_us);
    get_row(f, f->aco, "b1", &row);
    assert_int_equal(row.items[0].start_us, f->began_us - DAY);
}

static void a_beneficiary_imported_for_an_aco_needs_no_mbi(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", NULL, ACO);
    assert_string_equal(exportable_now(f, f->aco, clock_now_us()), "b1+ ");
    assert_string_equal(exportable_now(f, f->aco, f->began_us - 1), "b1 ");
    load_roster(&f->load, ACO, "r", clock_now_us(), ""); /* the whole list: it is not on it */
    assert_string_equal(exportable_now(f, f->aco, 0), "");
}

static void from_direct_to_a_roster_without_a_gap(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", ACO);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    load_end_job(&f->load, &view);
    load_roster(&f->load, ACO, "r", clock_now_us(), "1A");
    assert_string_equal(exportable_now(f, f->aco, view.transaction_time_us), "b1+ ");
    assert_string_equal(exportable_now(f, f->aco, clock_now_us()), "b1+ ");
    struct interval_row row;
    get_row(f, f->aco, "b1", &row);
    assert_int_equal(row.count, 1); /* the interval goes on: nothing was closed and opened again */
}

static void a_new_mbi_of_the_same_patient_is_no_gap(void **state)
{
    struct fixture *f = *state;
    for (int turn = 0; turn < 2; turn++) { /* the new one sorts behind and before the old one */
        char id[32], old_mbi[32], new_mbi[32];
        snprintf(id, sizeof id, "b%d", turn);
        snprintf(old_mbi, sizeof old_mbi, "5X%d", turn);
        snprintf(new_mbi, sizeof new_mbi, "%dX%d", turn ? 1 : 9, turn);
        patient(f, id, old_mbi, NULL);
        load_roster(&f->load, ACO, old_mbi, clock_now_us(), old_mbi);
        int64_t since_us = load_now(&f->load, f->aco).transaction_time_us;
        patient(f, id, new_mbi, NULL);
        load_roster(&f->load, ACO, new_mbi, clock_now_us(), new_mbi);
        char want[48];
        snprintf(want, sizeof want, "%s+ ", id);
        assert_string_equal(exportable_now(f, f->aco, since_us), want);
        assert_string_equal(exportable_now(f, f->aco, clock_now_us()), want);
    }
}

static void an_mbi_that_moves_takes_its_attribution_along(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", NULL);
    patient(f, "b2", "2A", NULL);
    load_roster(&f->load, ACO, "r", f->began_us - DAY, "1A");
    load_roster(&f->load, OTHER, "r", f->began_us - DAY, "1A 2A");
    assert_string_equal(exportable_now(f, f->aco, 0), "b1 ");
    patient(f, "b2", "1A", NULL);
    assert_string_equal(exportable_now(f, f->aco, 0), "b2 ");
    assert_string_equal(exportable_now(f, f->other, 0), "b2 ");
    load_roster(&f->load, OTHER, "r2", f->began_us - DAY / 2, "2A"); /* it keeps the one from before */
    assert_string_equal(exportable_now(f, f->other, 0), "b2 ");
    load_roster(&f->load, OTHER, "r3", f->began_us - DAY / 3, "");
    assert_string_equal(exportable_now(f, f->other, 0), "");
}

static void a_roster_older_than_the_last_export_counts_from_now(void **state)
{
    struct fixture *f = *state;
    struct interval_row row;
    patient(f, "b1", "1A", NULL);
    patient(f, "b2", "2A", NULL);
    load_roster(&f->load, ACO, "r1", f->began_us - 2 * DAY, "1A");
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    load_end_job(&f->load, &view);
    load_roster(&f->load, ACO, "r2", f->began_us - DAY, "2A");
    assert_string_equal(exportable_now(f, f->aco, view.transaction_time_us), "b2 ");
    get_row(f, f->aco, "b2", &row);
    assert_true(row.items[0].start_us > view.transaction_time_us);
    get_row(f, f->aco, "b1", &row); /* it was there until now, whatever the roster says */
    assert_int_equal(row.count, 1);
    assert_true(row.items[0].end_us > view.transaction_time_us);
    assert_int_equal(row.items[0].start_us, f->began_us - 2 * DAY);
}

static void a_roster_later_than_the_last_export_keeps_its_time(void **state)
{
    struct fixture *f = *state;
    struct interval_row row;
    patient(f, "b1", "1A", NULL);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    load_clock_shift(1000);
    load_roster(&f->load, ACO, "r1", view.transaction_time_us + 1, "1A");
    get_row(f, f->aco, "b1", &row);
    assert_int_equal(row.items[0].start_us, view.transaction_time_us + 1);
}

static void an_active_job_sees_the_attribution_of_its_kick_off(void **state)
{
    struct fixture *f = *state;
    struct interval_row row;
    patient(f, "b1", "1A", NULL);
    patient(f, "b2", "2A", NULL);
    load_roster(&f->load, ACO, "r1", f->began_us - 3 * DAY, "1A");
    struct load_view job = load_kick_off(&f->load, f->aco, "Patient");
    load_roster(&f->load, ACO, "r2", f->began_us - 2 * DAY, "2A");
    load_roster(&f->load, ACO, "r3", f->began_us - 1 * DAY, "");
    load_roster(&f->load, ACO, "r4", clock_now_us(), "1A 2A");
    assert_string_equal(exportable_at(f, f->aco, job.sequence, f->began_us), "b1+ ");
    assert_string_equal(exportable_at(f, f->aco, job.sequence, f->began_us - 3 * DAY - 1), "b1 ");
    assert_string_equal(exportable_now(f, f->aco, f->began_us), "b1+ b2 ");
    get_row(f, f->aco, "b1", &row);
    assert_int_equal(row.count, 3); /* as the job sees it; closed; open again */
    load_end_job(&f->load, &job);
    load_roster(&f->load, ACO, "r5", clock_now_us(), "2A"); /* versions go with the next change */
    get_row(f, f->aco, "b1", &row);
    assert_int_equal(row.count, 2);
    for (size_t i = 0; i < row.count; i++)
        assert_int_equal(row.items[i].death, SEQUENCE_NEVER);
}

static void a_scan_begins_where_it_is_told(void **state)
{
    struct fixture *f = *state;
    struct exportable_scan *scan;
    struct exportable exportable;
    static const char *const ids[] = {"a", "ab", "b"};
    for (size_t i = 0; i < 3; i++)
        patient(f, ids[i], NULL, ACO);
    patient(f, "c", NULL, OTHER);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(exportable_scan_open(txn, f->aco, UINT64_MAX - 1, 0, &scan, NULL), STATUS_OK);
    exportable_scan_seek(scan, SLICE_LITERAL("aa"));
    assert_int_equal(exportable_scan_next(scan, &exportable, NULL), STATUS_OK);
    assert_true(slice_equal_text(exportable.beneficiary, "ab"));
    exportable_scan_seek(scan, SLICE_LITERAL("a"));
    assert_int_equal(exportable_scan_next(scan, &exportable, NULL), STATUS_OK);
    assert_true(slice_equal_text(exportable.beneficiary, "a"));
    exportable_scan_seek(scan, SLICE_LITERAL("bb"));
    assert_int_equal(exportable_scan_next(scan, &exportable, NULL), STATUS_NOT_FOUND);
    exportable_scan_close(scan);
    engine_end(txn);
}

static enum status note_roster(void *context, const struct roster *roster, struct error *error)
{
    (void)error;
    buffer_appendf(context, "%.*s %d/%d/%d ", SLICE_PRINT(roster->name), (int)roster->total,
                   (int)roster->joined, (int)roster->left);
    return STATUS_OK;
}

static enum status note_member(void *context, const struct attributed *member, struct error *error)
{
    (void)error;
    assert_true(member->interval_count > 0);
    buffer_appendf(context, "%.*s=%.*s%s ", SLICE_PRINT(member->mbi), SLICE_PRINT(member->beneficiary),
                   member->suppressed ? "!" : "");
    return STATUS_OK;
}

static void rosters_and_members_are_listed(void **state)
{
    struct fixture *f = *state;
    struct buffer text = BUFFER_INIT;
    patient(f, "b1", "1A", NULL);
    load_roster(&f->load, ACO, "r1", f->began_us - 3 * DAY, "1A 2A");
    load_roster(&f->load, ACO, "r2", f->began_us - 2 * DAY, "2A 3A");
    patient(f, "b4", NULL, ACO);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(roster_each(txn, f->aco, note_roster, &text, NULL), STATUS_OK);
    assert_string_equal(buffer_text(&text), "r2 2/1/1 r1 2/2/0 ");
    buffer_reset(&text);
    engine_end(txn);
    struct read_steps steps;
    read_steps_init(&steps, store_engine(f->load.store.store));
    assert_int_equal(attribution_each(&steps, f->aco, INTERVAL_OPEN_US, note_member, &text, NULL), STATUS_OK);
    assert_string_equal(buffer_text(&text), "=b4 2A= 3A= ");
    buffer_reset(&text);
    assert_int_equal(attribution_each(&steps, f->aco, f->began_us - 3 * DAY, note_member, &text, NULL),
                     STATUS_OK);
    assert_string_equal(buffer_text(&text), "1A=b1 2A= ");
    buffer_release(&text);
}

static void a_missing_beneficiary_does_not_end_the_list_unsaid(void **state)
{
    struct fixture *f = *state;
    struct buffer text = BUFFER_INIT;
    struct read_steps steps;
    struct error error = {0};
    struct key key;
    struct slice value;
    patient(f, "b1", "1A", NULL);
    load_roster(&f->load, ACO, "r1", f->began_us - 3 * DAY, "1A");
    key_aco_beneficiary(&key, f->aco, SLICE_LITERAL("b1"));
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_get(txn, TABLE_EXPORTABLE, key_slice(&key), &value, NULL), STATUS_OK);
    struct buffer open = BUFFER_INIT;
    buffer_append_slice(&open, value);
    engine_end(txn);
    key_attribution_direct(&key, f->aco, SLICE_LITERAL("b0"));
    store_fixture_put(&f->load.store, TABLE_ATTRIBUTION, key_slice(&key), buffer_slice(&open));
    read_steps_init(&steps, store_engine(f->load.store.store));
    enum status status = attribution_each(&steps, f->aco, INTERVAL_OPEN_US, note_member, &text, &error);
    store_fixture_delete(&f->load.store, TABLE_ATTRIBUTION, key_slice(&key));
    assert_int_equal(status, STATUS_CORRUPT);
    assert_true(*error.text);
    buffer_release(&open);
    buffer_release(&text);
}

static void too_many_acos_of_one_beneficiary_are_refused_whole(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    patient(f, "b1", "1A", NULL);
    for (int i = 0; i < BENEFICIARY_ACOS_MAX; i++) {
        char id[16];
        snprintf(id, sizeof id, "A1%03d", i);
        store_fixture_add_aco(&f->load.store, id);
        load_roster(&f->load, id, "r", f->began_us, "1A");
    }
    uint64_t before = load_contents_hash(&f->load);
    assert_int_equal(load_try_roster(&f->load, ACO, "r", f->began_us, "0A 1A", &error), STATUS_TOO_LARGE);
    assert_int_equal(load_contents_hash(&f->load), before);
}

int main(void)
{
    load_clock_shift(0);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_roster_lets_join_and_leave_and_come_back),
        TEST(a_roster_again_or_an_older_one_changes_nothing),
        TEST(another_roster_of_the_same_name_is_refused),
        TEST(a_malformed_roster_changes_nothing),
        TEST(the_patient_may_come_before_or_after_the_roster),
        TEST(a_beneficiary_imported_for_an_aco_needs_no_mbi),
        TEST(from_direct_to_a_roster_without_a_gap),
        TEST(a_new_mbi_of_the_same_patient_is_no_gap),
        TEST(an_mbi_that_moves_takes_its_attribution_along),
        TEST(a_roster_older_than_the_last_export_counts_from_now),
        TEST(a_roster_later_than_the_last_export_keeps_its_time),
        TEST(an_active_job_sees_the_attribution_of_its_kick_off),
        TEST(a_scan_begins_where_it_is_told),
        TEST(rosters_and_members_are_listed),
        TEST(a_missing_beneficiary_does_not_end_the_list_unsaid),
        TEST(too_many_acos_of_one_beneficiary_are_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
