/*
 * Connections as a client sees them: reactors in this process with a handler of our own, and raw sockets.
 * Most tests run twice, plain and over TLS. Nothing sleeps: a test waits for bytes, for the end of a
 * connection, or for what the server reports.
 */
#include "server/reactor.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "server/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

/* So that a fault ends the test rather than hangs it; no test takes that long. */
#define PATIENCE_SECONDS 30

/* ---- the server ---------------------------------------------------------------------------------------- */

struct finished {
    char path[64];
    unsigned status;
    uint64_t bytes;
    bool complete;
};

struct server {
    struct reactors_options options;
    struct reactors *reactors;
    struct tls_context *tls;
    unsigned port;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct finished finished[64];
    unsigned finished_count;
    unsigned sources_open;
    unsigned source_pulls;
    struct exchange *held;        /* by /held, until released */
    struct waiting_source *waits; /* of /wait */
    unsigned locals;              /* made and not freed */
};

/* What a test runs with. */
static char directory[256];
static struct mode {
    bool is_tls;
} plain = {false}, over_tls = {true};

static char pattern_byte(uint64_t offset)
{
    return (char)('a' + offset % 23);
}

/* /bytes/N, /chunks/N: N bytes; the variants below misbehave. */
struct byte_source {
    struct body_source source;
    struct server *server;
    uint64_t at, size;
    bool fails;
    char chunk[100000];
};

