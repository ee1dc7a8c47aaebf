#include "tools/synth/calendar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void instant_is(struct instant instant, const char *expected)
{
    struct buffer text = BUFFER_INIT;
    instant_append(&text, instant);
    assert_string_equal(buffer_text(&text), expected);
    buffer_release(&text);
}

static void days_and_dates_are_inverse_over_two_centuries(void **state)
{
    (void)state;
    assert_int_equal(day_from_date(1970, 1, 1), 0);
    assert_int_equal(day_from_date(2020, 1, 1), 18262);
    for (int32_t day = day_from_date(1900, 1, 1); day < day_from_date(2100, 1, 1); day++) {
        struct date date = date_from_day(day);
        assert_int_equal(day_from_date(date.year, date.month, date.day), day);
    }
}

static void weekdays_are_right(void **state)
{
    (void)state;
    assert_int_equal(day_weekday(day_from_date(2025, 12, 27)), 6);
    assert_int_equal(day_weekday(day_from_date(1952, 11, 17)), 1);
    assert_int_equal(day_at_or_after(day_from_date(2025, 12, 27), 6), day_from_date(2025, 12, 27));
    assert_int_equal(day_at_or_after(day_from_date(2025, 12, 28), 6), day_from_date(2026, 1, 3));
}

static void offsets_follow_the_season(void **state)
{
    (void)state;
    instant_is(instant_of_load(day_from_date(2025, 3, 8), 7200001), "2025-03-08T02:00:00.001-05:00");
    instant_is(instant_of_load(day_from_date(2025, 3, 9), 7200001), "2025-03-09T02:00:00.001-04:00");
    instant_is(instant_of_load(day_from_date(2025, 11, 1), 86399999), "2025-11-01T23:59:59.999-04:00");
    instant_is(instant_of_load(day_from_date(2025, 11, 2), 0), "2025-11-02T00:00:00.000-05:00");
}

static void loads_before_2020_have_one_constant(void **state)
{
    (void)state;
    instant_is(instant_of_load(day_from_date(2019, 12, 31), 5), "2020-01-01T00:00:00.000+00:00");
    instant_is(instant_of_load(day_from_date(2020, 1, 1), 5), "2020-01-01T00:00:00.005-05:00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_and_dates_are_inverse_over_two_centuries),
        cmocka_unit_test(weekdays_are_right),
        cmocka_unit_test(offsets_follow_the_season),
        cmocka_unit_test(loads_before_2020_have_one_constant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
