#include "codec/ndjson.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* "number:line" or "number!" for a line that is too long, each followed by "|". */
static enum status log_line(void *context, uint64_t line_number, struct slice line, bool too_long,
                            struct error *error)
{
    (void)error;
    struct buffer *log = context;
    assert_true(!too_long || line.size == 0);
    buffer_appendf(log, "%lu%s", (unsigned long)line_number, too_long ? "!" : ":");
    buffer_append_slice(log, line);
    buffer_append_char(log, '|');
    return STATUS_OK;
}

static void split(struct slice stream, size_t line_bytes_max, size_t chunk_bytes, struct buffer *log)
{
    struct ndjson_splitter splitter;
    ndjson_splitter_init(&splitter, line_bytes_max);
    buffer_reset(log);
    for (size_t at = 0; at < stream.size; at += chunk_bytes) {
        struct slice chunk = slice_skip(stream, at);
        if (chunk.size > chunk_bytes)
            chunk.size = chunk_bytes;
        /* Of its own, so that a sanitizer sees who keeps a slice too long. */
        char *copy = malloc(chunk.size);
        assert_non_null(copy);
        memcpy(copy, chunk.data, chunk.size);
        assert_int_equal(ndjson_splitter_feed(&splitter, slice_make(copy, chunk.size), log_line, log, NULL),
                         STATUS_OK);
        free(copy);
        assert_true(splitter.partial.size <= line_bytes_max + 4);
    }
    assert_int_equal(ndjson_splitter_end(&splitter, log_line, log, NULL), STATUS_OK);
    ndjson_splitter_release(&splitter);
}

static void lines_do_not_depend_on_the_chunks(void **state)
{
    (void)state;
    enum { MAX = 8 };
    static const struct {
        struct slice stream;
        const char *lines;
    } rows[] = {
        {{"", 0}, ""},
        {SLICE_LITERAL("a\nb\n"), "1:a|2:b|"},
        {SLICE_LITERAL("a\nb"), "1:a|2:b|"},
        {SLICE_LITERAL("a\r\nb\r\n"), "1:a|2:b|"},
        {SLICE_LITERAL("a\r\nb\r"), "1:a|2:b|"},
        {SLICE_LITERAL("a\r\r\n"), "1:a\r|"},
        {SLICE_LITERAL("a\rb\n"), "1:a\rb|"},
        {SLICE_LITERAL("\n\na\n \t\r\n\r\nb\n\n"), "3:a|6:b|"},
        {SLICE_LITERAL("12345678\n"), "1:12345678|"},
        {SLICE_LITERAL("12345678\r\n"), "1:12345678|"},
        {SLICE_LITERAL("12345678"), "1:12345678|"},
        {SLICE_LITERAL("123456789\n"), "1!|"},
        {SLICE_LITERAL("123456789\r\n"), "1!|"},
        {SLICE_LITERAL("123456789"), "1!|"},
        {SLICE_LITERAL("1234567890\nb\n"), "1!|2:b|"},
        {SLICE_LITERAL("a\n1234567890123456789012345678901234567890\n\nb"), "1:a|2!|4:b|"},
        {SLICE_LITERAL("          \nb"), "1!|2:b|"},
        {SLICE_LITERAL("12345678901\n1234567890123456"), "1!|2!|"},
        {SLICE_LITERAL("\xEF\xBB\xBF"), ""},
        {SLICE_LITERAL("\xEF\xBB\xBF"
                       "a\n"),
         "1:a|"},
        {SLICE_LITERAL("\xEF\xBB\xBF\r\n\xEF\xBB\xBF"
                       "a\n"),
         "2:\xEF\xBB\xBF"
         "a|"},
        {SLICE_LITERAL("\xEF\xBB\xBF\xEF\xBB\xBF"
                       "a\n"),
         "1:\xEF\xBB\xBF"
         "a|"},
        {SLICE_LITERAL("\xEF\xBB\xBF"
                       "12345678\r\n"),
         "1:12345678|"},
        {SLICE_LITERAL("\xEF\xBB\xBF"
                       "123456789\r\n"),
         "1!|"},
        {SLICE_LITERAL("\xEF\xBB"
                       "a\n"),
         "1:\xEF\xBB"
         "a|"},
        {SLICE_LITERAL("\n\xEF\xBB\xBF"
                       "a\n"),
         "2:\xEF\xBB\xBF"
         "a|"},
        {SLICE_LITERAL("1234567890a\n\xEF\xBB\xBF"
                       "b\n"),
         "1!|2:\xEF\xBB\xBF"
         "b|"},
    };
    struct buffer log = BUFFER_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t chunk_bytes = 1; chunk_bytes <= rows[i].stream.size + 1; chunk_bytes++) {
            split(rows[i].stream, MAX, chunk_bytes, &log);
            if (strcmp(buffer_text(&log), rows[i].lines) != 0)
                fail_msg("row %zu in chunks of %zu: \"%s\", expected \"%s\"", i, chunk_bytes,
                         buffer_text(&log), rows[i].lines);
        }
    buffer_release(&log);
}

