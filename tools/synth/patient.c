#include "tools/synth/patient.h"

#include "tools/synth/course.h"

#define PATIENT_BATCH         35    /* rows of one write in the yearly load */
#define PATIENT_BATCH_CHANGED 16384 /* in the other weeks so few change that one write spans many */
#define UNTOUCHED_PERMILLE    100   /* not written since before 2020 */
#define CHANGED_PERMILLE      120   /* written in a week of the last year, not in January */

static const struct field field_race = FIELD("race", "");
static const struct field field_currency = {TEXT(CODESYSTEM_URL "identifier-currency"), TEXT("")};
static const struct code current = CODE("current", "Current");
static const struct code historic = CODE("historic", "Historic");
static const struct code races[] = {
    CODE("0", "Unknown"),
    CODE("1", "White"),
    CODE("2", "Black"),
    CODE("3", "Other"),
    CODE("4", "Asian"),
    CODE("5", "Hispanic"),
    CODE("6", "North American Native"),
};

struct patient_load {
    struct instant instant;
    int32_t reference_year;
};

static bool died_in_history(const struct beneficiary *b)
{
    return b->death_day < day_from_date(HISTORY_END_YEAR, 1, 1);
}

static struct patient_load history_load_draw(const struct beneficiary *b, struct random *random)
{
    int32_t year = HISTORY_END_YEAR - 1;
    int32_t january = day_at_or_after(day_from_date(year, 1, 2), 6);
    if (died_in_history(b)) {
        int32_t reported = day_at_or_after(b->death_day + 30, 6);
        return (struct patient_load){beneficiary_load_instant(b, reported, PATIENT_BATCH_CHANGED), year};
    }
    if (random_chance(random, UNTOUCHED_PERMILLE))
        return (struct patient_load){instant_of_load(0, 0), 2019};
    if (random_chance(random, CHANGED_PERMILLE)) {
        int32_t week = january + 7 * (1 + (int32_t)random_below(random, 50));
        return (struct patient_load){beneficiary_load_instant(b, week, PATIENT_BATCH_CHANGED), year};
    }
    return (struct patient_load){beneficiary_load_instant(b, january, PATIENT_BATCH), year};
}

static void mbi_identifier(struct buffer *out, const char *mbi, struct code currency)
{
    JSON(out, ",{\"extension\":[");
    extension_code(out, &field_currency, currency);
    JSON(out, "],\"system\":\"" FHIR_URL "sid/us-mbi\",\"value\":\"");
    buffer_append(out, mbi, MBI_SIZE);
    JSON(out, "\"}");
}

static void line_write(struct buffer *out, const struct beneficiary *b, const struct patient_load *of_week)
{
    struct random random;
    random_seed(&random, random_mix(b->seed, 'p'));
    /* Drawn also for a week, so that what follows stays as it was. */
    struct patient_load load = history_load_draw(b, &random);
    if (of_week)
        load = *of_week;

    JSON(out, "{\"address\":[{");
    if (random_chance(&random, 800)) {
        JSON(out, "\"postalCode\":\"");
        json_digits(out, b->zip, 5);
        JSON(out, "\",");
    }
    JSON(out, "\"state\":\"");
    buffer_append_slice(out, b->state->ssa);
    JSON(out, "\"}],\"birthDate\":\"");
    date_append(out, b->birth_day);
    if (b->death_day != INT32_MAX) {
        JSON(out, "\",\"deceasedDateTime\":\"");
        date_append_midnight(out, b->death_day);
    }
    JSON(out, "\",\"extension\":[");
    extension_code(out, &field_race, races[b->race]);
    JSON(out, ",{\"url\":\"" VARIABLE_URL "rfrnc_yr\",\"valueDate\":\"");
    json_digits(out, (uint64_t)load.reference_year, 4);
    JSON(out, "\"}],\"gender\":\"");
    buffer_append_text(out, b->female ? "female" : "male");
    JSON(out, "\",\"id\":\"");
    beneficiary_id_append(out, b);
    JSON(out, "\",\"identifier\":[{\"system\":\"" VARIABLE_URL "bene_id\",\"value\":\"");
    beneficiary_id_append(out, b);
    JSON(out, "\"},{\"system\":\"" IDENTIFIER_URL "mbi-hash\",\"value\":\"");
    buffer_append(out, b->mbi_hash, MBI_HASH_SIZE);
    JSON(out, "\"}");
    mbi_identifier(out, b->mbi, current);
    for (uint32_t i = 0; i < b->former_mbi_count; i++)
        mbi_identifier(out, b->former_mbis[i], historic);
    JSON(out, "],\"meta\":{\"lastUpdated\":\"");
    instant_append(out, load.instant);
    JSON(out, "\"},\"name\":[{\"family\":\"");
    buffer_append_slice(out, b->family);
    JSON(out, "-");
    buffer_append_slice(out, b->aco);
    JSON(out, "\",\"given\":[\"");
    buffer_append_slice(out, b->given);
    JSON(out, "\",\"");
    buffer_append_char(out, b->middle);
    JSON(out, "\"],\"use\":\"usual\"}],\"resourceType\":\"Patient\"}\n");
}

void patient_write(struct buffer *out, const struct beneficiary *beneficiary)
{
    line_write(out, beneficiary, NULL);
}

void patient_update(struct buffer *out, const struct beneficiary *beneficiary, uint32_t week)
{
    int32_t day = week_day(week);
    uint32_t batch = week_is_yearly(week) ? PATIENT_BATCH : PATIENT_BATCH_CHANGED;
    struct patient_load load = {beneficiary_load_instant(beneficiary, day, batch), date_from_day(day).year};
    line_write(out, beneficiary, &load);
}

bool patient_is_in_yearly_load(const struct beneficiary *b)
{
    struct random random;
    random_seed(&random, random_mix(b->seed, 'p'));
    return b->death_day == INT32_MAX && !random_chance(&random, UNTOUCHED_PERMILLE);
}
