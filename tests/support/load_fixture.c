#include "tests/support/load_fixture.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "codec/json_reader.h"
#include "storage/attribution.h"
#include "storage/jobs.h"
#include "storage/resources.h"
#include "storage/verify.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_ok(enum status status, const struct error *error)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", status_name(status), error->text);
}

static char clock_path[256];

static void clock_remove(void)
{
    remove(clock_path);
}

void load_clock_shift(long seconds)
{
    if (!clock_path[0]) {
        const char *parent = getenv("TMPDIR");
        snprintf(clock_path, sizeof clock_path, "%s/sluice-clock-%d", parent ? parent : "/tmp",
                 (int)getpid());
        setenv("SLUICE_TEST_CLOCK", clock_path, 1);
        atexit(clock_remove);
    }
    FILE *file = fopen(clock_path, "w");
    if (!file)
        abort();
    fprintf(file, "%ld\n", seconds);
    fclose(file);
}

void load_fixture_open(struct load_fixture *fixture)
{
    *fixture = (struct load_fixture){.link = NULL};
    store_fixture_open(&fixture->store);
    fixture->link = link_new(fixture->store.store, fixture->store.writer);
}

void load_fixture_reopen(struct load_fixture *fixture)
{
    link_close(fixture->link);
    store_fixture_reopen(&fixture->store);
    fixture->link = link_new(fixture->store.store, fixture->store.writer);
}

void load_fixture_close(struct load_fixture *fixture)
{
    link_close(fixture->link);
    buffer_release(&fixture->refusals);
    store_fixture_close(&fixture->store);
}

void load_line(struct buffer *target, enum resource_type type, const char *id, const char *beneficiary,
               const char *mbi, unsigned version, const char *time)
{
    static const char *const references[RESOURCE_TYPE_COUNT] = {
        [RESOURCE_TYPE_EXPLANATION_OF_BENEFIT] = "patient", [RESOURCE_TYPE_COVERAGE] = "beneficiary"};
    buffer_appendf(target, "{\"resourceType\":\"%s\",\"id\":\"%s\"", resource_type_name(type), id);
    if (time)
        buffer_appendf(target, ",\"meta\":{\"lastUpdated\":\"%s\"}", time);
    if (references[type])
        buffer_appendf(target, ",\"%s\":{\"reference\":\"Patient/%s\"}", references[type], beneficiary);
    if (mbi)
        buffer_appendf(target,
                       ",\"identifier\":[{\"system\":\"http://hl7.org/fhir/sid/us-mbi\",\"value\":\"%s\"}]",
                       mbi);
    buffer_appendf(target, ",\"version\":\"v%u\"}\n", version);
}

