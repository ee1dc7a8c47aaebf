#include "storage/import.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/attribution.h"
#include "storage/packer.h"
#include "storage/resources.h"
#include "tests/support/load_fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#define EOB      RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define COVERAGE RESOURCE_TYPE_COVERAGE
#define PATIENT  RESOURCE_TYPE_PATIENT
#define ACO      "A0001"

struct fixture {
    struct load_fixture load;
    uint32_t aco;
    struct buffer text;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    load_clock_shift(0);
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_clock_shift(0);
    load_verify(&f->load);
    load_fixture_close(&f->load);
    buffer_release(&f->text);
    mem_free(f);
    return 0;
}

static void line(struct fixture *f, enum resource_type type, const char *id, unsigned version,
                 const char *time)
{
    load_line(&f->text, type, id, "b", type == PATIENT ? "1S00E00AA00" : NULL, version, time);
}

/* Imports the lines so far, under the ACO, and forgets them. */
static struct import_counts import(struct fixture *f)
{
    struct import_counts counts = load_text(&f->load, buffer_slice(&f->text), ACO);
    buffer_reset(&f->text);
    return counts;
}

static struct import_counts import_file_of(struct fixture *f, const char *ending, struct slice contents,
                                           bool strict)
{
    const char *path = load_file(&f->load, ending, contents);
    struct import_options options = {.paths = &path, .path_count = 1, .aco_id = ACO, .strict = strict};
    return load_run(&f->load, &options);
}

static struct slice gzip(struct slice raw)
{
    static char bytes[1 << 20];
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)raw.data;
    stream.avail_in = (uInt)raw.size;
    stream.next_out = (Bytef *)bytes;
    stream.avail_out = sizeof bytes;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return slice_make(bytes, sizeof bytes - stream.avail_out);
}

static void expect_exported(struct fixture *f, const char *text)
{
    assert_string_equal(load_exported_now(&f->load, f->aco), text);
}

static struct load_resource *find(struct load_export *export, const char *id)
{
    for (size_t i = 0; i < export->count; i++) {
        if (slice_equal_text(export->items[i].id, id))
            return &export->items[i];
    }
    fail_msg("%s is not exported", id);
    return NULL;
}

static int64_t stamp_now(struct fixture *f, const char *id)
{
    struct load_export export;
    struct load_view view = load_now(&f->load, f->aco);
    load_export_read(&f->load, &view, INSTANT_MIN_US, LOAD_BOUND_GROUP, &export);
    int64_t us = find(&export, id)->stamp_us;
    load_export_release(&export);
    return us;
}

static const char *text_at(struct fixture *f, const struct load_view *view, int64_t since_us)
{
    struct load_export export;
    load_export_read(&f->load, view, since_us, LOAD_BOUND_GROUP, &export);
    const char *text = load_export_text(&export);
    load_export_release(&export);
    return text;
}

/* ---- which version counts ---- */

static void a_newer_source_time_replaces_and_an_older_one_is_late(void **state)
{
    struct fixture *f = *state;
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    struct import_counts counts = import(f);
    assert_int_equal(counts.added, 2);
    assert_int_equal(counts.beneficiaries, 1);
    line(f, EOB, "e", 2, "2020-05-02T00:00:00Z");
    assert_int_equal(import(f).replaced, 1);
    line(f, EOB, "e", 3, "2020-05-01T12:00:00Z");
    assert_int_equal(import(f).late, 1);
    expect_exported(f, "ExplanationOfBenefit/e v2\nPatient/b v1\n");
}

static void at_equal_times_the_later_arrival_wins(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e", 2, "2020-05-01T00:00:00Z");
    struct import_counts counts = import(f);
    assert_int_equal(counts.added, 1);
    assert_int_equal(counts.late, 1);
    expect_exported(f, "ExplanationOfBenefit/e v2\n");
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    assert_int_equal(import(f).replaced, 1);
    expect_exported(f, "ExplanationOfBenefit/e v1\n");
}

static void the_order_of_lines_with_different_times_does_not_matter(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 3, "2020-05-03T00:00:00Z");
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e", 2, "2020-05-02T00:00:00Z");
    import(f);
    expect_exported(f, "ExplanationOfBenefit/e v3\n");
}

static void the_same_load_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e1", 1, NULL);
    line(f, EOB, "e2", 1, "2300-05-01T00:00:00Z");
    line(f, COVERAGE, "c", 1, "2020-05-01T00:00:00.123456789Z");
    struct buffer copy = BUFFER_INIT;
    buffer_append_slice(&copy, buffer_slice(&f->text));
    struct import_counts counts = import(f);
    assert_int_equal(counts.added, 4);
    assert_int_equal(counts.undated, 1);
    assert_int_equal(counts.future, 1);
    uint64_t before = load_contents_hash(&f->load);
    for (int i = 0; i < 3; i++) {
        load_kick_off(&f->load, f->aco, i == 0 ? "Patient" : i == 1 ? "Group/all" : "other");
        before = load_contents_hash(&f->load);
        counts = load_text(&f->load, buffer_slice(&copy), ACO);
        assert_int_equal(counts.identical, 4);
        assert_int_equal(counts.added + counts.replaced + counts.late + counts.beneficiaries, 0);
        assert_int_equal(load_contents_hash(&f->load), before);
    }
    buffer_release(&copy);
}

