/*
 * A borrowed run of bytes. It owns nothing; whoever hands one out says until when it lives.
 * Not NUL-terminated; `data` may be NULL only when `size` is 0.
 */
#ifndef CODEC_BASE_SLICE_H
#define CODEC_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *data;
    size_t size;
};

#define SLICE_LITERAL(text) ((struct slice){"" text, sizeof(text) - 1})
/* For printf: printf("%.*s", SLICE_PRINT(s)). */
#define SLICE_PRINT(s) (int)(s).size, (s).data

static inline struct slice slice_make(const void *data, size_t size)
{
    return (struct slice){data, size};
}

static inline struct slice slice_from_text(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_equal_text(struct slice a, const char *text)
{
    return slice_equal(a, slice_from_text(text));
}

/* memcmp order; a prefix comes first. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static inline bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}

/* The bytes from `offset` on (all of them gone if offset is past the end). */
static inline struct slice slice_skip(struct slice s, size_t offset)
{
    return offset >= s.size ? (struct slice){s.data + s.size, 0}
                            : (struct slice){s.data + offset, s.size - offset};
}

#endif
