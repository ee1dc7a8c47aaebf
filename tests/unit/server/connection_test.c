/*
 * Connections as a client sees them: requests, replies, bodies, clients that go. Most tests run twice, plain
 * and over TLS.
 */
#include "server/connection.h"

#include "codec/base/mem.h"
#include "tests/support/http_fixture.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

/* ---- requests and replies ------------------------------------------------------------------------------ */

static void requests_follow_each_other_on_one_connection(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    for (unsigned i = 0; i < 200; i++) {
        test_client_send(&client, GET("/hello"));
        test_client_expect(&client, 200, "hello\n");
    }
    struct reactors_stats stats = reactors_stats(server.reactors);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.requests, 200);
    test_client_close(&client);
    test_server_stop(&server);
}

static void a_request_reaches_the_handler_as_it_was_sent(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client,
                     "POST /echo?a=b HTTP/1.1\r\nX-Test: one\r\nHost: example:1\r\nContent-Length: 4\r\n"
                     "x-test:two\r\n\r\nbody");
    test_client_expect(&client, 200,
                       server.tls
                           ? "2 /echo?a=b host=example:1 peer=127.0.0.1 tls=1 test=one, two body=4:body"
                           : "2 /echo?a=b host=example:1 peer=127.0.0.1 tls=0 test=one, two body=4:body");
    test_client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    test_client_expect(&client, 200,
                       server.tls ? "2 /echo? host=h peer=127.0.0.1 tls=1 body=0:"
                                  : "2 /echo? host=h peer=127.0.0.1 tls=0 body=0:");
    test_client_close(&client);
    test_server_stop(&server);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    enum { REQUESTS = 500 };
    struct test_server server;
    struct test_client client;
    struct buffer requests = BUFFER_INIT;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    for (unsigned i = 0; i < REQUESTS; i++)
        buffer_appendf(&requests, "POST /%u HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n%03u", i, i);
    test_client_send_bytes(&client, buffer_slice(&requests));
    for (unsigned i = 0; i < REQUESTS; i++) {
        char expected[100];
        snprintf(expected, sizeof expected, "2 /%u? host=h peer=127.0.0.1 tls=%d body=3:%03u", i,
                 server.tls != NULL, i);
        test_client_expect(&client, 200, expected);
    }
    test_client_close(&client);
    buffer_release(&requests);
    test_server_stop(&server);
}

static void pipelined_requests_wait_for_a_held_one(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/held") GET("/hello"));
    test_server_release(&server, "released");
    test_client_expect(&client, 200, "released");
    test_client_expect(&client, 200, "hello\n");
    test_client_close(&client);
    test_server_stop(&server);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    int on = 1;
    assert_int_equal(setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof request - 1; i++)
            test_client_send_bytes(&client, slice_make(request + i, 1));
        test_client_expect(&client, 200,
                           server.tls ? "2 /echo? host=h peer=127.0.0.1 tls=1 body=5:abcde"
                                      : "2 /echo? host=h peer=127.0.0.1 tls=0 body=5:abcde");
    }
    test_client_close(&client);
    test_server_stop(&server);
}

