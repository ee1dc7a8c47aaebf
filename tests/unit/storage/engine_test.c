/*
 * What every engine must do: written against storage/engine.h alone. The tests of damage look for values in
 * the engine's file by their bytes.
 */
#include "storage/engine.h"

#include "codec/base/buffer.h"
#include "codec/base/bytes.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { APPLES, PEARS, TABLE_COUNT_HERE };
static const char *const names[] = {"apples", "pears", "plums", "quinces"};

struct fixture {
    char root[STORE_FIXTURE_PATH_MAX];
    char path[STORE_FIXTURE_PATH_MAX + 16];
    struct engine_options options;
    struct engine *engine;
};

static const struct slice nothing;

static void expect_status(enum status status, enum status expected, const struct error *error)
{
    if (status != expected)
        fail_msg("%s instead of %s: %s", status_name(status), status_name(expected), error->text);
}

static void fixture_open(struct fixture *f)
{
    struct error error = {0};
    expect_status(engine_open(&f->options, &f->engine, &error), STATUS_OK, &error);
}

static void fixture_close(struct fixture *f)
{
    engine_close(f->engine);
    f->engine = NULL;
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    store_fixture_dir_make(f->root);
    snprintf(f->path, sizeof f->path, "%s/engine", f->root);
    f->options = (struct engine_options){
        .path = f->path,
        .tables = names,
        .table_count = TABLE_COUNT_HERE,
        .map_bytes = STORE_FIXTURE_MAP_BYTES,
        .create = true,
    };
    fixture_open(f);
    f->options.create = false;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    store_fixture_dir_remove(f->root);
    mem_free(f);
    return 0;
}

static struct engine_txn *begin_read(struct fixture *f)
{
    struct error error = {0};
    struct engine_txn *txn = NULL;
    expect_status(engine_begin_read(f->engine, &txn, &error), STATUS_OK, &error);
    return txn;
}

static struct engine_txn *begin_write(struct fixture *f)
{
    struct error error = {0};
    struct engine_txn *txn = NULL;
    expect_status(engine_begin_write(f->engine, &txn, &error), STATUS_OK, &error);
    return txn;
}

static void commit(struct engine_txn *txn)
{
    struct error error = {0};
    expect_status(engine_commit(txn, &error), STATUS_OK, &error);
}

static void put(struct engine_txn *txn, unsigned table, struct slice key, struct slice value)
{
    struct error error = {0};
    expect_status(engine_put(txn, table, key, value, &error), STATUS_OK, &error);
}

static void put_text(struct engine_txn *txn, const char *key, const char *value)
{
    put(txn, APPLES, slice_from_text(key), slice_from_text(value));
}

static void delete_text(struct engine_txn *txn, const char *key)
{
    struct error error = {0};
    expect_status(engine_delete(txn, APPLES, slice_from_text(key), &error), STATUS_OK, &error);
}

/* Puts keys, each with its own text as its value, in a transaction of its own. */
static void put_keys(struct fixture *f, const char *const *keys, size_t count)
{
    struct engine_txn *txn = begin_write(f);
    for (size_t i = 0; i < count; i++)
        put_text(txn, keys[i], keys[i]);
    commit(txn);
}

static void expect_pair(struct engine_txn *txn, unsigned table, struct slice key, struct slice expected)
{
    struct error error = {0};
    struct slice value = nothing;
    expect_status(engine_get(txn, table, key, &value, &error), STATUS_OK, &error);
    if (!slice_equal(value, expected))
        fail_msg("%.*s has a value of %zu bytes instead of %zu, or another one", SLICE_PRINT(key), value.size,
                 expected.size);
}

static void expect_text(struct engine_txn *txn, const char *key, const char *expected)
{
    expect_pair(txn, APPLES, slice_from_text(key), slice_from_text(expected));
}

static void expect_none(struct engine_txn *txn, const char *key)
{
    struct error error = {0};
    struct slice value = SLICE_LITERAL("untouched");
    expect_status(engine_get(txn, APPLES, slice_from_text(key), &value, &error), STATUS_NOT_FOUND, &error);
    assert_true(slice_equal_text(value, "untouched"));
    assert_string_equal(error.text, "");
}

static struct engine_cursor *open_cursor(struct engine_txn *txn)
{
    struct error error = {0};
    struct engine_cursor *cursor = NULL;
    expect_status(engine_cursor_open(txn, APPLES, &cursor, &error), STATUS_OK, &error);
    return cursor;
}

/* The keys from here to the end, joined by spaces. */
static void expect_walk(struct engine_cursor *cursor, const char *expected)
{
    struct buffer keys = BUFFER_INIT;
    struct error error = {0};
    struct slice key, value;
    enum status status;
    while ((status = engine_next(cursor, &key, &value, &error)) == STATUS_OK) {
        if (keys.size)
            buffer_append_char(&keys, ' ');
        buffer_append_slice(&keys, key);
    }
    expect_status(status, STATUS_NOT_FOUND, &error);
    expect_status(engine_next(cursor, &key, &value, &error), STATUS_NOT_FOUND, &error);
    assert_string_equal(error.text, "");
    assert_string_equal(buffer_text(&keys), expected);
    buffer_release(&keys);
}

/* ---- Opening ---- */

static void what_was_committed_is_there_after_reopening(void **state)
{
    struct fixture *f = *state;
    struct engine_txn *txn = begin_write(f);
    put_text(txn, "a", "1");
    put(txn, PEARS, SLICE_LITERAL("a"), SLICE_LITERAL("2"));
    commit(txn);
    fixture_close(f);
    fixture_open(f);
    txn = begin_read(f);
    expect_text(txn, "a", "1");
    expect_pair(txn, PEARS, SLICE_LITERAL("a"), SLICE_LITERAL("2"));
    engine_end(txn);
}

static void create_refuses_what_exists_and_leaves_it_alone(void **state)
{
    struct fixture *f = *state;
    put_keys(f, (const char *const[]){"a"}, 1);
    fixture_close(f);
    struct engine_options again = f->options;
    again.create = true;
    struct error error = {0};
    expect_status(engine_open(&again, &f->engine, &error), STATUS_EXISTS, &error);
    assert_null(f->engine);
    fixture_open(f);
    struct engine_txn *txn = begin_read(f);
    expect_text(txn, "a", "a");
    engine_end(txn);
}

