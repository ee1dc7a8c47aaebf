#include "server/log.h"

#include "codec/json_reader.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* What was written to standard error since capture_begin. */
static char captured[16384];
static int saved_stderr = -1, pipe_out = -1;

static void capture_begin(void)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    pipe_out = ends[0];
}

static size_t capture_end(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t size = read(pipe_out, captured, sizeof captured - 1);
    close(pipe_out);
    size = size < 0 ? 0 : size;
    captured[size] = '\0';
    return (size_t)size;
}

static struct json_reader *reader;

static void assert_value(const char *path, const char *expected)
{
    struct buffer value = BUFFER_INIT;
    struct error error;
    struct slice document = {captured, strlen(captured)};
    if (json_find(reader, document, path, &value, &error) != STATUS_OK)
        fail_msg("%s in %s: %s", path, captured, error.text);
    assert_string_equal(buffer_text(&value), expected);
    buffer_release(&value);
}

static void an_event_is_one_line_of_json(void **state)
{
    (void)state;
    capture_begin();
    struct log_line line = log_begin(LOG_LEVEL_WARNING, "import");
    log_text(&line, "file", "a.ndjson");
    log_number(&line, "count", -42);
    log_string(&line, "peer", SLICE_LITERAL("::1"));
    log_end(&line);
    size_t size = capture_end();
    assert_int_equal(strcspn(captured, "\n"), size - 1);
    assert_value("level", "warning");
    assert_value("event", "import");
    assert_value("file", "a.ndjson");
    assert_value("count", "-42");
    assert_value("peer", "::1");
    /* 2026-01-02T03:04:05.678901Z */
    assert_memory_equal(captured, "{\"time\":\"20", 11);
    assert_memory_equal(captured + 9 + 26, "Z\"", 2);
}

static void an_event_with_a_text_is_formatted(void **state)
{
    (void)state;
    capture_begin();
    log_event(LOG_LEVEL_ERROR, "start", "port %d of \"%s\"", 8443, "host");
    capture_end();
    assert_value("text", "port 8443 of \"host\"");
}

static void no_value_can_end_the_line_or_its_string(void **state)
{
    (void)state;
    capture_begin();
    struct log_line line = log_begin(LOG_LEVEL_INFO, "request");
    log_string(&line, "peer", SLICE_LITERAL("a\"b\\c\nd\re\tf\x01\x7f\",\"x\":\"\xC3\xA9"));
    log_end(&line);
    size_t size = capture_end();
    assert_int_equal(strcspn(captured, "\n"), size - 1);
    assert_value("peer", "a\"b\\c\nd\re\tf\x01\x7f\",\"x\":\"\xC3\xA9");
}

