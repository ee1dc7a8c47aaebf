/*
 * Opt-out files from disk: plain or gzip (by what stands in them), read whole and checked before anything of
 * them is applied.
 *
 * Threading: plain functions.
 */
#ifndef STORAGE_OPTOUT_SOURCE_H
#define STORAGE_OPTOUT_SOURCE_H

#include "codec/base/buffer.h"
#include "codec/optout.h"
#include "storage/suppression.h"

#define OPTOUT_ROWS_MAX ((uint64_t)4 * 1000 * 1000)

struct optout_file {
    char name[SUPPRESSION_FILE_NAME_MAX + 1]; /* without ".gz" */
    struct optout_reader counts;              /* as they stand at its end */
    struct buffer rows;                       /* preferences, SUPPRESSION_ROW_BYTES each, sorted, unique */
};
/* Names the path in errors. */
NODISCARD enum status optout_file_load(const char *path, struct optout_file *ret_file, struct error *error);
void optout_file_release(struct optout_file *file);
/* The next part that one request may change: from byte `offset` of the rows on, whole MBIs. */
struct slice optout_file_part(const struct optout_file *file, size_t offset);

/* The name that a path's file has as an opt-out file: without directories and ".gz". False if it is none. */
bool optout_path_name(const char *path, char name[SUPPRESSION_FILE_NAME_MAX + 1],
                      struct optout_name *ret_parsed, struct error *error);

#endif
