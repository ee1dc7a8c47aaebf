/*
 * Rows of intervals: the value of TABLE_ATTRIBUTION and TABLE_EXPORTABLE. A row holds versions; nothing in it
 * changes but that a version is superseded (death) by the one that takes its place.
 *
 * At any sequence at most one open interval is visible; the closed ones are the history that tells whether
 * the row was in force at an earlier instant.
 *
 * Threading: plain values.
 */
#ifndef STORAGE_INTERVAL_H
#define STORAGE_INTERVAL_H

#include "storage/attribution.h"

struct interval_row {
    struct interval items[INTERVALS_MAX + 2]; /* room for one change */
    size_t count;
};

/* STATUS_NOT_FOUND leaves the row empty. */
NODISCARD enum status interval_row_get(struct engine_txn *txn, unsigned table, struct slice key,
                                       struct interval_row *row, struct error *error);
NODISCARD enum status interval_row_parse(struct slice value, struct interval_row *row, struct error *error);
/* Drops versions that no active job can see (superseded at or before `oldest_sequence`), then stores. */
NODISCARD enum status interval_row_put(struct store_write *write, unsigned table, struct slice key,
                                       struct interval_row *row, uint64_t oldest_sequence,
                                       struct error *error);

/* The standing open interval, or NULL. */
struct interval *interval_row_open_one(struct interval_row *row);
/* There must be no open one (CHECK). */
void interval_row_begin(struct interval_row *row, int64_t start_us, uint64_t sequence, uint32_t home);
/* There must be an open one (CHECK). An interval that would be empty leaves no history. */
void interval_row_end(struct interval_row *row, int64_t end_us, uint64_t sequence);

/* There must be an open one (CHECK). The same interval, under another home from this sequence on. */
void interval_row_move(struct interval_row *row, uint64_t sequence, uint32_t home);
/* True if it can be moved and stored without the loss of a version that is needed. */
bool interval_row_may_move(const struct interval_row *row, uint64_t oldest_sequence);

/* As seen at a sequence. */
bool interval_is_visible(const struct interval *interval, uint64_t sequence);
const struct interval *interval_row_open_at(const struct interval_row *row, uint64_t sequence);
bool interval_row_covers(const struct interval_row *row, uint64_t sequence, int64_t instant_us);

#endif
