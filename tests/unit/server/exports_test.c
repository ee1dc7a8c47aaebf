#include "server/export_run.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/gzip_splice.h"
#include "codec/instant.h"
#include "server/feed_body.h"
#include "server/limiter.h"
#include "storage/resources.h"
#include "tests/support/export_fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define EOB      RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define COVERAGE RESOURCE_TYPE_COVERAGE
#define PATIENT  RESOURCE_TYPE_PATIENT

#define WAIT_US (60 * US_PER_SECOND)

static const char *clock_path;

/* Moves clock_now_us; the file is read at each call. */
static void set_clock(int64_t seconds)
{
    char text[32], part[300];
    int size = snprintf(text, sizeof text, "%" PRId64 "\n", seconds);
    snprintf(part, sizeof part, "%s.new", clock_path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, (size_t)size), size);
    close(fd);
    assert_int_equal(rename(part, clock_path), 0);
}

/* Beneficiaries "<aco>-b000" ... with claims, a coverage and a patient each. */
static void load_aco(struct export_fixture *fixture, uint32_t aco, const char *aco_id, unsigned beneficiaries,
                     unsigned claims)
{
    for (unsigned i = 0; i < beneficiaries; i++) {
        char beneficiary[40];
        snprintf(beneficiary, sizeof beneficiary, "%s-b%03u", aco_id, i);
        struct export_load load = {.aco = aco,
                                   .aco_id = aco_id,
                                   .beneficiary = beneficiary,
                                   .type = PATIENT,
                                   .count = 1,
                                   .last_updated = "2021-01-01T00:00:00.000+00:00",
                                   .padding = 200};
        export_fixture_load(fixture, &load);
        load.type = COVERAGE;
        export_fixture_load(fixture, &load);
        load.type = EOB;
        load.count = claims;
        export_fixture_load(fixture, &load);
    }
}

static size_t count_lines(const struct buffer *lines)
{
    size_t count = 0;
    for (size_t i = 0; i < lines->size; i++)
        count += lines->data[i] == '\n';
    return count;
}

static bool contains(const struct buffer *lines, const char *text)
{
    return lines->size && memmem(lines->data, lines->size, text, strlen(text)) != NULL;
}

/* All lines of a type and set, file after file. */
static void read_type(struct export_fixture *fixture, const struct job *job, enum resource_type type,
                      enum job_set set, struct buffer *target)
{
    for (size_t i = 0; i < job->file_count; i++) {
        if (job->files[i].type == type && job->files[i].set == set && job->files[i].count)
            export_fixture_read(fixture, job->id, &job->files[i], target);
    }
}

static void read_all_gzip(struct export_fixture *fixture, const struct job *job, struct buffer *target)
{
    for (size_t i = 0; i < job->file_count; i++) {
        if (job->files[i].count)
            export_fixture_read_gzip(fixture, job->id, &job->files[i], target);
    }
}

static void read_everything(struct export_fixture *fixture, const struct job *job, struct buffer *target)
{
    for (size_t i = 0; i < job->file_count; i++) {
        if (job->files[i].count)
            export_fixture_read(fixture, job->id, &job->files[i], target);
    }
}

static void assert_same(const struct buffer *got, const struct buffer *want)
{
    assert_int_equal(got->size, want->size);
    assert_memory_equal(got->data, want->data, want->size);
}

static bool bucket_has_token(struct export_fixture *fixture, uint32_t aco, const char *endpoint)
{
    char bucket[EXPORT_BUCKET_SIZE];
    export_bucket_name(bucket, aco, endpoint);
    return limiter_has(fixture->service.limiter, LIMITER_JOB, slice_from_text(bucket), NULL);
}

static void await_token(struct export_fixture *fixture, uint32_t aco, const char *endpoint)
{
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (!bucket_has_token(fixture, aco, endpoint))
        export_fixture_wait(deadline_us, "the job's token is given back");
}

static void await_no_files(struct export_fixture *fixture, uint64_t job_id)
{
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (export_fixture_count_names(fixture, job_id) >= 0)
        export_fixture_wait(deadline_us, "the job's files are removed");
}

/* ---- what is in an export ---- */

static void export_holds_what_the_aco_may_see_and_nothing_else(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT;
    export_fixture_open(&fixture);
    uint32_t mine = store_fixture_add_aco(&fixture.store, "A9994");
    uint32_t other = store_fixture_add_aco(&fixture.store, "A9995");
    load_aco(&fixture, mine, "A9994", 12, 5);
    load_aco(&fixture, other, "A9995", 7, 5);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = mine});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);

    assert_int_equal(job.file_count, 3);
    static const enum resource_type order[] = {EOB, COVERAGE, PATIENT};
    static const unsigned counts[] = {60, 12, 12};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(job.files[i].type, order[i]);
        assert_int_equal(job.files[i].set, JOB_SET_ALL);
        assert_int_equal(job.files[i].count, counts[i]);
        buffer_reset(&lines);
        export_fixture_read(&fixture, id, &job.files[i], &lines);
        assert_int_equal(count_lines(&lines), counts[i]);
        assert_false(contains(&lines, "A9995"));
        for (unsigned k = 0; k < 12; k++) {
            char mark[40];
            snprintf(mark, sizeof mark, "\"mark\":\"A9994/A9994-b%03u\"", k);
            assert_true(contains(&lines, mark));
        }
    }
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (export_fixture_count_names(&fixture, id) != 3)
        export_fixture_wait(deadline_us, "three files are left");
    buffer_release(&lines);
    export_fixture_close(&fixture);
}

static void types_come_in_the_order_of_the_request(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 2, 2);
    export_fixture_start(&fixture);
    static const enum resource_type types[] = {PATIENT, EOB};
    uint64_t id = export_fixture_request(
        &fixture, &(struct export_request){.aco = aco, .types = types, .type_count = 2});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    assert_int_equal(job.file_count, 2);
    assert_int_equal(job.files[0].type, PATIENT);
    assert_int_equal(job.files[1].type, EOB);
    export_fixture_close(&fixture);
}

