#include "loadtest/scenario.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "loadtest/export_flow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_INTERVAL_US (US_PER_SECOND / 5)
#define PREPARE_SECONDS      600

static struct session *any_session(struct run *run)
{
    return &run->sessions[run_random(run, run->session_count)];
}

/* An idle one, beginning at a random place; NULL if all export. */
static struct session *idle_session(struct run *run)
{
    size_t first = run_random(run, run->session_count);
    for (size_t i = 0; i < run->session_count; i++) {
        struct session *session = &run->sessions[(first + i) % run->session_count];
        if (!session->exports && !session->job_url)
            return session;
    }
    return NULL;
}

/* ---- ticks ---- */

static void tick_export(struct run *run, int64_t intended_us)
{
    struct session *session = idle_session(run);
    if (!session)
        return measure_failed(&run->measure, MEASURE_EXPORT, MEASURE_FAILURE_SKIPPED, clock_monotonic_us());
    export_flow_begin(session, &(struct export_wish){.intended_us = intended_us});
}

static void tick_status(struct run *run, int64_t intended_us)
{
    struct session *session = &run->sessions[run_random(run, run->job_count)];
    run_get(session, MEASURE_STATUS, session->job_url, 200, intended_us);
}

static void tick_metadata(struct run *run, int64_t intended_us)
{
    struct buffer url = BUFFER_INIT;
    buffer_appendf(&url, "%s/api/v1/metadata", run->options->url);
    run_get(any_session(run), MEASURE_METADATA, buffer_text(&url), 200, intended_us);
    buffer_release(&url);
}

/* Of a hundred: 78 polls, 15 metadata, 5 tokens, 2 exports. */
static void tick_mixed(struct run *run, int64_t intended_us)
{
    uint64_t dice = run_random(run, 100);
    if (dice < 78)
        tick_status(run, intended_us);
    else if (dice < 93)
        tick_metadata(run, intended_us);
    else if (dice < 98)
        run_get_token(any_session(run), intended_us);
    else
        tick_export(run, intended_us);
}

/* ---- slow readers ---- */

static void slow_again(void *context)
{
    struct session *session = context;
    struct run *run = session->run;
    int64_t now_us = clock_monotonic_us();
    if (now_us >= run->end_us)
        return;
    if (!session->exports)
        export_flow_begin(
            session, &(struct export_wish){.intended_us = now_us, .bytes_per_second = SCENARIO_SLOW_BYTES});
    run_at(run, now_us + US_PER_SECOND, slow_again, session);
}

/* Those without a job to look at read slowly, all the time. */
static void begin_slow_readers(struct run *run)
{
    size_t readers = 0;
    for (size_t i = 0; i < run->session_count && readers < SCENARIO_SLOW_READERS_MAX; i++) {
        if (!run->sessions[i].job_url) {
            slow_again(&run->sessions[i]);
            readers++;
        }
    }
}

/* ---- the storm ---- */

static void storm_again(void *context)
{
    struct run *run = context;
    int64_t now_us = clock_monotonic_us();
    if (now_us >= run->end_us)
        return;
    size_t sessions = run->exports_running == 0 ? run->session_count : 0;
    for (size_t i = 0; i < sessions; i++)
        export_flow_begin(&run->sessions[i], &(struct export_wish){.intended_us = now_us});
    run_at(run, now_us + US_PER_SECOND / 100, storm_again, run);
}

static void begin_storm(struct run *run)
{
    storm_again(run);
}

/* ---- the table ---- */

static const struct scenario scenarios[] = {
    {"export", "whole exports, each file checked; 1", 1, SCENARIO_JOBS_NONE, NULL, tick_export},
    {"status", "polls of completed jobs; 1000", 1000, SCENARIO_JOBS_ALL, NULL, tick_status},
    {"mixed", "78 % polls, 15 % metadata, 5 % tokens, 2 % exports; 200", 200, SCENARIO_JOBS_SOME, NULL,
     tick_mixed},
    {"slow-readers", "polls beside downloads at 64 KB/s; 100", 100, SCENARIO_JOBS_SOME, begin_slow_readers,
     tick_status},
    {"storm", "all ACOs export at once, and again when all are done", 0, SCENARIO_JOBS_NONE, begin_storm,
     NULL},
};

const struct scenario *scenario_find(const char *name)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    }
    return NULL;
}

char *scenario_help(const char *text)
{
    struct buffer help = BUFFER_INIT;
    buffer_append_text(&help, "Scenarios, and how much they begin a second without --rate:\n");
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        buffer_appendf(&help, "  %-13s %s\n", scenarios[i].name, scenarios[i].help);
    buffer_append_text(&help, "\nExamples:\n"
                              "  sluice-load --url https://host:8443 --ca ca.pem --credentials all.txt\n"
                              "  sluice-load --url https://host:8443 --insecure --credentials all.txt \\\n"
                              "      status --rate 5000 --seconds 60 --report status.html\n\n");
    buffer_append_text(&help, text);
    size_t size;
    buffer_append_char(&help, '\0');
    return buffer_detach(&help, &size);
}

