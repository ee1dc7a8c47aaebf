#include "server/export_run.h"

#include "codec/base/clock.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "server/export_error_file.h"
#include "server/job_files.h"
#include "server/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct export_run *export_run_new(uint64_t id, uint32_t aco, const char *endpoint)
{
    struct export_run *run = mem_new(struct export_run);
    run->id = id;
    run->woken_us = clock_monotonic_us();
    export_bucket_name(run->bucket, aco, endpoint);
    run->folder_fd = -1;
    run->progress_fd = -1;
    arena_init(&run->arena);
    return run;
}

void export_run_free(struct export_run *run)
{
    if (!run)
        return;
    for (size_t i = 0; run->files && i < run->job.file_count; i++) {
        export_file_free(run->files[i].file);
        export_feed_unref(run->files[i].feed);
    }
    mem_free(run->files);
    if (run->folder_fd >= 0)
        close(run->folder_fd);
    if (run->progress_fd >= 0)
        close(run->progress_fd);
    export_plan_free(run->plan);
    arena_release(&run->arena);
    mem_free(run);
}

/* A commit through the writer, between its two failpoints. */
static enum status commit(const struct run_context *context, struct job_change *change,
                          const char *failpoint_before, const char *failpoint_after, struct run_times *times,
                          struct error *error)
{
    if (failpoint_hit(failpoint_before))
        return error_set_errno(error, "%s", failpoint_before);
    int64_t begin_us = clock_monotonic_us();
    enum status status = writer_call(context->service->writer, &change->request, error);
    times->commit_us += clock_monotonic_us() - begin_us;
    if (status == STATUS_OK)
        (void)failpoint_hit(failpoint_after); /* it can only die or sleep there: the commit stands */
    return status;
}

/* ---- plan ---- */

