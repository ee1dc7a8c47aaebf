#include "storage/jobs.h"

#include "codec/base/arena.h"
#include "codec/base/buffer.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/accounts.h"
#include "tests/support/store_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define DAY_US (INT64_C(24) * 3600 * 1000 * 1000)

static const char url[] = "https://host/api/v1/Patient/$export?_type=Patient";

struct fixture {
    struct store_fixture store;
    struct arena arena; /* what job_of gives */
    uint32_t aco;
};

static void expect_status(enum status status, enum status expected, const struct error *error)
{
    if (status != expected)
        fail_msg("%s instead of %s: %s", status_name(status), status_name(expected), error->text);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    store_fixture_open(&f->store);
    arena_init(&f->arena);
    f->aco = store_fixture_add_aco(&f->store, "A9994");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    store_fixture_close(&f->store);
    mem_free(f);
    return 0;
}

static void create_init(struct job_create *create, uint32_t aco, const char *endpoint)
{
    job_create_init(create);
    create->aco = aco;
    create->url = mem_strdup(url);
    create->types[0] = RESOURCE_TYPE_PATIENT;
    create->type_count = 1;
    strcpy(create->endpoint, endpoint);
}

static enum status create(struct fixture *f, uint32_t aco, const char *endpoint, uint64_t *ret_id)
{
    struct error error;
    struct job_create request;
    create_init(&request, aco, endpoint);
    enum status status = writer_call(f->store.writer, &request.request, &error);
    *ret_id = request.ret_id;
    job_create_release(&request);
    return status;
}

static uint64_t create_ok(struct fixture *f, const char *endpoint)
{
    uint64_t id = 0;
    assert_int_equal(create(f, f->aco, endpoint, &id), STATUS_OK);
    return id;
}

/* The result of a kick-off with one thing changed. */
static enum status create_request(struct fixture *f, struct job_create *request)
{
    enum status status = writer_call(f->store.writer, &request->request, NULL);
    job_create_release(request);
    return status;
}

static enum status change(struct fixture *f, struct job_change *request)
{
    return writer_call(f->store.writer, &request->request, NULL);
}

static enum status change_simply(struct fixture *f, uint64_t id, enum job_change_kind kind)
{
    struct job_change request;
    job_change_init(&request, kind, id);
    return change(f, &request);
}

static void file_init(struct job_file *file, enum job_set set, const char *first, const char *end)
{
    *file = (struct job_file){
        .type = RESOURCE_TYPE_COVERAGE,
        .set = set,
        .first = slice_from_text(first),
        .end = slice_from_text(end),
        .planned_bytes = 1234567890123,
    };
    uuid_make(file->uuid);
}

static enum status plan(struct fixture *f, uint64_t id, const struct job_file *files, size_t count)
{
    struct job_change request;
    job_change_init(&request, JOB_CHANGE_PLAN, id);
    request.files = files;
    request.file_count = count;
    return change(f, &request);
}

static enum status file_done(struct fixture *f, uint64_t id, size_t index, uint64_t count)
{
    struct job_change request;
    job_change_init(&request, JOB_CHANGE_FILE_DONE, id);
    request.file_index = index;
    request.count = count;
    request.raw_bytes = count * 10000;
    request.gzip_bytes = count * 600;
    return change(f, &request);
}

static enum status complete(struct fixture *f, uint64_t id, int64_t keep_us)
{
    struct job_change request;
    job_change_init(&request, JOB_CHANGE_COMPLETE, id);
    request.keep_us = keep_us;
    return change(f, &request);
}

static struct job job_of(struct fixture *f, uint64_t id)
{
    struct error error;
    struct job job;
    struct engine_txn *txn = store_fixture_read(&f->store);
    expect_status(job_get(txn, id, &f->arena, &job, &error), STATUS_OK, &error);
    engine_end(txn);
    return job;
}

static void expect_file(const struct job_file *file, const struct job_file *planned)
{
    assert_string_equal(file->uuid, planned->uuid);
    assert_int_equal(file->set, planned->set);
    if (planned->set != JOB_SET_ERROR)
        assert_int_equal(file->type, planned->type);
    assert_true(slice_equal(file->first, planned->first));
    assert_true(slice_equal(file->end, planned->end));
    assert_true(file->planned_bytes == planned->planned_bytes);
}

static enum status append_row(void *context, struct slice key, struct slice value, struct error *error)
{
    (void)error;
    buffer_append_sized(context, key);
    buffer_append_sized(context, value);
    return STATUS_OK;
}

/* Every row of the given table: to see whether anything changed. */
static void dump(struct fixture *f, unsigned table, struct buffer *target)
{
    struct error error;
    struct engine_txn *txn = store_fixture_read(&f->store);
    expect_status(engine_each(txn, table, slice_make(NULL, 0), append_row, target, &error), STATUS_OK,
                  &error);
    engine_end(txn);
}

static void dump_jobs(struct fixture *f, struct buffer *target)
{
    buffer_reset(target);
    dump(f, TABLE_JOB, target);
    dump(f, TABLE_JOB_FILE, target);
    dump(f, TABLE_JOB_BY_ACO, target);
    dump(f, TABLE_JOB_ACTIVE, target);
}

static void expect_empty(struct fixture *f, unsigned table)
{
    struct buffer rows = BUFFER_INIT;
    dump(f, table, &rows);
    assert_int_equal(rows.size, 0);
    buffer_release(&rows);
}

static uint64_t oldest_sequence(struct fixture *f)
{
    struct error error;
    uint64_t sequence = 0;
    struct engine_txn *txn = store_fixture_read(&f->store);
    expect_status(job_oldest_sequence(txn, &sequence, &error), STATUS_OK, &error);
    engine_end(txn);
    return sequence;
}

/* Appends the ids, a space behind each. */
static enum status list_id(void *context, const struct job *job, struct error *error)
{
    (void)error;
    assert_null(job->files);
    assert_int_equal(job->file_count, 0);
    buffer_appendf(context, "%" PRIu64 " ", job->id);
    return STATUS_OK;
}

static void expect_each(struct fixture *f, uint32_t aco, size_t limit, const char *expected)
{
    struct error error;
    struct buffer ids = BUFFER_INIT;
    struct engine_txn *txn = store_fixture_read(&f->store);
    expect_status(job_each(txn, aco, limit, list_id, &ids, &error), STATUS_OK, &error);
    engine_end(txn);
    assert_string_equal(buffer_text(&ids), expected);
    buffer_release(&ids);
}

static void expect_active(struct fixture *f, size_t limit, const char *expected)
{
    struct error error;
    struct buffer text = BUFFER_INIT;
    uint64_t ids[16];
    size_t count = 0;
    struct engine_txn *txn = store_fixture_read(&f->store);
    expect_status(job_list_active(txn, ids, limit, &count, &error), STATUS_OK, &error);
    engine_end(txn);
    for (size_t i = 0; i < count; i++)
        buffer_appendf(&text, "%" PRIu64 " ", ids[i]);
    assert_string_equal(buffer_text(&text), expected);
    buffer_release(&text);
}

/* ---- Kick-off ---- */

