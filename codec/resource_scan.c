#include "codec/resource_scan.h"

#include "codec/base/check.h"
#include "codec/instant.h"

#define MBI_SYSTEM      "http://hl7.org/fhir/sid/us-mbi"
#define CURRENCY_SYSTEM "https://bluebutton.cms.gov/resources/codesystem/identifier-currency"

struct place_key {
    struct slice key; /* empty: each value of an array */
    enum scan_place place;
};

#define PLACE_KEYS_MAX 10

struct place_rule {
    bool is_array;
    struct place_key keys[PLACE_KEYS_MAX]; /* ended by SCAN_NOWHERE */
};

#define KEY(text, place)                                                                                     \
    {                                                                                                        \
        {text, sizeof(text) - 1}, place                                                                      \
    }

static const struct place_rule place_rules[SCAN_CONTAINERS_END] = {
    [SCAN_ROOT] = {.keys = {KEY("resourceType", SCAN_RESOURCE_TYPE), KEY("id", SCAN_ID),
                            KEY("status", SCAN_STATUS), KEY("meta", SCAN_META),
                            KEY("beneficiary", SCAN_BENEFICIARY), KEY("patient", SCAN_PATIENT),
                            KEY("billablePeriod", SCAN_BILLABLE_PERIOD), KEY("identifier", SCAN_IDENTIFIERS),
                            KEY("item", SCAN_ITEMS)}},
    [SCAN_META] = {.keys = {KEY("lastUpdated", SCAN_LAST_UPDATED)}},
    [SCAN_BENEFICIARY] = {.keys = {KEY("reference", SCAN_BENEFICIARY_REFERENCE)}},
    [SCAN_PATIENT] = {.keys = {KEY("reference", SCAN_PATIENT_REFERENCE)}},
    [SCAN_BILLABLE_PERIOD] = {.keys = {KEY("start", SCAN_BILLABLE_START), KEY("end", SCAN_BILLABLE_END)}},
    [SCAN_IDENTIFIERS] = {.is_array = true, .keys = {KEY("", SCAN_IDENTIFIER)}},
    [SCAN_IDENTIFIER] = {.keys = {KEY("system", SCAN_IDENTIFIER_SYSTEM), KEY("value", SCAN_IDENTIFIER_VALUE),
                                  KEY("extension", SCAN_IDENTIFIER_EXTENSIONS)}},
    [SCAN_IDENTIFIER_EXTENSIONS] = {.is_array = true, .keys = {KEY("", SCAN_IDENTIFIER_EXTENSION)}},
    [SCAN_IDENTIFIER_EXTENSION] = {.keys = {KEY("url", SCAN_EXTENSION_URL),
                                            KEY("valueCoding", SCAN_IDENTIFIER_CURRENCY)}},
    [SCAN_IDENTIFIER_CURRENCY] = {.keys = {KEY("code", SCAN_EXTENSION_CODE)}},
    [SCAN_ITEMS] = {.is_array = true, .keys = {KEY("", SCAN_ITEM)}},
    [SCAN_ITEM] = {.keys = {KEY("servicedDate", SCAN_SERVICED_DATE),
                            KEY("servicedPeriod", SCAN_SERVICED_PERIOD)}},
    [SCAN_SERVICED_PERIOD] = {.keys = {KEY("start", SCAN_SERVICED_START), KEY("end", SCAN_SERVICED_END)}},
};

void day_range_include(struct day_range *range, struct slice text)
{
    int32_t day;
    if (date_parse_days(text, &day, NULL) != STATUS_OK)
        return;
    if (range->first == DAY_NONE || day < range->first)
        range->first = day;
    if (range->last == DAY_NONE || day > range->last)
        range->last = day;
}

void resource_scan_init(struct resource_scan *scan)
{
    *scan = (struct resource_scan){.reader = json_reader_new()};
    arena_init(&scan->arena);
}

void resource_scan_release(struct resource_scan *scan)
{
    json_reader_free(scan->reader);
    arena_release(&scan->arena);
    buffer_release(&scan->canonical);
}

