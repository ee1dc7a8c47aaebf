/* Stays: inpatient hospital and skilled nursing facility (SNF), paid from Part A by admission. */
#include "tools/synth/institution.h"

/*
 * Nearly half the claims give only their total, the rest up to 45 lines: a mean of 12 with a median of 3, so
 * that the mean line count is a hospital's and the median size is that of the source's samples.
 */
#define TOTAL_ONLY_PERMILLE 470
#define MORE_PERMILLE       960

static const struct field balance_coinsurance_days =
    FIELD("bene_tot_coinsrnc_days_cnt", "Beneficiary Total Coinsurance Days Count");
static const struct field balance_unused_days =
    FIELD("clm_non_utlztn_days_cnt", "Claim Medicare Non Utilization Days Count");
static const struct field balance_days = FIELD("clm_utlztn_day_cnt", "Claim Medicare Utilization Day Count");

static const struct field amount_education = FIELD("ime_op_clm_val_amt", "");
static const struct field amount_share = FIELD("dsh_op_clm_val_amt", "");
static const struct field amount_per_diem = FIELD("clm_pass_thru_per_diem_amt", "");
static const struct field amount_professional = FIELD("nch_profnl_cmpnt_chrg_amt", "");
static const struct field amount_capital = FIELD("clm_tot_pps_cptl_amt", "");
static const struct field amount_deductible = FIELD("nch_bene_ip_ddctbl_amt", "");
static const struct field amount_coinsurance = FIELD("nch_bene_pta_coinsrnc_lblty_amt", "");
static const struct field amount_not_covered = FIELD("nch_ip_ncvrd_chrg_amt", "");
static const struct field amount_deductions = FIELD("nch_ip_tot_ddctn_amt", "");
static const struct field amount_capital_share = FIELD("clm_pps_cptl_dsprprtnt_shr_amt", "");
static const struct field amount_capital_exception = FIELD("clm_pps_cptl_excptn_amt", "");
static const struct field amount_capital_federal = FIELD("clm_pps_cptl_fsp_amt", "");
static const struct field amount_capital_education = FIELD("clm_pps_cptl_ime_amt", "");
static const struct field amount_capital_outlier = FIELD("clm_pps_cptl_outlier_amt", "");
static const struct field amount_hold_harmless = FIELD("clm_pps_old_cptl_hld_hrmls_amt", "");
static const struct field amount_outlier = FIELD("nch_drg_outlier_aprvd_pmt_amt", "");
static const struct field amount_blood = FIELD("nch_bene_blood_ddctbl_lblty_am", "");

static const struct field information_type =
    FIELD("clm_ip_admsn_type_cd", "Claim Inpatient Admission Type Code");
static const struct field information_source =
    FIELD("clm_src_ip_admsn_cd", "Claim Source Inpatient Admission Code");
static const struct field information_not_covered =
    FIELD("nch_vrfd_ncvrd_stay_from_dt", "NCH Verified Non-covered Stay From Date");
static const struct field information_exhausted =
    FIELD("nch_bene_mdcr_bnfts_exhtd_dt_i", "NCH Beneficiary Medicare Benefits Exhausted Date");
static const struct field information_status =
    FIELD("nch_ptnt_stus_ind_cd", "NCH Patient Status Indicator Code");
static const struct field information_blood =
    FIELD("nch_blood_pnts_frnshd_qty", "NCH Blood Pints Furnished Quantity");
static const struct field information_qualified =
    FIELD("nch_qlfyd_stay_from_dt", "NCH Qualified Stay From Date");
static const struct field information_managed = FIELD("clm_mco_pd_sw", "Claim MCO Paid Switch");

static const struct code hospital = CODE("1", "Hospital");
static const struct code nursing_facility = CODE("2", "Skilled Nursing Facility (SNF)");
static const struct code discharged = CODE("A", "Discharged");
static const struct code still_patient = CODE("C", "Still a patient");
static const struct code not_managed = CODE("0", "No managed care organization (MCO) payment");

static uint32_t stay_days(const struct claim *claim)
{
    return (uint32_t)(claim->through_day - claim->from_day) + 1;
}

