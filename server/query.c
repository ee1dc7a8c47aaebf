#include "server/query.h"

static bool begins_known_pair(struct slice text)
{
    static const struct slice names[] = {
        {"_type=", 6},
        {"_since=", 7},
        {"_outputFormat=", 14},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_starts_with(text, names[i]))
            return true;
    return false;
}

static size_t pair_size(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] == '&' || (text.data[i] == '?' && begins_known_pair(slice_skip(text, i + 1))))
            return i;
    return text.size;
}

bool query_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
    while (rest->size) {
        struct slice pair = {rest->data, pair_size(*rest)};
        *rest = slice_skip(*rest, pair.size + 1);
        if (pair.size == 0)
            continue;
        const char *equals = memchr(pair.data, '=', pair.size);
        size_t name_size = equals ? (size_t)(equals - pair.data) : pair.size;
        *ret_name = slice_make(pair.data, name_size);
        *ret_value = slice_skip(pair, equals ? name_size + 1 : pair.size);
        return true;
    }
    return false;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum status query_decode(struct slice raw, struct arena *arena, bool plus_is_space, struct slice *ret_text)
{
    if (raw.size == 0 ||
        (!memchr(raw.data, '%', raw.size) && !(plus_is_space && memchr(raw.data, '+', raw.size)))) {
        *ret_text = raw;
        return STATUS_OK;
    }
    char *text = arena_alloc(arena, raw.size);
    size_t size = 0;
    for (size_t i = 0; i < raw.size; i++) {
        char c = raw.data[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int high = raw.size - i > 2 ? hex_digit(raw.data[i + 1]) : -1;
            int low = raw.size - i > 2 ? hex_digit(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return STATUS_INVALID;
            c = (char)(high * 16 + low);
            i += 2;
        }
        text[size++] = c;
    }
    *ret_text = slice_make(text, size);
    return STATUS_OK;
}
