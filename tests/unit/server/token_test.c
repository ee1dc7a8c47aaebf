#include "server/token.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/json_reader.h"
#include "server/base64.h"
#include "storage/accounts.h"
#include "tests/support/store_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#define ISSUER   "sluice-test"
#define LIFETIME 1200

/* One store with one ACO, one credential and its key for all tests; what changes accounts makes its own. */
static struct store_fixture fixture;
static struct tokens *tokens;
static struct token_cache *cache;
static struct mailbox *replies;
static EVP_PKEY *key;
static char client_id[CLIENT_ID_SIZE + 1];

/* ---- Help ---- */

static void expect_ok(enum status status, const struct error *error)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", status_name(status), error->text);
}

static void add_credential(const char *aco, char ret_client_id[CLIENT_ID_SIZE + 1])
{
    struct credential_create create;
    struct error error = {0};
    char secret[CLIENT_SECRET_SIZE + 1];
    expect_ok(credential_create_init(&create, slice_from_text(aco), slice_make("", 0), slice_make("", 0),
                                     secret, &error),
              &error);
    expect_ok(writer_call(fixture.writer, &create.request, &error), &error);
    strcpy(ret_client_id, create.credential.client_id);
}

static void revoke_credential(const char *id)
{
    struct credential_revoke request;
    struct error error = {0};
    expect_ok(credential_revoke_init(&request, slice_from_text(id), &error), &error);
    expect_ok(writer_call(fixture.writer, &request.request, &error), &error);
}

static void nothing(struct message *message, void *receiver)
{
    (void)message, (void)receiver;
}

/* A token by the signer. The text lives until the next call. */
static const char *issue_for(const char *client, const char *aco)
{
    static struct token_issue issue;
    memset(&issue, 0, sizeof issue);
    issue.message.deliver = nothing;
    issue.reply_to = replies;
    strcpy(issue.identity.client_id, client);
    strcpy(issue.identity.aco_id, aco);
    assert_true(tokens_issue(tokens, &issue));
    assert_ptr_equal(mailbox_wait(replies, INT64_MAX), &issue.message);
    expect_ok(issue.status, &issue.error);
    return issue.ret_token;
}

static enum status verify_bytes(const void *text, size_t size)
{
    struct identity identity;
    struct error error;
    return tokens_verify(tokens, cache, slice_make(text, size), &identity, &error);
}

static enum status verify(const char *text)
{
    return verify_bytes(text, strlen(text));
}

static void append_base64url(struct buffer *target, const void *data, size_t size)
{
    char *text = buffer_reserve(target, size * 2 + 8);
    int length = EVP_EncodeBlock((unsigned char *)text, data, (int)size);
    while (length > 0 && text[length - 1] == '=')
        length--;
    for (int i = 0; i < length; i++)
        text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
    target->size += (size_t)length;
}

/* header.claims signed with `with` and SHA-512: a genuine signature over whatever documents. */
static void sign_with(struct buffer *token, EVP_PKEY *with, const char *header, const char *claims)
{
    buffer_reset(token);
    append_base64url(token, header, strlen(header));
    buffer_append_char(token, '.');
    append_base64url(token, claims, strlen(claims));
    unsigned char signature[1024];
    size_t size = sizeof signature;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha512(), NULL, with), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &size, (unsigned char *)token->data, token->size), 1);
    EVP_MD_CTX_free(context);
    buffer_append_char(token, '.');
    append_base64url(token, signature, size);
}

#define GOOD_HEADER "{\"typ\":\"JWT\",\"alg\":\"RS512\"}"
#define TOKEN_ID    "0123456789abcdef0123456789abcdef"

/* Claims that would do, with these times. */
static const char *claims_at(int64_t issued, int64_t expires)
{
    static char text[512];
    snprintf(text, sizeof text,
             "{\"iss\":\"" ISSUER "\",\"sub\":\"%s\",\"cid\":\"%s\",\"aco\":\"A9994\",\"jti\":\"" TOKEN_ID
             "\",\"iat\":%lld,\"exp\":%lld}",
             client_id, client_id, (long long)issued, (long long)expires);
    return text;
}

static int64_t now(void)
{
    return clock_now_us() / US_PER_SECOND;
}

static const char *good_claims(void)
{
    return claims_at(now(), now() + LIFETIME);
}

