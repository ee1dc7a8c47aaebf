#include "storage/resources.h"

#include "codec/base/bytes.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "tests/support/load_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define EOB RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define ACO "A0001"

static struct delta sample(void)
{
    static const struct slice mbis[] = {{"1A", 2}, {"2A", 2}};
    static const struct segment_name superseded[] = {{INT64_MIN, 1, 2}, {INT64_MAX, UINT64_MAX, UINT16_MAX}};
    static const struct slice segments[] = {{"one", 3}, {"", 0}};
    static const struct delta_deletion deletions[] = {{{"e4", 2}, INT64_MIN, true, 12345},
                                                      {{"e5", 2}, INT64_MAX, false, 0}};
    static const struct slice ids[] = {{"e1", 2}, {"e2", 2}, {"e3", 2}};
    return (struct delta){
        .type = EOB,
        .beneficiary = SLICE_LITERAL("-100"),
        .seen = 77,
        .as_of = UINT64_MAX,
        .attribute = 3,
        .kept_min_us = INT64_MAX,
        .newest_us = -5,
        .stamped = true,
        .stamp_us = 12345,
        .mbis = mbis,
        .mbi_count = 2,
        .superseded = superseded,
        .superseded_count = 2,
        .segments = segments,
        .segment_count = 2,
        .ids = ids,
        .id_count = 3,
        .deletions = deletions,
        .deletion_count = 2,
    };
}

static void a_delta_comes_back_as_it_was(void **state)
{
    (void)state;
    struct delta delta = sample(), back;
    struct buffer one = BUFFER_INIT, two = BUFFER_INIT;
    struct arena arena = ARENA_INIT;
    delta_encode(&delta, &one);
    assert_int_equal(delta_decode(buffer_slice(&one), &arena, &back, NULL), STATUS_OK);
    delta_encode(&back, &two);
    assert_true(slice_equal(buffer_slice(&one), buffer_slice(&two)));
    assert_int_equal(back.superseded[1].ordinal, UINT16_MAX);
    assert_true(back.as_of == UINT64_MAX);
    assert_int_equal(back.deletion_count, 2);
    assert_true(back.deletions[0].is_stored && !back.deletions[1].is_stored);
    assert_int_equal(back.deletions[0].stamp_us, 12345);
    assert_int_equal(back.deletions[1].source_us, INT64_MAX);
    assert_int_equal(back.kept_min_us, INT64_MAX);
    assert_true(slice_equal_text(back.beneficiary, "-100"));
    arena_release(&arena);
    buffer_release(&one);
    buffer_release(&two);
}

static void a_delta_that_is_cut_or_longer_is_refused(void **state)
{
    (void)state;
    struct delta delta = sample(), back;
    struct buffer text = BUFFER_INIT;
    struct arena arena = ARENA_INIT;
    struct error error;
    delta_encode(&delta, &text);
    for (size_t size = 0; size < text.size; size++) {
        char *exact = malloc(size ? size : 1); /* so that a sanitizer sees a read past the end */
        memcpy(exact, text.data, size);
        assert_int_equal(delta_decode(slice_make(exact, size), &arena, &back, &error), STATUS_INVALID);
        free(exact);
    }
    buffer_append_char(&text, 'x');
    assert_int_equal(delta_decode(buffer_slice(&text), &arena, &back, &error), STATUS_INVALID);
    arena_release(&arena);
    buffer_release(&text);
}

static enum status call_deltas(struct load_fixture *f, uint32_t count, const struct delta *deltas,
                               size_t given, struct error *error)
{
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    buffer_append_u32(&payload, count);
    for (size_t i = 0; i < given; i++) {
        struct buffer one = BUFFER_INIT;
        delta_encode(&deltas[i], &one);
        buffer_append_sized(&payload, buffer_slice(&one));
        buffer_release(&one);
    }
    enum status status = link_call(f->link, CONTROL_COMMAND_DELTAS, buffer_slice(&payload), &reply, error);
    buffer_release(&payload);
    buffer_release(&reply);
    return status;
}

