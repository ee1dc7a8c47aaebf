#include "storage/import_source.h"

#include "codec/resource.h"
#include "tests/support/store_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

static char root[STORE_FIXTURE_PATH_MAX];

static int setup(void **state)
{
    (void)state;
    store_fixture_dir_make(root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_fixture_dir_remove(root);
    return 0;
}

static const char *path_of(const char *name)
{
    static char paths[8][STORE_FIXTURE_PATH_MAX + 64];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static const char *write_file(const char *name, struct slice contents, bool compressed)
{
    const char *path = path_of(name);
    gzFile file = gzopen(path, compressed ? "wb" : "wbT");
    assert_non_null(file);
    if (contents.size)
        assert_int_equal(gzwrite(file, contents.data, (unsigned)contents.size), contents.size);
    assert_int_equal(gzclose(file), Z_OK);
    return path;
}

/* "number text|" of every line; the last status. */
static enum status read_all(const char *path, struct buffer *text, struct error *error)
{
    struct import_source *source;
    enum status status = import_source_open(path, &source, error);
    uint64_t before = 0;
    while (status == STATUS_OK) {
        struct import_block block = {.text = BUFFER_INIT};
        status = import_source_next(source, &block, error);
        for (size_t i = 0; i < import_block_count(&block); i++) {
            const struct import_line *line = import_block_line(&block, i);
            buffer_appendf(text, "%" PRIu64 " ", line->number);
            buffer_append_slice(text, line->too_long ? SLICE_LITERAL("(long)") : line->text);
            buffer_append_char(text, '|');
        }
        import_block_release(&block);
        uint64_t position = import_source_position(source);
        assert_true(position >= before);
        before = position;
    }
    import_source_close(source);
    return status;
}

static void expect_lines(const char *path, const char *expected)
{
    struct buffer text = BUFFER_INIT;
    struct error error = {0};
    assert_int_equal(read_all(path, &text, &error), STATUS_NOT_FOUND);
    assert_string_equal(buffer_text(&text), expected);
    buffer_release(&text);
}

static void lines_have_their_numbers(void **state)
{
    (void)state;
    static const struct slice contents = {"a\n\nb\r\n  \nc", 10};
    expect_lines(write_file("plain", contents, false), "1 a|3 b|5 c|");
    expect_lines(write_file("gzip", contents, true), "1 a|3 b|5 c|");
    expect_lines(write_file("empty", SLICE_LITERAL(""), false), "");
    expect_lines(write_file("empty.gz", SLICE_LITERAL(""), true), "");
    expect_lines(write_file("blank", SLICE_LITERAL("\n\n"), false), "");
    expect_lines(write_file("bom", SLICE_LITERAL("\xef\xbb\xbf{}\n"), false), "1 {}|");
}

static void what_is_read_does_not_depend_on_where_blocks_end(void **state)
{
    (void)state;
    uint64_t random = store_fixture_seed();
    for (int round = 0; round < 6; round++) {
        struct buffer contents = BUFFER_INIT, expected = BUFFER_INIT, got = BUFFER_INIT;
        struct error error = {0};
        for (uint64_t number = 1; contents.size < 600000; number++) {
            size_t size = store_fixture_random(&random) % (round % 2 ? 100 : 200000);
            buffer_appendf(&expected, "%" PRIu64 " x", number);
            buffer_append_char(&contents, 'x');
            for (size_t i = 0; i < size; i++) {
                char c = (char)('a' + store_fixture_random(&random) % 26);
                buffer_append_char(&contents, c);
                buffer_append_char(&expected, c);
            }
            buffer_append_char(&expected, '|');
            buffer_append_char(&contents, '\n');
        }
        const char *path = write_file("blocks", buffer_slice(&contents), round % 3 == 0);
        assert_int_equal(read_all(path, &got, &error), STATUS_NOT_FOUND);
        assert_true(slice_equal(buffer_slice(&got), buffer_slice(&expected)));
        buffer_release(&contents);
        buffer_release(&expected);
        buffer_release(&got);
    }
}

static void a_file_of_exactly_a_block_ends(void **state)
{
    (void)state;
    static const size_t sizes[] = {64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 192 * 1024, 448 * 1024};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buffer contents = BUFFER_INIT, got = BUFFER_INIT;
        struct error error = {0};
        memset(buffer_extend(&contents, sizes[i]), 'x', sizes[i]);
        contents.data[sizes[i] - 1] = '\n';
        assert_int_equal(read_all(write_file("exact", buffer_slice(&contents), i % 2), &got, &error),
                         STATUS_NOT_FOUND);
        assert_int_equal(got.size, sizes[i] + 2);
        buffer_release(&contents);
        buffer_release(&got);
    }
}

static void a_line_that_is_too_long_is_told_without_its_text(void **state)
{
    (void)state;
    struct buffer contents = BUFFER_INIT;
    buffer_append_text(&contents, "a\n");
    memset(buffer_extend(&contents, RESOURCE_BYTES_MAX + 1), 'x', RESOURCE_BYTES_MAX + 1);
    buffer_append_text(&contents, "\nb\n");
    expect_lines(write_file("long", buffer_slice(&contents), false), "1 a|2 (long)|3 b|");
    buffer_release(&contents);
}

static void a_gzip_file_that_is_cut_fails_after_its_whole_lines(void **state)
{
    (void)state;
    struct buffer contents = BUFFER_INIT;
    struct stat info;
    for (int i = 0; i < 30000; i++)
        buffer_appendf(&contents, "line %d %d\n", i, i * 7919 % 10007);
    const char *path = write_file("cut.gz", buffer_slice(&contents), true);
    assert_int_equal(stat(path, &info), 0);
    for (off_t size = info.st_size - 1; size > 30; size = size * 2 / 3) {
        struct buffer got = BUFFER_INIT;
        struct error error = {0};
        assert_int_equal(truncate(path, size), 0);
        assert_int_equal(read_all(path, &got, &error), STATUS_INVALID);
        assert_non_null(strstr(error.text, "cut short"));
        /* Whole lines, from the first on. */
        struct slice rest = buffer_slice(&got);
        for (int i = 0; rest.size; i++) {
            char line[64];
            snprintf(line, sizeof line, "%d line %d %d|", i + 1, i, i * 7919 % 10007);
            assert_true(slice_starts_with(rest, slice_from_text(line)));
            rest = slice_skip(rest, strlen(line));
        }
        buffer_release(&got);
    }
    buffer_release(&contents);
}

static void a_damaged_gzip_file_is_an_error(void **state)
{
    (void)state;
    struct buffer contents = BUFFER_INIT, got = BUFFER_INIT;
    struct error error = {0};
    for (int i = 0; i < 1000; i++)
        buffer_appendf(&contents, "line %d\n", i);
    const char *path = write_file("bad.gz", buffer_slice(&contents), true);
    FILE *file = fopen(path, "r+");
    fseek(file, -6, SEEK_END); /* in the checksum */
    int c = fgetc(file);
    fseek(file, -6, SEEK_END);
    fputc(c ^ 1, file);
    fclose(file);
    assert_int_equal(read_all(path, &got, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "bad.gz"));
    buffer_release(&contents);
    buffer_release(&got);
}

/* `name`.gz: the members, each compressed, one behind the other, and what follows them. */
static const char *write_members(const char *name, const char *const *members, const char *rest)
{
    const char *path = write_file(name, slice_from_text(members[0]), true);
    for (size_t i = 1; members[i]; i++) {
        gzFile file = gzopen(path, "ab");
        assert_int_equal(gzwrite(file, members[i], (unsigned)strlen(members[i])), strlen(members[i]));
        assert_int_equal(gzclose(file), Z_OK);
    }
    FILE *file = fopen(path, "a");
    fputs(rest, file);
    fclose(file);
    return path;
}

static void the_members_of_a_gzip_file_are_read_as_one_text(void **state)
{
    (void)state;
    static const char *const members[] = {"a\nb", "", "c\nd\n", "e", NULL};
    expect_lines(write_members("members.gz", members, ""), "1 a|2 bc|3 d|4 e|");
}

/* A load of several files put together, of which one begins with damage, must not lose it silently. */
static void what_follows_gzip_data_and_is_none_is_an_error(void **state)
{
    (void)state;
    static const char *const members[] = {"a\nb\n", NULL};
    static const char *const rests[] = {"x", "more", "\x1f\x8b\x08"};
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        struct buffer got = BUFFER_INIT;
        struct error error = {0};
        assert_int_equal(read_all(write_members("rest.gz", members, rests[i]), &got, &error), STATUS_INVALID);
        assert_string_equal(buffer_text(&got), "1 a|2 b|");
        assert_non_null(strstr(error.text, "rest.gz: "));
        buffer_release(&got);
    }
}

