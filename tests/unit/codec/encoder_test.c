#include "codec/encoder.h"

#include "codec/base/mem.h"
#include "codec/instant.h"
#include "tests/support/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <zlib.h>

#define START_US INT64_C(1629222340767000)
#define STEP_US  INT64_C(1000)

static uint64_t seed;

/* Segments and the claims they were made from. */
struct store {
    struct arena arena;
    struct claim *claims[64];
    size_t counts[64];
    struct slice values[64];
    struct segment segments[64];
    size_t count;
};

static void store_add(struct store *store, uint64_t *state, size_t count, int64_t oldest_us)
{
    struct buffer value = BUFFER_INIT;
    size_t i = store->count++;
    store->claims[i] = claims_make(&store->arena, state, count, oldest_us, STEP_US);
    store->counts[i] = count;
    claims_segment(store->claims[i], count, i % 3 ? DEFLATE_LEVEL_GOOD : DEFLATE_LEVEL_BEST, &value);
    store->values[i] = arena_copy(&store->arena, buffer_slice(&value));
    assert_int_equal(segment_open(store->values[i], &store->segments[i], NULL), STATUS_OK);
    buffer_release(&value);
}

/* What the file must hold, taken from the claims and not from the segments. */
static size_t store_expect(const struct store *store, int64_t since_us, int64_t until_us, struct buffer *raw)
{
    size_t count = 0;
    for (size_t i = 0; i < store->count; i++)
        for (size_t j = 0; j < store->counts[i]; j++) {
            const struct claim *claim = &store->claims[i][j];
            if (claim->entry.stamp_us <= since_us || claim->entry.stamp_us > until_us)
                continue;
            buffer_append_slice(raw, claim->json);
            buffer_append_char(raw, '\n');
            count++;
        }
    return count;
}

struct file {
    struct buffer bytes;
    struct buffer index;
};

static void file_release(struct file *file)
{
    buffer_release(&file->bytes);
    buffer_release(&file->index);
}

static void file_take(struct file *file, struct encoder *encoder)
{
    size_t count;
    size_t bytes;
    const struct iovec *slices = encoder_output(encoder, &count, &bytes);
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        buffer_append(&file->bytes, slices[i].iov_base, slices[i].iov_len);
        sum += slices[i].iov_len;
    }
    assert_int_equal(sum, bytes);
    buffer_append_slice(&file->index, encoder_index(encoder));
    encoder_clear_output(encoder);
    encoder_clear_index(encoder);
}

static void file_encode(struct file *file, struct encoder *encoder, const struct store *store,
                        int64_t since_us, int64_t until_us)
{
    *file = (struct file){0};
    encoder_begin(encoder);
    for (size_t i = 0; i < store->count; i++) {
        if (encoder_output_is_full(encoder))
            file_take(file, encoder);
        assert_int_equal(encoder_segment(encoder, &store->segments[i], since_us, until_us, NULL), STATUS_OK);
    }
    encoder_end(encoder);
    file_take(file, encoder);
    assert_int_equal(encoder_gzip_bytes(encoder), file->bytes.size);
}

/* One gzip member that holds exactly `raw`. */
static void file_must_hold(const struct file *file, struct slice raw)
{
    struct buffer back = BUFFER_INIT;
    z_stream stream = {0};
    assert_int_equal(inflateInit2(&stream, 31), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)file->bytes.data;
    stream.avail_in = (uInt)file->bytes.size;
    stream.next_out = (Bytef *)buffer_reserve(&back, raw.size + 1);
    stream.avail_out = (uInt)raw.size + 1;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, raw.size);
    assert_memory_equal(back.data, raw.size ? raw.data : "", raw.size);
    inflateEnd(&stream);
    buffer_release(&back);
}

