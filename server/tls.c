#include "server/tls.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Records that the peer makes us write (answers to key updates) while it reads nothing. */
#define UNSENT_BYTES_MAX ((size_t)1024 * 1024)

/* A record's bytes at most. Not the 16384 of RFC 8446: records of a whole number of pages would all lie alike
 * to the buffer that OpenSSL copies them to, and where that is 1 to 31 bytes further in its page than they
 * are in theirs `rep movsb` takes thirty times as long (AMD Zen 3; a third of a download's time). */
#define RECORD_BYTES (16384 - 64)

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bio;
};

struct tls_session {
    SSL *ssl;
    int fd;
    struct buffer *records; /* made by the current call */
    struct buffer unsent;   /* made by earlier calls, from unsent_at on */
    size_t unsent_at;
    bool is_ended; /* the socket has no more input */
    bool is_broken;
};

/* ---- the transport: reads from the socket, writes to memory -------------------------------------------- */

static int transport_write(BIO *bio, const char *data, size_t size, size_t *ret_size)
{
    struct tls_session *session = BIO_get_data(bio);
    buffer_append(session->records, data, size);
    *ret_size = size;
    return 1;
}

static int transport_read(BIO *bio, char *target, size_t size, size_t *ret_size)
{
    struct tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t got;
    do {
        got = recv(session->fd, target, size, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        *ret_size = (size_t)got;
        return 1;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        BIO_set_retry_read(bio);
        return 0;
    }
    session->is_ended = true;
    session->is_broken |= got < 0; /* a reset, not an end */
    return 0;
}

static long transport_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    struct tls_session *session = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_EOF:
        return session->is_ended;
    case BIO_CTRL_FLUSH:
        return 1;
    default:
        return 0;
    }
}

static BIO_METHOD *transport_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "session");
    CHECK(method);
    CHECK(BIO_meth_set_write_ex(method, transport_write));
    CHECK(BIO_meth_set_read_ex(method, transport_read));
    CHECK(BIO_meth_set_ctrl(method, transport_control));
    return method;
}

/* ---- the context --------------------------------------------------------------------------------------- */

/* The first of OpenSSL's queued errors, as detail. */
static enum status tls_error(struct error *error, enum status status, const char *what, const char *path)
{
    unsigned long code = ERR_get_error();
    const char *reason =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    ERR_clear_error();
    return error_set(error, status, "%s %s: %s", what, path, reason ? reason : "unknown error");
}

/* Without this OpenSSL would ask for the pass phrase on the terminal. */
static int refuse_pass_phrase(char *target, int size, int for_writing, void *unused)
{
    (void)target;
    (void)size;
    (void)for_writing;
    (void)unused;
    return -1;
}

static enum status key_load(SSL_CTX *ssl, const char *path, struct error *error)
{
    enum status status;
    EVP_PKEY *key = NULL;
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set_errno(error, "cannot open the key %s", path);
    struct stat stat;
    if (fstat(fileno(file), &stat) != 0) {
        status = error_set_errno(error, "cannot look at the key %s", path);
        goto done;
    }
    if (stat.st_mode & S_IRWXO) {
        status = error_set(error, STATUS_INVALID,
                           "the key %s may be read by everybody (mode %04o): run chmod 600 on it", path,
                           (unsigned)(stat.st_mode & 07777));
        goto done;
    }
    key = PEM_read_PrivateKey(file, NULL, refuse_pass_phrase, NULL);
    if (!key) {
        status = tls_error(error, STATUS_INVALID, "cannot read the key (PEM, without a pass phrase)", path);
        goto done;
    }
    if (SSL_CTX_use_PrivateKey(ssl, key) != 1 || SSL_CTX_check_private_key(ssl) != 1) {
        status = tls_error(error, STATUS_INVALID, "the certificate does not go with the key", path);
        goto done;
    }
    status = STATUS_OK;
done:
    EVP_PKEY_free(key);
    fclose(file);
    return status;
}

/* RFC 7301. A client that offers only other protocols is served HTTP/1.1 nevertheless, as if it had not
 * asked. */
