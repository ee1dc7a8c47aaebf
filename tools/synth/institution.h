/*
 * What the claims of institutions (inpatient, skilled nursing, outpatient, home health, hospice) share:
 * who billed, and the lines by revenue center, of which the last is always the total (0001).
 *
 * Threading: plain functions.
 */
#ifndef TOOLS_SYNTH_INSTITUTION_H
#define TOOLS_SYNTH_INSTITUTION_H

#include "tools/synth/eob.h"

#define REVENUE_LINES_MAX 45

struct revenue_line {
    struct code revenue;
    struct code hcpcs; /* no value: none */
    int32_t day;
    uint32_t units;
    int64_t rate;
    int64_t charge;
    int64_t not_covered;
    int64_t coinsurance;
    int64_t deductible;
    int64_t paid;
};

struct institution_claim {
    struct facility facility;
    const char *kind;   /* for its name */
    uint64_t attending; /* NPI */
    uint64_t operating;
    uint32_t diagnosis_count;
    uint32_t line_count; /* with the total */
    struct revenue_line lines[REVENUE_LINES_MAX];
    int64_t charge; /* the sums of the lines */
    int64_t not_covered;
    int64_t coinsurance;
    int64_t deductible;
    int64_t paid;
};

/* How the lines of a family are drawn. */
struct revenue_plan {
    const struct code_list *revenue;
    const struct code_list *hcpcs; /* NULL: lines name no procedure */
    uint32_t hcpcs_permille;       /* of lines that name one */
    uint32_t cents;                /* a usual charge of a line */
    uint32_t line_count;           /* without the total */
    const char *kind;              /* of house, for its name: MEDICAL CENTER */
};

void institution_draw(struct institution_claim *institution, struct claim *claim,
                      const struct revenue_plan *plan);

/* Members of the resource. */
void institution_care_team(struct buffer *out, const struct institution_claim *institution);
void institution_facility(struct buffer *out, const struct institution_claim *institution, struct code type);
void institution_hospitalization(struct buffer *out, const struct claim *claim, int32_t from_day);
void institution_organization(struct buffer *out, const struct institution_claim *institution);
void institution_procedures(struct buffer *out, struct claim *claim, uint32_t count); /* nothing for 0 */
void institution_provider(struct buffer *out, const struct claim *claim,
                          const struct institution_claim *institution);
/* resourceType, status, totalCost and the begin of type, whose codings follow. */
void institution_close(struct buffer *out, const struct claim *claim,
                       const struct institution_claim *institution, const char *type_codings);

/* The member benefitBalance around days or visits (`name` and `title` as in a FIELD). */
void institution_balance_open(struct buffer *out);
void institution_balance(struct buffer *out, const struct field *field, uint32_t used);
void institution_balance_close(struct buffer *out);

/* Members of extension. */
void institution_extensions(struct buffer *out, struct claim *claim,
                            const struct institution_claim *institution, uint32_t control_permille);

/* Members of information. */
void institution_frequency(struct buffer *out, const struct claim *claim, uint32_t *sequence);
void institution_discharge(struct buffer *out, struct claim *claim, uint32_t *sequence);
void institution_payer(struct buffer *out, struct claim *claim, uint32_t *sequence);

/* The part of an item behind its adjudication: from careTeamLinkId to the closing brace. */
void institution_item_rest(struct buffer *out, struct claim *claim, const struct revenue_line *line,
                           uint32_t index, bool detailed);

extern const struct field adjudication_rate;
extern const struct field adjudication_charge;
extern const struct field adjudication_not_covered;
extern const struct field adjudication_payment;
extern const struct field adjudication_provider_payment;
extern const struct field adjudication_beneficiary_payment;
extern const struct field adjudication_first_reason;

#define CODING_CLAIM_TYPE(code, display)                                                                     \
    "{\"code\":\"" code "\",\"display\":\"" display "\",\"system\":\"" VARIABLE_URL "nch_clm_type_cd\"}"
#define CODING_EOB_TYPE(code) ",{\"code\":\"" code "\",\"system\":\"" CODESYSTEM_URL "eob-type\"}"
#define CODING_FHIR_TYPE(code, display)                                                                      \
    ",{\"code\":\"" code "\",\"display\":\"" display "\",\"system\":\"" FHIR_URL "ex-claimtype\"}"
#define CODING_NEAR_LINE(code, display)                                                                      \
    ",{\"code\":\"" code "\",\"display\":\"" display "\",\"system\":\"" VARIABLE_URL                         \
    "nch_near_line_rec_ident_cd\"}"
#define CODING_SERVICE_CLASS(code)                                                                           \
    ",{\"code\":\"" code "\",\"system\":\"" VARIABLE_URL "clm_srvc_clsfctn_type_cd\"}"
#define NEAR_LINE_PART_A                                                                                     \
    CODING_NEAR_LINE("V", "Part A institutional claim record (inpatient [IP], skilled nursing facility "     \
                          "[SNF], hospice [HOS], or home health agency [HHA])")
#define NEAR_LINE_PART_B CODING_NEAR_LINE("W", "Part B institutional claim record (outpatient [HOP], HHA)")

#endif
