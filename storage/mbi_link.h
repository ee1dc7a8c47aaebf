/*
 * Links: that two MBIs are one person's, as CCLF9 tells. A person who gets a new MBI stands under it in
 * rosters at once, and in Patients perhaps later, or never; a link lets either find the other.
 *
 * TABLE_MBI_LINK holds each link twice, once from either side, for ever: a link is a fact about a person, and
 * no ACO's. What follows from it is decided where a beneficiary's MBIs are (attribution_learn_mbis): an MBI
 * that is linked to one that the beneficiary has, over any number of links, and that no other Patient
 * carries, is his as if his Patient carried it. What a Patient itself says goes before: the Patient that
 * carries an MBI takes it from the one that had it by a link only.
 *
 * Threading: within a write request, or a read transaction of the calling thread.
 */
#ifndef STORAGE_MBI_LINK_H
#define STORAGE_MBI_LINK_H

#include "codec/base/arena.h"
#include "storage/beneficiary.h"

/* Notes that `previous` became `current`. *ret_is_new false: that was known. */
NODISCARD enum status mbi_link_put(struct store_write *write, struct slice current, struct slice previous,
                                   bool *ret_is_new, struct error *error);
/* Adds to a list of MBIs those that are linked to them, over any number of links, and are carried by nobody
 * or by `beneficiary`, until there are RESOURCE_MBI_MAX. They live in the arena. */
NODISCARD enum status mbi_link_expand(struct engine_txn *txn, struct slice beneficiary, struct slice *mbis,
                                      size_t *count, struct arena *arena, struct error *error);

/* For verify. STATUS_CORRUPT. */
struct mbi_link {
    struct slice mbi, other;
    bool is_newer; /* than the other */
    uint64_t birth;
};
NODISCARD enum status mbi_link_parse(struct slice key, struct slice value, struct mbi_link *ret_link,
                                     struct error *error);
void key_mbi_link(struct key *key, struct slice mbi, struct slice other);

#endif
