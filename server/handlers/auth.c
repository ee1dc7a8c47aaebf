#include "server/handlers/handlers.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/documents.h"
#include "server/base64.h"
#include "server/config.h"
#include "server/limiter.h"
#include "server/log.h"
#include "server/reactor.h"
#include "server/service.h"
#include "server/token.h"
#include "storage/accounts.h"

#include <arpa/inet.h>
#include <strings.h>

/* A client id, a colon and a secret are 117 bytes. */
#define BASIC_TEXT_BYTES_MAX 1024

/* ---- Answers: RFC 6749 section 5.2 and nothing more ---- */

static void send_error(struct exchange *exchange, unsigned http_status, const char *error_code)
{
    buffer_reset(&exchange->reply.body);
    buffer_appendf(&exchange->reply.body, "{\"error\":\"%s\"}", error_code);
    exchange_send_document(exchange, http_status, "application/json");
}

static void send_later(struct exchange *exchange, unsigned http_status, unsigned wait_seconds)
{
    reply_fieldf(&exchange->reply, "Retry-After", "%u", wait_seconds);
    send_error(exchange, http_status, "temporarily_unavailable");
}

static void send_failure(struct exchange *exchange, enum status status, const struct error *error)
{
    log_event(LOG_LEVEL_ERROR, "token_failed", "%s: %s", status_name(status), error->text);
    send_later(exchange, 503, RETRY_STORE_SECONDS);
}

/* ---- Who asks ---- */

struct login {
    struct slice client_id;
    struct slice secret;
};

/* RFC 7617. False if there is no such field or it cannot be read. */
static bool read_basic(struct exchange *exchange, struct login *ret_login)
{
    struct slice value;
    struct slice scheme = SLICE_LITERAL("Basic");
    if (!request_field(exchange, "Authorization", &value) || value.size <= scheme.size ||
        value.size > BASIC_TEXT_BYTES_MAX || strncasecmp(value.data, scheme.data, scheme.size) != 0 ||
        value.data[scheme.size] != ' ')
        return false;
    value = slice_skip(value, scheme.size);
    while (value.size && value.data[0] == ' ') /* 1*SP, RFC 9110 section 11.4 */
        value = slice_skip(value, 1);
    struct slice text;
    char *bytes = arena_alloc(&exchange->arena, BASE64_DECODED_SIZE(value.size));
    if (!base64_decode(BASE64_FORM_PADDED, value, bytes, &text))
        return false;
    const char *colon = text.size ? memchr(text.data, ':', text.size) : NULL;
    if (!colon)
        return false;
    ret_login->client_id = slice_make(text.data, (size_t)(colon - text.data));
    ret_login->secret = slice_skip(text, ret_login->client_id.size + 1);
    return true;
}

/* STATUS_DENIED, after the same work, for an unknown client as for a wrong secret: time must not tell which
 * client ids exist. */
static enum status check_login(struct service *service, const struct login *login,
                               struct identity *ret_identity, struct error *error)
{
    static const struct credential nobody; /* matches no secret that anybody could find */
    struct engine_txn *txn;
    enum status status = engine_begin_read(store_engine(service->store), &txn, error);
    if (status != STATUS_OK)
        return status;
    struct credential credential;
    struct aco aco;
    status = credential_get(txn, login->client_id, &credential, error);
    bool is_known = status == STATUS_OK;
    if (status == STATUS_NOT_FOUND)
        status = STATUS_OK;
    bool matches = credential_matches(is_known ? &credential : &nobody, login->secret);
    if (status == STATUS_OK && (!is_known || !matches))
        status = STATUS_DENIED;
    if (status == STATUS_OK)
        status = aco_get(txn, credential.aco, &aco, error);
    if (status == STATUS_OK && aco.removed)
        status = STATUS_DENIED;
    if (status == STATUS_OK) {
        ret_identity->aco = aco.number;
        strcpy(ret_identity->aco_id, aco.id);
        strcpy(ret_identity->client_id, credential.client_id);
    }
    engine_end(txn);
    return status;
}

/* ---- Whose failures count together ---- */

