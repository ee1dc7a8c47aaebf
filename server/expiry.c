#include "server/expiry.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/job_files.h"
#include "server/job_sweep.h"
#include "server/log.h"
#include "storage/accounts.h"
#include "storage/suppression.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#define EXPIRY_PERIOD_US US_PER_SECOND
#define EXPIRY_RETRY_US  (10 * US_PER_SECOND) /* after a failure */

enum expiry_kind { EXPIRY_LOOK, EXPIRY_ARCHIVE, EXPIRY_EXPIRE, EXPIRY_REMOVE };

#define EXPIRY_NOW INT64_MIN

/* What is to be done with a job, and when. */
struct expiry_item {
    uint64_t job_id;
    int64_t due_us; /* clock_now_us */
    enum expiry_kind kind;
};

struct expiry {
    struct service *service;
    const char *dir;
    int64_t keep_us;
    int64_t settle_after_us; /* clock_monotonic_us: not before, after a failure */
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    bool hurried; /* something is due now */
    struct expiry_item *items;
    size_t count, capacity;
    int64_t earliest_us; /* of all items; INT64_MAX without any */
};

enum job_state job_state_at(const struct job *job, int64_t now_us)
{
    if (job->state == JOB_STATE_COMPLETED && job->due_us <= now_us)
        return JOB_STATE_ARCHIVED;
    if (job->state == JOB_STATE_ARCHIVED && job->due_us <= now_us)
        return JOB_STATE_EXPIRED;
    return job->state;
}

static void expiry_add(struct expiry *expiry, uint64_t job_id, enum expiry_kind kind, int64_t due_us)
{
    pthread_mutex_lock(&expiry->lock);
    if (expiry->count == expiry->capacity) {
        expiry->capacity = expiry->capacity ? expiry->capacity * 2 : 64;
        expiry->items = mem_realloc(expiry->items, expiry->capacity * sizeof *expiry->items);
    }
    expiry->items[expiry->count++] = (struct expiry_item){job_id, due_us, kind};
    if (due_us < expiry->earliest_us)
        expiry->earliest_us = due_us;
    if (due_us == EXPIRY_NOW) {
        expiry->hurried = true;
        pthread_cond_signal(&expiry->changed);
    }
    pthread_mutex_unlock(&expiry->lock);
}

void expiry_watch(struct expiry *expiry, uint64_t job_id)
{
    expiry_add(expiry, job_id, EXPIRY_LOOK, EXPIRY_NOW);
}

void expiry_remove(struct expiry *expiry, uint64_t job_id)
{
    expiry_add(expiry, job_id, EXPIRY_REMOVE, EXPIRY_NOW);
}

/* ---- what is due ---- */

static void retry_later(struct expiry *expiry, const struct expiry_item *item)
{
    expiry_add(expiry, item->job_id, item->kind, clock_now_us() + EXPIRY_RETRY_US);
}

static void log_failed(const char *what, uint64_t job_id, const struct error *error)
{
    struct log_line line = log_begin(LOG_LEVEL_ERROR, what);
    log_number(&line, "job", (int64_t)job_id);
    log_text(&line, "text", error->text);
    log_end(&line);
}

static void log_expired(const char *event, uint64_t job_id)
{
    struct log_line line = log_begin(LOG_LEVEL_INFO, event);
    log_number(&line, "job", (int64_t)job_id);
    log_end(&line);
}

/* The record as it stands now. STATUS_NOT_FOUND if there is none. */
static enum status read_state(struct expiry *expiry, uint64_t job_id, enum job_state *ret_state,
                              int64_t *ret_due_us)
{
    struct engine_txn *txn;
    struct job job;
    struct arena arena = ARENA_INIT;
    enum status status = engine_begin_read(store_engine(expiry->service->store), &txn, NULL);
    if (status != STATUS_OK)
        return status;
    status = job_get(txn, job_id, &arena, &job, NULL);
    engine_end(txn);
    if (status == STATUS_OK) {
        *ret_state = job.state;
        *ret_due_us = job.due_us;
    }
    arena_release(&arena);
    return status;
}

static void remove_files(struct expiry *expiry, const struct expiry_item *item)
{
    struct error error;
    enum job_state state = JOB_STATE_CANCELLED;
    int64_t due_us;
    enum status status = read_state(expiry, item->job_id, &state, &due_us);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return retry_later(expiry, item);
    if (job_state_has_files(state))
        return; /* somebody still does need them */
    if (job_files_remove(expiry->dir, item->job_id, &error) != STATUS_OK) {
        log_failed("job files not removed", item->job_id, &error);
        retry_later(expiry, item);
    }
}