/* Its entries lie without gaps, and each piece inflates alone to its own part of `raw`. */
static void index_must_lead_through(const struct file *file, struct slice raw)
{
    struct inflater *inflater = inflater_new();
    struct buffer piece = BUFFER_INIT;
    uint64_t gzip_offset = GZIP_HEADER_SIZE;
    uint64_t raw_offset = 0;
    assert_int_equal(file->index.size % ENCODER_INDEX_ENTRY_SIZE, 0);
    for (size_t at = 0; at < file->index.size; at += ENCODER_INDEX_ENTRY_SIZE) {
        struct encoder_index_entry entry;
        encoder_index_entry_load(file->index.data + at, &entry);
        assert_int_equal(entry.gzip_offset, gzip_offset);
        assert_int_equal(entry.raw_offset, raw_offset);
        buffer_reset(&piece);
        buffer_append(&piece, file->bytes.data + gzip_offset, entry.piece_bytes);
        buffer_append(&piece, DEFLATE_END, DEFLATE_END_SIZE);
        char *target = mem_alloc(entry.raw_bytes);
        assert_int_equal(inflater_piece(inflater, slice_make(piece.data, entry.piece_bytes), entry.raw_bytes,
                                        target, NULL),
                         STATUS_OK);
        assert_memory_equal(target, raw.data + raw_offset, entry.raw_bytes);
        mem_free(target);
        gzip_offset += entry.piece_bytes;
        raw_offset += entry.raw_bytes;
    }
    assert_int_equal(gzip_offset + GZIP_TRAILER_SIZE, file->bytes.size);
    assert_int_equal(raw_offset, raw.size);
    buffer_release(&piece);
    inflater_free(inflater);
}

/* Both paths against the claims: bounds before, inside and behind the segments. */
static void verbatim_and_filtered_give_the_lines_wanted(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct encoder *encoder = encoder_new();
    for (int round = 0; round < 20; round++) {
        struct store store = {0};
        size_t segments = 1 + claims_below(&state, 12);
        for (size_t i = 0; i < segments; i++)
            store_add(&store, &state, 1 + claims_below(&state, 20),
                      START_US + (int64_t)(i % 3) * 6 * STEP_US);
        for (int64_t since = -1; since < 24; since += 3)
            for (int64_t until = since; until < 26; until += 5) {
                int64_t since_us = since < 0 ? INSTANT_MIN_US : START_US + since * STEP_US;
                int64_t until_us = until > 22 ? INSTANT_MAX_US : START_US + until * STEP_US;
                struct buffer raw = BUFFER_INIT;
                struct file file;
                size_t count = store_expect(&store, since_us, until_us, &raw);
                file_encode(&file, encoder, &store, since_us, until_us);
                file_must_hold(&file, buffer_slice(&raw));
                index_must_lead_through(&file, buffer_slice(&raw));
                assert_int_equal(encoder_count(encoder), count);
                assert_int_equal(encoder_raw_bytes(encoder), raw.size);
                file_release(&file);
                buffer_release(&raw);
            }
        arena_release(&store.arena);
    }
    encoder_free(encoder);
}

static void verbatim_segment_is_borrowed_not_copied(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct store store = {0};
    struct encoder *encoder = encoder_new();
    store_add(&store, &state, 10, START_US);
    encoder_begin(encoder);
    assert_int_equal(encoder_segment(encoder, &store.segments[0], INSTANT_MIN_US, INSTANT_MAX_US, NULL),
                     STATUS_OK);
    encoder_end(encoder);
    size_t count;
    size_t bytes;
    const struct iovec *slices = encoder_output(encoder, &count, &bytes);
    assert_int_equal(count, 3);
    assert_int_equal(slices[0].iov_len, GZIP_HEADER_SIZE);
    assert_ptr_equal(slices[1].iov_base, store.segments[0].piece.data);
    assert_int_equal(slices[1].iov_len, store.segments[0].piece.size);
    assert_int_equal(slices[2].iov_len, GZIP_TRAILER_SIZE);
    assert_int_equal(encoder_count(encoder), 10);
    encoder_free(encoder);
    arena_release(&store.arena);
}

