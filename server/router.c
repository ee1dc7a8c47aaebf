#include "server/router.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/documents.h"
#include "server/config.h"
#include "server/handlers/handlers.h"
#include "server/limiter.h"
#include "server/log.h"
#include "server/manifest_cache.h"
#include "server/reactor.h"
#include "server/service.h"
#include "server/token.h"

#include <strings.h>

const struct route routes[] = {
    {HTTP_METHOD_POST, "/auth/token", ROUTE_AUTH_NONE, false, handle_token},
    {HTTP_METHOD_GET, "/auth/welcome", ROUTE_AUTH_BEARER, false, handle_welcome},
    {HTTP_METHOD_GET, "/_auth", ROUTE_AUTH_NONE, false, handle_auth_provider},
    {HTTP_METHOD_GET, "/_version", ROUTE_AUTH_NONE, false, handle_version},
    {HTTP_METHOD_GET, "/_health", ROUTE_AUTH_NONE, false, handle_health},
    {HTTP_METHOD_GET, "/api/v1/metadata", ROUTE_AUTH_NONE, false, handle_metadata},
    {HTTP_METHOD_GET, "/api/v1/Patient/$export", ROUTE_AUTH_BEARER, true, handle_export_patient},
    {HTTP_METHOD_GET, "/api/v1/Group/{groupId}/$export", ROUTE_AUTH_BEARER, true, handle_export_group},
    {HTTP_METHOD_GET, "/api/v1/jobs", ROUTE_AUTH_BEARER, false, handle_job_list},
    {HTTP_METHOD_GET, "/api/v1/jobs/{jobId}", ROUTE_AUTH_BEARER, false, handle_job_status},
    {HTTP_METHOD_DELETE, "/api/v1/jobs/{jobId}", ROUTE_AUTH_BEARER, false, handle_job_delete},
    {HTTP_METHOD_GET, "/api/v1/attribution_status", ROUTE_AUTH_BEARER, false, handle_attribution_status},
    {HTTP_METHOD_GET, "/data/{jobId}/{filename}", ROUTE_AUTH_BEARER, false, handle_data_file},
    {HTTP_METHOD_GET, "/api/v1/swagger", ROUTE_AUTH_NONE, false, handle_page_moved},
    {HTTP_METHOD_GET, "/api/v1/swagger/", ROUTE_AUTH_NONE, false, handle_page},
    {HTTP_METHOD_GET, "/api/v1/swagger/openapi.json", ROUTE_AUTH_NONE, false, handle_openapi},
    {HTTP_METHOD_GET, "/api/v1/swagger/{asset}", ROUTE_AUTH_NONE, false, handle_page_asset},
};
const size_t route_count = sizeof routes / sizeof *routes;

/* What a shell makes of the guides' commands, which stand in double quotes there: it takes "$export" for a
 * variable of its own. */
static const char *const shell_patterns[] = {"/api/v1/Patient/", "/api/v1/Group/{group}/"};

#define CORS_EXPOSED "Content-Location, X-Progress, Retry-After, Expires, ETag"
#define CORS_FIELDS                                                                                          \
    "Authorization, Accept, Content-Type, Prefer, Range, If-Range, If-None-Match, If-Modified-Since, "       \
    "X-Request-Id"
#define CORS_MAX_AGE_SECONDS "86400"

/* ---- Replies ---- */

static const struct {
    const char *name;
    bool is_bare;
} problem_classes[] = {
    [PROBLEM_REQUEST] = {"Request Error", false},     [PROBLEM_FORMATTING] = {"Formatting Error", false},
    [PROBLEM_TOKEN] = {"Invalid Token", true},        [PROBLEM_UNAUTHORIZED] = {"Unauthorized Error", false},
    [PROBLEM_NOT_FOUND] = {"Not Found Error", false}, [PROBLEM_DELETED] = {"Deleted Error", false},
    [PROBLEM_INTERNAL] = {"Internal Error", false},
};

