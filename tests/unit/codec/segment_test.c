#include "codec/segment.h"

#include "codec/base/bytes.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "codec/resource.h"
#include "tests/support/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define START_US INT64_C(1629222340767000) /* 2021-08-17T17:45:40.767Z */

static uint64_t seed;
static struct inflater *inflater;

static void entries_must_be_equal(const struct segment_entry *a, const struct segment_entry *b)
{
    assert_int_equal(a->id.size, b->id.size);
    assert_memory_equal(a->id.data, b->id.data, a->id.size);
    assert_int_equal(a->source_us, b->source_us);
    assert_int_equal(a->stamp_us, b->stamp_us);
    assert_int_equal(a->service_first_day, b->service_first_day);
    assert_int_equal(a->service_last_day, b->service_last_day);
    assert_true(a->content_hash == b->content_hash);
}

/* Opens, reads, inflates and checks `value`, and compares it with the claims it was made from. */
static void segment_must_hold(struct slice value, const struct claim *claims, size_t count)
{
    struct segment segment;
    struct segment_table table;
    struct buffer raw = BUFFER_INIT;
    struct error error = {0};
    segment_table_init(&table);
    if (segment_open(value, &segment, &error) != STATUS_OK ||
        segment_check(&segment, inflater, &error) != STATUS_OK ||
        segment_table_read(&table, &segment, &error) != STATUS_OK ||
        segment_inflate(&segment, inflater, &raw, &error) != STATUS_OK)
        fail_msg("%zu claims: %s", count, error.text);
    assert_int_equal(segment.count, count);
    assert_int_equal(table.count, count);
    assert_int_equal(raw.size, segment.raw_bytes);
    int64_t oldest = INT64_MAX;
    int64_t newest = INT64_MIN;
    uint32_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        const struct segment_entry *entry = &table.entries[i];
        entries_must_be_equal(entry, &claims[i].entry);
        assert_int_equal(entry->offset, offset);
        assert_int_equal(entry->size, claims[i].json.size + 1);
        assert_memory_equal(raw.data + offset, claims[i].json.data, claims[i].json.size);
        assert_int_equal(raw.data[offset + entry->size - 1], '\n');
        offset += entry->size;
        oldest = entry->stamp_us < oldest ? entry->stamp_us : oldest;
        newest = entry->stamp_us > newest ? entry->stamp_us : newest;
    }
    assert_int_equal(offset, raw.size);
    assert_int_equal(segment.oldest_us, oldest);
    assert_int_equal(segment.newest_us, newest);
    assert_int_equal(segment.crc, crc32_of(0, buffer_slice(&raw)));
    assert_int_equal(segment.crc_operator, crc32_operator(raw.size));
    assert_memory_equal(segment.piece.data + segment.piece.size, DEFLATE_END, DEFLATE_END_SIZE);
    segment_table_release(&table);
    buffer_release(&raw);
}

static void segment_gives_back_what_was_added(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    for (int round = 0; round < 60; round++) {
        struct arena arena = ARENA_INIT;
        struct buffer value = BUFFER_INIT;
        size_t count = 1 + claims_below(&state, round < 50 ? 40 : 1000);
        struct claim *claims = claims_make(&arena, &state, count, START_US, 1000);
        claims_segment(claims, count, round % 2 ? DEFLATE_LEVEL_BEST : DEFLATE_LEVEL_GOOD, &value);
        segment_must_hold(buffer_slice(&value), claims, count);
        buffer_release(&value);
        arena_release(&arena);
    }
}

