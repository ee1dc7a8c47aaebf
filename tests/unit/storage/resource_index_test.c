#include "storage/resource_index.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "tests/support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define EOB      RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define COVERAGE RESOURCE_TYPE_COVERAGE

struct fixture {
    struct store_fixture store;
    uint64_t random;
    struct arena arena;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    store_fixture_open(&f->store);
    f->random = store_fixture_seed();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_fixture_close(&f->store);
    arena_release(&f->arena);
    mem_free(f);
    return 0;
}

struct change {
    struct write_request request;
    enum resource_type type;
    const struct slice *ids;
    size_t count;
    struct slice beneficiary; /* empty: delete */
};

static enum status change_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct change *change = (struct change *)request;
    return change->beneficiary.size
               ? resource_index_put(write, change->type, change->ids, change->count, change->beneficiary,
                                    error)
               : resource_index_delete(write, change->type, change->ids, change->count, error);
}

static void change(struct fixture *f, enum resource_type type, const struct slice *ids, size_t count,
                   const char *beneficiary)
{
    struct error error = {0};
    struct change request = {{.apply = change_run}, type, ids, count, slice_from_text(beneficiary)};
    if (writer_call(f->store.writer, &request.request, &error) != STATUS_OK)
        fail_msg("%s", error.text);
}

/* The beneficiary, or "" for none; lives until the arena's reset. */
static const char *owner_of(struct fixture *f, struct engine_txn *txn, enum resource_type type,
                            struct slice id)
{
    struct slice owner;
    struct error error = {0};
    enum status status = resource_index_get(txn, type, id, &owner, &error);
    if (status == STATUS_NOT_FOUND)
        return "";
    if (status != STATUS_OK)
        fail_msg("%s", error.text);
    return arena_text(&f->arena, owner);
}

static void expect_owner(struct fixture *f, enum resource_type type, const char *id, const char *expected)
{
    struct engine_txn *txn = store_fixture_read(&f->store);
    assert_string_equal(owner_of(f, txn, type, slice_from_text(id)), expected);
    engine_end(txn);
}

static void put_one(struct fixture *f, enum resource_type type, const char *id, const char *beneficiary)
{
    struct slice slice = slice_from_text(id);
    change(f, type, &slice, 1, beneficiary);
}

/* Packs everything; in how many steps. */
static size_t pack(struct fixture *f)
{
    struct resource_index_pack request;
    struct error error = {0};
    struct key position = {.size = 0};
    size_t steps = 0;
    do {
        resource_index_pack_init(&request, key_slice(&position));
        if (writer_call(f->store.writer, &request.request, &error) != STATUS_OK)
            fail_msg("%s", error.text);
        position = request.ret_next;
        steps++;
    } while (request.ret_more);
    return steps;
}

struct walked {
    size_t blocks, entries, bytes;
};

/* Every block is sound, and their ids ascend from block to block. */
static struct walked walk(struct fixture *f)
{
    struct walked walked = {0};
    struct engine_cursor *cursor;
    struct slice key, value, last = {0};
    int type = -1;
    enum status status;
    struct error error = {0};
    struct engine_txn *txn = store_fixture_read(&f->store);
    assert_int_equal(engine_cursor_open(txn, TABLE_RESOURCE, &cursor, NULL), STATUS_OK);
    engine_seek(cursor, (struct slice){0}, (struct slice){0});
    while ((status = engine_next(cursor, &key, &value, &error)) == STATUS_OK) {
        struct resource_block block;
        assert_true(value.size <= RESOURCE_BLOCK_BYTES_MAX);
        if (resource_block_read(key, value, &f->arena, &block, &error) != STATUS_OK)
            fail_msg("%s", error.text);
        assert_true(block.count > 0);
        if ((int)block.type != type)
            last = (struct slice){"", 0};
        type = (int)block.type;
        assert_true(slice_compare(last, block.entries[0].id) < 0);
        last = block.bound.size ? block.bound : block.entries[block.count - 1].id;
        walked.blocks++;
        walked.entries += block.count;
        walked.bytes += value.size;
    }
    assert_int_equal(status, STATUS_NOT_FOUND);
    engine_cursor_close(cursor);
    engine_end(txn);
    return walked;
}

