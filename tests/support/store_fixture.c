#include "tests/support/store_fixture.h"

#include "storage/accounts.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const struct store_options options = {.map_bytes = STORE_FIXTURE_MAP_BYTES};

static void expect_ok(enum status status, const struct error *error)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", status_name(status), error->text);
}

void store_fixture_dir_make(char path[STORE_FIXTURE_PATH_MAX])
{
    const char *parent = getenv("TMPDIR");
    int size = snprintf(path, STORE_FIXTURE_PATH_MAX, "%s/sluice-store-XXXXXX", parent ? parent : "/tmp");
    if (size >= STORE_FIXTURE_PATH_MAX || !mkdtemp(path))
        fail_msg("no temporary directory %s: %s", path, strerror(errno));
}

static int remove_entry(const char *path, const struct stat *entry_stat, int kind, struct FTW *place)
{
    (void)entry_stat, (void)kind, (void)place;
    return remove(path);
}

void store_fixture_dir_remove(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void start(struct store_fixture *fixture)
{
    struct error error = {0};
    expect_ok(store_open(fixture->dir, STORE_ACCESS_WRITE, &options, &fixture->store, &error), &error);
    expect_ok(writer_start(fixture->store, &fixture->writer, &error), &error);
}

static void stop(struct store_fixture *fixture)
{
    writer_stop(fixture->writer);
    store_close(fixture->store);
    fixture->writer = NULL;
    fixture->store = NULL;
}

void store_fixture_open(struct store_fixture *fixture)
{
    struct error error = {0};
    *fixture = (struct store_fixture){.store = NULL};
    store_fixture_dir_make(fixture->root);
    snprintf(fixture->dir, sizeof fixture->dir, "%s/data", fixture->root);
    expect_ok(store_create(fixture->dir, &options, &error), &error);
    start(fixture);
}

void store_fixture_reopen(struct store_fixture *fixture)
{
    stop(fixture);
    start(fixture);
}

void store_fixture_close(struct store_fixture *fixture)
{
    stop(fixture);
    store_fixture_dir_remove(fixture->root);
}

struct engine_txn *store_fixture_read(struct store_fixture *fixture)
{
    struct error error = {0};
    struct engine_txn *txn = NULL;
    expect_ok(engine_begin_read(store_engine(fixture->store), &txn, &error), &error);
    return txn;
}

uint32_t store_fixture_add_aco(struct store_fixture *fixture, const char *id)
{
    struct error error = {0};
    struct aco_add add;
    expect_ok(aco_add_init(&add, slice_from_text(id), SLICE_LITERAL("An ACO"), &error), &error);
    expect_ok(writer_call(fixture->writer, &add.request, &error), &error);
    return add.ret_number;
}

struct raw_put {
    struct write_request request;
    unsigned table;
    struct slice key, value;
};

static enum status raw_put_apply(struct write_request *request, struct store_write *write,
                                 struct error *error)
{
    struct raw_put *put = (struct raw_put *)request;
    return engine_put(write->txn, put->table, put->key, put->value, error);
}

void store_fixture_put(struct store_fixture *fixture, unsigned table, struct slice key, struct slice value)
{
    struct error error = {0};
    struct raw_put put = {.request.apply = raw_put_apply, .table = table, .key = key, .value = value};
    expect_ok(writer_call(fixture->writer, &put.request, &error), &error);
}

static enum status raw_delete_apply(struct write_request *request, struct store_write *write,
                                    struct error *error)
{
    struct raw_put *put = (struct raw_put *)request;
    return engine_delete(write->txn, put->table, put->key, error);
}

void store_fixture_delete(struct store_fixture *fixture, unsigned table, struct slice key)
{
    struct error error = {0};
    struct raw_put put = {.request.apply = raw_delete_apply, .table = table, .key = key};
    expect_ok(writer_call(fixture->writer, &put.request, &error), &error);
}

uint64_t store_fixture_seed(void)
{
    const char *text = getenv("SLUICE_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 1;
    print_message("SLUICE_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

uint64_t store_fixture_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
