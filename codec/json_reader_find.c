#include "codec/base/buffer.h"
#include "codec/json_reader.h"

#include <stdio.h>

struct json_search {
    const struct json_reader *reader;
    const char *path; /* what is left of it; NULL: nothing */
    unsigned depth;   /* of the values among which the next part of the path names one */
    size_t index;     /* of the next such value, if they are an array's */
    bool in_array;
    bool at_key; /* the next value belongs to the key that the path names */
    bool done;   /* found, or certain not to come */
    bool found;
    const char *container; /* found and still open: where it begins */
    struct buffer *target;
};

/* Whether the next part of the path is `name`. */
static bool json_search_names(const struct json_search *search, struct slice name)
{
    return slice_equal(slice_make(search->path, strcspn(search->path, ".")), name);
}

static bool json_search_names_index(const struct json_search *search, size_t index)
{
    char number[24];
    int size = snprintf(number, sizeof number, "%zu", index);
    return json_search_names(search, slice_make(number, (size_t)size));
}

static void json_search_next_part(struct json_search *search)
{
    const char *dot = strchr(search->path, '.');
    search->path = dot ? dot + 1 : NULL;
}

/* A value that lies on the path. */
static void json_search_enter(struct json_search *search, enum json_event event, struct slice text)
{
    bool container = event == JSON_EVENT_OBJECT_BEGIN || event == JSON_EVENT_ARRAY_BEGIN;
    if (!search->path) {
        search->found = true;
        search->done = !container;
        if (container)
            search->container = json_reader_token(search->reader).data;
        else
            buffer_append_slice(search->target, text);
    } else if (container) {
        search->depth++;
        search->in_array = event == JSON_EVENT_ARRAY_BEGIN;
        search->index = 0;
        search->at_key = false;
    } else {
        search->done = true;
    }
}

static enum status json_search_event(void *context, enum json_event event, struct slice text, unsigned depth,
                                     struct error *error)
{
    (void)error;
    struct json_search *search = context;
    if (search->done || depth > search->depth)
        return STATUS_OK;
    if (depth < search->depth) { /* the end of the container that should have held it */
        search->done = true;
        return STATUS_OK;
    }
    switch (event) {
    case JSON_EVENT_KEY:
        search->at_key = !search->container && json_search_names(search, text);
        return STATUS_OK;
    case JSON_EVENT_OBJECT_END:
    case JSON_EVENT_ARRAY_END:
        if (search->container) {
            struct slice token = json_reader_token(search->reader);
            buffer_append(search->target, search->container,
                          (size_t)(token.data + token.size - search->container));
            search->done = true;
        }
        return STATUS_OK;
    default:
        break;
    }
    bool on_path = true;
    if (depth > 0) {
        on_path = search->in_array ? json_search_names_index(search, search->index++) : search->at_key;
        if (on_path)
            json_search_next_part(search);
    }
    if (on_path)
        json_search_enter(search, event, text);
    return STATUS_OK;
}

enum status json_find(struct json_reader *reader, struct slice document, const char *path,
                      struct buffer *target, struct error *error)
{
    size_t size_before = target->size;
    struct json_search search = {.reader = reader, .path = *path ? path : NULL, .target = target};
    enum status status = json_read(reader, document, json_search_event, &search, error);
    if (status == STATUS_OK && !search.found)
        status = error_set(error, STATUS_NOT_FOUND, "the document has no \"%s\"", path);
    if (status != STATUS_OK)
        target->size = size_before;
    return status;
}
