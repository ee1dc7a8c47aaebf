/*
 * The checks of verify, one for each table: a record against what it refers to and what refers to it. Private
 * to verify*.c; verify.c walks the tables and calls them.
 *
 * A check reports what is wrong by verify_fault and gives STATUS_OK. STATUS_CORRUPT, STATUS_UNSUPPORTED and
 * STATUS_NOT_FOUND are faults of the record too, which the walk reports: something that it needs cannot be
 * read, is of another version, or is missing. Any other status ends the walk.
 *
 * Threading: one thread.
 */
#ifndef STORAGE_VERIFY_CHECK_H
#define STORAGE_VERIFY_CHECK_H

#include "codec/base/arena.h"
#include "storage/resources.h"
#include "storage/verify.h"

struct verify {
    struct store *store;
    const struct verify_options *options;
    struct verify_counts counts;
    struct engine_txn *txn;
    struct inflater *inflater;
    struct segment_table table;
    struct arena arena;
    struct buffer ids;                     /* struct slice: of one beneficiary and type */
    struct buffer pending;                 /* faults of this step: where and what, each ended by NUL */
    uint64_t live[RESOURCE_TYPE_COUNT];    /* resources found in segments */
    uint64_t indexed[RESOURCE_TYPE_COUNT]; /* rows of TABLE_RESOURCE */
    uint64_t rows[TABLE_COUNT];            /* found in each table */
};

void verify_fault(struct verify *verify, unsigned table, struct slice key, const char *what);

/* `key` and `value` are borrowed from verify->txn. */
typedef enum status record_check(struct verify *verify, struct slice key, struct slice value,
                                 struct error *error);

record_check verify_eob;
record_check verify_coverage;
record_check verify_patient;
record_check verify_summary;
record_check verify_resource;
record_check verify_tombstone;
record_check verify_deleted;
record_check verify_beneficiary;
record_check verify_mbi;
record_check verify_attribution;
record_check verify_exportable;
record_check verify_dead;
record_check verify_move;

record_check verify_mbi_link;
record_check verify_suppression;
record_check verify_suppression_due;
record_check verify_suppression_file;
/* What an MBI's row says of its opt-outs; faults are those of the record `key` of `table`. */
struct mbi_row;
NODISCARD enum status verify_mbi_suppression(struct verify *verify, unsigned table, struct slice key,
                                             struct slice mbi, const struct mbi_row *row,
                                             struct error *error);

record_check verify_job;
record_check verify_job_by_aco;
record_check verify_job_active;
record_check verify_aco;
record_check verify_aco_by_id;
record_check verify_credential;
record_check verify_credential_by_aco;

#endif
