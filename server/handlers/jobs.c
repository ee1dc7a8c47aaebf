#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/documents.h"
#include "codec/instant.h"
#include "server/expiry.h"
#include "server/exports.h"
#include "server/handlers/handlers.h"
#include "server/handlers/job_access.h"
#include "server/manifest_cache.h"
#include "server/query.h"
#include "server/reactor.h"

#include <inttypes.h>
#include <stdio.h>

#define JOB_LIST_MAX 1000  /* jobs in one Bundle, the newest that are asked for */
#define JOB_WALK_MAX 10000 /* jobs looked at for it: about 10 ms on a reactor */
#define FOLLOWED_MAX 1000  /* files in progress in one manifest */

/* ---- GET /api/v1/jobs/{jobId} ---- */

/* A job that is active, as it stands. */
struct job_progress {
    struct exports_progress times;
    size_t followed[FOLLOWED_MAX]; /* files that can be followed, by their place in the plan */
    size_t followed_count;
};

static void put_manifest(struct exchange *exchange, const struct job *job,
                         const struct job_progress *progress);

static void send_progress(struct exchange *exchange, const struct job *job,
                          const struct job_progress *progress)
{
    if (job->state == JOB_STATE_PENDING)
        reply_field(&exchange->reply, "X-Progress", job_state_name(job->state));
    else
        reply_fieldf(&exchange->reply, "X-Progress", "%s (%u%%)", job_state_name(job->state),
                     progress->times.percent);
    reply_fieldf(&exchange->reply, "Retry-After", "%u", progress->times.seconds_left);
    if (job->partial_manifests) {
        put_manifest(exchange, job, progress);
        return exchange_send_document(exchange, 202, "application/json");
    }
    exchange->reply.status = 202;
    exchange_send(exchange);
}

static struct slice file_url(struct exchange *exchange, uint64_t job_id, const struct job_file *file)
{
    struct slice base = exchange_base_url(exchange);
    struct buffer url = BUFFER_INIT;
    buffer_appendf(&url, "%.*s/data/%" PRIu64 "/%s%s.ndjson", SLICE_PRINT(base), job_id, file->uuid,
                   file->set == JOB_SET_ERROR     ? "-error"
                   : file->set == JOB_SET_DELETED ? "-deleted"
                                                  : "");
    struct slice kept = arena_copy(&exchange->arena, buffer_slice(&url));
    buffer_release(&url);
    return kept;
}

static const char *file_type(const struct job_file *file)
{
    return file->set == JOB_SET_ERROR     ? "OperationOutcome"
           : file->set == JOB_SET_DELETED ? "Bundle"
                                          : resource_type_name(file->type);
}

/* `progress`: of an active job, for the files that are not complete. */
static void put_manifest(struct exchange *exchange, const struct job *job,
                         const struct job_progress *progress)
{
    struct manifest_file *files = arena_alloc(&exchange->arena, job->file_count * sizeof *files + 1);
    struct manifest_file *deleted = arena_alloc(&exchange->arena, job->file_count * sizeof *deleted + 1);
    struct manifest_file error_file;
    struct manifest_following *following = NULL;
    struct manifest manifest = {
        .transaction_time_us = job->transaction_time_us,
        .request = job->request,
        .output = files,
        .deleted = deleted,
        .error = &error_file,
        .job_id = job->id,
        .is_partial = progress != NULL,
    };
    for (size_t i = 0; i < job->file_count; i++) {
        const struct job_file *file = &job->files[i];
        struct manifest_file entry = {
            .type = file_type(file), .count = file->count, .raw_bytes = file->raw_bytes};
        if (!file->done || file->count == 0)
            continue;
        entry.url = file_url(exchange, job->id, file);
        if (file->set == JOB_SET_ERROR) {
            error_file = entry;
            manifest.error_count = 1;
        } else if (file->set == JOB_SET_DELETED) {
            deleted[manifest.deleted_count++] = entry;
        } else {
            files[manifest.output_count++] = entry;
        }
    }
    if (progress && progress->followed_count)
        manifest.following = following =
            arena_alloc(&exchange->arena, progress->followed_count * sizeof *following);
    for (size_t i = 0; progress && i < progress->followed_count; i++) {
        const struct job_file *file =
            progress->followed[i] < job->file_count ? &job->files[progress->followed[i]] : NULL;
        if (file && !file->done) /* it may have been completed since */
            following[manifest.following_count++] = (struct manifest_following){
                .type = file_type(file), .url = file_url(exchange, job->id, file)};
    }
    buffer_reset(&exchange->reply.body);
    document_manifest(&exchange->reply.body, &manifest);
}

