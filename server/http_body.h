/*
 * The framing of a request's body (RFC 9112 sections 6 and 7), strictly: Content-Length or chunks.
 *
 * Chunks: a size of hexadecimal digits without white space or sign, extensions of visible characters and
 * bounded in all, exact CRLFs, no trailer fields. What one reader might take for the end of a chunk and
 * another not is malformed.
 *
 * Pure and bounded: the body never grows beyond `bytes_max`, and memory grows with what has come, not with
 * what was announced. The result depends on the bytes, not on how they were cut into calls.
 *
 * Threading: plain values.
 */
#ifndef SERVER_HTTP_BODY_H
#define SERVER_HTTP_BODY_H

#include "codec/base/buffer.h"
#include "server/http_head.h"

#define HTTP_CHUNK_DIGITS_MAX          16
#define HTTP_CHUNK_EXTENSION_BYTES_MAX 1024 /* of all chunks together */

enum http_body_result {
    HTTP_BODY_COMPLETE,
    HTTP_BODY_INCOMPLETE, /* more bytes are needed */
    HTTP_BODY_MALFORMED,  /* 400 */
    HTTP_BODY_TOO_LARGE   /* 413 */
};

struct http_body {
    int state;
    uint64_t left; /* of the chunk, or of the body */
    uint64_t room; /* until bytes_max */
    unsigned digits;
    unsigned extension_bytes;
};

/* A head without Content-Length and chunks has an empty body. */
void http_body_init(struct http_body *body, const struct http_head *head, size_t bytes_max);
/* Takes the next bytes of the body from the front of `input` and appends what they carry to `target`.
 * Call it with an empty input, too: a body may be complete without any. Not after another result than
 * HTTP_BODY_INCOMPLETE. */
enum http_body_result http_body_read(struct http_body *body, struct slice input, size_t *ret_used,
                                     struct buffer *target);

#endif
