/*
 * Deletions: what was deleted, so that exports with `_since` can tell of it, and so that an older version
 * which arrives late does not bring it back.
 *
 * A *tombstone* (TABLE_TOMBSTONE) stands for each (type, id) that was deleted and does not stand now. It has
 * the deletion's source time: a version that is not newer is late. One that is newer ends the tombstone. A
 * deletion of what was never here leaves a tombstone too, of no beneficiary: the version that it deletes may
 * be on its way.
 *
 * TABLE_DELETED lists, by beneficiary and stamp, the deletions that exports tell of: of resources that stood
 * here. A row is born with the deletion and superseded when the resource comes back. It is not keyed by the
 * beneficiary's home, which may change. Stamps are chosen and checked as those of resources
 * (storage/resources.h), so 'export, next time _since' hears of each deletion once.
 *
 * A deleted resource may come back under its own beneficiary only (the packer refuses it under another one),
 * so a tombstone's beneficiary never changes.
 *
 * Threading: reads need a transaction of the calling thread; writes happen within a write request.
 */
#ifndef STORAGE_DELETION_H
#define STORAGE_DELETION_H

#include "storage/store.h"

struct tombstone {
    int64_t source_us; /* when it was deleted, by its source */
    int64_t stamp_us;  /* as exports tell it */
    uint64_t birth;    /* of its row in TABLE_DELETED */
    uint64_t changed;  /* sequence of the request that wrote this */
    struct slice
        beneficiary; /* borrowed from the row; empty: it never stood here, and is not in TABLE_DELETED */
};
/* STATUS_NOT_FOUND. */
NODISCARD enum status tombstone_get(struct engine_txn *txn, enum resource_type type, struct slice id,
                                    struct tombstone *ret_tombstone, struct error *error);
/* A row of TABLE_TOMBSTONE. */
NODISCARD enum status tombstone_parse(struct slice value, struct tombstone *ret_tombstone,
                                      struct error *error);

struct deletion {
    struct slice beneficiary, id; /* borrowed */
    enum resource_type type;
    int64_t stamp_us;
    uint64_t birth;
    uint64_t death; /* the sequence at which the resource came back; SEQUENCE_NEVER */
};
void key_deleted(struct key *key, const struct deletion *deletion);
/* A row of TABLE_DELETED. */
NODISCARD enum status deletion_parse(struct slice key, struct slice value, struct deletion *ret_deletion,
                                     struct error *error);

/* Within a write request. The resource leaves its beneficiary; it must stand there (STATUS_INVALID). */
NODISCARD enum status deletion_record(struct store_write *write, enum resource_type type, struct slice id,
                                      struct slice beneficiary, int64_t source_us, int64_t stamp_us,
                                      struct error *error);
/* Within a write request. Of what does not stand: from now on no version up to this time comes in. */
NODISCARD enum status deletion_remember(struct store_write *write, enum resource_type type, struct slice id,
                                        int64_t source_us, struct error *error);
/* Within a write request. The resource comes back: its tombstone goes, if there is one, and exports whose
 * view begins here do not tell of the deletion. While a job is active (`is_pinned`) its row stays for that
 * job. */
NODISCARD enum status deletion_end(struct store_write *write, enum resource_type type, struct slice id,
                                   bool is_pinned, struct error *error);
/* Within a write request. Deletes the row that a key of TABLE_DEAD names, behind its DEAD_DELETED. */
NODISCARD enum status deletion_collect(struct store_write *write, struct slice deleted_key,
                                       struct error *error);

/* The deletions of one beneficiary after another, as they stand at a sequence. In ascending order of
 * beneficiaries a seek costs next to nothing where there are no deletions. */
struct deletion_scan;
NODISCARD enum status deletion_scan_open(struct engine_txn *txn, uint64_t sequence,
                                         struct deletion_scan **ret_scan, struct error *error);
void deletion_scan_close(struct deletion_scan *scan); /* NULL is allowed */
/* Whether nothing stands behind the last answer: whoever only goes forward need not seek any more. */
bool deletion_scan_is_over(const struct deletion_scan *scan);
/* Those with stamp > since_us. */
void deletion_scan_seek(struct deletion_scan *scan, struct slice beneficiary, int64_t since_us);
/* Oldest stamp first. STATUS_NOT_FOUND at the end of the beneficiary. STATUS_CORRUPT: one row cannot be read;
 * the next call goes on behind it. */
NODISCARD enum status deletion_scan_next(struct deletion_scan *scan, struct deletion *ret_deletion,
                                         struct error *error);

#endif