static enum status verify_signed(const char *header, const char *claims)
{
    struct buffer token = BUFFER_INIT;
    sign_with(&token, key, header, claims);
    enum status status = verify_bytes(token.data, token.size);
    buffer_release(&token);
    return status;
}

static void replace(char *text, const char *what, const char *by)
{
    char *at = strstr(text, what);
    assert_non_null(at);
    char rest[512];
    strcpy(rest, at + strlen(what));
    strcat(strcpy(at, by), rest);
}

/* ---- What is taken ---- */

static void an_issued_token_names_its_client_and_aco(void **state)
{
    (void)state;
    struct identity identity;
    struct error error = {0};
    const char *token = issue_for(client_id, "A9994");
    expect_ok(tokens_verify(tokens, cache, slice_from_text(token), &identity, &error), &error);
    assert_string_equal(identity.client_id, client_id);
    assert_string_equal(identity.aco_id, "A9994");
    struct engine_txn *txn = store_fixture_read(&fixture);
    struct aco aco;
    expect_ok(aco_find(txn, SLICE_LITERAL("A9994"), &aco, &error), &error);
    engine_end(txn);
    assert_int_equal(identity.aco, aco.number);
}

static void an_issued_token_is_rs512_and_lives_as_long_as_set(void **state)
{
    (void)state;
    const char *token = issue_for(client_id, "A9994");
    char header[1024], claims[1024];
    struct slice bytes;
    struct slice part = {token, strcspn(token, ".")};
    struct json_reader *reader = json_reader_new();
    struct buffer algorithm = BUFFER_INIT, issued = BUFFER_INIT, expires = BUFFER_INIT;
    struct error error = {0};
    assert_true(base64_decode(BASE64_FORM_URL, part, header, &bytes));
    expect_ok(json_find(reader, bytes, "alg", &algorithm, &error), &error);
    assert_string_equal(buffer_text(&algorithm), "RS512");
    part = slice_make(part.data + part.size + 1, strcspn(part.data + part.size + 1, "."));
    assert_true(base64_decode(BASE64_FORM_URL, part, claims, &bytes));
    expect_ok(json_find(reader, bytes, "iat", &issued, &error), &error);
    expect_ok(json_find(reader, bytes, "exp", &expires, &error), &error);
    assert_int_equal(atol(buffer_text(&expires)) - atol(buffer_text(&issued)), LIFETIME);
    buffer_release(&algorithm);
    buffer_release(&issued);
    buffer_release(&expires);
    json_reader_free(reader);
}

static void no_two_tokens_are_alike(void **state)
{
    (void)state;
    char first[TOKEN_BYTES_MAX];
    strcpy(first, issue_for(client_id, "A9994"));
    assert_string_not_equal(first, issue_for(client_id, "A9994"));
}

static void the_tests_own_signature_would_do(void **state)
{
    (void)state;
    assert_int_equal(verify_signed(GOOD_HEADER, good_claims()), STATUS_OK);
    assert_int_equal(verify_signed("{\"alg\":\"RS512\"}", good_claims()), STATUS_OK); /* typ is optional */
}

/* ---- What is refused: algorithms ---- */

/* libjwt 1.10.2 by itself takes this one: the trap is there, and it is closed. */
static void a_token_signed_with_the_public_key_as_hmac_secret_is_refused(void **state)
{
    (void)state;
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    long pem_size = BIO_get_mem_data(bio, &pem);
    static const jwt_alg_t algorithms[] = {JWT_ALG_HS256, JWT_ALG_HS384, JWT_ALG_HS512};
    for (size_t i = 0; i < 3; i++) {
        jwt_t *jwt = NULL, *decoded = NULL;
        assert_int_equal(jwt_new(&jwt), 0);
        assert_int_equal(jwt_add_grants_json(jwt, good_claims()), 0);
        assert_int_equal(jwt_set_alg(jwt, algorithms[i], (unsigned char *)pem, (int)pem_size), 0);
        char *forged = jwt_encode_str(jwt);
        assert_non_null(forged);
        assert_int_equal(jwt_decode(&decoded, forged, (unsigned char *)pem, (int)pem_size), 0);
        assert_int_equal(verify(forged), STATUS_DENIED);
        /* The same bytes under a header that says RS512. */
        struct buffer relabelled = BUFFER_INIT;
        append_base64url(&relabelled, GOOD_HEADER, strlen(GOOD_HEADER));
        buffer_append_text(&relabelled, strchr(forged, '.'));
        assert_int_equal(verify(buffer_text(&relabelled)), STATUS_DENIED);
        buffer_release(&relabelled);
        jwt_free(decoded);
        jwt_free(jwt);
        free(forged);
    }
    BIO_free(bio);
}