static void open_makes_nothing_where_nothing_is(void **state)
{
    struct fixture *f = *state;
    char path[STORE_FIXTURE_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/other", f->root);
    struct engine_options other = f->options;
    other.path = path;
    struct engine *engine = NULL;
    for (int read_only = 0; read_only < 2; read_only++) {
        struct error error = {0};
        other.read_only = read_only;
        expect_status(engine_open(&other, &engine, &error), STATUS_NOT_FOUND, &error);
        assert_null(engine);
        assert_int_equal(access(path, F_OK), -1);
    }
}

static void write_file(const char *path, const char *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

static void open_calls_an_interrupted_creation_not_found(void **state)
{
    struct fixture *f = *state;
    char path[STORE_FIXTURE_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/other", f->root);
    struct engine_options other = f->options;
    other.path = path;
    struct engine *engine = NULL;
    for (int read_only = 1; read_only >= 0; read_only--) {
        struct error error = {0};
        write_file(path, "", 0);
        other.read_only = read_only;
        expect_status(engine_open(&other, &engine, &error), STATUS_NOT_FOUND, &error);
        assert_null(engine);
    }
}

static void open_refuses_a_file_of_another_kind(void **state)
{
    struct fixture *f = *state;
    char path[STORE_FIXTURE_PATH_MAX + 16], text[65536];
    snprintf(path, sizeof path, "%s/other", f->root);
    memset(text, 'x', sizeof text);
    write_file(path, text, sizeof text);
    struct engine_options other = f->options;
    other.path = path;
    struct engine *engine = NULL;
    struct error error = {0};
    expect_status(engine_open(&other, &engine, &error), STATUS_CORRUPT, &error);
    assert_non_null(strstr(error.text, path));
}

static void open_names_the_table_that_is_missing(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    struct engine_options more = f->options;
    more.table_count = 4; /* of several the first */
    struct error error = {0};
    expect_status(engine_open(&more, &f->engine, &error), STATUS_UNSUPPORTED, &error);
    assert_non_null(strstr(error.text, "plums"));
    fixture_open(f);
}

static void one_process_opens_a_file_once(void **state)
{
    struct fixture *f = *state;
    struct engine_options second = f->options;
    second.read_only = true;
    struct engine *engine = NULL;
    struct error error = {0};
    expect_status(engine_open(&second, &engine, &error), STATUS_BUSY, &error);
    assert_null(engine);
    fixture_close(f);
    expect_status(engine_open(&second, &engine, &error), STATUS_OK, &error);
    engine_close(engine);
    fixture_open(f);
}

static void a_store_opened_for_reading_reads(void **state)
{
    struct fixture *f = *state;
    put_keys(f, (const char *const[]){"a"}, 1);
    fixture_close(f);
    f->options.read_only = true;
    fixture_open(f);
    struct engine_txn *txn = begin_read(f);
    expect_text(txn, "a", "a");
    engine_end(txn);
}

static void files_belong_to_their_owner_alone(void **state)
{
    struct fixture *f = *state;
    struct stat stat_of;
    assert_int_equal(stat(f->path, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0600);
}

/* ---- Pairs ---- */

static void put_replaces_and_delete_removes(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct engine_txn *txn = begin_write(f);
    expect_none(txn, "a");
    put_text(txn, "a", "first");
    expect_text(txn, "a", "first");
    put_text(txn, "a", "a longer second");
    expect_text(txn, "a", "a longer second");
    commit(txn);

    txn = begin_write(f);
    delete_text(txn, "a");
    expect_none(txn, "a");
    expect_status(engine_delete(txn, APPLES, SLICE_LITERAL("a"), &error), STATUS_NOT_FOUND, &error);
    assert_string_equal(error.text, "");
    commit(txn);
    txn = begin_read(f);
    expect_none(txn, "a");
    engine_end(txn);
}

static void tables_are_apart(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct engine_txn *txn = begin_write(f);
    put(txn, APPLES, SLICE_LITERAL("k"), SLICE_LITERAL("apple"));
    put(txn, PEARS, SLICE_LITERAL("k"), SLICE_LITERAL("pear"));
    expect_status(engine_delete(txn, PEARS, SLICE_LITERAL("k"), &error), STATUS_OK, &error);
    expect_text(txn, "k", "apple");
    commit(txn);
}

static void put2_joins_its_two_parts(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct engine_txn *txn = begin_write(f);
    expect_status(
        engine_put2(txn, APPLES, SLICE_LITERAL("a"), SLICE_LITERAL("head"), SLICE_LITERAL("rest"), &error),
        STATUS_OK, &error);
    expect_status(engine_put2(txn, APPLES, SLICE_LITERAL("b"), nothing, SLICE_LITERAL("rest"), &error),
                  STATUS_OK, &error);
    expect_status(engine_put2(txn, APPLES, SLICE_LITERAL("c"), SLICE_LITERAL("head"), nothing, &error),
                  STATUS_OK, &error);
    expect_status(engine_put2(txn, APPLES, SLICE_LITERAL("d"), nothing, nothing, &error), STATUS_OK, &error);
    commit(txn);
    txn = begin_read(f);
    expect_text(txn, "a", "headrest");
    expect_text(txn, "b", "rest");
    expect_text(txn, "c", "head");
    expect_text(txn, "d", "");
    engine_end(txn);
}

static void values_of_every_size_come_back(void **state)
{
    struct fixture *f = *state;
    static const size_t large[] = {65535, 65536, 1024 * 1024, 16 * 1024 * 1024 + 1};
    size_t large_count = sizeof large / sizeof *large;
    struct buffer value = BUFFER_INIT;
    uint64_t random = 1;
    while (value.size < large[large_count - 1])
        buffer_append_u64(&value, store_fixture_random(&random));

    struct engine_txn *txn = begin_write(f);
    char key[8];
    for (size_t i = 0; i < 1300 + large_count; i++) {
        size_t bytes = i < 1300 ? i * 7 : large[i - 1300];
        store_u64_be(key, bytes);
        put(txn, APPLES, slice_make(key, sizeof key), slice_make(value.data, bytes));
    }
    commit(txn);
    txn = begin_read(f);
    struct engine_cursor *cursor = open_cursor(txn);
    struct error error = {0};
    struct slice found_key, found;
    size_t count = 0;
    while (engine_next(cursor, &found_key, &found, &error) == STATUS_OK) {
        uint64_t bytes = load_u64_be(found_key.data);
        assert_true(slice_equal(found, slice_make(value.data, bytes)));
        expect_pair(txn, APPLES, found_key, found);
        count++;
    }
    assert_int_equal(count, 1300 + large_count);
    engine_end(txn);
    buffer_release(&value);
}

static void keys_of_every_length_are_kept_apart(void **state)
{
    struct fixture *f = *state;
    char key[ENGINE_KEY_SIZE_MAX];
    memset(key, 0xff, sizeof key);
    struct engine_txn *txn = begin_write(f);
    for (size_t size = sizeof key; size >= 1; size--)
        put(txn, APPLES, slice_make(key, size), slice_make(&size, sizeof size));
    commit(txn);
    txn = begin_read(f);
    struct engine_cursor *cursor = open_cursor(txn);
    struct error error = {0};
    struct slice found_key, found;
    for (size_t size = 1; size <= sizeof key; size++) {
        expect_status(engine_next(cursor, &found_key, &found, &error), STATUS_OK, &error);
        assert_int_equal(found_key.size, size);
        assert_true(slice_equal(found, slice_make(&size, sizeof size)));
    }
    expect_status(engine_next(cursor, &found_key, &found, &error), STATUS_NOT_FOUND, &error);
    engine_end(txn);
}

static void put_may_be_given_what_it_was_lent(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    static const size_t sizes[] = {40, 1500, 5000, 300000};
    struct buffer model = BUFFER_INIT;
    /* In one transaction and over several: pages that are clean, and pages already rewritten. */
    for (int transactions = 0; transactions < 2; transactions++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            struct engine_txn *txn = begin_write(f);
            buffer_reset(&model);
            while (model.size < sizes[s])
                buffer_appendf(&model, "%zu.", model.size);
            for (int i = 0; i < 20; i++) {
                char key[16];
                snprintf(key, sizeof key, "k%02d", i);
                put(txn, APPLES, slice_from_text(key), buffer_slice(&model));
            }
            for (int round = 0; round < 4; round++) {
                if (transactions) {
                    commit(txn);
                    txn = begin_write(f);
                }
                struct engine_cursor *cursor = open_cursor(txn);
                struct slice key, value;
                engine_seek_prefix(cursor, SLICE_LITERAL("k1"), SLICE_LITERAL("k10"));
                expect_status(engine_next(cursor, &key, &value, &error), STATUS_OK, &error);
                struct slice rest = round % 2 ? slice_skip(value, 13) : value;
                expect_status(engine_put2(txn, APPLES, key, SLICE_LITERAL("header:"), rest, &error),
                              STATUS_OK, &error);
                struct buffer changed = BUFFER_INIT;
                buffer_append_text(&changed, "header:");
                buffer_append_slice(&changed, slice_skip(buffer_slice(&model), round % 2 ? 13 : 0));
                buffer_release(&model);
                model = changed;
                expect_pair(txn, APPLES, SLICE_LITERAL("k10"), buffer_slice(&model));
                engine_cursor_close(cursor);
            }
            /* A key that lies in the page which is written. */
            struct engine_cursor *cursor = open_cursor(txn);
            struct slice key, value;
            expect_status(engine_next(cursor, &key, &value, &error), STATUS_OK, &error);
            expect_status(engine_delete(txn, APPLES, key, &error), STATUS_OK, &error);
            expect_none(txn, "k00");
            expect_pair(txn, APPLES, SLICE_LITERAL("k10"), buffer_slice(&model));
            commit(txn);
        }
    }
    buffer_release(&model);
}

static void writes_are_counted(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct engine_txn *txn = begin_write(f);
    assert_int_equal(engine_writes(txn), 0);
    expect_none(txn, "a");
    expect_status(engine_delete(txn, APPLES, SLICE_LITERAL("a"), &error), STATUS_NOT_FOUND, &error);
    assert_int_equal(engine_writes(txn), 0);
    put_text(txn, "a", "1");
    put_text(txn, "a", "1");
    assert_int_equal(engine_writes(txn), 2);
    delete_text(txn, "a");
    assert_int_equal(engine_writes(txn), 3);
    engine_end(txn);
}

/* ---- Cursors ---- */

static const char *const fruit[] = {"b",     "ab",        "a",    "c",        "ba",
                                    "b\xff", "b\xff\xff", "\xff", "\xff\xff", "bb"};
#define FRUIT_COUNT (sizeof fruit / sizeof *fruit)

static void cursor_walks_in_memcmp_order(void **state)
{
    struct fixture *f = *state;
    put_keys(f, fruit, FRUIT_COUNT);
    struct engine_txn *txn = begin_read(f);
    expect_walk(open_cursor(txn), "a ab b ba bb b\xff b\xff\xff c \xff \xff\xff");
    engine_end(txn);
}

static void cursor_stays_within_its_bounds(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *from, *to, *expected;
    } cases[] = {
        {"", "", "a ab b ba bb b\xff b\xff\xff c \xff \xff\xff"},
        {"", "b", "a ab"},
        {"b", "", "b ba bb b\xff b\xff\xff c \xff \xff\xff"},
        {"b", "bb", "b ba"},
        {"aa", "b ", "ab b"},
        {"a", "a", ""},
        {"c", "a", ""},
        {"d", "\xff", ""},
        {"\xff\xff\xff", "", ""},
        {"", "a", ""},
        {"\xff", "", "\xff \xff\xff"},
    };
    put_keys(f, fruit, FRUIT_COUNT);
    struct engine_txn *txn = begin_read(f);
    struct engine_cursor *cursor = open_cursor(txn);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        engine_seek(cursor, slice_from_text(cases[i].from), slice_from_text(cases[i].to));
        expect_walk(cursor, cases[i].expected);
    }
    engine_end(txn);
}

static void cursor_gives_what_begins_with_a_prefix(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *prefix, *from, *expected;
    } cases[] = {
        {"b", "", "b ba bb b\xff b\xff\xff"}, {"b", "b", "b ba bb b\xff b\xff\xff"},
        {"b", "bb", "bb b\xff b\xff\xff"},    {"b", "b\xff\xff\xff", ""},
        {"b\xff", "", "b\xff b\xff\xff"},     {"\xff", "", "\xff \xff\xff"},
        {"\xff\xff", "", "\xff\xff"},         {"ac", "", ""},
        {"", "c", "c \xff \xff\xff"},         {"", "", "a ab b ba bb b\xff b\xff\xff c \xff \xff\xff"},
    };
    put_keys(f, fruit, FRUIT_COUNT);
    struct engine_txn *txn = begin_read(f);
    struct engine_cursor *cursor = open_cursor(txn);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        engine_seek_prefix(cursor, slice_from_text(cases[i].prefix), slice_from_text(cases[i].from));
        expect_walk(cursor, cases[i].expected);
    }
    engine_end(txn);
}

