#include "server/exchange_pool.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"

#include <sys/random.h>

#define SPARE_EXCHANGES_MAX 64
#define SPARE_BYTES_MAX     ((size_t)64 * 1024) /* a buffer larger than that is not kept for reuse */
#define ID_BYTES            16

void exchange_pool_init(struct exchange_pool *pool, struct connection_group *group, struct reactor *reactor,
                        void *service)
{
    *pool = (struct exchange_pool){.group = group, .reactor = reactor, .service = service};
}

static void held_exchange_free(struct held_exchange *held)
{
    buffer_release(&held->exchange.reply.fields);
    buffer_release(&held->exchange.reply.body);
    arena_release(&held->exchange.arena);
    buffer_release(&held->body);
    mem_free(held);
}

void exchange_pool_release(struct exchange_pool *pool)
{
    while (pool->spare) {
        struct held_exchange *held = pool->spare;
        pool->spare = held->next;
        held_exchange_free(held);
    }
    pool->spare_count = 0;
}

static void request_id_make(struct exchange_pool *pool, char target[65])
{
    while (pool->random_left < ID_BYTES) {
        ssize_t got = getrandom(pool->random, sizeof pool->random, 0);
        pool->random_left = got > 0 ? (size_t)got : 0; /* less after a signal */
    }
    pool->random_left -= ID_BYTES;
    const unsigned char *random = pool->random + pool->random_left;
    for (size_t i = 0; i < ID_BYTES; i++) {
        target[2 * i] = "0123456789abcdef"[random[i] >> 4];
        target[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
    }
    target[2 * (size_t)ID_BYTES] = '\0';
}

static bool request_id_is_valid(struct slice id)
{
    if (id.size == 0 || id.size > 64)
        return false;
    for (size_t i = 0; i < id.size; i++) {
        char c = id.data[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
              c == '_' || c == '-'))
            return false;
    }
    return true;
}

struct held_exchange *exchange_pool_take(struct exchange_pool *pool, const char *peer, bool is_tls)
{
    struct held_exchange *held = pool->spare;
    if (held) {
        pool->spare = held->next;
        pool->spare_count--;
        held->next = NULL;
    } else {
        held = mem_new(struct held_exchange);
        held->group = pool->group;
    }
    struct exchange *exchange = &held->exchange;
    exchange->request = (struct request){.method = HTTP_METHOD_OTHER, .version_minor = 1, .is_tls = is_tls};
    exchange->request.peer = arena_copy(&exchange->arena, slice_from_text(peer));
    exchange->reactor = pool->reactor;
    exchange->service = pool->service;
    exchange->route = NULL;
    exchange->aco[0] = '\0';
    exchange->begun_us = clock_monotonic_us();
    request_id_make(pool, exchange->request_id);
    return held;
}

void reply_close_source(struct reply *reply)
{
    if (reply->source)
        reply->source->close(reply->source);
    reply->source = NULL;
}

void reply_reset(struct reply *reply)
{
    reply_close_source(reply);
    buffer_reset(&reply->fields);
    buffer_reset(&reply->body);
    reply->status = 0;
    reply->length = 0;
    reply->close = false;
}

void exchange_pool_give(struct exchange_pool *pool, struct held_exchange *held)
{
    struct exchange *exchange = &held->exchange;
    CHECK(!held->with_handler);
    reply_reset(&exchange->reply);
    if (pool->spare_count == SPARE_EXCHANGES_MAX || exchange->arena.bytes > SPARE_BYTES_MAX ||
        exchange->reply.body.capacity > SPARE_BYTES_MAX ||
        exchange->reply.fields.capacity > SPARE_BYTES_MAX || held->body.capacity > SPARE_BYTES_MAX) {
        held_exchange_free(held);
        return;
    }
    arena_reset(&exchange->arena);
    buffer_reset(&held->body);
    exchange->connection = NULL;
    held->next = pool->spare;
    pool->spare = held;
    pool->spare_count++;
}

/* Slices into the head move with it; others are static text. */
static struct slice slice_move(struct slice slice, struct slice from, const char *to)
{
    size_t offset = (size_t)((uintptr_t)slice.data - (uintptr_t)from.data);
    return slice.data && offset <= from.size ? slice_make(to + offset, slice.size) : slice;
}

void exchange_set_head(struct exchange *exchange, const struct http_head *head, struct slice text)
{
    struct request *request = &exchange->request;
    const char *copy = arena_copy(&exchange->arena, text).data;
    struct http_field *fields =
        arena_alloc(&exchange->arena, (head->field_count ? head->field_count : 1) * sizeof *fields);
    for (size_t i = 0; i < head->field_count; i++) {
        fields[i].name = slice_move(head->fields[i].name, text, copy);
        fields[i].value = slice_move(head->fields[i].value, text, copy);
    }
    request->method = head->method;
    request->version_minor = head->version_minor;
    request->target = slice_move(head->target, text, copy);
    request->path = slice_move(head->path, text, copy);
    request->query = slice_move(head->query, text, copy);
    request->host = slice_move(head->host, text, copy);
    request->fields = fields;
    request->field_count = head->field_count;
    struct slice id;
    if (request_field(exchange, "X-Request-Id", &id) && request_id_is_valid(id)) {
        memcpy(exchange->request_id, id.data, id.size);
        exchange->request_id[id.size] = '\0';
    }
}
