#include "loadtest/measure.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *measure_kind_name(enum measure_kind kind)
{
    static const char *const names[MEASURE_KIND_COUNT] = {
        [MEASURE_TOKEN] = "token",       [MEASURE_KICK_OFF] = "kick-off", [MEASURE_STATUS] = "status",
        [MEASURE_METADATA] = "metadata", [MEASURE_DOWNLOAD] = "download", [MEASURE_JOB] = "job",
        [MEASURE_EXPORT] = "export",
    };
    return names[kind];
}

const char *measure_failure_name(enum measure_failure failure)
{
    static const char *const names[MEASURE_FAILURE_COUNT] = {
        [MEASURE_FAILURE_CONNECT] = "no connection", [MEASURE_FAILURE_BROKEN] = "broken off",
        [MEASURE_FAILURE_TIMEOUT] = "timed out",     [MEASURE_FAILURE_429] = "429",
        [MEASURE_FAILURE_4XX] = "other 4xx",         [MEASURE_FAILURE_5XX] = "5xx",
        [MEASURE_FAILURE_WRONG] = "wrong answer",    [MEASURE_FAILURE_SKIPPED] = "not sent",
    };
    return names[failure];
}

void measure_init(struct measure *measure, int64_t begin_us)
{
    *measure = (struct measure){.begin_us = begin_us};
}

void measure_release(struct measure *measure)
{
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++)
        mem_free(measure->of[i].seconds);
}

static struct measure_second *second_of(struct measure *measure, struct measure_of_kind *of, int64_t now_us)
{
    int64_t second = (now_us - measure->begin_us) / US_PER_SECOND;
    if (second < 0)
        second = 0;
    if (second >= MEASURE_SECONDS_MAX)
        second = MEASURE_SECONDS_MAX - 1;
    if ((size_t)second >= of->second_count) {
        size_t count = (size_t)second + 64;
        of->seconds = mem_realloc(of->seconds, count * sizeof *of->seconds);
        memset(of->seconds + of->second_count, 0, (count - of->second_count) * sizeof *of->seconds);
        of->second_count = count;
    }
    return &of->seconds[second];
}

/* Half a doubling a bucket. */
static unsigned series_bucket(int64_t us)
{
    if (us < 1)
        return 0;
    unsigned doubling = 63 - (unsigned)__builtin_clzll((unsigned long long)us);
    bool upper = doubling > 0 && (us >> (doubling - 1)) & 1;
    unsigned bucket = doubling * 2 + upper;
    return bucket < MEASURE_SERIES_MAX ? bucket : MEASURE_SERIES_MAX - 1;
}

void measure_done(struct measure *measure, enum measure_kind kind, int64_t intended_us, int64_t now_us,
                  uint64_t bytes)
{
    struct measure_of_kind *of = &measure->of[kind];
    struct measure_second *second = second_of(measure, of, now_us);
    int64_t us = now_us - intended_us;
    histogram_add(&of->durations, us);
    of->bytes += bytes;
    second->done++;
    second->bytes += bytes;
    second->durations[series_bucket(us)]++;
    if (us > second->max_us)
        second->max_us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

void measure_failed(struct measure *measure, enum measure_kind kind, enum measure_failure failure,
                    int64_t now_us)
{
    struct measure_of_kind *of = &measure->of[kind];
    of->failures[failure]++;
    second_of(measure, of, now_us)->failed++;
}

void measure_wrong(struct measure *measure, enum measure_kind kind, int64_t now_us, const char *format, ...)
{
    if (!measure->first_wrong[0]) {
        va_list args;
        va_start(args, format);
        vsnprintf(measure->first_wrong, sizeof measure->first_wrong, format, args);
        va_end(args);
    }
    measure_failed(measure, kind, MEASURE_FAILURE_WRONG, now_us);
}

bool measure_is_empty(const struct measure_of_kind *of)
{
    return !of->durations.count && !measure_failures(of) && !of->failures[MEASURE_FAILURE_SKIPPED];
}

uint64_t measure_failures(const struct measure_of_kind *of)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < MEASURE_FAILURE_COUNT; i++)
        sum += i == MEASURE_FAILURE_SKIPPED ? 0 : of->failures[i];
    return sum;
}

uint64_t measure_failures_of_all(const struct measure *measure)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++)
        sum += measure_failures(&measure->of[i]);
    return sum;
}

int64_t measure_second_p99(const struct measure_second *second)
{
    uint64_t wanted = second->done - second->done / 100, seen = 0;
    for (unsigned i = 0; second->done && i < MEASURE_SERIES_MAX; i++) {
        seen += second->durations[i];
        if (seen >= wanted) {
            int64_t end = i < 2 ? i + 1 : (i & 1 ? INT64_C(1) << (i / 2 + 1) : INT64_C(3) << (i / 2 - 1));
            return end < second->max_us ? end : second->max_us;
        }
    }
    return 0;
}