const char *problem_class_name(enum problem_class class)
{
    return problem_classes[class].name;
}

static void reply_problem(struct reply *reply, unsigned http_status, const char *issue_code,
                          enum problem_class class, const char *text)
{
    reply->status = http_status;
    reply_field(reply, "Content-Type", "application/fhir+json");
    buffer_reset(&reply->body);
    document_outcome(&reply->body, "error", issue_code, problem_classes[class].name,
                     problem_classes[class].is_bare ? NULL : text);
}

void exchange_fail(struct exchange *exchange, unsigned http_status, const char *issue_code,
                   enum problem_class class, const char *text)
{
    reply_problem(&exchange->reply, http_status, issue_code, class, text);
    exchange_send(exchange);
}

void exchange_fail_token(struct exchange *exchange)
{
    reply_field(&exchange->reply, "WWW-Authenticate", "Bearer");
    exchange_fail(exchange, 401, "login", PROBLEM_TOKEN, NULL);
}

static void log_failure(const struct exchange *exchange, enum log_level level, enum status status,
                        const struct error *error)
{
    struct log_line line = log_begin(level, "request_failed");
    log_text(&line, "route", exchange->route ? exchange->route : "");
    log_text(&line, "status", status_name(status));
    if (error)
        log_text(&line, "text", error->text);
    log_text(&line, "request_id", exchange->request_id);
    log_end(&line);
}

void exchange_fail_status(struct exchange *exchange, enum status status, const struct error *error)
{
    unsigned retry_seconds = 0;
    enum log_level level = LOG_LEVEL_ERROR;
    switch (status) {
    case STATUS_BUSY:
    case STATUS_STALE:
    case STATUS_CANCELLED: /* the server stops */
        retry_seconds = RETRY_BUSY_SECONDS;
        level = LOG_LEVEL_WARNING;
        break;
    case STATUS_NO_SPACE:
    case STATUS_IO:
        retry_seconds = RETRY_STORE_SECONDS;
        break;
    default:
        break;
    }
    log_failure(exchange, level, status, error);
    if (retry_seconds) {
        reply_fieldf(&exchange->reply, "Retry-After", "%u", retry_seconds);
        exchange_fail(exchange, 503, "transient", PROBLEM_INTERNAL,
                      "The server cannot do this at the moment. Try again later.");
    } else {
        exchange_fail(exchange, 500, "exception", PROBLEM_INTERNAL, "The server failed to do this.");
    }
}

void router_refuse(struct reply *reply, unsigned status, const char *text)
{
    switch (status) {
    case 408:
        reply_problem(reply, status, "timeout", PROBLEM_REQUEST, text);
        break;
    case 413:
    case 414:
    case 431:
        reply_problem(reply, status, "too-long", PROBLEM_REQUEST, text);
        break;
    case 501:
    case 505:
        reply_problem(reply, status, "not-supported", PROBLEM_REQUEST, text);
        break;
    case 503: /* Retry-After is there already */
        reply_problem(reply, status, "transient", PROBLEM_INTERNAL, text);
        break;
    default:
        reply_problem(reply, status, status >= 500 ? "exception" : "structure",
                      status >= 500 ? PROBLEM_INTERNAL : PROBLEM_REQUEST, text);
    }
}

void exchange_send_document(struct exchange *exchange, unsigned http_status, const char *content_type)
{
    exchange->reply.status = http_status;
    reply_field(&exchange->reply, "Content-Type", content_type);
    exchange_send(exchange);
}

