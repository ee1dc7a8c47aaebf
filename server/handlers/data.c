#include "codec/base/check.h"
#include "codec/instant.h"
#include "server/exports.h"
#include "server/feed_body.h"
#include "server/handlers/handlers.h"
#include "server/handlers/job_access.h"
#include "server/precondition.h"
#include "server/reactor.h"

#include <inttypes.h>
#include <stdio.h>

#define UUID_SIZE 36

static void fail_file_unknown(struct exchange *exchange)
{
    exchange_fail(exchange, 404, "not-found", PROBLEM_NOT_FOUND, "There is no such file.");
}

/* What stands in the name behind the UUID. */
static const char *name_ending(const struct job_file *file)
{
    return file->set == JOB_SET_ERROR     ? "-error.ndjson"
           : file->set == JOB_SET_DELETED ? "-deleted.ndjson"
                                          : ".ndjson";
}

/* The file of that name among the job's that are finished and not empty, or not finished yet. */
static const struct job_file *find_file(const struct job *job, struct slice name)
{
    struct slice ending = slice_skip(name, UUID_SIZE);
    if (ending.size == 0)
        return NULL;
    name.size = UUID_SIZE;
    for (size_t i = 0; i < job->file_count; i++) {
        const struct job_file *file = &job->files[i];
        if ((!file->done || file->count) && slice_equal_text(ending, name_ending(file)) &&
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
    uint64_t bytes; /* of the coding */
    char etag[64];
    struct byte_range ranges[RANGES_MAX];
    size_t range_count;  /* 0: the whole */
    struct slice *texts; /* of several ranges: what stands between them, */
    int64_t parts_bytes; /* and what all of that takes */
    char boundary[33];
};

#define CONTENT_TYPE "application/fhir+ndjson"

/* The fields that say what the bytes are. They are the same for GET and HEAD, and for 200, 206 and 304. */
static void put_fields(const struct download *download)
{
    struct reply *reply = &download->exchange->reply;
    char date[INSTANT_TEXT_SIZE];
    if (download->coding == FILE_CODING_GZIP)
        reply_field(reply, "Content-Encoding", "gzip");
    reply_field(reply, "ETag", download->etag);
    if (download->job.state == JOB_STATE_COMPLETED) {
        http_date_format(download->job.updated_us, date);
        reply_field(reply, "Last-Modified", date);
        http_date_format(download->job.expires_us, date);
        reply_field(reply, "Expires", date);
    }
    reply_field(reply, "Accept-Ranges", "bytes");
}

static struct slice arena_format(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
static struct slice arena_format(struct arena *arena, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    CHECK(size > 0 && (size_t)size < sizeof text);
    return arena_copy(arena, slice_make(text, (size_t)size));
}

/* multipart/byteranges (RFC 9110 section 14.6): the lines before each part and behind the last. The boundary
 * is the file's random name, which no file holds. */
static void make_parts(struct download *download)
{
    struct arena *arena = &download->exchange->arena;
    int64_t length = 0;
    memcpy(download->boundary, download->file->uuid, 32);
    download->boundary[32] = '\0';
    download->texts = arena_alloc(arena, (download->range_count + 1) * sizeof *download->texts);
    for (size_t i = 0; i < download->range_count; i++) {
        const struct byte_range *range = &download->ranges[i];
        download->texts[i] = arena_format(arena,
                                          "\r\n--%s\r\nContent-Type: " CONTENT_TYPE "\r\n"
                                          "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
                                          download->boundary, range->begin, range->end - 1, download->bytes);
        length += (int64_t)(download->texts[i].size + (range->end - range->begin));
    }
    download->texts[download->range_count] = arena_format(arena, "\r\n--%s--\r\n", download->boundary);
    download->parts_bytes = length + (int64_t)download->texts[download->range_count].size;
}

/* Status, type and length of what is sent. Only once it is sure to be sent: a failure has its own. */
static void put_extent(struct download *download)
{
    struct reply *reply = &download->exchange->reply;
    reply->status = download->range_count ? 206 : 200;
    reply->length = (int64_t)download->bytes;
    if (download->range_count > 1) {
        reply->length = download->parts_bytes;
        reply_fieldf(reply, "Content-Type", "multipart/byteranges; boundary=%s", download->boundary);
        return;
    }
    reply_field(reply, "Content-Type", CONTENT_TYPE);
    if (download->range_count == 1) {
        const struct byte_range *range = &download->ranges[0];
        reply->length = (int64_t)(range->end - range->begin);
        reply_fieldf(reply, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range->begin,
                     range->end - 1, download->bytes);
    }
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
    put_extent(download);
    put_fields(download);
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
    struct buffer path = BUFFER_INIT;
    if (download->range_count > 1)
        make_parts(download);
    export_path(&path, store_dir(service->store), download->job.id, file->uuid,
                is_error ? JOB_ERROR_SUFFIX : JOB_FILE_SUFFIX);
    file_body_open(&(struct file_body_options){
        .io = exports_io(service->exports),
        .reply_to = reactor_mailbox(exchange->reactor),
        .coding = download->coding,
        .path = buffer_text(&path),
        .gzip_bytes = file->gzip_bytes,
        .raw_bytes = file->raw_bytes,
        .ranges = download->ranges,
        .range_count = download->range_count,
        .texts = download->texts,
        .context = download,
        .opened = file_opened,
        .ready = file_ready,
    });
    buffer_release(&path);
}

static struct slice optional_field(struct exchange *exchange, const char *name)
{
    struct slice value;
    return request_field(exchange, name, &value) ? value : (struct slice){NULL, 0};
}

static enum precondition check_preconditions(struct download *download)
{
    struct exchange *exchange = download->exchange;
    bool is_get = exchange->request.method == HTTP_METHOD_GET;
    bool is_dated = download->job.state == JOB_STATE_COMPLETED;
    struct precondition_fields fields = {
        .if_match = optional_field(exchange, "If-Match"),
        .if_none_match = optional_field(exchange, "If-None-Match"),
        .if_modified_since =
            is_dated ? optional_field(exchange, "If-Modified-Since") : (struct slice){NULL, 0},
        .if_unmodified_since =
            is_dated ? optional_field(exchange, "If-Unmodified-Since") : (struct slice){NULL, 0},
        .range = is_get ? optional_field(exchange, "Range") : (struct slice){NULL, 0},
        .if_range = optional_field(exchange, "If-Range"),
    };
    struct representation representation = {
        .etag = slice_from_text(download->etag),
        .modified_us = is_dated ? download->job.updated_us : INSTANT_MIN_US,
        .bytes = download->bytes,
    };
    return precondition_check(&fields, &representation, download->ranges, &download->range_count);
}

/* ---- a file that is being written ---- */

static void fail_not_begun(struct exchange *exchange)
{
    reply_fieldf(&exchange->reply, "Retry-After", "%u", RETRY_BUSY_SECONDS);
    exchange_fail(exchange, 503, "transient", PROBLEM_INTERNAL, "This file is not begun yet.");
}

static void follow_file(struct download *download, struct export_feed *feed)
{
    struct exchange *exchange = download->exchange;
    struct reply *reply = &exchange->reply;
    reply_field(reply, "Content-Type", CONTENT_TYPE);
    if (download->coding == FILE_CODING_GZIP)
        reply_field(reply, "Content-Encoding", "gzip");
    reply->status = 200;
    reply->length = REPLY_LENGTH_CHUNKED;
    reply->source = feed_body_new(&(struct feed_body_options){
        .io = exports_io(exchange_service(exchange)->exports),
        .reply_to = reactor_mailbox(exchange->reactor),
        .coding = download->coding,
        .feed = feed,
        .context = download,
        .ready = file_ready,
    });
    export_feed_unref(feed);
    exchange_send(exchange);
}

/* ---- the request ---- */

/* Reads the job and finds the file, and its feed if it is not complete; or it has been answered. */
static bool find_download(struct download *download, const struct route_call *call,
                          struct export_feed **ret_feed)
{
    struct exchange *exchange = download->exchange;
    struct job *job = &download->job;
    *ret_feed = NULL;
    /* A file that is completed between the two looks is found complete by the second. */
    for (unsigned looks = 0; looks < 2; looks++) {
        if (!job_of_call(exchange, call, job))
            return false;
        if (job->state == JOB_STATE_ARCHIVED || job->state == JOB_STATE_EXPIRED) {
            fail_job_gone(exchange, job);
            return false;
        }
        bool is_served =
            job->state == JOB_STATE_COMPLETED || (job_state_is_active(job->state) && job->partial_manifests);
        download->file = is_served ? find_file(job, call->parameters[1]) : NULL;
        if (!download->file) {
            fail_file_unknown(exchange);
            return false;
        }
        if (download->file->done)
            return true;
        size_t index = (size_t)(download->file - job->files);
        if ((*ret_feed = exports_follow(exchange_service(exchange)->exports, job->id, index)))
            return true;
    }
    fail_not_begun(exchange);
    return false;
}

void handle_data_file(struct exchange *exchange, const struct route_call *call)
{
    struct slice accept_encoding;
    struct export_feed *feed;
    struct download *download = arena_alloc(&exchange->arena, sizeof *download);
    *download = (struct download){.exchange = exchange};
    if (!find_download(download, call, &feed))
        return;
    reply_field(&exchange->reply, "Vary", "Accept-Encoding");
    bool has_field = request_field(exchange, "Accept-Encoding", &accept_encoding);
    if (!file_coding_choose(has_field ? &accept_encoding : NULL, &download->coding)) {
        export_feed_unref(feed);
        return exchange_fail(exchange, 406, "not-supported", PROBLEM_REQUEST,
                             "Files are served as gzip or identity; Accept-Encoding admits neither.");
    }
    if (feed)
        return follow_file(download, feed);
    bool is_gzip = download->coding == FILE_CODING_GZIP;
    download->bytes = is_gzip ? download->file->gzip_bytes : download->file->raw_bytes;
    snprintf(download->etag, sizeof download->etag, "\"%s-%s\"", download->file->uuid,
             is_gzip ? "gzip" : "identity");
    switch (check_preconditions(download)) {
    case PRECONDITION_WHOLE:
    case PRECONDITION_PARTIAL:
        return open_file(download);
    case PRECONDITION_NOT_MODIFIED:
        put_fields(download);
        exchange->reply.status = 304;
        return exchange_send(exchange);
    case PRECONDITION_FAILED:
        return exchange_fail(exchange, 412, "conflict", PROBLEM_REQUEST,
                             "The file is not the one that If-Match or If-Unmodified-Since names.");
    case PRECONDITION_UNSATISFIABLE:
        reply_fieldf(&exchange->reply, "Content-Range", "bytes */%" PRIu64, download->bytes);
        return exchange_fail(exchange, 416, "value", PROBLEM_REQUEST,
                             "No byte of the file lies in the range that was asked for.");
    }
}
