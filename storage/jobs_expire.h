/*
 * What is due of finished jobs, done at once: Completed becomes Archived, Archived becomes Expired, each by
 * its own due time. `sluiced` does the same by itself, once a second (server/expiry.h); this is for who does
 * not want to wait for that, or has no server.
 *
 * How long a job stays Archived is how long it was to be Completed.
 *
 * Threading: any thread that may block; reads in steps, writes by one request a change.
 */
#ifndef STORAGE_JOBS_EXPIRE_H
#define STORAGE_JOBS_EXPIRE_H

#include "storage/jobs.h"

/* A job was changed, durably. `bytes` is what its files take; of an Expired job nobody needs them any more.
 */
typedef void job_expired_handler(void *context, uint64_t id, enum job_state state, uint64_t bytes);

/* Jobs whose records cannot be read are left alone and counted. */
NODISCARD enum status jobs_expire(struct writer *writer, job_expired_handler *handler, void *context,
                                  uint64_t *ret_unreadable, struct error *error);

#endif
