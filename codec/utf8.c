#include "codec/utf8.h"

#include <stdint.h>

#define UTF8_HIGH_BITS UINT64_C(0x8080808080808080)

static uint64_t utf8_load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* The length of the multi-byte character at `at`, 0 if there is none that is valid (RFC 3629 section 4). */
static size_t utf8_character_size(const unsigned char *at, size_t left)
{
    unsigned char lead = at[0];
    unsigned char second_min = 0x80, second_max = 0xBF;
    size_t size;
    if (lead >= 0xC2 && lead <= 0xDF) {
        size = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        size = 3;
        if (lead == 0xE0)
            second_min = 0xA0; /* less would be overlong */
        else if (lead == 0xED)
            second_max = 0x9F; /* more would be a surrogate */
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        size = 4;
        if (lead == 0xF0)
            second_min = 0x90;
        else if (lead == 0xF4)
            second_max = 0x8F; /* more would be above U+10FFFF */
    } else {
        return 0;
    }
    if (left < size || at[1] < second_min || at[1] > second_max)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return size;
}

size_t utf8_valid_size(struct slice text)
{
    size_t at = 0;
    while (at < text.size) {
        /* Claims are nearly all ASCII: 32 bytes a step cost a fiftieth of the parser's time. */
        while (text.size - at >= 32 && ((utf8_load(text.data + at) | utf8_load(text.data + at + 8) |
                                         utf8_load(text.data + at + 16) | utf8_load(text.data + at + 24)) &
                                        UTF8_HIGH_BITS) == 0)
            at += 32;
        size_t step_end = text.size - at > 32 ? at + 32 : text.size;
        while (at < step_end) {
            if (((unsigned char)text.data[at] & 0x80) == 0) {
                at++;
                continue;
            }
            size_t size = utf8_character_size((const unsigned char *)text.data + at, text.size - at);
            if (size == 0)
                return at;
            at += size;
        }
    }
    return at;
}

const char *utf8_excerpt(struct slice text, char target[UTF8_EXCERPT_SIZE])
{
    size_t used = 0, at = 0;
    while (at < text.size) {
        unsigned char lead = (unsigned char)text.data[at];
        size_t size =
            lead < 0x80 ? 1 : utf8_character_size((const unsigned char *)text.data + at, text.size - at);
        bool shown = size > 0 && lead >= 0x20 && lead != 0x7F && lead != '"';
        if (size == 0)
            size = 1;
        if (used + (shown ? size : 1) > UTF8_EXCERPT_BYTES_MAX || at + size > UTF8_EXCERPT_BYTES_MAX)
            break;
        if (shown) {
            memcpy(target + used, text.data + at, size);
            used += size;
        } else {
            target[used++] = '?';
        }
        at += size;
    }
    if (at < text.size) {
        memcpy(target + used, "...", 3);
        used += 3;
    }
    target[used] = '\0';
    return target;
}
