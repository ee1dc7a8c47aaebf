/*
 * A growable run of bytes that its holder owns.
 *
 * Invariants: size <= capacity; data is NULL only while capacity is 0. The bytes are not NUL-terminated
 * unless buffer_text() is asked for. Growth doubles. The caller bounds what he appends: a buffer has no
 * limit of its own.
 *
 * Life cycle: buffer_init (or `= BUFFER_INIT`) and buffer_release; buffer_reset empties it and keeps the
 * memory for the next use. A slice of a buffer lives until the next call that may grow it.
 *
 * Threading: one thread at a time.
 */
#ifndef CODEC_BASE_BUFFER_H
#define CODEC_BASE_BUFFER_H

#include "codec/base/slice.h"
#include "codec/base/status.h"

#include <stdint.h>

struct buffer {
    char *data;
    size_t size;
    size_t capacity;
};

#define BUFFER_INIT                                                                                          \
    {                                                                                                        \
        NULL, 0, 0                                                                                           \
    }

void buffer_init(struct buffer *buffer);
void buffer_release(struct buffer *buffer);
void buffer_reset(struct buffer *buffer);

/* Makes room for `extra` bytes past size and returns where they begin; size is unchanged. */
char *buffer_reserve(struct buffer *buffer, size_t extra);
/* The same; what it allocates begins at a page (mem_alloc_pages). */
char *buffer_reserve_pages(struct buffer *buffer, size_t extra);
/* Grows size by `extra` and returns where the new, uninitialised bytes begin. */
char *buffer_extend(struct buffer *buffer, size_t extra);

void buffer_append(struct buffer *buffer, const void *data, size_t size);
void buffer_append_slice(struct buffer *buffer, struct slice slice);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_char(struct buffer *buffer, char c);
void buffer_append_decimal(struct buffer *buffer, uint64_t number); /* as text */
void buffer_appendf(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);

/* Little-endian integers, the order of every stored value and of the control protocol. */
void buffer_append_u8(struct buffer *buffer, uint8_t value);
void buffer_append_u16(struct buffer *buffer, uint16_t value);
void buffer_append_u32(struct buffer *buffer, uint32_t value);
void buffer_append_u64(struct buffer *buffer, uint64_t value);
void buffer_append_i64(struct buffer *buffer, int64_t value);
/* u32 length, then the bytes. */
void buffer_append_sized(struct buffer *buffer, struct slice slice);

static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return (struct slice){buffer->data, buffer->size};
}

/* The bytes with a NUL behind them (not counted in size); borrowed until the next change. */
const char *buffer_text(struct buffer *buffer);

/* Hands the memory over (mem_free it) and leaves the buffer empty. */
char *buffer_detach(struct buffer *buffer, size_t *ret_size);

#endif
