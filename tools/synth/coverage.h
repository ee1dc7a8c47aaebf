/*
 * The four Coverage resources of a beneficiary: Part A, B, C and D. Part D of those who have it holds their
 * plan of every month since 2012, which makes it the largest line of a dataset (about 30 KB). The
 * beneficiary's own ACO is Coverage.grouping.group.
 *
 * Threading: plain functions.
 */
#ifndef TOOLS_SYNTH_COVERAGE_H
#define TOOLS_SYNTH_COVERAGE_H

#include "tools/synth/beneficiary.h"

#define COVERAGE_PARTS 4

/* Appends four lines: as the history left them. */
void coverage_write(struct buffer *out, const struct beneficiary *beneficiary);
/* Appends four lines: as the load of that week writes them; the beneficiary as of that week (course_advance).
 */
void coverage_update(struct buffer *out, const struct beneficiary *beneficiary, uint32_t week);

#endif
