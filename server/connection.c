#include "server/connection.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/http_body.h"
#include "server/http_head.h"
#include "server/http_reply.h"
#include "server/reply_sender.h"
#include "server/tls.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <sys/socket.h>
#include <unistd.h>

/* More than a head, so that the parser meets its own bound before the buffer is full. */
#define INPUT_BYTES_MAX  ((size_t)64 * 1024)
#define INPUT_BYTES_KEPT ((size_t)512) /* the least that is allocated for the rest of an input */

/* One turn, so that a busy client does not keep the others of its reactor waiting. */
#define TURN_REQUESTS_MAX 32
#define TURN_READS_MAX    16

#define DOWNLOAD_WINDOW_MS 30000
/* A client that still sends when we close would get a reset, and lose the answer that it has not read yet
 * (RFC 9112 section 9.6): so we wait a little for his end. */
#define LINGER_MS        2000
#define LINGER_BYTES_MAX ((size_t)1024 * 1024)
/* Connections that are let in beyond the limit, to be told so; more are closed without a word. */
#define REFUSING_MAX        64
#define DRAIN_FRESH_MS      1000 /* while draining: for a connection that has sent nothing yet */
#define RETRY_AFTER_SECONDS "10"

enum connection_state {
    STATE_HANDSHAKE,
    STATE_HEAD, /* with empty input: idle */
    STATE_BODY,
    STATE_HANDLING, /* the exchange is with its handler */
    STATE_SENDING,
    STATE_LINGERING, /* the answer is out and our side closed; theirs is read until it ends */
    STATE_CLOSED     /* freed at the end of its turn */
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

    struct reply_sender sender;
    bool closes; /* after this reply */

    unsigned turn_requests, turn_reads;
    size_t linger_bytes;

    struct sockaddr_storage address;
    char peer[INET6_ADDRSTRLEN];
};

static void connection_turn(struct connection *connection);

/* ---- exchanges ----------------------------------------------------------------------------------------- */

static struct held_exchange *exchange_new(struct connection *connection)
{
    connection->held = exchange_pool_take(&connection->group->pool, connection->peer, connection->is_tls);
    connection->held->exchange.connection = connection;
    return connection->held;
}

/* Tells the log, closes the source, and forgets the exchange. */
static void exchange_finish(struct connection_group *group, struct held_exchange *held, uint64_t bytes,
                            bool complete)
{
    struct exchange *exchange = &held->exchange;
    reply_close_source(&exchange->reply);
    if (group->options->finished)
        group->options->finished(exchange, bytes, complete);
    exchange_pool_give(&group->pool, held);
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
        exchange_finish(group, held, connection->sender.body_sent, false);
    else if (held)
        exchange_pool_give(&group->pool, held);

    event_del(&connection->read_event);
    event_del(&connection->write_event);
    event_del(&connection->timer);
    tls_session_free(connection->tls);
    connection->tls = connection->sender.tls = NULL;
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
        reply_sender_release(&connection->sender);
        mem_free(connection);
    }
    if (group->connections == 0)
        group->emptied(group);
}

static int64_t after_ms(unsigned ms)
{
    return clock_monotonic_us() + (int64_t)ms * 1000;
}

/* Between requests: there is nothing that the client could lose. */
static void connection_close_idle(struct connection *connection)
{
    if (connection->tls)
        tls_session_shutdown(connection->tls);
    connection_close(connection);
}

/* The reply is out and was the last one. */
static void connection_linger(struct connection *connection)
{
    if (connection->tls) {
        /* What is still to come is not for us; the bytes are dropped as they are. */
        tls_session_shutdown(connection->tls);
        tls_session_free(connection->tls);
        connection->tls = connection->sender.tls = NULL;
    }
    if (connection->input_ended || shutdown(connection->fd, SHUT_WR) != 0) {
        connection_close(connection);
        return;
    }
    connection->state = STATE_LINGERING;
    connection->deadline_us = after_ms(LINGER_MS);
    connection->input.size = connection->input_at = 0;
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

/* ---- the end of a request ------------------------------------------------------------------------------ */

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
    exchange_finish(connection->group, held, connection->sender.body_sent, true);
    connection->has_served = true;
    if (connection->closes)
        connection_linger(connection);
    else
        connection_await_request(connection);
}