static void export_of_nothing_completes_without_files(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    assert_int_equal(job.file_count, 0);
    await_token(&fixture, aco, "Patient");
    export_fixture_close(&fixture);
}

static void since_bounds_the_resources(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT;
    int64_t since_us;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 5, 4);
    struct export_load later = {.aco = aco,
                                .aco_id = "A9994",
                                .beneficiary = "A9994-b003",
                                .type = EOB,
                                .first = 100,
                                .count = 3,
                                .last_updated = "2021-06-01T00:00:00.000+00:00"};
    export_fixture_load(&fixture, &later);
    export_fixture_start(&fixture);
    assert_int_equal(instant_parse(SLICE_LITERAL("2021-01-01T00:00:00.000+00:00"), &since_us, NULL),
                     STATUS_OK);
    uint64_t id =
        export_fixture_request(&fixture, &(struct export_request){.aco = aco, .since_us = since_us});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    read_everything(&fixture, &job, &lines); /* strictly later */
    assert_int_equal(count_lines(&lines), 3);
    assert_true(contains(&lines, "A9994-b003-000100"));
    await_token(&fixture, aco, "Patient");

    buffer_reset(&lines);
    id = export_fixture_request(&fixture, &(struct export_request){.aco = aco, .since_us = since_us - 1});
    job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    read_everything(&fixture, &job, &lines);
    assert_int_equal(count_lines(&lines), 5 * 6 + 3);
    buffer_release(&lines);
    export_fixture_close(&fixture);
}

static void group_separates_new_beneficiaries_and_gives_them_in_full(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 3, 2);
    export_fixture_start(&fixture);
    uint64_t first =
        export_fixture_request(&fixture, &(struct export_request){.aco = aco, .endpoint = "Group/all"});
    int64_t since_us = export_fixture_await(&fixture, first, JOB_STATE_COMPLETED).transaction_time_us;
    await_token(&fixture, aco, "Group/all");

    /* One who was there gets a claim with an old date, one with old claims joins. */
    struct export_load load = {.aco = aco,
                               .aco_id = "A9994",
                               .beneficiary = "A9994-b001",
                               .type = EOB,
                               .first = 50,
                               .count = 1,
                               .last_updated = "2021-01-01T00:00:00.000+00:00"};
    export_fixture_load(&fixture, &load);
    load.beneficiary = "A9994-a-new-one";
    load.first = 0;
    load.count = 4;
    export_fixture_load(&fixture, &load);

    uint64_t second = export_fixture_request(
        &fixture, &(struct export_request){
                      .aco = aco, .endpoint = "Group/all", .since_us = since_us, .separates_new = true});
    struct job job = export_fixture_await(&fixture, second, JOB_STATE_COMPLETED);
    assert_int_equal(job.file_count, 2);
    assert_int_equal(job.files[0].set, JOB_SET_EXISTING);
    assert_int_equal(job.files[1].set, JOB_SET_NEW);
    read_type(&fixture, &job, EOB, JOB_SET_EXISTING, &lines);
    assert_int_equal(count_lines(&lines), 1);
    assert_true(contains(&lines, "A9994-b001-000050"));
    buffer_reset(&lines);
    read_type(&fixture, &job, EOB, JOB_SET_NEW, &lines);
    assert_int_equal(count_lines(&lines), 4);
    assert_true(contains(&lines, "A9994/A9994-a-new-one"));
    await_token(&fixture, aco, "Group/all");

    /* Once more from there: nothing twice. */
    buffer_reset(&lines);
    uint64_t third = export_fixture_request(
        &fixture,
        &(struct export_request){
            .aco = aco, .endpoint = "Group/all", .since_us = job.transaction_time_us, .separates_new = true});
    job = export_fixture_await(&fixture, third, JOB_STATE_COMPLETED);
    read_everything(&fixture, &job, &lines);
    assert_int_equal(lines.size, 0);
    buffer_release(&lines);
    export_fixture_close(&fixture);
}

static void nothing_newer_than_the_kickoff_appears(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 3, 2);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    load_aco(&fixture, aco, "A9994", 6, 4); /* more claims, more beneficiaries */
    export_fixture_start(&fixture);
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    read_everything(&fixture, &job, &lines);
    assert_int_equal(count_lines(&lines), 3 * 4);
    buffer_release(&lines);
    export_fixture_close(&fixture);
}

/* ---- files ---- */

static void files_are_cut_between_beneficiaries(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer whole = BUFFER_INIT, parts = BUFFER_INIT, part = BUFFER_INIT;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 20, 6);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    read_type(&fixture, &job, EOB, JOB_SET_ALL, &whole);
    export_fixture_stop(&fixture);

    fixture.options.file_bytes_max = 8000; /* about four beneficiaries' claims */
    export_fixture_start(&fixture);
    id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    assert_true(job.file_count > 5);
    for (size_t i = 0; i < job.file_count && job.files[i].type == EOB; i++) {
        buffer_reset(&part);
        export_fixture_read(&fixture, id, &job.files[i], &part);
        assert_true(part.size <= 8000);
        assert_int_equal(count_lines(&part) % 6, 0); /* no beneficiary stands in two files */
        buffer_append_slice(&parts, buffer_slice(&part));
    }
    assert_same(&parts, &whole);
    buffer_release(&whole);
    buffer_release(&parts);
    buffer_release(&part);
    export_fixture_close(&fixture);
}

static void two_exports_of_one_view_have_the_same_bytes(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer first = BUFFER_INIT, second = BUFFER_INIT;
    export_fixture_open(&fixture);
    fixture.options.file_bytes_max = 6000;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 15, 5);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    read_all_gzip(&fixture, &job, &first);
    export_fixture_stop(&fixture);
    fixture.options.slice_us = 1; /* each slice one beneficiary */
    fixture.options.workers = 5;
    export_fixture_start(&fixture);
    id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    read_all_gzip(&fixture, &job, &second);
    assert_same(&second, &first);
    buffer_release(&first);
    buffer_release(&second);
    export_fixture_close(&fixture);
}

