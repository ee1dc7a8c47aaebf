/*
 * JSON in: yajl behind bounds.
 *
 * One document at a time, whole in memory, as a stream of events; there is no tree. On top of yajl it
 * checks what yajl lets through: depth (JSON_DEPTH_MAX), size (JSON_DOCUMENT_BYTES_MAX), strict UTF-8 (no
 * overlong forms, no encoded surrogates, nothing above U+10FFFF), lone surrogates in \u escapes, repeated
 * keys in one object (compared after decoding: "\u0061" repeats "a"), anything but white space behind the
 * value, and a NUL byte anywhere. Numbers keep their text. Every failure of its own is STATUS_INVALID or
 * STATUS_TOO_LARGE (depth, size) with a byte offset in `error` ("at byte 17: ..."; from 0; at what is wrong
 * or just behind it), and never quotes more than 40 bytes of the input.
 *
 * Threading: a reader belongs to one thread at a time; it keeps its memory between documents.
 */
#ifndef CODEC_JSON_READER_H
#define CODEC_JSON_READER_H

#include "codec/base/slice.h"
#include "codec/base/status.h"

#define JSON_DEPTH_MAX          64
#define JSON_DOCUMENT_BYTES_MAX ((size_t)64 * 1024 * 1024)

enum json_event {
    JSON_EVENT_NULL,
    JSON_EVENT_FALSE,
    JSON_EVENT_TRUE,
    JSON_EVENT_NUMBER, /* text: the number's own characters */
    JSON_EVENT_STRING, /* text: decoded; borrowed until the handler returns */
    JSON_EVENT_KEY,    /* as JSON_EVENT_STRING */
    JSON_EVENT_OBJECT_BEGIN,
    JSON_EVENT_OBJECT_END,
    JSON_EVENT_ARRAY_BEGIN,
    JSON_EVENT_ARRAY_END
};

/* `depth` counts the containers around the event (0 for the document's own value; a container's begin and
 * end carry the depth around it). `text` of an event for which none is named above is its token. A text that
 * points into the document had no escapes; its offset is then text.data - document.data. A status other than
 * STATUS_OK stops the reader, which returns it. Events come before the document is known to be valid (a
 * repeated key of a large object shows at the object's end): act on them once json_read has returned. */
typedef enum status json_handler(void *context, enum json_event event, struct slice text, unsigned depth,
                                 struct error *error);

struct json_reader;

struct json_reader *json_reader_new(void);
void json_reader_free(struct json_reader *reader);

NODISCARD enum status json_read(struct json_reader *reader, struct slice document, json_handler *handler,
                                void *context, struct error *error);

/* For the handler, while it runs: the event's own bytes in the document, a string's with its quotes. */
struct slice json_reader_token(const struct json_reader *reader);

/* After json_read returned STATUS_OK: json_is_minified's answer for that document, at no cost. */
bool json_reader_was_minified(const struct json_reader *reader);

/* True if there is no white space outside strings. Meaningful for valid documents only. */
bool json_is_minified(struct slice document);

struct buffer;
/* Appends the document without the white space outside strings. The document must be valid, or a run of
 * whole tokens of a valid one; of anything else some bytes are appended, never more than it has. */
void json_minify(struct slice document, struct buffer *target);

/* A convenience for small documents (requests, settings, tests): the decoded string or the raw number or
 * the raw text of the value at `path`, e.g. "meta.lastUpdated" or "output.0.url" ("": the document's own
 * value); appended to `target`. STATUS_NOT_FOUND if there is none. Parses the whole document at each call. */
NODISCARD enum status json_find(struct json_reader *reader, struct slice document, const char *path,
                                struct buffer *target, struct error *error);

#endif