static int choose_protocol(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_size,
                           const unsigned char *offered, unsigned offered_size, void *unused)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *name;
    (void)ssl;
    (void)unused;
    if (SSL_select_next_proto(&name, ret_size, ours, sizeof ours - 1, offered, offered_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *ret_name = name;
    return SSL_TLSEXT_ERR_OK;
}

static enum status context_set_up(struct tls_context *context, const char *certificate_path,
                                  const char *key_path, struct error *error)
{
    context->ssl = SSL_CTX_new(TLS_server_method());
    if (!context->ssl)
        return tls_error(error, STATUS_INTERNAL, "cannot set up", "TLS");
    SSL_CTX *ssl = context->ssl;
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    /* Peers that close without close_notify are the rule; a request is complete by its own framing. */
    SSL_CTX_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* An idle connection keeps no buffers of 16 KB. */
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    CHECK(SSL_CTX_set_max_send_fragment(ssl, RECORD_BYTES) == 1);
    /* A request in one system call instead of two, for its record's header and its body. */
    SSL_CTX_set_read_ahead(ssl, 1);
    /* Forward secrecy and authenticated encryption only; those of TLS 1.3 are so anyway. */
    if (SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
        return tls_error(error, STATUS_INTERNAL, "cannot set up", "TLS");
    /* Sessions live in tickets with the client; a store of them here would be shared by all threads. */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 1);
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate_path) != 1)
        return tls_error(error, STATUS_INVALID, "cannot read the certificate (PEM)", certificate_path);
    return key_load(ssl, key_path, error);
}

enum status tls_context_open(const char *certificate_path, const char *key_path,
                             struct tls_context **ret_context, struct error *error)
{
    struct tls_context *context = mem_new(struct tls_context);
    ERR_clear_error();
    context->bio = transport_new();
    enum status status = context_set_up(context, certificate_path, key_path, error);
    if (status == STATUS_OK)
        *ret_context = context;
    else
        tls_context_close(context);
    return status;
}

void tls_context_close(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio);
    mem_free(context);
}

/* ---- a session ----------------------------------------------------------------------------------------- */

struct tls_session *tls_session_new(struct tls_context *context, int fd, struct buffer *records)
{
    struct tls_session *session = mem_new(struct tls_session);
    session->fd = fd;
    session->records = records;
    session->ssl = SSL_new(context->ssl);
    BIO *bio = BIO_new(context->bio);
    CHECK(session->ssl && bio); /* only for want of memory */
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio);
    SSL_set_accept_state(session->ssl);
    return session;
}

void tls_session_free(struct tls_session *session)
{
    if (!session)
        return;
    SSL_free(session->ssl);
    buffer_release(&session->unsent);
    mem_free(session);
}

/* Moves the records of this call behind those that still wait. */
static void session_keep(struct tls_session *session, size_t sent)
{
    struct slice left = slice_skip(buffer_slice(session->records), sent);
    if (left.size && session->unsent.size + left.size > UNSENT_BYTES_MAX)
        session->is_broken = true;
    else
        buffer_append_slice(&session->unsent, left);
    buffer_reset(session->records);
}

/* Why an SSL function returned 0 or less. */
static enum tls_result session_result(struct tls_session *session, int result)
{
    if (session->is_broken)
        return TLS_RESULT_FAILED;
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return TLS_RESULT_WANT_READ;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_RESULT_CLOSED;
    default:
        session->is_broken = true;
        return session->is_ended ? TLS_RESULT_CLOSED : TLS_RESULT_FAILED;
    }
}

enum tls_result tls_session_handshake(struct tls_session *session)
{
    if (session->is_broken)
        return TLS_RESULT_FAILED;
    CHECK(session->records->size == 0);
    /* OpenSSL's error queue belongs to the thread, and SSL_get_error reads what another session left. */
    ERR_clear_error();
    int done = SSL_do_handshake(session->ssl);
    enum tls_result result = TLS_RESULT_OK;
    if (done != 1) {
        result = session_result(session, done);
        if (result == TLS_RESULT_FAILED && ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST)
            result = TLS_RESULT_PLAIN;
    }
    ERR_clear_error();
    if (result == TLS_RESULT_PLAIN) {
        buffer_reset(session->records); /* the alert would be garbage to this peer */
        return result;
    }
    size_t sent;
    enum tls_result flushed = tls_session_flush(session, &sent);
    if (flushed == TLS_RESULT_FAILED)
        return flushed;
    return result;
}