static void created_job_is_read_back_whole_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct error error;
    struct job_create request;
    create_init(&request, f->aco, "Group/all");
    request.warnings = mem_strdup("_elements\n_typeFilter");
    request.types[0] = RESOURCE_TYPE_PATIENT;
    request.types[1] = RESOURCE_TYPE_EXPLANATION_OF_BENEFIT;
    request.type_count = 2;
    request.since_us = 1581552000000001;
    request.separates_new = true;
    request.partial_manifests = true;
    expect_status(writer_call(f->store.writer, &request.request, &error), STATUS_OK, &error);
    assert_true(request.ret_id == 1);
    store_fixture_reopen(&f->store);

    struct store_clock clock;
    struct engine_txn *txn = store_fixture_read(&f->store);
    expect_status(store_clock_read(txn, &clock, &error), STATUS_OK, &error);
    engine_end(txn);
    struct job job = job_of(f, request.ret_id);
    assert_true(job.id == 1);
    assert_int_equal(job.aco, f->aco);
    assert_int_equal(job.state, JOB_STATE_PENDING);
    assert_string_equal(job.endpoint, "Group/all");
    assert_true(slice_equal_text(job.request, url));
    assert_true(slice_equal_text(job.warnings, "_elements\n_typeFilter"));
    assert_int_equal(job.type_count, 2);
    assert_int_equal(job.types[0], RESOURCE_TYPE_PATIENT);
    assert_int_equal(job.types[1], RESOURCE_TYPE_EXPLANATION_OF_BENEFIT);
    assert_true(job.since_us == 1581552000000001);
    assert_true(job.separates_new);
    assert_true(job.partial_manifests);
    assert_false(job.planned);
    assert_int_equal(job.file_count, 0);
    assert_true(job.sequence == clock.sequence);
    assert_true(job.transaction_time_us == clock.instant_us);
    assert_true(job.transaction_time_us == request.ret_transaction_time_us);
    assert_true(job.created_us == clock.instant_us && job.updated_us == clock.instant_us);
    assert_true(job.due_us == INT64_MAX);
    job_create_release(&request);
}

static void job_without_since_selects_everything(void **state)
{
    struct fixture *f = *state;
    struct job job = job_of(f, create_ok(f, "Patient"));
    assert_true(job.since_us == INSTANT_MIN_US);
    assert_false(job.separates_new);
    assert_false(job.partial_manifests);
    assert_int_equal(job.warnings.size, 0);
}

static void an_endpoint_has_one_active_job(void **state)
{
    struct fixture *f = *state;
    uint64_t id;
    uint32_t other = store_fixture_add_aco(&f->store, "A9995");
    assert_true(create_ok(f, "Patient") == 1);
    assert_true(create_ok(f, "Group/all") == 2);
    assert_int_equal(create(f, f->aco, "Patient", &id), STATUS_CONFLICT);
    assert_true(id == 1);
    assert_int_equal(create(f, f->aco, "Group/all", &id), STATUS_CONFLICT);
    assert_true(id == 2);
    assert_int_equal(create(f, other, "Patient", &id), STATUS_OK);
    assert_true(id == 3); /* refused kick-offs take no id */
    store_fixture_reopen(&f->store);
    assert_int_equal(create(f, f->aco, "Patient", &id), STATUS_CONFLICT);
    expect_active(f, 16, "1 2 3 ");

    struct engine_txn *txn = store_fixture_read(&f->store);
    struct error error;
    expect_status(job_find_active(txn, f->aco, "Group/all", &id, &error), STATUS_OK, &error);
    assert_true(id == 2);
    expect_status(job_find_active(txn, f->aco, "Group/runout", &id, &error), STATUS_NOT_FOUND, &error);
    char endless[1000];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    expect_status(job_find_active(txn, f->aco, endless, &id, &error), STATUS_NOT_FOUND, &error);
    engine_end(txn);
}

static void each_kick_off_gives_the_aco_a_later_transaction_time(void **state)
{
    struct fixture *f = *state;
    struct error error;
    int64_t newest = INT64_MIN;
    for (int i = 0; i < 3; i++) {
        uint64_t id = create_ok(f, "Patient");
        struct job job = job_of(f, id);
        assert_true(job.transaction_time_us > newest);
        newest = job.transaction_time_us;
        struct aco aco;
        struct engine_txn *txn = store_fixture_read(&f->store);
        expect_status(aco_get(txn, f->aco, &aco, &error), STATUS_OK, &error);
        engine_end(txn);
        assert_true(aco.newest_transaction_time_us == newest);
        assert_int_equal(change_simply(f, id, JOB_CHANGE_FAIL), STATUS_OK);
    }
}

static void since_in_the_future_is_refused(void **state)
{
    struct fixture *f = *state;
    struct job_create request;
    int64_t given = job_of(f, create_ok(f, "Group/all")).transaction_time_us;
    create_init(&request, f->aco, "Patient");
    request.since_us = given + DAY_US;
    assert_int_equal(create_request(f, &request), STATUS_INVALID);
    create_init(&request, f->aco, "Patient");
    request.since_us = given; /* what was given is never in the future */
    assert_int_equal(create_request(f, &request), STATUS_OK);
}

static void job_needs_an_aco_that_is_there(void **state)
{
    struct fixture *f = *state;
    struct error error;
    struct aco_remove remove;
    uint64_t id;
    assert_int_equal(create(f, 77, "Patient", &id), STATUS_NOT_FOUND);
    expect_status(aco_remove_init(&remove, SLICE_LITERAL("A9994"), &error), STATUS_OK, &error);
    expect_status(writer_call(f->store.writer, &remove.request, &error), STATUS_OK, &error);
    assert_int_equal(create(f, f->aco, "Patient", &id), STATUS_DENIED);
    expect_each(f, 0, 0, "");
}

static void kick_off_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct job_create request;
    create_init(&request, f->aco, "");
    assert_int_equal(create_request(f, &request), STATUS_INVALID);
    create_init(&request, f->aco, "Patient");
    memset(request.endpoint, 'x', sizeof request.endpoint);
    assert_int_equal(create_request(f, &request), STATUS_INVALID);
    create_init(&request, f->aco, "Patient");
    request.type_count = 0;
    assert_int_equal(create_request(f, &request), STATUS_INVALID);
    create_init(&request, f->aco, "Patient");
    request.type_count = RESOURCE_TYPE_COUNT + 1;
    assert_int_equal(create_request(f, &request), STATUS_INVALID);
    create_init(&request, f->aco, "Patient");
    request.types[0] = RESOURCE_TYPE_COUNT;
    assert_int_equal(create_request(f, &request), STATUS_INVALID);
    create_init(&request, f->aco, "Patient");
    request.url[0] = '\0';
    assert_int_equal(create_request(f, &request), STATUS_INVALID);

    create_init(&request, f->aco, "Patient");
    request.url = mem_realloc(request.url, JOB_REQUEST_BYTES_MAX + 2);
    memset(request.url, 'x', JOB_REQUEST_BYTES_MAX + 1);
    request.url[JOB_REQUEST_BYTES_MAX + 1] = '\0';
    assert_int_equal(create_request(f, &request), STATUS_TOO_LARGE);
    create_init(&request, f->aco, "Patient");
    request.warnings = mem_alloc(JOB_WARNINGS_BYTES_MAX + 2);
    memset(request.warnings, 'x', JOB_WARNINGS_BYTES_MAX + 1);
    request.warnings[JOB_WARNINGS_BYTES_MAX + 1] = '\0';
    assert_int_equal(create_request(f, &request), STATUS_TOO_LARGE);
    expect_empty(f, TABLE_JOB);

    create_init(&request, f->aco, "Patient");
    request.url = mem_realloc(request.url, JOB_REQUEST_BYTES_MAX + 1);
    memset(request.url, 'x', JOB_REQUEST_BYTES_MAX);
    request.url[JOB_REQUEST_BYTES_MAX] = '\0';
    assert_int_equal(create_request(f, &request), STATUS_OK);
    assert_int_equal(job_of(f, 1).request.size, JOB_REQUEST_BYTES_MAX);
}

/* ---- Plan and files ---- */

