/*
 * A connection's input, without the connection: heads and bodies of pipelined requests. The requests that are
 * found, and the fault that ends them, do not depend on how the stream was cut; bodies and memory keep their
 * bounds. The first byte drives the cuts.
 */
#include "server/http_body.h"
#include "server/http_head.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BODY_BYTES_MAX 100

enum { IN_HEAD, IN_BODY, ENDED };

struct stream {
    int state;
    struct buffer input;
    size_t scanned;
    struct http_body framing;
    struct buffer body;
    struct buffer *log; /* one entry a request, and the fault */
};

static void stream_end(struct stream *stream, uint8_t why)
{
    buffer_append_u8(stream->log, why);
    stream->state = ENDED;
}

static void input_drop(struct buffer *input, size_t size)
{
    memmove(input->data, input->data + size, input->size - size);
    input->size -= size;
}

/* True to go on. */
static bool read_head(struct stream *stream)
{
    static struct http_head head;
    size_t size;
    enum http_head_result result =
        http_head_parse(buffer_slice(&stream->input), &stream->scanned, &head, &size, NULL);
    if (result == HTTP_HEAD_INCOMPLETE) {
        CHECK(stream->input.size < HTTP_HEAD_BYTES_MAX);
        return false;
    }
    if (result != HTTP_HEAD_COMPLETE) {
        stream_end(stream, (uint8_t)result);
        return false;
    }
    buffer_append_sized(stream->log, head.method_text);
    buffer_append_sized(stream->log, head.target);
    http_body_init(&stream->framing, &head, BODY_BYTES_MAX);
    input_drop(&stream->input, size);
    stream->scanned = 0;
    stream->state = IN_BODY;
    return true;
}

static bool read_body(struct stream *stream)
{
    size_t used;
    enum http_body_result result =
        http_body_read(&stream->framing, buffer_slice(&stream->input), &used, &stream->body);
    CHECK(used <= stream->input.size);
    CHECK(stream->body.size <= BODY_BYTES_MAX && stream->body.capacity <= (size_t)4 * BODY_BYTES_MAX);
    if (used)
        input_drop(&stream->input, used);
    switch (result) {
    case HTTP_BODY_COMPLETE:
        buffer_append_sized(stream->log, buffer_slice(&stream->body));
        buffer_reset(&stream->body);
        stream->state = IN_HEAD;
        return true;
    case HTTP_BODY_INCOMPLETE:
        CHECK(stream->input.size == 0);
        return false;
    default:
        stream_end(stream, (uint8_t)(0x80 | result));
        return false;
    }
}

static void stream_feed(struct stream *stream, struct slice piece)
{
    buffer_append_slice(&stream->input, piece);
    while (stream->state == IN_HEAD ? stream->input.size && read_head(stream)
                                    : stream->state == IN_BODY && read_body(stream))
        ;
}

static void stream_run(struct slice input, uint32_t seed, bool whole, struct buffer *log)
{
    struct stream stream = {.state = IN_HEAD, .log = log};
    buffer_reset(log);
    for (size_t at = 0; at < input.size && stream.state != ENDED;) {
        seed = seed * 1664525 + 1013904223;
        size_t step = whole ? input.size : (seed >> 24 & (seed >> 16 & 1 ? 0xFF : 0x03)) + 1;
        if (step > input.size - at)
            step = input.size - at;
        stream_feed(&stream, slice_make(input.data + at, step));
        at += step;
    }
    buffer_append_u8(log, (uint8_t)stream.state);
    buffer_release(&stream.input);
    buffer_release(&stream.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buffer whole, pieces;
    if (size < 1)
        return 0;
    struct slice input = slice_make(data + 1, size - 1);
    stream_run(input, 0, true, &whole);
    for (uint32_t round = 0; round < 2; round++) {
        stream_run(input, data[0] * 2u + round, false, &pieces);
        CHECK(slice_equal(buffer_slice(&whole), buffer_slice(&pieces)));
    }
    return 0;
}
