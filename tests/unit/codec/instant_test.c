#include "codec/instant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define REFUSED        INT64_MIN
#define COUNT_OF(rows) (sizeof(rows) / sizeof *(rows))

typedef enum status parse_function(struct slice text, int64_t *ret_us, struct error *error);

static void check(parse_function *parse, const char *text, int64_t expected_us)
{
    struct error error = {.status = STATUS_OK};
    int64_t us = 42;
    enum status status = parse(slice_from_text(text), &us, &error);
    if (expected_us == REFUSED) {
        if (status != STATUS_INVALID || us != 42 || error.status != STATUS_INVALID ||
            !strstr(error.text, " is not "))
            fail_msg("\"%s\" gave %s, %ld (%s), expected a refusal", text, status_name(status), (long)us,
                     error.text);
    } else if (status != STATUS_OK || us != expected_us) {
        fail_msg("\"%s\" gave %s, %ld (%s), expected %ld", text, status_name(status), (long)us, error.text,
                 (long)expected_us);
    }
}

#define DAY INT64_C(86400000000)
#define SEC INT64_C(1000000)
/* 2020-02-20T12:00:00Z */
#define NOON INT64_C(1582200000000000)

struct row {
    const char *text;
    int64_t us;
};

/* Both as meta.lastUpdated and as `_since`. */
static const struct row instants[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"1970-01-01T00:00:00.000+00:00", 0},
    {"1970-01-01T00:00:00-00:00", 0},
    {"1969-12-31T23:59:59.999999Z", -1},
    {"2020-02-20T12:00:00Z", NOON},
    {"2020-02-20T12:00:00+00:00", NOON},
    {"2020-02-20T12:00:00-05:00", NOON + 5 * 3600 * SEC},
    {"2020-02-20T12:00:00+05:30", NOON - (5 * 60 + 30) * 60 * SEC},
    {"2020-02-20T12:00:00-00:01", NOON + 60 * SEC},
    {"2020-02-20T12:00:00+13:59", NOON - (13 * 60 + 59) * 60 * SEC},
    {"2020-02-20T12:00:00+14:00", NOON - 14 * 3600 * SEC},
    {"2020-02-20T12:00:00-14:00", NOON + 14 * 3600 * SEC},
    {"2020-02-20T12:00:00.1Z", NOON + 100000},
    {"2020-02-20T12:00:00.12Z", NOON + 120000},
    {"2020-02-20T12:00:00.123Z", NOON + 123000},
    {"2020-02-20T12:00:00.1234Z", NOON + 123400},
    {"2020-02-20T12:00:00.12345Z", NOON + 123450},
    {"2020-02-20T12:00:00.123456Z", NOON + 123456},
    {"2020-02-20T12:00:00.000001Z", NOON + 1},
    {"2020-02-20T12:00:00.0000010000000000000000000000000000000Z", NOON + 1},
    {"2020-02-20T12:00:00.000000000Z", NOON},
    {"2020-02-20T00:00:00Z", NOON - DAY / 2},
    {"2020-02-20T23:59:59.999999Z", NOON + DAY / 2 - 1},
    {"2019-12-09T20:44:01.705398Z", INT64_C(1575924241705398)},
    {"2021-08-17T13:45:40.767-04:00", INT64_C(1629222340767000)},
    {"2020-02-29T00:00:00Z", INT64_C(1582934400000000)},
    {"2000-02-29T00:00:00Z", INT64_C(951782400000000)},
    {"2016-02-29T00:00:00Z", INT64_C(1456704000000000)},
    {"2020-12-31T23:59:59Z", INT64_C(1609459199000000)},
    {"1900-03-01T00:00:00Z", INT64_C(-2203891200000000)},
    {"0001-01-01T00:00:00Z", INSTANT_MIN_US},
    {"0001-01-01T00:00:00-14:00", INSTANT_MIN_US + 14 * 3600 * SEC},
    {"0001-01-01T14:00:00+14:00", INSTANT_MIN_US},
    {"9999-12-31T23:59:59.999999Z", INSTANT_MAX_US},
    {"9999-12-31T09:59:59.999999-14:00", INSTANT_MAX_US},
    {"0001-01-01T00:00:00+00:01", REFUSED},
    {"0001-01-01T13:59:59.999999+14:00", REFUSED},
    {"9999-12-31T23:59:59-00:01", REFUSED},
    {"0000-01-01T00:00:00Z", REFUSED},
    {"-2020-02-20T12:00:00Z", REFUSED},
    {"10000-01-01T00:00:00Z", REFUSED},
    {"2021-02-29T00:00:00Z", REFUSED},
    {"1900-02-29T00:00:00Z", REFUSED},
    {"2100-02-29T00:00:00Z", REFUSED},
    {"2020-02-30T00:00:00Z", REFUSED},
    {"2020-04-31T00:00:00Z", REFUSED},
    {"2020-01-32T00:00:00Z", REFUSED},
    {"2020-01-00T00:00:00Z", REFUSED},
    {"2020-00-01T00:00:00Z", REFUSED},
    {"2020-13-01T00:00:00Z", REFUSED},
    {"2020-1-01T00:00:00Z", REFUSED},
    {"2020-01-1T00:00:00Z", REFUSED},
    {"20-01-01T00:00:00Z", REFUSED},
    {"2020-02-20T24:00:00Z", REFUSED},
    {"2020-02-20T12:60:00Z", REFUSED},
    {"2020-02-20T12:00:60Z", REFUSED},
    {"2016-12-31T23:59:60Z", REFUSED},
    {"2020-02-20T12:00Z", REFUSED},
    {"2020-02-20T12Z", REFUSED},
    {"2020-02-20T12:00:00", REFUSED},
    {"2020-02-20T12:00:00.123", REFUSED},
    {"2020-02-20T12:00:00.Z", REFUSED},
    {"2020-02-20T12:00:00,5Z", REFUSED},
    {"2020-02-20T12:00:00z", REFUSED},
    {"2020-02-20t12:00:00Z", REFUSED},
    {"2020-02-20 12:00:00Z", REFUSED},
    {"2020-02-20T12:00:00+0500", REFUSED},
    {"2020-02-20T12:00:00+05", REFUSED},
    {"2020-02-20T12:00:00+5:00", REFUSED},
    {"2020-02-20T12:00:00+14:01", REFUSED},
    {"2020-02-20T12:00:00-14:01", REFUSED},
    {"2020-02-20T12:00:00+15:00", REFUSED},
    {"2020-02-20T12:00:00+05:60", REFUSED},
    {"2020-02-20T12:00:00Z+00:00", REFUSED},
    {"2020-02-20T12:00:00+05:00Z", REFUSED},
    {"2020-02-20T12:00:00 Z", REFUSED},
    {"2020-02-20T12:00:00Z ", REFUSED},
    {" 2020-02-20T12:00:00Z", REFUSED},
    {"2020-02-20T12:00:00EST", REFUSED},
    {"2020-02-20T-1:00:00Z", REFUSED},
    {"2020-02-20T", REFUSED},
    {"2020-02-20T12:00:00\xE2\x88\x92"
     "05:00",
     REFUSED},
    {"20200220T120000Z", REFUSED},
    {"2020-051T12:00:00Z", REFUSED},
    {"2020-W08-4T12:00:00Z", REFUSED},
    {"1582200000", REFUSED},
    {"IGNORED_FIELD", REFUSED},
    {"", REFUSED},
    {"Z", REFUSED},
};

