#include "server/token.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "codec/deflate.h"
#include "codec/json_reader.h"
#include "server/base64.h"
#include "storage/accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE           "token.pem"
#define KEY_FILE_BYTES_MAX 65536
#define KEY_BITS_MIN       2048
#define KEY_BITS_MAX       8192 /* its signature takes 1366 of TOKEN_BYTES_MAX */
#define CLOCK_SKEW_SECONDS 60   /* a token may be that much younger than our clock: it was set back */
#define TOKEN_ID_SIZE      32   /* hex digits of jti: 128 random bits */

#define CACHE_WAYS 4

struct cache_entry {
    unsigned char digest[32];
    uint64_t used;       /* 0: empty; else the table's tick of the last use */
    uint64_t generation; /* of the accounts when the credential was looked up; NOT_LOOKED_UP */
    int64_t expires;     /* seconds since 1970 */
    struct identity identity;
};
#define NOT_LOOKED_UP UINT64_MAX

/* Tokens that are genuine, by their SHA-256: sets of ways. A token may stand in the ways of its set only; the
 * least recently used one of them makes room. */
struct cache_table {
    struct cache_entry (*sets)[CACHE_WAYS];
    size_t set_count;
    uint64_t tick;
};

struct tokens {
    struct store *store;
    char issuer[128];
    unsigned lifetime_seconds;
    EVP_PKEY *key;             /* the pair; verifying needs no lock */
    struct buffer private_pem; /* NUL-terminated, as libjwt wants them */
    struct buffer public_pem;
    struct mailbox *inbox;
    pthread_t signer;
    bool stopping;
    pthread_mutex_t issued_lock;
    struct cache_table issued; /* by this process: what it signed itself it need not prove */
};

/* The SHA-256 of tokens as they came, so that a client who polls costs a comparison and not a hash. The time
 * of a comparison says at most how many first bytes of two tokens are the same; one that is wrong takes the
 * place of the other, so nobody can ask twice on the way to a signature. */
#define RECENT_TOKENS    64
#define RECENT_BYTES_MAX 1536 /* longer ones are hashed each time; ours have about 1,000 */

struct recent_token {
    size_t size; /* 0: empty */
    unsigned char digest[32];
    char text[RECENT_BYTES_MAX];
};

struct token_cache {
    struct json_reader *reader;
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    struct recent_token *recent; /* RECENT_TOKENS, each in the place that the CRC-32C of its end says */
    struct cache_table table;
};

/* ---- Tables of genuine tokens ---- */

static void table_init(struct cache_table *table, size_t entries)
{
    table->set_count = entries / CACHE_WAYS;
    table->sets = mem_zalloc(table->set_count * sizeof *table->sets);
}

static struct cache_entry *table_set(struct cache_table *table, const unsigned char digest[32])
{
    return table->sets[load_u64_le(digest) % table->set_count];
}

static struct cache_entry *table_find(struct cache_table *table, const unsigned char digest[32])
{
    struct cache_entry *set = table_set(table, digest);
    for (size_t i = 0; i < CACHE_WAYS; i++)
        if (set[i].used && memcmp(set[i].digest, digest, sizeof set[i].digest) == 0)
            return &set[i];
    return NULL;
}

/* Over the least recently used of its set. */
static struct cache_entry *table_put(struct cache_table *table, const struct cache_entry *entry)
{
    struct cache_entry *set = table_set(table, entry->digest), *victim = set;
    for (size_t i = 1; i < CACHE_WAYS; i++)
        if (set[i].used < victim->used)
            victim = &set[i];
    *victim = *entry;
    victim->used = ++table->tick;
    return victim;
}

/* ---- The key ---- */

static enum status crypto_failed(struct error *error, const char *what)
{
    char text[256];
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    ERR_clear_error();
    return error_set(error, STATUS_INTERNAL, "%s: %s", what, text);
}

static void append_key_path(struct buffer *target, const char *dir, const char *suffix)
{
    buffer_appendf(target, "%s/keys/" KEY_FILE "%s", dir, suffix);
}

