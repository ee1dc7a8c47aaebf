/*
 * The service: what all handlers share. Made by main.c before the reactors start, immutable afterwards but
 * for what its parts guard themselves.
 *
 * Threading: read from every thread; each part's own header says what may be called where.
 */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include "codec/base/version.h"
#include "server/exchange.h"
#include "storage/store.h"

#define SLUICE_RELEASE_DATE "2026-11-22"

struct config;
struct log;
struct writer;
struct tokens;
struct limiter;
struct exports;
struct reactors;

struct service {
    const struct config *config; /* SIGHUP puts another in its place: read it by service_config */
    struct store *store;
    struct writer *writer;
    struct tokens *tokens;
    struct limiter *limiter;
    struct exports *exports;
    struct reactors *reactors;
    int64_t started_us; /* clock_now_us */
};

/* Stays as it is until the server stops. */
static inline const struct config *service_config(const struct service *service)
{
    return __atomic_load_n(&service->config, __ATOMIC_ACQUIRE);
}

static inline struct service *exchange_service(const struct exchange *exchange)
{
    return exchange->service;
}

#endif
