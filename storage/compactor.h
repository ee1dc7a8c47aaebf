/*
 * The compactor: makes the delta that merges and recompresses what is stored of one beneficiary and type. It
 * is to compaction what the packer is to an import (storage/resources.h's two steps).
 *
 * Segments whose newest stamp is older than a bound are *old*. Of these it takes what is not at the best
 * level and what is small, and merges it in id order into segments of about SEGMENT_RAW_TARGET: a claim at a
 * time costs six times the bytes of claims that stand together. Large ones at the best level are left alone,
 * so a later compaction costs what came since, not what is there. A `_since` that falls into a segment costs
 * inflating it, and clients ask for what is young: so the youngest are recompressed each by itself, and those
 * in between are merged by their months, until they are old.
 *
 * A claim whose last day of service is earlier than another bound leaves the store (retention), whatever its
 * segment's age: it is no deletion that exports would tell of, it is just kept no more.
 *
 * Nothing else changes: lines, ids, stamps and hashes stay as they are, so exports are the same with any
 * `_since`, before and after.
 *
 * Threading: a compactor belongs to one thread.
 */
#ifndef STORAGE_COMPACTOR_H
#define STORAGE_COMPACTOR_H

#include "storage/resources.h"

/* An old segment with fewer raw bytes is worth merging with another one. */
#define COMPACT_SMALL_BYTES (SEGMENT_RAW_TARGET / 4)
/* Of what one delta takes, unless one segment is larger by itself: it bounds memory and the writer's turn. */
#define COMPACT_DELTA_RAW_BYTES_MAX ((size_t)16 * 1024 * 1024)

#define COMPACT_MONTH_DAYS 30 /* of newest stamps, counted from 1970-01-01 */

struct compactor;

struct compact_rules {
    int64_t merge_before_us;  /* segments whose newest stamp is earlier are old */
    int64_t gather_before_us; /* younger ones whose newest stamp is earlier are merged by months */
    int32_t keep_from_day;    /* ExplanationOfBenefit whose last day is earlier leave; DAY_NONE: none do */
};

/* Borrows nothing. */
struct compactor *compactor_new(struct store *store, const struct compact_rules *rules);
void compactor_free(struct compactor *compactor);

struct compact_result {
    bool has_delta;         /* false: nothing is left to do here */
    struct delta delta;     /* lives until the compactor's next call */
    uint64_t stored_before; /* bytes of the segments that it supersedes */
    uint64_t stored_after;  /* of those that it adds */
    uint64_t dropped;       /* resources that are kept no more */
};

/* What there is to do for the beneficiary's resources of this type: as much as one delta takes. Apply it and
 * call again, until there is none. Reads a fresh snapshot, and deflates outside of it. STATUS_CORRUPT: a
 * segment cannot be read; then nothing of this beneficiary and type is touched. */
NODISCARD enum status compactor_pack(struct compactor *compactor, enum resource_type type,
                                     struct slice beneficiary, struct compact_result *ret_result,
                                     struct error *error);

#endif
