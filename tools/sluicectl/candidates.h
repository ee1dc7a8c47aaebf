/*
 * The files that the paths of a command mean, in the order of the times in their names: files as they are
 * given, and of directories (not of those in them) what has a wanted name.
 */
#ifndef TOOLS_SLUICECTL_CANDIDATES_H
#define TOOLS_SLUICECTL_CANDIDATES_H

#include "codec/base/arena.h"
#include "tools/sluicectl/command.h"

struct candidate {
    char *path;
    int64_t at_us; /* that its name gives; 0 if it gives none */
};

struct candidates {
    struct arena arena;
    struct buffer items; /* struct candidate */
    size_t ignored;      /* files in directories whose names are not wanted */
};

/* True if a file of that name (without directories) is wanted; the time that the name gives. */
typedef bool candidate_name(const char *name, int64_t *ret_at_us);

/* A file that is given by itself is taken whatever its name: reading it says what is wrong with that. */
NODISCARD enum status candidates_find(struct candidates *candidates, const struct invocation *invocation,
                                      candidate_name *is_wanted, struct error *error);
size_t candidates_count(const struct candidates *candidates);
const struct candidate *candidates_at(const struct candidates *candidates, size_t index);
/* Says how many were ignored, unless --quiet, and releases them. */
void candidates_end(struct candidates *candidates, const struct invocation *invocation);

/* What became of the files: lines for a person as they come, an array with --json at the end. */
struct file_report {
    bool wants_json;
    struct buffer text;
    struct json_writer *json;
    int exit_status; /* EXIT_FAILED once a file was refused */
};
void file_report_begin(struct file_report *report, const struct invocation *invocation);
/* Begins a file's object; the caller adds to it and ends it. */
void file_report_file(struct file_report *report, const char *file, const char *state);
/* A file that was not applied: skipped (STATUS_EXISTS) or refused. */
void file_report_not_applied(struct file_report *report, const char *path, const struct error *error);
void file_report_end(struct file_report *report);

#endif
