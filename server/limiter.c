#include "server/limiter.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"

#include <pthread.h>
#include <sys/random.h>

#define LIMITER_SHARDS            16
#define LIMITER_SHARD_BUCKETS_MAX (LIMITER_BUCKETS_MAX / LIMITER_SHARDS)
#define LIMITER_SHARD_CHAINS      1024 /* a power of two */
#define LIMITER_EVICTION_LOOKS    16   /* least recently used buckets that are asked whether they are full */

/* A level is counted in what a refill of one a minute brings in a microsecond, so that no time is lost to
 * rounding. */
#define TOKEN_LEVEL (60 * US_PER_SECOND)

/* A bucket that is full is as good as none: only those that were taken from are kept. */
struct bucket {
    struct bucket *chain;         /* next with the same hash */
    struct bucket *older, *newer; /* by last use, within the shard */
    int64_t level;
    int64_t seen_us; /* when `level` was right */
    enum limiter_kind kind;
    unsigned name_size;
    char name[LIMITER_NAME_MAX];
};

struct shard {
    pthread_mutex_t mutex;
    struct bucket *chains[LIMITER_SHARD_CHAINS];
    struct bucket *oldest, *newest;
    size_t count;
};

struct limiter {
    struct limiter_rule rules[LIMITER_KIND_COUNT];
    int64_t (*now_us)(void);
    uint64_t seed; /* names come from outside: nobody shall choose which chain they meet in */
    struct shard shards[LIMITER_SHARDS];
};

struct limiter *limiter_new(const struct limiter_rule rules[LIMITER_KIND_COUNT])
{
    struct limiter *limiter = mem_new(struct limiter);
    for (size_t i = 0; i < LIMITER_KIND_COUNT; i++) {
        CHECK(rules[i].capacity <= LIMITER_CAPACITY_MAX);
        limiter->rules[i] = rules[i];
    }
    limiter->now_us = clock_monotonic_us;
    CHECK(getrandom(&limiter->seed, sizeof limiter->seed, 0) == (ssize_t)sizeof limiter->seed);
    for (size_t i = 0; i < LIMITER_SHARDS; i++)
        CHECK(pthread_mutex_init(&limiter->shards[i].mutex, NULL) == 0);
    return limiter;
}

void limiter_free(struct limiter *limiter)
{
    if (!limiter)
        return;
    for (size_t i = 0; i < LIMITER_SHARDS; i++) {
        struct shard *shard = &limiter->shards[i];
        for (struct bucket *bucket = shard->oldest; bucket;) {
            struct bucket *newer = bucket->newer;
            mem_free(bucket);
            bucket = newer;
        }
        pthread_mutex_destroy(&shard->mutex);
    }
    mem_free(limiter);
}

void limiter_set_clock(struct limiter *limiter, int64_t (*now_us)(void))
{
    limiter->now_us = now_us;
}

static uint64_t hash_name(uint64_t seed, enum limiter_kind kind, struct slice name)
{
    uint64_t hash = seed ^ ((uint64_t)kind << 56);
    for (size_t i = 0; i < name.size; i++) {
        unsigned __int128 product =
            (unsigned __int128)(hash ^ (unsigned char)name.data[i]) * UINT64_C(0x9E3779B97F4A7C15);
        hash = (uint64_t)product ^ (uint64_t)(product >> 64) ^ seed;
    }
    return hash;
}

static struct bucket **chain_of(struct limiter *limiter, struct shard *shard, enum limiter_kind kind,
                                struct slice name)
{
    return &shard->chains[hash_name(limiter->seed, kind, name) / LIMITER_SHARDS % LIMITER_SHARD_CHAINS];
}

static struct shard *shard_of(struct limiter *limiter, enum limiter_kind kind, struct slice name)
{
    return &limiter->shards[hash_name(limiter->seed, kind, name) % LIMITER_SHARDS];
}

static struct slice bucket_name(const struct bucket *bucket)
{
    return slice_make(bucket->name, bucket->name_size);
}

static void shard_unlink(struct shard *shard, struct bucket *bucket)
{
    *(bucket->older ? &bucket->older->newer : &shard->oldest) = bucket->newer;
    *(bucket->newer ? &bucket->newer->older : &shard->newest) = bucket->older;
}

static void shard_link_newest(struct shard *shard, struct bucket *bucket)
{
    bucket->newer = NULL;
    bucket->older = shard->newest;
    *(shard->newest ? &shard->newest->newer : &shard->oldest) = bucket;
    shard->newest = bucket;
}

static struct bucket *shard_find(struct limiter *limiter, struct shard *shard, enum limiter_kind kind,
                                 struct slice name)
{
    for (struct bucket *bucket = *chain_of(limiter, shard, kind, name); bucket; bucket = bucket->chain)
        if (bucket->kind == kind && slice_equal(bucket_name(bucket), name))
            return bucket;
    return NULL;
}

static void shard_drop(struct limiter *limiter, struct shard *shard, struct bucket *bucket)
{
    struct bucket **link = chain_of(limiter, shard, bucket->kind, bucket_name(bucket));
    while (*link != bucket)
        link = &(*link)->chain;
    *link = bucket->chain;
    shard_unlink(shard, bucket);
    shard->count--;
    mem_free(bucket);
}