static void a_bad_delta_leaves_nothing_of_its_batch(void **state)
{
    (void)state;
    struct load_fixture f;
    struct error error = {0};
    load_fixture_open(&f);
    store_fixture_add_aco(&f.store, ACO);
    struct segment_entry entry = {.id = SLICE_LITERAL("e"),
                                  .service_first_day = DAY_NONE,
                                  .service_last_day = DAY_NONE,
                                  .source_us = 5,
                                  .stamp_us = 5};
    struct segment_builder *builder = segment_builder_new(DEFLATE_LEVEL_GOOD);
    struct buffer value = BUFFER_INIT, ahead = BUFFER_INIT;
    segment_builder_add(builder, &entry, SLICE_LITERAL("{}"));
    segment_builder_finish(builder, &value);
    entry.stamp_us = clock_now_us() + 86400 * US_PER_SECOND;
    segment_builder_add(builder, &entry, SLICE_LITERAL("{}"));
    segment_builder_finish(builder, &ahead);
    segment_builder_free(builder);
    struct slice good = buffer_slice(&value), newer = buffer_slice(&ahead), junk = SLICE_LITERAL("junk");
    struct slice id = SLICE_LITERAL("e");
    struct segment_name gone = {1, 1, 0};
    const struct delta base = {.type = EOB,
                               .beneficiary = SLICE_LITERAL("b"),
                               .kept_min_us = 5,
                               .newest_us = 5,
                               .segments = &good,
                               .segment_count = 1,
                               .ids = &id,
                               .id_count = 1};
    struct delta deltas[2] = {base, base};
    deltas[1].beneficiary = SLICE_LITERAL("c");
    deltas[1].id_count = 0;
    uint64_t before = load_contents_hash(&f);

    deltas[1].segments = &junk;
    assert_int_equal(call_deltas(&f, 2, deltas, 2, &error), STATUS_CORRUPT);
    assert_int_equal(load_contents_hash(&f), before);
    deltas[1].segments = &newer;
    assert_int_equal(call_deltas(&f, 2, deltas, 2, &error), STATUS_INVALID);
    assert_int_equal(load_contents_hash(&f), before);
    deltas[1].segments = &good;
    deltas[1].superseded = &gone;
    deltas[1].superseded_count = 1;
    assert_int_equal(call_deltas(&f, 2, deltas, 2, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "not there"));
    assert_int_equal(load_contents_hash(&f), before);
    deltas[1].superseded_count = 0;
    deltas[1].attribute = 99;
    assert_int_equal(call_deltas(&f, 2, deltas, 2, &error), STATUS_NOT_FOUND);
    assert_int_equal(load_contents_hash(&f), before);
    assert_int_equal(call_deltas(&f, 3, deltas, 1, &error), STATUS_INVALID); /* fewer than it says */
    assert_int_equal(call_deltas(&f, 0, deltas, 1, &error), STATUS_INVALID); /* more than it says */
    assert_int_equal(load_contents_hash(&f), before);
    assert_int_equal(call_deltas(&f, 1, deltas, 1, &error), STATUS_OK);
    load_verify(&f);
    buffer_release(&value);
    buffer_release(&ahead);
    load_fixture_close(&f);
}

static void one_resource_is_found_with_its_beneficiary(void **state)
{
    (void)state;
    struct load_fixture f;
    struct buffer text = BUFFER_INIT, found = BUFFER_INIT;
    load_fixture_open(&f);
    for (int i = 0; i < 50; i++) {
        char id[32], owner[32];
        snprintf(id, sizeof id, "e%d", i);
        snprintf(owner, sizeof owner, "b%d", i % 5);
        load_line(&text, EOB, id, owner, NULL, (unsigned)i, "2020-05-01T00:00:00Z");
        if (i == 33) {
            load_text(&f, buffer_slice(&text), NULL);
            buffer_reset(&text);
        }
    }
    load_text(&f, buffer_slice(&text), NULL);
    struct engine_txn *txn = store_fixture_read(&f.store);
    assert_int_equal(resource_get(txn, EOB, SLICE_LITERAL("e17"), &found, NULL), STATUS_OK);
    assert_string_equal(buffer_text(&found),
                        "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"e17\","
                        "\"meta\":{\"lastUpdated\":\"2020-05-01T00:00:00Z\"},"
                        "\"patient\":{\"reference\":\"Patient/b2\"},\"version\":\"v17\"}");
    buffer_reset(&found);
    assert_int_equal(resource_find(txn, EOB, SLICE_LITERAL("e44"), &found, NULL), STATUS_OK);
    assert_string_equal(buffer_text(&found), "b4");
    assert_int_equal(resource_find(txn, EOB, SLICE_LITERAL("e50"), &found, NULL), STATUS_NOT_FOUND);
    assert_int_equal(resource_get(txn, RESOURCE_TYPE_COVERAGE, SLICE_LITERAL("e17"), &found, NULL),
                     STATUS_NOT_FOUND);
    struct summary summary;
    assert_int_equal(summary_get(txn, 0, SLICE_LITERAL("b2"), &summary, NULL), STATUS_OK);
    assert_int_equal(summary.of[EOB].resources, 10);
    assert_int_equal(summary.of[EOB].segments, 2);
    assert_int_equal(summary.of[EOB].newest_us, INT64_C(1588291200000000));
    assert_int_equal(summary.of[RESOURCE_TYPE_PATIENT].newest_us, INT64_MIN);
    engine_end(txn);
    buffer_release(&text);
    buffer_release(&found);
    load_fixture_close(&f);
}

