#include "tools/synth/claim.h"

#include "codec/json_reader.h"
#include "tools/synth/course.h"
#include "tools/synth/coverage.h"
#include "tools/synth/patient.h"
#include "tools/synth/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define KEY_BYTES_MAX  64
#define BENEFICIARIES  60
#define PEOPLE_OF_SEED 11

/* The last key seen at each depth: keys of one object come in order. */
struct order {
    char last[JSON_DEPTH_MAX + 1][KEY_BYTES_MAX];
};

static enum status order_check(void *context, enum json_event event, struct slice text, unsigned depth,
                               struct error *error)
{
    (void)error;
    struct order *order = context;
    if (event == JSON_EVENT_OBJECT_BEGIN)
        order->last[depth + 1][0] = '\0';
    if (event == JSON_EVENT_KEY) {
        char key[KEY_BYTES_MAX] = "";
        assert_true(text.size < sizeof key);
        memcpy(key, text.data, text.size);
        if (strcmp(order->last[depth], key) >= 0)
            fail_msg("key %s after %s", key, order->last[depth]);
        memcpy(order->last[depth], key, sizeof key);
    }
    return STATUS_OK;
}

static void lines_are_sorted_json(struct json_reader *reader, const struct buffer *lines)
{
    struct slice rest = buffer_slice(lines);
    while (rest.size) {
        const char *end = memchr(rest.data, '\n', rest.size);
        assert_non_null(end);
        struct slice line = {rest.data, (size_t)(end - rest.data)};
        struct order order = {0};
        struct error error = {0};
        if (json_read(reader, line, order_check, &order, &error))
            fail_msg("%s in %.*s", error.text, SLICE_PRINT(line));
        assert_true(json_reader_was_minified(reader));
        rest = slice_skip(rest, line.size + 1);
    }
}

static void beneficiary_of(struct beneficiary *beneficiary, uint32_t index)
{
    beneficiary_draw(beneficiary, PEOPLE_OF_SEED, SLICE_LITERAL("A9990"), 0, index);
}

static void history(struct claim_cursor *cursor, const struct beneficiary *beneficiary)
{
    claim_cursor_init(cursor, beneficiary, 2021, 2026, INT32_MIN, day_from_date(2026, 1, 1));
}

static void lines_of_every_family_are_json_with_sorted_keys(void **state)
{
    (void)state;
    struct json_reader *reader = json_reader_new();
    struct buffer lines = BUFFER_INIT;
    unsigned counts[CLAIM_FAMILY_COUNT] = {0};
    for (uint32_t i = 0; i < BENEFICIARIES; i++) {
        struct beneficiary beneficiary;
        struct claim_cursor cursor;
        struct claim claim;
        beneficiary_of(&beneficiary, i);
        patient_write(&lines, &beneficiary);
        coverage_write(&lines, &beneficiary);
        history(&cursor, &beneficiary);
        while (claim_next(&cursor, &claim)) {
            claim_write(&lines, &claim);
            counts[claim.family]++;
        }
        lines_are_sorted_json(reader, &lines);
        buffer_reset(&lines);
    }
    for (enum claim_family family = 0; family < CLAIM_FAMILY_COUNT; family++)
        if (!counts[family])
            fail_msg("no claim of %.*s", SLICE_PRINT(claim_family_name(family)));
    buffer_release(&lines);
    json_reader_free(reader);
}

