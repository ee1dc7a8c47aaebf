/*
 * A head that is accepted lies inside the input, holds nothing that a later reader could take for a line of
 * its own, and means the same when it is written anew in the plainest form. The verdict does not depend on
 * how the bytes were cut into calls. The first byte drives the cuts.
 */
#include "server/http_head.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct slice slice, struct slice input)
{
    return slice.size == 0 ||
           (slice.data >= input.data && slice.data + slice.size <= input.data + input.size) ||
           slice_equal_text(slice, "/");
}

static bool is_one_line(struct slice slice)
{
    return slice.size == 0 ||
           (!memchr(slice.data, '\r', slice.size) && !memchr(slice.data, '\n', slice.size) &&
            !memchr(slice.data, '\0', slice.size));
}

static void check_slice(struct slice slice, struct slice input)
{
    CHECK(is_inside(slice, input));
    CHECK(is_one_line(slice));
}

static void check_head(const struct http_head *head, struct slice input, size_t size)
{
    CHECK(size <= input.size && size <= HTTP_HEAD_BYTES_MAX);
    CHECK(size >= 4 && memcmp(input.data + size - 4, "\r\n\r\n", 4) == 0);
    input.size = size;
    check_slice(head->method_text, input);
    check_slice(head->target, input);
    check_slice(head->path, input);
    check_slice(head->query, input);
    check_slice(head->host, input);
    CHECK(head->method_text.size > 0 && head->target.size > 0 && head->path.size > 0);
    CHECK(!memchr(head->target.data, ' ', head->target.size));
    CHECK(!(head->has_content_length && head->is_chunked));
    CHECK(head->version_minor <= 1 && (head->version_minor == 0 || head->host.size > 0));
    CHECK(head->field_count <= HTTP_FIELDS_MAX);
    for (size_t i = 0; i < head->field_count; i++) {
        struct http_field field = head->fields[i];
        check_slice(field.name, input);
        check_slice(field.value, input);
        CHECK(field.name.size > 0 && !memchr(field.name.data, ':', field.name.size) &&
              !memchr(field.name.data, ' ', field.name.size));
        CHECK(field.value.size == 0 ||
              (field.value.data[0] != ' ' && field.value.data[field.value.size - 1] != ' '));
    }
}

/* What a head says, as text. */
static void describe(const struct http_head *head, struct buffer *target)
{
    buffer_reset(target);
    buffer_append_u8(target, (uint8_t)head->method);
    buffer_append_sized(target, head->method_text);
    buffer_append_u8(target, (uint8_t)head->version_minor);
    buffer_append_sized(target, head->path);
    buffer_append_sized(target, head->query);
    buffer_append_sized(target, head->host);
    buffer_append_u8(target, head->has_content_length);
    buffer_append_u64(target, head->content_length);
    buffer_append_u8(target, head->is_chunked);
    buffer_append_u8(target, head->keep_alive);
    buffer_append_u8(target, head->expects_continue);
    for (size_t i = 0; i < head->field_count; i++) {
        buffer_append_sized(target, head->fields[i].name);
        buffer_append_sized(target, head->fields[i].value);
    }
}

static void check_written_anew(const struct http_head *head)
{
    static struct http_head again;
    static struct buffer text, expected, got;
    size_t scanned = 0, size;
    buffer_reset(&text);
    buffer_append_slice(&text, head->method_text);
    buffer_append_text(&text, head->target.data[0] == '?' ? " /" : " ");
    buffer_append_slice(&text, head->target);
    buffer_appendf(&text, " HTTP/1.%u\r\n", head->version_minor);
    for (size_t i = 0; i < head->field_count; i++) {
        buffer_append_slice(&text, head->fields[i].name);
        buffer_append_text(&text, ": ");
        buffer_append_slice(&text, head->fields[i].value);
        buffer_append_text(&text, "\r\n");
    }
    buffer_append_text(&text, "\r\n");
    /* The plain form may be a few bytes longer than the bounds allow. */
    enum http_head_result result = http_head_parse(buffer_slice(&text), &scanned, &again, &size, NULL);
    if (text.size > HTTP_HEAD_BYTES_MAX || head->target.size + 1 > HTTP_TARGET_BYTES_MAX)
        return;
    CHECK(result == HTTP_HEAD_COMPLETE && size == text.size);
    if (head->version_minor == 0)
        again.host = head->host; /* the absolute form's, which no field repeats */
    describe(head, &expected);
    describe(&again, &got);
    CHECK(slice_equal(buffer_slice(&expected), buffer_slice(&got)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_head head;
    static struct buffer whole, pieces;
    if (size < 1)
        return 0;
    uint32_t seed = data[0];
    struct slice input = slice_make(data + 1, size - 1);
    size_t scanned = 0, head_size = 0;
    struct error error = {STATUS_OK, ""};
    enum http_head_result result = http_head_parse(input, &scanned, &head, &head_size, &error);
    CHECK(scanned <= input.size);
    CHECK((result == HTTP_HEAD_COMPLETE || result == HTTP_HEAD_INCOMPLETE) == (error.text[0] == '\0'));
    if (result == HTTP_HEAD_COMPLETE) {
        check_head(&head, input, head_size);
        describe(&head, &whole);
        check_written_anew(&head);
    }

    enum http_head_result in_pieces = HTTP_HEAD_INCOMPLETE;
    size_t at = 0, pieces_size = 0;
    scanned = 0;
    while (at < input.size && in_pieces == HTTP_HEAD_INCOMPLETE) {
        seed = seed * 1664525 + 1013904223;
        size_t step = (seed >> 24 & (seed >> 16 & 1 ? 0xFF : 0x03)) + 1;
        at = input.size - at < step ? input.size : at + step;
        /* Of its own, so that a sanitizer sees a read past its end. */
        char *copy = mem_alloc(at);
        memcpy(copy, input.data, at);
        in_pieces = http_head_parse(slice_make(copy, at), &scanned, &head, &pieces_size, NULL);
        if (in_pieces == HTTP_HEAD_COMPLETE)
            describe(&head, &pieces);
        mem_free(copy);
    }
    CHECK(in_pieces == result);
    if (result == HTTP_HEAD_COMPLETE)
        CHECK(pieces_size == head_size && slice_equal(buffer_slice(&whole), buffer_slice(&pieces)));
    return 0;
}