static void a_token_without_a_signature_is_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {"{\"alg\":\"none\"}",
                                          "{\"typ\":\"JWT\",\"alg\":\"none\"}",
                                          "{\"alg\":\"None\"}",
                                          "{\"alg\":\"\"}",
                                          "{}",
                                          GOOD_HEADER};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        struct buffer token = BUFFER_INIT;
        append_base64url(&token, headers[i], strlen(headers[i]));
        buffer_append_char(&token, '.');
        append_base64url(&token, good_claims(), strlen(good_claims()));
        assert_int_equal(verify(buffer_text(&token)), STATUS_DENIED);
        buffer_append_char(&token, '.');
        assert_int_equal(verify(buffer_text(&token)), STATUS_DENIED);
        buffer_append_text(&token, "AAAA");
        assert_int_equal(verify(buffer_text(&token)), STATUS_DENIED);
        buffer_release(&token);
        assert_int_equal(verify_signed(headers[i], good_claims()),
                         strcmp(headers[i], GOOD_HEADER) == 0 ? STATUS_OK : STATUS_DENIED);
    }
}

static void a_header_that_says_anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "{\"alg\":\"RS256\"}",
        "{\"alg\":\"PS512\"}",
        "{\"alg\":\"rs512\"}",
        "{\"alg\":\"RS512 \"}",
        "{\"alg\":\"RS512\\u0000\"}",
        "{\"alg\":[\"RS512\"]}",
        "{\"alg\":{\"a\":\"RS512\"}}",
        "{\"alg\":null}",
        "{\"alg\":512}",
        "{\"typ\":\"JWT\"}",
        "{\"alg\":\"none\",\"alg\":\"RS512\"}",
        "{\"alg\":\"RS512\",\"\\u0061lg\":\"none\"}",
        "{\"alg\":\"RS512\",\"typ\":\"JWE\"}",
        "{\"alg\":\"RS512\",\"crit\":[\"exp\"]}",
        "{\"alg\":\"RS512\",\"crit\":[]}",
        "{\"alg\":\"RS512\",\"jku\":\"https://attacker.example/keys\"}",
        "{\"alg\":\"RS512\",\"jwk\":{\"kty\":\"RSA\"}}",
        "{\"alg\":\"RS512\",\"x5u\":\"https://attacker.example\"}",
        "{\"alg\":\"RS512\",\"kid\":\"../../../dev/null\"}",
        "{\"alg\":\"RS512\"} {}",
        "[\"alg\",\"RS512\"]",
        "\"RS512\"",
        "",
        "not json",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (verify_signed(headers[i], good_claims()) != STATUS_DENIED)
            fail_msg("taken: %s", headers[i]);
}

static void a_token_of_another_key_is_refused(void **state)
{
    (void)state;
    EVP_PKEY *other = EVP_RSA_gen(TOKEN_KEY_BITS);
    struct buffer token = BUFFER_INIT;
    sign_with(&token, other, GOOD_HEADER, good_claims());
    assert_int_equal(verify_bytes(token.data, token.size), STATUS_DENIED);
    buffer_release(&token);
    EVP_PKEY_free(other);
}

/* ---- What is refused: claims ---- */

static void time_is_checked(void **state)
{
    (void)state;
    assert_int_equal(verify_signed(GOOD_HEADER, claims_at(now() - 100, now() - 1)), STATUS_DENIED);
    assert_int_equal(verify_signed(GOOD_HEADER, claims_at(now() - 100, now())), STATUS_DENIED);
    assert_int_equal(verify_signed(GOOD_HEADER, claims_at(now() - 100, now() + 5)), STATUS_OK);
    assert_int_equal(verify_signed(GOOD_HEADER, claims_at(now() + 600, now() + 1200)), STATUS_DENIED);
    assert_int_equal(verify_signed(GOOD_HEADER, claims_at(now() + 30, now() + 1200)), STATUS_OK); /* skew */
    assert_int_equal(verify_signed(GOOD_HEADER, claims_at(now(), INT64_MAX)), STATUS_DENIED);
}

/* Moves clock_now_us by what the file of SLUICE_TEST_CLOCK says. */
static void set_clock(long seconds)
{
    FILE *file = fopen(getenv("SLUICE_TEST_CLOCK"), "w");
    assert_non_null(file);
    fprintf(file, "%ld\n", seconds);
    fclose(file);
}

