/*
 * Failpoints: named places at every file and commit boundary where a test can make the program die or
 * fail. Off in production by one switch: unless the environment variable SLUICE_FAILPOINTS is set when the
 * process first asks, a failpoint is one load and one predicted branch.
 *
 * SLUICE_FAILPOINTS="name=action[@n][,name=action...]":
 *   kill    the process ends at once, as kill -9 would end it
 *   error   the place reports EIO          nospace  the place reports ENOSPC
 *   sleep   waits 50 ms (to widen a race)
 * @n: only at the n-th passage (from 1); without it at each. An unknown action stops the process at once
 * with a message. Names are listed in docs/operating/failpoints.md.
 *
 * Threading: any thread.
 */
#ifndef CODEC_BASE_FAILPOINT_H
#define CODEC_BASE_FAILPOINT_H

#include <stdbool.h>

extern int failpoint_state; /* 0 not asked yet, 1 off, 2 on */

/* The slow half; call failpoint_hit. */
bool failpoint_reach(const char *name);

/* Passes the named place. True if it must fail, with errno set. */
static inline bool failpoint_hit(const char *name)
{
    if (__builtin_expect(__atomic_load_n(&failpoint_state, __ATOMIC_RELAXED) == 1, 1))
        return false;
    return failpoint_reach(name);
}

#endif
