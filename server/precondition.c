#include "server/precondition.h"

#include "codec/base/clock.h"
#include "codec/instant.h"

#include <strings.h>

static bool is_present(struct slice field)
{
    return field.data != NULL;
}

/* The next entity tag of a list (RFC 9110 section 8.8.3). Not field_list_next: a tag may hold commas. */
static bool next_tag(struct slice *rest, bool *ret_weak, struct slice *ret_tag)
{
    while (rest->size && (rest->data[0] == ' ' || rest->data[0] == '\t' || rest->data[0] == ','))
        *rest = slice_skip(*rest, 1);
    *ret_weak = slice_starts_with(*rest, SLICE_LITERAL("W/"));
    if (*ret_weak)
        *rest = slice_skip(*rest, 2);
    if (!rest->size || rest->data[0] != '"')
        return false;
    const char *end = memchr(rest->data + 1, '"', rest->size - 1);
    if (!end)
        return false;
    *ret_tag = slice_make(rest->data, (size_t)(end - rest->data) + 1);
    *rest = slice_skip(*rest, ret_tag->size);
    return true;
}

/* `weakly`: W/"x" matches "x" too (RFC 9110 section 8.8.3.2). */
static bool tags_match(struct slice field, struct slice etag, bool weakly)
{
    if (slice_equal_text(field, "*"))
        return true;
    struct slice tag;
    bool is_weak;
    while (next_tag(&field, &is_weak, &tag)) {
        if ((weakly || !is_weak) && slice_equal(tag, etag))
            return true;
    }
    return false;
}

/* Last-Modified has whole seconds. */
static int64_t modified_second_us(const struct representation *representation)
{
    return representation->modified_us - representation->modified_us % US_PER_SECOND;
}

/* A date that cannot be read is no date: false. */
static bool was_modified_after(struct slice date, const struct representation *representation,
                               bool *ret_after)
{
    int64_t date_us;
    if (!is_present(date) || http_date_parse(date, &date_us, NULL) != STATUS_OK)
        return false;
    *ret_after = modified_second_us(representation) > date_us;
    return true;
}

/* If-Range (section 13.1.5): a strong tag, or the exact date. */
static bool range_applies(struct slice if_range, const struct representation *representation)
{
    if (!is_present(if_range))
        return true;
    if (if_range.size && if_range.data[0] == '"')
        return slice_equal(if_range, representation->etag);
    int64_t date_us;
    return http_date_parse(if_range, &date_us, NULL) == STATUS_OK &&
           date_us == modified_second_us(representation);
}

/* 1*DIGIT; larger than any length becomes UINT64_MAX. */
static bool take_number(struct slice *rest, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t digits = 0;
    for (; rest->size && rest->data[0] >= '0' && rest->data[0] <= '9'; digits++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(rest->data[0] - '0'), &number))
            number = UINT64_MAX; /* and so it stays */
        *rest = slice_skip(*rest, 1);
    }
    *ret_number = number;
    return digits > 0;
}

enum one_range { RANGE_GOOD, RANGE_OUTSIDE, RANGE_MALFORMED };

/* first "-" [last], or "-" suffix (section 14.1.1). */
static enum one_range parse_range(struct slice text, uint64_t bytes, struct byte_range *ret_range)
{
    uint64_t first = 0, last = UINT64_MAX;
    bool has_first = take_number(&text, &first);
    if (!text.size || text.data[0] != '-')
        return RANGE_MALFORMED;
    text = slice_skip(text, 1);
    bool has_last = take_number(&text, &last);
    if (text.size || (!has_first && !has_last))
        return RANGE_MALFORMED;
    if (!has_first) {
        if (last == 0)
            return RANGE_OUTSIDE;
        *ret_range = (struct byte_range){last < bytes ? bytes - last : 0, bytes};
        return RANGE_GOOD;
    }
    if (has_last && last < first)
        return RANGE_MALFORMED;
    if (first >= bytes)
        return RANGE_OUTSIDE;
    *ret_range = (struct byte_range){first, has_last && last < bytes - 1 ? last + 1 : bytes};
    return RANGE_GOOD;
}

static struct slice trimmed(struct slice text)
{
    while (text.size && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = slice_skip(text, 1);
    while (text.size && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

static enum precondition parse_ranges(struct slice field, uint64_t bytes,
                                      struct byte_range ranges[RANGES_MAX], size_t *ret_count)
{
    static const struct slice unit = {"bytes=", 6};
    size_t count = 0, named = 0;
    uint64_t sum = 0;
    if (field.size < unit.size || strncasecmp(field.data, unit.data, unit.size) != 0)
        return PRECONDITION_WHOLE; /* another unit: ignored */
    struct slice rest = slice_skip(field, unit.size);
    while (rest.size) {
        const char *comma = memchr(rest.data, ',', rest.size);
        struct slice one = trimmed(slice_make(rest.data, comma ? (size_t)(comma - rest.data) : rest.size));
        rest = slice_skip(rest, comma ? (size_t)(comma - rest.data) + 1 : rest.size);
        if (!one.size)
            continue; /* an empty list element counts for nothing (section 5.6.1.2) */
        struct byte_range range;
        enum one_range kind = parse_range(one, bytes, &range);
        if (kind == RANGE_MALFORMED || ++named > RANGES_MAX)
            return PRECONDITION_WHOLE;
        if (kind == RANGE_GOOD) {
            sum += range.end - range.begin; /* RANGES_MAX times the length of a file at most */
            ranges[count++] = range;
        }
    }
    /* Ranges that overlap so much that they are more than the whole are a mistake or an attack
     * (section 14.2). */
    if (!named || sum > bytes)
        return PRECONDITION_WHOLE;
    *ret_count = count;
    return count ? PRECONDITION_PARTIAL : PRECONDITION_UNSATISFIABLE;
}

enum precondition precondition_check(const struct precondition_fields *fields,
                                     const struct representation *representation,
                                     struct byte_range ret_ranges[RANGES_MAX], size_t *ret_count)
{
    bool after;
    *ret_count = 0;
    if (is_present(fields->if_match)) {
        if (!tags_match(fields->if_match, representation->etag, false))
            return PRECONDITION_FAILED;
    } else if (was_modified_after(fields->if_unmodified_since, representation, &after) && after) {
        return PRECONDITION_FAILED;
    }
    if (is_present(fields->if_none_match)) {
        if (tags_match(fields->if_none_match, representation->etag, true))
            return PRECONDITION_NOT_MODIFIED;
    } else if (was_modified_after(fields->if_modified_since, representation, &after) && !after) {
        return PRECONDITION_NOT_MODIFIED;
    }
    if (!is_present(fields->range) || !range_applies(fields->if_range, representation))
        return PRECONDITION_WHOLE;
    return parse_ranges(fields->range, representation->bytes, ret_ranges, ret_count);
}
