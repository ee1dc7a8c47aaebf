#include "codec/cclf.h"

#include "codec/base/buffer.h"
#include "codec/base/bytes.h"
#include "codec/base/clock.h"

#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

/* ---- Names */

#define DAY(days) ((days)*INT64_C(86400) * US_PER_SECOND)
#define AT(days, hour, minute, second)                                                                       \
    (DAY(days) + ((hour)*INT64_C(3600) + (minute)*INT64_C(60) + (second)) * US_PER_SECOND)
#define D181120 17855 /* days of 2018-11-20 */

static const struct {
    const char *name;
    struct cclf_name expected;
} good_names[] = {
    /* to 2019, outer: the time's digits are the ACO's */
    {"T.BCD.ACO.ZC0Y18.D181120.T0001000",
     {CCLF_KIND_ARCHIVE, "A0001", false, true, 18, 0, DAY(D181120), CCLF_KIND_SUMMARY}},
    {"T.BCD.ACO.ZC8Y18.D181121.T0001000",
     {CCLF_KIND_ARCHIVE, "A0001", false, true, 18, 0, DAY(D181120 + 1), CCLF_KIND_BENEFICIARIES}},
    {"P.BCD.ACO.ZC9Y18.D181120.T9994123",
     {CCLF_KIND_ARCHIVE, "A9994", false, false, 18, 0, DAY(D181120), CCLF_KIND_CROSS_REFERENCE}},
    {"T.BCD.ACO.ZC0Y18.D181120.T0001098",
     {CCLF_KIND_ARCHIVE, "A0001", false, true, 18, 0, DAY(D181120), CCLF_KIND_SUMMARY}},
    /* to 2019, inner */
    {"T.A0001.ACO.ZC0Y18.D181120.T1000009",
     {CCLF_KIND_SUMMARY, "A0001", false, true, 18, 0, AT(D181120, 10, 0, 0), CCLF_KIND_SUMMARY}},
    {"T.A0001.ACO.ZC8Y18.D181120.T1000011",
     {CCLF_KIND_BENEFICIARIES, "A0001", false, true, 18, 0, AT(D181120, 10, 0, 1), CCLF_KIND_BENEFICIARIES}},
    {"P.A0001.ACO.ZC9Y18.D181120.T1000010",
     {CCLF_KIND_CROSS_REFERENCE, "A0001", false, false, 18, 0, AT(D181120, 10, 0, 1),
      CCLF_KIND_CROSS_REFERENCE}},
    {"T.A0001.ACO.ZC8Y18.D181120.T1000009-2",
     {CCLF_KIND_BENEFICIARIES, "A0001", false, true, 18, 2, AT(D181120, 10, 0, 0), CCLF_KIND_BENEFICIARIES}},
    {"T.A0001.ACO.ZC0Y18.D181120.T1000011-1",
     {CCLF_KIND_SUMMARY, "A0001", false, true, 18, 1, AT(D181120, 10, 0, 1), CCLF_KIND_SUMMARY}},
    {"T.T0001.ACO.ZC8Y18.D181120.T1000009",
     {CCLF_KIND_BENEFICIARIES, "T0001", false, true, 18, 0, AT(D181120, 10, 0, 0), CCLF_KIND_BENEFICIARIES}},
    /* from 2020, outer */
    {"T.BCD.A0001.ZCY18.D181120.T1000000",
     {CCLF_KIND_ARCHIVE, "A0001", false, true, 18, 0, AT(D181120, 10, 0, 0), CCLF_KIND_ARCHIVE}},
    {"P.BCD.A9989.ZCY18.D181121.T1000000",
     {CCLF_KIND_ARCHIVE, "A9989", false, false, 18, 0, AT(D181120 + 1, 10, 0, 0), CCLF_KIND_ARCHIVE}},
    {"P.BCD.A0001.ZCR18.D181121.T2000000",
     {CCLF_KIND_ARCHIVE, "A0001", true, false, 18, 0, AT(D181120 + 1, 20, 0, 0), CCLF_KIND_ARCHIVE}},
    /* from 2020, inner */
    {"T.BCD.A0001.ZC8Y18.D181120.T1000009",
     {CCLF_KIND_BENEFICIARIES, "A0001", false, true, 18, 0, AT(D181120, 10, 0, 0), CCLF_KIND_BENEFICIARIES}},
    {"T.BCD.A0001.ZC8R18.D181120.T1000009",
     {CCLF_KIND_BENEFICIARIES, "A0001", true, true, 18, 0, AT(D181120, 10, 0, 0), CCLF_KIND_BENEFICIARIES}},
    {"P.BCD.A0009.ZC0Y18.D181120.T1000011",
     {CCLF_KIND_SUMMARY, "A0009", false, false, 18, 0, AT(D181120, 10, 0, 1), CCLF_KIND_SUMMARY}},
    {"T.BCD.A0001.ZC9Y18.D181120.T1000010",
     {CCLF_KIND_CROSS_REFERENCE, "A0001", false, true, 18, 0, AT(D181120, 10, 0, 1),
      CCLF_KIND_CROSS_REFERENCE}},
    {"T.BCD.A0001.ZC1Y18.D181120.T1000010",
     {CCLF_KIND_OTHER, "A0001", false, true, 18, 0, AT(D181120, 10, 0, 1), CCLF_KIND_OTHER}},
    {"T.BCD.A0001.ZCBY18.D181120.T1000010",
     {CCLF_KIND_OTHER, "A0001", false, true, 18, 0, AT(D181120, 10, 0, 1), CCLF_KIND_OTHER}},
    {"P.V123.ACO.ZC8Y20.D181120.T1000009",
     {CCLF_KIND_BENEFICIARIES, "V123", false, false, 20, 0, AT(D181120, 10, 0, 0), CCLF_KIND_BENEFICIARIES}},
    {"P.CEC.ZC8Y20.D181120.T1000009",
     {CCLF_KIND_BENEFICIARIES, "", false, false, 20, 0, AT(D181120, 10, 0, 0), CCLF_KIND_BENEFICIARIES}},
    {"P.IOTA001.PRT.ZC8Y20.D181120.T1000009",
     {CCLF_KIND_BENEFICIARIES, "IOTA001", false, false, 20, 0, AT(D181120, 10, 0, 0),
      CCLF_KIND_BENEFICIARIES}},
    {"P.SBXAB001.ACO.ZC0Y20.D181120.T1000009",
     {CCLF_KIND_SUMMARY, "SBXAB001", false, false, 20, 0, AT(D181120, 10, 0, 0), CCLF_KIND_SUMMARY}},
    {"P.TEST001.ACO.ZC0Y20.D181120.T1000009",
     {CCLF_KIND_SUMMARY, "TEST001", false, false, 20, 0, AT(D181120, 10, 0, 0), CCLF_KIND_SUMMARY}},
    {"P.A1234.ACO.ZC8Y58.D580301.T0000000",
     {CCLF_KIND_BENEFICIARIES, "A1234", false, false, 58, 0, DAY(32201),
      CCLF_KIND_BENEFICIARIES}}, /* beyond 32 bits of seconds */
    /* CMS's own, CCLF Information Packet 4.2 */
    {"P.A1234.ACO.ZCY20.D200229.T2359599",
     {CCLF_KIND_ARCHIVE, "A1234", false, false, 20, 0, AT(18321, 23, 59, 59), CCLF_KIND_ARCHIVE}},
    {"P.D1234.ACO.ZCR21.D200301.T0000000",
     {CCLF_KIND_ARCHIVE, "D1234", true, false, 21, 0, DAY(18322), CCLF_KIND_ARCHIVE}},
    {"P.F123.ACO.ZC8Y20.D200301.T0000000",
     {CCLF_KIND_BENEFICIARIES, "F123", false, false, 20, 0, DAY(18322), CCLF_KIND_BENEFICIARIES}},
    {"P.P123456.ACO.ZC21.D200301.T0000000",
     {CCLF_KIND_ARCHIVE, "P123456", false, false, 21, 0, DAY(18322), CCLF_KIND_ARCHIVE}},
    /* newer models */
    {"P.PCPB.M2411.D181120.T1000000",
     {CCLF_KIND_CSV, "M2411", false, false, 0, 0, AT(D181120, 10, 0, 0), CCLF_KIND_CSV}},
    {"T.GUIDE.GUIDE-0001.Y25.D181120.T1000000",
     {CCLF_KIND_CSV, "GUIDE-0001", false, true, 25, 0, AT(D181120, 10, 0, 0), CCLF_KIND_CSV}},
    {"T.ACCESS.ACCES00001.R25.D181120.T1000009",
     {CCLF_KIND_CSV, "ACCES00001", true, true, 25, 0, AT(D181120, 10, 0, 0), CCLF_KIND_CSV}},
};

