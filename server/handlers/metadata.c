#include "server/handlers/handlers.h"

#include "codec/documents.h"
#include "server/config.h"
#include "server/field_list.h"
#include "server/service.h"

/* BCDA's answer is application/json; whoever names FHIR's own type gets that (docs/api.md section 7). A range
 * of types names none. */
static bool accepts_fhir_json(struct exchange *exchange)
{
    struct slice accept;
    struct field_item item;
    unsigned quality;
    if (request_field(exchange, "Accept", &accept))
        while (field_list_next(&accept, &item))
            if (field_equal(item.value, "application/fhir+json") && field_item_quality(&item, &quality) &&
                quality > 0)
                return true;
    return false;
}

void handle_metadata(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    const struct config *config = service_config(exchange_service(exchange));
    struct capability capability = {
        .base_url = exchange_base_url(exchange),
        .version = SLUICE_VERSION,
        .release_date = SLUICE_RELEASE_DATE,
        .publisher = config->publisher,
        .software_name = config->software_name,
    };
    document_capability_statement(&exchange->reply.body, &capability);
    exchange_send_document(exchange, 200,
                           accepts_fhir_json(exchange) ? "application/fhir+json" : "application/json");
}

void handle_version(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    buffer_append_text(&exchange->reply.body, "{\"version\":\"" SLUICE_VERSION "\"}");
    exchange_send_document(exchange, 200, "application/json");
}