static bool some_file_is_done(const struct job *job)
{
    for (size_t i = 0; i < job->file_count; i++) {
        if (job->files[i].done)
            return true;
    }
    return false;
}

static void interrupted_export_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer undisturbed = BUFFER_INIT, interrupted = BUFFER_INIT;
    export_fixture_open(&fixture);
    fixture.options.file_bytes_max = 3000;
    fixture.options.slice_us = 1;
    fixture.options.workers = 1;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 25, 4);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    uint64_t twin =
        export_fixture_request(&fixture, &(struct export_request){.aco = aco, .endpoint = "Group/all"});
    char kept_uuid[37] = "";
    for (unsigned restarts = 0;; restarts++) {
        export_fixture_start(&fixture);
        if (restarts == 0) {
            /* Later data must not change what an interrupted job gives. */
            load_aco(&fixture, aco, "A9994", 30, 6);
        }
        struct job job = export_fixture_job(&fixture, id);
        assert_false(bucket_has_token(&fixture, aco, "Patient") && job_state_is_active(job.state) &&
                     restarts == 1);
        int64_t deadline_us = clock_monotonic_us() + WAIT_US;
        while (restarts < 3 && !some_file_is_done(&job) && job_state_is_active(job.state)) {
            export_fixture_wait(deadline_us, "a file is done");
            job = export_fixture_job(&fixture, id);
        }
        if (restarts == 0)
            memcpy(kept_uuid, job.files[0].uuid, sizeof kept_uuid);
        if (restarts >= 3) {
            export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
            export_fixture_await(&fixture, twin, JOB_STATE_COMPLETED);
            break;
        }
        export_fixture_stop(&fixture);
        store_fixture_reopen(&fixture.store);
    }
    struct job job = export_fixture_job(&fixture, id), other = export_fixture_job(&fixture, twin);
    assert_string_equal(job.files[0].uuid, kept_uuid); /* finished files are kept */
    read_all_gzip(&fixture, &job, &interrupted);
    read_all_gzip(&fixture, &other, &undisturbed);
    assert_same(&interrupted, &undisturbed);
    buffer_release(&undisturbed);
    buffer_release(&interrupted);
    export_fixture_close(&fixture);
}

static void small_job_is_not_stuck_behind_a_large_one(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    fixture.options.slice_us = 1;
    fixture.options.workers = 1;
    uint32_t large = store_fixture_add_aco(&fixture.store, "A9994");
    uint32_t small = store_fixture_add_aco(&fixture.store, "A9995");
    load_aco(&fixture, large, "A9994", 60, 3);
    load_aco(&fixture, small, "A9995", 2, 3);
    uint64_t large_id = export_fixture_request(&fixture, &(struct export_request){.aco = large});
    uint64_t small_id = export_fixture_request(&fixture, &(struct export_request){.aco = small});
    export_fixture_start(&fixture);
    struct job large_job = export_fixture_await(&fixture, large_id, JOB_STATE_COMPLETED);
    struct job small_job = export_fixture_await(&fixture, small_id, JOB_STATE_COMPLETED);
    assert_true(small_job.updated_us < large_job.updated_us);
    export_fixture_close(&fixture);
}

/* Each job has one file, and that is one slice: if all take turns, the last one ends last. */
static void late_small_job_ends_before_the_large_ones_that_wait(void **state)
{
    (void)state;
    enum { LARGE = 4 };
    struct export_fixture fixture;
    const enum resource_type type = EOB;
    uint64_t ids[LARGE];
    export_fixture_open(&fixture);
    fixture.options.slice_us = 10 * US_PER_SECOND;
    fixture.options.workers = 1;
    for (int i = 0; i < LARGE; i++) {
        char id[16];
        snprintf(id, sizeof id, "A999%d", i);
        uint32_t aco = store_fixture_add_aco(&fixture.store, id);
        load_aco(&fixture, aco, id, 10, 3);
        ids[i] = export_fixture_request(
            &fixture, &(struct export_request){.aco = aco, .types = &type, .type_count = 1});
    }
    uint32_t small = store_fixture_add_aco(&fixture.store, "A9998");
    load_aco(&fixture, small, "A9998", 2, 3);
    uint64_t small_id = export_fixture_request(
        &fixture, &(struct export_request){.aco = small, .types = &type, .type_count = 1});
    export_fixture_start(&fixture);
    struct job small_job = export_fixture_await(&fixture, small_id, JOB_STATE_COMPLETED);
    for (int i = 0; i < LARGE; i++) {
        struct job job = export_fixture_await(&fixture, ids[i], JOB_STATE_COMPLETED);
        assert_true(small_job.updated_us < job.updated_us);
    }
    export_fixture_close(&fixture);
}

static void progress_never_falls_and_is_not_100_while_active(void **state)
{
    (void)state;
    struct export_fixture fixture;
    unsigned last = 0, seen = 0;
    export_fixture_open(&fixture);
    fixture.options.slice_us = 1;
    fixture.options.file_bytes_max = 3000;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 40, 3);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    struct exports_progress progress;
    while (exports_progress(fixture.service.exports, id, &progress) == STATUS_OK) {
        assert_true(progress.percent >= last);
        assert_true(progress.percent <= 99);
        assert_in_range(progress.seconds_left, 1, 120);
        seen += progress.percent > last;
        last = progress.percent;
        assert_true(clock_monotonic_us() < deadline_us);
    }
    assert_true(seen > 2);
    export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    export_fixture_close(&fixture);
}

static void progress_does_not_fall_over_a_restart(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct exports_progress progress = {.percent = 0}, after;
    export_fixture_open(&fixture);
    fixture.options.slice_us = 1;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 60, 3);
    static const enum resource_type types[] = {EOB}; /* one file: all of it is written anew */
    uint64_t id = export_fixture_request(
        &fixture, &(struct export_request){.aco = aco, .types = types, .type_count = 1});
    export_fixture_start(&fixture);
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (exports_progress(fixture.service.exports, id, &progress) == STATUS_OK && progress.percent < 20)
        assert_true(clock_monotonic_us() < deadline_us);
    assert_true(progress.percent >= 20);
    export_fixture_stop(&fixture);
    store_fixture_reopen(&fixture.store);
    export_fixture_start(&fixture);
    if (exports_progress(fixture.service.exports, id, &after) == STATUS_OK)
        assert_true(after.percent >= progress.percent);
    export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    export_fixture_close(&fixture);
}