static void buffer_wipe(struct buffer *buffer)
{
    if (buffer->data)
        OPENSSL_cleanse(buffer->data, buffer->capacity);
    buffer_release(buffer);
}

static enum status write_synced(const char *path, struct slice data, struct error *error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot create", path);
    enum status status = STATUS_OK;
    if (fchmod(fd, 0600) != 0)
        status = error_set_errno(error, "%s: cannot set its mode", path);
    while (status == STATUS_OK && data.size) {
        ssize_t size = failpoint_hit("token.key-write") ? -1 : write(fd, data.data, data.size);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            status = error_set_errno(error, "%s: cannot write", path);
        else
            data = slice_skip(data, (size_t)size);
    }
    if (status == STATUS_OK && fsync(fd) != 0)
        status = error_set_errno(error, "%s: cannot sync", path);
    close(fd);
    return status;
}

static enum status sync_directory_of_keys(const char *dir, struct error *error)
{
    char path[4096];
    CHECK(snprintf(path, sizeof path, "%s/keys", dir) > 0);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", path);
    enum status status = STATUS_OK;
    if (fsync(fd) != 0)
        status = error_set_errno(error, "%s: cannot sync", path);
    close(fd);
    return status;
}

static enum status make_key(struct buffer *ret_pem, struct error *error)
{
    EVP_PKEY *key = EVP_RSA_gen(TOKEN_KEY_BITS);
    BIO *bio = BIO_new(BIO_s_secmem());
    enum status status = STATUS_OK;
    if (!key || !bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        status = crypto_failed(error, "cannot make an RSA key");
    } else {
        char *data;
        long size = BIO_get_mem_data(bio, &data);
        buffer_append(ret_pem, data, (size_t)size);
    }
    BIO_free(bio);
    EVP_PKEY_free(key);
    return status;
}

enum status token_key_create(const char *dir, struct error *error)
{
    struct buffer path = BUFFER_INIT, unfinished = BUFFER_INIT, pem = BUFFER_INIT;
    append_key_path(&path, dir, "");
    append_key_path(&unfinished, dir, ".new");
    enum status status = make_key(&pem, error);
    if (status == STATUS_OK)
        status = write_synced(buffer_text(&unfinished), buffer_slice(&pem), error);
    /* Unlike rename, link never replaces a key that tokens were signed with. */
    if (status == STATUS_OK &&
        (failpoint_hit("token.key-link") || link(buffer_text(&unfinished), buffer_text(&path)) != 0)) {
        if (errno == EEXIST)
            status = error_set(error, STATUS_EXISTS, "%s: is there already", buffer_text(&path));
        else
            status = error_set_errno(error, "%s: cannot create", buffer_text(&path));
    }
    unlink(buffer_text(&unfinished));
    if (status == STATUS_OK)
        status = sync_directory_of_keys(dir, error);
    buffer_wipe(&pem);
    buffer_release(&unfinished);
    buffer_release(&path);
    return status;
}

static enum status read_key_file(const char *path, struct buffer *target, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open the key of the access tokens", path);
    struct stat about;
    enum status status = STATUS_OK;
    if (fstat(fd, &about) != 0)
        status = error_set_errno(error, "%s: cannot ask for its mode", path);
    else if (about.st_mode & 077)
        status =
            error_set(error, STATUS_INVALID,
                      "%s: others than its owner may use this key (mode %03o); chmod 600 it, and replace it "
                      "if anybody may have read it",
                      path, (unsigned)about.st_mode & 0777);
    else if (!S_ISREG(about.st_mode) || about.st_size <= 0 || about.st_size > KEY_FILE_BYTES_MAX)
        status = error_set(error, STATUS_INVALID, "%s: is no key file", path);
    while (status == STATUS_OK && target->size < (size_t)about.st_size) {
        size_t left = (size_t)about.st_size - target->size;
        ssize_t size = read(fd, buffer_reserve(target, left + 1), left); /* + 1: the NUL moves no bytes */
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            status = error_set_errno(error, "%s: cannot read", path);
        if (size == 0)
            break;
        if (size > 0)
            target->size += (size_t)size;
    }
    close(fd);
    return status;
}