static void what_was_put_is_found_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    expect_owner(f, EOB, "a", "");
    put_one(f, EOB, "b", "one");
    put_one(f, EOB, "bb", "two");
    put_one(f, COVERAGE, "b", "three");
    put_one(f, EOB, "a", "two");
    expect_owner(f, EOB, "a", "two");
    expect_owner(f, EOB, "b", "one");
    expect_owner(f, EOB, "bb", "two");
    expect_owner(f, COVERAGE, "b", "three");
    static const char *const absent[] = {"A", "aa", "ba", "bbb", "c", "\x7f"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        expect_owner(f, EOB, absent[i], "");
    expect_owner(f, COVERAGE, "bb", "");
    expect_owner(f, RESOURCE_TYPE_PATIENT, "b", "");
    put_one(f, EOB, "b", "two");
    expect_owner(f, EOB, "b", "two");
    assert_int_equal(walk(f).entries, 4);
    put_one(f, EOB, "b", "");
    put_one(f, EOB, "absent", "");
    expect_owner(f, EOB, "b", "");
    expect_owner(f, EOB, "a", "two");
    put_one(f, COVERAGE, "b", "");
    assert_int_equal(walk(f).blocks, 1);
}

static void ids_and_beneficiaries_of_every_size_come_back(void **state)
{
    struct fixture *f = *state;
    char id[RESOURCE_ID_MAX + 1] = "", beneficiary[RESOURCE_ID_MAX + 1] = "";
    for (size_t size = 1; size <= RESOURCE_ID_MAX; size++) {
        memset(id, 'x', size);
        memset(beneficiary, 'b', RESOURCE_ID_MAX + 1 - size);
        beneficiary[RESOURCE_ID_MAX + 1 - size] = '\0';
        put_one(f, EOB, id, beneficiary);
        id[size - 1] = '\xff';
        put_one(f, EOB, id, beneficiary);
        expect_owner(f, EOB, id, beneficiary);
    }
    assert_int_equal(walk(f).entries, 2 * RESOURCE_ID_MAX);
}

/* As a first load brings them: claims of one beneficiary after another, of two kinds. */
static void what_comes_in_order_is_kept_densely(void **state)
{
    struct fixture *f = *state;
    enum { BENEFICIARIES = 200, CLAIMS = 50 };
    static char texts[CLAIMS][32];
    struct slice ids[CLAIMS];
    for (int b = 0; b < BENEFICIARIES; b++) {
        char beneficiary[32];
        snprintf(beneficiary, sizeof beneficiary, "-%d", 1000000 + b);
        for (int i = 0; i < CLAIMS; i++) {
            snprintf(texts[i], sizeof texts[i], "%s--%014d", i < CLAIMS / 2 ? "carrier" : "pde", b * 100 + i);
            ids[i] = slice_from_text(texts[i]);
        }
        change(f, EOB, ids, CLAIMS, beneficiary);
    }
    struct walked walked = walk(f);
    assert_int_equal(walked.entries, BENEFICIARIES * CLAIMS);
    assert_true(walked.bytes < 8 * walked.entries);
    assert_true(walked.bytes > walked.blocks * RESOURCE_BLOCK_BYTES_MAX / 2);
    pack(f);
    walked = walk(f);
    assert_int_equal(walked.entries, BENEFICIARIES * CLAIMS);
    assert_true(walked.bytes > walked.blocks * RESOURCE_BLOCK_BYTES_MAX * 8 / 10);
    size_t blocks = walked.blocks;
    pack(f);
    assert_int_equal(walk(f).blocks, blocks);
    expect_owner(f, EOB, "carrier--00000000001224", "-1000012");
}