/* SCAN_NOWHERE in an object, where a key must come first. */
static enum scan_place place_of_elements(enum scan_place container)
{
    return place_rules[container].is_array ? place_rules[container].keys[0].place : SCAN_NOWHERE;
}

static struct span token_span(const struct resource_scan *scan)
{
    struct slice token = json_reader_token(scan->reader);
    size_t begin = (size_t)(token.data - scan->document.data);
    return (struct span){begin, begin + token.size};
}

static bool string_is(const struct scan_string *string, const char *text)
{
    return string->is_string && slice_equal_text(string->text, text);
}

static void scan_begin(struct resource_scan *scan, enum scan_place place)
{
    switch (place) {
    case SCAN_META:
        scan->has_meta = true;
        scan->meta_inside = token_span(scan).end;
        break;
    case SCAN_IDENTIFIER:
        scan->strings[SCAN_IDENTIFIER_SYSTEM] = (struct scan_string){.present = false};
        scan->strings[SCAN_IDENTIFIER_VALUE] = (struct scan_string){.present = false};
        scan->currency = MBI_CURRENCY_UNSPECIFIED;
        break;
    case SCAN_IDENTIFIER_EXTENSION:
        scan->strings[SCAN_EXTENSION_URL] = (struct scan_string){.present = false};
        scan->strings[SCAN_EXTENSION_CODE] = (struct scan_string){.present = false};
        break;
    default:
        break;
    }
}

static void scan_identifier(struct resource_scan *scan)
{
    const struct scan_string *value = &scan->strings[SCAN_IDENTIFIER_VALUE];
    struct mbi_list *list = &scan->mbis[scan->currency];
    if (string_is(&scan->strings[SCAN_IDENTIFIER_SYSTEM], MBI_SYSTEM) && value->is_string &&
        value->text.size > 0 && value->text.size <= MBI_SIZE_MAX && list->count < RESOURCE_MBI_MAX)
        list->mbis[list->count++] = value->text;
}

static void scan_end(struct resource_scan *scan, enum scan_place place)
{
    switch (place) {
    case SCAN_META:
        scan->meta_member.end = token_span(scan).end;
        break;
    case SCAN_IDENTIFIER:
        scan_identifier(scan);
        break;
    case SCAN_IDENTIFIER_EXTENSION:
        if (string_is(&scan->strings[SCAN_EXTENSION_URL], CURRENCY_SYSTEM)) {
            if (string_is(&scan->strings[SCAN_EXTENSION_CODE], "current"))
                scan->currency = MBI_CURRENCY_CURRENT;
            else if (string_is(&scan->strings[SCAN_EXTENSION_CODE], "historic"))
                scan->currency = MBI_CURRENCY_HISTORIC;
        }
        break;
    default:
        break;
    }
}

static void scan_text(struct resource_scan *scan, enum scan_place place, struct slice text)
{
    if (place == SCAN_SERVICED_DATE || place == SCAN_SERVICED_START || place == SCAN_SERVICED_END) {
        day_range_include(&scan->items, text);
        return;
    }
    if (place == SCAN_LAST_UPDATED) {
        scan->last_updated = token_span(scan);
        scan->last_updated_member.end = scan->last_updated.end;
    }
    bool in_document = (uintptr_t)text.data - (uintptr_t)scan->document.data < scan->document.size;
    if (!in_document)
        text = arena_copy(&scan->arena, text);
    scan->strings[place] = (struct scan_string){.present = true, .is_string = true, .text = text};
}

/* Where the value of this key belongs. */
static enum scan_place scan_key(struct resource_scan *scan, enum scan_place container, struct slice key)
{
    enum scan_place place = SCAN_NOWHERE;
    for (const struct place_key *rule = place_rules[container].keys; rule->place; rule++)
        if (rule->key.size == key.size && memcmp(rule->key.data, key.data, key.size) == 0) {
            place = rule->place;
            break;
        }
    if (container == SCAN_META)
        scan->meta_keys++;
    if (place == SCAN_META)
        scan->meta_member.begin = token_span(scan).begin;
    else if (place == SCAN_LAST_UPDATED)
        scan->last_updated_member.begin = token_span(scan).begin;
    return place;
}

