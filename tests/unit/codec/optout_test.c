#include "codec/optout.h"

#include "codec/base/buffer.h"
#include "codec/instant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEADER "HDR_BENEDATASHR20190816"

/* A good row: an N as of 2019-08-14. Parts of it are then overwritten. */
static const char *row_text(size_t at, const char *text)
{
    static char row[OPTOUT_ROW_BYTES + 1];
    memset(row, ' ', OPTOUT_ROW_BYTES);
    memcpy(row, "1S00A00AA01", 11);
    memcpy(row + 11, "1847800005", 10);
    memcpy(row + 21, "Janice", 6);
    memcpy(row + 346,
           "2019081220190814"
           "1-800"
           "TN",
           23);
    memcpy(row + 384, "A9999", 5);
    if (text)
        memcpy(row + at, text, strlen(text));
    return row;
}

/* Reads lines with "\n" between; the rows as text, or the refusal. */
static const char *read_text(const char *text)
{
    static struct buffer result;
    struct optout_reader reader;
    struct optout_row row;
    struct error error = {0};
    enum status status = STATUS_OK;
    bool is_row;
    optout_reader_init(&reader);
    buffer_release(&result);
    uint64_t number = 0;
    for (const char *at = text; status == STATUS_OK && *at;) {
        size_t size = strcspn(at, "\n");
        status = optout_read_line(&reader, ++number, slice_make(at, size), &row, &is_row, &error);
        if (status == STATUS_OK && is_row)
            buffer_appendf(&result, "%.*s %c %d; ", SLICE_PRINT(row.mbi), row.preference,
                           row.effective_day == DAY_NONE ? -1 : row.effective_day);
        at += size + (at[size] != '\0');
    }
    if (status == STATUS_OK)
        status = optout_read_end(&reader, &error);
    if (status != STATUS_OK) {
        assert_int_equal(status, STATUS_INVALID);
        buffer_reset(&result);
        buffer_append_text(&result, error.text);
    } else {
        buffer_appendf(&result, "%d/%d/%d%s", (int)reader.rows, (int)reader.preferences, (int)reader.foreign,
                       reader.has_trailer ? "" : " no trailer");
    }
    return buffer_text(&result);
}

static const char *read_row(size_t at, const char *text)
{
    static char file[2 * OPTOUT_ROW_BYTES];
    snprintf(file, sizeof file, HEADER "\n%s\nTRL_BENEDATASHR201908161         ", row_text(at, text));
    return read_text(file);
}

static void names_are_parsed(void **state)
{
    (void)state;
    struct optout_name name;
    char text[INSTANT_TEXT_SIZE];
    assert_int_equal(
        optout_name_parse(SLICE_LITERAL("P#EFT.ON.ACO.NGD1800.DPRF.D190816.T0241399"), &name, NULL),
        STATUS_OK);
    assert_false(name.test);
    instant_format(name.at_us, text);
    assert_string_equal(text, "2019-08-16T02:41:39.000000Z");
    assert_int_equal(
        optout_name_parse(SLICE_LITERAL("T#EFT.ON.ACO.NGD1800.DPRF.D200229.T2359590"), &name, NULL),
        STATUS_OK);
    assert_true(name.test);
}

static void other_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        "T#EFT.ON.ACO.NGD1800.FRPD.D191220.T1000009",
        "X#EFT.ON.ACO.NGD1800.DPRF.D190816.T0241390",
        "P.EFT.ON.ACO.NGD1800.DPRF.D190816.T0241390",
        "P#EFT.ON.ACO.NGD1800.DPRF.D190816.T024139",
        "P#EFT.ON.ACO.NGD1800.DPRF.D190816.T02413900",
        "P#EFT.ON.ACO.NGD1800.DPRF.D190229.T0241390",
        "P#EFT.ON.ACO.NGD1800.DPRF.D191301.T0241390",
        "P#EFT.ON.ACO.NGD1800.DPRF.D190816.T2400000",
        "P#EFT.ON.ACO.NGD1801.DPRF.D190816.T0241390",
        "P.A0001.ACO.ZC8Y18.D181120.T1000009",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct optout_name name;
        struct error error = {0};
        if (optout_name_parse(slice_from_text(names[i]), &name, &error) != STATUS_INVALID || !*error.text)
            fail_msg("not refused: %s", names[i]);
    }
}

