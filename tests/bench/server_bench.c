#include "codec/base/check.h"
#include "server/http_head.h"
#include "server/token.h"
#include "storage/accounts.h"
#include "tests/bench/bench.h"
#include "tests/support/store_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(enum status status)
{
    CHECK(status == STATUS_OK);
}

/* A poll of a job as curl sends it, with a token of the usual length. */
static void bench_request_head(struct bench_loop *loop)
{
    char head[2048], token[901];
    memset(token, 'x', sizeof token - 1);
    token[sizeof token - 1] = '\0';
    int size =
        snprintf(head, sizeof head,
                 "GET /api/v1/jobs/42 HTTP/1.1\r\nHost: sandbox.example:8443\r\nUser-Agent: curl/7.88.1\r\n"
                 "Accept: */*\r\nAuthorization: Bearer %s\r\n\r\n",
                 token);
    struct http_head parsed;
    size_t taken = 0;
    bool good = true;
    while (bench_next(loop)) {
        size_t scanned = 0;
        good &= http_head_parse(slice_make(head, (size_t)size), &scanned, &parsed, &taken, NULL) ==
                HTTP_HEAD_COMPLETE;
    }
    if (!good || taken != (size_t)size || parsed.field_count != 4)
        bench_wrong(loop, "the head was not taken apart");
    bench_bytes(loop, (uint64_t)size);
    bench_items(loop, 1);
}

struct token_bench {
    struct store_fixture fixture;
    struct tokens *tokens;
    struct token_issue issue; /* holds a token */
    char client_id[CLIENT_ID_SIZE + 1];
};

static void nothing(struct message *message, void *receiver)
{
    (void)message, (void)receiver;
}

static void token_bench_issue(struct token_bench *bench, struct mailbox *replies)
{
    bench->issue = (struct token_issue){.message = {.deliver = nothing}, .reply_to = replies};
    strcpy(bench->issue.identity.client_id, bench->client_id);
    strcpy(bench->issue.identity.aco_id, "A9994");
    CHECK(tokens_issue(bench->tokens, &bench->issue));
    CHECK(mailbox_wait(replies, INT64_MAX) == &bench->issue.message);
    must(bench->issue.status);
}

static struct token_bench token_bench;

static void token_bench_close(void)
{
    tokens_close(token_bench.tokens);
    store_fixture_close(&token_bench.fixture);
}

/* One for all: making the key takes seconds. */
static struct token_bench *token_bench_open(void)
{
    struct token_bench *bench = &token_bench;
    struct credential_create create;
    char secret[CLIENT_SECRET_SIZE + 1];
    if (bench->tokens)
        return bench;
    store_fixture_open(&bench->fixture);
    store_fixture_add_aco(&bench->fixture, "A9994");
    must(credential_create_init(&create, SLICE_LITERAL("A9994"), (struct slice){0}, (struct slice){0}, secret,
                                NULL));
    must(writer_call(bench->fixture.writer, &create.request, NULL));
    strcpy(bench->client_id, create.credential.client_id);
    must(token_key_create(bench->fixture.dir, NULL));
    must(tokens_open(bench->fixture.store, "sluice", 1200, &bench->tokens, NULL));
    atexit(token_bench_close);
    return bench;
}

static void bench_token_issue(struct bench_loop *loop)
{
    struct token_bench *bench = token_bench_open();
    struct mailbox *replies = mailbox_new(1);
    while (bench_next(loop))
        token_bench_issue(bench, replies);
    if (!strchr(bench->issue.ret_token, '.'))
        bench_wrong(loop, "no token");
    bench_items(loop, 1);
    mailbox_free(replies);
}

static void verify_tokens(struct bench_loop *loop, bool is_cached)
{
    struct token_bench *bench = token_bench_open();
    struct mailbox *replies = mailbox_new(1);
    struct identity identity = {0};
    struct token_cache *cache = token_cache_new(bench->tokens);
    bool good = true;
    token_bench_issue(bench, replies);
    struct slice token = slice_from_text(bench->issue.ret_token);
    while (bench_next(loop)) {
        if (!is_cached) {
            bench_pause(loop);
            token_cache_free(cache);
            cache = token_cache_new(bench->tokens);
            bench_resume(loop);
        }
        good &= tokens_verify(bench->tokens, cache, token, &identity, NULL) == STATUS_OK;
    }
    if (!good || strcmp(identity.aco_id, "A9994") != 0)
        bench_wrong(loop, "a good token was refused");
    bench_items(loop, 1);
    token_cache_free(cache);
    mailbox_free(replies);
}

static void bench_token_verify_first(struct bench_loop *loop)
{
    verify_tokens(loop, false);
}

static void bench_token_verify_cached(struct bench_loop *loop)
{
    verify_tokens(loop, true);
}

const struct bench_case bench_server[] = {
    {"request_head", bench_request_head},
    {"token_issue", bench_token_issue},
    {"token_verify_first", bench_token_verify_first},
    {"token_verify_cached", bench_token_verify_cached},
    {NULL, NULL},
};