void router_finished(struct exchange *exchange, uint64_t bytes, bool complete)
{
    static const char *const methods[] = {
        [HTTP_METHOD_GET] = "GET",     [HTTP_METHOD_HEAD] = "HEAD",     [HTTP_METHOD_POST] = "POST",
        [HTTP_METHOD_PUT] = "PUT",     [HTTP_METHOD_DELETE] = "DELETE", [HTTP_METHOD_OPTIONS] = "OPTIONS",
        [HTTP_METHOD_PATCH] = "PATCH", [HTTP_METHOD_OTHER] = "other"};
    struct log_line line = log_begin(LOG_LEVEL_INFO, "request");
    if (!line.wanted)
        return log_end(&line);
    log_text(&line, "method", methods[exchange->request.method]);
    log_text(&line, "route", exchange->route ? exchange->route : "");
    log_number(&line, "status", exchange->reply.status);
    log_number(&line, "bytes", (int64_t)bytes);
    log_number(&line, "duration_us", clock_monotonic_us() - exchange->begun_us);
    log_text(&line, "aco", exchange->aco);
    log_text(&line, "request_id", exchange->request_id);
    log_string(&line, "peer", exchange->request.peer);
    log_text(&line, "complete", complete ? "yes" : "no");
    log_end(&line);
}

/* ---- The base URL ---- */

/* What a proxy said last: it stands nearest to us. */
static struct slice last_element(struct slice list)
{
    for (size_t i = list.size; i > 0; i--)
        if (list.data[i - 1] == ',') {
            list = slice_skip(list, i);
            break;
        }
    while (list.size && list.data[0] == ' ')
        list = slice_skip(list, 1);
    return list;
}

/* It will stand in URLs and in a header field. */
static bool is_host(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool is_alphanumeric = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!is_alphanumeric && (c == '\0' || !strchr(".-_:[]", c)))
            return false;
    }
    return text.size > 0 && text.size <= 255;
}

struct slice exchange_base_url(struct exchange *exchange)
{
    const struct service *service = exchange_service(exchange);
    const struct config *config = service_config(service);
    if (config->public_url[0])
        return slice_from_text(config->public_url);

    const struct request *request = &exchange->request;
    struct slice scheme = slice_from_text(request->is_tls ? "https" : "http");
    struct slice host = request->host, value;
    if (config->trusted_proxy[0] && slice_equal_text(request->peer, config->trusted_proxy)) {
        if (request_field(exchange, "X-Forwarded-Proto", &value)) {
            value = last_element(value);
            if (slice_equal_text(value, "https") || slice_equal_text(value, "http"))
                scheme = value;
        }
        if (request_field(exchange, "X-Forwarded-Host", &value) && is_host(last_element(value)))
            host = last_element(value);
    }
    if (host.size == 0) { /* HTTP/1.0 */
        const struct reactors *reactors = __atomic_load_n(&service->reactors, __ATOMIC_ACQUIRE);
        host = slice_from_text(reactors ? reactors_address(reactors) : config->listen);
    }
    char *url = arena_alloc(&exchange->arena, scheme.size + 3 + host.size);
    memcpy(url, scheme.data, scheme.size);
    memcpy(url + scheme.size, "://", 3);
    memcpy(url + scheme.size + 3, host.data, host.size);
    return slice_make(url, scheme.size + 3 + host.size);
}

/* ---- Matching ---- */

static bool route_match(const char *pattern, struct slice path, struct slice parameters[ROUTE_PARAMETERS_MAX])
{
    size_t count = 0;
    while (*pattern) {
        if (*pattern == '{') {
            const char *slash = path.size ? memchr(path.data, '/', path.size) : NULL;
            size_t size = slash ? (size_t)(slash - path.data) : path.size;
            if (size == 0)
                return false;
            CHECK(count < ROUTE_PARAMETERS_MAX);
            parameters[count++] = slice_make(path.data, size);
            path = slice_skip(path, size);
            pattern = strchr(pattern, '}') + 1;
            continue;
        }
        size_t size = path.size && path.data[0] == *pattern ? 1 : 0;
        if (!size && *pattern == '$' && slice_starts_with(path, SLICE_LITERAL("%24")))
            size = 3;
        if (!size)
            return false;
        path = slice_skip(path, size);
        pattern++;
    }
    return path.size == 0;
}

static bool route_takes(const struct route *route, enum http_method method)
{
    return route->method == method ||
           (method == HTTP_METHOD_HEAD && route->method == HTTP_METHOD_GET && !route->refuses_head);
}