/* ---- ends ---- */

static void delete_stops_a_running_job_and_frees_the_endpoint_at_once(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct error error = {0};
    export_fixture_open(&fixture);
    fixture.options.slice_us = 1;
    fixture.options.file_bytes_max = 2000;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 30, 3);
    export_fixture_start(&fixture);
    for (int round = 0; round < 5; round++) {
        uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
        int64_t deadline_us = clock_monotonic_us() + WAIT_US;
        for (struct job job = export_fixture_job(&fixture, id);
             round > 1 && job_state_is_active(job.state) && !some_file_is_done(&job);
             job = export_fixture_job(&fixture, id))
            export_fixture_wait(deadline_us, "a file is done");
        struct job_change change;
        job_change_init(&change, JOB_CHANGE_DELETE, id);
        change.aco = aco;
        assert_int_equal(writer_call(fixture.store.writer, &change.request, &error), STATUS_OK);
        exports_cancel(fixture.service.exports, id);
        if (job_state_is_active(change.ret_before))
            assert_true(bucket_has_token(&fixture, aco, "Patient"));
        else
            await_token(&fixture, aco, "Patient");
        await_no_files(&fixture, id);
        assert_int_equal(export_fixture_job(&fixture, id).state, JOB_STATE_CANCELLED);
    }
    export_fixture_close(&fixture);
}

static void cancel_by_somebody_else_ends_the_job(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct error error = {0};
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 3, 3);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    struct job_change change;
    job_change_init(&change, JOB_CHANGE_DELETE, id);
    assert_int_equal(writer_call(fixture.store.writer, &change.request, &error), STATUS_OK);
    export_fixture_start(&fixture);
    char bucket[EXPORT_BUCKET_SIZE];
    export_bucket_name(bucket, aco, "Patient");
    assert_true(limiter_take(fixture.service.limiter, LIMITER_JOB, slice_from_text(bucket), NULL));
    exports_wake(fixture.service.exports, id, aco, "Patient"); /* too late: it is cancelled */
    await_token(&fixture, aco, "Patient");
    export_fixture_close(&fixture);
}

/* Descriptors run out while a file is written. It is finished with those that it has; the next file waits. */
static void export_waits_while_file_descriptors_are_short(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct rlimit before;
    export_fixture_open(&fixture);
    fixture.options.workers = 1;
    fixture.options.slice_us = 1;
    fixture.options.index_bytes_max = 1; /* its index would have a file of its own */
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 60, 1);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (export_fixture_count_names(&fixture, id) < 2) /* progress, data; its index may come yet */
        export_fixture_wait(deadline_us, "a file is begun");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(next >= 0);
    close(next);
    struct rlimit none = {.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct job job = export_fixture_job(&fixture, id);
    for (; job_state_is_active(job.state) && !some_file_is_done(&job); job = export_fixture_job(&fixture, id))
        export_fixture_wait(deadline_us, "a file is done");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    export_fixture_close(&fixture);
}

static void small_job_is_written_as_a_whole_to_the_same_bytes(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer in_steps = BUFFER_INIT, whole = BUFFER_INIT;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 20, 4);
    for (int64_t slice_us = 1; slice_us <= 100000; slice_us *= 100000) { /* many slices; one */
        struct job jobs[2];
        for (int small = 0; small < 2; small++) {
            fixture.options.slice_us = slice_us;
            fixture.options.small_job_bytes = small ? UINT64_C(1) << 20 : 0;
            export_fixture_start(&fixture);
            uint64_t id =
                export_fixture_request(&fixture, &(struct export_request){.aco = aco, .warnings = "_x"});
            jobs[small] = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
            assert_int_equal(jobs[small].file_count, 4); /* and that of the ignored parameter */
            buffer_reset(small ? &whole : &in_steps);
            read_all_gzip(&fixture, &jobs[small], small ? &whole : &in_steps);
            await_token(&fixture, aco, "Patient");
            int64_t deadline_us = clock_monotonic_us() + WAIT_US;
            while (export_fixture_count_names(&fixture, id) != 4)
                export_fixture_wait(deadline_us, "four files are left");
            export_fixture_stop(&fixture);
        }
        assert_same(&whole, &in_steps);
        for (size_t i = 0; i < 4; i++)
            assert_true(jobs[0].files[i].count == jobs[1].files[i].count && jobs[1].files[i].done);
    }
    buffer_release(&in_steps);
    buffer_release(&whole);
    export_fixture_start(&fixture);
    export_fixture_close(&fixture);
}

/* An index that gathers in a file of its own, one that stays in memory, and both in part: the same files. The
 * fixture checks that the index behind each leads through all of it. */
static void long_index_goes_through_a_file_of_its_own(void **state)
{
    (void)state;
    static const size_t bytes_max[] = {1, 5 * ENCODER_INDEX_ENTRY_SIZE, 0};
    struct export_fixture fixture;
    struct buffer first = BUFFER_INIT, gzip = BUFFER_INIT;
    export_fixture_open(&fixture);
    fixture.options.slice_us = 1;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 33, 2);
    for (size_t i = 0; i < 2 * (sizeof bytes_max / sizeof *bytes_max); i++) {
        fixture.options.index_bytes_max = bytes_max[i / 2];
        fixture.options.small_job_bytes = i % 2 ? UINT64_C(1) << 20 : 0;
        export_fixture_start(&fixture);
        uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
        struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
        buffer_reset(&gzip);
        read_all_gzip(&fixture, &job, i ? &gzip : &first);
        if (i)
            assert_same(&gzip, &first);
        int64_t deadline_us = clock_monotonic_us() + WAIT_US;
        while (export_fixture_count_names(&fixture, id) != 3)
            export_fixture_wait(deadline_us, "three files are left");
        await_token(&fixture, aco, "Patient");
        export_fixture_stop(&fixture);
    }
    buffer_release(&first);
    buffer_release(&gzip);
    export_fixture_start(&fixture);
    export_fixture_close(&fixture);
}

