#include "tools/synth/coverage.h"

#include "tools/synth/course.h"

#define COVERAGE_BATCH         10   /* beneficiaries of one write: 40 rows */
#define COVERAGE_BATCH_CHANGED 4096 /* see PATIENT_BATCH_CHANGED */
#define CHANGED_PERMILLE       120
#define PLAN_HISTORY_YEARS     11
#define PLAN_CHANGE_PERMILLE   180 /* each January */

static const struct field field_status = FIELD("ms_cd", "");
static const struct field field_a_end = FIELD("a_trm_cd", "");
static const struct field field_b_end = FIELD("b_trm_cd", "");

static const struct code status_aged = CODE("10", "Aged without end-stage renal disease (ESRD)");
static const struct code status_aged_renal = CODE("11", "Aged with ESRD");
static const struct code status_disabled = CODE("20", "Disabled without ESRD");
static const struct code status_disabled_renal = CODE("21", "Disabled with ESRD");
static const struct code not_terminated = CODE("0", "Not Terminated");
static const struct code ended_by_death = CODE("1", "Dead");
static const struct code not_enrolled = CODE("0", "Not Medicare enrolled for the month");
static const struct code no_plan = CODE("N", "Not Part D enrolled");

#define ENROLLED "Beneficiary enrolled in Parts A and/or B, and Part D; "
static const struct code cost_shares[] = {
    CODE("09", ENROLLED "no premium or cost sharing subsidy"),
    CODE("03", ENROLLED "deemed eligible for LIS with 100% premium subsidy and high copayment"),
    CODE("02", ENROLLED "deemed eligible for LIS with 100% premium subsidy and low copayment"),
    CODE("01", ENROLLED "deemed eligible for LIS with 100% premium subsidy and no copayment"),
    CODE("04", ENROLLED "enrolled in LIS with 100% premium subsidy and high copayment"),
    CODE("05", ENROLLED "enrolled in LIS with 100% premium subsidy and 15% copayment"),
    CODE("06", ENROLLED "enrolled in LIS with 75% premium subsidy and 15% copayment"),
    CODE("07", ENROLLED "enrolled in LIS with 50% premium subsidy and 15% copayment"),
    CODE("08", ENROLLED "enrolled in LIS with 25% premium subsidy and 15% copayment"),
};
static const struct code employer_subsidy =
    CODE("10", "Beneficiary enrolled in Parts A and/or B, but not Part D; employer receives RDS subsidy");
#define COST_SHARE_COUNT ((uint32_t)(sizeof cost_shares / sizeof cost_shares[0]))

struct coverage_load {
    struct instant instant;
    int32_t reference_year;
    uint32_t week; /* 0: the history */
};

static struct code medicare_status(const struct beneficiary *b)
{
    if (b->disabled)
        return b->renal ? status_disabled_renal : status_disabled;
    return b->renal ? status_aged_renal : status_aged;
}

static void month_extension(struct buffer *out, const char *variable, int32_t year, uint32_t month,
                            struct code code)
{
    json_next(out);
    JSON(out, "{\"url\":\"" VARIABLE_URL);
    buffer_append_text(out, variable);
    json_digits(out, month, 2);
    if (year) {
        JSON(out, "/");
        json_digits(out, (uint64_t)year, 4);
        JSON(out, "-");
        json_integer(out, month);
    }
    JSON(out, "\",\"valueCoding\":{\"code\":\"");
    buffer_append_slice(out, code.value);
    if (code.display.size) {
        JSON(out, "\",\"display\":\"");
        buffer_append_slice(out, code.display);
    }
    JSON(out, "\",\"system\":\"" VARIABLE_URL);
    buffer_append_text(out, variable);
    json_digits(out, month, 2);
    JSON(out, "\"}}");
}

/* A plan for each month: it changes in January if at all, and enrolment has a first month. */
static void plan_history(struct buffer *out, const struct beneficiary *b, const struct coverage_load *load,
                         struct random *random)
{
    int32_t first_year = HISTORY_END_YEAR - PLAN_HISTORY_YEARS;
    uint32_t first_enrolled =
        random_chance(random, 300) ? random_below(random, PLAN_HISTORY_YEARS * 12 / 2) : 0;
    uint32_t contract = b->plan_contract;
    bool none = false;
    uint32_t number = 0;
    struct date death = b->death_day == INT32_MAX ? (struct date){9999, 1, 1} : date_from_day(b->death_day);
    for (int32_t year = first_year; year <= load->reference_year; year++) {
        if (random_chance(random, PLAN_CHANGE_PERMILLE)) {
            contract = 1000 + random_below(random, 400);
            none = random_chance(random, 150);
        }
        for (uint32_t month = 1; month <= 12; month++, number++) {
            char plan[5] = {'S'};
            struct code code = not_enrolled;
            bool dead = year > death.year || (year == death.year && (int32_t)month > death.month);
            if (number >= first_enrolled && !dead) {
                for (uint32_t i = 4, rest = contract; i >= 1; i--, rest /= 10)
                    plan[i] = (char)('0' + rest % 10);
                code = none ? no_plan : (struct code){{plan, sizeof plan}, {NULL, 0}};
            }
            month_extension(out, "ptdcntrct", year, month, code);
        }
    }
    if (load->week) /* what a week changes: the months' shares */
        random_seed(random, random_mix(random_mix(b->seed, 's'), load->week));
    uint32_t share = random_chance(random, 700) ? 0 : random_below(random, COST_SHARE_COUNT);
    for (uint32_t month = 1; month <= 12; month++) {
        if (random_chance(random, 150))
            share = random_below(random, COST_SHARE_COUNT);
        month_extension(out, "cstshr", 0, month, none ? employer_subsidy : cost_shares[share]);
    }
}

