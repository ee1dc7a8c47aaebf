/*
 * Token buckets. One kind, three uses: one active job per (ACO, endpoint) with capacity one and no refill
 * (kick-off takes the token, every way a job can end returns it, a restart rebuilds the buckets from the job
 * table); requests per client (off by default); failed logins per address.
 *
 * The bucket of a job refuses early; what decides is the job index inside the kick-off's transaction.
 *
 * Threading: any thread (sharded locks, no I/O). Bounded: a full bucket makes room, the least recently used
 * first; if none of the oldest is full, the oldest.
 */
#ifndef SERVER_LIMITER_H
#define SERVER_LIMITER_H

#include "codec/base/slice.h"

#include <stdint.h>

#define LIMITER_NAME_MAX     64      /* bytes (CHECK): a longer name is the caller's bug */
#define LIMITER_BUCKETS_MAX  65536   /* of all kinds */
#define LIMITER_CAPACITY_MAX 1000000 /* tokens */

struct limiter;

enum limiter_kind {
    LIMITER_JOB,     /* name: "<aco number>/<endpoint>" */
    LIMITER_REQUEST, /* name: client id */
    LIMITER_LOGIN,   /* name: address */
    LIMITER_KIND_COUNT
};

struct limiter_rule {
    unsigned capacity;   /* tokens at most; 0: unlimited */
    unsigned per_minute; /* refill; 0: only by limiter_return */
};

struct limiter *limiter_new(const struct limiter_rule rules[LIMITER_KIND_COUNT]);
void limiter_free(struct limiter *limiter);
/* For tests: another clock than clock_monotonic_us. Before the first take. */
void limiter_set_clock(struct limiter *limiter, int64_t (*now_us)(void));

/* Takes a token, or says in how many seconds one may be there (at least 1; 0 if only a return brings it).
 * ret_wait_seconds is touched only when there is no token, and may be NULL. */
bool limiter_take(struct limiter *limiter, enum limiter_kind kind, struct slice name,
                  unsigned *ret_wait_seconds);
/* True if one could be taken now. */
bool limiter_has(struct limiter *limiter, enum limiter_kind kind, struct slice name,
                 unsigned *ret_wait_seconds);
/* Gives a token back. One that was never taken, or was forgotten, is no harm: a bucket is never over-full. */
void limiter_return(struct limiter *limiter, enum limiter_kind kind, struct slice name);

#endif
