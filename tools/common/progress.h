/*
 * Progress of long work on standard error: a bar with rate and time left on a terminal, a line now and then
 * elsewhere, nothing if quiet.
 *
 * Threading: one thread.
 */
#ifndef TOOLS_COMMON_PROGRESS_H
#define TOOLS_COMMON_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* "import" */
    bool is_quiet;
    bool is_terminal;
    int64_t begun_us;
    int64_t shown_us;
};

void progress_begin(struct progress *progress, const char *what, bool is_quiet);
/* `total` 0: unknown. `note` stands behind the numbers; may be empty. */
void progress_show(struct progress *progress, uint64_t done_bytes, uint64_t total_bytes, const char *note);
/* Takes the bar away, so that other output can follow. */
void progress_end(struct progress *progress);

/* "1.2 GB", decimal units; NUL-terminated. */
void bytes_text(uint64_t bytes, char text[32]);

#endif
