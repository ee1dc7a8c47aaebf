#include "storage/homes.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/interval.h"
#include "storage/resources.h"
#include "tests/support/load_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ACO     "A0001"
#define OTHER   "A0002"
#define THIRD   "A0003"
#define PATIENT RESOURCE_TYPE_PATIENT
#define EOB     RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define DAY     (86400 * US_PER_SECOND)

struct fixture {
    struct load_fixture load;
    uint32_t aco, other, third;
    int64_t began_us;
    unsigned versions, rosters;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    load_clock_shift(0);
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    f->other = store_fixture_add_aco(&f->load.store, OTHER);
    f->third = store_fixture_add_aco(&f->load.store, THIRD);
    f->began_us = clock_now_us();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_verify(&f->load);
    load_fixture_close(&f->load);
    mem_free(f);
    return 0;
}

/* A Patient with that MBI and `claims` claims, "<id>-0" and so on, in one load: one segment a type. */
static void person(struct fixture *f, const char *id, const char *mbi, unsigned claims)
{
    struct buffer text = BUFFER_INIT;
    char time[INSTANT_TEXT_SIZE], claim[64];
    f->versions++;
    instant_format(f->began_us - 9 * DAY + (int64_t)f->versions * US_PER_SECOND, time);
    load_line(&text, PATIENT, id, id, mbi, f->versions, time);
    for (unsigned i = 0; i < claims; i++) {
        snprintf(claim, sizeof claim, "%s-%u", id, i);
        load_line(&text, EOB, claim, id, NULL, f->versions, time);
    }
    load_text(&f->load, buffer_slice(&text), NULL);
    buffer_release(&text);
}

/* One more claim, which is one more segment. */
static void claim(struct fixture *f, const char *beneficiary, const char *id)
{
    struct buffer text = BUFFER_INIT;
    char time[INSTANT_TEXT_SIZE];
    f->versions++;
    instant_format(f->began_us - 9 * DAY + (int64_t)f->versions * US_PER_SECOND, time);
    load_line(&text, EOB, id, beneficiary, NULL, f->versions, time);
    load_text(&f->load, buffer_slice(&text), NULL);
    buffer_release(&text);
}

static void roster(struct fixture *f, const char *aco, const char *mbis)
{
    char name[32];
    snprintf(name, sizeof name, "r%u", ++f->rosters);
    load_roster(&f->load, aco, name, clock_now_us(), mbis);
}

