#include "codec/deflate.h"

#include "codec/base/mem.h"
#include "tests/support/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <zlib.h>

static const enum deflate_level levels[] = {DEFLATE_LEVEL_GOOD, DEFLATE_LEVEL_BEST, DEFLATE_LEVEL_FAST};
#define LEVELS (sizeof levels / sizeof *levels)
static uint64_t seed;

enum shape { SHAPE_ZEROS, SHAPE_TEXT, SHAPE_RANDOM, SHAPE_MIXED, SHAPE_COUNT };

static void fill(struct buffer *raw, enum shape shape, size_t size, uint64_t *state)
{
    buffer_reset(raw);
    while (raw->size < size)
        switch (shape == SHAPE_MIXED ? claims_below(state, SHAPE_MIXED) : shape) {
        case SHAPE_ZEROS:
            memset(buffer_extend(raw, 300), 0, 300);
            break;
        case SHAPE_TEXT:
            buffer_appendf(raw, "{\"id\":\"carrier--%u\",\"resourceType\":\"ExplanationOfBenefit\"}\n",
                           (unsigned)claims_below(state, 100000));
            break;
        default:
            for (int i = 0; i < 40; i++)
                buffer_append_u64(raw, claims_random(state));
        }
    raw->size = size;
}

/* With zlib, which has no part in inflater_piece. Returns what inflate() returned last. */
static int zlib_inflate(struct slice deflated, int window_bits, struct buffer *raw, size_t *ret_left)
{
    z_stream stream = {0};
    assert_int_equal(inflateInit2(&stream, window_bits), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)deflated.data;
    stream.avail_in = (uInt)deflated.size;
    int result;
    do {
        stream.next_out = (Bytef *)buffer_reserve(raw, 1 << 20);
        stream.avail_out = 1 << 20;
        result = inflate(&stream, Z_NO_FLUSH);
        raw->size += (1 << 20) - stream.avail_out;
    } while (result == Z_OK && stream.avail_out == 0);
    *ret_left = stream.avail_in;
    inflateEnd(&stream);
    return result;
}

static struct slice piece_of(const struct buffer *with_end)
{
    return slice_make(with_end->data, with_end->size - DEFLATE_END_SIZE);
}

static void piece_make(enum deflate_level level, struct slice raw, struct buffer *target)
{
    struct deflater *deflater = deflater_new(level);
    buffer_reset(target);
    deflater_piece(deflater, raw, target);
    buffer_append(target, DEFLATE_END, DEFLATE_END_SIZE);
    deflater_free(deflater);
}

static void piece_inflates_to_what_went_in(void **unused)
{
    (void)unused;
    static const size_t sizes[] = {0,     1,     2,     7,     100,   1000,   5000,   32767,
                                   32768, 32769, 65535, 65536, 65537, 131072, 262144, 1000000};
    uint64_t state = seed;
    struct inflater *inflater = inflater_new();
    struct buffer raw = BUFFER_INIT;
    struct buffer piece = BUFFER_INIT;
    struct buffer back = BUFFER_INIT;
    for (size_t l = 0; l < LEVELS; l++)
        for (int shape = 0; shape < SHAPE_COUNT; shape++)
            for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
                fill(&raw, (enum shape)shape, sizes[s], &state);
                piece_make(levels[l], buffer_slice(&raw), &piece);
                assert_true(piece.size <= raw.size + raw.size / 1000 + 64);
                buffer_reset(&back);
                char *target = buffer_extend(&back, raw.size + 1);
                struct error error = {0};
                enum status status = inflater_piece(inflater, piece_of(&piece), raw.size, target, &error);
                if (status != STATUS_OK)
                    fail_msg("level %zu, shape %d, %zu bytes: %s", l, shape, sizes[s], error.text);
                assert_memory_equal(target, raw.data ? raw.data : "", raw.size);
            }
    buffer_release(&raw);
    buffer_release(&piece);
    buffer_release(&back);
    inflater_free(inflater);
}

static void piece_ends_with_one_sync_marker(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct buffer raw = BUFFER_INIT;
    struct buffer piece = BUFFER_INIT;
    for (size_t l = 0; l < LEVELS; l++)
        for (size_t size = 1; size < 200; size++) { /* every alignment of the last block's end comes up */
            fill(&raw, SHAPE_TEXT, size, &state);
            piece_make(levels[l], buffer_slice(&raw), &piece);
            struct slice bytes = piece_of(&piece);
            assert_memory_equal(bytes.data + bytes.size - 4, "\x00\x00\xff\xff", 4);
            if (bytes.size >= 9) /* a shorter one has no room for a second marker */
                assert_memory_not_equal(bytes.data + bytes.size - 9, "\x00\x00\xff\xff", 4);
        }
    buffer_release(&raw);
    buffer_release(&piece);
}