static void rows_tell_preference_and_date(void **state)
{
    (void)state;
    assert_string_equal(read_row(0, NULL), "1S00A00AA01 N 18122; 1/1/0");
    assert_string_equal(read_row(368, "Y"), "1S00A00AA01 Y 18122; 1/1/0");
    assert_string_equal(read_row(368, " "), "1S00A00AA01   -1; 1/0/0");
    assert_string_equal(read_row(354, "        1-800T "), "1S00A00AA01   -1; 1/0/0");
    assert_string_equal(read_row(11, "          "), "1S00A00AA01 N 18122; 1/1/0");
    assert_string_equal(read_row(11, "-12       "), "1S00A00AA01 N 18122; 1/1/0");
    assert_string_equal(read_row(369, "20200229"), "1S00A00AA01 N 18122; 1/1/0");
    assert_string_equal(read_row(369, "00000000"), "1S00A00AA01 N 18122; 1/1/0");
}

static void an_identifier_of_2019_is_taken_and_counted(void **state)
{
    (void)state;
    assert_string_equal(read_row(0, "1000087481 "), "1000087481 N 18122; 1/1/1");
}

static void what_is_wrong_with_a_row_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        const char *text, *what;
    } cases[] = {
        {0, "           ", "columns 1 to 11 is no MBI"},
        {0, "1s00A00AA01", "columns 1 to 11 is no MBI"},
        {0, "1S00 00AA01", "columns 1 to 11 is no MBI"},
        {0, "!1000087481", "columns 1 to 11 is no MBI"},
        {11, "184780000A", "link key"},
        {11, "1.5       ", "link key"},
        {11, "-         ", "link key"},
        {354, "20190229", "the effective date"},
        {354, "20191301", "the effective date"},
        {354, "2019081 ", "the effective date"},
        {354, "18991231", "the effective date"},
        {354, "2O190801", "the effective date"},
        {354, "        ", "without an effective date"},
        {354, "00000000", "without an effective date"},
        {369, "20191301", "SAMHSA"},
        {368, "X", "neither Y nor N"},
        {368, "n", "neither Y nor N"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text = read_row(cases[i].at, cases[i].text);
        if (strncmp(text, "line 2: ", 8) != 0 || !strstr(text, cases[i].what))
            fail_msg("\"%s\" at %zu: %s", cases[i].text, cases[i].at, text);
        /* A person's identifier does not go into a message. */
        assert_null(strstr(text, "1S00A00AA01"));
    }
}

static void a_row_of_another_length_is_refused(void **state)
{
    (void)state;
    struct buffer text = BUFFER_INIT;
    for (size_t size = 1; size < OPTOUT_ROW_BYTES; size += 57) {
        buffer_reset(&text);
        buffer_appendf(&text, HEADER "\n%.*s", (int)size, row_text(0, NULL));
        assert_non_null(strstr(read_text(buffer_text(&text)), "characters instead of 459"));
    }
    buffer_reset(&text);
    buffer_appendf(&text, HEADER "\n%s1", row_text(0, NULL));
    assert_string_equal(read_text(buffer_text(&text)), "line 2: has 460 characters instead of 459");
    buffer_reset(&text);
    buffer_appendf(&text, HEADER "\n%s ", row_text(0, NULL));
    assert_string_equal(read_text(buffer_text(&text)), "1S00A00AA01 N 18122; 1/1/0 no trailer");
    buffer_release(&text);
}

