/*
 * Conditional requests and ranges (RFC 9110 sections 13 and 14): which part of a representation a GET or HEAD
 * is to answer with. Pure: field values in, a decision out.
 *
 * Threading: pure functions.
 */
#ifndef SERVER_PRECONDITION_H
#define SERVER_PRECONDITION_H

#include "codec/base/slice.h"

#include <stdint.h>

/* More than that are ignored, as are ranges that overlap so much that they are more than the whole: the whole
 * is sent. */
#define RANGES_MAX 16

struct byte_range {
    uint64_t begin;
    uint64_t end; /* exclusive */
};

/* The fields of the request; data NULL: absent. */
struct precondition_fields {
    struct slice if_match;
    struct slice if_none_match;
    struct slice if_modified_since;
    struct slice if_unmodified_since;
    struct slice range; /* leave it out for HEAD: it is defined for GET alone */
    struct slice if_range;
};

/* What the representation is. */
struct representation {
    struct slice etag; /* strong, with its quotes */
    int64_t modified_us;
    uint64_t bytes; /* more than 0 */
};

enum precondition {
    PRECONDITION_WHOLE,         /* 200 */
    PRECONDITION_PARTIAL,       /* 206: ret_ranges, in the order asked for */
    PRECONDITION_NOT_MODIFIED,  /* 304 */
    PRECONDITION_FAILED,        /* 412 */
    PRECONDITION_UNSATISFIABLE, /* 416 */
};

/* In the order of RFC 9110 section 13.2.2. A field that is malformed is ignored, as the RFC wants. */
enum precondition precondition_check(const struct precondition_fields *fields,
                                     const struct representation *representation,
                                     struct byte_range ret_ranges[RANGES_MAX], size_t *ret_count);

#endif
