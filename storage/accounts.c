#include "storage/accounts.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/reader.h"
#include "codec/utf8.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>

#define ACO_KIND              'O'
#define ACO_VERSION           1
#define ACO_FLAG_REMOVED      1
#define ACO_NUMBER_KIND       'N'
#define ACO_NUMBER_VERSION    1
#define CREDENTIAL_KIND       'C'
#define CREDENTIAL_VERSION    1
#define CREDENTIAL_REVOKED    1
#define SECRET_RANDOM_BYTES   (CLIENT_SECRET_SIZE / 2)
#define ACCOUNT_REQUEST_BYTES 1024 /* about what one of these requests writes */

_Static_assert(ACO_NAME_MAX <= UINT8_MAX && ACO_ID_MAX <= UINT8_MAX, "texts carry a length of one byte");

/* ---- Texts ---- */

static void append_text(struct buffer *target, const char *text)
{
    size_t size = strlen(text);
    buffer_append_u8(target, (uint8_t)size);
    buffer_append(target, text, size);
}

/* Into an array of size_max + 1 bytes; marks the reader as failed if it does not fit. */
static void take_text(struct reader *reader, char *target, size_t size_max)
{
    size_t size = reader_u8(reader);
    struct slice text = reader_take(reader, size);
    if (text.size > size_max) {
        reader->failed = true;
        return;
    }
    memcpy(target, text.data, text.size);
    target[text.size] = '\0';
}

static enum status record_fail(const char *what, const char *name, uint8_t version, uint8_t version_known,
                               struct error *error)
{
    if (version != version_known)
        return error_set(error, STATUS_UNSUPPORTED, "%s %s: its record has version %u, this program reads %u",
                         what, name, version, version_known);
    return error_set(error, STATUS_CORRUPT, "%s %s: its record is malformed", what, name);
}

/* A name that people read, also in JSON: UTF-8 without control characters. */
static bool name_is_valid(struct slice name)
{
    if (name.size > ACO_NAME_MAX || !utf8_is_valid(name))
        return false;
    for (size_t i = 0; i < name.size; i++) {
        if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7f)
            return false;
    }
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void hex_write(const unsigned char *bytes, size_t size, char *target)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        target[2 * i] = digits[bytes[i] >> 4];
        target[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static void random_bytes(unsigned char *target, int size)
{
    CHECK(RAND_bytes(target, size) == 1); /* without it nothing that we hand out is secret */
}

static bool uuid_has_dash(size_t index)
{
    return index == 8 || index == 13 || index == 18 || index == 23;
}

void uuid_make(char text[37])
{
    unsigned char bytes[16];
    char hex[32];
    random_bytes(bytes, sizeof bytes);
    bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40); /* RFC 9562 section 5.4: version and variant */
    bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    hex_write(bytes, sizeof bytes, hex);
    for (size_t i = 0, digit = 0; i < 36; i++)
        text[i] = uuid_has_dash(i) ? '-' : hex[digit++];
    text[36] = '\0';
}

/* A UUID of any version in lower case; RFC 9562 section 4 lets it come in either. */
static bool uuid_normalise(struct slice text, char ret_uuid[37])
{
    char uuid[37] = {0};
    if (text.size != 36)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (uuid_has_dash(i) ? c != '-' : hex_value(c) < 0)
            return false;
        uuid[i] = (char)(c >= 'A' && c <= 'F' ? c | 0x20 : c);
    }
    memcpy(ret_uuid, uuid, sizeof uuid);
    return true;
}

/* ---- ACOs ---- */

static enum status aco_decode(uint32_t number, struct slice value, struct aco *ret_aco, struct error *error)
{
    struct reader reader = reader_make(value);
    struct aco aco = {.number = number};
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader), flags = reader_u8(&reader);
    aco.removed = flags & ACO_FLAG_REMOVED;
    aco.created_us = reader_i64(&reader);
    aco.newest_transaction_time_us = reader_i64(&reader);
    take_text(&reader, aco.id, ACO_ID_MAX);
    take_text(&reader, aco.name, ACO_NAME_MAX);
    if (!reader_done(&reader) || kind != ACO_KIND || version != ACO_VERSION) {
        char name[16];
        snprintf(name, sizeof name, "%u", number);
        return record_fail("ACO", name, version, ACO_VERSION, error);
    }
    *ret_aco = aco;
    return STATUS_OK;
}

