/*
 * Suppression: who told 1-800-MEDICARE not to share his data with ACOs, and is exported to none.
 *
 * TABLE_SUPPRESSION holds every preference that a file brought, for ever: (MBI, effective date, Y or N). From
 * the rows of an MBI, the instant and the look-back follows whether it is *suppressed*: among the preferences
 * with
 *
 *     instant - look-back < effective <= instant
 *
 * those of the latest date decide, and it is suppressed if one of them is N. A look-back of 0 days is none:
 * preferences hold until a later one. An effective date is the begin of its day, UTC. The ACO in a row does
 * not count: an opt-out hides a person from every ACO. So it is in BCDA.
 *
 * What was found is kept in the MBI's row, with the instant at which time alone changes it (a date comes, or
 * runs out of the look-back), and TABLE_SUPPRESSION_DUE is the index of these. A beneficiary is exportable
 * only while none of its MBIs is suppressed: a change ends, or begins, its intervals in TABLE_EXPORTABLE,
 * under the rules of attribution.h. So active jobs keep their view. What is due is applied in bounded
 * portions, before any later kick-off gets its view (jobs.c).
 *
 * The look-back stands in TABLE_META, so that all programs apply the same. After its change every MBI is
 * looked at anew, in portions too; how far that has come stands beside it.
 *
 * Threading: as accounts.h.
 */
#ifndef STORAGE_SUPPRESSION_H
#define STORAGE_SUPPRESSION_H

#include "storage/beneficiary.h"
#include "storage/writer.h"

#define SUPPRESSION_LOOKBACK_DAYS_DEFAULT 60
#define SUPPRESSION_LOOKBACK_DAYS_MAX     36500
#define SUPPRESSION_ROW_BYTES             16  /* MBI padded with blanks, i32 day, u8 preference */
#define SUPPRESSION_PORTION               500 /* rows, or MBIs, that one request changes: some ms */
#define SUPPRESSION_FILE_NAME_MAX         63

/* A part of a file: rows of SUPPRESSION_ROW_BYTES, sorted, unique; all rows of an MBI in one part. The last
 * part (which may have no rows) notes the file, so an import that broke off is simply run again.
 * STATUS_EXISTS: the same file was imported before. STATUS_CONFLICT: another one of that name was.
 * STATUS_INVALID: no such rows. */
struct suppression_apply {
    struct write_request request;
    char name[SUPPRESSION_FILE_NAME_MAX + 1];
    int32_t day; /* of the header */
    uint64_t content_hash;
    uint64_t rows, preferences; /* of the whole file; noted by the last part */
    bool has_trailer, is_last;
    struct slice encoded;    /* borrowed until the request is back */
    uint64_t ret_added;      /* rows that were not there */
    uint64_t ret_suppressed; /* MBIs that are suppressed now and were not; */
    uint64_t ret_lifted;     /* that are not and were */
    uint64_t ret_unknown;    /* of all MBIs: no Patient carries it yet */
};
void suppression_apply_init(struct suppression_apply *apply);

/* Applies some of what is due. More is: call again. */
struct suppression_settle {
    struct write_request request;
    size_t limit;
    uint64_t ret_suppressed, ret_lifted;
    uint64_t ret_damaged; /* given up: a record that is needed cannot be read */
    bool ret_more;
};
void suppression_settle_init(struct suppression_settle *settle, size_t limit);
/* The same within another write request; adds to the counts. */
NODISCARD enum status suppression_settle_within(struct store_write *write, struct suppression_settle *settle,
                                                struct error *error);
/* Whether anything is due at an instant. */
NODISCARD enum status suppression_is_due(struct engine_txn *txn, int64_t now_us, bool *ret_due,
                                         struct error *error);

/* Sets the look-back; what changes by that is due at once. */
struct suppression_configure {
    struct write_request request;
    uint32_t lookback_days;
    bool ret_changed;
};
void suppression_configure_init(struct suppression_configure *configure, uint32_t lookback_days);
NODISCARD enum status suppression_lookback(struct engine_txn *txn, uint32_t *ret_days, struct error *error);

/* What the rows of an MBI say at an instant. */
struct suppression_state {
    bool suppressed;
    char preference;      /* of the row that decides; ' ': none does */
    int64_t effective_us; /* its date; INT64_MIN: none */
    int64_t due_us;       /* when time changes the answer, or may; INT64_MAX: never */
    struct slice file;    /* which brought it; borrowed from the transaction */
};
NODISCARD enum status suppression_evaluate(struct engine_txn *txn, struct slice mbi, uint32_t lookback_days,
                                           int64_t at_us, struct suppression_state *ret_state,
                                           struct error *error);
/* True while a change of the look-back is being applied. */
NODISCARD enum status suppression_is_in_review(struct engine_txn *txn, bool *ret_in_review,
                                               struct error *error);

/* For people: the MBIs that have preferences, in order, one after the other, each in a transaction of the
 * caller's choice. */
struct suppression_entry {
    struct slice mbi;               /* borrowed from the position */
    struct suppression_state state; /* as the store has applied it; the last preference, if none counts */
    int64_t since_us;               /* from when on it is suppressed; INT64_MIN: it is not */
    struct mbi_row row;
};
struct suppression_position { /* begin with zeros */
    char mbi[KEY_SIZE_MAX];
    size_t size;
};
/* STATUS_NOT_FOUND at the end. */
NODISCARD enum status suppression_next(struct engine_txn *txn, struct suppression_position *position,
                                       struct suppression_entry *ret_entry, struct error *error);

/* For verify: takes a row, a due row and a file's row apart. STATUS_CORRUPT. */
struct suppression_row {
    struct slice mbi;
    int64_t effective_us;
    char preference;
    uint64_t birth;
    struct slice file;
};
NODISCARD enum status suppression_row_parse(struct slice key, struct slice value, struct suppression_row *row,
                                            struct error *error);
NODISCARD enum status suppression_due_parse(struct slice key, int64_t *ret_due_us, struct slice *ret_mbi,
                                            struct error *error);
struct suppression_file {
    struct slice name;
    int64_t applied_us;
    int32_t day;
    uint64_t content_hash;
    uint64_t rows, preferences;
    bool has_trailer;
};
NODISCARD enum status suppression_file_parse(struct slice key, struct slice value,
                                             struct suppression_file *file, struct error *error);
void key_suppression_due(struct key *key, int64_t due_us, struct slice mbi);

#endif
