#include "loadtest/export_flow.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "loadtest/file_check.h"
#include "loadtest/manifest.h"

#include <inttypes.h>
#include <string.h>

struct flow {
    struct session *session;
    struct export_wish wish;
    char *job_url;
    struct arena arena;
    struct manifest manifest;
    struct resource_parser *parser;
    size_t files_ended;
    bool failed;
    struct run_content content;
    uint64_t network_bytes;
    int64_t poll_us;
};

struct flow_file {
    struct flow *flow;
    const struct manifest_file *file;
    struct file_check check;
    struct error error;
    int64_t begin_us;
    bool abandoned; /* a slow reader whose time is over */
};

static struct run *run_of(const struct flow *flow)
{
    return flow->session->run;
}

static void flow_free(struct flow *flow)
{
    flow->session->exports = false;
    run_of(flow)->exports_running--;
    resource_parser_free(flow->parser);
    arena_release(&flow->arena);
    mem_free(flow->job_url);
    mem_free(flow);
}

/* ---- the end ---- */

static void deleted(void *context, const struct client_reply *reply)
{
    (void)reply; /* it may be gone: the load test is over for it in any case */
    flow_free(context);
}

static void flow_delete(struct flow *flow)
{
    if (!flow->job_url ||
        !client_send(run_of(flow)->client, &(struct client_request){.method = "DELETE",
                                                                    .url = flow->job_url,
                                                                    .bearer = flow->session->token,
                                                                    .context = flow,
                                                                    .done = deleted}))
        flow_free(flow);
}

static void compare_with_earlier(struct flow *flow, int64_t now_us)
{
    struct run_content *known = &flow->session->content;
    struct measure *measure = &run_of(flow)->measure;
    const char *aco = flow->session->credential->name;
    if (known->known && !run_of(flow)->options->changing &&
        (known->count != flow->content.count || known->bytes != flow->content.bytes ||
         known->sum != flow->content.sum))
        measure_wrong(measure, MEASURE_EXPORT, now_us,
                      "two exports of %s differ: %" PRIu64 " and %" PRIu64 " resources, %" PRIu64
                      " and %" PRIu64 " bytes",
                      aco, known->count, flow->content.count, known->bytes, flow->content.bytes);
    else
        measure_done(measure, MEASURE_EXPORT, flow->wish.intended_us, now_us, flow->network_bytes);
    *known = flow->content;
    known->known = true;
}

static void flow_finish(struct flow *flow)
{
    if (!flow->failed && !flow->wish.keeps_job)
        compare_with_earlier(flow, clock_monotonic_us());
    flow_delete(flow);
}

/* ---- files ---- */

static bool take_file_data(void *context, struct slice data)
{
    struct flow_file *file = context;
    const struct flow *flow = file->flow;
    if (flow->wish.bytes_per_second && clock_monotonic_us() >= run_of(flow)->end_us) {
        file->abandoned = true;
        return false;
    }
    return file_check_feed(&file->check, data, &file->error) == STATUS_OK;
}

/* What is wrong with a complete file, or NULL. */
static const char *fault_of(struct flow_file *file)
{
    const struct manifest_file *listed = file->file;
    if (file_check_end(&file->check, &file->error) != STATUS_OK)
        return file->error.text;
    if (listed->has_count && listed->count != file->check.lines)
        return "it has another number of lines than the manifest's count";
    if (listed->has_bytes && listed->bytes != file->check.bytes)
        return "it has another size than the manifest's fileSize";
    return NULL;
}

static void file_done(void *context, const struct client_reply *reply)
{
    struct flow_file *file = context;
    struct flow *flow = file->flow;
    struct measure *measure = &run_of(flow)->measure;
    int64_t now_us = clock_monotonic_us();
    const char *fault = reply->data_was_refused ? file->error.text : NULL;
    if (!reply->failed && reply->status == 200)
        fault = fault_of(file);
    if (file->abandoned) {
        flow->failed = true; /* not finished, and nobody's fault */
    } else if (fault) {
        measure_wrong(measure, MEASURE_DOWNLOAD, now_us, "%s of %s: %s", file->file->type,
                      flow->session->credential->name, fault);
        flow->failed = true;
    } else if (reply->failed || reply->status != 200) {
        run_note_failure(run_of(flow), MEASURE_DOWNLOAD, reply, "a download");
        flow->failed = true;
    } else {
        measure_done(measure, MEASURE_DOWNLOAD, file->begin_us, now_us, reply->bytes);
        flow->content.count += file->check.lines;
        flow->content.bytes += file->check.bytes;
        flow->content.sum += file->check.sum;
        flow->network_bytes += reply->bytes;
    }
    file_check_release(&file->check);
    mem_free(file);
    if (++flow->files_ended == flow->manifest.output_count)
        flow_finish(flow);
}

