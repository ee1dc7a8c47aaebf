#include "storage/deletion.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/resources.h"
#include "tests/support/load_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define EOB      RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define COVERAGE RESOURCE_TYPE_COVERAGE
#define PATIENT  RESOURCE_TYPE_PATIENT
#define ACO      "A0001"
#define E        "ExplanationOfBenefit/"

struct fixture {
    struct load_fixture load;
    uint32_t aco;
    struct buffer text;    /* lines that wait to be imported */
    struct buffer entries; /* of a Bundle */
    struct buffer told;
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
    buffer_release(&f->entries);
    buffer_release(&f->told);
    mem_free(f);
    return 0;
}

/* ---- helpers ---- */

static void line(struct fixture *f, enum resource_type type, const char *id, unsigned version,
                 const char *time)
{
    load_line(&f->text, type, id, "b", type == PATIENT ? "1S00E00AA00" : NULL, version, time);
}

static void delete_entry(struct fixture *f, const char *url)
{
    buffer_appendf(&f->entries, "%s{\"request\":{\"method\":\"DELETE\",\"url\":\"%s\"}}",
                   f->entries.size ? "," : "", url);
}

/* The entries so far as one line of NDJSON. `time` NULL: the Bundle has none. */
static void bundle_line(struct fixture *f, const char *time)
{
    buffer_append_text(&f->text, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",");
    if (time)
        buffer_appendf(&f->text, "\"meta\":{\"lastUpdated\":\"%s\"},", time);
    buffer_appendf(&f->text, "\"entry\":[%.*s]}\n", SLICE_PRINT(buffer_slice(&f->entries)));
    buffer_reset(&f->entries);
}

/* Imports the lines so far, under the ACO, and forgets them. */
static struct import_counts import(struct fixture *f)
{
    struct import_counts counts = load_text(&f->load, buffer_slice(&f->text), ACO);
    buffer_reset(&f->text);
    return counts;
}

static struct import_counts import_deletion(struct fixture *f, const char *url, const char *time)
{
    delete_entry(f, url);
    bundle_line(f, time);
    return import(f);
}

static void expect_exported(struct fixture *f, const char *text)
{
    assert_string_equal(load_exported_now(&f->load, f->aco), text);
}

/* "b Type/id\n" of the deletions that a view tells of. */
static const char *told(struct fixture *f, const struct load_view *view, int64_t since_us)
{
    struct exportable_scan *beneficiaries;
    struct exportable exportable;
    struct deletion_scan *scan;
    struct deletion deletion;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    enum status status;
    buffer_reset(&f->told);
    assert_int_equal(exportable_scan_open(txn, view->aco, view->sequence, since_us, &beneficiaries, NULL),
                     STATUS_OK);
    assert_int_equal(deletion_scan_open(txn, view->sequence, &scan, NULL), STATUS_OK);
    while (exportable_scan_next(beneficiaries, &exportable, NULL) == STATUS_OK) {
        deletion_scan_seek(scan, exportable.beneficiary, since_us);
        while ((status = deletion_scan_next(scan, &deletion, NULL)) == STATUS_OK) {
            assert_true(deletion.stamp_us > since_us && deletion.stamp_us <= view->transaction_time_us);
            buffer_appendf(&f->told, "%.*s %s/%.*s\n", SLICE_PRINT(deletion.beneficiary),
                           resource_type_name(deletion.type), SLICE_PRINT(deletion.id));
        }
        assert_int_equal(status, STATUS_NOT_FOUND);
    }
    deletion_scan_close(scan);
    exportable_scan_close(beneficiaries);
    engine_end(txn);
    return buffer_text(&f->told);
}

static const char *told_now(struct fixture *f)
{
    struct load_view view = load_now(&f->load, f->aco);
    return told(f, &view, INT64_MIN);
}

/* Imports the lines so far twice: the second time changes nothing. */
static struct import_counts import_twice(struct fixture *f)
{
    struct import_counts counts = load_text(&f->load, buffer_slice(&f->text), ACO);
    uint64_t before = load_contents_hash(&f->load);
    struct import_counts again = load_text(&f->load, buffer_slice(&f->text), ACO);
    assert_int_equal(again.added + again.replaced + again.deleted + again.deleted_unknown, 0);
    assert_int_equal(again.beneficiaries, 0);
    assert_true(load_contents_hash(&f->load) == before);
    buffer_reset(&f->text);
    return counts;
}

