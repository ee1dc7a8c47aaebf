#include "loadtest/run.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/json_reader.h"

#include <stdlib.h>
#include <string.h>

#define RENEW_BEFORE_SECONDS 120
#define LOG_IN_SECONDS       300

/* ---- timers: a binary heap ---- */

static struct run_timer *timers_of(struct run *run, size_t *ret_count)
{
    *ret_count = run->timers.size / sizeof(struct run_timer);
    return (struct run_timer *)(void *)run->timers.data;
}

void run_at(struct run *run, int64_t at_us, run_callback *fire, void *context)
{
    size_t count, at;
    buffer_extend(&run->timers, sizeof(struct run_timer));
    struct run_timer *timers = timers_of(run, &count);
    for (at = count - 1; at && timers[(at - 1) / 2].at_us > at_us; at = (at - 1) / 2)
        timers[at] = timers[(at - 1) / 2];
    timers[at] = (struct run_timer){at_us, fire, context};
}

static struct run_timer take_timer(struct run *run)
{
    size_t count, at = 0;
    struct run_timer *timers = timers_of(run, &count);
    struct run_timer first = timers[0], last = timers[--count];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && timers[child + 1].at_us < timers[child].at_us)
            child++;
        if (timers[child].at_us >= last.at_us)
            break;
        timers[at] = timers[child];
    }
    timers[at] = last;
    run->timers.size = count * sizeof *timers;
    return first;
}

/* ---- tokens ---- */

void run_note_failure(struct run *run, enum measure_kind kind, const struct client_reply *reply,
                      const char *what)
{
    int64_t now_us = clock_monotonic_us();
    if (reply->failed || reply->status >= 400)
        measure_failed(&run->measure, kind, reply->failure, now_us);
    else
        measure_wrong(&run->measure, kind, now_us, "%s was answered with status %ld", what, reply->status);
}

static bool take_token(struct session *session, const struct client_reply *reply)
{
    struct json_reader *reader = json_reader_new();
    struct buffer token = BUFFER_INIT, lifetime = BUFFER_INIT;
    bool good = json_find(reader, reply->body, "access_token", &token, NULL) == STATUS_OK && token.size &&
                json_find(reader, reply->body, "expires_in", &lifetime, NULL) == STATUS_OK;
    if (good) {
        int64_t seconds = strtoll(buffer_text(&lifetime), NULL, 10);
        mem_free(session->token);
        session->token = mem_strdup(buffer_text(&token));
        seconds = seconds > 2 * RENEW_BEFORE_SECONDS ? seconds - RENEW_BEFORE_SECONDS : seconds / 2;
        session->renew_us = clock_monotonic_us() + seconds * US_PER_SECOND;
    }
    buffer_release(&token);
    buffer_release(&lifetime);
    json_reader_free(reader);
    return good;
}

static void renew_token(void *context)
{
    struct session *session = context;
    run_get_token(session, clock_monotonic_us());
}

static void token_done(void *context, const struct client_reply *reply)
{
    struct session *session = context;
    struct run *run = session->run;
    int64_t now_us = clock_monotonic_us();
    session->asks_for_token = false;
    if (reply->failed || reply->status != 200)
        run_note_failure(run, MEASURE_TOKEN, reply, "a request for a token");
    else if (!take_token(session, reply))
        measure_wrong(&run->measure, MEASURE_TOKEN, now_us, "a token's answer has no access_token");
    else
        measure_done(&run->measure, MEASURE_TOKEN, session->token_asked_us, now_us, reply->bytes);
    /* Not in the scenario's work: an own timer keeps the token fresh. */
    if (session->token)
        run_at(run, session->renew_us > now_us ? session->renew_us : now_us + US_PER_SECOND, renew_token,
               session);
}

void run_get_token(struct session *session, int64_t intended_us)
{
    struct run *run = session->run;
    struct buffer url = BUFFER_INIT;
    if (session->asks_for_token)
        return;
    buffer_appendf(&url, "%s/auth/token", run->options->url);
    session->asks_for_token =
        client_send(run->client, &(struct client_request){.method = "POST",
                                                          .url = buffer_text(&url),
                                                          .user_password = session->user_password,
                                                          .intended_us = intended_us,
                                                          .context = session,
                                                          .done = token_done});
    session->token_asked_us = intended_us;
    if (!session->asks_for_token)
        measure_failed(&run->measure, MEASURE_TOKEN, MEASURE_FAILURE_SKIPPED, clock_monotonic_us());
    buffer_release(&url);
}

