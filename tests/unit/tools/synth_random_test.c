#include "tools/synth/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DRAWS 200000

static struct random random_of(uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    return random;
}

static void the_same_seed_gives_the_same_words(void **state)
{
    (void)state;
    struct random a = random_of(7);
    struct random b = random_of(7);
    struct random c = random_of(8);
    int equal = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t word = random_word(&a);
        assert_true(word == random_word(&b));
        equal += word == random_word(&c);
    }
    assert_int_equal(equal, 0);
}

/* The bytes of every dataset hang on these words: a change of them is a change of all datasets. */
static void the_words_are_those_of_every_machine(void **state)
{
    (void)state;
    struct random random = random_of(1);
    assert_true(random_word(&random) == UINT64_C(0xb3f2af6d0fc710c5));
    assert_true(random_mix(1, 2) != random_mix(2, 1));
}

static void below_reaches_all_values_equally(void **state)
{
    (void)state;
    struct random random = random_of(3);
    unsigned counts[10] = {0};
    for (int i = 0; i < DRAWS; i++)
        counts[random_below(&random, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], DRAWS / 10 - 800, DRAWS / 10 + 800);
    for (int i = 0; i < 100; i++)
        assert_int_equal(random_below(&random, 1), 0);
}

static void between_includes_both_ends(void **state)
{
    (void)state;
    struct random random = random_of(4);
    int low = 0;
    int high = 0;
    for (int i = 0; i < 1000; i++) {
        int64_t value = random_between(&random, -3, 3);
        assert_true(value >= -3 && value <= 3);
        low += value == -3;
        high += value == 3;
    }
    assert_true(low > 0 && high > 0);
}

static void skewed_prefers_the_first(void **state)
{
    (void)state;
    struct random random = random_of(5);
    unsigned first_half = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint32_t index = random_skewed(&random, 100);
        assert_true(index < 100);
        first_half += index < 50;
    }
    /* The square of a uniform is below one half for sqrt(1/2) of its values. */
    assert_in_range(first_half, DRAWS / 1000 * 700, DRAWS / 1000 * 714);
}

static void geometric_has_its_mean_and_its_bound(void **state)
{
    (void)state;
    struct random random = random_of(6);
    uint64_t sum = 0;
    for (int i = 0; i < DRAWS; i++)
        sum += random_geometric(&random, 500, 100);
    assert_in_range(sum, DRAWS / 100 * 98, DRAWS / 100 * 102);
    for (int i = 0; i < 1000; i++)
        assert_in_range(random_geometric(&random, 990, 13), 0, 13);
}

static void exponential_has_mean_and_median(void **state)
{
    (void)state;
    struct random random = random_of(9);
    uint64_t sum = 0;
    unsigned below_median = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint32_t value = random_exponential_q16(&random);
        sum += value;
        below_median += value < 45426; /* ln 2 */
    }
    assert_in_range(sum / DRAWS, Q16_ONE / 100 * 98, Q16_ONE / 100 * 102);
    assert_in_range(below_median, DRAWS / 100 * 49, DRAWS / 100 * 51);
}

static void lognormal_has_mean_one_for_intensity(void **state)
{
    (void)state;
    struct random random = random_of(10);
    uint64_t sum = 0;
    unsigned below_median = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint32_t value = random_lognormal_q16(&random, -20972, 52429);
        sum += value;
        below_median += value < 47589; /* exp(-0.32) */
    }
    assert_in_range(sum / DRAWS, Q16_ONE / 100 * 97, Q16_ONE / 100 * 103);
    assert_in_range(below_median, DRAWS / 100 * 49, DRAWS / 100 * 51);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_words),
        cmocka_unit_test(the_words_are_those_of_every_machine),
        cmocka_unit_test(below_reaches_all_values_equally),
        cmocka_unit_test(between_includes_both_ends),
        cmocka_unit_test(skewed_prefers_the_first),
        cmocka_unit_test(geometric_has_its_mean_and_its_bound),
        cmocka_unit_test(exponential_has_mean_and_median),
        cmocka_unit_test(lognormal_has_mean_one_for_intensity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
