#include "tools/synth/claim.h"

#include "codec/base/check.h"
#include "tools/synth/course.h"
#include "tools/synth/eob.h"

#define ADJUSTED_PERMILLE 12
#define CLAIM_BATCH       35 /* with 1.15 claims a week each: about 40 rows of one instant */

/* Of a thousand claims: about one in twenty is changed. */
#define REVISED_PERMILLE   35
#define CANCELLED_PERMILLE 8
#define REWRITTEN_PERMILLE 10
#define DELETED_PERMILLE   3
#define AGAIN_PERMILLE     150 /* of those revised or rewritten */
#define CHANGE_WEEKS       12  /* at most, from the load to the first change */
#define AGAIN_WEEKS        8   /* and from there to the second */

#define IDS_PER_BENEFICIARY UINT64_C(100000)

/*
 * Means per beneficiary and year in thousandths; for families that come in runs of consecutive periods,
 * the mean of runs (1 to 6 periods, 3.5 on average). The lag from service to processing is one week and
 * then one more with `lag_permille`: 720 gives a median of three weeks and a ninth decile of eight.
 */
static const struct family {
    struct slice name;
    uint32_t mean_permille;
    uint32_t lag_permille;
    bool runs;
    void (*write)(struct buffer *out, struct claim *claim);
} families[CLAIM_FAMILY_COUNT] = {
    [CLAIM_CARRIER] = {TEXT("carrier"), 22000, 720, false, carrier_write},
    [CLAIM_DME] = {TEXT("dme"), 1900, 720, false, equipment_write},
    [CLAIM_HHA] = {TEXT("hha"), 71, 720, true, home_health_write},
    [CLAIM_HOSPICE] = {TEXT("hospice"), 34, 720, true, hospice_write},
    [CLAIM_INPATIENT] = {TEXT("inpatient"), 270, 780, false, inpatient_write},
    [CLAIM_OUTPATIENT] = {TEXT("outpatient"), 4600, 720, false, outpatient_write},
    [CLAIM_PDE] = {TEXT("pde"), 30000, 350, false, pharmacy_write},
    [CLAIM_SNF] = {TEXT("snf"), 90, 780, false, skilled_nursing_write},
};

struct slice claim_family_name(enum claim_family family)
{
    return families[family].name;
}

void claim_id_append(struct buffer *out, const struct claim *claim)
{
    buffer_append_slice(out, claim_family_name(claim->family));
    JSON(out, "--");
    json_digits(out, claim->id, 14);
}

void claim_write(struct buffer *out, struct claim *claim)
{
    families[claim->family].write(out, claim);
}

void claim_cursor_init(struct claim_cursor *cursor, const struct beneficiary *beneficiary, int32_t first_year,
                       int32_t end_year, int32_t loaded_from, int32_t loaded_before)
{
    CHECK(first_year >= CLAIM_FIRST_YEAR && end_year <= CLAIM_END_YEAR);
    *cursor = (struct claim_cursor){
        .beneficiary = beneficiary,
        .first_year = first_year,
        .end_year = end_year,
        .loaded_from = loaded_from,
        .loaded_before = loaded_before,
        .year = first_year,
    };
}

static void year_begin(struct claim_cursor *cursor)
{
    const struct beneficiary *b = cursor->beneficiary;
    uint64_t stream = (uint64_t)cursor->year * CLAIM_FAMILY_COUNT + cursor->family;
    random_seed(&cursor->random, random_mix(b->seed, stream));
    cursor->rate_q16 = (uint64_t)families[cursor->family].mean_permille * b->intensity_q16 / 1000;
    if (cursor->family == CLAIM_PDE && !b->has_part_d)
        cursor->rate_q16 = 0;
    cursor->arrived_q16 = 0;
    cursor->place = 0;
    cursor->run_left = 0;
    cursor->year_open = true;
}

