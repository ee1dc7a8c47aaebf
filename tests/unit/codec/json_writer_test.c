#include "codec/json_writer.h"

#include "tests/support/json_events.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void documents_are_minified_and_keep_the_order(void **state)
{
    (void)state;
    struct buffer target = BUFFER_INIT;
    buffer_append_text(&target, "before ");
    struct json_writer *writer = json_writer_new(&target);
    json_object_begin(writer);
    json_member_text(writer, "z", "text");
    json_member_string(writer, "a", SLICE_LITERAL("slice\0with NUL"));
    json_member_number(writer, "min", INT64_MIN);
    json_member_number(writer, "max", INT64_MAX);
    json_member_bool(writer, "yes", true);
    json_member_bool(writer, "no", false);
    json_key(writer, "list");
    json_array_begin(writer);
    json_null(writer);
    json_number_text(writer, SLICE_LITERAL("0.10e+5"));
    json_number(writer, 0);
    json_array_begin(writer);
    json_array_end(writer);
    json_object_begin(writer);
    json_object_end(writer);
    json_string(writer, slice_make(NULL, 0));
    json_array_end(writer);
    json_object_end(writer);
    json_writer_finish(writer);
    assert_string_equal(buffer_text(&target),
                        "before {\"z\":\"text\",\"a\":\"slice\\u0000with NUL\",\"min\":-9223372036854775808,"
                        "\"max\":9223372036854775807,\"yes\":true,\"no\":false,"
                        "\"list\":[null,0.10e+5,0,[],{},\"\"]}");
    json_writer_free(writer);
    buffer_release(&target);
}

static void a_writer_writes_one_document_after_another(void **state)
{
    (void)state;
    struct buffer target = BUFFER_INIT;
    struct json_writer *writer = json_writer_new(&target);
    for (int i = 0; i < 3; i++) {
        json_array_begin(writer);
        json_number(writer, i);
        json_array_end(writer);
        json_writer_finish(writer);
        buffer_append_char(&target, '\n');
    }
    json_text(writer, "end");
    json_writer_finish(writer);
    assert_string_equal(buffer_text(&target), "[0]\n[1]\n[2]\n\"end\"");
    json_writer_free(writer);
    buffer_release(&target);
    json_writer_free(NULL);
}

static void strings_escape_what_they_must_and_nothing_else(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"a/b <c> & 'd'", "\"a/b <c> & 'd'\""},
        {"\"\\", "\"\\\"\\\\\""},
        {"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1F\x7F", "\"\\u0001\\u001F\x7F\""},
        {"\xE2\x82\xAC\xF0\x9F\x98\x80", "\"\xE2\x82\xAC\xF0\x9F\x98\x80\""},
    };
    struct buffer target = BUFFER_INIT;
    struct json_writer *writer = json_writer_new(&target);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer_reset(&target);
        json_text(writer, rows[i][0]);
        json_writer_finish(writer);
        assert_string_equal(buffer_text(&target), rows[i][1]);
    }
    json_writer_free(writer);
    buffer_release(&target);
}

static void every_character_comes_back_from_the_reader(void **state)
{
    (void)state;
    char text[128 + 8];
    for (int i = 0; i < 128; i++)
        text[i] = (char)i;
    memcpy(text + 128, "\xC2\x80\xEF\xBF\xBF\xF4\x8F", 7);
    struct slice all = {text, 128 + 5};
    struct buffer target = BUFFER_INIT, back = BUFFER_INIT;
    struct json_writer *writer = json_writer_new(&target);
    json_object_begin(writer);
    json_member_string(writer, "x", all);
    json_object_end(writer);
    json_writer_finish(writer);
    struct json_reader *reader = json_reader_new();
    assert_int_equal(json_find(reader, buffer_slice(&target), "x", &back, NULL), STATUS_OK);
    assert_int_equal(back.size, all.size);
    assert_memory_equal(back.data, all.data, all.size);
    assert_true(json_is_minified(buffer_slice(&target)));
    json_reader_free(reader);
    json_writer_free(writer);
    buffer_release(&target);
    buffer_release(&back);
}

static void write_bad_utf8(struct json_writer *writer)
{
    json_text(writer, "\xED\xA0\x80");
}

static void finish_open_object(struct json_writer *writer)
{
    json_object_begin(writer);
    json_writer_finish(writer);
}

static void finish_nothing(struct json_writer *writer)
{
    json_writer_finish(writer);
}

static void write_value_as_key(struct json_writer *writer)
{
    json_object_begin(writer);
    json_number(writer, 1);
}

static void write_two_values(struct json_writer *writer)
{
    json_null(writer);
    json_null(writer);
}

static void end_what_is_not_open(struct json_writer *writer)
{
    json_array_end(writer);
}

static void end_array_as_object(struct json_writer *writer)
{
    json_array_begin(writer);
    json_object_end(writer);
}

static void end_object_behind_key(struct json_writer *writer)
{
    json_object_begin(writer);
    json_key(writer, "a");
    json_object_end(writer);
}

static void write_key_in_array(struct json_writer *writer)
{
    json_array_begin(writer);
    json_key(writer, "a");
}

static void write_string_as_key(struct json_writer *writer)
{
    json_object_begin(writer);
    json_text(writer, "a");
}

static void nest_too_deeply(struct json_writer *writer)
{
    for (int i = 0; i < 65; i++)
        json_array_begin(writer);
}

static void misuse_trips_a_check(void **state)
{
    (void)state;
    static void (*const misuses[])(struct json_writer *) = {
        write_bad_utf8,     finish_open_object,   finish_nothing,      write_value_as_key,
        write_two_values,   end_what_is_not_open, end_array_as_object, end_object_behind_key,
        write_key_in_array, write_string_as_key,  nest_too_deeply,
    };
    for (size_t i = 0; i < sizeof misuses / sizeof *misuses; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            fclose(stderr);
            struct buffer target = BUFFER_INIT;
            misuses[i](json_writer_new(&target));
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
            fail_msg("misuse %zu ended with status %#x", i, (unsigned)status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_minified_and_keep_the_order),
        cmocka_unit_test(a_writer_writes_one_document_after_another),
        cmocka_unit_test(strings_escape_what_they_must_and_nothing_else),
        cmocka_unit_test(every_character_comes_back_from_the_reader),
        cmocka_unit_test(misuse_trips_a_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