static void a_cached_token_expires_in_time(void **state)
{
    (void)state;
    char token[TOKEN_BYTES_MAX];
    strcpy(token, issue_for(client_id, "A9994"));
    assert_int_equal(verify(token), STATUS_OK);
    set_clock(LIFETIME - 5);
    assert_int_equal(verify(token), STATUS_OK);
    set_clock(LIFETIME + 5);
    assert_int_equal(verify(token), STATUS_DENIED);
    assert_int_equal(verify(token), STATUS_DENIED);
    set_clock(-3600); /* a clock that is set back does not make it valid from the future */
    assert_int_equal(verify(token), STATUS_DENIED);
    set_clock(0);
    assert_int_equal(verify(token), STATUS_OK);
}

static void claims_that_are_wrong_or_missing_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what, *by;
    } changes[] = {
        {ISSUER, "another"},
        {ISSUER, ISSUER " "},
        {"\"iss\":\"" ISSUER "\",", ""},
        {"\"iss\":\"" ISSUER "\"", "\"iss\":null"},
        {"\"iss\":\"" ISSUER "\"", "\"iss\":[\"" ISSUER "\"]"},
        {"\"aco\":\"A9994\",", ""},
        {"\"A9994\"", "\"A9995\""},
        {"\"A9994\"", "\"\""},
        {"\"A9994\"", "\"A9994A9994A9994A9994\""},
        {"\"sub\":\"", "\"sub\":\"x"},
        {"\"cid\":\"", "\"cid\":\"x"},
        {"\"jti\":\"0", "\"jti\":\"00"},
        {"\"jti\":\"" TOKEN_ID "\",", ""},
        {"\"exp\":", "\"nbf\":1,\"exp\":"},
        {"\"exp\":", "\"exp\":\"1\",\"exp\":"},
        {"\"exp\":", "\"xexp\":"},
        {"\"exp\":", "\"exp\":-"},
        {"\"exp\":", "\"exp\":0."},
        {"\"exp\":", "\"exp\":true,\"x\":"},
        {"\"iat\":", "\"xiat\":"},
        {"\"iat\":", "\"iat\":1e"},
        {"{", "[{"},
        {"}", "}}"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char claims[600];
        strcpy(claims, good_claims());
        replace(claims, changes[i].what, changes[i].by);
        if (verify_signed(GOOD_HEADER, claims) != STATUS_DENIED)
            fail_msg("taken: %s", claims);
    }
}

static void an_unknown_client_is_refused(void **state)
{
    (void)state;
    char stranger[CLIENT_ID_SIZE + 1];
    uuid_make(stranger);
    assert_int_equal(verify(issue_for(stranger, "A9994")), STATUS_DENIED);
}

/* ---- What is refused: bytes ---- */

static void junk_around_a_token_is_refused(void **state)
{
    (void)state;
    char token[TOKEN_BYTES_MAX], junk[TOKEN_BYTES_MAX + 64];
    strcpy(token, issue_for(client_id, "A9994"));
    static const char *const behind[] = {".", ".AAAA", "A", "AA", "AAAA", "=", "==", " ", "\n", ", Bearer x"};
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        strcat(strcpy(junk, token), behind[i]);
        assert_int_equal(verify(junk), STATUS_DENIED);
        strcat(strcpy(junk, behind[i]), token);
        assert_int_equal(verify(junk), STATUS_DENIED);
    }
    assert_int_equal(verify_bytes(strcat(strcpy(junk, token), "x"), strlen(token) + 2), STATUS_DENIED);
    assert_int_equal(verify_bytes(token, strlen(token) + 1), STATUS_DENIED); /* its NUL */
    assert_int_equal(verify(token), STATUS_OK);
}

static void what_is_no_token_at_all_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", ".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d", "\xFF.\xFF.\xFF", "....................."};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(verify(texts[i]), STATUS_DENIED);
}

static void a_token_of_twenty_megabytes_is_refused_at_once(void **state)
{
    (void)state;
    size_t size = (size_t)20 * 1000 * 1000;
    char *huge = mem_alloc(size);
    const char *token = issue_for(client_id, "A9994");
    memset(huge, 'A', size);
    memcpy(huge, token, strlen(token));
    int64_t begun_us = clock_monotonic_us();
    assert_int_equal(verify_bytes(huge, size), STATUS_DENIED);
    assert_true(clock_monotonic_us() - begun_us < 100000);
    for (size_t i = 0; i < size; i += 1000)
        huge[i] = '.';
    assert_int_equal(verify_bytes(huge, size), STATUS_DENIED);
    assert_int_equal(verify_bytes(huge, TOKEN_BYTES_MAX), STATUS_DENIED);
    mem_free(huge);
}

