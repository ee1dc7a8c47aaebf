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

enum status aco_each(struct engine_txn *txn, aco_handler *handler, void *context, struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, TABLE_ACO, &cursor, error);
    if (status != STATUS_OK)
        return status;
    bool damaged = false;
    struct slice key, value;
    while (status == STATUS_OK) {
        struct error local = {0};
        struct aco aco;
        uint32_t number = 0;
        status = engine_next(cursor, &key, &value, &local);
        if (status == STATUS_OK && key_take_u32(&key, &number))
            status = aco_decode(number, value, &aco, &local);
        if (status == STATUS_CORRUPT) { /* costs only itself */
            if (!damaged && error)
                *error = local;
            damaged = true;
            status = STATUS_OK;
        } else if (status == STATUS_OK) {
            if (!aco.removed)
                status = handler(context, &aco, error);
        } else if (status != STATUS_NOT_FOUND && error) {
            *error = local;
        }
    }
    engine_cursor_close(cursor);
    if (status != STATUS_NOT_FOUND)
        return status;
    return damaged ? STATUS_CORRUPT : STATUS_OK;
}