const char *load_file(struct load_fixture *fixture, const char *ending, struct slice contents)
{
    static char paths[8][STORE_FIXTURE_PATH_MAX + 64];
    char *path = paths[fixture->files % 8];
    snprintf(path, sizeof paths[0], "%s/load%06u%s", fixture->store.root, fixture->files++, ending);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    if (contents.size)
        assert_int_equal(fwrite(contents.data, 1, contents.size, file), contents.size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void note_refusal(void *context, const char *file, uint64_t line, const char *reason)
{
    (void)file;
    struct load_fixture *fixture = context;
    buffer_appendf(&fixture->refusals, "%" PRIu64 " %s\n", line, reason);
}

static void note_progress(void *context, uint64_t done, uint64_t total, const struct import_counts *counts)
{
    (void)counts;
    struct load_fixture *fixture = context;
    if (done < fixture->bytes_done)
        fail_msg("progress goes back from %" PRIu64 " to %" PRIu64, fixture->bytes_done, done);
    fixture->bytes_done = done;
    fixture->bytes_total = total;
}

struct import_counts load_run(struct load_fixture *fixture, const struct import_options *options)
{
    struct import_options own = *options;
    struct import_counts counts;
    struct error error = {0};
    if (!own.refuse) {
        own.context = fixture;
        own.refuse = note_refusal;
        own.progress = note_progress;
        fixture->bytes_done = fixture->bytes_total = 0;
        buffer_reset(&fixture->refusals);
    }
    expect_ok(import_run(fixture->link, &own, &counts, &error), &error);
    return counts;
}

struct import_counts load_text(struct load_fixture *fixture, struct slice lines, const char *aco_id)
{
    const char *path = load_file(fixture, ".ndjson", lines);
    struct import_options options = {.paths = &path, .path_count = 1, .aco_id = aco_id, .threads = 2};
    return load_run(fixture, &options);
}

enum status load_try_roster(struct load_fixture *fixture, const char *aco_id, const char *name, int64_t at_us,
                            const char *mbis, struct error *error)
{
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    buffer_append_sized(&payload, slice_from_text(aco_id));
    buffer_append_sized(&payload, slice_from_text(name));
    buffer_append_i64(&payload, at_us);
    buffer_append_sized(&payload, (struct slice){"", 0});
    while (*mbis) {
        size_t size = strcspn(mbis, " ");
        char padded[MBI_SIZE_MAX];
        assert_in_range(size, 1, sizeof padded);
        memset(padded, ' ', sizeof padded);
        memcpy(padded, mbis, size);
        buffer_append(&payload, padded, sizeof padded);
        mbis += size;
        mbis += strspn(mbis, " ");
    }
    enum status status =
        link_call(fixture->link, CONTROL_COMMAND_ROSTER, buffer_slice(&payload), &reply, error);
    buffer_release(&payload);
    buffer_release(&reply);
    return status;
}

void load_roster(struct load_fixture *fixture, const char *aco_id, const char *name, int64_t at_us,
                 const char *mbis)
{
    struct error error = {0};
    expect_ok(load_try_roster(fixture, aco_id, name, at_us, mbis, &error), &error);
}

struct load_view load_kick_off(struct load_fixture *fixture, uint32_t aco, const char *endpoint)
{
    struct error error = {0};
    struct job_create create;
    struct arena arena = ARENA_INIT;
    struct job job;
    job_create_init(&create);
    create.aco = aco;
    snprintf(create.endpoint, sizeof create.endpoint, "%s", endpoint);
    create.url = mem_strdup("http://localhost/api/v1/export");
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++)
        create.types[create.type_count++] = (enum resource_type)type;
    do
        expect_ok(writer_call(fixture->store.writer, &create.request, &error), &error);
    while (create.ret_unsettled);
    struct engine_txn *txn = store_fixture_read(&fixture->store);
    expect_ok(job_get(txn, create.ret_id, &arena, &job, &error), &error);
    engine_end(txn);
    struct load_view view = {aco, job.id, job.sequence, job.transaction_time_us};
    job_create_release(&create);
    arena_release(&arena);
    return view;
}

void load_end_job(struct load_fixture *fixture, const struct load_view *view)
{
    struct error error = {0};
    struct job_change change;
    job_change_init(&change, JOB_CHANGE_FAIL, view->job);
    expect_ok(writer_call(fixture->store.writer, &change.request, &error), &error);
}

struct load_view load_now(struct load_fixture *fixture, uint32_t aco)
{
    struct error error = {0};
    struct store_clock clock;
    struct engine_txn *txn = store_fixture_read(&fixture->store);
    expect_ok(store_clock_read(txn, &clock, &error), &error);
    engine_end(txn);
    return (struct load_view){aco, 0, clock.sequence, clock.instant_us};
}

size_t load_collect(struct load_fixture *fixture)
{
    struct error error = {0};
    struct resources_collect collect;
    size_t deleted = 0;
    do {
        resources_collect_init(&collect, 3);
        expect_ok(writer_call(fixture->store.writer, &collect.request, &error), &error);
        assert_in_range(collect.ret_deleted, 0, 3);
        deleted += collect.ret_deleted;
    } while (collect.ret_more);
    return deleted;
}

/* ---- what an export gives ---- */

struct export_reader {
    struct load_export *export;
    struct buffer items;
    struct inflater *inflater;
    struct json_reader *json;
    struct segment_table table;
    struct buffer lines, time;
    int64_t until_us;
};

static void check_stamp(struct export_reader *reader, const struct load_resource *resource)
{
    struct error error = {0};
    int64_t us;
    buffer_reset(&reader->time);
    expect_ok(json_find(reader->json, resource->json, "meta.lastUpdated", &reader->time, &error), &error);
    expect_ok(instant_parse(buffer_slice(&reader->time), &us, &error), &error);
    if (us != resource->stamp_us)
        fail_msg("the stamp is %" PRId64 ", the text says %.*s", resource->stamp_us,
                 SLICE_PRINT(buffer_slice(&reader->time)));
    if (us > reader->until_us)
        fail_msg("%.*s is newer than the view", SLICE_PRINT(resource->id));
}

static void read_segment(struct export_reader *reader, enum resource_type type,
                         const struct exportable *exportable, const struct segment *segment, int64_t since_us)
{
    struct error error = {0};
    struct arena *arena = &reader->export->arena;
    expect_ok(segment_table_read(&reader->table, segment, &error), &error);
    buffer_reset(&reader->lines);
    expect_ok(segment_inflate(segment, reader->inflater, &reader->lines, &error), &error);
    for (size_t i = 0; i < reader->table.count; i++) {
        const struct segment_entry *entry = &reader->table.entries[i];
        if (entry->stamp_us <= since_us)
            continue;
        struct load_resource resource = {
            .type = type,
            .beneficiary = arena_copy(arena, exportable->beneficiary),
            .id = arena_copy(arena, entry->id),
            .json = arena_copy(arena, slice_make(reader->lines.data + entry->offset, entry->size - 1)),
            .stamp_us = entry->stamp_us,
            .source_us = entry->source_us,
            .at_since = exportable->at_since,
        };
        check_stamp(reader, &resource);
        buffer_append(&reader->items, &resource, sizeof resource);
    }
}

static int compare_resources(const void *a, const void *b)
{
    const struct load_resource *x = a, *y = b;
    int order = slice_compare(x->beneficiary, y->beneficiary);
    if (order == 0)
        order = (int)x->type - (int)y->type;
    return order ? order : slice_compare(x->id, y->id);
}

static void read_beneficiary(struct export_reader *reader, struct engine_txn *txn, uint64_t sequence,
                             const struct exportable *exportable, int64_t since_us)
{
    struct error error = {0};
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        struct segment_scan *scan;
        struct stored_segment stored;
        enum status status;
        expect_ok(segment_scan_open(txn, (enum resource_type)type, sequence, &scan, &error), &error);
        segment_scan_seek(scan, exportable->home, exportable->beneficiary, since_us);
        while ((status = segment_scan_next(scan, &stored, &error)) == STATUS_OK)
            read_segment(reader, (enum resource_type)type, exportable, &stored.segment, since_us);
        assert_int_equal(status, STATUS_NOT_FOUND);
        segment_scan_close(scan);
    }
}