static void since_is_exclusive_and_until_inclusive(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct store store = {0};
    struct encoder *encoder = encoder_new();
    store_add(&store, &state, 1, START_US);
    int64_t stamp_us = store.segments[0].newest_us;
    static const struct {
        int64_t since, until;
        uint64_t count;
    } rows[] = {{-1, 0, 1}, {0, 1, 0}, {-1, -1, 0}, {-2, -1, 0}, {-1, 1, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        encoder_begin(encoder);
        assert_int_equal(encoder_segment(encoder, &store.segments[0], stamp_us + rows[i].since,
                                         stamp_us + rows[i].until, NULL),
                         STATUS_OK);
        assert_int_equal(encoder_count(encoder), rows[i].count);
    }
    encoder_free(encoder);
    arena_release(&store.arena);
}

static void no_lower_bound_includes_the_first_instant(void **unused)
{
    (void)unused;
    struct claim claim = {.entry = {.id = SLICE_LITERAL("a"), .stamp_us = INSTANT_MIN_US},
                          .json = SLICE_LITERAL("{}")};
    struct buffer value = BUFFER_INIT;
    struct segment segment;
    struct encoder *encoder = encoder_new();
    claims_segment(&claim, 1, DEFLATE_LEVEL_GOOD, &value);
    assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_OK);
    encoder_begin(encoder);
    assert_int_equal(encoder_segment(encoder, &segment, INSTANT_MIN_US, INSTANT_MAX_US, NULL), STATUS_OK);
    assert_int_equal(encoder_count(encoder), 1);
    encoder_free(encoder);
    buffer_release(&value);
}

static void damaged_segment_changes_nothing(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct store store = {0};
    struct encoder *encoder = encoder_new();
    store_add(&store, &state, 20, START_US);
    store_add(&store, &state, 20, START_US);
    int64_t since_us = START_US + 2 * STEP_US;
    struct segment broken = store.segments[1];
    struct file expected;
    struct store first = store;
    first.count = 1;
    file_encode(&expected, encoder, &first, since_us, INSTANT_MAX_US);

    struct error error = {0};
    struct file file = {0};
    encoder_begin(encoder);
    broken.crc ^= 1;
    assert_int_equal(encoder_segment(encoder, &broken, since_us, INSTANT_MAX_US, &error), STATUS_CORRUPT);
    assert_int_equal(encoder_segment(encoder, &store.segments[0], since_us, INSTANT_MAX_US, NULL), STATUS_OK);
    broken = store.segments[1];
    broken.table.size--;
    assert_int_equal(encoder_segment(encoder, &broken, since_us, INSTANT_MAX_US, &error), STATUS_CORRUPT);
    assert_true(error.text[0]);
    encoder_end(encoder);
    file_take(&file, encoder);
    assert_int_equal(file.bytes.size, expected.bytes.size);
    assert_memory_equal(file.bytes.data, expected.bytes.data, file.bytes.size);
    assert_int_equal(file.index.size, expected.index.size);
    file_release(&file);
    file_release(&expected);
    encoder_free(encoder);
    arena_release(&store.arena);
}

static void output_is_full_at_its_bound_and_still_has_room_for_the_end(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct store store = {0};
    struct encoder *encoder = encoder_new();
    struct file file = {0};
    store_add(&store, &state, 3, START_US);
    encoder_begin(encoder);
    size_t added = 0;
    for (; !encoder_output_is_full(encoder); added++)
        assert_int_equal(encoder_segment(encoder, &store.segments[0], INSTANT_MIN_US, INSTANT_MAX_US, NULL),
                         STATUS_OK);
    assert_int_equal(added, ENCODER_OUTPUT_MAX - 2);
    encoder_end(encoder);
    size_t count;
    size_t bytes;
    encoder_output(encoder, &count, &bytes);
    assert_int_equal(count, ENCODER_OUTPUT_MAX);
    assert_int_equal(bytes, encoder_gzip_bytes(encoder));
    file_take(&file, encoder);
    assert_int_equal(file.index.size, added * ENCODER_INDEX_ENTRY_SIZE);
    encoder_output(encoder, &count, &bytes);
    assert_int_equal(count, 0);
    file_release(&file);
    encoder_free(encoder);
    arena_release(&store.arena);
}

/* Filtered pieces are memory of the encoder: it asks to be cleared before they pile up. */
static void filtered_pieces_fill_the_output_early(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct claim claims[2] = {
        {.entry = {.id = SLICE_LITERAL("a"), .stamp_us = 1}, .json = SLICE_LITERAL("{}")},
        {.entry = {.id = SLICE_LITERAL("b"), .stamp_us = 2}}};
    struct buffer line = BUFFER_INIT;
    struct buffer value = BUFFER_INIT;
    struct segment segment;
    while (line.size < 1024 * 1024)
        buffer_append_u64(&line, claims_random(&state) | UINT64_C(0x8080808080808080));
    claims[1].json = buffer_slice(&line);
    claims_segment(claims, 2, DEFLATE_LEVEL_GOOD, &value);
    assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_OK);
    struct encoder *encoder = encoder_new();
    encoder_begin(encoder);
    size_t added = 0;
    for (; !encoder_output_is_full(encoder) && added < 20; added++)
        assert_int_equal(encoder_segment(encoder, &segment, 1, 2, NULL), STATUS_OK);
    assert_in_range(added, 4, 5);
    encoder_clear_output(encoder);
    assert_false(encoder_output_is_full(encoder));
    encoder_free(encoder);
    buffer_release(&value);
    buffer_release(&line);
}