static void a_document_that_nests_deeply_is_refused(void **state)
{
    (void)state;
    char deep[2048];
    memset(deep, '[', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    assert_int_equal(verify_signed(deep, "{}"), STATUS_DENIED);
    assert_int_equal(verify_signed(GOOD_HEADER, deep), STATUS_DENIED);
}

/* Every bit of the signature counts, also those that base64 does not use. */
static void a_flipped_bit_in_any_part_is_refused(void **state)
{
    (void)state;
    uint64_t random = store_fixture_seed();
    char token[TOKEN_BYTES_MAX], flipped[TOKEN_BYTES_MAX];
    strcpy(token, issue_for(client_id, "A9994"));
    size_t first = strcspn(token, ".");
    size_t second = first + 1 + strcspn(token + first + 1, ".");
    size_t size = strlen(token);
    const size_t bounds[][2] = {{0, first}, {first + 1, second}, {second + 1, size}};
    for (size_t part = 0; part < 3; part++)
        for (int i = 0; i < 300; i++) {
            size_t begin = bounds[part][0], end = bounds[part][1];
            size_t at = i == 0 ? end - 1 : begin + store_fixture_random(&random) % (end - begin);
            unsigned bit = (unsigned)(store_fixture_random(&random) % 8);
            memcpy(flipped, token, size + 1);
            flipped[at] = (char)(flipped[at] ^ (1 << bit));
            if (verify_bytes(flipped, size) != STATUS_DENIED)
                fail_msg("taken with bit %u of byte %zu flipped", bit, at);
        }
    for (unsigned bit = 0; bit < 8; bit++) { /* the last digit, whose low bits carry nothing in other sizes */
        memcpy(flipped, token, size + 1);
        flipped[size - 1] = (char)(flipped[size - 1] ^ (1 << bit));
        assert_int_equal(verify_bytes(flipped, size), STATUS_DENIED);
    }
}

static void random_bytes_are_refused(void **state)
{
    (void)state;
    uint64_t random = store_fixture_seed();
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    for (int i = 0; i < 20000; i++) {
        char text[512];
        size_t size = store_fixture_random(&random) % sizeof text;
        for (size_t j = 0; j < size; j++)
            text[j] = digits[store_fixture_random(&random) % 65];
        assert_int_equal(verify_bytes(text, size), STATUS_DENIED);
    }
}

/* ---- Revocation and the cache ---- */

static void a_revoked_credentials_token_is_refused_at_once_even_if_cached(void **state)
{
    (void)state;
    char client[CLIENT_ID_SIZE + 1], cached[TOKEN_BYTES_MAX], other[TOKEN_BYTES_MAX], mine[TOKEN_BYTES_MAX];
    add_credential("A9994", client);
    strcpy(cached, issue_for(client, "A9994"));
    strcpy(other, issue_for(client, "A9994"));
    strcpy(mine, issue_for(client_id, "A9994"));
    assert_int_equal(verify(cached), STATUS_OK);
    assert_int_equal(verify(cached), STATUS_OK);
    assert_int_equal(verify(mine), STATUS_OK);
    revoke_credential(client);
    assert_int_equal(verify(cached), STATUS_DENIED);
    assert_int_equal(verify(cached), STATUS_DENIED);
    assert_int_equal(verify(other), STATUS_DENIED);
    assert_int_equal(verify(mine), STATUS_OK);
    assert_int_equal(verify(issue_for(client, "A9994")), STATUS_DENIED);
}

static void a_removed_acos_token_is_refused_at_once_even_if_cached(void **state)
{
    (void)state;
    char client[CLIENT_ID_SIZE + 1], cached[TOKEN_BYTES_MAX];
    struct error error = {0};
    store_fixture_add_aco(&fixture, "A9990");
    add_credential("A9990", client);
    strcpy(cached, issue_for(client, "A9990"));
    assert_int_equal(verify(cached), STATUS_OK);
    struct aco_remove request;
    expect_ok(aco_remove_init(&request, SLICE_LITERAL("A9990"), &error), &error);
    expect_ok(writer_call(fixture.writer, &request.request, &error), &error);
    assert_int_equal(verify(cached), STATUS_DENIED);
    /* An ACO that comes again under the same id is another one. */
    store_fixture_add_aco(&fixture, "A9990");
    assert_int_equal(verify(cached), STATUS_DENIED);
}

static void another_acos_id_in_a_token_is_refused(void **state)
{
    (void)state;
    store_fixture_add_aco(&fixture, "A9991");
    assert_int_equal(verify(issue_for(client_id, "A9991")), STATUS_DENIED);
}

static void a_credential_that_is_found_damaged_is_not_taken_for_a_bad_token(void **state)
{
    (void)state;
    char client[CLIENT_ID_SIZE + 1], token[TOKEN_BYTES_MAX];
    add_credential("A9994", client);
    strcpy(token, issue_for(client, "A9994"));
    assert_int_equal(verify(token), STATUS_OK);
    struct key row;
    key_of_id(&row, slice_from_text(client));
    store_fixture_put(&fixture, TABLE_CREDENTIAL, key_slice(&row), SLICE_LITERAL("C\x01garbage"));
    revoke_credential(client_id); /* moves the generation, below */
    assert_int_equal(verify(token), STATUS_CORRUPT);
    add_credential("A9994", client_id); /* for the tests that follow */
}

static void verifying_from_the_cache_is_cheap(void **state)
{
    (void)state;
    char token[TOKEN_BYTES_MAX];
    strcpy(token, issue_for(client_id, "A9994"));
    int64_t begun_us = clock_monotonic_us();
    assert_int_equal(verify(token), STATUS_OK);
    int64_t issued_us = clock_monotonic_us() - begun_us;
    struct tokens *other; /* as after a restart */
    struct error error;
    struct identity identity;
    expect_ok(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), &error);
    struct token_cache *empty = token_cache_new(other);
    begun_us = clock_monotonic_us();
    expect_ok(tokens_verify(other, empty, slice_from_text(token), &identity, &error), &error);
    int64_t first_us = clock_monotonic_us() - begun_us;
    token_cache_free(empty);
    tokens_close(other);
    enum { TIMES = 1000 };
    begun_us = clock_monotonic_us();
    for (int i = 0; i < TIMES; i++)
        assert_int_equal(verify(token), STATUS_OK);
    int64_t cached_us = clock_monotonic_us() - begun_us;
    print_message("of our own %lld us, first of another process %lld us, cached %.2f us each\n",
                  (long long)issued_us, (long long)first_us, (double)cached_us / TIMES);
    assert_true(cached_us < 200 * TIMES); /* far from an RSA operation, also under a sanitizer */
}

