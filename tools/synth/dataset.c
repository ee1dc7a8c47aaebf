#include "tools/synth/dataset.h"

#include "codec/base/check.h"
#include "tools/synth/claim.h"
#include "tools/synth/coverage.h"
#include "tools/synth/patient.h"
#include "tools/synth/sink.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

enum file { FILE_PATIENT, FILE_COVERAGE, FILE_CLAIM, FILE_COUNT };

static const char *const file_names[FILE_COUNT] = {
    [FILE_PATIENT] = "base/Patient.ndjson",
    [FILE_COVERAGE] = "base/Coverage.ndjson",
    [FILE_CLAIM] = "base/ExplanationOfBenefit.ndjson",
};

struct dataset {
    const struct dataset_options *options;
    struct sink files[FILE_COUNT];
    struct dataset_totals totals;
    dataset_progress *progress;
    void *context;
};

static enum status path_make(const struct dataset_options *options, const char *name, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    enum status status = STATUS_OK;
    buffer_appendf(&path, "%s%s", options->directory, name);
    if (mkdir(buffer_text(&path), 0777) && errno != EEXIST)
        status = error_set_errno(error, "cannot make the directory %s", buffer_text(&path));
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

static enum status files_open(struct dataset *dataset, struct error *error)
{
    const struct dataset_options *options = dataset->options;
    enum status status = path_make(options, "", error);
    if (!status)
        status = directory_check_empty(options->directory, error);
    if (!status)
        status = path_make(options, "/base", error);
    if (!status)
        status = path_make(options, "/attribution", error);
    for (int i = 0; i < FILE_COUNT && !status; i++) {
        struct buffer path = BUFFER_INIT;
        buffer_appendf(&path, "%s/%s", options->directory, file_names[i]);
        status = sink_open(&dataset->files[i], buffer_text(&path), options->gzip, error);
        buffer_release(&path);
    }
    return status;
}

static enum status claims_write(struct dataset *dataset, const struct beneficiary *beneficiary,
                                struct error *error)
{
    struct sink *sink = &dataset->files[FILE_CLAIM];
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
    patient_write(&dataset->files[FILE_PATIENT].buffer, beneficiary);
    coverage_write(&dataset->files[FILE_COVERAGE].buffer, beneficiary);
    enum status status = claims_write(dataset, beneficiary, error);
    for (int i = 0; i < FILE_COUNT && !status; i++)
        status = sink_relieve(&dataset->files[i], error);
    dataset->totals.beneficiaries++;
    dataset->totals.coverages += COVERAGE_PARTS;
    dataset->totals.line_bytes = 0;
    for (int i = 0; i < FILE_COUNT; i++)
        dataset->totals.line_bytes += dataset->files[i].line_bytes + dataset->files[i].buffer.size;
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
    struct dataset dataset = {.options = options, .progress = progress, .context = context};
    for (int i = 0; i < FILE_COUNT; i++)
        dataset.files[i] = (struct sink)SINK_INIT;
    enum status status = files_open(&dataset, error);
    for (uint32_t i = 0; i < options->aco_count && !status; i++)
        status = aco_write(&dataset, i, error);
    for (int i = 0; i < FILE_COUNT && !status; i++)
        status = sink_finish(&dataset.files[i], error);
    for (int i = 0; i < FILE_COUNT; i++)
        sink_close(&dataset.files[i]);
    *ret_totals = dataset.totals;
    return status;
}
