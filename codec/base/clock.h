/*
 * The clocks. All instants are int64 microseconds since 1970-01-01T00:00:00Z (UTC, no leap seconds);
 * all durations say their unit in their name.
 *
 * clock_now_us is what transactionTime, stamps and expiry are made from. Tests shift it through the file
 * that the environment variable SLUICE_TEST_CLOCK names: it holds a signed number of seconds that is added
 * to the real time, and is read anew at each call. clock_monotonic_us is for deadlines and durations and
 * is never shifted.
 *
 * Threading: any thread.
 */
#ifndef CODEC_BASE_CLOCK_H
#define CODEC_BASE_CLOCK_H

#include <stdint.h>

#define US_PER_SECOND INT64_C(1000000)

int64_t clock_now_us(void);
int64_t clock_monotonic_us(void);

#endif
