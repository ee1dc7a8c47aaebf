#include "server/http_head.h"

#include "codec/base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* A head as one line, or why it is none: "GET /a?b path=/a query=b host=h 1.1 keep [name=value]...". */
static void describe(enum http_head_result result, const struct http_head *head, size_t size,
                     size_t input_size, const struct error *error, struct buffer *target)
{
    static const char *const results[] = {
        "", "incomplete", "malformed: ", "target too long: ", "too large: ", "version: "};
    buffer_reset(target);
    if (result != HTTP_HEAD_COMPLETE) {
        buffer_appendf(target, "%s%s", results[result], result == HTTP_HEAD_INCOMPLETE ? "" : error->text);
        return;
    }
    buffer_appendf(target, "%.*s %.*s path=%.*s query=%.*s host=%.*s 1.%u %s", SLICE_PRINT(head->method_text),
                   SLICE_PRINT(head->target), SLICE_PRINT(head->path), SLICE_PRINT(head->query),
                   SLICE_PRINT(head->host), head->version_minor, head->keep_alive ? "keep" : "close");
    if (head->has_content_length)
        buffer_appendf(target, " length=%llu", (unsigned long long)head->content_length);
    if (head->is_chunked)
        buffer_append_text(target, " chunked");
    if (head->expects_continue)
        buffer_append_text(target, " continue");
    for (size_t i = 0; i < head->field_count; i++)
        buffer_appendf(target, " [%.*s=%.*s]", SLICE_PRINT(head->fields[i].name),
                       SLICE_PRINT(head->fields[i].value));
    if (size < input_size)
        buffer_appendf(target, " +%zu", input_size - size);
}

static void parse_whole(struct slice input, struct buffer *target)
{
    static struct http_head head;
    struct error error = {STATUS_OK, ""};
    size_t scanned = 0, size = 0;
    /* Of its own, so that a sanitizer sees a read past its end. */
    char *copy = malloc(input.size ? input.size : 1);
    assert_non_null(copy);
    memcpy(copy, input.data, input.size);
    enum http_head_result result =
        http_head_parse(slice_make(copy, input.size), &scanned, &head, &size, &error);
    describe(result, &head, size, input.size, &error, target);
    free(copy);
}

/* As the bytes of a slow client come in. */
static void parse_byte_by_byte(struct slice input, struct buffer *target)
{
    static struct http_head head;
    struct error error = {STATUS_OK, ""};
    size_t scanned = 0, size = 0;
    enum http_head_result result = HTTP_HEAD_INCOMPLETE;
    for (size_t i = 1; i <= input.size && result == HTTP_HEAD_INCOMPLETE; i++) {
        char *copy = malloc(i);
        assert_non_null(copy);
        memcpy(copy, input.data, i);
        result = http_head_parse(slice_make(copy, i), &scanned, &head, &size, &error);
        if (result != HTTP_HEAD_INCOMPLETE)
            describe(result, &head, size, input.size, &error, target);
        free(copy);
    }
    if (result == HTTP_HEAD_INCOMPLETE)
        describe(result, &head, size, input.size, &error, target);
}

#define BAD_METHOD  "malformed: the method is malformed"
#define BAD_URL     "malformed: the URL is malformed"
#define BAD_VERSION "malformed: the request line does not end in an HTTP version"
#define BAD_NAME    "malformed: a field's name is malformed"
#define BAD_VALUE   "malformed: a field's value holds a control character"
#define BAD_LENGTH  "malformed: the Content-Length field is not a number"
#define BAD_CODING  "malformed: the Transfer-Encoding field is not \"chunked\""
#define BAD_HOST    "malformed: the Host field does not name a host"
#define BARE_LF     "malformed: a line ends in LF alone"
#define NO_REQUEST  "malformed: this is not an HTTP request"
#define FOLDED      "malformed: a field is folded over several lines"
#define TWO_LENGTHS "malformed: there are two Content-Length fields"
#define TWO_HOSTS   "malformed: there are two Host fields"
#define BOTH        "malformed: there are both Content-Length and Transfer-Encoding fields"
#define NO_HOST     "malformed: the Host field is missing"
#define OTHER_HOST  "malformed: the Host field is not the URL's host"
#define NOT_1       "version: only HTTP/1.0 and HTTP/1.1 are supported"
#define PLAIN_GET   "GET / path=/ query= host=h 1.1 keep [Host=h]"

