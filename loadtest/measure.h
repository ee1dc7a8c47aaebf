/*
 * What a run measures: for each kind of work durations from the *intended* start (so that a server that
 * stalls is charged for the requests that should have been sent meanwhile), bytes, and failures by cause;
 * and all of it second by second, for the plots.
 *
 * Threading: one thread.
 */
#ifndef LOADTEST_MEASURE_H
#define LOADTEST_MEASURE_H

#include "codec/base/status.h"
#include "loadtest/histogram.h"

#include <stdbool.h>
#include <stddef.h>

enum measure_kind {
    MEASURE_TOKEN,    /* POST /auth/token */
    MEASURE_KICK_OFF, /* $export, to its 202 */
    MEASURE_STATUS,   /* GET of a job */
    MEASURE_METADATA, /* GET /api/v1/metadata */
    MEASURE_DOWNLOAD, /* one file, to its last byte */
    MEASURE_JOB,      /* from the kick-off's intended start until Completed is seen */
    MEASURE_EXPORT,   /* from there to the last byte of the last file, verified */
    MEASURE_KIND_COUNT
};
const char *measure_kind_name(enum measure_kind kind);

enum measure_failure {
    MEASURE_FAILURE_CONNECT, /* no connection, TLS included */
    MEASURE_FAILURE_BROKEN,  /* cut short, or no HTTP */
    MEASURE_FAILURE_TIMEOUT,
    MEASURE_FAILURE_429,
    MEASURE_FAILURE_4XX, /* any other */
    MEASURE_FAILURE_5XX,
    MEASURE_FAILURE_WRONG,   /* an answer that is not what it must be */
    MEASURE_FAILURE_SKIPPED, /* not sent: everything that could send it was busy when its time came */
    MEASURE_FAILURE_COUNT
};
const char *measure_failure_name(enum measure_failure failure);

#define MEASURE_SECONDS_MAX 7200 /* later seconds count as the last one */
#define MEASURE_SERIES_MAX  48   /* buckets of one second's durations, two for each doubling from 1 µs on */

struct measure_second {
    uint32_t done, failed;
    uint64_t bytes;
    uint32_t durations[MEASURE_SERIES_MAX];
    uint32_t max_us;
};

struct measure_of_kind {
    struct histogram durations;
    uint64_t bytes;
    uint64_t failures[MEASURE_FAILURE_COUNT];
    struct measure_second *seconds; /* grown as needed */
    size_t second_count;
};

struct measure {
    int64_t begin_us; /* monotonic */
    struct measure_of_kind of[MEASURE_KIND_COUNT];
    char first_wrong[ERROR_TEXT_MAX]; /* why, of the first answer that was wrong */
};

void measure_init(struct measure *measure, int64_t begin_us);
void measure_release(struct measure *measure);
void measure_done(struct measure *measure, enum measure_kind kind, int64_t intended_us, int64_t now_us,
                  uint64_t bytes);
void measure_failed(struct measure *measure, enum measure_kind kind, enum measure_failure failure,
                    int64_t now_us);
/* MEASURE_FAILURE_WRONG, with its reason. */
void measure_wrong(struct measure *measure, enum measure_kind kind, int64_t now_us, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* Nothing of this kind was done or tried. */
bool measure_is_empty(const struct measure_of_kind *of);
uint64_t measure_failures(const struct measure_of_kind *of);
/* All failures of all kinds but those that were skipped. */
uint64_t measure_failures_of_all(const struct measure *measure);
/* Of one second: about the 99th percentile of its durations in µs; 0 without any. */
int64_t measure_second_p99(const struct measure_second *second);

#endif
