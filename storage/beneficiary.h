/*
 * Rows about people: what is known of a beneficiary, and of an MBI.
 *
 * A beneficiary has one *home*: the ACO number under which its segments stand (0: nobody's). `changed` lets a
 * packer say what it saw, and the writer refuse it when that is no longer so.
 *
 * Threading: reads need a transaction of the calling thread; writes happen within a write request.
 */
#ifndef STORAGE_BENEFICIARY_H
#define STORAGE_BENEFICIARY_H

#include "codec/resource.h"
#include "storage/store.h"

/* What is known of one beneficiary. */
#define BENEFICIARY_ACOS_MAX 32
struct beneficiary {
    uint32_t home;
    uint64_t changed[RESOURCE_TYPE_COUNT]; /* sequence of the last change of its segments of a type */
    struct slice mbis[RESOURCE_MBI_MAX];   /* borrowed from the row */
    size_t mbi_count;
    uint32_t acos[BENEFICIARY_ACOS_MAX]; /* for which it is exportable now */
    size_t aco_count;
    uint32_t hidden[BENEFICIARY_ACOS_MAX]; /* to which it is attributed, but not exportable: suppressed */
    size_t hidden_count;
    /* The latest transactionTime that an ACO had been given when it lost this beneficiary; INT64_MIN if none
     * did. When it comes back, its client still asks from that time on: what came meanwhile must be later. */
    int64_t lost_us;
};
void beneficiary_init(struct beneficiary *beneficiary);
/* STATUS_NOT_FOUND if nothing of it was ever imported. */
NODISCARD enum status beneficiary_get(struct engine_txn *txn, struct slice id,
                                      struct beneficiary *ret_beneficiary, struct error *error);
/* Notes in the same request if its home has to change (homes.h). */
NODISCARD enum status beneficiary_put(struct store_write *write, struct slice id,
                                      const struct beneficiary *beneficiary, struct error *error);
/* Some ACO may export it, and its home is none of these. */
bool beneficiary_is_to_move(const struct beneficiary *beneficiary);
/* The latest transactionTime given to an ACO that reads this beneficiary, or read it then; INT64_MIN if none
 * was. */
NODISCARD enum status beneficiary_watermark(struct engine_txn *txn, const struct beneficiary *beneficiary,
                                            int64_t *ret_us, struct error *error);

/* What is known of one MBI: the beneficiary whose Patient carries it, the ACOs that it is attributed to, and
 * what follows from its opt-outs (storage/suppression.h). */
struct mbi_row {
    char beneficiary[RESOURCE_ID_MAX];
    size_t beneficiary_size; /* 0: no Patient carried it yet */
    uint32_t acos[BENEFICIARY_ACOS_MAX];
    size_t aco_count;
    bool suppressed;       /* whoever carries it is exported to nobody */
    int64_t suppressed_us; /* since when; if it is not: since when not any more. INT64_MIN: it never was */
    int64_t due_us;        /* when time alone changes that, or may; INT64_MAX: never */
};

struct slice mbi_row_beneficiary(const struct mbi_row *row);
/* An absent row is an empty one. */
NODISCARD enum status mbi_row_get(struct engine_txn *txn, struct slice mbi, struct mbi_row *row,
                                  struct error *error);
NODISCARD enum status mbi_row_put(struct store_write *write, struct slice mbi, const struct mbi_row *row,
                                  struct error *error);

/* `import --aco` attributes a beneficiary whose MBI may not be known: its row in TABLE_ATTRIBUTION carries
 * this mark and the beneficiary's id in the place of an MBI. No MBI begins with it. */
#define DIRECT_MARK "!"
void key_attribution(struct key *key, uint32_t aco, struct slice mbi);
void key_attribution_direct(struct key *key, uint32_t aco, struct slice beneficiary);

#endif