static void every_response_has_the_common_fields(void **state)
{
    struct test_server server;
    struct test_client client;
    struct test_response response;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/hello"));
    test_client_receive(&client, &response, true);
    assert_string_equal(test_response_value(&response, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(test_response_value(&response, "Cache-Control"), "no-store");
    assert_string_equal(test_response_value(&response, "Strict-Transport-Security"),
                        server.tls ? "max-age=31536000" : "absent");
    assert_string_equal(test_response_value(&response, "Content-Length"), "6");
    assert_string_equal(test_response_value(&response, "Content-Type"), "text/plain");
    assert_string_equal(test_response_value(&response, "Connection"), "absent");
    const char *date = test_response_value(&response, "Date");
    assert_int_equal(strlen(date), 29);
    assert_string_equal(date + 25, " GMT");
    assert_int_equal(strspn(test_response_value(&response, "X-Request-Id"), "0123456789abcdef"), 32);
    test_response_release(&response);

    test_client_send(&client, GET("/cached"));
    test_client_receive(&client, &response, true);
    assert_string_equal(test_response_value(&response, "Cache-Control"), "max-age=60");
    test_response_release(&response);

    test_client_send(&client, "nonsense\r\n\r\n");
    test_client_receive(&client, &response, true);
    assert_int_equal(response.status, 400);
    assert_string_equal(test_response_value(&response, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(test_response_value(&response, "Connection"), "close");
    test_response_release(&response);
    test_client_expect_end(&client);
    test_client_close(&client);
    test_server_stop(&server);
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
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char request[256];
        struct test_response response;
        snprintf(request, sizeof request, "GET /hello HTTP/1.1\r\nHost: h\r\nX-Request-Id: %s\r\n\r\n",
                 ids[i].sent);
        test_client_send(&client, request);
        test_client_receive(&client, &response, true);
        assert_int_equal(strcmp(test_response_value(&response, "X-Request-Id"), ids[i].sent) == 0,
                         ids[i].kept);
        test_response_release(&response);
    }
    test_client_close(&client);
    test_server_stop(&server);
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
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct test_response response;
        test_client_send(&client, rows[i].request);
        test_client_receive(&client, &response, false);
        assert_int_equal(response.status, 200);
        assert_string_equal(test_response_value(&response, "Content-Length"), rows[i].length);
        assert_string_equal(test_response_value(&response, "Transfer-Encoding"), rows[i].coding);
        test_response_release(&response);
    }
    /* Nothing of a body came between. */
    test_client_send(&client, GET("/hello"));
    test_client_expect(&client, 200, "hello\n");
    assert_int_equal(test_server_await_finished(&server, 4).bytes, 6);
    assert_int_equal(server.source_pulls, 0);
    test_client_close(&client);
    test_server_stop(&server);
}

static void replies_without_content_have_no_body_and_no_length(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    for (unsigned status = 204; status <= 304; status += 100) {
        struct test_response response;
        test_client_send(&client, status == 204 ? GET("/status/204") : GET("/status/304"));
        test_client_receive(&client, &response, false);
        assert_int_equal(response.status, status);
        assert_string_equal(test_response_value(&response, "Content-Length"), "absent");
        test_response_release(&response);
    }
    test_client_send(&client, GET("/hello"));
    test_client_expect(&client, 200, "hello\n");
    test_client_close(&client);
    test_server_stop(&server);
}

static void sources_are_sent_whole(void **state)
{
    static const uint64_t sizes[] = {0, 1, 2, 16384, 99999, 100000, 100001, 5000000, 5000001};
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    unsigned count = 0;
    size_t size_count = sizeof sizes / sizeof *sizes - (server.has_small_buffers ? 2 : 0);
    for (size_t i = 0; i < size_count; i++) {
        for (unsigned chunked = 0; chunked < 2; chunked++) {
            char request[100];
            struct test_response response;
            snprintf(request, sizeof request, "GET /%s/%llu HTTP/1.1\r\nHost: h\r\n\r\n",
                     chunked ? "chunks" : "bytes", (unsigned long long)sizes[i]);
            test_client_send(&client, request);
            test_client_receive(&client, &response, true);
            assert_true(response.complete);
            test_expect_pattern(&response.body, sizes[i]);
            struct test_finished finished = test_server_await_finished(&server, ++count);
            assert_true(finished.complete);
            assert_int_equal(finished.bytes, sizes[i]);
            test_response_release(&response);
        }
    }
    test_client_close(&client);
    test_server_stop(&server);
}

static void a_source_may_wait_for_another_thread(void **state)
{
    struct test_server server;
    struct test_client client;
    struct test_response response;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/wait"));
    test_client_receive(&client, &response, false); /* the head comes at once */
    assert_string_equal(test_response_value(&response, "Transfer-Encoding"), "chunked");
    test_response_release(&response);
    test_server_bring(&server, "first", false);
    assert_true(test_client_await(&client, strlen("5\r\nfirst\r\n")));
    assert_memory_equal(client.input.data, "5\r\nfirst\r\n", 10);
    test_client_drop(&client, 10);
    test_server_bring(&server, "last", true);
    struct buffer rest = BUFFER_INIT;
    assert_true(test_client_read_chunks(&client, &rest));
    assert_string_equal(buffer_text(&rest), "last");
    buffer_release(&rest);
    test_client_send(&client, GET("/hello"));
    test_client_expect(&client, 200, "hello\n");
    assert_int_equal(test_server_await_finished(&server, 2).bytes, 6);
    test_client_close(&client);
    test_server_stop(&server);
}

static void a_body_that_cannot_be_completed_never_looks_complete(void **state)
{
    static const char *const paths[] = {"/failing/0",      "/failing/200000", "/too-few/1",
                                        "/too-few/200000", "/too-many/0",     "/too-many/250000"};
    struct test_server server;
    test_server_start(&server, *state);
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct test_client client;
        struct test_response response;
        char request[100];
        test_client_connect(&client, &server);
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", paths[i]);
        test_client_send(&client, request);
        if (i == 4) {
            /* Of length 0 nothing is pulled. */
            test_client_expect(&client, 200, "");
            assert_true(test_server_await_finished(&server, i + 1).complete);
        } else if (i == 0 || i == 2) {
            bool ended =
                !test_client_read(&client) || !memmem(client.input.data, client.input.size, "\r\n0\r\n", 5);
            assert_true(ended);
            assert_false(test_server_await_finished(&server, i + 1).complete);
        } else {
            test_client_receive(&client, &response, true);
            assert_false(response.complete);
            test_response_release(&response);
            assert_false(test_server_await_finished(&server, i + 1).complete);
        }
        test_client_close(&client);
    }
    test_server_stop(&server);
}

static void http_1_0_closes_unless_asked_and_never_gets_chunks(void **state)
{
    struct test_server server;
    struct test_client client;
    struct test_response response;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    test_client_receive(&client, &response, true);
    assert_string_equal(test_response_value(&response, "Connection"), "keep-alive");
    test_response_release(&response);
    test_client_send(&client, "GET /hello HTTP/1.0\r\n\r\n");
    test_client_receive(&client, &response, true);
    assert_string_equal(test_response_value(&response, "Connection"), "close");
    test_response_release(&response);
    test_client_expect_end(&client);
    test_client_close(&client);

    test_client_connect(&client, &server);
    test_client_send(&client, "GET /chunks/100 HTTP/1.0\r\n\r\n");
    test_client_receive(&client, &response, true);
    assert_int_equal(response.status, 503);
    assert_string_not_equal(test_response_value(&response, "Retry-After"), "absent");
    assert_string_equal(test_response_value(&response, "Transfer-Encoding"), "absent");
    test_response_release(&response);
    test_client_expect_end(&client);
    test_client_close(&client);
    test_server_stop(&server);
}

static void connection_close_is_obeyed_from_both_sides(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/hello"));
    test_client_expect(&client, 200, "hello\n");
    test_client_expect_end(&client);
    test_client_close(&client);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/close"));
    test_client_expect(&client, 200, "");
    test_client_expect_end(&client);
    test_client_close(&client);
    test_server_await_connections(&server, 0);
    assert_int_equal(reactors_stats(server.reactors).requests, 2);
    test_server_stop(&server);
}

/* ---- bodies of requests -------------------------------------------------------------------------------- */

static void a_client_that_waits_for_leave_gets_it(void **state)
{
    struct test_server server;
    struct test_client client;
    struct test_response response;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    for (unsigned round = 0; round < 2; round++) {
        test_client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                                  "Content-Length: 4\r\n\r\n");
        test_client_receive(&client, &response, false);
        assert_int_equal(response.status, 100);
        test_response_release(&response);
        test_client_send(&client, "body");
        test_client_expect(&client, 200, NULL);
    }
    /* Not to one whose body is there already, or too long. */
    test_client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                              "Content-Length: 4\r\n\r\nbody");
    test_client_expect(&client, 200, NULL);
    test_client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                              "Content-Length: 1001\r\n\r\n");
    test_client_expect(&client, 413, "413: the request's body is longer than 1000 bytes");
    test_client_expect_end(&client);
    test_client_close(&client);
    test_server_stop(&server);
}

