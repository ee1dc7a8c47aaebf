#include "codec/resource.h"

#include "codec/base/arena.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "codec/json_reader.h"
#include "codec/utf8.h"

#include <xxhash.h>

#define MBI_SYSTEM      "http://hl7.org/fhir/sid/us-mbi"
#define CURRENCY_SYSTEM "https://bluebutton.cms.gov/resources/codesystem/identifier-currency"

/* ---- What is looked at ------------------------------------------------------------------------------- */

/* A place in a resource. The containers, from the root down, and the strings in them. */
enum place {
    PLACE_NONE,
    /* containers */
    PLACE_ROOT,
    PLACE_META,
    PLACE_BENEFICIARY,
    PLACE_PATIENT,
    PLACE_BILLABLE_PERIOD,
    PLACE_IDENTIFIERS,
    PLACE_IDENTIFIER,
    PLACE_IDENTIFIER_EXTENSIONS,
    PLACE_IDENTIFIER_EXTENSION,
    PLACE_IDENTIFIER_CURRENCY,
    PLACE_ITEMS,
    PLACE_ITEM,
    PLACE_SERVICED_PERIOD,
    PLACE_CONTAINERS_END,
    /* strings */
    PLACE_RESOURCE_TYPE = PLACE_CONTAINERS_END,
    PLACE_ID,
    PLACE_LAST_UPDATED,
    PLACE_BENEFICIARY_REFERENCE,
    PLACE_PATIENT_REFERENCE,
    PLACE_BILLABLE_START,
    PLACE_BILLABLE_END,
    PLACE_IDENTIFIER_SYSTEM,
    PLACE_IDENTIFIER_VALUE,
    PLACE_EXTENSION_URL,
    PLACE_EXTENSION_CODE,
    PLACE_SERVICED_DATE,
    PLACE_SERVICED_START,
    PLACE_SERVICED_END,
    PLACE_COUNT
};

#define CONTAINER_DEPTH_MAX 6 /* identifier[].extension[].valueCoding */

struct place_key {
    struct slice key; /* empty: each value of an array */
    enum place place;
};

#define PLACE_KEYS_MAX 9

struct place_rule {
    bool is_array;
    struct place_key keys[PLACE_KEYS_MAX]; /* ended by PLACE_NONE */
};

#define KEY(text, place)                                                                                     \
    {                                                                                                        \
        {text, sizeof(text) - 1}, place                                                                      \
    }

static const struct place_rule place_rules[PLACE_CONTAINERS_END] = {
    [PLACE_ROOT] = {.keys = {KEY("resourceType", PLACE_RESOURCE_TYPE), KEY("id", PLACE_ID),
                             KEY("meta", PLACE_META), KEY("beneficiary", PLACE_BENEFICIARY),
                             KEY("patient", PLACE_PATIENT), KEY("billablePeriod", PLACE_BILLABLE_PERIOD),
                             KEY("identifier", PLACE_IDENTIFIERS), KEY("item", PLACE_ITEMS)}},
    [PLACE_META] = {.keys = {KEY("lastUpdated", PLACE_LAST_UPDATED)}},
    [PLACE_BENEFICIARY] = {.keys = {KEY("reference", PLACE_BENEFICIARY_REFERENCE)}},
    [PLACE_PATIENT] = {.keys = {KEY("reference", PLACE_PATIENT_REFERENCE)}},
    [PLACE_BILLABLE_PERIOD] = {.keys = {KEY("start", PLACE_BILLABLE_START), KEY("end", PLACE_BILLABLE_END)}},
    [PLACE_IDENTIFIERS] = {.is_array = true, .keys = {KEY("", PLACE_IDENTIFIER)}},
    [PLACE_IDENTIFIER] = {.keys = {KEY("system", PLACE_IDENTIFIER_SYSTEM),
                                   KEY("value", PLACE_IDENTIFIER_VALUE),
                                   KEY("extension", PLACE_IDENTIFIER_EXTENSIONS)}},
    [PLACE_IDENTIFIER_EXTENSIONS] = {.is_array = true, .keys = {KEY("", PLACE_IDENTIFIER_EXTENSION)}},
    [PLACE_IDENTIFIER_EXTENSION] = {.keys = {KEY("url", PLACE_EXTENSION_URL),
                                             KEY("valueCoding", PLACE_IDENTIFIER_CURRENCY)}},
    [PLACE_IDENTIFIER_CURRENCY] = {.keys = {KEY("code", PLACE_EXTENSION_CODE)}},
    [PLACE_ITEMS] = {.is_array = true, .keys = {KEY("", PLACE_ITEM)}},
    [PLACE_ITEM] = {.keys = {KEY("servicedDate", PLACE_SERVICED_DATE),
                             KEY("servicedPeriod", PLACE_SERVICED_PERIOD)}},
    [PLACE_SERVICED_PERIOD] = {.keys = {KEY("start", PLACE_SERVICED_START), KEY("end", PLACE_SERVICED_END)}},
};

