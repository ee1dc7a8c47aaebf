/*
 * The lines that come out do not depend on how the stream was cut into chunks, and are those that a simple
 * loop over the whole stream finds. The first byte is the bound, the second drives the sizes of the chunks.
 */
#include "codec/ndjson.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status log_line(void *context, uint64_t line_number, struct slice line, bool too_long,
                            struct error *error)
{
    (void)error;
    struct buffer *log = context;
    CHECK(!too_long || line.size == 0);
    buffer_append_u64(log, line_number);
    buffer_append_u8(log, too_long);
    buffer_append_sized(log, line);
    return STATUS_OK;
}

static bool is_blank(struct slice line)
{
    for (size_t i = 0; i < line.size; i++)
        if (!memchr(" \t\r", line.data[i], 3))
            return false;
    return true;
}

static void split_simply(struct slice stream, size_t line_bytes_max, struct buffer *log)
{
    if (slice_starts_with(stream, SLICE_LITERAL("\xEF\xBB\xBF")))
        stream = slice_skip(stream, 3);
    for (uint64_t number = 1; stream.size; number++) {
        const char *end = memchr(stream.data, '\n', stream.size);
        struct slice line = {stream.data, end ? (size_t)(end - stream.data) : stream.size};
        stream = slice_skip(stream, line.size + (end ? 1 : 0));
        if (line.size && line.data[line.size - 1] == '\r')
            line.size--;
        bool too_long = line.size > line_bytes_max;
        if (too_long || !is_blank(line))
            CHECK(log_line(log, number, too_long ? slice_make("", 0) : line, too_long, NULL) == STATUS_OK);
    }
}

static void split_in_chunks(struct slice stream, size_t line_bytes_max, uint32_t chunk_seed,
                            struct buffer *log)
{
    struct ndjson_splitter splitter;
    ndjson_splitter_init(&splitter, line_bytes_max);
    while (stream.size) {
        chunk_seed = chunk_seed * 1664525 + 1013904223;
        size_t chunk_bytes = chunk_seed >> 24 & (chunk_seed >> 16 & 1 ? 0x3F : 0x03);
        if (chunk_bytes > stream.size)
            chunk_bytes = stream.size;
        /* Of its own, so that a sanitizer sees who keeps a slice too long. */
        char *chunk = mem_alloc(chunk_bytes);
        memcpy(chunk, stream.data, chunk_bytes);
        CHECK(ndjson_splitter_feed(&splitter, slice_make(chunk, chunk_bytes), log_line, log, NULL) ==
              STATUS_OK);
        mem_free(chunk);
        CHECK(splitter.partial.size <= line_bytes_max + 4);
        stream = slice_skip(stream, chunk_bytes);
    }
    CHECK(ndjson_splitter_end(&splitter, log_line, log, NULL) == STATUS_OK);
    ndjson_splitter_release(&splitter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buffer expected, got;
    if (size < 2)
        return 0;
    struct slice stream = slice_make(data + 2, size - 2);
    buffer_reset(&expected);
    split_simply(stream, data[0], &expected);
    for (uint32_t round = 0; round < 3; round++) {
        buffer_reset(&got);
        split_in_chunks(stream, data[0], data[1] * 3u + round, &got);
        CHECK(slice_equal(buffer_slice(&got), buffer_slice(&expected)));
    }
    return 0;
}