/* ---- what goes ---- */

static void a_deletion_takes_its_resource_and_leaves_the_others(void **state)
{
    struct fixture *f = *state;
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e3", 1, "2020-05-02T00:00:00Z");
    import(f);
    delete_entry(f, E "e2");
    bundle_line(f, "2020-06-01T00:00:00Z");
    struct import_counts counts = import_twice(f);
    assert_int_equal(counts.deleted, 1);
    assert_int_equal(counts.beneficiaries, 1);
    assert_int_equal(counts.refused + counts.unsupported, 0);
    expect_exported(f, E "e1 v1\n" E "e3 v1\nPatient/b v1\n");
    assert_string_equal(told_now(f), "b " E "e2\n");

    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct buffer found = BUFFER_INIT;
    struct tombstone tombstone;
    assert_int_equal(resource_get(txn, EOB, SLICE_LITERAL("e2"), &found, NULL), STATUS_NOT_FOUND);
    assert_int_equal(tombstone_get(txn, EOB, SLICE_LITERAL("e2"), &tombstone, NULL), STATUS_OK);
    assert_true(slice_equal_text(tombstone.beneficiary, "b"));
    assert_int_equal(tombstone.source_us, INT64_C(1590969600000000));
    assert_int_equal(tombstone.stamp_us, tombstone.source_us);
    engine_end(txn);
    buffer_release(&found);
}

