/*
 * One synthetic beneficiary: all that is drawn for a person once and stays, whatever the size of the
 * dataset. Everything follows from (dataset seed, index of the ACO, index in the ACO), so that a dataset
 * with more beneficiaries, ACOs or years holds the smaller one's beneficiaries unchanged.
 *
 * Numbers: the person's number is aco_index * BENEFICIARIES_MAX + index. The bene id is
 * -(10^13 + number), negative as all synthetic ids are; the MBI has an S in second place, which no real one
 * has. The mbi-hash is 64 hexadecimal digits of the right look, not the source's PBKDF2. Provider numbers
 * (NPI) begin with 9, as no real one does.
 *
 * Threading: plain values; `aco` borrows the caller's text.
 */
#ifndef TOOLS_SYNTH_BENEFICIARY_H
#define TOOLS_SYNTH_BENEFICIARY_H

#include "tools/synth/calendar.h"
#include "tools/synth/codes.h"

#define BENEFICIARIES_MAX 1000000 /* of one ACO */
#define ACOS_MAX          800     /* beyond 899 claim ids would take a 15th digit (claim.h) */

#define BENE_NUMBER_BASE UINT64_C(10000000000000)
#define MBI_SIZE         11
#define MBI_HASH_SIZE    64
#define FORMER_MBIS_MAX  8

#define CONDITION_COUNT 6
#define DOCTOR_COUNT    5
#define FACILITY_COUNT  3
#define REGIMEN_COUNT   5

/* History ends here: what the weekly loads after it bring belongs to the updates. */
#define HISTORY_END_YEAR 2026 /* exclusive */

struct facility {
    uint64_t npi;
    uint32_t number; /* the last four digits of prvdr_num, after the state's two */
};

struct beneficiary {
    uint64_t seed;
    uint64_t number;
    uint32_t aco_index;
    uint32_t index;
    struct slice aco;
    char mbi[MBI_SIZE];
    uint32_t former_mbi_count;
    char former_mbis[FORMER_MBIS_MAX][MBI_SIZE]; /* the newest first */
    int32_t former_until[FORMER_MBIS_MAX];       /* the days on which they became obsolete */
    char mbi_hash[MBI_HASH_SIZE];

    bool female;
    bool disabled; /* entitled before 65 */
    bool renal;    /* end-stage renal disease */
    bool has_part_d;
    uint32_t race; /* 0..6 */
    int32_t birth_day;
    int32_t death_day; /* INT32_MAX: alive */
    struct slice family;
    struct slice given;
    char middle;
    const struct state *state;
    uint32_t county;
    uint32_t zip;
    uint32_t zip_plus; /* the last four of nine */

    uint32_t intensity_q16; /* how many claims he has compared with the mean; 0 for one in twelve */
    uint32_t conditions[CONDITION_COUNT]; /* indexes of diagnosis_codes */
    uint32_t regimen[REGIMEN_COUNT];      /* indexes of drugs */
    uint64_t doctors[DOCTOR_COUNT];       /* NPIs */
    struct facility facilities[FACILITY_COUNT];
    struct facility pharmacy;
    uint32_t carrier_number; /* five digits */
    uint32_t plan_contract;  /* four digits after the letter */
};

void beneficiary_draw(struct beneficiary *beneficiary, uint64_t dataset_seed, struct slice aco,
                      uint32_t aco_index, uint32_t index);

/* He moves house, mostly within his state. His providers stay. */
void beneficiary_move(struct beneficiary *beneficiary, struct random *random);
/* Gives him another MBI from `day` on. False, and nothing changed: he has had FORMER_MBIS_MAX. */
bool beneficiary_mbi_replace(struct beneficiary *beneficiary, int32_t day);

/* The NPI of one of his doctors or, as often, of another of his state. */
uint64_t beneficiary_provider_draw(const struct beneficiary *beneficiary, struct random *random);
/* One of his facilities or, one time in four, another of his state. */
struct facility beneficiary_facility_draw(const struct beneficiary *beneficiary, struct random *random);
/* Writes a name that follows from the facility: RIVERBEND MEMORIAL HOSPITAL. */
void facility_name_append(struct buffer *out, const struct facility *facility, const char *kind);

/* Writes -10000000000066. */
void beneficiary_id_append(struct buffer *out, const struct beneficiary *beneficiary);

/*
 * The instant at which the load of that Saturday wrote the rows of this beneficiary: a load goes through
 * an ACO's beneficiaries in order, and all rows of `batch` beneficiaries in a row are one write.
 */
struct instant beneficiary_load_instant(const struct beneficiary *beneficiary, int32_t day, uint32_t batch);

#endif
