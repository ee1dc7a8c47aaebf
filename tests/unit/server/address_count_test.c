#include "server/address_count.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct sockaddr_storage parse(const char *text)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        address.ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
        address.ss_family = AF_INET6;
    }
    return address;
}

static bool add(struct address_count *counts, const char *text)
{
    struct sockaddr_storage address = parse(text);
    return address_count_add(counts, (struct sockaddr *)&address);
}

static void drop(struct address_count *counts, const char *text)
{
    struct sockaddr_storage address = parse(text);
    address_count_remove(counts, (struct sockaddr *)&address);
}

static void an_address_counts_until_it_goes(void **state)
{
    (void)state;
    struct address_count *counts = address_count_new(2);
    assert_true(add(counts, "192.0.2.1"));
    assert_true(add(counts, "192.0.2.1"));
    assert_false(add(counts, "192.0.2.1"));
    assert_true(add(counts, "192.0.2.2"));
    drop(counts, "192.0.2.1");
    assert_true(add(counts, "192.0.2.1"));
    assert_false(add(counts, "192.0.2.1"));
    address_count_free(counts);
}

static void addresses_of_one_client_count_together(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second;
        bool together;
    } rows[] = {
        {"192.0.2.1", "::ffff:192.0.2.1", true},
        {"2001:db8::1", "2001:db8::ffff:1:2:3", true},
        {"2001:db8::1", "2001:db8:0:1::1", false},
        {"::1", "127.0.0.1", false},
        {"::1", "::2", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address_count *counts = address_count_new(1);
        assert_true(add(counts, rows[i].first));
        assert_int_equal(add(counts, rows[i].second), !rows[i].together);
        address_count_free(counts);
    }
}

static void without_a_limit_nothing_is_counted(void **state)
{
    (void)state;
    struct address_count *counts = address_count_new(0);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(add(counts, "192.0.2.1"));
    drop(counts, "192.0.2.1");
    address_count_free(counts);
}

static void many_addresses_are_told_apart(void **state)
{
    (void)state;
    struct address_count *counts = address_count_new(1);
    char text[64];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 20000; i++) {
            snprintf(text, sizeof text, "10.%u.%u.7", i >> 8, i & 255);
            assert_int_equal(add(counts, text), round != 1);
        }
        for (unsigned i = 0; round == 1 && i < 20000; i++) {
            snprintf(text, sizeof text, "10.%u.%u.7", i >> 8, i & 255);
            drop(counts, text);
        }
    }
    address_count_free(counts);
}

static void addresses_are_written_as_people_know_them(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"192.0.2.1", "192.0.2.1"}, {"::ffff:192.0.2.1", "192.0.2.1"}, {"2001:DB8:0::1", "2001:db8::1"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sockaddr_storage address = parse(rows[i][0]);
        char text[INET6_ADDRSTRLEN];
        address_format((struct sockaddr *)&address, text);
        assert_string_equal(text, rows[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_counts_until_it_goes),
        cmocka_unit_test(addresses_of_one_client_count_together),
        cmocka_unit_test(without_a_limit_nothing_is_counted),
        cmocka_unit_test(many_addresses_are_told_apart),
        cmocka_unit_test(addresses_are_written_as_people_know_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