/* One step from the first on, of at most so many bytes (0: as many as there may be). */
static struct homes_step step(struct fixture *f, size_t bytes_max)
{
    struct error error = {0};
    struct homes_step step;
    homes_step_init(&step, &(struct homes_position){.size = 0});
    step.bytes_max = bytes_max;
    if (writer_call(f->load.store.writer, &step.request, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    return step;
}

static struct homes_counts move_all(struct fixture *f)
{
    struct error error = {0};
    struct homes_counts counts;
    struct homes_options options = {.step_bytes = 0};
    if (homes_run(f->load.link, &options, &counts, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    return counts;
}

static uint32_t home_of(struct fixture *f, const char *id)
{
    struct beneficiary beneficiary;
    struct error error = {0};
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(beneficiary_get(txn, slice_from_text(id), &beneficiary, &error), STATUS_OK);
    engine_end(txn);
    return beneficiary.home;
}

static uint64_t waiting(struct fixture *f)
{
    uint64_t count;
    struct error error = {0};
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(homes_count(txn, &count, &error), STATUS_OK);
    engine_end(txn);
    return count;
}

/* Rows of segments and summaries under a home, whoever's. */
static size_t rows_under(struct fixture *f, uint32_t home)
{
    size_t count = 0;
    struct key prefix;
    struct error error = {0};
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    key_of_u32(&prefix, home);
    for (unsigned table = TABLE_SEGMENT; table <= TABLE_SUMMARY; table++) {
        struct engine_cursor *cursor;
        struct slice key, value;
        assert_int_equal(engine_cursor_open(txn, table, &cursor, &error), STATUS_OK);
        engine_seek_prefix(cursor, key_slice(&prefix), (struct slice){0});
        while (engine_next(cursor, &key, &value, &error) == STATUS_OK)
            count++;
        engine_cursor_close(cursor);
    }
    engine_end(txn);
    return count;
}

/* Every resource's text and beneficiary, as an export gives it. */
static uint64_t export_hash(struct fixture *f, const struct load_view *view, int64_t since_us)
{
    struct load_export export;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    load_export_read(&f->load, view, since_us, LOAD_BOUND_GROUP, &export);
    for (size_t i = 0; i < export.count; i++) {
        const struct load_resource *item = &export.items[i];
        for (size_t k = 0; k < item->json.size; k++)
            hash = (hash ^ (unsigned char)item->json.data[k]) * UINT64_C(0x100000001b3);
        hash = (hash ^ item->at_since ^ (uint64_t)item->beneficiary.size) * UINT64_C(0x100000001b3);
    }
    hash ^= export.count << 1;
    load_export_release(&export);
    return hash;
}

static uint64_t hash_now(struct fixture *f, uint32_t aco)
{
    struct load_view view = load_now(&f->load, aco);
    return export_hash(f, &view, INSTANT_MIN_US);
}

static void from_nobody_to_the_first_aco(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 3);
    person(f, "b2", "2A", 3);
    person(f, "b3", "3A", 3); /* stays nobody's */
    assert_int_equal(waiting(f), 0);
    roster(f, ACO, "1A 2A");
    assert_int_equal(waiting(f), 2);
    assert_int_equal(home_of(f, "b1"), 0);
    load_verify(&f->load);
    uint64_t before = hash_now(f, f->aco);
    struct homes_counts counts = move_all(f);
    assert_int_equal(counts.moved, 2);
    assert_int_equal(counts.waiting, 0);
    assert_int_equal(waiting(f), 0);
    assert_int_equal(home_of(f, "b1"), f->aco);
    assert_int_equal(home_of(f, "b2"), f->aco);
    assert_int_equal(home_of(f, "b3"), 0);
    assert_int_equal(rows_under(f, 0), 3);
    assert_int_equal(rows_under(f, f->aco), 6);
    assert_int_equal(hash_now(f, f->aco), before);
}

static void nothing_to_do_changes_nothing(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 2);
    roster(f, ACO, "1A");
    move_all(f);
    uint64_t before = load_contents_hash(&f->load);
    assert_int_equal(move_all(f).steps, 0);
    assert_int_equal(step(f, 0).ret_moved, 0);
    assert_int_equal(load_contents_hash(&f->load), before);
}

static void one_that_nobody_exports_stays_where_it_is(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 2);
    roster(f, ACO, "1A");
    move_all(f);
    roster(f, ACO, "");
    assert_int_equal(move_all(f).moved, 0);
    assert_int_equal(home_of(f, "b1"), f->aco);
}

static void two_acos_share_one_home_and_the_one_that_stays_becomes_it(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 2);
    roster(f, ACO, "1A");
    roster(f, OTHER, "1A");
    roster(f, THIRD, "1A");
    move_all(f);
    assert_int_equal(home_of(f, "b1"), f->aco);
    uint64_t before = hash_now(f, f->other);
    roster(f, ACO, "");
    assert_int_equal(move_all(f).moved, 1);
    assert_int_equal(home_of(f, "b1"), f->other); /* whose interval began before the third's */
    assert_int_equal(hash_now(f, f->other), before);
    assert_int_equal(hash_now(f, f->third), before);
    assert_string_equal(load_exported_now(&f->load, f->aco), "");
    assert_int_equal(rows_under(f, f->aco), 0);
}

static void an_active_job_finds_what_it_always_found(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 3);
    roster(f, ACO, "1A");
    move_all(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    uint64_t all = export_hash(f, &view, INSTANT_MIN_US);
    uint64_t since = export_hash(f, &view, f->began_us - 9 * DAY);
    roster(f, ACO, "");
    roster(f, OTHER, "1A");
    assert_int_equal(move_all(f).moved, 1);
    assert_int_equal(home_of(f, "b1"), f->other);
    claim(f, "b1", "late"); /* goes to the new home */
    assert_int_equal(export_hash(f, &view, INSTANT_MIN_US), all);
    assert_int_equal(export_hash(f, &view, f->began_us - 9 * DAY), since);
    assert_int_equal(rows_under(f, f->aco), 3);
    load_verify(&f->load);
    /* What a bounded export skips by: the summary of the old home as it was. */
    struct summary summary;
    struct error error = {0};
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(summary_get(txn, f->aco, SLICE_LITERAL("b1"), &summary, &error), STATUS_OK);
    assert_int_equal(summary.of[EOB].resources, 3);
    assert_true(summary.left > view.sequence);
    engine_end(txn);

    load_fixture_reopen(&f->load);
    assert_int_equal(export_hash(f, &view, INSTANT_MIN_US), all);
    assert_int_equal(load_collect(&f->load), 0);
    load_end_job(&f->load, &view);
    assert_int_equal(load_collect(&f->load), 3); /* two segments, and the home */
    assert_int_equal(rows_under(f, f->aco), 0);
    assert_int_equal(rows_under(f, f->other), 4);
}

