/*
 * Where rosters come from: CCLF archives and CCLF8 files. A file is loaded whole and checked whole before
 * anything of it acts.
 *
 * Threading: one thread at a time.
 */
#ifndef STORAGE_ROSTER_SOURCE_H
#define STORAGE_ROSTER_SOURCE_H

#include "codec/cclf.h"
#include "storage/attribution.h"

struct roster_file {
    struct cclf_name name;
    char file[CCLF_NAME_BYTES_MAX + 1]; /* of the CCLF8 file: what tells one roster from another */
    struct buffer mbis;                 /* MBI_SIZE_MAX bytes each, sorted, unique */
    uint64_t rows;                      /* repeats included */
};

/* STATUS_INVALID with the reason: a name that is none, a damaged archive, no or several CCLF8 or CCLF0 in an
 * archive, another number of rows than CCLF0 says, a bad row. */
NODISCARD enum status roster_file_load(const char *path, struct roster_file *ret_roster, struct error *error);
void roster_file_release(struct roster_file *roster);
size_t roster_file_count(const struct roster_file *roster);

#endif