static void instants_are_read_as_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(instants); i++) {
        check(instant_parse, instants[i].text, instants[i].us);
        check(datetime_parse_since, instants[i].text, instants[i].us);
    }
    int64_t us;
    assert_int_equal(instant_parse(slice_make(NULL, 0), &us, NULL), STATUS_INVALID);
    assert_int_equal(instant_parse(SLICE_LITERAL("2020-02-20T12:00:00Z\0"), &us, NULL), STATUS_INVALID);
}

static void only_since_takes_dates_and_a_space_for_a_plus(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"2020", INT64_C(1577836800000000)},
        {"2020-02", INT64_C(1580515200000000)},
        {"2020-02-20", NOON - DAY / 2},
        {"2020-02-29", INT64_C(1582934400000000)},
        {"0001", INSTANT_MIN_US},
        {"0001-01-01", INSTANT_MIN_US},
        {"9999-12-31", INT64_C(253402214400000000)},
        {"2020-02-20T12:00:00 00:00", NOON},
        {"2020-02-20T12:00:00.5 05:00", NOON + 500000 - 5 * 3600 * SEC},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        check(datetime_parse_since, rows[i].text, rows[i].us);
        check(instant_parse, rows[i].text, REFUSED);
    }
    static const char *const refused[] = {"2020-",
                                          "2020-02-",
                                          "202",
                                          "2020-2",
                                          "2020-02-30",
                                          "2021-02-29",
                                          "0000",
                                          "2020/02/20",
                                          "2020-02-20 ",
                                          "2020-02-20Z",
                                          "2020-02-20 12:00:00 00:00",
                                          "2020-02-20T12:00:00  05:00",
                                          "2020-02-20T12:00:00 "};
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        check(datetime_parse_since, refused[i], REFUSED);
}

