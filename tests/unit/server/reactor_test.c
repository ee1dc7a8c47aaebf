/*
 * Reactors as a client sees them: deadlines, limits, draining, listening.
 */
#include "server/reactor.h"

#include "codec/base/clock.h"
#include "tests/support/http_fixture.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- time ---------------------------------------------------------------------------------------------- */

static void requests_that_do_not_arrive_time_out(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_prepare(&server, *state);
    server.options.limits.head_timeout_ms = 100;
    server.options.limits.body_timeout_ms = 100;
    server.options.limits.idle_timeout_ms = 100;
    test_server_run(&server);

    test_client_connect(&client, &server); /* says nothing */
    test_client_expect_end(&client);
    test_client_close(&client);

    test_client_connect(&client, &server);
    test_client_send(&client, "GET / HTTP/1.1\r\nHo");
    test_client_expect(&client, 408, "408: the request took too long to arrive");
    test_client_expect_end(&client);
    test_client_close(&client);

    test_client_connect(&client, &server);
    test_client_send(&client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nbod");
    test_client_expect(&client, 408, "408: the request took too long to arrive");
    test_client_expect_end(&client);
    test_client_close(&client);

    test_client_connect(&client, &server);
    test_client_send(&client, GET("/hello"));
    test_client_expect(&client, 200, "hello\n");
    test_client_expect_end(&client); /* idle */
    test_client_close(&client);

    test_client_connect(&client, &server);
    test_client_send(&client, GET("/hello"));
    test_client_expect(&client, 200, "hello\n");
    test_client_send(&client, "G");
    test_client_expect(&client, 408, NULL);
    test_client_close(&client);
    test_server_await_connections(&server, 0);
    test_server_stop(&server);
}

/* One byte now and then does not prolong a head's time. */
static void the_time_for_a_head_is_absolute(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_prepare(&server, *state);
    server.options.limits.head_timeout_ms = 200;
    test_server_run(&server);
    test_client_connect(&client, &server);
    test_client_send(&client, "GET /");
    struct timeval short_patience = {0, 5000};
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &short_patience, sizeof short_patience),
                     0);
    unsigned sent = 0;
    char byte;
    while (recv(client.fd, &byte, 1, MSG_PEEK) < 0 && sent < 4000) {
        test_client_send(&client, "a");
        sent++;
    }
    assert_in_range(sent, 1, 3999);
    test_client_expect(&client, 408, NULL);
    test_client_close(&client);
    test_server_stop(&server);
}

static void a_client_that_takes_too_little_is_cut(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_prepare(&server, *state);
    server.options.limits.download_window_ms = 50;
    server.options.limits.download_bytes_per_second_min = 1000000000;
    test_server_run(&server);
    for (unsigned i = 0; i < 2; i++) {
        test_client_connect(&client, &server);
        test_client_send(&client, i ? GET("/chunks/4000000001") : GET("/bytes/4000000001"));
        struct test_finished finished = test_server_await_finished(&server, i + 1); /* nothing is read */
        assert_false(finished.complete);
        test_client_close(&client);
    }
    test_server_await_connections(&server, 0);
    test_server_stop(&server);
}

static void a_slow_source_is_not_the_clients_fault(void **state)
{
    struct test_server server;
    struct test_client client, clock;
    struct test_response response;
    test_server_prepare(&server, *state);
    server.options.limits.download_window_ms = 10;
    server.options.limits.download_bytes_per_second_min = 1000000000;
    server.options.limits.head_timeout_ms = 100;
    test_server_run(&server);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/wait"));
    test_client_receive(&client, &response, false);
    test_response_release(&response);
    test_client_connect(&clock, &server); /* ends after ten windows */
    test_client_expect_end(&clock);
    test_client_close(&clock);
    test_server_bring(&server, "late", true);
    struct buffer body = BUFFER_INIT;
    assert_true(test_client_read_chunks(&client, &body));
    assert_string_equal(buffer_text(&body), "late");
    buffer_release(&body);
    test_client_close(&client);
    test_server_stop(&server);
}

/* ---- limits -------------------------------------------------------------------------------------------- */

static void connections_over_a_limit_are_told_so(void **state)
{
    for (unsigned per_address = 0; per_address < 2; per_address++) {
        struct test_server server;
        struct test_client clients[2], refused;
        test_server_prepare(&server, *state);
        server.options.count = 2; /* the limits count over all reactors */
        if (per_address)
            server.options.limits.connections_per_address_max = 2;
        else
            server.options.limits.connections_max = 2;
        test_server_run(&server);
        for (size_t i = 0; i < 2; i++) {
            test_client_connect(&clients[i], &server);
            test_client_send(&clients[i], GET("/hello"));
            test_client_expect(&clients[i], 200, "hello\n");
        }
        test_client_connect_plain(&refused, &server);
        if (!server.tls) {
            struct test_response response;
            test_client_send(&refused, GET("/hello"));
            test_client_receive(&refused, &response, true);
            assert_int_equal(response.status, 503);
            assert_string_not_equal(test_response_value(&response, "Retry-After"), "absent");
            test_response_release(&response);
        }
        test_client_expect_end(&refused);
        test_client_close(&refused);
        assert_int_equal(reactors_stats(server.reactors).refused, 1);
        /* There is room again when one has gone. */
        test_client_close(&clients[0]);
        test_server_await_connections(&server, 1);
        test_client_connect(&clients[0], &server);
        test_client_send(&clients[0], GET("/hello"));
        test_client_expect(&clients[0], 200, "hello\n");
        test_client_close(&clients[0]);
        test_client_close(&clients[1]);
        test_server_stop(&server);
    }
}

