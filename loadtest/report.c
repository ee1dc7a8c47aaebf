#include "loadtest/report.h"

#include "codec/json_writer.h"
#include "tools/common/progress.h"
#include "tools/common/table.h"

#include <inttypes.h>

static const double shares[] = {0.5, 0.9, 0.99, 0.999};
static const char *const share_names[] = {"p50", "p90", "p99", "p99.9"};
#define SHARE_COUNT (sizeof shares / sizeof *shares)

void duration_text(int64_t us, char text[32])
{
    if (us < 1000)
        snprintf(text, 32, "%" PRId64 " us", us);
    else if (us < 1000000)
        snprintf(text, 32, us < 10000 ? "%.2f ms" : us < 100000 ? "%.1f ms" : "%.0f ms", (double)us / 1e3);
    else
        snprintf(text, 32, us < 100000000 ? "%.2f s" : "%.0f s", (double)us / 1e6);
}

void report_table(const struct report *report, FILE *out)
{
    static const char *const titles[] = {"work", ">done",  ">a second", ">p50",  ">p90",
                                         ">p99", ">p99.9", ">max",      ">data", ">failed"};
    const struct measure *measure = &report->run->measure;
    struct text_table table;
    char text[32];
    fprintf(out, "%s against %s, %.1f s\n\n", report->scenario, report->run->options->url, report->seconds);
    text_table_init(&table, titles, sizeof titles / sizeof *titles);
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        const struct measure_of_kind *of = &measure->of[i];
        if (measure_is_empty(of))
            continue;
        text_table_cell(&table, "%s", measure_kind_name((enum measure_kind)i));
        text_table_cell(&table, "%" PRIu64, of->durations.count);
        text_table_cell(&table, "%.1f", (double)of->durations.count / report->seconds);
        for (size_t k = 0; k < SHARE_COUNT; k++) {
            duration_text(histogram_quantile(&of->durations, shares[k]), text);
            text_table_cell(&table, "%s", text);
        }
        duration_text(of->durations.max_us, text);
        text_table_cell(&table, "%s", text);
        bytes_text(of->bytes, text);
        text_table_cell(&table, "%s", text);
        text_table_cell(&table, "%" PRIu64, measure_failures(of));
    }
    text_table_print(&table, out);
    text_table_release(&table);
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        for (size_t k = 0; k < MEASURE_FAILURE_COUNT; k++) {
            if (measure->of[i].failures[k])
                fprintf(out, "%s: %" PRIu64 " %s\n", measure_kind_name((enum measure_kind)i),
                        measure->of[i].failures[k], measure_failure_name((enum measure_failure)k));
        }
    }
    if (measure->first_wrong[0])
        fprintf(out, "the first wrong answer: %s\n", measure->first_wrong);
    if (report->has_usage) {
        bytes_text(report->anonymous_bytes_max, text);
        fprintf(out, "\nserver: %.2f s of processor time (%.0f %% of one core), %s of own memory at most\n",
                report->after.cpu_seconds - report->before.cpu_seconds,
                100 * (report->after.cpu_seconds - report->before.cpu_seconds) / report->seconds, text);
    }
}

static void member_seconds(struct json_writer *writer, const char *key, double seconds)
{
    char text[32];
    snprintf(text, sizeof text, "%.6f", seconds);
    json_key(writer, key);
    json_number_text(writer, slice_from_text(text));
}

static void kind_json(struct json_writer *writer, const struct measure_of_kind *of)
{
    json_object_begin(writer);
    json_member_number(writer, "done", (int64_t)of->durations.count);
    json_member_number(writer, "bytes", (int64_t)of->bytes);
    for (size_t k = 0; k < SHARE_COUNT; k++)
        member_seconds(writer, share_names[k], (double)histogram_quantile(&of->durations, shares[k]) / 1e6);
    member_seconds(writer, "max", (double)of->durations.max_us / 1e6);
    member_seconds(writer, "mean",
                   of->durations.count ? (double)of->durations.sum_us / 1e6 / (double)of->durations.count
                                       : 0);
    json_key(writer, "failures");
    json_object_begin(writer);
    for (size_t k = 0; k < MEASURE_FAILURE_COUNT; k++) {
        if (of->failures[k])
            json_member_number(writer, measure_failure_name((enum measure_failure)k),
                               (int64_t)of->failures[k]);
    }
    json_object_end(writer);
    json_object_end(writer);
}

void report_json(const struct report *report, FILE *out)
{
    const struct measure *measure = &report->run->measure;
    struct buffer text = BUFFER_INIT;
    struct json_writer *writer = json_writer_new(&text);
    json_object_begin(writer);
    json_member_text(writer, "scenario", report->scenario);
    json_member_text(writer, "url", report->run->options->url);
    member_seconds(writer, "seconds", report->seconds);
    json_member_number(writer, "failures", (int64_t)measure_failures_of_all(measure));
    if (measure->first_wrong[0])
        json_member_text(writer, "firstWrong", measure->first_wrong);
    json_key(writer, "work");
    json_object_begin(writer);
    for (size_t i = 0; i < MEASURE_KIND_COUNT; i++) {
        if (measure_is_empty(&measure->of[i]))
            continue;
        json_key(writer, measure_kind_name((enum measure_kind)i));
        kind_json(writer, &measure->of[i]);
    }
    json_object_end(writer);
    if (report->has_usage) {
        json_key(writer, "server");
        json_object_begin(writer);
        member_seconds(writer, "cpuSeconds", report->after.cpu_seconds - report->before.cpu_seconds);
        json_member_number(writer, "anonymousBytesMax", (int64_t)report->anonymous_bytes_max);
        json_member_number(writer, "residentBytes", (int64_t)report->after.resident_bytes);
        json_object_end(writer);
    }
    json_object_end(writer);
    json_writer_finish(writer);
    json_writer_free(writer);
    buffer_append_char(&text, '\n');
    fwrite(text.data, 1, text.size, out);
    buffer_release(&text);
}
