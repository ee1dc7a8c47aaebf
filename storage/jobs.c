#include "storage/jobs.h"

#include "codec/base/arena.h"
#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/accounts.h"
#include "storage/job_record.h"
#include "storage/suppression.h"

#include <inttypes.h>
#include <stdlib.h>

#define REQUEST_BYTES 1024 /* about what most of these requests write */

const char *job_state_name(enum job_state state)
{
    static const char *const names[JOB_STATE_COUNT] = {
        [JOB_STATE_PENDING] = "Pending",     [JOB_STATE_IN_PROGRESS] = "In Progress",
        [JOB_STATE_COMPLETED] = "Completed", [JOB_STATE_ARCHIVED] = "Archived",
        [JOB_STATE_EXPIRED] = "Expired",     [JOB_STATE_FAILED] = "Failed",
        [JOB_STATE_CANCELLED] = "Cancelled",
    };
    CHECK((unsigned)state < JOB_STATE_COUNT);
    return names[state];
}

bool job_state_is_active(enum job_state state)
{
    return state == JOB_STATE_PENDING || state == JOB_STATE_IN_PROGRESS;
}

bool job_state_has_files(enum job_state state)
{
    return job_state_is_active(state) || state == JOB_STATE_COMPLETED || state == JOB_STATE_ARCHIVED;
}

/* ---- Reading ---- */

enum status job_peek(struct engine_txn *txn, uint64_t id, struct job *ret_job, struct error *error)
{
    return job_record_get(txn, id, ret_job, error);
}

enum status job_fill(struct engine_txn *txn, struct arena *arena, struct job *job, struct error *error)
{
    job->request = arena_copy(arena, job->request);
    job->warnings = arena_copy(arena, job->warnings);
    return job->file_count ? job_files_get(txn, arena, job, error) : STATUS_OK;
}

enum status job_get(struct engine_txn *txn, uint64_t id, struct arena *arena, struct job *ret_job,
                    struct error *error)
{
    struct job job;
    enum status status = job_peek(txn, id, &job, error);
    if (status == STATUS_OK)
        status = job_fill(txn, arena, &job, error);
    if (status == STATUS_OK)
        *ret_job = job;
    return status;
}

static enum status collect_job(void *context, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct buffer *ids = context;
    uint32_t aco;
    uint64_t id;
    if (!key_take_u32(&key, &aco) || !key_take_u64(&key, &id) || key.size)
        return error_set(error, STATUS_CORRUPT, "table %s holds a malformed key",
                         table_names[TABLE_JOB_BY_ACO]);
    buffer_append(ids, &id, sizeof id);
    return STATUS_OK;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t first, second;
    memcpy(&first, a, sizeof first);
    memcpy(&second, b, sizeof second);
    return (first > second) - (first < second);
}

enum status job_list_ids(struct engine_txn *txn, uint32_t aco, struct buffer *ret_ids, struct error *error)
{
    struct key prefix;
    key_init(&prefix);
    if (aco)
        key_u32(&prefix, aco);
    enum status status = engine_each(txn, TABLE_JOB_BY_ACO, key_slice(&prefix), collect_job, ret_ids, error);
    size_t count = ret_ids->size / sizeof(uint64_t);
    if (!aco && count)
        qsort(ret_ids->data, count, sizeof(uint64_t), compare_ids);
    return status;
}

