#include "storage/jobs_expire.h"

#include "codec/base/arena.h"
#include "codec/base/buffer.h"
#include "storage/read_steps.h"

struct due_job {
    enum job_state state;
    int64_t due_us;
    int64_t keep_us;
    uint64_t bytes;
};

static bool is_due(const struct due_job *job, int64_t now_us)
{
    return (job->state == JOB_STATE_COMPLETED || job->state == JOB_STATE_ARCHIVED) && job->due_us <= now_us;
}

static enum status read_job(struct read_steps *steps, uint64_t id, struct due_job *ret_job,
                            struct error *error)
{
    struct arena arena = ARENA_INIT;
    struct job job;
    enum status status = read_steps_begin(steps, error);
    if (status == STATUS_OK)
        status = job_get(steps->txn, id, &arena, &job, error);
    if (status == STATUS_OK) {
        int64_t keep_us = job.expires_us - job.updated_us; /* of a Completed one */
        *ret_job = (struct due_job){job.state, job.due_us, keep_us > 0 ? keep_us : 0, 0};
        for (size_t i = 0; i < job.file_count; i++)
            ret_job->bytes += job.files[i].gzip_bytes;
    }
    arena_release(&arena);
    return status;
}

/* Twice at most: a job may be due to be Archived and to be Expired. */
static enum status change_while_due(struct writer *writer, struct read_steps *steps, uint64_t id,
                                    job_expired_handler *handler, void *context, struct error *error)
{
    struct due_job job;
    enum status status;
    while ((status = read_job(steps, id, &job, error)) == STATUS_OK && is_due(&job, clock_now_us())) {
        struct job_change change;
        bool archives = job.state == JOB_STATE_COMPLETED;
        read_steps_end(steps);
        job_change_init(&change, archives ? JOB_CHANGE_ARCHIVE : JOB_CHANGE_EXPIRE, id);
        change.keep_us = job.keep_us;
        status = writer_call(writer, &change.request, error);
        if (status == STATUS_CANCELLED)
            continue; /* somebody else was faster */
        if (status == STATUS_CONFLICT)
            return STATUS_OK;
        if (status != STATUS_OK)
            break;
        handler(context, id, archives ? JOB_STATE_ARCHIVED : JOB_STATE_EXPIRED, job.bytes);
    }
    return status;
}

enum status jobs_expire(struct writer *writer, job_expired_handler *handler, void *context,
                        uint64_t *ret_unreadable, struct error *error)
{
    struct read_steps steps;
    struct buffer ids = BUFFER_INIT;
    *ret_unreadable = 0;
    read_steps_init(&steps, store_engine(writer_store(writer)));
    enum status status = read_steps_begin(&steps, error);
    if (status == STATUS_OK)
        status = job_list_ids(steps.txn, 0, &ids, error);
    if (status == STATUS_CORRUPT) {
        ++*ret_unreadable;
        status = STATUS_OK;
    }
    for (size_t at = 0; status == STATUS_OK && at < ids.size; at += sizeof(uint64_t)) {
        uint64_t id;
        memcpy(&id, ids.data + at, sizeof id);
        status = change_while_due(writer, &steps, id, handler, context, error);
        if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED || status == STATUS_NOT_FOUND) {
            ++*ret_unreadable;
            status = STATUS_OK;
        }
        read_steps_rest(&steps);
    }
    read_steps_end(&steps);
    buffer_release(&ids);
    return status;
}
