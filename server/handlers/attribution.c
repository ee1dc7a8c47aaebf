#include "storage/attribution.h"
#include "codec/documents.h"
#include "codec/instant.h"
#include "server/handlers/handlers.h"
#include "server/service.h"

/* The first that comes is the newest; INSTANT_MIN_US stands for none. */
static enum status note_newest(void *context, const struct roster *roster, struct error *error)
{
    int64_t *newest_us = context;
    (void)error;
    if (*newest_us == INSTANT_MIN_US)
        *newest_us = roster->applied_us;
    return STATUS_OK;
}

void handle_attribution_status(struct exchange *exchange, const struct route_call *call)
{
    struct engine_txn *txn;
    struct error error;
    int64_t newest_us = INSTANT_MIN_US;
    enum status status = engine_begin_read(store_engine(exchange_service(exchange)->store), &txn, &error);
    if (status == STATUS_OK) {
        status = roster_each(txn, call->identity.aco, note_newest, &newest_us, &error);
        engine_end(txn);
    }
    if (status != STATUS_OK)
        return exchange_fail_status(exchange, status, &error);
    if (newest_us == INSTANT_MIN_US)
        return exchange_fail(exchange, 404, "not-found", PROBLEM_NOT_FOUND,
                             "No attribution of this ACO has been loaded.");
    document_attribution_status(&exchange->reply.body, newest_us);
    exchange_send_document(exchange, 200, "application/json");
}
