/*
 * Query strings: raw pairs, and percent-decoding.
 *
 * Splitting comes before decoding, so that an encoded "&" or "=" never separates anything. Beside "&", a "?"
 * directly before "_type=", "_since=" or "_outputFormat=" separates: the advanced guide's own command is
 * "?_type=Patient?_since=...".
 *
 * Threading: pure functions.
 */
#ifndef SERVER_QUERY_H
#define SERVER_QUERY_H

#include "codec/base/arena.h"
#include "codec/base/status.h"

/* Takes the next pair from the front of *rest, both parts still encoded; empty pairs ("&&") are skipped. A
 * pair without "=" has an empty value. False when nothing is left. */
bool query_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value);

/* Decodes %XX, and "+" as a space where `plus_is_space`. The result borrows from `raw` if there was nothing
 * to decode, else it lives in the arena. STATUS_INVALID for a "%" without two hex digits, and for %00. */
NODISCARD enum status query_decode(struct slice raw, struct arena *arena, bool plus_is_space,
                                   struct slice *ret_text);

#endif