static void source_count(struct server *server, int step)
{
    pthread_mutex_lock(&server->lock);
    server->sources_open += (unsigned)step;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static enum body_pull byte_source_pull(struct body_source *source, size_t bytes_max, struct slice *ret_chunk)
{
    struct byte_source *bytes = (struct byte_source *)source;
    CHECK(bytes_max >= 1);
    pthread_mutex_lock(&bytes->server->lock);
    bytes->server->source_pulls++;
    pthread_mutex_unlock(&bytes->server->lock);
    if (bytes->at == bytes->size)
        return bytes->fails ? BODY_PULL_FAIL : BODY_PULL_END;
    size_t size = bytes_max < sizeof bytes->chunk ? bytes_max : sizeof bytes->chunk;
    if (size > bytes->size - bytes->at)
        size = (size_t)(bytes->size - bytes->at);
    for (size_t i = 0; i < size; i++)
        bytes->chunk[i] = pattern_byte(bytes->at + i);
    bytes->at += size;
    *ret_chunk = slice_make(bytes->chunk, size);
    /* Both ways to end: with the last bytes, and by a pull of its own. */
    return bytes->at == bytes->size && bytes->size % 2 ? BODY_PULL_END : BODY_PULL_MORE;
}

static void byte_source_close(struct body_source *source)
{
    struct byte_source *bytes = (struct byte_source *)source;
    source_count(bytes->server, -1);
    mem_free(bytes);
}

static void reply_bytes(struct exchange *exchange, uint64_t size, int64_t length, bool fails)
{
    struct byte_source *bytes = mem_new(struct byte_source);
    bytes->source = (struct body_source){byte_source_pull, byte_source_close};
    bytes->server = exchange->service;
    bytes->size = size;
    bytes->fails = fails;
    exchange->reply.source = &bytes->source;
    exchange->reply.length = length;
    source_count(bytes->server, 1);
}

/* /wait: chunks that the test's thread brings, one at a time. */
struct waiting_source {
    struct body_source source;
    struct exchange *exchange;
    struct server *server;
    struct buffer chunk; /* the reactor's thread alone */
    bool has_chunk, is_ended;
};

static enum body_pull waiting_source_pull(struct body_source *source, size_t bytes_max,
                                          struct slice *ret_chunk)
{
    struct waiting_source *waiting = (struct waiting_source *)source;
    CHECK(waiting->chunk.size <= bytes_max);
    if (!waiting->has_chunk)
        return BODY_PULL_WAIT;
    waiting->has_chunk = false;
    *ret_chunk = buffer_slice(&waiting->chunk);
    return waiting->is_ended ? BODY_PULL_END : BODY_PULL_MORE;
}

static void waiting_source_close(struct body_source *source)
{
    struct waiting_source *waiting = (struct waiting_source *)source;
    pthread_mutex_lock(&waiting->server->lock);
    waiting->server->waits = NULL;
    waiting->server->sources_open--;
    pthread_cond_broadcast(&waiting->server->changed);
    pthread_mutex_unlock(&waiting->server->lock);
    buffer_release(&waiting->chunk);
    mem_free(waiting);
}

struct chunk_message {
    struct message message;
    struct server *server;
    const char *text;
    bool ends;
};

static void chunk_deliver(struct message *message, void *receiver)
{
    (void)receiver;
    struct chunk_message *chunk = (struct chunk_message *)message;
    struct waiting_source *waiting = chunk->server->waits;
    if (waiting) {
        buffer_reset(&waiting->chunk);
        buffer_append_text(&waiting->chunk, chunk->text);
        waiting->has_chunk = true;
        waiting->is_ended = chunk->ends;
        exchange_resume(waiting->exchange);
    }
    mem_free(chunk);
}

static void release_deliver(struct message *message, void *receiver)
{
    (void)receiver;
    struct chunk_message *release = (struct chunk_message *)message;
    struct exchange *exchange;
    pthread_mutex_lock(&release->server->lock);
    exchange = release->server->held;
    release->server->held = NULL;
    pthread_mutex_unlock(&release->server->lock);
    exchange->reply.status = 200;
    buffer_append_text(&exchange->reply.body, release->text);
    exchange_send(exchange);
    mem_free(release);
}

static void echo(struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    struct buffer *body = &exchange->reply.body;
    struct slice test;
    buffer_appendf(body, "%d %.*s?%.*s host=%.*s peer=%.*s tls=%d ", (int)request->method,
                   SLICE_PRINT(request->path), SLICE_PRINT(request->query), SLICE_PRINT(request->host),
                   SLICE_PRINT(request->peer), request->is_tls);
    if (request_field(exchange, "x-test", &test))
        buffer_appendf(body, "test=%.*s ", SLICE_PRINT(test));
    buffer_appendf(body, "body=%zu:", request->body.size);
    buffer_append_slice(body, request->body);
}

static void handle(struct exchange *exchange)
{
    struct server *server = exchange->service;
    struct reply *reply = &exchange->reply;
    char path[64];
    snprintf(path, sizeof path, "%.*s", SLICE_PRINT(exchange->request.path));
    CHECK(reactor_local(exchange->reactor) == &server->locals);
    unsigned long long number = strrchr(path, '/') ? strtoull(strrchr(path, '/') + 1, NULL, 10) : 0;
    reply->status = 200;
    if (strcmp(path, "/hello") == 0) {
        reply_field(reply, "Content-Type", "text/plain");
        buffer_append_text(&reply->body, "hello\n");
    } else if (strncmp(path, "/bytes/", 7) == 0) {
        reply_bytes(exchange, number, (int64_t)number, false);
    } else if (strncmp(path, "/chunks/", 8) == 0) {
        reply_bytes(exchange, number, REPLY_LENGTH_CHUNKED, false);
    } else if (strncmp(path, "/failing/", 9) == 0) {
        reply_bytes(exchange, number, REPLY_LENGTH_CHUNKED, true);
    } else if (strncmp(path, "/too-few/", 9) == 0) {
        reply_bytes(exchange, number, (int64_t)number + 1, false);
    } else if (strncmp(path, "/too-many/", 10) == 0) {
        reply_bytes(exchange, number + 1, (int64_t)number, false);
    } else if (strncmp(path, "/status/", 8) == 0) {
        reply->status = (unsigned)number;
        buffer_append_text(&reply->body, "a body");
    } else if (strcmp(path, "/cached") == 0) {
        reply_field(reply, "cache-control", "max-age=60");
    } else if (strcmp(path, "/close") == 0) {
        reply->close = true;
    } else if (strcmp(path, "/held") == 0) {
        pthread_mutex_lock(&server->lock);
        CHECK(!server->held);
        server->held = exchange;
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
        return;
    } else if (strcmp(path, "/wait") == 0) {
        struct waiting_source *waiting = mem_new(struct waiting_source);
        waiting->source = (struct body_source){waiting_source_pull, waiting_source_close};
        waiting->exchange = exchange;
        waiting->server = server;
        reply->source = &waiting->source;
        reply->length = REPLY_LENGTH_CHUNKED;
        pthread_mutex_lock(&server->lock);
        server->waits = waiting;
        server->sources_open++;
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
    } else {
        echo(exchange);
    }
    exchange_send(exchange);
}

static void finished(struct exchange *exchange, uint64_t bytes, bool complete)
{
    struct server *server = exchange->service;
    pthread_mutex_lock(&server->lock);
    struct finished *row = &server->finished[server->finished_count % 64];
    snprintf(row->path, sizeof row->path, "%.*s", SLICE_PRINT(exchange->request.path));
    row->status = exchange->reply.status;
    row->bytes = bytes;
    row->complete = complete;
    server->finished_count++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static void refuse(struct reply *reply, unsigned status, const char *text)
{
    reply_field(reply, "Content-Type", "text/plain");
    buffer_appendf(&reply->body, "%u: %s", status, text);
}

static void *local_new(void *service)
{
    struct server *server = service;
    __atomic_fetch_add(&server->locals, 1, __ATOMIC_RELAXED);
    return &server->locals;
}

static void local_free(void *local)
{
    __atomic_fetch_sub((unsigned *)local, 1, __ATOMIC_RELAXED);
}

static void server_prepare(struct server *server, const struct mode *mode)
{
    *server = (struct server){0};
    assert_int_equal(pthread_mutex_init(&server->lock, NULL), 0);
    pthread_condattr_t monotonic;
    assert_int_equal(pthread_condattr_init(&monotonic), 0);
    assert_int_equal(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC), 0);
    assert_int_equal(pthread_cond_init(&server->changed, &monotonic), 0);
    if (mode->is_tls) {
        char certificate[300], key[300];
        struct error error;
        snprintf(certificate, sizeof certificate, "%s/cert.pem", directory);
        snprintf(key, sizeof key, "%s/key.pem", directory);
        if (tls_context_open(certificate, key, &server->tls, &error) != STATUS_OK)
            fail_msg("%s", error.text);
    }
    server->options = (struct reactors_options){
        .count = 1,
        .listen = "127.0.0.1:0",
        .tls = server->tls,
        .limits = {.head_timeout_ms = PATIENCE_SECONDS * 1000,
                   .body_timeout_ms = PATIENCE_SECONDS * 1000,
                   .idle_timeout_ms = PATIENCE_SECONDS * 1000,
                   .handshake_timeout_ms = PATIENCE_SECONDS * 1000,
                   .body_bytes_max = 1000,
                   .connections_max = 1000},
        .service = server,
        .handle = handle,
        .finished = finished,
        .refuse = refuse,
        .local_new = local_new,
        .local_free = local_free,
    };
}

static void server_run(struct server *server)
{
    struct error error;
    if (reactors_start(&server->options, &server->reactors, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    const char *address = reactors_address(server->reactors);
    server->port = (unsigned)atoi(strrchr(address, ':') + 1);
    assert_int_not_equal(server->port, 0);
}

static void server_start(struct server *server, void **state)
{
    server_prepare(server, *state);
    server_run(server);
}

static void server_stop(struct server *server)
{
    reactors_stop(server->reactors);
    assert_int_equal(server->sources_open, 0);
    assert_int_equal(server->locals, 0);
    tls_context_close(server->tls);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
}

static struct timespec patience_end(void)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += PATIENCE_SECONDS;
    return end;
}

/* Waits until the server has told the log about `count` exchanges in all, and returns the last. */
static struct finished server_await_finished(struct server *server, unsigned count)
{
    struct timespec end = patience_end();
    pthread_mutex_lock(&server->lock);
    while (server->finished_count < count)
        if (pthread_cond_timedwait(&server->changed, &server->lock, &end) != 0)
            break;
    unsigned finished_count = server->finished_count;
    struct finished last = server->finished[(count - 1) % 64];
    pthread_mutex_unlock(&server->lock);
    assert_int_equal(finished_count, count);
    return last;
}

static void server_await_held(struct server *server)
{
    struct timespec end = patience_end();
    pthread_mutex_lock(&server->lock);
    while (!server->held)
        if (pthread_cond_timedwait(&server->changed, &server->lock, &end) != 0)
            break;
    struct exchange *held = server->held;
    pthread_mutex_unlock(&server->lock);
    assert_non_null(held);
}

static void server_await_connections(struct server *server, unsigned count)
{
    struct timespec now, end = patience_end();
    unsigned got;
    while ((got = reactors_stats(server->reactors).connections) != count) {
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec)
            break;
    }
    assert_int_equal(got, count);
}

static void post(struct server *server, struct exchange *exchange,
                 void (*deliver)(struct message *message, void *receiver), const char *text, bool ends)
{
    struct chunk_message *message = mem_new(struct chunk_message);
    message->message.deliver = deliver;
    message->server = server;
    message->text = text;
    message->ends = ends;
    assert_true(mailbox_post(reactor_mailbox(exchange->reactor), &message->message));
}

/* Answers what /held holds, from this thread. */
static void server_release(struct server *server, const char *text)
{
    server_await_held(server);
    post(server, server->held, release_deliver, text, false);
}

static void server_bring(struct server *server, const char *text, bool ends)
{
    pthread_mutex_lock(&server->lock);
    struct exchange *exchange = server->waits ? server->waits->exchange : NULL;
    pthread_mutex_unlock(&server->lock);
    assert_non_null(exchange);
    post(server, exchange, chunk_deliver, text, ends);
}

/* ---- the client ---------------------------------------------------------------------------------------- */

struct client {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    struct buffer input;
};

struct response {
    unsigned status;
    struct buffer head; /* with the status line, without the empty line */
    struct buffer body; /* as decoded */
    bool complete;
};

static void client_connect_plain(struct client *client, const struct server *server)
{
    *client = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(client->fd >= 0);
    struct timeval patience = {PATIENCE_SECONDS, 0};
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
}

static void client_connect(struct client *client, const struct server *server)
{
    client_connect_plain(client, server);
    if (!server->tls)
        return;
    client->context = SSL_CTX_new(TLS_client_method());
    client->ssl = SSL_new(client->context);
    assert_non_null(client->ssl);
    SSL_set_fd(client->ssl, client->fd);
    assert_int_equal(SSL_connect(client->ssl), 1);
}

static void client_close(struct client *client)
{
    SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    close(client->fd);
    buffer_release(&client->input);
}

/* As when the client's machine gives up: a reset. */
static void client_reset(struct client *client)
{
    struct linger now = {1, 0};
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    client_close(client);
}

static void client_send_bytes(struct client *client, struct slice bytes)
{
    if (bytes.size == 0)
        return;
    if (client->ssl)
        assert_int_equal(SSL_write(client->ssl, bytes.data, (int)bytes.size), (int)bytes.size);
    else
        assert_int_equal(send(client->fd, bytes.data, bytes.size, MSG_NOSIGNAL), (ssize_t)bytes.size);
}

static void client_send(struct client *client, const char *text)
{
    client_send_bytes(client, slice_from_text(text));
}

/* Ends our side and still reads. */
static void client_half_close(struct client *client)
{
    if (client->ssl)
        assert_true(SSL_shutdown(client->ssl) >= 0);
    assert_int_equal(shutdown(client->fd, SHUT_WR), 0);
}

/* False at the end, however it came. */
static bool client_read(struct client *client)
{
    char *room = buffer_reserve(&client->input, 65536);
    ssize_t got = client->ssl ? SSL_read(client->ssl, room, 65536) : recv(client->fd, room, 65536, 0);
    if (got > 0)
        client->input.size += (size_t)got;
    else if (!client->ssl)
        assert_true(got == 0 || errno == ECONNRESET || errno == EPIPE); /* not the end of patience */
    return got > 0;
}

static void client_expect_end(struct client *client)
{
    assert_int_equal(client->input.size, 0);
    assert_false(client_read(client));
}

static void input_drop(struct buffer *input, size_t size)
{
    memmove(input->data, input->data + size, input->size - size);
    input->size -= size;
}

static bool response_field(const struct response *response, const char *name, char *value, size_t value_size)
{
    const char *line = response->head.data;
    const char *end = line + response->head.size;
    size_t name_size = strlen(name);
    while ((line = memchr(line, '\n', (size_t)(end - line)))) {
        line++;
        if ((size_t)(end - line) > name_size && strncasecmp(line, name, name_size) == 0 &&
            line[name_size] == ':') {
            const char *first = line + name_size + 1;
            const char *last = memchr(first, '\r', (size_t)(end - first));
            first += *first == ' ';
            snprintf(value, value_size, "%.*s", (int)((last ? last : end) - first), first);
            return true;
        }
    }
    return false;
}

static const char *response_value(const struct response *response, const char *name)
{
    static char value[256];
    return response_field(response, name, value, sizeof value) ? value : "absent";
}

/* Reads until `size` bytes are there. */
static bool client_await(struct client *client, size_t size)
{
    while (client->input.size < size)
        if (!client_read(client))
            return false;
    return true;
}

static bool client_read_chunks(struct client *client, struct buffer *body)
{
    for (;;) {
        const char *newline;
        while (!client->input.size || !(newline = memchr(client->input.data, '\n', client->input.size)))
            if (!client_read(client))
                return false;
        size_t line = (size_t)(newline - client->input.data) + 1;
        size_t size = strtoull(client->input.data, NULL, 16);
        if (!client_await(client, line + size + 2))
            return false;
        buffer_append(body, client->input.data + line, size);
        assert_memory_equal(client->input.data + line + size, "\r\n", 2);
        input_drop(&client->input, line + size + 2);
        if (size == 0)
            return true;
    }
}

/* Reads one response. With `has_body` false it has none whatever its head says. */
static void client_receive(struct client *client, struct response *response, bool has_body)
{
    *response = (struct response){0};
    char *end;
    while (!client->input.size || !(end = memmem(client->input.data, client->input.size, "\r\n\r\n", 4)))
        if (!client_read(client))
            fail_msg("the connection ended before a response: \"%s\"", buffer_text(&client->input));
    size_t size = (size_t)(end - client->input.data);
    buffer_append(&response->head, client->input.data, size + 2);
    input_drop(&client->input, size + 4);
    assert_int_equal(sscanf(buffer_text(&response->head), "HTTP/1.1 %u ", &response->status), 1);
    response->complete = true;
    char value[64];
    if (!has_body)
        return;
    if (response_field(response, "Transfer-Encoding", value, sizeof value)) {
        assert_string_equal(value, "chunked");
        response->complete = client_read_chunks(client, &response->body);
    } else if (response_field(response, "Content-Length", value, sizeof value)) {
        size_t length = strtoull(value, NULL, 10);
        response->complete = client_await(client, length);
        size_t there = response->complete ? length : client->input.size;
        buffer_append(&response->body, client->input.data, there);
        if (there)
            input_drop(&client->input, there);
    }
}

static void response_release(struct response *response)
{
    buffer_release(&response->head);
    buffer_release(&response->body);
}

/* One response with this status and body; NULL: any body. */
static void client_expect(struct client *client, unsigned status, const char *body)
{
    struct response response;
    client_receive(client, &response, true);
    assert_true(response.complete);
    assert_int_equal(response.status, status);
    if (body)
        assert_string_equal(buffer_text(&response.body), body);
    response_release(&response);
}

static void expect_pattern(const struct buffer *body, uint64_t size)
{
    assert_int_equal(body->size, size);
    for (uint64_t i = 0; i < size; i++)
        if (body->data[i] != pattern_byte(i))
            fail_msg("byte %llu is %d", (unsigned long long)i, body->data[i]);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

/* ---- requests and replies ------------------------------------------------------------------------------ */

static void requests_follow_each_other_on_one_connection(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    for (unsigned i = 0; i < 200; i++) {
        client_send(&client, GET("/hello"));
        client_expect(&client, 200, "hello\n");
    }
    struct reactors_stats stats = reactors_stats(server.reactors);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.requests, 200);
    client_close(&client);
    server_stop(&server);
}

static void a_request_reaches_the_handler_as_it_was_sent(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, "POST /echo?a=b HTTP/1.1\r\nX-Test: one\r\nHost: example:1\r\nContent-Length: 4\r\n"
                         "x-test:two\r\n\r\nbody");
    client_expect(&client, 200,
                  server.tls ? "2 /echo?a=b host=example:1 peer=127.0.0.1 tls=1 test=one, two body=4:body"
                             : "2 /echo?a=b host=example:1 peer=127.0.0.1 tls=0 test=one, two body=4:body");
    client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    client_expect(&client, 200,
                  server.tls ? "2 /echo? host=h peer=127.0.0.1 tls=1 body=0:"
                             : "2 /echo? host=h peer=127.0.0.1 tls=0 body=0:");
    client_close(&client);
    server_stop(&server);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    enum { REQUESTS = 500 };
    struct server server;
    struct client client;
    struct buffer requests = BUFFER_INIT;
    server_start(&server, state);
    client_connect(&client, &server);
    for (unsigned i = 0; i < REQUESTS; i++)
        buffer_appendf(&requests, "POST /%u HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n%03u", i, i);
    client_send_bytes(&client, buffer_slice(&requests));
    for (unsigned i = 0; i < REQUESTS; i++) {
        char expected[100];
        snprintf(expected, sizeof expected, "2 /%u? host=h peer=127.0.0.1 tls=%d body=3:%03u", i,
                 server.tls != NULL, i);
        client_expect(&client, 200, expected);
    }
    client_close(&client);
    buffer_release(&requests);
    server_stop(&server);
}

