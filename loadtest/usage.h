/*
 * What the server's process used, read from /proc: only if it runs on this machine and --server-pid names it.
 *
 * Threading: plain values.
 */
#ifndef LOADTEST_USAGE_H
#define LOADTEST_USAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct usage {
    double cpu_seconds;       /* user and system, since its start */
    uint64_t anonymous_bytes; /* RssAnon: its own memory, without files */
    uint64_t resident_bytes;  /* with the pages of files that it maps */
};

/* False: there is no such process. */
bool usage_read(pid_t pid, struct usage *ret_usage);

#endif
