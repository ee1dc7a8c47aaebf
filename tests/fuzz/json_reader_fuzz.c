/*
 * What the reader accepts is minified to a document that it accepts with the same events, and that minifying
 * leaves as it is. Whatever the input: each token lies in the document, events nest, and a failure has a
 * text.
 */
#include "codec/json_reader.h"

#include "codec/base/check.h"
#include "codec/utf8.h"
#include "tests/support/json_events.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct watch {
    struct json_reader *reader;
    struct slice document;
    const char *token_end;
    unsigned depth;
    struct buffer *log;
};

static enum status watch_event(void *context, enum json_event event, struct slice text, unsigned depth,
                               struct error *error)
{
    struct watch *watch = context;
    struct slice token = json_reader_token(watch->reader);
    CHECK(token.size > 0 && token.data >= watch->token_end);
    CHECK(token.data + token.size <= watch->document.data + watch->document.size);
    watch->token_end = token.data + token.size;
    if (event == JSON_EVENT_OBJECT_END || event == JSON_EVENT_ARRAY_END)
        watch->depth--;
    CHECK(depth == watch->depth && depth < JSON_DEPTH_MAX + 1);
    if (event == JSON_EVENT_OBJECT_BEGIN || event == JSON_EVENT_ARRAY_BEGIN)
        watch->depth++;
    if (event == JSON_EVENT_STRING || event == JSON_EVENT_KEY) {
        CHECK(token.size >= 2 && token.data[0] == '"' && token.data[token.size - 1] == '"');
        bool escaped = memchr(token.data, '\\', token.size) != NULL;
        CHECK(escaped || (text.data == token.data + 1 && text.size == token.size - 2));
        CHECK(utf8_is_valid(text));
    }
    return json_events_handler(watch->log, event, text, depth, error);
}

static enum status read_watched(struct json_reader *reader, struct slice document, struct buffer *log)
{
    struct watch watch = {.reader = reader, .document = document, .token_end = document.data, .log = log};
    struct error error = {.status = STATUS_OK};
    buffer_reset(log);
    enum status status = json_read(reader, document, watch_event, &watch, &error);
    CHECK(error.status == status);
    CHECK(status == STATUS_OK ? watch.depth == 0 : strncmp(error.text, "at byte ", 8) == 0);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_reader *reader;
    static struct buffer events, minified, minified_events, again;
    if (!reader)
        reader = json_reader_new();
    struct slice document = slice_make(data, size);
    buffer_reset(&minified);
    json_minify(document, &minified); /* of any bytes at all: must stay within bounds */
    CHECK(minified.size <= size);
    if (read_watched(reader, document, &events) != STATUS_OK)
        return 0;
    bool was_minified = json_reader_was_minified(reader);
    CHECK(was_minified == json_is_minified(document));
    CHECK(was_minified == slice_equal(buffer_slice(&minified), document));

    CHECK(read_watched(reader, buffer_slice(&minified), &minified_events) == STATUS_OK);
    CHECK(slice_equal(buffer_slice(&events), buffer_slice(&minified_events)));
    CHECK(json_reader_was_minified(reader) && json_is_minified(buffer_slice(&minified)));
    buffer_reset(&again);
    json_minify(buffer_slice(&minified), &again);
    CHECK(slice_equal(buffer_slice(&again), buffer_slice(&minified)));

    buffer_reset(&again);
    CHECK(json_find(reader, document, "", &again, NULL) == STATUS_OK);
    return 0;
}