static void what_was_superseded_before_stays_for_who_lists_it(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 1);
    roster(f, ACO, "1A");
    move_all(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    person(f, "b1", "1A", 1); /* supersedes two segments, which the job pins */
    load_end_job(&f->load, &view);
    roster(f, ACO, "");
    roster(f, OTHER, "1A");
    assert_int_equal(move_all(f).moved, 1);
    assert_int_equal(rows_under(f, f->aco), 2);
    load_verify(&f->load);
    assert_int_equal(load_collect(&f->load), 2);
    assert_int_equal(rows_under(f, f->aco), 0);
}

static void what_was_exportable_at_an_instant_stays_so(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 1);
    person(f, "b2", "2A", 1);
    roster(f, ACO, "1A");
    struct load_view first = load_kick_off(&f->load, f->aco, "Patient");
    roster(f, ACO, "1A 2A");
    struct load_view second = load_kick_off(&f->load, f->aco, "Group");
    uint64_t before = export_hash(f, &second, first.transaction_time_us);
    assert_int_equal(move_all(f).moved, 2);
    struct load_view now = load_now(&f->load, f->aco);
    assert_int_equal(export_hash(f, &now, first.transaction_time_us), before);
    assert_int_equal(export_hash(f, &second, first.transaction_time_us), before);
    load_end_job(&f->load, &first);
    load_end_job(&f->load, &second);
}

static void a_way_back_waits_for_the_jobs_that_read_there(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 2);
    roster(f, ACO, "1A");
    move_all(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    uint64_t before = export_hash(f, &view, INSTANT_MIN_US);
    roster(f, ACO, "");
    roster(f, OTHER, "1A");
    assert_int_equal(move_all(f).moved, 1);
    roster(f, OTHER, "");
    roster(f, ACO, "1A");
    struct homes_counts counts = move_all(f);
    assert_int_equal(counts.moved, 0);
    assert_int_equal(counts.waiting, 1);
    assert_int_equal(counts.steps, 0); /* those that wait cost no commit */
    assert_int_equal(export_hash(f, &view, INSTANT_MIN_US), before);
    assert_int_equal(hash_now(f, f->aco), before);
    load_verify(&f->load);
    load_end_job(&f->load, &view);
    assert_int_equal(move_all(f).moved, 1); /* collects what it waited for */
    assert_int_equal(home_of(f, "b1"), f->aco);
    assert_int_equal(hash_now(f, f->aco), before);
    assert_int_equal(load_collect(&f->load), 0);
}

static void a_large_one_moves_in_parts_that_nobody_sees(void **state)
{
    struct fixture *f = *state;
    char id[16];
    person(f, "b1", "1A", 2);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "c%u", i);
        claim(f, "b1", id);
    }
    roster(f, ACO, "1A");
    uint64_t before = hash_now(f, f->aco);
    struct load_view early = load_kick_off(&f->load, f->aco, "Patient");
    unsigned steps = 0;
    struct load_view between = {0};
    while (waiting(f)) {
        struct homes_step done = step(f, 700);
        assert_in_range(done.ret_bytes, 1, 1400);
        assert_int_equal(done.ret_moved, home_of(f, "b1") == f->aco);
        assert_int_equal(hash_now(f, f->aco), before);
        assert_int_equal(export_hash(f, &early, INSTANT_MIN_US), before);
        load_verify(&f->load);
        if (++steps == 3) {
            load_fixture_reopen(&f->load); /* where it stood is in the store */
            between = load_kick_off(&f->load, f->aco, "Group");
        }
        assert_in_range(steps, 1, 100);
    }
    assert_in_range(steps, 5, 30);
    assert_int_equal(home_of(f, "b1"), f->aco);
    assert_int_equal(export_hash(f, &between, INSTANT_MIN_US), before);
    load_end_job(&f->load, &early);
    load_collect(&f->load);
    assert_int_equal(export_hash(f, &between, INSTANT_MIN_US), before);
    load_end_job(&f->load, &between);
    load_collect(&f->load);
    assert_int_equal(rows_under(f, 0), 0);
    assert_int_equal(hash_now(f, f->aco), before);
}