static void cursor_keeps_its_own_copy_of_the_bounds(void **state)
{
    struct fixture *f = *state;
    put_keys(f, fruit, FRUIT_COUNT);
    struct engine_txn *txn = begin_read(f);
    struct engine_cursor *cursor = open_cursor(txn);
    char from[] = "b", to[] = "c";
    engine_seek(cursor, slice_from_text(from), slice_from_text(to));
    from[0] = to[0] = 'z';
    expect_walk(cursor, "b ba bb b\xff b\xff\xff");
    /* From a key that the cursor itself handed out. */
    struct slice key, value;
    struct error error = {0};
    engine_seek(cursor, SLICE_LITERAL("bb"), nothing);
    expect_status(engine_next(cursor, &key, &value, &error), STATUS_OK, &error);
    engine_seek(cursor, key, SLICE_LITERAL("c"));
    expect_walk(cursor, "bb b\xff b\xff\xff");
    engine_end(txn);
}

static void cursor_of_an_empty_table_is_at_its_end(void **state)
{
    struct fixture *f = *state;
    struct engine_txn *txn = begin_read(f);
    struct engine_cursor *cursor = open_cursor(txn);
    expect_walk(cursor, "");
    engine_seek(cursor, SLICE_LITERAL("a"), nothing);
    expect_walk(cursor, "");
    engine_end(txn);
}