/* Whether a job's first commit is its last shows only here: a plan that stands would be In Progress. */
static void only_what_is_small_and_not_followed_is_written_as_a_whole(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 6, 2);
    export_fixture_start(&fixture);
    struct run_context context = {&fixture.service, &fixture.options, -1};
    struct error error = {0};
    assert_int_equal(job_files_open_all(fixture.store.dir, &context.jobs_fd, &error), STATUS_OK);
    exports_close(fixture.service.exports); /* its workers must not take the jobs */
    fixture.service.exports = NULL;
    static const struct {
        uint64_t small_job_bytes, file_bytes_max;
        bool partial_manifests, whole;
    } cases[] = {
        {1 << 20, 1 << 30, false, true}, {1 << 20, 1 << 30, true, false}, {1000, 1 << 30, false, false},
        {1 << 20, 1000, false, false},   {0, 1 << 30, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char endpoint[20];
        snprintf(endpoint, sizeof endpoint, "case %zu", i);
        uint64_t id = export_fixture_request(
            &fixture, &(struct export_request){
                          .aco = aco, .endpoint = endpoint, .partial_manifests = cases[i].partial_manifests});
        struct export_run *run = export_run_new(id, aco, endpoint);
        struct run_times times = {0};
        bool done = false;
        fixture.options.small_job_bytes = cases[i].small_job_bytes;
        fixture.options.file_bytes_max = cases[i].file_bytes_max;
        fixture.options.slice_us = US_PER_SECOND;
        assert_int_equal(export_run_plan(run, &context, &done, &times, &error), STATUS_OK);
        assert_true(done);
        assert_int_equal(run->whole, cases[i].whole);
        assert_int_equal(export_fixture_job(&fixture, id).state,
                         cases[i].whole ? JOB_STATE_PENDING : JOB_STATE_IN_PROGRESS);
        export_run_free(run);
    }
    close(context.jobs_fd);
    export_fixture_close(&fixture);
}

static void small_job_waits_while_file_descriptors_are_short(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct rlimit before;
    export_fixture_open(&fixture);
    fixture.options.small_job_bytes = UINT64_C(1) << 20;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 10, 2);
    export_fixture_start(&fixture);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (rlim_t spare = 0; spare < 4; spare++) { /* for the folder, and for the first file's two */
        int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(next >= 0);
        close(next);
        struct rlimit few = {.rlim_cur = (rlim_t)next + spare, .rlim_max = before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
        struct exports_progress progress;
        bool some_are_left = false;
        /* Each look at least a millisecond: longer than the job takes otherwise. */
        for (int look = 0; look < 50; look++) {
            export_fixture_wait(INT64_MAX, "time passes");
            assert_int_equal(exports_progress(fixture.service.exports, id, &progress), STATUS_OK);
            int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
            some_are_left = some_are_left || fd >= 0;
            if (fd >= 0)
                close(fd);
        }
        assert_int_equal(some_are_left, spare > 0); /* who waits for them holds none */
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
        await_token(&fixture, aco, "Patient");
    }
    export_fixture_close(&fixture);
}

static void full_disk_fails_the_job_and_leaves_nothing(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    fixture.options.disk_reserve_bytes = UINT64_MAX;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 3, 3);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    export_fixture_await(&fixture, id, JOB_STATE_FAILED);
    await_token(&fixture, aco, "Patient");
    await_no_files(&fixture, id);
    export_fixture_close(&fixture);
}

static void ignored_parameters_stand_in_the_error_file(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 1, 1);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(
        &fixture, &(struct export_request){.aco = aco, .warnings = "_elements\n_typeFilter"});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    assert_int_equal(job.file_count, 4);
    assert_int_equal(job.files[3].set, JOB_SET_ERROR);
    assert_int_equal(job.files[3].count, 2);
    export_fixture_read(&fixture, id, &job.files[3], &lines);
    assert_int_equal(count_lines(&lines), 2);
    assert_true(contains(&lines, "\"severity\":\"warning\",\"code\":\"not-supported\""));
    assert_true(contains(&lines, "this server does not support the _elements parameter."));
    assert_true(contains(&lines, "this server does not support the _typeFilter parameter."));
    buffer_release(&lines);
    export_fixture_close(&fixture);
}

/* Overwrites one segment's value with bytes that are none. */
static void damage_segment(struct export_fixture *fixture, enum resource_type type, const char *beneficiary)
{
    struct engine_txn *txn = store_fixture_read(&fixture->store);
    struct engine_cursor *cursor;
    struct slice key, value;
    struct error error = {0};
    struct buffer copy = BUFFER_INIT;
    assert_int_equal(engine_cursor_open(txn, TABLE_SEGMENT + (unsigned)type, &cursor, &error), STATUS_OK);
    engine_seek(cursor, slice_make(NULL, 0), slice_make(NULL, 0));
    while (engine_next(cursor, &key, &value, &error) == STATUS_OK) {
        if (memmem(key.data, key.size, beneficiary, strlen(beneficiary)))
            buffer_append_slice(&copy, key);
    }
    engine_cursor_close(cursor);
    engine_end(txn);
    assert_true(copy.size > 0);
    store_fixture_put(&fixture->store, TABLE_SEGMENT + (unsigned)type, buffer_slice(&copy),
                      SLICE_LITERAL("this is no segment"));
    buffer_release(&copy);
}