static enum status load(struct export_run *run, const struct run_context *context, struct error *error)
{
    struct engine_txn *txn;
    struct aco aco;
    enum status status = engine_begin_read(store_engine(context->service->store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = job_get(txn, run->id, &run->arena, &run->job, error);
    if (status == STATUS_OK && aco_get(txn, run->job.aco, &aco, NULL) == STATUS_OK)
        snprintf(run->aco_id, sizeof run->aco_id, "%s", aco.id);
    engine_end(txn);
    if (status == STATUS_NOT_FOUND || (status == STATUS_OK && !job_state_is_active(run->job.state)))
        return error_set(error, STATUS_CANCELLED, "job %" PRIu64 " is not active", run->id);
    run->loaded = status == STATUS_OK;
    return status;
}

/* The folder has a descriptor before the first file is begun: that it is short may pass. */
static enum status open_folder(struct export_run *run, const struct run_context *context, struct error *error)
{
    return run->folder_fd >= 0
               ? STATUS_OK
               : job_files_open(store_dir(context->service->store), run->id, &run->folder_fd, error);
}

/* What nobody follows while it is written and what is done again in no time after a crash. */
static bool is_small(const struct export_run *run, const struct run_context *context,
                     const struct job_file *files, size_t count)
{
    uint64_t left = context->options->small_job_bytes;
    if (left == 0 || count > RUN_WHOLE_FILES_MAX || run->job.partial_manifests)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (files[i].planned_bytes > left)
            return false;
        left -= files[i].planned_bytes;
    }
    return true;
}

/* The finished plan becomes the job's; unless the job is small it is recorded. */
static enum status take_plan(struct export_run *run, const struct run_context *context,
                             struct run_times *times, struct error *error)
{
    struct job_change change;
    enum status status = STATUS_OK;
    job_change_init(&change, JOB_CHANGE_PLAN, run->id);
    change.files = export_plan_files(run->plan, &change.file_count);
    change.request.urgent = true;
    run->whole = is_small(run, context, change.files, change.file_count);
    if (!run->whole)
        status = open_folder(run, context, error);
    if (status == STATUS_OK && !run->whole)
        status =
            commit(context, &change, "export.plan.before-commit", "export.plan.after-commit", times, error);
    if (status != STATUS_OK)
        return status;
    run->job.files = arena_alloc(&run->arena, change.file_count * sizeof *change.files + 1);
    if (change.file_count)
        memcpy(run->job.files, change.files, change.file_count * sizeof *change.files);
    run->job.file_count = change.file_count;
    run->job.planned = true;
    return STATUS_OK;
}

static void progress_path(const struct export_run *run, const char *dir, struct buffer *target)
{
    export_path(target, dir, run->id, JOB_PROGRESS_NAME, "");
}

unsigned export_run_open_progress(struct export_run *run, const char *dir, bool create)
{
    struct stat stat;
    struct buffer path = BUFFER_INIT;
    progress_path(run, dir, &path);
    if (run->progress_fd < 0)
        run->progress_fd = open(buffer_text(&path), O_WRONLY | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
    buffer_release(&path);
    if (run->progress_fd < 0 || fstat(run->progress_fd, &stat) != 0)
        return 0;
    return stat.st_size < 99 ? (unsigned)stat.st_size : 99;
}

void export_run_keep_percent(const struct export_run *run, unsigned percent)
{
    /* The size says it, so that it only grows, whichever worker comes first. */
    if (run->progress_fd >= 0 && percent > 0 && pwrite(run->progress_fd, "", 1, (off_t)percent - 1) != 1)
        return; /* as if there were none */
}

enum status export_run_plan(struct export_run *run, const struct run_context *context, bool *ret_done,
                            struct run_times *times, struct error *error)
{
    int64_t begin_us = clock_monotonic_us();
    bool done = false;
    enum status status = run->loaded ? STATUS_OK : load(run, context, error);
    if (status == STATUS_OK)
        status = disk_check_reserve(store_dir(context->service->store), context->options->disk_reserve_bytes,
                                    error);
    if (status == STATUS_OK && !run->job.planned) {
        if (!run->plan)
            run->plan = export_plan_new(&run->job, context->options->file_bytes_max);
        status = export_plan_step(run->plan, store_engine(context->service->store),
                                  begin_us + context->options->slice_us, &done, error);
    } else {
        done = true; /* by an earlier process, or but for its folder */
    }
    times->plan_us += clock_monotonic_us() - begin_us;
    if (status == STATUS_OK && done && !run->job.planned)
        status = take_plan(run, context, times, error);
    if (status == STATUS_OK && done && !run->whole) {
        status = open_folder(run, context, error);
        if (status == STATUS_OK)
            status = job_files_sync(context->jobs_fd, store_dir(context->service->store), error);
        if (status == STATUS_OK)
            export_run_open_progress(run, store_dir(context->service->store), true);
    }
    if (status == STATUS_OK && done)
        run->files = mem_new_array(struct run_file, run->job.file_count);
    *ret_done = status == STATUS_OK && done;
    return status;
}

/* ---- files ---- */

static void note_outcome(struct job_file *file, const struct export_file_result *result)
{
    file->count = result->count;
    file->raw_bytes = result->raw_bytes;
    file->gzip_bytes = result->count ? result->gzip_bytes : 0;
    file->done = true;
}

static enum status publish(struct export_file *const files[], size_t count, int folder_fd,
                           struct run_times *times, struct error *error)
{
    int64_t begin_us = clock_monotonic_us();
    enum status status = export_files_publish(files, count, folder_fd, error);
    times->sync_us += clock_monotonic_us() - begin_us;
    return status;
}

enum status export_run_record(struct export_run *run, size_t index, const struct run_context *context,
                              struct run_times *times, struct error *error)
{
    struct run_file *slot = &run->files[index];
    struct job_file outcome = run->job.files[index];
    struct job_change change;
    note_outcome(&outcome, &slot->result);
    enum status status = publish(&slot->file, 1, run->folder_fd, times, error);
    if (status != STATUS_OK)
        return status;
    job_change_init(&change, JOB_CHANGE_FILE_DONE, run->id);
    change.file_index = index;
    change.count = outcome.count;
    change.raw_bytes = outcome.raw_bytes;
    change.gzip_bytes = outcome.gzip_bytes;
    change.request.urgent = true;
    status = commit(context, &change, "export.file.before-commit", "export.file.after-commit", times, error);
    if (status == STATUS_OK)
        run->job.files[index] = outcome;
    return status;
}

enum status export_run_file(struct export_run *run, size_t index, const struct run_context *context,
                            bool *ret_done, struct run_times *times, struct error *error)
{
    const char *dir = store_dir(context->service->store);
    struct run_file *slot = &run->files[index];
    int64_t begin_us = clock_monotonic_us();
    bool done = false;
    if (!slot->file)
        slot->file = export_file_new(dir, &run->job, index, run->plan, slot->encoder,
                                     context->options->index_bytes_max);
    enum status status = disk_check_reserve(dir, context->options->disk_reserve_bytes, error);
    if (status == STATUS_OK)
        status = export_file_step(slot->file, store_engine(context->service->store),
                                  begin_us + context->options->slice_us, &done, error);
    if (status == STATUS_OK && done) {
        status = export_file_end(slot->file, &slot->result, error);
        times->unreadable += slot->result.errors;
    }
    times->write_us += clock_monotonic_us() - begin_us;
    *ret_done = status == STATUS_OK && done;
    return status;
}

/* Files of a small job, from the next on, until the deadline. */
static enum status write_files(struct export_run *run, const struct run_context *context, int64_t deadline_us,
                               struct error *error)
{
    enum status status = STATUS_OK;
    for (bool done = true; status == STATUS_OK && done && run->next_file < run->job.file_count;) {
        struct run_file *slot = &run->files[run->next_file];
        if (!slot->file)
            slot->file = export_file_new(store_dir(context->service->store), &run->job, run->next_file,
                                         run->plan, run->files[0].encoder, context->options->index_bytes_max);
        done = false;
        status =
            export_file_step(slot->file, store_engine(context->service->store), deadline_us, &done, error);
        if (status == STATUS_OK && done)
            status = export_file_end(slot->file, &slot->result, error);
        if (status == STATUS_OK && done)
            note_outcome(&run->job.files[run->next_file++], &slot->result);
    }
    return status;
}

static void free_files(struct export_run *run)
{
    for (size_t i = 0; run->files && i < run->job.file_count; i++) {
        export_file_free(run->files[i].file);
        run->files[i].file = NULL;
    }
}

enum status export_run_whole(struct export_run *run, const struct run_context *context, bool *ret_done,
                             struct run_times *times, struct error *error)
{
    const char *dir = store_dir(context->service->store);
    int64_t begin_us = clock_monotonic_us();
    enum status status = disk_check_reserve(dir, context->options->disk_reserve_bytes, error);
    if (status == STATUS_OK)
        status = open_folder(run, context, error);
    if (status == STATUS_OK)
        status = write_files(run, context, begin_us + context->options->slice_us, error);
    times->write_us += clock_monotonic_us() - begin_us;
    if (status == STATUS_BUSY) { /* descriptors are short: whoever waits for them holds none */
        free_files(run);
        run->next_file = 0;
        if (run->folder_fd >= 0)
            close(run->folder_fd);
        run->folder_fd = -1;
    }
    *ret_done = status == STATUS_OK && run->next_file == run->job.file_count;
    return status;
}

enum status export_run_publish(struct export_run *run, struct run_times *times, struct error *error)
{
    struct export_file *files[RUN_WHOLE_FILES_MAX];
    for (size_t i = 0; i < run->job.file_count; i++) {
        files[i] = run->files[i].file;
        times->unreadable += run->files[i].result.errors;
    }
    enum status status = publish(files, run->job.file_count, run->folder_fd, times, error);
    free_files(run);
    return status;
}

/* ---- the end ---- */

/* The error file, if there is something to tell; then all that the end relies on is durable. */
static enum status write_error_file(struct export_run *run, const struct run_context *context,
                                    struct job_file *ret_file, struct error *error)
{
    const char *dir = store_dir(context->service->store);
    enum status status = STATUS_OK;
    *ret_file = (struct job_file){.count = 0};
    if (run->job.file_count == 0 && run->job.warnings.size == 0)
        return STATUS_OK;
    status = open_folder(run, context, error);
    if (status == STATUS_OK)
        status = export_error_file_write(dir, &run->job, run->folder_fd, ret_file, error);
    if (status == STATUS_OK && run->whole)
        status = job_files_sync(context->jobs_fd, dir, error);
    return status;
}

enum status export_run_complete(struct export_run *run, const struct run_context *context,
                                struct run_times *times, struct error *error)
{
    struct job_change change;
    struct job_file files[RUN_WHOLE_FILES_MAX + 1], error_file;
    int64_t begin_us = clock_monotonic_us();
    enum status status = write_error_file(run, context, &error_file, error);
    times->sync_us += clock_monotonic_us() - begin_us;
    if (status != STATUS_OK)
        return status;
    job_change_init(&change, run->whole ? JOB_CHANGE_WHOLE : JOB_CHANGE_COMPLETE, run->id);
    change.keep_us = context->options->keep_us;
    change.files = files;
    for (size_t i = 0; run->whole && i < run->job.file_count; i++)
        files[change.file_count++] = run->job.files[i];
    if (error_file.count)
        files[change.file_count++] = error_file;
    change.request.urgent = true;
    status = commit(context, &change, "export.complete.before-commit", "export.complete.after-commit", times,
                    error);
    if (status == STATUS_OK && run->progress_fd >= 0) {
        struct buffer path = BUFFER_INIT;
        progress_path(run, store_dir(context->service->store), &path);
        unlink(buffer_text(&path)); /* else the next start does it */
        buffer_release(&path);
    }
    return status;
}

enum status export_run_fail(struct export_run *run, const struct run_context *context, struct error *error)
{
    struct job_change change;
    struct run_times times = {0};
    /* The disk may be full: what no record names goes first. Recorded files stay until the job has failed
     * for good, or a crash here would complete it without them. Of a small job none is recorded. */
    free_files(run);
    if (run->whole && job_files_remove(store_dir(context->service->store), run->id, NULL) != STATUS_OK) {
        /* Expiry does it again once the job has failed, and tells of it. */
    }
    job_change_init(&change, JOB_CHANGE_FAIL, run->id);
    change.request.urgent = true;
    return commit(context, &change, "export.fail.before-commit", "export.fail.after-commit", &times, error);
}

void run_times_add(struct run_times *times, const struct run_times *more)
{
    times->plan_us += more->plan_us;
    times->write_us += more->write_us;
    times->sync_us += more->sync_us;
    times->commit_us += more->commit_us;
    times->unreadable += more->unreadable;
}

void export_run_log_completed(const struct export_run *run, const struct run_times *last)
{
    struct run_times times = run->times;
    run_times_add(&times, last);
    uint64_t files = 0, resources = 0, raw_bytes = 0, stored_bytes = 0;
    int64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < run->job.file_count; i++) {
        files += run->job.files[i].count > 0;
        resources += run->job.files[i].count;
        raw_bytes += run->job.files[i].raw_bytes;
        stored_bytes += run->job.files[i].gzip_bytes;
    }
    struct log_line line = log_begin(LOG_LEVEL_INFO, "job completed");
    log_number(&line, "job", (int64_t)run->id);
    log_text(&line, "aco", run->aco_id);
    log_text(&line, "endpoint", run->job.endpoint);
    log_number(&line, "files", (int64_t)files);
    log_number(&line, "resources", (int64_t)resources);
    log_number(&line, "raw_bytes", (int64_t)raw_bytes);
    log_number(&line, "stored_bytes", (int64_t)stored_bytes);
    log_number(&line, "unreadable", (int64_t)times.unreadable);
    log_number(&line, "plan_us", times.plan_us);
    log_number(&line, "write_us", times.write_us);
    log_number(&line, "sync_us", times.sync_us);
    log_number(&line, "commit_us", times.commit_us);
    log_number(&line, "wait_us", run->begun_us - run->woken_us);
    log_number(&line, "total_us", now_us - run->woken_us);
    log_end(&line);
}