/* More care in winter and spring than in summer: cumulative thousandths at the months' ends. */
static int32_t seasonal_day(int32_t year, uint64_t fraction_q16)
{
    static const uint32_t months[] = {0, 91, 176, 267, 351, 434, 514, 590, 672, 754, 842, 921, 1000};
    uint32_t at = (uint32_t)(fraction_q16 * 1000 / Q16_ONE);
    int32_t month = 1;
    while (at >= months[month])
        month++;
    int32_t begin = day_from_date(year, month, 1);
    int32_t length =
        (month == 12 ? day_from_date(year + 1, 1, 1) : day_from_date(year, month + 1, 1)) - begin;
    uint64_t low = (uint64_t)months[month - 1] * Q16_ONE / 1000;
    uint64_t span = (uint64_t)(months[month] - months[month - 1]) * Q16_ONE / 1000 + 1;
    uint64_t rest = fraction_q16 > low ? fraction_q16 - low : 0;
    int32_t day = begin + (int32_t)(rest * (uint64_t)length / span);
    return day < begin + length ? day : begin + length - 1;
}

static int32_t stay_end(enum claim_family family, int32_t from_day, struct random *random)
{
    switch (family) {
    case CLAIM_CARRIER:
        return from_day + (random_chance(random, 70) ? (int32_t)random_below(random, 6) : 0);
    case CLAIM_OUTPATIENT:
        return from_day + (random_chance(random, 120) ? (int32_t)random_below(random, 30) : 0);
    case CLAIM_INPATIENT:
        return from_day + 1 + (int32_t)random_geometric(random, 790, 60);
    case CLAIM_SNF:
        return from_day + 4 + (int32_t)random_below(random, 26);
    case CLAIM_HHA:
    case CLAIM_HOSPICE:
        return from_day + 29;
    case CLAIM_DME:
    case CLAIM_PDE:
    case CLAIM_FAMILY_COUNT:
        break;
    }
    return from_day;
}

/* Draws the next claim of the open year; false when the year is over. */
static bool arrival_next(struct claim_cursor *cursor, struct claim *claim)
{
    const struct family *family = &families[cursor->family];
    struct random *random = &cursor->random;
    if (cursor->place >= CLAIMS_A_YEAR_MAX - 1) /* one more place for an adjustment */
        return false;
    if (cursor->run_left) {
        cursor->run_left--;
    } else {
        if (!cursor->rate_q16)
            return false;
        cursor->arrived_q16 += random_exponential_q16(random);
        if (cursor->arrived_q16 >= cursor->rate_q16)
            return false;
        cursor->run_day = seasonal_day(cursor->year, cursor->arrived_q16 * Q16_ONE / cursor->rate_q16);
        /* Offices are closed on most weekends. */
        if (cursor->family == CLAIM_CARRIER || cursor->family == CLAIM_OUTPATIENT)
            while (day_weekday(cursor->run_day) % 6 == 0 && random_chance(random, 850))
                cursor->run_day++;
        if (family->runs)
            cursor->run_left = random_below(random, 6);
    }
    *claim = (struct claim){.beneficiary = cursor->beneficiary, .family = cursor->family};
    claim->from_day = cursor->run_day;
    claim->through_day = stay_end(cursor->family, claim->from_day, random);
    cursor->run_day = claim->through_day + 1;
    int32_t weeks = 1 + (int32_t)random_geometric(random, family->lag_permille, 40);
    claim->processed_day = day_at_or_after(claim->through_day + 7 * weeks - 6, 5);
    return true;
}

static void claim_number(struct claim_cursor *cursor, struct claim *claim)
{
    uint64_t slot = (uint64_t)(cursor->year - CLAIM_FIRST_YEAR) * CLAIM_FAMILY_COUNT + cursor->family;
    claim->id = BENE_NUMBER_BASE + cursor->beneficiary->number * IDS_PER_BENEFICIARY +
                slot * CLAIMS_A_YEAR_MAX + cursor->place++;
    if (!claim->adjusted)
        claim->group = claim->id;
    random_seed(&claim->random, random_mix(cursor->beneficiary->seed, claim->group));
}

/* False if death or the load window leave it out. */
static bool claim_place(struct claim_cursor *cursor, struct claim *claim)
{
    const struct beneficiary *b = claim->beneficiary;
    if (claim->from_day > b->death_day)
        return false;
    if (claim->through_day > b->death_day)
        claim->through_day = b->death_day;
    /* What is processed on a Friday is in the load of the Saturday a week later. */
    claim->load_day = claim->processed_day + 8;
    if (claim->load_day < cursor->loaded_from || claim->load_day >= cursor->loaded_before)
        return false;
    claim->loaded = beneficiary_load_instant(b, claim->load_day, CLAIM_BATCH);
    return true;
}