static void header_and_trailer_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *format, *result; /* %s: a row */
    } cases[] = {
        {"", "is empty"},
        {HEADER, "0/0/0 no trailer"},
        {HEADER "\nTRL_BENEDATASHR201908160", "0/0/0"},
        {HEADER "\n%s", "1S00A00AA01 N 18122; 1/1/0 no trailer"},
        {HEADER "  \n%s\nTRL_BENEDATASHR201908161", "1S00A00AA01 N 18122; 1/1/0"},
        {"%s", "line 1: the file does not begin with \"HDR_BENEDATASHR\""},
        {"HDR_BLAHDATASHR20190729\n%s", "line 1: the file does not begin with \"HDR_BENEDATASHR\""},
        {"HDR_BENEDATASHR20190732\n%s", "line 1: the header's date is no date"},
        {"HDR_BENEDATASHR\n%s", "line 1: the header's date is no date"},
        {HEADER "\n%s\n" HEADER, "line 3: a second header"},
        {HEADER "\n%s\nTRL_BENEDATASHR201908162         ",
         "line 3: the trailer counts 2 rows, the file has 1"},
        {HEADER "\n%s\nTRL_BENEDATASHR201908160", "line 3: the trailer counts 0 rows, the file has 1"},
        {HEADER "\n%s\nTRL_BENEDATASHR20190816         ", "line 3: the trailer's count is no number"},
        {HEADER "\n%s\nTRL_BENEDATASHR201908161x", "line 3: the trailer's count is no number"},
        {HEADER "\n%s\nTRL_BENEDATASHR2019081600000000001", "line 3: the trailer's count is no number"},
        {HEADER "\n%s\nTRL_BENEDATASHR201908AA1", "line 3: the trailer's date is no date"},
        {HEADER "\n%s\nTRL_BENEDATASHR", "line 3: the trailer's date is no date"},
        {HEADER "\nTRL_BENEDATASHR201908160\n%s", "line 3: stands behind the trailer"},
        {HEADER "\nTRL_BENEDATASHR201908160\nTRL_BENEDATASHR201908160", "line 3: stands behind the trailer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer text = BUFFER_INIT;
        const char *hole = strstr(cases[i].format, "%s");
        size_t before = hole ? (size_t)(hole - cases[i].format) : strlen(cases[i].format);
        buffer_append(&text, cases[i].format, before);
        if (hole) {
            buffer_append_text(&text, row_text(0, NULL));
            buffer_append_text(&text, hole + 2);
        }
        assert_string_equal(read_text(buffer_text(&text)), cases[i].result);
        buffer_release(&text);
    }
}

static void the_hash_depends_on_every_line(void **state)
{
    (void)state;
    struct optout_reader one, other;
    struct optout_row row;
    bool is_row;
    optout_reader_init(&one);
    optout_reader_init(&other);
    assert_int_equal(optout_read_line(&one, 1, SLICE_LITERAL(HEADER), &row, &is_row, NULL), STATUS_OK);
    assert_int_equal(optout_read_line(&other, 1, SLICE_LITERAL(HEADER), &row, &is_row, NULL), STATUS_OK);
    assert_int_equal(one.content_hash, other.content_hash);
    assert_int_equal(optout_read_line(&one, 2, slice_from_text(row_text(0, NULL)), &row, &is_row, NULL),
                     STATUS_OK);
    assert_int_equal(
        optout_read_line(&other, 2, slice_from_text(row_text(21, "Jane  ")), &row, &is_row, NULL), STATUS_OK);
    assert_int_not_equal(one.content_hash, other.content_hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_parsed),
        cmocka_unit_test(other_names_are_refused),
        cmocka_unit_test(rows_tell_preference_and_date),
        cmocka_unit_test(an_identifier_of_2019_is_taken_and_counted),
        cmocka_unit_test(what_is_wrong_with_a_row_is_named_with_its_line),
        cmocka_unit_test(a_row_of_another_length_is_refused),
        cmocka_unit_test(header_and_trailer_are_checked),
        cmocka_unit_test(the_hash_depends_on_every_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
