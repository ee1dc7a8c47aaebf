#include "codec/base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *clock_shift_path;
static pthread_once_t clock_once = PTHREAD_ONCE_INIT;

static void clock_find_shift(void)
{
    clock_shift_path = getenv("SLUICE_TEST_CLOCK");
}

static int64_t clock_read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

int64_t clock_now_us(void)
{
    int64_t now_us = clock_read_us(CLOCK_REALTIME);
    pthread_once(&clock_once, clock_find_shift);
    if (!clock_shift_path)
        return now_us;
    long long shift_seconds = 0;
    FILE *file = fopen(clock_shift_path, "re");
    if (file) {
        if (fscanf(file, "%lld", &shift_seconds) != 1)
            shift_seconds = 0;
        fclose(file);
    }
    return now_us + shift_seconds * US_PER_SECOND;
}

int64_t clock_monotonic_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}
