/*
 * Made-up resources and segments of them, for tests: deterministic from a seed.
 *
 * claims_seed() is the environment's SLUICE_TEST_SEED or 1, and prints what it chose.
 *
 * Threading: one thread at a time.
 */
#ifndef TESTS_SUPPORT_CLAIMS_H
#define TESTS_SUPPORT_CLAIMS_H

#include "codec/base/arena.h"
#include "codec/segment.h"

uint64_t claims_seed(void);

/* xorshift64*: the next number, and one below `bound`. */
uint64_t claims_random(uint64_t *state);
uint64_t claims_below(uint64_t *state, uint64_t bound);

struct claim {
    struct segment_entry entry; /* without offset and size */
    struct slice json;
};

/* `count` claims with ascending ids of the form "carrier--10000000004049"; stamps from `oldest_us` on, in a
 * few instants of `step_us`; one in eight was stamped by the import. Lives as long as the arena. */
struct claim *claims_make(struct arena *arena, uint64_t *state, size_t count, int64_t oldest_us,
                          int64_t step_us);

/* Appends one segment of them. */
void claims_segment(const struct claim *claims, size_t count, enum deflate_level level,
                    struct buffer *target);

#endif