static void part_extensions(struct buffer *out, const struct beneficiary *b, char part,
                            const struct coverage_load *load, struct random *random)
{
    struct code end = b->death_day == INT32_MAX ? not_terminated : ended_by_death;
    bool has_plan = b->has_part_d && part == 'D';
    JSON(out, "\"extension\":[");
    if (part == 'A' || part == 'B' || has_plan)
        extension_code(out, &field_status, medicare_status(b));
    if (part == 'A')
        extension_code(out, &field_a_end, end);
    if (part == 'B')
        extension_code(out, &field_b_end, end);
    if (has_plan)
        plan_history(out, b, load, random);
    json_next(out);
    JSON(out, "{\"url\":\"" VARIABLE_URL "rfrnc_yr\",\"valueDate\":\"");
    json_digits(out, (uint64_t)load->reference_year, 4);
    JSON(out, "\"}],");
}

static void part_write(struct buffer *out, const struct beneficiary *b, char part,
                       const struct coverage_load *load, struct random *random)
{
    JSON(out, "{\"beneficiary\":{\"reference\":\"Patient/");
    beneficiary_id_append(out, b);
    JSON(out, "\"},");
    if (part == 'A')
        JSON(out, "\"contract\":[{\"id\":\"ptc-contract1\"},"
                  "{\"reference\":\"Coverage/part-a-contract1 reference\"}],");
    part_extensions(out, b, part, load, random);
    JSON(out, "\"grouping\":{\"group\":\"");
    buffer_append_slice(out, b->aco);
    JSON(out, "\",\"subGroup\":\"Medicare\",\"subPlan\":\"Part ");
    buffer_append_char(out, part);
    JSON(out, "\"},\"id\":\"part-");
    buffer_append_char(out, (char)(part + ('a' - 'A')));
    JSON(out, "-");
    beneficiary_id_append(out, b);
    JSON(out, "\",\"meta\":{\"lastUpdated\":\"");
    instant_append(out, load->instant);
    JSON(out,
         "\"},\"resourceType\":\"Coverage\",\"status\":\"active\",\"type\":{\"coding\":[{\"code\":\"Part ");
    buffer_append_char(out, part);
    JSON(out, "\",\"system\":\"Medicare\"}]}}\n");
}

static struct instant history_instant_draw(const struct beneficiary *b, struct random *random)
{
    int32_t january = day_at_or_after(day_from_date(HISTORY_END_YEAR - 1, 1, 2), 6);
    if (b->death_day < day_from_date(HISTORY_END_YEAR, 1, 1))
        return beneficiary_load_instant(b, day_at_or_after(b->death_day + 30, 6), COVERAGE_BATCH_CHANGED);
    if (random_chance(random, CHANGED_PERMILLE))
        return beneficiary_load_instant(b, january + 7 * (1 + (int32_t)random_below(random, 50)),
                                        COVERAGE_BATCH_CHANGED);
    return beneficiary_load_instant(b, january, COVERAGE_BATCH);
}

static void parts_write(struct buffer *out, const struct beneficiary *b, const struct coverage_load *of_week)
{
    struct random random;
    random_seed(&random, random_mix(b->seed, 'c'));
    /* Drawn also for a week, so that what follows stays as it was. */
    struct coverage_load load = {history_instant_draw(b, &random), HISTORY_END_YEAR - 1, 0};
    if (of_week)
        load = *of_week;
    for (char part = 'A'; part < 'A' + COVERAGE_PARTS; part++)
        part_write(out, b, part, &load, &random);
}

void coverage_write(struct buffer *out, const struct beneficiary *beneficiary)
{
    parts_write(out, beneficiary, NULL);
}

void coverage_update(struct buffer *out, const struct beneficiary *beneficiary, uint32_t week)
{
    int32_t day = week_day(week);
    uint32_t batch = week_is_yearly(week) ? COVERAGE_BATCH : COVERAGE_BATCH_CHANGED;
    struct coverage_load load = {beneficiary_load_instant(beneficiary, day, batch), date_from_day(day).year,
                                 week};
    parts_write(out, beneficiary, &load);
}