/* Looks at the job's record and plans what comes next. */
static void watch_again(struct expiry *expiry, const struct expiry_item *item)
{
    enum job_state state;
    int64_t due_us;
    if (read_state(expiry, item->job_id, &state, &due_us) != STATUS_OK)
        return retry_later(expiry, item);
    if (state == JOB_STATE_COMPLETED)
        expiry_add(expiry, item->job_id, EXPIRY_ARCHIVE, due_us);
    else if (state == JOB_STATE_ARCHIVED)
        expiry_add(expiry, item->job_id, EXPIRY_EXPIRE, due_us);
    else
        expiry_remove(expiry, item->job_id); /* expired or deleted */
}

static void change_state(struct expiry *expiry, const struct expiry_item *item)
{
    struct job_change change;
    struct error error;
    bool archives = item->kind == EXPIRY_ARCHIVE;
    job_change_init(&change, archives ? JOB_CHANGE_ARCHIVE : JOB_CHANGE_EXPIRE, item->job_id);
    change.keep_us = expiry->keep_us;
    enum status status = writer_call(expiry->service->writer, &change.request, &error);
    if (status == STATUS_OK) {
        log_expired(archives ? "job archived" : "job expired", item->job_id);
    } else if (status != STATUS_CANCELLED && status != STATUS_NOT_FOUND && status != STATUS_CONFLICT) {
        log_failed(archives ? "job not archived" : "job not expired", item->job_id, &error);
        return retry_later(expiry, item);
    }
    watch_again(expiry, item);
}

static void handle_item(struct expiry *expiry, const struct expiry_item *item)
{
    switch (item->kind) {
    case EXPIRY_LOOK:
        return watch_again(expiry, item);
    case EXPIRY_ARCHIVE:
    case EXPIRY_EXPIRE:
        return change_state(expiry, item);
    case EXPIRY_REMOVE:
        return remove_files(expiry, item);
    }
}

/* Takes one item that is due; false if there is none. */
static bool take_due(struct expiry *expiry, int64_t now_us, struct expiry_item *ret_item)
{
    bool found = false;
    if (expiry->earliest_us > now_us)
        return false;
    expiry->earliest_us = INT64_MAX;
    for (size_t i = 0; i < expiry->count; i++) {
        if (!found && expiry->items[i].due_us <= now_us) {
            found = true;
            *ret_item = expiry->items[i];
            expiry->items[i--] = expiry->items[--expiry->count];
        } else if (expiry->items[i].due_us < expiry->earliest_us) {
            expiry->earliest_us = expiry->items[i].due_us;
        }
    }
    return found;
}

/* ---- opt-outs ---- */

static bool suppressions_are_due(struct expiry *expiry)
{
    struct engine_txn *txn;
    bool due = false;
    if (engine_begin_read(store_engine(expiry->service->store), &txn, NULL) != STATUS_OK)
        return false; /* it will be looked at again */
    if (suppression_is_due(txn, clock_now_us(), &due, NULL) != STATUS_OK)
        due = true; /* the request says what is wrong */
    engine_end(txn);
    return due;
}

/* Opt-outs that came into force, or ran out. One portion; true if there is more. */
static bool settle_suppressions(struct expiry *expiry)
{
    struct suppression_settle settle;
    struct error error;
    if (clock_monotonic_us() < expiry->settle_after_us || !suppressions_are_due(expiry))
        return false;
    suppression_settle_init(&settle, SUPPRESSION_PORTION);
    if (writer_call(expiry->service->writer, &settle.request, &error) != STATUS_OK) {
        log_event(LOG_LEVEL_ERROR, "opt-outs not settled", "%s", error.text);
        expiry->settle_after_us = clock_monotonic_us() + EXPIRY_RETRY_US;
        return false;
    }
    struct log_line line =
        log_begin(settle.ret_damaged ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "opt-outs settled");
    log_number(&line, "suppressed", (int64_t)settle.ret_suppressed);
    log_number(&line, "lifted", (int64_t)settle.ret_lifted);
    if (settle.ret_damaged)
        log_number(&line, "damaged", (int64_t)settle.ret_damaged);
    log_end(&line);
    return settle.ret_more;
}