static void pieces_behind_one_another_are_one_stream(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct deflater *deflaters[LEVELS];
    struct buffer raw = BUFFER_INIT;
    struct buffer all_raw = BUFFER_INIT;
    struct buffer all = BUFFER_INIT;
    struct buffer back = BUFFER_INIT;
    for (size_t l = 0; l < LEVELS; l++)
        deflaters[l] = deflater_new(levels[l]);
    for (int i = 0; i < 200; i++) {
        fill(&raw, (enum shape)claims_below(&state, SHAPE_COUNT), claims_below(&state, 5000), &state);
        buffer_append_slice(&all_raw, buffer_slice(&raw));
        deflater_piece(deflaters[(size_t)i % LEVELS], buffer_slice(&raw), &all);
    }
    buffer_append(&all, DEFLATE_END, DEFLATE_END_SIZE);
    size_t left;
    assert_int_equal(zlib_inflate(buffer_slice(&all), -MAX_WBITS, &back, &left), Z_STREAM_END);
    assert_int_equal(left, 0);
    assert_int_equal(back.size, all_raw.size);
    assert_memory_equal(back.data, all_raw.data, back.size);
    for (size_t l = 0; l < LEVELS; l++)
        deflater_free(deflaters[l]);
    buffer_release(&raw);
    buffer_release(&all_raw);
    buffer_release(&all);
    buffer_release(&back);
}

/* It can be read alone, and is the same whatever the deflater did before: no history. */
static void piece_depends_on_nothing_before_it(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct buffer raw = BUFFER_INIT;
    struct buffer alone = BUFFER_INIT;
    struct buffer later = BUFFER_INIT;
    for (size_t l = 0; l < LEVELS; l++) {
        struct deflater *used = deflater_new(levels[l]);
        for (int i = 0; i < 60; i++) {
            fill(&raw, (enum shape)claims_below(&state, SHAPE_COUNT), claims_below(&state, 100000), &state);
            piece_make(levels[l], buffer_slice(&raw), &alone);
            /* The same text twice: with history the second would shrink to a few matches. */
            for (int round = 0; round < 2; round++) {
                buffer_reset(&later);
                deflater_piece(used, buffer_slice(&raw), &later);
                assert_int_equal(later.size, piece_of(&alone).size);
                assert_memory_equal(later.data, alone.data, later.size);
            }
        }
        deflater_free(used);
    }
    buffer_release(&raw);
    buffer_release(&alone);
    buffer_release(&later);
}

static void wrong_raw_size_is_refused(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct inflater *inflater = inflater_new();
    struct buffer raw = BUFFER_INIT;
    struct buffer piece = BUFFER_INIT;
    fill(&raw, SHAPE_TEXT, 1000, &state);
    char target[1002];
    for (size_t l = 0; l < LEVELS; l++) {
        piece_make(levels[l], buffer_slice(&raw), &piece);
        assert_int_equal(inflater_piece(inflater, piece_of(&piece), 999, target, NULL), STATUS_CORRUPT);
        assert_int_equal(inflater_piece(inflater, piece_of(&piece), 1001, target, NULL), STATUS_CORRUPT);
        assert_int_equal(inflater_piece(inflater, piece_of(&piece), 1000, target, NULL), STATUS_OK);
    }
    buffer_release(&raw);
    buffer_release(&piece);
    inflater_free(inflater);
}

static void piece_with_a_final_block_or_without_a_marker_is_refused(void **unused)
{
    (void)unused;
    struct inflater *inflater = inflater_new();
    /* a stored block, final or not; then the marker; then DEFLATE_END */
    static const char final[] = "\x01\x08\x00\xf7\xff"
                                "12345678"
                                "\x00\x00\x00\xff\xff" DEFLATE_END;
    static const char open[] = "\x00\x08\x00\xf7\xff"
                               "12345678"
                               "\x00\x00\x00\xff\xff" DEFLATE_END;
    static const char unmarked[] = "\x00\x08\x00\xf7\xff"
                                   "12345678" DEFLATE_END;
    char target[8];
    assert_int_equal(inflater_piece(inflater, slice_make(final, 18), 8, target, NULL), STATUS_CORRUPT);
    assert_int_equal(inflater_piece(inflater, slice_make(open, 18), 8, target, NULL), STATUS_OK);
    assert_int_equal(inflater_piece(inflater, slice_make(unmarked, 13), 8, target, NULL), STATUS_CORRUPT);
    assert_int_equal(inflater_piece(inflater, slice_make(open, 3), 8, target, NULL), STATUS_CORRUPT);
    inflater_free(inflater);
}

