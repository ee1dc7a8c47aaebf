/*
 * One FHIR resource, taken apart without a tree.
 *
 * resource_parse checks one line of NDJSON, makes it canonical (the line itself without the white space
 * outside strings: numbers keep their text, strings their bytes, keys their order) and finds what the
 * store needs to know. Everything in `struct resource` borrows from the parser and from the line, and
 * lives until the parser's next call.
 *
 * Refused: what json_reader refuses; a type that is not in the table (STATUS_UNSUPPORTED); no or bad id
 * (FHIR id: [A-Za-z0-9.-]{1,64}); a beneficiary reference that is not exactly "Patient/{id}"; a
 * meta.lastUpdated that is no instant; a line over RESOURCE_BYTES_MAX.
 *
 * Each refusal names the element that is wrong ("meta.lastUpdated: ...").
 *
 * content_hash is XXH3-64 of the canonical bytes without the member lastUpdated of meta and the comma that
 * goes with it (the one behind it, else the one before it); where meta is empty or has nothing else, the
 * whole member meta is left out so. Hence a resource has one hash whether it came with a time, with another
 * time, with "meta":{} or without meta, and stamping does not change it. Anything else that differs, were it
 * only the order of keys or the way a character is escaped, gives another hash.
 *
 * Service days are the dates as written; a year or month counts as its first day, a bound that is missing is
 * the other one, and what is no date is passed over. MBIs are the values of 1 to MBI_SIZE_MAX bytes, each
 * once, those whose identifier-currency extension says "historic" last; their pattern is not checked here.
 *
 * Threading: a parser belongs to one thread at a time.
 */
#ifndef CODEC_RESOURCE_H
#define CODEC_RESOURCE_H

#include "codec/base/buffer.h"
#include "codec/base/slice.h"
#include "codec/base/status.h"

#include <stdint.h>

#define RESOURCE_BYTES_MAX ((size_t)8 * 1024 * 1024)
#define RESOURCE_ID_MAX    64
#define RESOURCE_MBI_MAX   16 /* MBIs of one Patient that are kept, the current ones first */
#define MBI_SIZE_MAX       11

/* The resource types served. A further type is a row in resource.c's table and a value here. The order is
 * the guide's order of output. */
enum resource_type {
    RESOURCE_TYPE_EXPLANATION_OF_BENEFIT,
    RESOURCE_TYPE_COVERAGE,
    RESOURCE_TYPE_PATIENT,
    RESOURCE_TYPE_COUNT
};

const char *resource_type_name(enum resource_type type); /* "Patient" */
bool resource_type_find(struct slice name, enum resource_type *ret_type);

/* Where meta.lastUpdated goes when the import has to stamp. */
enum resource_stamp_place {
    RESOURCE_STAMP_REPLACE,      /* stamp_offset/size: the string with its quotes */
    RESOURCE_STAMP_INTO_META,    /* meta is an object without it: insert behind its brace */
    RESOURCE_STAMP_INTO_RESOURCE /* no meta: insert behind the resource's opening brace */
};

struct resource {
    enum resource_type type;
    struct slice id;
    struct slice beneficiary;            /* the beneficiary's Patient id */
    struct slice mbis[RESOURCE_MBI_MAX]; /* Patient only: identifiers of system us-mbi; current first */
    size_t mbi_count;
    bool has_last_updated;
    bool entered_in_error; /* its status says so: it should never have been */
    int64_t last_updated_us;
    int32_t service_first_day; /* ExplanationOfBenefit: of billablePeriod, else of the items; DAY_NONE */
    int32_t service_last_day;
    uint64_t content_hash; /* see below */
    struct slice json;     /* canonical, without the line's end */
    enum resource_stamp_place stamp_place;
    size_t stamp_offset; /* in json */
    size_t stamp_size;   /* of what REPLACE replaces */
    bool stamp_comma;    /* an inserted member needs a comma behind it */
};

struct resource_parser;

struct resource_parser *resource_parser_new(void);
void resource_parser_free(struct resource_parser *parser);

/* `line`: one resource, without or with its "\n" or "\r\n". */
NODISCARD enum status resource_parse(struct resource_parser *parser, struct slice line,
                                     struct resource *ret_resource, struct error *error);

/* What request.url of a Bundle's DELETE names: "Patient/123". STATUS_UNSUPPORTED: a type that is not in the
 * table; STATUS_INVALID: anything else than a type and an id. `ret_id` borrows from `url`. */
NODISCARD enum status resource_url_parse(struct slice url, enum resource_type *ret_type, struct slice *ret_id,
                                         struct error *error);

/* Appends resource->json with meta.lastUpdated set to `us`; nothing else changes. */
void resource_stamp(const struct resource *resource, int64_t us, struct buffer *target);

#endif