static void cursor_sees_what_its_own_transaction_wrote(void **state)
{
    struct fixture *f = *state;
    put_keys(f, fruit, FRUIT_COUNT);
    struct engine_txn *txn = begin_write(f);
    struct engine_cursor *cursor = open_cursor(txn), *second = open_cursor(txn);
    struct slice key, value;
    struct error error = {0};
    /* Deletes while it walks, seeking again behind each. */
    engine_seek(cursor, SLICE_LITERAL("b"), SLICE_LITERAL("c"));
    while (engine_next(cursor, &key, &value, &error) == STATUS_OK) {
        char last[8];
        size_t size = key.size;
        memcpy(last, key.data, size);
        expect_status(engine_delete(txn, APPLES, key, &error), STATUS_OK, &error);
        engine_seek(cursor, slice_make(last, size), SLICE_LITERAL("c"));
    }
    expect_walk(second, "a ab c \xff \xff\xff");
    put_text(txn, "bz", "");
    engine_seek(second, nothing, nothing);
    expect_walk(second, "a ab bz c \xff \xff\xff");
    engine_cursor_close(cursor);
    commit(txn);
    txn = begin_read(f);
    expect_walk(open_cursor(txn), "a ab bz c \xff \xff\xff");
    engine_end(txn);
}

static void cursors_close_in_any_order(void **state)
{
    struct fixture *f = *state;
    put_keys(f, fruit, FRUIT_COUNT);
    for (int write = 0; write < 2; write++) {
        struct engine_txn *txn = write ? begin_write(f) : begin_read(f);
        struct engine_cursor *cursors[4];
        for (int i = 0; i < 4; i++)
            cursors[i] = open_cursor(txn);
        engine_cursor_close(cursors[1]);
        engine_cursor_close(cursors[3]);
        expect_walk(cursors[2], "a ab b ba bb b\xff b\xff\xff c \xff \xff\xff");
        engine_cursor_close(NULL);
        engine_end(txn); /* closes the rest */
    }
}

struct visits {
    struct buffer keys;
    const char *refused; /* at this key ... */
    enum status status;  /* ... this is the answer */
};

static enum status visit(void *context, struct slice key, struct slice value, struct error *error)
{
    struct visits *visits = context;
    assert_true(slice_equal(key, value));
    if (visits->refused && slice_equal_text(key, visits->refused))
        return error_set(error, visits->status, "at %s", visits->refused);
    buffer_append_slice(&visits->keys, key);
    buffer_append_char(&visits->keys, ' ');
    return STATUS_OK;
}

static void each_goes_on_behind_damage_and_stops_at_other_failures(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *prefix, *refused;
        enum status status;
        const char *visited;
    } cases[] = {
        {"", NULL, STATUS_OK, "a ab b ba bb b\xff b\xff\xff c \xff \xff\xff "},
        {"b", NULL, STATUS_OK, "b ba bb b\xff b\xff\xff "},
        {"x", NULL, STATUS_OK, ""},
        {"b", "ba", STATUS_CORRUPT, "b bb b\xff b\xff\xff "},
        {"b", "ba", STATUS_UNSUPPORTED, "b bb b\xff b\xff\xff "},
        {"b", "ba", STATUS_CANCELLED, "b "},
        {"b", "ba", STATUS_NOT_FOUND, "b "},
    };
    put_keys(f, fruit, FRUIT_COUNT);
    struct engine_txn *txn = begin_read(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error = {0};
        struct visits visits = {BUFFER_INIT, cases[i].refused, cases[i].status};
        expect_status(engine_each(txn, APPLES, slice_from_text(cases[i].prefix), visit, &visits, &error),
                      cases[i].status, &error);
        assert_string_equal(buffer_text(&visits.keys), cases[i].visited);
        assert_string_equal(error.text, cases[i].refused ? "at ba" : "");
        buffer_release(&visits.keys);
    }
    engine_end(txn);
}

/* ---- Transactions ---- */

static void ended_transaction_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    put_keys(f, (const char *const[]){"a", "b"}, 2);
    struct engine_txn *txn = begin_write(f);
    put_text(txn, "a", "changed");
    put_text(txn, "c", "new");
    delete_text(txn, "b");
    engine_end(txn);
    engine_end(NULL);
    txn = begin_read(f);
    expect_text(txn, "a", "a");
    expect_text(txn, "b", "b");
    expect_none(txn, "c");
    engine_end(txn);
}

static void reader_sees_the_store_as_it_began(void **state)
{
    struct fixture *f = *state;
    put_keys(f, (const char *const[]){"a", "b", "c"}, 3);
    struct engine_txn *before = begin_read(f);
    struct engine_cursor *cursor = open_cursor(before);
    struct slice key, value;
    struct error error = {0};
    expect_status(engine_next(cursor, &key, &value, &error), STATUS_OK, &error);

    struct engine_txn *txn = begin_write(f);
    put_text(txn, "a", "changed");
    put_text(txn, "aa", "new");
    delete_text(txn, "c");
    expect_text(before, "a", "a"); /* not committed yet */
    commit(txn);

    struct engine_txn *after = begin_read(f);
    expect_text(before, "a", "a");
    expect_none(before, "aa");
    expect_walk(cursor, "b c");
    expect_text(after, "a", "changed");
    expect_walk(open_cursor(after), "a aa b");
    engine_end(before);
    engine_end(after);
}

static void the_newest_commit_tells_whether_a_read_would_see_anything_new(void **state)
{
    struct fixture *f = *state;
    put_keys(f, (const char *const[]){"a"}, 1);
    struct engine_txn *before = begin_read(f);
    uint64_t seen = engine_commit_seen(before);
    assert_int_equal(engine_newest_commit(f->engine), seen);

    struct engine_txn *txn = begin_write(f);
    put_text(txn, "b", "b");
    assert_int_equal(engine_newest_commit(f->engine), seen);
    engine_end(txn); /* thrown away */
    assert_int_equal(engine_newest_commit(f->engine), seen);

    put_keys(f, (const char *const[]){"c"}, 1);
    assert_true(engine_newest_commit(f->engine) > seen);
    assert_int_equal(engine_commit_seen(before), seen);
    engine_end(before);
    struct engine_txn *after = begin_read(f);
    assert_int_equal(engine_commit_seen(after), engine_newest_commit(f->engine));
    engine_end(after);
}

/* The next read takes over what an ended one leaves: it must not see its snapshot, nor trust its pages. */
static void a_read_after_another_sees_what_was_committed_in_between(void **state)
{
    struct fixture *f = *state;
    char value[16];
    for (int i = 0; i < 200; i++) {
        struct engine_txn *txn = begin_write(f);
        snprintf(value, sizeof value, "%d", i);
        put_text(txn, "a", value);
        commit(txn);
        struct engine_txn *first = begin_read(f), *second = begin_read(f);
        expect_text(first, "a", value);
        expect_text(second, "a", value);
        engine_end(i % 2 ? first : second);
        engine_end(i % 2 ? second : first);
    }
}

