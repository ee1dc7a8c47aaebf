#include "tools/synth/beneficiary.h"

#include "codec/base/check.h"

#define GIANT_PERMILLE      1
#define GIANT_INTENSITY_Q16 (20 * Q16_ONE)
#define IDLE_PERMILLE       80
#define INTENSITY_MU_Q16    (-20972) /* -0.32 */
#define INTENSITY_SIGMA_Q16 52429    /* 0.8: together mean 1 */
#define PART_D_PERMILLE     700
#define DEATH_PERMILLE      80
#define DISABLED_PERMILLE   140
#define RENAL_PERMILLE      12
#define NEW_MBI_PERMILLE    30

#define MBI_COUNT UINT64_C(72000000000)
#define MBI_STEP  UINT64_C(1000000000) /* more than numbers of beneficiaries: a new MBI is nobody's first */

#define DOCTORS_PER_STATE    4000
#define FACILITIES_PER_STATE 120

#define LOAD_BEGIN_MS           (2 * 3600 * 1000)
#define LOAD_MS_PER_BENEFICIARY 37 /* so that a million take ten hours: a load ends on its day */

/* Positions of an MBI are of kinds; letters leave out S, L, O, I, B and Z. */
static void mbi_draw(char mbi[MBI_SIZE], uint64_t number)
{
    static const char letters[] = "ACDEFGHJKMNPQRTUVWXY";
    static const char both[] = "0123456789ACDEFGHJKMNPQRTUVWXY";
    static const char digits[] = "0123456789";
    static const struct {
        const char *set;
        uint32_t size;
    } positions[] = {{digits, 10}, {digits, 10},  {letters, 20}, {letters, 20}, {digits, 10},
                     {both, 30},   {letters, 20}, {digits, 10},  {both, 30}};
    static const int places[] = {10, 9, 8, 7, 6, 5, 4, 3, 2};
    mbi[0] = '1';
    mbi[1] = 'S';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        mbi[places[i]] = positions[i].set[number % positions[i].size];
        number /= positions[i].size;
    }
    CHECK(number == 0);
}

static void mbi_hash_draw(char hash[MBI_HASH_SIZE], uint64_t seed)
{
    struct random random;
    random_seed(&random, random_mix(seed, 'h'));
    for (int i = 0; i < MBI_HASH_SIZE;) {
        uint64_t word = random_word(&random);
        for (int nibble = 0; nibble < 16; nibble++, word >>= 4)
            hash[i++] = "0123456789abcdef"[word & 15];
    }
}

/* Providers serve many: a beneficiary draws his from those of his state, a few of which draw most. */
static uint64_t npi_draw(struct random *random, const struct state *state, uint32_t count, uint64_t kind)
{
    uint64_t state_seed = random_mix(kind, (uint64_t)(state - states.states));
    return UINT64_C(9000000000) + random_mix(state_seed, random_skewed(random, count)) % UINT64_C(1000000000);
}

static struct facility facility_draw(struct random *random, const struct state *state, uint64_t kind)
{
    uint64_t npi = npi_draw(random, state, FACILITIES_PER_STATE, kind);
    return (struct facility){npi, (uint32_t)(npi % 880)};
}

static void residence_draw(struct beneficiary *b, struct random *random)
{
    b->county = random_below(random, 60) * 2 + 1;
    b->zip = b->state->zip_prefix * 100U + random_below(random, 100);
    b->zip_plus = random_below(random, 10000);
}

static void person_draw(struct beneficiary *b, struct random *random)
{
    static const uint32_t race_of_hundred[] = {75, 10, 3, 4, 6, 1}; /* codes 1..6; the rest is 0, unknown */
    uint32_t percent = random_below(random, 100);
    b->race = 0;
    for (uint32_t i = 0, sum = 0; i < 6; i++) {
        sum += race_of_hundred[i];
        if (percent < sum) {
            b->race = i + 1;
            break;
        }
    }
    b->female = random_chance(random, 550);
    b->disabled = random_chance(random, DISABLED_PERMILLE);
    b->renal = random_chance(random, RENAL_PERMILLE);
    int32_t end = day_from_date(HISTORY_END_YEAR, 1, 1);
    int64_t age_days = b->disabled ? random_between(random, 38 * 365, 64 * 365)
                                   : 66 * 365 + (int64_t)random_skewed(random, 33 * 365);
    b->birth_day = end - (int32_t)age_days;
    b->death_day = INT32_MAX;
    if (random_chance(random, DEATH_PERMILLE))
        b->death_day = end - 50 - (int32_t)random_below(random, 310);
    b->family = family_names.names[random_below(random, family_names.count)];
    struct name_list given = b->female ? female_names : male_names;
    b->given = given.names[random_below(random, given.count)];
    b->middle = (char)('A' + random_below(random, 26));
    residence_draw(b, random);
}

void beneficiary_move(struct beneficiary *b, struct random *random)
{
    if (random_chance(random, 200))
        b->state = &states.states[random_below(random, states.count)];
    residence_draw(b, random);
}