enum status job_each(struct engine_txn *txn, uint32_t aco, size_t limit, job_handler *handler, void *context,
                     struct error *error)
{
    struct buffer ids = BUFFER_INIT;
    enum status damage = job_list_ids(txn, aco, &ids, error);
    enum status status = STATUS_OK;
    if (damage != STATUS_OK && damage != STATUS_CORRUPT)
        status = damage;
    size_t count = ids.size / sizeof(uint64_t);
    for (size_t given = 0; status == STATUS_OK && count && (limit == 0 || given < limit);) {
        uint64_t id;
        struct job job;
        struct error found;
        memcpy(&id, ids.data + --count * sizeof id, sizeof id);
        status = job_record_get(txn, id, &job, &found);
        if (status == STATUS_NOT_FOUND)
            status = error_set(&found, STATUS_CORRUPT, "job %" PRIu64 ": its record is missing", id);
        if (status == STATUS_OK) {
            given++;
            job.file_count = 0;
            status = handler(context, &job, error);
        } else if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED) {
            if (damage == STATUS_OK && error)
                *error = found;
            damage = damage == STATUS_OK ? status : damage;
            status = STATUS_OK;
        } else if (error) {
            *error = found;
        }
    }
    buffer_release(&ids);
    return status == STATUS_OK ? damage : status;
}

enum status job_find_active(struct engine_txn *txn, uint32_t aco, const char *endpoint, uint64_t *ret_id,
                            struct error *error)
{
    struct job_active active;
    if (strlen(endpoint) > JOB_ENDPOINT_MAX)
        return STATUS_NOT_FOUND;
    enum status status = job_active_get(txn, aco, endpoint, &active, error);
    if (status == STATUS_OK)
        *ret_id = active.id;
    return status;
}

static enum status collect_active(void *context, struct slice key, struct slice value, struct error *error)
{
    (void)key;
    struct job_active active;
    enum status status = job_active_decode(value, &active, error);
    if (status == STATUS_OK)
        buffer_append(context, &active.id, sizeof active.id);
    return status;
}

enum status job_list_active(struct engine_txn *txn, uint64_t *ret_ids, size_t limit, size_t *ret_count,
                            struct error *error)
{
    struct buffer ids = BUFFER_INIT;
    enum status status = engine_each(txn, TABLE_JOB_ACTIVE, slice_make(NULL, 0), collect_active, &ids, error);
    if (status == STATUS_OK || status == STATUS_CORRUPT) {
        size_t count = ids.size / sizeof *ret_ids;
        if (count)
            qsort(ids.data, count, sizeof *ret_ids, compare_ids);
        if (count > limit)
            count = limit;
        if (count)
            memcpy(ret_ids, ids.data, count * sizeof *ret_ids);
        *ret_count = count;
    }
    buffer_release(&ids);
    return status;
}

static enum status take_oldest(void *context, struct slice key, struct slice value, struct error *error)
{
    (void)key;
    uint64_t *oldest = context;
    struct job_active active;
    enum status status = job_active_decode(value, &active, error);
    if (status == STATUS_OK && active.sequence < *oldest)
        *oldest = active.sequence;
    return status;
}

enum status job_oldest_sequence(struct engine_txn *txn, uint64_t *ret_sequence, struct error *error)
{
    uint64_t oldest = UINT64_MAX;
    enum status status = engine_each(txn, TABLE_JOB_ACTIVE, slice_make(NULL, 0), take_oldest, &oldest, error);
    if (status == STATUS_OK)
        *ret_sequence = oldest;
    return status;
}

enum status job_oldest_sequence_within(struct store_write *write, uint64_t *ret_sequence, struct error *error)
{
    enum status status = STATUS_OK;
    if (write->oldest_sequence == 0)
        status = job_oldest_sequence(write->txn, &write->oldest_sequence, error);
    if (status == STATUS_OK)
        *ret_sequence = write->oldest_sequence;
    return status;
}

/* ---- Kick-off ---- */