static void what_weeks_write_is_json_with_sorted_keys(void **state)
{
    (void)state;
    struct json_reader *reader = json_reader_new();
    struct buffer lines = BUFFER_INIT;
    unsigned counts[CLAIM_FAMILY_COUNT] = {0};
    for (uint32_t i = 0; i < BENEFICIARIES; i++) {
        struct beneficiary drawn;
        beneficiary_of(&drawn, i);
        struct beneficiary beneficiary = drawn;
        course_advance(&beneficiary, WEEKS_MAX);
        patient_update(&lines, &beneficiary, WEEKS_MAX);
        coverage_update(&lines, &beneficiary, WEEKS_MAX);
        for (uint32_t week = 20; week <= WEEKS_MAX; week += 20) {
            struct claim_cursor cursor;
            struct claim claim;
            claim_cursor_init(&cursor, &drawn, 2025, CLAIM_END_YEAR, week_day(1), week_day(week));
            while (claim_next(&cursor, &claim)) {
                enum claim_change change = claim_advance(&claim, week);
                if (change != CLAIM_REVISED && change != CLAIM_CANCELLED)
                    continue;
                claim_write(&lines, &claim);
                counts[claim.family]++;
            }
        }
        lines_are_sorted_json(reader, &lines);
        buffer_reset(&lines);
    }
    static const enum claim_family often[] = {CLAIM_CARRIER, CLAIM_OUTPATIENT, CLAIM_PDE};
    for (size_t i = 0; i < sizeof often / sizeof often[0]; i++)
        assert_true(counts[often[i]] > 0);
    buffer_release(&lines);
    json_reader_free(reader);
}

static void a_person_known_in_a_week_is_the_one_of_the_week_before_until_a_change(void **state)
{
    (void)state;
    unsigned changes = 0;
    for (uint32_t i = 0; i < 200; i++) {
        struct beneficiary drawn;
        beneficiary_of(&drawn, i);
        struct beneficiary before = drawn;
        struct beneficiary served = drawn;
        course_foresee(&served);
        for (uint32_t week = 1; week <= WEEKS_MAX; week++) {
            struct beneficiary now = drawn;
            bool changed = course_advance(&now, week);
            if (!changed)
                assert_memory_equal(&now, &before, sizeof now);
            if (before.death_day != INT32_MAX)
                assert_false(changed);
            changes += changed;
            before = now;
        }
        assert_int_equal(before.death_day, served.death_day);
    }
    assert_in_range(changes, 20, 120);
}

static void who_joins_is_counted_from_the_week_in_which_he_is_listed(void **state)
{
    (void)state;
    for (uint32_t base = 1; base < 3000; base += 97)
        for (uint32_t week = 1; week <= WEEKS_MAX; week++)
            for (uint32_t i = course_count(base, week - 1); i < course_count(base, week); i++)
                assert_int_equal(course_joined(base, i), week);
    assert_int_equal(course_joined(10, 9), 0);
    assert_int_equal(course_count(BENEFICIARIES_MAX, WEEKS_MAX), BENEFICIARIES_MAX);
}

/* The loads of one week, and all weeks together are the whole. */
static void load_windows_share_out_the_claims(void **state)
{
    (void)state;
    struct beneficiary beneficiary;
    struct claim_cursor cursor;
    struct claim claim;
    uint64_t whole = 0;
    uint64_t parts = 0;
    beneficiary_of(&beneficiary, 3);
    history(&cursor, &beneficiary);
    while (claim_next(&cursor, &claim))
        whole += claim.id;
    for (int32_t day = day_from_date(2020, 12, 26); day < day_from_date(2026, 1, 1); day += 7) {
        int32_t end = day + 7 < day_from_date(2026, 1, 1) ? day + 7 : day_from_date(2026, 1, 1);
        claim_cursor_init(&cursor, &beneficiary, 2021, 2026, day, end);
        while (claim_next(&cursor, &claim)) {
            assert_in_range(claim.loaded.day, day, end - 1);
            parts += claim.id;
        }
    }
    assert_true(whole > 0 && whole == parts);
}

static void the_heaviest_beneficiary_stays_within_his_ids(void **state)
{
    (void)state;
    struct beneficiary beneficiary;
    struct claim_cursor cursor;
    struct claim claim;
    unsigned count = 0;
    beneficiary_of(&beneficiary, 0);
    beneficiary.intensity_q16 = 20 * Q16_ONE;
    beneficiary.has_part_d = true;
    beneficiary.death_day = INT32_MAX;
    claim_cursor_init(&cursor, &beneficiary, 2021, CLAIM_END_YEAR, INT32_MIN, INT32_MAX);
    while (claim_next(&cursor, &claim)) {
        assert_true(claim.id - BENE_NUMBER_BASE < 100000);
        count++;
    }
    assert_in_range(count, 7000, 11000);
}