static int64_t level_full(const struct limiter_rule *rule)
{
    return (int64_t)rule->capacity * TOKEN_LEVEL;
}

/* Brings the level to `now_us`. */
static void bucket_refill(struct bucket *bucket, const struct limiter_rule *rule, int64_t now_us)
{
    int64_t elapsed_us = now_us - bucket->seen_us, gained;
    bucket->seen_us = now_us;
    if (elapsed_us <= 0 || rule->per_minute == 0)
        return;
    int64_t missing = level_full(rule) - bucket->level;
    if (__builtin_mul_overflow(elapsed_us, (int64_t)rule->per_minute, &gained) || gained > missing)
        gained = missing;
    bucket->level += gained;
}

/* Prefers a full bucket, which nobody will miss. If none of the oldest is full the very oldest goes: its
 * owner gets his tokens back early, which is better than memory without a bound, and better than refusing
 * strangers because somebody filled the table. */
static void shard_make_room(struct limiter *limiter, struct shard *shard, int64_t now_us)
{
    struct bucket *victim = shard->oldest;
    struct bucket *bucket = shard->oldest;
    for (size_t i = 0; bucket && i < LIMITER_EVICTION_LOOKS; i++, bucket = bucket->newer) {
        const struct limiter_rule *rule = &limiter->rules[bucket->kind];
        bucket_refill(bucket, rule, now_us);
        if (bucket->level >= level_full(rule)) {
            victim = bucket;
            break;
        }
    }
    shard_drop(limiter, shard, victim);
}

static struct bucket *shard_add(struct limiter *limiter, struct shard *shard, enum limiter_kind kind,
                                struct slice name, int64_t now_us)
{
    if (shard->count == LIMITER_SHARD_BUCKETS_MAX)
        shard_make_room(limiter, shard, now_us);
    struct bucket *bucket = mem_new(struct bucket);
    bucket->kind = kind;
    bucket->name_size = (unsigned)name.size;
    memcpy(bucket->name, name.data, name.size);
    bucket->level = level_full(&limiter->rules[kind]);
    bucket->seen_us = now_us;
    struct bucket **chain = chain_of(limiter, shard, kind, name);
    bucket->chain = *chain;
    *chain = bucket;
    shard_link_newest(shard, bucket);
    shard->count++;
    return bucket;
}

static unsigned wait_seconds(const struct bucket *bucket, const struct limiter_rule *rule)
{
    if (rule->per_minute == 0)
        return 0;
    int64_t per_second = (int64_t)rule->per_minute * US_PER_SECOND;
    return (unsigned)((TOKEN_LEVEL - bucket->level + per_second - 1) / per_second);
}

static bool limiter_ask(struct limiter *limiter, enum limiter_kind kind, struct slice name, bool take,
                        unsigned *ret_wait_seconds)
{
    const struct limiter_rule *rule = &limiter->rules[kind];
    CHECK(name.size > 0 && name.size <= LIMITER_NAME_MAX);
    if (rule->capacity == 0)
        return true;
    int64_t now_us = limiter->now_us();
    struct shard *shard = shard_of(limiter, kind, name);
    pthread_mutex_lock(&shard->mutex);
    struct bucket *bucket = shard_find(limiter, shard, kind, name);
    if (!bucket && take)
        bucket = shard_add(limiter, shard, kind, name, now_us);
    bool has = true;
    if (bucket) {
        bucket_refill(bucket, rule, now_us);
        has = bucket->level >= TOKEN_LEVEL;
        if (!has && ret_wait_seconds)
            *ret_wait_seconds = wait_seconds(bucket, rule);
        if (has && take)
            bucket->level -= TOKEN_LEVEL;
        shard_unlink(shard, bucket);
        shard_link_newest(shard, bucket);
    }
    pthread_mutex_unlock(&shard->mutex);
    return has;
}

bool limiter_take(struct limiter *limiter, enum limiter_kind kind, struct slice name,
                  unsigned *ret_wait_seconds)
{
    return limiter_ask(limiter, kind, name, true, ret_wait_seconds);
}

bool limiter_has(struct limiter *limiter, enum limiter_kind kind, struct slice name,
                 unsigned *ret_wait_seconds)
{
    return limiter_ask(limiter, kind, name, false, ret_wait_seconds);
}

void limiter_return(struct limiter *limiter, enum limiter_kind kind, struct slice name)
{
    const struct limiter_rule *rule = &limiter->rules[kind];
    CHECK(name.size > 0 && name.size <= LIMITER_NAME_MAX);
    if (rule->capacity == 0)
        return;
    struct shard *shard = shard_of(limiter, kind, name);
    pthread_mutex_lock(&shard->mutex);
    struct bucket *bucket = shard_find(limiter, shard, kind, name);
    if (bucket) {
        bucket_refill(bucket, rule, limiter->now_us());
        bucket->level += TOKEN_LEVEL;
        if (bucket->level >= level_full(rule))
            shard_drop(limiter, shard, bucket);
    }
    pthread_mutex_unlock(&shard->mutex);
}