static void one_thread_may_hold_many_readers(void **state)
{
    struct fixture *f = *state;
    struct engine_txn *readers[20];
    for (size_t i = 0; i < 20; i++) {
        struct engine_txn *txn = begin_write(f);
        put(txn, APPLES, SLICE_LITERAL("n"), slice_make(&i, sizeof i));
        commit(txn);
        readers[i] = begin_read(f);
    }
    for (size_t i = 0; i < 20; i++) {
        expect_pair(readers[i], APPLES, SLICE_LITERAL("n"), slice_make(&i, sizeof i));
        engine_end(readers[i]);
    }
}

struct watcher {
    struct fixture *fixture;
    pthread_t thread;
    const bool *stop;
    uint64_t snapshots, wrong;
};

/* Two keys are always written together: a snapshot in which they differ is none. Nor is one that is older
 * than the last. */
static void *watch(void *context)
{
    struct watcher *watcher = context;
    uint64_t newest = 0;
    do {
        struct engine_txn *txn;
        struct slice a, b;
        if (engine_begin_read(watcher->fixture->engine, &txn, NULL) != STATUS_OK) {
            watcher->wrong++;
            return NULL;
        }
        bool good = engine_get(txn, APPLES, SLICE_LITERAL("n"), &a, NULL) == STATUS_OK &&
                    engine_get(txn, PEARS, SLICE_LITERAL("n"), &b, NULL) == STATUS_OK && slice_equal(a, b) &&
                    load_u64_be(a.data) >= newest;
        if (good)
            newest = load_u64_be(a.data);
        watcher->wrong += !good;
        watcher->snapshots++;
        engine_end(txn);
    } while (!__atomic_load_n(watcher->stop, __ATOMIC_ACQUIRE));
    return NULL;
}

/* Writes both keys for as long as it takes; the statuses are looked at when no thread runs any more. */
static enum status write_pairs(struct fixture *f, uint64_t from, uint64_t to, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint64_t n = from; status == STATUS_OK && n < to; n++) {
        char number[8];
        store_u64_be(number, n);
        struct slice value = slice_make(number, sizeof number);
        struct engine_txn *txn;
        status = engine_begin_write(f->engine, &txn, error);
        if (status != STATUS_OK)
            break;
        status = engine_put(txn, APPLES, SLICE_LITERAL("n"), value, error);
        if (status == STATUS_OK)
            status = engine_put(txn, PEARS, SLICE_LITERAL("n"), value, error);
        if (status == STATUS_OK)
            status = engine_commit(txn, error);
        else
            engine_end(txn);
    }
    return status;
}

static void threads_read_whole_snapshots_while_one_writes(void **state)
{
    struct fixture *f = *state;
    bool stop = false;
    struct watcher watchers[6]; /* more than there are cores: some stand still while others read */
    size_t started = 0;
    struct error error = {0};
    expect_status(write_pairs(f, 0, 1, &error), STATUS_OK, &error);
    for (; started < 6; started++) {
        watchers[started] = (struct watcher){.fixture = f, .stop = &stop};
        if (pthread_create(&watchers[started].thread, NULL, watch, &watchers[started]) != 0)
            break;
    }
    enum status status = write_pairs(f, 1, 500, &error);
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    /* A failed assertion leaves the function: not while a thread uses what stands in it. */
    for (size_t i = 0; i < started; i++)
        pthread_join(watchers[i].thread, NULL);
    expect_status(status, STATUS_OK, &error);
    assert_int_equal(started, 6);
    for (size_t i = 0; i < started; i++) {
        assert_int_equal(watchers[i].wrong, 0);
        assert_true(watchers[i].snapshots > 0);
    }
}

static void readers_over_their_bound_are_busy(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    char path[STORE_FIXTURE_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/other", f->root);
    f->options.path = path;
    f->options.create = true;
    f->options.readers_max = 3;
    fixture_open(f);
    struct engine_txn *readers[3], *fourth;
    for (int i = 0; i < 3; i++)
        readers[i] = begin_read(f);
    struct error error = {0};
    expect_status(engine_begin_read(f->engine, &fourth, &error), STATUS_BUSY, &error);
    engine_end(readers[1]);
    readers[1] = begin_read(f);
    for (int i = 0; i < 3; i++)
        engine_end(readers[i]);
}

/* A sorted array of pairs, kept beside the engine. */
#define MODEL_KEYS 400
struct model {
    bool present[MODEL_KEYS];
    uint64_t version[MODEL_KEYS];
};

static struct slice model_key(size_t index, char text[32])
{
    /* Lengths differ, so that some keys are prefixes of others; the order is that of the index. */
    int size = snprintf(text, 32, "%03zu%.*s", index, (int)(index % 7), "\x01\x02\x03\x04\x05\x06");
    return slice_make(text, (size_t)size);
}

static struct slice model_value(size_t index, uint64_t version, struct buffer *target)
{
    uint64_t random = version * MODEL_KEYS + index;
    size_t size = store_fixture_random(&random) % (version % 13 ? 200 : 9000);
    buffer_reset(target);
    while (target->size < size)
        buffer_append_u64(target, store_fixture_random(&random));
    return buffer_slice(target);
}

static void expect_model(struct engine_txn *txn, const struct model *model, size_t from, size_t to)
{
    struct engine_cursor *cursor = open_cursor(txn);
    struct buffer value = BUFFER_INIT;
    char from_text[32], to_text[32], text[32];
    struct slice key, found;
    struct error error = {0};
    engine_seek(cursor, model_key(from, from_text), to < MODEL_KEYS ? model_key(to, to_text) : nothing);
    for (size_t i = from; i < to; i++) {
        if (!model->present[i])
            continue;
        expect_status(engine_next(cursor, &key, &found, &error), STATUS_OK, &error);
        assert_true(slice_equal(key, model_key(i, text)));
        assert_true(slice_equal(found, model_value(i, model->version[i], &value)));
    }
    expect_status(engine_next(cursor, &key, &found, &error), STATUS_NOT_FOUND, &error);
    engine_cursor_close(cursor);
    buffer_release(&value);
}

static void random_work_agrees_with_a_sorted_model(void **state)
{
    struct fixture *f = *state;
    uint64_t random = store_fixture_seed(), version = 0;
    struct model committed = {.present = {false}}, model, snapshot;
    struct engine_txn *reader = NULL;
    struct buffer value = BUFFER_INIT;
    char text[32];
    struct error error = {0};
    for (int round = 0; round < 150; round++) {
        struct engine_txn *txn = begin_write(f);
        model = committed;
        for (uint64_t ops = store_fixture_random(&random) % 60; ops; ops--) {
            size_t i = store_fixture_random(&random) % MODEL_KEYS;
            struct slice key = model_key(i, text), found;
            switch (store_fixture_random(&random) % 4) {
            case 0:
                expect_status(engine_delete(txn, APPLES, key, &error),
                              model.present[i] ? STATUS_OK : STATUS_NOT_FOUND, &error);
                model.present[i] = false;
                break;
            case 1:
                expect_status(engine_get(txn, APPLES, key, &found, &error),
                              model.present[i] ? STATUS_OK : STATUS_NOT_FOUND, &error);
                if (model.present[i])
                    assert_true(slice_equal(found, model_value(i, model.version[i], &value)));
                break;
            default:
                model.present[i] = true;
                model.version[i] = ++version;
                put(txn, APPLES, key, model_value(i, version, &value));
            }
        }
        size_t from = store_fixture_random(&random) % MODEL_KEYS;
        expect_model(txn, &model, from, from + store_fixture_random(&random) % (MODEL_KEYS - from + 1));
        if (store_fixture_random(&random) % 4 == 0) {
            engine_end(txn);
        } else {
            commit(txn);
            committed = model;
        }
        if (reader && store_fixture_random(&random) % 3 == 0) {
            expect_model(reader, &snapshot, 0, MODEL_KEYS);
            engine_end(reader);
            reader = NULL;
        }
        if (!reader) {
            reader = begin_read(f);
            snapshot = committed;
        }
        if (round % 50 == 49) {
            engine_end(reader);
            reader = NULL;
            fixture_close(f);
            fixture_open(f);
        }
    }
    engine_end(reader);
    buffer_release(&value);
    struct engine_txn *txn = begin_read(f);
    expect_model(txn, &committed, 0, MODEL_KEYS);
    engine_end(txn);
}

/* ---- Damage ---- */

/* Where `needle` stands in the engine's file; it must stand there once. */
static size_t find_in_file(const char *path, struct slice needle, struct buffer *file)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat_of;
    assert_true(fd >= 0 && fstat(fd, &stat_of) == 0);
    buffer_reset(file);
    size_t size = (size_t)stat_of.st_size;
    assert_int_equal(pread(fd, buffer_extend(file, size), size, 0), size);
    close(fd);
    char *found = memmem(file->data, file->size, needle.data, needle.size);
    assert_non_null(found);
    size_t behind = (size_t)(found - file->data) + 1;
    assert_null(memmem(found + 1, file->size - behind, needle.data, needle.size));
    return (size_t)(found - file->data);
}

