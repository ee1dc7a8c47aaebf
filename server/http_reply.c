#include "server/http_reply.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/instant.h"

#include <string.h>
#include <strings.h>
#include <time.h>

const char *http_reason(unsigned status)
{
    switch (status) {
    case 100:
        return "Continue";
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 303:
        return "See Other";
    case 304:
        return "Not Modified";
    case 307:
        return "Temporary Redirect";
    case 308:
        return "Permanent Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 411:
        return "Length Required";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 416:
        return "Range Not Satisfiable";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    case 507:
        return "Insufficient Storage";
    default:
        return "";
    }
}

/* Copies the reply's fields. True if Cache-Control is among them. */
static bool append_fields(struct buffer *target, struct slice fields)
{
    bool has_cache_control = false;
    const char *end = fields.data + fields.size;
    for (const char *line = fields.data; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        CHECK(newline);
        size_t size = (size_t)(newline - line) + 1;
        switch (line[0] | 0x20) {
        case 'c':
            has_cache_control |= size > 14 && strncasecmp(line, "Cache-Control:", 14) == 0;
            CHECK(!(size > 15 && strncasecmp(line, "Content-Length:", 15) == 0));
            CHECK(!(size > 11 && strncasecmp(line, "Connection:", 11) == 0));
            break;
        case 't':
            CHECK(!(size > 18 && strncasecmp(line, "Transfer-Encoding:", 18) == 0));
            break;
        case 'd':
            CHECK(!(size > 5 && strncasecmp(line, "Date:", 5) == 0));
            break;
        default:
            break;
        }
        line += size;
    }
    buffer_append_slice(target, fields);
    return has_cache_control;
}

#define APPEND_LITERAL(target, text) buffer_append(target, "" text, sizeof(text) - 1)

void http_reply_head(struct buffer *target, const struct reply *reply, const struct http_reply_frame *frame)
{
    /* The date changes once a second, and a thread answers many requests in one. */
    static _Thread_local int64_t date_seconds = INT64_MIN;
    static _Thread_local char date[INSTANT_TEXT_SIZE];
    static _Thread_local size_t date_size;
    if (date_seconds != frame->date_seconds) {
        date_seconds = frame->date_seconds;
        date_size = http_date_format(date_seconds * US_PER_SECOND, date);
    }
    CHECK(reply->status >= 100 && reply->status <= 999);
    buffer_reserve(target, reply->fields.size + 512);

    APPEND_LITERAL(target, "HTTP/1.1 ");
    buffer_append_decimal(target, reply->status);
    buffer_append_char(target, ' ');
    buffer_append_text(target, http_reason(reply->status));
    APPEND_LITERAL(target, "\r\nDate: ");
    buffer_append(target, date, date_size);
    APPEND_LITERAL(target, "\r\n");
    bool has_cache_control = append_fields(target, buffer_slice(&reply->fields));
    switch (frame->framing) {
    case HTTP_FRAMING_NONE:
        break;
    case HTTP_FRAMING_LENGTH:
        APPEND_LITERAL(target, "Content-Length: ");
        buffer_append_decimal(target, frame->length);
        APPEND_LITERAL(target, "\r\n");
        break;
    case HTTP_FRAMING_CHUNKED:
        APPEND_LITERAL(target, "Transfer-Encoding: chunked\r\n");
        break;
    }
    if (!has_cache_control)
        APPEND_LITERAL(target, "Cache-Control: no-store\r\n");
    APPEND_LITERAL(target, "X-Content-Type-Options: nosniff\r\n");
    if (frame->is_tls)
        APPEND_LITERAL(target, "Strict-Transport-Security: max-age=31536000\r\n");
    if (frame->close)
        APPEND_LITERAL(target, "Connection: close\r\n");
    else if (frame->version_minor == 0)
        APPEND_LITERAL(target, "Connection: keep-alive\r\n");
    APPEND_LITERAL(target, "X-Request-Id: ");
    buffer_append_text(target, frame->request_id);
    APPEND_LITERAL(target, "\r\n\r\n");
}

void http_reply_chunk_size(struct buffer *target, size_t size)
{
    char digits[2 * sizeof size];
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[size & 15];
        size >>= 4;
    } while (size);
    buffer_append(target, digits + at, sizeof digits - at);
    APPEND_LITERAL(target, "\r\n");
}