static void names_of_all_eras_are_read(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof good_names / sizeof good_names[0]; i++) {
        const char *text = good_names[i].name;
        const struct cclf_name *expected = &good_names[i].expected;
        struct cclf_name name;
        struct error error = {0};
        if (cclf_name_parse(slice_from_text(text), &name, &error) != STATUS_OK)
            fail_msg("%s: %s", text, error.text);
        if (name.kind != expected->kind || strcmp(name.aco, expected->aco) ||
            name.runout != expected->runout || name.test != expected->test ||
            name.performance_year != expected->performance_year || name.part != expected->part ||
            name.at_us != expected->at_us || name.holds != expected->holds)
            fail_msg("%s: kind %d, ACO %s, runout %d, test %d, year %u, part %u, at %" PRId64, text,
                     name.kind, name.aco, name.runout, name.test, name.performance_year, name.part,
                     name.at_us);
    }
}

static const struct {
    const char *name;
    const char *reason; /* behind "not a CCLF name: " */
} bad_names[] = {
    {"", "it does not begin with \"P.\" or \"T.\""},
    {"X.BCD.A0001.ZCY18.D181120.T1000000", "it does not begin with \"P.\" or \"T.\""},
    {"T#EFT.ON.ACO.NGD1800.DPRF.D181120.T1000009", "it does not begin with \"P.\" or \"T.\""},
    {"INVALID_FILE", "it does not begin with \"P.\" or \"T.\""},
    {"T", "it has not six parts between dots"},
    {"T.", "it has not six parts between dots"},
    {"T.BCD.A0001.ZCY18.D181120.T1000000.zip", "it has not six parts between dots"},
    {"T.ACCESS.ACCES0001.Y25.D250630.T1000000", "its second and third part name no ACO that is known here"},
    {"T.ACCESS.ACCES00001.X25.D250630.T1000000", "its second and third part name no ACO that is known here"},
    {"T.access.ACCES00001.Y25.D250630.T1000000", "its second and third part name no ACO that is known here"},
    {"T.ACCESS.ACCES00001.Y25.D250631.T1000000", "the date should look like \"D250630\" (year, month, day)"},
    {"T.GUIDE.GUIDE-0001.Y25.D250630.T2400000",
     "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"P.PCPB.M2411.D181120.1000000", "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"P.PCPB.M2411.Y18.T1000000", "its second and third part name no ACO that is known here"},
    {"T.ABCDE.ACO.ZC9Y18.D181120.T1000010", "its second and third part name no ACO that is known here"},
    {"T.BCDE.ACO.ZC0Y18.D181120.T0001000", "its second and third part name no ACO that is known here"},
    {"T.UNKNOWNACO.ACO.ZC0Y18.D181120.T1000010", "its second and third part name no ACO that is known here"},
    {"T.BCD.ACOB.ZC0Y18.D181120.T0001000", "its second and third part name no ACO that is known here"},
    {"T.BCD.ACOB.ZC0Y18.D181120.E0001000", "its second and third part name no ACO that is known here"},
    {"T.BCD.A0001.ZC8X18.D181120.T1000009", "the file and year should look like \"ZC8Y18\" or \"ZCY18\""},
    {"T.BCD.A0001.ZC88Y18.D181120.T1000009", "the file and year should look like \"ZC8Y18\" or \"ZCY18\""},
    {"T.BCD.A0001.ZC8Y1.D181120.T1000009", "the file and year should look like \"ZC8Y18\" or \"ZCY18\""},
    {"T.BCD.A0001.zc8y18.D181120.T1000009", "the file and year should look like \"ZC8Y18\" or \"ZCY18\""},
    {"T.A0001.ACO.ZC8Y18.D18NOV20.T1000009", "the date should look like \"D181120\" (year, month, day)"},
    {"T.A0001.ACO.ZC8Y18.D181320.T1000009", "the date should look like \"D181120\" (year, month, day)"},
    {"T.A0001.ACO.ZC8Y18.D181100.T1000009", "the date should look like \"D181120\" (year, month, day)"},
    {"T.A0001.ACO.ZC8Y18.D181131.T1000009", "the date should look like \"D181120\" (year, month, day)"},
    {"T.A0001.ACO.ZC8Y18.D190229.T1000009", "the date should look like \"D181120\" (year, month, day)"},
    {"T.A0001.ACO.ZC0Y18.D181120.Z1000000",
     "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"T.A0001.ACO.ZC0Y18.D181120.T100000",
     "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"T.A0001.ACO.ZC0Y18.D181120.T10000000",
     "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"T.A0001.ACO.ZC0Y18.D181120.T1000000-",
     "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"T.A0001.ACO.ZC0Y18.D181120.T1000000-0",
     "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"T.A0001.ACO.ZC0Y18.D181120.T1000000-x",
     "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"T.A0001.ACO.ZC0Y18.D181120.T10000099",
     "the time should look like \"T1000009\" (hour, minute, second, tenth)"},
    {"T.A0001.ACO.ZC0Y18.D181120.T2400000", "there is no such time of day"},
    {"T.A0001.ACO.ZC0Y18.D181120.T1060000", "there is no such time of day"},
};

