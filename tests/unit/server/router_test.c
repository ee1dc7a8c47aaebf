/*
 * The router and the handlers of auth, metadata and health, over a real socket: one request, one answer.
 */
#include "server/router.h"

#include "codec/base/clock.h"
#include "codec/documents.h"
#include "codec/json_reader.h"
#include "server/config.h"
#include "server/limiter.h"
#include "server/reactor.h"
#include "server/service.h"
#include "server/token.h"
#include "storage/accounts.h"
#include "tests/support/store_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>

static struct store_fixture fixture;
static struct config config;
static struct service service;
static struct json_reader *reader;
static char client_id[CLIENT_ID_SIZE + 1], client_secret[CLIENT_SECRET_SIZE + 1];
static char token[TOKEN_BYTES_MAX];

static void expect_ok(enum status status, const struct error *error)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", status_name(status), error->text);
}

/* ---- A server ---- */

/* With what `config` says now. */
static void server_start(void)
{
    const struct limiter_rule rules[LIMITER_KIND_COUNT] = {
        [LIMITER_JOB] = {1, 0},
        [LIMITER_REQUEST] = {config.request_rate_per_minute, config.request_rate_per_minute},
        [LIMITER_LOGIN] = {config.login_failures_per_minute, config.login_failures_per_minute},
    };
    struct error error = {0};
    service = (struct service){.config = &config, .store = fixture.store, .writer = fixture.writer};
    service.limiter = limiter_new(rules);
    expect_ok(
        tokens_open(fixture.store, config.issuer, config.token_lifetime_seconds, &service.tokens, &error),
        &error);
    struct reactors_options options = {
        .count = 1,
        .listen = "127.0.0.1:0",
        .limits = config.limits,
        .service = &service,
        .handle = router_handle,
        .finished = router_finished,
        .local_new = router_local_new,
        .local_free = router_local_free,
        .refuse = router_refuse,
    };
    struct reactors *reactors;
    expect_ok(reactors_start(&options, &reactors, &error), &error);
    __atomic_store_n(&service.reactors, reactors, __ATOMIC_RELEASE);
}

static void server_stop(void)
{
    reactors_drain(service.reactors, 1000, NULL, NULL);
    reactors_stop(service.reactors);
    tokens_close(service.tokens);
    limiter_free(service.limiter);
}

static void server_restart(void)
{
    server_stop();
    server_start();
}

/* ---- A client ---- */

struct answer {
    unsigned status;
    char text[16384];
    const char *fields; /* between status line and empty line, both ends with CRLF */
    const char *body;
};
static struct answer answer;

static void write_all(int fd, const char *text, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
        assert_true(sent > 0);
        text += sent;
        size -= (size_t)sent;
    }
}

/* Sends these bytes and reads to the end of the connection. */
static void transact(const char *request)
{
    const char *address = reactors_address(service.reactors);
    struct sockaddr_in peer = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 60};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&peer, sizeof peer), 0);
    write_all(fd, request, strlen(request));
    size_t size = 0;
    for (;;) {
        ssize_t got = recv(fd, answer.text + size, sizeof answer.text - 1 - size, 0);
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    close(fd);
    answer.text[size] = '\0';
    if (strncmp(answer.text, "HTTP/1.1 ", 9) != 0)
        fail_msg("no answer to %s: %s", request, answer.text);
    answer.status = (unsigned)atoi(answer.text + 9);
    answer.fields = strstr(answer.text, "\r\n");
    answer.body = strstr(answer.text, "\r\n\r\n");
    assert_non_null(answer.body);
    *(char *)(answer.text + (answer.body - answer.text) + 2) = '\0';
    answer.body += 4;
}

/* "GET /path" with further field lines, each ending with CRLF. */
static unsigned ask(const char *line, const char *fields)
{
    char request[3 * TOKEN_BYTES_MAX];
    snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: api.example:8443\r\nConnection: close\r\n%s\r\n",
             line, fields);
    transact(request);
    return answer.status;
}

static unsigned ask_with_token(const char *line)
{
    char fields[TOKEN_BYTES_MAX + 64];
    snprintf(fields, sizeof fields, "Authorization: Bearer %s\r\n", token);
    return ask(line, fields);
}

