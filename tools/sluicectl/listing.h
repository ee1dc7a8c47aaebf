/*
 * A listing: rows that become a table for a person, or JSON with --json. Each cell is given once.
 */
#ifndef TOOLS_SLUICECTL_LISTING_H
#define TOOLS_SLUICECTL_LISTING_H

#include "storage/read_steps.h"
#include "tools/common/table.h"
#include "tools/sluicectl/command.h"

struct listing {
    const struct invocation *invocation;
    void *context; /* of listing_show */
    struct store *store;
    struct read_steps steps; /* open at the begin: short listings read in this one step */
    struct text_table table;
    struct buffer json_text;
    struct json_writer *json;
    struct buffer above, below; /* lines around the table, for a person */
    bool has_rows_ended;
    bool is_incomplete; /* something could not be read, and that was told: the exit status is 1 */
};

void listing_row_begin(struct listing *listing);
void listing_row_end(struct listing *listing);
/* One cell, under the key in JSON. */
void listing_string(struct listing *listing, const char *key, struct slice value);
void listing_text(struct listing *listing, const char *key, const char *value);
void listing_number(struct listing *listing, const char *key, uint64_t value);
void listing_bytes(struct listing *listing, const char *key, uint64_t bytes); /* "1.2 GB"; a number in JSON */
void listing_switch(struct listing *listing, const char *key, bool value);    /* "yes", ""; true, false */
/* To the minute, "-" for none; exactly, or null, in JSON. */
void listing_instant(struct listing *listing, const char *key, int64_t us);

/* Of a listing_run_object: puts the rows of the JSON between these two. What else the object says is written
 * to listing->json before or behind them, and for a person by listing_line. */
void listing_rows_begin(struct listing *listing, const char *key);
void listing_rows_end(struct listing *listing);
/* A line above the table, or below it once the rows have ended. */
void listing_line(struct listing *listing, const char *format, ...) PRINTF_LIKE(2, 3);

/* What `fill` makes of a record that cannot be read: it costs only itself, is told at once, and makes the
 * listing incomplete. Ends the step, since standard error may block. Any other status comes back as it is. */
NODISCARD enum status listing_pass_damage(struct listing *listing, enum status status,
                                          const struct error *error);

/* Opens the store, lets `fill` add the rows, prints them (nothing if it fails). The exit status. */
typedef enum status listing_fill(struct listing *listing, struct error *error);
int listing_run(const struct invocation *invocation, const char *const *titles, size_t columns,
                listing_fill *fill);
/* As listing_run, with an object around the rows in JSON. */
int listing_run_object(const struct invocation *invocation, const char *const *titles, size_t columns,
                       listing_fill *fill);
/* As listing_run_object, of what is known already: there is no store. */
int listing_show(const struct invocation *invocation, const char *const *titles, size_t columns,
                 listing_fill *fill, void *context);

#endif
