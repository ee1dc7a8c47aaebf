#include "storage/jobs.h"
#include "codec/base/arena.h"
#include "storage/accounts.h"
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

static enum status list_job(void *context, const struct job *job, struct error *error)
{
    struct listing *listing = context;
    const char *state = listing->invocation->options[OPTION_STATE];
    struct aco aco;
    if (state && strcasecmp(state, job_state_name(job->state)) != 0)
        return STATUS_OK;
    enum status status = aco_get(listing->txn, job->aco, &aco, error);
    if (status != STATUS_OK)
        return status;
    /* The walk gives jobs without their files. */
    uint64_t count = 0, raw_bytes = 0, files = 0;
    struct arena arena = ARENA_INIT;
    struct job whole;
    status = job_get(listing->txn, job->id, &arena, &whole, error);
    for (size_t i = 0; status == STATUS_OK && i < whole.file_count; i++) {
        count += whole.files[i].count;
        raw_bytes += whole.files[i].raw_bytes;
        files += whole.files[i].count != 0;
    }
    arena_release(&arena);
    if (status != STATUS_OK)
        return status;
    listing_row_begin(listing);
    listing_number(listing, "id", job->id);
    listing_text(listing, "aco", aco.id);
    listing_text(listing, "endpoint", job->endpoint);
    listing_text(listing, "state", job_state_name(job->state));
    listing_instant(listing, "transactionTime", job->transaction_time_us);
    listing_instant(listing, "updated", job->updated_us);
    listing_number(listing, "files", files);
    listing_number(listing, "resources", count);
    listing_bytes(listing, "bytes", raw_bytes);
    listing_row_end(listing);
    return STATUS_OK;
}

static enum status fill_jobs(struct listing *listing, struct error *error)
{
    struct aco aco = {.number = 0};
    const char *id = listing->invocation->options[OPTION_ACO];
    enum status status = id ? aco_find(listing->txn, slice_from_text(id), &aco, error) : STATUS_OK;
    return status == STATUS_OK ? job_each(listing->txn, aco.number, 0, list_job, listing, error) : status;
}

int command_jobs_list(const struct invocation *invocation)
{
    static const char *const titles[] = {">job",    "ACO",    "endpoint",   "state", "transactionTime",
                                         "updated", ">files", ">resources", ">bytes"};
    return listing_run(invocation, titles, 9, fill_jobs);
}

static const char *job_set_name(enum job_set set)
{
    static const char *const names[] = {[JOB_SET_ALL] = "all",
                                        [JOB_SET_EXISTING] = "existing",
                                        [JOB_SET_NEW] = "new",
                                        [JOB_SET_ERROR] = "error"};
    return names[set];
}

static enum status fill_job_files(struct listing *listing, struct error *error)
{
    uint64_t id;
    struct arena arena = ARENA_INIT;
    struct job job;
    enum status status = parse_job_id(listing->invocation->arguments[0], &id, error);
    if (status == STATUS_OK) {
        status = job_get(listing->txn, id, &arena, &job, error);
        if (status == STATUS_NOT_FOUND)
            error_set(error, STATUS_NOT_FOUND, "job %llu: there is none", (unsigned long long)id);
    }
    for (size_t i = 0; status == STATUS_OK && i < job.file_count; i++) {
        const struct job_file *file = &job.files[i];
        listing_row_begin(listing);
        listing_text(listing, "file", file->uuid);
        listing_text(listing, "type",
                     file->set == JOB_SET_ERROR ? "OperationOutcome" : resource_type_name(file->type));
        listing_text(listing, "set", job_set_name(file->set));
        listing_text(listing, "state", file->done ? "complete" : "waiting");
        listing_number(listing, "resources", file->count);
        listing_bytes(listing, "bytes", file->raw_bytes);
        listing_bytes(listing, "stored", file->gzip_bytes);
        listing_row_end(listing);
    }
    arena_release(&arena);
    return status;
}

int command_jobs_show(const struct invocation *invocation)
{
    static const char *const titles[] = {"file",       "type",   "beneficiaries", "state",
                                         ">resources", ">bytes", ">stored"};
    return listing_run(invocation, titles, 7, fill_job_files);
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
