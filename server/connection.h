/*
 * A connection: one client's socket, plain or TLS, through all its requests.
 *
 *   handshake -> head -> body -> handling -> sending -> head ...        any -> lingering -> gone
 *
 * One request at a time: those that a client pipelines wait in a bounded input buffer. All connections of a
 * reactor form a group, which owns them and what they share: scratch memory, spare exchanges, counters.
 *
 * Private to connection.c and reactor.c, the two that know libevent.
 *
 * Threading: everything of a group on its reactor's thread; `census` and the counters from any.
 */
#ifndef SERVER_CONNECTION_H
#define SERVER_CONNECTION_H

#include "server/address_count.h"
#include "server/exchange_pool.h"
#include "server/reactor.h"

#include <event2/event.h>
#include <stdatomic.h>

struct tls_context;
struct connection;

/* Shared by all groups: what the limits on connections count. */
struct connection_census {
    atomic_uint connections;
    struct address_count *addresses;
};

struct connection_group {
    struct event_base *base;
    const struct reactors_options *options;
    struct connection_census *census;
    /* Called when the group has no connection left, or no exchange with a handler. May be called often. */
    void (*emptied)(struct connection_group *group);

    struct connection *newest;
    unsigned connections;
    unsigned refusing;  /* of these, over a limit: they get a 503 */
    unsigned exchanges; /* with a handler, also those whose client has gone */
    bool draining;
    atomic_ulong accepted, refused, requests;

    struct buffer input;   /* lent to the connection whose turn it is */
    struct buffer records; /* tls_session_new */
    struct exchange_pool pool;
};

void connection_group_init(struct connection_group *group, struct event_base *base, struct reactor *reactor,
                           const struct reactors_options *options, struct connection_census *census);
/* Of an empty group. */
void connection_group_release(struct connection_group *group);
/* Idle connections close; the others after the reply they are at. */
void connection_group_drain(struct connection_group *group);
/* Closes all at once. */
void connection_group_cut(struct connection_group *group);

/* Takes fd, a non-blocking socket; answers 503 or closes it if a limit is reached. tls may be NULL. */
void connection_accept(struct connection_group *group, int fd, const struct sockaddr *address,
                       struct tls_context *tls);

#endif