static void balances(struct buffer *out, const struct claim *claim)
{
    uint32_t days = stay_days(claim);
    uint32_t free_days = claim->family == CLAIM_SNF ? 20 : 60;
    institution_balance_open(out);
    institution_balance(out, &balance_coinsurance_days, days > free_days ? days - free_days : 0);
    institution_balance(out, &balance_unused_days, 0);
    institution_balance(out, &balance_days, days);
    institution_balance_close(out);
}

static void diagnoses(struct buffer *out, struct claim *claim, struct institution_claim *institution)
{
    static const struct slice drg_system = TEXT(VARIABLE_URL "clm_drg_cd");
    struct random *random = &claim->random;
    JSON(out, "\"diagnosis\":[");
    uint32_t count = institution->diagnosis_count;
    eob_diagnoses(out, claim, count, DIAGNOSIS_ADMITTING_PRINCIPAL);
    if (random_chance(random, 180)) {
        eob_diagnosis(out, code_draw(external_cause_codes, random), DIAGNOSIS_EXTERNAL_FIRST, ++count);
        eob_diagnosis(out, code_draw(external_cause_codes, random), DIAGNOSIS_EXTERNAL, ++count);
    }
    json_next(out);
    JSON(out, "{\"packageCode\":");
    json_concept(out, code_draw(drg_codes, random), drg_system);
    JSON(out, ",\"sequence\":");
    json_integer(out, count + 1);
    JSON(out, "}],");
}

/* One amount in `permille` of claims, up to `percent` of what was paid. */
static int64_t share_draw(struct claim *claim, const struct institution_claim *institution, uint32_t permille,
                          int64_t percent)
{
    if (!random_chance(&claim->random, permille))
        return 0;
    return percent_of(institution->paid, percent) * random_between(&claim->random, 20, 100) / 100;
}

static void stay_extensions(struct buffer *out, struct claim *claim,
                            const struct institution_claim *institution)
{
    bool inpatient = claim->family == CLAIM_INPATIENT;
    int64_t deductible = institution->deductible;
    int64_t federal = share_draw(claim, institution, 500, 9);
    int64_t share = share_draw(claim, institution, 300, 4);
    int64_t education = share_draw(claim, institution, 250, 6);
    int64_t outlier = share_draw(claim, institution, 60, 30);
    JSON(out, "\"extension\":[");
    if (inpatient) {
        extension_money(out, &amount_education, education);
        extension_money(out, &amount_share, share);
        extension_money(out, &amount_per_diem, share_draw(claim, institution, 300, 3));
        extension_money(out, &amount_professional, share_draw(claim, institution, 350, 12));
        extension_money(out, &amount_capital, federal + share / 8);
    }
    extension_money(out, &amount_deductible, deductible);
    extension_money(out, &amount_coinsurance, institution->coinsurance);
    extension_money(out, &amount_not_covered, institution->not_covered);
    extension_money(out, &amount_deductions, deductible + institution->coinsurance);
    extension_money(out, &amount_capital_share, share / 8);
    extension_money(out, &amount_capital_exception, 0);
    extension_money(out, &amount_capital_federal, federal);
    extension_money(out, &amount_capital_education, education / 9);
    extension_money(out, &amount_capital_outlier, outlier / 7);
    extension_money(out, &amount_hold_harmless, 0);
    if (inpatient)
        extension_money(out, &amount_outlier, outlier);
    extension_money(out, &amount_blood, 0);
    institution_extensions(out, claim, institution, inpatient ? 300 : 740);
    JSON(out, "],");
}

static void stay_information(struct buffer *out, struct claim *claim)
{
    struct random *random = &claim->random;
    bool nursing = claim->family == CLAIM_SNF;
    uint32_t sequence = 0;
    JSON(out, "\"information\":[");
    information_processed(out, claim, &sequence);
    information_code(out, &information_type, code_draw(admission_type_codes, random), &sequence);
    information_code(out, &information_source, code_draw(admission_source_codes, random), &sequence);
    if (nursing) {
        int32_t before = claim->from_day - 3 - (int32_t)random_below(random, 9);
        if (random_chance(random, 300))
            information_period(out, &information_not_covered, claim->from_day, claim->through_day, &sequence);
        if (random_chance(random, 300))
            information_date(out, &information_exhausted, claim->through_day, &sequence);
        information_code(out, &information_status, random_chance(random, 700) ? discharged : still_patient,
                         &sequence);
        information_pints(out, &information_blood, random_geometric(random, 100, 9), &sequence);
        information_period(out, &information_qualified, before, claim->from_day, &sequence);
    } else {
        information_pints(out, &information_blood, random_geometric(random, 200, 9), &sequence);
    }
    information_code(out, &information_managed, not_managed, &sequence);
    institution_frequency(out, claim, &sequence);
    institution_discharge(out, claim, &sequence);
    institution_payer(out, claim, &sequence);
    JSON(out, "],");
}