static void other_names_are_refused_with_the_reason(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
        struct cclf_name name = {.part = 77};
        struct error error = {0};
        char expected[200];
        snprintf(expected, sizeof expected, "not a CCLF name: %s", bad_names[i].reason);
        assert_int_equal(cclf_name_parse(slice_from_text(bad_names[i].name), &name, &error), STATUS_INVALID);
        if (strcmp(error.text, expected) != 0)
            fail_msg("%s: %s", bad_names[i].name, error.text);
        assert_int_equal(name.part, 77);
    }
    char longest[CCLF_NAME_BYTES_MAX + 1];
    memset(longest, 'T', sizeof longest);
    struct cclf_name name;
    assert_int_equal(cclf_name_parse(slice_make(longest, sizeof longest), &name, NULL), STATUS_INVALID);
}

static void aco_ids_follow_the_patterns_of_the_models(void **unused)
{
    (void)unused;
    static const char *const good[] = {"A9994",   "V123",     "E1234",      "C1234",      "K1234",
                                       "D1234",   "CT1234",   "CT12345",    "CT123456",   "DA1234",
                                       "T0001",   "F123",     "GUIDE-0001", "ACCES00001", "IOTA001",
                                       "TEST001", "SBXAB001", "P123456",    "M2411"};
    static const char *const bad[] = {"",         "A",      "A999",  "A99944",    "a9994",       "B9994",
                                      "A999X",    "V1234",  "CT123", "GUIDE0001", "GUIDE-00011", "ACCES0001",
                                      "SBX12001", "A9994 ", "ACO"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!aco_id_is_valid(slice_from_text(good[i])))
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (aco_id_is_valid(slice_from_text(bad[i])))
            fail_msg("%s is taken", bad[i]);
}