static enum status job_create_check(const struct job_create *create, const struct store_write *write,
                                    struct error *error)
{
    size_t endpoint_size = strnlen(create->endpoint, sizeof create->endpoint);
    if (endpoint_size == 0 || endpoint_size > JOB_ENDPOINT_MAX || !create->url || !*create->url ||
        create->type_count == 0 || create->type_count > RESOURCE_TYPE_COUNT)
        return error_set(error, STATUS_INVALID, "the job has no endpoint, no request or no types");
    for (size_t i = 0; i < create->type_count; i++) {
        if ((unsigned)create->types[i] >= RESOURCE_TYPE_COUNT)
            return error_set(error, STATUS_INVALID, "the job names an unknown resource type");
    }
    if (strlen(create->url) > JOB_REQUEST_BYTES_MAX)
        return error_set(error, STATUS_TOO_LARGE, "the request is longer than %d bytes",
                         JOB_REQUEST_BYTES_MAX);
    if (create->warnings && strlen(create->warnings) > JOB_WARNINGS_BYTES_MAX)
        return error_set(error, STATUS_TOO_LARGE, "the warnings are longer than %d bytes",
                         JOB_WARNINGS_BYTES_MAX);
    /* Every transactionTime given is an instant of an earlier request, so this instant is later. */
    if (create->since_us > write->instant_us)
        return error_set(error, STATUS_INVALID, "_since lies in the future");

    struct aco aco;
    enum status status = aco_get(write->txn, create->aco, &aco, error);
    if (status == STATUS_OK && aco.removed)
        return error_set(error, STATUS_DENIED, "the ACO %s was removed", aco.id);
    return status;
}

static enum status job_create_apply(struct write_request *request, struct store_write *write,
                                    struct error *error)
{
    struct job_create *create = (struct job_create *)request;
    enum status status = job_create_check(create, write, error);
    if (status != STATUS_OK)
        return status;
    uint64_t active_id = 0;
    status = job_find_active(write->txn, create->aco, create->endpoint, &active_id, error);
    if (status == STATUS_OK) {
        create->ret_id = active_id;
        return error_set(error, STATUS_CONFLICT, "job %" PRIu64 " of this endpoint is active", active_id);
    }
    if (status != STATUS_NOT_FOUND)
        return status;
    struct suppression_settle settle = {.limit = SUPPRESSION_PORTION};
    status = suppression_settle_within(write, &settle, error);
    create->ret_unsettled = status == STATUS_OK && settle.ret_more;
    if (status != STATUS_OK || create->ret_unsettled)
        return status;

    struct job job = {
        .aco = create->aco,
        .state = JOB_STATE_PENDING,
        .request = slice_from_text(create->url),
        .warnings = slice_from_text(create->warnings ? create->warnings : ""),
        .type_count = create->type_count,
        .since_us = create->since_us,
        .separates_new = create->separates_new,
        .partial_manifests = create->partial_manifests,
        .sequence = write->sequence,
        .transaction_time_us = write->instant_us,
        .created_us = write->instant_us,
        .updated_us = write->instant_us,
        .due_us = INT64_MAX,
    };
    memcpy(job.endpoint, create->endpoint, sizeof job.endpoint);
    memcpy(job.types, create->types, sizeof job.types);
    status = store_counter_next(write, "job", &job.id, error);
    if (status == STATUS_OK)
        status = job_record_put(write, &job, error);
    if (status == STATUS_OK) {
        struct key key;
        key_of_u32(&key, job.aco);
        key_u64(&key, job.id);
        status = engine_put(write->txn, TABLE_JOB_BY_ACO, key_slice(&key), slice_make(NULL, 0), error);
    }
    if (status == STATUS_OK)
        status = job_active_put(write, &job, error);
    if (status == STATUS_OK)
        status = aco_note_transaction_time(write, job.aco, job.transaction_time_us, error);
    if (status == STATUS_OK) {
        create->ret_id = job.id;
        create->ret_transaction_time_us = job.transaction_time_us;
    }
    return status;
}

void job_create_init(struct job_create *create)
{
    *create = (struct job_create){.since_us = INSTANT_MIN_US};
    create->request.apply = job_create_apply;
    create->request.bytes = REQUEST_BYTES;
    create->request.urgent = true;
}

