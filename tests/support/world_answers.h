/*
 * What an export gave, and whether that is right.
 *
 * Threading: one thread.
 */
#ifndef TESTS_SUPPORT_WORLD_ANSWERS_H
#define TESTS_SUPPORT_WORLD_ANSWERS_H

#include "tests/support/world.h"

/* The job is complete: compares what it gave with what it must give, and lets its client have it. */
void job_settle(struct world *world, struct tracked_job *job);
/* The job is no more; the operation's acknowledgement names it. */
void job_end(struct world *world, struct tracked_job *job);

#endif
