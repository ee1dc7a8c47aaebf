#include "tests/support/export_fixture.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/encoder.h"
#include "codec/instant.h"
#include "server/limiter.h"
#include "storage/packer.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#define AWAIT_US (60 * US_PER_SECOND)

static void expect_ok(enum status status, const struct error *error)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", status_name(status), error->text);
}

void export_fixture_open(struct export_fixture *fixture)
{
    *fixture = (struct export_fixture){.arena = ARENA_INIT};
    store_fixture_open(&fixture->store);
    fixture->options = (struct exports_options){
        .workers = 2, .file_bytes_max = UINT64_C(1) << 30, .keep_us = 24 * 3600 * US_PER_SECOND};
}

void export_fixture_start(struct export_fixture *fixture)
{
    static const struct limiter_rule rules[LIMITER_KIND_COUNT] = {[LIMITER_JOB] = {.capacity = 1}};
    struct error error = {0};
    fixture->service = (struct service){.store = fixture->store.store,
                                        .writer = fixture->store.writer,
                                        .limiter = limiter_new(rules),
                                        .started_us = clock_now_us()};
    expect_ok(exports_open(&fixture->service, &fixture->options, &fixture->service.exports, &error), &error);
}

void export_fixture_stop(struct export_fixture *fixture)
{
    exports_close(fixture->service.exports);
    limiter_free(fixture->service.limiter);
    fixture->service.exports = NULL;
    fixture->service.limiter = NULL;
}

void export_fixture_close(struct export_fixture *fixture)
{
    export_fixture_stop(fixture);
    store_fixture_close(&fixture->store);
    arena_release(&fixture->arena);
}

/* ---- data ---- */

static void make_json(const struct export_load *load, unsigned number, struct buffer *target)
{
    const char *type = resource_type_name(load->type);
    char reference[200] = "";
    if (load->type == RESOURCE_TYPE_COVERAGE)
        snprintf(reference, sizeof reference, "\"beneficiary\":{\"reference\":\"Patient/%s\"},",
                 load->beneficiary);
    if (load->type == RESOURCE_TYPE_EXPLANATION_OF_BENEFIT)
        snprintf(reference, sizeof reference, "\"patient\":{\"reference\":\"Patient/%s\"},",
                 load->beneficiary);
    if (load->type == RESOURCE_TYPE_PATIENT)
        buffer_appendf(target, "{\"resourceType\":\"%s\",\"id\":\"%s\",", type, load->beneficiary);
    else
        buffer_appendf(target, "{\"resourceType\":\"%s\",\"id\":\"%s-%06u\",%s", type, load->beneficiary,
                       number, reference);
    buffer_appendf(target, "\"meta\":{\"lastUpdated\":\"%s\"},\"mark\":\"%s/%s\"", load->last_updated,
                   load->aco_id, load->beneficiary);
    if (load->padding) {
        uint64_t random = number;
        buffer_append_text(target, ",\"padding\":\"");
        for (size_t i = 0; i < load->padding; i++)
            buffer_append_char(target, (char)('a' + store_fixture_random(&random) % 26));
        buffer_append_char(target, '"');
    }
    buffer_append_char(target, '}');
}

static void refuse_nothing(void *context, const struct import_item *item, const char *reason)
{
    (void)context, (void)item;
    fail_msg("refused: %s", reason);
}

static struct import_item *make_item(struct arena *arena, struct resource_parser *parser, struct slice json,
                                     uint64_t order)
{
    struct resource resource;
    struct error error = {0};
    expect_ok(resource_parse(parser, json, &resource, &error), &error);
    struct import_item *item = arena_alloc(arena, sizeof *item);
    *item = (struct import_item){
        .beneficiary = arena_copy(arena, resource.beneficiary),
        .id = arena_copy(arena, resource.id),
        .json = arena_copy(arena, resource.json),
        .source_us = resource.last_updated_us,
        .content_hash = resource.content_hash,
        .order = order,
        .service_first_day = resource.service_first_day,
        .service_last_day = resource.service_last_day,
        .stamp_offset = (uint32_t)resource.stamp_offset,
        .stamp_size = (uint32_t)resource.stamp_size,
        .type = (uint8_t)resource.type,
        .stamp_place = (uint8_t)resource.stamp_place,
        .stamp_comma = resource.stamp_comma,
        .has_last_updated = resource.has_last_updated,
    };
    return item;
}