static void begin_files(struct flow *flow)
{
    struct run *run = run_of(flow);
    size_t count = flow->manifest.output_count; /* the flow may be gone when the last one is refused */
    if (count == 0)
        return flow_finish(flow);
    for (size_t i = 0; i < count; i++) {
        struct flow_file *file = mem_new(struct flow_file);
        file->flow = flow;
        file->file = &flow->manifest.output[i];
        file->begin_us = clock_monotonic_us();
        file_check_init(&file->check, file->file->type, flow->parser);
        bool sent =
            client_send(run->client, &(struct client_request){.method = "GET",
                                                              .url = file->file->url,
                                                              .bearer = flow->session->token,
                                                              .gzip = !run->options->identity,
                                                              .bytes_per_second = flow->wish.bytes_per_second,
                                                              .intended_us = file->begin_us,
                                                              .context = file,
                                                              .data = take_file_data,
                                                              .done = file_done});
        if (!sent)
            file_done(file, &(struct client_reply){.failed = true, .failure = MEASURE_FAILURE_SKIPPED});
    }
}

/* ---- polls ---- */

static void poll_job(void *context);

static void job_completed(struct flow *flow, const struct client_reply *reply)
{
    struct run *run = run_of(flow);
    struct error error = {0};
    int64_t now_us = clock_monotonic_us();
    if (manifest_parse(reply->body, &flow->arena, &flow->manifest, &error) != STATUS_OK) {
        measure_wrong(&run->measure, MEASURE_JOB, now_us, "%s", error.text);
    } else if (flow->manifest.error_count) {
        measure_wrong(&run->measure, MEASURE_JOB, now_us, "an export of %s lists errors",
                      flow->session->credential->name);
    } else {
        measure_done(&run->measure, MEASURE_JOB, flow->wish.intended_us, now_us, 0);
        if (!flow->wish.keeps_job)
            return begin_files(flow);
        mem_free(flow->session->job_url);
        flow->session->job_url = flow->job_url;
        flow->job_url = NULL;
        return flow_free(flow);
    }
    flow->failed = true;
    flow_finish(flow);
}

static void poll_done(void *context, const struct client_reply *reply)
{
    struct flow *flow = context;
    struct run *run = run_of(flow);
    int64_t now_us = clock_monotonic_us();
    if (reply->failed || (reply->status != 200 && reply->status != 202)) {
        run_note_failure(run, MEASURE_STATUS, reply, "a poll");
        flow->failed = true;
        return flow_finish(flow);
    }
    measure_done(&run->measure, MEASURE_STATUS, flow->poll_us, now_us, reply->bytes);
    if (reply->status == 200)
        return job_completed(flow, reply);
    int64_t wait_us = run->options->poll_ms ? (int64_t)run->options->poll_ms * 1000
                                            : (reply->retry_after ? reply->retry_after : 1) * US_PER_SECOND;
    run_at(run, now_us + wait_us, poll_job, flow);
}

static void poll_job(void *context)
{
    struct flow *flow = context;
    flow->poll_us = clock_monotonic_us();
    if (!client_send(run_of(flow)->client, &(struct client_request){.method = "GET",
                                                                    .url = flow->job_url,
                                                                    .bearer = flow->session->token,
                                                                    .intended_us = flow->poll_us,
                                                                    .context = flow,
                                                                    .done = poll_done}))
        poll_done(flow, &(struct client_reply){.failed = true, .failure = MEASURE_FAILURE_SKIPPED});
}

/* ---- the kick-off ---- */

static void kicked_off(void *context, const struct client_reply *reply)
{
    struct flow *flow = context;
    struct run *run = run_of(flow);
    int64_t now_us = clock_monotonic_us();
    if (reply->failed || reply->status != 202) {
        run_note_failure(run, MEASURE_KICK_OFF, reply, "a kick-off");
        return flow_free(flow);
    }
    if (!reply->location[0]) {
        measure_wrong(&run->measure, MEASURE_KICK_OFF, now_us, "a kick-off's 202 has no Content-Location");
        return flow_free(flow);
    }
    measure_done(&run->measure, MEASURE_KICK_OFF, flow->wish.intended_us, now_us, reply->bytes);
    flow->job_url = mem_strdup(reply->location);
    poll_job(flow);
}

void export_flow_begin(struct session *session, const struct export_wish *wish)
{
    struct run *run = session->run;
    struct buffer url = BUFFER_INIT;
    struct flow *flow = mem_new(struct flow);
    CHECK(!session->exports && session->token);
    session->exports = true;
    run->exports_running++;
    flow->session = session;
    flow->wish = *wish;
    flow->parser = resource_parser_new();
    arena_init(&flow->arena);
    buffer_appendf(&url, "%s/api/v1/Patient/$export", run->options->url);
    if (!client_send(run->client, &(struct client_request){.method = "GET",
                                                           .url = buffer_text(&url),
                                                           .bearer = session->token,
                                                           .kick_off = true,
                                                           .intended_us = wish->intended_us,
                                                           .context = flow,
                                                           .done = kicked_off}))
        kicked_off(flow, &(struct client_reply){.failed = true, .failure = MEASURE_FAILURE_SKIPPED});
    buffer_release(&url);
}

static void job_deleted(void *context, const struct client_reply *reply)
{
    (void)context, (void)reply;
}

void export_flow_delete_job(struct session *session)
{
    (void)client_send(session->run->client, &(struct client_request){.method = "DELETE",
                                                                     .url = session->job_url,
                                                                     .bearer = session->token,
                                                                     .done = job_deleted});
    mem_free(session->job_url);
    session->job_url = NULL;
}