/* ---- stamps ---- */

static void a_first_load_keeps_its_times_to_the_letter(void **state)
{
    struct fixture *f = *state;
    struct load_export export;
    line(f, EOB, "e", 1, "2020-05-01T02:00:00.12+02:00");
    struct import_counts counts = import(f);
    assert_int_equal(counts.stamped, 0);
    struct load_view view = load_now(&f->load, f->aco);
    load_export_read(&f->load, &view, INSTANT_MIN_US, LOAD_BOUND_GROUP, &export);
    assert_int_equal(export.count, 1);
    assert_non_null(
        memmem(export.items[0].json.data, export.items[0].json.size, "\"2020-05-01T02:00:00.12+02:00\"", 30));
    load_export_release(&export);
}

static void a_resource_without_a_time_gets_the_first_of_2020(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, NULL);
    import(f);
    assert_int_equal(stamp_now(f, "e"), LAST_UPDATED_DEFAULT_US);
}

static void a_time_that_is_still_to_come_becomes_the_import_s(void **state)
{
    struct fixture *f = *state;
    int64_t before_us = clock_now_us();
    line(f, EOB, "e", 1, "2300-05-01T00:00:00Z");
    struct import_counts counts = import(f);
    assert_int_equal(counts.future, 1);
    assert_int_equal(counts.stamped, 0);
    assert_in_range(stamp_now(f, "e"), before_us, clock_now_us());
}

