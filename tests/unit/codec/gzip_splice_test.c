#include "codec/gzip_splice.h"

#include "codec/base/bytes.h"
#include "codec/deflate.h"
#include "tests/support/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <zlib.h>

static uint64_t seed;

struct file {
    struct gzip_splice splice;
    struct buffer bytes;
    struct buffer raw;
};

static void file_begin(struct file *file)
{
    *file = (struct file){0};
    gzip_splice_begin(&file->splice, buffer_extend(&file->bytes, GZIP_HEADER_SIZE));
}

static void file_add(struct file *file, struct deflater *deflater, struct slice raw)
{
    size_t begin = file->bytes.size;
    deflater_piece(deflater, raw, &file->bytes);
    gzip_splice_piece(&file->splice, file->bytes.size - begin, raw.size, crc32_of(0, raw),
                      crc32_operator(raw.size));
    buffer_append_slice(&file->raw, raw);
}

static void file_end(struct file *file)
{
    gzip_splice_end(&file->splice, buffer_extend(&file->bytes, GZIP_TRAILER_SIZE));
}

static void file_release(struct file *file)
{
    buffer_release(&file->bytes);
    buffer_release(&file->raw);
}

/* One member, all of the bytes, and they are `raw`. */
static void file_must_be_one_member(const struct file *file)
{
    struct buffer back = BUFFER_INIT;
    z_stream stream = {0};
    assert_int_equal(inflateInit2(&stream, 31), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)file->bytes.data;
    stream.avail_in = (uInt)file->bytes.size;
    stream.next_out = (Bytef *)buffer_reserve(&back, file->raw.size + 1);
    stream.avail_out = (uInt)file->raw.size + 1;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, file->raw.size);
    assert_memory_equal(back.data, file->raw.data ? file->raw.data : "", file->raw.size);
    inflateEnd(&stream);
    buffer_release(&back);
    assert_int_equal(file->splice.gzip_bytes, file->bytes.size);
    assert_int_equal(file->splice.raw_bytes, file->raw.size);
}

static void gzip_must_accept(const struct file *file)
{
    FILE *gzip = popen("gzip -t", "w");
    assert_non_null(gzip);
    assert_int_equal(fwrite(file->bytes.data, 1, file->bytes.size, gzip), file->bytes.size);
    assert_int_equal(pclose(gzip), 0);
}

static void spliced_pieces_are_one_gzip_member(void **unused)
{
    (void)unused;
    uint64_t state = seed;
    struct deflater *deflaters[] = {deflater_new(DEFLATE_LEVEL_GOOD), deflater_new(DEFLATE_LEVEL_BEST)};
    struct buffer raw = BUFFER_INIT;
    for (int round = 0; round < 30; round++) {
        struct file file;
        file_begin(&file);
        size_t pieces = claims_below(&state, 40);
        for (size_t i = 0; i < pieces; i++) {
            buffer_reset(&raw);
            size_t lines = claims_below(&state, 100);
            for (size_t line = 0; line < lines; line++)
                buffer_appendf(&raw, "{\"id\":\"%u\",\"resourceType\":\"Coverage\"}\n",
                               (unsigned)claims_below(&state, 1000000));
            file_add(&file, deflaters[claims_below(&state, 2)], buffer_slice(&raw));
        }
        file_end(&file);
        file_must_be_one_member(&file);
        gzip_must_accept(&file);
        file_release(&file);
    }
    buffer_release(&raw);
    deflater_free(deflaters[0]);
    deflater_free(deflaters[1]);
}

static void file_without_pieces_is_valid_and_empty(void **unused)
{
    (void)unused;
    struct file file;
    file_begin(&file);
    file_end(&file);
    assert_int_equal(file.bytes.size, GZIP_HEADER_SIZE + GZIP_TRAILER_SIZE);
    file_must_be_one_member(&file);
    gzip_must_accept(&file);
    file_release(&file);
}

static void header_tells_neither_time_nor_name(void **unused)
{
    (void)unused;
    struct gzip_splice splice;
    char header[GZIP_HEADER_SIZE];
    gzip_splice_begin(&splice, header);
    assert_memory_equal(header, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", GZIP_HEADER_SIZE);
}

static void length_wraps_at_4_gib_and_crc_does_not_care(void **unused)
{
    (void)unused;
    struct gzip_splice splice;
    char header[GZIP_HEADER_SIZE];
    char trailer[GZIP_TRAILER_SIZE];
    uint32_t crc = 0;
    gzip_splice_begin(&splice, header);
    for (uint32_t i = 0; i < 5; i++) { /* 5 GiB by accounting only */
        gzip_splice_piece(&splice, 1000, 1 << 30, 0x01020304 * i, crc32_operator(1 << 30));
        crc = (uint32_t)crc32_combine(crc, 0x01020304 * i, 1 << 30);
    }
    gzip_splice_end(&splice, trailer);
    assert_int_equal(splice.raw_bytes, UINT64_C(5) << 30);
    assert_int_equal(splice.gzip_bytes, GZIP_HEADER_SIZE + 5000 + GZIP_TRAILER_SIZE);
    assert_memory_equal(trailer, DEFLATE_END, DEFLATE_END_SIZE);
    assert_int_equal(load_u32_le(trailer + 2), crc);
    assert_int_equal(load_u32_le(trailer + 6), 1 << 30);
}

int main(void)
{
    seed = claims_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spliced_pieces_are_one_gzip_member),
        cmocka_unit_test(file_without_pieces_is_valid_and_empty),
        cmocka_unit_test(header_tells_neither_time_nor_name),
        cmocka_unit_test(length_wraps_at_4_gib_and_crc_does_not_care),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