static void flip_bit(const char *path, size_t offset, unsigned bit)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= (unsigned char)(1u << bit);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

static void a_flipped_bit_in_a_value_is_reported_and_costs_only_itself(void **state)
{
    struct fixture *f = *state;
    struct buffer file = BUFFER_INIT;
    put_keys(f, (const char *const[]){"alpha", "beta", "gamma"}, 3);
    struct engine_txn *txn = begin_write(f);
    put_text(txn, "beta", "the value that is to be damaged");
    commit(txn);
    fixture_close(f);
    struct slice needle = SLICE_LITERAL("the value that is to be damaged");
    size_t offset = find_in_file(f->path, needle, &file);
    /* Every bit of the value, and of the checksum behind it. */
    for (size_t bit = 0; bit < (needle.size + 4) * 8; bit += 5) {
        flip_bit(f->path, offset + bit / 8, bit % 8);
        fixture_open(f);
        txn = begin_read(f);
        struct error error = {0};
        struct slice key, value = SLICE_LITERAL("untouched");
        expect_status(engine_get(txn, APPLES, SLICE_LITERAL("beta"), &value, &error), STATUS_CORRUPT, &error);
        assert_true(slice_equal_text(value, "untouched"));
        assert_non_null(strstr(error.text, "table apples"));
        assert_non_null(strstr(error.text, "62657461")); /* beta */

        struct engine_cursor *cursor = open_cursor(txn);
        error = (struct error){0};
        expect_status(engine_next(cursor, &key, &value, &error), STATUS_OK, &error);
        expect_status(engine_next(cursor, &key, &value, &error), STATUS_CORRUPT, &error);
        assert_true(slice_equal_text(key, "beta"));
        assert_non_null(strstr(error.text, "table apples, key 62657461"));
        expect_status(engine_next(cursor, &key, &value, &error), STATUS_OK, &error);
        assert_true(slice_equal_text(key, "gamma"));
        assert_true(slice_equal_text(value, "gamma"));
        expect_status(engine_next(cursor, &key, &value, &error), STATUS_NOT_FOUND, &error);
        engine_end(txn);
        fixture_close(f);
        flip_bit(f->path, offset + bit / 8, bit % 8);
    }
    fixture_open(f);
    txn = begin_read(f);
    expect_text(txn, "beta", "the value that is to be damaged");
    engine_end(txn);
    buffer_release(&file);
}

static void a_flipped_bit_in_a_large_value_or_in_a_key_is_reported(void **state)
{
    struct fixture *f = *state;
    struct buffer value = BUFFER_INIT, file = BUFFER_INIT;
    uint64_t random = 7;
    while (value.size < 100000)
        buffer_append_u64(&value, store_fixture_random(&random));
    struct engine_txn *txn = begin_write(f);
    put(txn, APPLES, SLICE_LITERAL("large"), buffer_slice(&value));
    put(txn, PEARS, SLICE_LITERAL("a key to be damaged"), SLICE_LITERAL("sound"));
    commit(txn);
    fixture_close(f);

    size_t offset = find_in_file(f->path, slice_make(value.data + 50000, 100), &file);
    flip_bit(f->path, offset, 3);
    offset = find_in_file(f->path, SLICE_LITERAL("a key to be damaged"), &file);
    flip_bit(f->path, offset + 18, 1);
    fixture_open(f);
    txn = begin_read(f);
    struct error error = {0};
    struct slice key, found;
    expect_status(engine_get(txn, APPLES, SLICE_LITERAL("large"), &found, &error), STATUS_CORRUPT, &error);
    /* The value is sound, and yet no answer: it may belong to another key. */
    struct engine_cursor *cursor;
    expect_status(engine_cursor_open(txn, PEARS, &cursor, &error), STATUS_OK, &error);
    expect_status(engine_next(cursor, &key, &found, &error), STATUS_CORRUPT, &error);
    assert_true(slice_equal_text(key, "a key to be damagef"));
    engine_end(txn);
    buffer_release(&value);
    buffer_release(&file);
}

/* It would lead behind the end of the file, where touching the map ends the process. */
static void a_large_value_whose_size_is_damaged_is_reported(void **state)
{
    struct fixture *f = *state;
    struct buffer value = BUFFER_INIT, file = BUFFER_INIT;
    buffer_extend(&value, 100000);
    memset(value.data, 'v', value.size);
    struct engine_txn *txn = begin_write(f);
    put(txn, APPLES, SLICE_LITERAL("a large value"), buffer_slice(&value));
    commit(txn);
    for (unsigned bit = 18; bit < 32; bit++) {
        struct error error = {0};
        struct slice found;
        fixture_close(f);
        size_t size_at = find_in_file(f->path, SLICE_LITERAL("a large value"), &file) - 8;
        flip_bit(f->path, size_at + bit / 8, bit % 8);
        fixture_open(f);
        txn = begin_read(f);
        expect_status(engine_get(txn, APPLES, SLICE_LITERAL("a large value"), &found, &error), STATUS_CORRUPT,
                      &error);
        assert_non_null(strstr(error.text, "table apples"));
        engine_end(txn);
        flip_bit(f->path, size_at + bit / 8, bit % 8);
    }
    buffer_release(&value);
    buffer_release(&file);
}

