/*
 * Every table and every key of the store, in one place. docs/storage.md shows the same table with values.
 *
 * Fields in keys are big-endian so that memcmp order is the order of the numbers; ids end with a NUL, so a
 * shorter id sorts before its extensions and no id is a prefix of another field; ACO numbers are 32-bit,
 * given once, never reused (0: nobody). Instants are int64 microseconds with the sign bit flipped.
 *
 * Threading: pure functions.
 */
#ifndef STORAGE_KEYS_H
#define STORAGE_KEYS_H

#include "codec/base/slice.h"
#include "codec/resource.h"

#include <stdint.h>

enum table {
    TABLE_META,    /* name                                          -> see store.c */
    TABLE_SEGMENT, /* first of RESOURCE_TYPE_COUNT tables, one a type:
                      (home, beneficiary, newest stamp, birth, ordinal) -> death, segment */
    TABLE_SEGMENT_END = TABLE_SEGMENT + RESOURCE_TYPE_COUNT,
    TABLE_SUMMARY = TABLE_SEGMENT_END, /* (home, beneficiary)           -> counts per type */
    TABLE_RESOURCE,  /* (type, 0, resource id) or (type, 1): a bound     -> resources and their beneficiaries
                      */
    TABLE_TOMBSTONE, /* (type, resource id)                           -> when it was deleted */
    TABLE_DELETED,   /* (beneficiary, stamp, type, resource id, birth) -> death */
    TABLE_BENEFICIARY, /* (beneficiary)                                 -> home, changes, MBIs, ACOs */
    TABLE_MBI,         /* (MBI)                                         -> beneficiary if known, ACOs */
    TABLE_ATTRIBUTION, /* (ACO, MBI)                                    -> intervals */
    TABLE_EXPORTABLE,  /* (ACO, beneficiary)                            -> intervals with home */
    TABLE_ROSTER,      /* (ACO, instant, file name)                     -> what it changed */
    /* Opt-outs: (MBI, effective instant, preference) -> birth, file; (instant, MBI) -> nothing; (file name)
       -> what it held. */
    TABLE_SUPPRESSION,
    TABLE_SUPPRESSION_DUE,
    TABLE_SUPPRESSION_FILE,
    TABLE_MBI_LINK,   /* (MBI, another of the same person) -> which is the newer, birth */
    TABLE_DEAD,       /* (death, type, segment key)                    -> nothing
                         (death, DEAD_HOME, home, beneficiary)         -> nothing
                         (death, DEAD_DELETED, key of TABLE_DELETED)   -> nothing */
    TABLE_MOVE,       /* (beneficiary) whose home is to change         -> what is copied already */
    TABLE_JOB,        /* (job id)                                      -> job */
    TABLE_JOB_FILE,   /* (job id)                                      -> plan: the files
                         (job id, file)                                -> what became of it */
    TABLE_JOB_BY_ACO, /* (ACO, job id)                                 -> nothing */
    TABLE_JOB_ACTIVE, /* (ACO, endpoint)                               -> job id, sequence */
    TABLE_ACO,        /* (ACO)                                         -> id, name, newest transactionTime */
    TABLE_ACO_BY_ID,  /* (ACO id)                                      -> ACO */
    TABLE_CREDENTIAL, /* (client id)                                   -> ACO, salted hash */
    TABLE_CREDENTIAL_BY_ACO, /* (ACO, client id)                        -> nothing */
    TABLE_COUNT
};

/* Names of the tables by number, for engine_open and messages. */
extern const char *const table_names[TABLE_COUNT];

/* In TABLE_DEAD in the place of a type: a beneficiary left this home as a whole; a deletion. */
#define DEAD_HOME    255
#define DEAD_DELETED 254

#define KEY_SIZE_MAX 200

struct key {
    size_t size;
    char bytes[KEY_SIZE_MAX];
};

static inline struct slice key_slice(const struct key *key)
{
    return (struct slice){key->bytes, key->size};
}

/* Building: key_init, then fields in order. CHECKs the bound. */
void key_init(struct key *key);
void key_u8(struct key *key, uint8_t value);
void key_u16(struct key *key, uint16_t value);
void key_u32(struct key *key, uint32_t value);
void key_u64(struct key *key, uint64_t value);
void key_instant(struct key *key, int64_t us);
void key_id(struct key *key, struct slice id); /* bytes and a NUL; CHECKs that it holds no NUL */

/* Taking apart: each takes its field from the front of *rest; false if it is not there. */
bool key_take_u8(struct slice *rest, uint8_t *ret_value);
bool key_take_u16(struct slice *rest, uint16_t *ret_value);
bool key_take_u32(struct slice *rest, uint32_t *ret_value);
bool key_take_u64(struct slice *rest, uint64_t *ret_value);
bool key_take_instant(struct slice *rest, int64_t *ret_us);
bool key_take_id(struct slice *rest, struct slice *ret_id);

/* The keys that are built in more than one place. */
struct segment_name { /* a segment within its beneficiary and type */
    int64_t newest_us;
    uint64_t birth;
    uint16_t ordinal;
};
void key_segment(struct key *key, uint32_t home, struct slice beneficiary, const struct segment_name *name);
void key_segment_prefix(struct key *key, uint32_t home, struct slice beneficiary);
void key_aco_beneficiary(struct key *key, uint32_t aco, struct slice beneficiary); /* summary, exportable */
/* Whether a stored key is that one, without making it. */
bool key_is_aco_beneficiary(struct slice key, uint32_t aco, struct slice beneficiary);
void key_dead_home(struct key *key, uint64_t left, uint32_t home, struct slice beneficiary);
void key_resource(struct key *key, enum resource_type type, struct slice id); /* resource, tombstone */
void key_of_u32(struct key *key, uint32_t value);
void key_of_u64(struct key *key, uint64_t value);
void key_of_id(struct key *key, struct slice id);

/* For messages: hex of at most KEY_TEXT_BYTES_MAX bytes, then "..." if there are more; NUL-terminated. A
 * segment's key with a beneficiary id of 25 characters fits. */
#define KEY_TEXT_BYTES_MAX 48
#define KEY_TEXT_SIZE      (2 * KEY_TEXT_BYTES_MAX + 4)
void key_text(struct slice key, char text[KEY_TEXT_SIZE]);

#endif