static void a_scan_of_summaries_answers_as_single_reads_in_any_order(void **state)
{
    struct load_fixture f;
    struct buffer text = BUFFER_INIT;
    struct summary_scan *scan;
    (void)state;
    load_fixture_open(&f);
    for (unsigned i = 0; i < 10; i++) {
        char id[32], owner[32];
        snprintf(id, sizeof id, "e%u", i);
        snprintf(owner, sizeof owner, "b%u", i);
        for (unsigned k = 0; k <= i && i % 3 != 1; k++) { /* b1, b4 and b7 have none */
            snprintf(id, sizeof id, "e%u-%u", i, k);
            load_line(&text, EOB, id, owner, NULL, 1, "2020-05-01T00:00:00Z");
        }
    }
    load_text(&f, buffer_slice(&text), NULL);
    struct engine_txn *txn = store_fixture_read(&f.store);
    assert_int_equal(summary_scan_open(txn, &scan, NULL), STATUS_OK);
    static const char order[] = "012345678998765432100xx5a2";
    for (size_t i = 0; order[i]; i++) {
        char owner[3] = {'b', order[i]};
        struct summary one, of_scan;
        enum status want = summary_get(txn, 0, slice_from_text(owner), &one, NULL);
        assert_int_equal(summary_scan_get(scan, 0, slice_from_text(owner), &of_scan, NULL), want);
        if (want == STATUS_OK)
            assert_int_equal(of_scan.of[EOB].resources, order[i] - '0' + 1);
        assert_int_equal(summary_scan_get(scan, 7, slice_from_text(owner), &of_scan, NULL), STATUS_NOT_FOUND);
        if (i % 4)
            assert_int_equal(summary_scan_get(scan, 0, slice_from_text(owner), &of_scan, NULL), want);
    }
    summary_scan_close(scan);
    engine_end(txn);
    buffer_release(&text);
    load_fixture_close(&f);
}

static void a_scan_skips_segments_not_after_since(void **state)
{
    (void)state;
    struct load_fixture f;
    struct segment_scan *scan;
    struct stored_segment stored;
    load_fixture_open(&f);
    for (int i = 0; i < 3; i++) {
        struct buffer text = BUFFER_INIT;
        char id[32], time[32];
        snprintf(id, sizeof id, "e%d", i);
        snprintf(time, sizeof time, "1970-01-01T00:00:0%dZ", i);
        load_line(&text, EOB, id, "b", NULL, 1, time);
        load_text(&f, buffer_slice(&text), NULL);
        buffer_release(&text);
    }
    struct engine_txn *txn = store_fixture_read(&f.store);
    assert_int_equal(segment_scan_open(txn, EOB, UINT64_MAX - 1, &scan, NULL), STATUS_OK);
    static const int64_t since_us[] = {
        INT64_MIN, -1, 0, 1, US_PER_SECOND, 2 * US_PER_SECOND - 1, 2 * US_PER_SECOND, INT64_MAX};
    static const unsigned expected[] = {3, 3, 2, 2, 1, 1, 0, 0};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        unsigned count = 0;
        int64_t before_us = INT64_MIN;
        segment_scan_seek(scan, 0, SLICE_LITERAL("b"), since_us[i]);
        while (segment_scan_next(scan, &stored, NULL) == STATUS_OK) {
            assert_true(stored.name.newest_us > before_us);
            before_us = stored.name.newest_us;
            count++;
        }
        assert_int_equal(count, expected[i]);
    }
    segment_scan_close(scan);
    engine_end(txn);
    load_fixture_close(&f);
}

int main(void)
{
    load_clock_shift(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delta_comes_back_as_it_was),
        cmocka_unit_test(a_delta_that_is_cut_or_longer_is_refused),
        cmocka_unit_test(a_bad_delta_leaves_nothing_of_its_batch),
        cmocka_unit_test(one_resource_is_found_with_its_beneficiary),
        cmocka_unit_test(a_scan_of_summaries_answers_as_single_reads_in_any_order),
        cmocka_unit_test(a_scan_skips_segments_not_after_since),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
