#include "tools/synth/institution.h"

static const struct field facility_type = FIELD("clm_fac_type_cd", "");
static const struct field primary_paid = FIELD("prpayamt", "");
static const struct field non_payment = FIELD("clm_mdcr_non_pmt_rsn_cd", "");
static const struct field intermediary = FIELD("fi_num", "");
static const struct field document_number = FIELD("fi_doc_clm_cntl_num", "");
static const struct field original_number = FIELD("fi_orig_clm_cntl_num", "");
static const struct field frequency = FIELD("clm_freq_cd", "Claim Frequency Code");
static const struct field discharge = FIELD("ptnt_dschrg_stus_cd", "Patient Discharge Status Code");
static const struct field primary_payer =
    FIELD("nch_prmry_pyr_cd", "NCH Primary Payer Code (if not Medicare)");
static const struct field line_status = FIELD("rev_cntr_stus_ind_cd", "");
static const struct field line_deductible = FIELD("rev_cntr_ddctbl_coinsrnc_cd", "");

const struct field adjudication_rate = FIELD("rev_cntr_rate_amt", "Revenue Center Rate Amount");
const struct field adjudication_charge = FIELD("rev_cntr_tot_chrg_amt", "Revenue Center Total Charge Amount");
const struct field adjudication_not_covered =
    FIELD("rev_cntr_ncvrd_chrg_amt", "Revenue Center Non-Covered Charge Amount");
const struct field adjudication_payment =
    FIELD("rev_cntr_pmt_amt_amt", "Revenue Center (Medicare) Payment Amount");
const struct field adjudication_provider_payment =
    FIELD("rev_cntr_prvdr_pmt_amt", "Revenue Center (Medicare) Provider Payment Amount");
const struct field adjudication_beneficiary_payment =
    FIELD("rev_cntr_bene_pmt_amt", "Revenue Center Payment Amount to Beneficiary");
const struct field adjudication_first_reason = FIELD("rev_cntr_1st_ansi_cd", "Revenue Center 1st ANSI Code");

static const struct slice npi_system = TEXT(NPI_URL);
static const struct slice hcpcs_system = TEXT(CODESYSTEM_URL "hcpcs");
static const struct slice revenue_system = TEXT(VARIABLE_URL "rev_cntr");

static void revenue_line_draw(struct revenue_line *line, struct claim *claim, const struct revenue_plan *plan)
{
    struct random *random = &claim->random;
    *line = (struct revenue_line){.revenue = code_draw(*plan->revenue, random), .hcpcs = code_absent};
    if (plan->hcpcs && random_chance(random, plan->hcpcs_permille))
        line->hcpcs = code_draw(*plan->hcpcs, random);
    line->day =
        claim->from_day + (int32_t)random_below(random, (uint32_t)(claim->through_day - claim->from_day) + 1);
    line->units = 1 + random_geometric(random, 550, 60);
    /* Charges spread over two orders of magnitude, as a hospital's do. */
    int64_t charge = (int64_t)plan->cents * random_lognormal_q16(random, -32768, 72090) / Q16_ONE + 85;
    line->rate = random_chance(random, 400) ? charge / line->units : 0;
    line->charge = charge;
    line->not_covered = random_chance(random, 150) ? percent_of(charge, random_between(random, 5, 100)) : 0;
    int64_t allowed = percent_of(charge - line->not_covered, random_between(random, 18, 64));
    line->deductible = random_chance(random, 90) ? percent_of(allowed, random_between(random, 10, 80)) : 0;
    line->coinsurance = random_chance(random, 850) ? percent_of(allowed - line->deductible, 20) : 0;
    line->paid = percent_of(allowed - line->deductible - line->coinsurance, claim->adjusted ? 90 : 98);
    line->paid = claim_paid(claim, line->paid);
}