static void a_change_during_a_move_begins_it_again(void **state)
{
    struct fixture *f = *state;
    char id[16];
    person(f, "b1", "1A", 2);
    for (unsigned i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "c%u", i);
        claim(f, "b1", id);
    }
    roster(f, ACO, "1A");
    step(f, 1000);
    step(f, 1000);
    assert_true(rows_under(f, f->aco) > 0);
    person(f, "b1", "1A", 2); /* replaces what was copied */
    load_verify(&f->load);
    uint64_t before = hash_now(f, f->aco);
    step(f, 1000);
    assert_int_equal(rows_under(f, f->aco), 0); /* begun again */
    for (unsigned i = 0; waiting(f); i++) {
        step(f, 1000);
        load_verify(&f->load);
        assert_in_range(i, 0, 100);
    }
    assert_int_equal(home_of(f, "b1"), f->aco);
    assert_int_equal(hash_now(f, f->aco), before);
    assert_int_equal(rows_under(f, 0), 0);
}

static void a_roster_during_a_move_gives_it_another_end(void **state)
{
    struct fixture *f = *state;
    char id[16];
    person(f, "b1", "1A", 2);
    for (unsigned i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "c%u", i);
        claim(f, "b1", id);
    }
    roster(f, ACO, "1A");
    uint64_t before = hash_now(f, f->aco);
    step(f, 1000);
    roster(f, ACO, "");
    load_verify(&f->load);
    step(f, 1000); /* nobody's: what was copied goes, and it stays */
    step(f, 1000);
    assert_int_equal(rows_under(f, f->aco), 0);
    assert_int_equal(waiting(f), 0);
    assert_int_equal(home_of(f, "b1"), 0);
    roster(f, ACO, "1A");
    step(f, 1000);
    roster(f, ACO, "");
    roster(f, OTHER, "1A");
    move_all(f);
    assert_int_equal(home_of(f, "b1"), f->other);
    assert_int_equal(rows_under(f, f->aco), 0);
    assert_int_equal(rows_under(f, 0), 0);
    assert_int_equal(hash_now(f, f->other), before);
}

static void a_packers_delta_from_before_a_move_applies_after_it(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 2);
    roster(f, ACO, "1A");
    struct segment_scan *scan;
    struct stored_segment stored;
    struct beneficiary beneficiary;
    struct error error = {0};
    struct buffer value = BUFFER_INIT;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(beneficiary_get(txn, SLICE_LITERAL("b1"), &beneficiary, &error), STATUS_OK);
    assert_int_equal(segment_scan_open(txn, EOB, UINT64_MAX - 1, &scan, &error), STATUS_OK);
    segment_scan_seek(scan, 0, SLICE_LITERAL("b1"), INT64_MIN);
    assert_int_equal(segment_scan_next(scan, &stored, &error), STATUS_OK);
    buffer_append_slice(&value, stored.value);
    struct segment_name name = stored.name;
    struct slice again = buffer_slice(&value);
    struct delta delta = {.type = EOB,
                          .beneficiary = SLICE_LITERAL("b1"),
                          .seen = beneficiary.changed[EOB],
                          .kept_min_us = INT64_MAX,
                          .newest_us = INT64_MIN,
                          .superseded = &name,
                          .superseded_count = 1,
                          .segments = &again,
                          .segment_count = 1};
    segment_scan_close(scan);
    engine_end(txn);
    uint64_t before = hash_now(f, f->aco);
    assert_int_equal(move_all(f).moved, 1);
    struct delta_batch batch;
    delta_batch_init(&batch);
    delta_batch_add(&batch, &delta);
    assert_int_equal(writer_call(f->load.store.writer, &batch.request, &error), STATUS_OK);
    assert_int_equal(batch.ret_stale.size, 0);
    assert_int_equal(hash_now(f, f->aco), before);
    assert_int_equal(rows_under(f, 0), 0);
    delta_batch_release(&batch);
    buffer_release(&value);
}