static void bodies_are_bounded(void **state)
{
    static const char *const heads[] = {"Content-Length: 1000", "Transfer-Encoding: chunked",
                                        "Content-Length: 1001", "Transfer-Encoding: chunked"};
    struct test_server server;
    test_server_start(&server, *state);
    for (unsigned i = 0; i < 4; i++) {
        struct test_client client;
        struct buffer request = BUFFER_INIT;
        size_t size = i < 2 ? 1000 : 1001;
        test_client_connect(&client, &server);
        buffer_appendf(&request, "POST /echo HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", heads[i]);
        if (i % 2)
            buffer_appendf(&request, "%zx\r\n", size);
        memset(buffer_extend(&request, size), 'b', size);
        if (i % 2)
            buffer_append_text(&request, "\r\n0\r\n\r\n");
        test_client_send_bytes(&client, buffer_slice(&request));
        if (i < 2) {
            test_client_expect(&client, 200, NULL);
        } else {
            test_client_expect(&client, 413, "413: the request's body is longer than 1000 bytes");
            test_client_expect_end(&client);
        }
        test_client_close(&client);
        buffer_release(&request);
    }
    test_server_stop(&server);
}

static void large_bodies_go_both_ways(void **state)
{
    enum { BYTES = 300000 };
    struct test_server server;
    struct test_client client;
    struct buffer request = BUFFER_INIT;
    test_server_prepare(&server, *state);
    server.options.limits.body_bytes_max = BYTES;
    test_server_run(&server);
    test_client_connect(&client, &server);
    for (unsigned round = 0; round < 3; round++) {
        struct test_response response;
        buffer_reset(&request);
        buffer_appendf(&request, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", BYTES);
        memset(buffer_extend(&request, BYTES), 'a' + (int)round, BYTES);
        test_client_send_bytes(&client, buffer_slice(&request));
        test_client_receive(&client, &response, true);
        assert_true(response.complete);
        assert_true(response.body.size > BYTES);
        assert_memory_equal(response.body.data + response.body.size - BYTES,
                            request.data + request.size - BYTES, BYTES);
        test_response_release(&response);
    }
    test_client_close(&client);
    buffer_release(&request);
    test_server_stop(&server);
}

static void a_refusal_is_seen_by_a_client_that_is_still_sending(void **state)
{
    struct test_server server;
    struct test_client client;
    char *body = mem_zalloc(600000);
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n");
    /* More than the sockets hold: without the lingering this would end in a reset. */
    test_client_send_bytes(&client, slice_make(body, 600000));
    test_client_expect(&client, 413, NULL);
    test_client_expect_end(&client);
    test_client_close(&client);
    mem_free(body);
    test_server_await_connections(&server, 0);
    test_server_stop(&server);
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
    struct test_server server;
    test_server_start(&server, *state);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct test_client client;
        test_client_connect(&client, &server);
        test_client_send(&client, rows[i].request);
        test_client_expect(&client, rows[i].status, rows[i].body);
        test_client_expect_end(&client);
        test_client_close(&client);
        struct test_finished finished = test_server_await_finished(&server, i + 1);
        assert_int_equal(finished.status, rows[i].status);
        assert_true(finished.complete);
    }
    assert_int_equal(reactors_stats(server.reactors).requests, 0);
    test_server_stop(&server);
}