static void pipelined_requests_wait_for_a_held_one(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, GET("/held") GET("/hello"));
    server_release(&server, "released");
    client_expect(&client, 200, "released");
    client_expect(&client, 200, "hello\n");
    client_close(&client);
    server_stop(&server);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    int on = 1;
    assert_int_equal(setsockopt(client.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on), 0);
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof request - 1; i++)
            client_send_bytes(&client, slice_make(request + i, 1));
        client_expect(&client, 200,
                      server.tls ? "2 /echo? host=h peer=127.0.0.1 tls=1 body=5:abcde"
                                 : "2 /echo? host=h peer=127.0.0.1 tls=0 body=5:abcde");
    }
    client_close(&client);
    server_stop(&server);
}

static void every_response_has_the_common_fields(void **state)
{
    struct server server;
    struct client client;
    struct response response;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, GET("/hello"));
    client_receive(&client, &response, true);
    assert_string_equal(response_value(&response, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(response_value(&response, "Cache-Control"), "no-store");
    assert_string_equal(response_value(&response, "Strict-Transport-Security"),
                        server.tls ? "max-age=31536000" : "absent");
    assert_string_equal(response_value(&response, "Content-Length"), "6");
    assert_string_equal(response_value(&response, "Content-Type"), "text/plain");
    assert_string_equal(response_value(&response, "Connection"), "absent");
    const char *date = response_value(&response, "Date");
    assert_int_equal(strlen(date), 29);
    assert_string_equal(date + 25, " GMT");
    assert_int_equal(strspn(response_value(&response, "X-Request-Id"), "0123456789abcdef"), 32);
    response_release(&response);

    client_send(&client, GET("/cached"));
    client_receive(&client, &response, true);
    assert_string_equal(response_value(&response, "Cache-Control"), "max-age=60");
    response_release(&response);

    client_send(&client, "nonsense\r\n\r\n");
    client_receive(&client, &response, true);
    assert_int_equal(response.status, 400);
    assert_string_equal(response_value(&response, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(response_value(&response, "Connection"), "close");
    response_release(&response);
    client_expect_end(&client);
    client_close(&client);
    server_stop(&server);
}

static void a_well_formed_request_id_is_kept(void **state)
{
    static const struct {
        const char *sent;
        bool kept;
    } ids[] = {
        {"a", true},
        {"Job-17_x.y", true},
        {"0123456789012345678901234567890123456789012345678901234567890123", true},
        {"01234567890123456789012345678901234567890123456789012345678901234", false},
        {"", false},
        {"a b", false},
        {"a<b", false},
        {"\xc3\xa4", false},
    };
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char request[256];
        struct response response;
        snprintf(request, sizeof request, "GET /hello HTTP/1.1\r\nHost: h\r\nX-Request-Id: %s\r\n\r\n",
                 ids[i].sent);
        client_send(&client, request);
        client_receive(&client, &response, true);
        assert_int_equal(strcmp(response_value(&response, "X-Request-Id"), ids[i].sent) == 0, ids[i].kept);
        response_release(&response);
    }
    client_close(&client);
    server_stop(&server);
}

static void head_gets_the_fields_and_no_body(void **state)
{
    static const struct {
        const char *request, *length, *coding;
    } rows[] = {
        {"HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n", "6", "absent"},
        {"HEAD /bytes/100000 HTTP/1.1\r\nHost: h\r\n\r\n", "100000", "absent"},
        {"HEAD /chunks/100 HTTP/1.1\r\nHost: h\r\n\r\n", "absent", "chunked"},
    };
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct response response;
        client_send(&client, rows[i].request);
        client_receive(&client, &response, false);
        assert_int_equal(response.status, 200);
        assert_string_equal(response_value(&response, "Content-Length"), rows[i].length);
        assert_string_equal(response_value(&response, "Transfer-Encoding"), rows[i].coding);
        response_release(&response);
    }
    /* Nothing of a body came between. */
    client_send(&client, GET("/hello"));
    client_expect(&client, 200, "hello\n");
    assert_int_equal(server_await_finished(&server, 4).bytes, 6);
    assert_int_equal(server.source_pulls, 0);
    client_close(&client);
    server_stop(&server);
}

static void replies_without_content_have_no_body_and_no_length(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    for (unsigned status = 204; status <= 304; status += 100) {
        struct response response;
        client_send(&client, status == 204 ? GET("/status/204") : GET("/status/304"));
        client_receive(&client, &response, false);
        assert_int_equal(response.status, status);
        assert_string_equal(response_value(&response, "Content-Length"), "absent");
        response_release(&response);
    }
    client_send(&client, GET("/hello"));
    client_expect(&client, 200, "hello\n");
    client_close(&client);
    server_stop(&server);
}

static void sources_are_sent_whole(void **state)
{
    static const uint64_t sizes[] = {0, 1, 2, 16384, 99999, 100000, 100001, 5000000, 5000001};
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    unsigned count = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (unsigned chunked = 0; chunked < 2; chunked++) {
            char request[100];
            struct response response;
            snprintf(request, sizeof request, "GET /%s/%llu HTTP/1.1\r\nHost: h\r\n\r\n",
                     chunked ? "chunks" : "bytes", (unsigned long long)sizes[i]);
            client_send(&client, request);
            client_receive(&client, &response, true);
            assert_true(response.complete);
            expect_pattern(&response.body, sizes[i]);
            struct finished finished = server_await_finished(&server, ++count);
            assert_true(finished.complete);
            assert_int_equal(finished.bytes, sizes[i]);
            response_release(&response);
        }
    }
    client_close(&client);
    server_stop(&server);
}

