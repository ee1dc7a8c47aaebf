#include "tools/common/progress.h"

#include "codec/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH         30
#define TERMINAL_EVERY_US (US_PER_SECOND / 10)
#define LINE_EVERY_US     (10 * US_PER_SECOND)

void bytes_text(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    snprintf(text, 32, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

void progress_begin(struct progress *progress, const char *what, bool is_quiet)
{
    int64_t now_us = clock_monotonic_us();
    *progress = (struct progress){
        .what = what, .is_quiet = is_quiet, .is_terminal = isatty(STDERR_FILENO), .begun_us = now_us};
    progress->shown_us = progress->is_terminal ? 0 : now_us;
}

void progress_show(struct progress *progress, uint64_t done_bytes, uint64_t total_bytes, const char *note)
{
    int64_t now_us = clock_monotonic_us();
    if (progress->is_quiet ||
        now_us - progress->shown_us < (progress->is_terminal ? TERMINAL_EVERY_US : LINE_EVERY_US))
        return;
    progress->shown_us = now_us;
    double seconds = (double)(now_us - progress->begun_us) / 1e6;
    double rate = seconds > 0 ? (double)done_bytes / seconds : 0;
    char done[32], speed[32], left[48] = "";
    bytes_text(done_bytes, done);
    bytes_text((uint64_t)rate, speed);
    if (total_bytes > done_bytes && rate > 0) {
        long seconds_left = (long)((double)(total_bytes - done_bytes) / rate) + 1;
        snprintf(left, sizeof left, ", %ld:%02ld left", seconds_left / 60, seconds_left % 60);
    }
    if (!progress->is_terminal) {
        fprintf(stderr, "%s: %s, %s/s%s%s%s\n", progress->what, done, speed, left, *note ? ", " : "", note);
        return;
    }
    char bar[BAR_WIDTH + 1] = "";
    if (total_bytes) {
        uint64_t filled = done_bytes >= total_bytes ? BAR_WIDTH : done_bytes * BAR_WIDTH / total_bytes;
        memset(bar, '-', BAR_WIDTH);
        memset(bar, '#', filled);
    }
    fprintf(stderr, "\r%s [%s] %s, %s/s%s%s%s\033[K", progress->what, bar, done, speed, left,
            *note ? ", " : "", note);
}

void progress_end(struct progress *progress)
{
    if (!progress->is_quiet && progress->is_terminal && progress->shown_us)
        fputs("\r\033[K", stderr);
}
