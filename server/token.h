/*
 * Access tokens: JWTs (RFC 7519) signed RS512 with the key in DIR/keys, by libjwt with its traps closed.
 *
 * Issuing happens on the signer's thread. Verifying happens on the reactor: the first time in full, then from
 * the reactor's cache by the token's SHA-256, until it expires or any account changes (the writer's accounts
 * generation); then the credential is looked up again. So a revocation acts at once. The text of tokens that
 * came last stands beside their SHA-256 (a few dozen), so that a client who polls costs no hash. A token that
 * this process issued itself is known as genuine by its SHA-256 from the start; its credential is looked up
 * all the same.
 *
 * Traps closed (docs/security.md): length is bounded (TOKEN_BYTES_MAX) before anything looks at it; three
 * parts of canonical base64url and nothing behind; the header is parsed here and must say RS512 and nothing
 * that is not understood; exp, iat, iss and the claims are checked here; OpenSSL verifies the signature with
 * a key that is kept; only then libjwt decodes it, with the same key, which is never NULL, and its algorithm
 * is asked again.
 *
 * Claims: iss; sub and cid, the client id; aco, the ACO's id; iat, exp; jti, random.
 *
 * Threading: tokens_verify on reactors, each with its own cache; tokens_issue from any thread.
 */
#ifndef SERVER_TOKEN_H
#define SERVER_TOKEN_H

#include "codec/base/mailbox.h"
#include "server/router.h"
#include "storage/store.h"

#define TOKEN_BYTES_MAX        4096
#define TOKEN_LIFETIME_SECONDS 1200
#define TOKEN_KEY_BITS         3072 /* docs/security.md tells why */
#define TOKEN_QUEUE_MAX        256  /* tokens that may wait for the signer */
#define TOKEN_CACHE_ENTRIES    4096
#define TOKENS_ISSUED_MAX      16384 /* that this process remembers to have issued */

struct tokens;
struct token_cache; /* one a reactor */

/* Makes DIR/keys/token.pem (0600, RSA of TOKEN_KEY_BITS) for `sluicectl init`. STATUS_EXISTS if there is one;
 * it is left as it is. */
NODISCARD enum status token_key_create(const char *dir, struct error *error);

/* Loads the key and starts the signer. Refuses a key that others may read, and one that is no RSA key of at
 * least 2048 bits. */
NODISCARD enum status tokens_open(struct store *store, const char *issuer, unsigned lifetime_seconds,
                                  struct tokens **ret_tokens, struct error *error);
/* Answers everything that waits, then joins. */
void tokens_close(struct tokens *tokens);

struct token_cache *token_cache_new(struct tokens *tokens);
void token_cache_free(struct token_cache *cache);

/* STATUS_DENIED for whatever is wrong with it; another status if the store cannot be read. `token` may come
 * straight from the network. */
NODISCARD enum status tokens_verify(struct tokens *tokens, struct token_cache *cache, struct slice token,
                                    struct identity *ret_identity, struct error *error);

struct token_issue {
    struct message message; /* comes back to reply_to */
    struct mailbox *reply_to;
    struct identity identity;
    enum status status; /* with ret_token */
    struct error error;
    char ret_token[TOKEN_BYTES_MAX];
    void *context; /* the caller's */
};
/* identity.client_id and .aco_id go into the token. False if the signer's queue is full; on true the message
 * belongs to the signer until it is delivered to reply_to. */
bool tokens_issue(struct tokens *tokens, struct token_issue *issue);

#endif
