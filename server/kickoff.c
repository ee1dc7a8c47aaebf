#include "server/kickoff.h"

#include "codec/instant.h"
#include "server/field_list.h"
#include "server/query.h"

#include <stdio.h>
#include <stdlib.h>

#define PARTIAL_MANIFESTS  "allowPartialManifests"
#define PARAMETER_NAME_MAX 64 /* bytes of a parameter's name that an answer repeats */

/* Parameters of the Bulk Data guide that do not begin with "_" (those that do are refused anyway). */
static const char *const bulk_parameters[] = {"patient", "includeAssociatedData", "organizeOutputBy",
                                              PARTIAL_MANIFESTS};

struct kickoff_parser {
    const struct kickoff_input *input;
    struct arena *arena;
    struct kickoff *kickoff;
    struct kickoff_problem *problem;
    bool lenient;
};

static bool refuse(struct kickoff_parser *parser, const char *issue_code, enum problem_class class,
                   const char *text)
{
    struct kickoff_problem *problem = parser->problem;
    problem->http_status = 400;
    problem->issue_code = issue_code;
    problem->class = class;
    snprintf(problem->text, sizeof problem->text, "%s", text);
    return false;
}

/* ---- header fields ---- */

static bool accept_admits(struct slice accept)
{
    /* The most specific range that matches decides (RFC 9110 section 12.5.1). */
    static const char *const ranges[] = {"*/*", "application/*", "application/fhir+json"};
    unsigned best = 0, quality_of_best = 0, quality;
    for (struct field_item item; field_list_next(&accept, &item);) {
        if (!field_item_quality(&item, &quality))
            continue;
        for (unsigned i = 0; i < 3; i++) {
            unsigned specificity = i + 1;
            if (!field_equal(item.value, ranges[i]) || specificity < best)
                continue;
            if (specificity > best || quality > quality_of_best)
                quality_of_best = quality;
            best = specificity;
        }
    }
    return quality_of_best > 0;
}

static bool check_accept(struct kickoff_parser *parser)
{
    const struct slice *accept = parser->input->accept;
    if (!accept || accept->size == 0)
        return refuse(parser, "structure", PROBLEM_FORMATTING, "Accept header is required");
    if (!accept_admits(*accept))
        return refuse(parser, "structure", PROBLEM_FORMATTING,
                      "application/fhir+json is the only supported response format");
    return true;
}

static bool check_prefer(struct kickoff_parser *parser)
{
    const struct slice *prefer = parser->input->prefer;
    if (!prefer || prefer->size == 0)
        return refuse(parser, "structure", PROBLEM_FORMATTING, "Prefer header is required");
    bool asynchronous = false, handling = false;
    struct slice rest = *prefer, name, value;
    for (struct field_item item; field_list_next(&rest, &item);) {
        if (!field_pair_next(&item.value, &name, &value))
            continue;
        if (field_equal(name, "respond-async"))
            asynchronous = true;
        if (field_equal(name, "handling") && !handling) { /* the first counts (RFC 7240 section 2) */
            handling = true;
            parser->lenient = field_equal(value, "lenient");
        }
    }
    if (!asynchronous)
        return refuse(parser, "structure", PROBLEM_FORMATTING, "Only asynchronous responses are supported");
    return true;
}

static bool check_group(struct kickoff_parser *parser)
{
    const struct slice *group = parser->input->group;
    if (group && !slice_equal_text(*group, "all"))
        return refuse(parser, "value", PROBLEM_REQUEST, "Invalid group ID");
    snprintf(parser->kickoff->endpoint, sizeof parser->kickoff->endpoint, "%s",
             group ? "Group/all" : "Patient");
    return true;
}

/* ---- parameters ---- */

/* The next pair, decoded. What cannot be decoded stays as it is, and then fails its own check. */
static bool parameter_next(struct kickoff_parser *parser, struct slice *rest, struct slice *ret_name,
                           struct slice *ret_value)
{
    struct slice name, value;
    if (!query_next(rest, &name, &value))
        return false;
    if (query_decode(name, parser->arena, true, ret_name) != STATUS_OK)
        *ret_name = name;
    if (query_decode(value, parser->arena, true, ret_value) != STATUS_OK)
        *ret_value = value;
    return true;
}

static bool next_of(struct kickoff_parser *parser, const char *wanted, struct slice *rest,
                    struct slice *ret_value)
{
    struct slice name;
    while (parameter_next(parser, rest, &name, ret_value)) {
        if (slice_equal_text(name, wanted))
            return true;
    }
    return false;
}

static bool has_type(const struct kickoff *kickoff, enum resource_type type)
{
    for (size_t i = 0; i < kickoff->type_count; i++) {
        if (kickoff->types[i] == type)
            return true;
    }
    return false;
}

static bool check_types(struct kickoff_parser *parser)
{
    struct kickoff *kickoff = parser->kickoff;
    struct slice rest = parser->input->query, value;
    bool given = false, repeated = false;
    while (next_of(parser, "_type", &rest, &value)) {
        given = true;
        for (bool more = true; more;) {
            const char *comma = value.size ? memchr(value.data, ',', value.size) : NULL;
            size_t size = comma ? (size_t)(comma - value.data) : value.size;
            enum resource_type type;
            if (!resource_type_find(slice_make(value.data, size), &type))
                return refuse(parser, "value", PROBLEM_REQUEST, "Invalid resource type");
            if (has_type(kickoff, type))
                repeated = true; /* an unknown one behind it would win */
            else
                kickoff->types[kickoff->type_count++] = type;
            more = comma != NULL;
            value = slice_skip(value, size + 1);
        }
    }
    if (repeated)
        return refuse(parser, "value", PROBLEM_REQUEST, "Repeated resource type");
    if (!given) {
        for (int type = 0; type < RESOURCE_TYPE_COUNT; type++)
            kickoff->types[kickoff->type_count++] = (enum resource_type)type;
    }
    return true;
}

