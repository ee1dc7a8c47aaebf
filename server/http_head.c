#include "server/http_head.h"

#include <string.h>
#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define METHOD_BYTES_MAX 32
/* A first line longer than this has a target that is too long, whatever else is wrong with it. */
#define LINE_BYTES_MAX (METHOD_BYTES_MAX + HTTP_TARGET_BYTES_MAX + sizeof "  HTTP/1.1\r\n")
#define HOST_BYTES_MAX 261 /* a name of 255 bytes, a colon, a port of five digits */

enum { CHAR_TOKEN = 1, CHAR_TARGET = 2, CHAR_NAME = 4, CHAR_IPV6 = 8, CHAR_VALUE = 16 };

/* Token: RFC 9110 section 5.6.2. Target: visible ASCII but for what no URL holds and some servers read as
 * something else: `#` (fragment), `\` (slash), quotes and angle brackets. Name: what a host name is made of,
 * narrower than RFC 3986's reg-name, because hosts find their way into URLs that we write. */
static const unsigned char char_class[256] = {
    ['\t'] = CHAR_VALUE,
    [' '] = CHAR_VALUE,
    ['!'] = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE,
    ['"'] = CHAR_VALUE,
    ['#'] = CHAR_TOKEN | CHAR_VALUE,
    ['$' ... '\''] = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE,
    ['(' ... ')'] = CHAR_TARGET | CHAR_VALUE,
    ['*' ... '+'] = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE,
    [','] = CHAR_TARGET | CHAR_VALUE,
    ['-'] = CHAR_TOKEN | CHAR_TARGET | CHAR_NAME | CHAR_VALUE,
    ['.'] = CHAR_TOKEN | CHAR_TARGET | CHAR_NAME | CHAR_IPV6 | CHAR_VALUE,
    ['/'] = CHAR_TARGET | CHAR_VALUE,
    ['0' ... '9'] = CHAR_TOKEN | CHAR_TARGET | CHAR_NAME | CHAR_IPV6 | CHAR_VALUE,
    [':'] = CHAR_TARGET | CHAR_IPV6 | CHAR_VALUE,
    [';'] = CHAR_TARGET | CHAR_VALUE,
    ['<'] = CHAR_VALUE,
    ['='] = CHAR_TARGET | CHAR_VALUE,
    ['>'] = CHAR_VALUE,
    ['?' ... '@'] = CHAR_TARGET | CHAR_VALUE,
    ['A' ... 'F'] = CHAR_TOKEN | CHAR_TARGET | CHAR_NAME | CHAR_IPV6 | CHAR_VALUE,
    ['G' ... 'Z'] = CHAR_TOKEN | CHAR_TARGET | CHAR_NAME | CHAR_VALUE,
    ['['] = CHAR_TARGET | CHAR_VALUE,
    ['\\'] = CHAR_VALUE,
    [']'] = CHAR_TARGET | CHAR_VALUE,
    ['^'] = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE,
    ['_'] = CHAR_TOKEN | CHAR_TARGET | CHAR_NAME | CHAR_VALUE,
    ['`'] = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE,
    ['a' ... 'f'] = CHAR_TOKEN | CHAR_TARGET | CHAR_NAME | CHAR_IPV6 | CHAR_VALUE,
    ['g' ... 'z'] = CHAR_TOKEN | CHAR_TARGET | CHAR_NAME | CHAR_VALUE,
    ['{'] = CHAR_TARGET | CHAR_VALUE,
    ['|'] = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE,
    ['}'] = CHAR_TARGET | CHAR_VALUE,
    ['~'] = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE,
    [0x80 ... 0xff] = CHAR_VALUE,
};

static bool char_is(char c, unsigned char_kind)
{
    return char_class[(unsigned char)c] & char_kind;
}

/* The first byte that is not of this kind, or `end`. */
static const char *skip(const char *at, const char *end, unsigned char_kind)
{
    while (at < end && char_is(*at, char_kind))
        at++;
    return at;
}

/* skip() of CHAR_VALUE, for the long values: 16 bytes at a time. */
static const char *skip_value(const char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i control_last = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);
    for (; end - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, control_last), bytes);
        __m128i refused =
            _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), controls), _mm_cmpeq_epi8(bytes, del));
        int found = _mm_movemask_epi8(refused);
        if (found)
            return at + __builtin_ctz((unsigned)found);
    }
#endif
    return skip(at, end, CHAR_VALUE);
}

