/*
 * Lists in header fields (RFC 9110 section 5.6.1): elements between commas, each a value and its parameters
 * between semicolons. Quoted strings are understood: what stands in one separates nothing.
 *
 * Lenient, as the standard asks of recipients: empty elements are skipped, white space is allowed around
 * every separator.
 *
 * Threading: pure functions; slices borrow from the input.
 */
#ifndef SERVER_FIELD_LIST_H
#define SERVER_FIELD_LIST_H

#include "codec/base/slice.h"

#define FIELD_QUALITY_MAX 1000

struct field_item {
    struct slice value; /* what stands before the first ";": "application/fhir+json", "handling=lenient" */
    struct slice parameters; /* behind it; take them by field_pair_next */
};

/* Takes the next element from the front of *rest. False when nothing is left. */
bool field_list_next(struct slice *rest, struct field_item *ret_item);

/* Takes the next "name" or "name=value" from the front of *parameters; the value without its quotes. */
bool field_pair_next(struct slice *parameters, struct slice *ret_name, struct slice *ret_value);

/* The weight of an element (section 12.4.2) in thousandths: 1000 if it has none. False if it is malformed:
 * pass the element over. */
bool field_item_quality(const struct field_item *item, unsigned *ret_quality);

/* Equal but for the case of ASCII letters. */
bool field_equal(struct slice a, const char *text);

#endif