static enum status check_borrowed(void *context, uint64_t line_number, struct slice line, bool too_long,
                                  struct error *error)
{
    (void)line_number;
    (void)too_long;
    (void)error;
    const struct slice *chunk = context;
    assert_true(line.data >= chunk->data && line.data + line.size <= chunk->data + chunk->size);
    return STATUS_OK;
}

static void lines_inside_one_chunk_are_not_copied(void **state)
{
    (void)state;
    struct slice chunk = SLICE_LITERAL("first\nsecond\r\nthird\n");
    struct ndjson_splitter splitter;
    ndjson_splitter_init(&splitter, 100);
    assert_int_equal(ndjson_splitter_feed(&splitter, chunk, check_borrowed, &chunk, NULL), STATUS_OK);
    assert_int_equal(splitter.partial.capacity, 0);
    assert_int_equal(splitter.line_number, 3);
    ndjson_splitter_release(&splitter);
}

static enum status refuse_second(void *context, uint64_t line_number, struct slice line, bool too_long,
                                 struct error *error)
{
    (void)line;
    (void)too_long;
    ++*(size_t *)context;
    return line_number == 2 ? error_set(error, STATUS_CONFLICT, "line 2") : STATUS_OK;
}

static void a_handlers_failure_stops_the_splitter(void **state)
{
    (void)state;
    static const struct slice streams[] = {SLICE_LITERAL("a\nb\nc\n"), SLICE_LITERAL("a\n123456789012\nc\n"),
                                           SLICE_LITERAL("a\nb")};
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct ndjson_splitter splitter;
        struct error error = {.status = STATUS_OK};
        size_t calls = 0;
        ndjson_splitter_init(&splitter, 8);
        enum status status = ndjson_splitter_feed(&splitter, streams[i], refuse_second, &calls, &error);
        if (status == STATUS_OK)
            status = ndjson_splitter_end(&splitter, refuse_second, &calls, &error);
        assert_int_equal(status, STATUS_CONFLICT);
        assert_string_equal(error.text, "line 2");
        assert_int_equal(calls, 2);
        ndjson_splitter_release(&splitter);
    }
}

static void an_endless_line_takes_no_memory(void **state)
{
    (void)state;
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    struct buffer log = BUFFER_INIT;
    struct ndjson_splitter splitter;
    ndjson_splitter_init(&splitter, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(
            ndjson_splitter_feed(&splitter, slice_make(block, sizeof block), log_line, &log, NULL),
            STATUS_OK);
    assert_true(splitter.partial.capacity <= 4096);
    assert_int_equal(ndjson_splitter_feed(&splitter, SLICE_LITERAL("\nnext"), log_line, &log, NULL),
                     STATUS_OK);
    assert_int_equal(ndjson_splitter_end(&splitter, log_line, &log, NULL), STATUS_OK);
    assert_string_equal(buffer_text(&log), "1!|2:next|");
    ndjson_splitter_release(&splitter);
    buffer_release(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_do_not_depend_on_the_chunks),
        cmocka_unit_test(lines_inside_one_chunk_are_not_copied),
        cmocka_unit_test(a_handlers_failure_stops_the_splitter),
        cmocka_unit_test(an_endless_line_takes_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