struct type_rule {
    const char *name;
    enum place reference; /* PLACE_ID: the resource is the beneficiary itself */
    const char *reference_path;
    bool has_service_dates;
    bool has_mbis;
};

static const struct type_rule type_rules[RESOURCE_TYPE_COUNT] = {
    [RESOURCE_TYPE_EXPLANATION_OF_BENEFIT] = {.name = "ExplanationOfBenefit",
                                              .reference = PLACE_PATIENT_REFERENCE,
                                              .reference_path = "patient.reference",
                                              .has_service_dates = true},
    [RESOURCE_TYPE_COVERAGE] = {.name = "Coverage",
                                .reference = PLACE_BENEFICIARY_REFERENCE,
                                .reference_path = "beneficiary.reference"},
    [RESOURCE_TYPE_PATIENT] = {.name = "Patient", .reference = PLACE_ID, .has_mbis = true},
};

const char *resource_type_name(enum resource_type type)
{
    CHECK((unsigned)type < RESOURCE_TYPE_COUNT);
    return type_rules[type].name;
}

bool resource_type_find(struct slice name, enum resource_type *ret_type)
{
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        if (slice_equal_text(name, type_rules[i].name)) {
            *ret_type = (enum resource_type)i;
            return true;
        }
    return false;
}

/* ---- What was found ---------------------------------------------------------------------------------- */

/* Whether an MBI is in use, best first. */
enum mbi_currency { MBI_CURRENT, MBI_UNSPECIFIED, MBI_HISTORIC, MBI_CURRENCY_COUNT };

struct mbi_list {
    struct slice mbis[RESOURCE_MBI_MAX];
    size_t count;
};

/* A run of bytes in the document. */
struct span {
    size_t begin;
    size_t end;
};

/* The first and last of some days. */
struct day_range {
    int32_t first;
    int32_t last;
};

struct found {
    bool present;
    bool is_string;
    struct slice text;
};

struct resource_parser {
    struct json_reader *reader;
    struct arena arena;      /* strings that had escapes */
    struct buffer canonical; /* the line without its white space, if it had any */
    XXH3_state_t *hash;
    struct slice document;

    enum place stack[CONTAINER_DEPTH_MAX]; /* the open containers that are looked at */
    unsigned depth;                        /* how many they are: their values have this depth */
    enum place next;                       /* where the value of the last key belongs */

    struct found found[PLACE_COUNT]; /* only those of strings are used */
    struct mbi_list mbis[MBI_CURRENCY_COUNT];
    enum mbi_currency currency; /* of the identifier being read */
    struct day_range items;
    bool meta_present;
    size_t meta_keys;
    /* Spans of tokens, before the white space between them is removed. */
    struct span meta_member; /* from the key's begin to the value's end */
    size_t meta_inside;      /* behind meta's opening brace */
    struct span last_updated_member;
    struct span last_updated;
};

struct resource_parser *resource_parser_new(void)
{
    struct resource_parser *parser = mem_new(struct resource_parser);
    parser->reader = json_reader_new();
    arena_init(&parser->arena);
    parser->hash = XXH3_createState();
    CHECK(parser->hash);
    return parser;
}

void resource_parser_free(struct resource_parser *parser)
{
    if (!parser)
        return;
    json_reader_free(parser->reader);
    arena_release(&parser->arena);
    buffer_release(&parser->canonical);
    XXH3_freeState(parser->hash);
    mem_free(parser);
}

static struct span token_span(const struct resource_parser *parser)
{
    struct slice token = json_reader_token(parser->reader);
    size_t begin = (size_t)(token.data - parser->document.data);
    return (struct span){begin, begin + token.size};
}

