#include "tests/support/world_operations.h"

#include "codec/base/mem.h"
#include "codec/instant.h"
#include "tests/support/world_answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const endpoints[ENDPOINTS] = {"Group/all", "Patient", "a", "b"};
#define ENDPOINT_TWIN "twin"

static void whole_step(struct world *world, struct export_run *run, const struct run_context *context)
{
    struct run_times times = {0};
    struct error error = {0};
    bool done = false;
    if (!run->files[0].encoder)
        run->files[0].encoder = encoder_new();
    world_expect_ok(world, export_run_whole(run, context, &done, &times, &error), &error);
    if (done) {
        encoder_free(run->files[0].encoder);
        run->files[0].encoder = NULL;
        run->phase = RUN_PHASE_PUBLISH;
    }
}

static void run_step(struct world *world, struct tracked_job *job, const struct run_context *context,
                     uint64_t *random)
{
    struct run_times times = {0};
    struct error error = {0};
    bool done = false;
    if (!job->run)
        job->run = export_run_new(job->id, world->numbers[job->request.aco], "a");
    struct export_run *run = job->run;
    if (run->phase == RUN_PHASE_PLAN) {
        world_expect_ok(world, export_run_plan(run, context, &done, &times, &error), &error);
        if (done)
            run->phase = run->whole && run->job.file_count ? RUN_PHASE_WHOLE : RUN_PHASE_FILES;
        return;
    }
    if (run->phase == RUN_PHASE_WHOLE) {
        whole_step(world, run, context);
        return;
    }
    if (run->phase == RUN_PHASE_PUBLISH) {
        world_expect_ok(world, export_run_publish(run, &times, &error), &error);
        run->phase = RUN_PHASE_COMPLETE;
        return;
    }
    /* Any file that is not done: several of them may be under way. */
    size_t open = 0, at = 0;
    for (size_t i = 0; i < run->job.file_count; i++)
        open += !run->job.files[i].done;
    if (!open) {
        world_expect_ok(world, export_run_complete(run, context, &times, &error), &error);
        job_settle(world, job);
        return;
    }
    for (size_t left = draw_below(random, (unsigned)open) + 1; left; at++)
        left -= !run->job.files[at].done;
    struct run_file *file = &run->files[--at];
    if (file->state == RUN_FILE_WRITTEN) {
        world_expect_ok(world, export_run_record(run, at, context, &times, &error), &error);
        export_file_free(file->file);
        file->file = NULL;
        return;
    }
    if (!file->encoder)
        file->encoder = encoder_new();
    world_expect_ok(world, export_run_file(run, at, context, &done, &times, &error), &error);
    if (done) {
        encoder_free(file->encoder);
        file->encoder = NULL;
        file->state = RUN_FILE_WRITTEN;
    }
}

/* One slice. */
static void job_step(struct world *world, struct tracked_job *job, uint64_t *random)
{
    struct run_context context = {&world->service, &world->options, -1};
    struct error error = {0};
    world_expect_ok(world, job_files_open_all(world->dir, &context.jobs_fd, &error), &error);
    run_step(world, job, &context, random);
    close(context.jobs_fd);
}

void job_finish(struct world *world, struct tracked_job *job)
{
    while (!job->ended)
        job_step(world, job, &job->random);
}

static struct tracked_job *active_job(struct world *world, int aco, int endpoint)
{
    for (size_t i = 0; i < world->job_count; i++) {
        struct tracked_job *job = world->jobs[i];
        if (!job->ended && job->request.aco == aco && job->endpoint == endpoint)
            return job;
    }
    return NULL;
}

static struct tracked_job *choose_active_job(struct world *world, uint64_t *random)
{
    size_t count = 0;
    for (size_t i = 0; i < world->job_count; i++)
        count += !world->jobs[i]->ended;
    if (!count)
        return NULL;
    size_t left = draw_below(random, (unsigned)count);
    for (size_t i = 0;; i++) {
        if (!world->jobs[i]->ended && left-- == 0)
            return world->jobs[i];
    }
}

