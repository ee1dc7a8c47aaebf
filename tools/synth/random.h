/*
 * The random numbers of a dataset: xoshiro256** seeded by splitmix64, and the distributions that claims
 * follow. Integer arithmetic only: the bytes of a dataset must not depend on the C library's exp() and
 * log(), on fused multiply-add or on the compiler's way with floating point.
 *
 * A stream belongs to one thing (a beneficiary, a year of one claim family, a claim) and is seeded by
 * random_mix of that thing's coordinates, so that nothing a dataset holds depends on what else it holds.
 *
 * Fixed point: names that end in _q16 hold a number times 65536.
 *
 * Threading: plain values; no shared state.
 */
#ifndef TOOLS_SYNTH_RANDOM_H
#define TOOLS_SYNTH_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#define Q16_ONE 65536

struct random {
    uint64_t state[4];
};

/* A well mixed hash of two words; chain it for more. */
uint64_t random_mix(uint64_t a, uint64_t b);
void random_seed(struct random *random, uint64_t seed);
uint64_t random_word(struct random *random);

/* Uniform in [0, bound); bound >= 1. */
uint32_t random_below(struct random *random, uint32_t bound);
/* Uniform in [low, high]. */
int64_t random_between(struct random *random, int64_t low, int64_t high);
/* True `permille` times of a thousand. */
bool random_chance(struct random *random, uint32_t permille);
/* In [0, count), the first indexes most often: how a code list ordered by use is drawn from. */
uint32_t random_skewed(struct random *random, uint32_t count);
/* How often in a row an event of probability `permille` happens, at most `max`. */
uint32_t random_geometric(struct random *random, uint32_t permille, uint32_t max);

/* Exponential with mean 1: the gaps of a Poisson process. */
uint32_t random_exponential_q16(struct random *random);
/* exp(mu + sigma * z), z standard normal (the sum of twelve uniforms, so |z| <= 6). */
uint32_t random_lognormal_q16(struct random *random, int32_t mu_q16, int32_t sigma_q16);

#endif