static void lines_of_no_segment_are_pieces_like_others(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct store store = {.arena = ARENA_INIT};
    struct buffer raw = BUFFER_INIT;
    struct file file = {0};
    struct encoder *encoder = encoder_new();
    store_add(&store, &state, 5, 1000);
    encoder_begin(encoder);
    encoder_lines(encoder, SLICE_LITERAL("{\"a\":1}\n{\"b\":2}\n"), 2);
    file_take(&file, encoder);
    assert_int_equal(encoder_segment(encoder, &store.segments[0], INSTANT_MIN_US, INSTANT_MAX_US, NULL),
                     STATUS_OK);
    encoder_lines(encoder, SLICE_LITERAL("{}\n"), 1);
    encoder_end(encoder);
    file_take(&file, encoder);
    buffer_append_text(&raw, "{\"a\":1}\n{\"b\":2}\n");
    store_expect(&store, INT64_MIN, INT64_MAX, &raw);
    buffer_append_text(&raw, "{}\n");
    file_must_hold(&file, buffer_slice(&raw));
    index_must_lead_through(&file, buffer_slice(&raw));
    assert_int_equal(encoder_count(encoder), 5 + 3);
    assert_int_equal(encoder_raw_bytes(encoder), raw.size);
    buffer_release(&raw);
    file_release(&file);
    encoder_free(encoder);
    arena_release(&store.arena);
}

static void index_entry_is_24_little_endian_bytes(void **unused)
{
    (void)unused;
    struct encoder_index_entry entry = {UINT64_C(0x0102030405060708), UINT64_C(0x1112131415161718),
                                        0x21222324, 0x31323334};
    struct encoder_index_entry back;
    char bytes[ENCODER_INDEX_ENTRY_SIZE];
    encoder_index_entry_store(bytes, &entry);
    assert_memory_equal(bytes,
                        "\x08\x07\x06\x05\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11"
                        "\x24\x23\x22\x21\x34\x33\x32\x31",
                        ENCODER_INDEX_ENTRY_SIZE);
    encoder_index_entry_load(bytes, &back);
    assert_memory_equal(&back, &entry, sizeof back);
}

static void gzip_accepts_the_file(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct store store = {0};
    struct encoder *encoder = encoder_new();
    for (size_t i = 0; i < 30; i++)
        store_add(&store, &state, 1 + claims_below(&state, 20), START_US);
    struct file file;
    file_encode(&file, encoder, &store, START_US + 3 * STEP_US, INSTANT_MAX_US);
    FILE *gzip = popen("gzip -t", "w");
    assert_non_null(gzip);
    assert_int_equal(fwrite(file.bytes.data, 1, file.bytes.size, gzip), file.bytes.size);
    assert_int_equal(pclose(gzip), 0);
    file_release(&file);
    encoder_free(encoder);
    arena_release(&store.arena);
}

int main(void)
{
    seed = claims_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verbatim_and_filtered_give_the_lines_wanted),
        cmocka_unit_test(verbatim_segment_is_borrowed_not_copied),
        cmocka_unit_test(since_is_exclusive_and_until_inclusive),
        cmocka_unit_test(no_lower_bound_includes_the_first_instant),
        cmocka_unit_test(damaged_segment_changes_nothing),
        cmocka_unit_test(output_is_full_at_its_bound_and_still_has_room_for_the_end),
        cmocka_unit_test(filtered_pieces_fill_the_output_early),
        cmocka_unit_test(lines_of_no_segment_are_pieces_like_others),
        cmocka_unit_test(index_entry_is_24_little_endian_bytes),
        cmocka_unit_test(gzip_accepts_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
