#include "storage/import.h"
#include "tools/common/progress.h"
#include "tools/sluicectl/command.h"

#include <stdio.h>

#define REFUSED_SHOWN_MAX 1000 /* lines on standard error; the rest is counted */

struct import_run {
    struct progress progress;
    uint64_t refused;
};

static void show_refused(void *context, const char *file, uint64_t line, const char *reason)
{
    struct import_run *run = context;
    progress_end(&run->progress);
    run->refused++;
    /* A reason about a file as a whole may begin with its name already. */
    if (run->refused > REFUSED_SHOWN_MAX)
        return;
    if (line)
        fprintf(stderr, "%s:%llu: %s\n", file, (unsigned long long)line, reason);
    else if (strncmp(reason, file, strlen(file)) == 0)
        fprintf(stderr, "%s\n", reason);
    else
        fprintf(stderr, "%s: %s\n", file, reason);
    if (run->refused == REFUSED_SHOWN_MAX)
        fprintf(stderr, "(more are refused, and only counted from here)\n");
}

static void show_progress(void *context, uint64_t done, uint64_t total, const struct import_counts *counts)
{
    struct import_run *run = context;
    char note[64] = ""; /* the first lines are counted when the memory is full */
    if (counts->lines)
        snprintf(note, sizeof note, "%llu resources", (unsigned long long)counts->lines);
    progress_show(&run->progress, done, total, note);
}

static const struct {
    const char *name, *text;
    size_t offset;
    bool always;
} count_table[] = {
    {"added", "added", offsetof(struct import_counts, added), true},
    {"replaced", "replaced", offsetof(struct import_counts, replaced), false},
    {"identical", "identical, already there", offsetof(struct import_counts, identical), false},
    {"late", "older than what is there", offsetof(struct import_counts, late), false},
    {"deleted", "deleted", offsetof(struct import_counts, deleted), false},
    {"deletedUnknown", "deletions of what is not there, remembered",
     offsetof(struct import_counts, deleted_unknown), false},
    {"refused", "refused", offsetof(struct import_counts, refused), true},
    {"unsupported", "of other resource types, refused", offsetof(struct import_counts, unsupported), false},
    {"stamped", "stamped with the import's time (an export had looked past their own)",
     offsetof(struct import_counts, stamped), false},
    {"undated", "without meta.lastUpdated: 2020-01-01", offsetof(struct import_counts, undated), false},
    {"future", "dated in the future: stamped with the import's time", offsetof(struct import_counts, future),
     false},
    {"lines", "lines", offsetof(struct import_counts, lines), true},
    {"files", "files", offsetof(struct import_counts, files), true},
    {"filesFailed", "files that could not be read to their end", offsetof(struct import_counts, files_failed),
     false},
};

static void print_counts(const struct invocation *invocation, const struct import_counts *counts)
{
    struct buffer text = BUFFER_INIT;
    struct json_writer *json = json_writer_new(&text);
    json_object_begin(json);
    for (size_t i = 0; i < sizeof count_table / sizeof *count_table; i++) {
        uint64_t value;
        memcpy(&value, (const char *)counts + count_table[i].offset, sizeof value);
        json_member_number(json, count_table[i].name, (int64_t)value);
        if (!wants_json(invocation) && (value || count_table[i].always))
            printf("%12llu %s\n", (unsigned long long)value, count_table[i].text);
    }
    json_object_end(json);
    json_writer_finish(json);
    json_writer_free(json);
    if (wants_json(invocation))
        print_json(&text);
    buffer_release(&text);
}

int command_import(const struct invocation *invocation)
{
    struct link *link = open_link(invocation);
    if (!link)
        return EXIT_FAILED;
    struct import_run run = {.refused = 0};
    struct import_options options = {
        .paths = (const char *const *)invocation->arguments,
        .path_count = (size_t)invocation->argument_count,
        .aco_id = invocation->options[OPTION_ACO],
        .strict = invocation->options[OPTION_STRICT] != NULL,
        .deletes_errors = invocation->options[OPTION_DELETE_ENTERED_IN_ERROR] != NULL,
        .context = &run,
        .refuse = show_refused,
        .progress = show_progress,
    };
    struct import_counts counts;
    struct error error;
    progress_begin(&run.progress, "import", is_quiet(invocation));
    enum status status = import_run(link, &options, &counts, &error);
    progress_end(&run.progress);
    /* Zeros would look like the counts of an import that found nothing. */
    if (status == STATUS_OK || counts.files || counts.lines)
        print_counts(invocation, &counts);
    int exit_status = status == STATUS_OK ? move_homes(invocation, link) : complain(&error);
    link_close(link);
    if (exit_status != EXIT_DONE)
        return exit_status;
    return counts.refused || counts.unsupported || counts.files_failed ? EXIT_FAILED : EXIT_DONE;
}
