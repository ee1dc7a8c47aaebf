#include "storage/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void every_table_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (unsigned i = 0; i < TABLE_COUNT; i++) {
        assert_non_null(table_names[i]);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(table_names[i], table_names[j]);
    }
    for (unsigned type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        assert_in_range(TABLE_SEGMENT + type, TABLE_SEGMENT, TABLE_SEGMENT_END - 1);
        assert_memory_equal(table_names[TABLE_SEGMENT + type], "segment.", 8);
    }
}

static void fields_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct key key;
    key_init(&key);
    key_u8(&key, 0xfe);
    key_u16(&key, 0xfedc);
    key_u32(&key, 0xfedcba98);
    key_u64(&key, UINT64_C(0xfedcba9876543210));
    key_instant(&key, -1);
    key_instant(&key, INT64_MIN);
    key_id(&key, SLICE_LITERAL("-10000010254618"));
    key_id(&key, SLICE_LITERAL(""));
    assert_int_equal(key.size, 1 + 2 + 4 + 8 + 8 + 8 + 16 + 1);

    struct slice rest = key_slice(&key), id;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    int64_t us;
    assert_true(key_take_u8(&rest, &u8));
    assert_int_equal(u8, 0xfe);
    assert_true(key_take_u16(&rest, &u16));
    assert_int_equal(u16, 0xfedc);
    assert_true(key_take_u32(&rest, &u32));
    assert_int_equal(u32, 0xfedcba98);
    assert_true(key_take_u64(&rest, &u64));
    assert_true(u64 == UINT64_C(0xfedcba9876543210));
    assert_true(key_take_instant(&rest, &us));
    assert_true(us == -1);
    assert_true(key_take_instant(&rest, &us));
    assert_true(us == INT64_MIN);
    assert_true(key_take_id(&rest, &id));
    assert_true(slice_equal_text(id, "-10000010254618"));
    assert_true(key_take_id(&rest, &id));
    assert_int_equal(id.size, 0);
    assert_int_equal(rest.size, 0);
}

static void taking_what_is_not_there_changes_nothing(void **state)
{
    (void)state;
    static const char bytes[] = {1, 2, 3, 4, 5, 6, 7};
    uint8_t u8 = 9;
    uint16_t u16 = 9;
    uint32_t u32 = 9;
    uint64_t u64 = 9;
    int64_t us = 9;
    struct slice id = SLICE_LITERAL("kept"), rest;

    rest = slice_make(bytes, 0);
    assert_false(key_take_u8(&rest, &u8));
    rest = slice_make(bytes, 1);
    assert_false(key_take_u16(&rest, &u16));
    rest = slice_make(bytes, 3);
    assert_false(key_take_u32(&rest, &u32));
    rest = slice_make(bytes, 7);
    assert_false(key_take_u64(&rest, &u64));
    assert_false(key_take_instant(&rest, &us));
    assert_false(key_take_id(&rest, &id)); /* no NUL */
    assert_ptr_equal(rest.data, bytes);
    assert_int_equal(rest.size, 7);
    rest = slice_make(NULL, 0);
    assert_false(key_take_id(&rest, &id));
    assert_true(u8 == 9 && u16 == 9 && u32 == 9 && u64 == 9 && us == 9);
    assert_true(slice_equal_text(id, "kept"));
}

static void memcmp_order_is_the_order_of_numbers_and_instants(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 1, 255, 256, 65535, 65536, UINT32_MAX, UINT64_MAX};
    static const int64_t instants[] = {INT64_MIN, -1000000, -1, 0, 1, 1577836800000000, INT64_MAX};
    struct key low, high;
    for (size_t i = 1; i < sizeof numbers / sizeof *numbers; i++) {
        key_of_u64(&low, numbers[i - 1]);
        key_of_u64(&high, numbers[i]);
        assert_true(slice_compare(key_slice(&low), key_slice(&high)) < 0);
        if (numbers[i] <= UINT32_MAX) {
            key_of_u32(&low, (uint32_t)numbers[i - 1]);
            key_of_u32(&high, (uint32_t)numbers[i]);
            assert_true(slice_compare(key_slice(&low), key_slice(&high)) < 0);
        }
    }
    for (size_t i = 1; i < sizeof instants / sizeof *instants; i++) {
        key_init(&low);
        key_instant(&low, instants[i - 1]);
        key_init(&high);
        key_instant(&high, instants[i]);
        assert_true(slice_compare(key_slice(&low), key_slice(&high)) < 0);
    }
}