static void what_an_export_looked_past_is_stamped_later_than_it(void **state)
{
    struct fixture *f = *state;
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    import(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    load_end_job(&f->load, &view);
    line(f, EOB, "late", 1, "2020-06-01T00:00:00Z");
    struct import_counts counts = import(f);
    assert_int_equal(counts.stamped, 1);
    assert_true(stamp_now(f, "late") > view.transaction_time_us);
    struct load_view now = load_now(&f->load, f->aco);
    assert_string_equal(text_at(f, &now, view.transaction_time_us), "ExplanationOfBenefit/late v1\n");
}

static void a_time_later_than_the_last_export_is_kept(void **state)
{
    struct fixture *f = *state;
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    import(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    load_clock_shift(1000);
    char time[INSTANT_TEXT_SIZE];
    instant_format(view.transaction_time_us + 1, time);
    line(f, EOB, "e", 1, time);
    instant_format(view.transaction_time_us, time);
    line(f, EOB, "at", 1, time);
    struct import_counts counts = import(f);
    assert_int_equal(counts.stamped, 1); /* the one at the transactionTime itself */
    assert_int_equal(stamp_now(f, "e"), view.transaction_time_us + 1);
    assert_true(stamp_now(f, "at") > view.transaction_time_us + 1);
}

static void an_export_of_an_aco_that_does_not_read_it_stamps_nothing(void **state)
{
    struct fixture *f = *state;
    uint32_t other = store_fixture_add_aco(&f->load.store, "A0002");
    load_kick_off(&f->load, other, "Patient");
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    import(f);
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    assert_int_equal(import(f).stamped, 0);
}

static void stamps_grow_though_the_clock_was_set_back(void **state)
{
    struct fixture *f = *state;
    load_clock_shift(5000);
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    import(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    load_clock_shift(-5000);
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    assert_int_equal(import(f).stamped, 1);
    assert_true(stamp_now(f, "e") > view.transaction_time_us);
}

static void what_was_away_with_another_aco_comes_back_stamped(void **state)
{
    struct fixture *f = *state;
    store_fixture_add_aco(&f->load.store, "A0002");
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    import(f);
    load_roster(&f->load, ACO, "r1", clock_now_us(), "1S00E00AA00");
    struct load_view view = load_kick_off(&f->load, f->aco, "Group/all");
    load_end_job(&f->load, &view);
    load_roster(&f->load, ACO, "r2", clock_now_us(), "");
    load_roster(&f->load, "A0002", "r3", clock_now_us(), "1S00E00AA00");
    line(f, EOB, "e", 1, "2020-06-01T00:00:00Z");
    struct slice text = buffer_slice(&f->text);
    assert_int_equal(load_text(&f->load, text, NULL).stamped, 1);
    load_roster(&f->load, ACO, "r4", clock_now_us(), "1S00E00AA00");
    struct load_view now = load_now(&f->load, f->aco);
    assert_string_equal(text_at(f, &now, view.transaction_time_us), "ExplanationOfBenefit/e v1\n");
}

/* ---- versions ---- */

static void a_replaced_resource_leaves_the_others_with_their_stamps(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        char id[32], time[32];
        snprintf(id, sizeof id, "e%d", i);
        snprintf(time, sizeof time, "2020-05-0%dT00:00:00Z", i + 1);
        line(f, EOB, id, 1, time);
    }
    import(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    int64_t kept_us = stamp_now(f, "e4");
    line(f, EOB, "e2", 2, "2020-06-01T00:00:00Z");
    assert_int_equal(import(f).replaced, 1);
    assert_int_equal(stamp_now(f, "e4"), kept_us);
    assert_string_equal(text_at(f, &view, INSTANT_MIN_US),
                        "ExplanationOfBenefit/e0 v1\nExplanationOfBenefit/e1 v1\n"
                        "ExplanationOfBenefit/e2 v1\nExplanationOfBenefit/e3 v1\n"
                        "ExplanationOfBenefit/e4 v1\n");
    struct load_view now = load_now(&f->load, f->aco);
    assert_string_equal(text_at(f, &now, view.transaction_time_us), "ExplanationOfBenefit/e2 v2\n");
    load_end_job(&f->load, &view);
    assert_int_equal(load_collect(&f->load), 1);
    expect_exported(f, "ExplanationOfBenefit/e0 v1\nExplanationOfBenefit/e1 v1\n"
                       "ExplanationOfBenefit/e2 v2\nExplanationOfBenefit/e3 v1\n"
                       "ExplanationOfBenefit/e4 v1\n");
}

static void without_a_job_what_is_replaced_goes_at_once(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    import(f);
    line(f, EOB, "e", 2, "2020-06-01T00:00:00Z");
    import(f);
    assert_int_equal(load_collect(&f->load), 0);
    struct engine_table_stats stats;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_table_stats(txn, TABLE_SEGMENT + EOB, &stats, NULL), STATUS_OK);
    assert_int_equal(stats.entries, 1);
    engine_end(txn);
}

static void a_collection_leaves_what_an_older_job_sees(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    import(f);
    struct load_view first = load_kick_off(&f->load, f->aco, "Patient");
    line(f, EOB, "e", 2, "2020-05-02T00:00:00Z");
    import(f);
    struct load_view second = load_kick_off(&f->load, f->aco, "Group/all");
    line(f, EOB, "e", 3, "2020-05-03T00:00:00Z");
    import(f);
    assert_int_equal(load_collect(&f->load), 0);
    load_end_job(&f->load, &first);
    assert_int_equal(load_collect(&f->load), 1);
    assert_string_equal(text_at(f, &second, INSTANT_MIN_US), "ExplanationOfBenefit/e v2\n");
    load_end_job(&f->load, &second);
    assert_int_equal(load_collect(&f->load), 1);
    expect_exported(f, "ExplanationOfBenefit/e v3\n");
}

static void a_resource_of_another_beneficiary_is_refused(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    import(f);
    load_line(&f->text, EOB, "e", "thief", NULL, 2, "2020-06-01T00:00:00Z");
    struct import_counts counts = import(f);
    assert_int_equal(counts.refused, 1);
    assert_int_equal(counts.beneficiaries, 0);
    assert_string_equal(
        buffer_text(&f->load.refusals),
        "1 this resource is stored under another beneficiary: moving it could show it to another ACO\n");
    expect_exported(f, "ExplanationOfBenefit/e v1\n");
}

/* The first segment of claims, key and value. */
static void read_segment(struct fixture *f, struct buffer *ret_key, struct buffer *ret_value)
{
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct engine_cursor *cursor;
    struct slice key, value;
    assert_int_equal(engine_cursor_open(txn, TABLE_SEGMENT + EOB, &cursor, NULL), STATUS_OK);
    assert_int_equal(engine_next(cursor, &key, &value, NULL), STATUS_OK);
    buffer_append_slice(ret_key, key);
    buffer_append_slice(ret_value, value);
    engine_cursor_close(cursor);
    engine_end(txn);
}

static void a_damaged_segment_costs_only_the_lines_of_its_beneficiary_and_type(void **state)
{
    struct fixture *f = *state;
    struct buffer key = BUFFER_INIT, value = BUFFER_INIT;
    line(f, EOB, "e1", 1, NULL);
    import(f);
    read_segment(f, &key, &value);
    store_fixture_put(&f->load.store, TABLE_SEGMENT + EOB, buffer_slice(&key), SLICE_LITERAL("rot"));
    line(f, EOB, "e1", 2, "2020-06-01T00:00:00Z");
    line(f, EOB, "e2", 1, NULL);
    line(f, PATIENT, "b", 1, NULL);
    load_line(&f->text, EOB, "x1", "another", NULL, 1, NULL);
    struct import_counts counts = import(f);
    assert_int_equal(counts.refused, 2);
    assert_int_equal(counts.added, 2);
    assert_non_null(strstr(buffer_text(&f->load.refusals), "1 what is stored of its beneficiary is damaged"));
    assert_non_null(strstr(buffer_text(&f->load.refusals), "2 what is stored of its beneficiary is damaged"));

    store_fixture_put(&f->load.store, TABLE_SEGMENT + EOB, buffer_slice(&key), buffer_slice(&value));
    line(f, EOB, "e2", 1, NULL);
    assert_int_equal(import(f).added, 1);
    buffer_release(&key);
    buffer_release(&value);
}

static void of_two_beneficiaries_with_one_new_id_one_is_refused(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 40; i++) {
        char beneficiary[32];
        snprintf(beneficiary, sizeof beneficiary, "b%d", i);
        load_line(&f->text, EOB, "e", beneficiary, NULL, 1, "2020-06-01T00:00:00Z");
    }
    const char *path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    struct import_options options = {.paths = &path, .path_count = 1, .aco_id = ACO, .threads = 8};
    struct import_counts counts = load_run(&f->load, &options);
    assert_int_equal(counts.added, 1);
    assert_int_equal(counts.refused, 39);
    expect_exported(f, "ExplanationOfBenefit/e v1\n");
}

/* ---- files ---- */

static void lines_may_be_blank_end_in_crlf_begin_with_a_bom_or_lack_an_end(void **state)
{
    struct fixture *f = *state;
    struct buffer odd = BUFFER_INIT;
    line(f, EOB, "e1", 1, NULL);
    buffer_append_text(&odd, "\xef\xbb\xbf");
    buffer_append(&odd, f->text.data, f->text.size - 1);
    buffer_append_text(&odd, "\r\n\n   \r\n");
    buffer_reset(&f->text);
    line(f, EOB, "e2", 1, NULL);
    buffer_append(&odd, f->text.data, f->text.size - 1);
    struct import_counts counts = import_file_of(f, ".ndjson", buffer_slice(&odd), false);
    assert_int_equal(counts.lines, 2);
    assert_int_equal(counts.added, 2);
    assert_int_equal(counts.refused, 0);
    buffer_release(&odd);
}

static void an_empty_file_is_a_file_without_lines(void **state)
{
    struct fixture *f = *state;
    struct import_counts counts = import_file_of(f, ".ndjson", SLICE_LITERAL(""), false);
    assert_int_equal(counts.files, 1);
    assert_int_equal(counts.files_failed, 0);
    assert_int_equal(counts.lines, 0);
}

static void bad_lines_are_named_and_the_rest_goes_on(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, NULL);
    buffer_append_text(&f->text, "{\"resourceType\":\"ExplanationOfBenefit\"\n");
    buffer_append_text(&f->text, "{\"resourceType\":\"Observation\",\"id\":\"o\"}\n");
    line(f, EOB, "bad id", 1, NULL);
    line(f, EOB, "e2", 1, "yesterday");
    line(f, EOB, "e3", 1, NULL);
    struct import_counts counts = import(f);
    assert_int_equal(counts.lines, 6);
    assert_int_equal(counts.added, 2);
    assert_int_equal(counts.refused, 3);
    assert_int_equal(counts.unsupported, 1);
    const char *refusals = buffer_text(&f->load.refusals);
    assert_memory_equal(refusals, "2 ", 2);
    assert_non_null(strstr(refusals, "\n4 id"));
    assert_non_null(strstr(refusals, "\n5 meta.lastUpdated"));
}