static void plan_and_finished_files_survive_a_restart(void **state)
{
    struct fixture *f = *state;
    struct job_file files[3];
    char longest[RESOURCE_ID_MAX + 1];
    memset(longest, 'z', RESOURCE_ID_MAX);
    longest[RESOURCE_ID_MAX] = '\0';
    file_init(&files[0], JOB_SET_EXISTING, "", "-10000010254618");
    file_init(&files[1], JOB_SET_EXISTING, "-10000010254618", longest);
    file_init(&files[2], JOB_SET_NEW, longest, "");
    files[2].type = RESOURCE_TYPE_PATIENT;
    uint64_t id = create_ok(f, "Group/all");
    struct job before = job_of(f, id);
    assert_int_equal(plan(f, id, files, 3), STATUS_OK);
    assert_int_equal(file_done(f, id, 1, 4711), STATUS_OK);
    store_fixture_reopen(&f->store);

    struct job job = job_of(f, id);
    assert_int_equal(job.state, JOB_STATE_IN_PROGRESS);
    assert_true(job.planned);
    assert_true(job.updated_us > before.updated_us);
    assert_true(slice_equal_text(job.request, url));
    assert_int_equal(job.file_count, 3);
    for (size_t i = 0; i < 3; i++) {
        expect_file(&job.files[i], &files[i]);
        assert_int_equal(job.files[i].done, i == 1);
        assert_true(job.files[i].count == (i == 1 ? 4711 : 0));
        assert_true(job.files[i].raw_bytes == (i == 1 ? 47110000 : 0));
        assert_true(job.files[i].gzip_bytes == (i == 1 ? 2826600 : 0));
    }
}

static void finished_file_may_be_reported_again(void **state)
{
    struct fixture *f = *state;
    struct job_file file;
    struct buffer first = BUFFER_INIT, again = BUFFER_INIT;
    file_init(&file, JOB_SET_ALL, "", "");
    uint64_t id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, &file, 1), STATUS_OK);
    assert_int_equal(file_done(f, id, 0, 5), STATUS_OK);
    dump_jobs(f, &first);
    assert_int_equal(file_done(f, id, 0, 5), STATUS_OK);
    dump_jobs(f, &again);
    assert_true(slice_equal(buffer_slice(&first), buffer_slice(&again)));
    assert_int_equal(file_done(f, id, 0, 6), STATUS_OK); /* it was written anew */
    assert_true(job_of(f, id).files[0].count == 6);
    assert_int_equal(file_done(f, id, 1, 5), STATUS_INVALID);
    assert_int_equal(file_done(f, 99, 0, 5), STATUS_NOT_FOUND);
    buffer_release(&first);
    buffer_release(&again);
}

static void job_completes_when_every_planned_file_is_done(void **state)
{
    struct fixture *f = *state;
    struct job_file files[2], error_file;
    file_init(&files[0], JOB_SET_ALL, "", "m");
    file_init(&files[1], JOB_SET_ALL, "m", "");
    file_init(&error_file, JOB_SET_ERROR, "", "");
    error_file.type = RESOURCE_TYPE_COUNT; /* unused */
    error_file.count = 2;
    error_file.raw_bytes = 900;
    error_file.gzip_bytes = 300;
    uint64_t id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, files, 2), STATUS_OK);
    assert_int_equal(file_done(f, id, 1, 0), STATUS_OK); /* an empty one is done too */
    assert_int_equal(complete(f, id, DAY_US), STATUS_CONFLICT);
    assert_int_equal(job_of(f, id).state, JOB_STATE_IN_PROGRESS);
    assert_int_equal(file_done(f, id, 0, 7), STATUS_OK);

    struct job_change request;
    job_change_init(&request, JOB_CHANGE_COMPLETE, id);
    request.keep_us = DAY_US;
    request.files = &error_file;
    request.file_count = 1;
    assert_int_equal(change(f, &request), STATUS_OK);
    assert_int_equal(request.ret_before, JOB_STATE_IN_PROGRESS);
    struct job job = job_of(f, id);
    assert_int_equal(job.state, JOB_STATE_COMPLETED);
    assert_true(job.expires_us == job.updated_us + DAY_US);
    assert_true(job.due_us == job.expires_us);
    assert_int_equal(job.file_count, 3);
    expect_file(&job.files[0], &files[0]);
    expect_file(&job.files[1], &files[1]);
    expect_file(&job.files[2], &error_file);
    assert_true(job.files[0].count == 7 && job.files[1].count == 0 && job.files[2].count == 2);
    assert_true(job.files[2].raw_bytes == 900 && job.files[2].gzip_bytes == 300);
    for (size_t i = 0; i < 3; i++)
        assert_true(job.files[i].done);
}

static void small_job_completes_in_one_step(void **state)
{
    struct fixture *f = *state;
    struct job_file files[3];
    file_init(&files[0], JOB_SET_ALL, "", "m");
    file_init(&files[1], JOB_SET_ALL, "m", "");
    file_init(&files[2], JOB_SET_ERROR, "", "");
    for (size_t i = 0; i < 3; i++) {
        files[i].count = 7 * i;
        files[i].raw_bytes = 900 * i;
        files[i].gzip_bytes = 300 * i;
    }
    uint64_t id = create_ok(f, "Patient");
    struct job_change request;
    job_change_init(&request, JOB_CHANGE_WHOLE, id);
    request.keep_us = DAY_US;
    request.files = files;
    request.file_count = 3;
    assert_int_equal(change(f, &request), STATUS_OK);
    assert_int_equal(request.ret_before, JOB_STATE_PENDING);
    store_fixture_reopen(&f->store);
    struct job job = job_of(f, id);
    assert_int_equal(job.state, JOB_STATE_COMPLETED);
    assert_true(job.planned);
    assert_true(job.due_us == job.updated_us + DAY_US);
    assert_int_equal(job.file_count, 3);
    for (size_t i = 0; i < 3; i++) {
        expect_file(&job.files[i], &files[i]);
        assert_true(job.files[i].done && job.files[i].count == files[i].count);
        assert_true(job.files[i].raw_bytes == 900 * i && job.files[i].gzip_bytes == 300 * i);
    }
    expect_active(f, 4, "");

    id = create_ok(f, "Patient"); /* of the same endpoint, which is free again */
    job_change_init(&request, JOB_CHANGE_WHOLE, id);
    assert_int_equal(change(f, &request), STATUS_OK);
    assert_int_equal(job_of(f, id).file_count, 0);
}

static void job_without_files_completes_also_with_an_error_file(void **state)
{
    struct fixture *f = *state;
    uint64_t id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, NULL, 0), STATUS_OK);
    assert_true(job_of(f, id).planned);
    assert_int_equal(complete(f, id, DAY_US), STATUS_OK);
    assert_int_equal(job_of(f, id).file_count, 0);

    struct job_file error_file;
    file_init(&error_file, JOB_SET_ERROR, "", "");
    id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, NULL, 0), STATUS_OK);
    struct job_change request;
    job_change_init(&request, JOB_CHANGE_COMPLETE, id);
    request.files = &error_file;
    request.file_count = 1;
    assert_int_equal(change(f, &request), STATUS_OK);
    struct job job = job_of(f, id);
    assert_int_equal(job.file_count, 1);
    expect_file(&job.files[0], &error_file);
}