static void damaged_segment_costs_only_itself(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT;
    export_fixture_open(&fixture);
    fixture.options.file_bytes_max = 3000;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 8, 3);
    damage_segment(&fixture, EOB, "A9994-b002");
    damage_segment(&fixture, EOB, "A9994-b006");
    damage_segment(&fixture, PATIENT, "A9994-b006");
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    read_type(&fixture, &job, EOB, JOB_SET_ALL, &lines);
    assert_int_equal(count_lines(&lines), 6 * 3);
    const struct job_file *error_file = &job.files[job.file_count - 1];
    assert_int_equal(error_file->set, JOB_SET_ERROR);
    assert_int_equal(error_file->count, 3);
    buffer_reset(&lines);
    export_fixture_read(&fixture, id, error_file, &lines);
    assert_true(contains(&lines, "Some ExplanationOfBenefit resources of beneficiary A9994-b002 cannot"));
    assert_true(contains(&lines, "Some ExplanationOfBenefit resources of beneficiary A9994-b006 cannot"));
    assert_true(contains(&lines, "Some Patient resources of beneficiary A9994-b006 cannot"));
    buffer_release(&lines);
    export_fixture_close(&fixture);
}

/* ---- deletions ---- */

static size_t count_texts(const struct buffer *lines, const char *text)
{
    size_t count = 0, size = strlen(text);
    for (const char *at = lines->data, *end = at + lines->size;
         (at = memmem(at, (size_t)(end - at), text, size)); at += size)
        count++;
    return count;
}

#define DELETED_SINCE_US INT64_C(1609459200000000) /* 2021-01-01T00:00:00Z: what is deleted later is told */

/* Of three beneficiaries 120 claims each, of which all but the first are deleted at two instants. */
static void load_and_delete(struct export_fixture *fixture, uint32_t aco)
{
    for (unsigned i = 0; i < 3; i++) {
        char beneficiary[40];
        snprintf(beneficiary, sizeof beneficiary, "b%u", i);
        struct export_load load = {.aco = aco,
                                   .aco_id = "A9994",
                                   .beneficiary = beneficiary,
                                   .type = EOB,
                                   .count = 120,
                                   .last_updated = "2020-06-01T00:00:00Z"};
        export_fixture_load(fixture, &load);
        export_fixture_delete(fixture, beneficiary, EOB, 1, 117, "2021-02-01T00:00:00Z");
        export_fixture_delete(fixture, beneficiary, EOB, 118, 2, "2021-03-01T00:00:00Z");
    }
}

static const struct job_file *deleted_file(const struct job *job)
{
    const struct job_file *file = &job->files[job->file_count - 1];
    assert_int_equal(file->set, JOB_SET_DELETED);
    return file;
}

static void deletions_are_told_the_same_in_any_slices(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer texts[2] = {BUFFER_INIT, BUFFER_INIT};
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_and_delete(&fixture, aco);
    for (int round = 0; round < 2; round++) {
        fixture.options.slice_us = round ? 1 : US_PER_SECOND;
        export_fixture_start(&fixture);
        uint64_t id = export_fixture_request(
            &fixture, &(struct export_request){.aco = aco, .since_us = DELETED_SINCE_US});
        struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
        const struct job_file *file = deleted_file(&job);
        export_fixture_read(&fixture, id, file, &texts[round]);
        /* For each beneficiary 117 at the first instant, 2 at the second: two Bundles and one. */
        assert_int_equal(file->count, 3 * 3);
        assert_int_equal(count_lines(&texts[round]), 3 * 3);
        assert_int_equal(count_texts(&texts[round], "\"method\":\"DELETE\""), 3 * 119);
        assert_int_equal(count_texts(&texts[round], "2021-03-01T00:00:00"), 3);
        assert_true(contains(&texts[round], "\"url\":\"ExplanationOfBenefit/b2-000119\""));
        assert_false(contains(&texts[round], "b2-000000"));
        export_fixture_stop(&fixture);
    }
    assert_same(&texts[0], &texts[1]);
    buffer_release(&texts[0]);
    buffer_release(&texts[1]);
    export_fixture_close(&fixture);
}

static void an_active_job_tells_of_what_came_back_since(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_and_delete(&fixture, aco);
    uint64_t id =
        export_fixture_request(&fixture, &(struct export_request){.aco = aco, .since_us = DELETED_SINCE_US});
    struct export_load load = {.aco = aco,
                               .aco_id = "A9994",
                               .beneficiary = "b1",
                               .type = EOB,
                               .first = 5,
                               .count = 1,
                               .last_updated = "2021-04-01T00:00:00Z"};
    export_fixture_load(&fixture, &load);
    export_fixture_start(&fixture);
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    export_fixture_read(&fixture, id, deleted_file(&job), &lines);
    assert_true(contains(&lines, "\"ExplanationOfBenefit/b1-000005\""));
    await_token(&fixture, aco, "Patient");
    /* The next one has it, and tells of no deletion. */
    id = export_fixture_request(&fixture, &(struct export_request){.aco = aco, .since_us = DELETED_SINCE_US});
    job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    buffer_reset(&lines);
    export_fixture_read(&fixture, id, deleted_file(&job), &lines);
    assert_false(contains(&lines, "b1-000005"));
    assert_int_equal(count_texts(&lines, "\"method\":\"DELETE\""), 3 * 119 - 1);
    buffer_reset(&lines);
    read_type(&fixture, &job, EOB, JOB_SET_ALL, &lines);
    assert_int_equal(count_lines(&lines), 1);
    assert_true(contains(&lines, "b1-000005"));
    buffer_release(&lines);
    export_fixture_close(&fixture);
}

