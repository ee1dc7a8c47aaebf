/*
 * What becomes of beneficiaries after the base: who joins an ACO, leaves it or goes to another, who moves
 * house, is renamed, gets another MBI or dies.
 *
 * Weeks count from 1; week w is the load of the w-th Saturday of 2026 and after. Week 0 is the base. All
 * follows from the beneficiary's seed and the week, nothing is kept: a dataset of more weeks has those of
 * fewer.
 *
 * Threading: plain functions.
 */
#ifndef TOOLS_SYNTH_COURSE_H
#define TOOLS_SYNTH_COURSE_H

#include "tools/synth/beneficiary.h"

#define WEEKS_MAX                                                                                            \
    106 /* until the loads of 2028 bring services of 2028: claim ids end with 2027 (claim.h)                 \
         */

#define COURSE_NO_ACO UINT32_MAX

/* The day of a week's load. */
int32_t week_day(uint32_t week);
/* The first load of a year, which writes every Patient and Coverage anew. */
bool week_is_yearly(uint32_t week);

/* How many beneficiaries an ACO has had until that week: `base_count`, and who joined. Never falls. */
uint32_t course_count(uint32_t base_count, uint32_t week);
/* The week in which the beneficiary of that index joined; 0: in the base. */
uint32_t course_joined(uint32_t base_count, uint32_t index);

/*
 * The index of the ACO whose roster lists the beneficiary in that week: his own, the next one, or
 * COURSE_NO_ACO. A `shared` one, whom the next ACO lists anyway, never goes there. The week is not before he
 * joined.
 */
uint32_t course_aco(const struct beneficiary *beneficiary, uint32_t joined, uint32_t week, bool shared,
                    uint32_t aco_count);

/* Sets the day of a death that weeks to come will report. Claims end there, whether or not it is known yet.
 */
void course_foresee(struct beneficiary *beneficiary);
/* Makes of a beneficiary as drawn what the load of `week` knows of him. True if that week is the first to
 * know. */
bool course_advance(struct beneficiary *beneficiary, uint32_t week);
/* True if that week writes his Coverage anew, besides the yearly load. */
bool course_coverage_changes(const struct beneficiary *beneficiary, uint32_t week);

#endif