static void malformed_plans_are_refused_and_change_nothing(void **state)
{
    struct fixture *f = *state;
    struct buffer before = BUFFER_INIT, after = BUFFER_INIT;
    struct job_file files[2];
    char over[RESOURCE_ID_MAX + 1];
    memset(over, 'x', sizeof over);
    uint64_t id = create_ok(f, "Patient");
    dump_jobs(f, &before);
    for (int wrong = 0; wrong < 8; wrong++) {
        file_init(&files[0], JOB_SET_ALL, "", "m");
        file_init(&files[1], JOB_SET_ALL, "m", "");
        if (wrong == 0)
            files[1].uuid[0] = '\0';
        else if (wrong == 1)
            files[1].uuid[35] = 'g';
        else if (wrong == 2)
            files[1].uuid[13] = 'a';
        else if (wrong == 3)
            files[1].uuid[36] = 'a';
        else if (wrong == 4)
            files[1].type = RESOURCE_TYPE_COUNT;
        else if (wrong == 5)
            files[1].set = JOB_SET_COUNT;
        else if (wrong == 6)
            files[1].first = slice_make(over, sizeof over);
        else
            files[1].end = slice_make(over, sizeof over);
        assert_int_equal(plan(f, id, files, 2), STATUS_INVALID);
    }
    dump_jobs(f, &after);
    assert_true(slice_equal(buffer_slice(&before), buffer_slice(&after)));
    buffer_release(&before);
    buffer_release(&after);
}

static void largest_plan_is_kept_and_a_larger_one_refused(void **state)
{
    struct fixture *f = *state;
    size_t count = JOB_FILES_MAX + 1;
    struct job_file *files = mem_zalloc_array(sizeof *files, count);
    file_init(&files[0], JOB_SET_ALL, "-10000010254618", "-10000010254699");
    for (size_t i = 1; i < count; i++) {
        files[i] = files[0];
        snprintf(files[i].uuid, sizeof files[i].uuid, "00000000-0000-4000-8000-%012zx", i);
    }
    uint64_t id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, files, count), STATUS_TOO_LARGE);
    assert_int_equal(plan(f, id, files, JOB_FILES_MAX), STATUS_OK);
    assert_int_equal(file_done(f, id, JOB_FILES_MAX - 1, 3), STATUS_OK);
    struct job job = job_of(f, id);
    assert_int_equal(job.file_count, JOB_FILES_MAX);
    for (size_t i = 0; i < JOB_FILES_MAX; i += 997)
        expect_file(&job.files[i], &files[i]);
    assert_true(job.files[JOB_FILES_MAX - 1].done && !job.files[0].done);
    assert_int_equal(change_simply(f, id, JOB_CHANGE_DELETE), STATUS_OK);
    expect_empty(f, TABLE_JOB_FILE);
    mem_free(files);
}

/* ---- States ---- */

/* A new job of the endpoint, brought to a state; what it keeps is due at once. */
static uint64_t job_in_state(struct fixture *f, enum job_state state, const char *endpoint)
{
    struct job_file file;
    file_init(&file, JOB_SET_ALL, "", "");
    uint64_t id = create_ok(f, endpoint);
    if (state == JOB_STATE_PENDING)
        return id;
    assert_int_equal(plan(f, id, &file, 1), STATUS_OK);
    assert_int_equal(file_done(f, id, 0, 1), STATUS_OK);
    if (state == JOB_STATE_FAILED)
        assert_int_equal(change_simply(f, id, JOB_CHANGE_FAIL), STATUS_OK);
    if (state == JOB_STATE_CANCELLED)
        assert_int_equal(change_simply(f, id, JOB_CHANGE_DELETE), STATUS_OK);
    if (state == JOB_STATE_COMPLETED || state == JOB_STATE_ARCHIVED || state == JOB_STATE_EXPIRED)
        assert_int_equal(complete(f, id, 0), STATUS_OK);
    if (state == JOB_STATE_ARCHIVED || state == JOB_STATE_EXPIRED)
        assert_int_equal(change_simply(f, id, JOB_CHANGE_ARCHIVE), STATUS_OK);
    if (state == JOB_STATE_EXPIRED)
        assert_int_equal(change_simply(f, id, JOB_CHANGE_EXPIRE), STATUS_OK);
    assert_int_equal(job_of(f, id).state, state);
    return id;
}

