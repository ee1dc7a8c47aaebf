/*
 * The packer: decides what a load changes of one beneficiary, and deflates it. The reading half of
 * storage/resources.h's two steps.
 *
 * For each arriving resource: of several with one id in the load the newest source time counts (at equal
 * times the later line); one that is older than what is stored is late; one with the same content that is
 * not newer is identical; else it is new or replaces. A resource that belongs to another beneficiary is
 * refused: silently moving a claim would show it to another ACO. So is one that was deleted under another.
 *
 * For each arriving deletion: late if a newer version is stored, or comes in the load; at equal times the
 * deletion counts, in whichever order they came, so that the same files give the same store again. A deletion
 * of what is not here is remembered (storage/deletion.h).
 *
 * Threading: a packer belongs to one thread.
 */
#ifndef STORAGE_PACKER_H
#define STORAGE_PACKER_H

#include "storage/import.h"
#include "storage/resources.h"

/* One parsed line, or one entry of a line that is a Bundle. Slices live until the load is packed. */
struct import_item {
    struct slice beneficiary; /* empty: of a deletion whose resource nobody is known to have */
    struct slice id;
    struct slice json;
    const struct slice *mbis;
    int64_t source_us; /* meta.lastUpdated, or LAST_UPDATED_DEFAULT_US; of a deletion when it happened, or
                          INT64_MAX: by the time of the import */
    uint64_t content_hash;
    uint64_t order; /* position in the load */
    uint64_t line;
    uint32_t file;
    int32_t service_first_day, service_last_day;
    uint32_t stamp_offset, stamp_size;
    uint8_t mbi_count;
    uint8_t type;
    uint8_t stamp_place;
    bool stamp_comma;
    bool has_last_updated;
    bool is_deletion; /* then json is empty */
};

/* In the order of packing: beneficiary; Patients before the rest (they tell where a new beneficiary belongs);
 * id; source time, a deletion behind resources of its time; order. For qsort over pointers. */
int import_item_compare(const void *a, const void *b);

struct packer;

struct packer *packer_new(struct store *store);
void packer_free(struct packer *packer);

/* What a packed delta does to the counts, once it is applied. */
struct pack_result {
    bool has_delta;              /* false: nothing changes */
    struct delta delta;          /* lives until the packer's next call */
    struct import_counts counts; /* beneficiaries stays 0 */
};

/* Called for each item that is refused. */
typedef void pack_refuse(void *context, const struct import_item *item, const char *reason);

#define PACK_BYTES_MAX ((size_t)8 * 1024 * 1024)

/* `items`: of one beneficiary and type, in order; or deletions of one resource whose beneficiary is not known
 * (it is looked for again). `aco`: import --aco, else 0. Reads a fresh snapshot. STATUS_TOO_LARGE: the
 * segments come to more than PACK_BYTES_MAX, with those that must be written anew; pack fewer items. Never
 * said of items that all have one id. */
NODISCARD enum status packer_pack(struct packer *packer, struct import_item *const *items, size_t count,
                                  uint32_t aco, pack_refuse *refuse, void *context,
                                  struct pack_result *ret_result, struct error *error);

#endif
