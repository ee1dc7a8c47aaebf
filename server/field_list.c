#include "server/field_list.h"

#include <strings.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
    while (s.size && is_space(s.data[0]))
        s = slice_skip(s, 1);
    while (s.size && is_space(s.data[s.size - 1]))
        s.size--;
    return s;
}

/* Cuts the bytes before the first `separator` outside quotes from the front of *rest, and the separator. */
static struct slice cut(struct slice *rest, char separator)
{
    bool quoted = false;
    size_t at = 0;
    for (; at < rest->size; at++) {
        char c = rest->data[at];
        if (quoted && c == '\\')
            at++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && c == separator)
            break;
    }
    if (at > rest->size) /* a backslash was last */
        at = rest->size;
    struct slice front = {rest->data, at};
    *rest = slice_skip(*rest, at + 1);
    return trim(front);
}

bool field_list_next(struct slice *rest, struct field_item *ret_item)
{
    while (rest->size) {
        struct slice element = cut(rest, ',');
        if (element.size == 0)
            continue;
        ret_item->value = cut(&element, ';');
        ret_item->parameters = element;
        return true;
    }
    return false;
}

bool field_pair_next(struct slice *parameters, struct slice *ret_name, struct slice *ret_value)
{
    while (parameters->size) {
        struct slice pair = cut(parameters, ';');
        if (pair.size == 0)
            continue;
        *ret_name = cut(&pair, '=');
        *ret_value = trim(pair);
        if (ret_value->size >= 2 && ret_value->data[0] == '"' && ret_value->data[ret_value->size - 1] == '"')
            *ret_value = slice_make(ret_value->data + 1, ret_value->size - 2);
        return true;
    }
    return false;
}

/* "0", "0.", "0.5", "1.000": at most three digits behind the point. */
static bool quality_parse(struct slice text, unsigned *ret_quality)
{
    if (text.size == 0 || text.size > 5 || (text.data[0] != '0' && text.data[0] != '1') ||
        (text.size > 1 && text.data[1] != '.'))
        return false;
    unsigned quality = text.data[0] == '1' ? FIELD_QUALITY_MAX : 0, unit = 100;
    for (size_t i = 2; i < text.size; i++, unit /= 10) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        quality += (unsigned)(text.data[i] - '0') * unit;
    }
    if (quality > FIELD_QUALITY_MAX)
        return false;
    *ret_quality = quality;
    return true;
}

bool field_item_quality(const struct field_item *item, unsigned *ret_quality)
{
    struct slice rest = item->parameters, name, value;
    *ret_quality = FIELD_QUALITY_MAX;
    while (field_pair_next(&rest, &name, &value)) {
        if (field_equal(name, "q"))
            return quality_parse(value, ret_quality);
    }
    return true;
}

bool field_equal(struct slice a, const char *text)
{
    return a.size == strlen(text) && strncasecmp(a.data, text, a.size) == 0;
}