static void mbis_follow_the_pattern(void **unused)
{
    (void)unused;
    static const char *const good[] = {"1S00E00AA66", "1EG4TE5MK73", "1SG0A00AA00", "1A69B98CD30",
                                       "0S80C00AA00", "9S79A00AA00", "3S58A00AA00", "1S00E00FZ00"};
    static const char *const bad[] = {"",
                                      "1S00E00AA6",
                                      "1S00E00AA666",
                                      "1s00e00aa66",
                                      "S00E00AA66 ",
                                      " 1S00E00AA6",
                                      "1000044288 ",
                                      "203031401M ",
                                      "           ",
                                      "1SX0E00AA6A",
                                      "1-00E00AA66",
                                      "A1A69B98CD3",
                                      "MBI00000001"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!mbi_is_valid(slice_from_text(good[i])))
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (mbi_is_valid(slice_from_text(bad[i])))
            fail_msg("%s is taken", bad[i]);
}

/* ---- CCLF0 */

static void cclf0_must_fail(const char *file, const char *text)
{
    uint64_t count = 77;
    uint32_t bytes = 77;
    struct error error = {0};
    assert_int_equal(cclf0_parse(slice_from_text(file), &count, &bytes, &error), STATUS_INVALID);
    assert_string_equal(error.text, text);
    assert_int_equal(count, 77);
    assert_int_equal(bytes, 77);
}

static void cclf0_gives_count_and_length_of_cclf8(void **unused)
{
    (void)unused;
    static const char *const files[] = {
        "CCLF8  |Beneficiary Demographics File              |          7|  549",
        "File Number  |File Description    |Total Records Count |Record Length\r\n"
        "CCLF7  |Part D File                                |          6|  195\r\n"
        "CCLF8  |Beneficiary Demographics File              |          7|  549 \r\n"
        "CCLF9  |BENE XREF File                             |          6|   54\r\n",
        "CCLF8        |Beneficiary Demogra |7                   |549         \n",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        uint64_t count;
        uint32_t bytes;
        struct error error = {0};
        if (cclf0_parse(slice_from_text(files[i]), &count, &bytes, &error) != STATUS_OK)
            fail_msg("%zu: %s", i, error.text);
        assert_int_equal(count, 7);
        assert_int_equal(bytes, 549);
    }
}