/* The value of a field, "" if it is not there. It lives until the next call. */
static const char *field(const char *name)
{
    static char value[2048];
    char line[128];
    snprintf(line, sizeof line, "\r\n%s: ", name);
    const char *at = strstr(answer.fields, line);
    value[0] = '\0';
    if (at) {
        at += strlen(line);
        snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    }
    return value;
}

static void assert_json(const char *path, const char *expected)
{
    struct buffer value = BUFFER_INIT;
    struct error error;
    if (json_find(reader, slice_from_text(answer.body), path, &value, &error) != STATUS_OK)
        fail_msg("%s in %s: %s", path, answer.body, error.text);
    assert_string_equal(buffer_text(&value), expected);
    buffer_release(&value);
}

static void assert_problem(unsigned status, const char *code, const char *class)
{
    assert_int_equal(answer.status, status);
    assert_string_equal(field("Content-Type"), "application/fhir+json");
    assert_json("resourceType", "OperationOutcome");
    assert_json("issue.0.severity", "error");
    assert_json("issue.0.code", code);
    assert_json("issue.0.details.coding.0.code", class);
}

/* ---- Paths and methods ---- */

static void what_needs_no_token_is_answered(void **state)
{
    (void)state;
    assert_int_equal(ask("GET /_version", ""), 200);
    assert_string_equal(answer.body, "{\"version\":\"" SLUICE_VERSION "\"}");
    assert_string_equal(field("Content-Type"), "application/json");
    assert_int_equal(ask("GET /_auth", ""), 200);
    assert_string_equal(answer.body, "{\"auth_provider\":\"alpha\",\"version\":\"" SLUICE_VERSION "\"}");
    assert_int_equal(ask("GET /_version?x=1", ""), 200);
    assert_string_equal(field("X-Content-Type-Options"), "nosniff");
    assert_string_equal(field("Cache-Control"), "no-store");
    assert_int_equal(strlen(field("X-Request-Id")), 32);
}

static void an_unknown_path_is_404(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/",
        "/_Version",
        "/_version/",
        "//_version",
        "/./_version",
        "/api/v1",
        "/api/v1/",
        "/api/v1/jobs/",
        "/api/v1/jobs/1/2",
        "/api/v1/Patient",
        "/api/v1/Patient/$exports",
        "/api/v1/Patient/%2524export",
        "/api/v1/P%61tient/$export",
        "/api/v1/Group//$export",
        "/api/v1/Group/all",
        "/api/v1/Group/a/b/$export",
        "/data/1",
        "/data/1/",
        "/data//x.ndjson",
        "/data/1/2/3",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char line[256];
        snprintf(line, sizeof line, "GET %s", paths[i]);
        if (ask_with_token(line) != 404)
            fail_msg("%s: %u", paths[i], answer.status);
        assert_problem(404, "not-found", "Not Found Error");
        snprintf(line, sizeof line, "POST %s", paths[i]);
        assert_int_equal(ask(line, "Content-Length: 0\r\n"), 404);
    }
}

static void a_path_whose_export_the_shell_took_away_says_so(void **state)
{
    (void)state;
    static const char *const lines[] = {"GET /api/v1/Patient/", "GET /api/v1/Group/all/",
                                        "GET /api/v1/Patient/?_type=Patient", "GET /api/v1/Group/runout/"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        ask(lines[i], "");
        assert_problem(404, "not-found", "Not Found Error");
        assert_non_null(strstr(answer.body, "$export"));
        assert_non_null(strstr(answer.body, "single quotes"));
    }
    ask("GET /api/v1/Patients/", "");
    assert_null(strstr(answer.body, "single quotes"));
}

