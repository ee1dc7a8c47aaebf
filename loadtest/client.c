#include "loadtest/client.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define POLL_MS_MAX 1000

/* One request on its way, and the handle that it travels on. */
struct transfer {
    struct transfer *next; /* among those that wait */
    size_t place;          /* among those that run */
    struct client *client;
    CURL *curl; /* NULL: it waits for one */
    struct client_request request;
    char *method, *url, *user_password, *bearer; /* owned copies */
    struct curl_slist *fields;
    struct client_reply reply;
    struct buffer body;
};

struct client {
    struct client_options options;
    char *ca_file;
    CURLM *multi;
    CURL **idle;
    size_t idle_count;
    struct transfer **running; /* room for `connections` */
    size_t running_count;
    struct transfer *waiting, **waiting_end;
    size_t waiting_count;
    int timer; /* curl_multi_poll knows milliseconds only: this ends its wait to the microsecond */
};

static void transfer_free(struct transfer *transfer)
{
    curl_slist_free_all(transfer->fields);
    if (transfer->user_password)
        explicit_bzero(transfer->user_password, strlen(transfer->user_password));
    mem_free(transfer->method);
    mem_free(transfer->url);
    mem_free(transfer->user_password);
    mem_free(transfer->bearer);
    buffer_release(&transfer->body);
    mem_free(transfer);
}

enum status client_new(const struct client_options *options, struct client **ret_client, struct error *error)
{
    if (curl_global_init(CURL_GLOBAL_ALL) != 0)
        return error_set(error, STATUS_INTERNAL, "libcurl does not start");
    struct client *client = mem_new(struct client);
    client->options = *options;
    client->ca_file = options->ca_file ? mem_strdup(options->ca_file) : NULL;
    client->multi = curl_multi_init();
    client->idle = mem_zalloc_array(sizeof *client->idle, options->connections);
    client->running = mem_zalloc_array(sizeof *client->running, options->connections);
    client->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    client->waiting_end = &client->waiting;
    CHECK(client->multi && client->timer >= 0);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)options->connections);
    *ret_client = client;
    return STATUS_OK;
}

/* ---- what comes ---- */

static size_t take_data(char *data, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t bytes = size * count;
    if (!transfer->reply.first_byte_us)
        transfer->reply.first_byte_us = clock_monotonic_us();
    if (transfer->request.data) {
        long status = 0;
        curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
        if (status >= 200 && status < 300) {
            transfer->reply.data_was_refused =
                !transfer->request.data(transfer->request.context, slice_make(data, bytes));
            return transfer->reply.data_was_refused ? 0 : bytes;
        }
    }
    if (bytes > CLIENT_BODY_BYTES_MAX - transfer->body.size)
        return 0;
    buffer_append(&transfer->body, data, bytes);
    return bytes;
}

static bool take_field(struct slice line, const char *name, struct slice *ret_value)
{
    size_t size = strlen(name);
    if (line.size <= size || line.data[size] != ':' || strncasecmp(line.data, name, size) != 0)
        return false;
    line = slice_skip(line, size + 1);
    while (line.size && (line.data[0] == ' ' || line.data[0] == '\t'))
        line = slice_skip(line, 1);
    while (line.size && strchr(" \t\r\n", line.data[line.size - 1]))
        line.size--;
    *ret_value = line;
    return true;
}

static size_t take_head(char *data, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    struct slice line = {data, size * count}, value;
    struct client_reply *reply = &transfer->reply;
    if (take_field(line, "Content-Location", &value) && value.size < sizeof reply->location) {
        memcpy(reply->location, value.data, value.size);
        reply->location[value.size] = '\0';
    } else if (take_field(line, "Retry-After", &value) && value.size && value.size < 6) {
        char text[8] = "";
        memcpy(text, value.data, value.size);
        reply->retry_after = (unsigned)strtoul(text, NULL, 10);
    }
    return line.size;
}

/* ---- what goes ---- */

static void add_field(struct transfer *transfer, const char *text)
{
    struct curl_slist *longer = curl_slist_append(transfer->fields, text);
    CHECK(longer);
    transfer->fields = longer;
}

static void transfer_prepare(struct transfer *transfer)
{
    const struct client *client = transfer->client;
    const struct client_request *request = &transfer->request;
    CURL *curl = transfer->curl;
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, transfer->url);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)client->options.timeout_seconds);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L * 1024);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_head);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
    if (client->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
    if (client->options.insecure) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (strcmp(transfer->method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
        add_field(transfer, "Content-Type:");
    } else if (strcmp(transfer->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, transfer->method);
    }
    if (transfer->user_password) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(curl, CURLOPT_USERPWD, transfer->user_password);
    }
    if (transfer->bearer) {
        struct buffer field = BUFFER_INIT;
        buffer_appendf(&field, "Authorization: Bearer %s", transfer->bearer);
        add_field(transfer, buffer_text(&field));
        buffer_release(&field);
    }
    if (request->kick_off) {
        add_field(transfer, "Accept: application/fhir+json");
        add_field(transfer, "Prefer: respond-async");
    }
    if (request->gzip)
        curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    if (request->bytes_per_second) {
        /* Small pieces, or libcurl would read ahead and stand still for seconds. */
        curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 16384L);
        curl_easy_setopt(curl, CURLOPT_MAX_RECV_SPEED_LARGE, (curl_off_t)request->bytes_per_second);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, transfer->fields);
}