void export_fixture_load(struct export_fixture *fixture, const struct export_load *load)
{
    struct arena arena = ARENA_INIT;
    struct error error = {0};
    struct resource_parser *parser = resource_parser_new();
    struct packer *packer = packer_new(fixture->store.store);
    struct import_item **items = mem_new_array(struct import_item *, load->count);
    struct buffer json = BUFFER_INIT;
    for (unsigned i = 0; i < load->count; i++) {
        buffer_reset(&json);
        make_json(load, load->first + i, &json);
        items[i] = make_item(&arena, parser, buffer_slice(&json), i);
    }
    struct pack_result result;
    struct delta_batch batch;
    expect_ok(packer_pack(packer, items, load->count, load->aco, refuse_nothing, NULL, &result, &error),
              &error);
    delta_batch_init(&batch);
    if (result.has_delta) /* else it is there already */
        delta_batch_add(&batch, &result.delta);
    expect_ok(writer_call(fixture->store.writer, &batch.request, &error), &error);
    assert_int_equal(batch.ret_stale.size, 0);
    delta_batch_release(&batch);
    buffer_release(&json);
    mem_free(items);
    packer_free(packer);
    resource_parser_free(parser);
    arena_release(&arena);
}

void export_fixture_delete(struct export_fixture *fixture, const char *beneficiary, enum resource_type type,
                           unsigned first, unsigned count, const char *deleted_at)
{
    struct arena arena = ARENA_INIT;
    struct error error = {0};
    struct packer *packer = packer_new(fixture->store.store);
    struct import_item **items = arena_alloc(&arena, count * sizeof(struct import_item *));
    struct pack_result result;
    struct delta_batch batch;
    int64_t deleted_us;
    expect_ok(instant_parse(slice_from_text(deleted_at), &deleted_us, &error), &error);
    for (unsigned i = 0; i < count; i++) {
        char id[100];
        snprintf(id, sizeof id, "%s-%06u", beneficiary, first + i);
        items[i] = arena_alloc(&arena, sizeof *items[i]);
        *items[i] = (struct import_item){.beneficiary = slice_from_text(beneficiary),
                                         .id = arena_copy(&arena, slice_from_text(id)),
                                         .type = (uint8_t)type,
                                         .source_us = deleted_us,
                                         .has_last_updated = true,
                                         .is_deletion = true};
    }
    expect_ok(packer_pack(packer, items, count, 0, refuse_nothing, NULL, &result, &error), &error);
    assert_int_equal(result.counts.deleted, count);
    delta_batch_init(&batch);
    delta_batch_add(&batch, &result.delta);
    expect_ok(writer_call(fixture->store.writer, &batch.request, &error), &error);
    assert_int_equal(batch.ret_stale.size, 0);
    delta_batch_release(&batch);
    packer_free(packer);
    arena_release(&arena);
}

/* ---- jobs ---- */

uint64_t export_fixture_request(struct export_fixture *fixture, const struct export_request *request)
{
    struct job_create create;
    struct error error = {0};
    const char *endpoint = request->endpoint ? request->endpoint : "Patient";
    job_create_init(&create);
    create.aco = request->aco;
    snprintf(create.endpoint, sizeof create.endpoint, "%s", endpoint);
    create.url = mem_strdup("https://sluice.test/api/v1/Patient/$export");
    create.warnings = request->warnings ? mem_strdup(request->warnings) : NULL;
    create.since_us = request->since_us ? request->since_us : INSTANT_MIN_US;
    create.separates_new = request->separates_new;
    create.partial_manifests = request->partial_manifests;
    create.type_count = request->types ? request->type_count : RESOURCE_TYPE_COUNT;
    for (size_t i = 0; i < create.type_count; i++)
        create.types[i] = request->types ? request->types[i] : (enum resource_type)i;
    if (fixture->service.exports) {
        char bucket[EXPORT_BUCKET_SIZE];
        export_bucket_name(bucket, request->aco, endpoint);
        assert_true(limiter_take(fixture->service.limiter, LIMITER_JOB, slice_from_text(bucket), NULL));
    }
    expect_ok(writer_call(fixture->store.writer, &create.request, &error), &error);
    uint64_t id = create.ret_id;
    if (fixture->service.exports)
        exports_wake(fixture->service.exports, id, request->aco, endpoint);
    job_create_release(&create);
    return id;
}

