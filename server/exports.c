#include "server/exports.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/expiry.h"
#include "server/export_run.h"
#include "server/io_workers.h"
#include "server/limiter.h"
#include "server/log.h"
#include "storage/resources.h"
#include "storage/writer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define EXPORT_NICENESS         5 /* added: reactors go first */
#define EXPORT_RETRY_BUSY_US    (US_PER_SECOND / 50)
#define EXPORT_RETRY_FAIL_US    US_PER_SECOND /* until a failure can be written down */
#define EXPORT_SPARE_ENCODERS   16
#define EXPORT_ACTIVE_MAX       1000000 /* jobs taken up at a start */
#define EXPORT_SECONDS_LEFT_MAX 120
#define EXPORT_COLLECT_MAX      256 /* superseded segments deleted in one commit */

struct exports {
    struct service *service;
    struct exports_options options;
    struct expiry *expiry;
    struct io_workers *io;
    int jobs_fd; /* DIR/jobs */

    pthread_mutex_t lock;
    pthread_cond_t work;
    bool stopping;
    /* Those that no worker was in yet, oldest first: however many there are, none is looked at but the first.
     */
    struct export_run *fresh, **fresh_end;
    struct export_run *runs; /* the others, in the order in which they were begun */
    uint64_t turn;
    uint64_t shared_bytes; /* what each job would have got by now, had all been served alike */
    size_t sharing;        /* jobs whose files are to be written */
    unsigned idle;         /* workers that wait */
    unsigned computing;    /* workers that compute */
    struct encoder *spare[EXPORT_SPARE_ENCODERS];
    size_t spare_count;

    pthread_t *threads;
    unsigned thread_count;
};

void export_bucket_name(char target[EXPORT_BUCKET_SIZE], uint32_t aco, const char *endpoint)
{
    snprintf(target, EXPORT_BUCKET_SIZE, "%" PRIu32 "/%s", aco, endpoint);
}

struct io_workers *exports_io(struct exports *exports)
{
    return exports->io;
}

/* ---- under the lock ---- */

static struct export_run *list_find(struct export_run *list, uint64_t job_id)
{
    while (list && list->id != job_id)
        list = list->next;
    return list;
}

static struct export_run *run_find(struct exports *exports, uint64_t job_id)
{
    struct export_run *run = list_find(exports->runs, job_id);
    return run ? run : list_find(exports->fresh, job_id);
}

static void run_add(struct exports *exports, struct export_run *run)
{
    *exports->fresh_end = run;
    exports->fresh_end = &run->next;
}

/* From the fresh ones, if it is there, to the others. */
static void run_begin(struct exports *exports, struct export_run *run)
{
    struct export_run **link = &exports->fresh, **end = &exports->runs;
    while (*link && *link != run)
        link = &(*link)->next;
    if (!*link)
        return;
    *link = run->next;
    if (!run->next)
        exports->fresh_end = link;
    run->next = NULL;
    while (*end)
        end = &(*end)->next;
    *end = run;
}

/* Who follows a file of a job that was deleted is cut off at once. */
static void run_break_feeds(struct export_run *run)
{
    if (run->phase != RUN_PHASE_FILES)
        return;
    for (size_t i = run->first_file; i < run->job.file_count; i++) {
        if (run->files[i].feed)
            export_feed_end(run->files[i].feed, EXPORT_FEED_BROKEN);
    }
}

static void run_return_token(struct exports *exports, struct export_run *run)
{
    if (!run->token_returned)
        limiter_return(exports->service->limiter, LIMITER_JOB, slice_from_text(run->bucket));
    run->token_returned = true;
}

static struct encoder *encoder_take(struct exports *exports)
{
    return exports->spare_count ? exports->spare[--exports->spare_count] : encoder_new();
}

static void encoder_give(struct exports *exports, struct encoder *encoder)
{
    if (!encoder)
        return;
    if (exports->spare_count < EXPORT_SPARE_ENCODERS)
        exports->spare[exports->spare_count++] = encoder;
    else
        encoder_free(encoder);
}

/* Takes a run out that nobody is in and that has nothing left to do. */
static struct export_run *take_ended(struct exports *exports)
{
    for (struct export_run **link = &exports->runs, *run; (run = *link); link = &run->next) {
        if ((!run->ended && !run->cancelled) || run->workers)
            continue;
        *link = run->next;
        run_return_token(exports, run);
        for (size_t i = 0; run->files && i < run->job.file_count; i++) {
            encoder_give(exports, run->files[i].encoder);
            run->files[i].encoder = NULL;
        }
        return run;
    }
    return NULL;
}