static void every_change_does_in_every_state_what_the_table_says(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum job_state state;
        enum job_change_kind change;
        enum status status;
        enum job_state after;
    } cases[] = {
        {JOB_STATE_PENDING, JOB_CHANGE_PLAN, STATUS_OK, JOB_STATE_IN_PROGRESS},
        {JOB_STATE_PENDING, JOB_CHANGE_FILE_DONE, STATUS_CONFLICT, JOB_STATE_PENDING},
        {JOB_STATE_PENDING, JOB_CHANGE_COMPLETE, STATUS_CONFLICT, JOB_STATE_PENDING},
        {JOB_STATE_PENDING, JOB_CHANGE_WHOLE, STATUS_OK, JOB_STATE_COMPLETED},
        {JOB_STATE_PENDING, JOB_CHANGE_FAIL, STATUS_OK, JOB_STATE_FAILED},
        {JOB_STATE_PENDING, JOB_CHANGE_DELETE, STATUS_OK, JOB_STATE_CANCELLED},
        {JOB_STATE_PENDING, JOB_CHANGE_ARCHIVE, STATUS_CONFLICT, JOB_STATE_PENDING},
        {JOB_STATE_PENDING, JOB_CHANGE_EXPIRE, STATUS_CONFLICT, JOB_STATE_PENDING},

        {JOB_STATE_IN_PROGRESS, JOB_CHANGE_PLAN, STATUS_CONFLICT, JOB_STATE_IN_PROGRESS},
        {JOB_STATE_IN_PROGRESS, JOB_CHANGE_FILE_DONE, STATUS_OK, JOB_STATE_IN_PROGRESS},
        {JOB_STATE_IN_PROGRESS, JOB_CHANGE_COMPLETE, STATUS_OK, JOB_STATE_COMPLETED},
        {JOB_STATE_IN_PROGRESS, JOB_CHANGE_WHOLE, STATUS_CONFLICT, JOB_STATE_IN_PROGRESS},
        {JOB_STATE_IN_PROGRESS, JOB_CHANGE_FAIL, STATUS_OK, JOB_STATE_FAILED},
        {JOB_STATE_IN_PROGRESS, JOB_CHANGE_DELETE, STATUS_OK, JOB_STATE_CANCELLED},
        {JOB_STATE_IN_PROGRESS, JOB_CHANGE_ARCHIVE, STATUS_CONFLICT, JOB_STATE_IN_PROGRESS},
        {JOB_STATE_IN_PROGRESS, JOB_CHANGE_EXPIRE, STATUS_CONFLICT, JOB_STATE_IN_PROGRESS},

        {JOB_STATE_COMPLETED, JOB_CHANGE_PLAN, STATUS_CANCELLED, JOB_STATE_COMPLETED},
        {JOB_STATE_COMPLETED, JOB_CHANGE_FILE_DONE, STATUS_CANCELLED, JOB_STATE_COMPLETED},
        {JOB_STATE_COMPLETED, JOB_CHANGE_COMPLETE, STATUS_CANCELLED, JOB_STATE_COMPLETED},
        {JOB_STATE_COMPLETED, JOB_CHANGE_WHOLE, STATUS_CANCELLED, JOB_STATE_COMPLETED},
        {JOB_STATE_COMPLETED, JOB_CHANGE_FAIL, STATUS_CANCELLED, JOB_STATE_COMPLETED},
        {JOB_STATE_COMPLETED, JOB_CHANGE_DELETE, STATUS_OK, JOB_STATE_CANCELLED},
        {JOB_STATE_COMPLETED, JOB_CHANGE_ARCHIVE, STATUS_OK, JOB_STATE_ARCHIVED},
        {JOB_STATE_COMPLETED, JOB_CHANGE_EXPIRE, STATUS_CONFLICT, JOB_STATE_COMPLETED},

        {JOB_STATE_ARCHIVED, JOB_CHANGE_PLAN, STATUS_CANCELLED, JOB_STATE_ARCHIVED},
        {JOB_STATE_ARCHIVED, JOB_CHANGE_FILE_DONE, STATUS_CANCELLED, JOB_STATE_ARCHIVED},
        {JOB_STATE_ARCHIVED, JOB_CHANGE_COMPLETE, STATUS_CANCELLED, JOB_STATE_ARCHIVED},
        {JOB_STATE_ARCHIVED, JOB_CHANGE_WHOLE, STATUS_CANCELLED, JOB_STATE_ARCHIVED},
        {JOB_STATE_ARCHIVED, JOB_CHANGE_FAIL, STATUS_CANCELLED, JOB_STATE_ARCHIVED},
        {JOB_STATE_ARCHIVED, JOB_CHANGE_DELETE, STATUS_OK, JOB_STATE_CANCELLED},
        {JOB_STATE_ARCHIVED, JOB_CHANGE_ARCHIVE, STATUS_CANCELLED, JOB_STATE_ARCHIVED},
        {JOB_STATE_ARCHIVED, JOB_CHANGE_EXPIRE, STATUS_OK, JOB_STATE_EXPIRED},

        {JOB_STATE_EXPIRED, JOB_CHANGE_PLAN, STATUS_CANCELLED, JOB_STATE_EXPIRED},
        {JOB_STATE_EXPIRED, JOB_CHANGE_FILE_DONE, STATUS_CANCELLED, JOB_STATE_EXPIRED},
        {JOB_STATE_EXPIRED, JOB_CHANGE_COMPLETE, STATUS_CANCELLED, JOB_STATE_EXPIRED},
        {JOB_STATE_EXPIRED, JOB_CHANGE_WHOLE, STATUS_CANCELLED, JOB_STATE_EXPIRED},
        {JOB_STATE_EXPIRED, JOB_CHANGE_FAIL, STATUS_CANCELLED, JOB_STATE_EXPIRED},
        {JOB_STATE_EXPIRED, JOB_CHANGE_DELETE, STATUS_CONFLICT, JOB_STATE_EXPIRED},
        {JOB_STATE_EXPIRED, JOB_CHANGE_ARCHIVE, STATUS_CANCELLED, JOB_STATE_EXPIRED},
        {JOB_STATE_EXPIRED, JOB_CHANGE_EXPIRE, STATUS_CANCELLED, JOB_STATE_EXPIRED},

        {JOB_STATE_FAILED, JOB_CHANGE_PLAN, STATUS_CANCELLED, JOB_STATE_FAILED},
        {JOB_STATE_FAILED, JOB_CHANGE_FILE_DONE, STATUS_CANCELLED, JOB_STATE_FAILED},
        {JOB_STATE_FAILED, JOB_CHANGE_COMPLETE, STATUS_CANCELLED, JOB_STATE_FAILED},
        {JOB_STATE_FAILED, JOB_CHANGE_WHOLE, STATUS_CANCELLED, JOB_STATE_FAILED},
        {JOB_STATE_FAILED, JOB_CHANGE_FAIL, STATUS_CANCELLED, JOB_STATE_FAILED},
        {JOB_STATE_FAILED, JOB_CHANGE_DELETE, STATUS_OK, JOB_STATE_CANCELLED},
        {JOB_STATE_FAILED, JOB_CHANGE_ARCHIVE, STATUS_CANCELLED, JOB_STATE_FAILED},
        {JOB_STATE_FAILED, JOB_CHANGE_EXPIRE, STATUS_CANCELLED, JOB_STATE_FAILED},

        {JOB_STATE_CANCELLED, JOB_CHANGE_PLAN, STATUS_CANCELLED, JOB_STATE_CANCELLED},
        {JOB_STATE_CANCELLED, JOB_CHANGE_FILE_DONE, STATUS_CANCELLED, JOB_STATE_CANCELLED},
        {JOB_STATE_CANCELLED, JOB_CHANGE_COMPLETE, STATUS_CANCELLED, JOB_STATE_CANCELLED},
        {JOB_STATE_CANCELLED, JOB_CHANGE_WHOLE, STATUS_CANCELLED, JOB_STATE_CANCELLED},
        {JOB_STATE_CANCELLED, JOB_CHANGE_FAIL, STATUS_CANCELLED, JOB_STATE_CANCELLED},
        {JOB_STATE_CANCELLED, JOB_CHANGE_DELETE, STATUS_NOT_FOUND, JOB_STATE_CANCELLED},
        {JOB_STATE_CANCELLED, JOB_CHANGE_ARCHIVE, STATUS_CANCELLED, JOB_STATE_CANCELLED},
        {JOB_STATE_CANCELLED, JOB_CHANGE_EXPIRE, STATUS_CANCELLED, JOB_STATE_CANCELLED},
    };
    _Static_assert(sizeof cases / sizeof *cases == JOB_STATE_COUNT * JOB_CHANGE_COUNT, "every pair");
    struct buffer before = BUFFER_INIT, after = BUFFER_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char endpoint[JOB_ENDPOINT_MAX];
        snprintf(endpoint, sizeof endpoint, "case %zu", i);
        uint64_t id = job_in_state(f, cases[i].state, endpoint), active;
        struct job_change request;
        job_change_init(&request, cases[i].change, id);
        request.count = 9;
        request.ret_before = JOB_STATE_COUNT;
        dump_jobs(f, &before);
        enum status status = change(f, &request);
        struct job job = job_of(f, id);
        if (status != cases[i].status || job.state != cases[i].after)
            fail_msg("change %d of a job that is %s: %s, then %s", cases[i].change,
                     job_state_name(cases[i].state), status_name(status), job_state_name(job.state));
        if (status != STATUS_OK) {
            dump_jobs(f, &after);
            assert_true(slice_equal(buffer_slice(&before), buffer_slice(&after)));
            assert_int_equal(request.ret_before, JOB_STATE_COUNT);
            assert_true(request.request.error.text[0] != '\0');
        } else {
            assert_int_equal(request.ret_before, cases[i].state);
        }
        struct engine_txn *txn = store_fixture_read(&f->store);
        assert_int_equal(job_find_active(txn, f->aco, endpoint, &active, NULL),
                         job_state_is_active(job.state) ? STATUS_OK : STATUS_NOT_FOUND);
        engine_end(txn);
        bool keeps_files = job.state == JOB_STATE_IN_PROGRESS || job.state == JOB_STATE_COMPLETED ||
                           job.state == JOB_STATE_ARCHIVED;
        bool never_planned = cases[i].state == JOB_STATE_PENDING;
        assert_int_equal(job.file_count, keeps_files && !never_planned);
        if (job_state_is_active(job.state))
            assert_int_equal(change_simply(f, id, JOB_CHANGE_FAIL), STATUS_OK);
    }
    buffer_release(&before);
    buffer_release(&after);
}

static void every_end_lets_the_endpoint_go(void **state)
{
    struct fixture *f = *state;
    for (enum job_state end = JOB_STATE_COMPLETED; end < JOB_STATE_COUNT; end++)
        job_in_state(f, end, "Patient"); /* fails if the one before is still active */
    expect_active(f, 16, "");
    expect_empty(f, TABLE_JOB_ACTIVE);
}