static void a_line_that_is_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, NULL);
    memset(buffer_extend(&f->text, RESOURCE_BYTES_MAX + 1), ' ', RESOURCE_BYTES_MAX + 1);
    f->text.data[f->text.size - 1] = '1';
    buffer_append_char(&f->text, '\n');
    line(f, EOB, "e2", 1, NULL);
    struct import_counts counts = import(f);
    assert_int_equal(counts.added, 2);
    assert_int_equal(counts.refused, 1);
    assert_memory_equal(buffer_text(&f->load.refusals), "2 the line is longer", 20);
}

static void strict_takes_nothing_of_a_file_with_a_bad_line(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "good", 1, NULL);
    char good[STORE_FIXTURE_PATH_MAX + 64];
    snprintf(good, sizeof good, "%s", load_file(&f->load, ".ndjson", buffer_slice(&f->text)));
    buffer_reset(&f->text);
    line(f, EOB, "e1", 1, NULL);
    buffer_append_text(&f->text, "[]\n");
    const char *bad = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    const char *const paths[] = {good, bad, good};
    struct import_options options = {.paths = paths, .path_count = 3, .aco_id = ACO, .strict = true};
    struct import_counts counts = load_run(&f->load, &options);
    assert_int_equal(counts.files, 3);
    assert_int_equal(counts.files_failed, 1);
    assert_int_equal(counts.refused, 1);
    assert_int_equal(counts.added, 1);
    expect_exported(f, "ExplanationOfBenefit/good v1\n");
}

static void gzip_is_read_and_a_truncated_file_gives_its_good_lines(void **state)
{
    struct fixture *f = *state;
    char id[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(id, sizeof id, "e%d-%d", i, i * 7919 % 1000);
        line(f, EOB, id, (unsigned)(i * 31337 % 9973), NULL);
    }
    struct slice whole = gzip(buffer_slice(&f->text));
    struct import_counts counts =
        import_file_of(f, ".ndjson.gz", slice_make(whole.data, whole.size / 2), false);
    assert_int_equal(counts.files_failed, 1);
    assert_in_range(counts.added, 500, 1999);
    assert_int_equal(counts.refused, 0);
    assert_non_null(strstr(buffer_text(&f->load.refusals), "cut short"));
    uint64_t half = counts.added;
    counts = import_file_of(f, ".ndjson.gz", slice_make(whole.data, whole.size / 2), true);
    assert_int_equal(counts.identical, 0); /* strict: not even looked up */
    assert_int_equal(counts.files_failed, 1);
    counts = import_file_of(f, ".ndjson.gz", whole, false);
    assert_int_equal(counts.identical, half);
    assert_int_equal(counts.added, 2000 - half);
    assert_int_equal(counts.files_failed, 0);
}