static void a_removed_aco_is_not_chosen_while_there_is_another(void **state)
{
    struct fixture *f = *state;
    struct aco_remove remove;
    struct error error = {0};
    person(f, "b1", "1A", 2);
    roster(f, ACO, "1A");
    roster(f, OTHER, "1A");
    roster(f, THIRD, "1A");
    move_all(f);
    assert_int_equal(home_of(f, "b1"), f->aco);
    assert_int_equal(aco_remove_init(&remove, SLICE_LITERAL(OTHER), &error), STATUS_OK);
    assert_int_equal(writer_call(f->load.store.writer, &remove.request, &error), STATUS_OK);
    uint64_t before = hash_now(f, f->third);
    roster(f, ACO, "");
    assert_int_equal(move_all(f).moved, 1);
    assert_int_equal(home_of(f, "b1"), f->third);
    assert_int_equal(hash_now(f, f->third), before);
}

static void from_a_removed_aco_to_the_one_whose_roster_comes(void **state)
{
    struct fixture *f = *state;
    struct aco_remove remove;
    struct error error = {0};
    person(f, "b1", "1A", 2);
    roster(f, ACO, "1A");
    move_all(f);
    uint64_t before = hash_now(f, f->aco);
    assert_int_equal(aco_remove_init(&remove, SLICE_LITERAL(ACO), &error), STATUS_OK);
    assert_int_equal(writer_call(f->load.store.writer, &remove.request, &error), STATUS_OK);
    claim(f, "b1", "c1"); /* there is nobody else */
    assert_int_equal(move_all(f).moved, 0);
    roster(f, OTHER, "1A");
    assert_int_equal(move_all(f).moved, 1);
    assert_int_equal(home_of(f, "b1"), f->other);
    assert_int_equal(rows_under(f, f->aco), 0);
    assert_int_not_equal(hash_now(f, f->other), before); /* with the claim */
}

static void a_move_pushes_no_history_out(void **state)
{
    struct fixture *f = *state;
    struct interval_row row = {.count = 0};
    struct key key;
    person(f, "b1", "1A", 2);
    roster(f, ACO, "1A");
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    /* A row that is full: an open interval, and closed ones before it. */
    struct buffer value = BUFFER_INIT;
    key_aco_beneficiary(&key, f->aco, SLICE_LITERAL("b1"));
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(interval_row_get(txn, TABLE_EXPORTABLE, key_slice(&key), &row, NULL), STATUS_OK);
    engine_end(txn);
    assert_int_equal(row.count, 1);
    while (row.count < INTERVALS_MAX) {
        row.items[row.count] = (struct interval){.start_us = (int64_t)row.count * 10,
                                                 .end_us = (int64_t)row.count * 10 + 5,
                                                 .birth = row.items[0].birth};
        row.count++;
    }
    buffer_append_u8(&value, 'A');
    buffer_append_u8(&value, 1);
    buffer_append_u16(&value, (uint16_t)row.count);
    for (size_t i = 0; i < row.count; i++) {
        buffer_append_i64(&value, row.items[i].start_us);
        buffer_append_i64(&value, row.items[i].end_us);
        buffer_append_u64(&value, row.items[i].birth);
        buffer_append_u64(&value, row.items[i].death);
        buffer_append_u32(&value, row.items[i].home);
    }
    store_fixture_put(&f->load.store, TABLE_EXPORTABLE, key_slice(&key), buffer_slice(&value));
    buffer_release(&value);
    struct homes_counts counts = move_all(f);
    assert_int_equal(counts.moved, 0);
    assert_int_equal(counts.waiting, 1);
    load_end_job(&f->load, &view); /* now the old version is needed by nobody */
    assert_int_equal(move_all(f).moved, 1);
    txn = store_fixture_read(&f->load.store);
    assert_int_equal(interval_row_get(txn, TABLE_EXPORTABLE, key_slice(&key), &row, NULL), STATUS_OK);
    engine_end(txn);
    assert_int_equal(row.count, INTERVALS_MAX);
    assert_int_equal(interval_row_open_one(&row)->home, f->aco);
}