static enum status aco_put(struct store_write *write, const struct aco *aco, struct error *error)
{
    struct key key;
    struct buffer value = BUFFER_INIT;
    key_of_u32(&key, aco->number);
    buffer_append_u8(&value, ACO_KIND);
    buffer_append_u8(&value, ACO_VERSION);
    buffer_append_u8(&value, aco->removed ? ACO_FLAG_REMOVED : 0);
    buffer_append_i64(&value, aco->created_us);
    buffer_append_i64(&value, aco->newest_transaction_time_us);
    append_text(&value, aco->id);
    append_text(&value, aco->name);
    enum status status = engine_put(write->txn, TABLE_ACO, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

enum status aco_get(struct engine_txn *txn, uint32_t number, struct aco *ret_aco, struct error *error)
{
    struct key key;
    struct slice value;
    key_of_u32(&key, number);
    enum status status = engine_get(txn, TABLE_ACO, key_slice(&key), &value, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_NOT_FOUND, "there is no ACO with the number %u", number);
    if (status != STATUS_OK)
        return status;
    return aco_decode(number, value, ret_aco, error);
}

/* TABLE_ACO_BY_ID holds the ACOs that are not removed. */
static enum status aco_number_find(struct engine_txn *txn, struct slice id, uint32_t *ret_number,
                                   struct error *error)
{
    struct key key;
    struct slice value;
    if (!aco_id_is_valid(id))
        return STATUS_NOT_FOUND;
    key_of_id(&key, id);
    enum status status = engine_get(txn, TABLE_ACO_BY_ID, key_slice(&key), &value, error);
    if (status != STATUS_OK)
        return status;
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    uint32_t number = reader_u32(&reader);
    if (!reader_done(&reader) || kind != ACO_NUMBER_KIND || version != ACO_NUMBER_VERSION) {
        char name[UTF8_EXCERPT_SIZE];
        return record_fail("ACO", utf8_excerpt(id, name), version, ACO_NUMBER_VERSION, error);
    }
    *ret_number = number;
    return STATUS_OK;
}

enum status aco_find(struct engine_txn *txn, struct slice id, struct aco *ret_aco, struct error *error)
{
    uint32_t number = 0;
    enum status status = aco_number_find(txn, id, &number, error);
    if (status == STATUS_NOT_FOUND) {
        char text[UTF8_EXCERPT_SIZE];
        return error_set(error, STATUS_NOT_FOUND, "there is no ACO \"%s\"", utf8_excerpt(id, text));
    }
    if (status != STATUS_OK)
        return status;
    return aco_get(txn, number, ret_aco, error);
}

struct aco_walk {
    aco_handler *handler;
    void *context;
};

static enum status aco_each_row(void *context, struct slice key, struct slice value, struct error *error)
{
    struct aco_walk *walk = context;
    struct aco aco;
    uint32_t number = 0;
    if (!key_take_u32(&key, &number) || key.size)
        return error_set(error, STATUS_CORRUPT, "table %s holds a key that is no number",
                         table_names[TABLE_ACO]);
    enum status status = aco_decode(number, value, &aco, error);
    if (status != STATUS_OK || aco.removed)
        return status;
    return walk->handler(walk->context, &aco, error);
}

enum status aco_each(struct engine_txn *txn, aco_handler *handler, void *context, struct error *error)
{
    struct aco_walk walk = {handler, context};
    return engine_each(txn, TABLE_ACO, slice_make(NULL, 0), aco_each_row, &walk, error);
}

enum status aco_note_transaction_time(struct store_write *write, uint32_t number, int64_t us,
                                      struct error *error)
{
    struct aco aco;
    enum status status = aco_get(write->txn, number, &aco, error);
    if (status != STATUS_OK || us <= aco.newest_transaction_time_us)
        return status;
    aco.newest_transaction_time_us = us;
    return aco_put(write, &aco, error);
}

static void request_init(struct write_request *request,
                         enum status (*apply)(struct write_request *request, struct store_write *write,
                                              struct error *error))
{
    request->apply = apply;
    request->bytes = ACCOUNT_REQUEST_BYTES;
    request->urgent = true;
}

static enum status aco_add_apply(struct write_request *request, struct store_write *write,
                                 struct error *error)
{
    struct aco_add *add = (struct aco_add *)request;
    struct slice id = slice_from_text(add->id);
    uint32_t taken;
    enum status status = aco_number_find(write->txn, id, &taken, error);
    if (status == STATUS_OK)
        return error_set(error, STATUS_EXISTS, "the ACO %s exists already", add->id);
    if (status != STATUS_NOT_FOUND)
        return status;

    uint64_t number = 0;
    status = store_counter_next(write, "aco", &number, error);
    if (status == STATUS_OK && number > UINT32_MAX)
        status = error_set(error, STATUS_TOO_LARGE, "all ACO numbers are given");
    struct aco aco = {
        .number = (uint32_t)number,
        .created_us = write->instant_us,
        .newest_transaction_time_us = INT64_MIN,
    };
    memcpy(aco.id, add->id, sizeof aco.id);
    memcpy(aco.name, add->name, sizeof aco.name);
    if (status == STATUS_OK)
        status = aco_put(write, &aco, error);
    if (status == STATUS_OK) {
        struct key key;
        struct buffer value = BUFFER_INIT;
        key_of_id(&key, id);
        buffer_append_u8(&value, ACO_NUMBER_KIND);
        buffer_append_u8(&value, ACO_NUMBER_VERSION);
        buffer_append_u32(&value, aco.number);
        status = engine_put(write->txn, TABLE_ACO_BY_ID, key_slice(&key), buffer_slice(&value), error);
        buffer_release(&value);
    }
    if (status == STATUS_OK) {
        write->accounts_changed = true;
        add->ret_number = aco.number;
    }
    return status;
}

static enum status check_aco_id(struct slice id, struct error *error)
{
    if (aco_id_is_valid(id) && id.size <= ACO_ID_MAX)
        return STATUS_OK;
    char text[UTF8_EXCERPT_SIZE];
    return error_set(error, STATUS_INVALID, "\"%s\" is no ACO id; one looks like A9994",
                     utf8_excerpt(id, text));
}

enum status aco_add_init(struct aco_add *add, struct slice id, struct slice name, struct error *error)
{
    enum status status = check_aco_id(id, error);
    if (status != STATUS_OK)
        return status;
    if (!name_is_valid(name))
        return error_set(error, STATUS_INVALID,
                         "the name of ACO %.*s is not at most %d bytes of UTF-8 without control characters",
                         SLICE_PRINT(id), ACO_NAME_MAX);
    *add = (struct aco_add){.ret_number = 0};
    request_init(&add->request, aco_add_apply);
    memcpy(add->id, id.data, id.size);
    if (name.size)
        memcpy(add->name, name.data, name.size);
    return STATUS_OK;
}

/* ---- Credentials ---- */

static enum status credential_decode(struct slice client_id, struct slice value,
                                     struct credential *ret_credential, struct error *error)
{
    struct reader reader = reader_make(value);
    struct credential credential = {.aco = 0};
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader), flags = reader_u8(&reader);
    credential.revoked = flags & CREDENTIAL_REVOKED;
    credential.aco = reader_u32(&reader);
    credential.created_us = reader_i64(&reader);
    struct slice salt = reader_take(&reader, sizeof credential.salt);
    struct slice hash = reader_take(&reader, sizeof credential.hash);
    take_text(&reader, credential.name, ACO_NAME_MAX);
    if (!reader_done(&reader) || kind != CREDENTIAL_KIND || version != CREDENTIAL_VERSION ||
        !uuid_normalise(client_id, credential.client_id)) {
        char name[UTF8_EXCERPT_SIZE];
        return record_fail("credential", utf8_excerpt(client_id, name), version, CREDENTIAL_VERSION, error);
    }
    memcpy(credential.salt, salt.data, sizeof credential.salt);
    memcpy(credential.hash, hash.data, sizeof credential.hash);
    *ret_credential = credential;
    return STATUS_OK;
}

static enum status credential_put(struct store_write *write, const struct credential *credential,
                                  struct error *error)
{
    struct key key;
    struct buffer value = BUFFER_INIT;
    key_of_id(&key, slice_from_text(credential->client_id));
    buffer_append_u8(&value, CREDENTIAL_KIND);
    buffer_append_u8(&value, CREDENTIAL_VERSION);
    buffer_append_u8(&value, credential->revoked ? CREDENTIAL_REVOKED : 0);
    buffer_append_u32(&value, credential->aco);
    buffer_append_i64(&value, credential->created_us);
    buffer_append(&value, credential->salt, sizeof credential->salt);
    buffer_append(&value, credential->hash, sizeof credential->hash);
    append_text(&value, credential->name);
    enum status status =
        engine_put(write->txn, TABLE_CREDENTIAL, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

enum status credential_get(struct engine_txn *txn, struct slice client_id, struct credential *ret_credential,
                           struct error *error)
{
    char uuid[CLIENT_ID_SIZE + 1];
    struct key key;
    struct slice value;
    if (!uuid_normalise(client_id, uuid))
        return error_set(error, STATUS_NOT_FOUND, "that is no client id: it is no UUID");
    key_of_id(&key, slice_from_text(uuid));
    enum status status = engine_get(txn, TABLE_CREDENTIAL, key_slice(&key), &value, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_NOT_FOUND, "there is no credential %s", uuid);
    if (status != STATUS_OK)
        return status;
    return credential_decode(slice_from_text(uuid), value, ret_credential, error);
}

struct credential_walk {
    struct engine_txn *txn;
    credential_handler *handler;
    void *context;
};

static enum status credential_each_row(void *context, struct slice key, struct slice value,
                                       struct error *error)
{
    struct credential_walk *walk = context;
    struct credential credential;
    struct slice client_id;
    if (!key_take_id(&key, &client_id))
        client_id = key;
    enum status status = credential_decode(client_id, value, &credential, error);
    return status == STATUS_OK ? walk->handler(walk->context, &credential, error) : status;
}

/* A row of the index by ACO. */
static enum status credential_each_of_aco(void *context, struct slice key, struct slice value,
                                          struct error *error)
{
    (void)value;
    struct credential_walk *walk = context;
    struct credential credential;
    struct slice client_id;
    uint32_t aco;
    enum status status = STATUS_NOT_FOUND;
    if (key_take_u32(&key, &aco) && key_take_id(&key, &client_id))
        status = credential_get(walk->txn, client_id, &credential, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_CORRUPT, "table %s names a credential that is not there",
                         table_names[TABLE_CREDENTIAL_BY_ACO]);
    return status == STATUS_OK ? walk->handler(walk->context, &credential, error) : status;
}

enum status credential_each(struct engine_txn *txn, uint32_t aco, credential_handler *handler, void *context,
                            struct error *error)
{
    struct credential_walk walk = {txn, handler, context};
    if (aco == 0)
        return engine_each(txn, TABLE_CREDENTIAL, slice_make(NULL, 0), credential_each_row, &walk, error);
    struct key prefix;
    key_of_u32(&prefix, aco);
    return engine_each(txn, TABLE_CREDENTIAL_BY_ACO, key_slice(&prefix), credential_each_of_aco, &walk,
                       error);
}

static void secret_hash(const unsigned char salt[32], struct slice secret, unsigned char ret_hash[32])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
          EVP_DigestUpdate(context, salt, 32) == 1 &&
          EVP_DigestUpdate(context, secret.data, secret.size) == 1 &&
          EVP_DigestFinal_ex(context, ret_hash, NULL) == 1);
    EVP_MD_CTX_free(context);
}

bool credential_matches(const struct credential *credential, struct slice secret)
{
    unsigned char hash[32];
    secret_hash(credential->salt, secret, hash);
    bool equal = CRYPTO_memcmp(hash, credential->hash, sizeof hash) == 0;
    return equal && !credential->revoked;
}

static enum status credential_create_apply(struct write_request *request, struct store_write *write,
                                           struct error *error)
{
    struct credential_create *create = (struct credential_create *)request;
    struct credential *credential = &create->credential;
    struct credential other;
    struct aco aco;
    struct slice client_id = slice_from_text(credential->client_id);
    if (!name_is_valid(slice_make(credential->name, strnlen(credential->name, sizeof credential->name))))
        return error_set(error, STATUS_INVALID,
                         "the credential's name is not at most %d bytes of UTF-8 without control characters",
                         ACO_NAME_MAX);
    enum status status = aco_find(write->txn, slice_from_text(create->aco_id), &aco, error);
    if (status != STATUS_OK)
        return status;
    status = credential_get(write->txn, client_id, &other, error);
    if (status == STATUS_OK)
        return error_set(error, STATUS_EXISTS, "the credential %s exists already", credential->client_id);
    if (status != STATUS_NOT_FOUND)
        return status;