static void ids_sort_before_their_extensions_whatever_follows(void **state)
{
    (void)state;
    struct key low, high;
    key_init(&low);
    key_id(&low, SLICE_LITERAL("ab"));
    key_u64(&low, UINT64_MAX);
    key_init(&high);
    key_id(&high, SLICE_LITERAL("ab-"));
    key_u64(&high, 0);
    assert_true(slice_compare(key_slice(&low), key_slice(&high)) < 0);
}

static void segment_keys_sort_by_home_beneficiary_stamp_birth_and_ordinal(void **state)
{
    (void)state;
    static const struct {
        uint32_t home;
        const char *beneficiary;
        struct segment_name name;
    } order[] = {
        {1, "a", {-5, 9, 9}}, {1, "a", {5, 1, 0}}, {1, "a", {5, 1, 1}},
        {1, "a", {5, 2, 0}},  {1, "a", {6, 1, 0}}, {1, "ab", {0, 0, 0}},
        {1, "b", {0, 0, 0}},  {2, "a", {0, 0, 0}}, {256, "a", {0, 0, 0}},
    };
    struct key low, high, prefix;
    for (size_t i = 1; i < sizeof order / sizeof *order; i++) {
        key_segment(&low, order[i - 1].home, slice_from_text(order[i - 1].beneficiary), &order[i - 1].name);
        key_segment(&high, order[i].home, slice_from_text(order[i].beneficiary), &order[i].name);
        assert_true(slice_compare(key_slice(&low), key_slice(&high)) < 0);
        key_segment_prefix(&prefix, order[i].home, slice_from_text(order[i].beneficiary));
        assert_true(slice_starts_with(key_slice(&high), key_slice(&prefix)));
        key_aco_beneficiary(&low, order[i].home, slice_from_text(order[i].beneficiary));
        assert_true(slice_equal(key_slice(&low), key_slice(&prefix)));
    }
}

static void a_key_is_known_without_being_made(void **state)
{
    (void)state;
    static const char *const ids[] = {"a", "ab", "abc", "b"};
    for (uint32_t aco = 1; aco < 4; aco++) {
        for (size_t i = 0; i < 4; i++) {
            struct key key;
            key_aco_beneficiary(&key, aco, slice_from_text(ids[i]));
            for (uint32_t other = 1; other < 4; other++) {
                for (size_t k = 0; k < 4; k++)
                    assert_int_equal(key_is_aco_beneficiary(key_slice(&key), other, slice_from_text(ids[k])),
                                     other == aco && k == i);
            }
            for (size_t size = 0; size < key.size; size++)
                assert_false(
                    key_is_aco_beneficiary(slice_make(key.bytes, size), aco, slice_from_text(ids[i])));
        }
    }
}

static void text_of_a_key_is_hex_and_bounded(void **state)
{
    (void)state;
    char text[KEY_TEXT_SIZE];
    key_text(SLICE_LITERAL("\x00\x0f\xf0\xff"), text);
    assert_string_equal(text, "000ff0ff");
    key_text(SLICE_LITERAL(""), text);
    assert_string_equal(text, "");

    char bytes[KEY_TEXT_BYTES_MAX + 1];
    memset(bytes, 0xab, sizeof bytes);
    key_text(slice_make(bytes, KEY_TEXT_BYTES_MAX), text);
    assert_int_equal(strlen(text), 2 * KEY_TEXT_BYTES_MAX);
    key_text(slice_make(bytes, sizeof bytes), text);
    assert_int_equal(strlen(text), 2 * KEY_TEXT_BYTES_MAX + 3);
    assert_string_equal(text + 2 * KEY_TEXT_BYTES_MAX, "...");
}

static void longest_keys_fit(void **state)
{
    (void)state;
    char id[RESOURCE_ID_MAX];
    memset(id, 'x', sizeof id);
    struct key key;
    key_segment(&key, UINT32_MAX, slice_make(id, sizeof id),
                &(struct segment_name){INT64_MAX, UINT64_MAX, 1});
    /* TABLE_DEAD: death, type and the segment's key. */
    assert_true(key.size + sizeof(uint64_t) + 1 <= KEY_SIZE_MAX);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_has_a_name_of_its_own),
        cmocka_unit_test(fields_come_out_as_they_went_in),
        cmocka_unit_test(taking_what_is_not_there_changes_nothing),
        cmocka_unit_test(memcmp_order_is_the_order_of_numbers_and_instants),
        cmocka_unit_test(ids_sort_before_their_extensions_whatever_follows),
        cmocka_unit_test(segment_keys_sort_by_home_beneficiary_stamp_birth_and_ordinal),
        cmocka_unit_test(a_key_is_known_without_being_made),
        cmocka_unit_test(text_of_a_key_is_hex_and_bounded),
        cmocka_unit_test(longest_keys_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