static void heads_and_targets_are_bounded(void **state)
{
    struct test_server server;
    struct test_client client;
    struct buffer request = BUFFER_INIT;
    test_server_start(&server, *state);

    test_client_connect(&client, &server);
    buffer_append_text(&request, "GET /");
    memset(buffer_extend(&request, 9000), 'a', 9000);
    test_client_send_bytes(&client, buffer_slice(&request));
    test_client_expect(&client, 414, "414: the URL is longer than 8192 bytes");
    test_client_expect_end(&client);
    test_client_close(&client);

    test_client_connect(&client, &server);
    buffer_reset(&request);
    buffer_append_text(&request, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    memset(buffer_extend(&request, 33000), 'a', 33000);
    test_client_send_bytes(&client, buffer_slice(&request));
    test_client_expect(&client, 431, "431: the request's head is longer than 32768 bytes");
    test_client_expect_end(&client);
    test_client_close(&client);
    buffer_release(&request);
    test_server_stop(&server);
}

/* ---- clients that go ----------------------------------------------------------------------------------- */

static void a_client_may_close_its_side_and_still_gets_its_answers(void **state)
{
    struct test_server server;
    struct test_client client;
    struct test_response response;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/bytes/1000001") GET("/held"));
    test_client_half_close(&client);
    test_client_receive(&client, &response, true);
    test_expect_pattern(&response.body, 1000001);
    test_response_release(&response);
    test_server_release(&server, "after the end");
    test_client_expect(&client, 200, "after the end");
    test_client_expect_end(&client);
    test_client_close(&client);
    test_server_await_connections(&server, 0);
    test_server_stop(&server);
}

static void a_client_that_goes_while_its_request_is_handled_costs_nothing(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/held"));
    test_server_await_held(&server);
    test_client_reset(&client);
    test_server_await_connections(&server, 0); /* noticed at once, though nothing is written */
    test_server_release(&server, "to nobody");
    struct test_finished finished = test_server_await_finished(&server, 1);
    assert_string_equal(finished.path, "/held");
    assert_false(finished.complete);
    assert_int_equal(finished.bytes, 0);
    test_server_stop(&server);
}

static void a_download_that_is_broken_off_closes_its_source(void **state)
{
    static const char *const requests[] = {GET("/bytes/4000000001"), GET("/chunks/4000000001")};
    struct test_server server;
    test_server_start(&server, *state);
    for (unsigned i = 0; i < 4; i++) {
        struct test_client client;
        test_client_connect(&client, &server);
        test_client_send(&client, requests[i % 2]);
        assert_true(test_client_await(&client, 300000));
        if (i < 2)
            test_client_reset(&client);
        else
            test_client_close(&client);
        struct test_finished finished = test_server_await_finished(&server, i + 1);
        assert_false(finished.complete);
        assert_true(finished.bytes < 4000000000);
        test_server_await_connections(&server, 0);
        pthread_mutex_lock(&server.lock);
        assert_int_equal(server.sources_open, 0);
        pthread_mutex_unlock(&server.lock);
    }
    test_server_stop(&server);
}

static void a_client_that_goes_in_its_request_is_forgotten(void **state)
{
    static const char *const beginnings[] = {
        "GET / HTT",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    };
    struct test_server server;
    test_server_start(&server, *state);
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        for (unsigned how = 0; how < 3; how++) {
            struct test_client client;
            test_client_connect(&client, &server);
            test_client_send(&client, beginnings[i]);
            if (how == 0) {
                test_client_reset(&client);
            } else {
                if (how == 1)
                    test_client_half_close(&client);
                test_client_close(&client);
            }
            test_server_await_accepted(&server, (unsigned)i * 3 + how + 1);
            test_server_await_connections(&server, 0);
        }
    }
    assert_int_equal(reactors_stats(server.reactors).requests, 0);
    test_server_stop(&server);
}