static void segment_keeps_extreme_values(void **unused)
{
    (void)unused;
    static const int64_t times[] = {INT64_MIN, INT64_MIN + 1,  INSTANT_MIN_US, -1, 0,
                                    1,         INSTANT_MAX_US, INT64_MAX};
    static const int32_t days[] = {DAY_NONE, -719162, -1, 0, 1, 2932896, -9999 * 366, 9999 * 366};
    struct claim claims[8 * 8 * 8 * 8];
    struct arena arena = ARENA_INIT;
    size_t count = 0;
    for (size_t source = 0; source < 8; source++)
        for (size_t stamp = 0; stamp < 8; stamp++)
            for (size_t first = 0; first < 8; first++)
                for (size_t last = 0; last < 8; last++) {
                    /* ids of 1 to 64 bytes, any bytes, ascending */
                    char id[RESOURCE_ID_MAX];
                    memset(id, (int)(count & 0xff), sizeof id);
                    store_u16_be(id, (uint16_t)count);
                    size_t id_size = 2 + count % (RESOURCE_ID_MAX - 1);
                    claims[count] = (struct claim){
                        .entry = {.id = arena_copy(&arena, slice_make(id, id_size)),
                                  .source_us = times[source],
                                  .stamp_us = times[stamp],
                                  .service_first_day = days[first],
                                  .service_last_day = days[last],
                                  .content_hash = UINT64_MAX - count},
                        .json = SLICE_LITERAL(""),
                    };
                    count++;
                }
    struct buffer value = BUFFER_INIT;
    claims_segment(claims, count, DEFLATE_LEVEL_GOOD, &value);
    segment_must_hold(buffer_slice(&value), claims, count);
    for (size_t i = 0; i < count; i += 7) { /* each alone, too: another base each time */
        buffer_reset(&value);
        claims_segment(&claims[i], 1, DEFLATE_LEVEL_GOOD, &value);
        segment_must_hold(buffer_slice(&value), &claims[i], 1);
    }
    buffer_release(&value);
    arena_release(&arena);
}

static void segment_holds_as_many_as_its_bound_says(void **unused)
{
    (void)unused;
    struct arena arena = ARENA_INIT;
    struct claim *claims = arena_alloc(&arena, SEGMENT_COUNT_MAX * sizeof *claims);
    for (size_t i = 0; i < SEGMENT_COUNT_MAX; i++) {
        char id[RESOURCE_ID_MAX + 1];
        snprintf(id, sizeof id, "%064zu", i);
        claims[i] = (struct claim){.entry = {.id = arena_copy(&arena, slice_from_text(id)),
                                             .source_us = (int64_t)i * 1000003,
                                             .stamp_us = (int64_t)i * -999983},
                                   .json = SLICE_LITERAL("{}")};
    }
    struct buffer value = BUFFER_INIT;
    struct segment_builder *builder = segment_builder_new(DEFLATE_LEVEL_BEST);
    for (size_t i = 0; i < SEGMENT_COUNT_MAX; i++) {
        assert_false(segment_builder_is_full_for(builder, 3));
        segment_builder_add(builder, &claims[i].entry, claims[i].json);
    }
    assert_true(segment_builder_is_full_for(builder, 3));
    segment_builder_finish(builder, &value);
    segment_must_hold(buffer_slice(&value), claims, SEGMENT_COUNT_MAX);
    segment_builder_free(builder);
    buffer_release(&value);
    arena_release(&arena);
}

static void table_takes_less_than_23_bytes_a_resource(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    size_t resources = 0;
    size_t bytes = 0;
    for (int round = 0; round < 100; round++) {
        struct arena arena = ARENA_INIT;
        struct buffer value = BUFFER_INIT;
        struct segment segment;
        size_t count = 20 + claims_below(&state, 11);
        claims_segment(claims_make(&arena, &state, count, START_US, 1000), count, DEFLATE_LEVEL_GOOD, &value);
        assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_OK);
        resources += count;
        bytes += segment.table.size + segment.hashes.size;
        buffer_release(&value);
        arena_release(&arena);
    }
    if (bytes > 23 * resources)
        fail_msg("%zu bytes for %zu resources", bytes, resources);
}

static void table_finds_each_id_and_no_other(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct arena arena = ARENA_INIT;
    struct buffer value = BUFFER_INIT;
    struct segment segment;
    struct segment_table table;
    struct claim *claims = claims_make(&arena, &state, 101, START_US, 1000);
    segment_table_init(&table);
    assert_null(segment_table_find(&table, claims[0].entry.id));
    claims_segment(claims, 101, DEFLATE_LEVEL_GOOD, &value);
    assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_OK);
    assert_int_equal(segment_table_read(&table, &segment, NULL), STATUS_OK);
    for (size_t i = 0; i < 101; i++) {
        assert_ptr_equal(segment_table_find(&table, claims[i].entry.id), &table.entries[i]);
        struct slice shorter = {claims[i].entry.id.data, claims[i].entry.id.size - 1};
        assert_null(segment_table_find(&table, shorter));
        struct buffer longer = BUFFER_INIT;
        buffer_append_slice(&longer, claims[i].entry.id);
        buffer_append_char(&longer, '0');
        assert_null(segment_table_find(&table, buffer_slice(&longer)));
        buffer_release(&longer);
    }
    assert_null(segment_table_find(&table, SLICE_LITERAL("")));
    assert_null(segment_table_find(&table, SLICE_LITERAL("zzz")));
    segment_table_release(&table);
    buffer_release(&value);
    arena_release(&arena);
}

