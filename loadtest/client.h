/*
 * The HTTP side of a load test: many requests at once on one thread, over libcurl. Connections are kept and
 * used again; each request carries the time at which it was meant to begin, and waits its turn if all
 * connections are busy (that wait counts: durations are taken from the intended time).
 *
 * Threading: one thread.
 */
#ifndef LOADTEST_CLIENT_H
#define LOADTEST_CLIENT_H

#include "codec/base/buffer.h"
#include "codec/base/status.h"
#include "loadtest/measure.h"

#include <stdint.h>

struct client_options {
    const char *ca_file;      /* NULL: the system's certificates */
    bool insecure;            /* any certificate is good */
    unsigned connections;     /* at once, at most */
    unsigned timeout_seconds; /* of one request */
};

struct client_reply {
    bool failed;                  /* no answer: see failure */
    enum measure_failure failure; /* also for 4xx and 5xx */
    long status;
    uint64_t bytes;        /* of the body as it came over the network */
    struct slice body;     /* empty if the request had a data handler */
    char location[1024];   /* Content-Location */
    unsigned retry_after;  /* seconds; 0: none */
    bool data_was_refused; /* the data handler said no */
    int64_t first_byte_us; /* monotonic; 0: none */
};

struct client_request {
    const char *method; /* "GET", "POST", "DELETE" */
    const char *url;
    const char *user_password; /* "id:secret", for Basic; NULL */
    const char *bearer;        /* token; NULL */
    bool kick_off;             /* Accept: application/fhir+json and Prefer: respond-async */
    bool gzip;                 /* Accept-Encoding: gzip; data and body arrive decoded */
    uint64_t bytes_per_second; /* a slow reader; 0: as fast as it comes */
    int64_t intended_us;
    void *context;
    /* May be NULL: then the body is collected, CLIENT_BODY_BYTES_MAX at most. False stops the transfer. */
    bool (*data)(void *context, struct slice data);
    /* Called once. The reply lives until it returns; it may send further requests. */
    void (*done)(void *context, const struct client_reply *reply);
};

#define CLIENT_BODY_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define CLIENT_QUEUE_MAX      100000 /* requests that wait for a connection */

struct client;
NODISCARD enum status client_new(const struct client_options *options, struct client **ret_client,
                                 struct error *error);
/* Requests that are not answered yet are dropped; their `done` is not called. */
void client_free(struct client *client);

/* Copies all texts. False: CLIENT_QUEUE_MAX requests wait already. */
bool client_send(struct client *client, const struct client_request *request);
/* Does what can be done, waiting until `until_us` (monotonic) at most. */
NODISCARD enum status client_run(struct client *client, int64_t until_us, struct error *error);
/* Requests sent and not answered, waiting ones included. */
size_t client_pending(const struct client *client);

#endif