static void a_source_may_wait_for_another_thread(void **state)
{
    struct server server;
    struct client client;
    struct response response;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, GET("/wait"));
    client_receive(&client, &response, false); /* the head comes at once */
    assert_string_equal(response_value(&response, "Transfer-Encoding"), "chunked");
    response_release(&response);
    server_bring(&server, "first", false);
    assert_true(client_await(&client, strlen("5\r\nfirst\r\n")));
    assert_memory_equal(client.input.data, "5\r\nfirst\r\n", 10);
    input_drop(&client.input, 10);
    server_bring(&server, "last", true);
    struct buffer rest = BUFFER_INIT;
    assert_true(client_read_chunks(&client, &rest));
    assert_string_equal(buffer_text(&rest), "last");
    buffer_release(&rest);
    client_send(&client, GET("/hello"));
    client_expect(&client, 200, "hello\n");
    assert_int_equal(server_await_finished(&server, 2).bytes, 6);
    client_close(&client);
    server_stop(&server);
}

static void a_body_that_cannot_be_completed_never_looks_complete(void **state)
{
    static const char *const paths[] = {"/failing/0",      "/failing/200000", "/too-few/1",
                                        "/too-few/200000", "/too-many/0",     "/too-many/250000"};
    struct server server;
    server_start(&server, state);
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct client client;
        struct response response;
        char request[100];
        client_connect(&client, &server);
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", paths[i]);
        client_send(&client, request);
        if (i == 4) {
            /* Of length 0 nothing is pulled. */
            client_expect(&client, 200, "");
            assert_true(server_await_finished(&server, i + 1).complete);
        } else if (i == 0 || i == 2) {
            bool ended =
                !client_read(&client) || !memmem(client.input.data, client.input.size, "\r\n0\r\n", 5);
            assert_true(ended);
            assert_false(server_await_finished(&server, i + 1).complete);
        } else {
            client_receive(&client, &response, true);
            assert_false(response.complete);
            response_release(&response);
            assert_false(server_await_finished(&server, i + 1).complete);
        }
        client_close(&client);
    }
    server_stop(&server);
}

static void http_1_0_closes_unless_asked_and_never_gets_chunks(void **state)
{
    struct server server;
    struct client client;
    struct response response;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client_receive(&client, &response, true);
    assert_string_equal(response_value(&response, "Connection"), "keep-alive");
    response_release(&response);
    client_send(&client, "GET /hello HTTP/1.0\r\n\r\n");
    client_receive(&client, &response, true);
    assert_string_equal(response_value(&response, "Connection"), "close");
    response_release(&response);
    client_expect_end(&client);
    client_close(&client);

    client_connect(&client, &server);
    client_send(&client, "GET /chunks/100 HTTP/1.0\r\n\r\n");
    client_receive(&client, &response, true);
    assert_int_equal(response.status, 503);
    assert_string_not_equal(response_value(&response, "Retry-After"), "absent");
    assert_string_equal(response_value(&response, "Transfer-Encoding"), "absent");
    response_release(&response);
    client_expect_end(&client);
    client_close(&client);
    server_stop(&server);
}

static void connection_close_is_obeyed_from_both_sides(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/hello"));
    client_expect(&client, 200, "hello\n");
    client_expect_end(&client);
    client_close(&client);
    client_connect(&client, &server);
    client_send(&client, GET("/close"));
    client_expect(&client, 200, "");
    client_expect_end(&client);
    client_close(&client);
    server_await_connections(&server, 0);
    assert_int_equal(reactors_stats(server.reactors).requests, 2);
    server_stop(&server);
}

/* ---- bodies of requests -------------------------------------------------------------------------------- */

