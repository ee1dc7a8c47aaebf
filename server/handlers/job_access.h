/*
 * Reading an ACO's own job for a handler. A job that is unknown, whose id is no number, or that is another
 * ACO's, is answered alike: nothing tells them apart.
 *
 * Threading: the exchange's reactor; one short read transaction.
 */
#ifndef SERVER_HANDLERS_JOB_ACCESS_H
#define SERVER_HANDLERS_JOB_ACCESS_H

#include "server/router.h"
#include "storage/jobs.h"

/* The id that stands in the path: a number as this server writes it, without sign and leading zero. */
bool job_id_of_call(const struct route_call *call, uint64_t *ret_id);
/* The job as job_peek gives it, with its state as of now, and the transaction to read the rest in, which the
 * caller ends; or false, and it has been answered. */
bool job_peek_of_call(struct exchange *exchange, const struct route_call *call, struct engine_txn **ret_txn,
                      struct job *ret_job);
/* Reads the rest and ends the transaction; or false, and it has been answered. */
bool job_fill_of_call(struct exchange *exchange, struct engine_txn *txn, struct job *job);
/* Both at once: the job in the exchange's arena; or false, and it has been answered. */
bool job_of_call(struct exchange *exchange, const struct route_call *call, struct job *ret_job);

/* 404: unknown, and what must look the same. */
void fail_job_unknown(struct exchange *exchange);
/* 404 */
void fail_job_cancelled(struct exchange *exchange);
/* 410, with Expires. */
void fail_job_gone(struct exchange *exchange, const struct job *job);

#endif
