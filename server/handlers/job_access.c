#include "server/handlers/job_access.h"

#include "codec/base/clock.h"
#include "codec/instant.h"
#include "server/expiry.h"
#include "server/service.h"

#include <inttypes.h>
#include <stdio.h>

bool job_id_of_call(const struct route_call *call, uint64_t *ret_id)
{
    struct slice text = call->parameters[0];
    uint64_t id = 0;
    if (text.size == 0 || text.size > 19 || text.data[0] == '0')
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        id = id * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_id = id;
    return true;
}

void fail_job_unknown(struct exchange *exchange)
{
    exchange_fail(exchange, 404, "not-found", PROBLEM_NOT_FOUND, "There is no such job.");
}

void fail_job_cancelled(struct exchange *exchange)
{
    exchange_fail(exchange, 404, "not-found", PROBLEM_NOT_FOUND, "Job has been cancelled.");
}

void fail_job_gone(struct exchange *exchange, const struct job *job)
{
    char date[INSTANT_TEXT_SIZE], text[160];
    http_date_format(job->expires_us, date);
    reply_field(&exchange->reply, "Expires", date);
    snprintf(text, sizeof text, "The files of job %" PRIu64 " expired on %s.", job->id, date);
    exchange_fail(exchange, 410, "not-found", PROBLEM_DELETED, text);
}

bool job_peek_of_call(struct exchange *exchange, const struct route_call *call, struct engine_txn **ret_txn,
                      struct job *ret_job)
{
    struct error error;
    uint64_t id;
    if (!job_id_of_call(call, &id)) {
        fail_job_unknown(exchange);
        return false;
    }
    enum status status = engine_begin_read(store_engine(exchange_service(exchange)->store), ret_txn, &error);
    if (status != STATUS_OK) {
        exchange_fail_status(exchange, status, &error);
        return false;
    }
    status = job_peek(*ret_txn, id, ret_job, &error);
    if (status == STATUS_OK && ret_job->aco == call->identity.aco) {
        ret_job->state = job_state_at(ret_job, clock_now_us());
        return true;
    }
    engine_end(*ret_txn);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        fail_job_unknown(exchange);
    else
        exchange_fail_status(exchange, status, &error);
    return false;
}

bool job_fill_of_call(struct exchange *exchange, struct engine_txn *txn, struct job *job)
{
    struct error error;
    enum status status = job_fill(txn, &exchange->arena, job, &error);
    engine_end(txn);
    if (status != STATUS_OK)
        exchange_fail_status(exchange, status, &error);
    return status == STATUS_OK;
}

bool job_of_call(struct exchange *exchange, const struct route_call *call, struct job *ret_job)
{
    struct engine_txn *txn;
    return job_peek_of_call(exchange, call, &txn, ret_job) && job_fill_of_call(exchange, txn, ret_job);
}