/* What this process issued it takes without proof, and nothing else for it. */
static void an_issued_token_is_known_by_its_every_byte_and_no_longer_than_it_holds(void **state)
{
    (void)state;
    char token[TOKEN_BYTES_MAX];
    for (size_t i = 0; i < 100; i++) {
        strcpy(token, issue_for(client_id, "A9994"));
        char *byte = &token[strlen(token) - 1 - i * 5];
        char was = *byte;
        *byte = was == 'A' ? 'B' : 'A';
        assert_int_equal(verify(token), STATUS_DENIED);
        *byte = was;
        assert_int_equal(verify(token), STATUS_OK);
    }
    strcpy(token, issue_for(client_id, "A9994")); /* not verified before */
    set_clock(LIFETIME);
    assert_int_equal(verify(token), STATUS_DENIED);
    set_clock(0);
    strcpy(token, issue_for(client_id, "A9994"));
    revoke_credential(client_id);
    assert_int_equal(verify(token), STATUS_DENIED);
    add_credential("A9994", client_id); /* for the tests that follow */
}

static void a_full_queue_of_the_signer_refuses(void **state)
{
    (void)state;
    enum { COUNT = 2 * TOKEN_QUEUE_MAX };
    static struct token_issue issues[COUNT];
    size_t admitted = 0, answered = 0;
    for (size_t i = 0; i < COUNT; i++) {
        issues[i].message.deliver = nothing;
        issues[i].reply_to = replies;
        strcpy(issues[i].identity.client_id, client_id);
        strcpy(issues[i].identity.aco_id, "A9994");
        issues[i].status = STATUS_INTERNAL;
        admitted += tokens_issue(tokens, &issues[i]);
    }
    while (answered < admitted)
        for (struct message *list = mailbox_wait(replies, INT64_MAX); list; list = list->next) {
            assert_int_equal(((struct token_issue *)list)->status, STATUS_OK);
            answered++;
        }
    assert_in_range(admitted, TOKEN_QUEUE_MAX, COUNT - 1);
}

