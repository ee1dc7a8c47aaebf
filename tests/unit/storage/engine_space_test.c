/*
 * Giving disk space back: what is read now, what readers of older snapshots read, and what a crash would come
 * back to, stays whole, and the file's blocks become fewer.
 */
#include "codec/base/buffer.h"
#include "codec/base/bytes.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "storage/engine.h"
#include "tests/support/store_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TABLE, TABLE_COUNT_HERE };
static const char *const names[] = {"table"};

#define VALUES         64
#define VALUE_SIZE_MAX 50000
#define META_BYTES     (2 * 4096) /* LMDB's two roots */

/* What a snapshot holds: the generation of each value, 0: none. A value's bytes follow from key and
 * generation. */
struct model {
    unsigned generations[VALUES];
};

struct fixture {
    char root[STORE_FIXTURE_PATH_MAX];
    char path[STORE_FIXTURE_PATH_MAX + 16], copy_path[STORE_FIXTURE_PATH_MAX + 16];
    struct engine_options options;
    struct engine *engine;
    struct model now, before; /* as of the newest commit, and of the one before it */
    char metas[META_BYTES];   /* of the file, as of the commit before the newest */
    unsigned generation;
    uint64_t random;
    char *value;
};

static void expect_ok(enum status status, const struct error *error)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", status_name(status), error->text);
}

static void fixture_open(struct fixture *f)
{
    struct error error = {0};
    expect_ok(engine_open(&f->options, &f->engine, &error), &error);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    store_fixture_dir_make(f->root);
    snprintf(f->path, sizeof f->path, "%s/engine", f->root);
    snprintf(f->copy_path, sizeof f->copy_path, "%s/copy", f->root);
    f->options = (struct engine_options){.path = f->path,
                                         .tables = names,
                                         .table_count = TABLE_COUNT_HERE,
                                         .map_bytes = STORE_FIXTURE_MAP_BYTES,
                                         .create = true};
    f->random = store_fixture_seed();
    f->value = mem_alloc(VALUE_SIZE_MAX);
    fixture_open(f);
    f->options.create = false;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    engine_close(f->engine);
    store_fixture_dir_remove(f->root);
    mem_free(f->value);
    mem_free(f);
    return 0;
}

static struct slice value_of(struct fixture *f, unsigned index, unsigned generation)
{
    uint64_t state = generation * UINT64_C(1000) + index;
    size_t size = store_fixture_random(&state) % VALUE_SIZE_MAX;
    for (size_t i = 0; i + sizeof state <= size; i += sizeof state)
        store_u64_le(f->value + i, store_fixture_random(&state));
    memset(f->value + size / sizeof state * sizeof state, 'x', size % sizeof state);
    return slice_make(f->value, size);
}

static struct slice key_of(unsigned index, char text[16])
{
    snprintf(text, 16, "key%02u", index);
    return slice_from_text(text);
}

static void expect_model(struct fixture *f, struct engine_txn *txn, const struct model *model)
{
    for (unsigned i = 0; i < VALUES; i++) {
        char text[16];
        struct slice found;
        struct error error = {0};
        enum status status = engine_get(txn, TABLE, key_of(i, text), &found, &error);
        if (model->generations[i] == 0) {
            assert_int_equal(status, STATUS_NOT_FOUND);
            continue;
        }
        expect_ok(status, &error);
        if (!slice_equal(found, value_of(f, i, model->generations[i])))
            fail_msg("key %u has not its value of generation %u", i, model->generations[i]);
    }
}

static void read_file(const char *path, struct buffer *target)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    struct stat info;
    assert_int_equal(fstat(fileno(file), &info), 0);
    buffer_reset(target);
    size_t size = (size_t)info.st_size;
    assert_int_equal(fread(buffer_extend(target, size), 1, size, file), size);
    fclose(file);
}

static uint64_t blocks_of(struct fixture *f)
{
    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    return (uint64_t)info.st_blocks * 512;
}

