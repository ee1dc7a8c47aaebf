/*
 * A store for tests: a fresh data directory, the store in it, and its writer. What cannot be set up fails
 * the running cmocka test.
 *
 *     struct store_fixture fixture;
 *     store_fixture_open(&fixture);
 *     ... writer_call(fixture.writer, &add.request, &error) ...
 *     struct engine_txn *txn = store_fixture_read(&fixture);
 *     ...
 *     engine_end(txn);
 *     store_fixture_close(&fixture);
 *
 * Threading: one thread at a time.
 */
#ifndef TESTS_SUPPORT_STORE_FIXTURE_H
#define TESTS_SUPPORT_STORE_FIXTURE_H

#include "storage/store.h"
#include "storage/writer.h"

#define STORE_FIXTURE_PATH_MAX 256
/* Small enough for every sanitizer and for valgrind. */
#define STORE_FIXTURE_MAP_BYTES (UINT64_C(1024) * 1024 * 1024)

struct store_fixture {
    char root[STORE_FIXTURE_PATH_MAX]; /* temporary, removed by store_fixture_close */
    char dir[STORE_FIXTURE_PATH_MAX + 8];
    struct store *store;
    struct writer *writer;
};

void store_fixture_open(struct store_fixture *fixture);
/* Stops the writer, closes the store and opens both again: what a restart keeps. */
void store_fixture_reopen(struct store_fixture *fixture);
void store_fixture_close(struct store_fixture *fixture);

struct engine_txn *store_fixture_read(struct store_fixture *fixture);

/* Adds an ACO, "A9994", and gives its number. */
uint32_t store_fixture_add_aco(struct store_fixture *fixture, const char *id);

/* Writes arbitrary bytes under a key, past all rules: for tests of damaged and foreign records. */
void store_fixture_put(struct store_fixture *fixture, unsigned table, struct slice key, struct slice value);
/* Likewise deletes what is there. */
void store_fixture_delete(struct store_fixture *fixture, unsigned table, struct slice key);

/* An empty directory below $TMPDIR; and one removed with all that is in it. */
void store_fixture_dir_make(char path[STORE_FIXTURE_PATH_MAX]);
void store_fixture_dir_remove(const char *path);

/* SLUICE_TEST_SEED or 1; prints it. The next number of a sequence that begins with it (splitmix64). */
uint64_t store_fixture_seed(void);
uint64_t store_fixture_random(uint64_t *state);

#endif