/* The next file that wants a worker: the first that is written, or the first that is not, so that few are
 * open at once. */
static bool run_next_file(struct export_run *run, bool may_compute, size_t *ret_index)
{
    while (run->first_file < run->job.file_count && run->files[run->first_file].state == RUN_FILE_DONE)
        run->first_file++;
    bool found = false;
    for (size_t i = run->first_file; i < run->job.file_count; i++) {
        if (run->files[i].state == RUN_FILE_WRITTEN) {
            *ret_index = i;
            return true;
        }
        if (may_compute && !found && run->files[i].state == RUN_FILE_WAITS) {
            *ret_index = i;
            found = true;
        }
    }
    return found;
}

struct slice_of_work {
    struct export_run *run;
    enum run_phase phase;
    size_t file_index;
    bool computes; /* else it waits for the disk */
};

static bool run_offers(struct export_run *run, bool may_compute, int64_t now_us,
                       struct slice_of_work *ret_slice)
{
    struct slice_of_work slice = {.run = run, .phase = run->phase};
    if (run->ended || run->cancelled || run->retry_at_us > now_us)
        return false;
    if (run->phase == RUN_PHASE_FILES) {
        if (!run_next_file(run, may_compute, &slice.file_index))
            return false;
        slice.computes = run->files[slice.file_index].state == RUN_FILE_WAITS;
    } else {
        slice.computes = run->phase == RUN_PHASE_PLAN || run->phase == RUN_PHASE_WHOLE;
        if (run->workers || (slice.computes && !may_compute))
            return false;
    }
    *ret_slice = slice;
    return true;
}

static bool is_writing(const struct export_run *run)
{
    bool in_phase =
        run->phase == RUN_PHASE_FILES || run->phase == RUN_PHASE_WHOLE || run->phase == RUN_PHASE_PUBLISH;
    return in_phase && !run->ended && !run->cancelled;
}

/* What ends a job goes before all, then what only waits for the disk, then by due_bytes. */
static bool goes_before(const struct slice_of_work *a, const struct slice_of_work *b)
{
    bool a_ends = a->phase == RUN_PHASE_COMPLETE, b_ends = b->phase == RUN_PHASE_COMPLETE;
    if (a_ends != b_ends)
        return a_ends;
    if (a->computes != b->computes)
        return b->computes;
    if (a->run->due_bytes != b->run->due_bytes)
        return a->run->due_bytes < b->run->due_bytes;
    return a->run->served < b->run->served;
}

/* First the job that would end first, were all served alike: none ends later than it would then, and the
 * small ones among large ones much earlier. A large one cannot starve either: what comes later is due later
 * by all that was written meanwhile. Plans go before files, since without one nobody knows how large a job
 * is; and before all what is about to end: it takes one commit, and without it a flood of empty jobs would be
 * planned to the last before the first of them ends. */
static bool pick(struct exports *exports, int64_t now_us, struct slice_of_work *ret_slice)
{
    bool may_compute = exports->computing < exports->options.computing;
    struct slice_of_work best = {.run = NULL}, slice;
    exports->sharing = 0;
    for (struct export_run *run = exports->runs; run; run = run->next) {
        exports->sharing += is_writing(run);
        if (run_offers(run, may_compute, now_us, &slice) && (!best.run || goes_before(&slice, &best)))
            best = slice;
    }
    if (exports->fresh && (!best.run || best.computes) &&
        run_offers(exports->fresh, may_compute, now_us, &slice))
        best = slice;
    *ret_slice = best;
    return best.run != NULL;
}

static void begin_slice(struct exports *exports, const struct slice_of_work *slice)
{
    struct export_run *run = slice->run;
    if (!run->served)
        run_begin(exports, run);
    run->workers++;
    exports->computing += slice->computes;
    run->served = ++exports->turn;
    run->retry_at_us = 0;
    if (!run->begun_us)
        run->begun_us = clock_monotonic_us();
    /* Before the commit that ends the job: whoever has seen the end may kick off at once. Until then the
     * kick-off's own transaction refuses. */
    if (slice->phase == RUN_PHASE_COMPLETE || slice->phase == RUN_PHASE_FAIL)
        run_return_token(exports, run);
    if (slice->phase == RUN_PHASE_FILES || slice->phase == RUN_PHASE_WHOLE) {
        struct run_file *file = &run->files[slice->file_index];
        file->state = RUN_FILE_HELD;
        if (slice->computes && !file->encoder)
            file->encoder = encoder_take(exports);
    }
}

