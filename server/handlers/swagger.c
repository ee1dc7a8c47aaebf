#include "server/handlers/handlers.h"

#include "codec/base/mem.h"
#include "server/config.h"
#include "server/file_body.h"
#include "server/openapi.h"
#include "server/page_assets.h"
#include "server/precondition.h"
#include "server/service.h"

#include <stdio.h>

/* Nothing but what this server sends, no inline script, no frame around the page. Each word is explained in
 * docs/web-page.md. */
#define PAGE_POLICY                                                                                          \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "    \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/* ---- A body out of constant memory ---- */

struct constant_body {
    struct body_source source; /* first: it is cast back */
    struct slice rest;
};

static enum body_pull constant_pull(struct body_source *source, size_t bytes_max, struct slice *ret_chunk)
{
    struct constant_body *body = (struct constant_body *)source;
    size_t size = body->rest.size < bytes_max ? body->rest.size : bytes_max;
    *ret_chunk = slice_make(body->rest.data, size);
    body->rest = slice_skip(body->rest, size);
    return body->rest.size ? BODY_PULL_MORE : BODY_PULL_END;
}

static void constant_close(struct body_source *source)
{
    mem_free(source);
}

static struct body_source *constant_body_new(struct slice bytes)
{
    struct constant_body *body = mem_new(struct constant_body);
    body->source = (struct body_source){constant_pull, constant_close};
    body->rest = bytes;
    return &body->source;
}

/* ---- Files of the page ---- */

static const struct page_asset *find_asset(struct slice name)
{
    for (size_t i = 0; i < page_asset_count; i++)
        if (slice_equal_text(name, page_assets[i].name))
            return &page_assets[i];
    return NULL;
}

/* If-None-Match alone: nobody resumes what loads in a moment. */
static bool client_has(struct exchange *exchange, const char *tag, size_t bytes)
{
    struct precondition_fields fields = {0};
    struct representation representation = {.etag = slice_from_text(tag), .bytes = bytes};
    struct byte_range ranges[RANGES_MAX];
    size_t count;
    return request_field(exchange, "If-None-Match", &fields.if_none_match) &&
           precondition_check(&fields, &representation, ranges, &count) == PRECONDITION_NOT_MODIFIED;
}

static void send_asset(struct exchange *exchange, const struct page_asset *asset)
{
    struct reply *reply = &exchange->reply;
    struct slice accept_encoding;
    enum file_coding coding;
    char tag[64];
    reply_field(reply, "Vary", "Accept-Encoding");
    bool has_field = request_field(exchange, "Accept-Encoding", &accept_encoding);
    if (!file_coding_choose(has_field ? &accept_encoding : NULL, &coding)) {
        exchange_fail(exchange, 406, "not-supported", PROBLEM_REQUEST,
                      "The page is served as gzip or identity; Accept-Encoding admits neither.");
        return;
    }
    bool is_gzip = coding == FILE_CODING_GZIP;
    snprintf(tag, sizeof tag, "\"%s%s\"", asset->tag, is_gzip ? "-gzip" : "");
    reply_field(reply, "ETag", tag);
    /* Kept, but asked for again each time: the names stay the same when the server is updated. */
    reply_field(reply, "Cache-Control", "no-cache");
    reply_field(reply, "Content-Security-Policy", PAGE_POLICY);
    reply_field(reply, "Referrer-Policy", "no-referrer");
    if (client_has(exchange, tag, asset->identity.size)) {
        reply->status = 304;
        exchange_send(exchange);
        return;
    }
    reply->status = 200;
    reply_field(reply, "Content-Type", asset->content_type);
    if (is_gzip)
        reply_field(reply, "Content-Encoding", "gzip");
    struct slice bytes = is_gzip ? asset->gzip : asset->identity;
    reply->length = (int64_t)bytes.size;
    reply->source = constant_body_new(bytes);
    exchange_send(exchange);
}

/* ---- The handlers ---- */

void handle_page_moved(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    reply_fieldf(&exchange->reply, "Location", "%.*s/api/v1/swagger/",
                 SLICE_PRINT(exchange_base_url(exchange)));
    exchange->reply.status = 301;
    exchange_send(exchange);
}

void handle_page(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    send_asset(exchange, find_asset(SLICE_LITERAL("")));
}

void handle_page_asset(struct exchange *exchange, const struct route_call *call)
{
    const struct page_asset *asset = find_asset(call->parameters[0]);
    if (!asset) {
        exchange_fail(exchange, 404, "not-found", PROBLEM_NOT_FOUND, "There is nothing at this path.");
        return;
    }
    send_asset(exchange, asset);
}

void handle_openapi(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    const struct config *config = service_config(exchange_service(exchange));
    openapi_document(&exchange->reply.body, exchange_base_url(exchange), config->software_name,
                     config->token_lifetime_seconds);
    exchange_send_document(exchange, 200, "application/json");
}
