#include "server/job_sweep.h"

#include "codec/base/arena.h"
#include "server/job_files.h"
#include "storage/jobs.h"

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

static bool name_is(const char *name, const char *uuid, const char *suffix)
{
    size_t size = strlen(uuid);
    return strncmp(name, uuid, size) == 0 && strcmp(name + size, suffix) == 0;
}

/* Only finished files that the record knows count. */
static bool keeps_file(void *context, const char *name)
{
    struct sweep *sweep = context;
    if (!sweep->is_readable)
        return true;
    bool active = job_state_is_active(sweep->job.state);
    if (active && strcmp(name, JOB_PROGRESS_NAME) == 0)
        return true;
    for (size_t i = 0; i < sweep->job.file_count; i++) {
        const struct job_file *file = &sweep->job.files[i];
        bool is_error = file->set == JOB_SET_ERROR;
        if (!file->done)
            continue;
        if (active && name_is(name, file->uuid, JOB_FILE_ERRORS_SUFFIX))
            return true;
        if (file->count &&
            (name_is(name, file->uuid, is_error ? JOB_ERROR_SUFFIX : JOB_FILE_SUFFIX) ||
             name_is(name, file->uuid, is_error ? JOB_ERROR_INDEX_SUFFIX : JOB_FILE_INDEX_SUFFIX)))
            return true;
    }
    return false;
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
