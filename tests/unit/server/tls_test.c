/*
 * What is particular to TLS; connection_test.c runs everything else over it, too.
 */
#include "server/tls.h"

#include "tests/support/http_fixture.h"

#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

/* ---- TLS ----------------------------------------------------------------------------------------------- */

static void no_tls_on_the_tls_port_gets_an_answer_that_helps(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);

    test_client_connect_plain(&client, &server);
    test_client_send(&client, GET("/hello"));
    test_client_expect(&client, 400, "400: this port speaks HTTPS: use a URL that begins with https://");
    test_client_expect_end(&client);
    test_client_close(&client);

    test_client_connect_plain(&client, &server);
    test_client_send(&client, "\x01\x02\x03garbage of all kinds\r\n\r\n");
    test_client_expect_end(&client);
    test_client_close(&client);

    test_client_connect_plain(&client, &server);
    test_client_send_bytes(&client, SLICE_LITERAL("\x16\x03\x01\x00\x05junk!"));
    assert_true(test_client_read(&client));
    assert_int_equal(client.input.data[0], 0x15); /* an alert */
    buffer_reset(&client.input);
    test_client_expect_end(&client);
    test_client_close(&client);

    test_client_connect_plain(&client, &server); /* goes without a word */
    test_client_close(&client);
    test_client_connect_plain(&client, &server);
    test_client_send(&client, "\x16\x03\x01");
    test_client_reset(&client);
    test_server_await_connections(&server, 0);
    test_server_stop(&server);
}

static void a_tls_hello_on_the_plain_port_is_refused_at_once(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send_bytes(&client, SLICE_LITERAL("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"));
    test_client_expect(&client, 400, "400: this is not an HTTP request");
    test_client_expect_end(&client);
    test_client_close(&client);
    test_server_stop(&server);
}

static void a_handshake_that_stalls_times_out(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_prepare(&server, *state);
    server.options.limits.handshake_timeout_ms = 50;
    test_server_run(&server);
    test_client_connect_plain(&client, &server);
    test_client_send(&client, "\x16\x03\x01");
    test_client_expect_end(&client);
    test_client_close(&client);
    test_server_stop(&server);
}

static void versions_and_protocols_are_negotiated(void **state)
{
    static const struct {
        int version;
        bool connects;
    } rows[] = {{TLS1_1_VERSION, false}, {TLS1_2_VERSION, true}, {TLS1_3_VERSION, true}};
    struct test_server server;
    test_server_start(&server, *state);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct test_client client;
        test_client_connect_plain(&client, &server);
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
            test_client_send(&client, GET("/hello"));
            test_client_expect(&client, 200, "hello\n");
            /* A renegotiation, or in 1.3 a change of keys in the middle. */
            if (rows[i].version == TLS1_3_VERSION)
                assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
            else
                assert_int_equal(SSL_get_secure_renegotiation_support(client.ssl), 1);
            test_client_send(&client, GET("/bytes/300001"));
            test_client_expect(&client, 200, NULL);
        }
        test_client_close(&client);
    }
    test_server_stop(&server);
}

/* A client that offers only what we do not speak is served as if it had not asked. */
static void an_unknown_protocol_is_ignored(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect_plain(&client, &server);
    client.context = SSL_CTX_new(TLS_client_method());
    client.ssl = SSL_new(client.context);
    assert_int_equal(SSL_set_alpn_protos(client.ssl, (const unsigned char *)"\x02h2", 3), 0);
    SSL_set_fd(client.ssl, client.fd);
    assert_int_equal(SSL_connect(client.ssl), 1);
    const unsigned char *protocol;
    unsigned size;
    SSL_get0_alpn_selected(client.ssl, &protocol, &size);
    assert_int_equal(size, 0);
    test_client_send(&client, GET("/hello"));
    test_client_expect(&client, 200, "hello\n");
    test_client_close(&client);
    test_server_stop(&server);
}

/* Each of them asks for an answer, and the client reads none of those. */
static void a_flood_of_key_updates_is_bounded(void **state)
{
    struct test_server server;
    struct test_client client;
    test_server_start(&server, *state);
    test_client_connect(&client, &server);
    test_client_send(&client, GET("/bytes/4000000001"));
    struct timeval short_patience = {0, 100000};
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &short_patience, sizeof short_patience),
                     0);
    for (unsigned i = 0; i < 20000; i++)
        if (SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED) != 1 || SSL_do_handshake(client.ssl) != 1)
            break;
    ERR_clear_error();
    test_client_close(&client);
    assert_false(test_server_await_finished(&server, 1).complete);
    test_server_await_connections(&server, 0);
    test_server_stop(&server);
}