/* OpenSSL would ask for a passphrase on the terminal. */
static int no_passphrase(char *target, int size, int is_writing, void *context)
{
    (void)target, (void)size, (void)is_writing, (void)context;
    return -1;
}

static enum status load_key(struct tokens *tokens, const char *path, struct error *error)
{
    enum status status = read_key_file(path, &tokens->private_pem, error);
    if (status != STATUS_OK)
        return status;
    BIO *in = BIO_new_mem_buf(tokens->private_pem.data, (int)tokens->private_pem.size);
    tokens->key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL) : NULL;
    BIO_free(in);
    ERR_clear_error();
    if (!tokens->key || EVP_PKEY_get_base_id(tokens->key) != EVP_PKEY_RSA ||
        EVP_PKEY_get_bits(tokens->key) < KEY_BITS_MIN || EVP_PKEY_get_bits(tokens->key) > KEY_BITS_MAX)
        return error_set(error, STATUS_INVALID, "%s: is no RSA key (PEM, no passphrase, %d to %d bits)", path,
                         KEY_BITS_MIN, KEY_BITS_MAX);
    buffer_text(&tokens->private_pem);
    BIO *out = BIO_new(BIO_s_mem());
    if (!out || PEM_write_bio_PUBKEY(out, tokens->key) != 1) {
        status = crypto_failed(error, "cannot write the public key of the access tokens");
    } else {
        char *data;
        long size = BIO_get_mem_data(out, &data);
        buffer_append(&tokens->public_pem, data, (size_t)size);
        buffer_text(&tokens->public_pem);
    }
    BIO_free(out);
    return status;
}

/* ---- Issuing ---- */

