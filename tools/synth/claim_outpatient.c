/* Hospital outpatient claims: lines with the fullest adjudication of all. */
#include "tools/synth/institution.h"

/* Half and more give only their total; the others' lines bring the mean to four. */
#define TOTAL_ONLY_PERMILLE 620
#define MORE_PERMILLE       875

static const struct field amount_professional = FIELD("nch_profnl_cmpnt_chrg_amt", "");
static const struct field amount_deductible = FIELD("nch_bene_ptb_ddctbl_amt", "");
static const struct field amount_coinsurance = FIELD("nch_bene_ptb_coinsrnc_amt", "");
static const struct field amount_provider = FIELD("clm_op_prvdr_pmt_amt", "");
static const struct field amount_beneficiary = FIELD("clm_op_bene_pmt_amt", "");
static const struct field amount_blood = FIELD("nch_bene_blood_ddctbl_lblty_am", "");
static const struct field information_managed = FIELD("clm_mco_pd_sw", "Claim MCO Paid Switch");

static const struct field adjudication_blood =
    FIELD("rev_cntr_blood_ddctbl_amt", "Revenue Center Blood Deductible Amount");
static const struct field adjudication_deductible =
    FIELD("rev_cntr_cash_ddctbl_amt", "Revenue Center Cash Deductible Amount");
static const struct field adjudication_wage =
    FIELD("rev_cntr_coinsrnc_wge_adjstd_c", "Revenue Center Coinsurance/Wage Adjusted Coinsurance Amount");
static const struct field adjudication_reduced =
    FIELD("rev_cntr_rdcd_coinsrnc_amt", "Revenue Center Reduced Coinsurance Amount");
static const struct field adjudication_first_other =
    FIELD("rev_cntr_1st_msp_pd_amt", "Revenue Center 1st Medicare Secondary Payer (MSP) Paid Amount");
static const struct field adjudication_second_other =
    FIELD("rev_cntr_2nd_msp_pd_amt", "Revenue Center 2nd Medicare Secondary Payer (MSP) Paid Amount");
static const struct field adjudication_patient =
    FIELD("rev_cntr_ptnt_rspnsblty_pmt", "Revenue Center Patient Responsibility Payment Amount");

static const struct code hospital = CODE("1", "Hospital");
static const struct code clinic = CODE("7", "Clinic services or hospital-based renal dialysis facility");
static const struct code not_managed = CODE("0", "No managed care organization (MCO) payment");

static void visit_extensions(struct buffer *out, struct claim *claim,
                             const struct institution_claim *institution)
{
    int64_t professional = random_chance(&claim->random, 300) ? percent_of(institution->charge, 11) : 0;
    JSON(out, "\"extension\":[");
    extension_money(out, &amount_professional, professional);
    extension_money(out, &amount_deductible, institution->deductible);
    extension_money(out, &amount_coinsurance, institution->coinsurance);
    extension_money(out, &amount_provider, institution->paid);
    extension_money(out, &amount_beneficiary, 0);
    extension_money(out, &amount_blood, 0);
    institution_extensions(out, claim, institution, 60);
    JSON(out, "],");
}

static void visit_information(struct buffer *out, struct claim *claim)
{
    uint32_t sequence = 0;
    JSON(out, "\"information\":[");
    information_processed(out, claim, &sequence);
    information_code(out, &information_managed, not_managed, &sequence);
    institution_frequency(out, claim, &sequence);
    institution_discharge(out, claim, &sequence);
    institution_payer(out, claim, &sequence);
    JSON(out, "],");
}

static void visit_item(struct buffer *out, struct claim *claim, const struct revenue_line *line,
                       uint32_t index)
{
    json_next(out);
    JSON(out, "{\"adjudication\":[");
    if (line->hcpcs.value.size && random_chance(&claim->random, 350))
        adjudication_reason(out, &adjudication_first_reason, code_draw(reason_codes, &claim->random));
    struct random *random = &claim->random;
    int64_t other_paid =
        random_chance(random, 80) ? percent_of(line->charge, random_between(random, 5, 60)) : 0;
    adjudication_amount(out, &adjudication_blood, 0);
    adjudication_amount(out, &adjudication_deductible, line->deductible);
    adjudication_amount(out, &adjudication_wage, line->coinsurance);
    adjudication_amount(out, &adjudication_reduced,
                        percent_of(line->coinsurance, random_between(random, 70, 100)));
    adjudication_amount(out, &adjudication_first_other, other_paid);
    adjudication_amount(out, &adjudication_second_other, 0);
    /* The provider gets what remains after sequestration. */
    adjudication_amount(out, &adjudication_provider_payment, percent_of(line->paid, 98));
    adjudication_amount(out, &adjudication_beneficiary_payment, 0);
    adjudication_amount(out, &adjudication_patient, line->coinsurance + line->deductible);
    adjudication_amount(out, &adjudication_payment, line->paid);
    adjudication_amount(out, &adjudication_rate, line->rate);
    adjudication_amount(out, &adjudication_charge, line->charge);
    adjudication_amount(out, &adjudication_not_covered, line->not_covered);
    JSON(out, "],");
    institution_item_rest(out, claim, line, index, true);
}

void outpatient_write(struct buffer *out, struct claim *claim)
{
    struct random *random = &claim->random;
    struct institution_claim institution;
    uint32_t lines = random_chance(random, TOTAL_ONLY_PERMILLE)
                         ? 0
                         : 1 + random_geometric(random, MORE_PERMILLE, REVENUE_LINES_MAX - 2);
    const struct revenue_plan plan = {&outpatient_revenue_codes, &outpatient_hcpcs, 700, 48000, lines,
                                      "MEDICAL CENTER"};
    institution_draw(&institution, claim, &plan);
    institution.diagnosis_count = 1 + random_geometric(random, 500, 12);

    JSON(out, "{");
    eob_billable_period(out, claim, true);
    institution_care_team(out, &institution);
    JSON(out, "\"diagnosis\":[");
    eob_diagnoses(out, claim, institution.diagnosis_count, DIAGNOSIS_PRINCIPAL);
    JSON(out, "],");
    visit_extensions(out, claim, &institution);
    institution_facility(out, &institution, random_chance(random, 930) ? hospital : clinic);
    eob_id(out, claim);
    visit_information(out, claim);
    eob_insurance(out, claim, 'b');
    JSON(out, "\"item\":[");
    for (uint32_t i = 0; i < institution.line_count; i++)
        visit_item(out, claim, &institution.lines[i], i);
    JSON(out, "],");
    eob_meta(out, claim);
    institution_organization(out, &institution);
    eob_patient(out, claim);
    eob_payment(out, institution.paid);
    institution_procedures(out, claim, random_chance(random, 120) ? 1 : 0);
    institution_provider(out, claim, &institution);
    institution_close(out, claim, &institution,
                      CODING_CLAIM_TYPE("40", "Hospital Outpatient claim") CODING_EOB_TYPE("OUTPATIENT")
                          CODING_FHIR_TYPE("professional", "Professional")
                              NEAR_LINE_PART_B CODING_SERVICE_CLASS("3"));
}