static void damaged_piece_gives_an_error_or_other_bytes_and_nothing_worse(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct inflater *inflater = inflater_new();
    struct buffer raw = BUFFER_INIT;
    struct buffer piece = BUFFER_INIT;
    fill(&raw, SHAPE_TEXT, 3000, &state);
    char *target = mem_alloc(raw.size);
    size_t refused = 0;
    for (size_t l = 0; l < LEVELS; l++) {
        piece_make(levels[l], buffer_slice(&raw), &piece);
        for (size_t bit = 0; bit < piece.size * 8; bit++) {
            piece.data[bit / 8] ^= (char)(1 << bit % 8);
            refused += inflater_piece(inflater, piece_of(&piece), raw.size, target, NULL) != STATUS_OK;
            piece.data[bit / 8] ^= (char)(1 << bit % 8);
        }
    }
    assert_true(refused > 100);
    mem_free(target);
    buffer_release(&raw);
    buffer_release(&piece);
    inflater_free(inflater);
}

static void checksums_have_their_standard_values(void **unused)
{
    (void)unused;
    struct slice check = SLICE_LITERAL("123456789");
    assert_int_equal(crc32_of(0, check), 0xcbf43926);
    assert_int_equal(crc32c_of(0, check), 0xe3069283);
    assert_int_equal(crc32_of(0, slice_make(NULL, 0)), 0);
    assert_int_equal(crc32c_of(0, slice_make(NULL, 0)), 0);
    /* RFC 3720, B.4: 32 bytes of zeros, and of ones */
    char bytes[32] = {0};
    assert_int_equal(crc32c_of(0, slice_make(bytes, 32)), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c_of(0, slice_make(bytes, 32)), 0x62a8ab43);
}

static void checksums_continue_and_join(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct buffer raw = BUFFER_INIT;
    for (int i = 0; i < 200; i++) {
        fill(&raw, SHAPE_MIXED, claims_below(&state, 3000), &state);
        struct slice all = buffer_slice(&raw);
        size_t cut = claims_below(&state, all.size + 1);
        struct slice first = {all.data, cut};
        struct slice second = slice_skip(all, cut);
        assert_int_equal(crc32_of(crc32_of(0, first), second), crc32_of(0, all));
        assert_int_equal(crc32c_of(crc32c_of(0, first), second), crc32c_of(0, all));
        assert_int_equal(crc32_of(0, all), crc32(0, (const Bytef *)all.data, (uInt)all.size));
        assert_int_equal(crc32_join(crc32_of(0, first), crc32_of(0, second), crc32_operator(second.size)),
                         crc32_of(0, all));
    }
    /* 6 GiB of zeros, one GiB at a time and in halves */
    uint32_t crc_2 = (uint32_t)crc32_combine(0x12345678, 0x9abcdef0, 0x80000000);
    assert_int_equal(crc32_join(0x12345678, 0x9abcdef0, crc32_operator(0x80000000)), crc_2);
    uint32_t far = crc32_join(7, 0, crc32_operator(UINT64_C(0x180000000)));
    uint32_t near = 7;
    for (int i = 0; i < 6; i++)
        near = crc32_join(near, 0, crc32_operator(0x40000000));
    assert_int_equal(far, near);
    assert_int_equal(crc32_join(1, 2, 0), 2); /* comes back at all: with zero zlib does not */
    buffer_release(&raw);
}

int main(void)
{
    seed = claims_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(piece_inflates_to_what_went_in),
        cmocka_unit_test(piece_ends_with_one_sync_marker),
        cmocka_unit_test(pieces_behind_one_another_are_one_stream),
        cmocka_unit_test(piece_depends_on_nothing_before_it),
        cmocka_unit_test(wrong_raw_size_is_refused),
        cmocka_unit_test(piece_with_a_final_block_or_without_a_marker_is_refused),
        cmocka_unit_test(damaged_piece_gives_an_error_or_other_bytes_and_nothing_worse),
        cmocka_unit_test(checksums_have_their_standard_values),
        cmocka_unit_test(checksums_continue_and_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