/* ---- The key ---- */

static void a_key_is_made_once_and_for_its_owner_alone(void **state)
{
    (void)state;
    struct error error;
    struct stat about;
    char path[512];
    snprintf(path, sizeof path, "%s/keys/token.pem", fixture.dir);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 07777, 0600);
    assert_int_equal(token_key_create(fixture.dir, &error), STATUS_EXISTS);
    struct stat again;
    assert_int_equal(stat(path, &again), 0);
    assert_true(again.st_ino == about.st_ino && again.st_mtim.tv_nsec == about.st_mtim.tv_nsec);
    snprintf(path, sizeof path, "%s/keys/token.pem.new", fixture.dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(token_key_create("/nonexistent", &error), STATUS_IO);
}

static void a_key_that_others_may_read_is_refused(void **state)
{
    (void)state;
    static const mode_t modes[] = {0640, 0604, 0644, 0660, 0610, 0777};
    struct tokens *other = NULL;
    struct error error;
    char path[512];
    snprintf(path, sizeof path, "%s/keys/token.pem", fixture.dir);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), STATUS_INVALID);
        assert_non_null(strstr(error.text, "chmod 600"));
    }
    assert_int_equal(chmod(path, 0600), 0);
    expect_ok(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), &error);
    tokens_close(other);
}

static void write_key(const char *path, EVP_PKEY *one, const char *passphrase)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, one, passphrase ? EVP_aes_128_cbc() : NULL, passphrase,
                                               passphrase ? (int)strlen(passphrase) : 0, NULL, NULL),
                     1);
    fclose(file);
}

/* A set of the cache holds four tokens; of these many, some five meet in one. With a key of 2048 bits, which
 * signs six times as fast. */
static void tokens_that_push_each_other_out_of_the_cache_are_all_verified(void **state)
{
    (void)state;
    enum { COUNT = TOKEN_CACHE_ENTRIES / 2 };
    char path[512], kept[512];
    snprintf(path, sizeof path, "%s/keys/token.pem", fixture.dir);
    snprintf(kept, sizeof kept, "%s/keys/kept", fixture.dir);
    assert_int_equal(rename(path, kept), 0);
    EVP_PKEY *small = EVP_RSA_gen(2048);
    umask(077);
    write_key(path, small, NULL);
    struct tokens *other;
    struct error error = {0};
    expect_ok(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), &error);
    struct token_cache *full = token_cache_new(other);
    struct buffer *each = mem_new_array(struct buffer, COUNT);
    struct identity identity;
    for (size_t i = 0; i < COUNT; i++) {
        char claims[600], id[33];
        snprintf(id, sizeof id, "%032zx", i);
        strcpy(claims, good_claims());
        replace(claims, TOKEN_ID, id);
        sign_with(&each[i], small, GOOD_HEADER, claims);
        expect_ok(tokens_verify(other, full, buffer_slice(&each[i]), &identity, &error), &error);
        assert_string_equal(identity.client_id, client_id);
    }
    for (size_t i = 0; i < COUNT; i++) {
        expect_ok(tokens_verify(other, full, buffer_slice(&each[i]), &identity, &error), &error);
        each[i].data[each[i].size - 1] ^= 4;
        assert_int_equal(tokens_verify(other, full, buffer_slice(&each[i]), &identity, &error),
                         STATUS_DENIED);
        buffer_release(&each[i]);
    }
    mem_free(each);
    token_cache_free(full);
    tokens_close(other);
    EVP_PKEY_free(small);
    assert_int_equal(rename(kept, path), 0);
}

static void a_file_that_is_no_rsa_key_is_refused(void **state)
{
    (void)state;
    struct tokens *other = NULL;
    struct error error;
    char path[512], kept[512];
    snprintf(path, sizeof path, "%s/keys/token.pem", fixture.dir);
    snprintf(kept, sizeof kept, "%s/keys/kept", fixture.dir);
    assert_int_equal(rename(path, kept), 0);
    umask(077);
    assert_int_equal(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), STATUS_IO);
    FILE *file = fopen(path, "w");
    fputs("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", file);
    fclose(file);
    assert_int_equal(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), STATUS_INVALID);
    EVP_PKEY *small = EVP_RSA_gen(1024), *curve = EVP_EC_gen("P-256");
    write_key(path, small, NULL);
    assert_int_equal(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), STATUS_INVALID);
    write_key(path, curve, NULL);
    assert_int_equal(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), STATUS_INVALID);
    write_key(path, key, "secret"); /* would ask on the terminal */
    assert_int_equal(tokens_open(fixture.store, ISSUER, LIFETIME, &other, &error), STATUS_INVALID);
    EVP_PKEY_free(small);
    EVP_PKEY_free(curve);
    assert_int_equal(rename(kept, path), 0);
}

