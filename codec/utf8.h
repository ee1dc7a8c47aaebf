/*
 * Strict UTF-8 (RFC 3629): no overlong forms, no encoded surrogates, nothing above U+10FFFF.
 *
 * Threading: pure functions.
 */
#ifndef CODEC_UTF8_H
#define CODEC_UTF8_H

#include "codec/base/slice.h"

#define UTF8_EXCERPT_BYTES_MAX 40
#define UTF8_EXCERPT_SIZE      (UTF8_EXCERPT_BYTES_MAX + sizeof "...")

/* How many bytes from the begin are whole, valid characters: text.size if all of them are. */
size_t utf8_valid_size(struct slice text);

static inline bool utf8_is_valid(struct slice text)
{
    return utf8_valid_size(text) == text.size;
}

/* For messages: the begin of a text from outside, at most 40 bytes of it and whole characters only, "..."
 * behind it if it was cut. Control characters, quotes and invalid bytes become '?'. Returns `target`. */
const char *utf8_excerpt(struct slice text, char target[UTF8_EXCERPT_SIZE]);

#endif