static void damage_costs_only_itself(void **state)
{
    struct fixture *f = *state;
    person(f, "b1", "1A", 2);
    person(f, "b2", "2A", 2);
    person(f, "b3", "3A", 2);
    roster(f, ACO, "1A 2A 3A");
    struct engine_cursor *cursor;
    struct slice key, value;
    struct buffer kept = BUFFER_INIT;
    struct key bad, prefix;
    struct error error = {0};
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_cursor_open(txn, TABLE_SEGMENT + EOB, &cursor, &error), STATUS_OK);
    key_segment_prefix(&prefix, 0, SLICE_LITERAL("b2"));
    engine_seek_prefix(cursor, key_slice(&prefix), (struct slice){0});
    assert_int_equal(engine_next(cursor, &key, &value, &error), STATUS_OK);
    bad.size = key.size;
    memcpy(bad.bytes, key.data, key.size);
    buffer_append_slice(&kept, value);
    engine_cursor_close(cursor);
    engine_end(txn);
    store_fixture_put(&f->load.store, TABLE_SEGMENT + EOB, key_slice(&bad), SLICE_LITERAL("Gx"));
    struct homes_counts counts = move_all(f);
    assert_int_equal(counts.moved, 2);
    assert_int_equal(counts.waiting, 1);
    assert_int_equal(home_of(f, "b2"), 0);
    store_fixture_put(&f->load.store, TABLE_SEGMENT + EOB, key_slice(&bad), buffer_slice(&kept));
    assert_int_equal(move_all(f).moved, 1);
    assert_int_equal(home_of(f, "b2"), f->aco);
    buffer_release(&kept);
}

static void a_damaged_summary_costs_only_itself(void **state)
{
    struct fixture *f = *state;
    struct summary summary;
    struct key key;
    struct error error = {0};
    struct buffer kept = BUFFER_INIT;
    struct slice value;
    person(f, "b1", "1A", 2);
    person(f, "b2", "2A", 2);
    roster(f, ACO, "1A 2A");
    key_aco_beneficiary(&key, 0, SLICE_LITERAL("b1"));
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_get(txn, TABLE_SUMMARY, key_slice(&key), &value, &error), STATUS_OK);
    buffer_append_slice(&kept, value);
    engine_end(txn);
    assert_int_equal(summary_parse(SLICE_LITERAL("U"), &summary, &error), STATUS_CORRUPT);
    store_fixture_put(&f->load.store, TABLE_SUMMARY, key_slice(&key), SLICE_LITERAL("U"));
    struct homes_counts counts = move_all(f);
    assert_int_equal(counts.moved, 1);
    assert_int_equal(counts.waiting, 1);
    assert_int_equal(rows_under(f, f->aco), 3); /* of the other: nothing was copied in vain */
    store_fixture_put(&f->load.store, TABLE_SUMMARY, key_slice(&key), buffer_slice(&kept));
    assert_int_equal(move_all(f).moved, 1);
    buffer_release(&kept);
}

static void a_row_that_is_missing_costs_only_itself(void **state)
{
    struct fixture *f = *state;
    struct key key;
    struct slice value;
    struct buffer kept = BUFFER_INIT;
    person(f, "b1", "1A", 1);
    person(f, "b2", "2A", 1);
    roster(f, ACO, "1A 2A");
    key_aco_beneficiary(&key, f->aco, SLICE_LITERAL("b1"));
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_get(txn, TABLE_EXPORTABLE, key_slice(&key), &value, NULL), STATUS_OK);
    buffer_append_slice(&kept, value);
    engine_end(txn);
    store_fixture_delete(&f->load.store, TABLE_EXPORTABLE, key_slice(&key));
    assert_int_equal(step(f, 0).ret_moved, 1);
    assert_int_equal(home_of(f, "b2"), f->aco);
    assert_int_equal(move_all(f).waiting, 1);
    store_fixture_put(&f->load.store, TABLE_EXPORTABLE, key_slice(&key), buffer_slice(&kept));
    assert_int_equal(move_all(f).moved, 1);
    buffer_release(&kept);
}

