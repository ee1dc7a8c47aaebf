#include "server/http_body.h"

#include "codec/base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define BYTES_MAX 64

/* "body" and what is left of the input behind it: "abc|next", or why there is none. */
static void read_in_pieces(const struct http_head *head, struct slice input, size_t piece_bytes,
                           struct buffer *target)
{
    struct http_body body;
    struct buffer carried = BUFFER_INIT;
    http_body_init(&body, head, BYTES_MAX);
    size_t used;
    enum http_body_result result = http_body_read(&body, slice_make(NULL, 0), &used, &carried);
    assert_int_equal(used, 0);
    size_t at = 0;
    while (result == HTTP_BODY_INCOMPLETE && at < input.size) {
        size_t size = input.size - at < piece_bytes ? input.size - at : piece_bytes;
        /* Of its own, so that a sanitizer sees a read past its end. */
        char *piece = malloc(size);
        assert_non_null(piece);
        memcpy(piece, input.data + at, size);
        result = http_body_read(&body, slice_make(piece, size), &used, &carried);
        free(piece);
        assert_true(used <= size && (used == size || result != HTTP_BODY_INCOMPLETE));
        at += used;
        assert_true(carried.size <= BYTES_MAX);
    }
    buffer_reset(target);
    switch (result) {
    case HTTP_BODY_COMPLETE:
        buffer_append_slice(target, buffer_slice(&carried));
        buffer_append_char(target, '|');
        buffer_append_slice(target, slice_skip(input, at));
        break;
    case HTTP_BODY_INCOMPLETE:
        buffer_append_text(target, "incomplete");
        break;
    case HTTP_BODY_MALFORMED:
        buffer_append_text(target, "malformed");
        break;
    case HTTP_BODY_TOO_LARGE:
        buffer_append_text(target, "too large");
        break;
    }
    buffer_release(&carried);
}

static void expect(const struct http_head *head, struct slice input, const char *expected)
{
    struct buffer got = BUFFER_INIT;
    for (size_t piece_bytes = 1; piece_bytes <= input.size + 1; piece_bytes++) {
        read_in_pieces(head, input, piece_bytes, &got);
        assert_string_equal(buffer_text(&got), expected);
    }
    buffer_release(&got);
}

#define EIGHT "12345678"