static enum status submit_kick_off(struct world *world, const struct model_request *request,
                                   const char *endpoint, uint64_t *ret_id, int64_t *ret_transaction_time,
                                   struct error *error)
{
    struct job_create create;
    job_create_init(&create);
    create.aco = world->numbers[request->aco];
    snprintf(create.endpoint, sizeof create.endpoint, "%s", endpoint);
    create.url = mem_strdup("http://localhost/export");
    create.since_us = request->since == MODEL_NEVER ? INSTANT_MIN_US : request->since;
    create.separates_new = request->separates;
    create.type_count = (size_t)request->type_count;
    for (int i = 0; i < request->type_count; i++)
        create.types[i] = (enum resource_type)request->types[i];
    enum status status = writer_call(world->writer, &create.request, error);
    *ret_id = create.ret_id;
    *ret_transaction_time = create.ret_transaction_time_us;
    job_create_release(&create);
    return status;
}

static int64_t job_transaction_time(struct world *world, uint64_t id)
{
    struct error error = {0};
    struct arena arena = ARENA_INIT;
    struct job job;
    struct engine_txn *txn = world_read(world);
    world_expect_ok(world, job_get(txn, id, &arena, &job, &error), &error);
    engine_end(txn);
    int64_t time = job.transaction_time_us;
    arena_release(&arena);
    return time;
}

/* The answer is written down before anything else can happen. */
static struct tracked_job *track_job(struct world *world, const struct model_request *request, int endpoint,
                                     uint64_t id, int64_t transaction_time)
{
    struct tracked_job *job = calloc(1, sizeof *job);
    struct model_request everything = *request;
    everything.since = MODEL_NEVER;
    everything.separates = false;
    *job = (struct tracked_job){.id = id,
                                .endpoint = endpoint,
                                .request = *request,
                                .transaction_time = transaction_time,
                                .random = id};
    model_kick_off(&world->model, request->aco, transaction_time);
    model_answer(&world->model, request, &job->answer);
    model_answer(&world->model, &everything, &job->full);
    world->jobs[world->job_count++] = job;
    return job;
}

/* An export of the same view, made at once: what the other one must still give after whatever comes. */
static uint64_t make_twin(struct world *world, const struct model_request *request)
{
    struct error error = {0};
    uint64_t id = 0;
    int64_t transaction_time = 0;
    if (!world->acked) {
        enum status status = submit_kick_off(world, request, ENDPOINT_TWIN, &id, &transaction_time, &error);
        if (world->repeats && status == STATUS_CONFLICT)
            transaction_time = job_transaction_time(world, id);
        else
            world_expect_ok(world, status, &error);
        world->ack.kicked.twin_time = transaction_time;
    } else {
        transaction_time = world->acked->kicked.twin_time;
    }
    struct tracked_job *twin = track_job(world, request, -1, id, transaction_time);
    if (world->acked) {
        twin->ended = true;
        return world->acked->kicked.hash;
    }
    job_finish(world, twin);
    return twin->twin_hash;
}

void job_kick_off(struct world *world, int endpoint, const struct model_request *request, bool has_twin)
{
    struct error error = {0};
    uint64_t id = 0;
    int64_t transaction_time = 0;
    bool is_active = active_job(world, request->aco, endpoint) != NULL;
    world_trace(world, "%s %s since %" PRId64, aco_ids[request->aco], endpoints[endpoint], request->since);
    if (world->acked) {
        id = world->acked->kicked.id;
        transaction_time = world->acked->kicked.transaction_time;
        has_twin = has_twin && world->acked->kicked.hash;
    } else {
        enum status status =
            submit_kick_off(world, request, endpoints[endpoint], &id, &transaction_time, &error);
        if (world->repeats && !is_active && status == STATUS_CONFLICT) {
            transaction_time = job_transaction_time(world, id); /* it came through before the crash */
            status = STATUS_OK;
        }
        enum status expected = is_active ? STATUS_CONFLICT : STATUS_OK;
        if (status != expected)
            world_fail(world, "a kick-off gave %s instead of %s: %s", status_name(status),
                       status_name(expected), error.text);
    }
    if (!is_active) {
        struct tracked_job *job = track_job(world, request, endpoint, id, transaction_time);
        world_trace(world, "job %" PRIu64 " at %" PRId64, id, transaction_time);
        if (has_twin)
            job->twin_hash = make_twin(world, request);
        world->ack.kicked.id = id;
        world->ack.kicked.transaction_time = transaction_time;
        world->ack.kicked.hash = job->twin_hash;
    }
    (void)world_span(world, 0);
}

static void choose_types(struct model_request *request, uint64_t *random)
{
    bool taken[MODEL_TYPES] = {false};
    request->type_count = draw_one_in(random, 3) ? 1 + (int)draw_below(random, MODEL_TYPES) : MODEL_TYPES;
    for (int i = 0; i < request->type_count; i++) {
        int type = (int)draw_below(random, MODEL_TYPES);
        while (taken[type])
            type = (type + 1) % MODEL_TYPES;
        taken[type] = true;
        request->types[i] = (enum model_type)type;
    }
}