static void make_token_id(char text[TOKEN_ID_SIZE + 1])
{
    unsigned char bytes[TOKEN_ID_SIZE / 2];
    CHECK(getrandom(bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        CHECK(snprintf(text + 2 * i, 3, "%02x", bytes[i]) == 2);
}

static void note_issued(struct tokens *tokens, const struct token_issue *issue, int64_t expires)
{
    struct cache_entry entry = {.generation = NOT_LOOKED_UP, .expires = expires, .identity = issue->identity};
    CHECK(EVP_Digest(issue->ret_token, strlen(issue->ret_token), entry.digest, NULL, EVP_sha256(), NULL) ==
          1);
    pthread_mutex_lock(&tokens->issued_lock);
    table_put(&tokens->issued, &entry);
    pthread_mutex_unlock(&tokens->issued_lock);
}

static enum status sign(struct tokens *tokens, struct token_issue *issue)
{
    char id[TOKEN_ID_SIZE + 1];
    make_token_id(id);
    int64_t now = clock_now_us() / US_PER_SECOND, expires = now + tokens->lifetime_seconds;
    jwt_t *jwt = NULL;
    char *text = NULL;
    enum status status = STATUS_INTERNAL;
    if (jwt_new(&jwt) == 0 && jwt_add_grant(jwt, "iss", tokens->issuer) == 0 &&
        jwt_add_grant(jwt, "sub", issue->identity.client_id) == 0 &&
        jwt_add_grant(jwt, "cid", issue->identity.client_id) == 0 &&
        jwt_add_grant(jwt, "aco", issue->identity.aco_id) == 0 && jwt_add_grant(jwt, "jti", id) == 0 &&
        jwt_add_grant_int(jwt, "iat", (long)now) == 0 && jwt_add_grant_int(jwt, "exp", (long)expires) == 0 &&
        jwt_set_alg(jwt, JWT_ALG_RS512, (const unsigned char *)tokens->private_pem.data,
                    (int)tokens->private_pem.size) == 0)
        text = jwt_encode_str(jwt);
    if (text && strlen(text) < sizeof issue->ret_token) {
        strcpy(issue->ret_token, text);
        note_issued(tokens, issue, expires);
        status = STATUS_OK;
    } else {
        crypto_failed(&issue->error, "cannot sign an access token");
    }
    free(text);
    jwt_free(jwt);
    return status;
}

static void deliver_stop(struct message *message, void *receiver)
{
    struct tokens *tokens = receiver;
    mem_free(message);
    tokens->stopping = true;
}

static void *signer_main(void *argument)
{
    struct tokens *tokens = argument;
    while (!tokens->stopping) {
        for (struct message *list = mailbox_wait(tokens->inbox, INT64_MAX); list;) {
            struct message *message = list;
            list = message->next;
            if (message->deliver == deliver_stop) {
                message->deliver(message, tokens);
                continue;
            }
            struct token_issue *issue = (struct token_issue *)message; /* the first member */
            issue->status = sign(tokens, issue);
            mailbox_post_reply(issue->reply_to, message);
        }
    }
    return NULL;
}

bool tokens_issue(struct tokens *tokens, struct token_issue *issue)
{
    CHECK(issue->reply_to && issue->message.deliver);
    return mailbox_post(tokens->inbox, &issue->message);
}

enum status tokens_open(struct store *store, const char *issuer, unsigned lifetime_seconds,
                        struct tokens **ret_tokens, struct error *error)
{
    struct tokens *tokens = mem_new(struct tokens);
    tokens->store = store;
    tokens->lifetime_seconds = lifetime_seconds;
    pthread_mutex_init(&tokens->issued_lock, NULL);
    table_init(&tokens->issued, TOKENS_ISSUED_MAX);
    CHECK(strlen(issuer) < sizeof tokens->issuer);
    strcpy(tokens->issuer, issuer);
    struct buffer path = BUFFER_INIT;
    append_key_path(&path, store_dir(store), "");
    enum status status = load_key(tokens, buffer_text(&path), error);
    buffer_release(&path);
    if (status == STATUS_OK) {
        tokens->inbox = mailbox_new(TOKEN_QUEUE_MAX);
        if (pthread_create(&tokens->signer, NULL, signer_main, tokens) == 0) {
            *ret_tokens = tokens;
            return STATUS_OK;
        }
        mailbox_free(tokens->inbox);
        tokens->inbox = NULL;
        status = error_set(error, STATUS_INTERNAL, "the signer's thread cannot be started");
    }
    tokens_close(tokens);
    return status;
}

void tokens_close(struct tokens *tokens)
{
    if (!tokens)
        return;
    if (tokens->inbox) {
        struct message *stop = mem_new(struct message);
        stop->deliver = deliver_stop;
        mailbox_post_reply(tokens->inbox, stop); /* never refused */
        pthread_join(tokens->signer, NULL);
        mailbox_free(tokens->inbox);
    }
    EVP_PKEY_free(tokens->key);
    buffer_wipe(&tokens->private_pem);
    buffer_release(&tokens->public_pem);
    pthread_mutex_destroy(&tokens->issued_lock);
    mem_free(tokens->issued.sets);
    mem_free(tokens);
}

/* ---- Taking a token apart ---- */

struct token_parts {
    struct slice header, claims, signature; /* as they stand in the token */
    struct slice signed_text;               /* header "." claims */
};

/* Three parts, two dots: a fourth part would be junk that libjwt ignores. */
static bool split_token(struct slice token, struct token_parts *ret_parts)
{
    const char *dots[2];
    size_t count = 0;
    for (size_t i = 0; i < token.size; i++)
        if (token.data[i] == '.') {
            if (count == 2)
                return false;
            dots[count++] = token.data + i;
        }
    if (count != 2)
        return false;
    const char *end = token.data + token.size;
    ret_parts->header = slice_make(token.data, (size_t)(dots[0] - token.data));
    ret_parts->claims = slice_make(dots[0] + 1, (size_t)(dots[1] - dots[0] - 1));
    ret_parts->signature = slice_make(dots[1] + 1, (size_t)(end - dots[1] - 1));
    ret_parts->signed_text = slice_make(token.data, (size_t)(dots[1] - token.data));
    return ret_parts->header.size && ret_parts->claims.size && ret_parts->signature.size;
}

/* ---- Header and claims ---- */

static enum status denied(struct error *error)
{
    return error_set(error, STATUS_DENIED, "the access token is not valid");
}

/* Both documents are flat objects whose every key is known: what we do not understand we did not sign. */
struct member {
    const char *name;
    bool is_number;
    bool is_optional;
    bool is_there;
    int64_t number;
    char text[128];
};

struct document {
    struct member *members;
    size_t count;
    struct member *current;
};

static bool parse_seconds(struct slice text, int64_t *ret_seconds)
{
    int64_t seconds = 0;
    if (text.size == 0 || text.size > 12)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        seconds = seconds * 10 + (text.data[i] - '0');
    }
    *ret_seconds = seconds;
    return true;
}

static enum status on_member(void *context, enum json_event event, struct slice text, unsigned depth,
                             struct error *error)
{
    struct document *document = context;
    if (depth == 0)
        return event == JSON_EVENT_OBJECT_BEGIN || event == JSON_EVENT_OBJECT_END ? STATUS_OK : denied(error);
    if (event == JSON_EVENT_KEY) {
        for (size_t i = 0; i < document->count; i++)
            if (slice_equal_text(text, document->members[i].name)) {
                document->current = &document->members[i];
                return STATUS_OK;
            }
        return denied(error);
    }
    struct member *member = document->current;
    member->is_there = true;
    if (event == JSON_EVENT_STRING && !member->is_number && text.size < sizeof member->text &&
        !memchr(text.data, '\0', text.size)) {
        memcpy(member->text, text.data, text.size);
        member->text[text.size] = '\0';
        return STATUS_OK;
    }
    if (event == JSON_EVENT_NUMBER && member->is_number && parse_seconds(text, &member->number))
        return STATUS_OK;
    return denied(error);
}

static bool read_document(struct json_reader *reader, struct slice encoded, struct member *members,
                          size_t count)
{
    char bytes[BASE64_DECODED_SIZE(TOKEN_BYTES_MAX)];
    struct slice text;
    struct document document = {members, count, NULL};
    if (!base64_decode(BASE64_FORM_URL, encoded, bytes, &text) ||
        json_read(reader, text, on_member, &document, NULL) != STATUS_OK)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!members[i].is_there && !members[i].is_optional)
            return false;
    return true;
}

