#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/accounts.h"
#include "storage/resources.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_claims.h"
#include "tests/support/store_fixture.h"

#include <stdio.h>
#include <string.h>

static void must(enum status status)
{
    CHECK(status == STATUS_OK);
}

/* ---- the engine: one table of values as large as segments ---- */

#define KEYS        2048
#define VALUE_BYTES 16000
#define BATCH       64 /* puts in one commit */

struct engine_bench {
    char dir[STORE_FIXTURE_PATH_MAX];
    struct engine *engine;
    char *value;
};

static struct slice key_of(uint64_t number, char text[24])
{
    int size = snprintf(text, 24, "%012llu", (unsigned long long)number);
    return slice_make(text, (size_t)size);
}

static void put_batch(struct engine_bench *bench, uint64_t first)
{
    struct engine_txn *txn;
    must(engine_begin_write(bench->engine, &txn, NULL));
    for (uint64_t i = 0; i < BATCH; i++) {
        char key[24];
        must(
            engine_put(txn, 0, key_of((first + i) % KEYS, key), slice_make(bench->value, VALUE_BYTES), NULL));
    }
    must(engine_commit(txn, NULL));
}

static void engine_bench_open(struct engine_bench *bench)
{
    static const char *const tables[] = {"values"};
    char path[STORE_FIXTURE_PATH_MAX + 16];
    uint64_t state = 1;
    store_fixture_dir_make(bench->dir);
    snprintf(path, sizeof path, "%s/bench.mdb", bench->dir);
    must(engine_open(&(struct engine_options){.path = path,
                                              .tables = tables,
                                              .table_count = 1,
                                              .map_bytes = STORE_FIXTURE_MAP_BYTES,
                                              .create = true},
                     &bench->engine, NULL));
    bench->value = mem_alloc(VALUE_BYTES);
    for (size_t i = 0; i + sizeof state <= VALUE_BYTES; i += sizeof state) {
        uint64_t number = store_fixture_random(&state);
        memcpy(bench->value + i, &number, sizeof number);
    }
    for (uint64_t first = 0; first < KEYS; first += BATCH)
        put_batch(bench, first);
}

static void engine_bench_close(struct engine_bench *bench)
{
    engine_close(bench->engine);
    mem_free(bench->value);
    store_fixture_dir_remove(bench->dir);
}

/* One durable commit of 64 values, replacing what stands there: with its fsync. */
static void bench_put_commit(struct bench_loop *loop)
{
    struct engine_bench bench;
    engine_bench_open(&bench);
    uint64_t first = 0;
    while (bench_next(loop)) {
        put_batch(&bench, first);
        first += BATCH;
    }
    struct engine_txn *txn;
    struct engine_table_stats stats;
    must(engine_begin_read(bench.engine, &txn, NULL));
    must(engine_table_stats(txn, 0, &stats, NULL));
    engine_end(txn);
    if (stats.entries != KEYS)
        bench_wrong(loop, "the table does not hold what was put");
    bench_bytes(loop, (uint64_t)BATCH * VALUE_BYTES);
    bench_items(loop, BATCH);
    engine_bench_close(&bench);
}

static void bench_snapshot(struct bench_loop *loop)
{
    struct engine_bench bench;
    engine_bench_open(&bench);
    while (bench_next(loop)) {
        struct engine_txn *txn;
        must(engine_begin_read(bench.engine, &txn, NULL));
        engine_end(txn);
    }
    bench_items(loop, 1);
    engine_bench_close(&bench);
}

static void bench_get(struct bench_loop *loop)
{
    struct engine_bench bench;
    struct engine_txn *txn;
    uint64_t state = 1, bytes = 0, rounds = 0;
    engine_bench_open(&bench);
    must(engine_begin_read(bench.engine, &txn, NULL));
    while (bench_next(loop)) {
        char key[24];
        struct slice value;
        must(engine_get(txn, 0, key_of(store_fixture_random(&state) % KEYS, key), &value, NULL));
        bytes += value.size;
        rounds++;
    }
    if (bytes != rounds * VALUE_BYTES)
        bench_wrong(loop, "a value has another size");
    bench_items(loop, 1);
    bench_bytes(loop, VALUE_BYTES);
    engine_end(txn);
    engine_bench_close(&bench);
}

static void bench_seek(struct bench_loop *loop)
{
    struct engine_bench bench;
    struct engine_txn *txn;
    struct engine_cursor *cursor;
    uint64_t state = 1;
    bool good = true;
    engine_bench_open(&bench);
    must(engine_begin_read(bench.engine, &txn, NULL));
    must(engine_cursor_open(txn, 0, &cursor, NULL));
    while (bench_next(loop)) {
        char text[24];
        struct slice wanted = key_of(store_fixture_random(&state) % KEYS, text), key, value;
        engine_seek(cursor, wanted, (struct slice){0});
        good &= engine_next(cursor, &key, &value, NULL) == STATUS_OK && slice_equal(key, wanted);
    }
    if (!good)
        bench_wrong(loop, "the cursor stands elsewhere");
    bench_items(loop, 1);
    engine_cursor_close(cursor);
    engine_end(txn);
    engine_bench_close(&bench);
}