static void builder_starts_anew_after_finish_and_repeats_itself(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct arena arena = ARENA_INIT;
    struct claim *claims = claims_make(&arena, &state, 50, START_US, 1000);
    for (int level = 0; level < 2; level++) {
        struct segment_builder *builder = segment_builder_new((enum deflate_level)level);
        struct buffer first = BUFFER_INIT;
        struct buffer second = BUFFER_INIT;
        for (int round = 0; round < 2; round++) {
            for (size_t i = 20; i < 50; i++)
                segment_builder_add(builder, &claims[i].entry, claims[i].json);
            assert_int_equal(segment_builder_count(builder), 30);
            segment_builder_finish(builder, round ? &second : &first);
            assert_int_equal(segment_builder_count(builder), 0);
            assert_int_equal(segment_builder_raw_bytes(builder), 0);
            struct buffer between = BUFFER_INIT; /* an id that came before begins the next segment */
            segment_builder_add(builder, &claims[round].entry, claims[round].json);
            segment_builder_finish(builder, &between);
            segment_must_hold(buffer_slice(&between), &claims[round], 1);
            buffer_release(&between);
        }
        segment_must_hold(buffer_slice(&first), claims + 20, 30);
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        segment_builder_free(builder);
        buffer_release(&first);
        buffer_release(&second);
    }
    arena_release(&arena);
}

static void builder_is_full_at_its_target_but_never_when_empty(void **unused)
{
    (void)unused;
    struct segment_builder *builder = segment_builder_new(DEFLATE_LEVEL_GOOD);
    struct segment_entry entry = {.id = SLICE_LITERAL("a")};
    struct buffer line = BUFFER_INIT;
    assert_false(segment_builder_is_full_for(builder, RESOURCE_BYTES_MAX));
    memset(buffer_extend(&line, 1000), 'x', 1000);
    segment_builder_add(builder, &entry, buffer_slice(&line));
    assert_int_equal(segment_builder_raw_bytes(builder), 1001);
    assert_false(segment_builder_is_full_for(builder, SEGMENT_RAW_TARGET - 1001));
    assert_true(segment_builder_is_full_for(builder, SEGMENT_RAW_TARGET - 1000));
    buffer_release(&line);
    segment_builder_free(builder);
}

static void segment_holds_the_largest_resource(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct buffer line = BUFFER_INIT;
    struct buffer value = BUFFER_INIT;
    while (line.size < RESOURCE_BYTES_MAX) /* nothing to gain: the piece is larger than the line */
        buffer_append_u64(&line, claims_random(&state) | UINT64_C(0x8080808080808080));
    for (int level = 0; level < 2; level++) {
        struct claim claim = {.entry = {.id = SLICE_LITERAL("a")}, .json = buffer_slice(&line)};
        buffer_reset(&value);
        claims_segment(&claim, 1, (enum deflate_level)level, &value);
        segment_must_hold(buffer_slice(&value), &claim, 1);
    }
    buffer_release(&line);
    buffer_release(&value);
}

