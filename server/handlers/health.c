#include "server/handlers/handlers.h"

#include "server/log.h"
#include "server/service.h"

#include <stdio.h>
#include <unistd.h>

static enum status check_database(struct service *service, struct error *error)
{
    struct engine_txn *txn;
    struct store_clock clock;
    enum status status = engine_begin_read(store_engine(service->store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = store_clock_read(txn, &clock, error);
    engine_end(txn);
    return status;
}

/* Where exports write their files. */
static enum status check_jobs(struct service *service, struct error *error)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/jobs", store_dir(service->store)) >= (int)sizeof path ||
        access(path, W_OK | X_OK) != 0)
        return error_set_errno(error, "%s: cannot write", path);
    return STATUS_OK;
}

void handle_health(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    static const struct {
        const char *name;
        enum status (*check)(struct service *service, struct error *error);
    } parts[] = {{"database", check_database}, {"jobs", check_jobs}};
    struct buffer *body = &exchange->reply.body;
    bool is_well = true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct error error;
        enum status status = parts[i].check(exchange_service(exchange), &error);
        if (status != STATUS_OK) {
            log_event(LOG_LEVEL_ERROR, "unhealthy", "%s: %s", parts[i].name, error.text);
            is_well = false;
        }
        buffer_appendf(body, "%s\"%s\":\"%s\"", i ? "," : "{", parts[i].name,
                       status == STATUS_OK ? "ok" : "failed");
    }
    buffer_append_char(body, '}');
    exchange_send_document(exchange, is_well ? 200 : 502, "application/json");
}