static void a_wrong_method_is_405_and_says_which_are_right(void **state)
{
    (void)state;
    static const struct {
        const char *line, *allow;
    } cases[] = {
        {"POST /_version", "GET, HEAD, OPTIONS"},
        {"GET /auth/token", "POST, OPTIONS"},
        {"HEAD /auth/token", "POST, OPTIONS"},
        {"PUT /api/v1/jobs/1", "GET, HEAD, DELETE, OPTIONS"},
        {"PATCH /data/1/x.ndjson", "GET, HEAD, OPTIONS"},
        {"BREW /api/v1/jobs", "GET, HEAD, OPTIONS"},
        {"get /_version", "GET, HEAD, OPTIONS"},
        {"HEAD /api/v1/Patient/$export", "GET, OPTIONS"},
        {"HEAD /api/v1/Group/all/%24export", "GET, OPTIONS"},
        {"POST /api/v1/Patient/$export", "GET, OPTIONS"},
        {"DELETE /api/v1/Group/x/$export", "GET, OPTIONS"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask(cases[i].line, "Content-Length: 0\r\n");
        assert_int_equal(answer.status, 405);
        assert_string_equal(field("Allow"), cases[i].allow);
        if (strncmp(cases[i].line, "HEAD", 4) != 0)
            assert_problem(405, "not-supported", "Request Error");
        else
            assert_string_equal(answer.body, "");
    }
}

static void an_encoded_dollar_is_a_dollar(void **state)
{
    (void)state;
    assert_int_equal(ask("GET /api/v1/Patient/$export", ""), 401);
    assert_int_equal(ask("GET /api/v1/Patient/%24export", ""), 401);
    assert_int_equal(ask("GET /api/v1/Group/all/%24export?_type=Patient", ""), 401);
}

static void head_is_get_without_a_body(void **state)
{
    (void)state;
    assert_int_equal(ask("HEAD /_version", ""), 200);
    assert_string_equal(answer.body, "");
    char length[16];
    snprintf(length, sizeof length, "%zu", strlen("{\"version\":\"" SLUICE_VERSION "\"}"));
    assert_string_equal(field("Content-Length"), length);
    assert_int_equal(ask("HEAD /api/v1/jobs", ""), 401);
}

static void a_compressed_body_is_refused(void **state)
{
    (void)state;
    ask("POST /auth/token", "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc");
    assert_problem(415, "not-supported", "Request Error");
    assert_int_equal(ask("POST /auth/token", "Content-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc"),
                     400);
    assert_int_equal(ask("POST /auth/token", "Content-Encoding: gzip\r\nContent-Length: 0\r\n"), 400);
}

static void what_is_no_http_gets_an_operation_outcome_too(void **state)
{
    (void)state;
    transact("GET /_version HTTP/1.1\r\nHost : a\r\n\r\n");
    assert_problem(400, "structure", "Request Error");
    transact("GET /_version HTTP/3.7\r\nHost: a\r\n\r\n");
    assert_problem(505, "not-supported", "Request Error");
    ask("POST /auth/token", "Content-Length: 99999999\r\n");
    assert_problem(413, "too-long", "Request Error");
}

/* ---- CORS ---- */

#define ORIGIN "Origin: https://page.example\r\n"

static void a_preflight_is_answered(void **state)
{
    (void)state;
    ask("OPTIONS /api/v1/Patient/$export", ORIGIN
        "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization, prefer\r\n");
    assert_int_equal(answer.status, 204);
    assert_string_equal(answer.body, "");
    assert_string_equal(field("Access-Control-Allow-Origin"), "*");
    assert_string_equal(field("Access-Control-Allow-Methods"), "GET, OPTIONS");
    assert_non_null(strstr(field("Access-Control-Allow-Headers"), "Authorization"));
    assert_non_null(strstr(field("Access-Control-Allow-Headers"), "Prefer"));
    assert_string_equal(field("Access-Control-Allow-Credentials"), "");
    assert_int_equal(ask("OPTIONS /nowhere", ORIGIN "Access-Control-Request-Method: GET\r\n"), 404);
    assert_int_equal(ask("OPTIONS /auth/token", ""), 204);
    assert_string_equal(field("Allow"), "POST, OPTIONS");
    assert_string_equal(field("Access-Control-Allow-Origin"), "");
    assert_int_equal(ask("OPTIONS *", ""), 204);
}

static void every_answer_to_a_page_can_be_read_by_it(void **state)
{
    (void)state;
    static const char *const lines[] = {"GET /_version", "GET /nowhere", "GET /api/v1/jobs", "POST /_version",
                                        "POST /auth/token"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        ask(lines[i], ORIGIN);
        assert_string_equal(field("Access-Control-Allow-Origin"), "*");
        assert_string_equal(field("Access-Control-Expose-Headers"),
                            "Content-Location, X-Progress, Retry-After, Expires, ETag");
    }
    ask("GET /_version", "");
    assert_string_equal(field("Access-Control-Allow-Origin"), "");
}

static void origins_can_be_named(void **state)
{
    (void)state;
    strcpy(config.cors_origin, "https://other.example https://page.example");
    server_restart();
    ask("GET /_version", ORIGIN);
    assert_string_equal(field("Access-Control-Allow-Origin"), "https://page.example");
    assert_string_equal(field("Vary"), "Origin");
    ask("GET /_version", "Origin: https://page.example.attacker.example\r\n");
    assert_string_equal(field("Access-Control-Allow-Origin"), "");
    ask("GET /_version", "Origin: null\r\n");
    assert_string_equal(field("Access-Control-Allow-Origin"), "");
    config.cors_origin[0] = '\0';
    server_restart();
    ask("GET /_version", ORIGIN);
    assert_string_equal(field("Access-Control-Allow-Origin"), "");
    strcpy(config.cors_origin, "*");
    server_restart();
}

/* ---- Bearer ---- */

static void a_good_token_opens_the_door(void **state)
{
    (void)state;
    assert_int_equal(ask_with_token("GET /auth/welcome"), 200);
    assert_string_equal(answer.body, "{\"success\":\"Welcome to the Beneficiary Claims Data API!\"}");
}

/* "No additional information is returned with a 401." */
static void every_401_is_the_same(void **state)
{
    (void)state;
    struct buffer expected = BUFFER_INIT;
    document_outcome(&expected, "error", "login", "Invalid Token", NULL);
    const char *schemes[] = {"",
                             "Bearer",
                             "Bearer ",
                             "bearer %s",
                             "BEARER %s",
                             "Bearer  %s",
                             "Bearer\t%s",
                             "Bearer%s",
                             "%s",
                             "Basic %s",
                             "Bearer x%s",
                             "Bearer %sx",
                             "Bearer %s.x",
                             "Bearer %s, a",
                             "Token %s",
                             "Bearer a.b.c",
                             "Bearer \"%s\"",
                             "Bearer token=%s"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        char value[TOKEN_BYTES_MAX + 64], fields[TOKEN_BYTES_MAX + 128];
        int size = snprintf(value, sizeof value, "%.*s", (int)strcspn(schemes[i], "%"), schemes[i]);
        const char *at = strstr(schemes[i], "%s");
        if (at)
            snprintf(value + size, sizeof value - (size_t)size, "%s%s", token, at + 2);
        snprintf(fields, sizeof fields, "Authorization: %s\r\n", value);
        ask("GET /auth/welcome", i ? fields : "");
        if (answer.status != 401)
            fail_msg("%u for %s", answer.status, schemes[i]);
        assert_string_equal(answer.body, buffer_text(&expected));
        assert_string_equal(field("WWW-Authenticate"), "Bearer");
        assert_string_equal(field("Content-Type"), "application/fhir+json");
    }
    char twice[2 * TOKEN_BYTES_MAX + 128];
    snprintf(twice, sizeof twice, "Authorization: Bearer %s\r\nAuthorization: Bearer %s\r\n", token, token);
    assert_int_equal(ask("GET /auth/welcome", twice), 401);
    buffer_release(&expected);
}

static void every_route_with_data_needs_a_token(void **state)
{
    (void)state;
    static const char *const lines[] = {"GET /auth/welcome",
                                        "GET /api/v1/Patient/$export",
                                        "GET /api/v1/Group/all/$export",
                                        "GET /api/v1/jobs",
                                        "GET /api/v1/jobs/1",
                                        "DELETE /api/v1/jobs/1",
                                        "GET /data/1/a.ndjson",
                                        "GET /api/v1/attribution_status"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_int_equal(ask(lines[i], ""), 401);
    size_t with_token = 0;
    for (size_t i = 0; i < route_count; i++)
        with_token += routes[i].auth == ROUTE_AUTH_BEARER;
    assert_int_equal(with_token, sizeof lines / sizeof *lines);
}

static void revoke_now(const char *id)
{
    struct credential_revoke request;
    struct error error = {0};
    expect_ok(credential_revoke_init(&request, slice_from_text(id), &error), &error);
    expect_ok(writer_call(fixture.writer, &request.request, &error), &error);
}

static void add_credential(char ret_client_id[CLIENT_ID_SIZE + 1], char ret_secret[CLIENT_SECRET_SIZE + 1])
{
    struct credential_create create;
    struct error error = {0};
    expect_ok(credential_create_init(&create, SLICE_LITERAL("A9994"), slice_make("", 0), slice_make("", 0),
                                     ret_secret, &error),
              &error);
    expect_ok(writer_call(fixture.writer, &create.request, &error), &error);
    strcpy(ret_client_id, create.credential.client_id);
}

/* ---- Requests for a token ---- */

static unsigned log_in_as(const char *scheme, const char *user, const char *password)
{
    char plain[512], encoded[1024], fields[2048];
    snprintf(plain, sizeof plain, "%s:%s", user, password);
    EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)plain, (int)strlen(plain));
    snprintf(fields, sizeof fields, "Authorization: %s %s\r\n", scheme, encoded);
    return ask("POST /auth/token", fields);
}

