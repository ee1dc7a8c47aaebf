/*
 * Dump: the resources of a range as lines, without a job: what an export would hold now.
 *
 * Order: by type as they are given, then by beneficiary (memcmp), then as an export writes them: segments by
 * their newest stamp, lines by id. With an ACO the lines are byte for byte those of the export's files of
 * each type, one after another; without one they are everything that stands, attributed or not.
 *
 * Beside a writer. A job pins what it reads; a dump pins nothing and reads in short steps. All resources of
 * one type of one beneficiary are read at one moment, and the moments only move forward. So:
 * - each resource appears once at most, in a version that stood while the dump ran;
 * - whatever stood unchanged from begin to end (resource, attribution) appears;
 * - two beneficiaries, or two types of one, may be of different moments: ret_counts says whether anything
 *   was written meanwhile. If not, the dump is exact.
 *
 * Memory: the stored bytes of DUMP_STEP_BYTES or of one beneficiary and type, whichever is more; and one
 * segment's lines.
 *
 * Threading: one thread.
 */
#ifndef STORAGE_DUMP_H
#define STORAGE_DUMP_H

#include "codec/resource.h"
#include "storage/store.h"

#define DUMP_STEP_BYTES        ((size_t)8 * 1024 * 1024)    /* stored, that are copied in one transaction */
#define DUMP_BENEFICIARY_BYTES ((size_t)1024 * 1024 * 1024) /* of one type; more is told as damage */

struct dump_options {
    const char *aco_id; /* NULL: everything that stands */
    enum resource_type types[RESOURCE_TYPE_COUNT];
    size_t type_count;
    int64_t since_us;  /* resources with a later stamp; INSTANT_MIN_US: all */
    size_t step_bytes; /* 0: DUMP_STEP_BYTES */
    void *context;
    /* Whole lines. No transaction is open: it may block. A failure ends the dump. */
    enum status (*lines)(void *context, struct slice lines, struct error *error);
    /* Something cannot be read and is left out. */
    void (*damage)(void *context, const char *what);
};

struct dump_counts {
    uint64_t resources, raw_bytes;
    uint64_t damaged;
    bool changed; /* something was written between begin and end */
};

/* STATUS_NOT_FOUND: no such ACO. STATUS_OK also if there is damage: see the counts. */
NODISCARD enum status dump_run(struct store *store, const struct dump_options *options,
                               struct dump_counts *ret_counts, struct error *error);

#endif
