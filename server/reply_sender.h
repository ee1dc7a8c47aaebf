/*
 * One reply on its way into a socket, plain or TLS.
 *
 * The body is pulled: the source is asked for the next bounded chunk when the socket has taken the one
 * before. Head, chunk framing and body go out together, in one system call where they fit. A step never waits
 * and writes a bounded number of bytes, so that a fast download leaves room for its neighbours.
 *
 * A client who takes less than a minimum rate is too slow: the rate is measured over windows that count only
 * the time in which the socket takes nothing. So neither a source that is slow nor a short reply matters.
 *
 * Threading: its connection's thread.
 */
#ifndef SERVER_REPLY_SENDER_H
#define SERVER_REPLY_SENDER_H

#include "server/exchange.h"

struct tls_session;

enum send_result {
    SEND_DONE,
    SEND_BLOCKED, /* step again when the socket is ready for more, or at the deadline */
    SEND_PAUSED,  /* step again after reply_sender_resume */
    SEND_BROKEN   /* the client has gone or is too slow, or the source failed: close without an end */
};

struct reply_sender {
    int fd;
    struct tls_session *tls; /* NULL: plain */
    unsigned bytes_per_second_min;
    int64_t window_us;

    /* Three parts, sent in this order. */
    struct buffer output; /* heads, the size line of a chunk, and small bodies */
    size_t output_at;
    struct slice chunk;     /* borrowed from the reply */
    struct slice tail;      /* behind a chunk; static text */
    size_t unflushed_bytes; /* of the body, in the output or in TLS records, until all of that is sent */

    struct reply *reply; /* borrowed from begin until done or broken */
    uint64_t body_left;
    uint64_t body_sent;
    size_t pull_bytes;
    bool body_ended; /* all of it is in the parts */
    bool is_chunked;
    bool source_waits, source_resumed;

    bool is_blocked;        /* the socket has not taken all of the parts */
    int64_t waits_since_us; /* until the socket is ready; 0: nothing waits for it */
    int64_t window_waited_us;
    uint64_t window_bytes;
};

void reply_sender_init(struct reply_sender *sender, int fd, unsigned bytes_per_second_min, int64_t window_us);
void reply_sender_release(struct reply_sender *sender);

/* An interim response, "HTTP/1.1 100 Continue": what the socket does not take goes with the reply. False: the
 * client has gone. */
bool reply_sender_interim(struct reply_sender *sender, struct slice text);
/* `has_body`: false for HEAD and the like; then the source is closed without a pull. The caller appends the
 * head to sender->output. */
void reply_sender_begin(struct reply_sender *sender, struct reply *reply, bool has_body);
enum send_result reply_sender_step(struct reply_sender *sender);
/* The source has something now. False: it was not waiting, and no step is due. */
bool reply_sender_resume(struct reply_sender *sender);
/* After SEND_BLOCKED: when to step again, though the socket is not ready. */
int64_t reply_sender_deadline_us(const struct reply_sender *sender);

#endif