/* What would be found if the machine had stopped here: with the newest root on the disk, or without it. */
static void expect_crash_comes_back(struct fixture *f, bool has_newest_root)
{
    struct buffer bytes = BUFFER_INIT;
    read_file(f->path, &bytes);
    if (!has_newest_root)
        memcpy(bytes.data, f->metas, META_BYTES);
    FILE *file = fopen(f->copy_path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
    fclose(file);
    buffer_release(&bytes);
    struct engine_options options = f->options;
    struct engine *engine;
    struct engine_txn *txn;
    struct error error = {0};
    options.path = f->copy_path;
    expect_ok(engine_open(&options, &engine, &error), &error);
    expect_ok(engine_begin_read(engine, &txn, &error), &error);
    expect_model(f, txn, has_newest_root ? &f->now : &f->before);
    engine_end(txn);
    engine_close(engine);
}

static struct engine_txn *begin_write(struct fixture *f)
{
    struct engine_txn *txn;
    struct error error = {0};
    expect_ok(engine_begin_write(f->engine, &txn, &error), &error);
    return txn;
}

static void commit(struct fixture *f, struct engine_txn *txn, const struct model *model)
{
    struct error error = {0};
    struct buffer bytes = BUFFER_INIT;
    read_file(f->path, &bytes);
    memcpy(f->metas, bytes.data, META_BYTES);
    buffer_release(&bytes);
    expect_ok(engine_commit(txn, &error), &error);
    f->before = f->now;
    f->now = *model;
}

/* Replaces and deletes some values; without a transaction only in the model. */
static void churn(struct fixture *f, struct engine_txn *txn, unsigned changes, struct model *model)
{
    struct error error = {0};
    for (unsigned i = 0; i < changes; i++) {
        char text[16];
        unsigned index = (unsigned)(store_fixture_random(&f->random) % VALUES);
        struct slice key = key_of(index, text);
        if (model->generations[index] && store_fixture_random(&f->random) % 3 == 0) {
            if (txn)
                expect_ok(engine_delete(txn, TABLE, key, &error), &error);
            model->generations[index] = 0;
        } else {
            model->generations[index] = ++f->generation;
            if (txn)
                expect_ok(engine_put(txn, TABLE, key, value_of(f, index, f->generation), &error), &error);
        }
    }
}

static void churn_and_commit(struct fixture *f, unsigned changes)
{
    struct model model = f->now;
    struct engine_txn *txn = begin_write(f);
    churn(f, txn, changes, &model);
    commit(f, txn, &model);
}

/* In one transaction, to its end. */
static uint64_t release_all(struct engine_txn *txn)
{
    uint64_t position = 0, sum = 0, bytes;
    bool more = true;
    struct error error = {0};
    while (more) {
        expect_ok(engine_release_space(txn, 0, &position, &bytes, &more, &error), &error);
        sum += bytes;
    }
    return sum;
}

static void delete_all(struct fixture *f)
{
    struct engine_txn *txn = begin_write(f);
    struct model model = {{0}};
    for (unsigned i = 0; i < VALUES; i++) {
        char text[16];
        if (f->now.generations[i])
            assert_int_equal(engine_delete(txn, TABLE, key_of(i, text), NULL), STATUS_OK);
    }
    commit(f, txn, &model);
}

static void the_space_of_what_was_deleted_is_given_back(void **state)
{
    struct fixture *f = *state;
    churn_and_commit(f, 3 * VALUES);
    uint64_t full = blocks_of(f);
    delete_all(f);
    /* The pages of the newest commit's deletions belong to the snapshot before it still. */
    struct engine_txn *txn = begin_write(f);
    (void)release_all(txn);
    expect_crash_comes_back(f, false);
    commit(f, txn, &f->now);
    churn_and_commit(f, 1);
    txn = begin_write(f);
    uint64_t bytes = release_all(txn);
    assert_true(bytes > full / 2);
    assert_true(blocks_of(f) < full / 4);
    assert_int_equal(release_all(txn), 0); /* holes are not made twice */
    expect_crash_comes_back(f, true);
    expect_crash_comes_back(f, false);
    commit(f, txn, &f->now);
    /* What was given back is used again. */
    for (int i = 0; i < 5; i++)
        churn_and_commit(f, VALUES);
    txn = begin_write(f);
    expect_model(f, txn, &f->now);
    engine_end(txn);
}

static void what_a_reader_sees_keeps_its_pages(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct engine_txn *reader;
    churn_and_commit(f, 3 * VALUES);
    uint64_t full = blocks_of(f);
    struct model seen = f->now;
    expect_ok(engine_begin_read(f->engine, &reader, &error), &error);
    delete_all(f);
    for (int i = 0; i < 3; i++)
        churn_and_commit(f, 2);
    struct engine_txn *txn = begin_write(f);
    (void)release_all(txn);
    commit(f, txn, &f->now);
    assert_true(blocks_of(f) > full * 3 / 4);
    expect_model(f, reader, &seen);
    engine_end(reader);
    txn = begin_write(f);
    (void)release_all(txn);
    assert_true(blocks_of(f) < full / 2);
    expect_model(f, txn, &f->now);
    engine_end(txn);
}

static void the_end_of_the_file_is_given_back_too(void **state)
{
    struct fixture *f = *state;
    churn_and_commit(f, VALUES);
    struct stat info;
    int fd = open(f->path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &info), 0);
    assert_int_equal(posix_fallocate(fd, info.st_size, 1 << 20), 0);
    uint64_t before = blocks_of(f);
    close(fd);
    struct engine_txn *txn = begin_write(f);
    (void)release_all(txn);
    assert_true(blocks_of(f) + (1 << 20) <= before);
    commit(f, txn, &f->now);
}

