#include "tools/synth/week.h"

#include "tools/synth/claim.h"
#include "tools/synth/course.h"
#include "tools/synth/coverage.h"
#include "tools/synth/folder.h"
#include "tools/synth/optout.h"
#include "tools/synth/patient.h"

/*
 * A claim that a week brings or changes is of its service year or the two before: it is processed at most 41
 * weeks after the service, an adjustment 11 weeks after that, changed within 20 weeks, and what comes in runs
 * may begin half a year into the next year.
 */
#define SERVICE_YEARS 3

struct week {
    const struct dataset_options *options;
    uint32_t number;
    int32_t day;
    const char *path;
    struct folder folder;
    struct buffer deleted; /* of a Bundle: its entries so far */
    struct optout optout;
    struct dataset_totals *totals;
};

static void deleted_add(struct week *week, const struct claim *claim)
{
    if (!week->options->deletions)
        return;
    struct buffer *out = &week->deleted;
    if (out->size)
        JSON(out, ",\n");
    JSON(out, "{\"request\":{\"method\":\"DELETE\",\"url\":\"ExplanationOfBenefit/");
    claim_id_append(out, claim);
    JSON(out, "\"}}");
}

static enum status deleted_write(struct week *week, struct error *error)
{
    if (!week->deleted.size)
        return STATUS_OK;
    struct buffer path = BUFFER_INIT;
    struct sink sink = SINK_INIT;
    buffer_appendf(&path, "%s/deleted.json", week->path);
    enum status status = sink_open(&sink, buffer_text(&path), false, error);
    if (!status) {
        JSON(&sink.buffer, "{\"entry\":[\n");
        buffer_append_slice(&sink.buffer, buffer_slice(&week->deleted));
        JSON(&sink.buffer, "\n],\"resourceType\":\"Bundle\",\"type\":\"transaction\"}\n");
        status = sink_finish(&sink, error);
    }
    sink_close(&sink);
    buffer_release(&path);
    return status;
}

