/*
 * Attribution: which beneficiaries an ACO may export, and since when.
 *
 * Rosters name MBIs; TABLE_ATTRIBUTION (ACO, MBI) is the source of truth. From it, from what Patients say of
 * their MBIs, and from which of these are suppressed (storage/suppression.h) follows TABLE_EXPORTABLE (ACO,
 * beneficiary): the intervals in which the ACO may export that beneficiary, each with the home under which
 * its segments stand. Both keep versions by sequence.
 *
 * An interval begins at its source's time if that is later than every transactionTime given to the ACO, else
 * at the importing instant; it ends likewise (docs/ARCHITECTURE.md, Time).
 *
 * Threading: as accounts.h.
 */
#ifndef STORAGE_ATTRIBUTION_H
#define STORAGE_ATTRIBUTION_H

#include "codec/base/arena.h"
#include "storage/accounts.h"
#include "storage/beneficiary.h"
#include "storage/read_steps.h"

#define ROSTER_MBIS_MAX  ((size_t)2 * 1000 * 1000)
#define INTERVAL_OPEN_US INT64_MAX

/* One version of one interval. */
struct interval {
    int64_t start_us;
    int64_t end_us; /* exclusive; INTERVAL_OPEN_US while it lasts */
    uint64_t birth;
    uint64_t death; /* SEQUENCE_NEVER while it stands */
    uint32_t home;  /* of the exportable table */
};
#define INTERVALS_MAX 256 /* in one row; the oldest closed ones are dropped beyond it */

/* Within a write request. A Patient said that the beneficiary has these MBIs (none: it said nothing new);
 * those that are linked to them are his too (mbi_link.h). His exportability follows. Updates `beneficiary`
 * (which the caller stores). */
NODISCARD enum status attribution_learn_mbis(struct store_write *write, struct slice beneficiary_id,
                                             struct beneficiary *beneficiary, const struct slice *mbis,
                                             size_t mbi_count, struct arena *arena, struct error *error);
/* Within a write request. What suppresses the beneficiary may have changed as of source_us (INT64_MIN: now):
 * its exportability follows, for every ACO that it is attributed to. Updates and stores `beneficiary`.
 * STATUS_CORRUPT, STATUS_NOT_FOUND: what one ACO needs cannot be read; for the others it follows
 * nevertheless, so a caller may let that stand. */
NODISCARD enum status attribution_follow(struct store_write *write, struct slice beneficiary_id,
                                         struct beneficiary *beneficiary, int64_t source_us,
                                         struct error *error);
/* Within a write request. `import --aco`: exportable from this request's instant on, if it was not, and until
 * the next roster, whatever its MBI: also if it is attributed by one, which another Patient may take over. */
NODISCARD enum status attribution_add_beneficiary(struct store_write *write, uint32_t aco,
                                                  struct slice beneficiary_id,
                                                  struct beneficiary *beneficiary, struct error *error);

/* True if it was so added and no roster came since. */
NODISCARD enum status attribution_is_direct(struct engine_txn *txn, uint32_t aco, struct slice beneficiary_id,
                                            bool *ret_direct, struct error *error);

/* A roster: the whole list of an ACO's MBIs as of an instant. Those on it and not yet attributed join, those
 * not on it leave. STATUS_EXISTS if a roster of that name and time was applied before; STATUS_CONFLICT if a
 * newer one was, or if that one is the ACO's last and had other contents; nothing is changed then. All in one
 * transaction. */
struct roster_apply {
    struct write_request request;
    char aco_id[ACO_ID_MAX + 1];
    char name[128]; /* of the file */
    int64_t at_us;
    const char *mbis; /* MBI_SIZE_MAX bytes each, sorted, unique, padded with spaces; borrowed */
    size_t mbi_count;
    const char
        *links; /* pairs of them, each a person's current MBI and a previous one (mbi_link.h); borrowed */
    size_t link_count;
    uint64_t ret_joined, ret_left, ret_total;
    uint64_t ret_unknown; /* of those that joined: no Patient carries the MBI yet */
    uint64_t ret_linked;  /* links that were not known */
};
void roster_apply_init(struct roster_apply *apply);

/* Exportable beneficiaries of an ACO at a sequence, in memcmp order of their ids. */
struct exportable {
    struct slice beneficiary; /* borrowed until the next step */
    uint32_t home;
    bool at_since; /* was exportable at the instant that the scan was asked about */
};
struct exportable_scan;
NODISCARD enum status exportable_scan_open(struct engine_txn *txn, uint32_t aco, uint64_t sequence,
                                           int64_t since_us, struct exportable_scan **ret_scan,
                                           struct error *error);
void exportable_scan_close(struct exportable_scan *scan);
/* From `first` on (empty: from the begin). */
void exportable_scan_seek(struct exportable_scan *scan, struct slice first);
/* STATUS_NOT_FOUND at the end. STATUS_CORRUPT: one row cannot be read; the next call goes on behind it. */
NODISCARD enum status exportable_scan_next(struct exportable_scan *scan, struct exportable *ret_exportable,
                                           struct error *error);

/* For people: rosters applied, newest first; members with their intervals. */
struct roster {
    struct slice name;
    int64_t at_us, applied_us;
    uint64_t total, joined, left;
};
typedef enum status roster_handler(void *context, const struct roster *roster, struct error *error);
NODISCARD enum status roster_each(struct engine_txn *txn, uint32_t aco, roster_handler *handler,
                                  void *context, struct error *error);
struct attributed {
    struct slice mbi;         /* empty: added directly */
    struct slice beneficiary; /* empty: no Patient carried the MBI */
    const struct interval *intervals;
    size_t interval_count;
    bool suppressed; /* now: attributed, and yet not exported */
};
typedef enum status attribution_handler(void *context, const struct attributed *attributed,
                                        struct error *error);
/* Who is attributed at `at_us` as the store knows it now (INTERVAL_OPEN_US: now). In steps: each MBI as it is
 * when it is read. */
NODISCARD enum status attribution_each(struct read_steps *steps, uint32_t aco, int64_t at_us,
                                       attribution_handler *handler, void *context, struct error *error);

#endif