void job_create_release(struct job_create *create)
{
    mem_free(create->url);
    mem_free(create->warnings);
    create->url = NULL;
    create->warnings = NULL;
}

/* ---- Later changes ---- */

/* Where a change leads from a state, or why it does not apply. */
enum leads {
    PROGRESS = JOB_STATE_IN_PROGRESS,
    COMPLETED = JOB_STATE_COMPLETED,
    ARCHIVED = JOB_STATE_ARCHIVED,
    EXPIRED = JOB_STATE_EXPIRED,
    FAILED = JOB_STATE_FAILED,
    CANCELLED = JOB_STATE_CANCELLED,
    CONFLICT = JOB_STATE_COUNT, /* not so far yet, or too late */
    GONE,                       /* the job went on without this change */
    UNKNOWN,                    /* as if there were no such job */
};

/* clang-format off */
static const enum leads transitions[JOB_CHANGE_COUNT][JOB_STATE_COUNT] = {
    /*                        Pending    In Progr.  Completed  Archived   Expired    Failed     Cancelled */
    [JOB_CHANGE_PLAN]      = {PROGRESS,  CONFLICT,  GONE,      GONE,      GONE,      GONE,      GONE},
    [JOB_CHANGE_FILE_DONE] = {CONFLICT,  PROGRESS,  GONE,      GONE,      GONE,      GONE,      GONE},
    [JOB_CHANGE_COMPLETE]  = {CONFLICT,  COMPLETED, GONE,      GONE,      GONE,      GONE,      GONE},
    [JOB_CHANGE_WHOLE]     = {COMPLETED, CONFLICT,  GONE,      GONE,      GONE,      GONE,      GONE},
    [JOB_CHANGE_FAIL]      = {FAILED,    FAILED,    GONE,      GONE,      GONE,      GONE,      GONE},
    [JOB_CHANGE_DELETE]    = {CANCELLED, CANCELLED, CANCELLED, CANCELLED, CONFLICT,  CANCELLED, UNKNOWN},
    [JOB_CHANGE_ARCHIVE]   = {CONFLICT,  CONFLICT,  ARCHIVED,  GONE,      GONE,      GONE,      GONE},
    [JOB_CHANGE_EXPIRE]    = {CONFLICT,  CONFLICT,  CONFLICT,  EXPIRED,   GONE,      GONE,      GONE},
};
/* clang-format on */

/* Adds the files of the change, all of them done. */
static enum status add_done_files(const struct job_change *change, struct store_write *write, struct job *job,
                                  struct error *error)
{
    size_t first = job->file_count;
    enum status status = job_files_add(write, job, change->files, change->file_count, error);
    for (size_t i = 0; status == STATUS_OK && i < change->file_count; i++) {
        const struct job_file *file = &change->files[i];
        status =
            job_file_put_done(write, job, first + i, file->count, file->raw_bytes, file->gzip_bytes, error);
    }
    return status;
}

static enum status change_complete(const struct job_change *change, struct store_write *write,
                                   struct job *job, struct error *error)
{
    size_t done;
    enum status status = job_files_count_done(write->txn, job, &done, error);
    if (status == STATUS_OK && done != job->file_count)
        return error_set(error, STATUS_CONFLICT, "job %" PRIu64 ": %zu of %zu files are done", job->id, done,
                         job->file_count);
    return status == STATUS_OK ? add_done_files(change, write, job, error) : status;
}

static int64_t instant_after(int64_t us, int64_t keep_us)
{
    int64_t after;
    CHECK(keep_us >= 0);
    return __builtin_add_overflow(us, keep_us, &after) || after > INSTANT_MAX_US ? INSTANT_MAX_US : after;
}