static void digits_beyond_microseconds_round_up_for_resources_and_are_cut_for_since(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t up_us;
        int64_t cut_us;
    } rows[] = {
        {"2020-02-20T12:00:00.0000001Z", NOON + 1, NOON},
        {"2020-02-20T12:00:00.1234561Z", NOON + 123457, NOON + 123456},
        {"2020-02-20T12:00:00.1234569Z", NOON + 123457, NOON + 123456},
        {"2020-02-20T12:00:00.1234560Z", NOON + 123456, NOON + 123456},
        {"2020-02-20T12:00:00.123456000000000000000000001Z", NOON + 123457, NOON + 123456},
        {"2020-02-20T12:00:00.9999999Z", NOON + SEC, NOON + SEC - 1},
        {"2020-02-20T23:59:59.9999999Z", NOON + DAY / 2, NOON + DAY / 2 - 1},
        {"1969-12-31T23:59:59.9999991Z", 0, -1},
        {"1969-12-31T23:59:58.0000001-00:00", -2 * SEC + 1, -2 * SEC},
        {"9999-12-31T23:59:59.9999999Z", REFUSED, INSTANT_MAX_US},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        check(instant_parse, rows[i].text, rows[i].up_us);
        check(datetime_parse_since, rows[i].text, rows[i].cut_us);
    }
}

static void refusals_say_what_is_wrong_and_quote_little(void **state)
{
    (void)state;
    struct error error;
    int64_t us;
    assert_int_equal(instant_parse(SLICE_LITERAL("2021-02-29T00:00:00Z"), &us, &error), STATUS_INVALID);
    assert_string_equal(error.text,
                        "\"2021-02-29T00:00:00Z\" is not a FHIR instant: there is no such day in that month");
    assert_int_equal(datetime_parse_since(SLICE_LITERAL("2020-02-20T12:00Z"), &us, &error), STATUS_INVALID);
    assert_string_equal(error.text,
                        "\"2020-02-20T12:00Z\" is not a FHIR instant or dateTime: the seconds are "
                        "missing or not 00 to 59");
    assert_int_equal(
        instant_parse(SLICE_LITERAL("x\n\"123456789012345678901234567890123456789012345"), &us, &error),
        STATUS_INVALID);
    assert_string_equal(error.text,
                        "\"x??1234567890123456789012345678901234567...\" is not a FHIR instant: it must "
                        "begin with a year from 0001 to 9999");
}

static void dates_are_days_as_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t day;
    } rows[] = {
        {"1970-01-01", 0},
        {"1969-12-31", -1},
        {"2020-03-22", 18343},
        {"2020-02-29", 18321},
        {"2020-02", 18293},
        {"2020", 18262},
        {"2020-03-22T23:30:00-05:00", 18343}, /* though it is the 23rd in UTC */
        {"2020-03-22T00:30:00.5+14:00", 18343},
        {"0001-01-01T00:00:00+14:00", -719162},
        {"9999-12-31T23:59:59.9999999-14:00", 2932896},
        {"2021-02-29", DAY_NONE},
        {"2020-03-22T23:30-05:00", DAY_NONE},
        {"2020-03-22T23:30:00 05:00", DAY_NONE},
        {"20200322", DAY_NONE},
        {"2020-03-22 ", DAY_NONE},
        {"", DAY_NONE},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int32_t day = DAY_NONE;
        enum status status = date_parse_days(slice_from_text(rows[i].text), &day, NULL);
        if (status != (rows[i].day == DAY_NONE ? STATUS_INVALID : STATUS_OK) || day != rows[i].day)
            fail_msg("\"%s\" gave %s, %d, expected %d", rows[i].text, status_name(status), day, rows[i].day);
    }
}