static bool found_equals(const struct found *found, const char *text)
{
    return found->is_string && slice_equal_text(found->text, text);
}

/* A date that does not say a day counts for nothing: service dates help to choose claims, and a claim is not
 * refused for a bad one. */
static void day_range_include(struct day_range *range, struct slice text)
{
    int32_t day;
    if (date_parse_days(text, &day, NULL) != STATUS_OK)
        return;
    if (range->first == DAY_NONE || day < range->first)
        range->first = day;
    if (range->last == DAY_NONE || day > range->last)
        range->last = day;
}

static void found_begin(struct resource_parser *parser, enum place place)
{
    switch (place) {
    case PLACE_META:
        parser->meta_present = true;
        parser->meta_inside = token_span(parser).end;
        break;
    case PLACE_IDENTIFIER:
        parser->found[PLACE_IDENTIFIER_SYSTEM] = (struct found){.present = false};
        parser->found[PLACE_IDENTIFIER_VALUE] = (struct found){.present = false};
        parser->currency = MBI_UNSPECIFIED;
        break;
    case PLACE_IDENTIFIER_EXTENSION:
        parser->found[PLACE_EXTENSION_URL] = (struct found){.present = false};
        parser->found[PLACE_EXTENSION_CODE] = (struct found){.present = false};
        break;
    default:
        break;
    }
}

static void found_identifier(struct resource_parser *parser)
{
    const struct found *value = &parser->found[PLACE_IDENTIFIER_VALUE];
    struct mbi_list *list = &parser->mbis[parser->currency];
    if (found_equals(&parser->found[PLACE_IDENTIFIER_SYSTEM], MBI_SYSTEM) && value->is_string &&
        value->text.size > 0 && value->text.size <= MBI_SIZE_MAX && list->count < RESOURCE_MBI_MAX)
        list->mbis[list->count++] = value->text;
}

static void found_end(struct resource_parser *parser, enum place place)
{
    switch (place) {
    case PLACE_META:
        parser->meta_member.end = token_span(parser).end;
        break;
    case PLACE_IDENTIFIER:
        found_identifier(parser);
        break;
    case PLACE_IDENTIFIER_EXTENSION:
        if (found_equals(&parser->found[PLACE_EXTENSION_URL], CURRENCY_SYSTEM)) {
            if (found_equals(&parser->found[PLACE_EXTENSION_CODE], "current"))
                parser->currency = MBI_CURRENT;
            else if (found_equals(&parser->found[PLACE_EXTENSION_CODE], "historic"))
                parser->currency = MBI_HISTORIC;
        }
        break;
    default:
        break;
    }
}

static void found_string(struct resource_parser *parser, enum place place, struct slice text)
{
    switch (place) {
    case PLACE_SERVICED_DATE:
    case PLACE_SERVICED_START:
    case PLACE_SERVICED_END:
        day_range_include(&parser->items, text);
        return;
    case PLACE_LAST_UPDATED:
        parser->last_updated = token_span(parser);
        parser->last_updated_member.end = parser->last_updated.end;
        break;
    default:
        break;
    }
    bool borrowed = (uintptr_t)text.data - (uintptr_t)parser->document.data < parser->document.size;
    parser->found[place] = (struct found){true, true, borrowed ? text : arena_copy(&parser->arena, text)};
}

/* Where the value of this key belongs. */
static enum place found_key(struct resource_parser *parser, enum place container, struct slice key)
{
    enum place place = PLACE_NONE;
    for (const struct place_key *rule = place_rules[container].keys; rule->place; rule++)
        if (rule->key.size == key.size && memcmp(rule->key.data, key.data, key.size) == 0) {
            place = rule->place;
            break;
        }
    if (container == PLACE_META)
        parser->meta_keys++;
    if (place == PLACE_META)
        parser->meta_member.begin = token_span(parser).begin;
    else if (place == PLACE_LAST_UPDATED)
        parser->last_updated_member.begin = token_span(parser).begin;
    return place;
}

