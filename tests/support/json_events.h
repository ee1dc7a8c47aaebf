/*
 * The events of a JSON document as text, one a line, for comparing: "1 key 4:name", "1 string 3:Ann",
 * "0 object". Texts carry their length, so that different events never look alike. Header only, because the
 * fuzzers use it without the support library.
 *
 * Threading: one thread at a time.
 */
#ifndef TESTS_SUPPORT_JSON_EVENTS_H
#define TESTS_SUPPORT_JSON_EVENTS_H

#include "codec/base/buffer.h"
#include "codec/json_reader.h"

/* A json_handler whose context is the struct buffer that the lines are appended to. */
static inline enum status json_events_handler(void *context, enum json_event event, struct slice text,
                                              unsigned depth, struct error *error)
{
    static const char *const names[] = {
        [JSON_EVENT_NULL] = "null",           [JSON_EVENT_FALSE] = "false",
        [JSON_EVENT_TRUE] = "true",           [JSON_EVENT_NUMBER] = "number",
        [JSON_EVENT_STRING] = "string",       [JSON_EVENT_KEY] = "key",
        [JSON_EVENT_OBJECT_BEGIN] = "object", [JSON_EVENT_OBJECT_END] = "object end",
        [JSON_EVENT_ARRAY_BEGIN] = "array",   [JSON_EVENT_ARRAY_END] = "array end",
    };
    (void)error;
    struct buffer *log = context;
    buffer_appendf(log, "%u %s", depth, names[event]);
    if (event == JSON_EVENT_NUMBER || event == JSON_EVENT_STRING || event == JSON_EVENT_KEY) {
        buffer_appendf(log, " %zu:", text.size);
        buffer_append_slice(log, text);
    }
    buffer_append_char(log, '\n');
    return STATUS_OK;
}

/* Replaces what `log` holds. */
static inline enum status json_events_read(struct json_reader *reader, struct slice document,
                                           struct buffer *log, struct error *error)
{
    buffer_reset(log);
    return json_read(reader, document, json_events_handler, log, error);
}

#endif