/* What came out of a slice. */
struct slice_result {
    enum status status;
    bool done; /* the plan is stored, the file or all of a small job is written, or the file is recorded */
    struct run_times times;
    struct error error;
};

static void settle_plan(struct exports *exports, struct export_run *run, const struct slice_result *result)
{
    if (!result->done)
        return;
    for (size_t i = 0; i < run->job.file_count; i++) {
        const struct job_file *file = &run->job.files[i];
        run->planned_bytes += file->planned_bytes;
        if (file->done) {
            run->files[i].state = RUN_FILE_DONE;
            run->done_bytes += file->planned_bytes;
        }
    }
    run->files_begun_us = clock_monotonic_us();
    run->files_begun_bytes = run->done_bytes;
    run->due_bytes = exports->shared_bytes + (run->planned_bytes - run->done_bytes);
    run->phase = run->job.file_count == 0 ? RUN_PHASE_COMPLETE
                 : run->whole             ? RUN_PHASE_WHOLE
                                          : RUN_PHASE_FILES;
}

static void share_bytes(struct exports *exports, struct export_run *run, uint64_t bytes)
{
    run->done_bytes += bytes;
    exports->shared_bytes += bytes / (exports->sharing ? exports->sharing : 1);
}

static void settle_whole(struct exports *exports, struct export_run *run, const struct slice_result *result)
{
    if (!result->done)
        return;
    share_bytes(exports, run, run->planned_bytes);
    encoder_give(exports, run->files[0].encoder);
    run->files[0].encoder = NULL;
    run->phase = RUN_PHASE_PUBLISH;
}

static void settle_file(struct exports *exports, struct export_run *run, const struct slice_of_work *slice,
                        const struct slice_result *result)
{
    struct run_file *file = &run->files[slice->file_index];
    uint64_t planned = run->job.files[slice->file_index].planned_bytes;
    bool is_recorded = result->done && !slice->computes;
    uint64_t credit = is_recorded ? planned : export_file_walked_bytes(file->file);
    if (credit > planned)
        credit = planned; /* the plan was an estimate */
    if (credit > file->credit) {
        share_bytes(exports, run, credit - file->credit);
        file->credit = credit;
    }
    file->state = is_recorded                        ? RUN_FILE_DONE
                  : result->done || !slice->computes ? RUN_FILE_WRITTEN
                                                     : RUN_FILE_WAITS;
    if (!is_recorded && result->status == STATUS_OK && !file->feed && !run->cancelled)
        file->feed = export_feed_ref(export_file_feed(file->file));
    if (result->done) { /* it is written, at least */
        encoder_give(exports, file->encoder);
        file->encoder = NULL;
    }
    if (is_recorded) {
        if (file->feed)
            export_feed_end(file->feed, EXPORT_FEED_COMPLETE);
        export_feed_unref(file->feed);
        file->feed = NULL;
        export_file_free(file->file);
        file->file = NULL;
    }
}

static bool run_files_are_done(struct export_run *run)
{
    size_t index;
    return !run_next_file(run, true, &index) && run->first_file == run->job.file_count;
}

static unsigned percent_done(const struct export_run *run)
{
    if (run->phase == RUN_PHASE_PLAN)
        return 0;
    if (run->done_bytes >= run->planned_bytes)
        return 99; /* 100 is Completed */
    double percent = (double)run->done_bytes * 100 / (double)run->planned_bytes;
    return percent < 99 ? (unsigned)percent : 99;
}

/* Gives the lock away for a moment; the worker counts as being in the run meanwhile. */
static void publish_percent(struct exports *exports, struct export_run *run)
{
    unsigned percent = percent_done(run);
    if (percent <= run->percent || run->ended || run->cancelled)
        return;
    run->workers++;
    pthread_mutex_unlock(&exports->lock);
    export_run_keep_percent(run, percent);
    pthread_mutex_lock(&exports->lock);
    run->workers--;
    if (percent > run->percent)
        run->percent = percent;
}