/* A value that belongs to `place`. */
static enum status found_value(struct resource_parser *parser, enum place place, enum json_event event,
                               struct slice text, struct error *error)
{
    if (place >= PLACE_CONTAINERS_END) {
        if (event == JSON_EVENT_STRING)
            found_string(parser, place, text);
        else
            parser->found[place] = (struct found){.present = true};
        return STATUS_OK;
    }
    if (event == (place_rules[place].is_array ? JSON_EVENT_ARRAY_BEGIN : JSON_EVENT_OBJECT_BEGIN)) {
        CHECK(parser->depth < CONTAINER_DEPTH_MAX);
        parser->stack[parser->depth++] = place;
        parser->next = place_rules[place].is_array ? place_rules[place].keys[0].place : PLACE_NONE;
        found_begin(parser, place);
        return STATUS_OK;
    }
    if (place == PLACE_ROOT)
        return error_set(error, STATUS_INVALID, "at byte %zu: a resource must be a JSON object",
                         token_span(parser).begin);
    /* A stamp could not be put into it, and beside it would be a second key. */
    if (place == PLACE_META)
        return error_set(error, STATUS_INVALID, "meta: must be an object");
    return STATUS_OK;
}

static enum status resource_on_event(void *context, enum json_event event, struct slice text, unsigned depth,
                                     struct error *error)
{
    struct resource_parser *parser = context;
    if (depth > parser->depth)
        return STATUS_OK; /* inside a container that is not looked at: most of a claim */
    enum place container = parser->depth ? parser->stack[parser->depth - 1] : PLACE_NONE;
    if (depth < parser->depth) {
        found_end(parser, container);
        parser->depth--;
        if (parser->depth && place_rules[parser->stack[parser->depth - 1]].is_array)
            parser->next = place_rules[parser->stack[parser->depth - 1]].keys[0].place;
        return STATUS_OK;
    }
    switch (event) {
    case JSON_EVENT_KEY:
        parser->next = found_key(parser, container, text);
        return STATUS_OK;
    case JSON_EVENT_OBJECT_END:
    case JSON_EVENT_ARRAY_END:
        return STATUS_OK;
    default:
        return parser->next ? found_value(parser, parser->next, event, text, error) : STATUS_OK;
    }
}

/* ---- What is made of it ------------------------------------------------------------------------------ */

static bool id_is_valid(struct slice id)
{
    if (id.size == 0 || id.size > RESOURCE_ID_MAX)
        return false;
    for (size_t i = 0; i < id.size; i++) {
        char c = id.data[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '.'))
            return false;
    }
    return true;
}

/* The string at `place`, which must be there. */
static enum status require_string(const struct resource_parser *parser, enum place place, const char *path,
                                  struct slice *ret_text, struct error *error)
{
    const struct found *found = &parser->found[place];
    if (!found->present)
        return error_set(error, STATUS_INVALID, "%s: missing", path);
    if (!found->is_string)
        return error_set(error, STATUS_INVALID, "%s: must be a string", path);
    *ret_text = found->text;
    return STATUS_OK;
}

static enum status resource_set_type(const struct resource_parser *parser, struct resource *resource,
                                     struct error *error)
{
    struct slice name;
    enum status status = require_string(parser, PLACE_RESOURCE_TYPE, "resourceType", &name, error);
    if (status != STATUS_OK)
        return status;
    char excerpt[UTF8_EXCERPT_SIZE];
    if (!resource_type_find(name, &resource->type))
        return error_set(error, STATUS_UNSUPPORTED, "resourceType: \"%s\" is not served here",
                         utf8_excerpt(name, excerpt));
    return STATUS_OK;
}

static enum status resource_set_id(const struct resource_parser *parser, struct resource *resource,
                                   struct error *error)
{
    enum status status = require_string(parser, PLACE_ID, "id", &resource->id, error);
    if (status != STATUS_OK)
        return status;
    char excerpt[UTF8_EXCERPT_SIZE];
    if (!id_is_valid(resource->id))
        return error_set(error, STATUS_INVALID, "id: \"%s\" is not 1 to 64 letters, digits, '-' and '.'",
                         utf8_excerpt(resource->id, excerpt));
    return STATUS_OK;
}

static enum status resource_set_beneficiary(const struct resource_parser *parser, struct resource *resource,
                                            struct error *error)
{
    const struct type_rule *rule = &type_rules[resource->type];
    if (rule->reference == PLACE_ID) {
        resource->beneficiary = resource->id;
        return STATUS_OK;
    }
    struct slice reference;
    enum status status = require_string(parser, rule->reference, rule->reference_path, &reference, error);
    if (status != STATUS_OK)
        return status;
    const struct slice prefix = SLICE_LITERAL("Patient/");
    resource->beneficiary = slice_skip(reference, prefix.size);
    char excerpt[UTF8_EXCERPT_SIZE];
    if (!slice_starts_with(reference, prefix) || !id_is_valid(resource->beneficiary))
        return error_set(error, STATUS_INVALID, "%s: \"%s\" is not \"Patient/\" and an id",
                         rule->reference_path, utf8_excerpt(reference, excerpt));
    return STATUS_OK;
}