static void a_bundle_gives_its_resources(void **state)
{
    struct fixture *f = *state;
    struct buffer bundle = BUFFER_INIT;
    buffer_append_text(&bundle, "{\n \"resourceType\" : \"Bundle\",\n \"entry\": [");
    for (int i = 0; i < 3; i++) {
        char id[32];
        snprintf(id, sizeof id, "e%d", i);
        buffer_reset(&f->text);
        line(f, EOB, id, 1, NULL);
        buffer_appendf(&bundle, "%s{\"fullUrl\":\"x\",\"search\":{\"mode\":\"match\"},\n\"resource\":\n%.*s}",
                       i ? "," : "", SLICE_PRINT(buffer_slice(&f->text)));
    }
    buffer_append_text(&bundle, ",{\"resource\":{\"resourceType\":\"Observation\"}}, {}]}");
    struct import_counts counts = import_file_of(f, ".json", buffer_slice(&bundle), false);
    assert_int_equal(counts.added, 3);
    assert_int_equal(counts.unsupported, 1);
    assert_int_equal(counts.files_failed, 0);
    expect_exported(f,
                    "ExplanationOfBenefit/e0 v1\nExplanationOfBenefit/e1 v1\nExplanationOfBenefit/e2 v1\n");
    /* Broken at its end: nothing of it counts. */
    bundle.data[bundle.size - 1] = ' ';
    counts = import_file_of(f, ".json", buffer_slice(&bundle), false);
    assert_int_equal(counts.files_failed, 1);
    assert_int_equal(counts.lines, 0);
    buffer_release(&bundle);
}

static void a_json_file_may_be_one_resource(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, NULL);
    struct import_counts counts = import_file_of(f, ".json.gz", gzip(buffer_slice(&f->text)), false);
    assert_int_equal(counts.added, 1);
    expect_exported(f, "ExplanationOfBenefit/e v1\n");
}

/* Many beneficiaries, in an order that scatters them. */
static void scatter(struct buffer *text, int count)
{
    for (int i = 0; i < count; i++) {
        char id[32], beneficiary[32], time[40];
        int n = i * 7919 % count;
        snprintf(beneficiary, sizeof beneficiary, "b%d", n % 37);
        snprintf(id, sizeof id, "e%d", n);
        snprintf(time, sizeof time, "2020-05-%02dT00:00:00Z", 1 + n % 28);
        load_line(text, n % 3 ? EOB : COVERAGE, id, beneficiary, NULL, (unsigned)n, n % 5 ? time : NULL);
        if (n % 11 == 0) /* a newer version somewhere else */
            load_line(text, n % 3 ? EOB : COVERAGE, id, beneficiary, NULL, (unsigned)n + 100000,
                      "2021-01-01T00:00:00Z");
    }
}

static void a_small_memory_gives_the_same_export(void **state)
{
    struct fixture *f = *state;
    struct fixture *other;
    scatter(&f->text, 3000);
    setup((void **)&other);
    struct slice contents = buffer_slice(&f->text);
    struct import_counts one = load_text(&f->load, contents, ACO);
    const char *path = load_file(&other->load, ".ndjson", contents);
    struct import_options options = {
        .paths = &path, .path_count = 1, .aco_id = ACO, .memory_bytes = 1, .threads = 3};
    struct import_counts two = load_run(&other->load, &options);
    assert_int_equal(one.lines, two.lines);
    assert_int_equal(one.added, 3000);
    assert_int_equal(two.added, 3000);
    char *want = mem_strdup(load_exported_now(&f->load, f->aco));
    assert_string_equal(load_exported_now(&other->load, other->aco), want);
    mem_free(want);
    assert_int_equal(other->load.bytes_done, contents.size);
    teardown((void **)&other);
}

static size_t segments_of(struct fixture *f, enum resource_type type)
{
    struct engine_table_stats stats;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_table_stats(txn, (unsigned)TABLE_SEGMENT + (unsigned)type, &stats, NULL),
                     STATUS_OK);
    engine_end(txn);
    return stats.entries;
}

static void a_beneficiary_that_straddles_a_full_memory_is_packed_once(void **state)
{
    enum { BENEFICIARIES = 60, LINES_EACH = 300 };
    struct fixture *f = *state;
    for (int i = 0; i < BENEFICIARIES * LINES_EACH; i++) {
        char id[32], beneficiary[32];
        snprintf(beneficiary, sizeof beneficiary, "b%04d", i / LINES_EACH);
        snprintf(id, sizeof id, "e%06d", i);
        load_line(&f->text, EOB, id, beneficiary, NULL, 1, NULL);
    }
    const char *path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    struct import_options options = {
        .paths = &path, .path_count = 1, .aco_id = ACO, .memory_bytes = 500000, .threads = 2};
    assert_true(f->text.size > 2 * options.memory_bytes);
    struct import_counts counts = load_run(&f->load, &options);
    assert_int_equal(counts.added, BENEFICIARIES * LINES_EACH);
    assert_int_equal(counts.beneficiaries, BENEFICIARIES);
    assert_int_equal(segments_of(f, EOB), BENEFICIARIES);
    counts = load_run(&f->load, &options);
    assert_int_equal(counts.identical, BENEFICIARIES * LINES_EACH);
}

