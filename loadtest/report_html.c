#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "loadtest/plot.h"
#include "loadtest/report.h"
#include "tools/common/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Load "
    "test</title>\n<style>\n"
    ":root{color-scheme:light dark;--ink:#1d2530;--soft:#5d6b7c;--line:#dfe4ea;--back:#fff;"
    "--s0:#1769aa;--s1:#c2410c;--s2:#15803d;--s3:#7e22ce;--s4:#be185d;--s5:#475569;--s6:#a16207;--s7:#0e7490}"
    "\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6ebf1;--soft:#9aa8b8;--line:#2c3642;--back:#12171d;"
    "--s0:#60a5fa;--s1:#fb923c;--s2:#4ade80;--s3:#c084fc;--s4:#f472b6;--s5:#94a3b8;--s6:#facc15;--s7:#22d3ee}"
    "}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:940px;"
    "margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0}\n"
    ".soft{color:var(--soft)}.bad{color:var(--s1);font-weight:600}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\n"
    "th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:500}\n"
    "figure{margin:1.2rem 0}figcaption{font-weight:600;margin-bottom:.2rem}\n"
    "svg{max-width:100%}.key{white-space:nowrap;font-weight:400;color:var(--soft);margin-left:.8rem}\n"
    ".grid{stroke:var(--line)}.end{stroke:var(--soft);stroke-dasharray:4 "
    "3}.mark{fill:var(--soft);font-size:12px}.line{fill:none;stroke-width:1.8;stroke-linecap:round;"
    "stroke-linejoin:round}\n"
    ".s0{stroke:var(--s0)}.s1{stroke:var(--s1)}.s2{stroke:var(--s2)}.s3{stroke:var(--s3)}"
    ".s4{stroke:var(--s4)}.s5{stroke:var(--s5)}.s6{stroke:var(--s6)}.s7{stroke:var(--s7)}\n"
    "</style></head><body>\n";

static void us_text(double value, char text[32])
{
    duration_text((int64_t)value, text);
}

static void count_text(double value, char text[32])
{
    snprintf(text, 32, "%.6g", value);
}

static void rate_text(double value, char text[32])
{
    char bytes[32];
    bytes_text((uint64_t)value, bytes);
    snprintf(text, 32, "%.20s/s", bytes);
}

/* 0, 1, 2, 3 are none, nine in ten, 99 in a hundred, 999 in a thousand. */
static void share_text(double value, char text[32])
{
    if (value <= 0)
        snprintf(text, 32, "0 %%");
    else
        snprintf(text, 32, "%.7g %%", 100 - 100 / pow(10, value));
}

static void cell(struct buffer *out, const char *text)
{
    buffer_append_text(out, "<td>");
    plot_escape(out, text);
    buffer_append_text(out, "</td>");
}

static void table_append(const struct report *report, struct buffer *out)
{
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    const struct measure *measure = &report->run->measure;
    char text[32];
    buffer_append_text(out,
                       "<table><tr><th>work</th><th>done</th><th>a second</th><th>p50</th><th>p90</th><th>p99"
                       "</th><th>p99.9</th><th>max</th><th>data</th><th>failed</th></tr>\n");
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        const struct measure_of_kind *of = &measure->of[i];
        if (measure_is_empty(of))
            continue;
        buffer_append_text(out, "<tr>");
        cell(out, measure_kind_name((enum measure_kind)i));
        buffer_appendf(out, "<td>%" PRIu64 "</td><td>%.1f</td>", of->durations.count,
                       (double)of->durations.count / report->seconds);
        for (size_t k = 0; k < sizeof shares / sizeof *shares; k++) {
            duration_text(histogram_quantile(&of->durations, shares[k]), text);
            cell(out, text);
        }
        duration_text(of->durations.max_us, text);
        cell(out, text);
        bytes_text(of->bytes, text);
        cell(out, text);
        buffer_appendf(out, "<td%s>%" PRIu64 "</td></tr>\n", measure_failures(of) ? " class=\"bad\"" : "",
                       measure_failures(of));
    }
    buffer_append_text(out, "</table>\n");
}

/* By kind, as the table of the terminal tells it. */
static void failures_append(const struct measure *measure, struct buffer *out)
{
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        for (size_t k = 0; k < MEASURE_FAILURE_COUNT; k++) {
            if (measure->of[i].failures[k])
                buffer_appendf(out, "<p>%s: %" PRIu64 " %s</p>\n", measure_kind_name((enum measure_kind)i),
                               measure->of[i].failures[k], measure_failure_name((enum measure_failure)k));
        }
    }
}

/* The points of a plot of seconds. */
struct points {
    double *x, *y[PLOT_SERIES_MAX];
    size_t count;
};

static void points_make(struct points *points, size_t count, size_t series)
{
    *points = (struct points){.x = mem_zalloc_array(sizeof(double), count), .count = count};
    for (size_t i = 0; i < count; i++)
        points->x[i] = (double)i;
    for (size_t i = 0; i < series; i++)
        points->y[i] = mem_zalloc_array(sizeof(double), count);
}

static void points_free(struct points *points)
{
    mem_free(points->x);
    for (size_t i = 0; i < PLOT_SERIES_MAX; i++)
        mem_free(points->y[i]);
}

/* How many seconds the run has anything of. One that was not over when all had ended would look as if the
 * server had become slow: it is left out. */
static size_t seconds_of(const struct report *report)
{
    const struct measure *measure = &report->run->measure;
    size_t whole = report->seconds < 1 ? 1 : (size_t)report->seconds;
    size_t seconds = 0;
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        for (size_t k = 0; k < measure->of[i].second_count; k++) {
            const struct measure_second *second = &measure->of[i].seconds[k];
            if ((second->done || second->failed) && k + 1 > seconds)
                seconds = k + 1;
        }
    }
    return seconds < whole ? seconds : whole;
}