/* The start of a good request, for rows about one more field. */
#define GET  "GET / HTTP/1.1\r\nHost: h\r\n"
#define POST "POST / HTTP/1.1\r\nHost: h\r\n"

static const struct {
    struct slice input;
    const char *result;
} rows[] = {
    /* Good ones. */
    {SLICE_LITERAL(GET "\r\n"), PLAIN_GET},
    {SLICE_LITERAL("\r\n" GET "\r\n"), PLAIN_GET},
    {SLICE_LITERAL(GET "\r\nGET /next"), PLAIN_GET " +9"},
    {SLICE_LITERAL(GET "\r\n\0\n"), PLAIN_GET " +2"},
    {SLICE_LITERAL(
         "GET /api/v1/Patient/$export?_type=Patient,Coverage&_since=2020-02-13T08:00:00.000-05:00 "
         "HTTP/1.1\r\nhost: localhost:8443\r\nAccept:application/fhir+json\r\nPrefer:\t respond-async"
         "\t \r\n\r\n"),
     "GET /api/v1/Patient/$export?_type=Patient,Coverage&_since=2020-02-13T08:00:00.000-05:00 "
     "path=/api/v1/Patient/$export query=_type=Patient,Coverage&_since=2020-02-13T08:00:00.000-05:00 "
     "host=localhost:8443 1.1 keep [host=localhost:8443] [Accept=application/fhir+json] "
     "[Prefer=respond-async]"},
    {SLICE_LITERAL("GET /a?b?c=%24|{x}'*[] HTTP/1.1\r\nHost: h\r\n\r\n"),
     "GET /a?b?c=%24|{x}'*[] path=/a query=b?c=%24|{x}'*[] host=h 1.1 keep [Host=h]"},
    {SLICE_LITERAL("GET /? HTTP/1.1\r\nHost: h\r\n\r\n"), "GET /? path=/ query= host=h 1.1 keep [Host=h]"},
    {SLICE_LITERAL("GET //a/../b HTTP/1.1\r\nHost: h\r\n\r\n"),
     "GET //a/../b path=//a/../b query= host=h 1.1 keep [Host=h]"},
    {SLICE_LITERAL("GET / HTTP/1.0\r\n\r\n"), "GET / path=/ query= host= 1.0 close"},
    {SLICE_LITERAL("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
     "GET / path=/ query= host= 1.0 keep [Connection=Keep-Alive]"},
    {SLICE_LITERAL("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"),
     "GET / path=/ query= host= 1.0 close [Connection=keep-alive, close]"},
    {SLICE_LITERAL("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"),
     "GET / path=/ query= host= 1.0 close [Expect=100-continue]"},
    {SLICE_LITERAL(GET "Connection: close\r\n\r\n"),
     "GET / path=/ query= host=h 1.1 close [Host=h] [Connection=close]"},
    {SLICE_LITERAL(GET "Connection: upgrade,\tCLOSE\r\n\r\n"),
     "GET / path=/ query= host=h 1.1 close [Host=h] [Connection=upgrade,\tCLOSE]"},
    {SLICE_LITERAL(GET "Connection: TE\r\nConnection: close\r\n\r\n"),
     "GET / path=/ query= host=h 1.1 close [Host=h] [Connection=TE] [Connection=close]"},
    {SLICE_LITERAL(GET "Connection: closed, not-close,,\r\n\r\n"),
     "GET / path=/ query= host=h 1.1 keep [Host=h] [Connection=closed, not-close,,]"},
    {SLICE_LITERAL(GET "X:\r\nY: \t \r\n\r\n"), "GET / path=/ query= host=h 1.1 keep [Host=h] [X=] [Y=]"},
    {SLICE_LITERAL(GET "X: a  b\t c\r\n\r\n"), "GET / path=/ query= host=h 1.1 keep [Host=h] [X=a  b\t c]"},
    {SLICE_LITERAL(GET "X: \xc3\xa4\xff:\"\\<>\r\n\r\n"),
     "GET / path=/ query= host=h 1.1 keep [Host=h] [X=\xc3\xa4\xff:\"\\<>]"},
    {SLICE_LITERAL(GET "!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n"),
     "GET / path=/ query= host=h 1.1 keep [Host=h] [!#$%&'*+-.^_`|~09azAZ=1]"},
    {SLICE_LITERAL(POST "Content-Length: 0\r\n\r\n"),
     "POST / path=/ query= host=h 1.1 keep length=0 [Host=h] [Content-Length=0]"},
    {SLICE_LITERAL(POST "content-LENGTH: 12\r\nExpect: 100-Continue\r\n\r\nbody"),
     "POST / path=/ query= host=h 1.1 keep length=12 continue [Host=h] [content-LENGTH=12] "
     "[Expect=100-Continue] +4"},
    {SLICE_LITERAL(POST "Content-Length: 99999999999999999999999\r\n\r\n"),
     "POST / path=/ query= host=h 1.1 keep length=18446744073709551615 [Host=h] "
     "[Content-Length=99999999999999999999999]"},
    {SLICE_LITERAL(POST "Content-Length: 18446744073709551616\r\n\r\n"),
     "POST / path=/ query= host=h 1.1 keep length=18446744073709551615 [Host=h] "
     "[Content-Length=18446744073709551616]"},
    {SLICE_LITERAL(POST "Transfer-Encoding: chunked\r\n\r\n"),
     "POST / path=/ query= host=h 1.1 keep chunked [Host=h] [Transfer-Encoding=chunked]"},
    {SLICE_LITERAL(POST "transfer-encoding: Chunked\r\n\r\n"),
     "POST / path=/ query= host=h 1.1 keep chunked [Host=h] [transfer-encoding=Chunked]"},
    {SLICE_LITERAL("get / HTTP/1.1\r\nHost: h\r\n\r\n"), "get / path=/ query= host=h 1.1 keep [Host=h]"},
    {SLICE_LITERAL("PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n"),
     "PROPFIND / path=/ query= host=h 1.1 keep [Host=h]"},
    {SLICE_LITERAL("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
     "OPTIONS * path=* query= host=h 1.1 keep [Host=h]"},
    {SLICE_LITERAL("GET http://h/a?b HTTP/1.1\r\nHost: H\r\n\r\n"),
     "GET /a?b path=/a query=b host=H 1.1 keep [Host=H]"},
    {SLICE_LITERAL("GET HTTPS://h:8443 HTTP/1.1\r\nHost: h:8443\r\n\r\n"),
     "GET / path=/ query= host=h:8443 1.1 keep [Host=h:8443]"},
    {SLICE_LITERAL("GET http://h?b HTTP/1.1\r\nHost: h\r\n\r\n"),
     "GET ?b path=/ query=b host=h 1.1 keep [Host=h]"},
    {SLICE_LITERAL("GET http://h/ HTTP/1.0\r\n\r\n"), "GET / path=/ query= host=h 1.0 close"},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n"),
     "GET / path=/ query= host=[::1]:8443 1.1 keep [Host=[::1]:8443]"},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: [::ffff:10.0.0.1]\r\n\r\n"),
     "GET / path=/ query= host=[::ffff:10.0.0.1] 1.1 keep [Host=[::ffff:10.0.0.1]]"},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: a_b-c.example:65535\r\n\r\n"),
     "GET / path=/ query= host=a_b-c.example:65535 1.1 keep [Host=a_b-c.example:65535]"},

    /* Not all of it yet. */
    {SLICE_LITERAL(""), "incomplete"},
    {SLICE_LITERAL("G"), "incomplete"},
    {SLICE_LITERAL("\r"), "incomplete"},
    {SLICE_LITERAL("\r\n"), "incomplete"},
    {SLICE_LITERAL(GET), "incomplete"},
    {SLICE_LITERAL(GET "\r"), "incomplete"},
    {SLICE_LITERAL(GET "X: a\r\n"), "incomplete"},

    /* No HTTP at all: told with the first bytes, not after a timeout. */
    {SLICE_LITERAL("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), NO_REQUEST},
    {SLICE_LITERAL("\0"), NO_REQUEST},
    {SLICE_LITERAL(" GET / HTTP/1.1\r\n"), NO_REQUEST},
    {SLICE_LITERAL("\n"), NO_REQUEST},
    {SLICE_LITERAL("\rG"), NO_REQUEST},
    {SLICE_LITERAL("\r\n\r\n" GET "\r\n"), NO_REQUEST},
    {SLICE_LITERAL("\r\n\n" GET "\r\n"), NO_REQUEST},

    /* Line ends. */
    {SLICE_LITERAL("GET / HTTP/1.1\nHost: h\n\n"), BARE_LF},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: h\n\r\n"), BARE_LF},
    {SLICE_LITERAL(GET "X: a\nTransfer-Encoding: chunked\r\n\r\n"), BARE_LF},
    {SLICE_LITERAL(GET "\n"), BARE_LF},
    {SLICE_LITERAL(GET "X: a\r\n\n"), BARE_LF},
    {SLICE_LITERAL(GET "X: a\rTransfer-Encoding: chunked\r\n\r\n"), BAD_VALUE},
    {SLICE_LITERAL(GET "X: a\r\r\n\r\n"), BAD_VALUE},
    {SLICE_LITERAL(GET "\r\rX: a\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n"), BAD_VERSION},

    /* The request line. */
    {SLICE_LITERAL("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_METHOD},
    {SLICE_LITERAL("G\xc3\x84T / HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_METHOD},
    {SLICE_LITERAL("GE(T / HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_METHOD},
    {SLICE_LITERAL("GET\r\nHost: h\r\n\r\n"), BAD_METHOD},
    {SLICE_LITERAL("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_METHOD},
    {SLICE_LITERAL("GET  / HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET /\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET /a\\b HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET /<a> HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET /\"a HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET a HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET ?a HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET * HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("OPTIONS ** HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET http:/h HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET http:// HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET http://user@h/ HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET http://h/ HTTP/1.1\r\nHost: other\r\n\r\n"), OTHER_HOST},
    {SLICE_LITERAL("GET http://h/ HTTP/1.1\r\nHost: h:80\r\n\r\n"), OTHER_HOST},
    {SLICE_LITERAL("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_URL},
    {SLICE_LITERAL("GET / HTTP/1.1 \r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET /  HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET / a HTTP/1.1\r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET / http/1.1\r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET / HTTP/1\r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET / HTTP/1.10\r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET / HTTP/11.1\r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET / HTTP/x.1\r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET / \r\nHost: h\r\n\r\n"), BAD_VERSION},
    {SLICE_LITERAL("GET / HTTP/1.2\r\nHost: h\r\n\r\n"), NOT_1},
    {SLICE_LITERAL("GET / HTTP/0.9\r\n\r\n"), NOT_1},
    {SLICE_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), NOT_1},

    /* Field lines. */
    {SLICE_LITERAL(GET "Content-Length : 5\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET "Transfer-Encoding\t: chunked\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET ": a\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET "no colon\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET "colonless\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET "a b: c\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET "a\0b: c\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET "\xc3\xa4: c\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET "(a): c\r\n\r\n"), BAD_NAME},
    {SLICE_LITERAL(GET "X: a\r\n b\r\n\r\n"), FOLDED},
    {SLICE_LITERAL(GET "X: a\r\n\tb\r\n\r\n"), FOLDED},
    {SLICE_LITERAL(GET "Transfer-Encoding:\r\n chunked\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL("GET / HTTP/1.1\r\n Host: h\r\n\r\n"), FOLDED},
    {SLICE_LITERAL("GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n"), FOLDED},
    {SLICE_LITERAL(GET "X: a\0b\r\n\r\n"), BAD_VALUE},
    {SLICE_LITERAL(GET "X: a\x01\r\n\r\n"), BAD_VALUE},
    {SLICE_LITERAL(GET "X: a\x1f\r\n\r\n"), BAD_VALUE},
    {SLICE_LITERAL(GET "X: a\x7f\r\n\r\n"), BAD_VALUE},
    {SLICE_LITERAL(GET "X: a\x0b\r\n\r\n"), BAD_VALUE},
    {SLICE_LITERAL(GET "X: 0123456789abcdef0123456789abcdef0123456789\x01\r\n\r\n"), BAD_VALUE},

    /* Framing: what two readers could take for two different bodies. */
    {SLICE_LITERAL(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), TWO_LENGTHS},
    {SLICE_LITERAL(POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n"), TWO_LENGTHS},
    {SLICE_LITERAL(POST "Content-Length: 5, 5\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length: +5\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length: -5\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length: 0x5\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length: 5a\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length: 5 5\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length: 5.0\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length: \"5\"\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length:\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Content-Length: \xd9\xa5\r\n\r\n"), BAD_LENGTH},
    {SLICE_LITERAL(POST "Transfer-Encoding: gzip\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: identity\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: chunked, chunked\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: chunked, identity\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: chunked,\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: xchunked\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: chunked;q=1\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: \"chunked\"\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: \x0b"
                        "chunked\r\n\r\n"),
     BAD_VALUE},
    {SLICE_LITERAL(POST "Transfer-Encoding:\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"), BAD_CODING},
    {SLICE_LITERAL(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), BOTH},
    {SLICE_LITERAL(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), BOTH},
    {SLICE_LITERAL("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
     "malformed: HTTP/1.0 has no Transfer-Encoding"},

    /* Host. */
    {SLICE_LITERAL("GET / HTTP/1.1\r\n\r\n"), NO_HOST},
    {SLICE_LITERAL("GET http://h/ HTTP/1.1\r\n\r\n"), NO_HOST},
    {SLICE_LITERAL(GET "Host: h\r\n\r\n"), TWO_HOSTS},
    {SLICE_LITERAL("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n"), TWO_HOSTS},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost:\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: h/path\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: http://h\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: user@h\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: h:\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: h:x\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: h:080808\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: :80\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: []\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n"), BAD_HOST},
    {SLICE_LITERAL("GET / HTTP/1.1\r\nHost: h<script>\r\n\r\n"), BAD_HOST},
};

static void heads_are_read_strictly(void **state)
{
    (void)state;
    struct buffer whole = BUFFER_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        parse_whole(rows[i].input, &whole);
        assert_string_equal(buffer_text(&whole), rows[i].result);
    }
    buffer_release(&whole);
}

/* A complete head may be followed by bytes that a slow client has not sent yet, and a fault may show before
 * the end: the verdict is the same. Faults of different kinds in one head are not in the table. */
static void a_slow_client_gets_the_same_verdict(void **state)
{
    (void)state;
    struct buffer whole = BUFFER_INIT, slow = BUFFER_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        parse_whole(rows[i].input, &whole);
        parse_byte_by_byte(rows[i].input, &slow);
        assert_string_equal(buffer_text(&slow), buffer_text(&whole));
    }
    buffer_release(&whole);
    buffer_release(&slow);
}

static void methods_are_known_by_their_exact_name(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {
        {"GET", HTTP_METHOD_GET},     {"HEAD", HTTP_METHOD_HEAD},     {"POST", HTTP_METHOD_POST},
        {"PUT", HTTP_METHOD_PUT},     {"DELETE", HTTP_METHOD_DELETE}, {"OPTIONS", HTTP_METHOD_OPTIONS},
        {"PATCH", HTTP_METHOD_PATCH}, {"get", HTTP_METHOD_OTHER},     {"GETS", HTTP_METHOD_OTHER},
        {"TRACE", HTTP_METHOD_OTHER},
    };
    static struct http_head head;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        struct buffer input = BUFFER_INIT;
        size_t scanned = 0, size;
        buffer_appendf(&input, "%s / HTTP/1.1\r\nHost: h\r\n\r\n", methods[i].name);
        assert_int_equal(http_head_parse(buffer_slice(&input), &scanned, &head, &size, NULL),
                         HTTP_HEAD_COMPLETE);
        assert_int_equal(head.method, methods[i].method);
        buffer_release(&input);
    }
}

static void append_repeated(struct buffer *target, char c, size_t count)
{
    memset(buffer_extend(target, count), c, count);
}

static void bounds_are_exact(void **state)
{
    (void)state;
    static struct http_head head;
    struct buffer input = BUFFER_INIT;
    struct error error;
    size_t scanned, size;

    /* The target. */
    for (size_t extra = 0; extra < 2; extra++) {
        buffer_reset(&input);
        buffer_append_text(&input, "GET /");
        append_repeated(&input, 'a', HTTP_TARGET_BYTES_MAX - 1 + extra);
        buffer_append_text(&input, " HTTP/1.1\r\nHost: h\r\n\r\n");
        scanned = 0;
        assert_int_equal(http_head_parse(buffer_slice(&input), &scanned, &head, &size, &error),
                         extra ? HTTP_HEAD_TARGET_TOO_LONG : HTTP_HEAD_COMPLETE);
    }
    assert_string_equal(error.text, "the URL is longer than 8192 bytes");
    /* A target without end is not waited for. */
    buffer_reset(&input);
    buffer_append_text(&input, "GET /");
    append_repeated(&input, 'a', HTTP_TARGET_BYTES_MAX + 100);
    scanned = 0;
    assert_int_equal(http_head_parse(buffer_slice(&input), &scanned, &head, &size, &error),
                     HTTP_HEAD_TARGET_TOO_LONG);

    /* The head. */
    for (size_t extra = 0; extra < 2; extra++) {
        buffer_reset(&input);
        buffer_append_text(&input, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
        append_repeated(&input, 'a', HTTP_HEAD_BYTES_MAX - input.size - 4 + extra);
        buffer_append_text(&input, "\r\n\r\n");
        scanned = 0;
        assert_int_equal(http_head_parse(buffer_slice(&input), &scanned, &head, &size, &error),
                         extra ? HTTP_HEAD_TOO_LARGE : HTTP_HEAD_COMPLETE);
    }
    assert_string_equal(error.text, "the request's head is longer than 32768 bytes");

    /* The number of fields. */
    for (size_t extra = 0; extra < 2; extra++) {
        buffer_reset(&input);
        buffer_append_text(&input, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (size_t i = 1; i < HTTP_FIELDS_MAX + extra; i++)
            buffer_append_text(&input, "X: a\r\n");
        buffer_append_text(&input, "\r\n");
        scanned = 0;
        assert_int_equal(http_head_parse(buffer_slice(&input), &scanned, &head, &size, &error),
                         extra ? HTTP_HEAD_TOO_LARGE : HTTP_HEAD_COMPLETE);
    }
    assert_string_equal(error.text, "the list of header fields is longer than 100 fields");
    buffer_release(&input);
}

static void slow_heads_cost_linear_time(void **state)
{
    (void)state;
    static struct http_head head;
    struct buffer input = BUFFER_INIT;
    buffer_append_text(&input, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    append_repeated(&input, 'a', 20000);
    size_t scanned = 0, size;
    for (size_t i = 1; i <= input.size; i++) {
        assert_int_equal(http_head_parse(slice_make(input.data, i), &scanned, &head, &size, NULL),
                         HTTP_HEAD_INCOMPLETE);
        assert_int_equal(scanned, i); /* the next call begins here */
    }
    buffer_release(&input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_read_strictly),
        cmocka_unit_test(a_slow_client_gets_the_same_verdict),
        cmocka_unit_test(methods_are_known_by_their_exact_name),
        cmocka_unit_test(bounds_are_exact),
        cmocka_unit_test(slow_heads_cost_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