/* A byte that is changed on the way ends the connection, also in the middle of a download. */
static void a_forged_record_ends_the_connection(void **state)
{
    struct test_server server;
    test_server_start(&server, *state);
    for (unsigned downloads = 0; downloads < 2; downloads++) {
        struct test_client client;
        test_client_connect(&client, &server);
        if (downloads) {
            test_client_send(&client, GET("/bytes/4000000001"));
            assert_true(test_client_await(&client, 1000));
        }
        assert_int_equal(send(client.fd, "\x17\x03\x03\x00\x14nothing of this sort", 25, MSG_NOSIGNAL), 25);
        test_server_await_connections(&server, 0);
        test_client_close(&client);
    }
    assert_false(test_server_await_finished(&server, 1).complete);
    test_server_stop(&server);
}

static void sessions_are_resumed_by_tickets(void **state)
{
    struct test_server server;
    struct test_client first, second;
    test_server_start(&server, *state);
    test_client_connect(&first, &server);
    test_client_send(&first, GET("/hello"));
    test_client_expect(&first, 200, "hello\n");
    SSL_SESSION *session = SSL_get1_session(first.ssl);
    assert_non_null(session);
    SSL_shutdown(first.ssl); /* or the session would not be resumed */
    test_client_close(&first);
    test_client_connect_plain(&second, &server);
    second.context = SSL_CTX_new(TLS_client_method());
    second.ssl = SSL_new(second.context);
    SSL_set_fd(second.ssl, second.fd);
    SSL_set_session(second.ssl, session);
    assert_int_equal(SSL_connect(second.ssl), 1);
    assert_true(SSL_session_reused(second.ssl));
    test_client_send(&second, GET("/hello"));
    test_client_expect(&second, 200, "hello\n");
    test_client_close(&second);
    SSL_SESSION_free(session);
    test_server_stop(&server);
}

static void new_connections_get_the_new_certificate(void **state)
{
    struct test_server server;
    struct test_client before, after;
    struct tls_context *next;
    struct error error;
    char certificate[300], key[300];
    test_server_start(&server, *state);
    test_client_connect(&before, &server);
    test_client_send(&before, GET("/hello"));
    test_client_expect(&before, 200, "hello\n");
    http_fixture_path("next-cert.pem", certificate, sizeof certificate);
    http_fixture_path("next-key.pem", key, sizeof key);
    assert_int_equal(tls_context_open(certificate, key, &next, &error), STATUS_OK);
    reactors_set_tls(server.reactors, next);
    test_client_connect(&after, &server);
    char subject[100];
    X509 *shown = SSL_get1_peer_certificate(after.ssl);
    X509_NAME_oneline(X509_get_subject_name(shown), subject, sizeof subject);
    assert_string_equal(subject, "/CN=next-");
    X509_free(shown);
    test_client_send(&before, GET("/hello"));
    test_client_expect(&before, 200, "hello\n");
    test_client_close(&before);
    test_client_close(&after);
    test_server_stop(&server);
    tls_context_close(next);
}

/* A break is told from an end: without close_notify a client knows that something is missing. */
static void only_a_complete_reply_is_followed_by_close_notify(void **state)
{
    struct test_server server;
    test_server_start(&server, *state);
    for (unsigned fails = 0; fails < 2; fails++) {
        struct test_client client;
        test_client_connect(&client, &server);
        test_client_send(&client, fails ? "GET /failing/100 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                                        : "GET /chunks/100 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        while (test_client_read(&client))
            ;
        assert_int_equal((SSL_get_shutdown(client.ssl) & SSL_RECEIVED_SHUTDOWN) != 0, !fails);
        ERR_clear_error();
        test_client_close(&client);
    }
    test_server_stop(&server);
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
        {"none.pem", "key.pem", 0600, "none.pem: No such file or directory"},
        {"cert.pem", "none.pem", 0600, "cannot open the key"},
        {"cert.pem", "locked-key.pem", 0600, "without a pass phrase"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char certificate[300], key[300];
        struct tls_context *context = NULL;
        struct error error = {STATUS_OK, ""};
        http_fixture_path(rows[i].certificate, certificate, sizeof certificate);
        http_fixture_path(rows[i].key, key, sizeof key);
        (void)chmod(key, rows[i].mode);
        enum status status = tls_context_open(certificate, key, &context, &error);
        assert_int_equal(status != STATUS_OK, rows[i].error != NULL);
        if (rows[i].error && !strstr(error.text, rows[i].error))
            fail_msg("row %zu: %s", i, error.text);
        tls_context_close(context);
        (void)chmod(key, 0600);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN(a_tls_hello_on_the_plain_port_is_refused_at_once),
        TLS(no_tls_on_the_tls_port_gets_an_answer_that_helps),
        TLS(a_handshake_that_stalls_times_out),
        TLS(versions_and_protocols_are_negotiated),
        TLS(an_unknown_protocol_is_ignored),
        TLS(a_flood_of_key_updates_is_bounded),
        TLS(a_forged_record_ends_the_connection),
        TLS(sessions_are_resumed_by_tickets),
        TLS(new_connections_get_the_new_certificate),
        TLS(only_a_complete_reply_is_followed_by_close_notify),
        TLS(certificates_and_keys_are_checked),
    };
    return cmocka_run_group_tests(tests, http_fixture_set_up, http_fixture_tear_down);
}