static bool text_is(struct slice text, const char *lower, size_t size)
{
    return text.size == size && strncasecmp(text.data, lower, size) == 0;
}
#define TEXT_IS(text, lower) text_is(text, lower, sizeof(lower) - 1)

static enum http_head_result malformed(struct error *error, const char *text)
{
    error_set(error, STATUS_INVALID, "%s", text);
    return HTTP_HEAD_MALFORMED;
}

static enum http_head_result too_large(struct error *error, enum http_head_result result, const char *what,
                                       int bound, const char *unit)
{
    error_set(error, STATUS_TOO_LARGE, "%s is longer than %d %s", what, bound, unit);
    return result;
}

/* ---- the request line ---------------------------------------------------------------------------------- */

static enum http_method method_from(struct slice text)
{
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {
        {"GET", HTTP_METHOD_GET},         {"POST", HTTP_METHOD_POST}, {"HEAD", HTTP_METHOD_HEAD},
        {"DELETE", HTTP_METHOD_DELETE},   {"PUT", HTTP_METHOD_PUT},   {"PATCH", HTTP_METHOD_PATCH},
        {"OPTIONS", HTTP_METHOD_OPTIONS},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (slice_equal_text(text, known[i].name))
            return known[i].method;
    return HTTP_METHOD_OTHER;
}

/* uri-host [ ":" port ], RFC 3986 section 3.2. */
static bool host_is_valid(struct slice host)
{
    const char *at = host.data, *end = host.data + host.size;
    if (host.size == 0 || host.size > HOST_BYTES_MAX)
        return false;
    if (*at == '[') {
        const char *address = at + 1;
        at = skip(address, end, CHAR_IPV6);
        if (at == address || at == end || *at != ']')
            return false;
        at++;
    } else {
        at = skip(at, end, CHAR_NAME);
        if (at == host.data)
            return false;
    }
    if (at == end)
        return true;
    if (*at++ != ':' || at == end || end - at > 5)
        return false;
    unsigned port = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        port = port * 10 + (unsigned)(*at - '0');
    return at == end && port <= 65535;
}

/* Sets target, path and query; for the absolute form (RFC 9112 section 3.2.2) also host. */
static bool target_split(struct slice target, struct http_head *head)
{
    head->host = slice_make(NULL, 0);
    if (target.data[0] != '/') {
        if (target.size == 1 && target.data[0] == '*') {
            head->target = head->path = target;
            head->query = slice_make(target.data + 1, 0);
            return head->method == HTTP_METHOD_OPTIONS;
        }
        size_t scheme = target.size > 7 && strncasecmp(target.data, "http://", 7) == 0    ? 7
                        : target.size > 8 && strncasecmp(target.data, "https://", 8) == 0 ? 8
                                                                                          : 0;
        if (scheme == 0)
            return false;
        target = slice_skip(target, scheme);
        size_t host = 0;
        while (host < target.size && target.data[host] != '/' && target.data[host] != '?')
            host++;
        head->host = slice_make(target.data, host);
        if (!host_is_valid(head->host))
            return false;
        target = slice_skip(target, host);
    }
    const char *mark = target.size ? memchr(target.data, '?', target.size) : NULL;
    size_t path = mark ? (size_t)(mark - target.data) : target.size;
    head->target = target.size ? target : SLICE_LITERAL("/");
    head->path = path ? slice_make(target.data, path) : SLICE_LITERAL("/");
    head->query = mark ? slice_skip(target, path + 1) : slice_make(target.data + target.size, 0);
    return true;
}

/* *at: in, the line's first byte; out, the byte behind its CRLF. */
static enum http_head_result request_line_parse(const char **at, const char *end, struct http_head *head,
                                                struct error *error)
{
    const char *method = *at;
    const char *space = skip(method, end, CHAR_TOKEN);
    head->method_text = slice_make(method, (size_t)(space - method));
    if (space == method || space - method > METHOD_BYTES_MAX || *space != ' ')
        return malformed(error, "the method is malformed");
    head->method = method_from(head->method_text);

    const char *target = space + 1;
    space = skip(target, end, CHAR_TARGET);
    if (space - target > HTTP_TARGET_BYTES_MAX)
        return too_large(error, HTTP_HEAD_TARGET_TOO_LONG, "the URL", HTTP_TARGET_BYTES_MAX, "bytes");
    if (space == target || *space != ' ')
        return malformed(error, "the URL is malformed");