static void keep_token(void)
{
    struct buffer value = BUFFER_INIT;
    struct error error = {0};
    expect_ok(json_find(reader, slice_from_text(answer.body), "access_token", &value, &error), &error);
    assert_true(value.size < sizeof token);
    strcpy(token, buffer_text(&value));
    buffer_release(&value);
}

static void the_right_secret_gets_a_token_that_works(void **state)
{
    (void)state;
    assert_int_equal(log_in_as("Basic", client_id, client_secret), 200);
    assert_string_equal(field("Content-Type"), "application/json");
    assert_string_equal(field("Cache-Control"), "no-store");
    assert_string_equal(field("Pragma"), "no-cache");
    assert_json("token_type", "bearer");
    assert_json("expires_in", "1200");
    keep_token();
    assert_int_equal(ask_with_token("GET /auth/welcome"), 200);
}

static void the_scheme_basic_is_read_without_case(void **state)
{
    (void)state;
    assert_int_equal(log_in_as("basic", client_id, client_secret), 200);
    assert_int_equal(log_in_as("BASIC", client_id, client_secret), 200);
    assert_int_equal(log_in_as("Basic  ", client_id, client_secret), 200); /* 1*SP */
}

static void a_client_id_in_upper_case_is_the_same_uuid(void **state)
{
    (void)state;
    char upper[CLIENT_ID_SIZE + 1];
    strcpy(upper, client_id);
    for (char *at = upper; *at; at++)
        if (*at >= 'a' && *at <= 'f')
            *at = (char)(*at - 32);
    assert_int_equal(log_in_as("Basic", upper, client_secret), 200);
}