/* ---- running one ---- */

struct pace {
    const struct scenario *scenario;
    struct run *run;
    double interval_us;
    uint64_t ticks;
};

/* All ticks whose time has come, each with the time that it was meant for. */
static void pace_fire(void *context)
{
    struct pace *pace = context;
    struct run *run = pace->run;
    for (;;) {
        int64_t intended_us = run->begin_us + (int64_t)llround(pace->interval_us * (double)pace->ticks);
        if (intended_us >= run->end_us)
            return;
        if (intended_us > clock_monotonic_us())
            return run_at(run, intended_us, pace_fire, pace);
        pace->scenario->tick(run, intended_us);
        pace->ticks++;
    }
}

struct watch {
    struct run *run;
    const char *phase;
    const struct scenario_watcher *watcher;
};

static void watch_fire(void *context)
{
    struct watch *watch = context;
    watch->watcher->progress(watch->run, watch->phase);
    run_at(watch->run, clock_monotonic_us() + PROGRESS_INTERVAL_US, watch_fire, watch);
}

static bool exports_have_ended(struct run *run)
{
    return run->exports_running == 0;
}

static bool all_has_ended(struct run *run)
{
    return run->exports_running == 0 && client_pending(run->client) == 0;
}

/* Gives some sessions a Completed job each; where others are to export meanwhile, not all of them. */
static enum status prepare_jobs(struct run *run, enum scenario_jobs wanted, struct error *error)
{
    size_t jobs = run->session_count;
    if (wanted == SCENARIO_JOBS_SOME && jobs > 1)
        jobs = (jobs + 9) / 10;
    run->job_count = jobs < SCENARIO_JOBS_MAX ? jobs : SCENARIO_JOBS_MAX;
    for (size_t i = 0; i < run->job_count; i++)
        export_flow_begin(&run->sessions[i],
                          &(struct export_wish){.intended_us = clock_monotonic_us(), .keeps_job = true});
    enum status status =
        run_until(run, clock_monotonic_us() + PREPARE_SECONDS * US_PER_SECOND, exports_have_ended, error);
    for (size_t i = 0; status == STATUS_OK && i < run->job_count; i++) {
        if (!run->sessions[i].job_url)
            return error_set(error, STATUS_BUSY, "no export of %s could be completed before the test%s%s",
                             run->sessions[i].credential->name, run->measure.first_wrong[0] ? ": " : "",
                             run->measure.first_wrong);
    }
    return status;
}

static void delete_jobs(struct run *run)
{
    for (size_t i = 0; i < run->session_count; i++) {
        struct session *session = &run->sessions[i];
        if (session->job_url)
            export_flow_delete_job(session);
    }
}

enum status scenario_run(const struct scenario *scenario, struct run *run,
                         const struct scenario_watcher *watcher, struct error *error)
{
    struct watch watch = {run, "logging in", watcher};
    struct pace pace = {.scenario = scenario, .run = run};
    double rate = run->options->rate > 0 ? run->options->rate : scenario->rate;
    watch_fire(&watch);
    enum status status = run_log_in(run, error);
    watch.phase = "preparing";
    if (status == STATUS_OK && scenario->jobs != SCENARIO_JOBS_NONE)
        status = prepare_jobs(run, scenario->jobs, error);
    if (status != STATUS_OK)
        return status;
    /* What came before does not count. */
    measure_release(&run->measure);
    run->begin_us = clock_monotonic_us();
    run->end_us = run->begin_us + (int64_t)run->options->seconds * US_PER_SECOND;
    measure_init(&run->measure, run->begin_us);
    watcher->begins(run);
    watch.phase = scenario->name;
    if (scenario->begin)
        scenario->begin(run);
    if (scenario->tick) {
        pace.interval_us = 1e6 / rate;
        pace_fire(&pace);
    }
    status = run_until(run, run->end_us, NULL, error);
    watch.phase = "waiting for what was begun";
    if (status == STATUS_OK)
        status = run_until(run, run->end_us + SCENARIO_DRAIN_SECONDS * US_PER_SECOND, all_has_ended, error);
    if (status == STATUS_OK && !all_has_ended(run))
        measure_wrong(&run->measure, MEASURE_EXPORT, clock_monotonic_us(),
                      "what was begun had not ended %d seconds after the test's time",
                      SCENARIO_DRAIN_SECONDS);
    if (status == STATUS_OK) {
        watcher->ended(run);
        delete_jobs(run);
        status = run_until(run, clock_monotonic_us() + SCENARIO_DRAIN_SECONDS * US_PER_SECOND, all_has_ended,
                           error);
    }
    return status;
}
