/*
 * FHIR instants and dateTimes (FHIR STU3, datatypes.html#instant, #dateTime; XML Schema dateTime).
 *
 * Everything inside the project is int64 microseconds since 1970-01-01T00:00:00Z. Years 0001 to 9999.
 * Hour 24, second 60, a missing zone or missing seconds are refused; zones reach from -14:00 to +14:00
 * ("-00:00" and "Z" are UTC).
 *
 * Formatting takes instants from INSTANT_MIN_US to INSTANT_MAX_US (CHECK); parsing gives no others. Refusals
 * are STATUS_INVALID with the text (40 bytes of it at most) and what is wrong with it.
 *
 * Threading: any thread. Pure functions, but that http_date_parse asks the clock for a two-digit year's
 * century.
 */
#ifndef CODEC_INSTANT_H
#define CODEC_INSTANT_H

#include "codec/base/slice.h"
#include "codec/base/status.h"

#include <stdint.h>

#define INSTANT_TEXT_SIZE 40
#define INSTANT_MIN_US    INT64_C(-62135596800000000) /* 0001-01-01T00:00:00Z */
#define INSTANT_MAX_US    INT64_C(253402300799999999) /* 9999-12-31T23:59:59.999999Z */
#define DAY_NONE          INT32_MIN

/* What a resource's meta.lastUpdated says. Digits beyond microseconds round up, so that a resource is
 * never taken for older than it is. */
NODISCARD enum status instant_parse(struct slice text, int64_t *ret_us, struct error *error);

/* What `_since` may say: an instant, or a dateTime of date precision (YYYY, YYYY-MM, YYYY-MM-DD: their
 * first instant, UTC). Digits beyond microseconds are cut. A space where the zone's `+` belongs is a `+`
 * (form decoding turned it into one). */
NODISCARD enum status datetime_parse_since(struct slice text, int64_t *ret_us, struct error *error);

/* A FHIR date or dateTime (any precision) as days since 1970-01-01, the date as written (no zone shift); a
 * year or a month is its first day. */
NODISCARD enum status date_parse_days(struct slice text, int32_t *ret_days, struct error *error);

/* "2019-12-09T20:44:01.705398Z": always 6 fraction digits. Returns the length. */
size_t instant_format(int64_t us, char text[INSTANT_TEXT_SIZE]);
/* As meta.lastUpdated is written: "2020-01-01T00:00:00.000+00:00", 3 fraction digits when they suffice,
 * else 6. instant_parse gives the same microseconds back. */
size_t instant_format_meta(int64_t us, char text[INSTANT_TEXT_SIZE]);
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7), and back (all three forms it asks for). */
size_t http_date_format(int64_t us, char text[INSTANT_TEXT_SIZE]);
NODISCARD enum status http_date_parse(struct slice text, int64_t *ret_us, struct error *error);

/* Days since 1970-01-01 of a civil date; the date must be valid. */
int32_t day_from_civil(int year, unsigned month, unsigned day);

#endif
