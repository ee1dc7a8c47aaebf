#include "server/reply_sender.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "server/exchange_pool.h"
#include "server/http_reply.h"
#include "server/tls.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* One pull; shrinks for a client that takes less, so that he does not hold that much memory. */
#define PULL_BYTES_MAX ((size_t)256 * 1024)
#define PULL_BYTES_MIN ((size_t)32 * 1024)
#define STEP_BYTES_MAX ((size_t)256 * 1024)
/* TLS: what is put together into one record and so into one packet, rather than three. */
#define RECORD_BYTES_MAX ((size_t)16 * 1024)
/* Plain: of a body, what is copied behind its head, rather than handed to the kernel as a part of its own. */
#define GATHER_BYTES_MAX  ((size_t)4 * 1024)
#define OUTPUT_BYTES_KEPT ((size_t)4 * 1024) /* of an idle connection */

enum flow { FLOW_DONE, FLOW_BLOCKED, FLOW_BROKEN };

void reply_sender_init(struct reply_sender *sender, int fd, unsigned bytes_per_second_min, int64_t window_us)
{
    *sender =
        (struct reply_sender){.fd = fd, .bytes_per_second_min = bytes_per_second_min, .window_us = window_us};
}

void reply_sender_release(struct reply_sender *sender)
{
    buffer_release(&sender->output);
}

/* ---- into the socket ----------------------------------------------------------------------------------- */

static size_t parts_size(const struct reply_sender *sender)
{
    return sender->output.size - sender->output_at + sender->chunk.size + sender->tail.size;
}

static void output_reset(struct reply_sender *sender)
{
    sender->output_at = 0;
    if (sender->output.capacity > OUTPUT_BYTES_KEPT)
        buffer_release(&sender->output);
    else
        buffer_reset(&sender->output);
}

static void flushed(struct reply_sender *sender)
{
    sender->body_sent += sender->unflushed_bytes;
    sender->unflushed_bytes = 0;
}

/* Chunk and tail become part of the output. */
static void gather(struct reply_sender *sender)
{
    sender->unflushed_bytes += sender->chunk.size;
    buffer_append_slice(&sender->output, sender->chunk);
    buffer_append_slice(&sender->output, sender->tail);
    sender->chunk.size = sender->tail.size = 0;
}