static void a_missing_or_garbled_authorization_is_400(void **state)
{
    (void)state;
    static const char *const values[] = {
        NULL,
        "",
        "Basic",
        "Basic ",
        "Basic %%%%",
        "Basic YWJj",
        "Bearer x",
        "YWJjOmRlZg==",
        "Basic YWJjOmRlZg",
        "Basic YWJjOmRlZg=",
        "BasicYWJjOmRlZg==",
        "Basic YWJj OmRlZg==",
        "Basic -_-_",
        "Digest username=\"x\"",
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char fields[256] = "";
        if (values[i])
            snprintf(fields, sizeof fields, "Authorization: %s\r\n", values[i]);
        ask("POST /auth/token", fields);
        if (answer.status != 400)
            fail_msg("%u for %s", answer.status, values[i]);
        assert_string_equal(answer.body, "{\"error\":\"invalid_request\"}");
        assert_string_equal(field("Content-Type"), "application/json");
        assert_string_equal(field("WWW-Authenticate"), "");
    }
}

static void wrong_credentials_are_401_whatever_is_wrong(void **state)
{
    (void)state;
    char wrong[CLIENT_SECRET_SIZE + 1], revoked[CLIENT_ID_SIZE + 1], revoked_secret[CLIENT_SECRET_SIZE + 1];
    strcpy(wrong, client_secret);
    wrong[79] = wrong[79] == '0' ? '1' : '0';
    add_credential(revoked, revoked_secret);
    revoke_now(revoked);
    const char *const logins[][2] = {
        {client_id, wrong},
        {client_id, ""},
        {client_id, "x"},
        {"", client_secret},
        {"", ""},
        {"nobody", client_secret},
        {"00000000-0000-0000-0000-000000000000", client_secret},
        {"zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz", client_secret},
        {"09869a7f-46ce-4908-a914-6129d080a2ae-and-more", client_secret},
        {revoked, revoked_secret},
        {client_secret, client_id},
        {"' OR 1=1 --", "\xFF\xFE"},
    };
    char first[1024] = "";
    for (size_t i = 0; i < sizeof logins / sizeof *logins; i++) {
        assert_int_equal(log_in_as("Basic", logins[i][0], logins[i][1]), 401);
        assert_string_equal(answer.body, "{\"error\":\"invalid_client\"}");
        assert_string_equal(field("WWW-Authenticate"), "Basic realm=\"sluice\"");
        if (i == 0)
            snprintf(first, sizeof first, "%s", answer.body);
        assert_string_equal(answer.body, first);
    }
}