static void it_stops_after_its_time_and_goes_on(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++)
        churn_and_commit(f, VALUES);
    uint64_t position = 0, bytes, sum = 0, calls = 0, last = 0;
    bool more = true;
    struct error error = {0};
    struct engine_txn *txn = begin_write(f);
    while (more) {
        expect_ok(engine_release_space(txn, 0, &position, &bytes, &more, &error), &error);
        assert_true(!more || position > last);
        last = position;
        sum += bytes;
        calls++;
    }
    assert_true(calls > 1); /* with no time at all, one hole a call */
    assert_true(sum > 0);
    engine_end(txn);
}

/* Random work, readers and releases; at each release, whatever a crash would come back to is whole. */
static void random_work_loses_nothing(void **state)
{
    struct fixture *f = *state;
    enum { READERS = 3, ROUNDS = 120 };
    struct {
        struct engine_txn *txn;
        struct model seen;
    } readers[READERS];
    memset(readers, 0, sizeof readers);
    struct error error = {0};
    churn_and_commit(f, 1);
    churn_and_commit(f, 1);
    for (int round = 0; round < ROUNDS; round++) {
        unsigned slot = (unsigned)(store_fixture_random(&f->random) % READERS);
        struct model model = f->now;
        struct engine_txn *txn = begin_write(f);
        if (store_fixture_random(&f->random) % 2) {
            (void)release_all(txn);
            if (round % 4 == 0)
                expect_crash_comes_back(f, store_fixture_random(&f->random) % 2);
        }
        churn(f, txn, (unsigned)(store_fixture_random(&f->random) % 12), &model);
        if (store_fixture_random(&f->random) % 8)
            commit(f, txn, &model);
        else
            engine_end(txn);
        if (readers[slot].txn) {
            expect_model(f, readers[slot].txn, &readers[slot].seen);
            engine_end(readers[slot].txn);
            readers[slot].txn = NULL;
        } else {
            expect_ok(engine_begin_read(f->engine, &readers[slot].txn, &error), &error);
            readers[slot].seen = f->now;
        }
    }
    for (unsigned i = 0; i < READERS; i++) {
        if (readers[i].txn)
            expect_model(f, readers[i].txn, &readers[i].seen);
        engine_end(readers[i].txn);
    }
    engine_close(f->engine);
    fixture_open(f);
    struct engine_txn *txn = begin_write(f);
    expect_model(f, txn, &f->now);
    engine_end(txn);
}

