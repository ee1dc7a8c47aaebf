/*
 * Where rosters come from: CCLF archives, CCLF8 files and CSV files. A file is loaded whole and checked whole
 * before anything of it acts.
 *
 * What belongs to a CCLF8 file are a CCLF0 file, whose counts must agree, and a CCLF9 file, which links MBIs.
 * From 2020 on they are in one archive, which must have a CCLF0. To 2019 each is an archive of its own: those
 * that stand beside the CCLF8's, with the same name but for the 0 or 9, belong to it. To a CCLF8 file that is
 * in no archive belong the files beside it of the same ACO, year and day, if there is one of a kind.
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
    struct buffer links; /* pairs of MBIs, the current one and a previous one; sorted, unique */
    uint64_t rows;       /* repeats included */
};

/* STATUS_INVALID with the reason: a name that is none, a damaged archive, no or several CCLF8 or CCLF0 in an
 * archive, a part of a file without the others, another number of rows than CCLF0 says, a bad row. aco_id:
 * whose roster it is, where the name does not tell; else NULL, or what the name tells. */
NODISCARD enum status roster_file_load(const char *path, const char *aco_id, struct roster_file *ret_roster,
                                       struct error *error);
void roster_file_release(struct roster_file *roster);
size_t roster_file_count(const struct roster_file *roster);

#endif