static void archiving_and_expiry_wait_for_their_time(void **state)
{
    struct fixture *f = *state;
    struct job_change request;
    uint64_t id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, NULL, 0), STATUS_OK);
    assert_int_equal(complete(f, id, DAY_US), STATUS_OK);
    assert_int_equal(change_simply(f, id, JOB_CHANGE_ARCHIVE), STATUS_CONFLICT);
    assert_int_equal(job_of(f, id).state, JOB_STATE_COMPLETED);
    assert_int_equal(change_simply(f, id, JOB_CHANGE_DELETE), STATUS_OK);

    id = job_in_state(f, JOB_STATE_COMPLETED, "Patient"); /* due at once */
    int64_t expires_us = job_of(f, id).expires_us;
    job_change_init(&request, JOB_CHANGE_ARCHIVE, id);
    request.keep_us = DAY_US;
    assert_int_equal(change(f, &request), STATUS_OK);
    struct job job = job_of(f, id);
    assert_true(job.expires_us == expires_us); /* as clients were told */
    assert_true(job.due_us == expires_us + DAY_US);
    assert_int_equal(change_simply(f, id, JOB_CHANGE_EXPIRE), STATUS_CONFLICT);
    assert_int_equal(job_of(f, id).file_count, 1);

    id = job_in_state(f, JOB_STATE_EXPIRED, "Patient");
    job = job_of(f, id);
    assert_true(job.expires_us > 0 && job.expires_us < job.updated_us);
    assert_true(job.due_us == INT64_MAX);

    id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, NULL, 0), STATUS_OK);
    assert_int_equal(complete(f, id, INT64_MAX), STATUS_OK); /* for ever */
    assert_true(job_of(f, id).expires_us == INSTANT_MAX_US);
}

static void job_of_another_aco_is_as_unknown_as_no_job(void **state)
{
    struct fixture *f = *state;
    struct job_change request, unknown;
    uint64_t id = create_ok(f, "Patient");
    job_change_init(&request, JOB_CHANGE_DELETE, id);
    request.aco = f->aco + 1;
    assert_int_equal(change(f, &request), STATUS_NOT_FOUND);
    job_change_init(&unknown, JOB_CHANGE_DELETE, 7);
    unknown.aco = f->aco + 1;
    assert_int_equal(change(f, &unknown), STATUS_NOT_FOUND);
    assert_string_equal(request.request.error.text, "there is no job 1");
    assert_string_equal(unknown.request.error.text, "there is no job 7");
    assert_int_equal(job_of(f, id).state, JOB_STATE_PENDING);
    request.aco = f->aco;
    assert_int_equal(change(f, &request), STATUS_OK);
}

/* ---- Lists ---- */

static void jobs_are_listed_newest_first_by_aco(void **state)
{
    struct fixture *f = *state;
    uint64_t id;
    uint32_t other = store_fixture_add_aco(&f->store, "A9995");
    for (int i = 0; i < 12; i++) {
        assert_int_equal(create(f, i % 3 ? f->aco : other, "Patient", &id), STATUS_OK);
        assert_int_equal(plan(f, id, NULL, 0), STATUS_OK);
        assert_int_equal(complete(f, id, DAY_US), STATUS_OK);
    }
    job_in_state(f, JOB_STATE_COMPLETED, "Patient"); /* with a file, which is not given */
    expect_each(f, 0, 0, "13 12 11 10 9 8 7 6 5 4 3 2 1 ");
    expect_each(f, 0, 3, "13 12 11 ");
    expect_each(f, other, 0, "10 7 4 1 ");
    expect_each(f, other, 2, "10 7 ");
    expect_each(f, f->aco, 100, "13 12 11 9 8 6 5 3 2 ");
    expect_each(f, 77, 0, "");
}

static enum status refuse_job(void *context, const struct job *job, struct error *error)
{
    (void)job;
    ++*(int *)context;
    return error_set(error, STATUS_CANCELLED, "enough");
}

static void handler_ends_the_list(void **state)
{
    struct fixture *f = *state;
    struct error error;
    int calls = 0;
    create_ok(f, "Patient");
    create_ok(f, "Group/all");
    struct engine_txn *txn = store_fixture_read(&f->store);
    expect_status(job_each(txn, 0, 0, refuse_job, &calls, &error), STATUS_CANCELLED, &error);
    engine_end(txn);
    assert_int_equal(calls, 1);
    assert_string_equal(error.text, "enough");
}

static void active_jobs_are_listed_oldest_first_and_pin_their_sequence(void **state)
{
    struct fixture *f = *state;
    assert_true(oldest_sequence(f) == UINT64_MAX);
    expect_active(f, 16, "");
    uint64_t ids[3], sequences[3];
    static const char *const endpoints[] = {"Z", "A", "M"};
    for (int i = 0; i < 3; i++) {
        ids[i] = create_ok(f, endpoints[i]);
        sequences[i] = job_of(f, ids[i]).sequence;
    }
    assert_true(sequences[0] < sequences[1] && sequences[1] < sequences[2]);
    expect_active(f, 16, "1 2 3 ");
    expect_active(f, 2, "1 2 ");
    for (int i = 0; i < 3; i++) {
        assert_true(oldest_sequence(f) == sequences[i]);
        assert_int_equal(change_simply(f, ids[i], JOB_CHANGE_DELETE), STATUS_OK);
    }
    assert_true(oldest_sequence(f) == UINT64_MAX);
}

/* ---- Damage ---- */

static void put_row(struct fixture *f, unsigned table, const struct key *key, const char *value, size_t size)
{
    store_fixture_put(&f->store, table, key_slice(key), slice_make(value, size));
}

static void damaged_and_newer_records_cost_only_themselves(void **state)
{
    struct fixture *f = *state;
    struct error error;
    struct job job;
    struct key key;
    for (int i = 0; i < 4; i++)
        job_in_state(f, JOB_STATE_COMPLETED, "Patient");
    key_of_u64(&key, 2);
    put_row(f, TABLE_JOB, &key, "J\x01 cut", 6);
    key_of_u64(&key, 3);
    put_row(f, TABLE_JOB, &key, "J\x05 newer", 8);

    struct engine_txn *txn = store_fixture_read(&f->store);
    expect_status(job_get(txn, 2, &f->arena, &job, &error), STATUS_CORRUPT, &error);
    assert_non_null(strstr(error.text, "job 2"));
    expect_status(job_get(txn, 3, &f->arena, &job, &error), STATUS_UNSUPPORTED, &error);
    assert_non_null(strstr(error.text, "version 5"));
    struct buffer ids = BUFFER_INIT;
    expect_status(job_each(txn, f->aco, 0, list_id, &ids, &error), STATUS_UNSUPPORTED, &error);
    assert_non_null(strstr(error.text, "job 3"));
    assert_string_equal(buffer_text(&ids), "4 1 ");
    buffer_release(&ids);
    engine_end(txn);
}

static void every_truncation_of_a_record_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error error;
    struct job_file file;
    struct job job;
    struct slice value;
    file_init(&file, JOB_SET_ALL, "a", "b");
    uint64_t id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, &file, 1), STATUS_OK);
    assert_int_equal(file_done(f, id, 0, 1), STATUS_OK);
    for (int which = 0; which < 3; which++) {
        unsigned table = which == 0 ? TABLE_JOB : TABLE_JOB_FILE;
        struct key key;
        key_of_u64(&key, id);
        if (which == 2)
            key_u32(&key, 0);
        struct buffer record = BUFFER_INIT;
        struct engine_txn *txn = store_fixture_read(&f->store);
        expect_status(engine_get(txn, table, key_slice(&key), &value, &error), STATUS_OK, &error);
        buffer_append_slice(&record, value);
        engine_end(txn);
        for (size_t size = 0; size <= record.size; size++) {
            put_row(f, table, &key, record.data, size);
            txn = store_fixture_read(&f->store);
            enum status status = job_get(txn, id, &f->arena, &job, &error);
            engine_end(txn);
            bool has_version = size >= 2;
            if (size == record.size)
                expect_status(status, STATUS_OK, &error);
            else
                expect_status(status, has_version ? STATUS_CORRUPT : STATUS_UNSUPPORTED, &error);
        }
        buffer_append_char(&record, 'x');
        put_row(f, table, &key, record.data, record.size);
        txn = store_fixture_read(&f->store);
        expect_status(job_get(txn, id, &f->arena, &job, &error), STATUS_CORRUPT, &error);
        engine_end(txn);
        put_row(f, table, &key, record.data, record.size - 1);
        buffer_release(&record);
    }
}

