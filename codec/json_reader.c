#include "codec/json_reader.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/json_memory.h"
#include "codec/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

/* Up to here each new key of an object is compared with those before it; above, the keys are sorted when
 * the object ends. Both are cheap, and no input makes the time quadratic. */
#define KEYS_COMPARED_MAX 32
/* Of all open objects together: room for so many at first. A reader that met a document with very many gives
 * that memory back. */
#define KEYS_EXPECTED           256
#define KEYS_KEPT_MAX           4096
#define DECODED_KEYS_KEPT_BYTES ((size_t)64 * 1024)

struct json_key_seen {
    uint64_t mark; /* differs for most keys that differ */
    uint32_t offset;
    uint32_t size;
    uint32_t token_begin;
    bool decoded; /* offset is one in decoded_keys, else in the document */
};

struct json_frame {
    size_t first_key; /* of this object */
    size_t decoded_keys_size;
};

struct json_reader {
    struct slice document;
    json_handler *handler;
    void *context;
    struct error *error;
    yajl_handle yajl;
    enum status status; /* why a callback stopped yajl */
    bool finishing;     /* inside yajl_complete_parse, which counts bytes from its own begin */
    bool white_space;
    unsigned depth;
    size_t token_begin;
    size_t token_end;
    size_t next_begin; /* where the next token begins if no white space stands before it */
    struct json_frame frames[JSON_DEPTH_MAX];
    struct json_key_seen *keys; /* of all open objects */
    size_t key_count;
    size_t key_capacity;
    struct buffer decoded_keys;
};

static void json_set_key_capacity(struct json_reader *reader, size_t capacity)
{
    reader->key_capacity = capacity;
    reader->keys = mem_realloc(reader->keys, capacity * sizeof *reader->keys);
}

struct json_reader *json_reader_new(void)
{
    struct json_reader *reader = mem_new(struct json_reader);
    json_set_key_capacity(reader, KEYS_EXPECTED);
    return reader;
}

void json_reader_free(struct json_reader *reader)
{
    if (!reader)
        return;
    mem_free(reader->keys);
    buffer_release(&reader->decoded_keys);
    mem_free(reader);
}

struct slice json_reader_token(const struct json_reader *reader)
{
    return slice_make(reader->document.data + reader->token_begin, reader->token_end - reader->token_begin);
}

bool json_reader_was_minified(const struct json_reader *reader)
{
    return !reader->white_space;
}

/* Returns 0, which stops yajl. */
static int json_fail(struct json_reader *reader, enum status status, size_t offset, const char *problem)
{
    reader->status = error_set(reader->error, status, "at byte %zu: %s", offset, problem);
    return 0;
}

static size_t json_consumed(const struct json_reader *reader)
{
    return reader->finishing ? reader->document.size : yajl_get_bytes_consumed(reader->yajl);
}

static inline bool json_is_in_document(const struct json_reader *reader, const char *data)
{
    return (uintptr_t)data - (uintptr_t)reader->document.data < reader->document.size;
}

static inline int json_emit(struct json_reader *reader, enum json_event event, struct slice text)
{
    enum status status = reader->handler(reader->context, event, text, reader->depth, reader->error);
    if (__builtin_expect(status == STATUS_OK, 1))
        return 1;
    reader->status = status;
    return 0;
}

/* `separator`: whether the token is followed by one. It is not always, but then an end follows, which
 * does not look at next_begin. */
static inline void json_set_token(struct json_reader *reader, size_t begin, size_t end, size_t separator)
{
    reader->white_space |= begin != reader->next_begin;
    reader->token_begin = begin;
    reader->token_end = end;
    reader->next_begin = end + separator;
}

static int json_on_word(struct json_reader *reader, enum json_event event, size_t size)
{
    size_t end = json_consumed(reader);
    json_set_token(reader, end - size, end, 1);
    return json_emit(reader, event, json_reader_token(reader));
}

static int json_on_null(void *context)
{
    return json_on_word(context, JSON_EVENT_NULL, 4);
}

static int json_on_boolean(void *context, int value)
{
    return value ? json_on_word(context, JSON_EVENT_TRUE, 4) : json_on_word(context, JSON_EVENT_FALSE, 5);
}

