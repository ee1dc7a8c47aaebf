#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "server/exports.h"
#include "server/handlers/handlers.h"
#include "server/kickoff.h"
#include "server/limiter.h"
#include "server/reactor.h"
#include "storage/accounts.h"

#include <inttypes.h>
#include <stdio.h>

/* A kick-off on its way through the writer. */
struct kickoff_request {
    struct job_create create; /* first: it comes back as the message */
    struct exchange *exchange;
};

/* ---- one active job per endpoint ---- */

static unsigned seconds_until(struct service *service, uint64_t job_id)
{
    struct exports_progress progress;
    if (exports_progress(service->exports, job_id, &progress) != STATUS_OK)
        return 1; /* it has just ended, or just begins */
    return progress.seconds_left;
}

/* `job_id` 0: it is not known yet. */
static void fail_active(struct exchange *exchange, uint64_t job_id)
{
    char text[160];
    if (job_id)
        snprintf(text, sizeof text, "Job %" PRIu64 " of this endpoint is active. Wait for it, or delete it.",
                 job_id);
    else
        snprintf(text, sizeof text, "Another job of this endpoint is being started.");
    reply_fieldf(&exchange->reply, "Retry-After", "%u",
                 job_id ? seconds_until(exchange_service(exchange), job_id) : 1);
    exchange_fail(exchange, 429, "throttled", PROBLEM_REQUEST, text);
}

static void fail_bucket_empty(struct exchange *exchange, uint32_t aco, const char *endpoint)
{
    struct engine_txn *txn;
    struct error error;
    uint64_t job_id = 0;
    enum status status = engine_begin_read(store_engine(exchange_service(exchange)->store), &txn, &error);
    if (status == STATUS_OK) {
        status = job_find_active(txn, aco, endpoint, &job_id, &error);
        engine_end(txn);
    }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return exchange_fail_status(exchange, status, &error);
    fail_active(exchange, status == STATUS_OK ? job_id : 0);
}

static void return_token(struct service *service, const struct job_create *create)
{
    char bucket[EXPORT_BUCKET_SIZE];
    export_bucket_name(bucket, create->aco, create->endpoint);
    limiter_return(service->limiter, LIMITER_JOB, slice_from_text(bucket));
}

/* ---- the job's creation ---- */

static void deliver_created(struct message *message, void *receiver)
{
    struct kickoff_request *request = (struct kickoff_request *)message;
    struct job_create *create = &request->create;
    struct exchange *exchange = request->exchange;
    struct service *service = exchange_service(exchange);
    (void)receiver;
    if (create->request.status == STATUS_OK && create->ret_unsettled) {
        if (writer_submit(service->writer, &create->request))
            return;
        create->request.status = error_set(&create->request.error, STATUS_BUSY, "the writer's queue is full");
    }
    if (create->request.status == STATUS_OK)
        exports_wake(service->exports, create->ret_id, create->aco, create->endpoint);
    else
        return_token(service, create);
    switch (create->request.status) {
    case STATUS_OK: {
        struct slice base = exchange_base_url(exchange);
        reply_fieldf(&exchange->reply, "Content-Location", "%.*s/api/v1/jobs/%" PRIu64, SLICE_PRINT(base),
                     create->ret_id);
        exchange->reply.status = 202;
        exchange_send(exchange);
        break;
    }
    case STATUS_CONFLICT:
        fail_active(exchange, create->ret_id);
        break;
    case STATUS_INVALID: /* the clock moved since it was checked */
        exchange_fail(exchange, 400, "value", PROBLEM_FORMATTING, KICKOFF_TEXT_FUTURE);
        break;
    case STATUS_NOT_FOUND: /* the ACO was removed after its token was verified */
    case STATUS_DENIED:
        exchange_fail_token(exchange);
        break;
    default:
        exchange_fail_status(exchange, create->request.status, &create->request.error);
    }
    job_create_release(create);
    mem_free(request);
}

/* The kick-off URL on the public base, as it stands in the manifest. */
static char *request_url(struct exchange *exchange)
{
    struct slice base = exchange_base_url(exchange);
    struct buffer url = BUFFER_INIT;
    size_t size;
    buffer_append_slice(&url, base);
    buffer_append_slice(&url, exchange->request.target);
    buffer_text(&url);
    return buffer_detach(&url, &size);
}

