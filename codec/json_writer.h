/*
 * JSON out: yajl's generator behind a small face. Minified, keys in the order they are written.
 *
 * The writer appends to a buffer of the caller. Strings are valid UTF-8 (CHECKed: text from outside is
 * checked by whoever let it in). Begin/end pairs must match, keys and values alternate, at most 64 levels
 * (CHECKed). `/` is not escaped; `<`, `>` and `&` are written as they are.
 *
 * Threading: one thread at a time.
 */
#ifndef CODEC_JSON_WRITER_H
#define CODEC_JSON_WRITER_H

#include "codec/base/buffer.h"

#include <stdint.h>

struct json_writer;

struct json_writer *json_writer_new(struct buffer *target); /* borrows target until json_writer_free */
void json_writer_free(struct json_writer *writer);

void json_object_begin(struct json_writer *writer);
void json_object_end(struct json_writer *writer);
void json_array_begin(struct json_writer *writer);
void json_array_end(struct json_writer *writer);
void json_key(struct json_writer *writer, const char *key);
void json_string(struct json_writer *writer, struct slice text);
void json_text(struct json_writer *writer, const char *text); /* a NUL-terminated string */
void json_number(struct json_writer *writer, int64_t number);
void json_number_text(struct json_writer *writer, struct slice text); /* as it stands */
void json_bool(struct json_writer *writer, bool value);
void json_null(struct json_writer *writer);

/* Key and value in one call, for the documents. */
void json_member_text(struct json_writer *writer, const char *key, const char *text);
void json_member_string(struct json_writer *writer, const char *key, struct slice text);
void json_member_number(struct json_writer *writer, const char *key, int64_t number);
void json_member_bool(struct json_writer *writer, const char *key, bool value);

/* The document is complete (CHECKed) and all of it in the target; the writer may begin another one. */
void json_writer_finish(struct json_writer *writer);

#endif
