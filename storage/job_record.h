/*
 * The rows of jobs: what storage/jobs.c keeps, as bytes. Private to it; the rules are there.
 *
 * TABLE_JOB holds everything of a job but its files, so that a change of state is a small write. The files
 * stand in TABLE_JOB_FILE: the plan in one row, and what became of a file in a row of its own, so that a
 * finished file of a large job is a small write too.
 *
 * Threading: as accounts.h.
 */
#ifndef STORAGE_JOB_RECORD_H
#define STORAGE_JOB_RECORD_H

#include "codec/base/arena.h"
#include "storage/jobs.h"

/* All but the files: file_count is given, files is NULL. Texts are borrowed from the transaction. */
NODISCARD enum status job_record_get(struct engine_txn *txn, uint64_t id, struct job *ret_job,
                                     struct error *error);
NODISCARD enum status job_record_put(struct store_write *write, const struct job *job, struct error *error);

/* Gives job->files of a job with file_count > 0; they and what they borrow live in the arena. */
NODISCARD enum status job_files_get(struct engine_txn *txn, struct arena *arena, struct job *job,
                                    struct error *error);
/* How many of them are done. */
NODISCARD enum status job_files_count_done(struct engine_txn *txn, const struct job *job, size_t *ret_done,
                                           struct error *error);
/* Adds `count` files to the plan (file_count grows), none of them done. STATUS_INVALID, STATUS_TOO_LARGE:
 * nothing was written. */
NODISCARD enum status job_files_add(struct store_write *write, struct job *job, const struct job_file *files,
                                    size_t count, struct error *error);
/* What became of a file. Writes nothing if the same is known already. */
NODISCARD enum status job_file_put_done(struct store_write *write, const struct job *job, size_t index,
                                        uint64_t count, uint64_t raw_bytes, uint64_t gzip_bytes,
                                        struct error *error);
/* Deletes plan and outcomes without reading them: damaged ones must go too. */
NODISCARD enum status job_files_forget(struct store_write *write, struct job *job, struct error *error);

/* A row of TABLE_JOB_ACTIVE. */
struct job_active {
    uint64_t id;
    uint64_t sequence;
};
NODISCARD enum status job_active_decode(struct slice value, struct job_active *ret_active,
                                        struct error *error);
/* STATUS_NOT_FOUND (without a text) if no job of that endpoint is active. */
NODISCARD enum status job_active_get(struct engine_txn *txn, uint32_t aco, const char *endpoint,
                                     struct job_active *ret_active, struct error *error);
NODISCARD enum status job_active_put(struct store_write *write, const struct job *job, struct error *error);
NODISCARD enum status job_active_delete(struct store_write *write, const struct job *job,
                                        struct error *error);

#endif