static void bytes_that_are_no_utf8_are_replaced(void **state)
{
    (void)state;
    capture_begin();
    struct log_line line = log_begin(LOG_LEVEL_INFO, "request");
    log_string(&line, "peer", SLICE_LITERAL("a\xFF\xC3z\xED\xA0\x80"));
    log_end(&line);
    capture_end();
    assert_value("peer", "a\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

static void a_long_value_is_cut(void **state)
{
    (void)state;
    static char longest[100000];
    memset(longest, 'x', sizeof longest);
    capture_begin();
    struct log_line line = log_begin(LOG_LEVEL_INFO, "request");
    log_string(&line, "peer", slice_make(longest, sizeof longest));
    log_end(&line);
    log_event(LOG_LEVEL_INFO, "second", "%.*s", (int)sizeof longest, longest);
    size_t size = capture_end();
    assert_in_range(size, 2 * LOG_STRING_BYTES_MAX, 2 * LOG_STRING_BYTES_MAX + 300);
    captured[strcspn(captured, "\n")] = '\0';
    longest[LOG_STRING_BYTES_MAX] = '\0';
    memcpy(longest + LOG_STRING_BYTES_MAX, "...", 4);
    assert_value("peer", longest);
}

static void what_is_below_the_level_is_not_written(void **state)
{
    (void)state;
    capture_begin();
    log_event(LOG_LEVEL_DEBUG, "quiet", "%d", 1);
    log_set_level(LOG_LEVEL_ERROR);
    struct log_line line = log_begin(LOG_LEVEL_WARNING, "quiet");
    log_text(&line, "a", "b");
    log_number(&line, "c", 1);
    log_end(&line);
    log_set_level(LOG_LEVEL_DEBUG);
    log_event(LOG_LEVEL_DEBUG, "loud", "%d", 1);
    log_set_level(LOG_LEVEL_INFO);
    capture_end();
    assert_value("event", "loud");
    assert_null(strstr(captured, "quiet"));
}

static void levels_are_parsed_by_name(void **state)
{
    (void)state;
    enum log_level level = LOG_LEVEL_DEBUG;
    assert_true(log_level_parse("warning", &level));
    assert_int_equal(level, LOG_LEVEL_WARNING);
    assert_false(log_level_parse("Warning", &level));
    assert_false(log_level_parse("", &level));
    assert_int_equal(level, LOG_LEVEL_WARNING);
}

static int set_up(void **state)
{
    (void)state;
    reader = json_reader_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_reader_free(reader);
    return 0;
}

static void a_reader_that_stalls_holds_nobody_up(void **state)
{
    (void)state;
    static char bytes[1 << 20];
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0); /* its writer would block */
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    alarm(20);
    for (size_t i = 0; i < 10000; i++)
        log_event(LOG_LEVEL_INFO, "flood", "%01000d", 0);
    alarm(0);
    ssize_t size = read(ends[0], bytes, sizeof bytes);
    log_event(LOG_LEVEL_INFO, "after", "again");
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    assert_true(size > 0);
    unsigned long long written = 0;
    for (ssize_t i = 0; i < size; i++)
        written += bytes[i] == '\n';
    assert_int_equal(bytes[size - 1], '\n'); /* whole lines */

    size = read(ends[0], captured, sizeof captured - 1);
    close(ends[0]);
    assert_true(size > 0);
    captured[size] = '\0';
    char count[32];
    snprintf(count, sizeof count, "%llu", 10000 - written);
    captured[strcspn(captured, "\n")] = '\0';
    assert_value("event", "log_lines_lost");
    assert_value("count", count);
    assert_non_null(strstr(captured + strlen(captured) + 1, "\"event\":\"after\""));
}

static void count_begun(void *context)
{
    ++*(int *)context;
}

static size_t lines_captured(void)
{
    size_t lines = 0;
    for (const char *at = captured; *at; at++)
        lines += *at == '\n';
    return lines;
}

static void a_thread_that_gathers_writes_its_lines_at_once(void **state)
{
    (void)state;
    int begun = 0;
    log_gather(count_begun, &begun);
    capture_begin();
    log_event(LOG_LEVEL_INFO, "first", "x");
    log_event(LOG_LEVEL_INFO, "second", "x");
    assert_int_equal(read(pipe_out, captured, sizeof captured), -1); /* nothing yet */
    assert_int_equal(begun, 1);
    log_flush();
    log_flush(); /* nothing more */
    log_event(LOG_LEVEL_INFO, "third", "x");
    assert_int_equal(begun, 2);
    log_gather_end();
    log_event(LOG_LEVEL_INFO, "fourth", "x");
    assert_int_equal(begun, 2);
    capture_end();
    assert_int_equal(lines_captured(), 4);
    const char *at = captured;
    for (int i = 0; i < 4; i++) {
        at = strstr(at, ((const char *[]){"\"first\"", "\"second\"", "\"third\"", "\"fourth\""})[i]);
        assert_non_null(at);
    }
}

static void a_warning_waits_for_nothing_and_comes_after_what_was_gathered(void **state)
{
    (void)state;
    int begun = 0;
    log_gather(count_begun, &begun);
    capture_begin();
    log_event(LOG_LEVEL_INFO, "gathered", "x");
    log_event(LOG_LEVEL_WARNING, "alarm", "x");
    capture_end();
    log_gather_end();
    assert_int_equal(lines_captured(), 2);
    assert_true(strstr(captured, "\"gathered\"") < strstr(captured, "\"alarm\""));
}

static void what_is_gathered_is_bounded_and_nothing_is_lost_of_it(void **state)
{
    (void)state;
    char text[200];
    int begun = 0;
    memset(text, 'x', sizeof text);
    capture_begin();
    log_gather(count_begun, &begun);
    for (int i = 0; i < 40; i++)
        log_event(LOG_LEVEL_INFO, "many", "%.*s", (int)sizeof text, text);
    ssize_t early = read(pipe_out, captured, sizeof captured);
    assert_in_range(early, 2 * PIPE_BUF - 1000, 3 * PIPE_BUF);
    size_t lines = 0;
    for (ssize_t i = 0; i < early; i++)
        lines += captured[i] == '\n';
    log_gather_end();
    capture_end();
    assert_int_equal(lines + lines_captured(), 40);
}

static void a_file_takes_more_lines_at_once_than_a_pipe(void **state)
{
    (void)state;
    char text[1000];
    int begun = 0;
    struct stat before, after;
    FILE *file = tmpfile();
    assert_non_null(file);
    int terminal = dup(STDERR_FILENO);
    assert_true(terminal >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    memset(text, 'x', sizeof text);
    log_gather(count_begun, &begun);
    for (int i = 0; i < 20; i++)
        log_event(LOG_LEVEL_INFO, "many", "%.*s", (int)sizeof text, text);
    assert_int_equal(fstat(fileno(file), &before), 0);
    for (int i = 0; i < 20; i++)
        log_event(LOG_LEVEL_INFO, "many", "%.*s", (int)sizeof text, text);
    log_gather_end();
    dup2(terminal, STDERR_FILENO);
    close(terminal);
    assert_int_equal(fstat(fileno(file), &after), 0);
    fclose(file);
    assert_int_equal(before.st_size, 0);
    assert_in_range(after.st_size, 40 * 1000, 40 * 1200);
    assert_int_equal(begun, 2);
}

/* A disk that is full takes a part of a line. The next line stands on a line of its own, behind a count. */
static void a_line_that_was_cut_is_ended_and_counted(void **state)
{
    (void)state;
    struct rlimit before, full;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    full = (struct rlimit){.rlim_cur = 40, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    int terminal = dup(STDERR_FILENO);
    assert_true(terminal >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    int limited = setrlimit(RLIMIT_FSIZE, &full);
    log_event(LOG_LEVEL_WARNING, "cut", "x");
    setrlimit(RLIMIT_FSIZE, &before);
    log_event(LOG_LEVEL_WARNING, "whole", "x");
    dup2(terminal, STDERR_FILENO);
    close(terminal);
    signal(SIGXFSZ, handler);
    assert_int_equal(limited, 0);
    ssize_t size = pread(fileno(file), captured, sizeof captured - 1, 0);
    fclose(file);
    assert_true(size > 40);
    captured[size] = '\0';
    assert_int_equal(lines_captured(), 3);
    assert_int_equal(strcspn(captured, "\n"), 40);
    const char *lost = strchr(captured, '\n') + 1, *whole = strchr(lost, '\n') + 1;
    assert_non_null(strstr(lost, "\"event\":\"log_lines_lost\",\"count\":1}\n"));
    assert_non_null(strstr(whole, "\"event\":\"whole\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_one_line_of_json),
        cmocka_unit_test(an_event_with_a_text_is_formatted),
        cmocka_unit_test(no_value_can_end_the_line_or_its_string),
        cmocka_unit_test(bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(a_long_value_is_cut),
        cmocka_unit_test(what_is_below_the_level_is_not_written),
        cmocka_unit_test(levels_are_parsed_by_name),
        cmocka_unit_test(a_reader_that_stalls_holds_nobody_up),
        cmocka_unit_test(a_thread_that_gathers_writes_its_lines_at_once),
        cmocka_unit_test(a_warning_waits_for_nothing_and_comes_after_what_was_gathered),
        cmocka_unit_test(what_is_gathered_is_bounded_and_nothing_is_lost_of_it),
        cmocka_unit_test(a_file_takes_more_lines_at_once_than_a_pipe),
        cmocka_unit_test(a_line_that_was_cut_is_ended_and_counted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
