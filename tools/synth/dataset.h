/*
 * A whole dataset: for each ACO, its beneficiaries' Patient, Coverage and ExplanationOfBenefit lines, grouped
 * by beneficiary, and the archive of its attribution; and then the changes of each week.
 *
 *     DIR/base/Patient.ndjson, Coverage.ndjson, ExplanationOfBenefit.ndjson   (.gz with gzip)
 *     DIR/attribution/P.BCD.A9990.ZCY26.D260101.T0000000                      one for each ACO
 *
 *     DIR/week-01/, week-02/, ...                                             week.h
 *
 * Everything in base/ was loaded before 2026, the attribution is of 2026-01-01. The same options give the
 * same bytes, and more weeks leave base/ and the weeks before as they are.
 *
 * Threading: one dataset, one thread.
 */
#ifndef TOOLS_SYNTH_DATASET_H
#define TOOLS_SYNTH_DATASET_H

#include "tools/synth/roster.h"

struct dataset_options {
    const char *directory; /* must not exist or be empty */
    uint64_t seed;
    uint32_t beneficiary_count; /* of each ACO */
    /*
     * Of each ACO's beneficiaries the first so many are also in the roster of the next ACO (the last ACO's
     * in the first's). Their resources bear the mark of their own ACO only.
     */
    uint32_t shared_count;
    int32_t year_count; /* of service, up to the end of 2025 */
    uint32_t week_count;
    bool deletions; /* weeks tell of deleted claims too */
    bool gzip;
    const struct slice *acos;
    uint32_t aco_count;
};

struct dataset_totals {
    uint64_t done; /* beneficiaries looked at, in the base and in each week */
    uint64_t patients;
    uint64_t coverages;
    uint64_t claims;
    uint64_t line_bytes; /* before compression */
};

/* What `done` comes to. */
uint64_t dataset_steps(const struct dataset_options *options);

/* Called after each beneficiary, in the base and in each week. */
typedef void dataset_progress(void *context, const struct dataset_totals *totals);

/*
 * On failure the directory is left incomplete. STATUS_EXISTS: it is not empty; STATUS_NO_SPACE: disk full.
 * `ret_totals` is set also on failure.
 */
NODISCARD enum status dataset_write(const struct dataset_options *options, dataset_progress *progress,
                                    void *context, struct dataset_totals *ret_totals, struct error *error);

#endif