static void a_client_that_waits_for_leave_gets_it(void **state)
{
    struct server server;
    struct client client;
    struct response response;
    server_start(&server, state);
    client_connect(&client, &server);
    for (unsigned round = 0; round < 2; round++) {
        client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                             "Content-Length: 4\r\n\r\n");
        client_receive(&client, &response, false);
        assert_int_equal(response.status, 100);
        response_release(&response);
        client_send(&client, "body");
        client_expect(&client, 200, NULL);
    }
    /* Not to one whose body is there already, or too long. */
    client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                         "Content-Length: 4\r\n\r\nbody");
    client_expect(&client, 200, NULL);
    client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                         "Content-Length: 1001\r\n\r\n");
    client_expect(&client, 413, "413: the request's body is longer than 1000 bytes");
    client_expect_end(&client);
    client_close(&client);
    server_stop(&server);
}

static void bodies_are_bounded(void **state)
{
    static const char *const heads[] = {"Content-Length: 1000", "Transfer-Encoding: chunked",
                                        "Content-Length: 1001", "Transfer-Encoding: chunked"};
    struct server server;
    server_start(&server, state);
    for (unsigned i = 0; i < 4; i++) {
        struct client client;
        struct buffer request = BUFFER_INIT;
        size_t size = i < 2 ? 1000 : 1001;
        client_connect(&client, &server);
        buffer_appendf(&request, "POST /echo HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", heads[i]);
        if (i % 2)
            buffer_appendf(&request, "%zx\r\n", size);
        memset(buffer_extend(&request, size), 'b', size);
        if (i % 2)
            buffer_append_text(&request, "\r\n0\r\n\r\n");
        client_send_bytes(&client, buffer_slice(&request));
        if (i < 2) {
            client_expect(&client, 200, NULL);
        } else {
            client_expect(&client, 413, "413: the request's body is longer than 1000 bytes");
            client_expect_end(&client);
        }
        client_close(&client);
        buffer_release(&request);
    }
    server_stop(&server);
}

static void a_refusal_is_seen_by_a_client_that_is_still_sending(void **state)
{
    struct server server;
    struct client client;
    char *body = mem_zalloc(600000);
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n");
    /* More than the sockets hold: without the lingering this would end in a reset. */
    client_send_bytes(&client, slice_make(body, 600000));
    client_expect(&client, 413, NULL);
    client_expect_end(&client);
    client_close(&client);
    mem_free(body);
    server_await_connections(&server, 0);
    server_stop(&server);
}

static void faults_in_a_request_are_answered_and_end_the_connection(void **state)
{
    static const struct {
        const char *request;
        unsigned status;
        const char *body;
    } rows[] = {
        {"GET / HTTP/1.1\nHost: h\n\n", 400, "400: a line ends in LF alone"},
        {"GET / HTTP/1.1\r\n\r\n", 400, "400: the Host field is missing"},
        {"GET / HTTP/2.0\r\n\r\n", 505, "505: only HTTP/1.0 and HTTP/1.1 are supported"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400, "400: there are both Content-Length and Transfer-Encoding fields"},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", 400,
         "400: the request's body is malformed"},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" GET("/hello"), 400,
         "400: the request's body is malformed"},
    };
    struct server server;
    server_start(&server, state);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client client;
        client_connect(&client, &server);
        client_send(&client, rows[i].request);
        client_expect(&client, rows[i].status, rows[i].body);
        client_expect_end(&client);
        client_close(&client);
        struct finished finished = server_await_finished(&server, i + 1);
        assert_int_equal(finished.status, rows[i].status);
        assert_true(finished.complete);
    }
    assert_int_equal(reactors_stats(server.reactors).requests, 0);
    server_stop(&server);
}

static void heads_and_targets_are_bounded(void **state)
{
    struct server server;
    struct client client;
    struct buffer request = BUFFER_INIT;
    server_start(&server, state);

    client_connect(&client, &server);
    buffer_append_text(&request, "GET /");
    memset(buffer_extend(&request, 9000), 'a', 9000);
    client_send_bytes(&client, buffer_slice(&request));
    client_expect(&client, 414, "414: the URL is longer than 8192 bytes");
    client_expect_end(&client);
    client_close(&client);

    client_connect(&client, &server);
    buffer_reset(&request);
    buffer_append_text(&request, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    memset(buffer_extend(&request, 33000), 'a', 33000);
    client_send_bytes(&client, buffer_slice(&request));
    client_expect(&client, 431, "431: the request's head is longer than 32768 bytes");
    client_expect_end(&client);
    client_close(&client);
    buffer_release(&request);
    server_stop(&server);
}

/* ---- clients that go ----------------------------------------------------------------------------------- */

static void a_client_may_close_its_side_and_still_gets_its_answers(void **state)
{
    struct server server;
    struct client client;
    struct response response;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, GET("/bytes/3000001") GET("/held"));
    client_half_close(&client);
    client_receive(&client, &response, true);
    expect_pattern(&response.body, 3000001);
    response_release(&response);
    server_release(&server, "after the end");
    client_expect(&client, 200, "after the end");
    client_expect_end(&client);
    client_close(&client);
    server_await_connections(&server, 0);
    server_stop(&server);
}

static void a_client_that_goes_while_its_request_is_handled_costs_nothing(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, GET("/held"));
    server_await_held(&server);
    client_reset(&client);
    server_await_connections(&server, 0); /* noticed at once, though nothing is written */
    server_release(&server, "to nobody");
    struct finished finished = server_await_finished(&server, 1);
    assert_string_equal(finished.path, "/held");
    assert_false(finished.complete);
    assert_int_equal(finished.bytes, 0);
    server_stop(&server);
}

static void a_download_that_is_broken_off_closes_its_source(void **state)
{
    static const char *const requests[] = {GET("/bytes/4000000001"), GET("/chunks/4000000001")};
    struct server server;
    server_start(&server, state);
    for (unsigned i = 0; i < 4; i++) {
        struct client client;
        client_connect(&client, &server);
        client_send(&client, requests[i % 2]);
        assert_true(client_await(&client, 300000));
        if (i < 2)
            client_reset(&client);
        else
            client_close(&client);
        struct finished finished = server_await_finished(&server, i + 1);
        assert_false(finished.complete);
        assert_true(finished.bytes < 4000000000);
        server_await_connections(&server, 0);
        pthread_mutex_lock(&server.lock);
        assert_int_equal(server.sources_open, 0);
        pthread_mutex_unlock(&server.lock);
    }
    server_stop(&server);
}

static void a_client_that_goes_closes_a_source_that_waits(void **state)
{
    struct server server;
    struct client client;
    struct response response;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send(&client, GET("/wait"));
    client_receive(&client, &response, false);
    response_release(&response);
    client_reset(&client);
    assert_false(server_await_finished(&server, 1).complete);
    server_await_connections(&server, 0);
    server_stop(&server);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

static void requests_that_do_not_arrive_time_out(void **state)
{
    struct server server;
    struct client client;
    server_prepare(&server, *state);
    server.options.limits.head_timeout_ms = 100;
    server.options.limits.body_timeout_ms = 100;
    server.options.limits.idle_timeout_ms = 100;
    server_run(&server);

    client_connect(&client, &server); /* says nothing */
    client_expect_end(&client);
    client_close(&client);

    client_connect(&client, &server);
    client_send(&client, "GET / HTTP/1.1\r\nHo");
    client_expect(&client, 408, "408: the request took too long to arrive");
    client_expect_end(&client);
    client_close(&client);

    client_connect(&client, &server);
    client_send(&client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nbod");
    client_expect(&client, 408, "408: the request took too long to arrive");
    client_expect_end(&client);
    client_close(&client);

    client_connect(&client, &server);
    client_send(&client, GET("/hello"));
    client_expect(&client, 200, "hello\n");
    client_expect_end(&client); /* idle */
    client_close(&client);

    client_connect(&client, &server);
    client_send(&client, GET("/hello"));
    client_expect(&client, 200, "hello\n");
    client_send(&client, "G");
    client_expect(&client, 408, NULL);
    client_close(&client);
    server_await_connections(&server, 0);
    server_stop(&server);
}

/* One byte now and then does not prolong a head's time. */
static void the_time_for_a_head_is_absolute(void **state)
{
    struct server server;
    struct client client;
    server_prepare(&server, *state);
    server.options.limits.head_timeout_ms = 200;
    server_run(&server);
    client_connect(&client, &server);
    client_send(&client, "GET /");
    struct timeval short_patience = {0, 5000};
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &short_patience, sizeof short_patience),
                     0);
    unsigned sent = 0;
    char byte;
    while (recv(client.fd, &byte, 1, MSG_PEEK) < 0 && sent < 4000) {
        client_send(&client, "a");
        sent++;
    }
    assert_in_range(sent, 1, 3999);
    client_expect(&client, 408, NULL);
    client_close(&client);
    server_stop(&server);
}