/* Puts waiting requests on idle handles. */
static void start_waiting(struct client *client)
{
    while (client->waiting && client->running_count < client->options.connections) {
        struct transfer *transfer = client->waiting;
        client->waiting = transfer->next;
        if (!client->waiting)
            client->waiting_end = &client->waiting;
        client->waiting_count--;
        transfer->curl = client->idle_count ? client->idle[--client->idle_count] : curl_easy_init();
        CHECK(transfer->curl);
        transfer_prepare(transfer);
        CHECK(curl_multi_add_handle(client->multi, transfer->curl) == CURLM_OK);
        transfer->place = client->running_count;
        client->running[client->running_count++] = transfer;
    }
}

bool client_send(struct client *client, const struct client_request *request)
{
    if (client->waiting_count == CLIENT_QUEUE_MAX)
        return false;
    struct transfer *transfer = mem_new(struct transfer);
    transfer->client = client;
    transfer->request = *request;
    transfer->method = mem_strdup(request->method);
    transfer->url = mem_strdup(request->url);
    transfer->user_password = request->user_password ? mem_strdup(request->user_password) : NULL;
    transfer->bearer = request->bearer ? mem_strdup(request->bearer) : NULL;
    *client->waiting_end = transfer;
    client->waiting_end = &transfer->next;
    client->waiting_count++;
    start_waiting(client);
    return true;
}

/* ---- the end of one ---- */

static enum measure_failure failure_of(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return MEASURE_FAILURE_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return MEASURE_FAILURE_TIMEOUT;
    default:
        return MEASURE_FAILURE_BROKEN;
    }
}

static void transfer_finish(struct transfer *transfer, CURLcode code)
{
    struct client *client = transfer->client;
    struct client_reply *reply = &transfer->reply;
    curl_off_t bytes = 0;
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_easy_getinfo(transfer->curl, CURLINFO_SIZE_DOWNLOAD_T, &bytes);
    reply->bytes = (uint64_t)bytes;
    reply->body = buffer_slice(&transfer->body);
    reply->failed = code != CURLE_OK;
    if (code != CURLE_OK)
        reply->failure = reply->data_was_refused ? MEASURE_FAILURE_WRONG : failure_of(code);
    else if (reply->status >= 400)
        reply->failure = reply->status == 429  ? MEASURE_FAILURE_429
                         : reply->status < 500 ? MEASURE_FAILURE_4XX
                                               : MEASURE_FAILURE_5XX;
    CHECK(curl_multi_remove_handle(client->multi, transfer->curl) == CURLM_OK);
    client->idle[client->idle_count++] = transfer->curl;
    client->running[transfer->place] = client->running[--client->running_count];
    client->running[transfer->place]->place = transfer->place;
    transfer->request.done(transfer->request.context, reply);
    transfer_free(transfer);
}

enum status client_run(struct client *client, int64_t until_us, struct error *error)
{
    int running, left;
    start_waiting(client);
    CURLMcode code = curl_multi_perform(client->multi, &running);
    for (CURLMsg *message; code == CURLM_OK && (message = curl_multi_info_read(client->multi, &left));) {
        struct transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        transfer_finish(transfer, result);
    }
    if (code == CURLM_OK && until_us > clock_monotonic_us()) {
        struct curl_waitfd alarm = {.fd = client->timer, .events = CURL_WAIT_POLLIN};
        struct itimerspec at = {
            .it_value = {.tv_sec = until_us / US_PER_SECOND, .tv_nsec = until_us % US_PER_SECOND * 1000}};
        timerfd_settime(client->timer, TFD_TIMER_ABSTIME, &at, NULL);
        code = curl_multi_poll(client->multi, &alarm, 1, POLL_MS_MAX, NULL);
    }
    if (code != CURLM_OK)
        return error_set(error, STATUS_INTERNAL, "libcurl: %s", curl_multi_strerror(code));
    return STATUS_OK;
}

size_t client_pending(const struct client *client)
{
    return client->running_count + client->waiting_count;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    while (client->waiting) {
        struct transfer *transfer = client->waiting;
        client->waiting = transfer->next;
        transfer_free(transfer);
    }
    for (size_t i = 0; i < client->running_count; i++) {
        curl_multi_remove_handle(client->multi, client->running[i]->curl);
        curl_easy_cleanup(client->running[i]->curl);
        transfer_free(client->running[i]);
    }
    for (size_t i = 0; i < client->idle_count; i++)
        curl_easy_cleanup(client->idle[i]);
    curl_multi_cleanup(client->multi);
    close(client->timer);
    mem_free(client->idle);
    mem_free(client->running);
    mem_free(client->ca_file);
    mem_free(client);
    curl_global_cleanup();
}
