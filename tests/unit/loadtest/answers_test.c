/* What the load test makes of answers: manifests, files, credentials. */
#include "loadtest/credentials.h"
#include "loadtest/file_check.h"
#include "loadtest/manifest.h"
#include "loadtest/measure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char manifest_text[] =
    "{\"transactionTime\":\"2026-01-01T00:00:00Z\",\"request\":\"x\",\"requiresAccessToken\":true,"
    "\"output\":[{\"type\":\"Patient\",\"url\":\"https://h/data/1/a.ndjson\",\"count\":3,\"fileSize\":77},"
    "{\"url\":\"https://h/data/1/b.ndjson\",\"type\":\"Coverage\",\"extension\":{\"count\":9}}],"
    "\"deleted\":[{\"type\":\"Bundle\",\"url\":\"https://h/data/1/d.ndjson\",\"count\":1}],"
    "\"error\":[{\"type\":\"OperationOutcome\",\"url\":\"https://h/data/1/e.ndjson\"}],\"JobID\":1}";

static void a_manifest_is_taken_apart(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT;
    struct manifest manifest;
    assert_int_equal(manifest_parse(slice_from_text(manifest_text), &arena, &manifest, NULL), STATUS_OK);
    assert_int_equal(manifest.output_count, 2);
    assert_int_equal(manifest.error_count, 1);
    assert_string_equal(manifest.output[0].type, "Patient");
    assert_string_equal(manifest.output[0].url, "https://h/data/1/a.ndjson");
    assert_true(manifest.output[0].has_count && manifest.output[0].count == 3);
    assert_true(manifest.output[0].has_bytes && manifest.output[0].bytes == 77);
    assert_string_equal(manifest.output[1].type, "Coverage");
    assert_false(manifest.output[1].has_count);
    arena_release(&arena);
}

static void what_is_no_manifest_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "[]", "{}", "{\"output\":[{\"type\":\"Patient\"}]}", "{\"output\":[", "{\"error\":[]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena arena = ARENA_INIT;
        struct manifest manifest;
        struct error error = {0};
        if (manifest_parse(slice_from_text(bad[i]), &arena, &manifest, &error) != STATUS_INVALID)
            fail_msg("taken: %s", bad[i]);
        assert_true(error.text[0] != '\0');
        arena_release(&arena);
    }
}

#define PATIENT(id) "{\"resourceType\":\"Patient\",\"id\":\"" id "\"}\n"

static enum status check_text(const char *text, size_t piece, struct file_check *check, struct error *error)
{
    struct resource_parser *parser = resource_parser_new();
    struct slice rest = slice_from_text(text);
    enum status status = STATUS_OK;
    file_check_init(check, "Patient", parser);
    while (status == STATUS_OK && rest.size) {
        size_t size = rest.size < piece ? rest.size : piece;
        status = file_check_feed(check, slice_make(rest.data, size), error);
        rest = slice_skip(rest, size);
    }
    if (status == STATUS_OK)
        status = file_check_end(check, error);
    file_check_release(check);
    resource_parser_free(parser);
    return status;
}

static void a_file_counts_the_same_in_whatever_pieces_and_order(void **state)
{
    (void)state;
    struct file_check whole, pieces, reversed, other;
    assert_int_equal(check_text(PATIENT("a") PATIENT("b"), 1000, &whole, NULL), STATUS_OK);
    assert_int_equal(whole.lines, 2);
    for (size_t piece = 1; piece < 40; piece += 3) {
        assert_int_equal(check_text(PATIENT("a") PATIENT("b"), piece, &pieces, NULL), STATUS_OK);
        assert_true(pieces.sum == whole.sum && pieces.lines == 2 && pieces.bytes == whole.bytes);
    }
    assert_int_equal(check_text(PATIENT("b") PATIENT("a"), 7, &reversed, NULL), STATUS_OK);
    assert_true(reversed.sum == whole.sum);
    assert_int_equal(check_text(PATIENT("a") PATIENT("c"), 7, &other, NULL), STATUS_OK);
    assert_true(other.sum != whole.sum);
}