static int json_on_number(void *context, const char *data, size_t size)
{
    struct json_reader *reader = context;
    /* A number that ends the document is a copy in yajl's memory. */
    size_t begin = reader->finishing ? reader->document.size - size : (size_t)(data - reader->document.data);
    json_set_token(reader, begin, begin + size, 1);
    return json_emit(reader, JSON_EVENT_NUMBER, json_reader_token(reader));
}

static int json_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return (c | 0x20) - 'a' + 10; /* yajl let only hexadecimal digits through */
}

static unsigned json_hex4(const char *at)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | (unsigned)json_hex_digit(at[i]);
    return value;
}

/* yajl decodes a lone surrogate to "?" or to three bytes that are not UTF-8. */
static bool json_check_escapes(struct json_reader *reader, size_t begin, size_t end)
{
    const char *data = reader->document.data;
    const char *stop = data + end;
    const char *at = data + begin;
    while ((at = memchr(at, '\\', (size_t)(stop - at)))) {
        if (at[1] != 'u') {
            at += 2;
            continue;
        }
        unsigned unit = json_hex4(at + 2);
        size_t offset = (size_t)(at - data);
        at += 6;
        if (unit < 0xD800 || unit > 0xDFFF)
            continue;
        bool pair = unit <= 0xDBFF && stop - at >= 6 && at[0] == '\\' && at[1] == 'u' &&
                    (json_hex4(at + 2) & 0xFC00) == 0xDC00;
        if (!pair) {
            json_fail(reader, STATUS_INVALID, offset, "half of a surrogate pair stands alone in an escape");
            return false;
        }
        at += 6;
    }
    return true;
}

static inline bool json_set_string(struct json_reader *reader, const char *data, size_t size)
{
    if (__builtin_expect(json_is_in_document(reader, data), 1)) {
        size_t begin = (size_t)(data - reader->document.data) - 1;
        json_set_token(reader, begin, begin + size + 2, 1);
        return true;
    }
    size_t begin = reader->next_begin;
    while (reader->document.data[begin] != '"')
        begin++;
    json_set_token(reader, begin, json_consumed(reader), 1);
    return json_check_escapes(reader, begin + 1, reader->token_end - 1);
}

static int json_on_string(void *context, const unsigned char *data, size_t size)
{
    struct json_reader *reader = context;
    struct slice text = {(const char *)data, size};
    return json_set_string(reader, text.data, size) && json_emit(reader, JSON_EVENT_STRING, text);
}

/* Not a hash that an attacker could not steer, and it need not be one: a mark that repeats costs a memcmp
 * among at most KEYS_COMPARED_MAX keys, or none more than sorting does. */
static inline uint64_t json_key_mark(struct slice key)
{
    uint64_t first = 0, last = 0;
    if (key.size >= 8) {
        memcpy(&first, key.data, 8);
        memcpy(&last, key.data + key.size - 8, 8);
    } else if (key.size >= 4) {
        memcpy(&first, key.data, 4);
        memcpy(&last, key.data + key.size - 4, 4);
    } else if (key.size > 0) {
        first = (unsigned char)key.data[0];
        last = (uint64_t)(unsigned char)key.data[key.size / 2] << 8 | (unsigned char)key.data[key.size - 1];
    }
    return (first ^ (last << 29 | last >> 35)) + key.size * UINT64_C(0x9E3779B97F4A7C15);
}

static struct slice json_key_text(const struct json_reader *reader, const struct json_key_seen *key)
{
    const char *base = key->decoded ? reader->decoded_keys.data : reader->document.data;
    return slice_make(base + key->offset, key->size);
}

static bool json_fail_repeated(struct json_reader *reader, const struct json_key_seen *key)
{
    char excerpt[UTF8_EXCERPT_SIZE];
    reader->status = error_set(reader->error, STATUS_INVALID, "at byte %u: the key \"%s\" is repeated",
                               key->token_begin, utf8_excerpt(json_key_text(reader, key), excerpt));
    return false;
}

