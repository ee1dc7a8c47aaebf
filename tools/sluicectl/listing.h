/*
 * A listing: rows that become a table for a person, or JSON with --json. Each cell is given once.
 */
#ifndef TOOLS_SLUICECTL_LISTING_H
#define TOOLS_SLUICECTL_LISTING_H

#include "tools/common/table.h"
#include "tools/sluicectl/command.h"

struct listing {
    const struct invocation *invocation;
    struct store *store;
    struct engine_txn *txn; /* one snapshot, for all rows */
    struct text_table table;
    struct buffer json_text;
    struct json_writer *json;
};

void listing_row_begin(struct listing *listing);
void listing_row_end(struct listing *listing);
/* One cell, under the key in JSON. */
void listing_string(struct listing *listing, const char *key, struct slice value);
void listing_text(struct listing *listing, const char *key, const char *value);
void listing_number(struct listing *listing, const char *key, uint64_t value);
void listing_bytes(struct listing *listing, const char *key, uint64_t bytes); /* "1.2 GB"; a number in JSON */
void listing_instant(struct listing *listing, const char *key, int64_t us);

/* Opens store and snapshot, lets `fill` add the rows, prints them (nothing if it fails). The exit status. */
int listing_run(const struct invocation *invocation, const char *const *titles, size_t columns,
                enum status (*fill)(struct listing *listing, struct error *error));

#endif