static bool year_next(struct claim_cursor *cursor)
{
    cursor->year_open = false;
    if (++cursor->year < cursor->end_year)
        return true;
    cursor->year = cursor->first_year;
    return ++cursor->family < CLAIM_FAMILY_COUNT;
}

bool claim_next(struct claim_cursor *cursor, struct claim *ret_claim)
{
    while (cursor->family < CLAIM_FAMILY_COUNT && cursor->first_year < cursor->end_year) {
        if (!cursor->year_open)
            year_begin(cursor);
        struct claim claim;
        if (cursor->adjust_next) {
            claim = cursor->last;
            claim.adjusted = true;
            claim.processed_day += 7 * (int32_t)(2 + random_below(&cursor->random, 10));
            cursor->adjust_next = false;
        } else {
            if (!arrival_next(cursor, &claim)) {
                if (!year_next(cursor))
                    return false;
                continue;
            }
            cursor->adjust_next = random_chance(&cursor->random, ADJUSTED_PERMILLE);
        }
        claim_number(cursor, &claim);
        cursor->last = claim;
        if (claim_place(cursor, &claim)) {
            *ret_claim = claim;
            return true;
        }
    }
    return false;
}

static enum claim_change change_draw(struct random *random)
{
    static const struct {
        enum claim_change change;
        uint32_t permille;
    } changes[] = {{CLAIM_REVISED, REVISED_PERMILLE},
                   {CLAIM_CANCELLED, CANCELLED_PERMILLE},
                   {CLAIM_REWRITTEN, REWRITTEN_PERMILLE},
                   {CLAIM_DELETED, DELETED_PERMILLE}};
    uint32_t permille = random_below(random, 1000);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        if (permille < changes[i].permille)
            return changes[i].change;
        permille -= changes[i].permille;
    }
    return CLAIM_UNCHANGED;
}

static enum claim_change second_change_draw(struct random *random)
{
    uint32_t percent = random_below(random, 100);
    return percent < 60 ? CLAIM_REVISED : percent < 90 ? CLAIM_CANCELLED : CLAIM_DELETED;
}

static void change_apply(struct claim *claim, enum claim_change change, int32_t day)
{
    if (change == CLAIM_REVISED)
        claim->revision++;
    if (change == CLAIM_CANCELLED)
        claim->cancelled = true;
    if (change == CLAIM_REVISED || change == CLAIM_CANCELLED)
        claim->processed_day = day - 8;
}

enum claim_change claim_advance(struct claim *claim, uint32_t week)
{
    _Static_assert(CHANGE_WEEKS + AGAIN_WEEKS <= CLAIM_CHANGE_WEEKS_MAX, "a change must be found");
    int32_t first = week_day(1);
    int32_t today = week_day(week);
    enum claim_change of_today = claim->load_day == today ? CLAIM_NEW : CLAIM_UNCHANGED;
    struct random random;
    random_seed(&random, random_mix(random_mix(claim->beneficiary->seed, 'u'), claim->id));
    enum claim_change change = change_draw(&random);
    int32_t day = claim->load_day + 7 * (1 + (int32_t)random_below(&random, CHANGE_WEEKS));
    for (int i = 0; i < 2 && change != CLAIM_UNCHANGED && day <= today; i++) {
        bool is_last = change == CLAIM_CANCELLED || change == CLAIM_DELETED;
        if (day >= first) { /* what would have been in the base did not happen */
            if (change == CLAIM_DELETED)
                return day == today ? CLAIM_DELETED : CLAIM_GONE;
            change_apply(claim, change, day);
            if (day == today)
                of_today = change;
        }
        bool again = !is_last && random_chance(&random, AGAIN_PERMILLE);
        change = again ? second_change_draw(&random) : CLAIM_UNCHANGED;
        day += 7 * (1 + (int32_t)random_below(&random, AGAIN_WEEKS));
    }
    claim->loaded = beneficiary_load_instant(claim->beneficiary, today, CLAIM_BATCH);
    return of_today;
}

int64_t claim_paid(const struct claim *claim, int64_t cents)
{
    if (claim->cancelled)
        return 0;
    return claim->revision ? percent_of(cents, 100 - 4 * (int64_t)claim->revision) : cents;
}