static inline bool json_remember_key(struct json_reader *reader, struct slice text)
{
    size_t first = reader->frames[reader->depth - 1].first_key;
    if (__builtin_expect(reader->key_count == reader->key_capacity, 0))
        json_set_key_capacity(reader, reader->key_capacity * 2);
    struct json_key_seen *key = &reader->keys[reader->key_count];
    key->mark = json_key_mark(text);
    key->size = (uint32_t)text.size;
    key->token_begin = (uint32_t)reader->token_begin;
    key->decoded = !json_is_in_document(reader, text.data);
    if (key->decoded) {
        key->offset = (uint32_t)reader->decoded_keys.size;
        buffer_append_slice(&reader->decoded_keys, text);
    } else {
        key->offset = (uint32_t)(text.data - reader->document.data);
    }
    if (reader->key_count++ - first >= KEYS_COMPARED_MAX)
        return true;
    for (const struct json_key_seen *other = reader->keys + first; other < key; other++)
        if (__builtin_expect(other->mark == key->mark, 0) &&
            slice_equal(json_key_text(reader, other), json_key_text(reader, key)))
            return json_fail_repeated(reader, key);
    return true;
}

static int json_compare_keys(const void *a, const void *b, void *context)
{
    const struct json_key_seen *left = a, *right = b;
    if (left->mark != right->mark)
        return left->mark < right->mark ? -1 : 1;
    int order = slice_compare(json_key_text(context, left), json_key_text(context, right));
    if (order)
        return order;
    return left->token_begin < right->token_begin ? -1 : 1;
}

/* Checks the keys of an object that ends and forgets them. */
static bool json_check_keys(struct json_reader *reader)
{
    const struct json_frame *frame = &reader->frames[reader->depth];
    struct json_key_seen *keys = reader->keys + frame->first_key;
    size_t count = reader->key_count - frame->first_key;
    if (count > KEYS_COMPARED_MAX) {
        qsort_r(keys, count, sizeof *keys, json_compare_keys, reader);
        for (size_t i = 1; i < count; i++)
            if (keys[i].mark == keys[i - 1].mark &&
                slice_equal(json_key_text(reader, &keys[i]), json_key_text(reader, &keys[i - 1])))
                return json_fail_repeated(reader, &keys[i]);
    }
    reader->key_count = frame->first_key;
    reader->decoded_keys.size = frame->decoded_keys_size;
    return true;
}

static int json_on_key(void *context, const unsigned char *data, size_t size)
{
    struct json_reader *reader = context;
    struct slice text = {(const char *)data, size};
    return json_set_string(reader, text.data, size) && json_remember_key(reader, text) &&
           json_emit(reader, JSON_EVENT_KEY, text);
}

static int json_on_begin(struct json_reader *reader, enum json_event event)
{
    size_t end = json_consumed(reader);
    json_set_token(reader, end - 1, end, 0);
    if (reader->depth == JSON_DEPTH_MAX) {
        reader->status =
            error_set(reader->error, STATUS_TOO_LARGE, "at byte %zu: nested deeper than %d levels",
                      reader->token_begin, JSON_DEPTH_MAX);
        return 0;
    }
    if (!json_emit(reader, event, json_reader_token(reader)))
        return 0;
    reader->frames[reader->depth++] = (struct json_frame){reader->key_count, reader->decoded_keys.size};
    return 1;
}

static int json_on_end(struct json_reader *reader, enum json_event event)
{
    size_t end = json_consumed(reader);
    reader->next_begin = reader->token_end;
    json_set_token(reader, end - 1, end, 1);
    reader->depth--;
    if (event == JSON_EVENT_OBJECT_END && !json_check_keys(reader))
        return 0;
    return json_emit(reader, event, json_reader_token(reader));
}

static int json_on_object_begin(void *context)
{
    return json_on_begin(context, JSON_EVENT_OBJECT_BEGIN);
}

static int json_on_object_end(void *context)
{
    return json_on_end(context, JSON_EVENT_OBJECT_END);
}

static int json_on_array_begin(void *context)
{
    return json_on_begin(context, JSON_EVENT_ARRAY_BEGIN);
}

static int json_on_array_end(void *context)
{
    return json_on_end(context, JSON_EVENT_ARRAY_END);
}