    const char *version = space + 1;
    if (end - version < 10 || memcmp(version, "HTTP/", 5) != 0 || version[5] < '0' || version[5] > '9' ||
        version[6] != '.' || version[7] < '0' || version[7] > '9' || version[8] != '\r' || version[9] != '\n')
        return malformed(error, "the request line does not end in an HTTP version");
    if (version[5] != '1' || version[7] > '1') {
        error_set(error, STATUS_UNSUPPORTED, "only HTTP/1.0 and HTTP/1.1 are supported");
        return HTTP_HEAD_VERSION;
    }
    head->version_minor = (unsigned)(version[7] - '0');

    if (TEXT_IS(head->method_text, "connect") ||
        !target_split(slice_make(target, (size_t)(space - target)), head))
        return malformed(error, "the URL is malformed");
    *at = version + 10;
    return HTTP_HEAD_COMPLETE;
}

/* ---- the fields ---------------------------------------------------------------------------------------- */

/* What the fields said so far about framing and the connection. */
struct seen {
    bool host, transfer_encoding, close, keep_alive;
};

static bool content_length_parse(struct slice value, uint64_t *ret_length)
{
    uint64_t length = 0;
    if (value.size == 0)
        return false;
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return false;
        unsigned digit = (unsigned)(value.data[i] - '0');
        /* Stays at the largest number, which is over every limit. */
        length = length > (UINT64_MAX - digit) / 10 ? UINT64_MAX : length * 10 + digit;
    }
    *ret_length = length;
    return true;
}

/* The list's members, RFC 9110 section 5.6.1; those other than ours name fields we do not forward anyway. */
static void connection_options(struct slice value, struct seen *seen)
{
    const char *at = value.data, *end = value.data + value.size;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *last = comma ? comma : end;
        const char *first = at;
        at = comma ? comma + 1 : end;
        while (first < last && (*first == ' ' || *first == '\t'))
            first++;
        while (last > first && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        struct slice option = slice_make(first, (size_t)(last - first));
        seen->close |= TEXT_IS(option, "close");
        seen->keep_alive |= TEXT_IS(option, "keep-alive");
    }
}

static enum http_head_result field_note(struct slice name, struct slice value, struct http_head *head,
                                        struct seen *seen, struct error *error)
{
    switch (name.size) {
    case sizeof "host" - 1:
        if (!TEXT_IS(name, "host"))
            break;
        if (seen->host)
            return malformed(error, "there are two Host fields");
        if (!host_is_valid(value))
            return malformed(error, "the Host field does not name a host");
        /* RFC 9112 section 3.2: a client sends the authority of the URL; one that differs is read one way
         * by the proxy and another way by the server behind it. */
        if (head->host.size &&
            !(head->host.size == value.size && strncasecmp(head->host.data, value.data, value.size) == 0))
            return malformed(error, "the Host field is not the URL's host");
        seen->host = true;
        head->host = value;
        break;
    case sizeof "content-length" - 1:
        if (!TEXT_IS(name, "content-length"))
            break;
        if (head->has_content_length)
            return malformed(error, "there are two Content-Length fields");
        if (!content_length_parse(value, &head->content_length))
            return malformed(error, "the Content-Length field is not a number");
        head->has_content_length = true;
        break;
    case sizeof "transfer-encoding" - 1:
        if (!TEXT_IS(name, "transfer-encoding"))
            break;
        if (seen->transfer_encoding || !TEXT_IS(value, "chunked"))
            return malformed(error, "the Transfer-Encoding field is not \"chunked\"");
        seen->transfer_encoding = true;
        head->is_chunked = true;
        break;
    case sizeof "connection" - 1:
        if (TEXT_IS(name, "connection"))
            connection_options(value, seen);
        break;
    case sizeof "expect" - 1:
        if (TEXT_IS(name, "expect"))
            head->expects_continue |= TEXT_IS(value, "100-continue");
        break;
    default:
        break;
    }
    return HTTP_HEAD_COMPLETE;
}