static void cclf0_is_refused_without_one_good_line_for_cclf8(void **unused)
{
    (void)unused;
    cclf0_must_fail("", "CCLF0 has no line for CCLF8");
    cclf0_must_fail("CCLF7  |x|1|2\n CCLF8  |x|1|20\n", "CCLF0 has no line for CCLF8");
    cclf0_must_fail("CCLF8  |x|1|20\n\nCCLF8  |x|1|20\n", "CCLF0 lines 1 and 3 both count CCLF8");
    cclf0_must_fail("CCLF8  |x|1\n", "CCLF0 line 1 has not four fields between bars");
    cclf0_must_fail("CCLF8  |x|1|20|\n", "CCLF0 line 1 has not four fields between bars");
    cclf0_must_fail("CCLF88 |x|1|20\n", "CCLF0 line 1 has not four fields between bars");
    cclf0_must_fail("CCLF8  |x|NUM|20\n", "CCLF0 line 1: the count of records is no number");
    cclf0_must_fail("CCLF8  |x||20\n", "CCLF0 line 1: the count of records is no number");
    cclf0_must_fail("CCLF8  |x|-1|20\n", "CCLF0 line 1: the count of records is no number");
    cclf0_must_fail("CCLF8  |x|100000000000|20\n", "CCLF0 line 1: the count of records is no number");
    cclf0_must_fail("CCLF8  |x|1|0\n", "CCLF0 line 1: the record length is no possible number");
    cclf0_must_fail("CCLF8  |x|1|10\n", "CCLF0 line 1: the record length is no possible number");
    cclf0_must_fail("CCLF8  |x|1|100000\n", "CCLF0 line 1: the record length is no possible number");
    cclf0_must_fail("CCLF8  |x|1|5 9\n", "CCLF0 line 1: the record length is no possible number");
}

/* ---- CCLF8 */

static enum status collect(void *context, struct slice mbi, struct error *error)
{
    (void)error;
    struct buffer *mbis = context;
    buffer_append_slice(mbis, mbi);
    buffer_append_char(mbis, ' ');
    return STATUS_OK;
}

static void cclf8_must_fail(const char *file, uint32_t record_bytes, const char *text)
{
    struct buffer mbis = BUFFER_INIT;
    uint64_t rows = 77;
    struct error error = {0};
    assert_int_equal(cclf8_parse(slice_from_text(file), record_bytes, collect, &mbis, &rows, &error),
                     STATUS_INVALID);
    assert_string_equal(error.text, text);
    assert_int_equal(rows, 77);
    buffer_release(&mbis);
}

static void cclf8_hands_out_each_row_in_order_repeats_included(void **unused)
{
    (void)unused;
    static const char file[] = "1S00E00AA02                   xxxxxxx\r\n"
                               "1S00E00AA01\n"
                               "1S00E00AA0220303   \n"
                               "1S00E00AA03                                                       ";
    struct buffer mbis = BUFFER_INIT;
    uint64_t rows;
    assert_int_equal(cclf8_parse(slice_from_text(file), 37, collect, &mbis, &rows, NULL), STATUS_OK);
    assert_int_equal(rows, 4);
    assert_string_equal(buffer_text(&mbis), "1S00E00AA02 1S00E00AA01 1S00E00AA02 1S00E00AA03 ");
    assert_int_equal(cclf8_parse(SLICE_LITERAL(""), 37, collect, &mbis, &rows, NULL), STATUS_OK);
    assert_int_equal(rows, 0);
    buffer_release(&mbis);
}

static void cclf8_is_refused_with_the_line_that_is_wrong(void **unused)
{
    (void)unused;
    cclf8_must_fail("\n", 549, "CCLF8 line 1 is empty");
    cclf8_must_fail("1S00E00AA02\n\n1S00E00AA03\n", 549, "CCLF8 line 2 is empty");
    cclf8_must_fail("1S00E00AA02\n   \r\n", 549, "CCLF8 line 2 is empty");
    cclf8_must_fail("1S00E00AA02 x\n", 12, "CCLF8 line 1 has 13 characters, more than 12");
    cclf8_must_fail("           1000044288         xxxxxxx", 549,
                    "CCLF8 line 1 has no MBI in columns 1 to 11");
    cclf8_must_fail("1S00E00AA02\n1S00E00AA0\n", 549,
                    "CCLF8 line 2: what stands in columns 1 to 11 is no MBI");
    cclf8_must_fail(" 1S00E00AA02\n", 549, "CCLF8 line 1: what stands in columns 1 to 11 is no MBI");
}

