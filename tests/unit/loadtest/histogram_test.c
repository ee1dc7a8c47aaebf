#include "loadtest/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void small_durations_are_exact(void **state)
{
    (void)state;
    struct histogram histogram = {.count = 0};
    for (int64_t us = 0; us < HISTOGRAM_EXACT; us++)
        histogram_add(&histogram, us);
    for (int64_t us = 0; us < HISTOGRAM_EXACT; us++)
        assert_int_equal(histogram_quantile(&histogram, (double)(us + 1) / HISTOGRAM_EXACT), us);
}

static void a_quantile_is_never_too_low_and_at_most_a_thirtieth_too_high(void **state)
{
    (void)state;
    /* One duration at the quantile, one far above, so that the maximum does not hide the bucket's end. */
    for (int64_t us = 1; us < HISTOGRAM_US_MAX / 4; us += us / 7 + 1) {
        struct histogram histogram = {.count = 0};
        histogram_add(&histogram, us);
        histogram_add(&histogram, HISTOGRAM_US_MAX);
        int64_t median = histogram_quantile(&histogram, 0.5);
        assert_true(median >= us);
        assert_true((double)median <= (double)us * (1 + 1.0 / 32));
    }
}

static void quantiles_never_exceed_the_longest(void **state)
{
    (void)state;
    struct histogram histogram = {.count = 0};
    histogram_add(&histogram, 1000001);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 1000001);
    assert_int_equal(histogram_quantile(&histogram, 1), 1000001);
    assert_int_equal(histogram.sum_us, 1000001);
}

static void what_is_out_of_bounds_counts_at_the_bound(void **state)
{
    (void)state;
    struct histogram histogram = {.count = 0};
    histogram_add(&histogram, -5);
    histogram_add(&histogram, INT64_MAX / 2);
    assert_int_equal(histogram.count, 2);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
    assert_int_equal(histogram_quantile(&histogram, 1), HISTOGRAM_US_MAX);
}

static void an_empty_one_has_quantile_zero(void **state)
{
    (void)state;
    struct histogram histogram = {.count = 0};
    assert_int_equal(histogram_quantile(&histogram, 0.99), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_durations_are_exact),
        cmocka_unit_test(a_quantile_is_never_too_low_and_at_most_a_thirtieth_too_high),
        cmocka_unit_test(quantiles_never_exceed_the_longest),
        cmocka_unit_test(what_is_out_of_bounds_counts_at_the_bound),
        cmocka_unit_test(an_empty_one_has_quantile_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
