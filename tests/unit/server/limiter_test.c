#include "server/limiter.h"

#include "codec/base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static int64_t now_us;

static int64_t test_clock(void)
{
    return now_us;
}

static struct limiter *limiter_of(unsigned logins, unsigned requests)
{
    const struct limiter_rule rules[LIMITER_KIND_COUNT] = {
        [LIMITER_JOB] = {1, 0}, [LIMITER_REQUEST] = {requests, requests}, [LIMITER_LOGIN] = {logins, logins}};
    struct limiter *limiter = limiter_new(rules);
    now_us = 1000 * US_PER_SECOND;
    limiter_set_clock(limiter, test_clock);
    return limiter;
}

static bool take(struct limiter *limiter, enum limiter_kind kind, const char *name, unsigned *wait_seconds)
{
    return limiter_take(limiter, kind, slice_from_text(name), wait_seconds);
}

static void a_job_bucket_gives_one_token_until_it_is_returned(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(30, 0);
    unsigned wait_seconds = 99;
    assert_true(take(limiter, LIMITER_JOB, "1/Patient", &wait_seconds));
    assert_int_equal(wait_seconds, 99);
    now_us += 86400 * US_PER_SECOND;
    assert_false(take(limiter, LIMITER_JOB, "1/Patient", &wait_seconds));
    assert_int_equal(wait_seconds, 0);
    assert_true(take(limiter, LIMITER_JOB, "1/Group/all", NULL));
    assert_true(take(limiter, LIMITER_JOB, "2/Patient", NULL));
    limiter_return(limiter, LIMITER_JOB, SLICE_LITERAL("1/Patient"));
    assert_true(take(limiter, LIMITER_JOB, "1/Patient", NULL));
    limiter_free(limiter);
}

static void a_token_returned_too_often_is_no_second_token(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(30, 0);
    for (int i = 0; i < 3; i++)
        limiter_return(limiter, LIMITER_JOB, SLICE_LITERAL("1/Patient"));
    assert_true(take(limiter, LIMITER_JOB, "1/Patient", NULL));
    assert_false(take(limiter, LIMITER_JOB, "1/Patient", NULL));
    limiter_free(limiter);
}

static void a_rate_refills_and_says_how_long_to_wait(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(30, 0); /* a token every two seconds */
    unsigned wait_seconds = 0;
    for (int i = 0; i < 30; i++)
        assert_true(take(limiter, LIMITER_LOGIN, "192.0.2.1", NULL));
    assert_false(limiter_has(limiter, LIMITER_LOGIN, SLICE_LITERAL("192.0.2.1"), &wait_seconds));
    assert_int_equal(wait_seconds, 2);
    now_us += 1500000;
    assert_false(take(limiter, LIMITER_LOGIN, "192.0.2.1", &wait_seconds));
    assert_int_equal(wait_seconds, 1);
    now_us += 500000;
    assert_true(limiter_has(limiter, LIMITER_LOGIN, SLICE_LITERAL("192.0.2.1"), NULL));
    assert_true(take(limiter, LIMITER_LOGIN, "192.0.2.1", NULL));
    assert_false(take(limiter, LIMITER_LOGIN, "192.0.2.1", NULL));
    limiter_free(limiter);
}

static void a_refill_by_small_steps_loses_nothing(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(7, 0);
    for (int i = 0; i < 7; i++)
        assert_true(take(limiter, LIMITER_LOGIN, "a", NULL));
    unsigned refused = 0;
    for (int64_t step = 0; step < 60 * 7; step++) {
        now_us += US_PER_SECOND / 7;
        if (!limiter_has(limiter, LIMITER_LOGIN, SLICE_LITERAL("a"), NULL))
            refused++;
        else
            assert_true(take(limiter, LIMITER_LOGIN, "a", NULL));
    }
    assert_in_range(60 * 7 - refused, 6, 7); /* in a minute */
    limiter_free(limiter);
}

static void a_bucket_never_holds_more_than_its_capacity(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(5, 0);
    assert_true(take(limiter, LIMITER_LOGIN, "a", NULL));
    now_us = INT64_MAX / 2; /* and elapsed * rate overflows nothing */
    unsigned taken = 0;
    while (take(limiter, LIMITER_LOGIN, "a", NULL))
        taken++;
    assert_int_equal(taken, 5);
    limiter_free(limiter);
}

static void a_capacity_of_zero_limits_nothing(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(30, 0);
    for (int i = 0; i < 100000; i++)
        assert_true(take(limiter, LIMITER_REQUEST, "client", NULL));
    limiter_free(limiter);
}

static void kinds_and_names_are_apart(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(1, 1);
    assert_true(take(limiter, LIMITER_LOGIN, "x", NULL));
    assert_true(take(limiter, LIMITER_REQUEST, "x", NULL));
    assert_true(take(limiter, LIMITER_LOGIN, "xx", NULL));
    assert_false(take(limiter, LIMITER_LOGIN, "x", NULL));
    limiter_free(limiter);
}

static void strangers_do_not_push_out_somebody_who_keeps_trying(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(2, 0);
    take(limiter, LIMITER_LOGIN, "attacker", NULL);
    take(limiter, LIMITER_LOGIN, "attacker", NULL);
    for (unsigned i = 0; i < 4 * LIMITER_BUCKETS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "10.%u", i);
        assert_true(take(limiter, LIMITER_LOGIN, name, NULL)); /* a full table refuses no stranger */
        if (i % 1024 == 0)
            assert_false(take(limiter, LIMITER_LOGIN, "attacker", NULL));
    }
    limiter_free(limiter);
}

struct race {
    struct limiter *limiter;
    unsigned taken;
};

static void *race_main(void *argument)
{
    struct race *race = argument;
    for (int i = 0; i < 2000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        race->taken += take(race->limiter, LIMITER_JOB, name, NULL);
    }
    return NULL;
}

static void of_threads_that_race_for_a_token_one_gets_it(void **state)
{
    (void)state;
    struct limiter *limiter = limiter_of(30, 0);
    struct race races[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        races[i] = (struct race){limiter, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, race_main, &races[i]), 0);
    }
    unsigned taken = 0;
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        taken += races[i].taken;
    }
    assert_int_equal(taken, 2000);
    limiter_free(limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_bucket_gives_one_token_until_it_is_returned),
        cmocka_unit_test(a_token_returned_too_often_is_no_second_token),
        cmocka_unit_test(a_rate_refills_and_says_how_long_to_wait),
        cmocka_unit_test(a_refill_by_small_steps_loses_nothing),
        cmocka_unit_test(a_bucket_never_holds_more_than_its_capacity),
        cmocka_unit_test(a_capacity_of_zero_limits_nothing),
        cmocka_unit_test(kinds_and_names_are_apart),
        cmocka_unit_test(strangers_do_not_push_out_somebody_who_keeps_trying),
        cmocka_unit_test(of_threads_that_race_for_a_token_one_gets_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