static enum http_head_result fields_parse(const char *at, const char *end, struct http_head *head,
                                          struct seen *seen, struct error *error)
{
    while (*at != '\r') {
        const char *name = at;
        at = skip(name, end, CHAR_TOKEN);
        if (at == name || *at != ':')
            return malformed(error, *name == ' ' || *name == '\t' ? "a field is folded over several lines"
                                                                  : "a field's name is malformed");
        struct slice field_name = slice_make(name, (size_t)(at - name));
        at++;
        while (*at == ' ' || *at == '\t')
            at++;
        const char *value = at;
        at = skip_value(at, end);
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n')
            return malformed(error, "a field's value holds a control character");
        const char *last = at;
        while (last > value && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        at += 2;
        struct slice field_value = slice_make(value, (size_t)(last - value));
        if (head->field_count == HTTP_FIELDS_MAX)
            return too_large(error, HTTP_HEAD_TOO_LARGE, "the list of header fields", HTTP_FIELDS_MAX,
                             "fields");
        head->fields[head->field_count++] = (struct http_field){field_name, field_value};
        enum http_head_result result = field_note(field_name, field_value, head, seen, error);
        if (result != HTTP_HEAD_COMPLETE)
            return result;
    }
    /* The head ends in an empty line, and this is the first one. */
    return end - at == 2 ? HTTP_HEAD_COMPLETE : malformed(error, "a field's name is malformed");
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

/* Looks for the empty line, from *scanned on. Its verdict depends on the bytes alone, not on how they were
 * cut into calls. */
static enum http_head_result head_find_end(struct slice input, size_t *scanned, size_t *ret_size,
                                           struct error *error)
{
    const char *data = input.data;
    /* Tell at once what is no HTTP at all, such as a TLS hello on a plain port. One empty line before the
     * request is the leftover of an older client's POST (RFC 9112 section 2.2). */
    size_t first = input.size >= 1 && data[0] == '\r' ? 1 : 0;
    if (first && input.size >= 2)
        first = data[1] == '\n' ? 2 : SIZE_MAX;
    if (first == SIZE_MAX || (first != 1 && input.size > first && !char_is(data[first], CHAR_TOKEN)))
        return malformed(error, "this is not an HTTP request");

    if (input.size >= LINE_BYTES_MAX && !memchr(data + first, '\n', LINE_BYTES_MAX - first))
        return too_large(error, HTTP_HEAD_TARGET_TOO_LONG, "the URL", HTTP_TARGET_BYTES_MAX, "bytes");

    size_t size = input.size < HTTP_HEAD_BYTES_MAX ? input.size : HTTP_HEAD_BYTES_MAX;
    size_t at = *scanned;
    while (at < size) {
        const char *newline = memchr(data + at, '\n', size - at);
        if (!newline)
            break;
        at = (size_t)(newline - data) + 1;
        if (at < 2 || newline[-1] != '\r')
            return malformed(error, "a line ends in LF alone");
        if (at >= 4 && newline[-2] == '\n') {
            *ret_size = at;
            return HTTP_HEAD_COMPLETE;
        }
    }
    *scanned = size;
    if (size == HTTP_HEAD_BYTES_MAX)
        return too_large(error, HTTP_HEAD_TOO_LARGE, "the request's head", HTTP_HEAD_BYTES_MAX, "bytes");
    return HTTP_HEAD_INCOMPLETE;
}

enum http_head_result http_head_parse(struct slice input, size_t *scanned, struct http_head *ret_head,
                                      size_t *ret_size, struct error *error)
{
    size_t size = 0;
    enum http_head_result result = head_find_end(input, scanned, &size, error);
    if (result != HTTP_HEAD_COMPLETE)
        return result;

    struct http_head *head = ret_head;
    const char *at = input.data + (input.data[0] == '\r' ? 2 : 0);
    const char *end = input.data + size;
    head->field_count = 0;
    head->has_content_length = head->is_chunked = head->expects_continue = false;
    head->content_length = 0;
    result = request_line_parse(&at, end, head, error);
    if (result != HTTP_HEAD_COMPLETE)
        return result;
    struct seen seen = {false, false, false, false};
    result = fields_parse(at, end, head, &seen, error);
    if (result != HTTP_HEAD_COMPLETE)
        return result;

    if (head->version_minor == 1 && !seen.host)
        return malformed(error, "the Host field is missing");
    if (head->is_chunked && head->has_content_length)
        return malformed(error, "there are both Content-Length and Transfer-Encoding fields");
    if (head->is_chunked && head->version_minor == 0)
        return malformed(error, "HTTP/1.0 has no Transfer-Encoding");
    head->keep_alive = !seen.close && (head->version_minor == 1 || seen.keep_alive);
    head->expects_continue &= head->version_minor == 1;
    *ret_size = size;
    return HTTP_HEAD_COMPLETE;
}