static void an_empty_file_is_no_gzip_file(void **state)
{
    (void)state;
    struct buffer got = BUFFER_INIT;
    struct error error = {0};
    expect_lines(write_file("empty.ndjson", SLICE_LITERAL(""), false), "");
    expect_lines(write_file("nothing.gz", SLICE_LITERAL(""), true), "");
    assert_int_equal(read_all(write_file("empty.gz", SLICE_LITERAL(""), false), &got, &error),
                     STATUS_INVALID);
    assert_non_null(strstr(error.text, "empty.gz: is empty"));
    buffer_release(&got);
}

static void the_name_does_not_decide_whether_a_file_is_gzip(void **state)
{
    (void)state;
    expect_lines(write_file("plain.gz", SLICE_LITERAL("a\nb"), false), "1 a|2 b|");
    expect_lines(write_file("x.gz", SLICE_LITERAL("x"), false), "1 x|");
    expect_lines(write_file("gzip.ndjson", SLICE_LITERAL("a\nb"), true), "1 a|2 b|");
}

static void a_bundle_gives_its_resources_by_entry(void **state)
{
    (void)state;
    expect_lines(write_file("a.json",
                            SLICE_LITERAL("{\"entry\":[{\"resource\":{\"a\":[{\"resource\":{}}]}},{},"
                                          "{\"resource\":\"no\",\"search\":{\"x\":1}},"
                                          "{\"search\":{\"resource\":{}},\"resource\":{\"b\":1}}],"
                                          "\"resourceType\":\"Bundle\",\"other\":[{\"resource\":{}}]}"),
                            false),
                 "1 {\"a\":[{\"resource\":{}}]}|3 \"no\"|4 {\"b\":1}|");
    expect_lines(write_file("b.json", SLICE_LITERAL("{\"resourceType\":\"Bundle\"}"), false), "");
    expect_lines(
        write_file("c.json", SLICE_LITERAL("{\"resourceType\":\"X\",\"entry\":[{\"resource\":{}}]}"), false),
        "1 {\"resourceType\":\"X\",\"entry\":[{\"resource\":{}}]}|");
    expect_lines(
        write_file("d.json.gz", SLICE_LITERAL("{\"contained\":[{\"resourceType\":\"Bundle\"}]}"), true),
        "1 {\"contained\":[{\"resourceType\":\"Bundle\"}]}|");
}