static void without_file_descriptors_the_listener_pauses(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_init(&client);
    /* From here on no descriptor can be had in this process. */
    struct rlimit before, none;
    int next = dup(0);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int connected = test_client_try_connect(&client, &server);
    int64_t begun_us = clock_monotonic_us(), waited_us;
    do {
        sched_yield();
        waited_us = clock_monotonic_us() - begun_us;
    } while (reactors_stats(server.reactors).accept_pauses < 3 &&
             waited_us < HTTP_FIXTURE_PATIENCE_SECONDS * US_PER_SECOND);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(connected, 0);
    assert_true(reactors_stats(server.reactors).accept_pauses >= 3);
    /* Three pauses, and no spin between them: 100 ms each, from the first on. */
    assert_true(waited_us >= 190000);
    test_client_send(&client, GET("/hello"));
    test_client_expect(&client, 200, "hello\n");
    test_client_close(&client);
    test_server_stop(&server);
}

/* ---- draining ------------------------------------------------------------------------------------------ */

struct drain {
    pthread_t thread;
    struct test_server *server;
    unsigned grace_ms;
};

static void *drain_run(void *argument)
{
    struct drain *drain = argument;
    reactors_drain(drain->server->reactors, drain->grace_ms, NULL, NULL);
    return NULL;
}

static void drain_begin(struct drain *drain, struct test_server *server, unsigned grace_ms)
{
    *drain = (struct drain){.server = server, .grace_ms = grace_ms};
    assert_int_equal(pthread_create(&drain->thread, NULL, drain_run, drain), 0);
}

static void draining_lets_requests_finish(void **state)
{
    struct test_server server;
    struct test_client idle, held, waiting, late;
    struct test_response response;
    struct drain drain;
    test_server_start(&server, *state);
    test_client_connect(&idle, &server);
    test_client_send(&idle, GET("/hello"));
    test_client_expect(&idle, 200, "hello\n");
    test_client_connect(&held, &server);
    test_client_send(&held, GET("/held") GET("/hello"));
    test_server_await_held(&server);
    test_client_connect(&waiting, &server);
    test_client_send(&waiting, GET("/wait"));
    test_client_receive(&waiting, &response, false);
    test_response_release(&response);

    drain_begin(&drain, &server, HTTP_FIXTURE_PATIENCE_SECONDS * 1000);
    test_client_expect_end(&idle); /* so it has begun */
    test_client_close(&idle);
    test_client_init(&late);
    assert_int_equal(test_client_try_connect(&late, &server), -1);
    assert_int_equal(errno, ECONNREFUSED);
    test_client_close(&late);

    test_server_release(&server, "released");
    test_client_receive(&held, &response, true);
    assert_string_equal(buffer_text(&response.body), "released");
    assert_string_equal(test_response_value(&response, "Connection"), "close");
    test_response_release(&response);
    test_client_expect_end(&held); /* the pipelined one is not begun */
    test_client_close(&held);

    test_server_bring(&server, "end", true);
    struct buffer body = BUFFER_INIT;
    assert_true(test_client_read_chunks(&waiting, &body));
    assert_string_equal(buffer_text(&body), "end");
    buffer_release(&body);
    test_client_expect_end(&waiting);
    test_client_close(&waiting);
    assert_int_equal(pthread_join(drain.thread, NULL), 0);
    assert_int_equal(reactors_stats(server.reactors).connections, 0);
    test_server_stop(&server);
}

static void draining_cuts_what_outlasts_its_grace(void **state)
{
    struct test_server server;
    struct test_client held, stalled, fresh;
    test_server_start(&server, *state);
    test_client_connect(&held, &server);
    test_client_send(&held, GET("/held"));
    test_server_await_held(&server);
    test_client_connect(&stalled, &server);
    test_client_send(&stalled, GET("/bytes/4000000001"));
    assert_true(test_client_await(&stalled, 1000));
    test_client_connect(&fresh, &server);
    test_server_await_connections(&server, 3);
    reactors_drain(server.reactors, 50, NULL, NULL);
    assert_int_equal(reactors_stats(server.reactors).connections, 0);
    struct test_finished finished = test_server_await_finished(&server, 1);
    assert_string_equal(finished.path, "/bytes/4000000001");
    assert_false(finished.complete);
    test_client_expect_end(&held);
    /* The handler still has its exchange, and stopping waits for it. */
    test_server_release(&server, "to nobody");
    test_client_close(&held);
    test_client_close(&stalled);
    test_client_close(&fresh);
    struct test_finished last;
    last = test_server_await_finished(&server, 2);
    assert_string_equal(last.path, "/held");
    assert_false(last.complete);
    test_server_stop(&server);
}

