#include "tools/synth/dataset.h"

#include "codec/base/check.h"
#include "tools/synth/claim.h"
#include "tools/synth/course.h"
#include "tools/synth/coverage.h"
#include "tools/synth/folder.h"
#include "tools/synth/patient.h"
#include "tools/synth/week.h"

#include <dirent.h>

struct dataset {
    const struct dataset_options *options;
    struct folder base;
    struct dataset_totals totals;
    dataset_progress *progress;
    void *context;
};

static enum status path_make(const struct dataset_options *options, const char *name, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    buffer_appendf(&path, "%s%s", options->directory, name);
    enum status status = directory_make(buffer_text(&path), error);
    buffer_release(&path);
    return status;
}

static enum status directory_check_empty(const char *path, struct error *error)
{
    DIR *directory = opendir(path);
    if (!directory)
        return error_set_errno(error, "cannot read the directory %s", path);
    const struct dirent *entry;
    bool empty = true;
    while (empty && (entry = readdir(directory)))
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(directory);
    if (!empty)
        return error_set(error, STATUS_EXISTS, "%s is not empty: choose a new directory, or empty it first",
                         path);
    return STATUS_OK;
}

static enum status base_open(struct dataset *dataset, struct error *error)
{
    const struct dataset_options *options = dataset->options;
    enum status status = path_make(options, "", error);
    if (!status)
        status = directory_check_empty(options->directory, error);
    if (!status)
        status = path_make(options, "/attribution", error);
    if (!status) {
        struct buffer path = BUFFER_INIT;
        buffer_appendf(&path, "%s/base", options->directory);
        status = folder_open(&dataset->base, buffer_text(&path), options->gzip, error);
        buffer_release(&path);
    }
    return status;
}

static enum status claims_write(struct dataset *dataset, const struct beneficiary *beneficiary,
                                struct error *error)
{
    struct sink *sink = &dataset->base.files[FOLDER_CLAIM];
    struct claim_cursor cursor;
    struct claim claim;
    claim_cursor_init(&cursor, beneficiary, HISTORY_END_YEAR - dataset->options->year_count, HISTORY_END_YEAR,
                      INT32_MIN, day_from_date(HISTORY_END_YEAR, 1, 1));
    while (claim_next(&cursor, &claim)) {
        claim_write(&sink->buffer, &claim);
        dataset->totals.claims++;
        enum status status = sink_relieve(sink, error);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static enum status beneficiary_write(struct dataset *dataset, const struct beneficiary *beneficiary,
                                     struct error *error)
{
    patient_write(&dataset->base.files[FOLDER_PATIENT].buffer, beneficiary);
    coverage_write(&dataset->base.files[FOLDER_COVERAGE].buffer, beneficiary);
    enum status status = claims_write(dataset, beneficiary, error);
    if (!status)
        status = folder_relieve(&dataset->base, error);
    dataset->totals.done++;
    dataset->totals.patients++;
    dataset->totals.coverages += COVERAGE_PARTS;
    dataset->totals.line_bytes = folder_line_bytes(&dataset->base);
    if (dataset->progress)
        dataset->progress(dataset->context, &dataset->totals);
    return status;
}

static void shared_add(const struct dataset_options *options, uint32_t aco_index, struct roster *roster)
{
    uint32_t from = (aco_index + options->aco_count - 1) % options->aco_count;
    struct beneficiary beneficiary;
    for (uint32_t i = 0; i < options->shared_count; i++) {
        beneficiary_draw(&beneficiary, options->seed, options->acos[from], from, i);
        roster_add(roster, &beneficiary);
    }
}

static enum status aco_write(struct dataset *dataset, uint32_t aco_index, struct error *error)
{
    const struct dataset_options *options = dataset->options;
    struct slice aco = options->acos[aco_index];
    enum status status = STATUS_OK;
    struct roster roster;
    roster_init(&roster, aco, day_from_date(HISTORY_END_YEAR, 1, 1));
    for (uint32_t i = 0; i < options->beneficiary_count && !status; i++) {
        struct beneficiary beneficiary;
        beneficiary_draw(&beneficiary, options->seed, aco, aco_index, i);
        roster_add(&roster, &beneficiary);
        status = beneficiary_write(dataset, &beneficiary, error);
    }
    if (!status) {
        struct buffer directory = BUFFER_INIT;
        buffer_appendf(&directory, "%s/attribution", options->directory);
        shared_add(options, aco_index, &roster);
        status = roster_write(&roster, buffer_text(&directory), error);
        buffer_release(&directory);
    }
    roster_release(&roster);
    return status;
}

enum status dataset_write(const struct dataset_options *options, dataset_progress *progress, void *context,
                          struct dataset_totals *ret_totals, struct error *error)
{
    CHECK(options->aco_count <= ACOS_MAX && options->beneficiary_count <= BENEFICIARIES_MAX);
    CHECK(options->shared_count <= options->beneficiary_count);
    CHECK(options->week_count <= WEEKS_MAX);
    struct dataset dataset = {.options = options, .progress = progress, .context = context};
    for (int i = 0; i < FOLDER_FILE_COUNT; i++)
        dataset.base.files[i] = (struct sink)SINK_INIT;
    enum status status = base_open(&dataset, error);
    for (uint32_t i = 0; i < options->aco_count && !status; i++)
        status = aco_write(&dataset, i, error);
    if (!status)
        status = folder_finish(&dataset.base, error);
    folder_close(&dataset.base);
    for (uint32_t week = 1; week <= options->week_count && !status; week++)
        status = week_write(options, week, progress, context, &dataset.totals, error);
    *ret_totals = dataset.totals;
    return status;
}

uint64_t dataset_steps(const struct dataset_options *options)
{
    uint64_t steps = 0;
    for (uint32_t week = 0; week <= options->week_count; week++)
        steps += (uint64_t)options->aco_count * course_count(options->beneficiary_count, week);
    return steps;
}
