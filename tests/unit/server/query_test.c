#include "server/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Writes the pairs as "[name|value]". */
static void assert_pairs(const char *query, const char *expected)
{
    char got[512] = "";
    size_t size = 0;
    struct slice rest = slice_from_text(query), name, value;
    while (query_next(&rest, &name, &value))
        size += (size_t)snprintf(got + size, sizeof got - size, "[%.*s|%.*s]", SLICE_PRINT(name),
                                 SLICE_PRINT(value));
    assert_string_equal(got, expected);
}

static void pairs_are_split_at_ampersands(void **state)
{
    (void)state;
    assert_pairs("", "");
    assert_pairs("a=1", "[a|1]");
    assert_pairs("a=1&b=2", "[a|1][b|2]");
    assert_pairs("&&a=1&&b&c=&=d&", "[a|1][b|][c|][|d]");
    assert_pairs("a=b=c", "[a|b=c]");
    assert_pairs("a%26b=1%3D2", "[a%26b|1%3D2]");
}

static void a_question_mark_before_a_known_name_separates(void **state)
{
    (void)state;
    assert_pairs("_type=Patient?_since=2020-02-13T08:00:00.000-05:00",
                 "[_type|Patient][_since|2020-02-13T08:00:00.000-05:00]");
    assert_pairs("_since=2020?_type=Patient?_outputFormat=ndjson",
                 "[_since|2020][_type|Patient][_outputFormat|ndjson]");
    assert_pairs("?_type=Patient", "[_type|Patient]");
}

static void another_question_mark_is_part_of_its_value(void **state)
{
    (void)state;
    assert_pairs("_type=Patient?_other=1", "[_type|Patient?_other=1]");
    assert_pairs("a=?_type", "[a|?_type]");
    assert_pairs("a=??_typex=1", "[a|??_typex=1]");
}

static void assert_decoded(const char *raw, bool plus_is_space, const char *expected)
{
    struct arena arena = ARENA_INIT;
    struct slice text = {"unchanged", 9};
    enum status status = query_decode(slice_from_text(raw), &arena, plus_is_space, &text);
    assert_int_equal(status, expected ? STATUS_OK : STATUS_INVALID);
    if (!expected)
        expected = "unchanged";
    assert_int_equal(text.size, strlen(expected));
    assert_memory_equal(text.data, expected, text.size);
    arena_release(&arena);
}

static void percent_escapes_are_decoded(void **state)
{
    (void)state;
    assert_decoded("", true, "");
    assert_decoded("plain", true, "plain");
    assert_decoded("%41%5a%5A%c3%A9", true, "AZZ\xC3\xA9");
    assert_decoded("%2541", true, "%41"); /* once only */
    assert_decoded("a%26b", true, "a&b");
}

static void a_plus_is_a_space_only_where_asked(void **state)
{
    (void)state;
    assert_decoded("a+b%2Bc", true, "a b+c");
    assert_decoded("a+b%2Bc", false, "a+b+c");
}

static void a_broken_escape_is_refused(void **state)
{
    (void)state;
    assert_decoded("%", true, NULL);
    assert_decoded("a%4", true, NULL);
    assert_decoded("%4g", true, NULL);
    assert_decoded("%-1", true, NULL);
    assert_decoded("% 1", true, NULL);
    assert_decoded("a%00b", true, NULL);
}

static void what_needs_no_decoding_is_not_copied(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT;
    struct slice raw = SLICE_LITERAL("a+b"), text;
    assert_int_equal(query_decode(raw, &arena, false, &text), STATUS_OK);
    assert_ptr_equal(text.data, raw.data);
    assert_int_equal(arena.bytes, 0);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_split_at_ampersands),
        cmocka_unit_test(a_question_mark_before_a_known_name_separates),
        cmocka_unit_test(another_question_mark_is_part_of_its_value),
        cmocka_unit_test(percent_escapes_are_decoded),
        cmocka_unit_test(a_plus_is_a_space_only_where_asked),
        cmocka_unit_test(a_broken_escape_is_refused),
        cmocka_unit_test(what_needs_no_decoding_is_not_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