static void a_client_that_takes_too_little_is_cut(void **state)
{
    struct server server;
    struct client client;
    server_prepare(&server, *state);
    server.options.limits.download_window_ms = 50;
    server.options.limits.download_bytes_per_second_min = 1000000000;
    server_run(&server);
    for (unsigned i = 0; i < 2; i++) {
        client_connect(&client, &server);
        client_send(&client, i ? GET("/chunks/4000000001") : GET("/bytes/4000000001"));
        struct finished finished = server_await_finished(&server, i + 1); /* nothing is read */
        assert_false(finished.complete);
        client_close(&client);
    }
    server_await_connections(&server, 0);
    server_stop(&server);
}

static void a_slow_source_is_not_the_clients_fault(void **state)
{
    struct server server;
    struct client client, clock;
    struct response response;
    server_prepare(&server, *state);
    server.options.limits.download_window_ms = 10;
    server.options.limits.download_bytes_per_second_min = 1000000000;
    server.options.limits.head_timeout_ms = 100;
    server_run(&server);
    client_connect(&client, &server);
    client_send(&client, GET("/wait"));
    client_receive(&client, &response, false);
    response_release(&response);
    client_connect(&clock, &server); /* ends after ten windows */
    client_expect_end(&clock);
    client_close(&clock);
    server_bring(&server, "late", true);
    struct buffer body = BUFFER_INIT;
    assert_true(client_read_chunks(&client, &body));
    assert_string_equal(buffer_text(&body), "late");
    buffer_release(&body);
    client_close(&client);
    server_stop(&server);
}

/* ---- limits -------------------------------------------------------------------------------------------- */

static void connections_over_a_limit_are_told_so(void **state)
{
    for (unsigned per_address = 0; per_address < 2; per_address++) {
        struct server server;
        struct client clients[2], refused;
        server_prepare(&server, *state);
        server.options.count = 2; /* the limits count over all reactors */
        if (per_address)
            server.options.limits.connections_per_address_max = 2;
        else
            server.options.limits.connections_max = 2;
        server_run(&server);
        for (size_t i = 0; i < 2; i++) {
            client_connect(&clients[i], &server);
            client_send(&clients[i], GET("/hello"));
            client_expect(&clients[i], 200, "hello\n");
        }
        client_connect_plain(&refused, &server);
        if (!server.tls) {
            struct response response;
            client_send(&refused, GET("/hello"));
            client_receive(&refused, &response, true);
            assert_int_equal(response.status, 503);
            assert_string_not_equal(response_value(&response, "Retry-After"), "absent");
            response_release(&response);
        }
        client_expect_end(&refused);
        client_close(&refused);
        assert_int_equal(reactors_stats(server.reactors).refused, 1);
        /* There is room again when one has gone. */
        client_close(&clients[0]);
        server_await_connections(&server, 1);
        client_connect(&clients[0], &server);
        client_send(&clients[0], GET("/hello"));
        client_expect(&clients[0], 200, "hello\n");
        client_close(&clients[0]);
        client_close(&clients[1]);
        server_stop(&server);
    }
}

static void without_file_descriptors_the_listener_pauses(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);
    client = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(client.fd >= 0);
    struct timeval patience = {PATIENCE_SECONDS, 0};
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    /* From here on no descriptor can be had in this process. */
    struct rlimit before, none;
    int next = dup(0);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int connected = connect(client.fd, (struct sockaddr *)&address, sizeof address);
    struct timespec begun, now, end = patience_end();
    clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (reactors_stats(server.reactors).accept_pauses < 3 && now.tv_sec < end.tv_sec);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(connected, 0);
    assert_true(reactors_stats(server.reactors).accept_pauses >= 3);
    /* Three pauses, and not one spin between them: 100 ms each, from the first on. */
    assert_true((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 >= 190);
    client_send(&client, GET("/hello"));
    client_expect(&client, 200, "hello\n");
    client_close(&client);
    server_stop(&server);
}

/* ---- draining ------------------------------------------------------------------------------------------ */

struct drain {
    pthread_t thread;
    struct server *server;
    unsigned grace_ms;
};

static void *drain_run(void *argument)
{
    struct drain *drain = argument;
    reactors_drain(drain->server->reactors, drain->grace_ms);
    return NULL;
}

static void drain_begin(struct drain *drain, struct server *server, unsigned grace_ms)
{
    *drain = (struct drain){.server = server, .grace_ms = grace_ms};
    assert_int_equal(pthread_create(&drain->thread, NULL, drain_run, drain), 0);
}

static void draining_lets_requests_finish(void **state)
{
    struct server server;
    struct client idle, held, waiting, late;
    struct response response;
    struct drain drain;
    server_start(&server, state);
    client_connect(&idle, &server);
    client_send(&idle, GET("/hello"));
    client_expect(&idle, 200, "hello\n");
    client_connect(&held, &server);
    client_send(&held, GET("/held") GET("/hello"));
    server_await_held(&server);
    client_connect(&waiting, &server);
    client_send(&waiting, GET("/wait"));
    client_receive(&waiting, &response, false);
    response_release(&response);

    drain_begin(&drain, &server, PATIENCE_SECONDS * 1000);
    client_expect_end(&idle); /* so it has begun */
    client_close(&idle);
    late = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(late.fd, (struct sockaddr *)&address, sizeof address), -1);
    assert_int_equal(errno, ECONNREFUSED);
    client_close(&late);

    server_release(&server, "released");
    client_receive(&held, &response, true);
    assert_string_equal(buffer_text(&response.body), "released");
    assert_string_equal(response_value(&response, "Connection"), "close");
    response_release(&response);
    client_expect_end(&held); /* the pipelined one is not begun */
    client_close(&held);

    server_bring(&server, "end", true);
    struct buffer body = BUFFER_INIT;
    assert_true(client_read_chunks(&waiting, &body));
    assert_string_equal(buffer_text(&body), "end");
    buffer_release(&body);
    client_expect_end(&waiting);
    client_close(&waiting);
    assert_int_equal(pthread_join(drain.thread, NULL), 0);
    assert_int_equal(reactors_stats(server.reactors).connections, 0);
    server_stop(&server);
}

