#include "tools/synth/course.h"

#include "codec/base/check.h"

#define JOINED_PERMILLE 3 /* of the size in the base, in a week; others come back or from another ACO */

#define MEMBERSHIP_WEEKS   200 /* mean from joining to leaving */
#define AWAY_WEEKS         20  /* mean of staying away */
#define LEFT_PERMILLE      600 /* of those who go: the others go to the next ACO */
#define CHANGE_WEEKS_LEAST 4
#define CHANGE_WEEKS       300 /* mean from one change of a person to the next, beyond the least */
#define COVERAGE_PERMILLE  10

static const uint32_t moved_permille = 400, renamed_permille = 150,
                      new_mbi_permille = 250; /* the rest dies */

int32_t week_day(uint32_t week)
{
    return day_at_or_after(day_from_date(HISTORY_END_YEAR, 1, 1), 6) + 7 * ((int32_t)week - 1);
}

bool week_is_yearly(uint32_t week)
{
    int32_t day = week_day(week);
    return day == day_at_or_after(day_from_date(date_from_day(day).year, 1, 2), 6);
}

uint32_t course_count(uint32_t base_count, uint32_t week)
{
    uint64_t joined = (uint64_t)base_count * week * JOINED_PERMILLE / 1000;
    uint64_t room = BENEFICIARIES_MAX - base_count;
    return base_count + (uint32_t)(joined < room ? joined : room);
}

uint32_t course_joined(uint32_t base_count, uint32_t index)
{
    if (index < base_count)
        return 0;
    uint64_t a_week = (uint64_t)base_count * JOINED_PERMILLE;
    return (uint32_t)((((uint64_t)index - base_count + 1) * 1000 + a_week - 1) / a_week);
}

static uint32_t weeks_draw(struct random *random, uint32_t least, uint32_t mean)
{
    return least + (uint32_t)(((uint64_t)random_exponential_q16(random) * mean) >> 16);
}

uint32_t course_aco(const struct beneficiary *b, uint32_t joined, uint32_t week, bool shared,
                    uint32_t aco_count)
{
    CHECK(week >= joined);
    struct random random;
    random_seed(&random, random_mix(b->seed, 'm'));
    uint32_t aco = b->aco_index;
    uint32_t next = joined + weeks_draw(&random, 1, MEMBERSHIP_WEEKS);
    while (next <= week) {
        if (aco == b->aco_index) {
            bool left = random_chance(&random, LEFT_PERMILLE);
            aco = left || shared || aco_count == 1 ? COURSE_NO_ACO : (b->aco_index + 1) % aco_count;
        } else {
            aco = b->aco_index;
        }
        next += weeks_draw(&random, 1, aco == COURSE_NO_ACO ? AWAY_WEEKS : MEMBERSHIP_WEEKS);
    }
    return aco;
}

/* A death is reported some weeks late, and none happened in the base. */
static int32_t death_draw(struct random *random, uint32_t week)
{
    int32_t day = week_day(week) - 8 - (int32_t)random_below(random, 30);
    int32_t first = day_from_date(HISTORY_END_YEAR, 1, 1);
    return day < first ? first : day;
}

/* Applies the next change, which the load of `week` brings. False: he dies. */
static bool change_apply(struct beneficiary *b, struct random *random, uint32_t week)
{
    uint32_t kind = random_below(random, 1000);
    if (kind < moved_permille) {
        beneficiary_move(b, random);
        return true;
    }
    kind -= moved_permille;
    if (kind < renamed_permille) {
        b->family = family_names.names[random_below(random, family_names.count)];
        return true;
    }
    kind -= renamed_permille;
    if (kind < new_mbi_permille && beneficiary_mbi_replace(b, week_day(week) - 5))
        return true;
    b->death_day = death_draw(random, week);
    return false;
}

static bool advance(struct beneficiary *b, uint32_t week)
{
    if (b->death_day != INT32_MAX)
        return false;
    struct random random;
    random_seed(&random, random_mix(b->seed, 'w'));
    uint32_t next = weeks_draw(&random, 1, CHANGE_WEEKS);
    bool changed = false;
    while (next <= week) {
        changed = next == week;
        if (!change_apply(b, &random, next))
            break;
        next += weeks_draw(&random, CHANGE_WEEKS_LEAST, CHANGE_WEEKS);
    }
    return changed;
}

void course_foresee(struct beneficiary *beneficiary)
{
    struct beneficiary later = *beneficiary;
    advance(&later, WEEKS_MAX);
    beneficiary->death_day = later.death_day;
}

bool course_advance(struct beneficiary *beneficiary, uint32_t week)
{
    return advance(beneficiary, week);
}

bool course_coverage_changes(const struct beneficiary *b, uint32_t week)
{
    return random_mix(random_mix(b->seed, 'v'), week) % 1000 < COVERAGE_PERMILLE;
}