/* `crit`, `jku`, `jwk`, `x5u` and whatever else are refused by not being known. */
static bool check_header(struct json_reader *reader, struct slice encoded)
{
    enum { ALG, TYP, COUNT };
    struct member members[COUNT] = {[ALG] = {.name = "alg"}, [TYP] = {.name = "typ", .is_optional = true}};
    return read_document(reader, encoded, members, COUNT) && strcmp(members[ALG].text, "RS512") == 0 &&
           (!members[TYP].is_there || strcmp(members[TYP].text, "JWT") == 0);
}

struct claims {
    struct identity identity; /* client_id and aco_id */
    int64_t expires;
    char id[TOKEN_ID_SIZE + 1];
};

static bool check_claims(const struct tokens *tokens, struct json_reader *reader, struct slice encoded,
                         struct claims *ret_claims)
{
    enum { ISS, SUB, CID, ACO, JTI, IAT, EXP, COUNT };
    struct member members[COUNT] = {
        [ISS] = {.name = "iss"},
        [SUB] = {.name = "sub"},
        [CID] = {.name = "cid"},
        [ACO] = {.name = "aco"},
        [JTI] = {.name = "jti"},
        [IAT] = {.name = "iat", .is_number = true},
        [EXP] = {.name = "exp", .is_number = true},
    };
    if (!read_document(reader, encoded, members, COUNT))
        return false;
    int64_t now = clock_now_us() / US_PER_SECOND;
    struct identity *identity = &ret_claims->identity;
    if (strcmp(members[ISS].text, tokens->issuer) != 0 || members[EXP].number <= now ||
        members[IAT].number > now + CLOCK_SKEW_SECONDS || strcmp(members[SUB].text, members[CID].text) != 0 ||
        strlen(members[SUB].text) != CLIENT_ID_SIZE || members[ACO].text[0] == '\0' ||
        strlen(members[ACO].text) >= sizeof identity->aco_id || strlen(members[JTI].text) != TOKEN_ID_SIZE)
        return false;
    strcpy(identity->client_id, members[SUB].text);
    strcpy(identity->aco_id, members[ACO].text);
    strcpy(ret_claims->id, members[JTI].text);
    ret_claims->expires = members[EXP].number;
    return true;
}