static void chunks_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        struct slice input;
        const char *expected;
    } rows[] = {
        {SLICE_LITERAL("0\r\n\r\n"), "|"},
        {SLICE_LITERAL("0\r\n\r\nGET /"), "|GET /"},
        {SLICE_LITERAL("3\r\nabc\r\n0\r\n\r\n"), "abc|"},
        {SLICE_LITERAL("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nnext"), "abcde|next"},
        {SLICE_LITERAL("a\r\n0123456789\r\n000\r\n\r\n"), "0123456789|"},
        {SLICE_LITERAL("0000A\r\n0123456789\r\n0\r\n\r\n"), "0123456789|"},
        {SLICE_LITERAL("2\r\n\r\n\r\n0\r\n\r\n"), "\r\n|"},
        {SLICE_LITERAL("1;a=b\r\nx\r\n0;\"c d\"\r\n\r\n"), "x|"},
        {SLICE_LITERAL("40\r\n" EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT "\r\n0\r\n\r\n"),
         EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT "|"},

        {SLICE_LITERAL(""), "incomplete"},
        {SLICE_LITERAL("3"), "incomplete"},
        {SLICE_LITERAL("3\r\nab"), "incomplete"},
        {SLICE_LITERAL("3\r\nabc\r\n"), "incomplete"},
        {SLICE_LITERAL("0\r\n"), "incomplete"},
        {SLICE_LITERAL("0\r\n\r"), "incomplete"},

        {SLICE_LITERAL("\r\n"), "malformed"},
        {SLICE_LITERAL(";a\r\n"), "malformed"},
        {SLICE_LITERAL("g\r\n"), "malformed"},
        {SLICE_LITERAL("0x3\r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("+3\r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("-3\r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL(" 3\r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("3 \r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("3 ;a\r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("3\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("3\r\rabc\r\n"), "malformed"},
        {SLICE_LITERAL("3\rabc\r\n"), "malformed"},
        /* An LF in an extension: one reader sees a chunk where the other sees its extension. */
        {SLICE_LITERAL("3;\nabc\r\n0\r\n\r\n"), "malformed"},
        {SLICE_LITERAL("3;a\x00\r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("3;a\rb\r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("3;\xff\r\nabc\r\n"), "malformed"},
        {SLICE_LITERAL("3\r\nabcd\r\n"), "malformed"},
        {SLICE_LITERAL("3\r\nabc\n0\r\n\r\n"), "malformed"},
        {SLICE_LITERAL("3\r\nabc\r0\r\n\r\n"), "malformed"},
        {SLICE_LITERAL("3\r\nabc0\r\n\r\n"), "malformed"},
        {SLICE_LITERAL("0\r\n\n"), "malformed"},
        {SLICE_LITERAL("0\r\n\rx"), "malformed"},
        {SLICE_LITERAL("0\r\nTrailer: x\r\n\r\n"), "malformed"},
        {SLICE_LITERAL("00000000000000000\r\n"), "malformed"}, /* 17 digits */
        {SLICE_LITERAL("10000000000000003\r\nabc\r\n"), "malformed"},

        {SLICE_LITERAL("41\r\n"), "too large"},
        {SLICE_LITERAL("ffffffffffffffff\r\n"), "too large"},
        {SLICE_LITERAL("8\r\n" EIGHT "\r\n39\r\n"), "too large"},
    };
    const struct http_head head = {.is_chunked = true};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(&head, rows[i].input, rows[i].expected);
}

static void extensions_are_bounded_in_all(void **state)
{
    (void)state;
    const struct http_head head = {.is_chunked = true};
    for (size_t extra = 0; extra < 2; extra++) {
        struct buffer input = BUFFER_INIT, got = BUFFER_INIT;
        for (size_t i = 0; i < 4; i++) {
            size_t size = HTTP_CHUNK_EXTENSION_BYTES_MAX / 4 + (i == 3 ? extra : 0);
            buffer_append_text(&input, "1;");
            memset(buffer_extend(&input, size), 'e', size);
            buffer_append_text(&input, "\r\nx\r\n");
        }
        buffer_append_text(&input, "0\r\n\r\n");
        read_in_pieces(&head, buffer_slice(&input), 100, &got);
        assert_string_equal(buffer_text(&got), extra ? "malformed" : "xxxx|");
        buffer_release(&input);
        buffer_release(&got);
    }
}

static void a_body_of_known_length_ends_exactly_there(void **state)
{
    (void)state;
    struct http_head head = {.has_content_length = true, .content_length = 3};
    expect(&head, SLICE_LITERAL("abcdef"), "abc|def");
    expect(&head, SLICE_LITERAL("abc"), "abc|");
    expect(&head, SLICE_LITERAL("ab"), "incomplete");
    head.content_length = 0;
    expect(&head, SLICE_LITERAL("abc"), "|abc");
    head.content_length = BYTES_MAX + 1;
    expect(&head, SLICE_LITERAL("abc"), "too large");
    head.content_length = UINT64_MAX;
    expect(&head, SLICE_LITERAL("abc"), "too large");
}

static void a_request_that_announces_no_body_has_none(void **state)
{
    (void)state;
    const struct http_head head = {.method = HTTP_METHOD_POST};
    expect(&head, SLICE_LITERAL("GET /"), "|GET /");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_read_strictly),
        cmocka_unit_test(extensions_are_bounded_in_all),
        cmocka_unit_test(a_body_of_known_length_ends_exactly_there),
        cmocka_unit_test(a_request_that_announces_no_body_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
