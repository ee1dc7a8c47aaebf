/*
 * The parts that ExplanationOfBenefit lines of several claim families share. Each function appends what its
 * name says, with the key and a comma behind it where it writes a member of the resource; the family's
 * writer puts them in alphabetical order of keys.
 *
 * The beneficiary's own ACO is in every claim: extension aco_id_num.
 *
 * Threading: plain functions.
 */
#ifndef TOOLS_SYNTH_EOB_H
#define TOOLS_SYNTH_EOB_H

#include "tools/synth/claim.h"

/* The families' writers, in claim_*.c; each appends one line. */
void carrier_write(struct buffer *out, struct claim *claim);
void equipment_write(struct buffer *out, struct claim *claim);
void home_health_write(struct buffer *out, struct claim *claim);
void hospice_write(struct buffer *out, struct claim *claim);
void inpatient_write(struct buffer *out, struct claim *claim);
void outpatient_write(struct buffer *out, struct claim *claim);
void pharmacy_write(struct buffer *out, struct claim *claim);
void skilled_nursing_write(struct buffer *out, struct claim *claim);

/* Members of the resource. */
void eob_billable_period(struct buffer *out, const struct claim *claim, bool with_query_code);
void eob_id(struct buffer *out, const struct claim *claim); /* id and identifier, of all but PDE */
void eob_insurance(struct buffer *out, const struct claim *claim, char part);
void eob_meta(struct buffer *out, const struct claim *claim);
void eob_patient(struct buffer *out, const struct claim *claim);
void eob_payment(struct buffer *out, int64_t cents);
void eob_status(struct buffer *out, const struct claim *claim); /* resourceType and status */
/* Members of the array; they put the comma themselves. */
void eob_aco_extension(struct buffer *out, const struct claim *claim);

enum care_role { CARE_PRIMARY, CARE_OTHER, CARE_ASSIST };
/* One member of careTeam; `system` names what the number is. */
void eob_care_team(struct buffer *out, struct slice system, uint64_t provider, enum care_role role,
                   int sequence);

enum diagnosis_role {
    DIAGNOSIS_PLAIN,
    DIAGNOSIS_PRINCIPAL,
    DIAGNOSIS_ADMITTING_PRINCIPAL,
    DIAGNOSIS_EXTERNAL_FIRST,
    DIAGNOSIS_EXTERNAL
};
/* One member of diagnosis. */
void eob_diagnosis(struct buffer *out, struct code code, enum diagnosis_role role, uint32_t sequence);
/* `count` members from the beneficiary's own conditions and from all there are, the first principal. */
void eob_diagnoses(struct buffer *out, struct claim *claim, uint32_t count, enum diagnosis_role first);

/* Members of information; they count `sequence` up. */
void information_code(struct buffer *out, const struct field *field, struct code code, uint32_t *sequence);
void information_date(struct buffer *out, const struct field *field, int32_t day, uint32_t *sequence);
void information_period(struct buffer *out, const struct field *field, int32_t from, int32_t through,
                        uint32_t *sequence);
void information_pints(struct buffer *out, const struct field *field, int64_t pints, uint32_t *sequence);
void information_processed(struct buffer *out, const struct claim *claim, uint32_t *sequence);

/* Members of adjudication. */
void adjudication_amount(struct buffer *out, const struct field *field, int64_t cents);
void adjudication_reason(struct buffer *out, const struct field *field, struct code reason);

/* `share` hundredths of an amount, rounded. */
static inline int64_t percent_of(int64_t cents, int64_t percent)
{
    return (cents * percent + 50) / 100;
}

#endif