/* ---- Verifying ---- */

/* With the key that is kept: 30 µs at 3072 bits, where libjwt takes 280. And a forged token never gets as far
 * as libjwt, which after a failed allocation can take it for genuine. */
static bool check_signature(const struct tokens *tokens, const struct token_parts *parts)
{
    char signature[BASE64_DECODED_SIZE(TOKEN_BYTES_MAX)];
    struct slice bytes;
    if (!base64_decode(BASE64_FORM_URL, parts->signature, signature, &bytes) ||
        bytes.size != (size_t)EVP_PKEY_get_size(tokens->key))
        return false;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_genuine =
        context && EVP_DigestVerifyInit(context, NULL, EVP_sha512(), NULL, tokens->key) == 1 &&
        EVP_DigestVerify(context, (const unsigned char *)bytes.data, bytes.size,
                         (const unsigned char *)parts->signed_text.data, parts->signed_text.size) == 1;
    EVP_MD_CTX_free(context);
    return is_genuine;
}

static bool check_with_libjwt(const struct tokens *tokens, struct slice token, const struct claims *claims)
{
    char text[TOKEN_BYTES_MAX];
    CHECK(token.size < sizeof text);
    memcpy(text, token.data, token.size);
    text[token.size] = '\0';
    /* Without a key libjwt takes anything. */
    CHECK(tokens->public_pem.data && tokens->public_pem.size);
    jwt_t *jwt = NULL;
    bool is_valid = jwt_decode(&jwt, text, (const unsigned char *)tokens->public_pem.data,
                               (int)tokens->public_pem.size) == 0 &&
                    jwt && jwt_get_alg(jwt) == JWT_ALG_RS512;
    const char *id = is_valid ? jwt_get_grant(jwt, "jti") : NULL;
    is_valid = id && strcmp(id, claims->id) == 0;
    jwt_free(jwt);
    return is_valid;
}

/* Whether the credential stands today. Fills identity->aco. */
static enum status check_credential(struct tokens *tokens, struct identity *identity, struct error *error)
{
    struct engine_txn *txn;
    enum status status = engine_begin_read(store_engine(tokens->store), &txn, error);
    if (status != STATUS_OK)
        return status;
    struct credential credential;
    struct aco aco;
    status = credential_get(txn, slice_from_text(identity->client_id), &credential, error);
    if (status == STATUS_OK)
        status = aco_get(txn, credential.aco, &aco, error);
    if (status == STATUS_OK && (credential.revoked || aco.removed || strcmp(aco.id, identity->aco_id) != 0))
        status = STATUS_NOT_FOUND;
    if (status == STATUS_OK)
        identity->aco = aco.number;
    engine_end(txn);
    return status == STATUS_NOT_FOUND ? denied(error) : status;
}

struct token_cache *token_cache_new(struct tokens *tokens)
{
    (void)tokens;
    struct token_cache *cache = mem_new(struct token_cache);
    cache->reader = json_reader_new();
    cache->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    cache->digest = EVP_MD_CTX_new();
    CHECK(cache->sha256 && cache->digest);
    cache->recent = mem_zalloc_array(sizeof *cache->recent, RECENT_TOKENS);
    table_init(&cache->table, TOKEN_CACHE_ENTRIES);
    return cache;
}

void token_cache_free(struct token_cache *cache)
{
    if (!cache)
        return;
    json_reader_free(cache->reader);
    EVP_MD_CTX_free(cache->digest);
    EVP_MD_free(cache->sha256);
    mem_free(cache->table.sets);
    OPENSSL_cleanse(cache->recent, RECENT_TOKENS * sizeof *cache->recent);
    mem_free(cache->recent);
    mem_free(cache);
}