/* True to go on. */
static bool connection_send(struct connection *connection)
{
    connection->deadline_us = INT64_MAX;
    switch (reply_sender_step(&connection->sender)) {
    case SEND_DONE:
        connection_reply_done(connection);
        return true;
    case SEND_BLOCKED:
        connection->deadline_us = reply_sender_deadline_us(&connection->sender);
        connection->want_write = true;
        return false;
    case SEND_PAUSED:
        return false;
    case SEND_BROKEN:
        connection_close(connection);
        return false;
    }
    return false;
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
    http_reply_head(&connection->sender.output, reply, &frame);

    connection->state = STATE_SENDING;
    connection->deadline_us = INT64_MAX;
    reply_sender_begin(&connection->sender, reply, has_body);
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
    if (reply_sender_resume(&connection->sender) && !connection->in_turn)
        connection_turn(connection);
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
    if (!reply_sender_interim(&connection->sender, SLICE_LITERAL("HTTP/1.1 100 Continue\r\n\r\n")))
        connection_close(connection);
}

static void connection_take_request(struct connection *connection, const struct http_head *head, size_t size)
{
    struct held_exchange *held = exchange_new(connection);
    struct slice input = input_left(connection);
    exchange_set_head(&held->exchange, head, slice_make(input.data, size));
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
        connection_close_idle(connection);
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
        connection->tls = connection->sender.tls = NULL;
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
            connection_close_idle(connection);
        } else {
            int64_t until_us = after_ms(DRAIN_FRESH_MS);
            if (until_us < connection->deadline_us)
                connection->deadline_us = until_us;
        }
    }
    input_return_room(connection);
    if (connection->state == STATE_CLOSED) {
        buffer_release(&connection->input);
        reply_sender_release(&connection->sender);
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
        if (tls_session_flush(connection->tls, &sent) == TLS_RESULT_FAILED) {
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
    if (connection->state == STATE_SENDING) {
        connection_turn(connection); /* the sender judges whether enough went out */
    } else if (connection->state == STATE_BODY ||
               (connection->state == STATE_HEAD && input_left(connection).size > 0)) {
        connection_refuse(connection, 408, "the request took too long to arrive");
        connection_turn(connection);
    } else if (connection->state == STATE_HEAD) {
        connection_close_idle(connection);
    } else {
        connection_close(connection);
    }
}

/* ---- the group ----------------------------------------------------------------------------------------- */

void connection_group_init(struct connection_group *group, struct event_base *base, struct reactor *reactor,
                           const struct reactors_options *options, struct connection_census *census)
{
    *group = (struct connection_group){.base = base, .options = options, .census = census};
    exchange_pool_init(&group->pool, group, reactor, options->service);
    buffer_reserve(&group->input, INPUT_BYTES_MAX);
}

void connection_group_release(struct connection_group *group)
{
    CHECK(!group->newest && group->exchanges == 0);
    exchange_pool_release(&group->pool);
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

    struct connection *connection = mem_new(struct connection);
    connection->group = group;
    connection->fd = fd;
    connection->is_refusing = is_refusing;
    connection->armed_us = INT64_MAX;
    memcpy(&connection->address, address,
           address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    address_format(address, connection->peer);
    unsigned window_ms = limits->download_window_ms ? limits->download_window_ms : DOWNLOAD_WINDOW_MS;
    reply_sender_init(&connection->sender, fd, limits->download_bytes_per_second_min,
                      (int64_t)window_ms * 1000);
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
        connection->tls = connection->sender.tls = tls_session_new(tls, fd, &group->records);
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
