/*
 * Scenarios: what a load test does. Each is a row: a name, its pace without --rate, what must be there before
 * it begins, and what one tick of its pace begins.
 *
 * Threading: one thread.
 */
#ifndef LOADTEST_SCENARIO_H
#define LOADTEST_SCENARIO_H

#include "loadtest/run.h"

enum scenario_jobs { /* Completed jobs that sessions must have before it begins, SCENARIO_JOBS_MAX at most */
                     SCENARIO_JOBS_NONE,
                     SCENARIO_JOBS_SOME, /* of one session in ten; the others are free to export */
                     SCENARIO_JOBS_ALL
};

struct scenario {
    const char *name, *help;
    double rate; /* ticks a second; 0: `begin` does everything */
    enum scenario_jobs jobs;
    void (*begin)(struct run *run);
    void (*tick)(struct run *run, int64_t intended_us);
};

#define SCENARIO_JOBS_MAX         64
#define SCENARIO_DRAIN_SECONDS    60    /* for what was begun to end */
#define SCENARIO_SLOW_BYTES       65536 /* a second, of a slow reader */
#define SCENARIO_SLOW_READERS_MAX 1000

const struct scenario *scenario_find(const char *name); /* NULL: there is none */
/* A heap copy of `text` with the scenarios before it, for --help. */
char *scenario_help(const char *text);

struct scenario_watcher {
    void (*progress)(struct run *run, const char *phase); /* now and then, with what is done at that moment */
    void (*begins)(struct run *run);                      /* now it is measured, */
    void (*ended)(struct run *run);                       /* and no longer */
};

/* Logs in and prepares; begins work until its time is over, and waits for what was begun; deletes what it had
 * prepared. Only what is in the middle is measured. */
NODISCARD enum status scenario_run(const struct scenario *scenario, struct run *run,
                                   const struct scenario_watcher *watcher, struct error *error);

#endif