static void a_client_that_goes_closes_a_source_that_waits(void **state)
{
    struct test_server server;
    struct test_client client;
    struct test_response response;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/wait"));
    test_client_receive(&client, &response, false);
    test_response_release(&response);
    test_client_reset(&client);
    assert_false(test_server_await_finished(&server, 1).complete);
    test_server_await_connections(&server, 0);
    test_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(requests_follow_each_other_on_one_connection),
        BOTH(a_request_reaches_the_handler_as_it_was_sent),
        BOTH_AND_SMALL(pipelined_requests_are_answered_in_order),
        BOTH(pipelined_requests_wait_for_a_held_one),
        BOTH(a_request_may_come_byte_by_byte),
        BOTH(every_response_has_the_common_fields),
        BOTH(a_well_formed_request_id_is_kept),
        BOTH(head_gets_the_fields_and_no_body),
        BOTH(replies_without_content_have_no_body_and_no_length),
        BOTH_AND_SMALL(sources_are_sent_whole),
        BOTH_AND_SMALL(a_source_may_wait_for_another_thread),
        BOTH_AND_SMALL(a_body_that_cannot_be_completed_never_looks_complete),
        BOTH(http_1_0_closes_unless_asked_and_never_gets_chunks),
        BOTH(connection_close_is_obeyed_from_both_sides),
        BOTH(a_client_that_waits_for_leave_gets_it),
        BOTH(bodies_are_bounded),
        BOTH_AND_SMALL(large_bodies_go_both_ways),
        BOTH(a_refusal_is_seen_by_a_client_that_is_still_sending),
        BOTH(faults_in_a_request_are_answered_and_end_the_connection),
        BOTH(heads_and_targets_are_bounded),
        BOTH_AND_SMALL(a_client_may_close_its_side_and_still_gets_its_answers),
        BOTH(a_client_that_goes_while_its_request_is_handled_costs_nothing),
        BOTH_AND_SMALL(a_download_that_is_broken_off_closes_its_source),
        BOTH(a_client_that_goes_closes_a_source_that_waits),
        BOTH(a_client_that_goes_in_its_request_is_forgotten),
    };
    return cmocka_run_group_tests(tests, http_fixture_set_up, http_fixture_tear_down);
}