static void stay_items(struct buffer *out, struct claim *claim, const struct institution_claim *institution)
{
    JSON(out, "\"item\":[");
    for (uint32_t i = 0; i < institution->line_count; i++) {
        const struct revenue_line *line = &institution->lines[i];
        json_next(out);
        JSON(out, "{\"adjudication\":[");
        adjudication_amount(out, &adjudication_rate, line->rate);
        adjudication_amount(out, &adjudication_charge, line->charge);
        adjudication_amount(out, &adjudication_not_covered, line->not_covered);
        JSON(out, "],");
        institution_item_rest(out, claim, line, i, claim->family == CLAIM_SNF);
    }
    JSON(out, "],");
}

static void stay_write(struct buffer *out, struct claim *claim, struct institution_claim *institution,
                       struct code type)
{
    bool inpatient = claim->family == CLAIM_INPATIENT;
    JSON(out, "{");
    balances(out, claim);
    eob_billable_period(out, claim, true);
    institution_care_team(out, institution);
    diagnoses(out, claim, institution);
    stay_extensions(out, claim, institution);
    institution_facility(out, institution, type);
    institution_hospitalization(out, claim, claim->from_day);
    eob_id(out, claim);
    stay_information(out, claim);
    eob_insurance(out, claim, 'a');
    stay_items(out, claim, institution);
    eob_meta(out, claim);
    institution_organization(out, institution);
    eob_patient(out, claim);
    eob_payment(out, institution->paid);
    institution_procedures(out, claim, inpatient ? random_geometric(&claim->random, 550, 6) : 1);
    institution_provider(out, claim, institution);
}

void inpatient_write(struct buffer *out, struct claim *claim)
{
    struct random *random = &claim->random;
    struct institution_claim institution;
    uint32_t lines = random_chance(random, TOTAL_ONLY_PERMILLE)
                         ? 0
                         : 1 + random_geometric(random, MORE_PERMILLE, REVENUE_LINES_MAX - 2);
    const struct revenue_plan plan = {
        &inpatient_revenue_codes, &outpatient_hcpcs, 150, 210000, lines, "HOSPITAL"};
    institution_draw(&institution, claim, &plan);
    institution.diagnosis_count = 3 + random_geometric(random, 750, 12);
    stay_write(out, claim, &institution, hospital);
    institution_close(out, claim, &institution,
                      CODING_CLAIM_TYPE("60", "Inpatient claim") CODING_EOB_TYPE("INPATIENT")
                          CODING_FHIR_TYPE("institutional", "Institutional")
                              NEAR_LINE_PART_A CODING_SERVICE_CLASS("1"));
}

void skilled_nursing_write(struct buffer *out, struct claim *claim)
{
    struct random *random = &claim->random;
    struct institution_claim institution;
    const struct revenue_plan plan = {
        &inpatient_revenue_codes,           &rate_hcpcs, 600, 190000, random_geometric(random, 400, 3),
        "NURSING AND REHABILITATION CENTER"};
    institution_draw(&institution, claim, &plan);
    institution.diagnosis_count = 5 + random_geometric(random, 600, 8);
    stay_write(out, claim, &institution, nursing_facility);
    institution_close(out, claim, &institution,
                      CODING_CLAIM_TYPE("20", "Non swing bed Skilled Nursing Facility (SNF) claim")
                          CODING_EOB_TYPE("SNF") CODING_FHIR_TYPE("institutional", "Institutional")
                              NEAR_LINE_PART_A CODING_SERVICE_CLASS("1"));
}
