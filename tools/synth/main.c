/* sluice-synth: writes a dataset of synthetic claims (dataset.h). */
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "tools/synth/options.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PROGRESS_INTERVAL_US (US_PER_SECOND / 5)

struct progress {
    uint64_t steps;
    int64_t begin_us;
    int64_t shown_us;
};

/* The same line again and again: only for a person at a terminal. */
static void progress_show(void *context, const struct dataset_totals *totals)
{
    struct progress *progress = context;
    int64_t now_us = clock_monotonic_us();
    if (now_us - progress->shown_us < PROGRESS_INTERVAL_US)
        return;
    progress->shown_us = now_us;
    double seconds = (double)(now_us - progress->begin_us) / 1e6;
    double megabytes = (double)totals->line_bytes / 1e6;
    fprintf(stderr, "\r%.0f %%, %" PRIu64 " patients, %" PRIu64 " claims, %.0f MB, %.0f MB/s\033[K",
            100 * (double)totals->done / (double)progress->steps, totals->patients, totals->claims, megabytes,
            seconds > 0 ? megabytes / seconds : 0);
}

static void summary_print(const struct dataset_options *dataset, const struct dataset_totals *totals)
{
    printf("%s: %u ACOs, ", dataset->directory, dataset->aco_count);
    if (dataset->week_count)
        printf("%u weeks, ", dataset->week_count);
    printf("%" PRIu64 " patients, %" PRIu64 " coverages, %" PRIu64 " claims, %.1f MB of lines\n",
           totals->patients, totals->coverages, totals->claims, (double)totals->line_bytes / 1e6);
}

int main(int argc, char **argv)
{
    struct options *options = mem_new(struct options);
    options_parse(options, argc, argv);
    const struct dataset_options *dataset = &options->dataset;

    /* A file-size limit is then an error of write(), with a message, and not a silent death. */
    signal(SIGXFSZ, SIG_IGN);
    bool watched = !options->quiet && isatty(STDERR_FILENO);
    struct progress progress = {
        .steps = dataset_steps(dataset),
        .begin_us = clock_monotonic_us(),
    };
    struct dataset_totals totals;
    struct error error = {0};
    enum status status = dataset_write(dataset, watched ? progress_show : NULL, &progress, &totals, &error);
    if (watched)
        fprintf(stderr, "\r\033[K");
    if (status)
        fprintf(stderr, "sluice-synth: %s%s\n", error.text,
                status == STATUS_EXISTS ? "" : "; what was written is not complete");
    else if (!options->quiet)
        summary_print(dataset, &totals);
    bool told = fflush(stdout) == 0;
    mem_free(options);
    return status || !told ? EXIT_FAILURE : EXIT_SUCCESS;
}
