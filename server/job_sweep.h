/*
 * Which files of a job count, and the sweep of DIR/jobs: what no job's record names goes. A process that died
 * leaves such files, and so does a job that was cancelled or expired while no server ran.
 *
 * Threading: the sweep is for whoever holds DIR's lock, while no export writes.
 */
#ifndef SERVER_JOB_SWEEP_H
#define SERVER_JOB_SWEEP_H

#include "storage/jobs.h"

/* The files that a job's record counts on: names in its folder. An optional one may be absent. */
typedef enum status job_file_visitor(void *context, const char *name, bool is_optional, struct error *error);
NODISCARD enum status job_files_visit(const struct job *job, job_file_visitor *visitor, void *context,
                                      struct error *error);

struct job_sweep_counts {
    uint64_t removed; /* files, and folders of jobs */
    uint64_t bytes;   /* of these files */
};

/* A job whose record is damaged keeps its folder: somebody may repair it. `unreadable` is told of it. */
NODISCARD enum status job_sweep(struct store *store,
                                void (*unreadable)(void *context, uint64_t job_id, const struct error *error),
                                void *context, struct job_sweep_counts *ret_counts, struct error *error);

#endif