static void draining_cuts_what_outlasts_its_grace(void **state)
{
    struct server server;
    struct client held, stalled, fresh;
    server_start(&server, state);
    client_connect(&held, &server);
    client_send(&held, GET("/held"));
    server_await_held(&server);
    client_connect(&stalled, &server);
    client_send(&stalled, GET("/bytes/4000000001"));
    assert_true(client_await(&stalled, 1000));
    client_connect(&fresh, &server);
    server_await_connections(&server, 3);
    reactors_drain(server.reactors, 50);
    assert_int_equal(reactors_stats(server.reactors).connections, 0);
    struct finished finished = server_await_finished(&server, 1);
    assert_string_equal(finished.path, "/bytes/4000000001");
    assert_false(finished.complete);
    client_expect_end(&held);
    /* The handler still has its exchange, and stopping waits for it. */
    server_release(&server, "to nobody");
    client_close(&held);
    client_close(&stalled);
    client_close(&fresh);
    struct finished last;
    last = server_await_finished(&server, 2);
    assert_string_equal(last.path, "/held");
    assert_false(last.complete);
    server_stop(&server);
}

static void a_request_that_came_before_the_drain_is_answered(void **state)
{
    struct server server;
    struct client client;
    struct drain drain;
    server_start(&server, state);
    client_connect(&client, &server); /* has sent nothing yet */
    if (server.tls) {
        /* The handshake is done on the server's side, too. */
        server_await_connections(&server, 1);
    }
    client_send(&client, "GET /hello HTTP/1.1\r\n");
    drain_begin(&drain, &server, PATIENCE_SECONDS * 1000);
    client_send(&client, "Host: h\r\n\r\n");
    client_expect(&client, 200, "hello\n");
    client_expect_end(&client);
    client_close(&client);
    assert_int_equal(pthread_join(drain.thread, NULL), 0);
    server_stop(&server);
}

/* ---- listening, several reactors ----------------------------------------------------------------------- */

static void reactors_share_one_port(void **state)
{
    enum { CLIENTS = 40 };
    struct server server;
    struct client clients[CLIENTS];
    server_prepare(&server, *state);
    server.options.count = 3;
    server_run(&server);
    for (size_t i = 0; i < CLIENTS; i++)
        client_connect(&clients[i], &server);
    for (size_t i = 0; i < CLIENTS; i++) {
        client_send(&clients[i], GET("/hello"));
        client_expect(&clients[i], 200, "hello\n");
    }
    assert_int_equal(reactors_stats(server.reactors).accepted, CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    server_stop(&server);
}

static void addresses_to_listen_on_are_checked(void **state)
{
    static const struct {
        const char *listen;
        enum status status;
    } rows[] = {
        {"127.0.0.1:0", STATUS_OK}, {"[::1]:0", STATUS_OK},        {"127.0.0.1", STATUS_INVALID},
        {"", STATUS_INVALID},       {":8443", STATUS_INVALID},     {"::1:8443", STATUS_INVALID},
        {"[::1]", STATUS_INVALID},  {"[::1]8443", STATUS_INVALID}, {"127.0.0.1:x", STATUS_INVALID},
        {"192.0.2.1:0", STATUS_IO},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct server server;
        struct error error;
        server_prepare(&server, *state);
        server.options.listen = rows[i].listen;
        enum status status = reactors_start(&server.options, &server.reactors, &error);
        assert_int_equal(status, rows[i].status);
        if (status == STATUS_OK)
            assert_int_equal(
                strncmp(reactors_address(server.reactors), rows[i].listen, strlen(rows[i].listen) - 1), 0);
        else
            assert_non_null(strstr(error.text, "listen on"));
        server_stop(&server);
    }
}

static void a_port_that_is_taken_is_refused(void **state)
{
    struct server first, second;
    struct error error;
    server_start(&first, state);
    server_prepare(&second, *state);
    second.options.listen = reactors_address(first.reactors);
    assert_int_equal(reactors_start(&second.options, &second.reactors, &error), STATUS_IO);
    assert_non_null(strstr(error.text, "Address already in use"));
    server_stop(&second);
    server_stop(&first);
}

/* ---- TLS ----------------------------------------------------------------------------------------------- */

static void no_tls_on_the_tls_port_gets_an_answer_that_helps(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);

    client_connect_plain(&client, &server);
    client_send(&client, GET("/hello"));
    client_expect(&client, 400, "400: this port speaks HTTPS: use a URL that begins with https://");
    client_expect_end(&client);
    client_close(&client);

    client_connect_plain(&client, &server);
    client_send(&client, "\x01\x02\x03garbage of all kinds\r\n\r\n");
    client_expect_end(&client);
    client_close(&client);

    client_connect_plain(&client, &server);
    client_send_bytes(&client, SLICE_LITERAL("\x16\x03\x01\x00\x05junk!"));
    assert_true(client_read(&client));
    assert_int_equal(client.input.data[0], 0x15); /* an alert */
    buffer_reset(&client.input);
    client_expect_end(&client);
    client_close(&client);

    client_connect_plain(&client, &server); /* goes without a word */
    client_close(&client);
    client_connect_plain(&client, &server);
    client_send(&client, "\x16\x03\x01");
    client_reset(&client);
    server_await_connections(&server, 0);
    server_stop(&server);
}

static void a_tls_hello_on_the_plain_port_is_refused_at_once(void **state)
{
    struct server server;
    struct client client;
    server_start(&server, state);
    client_connect(&client, &server);
    client_send_bytes(&client, SLICE_LITERAL("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"));
    client_expect(&client, 400, "400: this is not an HTTP request");
    client_expect_end(&client);
    client_close(&client);
    server_stop(&server);
}

static void a_handshake_that_stalls_times_out(void **state)
{
    struct server server;
    struct client client;
    server_prepare(&server, *state);
    server.options.limits.handshake_timeout_ms = 50;
    server_run(&server);
    client_connect_plain(&client, &server);
    client_send(&client, "\x16\x03\x01");
    client_expect_end(&client);
    client_close(&client);
    server_stop(&server);
}

static void versions_and_protocols_are_negotiated(void **state)
{
    static const struct {
        int version;
        bool connects;
    } rows[] = {{TLS1_1_VERSION, false}, {TLS1_2_VERSION, true}, {TLS1_3_VERSION, true}};
    struct server server;
    server_start(&server, state);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client client;
        client_connect_plain(&client, &server);
        client.context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_security_level(client.context, 0); /* so that 1.1 is offered */
        SSL_CTX_set_min_proto_version(client.context, rows[i].version);
        SSL_CTX_set_max_proto_version(client.context, rows[i].version);
        assert_int_equal(
            SSL_CTX_set_alpn_protos(client.context, (const unsigned char *)"\x02h2\x08http/1.1", 12), 0);
        client.ssl = SSL_new(client.context);
        SSL_set_fd(client.ssl, client.fd);
        assert_int_equal(SSL_connect(client.ssl) == 1, rows[i].connects);
        ERR_clear_error();
        if (rows[i].connects) {
            const unsigned char *protocol;
            unsigned size;
            SSL_get0_alpn_selected(client.ssl, &protocol, &size);
            assert_int_equal(size, 8);
            assert_memory_equal(protocol, "http/1.1", 8);
            client_send(&client, GET("/hello"));
            client_expect(&client, 200, "hello\n");
            /* A renegotiation, or in 1.3 a change of keys in the middle. */
            if (rows[i].version == TLS1_3_VERSION)
                assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
            else
                assert_int_equal(SSL_get_secure_renegotiation_support(client.ssl), 1);
            client_send(&client, GET("/bytes/300001"));
            client_expect(&client, 200, NULL);
        }
        client_close(&client);
    }
    server_stop(&server);
}

static void sessions_are_resumed_by_tickets(void **state)
{
    struct server server;
    struct client first, second;
    server_start(&server, state);
    client_connect(&first, &server);
    client_send(&first, GET("/hello"));
    client_expect(&first, 200, "hello\n");
    SSL_SESSION *session = SSL_get1_session(first.ssl);
    assert_non_null(session);
    SSL_shutdown(first.ssl); /* or the session would not be resumed */
    client_close(&first);
    client_connect_plain(&second, &server);
    second.context = SSL_CTX_new(TLS_client_method());
    second.ssl = SSL_new(second.context);
    SSL_set_fd(second.ssl, second.fd);
    SSL_set_session(second.ssl, session);
    assert_int_equal(SSL_connect(second.ssl), 1);
    assert_true(SSL_session_reused(second.ssl));
    client_send(&second, GET("/hello"));
    client_expect(&second, 200, "hello\n");
    client_close(&second);
    SSL_SESSION_free(session);
    server_stop(&server);
}