static void the_last_of_a_segment_several_and_all_of_a_beneficiary_can_go(void **state)
{
    struct fixture *f = *state;
    line(f, PATIENT, "b", 1, "2020-05-01T00:00:00Z");
    line(f, COVERAGE, "c", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    import(f);
    line(f, EOB, "e2", 1, "2020-05-02T00:00:00Z");
    line(f, EOB, "e3", 1, "2020-05-02T00:00:00Z");
    line(f, EOB, "e4", 1, "2020-05-02T00:00:00Z");
    import(f);
    assert_int_equal(import_deletion(f, E "e1", "2020-06-01T00:00:00Z").deleted, 1);
    expect_exported(f, E "e2 v1\n" E "e3 v1\n" E "e4 v1\nCoverage/c v1\nPatient/b v1\n");
    delete_entry(f, E "e3");
    delete_entry(f, E "e2");
    bundle_line(f, "2020-06-01T00:00:00Z");
    assert_int_equal(import(f).deleted, 2);
    expect_exported(f, E "e4 v1\nCoverage/c v1\nPatient/b v1\n");
    delete_entry(f, "Patient/b");
    delete_entry(f, E "e4");
    delete_entry(f, "Coverage/c");
    bundle_line(f, NULL);
    struct import_counts counts = import_twice(f);
    assert_int_equal(counts.deleted, 3);
    assert_int_equal(counts.beneficiaries, 1);
    expect_exported(f, "");
    const char *text = told_now(f);
    static const char *const all[] = {"b Coverage/c\n", "b " E "e1\n", "b " E "e2\n",
                                      "b " E "e3\n",    "b " E "e4\n", "b Patient/b\n"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_non_null(strstr(text, all[i]));
    /* It is still attributed, and may get new claims. */
    line(f, EOB, "e9", 1, "2020-07-01T00:00:00Z");
    assert_int_equal(import(f).added, 1);
    expect_exported(f, E "e9 v1\n");
}

/* ---- which counts ---- */

static void an_older_version_that_comes_late_does_not_come_back(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    import(f);
    import_deletion(f, E "e", "2020-06-01T00:00:00Z");
    line(f, EOB, "e", 2, "2020-05-15T00:00:00Z");
    assert_int_equal(import_twice(f).late, 1);
    line(f, EOB, "e", 3, NULL); /* counts as of 2020-01-01 */
    assert_int_equal(import(f).late, 1);
    expect_exported(f, "");
    assert_string_equal(told_now(f), "b " E "e\n");
}

static void a_newer_version_comes_back_and_ends_the_deletion(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    import(f);
    import_deletion(f, E "e", "2020-06-01T00:00:00Z");
    line(f, EOB, "e", 2, "2020-06-01T00:00:00.000001Z");
    assert_int_equal(import_twice(f).added, 1);
    expect_exported(f, E "e v2\n");
    assert_string_equal(told_now(f), "");
    /* The old deletion again is late; a newer one is another. */
    assert_int_equal(import_deletion(f, E "e", "2020-06-01T00:00:00Z").late, 1);
    assert_int_equal(import_deletion(f, E "e", "2020-07-01T00:00:00Z").deleted, 1);
    expect_exported(f, "");
    assert_string_equal(told_now(f), "b " E "e\n");
}

static void a_deletion_that_comes_before_its_resource_is_remembered(void **state)
{
    struct fixture *f = *state;
    delete_entry(f, E "e1");
    delete_entry(f, E "e2");
    bundle_line(f, "2020-06-01T00:00:00Z");
    struct import_counts counts = import_twice(f);
    assert_int_equal(counts.deleted_unknown, 2);
    assert_int_equal(counts.deleted + counts.beneficiaries, 0);
    assert_int_equal(import_deletion(f, E "e2", "2020-06-03T00:00:00Z").identical, 1); /* is newer still */
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, "2020-06-02T00:00:00Z");
    assert_int_equal(import_twice(f).late, 2);
    expect_exported(f, "");
    line(f, EOB, "e1", 2, "2020-07-01T00:00:00Z");
    line(f, EOB, "e2", 2, "2020-07-01T00:00:00Z");
    assert_int_equal(import_twice(f).added, 2);
    expect_exported(f, E "e1 v2\n" E "e2 v2\n");
    /* Nobody had them, so nobody is told. */
    assert_string_equal(told_now(f), "");
}

static void at_equal_times_the_deletion_counts_in_either_order(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    import(f);
    assert_int_equal(import_deletion(f, E "e1", "2020-05-01T00:00:00Z").deleted, 1);
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    assert_int_equal(import(f).late, 1);
    import_deletion(f, E "e2", "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, "2020-05-01T00:00:00Z");
    assert_int_equal(import(f).late, 1);
    delete_entry(f, E "e3");
    bundle_line(f, "2020-05-01T00:00:00Z");
    line(f, EOB, "e3", 1, "2020-05-01T00:00:00Z");
    assert_int_equal(import_twice(f).late, 1);
    expect_exported(f, "");
}

static void a_deletion_older_than_what_is_stored_is_late(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    import(f);
    delete_entry(f, E "e");
    bundle_line(f, "2020-04-30T23:59:59.999999Z");
    assert_int_equal(import_twice(f).late, 1);
    expect_exported(f, E "e v1\n");
    assert_string_equal(told_now(f), "");
}

static void of_one_load_the_newest_counts_whatever_the_order_of_lines(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, "2020-05-01T00:00:00Z");
    import(f);
    /* e1 is replaced and then deleted, e2 deleted and then made again, e3 made and deleted. */
    delete_entry(f, E "e1");
    delete_entry(f, E "e3");
    bundle_line(f, "2020-06-02T00:00:00Z");
    line(f, EOB, "e1", 2, "2020-06-01T00:00:00Z");
    line(f, EOB, "e2", 2, "2020-06-03T00:00:00Z");
    line(f, EOB, "e3", 1, "2020-06-01T00:00:00Z");
    delete_entry(f, E "e2");
    bundle_line(f, "2020-06-02T00:00:00Z");
    struct import_counts counts = import_twice(f);
    assert_int_equal(counts.deleted, 1);
    assert_int_equal(counts.replaced, 1);
    assert_int_equal(counts.deleted_unknown, 1);
    assert_int_equal(counts.late, 3);
    expect_exported(f, E "e2 v2\n");
    assert_string_equal(told_now(f), "b " E "e1\n");
}

static void a_deletion_without_a_time_happens_at_the_import(void **state)
{
    struct fixture *f = *state;
    int64_t before_us = clock_now_us();
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, NULL);
    import(f);
    delete_entry(f, E "e1");
    delete_entry(f, E "e2");
    delete_entry(f, E "e3");
    bundle_line(f, NULL);
    struct import_counts counts = import_twice(f);
    assert_int_equal(counts.deleted, 2);
    assert_int_equal(counts.deleted_unknown, 1);
    assert_int_equal(counts.future, 0);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    static const char *const ids[] = {"e1", "e2", "e3"};
    for (size_t i = 0; i < 3; i++) {
        struct tombstone tombstone;
        assert_int_equal(tombstone_get(txn, EOB, slice_from_text(ids[i]), &tombstone, NULL), STATUS_OK);
        assert_true(tombstone.source_us >= before_us);
        assert_true(tombstone.source_us <= clock_now_us() + US_PER_SECOND);
    }
    engine_end(txn);
}