static void death_between_two_holes_costs_nothing(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        churn_and_commit(f, VALUES);
    for (unsigned at = 1; at < 12; at++) {
        engine_close(f->engine);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            char failpoints[64];
            snprintf(failpoints, sizeof failpoints, "engine.release=kill@%u", at);
            setenv("SLUICE_FAILPOINTS", failpoints, 1);
            failpoint_state = 0; /* asks again */
            fixture_open(f);
            churn_and_commit(f, 1);
            (void)release_all(begin_write(f));
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
        fixture_open(f);
        churn(f, NULL, 1, &f->now); /* as the child did, from the same numbers */
        struct engine_txn *txn = begin_write(f);
        expect_model(f, txn, &f->now);
        engine_end(txn);
        churn_and_commit(f, 20);
    }
}

static void a_failure_is_told_and_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    uint64_t position = 0, bytes;
    bool more;
    for (int i = 0; i < 3; i++)
        churn_and_commit(f, VALUES);
    setenv("SLUICE_FAILPOINTS", "engine.release=error@1", 1);
    failpoint_state = 0;
    struct engine_txn *txn = begin_write(f);
    assert_int_equal(engine_release_space(txn, 1000000, &position, &bytes, &more, &error), STATUS_IO);
    assert_non_null(strstr(error.text, "give space back"));
    unsetenv("SLUICE_FAILPOINTS");
    expect_model(f, txn, &f->now);
    (void)release_all(txn);
    expect_model(f, txn, &f->now);
    engine_end(txn);
}

/* Lists of free pages have no checksum. One that cannot be LMDB's must not lead to holes elsewhere: of
 * several pages one after another, in falling order, the second becomes another. */
static void change_free_lists(struct fixture *f, uint64_t page)
{
    struct buffer bytes = BUFFER_INIT;
    size_t found = 0;
    read_file(f->path, &bytes);
    for (size_t at = META_BYTES; at + 5 * sizeof(uint64_t) <= bytes.size; at += 2) {
        uint64_t list[5];
        for (size_t i = 0; i < 5; i++)
            list[i] = load_u64_le(bytes.data + at + i * sizeof(uint64_t));
        if (list[0] < 4 || list[0] > 100000 || list[1] > 100000 || list[4] < 2 || list[2] + 1 != list[1] ||
            list[3] + 1 != list[2] || list[4] + 1 != list[3])
            continue;
        store_u64_le(bytes.data + at + 2 * sizeof(uint64_t), page);
        found++;
    }
    assert_true(found > 0);
    FILE *file = fopen(f->path, "r+b");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
    fclose(file);
    buffer_release(&bytes);
}

static void a_list_of_free_pages_that_is_damaged_makes_no_holes(void **state)
{
    struct fixture *f = *state;
    static const uint64_t pages[] = {UINT64_C(1) << 40, 1, 0};
    churn_and_commit(f, 3 * VALUES);
    delete_all(f);
    churn_and_commit(f, VALUES);
    churn_and_commit(f, 1);
    engine_close(f->engine);
    struct buffer sound = BUFFER_INIT;
    read_file(f->path, &sound);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        struct error error = {0};
        uint64_t position = 0, bytes;
        bool more;
        change_free_lists(f, pages[i]);
        fixture_open(f);
        struct engine_txn *txn = begin_write(f);
        assert_int_equal(engine_release_space(txn, 1000000, &position, &bytes, &more, &error),
                         STATUS_CORRUPT);
        assert_non_null(strstr(error.text, "give space back"));
        expect_model(f, txn, &f->now);
        engine_end(txn);
        engine_close(f->engine);
        FILE *file = fopen(f->path, "r+b");
        assert_non_null(file);
        assert_int_equal(fwrite(sound.data, 1, sound.size, file), sound.size);
        fclose(file);
    }
    buffer_release(&sound);
    fixture_open(f);
    struct engine_txn *txn = begin_write(f);
    assert_true(release_all(txn) > 0);
    expect_model(f, txn, &f->now);
    engine_end(txn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(the_space_of_what_was_deleted_is_given_back),
        TEST(what_a_reader_sees_keeps_its_pages),
        TEST(the_end_of_the_file_is_given_back_too),
        TEST(it_stops_after_its_time_and_goes_on),
        TEST(random_work_loses_nothing),
        TEST(death_between_two_holes_costs_nothing),
        TEST(a_failure_is_told_and_costs_nothing),
        TEST(a_list_of_free_pages_that_is_damaged_makes_no_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