static void choose_since(struct world *world, struct model_request *request, uint64_t *random)
{
    const struct model *model = &world->model;
    int64_t since = MODEL_NEVER, given = model->acos[request->aco].given;
    switch (draw_below(random, 8)) {
    case 0:
        break;
    case 4:
    case 5: {
        /* Rather of one who came back. */
        const struct model_attribution *attribution = NULL;
        for (int tries = 0; tries < 10 && (!attribution || attribution->interval_count < 2); tries++)
            attribution = &model->beneficiaries[draw_below(random, MODEL_BENEFICIARIES)].of[request->aco];
        if (attribution->interval_count) {
            const struct model_interval *interval =
                &attribution->intervals[draw_below(random, (unsigned)attribution->interval_count)];
            since = (draw_one_in(random, 2) ? interval->start : interval->end).until -
                    (int64_t)draw_below(random, 2);
        }
        break;
    }
    case 1:
        since = given == MODEL_NEVER ? given : given - 1 + (int64_t)draw_below(random, 3);
        break;
    case 2:
    case 3:
        if (world->job_count)
            since = world->jobs[draw_below(random, (unsigned)world->job_count)]->transaction_time - 1 +
                    (int64_t)draw_below(random, 3);
        break;
    default:
        if (model->version_count)
            since = model->versions[draw_below(random, (unsigned)model->version_count)].stamp.until - 1 +
                    (int64_t)draw_below(random, 3);
        break;
    }
    if (since > world->instant)
        since = world->instant;
    for (int64_t better; since != MODEL_NEVER && model_hides(model, since, &better);)
        since = better;
    request->since = since;
    request->separates = since != MODEL_NEVER && draw_one_in(random, 2);
}

void operation_kick_off(struct world *world, uint64_t random)
{
    struct model_request request = {.aco = (int)draw_below(&random, MODEL_ACOS)};
    int endpoint = 1 + (int)draw_below(&random, ENDPOINTS - 1);
    choose_types(&request, &random);
    choose_since(world, &request, &random);
    job_kick_off(world, endpoint, &request, draw_one_in(&random, 3));
}

void operation_client(struct world *world, uint64_t random)
{
    struct model_request request = {.aco = (int)draw_below(&random, MODEL_ACOS),
                                    .types = {MODEL_EOB, MODEL_COVERAGE, MODEL_PATIENT},
                                    .type_count = MODEL_TYPES};
    struct tracked_job *job = active_job(world, request.aco, 0);
    if (job) {
        if (!world->acked)
            job_finish(world, job);
        (void)world_span(world, 0);
        return;
    }
    request.since = world->clients[request.aco].since;
    request.separates = request.since != MODEL_NEVER;
    job_kick_off(world, 0, &request, draw_one_in(&random, 8));
}

void operation_step(struct world *world, uint64_t random)
{
    struct tracked_job *job = choose_active_job(world, &random);
    for (unsigned left = 1 + draw_below(&random, 6); !world->acked && job && !job->ended && left; left--)
        job_step(world, job, &random);
    (void)world_span(world, 0);
}

void operation_finish(struct world *world, uint64_t random)
{
    struct tracked_job *job = choose_active_job(world, &random);
    if (job && !world->acked) {
        job_finish(world, job);
        if (!draw_one_in(&random, 3))
            world_collect(world, 100);
    }
    (void)world_span(world, 0);
}

void operation_cancel(struct world *world, uint64_t random)
{
    struct tracked_job *job = choose_active_job(world, &random);
    if (job && !world->acked) {
        struct error error = {0};
        struct job_change change;
        world_trace(world, "job %" PRIu64, job->id);
        job_change_init(&change, JOB_CHANGE_DELETE, job->id);
        world_expect_ok(world, writer_call(world->writer, &change.request, &error), &error);
        job_end(world, job);
        world_expect_ok(world, job_files_remove(world->dir, job->id, &error), &error);
    }
    (void)world_span(world, 0);
}

void operation_collect(struct world *world, uint64_t random)
{
    if (!world->acked) {
        world_collect(world, 1 + draw_below(&random, 5));
        world_expect_nothing_superseded(world);
    }
    (void)world_span(world, 0);
}
