#include "tools/sluicectl/candidates.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void candidates_add(struct candidates *candidates, const char *path, int64_t at_us)
{
    struct candidate candidate = {arena_text(&candidates->arena, slice_from_text(path)), at_us};
    buffer_append(&candidates->items, &candidate, sizeof candidate);
}

static enum status candidates_from_directory(struct candidates *candidates, const char *path,
                                             candidate_name *is_wanted, struct error *error)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        return error_set_errno(error, "%s: cannot read the directory", path);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        struct buffer full = BUFFER_INIT;
        struct stat info;
        int64_t at_us;
        buffer_appendf(&full, "%s/%s", path, name);
        if (name[0] != '.' && stat(buffer_text(&full), &info) == 0 && S_ISREG(info.st_mode)) {
            if (is_wanted(name, &at_us))
                candidates_add(candidates, buffer_text(&full), at_us);
            else
                candidates->ignored++;
        }
        buffer_release(&full);
        free(entries[i]);
    }
    free(entries);
    return STATUS_OK;
}

static int candidate_compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int order = (x->at_us > y->at_us) - (x->at_us < y->at_us);
    return order ? order : strcmp(x->path, y->path);
}

enum status candidates_find(struct candidates *candidates, const struct invocation *invocation,
                            candidate_name *is_wanted, struct error *error)
{
    *candidates = (struct candidates){.arena = ARENA_INIT};
    for (int i = 0; i < invocation->argument_count; i++) {
        const char *path = invocation->arguments[i];
        struct stat info;
        if (stat(path, &info) != 0)
            return error_set_errno(error, "%s: cannot look at it", path);
        if (S_ISDIR(info.st_mode)) {
            enum status status = candidates_from_directory(candidates, path, is_wanted, error);
            if (status != STATUS_OK)
                return status;
            continue;
        }
        const char *slash = strrchr(path, '/');
        int64_t at_us = 0;
        bool is_known = is_wanted(slash ? slash + 1 : path, &at_us);
        candidates_add(candidates, path, is_known ? at_us : 0);
    }
    if (candidates->items.size)
        qsort(candidates->items.data, candidates_count(candidates), sizeof(struct candidate),
              candidate_compare);
    return STATUS_OK;
}

size_t candidates_count(const struct candidates *candidates)
{
    return candidates->items.size / sizeof(struct candidate);
}

const struct candidate *candidates_at(const struct candidates *candidates, size_t index)
{
    return (const struct candidate *)(const void *)candidates->items.data + index;
}

void candidates_end(struct candidates *candidates, const struct invocation *invocation)
{
    if (candidates->ignored && !is_quiet(invocation))
        fprintf(stderr, "sluicectl: %zu other files were ignored\n", candidates->ignored);
    buffer_release(&candidates->items);
    arena_release(&candidates->arena);
}

void file_report_begin(struct file_report *report, const struct invocation *invocation)
{
    *report = (struct file_report){.wants_json = wants_json(invocation), .exit_status = EXIT_DONE};
    report->json = json_writer_new(&report->text);
    json_array_begin(report->json);
}

void file_report_file(struct file_report *report, const char *file, const char *state)
{
    json_object_begin(report->json);
    json_member_text(report->json, "file", file);
    json_member_text(report->json, "state", state);
}

void file_report_not_applied(struct file_report *report, const char *path, const struct error *error)
{
    bool is_skipped = error->status == STATUS_EXISTS;
    file_report_file(report, path, is_skipped ? "skipped" : "refused");
    json_member_text(report->json, "reason", error->text);
    json_object_end(report->json);
    if (!is_skipped)
        report->exit_status = complain(error);
    else if (!report->wants_json)
        printf("%s: skipped\n", error->text);
}

void file_report_end(struct file_report *report)
{
    json_array_end(report->json);
    json_writer_finish(report->json);
    if (report->wants_json)
        print_json(&report->text);
    json_writer_free(report->json);
    buffer_release(&report->text);
}