static enum status stop_at_second(void *context, struct slice mbi, struct error *error)
{
    (void)mbi;
    return ++*(int *)context == 2 ? error_set(error, STATUS_CANCELLED, "enough") : STATUS_OK;
}

static void cclf8_stops_where_the_handler_says(void **unused)
{
    (void)unused;
    int calls = 0;
    uint64_t rows;
    struct error error = {0};
    assert_int_equal(cclf8_parse(SLICE_LITERAL("1S00E00AA01\n1S00E00AA02\n1S00E00AA03\n"), 549,
                                 stop_at_second, &calls, &rows, &error),
                     STATUS_CANCELLED);
    assert_string_equal(error.text, "enough");
    assert_int_equal(calls, 2);
}

/* ---- The files of CMS: a verdict for each that may concern us, one a line */

#define GOLDEN "tests/unit/codec/golden/cclf_verdicts.txt"

static struct buffer verdicts;
static const char *data_folder;

static enum status collect_link(void *context, struct slice current, struct slice previous,
                                struct error *error)
{
    (void)error;
    buffer_appendf(context, "%.*s<%.*s ", SLICE_PRINT(current), SLICE_PRINT(previous));
    return STATUS_OK;
}

static void judge(const char *path, const char *entry, const char *name, struct slice contents)
{
    struct cclf_name parsed = {0};
    struct error error = {0};
    enum status status = STATUS_OK;
    if (strncmp(name, "ZC", 2) == 0) /* of the synthetic sets: no more than "ZC8" */
        parsed.kind = name[2] == '0'   ? CCLF_KIND_SUMMARY
                      : name[2] == '8' ? CCLF_KIND_BENEFICIARIES
                                       : CCLF_KIND_CROSS_REFERENCE;
    else
        status = cclf_name_parse(slice_from_text(name), &parsed, &error);
    if (status == STATUS_OK && (parsed.kind == CCLF_KIND_ARCHIVE || parsed.kind == CCLF_KIND_OTHER))
        return; /* nothing to read in it */
    buffer_appendf(&verdicts, "%s%s%s: ", path + strlen(data_folder) + 1, entry ? " " : "",
                   entry ? entry : "");
    uint64_t count = 0;
    uint32_t bytes = 0;
    struct buffer mbis = BUFFER_INIT;
    if (status == STATUS_OK && parsed.kind == CCLF_KIND_SUMMARY) {
        status = cclf0_parse(contents, &count, &bytes, &error);
        if (status == STATUS_OK)
            buffer_appendf(&verdicts, "%" PRIu64 " of %u", count, bytes);
    } else if (status == STATUS_OK && parsed.kind == CCLF_KIND_CROSS_REFERENCE) {
        status = cclf9_parse(contents, CCLF9_RECORD_BYTES, collect_link, &mbis, &count, &error);
        if (status == STATUS_OK)
            buffer_appendf(&verdicts, "%" PRIu64 " rows, links %s", count, buffer_text(&mbis));
    } else if (status == STATUS_OK && parsed.kind == CCLF_KIND_CSV) {
        status = csv_roster_parse(contents, collect, &mbis, &count, &error);
        if (status == STATUS_OK)
            buffer_appendf(&verdicts, "%" PRIu64 " rows %s", count, buffer_text(&mbis));
    } else if (status == STATUS_OK) {
        status = cclf8_parse(contents, CCLF8_RECORD_BYTES, collect, &mbis, &count, &error);
        if (status == STATUS_OK)
            buffer_appendf(&verdicts, "%" PRIu64 " rows from %.11s", count, mbis.data);
    }
    buffer_release(&mbis);
    if (status != STATUS_OK)
        buffer_append_text(&verdicts, error.text);
    buffer_append_char(&verdicts, '\n');
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

#define ZIP_END 0x06054b50 /* begins the end record, 22 bytes without a comment */

/* A few lines for good archives, so that codec's tests need no library that codec does not use. */
static void judge_entries(const char *path, struct slice archive)
{
    const char *end = archive.data + archive.size - 22;
    const char *entry = archive.data + load_u32_le(end + 16);
    for (unsigned left = load_u16_le(end + 10); left > 0; left--) {
        assert_int_equal(load_u32_le(entry), 0x02014b50);
        char name[256];
        unsigned name_size = load_u16_le(entry + 28);
        snprintf(name, sizeof name, "%.*s", (int)name_size, entry + 46);
        const char *local = archive.data + load_u32_le(entry + 42);
        const char *data = local + 30 + load_u16_le(local + 26) + load_u16_le(local + 28);
        struct buffer contents = BUFFER_INIT;
        unsigned size = load_u32_le(entry + 24);
        char *target = buffer_extend(&contents, size + 1); /* inflate() wants room even for nothing */
        if (load_u16_le(entry + 10) == 0) {
            memcpy(target, data, size);
        } else {
            z_stream stream = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = load_u32_le(entry + 20)};
            assert_int_equal(inflateInit2(&stream, -MAX_WBITS), Z_OK);
            stream.next_out = (Bytef *)target;
            stream.avail_out = size + 1;
            assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
            assert_int_equal(stream.total_out, size);
            inflateEnd(&stream);
        }
        if (*base_of(name)) /* not a folder */
            judge(path, name, base_of(name), slice_make(target, size));
        buffer_release(&contents);
        entry += 46 + name_size + load_u16_le(entry + 30) + load_u16_le(entry + 32);
    }
}