enum second_value { SECOND_DONE, SECOND_P99, SECOND_BYTES };

static double value_of(const struct measure_second *second, enum second_value value)
{
    switch (value) {
    case SECOND_DONE:
        return second->done;
    case SECOND_P99:
        return (double)measure_second_p99(second);
    case SECOND_BYTES:
        return (double)second->bytes;
    }
    return 0;
}

static void seconds_plot(const struct report *report, const char *title, enum second_value value,
                         void (*y_text)(double, char[32]), bool logarithmic, struct buffer *out)
{
    const struct measure *measure = &report->run->measure;
    struct plot plot = {.title = title,
                        .x_label = "seconds",
                        .y_text = y_text,
                        .y_is_logarithmic = logarithmic,
                        .x_end = report->run->options->seconds,
                        .x_end_text = "nothing new begins"};
    struct points points;
    points_make(&points, seconds_of(report), PLOT_SERIES_MAX);
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        const struct measure_of_kind *of = &measure->of[i];
        if (!of->durations.count || (value == SECOND_BYTES && i != MEASURE_DOWNLOAD))
            continue;
        double *y = points.y[plot.series_count];
        for (size_t k = 0; k < points.count && k < of->second_count; k++)
            y[k] = value_of(&of->seconds[k], value);
        plot.series[plot.series_count++] = (struct plot_series){measure_kind_name((enum measure_kind)i),
                                                                (unsigned)i, points.x, y, points.count};
    }
    if (points.count)
        plot_append(&plot, out);
    points_free(&points);
}

static void quantiles_plot(const struct measure *measure, struct buffer *out)
{
    enum { STEPS = 80 }; /* twenty for each nine */
    struct plot plot = {.title = "How long: so many took no longer than",
                        .x_label = "share of all",
                        .y_text = us_text,
                        .x_text = share_text,
                        .y_is_logarithmic = true};
    struct points points;
    points_make(&points, STEPS + 1, PLOT_SERIES_MAX);
    for (size_t k = 0; k <= STEPS; k++)
        points.x[k] = (double)k / 20;
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        const struct measure_of_kind *of = &measure->of[i];
        size_t count = 0;
        if (!of->durations.count)
            continue;
        /* No further than so many durations can tell. */
        for (; count <= STEPS && pow(10, points.x[count]) <= (double)of->durations.count; count++)
            points.y[plot.series_count][count] =
                (double)histogram_quantile(&of->durations, 1 - 1 / pow(10, points.x[count]));
        plot.series[plot.series_count] =
            (struct plot_series){measure_kind_name((enum measure_kind)i), (unsigned)i, points.x,
                                 points.y[plot.series_count], count};
        plot.series_count++;
    }
    plot_append(&plot, out);
    points_free(&points);
}

static void page_append(const struct report *report, struct buffer *out)
{
    const struct measure *measure = &report->run->measure;
    uint64_t failures = measure_failures_of_all(measure);
    char text[INSTANT_TEXT_SIZE];
    buffer_append_text(out, head);
    buffer_append_text(out, "<h1>Load test: ");
    plot_escape(out, report->scenario);
    buffer_append_text(out, "</h1>\n<p class=\"soft\">");
    plot_escape(out, report->run->options->url);
    instant_format(clock_now_us(), text);
    buffer_appendf(
        out,
        " &middot; %s &middot; %.1f s &middot; %zu ACOs, %u connections at most &middot; seed %" PRIu64
        "</p>\n",
        text, report->seconds, report->run->session_count, report->run->options->connections,
        report->run->options->seed);
    if (failures)
        buffer_appendf(out, "<p class=\"bad\">%" PRIu64 " failures</p>\n", failures);
    else
        buffer_append_text(out, "<p>No failures. Everything that was downloaded was checked.</p>\n");
    if (measure->first_wrong[0]) {
        buffer_append_text(out, "<p>The first wrong answer: ");
        plot_escape(out, measure->first_wrong);
        buffer_append_text(out, "</p>\n");
    }
    if (report->has_usage) {
        double cpu = report->after.cpu_seconds - report->before.cpu_seconds;
        char memory[32];
        bytes_text(report->anonymous_bytes_max, memory);
        buffer_appendf(
            out, "<p>Server: %.2f s of processor time, %.0f %% of one core; %s of own memory at most.</p>\n",
            cpu, 100 * cpu / report->seconds, memory);
    }
    buffer_append_text(out, "<h2>Durations, from the time at which work was meant to begin</h2>\n");
    table_append(report, out);
    failures_append(measure, out);
    buffer_append_text(out, "<h2>Second by second</h2>\n");
    seconds_plot(report, "Done in a second", SECOND_DONE, count_text, false, out);
    seconds_plot(report, "Duration, 99th percentile", SECOND_P99, us_text, true, out);
    seconds_plot(report, "Downloaded, as it came over the network", SECOND_BYTES, rate_text, false, out);
    buffer_append_text(out, "<h2>Distribution</h2>\n");
    quantiles_plot(measure, out);
    buffer_append_text(out, "</body></html>\n");
}

enum status report_html(const struct report *report, const char *path, struct error *error)
{
    struct buffer page = BUFFER_INIT;
    page_append(report, &page);
    FILE *file = fopen(path, "we");
    bool good = file && fwrite(page.data, 1, page.size, file) == page.size;
    if (file)
        good &= fclose(file) == 0;
    buffer_release(&page);
    return good ? STATUS_OK : error_set_errno(error, "cannot write the report %s", path);
}
