#include "server/connection.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/http_body.h"
#include "server/http_head.h"
#include "server/http_reply.h"
#include "server/tls.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Input. More than a head, so that the parser meets its own bound before the buffer is full. */
#define INPUT_BYTES_MAX  ((size_t)64 * 1024)
#define INPUT_BYTES_KEPT ((size_t)512) /* a smaller rest is not worth moving */
/* Output. One pull; shrinks for a client that takes less, so that he does not hold that much memory. */
#define PULL_BYTES_MAX ((size_t)256 * 1024)
#define PULL_BYTES_MIN ((size_t)32 * 1024)
/* TLS: what is put together into one record and so into one packet, rather than three. */
#define RECORD_BYTES_MAX  ((size_t)16 * 1024)
#define OUTPUT_BYTES_KEPT ((size_t)2 * 1024)

/* One turn, so that a busy client does not keep the others of its reactor waiting. */
#define TURN_OUTPUT_BYTES_MAX ((size_t)1024 * 1024)
#define TURN_REQUESTS_MAX     32
#define TURN_READS_MAX        16

#define DOWNLOAD_WINDOW_MS 30000
/* A client that still sends when we close would get a reset, and lose the answer that it has not read yet
 * (RFC 9112 section 9.6): so we wait a little for his end. */
#define LINGER_MS        2000
#define LINGER_BYTES_MAX ((size_t)1024 * 1024)
/* Connections that are let in beyond the limit, to be told so; more are closed without a word. */
#define REFUSING_MAX        64
#define DRAIN_FRESH_MS      1000 /* while draining: for a connection that has sent nothing yet */
#define RETRY_AFTER_SECONDS "10"
#define SPARE_EXCHANGES_MAX 64
#define SPARE_BYTES_MAX     ((size_t)64 * 1024) /* a buffer larger than that is not kept for reuse */

enum connection_state {
    STATE_HANDSHAKE,
    STATE_HEAD, /* with empty input: idle */
    STATE_BODY,
    STATE_HANDLING, /* the exchange is with its handler */
    STATE_SENDING,
    STATE_LINGERING, /* the answer is out and our side closed; theirs is read until it ends */
    STATE_CLOSED     /* freed at the end of its turn */
};

/* An exchange and what is ours of it. */
struct held_exchange {
    struct exchange exchange; /* first: exchanges are cast back */
    struct connection_group *group;
    struct held_exchange *next;
    struct buffer body;
    bool with_handler;
};

struct connection {
    struct connection_group *group;
    struct connection *older, *newer;
    int fd;
    struct tls_session *tls; /* NULL: plain */
    bool is_tls;             /* as the client sees it */
    enum connection_state state;
    bool in_turn;
    bool is_refusing;
    bool has_served;   /* at least one request */
    bool keep_alive;   /* as the request's head says */
    bool input_ended;  /* the peer has closed his side; ours may still answer */
    bool readable;     /* the socket or the TLS session may have input */
    bool want_write;   /* a turn ends: the rest when the socket takes more, or at the next round */
    bool read_enabled; /* what libevent knows */
    bool write_enabled;
    struct event read_event, write_event, timer;
    int64_t deadline_us; /* of the current state; INT64_MAX: none */
    int64_t armed_us;    /* when the timer fires; not later than the deadline, and often earlier */

    struct buffer input;
    size_t input_at;
    size_t head_scanned;
    struct http_body body;
    struct held_exchange *held; /* the request that is read, handled or answered */

    /* Sending: three parts in this order. */
    struct buffer output; /* heads, and the size line of a chunk */
    size_t output_at;
    struct slice chunk; /* borrowed from the reply's source or body */
    struct slice tail;  /* behind a chunk; static text */
    size_t chunk_bytes; /* TLS: of the body, written but not flushed yet */
    bool body_ended;    /* all of it is in the parts */
    bool source_waits;  /* until exchange_resume */
    bool source_resumed;
    bool closes; /* after this reply */
    uint64_t body_left;
    uint64_t body_sent;
    size_t pull_bytes;
    bool is_blocked; /* by the socket */
    int64_t blocked_since_us;
    int64_t window_blocked_us;
    uint64_t window_bytes;

    size_t turn_output_bytes;
    unsigned turn_requests, turn_reads;
    size_t linger_bytes;

    struct sockaddr_storage address;
    char peer[INET6_ADDRSTRLEN];
};

static void connection_turn(struct connection *connection);

/* ---- exchanges ----------------------------------------------------------------------------------------- */

