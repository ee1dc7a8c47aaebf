/*
 * Which claims a beneficiary has, and when: the Poisson process of each claim family.
 *
 * Every (beneficiary, family, year) has a random stream of its own, and every claim one too, seeded by its
 * claim id. So the claims of a year are the same however many years a dataset holds, and a load window
 * (claim_cursor_init) picks among claims without changing them: the history is the window up to its end,
 * a weekly update would be the window of one week.
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
    struct instant loaded;
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

/* Appends the claim as one line of ExplanationOfBenefit. Uses up claim->random. */
void claim_write(struct buffer *out, struct claim *claim);

/* The lower-case name of a family, as it begins a resource id: "carrier". */
struct slice claim_family_name(enum claim_family family);

#endif
