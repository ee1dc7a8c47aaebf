#include "server/job_sweep.h"

#include "codec/base/arena.h"
#include "server/job_files.h"

#include <string.h>

static enum status visit_file(const char *uuid, const char *suffix, bool is_optional,
                              job_file_visitor *visitor, void *context, struct error *error)
{
    char name[64]; /* of 36 bytes and a suffix */
    strcpy(stpcpy(name, uuid), suffix);
    return visitor(context, name, is_optional, error);
}

enum status job_files_visit(const struct job *job, job_file_visitor *visitor, void *context,
                            struct error *error)
{
    bool is_active = job_state_is_active(job->state);
    enum status status = STATUS_OK;
    if (!job_state_has_files(job->state))
        return STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < job->file_count; i++) {
        const struct job_file *file = &job->files[i];
        bool is_error = file->set == JOB_SET_ERROR;
        if (!file->done)
            continue;
        if (file->count)
            status = visit_file(file->uuid, is_error ? JOB_ERROR_SUFFIX : JOB_FILE_SUFFIX, false, visitor,
                                context, error);
        if (status == STATUS_OK && is_active)
            status = visit_file(file->uuid, JOB_FILE_ERRORS_SUFFIX, true, visitor, context, error);
    }
    if (status == STATUS_OK && is_active)
        status = visitor(context, JOB_PROGRESS_NAME, true, error);
    return status;
}

/* ---- the sweep ---- */

struct sweep {
    struct engine *engine;
    void (*unreadable)(void *context, uint64_t job_id, const struct error *error);
    void *context;
    struct arena arena;
    struct job job;   /* whose folder is swept */
    bool is_readable; /* its record */
};

static enum status read_job(struct sweep *sweep, uint64_t job_id, struct error *error)
{
    struct engine_txn *txn;
    enum status status = engine_begin_read(sweep->engine, &txn, error);
    if (status != STATUS_OK)
        return status;
    arena_reset(&sweep->arena);
    status = job_get(txn, job_id, &sweep->arena, &sweep->job, error);
    engine_end(txn);
    return status;
}

static enum status keeps_job(void *context, uint64_t job_id, bool *ret_keeps, struct error *error)
{
    struct sweep *sweep = context;
    struct error found;
    enum status status = read_job(sweep, job_id, &found);
    sweep->is_readable = status == STATUS_OK;
    switch (status) {
    case STATUS_OK:
        *ret_keeps = job_state_has_files(sweep->job.state);
        return STATUS_OK;
    case STATUS_NOT_FOUND:
        *ret_keeps = false;
        return STATUS_OK;
    case STATUS_CORRUPT:
    case STATUS_UNSUPPORTED:
        sweep->unreadable(sweep->context, job_id, &found);
        *ret_keeps = true;
        return STATUS_OK;
    default:
        if (error)
            *error = found;
        return status;
    }
}

static enum status is_wanted(void *context, const char *name, bool is_optional, struct error *error)
{
    (void)is_optional, (void)error;
    return strcmp(name, context) == 0 ? STATUS_EXISTS : STATUS_OK;
}

static bool keeps_file(void *context, const char *name)
{
    struct sweep *sweep = context;
    return !sweep->is_readable ||
           job_files_visit(&sweep->job, is_wanted, (void *)(uintptr_t)name, NULL) == STATUS_EXISTS;
}

enum status job_sweep(struct store *store,
                      void (*unreadable)(void *context, uint64_t job_id, const struct error *error),
                      void *context, struct job_sweep_counts *ret_counts, struct error *error)
{
    struct sweep own = {
        .engine = store_engine(store), .unreadable = unreadable, .context = context, .arena = ARENA_INIT};
    struct job_files_sweep sweep = {.context = &own, .keeps_job = keeps_job, .keeps_file = keeps_file};
    enum status status = job_files_sweep(store_dir(store), &sweep, error);
    *ret_counts = (struct job_sweep_counts){sweep.ret_removed, sweep.ret_bytes};
    arena_release(&own.arena);
    return status;
}