/* Rosters, loads, kick-offs and steps in any order against what each view gave at its kick-off. */
static void in_any_order_every_view_stays_as_it_was(void **state)
{
    enum { VIEWS = 4, PEOPLE = 5 };
    struct fixture *f = *state;
    uint64_t random = store_fixture_seed();
    const char *const acos[] = {ACO, OTHER, THIRD};
    const uint32_t numbers[] = {f->aco, f->other, f->third};
    struct {
        struct load_view view;
        int64_t since_us;
        uint64_t hash;
        bool is_active;
    } views[VIEWS] = {0};
    unsigned claims = 0;
    char id[16], mbi[16];
    for (unsigned i = 0; i < PEOPLE; i++) {
        snprintf(id, sizeof id, "b%u", i);
        snprintf(mbi, sizeof mbi, "%uA", i);
        person(f, id, mbi, 2);
    }
    for (unsigned turn = 0; turn < 250; turn++) {
        uint64_t chance = store_fixture_random(&random);
        size_t slot = (chance >> 8) % VIEWS, aco = (chance >> 16) % 3;
        switch (chance % 8) {
        case 0:
        case 1: {
            struct buffer mbis = BUFFER_INIT;
            for (unsigned i = 0; i < PEOPLE; i++) {
                if (chance >> (24 + i) & 1)
                    buffer_appendf(&mbis, "%s%uA", mbis.size ? " " : "", i);
            }
            roster(f, acos[aco], mbis.size ? buffer_text(&mbis) : "");
            buffer_release(&mbis);
            break;
        }
        case 2: {
            char beneficiary[16];
            snprintf(beneficiary, sizeof beneficiary, "b%u", (unsigned)(chance >> 24) % PEOPLE);
            snprintf(id, sizeof id, "x%u", claims++);
            snprintf(mbi, sizeof mbi, "%uA", (unsigned)(chance >> 24) % PEOPLE);
            if (chance >> 40 & 1)
                claim(f, beneficiary, id);
            else
                person(f, beneficiary, mbi, 2); /* replaces what is there */
            break;
        }
        case 3: {
            if (views[slot].is_active)
                break;
            char endpoint[16];
            snprintf(endpoint, sizeof endpoint, "e%zu", slot);
            views[slot].view = load_kick_off(&f->load, numbers[aco], endpoint);
            views[slot].since_us =
                chance >> 24 & 1 ? views[(slot + 1) % VIEWS].view.transaction_time_us : INSTANT_MIN_US;
            views[slot].hash = export_hash(f, &views[slot].view, views[slot].since_us);
            views[slot].is_active = true;
            break;
        }
        case 4:
            if (views[slot].is_active)
                load_end_job(&f->load, &views[slot].view);
            views[slot].is_active = false;
            if (chance >> 24 & 1)
                load_collect(&f->load);
            break;
        default:
            step(f, 1 + (chance >> 24) % 2000);
        }
        for (size_t i = 0; i < VIEWS; i++) {
            if (views[i].is_active && export_hash(f, &views[i].view, views[i].since_us) != views[i].hash)
                fail_msg("turn %u: view %zu changed", turn, i);
        }
        if (turn % 10 == 0)
            load_verify(&f->load);
    }
    for (size_t i = 0; i < VIEWS; i++) {
        if (views[i].is_active)
            load_end_job(&f->load, &views[i].view);
    }
    load_collect(&f->load);
    assert_int_equal(move_all(f).waiting, 0);
}

int main(void)
{
    load_clock_shift(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(from_nobody_to_the_first_aco, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_to_do_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_nobody_exports_stays_where_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(two_acos_share_one_home_and_the_one_that_stays_becomes_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_active_job_finds_what_it_always_found, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_superseded_before_stays_for_who_lists_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_exportable_at_an_instant_stays_so, setup, teardown),
        cmocka_unit_test_setup_teardown(a_way_back_waits_for_the_jobs_that_read_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_one_moves_in_parts_that_nobody_sees, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_during_a_move_begins_it_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_roster_during_a_move_gives_it_another_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_packers_delta_from_before_a_move_applies_after_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removed_aco_is_not_chosen_while_there_is_another, setup, teardown),
        cmocka_unit_test_setup_teardown(from_a_removed_aco_to_the_one_whose_roster_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_move_pushes_no_history_out, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_costs_only_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_that_is_missing_costs_only_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_summary_costs_only_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(in_any_order_every_view_stays_as_it_was, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
