#include "storage/jobs.h"
#include "codec/base/arena.h"
#include "codec/base/reader.h"
#include "server/job_files.h"
#include "server/job_sweep.h"
#include "storage/accounts.h"
#include "tools/common/progress.h"
#include "tools/sluicectl/listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static enum status parse_job_id(const char *text, uint64_t *ret_id, struct error *error)
{
    char *end;
    errno = 0;
    unsigned long long id = strtoull(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9')
        return error_set(error, STATUS_INVALID, "%s: is no job id", text);
    *ret_id = id;
    return STATUS_OK;
}

static void list_job(struct listing *listing, const struct job *job, const char *aco)
{
    uint64_t count = 0, raw_bytes = 0, files = 0;
    for (size_t i = 0; i < job->file_count; i++) {
        count += job->files[i].count;
        raw_bytes += job->files[i].raw_bytes;
        files += job->files[i].count != 0;
    }
    listing_row_begin(listing);
    listing_number(listing, "id", job->id);
    listing_text(listing, "aco", aco);
    listing_text(listing, "endpoint", job->endpoint);
    listing_text(listing, "state", job_state_name(job->state));
    listing_instant(listing, "transactionTime", job->transaction_time_us);
    listing_instant(listing, "updated", job->updated_us);
    json_member_number(listing->json, "files", (int64_t)files);
    listing_number(listing, "resources", count);
    listing_bytes(listing, "bytes", raw_bytes);
    listing_row_end(listing);
}

/* One job, within a step. */
static enum status read_and_list_job(struct listing *listing, uint64_t id, struct error *error)
{
    const char *state = listing->invocation->options[OPTION_STATE];
    struct arena arena = ARENA_INIT;
    struct aco aco;
    struct job job;
    enum status status = read_steps_begin(&listing->steps, error);
    if (status == STATUS_OK)
        status = job_get(listing->steps.txn, id, &arena, &job, error);
    if (status == STATUS_OK && (!state || strcasecmp(state, job_state_name(job.state)) == 0)) {
        status = aco_get(listing->steps.txn, job.aco, &aco, error);
        if (status == STATUS_OK)
            list_job(listing, &job, aco.id);
    }
    arena_release(&arena);
    read_steps_rest(&listing->steps);
    return status;
}

static enum status fill_jobs(struct listing *listing, struct error *error)
{
    struct aco aco = {.number = 0};
    struct buffer ids = BUFFER_INIT;
    struct error found = {.status = STATUS_OK};
    const char *aco_id = listing->invocation->options[OPTION_ACO];
    enum status status =
        aco_id ? aco_find(listing->steps.txn, slice_from_text(aco_id), &aco, &found) : STATUS_OK;
    if (status == STATUS_OK)
        status =
            listing_pass_damage(listing, job_list_ids(listing->steps.txn, aco.number, &ids, &found), &found);
    for (size_t at = ids.size; status == STATUS_OK && at > 0;) {
        uint64_t id;
        at -= sizeof id;
        memcpy(&id, ids.data + at, sizeof id);
        status = listing_pass_damage(listing, read_and_list_job(listing, id, &found), &found);
    }
    buffer_release(&ids);
    if (status != STATUS_OK)
        *error = found;
    return status;
}

static bool is_job_state(const char *text)
{
    for (int state = 0; state < JOB_STATE_COUNT; state++) {
        if (strcasecmp(text, job_state_name((enum job_state)state)) == 0)
            return true;
    }
    return false;
}

int command_jobs_list(const struct invocation *invocation)
{
    static const char *const titles[] = {">job",    "ACO",        "endpoint", "state", "transactionTime",
                                         "updated", ">resources", ">bytes"};
    const char *state = invocation->options[OPTION_STATE];
    if (state && !is_job_state(state)) {
        complain_text("--state: \"%s\" is none; the states are Pending, In Progress, Completed, Archived, "
                      "Expired, Failed and Cancelled",
                      state);
        return EXIT_USAGE;
    }
    return listing_run(invocation, titles, 8, fill_jobs);
}

static const char *job_set_name(enum job_set set)
{
    static const char *const names[] = {[JOB_SET_ALL] = "all",
                                        [JOB_SET_EXISTING] = "existing",
                                        [JOB_SET_NEW] = "new",
                                        [JOB_SET_ERROR] = "error",
                                        [JOB_SET_DELETED] = "deleted"};
    return names[set];
}

static void show_text(struct listing *listing, const char *key, const char *value)
{
    json_member_text(listing->json, key, value);
    listing_line(listing, "%-16s %s", key, value);
}

static void show_instant(struct listing *listing, const char *key, int64_t us)
{
    char text[INSTANT_TEXT_SIZE];
    instant_text(us, text);
    json_member_instant(listing->json, key, us);
    listing_line(listing, "%-16s %s", key, text);
}

static void show_job(struct listing *listing, const struct job *job, const char *aco)
{
    struct buffer text = BUFFER_INIT;
    json_member_number(listing->json, "id", (int64_t)job->id);
    listing_line(listing, "%-16s %llu", "job", (unsigned long long)job->id);
    show_text(listing, "aco", aco);
    show_text(listing, "endpoint", job->endpoint);
    show_text(listing, "state", job_state_name(job->state));
    buffer_append_slice(&text, job->request);
    show_text(listing, "request", buffer_text(&text));
    buffer_reset(&text);
    for (size_t i = 0; i < job->type_count; i++)
        buffer_appendf(&text, "%s%s", i ? "," : "", resource_type_name(job->types[i]));
    show_text(listing, "types", buffer_text(&text));
    buffer_release(&text);
    show_instant(listing, "since", job->since_us == INSTANT_MIN_US ? INT64_MIN : job->since_us);
    show_instant(listing, "transactionTime", job->transaction_time_us);
    show_instant(listing, "updated", job->updated_us);
    show_instant(listing, "expires", job->expires_us ? job->expires_us : INT64_MIN);
}

/* A file that is not done has none yet. */
static void list_file_size(struct listing *listing, const struct job_file *file)
{
    json_member_text(listing->json, "state", file->done ? "complete" : "waiting");
    if (file->done) {
        listing_number(listing, "resources", file->count);
        listing_bytes(listing, "bytes", file->raw_bytes);
        listing_bytes(listing, "stored", file->gzip_bytes);
        return;
    }
    static const char *const keys[] = {"resources", "bytes", "stored"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        text_table_cell(&listing->table, "%s", i == 0 ? "waits" : "");
        json_member_number(listing->json, keys[i], 0);
    }
}

static enum status fill_job(struct listing *listing, struct error *error)
{
    uint64_t id;
    struct arena arena = ARENA_INIT;
    struct job job;
    struct aco aco;
    enum status status = parse_job_id(listing->invocation->arguments[0], &id, error);
    if (status == STATUS_OK)
        status = job_get(listing->steps.txn, id, &arena, &job, error);
    if (status == STATUS_OK)
        status = aco_get(listing->steps.txn, job.aco, &aco, error);
    if (status != STATUS_OK)
        goto done;
    show_job(listing, &job, aco.id);
    listing_rows_begin(listing, "files");
    for (size_t i = 0; i < job.file_count; i++) {
        const struct job_file *file = &job.files[i];
        listing_row_begin(listing);
        listing_text(listing, "file", file->uuid);
        listing_text(listing, "type",
                     file->set == JOB_SET_ERROR     ? "OperationOutcome"
                     : file->set == JOB_SET_DELETED ? "Bundle"
                                                    : resource_type_name(file->type));
        listing_text(listing, "set", job_set_name(file->set));
        list_file_size(listing, file);
        listing_row_end(listing);
    }
    listing_rows_end(listing);
done:
    arena_release(&arena);
    return status;
}

int command_jobs_show(const struct invocation *invocation)
{
    static const char *const titles[] = {"file", "type", "set", ">resources", ">bytes", ">stored"};
    return listing_run_object(invocation, titles, 6, fill_job);
}

int command_jobs_cancel(const struct invocation *invocation)
{
    uint64_t id;
    struct error error;
    if (parse_job_id(invocation->arguments[0], &id, &error) != STATUS_OK)
        return complain(&error);
    struct link *link = open_link(invocation);
    if (!link)
        return EXIT_FAILED;
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    buffer_append_u64(&payload, id);
    enum status status = link_call(link, CONTROL_COMMAND_JOB_CANCEL, buffer_slice(&payload), &reply, &error);
    buffer_release(&payload);
    buffer_release(&reply);
    link_close(link);
    if (status == STATUS_NOT_FOUND)
        return complain_text("job %llu: there is none, or it was cancelled before", (unsigned long long)id);
    if (status == STATUS_CONFLICT)
        return complain_text("job %llu: has expired", (unsigned long long)id);
    return status == STATUS_OK ? EXIT_DONE : complain(&error);
}

/* ---- expire ---- */

struct expired {
    struct buffer reply; /* of CONTROL_COMMAND_JOBS_EXPIRE */
    struct job_sweep_counts swept;
    uint64_t unreadable; /* jobs whose records are damaged */
    bool is_remote;
};

static void show_unreadable(void *context, uint64_t job_id, const struct error *error)
{
    (void)context;
    fprintf(stderr, "job %llu: cannot be read, its files are left alone: %s\n", (unsigned long long)job_id,
            error->text);
}

/* Beside a server the server removes files; without one nobody else does. */
static enum status expire(struct link *link, struct expired *expired, struct error *error)
{
    struct store *store = link_store(link);
    enum status status =
        link_call(link, CONTROL_COMMAND_JOBS_EXPIRE, (struct slice){0}, &expired->reply, error);
    expired->is_remote = link_is_remote(link);
    if (status == STATUS_OK && !expired->is_remote)
        status = job_files_prepare(store_dir(store), error);
    if (status == STATUS_OK && !expired->is_remote)
        status = job_sweep(store, show_unreadable, NULL, &expired->swept, error);
    return status;
}

static enum status fill_expired(struct listing *listing, struct error *error)
{
    struct expired *expired = listing->context;
    struct reader reader = reader_make(buffer_slice(&expired->reply));
    uint64_t freed = 0;
    expired->unreadable = reader_u64(&reader);
    if (reader_left(&reader) == 0)
        listing_line(listing, "no job is due");
    listing_rows_begin(listing, "jobs");
    while (reader_left(&reader) && !reader.failed) {
        uint64_t id = reader_u64(&reader);
        unsigned state = reader_u8(&reader);
        uint64_t bytes = reader_u64(&reader);
        if (state >= JOB_STATE_COUNT)
            break;
        freed += state == JOB_STATE_EXPIRED ? bytes : 0;
        listing_row_begin(listing);
        listing_number(listing, "id", id);
        listing_text(listing, "state", job_state_name((enum job_state)state));
        listing_bytes(listing, "bytes", bytes);
        listing_row_end(listing);
    }
    listing_rows_end(listing);
    if (!reader_done(&reader))
        return error_set(error, STATUS_INTERNAL, "the answer is malformed: tool and server do not match");
    freed = expired->is_remote ? freed : expired->swept.bytes;
    json_member_number(listing->json, "freedBytes", (int64_t)freed);
    char text[32];
    bytes_text(freed, text);
    if (expired->reply.size > sizeof(uint64_t) || freed)
        listing_line(listing, "%s of files %s removed", text, expired->is_remote ? "are being" : "were");
    return STATUS_OK;
}

int command_jobs_expire(const struct invocation *invocation)
{
    static const char *const titles[] = {">job", "is now", ">files"};
    struct expired expired = {.reply = BUFFER_INIT};
    struct error error;
    struct link *link = open_link(invocation);
    if (!link)
        return EXIT_FAILED;
    enum status status = expire(link, &expired, &error);
    link_close(link);
    int exit_status =
        status == STATUS_OK ? listing_show(invocation, titles, 3, fill_expired, &expired) : complain(&error);
    if (exit_status == EXIT_DONE && expired.unreadable)
        exit_status = complain_text("%llu jobs cannot be read; sluicectl verify tells more",
                                    (unsigned long long)expired.unreadable);
    buffer_release(&expired.reply);
    return exit_status;
}