static int slice_order(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Against an array of owners, by number: ids in runs, in any order, and far apart. */
static void random_work_agrees_with_a_model(void **state)
{
    struct fixture *f = *state;
    enum { IDS = 4000, ROUNDS = 200, RUN_MAX = 60 };
    static unsigned owners[IDS]; /* 0: none */
    memset(owners, 0, sizeof owners);
    for (int round = 0; round < ROUNDS; round++) {
        struct slice ids[RUN_MAX];
        unsigned numbers[RUN_MAX];
        char owner_text[32] = "", text[32];
        size_t count = 1 + store_fixture_random(&f->random) % RUN_MAX;
        unsigned start = (unsigned)(store_fixture_random(&f->random) % IDS);
        unsigned step = store_fixture_random(&f->random) % 2 ? 1 : 977;
        unsigned owner = (unsigned)(store_fixture_random(&f->random) % (round < ROUNDS * 3 / 4 ? 40 : 2));
        arena_reset(&f->arena);
        if (owner)
            snprintf(owner_text, sizeof owner_text, "beneficiary-%u", owner * owner);
        for (size_t i = 0; i < count; i++) {
            numbers[i] = (start + (unsigned)i * step) % IDS;
            owners[numbers[i]] = owner;
            snprintf(text, sizeof text, "%s-%06x", numbers[i] % 3 ? "claim" : "pde",
                     numbers[i] * 40503u & 0xffffff);
            ids[i] = arena_copy(&f->arena, slice_from_text(text));
        }
        if (store_fixture_random(&f->random) % 4)
            qsort(ids, count, sizeof *ids, slice_order);
        change(f, EOB, ids, count, owner_text);
        if (round % 50 != 49)
            continue;
        if (round % 100 == 99)
            assert_in_range(pack(f), 1, 5);
        size_t expected = 0;
        struct engine_txn *txn = store_fixture_read(&f->store);
        for (unsigned i = 0; i < IDS; i++) {
            char id[32], owner_expected[32] = "";
            snprintf(id, sizeof id, "%s-%06x", i % 3 ? "claim" : "pde", i * 40503u & 0xffffff);
            if (owners[i])
                snprintf(owner_expected, sizeof owner_expected, "beneficiary-%u", owners[i] * owners[i]);
            assert_string_equal(owner_of(f, txn, EOB, slice_from_text(id)), owner_expected);
            expected += owners[i] != 0;
        }
        engine_end(txn);
        struct walked walked = walk(f);
        assert_int_equal(walked.entries, expected);
    }
}

static void a_block_that_is_not_in_order_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char key[] = "\x00\x00"
                              "claim-2";
    static const char good[] = "I\x01\x02\x00\x01\x00"
                               "\x01"
                               "b"
                               "\x00\x07"
                               "claim-1\x00\x00"
                               "\x06\x01"
                               "2\x00\x00";
    struct slice key_slice_ = slice_make(key, sizeof key), value = slice_make(good, sizeof good - 1);
    struct resource_block block;
    assert_int_equal(resource_block_read(key_slice_, value, &f->arena, &block, NULL), STATUS_OK);
    assert_int_equal(block.count, 2);
    assert_true(slice_equal_text(block.entries[1].id, "claim-2"));
    for (size_t size = 0; size < value.size; size++)
        assert_int_equal(resource_block_read(key_slice_, slice_make(good, size), &f->arena, &block, NULL),
                         STATUS_CORRUPT);
    static const struct {
        size_t at;
        char byte;
    } changes[] = {{0, 'J'}, {1, 2},  {2, 3},  {2, 0},    {4, 0},   {8, 1},
                   {17, 1},  {19, 8}, {19, 5}, {21, '1'}, {21, '3'}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char copy[sizeof good];
        memcpy(copy, good, sizeof good);
        copy[changes[i].at] = changes[i].byte;
        enum status status =
            resource_block_read(key_slice_, slice_make(copy, value.size), &f->arena, &block, NULL);
        if (status != STATUS_CORRUPT)
            fail_msg("change %zu: %s", i, status_name(status));
    }
    static const char *const keys[] = {"\x03\x01", "\x00\x02", "\x00"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(
            resource_block_read(slice_make(keys[i], i == 2 ? 1 : 2), value, &f->arena, &block, NULL),
            STATUS_CORRUPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(what_was_put_is_found_and_nothing_else),  TEST(ids_and_beneficiaries_of_every_size_come_back),
        TEST(what_comes_in_order_is_kept_densely),     TEST(random_work_agrees_with_a_model),
        TEST(a_block_that_is_not_in_order_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