static void create_job(struct exchange *exchange, uint32_t aco, const struct kickoff *kickoff)
{
    struct service *service = exchange_service(exchange);
    struct kickoff_request *request = mem_new(struct kickoff_request);
    struct job_create *create = &request->create;
    request->exchange = exchange;
    job_create_init(create);
    create->aco = aco;
    memcpy(create->endpoint, kickoff->endpoint, sizeof create->endpoint);
    create->url = request_url(exchange);
    if (kickoff->warnings.size) {
        create->warnings = mem_zalloc(kickoff->warnings.size + 1);
        memcpy(create->warnings, kickoff->warnings.data, kickoff->warnings.size);
    }
    memcpy(create->types, kickoff->types, sizeof create->types);
    create->type_count = kickoff->type_count;
    create->since_us = kickoff->since_us;
    create->separates_new = kickoff->separates_new;
    create->partial_manifests = kickoff->partial_manifests;
    create->request.message.deliver = deliver_created;
    create->request.reply_to = reactor_mailbox(exchange->reactor);
    create->request.bytes = strlen(create->url) + kickoff->warnings.size + 512;
    create->request.urgent = true;
    if (strlen(create->url) > JOB_REQUEST_BYTES_MAX) {
        return_token(service, create);
        exchange_fail(exchange, 414, "too-long", PROBLEM_REQUEST, "The URL is too long.");
    } else if (!writer_submit(service->writer, &create->request)) {
        struct error error;
        return_token(service, create);
        error_set(&error, STATUS_BUSY, "the writer's queue is full");
        exchange_fail_status(exchange, STATUS_BUSY, &error);
    } else {
        return; /* it is the writer's now */
    }
    job_create_release(create);
    mem_free(request);
}

/* ---- the request ---- */

/* The newest instant that `_since` may name: now, or the newest transactionTime that was given to the ACO. */
static enum status newest_since(struct exchange *exchange, uint32_t aco_number, int64_t *ret_us,
                                struct error *error)
{
    struct engine_txn *txn;
    struct aco aco;
    enum status status = engine_begin_read(store_engine(exchange_service(exchange)->store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = aco_get(txn, aco_number, &aco, error);
    engine_end(txn);
    if (status != STATUS_OK)
        return status;
    int64_t now_us = clock_now_us();
    *ret_us = aco.newest_transaction_time_us > now_us ? aco.newest_transaction_time_us : now_us;
    return STATUS_OK;
}

static void kick_off(struct exchange *exchange, const struct route_call *call, const struct slice *group)
{
    struct service *service = exchange_service(exchange);
    struct kickoff_input input = {.group = group, .query = exchange->request.query};
    struct slice accept, prefer;
    struct kickoff kickoff;
    struct kickoff_problem problem;
    struct error error;
    if (request_field(exchange, "Accept", &accept))
        input.accept = &accept;
    if (request_field(exchange, "Prefer", &prefer))
        input.prefer = &prefer;
    enum status status = newest_since(exchange, call->identity.aco, &input.newest_us, &error);
    if (status != STATUS_OK)
        return exchange_fail_status(exchange, status, &error);
    if (!kickoff_parse(&input, &exchange->arena, &kickoff, &problem))
        return exchange_fail(exchange, problem.http_status, problem.issue_code, problem.class, problem.text);
    char bucket[EXPORT_BUCKET_SIZE];
    export_bucket_name(bucket, call->identity.aco, kickoff.endpoint);
    if (!limiter_take(service->limiter, LIMITER_JOB, slice_from_text(bucket), NULL))
        return fail_bucket_empty(exchange, call->identity.aco, kickoff.endpoint);
    create_job(exchange, call->identity.aco, &kickoff);
}

void handle_export_patient(struct exchange *exchange, const struct route_call *call)
{
    kick_off(exchange, call, NULL);
}

void handle_export_group(struct exchange *exchange, const struct route_call *call)
{
    kick_off(exchange, call, &call->parameters[0]);
}