/* Made by hand after codec/segment.h: who changes the form must change the version. */
static void stored_form_is_what_the_header_file_says(void **unused)
{
    (void)unused;
    static const char stored[] =
        "S\x02\x02\x00\x06\x00\x00\x00"                                    /* count, raw bytes */
        "\xaf\xf1\x38\x9c\x80\x1b\x35\xe1"                                 /* crc, its operator */
        "\x22\x00\x00\x00\x10\x00\x00\x00"                                 /* table bytes, piece bytes */
        "\xe8\x03\x00\x00\x00\x00\x00\x00\xb8\x0b\x00\x00\x00\x00\x00\x00" /* stamps */
        "\x01"                                                             /* level: best */
        "\x02\x00\xd0\x0f\x00\x01\x02"                                     /* two instants, unit 2000 */
        "\x00\x01\x02\x00\x01\x02\x03\x00"                                 /* stamps, source times, sizes */
        "\xc8\x01\x00\x01\x01\x00\x02\x03" /* first days from 100, last days */
        "\x00\x02\x08\x01\x02\x02\x00"     /* ids: shared, rest, no alphabet */
        "a-12"
        "\x88\x77\x66\x55\x44\x33\x22\x11\x01\x00\x00\x00\x00\x00\x00\x00" /* hashes */
        "\x00\x06\x00\xf9\xff{}\n{}\n\x00\x00\x00\xff\xff\x03\x00";
    struct claim claims[2] = {
        {.entry = {.id = SLICE_LITERAL("a-1"),
                   .source_us = 1000,
                   .stamp_us = 1000,
                   .service_first_day = 100,
                   .service_last_day = 101,
                   .content_hash = UINT64_C(0x1122334455667788)},
         .json = SLICE_LITERAL("{}")},
        {.entry = {.id = SLICE_LITERAL("a-2"),
                   .source_us = 1000,
                   .stamp_us = 3000,
                   .service_first_day = DAY_NONE,
                   .service_last_day = DAY_NONE,
                   .content_hash = 1},
         .json = SLICE_LITERAL("{}")},
    };
    segment_must_hold(slice_make(stored, sizeof stored - 1), claims, 2);

    struct buffer value = BUFFER_INIT;
    claims_segment(claims, 2, DEFLATE_LEVEL_BEST, &value);
    size_t piece_bytes_at = 20;
    size_t piece_at = sizeof stored - 1 - 18;
    assert_memory_equal(value.data, stored, piece_bytes_at);
    assert_memory_equal(value.data + piece_bytes_at + 4, stored + piece_bytes_at + 4,
                        piece_at - piece_bytes_at - 4);
    buffer_release(&value);
}

static void open_refuses_what_its_header_denies(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct arena arena = ARENA_INIT;
    struct buffer value = BUFFER_INIT;
    struct segment segment;
    claims_segment(claims_make(&arena, &state, 9, START_US, 1000), 9, DEFLATE_LEVEL_GOOD, &value);
    struct slice whole = buffer_slice(&value);
    for (size_t size = 0; size < whole.size; size++) {
        char *copy = mem_alloc(size); /* so that a read past the end is seen */
        memcpy(copy, whole.data, size);
        assert_int_equal(segment_open(slice_make(copy, size), &segment, NULL), STATUS_CORRUPT);
        mem_free(copy);
    }
    buffer_append_char(&value, 0);
    assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_CORRUPT);
    value.size--;

    static const struct {
        size_t offset, size;
        uint64_t value;
        enum status status;
    } changes[] = {
        {0, 1, 'T', STATUS_CORRUPT},         {1, 1, 1, STATUS_UNSUPPORTED},
        {2, 2, 0, STATUS_CORRUPT},           {2, 2, 8, STATUS_CORRUPT},
        {2, 2, UINT16_MAX, STATUS_CORRUPT},  {4, 4, 8, STATUS_CORRUPT},
        {4, 4, UINT32_MAX, STATUS_CORRUPT},  {4, 4, SEGMENT_RAW_MAX, STATUS_CORRUPT},
        {12, 4, 0, STATUS_CORRUPT},          {16, 4, 0, STATUS_CORRUPT},
        {16, 4, UINT32_MAX, STATUS_CORRUPT}, {20, 4, 0, STATUS_CORRUPT},
        {20, 4, UINT32_MAX, STATUS_CORRUPT}, {24, 8, INT64_MAX, STATUS_CORRUPT},
        {40, 1, 2, STATUS_CORRUPT},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        char *at = value.data + changes[i].offset;
        char saved[8];
        char changed[8];
        store_u64_le(changed, changes[i].value);
        memcpy(saved, at, changes[i].size);
        memcpy(at, changed, changes[i].size);
        enum status status = segment_open(whole, &segment, NULL);
        if (status != changes[i].status)
            fail_msg("change %zu: %s", i, status_name(status));
        memcpy(at, saved, changes[i].size);
    }
    assert_int_equal(segment_open(whole, &segment, NULL), STATUS_OK);
    buffer_release(&value);
    arena_release(&arena);
}