void institution_draw(struct institution_claim *institution, struct claim *claim,
                      const struct revenue_plan *plan)
{
    static const struct code total = CODE("0001", "Total charge");
    struct random *random = &claim->random;
    institution->facility = beneficiary_facility_draw(claim->beneficiary, random);
    institution->kind = plan->kind;
    institution->attending = beneficiary_provider_draw(claim->beneficiary, random);
    institution->operating = beneficiary_provider_draw(claim->beneficiary, random);
    institution->diagnosis_count = 3;
    uint32_t count = plan->line_count < REVENUE_LINES_MAX ? plan->line_count : REVENUE_LINES_MAX - 1;
    struct revenue_line sum = {.revenue = total, .hcpcs = code_absent, .day = claim->through_day};
    for (uint32_t i = 0; i < count; i++) {
        struct revenue_line *line = &institution->lines[i];
        revenue_line_draw(line, claim, plan);
        sum.charge += line->charge;
        sum.not_covered += line->not_covered;
        sum.coinsurance += line->coinsurance;
        sum.deductible += line->deductible;
        sum.paid += line->paid;
    }
    if (count == 0) { /* a claim may give nothing but its total */
        revenue_line_draw(&sum, claim, plan);
        sum.revenue = total;
        sum.units = 0;
    }
    institution->charge = sum.charge;
    institution->not_covered = sum.not_covered;
    institution->coinsurance = sum.coinsurance;
    institution->deductible = sum.deductible;
    institution->paid = sum.paid;
    institution->lines[count] = sum;
    institution->line_count = count + 1;
}

void institution_care_team(struct buffer *out, const struct institution_claim *institution)
{
    JSON(out, "\"careTeam\":[");
    eob_care_team(out, npi_system, institution->operating, CARE_ASSIST, 2);
    eob_care_team(out, npi_system, institution->attending, CARE_PRIMARY, 3);
    JSON(out, "],");
}

/* The rest of facility and of organization. */
static void house_identity(struct buffer *out, const struct institution_claim *institution, bool named)
{
    if (named) {
        JSON(out, "\"display\":\"");
        facility_name_append(out, &institution->facility, institution->kind);
        JSON(out, "\",");
    }
    JSON(out, "\"identifier\":{\"system\":\"" NPI_URL "\",\"value\":\"");
    json_digits(out, institution->facility.npi, 10);
    JSON(out, "\"}},");
}

void institution_facility(struct buffer *out, const struct institution_claim *institution, struct code type)
{
    JSON(out, "\"facility\":{\"extension\":[");
    extension_code(out, &facility_type, type);
    JSON(out, "],");
    house_identity(out, institution, false);
}

void institution_hospitalization(struct buffer *out, const struct claim *claim, int32_t from_day)
{
    JSON(out, "\"hospitalization\":{\"end\":\"");
    date_append(out, claim->through_day);
    JSON(out, "\",\"start\":\"");
    date_append(out, from_day);
    JSON(out, "\"},");
}

void institution_organization(struct buffer *out, const struct institution_claim *institution)
{
    JSON(out, "\"organization\":{");
    house_identity(out, institution, true);
}

void institution_procedures(struct buffer *out, struct claim *claim, uint32_t count)
{
    static const struct slice system = TEXT(FHIR_URL "sid/icd-10");
    if (!count)
        return;
    JSON(out, "\"procedure\":[");
    for (uint32_t i = 0; i < count; i++) {
        json_next(out);
        JSON(out, "{\"date\":\"");
        uint32_t days = (uint32_t)(claim->through_day - claim->from_day) + 1;
        date_append_midnight(out, claim->from_day + (int32_t)random_below(&claim->random, days));
        JSON(out, "\",\"procedureCodeableConcept\":");
        json_concept(out, code_draw(procedure_codes, &claim->random), system);
        JSON(out, ",\"sequence\":");
        json_integer(out, i + 1);
        JSON(out, "}");
    }
    JSON(out, "],");
}

void institution_provider(struct buffer *out, const struct claim *claim,
                          const struct institution_claim *institution)
{
    JSON(out, "\"provider\":{\"identifier\":{\"system\":\"" VARIABLE_URL "prvdr_num\",\"value\":\"");
    buffer_append_slice(out, claim->beneficiary->state->ssa);
    json_digits(out, institution->facility.number, 4);
    JSON(out, "\"}},");
}

void institution_close(struct buffer *out, const struct claim *claim,
                       const struct institution_claim *institution, const char *type_codings)
{
    eob_status(out, claim);
    JSON(out, "\"totalCost\":");
    json_money(out, institution->charge);
    JSON(out, ",\"type\":{\"coding\":[");
    buffer_append_text(out, type_codings);
    JSON(out, "]}}\n");
}

void institution_balance_open(struct buffer *out)
{
    JSON(out,
         "\"benefitBalance\":[{\"category\":{\"coding\":[{\"code\":\"medical\",\"display\":\"Medical Health "
         "Coverage\",\"system\":\"" FHIR_URL "benefit-category\"}]},\"financial\":[");
}