static void log_job(struct log_line line, const struct export_run *run, const struct slice_result *result)
{
    log_number(&line, "job", (int64_t)run->id);
    log_text(&line, "aco", run->aco_id);
    log_text(&line, "status", status_name(result->status));
    log_text(&line, "text", result->error.text);
    log_end(&line);
}

static void settle_failure(struct export_run *run, enum run_phase phase, const struct slice_result *result)
{
    int64_t now_us = clock_monotonic_us();
    if (result->status == STATUS_CANCELLED) { /* the record says that it is no longer active */
        run->ended = true;
        return;
    }
    if (result->status == STATUS_BUSY) {
        run->retry_at_us = now_us + EXPORT_RETRY_BUSY_US;
        if (!run->has_waited)
            log_job(log_begin(LOG_LEVEL_WARNING, "job waits"), run, result);
        run->has_waited = true;
        return;
    }
    if (phase == RUN_PHASE_FAIL)
        run->retry_at_us = now_us + EXPORT_RETRY_FAIL_US;
    run->phase = RUN_PHASE_FAIL;
}

static void settle(struct exports *exports, const struct slice_of_work *slice,
                   const struct slice_result *result)
{
    struct export_run *run = slice->run;
    run->workers--;
    exports->computing -= slice->computes;
    run_times_add(&run->times, &result->times);
    if (slice->phase == RUN_PHASE_FILES)
        settle_file(exports, run, slice, result);
    if (result->status != STATUS_OK) {
        settle_failure(run, slice->phase, result);
    } else {
        switch (slice->phase) {
        case RUN_PHASE_PLAN:
            settle_plan(exports, run, result);
            break;
        case RUN_PHASE_FILES:
            break;
        case RUN_PHASE_WHOLE:
            settle_whole(exports, run, result);
            break;
        case RUN_PHASE_PUBLISH:
            run->phase = RUN_PHASE_COMPLETE;
            break;
        case RUN_PHASE_COMPLETE:
            run->keeps_files = !run->cancelled;
            run->ended = true;
            break;
        case RUN_PHASE_FAIL:
            run->ended = true;
            break;
        }
    }
    if (run->phase == RUN_PHASE_FILES && run_files_are_done(run))
        run->phase = RUN_PHASE_COMPLETE;
}

/* ---- workers ---- */

static void run_slice(struct exports *exports, const struct slice_of_work *slice, struct slice_result *result)
{
    struct run_context context = {exports->service, &exports->options, exports->jobs_fd};
    struct export_run *run = slice->run;
    switch (slice->phase) {
    case RUN_PHASE_PLAN:
        result->status = export_run_plan(run, &context, &result->done, &result->times, &result->error);
        return;
    case RUN_PHASE_FILES:
        if (slice->computes) {
            result->status = export_run_file(run, slice->file_index, &context, &result->done, &result->times,
                                             &result->error);
        } else {
            result->status =
                export_run_record(run, slice->file_index, &context, &result->times, &result->error);
            result->done = result->status == STATUS_OK;
        }
        return;
    case RUN_PHASE_WHOLE:
        result->status = export_run_whole(run, &context, &result->done, &result->times, &result->error);
        return;
    case RUN_PHASE_PUBLISH:
        result->status = export_run_publish(run, &result->times, &result->error);
        return;
    case RUN_PHASE_COMPLETE:
        result->status = export_run_complete(run, &context, &result->times, &result->error);
        if (result->status == STATUS_OK) {
            export_run_log_completed(run, &result->times);
            expiry_watch(exports->expiry, run->id);
        }
        return;
    case RUN_PHASE_FAIL:
        result->status = export_run_fail(run, &context, &result->error);
        return;
    }
}

static void log_failed_slice(const struct export_run *run, const struct slice_result *result)
{
    if (result->status == STATUS_OK || result->status == STATUS_CANCELLED || result->status == STATUS_BUSY)
        return;
    log_job(log_begin(LOG_LEVEL_ERROR, "job failed"), run, result);
}