static void a_revocation_acts_on_the_next_request(void **state)
{
    (void)state;
    char id[CLIENT_ID_SIZE + 1], secret[CLIENT_SECRET_SIZE + 1], kept[TOKEN_BYTES_MAX];
    strcpy(kept, token);
    add_credential(id, secret);
    assert_int_equal(log_in_as("Basic", id, secret), 200);
    keep_token();
    assert_int_equal(ask_with_token("GET /auth/welcome"), 200);
    assert_int_equal(ask_with_token("GET /auth/welcome"), 200);
    revoke_now(id);
    assert_int_equal(ask_with_token("GET /auth/welcome"), 401);
    assert_int_equal(log_in_as("Basic", id, secret), 401);
    strcpy(token, kept);
    assert_int_equal(ask_with_token("GET /auth/welcome"), 200);
}

static void failed_logins_are_bounded_per_address(void **state)
{
    (void)state;
    config.login_failures_per_minute = 3;
    server_restart();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(log_in_as("Basic", client_id, client_secret), 200);
        assert_int_equal(log_in_as("Basic", client_id, "wrong"), 401);
    }
    assert_int_equal(log_in_as("Basic", client_id, "wrong"), 429);
    assert_string_equal(field("Content-Type"), "application/json");
    assert_in_range(atoi(field("Retry-After")), 1, 20);
    assert_int_equal(log_in_as("Basic", client_id, client_secret), 429);
    assert_int_equal(ask_with_token("GET /auth/welcome"), 200);
    config.login_failures_per_minute = 0;
    server_restart();
    for (int i = 0; i < 100; i++)
        assert_int_equal(log_in_as("Basic", client_id, "wrong"), 401);
}

static void failed_logins_behind_a_trusted_proxy_count_by_client(void **state)
{
    (void)state;
    char fields[256];
    config.login_failures_per_minute = 1;
    strcpy(config.trusted_proxy, "127.0.0.1");
    server_restart();
    static const struct {
        const char *forwarded;
        unsigned status;
    } steps[] = {{"192.0.2.1", 401},
                 {"192.0.2.1", 429},
                 {"192.0.2.2, 192.0.2.1", 429},
                 {"192.0.2.2", 401},
                 {"2001:db8::1", 401},
                 {"2001:db8::2", 429},
                 {"2001:db8:0:0:ffff::1", 429},
                 {"2001:db8:0:1::1", 401},
                 {"::ffff:192.0.2.9", 401},
                 {"::ffff:192.0.2.8", 401}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        snprintf(fields, sizeof fields, "Authorization: Basic YWJjOmRlZg==\r\nX-Forwarded-For: %s\r\n",
                 steps[i].forwarded);
        ask("POST /auth/token", fields);
        if (answer.status != steps[i].status)
            fail_msg("step %zu: %u", i, answer.status);
    }
    config.login_failures_per_minute = 0;
    config.trusted_proxy[0] = '\0';
    server_restart();
}

static void requests_of_a_client_are_bounded_where_set(void **state)
{
    (void)state;
    config.request_rate_per_minute = 2;
    server_restart();
    assert_int_equal(ask_with_token("GET /auth/welcome"), 200);
    assert_int_equal(ask_with_token("GET /auth/welcome"), 200);
    ask_with_token("GET /auth/welcome");
    assert_problem(429, "throttled", "Request Error");
    assert_in_range(atoi(field("Retry-After")), 1, 30);
    assert_int_equal(ask("GET /auth/welcome", ""), 401);
    assert_int_equal(ask("GET /_version", ""), 200);
    config.request_rate_per_minute = 0;
    server_restart();
}

/* ---- Metadata and the base URL ---- */

static void assert_base_url(const char *fields, const char *expected)
{
    assert_int_equal(ask("GET /api/v1/metadata", fields), 200);
    assert_json("implementation.url", expected);
}

