/*
 * Accounts: the ACOs, and the credentials by which their programs ask for tokens.
 *
 * Client secrets are 320 random bits as 80 hex digits, kept as a salted SHA-256 (slow hashing protects
 * guessable secrets; these are not). A secret brought from outside must be 80 hex digits too.
 *
 * Write requests follow one pattern: fill the struct by its _init function, give it to writer_call or
 * writer_submit, read the ret_ fields when it is back. Texts are copied.
 *
 * Threading: reads need a transaction of the calling thread; requests as in writer.h.
 */
#ifndef STORAGE_ACCOUNTS_H
#define STORAGE_ACCOUNTS_H

#include "codec/cclf.h"
#include "storage/writer.h"

#define ACO_NAME_MAX       200
#define CLIENT_ID_SIZE     36 /* a UUID in lower-case text */
#define CLIENT_SECRET_SIZE 80

struct aco {
    uint32_t number;
    char id[ACO_ID_MAX + 1]; /* "A9994" */
    char name[ACO_NAME_MAX + 1];
    int64_t created_us;
    int64_t newest_transaction_time_us; /* newest transactionTime given to it; INT64_MIN if none was */
    bool removed;
};

NODISCARD enum status aco_get(struct engine_txn *txn, uint32_t number, struct aco *ret_aco,
                              struct error *error);
/* STATUS_NOT_FOUND names the id. Removed ACOs are not found. */
NODISCARD enum status aco_find(struct engine_txn *txn, struct slice id, struct aco *ret_aco,
                               struct error *error);
typedef enum status aco_handler(void *context, const struct aco *aco, struct error *error);
/* In order of number, without the removed ones. Damage as in engine_each, also below. */
NODISCARD enum status aco_each(struct engine_txn *txn, aco_handler *handler, void *context,
                               struct error *error);
/* Within a write request: remembers that a transactionTime was given. Never moves back. */
NODISCARD enum status aco_note_transaction_time(struct store_write *write, uint32_t number, int64_t us,
                                                struct error *error);

struct aco_add {
    struct write_request request;
    char id[ACO_ID_MAX + 1];
    char name[ACO_NAME_MAX + 1];
    uint32_t ret_number;
};
/* STATUS_INVALID for a bad id or name (UTF-8 without control characters; may be empty). The request:
 * STATUS_EXISTS. The id of a removed ACO may be added again: it is another ACO, with a number of its own. */
NODISCARD enum status aco_add_init(struct aco_add *add, struct slice id, struct slice name,
                                   struct error *error);

/* Marks the ACO removed and revokes its credentials; its jobs and data are no longer reachable. The request:
 * STATUS_NOT_FOUND. */
struct aco_remove {
    struct write_request request;
    char id[ACO_ID_MAX + 1];
};
NODISCARD enum status aco_remove_init(struct aco_remove *remove, struct slice id, struct error *error);

struct credential {
    char client_id[CLIENT_ID_SIZE + 1];
    char name[ACO_NAME_MAX + 1];
    uint32_t aco;
    int64_t created_us;
    bool revoked;
    unsigned char salt[32];
    unsigned char hash[32];
};

/* STATUS_NOT_FOUND if unknown or no UUID (upper case is the same); a revoked one is found and says so. */
NODISCARD enum status credential_get(struct engine_txn *txn, struct slice client_id,
                                     struct credential *ret_credential, struct error *error);
typedef enum status credential_handler(void *context, const struct credential *credential,
                                       struct error *error);
/* Of one ACO (or of all with aco 0), in order of client id, the revoked ones included. */
NODISCARD enum status credential_each(struct engine_txn *txn, uint32_t aco, credential_handler *handler,
                                      void *context, struct error *error);
/* In constant time. False for a revoked one. */
bool credential_matches(const struct credential *credential, struct slice secret);

struct credential_create {
    struct write_request request;
    char aco_id[ACO_ID_MAX + 1];
    struct credential credential;
};
/* client_id empty: a random UUID; else it must be a UUID. secret empty: generated; else 80 hex digits, taken
 * as they are (case matters). The secret is written to ret_secret (NUL-terminated) and kept nowhere else. The
 * credential has no name unless one is put into create->credential.name afterwards. The request:
 * STATUS_NOT_FOUND (the ACO), STATUS_EXISTS (the client id, revoked ones too), STATUS_INVALID (the name). */
NODISCARD enum status credential_create_init(struct credential_create *create, struct slice aco_id,
                                             struct slice client_id, struct slice secret,
                                             char ret_secret[CLIENT_SECRET_SIZE + 1], struct error *error);

/* STATUS_INVALID for no UUID. The request: STATUS_NOT_FOUND; revoking again changes nothing. */
struct credential_revoke {
    struct write_request request;
    char client_id[CLIENT_ID_SIZE + 1];
};
NODISCARD enum status credential_revoke_init(struct credential_revoke *revoke, struct slice client_id,
                                             struct error *error);

/* A random version 4 UUID (RFC 9562) as lower-case text with a NUL. */
void uuid_make(char text[37]);

#endif