static void formats_are_as_documented(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *instant;
        const char *meta;
        const char *http;
    } rows[] = {
        {INT64_C(1577836800000000), "2020-01-01T00:00:00.000000Z", "2020-01-01T00:00:00.000+00:00",
         "Wed, 01 Jan 2020 00:00:00 GMT"},
        {INT64_C(1575924241705398), "2019-12-09T20:44:01.705398Z", "2019-12-09T20:44:01.705398+00:00",
         "Mon, 09 Dec 2019 20:44:01 GMT"},
        {INT64_C(784111777999000), "1994-11-06T08:49:37.999000Z", "1994-11-06T08:49:37.999+00:00",
         "Sun, 06 Nov 1994 08:49:37 GMT"},
        {-1, "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999+00:00",
         "Wed, 31 Dec 1969 23:59:59 GMT"},
        {INSTANT_MIN_US, "0001-01-01T00:00:00.000000Z", "0001-01-01T00:00:00.000+00:00",
         "Mon, 01 Jan 0001 00:00:00 GMT"},
        {INSTANT_MAX_US, "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00",
         "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[INSTANT_TEXT_SIZE];
        assert_int_equal(instant_format(rows[i].us, text), strlen(rows[i].instant));
        assert_string_equal(text, rows[i].instant);
        assert_int_equal(instant_format_meta(rows[i].us, text), strlen(rows[i].meta));
        assert_string_equal(text, rows[i].meta);
        assert_int_equal(http_date_format(rows[i].us, text), strlen(rows[i].http));
        assert_string_equal(text, rows[i].http);
    }
}