static void a_beneficiary_that_fills_the_memory_is_packed_in_parts(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5000; i++) {
        char id[32];
        snprintf(id, sizeof id, "e%06d", i);
        line(f, EOB, id, 1, NULL);
    }
    const char *path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    struct import_options options = {
        .paths = &path, .path_count = 1, .aco_id = ACO, .memory_bytes = 300000, .threads = 2};
    struct import_counts counts = load_run(&f->load, &options);
    assert_int_equal(counts.added, 5000);
    assert_in_range(counts.beneficiaries, 2, 100);
}

/* Text that no deflate makes smaller than half. */
static void append_noise(struct buffer *text, size_t bytes, uint32_t *state)
{
    for (size_t i = 0; i < bytes; i++) {
        *state = *state * 1664525 + 1013904223;
        buffer_append_char(text,
                           "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[*state >> 26]);
    }
}

/* One beneficiary's lines, each of so many bytes of noise. */
static void append_heavy(struct buffer *text, int count, size_t bytes, unsigned version)
{
    uint32_t noise = version;
    for (int i = 0; i < count; i++) {
        buffer_appendf(
            text,
            "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"e%06d\",\"meta\":{\"lastUpdated\":"
            "\"202%u-01-01T00:00:00Z\"},\"patient\":{\"reference\":\"Patient/b\"},\"disposition\":\"",
            i, version);
        append_noise(text, bytes, &noise);
        buffer_append_text(text, "\"}\n");
    }
}

static void a_beneficiary_of_more_than_a_delta_holds_comes_in_several(void **state)
{
    enum { CLAIMS = 90, BYTES = 256 * 1024 };
    struct fixture *f = *state;
    append_heavy(&f->text, CLAIMS, BYTES, 1);
    assert_true(f->text.size > 2 * PACK_BYTES_MAX);
    struct import_counts counts = import(f);
    assert_int_equal(counts.added, CLAIMS);
    assert_int_equal(counts.beneficiaries, 1);
    append_heavy(&f->text, CLAIMS, BYTES, 2);
    counts = import(f);
    assert_int_equal(counts.replaced, CLAIMS);
    append_heavy(&f->text, CLAIMS, BYTES, 2);
    assert_int_equal(import(f).identical, CLAIMS);
}

/* A small claim stands with large ones in a segment, which is written anew when the small one changes. */
static void what_must_be_written_anew_is_bounded_too(void **state)
{
    enum { LARGE = 100, BYTES = 170 * 1024 };
    struct fixture *f = *state;
    uint32_t noise = 7;
    for (unsigned version = 1; version <= 2; version++) {
        for (int i = 0; i < LARGE; i++) {
            for (unsigned small = 0; small < 2; small++) {
                if (version == 2 && !small)
                    continue;
                buffer_appendf(
                    &f->text,
                    "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"e%06d-%u\",\"meta\":{"
                    "\"lastUpdated\":\"202%u-01-01T00:00:00Z\"},\"patient\":{\"reference\":\"Patient/"
                    "b\"},\"disposition\":\"%u",
                    i, small, version, version);
                append_noise(&f->text, small ? 8 : BYTES, &noise);
                buffer_append_text(&f->text, "\"}\n");
            }
        }
        struct import_counts counts = import(f);
        assert_int_equal(counts.added, version == 1 ? 2 * LARGE : 0);
        assert_int_equal(counts.replaced, version == 1 ? 0 : LARGE);
        assert_int_equal(counts.refused, 0);
    }
}

#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__ /* these keep memory of their own */
/* Begins to count afresh what the process takes at most; gives what it takes now, in bytes. */
static size_t memory_begin(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    assert_non_null(file);
    fputs("5", file);
    assert_int_equal(fclose(file), 0);
    long pages;
    file = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t memory_most(void)
{
    char row[256];
    unsigned long kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(row, sizeof row, file) && sscanf(row, "VmHWM: %lu", &kilobytes) != 1)
        continue;
    fclose(file);
    return (size_t)kilobytes * 1024;
}

/* What an import takes beyond the memory it was given: a block for each thread, what the threads pack with,
 * and the pages of the store that it looks at. */
static void a_load_of_tiny_lines_takes_no_more_memory_than_it_may(void **state)
{
    enum { LINES = 250000, BENEFICIARIES = 5000 };
    struct fixture *f = *state;
    for (int i = 0; i < LINES; i++) { /* all beneficiaries mixed */
        buffer_appendf(&f->text,
                       "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"e%d\",\"patient\":{\"reference\":"
                       "\"Patient/b%d\"}}\n",
                       i, i % BENEFICIARIES);
    }
    const char *path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    buffer_release(&f->text);
    struct import_options options = {
        .paths = &path, .path_count = 1, .memory_bytes = 16 * 1024 * 1024, .threads = 2};
    size_t before = memory_begin();
    assert_int_equal(load_run(&f->load, &options).added, LINES);
    size_t taken = memory_most() - before;
    if (taken > 96 * 1024 * 1024)
        fail_msg("the import took %zu bytes", taken);
}
#endif

static void a_beneficiary_with_an_aco_too_many_costs_only_its_own_lines(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, NULL);
    import(f); /* for one ACO; 31 more are as many as there may be */
    for (int i = 1; i <= BENEFICIARY_ACOS_MAX; i++) {
        char aco[32];
        snprintf(aco, sizeof aco, "A1%03d", i);
        store_fixture_add_aco(&f->load.store, aco);
        line(f, EOB, "e1", 1, NULL);
        for (int other = 0; other < 50; other++) {
            char id[32], beneficiary[32];
            snprintf(id, sizeof id, "o%d-%d", i, other);
            snprintf(beneficiary, sizeof beneficiary, "%c%d-%d", other % 2 ? 'a' : 'z', i, other);
            load_line(&f->text, EOB, id, beneficiary, NULL, 1, NULL);
        }
        struct import_counts counts = load_text(&f->load, buffer_slice(&f->text), aco);
        buffer_reset(&f->text);
        bool is_too_many = i == BENEFICIARY_ACOS_MAX;
        assert_int_equal(counts.added, 50);
        assert_int_equal(counts.refused, is_too_many);
        assert_int_equal(counts.identical, !is_too_many);
    }
}