static void a_deletion_under_another_beneficiary_or_a_return_there_is_refused(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    import(f);
    const char *path;
    load_line(&f->text, EOB, "e", "other", NULL, 1, "2020-06-01T00:00:00Z");
    char *version = strstr(buffer_text(&f->text), "\"version\":");
    memcpy(version, "\"status\":\"entered-in-error\"}\n", sizeof "\"status\":\"entered-in-error\"}\n" - 1);
    f->text.size = (size_t)(version - f->text.data) + sizeof "\"status\":\"entered-in-error\"}\n" - 1;
    path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    struct import_options options = {.paths = &path, .path_count = 1, .deletes_errors = true};
    assert_int_equal(load_run(&f->load, &options).refused, 1);
    buffer_reset(&f->text);
    expect_exported(f, E "e v1\n");

    import_deletion(f, E "e", "2020-06-02T00:00:00Z");
    load_line(&f->text, EOB, "e", "other", NULL, 1, "2020-06-03T00:00:00Z");
    assert_int_equal(import(f).refused, 1);
    assert_non_null(strstr(buffer_text(&f->load.refusals), "was deleted under another beneficiary"));
    assert_string_equal(told_now(f), "b " E "e\n");
}

/* ---- what can be read ---- */

static void entered_in_error_deletes_only_if_asked_for(void **state)
{
    struct fixture *f = *state;
    static const char wrong[] =
        "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"e\",\"status\":\"entered-in-error\","
        "\"meta\":{\"lastUpdated\":\"2020-06-01T00:00:00Z\"},\"patient\":{\"reference\":\"Patient/b\"}}\n"
        "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"n\",\"status\":\"entered-in-error\","
        "\"patient\":{\"reference\":\"Patient/new\"}}\n"
        "{\"resourceType\":\"Coverage\",\"id\":\"c\",\"contained\":[{\"status\":\"entered-in-error\"}],"
        "\"beneficiary\":{\"reference\":\"Patient/b\"}}\n";
    line(f, EOB, "e", 1, "2020-05-01T00:00:00Z");
    import(f);
    const char *path = load_file(&f->load, ".ndjson", slice_from_text(wrong));
    struct import_options options = {.paths = &path, .path_count = 1, .deletes_errors = true};
    struct import_counts counts = load_run(&f->load, &options);
    assert_int_equal(counts.deleted, 1);
    assert_int_equal(counts.deleted_unknown, 1);
    assert_int_equal(counts.added, 1);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct beneficiary beneficiary;
    assert_int_equal(beneficiary_get(txn, SLICE_LITERAL("new"), &beneficiary, NULL), STATUS_NOT_FOUND);
    engine_end(txn);
    assert_string_equal(told_now(f), "b " E "e\n");
    line(f, EOB, "e", 2, "2020-06-02T00:00:00Z");
    import(f);
    options.deletes_errors = false;
    counts = load_run(&f->load, &options);
    assert_int_equal(counts.deleted, 0);
    assert_int_equal(counts.late, 2); /* e is newer; n was remembered as deleted */
    assert_int_equal(counts.identical, 1);
}