/* Every value once, with its checksum. */
static void bench_scan(struct bench_loop *loop)
{
    struct engine_bench bench;
    struct engine_txn *txn;
    struct engine_cursor *cursor;
    bool good = true;
    engine_bench_open(&bench);
    must(engine_begin_read(bench.engine, &txn, NULL));
    must(engine_cursor_open(txn, 0, &cursor, NULL));
    while (bench_next(loop)) {
        struct slice key, value;
        size_t count = 0;
        engine_seek(cursor, (struct slice){0}, (struct slice){0});
        while (engine_next(cursor, &key, &value, NULL) == STATUS_OK)
            count++;
        good &= count == KEYS;
    }
    if (!good)
        bench_wrong(loop, "the scan did not see everything");
    bench_items(loop, KEYS);
    bench_bytes(loop, (uint64_t)KEYS * VALUE_BYTES);
    engine_cursor_close(cursor);
    engine_end(txn);
    engine_bench_close(&bench);
}

/* ---- the store: beneficiaries of one ACO ---- */

#define BENEFICIARIES 10000
#define CHANGED_EVERY 100 /* one in so many is newer than `since` */
#define OLD_US        INT64_C(1600000000000000)
#define NEW_US        INT64_C(1700000000000000)
#define SINCE_US      INT64_C(1650000000000000)

static const char *beneficiary_id(size_t number, char text[24])
{
    snprintf(text, 24, "-%014zu", number);
    return text;
}

static void add_beneficiary(struct delta_batch *batch, struct segment_builder *builder, uint32_t aco,
                            size_t number)
{
    static const char json[] = "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"x\"}";
    char id[24];
    int64_t us = number % CHANGED_EVERY ? OLD_US : NEW_US;
    struct buffer value = BUFFER_INIT;
    struct segment_entry entry = {.id = slice_from_text(beneficiary_id(number, id)),
                                  .source_us = us,
                                  .stamp_us = us,
                                  .service_first_day = DAY_NONE,
                                  .service_last_day = DAY_NONE,
                                  .content_hash = number};
    segment_builder_add(builder, &entry, slice_from_text(json));
    segment_builder_finish(builder, &value);
    struct slice segment = buffer_slice(&value);
    delta_batch_add(batch, &(struct delta){.type = RESOURCE_TYPE_EXPLANATION_OF_BENEFIT,
                                           .beneficiary = entry.id,
                                           .attribute = aco,
                                           .kept_min_us = us,
                                           .newest_us = us,
                                           .segments = &segment,
                                           .segment_count = 1,
                                           .ids = &entry.id,
                                           .id_count = 1});
    buffer_release(&value);
}

static uint32_t fill_store(struct store_fixture *fixture)
{
    uint32_t aco = store_fixture_add_aco(fixture, "A9994");
    struct segment_builder *builder = segment_builder_new(DEFLATE_LEVEL_GOOD);
    for (size_t number = 0; number < BENEFICIARIES;) {
        struct delta_batch batch;
        delta_batch_init(&batch);
        do
            add_beneficiary(&batch, builder, aco, number++);
        while (number % 1000);
        must(writer_call(fixture->writer, &batch.request, NULL));
        CHECK(batch.ret_stale.size == 0);
        delta_batch_release(&batch);
    }
    segment_builder_free(builder);
    return aco;
}

/* What an export with `_since` does with each beneficiary of which it needs nothing: the interval and the
 * summary; for one in a hundred the segments too. */
static void bench_since_walk(struct bench_loop *loop)
{
    struct store_fixture fixture;
    struct engine_txn *txn;
    struct exportable_scan *scan;
    struct segment_scan *segments;
    size_t walked = 0, found = 0;
    store_fixture_open(&fixture);
    uint32_t aco = fill_store(&fixture);
    must(engine_begin_read(store_engine(fixture.store), &txn, NULL));
    must(exportable_scan_open(txn, aco, UINT64_MAX - 1, SINCE_US, &scan, NULL));
    must(segment_scan_open(txn, RESOURCE_TYPE_EXPLANATION_OF_BENEFIT, UINT64_MAX - 1, &segments, NULL));
    while (bench_next(loop)) {
        struct exportable exportable;
        walked = 0;
        found = 0;
        exportable_scan_seek(scan, (struct slice){0});
        while (exportable_scan_next(scan, &exportable, NULL) == STATUS_OK) {
            struct summary summary;
            struct stored_segment stored;
            walked++;
            must(summary_get(txn, exportable.home, exportable.beneficiary, &summary, NULL));
            if (summary.of[RESOURCE_TYPE_EXPLANATION_OF_BENEFIT].newest_us <= SINCE_US)
                continue;
            segment_scan_seek(segments, exportable.home, exportable.beneficiary, SINCE_US);
            found += segment_scan_next(segments, &stored, NULL) == STATUS_OK;
        }
    }
    if (walked != BENEFICIARIES || found != BENEFICIARIES / CHANGED_EVERY)
        bench_wrong(loop, "the walk did not see what it should");
    bench_items(loop, BENEFICIARIES);
    segment_scan_close(segments);
    exportable_scan_close(scan);
    engine_end(txn);
    store_fixture_close(&fixture);
}

const struct bench_case bench_storage[] = {
    {"put_commit", bench_put_commit},
    {"snapshot", bench_snapshot},
    {"get", bench_get},
    {"seek", bench_seek},
    {"scan", bench_scan},
    {"since_walk", bench_since_walk},
    {NULL, NULL},
};