static ssize_t send_parts(const struct reply_sender *sender, struct slice output)
{
    if (sender->chunk.size + sender->tail.size == 0)
        return send(sender->fd, output.data, output.size, MSG_NOSIGNAL);
    struct iovec parts[3] = {{(void *)(uintptr_t)output.data, output.size},
                             {(void *)(uintptr_t)sender->chunk.data, sender->chunk.size},
                             {(void *)(uintptr_t)sender->tail.data, sender->tail.size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    return sendmsg(sender->fd, &message, MSG_NOSIGNAL);
}

static enum flow flush_plain(struct reply_sender *sender, size_t *ret_sent)
{
    *ret_sent = 0;
    if (sender->chunk.size <= GATHER_BYTES_MAX)
        gather(sender);
    for (size_t offered; (offered = parts_size(sender)) > 0;) {
        struct slice output = slice_skip(buffer_slice(&sender->output), sender->output_at);
        ssize_t result = send_parts(sender, output);
        if (result < 0 && errno == EINTR)
            continue;
        if (result < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? FLOW_BLOCKED : FLOW_BROKEN;

        size_t sent = (size_t)result;
        size_t of_output = sent < output.size ? sent : output.size;
        size_t of_chunk = sent - of_output < sender->chunk.size ? sent - of_output : sender->chunk.size;
        sender->output_at += of_output;
        sender->chunk = slice_skip(sender->chunk, of_chunk);
        sender->tail = slice_skip(sender->tail, sent - of_output - of_chunk);
        sender->body_sent += of_chunk;
        *ret_sent += sent;
        /* The socket took less than it was offered: it is full, and asking again would cost a call. */
        if (sent < offered)
            return FLOW_BLOCKED;
    }
    output_reset(sender);
    flushed(sender);
    return FLOW_DONE;
}

static enum flow flush_tls(struct reply_sender *sender, size_t *ret_sent)
{
    *ret_sent = 0;
    if (parts_size(sender) > 0) {
        if (parts_size(sender) <= RECORD_BYTES_MAX)
            gather(sender);
        sender->unflushed_bytes += sender->chunk.size;
        struct slice output = slice_skip(buffer_slice(&sender->output), sender->output_at);
        if (tls_session_write(sender->tls, output) != TLS_RESULT_OK ||
            tls_session_write(sender->tls, sender->chunk) != TLS_RESULT_OK ||
            tls_session_write(sender->tls, sender->tail) != TLS_RESULT_OK)
            return FLOW_BROKEN;
        output_reset(sender);
        sender->chunk.size = sender->tail.size = 0;
    }
    enum tls_result result = tls_session_flush(sender->tls, ret_sent);
    if (result == TLS_RESULT_WANT_WRITE)
        return FLOW_BLOCKED;
    if (result != TLS_RESULT_OK)
        return FLOW_BROKEN;
    flushed(sender);
    return FLOW_DONE;
}

/* From now on the time counts in which the socket is not ready. */
static void window_wait(struct reply_sender *sender)
{
    if (sender->waits_since_us == 0)
        sender->waits_since_us = clock_monotonic_us();
}

/* False: a window is over, and too little went out in it. */
static bool window_count(struct reply_sender *sender)
{
    if (sender->waits_since_us == 0)
        return true;
    int64_t now_us = clock_monotonic_us();
    sender->window_waited_us += now_us - sender->waits_since_us;
    sender->waits_since_us = now_us;
    if (sender->window_waited_us < sender->window_us)
        return true;
    uint64_t bytes_min = (uint64_t)sender->bytes_per_second_min * (uint64_t)sender->window_us / US_PER_SECOND;
    bool fast_enough = sender->window_bytes >= (bytes_min ? bytes_min : 1);
    sender->window_waited_us = 0;
    sender->window_bytes = 0;
    return fast_enough;
}

static enum flow flush(struct reply_sender *sender, size_t *ret_sent)
{
    enum flow flow = sender->tls ? flush_tls(sender, ret_sent) : flush_plain(sender, ret_sent);
    sender->window_bytes += *ret_sent;
    if (flow == FLOW_BROKEN || !window_count(sender))
        return FLOW_BROKEN;
    if (flow == FLOW_BLOCKED) {
        window_wait(sender);
        if (sender->pull_bytes > PULL_BYTES_MIN)
            sender->pull_bytes /= 2;
    } else {
        sender->waits_since_us = 0;
        if (sender->pull_bytes < PULL_BYTES_MAX)
            sender->pull_bytes *= 2;
    }
    sender->is_blocked = flow == FLOW_BLOCKED;
    return flow;
}

int64_t reply_sender_deadline_us(const struct reply_sender *sender)
{
    return sender->waits_since_us + sender->window_us - sender->window_waited_us;
}

bool reply_sender_interim(struct reply_sender *sender, struct slice text)
{
    size_t sent;
    buffer_append_slice(&sender->output, text);
    return (sender->tls ? flush_tls(sender, &sent) : flush_plain(sender, &sent)) != FLOW_BROKEN;
}

/* ---- out of the source --------------------------------------------------------------------------------- */

void reply_sender_begin(struct reply_sender *sender, struct reply *reply, bool has_body)
{
    sender->reply = reply;
    sender->chunk = sender->tail = slice_make(NULL, 0);
    sender->unflushed_bytes = 0;
    sender->body_left = sender->body_sent = 0;
    sender->pull_bytes = PULL_BYTES_MAX;
    sender->body_ended = true;
    sender->is_chunked = reply->source && reply->length == REPLY_LENGTH_CHUNKED;
    sender->source_waits = sender->source_resumed = sender->is_blocked = false;
    sender->waits_since_us = sender->window_waited_us = 0;
    sender->window_bytes = 0;
    if (!has_body) {
        reply_close_source(reply);
    } else if (!reply->source) {
        sender->chunk = buffer_slice(&reply->body);
    } else if (sender->is_chunked || reply->length > 0) {
        sender->body_left = sender->is_chunked ? UINT64_MAX : (uint64_t)reply->length;
        sender->body_ended = false;
    }
}

bool reply_sender_resume(struct reply_sender *sender)
{
    bool was_waiting = sender->source_waits;
    sender->source_waits = false;
    sender->source_resumed = true;
    return was_waiting;
}

/* SEND_DONE: the parts hold the next chunk. */
static enum send_result pull(struct reply_sender *sender)
{
    struct body_source *source = sender->reply->source;
    struct slice chunk = {NULL, 0};
    sender->source_resumed = false;
    enum body_pull result = source->pull(source, sender->pull_bytes, &chunk);
    if (result == BODY_PULL_WAIT) {
        sender->source_waits = !sender->source_resumed;
        return sender->source_waits ? SEND_PAUSED : SEND_BLOCKED;
    }
    bool ends = result == BODY_PULL_END;
    /* More or less than was announced is our own fault; the client sees a broken download rather than a body
     * that looks whole. */
    if (result == BODY_PULL_FAIL || (!ends && chunk.size == 0) || chunk.size > sender->body_left ||
        (ends && !sender->is_chunked && chunk.size < sender->body_left))
        return SEND_BROKEN;
    sender->chunk = chunk;
    sender->body_left -= chunk.size;
    if (!sender->is_chunked) {
        sender->body_ended = sender->body_left == 0;
        return SEND_DONE;
    }
    sender->body_ended = ends;
    if (chunk.size)
        http_reply_chunk_size(&sender->output, chunk.size);
    if (!ends)
        sender->tail = SLICE_LITERAL("\r\n");
    else
        sender->tail = chunk.size ? SLICE_LITERAL("\r\n0\r\n\r\n") : SLICE_LITERAL("0\r\n\r\n");
    return SEND_DONE;
}

enum send_result reply_sender_step(struct reply_sender *sender)
{
    for (size_t bytes = 0, sent; bytes < STEP_BYTES_MAX; bytes += sent) {
        enum send_result pulled = sender->source_waits ? SEND_PAUSED : SEND_DONE;
        /* Before the flush: the first chunk goes with the head. Not while an earlier one is still here. */
        if (!sender->body_ended && !sender->source_waits && !sender->is_blocked)
            pulled = pull(sender);
        if (pulled == SEND_BROKEN)
            return SEND_BROKEN;
        enum flow flow = flush(sender, &sent);
        if (flow == FLOW_BROKEN)
            return SEND_BROKEN;
        if (flow == FLOW_BLOCKED)
            return SEND_BLOCKED;
        if (sender->body_ended)
            return SEND_DONE;
        if (pulled == SEND_PAUSED)
            return SEND_PAUSED;
        if (pulled == SEND_BLOCKED)
            break;
    }
    /* The next step comes when the socket is ready: at the next round, or it is full already. */
    window_wait(sender);
    return SEND_BLOCKED;
}
