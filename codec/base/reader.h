/*
 * A bounded cursor over stored or received bytes (little-endian, as buffer_append_* writes them).
 *
 * The first read past the end sets `failed`; every later read gives zero or an empty slice. So a decoder
 * reads all its fields and asks reader_done() once. Slices handed out borrow from the input.
 */
#ifndef CODEC_BASE_READER_H
#define CODEC_BASE_READER_H

#include "codec/base/bytes.h"
#include "codec/base/slice.h"

struct reader {
    const char *at;
    const char *end;
    bool failed;
};

static inline struct reader reader_make(struct slice input)
{
    return (struct reader){input.data, input.data + input.size, false};
}

static inline struct slice reader_take(struct reader *reader, size_t size)
{
    if (reader->failed || (size_t)(reader->end - reader->at) < size) {
        reader->failed = true;
        return (struct slice){"", 0};
    }
    struct slice taken = {reader->at, size};
    reader->at += size;
    return taken;
}

static inline uint8_t reader_u8(struct reader *reader)
{
    struct slice s = reader_take(reader, 1);
    return s.size ? (uint8_t)s.data[0] : 0;
}

static inline uint16_t reader_u16(struct reader *reader)
{
    struct slice s = reader_take(reader, 2);
    return s.size ? load_u16_le(s.data) : 0;
}

static inline uint32_t reader_u32(struct reader *reader)
{
    struct slice s = reader_take(reader, 4);
    return s.size ? load_u32_le(s.data) : 0;
}

static inline uint64_t reader_u64(struct reader *reader)
{
    struct slice s = reader_take(reader, 8);
    return s.size ? load_u64_le(s.data) : 0;
}

static inline int64_t reader_i64(struct reader *reader)
{
    return (int64_t)reader_u64(reader);
}

static inline struct slice reader_sized(struct reader *reader)
{
    uint32_t size = reader_u32(reader);
    return reader_take(reader, size);
}

static inline size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* True when everything was read, nothing is left over and nothing was missing. */
static inline bool reader_done(const struct reader *reader)
{
    return !reader->failed && reader->at == reader->end;
}

#endif
