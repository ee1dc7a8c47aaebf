/*
 * The exchanges of one reactor: made for a request, kept for reuse with their memory.
 *
 * A request id is the client's X-Request-Id if that is well-formed, else 128 random bits.
 *
 * Threading: its reactor's thread.
 */
#ifndef SERVER_EXCHANGE_POOL_H
#define SERVER_EXCHANGE_POOL_H

#include "server/exchange.h"
#include "server/http_head.h"

#include <stdbool.h>

struct connection_group;

/* An exchange and what the connections keep with it. */
struct held_exchange {
    struct exchange exchange; /* first: an exchange that comes back from a handler is cast to this */
    struct connection_group *group;
    struct buffer body; /* the request's */
    bool with_handler;
    struct held_exchange *next;
};

struct exchange_pool {
    struct connection_group *group;
    struct reactor *reactor;
    void *service;
    struct held_exchange *spare;
    unsigned spare_count;
    unsigned char random[4096]; /* getrandom once for many ids */
    size_t random_left;
};

void exchange_pool_init(struct exchange_pool *pool, struct connection_group *group, struct reactor *reactor,
                        void *service);
void exchange_pool_release(struct exchange_pool *pool);

/* An exchange whose request is empty but for the peer. `peer` is copied. */
struct held_exchange *exchange_pool_take(struct exchange_pool *pool, const char *peer, bool is_tls);
/* Closes the reply's source if there still is one. */
void exchange_pool_give(struct exchange_pool *pool, struct held_exchange *held);

/* Copies the request's head, whose slices borrow from `text`. */
void exchange_set_head(struct exchange *exchange, const struct http_head *head, struct slice text);
/* Closes the source and empties the rest. */
void reply_reset(struct reply *reply);
void reply_close_source(struct reply *reply);

#endif
