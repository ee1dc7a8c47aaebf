/*
 * One file of an export, while it is written: segments spliced (or lines of deletions) into <uuid>.part, the
 * index of its pieces behind them at the end, what could not be read into <uuid>.errors.part; then all are
 * fsynced and get their names, those of several files together if that is wanted. Written in slices, each
 * within one short read transaction. An index that becomes long, and one that is followed, gathers in
 * <uuid>.index.part.
 *
 * Of a job that allows partial manifests each file has a feed (export_feed.h), by which it can be followed:
 * after every write data and index are published together.
 *
 * A damaged row or segment costs only itself: it is noted and the walk goes on.
 *
 * Threading: a file belongs to one thread at a time; it may move between slices.
 */
#ifndef SERVER_EXPORT_FILE_H
#define SERVER_EXPORT_FILE_H

#include "codec/encoder.h"
#include "server/export_feed.h"
#include "server/export_plan.h"
#include "storage/jobs.h"

#define EXPORT_FILE_ERRORS_MAX 1000 /* OperationOutcomes of one file; one more says how many are left out */

struct export_file;

/* The job, its plan and the encoder must outlive the file. The job's folder exists. `plan`: the plan that the
 * job's files are of, which may know of whom the file has something; NULL if another process made it.
 * `index_bytes_max`: of the index that gather in memory. */
struct export_file *export_file_new(const char *dir, const struct job *job, size_t file_index,
                                    const struct export_plan *plan, struct encoder *encoder,
                                    size_t index_bytes_max);
/* Removes what has no name yet. A feed that has not ended is broken. */
void export_file_free(struct export_file *file);

/* Goes on until the deadline (clock_monotonic_us), by at least one beneficiary. STATUS_BUSY: nothing was
 * done, try again. After any other failure the file is lost. */
NODISCARD enum status export_file_step(struct export_file *file, struct engine *engine, int64_t deadline_us,
                                       bool *ret_done, struct error *error);

struct export_file_result {
    uint64_t count; /* of resources; 0: no file was kept */
    uint64_t raw_bytes;
    uint64_t gzip_bytes;
    uint64_t errors;
};
/* After the last step: writes what is left. The encoder is free for another file then. */
NODISCARD enum status export_file_end(struct export_file *file, struct export_file_result *ret_result,
                                      struct error *error);
/* Makes files that have ended durable under their names; all of one job, whose folder is `folder_fd`. */
NODISCARD enum status export_files_publish(struct export_file *const files[], size_t count, int folder_fd,
                                           struct error *error);

/* NULL if it cannot be followed: not begun, or of a job without partial manifests. Borrowed. */
struct export_feed *export_file_feed(const struct export_file *file);

/* Raw bytes of the segments walked so far, wanted or not: comparable to the file's planned bytes. */
uint64_t export_file_walked_bytes(const struct export_file *file);

#endif
