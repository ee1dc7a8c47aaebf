/*
 * The folder of one week: what is new and what has changed since the week before, of every ACO.
 *
 *     DIR/week-07/Patient.ndjson, Coverage.ndjson, ExplanationOfBenefit.ndjson   (.gz with gzip)
 *     DIR/week-07/deleted.json                                         with deletions: a Bundle, if there are
 * any DIR/week-07/attribution/P.BCD.A9990.ZCY26.D260214.T0000000       one for each ACO
 *     DIR/week-08/suppression/P#EFT.ON.ACO.NGD1800.DPRF.D260221.T0000000  every four weeks, if anybody told
 * any
 *
 * Everything in it is of the week's load: `lastUpdated` is later than all that weeks before brought. Who
 * joins an ACO comes with his whole history. A week follows from the options and its number alone.
 *
 * Threading: one thread at a time.
 */
#ifndef TOOLS_SYNTH_WEEK_H
#define TOOLS_SYNTH_WEEK_H

#include "tools/synth/dataset.h"

/* Adds to `totals`; calls `progress` for each beneficiary it has looked at. */
NODISCARD enum status week_write(const struct dataset_options *options, uint32_t week,
                                 dataset_progress *progress, void *context, struct dataset_totals *totals,
                                 struct error *error);

#endif