static enum status resource_set_last_updated(const struct resource_parser *parser, struct resource *resource,
                                             struct error *error)
{
    resource->has_last_updated = parser->found[PLACE_LAST_UPDATED].present;
    resource->last_updated_us = 0;
    if (!resource->has_last_updated)
        return STATUS_OK;
    struct slice text;
    enum status status = require_string(parser, PLACE_LAST_UPDATED, "meta.lastUpdated", &text, error);
    if (status != STATUS_OK)
        return status;
    status = instant_parse(text, &resource->last_updated_us, error);
    if (status != STATUS_OK)
        error_prefix(error, "meta.lastUpdated");
    return status;
}

static void resource_set_mbis(const struct resource_parser *parser, struct resource *resource)
{
    resource->mbi_count = 0;
    if (!type_rules[resource->type].has_mbis)
        return;
    for (size_t currency = 0; currency < MBI_CURRENCY_COUNT; currency++)
        for (size_t i = 0; i < parser->mbis[currency].count && resource->mbi_count < RESOURCE_MBI_MAX; i++) {
            struct slice mbi = parser->mbis[currency].mbis[i];
            bool repeated = false;
            for (size_t j = 0; j < resource->mbi_count && !repeated; j++)
                repeated = slice_equal(resource->mbis[j], mbi);
            if (!repeated)
                resource->mbis[resource->mbi_count++] = mbi;
        }
}

static void resource_set_service_days(const struct resource_parser *parser, struct resource *resource)
{
    struct day_range days = {DAY_NONE, DAY_NONE};
    if (type_rules[resource->type].has_service_dates) {
        if (parser->found[PLACE_BILLABLE_START].is_string)
            day_range_include(&days, parser->found[PLACE_BILLABLE_START].text);
        if (parser->found[PLACE_BILLABLE_END].is_string)
            day_range_include(&days, parser->found[PLACE_BILLABLE_END].text);
        if (days.first == DAY_NONE)
            days = parser->items;
    }
    resource->service_first_day = days.first;
    resource->service_last_day = days.last;
}

/* Removes the white space and moves the spans with the bytes. Each span's ends are token boundaries, so the
 * runs between them are minified one by one, without parsing a second time. */
static void resource_canonicalise(struct resource_parser *parser)
{
    struct slice document = parser->document;
    size_t *const moved[] = {&parser->meta_member.begin,         &parser->meta_inside,
                             &parser->last_updated_member.begin, &parser->last_updated.begin,
                             &parser->last_updated.end,          &parser->meta_member.end};
    struct buffer *canonical = &parser->canonical;
    buffer_reset(canonical);
    buffer_reserve(canonical, document.size);
    size_t done = 0;
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        if (*moved[i] == 0)
            continue; /* is not in this document */
        CHECK(*moved[i] >= done);
        json_minify(slice_make(document.data + done, *moved[i] - done), canonical);
        done = *moved[i];
        *moved[i] = canonical->size;
    }
    json_minify(slice_skip(document, done), canonical);
    parser->last_updated_member.end = parser->last_updated.end;
    parser->document = buffer_slice(canonical);
}

/* The span with the comma that goes with it. */
static struct span span_with_comma(struct slice document, struct span member)
{
    if (document.data[member.end] == ',')
        member.end++;
    else if (document.data[member.begin - 1] == ',')
        member.begin--;
    return member;
}

/* Hashes the canonical bytes without lastUpdated, or without the whole meta if it has nothing else: a
 * resource that was stamped has the hash of the one that came without. */
static void resource_set_hash(const struct resource_parser *parser, struct resource *resource)
{
    struct slice json = resource->json;
    struct span skipped = {json.size, json.size};
    if (parser->meta_present && parser->meta_keys == (resource->has_last_updated ? 1 : 0))
        skipped = span_with_comma(json, parser->meta_member);
    else if (resource->has_last_updated)
        skipped = span_with_comma(json, parser->last_updated_member);
    XXH3_64bits_reset(parser->hash);
    XXH3_64bits_update(parser->hash, json.data, skipped.begin);
    XXH3_64bits_update(parser->hash, json.data + skipped.end, json.size - skipped.end);
    resource->content_hash = XXH3_64bits_digest(parser->hash);
}

