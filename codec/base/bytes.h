/*
 * Integers in bytes: little-endian for values, big-endian for keys (so that memcmp order is number order).
 * Unaligned addresses are fine.
 */
#ifndef CODEC_BASE_BYTES_H
#define CODEC_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_DEFINE(name, type, to, from)                                                                   \
    static inline void store_##name(void *target, type value)                                                \
    {                                                                                                        \
        type ordered = to(value);                                                                            \
        memcpy(target, &ordered, sizeof ordered);                                                            \
    }                                                                                                        \
    static inline type load_##name(const void *source)                                                       \
    {                                                                                                        \
        type ordered;                                                                                        \
        memcpy(&ordered, source, sizeof ordered);                                                            \
        return from(ordered);                                                                                \
    }

BYTES_DEFINE(u16_le, uint16_t, htole16, le16toh)
BYTES_DEFINE(u32_le, uint32_t, htole32, le32toh)
BYTES_DEFINE(u64_le, uint64_t, htole64, le64toh)
BYTES_DEFINE(u16_be, uint16_t, htobe16, be16toh)
BYTES_DEFINE(u32_be, uint32_t, htobe32, be32toh)
BYTES_DEFINE(u64_be, uint64_t, htobe64, be64toh)

/* Signed 64-bit in keys: the sign bit is flipped, so that negative instants come first. */
static inline void store_i64_be(void *target, int64_t value)
{
    store_u64_be(target, (uint64_t)value ^ (UINT64_C(1) << 63));
}

static inline int64_t load_i64_be(const void *source)
{
    return (int64_t)(load_u64_be(source) ^ (UINT64_C(1) << 63));
}

#endif