static void a_directory_of_small_files_is_walked(void **state)
{
    struct fixture *f = *state;
    char folder[STORE_FIXTURE_PATH_MAX + 16], path[STORE_FIXTURE_PATH_MAX + 64];
    snprintf(folder, sizeof folder, "%s/data", f->load.store.root);
    struct buffer text = BUFFER_INIT;
    for (int i = 0; i < 300; i++) {
        char id[32];
        snprintf(id, sizeof id, "e%d", i);
        buffer_reset(&text);
        load_line(&text, EOB, id, "b", NULL, 1, NULL);
        load_file(&f->load, i % 2 ? ".ndjson" : ".ndjson.gz",
                  i % 2 ? buffer_slice(&text) : gzip(buffer_slice(&text)));
    }
    load_file(&f->load, ".txt", SLICE_LITERAL("no resource\n"));
    const char *root = f->load.store.root;
    struct import_options options = {.paths = &root, .path_count = 1, .aco_id = ACO};
    struct import_counts counts = load_run(&f->load, &options);
    assert_int_equal(counts.files, 300);
    assert_int_equal(counts.added, 300);
    assert_int_equal(counts.beneficiaries, 1);
    assert_int_equal(f->load.bytes_done, f->load.bytes_total);
    snprintf(path, sizeof path, "%s", folder);
    const char *none = path;
    struct import_counts unused;
    struct error error = {0};
    options.paths = &none;
    assert_int_equal(import_run(f->load.link, &options, &unused, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "*.ndjson"));
    buffer_release(&text);
}

static void an_unknown_aco_stops_the_import_before_it_begins(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, NULL);
    const char *path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    struct import_options options = {.paths = &path, .path_count = 1, .aco_id = "A7777"};
    struct import_counts counts;
    struct error error = {0};
    assert_int_equal(import_run(f->load.link, &options, &counts, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "A7777"));
    assert_int_equal(counts.added, 0);
}

static void an_mbi_that_could_be_taken_for_an_id_leads_to_nobody(void **state)
{
    struct fixture *f = *state;
    load_line(&f->text, PATIENT, "p1", "p1", "!b", 1, NULL);
    load_line(&f->text, PATIENT, "p2", "p2", "1\\u00002", 1, NULL);
    assert_int_equal(load_text(&f->load, buffer_slice(&f->text), NULL).added, 2);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct engine_table_stats stats;
    assert_int_equal(engine_table_stats(txn, TABLE_MBI, &stats, NULL), STATUS_OK);
    assert_int_equal(stats.entries, 0);
    engine_end(txn);
}

/* "b" has the MBI that the roster names, and comes again in an import for the ACO, with a Patient that takes
 * the MBI over. */
static void expect_attributed_beside(struct fixture *f, const char *thief, const char *exported)
{
    load_roster(&f->load, ACO, "r1", clock_now_us(), "1S00E00AA00");
    line(f, PATIENT, "b", 1, NULL);
    load_text(&f->load, buffer_slice(&f->text), NULL);
    load_line(&f->text, PATIENT, thief, thief, "1S00E00AA00", 1, NULL);
    const char *path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    struct import_options options = {.paths = &path, .path_count = 1, .aco_id = ACO, .threads = 1};
    assert_int_equal(load_run(&f->load, &options).identical, 1);
    expect_exported(f, exported);
    uint64_t before = load_contents_hash(&f->load);
    assert_int_equal(load_run(&f->load, &options).identical, 2);
    assert_true(load_contents_hash(&f->load) == before);
}