struct job export_fixture_job(struct export_fixture *fixture, uint64_t id)
{
    struct error error = {0};
    struct job job;
    struct engine_txn *txn = store_fixture_read(&fixture->store);
    expect_ok(job_get(txn, id, &fixture->arena, &job, &error), &error);
    engine_end(txn);
    return job;
}

void export_fixture_wait(int64_t deadline_us, const char *what)
{
    if (clock_monotonic_us() > deadline_us)
        fail_msg("not in time: %s", what);
    poll(NULL, 0, 1);
}

struct job export_fixture_await(struct export_fixture *fixture, uint64_t id, enum job_state state)
{
    int64_t deadline_us = clock_monotonic_us() + AWAIT_US;
    for (;;) {
        struct job job = export_fixture_job(fixture, id);
        if (job.state == state)
            return job;
        char what[80];
        snprintf(what, sizeof what, "job %" PRIu64 " is %s instead of %s", id, job_state_name(job.state),
                 job_state_name(state));
        export_fixture_wait(deadline_us, what);
    }
}

/* ---- files ---- */

/* What stands behind the gzip bytes leads through all of them, piece by piece; takes it off. */
static void check_index(const struct job_file *file, struct buffer *bytes, size_t begin)
{
    uint64_t gzip_at = GZIP_HEADER_SIZE, raw_at = 0;
    assert_true(bytes->size - begin > file->gzip_bytes);
    for (size_t at = begin + file->gzip_bytes; at < bytes->size; at += ENCODER_INDEX_ENTRY_SIZE) {
        struct encoder_index_entry entry;
        assert_true(bytes->size - at >= ENCODER_INDEX_ENTRY_SIZE);
        encoder_index_entry_load(bytes->data + at, &entry);
        assert_int_equal(entry.gzip_offset, gzip_at);
        assert_int_equal(entry.raw_offset, raw_at);
        gzip_at += entry.piece_bytes;
        raw_at += entry.raw_bytes;
    }
    assert_int_equal(gzip_at + GZIP_TRAILER_SIZE, file->gzip_bytes);
    assert_int_equal(raw_at, file->raw_bytes);
    bytes->size = begin + file->gzip_bytes;
}

void export_fixture_read_gzip(struct export_fixture *fixture, uint64_t job_id, const struct job_file *file,
                              struct buffer *target)
{
    struct buffer path = BUFFER_INIT;
    size_t before = target->size;
    export_path(&path, fixture->store.dir, job_id, file->uuid,
                file->set == JOB_SET_ERROR ? JOB_ERROR_SUFFIX : JOB_FILE_SUFFIX);
    int fd = open(buffer_text(&path), O_RDONLY);
    if (fd < 0)
        fail_msg("%s is not there", buffer_text(&path));
    for (ssize_t got = 1; got > 0;) {
        char *room = buffer_reserve(target, 65536);
        got = read(fd, room, 65536);
        assert_true(got >= 0);
        target->size += (size_t)got;
    }
    close(fd);
    buffer_release(&path);
    check_index(file, target, before);
}

void export_fixture_read(struct export_fixture *fixture, uint64_t job_id, const struct job_file *file,
                         struct buffer *target)
{
    struct buffer gzip = BUFFER_INIT;
    size_t before = target->size;
    export_fixture_read_gzip(fixture, job_id, file, &gzip);
    assert_int_equal(gzip.size, file->gzip_bytes);
    z_stream stream = {.next_in = (Bytef *)gzip.data, .avail_in = (uInt)gzip.size};
    assert_int_equal(inflateInit2(&stream, 16 + 15), Z_OK);
    int result = Z_OK;
    while (result == Z_OK) {
        stream.next_out = (Bytef *)buffer_reserve(target, 65536);
        stream.avail_out = 65536;
        result = inflate(&stream, Z_NO_FLUSH);
        target->size += 65536 - stream.avail_out;
    }
    assert_int_equal(result, Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0); /* one member and nothing behind it */
    inflateEnd(&stream);
    assert_int_equal(target->size - before, file->raw_bytes);
    buffer_release(&gzip);
}

int export_fixture_count_names(struct export_fixture *fixture, uint64_t job_id)
{
    char path[STORE_FIXTURE_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/jobs/%" PRIu64, fixture->store.dir, job_id);
    DIR *folder = opendir(path);
    int count = -1;
    if (!folder)
        return count;
    for (count = 0; readdir(folder);)
        count++;
    closedir(folder);
    return count - 2; /* . and .. */
}
