/*
 * Reactors in the test's own process with a handler made for tests, and clients on raw sockets. Nothing
 * sleeps: a test waits for bytes, for the end of a connection, or for what the server reports. What goes
 * wrong fails the running cmocka test; after HTTP_FIXTURE_PATIENCE_SECONDS waiting has gone wrong.
 *
 *     struct test_server server;
 *     struct test_client client;
 *     test_server_start(&server, *state);                 state: &http_over_plain or &http_over_tls
 *     test_client_connect(&client, &server);
 *     test_client_send(&client, GET("/hello"));
 *     test_client_expect(&client, 200, "hello\n");
 *     test_client_close(&client);
 *     test_server_stop(&server);
 *
 * What the handler answers: see http_fixture.c, handle().
 *
 * Threading: one thread at a time, but for what runs on the reactors.
 */
#ifndef TESTS_SUPPORT_HTTP_FIXTURE_H
#define TESTS_SUPPORT_HTTP_FIXTURE_H

#include "codec/base/buffer.h"
#include "server/reactor.h"

#include <openssl/ssl.h>
#include <pthread.h>

#define HTTP_FIXTURE_PATIENCE_SECONDS 30

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

struct http_mode {
    bool is_tls;
    bool has_small_buffers; /* the server's sockets take a few KB at a time */
};
extern struct http_mode http_over_plain, http_over_tls, http_over_plain_small, http_over_tls_small;

/* Rows of a table of tests: plain, over TLS, both; both also with small buffers. */
#define PLAIN(test)                                                                                          \
    {                                                                                                        \
#test, test, NULL, NULL, &http_over_plain                                                            \
    }
#define TLS(test)                                                                                            \
    {                                                                                                        \
#test, test, NULL, NULL, &http_over_tls                                                              \
    }
#define BOTH(test)                                                                                           \
    PLAIN(test),                                                                                             \
    {                                                                                                        \
#test "_over_tls", test, NULL, NULL, &http_over_tls                                                  \
    }

#define BOTH_AND_SMALL(test)                                                                                 \
    BOTH(test), {#test "_with_small_buffers", test, NULL, NULL, &http_over_plain_small},                     \
    {                                                                                                        \
#test "_over_tls_with_small_buffers", test, NULL, NULL, &http_over_tls_small                         \
    }

/* Group fixtures: certificates by the openssl program in a directory of our own (cert.pem, key.pem;
 * next-cert.pem, next-key.pem with CN=next; locked-key.pem). */
int http_fixture_set_up(void **state);
int http_fixture_tear_down(void **state);
/* A file there. */
const char *http_fixture_path(const char *name, char *target, size_t target_size);

/* What `finished` was told. */
struct test_finished {
    char path[64];
    unsigned status;
    uint64_t bytes;
    bool complete;
};

#define TEST_FINISHED_KEPT 64

struct test_server {
    struct reactors_options options;
    struct reactors *reactors;
    struct tls_context *tls;
    unsigned port;
    bool is_v6; /* set by the test, with options.listen */
    bool has_small_buffers;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t changed;
    struct test_finished finished[TEST_FINISHED_KEPT];
    unsigned finished_count;
    unsigned sources_open;
    unsigned source_pulls;
    struct exchange *held;        /* by /held, until released */
    struct waiting_source *waits; /* of /wait */
    unsigned locals;              /* made and not freed */
};

/* Fills the options; a test may change them before test_server_run. */
void test_server_prepare(struct test_server *server, const struct http_mode *mode);
void test_server_run(struct test_server *server);
void test_server_start(struct test_server *server, const struct http_mode *mode);
void test_server_stop(struct test_server *server);

/* Waits until `count` exchanges in all are finished, and returns the last of them. */
struct test_finished test_server_await_finished(struct test_server *server, unsigned count);
void test_server_await_held(struct test_server *server);
/* Connections in all since the start, and those that are open. A client may be connected before he is
 * accepted. */
void test_server_await_accepted(struct test_server *server, unsigned count);
void test_server_await_connections(struct test_server *server, unsigned count);
/* Answers what /held holds, through the reactor's mailbox. */
void test_server_release(struct test_server *server, const char *text);
/* Gives /wait its next chunk, likewise. */
void test_server_bring(struct test_server *server, const char *text, bool ends);

/* What /bytes, /chunks and their like send. */
void test_expect_pattern(const struct buffer *body, uint64_t size);

struct test_client {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    struct buffer input;
};

/* A socket that is not connected. */
void test_client_init(struct test_client *client);
/* 0, or -1 with errno. */
int test_client_try_connect(struct test_client *client, const struct test_server *server);
/* Without TLS whatever the server speaks. */
void test_client_connect_plain(struct test_client *client, const struct test_server *server);
void test_client_connect(struct test_client *client, const struct test_server *server);
void test_client_close(struct test_client *client);
/* As when the client's machine gives up: with a reset. */
void test_client_reset(struct test_client *client);
/* Ends our side and still reads. */
void test_client_half_close(struct test_client *client);

void test_client_send(struct test_client *client, const char *text);
void test_client_send_bytes(struct test_client *client, struct slice bytes);

/* Appends to client->input. False at the end, however it came. */
bool test_client_read(struct test_client *client);
/* Reads until `size` bytes are there. */
bool test_client_await(struct test_client *client, size_t size);
void test_client_drop(struct test_client *client, size_t size);
void test_client_expect_end(struct test_client *client);
/* The rest of a chunked body; false if it was broken off. */
bool test_client_read_chunks(struct test_client *client, struct buffer *body);

struct test_response {
    unsigned status;
    struct buffer head; /* with the status line, without the empty line */
    struct buffer body; /* as decoded */
    bool complete;
};

/* With `has_body` false there is none whatever the head says. */
void test_client_receive(struct test_client *client, struct test_response *response, bool has_body);
/* "absent" without such a field; until the next call. */
const char *test_response_value(const struct test_response *response, const char *name);
void test_response_release(struct test_response *response);
/* One complete response with this status and body; NULL: any body. */
void test_client_expect(struct test_client *client, unsigned status, const char *body);

#endif
