/* Care in runs of periods: home health agency (HHA, Part B) and hospice (Part A). */
#include "tools/synth/institution.h"

static const struct field balance_visits = FIELD("clm_hha_tot_visit_cnt", "Claim HHA Total Visit Count");
static const struct field balance_days = FIELD("clm_utlztn_day_cnt", "Claim Medicare Utilization Day Count");
static const struct field information_status =
    FIELD("nch_ptnt_stus_ind_cd", "NCH Patient Status Indicator Code");
static const struct field information_low_use =
    FIELD("clm_hha_lupa_ind_cd", "Claim HHA Low Utilization Payment Adjustment (LUPA) Indicator Code");

static const struct code agency = CODE("3", "Home Health Agency (HHA)");
static const struct code special_facility =
    CODE("8", "Ambulatory Surgery Center (ASC) or other special facility (e.g. hospice)");
static const struct code low_use = CODE("L", "Low utilization payment adjustment (LUPA) claim");
static const struct code discharged = CODE("A", "Discharged");
static const struct code still_patient = CODE("C", "Still a patient");

static void home_items(struct buffer *out, struct claim *claim, const struct institution_claim *institution)
{
    bool hospice = claim->family == CLAIM_HOSPICE;
    JSON(out, "\"item\":[");
    for (uint32_t i = 0; i < institution->line_count; i++) {
        const struct revenue_line *line = &institution->lines[i];
        json_next(out);
        JSON(out, "{\"adjudication\":[");
        if (hospice) {
            adjudication_amount(out, &adjudication_provider_payment, line->paid);
            adjudication_amount(out, &adjudication_beneficiary_payment, 0);
        }
        adjudication_amount(out, &adjudication_rate, line->rate);
        adjudication_amount(out, &adjudication_charge, line->charge);
        adjudication_amount(out, &adjudication_not_covered, line->not_covered);
        adjudication_amount(out, &adjudication_payment, line->paid);
        JSON(out, "],");
        institution_item_rest(out, claim, line, i, hospice);
    }
    JSON(out, "],");
}

static void home_write(struct buffer *out, struct claim *claim, struct institution_claim *institution)
{
    struct random *random = &claim->random;
    bool hospice = claim->family == CLAIM_HOSPICE;
    uint32_t days = (uint32_t)(claim->through_day - claim->from_day) + 1;
    uint32_t sequence = 0;

    JSON(out, "{");
    institution_balance_open(out);
    if (hospice)
        institution_balance(out, &balance_days, days);
    else
        institution_balance(out, &balance_visits, 1 + random_below(random, days));
    institution_balance_close(out);
    eob_billable_period(out, claim, false);
    if (hospice)
        institution_care_team(out, institution);
    JSON(out, "\"diagnosis\":[");
    eob_diagnoses(out, claim, institution->diagnosis_count, DIAGNOSIS_PRINCIPAL);
    JSON(out, "],\"extension\":[");
    institution_extensions(out, claim, institution, hospice ? 590 : 200);
    JSON(out, "],");
    institution_facility(out, institution, hospice ? special_facility : agency);
    if (hospice)
        institution_hospitalization(out, claim, claim->from_day);
    eob_id(out, claim);
    JSON(out, "\"information\":[");
    information_processed(out, claim, &sequence);
    if (hospice)
        information_code(out, &information_status, random_chance(random, 400) ? discharged : still_patient,
                         &sequence);
    institution_frequency(out, claim, &sequence);
    institution_discharge(out, claim, &sequence);
    institution_payer(out, claim, &sequence);
    if (!hospice && random_chance(random, 120))
        information_code(out, &information_low_use, low_use, &sequence);
    JSON(out, "],");
    eob_insurance(out, claim, hospice ? 'a' : 'b');
    home_items(out, claim, institution);
    eob_meta(out, claim);
    if (hospice || random_chance(random, 400))
        institution_organization(out, institution);
    eob_patient(out, claim);
    eob_payment(out, institution->paid);
    institution_provider(out, claim, institution);
}

void home_health_write(struct buffer *out, struct claim *claim)
{
    struct random *random = &claim->random;
    struct institution_claim institution;
    const struct revenue_plan plan = {&home_health_revenue_codes,
                                      &home_health_hcpcs,
                                      500,
                                      21000,
                                      random_chance(random, 700) ? 0 : 1 + random_below(random, 2),
                                      "HOME HEALTH AGENCY"};
    institution_draw(&institution, claim, &plan);
    institution.diagnosis_count = 2 + random_geometric(random, 400, 8);
    home_write(out, claim, &institution);
    institution_close(out, claim, &institution,
                      CODING_CLAIM_TYPE("10", "Home Health Agency (HHA) claim") CODING_EOB_TYPE("HHA")
                          NEAR_LINE_PART_B CODING_SERVICE_CLASS("2"));
}

void hospice_write(struct buffer *out, struct claim *claim)
{
    struct random *random = &claim->random;
    struct institution_claim institution;
    const struct revenue_plan plan = {&hospice_revenue_codes,
                                      &hospice_hcpcs,
                                      800,
                                      320000,
                                      random_chance(random, 600) ? 0 : 1 + random_geometric(random, 200, 2),
                                      "HOSPICE"};
    institution_draw(&institution, claim, &plan);
    institution.diagnosis_count = 2 + random_geometric(random, 400, 8);
    home_write(out, claim, &institution);
    institution_close(out, claim, &institution,
                      CODING_CLAIM_TYPE("50", "Hospice claim") CODING_EOB_TYPE("HOSPICE")
                          CODING_FHIR_TYPE("institutional", "Institutional")
                              NEAR_LINE_PART_A CODING_SERVICE_CLASS("1"));
}