/* What is gzip as what it holds, everything else as it stands. */
static void file_read(const char *path, struct buffer *target)
{
    gzFile file = gzopen(path, "rb");
    if (!file)
        fail_msg("%s cannot be opened (tests run in the project's top folder)", path);
    int got;
    while ((got = gzread(file, buffer_reserve(target, 65536), 65536)) > 0)
        target->size += (size_t)got;
    assert_int_equal(gzclose(file), Z_OK);
}

static int visit(const char *path, const struct stat *stat, int type, struct FTW *where)
{
    (void)stat;
    (void)where;
    if (type != FTW_F || !strstr(path, "/cclf/"))
        return 0;
    struct buffer contents = BUFFER_INIT;
    file_read(path, &contents);
    bool is_archive = contents.size > 22 && load_u32_le(contents.data + contents.size - 22) == ZIP_END;
    judge(path, NULL, base_of(path), is_archive ? SLICE_LITERAL("") : buffer_slice(&contents));
    if (is_archive)
        judge_entries(path, buffer_slice(&contents));
    buffer_release(&contents);
    return 0;
}

static size_t lines_split(struct buffer *text, char **lines, size_t lines_max)
{
    size_t count = 0;
    buffer_text(text);
    for (char *at = text->data; *at && count < lines_max; count++) {
        lines[count] = at;
        at = strchr(at, '\n');
        assert_non_null(at);
        *at++ = '\0';
    }
    return count;
}

static int line_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void cms_files_are_read_and_the_broken_ones_refused(void **unused)
{
    (void)unused;
    char folder[4096];
    const char *shared = getenv("SLUICE_SHARED");
    snprintf(folder, sizeof folder, "%s/data/cms-bcda-cclf", shared ? shared : "../shared");
    data_folder = folder;
    buffer_reset(&verdicts);
    if (nftw(folder, visit, 16, FTW_PHYS) != 0)
        fail_msg("%s is needed for this test and cannot be read (SLUICE_SHARED names the folder above data)",
                 folder);
    char *lines[1000];
    size_t count = lines_split(&verdicts, lines, 1000);
    qsort(lines, count, sizeof *lines, line_compare);
    const char *bless = getenv("SLUICE_TEST_BLESS");
    if (bless) {
        FILE *file = fopen(GOLDEN, "w");
        assert_non_null(file);
        for (size_t i = 0; i < count; i++)
            fprintf(file, "%s\n", lines[i]);
        assert_int_equal(fclose(file), 0);
    }
    struct buffer golden = BUFFER_INIT;
    char *expected[1000];
    file_read(GOLDEN, &golden);
    size_t expected_count = lines_split(&golden, expected, 1000);
    for (size_t i = 0; i < count || i < expected_count; i++)
        if (i >= count || i >= expected_count || strcmp(lines[i], expected[i]) != 0)
            fail_msg("line %zu is\n  %s\nand not, as in " GOLDEN ",\n  %s", i + 1,
                     i < count ? lines[i] : "(none)", i < expected_count ? expected[i] : "(none)");
    buffer_release(&golden);
    buffer_release(&verdicts);
}

/* ---- CCLF9 and CSV */

/* The links and the number of rows, or the refusal. */
static const char *links_of(const char *file, uint32_t record_bytes)
{
    static struct buffer text;
    struct error error = {0};
    uint64_t rows = 0;
    buffer_release(&text);
    enum status status = cclf9_parse(slice_from_text(file), record_bytes, collect_link, &text, &rows, &error);
    if (status == STATUS_OK) {
        buffer_appendf(&text, "%d", (int)rows);
    } else {
        assert_int_equal(status, STATUS_INVALID);
        buffer_reset(&text);
        buffer_append_text(&text, error.text);
    }
    return buffer_text(&text);
}

