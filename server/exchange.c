#include "server/exchange.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool request_field(struct exchange *exchange, const char *name, struct slice *ret_value)
{
    const struct request *request = &exchange->request;
    size_t name_size = strlen(name);
    const struct http_field *first = NULL;
    size_t count = 0, joined_size = 0;
    for (size_t i = 0; i < request->field_count; i++) {
        const struct http_field *field = &request->fields[i];
        if (field->name.size != name_size || strncasecmp(field->name.data, name, name_size) != 0)
            continue;
        if (count++ == 0)
            first = field;
        joined_size += field->value.size + 2;
    }
    if (count == 0)
        return false;
    if (count == 1) {
        *ret_value = first->value;
        return true;
    }
    char *joined = arena_alloc(&exchange->arena, joined_size);
    char *at = joined;
    for (const struct http_field *field = first; field < request->fields + request->field_count; field++) {
        if (field->name.size != name_size || strncasecmp(field->name.data, name, name_size) != 0)
            continue;
        memcpy(at, field->value.data, field->value.size);
        memcpy(at + field->value.size, ", ", 2);
        at += field->value.size + 2;
    }
    *ret_value = slice_make(joined, joined_size - 2);
    return true;
}

/* A line break in a field would let its sender write fields, or a whole answer, of his own. */
static void check_field_text(const char *text, size_t size)
{
    CHECK(!memchr(text, '\r', size) && !memchr(text, '\n', size) && !memchr(text, '\0', size));
}

void reply_field(struct reply *reply, const char *name, const char *value)
{
    size_t name_size = strlen(name), value_size = strlen(value);
    CHECK(name_size > 0);
    check_field_text(name, name_size);
    check_field_text(value, value_size);
    char *line = buffer_extend(&reply->fields, name_size + value_size + 4);
    memcpy(line, name, name_size);
    memcpy(line + name_size, ": ", 2);
    memcpy(line + name_size + 2, value, value_size);
    memcpy(line + name_size + 2 + value_size, "\r\n", 2);
}

void reply_fieldf(struct reply *reply, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *value = NULL;
    CHECK(vasprintf(&value, format, args) >= 0);
    va_end(args);
    reply_field(reply, name, value);
    mem_free(value);
}