static void token_digest(struct token_cache *cache, struct slice token, unsigned char ret_digest[32])
{
    /* Of the signature's end: what stands before it is much the same in all tokens. */
    struct slice end = token.size > 32 ? slice_skip(token, token.size - 32) : token;
    struct recent_token *recent = &cache->recent[crc32c_of(0, end) % RECENT_TOKENS];
    if (recent->size == token.size && memcmp(recent->text, token.data, token.size) == 0) {
        memcpy(ret_digest, recent->digest, sizeof recent->digest);
        return;
    }
    CHECK(EVP_DigestInit_ex2(cache->digest, cache->sha256, NULL) == 1 &&
          EVP_DigestUpdate(cache->digest, token.data, token.size) == 1 &&
          EVP_DigestFinal_ex(cache->digest, ret_digest, NULL) == 1);
    if (token.size > sizeof recent->text)
        return;
    recent->size = token.size;
    memcpy(recent->text, token.data, token.size);
    memcpy(recent->digest, ret_digest, sizeof recent->digest);
}

static enum status verify_cached(struct tokens *tokens, struct token_cache *cache, struct cache_entry *entry,
                                 struct identity *ret_identity, struct error *error)
{
    /* Read before the store is: a change in between is then seen at the next request. */
    uint64_t generation = store_accounts_generation(tokens->store);
    enum status status = STATUS_OK;
    if (entry->expires <= clock_now_us() / US_PER_SECOND)
        status = denied(error);
    else if (entry->generation != generation)
        status = check_credential(tokens, &entry->identity, error);
    if (status == STATUS_OK) {
        entry->generation = generation;
        entry->used = ++cache->table.tick;
        *ret_identity = entry->identity;
    } else if (status == STATUS_DENIED) {
        entry->used = 0;
    }
    return status;
}

/* Into the cache, if this process issued the token; that its credential stands is still to be seen. */
static struct cache_entry *take_issued(struct tokens *tokens, struct token_cache *cache,
                                       const unsigned char digest[32])
{
    int64_t now = clock_now_us() / US_PER_SECOND;
    pthread_mutex_lock(&tokens->issued_lock);
    const struct cache_entry *issued = table_find(&tokens->issued, digest);
    if (issued && issued->expires - tokens->lifetime_seconds > now + CLOCK_SKEW_SECONDS)
        issued = NULL; /* from the future: the clock was set back */
    struct cache_entry *entry = issued ? table_put(&cache->table, issued) : NULL;
    pthread_mutex_unlock(&tokens->issued_lock);
    return entry;
}

static enum status verify_anew(struct tokens *tokens, struct token_cache *cache, struct slice token,
                               const unsigned char digest[32], struct identity *ret_identity,
                               struct error *error)
{
    uint64_t generation = store_accounts_generation(tokens->store);
    struct token_parts parts;
    struct claims claims = {0};
    /* The cheap checks first: what cannot be valid costs no arithmetic. None of them tells a forger anything,
     * for the answer is the same. */
    if (!split_token(token, &parts) || !check_header(cache->reader, parts.header) ||
        !check_claims(tokens, cache->reader, parts.claims, &claims) || !check_signature(tokens, &parts) ||
        !check_with_libjwt(tokens, token, &claims))
        return denied(error);
    enum status status = check_credential(tokens, &claims.identity, error);
    if (status != STATUS_OK)
        return status;
    struct cache_entry entry = {
        .generation = generation, .expires = claims.expires, .identity = claims.identity};
    memcpy(entry.digest, digest, sizeof entry.digest);
    table_put(&cache->table, &entry);
    *ret_identity = claims.identity;
    return STATUS_OK;
}

enum status tokens_verify(struct tokens *tokens, struct token_cache *cache, struct slice token,
                          struct identity *ret_identity, struct error *error)
{
    if (token.size == 0 || token.size >= TOKEN_BYTES_MAX)
        return denied(error);
    unsigned char digest[32];
    token_digest(cache, token, digest);
    struct cache_entry *entry = table_find(&cache->table, digest);
    if (!entry)
        entry = take_issued(tokens, cache, digest);
    if (entry)
        return verify_cached(tokens, cache, entry, ret_identity, error);
    enum status status = verify_anew(tokens, cache, token, digest, ret_identity, error);
    /* What a forged token left in this thread's queue would be taken for a fault of the next TLS session. */
    ERR_clear_error();
    return status;
}