static void a_wrong_line_is_named_by_its_number(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {PATIENT("a") "no json\n", "line 2"},
        {PATIENT("a") "{\"half\":\n", "line 2"},
        {"{\"resourceType\":\"Coverage\",\"id\":\"c\",\"beneficiary\":{\"reference\":\"Patient/a\"}}\n",
         "line 1"},
        {"{ \"resourceType\":\"Patient\",\"id\":\"a\"}\n", "line 1"},
        {"{\"resourceType\":\"Patient\",\"id\":\"a\"}", "last line"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file_check check;
        struct error error = {0};
        if (check_text(cases[i].text, 11, &check, &error) != STATUS_INVALID ||
            !strstr(error.text, cases[i].expected))
            fail_msg("%s: %s", cases[i].text, error.text);
    }
}

static enum status read_text(const char *text, struct arena *arena, struct credential **ret_list,
                             size_t *ret_count, struct error *error)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/credentials-XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    enum status status = credentials_read(path, arena, ret_list, ret_count, error);
    unlink(path);
    return status;
}

static void credentials_come_in_threes(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT;
    struct credential *list;
    size_t count;
    assert_int_equal(
        read_text("\nA9990\nid-1\nsecret-1\n\n\nA9991\r\nid-2\r\nsecret-2", &arena, &list, &count, NULL),
        STATUS_OK);
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "A9990");
    assert_string_equal(list[1].client_id, "id-2");
    assert_string_equal(list[1].secret, "secret-2");
    arena_release(&arena);
}

static void incomplete_credentials_are_refused_without_showing_a_secret(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "A9990\nid\n", "A9990\nid\n\n", "A9990\nid:x\nhush\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena arena = ARENA_INIT;
        struct credential *list;
        size_t count;
        struct error error = {0};
        if (read_text(bad[i], &arena, &list, &count, &error) != STATUS_INVALID)
            fail_msg("taken: %s", bad[i]);
        assert_null(strstr(error.text, "hush"));
        arena_release(&arena);
    }
}

static void a_measure_counts_from_the_intended_time(void **state)
{
    (void)state;
    struct measure measure;
    measure_init(&measure, 1000000);
    measure_done(&measure, MEASURE_STATUS, 2000000, 2500000, 10);
    measure_done(&measure, MEASURE_STATUS, 2000000, 3500000, 20);
    measure_failed(&measure, MEASURE_STATUS, MEASURE_FAILURE_429, 3600000);
    measure_failed(&measure, MEASURE_STATUS, MEASURE_FAILURE_SKIPPED, 3600000);
    measure_wrong(&measure, MEASURE_EXPORT, 3700000, "first %d", 1);
    measure_wrong(&measure, MEASURE_EXPORT, 3700000, "second");
    const struct measure_of_kind *status = &measure.of[MEASURE_STATUS];
    assert_int_equal(status->durations.count, 2);
    assert_int_equal(status->durations.max_us, 1500000);
    assert_int_equal(status->bytes, 30);
    assert_int_equal(status->seconds[1].done, 1);
    assert_int_equal(status->seconds[2].done, 1);
    assert_int_equal(status->seconds[2].failed, 2);
    assert_true(measure_second_p99(&status->seconds[1]) >= 500000 - 1);
    assert_true(measure_second_p99(&status->seconds[1]) <= 500000);
    assert_int_equal(measure_failures(status), 1); /* what was not sent is no failure of the server */
    assert_int_equal(measure_failures_of_all(&measure), 3);
    assert_string_equal(measure.first_wrong, "first 1");
    measure_release(&measure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_is_taken_apart),
        cmocka_unit_test(what_is_no_manifest_is_refused),
        cmocka_unit_test(a_file_counts_the_same_in_whatever_pieces_and_order),
        cmocka_unit_test(a_wrong_line_is_named_by_its_number),
        cmocka_unit_test(credentials_come_in_threes),
        cmocka_unit_test(incomplete_credentials_are_refused_without_showing_a_secret),
        cmocka_unit_test(a_measure_counts_from_the_intended_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