static void bundles_in_ndjson_give_resources_and_deletions_and_name_bad_entries(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, "2020-05-01T00:00:00Z");
    import(f);
    buffer_append_text(
        &f->text,
        "\n{\"entry\":[{\"resource\":{\"resourceType\":\"Coverage\",\"id\":\"c\",\"beneficiary\":{"
        "\"reference\":"
        "\"Patient/b\"}},\"request\":{\"method\":\"PUT\",\"url\":\"Coverage/c\"}},"
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"ExplanationOfBenefit/e1\"},"
        "\"response\":{\"status\":\"204\",\"lastModified\":\"2020-06-01T00:00:00Z\"}},"
        "{\"request\":{\"method\":\"DELETE\"}},"
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient?identifier=1\"}},"
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"Observation/o\"}},"
        "{\"request\":{\"method\":\"GET\",\"url\":\"Patient/b\"}},"
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/b/_history/1\"}},"
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/b\"},\"response\":{\"lastModified\":\"May\"}},"
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"Explanation\\u004ffBenefit/e2\"}},"
        "{\"resource\":{\"resourceType\":\"Bundle\",\"entry\":[{\"request\":{\"method\":\"DELETE\","
        "\"url\":\"Patient/b\"}}]}},{\"resource\":7}],"
        "\"timestamp\":\"2020-06-02T00:00:00Z\",\"resourceType\":\"Bundle\"}\n");
    struct import_counts counts = import(f);
    assert_int_equal(counts.added, 1);
    assert_int_equal(counts.deleted, 2);
    assert_int_equal(counts.unsupported, 2);
    assert_int_equal(counts.refused, 5);
    assert_int_equal(counts.lines, 1);
    static const char *const reasons[] = {
        "2 entry 3: request.url: missing\n",
        "2 entry 4: request.url: is not a type, \"/\" and an id\n",
        "2 entry 7: request.url: is not",
        "2 entry 8: the deletion's time: ",
        "2 entry 11: ",
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (!strstr(buffer_text(&f->load.refusals), reasons[i]))
            fail_msg("no \"%s\" in:\n%s", reasons[i], buffer_text(&f->load.refusals));
    }
    assert_string_equal(told_now(f), "b " E "e1\nb " E "e2\n");
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct tombstone tombstone;
    assert_int_equal(tombstone_get(txn, EOB, SLICE_LITERAL("e2"), &tombstone, NULL), STATUS_OK);
    assert_int_equal(tombstone.source_us, INT64_C(1591056000000000));
    engine_end(txn);
}

static void a_bundle_in_a_json_file_deletes_too(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    import(f);
    static const char text[] =
        "{\"resourceType\": \"Bundle\", \"entry\": [\n"
        " {\"request\": {\"method\": \"DELETE\", \"url\": \"ExplanationOfBenefit/e1\"}},\n"
        " {\"request\": {\"method\": \"DELETE\", \"url\": \"x\"}}], \"meta\":{\"lastUpdated\":"
        "\"2020-06-01T00:00:00Z\"}}";
    const char *path = load_file(&f->load, ".json", slice_from_text(text));
    struct import_options options = {.paths = &path, .path_count = 1};
    struct import_counts counts = load_run(&f->load, &options);
    assert_int_equal(counts.deleted, 1);
    assert_int_equal(counts.lines, 2);
    assert_int_equal(counts.refused, 1);
    assert_non_null(strstr(buffer_text(&f->load.refusals), "2 request.url: is not"));
    expect_exported(f, "");
}

/* ---- time ---- */

static void what_an_export_looked_past_is_stamped_later_than_it(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, "2020-05-01T00:00:00Z");
    import(f);
    import_deletion(f, E "e1", "2020-06-01T00:00:00Z");
    struct load_view first = load_kick_off(&f->load, f->aco, "Patient");
    assert_string_equal(told(f, &first, INT64_MIN), "b " E "e1\n");
    load_end_job(&f->load, &first);
    assert_int_equal(import_deletion(f, E "e2", "2020-06-01T00:00:00Z").stamped, 1);
    struct load_view second = load_kick_off(&f->load, f->aco, "Patient");
    assert_string_equal(told(f, &second, first.transaction_time_us), "b " E "e2\n");
    load_end_job(&f->load, &second);
    struct load_view third = load_now(&f->load, f->aco);
    assert_string_equal(told(f, &third, second.transaction_time_us), "");
    /* The source's time decides what is newer, not the stamp. */
    line(f, EOB, "e2", 2, "2020-06-02T00:00:00Z");
    assert_int_equal(import(f).added, 1);
}