static void damaged_deletion_costs_only_itself(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT, copy = BUFFER_INIT;
    struct engine_cursor *cursor;
    struct slice key, value;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_and_delete(&fixture, aco);
    struct engine_txn *txn = store_fixture_read(&fixture.store);
    assert_int_equal(engine_cursor_open(txn, TABLE_DELETED, &cursor, NULL), STATUS_OK);
    while (engine_next(cursor, &key, &value, NULL) == STATUS_OK) {
        if (memmem(key.data, key.size, "b1-000007", 9))
            buffer_append_slice(&copy, key);
    }
    engine_cursor_close(cursor);
    engine_end(txn);
    store_fixture_put(&fixture.store, TABLE_DELETED, buffer_slice(&copy), SLICE_LITERAL("no row"));
    export_fixture_start(&fixture);
    uint64_t id =
        export_fixture_request(&fixture, &(struct export_request){.aco = aco, .since_us = DELETED_SINCE_US});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    assert_int_equal(job.file_count, 2);
    assert_int_equal(job.files[0].set, JOB_SET_DELETED);
    export_fixture_read(&fixture, id, &job.files[0], &lines);
    assert_int_equal(count_texts(&lines, "\"method\":\"DELETE\""), 3 * 119 - 1);
    assert_false(contains(&lines, "b1-000007"));
    buffer_reset(&lines);
    export_fixture_read(&fixture, id, &job.files[1], &lines);
    assert_true(contains(&lines, "Some deletions of beneficiary b1 cannot be read from storage"));
    buffer_release(&lines);
    buffer_release(&copy);
    export_fixture_close(&fixture);
}

/* ---- following ---- */

/* Kicks off until a file was caught while it is written; gives its place in the plan, and its feed. */
static uint64_t follow_some_file(struct export_fixture *fixture, uint32_t aco, enum resource_type type,
                                 size_t *ret_index, struct export_feed **ret_feed)
{
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    for (;;) {
        struct export_request request = {
            .aco = aco, .types = &type, .type_count = 1, .partial_manifests = true};
        uint64_t id = export_fixture_request(fixture, &request);
        struct exports_progress progress;
        while (exports_progress(fixture->service.exports, id, &progress) == STATUS_OK) {
            if (exports_list_followed(fixture->service.exports, id, ret_index, 1) == 0)
                continue;
            if ((*ret_feed = exports_follow(fixture->service.exports, id, *ret_index)))
                return id;
        }
        export_fixture_await(fixture, id, JOB_STATE_COMPLETED);
        export_fixture_wait(deadline_us, "a file can be followed");
    }
}

static void count_ready(void *context)
{
    ++*(unsigned *)context;
}

/* Follows to the end as a reactor does. */
static enum body_pull follow(struct export_fixture *fixture, struct export_feed *feed,
                             enum file_coding coding, struct buffer *target)
{
    struct mailbox *mailbox = mailbox_new(4);
    unsigned ready = 0;
    struct body_source *source = feed_body_new(&(struct feed_body_options){
        .io = exports_io(fixture->service.exports),
        .reply_to = mailbox,
        .coding = coding,
        .feed = feed,
        .context = &ready,
        .ready = count_ready,
    });
    enum body_pull result;
    do {
        struct slice chunk;
        result = source->pull(source, 100000, &chunk);
        buffer_append_slice(target, chunk);
        if (result == BODY_PULL_WAIT) {
            struct message *list = mailbox_wait(mailbox, clock_monotonic_us() + WAIT_US);
            assert_non_null(list);
            message_deliver_all(list, NULL);
        }
    } while (result == BODY_PULL_MORE || result == BODY_PULL_WAIT);
    source->close(source);
    mailbox_free(mailbox);
    return result;
}

static void followed_file_is_the_finished_one(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    fixture.options.slice_us = 1;
    fixture.options.workers = 2;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 100, 3);
    export_fixture_start(&fixture);
    for (int round = 0; round < 6; round++) {
        enum file_coding coding = round % 2 ? FILE_CODING_GZIP : FILE_CODING_IDENTITY;
        struct buffer got = BUFFER_INIT, want = BUFFER_INIT;
        struct export_feed *feed;
        size_t index;
        uint64_t id = follow_some_file(&fixture, aco, EOB, &index, &feed);
        assert_int_equal(follow(&fixture, feed, coding, &got), BODY_PULL_END);
        /* Its end is the record's, not the last byte's. */
        struct job job = export_fixture_job(&fixture, id);
        assert_true(job.files[index].done);
        assert_true(job.partial_manifests);
        if (coding == FILE_CODING_GZIP)
            export_fixture_read_gzip(&fixture, id, &job.files[index], &want);
        else
            export_fixture_read(&fixture, id, &job.files[index], &want);
        assert_same(&got, &want);
        assert_null(exports_follow(fixture.service.exports, id, index));
        assert_null(exports_follow(fixture.service.exports, id, index + 1));
        export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
        export_feed_unref(feed);
        buffer_release(&got);
        buffer_release(&want);
    }
    export_fixture_close(&fixture);
}

static void followed_file_without_resources_ends_empty(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    fixture.options.slice_us = 1;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 40, 1);
    for (unsigned i = 0; i < 40; i++) {
        char beneficiary[40];
        snprintf(beneficiary, sizeof beneficiary, "A9994-b%03u", i);
        damage_segment(&fixture, COVERAGE, beneficiary);
    }
    export_fixture_start(&fixture);
    for (int round = 0; round < 2; round++) {
        struct buffer got = BUFFER_INIT;
        struct export_feed *feed;
        size_t index;
        uint64_t id = follow_some_file(&fixture, aco, COVERAGE, &index, &feed);
        enum file_coding coding = round ? FILE_CODING_GZIP : FILE_CODING_IDENTITY;
        assert_int_equal(follow(&fixture, feed, coding, &got), BODY_PULL_END);
        assert_int_equal(got.size, round ? GZIP_HEADER_SIZE + GZIP_TRAILER_SIZE : 0);
        struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
        assert_int_equal(job.files[index].count, 0);
        export_feed_unref(feed);
        buffer_release(&got);
    }
    export_fixture_close(&fixture);
}

static void followers_of_a_deleted_job_are_cut_off(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct error error = {0};
    export_fixture_open(&fixture);
    fixture.options.slice_us = 1;
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 100, 3);
    export_fixture_start(&fixture);
    for (int cut = 0; cut < 3;) {
        struct buffer got = BUFFER_INIT;
        struct export_feed *feed;
        struct job_change change;
        size_t index;
        uint64_t id = follow_some_file(&fixture, aco, EOB, &index, &feed);
        job_change_init(&change, JOB_CHANGE_DELETE, id);
        assert_int_equal(writer_call(fixture.store.writer, &change.request, &error), STATUS_OK);
        exports_cancel(fixture.service.exports, id);
        cut += follow(&fixture, feed, FILE_CODING_GZIP, &got) == BODY_PULL_FAIL;
        await_no_files(&fixture, id);
        await_token(&fixture, aco, "Patient");
        export_feed_unref(feed);
        buffer_release(&got);
    }
    export_fixture_close(&fixture);
}