/* Allow and Access-Control-Allow-Methods: what the path's rows take. False if no row has this path. */
static bool path_methods(struct slice path, char methods[64], const char **ret_pattern)
{
    static const struct {
        enum http_method method;
        const char *name;
    } names[] = {{HTTP_METHOD_GET, "GET"}, {HTTP_METHOD_HEAD, "HEAD"},     {HTTP_METHOD_POST, "POST"},
                 {HTTP_METHOD_PUT, "PUT"}, {HTTP_METHOD_DELETE, "DELETE"}, {HTTP_METHOD_PATCH, "PATCH"}};
    bool is_known = false;
    methods[0] = '\0';
    struct slice parameters[ROUTE_PARAMETERS_MAX];
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (size_t i = 0; i < route_count; i++)
            if (route_match(routes[i].pattern, path, parameters) &&
                route_takes(&routes[i], names[n].method)) {
                strcat(strcat(methods, names[n].name), ", ");
                *ret_pattern = routes[i].pattern;
                is_known = true;
                break;
            }
    strcat(methods, "OPTIONS"); /* all of them: 38 characters */
    return is_known;
}

/* ---- CORS (https://fetch.spec.whatwg.org/#http-cors-protocol) ---- */

/* The value of Access-Control-Allow-Origin, or nothing. */
static struct slice cors_allowed(const char *setting, struct slice origin)
{
    if (strcmp(setting, "*") == 0)
        return SLICE_LITERAL("*");
    while (*setting) {
        struct slice allowed = {setting, strcspn(setting, " ")};
        if (slice_equal(allowed, origin))
            return allowed;
        setting += allowed.size;
        setting += *setting == ' ';
    }
    return (struct slice){"", 0};
}

/* On every answer, failures too: a page must be able to read why. */
static void reply_cors(struct exchange *exchange)
{
    const char *setting = service_config(exchange_service(exchange))->cors_origin;
    struct slice origin;
    if (!request_field(exchange, "Origin", &origin))
        return;
    struct slice allowed = cors_allowed(setting, origin);
    if (setting[0] && !slice_equal_text(allowed, "*"))
        reply_field(&exchange->reply, "Vary", "Origin");
    if (allowed.size == 0)
        return;
    reply_fieldf(&exchange->reply, "Access-Control-Allow-Origin", "%.*s", SLICE_PRINT(allowed));
    reply_field(&exchange->reply, "Access-Control-Expose-Headers", CORS_EXPOSED);
    struct slice wanted;
    if (exchange->request.method == HTTP_METHOD_OPTIONS &&
        request_field(exchange, "Access-Control-Request-Method", &wanted)) {
        reply_field(&exchange->reply, "Access-Control-Allow-Headers", CORS_FIELDS);
        reply_field(&exchange->reply, "Access-Control-Max-Age", CORS_MAX_AGE_SECONDS);
    }
}

/* ---- The way of a request ---- */

static void fail_unknown_path(struct exchange *exchange)
{
    struct slice parameters[ROUTE_PARAMETERS_MAX];
    for (size_t i = 0; i < sizeof shell_patterns / sizeof *shell_patterns; i++)
        if (route_match(shell_patterns[i], exchange->request.path, parameters)) {
            exchange->route = shell_patterns[i];
            exchange_fail(
                exchange, 404, "not-found", PROBLEM_NOT_FOUND,
                "The URL ends where $export should stand. Inside double quotes a shell replaces $export by "
                "nothing: put the URL in single quotes, or write \\$export or %24export.");
            return;
        }
    exchange_fail(exchange, 404, "not-found", PROBLEM_NOT_FOUND, "There is nothing at this path.");
}

