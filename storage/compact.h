/*
 * Compaction: merges and recompresses what is stored, beneficiary by beneficiary, on all cores, through the
 * one writer and beside everything else (storage/compactor.h says what changes, and what does not).
 *
 * It may be stopped at any time, in any way: each delta is a transaction, and what is done stays done. Run
 * again, it goes on, and right after a whole run there is nothing left to do.
 *
 * Space: pages that are free are given back to the file system (storage/space.h), now and then and at the
 * end. New segments are written before the old ones are free, and while an export job is active its view pins
 * what was replaced. So compaction counts those bytes, and beyond pinned_bytes_max it waits for the jobs, and
 * at last gives up (STATUS_BUSY): run it again when they are done.
 *
 * Threading: compact_run on one thread; it uses its own threads and returns when they are done. Callbacks
 * come on any of them, one at a time; `is_stopped` at any time.
 */
#ifndef STORAGE_COMPACT_H
#define STORAGE_COMPACT_H

#include "storage/compactor.h"
#include "storage/control.h"

/* A client may ask for seven years of claims of whom it was attributed newly. */
#define COMPACT_HISTORY_YEARS_MIN 7
#define COMPACT_OLDER_THAN_DAYS   90
#define COMPACT_GATHER_DAYS       28
#define COMPACT_PINNED_BYTES_MAX  ((uint64_t)1024 * 1024 * 1024)
#define COMPACT_WAIT_SECONDS      600
#define COMPACT_RELEASE_BYTES     ((uint64_t)256 * 1024 * 1024) /* replaced ones: then space is given back */

struct compact_options {
    struct compact_rules rules;
    unsigned threads;          /* 0: one a core, and one */
    uint64_t pinned_bytes_max; /* 0: COMPACT_PINNED_BYTES_MAX */
    unsigned wait_seconds;     /* for jobs that pin too much, at a time; 0: not at all */
    void *context;
    /* Now and then: raw bytes of the beneficiaries that are done, of all. May be NULL. */
    void (*progress)(void *context, uint64_t bytes_done, uint64_t bytes_total, const char *note);
    /* What cannot be read is left as it is. May be NULL. */
    void (*damaged)(void *context, const char *reason);
    /* True: to stop soon. May be NULL. */
    bool (*is_stopped)(void *context);
};

/* The first day that is kept, if claims are kept for so many years after their last day of service: today's
 * date of that year. */
int32_t compact_keep_from_day(int64_t now_us, unsigned years);

struct compact_counts {
    uint64_t beneficiaries; /* looked at, of all at the beginning */
    uint64_t beneficiaries_total;
    uint64_t changed;  /* beneficiaries' types of which something was rewritten */
    uint64_t replaced; /* segments */
    uint64_t made;
    uint64_t replaced_bytes; /* stored ones */
    uint64_t made_bytes;
    uint64_t dropped;        /* claims that are kept no more */
    uint64_t stale;          /* deltas that were made again, since something came between */
    uint64_t damaged;        /* beneficiaries' types, beneficiaries and blocks of the index that were left */
    uint64_t released_bytes; /* given back to the file system; what was used again meanwhile counts, too */
    bool no_holes;           /* the file system takes nothing back */
};

/* STATUS_CANCELLED: it was stopped. STATUS_BUSY: jobs pin too much. In any case the counts say how far it
 * came. */
NODISCARD enum status compact_run(struct link *link, const struct compact_options *options,
                                  struct compact_counts *ret_counts, struct error *error);

#endif
