/* Conditional requests and ranges: what RFC 9110 sections 13 and 14 make of each combination of fields. */
#include "server/precondition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define BYTES 1000
#define TAG   "\"abc-gzip\""
#define DATE  "Sun, 22 Nov 2026 08:00:00 GMT"
#define EARLY "Sun, 22 Nov 2026 07:59:59 GMT"
#define LATE  "Sun, 22 Nov 2026 08:00:01 GMT"

static struct slice field(const char *text)
{
    return text ? slice_from_text(text) : (struct slice){NULL, 0};
}

static enum precondition check(const struct precondition_fields *fields, struct byte_range *ranges,
                               size_t *count)
{
    const struct representation representation = {
        .etag = SLICE_LITERAL(TAG),
        .modified_us = INT64_C(1795334400) * 1000000 + 250000, /* DATE and a quarter of a second */
        .bytes = BYTES,
    };
    return precondition_check(fields, &representation, ranges, count);
}

static void range_fields_mean_what_the_rfc_says(void **state)
{
    (void)state;
    static const struct {
        const char *range;
        enum precondition expected;
        size_t count;
        struct byte_range first, last;
    } cases[] = {
        {"bytes=0-0", PRECONDITION_PARTIAL, 1, {0, 1}, {0, 1}},
        {"bytes=0-499", PRECONDITION_PARTIAL, 1, {0, 500}, {0, 500}},
        {"BYTES=500-999", PRECONDITION_PARTIAL, 1, {500, 1000}, {500, 1000}},
        {"bytes=999-", PRECONDITION_PARTIAL, 1, {999, 1000}, {999, 1000}},
        {"bytes=0-", PRECONDITION_PARTIAL, 1, {0, 1000}, {0, 1000}},
        {"bytes=900-5000", PRECONDITION_PARTIAL, 1, {900, 1000}, {900, 1000}},
        {"bytes=0-99999999999999999999999999", PRECONDITION_PARTIAL, 1, {0, 1000}, {0, 1000}},
        {"bytes=-1", PRECONDITION_PARTIAL, 1, {999, 1000}, {999, 1000}},
        {"bytes=-1000", PRECONDITION_PARTIAL, 1, {0, 1000}, {0, 1000}},
        {"bytes=-2000", PRECONDITION_PARTIAL, 1, {0, 1000}, {0, 1000}},
        {"bytes=0-1, 5-6 ,\t-3", PRECONDITION_PARTIAL, 3, {0, 2}, {997, 1000}},
        {"bytes=,0-1,,", PRECONDITION_PARTIAL, 1, {0, 2}, {0, 2}},
        {"bytes=500-600,0-1", PRECONDITION_PARTIAL, 2, {500, 601}, {0, 2}},
        {"bytes=5000-,0-1", PRECONDITION_PARTIAL, 1, {0, 2}, {0, 2}},
        {"bytes=0-998,0-0", PRECONDITION_PARTIAL, 2, {0, 999}, {0, 1}},
        {"bytes=0-,5000-", PRECONDITION_PARTIAL, 1, {0, 1000}, {0, 1000}},
        /* More than the whole. */
        {"bytes=0-,0-0", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=0-,0-,0-", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=1000-", PRECONDITION_UNSATISFIABLE, 0, {0, 0}, {0, 0}},
        {"bytes=1000-1001", PRECONDITION_UNSATISFIABLE, 0, {0, 0}, {0, 0}},
        {"bytes=-0", PRECONDITION_UNSATISFIABLE, 0, {0, 0}, {0, 0}},
        {"bytes=99999999999999999999-", PRECONDITION_UNSATISFIABLE, 0, {0, 0}, {0, 0}},
        {"bytes=5-4", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=,", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=-", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=a-b", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=+1-2", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=1 -2", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=0-1;q=1", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes 0-1", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"lines=0-1", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"", PRECONDITION_WHOLE, 0, {0, 0}, {0, 0}},
        {"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,10-10,11-11,12-12,13-13,14-14,15-15",
         PRECONDITION_PARTIAL,
         16,
         {0, 1},
         {15, 16}},
        {"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,10-10,11-11,12-12,13-13,14-14,15-15,16-16",
         PRECONDITION_WHOLE,
         0,
         {0, 0},
         {0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct byte_range ranges[RANGES_MAX];
        size_t count;
        const struct precondition_fields fields = {.range = field(cases[i].range)};
        enum precondition got = check(&fields, ranges, &count);
        if (got != cases[i].expected)
            fail_msg("%s: %d, not %d", cases[i].range, got, cases[i].expected);
        if (got != PRECONDITION_PARTIAL)
            continue;
        assert_int_equal(count, cases[i].count);
        assert_int_equal(ranges[0].begin, cases[i].first.begin);
        assert_int_equal(ranges[0].end, cases[i].first.end);
        assert_int_equal(ranges[count - 1].begin, cases[i].last.begin);
        assert_int_equal(ranges[count - 1].end, cases[i].last.end);
    }
}

static void conditions_are_checked_in_the_rfcs_order(void **state)
{
    (void)state;
    static const struct {
        const char *match, *unmodified, *none_match, *modified, *range, *if_range;
        enum precondition expected;
    } cases[] = {
        {NULL, NULL, NULL, NULL, NULL, NULL, PRECONDITION_WHOLE},
        {NULL, NULL, TAG, NULL, NULL, NULL, PRECONDITION_NOT_MODIFIED},
        {NULL, NULL, "W/" TAG, NULL, NULL, NULL, PRECONDITION_NOT_MODIFIED},
        {NULL, NULL, "*", NULL, NULL, NULL, PRECONDITION_NOT_MODIFIED},
        {NULL, NULL, "\"x,y\", " TAG, NULL, NULL, NULL, PRECONDITION_NOT_MODIFIED},
        {NULL, NULL, "\"abc-identity\"", NULL, NULL, NULL, PRECONDITION_WHOLE},
        {NULL, NULL, "abc-gzip", NULL, NULL, NULL, PRECONDITION_WHOLE},
        {NULL, NULL, NULL, DATE, NULL, NULL, PRECONDITION_NOT_MODIFIED},
        {NULL, NULL, NULL, LATE, NULL, NULL, PRECONDITION_NOT_MODIFIED},
        {NULL, NULL, NULL, EARLY, NULL, NULL, PRECONDITION_WHOLE},
        {NULL, NULL, NULL, "yesterday", NULL, NULL, PRECONDITION_WHOLE},
        /* If-None-Match goes before If-Modified-Since. */
        {NULL, NULL, "\"other\"", DATE, NULL, NULL, PRECONDITION_WHOLE},
        {TAG, NULL, NULL, NULL, NULL, NULL, PRECONDITION_WHOLE},
        {"*", NULL, NULL, NULL, NULL, NULL, PRECONDITION_WHOLE},
        {"\"other\"", NULL, NULL, NULL, NULL, NULL, PRECONDITION_FAILED},
        {"W/" TAG, NULL, NULL, NULL, NULL, NULL, PRECONDITION_FAILED},
        {NULL, EARLY, NULL, NULL, NULL, NULL, PRECONDITION_FAILED},
        {NULL, DATE, NULL, NULL, NULL, NULL, PRECONDITION_WHOLE},
        {TAG, EARLY, NULL, NULL, NULL, NULL, PRECONDITION_WHOLE},
        {"\"other\"", NULL, TAG, NULL, "bytes=0-1", NULL, PRECONDITION_FAILED},
        {NULL, NULL, TAG, NULL, "bytes=0-1", NULL, PRECONDITION_NOT_MODIFIED},
        {NULL, NULL, NULL, NULL, "bytes=0-1", TAG, PRECONDITION_PARTIAL},
        {NULL, NULL, NULL, NULL, "bytes=0-1", "\"other\"", PRECONDITION_WHOLE},
        {NULL, NULL, NULL, NULL, "bytes=0-1", "W/" TAG, PRECONDITION_WHOLE},
        {NULL, NULL, NULL, NULL, "bytes=0-1", DATE, PRECONDITION_PARTIAL},
        {NULL, NULL, NULL, NULL, "bytes=0-1", LATE, PRECONDITION_WHOLE},
        {NULL, NULL, NULL, NULL, "bytes=0-1", "nonsense", PRECONDITION_WHOLE},
        {NULL, NULL, NULL, NULL, "bytes=5000-", "\"other\"", PRECONDITION_WHOLE},
        {NULL, NULL, NULL, NULL, NULL, TAG, PRECONDITION_WHOLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct byte_range ranges[RANGES_MAX];
        size_t count;
        const struct precondition_fields fields = {
            .if_match = field(cases[i].match),
            .if_unmodified_since = field(cases[i].unmodified),
            .if_none_match = field(cases[i].none_match),
            .if_modified_since = field(cases[i].modified),
            .range = field(cases[i].range),
            .if_range = field(cases[i].if_range),
        };
        enum precondition got = check(&fields, ranges, &count);
        if (got != cases[i].expected)
            fail_msg("case %zu: %d, not %d", i, got, cases[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(range_fields_mean_what_the_rfc_says),
        cmocka_unit_test(conditions_are_checked_in_the_rfcs_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