static void a_document_may_begin_with_a_byte_order_mark(void **state)
{
    (void)state;
    expect_lines(write_file("one.json", SLICE_LITERAL("\xef\xbb\xbf{\"a\":1}"), false), "1 {\"a\":1}|");
    expect_lines(write_file("bundle.json",
                            SLICE_LITERAL("\xef\xbb\xbf{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":"
                                          "{\"a\":1}}]}"),
                            false),
                 "1 {\"a\":1}|");
}

static void a_zip_archive_is_told_as_one(void **state)
{
    (void)state;
    static const char *const names[] = {"a.zip", "a.ndjson", "a.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buffer got = BUFFER_INIT;
        struct error error = {0};
        const char *path = write_file(names[i], SLICE_LITERAL("PK\3\4\n\n{}\n"), false);
        assert_int_equal(read_all(path, &got, &error), STATUS_INVALID);
        assert_non_null(strstr(error.text, "is a zip archive: unpack it"));
        assert_int_equal(got.size, 0);
        buffer_release(&got);
    }
}

static void a_document_that_is_malformed_gives_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{}},", "{\"resourceType\":\"Bundle\"} x",
        "{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{}}],\"entry\":[]}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buffer got = BUFFER_INIT;
        struct error error = {0};
        const char *path = write_file("bad.json", slice_from_text(texts[i]), false);
        assert_int_equal(read_all(path, &got, &error), STATUS_INVALID);
        assert_non_null(strstr(error.text, "bad.json"));
        assert_int_equal(got.size, 0);
        buffer_release(&got);
    }
}

