/*
 * A file of data sharing preferences, as 1-800-MEDICARE gathers them: who wants his claims left out of what
 * ACOs get (N), and who wants them in again (Y). One file names beneficiaries of all ACOs.
 *
 *     P#EFT.ON.ACO.NGD1800.DPRF.D260124.T0000000
 *
 * Threading: one thread at a time.
 */
#ifndef TOOLS_SYNTH_OPTOUT_H
#define TOOLS_SYNTH_OPTOUT_H

#include "tools/synth/beneficiary.h"

#define OPTOUT_ROW_BYTES 459
#define OPTOUT_WEEKS     4 /* from one file to the next */

struct optout {
    int32_t day; /* the date in the file's name */
    struct buffer rows;
    uint32_t row_count;
};

void optout_init(struct optout *optout, int32_t day);
void optout_release(struct optout *optout);
/* Adds the beneficiary, if he told a preference in the weeks before `week`, a multiple of OPTOUT_WEEKS. */
void optout_consider(struct optout *optout, const struct beneficiary *beneficiary, uint32_t week);
/* Makes the file in the directory; it must not exist yet. */
NODISCARD enum status optout_write(const struct optout *optout, const char *directory, struct error *error);

#endif