/* No row takes it: OPTIONS, a wrong method, or a path that is not there. */
static void answer_without_route(struct exchange *exchange)
{
    char methods[64];
    struct slice path = exchange->request.path;
    bool is_options = exchange->request.method == HTTP_METHOD_OPTIONS;
    bool is_everything = is_options && slice_equal_text(path, "*"); /* RFC 9110 section 9.3.7 */
    if (!path_methods(path, methods, &exchange->route) && !is_everything) {
        fail_unknown_path(exchange);
        return;
    }
    reply_field(&exchange->reply, "Allow", methods);
    if (!is_options) {
        exchange_fail(exchange, 405, "not-supported", PROBLEM_REQUEST,
                      "This path does not take this method; the field Allow says which it takes.");
        return;
    }
    struct slice origin;
    if (request_field(exchange, "Origin", &origin))
        reply_field(&exchange->reply, "Access-Control-Allow-Methods", methods);
    exchange->reply.status = 204;
    exchange_send(exchange);
}

static bool body_is_compressed(struct exchange *exchange)
{
    struct slice coding;
    return exchange->request.body.size && request_field(exchange, "Content-Encoding", &coding) &&
           coding.size && !(coding.size == 8 && strncasecmp(coding.data, "identity", 8) == 0);
}

struct router_local {
    struct token_cache *tokens;
    struct manifest_cache *manifests;
};

void *router_local_new(void *service)
{
    struct router_local *local = mem_new(struct router_local);
    local->tokens = token_cache_new(((struct service *)service)->tokens);
    local->manifests = manifest_cache_new();
    return local;
}

void router_local_free(void *local_of_reactor)
{
    struct router_local *local = local_of_reactor;
    token_cache_free(local->tokens);
    manifest_cache_free(local->manifests);
    mem_free(local);
}

static struct router_local *exchange_local(const struct exchange *exchange)
{
    return reactor_local(exchange->reactor);
}

struct manifest_cache *exchange_manifests(struct exchange *exchange)
{
    return exchange_local(exchange)->manifests;
}

/* Verifies the token and bounds its client's rate. False if it has answered. */
static bool authorize(struct exchange *exchange, struct identity *ret_identity)
{
    struct service *service = exchange_service(exchange);
    struct slice value;
    /* Exactly this scheme and one space (docs/api.md section 2). */
    struct slice scheme = SLICE_LITERAL("Bearer ");
    if (!request_field(exchange, "Authorization", &value) || !slice_starts_with(value, scheme)) {
        exchange_fail_token(exchange);
        return false;
    }
    struct error error;
    enum status status = tokens_verify(service->tokens, exchange_local(exchange)->tokens,
                                       slice_skip(value, scheme.size), ret_identity, &error);
    if (status == STATUS_DENIED) {
        exchange_fail_token(exchange);
        return false;
    }
    if (status != STATUS_OK) {
        exchange_fail_status(exchange, status, &error);
        return false;
    }
    strcpy(exchange->aco, ret_identity->aco_id);
    unsigned wait_seconds = 0;
    if (!limiter_take(service->limiter, LIMITER_REQUEST, slice_from_text(ret_identity->client_id),
                      &wait_seconds)) {
        reply_fieldf(&exchange->reply, "Retry-After", "%u", wait_seconds);
        exchange_fail(exchange, 429, "throttled", PROBLEM_REQUEST,
                      "This client has sent too many requests. Try again later.");
        return false;
    }
    return true;
}

void router_handle(struct exchange *exchange)
{
    const struct route *route = NULL;
    struct route_call call = {0};
    reply_cors(exchange);
    for (size_t i = 0; !route && i < route_count; i++)
        if (route_takes(&routes[i], exchange->request.method) &&
            route_match(routes[i].pattern, exchange->request.path, call.parameters))
            route = &routes[i];
    if (!route) {
        answer_without_route(exchange);
        return;
    }
    exchange->route = route->pattern;
    if (body_is_compressed(exchange)) {
        exchange_fail(exchange, 415, "not-supported", PROBLEM_REQUEST,
                      "The request's body is compressed; send it as it is.");
        return;
    }
    if (route->auth == ROUTE_AUTH_BEARER && !authorize(exchange, &call.identity))
        return;
    route->handle(exchange, &call);
}