/* The client's address: the peer's, or what the trusted proxy said last. */
static struct slice client_address(struct exchange *exchange)
{
    const char *proxy = service_config(exchange_service(exchange))->trusted_proxy;
    struct slice peer = exchange->request.peer, forwarded;
    if (!proxy[0] || !slice_equal_text(peer, proxy) ||
        !request_field(exchange, "X-Forwarded-For", &forwarded))
        return peer;
    while (forwarded.size && forwarded.data[forwarded.size - 1] == ' ')
        forwarded.size--;
    size_t begin = forwarded.size;
    while (begin && forwarded.data[begin - 1] != ',' && forwarded.data[begin - 1] != ' ')
        begin--;
    return begin < forwarded.size ? slice_skip(forwarded, begin) : peer;
}

/* One IPv6 customer has a /64 at least, and could bring a new address to each attempt. */
static struct slice login_bucket(struct exchange *exchange)
{
    struct slice address = client_address(exchange);
    if (address.size >= LIMITER_NAME_MAX || address.size == 0)
        address = SLICE_LITERAL("?");
    struct in6_addr bytes;
    if (inet_pton(AF_INET6, arena_text(&exchange->arena, address), &bytes) != 1 ||
        IN6_IS_ADDR_V4MAPPED(&bytes))
        return address;
    memset(bytes.s6_addr + 8, 0, 8);
    char *text = arena_alloc(&exchange->arena, INET6_ADDRSTRLEN);
    CHECK(inet_ntop(AF_INET6, &bytes, text, INET6_ADDRSTRLEN));
    return slice_from_text(text);
}

/* ---- The handlers ---- */

/* On the reactor's thread again, with the signer's answer. */
static void token_ready(struct message *message, void *receiver)
{
    (void)receiver;
    struct token_issue *issue = (struct token_issue *)message; /* the first member */
    struct exchange *exchange = issue->context;
    if (issue->status != STATUS_OK) {
        send_failure(exchange, issue->status, &issue->error);
    } else {
        reply_field(&exchange->reply, "Pragma", "no-cache");
        document_token(&exchange->reply.body, slice_from_text(issue->ret_token),
                       service_config(exchange_service(exchange))->token_lifetime_seconds);
        exchange_send_document(exchange, 200, "application/json");
    }
    mem_free(issue);
}

void handle_token(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    struct service *service = exchange_service(exchange);
    struct slice bucket = login_bucket(exchange);
    unsigned wait_seconds = 0;
    if (!limiter_has(service->limiter, LIMITER_LOGIN, bucket, &wait_seconds)) {
        send_later(exchange, 429, wait_seconds);
        return;
    }
    struct login login;
    if (!read_basic(exchange, &login)) {
        send_error(exchange, 400, "invalid_request");
        return;
    }
    struct error error;
    struct identity identity = {0};
    enum status status = check_login(service, &login, &identity, &error);
    if (status == STATUS_DENIED) {
        limiter_take(service->limiter, LIMITER_LOGIN, bucket, NULL);
        reply_field(&exchange->reply, "WWW-Authenticate", "Basic realm=\"sluice\"");
        send_error(exchange, 401, "invalid_client");
        return;
    }
    if (status != STATUS_OK) {
        send_failure(exchange, status, &error);
        return;
    }
    strcpy(exchange->aco, identity.aco_id);
    struct token_issue *issue = mem_new(struct token_issue);
    issue->message.deliver = token_ready;
    issue->reply_to = reactor_mailbox(exchange->reactor);
    issue->identity = identity;
    issue->context = exchange;
    if (!tokens_issue(service->tokens, issue)) {
        mem_free(issue);
        send_later(exchange, 503, RETRY_BUSY_SECONDS);
    }
}

void handle_welcome(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    buffer_append_text(&exchange->reply.body,
                       "{\"success\":\"Welcome to the Beneficiary Claims Data API!\"}");
    exchange_send_document(exchange, 200, "application/json");
}

void handle_auth_provider(struct exchange *exchange, const struct route_call *call)
{
    (void)call;
    buffer_append_text(&exchange->reply.body,
                       "{\"auth_provider\":\"alpha\",\"version\":\"" SLUICE_VERSION "\"}");
    exchange_send_document(exchange, 200, "application/json");
}
