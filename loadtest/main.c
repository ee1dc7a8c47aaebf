/* sluice-load: puts load on a server and measures. */
#include "codec/base/clock.h"
#include "loadtest/report.h"
#include "loadtest/scenario.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_EVERY_US (10 * US_PER_SECOND)

/* What is shown while it runs. */
static struct report report;
static int64_t shown_us;

static void note_memory(const struct usage *usage)
{
    if (usage->anonymous_bytes > report.anonymous_bytes_max)
        report.anonymous_bytes_max = usage->anonymous_bytes;
}

/* What the server did before, for tokens and prepared jobs, does not count. */
static void note_begin(struct run *run)
{
    report.has_usage = run->options->server && usage_read(run->options->server, &report.before);
    report.anonymous_bytes_max = report.before.anonymous_bytes;
}

static void note_end(struct run *run)
{
    report.seconds = (double)(clock_monotonic_us() - run->begin_us) / 1e6;
    report.has_usage = report.has_usage && usage_read(run->options->server, &report.after);
    note_memory(&report.after);
}

static void show_progress(struct run *run, const char *phase)
{
    const struct measure *measure = &run->measure;
    int64_t now_us = clock_monotonic_us();
    bool is_terminal = isatty(STDERR_FILENO);
    char p99[32];
    struct usage usage;
    if (report.has_usage && usage_read(run->options->server, &usage))
        note_memory(&usage);
    if (run->options->quiet || (!is_terminal && now_us - shown_us < LINE_EVERY_US))
        return;
    shown_us = now_us;
    fprintf(stderr, "%s%s, %.0f s:", is_terminal ? "\r" : "", phase,
            (double)(now_us - measure->begin_us) / 1e6);
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        const struct measure_of_kind *of = &measure->of[i];
        if (!of->durations.count)
            continue;
        duration_text(histogram_quantile(&of->durations, 0.99), p99);
        fprintf(stderr, " %s %" PRIu64 " (p99 %s)", measure_kind_name((enum measure_kind)i),
                of->durations.count, p99);
    }
    fprintf(stderr, ", %" PRIu64 " failed%s", measure_failures_of_all(measure),
            is_terminal ? "\033[K" : "\n");
}

int main(int argc, char **argv)
{
    struct options options;
    struct run run;
    struct error error = {0};
    static const struct scenario_watcher watcher = {show_progress, note_begin, note_end};
    options_parse(&options, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    shown_us = clock_monotonic_us();
    const struct scenario *scenario = scenario_find(options.scenario);
    report = (struct report){.run = &run, .scenario = scenario->name};
    enum status status = run_open(&run, &options, &error);
    if (status == STATUS_OK && options.server && !usage_read(options.server, &report.before))
        status =
            error_set(&error, STATUS_NOT_FOUND, "--server-pid: there is no process %d", (int)options.server);
    if (status == STATUS_OK)
        status = scenario_run(scenario, &run, &watcher, &error);
    if (!options.quiet && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (status == STATUS_OK && options.server && !report.has_usage)
        status = error_set(&error, STATUS_INTERNAL, "the server's process has ended");
    if (status == STATUS_OK && options.json)
        report_json(&report, stdout);
    else if (status == STATUS_OK)
        report_table(&report, stdout);
    if (status == STATUS_OK && options.report)
        status = report_html(&report, options.report, &error);
    if (status != STATUS_OK)
        fprintf(stderr, "sluice-load: %s\n", error.text);
    bool good = status == STATUS_OK && measure_failures_of_all(&run.measure) == 0;
    run_close(&run);
    return fflush(stdout) == 0 && good ? EXIT_SUCCESS : EXIT_FAILURE;
}
