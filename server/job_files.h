/*
 * The folder of a job's files, DIR/jobs/<id>/, and what is done to it as a whole.
 *
 *   <uuid>.ndjson.gz         a finished file: the gzip bytes, and behind them the index of its pieces
 *                            (codec/encoder.h), which costs no file of its own
 *   <uuid>.errors            NDJSON of OperationOutcomes: what of it could not be read
 *   <uuid>-error.ndjson.gz   the job's error file, made like the others
 *   *.part                   any of these while it is being written
 *   <uuid>.index.part        the index of a file that is being written, if it is long or somebody may follow
 *   progress                 while it is active: has as many bytes as percent were told
 *
 * Any other file appears under its name only when it is complete and fsynced; the job's record decides
 * whether it counts.
 *
 * Threading: any thread that may block; a job's folder belongs to one at a time.
 */
#ifndef SERVER_JOB_FILES_H
#define SERVER_JOB_FILES_H

#include "codec/base/buffer.h"

#include <stdint.h>

#define JOB_FILE_SUFFIX        ".ndjson.gz"
#define JOB_FILE_INDEX_SUFFIX  ".index"
#define JOB_FILE_ERRORS_SUFFIX ".errors"
#define JOB_ERROR_SUFFIX       "-error.ndjson.gz"
#define JOB_FILE_PART_SUFFIX   ".part"
#define JOB_PROGRESS_NAME      "progress"

/* "DIR/jobs/<id>/<uuid><suffix>", appended. */
void export_path(struct buffer *target, const char *dir, uint64_t job_id, const char *uuid,
                 const char *suffix);

/* Makes DIR/jobs if it is not there, durably. */
NODISCARD enum status job_files_prepare(const char *dir, struct error *error);
/* Opens DIR/jobs. Whoever writes files keeps it open, and each job's folder too while its files are written:
 * a sync must not fail because descriptors are short. */
NODISCARD enum status job_files_open_all(const char *dir, int *ret_fd, struct error *error);
/* Opens the job's folder; makes it (0700) if it is not there, durable only once DIR/jobs is synced.
 * STATUS_BUSY if file descriptors are short. */
NODISCARD enum status job_files_open(const char *dir, uint64_t job_id, int *ret_fd, struct error *error);
/* Makes the names in an open folder durable, the job's or DIR/jobs. */
NODISCARD enum status job_files_sync(int folder_fd, const char *dir, struct error *error);
/* Removes the folder and all that is in it. Nothing there is fine; open files live on until closed. */
NODISCARD enum status job_files_remove(const char *dir, uint64_t job_id, struct error *error);

/* Walks DIR/jobs after a start. For each job's folder `keeps_job` says whether it stays at all, and if so
 * for each name in it `keeps_file` whether that stays; everything else is removed and counted. */
struct job_files_sweep {
    void *context;
    enum status (*keeps_job)(void *context, uint64_t job_id, bool *ret_keeps, struct error *error);
    bool (*keeps_file)(void *context, const char *name);
    uint64_t ret_removed;
    uint64_t ret_bytes; /* of the files that were removed */
};
NODISCARD enum status job_files_sweep(const char *dir, struct job_files_sweep *sweep, struct error *error);

/* STATUS_NO_SPACE if fewer than reserve_bytes are free where DIR is. */
NODISCARD enum status disk_check_reserve(const char *dir, uint64_t reserve_bytes, struct error *error);

/* What errno says of an open() that failed. STATUS_BUSY if file descriptors are short: that passes. */
NODISCARD enum status disk_open_failed(const char *path, struct error *error);

/* open, fsync, close. */
NODISCARD enum status disk_sync_folder(const char *path, struct error *error);

#endif
