/*
 * One request and its reply: what a route's handler sees of HTTP.
 *
 * A connection makes an exchange when a request is complete (head, and body if any), hands it to the
 * router, and gets it back by exchange_send, at once or later. A handler that must wait (for the store's
 * writer, the signer, the disk) keeps the exchange pointer in its message and returns; the message comes
 * back through the reactor's mailbox and its deliver function finishes the reply on the reactor's thread. If
 * the client went away meanwhile, exchange_send frees the exchange and that is all. Every exchange that was
 * handed to a handler must be sent exactly once.
 *
 * Ownership: the request's slices borrow from the exchange and live until exchange_send. The reply's body
 * is taken by it.
 *
 * Threading: an exchange belongs to its reactor's thread. Other threads carry the pointer, never look.
 */
#ifndef SERVER_EXCHANGE_H
#define SERVER_EXCHANGE_H

#include "codec/base/arena.h"
#include "codec/base/buffer.h"

#include <stdint.h>

enum http_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_OTHER /* a well-formed token that no route takes */
};

struct http_field {
    struct slice name;  /* as sent; compared without case */
    struct slice value; /* without the white space around it */
};

struct request {
    enum http_method method;
    unsigned version_minor; /* 0 or 1, of HTTP/1.x */
    struct slice target;    /* as received, origin form */
    struct slice path;      /* target up to "?", still percent-encoded */
    struct slice query;     /* behind "?"; empty if there is none */
    const struct http_field *fields;
    size_t field_count;
    struct slice host; /* of the Host field (or the absolute form's authority) */
    struct slice body; /* complete; bounded by the server's body_bytes_max */
    bool is_tls;
    struct slice peer; /* the peer's address without port */
};

/* The value of the field, or false. If it came several times the values are joined by ", " in the
 * exchange's arena (RFC 9110 section 5.3). */
struct exchange;
bool request_field(struct exchange *exchange, const char *name, struct slice *ret_value);

enum body_pull {
    BODY_PULL_MORE, /* ret_chunk holds the next bytes (at least one); the last of a known length may say so */
    BODY_PULL_END,  /* nothing more; ret_chunk may hold the last bytes */
    BODY_PULL_WAIT, /* not now: exchange_resume will be called */
    BODY_PULL_FAIL  /* the rest cannot be had: the connection is closed without the end of the body */
};

/* A body that is pulled: the connection asks for the next bounded chunk when the socket can take it. A source
 * of a known length is not asked again once it has given that many bytes; one that gives fewer or more breaks
 * the connection. */
struct body_source {
    /* At most `bytes_max` bytes, borrowed until the next call or close. */
    enum body_pull (*pull)(struct body_source *source, size_t bytes_max, struct slice *ret_chunk);
    void (*close)(struct body_source *source); /* frees the source; called exactly once */
};

#define REPLY_LENGTH_CHUNKED (-1)

struct reply {
    unsigned status;
    struct buffer fields;       /* "Name: value\r\n" lines, by reply_field */
    struct buffer body;         /* used if source is NULL */
    struct body_source *source; /* owned by the reply */
    int64_t length;             /* of source: bytes, or REPLY_LENGTH_CHUNKED */
    bool close;                 /* close the connection afterwards */
};

struct connection;
struct reactor;

struct exchange {
    struct request request;
    struct reply reply;
    struct arena arena;            /* lives as long as the exchange */
    struct connection *connection; /* NULL once the client has gone: not by his end alone, which he may send
                                    * and still wait for the answer, but by a reset or a failed write */
    struct reactor *reactor;
    void *service;       /* what the reactors were started with: the server */
    char request_id[65]; /* X-Request-Id, NUL-terminated */
    const char *route;   /* for the log: the route's pattern; set by the router */
    char aco[17];        /* for the log: who asked, once known */
    int64_t begun_us;    /* clock_monotonic_us */
};

/* Appends one field line. CHECKs that neither name nor value holds CR, LF or NUL. Content-Length,
 * Transfer-Encoding, Connection and Date are the connection's (CHECK when the reply is sent), as are the
 * fields that every reply has; Cache-Control is `no-store` without one of the reply's own. */
void reply_field(struct reply *reply, const char *name, const char *value);
void reply_fieldf(struct reply *reply, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

/* Hands the exchange back with its reply filled in: the connection sends it. Reactor thread only. */
void exchange_send(struct exchange *exchange);
/* A source that answered BODY_PULL_WAIT has something now. Reactor thread only. The exchange must be one
 * whose reply is being sent; a source's close tells its owner when that ends. */
void exchange_resume(struct exchange *exchange);

#endif