/* A look without a commit: mostly there is nothing, and then the active jobs need not be looked at. */
static bool has_superseded(struct exports *exports)
{
    struct engine_txn *txn;
    struct engine_cursor *cursor = NULL;
    struct slice key, value;
    uint64_t oldest_sequence = 0, death = UINT64_MAX;
    if (engine_begin_read(store_engine(exports->service->store), &txn, NULL) != STATUS_OK)
        return false;
    enum status status = engine_cursor_open(txn, TABLE_DEAD, &cursor, NULL);
    if (status == STATUS_OK) {
        engine_seek(cursor, slice_make(NULL, 0), slice_make(NULL, 0));
        status = engine_next(cursor, &key, &value, NULL);
    }
    if (status == STATUS_OK && key_take_u64(&key, &death))
        status = job_oldest_sequence(txn, &oldest_sequence, NULL);
    bool found = status == STATUS_OK && death <= oldest_sequence;
    engine_cursor_close(cursor);
    engine_end(txn);
    return found;
}

static bool is_stopping(struct exports *exports)
{
    pthread_mutex_lock(&exports->lock);
    bool stopping = exports->stopping;
    pthread_mutex_unlock(&exports->lock);
    return stopping;
}

/* Versions that were superseded while a job needed them can go once none does. What is left when the server
 * stops goes at the next start. */
static void collect_superseded(struct exports *exports)
{
    struct resources_collect collect = {.ret_more = has_superseded(exports)};
    struct error error;
    while (collect.ret_more && !is_stopping(exports)) {
        resources_collect_init(&collect, EXPORT_COLLECT_MAX);
        if (writer_call(exports->service->writer, &collect.request, &error) != STATUS_OK) {
            log_event(LOG_LEVEL_ERROR, "superseded versions kept", "%s", error.text);
            return;
        }
    }
}

static void dispose(struct exports *exports, struct export_run *run)
{
    uint64_t id = run->id;
    bool keeps_files = run->keeps_files;
    export_run_free(run);
    if (!keeps_files)
        expiry_remove(exports->expiry, id);
    collect_superseded(exports);
}

/* Until there may be something to do, where at now_us there was nothing; a run that is to be tried again
 * later bounds it. */
static void wait_for_work(struct exports *exports, int64_t now_us)
{
    int64_t wake_us = INT64_MAX;
    for (const struct export_run *run = exports->runs; run; run = run->next) {
        /* One whose time had come waits for a worker that will look again. */
        if (run->retry_at_us > now_us && run->retry_at_us < wake_us)
            wake_us = run->retry_at_us;
    }
    exports->idle++;
    if (wake_us == INT64_MAX) {
        pthread_cond_wait(&exports->work, &exports->lock);
    } else {
        struct timespec wake = {.tv_sec = wake_us / US_PER_SECOND, .tv_nsec = wake_us % US_PER_SECOND * 1000};
        pthread_cond_timedwait(&exports->work, &exports->lock, &wake);
    }
    exports->idle--;
}

/* Whoever begins something wakes one more, who does so too, until one finds nothing to do. */
static void wake_one(struct exports *exports)
{
    if (exports->idle)
        pthread_cond_signal(&exports->work);
}

static void *worker_main(void *argument)
{
    struct exports *exports = argument;
    /* Only this thread's (Linux); what cannot be had is no reason not to work. */
    int niceness = getpriority(PRIO_PROCESS, (id_t)gettid());
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), niceness + EXPORT_NICENESS);
    pthread_mutex_lock(&exports->lock);
    while (!exports->stopping) {
        struct slice_of_work slice;
        struct export_run *ended = take_ended(exports);
        if (ended) {
            wake_one(exports);
            pthread_mutex_unlock(&exports->lock);
            dispose(exports, ended);
            pthread_mutex_lock(&exports->lock);
            continue;
        }
        int64_t now_us = clock_monotonic_us();
        if (!pick(exports, now_us, &slice)) {
            wait_for_work(exports, now_us);
            continue;
        }
        begin_slice(exports, &slice);
        wake_one(exports);
        pthread_mutex_unlock(&exports->lock);
        struct slice_result result = {.status = STATUS_OK};
        run_slice(exports, &slice, &result);
        log_failed_slice(slice.run, &result);
        pthread_mutex_lock(&exports->lock);
        settle(exports, &slice, &result);
        publish_percent(exports, slice.run);
    }
    pthread_mutex_unlock(&exports->lock);
    return NULL;
}

/* ---- the public side ---- */

void exports_wake(struct exports *exports, uint64_t job_id, uint32_t aco, const char *endpoint)
{
    struct export_run *run = export_run_new(job_id, aco, endpoint);
    pthread_mutex_lock(&exports->lock);
    run_add(exports, run);
    pthread_cond_signal(&exports->work);
    pthread_mutex_unlock(&exports->lock);
}

