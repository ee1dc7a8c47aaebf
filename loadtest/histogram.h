/*
 * A histogram of durations in microseconds, log-linear: exact below 64 µs, 32 steps for each doubling above,
 * so that a quantile is at most 3.1 % too high. Fixed memory; up to HISTOGRAM_US_MAX, longer ones count as
 * that long.
 *
 * Threading: one thread at a time.
 */
#ifndef LOADTEST_HISTOGRAM_H
#define LOADTEST_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_EXACT   64 /* values below have a bucket each */
#define HISTOGRAM_STEPS   32 /* buckets for each doubling above */
#define HISTOGRAM_DOUBLES 30
#define HISTOGRAM_BUCKETS (HISTOGRAM_EXACT + HISTOGRAM_STEPS * HISTOGRAM_DOUBLES)
#define HISTOGRAM_US_MAX  ((INT64_C(1) << (6 + HISTOGRAM_DOUBLES)) - 1) /* 19 hours */

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    int64_t sum_us, max_us;
};

/* All zero is an empty one. Negative durations count as 0. */
void histogram_add(struct histogram *histogram, int64_t us);
/* The smallest duration, by buckets, that at least `share` (0 to 1) of all do not exceed; never more than the
 * longest one seen. 0 if there are none. */
int64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
