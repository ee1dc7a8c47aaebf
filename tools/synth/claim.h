/*
 * Which claims a beneficiary has, and when: the Poisson process of each claim family.
 *
 * Every (beneficiary, family, year) has a random stream of its own, and every claim one too, seeded by its
 * claim id. So the claims of a year are the same however many years a dataset holds, and a load window
 * (claim_cursor_init) picks among claims without changing them: the history is the window up to its end,
 * what a week brings is in that week's window, and what it changes in the one of the weeks before it.
 *
 * Most claims stay as they came. Some are changed in the weeks after, under their own id (claim_advance):
 * amounts are revised, the claim is cancelled, or deleted, or only written anew with a later lastUpdated.
 *
 * Claim ids: 10^13 + beneficiary number * 100,000 + (year, family) * 1,000 + place in that year and family,
 * written negative, 14 digits. An adjustment is a claim of its own with a later place, and its claim group is
 * the original's id.
 *
 * Threading: plain values; a cursor and its claims borrow the beneficiary.
 */
#ifndef TOOLS_SYNTH_CLAIM_H
#define TOOLS_SYNTH_CLAIM_H

#include "tools/synth/beneficiary.h"

enum claim_family {
    CLAIM_CARRIER,
    CLAIM_DME,
    CLAIM_HHA,
    CLAIM_HOSPICE,
    CLAIM_INPATIENT,
    CLAIM_OUTPATIENT,
    CLAIM_PDE,
    CLAIM_SNF,
    CLAIM_FAMILY_COUNT
};

#define CLAIM_FIRST_YEAR  2016 /* ICD-10 for a whole year; ids leave room for twelve years */
#define CLAIM_END_YEAR    (CLAIM_FIRST_YEAR + 12)
#define CLAIM_YEARS_MAX   (HISTORY_END_YEAR - CLAIM_FIRST_YEAR)
#define CLAIMS_A_YEAR_MAX 1000 /* of one family; a beneficiary of 20 times the mean has about 600 */

struct claim {
    const struct beneficiary *beneficiary;
    enum claim_family family;
    uint64_t id;    /* written negative */
    uint64_t group; /* the original's id */
    int32_t from_day;
    int32_t through_day;
    int32_t processed_day; /* a Friday */
    int32_t load_day;      /* of the load that brought it first */
    struct instant loaded;
    uint32_t revision;    /* how often its amounts have been changed under the same id */
    bool cancelled;       /* nothing of it is paid */
    bool adjusted;        /* a later claim that replaces the one whose id is `group` */
    struct random random; /* for the body; the same for a claim and its adjustment */
};

struct claim_cursor {
    const struct beneficiary *beneficiary;
    int32_t first_year;
    int32_t end_year; /* exclusive */
    int32_t loaded_from;
    int32_t loaded_before;

    enum claim_family family;
    int32_t year;
    bool year_open;
    struct random random;
    uint64_t rate_q16;    /* expected arrivals of the year */
    uint64_t arrived_q16; /* how much of it has passed */
    uint32_t place;
    uint32_t run_left;
    int32_t run_day;
    bool adjust_next;
    struct claim last;
};

/*
 * The claims with service in the years [first_year, end_year) that loads of the days
 * [loaded_from, loaded_before) brought, family by family, by date of service in each.
 */
void claim_cursor_init(struct claim_cursor *cursor, const struct beneficiary *beneficiary, int32_t first_year,
                       int32_t end_year, int32_t loaded_from, int32_t loaded_before);
/* False at the end. */
bool claim_next(struct claim_cursor *cursor, struct claim *ret_claim);

#define CLAIM_CHANGE_WEEKS_MAX 20 /* from the load to the last change */

enum claim_change {
    CLAIM_UNCHANGED,
    CLAIM_NEW,
    CLAIM_REVISED,
    CLAIM_CANCELLED,
    CLAIM_REWRITTEN, /* the same content with a later lastUpdated */
    CLAIM_DELETED,
    CLAIM_GONE, /* deleted in a week before */
};

/*
 * Makes of a claim as it came what it is after the load of `week` (course.h), with that load's instant, and
 * returns what that load does with it. A week's own load is not before the claim's first.
 */
enum claim_change claim_advance(struct claim *claim, uint32_t week);

/* What is paid of an amount, after revisions or a cancellation. */
int64_t claim_paid(const struct claim *claim, int64_t cents);

/* Appends the claim as one line of ExplanationOfBenefit. Uses up claim->random. */
void claim_write(struct buffer *out, struct claim *claim);

/* Appends carrier--10000000012345. */
void claim_id_append(struct buffer *out, const struct claim *claim);

/* The lower-case name of a family, as it begins a resource id: "carrier". */
struct slice claim_family_name(enum claim_family family);

#endif