static void a_cross_reference_links_mbis_and_passes_over_hicns(void **unused)
{
    (void)unused;
    assert_string_equal(links_of("H203031401M 203031401A 1959-12-312016-12-31            \n"
                                 "M1A69B98CD331A69B98CD321959-12-312017-12-31            \r\n"
                                 "M1A69B98CD341A69B98CD331959-12-312017-12-31",
                                 55),
                        "1A69B98CD33<1A69B98CD32 1A69B98CD34<1A69B98CD33 3");
    assert_string_equal(links_of("", 55), "0");
}

static void a_bad_cross_reference_is_refused_with_its_line(void **unused)
{
    (void)unused;
    static const char *const no_mbi = "CCLF9 line 1: what stands in columns 2 to 12 or 13 to 23 is no MBI";
    assert_string_equal(links_of("This file is intentionally blank", 55),
                        "CCLF9 line 1 begins with neither M nor H");
    assert_string_equal(links_of("H203031401M\n\n", 55), "CCLF9 line 2 is empty");
    assert_string_equal(links_of("M1A69B98CD331A69B98CD3", 55), no_mbi);
    assert_string_equal(links_of("M1A69B98CD33203031401A ", 55), no_mbi);
    assert_string_equal(links_of("M           1A69B98CD33", 55), no_mbi);
    assert_string_equal(links_of("M1A69B98CD331A69B98CD321959-12-312017-12-31            1", 55),
                        "CCLF9 line 1 has 56 characters, more than 55");
}

static const char *csv_of(const char *file)
{
    static struct buffer text;
    struct error error = {0};
    struct buffer mbis = BUFFER_INIT;
    uint64_t rows = 0;
    buffer_release(&text);
    enum status status = csv_roster_parse(slice_from_text(file), collect, &mbis, &rows, &error);
    if (status == STATUS_OK)
        buffer_appendf(&text, "%s%d", buffer_text(&mbis), (int)rows);
    else
        buffer_append_text(&text, error.text);
    buffer_release(&mbis);
    return buffer_text(&text);
}

static void a_csv_roster_is_a_title_and_mbis(void **unused)
{
    (void)unused;
    const char *one = csv_of("MBIs\nMBI000001\n1A69B98CD33");
    assert_non_null(strstr(one, "MBI000001"));
    assert_non_null(strstr(one, "1A69B98CD33"));
    assert_int_equal(one[strlen(one) - 1], '2');
    assert_non_null(strstr(csv_of("\xEF\xBB\xBF\"MBIs\"\r\n\"1A69B98CD33\"\r\n"), "1A69B98CD33"));
    assert_string_equal(csv_of("MBIs\n"), "0");
    static const struct {
        const char *file, *reason;
    } cases[] = {
        {"", "is empty"},
        {"1A69B98CD33\n", "line 1 is not the title"},
        {"MBIs\n\n1A69B98CD33\n", "line 2 is empty"},
        {"MBIs\n1A69B98CD33,1\n", "line 2 has more than one column"},
        {"MBIs\n1A69B98CD333\n", "line 2 is no MBI"},
        {"MBIs\n1a69B98CD33\n", "line 2 is no MBI"},
        {"MBIs\n1A69B98CD33\n!A\n", "line 3 is no MBI"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!strstr(csv_of(cases[i].file), cases[i].reason))
            fail_msg("%s: %s", cases[i].file, csv_of(cases[i].file));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_all_eras_are_read),
        cmocka_unit_test(other_names_are_refused_with_the_reason),
        cmocka_unit_test(aco_ids_follow_the_patterns_of_the_models),
        cmocka_unit_test(mbis_follow_the_pattern),
        cmocka_unit_test(cclf0_gives_count_and_length_of_cclf8),
        cmocka_unit_test(cclf0_is_refused_without_one_good_line_for_cclf8),
        cmocka_unit_test(cclf8_hands_out_each_row_in_order_repeats_included),
        cmocka_unit_test(cclf8_is_refused_with_the_line_that_is_wrong),
        cmocka_unit_test(cclf8_stops_where_the_handler_says),
        cmocka_unit_test(cms_files_are_read_and_the_broken_ones_refused),
        cmocka_unit_test(a_cross_reference_links_mbis_and_passes_over_hicns),
        cmocka_unit_test(a_bad_cross_reference_is_refused_with_its_line),
        cmocka_unit_test(a_csv_roster_is_a_title_and_mbis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