static void send_completed(struct exchange *exchange, int64_t expires_us)
{
    char expires[INSTANT_TEXT_SIZE];
    http_date_format(expires_us, expires);
    reply_field(&exchange->reply, "X-Progress", job_state_name(JOB_STATE_COMPLETED));
    reply_field(&exchange->reply, "Expires", expires);
    exchange_send_document(exchange, 200, "application/json");
}

/* Of a completed job that was peeked at. */
static void send_manifest(struct exchange *exchange, struct engine_txn *txn, struct job *job)
{
    struct manifest_cache *cache = exchange_manifests(exchange);
    struct slice base_url = exchange_base_url(exchange);
    struct kept_manifest kept;
    uint64_t commit = engine_commit_seen(txn);
    if (manifest_cache_find(cache, job, commit, base_url, &kept)) {
        engine_end(txn);
        buffer_append_slice(&exchange->reply.body, kept.text);
    } else {
        if (!job_fill_of_call(exchange, txn, job))
            return;
        put_manifest(exchange, job, NULL);
        manifest_cache_keep(cache, job, commit, base_url, buffer_slice(&exchange->reply.body));
    }
    send_completed(exchange, job->expires_us);
}

/* As it was sent before, if nothing was committed since. */
static bool send_kept_manifest(struct exchange *exchange, const struct route_call *call, uint64_t id)
{
    struct kept_manifest kept;
    uint64_t commit = engine_newest_commit(store_engine(exchange_service(exchange)->store));
    if (!manifest_cache_recall(exchange_manifests(exchange), id, call->identity.aco, commit, clock_now_us(),
                               exchange_base_url(exchange), &kept))
        return false;
    buffer_append_slice(&exchange->reply.body, kept.text);
    send_completed(exchange, kept.expires_us);
    return true;
}

void handle_job_status(struct exchange *exchange, const struct route_call *call)
{
    struct engine_txn *txn;
    struct job job;
    struct job_progress progress = {.times = {.percent = 0, .seconds_left = 1}};
    struct exports *exports = exchange_service(exchange)->exports;
    uint64_t id;
    bool is_id = job_id_of_call(call, &id);
    if (is_id && send_kept_manifest(exchange, call, id))
        return;
    /* Before the record: a job that ends in between is then seen as ended, not as one without progress, and a
     * file that does is listed as complete, not left out. */
    if (is_id && exports_progress(exports, id, &progress.times) == STATUS_OK)
        progress.followed_count = exports_list_followed(exports, id, progress.followed, FOLLOWED_MAX);
    if (!job_peek_of_call(exchange, call, &txn, &job))
        return;
    if (job.state == JOB_STATE_COMPLETED)
        return send_manifest(exchange, txn, &job);
    if (!job_fill_of_call(exchange, txn, &job))
        return;
    switch (job.state) {
    case JOB_STATE_PENDING:
    case JOB_STATE_IN_PROGRESS:
        return send_progress(exchange, &job, &progress);
    case JOB_STATE_ARCHIVED:
    case JOB_STATE_EXPIRED:
        reply_field(&exchange->reply, "X-Progress", job_state_name(job.state));
        return fail_job_gone(exchange, &job);
    case JOB_STATE_FAILED:
        reply_field(&exchange->reply, "X-Progress", job_state_name(job.state));
        return exchange_fail(exchange, 500, "exception", PROBLEM_INTERNAL,
                             "Service encountered numerous errors.  Unable to complete the request.");
    default:
        return fail_job_cancelled(exchange);
    }
}

/* ---- DELETE /api/v1/jobs/{jobId} ---- */

struct delete_request {
    struct job_change change; /* first: it comes back as the message */
    struct exchange *exchange;
    struct job job; /* as it was; in the exchange's arena */
};

static void deliver_deleted(struct message *message, void *receiver)
{
    struct delete_request *request = (struct delete_request *)message;
    struct exchange *exchange = request->exchange;
    (void)receiver;
    switch (request->change.request.status) {
    case STATUS_OK:
        exports_cancel(exchange_service(exchange)->exports, request->change.id);
        exchange->reply.status = 202;
        exchange_send(exchange);
        break;
    case STATUS_NOT_FOUND: /* somebody was faster */
        fail_job_cancelled(exchange);
        break;
    case STATUS_CONFLICT:
        fail_job_gone(exchange, &request->job);
        break;
    default:
        exchange_fail_status(exchange, request->change.request.status, &request->change.request.error);
    }
    mem_free(request);
}