static void urls_are_made_of_scheme_and_host(void **state)
{
    (void)state;
    assert_base_url("", "http://api.example:8443");
    assert_base_url("X-Forwarded-Proto: https\r\nX-Forwarded-Host: attacker.example\r\n",
                    "http://api.example:8443");
    transact("GET /api/v1/metadata HTTP/1.0\r\n\r\n");
    assert_int_equal(answer.status, 200);
    char expected[128];
    snprintf(expected, sizeof expected, "http://%s", reactors_address(service.reactors));
    assert_json("implementation.url", expected);
}

static void a_trusted_proxy_may_say_scheme_and_host(void **state)
{
    (void)state;
    strcpy(config.trusted_proxy, "127.0.0.1");
    server_restart();
    assert_base_url("X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n",
                    "https://public.example");
    assert_base_url("X-Forwarded-Proto: http, https\r\nX-Forwarded-Host: client, proxy\r\n", "https://proxy");
    assert_base_url("X-Forwarded-Proto: javascript\r\nX-Forwarded-Host: a\"b/c\r\n",
                    "http://api.example:8443");
    assert_base_url("X-Forwarded-Host: \r\n", "http://api.example:8443");
    strcpy(config.trusted_proxy, "192.0.2.1");
    server_restart();
    assert_base_url("X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n",
                    "http://api.example:8443");
    config.trusted_proxy[0] = '\0';
    strcpy(config.public_url, "https://set.example");
    server_restart();
    assert_base_url("", "https://set.example");
    config.public_url[0] = '\0';
    server_restart();
}

static void metadata_comes_in_the_type_that_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *accept, *type;
    } cases[] = {
        {"", "application/json"},
        {"Accept: */*\r\n", "application/json"},
        {"Accept: application/*\r\n", "application/json"},
        {"Accept: application/json\r\n", "application/json"},
        {"Accept: application/fhir+json\r\n", "application/fhir+json"},
        {"Accept: Application/FHIR+JSON;q=0.9, */*\r\n", "application/fhir+json"},
        {"Accept: text/html\r\nAccept: application/fhir+json\r\n", "application/fhir+json"},
        {"Accept: application/fhir+json;q=0, application/json\r\n", "application/json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ask("GET /api/v1/metadata", cases[i].accept), 200);
        assert_string_equal(field("Content-Type"), cases[i].type);
        assert_json("resourceType", "CapabilityStatement");
    }
    assert_json("software.version", SLUICE_VERSION);
    assert_json("publisher", "Centers for Medicare & Medicaid Services");
}

/* ---- Health, failures, the log ---- */

static void health_names_what_failed(void **state)
{
    (void)state;
    char path[512], away[512];
    snprintf(path, sizeof path, "%s/jobs", fixture.dir);
    snprintf(away, sizeof away, "%s/jobs-away", fixture.dir);
    assert_int_equal(ask("GET /_health", ""), 200);
    assert_string_equal(answer.body, "{\"database\":\"ok\",\"jobs\":\"ok\"}");
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(ask("GET /_health", ""), 502);
    assert_string_equal(answer.body, "{\"database\":\"ok\",\"jobs\":\"failed\"}");
    assert_int_equal(rename(away, path), 0);
    assert_int_equal(ask("GET /_health", ""), 200);
}

static void a_damaged_record_is_a_failure_without_detail(void **state)
{
    (void)state;
    char id[CLIENT_ID_SIZE + 1], secret[CLIENT_SECRET_SIZE + 1], kept[TOKEN_BYTES_MAX];
    strcpy(kept, token);
    add_credential(id, secret);
    assert_int_equal(log_in_as("Basic", id, secret), 200);
    keep_token();
    struct key row;
    key_of_id(&row, slice_from_text(id));
    store_fixture_put(&fixture, TABLE_CREDENTIAL, key_slice(&row), SLICE_LITERAL("C\x01garbage"));
    ask_with_token("GET /auth/welcome");
    assert_problem(500, "exception", "Internal Error");
    assert_null(strstr(answer.body, id));
    assert_int_equal(log_in_as("Basic", id, secret), 503);
    assert_true(atoi(field("Retry-After")) > 0);
    strcpy(token, kept);
}

