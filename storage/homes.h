/*
 * Homes: moving the segments of a beneficiary to the ACO that exports it.
 *
 * A roster changes rows of attribution only, in one transaction. A beneficiary whose home is then none of the
 * ACOs that may export it is noted in TABLE_MOVE in that same transaction (beneficiary_put), and moved later,
 * in steps that are bounded in rows, bytes and time. Its new home is the ACO whose interval began first; of
 * several, the one with the lowest number. One that nobody may export stays where it is. A removed ACO counts
 * as none, if there is another; that is looked at when something of the beneficiary is written next.
 *
 * A move copies records as they are, key for key and byte for byte; only the home in the key differs. While
 * copies are made nothing names the new home, so nobody sees them. The last step switches, in one
 * transaction: the beneficiary's row, the open interval of each of its ACOs (a new version from this sequence
 * on) and the summary name the new home; the old home is left *as a whole*: its summary says when, and a row
 * of TABLE_DEAD names it. Nothing under it changes any more, so jobs with older views find there what they
 * always found. It is collected when no active job is older (resources_collect).
 *
 * Why a packer's delta applies before and after a switch alike: it names segments within the beneficiary, by
 * newest stamp, birth and ordinal, and these do not change.
 *
 * A home that was left and is not collected yet keeps its beneficiary from coming back to it: the move waits.
 * So it does if a segment cannot be read, or if a row of intervals has no room. Waiting costs nothing but
 * locality.
 *
 * Threading: within a write request, as accounts.h; homes_run on a thread that may block.
 */
#ifndef STORAGE_HOMES_H
#define STORAGE_HOMES_H

#include "storage/beneficiary.h"
#include "storage/control.h"

/* Bounds of one step. */
#define HOMES_STEP_BYTES    ((size_t)512 * 1024) /* copied; one segment may exceed it */
#define HOMES_STEP_SEGMENTS 512                  /* copied, and deleted */
#define HOMES_STEP_ROWS     256                  /* beneficiaries looked at */
#define HOMES_STEP_US       20000                /* after which no further beneficiary is begun */

/* Within a write request: notes a beneficiary whose home has to change. */
NODISCARD enum status homes_note(struct store_write *write, struct slice id,
                                 const struct beneficiary *beneficiary, struct error *error);
/* Within a write request: deletes what stands under a home that was left at `left`, at most `limit` rows. The
 * row of TABLE_DEAD goes with the last of them. */
NODISCARD enum status home_collect(struct store_write *write, uint32_t home, struct slice id, uint64_t left,
                                   size_t limit, size_t *ret_deleted, struct error *error);

/* How far a move has come: the value of TABLE_MOVE. */
struct move {
    bool has_copies; /* some stand under copy_home, and nobody reads them */
    uint32_t copy_home;
    /* The segment that was copied last. */
    uint8_t type;
    struct segment_name name;
    uint64_t changed[RESOURCE_TYPE_COUNT]; /* as the beneficiary's when the copying began */
};
/* STATUS_NOT_FOUND: it is not to be moved. */
NODISCARD enum status move_get(struct engine_txn *txn, struct slice id, struct move *ret_move,
                               struct error *error);

/* How many wait to be moved. */
NODISCARD enum status homes_count(struct engine_txn *txn, uint64_t *ret_count, struct error *error);

/* A place among those that wait, in the order of their ids. */
struct homes_position {
    char id[RESOURCE_ID_MAX + 1];
    size_t size; /* 0: before the first */
};

/* One step: moves those that wait, from a position on, or a part of the first. */
struct homes_step {
    struct write_request request;
    struct homes_position from;
    size_t bytes_max; /* 0: HOMES_STEP_BYTES */
    uint64_t ret_moved;
    uint64_t ret_bytes; /* copied */
    bool ret_done;      /* the last one was looked at; else it goes on at ret_next */
    struct homes_position ret_next;
};
void homes_step_init(struct homes_step *step, const struct homes_position *from);

struct homes_counts {
    uint64_t moved;   /* beneficiaries */
    uint64_t bytes;   /* of their segments, as stored */
    uint64_t steps;   /* transactions */
    uint64_t waiting; /* before the step; in the end: that cannot be moved now */
};
struct homes_options {
    size_t step_bytes; /* 0: HOMES_STEP_BYTES */
    void *context;
    /* After each step, which took `step_us`: rests as it likes; false ends the run. May be NULL. */
    bool (*rest)(void *context, const struct homes_counts *counts, int64_t step_us);
};
/* Moves all that can be moved. Wherever it ends, or dies, the next run goes on. */
NODISCARD enum status homes_run(struct link *link, const struct homes_options *options,
                                struct homes_counts *ret_counts, struct error *error);

#endif