void institution_balance(struct buffer *out, const struct field *field, uint32_t used)
{
    json_next(out);
    JSON(out, "{\"type\":{\"coding\":[{\"code\":\"");
    buffer_append_slice(out, field->url);
    JSON(out, "\",\"display\":\"");
    buffer_append_slice(out, field->title);
    JSON(out, "\",\"system\":\"" CODESYSTEM_URL "benefit-balance\"}]},\"usedUnsignedInt\":");
    json_integer(out, used);
    JSON(out, "}");
}

void institution_balance_close(struct buffer *out)
{
    JSON(out, "]}],");
}

void institution_extensions(struct buffer *out, struct claim *claim,
                            const struct institution_claim *institution, uint32_t control_permille)
{
    struct random *random = &claim->random;
    extension_code(out, &non_payment, code_draw(non_payment_codes, random));
    extension_money(out, &primary_paid, random_chance(random, 40) ? institution->paid / 4 : 0);
    if (random_chance(random, control_permille)) {
        extension_number(out, &intermediary, claim->beneficiary->carrier_number, 5);
        extension_number(out, &document_number, random_word(random), 17);
        extension_number(out, &original_number, random_word(random), 17);
    }
    eob_aco_extension(out, claim);
}

void institution_frequency(struct buffer *out, const struct claim *claim, uint32_t *sequence)
{
    static const struct code whole = CODE("1", "Admit thru discharge claim");
    static const struct code replacement = CODE("7", "Replacement of prior claim");
    static const struct code cancel = CODE("8", "Void/Cancel of prior claim");
    information_code(out, &frequency,
                     claim->cancelled                     ? cancel
                     : claim->adjusted || claim->revision ? replacement
                                                          : whole,
                     sequence);
}

void institution_discharge(struct buffer *out, struct claim *claim, uint32_t *sequence)
{
    static const struct code expired = CODE("20", "Expired (patient did not recover).");
    bool died = claim->through_day == claim->beneficiary->death_day;
    struct code status = code_draw(discharge_codes, &claim->random);
    information_code(out, &discharge, died ? expired : status, sequence);
}

void institution_payer(struct buffer *out, struct claim *claim, uint32_t *sequence)
{
    information_code(out, &primary_payer, code_draw(primary_payer_codes, &claim->random), sequence);
}

static void line_revenue(struct buffer *out, struct claim *claim, const struct revenue_line *line,
                         bool detailed)
{
    JSON(out, "\"revenue\":{\"coding\":[");
    json_coding(out, line->revenue, revenue_system);
    if (detailed) {
        JSON(out, "],\"extension\":[");
        extension_code(out, &line_status, code_draw(revenue_status_codes, &claim->random));
        extension_code(out, &line_deductible, code_draw(revenue_deductible_codes, &claim->random));
    }
    JSON(out, "]},");
}

void institution_item_rest(struct buffer *out, struct claim *claim, const struct revenue_line *line,
                           uint32_t index, bool detailed)
{
    bool procedure = line->hcpcs.value.size != 0;
    if (procedure)
        JSON(out, "\"careTeamLinkId\":[3],");
    if (procedure && detailed && random_chance(&claim->random, 120)) {
        JSON(out,
             "\"extension\":[{\"url\":\"" VARIABLE_URL
             "rev_cntr_ndc_qty\",\"valueQuantity\":{\"code\":\"ML\","
             "\"system\":\"" VARIABLE_URL "rev_cntr_ndc_qty_qlfr_cd\",\"unit\":\"Milliliter\",\"value\":");
        json_hundredths(out, random_between(&claim->random, 10, 99999));
        JSON(out, "}}],");
    }
    JSON(out, "\"locationAddress\":{\"state\":\"");
    buffer_append_slice(out, claim->beneficiary->state->ssa);
    JSON(out, "\"},");
    if (procedure && random_chance(&claim->random, 200)) {
        JSON(out, "\"modifier\":[");
        json_concept(out, code_draw(modifier_codes, &claim->random), hcpcs_system);
        JSON(out, "],");
    }
    JSON(out, "\"quantity\":{\"value\":");
    json_integer(out, line->units);
    JSON(out, "},");
    line_revenue(out, claim, line, procedure && detailed);
    JSON(out, "\"sequence\":");
    json_integer(out, index + 1);
    if (procedure) {
        JSON(out, ",\"service\":");
        json_concept(out, line->hcpcs, hcpcs_system);
        JSON(out, ",\"servicedDate\":\"");
        date_append(out, line->day);
        JSON(out, "\"");
    }
    JSON(out, "}");
}