void load_export_read(struct load_fixture *fixture, const struct load_view *view, int64_t since_us,
                      enum load_bound bound, struct load_export *ret_export)
{
    struct error error = {0};
    *ret_export = (struct load_export){.arena = ARENA_INIT};
    struct export_reader reader = {.export = ret_export,
                                   .inflater = inflater_new(),
                                   .json = json_reader_new(),
                                   .until_us = view->transaction_time_us};
    struct exportable_scan *scan;
    struct exportable exportable;
    enum status status;
    segment_table_init(&reader.table);
    struct engine_txn *txn = store_fixture_read(&fixture->store);
    expect_ok(exportable_scan_open(txn, view->aco, view->sequence, since_us, &scan, &error), &error);
    while ((status = exportable_scan_next(scan, &exportable, &error)) == STATUS_OK) {
        bool is_bounded = bound == LOAD_BOUND_PATIENT || exportable.at_since;
        read_beneficiary(&reader, txn, view->sequence, &exportable, is_bounded ? since_us : INSTANT_MIN_US);
    }
    if (status != STATUS_NOT_FOUND)
        fail_msg("%s: %s", status_name(status), error.text);
    exportable_scan_close(scan);
    engine_end(txn);
    size_t bytes;
    ret_export->count = reader.items.size / sizeof(struct load_resource);
    ret_export->items = (struct load_resource *)(void *)buffer_detach(&reader.items, &bytes);
    if (ret_export->count)
        qsort(ret_export->items, ret_export->count, sizeof *ret_export->items, compare_resources);
    for (size_t i = 1; i < ret_export->count; i++) {
        if (compare_resources(&ret_export->items[i - 1], &ret_export->items[i]) == 0)
            fail_msg("%.*s is exported twice", SLICE_PRINT(ret_export->items[i].id));
    }
    segment_table_release(&reader.table);
    inflater_free(reader.inflater);
    json_reader_free(reader.json);
    buffer_release(&reader.lines);
    buffer_release(&reader.time);
}

