#include "codec/json_writer.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/json_memory.h"
#include "codec/utf8.h"

#include <yajl/yajl_gen.h>

#define WRITER_DEPTH_MAX 64

struct json_writer {
    yajl_gen yajl;
    struct buffer *target;
    unsigned depth;
    uint64_t objects; /* bit n: the container at depth n is an object */
    bool has_key;     /* and waits for its value */
    bool has_value;   /* the document's own */
};

static void json_print(void *context, const char *data, size_t size)
{
    struct json_writer *writer = context;
    buffer_append(writer->target, data, size);
}

struct json_writer *json_writer_new(struct buffer *target)
{
    struct json_writer *writer = mem_new(struct json_writer);
    writer->target = target;
    writer->yajl = yajl_gen_alloc(&json_yajl_memory);
    CHECK(writer->yajl);
    /* Straight into the target: yajl's own buffer would be a second copy. */
    CHECK(yajl_gen_config(writer->yajl, yajl_gen_print_callback, json_print, writer));
    return writer;
}

void json_writer_free(struct json_writer *writer)
{
    if (!writer)
        return;
    yajl_gen_free(writer->yajl);
    mem_free(writer);
}

/* What would be no JSON is a fault of the caller's code. yajl sees some of it (it takes a string for a key,
 * and an array's end for an object's), so the nesting is checked here. */
static void json_require(yajl_gen_status status)
{
    CHECK(status == yajl_gen_status_ok);
}

static bool json_is_in_object(const struct json_writer *writer)
{
    return writer->depth > 0 && (writer->objects >> (writer->depth - 1) & 1);
}

static void json_begin_value(struct json_writer *writer)
{
    if (writer->depth == 0)
        CHECK(!writer->has_value); /* one value a document */
    else if (json_is_in_object(writer))
        CHECK(writer->has_key);
    writer->has_key = false;
    writer->has_value = true;
}

static void json_begin_container(struct json_writer *writer, bool object)
{
    json_begin_value(writer);
    CHECK(writer->depth < WRITER_DEPTH_MAX);
    uint64_t bit = UINT64_C(1) << writer->depth++;
    writer->objects = object ? writer->objects | bit : writer->objects & ~bit;
}

static void json_end_container(struct json_writer *writer, bool object)
{
    CHECK(writer->depth > 0 && json_is_in_object(writer) == object && !writer->has_key);
    writer->depth--;
}

void json_object_begin(struct json_writer *writer)
{
    json_begin_container(writer, true);
    json_require(yajl_gen_map_open(writer->yajl));
}

void json_object_end(struct json_writer *writer)
{
    json_end_container(writer, true);
    json_require(yajl_gen_map_close(writer->yajl));
}

void json_array_begin(struct json_writer *writer)
{
    json_begin_container(writer, false);
    json_require(yajl_gen_array_open(writer->yajl));
}

void json_array_end(struct json_writer *writer)
{
    json_end_container(writer, false);
    json_require(yajl_gen_array_close(writer->yajl));
}

static void json_put_string(struct json_writer *writer, struct slice text)
{
    CHECK(utf8_is_valid(text));
    json_require(yajl_gen_string(writer->yajl, (const unsigned char *)text.data, text.size));
}

void json_key(struct json_writer *writer, const char *key)
{
    CHECK(json_is_in_object(writer) && !writer->has_key);
    writer->has_key = true;
    json_put_string(writer, slice_from_text(key));
}

void json_string(struct json_writer *writer, struct slice text)
{
    json_begin_value(writer);
    json_put_string(writer, text);
}

void json_text(struct json_writer *writer, const char *text)
{
    json_string(writer, slice_from_text(text));
}

void json_number(struct json_writer *writer, int64_t number)
{
    json_begin_value(writer);
    json_require(yajl_gen_integer(writer->yajl, number));
}

void json_number_text(struct json_writer *writer, struct slice text)
{
    json_begin_value(writer);
    json_require(yajl_gen_number(writer->yajl, text.data, text.size));
}

void json_bool(struct json_writer *writer, bool value)
{
    json_begin_value(writer);
    json_require(yajl_gen_bool(writer->yajl, value));
}

void json_null(struct json_writer *writer)
{
    json_begin_value(writer);
    json_require(yajl_gen_null(writer->yajl));
}

void json_member_text(struct json_writer *writer, const char *key, const char *text)
{
    json_key(writer, key);
    json_text(writer, text);
}

void json_member_string(struct json_writer *writer, const char *key, struct slice text)
{
    json_key(writer, key);
    json_string(writer, text);
}

void json_member_number(struct json_writer *writer, const char *key, int64_t number)
{
    json_key(writer, key);
    json_number(writer, number);
}

void json_member_bool(struct json_writer *writer, const char *key, bool value)
{
    json_key(writer, key);
    json_bool(writer, value);
}

void json_writer_finish(struct json_writer *writer)
{
    CHECK(writer->depth == 0 && writer->has_value);
    writer->has_value = false;
    yajl_gen_reset(writer->yajl, NULL);
}
