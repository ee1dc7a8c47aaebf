/*
 * Expiry: what becomes of finished jobs. Completed for keep_us, then Archived (no longer served), then,
 * keep_us later, Expired, and the files are deleted. Also deletes the files of jobs that were cancelled or
 * failed, so that nobody else waits for that.
 *
 * Driven by clock_now_us, looked at once a second by a thread of its own. What the answers say does not wait
 * for it: job_state_at.
 *
 * The same thread applies opt-outs that come into force or run out (storage/suppression.h). Kick-offs do not
 * wait for it either: they apply what is due themselves. And it frees the slots of readers whose process
 * died.
 *
 * Threading: expiry_watch and expiry_remove from any thread.
 */
#ifndef SERVER_EXPIRY_H
#define SERVER_EXPIRY_H

#include "server/service.h"
#include "storage/jobs.h"

struct expiry;

/* Reads all jobs, removes what in DIR/jobs belongs to none of them, and starts the thread. A job whose record
 * is damaged keeps its files: somebody may repair it. */
NODISCARD enum status expiry_open(struct service *service, int64_t keep_us, struct expiry **ret_expiry,
                                  struct error *error);
void expiry_close(struct expiry *expiry);

/* The job was completed: its record says when it is to be archived. */
void expiry_watch(struct expiry *expiry, uint64_t job_id);
/* Nothing needs the job's files any more. */
void expiry_remove(struct expiry *expiry, uint64_t job_id);

/* The state in which a job is at an instant, though nobody has written it down yet. */
enum job_state job_state_at(const struct job *job, int64_t now_us);

#endif