static void every_day_is_that_of_the_c_library(void **state)
{
    (void)state;
    int32_t expected = -719162;
    for (int year = 1; year <= 9999; year++)
        for (unsigned month = 1; month <= 12; month++) {
            struct tm civil = {.tm_year = year - 1900, .tm_mon = (int)month - 1, .tm_mday = 1};
            int32_t day = day_from_civil(year, month, 1);
            assert_int_equal(day, timegm(&civil) / 86400);
            assert_int_equal(day, expected);
            unsigned days = month == 12 ? 31 : (unsigned)(day_from_civil(year, month + 1, 1) - day);
            assert_int_equal(day_from_civil(year, month, days), day + (int32_t)days - 1);
            expected += (int32_t)days;
        }
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

static void instants_come_back_from_every_form(void **state)
{
    (void)state;
    const char *setting = getenv("SLUICE_TEST_SEED");
    uint64_t seed = setting ? strtoull(setting, NULL, 0) : 1;
    print_message("SLUICE_TEST_SEED=%llu\n", (unsigned long long)seed);
    uint64_t random = seed * 2 + 1;
    for (int i = 0; i < 200000; i++) {
        uint64_t range = (uint64_t)(INSTANT_MAX_US - INSTANT_MIN_US) + 1;
        int64_t us = INSTANT_MIN_US + (int64_t)(random_next(&random) % range);
        if (i % 3 == 0)
            us -= us % 1000;
        char text[INSTANT_TEXT_SIZE];
        int64_t back_us = 0;
        struct slice instant = slice_make(text, instant_format(us, text));
        if (instant_parse(instant, &back_us, NULL) != STATUS_OK || back_us != us)
            fail_msg("%s gave %ld, expected %ld", text, (long)back_us, (long)us);
        if (datetime_parse_since(instant, &back_us, NULL) != STATUS_OK || back_us != us)
            fail_msg("_since=%s gave %ld, expected %ld", text, (long)back_us, (long)us);
        struct slice meta = slice_make(text, instant_format_meta(us, text));
        if (instant_parse(meta, &back_us, NULL) != STATUS_OK || back_us != us)
            fail_msg("%s gave %ld, expected %ld", text, (long)back_us, (long)us);
        assert_int_equal(meta.size, us % 1000 == 0 ? 29 : 32);
        struct slice http = slice_make(text, http_date_format(us, text));
        if (http_date_parse(http, &back_us, NULL) != STATUS_OK || back_us > us || us - back_us >= SEC)
            fail_msg("%s gave %ld, expected %ld", text, (long)back_us, (long)us);

        /* And with any zone: the same instant, written elsewhere. */
        int zone = (int)(random_next(&random) % (28 * 60 + 1)) - 14 * 60;
        int64_t local_us = us + zone * 60 * SEC;
        if (local_us < INSTANT_MIN_US || local_us > INSTANT_MAX_US)
            continue;
        size_t size = instant_format(local_us, text) - 1;
        snprintf(text + size, sizeof text - size, "%c%02d:%02d", zone < 0 ? '-' : '+', abs(zone) / 60,
                 abs(zone) % 60);
        check(instant_parse, text, us);
    }
}

static void http_dates_are_read_in_all_three_forms(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", INT64_C(784111777000000)},
        {"Sunday, 06-Nov-94 08:49:37 GMT", INT64_C(784111777000000)},
        {"Sun Nov  6 08:49:37 1994", INT64_C(784111777000000)},
        {"Wed Nov 16 08:49:37 1994", INT64_C(784975777000000)},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Sat, 29 Feb 2020 23:59:59 GMT", INT64_C(1583020799000000)},
        {"Wednesday, 01-Jan-20 00:00:00 GMT", INT64_C(1577836800000000)},
        {"Sun, 6 Nov 1994 08:49:37 GMT", REFUSED},
        {"Sun, 06 Nov 1994 08:49:37 UTC", REFUSED},
        {"Sun, 06 Nov 1994 08:49:37 +0000", REFUSED},
        {"Sun, 06 Nov 1994 08:49:37 GMT ", REFUSED},
        {"Sun, 06 Nov 1994 08:49:37", REFUSED},
        {"sun, 06 nov 1994 08:49:37 gmt", REFUSED},
        {"Xyz, 06 Nov 1994 08:49:37 GMT", REFUSED},
        {"Sunday, 06 Nov 1994 08:49:37 GMT", REFUSED},
        {"Sun, 06-Nov-94 08:49:37 GMT", REFUSED},
        {"Sun, 31 Nov 1994 08:49:37 GMT", REFUSED},
        {"Sun, 29 Feb 2021 08:49:37 GMT", REFUSED},
        {"Sun, 00 Nov 1994 08:49:37 GMT", REFUSED},
        {"Sun, 06 Nov 0000 08:49:37 GMT", REFUSED},
        {"Sun, 06 Nov 1994 24:00:00 GMT", REFUSED},
        {"Sun, 06 Nov 1994 08:49:60 GMT", REFUSED},
        {"Sun, 06 Nov 1994 8:49:37 GMT", REFUSED},
        {"Sun Nov 06 08:49:37 1994 GMT", REFUSED},
        {"Sun Nov  6 08:49:37 94", REFUSED},
        {"Sun Nov   6 08:49:37 1994", REFUSED},
        {"Sun", REFUSED},
        {"Sunday", REFUSED},
        {"", REFUSED},
        {"1994-11-06T08:49:37Z", REFUSED},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        check(http_date_parse, rows[i].text, rows[i].us);
}

static void a_two_digit_year_is_at_most_fifty_years_ahead(void **state)
{
    (void)state;
    time_t now = time(NULL);
    struct tm civil;
    gmtime_r(&now, &civil);
    for (int ahead = -49; ahead <= 50; ahead++) {
        int year = civil.tm_year + 1900 + ahead;
        char text[40];
        snprintf(text, sizeof text, "Sunday, 01-Jan-%02d 00:00:00 GMT", year % 100);
        check(http_date_parse, text, day_from_civil(year, 1, 1) * DAY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instants_are_read_as_written),
        cmocka_unit_test(only_since_takes_dates_and_a_space_for_a_plus),
        cmocka_unit_test(digits_beyond_microseconds_round_up_for_resources_and_are_cut_for_since),
        cmocka_unit_test(refusals_say_what_is_wrong_and_quote_little),
        cmocka_unit_test(dates_are_days_as_written),
        cmocka_unit_test(formats_are_as_documented),
        cmocka_unit_test(every_day_is_that_of_the_c_library),
        cmocka_unit_test(instants_come_back_from_every_form),
        cmocka_unit_test(http_dates_are_read_in_all_three_forms),
        cmocka_unit_test(a_two_digit_year_is_at_most_fifty_years_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