static void new_connections_get_the_new_certificate(void **state)
{
    struct server server;
    struct client before, after;
    struct tls_context *next;
    struct error error;
    char certificate[300], key[300];
    server_start(&server, state);
    client_connect(&before, &server);
    client_send(&before, GET("/hello"));
    client_expect(&before, 200, "hello\n");
    snprintf(certificate, sizeof certificate, "%s/next-cert.pem", directory);
    snprintf(key, sizeof key, "%s/next-key.pem", directory);
    assert_int_equal(tls_context_open(certificate, key, &next, &error), STATUS_OK);
    reactors_set_tls(server.reactors, next);
    client_connect(&after, &server);
    char subject[100];
    X509 *shown = SSL_get1_peer_certificate(after.ssl);
    X509_NAME_oneline(X509_get_subject_name(shown), subject, sizeof subject);
    assert_string_equal(subject, "/CN=next-");
    X509_free(shown);
    client_send(&before, GET("/hello"));
    client_expect(&before, 200, "hello\n");
    client_close(&before);
    client_close(&after);
    server_stop(&server);
    tls_context_close(next);
}

/* A break is told from an end: without close_notify a client knows that something is missing. */
static void only_a_complete_reply_is_followed_by_close_notify(void **state)
{
    struct server server;
    server_start(&server, state);
    for (unsigned fails = 0; fails < 2; fails++) {
        struct client client;
        client_connect(&client, &server);
        client_send(&client, fails ? "GET /failing/100 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                                   : "GET /chunks/100 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        while (client_read(&client))
            ;
        assert_int_equal((SSL_get_shutdown(client.ssl) & SSL_RECEIVED_SHUTDOWN) != 0, !fails);
        ERR_clear_error();
        client_close(&client);
    }
    server_stop(&server);
}

static void certificates_and_keys_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *certificate, *key;
        mode_t mode;
        const char *error;
    } rows[] = {
        {"cert.pem", "key.pem", 0600, NULL},
        {"cert.pem", "key.pem", 0640, NULL},
        {"cert.pem", "key.pem", 0644, "may be read by everybody (mode 0644)"},
        {"cert.pem", "next-key.pem", 0600, "does not go with the key"},
        {"cert.pem", "cert.pem", 0600, "cannot read the key"},
        {"key.pem", "key.pem", 0600, "cannot read the certificate"},
        {"none.pem", "key.pem", 0600, "cannot read the certificate"},
        {"cert.pem", "none.pem", 0600, "cannot open the key"},
        {"cert.pem", "locked-key.pem", 0600, "without a pass phrase"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char certificate[300], key[300];
        struct tls_context *context = NULL;
        struct error error = {STATUS_OK, ""};
        snprintf(certificate, sizeof certificate, "%s/%s", directory, rows[i].certificate);
        snprintf(key, sizeof key, "%s/%s", directory, rows[i].key);
        (void)chmod(key, rows[i].mode);
        enum status status = tls_context_open(certificate, key, &context, &error);
        assert_int_equal(status != STATUS_OK, rows[i].error != NULL);
        if (rows[i].error && !strstr(error.text, rows[i].error))
            fail_msg("row %zu: %s", i, error.text);
        tls_context_close(context);
        (void)chmod(key, 0600);
    }
}

/* ----------------------------------------------------------------------------------------------------------
 */

/* Certificates by the openssl program, in a directory of our own. */
static int set_up(void **state)
{
    (void)state;
    const char *temporary = getenv("TMPDIR");
    char command[2000];
    signal(SIGPIPE, SIG_IGN); /* the clients' own writes */
    snprintf(directory, sizeof directory, "%s/connection_test.XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(directory))
        return -1;
    snprintf(
        command, sizeof command,
        "cd '%s' && exec 2>log &&"
        "for name in '' next-; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        " -keyout ${name}key.pem -out ${name}cert.pem -days 2 -subj /CN=${name:-first}"
        " -addext subjectAltName=IP:127.0.0.1 || exit 1; done &&"
        "openssl pkey -in key.pem -aes128 -passout pass:secret -out locked-key.pem && chmod 600 *key.pem",
        directory);
    int result = system(command);
    if (result != 0)
        print_error("openssl could not make the certificates: see %s/log\n", directory);
    return result;
}

static int tear_down(void **state)
{
    (void)state;
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

#define PLAIN(test)                                                                                          \
    {                                                                                                        \
#test, test, NULL, NULL, &plain                                                                      \
    }
#define TLS(test)                                                                                            \
    {                                                                                                        \
#test, test, NULL, NULL, &over_tls                                                                   \
    }
#define BOTH(test)                                                                                           \
    PLAIN(test),                                                                                             \
    {                                                                                                        \
#test "_over_tls", test, NULL, NULL, &over_tls                                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(requests_follow_each_other_on_one_connection),
        BOTH(a_request_reaches_the_handler_as_it_was_sent),
        BOTH(pipelined_requests_are_answered_in_order),
        BOTH(pipelined_requests_wait_for_a_held_one),
        BOTH(a_request_may_come_byte_by_byte),
        BOTH(every_response_has_the_common_fields),
        BOTH(a_well_formed_request_id_is_kept),
        BOTH(head_gets_the_fields_and_no_body),
        BOTH(replies_without_content_have_no_body_and_no_length),
        BOTH(sources_are_sent_whole),
        BOTH(a_source_may_wait_for_another_thread),
        BOTH(a_body_that_cannot_be_completed_never_looks_complete),
        BOTH(http_1_0_closes_unless_asked_and_never_gets_chunks),
        BOTH(connection_close_is_obeyed_from_both_sides),
        BOTH(a_client_that_waits_for_leave_gets_it),
        BOTH(bodies_are_bounded),
        BOTH(a_refusal_is_seen_by_a_client_that_is_still_sending),
        BOTH(faults_in_a_request_are_answered_and_end_the_connection),
        BOTH(heads_and_targets_are_bounded),
        BOTH(a_client_may_close_its_side_and_still_gets_its_answers),
        BOTH(a_client_that_goes_while_its_request_is_handled_costs_nothing),
        BOTH(a_download_that_is_broken_off_closes_its_source),
        BOTH(a_client_that_goes_closes_a_source_that_waits),
        BOTH(requests_that_do_not_arrive_time_out),
        PLAIN(the_time_for_a_head_is_absolute),
        BOTH(a_client_that_takes_too_little_is_cut),
        BOTH(a_slow_source_is_not_the_clients_fault),
        BOTH(connections_over_a_limit_are_told_so),
        PLAIN(without_file_descriptors_the_listener_pauses),
        BOTH(draining_lets_requests_finish),
        BOTH(draining_cuts_what_outlasts_its_grace),
        BOTH(a_request_that_came_before_the_drain_is_answered),
        BOTH(reactors_share_one_port),
        PLAIN(addresses_to_listen_on_are_checked),
        PLAIN(a_port_that_is_taken_is_refused),
        PLAIN(a_tls_hello_on_the_plain_port_is_refused_at_once),
        TLS(no_tls_on_the_tls_port_gets_an_answer_that_helps),
        TLS(a_handshake_that_stalls_times_out),
        TLS(versions_and_protocols_are_negotiated),
        TLS(sessions_are_resumed_by_tickets),
        TLS(new_connections_get_the_new_certificate),
        TLS(only_a_complete_reply_is_followed_by_close_notify),
        TLS(certificates_and_keys_are_checked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
