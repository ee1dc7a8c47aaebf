/*
 * TLS 1.2 and 1.3 by OpenSSL, non-blocking, for one connection type that also speaks plain HTTP.
 *
 * Threading: a context may be shared by all reactors; a session belongs to its connection's thread.
 */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include "codec/base/slice.h"
#include "codec/base/status.h"

struct tls_context;
struct tls_session;

/* Loads certificate chain and key (PEM). The key file must not be readable by others. */
NODISCARD enum status tls_context_open(const char *certificate_path, const char *key_path,
                                       struct tls_context **ret_context, struct error *error);
void tls_context_close(struct tls_context *context);

enum tls_result {
    TLS_RESULT_OK,
    TLS_RESULT_WANT_READ,
    TLS_RESULT_WANT_WRITE,
    TLS_RESULT_CLOSED, /* by the peer, properly or not */
    TLS_RESULT_FAILED
};

struct tls_session *tls_session_new(struct tls_context *context, int fd);
void tls_session_free(struct tls_session *session);
enum tls_result tls_session_handshake(struct tls_session *session);
enum tls_result tls_session_read(struct tls_session *session, void *target, size_t size, size_t *ret_size);
enum tls_result tls_session_write(struct tls_session *session, struct slice data, size_t *ret_size);
/* Sends close_notify if it can do so without waiting. */
void tls_session_shutdown(struct tls_session *session);

#endif