static void damaged_plan_can_fail_and_a_damaged_outcome_be_written_again(void **state)
{
    struct fixture *f = *state;
    struct job_file file;
    struct key key;
    file_init(&file, JOB_SET_ALL, "", "");
    uint64_t id = create_ok(f, "Patient");
    assert_int_equal(plan(f, id, &file, 1), STATUS_OK);
    assert_int_equal(file_done(f, id, 0, 1), STATUS_OK);
    key_of_u64(&key, id);
    key_u32(&key, 0);
    put_row(f, TABLE_JOB_FILE, &key, "F\x02", 2);
    assert_int_equal(complete(f, id, 0), STATUS_CORRUPT);
    assert_int_equal(file_done(f, id, 0, 1), STATUS_OK);
    assert_true(job_of(f, id).files[0].done);
    key_of_u64(&key, id);
    put_row(f, TABLE_JOB_FILE, &key, "P\x01", 2);
    assert_int_equal(change_simply(f, id, JOB_CHANGE_FAIL), STATUS_OK);
    expect_empty(f, TABLE_JOB_FILE);
    create_ok(f, "Patient");
}

static void damaged_index_of_active_jobs_keeps_history(void **state)
{
    struct fixture *f = *state;
    struct error error;
    struct key key;
    uint64_t ids[4], id, sequence = 7;
    size_t count = 0;
    create_ok(f, "Patient");
    create_ok(f, "Group/all");
    key_of_u32(&key, f->aco);
    key_id(&key, SLICE_LITERAL("Patient"));
    put_row(f, TABLE_JOB_ACTIVE, &key, "E\x01", 2);
    struct engine_txn *txn = store_fixture_read(&f->store);
    /* Nobody may conclude that nothing old is needed. */
    expect_status(job_oldest_sequence(txn, &sequence, &error), STATUS_CORRUPT, &error);
    assert_true(sequence == 7);
    expect_status(job_list_active(txn, ids, 4, &count, &error), STATUS_CORRUPT, &error);
    assert_int_equal(count, 1);
    assert_true(ids[0] == 2);
    engine_end(txn);
    assert_int_equal(create(f, f->aco, "Patient", &id), STATUS_CORRUPT);
    assert_int_equal(change_simply(f, 1, JOB_CHANGE_DELETE), STATUS_OK);
    assert_int_equal(create(f, f->aco, "Patient", &id), STATUS_OK);
}

/* ---- Model ---- */

#define MODEL_JOBS_MAX 400
#define MODEL_FILES    4
#define MODEL_ACOS     2

struct model_job {
    enum job_state state;
    uint32_t aco;
    int endpoint;
    uint64_t sequence;
    size_t file_count;
    bool done[MODEL_FILES + 1];
    uint64_t count[MODEL_FILES + 1];
    bool due; /* what it keeps is due at once */
};
struct model {
    struct model_job jobs[MODEL_JOBS_MAX + 1]; /* by id */
    uint64_t newest;
};

static const char *const model_endpoints[] = {"Patient", "Group/all", "Group/runout"};

static uint64_t model_active(const struct model *model, uint32_t aco, int endpoint)
{
    for (uint64_t id = model->newest; id; id--) {
        const struct model_job *job = &model->jobs[id];
        if (job_state_is_active(job->state) && job->aco == aco && job->endpoint == endpoint)
            return id;
    }
    return 0;
}

static void model_create(struct fixture *f, struct model *model, uint64_t *random)
{
    uint32_t aco = f->aco + (uint32_t)(store_fixture_random(random) % MODEL_ACOS);
    int endpoint = (int)(store_fixture_random(random) % 3);
    uint64_t active = model_active(model, aco, endpoint), id = 0;
    enum status status = create(f, aco, model_endpoints[endpoint], &id);
    assert_int_equal(status, active ? STATUS_CONFLICT : STATUS_OK);
    assert_true(id == (active ? active : model->newest + 1));
    if (!active)
        model->jobs[++model->newest] =
            (struct model_job){.aco = aco, .endpoint = endpoint, .sequence = job_of(f, id).sequence};
}

/* What a change should do by the rules of jobs.h; applies it to the model. */
static enum status model_change(struct model_job *job, struct job_change *request)
{
    enum job_change_kind kind = request->change;
    enum job_state state = job->state;
    bool active = job_state_is_active(state);
    if (request->aco && request->aco != job->aco)
        return STATUS_NOT_FOUND;
    if (kind == JOB_CHANGE_DELETE) {
        if (state == JOB_STATE_CANCELLED || state == JOB_STATE_EXPIRED)
            return state == JOB_STATE_EXPIRED ? STATUS_CONFLICT : STATUS_NOT_FOUND;
        job->state = JOB_STATE_CANCELLED;
        job->file_count = 0;
        return STATUS_OK;
    }
    if (kind == JOB_CHANGE_ARCHIVE || kind == JOB_CHANGE_EXPIRE) {
        enum job_state from = kind == JOB_CHANGE_ARCHIVE ? JOB_STATE_COMPLETED : JOB_STATE_ARCHIVED;
        if (state != from)
            return active || state < from ? STATUS_CONFLICT : STATUS_CANCELLED;
        if (!job->due)
            return STATUS_CONFLICT;
        job->state = kind == JOB_CHANGE_ARCHIVE ? JOB_STATE_ARCHIVED : JOB_STATE_EXPIRED;
        job->due = request->keep_us == 0;
        if (kind == JOB_CHANGE_EXPIRE)
            job->file_count = 0;
        return STATUS_OK;
    }
    if (!active)
        return STATUS_CANCELLED;
    if (kind == JOB_CHANGE_FAIL) {
        job->state = JOB_STATE_FAILED;
        job->file_count = 0;
        return STATUS_OK;
    }
    if ((kind == JOB_CHANGE_PLAN || kind == JOB_CHANGE_WHOLE) != (state == JOB_STATE_PENDING))
        return STATUS_CONFLICT;
    if (kind == JOB_CHANGE_WHOLE) {
        job->state = JOB_STATE_COMPLETED;
        job->file_count = request->file_count;
        for (size_t i = 0; i < job->file_count; i++) {
            job->done[i] = true;
            job->count[i] = request->files[i].count;
        }
        job->due = request->keep_us == 0;
        return STATUS_OK;
    }
    if (kind == JOB_CHANGE_PLAN) {
        job->state = JOB_STATE_IN_PROGRESS;
        job->file_count = request->file_count;
        return STATUS_OK;
    }
    if (kind == JOB_CHANGE_FILE_DONE) {
        if (request->file_index >= job->file_count)
            return STATUS_INVALID;
        job->done[request->file_index] = true;
        job->count[request->file_index] = request->count;
        return STATUS_OK;
    }
    for (size_t i = 0; i < job->file_count; i++) {
        if (!job->done[i])
            return STATUS_CONFLICT;
    }
    if (request->file_count) {
        job->done[job->file_count] = true;
        job->count[job->file_count++] = request->files[0].count;
    }
    job->state = JOB_STATE_COMPLETED;
    job->due = request->keep_us == 0;
    return STATUS_OK;
}