void exports_cancel(struct exports *exports, uint64_t job_id)
{
    pthread_mutex_lock(&exports->lock);
    struct export_run *run = run_find(exports, job_id);
    if (run) {
        run->cancelled = true;
        run_begin(exports, run); /* so that it is found and taken out */
        run->keeps_files = false;
        run_break_feeds(run);
        run_return_token(exports, run);
        pthread_cond_broadcast(&exports->work);
    }
    pthread_mutex_unlock(&exports->lock);
    if (!run)
        expiry_remove(exports->expiry, job_id);
}

static unsigned seconds_left(const struct export_run *run, int64_t now_us)
{
    int64_t left_us;
    uint64_t done = run->done_bytes - run->files_begun_bytes;
    if (run->phase != RUN_PHASE_PLAN && done > 0) {
        double rate = (double)done / (double)(now_us - run->files_begun_us + 1); /* bytes a microsecond */
        double left = (double)(run->planned_bytes - run->done_bytes) / rate;
        left_us =
            left < EXPORT_SECONDS_LEFT_MAX * 1e6 ? (int64_t)left : EXPORT_SECONDS_LEFT_MAX * US_PER_SECOND;
    } else {
        left_us = now_us - run->woken_us; /* as long again as it took so far */
    }
    int64_t seconds = (left_us + US_PER_SECOND - 1) / US_PER_SECOND;
    return seconds < 1 ? 1 : seconds > EXPORT_SECONDS_LEFT_MAX ? EXPORT_SECONDS_LEFT_MAX : (unsigned)seconds;
}

enum status exports_progress(struct exports *exports, uint64_t job_id, struct exports_progress *ret_progress)
{
    pthread_mutex_lock(&exports->lock);
    struct export_run *run = run_find(exports, job_id);
    if (run) {
        *ret_progress = (struct exports_progress){run->percent, seconds_left(run, clock_monotonic_us())};
    }
    pthread_mutex_unlock(&exports->lock);
    return run ? STATUS_OK : STATUS_NOT_FOUND;
}

size_t exports_list_followed(struct exports *exports, uint64_t job_id, size_t *ret_indexes, size_t limit)
{
    size_t count = 0;
    pthread_mutex_lock(&exports->lock);
    struct export_run *run = run_find(exports, job_id);
    if (run && run->phase == RUN_PHASE_FILES && !run->cancelled && !run->ended) {
        for (size_t i = run->first_file; i < run->job.file_count && count < limit; i++) {
            if (run->files[i].feed)
                ret_indexes[count++] = i;
        }
    }
    pthread_mutex_unlock(&exports->lock);
    return count;
}

struct export_feed *exports_follow(struct exports *exports, uint64_t job_id, size_t file_index)
{
    struct export_feed *feed = NULL;
    pthread_mutex_lock(&exports->lock);
    struct export_run *run = run_find(exports, job_id);
    if (run && run->phase == RUN_PHASE_FILES && !run->cancelled && !run->ended &&
        file_index < run->job.file_count)
        feed = export_feed_ref(run->files[file_index].feed);
    pthread_mutex_unlock(&exports->lock);
    return feed;
}

/* ---- start and stop ---- */

static bool is_damage(enum status status)
{
    return status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED;
}

/* The ids of all active jobs, oldest first; mem_free them. */
static enum status list_active(struct engine_txn *txn, uint64_t **ret_ids, size_t *ret_count,
                               struct error *error)
{
    enum status status = STATUS_OK;
    uint64_t *ids = NULL;
    size_t count = 0;
    for (size_t limit = 1024;; limit *= 2) {
        ids = mem_realloc(ids, limit * sizeof *ids);
        status = job_list_active(txn, ids, limit, &count, error);
        if ((status != STATUS_OK && !is_damage(status)) || count < limit || limit >= EXPORT_ACTIVE_MAX)
            break;
    }
    if (is_damage(status)) {
        log_event(LOG_LEVEL_ERROR, "jobs not readable", "%s", error->text);
        status = STATUS_OK;
    }
    *ret_ids = ids;
    *ret_count = count;
    return status;
}

