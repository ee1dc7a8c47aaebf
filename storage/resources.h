/*
 * Resources: segments put in batches, replaced, and scanned at a sequence.
 *
 * An import works in two steps. The *packer* (any thread, any process) reads a snapshot, decides for each
 * resource whether it is new, newer, identical or late, chooses the stamp, and deflates; its result for one
 * beneficiary and type is a *delta*: segments to add, segments that they supersede, ids to index. The
 * *writer* checks that nothing the packer relied on has changed (the beneficiary's segments of that type, the
 * transactionTimes given to the ACOs that read it) and applies the delta, or hands it back (STATUS_STALE) to
 * be packed again.
 *
 * Stamps: a resource is committed under its own meta.lastUpdated if that is later than every transactionTime
 * already given to the ACOs that read it and not later than the commit; else under the importing instant.
 * Deletions are stamped likewise (storage/deletion.h).
 *
 * Threading: deltas are plain bytes; reads need a transaction of the calling thread.
 */
#ifndef STORAGE_RESOURCES_H
#define STORAGE_RESOURCES_H

#include "codec/segment.h"
#include "storage/attribution.h"

#define LAST_UPDATED_DEFAULT_US                                                                              \
    INT64_C(1577836800000000) /* 2020-01-01: a resource without meta.lastUpdated */
#define DELTA_SEGMENTS_MAX 65535

struct delta_deletion {
    struct slice id;
    int64_t source_us; /* when it was deleted */
    bool is_stored;    /* it stands, and leaves with this delta; else the deletion is only remembered */
    int64_t stamp_us;  /* of one that is stored: as resources' */
};

/* One delta, as views into its encoding. */
struct delta {
    enum resource_type type;
    struct slice beneficiary; /* empty: nobody's; it only remembers deletions of what is not here */
    uint64_t seen;            /* beneficiary.changed[type] in the packer's snapshot; 0: none */
    uint64_t as_of;           /* the sequence of that snapshot: what tombstones it has seen */
    uint32_t attribute;       /* import --aco: that ACO's number, else 0 */
    int64_t kept_min_us; /* oldest time that was kept, of an arriving resource or deletion; INT64_MAX: none */
    int64_t newest_us;   /* newest stamp among the arriving ones, kept or stamped; INT64_MIN: none */
    bool stamped;        /* some were stamped: the stamp is stamp_us */
    int64_t stamp_us;
    const struct slice *mbis; /* of an arriving Patient, current first */
    size_t mbi_count;
    const struct segment_name *superseded;
    size_t superseded_count;
    const struct slice *segments; /* values as codec/segment.h makes them, in id order per load */
    size_t segment_count;
    const struct slice *ids; /* resource ids to index under the beneficiary */
    size_t id_count;
    const struct delta_deletion *deletions; /* the segments that hold them are superseded, too */
    size_t deletion_count;
    const struct slice *dropped; /* ids that are kept no more: out of the index, and no deletion is told */
    size_t dropped_count;
};
void delta_encode(const struct delta *delta, struct buffer *target);
/* Arrays live in the arena, slices borrow from the encoding. STATUS_INVALID if it is malformed. */
NODISCARD enum status delta_decode(struct slice encoding, struct arena *arena, struct delta *ret_delta,
                                   struct error *error);

/* Within a write request. STATUS_STALE: pack again (nothing was written). */
NODISCARD enum status resources_apply(struct store_write *write, const struct delta *delta,
                                      struct arena *arena, struct error *error);

/* A batch of encoded deltas as one write request. Those that were stale are named by index. */
struct delta_batch {
    struct write_request request;
    struct buffer encodings; /* each: u32 size, encoding; owned */
    size_t count;
    struct buffer ret_stale; /* u32 indexes; owned */
};
void delta_batch_init(struct delta_batch *batch);
void delta_batch_release(struct delta_batch *batch);
void delta_batch_add(struct delta_batch *batch, const struct delta *delta);

/* The segments of one beneficiary and type that stand at a sequence, oldest stamp first. */
struct stored_segment {
    struct segment_name name;
    uint64_t death;
    struct segment segment; /* borrowed until the cursor's next step (LMDB: until the transaction's end) */
    struct slice value;     /* the segment's own bytes */
};
/* A value of TABLE_SEGMENT; fills all but the name. */
NODISCARD enum status stored_segment_open(struct slice record, struct stored_segment *stored,
                                          struct error *error);

struct segment_scan;
NODISCARD enum status segment_scan_open(struct engine_txn *txn, enum resource_type type, uint64_t sequence,
                                        struct segment_scan **ret_scan, struct error *error);
void segment_scan_close(struct segment_scan *scan);
/* Segments with newest stamp > since_us. */
void segment_scan_seek(struct segment_scan *scan, uint32_t home, struct slice beneficiary, int64_t since_us);
/* STATUS_NOT_FOUND at the end. STATUS_CORRUPT: one segment cannot be read (the text names its key); the next
 * call goes on behind it. */
NODISCARD enum status segment_scan_next(struct segment_scan *scan, struct stored_segment *ret_segment,
                                        struct error *error);

/* Counts of one beneficiary, as they are now (not at a sequence): estimates for plans and progress. newest_us
 * never falls: what it excludes is excluded at every sequence. */
struct summary {
    struct {
        uint32_t segments;
        uint64_t resources;
        int64_t newest_us; /* INT64_MIN: none */
        uint64_t raw_bytes;
        uint64_t stored_bytes;
    } of[RESOURCE_TYPE_COUNT];
    /* When the beneficiary left this home; SEQUENCE_NEVER while it stands here. From then on nothing under
     * this home changes any more. */
    uint64_t left;
};
void summary_init(struct summary *summary); /* of nothing */
NODISCARD enum status summary_get(struct engine_txn *txn, uint32_t home, struct slice beneficiary,
                                  struct summary *ret_summary, struct error *error);

/* The same for one beneficiary after another: those that stand side by side, as an ACO's mostly do, are found
 * without a search each. In whatever order they are asked for, the answers are those of summary_get. Ends
 * with its transaction. */
struct summary_scan;
NODISCARD enum status summary_scan_open(struct engine_txn *txn, struct summary_scan **ret_scan,
                                        struct error *error);
void summary_scan_close(struct summary_scan *scan); /* NULL is allowed */
NODISCARD enum status summary_scan_get(struct summary_scan *scan, uint32_t home, struct slice beneficiary,
                                       struct summary *ret_summary, struct error *error);

NODISCARD enum status summary_put(struct store_write *write, uint32_t home, struct slice beneficiary,
                                  const struct summary *summary, struct error *error);

/* A row of TABLE_SUMMARY. */
NODISCARD enum status summary_parse(struct slice value, struct summary *ret_summary, struct error *error);

/* The beneficiary to whom a resource belongs. */
NODISCARD enum status resource_find(struct engine_txn *txn, enum resource_type type, struct slice id,
                                    struct buffer *ret_beneficiary, struct error *error);
/* Appends the newest version of one resource (canonical JSON). */
NODISCARD enum status resource_get(struct engine_txn *txn, enum resource_type type, struct slice id,
                                   struct buffer *target, struct error *error);

/* Deletes superseded segments, and homes that were left, as far as no active job needs them: at most `limit`
 * rows. A write request of its own. */
struct resources_collect {
    struct write_request request;
    size_t limit;
    size_t ret_deleted;
    bool ret_more;
};
void resources_collect_init(struct resources_collect *collect, size_t limit);

#endif