void handle_job_delete(struct exchange *exchange, const struct route_call *call)
{
    struct job job;
    if (!job_of_call(exchange, call, &job))
        return;
    if (job.state == JOB_STATE_CANCELLED)
        return fail_job_cancelled(exchange);
    if (job.state == JOB_STATE_EXPIRED)
        return fail_job_gone(exchange, &job);
    struct delete_request *request = mem_new(struct delete_request);
    request->exchange = exchange;
    request->job = job;
    job_change_init(&request->change, JOB_CHANGE_DELETE, job.id);
    request->change.aco = call->identity.aco;
    request->change.request.message.deliver = deliver_deleted;
    request->change.request.reply_to = reactor_mailbox(exchange->reactor);
    request->change.request.urgent = true;
    if (!writer_submit(exchange_service(exchange)->writer, &request->change.request)) {
        struct error error;
        mem_free(request);
        error_set(&error, STATUS_BUSY, "the writer's queue is full");
        exchange_fail_status(exchange, STATUS_BUSY, &error);
    }
}

/* ---- GET /api/v1/jobs ---- */

/* FHIR's Task status of our states. */
static const char *const task_status[JOB_STATE_COUNT] = {
    [JOB_STATE_PENDING] = "requested",   [JOB_STATE_IN_PROGRESS] = "in-progress",
    [JOB_STATE_COMPLETED] = "completed", [JOB_STATE_ARCHIVED] = "completed",
    [JOB_STATE_EXPIRED] = "completed",   [JOB_STATE_FAILED] = "failed",
    [JOB_STATE_CANCELLED] = "cancelled",
};

struct job_list {
    struct arena *arena;
    bool wanted[JOB_STATE_COUNT];
    struct task_item *items; /* JOB_LIST_MAX */
    size_t count;
    int64_t now_us;
};

static enum status list_job(void *context, const struct job *job, struct error *error)
{
    struct job_list *list = context;
    enum job_state state = job_state_at(job, list->now_us);
    (void)error;
    if (!list->wanted[state] || list->count == JOB_LIST_MAX)
        return STATUS_OK;
    list->items[list->count++] = (struct task_item){
        .job_id = job->id,
        .status = task_status[state],
        .state = slice_from_text(job_state_name(state)),
        .request = arena_copy(list->arena, job->request),
        .created_us = job->created_us,
        .updated_us = job->updated_us,
    };
    return STATUS_OK;
}

static bool want_state(struct job_list *list, struct slice name)
{
    for (int state = 0; state < JOB_STATE_COUNT; state++) {
        if (slice_equal_text(name, job_state_name((enum job_state)state))) {
            list->wanted[state] = true;
            return true;
        }
    }
    return false;
}

/* `_status`: state names, joined by commas or repeated; without it all. */
static bool parse_states(struct exchange *exchange, struct job_list *list)
{
    struct slice rest = exchange->request.query, name, value;
    bool given = false;
    while (query_next(&rest, &name, &value)) {
        if (!slice_equal_text(name, "_status"))
            continue;
        given = true;
        if (query_decode(value, &exchange->arena, true, &value) != STATUS_OK)
            return false;
        for (bool more = true; more;) {
            const char *comma = value.size ? memchr(value.data, ',', value.size) : NULL;
            size_t size = comma ? (size_t)(comma - value.data) : value.size;
            if (!want_state(list, slice_make(value.data, size)))
                return false;
            more = comma != NULL;
            value = slice_skip(value, size + 1);
        }
    }
    for (int state = 0; !given && state < JOB_STATE_COUNT; state++)
        list->wanted[state] = true;
    return true;
}

void handle_job_list(struct exchange *exchange, const struct route_call *call)
{
    struct engine_txn *txn;
    struct error error;
    struct job_list list = {.arena = &exchange->arena, .now_us = clock_now_us()};
    if (!parse_states(exchange, &list))
        return exchange_fail(exchange, 400, "value", PROBLEM_REQUEST,
                             "Invalid job status in the _status parameter");
    list.items = arena_alloc(&exchange->arena, JOB_LIST_MAX * sizeof *list.items);
    enum status status = engine_begin_read(store_engine(exchange_service(exchange)->store), &txn, &error);
    if (status == STATUS_OK) {
        status = job_each(txn, call->identity.aco, JOB_WALK_MAX, list_job, &list, &error);
        engine_end(txn);
    }
    if (status != STATUS_OK)
        return exchange_fail_status(exchange, status, &error);
    buffer_reset(&exchange->reply.body);
    document_job_bundle(&exchange->reply.body, exchange_base_url(exchange), list.items, list.count);
    exchange_send_document(exchange, 200, "application/fhir+json");
}
