#include "codec/base/mem.h"
#include "codec/instant.h"
#include "server/exports.h"
#include "server/file_body.h"
#include "server/handlers/handlers.h"
#include "server/handlers/job_access.h"
#include "server/reactor.h"

#include <inttypes.h>

#define UUID_SIZE 36

static void fail_file_unknown(struct exchange *exchange)
{
    exchange_fail(exchange, 404, "not-found", PROBLEM_NOT_FOUND, "There is no such file.");
}

/* "<uuid>.ndjson" or "<uuid>-error.ndjson" among the job's finished files. */
static const struct job_file *find_file(const struct job *job, struct slice name)
{
    bool is_error = slice_equal_text(slice_skip(name, UUID_SIZE), "-error.ndjson");
    if (!is_error && !slice_equal_text(slice_skip(name, UUID_SIZE), ".ndjson"))
        return NULL;
    name.size = UUID_SIZE;
    for (size_t i = 0; i < job->file_count; i++) {
        const struct job_file *file = &job->files[i];
        if (file->done && file->count && (file->set == JOB_SET_ERROR) == is_error &&
            slice_equal_text(name, file->uuid))
            return file;
    }
    return NULL;
}

/* In the exchange's arena. */
struct download {
    struct exchange *exchange;
    struct job job;
    const struct job_file *file;
    enum file_coding coding;
};

/* The fields that say what the bytes are. They are the same for GET and HEAD. */
static void put_fields(const struct download *download)
{
    struct reply *reply = &download->exchange->reply;
    const struct job_file *file = download->file;
    bool is_gzip = download->coding == FILE_CODING_GZIP;
    char date[INSTANT_TEXT_SIZE];
    reply_field(reply, "Content-Type", "application/fhir+ndjson");
    if (is_gzip)
        reply_field(reply, "Content-Encoding", "gzip");
    reply_fieldf(reply, "ETag", "\"%s-%s\"", file->uuid, is_gzip ? "gzip" : "identity");
    http_date_format(download->job.updated_us, date);
    reply_field(reply, "Last-Modified", date);
    http_date_format(download->job.expires_us, date);
    reply_field(reply, "Expires", date);
    reply_field(reply, "Accept-Ranges", "none");
    reply->length = (int64_t)(is_gzip ? file->gzip_bytes : file->raw_bytes);
}

static void file_opened(void *context, struct file_body *body, enum status status, const struct error *error)
{
    struct download *download = context;
    struct exchange *exchange = download->exchange;
    if (status != STATUS_OK) {
        struct body_source *source = file_body_source(body);
        struct error kept = *error;
        source->close(source);
        if (status == STATUS_NOT_FOUND) /* deleted since its record was read */
            return fail_file_unknown(exchange);
        return exchange_fail_status(exchange, status, &kept);
    }
    put_fields(download);
    exchange->reply.status = 200;
    exchange->reply.source = file_body_source(body);
    exchange_send(exchange);
}

static void file_ready(void *context)
{
    exchange_resume(((struct download *)context)->exchange);
}

static void open_file(struct download *download)
{
    struct exchange *exchange = download->exchange;
    const struct job_file *file = download->file;
    struct service *service = exchange_service(exchange);
    bool is_error = file->set == JOB_SET_ERROR;
    struct buffer path = BUFFER_INIT, index_path = BUFFER_INIT;
    export_path(&path, store_dir(service->store), download->job.id, file->uuid,
                is_error ? JOB_ERROR_SUFFIX : JOB_FILE_SUFFIX);
    export_path(&index_path, store_dir(service->store), download->job.id, file->uuid,
                is_error ? JOB_ERROR_INDEX_SUFFIX : JOB_FILE_INDEX_SUFFIX);
    file_body_open(&(struct file_body_options){
        .io = exports_io(service->exports),
        .reply_to = reactor_mailbox(exchange->reactor),
        .coding = download->coding,
        .path = buffer_text(&path),
        .index_path = buffer_text(&index_path),
        .gzip_bytes = file->gzip_bytes,
        .raw_bytes = file->raw_bytes,
        .context = download,
        .opened = file_opened,
        .ready = file_ready,
    });
    buffer_release(&path);
    buffer_release(&index_path);
}

void handle_data_file(struct exchange *exchange, const struct route_call *call)
{
    struct slice accept_encoding;
    struct download *download = arena_alloc(&exchange->arena, sizeof *download);
    download->exchange = exchange;
    if (!job_of_call(exchange, call, &download->job))
        return;
    const struct job *job = &download->job;
    if (job->state == JOB_STATE_ARCHIVED || job->state == JOB_STATE_EXPIRED)
        return fail_job_gone(exchange, job);
    download->file = job->state == JOB_STATE_COMPLETED ? find_file(job, call->parameters[1]) : NULL;
    if (!download->file)
        return fail_file_unknown(exchange);
    reply_field(&exchange->reply, "Vary", "Accept-Encoding");
    bool has_field = request_field(exchange, "Accept-Encoding", &accept_encoding);
    if (!file_coding_choose(has_field ? &accept_encoding : NULL, &download->coding))
        return exchange_fail(exchange, 406, "not-supported", PROBLEM_REQUEST,
                             "Files are served as gzip or identity; Accept-Encoding admits neither.");
    open_file(download);
}