static bool check_since(struct kickoff_parser *parser)
{
    struct slice rest = parser->input->query, value, second;
    if (!next_of(parser, "_since", &rest, &value))
        return true;
    int64_t since_us;
    if (datetime_parse_since(value, &since_us, NULL) != STATUS_OK ||
        next_of(parser, "_since", &rest, &second))
        return refuse(parser, "value", PROBLEM_FORMATTING,
                      "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant "
                      "format.");
    if (since_us > parser->input->newest_us)
        return refuse(parser, "value", PROBLEM_FORMATTING, KICKOFF_TEXT_FUTURE);
    if (since_us >= KICKOFF_SINCE_MIN_US) {
        parser->kickoff->since_us = since_us;
        parser->kickoff->separates_new = parser->input->group != NULL;
    }
    return true;
}

static bool check_output_format(struct kickoff_parser *parser)
{
    /* With the space that form decoding makes of the "+". */
    static const char *const formats[] = {"application/fhir+ndjson", "application/fhir ndjson",
                                          "application/ndjson", "ndjson"};
    struct slice rest = parser->input->query, value;
    while (next_of(parser, "_outputFormat", &rest, &value)) {
        bool known = false;
        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
            known |= slice_equal_text(value, formats[i]);
        if (!known)
            return refuse(parser, "value", PROBLEM_FORMATTING,
                          "_outputFormat parameter must be application/fhir+ndjson, application/ndjson, or "
                          "ndjson");
    }
    return true;
}

static bool is_unsupported(struct slice name, struct slice value)
{
    static const char *const known[] = {"_type", "_since", "_outputFormat", "_format", "_pretty"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (slice_equal_text(name, known[i]))
            return false;
    }
    if (name.size && name.data[0] == '_')
        return true;
    for (size_t i = 0; i < sizeof bulk_parameters / sizeof *bulk_parameters; i++) {
        if (slice_equal_text(name, bulk_parameters[i]))
            return !slice_equal_text(name, PARTIAL_MANIFESTS) ||
                   (!slice_equal_text(value, "true") && !slice_equal_text(value, "false"));
    }
    return false;
}

/* Bounded and printable: it comes back in answers and stands in lists with one name a line. */
static size_t printable_name(struct slice name, char text[PARAMETER_NAME_MAX + 1])
{
    size_t size = name.size < PARAMETER_NAME_MAX ? name.size : PARAMETER_NAME_MAX;
    for (size_t i = 0; i < size; i++)
        text[i] = name.data[i] > ' ' && name.data[i] < 0x7f ? name.data[i] : '?';
    text[size] = '\0';
    return size;
}

void kickoff_unsupported_text(struct slice name, char text[KICKOFF_PROBLEM_MAX])
{
    char printable[PARAMETER_NAME_MAX + 1];
    printable_name(name, printable);
    snprintf(text, KICKOFF_PROBLEM_MAX, "Invalid parameter: this server does not support the %s parameter.",
             printable);
}

static int compare_names(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Each name once, one a line, in their order: a URL can hold thousands, so they are sorted and not searched.
 */
static struct slice warning_lines(struct slice *names, size_t count, struct arena *arena)
{
    struct buffer lines = BUFFER_INIT;
    if (count)
        qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        if (i && slice_equal(names[i], names[i - 1]))
            continue;
        if (lines.size)
            buffer_append_char(&lines, '\n');
        buffer_append_slice(&lines, names[i]);
    }
    struct slice copy = arena_copy(arena, buffer_slice(&lines));
    buffer_release(&lines);
    return copy;
}

static bool check_unsupported(struct kickoff_parser *parser)
{
    struct slice rest = parser->input->query, name, value;
    struct buffer warnings = BUFFER_INIT; /* struct slice[] */
    bool good = true;
    while (good && parameter_next(parser, &rest, &name, &value)) {
        if (slice_equal_text(name, PARTIAL_MANIFESTS) && slice_equal_text(value, "true"))
            parser->kickoff->partial_manifests = true;
        if (!is_unsupported(name, value))
            continue;
        if (parser->lenient) {
            char printable[PARAMETER_NAME_MAX + 1];
            size_t size = printable_name(name, printable);
            struct slice kept = arena_copy(parser->arena, slice_make(printable, size));
            buffer_append(&warnings, &kept, sizeof kept);
        } else {
            char text[KICKOFF_PROBLEM_MAX];
            kickoff_unsupported_text(name, text);
            good = refuse(parser, "not-supported", PROBLEM_REQUEST, text);
        }
    }
    parser->kickoff->warnings = warning_lines((struct slice *)(void *)warnings.data,
                                              warnings.size / sizeof(struct slice), parser->arena);
    buffer_release(&warnings);
    return good;
}

bool kickoff_parse(const struct kickoff_input *input, struct arena *arena, struct kickoff *ret_kickoff,
                   struct kickoff_problem *ret_problem)
{
    struct kickoff kickoff = {.since_us = INSTANT_MIN_US};
    struct kickoff_parser parser = {
        .input = input, .arena = arena, .kickoff = &kickoff, .problem = ret_problem};
    if (!check_accept(&parser) || !check_prefer(&parser) || !check_group(&parser) || !check_types(&parser) ||
        !check_since(&parser) || !check_output_format(&parser) || !check_unsupported(&parser))
        return false;
    *ret_kickoff = kickoff;
    return true;
}
