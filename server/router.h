/*
 * The router: one table of routes. A row names methods, path pattern, what authorization it needs and the
 * handler. "{x}" in a pattern matches one non-empty path segment. "$" may arrive as "%24"; no other
 * percent-encoding changes what a path matches. HEAD is served by GET's row unless the row says not.
 *
 * Before a handler runs the router has: put the CORS fields into the reply, found the row (else 404, or 405
 * with Allow), answered OPTIONS (204), refused a compressed body (415), verified the token (else 401), and
 * bounded the client's request rate (429).
 *
 * Threading: the table is constant; routing happens on the exchange's reactor.
 */
#ifndef SERVER_ROUTER_H
#define SERVER_ROUTER_H

#include "server/exchange.h"

#define ROUTE_PARAMETERS_MAX 2
#define RETRY_BUSY_SECONDS   1  /* a queue was full */
#define RETRY_STORE_SECONDS  30 /* the disk is full or failing: somebody has to do something */

/* Who asks; valid if the route needs authorization. */
struct identity {
    uint32_t aco;    /* number */
    char aco_id[16]; /* "A9994" */
    char client_id[37];
};

struct route_call {
    struct identity identity;
    struct slice parameters[ROUTE_PARAMETERS_MAX]; /* what "{x}" matched, in order */
};

enum route_auth { ROUTE_AUTH_NONE, ROUTE_AUTH_BEARER };

struct route {
    enum http_method method;
    const char *pattern;
    enum route_auth auth;
    bool refuses_head; /* a GET that starts something: HEAD is 405 */
    /* Must exchange_send sooner or later. `call` lives until it returns. */
    void (*handle)(struct exchange *exchange, const struct route_call *call);
};

extern const struct route routes[];
extern const size_t route_count;

/* The reactors' `handle`, and their `finished`: the request's line in the log, with the route's pattern
 * instead of the path, which may hold ids. */
void router_handle(struct exchange *exchange);
void router_finished(struct exchange *exchange, uint64_t bytes, bool complete);

/* The reactors' `local_new` and `local_free`: each reactor's caches of tokens and of manifests. */
void *router_local_new(void *service);
void router_local_free(void *local);
struct manifest_cache *exchange_manifests(struct exchange *exchange);

/* Answers with an OperationOutcome and sends. The text must hold no secret, token, file path or another
 * client's data. Fields that were added to the reply before stay. */
enum problem_class {
    PROBLEM_REQUEST,    /* "Request Error" */
    PROBLEM_FORMATTING, /* "Formatting Error" */
    PROBLEM_TOKEN,      /* "Invalid Token": the bare body */
    PROBLEM_UNAUTHORIZED,
    PROBLEM_NOT_FOUND,
    PROBLEM_DELETED,
    PROBLEM_INTERNAL
};
void exchange_fail(struct exchange *exchange, unsigned http_status, const char *issue_code,
                   enum problem_class class, const char *text);
/* 401: the same for every cause. */
void exchange_fail_token(struct exchange *exchange);
/* The one table from our statuses to HTTP, for what the store or a queue answers: BUSY, NO_SPACE, IO and
 * the like -> 503 with Retry-After; the rest 500. Logs `error`, shows none of it. */
void exchange_fail_status(struct exchange *exchange, enum status status, const struct error *error);
/* The body of connection-level refusals (reactors_options.refuse). */
void router_refuse(struct reply *reply, unsigned status, const char *text);

/* 200 (or another status) with the bytes in reply.body. */
void exchange_send_document(struct exchange *exchange, unsigned http_status, const char *content_type);

/* For whoever sends an OperationOutcome elsewhere: the words of a class. */
const char *problem_class_name(enum problem_class class);

/* "https://host[:port]" under which this request came: the configured public URL, else scheme and Host
 * (X-Forwarded-Proto/-Host only from a trusted proxy). In the exchange's arena. */
struct slice exchange_base_url(struct exchange *exchange);

#endif
