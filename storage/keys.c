#include "storage/keys.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"

const char *const table_names[TABLE_COUNT] = {
    [TABLE_META] = "meta",
    [TABLE_SEGMENT + RESOURCE_TYPE_EXPLANATION_OF_BENEFIT] = "segment.ExplanationOfBenefit",
    [TABLE_SEGMENT + RESOURCE_TYPE_COVERAGE] = "segment.Coverage",
    [TABLE_SEGMENT + RESOURCE_TYPE_PATIENT] = "segment.Patient",
    [TABLE_SUMMARY] = "summary",
    [TABLE_RESOURCE] = "resource",
    [TABLE_TOMBSTONE] = "tombstone",
    [TABLE_DELETED] = "deleted",
    [TABLE_BENEFICIARY] = "beneficiary",
    [TABLE_MBI] = "mbi",
    [TABLE_ATTRIBUTION] = "attribution",
    [TABLE_EXPORTABLE] = "exportable",
    [TABLE_ROSTER] = "roster",
    [TABLE_SUPPRESSION] = "suppression",
    [TABLE_SUPPRESSION_DUE] = "suppression_due",
    [TABLE_SUPPRESSION_FILE] = "suppression_file",
    [TABLE_MBI_LINK] = "mbi_link",
    [TABLE_DEAD] = "dead",
    [TABLE_MOVE] = "move",
    [TABLE_JOB] = "job",
    [TABLE_JOB_FILE] = "job_file",
    [TABLE_JOB_BY_ACO] = "job_by_aco",
    [TABLE_JOB_ACTIVE] = "job_active",
    [TABLE_ACO] = "aco",
    [TABLE_ACO_BY_ID] = "aco_by_id",
    [TABLE_CREDENTIAL] = "credential",
    [TABLE_CREDENTIAL_BY_ACO] = "credential_by_aco",
};
/* A further type needs a name above: the engine finds tables by name. */
_Static_assert(RESOURCE_TYPE_COUNT == 3, "name the segment table of each resource type");

static char *key_extend(struct key *key, size_t size)
{
    CHECK(size <= sizeof key->bytes - key->size);
    char *begin = key->bytes + key->size;
    key->size += size;
    return begin;
}

void key_init(struct key *key)
{
    key->size = 0;
}

void key_u8(struct key *key, uint8_t value)
{
    *key_extend(key, 1) = (char)value;
}

void key_u16(struct key *key, uint16_t value)
{
    store_u16_be(key_extend(key, sizeof value), value);
}

void key_u32(struct key *key, uint32_t value)
{
    store_u32_be(key_extend(key, sizeof value), value);
}

void key_u64(struct key *key, uint64_t value)
{
    store_u64_be(key_extend(key, sizeof value), value);
}

void key_instant(struct key *key, int64_t us)
{
    store_i64_be(key_extend(key, sizeof us), us);
}

void key_id(struct key *key, struct slice id)
{
    CHECK(id.size == 0 || !memchr(id.data, 0, id.size));
    CHECK(id.size < KEY_SIZE_MAX);
    char *begin = key_extend(key, id.size + 1);
    if (id.size)
        memcpy(begin, id.data, id.size);
    begin[id.size] = '\0';
}

/* The first `size` bytes of *rest, which then begins behind them; NULL if there are fewer. */
static const char *key_take(struct slice *rest, size_t size)
{
    if (rest->size < size)
        return NULL;
    const char *begin = rest->data;
    *rest = slice_skip(*rest, size);
    return begin;
}

bool key_take_u8(struct slice *rest, uint8_t *ret_value)
{
    const char *begin = key_take(rest, sizeof *ret_value);
    if (begin)
        *ret_value = (uint8_t)*begin;
    return begin;
}

bool key_take_u16(struct slice *rest, uint16_t *ret_value)
{
    const char *begin = key_take(rest, sizeof *ret_value);
    if (begin)
        *ret_value = load_u16_be(begin);
    return begin;
}

bool key_take_u32(struct slice *rest, uint32_t *ret_value)
{
    const char *begin = key_take(rest, sizeof *ret_value);
    if (begin)
        *ret_value = load_u32_be(begin);
    return begin;
}

bool key_take_u64(struct slice *rest, uint64_t *ret_value)
{
    const char *begin = key_take(rest, sizeof *ret_value);
    if (begin)
        *ret_value = load_u64_be(begin);
    return begin;
}

bool key_take_instant(struct slice *rest, int64_t *ret_us)
{
    const char *begin = key_take(rest, sizeof *ret_us);
    if (begin)
        *ret_us = load_i64_be(begin);
    return begin;
}

bool key_take_id(struct slice *rest, struct slice *ret_id)
{
    const char *end = rest->size ? memchr(rest->data, 0, rest->size) : NULL;
    if (!end)
        return false;
    size_t size = (size_t)(end - rest->data);
    *ret_id = slice_make(rest->data, size);
    *rest = slice_skip(*rest, size + 1);
    return true;
}

void key_segment_prefix(struct key *key, uint32_t home, struct slice beneficiary)
{
    key_aco_beneficiary(key, home, beneficiary);
}

void key_segment(struct key *key, uint32_t home, struct slice beneficiary, const struct segment_name *name)
{
    key_segment_prefix(key, home, beneficiary);
    key_instant(key, name->newest_us);
    key_u64(key, name->birth);
    key_u16(key, name->ordinal);
}

void key_aco_beneficiary(struct key *key, uint32_t aco, struct slice beneficiary)
{
    key_init(key);
    key_u32(key, aco);
    key_id(key, beneficiary);
}

bool key_is_aco_beneficiary(struct slice key, uint32_t aco, struct slice beneficiary)
{
    uint32_t number;
    return key_take_u32(&key, &number) && number == aco && key.size == beneficiary.size + 1 &&
           key.data[beneficiary.size] == '\0' && memcmp(key.data, beneficiary.data, beneficiary.size) == 0;
}

void key_dead_home(struct key *key, uint64_t left, uint32_t home, struct slice beneficiary)
{
    key_of_u64(key, left);
    key_u8(key, DEAD_HOME);
    key_u32(key, home);
    key_id(key, beneficiary);
}

void key_resource(struct key *key, enum resource_type type, struct slice id)
{
    key_init(key);
    key_u8(key, (uint8_t)type);
    key_id(key, id);
}

void key_of_u32(struct key *key, uint32_t value)
{
    key_init(key);
    key_u32(key, value);
}

void key_of_u64(struct key *key, uint64_t value)
{
    key_init(key);
    key_u64(key, value);
}

void key_of_id(struct key *key, struct slice id)
{
    key_init(key);
    key_id(key, id);
}

void key_text(struct slice key, char text[KEY_TEXT_SIZE])
{
    size_t shown = key.size < KEY_TEXT_BYTES_MAX ? key.size : KEY_TEXT_BYTES_MAX;
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < shown; i++) {
        unsigned char byte = (unsigned char)key.data[i];
        *text++ = digits[byte >> 4];
        *text++ = digits[byte & 15];
    }
    memcpy(text, shown < key.size ? "..." : "", shown < key.size ? 4 : 1);
}