static void a_time_later_than_every_export_or_still_to_come(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, "2020-05-01T00:00:00Z");
    import(f);
    load_clock_shift(-7200);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    load_end_job(&f->load, &view);
    load_clock_shift(0);
    char time[INSTANT_TEXT_SIZE];
    instant_format(view.transaction_time_us + 1, time);
    delete_entry(f, E "e1");
    bundle_line(f, time);
    delete_entry(f, E "e2");
    bundle_line(f, "2300-01-01T00:00:00Z");
    struct import_counts counts = import(f);
    assert_int_equal(counts.deleted, 2);
    assert_int_equal(counts.future, 1);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct tombstone kept, future;
    assert_int_equal(tombstone_get(txn, EOB, SLICE_LITERAL("e1"), &kept, NULL), STATUS_OK);
    assert_int_equal(tombstone_get(txn, EOB, SLICE_LITERAL("e2"), &future, NULL), STATUS_OK);
    assert_true(future.stamp_us <= clock_now_us() + US_PER_SECOND);
    assert_int_equal(future.source_us, future.stamp_us);
    engine_end(txn);
}

static void an_active_job_sees_what_it_saw(void **state)
{
    struct fixture *f = *state;
    line(f, EOB, "e1", 1, "2020-05-01T00:00:00Z");
    line(f, EOB, "e2", 1, "2020-05-01T00:00:00Z");
    import(f);
    import_deletion(f, E "e1", "2020-06-01T00:00:00Z");
    struct load_view job = load_kick_off(&f->load, f->aco, "Patient");
    struct load_export export;
    line(f, EOB, "e1", 2, "2020-07-01T00:00:00Z");
    import(f);
    import_deletion(f, E "e2", "2020-07-01T00:00:00Z");
    load_verify(&f->load);
    assert_string_equal(told(f, &job, INT64_MIN), "b " E "e1\n");
    load_export_read(&f->load, &job, INSTANT_MIN_US, LOAD_BOUND_GROUP, &export);
    assert_string_equal(load_export_text(&export), E "e2 v1\n");
    load_export_release(&export);
    assert_string_equal(told_now(f), "b " E "e2\n");
    expect_exported(f, E "e1 v2\n");
    /* Deleted once more, at the same source time and stamp as before: both stand beside each other. */
    assert_int_equal(import_deletion(f, E "e1", "2020-07-01T00:00:00Z").deleted, 1);
    assert_string_equal(told(f, &job, INT64_MIN), "b " E "e1\n");
    load_end_job(&f->load, &job);
    assert_true(load_collect(&f->load) > 0);
    load_verify(&f->load);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct engine_table_stats stats;
    assert_int_equal(engine_table_stats(txn, TABLE_DELETED, &stats, NULL), STATUS_OK);
    assert_int_equal(stats.entries, 2);
    engine_end(txn);
    assert_string_equal(told_now(f), "b " E "e2\nb " E "e1\n"); /* by stamp */
}

/* ---- much at once ---- */

static void a_small_memory_gives_the_same_store(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 600 };
    uint64_t random = store_fixture_seed();
    for (int i = 0; i < COUNT; i++) {
        char id[32], owner[32], url[64];
        snprintf(id, sizeof id, "e%d", i);
        snprintf(owner, sizeof owner, "b%d", i % 23);
        load_line(&f->text, EOB, id, owner, NULL, 1, "2020-05-01T00:00:00Z");
        snprintf(url, sizeof url, E "e%d", (int)(store_fixture_random(&random) % COUNT));
        delete_entry(f, url);
        if (i % 7 == 0)
            bundle_line(f, i % 2 ? "2020-04-01T00:00:00Z" : "2020-06-01T00:00:00Z");
    }
    const char *path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    struct import_options options = {
        .paths = &path, .path_count = 1, .aco_id = ACO, .memory_bytes = 100000, .threads = 3};
    load_run(&f->load, &options);
    char *small = mem_strdup(load_exported_now(&f->load, f->aco));
    load_verify(&f->load);
    load_fixture_close(&f->load);
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    path = load_file(&f->load, ".ndjson", buffer_slice(&f->text));
    options = (struct import_options){.paths = &path, .path_count = 1, .aco_id = ACO};
    struct import_counts counts = load_run(&f->load, &options);
    assert_string_equal(load_exported_now(&f->load, f->aco), small);
    assert_true(counts.late > 50 && counts.added > 50);
    mem_free(small);
}