static void *expiry_main(void *argument)
{
    struct expiry *expiry = argument;
    pthread_mutex_lock(&expiry->lock);
    while (!expiry->stopping) {
        struct expiry_item item;
        if (take_due(expiry, clock_now_us(), &item)) {
            pthread_mutex_unlock(&expiry->lock);
            handle_item(expiry, &item);
            pthread_mutex_lock(&expiry->lock);
            continue;
        }
        pthread_mutex_unlock(&expiry->lock);
        bool more = settle_suppressions(expiry);
        /* What a tool that was killed was reading would else be kept until the next start. */
        engine_clear_stale_readers(store_engine(expiry->service->store));
        pthread_mutex_lock(&expiry->lock);
        if (more)
            continue;
        int64_t wake_us = clock_monotonic_us() + EXPIRY_PERIOD_US;
        struct timespec wake = {.tv_sec = wake_us / US_PER_SECOND, .tv_nsec = wake_us % US_PER_SECOND * 1000};
        int waited = 0;
        while (!expiry->stopping && !expiry->hurried && waited == 0)
            waited = pthread_cond_timedwait(&expiry->changed, &expiry->lock, &wake);
        expiry->hurried = false;
    }
    pthread_mutex_unlock(&expiry->lock);
    return NULL;
}

/* ---- the start ---- */

static enum status note_job(void *context, const struct job *job, struct error *error)
{
    struct expiry *expiry = context;
    (void)error;
    if (job->state == JOB_STATE_COMPLETED)
        expiry_add(expiry, job->id, EXPIRY_ARCHIVE, job->due_us);
    else if (job->state == JOB_STATE_ARCHIVED)
        expiry_add(expiry, job->id, EXPIRY_EXPIRE, job->due_us);
    return STATUS_OK;
}

static void note_unreadable(void *context, uint64_t job_id, const struct error *error)
{
    (void)context;
    log_failed("job not readable", job_id, error);
}

static enum status note_jobs(struct expiry *expiry, struct error *error)
{
    struct engine_txn *txn;
    struct error own;
    enum status status = engine_begin_read(store_engine(expiry->service->store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = job_each(txn, 0, 0, note_job, expiry, &own);
    engine_end(txn);
    if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED) {
        log_event(LOG_LEVEL_ERROR, "jobs not readable", "%s", own.text);
        return STATUS_OK; /* damage costs only itself */
    }
    if (status != STATUS_OK && error)
        *error = own;
    return status;
}

static enum status sweep_start(struct expiry *expiry, struct error *error)
{
    struct job_sweep_counts counts = {0};
    enum status status = job_files_prepare(expiry->dir, error);
    if (status == STATUS_OK)
        status = job_sweep(expiry->service->store, note_unreadable, NULL, &counts, error);
    if (status == STATUS_OK)
        status = note_jobs(expiry, error);
    if (counts.removed) {
        struct log_line line = log_begin(LOG_LEVEL_INFO, "orphans removed");
        log_number(&line, "count", (int64_t)counts.removed);
        log_end(&line);
    }
    return status;
}

enum status expiry_open(struct service *service, int64_t keep_us, struct expiry **ret_expiry,
                        struct error *error)
{
    struct expiry *expiry = mem_new(struct expiry);
    pthread_condattr_t attributes;
    expiry->service = service;
    expiry->dir = store_dir(service->store);
    expiry->keep_us = keep_us;
    expiry->earliest_us = INT64_MAX;
    pthread_mutex_init(&expiry->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&expiry->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    enum status status = sweep_start(expiry, error);
    if (status == STATUS_OK && pthread_create(&expiry->thread, NULL, expiry_main, expiry) != 0)
        status = error_set(error, STATUS_INTERNAL, "the thread for expiry cannot be started");
    if (status != STATUS_OK) {
        expiry->stopping = true; /* there is no thread to join */
        expiry_close(expiry);
        return status;
    }
    *ret_expiry = expiry;
    return STATUS_OK;
}

void expiry_close(struct expiry *expiry)
{
    if (!expiry)
        return;
    pthread_mutex_lock(&expiry->lock);
    bool runs = !expiry->stopping;
    expiry->stopping = true;
    pthread_cond_signal(&expiry->changed);
    pthread_mutex_unlock(&expiry->lock);
    if (runs)
        pthread_join(expiry->thread, NULL);
    pthread_cond_destroy(&expiry->changed);
    pthread_mutex_destroy(&expiry->lock);
    mem_free(expiry->items);
    mem_free(expiry);
}
