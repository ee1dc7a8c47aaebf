#include "tools/synth/random.h"

#define LOG2_E_Q16 94548 /* 1 / ln 2 */
#define LN_2_Q16   45426

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t random_mix(uint64_t a, uint64_t b)
{
    uint64_t state = a;
    state = splitmix(&state) ^ b;
    return splitmix(&state);
}

void random_seed(struct random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        random->state[i] = splitmix(&seed);
}

static uint64_t rotate_left(uint64_t word, int bits)
{
    return (word << bits) | (word >> (64 - bits));
}

uint64_t random_word(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint32_t random_below(struct random *random, uint32_t bound)
{
    return (uint32_t)(((random_word(random) >> 32) * bound) >> 32);
}

int64_t random_between(struct random *random, int64_t low, int64_t high)
{
    return low + (int64_t)random_below(random, (uint32_t)(high - low + 1));
}

bool random_chance(struct random *random, uint32_t permille)
{
    return random_below(random, 1000) < permille;
}

uint32_t random_skewed(struct random *random, uint32_t count)
{
    uint64_t word = random_word(random) >> 32;
    return (uint32_t)((((word * word) >> 32) * count) >> 32);
}

uint32_t random_geometric(struct random *random, uint32_t permille, uint32_t max)
{
    uint32_t count = 0;
    while (count < max && random_chance(random, permille))
        count++;
    return count;
}

/* The binary logarithm of a word of 32 bits, by squaring: each step gives one more bit. */
static uint32_t log2_q16(uint32_t word)
{
    uint32_t whole = 31U - (uint32_t)__builtin_clz(word);
    uint64_t mantissa = ((uint64_t)word << (31U - whole)) & UINT32_MAX; /* in [1, 2), 31 fraction bits */
    uint32_t fraction = 0;
    for (int bit = 15; bit >= 0; bit--) {
        mantissa = (mantissa * mantissa) >> 31;
        if (mantissa >> 32) {
            mantissa >>= 1;
            fraction |= 1U << bit;
        }
    }
    return (whole << 16) | fraction;
}

uint32_t random_exponential_q16(struct random *random)
{
    uint32_t uniform = (uint32_t)(random_word(random) >> 32) | 1U;
    uint64_t bits = (UINT64_C(32) << 16) - log2_q16(uniform);
    return (uint32_t)((bits * LN_2_Q16) >> 16);
}

uint32_t random_lognormal_q16(struct random *random, int32_t mu_q16, int32_t sigma_q16)
{
    int64_t normal = -6 * Q16_ONE;
    for (int i = 0; i < 3; i++)
        for (uint64_t word = random_word(random), part = 0; part < 4; part++, word >>= 16)
            normal += (int64_t)(word & 0xffff);
    int64_t exponent = mu_q16 + sigma_q16 * normal / Q16_ONE;
    /* An offset of 32 keeps the shifts below away from negative numbers. */
    uint64_t log2 = (uint64_t)(exponent * LOG2_E_Q16 / Q16_ONE + 32 * Q16_ONE);
    uint64_t f = log2 & 0xffff;
    /* 2^f by a parabola through 0 and 1: at most 0.2 % off, less than any use of it notices. */
    uint64_t power = Q16_ONE + ((f * (43026 + ((22510 * f) >> 16))) >> 16);
    uint64_t whole = log2 >> 16;
    if (whole >= 46) /* 2^14 and more: no caller's bounds reach this */
        return UINT32_C(1) << 30;
    return (uint32_t)(whole >= 32 ? power << (whole - 32) : power >> (32 - whole));
}
