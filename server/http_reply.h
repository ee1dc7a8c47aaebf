/*
 * The head of a response: the status line, the handler's fields, and the fields that every response has.
 *
 * Common fields: Date, X-Content-Type-Options, X-Request-Id, Cache-Control: no-store unless the reply has a
 * Cache-Control of its own, Strict-Transport-Security over TLS. Framing and Connection are written here
 * alone: a reply must not bring Content-Length, Transfer-Encoding, Connection or Date (CHECK).
 *
 * Threading: pure functions.
 */
#ifndef SERVER_HTTP_REPLY_H
#define SERVER_HTTP_REPLY_H

#include "server/exchange.h"

enum http_framing {
    HTTP_FRAMING_NONE,   /* 204, 304: no body and no field about one */
    HTTP_FRAMING_LENGTH, /* Content-Length */
    HTTP_FRAMING_CHUNKED
};

struct http_reply_frame {
    enum http_framing framing;
    uint64_t length;        /* of HTTP_FRAMING_LENGTH */
    unsigned version_minor; /* of the request */
    bool close;             /* the connection ends behind this response */
    bool is_tls;
    const char *request_id;
    int64_t date_seconds; /* since 1970 */
};

const char *http_reason(unsigned status); /* "" if unknown */
void http_reply_head(struct buffer *target, const struct reply *reply, const struct http_reply_frame *frame);
/* The size line of a chunk, RFC 9112 section 7.1. */
void http_reply_chunk_size(struct buffer *target, size_t size);

#endif