static void import_attributes_whom_an_earlier_patient_of_the_load_takes_the_mbi_from(void **state)
{
    expect_attributed_beside(*state, "a", "Patient/a v1\nPatient/b v1\n");
}

static void import_attributes_whom_a_later_patient_of_the_load_takes_the_mbi_from(void **state)
{
    expect_attributed_beside(*state, "c", "Patient/b v1\nPatient/c v1\n");
}

/* ---- at once ---- */

struct importer {
    pthread_t thread;
    struct load_fixture *load;
    const char *path;
    struct import_counts counts;
    enum status status;
    struct error error;
};

static void *importer_main(void *argument)
{
    struct importer *importer = argument;
    struct import_options options = {
        .paths = &importer->path, .path_count = 1, .aco_id = ACO, .threads = 3, .memory_bytes = 200000};
    importer->status = import_run(importer->load->link, &options, &importer->counts, &importer->error);
    return NULL;
}

static void four_imports_at_once_lose_and_double_nothing(void **state)
{
    struct fixture *f = *state;
    struct importer importers[4];
    scatter(&f->text, 2000);
    const char *path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    for (int i = 0; i < 4; i++) {
        importers[i] = (struct importer){.load = &f->load, .path = path};
        assert_int_equal(pthread_create(&importers[i].thread, NULL, importer_main, &importers[i]), 0);
    }
    for (int i = 0; i < 10; i++) { /* and exports come between */
        struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
        text_at(f, &view, INSTANT_MIN_US);
        load_end_job(&f->load, &view);
    }
    uint64_t added = 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(importers[i].thread, NULL);
        if (importers[i].status != STATUS_OK)
            fail_msg("%s", importers[i].error.text);
        added += importers[i].counts.added;
    }
    assert_int_equal(added, 2000);
    struct load_export export;
    struct load_view view = load_now(&f->load, f->aco);
    load_export_read(&f->load, &view, INSTANT_MIN_US, LOAD_BOUND_GROUP, &export);
    assert_int_equal(export.count, 2000);
    load_export_release(&export);
}

int main(void)
{
    load_clock_shift(0);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_newer_source_time_replaces_and_an_older_one_is_late),
        TEST(at_equal_times_the_later_arrival_wins),
        TEST(the_order_of_lines_with_different_times_does_not_matter),
        TEST(the_same_load_again_changes_nothing),
        TEST(a_first_load_keeps_its_times_to_the_letter),
        TEST(a_resource_without_a_time_gets_the_first_of_2020),
        TEST(a_time_that_is_still_to_come_becomes_the_import_s),
        TEST(what_an_export_looked_past_is_stamped_later_than_it),
        TEST(a_time_later_than_the_last_export_is_kept),
        TEST(an_export_of_an_aco_that_does_not_read_it_stamps_nothing),
        TEST(stamps_grow_though_the_clock_was_set_back),
        TEST(what_was_away_with_another_aco_comes_back_stamped),
        TEST(a_replaced_resource_leaves_the_others_with_their_stamps),
        TEST(without_a_job_what_is_replaced_goes_at_once),
        TEST(a_collection_leaves_what_an_older_job_sees),
        TEST(a_resource_of_another_beneficiary_is_refused),
        TEST(of_two_beneficiaries_with_one_new_id_one_is_refused),
        TEST(a_damaged_segment_costs_only_the_lines_of_its_beneficiary_and_type),
        TEST(lines_may_be_blank_end_in_crlf_begin_with_a_bom_or_lack_an_end),
        TEST(an_empty_file_is_a_file_without_lines),
        TEST(bad_lines_are_named_and_the_rest_goes_on),
        TEST(a_line_that_is_too_long_is_refused),
        TEST(strict_takes_nothing_of_a_file_with_a_bad_line),
        TEST(gzip_is_read_and_a_truncated_file_gives_its_good_lines),
        TEST(a_bundle_gives_its_resources),
        TEST(a_json_file_may_be_one_resource),
        TEST(a_small_memory_gives_the_same_export),
        TEST(a_beneficiary_that_straddles_a_full_memory_is_packed_once),
        TEST(a_beneficiary_that_fills_the_memory_is_packed_in_parts),
        TEST(a_beneficiary_of_more_than_a_delta_holds_comes_in_several),
        TEST(what_must_be_written_anew_is_bounded_too),
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
        TEST(a_load_of_tiny_lines_takes_no_more_memory_than_it_may),
#endif
        TEST(a_beneficiary_with_an_aco_too_many_costs_only_its_own_lines),
        TEST(a_directory_of_small_files_is_walked),
        TEST(an_unknown_aco_stops_the_import_before_it_begins),
        TEST(an_mbi_that_could_be_taken_for_an_id_leads_to_nobody),
        TEST(import_attributes_whom_an_earlier_patient_of_the_load_takes_the_mbi_from),
        TEST(import_attributes_whom_a_later_patient_of_the_load_takes_the_mbi_from),
        TEST(four_imports_at_once_lose_and_double_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
