#include "codec/base/buffer.h"
#include "codec/json_reader.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline bool json_is_white_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* From behind a string's opening quote to behind its closing one. */
static const char *json_skip_string(const char *at, const char *end)
{
    while (at < end) {
#ifdef __SSE2__
        if (end - at >= 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
            __m128i quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
            __m128i backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
            unsigned found = (unsigned)_mm_movemask_epi8(_mm_or_si128(quotes, backslashes));
            if (!found) {
                at += 16;
                continue;
            }
            at += __builtin_ctz(found);
        }
#endif
        if (*at == '"')
            return at + 1;
        at += *at == '\\' && end - at > 1 ? 2 : 1;
    }
    return at;
}

/* The first white space outside strings, or `end`. */
static const char *json_find_white_space(const char *at, const char *end)
{
    while (at < end && !json_is_white_space(*at))
        at = *at == '"' ? json_skip_string(at + 1, end) : at + 1;
    return at;
}

bool json_is_minified(struct slice document)
{
    if (document.size == 0)
        return true;
    const char *end = document.data + document.size;
    return json_find_white_space(document.data, end) == end;
}

void json_minify(struct slice document, struct buffer *target)
{
    if (document.size == 0)
        return;
    buffer_reserve(target, document.size);
    const char *at = document.data;
    const char *end = document.data + document.size;
    while (at < end) {
        const char *run_end = json_find_white_space(at, end);
        buffer_append(target, at, (size_t)(run_end - at));
        at = run_end;
        while (at < end && json_is_white_space(*at))
            at++;
    }
}