void load_export_release(struct load_export *export)
{
    mem_free(export->items);
    arena_release(&export->arena);
}

const char *load_export_text(const struct load_export *export)
{
    static struct buffer text;
    buffer_release(&text);
    for (size_t i = 0; i < export->count; i++) {
        const struct load_resource *item = &export->items[i];
        struct json_reader *json = json_reader_new();
        struct buffer version = BUFFER_INIT;
        struct error error = {0};
        expect_ok(json_find(json, item->json, "version", &version, &error), &error);
        buffer_appendf(&text, "%s/%.*s %.*s\n", resource_type_name(item->type), SLICE_PRINT(item->id),
                       SLICE_PRINT(buffer_slice(&version)));
        buffer_release(&version);
        json_reader_free(json);
    }
    return buffer_text(&text);
}

const char *load_exported_now(struct load_fixture *fixture, uint32_t aco)
{
    struct load_export export;
    struct load_view view = load_now(fixture, aco);
    load_export_read(fixture, &view, INSTANT_MIN_US, LOAD_BOUND_GROUP, &export);
    const char *text = load_export_text(&export);
    load_export_release(&export);
    return text;
}

static void note_fault(void *context, const char *where, const char *what)
{
    buffer_appendf(context, "%s: %s\n", where, what);
}

void load_verify(struct load_fixture *fixture)
{
    struct buffer faults = BUFFER_INIT;
    struct verify_options options = {.context = &faults, .fault = note_fault};
    struct verify_counts counts;
    struct error error = {0};
    expect_ok(verify_run(fixture->store.store, &options, &counts, &error), &error);
    if (counts.faults)
        fail_msg("%s", buffer_text(&faults));
    buffer_release(&faults);
}

static uint64_t hash_bytes(uint64_t hash, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        hash = (hash ^ (unsigned char)bytes.data[i]) * UINT64_C(0x100000001b3);
    return (hash ^ bytes.size) * UINT64_C(0x100000001b3);
}

uint64_t load_contents_hash(struct load_fixture *fixture)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct error error = {0};
    struct engine_txn *txn = store_fixture_read(&fixture->store);
    for (unsigned table = 0; table < TABLE_COUNT; table++) {
        if (table == TABLE_META)
            continue;
        struct engine_cursor *cursor;
        struct slice key, value;
        enum status status;
        expect_ok(engine_cursor_open(txn, table, &cursor, &error), &error);
        while ((status = engine_next(cursor, &key, &value, &error)) == STATUS_OK)
            hash = hash_bytes(hash_bytes(hash, key), value);
        assert_int_equal(status, STATUS_NOT_FOUND);
        engine_cursor_close(cursor);
    }
    engine_end(txn);
    return hash;
}