/* `joins`: all his claims are new to the dataset. */
static enum status claims_write(struct week *week, const struct beneficiary *beneficiary, bool joins,
                                struct error *error)
{
    struct sink *sink = &week->folder.files[FOLDER_CLAIM];
    int32_t year = date_from_day(week->day).year;
    int32_t first_year = HISTORY_END_YEAR - week->options->year_count;
    int32_t end_year = year < CLAIM_END_YEAR ? year + 1 : CLAIM_END_YEAR;
    if (!joins && first_year < year - SERVICE_YEARS + 1)
        first_year = year - SERVICE_YEARS + 1;
    int32_t loaded_from = joins ? INT32_MIN : week->day - 7 * CLAIM_CHANGE_WEEKS_MAX;
    struct claim_cursor cursor;
    struct claim claim;
    claim_cursor_init(&cursor, beneficiary, first_year, end_year, loaded_from, week->day + 1);
    while (claim_next(&cursor, &claim)) {
        enum claim_change change = claim_advance(&claim, week->number);
        if (change == CLAIM_DELETED && !joins)
            deleted_add(week, &claim);
        if (change == CLAIM_GONE || change == CLAIM_DELETED || (change == CLAIM_UNCHANGED && !joins))
            continue;
        claim_write(&sink->buffer, &claim);
        week->totals->claims++;
        enum status status = sink_relieve(sink, error);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static enum status beneficiary_write(struct week *week, const struct beneficiary *drawn, bool joins,
                                     struct error *error)
{
    struct beneficiary known = *drawn; /* to the source's records of persons, in this week */
    bool changed = course_advance(&known, week->number);
    bool yearly = week_is_yearly(week->number);
    bool died = changed && known.death_day != INT32_MAX;
    bool covered = course_coverage_changes(&known, week->number) || (yearly && known.death_day == INT32_MAX);
    if (joins || changed || (yearly && patient_is_in_yearly_load(&known))) {
        patient_update(&week->folder.files[FOLDER_PATIENT].buffer, &known, week->number);
        week->totals->patients++;
    }
    if (joins || died || covered) {
        coverage_update(&week->folder.files[FOLDER_COVERAGE].buffer, &known, week->number);
        week->totals->coverages += COVERAGE_PARTS;
    }
    if (week->number % OPTOUT_WEEKS == 0)
        optout_consider(&week->optout, &known, week->number);

    struct beneficiary served = *drawn;
    course_foresee(&served);
    enum status status = claims_write(week, &served, joins, error);
    return status ? status : folder_relieve(&week->folder, error);
}

/* Adds who of one ACO's beneficiaries, shared or not, is listed by `lister` in this week. */
static void roster_add_listed(const struct week *week, uint32_t aco_index, uint32_t lister,
                              struct roster *roster)
{
    const struct dataset_options *options = week->options;
    uint32_t count = course_count(options->beneficiary_count, week->number);
    for (uint32_t i = 0; i < count; i++) {
        struct beneficiary b;
        beneficiary_draw(&b, options->seed, options->acos[aco_index], aco_index, i);
        bool shared = i < options->shared_count;
        uint32_t joined = course_joined(options->beneficiary_count, i);
        uint32_t listed = course_aco(&b, joined, week->number, shared, options->aco_count);
        if (listed != lister && !(shared && lister != aco_index))
            continue;
        course_advance(&b, week->number);
        roster_add(roster, &b);
    }
}

static enum status roster_of_week(const struct week *week, uint32_t aco_index, const char *directory,
                                  struct error *error)
{
    const struct dataset_options *options = week->options;
    struct roster roster;
    roster_init(&roster, options->acos[aco_index], week->day);
    roster_add_listed(week, aco_index, aco_index, &roster);
    if (options->aco_count > 1)
        roster_add_listed(week, (aco_index + options->aco_count - 1) % options->aco_count, aco_index,
                          &roster);
    enum status status = roster_write(&roster, directory, error);
    roster_release(&roster);
    return status;
}

static enum status rosters_write(const struct week *week, struct error *error)
{
    struct buffer directory = BUFFER_INIT;
    buffer_appendf(&directory, "%s/attribution", week->path);
    enum status status = directory_make(buffer_text(&directory), error);
    for (uint32_t i = 0; i < week->options->aco_count && !status; i++)
        status = roster_of_week(week, i, buffer_text(&directory), error);
    buffer_release(&directory);
    return status;
}

static enum status suppression_write(const struct week *week, struct error *error)
{
    if (!week->optout.row_count)
        return STATUS_OK;
    struct buffer directory = BUFFER_INIT;
    buffer_appendf(&directory, "%s/suppression", week->path);
    enum status status = directory_make(buffer_text(&directory), error);
    if (!status)
        status = optout_write(&week->optout, buffer_text(&directory), error);
    buffer_release(&directory);
    return status;
}

static enum status acos_write(struct week *week, dataset_progress *progress, void *context,
                              struct error *error)
{
    const struct dataset_options *options = week->options;
    uint64_t bytes_before = week->totals->line_bytes;
    uint32_t count_before = course_count(options->beneficiary_count, week->number - 1);
    uint32_t count = course_count(options->beneficiary_count, week->number);
    for (uint32_t aco = 0; aco < options->aco_count; aco++) {
        for (uint32_t i = 0; i < count; i++) {
            struct beneficiary beneficiary;
            beneficiary_draw(&beneficiary, options->seed, options->acos[aco], aco, i);
            enum status status = beneficiary_write(week, &beneficiary, i >= count_before, error);
            if (status)
                return status;
            week->totals->done++;
            week->totals->line_bytes = bytes_before + folder_line_bytes(&week->folder);
            if (progress)
                progress(context, week->totals);
        }
    }
    return STATUS_OK;
}

enum status week_write(const struct dataset_options *options, uint32_t number, dataset_progress *progress,
                       void *context, struct dataset_totals *totals, struct error *error)
{
    struct buffer path = BUFFER_INIT;
    buffer_appendf(&path, "%s/week-%02u", options->directory, number);
    struct week week = {
        .options = options,
        .number = number,
        .day = week_day(number),
        .path = buffer_text(&path),
        .deleted = BUFFER_INIT,
        .totals = totals,
    };
    optout_init(&week.optout, week.day);
    enum status status = folder_open(&week.folder, week.path, options->gzip, error);
    if (!status)
        status = acos_write(&week, progress, context, error);
    if (!status)
        status = folder_finish(&week.folder, error);
    if (!status)
        status = deleted_write(&week, error);
    if (!status)
        status = rosters_write(&week, error);
    if (!status)
        status = suppression_write(&week, error);
    folder_close(&week.folder);
    buffer_release(&week.deleted);
    optout_release(&week.optout);
    buffer_release(&path);
    return status;
}
