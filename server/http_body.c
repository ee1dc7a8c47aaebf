#include "server/http_body.h"

#include "codec/base/check.h"

enum {
    STATE_TOO_LARGE,
    STATE_PLAIN, /* Content-Length */
    STATE_SIZE,  /* the digits of a chunk's size */
    STATE_EXTENSION,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_END_CR, /* behind the chunk of size 0 */
    STATE_END_LF
};

void http_body_init(struct http_body *body, const struct http_head *head, size_t bytes_max)
{
    *body = (struct http_body){.state = STATE_PLAIN, .room = bytes_max};
    if (head->is_chunked)
        body->state = STATE_SIZE;
    else if (head->has_content_length && head->content_length > bytes_max)
        body->state = STATE_TOO_LARGE;
    else if (head->has_content_length)
        body->left = head->content_length;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One byte of a size line. */
static enum http_body_result size_line_read(struct http_body *body, char c)
{
    int digit;
    switch (body->state) {
    case STATE_SIZE:
        digit = digit_value(c);
        if (digit >= 0) {
            if (++body->digits > HTTP_CHUNK_DIGITS_MAX)
                return HTTP_BODY_MALFORMED;
            body->left = body->left << 4 | (unsigned)digit;
            return HTTP_BODY_INCOMPLETE;
        }
        if (body->digits == 0 || (c != ';' && c != '\r'))
            return HTTP_BODY_MALFORMED;
        if (body->left > body->room)
            return HTTP_BODY_TOO_LARGE;
        body->state = c == ';' ? STATE_EXTENSION : STATE_SIZE_LF;
        return HTTP_BODY_INCOMPLETE;
    case STATE_EXTENSION:
        if (c == '\r') {
            body->state = STATE_SIZE_LF;
            return HTTP_BODY_INCOMPLETE;
        }
        if (++body->extension_bytes > HTTP_CHUNK_EXTENSION_BYTES_MAX)
            return HTTP_BODY_MALFORMED;
        return (c >= ' ' && c <= '~') || c == '\t' ? HTTP_BODY_INCOMPLETE : HTTP_BODY_MALFORMED;
    default:
        CHECK(body->state == STATE_SIZE_LF);
        if (c != '\n')
            return HTTP_BODY_MALFORMED;
        body->state = body->left ? STATE_DATA : STATE_END_CR;
        return HTTP_BODY_INCOMPLETE;
    }
}

enum http_body_result http_body_read(struct http_body *body, struct slice input, size_t *ret_used,
                                     struct buffer *target)
{
    enum http_body_result result = HTTP_BODY_INCOMPLETE;
    size_t at = 0;
    if (body->state == STATE_TOO_LARGE)
        result = HTTP_BODY_TOO_LARGE;
    else if (body->state == STATE_PLAIN && body->left == 0)
        result = HTTP_BODY_COMPLETE;
    while (result == HTTP_BODY_INCOMPLETE && at < input.size) {
        size_t taken = 1;
        char c = input.data[at];
        switch (body->state) {
        case STATE_PLAIN:
        case STATE_DATA:
            taken = input.size - at < body->left ? input.size - at : (size_t)body->left;
            buffer_append(target, input.data + at, taken);
            body->left -= taken;
            body->room -= taken;
            if (body->left == 0 && body->state == STATE_PLAIN)
                result = HTTP_BODY_COMPLETE;
            else if (body->left == 0)
                body->state = STATE_DATA_CR;
            break;
        case STATE_DATA_CR:
        case STATE_END_CR:
            if (c != '\r')
                result = HTTP_BODY_MALFORMED; /* at the end: a trailer field, among others */
            body->state++;
            break;
        case STATE_DATA_LF:
            if (c != '\n')
                result = HTTP_BODY_MALFORMED;
            body->state = STATE_SIZE;
            body->digits = 0;
            break;
        case STATE_END_LF:
            result = c == '\n' ? HTTP_BODY_COMPLETE : HTTP_BODY_MALFORMED;
            break;
        default:
            result = size_line_read(body, c);
            break;
        }
        at += taken;
    }
    *ret_used = at;
    return result;
}