/* A value that belongs to `place`. */
static enum status scan_value(struct resource_scan *scan, enum scan_place place, enum json_event event,
                              struct slice text, struct error *error)
{
    if (place >= SCAN_CONTAINERS_END) {
        if (event == JSON_EVENT_STRING)
            scan_text(scan, place, text);
        else
            scan->strings[place] = (struct scan_string){.present = true};
        return STATUS_OK;
    }
    if (event == (place_rules[place].is_array ? JSON_EVENT_ARRAY_BEGIN : JSON_EVENT_OBJECT_BEGIN)) {
        CHECK(scan->depth < SCAN_DEPTH_MAX);
        scan->stack[scan->depth++] = place;
        scan->next = place_of_elements(place);
        scan_begin(scan, place);
        return STATUS_OK;
    }
    if (place == SCAN_ROOT)
        return error_set(error, STATUS_INVALID, "at byte %zu: a resource must be a JSON object",
                         token_span(scan).begin);
    /* A stamp could not be put into it, and beside it would be a second key. */
    if (place == SCAN_META)
        return error_set(error, STATUS_INVALID, "meta: must be an object");
    return STATUS_OK;
}

static enum status scan_on_event(void *context, enum json_event event, struct slice text, unsigned depth,
                                 struct error *error)
{
    struct resource_scan *scan = context;
    if (depth > scan->depth)
        return STATUS_OK; /* inside a container that is not looked at: most of a claim */
    enum scan_place container = scan->depth ? scan->stack[scan->depth - 1] : SCAN_NOWHERE;
    if (depth < scan->depth) {
        scan_end(scan, container);
        scan->depth--;
        scan->next = scan->depth ? place_of_elements(scan->stack[scan->depth - 1]) : SCAN_NOWHERE;
        return STATUS_OK;
    }
    switch (event) {
    case JSON_EVENT_KEY:
        scan->next = scan_key(scan, container, text);
        return STATUS_OK;
    case JSON_EVENT_OBJECT_END:
    case JSON_EVENT_ARRAY_END:
        return STATUS_OK;
    default:
        return scan->next ? scan_value(scan, scan->next, event, text, error) : STATUS_OK;
    }
}

static void scan_forget(struct resource_scan *scan)
{
    memset(scan->strings, 0, sizeof scan->strings);
    for (size_t i = 0; i < MBI_CURRENCY_COUNT; i++)
        scan->mbis[i].count = 0;
    scan->items = (struct day_range){DAY_NONE, DAY_NONE};
    scan->has_meta = false;
    scan->meta_keys = 0;
    scan->meta_inside = 0;
    scan->meta_member = scan->last_updated_member = scan->last_updated = (struct span){0, 0};
    arena_reset(&scan->arena);
    scan->depth = 0;
    scan->next = SCAN_ROOT;
}

enum status resource_scan_read(struct resource_scan *scan, struct slice document, struct error *error)
{
    scan_forget(scan);
    scan->document = document;
    return json_read(scan->reader, document, scan_on_event, scan, error);
}

void resource_scan_canonicalise(struct resource_scan *scan)
{
    if (json_reader_was_minified(scan->reader))
        return;
    /* The places that resource.c needs are token boundaries. So the runs between them are minified one by
     * one, and nothing is parsed a second time. In ascending order: */
    size_t *const places[] = {&scan->meta_member.begin,         &scan->meta_inside,
                              &scan->last_updated_member.begin, &scan->last_updated.begin,
                              &scan->last_updated.end,          &scan->meta_member.end};
    struct slice document = scan->document;
    struct buffer *canonical = &scan->canonical;
    buffer_reset(canonical);
    buffer_reserve(canonical, document.size);
    size_t done = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (*places[i] == 0)
            continue; /* is not in this document */
        CHECK(*places[i] >= done);
        json_minify(slice_make(document.data + done, *places[i] - done), canonical);
        done = *places[i];
        *places[i] = canonical->size;
    }
    json_minify(slice_skip(document, done), canonical);
    scan->last_updated_member.end = scan->last_updated.end;
    scan->document = buffer_slice(canonical);
}
