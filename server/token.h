/*
 * Access tokens: JWTs signed RS512 with the key in DIR/keys, by libjwt with its traps closed.
 *
 * Issuing happens on the signer's thread. Verifying happens on the reactor: the first time by libjwt, then
 * from the reactor's cache by the token's SHA-256, until it expires or any account changes (the writer's
 * accounts generation); then the credential is looked up again. So a revocation acts at once.
 *
 * Traps closed (docs/security.md): the algorithm in the header must be RS512 before anything is decoded and
 * after; length is bounded (TOKEN_BYTES_MAX) before libjwt sees it; three parts of base64url and nothing
 * behind; `crit` is refused; exp, iat, iss and the claims are checked here; the key is never NULL.
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

struct tokens;
struct token_cache; /* one a reactor */

/* Makes DIR/keys/token.pem (0600, RSA 4096... see docs/security.md) for `sluicectl init`. STATUS_EXISTS. */
NODISCARD enum status token_key_create(const char *dir, struct error *error);

/* Loads the key and starts the signer. */
NODISCARD enum status tokens_open(struct store *store, const char *issuer, unsigned lifetime_seconds,
                                  struct tokens **ret_tokens, struct error *error);
void tokens_close(struct tokens *tokens);

struct token_cache *token_cache_new(struct tokens *tokens);
void token_cache_free(struct token_cache *cache);

/* STATUS_DENIED for whatever is wrong with it. */
NODISCARD enum status tokens_verify(struct tokens *tokens, struct token_cache *cache, struct slice token,
                                    struct identity *ret_identity);

struct token_issue {
    struct message message; /* comes back to reply_to */
    struct mailbox *reply_to;
    struct identity identity;
    enum status status; /* with ret_token */
    struct error error;
    char ret_token[TOKEN_BYTES_MAX];
    void *context; /* the caller's */
};
/* False if the signer's queue is full. */
bool tokens_issue(struct tokens *tokens, struct token_issue *issue);

#endif