/* Takes up what an earlier process left. A job whose record is damaged costs only itself. */
static enum status take_up(struct exports *exports, struct error *error)
{
    struct engine_txn *txn = NULL;
    struct error own;
    struct arena arena = ARENA_INIT;
    uint64_t *ids = NULL;
    size_t count = 0;
    enum status status = engine_begin_read(store_engine(exports->service->store), &txn, &own);
    if (status == STATUS_OK)
        status = list_active(txn, &ids, &count, &own);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        struct job job;
        arena_reset(&arena);
        status = job_get(txn, ids[i], &arena, &job, &own);
        if (is_damage(status)) {
            log_event(LOG_LEVEL_ERROR, "job not readable", "%s", own.text);
            status = STATUS_OK;
            continue;
        }
        if (status != STATUS_OK)
            break;
        struct export_run *run = export_run_new(job.id, job.aco, job.endpoint);
        run->percent = export_run_open_progress(run, store_dir(exports->service->store), false);
        limiter_take(exports->service->limiter, LIMITER_JOB, slice_from_text(run->bucket), NULL);
        run_add(exports, run);
        struct log_line line = log_begin(LOG_LEVEL_INFO, "job taken up");
        log_number(&line, "job", (int64_t)job.id);
        log_end(&line);
    }
    engine_end(txn);
    arena_release(&arena);
    mem_free(ids);
    if (status != STATUS_OK && error)
        *error = own;
    return status;
}

static enum status start_threads(struct exports *exports, struct error *error)
{
    unsigned count = exports->options.workers;
    CHECK(count > 0);
    exports->threads = mem_new_array(pthread_t, count);
    for (; exports->thread_count < count; exports->thread_count++) {
        if (pthread_create(&exports->threads[exports->thread_count], NULL, worker_main, exports) != 0)
            return error_set(error, STATUS_INTERNAL, "an export worker's thread cannot be started");
    }
    return STATUS_OK;
}

enum status exports_open(struct service *service, const struct exports_options *options,
                         struct exports **ret_exports, struct error *error)
{
    struct exports *exports = mem_new(struct exports);
    pthread_condattr_t attributes;
    exports->service = service;
    exports->options = *options;
    exports->jobs_fd = -1;
    exports->fresh_end = &exports->fresh;
    if (exports->options.computing == 0)
        exports->options.computing = options->workers;
    if (exports->options.slice_us == 0)
        exports->options.slice_us = EXPORT_SLICE_MS * 1000;
    if (exports->options.index_bytes_max == 0)
        exports->options.index_bytes_max = EXPORT_INDEX_BYTES;
    pthread_mutex_init(&exports->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&exports->work, &attributes);
    pthread_condattr_destroy(&attributes);
    enum status status = expiry_open(service, options->keep_us, &exports->expiry, error);
    if (status == STATUS_OK)
        status = job_files_open_all(store_dir(service->store), &exports->jobs_fd, error);
    if (status == STATUS_OK)
        status = io_workers_start(options->io_workers ? options->io_workers : EXPORT_IO_WORKERS, &exports->io,
                                  error);
    if (status == STATUS_OK)
        status = take_up(exports, error);
    if (status == STATUS_OK)
        collect_superseded(exports); /* of jobs that ended just before an earlier process did */
    if (status == STATUS_OK)
        status = start_threads(exports, error);
    if (status != STATUS_OK) {
        exports_close(exports);
        return status;
    }
    *ret_exports = exports;
    return STATUS_OK;
}

void exports_close(struct exports *exports)
{
    if (!exports)
        return;
    pthread_mutex_lock(&exports->lock);
    exports->stopping = true;
    pthread_cond_broadcast(&exports->work);
    pthread_mutex_unlock(&exports->lock);
    for (unsigned i = 0; i < exports->thread_count; i++)
        pthread_join(exports->threads[i], NULL);
    while (exports->runs || exports->fresh) {
        struct export_run **list = exports->runs ? &exports->runs : &exports->fresh, *run = *list;
        *list = run->next;
        for (size_t i = 0; run->files && i < run->job.file_count; i++)
            encoder_free(run->files[i].encoder);
        export_run_free(run);
    }
    while (exports->spare_count)
        encoder_free(exports->spare[--exports->spare_count]);
    io_workers_stop(exports->io);
    expiry_close(exports->expiry);
    if (exports->jobs_fd >= 0)
        close(exports->jobs_fd);
    pthread_cond_destroy(&exports->work);
    pthread_mutex_destroy(&exports->lock);
    mem_free(exports->threads);
    mem_free(exports);
}