static void a_scan_that_skips_finds_what_one_that_seeks_finds(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 200 };
    uint64_t random = store_fixture_seed();
    for (int i = 0; i < COUNT; i++) {
        char id[32], owner[32];
        snprintf(id, sizeof id, "e%d", i);
        snprintf(owner, sizeof owner, "b%d", i % 40);
        load_line(&f->text, EOB, id, owner, NULL, 1, "2020-05-01T00:00:00Z");
    }
    import(f);
    for (int i = 0; i < COUNT; i += 1 + (int)(store_fixture_random(&random) % 20)) {
        char url[64], time[40];
        snprintf(url, sizeof url, E "e%d", i);
        snprintf(time, sizeof time, "2020-06-01T00:00:%02dZ", i % 60);
        delete_entry(f, url);
        bundle_line(f, time);
    }
    import(f);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct deletion_scan *one;
    assert_int_equal(deletion_scan_open(txn, UINT64_MAX - 1, &one, NULL), STATUS_OK);
    for (int round = 0; round < 2000; round++) {
        char owner[32];
        struct deletion_scan *fresh;
        struct deletion a, b;
        int64_t since_us =
            INT64_C(1590969600000000) + (int64_t)(store_fixture_random(&random) % 60) * US_PER_SECOND;
        snprintf(owner, sizeof owner, "b%d", (int)(store_fixture_random(&random) % 45));
        unsigned steps = (unsigned)(store_fixture_random(&random) % 4);
        deletion_scan_seek(one, slice_from_text(owner), since_us);
        assert_int_equal(deletion_scan_open(txn, UINT64_MAX - 1, &fresh, NULL), STATUS_OK);
        deletion_scan_seek(fresh, slice_from_text(owner), since_us);
        for (unsigned i = 0; i < steps; i++) {
            enum status status = deletion_scan_next(one, &a, NULL);
            assert_int_equal(deletion_scan_next(fresh, &b, NULL), status);
            if (status == STATUS_OK)
                assert_true(slice_equal(a.id, b.id) && a.stamp_us == b.stamp_us && a.stamp_us > since_us);
        }
        deletion_scan_close(fresh);
    }
    deletion_scan_close(one);
    engine_end(txn);
}

int main(void)
{
    load_clock_shift(0);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_deletion_takes_its_resource_and_leaves_the_others),
        TEST(the_last_of_a_segment_several_and_all_of_a_beneficiary_can_go),
        TEST(an_older_version_that_comes_late_does_not_come_back),
        TEST(a_newer_version_comes_back_and_ends_the_deletion),
        TEST(a_deletion_that_comes_before_its_resource_is_remembered),
        TEST(at_equal_times_the_deletion_counts_in_either_order),
        TEST(a_deletion_older_than_what_is_stored_is_late),
        TEST(of_one_load_the_newest_counts_whatever_the_order_of_lines),
        TEST(a_deletion_without_a_time_happens_at_the_import),
        TEST(a_deletion_under_another_beneficiary_or_a_return_there_is_refused),
        TEST(entered_in_error_deletes_only_if_asked_for),
        TEST(bundles_in_ndjson_give_resources_and_deletions_and_name_bad_entries),
        TEST(a_bundle_in_a_json_file_deletes_too),
        TEST(what_an_export_looked_past_is_stamped_later_than_it),
        TEST(a_time_later_than_every_export_or_still_to_come),
        TEST(an_active_job_sees_what_it_saw),
        TEST(a_small_memory_gives_the_same_store),
        TEST(a_scan_that_skips_finds_what_one_that_seeks_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
