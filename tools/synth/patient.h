/*
 * The Patient resource of a beneficiary, about 1 KB. The family name ends in the beneficiary's own ACO
 * ("Okafor-A9990"), so that a reader of an export sees whose data he was given.
 *
 * Threading: plain functions.
 */
#ifndef TOOLS_SYNTH_PATIENT_H
#define TOOLS_SYNTH_PATIENT_H

#include "tools/synth/beneficiary.h"

/* Appends one line. */
void patient_write(struct buffer *out, const struct beneficiary *beneficiary);

#endif
