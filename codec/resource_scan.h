/*
 * What stands in a resource: the one pass over its JSON that resource.c decides upon. Private to resource*.c.
 *
 * Only the places of a small table are looked at, in whatever order the keys come; the type, which may come
 * last, plays no part, so candidates for all types are kept. Nothing nested elsewhere (contained, extension)
 * can be taken for them, because a place is the whole path from the root.
 *
 * Everything found borrows from the scan and from the document, until the next resource_scan_read.
 *
 * Threading: one thread at a time.
 */
#ifndef CODEC_RESOURCE_SCAN_H
#define CODEC_RESOURCE_SCAN_H

#include "codec/base/arena.h"
#include "codec/json_reader.h"
#include "codec/resource.h"

/* A place in a resource: the containers, from the root down, and the strings in them. */
enum scan_place {
    SCAN_NOWHERE,
    /* containers */
    SCAN_ROOT,
    SCAN_META,
    SCAN_BENEFICIARY,
    SCAN_PATIENT,
    SCAN_BILLABLE_PERIOD,
    SCAN_IDENTIFIERS,
    SCAN_IDENTIFIER,
    SCAN_IDENTIFIER_EXTENSIONS,
    SCAN_IDENTIFIER_EXTENSION,
    SCAN_IDENTIFIER_CURRENCY,
    SCAN_ITEMS,
    SCAN_ITEM,
    SCAN_SERVICED_PERIOD,
    SCAN_CONTAINERS_END,
    /* strings */
    SCAN_RESOURCE_TYPE = SCAN_CONTAINERS_END,
    SCAN_ID,
    SCAN_STATUS,
    SCAN_LAST_UPDATED,
    SCAN_BENEFICIARY_REFERENCE,
    SCAN_PATIENT_REFERENCE,
    SCAN_BILLABLE_START,
    SCAN_BILLABLE_END,
    SCAN_IDENTIFIER_SYSTEM,
    SCAN_IDENTIFIER_VALUE,
    SCAN_EXTENSION_URL,
    SCAN_EXTENSION_CODE,
    SCAN_SERVICED_DATE,
    SCAN_SERVICED_START,
    SCAN_SERVICED_END,
    SCAN_PLACE_COUNT
};

#define SCAN_DEPTH_MAX 6 /* root, identifier, [], extension, [], valueCoding */

struct scan_string {
    bool present;
    bool is_string;
    struct slice text; /* decoded */
};

/* Whether an MBI is in use, best first. */
enum mbi_currency {
    MBI_CURRENCY_CURRENT,
    MBI_CURRENCY_UNSPECIFIED,
    MBI_CURRENCY_HISTORIC,
    MBI_CURRENCY_COUNT
};

struct mbi_list {
    struct slice mbis[RESOURCE_MBI_MAX];
    size_t count;
};

/* A run of bytes in the document. */
struct span {
    size_t begin;
    size_t end;
};

/* The first and the last of some days; DAY_NONE. */
struct day_range {
    int32_t first;
    int32_t last;
};

/* A text that does not say a day changes nothing: service dates help to choose claims, and no claim is
 * refused for a bad one. */
void day_range_include(struct day_range *range, struct slice text);

struct resource_scan {
    /* What was found. */
    struct scan_string
        strings[SCAN_PLACE_COUNT]; /* of places that are strings and stand once in a resource */
    struct mbi_list mbis[MBI_CURRENCY_COUNT];
    struct day_range items;
    bool has_meta;
    size_t meta_keys;
    struct span meta_member; /* from the key's begin to the value's end */
    size_t meta_inside;      /* behind meta's opening brace */
    struct span last_updated_member;
    struct span last_updated; /* with its quotes */
    struct slice document;

    /* The reading. */
    struct json_reader *reader;
    struct arena arena;                    /* strings that had escapes */
    struct buffer canonical;               /* what resource_scan_canonicalise made */
    enum scan_place stack[SCAN_DEPTH_MAX]; /* the open containers that are looked at */
    unsigned depth;                        /* how many they are: what stands in the last has this depth */
    enum scan_place next;                  /* where the next value belongs */
    enum mbi_currency currency;            /* of the identifier being read */
};

void resource_scan_init(struct resource_scan *scan);
void resource_scan_release(struct resource_scan *scan);

NODISCARD enum status resource_scan_read(struct resource_scan *scan, struct slice document,
                                         struct error *error);

/* After a read that went well: makes `document` its minified form, and the spans those in it. Without a copy
 * if there is no white space to remove. */
void resource_scan_canonicalise(struct resource_scan *scan);

#endif