static void no_damage_passes_as_other_lines(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct arena arena = ARENA_INIT;
    struct buffer value = BUFFER_INIT;
    struct buffer good = BUFFER_INIT;
    struct buffer raw = BUFFER_INIT;
    struct segment segment;
    struct segment_table table;
    segment_table_init(&table);
    claims_segment(claims_make(&arena, &state, 12, START_US, 1000), 12, DEFLATE_LEVEL_BEST, &value);
    assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_OK);
    assert_int_equal(segment_inflate(&segment, inflater, &good, NULL), STATUS_OK);
    size_t refused = 0;
    for (size_t bit = 0; bit < value.size * 8; bit++) {
        value.data[bit / 8] ^= (char)(1 << bit % 8);
        if (segment_open(buffer_slice(&value), &segment, NULL) != STATUS_OK ||
            segment_check(&segment, inflater, NULL) != STATUS_OK ||
            segment_table_read(&table, &segment, NULL) != STATUS_OK) {
            refused++;
        } else {
            buffer_reset(&raw);
            assert_int_equal(segment_inflate(&segment, inflater, &raw, NULL), STATUS_OK);
            assert_int_equal(raw.size, good.size);
            assert_memory_equal(raw.data, good.data, raw.size);
        }
        value.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    /* Only hashes, ids, instants and days can change unnoticed: what the store's CRC-32C is for. */
    assert_true(refused > value.size * 8 - 12 * 30 * 8);
    segment_table_release(&table);
    buffer_release(&raw);
    buffer_release(&good);
    buffer_release(&value);
    arena_release(&arena);
}

static void failed_inflate_leaves_the_target_as_it_was(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct arena arena = ARENA_INIT;
    struct buffer value = BUFFER_INIT;
    struct buffer raw = BUFFER_INIT;
    struct segment segment;
    claims_segment(claims_make(&arena, &state, 5, START_US, 1000), 5, DEFLATE_LEVEL_GOOD, &value);
    assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_OK);
    buffer_append_text(&raw, "before");
    segment.crc ^= 1;
    struct error error = {0};
    assert_int_equal(segment_inflate(&segment, inflater, &raw, &error), STATUS_CORRUPT);
    assert_string_equal(error.text, "segment: the CRC of its lines differs");
    assert_int_equal(raw.size, 6);
    assert_memory_equal(raw.data, "before", 6);
    segment.crc ^= 1;
    assert_int_equal(segment_inflate(&segment, inflater, &raw, NULL), STATUS_OK);
    assert_memory_equal(raw.data, "before{", 7);
    segment.crc_operator ^= 1;
    assert_int_equal(segment_check(&segment, inflater, NULL), STATUS_CORRUPT);
    buffer_release(&raw);
    buffer_release(&value);
    arena_release(&arena);
}

static void check_refuses_a_resource_that_is_two_lines(void **unused)
{
    (void)unused;
    struct claim claims[2] = {{.entry = {.id = SLICE_LITERAL("a")}, .json = SLICE_LITERAL("{}\n{}")},
                              {.entry = {.id = SLICE_LITERAL("b")}, .json = SLICE_LITERAL("{}")}};
    struct buffer value = BUFFER_INIT;
    struct segment segment;
    claims_segment(claims, 2, DEFLATE_LEVEL_GOOD, &value);
    assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_OK);
    assert_int_equal(segment_check(&segment, inflater, NULL), STATUS_CORRUPT);
    buffer_release(&value);
}

int main(void)
{
    seed = claims_seed();
    inflater = inflater_new();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_gives_back_what_was_added),
        cmocka_unit_test(segment_keeps_extreme_values),
        cmocka_unit_test(segment_holds_as_many_as_its_bound_says),
        cmocka_unit_test(table_takes_less_than_23_bytes_a_resource),
        cmocka_unit_test(table_finds_each_id_and_no_other),
        cmocka_unit_test(builder_starts_anew_after_finish_and_repeats_itself),
        cmocka_unit_test(builder_is_full_at_its_target_but_never_when_empty),
        cmocka_unit_test(segment_holds_the_largest_resource),
        cmocka_unit_test(stored_form_is_what_the_header_file_says),
        cmocka_unit_test(open_refuses_what_its_header_denies),
        cmocka_unit_test(no_damage_passes_as_other_lines),
        cmocka_unit_test(failed_inflate_leaves_the_target_as_it_was),
        cmocka_unit_test(check_refuses_a_resource_that_is_two_lines),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    inflater_free(inflater);
    return failed;
}
