#include "codec/resource.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "codec/resource_scan.h"
#include "codec/utf8.h"

#include <xxhash.h>

struct type_rule {
    const char *name;
    enum scan_place reference; /* SCAN_ID: the resource is the beneficiary itself */
    const char *reference_path;
    bool has_service_dates;
    bool has_mbis;
};

static const struct type_rule type_rules[RESOURCE_TYPE_COUNT] = {
    [RESOURCE_TYPE_EXPLANATION_OF_BENEFIT] = {.name = "ExplanationOfBenefit",
                                              .reference = SCAN_PATIENT_REFERENCE,
                                              .reference_path = "patient.reference",
                                              .has_service_dates = true},
    [RESOURCE_TYPE_COVERAGE] = {.name = "Coverage",
                                .reference = SCAN_BENEFICIARY_REFERENCE,
                                .reference_path = "beneficiary.reference"},
    [RESOURCE_TYPE_PATIENT] = {.name = "Patient", .reference = SCAN_ID, .has_mbis = true},
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

struct resource_parser {
    struct resource_scan scan;
    XXH3_state_t *hash;
};

struct resource_parser *resource_parser_new(void)
{
    struct resource_parser *parser = mem_new(struct resource_parser);
    resource_scan_init(&parser->scan);
    parser->hash = XXH3_createState();
    CHECK(parser->hash);
    return parser;
}

void resource_parser_free(struct resource_parser *parser)
{
    if (!parser)
        return;
    resource_scan_release(&parser->scan);
    XXH3_freeState(parser->hash);
    mem_free(parser);
}

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

/*
 * Messages say which member is wrong and how, and not what stands in it: what is no id may be a name, and a
 * reference or a URL that searches ("Patient?identifier=...") has an MBI. They end in logs.
 */

/* The string at `place`, which must be there. */
static enum status require_string(const struct resource_scan *scan, enum scan_place place, const char *path,
                                  struct slice *ret_text, struct error *error)
{
    const struct scan_string *string = &scan->strings[place];
    if (!string->present)
        return error_set(error, STATUS_INVALID, "%s: missing", path);
    if (!string->is_string)
        return error_set(error, STATUS_INVALID, "%s: must be a string", path);
    *ret_text = string->text;
    return STATUS_OK;
}

static enum status resource_set_type(struct resource *resource, const struct resource_scan *scan,
                                     struct error *error)
{
    struct slice name;
    enum status status = require_string(scan, SCAN_RESOURCE_TYPE, "resourceType", &name, error);
    if (status != STATUS_OK)
        return status;
    char excerpt[UTF8_EXCERPT_SIZE];
    if (!resource_type_find(name, &resource->type))
        return error_set(error, STATUS_UNSUPPORTED, "resourceType: \"%s\" is not served here",
                         utf8_excerpt(name, excerpt));
    return STATUS_OK;
}

static enum status resource_set_id(struct resource *resource, const struct resource_scan *scan,
                                   struct error *error)
{
    enum status status = require_string(scan, SCAN_ID, "id", &resource->id, error);
    if (status != STATUS_OK)
        return status;
    if (!id_is_valid(resource->id))
        return error_set(error, STATUS_INVALID, "id: is not 1 to 64 letters, digits, '-' and '.'");
    return STATUS_OK;
}

static enum status resource_set_beneficiary(struct resource *resource, const struct resource_scan *scan,
                                            struct error *error)
{
    const struct type_rule *rule = &type_rules[resource->type];
    if (rule->reference == SCAN_ID) {
        resource->beneficiary = resource->id;
        return STATUS_OK;
    }
    struct slice reference = {NULL, 0};
    enum status status = require_string(scan, rule->reference, rule->reference_path, &reference, error);
    if (status != STATUS_OK)
        return status;
    const struct slice prefix = SLICE_LITERAL("Patient/");
    resource->beneficiary = slice_skip(reference, prefix.size);
    if (!slice_starts_with(reference, prefix) || !id_is_valid(resource->beneficiary))
        return error_set(error, STATUS_INVALID, "%s: is not \"Patient/\" and an id", rule->reference_path);
    return STATUS_OK;
}

static enum status resource_set_last_updated(struct resource *resource, const struct resource_scan *scan,
                                             struct error *error)
{
    resource->has_last_updated = scan->strings[SCAN_LAST_UPDATED].present;
    resource->last_updated_us = 0;
    if (!resource->has_last_updated)
        return STATUS_OK;
    struct slice text;
    enum status status = require_string(scan, SCAN_LAST_UPDATED, "meta.lastUpdated", &text, error);
    if (status != STATUS_OK)
        return status;
    status = instant_parse(text, &resource->last_updated_us, error);
    if (status != STATUS_OK)
        error_prefix(error, "meta.lastUpdated");
    return status;
}

static void resource_set_mbis(struct resource *resource, const struct resource_scan *scan)
{
    resource->mbi_count = 0;
    if (!type_rules[resource->type].has_mbis)
        return;
    for (size_t currency = 0; currency < MBI_CURRENCY_COUNT; currency++)
        for (size_t i = 0; i < scan->mbis[currency].count && resource->mbi_count < RESOURCE_MBI_MAX; i++) {
            struct slice mbi = scan->mbis[currency].mbis[i];
            bool repeated = false;
            for (size_t j = 0; j < resource->mbi_count && !repeated; j++)
                repeated = slice_equal(resource->mbis[j], mbi);
            if (!repeated)
                resource->mbis[resource->mbi_count++] = mbi;
        }
}

static void resource_set_service_days(struct resource *resource, const struct resource_scan *scan)
{
    struct day_range days = {DAY_NONE, DAY_NONE};
    if (type_rules[resource->type].has_service_dates) {
        if (scan->strings[SCAN_BILLABLE_START].is_string)
            day_range_include(&days, scan->strings[SCAN_BILLABLE_START].text);
        if (scan->strings[SCAN_BILLABLE_END].is_string)
            day_range_include(&days, scan->strings[SCAN_BILLABLE_END].text);
        if (days.first == DAY_NONE)
            days = scan->items;
    }
    resource->service_first_day = days.first;
    resource->service_last_day = days.last;
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
static uint64_t resource_hash(const struct resource *resource, const struct resource_scan *scan,
                              XXH3_state_t *state)
{
    struct slice json = resource->json;
    struct span skipped = {json.size, json.size};
    if (scan->has_meta && scan->meta_keys == (resource->has_last_updated ? 1 : 0))
        skipped = span_with_comma(json, scan->meta_member);
    else if (resource->has_last_updated)
        skipped = span_with_comma(json, scan->last_updated_member);
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, json.data, skipped.begin);
    XXH3_64bits_update(state, json.data + skipped.end, json.size - skipped.end);
    return XXH3_64bits_digest(state);
}

static void resource_set_status(struct resource *resource, const struct resource_scan *scan)
{
    const struct scan_string *status = &scan->strings[SCAN_STATUS];
    resource->entered_in_error = status->is_string && slice_equal_text(status->text, "entered-in-error");
}

static void resource_set_stamp_place(struct resource *resource, const struct resource_scan *scan)
{
    resource->stamp_size = 0;
    resource->stamp_comma = false;
    if (resource->has_last_updated) {
        resource->stamp_place = RESOURCE_STAMP_REPLACE;
        resource->stamp_offset = scan->last_updated.begin;
        resource->stamp_size = scan->last_updated.end - scan->last_updated.begin;
        return;
    }
    resource->stamp_place = scan->has_meta ? RESOURCE_STAMP_INTO_META : RESOURCE_STAMP_INTO_RESOURCE;
    resource->stamp_offset = scan->has_meta ? scan->meta_inside : 1;
    resource->stamp_comma = resource->json.data[resource->stamp_offset] != '}';
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
    struct resource_scan *scan = &parser->scan;
    struct resource resource = {.mbi_count = 0};
    enum status status = resource_scan_read(scan, line, error);
    if (status == STATUS_OK)
        status = resource_set_type(&resource, scan, error);
    if (status == STATUS_OK)
        status = resource_set_id(&resource, scan, error);
    if (status == STATUS_OK)
        status = resource_set_last_updated(&resource, scan, error);
    if (status == STATUS_OK)
        status = resource_set_beneficiary(&resource, scan, error);
    if (status != STATUS_OK)
        return status;
    resource_scan_canonicalise(scan);
    resource.json = scan->document;
    resource_set_mbis(&resource, scan);
    resource_set_service_days(&resource, scan);
    resource_set_status(&resource, scan);
    resource_set_stamp_place(&resource, scan);
    resource.content_hash = resource_hash(&resource, scan, parser->hash);
    *ret_resource = resource;
    return STATUS_OK;
}

enum status resource_url_parse(struct slice url, enum resource_type *ret_type, struct slice *ret_id,
                               struct error *error)
{
    const char *slash = url.size ? memchr(url.data, '/', url.size) : NULL;
    struct slice name = slice_make(url.data, slash ? (size_t)(slash - url.data) : 0);
    struct slice id = slice_skip(url, name.size + 1);
    char excerpt[UTF8_EXCERPT_SIZE];
    if (name.size == 0 || !id_is_valid(name) || !id_is_valid(id))
        return error_set(error, STATUS_INVALID, "request.url: is not a type, \"/\" and an id");
    if (!resource_type_find(name, ret_type))
        return error_set(error, STATUS_UNSUPPORTED, "request.url: \"%s\" is not served here",
                         utf8_excerpt(name, excerpt));
    *ret_id = id;
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
