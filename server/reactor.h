/*
 * Reactors: N threads, each with an event base, a SO_REUSEPORT listener of its own, its connections for
 * their whole life, its timers and a mailbox. A reactor never blocks: what may wait goes to another thread
 * and comes back through the mailbox.
 *
 * libevent lives here and in connection.c alone.
 *
 * Threading: reactors_* from the main thread; reactor_* on the reactor's own thread, except
 * reactor_mailbox, which any thread may post to.
 */
#ifndef SERVER_REACTOR_H
#define SERVER_REACTOR_H

#include "codec/base/mailbox.h"
#include "server/exchange.h"

struct tls_context;
struct reactors;

/* Every bound of a connection; from the configuration. */
struct connection_limits {
    unsigned head_timeout_ms; /* absolute, from the first byte (or the accept) to the complete head */
    unsigned body_timeout_ms;
    unsigned idle_timeout_ms; /* between requests */
    unsigned handshake_timeout_ms;
    /* Measured over windows of download_window_ms that count only while the client lets us wait. 0: any byte
     * in a window will do. */
    unsigned download_bytes_per_second_min;
    unsigned download_window_ms; /* 0: 30 s */
    size_t body_bytes_max;
    unsigned connections_max;             /* in all */
    unsigned connections_per_address_max; /* 0: no limit */
};

struct reactors_options {
    unsigned count;
    const char *listen;      /* "127.0.0.1:8443", "[::1]:0"; port 0: any free one */
    struct tls_context *tls; /* NULL: plain HTTP; borrowed */
    struct connection_limits limits;
    void *service;
    /* Called on the reactor's thread for each complete request: the router. */
    void (*handle)(struct exchange *exchange);
    /* Called on the reactor's thread when a reply has been sent or broken off: the request log.
     * `bytes`: of the body on the wire. Also for the replies that the connection makes by itself, whose
     * request may be empty, and for a client who went away before his reply (complete = false). */
    void (*finished)(struct exchange *exchange, uint64_t bytes, bool complete);
    /* Per-reactor state (token cache), made on its thread before the first request. May be NULL. */
    void *(*local_new)(void *service);
    void (*local_free)(void *local);
    /* Replies that the connection makes by itself (400 malformed, 408, 413, 414, 431, 503 ...): fills the
     * body in the API's error form. A 503 has its Retry-After already. May be NULL: an empty body. */
    void (*refuse)(struct reply *reply, unsigned status, const char *text);
};

NODISCARD enum status reactors_start(const struct reactors_options *options, struct reactors **ret_reactors,
                                     struct error *error);
/* "127.0.0.1:41235": where they listen, with the port that was chosen. */
const char *reactors_address(const struct reactors *reactors);
/* Stops accepting; idle connections close, those in an exchange finish it within grace_ms, then all are
 * cut. So they are as soon as `is_hurried` (NULL: never), asked several times a second, says so. Returns when
 * no connection is left. */
void reactors_drain(struct reactors *reactors, unsigned grace_ms, bool (*is_hurried)(void *context),
                    void *context);
/* Joins and frees; cuts what was not drained. Waits for the exchanges that handlers still hold, so whoever
 * sends those (the writer, the signer) stops later. */
void reactors_stop(struct reactors *reactors);
/* New connections use the new context (SIGHUP); the old one must live until reactors_stop. */
void reactors_set_tls(struct reactors *reactors, struct tls_context *tls);

struct mailbox *reactor_mailbox(struct reactor *reactor);
void *reactor_local(struct reactor *reactor);

struct reactors_stats {
    unsigned connections;
    uint64_t accepted;
    uint64_t refused;       /* over a limit of connections */
    uint64_t requests;      /* complete ones that reached the handler */
    uint64_t accept_pauses; /* out of file descriptors or memory: 100 ms without accepting */
};
struct reactors_stats reactors_stats(const struct reactors *reactors);

#endif