static void directories_are_walked_in_order_of_name(void **state)
{
    (void)state;
    static const char *const names[] = {"b.ndjson", "a/2.json",      "a/1.ndjson.gz", "c.json.gz",
                                        "a.txt",    "a/.hid.ndjson", ".h/x.ndjson",   "d/ndjson"};
    struct import_files files;
    struct error error = {0};
    struct buffer found = BUFFER_INIT;
    mkdir(path_of("a"), 0700);
    mkdir(path_of("d"), 0700);
    mkdir(path_of(".h"), 0700);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        write_file(names[i], SLICE_LITERAL("12345"), false);
    assert_int_equal(symlink(root, path_of("a/loop")), 0);
    assert_int_equal(symlink(path_of("a.txt"), path_of("e.ndjson")), 0);
    const char *const paths[] = {root, path_of("a.txt"), "-"}; /* what is named is taken whatever its name */
    assert_int_equal(import_files_find(paths, 3, &files, &error), STATUS_OK);
    for (size_t i = 0; i < files.count; i++) {
        const char *path = files.paths[i];
        buffer_appendf(&found, "%s ", strncmp(path, root, strlen(root)) ? path : path + strlen(root));
    }
    assert_string_equal(buffer_text(&found),
                        "/a/1.ndjson.gz /a/2.json /b.ndjson /c.json.gz /e.ndjson /a.txt - ");
    assert_int_equal(files.bytes, 6 * 5);
    import_files_release(&files);
    const char *none = path_of("d"), *missing = path_of("nowhere");
    assert_int_equal(import_files_find(&none, 1, &files, &error), STATUS_INVALID);
    assert_int_equal(import_files_find(&missing, 1, &files, &error), STATUS_IO);
    assert_non_null(strstr(error.text, "nowhere"));
    buffer_release(&found);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(lines_have_their_numbers),
        TEST(what_is_read_does_not_depend_on_where_blocks_end),
        TEST(a_file_of_exactly_a_block_ends),
        TEST(a_line_that_is_too_long_is_told_without_its_text),
        TEST(a_gzip_file_that_is_cut_fails_after_its_whole_lines),
        TEST(a_damaged_gzip_file_is_an_error),
        TEST(the_members_of_a_gzip_file_are_read_as_one_text),
        TEST(what_follows_gzip_data_and_is_none_is_an_error),
        TEST(an_empty_file_is_no_gzip_file),
        TEST(the_name_does_not_decide_whether_a_file_is_gzip),
        TEST(a_bundle_gives_its_resources_by_entry),
        TEST(a_document_may_begin_with_a_byte_order_mark),
        TEST(a_zip_archive_is_told_as_one),
        TEST(a_document_that_is_malformed_gives_nothing),
        TEST(directories_are_walked_in_order_of_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
