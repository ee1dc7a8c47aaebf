/*
 * The HTTP/1.1 request head (RFC 9112), strictly: what could be read in two ways is refused.
 *
 * Refused with STATUS_INVALID: bare LF or CR, NUL or other controls, a space before a field's colon,
 * obs-fold, an empty or malformed method, target or field name, no or several Host fields in HTTP/1.1 (or
 * one that is no host), two Content-Lengths (also equal ones), a Content-Length that is not 1*DIGIT, a
 * Transfer-Encoding other than exactly "chunked", both of them together, Transfer-Encoding in HTTP/1.0,
 * asterisk form except for OPTIONS, CONNECT. STATUS_TOO_LARGE when a bound is passed: `error` names it.
 *
 * Pure and bounded: no allocation, no I/O; slices borrow from the input.
 *
 * Threading: pure functions.
 */
#ifndef SERVER_HTTP_HEAD_H
#define SERVER_HTTP_HEAD_H

#include "server/exchange.h"

#define HTTP_TARGET_BYTES_MAX 8192  /* else 414 */
#define HTTP_HEAD_BYTES_MAX   32768 /* else 431 */
#define HTTP_FIELDS_MAX       100   /* else 431 */

struct http_head {
    enum http_method method;
    struct slice method_text;
    unsigned version_minor;
    struct slice target, path, query, host;
    struct http_field fields[HTTP_FIELDS_MAX];
    size_t field_count;
    bool has_content_length;
    uint64_t content_length;
    bool is_chunked;       /* Transfer-Encoding: chunked */
    bool keep_alive;       /* what version and Connection say */
    bool expects_continue; /* Expect: 100-continue */
};

enum http_head_result {
    HTTP_HEAD_COMPLETE,        /* *ret_size: the head's bytes, with its empty line */
    HTTP_HEAD_INCOMPLETE,      /* more bytes are needed, and the bounds still hold */
    HTTP_HEAD_MALFORMED,       /* 400 */
    HTTP_HEAD_TARGET_TOO_LONG, /* 414 */
    HTTP_HEAD_TOO_LARGE,       /* 431 */
    HTTP_HEAD_VERSION          /* 505 */
};

/* `scanned`: in/out, how far earlier calls looked for the end; start with 0 (keeps slow heads linear). */
enum http_head_result http_head_parse(struct slice input, size_t *scanned, struct http_head *ret_head,
                                      size_t *ret_size, struct error *error);

#endif