bool beneficiary_mbi_replace(struct beneficiary *b, int32_t day)
{
    uint32_t count = b->former_mbi_count;
    if (count == FORMER_MBIS_MAX)
        return false;
    memmove(b->former_mbis[1], b->former_mbis[0], count * sizeof b->former_mbis[0]);
    memmove(b->former_until + 1, b->former_until, count * sizeof b->former_until[0]);
    memcpy(b->former_mbis[0], b->mbi, MBI_SIZE);
    b->former_until[0] = day;
    b->former_mbi_count = count + 1;
    mbi_draw(b->mbi, b->number + b->former_mbi_count * MBI_STEP);
    return true;
}

void beneficiary_draw(struct beneficiary *b, uint64_t dataset_seed, struct slice aco, uint32_t aco_index,
                      uint32_t index)
{
    CHECK(aco_index < ACOS_MAX && index < BENEFICIARIES_MAX);
    b->number = (uint64_t)aco_index * BENEFICIARIES_MAX + index;
    b->seed = random_mix(dataset_seed, b->number);
    b->aco_index = aco_index;
    b->index = index;
    b->aco = aco;
    mbi_draw(b->mbi, b->number);
    mbi_hash_draw(b->mbi_hash, b->seed);

    struct random random;
    random_seed(&random, random_mix(b->seed, 'b'));
    /* Two thirds of an ACO live in its own state. */
    b->state = random_chance(&random, 667) ? &states.states[aco_index % states.count]
                                           : &states.states[random_below(&random, states.count)];
    person_draw(b, &random);
    b->former_mbi_count = 0;
    if (random_chance(&random, NEW_MBI_PERMILLE)) {
        mbi_draw(b->former_mbis[0], MBI_COUNT - 1 - b->number);
        b->former_until[0] = day_from_date(HISTORY_END_YEAR, 1, 1) - 400 - (int32_t)(b->seed % 900);
        b->former_mbi_count = 1;
    }
    b->has_part_d = random_chance(&random, PART_D_PERMILLE);
    b->intensity_q16 = random_lognormal_q16(&random, INTENSITY_MU_Q16, INTENSITY_SIGMA_Q16);
    if (b->intensity_q16 > GIANT_INTENSITY_Q16)
        b->intensity_q16 = GIANT_INTENSITY_Q16;
    if (random_chance(&random, IDLE_PERMILLE))
        b->intensity_q16 = 0;
    if (random_chance(&random, GIANT_PERMILLE))
        b->intensity_q16 = GIANT_INTENSITY_Q16;

    for (int i = 0; i < CONDITION_COUNT; i++)
        b->conditions[i] = random_skewed(&random, diagnosis_codes.count);
    for (int i = 0; i < REGIMEN_COUNT; i++)
        b->regimen[i] = random_skewed(&random, drugs.count);
    for (int i = 0; i < DOCTOR_COUNT; i++)
        b->doctors[i] = npi_draw(&random, b->state, DOCTORS_PER_STATE, 'd');
    for (int i = 0; i < FACILITY_COUNT; i++)
        b->facilities[i] = facility_draw(&random, b->state, 'f');
    b->pharmacy = facility_draw(&random, b->state, 'p');
    b->carrier_number = 1000 + (uint32_t)(b->state - states.states) * 317 + random_below(&random, 3) * 11;
    b->plan_contract = 1000 + random_below(&random, 400);
}

uint64_t beneficiary_provider_draw(const struct beneficiary *b, struct random *random)
{
    return random_chance(random, 500) ? b->doctors[random_below(random, DOCTOR_COUNT)]
                                      : npi_draw(random, b->state, DOCTORS_PER_STATE, 'd');
}

struct facility beneficiary_facility_draw(const struct beneficiary *b, struct random *random)
{
    return random_chance(random, 750) ? b->facilities[random_skewed(random, FACILITY_COUNT)]
                                      : facility_draw(random, b->state, 'f');
}

void facility_name_append(struct buffer *out, const struct facility *facility, const char *kind)
{
    static const char *const middles[] = {"", "MEMORIAL ", "REGIONAL ", "COMMUNITY ", "GENERAL ", "CENTRAL "};
    uint64_t choice = random_mix(facility->npi, 'n');
    buffer_append_slice(out, facility_names.names[choice % facility_names.count]);
    buffer_append_char(out, ' ');
    buffer_append_text(out, middles[choice / 1000 % (sizeof middles / sizeof middles[0])]);
    buffer_append_text(out, kind);
}

void beneficiary_id_append(struct buffer *out, const struct beneficiary *beneficiary)
{
    JSON(out, "-");
    json_digits(out, BENE_NUMBER_BASE + beneficiary->number, 14);
}

struct instant beneficiary_load_instant(const struct beneficiary *beneficiary, int32_t day, uint32_t batch)
{
    uint32_t begin = LOAD_BEGIN_MS + (uint32_t)(random_mix('l', (uint64_t)day) % (40 * 60 * 1000));
    uint32_t first = beneficiary->index - beneficiary->index % batch;
    return instant_of_load(day,
                           (int32_t)(begin + first * LOAD_MS_PER_BENEFICIARY + beneficiary->aco_index % 300));
}