static void make_request_id(struct connection_group *group, char target[65])
{
    enum { ID_BYTES = 16 };
    if (group->random_left < ID_BYTES) {
        /* With 256 bytes at most, or before a signal, getrandom gives all or waits for the pool's start. */
        for (size_t at = 0; at < sizeof group->random; at += 256)
            CHECK(getrandom(group->random + at, 256, 0) == 256);
        group->random_left = sizeof group->random;
    }
    const unsigned char *random = group->random + (sizeof group->random - group->random_left);
    group->random_left -= ID_BYTES;
    for (size_t i = 0; i < ID_BYTES; i++) {
        target[2 * i] = "0123456789abcdef"[random[i] >> 4];
        target[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
    }
    target[(size_t)2 * ID_BYTES] = '\0';
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

/* An exchange whose request is empty. */
static struct held_exchange *exchange_new(struct connection *connection)
{
    struct connection_group *group = connection->group;
    struct held_exchange *held = group->spare;
    if (held) {
        group->spare = held->next;
        group->spare_count--;
        held->next = NULL;
    } else {
        held = mem_new(struct held_exchange);
        held->group = group;
    }
    struct exchange *exchange = &held->exchange;
    exchange->request = (struct request){.method = HTTP_METHOD_OTHER, .version_minor = 1};
    exchange->request.is_tls = connection->is_tls;
    exchange->request.peer = arena_copy(&exchange->arena, slice_from_text(connection->peer));
    exchange->connection = connection;
    exchange->reactor = group->reactor;
    exchange->service = group->options->service;
    exchange->route = NULL;
    exchange->aco[0] = '\0';
    exchange->begun_us = clock_monotonic_us();
    make_request_id(group, exchange->request_id);
    connection->held = held;
    return held;
}

static void spare_buffer(struct buffer *buffer)
{
    if (buffer->capacity > SPARE_BYTES_MAX)
        buffer_release(buffer);
    else
        buffer_reset(buffer);
}

static void reply_close_source(struct reply *reply)
{
    if (reply->source)
        reply->source->close(reply->source);
    reply->source = NULL;
}

static void reply_reset(struct reply *reply)
{
    reply_close_source(reply);
    spare_buffer(&reply->fields);
    spare_buffer(&reply->body);
    reply->status = 0;
    reply->length = 0;
    reply->close = false;
}

static void exchange_release(struct held_exchange *held)
{
    reply_reset(&held->exchange.reply);
    buffer_release(&held->exchange.reply.fields);
    buffer_release(&held->exchange.reply.body);
    arena_release(&held->exchange.arena);
    buffer_release(&held->body);
    mem_free(held);
}

static void exchange_free(struct connection_group *group, struct held_exchange *held)
{
    CHECK(!held->with_handler);
    if (group->spare_count == SPARE_EXCHANGES_MAX || held->exchange.arena.bytes > SPARE_BYTES_MAX) {
        exchange_release(held);
        return;
    }
    reply_reset(&held->exchange.reply);
    arena_reset(&held->exchange.arena);
    spare_buffer(&held->body);
    held->next = group->spare;
    group->spare = held;
    group->spare_count++;
}

/* Tells the log, closes the source, and forgets the exchange. */
static void exchange_finish(struct connection_group *group, struct held_exchange *held, uint64_t bytes,
                            bool complete)
{
    struct exchange *exchange = &held->exchange;
    reply_close_source(&exchange->reply);
    if (group->options->finished)
        group->options->finished(exchange, bytes, complete);
    exchange->connection = NULL;
    exchange_free(group, held);
}

static struct slice rebase(struct slice slice, const char *from, size_t from_size, const char *to)
{
    /* Slices into the head move with it; the rest is static text. */
    size_t offset = (size_t)((uintptr_t)slice.data - (uintptr_t)from);
    return slice.data && offset <= from_size ? slice_make(to + offset, slice.size) : slice;
}

/* Takes the request out of the input, whose bytes do not stay. */
static void exchange_take_head(struct held_exchange *held, const struct http_head *head, struct slice text)
{
    struct exchange *exchange = &held->exchange;
    struct request *request = &exchange->request;
    const char *copy = arena_copy(&exchange->arena, text).data;
    struct http_field *fields =
        arena_alloc(&exchange->arena, (head->field_count ? head->field_count : 1) * sizeof *fields);
    for (size_t i = 0; i < head->field_count; i++) {
        fields[i].name = rebase(head->fields[i].name, text.data, text.size, copy);
        fields[i].value = rebase(head->fields[i].value, text.data, text.size, copy);
    }
    request->method = head->method;
    request->version_minor = head->version_minor;
    request->target = rebase(head->target, text.data, text.size, copy);
    request->path = rebase(head->path, text.data, text.size, copy);
    request->query = rebase(head->query, text.data, text.size, copy);
    request->host = rebase(head->host, text.data, text.size, copy);
    request->fields = fields;
    request->field_count = head->field_count;
    struct slice id;
    if (request_field(exchange, "X-Request-Id", &id) && request_id_is_valid(id)) {
        memcpy(exchange->request_id, id.data, id.size);
        exchange->request_id[id.size] = '\0';
    }
}

/* ---- closing ------------------------------------------------------------------------------------------- */

/* Ends the connection now. Whatever reply is under way stays visibly incomplete: TLS gets no close_notify. */
static void connection_close(struct connection *connection)
{
    struct connection_group *group = connection->group;
    if (connection->state == STATE_CLOSED)
        return;
    enum connection_state state = connection->state;
    connection->state = STATE_CLOSED;

    struct held_exchange *held = connection->held;
    connection->held = NULL;
    if (held && state == STATE_HANDLING)
        held->exchange.connection = NULL; /* exchange_send finishes it */
    else if (held && state == STATE_SENDING)
        exchange_finish(group, held, connection->body_sent, false);
    else if (held)
        exchange_free(group, held);

    event_del(&connection->read_event);
    event_del(&connection->write_event);
    event_del(&connection->timer);
    tls_session_free(connection->tls);
    connection->tls = NULL;
    close(connection->fd);
    connection->fd = -1;
    *(connection->newer ? &connection->newer->older : &group->newest) = connection->older;
    if (connection->older)
        connection->older->newer = connection->newer;
    group->connections--;
    if (connection->is_refusing) {
        group->refusing--;
    } else {
        atomic_fetch_sub_explicit(&group->census->connections, 1, memory_order_relaxed);
        address_count_remove(group->census->addresses, (struct sockaddr *)&connection->address);
    }
    if (!connection->in_turn) {
        buffer_release(&connection->input);
        buffer_release(&connection->output);
        mem_free(connection);
    }
    if (group->connections == 0)
        group->emptied(group);
}

static int64_t after_ms(unsigned ms)
{
    return clock_monotonic_us() + (int64_t)ms * 1000;
}

/* The reply is out and was the last one. */
static void connection_linger(struct connection *connection)
{
    if (connection->tls)
        tls_session_shutdown(connection->tls);
    if (connection->input_ended || shutdown(connection->fd, SHUT_WR) != 0) {
        connection_close(connection);
        return;
    }
    connection->state = STATE_LINGERING;
    connection->deadline_us = after_ms(LINGER_MS);
    connection->input.size = connection->input_at = 0;
    /* The socket may have been emptied already; then the event says when there is more. */
    connection->readable = true;
}

/* True to go on. */
static bool connection_discard(struct connection *connection)
{
    char unread[16 * 1024];
    while (connection->turn_reads++ < TURN_READS_MAX) {
        ssize_t got = recv(connection->fd, unread, sizeof unread, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return false;
        connection->linger_bytes += got > 0 ? (size_t)got : 0;
        if (got <= 0 || connection->linger_bytes > LINGER_BYTES_MAX) {
            connection_close(connection);
            return false;
        }
    }
    return false;
}

/* ---- sending ------------------------------------------------------------------------------------------- */

enum flow { FLOW_DONE, FLOW_BLOCKED, FLOW_BROKEN };

static bool parts_are_empty(const struct connection *connection)
{
    return connection->output_at == connection->output.size && connection->chunk.size == 0 &&
           connection->tail.size == 0;
}

static void output_reset(struct connection *connection)
{
    connection->output_at = 0;
    if (connection->output.capacity > OUTPUT_BYTES_KEPT)
        buffer_release(&connection->output);
    else
        buffer_reset(&connection->output);
}

static enum flow flush_plain(struct connection *connection)
{
    while (!parts_are_empty(connection)) {
        struct slice output = slice_skip(buffer_slice(&connection->output), connection->output_at);
        struct iovec parts[3] = {{(void *)(uintptr_t)output.data, output.size},
                                 {(void *)(uintptr_t)connection->chunk.data, connection->chunk.size},
                                 {(void *)(uintptr_t)connection->tail.data, connection->tail.size}};
        size_t offered = output.size + connection->chunk.size + connection->tail.size;
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        ssize_t result = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (result < 0 && errno == EINTR)
            continue;
        if (result < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? FLOW_BLOCKED : FLOW_BROKEN;

        size_t sent = (size_t)result;
        connection->window_bytes += sent;
        connection->turn_output_bytes += sent;
        size_t of_output = sent < output.size ? sent : output.size;
        size_t of_chunk =
            sent - of_output < connection->chunk.size ? sent - of_output : connection->chunk.size;
        connection->output_at += of_output;
        connection->chunk = slice_skip(connection->chunk, of_chunk);
        connection->tail = slice_skip(connection->tail, sent - of_output - of_chunk);
        connection->body_sent += of_chunk;
        /* The socket took less than it was offered: it is full, and asking again would cost a call. */
        if (sent < offered)
            return FLOW_BLOCKED;
    }
    output_reset(connection);
    return FLOW_DONE;
}

static enum flow flush_tls(struct connection *connection)
{
    struct tls_session *tls = connection->tls;
    if (!parts_are_empty(connection)) {
        struct buffer *output = &connection->output;
        size_t chunk_bytes = connection->chunk.size;
        if (output->size - connection->output_at + connection->chunk.size + connection->tail.size <=
            RECORD_BYTES_MAX) {
            buffer_append_slice(output, connection->chunk);
            buffer_append_slice(output, connection->tail);
            connection->chunk.size = connection->tail.size = 0;
        }
        if (tls_session_write(tls, slice_skip(buffer_slice(output), connection->output_at)) !=
                TLS_RESULT_OK ||
            tls_session_write(tls, connection->chunk) != TLS_RESULT_OK ||
            tls_session_write(tls, connection->tail) != TLS_RESULT_OK)
            return FLOW_BROKEN;
        output_reset(connection);
        connection->chunk.size = connection->tail.size = 0;
        connection->chunk_bytes += chunk_bytes;
    }
    size_t sent;
    enum tls_result result = tls_session_flush(tls, &sent);
    connection->window_bytes += sent;
    connection->turn_output_bytes += sent;
    if (result == TLS_RESULT_WANT_WRITE)
        return FLOW_BLOCKED;
    if (result != TLS_RESULT_OK)
        return FLOW_BROKEN;
    connection->body_sent += connection->chunk_bytes;
    connection->chunk_bytes = 0;
    return FLOW_DONE;
}

static int64_t window_us(const struct connection *connection)
{
    unsigned ms = connection->group->options->limits.download_window_ms;
    return (int64_t)(ms ? ms : DOWNLOAD_WINDOW_MS) * 1000;
}

/* Counts the time in which the socket took nothing. False: the client is too slow. */
static bool window_count(struct connection *connection)
{
    if (!connection->is_blocked)
        return true;
    int64_t now_us = clock_monotonic_us();
    connection->window_blocked_us += now_us - connection->blocked_since_us;
    connection->blocked_since_us = now_us;
    if (connection->window_blocked_us < window_us(connection))
        return true;
    uint64_t bytes_min = connection->group->options->limits.download_bytes_per_second_min *
                         (uint64_t)window_us(connection) / (uint64_t)US_PER_SECOND;
    bool fast_enough = connection->window_bytes >= (bytes_min ? bytes_min : 1);
    connection->window_blocked_us = 0;
    connection->window_bytes = 0;
    return fast_enough;
}

static enum flow connection_flush(struct connection *connection)
{
    enum flow flow = connection->tls ? flush_tls(connection) : flush_plain(connection);
    if (flow == FLOW_BROKEN)
        return flow;
    if (!window_count(connection))
        return FLOW_BROKEN;
    if (flow == FLOW_BLOCKED) {
        connection->want_write = true;
        if (!connection->is_blocked) {
            connection->is_blocked = true;
            connection->blocked_since_us = clock_monotonic_us();
        }
        connection->deadline_us =
            connection->blocked_since_us + window_us(connection) - connection->window_blocked_us;
        if (connection->pull_bytes > PULL_BYTES_MIN)
            connection->pull_bytes /= 2;
        return flow;
    }
    connection->is_blocked = false;
    connection->deadline_us = INT64_MAX;
    if (connection->pull_bytes < PULL_BYTES_MAX)
        connection->pull_bytes *= 2;
    return flow;
}

/* Asks the source for the next chunk. False: there is none now, or the connection is closed. */
static bool connection_pull(struct connection *connection)
{
    struct reply *reply = &connection->held->exchange.reply;
    bool is_chunked = reply->length == REPLY_LENGTH_CHUNKED;
    struct slice chunk = {NULL, 0};
    connection->source_resumed = false;
    enum body_pull pull = reply->source->pull(reply->source, connection->pull_bytes, &chunk);
    if (pull == BODY_PULL_WAIT) {
        connection->source_waits = !connection->source_resumed;
        connection->want_write = connection->source_resumed; /* asked again at the next round */
        return false;
    }
    /* More or less than was announced is our own fault; the client sees a broken download rather than a body
     * that looks whole. */
    bool ends = pull == BODY_PULL_END;
    if (pull == BODY_PULL_FAIL || (!ends && chunk.size == 0) ||
        (!is_chunked && chunk.size > connection->body_left) ||
        (!is_chunked && ends && chunk.size < connection->body_left)) {
        connection_close(connection);
        return false;
    }
    if (!is_chunked) {
        connection->body_left -= chunk.size;
        connection->body_ended = connection->body_left == 0;
    } else {
        connection->body_ended = ends;
        if (chunk.size)
            http_reply_chunk_size(&connection->output, chunk.size);
        connection->tail = !ends        ? (chunk.size ? SLICE_LITERAL("\r\n") : slice_make(NULL, 0))
                           : chunk.size ? SLICE_LITERAL("\r\n0\r\n\r\n")
                                        : SLICE_LITERAL("0\r\n\r\n");
    }
    connection->chunk = chunk;
    return true;
}

static void connection_await_request(struct connection *connection)
{
    const struct connection_limits *limits = &connection->group->options->limits;
    connection->state = STATE_HEAD;
    connection->head_scanned = 0;
    connection->deadline_us =
        after_ms(connection->has_served ? limits->idle_timeout_ms : limits->head_timeout_ms);
}

/* All of the reply is with the socket. */
static void connection_reply_done(struct connection *connection)
{
    struct held_exchange *held = connection->held;
    connection->held = NULL;
    exchange_finish(connection->group, held, connection->body_sent, true);
    connection->has_served = true;
    if (connection->closes)
        connection_linger(connection);
    else
        connection_await_request(connection);
}

/* True to go on. */
static bool connection_send(struct connection *connection)
{
    for (;;) {
        bool pauses = connection->source_waits;
        /* Before the flush: the first chunk goes with the head. */
        if (!connection->body_ended && !pauses && !connection->is_blocked) {
            pauses = !connection_pull(connection);
            if (connection->state != STATE_SENDING)
                return false;
        }
        enum flow flow = connection_flush(connection);
        if (flow == FLOW_BROKEN)
            connection_close(connection);
        if (flow != FLOW_DONE)
            return false;
        if (connection->body_ended) {
            connection_reply_done(connection);
            return true;
        }
        if (connection->turn_output_bytes >= TURN_OUTPUT_BYTES_MAX) {
            connection->want_write = true;
            return false;
        }
        if (pauses)
            return false;
    }
}

/* ---- the reply begins ---------------------------------------------------------------------------------- */

static void reply_refuse(struct connection *connection, unsigned status, const char *text)
{
    struct reply *reply = &connection->held->exchange.reply;
    const struct reactors_options *options = connection->group->options;
    reply_reset(reply);
    reply->status = status;
    if (status == 503)
        reply_field(reply, "Retry-After", RETRY_AFTER_SECONDS);
    if (options->refuse)
        options->refuse(reply, status, text);
    CHECK(!reply->source);
    reply->status = status;
    reply->close = true;
}

static void connection_begin_reply(struct connection *connection)
{
    struct exchange *exchange = &connection->held->exchange;
    struct request *request = &exchange->request;
    struct reply *reply = &exchange->reply;
    /* Without chunks the end of the connection would be the end of the body, and a break look complete. */
    if (reply->source && reply->length == REPLY_LENGTH_CHUNKED && request->version_minor == 0)
        reply_refuse(connection, 503, "this file is not complete yet, and HTTP/1.0 cannot follow it");
    CHECK(reply->status >= 200);

    connection->closes = reply->close || !connection->keep_alive || connection->group->draining;
    struct http_reply_frame frame = {
        .framing = HTTP_FRAMING_LENGTH,
        .length = reply->source ? (uint64_t)reply->length : reply->body.size,
        .version_minor = request->version_minor,
        .close = connection->closes,
        .is_tls = connection->is_tls,
        .request_id = exchange->request_id,
        .date_seconds = clock_now_us() / US_PER_SECOND,
    };
    bool has_body = request->method != HTTP_METHOD_HEAD;
    if (reply->status == 204 || reply->status == 304) {
        frame.framing = HTTP_FRAMING_NONE;
        has_body = false;
    } else if (reply->source && reply->length == REPLY_LENGTH_CHUNKED) {
        frame.framing = HTTP_FRAMING_CHUNKED;
    } else {
        CHECK(!reply->source || reply->length >= 0);
    }
    http_reply_head(&connection->output, reply, &frame);

    connection->state = STATE_SENDING;
    connection->deadline_us = INT64_MAX;
    connection->chunk = connection->tail = slice_make(NULL, 0);
    connection->source_waits = connection->is_blocked = false;
    connection->body_sent = connection->window_bytes = 0;
    connection->chunk_bytes = 0;
    connection->window_blocked_us = 0;
    connection->pull_bytes = PULL_BYTES_MAX;
    connection->body_left = 0;
    connection->body_ended = true;
    if (!has_body) {
        reply_close_source(reply);
    } else if (!reply->source) {
        connection->chunk = buffer_slice(&reply->body);
    } else if (frame.framing == HTTP_FRAMING_CHUNKED || frame.length > 0) {
        connection->body_left = frame.length;
        connection->body_ended = false;
    }
}

/* Answers what is no request that a handler could see, and closes. */
static void connection_refuse(struct connection *connection, unsigned status, const char *text)
{
    if (!connection->held)
        exchange_new(connection);
    reply_refuse(connection, status, text);
    connection_begin_reply(connection);
}

void exchange_send(struct exchange *exchange)
{
    struct held_exchange *held = (struct held_exchange *)exchange;
    struct connection *connection = exchange->connection;
    struct connection_group *group = held->group;
    CHECK(held->with_handler);
    held->with_handler = false;
    group->exchanges--;
    if (connection) {
        CHECK(connection->state == STATE_HANDLING && connection->held == held);
        connection_begin_reply(connection);
        if (!connection->in_turn)
            connection_turn(connection);
    } else {
        exchange_finish(group, held, 0, false);
    }
    if (group->exchanges == 0)
        group->emptied(group);
}

void exchange_resume(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    CHECK(connection && connection->state == STATE_SENDING);
    connection->source_resumed = true;
    if (connection->source_waits) {
        connection->source_waits = false;
        if (!connection->in_turn)
            connection_turn(connection);
    }
}

/* ---- reading ------------------------------------------------------------------------------------------- */

enum fill { FILL_SOME, FILL_NOTHING, FILL_ENDED, FILL_BROKEN };

static struct slice input_left(const struct connection *connection)
{
    return slice_skip(buffer_slice(&connection->input), connection->input_at);
}

static void input_take(struct connection *connection, size_t size)
{
    connection->input_at += size;
    if (connection->input_at == connection->input.size)
        connection->input.size = connection->input_at = 0;
}

/* Borrows the group's buffer, or moves what is left to the front of our own. */
static void input_make_room(struct connection *connection)
{
    struct buffer *input = &connection->input;
    struct buffer *lent = &connection->group->input;
    if (input->capacity < INPUT_BYTES_MAX && lent->capacity) {
        buffer_append_slice(lent, input_left(connection));
        buffer_release(input);
        *input = *lent;
        buffer_init(lent);
    } else if (connection->input_at) {
        memmove(input->data, input->data + connection->input_at, input->size - connection->input_at);
        input->size -= connection->input_at;
    }
    connection->input_at = 0;
    if (input->capacity < INPUT_BYTES_MAX)
        buffer_reserve(input, INPUT_BYTES_MAX - input->size);
}

/* At the end of a turn: an idle connection holds no buffer, a slow one a small one. */
static void input_return_room(struct connection *connection)
{
    struct buffer *input = &connection->input;
    struct slice left = input_left(connection);
    if (input->capacity < INPUT_BYTES_MAX || (left.size && left.size > INPUT_BYTES_MAX / 2))
        return;
    struct buffer kept = BUFFER_INIT;
    if (left.size) {
        buffer_reserve(&kept, left.size < INPUT_BYTES_KEPT ? INPUT_BYTES_KEPT : left.size);
        buffer_append_slice(&kept, left);
    }
    buffer_reset(input);
    connection->input_at = 0;
    if (connection->group->input.capacity)
        buffer_release(input);
    else
        connection->group->input = *input;
    *input = kept;
}

static enum fill connection_fill(struct connection *connection)
{
    if (connection->input_ended)
        return FILL_ENDED;
    if (!connection->readable)
        return FILL_NOTHING;
    if (connection->turn_reads++ == TURN_READS_MAX) {
        connection->want_write = true; /* a turn at the next round; TLS may hold what no event announces */
        return FILL_NOTHING;
    }
    input_make_room(connection);
    struct buffer *input = &connection->input;
    size_t room = INPUT_BYTES_MAX - input->size, got = 0;
    CHECK(room > 0);
    if (connection->tls) {
        switch (tls_session_read(connection->tls, input->data + input->size, room, &got)) {
        case TLS_RESULT_OK:
            connection->readable = tls_session_pending(connection->tls);
            break;
        case TLS_RESULT_CLOSED:
            break;
        case TLS_RESULT_WANT_READ:
        case TLS_RESULT_WANT_WRITE:
            connection->readable = false;
            return FILL_NOTHING;
        default:
            return FILL_BROKEN;
        }
    } else {
        ssize_t result;
        do {
            result = recv(connection->fd, input->data + input->size, room, 0);
        } while (result < 0 && errno == EINTR);
        if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            connection->readable = false;
            return FILL_NOTHING;
        }
        if (result < 0)
            return FILL_BROKEN;
        got = (size_t)result;
        connection->readable = got == room;
    }
    if (got == 0) {
        connection->input_ended = true;
        connection->readable = false;
        return FILL_ENDED;
    }
    input->size += got;
    return FILL_SOME;
}

/* While a request is handled or answered: takes what comes, so far as there is room, to notice a client that
 * breaks off. One that only closes his side still gets his answer. */
static void connection_read_ahead(struct connection *connection)
{
    while (connection->readable && input_left(connection).size < INPUT_BYTES_MAX) {
        enum fill fill = connection_fill(connection);
        if (fill == FILL_BROKEN)
            connection_close(connection);
        if (fill != FILL_SOME)
            return;
    }
}

static void connection_handle(struct connection *connection)
{
    struct held_exchange *held = connection->held;
    struct connection_group *group = connection->group;
    held->exchange.request.body = buffer_slice(&held->body);
    connection->state = STATE_HANDLING;
    connection->deadline_us = INT64_MAX;
    connection->turn_requests++;
    held->with_handler = true;
    group->exchanges++;
    atomic_fetch_add_explicit(&group->requests, 1, memory_order_relaxed);
    group->options->handle(&held->exchange);
}

/* True to go on. */
static bool connection_read_body(struct connection *connection)
{
    size_t used;
    enum http_body_result result =
        http_body_read(&connection->body, input_left(connection), &used, &connection->held->body);
    input_take(connection, used);
    switch (result) {
    case HTTP_BODY_COMPLETE:
        connection_handle(connection);
        return true;
    case HTTP_BODY_INCOMPLETE:
        break;
    case HTTP_BODY_MALFORMED:
        connection_refuse(connection, 400, "the request's body is malformed");
        return true;
    case HTTP_BODY_TOO_LARGE: {
        struct error error;
        error_set(&error, STATUS_TOO_LARGE, "the request's body is longer than %zu bytes",
                  connection->group->options->limits.body_bytes_max);
        connection_refuse(connection, 413, error.text);
        return true;
    }
    }
    switch (connection_fill(connection)) {
    case FILL_SOME:
        return true;
    case FILL_NOTHING:
        return false;
    case FILL_ENDED:
    case FILL_BROKEN:
        connection_close(connection);
        return false;
    }
    return false;
}

/* RFC 9110 section 10.1.1: to a client that waits for leave to send its body, if it has not begun to. */
static void connection_continue(struct connection *connection)
{
    buffer_append_text(&connection->output, "HTTP/1.1 100 Continue\r\n\r\n");
    enum flow flow = connection->tls ? flush_tls(connection) : flush_plain(connection);
    /* Blocked: hardly possible with nothing else in the socket; then it goes out before the reply. */
    if (flow == FLOW_BROKEN)
        connection_close(connection);
}

static void connection_take_request(struct connection *connection, const struct http_head *head, size_t size)
{
    struct held_exchange *held = exchange_new(connection);
    struct slice input = input_left(connection);
    exchange_take_head(held, head, slice_make(input.data, size));
    input_take(connection, size);
    connection->keep_alive = head->keep_alive;
    http_body_init(&connection->body, head, connection->group->options->limits.body_bytes_max);
    connection->state = STATE_BODY;
    bool has_body = head->is_chunked || (head->has_content_length && head->content_length > 0);
    if (!has_body)
        return;
    connection->deadline_us = after_ms(connection->group->options->limits.body_timeout_ms);
    bool is_refused =
        head->has_content_length && head->content_length > connection->group->options->limits.body_bytes_max;
    if (head->expects_continue && !is_refused && input_left(connection).size == 0)
        connection_continue(connection);
}

/* True to go on. */
static bool connection_read_head(struct connection *connection)
{
    struct slice input = input_left(connection);
    if (connection->is_refusing) {
        connection->keep_alive = false;
        connection_refuse(connection, 503, "there are too many connections");
        return true;
    }
    if (input.size) {
        if (connection->turn_requests == TURN_REQUESTS_MAX) {
            connection->want_write = true;
            return false;
        }
        struct http_head head;
        struct error error;
        size_t size;
        bool is_first_look = connection->head_scanned == 0;
        switch (http_head_parse(input, &connection->head_scanned, &head, &size, &error)) {
        case HTTP_HEAD_COMPLETE:
            connection_take_request(connection, &head, size);
            return true;
        case HTTP_HEAD_INCOMPLETE:
            /* Absolute, from its first byte: a byte now and then does not prolong it. */
            if (is_first_look && connection->has_served)
                connection->deadline_us = after_ms(connection->group->options->limits.head_timeout_ms);
            break;
        case HTTP_HEAD_MALFORMED:
            connection_refuse(connection, 400, error.text);
            return true;
        case HTTP_HEAD_TARGET_TOO_LONG:
            connection_refuse(connection, 414, error.text);
            return true;
        case HTTP_HEAD_TOO_LARGE:
            connection_refuse(connection, 431, error.text);
            return true;
        case HTTP_HEAD_VERSION:
            connection_refuse(connection, 505, error.text);
            return true;
        }
    }
    switch (connection_fill(connection)) {
    case FILL_SOME:
        return true;
    case FILL_NOTHING:
        return false;
    case FILL_ENDED:
        /* Ours is closed properly, too. */
        connection_linger(connection);
        return false;
    case FILL_BROKEN:
        connection_close(connection);
        return false;
    }
    return false;
}

/* True to go on. */
static bool connection_handshake(struct connection *connection)
{
    switch (tls_session_handshake(connection->tls)) {
    case TLS_RESULT_OK:
        connection_await_request(connection);
        return true;
    case TLS_RESULT_WANT_READ:
    case TLS_RESULT_WANT_WRITE:
        return false;
    case TLS_RESULT_PLAIN:
        tls_session_free(connection->tls);
        connection->tls = NULL;
        connection->is_tls = false;
        connection_refuse(connection, 400, "this port speaks HTTPS: use a URL that begins with https://");
        return true;
    case TLS_RESULT_FAILED:
        connection_linger(connection); /* so that the peer sees the alert */
        return connection->state == STATE_LINGERING;
    case TLS_RESULT_CLOSED:
        connection_close(connection);
        return false;
    }
    return false;
}

/* ---- turns --------------------------------------------------------------------------------------------- */

static void event_switch(struct event *event, bool *enabled, bool wanted)
{
    if (*enabled == wanted)
        return;
    CHECK((wanted ? event_add(event, NULL) : event_del(event)) == 0);
    *enabled = wanted;
}

static void connection_arm(struct connection *connection)
{
    if (connection->deadline_us >= connection->armed_us)
        return; /* the timer fires earlier and then looks again: cheaper than to move it with each request */
    int64_t left_us = connection->deadline_us - clock_monotonic_us();
    if (left_us < 0)
        left_us = 0;
    struct timeval after = {left_us / US_PER_SECOND, left_us % US_PER_SECOND};
    CHECK(evtimer_add(&connection->timer, &after) == 0);
    connection->armed_us = connection->deadline_us;
}

/* Ends a turn: what libevent watches follows from the state. May free the connection. */
static void connection_settle(struct connection *connection)
{
    struct connection_group *group = connection->group;
    if (group->draining && connection->state == STATE_HEAD && input_left(connection).size == 0) {
        if (connection->has_served) {
            connection_linger(connection);
        } else {
            int64_t until_us = after_ms(DRAIN_FRESH_MS);
            if (until_us < connection->deadline_us)
                connection->deadline_us = until_us;
        }
    }
    input_return_room(connection);
    if (connection->state == STATE_CLOSED) {
        buffer_release(&connection->input);
        buffer_release(&connection->output);
        mem_free(connection);
        return;
    }
    bool reads_always = connection->state != STATE_HANDLING && connection->state != STATE_SENDING;
    event_switch(&connection->read_event, &connection->read_enabled,
                 !connection->input_ended && (reads_always || input_left(connection).size < INPUT_BYTES_MAX));
    event_switch(&connection->write_event, &connection->write_enabled,
                 connection->want_write || (connection->tls && tls_session_unsent(connection->tls)));
    connection_arm(connection);
    connection->in_turn = false;
}

static void connection_begin_turn(struct connection *connection)
{
    connection->in_turn = true;
    connection->want_write = false;
    connection->turn_output_bytes = 0;
    connection->turn_requests = connection->turn_reads = 0;
}

static void connection_turn(struct connection *connection)
{
    CHECK(!connection->in_turn);
    connection_begin_turn(connection);
    bool goes_on = true;
    while (goes_on) {
        switch (connection->state) {
        case STATE_HANDSHAKE:
            goes_on = connection_handshake(connection);
            break;
        case STATE_HEAD:
            goes_on = connection_read_head(connection);
            break;
        case STATE_BODY:
            goes_on = connection_read_body(connection);
            break;
        case STATE_SENDING:
            goes_on = connection_send(connection);
            break;
        case STATE_LINGERING:
            goes_on = connection_discard(connection);
            break;
        case STATE_HANDLING:
        case STATE_CLOSED:
            goes_on = false;
            break;
        }
    }
    connection_settle(connection);
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct connection *connection = argument;
    (void)fd;
    (void)what;
    connection->readable = true;
    if (connection->state != STATE_HANDLING && connection->state != STATE_SENDING) {
        connection_turn(connection);
        return;
    }
    bool want_write = connection->want_write;
    connection_begin_turn(connection);
    connection->want_write = want_write;
    connection_read_ahead(connection);
    connection_settle(connection);
}

static void on_writable(evutil_socket_t fd, short what, void *argument)
{
    struct connection *connection = argument;
    (void)fd;
    (void)what;
    if (connection->tls && connection->state != STATE_SENDING && tls_session_unsent(connection->tls)) {
        size_t sent;
        if (tls_session_flush(connection->tls, &sent) == TLS_RESULT_CLOSED) {
            connection_close(connection);
            return;
        }
    }
    connection_turn(connection);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    struct connection *connection = argument;
    (void)fd;
    (void)what;
    connection->armed_us = INT64_MAX;
    if (clock_monotonic_us() < connection->deadline_us) {
        connection_arm(connection);
        return;
    }
    connection->deadline_us = INT64_MAX;
    if (connection->state == STATE_SENDING) {
        /* A window is over: go on if enough went out in it. */
        if (window_count(connection)) {
            connection->deadline_us = connection->blocked_since_us + window_us(connection);
            connection_arm(connection);
        } else {
            connection_close(connection);
        }
    } else if (connection->state == STATE_BODY ||
               (connection->state == STATE_HEAD && input_left(connection).size > 0)) {
        connection->keep_alive = false;
        connection_refuse(connection, 408, "the request took too long to arrive");
        connection_turn(connection);
    } else {
        connection_close(connection);
    }
}

/* ---- the group ----------------------------------------------------------------------------------------- */

void connection_group_init(struct connection_group *group, struct event_base *base, struct reactor *reactor,
                           const struct reactors_options *options, struct connection_census *census)
{
    *group =
        (struct connection_group){.base = base, .reactor = reactor, .options = options, .census = census};
    buffer_reserve(&group->input, INPUT_BYTES_MAX);
}

void connection_group_release(struct connection_group *group)
{
    CHECK(!group->newest && group->exchanges == 0);
    while (group->spare) {
        struct held_exchange *held = group->spare;
        group->spare = held->next;
        exchange_release(held);
    }
    group->spare_count = 0;
    buffer_release(&group->input);
    buffer_release(&group->records);
}

void connection_group_drain(struct connection_group *group)
{
    group->draining = true;
    /* Each in a turn of its own, since a turn may free any connection. Its settling closes it if it is idle,
     * after a look for a request that has just come. */
    for (struct connection *connection = group->newest; connection; connection = connection->older)
        event_active(&connection->read_event, EV_READ, 0);
    if (group->connections == 0)
        group->emptied(group);
}

void connection_group_cut(struct connection_group *group)
{
    while (group->newest)
        connection_close(group->newest);
}

void connection_accept(struct connection_group *group, int fd, const struct sockaddr *address,
                       struct tls_context *tls)
{
    const struct connection_limits *limits = &group->options->limits;
    struct connection_census *census = group->census;
    bool is_refusing = false;
    if (atomic_fetch_add_explicit(&census->connections, 1, memory_order_relaxed) >= limits->connections_max ||
        !address_count_add(census->addresses, address)) {
        atomic_fetch_sub_explicit(&census->connections, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&group->refused, 1, memory_order_relaxed);
        /* Over TLS to say so would cost a handshake, which is what somebody who floods us wants. */
        if (tls || group->refusing == REFUSING_MAX) {
            close(fd);
            return;
        }
        is_refusing = true;
        group->refusing++;
    } else {
        atomic_fetch_add_explicit(&group->accepted, 1, memory_order_relaxed);
    }

    /* Not fatal: a slower connection. Without NODELAY an answer's last packet waits 40 ms for the ACK of the
     * one before it. Keep-alive probes find peers that vanished while nothing is sent. */
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);

    struct connection *connection = mem_new(struct connection);
    connection->group = group;
    connection->fd = fd;
    connection->is_refusing = is_refusing;
    connection->armed_us = INT64_MAX;
    memcpy(&connection->address, address,
           address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    address_format(address, connection->peer);
    connection->older = group->newest;
    if (group->newest)
        group->newest->newer = connection;
    group->newest = connection;
    group->connections++;
    CHECK(event_assign(&connection->read_event, group->base, fd, EV_READ | EV_PERSIST, on_readable,
                       connection) == 0);
    CHECK(event_assign(&connection->write_event, group->base, fd, EV_WRITE | EV_PERSIST, on_writable,
                       connection) == 0);
    CHECK(evtimer_assign(&connection->timer, group->base, on_timer, connection) == 0);
    if (tls) {
        connection->is_tls = true;
        connection->tls = tls_session_new(tls, fd, &group->records);
        connection->state = STATE_HANDSHAKE;
        connection->deadline_us = after_ms(limits->handshake_timeout_ms);
    } else {
        connection_await_request(connection);
    }
    if (is_refusing) {
        connection_turn(connection);
    } else {
        connection_begin_turn(connection);
        connection_settle(connection);
    }
}
