/*
 * The operations of the model test. Each does what it drew to the store and to the model, and asks for its
 * span (world_span) last.
 *
 * Threading: one thread.
 */
#ifndef TESTS_SUPPORT_WORLD_OPERATIONS_H
#define TESTS_SUPPORT_WORLD_OPERATIONS_H

#include "tests/support/world.h"

void operation_run(struct world *world, const struct operation *operation);

/* world_loads.c */
void operation_import(struct world *world, uint64_t random);
void operation_pack(struct world *world, uint64_t random);
void operation_send(struct world *world, uint64_t random);

/* world_upkeep.c: what changes nothing that a client sees */
void operation_compact(struct world *world, uint64_t random);
void operation_merge(struct world *world, uint64_t random);
void operation_move(struct world *world, uint64_t random);
/* When nothing holds them any more, all beneficiaries are where they belong. */
void world_expect_all_moved(struct world *world);

/* world_rosters.c */
void operation_roster(struct world *world, uint64_t random);
void operation_opt_out(struct world *world, uint64_t random);
/* What the server does by itself about opt-outs. */
void world_settle(struct world *world);

/* world_exports.c */
void operation_kick_off(struct world *world, uint64_t random);
void operation_client(struct world *world, uint64_t random);
void operation_step(struct world *world, uint64_t random);
void operation_finish(struct world *world, uint64_t random);
void operation_cancel(struct world *world, uint64_t random);
void operation_collect(struct world *world, uint64_t random);
/* Of endpoint 0 of ENDPOINTS for a client. */
void job_kick_off(struct world *world, int endpoint, const struct model_request *request, bool has_twin);
void job_finish(struct world *world, struct tracked_job *job);

/* world_restarts.c */
void operation_clock(struct world *world, uint64_t random);
void operation_reopen(struct world *world, uint64_t random);
void operation_restore(struct world *world, uint64_t random);
void operation_crash(struct world *world, uint64_t random);
void operation_verify(struct world *world, uint64_t random);

#endif