    credential->aco = aco.number;
    credential->created_us = write->instant_us;
    status = credential_put(write, credential, error);
    if (status == STATUS_OK) {
        struct key key;
        key_of_u32(&key, aco.number);
        key_id(&key, client_id);
        status = engine_put(write->txn, TABLE_CREDENTIAL_BY_ACO, key_slice(&key), slice_make(NULL, 0), error);
    }
    if (status == STATUS_OK)
        write->accounts_changed = true;
    return status;
}

static bool secret_is_valid(struct slice secret)
{
    bool valid = secret.size == CLIENT_SECRET_SIZE;
    for (size_t i = 0; valid && i < secret.size; i++)
        valid = hex_value(secret.data[i]) >= 0;
    return valid;
}

enum status credential_create_init(struct credential_create *create, struct slice aco_id,
                                   struct slice client_id, struct slice secret,
                                   char ret_secret[CLIENT_SECRET_SIZE + 1], struct error *error)
{
    char uuid[CLIENT_ID_SIZE + 1];
    enum status status = check_aco_id(aco_id, error);
    if (status != STATUS_OK)
        return status;
    if (client_id.size && !uuid_normalise(client_id, uuid)) {
        char text[UTF8_EXCERPT_SIZE];
        return error_set(error, STATUS_INVALID, "the client id \"%s\" is no UUID",
                         utf8_excerpt(client_id, text));
    }
    if (secret.size && !secret_is_valid(secret))
        return error_set(error, STATUS_INVALID,
                         "a secret brought from outside must be %d hex digits (320 random bits)",
                         CLIENT_SECRET_SIZE);
    *create = (struct credential_create){.aco_id = ""};
    request_init(&create->request, credential_create_apply);
    memcpy(create->aco_id, aco_id.data, aco_id.size);
    if (!client_id.size)
        uuid_make(uuid);
    memcpy(create->credential.client_id, uuid, sizeof uuid);

    if (secret.size) {
        memcpy(ret_secret, secret.data, secret.size);
    } else {
        unsigned char random[SECRET_RANDOM_BYTES];
        random_bytes(random, sizeof random);
        hex_write(random, sizeof random, ret_secret);
        OPENSSL_cleanse(random, sizeof random);
    }
    ret_secret[CLIENT_SECRET_SIZE] = '\0';
    random_bytes(create->credential.salt, sizeof create->credential.salt);
    secret_hash(create->credential.salt, slice_make(ret_secret, CLIENT_SECRET_SIZE), create->credential.hash);
    return STATUS_OK;
}

static enum status credential_revoke_apply(struct write_request *request, struct store_write *write,
                                           struct error *error)
{
    struct credential_revoke *revoke = (struct credential_revoke *)request;
    struct credential credential;
    enum status status = credential_get(write->txn, slice_from_text(revoke->client_id), &credential, error);
    if (status != STATUS_OK || credential.revoked)
        return status;
    credential.revoked = true;
    status = credential_put(write, &credential, error);
    if (status == STATUS_OK)
        write->accounts_changed = true;
    return status;
}

enum status credential_revoke_init(struct credential_revoke *revoke, struct slice client_id,
                                   struct error *error)
{
    char uuid[CLIENT_ID_SIZE + 1];
    if (!uuid_normalise(client_id, uuid)) {
        char text[UTF8_EXCERPT_SIZE];
        return error_set(error, STATUS_INVALID, "the client id \"%s\" is no UUID",
                         utf8_excerpt(client_id, text));
    }
    *revoke = (struct credential_revoke){.client_id = ""};
    request_init(&revoke->request, credential_revoke_apply);
    memcpy(revoke->client_id, uuid, sizeof uuid);
    return STATUS_OK;
}

/* ---- Removing an ACO ---- */

/* Collects what is to be written first: no writes while a cursor walks. */
static enum status collect_unrevoked(void *context, const struct credential *credential, struct error *error)
{
    (void)error;
    struct buffer *credentials = context;
    if (!credential->revoked)
        buffer_append(credentials, credential, sizeof *credential);
    return STATUS_OK;
}

static enum status aco_remove_apply(struct write_request *request, struct store_write *write,
                                    struct error *error)
{
    struct aco_remove *remove = (struct aco_remove *)request;
    struct buffer credentials = BUFFER_INIT;
    struct aco aco;
    struct key key;
    enum status status = aco_find(write->txn, slice_from_text(remove->id), &aco, error);
    if (status == STATUS_OK)
        status = credential_each(write->txn, aco.number, collect_unrevoked, &credentials, error);
    if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED)
        status = STATUS_OK; /* one that cannot be read lets nobody in, and must not keep the rest alive */
    for (size_t at = 0; status == STATUS_OK && at < credentials.size; at += sizeof(struct credential)) {
        struct credential credential;
        memcpy(&credential, credentials.data + at, sizeof credential);
        credential.revoked = true;
        status = credential_put(write, &credential, error);
    }
    if (status == STATUS_OK) {
        aco.removed = true;
        status = aco_put(write, &aco, error);
    }
    if (status == STATUS_OK) {
        key_of_id(&key, slice_from_text(aco.id));
        status = engine_delete(write->txn, TABLE_ACO_BY_ID, key_slice(&key), error);
    }
    if (status == STATUS_OK)
        write->accounts_changed = true;
    buffer_release(&credentials);
    return status;
}

enum status aco_remove_init(struct aco_remove *remove, struct slice id, struct error *error)
{
    enum status status = check_aco_id(id, error);
    if (status != STATUS_OK)
        return status;
    *remove = (struct aco_remove){.id = ""};
    request_init(&remove->request, aco_remove_apply);
    memcpy(remove->id, id.data, id.size);
    return STATUS_OK;
}