static void resource_set_stamp_place(const struct resource_parser *parser, struct resource *resource)
{
    resource->stamp_size = 0;
    resource->stamp_comma = false;
    if (resource->has_last_updated) {
        resource->stamp_place = RESOURCE_STAMP_REPLACE;
        resource->stamp_offset = parser->last_updated.begin;
        resource->stamp_size = parser->last_updated.end - parser->last_updated.begin;
        return;
    }
    resource->stamp_place = parser->meta_present ? RESOURCE_STAMP_INTO_META : RESOURCE_STAMP_INTO_RESOURCE;
    resource->stamp_offset = parser->meta_present ? parser->meta_inside : 1;
    resource->stamp_comma = resource->json.data[resource->stamp_offset] != '}';
}

static void parser_forget(struct resource_parser *parser)
{
    arena_reset(&parser->arena);
    parser->depth = 0;
    parser->next = PLACE_ROOT;
    memset(parser->found, 0, sizeof parser->found);
    for (size_t i = 0; i < MBI_CURRENCY_COUNT; i++)
        parser->mbis[i].count = 0;
    parser->items = (struct day_range){DAY_NONE, DAY_NONE};
    parser->meta_present = false;
    parser->meta_keys = 0;
    parser->meta_inside = 0;
    parser->meta_member = parser->last_updated_member = parser->last_updated = (struct span){0, 0};
}

enum status resource_parse(struct resource_parser *parser, struct slice line, struct resource *ret_resource,
                           struct error *error)
{
    if (line.size && line.data[line.size - 1] == '\n')
        line.size--;
    if (line.size && line.data[line.size - 1] == '\r')
        line.size--;
    if (line.size > RESOURCE_BYTES_MAX)
        return error_set(error, STATUS_TOO_LARGE, "a resource of %zu bytes is over the limit of %zu",
                         line.size, RESOURCE_BYTES_MAX);
    parser_forget(parser);
    parser->document = line;
    struct resource resource = {.mbi_count = 0};
    enum status status = json_read(parser->reader, line, resource_on_event, parser, error);
    if (status == STATUS_OK)
        status = resource_set_type(parser, &resource, error);
    if (status == STATUS_OK)
        status = resource_set_id(parser, &resource, error);
    if (status == STATUS_OK)
        status = resource_set_last_updated(parser, &resource, error);
    if (status == STATUS_OK)
        status = resource_set_beneficiary(parser, &resource, error);
    if (status != STATUS_OK)
        return status;
    if (!json_reader_was_minified(parser->reader))
        resource_canonicalise(parser);
    resource.json = parser->document;
    resource_set_mbis(parser, &resource);
    resource_set_service_days(parser, &resource);
    resource_set_hash(parser, &resource);
    resource_set_stamp_place(parser, &resource);
    *ret_resource = resource;
    return STATUS_OK;
}

void resource_stamp(const struct resource *resource, int64_t us, struct buffer *target)
{
    char stamp[INSTANT_TEXT_SIZE];
    size_t stamp_size = instant_format_meta(us, stamp);
    struct slice json = resource->json;
    buffer_reserve(target, json.size + stamp_size + sizeof "\"meta\":{\"lastUpdated\":\"\"},");
    buffer_append(target, json.data, resource->stamp_offset);
    if (resource->stamp_place == RESOURCE_STAMP_INTO_RESOURCE)
        buffer_append_text(target, "\"meta\":{");
    if (resource->stamp_place != RESOURCE_STAMP_REPLACE)
        buffer_append_text(target, "\"lastUpdated\":");
    buffer_append_char(target, '"');
    buffer_append(target, stamp, stamp_size);
    buffer_append_char(target, '"');
    if (resource->stamp_place == RESOURCE_STAMP_INTO_RESOURCE)
        buffer_append_char(target, '}');
    if (resource->stamp_comma)
        buffer_append_char(target, ',');
    buffer_append_slice(target, slice_skip(json, resource->stamp_offset + resource->stamp_size));
}
