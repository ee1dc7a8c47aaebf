/*
 * The plan of an export: which file holds which type and range of beneficiaries. Made by walking the
 * exportable beneficiaries at the job's sequence, in slices; stored with the job before the first byte is
 * written, so that an interrupted job goes on to the same bytes.
 *
 * A file is cut between beneficiaries once its planned bytes exceed a bound. Order: the types as the request
 * names them, per type existing before new beneficiaries, then by beneficiary; deletions last, if the job has
 * a `since`. There is no file where nothing can be.
 *
 * Planned bytes are raw: of everything that stands for an unbounded file (from the summaries), of the
 * segments after `since` for a bounded one.
 *
 * Threading: a plan belongs to one thread at a time; it may move between slices.
 */
#ifndef SERVER_EXPORT_PLAN_H
#define SERVER_EXPORT_PLAN_H

#include "storage/jobs.h"

struct export_plan;

/* The job must outlive the plan. */
struct export_plan *export_plan_new(const struct job *job, uint64_t file_bytes_max);
void export_plan_free(struct export_plan *plan);

/* Goes on until the deadline (clock_monotonic_us), by at least one beneficiary, in one read transaction. Of a
 * plan that is done it does nothing. */
NODISCARD enum status export_plan_step(struct export_plan *plan, struct engine *engine, int64_t deadline_us,
                                       bool *ret_done, struct error *error);

/* The files of a finished plan, each with a name of its own. They live as long as the plan. */
const struct job_file *export_plan_files(struct export_plan *plan, size_t *ret_count);

/* Of whom a file has something, if that is known and few: ascending beneficiaries, that lives as long as the
 * plan. The file's walk then need not look at all others. False: walk them all. */
#define EXPORT_PLAN_LIST_BYTES_MAX ((size_t)1024 * 1024) /* of the files of one type and set */
bool export_plan_list(const struct export_plan *plan, size_t file_index, struct slice *ret_list);
/* Takes the first from a list; false at its end. */
bool export_plan_list_take(struct slice *list, struct slice *ret_beneficiary);

#endif