enum tls_result tls_session_read(struct tls_session *session, void *target, size_t size, size_t *ret_size)
{
    if (session->is_broken)
        return TLS_RESULT_FAILED;
    CHECK(session->records->size == 0);
    ERR_clear_error();
    int got = SSL_read(session->ssl, target, size < INT_MAX ? (int)size : INT_MAX);
    enum tls_result result = TLS_RESULT_OK;
    if (got > 0) {
        *ret_size = (size_t)got;
    } else {
        result = session_result(session, got);
        ERR_clear_error();
    }
    /* An alert, or the answer to a key update. What the socket does not take goes with the next flush. */
    if (session->records->size) {
        size_t sent;
        if (tls_session_flush(session, &sent) == TLS_RESULT_FAILED)
            return TLS_RESULT_FAILED;
    }
    return result;
}

bool tls_session_pending(const struct tls_session *session)
{
    return SSL_has_pending(session->ssl);
}

enum tls_result tls_session_write(struct tls_session *session, struct slice data)
{
    while (data.size && !session->is_broken) {
        ERR_clear_error();
        int written = SSL_write(session->ssl, data.data, data.size < INT_MAX ? (int)data.size : INT_MAX);
        if (written > 0) {
            data = slice_skip(data, (size_t)written);
            continue;
        }
        ERR_clear_error();
        session->is_broken = true; /* the transport takes everything: there is nothing to wait for */
    }
    if (!session->is_broken)
        return TLS_RESULT_OK;
    /* Nobody will flush them, and the next session must not send them to its own peer. */
    buffer_reset(session->records);
    return TLS_RESULT_FAILED;
}

/* OK: all of it went. */
static enum tls_result session_send(struct tls_session *session, struct slice data, size_t *sent)
{
    *sent = 0;
    while (*sent < data.size) {
        ssize_t size = send(session->fd, data.data + *sent, data.size - *sent, MSG_NOSIGNAL);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? TLS_RESULT_WANT_WRITE : TLS_RESULT_FAILED;
        *sent += (size_t)size;
        /* The socket took less than it was offered: it is full, and asking again would cost a call. */
        if (*sent < data.size)
            return TLS_RESULT_WANT_WRITE;
    }
    return TLS_RESULT_OK;
}

bool tls_session_unsent(const struct tls_session *session)
{
    return session->unsent.size > 0;
}

enum tls_result tls_session_flush(struct tls_session *session, size_t *ret_sent)
{
    size_t earlier = 0, now = 0;
    enum tls_result result = TLS_RESULT_OK;
    if (session->unsent.size) {
        result =
            session_send(session, slice_skip(buffer_slice(&session->unsent), session->unsent_at), &earlier);
        session->unsent_at += earlier;
        if (result == TLS_RESULT_OK) {
            buffer_release(&session->unsent);
            session->unsent_at = 0;
        }
    }
    if (result == TLS_RESULT_OK)
        result = session_send(session, buffer_slice(session->records), &now);
    session_keep(session, now);
    *ret_sent = earlier + now;
    if (result == TLS_RESULT_FAILED)
        session->is_broken = true;
    else if (session->is_broken && result == TLS_RESULT_WANT_WRITE)
        result = TLS_RESULT_FAILED; /* too much waits already */
    return result;
}

void tls_session_shutdown(struct tls_session *session)
{
    if (session->is_broken || !SSL_is_init_finished(session->ssl))
        return;
    ERR_clear_error();
    SSL_shutdown(session->ssl);
    ERR_clear_error();
    size_t sent;
    (void)tls_session_flush(session, &sent);
}
