/*
 * The Patient resource of a beneficiary, about 1 KB. The family name ends in the beneficiary's own ACO
 * ("Okafor-A9990"), so that a reader of an export sees whose data he was given.
 *
 * Threading: plain functions.
 */
#ifndef TOOLS_SYNTH_PATIENT_H
#define TOOLS_SYNTH_PATIENT_H

#include "tools/synth/beneficiary.h"

/* Appends one line: as the history left it. */
void patient_write(struct buffer *out, const struct beneficiary *beneficiary);
/* Appends one line: as the load of that week writes it; the beneficiary as of that week (course_advance). */
void patient_update(struct buffer *out, const struct beneficiary *beneficiary, uint32_t week);
/* The yearly load leaves out the dead, and those not touched since before 2020. */
bool patient_is_in_yearly_load(const struct beneficiary *beneficiary);

#endif
