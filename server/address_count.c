#include "server/address_count.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/random.h>

#define BUCKETS 4096

struct address {
    struct address *next;
    uint64_t key;
    unsigned count;
};

struct address_count {
    pthread_mutex_t lock;
    unsigned count_max;
    uint64_t seed; /* so that nobody can choose addresses that share a bucket */
    struct address *buckets[BUCKETS];
};

struct address_count *address_count_new(unsigned count_max)
{
    struct address_count *counts = mem_new(struct address_count);
    CHECK(pthread_mutex_init(&counts->lock, NULL) == 0);
    CHECK(getrandom(&counts->seed, sizeof counts->seed, 0) == (ssize_t)sizeof counts->seed);
    counts->count_max = count_max;
    return counts;
}

void address_count_free(struct address_count *counts)
{
    if (!counts)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (counts->buckets[i]) {
            struct address *next = counts->buckets[i]->next;
            mem_free(counts->buckets[i]);
            counts->buckets[i] = next;
        }
    }
    pthread_mutex_destroy(&counts->lock);
    mem_free(counts);
}

/* The IPv4 address of an IPv4 or mapped address, or NULL. */
static const void *address_v4(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_V4MAPPED(v6) ? v6->s6_addr + 12 : NULL;
}

static uint64_t address_key(const struct sockaddr *address)
{
    /* No IPv6 network begins with 16 zero bits and 0xffff behind 16 more, so the two kinds do not meet. */
    const void *v4 = address_v4(address);
    if (v4)
        return UINT64_C(0x0000ffff00000000) | load_u32_be(v4);
    return load_u64_be(((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
}

/* Where the address stands in its bucket, or the NULL at the bucket's end. */
static struct address **address_find(struct address_count *counts, uint64_t key)
{
    uint64_t mixed = (key ^ counts->seed) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 32) * UINT64_C(0xd6e8feb86659fd93);
    struct address **link = &counts->buckets[mixed >> 32 & (BUCKETS - 1)];
    while (*link && (*link)->key != key)
        link = &(*link)->next;
    return link;
}

bool address_count_add(struct address_count *counts, const struct sockaddr *address)
{
    if (counts->count_max == 0)
        return true;
    uint64_t key = address_key(address);
    pthread_mutex_lock(&counts->lock);
    struct address **link = address_find(counts, key);
    if (!*link) {
        *link = mem_new(struct address);
        (*link)->key = key;
    }
    bool added = (*link)->count < counts->count_max;
    if (added)
        (*link)->count++;
    pthread_mutex_unlock(&counts->lock);
    return added;
}

void address_count_remove(struct address_count *counts, const struct sockaddr *address)
{
    if (counts->count_max == 0)
        return;
    uint64_t key = address_key(address);
    pthread_mutex_lock(&counts->lock);
    struct address **link = address_find(counts, key);
    CHECK(*link && (*link)->count > 0);
    if (--(*link)->count == 0) {
        struct address *gone = *link;
        *link = gone->next;
        mem_free(gone);
    }
    pthread_mutex_unlock(&counts->lock);
}

void address_format(const struct sockaddr *address, char target[INET6_ADDRSTRLEN])
{
    const void *v4 = address_v4(address);
    const void *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    CHECK(inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? v4 : v6, target, INET6_ADDRSTRLEN));
}