/* Writes the job in its new state; all checks have passed. */
static enum status change_state(struct store_write *write, struct job *job, enum job_state state,
                                int64_t keep_us, struct error *error)
{
    enum status status = STATUS_OK;
    bool was_active = job_state_is_active(job->state);
    job->state = state;
    job->updated_us = write->instant_us;
    job->due_us = INT64_MAX;
    if (state == JOB_STATE_COMPLETED)
        job->due_us = job->expires_us = instant_after(write->instant_us, keep_us);
    if (state == JOB_STATE_ARCHIVED) /* from when that was due: the server may have been away */
        job->due_us = instant_after(job->expires_us, keep_us);
    if (was_active && !job_state_is_active(state))
        status = job_active_delete(write, job, error);
    if (status == STATUS_OK && !job_state_has_files(state))
        status = job_files_forget(write, job, error);
    return status == STATUS_OK ? job_record_put(write, job, error) : status;
}

static enum status change_check(const struct job_change *change, const struct store_write *write,
                                const struct job *job, enum leads leads, struct error *error)
{
    if ((int)leads >= JOB_STATE_COUNT)
        return error_set(error,
                         leads == CONFLICT  ? STATUS_CONFLICT
                         : leads == UNKNOWN ? STATUS_NOT_FOUND
                                            : STATUS_CANCELLED,
                         "job %" PRIu64 " is %s", job->id, job_state_name(job->state));
    bool by_time = change->change == JOB_CHANGE_ARCHIVE || change->change == JOB_CHANGE_EXPIRE;
    if (by_time && job->due_us > write->instant_us)
        return error_set(error, STATUS_CONFLICT, "job %" PRIu64 " is %s and not due yet", job->id,
                         job_state_name(job->state));
    if (change->change == JOB_CHANGE_FILE_DONE && change->file_index >= job->file_count)
        return error_set(error, STATUS_INVALID, "job %" PRIu64 " has no file %zu", job->id,
                         change->file_index);
    return STATUS_OK;
}

static enum status job_change_apply(struct write_request *request, struct store_write *write,
                                    struct error *error)
{
    struct job_change *change = (struct job_change *)request;
    struct buffer texts = BUFFER_INIT;
    struct job job;
    enum status status = job_record_get(write->txn, change->id, &job, error);
    if (status == STATUS_OK && change->aco && change->aco != job.aco)
        status = error_set(error, STATUS_NOT_FOUND, "there is no job %" PRIu64, change->id);
    if (status != STATUS_OK)
        return status;
    enum job_state before = job.state;
    enum leads leads = transitions[change->change][before];
    status = change_check(change, write, &job, leads, error);
    if (status != STATUS_OK)
        return status;

    /* They are borrowed until the next write, and written again after others. */
    buffer_append_slice(&texts, job.request);
    buffer_append_slice(&texts, job.warnings);
    job.request = slice_make(texts.data, job.request.size);
    job.warnings = slice_make(texts.data + job.request.size, job.warnings.size);

    if (change->change == JOB_CHANGE_PLAN) {
        job.planned = true;
        status = job_files_add(write, &job, change->files, change->file_count, error);
    } else if (change->change == JOB_CHANGE_FILE_DONE) {
        status = job_file_put_done(write, &job, change->file_index, change->count, change->raw_bytes,
                                   change->gzip_bytes, error);
    } else if (change->change == JOB_CHANGE_COMPLETE) {
        status = change_complete(change, write, &job, error);
    } else if (change->change == JOB_CHANGE_WHOLE) {
        job.planned = true;
        status = add_done_files(change, write, &job, error);
    }
    if (status == STATUS_OK && (enum job_state)leads != before)
        status = change_state(write, &job, (enum job_state)leads, change->keep_us, error);
    buffer_release(&texts);
    if (status == STATUS_OK)
        change->ret_before = before;
    return status;
}

void job_change_init(struct job_change *change, enum job_change_kind kind, uint64_t id)
{
    CHECK((unsigned)kind < JOB_CHANGE_COUNT);
    *change = (struct job_change){.change = kind, .id = id};
    change->request.apply = job_change_apply;
    change->request.bytes = REQUEST_BYTES;
}