static void a_token_outlives_a_restart(void **state)
{
    (void)state;
    char token[TOKEN_BYTES_MAX];
    struct error error;
    strcpy(token, issue_for(client_id, "A9994"));
    tokens_close(tokens);
    token_cache_free(cache);
    expect_ok(tokens_open(fixture.store, ISSUER, LIFETIME, &tokens, &error), &error);
    cache = token_cache_new(tokens);
    assert_int_equal(verify(token), STATUS_OK);
}

/* ---- */

static int set_up(void **state)
{
    (void)state;
    struct error error = {0};
    char path[512];
    store_fixture_open(&fixture);
    snprintf(path, sizeof path, "%s/clock", fixture.root);
    setenv("SLUICE_TEST_CLOCK", path, 1);
    set_clock(0);
    expect_ok(token_key_create(fixture.dir, &error), &error);
    expect_ok(tokens_open(fixture.store, ISSUER, LIFETIME, &tokens, &error), &error);
    cache = token_cache_new(tokens);
    replies = mailbox_new(4);
    snprintf(path, sizeof path, "%s/keys/token.pem", fixture.dir);
    FILE *file = fopen(path, "r");
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    assert_int_equal(EVP_PKEY_get_bits(key), TOKEN_KEY_BITS);
    store_fixture_add_aco(&fixture, "A9994");
    add_credential("A9994", client_id);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    mailbox_free(replies);
    token_cache_free(cache);
    tokens_close(tokens);
    store_fixture_close(&fixture);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_issued_token_names_its_client_and_aco),
        cmocka_unit_test(an_issued_token_is_rs512_and_lives_as_long_as_set),
        cmocka_unit_test(no_two_tokens_are_alike),
        cmocka_unit_test(the_tests_own_signature_would_do),
        cmocka_unit_test(a_token_signed_with_the_public_key_as_hmac_secret_is_refused),
        cmocka_unit_test(a_token_without_a_signature_is_refused),
        cmocka_unit_test(a_header_that_says_anything_else_is_refused),
        cmocka_unit_test(a_token_of_another_key_is_refused),
        cmocka_unit_test(time_is_checked),
        cmocka_unit_test(a_cached_token_expires_in_time),
        cmocka_unit_test(claims_that_are_wrong_or_missing_are_refused),
        cmocka_unit_test(an_unknown_client_is_refused),
        cmocka_unit_test(junk_around_a_token_is_refused),
        cmocka_unit_test(what_is_no_token_at_all_is_refused),
        cmocka_unit_test(a_token_of_twenty_megabytes_is_refused_at_once),
        cmocka_unit_test(a_document_that_nests_deeply_is_refused),
        cmocka_unit_test(a_flipped_bit_in_any_part_is_refused),
        cmocka_unit_test(random_bytes_are_refused),
        cmocka_unit_test(a_revoked_credentials_token_is_refused_at_once_even_if_cached),
        cmocka_unit_test(a_removed_acos_token_is_refused_at_once_even_if_cached),
        cmocka_unit_test(another_acos_id_in_a_token_is_refused),
        cmocka_unit_test(a_credential_that_is_found_damaged_is_not_taken_for_a_bad_token),
        cmocka_unit_test(tokens_that_push_each_other_out_of_the_cache_are_all_verified),
        cmocka_unit_test(verifying_from_the_cache_is_cheap),
        cmocka_unit_test(an_issued_token_is_known_by_its_every_byte_and_no_longer_than_it_holds),
        cmocka_unit_test(a_full_queue_of_the_signer_refuses),
        cmocka_unit_test(a_key_is_made_once_and_for_its_owner_alone),
        cmocka_unit_test(a_key_that_others_may_read_is_refused),
        cmocka_unit_test(a_file_that_is_no_rsa_key_is_refused),
        cmocka_unit_test(a_token_outlives_a_restart),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
