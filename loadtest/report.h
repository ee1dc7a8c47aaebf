/*
 * What a run found, for people (a table; a page with plots that is complete in itself) and for programs
 * (JSON).
 *
 * Threading: one thread.
 */
#ifndef LOADTEST_REPORT_H
#define LOADTEST_REPORT_H

#include "loadtest/run.h"
#include "loadtest/usage.h"

#include <stdio.h>

struct report {
    const struct run *run;
    const char *scenario;
    double seconds; /* from the first piece of work to the end of the last */
    bool has_usage; /* of the server, begin and end of the run */
    struct usage before, after;
    uint64_t anonymous_bytes_max; /* as seen between them */
};

void report_table(const struct report *report, FILE *out);
void report_json(const struct report *report, FILE *out);
NODISCARD enum status report_html(const struct report *report, const char *path, struct error *error);

/* "350 us", "1.20 ms", "2.50 s". */
void duration_text(int64_t us, char text[32]);

#endif