static void mbis_never_repeat_and_are_never_real(void **state)
{
    (void)state;
    struct beneficiary first;
    struct beneficiary second;
    beneficiary_draw(&first, 1, SLICE_LITERAL("A9990"), 0, BENEFICIARIES_MAX - 1);
    beneficiary_draw(&second, 1, SLICE_LITERAL("A9991"), 1, 0);
    assert_memory_not_equal(first.mbi, second.mbi, MBI_SIZE);
    assert_int_equal(first.mbi[1], 'S');
    beneficiary_draw(&first, 1, SLICE_LITERAL("A9990"), ACOS_MAX - 1, BENEFICIARIES_MAX - 1);
    assert_int_equal(first.mbi[1], 'S');
    uint32_t had = first.former_mbi_count;
    while (beneficiary_mbi_replace(&first, 0))
        assert_int_equal(first.mbi[1], 'S');
    assert_int_equal(first.former_mbi_count, FORMER_MBIS_MAX);
    for (uint32_t i = 0; i < FORMER_MBIS_MAX; i++) {
        assert_memory_not_equal(first.mbi, first.former_mbis[i], MBI_SIZE);
        for (uint32_t j = 0; j < i; j++)
            assert_memory_not_equal(first.former_mbis[i], first.former_mbis[j], MBI_SIZE);
    }
    assert_true(had < FORMER_MBIS_MAX);
}

static void aco_ids_have_the_forms_of_the_archives(void **state)
{
    (void)state;
    static const char *const good[] = {"A0001",   "V001",     "C1234",   "K1234", "D1234",
                                       "TEST001", "SBXBA001", "IOTA001", "CEC"};
    static const char *const bad[] = {"", "A001", "A00011", "a0001", "B0001", "SBX00001", "../A", "CECX"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(aco_id_valid(slice_from_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(aco_id_valid(slice_from_text(bad[i])));
}

static void rows_have_the_widths_of_the_layout(void **state)
{
    (void)state;
    struct roster roster;
    roster_init(&roster, SLICE_LITERAL("A9990"), day_from_date(2026, 1, 1));
    for (uint32_t i = 0; i < 500; i++) {
        struct beneficiary beneficiary;
        beneficiary_of(&beneficiary, i);
        roster_add(&roster, &beneficiary);
    }
    assert_int_equal(roster.row_count, 500);
    assert_int_equal(roster.demographics.size, 500 * (CCLF8_ROW_BYTES + 1));
    assert_int_equal(roster.cross_references.size, roster.cross_reference_count * (CCLF9_ROW_BYTES + 1));
    assert_in_range(roster.cross_reference_count, 1, 40);
    struct buffer text = BUFFER_INIT;
    roster_name_append(&text, &roster);
    assert_string_equal(buffer_text(&text), "P.BCD.A9990.ZCY26.D260101.T0000000");
    buffer_reset(&text);
    roster_summary_append(&text, &roster);
    assert_int_equal(text.size, 3 * (CCLF0_ROW_BYTES + 1));
    assert_non_null(strstr(buffer_text(&text), "|        500|  549\n"));
    buffer_release(&text);
    roster_release(&roster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_every_family_are_json_with_sorted_keys),
        cmocka_unit_test(what_weeks_write_is_json_with_sorted_keys),
        cmocka_unit_test(a_person_known_in_a_week_is_the_one_of_the_week_before_until_a_change),
        cmocka_unit_test(who_joins_is_counted_from_the_week_in_which_he_is_listed),
        cmocka_unit_test(load_windows_share_out_the_claims),
        cmocka_unit_test(the_heaviest_beneficiary_stays_within_his_ids),
        cmocka_unit_test(mbis_never_repeat_and_are_never_real),
        cmocka_unit_test(aco_ids_have_the_forms_of_the_archives),
        cmocka_unit_test(rows_have_the_widths_of_the_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