static const yajl_callbacks json_callbacks = {
    .yajl_null = json_on_null,
    .yajl_boolean = json_on_boolean,
    .yajl_number = json_on_number, /* in its place yajl would convert to double, and lose digits */
    .yajl_string = json_on_string,
    .yajl_start_map = json_on_object_begin,
    .yajl_map_key = json_on_key,
    .yajl_end_map = json_on_object_end,
    .yajl_start_array = json_on_array_begin,
    .yajl_end_array = json_on_array_end,
};

/* What yajl says is wrong, without quoting the document as its verbose form would. */
static enum status json_fail_as_yajl(struct json_reader *reader)
{
    unsigned char *message = yajl_get_error(reader->yajl, 0, NULL, 0);
    size_t size = message ? strcspn((const char *)message, "\n") : 0;
    enum status status = error_set(reader->error, STATUS_INVALID, "at byte %zu: %.*s", json_consumed(reader),
                                   (int)size, message ? (const char *)message : "");
    yajl_free_error(reader->yajl, message);
    return status;
}

/* Of a document that yajl has accepted and that has white space, or what yajl took for such. */
static bool json_check_white_space(struct json_reader *reader)
{
    struct slice document = reader->document;
    /* yajl takes no notice of a string behind the value if the document ends inside of it. */
    size_t behind = reader->token_end;
    while (behind < document.size && memchr(" \t\n\r\v\f", document.data[behind], 6))
        behind++;
    if (behind < document.size)
        return json_fail(reader, STATUS_INVALID, behind, "parse error: trailing garbage");
    /* It takes vertical tab and form feed for white space; RFC 8259 section 2 does not. Inside strings it
     * refuses them, so any of them is wrong. */
    for (const char *bad = "\v\f"; *bad; bad++) {
        const char *found = memchr(document.data, *bad, document.size);
        if (found)
            return json_fail(reader, STATUS_INVALID, (size_t)(found - document.data),
                             "lexical error: invalid char in json text.");
    }
    return true;
}

static void json_trim(struct json_reader *reader)
{
    if (reader->key_capacity > KEYS_KEPT_MAX)
        json_set_key_capacity(reader, KEYS_EXPECTED);
    if (reader->decoded_keys.capacity > DECODED_KEYS_KEPT_BYTES)
        buffer_release(&reader->decoded_keys);
}

enum status json_read(struct json_reader *reader, struct slice document, json_handler *handler, void *context,
                      struct error *error)
{
    CHECK(!reader->yajl); /* a handler must not read with the reader that calls it */
    if (document.size > JSON_DOCUMENT_BYTES_MAX)
        return error_set(error, STATUS_TOO_LARGE, "at byte %zu: the document is longer than that",
                         JSON_DOCUMENT_BYTES_MAX);
    size_t valid = utf8_valid_size(document);
    if (valid < document.size)
        return error_set(error, STATUS_INVALID, "at byte %zu: not UTF-8", valid);

    reader->document = document.size ? document : SLICE_LITERAL("");
    reader->handler = handler;
    reader->context = context;
    reader->error = error;
    reader->status = STATUS_OK;
    reader->finishing = false;
    reader->white_space = false;
    reader->depth = 0;
    reader->token_begin = reader->token_end = reader->next_begin = 0;
    reader->key_count = 0;
    buffer_reset(&reader->decoded_keys);

    reader->yajl = yajl_alloc(&json_callbacks, &json_yajl_memory, reader);
    CHECK(reader->yajl);
    /* Its own check of UTF-8 is slower and weaker than the one above. */
    CHECK(yajl_config(reader->yajl, yajl_dont_validate_strings, 1));
    yajl_status result =
        yajl_parse(reader->yajl, (const unsigned char *)reader->document.data, reader->document.size);
    if (result == yajl_status_ok) {
        reader->finishing = true;
        result = yajl_complete_parse(reader->yajl);
    }
    enum status status = STATUS_OK;
    if (result == yajl_status_client_canceled)
        status = reader->status;
    else if (result != yajl_status_ok)
        status = json_fail_as_yajl(reader);
    yajl_free(reader->yajl);
    reader->yajl = NULL;
    reader->white_space |= reader->token_end != document.size;
    if (status == STATUS_OK && reader->white_space && !json_check_white_space(reader))
        status = reader->status;
    json_trim(reader);
    return status;
}
