#include "tests/support/http_fixture.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct http_mode http_over_plain = {false, false}, http_over_tls = {true, false},
                 http_over_plain_small = {false, true}, http_over_tls_small = {true, true};

static char directory[256];

/* ---- the server ---------------------------------------------------------------------------------------- */

static char pattern_byte(uint64_t offset)
{
    return (char)('a' + offset % 23);
}

/* /bytes/N, /chunks/N: N bytes; the variants below misbehave. */
struct byte_source {
    struct body_source source;
    struct test_server *server;
    uint64_t at, size;
    bool fails;
    char chunk[100000];
};

static void source_count(struct test_server *server, int step)
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
    struct test_server *server;
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
    struct test_server *server;
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
    struct test_server *server = exchange->service;
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
    struct test_server *server = exchange->service;
    pthread_mutex_lock(&server->lock);
    struct test_finished *row = &server->finished[server->finished_count % TEST_FINISHED_KEPT];
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
    struct test_server *server = service;
    __atomic_fetch_add(&server->locals, 1, __ATOMIC_RELAXED);
    return &server->locals;
}

static void local_free(void *local)
{
    __atomic_fetch_sub((unsigned *)local, 1, __ATOMIC_RELAXED);
}

const char *http_fixture_path(const char *name, char *target, size_t target_size)
{
    snprintf(target, target_size, "%s/%s", directory, name);
    return target;
}

void test_server_prepare(struct test_server *server, const struct http_mode *mode)
{
    *server = (struct test_server){0};
    assert_int_equal(pthread_mutex_init(&server->lock, NULL), 0);
    pthread_condattr_t monotonic;
    assert_int_equal(pthread_condattr_init(&monotonic), 0);
    assert_int_equal(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC), 0);
    assert_int_equal(pthread_cond_init(&server->changed, &monotonic), 0);
    if (mode->is_tls) {
        char certificate[300], key[300];
        struct error error;
        if (tls_context_open(http_fixture_path("cert.pem", certificate, sizeof certificate),
                             http_fixture_path("key.pem", key, sizeof key), &server->tls,
                             &error) != STATUS_OK)
            fail_msg("%s", error.text);
    }
    server->has_small_buffers = mode->has_small_buffers;
    server->options = (struct reactors_options){
        .count = 1,
        .listen = "127.0.0.1:0",
        .tls = server->tls,
        .limits = {.head_timeout_ms = HTTP_FIXTURE_PATIENCE_SECONDS * 1000,
                   .body_timeout_ms = HTTP_FIXTURE_PATIENCE_SECONDS * 1000,
                   .idle_timeout_ms = HTTP_FIXTURE_PATIENCE_SECONDS * 1000,
                   .handshake_timeout_ms = HTTP_FIXTURE_PATIENCE_SECONDS * 1000,
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

/* Accepted sockets inherit it from their listener, which is one of this process's descriptors. */
static void shrink_send_buffers(unsigned port)
{
    unsigned shrunk = 0;
    for (int fd = 3; fd < 200; fd++) {
        struct sockaddr_in address;
        socklen_t size = sizeof address, flag_size = sizeof(int);
        int listens = 0, least = 1; /* the kernel makes 4.5 KB of it */
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &flag_size) != 0 || !listens ||
            getsockname(fd, (struct sockaddr *)&address, &size) != 0 || ntohs(address.sin_port) != port)
            continue;
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
        shrunk++;
    }
    assert_true(shrunk > 0);
}