static void a_request_that_came_before_the_drain_is_answered(void **state)
{
    struct test_server server;
    struct test_client client;
    struct drain drain;
    test_server_start(&server, *state);
    test_client_connect(&client, &server); /* has sent nothing yet */
    if (server.tls) {
        /* The handshake is done on the server's side, too. */
        test_server_await_connections(&server, 1);
    }
    test_client_send(&client, "GET /hello HTTP/1.1\r\n");
    drain_begin(&drain, &server, HTTP_FIXTURE_PATIENCE_SECONDS * 1000);
    test_client_send(&client, "Host: h\r\n\r\n");
    test_client_expect(&client, 200, "hello\n");
    test_client_expect_end(&client);
    test_client_close(&client);
    assert_int_equal(pthread_join(drain.thread, NULL), 0);
    test_server_stop(&server);
}

/* ---- listening, several reactors ----------------------------------------------------------------------- */

static void reactors_share_one_port(void **state)
{
    enum { CLIENTS = 40 };
    struct test_server server;
    struct test_client clients[CLIENTS];
    test_server_prepare(&server, *state);
    server.options.count = 3;
    test_server_run(&server);
    for (size_t i = 0; i < CLIENTS; i++)
        test_client_connect(&clients[i], &server);
    for (size_t i = 0; i < CLIENTS; i++) {
        test_client_send(&clients[i], GET("/hello"));
        test_client_expect(&clients[i], 200, "hello\n");
    }
    assert_int_equal(reactors_stats(server.reactors).accepted, CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++)
        test_client_close(&clients[i]);
    test_server_stop(&server);
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
        struct test_server server;
        struct error error;
        test_server_prepare(&server, *state);
        server.options.listen = rows[i].listen;
        enum status status = reactors_start(&server.options, &server.reactors, &error);
        assert_int_equal(status, rows[i].status);
        if (status == STATUS_OK)
            assert_int_equal(
                strncmp(reactors_address(server.reactors), rows[i].listen, strlen(rows[i].listen) - 1), 0);
        else
            assert_non_null(strstr(error.text, "listen on"));
        test_server_stop(&server);
    }
}

static void clients_come_over_ipv6(void **state)
{
    struct test_server server;
    struct test_client client, refused;
    test_server_prepare(&server, *state);
    server.is_v6 = true;
    server.options.listen = "[::1]:0";
    server.options.limits.connections_per_address_max = 1;
    test_server_run(&server);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/echo"));
    test_client_expect(&client, 200,
                       server.tls ? "0 /echo? host=h peer=::1 tls=1 body=0:"
                                  : "0 /echo? host=h peer=::1 tls=0 body=0:");
    test_client_connect_plain(&refused, &server);
    if (!server.tls)
        test_client_expect(&refused, 503, NULL);
    test_client_expect_end(&refused);
    test_client_close(&refused);
    test_client_close(&client);
    test_server_await_connections(&server, 0);
    test_client_connect(&client, &server);
    test_client_close(&client);
    test_server_stop(&server);
}

static void a_port_that_is_taken_is_refused(void **state)
{
    struct test_server first, second;
    struct error error;
    test_server_start(&first, *state);
    test_server_prepare(&second, *state);
    second.options.listen = reactors_address(first.reactors);
    assert_int_equal(reactors_start(&second.options, &second.reactors, &error), STATUS_IO);
    assert_non_null(strstr(error.text, "Address already in use"));
    test_server_stop(&second);
    test_server_stop(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(requests_that_do_not_arrive_time_out),
        PLAIN(the_time_for_a_head_is_absolute),
        BOTH_AND_SMALL(a_client_that_takes_too_little_is_cut),
        BOTH_AND_SMALL(a_slow_source_is_not_the_clients_fault),
        BOTH(connections_over_a_limit_are_told_so),
        PLAIN(without_file_descriptors_the_listener_pauses),
        BOTH(draining_lets_requests_finish),
        BOTH_AND_SMALL(draining_cuts_what_outlasts_its_grace),
        BOTH(a_request_that_came_before_the_drain_is_answered),
        BOTH(reactors_share_one_port),
        PLAIN(addresses_to_listen_on_are_checked),
        BOTH(clients_come_over_ipv6),
        PLAIN(a_port_that_is_taken_is_refused),
    };
    return cmocka_run_group_tests(tests, http_fixture_set_up, http_fixture_tear_down);
}