static void model_step(struct fixture *f, struct model *model, uint64_t *random)
{
    struct job_file files[MODEL_FILES];
    struct job_change request;
    if (model->newest == 0)
        return;
    /* Mostly young ones, whose way is not over, and mostly the next step of it. */
    uint64_t back = store_fixture_random(random) % (store_fixture_random(random) % 4 ? 10 : 100);
    uint64_t id = model->newest > back ? model->newest - back : 1;
    const struct model_job *job = &model->jobs[id];
    static const enum job_change_kind next[JOB_STATE_COUNT] = {
        [JOB_STATE_PENDING] = JOB_CHANGE_PLAN,       [JOB_STATE_IN_PROGRESS] = JOB_CHANGE_FILE_DONE,
        [JOB_STATE_COMPLETED] = JOB_CHANGE_ARCHIVE,  [JOB_STATE_ARCHIVED] = JOB_CHANGE_EXPIRE,
        [JOB_STATE_EXPIRED] = JOB_CHANGE_FILE_DONE,  [JOB_STATE_FAILED] = JOB_CHANGE_COMPLETE,
        [JOB_STATE_CANCELLED] = JOB_CHANGE_COMPLETE,
    };
    size_t done = 0;
    while (done < job->file_count && job->done[done])
        done++;
    job_change_init(&request, next[job->state], id);
    request.file_index = done;
    if (job->state == JOB_STATE_IN_PROGRESS && done == job->file_count)
        request.change = JOB_CHANGE_COMPLETE;
    if (store_fixture_random(random) % 5 == 0) {
        request.change = (enum job_change_kind)(store_fixture_random(random) % JOB_CHANGE_COUNT);
        request.file_index = store_fixture_random(random) % MODEL_FILES;
    }
    if (store_fixture_random(random) % 8 == 0)
        request.aco = f->aco + (uint32_t)(store_fixture_random(random) % MODEL_ACOS);
    request.keep_us = store_fixture_random(random) % 3 ? 0 : DAY_US;
    request.count = store_fixture_random(random) % 100;
    if (job->state == JOB_STATE_PENDING && request.change == JOB_CHANGE_PLAN &&
        store_fixture_random(random) % 3 == 0)
        request.change = JOB_CHANGE_WHOLE;
    if (request.change == JOB_CHANGE_PLAN || request.change == JOB_CHANGE_WHOLE) {
        request.files = files;
        request.file_count = store_fixture_random(random) % (MODEL_FILES + 1);
        for (size_t i = 0; i < request.file_count; i++) {
            file_init(&files[i], JOB_SET_ALL, "a", "b");
            files[i].count = store_fixture_random(random) % 100;
        }
    } else if (request.change == JOB_CHANGE_COMPLETE && store_fixture_random(random) % 2) {
        file_init(&files[0], JOB_SET_ERROR, "", "");
        files[0].count = request.count;
        request.files = files;
        request.file_count = 1;
    }
    enum status expected = model_change(&model->jobs[id], &request), status = change(f, &request);
    if (status != expected)
        fail_msg("change %d of job %" PRIu64 ": %s instead of %s (%s)", request.change, id,
                 status_name(status), status_name(expected), request.request.error.text);
}

static void expect_model(struct fixture *f, const struct model *model)
{
    struct buffer active = BUFFER_INIT;
    uint64_t oldest = UINT64_MAX;
    arena_reset(&f->arena);
    for (uint64_t id = 1; id <= model->newest; id++) {
        const struct model_job *expected = &model->jobs[id];
        struct job job = job_of(f, id);
        assert_int_equal(job.state, expected->state);
        assert_int_equal(job.aco, expected->aco);
        assert_string_equal(job.endpoint, model_endpoints[expected->endpoint]);
        assert_true(job.sequence == expected->sequence);
        assert_int_equal(job.file_count, expected->file_count);
        for (size_t i = 0; i < job.file_count; i++) {
            assert_int_equal(job.files[i].done, expected->done[i]);
            assert_true(job.files[i].count == expected->count[i]);
        }
        if (job_state_is_active(job.state)) {
            buffer_appendf(&active, "%" PRIu64 " ", id);
            oldest = oldest < job.sequence ? oldest : job.sequence;
        }
    }
    expect_active(f, 16, buffer_text(&active));
    assert_true(oldest_sequence(f) == oldest);
    buffer_release(&active);
}

static void random_work_agrees_with_a_model(void **state)
{
    struct fixture *f = *state;
    uint64_t random = store_fixture_seed();
    struct model *model = mem_new(struct model);
    uint64_t reached[JOB_STATE_COUNT] = {0};
    assert_int_equal(store_fixture_add_aco(&f->store, "A9995"), f->aco + 1);
    for (int step = 0; step < 2500 && model->newest < MODEL_JOBS_MAX; step++) {
        if (store_fixture_random(&random) % 4 == 0)
            model_create(f, model, &random);
        else
            model_step(f, model, &random);
        if (step % 500 == 499) {
            store_fixture_reopen(&f->store);
            expect_model(f, model);
        }
    }
    expect_model(f, model);
    for (uint64_t id = 1; id <= model->newest; id++)
        reached[model->jobs[id].state]++;
    for (int i = JOB_STATE_COMPLETED; i < JOB_STATE_COUNT; i++) {
        if (reached[i] == 0)
            fail_msg("no job is %s in the end: the test does not test it", job_state_name((enum job_state)i));
    }
    mem_free(model);
}

static void states_have_the_names_that_clients_see(void **state)
{
    (void)state;
    static const char *const names[JOB_STATE_COUNT] = {"Pending", "In Progress", "Completed", "Archived",
                                                       "Expired", "Failed",      "Cancelled"};
    for (int i = 0; i < JOB_STATE_COUNT; i++) {
        assert_string_equal(job_state_name((enum job_state)i), names[i]);
        assert_int_equal(job_state_is_active((enum job_state)i), i < 2);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(created_job_is_read_back_whole_after_a_restart),
        TEST(job_without_since_selects_everything),
        TEST(an_endpoint_has_one_active_job),
        TEST(each_kick_off_gives_the_aco_a_later_transaction_time),
        TEST(since_in_the_future_is_refused),
        TEST(job_needs_an_aco_that_is_there),
        TEST(kick_off_is_bounded),
        TEST(plan_and_finished_files_survive_a_restart),
        TEST(finished_file_may_be_reported_again),
        TEST(job_completes_when_every_planned_file_is_done),
        TEST(small_job_completes_in_one_step),
        TEST(job_without_files_completes_also_with_an_error_file),
        TEST(malformed_plans_are_refused_and_change_nothing),
        TEST(largest_plan_is_kept_and_a_larger_one_refused),
        TEST(every_change_does_in_every_state_what_the_table_says),
        TEST(every_end_lets_the_endpoint_go),
        TEST(archiving_and_expiry_wait_for_their_time),
        TEST(job_of_another_aco_is_as_unknown_as_no_job),
        TEST(jobs_are_listed_newest_first_by_aco),
        TEST(handler_ends_the_list),
        TEST(active_jobs_are_listed_oldest_first_and_pin_their_sequence),
        TEST(damaged_and_newer_records_cost_only_themselves),
        TEST(every_truncation_of_a_record_is_refused),
        TEST(damaged_plan_can_fail_and_a_damaged_outcome_be_written_again),
        TEST(damaged_index_of_active_jobs_keeps_history),
        TEST(random_work_agrees_with_a_model),
        cmocka_unit_test(states_have_the_names_that_clients_see),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