static void the_log_tells_the_route_and_no_secret(void **state)
{
    (void)state;
    char path[512], id[64];
    snprintf(path, sizeof path, "%s/log", fixture.root);
    int saved = dup(STDERR_FILENO);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    assert_true(saved >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    ask_with_token("GET /auth/welcome?secretquery=1");
    snprintf(id, sizeof id, "%s", field("X-Request-Id"));
    ask("GET /api/v1/jobs/4711", "");
    ask("GET /somewhere/4711?secretquery=1", "");
    log_in_as("Basic", client_id, client_secret);
    log_in_as("Basic", client_id, "wrongsecret");
    server_restart(); /* every line is written then */
    dup2(saved, STDERR_FILENO);
    close(saved);
    static char text[16384];
    ssize_t size = pread(file, text, sizeof text - 1, 0);
    close(file);
    assert_true(size > 0);
    text[size] = '\0';
    static const char *const secrets[] = {"4711", "secretquery", "wrongsecret", "somewhere", "eyJ"};
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        if (strstr(text, secrets[i]))
            fail_msg("%s in %s", secrets[i], text);
    assert_null(strstr(text, client_secret));
    assert_null(strstr(text, token));
    assert_non_null(strstr(text, "\"route\":\"/api/v1/jobs/{jobId}\""));
    char *line = strstr(text, id);
    assert_non_null(line);
    while (line > text && line[-1] != '\n')
        line--;
    line[strcspn(line, "\n")] = '\0';
    answer.body = line;
    assert_json("event", "request");
    assert_json("level", "info");
    assert_json("method", "GET");
    assert_json("route", "/auth/welcome");
    assert_json("status", "200");
    assert_json("bytes", "57");
    assert_json("aco", "A9994");
    assert_json("peer", "127.0.0.1");
    assert_json("complete", "yes");
    assert_json("request_id", id);
}

/* ---- */

static int set_up(void **state)
{
    (void)state;
    struct error error = {0};
    reader = json_reader_new();
    store_fixture_open(&fixture);
    expect_ok(token_key_create(fixture.dir, &error), &error);
    store_fixture_add_aco(&fixture, "A9994");
    add_credential(client_id, client_secret);
    config_init(&config);
    config.login_failures_per_minute = 0;
    server_start();
    assert_int_equal(log_in_as("Basic", client_id, client_secret), 200);
    keep_token();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    server_stop();
    store_fixture_close(&fixture);
    json_reader_free(reader);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_needs_no_token_is_answered),
        cmocka_unit_test(an_unknown_path_is_404),
        cmocka_unit_test(a_path_whose_export_the_shell_took_away_says_so),
        cmocka_unit_test(a_wrong_method_is_405_and_says_which_are_right),
        cmocka_unit_test(an_encoded_dollar_is_a_dollar),
        cmocka_unit_test(head_is_get_without_a_body),
        cmocka_unit_test(a_compressed_body_is_refused),
        cmocka_unit_test(what_is_no_http_gets_an_operation_outcome_too),
        cmocka_unit_test(a_preflight_is_answered),
        cmocka_unit_test(every_answer_to_a_page_can_be_read_by_it),
        cmocka_unit_test(origins_can_be_named),
        cmocka_unit_test(a_good_token_opens_the_door),
        cmocka_unit_test(every_401_is_the_same),
        cmocka_unit_test(every_route_with_data_needs_a_token),
        cmocka_unit_test(the_right_secret_gets_a_token_that_works),
        cmocka_unit_test(the_scheme_basic_is_read_without_case),
        cmocka_unit_test(a_client_id_in_upper_case_is_the_same_uuid),
        cmocka_unit_test(a_missing_or_garbled_authorization_is_400),
        cmocka_unit_test(wrong_credentials_are_401_whatever_is_wrong),
        cmocka_unit_test(a_revocation_acts_on_the_next_request),
        cmocka_unit_test(failed_logins_are_bounded_per_address),
        cmocka_unit_test(failed_logins_behind_a_trusted_proxy_count_by_client),
        cmocka_unit_test(requests_of_a_client_are_bounded_where_set),
        cmocka_unit_test(urls_are_made_of_scheme_and_host),
        cmocka_unit_test(a_trusted_proxy_may_say_scheme_and_host),
        cmocka_unit_test(metadata_comes_in_the_type_that_is_named),
        cmocka_unit_test(health_names_what_failed),
        cmocka_unit_test(a_damaged_record_is_a_failure_without_detail),
        cmocka_unit_test(the_log_tells_the_route_and_no_secret),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