/* ---- start and expiry ---- */

static void put_file(struct export_fixture *fixture, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/jobs/%s", fixture->store.dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void start_sweeps_what_no_job_names(void **state)
{
    (void)state;
    struct export_fixture fixture;
    struct buffer lines = BUFFER_INIT;
    char name[600];
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 2, 2);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco, .warnings = "_x"});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    export_fixture_stop(&fixture);
    snprintf(name, sizeof name, "%" PRIu64 "/left.ndjson.gz.part", id);
    put_file(&fixture, name);
    snprintf(name, sizeof name, "%" PRIu64 "/%s.errors", id, job.files[0].uuid);
    put_file(&fixture, name);
    snprintf(name, sizeof name, "%s/jobs/777", fixture.store.dir);
    assert_int_equal(mkdir(name, 0700), 0);
    put_file(&fixture, "777/00000000-0000-4000-8000-000000000000.ndjson.gz");
    put_file(&fixture, "readme"); /* not ours */
    store_fixture_reopen(&fixture.store);
    export_fixture_start(&fixture);
    assert_int_equal(export_fixture_count_names(&fixture, 777), -1);
    assert_int_equal(export_fixture_count_names(&fixture, id), 4);
    read_everything(&fixture, &job, &lines); /* all of them, the error file too */
    assert_int_equal(count_lines(&lines), 2 * 4 + 1);
    snprintf(name, sizeof name, "%s/jobs/readme", fixture.store.dir);
    assert_int_equal(access(name, F_OK), 0);
    buffer_release(&lines);
    export_fixture_close(&fixture);
}

static void files_expire_also_over_a_restart(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load_aco(&fixture, aco, "A9994", 2, 2);
    export_fixture_start(&fixture);
    uint64_t id = export_fixture_request(&fixture, &(struct export_request){.aco = aco});
    struct job job = export_fixture_await(&fixture, id, JOB_STATE_COMPLETED);
    assert_int_equal(job.expires_us, job.updated_us + fixture.options.keep_us);
    set_clock(24 * 3600 + 1);
    struct job archived = export_fixture_await(&fixture, id, JOB_STATE_ARCHIVED);
    assert_int_equal(archived.expires_us, job.expires_us);
    assert_true(export_fixture_count_names(&fixture, id) > 0); /* deleted when it becomes Expired */
    export_fixture_stop(&fixture);
    store_fixture_reopen(&fixture.store);
    export_fixture_start(&fixture);
    assert_true(export_fixture_count_names(&fixture, id) > 0);
    set_clock(48 * 3600 + 2);
    export_fixture_await(&fixture, id, JOB_STATE_EXPIRED);
    await_no_files(&fixture, id);
    export_fixture_close(&fixture);
    set_clock(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(export_holds_what_the_aco_may_see_and_nothing_else),
        cmocka_unit_test(types_come_in_the_order_of_the_request),
        cmocka_unit_test(export_of_nothing_completes_without_files),
        cmocka_unit_test(since_bounds_the_resources),
        cmocka_unit_test(group_separates_new_beneficiaries_and_gives_them_in_full),
        cmocka_unit_test(nothing_newer_than_the_kickoff_appears),
        cmocka_unit_test(files_are_cut_between_beneficiaries),
        cmocka_unit_test(two_exports_of_one_view_have_the_same_bytes),
        cmocka_unit_test(interrupted_export_goes_on_to_the_same_bytes),
        cmocka_unit_test(small_job_is_not_stuck_behind_a_large_one),
        cmocka_unit_test(late_small_job_ends_before_the_large_ones_that_wait),
        cmocka_unit_test(progress_never_falls_and_is_not_100_while_active),
        cmocka_unit_test(progress_does_not_fall_over_a_restart),
        cmocka_unit_test(delete_stops_a_running_job_and_frees_the_endpoint_at_once),
        cmocka_unit_test(cancel_by_somebody_else_ends_the_job),
        cmocka_unit_test(export_waits_while_file_descriptors_are_short),
        cmocka_unit_test(small_job_is_written_as_a_whole_to_the_same_bytes),
        cmocka_unit_test(long_index_goes_through_a_file_of_its_own),
        cmocka_unit_test(only_what_is_small_and_not_followed_is_written_as_a_whole),
        cmocka_unit_test(small_job_waits_while_file_descriptors_are_short),
        cmocka_unit_test(full_disk_fails_the_job_and_leaves_nothing),
        cmocka_unit_test(ignored_parameters_stand_in_the_error_file),
        cmocka_unit_test(damaged_segment_costs_only_itself),
        cmocka_unit_test(deletions_are_told_the_same_in_any_slices),
        cmocka_unit_test(an_active_job_tells_of_what_came_back_since),
        cmocka_unit_test(damaged_deletion_costs_only_itself),
        cmocka_unit_test(followed_file_is_the_finished_one),
        cmocka_unit_test(followed_file_without_resources_ends_empty),
        cmocka_unit_test(followers_of_a_deleted_job_are_cut_off),
        cmocka_unit_test(start_sweeps_what_no_job_names),
        cmocka_unit_test(files_expire_also_over_a_restart),
    };
    /* Before the first look at the clock. */
    char dir[STORE_FIXTURE_PATH_MAX], path[STORE_FIXTURE_PATH_MAX + 8];
    store_fixture_dir_make(dir);
    snprintf(path, sizeof path, "%s/clock", dir);
    setenv("SLUICE_TEST_CLOCK", path, 1);
    clock_path = path;
    set_clock(0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    store_fixture_dir_remove(dir);
    return failed;
}
