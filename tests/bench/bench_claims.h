/*
 * Claims for benchmarks: ExplanationOfBenefit lines as sluice-synth writes them, of its first seed, and
 * segments of them. Made once, kept until the process ends.
 *
 * The environment's SLUICE_BENCH_BENEFICIARIES says of how many beneficiaries, about 2 MB each; 8 without it,
 * which suffices to see that the benchmarks work. Figures need so many that the lines do not fit into the
 * processor's caches: `ninja bench` takes 256.
 *
 * Threading: one thread at a time.
 */
#ifndef TESTS_BENCH_BENCH_CLAIMS_H
#define TESTS_BENCH_BENCH_CLAIMS_H

#include "codec/segment.h"

struct bench_claim {
    struct slice line; /* without its "\n" */
    struct segment_entry entry;
};

struct bench_beneficiary {
    struct bench_claim *claims; /* in the order of their ids */
    size_t count;
    uint64_t raw_bytes; /* with line ends */
};

struct bench_claims {
    struct bench_beneficiary *beneficiaries; /* three years of each; none is empty */
    size_t beneficiary_count;
    struct slice ndjson; /* all of them, one after another */
    size_t count;
};
const struct bench_claims *bench_claims(void);

/* All claims as segments, of one beneficiary each. */
struct bench_segments {
    struct slice *values;
    struct segment *segments;
    size_t count;
    uint64_t raw_bytes, stored_bytes;
    uint64_t resources;
};
const struct bench_segments *bench_segments(void);

#endif
