/*
 * The mover: brings beneficiaries to their new homes after attribution changed (storage/homes.h), in small
 * steps that leave the writer to others most of the time. It goes on where an earlier process stopped.
 *
 * Threading: one thread of its own.
 */
#ifndef SERVER_MOVER_H
#define SERVER_MOVER_H

#include "server/service.h"

struct mover;
/* The service's store and writer must be there. */
NODISCARD enum status mover_open(struct service *service, struct mover **ret_mover, struct error *error);
/* Finishes the step that runs. NULL is allowed. */
void mover_close(struct mover *mover);

#endif