void test_server_run(struct test_server *server)
{
    struct error error;
    if (reactors_start(&server->options, &server->reactors, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    const char *address = reactors_address(server->reactors);
    server->port = (unsigned)atoi(strrchr(address, ':') + 1);
    assert_int_not_equal(server->port, 0);
    if (server->has_small_buffers)
        shrink_send_buffers(server->port);
}

void test_server_start(struct test_server *server, const struct http_mode *mode)
{
    test_server_prepare(server, mode);
    test_server_run(server);
}

void test_server_stop(struct test_server *server)
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
    end.tv_sec += HTTP_FIXTURE_PATIENCE_SECONDS;
    return end;
}

/* Waits until the server has told the log about `count` exchanges in all, and returns the last. */
struct test_finished test_server_await_finished(struct test_server *server, unsigned count)
{
    struct timespec end = patience_end();
    pthread_mutex_lock(&server->lock);
    while (server->finished_count < count)
        if (pthread_cond_timedwait(&server->changed, &server->lock, &end) != 0)
            break;
    unsigned finished_count = server->finished_count;
    struct test_finished last = server->finished[(count - 1) % TEST_FINISHED_KEPT];
    pthread_mutex_unlock(&server->lock);
    assert_int_equal(finished_count, count);
    return last;
}

void test_server_await_held(struct test_server *server)
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

static unsigned count_accepted(const struct test_server *server)
{
    return (unsigned)reactors_stats(server->reactors).accepted;
}

static unsigned count_connections(const struct test_server *server)
{
    return reactors_stats(server->reactors).connections;
}

static void await_count(const struct test_server *server, unsigned (*get)(const struct test_server *server),
                        unsigned count)
{
    int64_t end_us = clock_monotonic_us() + HTTP_FIXTURE_PATIENCE_SECONDS * US_PER_SECOND;
    while (get(server) != count && clock_monotonic_us() < end_us)
        sched_yield();
    assert_int_equal(get(server), count);
}

void test_server_await_accepted(struct test_server *server, unsigned count)
{
    await_count(server, count_accepted, count);
}

void test_server_await_connections(struct test_server *server, unsigned count)
{
    await_count(server, count_connections, count);
}

static void post(struct test_server *server, struct exchange *exchange,
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
void test_server_release(struct test_server *server, const char *text)
{
    test_server_await_held(server);
    post(server, server->held, release_deliver, text, false);
}

void test_server_bring(struct test_server *server, const char *text, bool ends)
{
    pthread_mutex_lock(&server->lock);
    struct exchange *exchange = server->waits ? server->waits->exchange : NULL;
    pthread_mutex_unlock(&server->lock);
    assert_non_null(exchange);
    post(server, exchange, chunk_deliver, text, ends);
}

/* ---- the client ---------------------------------------------------------------------------------------- */

static void client_init(struct test_client *client, int family)
{
    *client = (struct test_client){.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(client->fd >= 0);
    struct timeval patience = {HTTP_FIXTURE_PATIENCE_SECONDS, 0};
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
}

void test_client_init(struct test_client *client)
{
    client_init(client, AF_INET);
}

int test_client_try_connect(struct test_client *client, const struct test_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 address_v6 = {.sin6_family = AF_INET6,
                                      .sin6_port = htons((uint16_t)server->port),
                                      .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    return server->is_v6 ? connect(client->fd, (struct sockaddr *)&address_v6, sizeof address_v6)
                         : connect(client->fd, (struct sockaddr *)&address, sizeof address);
}

void test_client_connect_plain(struct test_client *client, const struct test_server *server)
{
    client_init(client, server->is_v6 ? AF_INET6 : AF_INET);
    assert_int_equal(test_client_try_connect(client, server), 0);
}

void test_client_connect(struct test_client *client, const struct test_server *server)
{
    test_client_connect_plain(client, server);
    if (!server->tls)
        return;
    client->context = SSL_CTX_new(TLS_client_method());
    client->ssl = SSL_new(client->context);
    assert_non_null(client->ssl);
    SSL_set_fd(client->ssl, client->fd);
    assert_int_equal(SSL_connect(client->ssl), 1);
}

void test_client_close(struct test_client *client)
{
    SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    close(client->fd);
    buffer_release(&client->input);
}

/* As when the client's machine gives up: a reset. */
void test_client_reset(struct test_client *client)
{
    struct linger now = {1, 0};
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    test_client_close(client);
}

void test_client_send_bytes(struct test_client *client, struct slice bytes)
{
    if (bytes.size == 0)
        return;
    if (client->ssl)
        assert_int_equal(SSL_write(client->ssl, bytes.data, (int)bytes.size), (int)bytes.size);
    else
        assert_int_equal(send(client->fd, bytes.data, bytes.size, MSG_NOSIGNAL), (ssize_t)bytes.size);
}

void test_client_send(struct test_client *client, const char *text)
{
    test_client_send_bytes(client, slice_from_text(text));
}

/* Ends our side and still reads. */
void test_client_half_close(struct test_client *client)
{
    if (client->ssl)
        assert_true(SSL_shutdown(client->ssl) >= 0);
    assert_int_equal(shutdown(client->fd, SHUT_WR), 0);
}

/* False at the end, however it came. */
bool test_client_read(struct test_client *client)
{
    char *room = buffer_reserve(&client->input, 65536);
    ssize_t got = client->ssl ? SSL_read(client->ssl, room, 65536) : recv(client->fd, room, 65536, 0);
    if (got > 0)
        client->input.size += (size_t)got;
    else if (!client->ssl)
        assert_true(got == 0 || errno == ECONNRESET || errno == EPIPE); /* not the end of patience */
    return got > 0;
}

void test_client_expect_end(struct test_client *client)
{
    assert_int_equal(client->input.size, 0);
    assert_false(test_client_read(client));
}

void test_client_drop(struct test_client *client, size_t size)
{
    struct buffer *input = &client->input;
    if (size)
        memmove(input->data, input->data + size, input->size - size);
    input->size -= size;
}

static bool response_field(const struct test_response *response, const char *name, char *value,
                           size_t value_size)
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

const char *test_response_value(const struct test_response *response, const char *name)
{
    static char value[256];
    return response_field(response, name, value, sizeof value) ? value : "absent";
}

/* Reads until `size` bytes are there. */
bool test_client_await(struct test_client *client, size_t size)
{
    while (client->input.size < size)
        if (!test_client_read(client))
            return false;
    return true;
}

bool test_client_read_chunks(struct test_client *client, struct buffer *body)
{
    for (;;) {
        const char *newline;
        while (!client->input.size || !(newline = memchr(client->input.data, '\n', client->input.size)))
            if (!test_client_read(client))
                return false;
        size_t line = (size_t)(newline - client->input.data) + 1;
        size_t size = strtoull(client->input.data, NULL, 16);
        if (!test_client_await(client, line + size + 2))
            return false;
        buffer_append(body, client->input.data + line, size);
        assert_memory_equal(client->input.data + line + size, "\r\n", 2);
        test_client_drop(client, line + size + 2);
        if (size == 0)
            return true;
    }
}

/* Reads one response. With `has_body` false it has none whatever its head says. */
void test_client_receive(struct test_client *client, struct test_response *response, bool has_body)
{
    *response = (struct test_response){0};
    char *end;
    while (!client->input.size || !(end = memmem(client->input.data, client->input.size, "\r\n\r\n", 4)))
        if (!test_client_read(client))
            fail_msg("the connection ended before a response: \"%s\"", buffer_text(&client->input));
    size_t size = (size_t)(end - client->input.data);
    buffer_append(&response->head, client->input.data, size + 2);
    test_client_drop(client, size + 4);
    assert_int_equal(sscanf(buffer_text(&response->head), "HTTP/1.1 %u ", &response->status), 1);
    response->complete = true;
    char value[64];
    if (!has_body)
        return;
    if (response_field(response, "Transfer-Encoding", value, sizeof value)) {
        assert_string_equal(value, "chunked");
        response->complete = test_client_read_chunks(client, &response->body);
    } else if (response_field(response, "Content-Length", value, sizeof value)) {
        size_t length = strtoull(value, NULL, 10);
        response->complete = test_client_await(client, length);
        size_t there = response->complete ? length : client->input.size;
        buffer_append(&response->body, client->input.data, there);
        test_client_drop(client, there);
    }
}

void test_response_release(struct test_response *response)
{
    buffer_release(&response->head);
    buffer_release(&response->body);
}

/* One response with this status and body; NULL: any body. */
void test_client_expect(struct test_client *client, unsigned status, const char *body)
{
    struct test_response response;
    test_client_receive(client, &response, true);
    assert_true(response.complete);
    assert_int_equal(response.status, status);
    if (body)
        assert_string_equal(buffer_text(&response.body), body);
    test_response_release(&response);
}

void test_expect_pattern(const struct buffer *body, uint64_t size)
{
    assert_int_equal(body->size, size);
    for (uint64_t i = 0; i < size; i++)
        if (body->data[i] != pattern_byte(i))
            fail_msg("byte %llu is %d", (unsigned long long)i, body->data[i]);
}

/* ---- the group ------------------------------------------------------------------------------------------
 */

/* Certificates by the openssl program, in a directory of our own. */
int http_fixture_set_up(void **state)
{
    (void)state;
    const char *temporary = getenv("TMPDIR");
    char command[2000];
    signal(SIGPIPE, SIG_IGN); /* the clients' own writes */
    snprintf(directory, sizeof directory, "%s/http_fixture.XXXXXX", temporary ? temporary : "/tmp");
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

int http_fixture_tear_down(void **state)
{
    (void)state;
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}