/* Runs `work` in a child of this process and gives its wait status. */
static int run_child(int (*work)(struct fixture *f), struct fixture *f)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* cmocka's handlers would go on with the next test, in the child. */
        static const int signals[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
            signal(signals[i], SIG_DFL);
        int quiet = open("/dev/null", O_WRONLY);
        dup2(quiet, STDERR_FILENO);
        alarm(60);
        _exit(work(f));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

#define CHILD_WRONG_ANSWER 77
#define CHILD_HIDDEN       78 /* a pair is said not to be there */
#define DAMAGED_PAIRS      300
#define ROOTS_BYTES        8192

static int read_damaged(struct fixture *f)
{
    struct error error = {0};
    struct engine_txn *txn;
    struct engine_cursor *cursor;
    if (engine_open(&f->options, &f->engine, &error) != STATUS_OK ||
        engine_begin_read(f->engine, &txn, &error) != STATUS_OK ||
        engine_cursor_open(txn, APPLES, &cursor, &error) != STATUS_OK)
        return 0;
    struct buffer value = BUFFER_INIT;
    struct slice key, found;
    char text[32];
    enum status status;
    size_t count = 0;
    bool is_damaged = false;
    while ((status = engine_next(cursor, &key, &found, &error)) != STATUS_NOT_FOUND) {
        is_damaged |= status == STATUS_CORRUPT;
        if (status == STATUS_CORRUPT)
            continue;
        if (status != STATUS_OK)
            return 0;
        size_t index = key.size >= 3 ? (size_t)atoi((char[]){key.data[0], key.data[1], key.data[2], 0}) : 0;
        if (!slice_equal(key, model_key(index, text)) || !slice_equal(found, model_value(index, 1, &value)))
            return CHILD_WRONG_ANSWER;
        count++;
    }
    bool is_hidden = count < DAMAGED_PAIRS;
    for (size_t i = 0; i < DAMAGED_PAIRS; i++) {
        status = engine_get(txn, APPLES, model_key(i, text), &found, &error);
        is_hidden |= status == STATUS_NOT_FOUND;
        if (status == STATUS_OK && !slice_equal(found, model_value(i, 1, &value)))
            return CHILD_WRONG_ANSWER;
    }
    return is_hidden && !is_damaged ? CHILD_HIDDEN : 0;
}

/* The engine's own structure has no checksums: damage to it may stop the process, but not mislead it. (One of
 * its two roots that is damaged may leave the other one, the commit before.) */
static void a_flipped_bit_anywhere_never_gives_a_wrong_pair_nor_hides_one(void **state)
{
    struct fixture *f = *state;
    uint64_t random = store_fixture_seed();
    struct buffer value = BUFFER_INIT;
    char text[32];
    struct engine_txn *txn = begin_write(f);
    for (size_t i = 0; i < DAMAGED_PAIRS; i++)
        put(txn, APPLES, model_key(i, text), model_value(i, 1, &value));
    commit(txn);
    fixture_close(f);
    struct stat stat_of;
    assert_int_equal(stat(f->path, &stat_of), 0);
    for (int i = 0; i < 150; i++) {
        size_t offset = store_fixture_random(&random) % (size_t)stat_of.st_size;
        if (i % 3 == 0) /* a page's head, where it hurts most */
            offset = offset / 4096 * 4096 + offset % 64;
        unsigned bit = store_fixture_random(&random) % 8;
        flip_bit(f->path, offset, bit);
        int status = run_child(read_damaged, f);
        if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_WRONG_ANSWER)
            fail_msg("bit %u of byte %zu flipped gives a wrong answer", bit, offset);
        if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_HIDDEN && offset >= ROOTS_BYTES)
            fail_msg("bit %u of byte %zu flipped hides a pair", bit, offset);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
            fail_msg("bit %u of byte %zu flipped makes reading hang", bit, offset);
        flip_bit(f->path, offset, bit);
    }
    fixture_open(f);
    buffer_release(&value);
}

/* ---- Failures ---- */

/* Fills the store until a transaction fails, and gives its status. */
static enum status fill(struct fixture *f, uint64_t *number, struct error *error)
{
    static char value[10000];
    for (;;) {
        char key[8];
        store_u64_be(key, ++*number);
        struct engine_txn *txn;
        enum status status = engine_begin_write(f->engine, &txn, error);
        if (status != STATUS_OK)
            return status;
        for (int i = 0; status == STATUS_OK && i < 10; i++) {
            store_u64_be(key, *number * 10 + (uint64_t)i);
            status =
                engine_put(txn, APPLES, slice_make(key, sizeof key), slice_make(value, sizeof value), error);
        }
        if (status != STATUS_OK) {
            /* A transaction in which a write failed cannot be committed by mistake. */
            if (engine_put(txn, APPLES, slice_make(key, sizeof key), nothing, NULL) != status)
                fail_msg("a put after a failed one does not fail");
            struct error second;
            if (engine_commit(txn, &second) != status)
                fail_msg("a commit after a failed put does not fail");
            return status;
        }
        status = engine_commit(txn, error);
        if (status != STATUS_OK)
            return status;
    }
}

static void a_full_map_is_no_space_and_the_store_goes_on(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->options.map_bytes = 4 * 1024 * 1024;
    fixture_open(f);
    put_keys(f, fruit, FRUIT_COUNT);
    uint64_t number = 0;
    struct error error = {0};
    expect_status(fill(f, &number, &error), STATUS_NO_SPACE, &error);
    assert_non_null(strstr(error.text, "map"));
    struct engine_txn *txn = begin_read(f);
    expect_text(txn, "b", "b");
    engine_end(txn);
    fixture_close(f);
    f->options.map_bytes = 8 * 1024 * 1024;
    fixture_open(f);
    uint64_t before = number;
    expect_status(fill(f, &number, &error), STATUS_NO_SPACE, &error);
    assert_true(number > before);
}

#define CHILD_OK 3

/* A file size limit cuts writes short as a full disk does. */
static int fill_disk(struct fixture *f)
{
    signal(SIGXFSZ, SIG_IGN);
    struct error error = {0};
    uint64_t number = 0;
    struct rlimit limit = {.rlim_cur = 3 * 1024 * 1024 + 1000, .rlim_max = RLIM_INFINITY};
    if (engine_open(&f->options, &f->engine, &error) != STATUS_OK || setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return 4;
    if (fill(f, &number, &error) != STATUS_NO_SPACE)
        return 5;
    uint64_t before = number;
    limit.rlim_cur = 6 * 1024 * 1024 + 1000;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0 || fill(f, &number, &error) != STATUS_NO_SPACE ||
        number < before + 10)
        return 6;
    engine_close(f->engine);
    return CHILD_OK;
}

static void a_full_disk_is_no_space_and_the_store_goes_on(void **state)
{
    struct fixture *f = *state;
    put_keys(f, fruit, FRUIT_COUNT);
    fixture_close(f);
    int status = run_child(fill_disk, f);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CHILD_OK);
    fixture_open(f);
    struct engine_txn *txn = begin_read(f);
    expect_text(txn, "b", "b");
    engine_end(txn);
}

