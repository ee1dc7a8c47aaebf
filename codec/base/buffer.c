#include "codec/base/buffer.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <stdio.h>

void buffer_init(struct buffer *buffer)
{
    *buffer = (struct buffer)BUFFER_INIT;
}

void buffer_release(struct buffer *buffer)
{
    mem_free(buffer->data);
    buffer_init(buffer);
}

void buffer_reset(struct buffer *buffer)
{
    buffer->size = 0;
}

/* The capacity that `extra` more bytes need: as it is, or grown. */
static size_t capacity_for(const struct buffer *buffer, size_t extra)
{
    size_t need, capacity = buffer->capacity;
    CHECK(!__builtin_add_overflow(buffer->size, extra, &need));
    if (need > capacity && !capacity)
        capacity = 64;
    while (capacity < need)
        capacity = capacity > SIZE_MAX / 2 ? need : capacity * 2;
    return capacity;
}

char *buffer_reserve(struct buffer *buffer, size_t extra)
{
    size_t capacity = capacity_for(buffer, extra);
    if (capacity != buffer->capacity) {
        buffer->data = mem_realloc(buffer->data, capacity);
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

char *buffer_reserve_pages(struct buffer *buffer, size_t extra)
{
    size_t capacity = capacity_for(buffer, extra);
    if (capacity != buffer->capacity) {
        char *data = mem_alloc_pages(capacity);
        if (buffer->size)
            memcpy(data, buffer->data, buffer->size);
        mem_free(buffer->data);
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

char *buffer_extend(struct buffer *buffer, size_t extra)
{
    char *begin = buffer_reserve(buffer, extra);
    buffer->size += extra;
    return begin;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size)
        memcpy(buffer_extend(buffer, size), data, size);
}

void buffer_append_slice(struct buffer *buffer, struct slice slice)
{
    buffer_append(buffer, slice.data, slice.size);
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_append_char(struct buffer *buffer, char c)
{
    *buffer_extend(buffer, 1) = c;
}

void buffer_append_decimal(struct buffer *buffer, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    buffer_append(buffer, digits + at, sizeof digits - at);
}

void buffer_appendf(struct buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char small[256];
    int size = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    CHECK(size >= 0);
    if ((size_t)size < sizeof small) {
        buffer_append(buffer, small, (size_t)size);
        return;
    }
    char *begin = buffer_reserve(buffer, (size_t)size + 1);
    va_start(args, format);
    vsnprintf(begin, (size_t)size + 1, format, args);
    va_end(args);
    buffer->size += (size_t)size;
}

void buffer_append_u8(struct buffer *buffer, uint8_t value)
{
    *buffer_extend(buffer, 1) = (char)value;
}

void buffer_append_u16(struct buffer *buffer, uint16_t value)
{
    store_u16_le(buffer_extend(buffer, 2), value);
}

void buffer_append_u32(struct buffer *buffer, uint32_t value)
{
    store_u32_le(buffer_extend(buffer, 4), value);
}

void buffer_append_u64(struct buffer *buffer, uint64_t value)
{
    store_u64_le(buffer_extend(buffer, 8), value);
}

void buffer_append_i64(struct buffer *buffer, int64_t value)
{
    buffer_append_u64(buffer, (uint64_t)value);
}

void buffer_append_sized(struct buffer *buffer, struct slice slice)
{
    CHECK(slice.size <= UINT32_MAX);
    buffer_append_u32(buffer, (uint32_t)slice.size);
    buffer_append_slice(buffer, slice);
}

const char *buffer_text(struct buffer *buffer)
{
    *buffer_reserve(buffer, 1) = '\0';
    return buffer->data;
}

char *buffer_detach(struct buffer *buffer, size_t *ret_size)
{
    char *data = buffer->data;
    *ret_size = buffer->size;
    buffer_init(buffer);
    return data;
}
