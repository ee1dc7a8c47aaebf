/*
 * TLS 1.2 and 1.3 by OpenSSL, non-blocking, for one connection type that also speaks plain HTTP.
 *
 * Writing never waits: tls_session_write turns data into records in memory, tls_session_flush sends them with
 * as few system calls as it can. Records are put together in a buffer that all sessions of a thread share;
 * only what the socket did not take is kept by the session. So the caller writes a bounded piece, flushes,
 * and writes the next piece when a flush has said TLS_RESULT_OK.
 *
 * Reading takes from the socket more than one record at a time: after a read, ask tls_session_pending before
 * waiting for the socket, which may have nothing more.
 *
 * Threading: a context may be shared by all reactors; a session belongs to its connection's thread.
 */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include "codec/base/buffer.h"
#include "codec/base/slice.h"
#include "codec/base/status.h"

struct tls_context;
struct tls_session;

/* Loads certificate chain and key (PEM). The key file must not be readable by others. */
NODISCARD enum status tls_context_open(const char *certificate_path, const char *key_path,
                                       struct tls_context **ret_context, struct error *error);
/* After the last of its sessions. */
void tls_context_close(struct tls_context *context);

enum tls_result {
    TLS_RESULT_OK,
    TLS_RESULT_WANT_READ,
    TLS_RESULT_WANT_WRITE,
    TLS_RESULT_CLOSED, /* the peer has ended his side, with close_notify or without */
    TLS_RESULT_PLAIN,  /* of a handshake: the peer speaks HTTP without TLS */
    TLS_RESULT_FAILED  /* a reset, or a violation of the protocol */
};

/* Borrows fd and `records`, which the sessions of a thread share: it is empty but between a session's write
 * and its flush, which nothing may come between. */
struct tls_session *tls_session_new(struct tls_context *context, int fd, struct buffer *records);
/* Closes nothing and sends nothing. */
void tls_session_free(struct tls_session *session);
enum tls_result tls_session_handshake(struct tls_session *session);
enum tls_result tls_session_read(struct tls_session *session, void *target, size_t size, size_t *ret_size);
/* The session holds input that the socket will not announce any more. */
bool tls_session_pending(const struct tls_session *session);
/* OK: all of it goes with the next flush, which must follow. */
enum tls_result tls_session_write(struct tls_session *session, struct slice data);
/* Something waits for the socket to take it. */
bool tls_session_unsent(const struct tls_session *session);
/* OK: nothing is left. ret_sent: the bytes that the socket took, also if not OK. */
enum tls_result tls_session_flush(struct tls_session *session, size_t *ret_sent);
/* Sends close_notify if it can do so without waiting. */
void tls_session_shutdown(struct tls_session *session);

#endif
