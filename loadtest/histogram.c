#include "loadtest/histogram.h"

static unsigned bucket_of(int64_t us)
{
    if (us < HISTOGRAM_EXACT)
        return us < 0 ? 0 : (unsigned)us;
    if (us > HISTOGRAM_US_MAX)
        us = HISTOGRAM_US_MAX;
    unsigned doubling = 63 - (unsigned)__builtin_clzll((unsigned long long)us) - 6;
    unsigned step = (unsigned)(us >> (doubling + 1)) - HISTOGRAM_STEPS;
    return HISTOGRAM_EXACT + doubling * HISTOGRAM_STEPS + step;
}

/* The largest value that a bucket holds. */
static int64_t bucket_end(unsigned bucket)
{
    if (bucket < HISTOGRAM_EXACT)
        return bucket;
    unsigned doubling = (bucket - HISTOGRAM_EXACT) / HISTOGRAM_STEPS;
    unsigned step = (bucket - HISTOGRAM_EXACT) % HISTOGRAM_STEPS;
    return ((int64_t)(HISTOGRAM_STEPS + step + 1) << (doubling + 1)) - 1;
}

void histogram_add(struct histogram *histogram, int64_t us)
{
    if (us < 0)
        us = 0;
    histogram->counts[bucket_of(us)]++;
    histogram->count++;
    histogram->sum_us += us;
    if (us > histogram->max_us)
        histogram->max_us = us;
}

int64_t histogram_quantile(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen && (double)seen >= wanted)
            return bucket_end(i) < histogram->max_us ? bucket_end(i) : histogram->max_us;
    }
    return 0;
}