/* ---- a measured GET ---- */

struct get {
    struct session *session;
    enum measure_kind kind;
    long expected;
    int64_t intended_us;
};

static void get_done(void *context, const struct client_reply *reply)
{
    struct get *get = context;
    struct run *run = get->session->run;
    if (reply->failed || reply->status != get->expected)
        run_note_failure(run, get->kind, reply, measure_kind_name(get->kind));
    else
        measure_done(&run->measure, get->kind, get->intended_us, clock_monotonic_us(), reply->bytes);
    mem_free(get);
}

void run_get(struct session *session, enum measure_kind kind, const char *url, long expected,
             int64_t intended_us)
{
    struct run *run = session->run;
    struct get *get = mem_new(struct get);
    *get = (struct get){session, kind, expected, intended_us};
    if (!client_send(run->client, &(struct client_request){.method = "GET",
                                                           .url = url,
                                                           .bearer = session->token,
                                                           .intended_us = intended_us,
                                                           .context = get,
                                                           .done = get_done})) {
        measure_failed(&run->measure, kind, MEASURE_FAILURE_SKIPPED, clock_monotonic_us());
        mem_free(get);
    }
}

/* ---- the run ---- */

uint64_t run_random(struct run *run, uint64_t bound)
{
    run->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = run->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return ((z ^ (z >> 31)) >> 11) % bound;
}

enum status run_open(struct run *run, const struct options *options, struct error *error)
{
    struct credential *credentials;
    *run =
        (struct run){.options = options, .arena = ARENA_INIT, .timers = BUFFER_INIT, .random = options->seed};
    measure_init(&run->measure, clock_monotonic_us());
    enum status status =
        credentials_read(options->credentials, &run->arena, &credentials, &run->session_count, error);
    if (status != STATUS_OK)
        return status;
    run->sessions = mem_zalloc_array(sizeof *run->sessions, run->session_count);
    for (size_t i = 0; i < run->session_count; i++) {
        struct buffer pair = BUFFER_INIT;
        buffer_appendf(&pair, "%s:%s", credentials[i].client_id, credentials[i].secret);
        run->sessions[i] = (struct session){
            .run = run, .credential = &credentials[i], .user_password = mem_strdup(buffer_text(&pair))};
        buffer_release(&pair);
    }
    return client_new(&(struct client_options){.ca_file = options->ca_file,
                                               .insecure = options->insecure,
                                               .connections = options->connections,
                                               .timeout_seconds = 3600},
                      &run->client, error);
}

void run_close(struct run *run)
{
    client_free(run->client);
    for (size_t i = 0; i < run->session_count && run->sessions; i++) {
        mem_free(run->sessions[i].user_password);
        mem_free(run->sessions[i].token);
        mem_free(run->sessions[i].job_url);
    }
    mem_free(run->sessions);
    buffer_release(&run->timers);
    measure_release(&run->measure);
    arena_release(&run->arena);
}

enum status run_until(struct run *run, int64_t until_us, bool (*done)(struct run *run), struct error *error)
{
    for (;;) {
        int64_t now_us = clock_monotonic_us(), next_us = until_us;
        size_t count;
        struct run_timer *timers = timers_of(run, &count);
        while (count && timers[0].at_us <= now_us) {
            struct run_timer timer = take_timer(run);
            timer.fire(timer.context);
            timers = timers_of(run, &count);
        }
        if (now_us >= until_us || (done && done(run)))
            return STATUS_OK;
        if (count && timers[0].at_us < next_us)
            next_us = timers[0].at_us;
        enum status status = client_run(run->client, next_us, error);
        if (status != STATUS_OK)
            return status;
    }
}

static bool nothing_is_asked(struct run *run)
{
    return client_pending(run->client) == 0;
}

enum status run_log_in(struct run *run, struct error *error)
{
    for (size_t i = 0; i < run->session_count; i++)
        run_get_token(&run->sessions[i], clock_monotonic_us());
    enum status status =
        run_until(run, clock_monotonic_us() + LOG_IN_SECONDS * US_PER_SECOND, nothing_is_asked, error);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < run->session_count; i++) {
        if (!run->sessions[i].token)
            return error_set(error, STATUS_DENIED,
                             "no token for %s: is the server at %s, are the credentials its own, and is its "
                             "certificate trusted (--ca)?",
                             run->sessions[i].credential->client_id, run->options->url);
    }
    return STATUS_OK;
}