static const char *failpoints;

static int commit_with_failpoint(struct fixture *f)
{
    setenv("SLUICE_FAILPOINTS", failpoints, 1);
    failpoint_state = 0; /* asks again */
    struct engine_txn *txn = NULL;
    enum status status = engine_open(&f->options, &f->engine, NULL);
    if (status == STATUS_OK)
        status = engine_begin_write(f->engine, &txn, NULL);
    if (status == STATUS_OK)
        status = engine_put(txn, APPLES, SLICE_LITERAL("new"), SLICE_LITERAL("new"), NULL);
    if (status == STATUS_OK)
        return (int)engine_commit(txn, NULL);
    engine_end(txn);
    return (int)status;
}

static void a_process_that_dies_leaves_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *failpoints;
        enum status status; /* STATUS_COUNT: killed */
        bool stands;
    } cases[] = {
        {"engine.begin-write=kill", STATUS_COUNT, false},
        {"engine.put=kill", STATUS_COUNT, false},
        {"engine.commit.before=kill", STATUS_COUNT, false},
        {"engine.commit.after=kill", STATUS_COUNT, true},
        {"engine.begin-write=nospace", STATUS_NO_SPACE, false},
        {"engine.put=nospace", STATUS_NO_SPACE, false},
        {"engine.commit.before=error", STATUS_IO, false},
        {"engine.commit.after=error", STATUS_IO, true},
        {"engine.commit.after=sleep", STATUS_OK, true},
    };
    fixture_close(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        failpoints = cases[i].failpoints;
        int status = run_child(commit_with_failpoint, f);
        if (cases[i].status == STATUS_COUNT)
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        else
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == (int)cases[i].status);
        fixture_open(f);
        struct engine_txn *txn = begin_write(f); /* the dead one's lock is free */
        if (cases[i].stands) {
            expect_text(txn, "new", "new");
            delete_text(txn, "new");
        } else {
            expect_none(txn, "new");
        }
        commit(txn);
        fixture_close(f);
    }
    fixture_open(f);
}

static void slots_of_killed_readers_are_freed(void **state)
{
    struct fixture *f = *state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    fixture_close(f);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct engine_txn *txns[2];
        if (engine_open(&f->options, &f->engine, NULL) != STATUS_OK ||
            engine_begin_read(f->engine, &txns[0], NULL) != STATUS_OK ||
            engine_begin_read(f->engine, &txns[1], NULL) != STATUS_OK || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    fixture_open(f);
    assert_int_equal(engine_clear_stale_readers(f->engine), 0); /* it lives */
    put_keys(f, fruit, FRUIT_COUNT);

    struct error error = {0};
    struct engine_stats stats;
    expect_status(engine_stats(f->engine, &stats, &error), STATUS_OK, &error);
    assert_int_equal(stats.readers, 2);
    assert_int_equal(stats.oldest_reader_age, 1);

    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(engine_clear_stale_readers(f->engine), 2);
    expect_status(engine_stats(f->engine, &stats, &error), STATUS_OK, &error);
    assert_int_equal(stats.readers, 0);
    assert_int_equal(stats.oldest_reader_age, 0);
}

static void statistics_count_pairs_pages_and_readers(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct engine_stats stats;
    struct engine_table_stats table;
    static char value[100000];
    struct engine_txn *txn = begin_write(f);
    put(txn, APPLES, SLICE_LITERAL("a"), slice_make(value, sizeof value));
    put(txn, APPLES, SLICE_LITERAL("b"), slice_make(value, sizeof value));
    commit(txn);
    txn = begin_read(f);
    expect_status(engine_table_stats(txn, APPLES, &table, &error), STATUS_OK, &error);
    assert_int_equal(table.entries, 2);
    assert_in_range(table.pages_bytes, 200000, 230000);
    expect_status(engine_table_stats(txn, PEARS, &table, &error), STATUS_OK, &error);
    assert_int_equal(table.entries, 0);
    engine_end(txn);

    txn = begin_write(f);
    delete_text(txn, "a");
    commit(txn);
    txn = begin_read(f);
    expect_status(engine_stats(f->engine, &stats, &error), STATUS_OK, &error);
    assert_int_equal(stats.map_bytes, STORE_FIXTURE_MAP_BYTES);
    assert_in_range(stats.file_bytes, 200000, 300000);
    assert_in_range(stats.free_bytes, 100000, 150000);
    assert_int_equal(stats.readers, 1);
    assert_int_equal(stats.readers_max, 512);
    engine_end(txn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(what_was_committed_is_there_after_reopening),
        TEST(create_refuses_what_exists_and_leaves_it_alone),
        TEST(open_makes_nothing_where_nothing_is),
        TEST(open_calls_an_interrupted_creation_not_found),
        TEST(open_refuses_a_file_of_another_kind),
        TEST(open_names_the_table_that_is_missing),
        TEST(one_process_opens_a_file_once),
        TEST(a_store_opened_for_reading_reads),
        TEST(files_belong_to_their_owner_alone),
        TEST(put_replaces_and_delete_removes),
        TEST(tables_are_apart),
        TEST(put2_joins_its_two_parts),
        TEST(values_of_every_size_come_back),
        TEST(keys_of_every_length_are_kept_apart),
        TEST(put_may_be_given_what_it_was_lent),
        TEST(writes_are_counted),
        TEST(cursor_walks_in_memcmp_order),
        TEST(cursor_stays_within_its_bounds),
        TEST(cursor_gives_what_begins_with_a_prefix),
        TEST(cursor_keeps_its_own_copy_of_the_bounds),
        TEST(cursor_of_an_empty_table_is_at_its_end),
        TEST(cursor_sees_what_its_own_transaction_wrote),
        TEST(cursors_close_in_any_order),
        TEST(each_goes_on_behind_damage_and_stops_at_other_failures),
        TEST(ended_transaction_leaves_nothing),
        TEST(reader_sees_the_store_as_it_began),
        TEST(the_newest_commit_tells_whether_a_read_would_see_anything_new),
        TEST(a_read_after_another_sees_what_was_committed_in_between),
        TEST(one_thread_may_hold_many_readers),
        TEST(threads_read_whole_snapshots_while_one_writes),
        TEST(readers_over_their_bound_are_busy),
        TEST(random_work_agrees_with_a_sorted_model),
        TEST(a_flipped_bit_in_a_value_is_reported_and_costs_only_itself),
        TEST(a_flipped_bit_in_a_large_value_or_in_a_key_is_reported),
        TEST(a_large_value_whose_size_is_damaged_is_reported),
        TEST(a_flipped_bit_anywhere_never_gives_a_wrong_pair_nor_hides_one),
        TEST(a_full_map_is_no_space_and_the_store_goes_on),
        TEST(a_full_disk_is_no_space_and_the_store_goes_on),
        TEST(a_process_that_dies_leaves_all_or_nothing),
        TEST(slots_of_killed_readers_are_freed),
        TEST(statistics_count_pairs_pages_and_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
