/* Professional claims: carrier (physicians, laboratories) and DME (equipment). */
#include "tools/synth/eob.h"

#define LINES_MAX         13
#define DETAILED_PERMILLE 250
#define REFERRED_PERMILLE 150
/* Seven of ten carrier claims have one line; the others' 2 and more bring the mean to 1.9. */
#define CARRIER_ONE_PERMILLE    700
#define CARRIER_MORE_PERMILLE   667
#define EQUIPMENT_ONE_PERMILLE  700
#define EQUIPMENT_MORE_PERMILLE 420

static const struct field field_primary_paid = FIELD("prpayamt", "");
static const struct field field_carrier = FIELD("carr_num", "");
static const struct field field_control = FIELD("carr_clm_cntl_num", "");
static const struct field field_trial = FIELD("clm_clncl_tril_num", "");
static const struct field field_denial = FIELD("carr_clm_pmt_dnl_cd", "");
static const struct field field_assigned = FIELD("asgmntcd", "");
static const struct field field_claim_deductible = FIELD("carr_clm_cash_ddctbl_apld_amt", "");
static const struct field field_provider_paid = FIELD("nch_clm_prvdr_pmt_amt", "");
static const struct field field_beneficiary_paid = FIELD("nch_clm_bene_pmt_amt", "");
static const struct field field_submitted = FIELD("nch_carr_clm_sbmtd_chrg_amt", "");
static const struct field field_allowed = FIELD("nch_carr_clm_alowd_amt", "");

static const struct field adjudication_reduced =
    FIELD("carr_line_rdcd_pmt_phys_astn_c", "Carrier Line Reduced Payment Physician Assistant Code");
static const struct field adjudication_other_allowed =
    FIELD("line_prmry_alowd_chrg_amt", "Line Primary Payer Allowed Charge Amount");
static const struct field adjudication_purchase =
    FIELD("line_dme_prchs_price_amt", "Line DME Purchase Price Amount");
static const struct field adjudication_paid = FIELD("line_nch_pmt_amt", "Line NCH Medicare Payment Amount");
static const struct field adjudication_to_beneficiary =
    FIELD("line_bene_pmt_amt", "Line Payment Amount to Beneficiary");
static const struct field adjudication_to_provider =
    FIELD("line_prvdr_pmt_amt", "Line Provider Payment Amount");
static const struct field adjudication_deductible =
    FIELD("line_bene_ptb_ddctbl_amt", "Line Beneficiary Part B Deductible Amount");
static const struct field adjudication_other_paid =
    FIELD("line_bene_prmry_pyr_pd_amt", "Line Primary Payer (if not Medicare) Paid Amount");
static const struct field adjudication_coinsurance =
    FIELD("line_coinsrnc_amt", "Line Beneficiary Coinsurance Amount");
static const struct field adjudication_submitted =
    FIELD("line_sbmtd_chrg_amt", "Line Submitted Charge Amount");
static const struct field adjudication_allowed = FIELD("line_alowd_chrg_amt", "Line Allowed Charge Amount");
static const struct field adjudication_processing =
    FIELD("line_prcsg_ind_cd", "Line Processing Indicator Code");

static const struct field line_mtus_code = FIELD("carr_line_mtus_cd", "");
static const struct field line_mtus_count = FIELD("carr_line_mtus_cnt", "");
static const struct field line_betos = FIELD("betos_cd", "");
static const struct field line_deductible = FIELD("line_service_deductible", "");
static const struct field line_primary_payer = FIELD("line_bene_prmry_pyr_cd", "");
static const struct field line_screen_savings = FIELD("dmerc_line_scrn_svgs_amt", "");
static const struct field line_supplier = FIELD("suplrnum", "");
static const struct field line_locality = FIELD("carr_line_prcng_lclty_cd", "");
static const struct field line_state = FIELD("prvdr_state_cd", "");
static const struct field line_certificate = FIELD("carr_line_clia_lab_num", "");
static const struct field line_zip = FIELD("prvdr_zip", "");
static const struct field line_pricing_state = FIELD("dmerc_line_prcng_state_cd", "");
static const struct field line_supplier_type = FIELD("dmerc_line_supplr_type_cd", "");

static const struct slice provider_system = TEXT("http://terminology.hl7.org/CodeSystem/v2-0203");
static const struct slice kind_system = TEXT(VARIABLE_URL "line_cms_type_srvc_cd");
static const struct slice place_system = TEXT(VARIABLE_URL "line_place_of_srvc_cd");
static const struct slice hcpcs_system = TEXT(CODESYSTEM_URL "hcpcs");

struct line {
    const struct service *service;
    uint32_t units;
    int32_t day;
    int64_t submitted;
    int64_t allowed;
    int64_t deductible;
    int64_t coinsurance;
    int64_t paid;
    int64_t to_beneficiary; /* of what was paid */
    int64_t other_paid;     /* by another insurer, first */
    struct code processing;
};

struct lines {
    uint32_t count;
    uint32_t provider_count;
    uint32_t diagnosis_count;
    bool detailed; /* some claims say more about their lines than others */
    bool referred;
    int64_t other_paid;
    int64_t to_beneficiary;
    struct line of[LINES_MAX];
    int64_t submitted, allowed, deductible, paid;
};

static void line_draw(struct line *line, struct claim *claim, struct service_list services)
{
    struct random *random = &claim->random;
    line->service = &services.services[random_skewed(random, services.count)];
    line->units = 1 + random_geometric(random, 150, 30);
    line->day =
        claim->from_day + (int32_t)random_below(random, (uint32_t)(claim->through_day - claim->from_day) + 1);
    line->submitted =
        percent_of((int64_t)line->service->cents * line->units, random_between(random, 70, 160));
    if (random_chance(random, 400))
        line->submitted += random_between(random, 1, 99);
    line->processing = code_draw(line_processing_codes, random);
    bool allowed = line->processing.value.data[0] == 'A' || line->processing.value.data[0] == 'R';
    line->allowed = allowed ? percent_of(line->submitted, random_between(random, 22, 78)) : 0;
    line->deductible =
        random_chance(random, 300) ? percent_of(line->allowed, random_between(random, 10, 100)) : 0;
    line->coinsurance = percent_of(line->allowed - line->deductible, 20);
    line->paid = line->allowed - line->deductible - line->coinsurance;
    line->other_paid =
        random_chance(random, 150) ? percent_of(line->paid, random_between(random, 10, 90)) : 0;
    line->paid = claim_paid(claim, line->paid - line->other_paid);
    line->to_beneficiary =
        random_chance(random, 80) ? percent_of(line->paid, random_between(random, 20, 100)) : 0;
    if (claim->adjusted)
        line->paid = percent_of(line->paid, 92);
}

static void lines_draw(struct lines *lines, struct claim *claim, struct service_list services,
                       uint32_t one_permille, uint32_t more_permille)
{
    *lines = (struct lines){.count = 1};
    if (!random_chance(&claim->random, one_permille))
        lines->count = 2 + random_geometric(&claim->random, more_permille, LINES_MAX - 2);
    for (uint32_t i = 0; i < lines->count; i++) {
        struct line *line = &lines->of[i];
        line_draw(line, claim, services);
        lines->submitted += line->submitted;
        lines->allowed += line->allowed;
        lines->deductible += line->deductible;
        lines->paid += line->paid;
        lines->other_paid += line->other_paid;
        lines->to_beneficiary += line->to_beneficiary;
    }
    lines->detailed = random_chance(&claim->random, DETAILED_PERMILLE);
    lines->referred = random_chance(&claim->random, REFERRED_PERMILLE);
    lines->provider_count = random_chance(&claim->random, 250) ? 2 : 1;
    lines->diagnosis_count = 1 + random_geometric(&claim->random, 480, 7);
}

static void care_team(struct buffer *out, struct claim *claim, const struct lines *lines)
{
    struct random *random = &claim->random;
    JSON(out, "\"careTeam\":[");
    for (uint32_t i = 0; i < lines->provider_count; i++) {
        uint64_t provider = beneficiary_provider_draw(claim->beneficiary, random);
        eob_care_team(out, provider_system, provider, i ? CARE_OTHER : CARE_PRIMARY, (int)i + 2);
    }
    JSON(out, "],");
}

/* Who sent the beneficiary: a resource inside the resource, which `referral` points to. */
static void referral_contained(struct buffer *out, struct claim *claim)
{
    uint64_t sender = beneficiary_provider_draw(claim->beneficiary, &claim->random);
    JSON(out, "\"contained\":[{\"id\":\"1\",\"recipient\":[{\"identifier\":{\"system\":\"" NPI_URL
              "\",\"value\":\"");
    json_digits(out, sender, 10);
    JSON(out, "\"}}],\"requester\":{\"agent\":{\"identifier\":{\"system\":\"" NPI_URL "\",\"value\":\"");
    json_digits(out, sender, 10);
    JSON(out, "\"}}},\"resourceType\":\"ReferralRequest\",\"status\":\"completed\",\"subject\":{"
              "\"reference\":\"Patient/");
    beneficiary_id_append(out, claim->beneficiary);
    JSON(out, "\"}}],");
}

static void claim_extensions(struct buffer *out, struct claim *claim, const struct lines *lines)
{
    static const struct code supplier = CODE("1", "Physician/supplier");
    static const struct code denied = CODE("0", "Denied");
    static const struct code assigned = CODE("A", "Assigned claim");
    static const struct code not_assigned = CODE("N", "Non-assigned claim");
    struct random *random = &claim->random;

    JSON(out, "\"extension\":[");
    extension_money(out, &field_primary_paid, lines->other_paid);
    extension_number(out, &field_carrier, claim->beneficiary->carrier_number, 5);
    if (random_chance(random, 400))
        extension_number(out, &field_control, random_word(random), 19);
    if (random_chance(random, 150))
        extension_number(out, &field_trial, random_word(random), 8);
    extension_code(out, &field_denial, lines->paid ? supplier : denied);
    extension_code(out, &field_assigned, lines->to_beneficiary ? not_assigned : assigned);
    extension_money(out, &field_claim_deductible, lines->deductible);
    extension_money(out, &field_provider_paid, percent_of(lines->paid - lines->to_beneficiary, 98));
    extension_money(out, &field_beneficiary_paid, lines->to_beneficiary);
    extension_money(out, &field_submitted, lines->submitted);
    extension_money(out, &field_allowed, lines->allowed);
    eob_aco_extension(out, claim);
    JSON(out, "],");
}

static void line_adjudication(struct buffer *out, const struct claim *claim, const struct line *line)
{
    static const struct code not_applicable = CODE("0", "N/A");
    JSON(out, "\"adjudication\":[");
    if (claim->family == CLAIM_CARRIER) {
        adjudication_reason(out, &adjudication_reduced, not_applicable);
    } else {
        adjudication_amount(out, &adjudication_other_allowed, line->other_paid ? line->allowed : 0);
        adjudication_amount(out, &adjudication_purchase,
                            line->service->kind.value.data[0] == 'P' ? percent_of(line->allowed, 100) : 0);
    }
    adjudication_amount(out, &adjudication_paid, line->paid);
    adjudication_amount(out, &adjudication_to_beneficiary, line->to_beneficiary);
    /* Less the two percent of sequestration. */
    adjudication_amount(out, &adjudication_to_provider, percent_of(line->paid - line->to_beneficiary, 98));
    adjudication_amount(out, &adjudication_deductible, line->deductible);
    adjudication_amount(out, &adjudication_other_paid, line->other_paid);
    adjudication_amount(out, &adjudication_coinsurance, line->coinsurance);
    adjudication_amount(out, &adjudication_submitted, line->submitted);
    adjudication_amount(out, &adjudication_allowed, line->allowed);
    adjudication_reason(out, &adjudication_processing, line->processing);
    JSON(out, "],");
}

static void carrier_line_extensions(struct buffer *out, const struct line *line, bool detailed)
{
    static const struct code services = CODE("3", "Services");
    static const struct code subject = CODE("0", "Service Subject to Deductible");
    static const struct code not_subject = CODE("1", "Service Not Subject to Deductible");
    extension_quantity(out, &line_mtus_count, (int64_t)line->units * 100);
    if (!detailed) {
        extension_code(out, &line_primary_payer, code_absent);
        return;
    }
    extension_code(out, &line_mtus_code, services);
    extension_code(out, &line_betos, line->service->betos);
    extension_code(out, &line_deductible, line->deductible ? subject : not_subject);
}

static void equipment_line_extensions(struct buffer *out, const struct claim *claim, const struct line *line,
                                      bool detailed)
{
    extension_quantity(out, &line_screen_savings, 0);
    json_next(out);
    JSON(out, "{\"url\":\"" VARIABLE_URL
              "dmerc_line_mtus_cnt\",\"valueQuantity\":{\"code\":\"3\",\"system\":\"" VARIABLE_URL
              "dmerc_line_mtus_cd\",\"unit\":\"Number of services\",\"value\":");
    json_integer(out, line->units);
    JSON(out, "}}");
    if (detailed)
        extension_number(out, &line_supplier, claim->beneficiary->pharmacy.npi, 10);
    extension_code(out, &line_primary_payer, code_absent);
}

static void line_location(struct buffer *out, struct claim *claim, struct code place, const struct line *line,
                          bool detailed)
{
    const struct state *state = claim->beneficiary->state;
    struct code state_code = {state->ssa, state->name};
    char zip[9];
    uint64_t digits = (uint64_t)claim->beneficiary->zip * 10000 + random_below(&claim->random, 10000);
    for (int i = 8; i >= 0; i--, digits /= 10)
        zip[i] = (char)('0' + digits % 10);
    JSON(out, "\"locationCodeableConcept\":{\"coding\":[");
    json_coding(out, place, place_system);
    JSON(out, "],\"extension\":[");
    if (detailed)
        extension_code(out, &line_state, state_code);
    if (claim->family == CLAIM_CARRIER) {
        if (detailed)
            extension_code(out, &line_zip, (struct code){{zip, sizeof zip}, {NULL, 0}});
        extension_code(out, &line_locality, (struct code){slice_make(zip + 3, 2), {NULL, 0}});
        if (line->service->kind.value.data[0] == '5') /* a laboratory's certificate */
            extension_number(out, &line_certificate, random_word(&claim->random), 10);
    } else {
        extension_code(out, &line_pricing_state, state_code);
        extension_code(out, &line_supplier_type, code_draw(supplier_type_codes, &claim->random));
    }
    JSON(out, "]},");
}

static void line_write(struct buffer *out, struct claim *claim, const struct lines *lines, uint32_t index,
                       struct code place)
{
    const struct line *line = &lines->of[index];
    struct random *random = &claim->random;
    json_next(out);
    JSON(out, "{");
    line_adjudication(out, claim, line);
    JSON(out, "\"careTeamLinkId\":[");
    json_integer(out, 2 + random_below(random, lines->provider_count));
    JSON(out, "],\"category\":");
    json_concept(out, line->service->kind, kind_system);
    JSON(out, ",\"diagnosisLinkId\":[");
    json_integer(out, 1 + random_below(random, lines->diagnosis_count));
    JSON(out, "],\"extension\":[");
    if (claim->family == CLAIM_CARRIER)
        carrier_line_extensions(out, line, lines->detailed);
    else
        equipment_line_extensions(out, claim, line, lines->detailed);
    JSON(out, "],");
    line_location(out, claim, place, line, lines->detailed);
    uint32_t modifiers = random_geometric(random, 330, 3);
    if (modifiers) {
        JSON(out, "\"modifier\":[");
        for (uint32_t i = 0; i < modifiers; i++) {
            json_next(out);
            json_concept(out, code_draw(modifier_codes, random), hcpcs_system);
        }
        JSON(out, "],");
    }
    JSON(out, "\"quantity\":{\"value\":");
    json_integer(out, line->units);
    JSON(out, "},\"sequence\":");
    json_integer(out, index + 1);
    JSON(out, ",\"service\":{\"coding\":[{\"code\":\"");
    buffer_append_slice(out, line->service->hcpcs.value);
    JSON(out,
         "\",\"system\":\"" CODESYSTEM_URL "hcpcs\",\"version\":\"0\"}]},\"servicedPeriod\":{\"end\":\"");
    date_append(out, line->day);
    JSON(out, "\",\"start\":\"");
    date_append(out, line->day);
    JSON(out, "\"}}");
}

static void professional_write(struct buffer *out, struct claim *claim, const struct lines *lines,
                               struct code place)
{
    uint32_t sequence = 0;
    JSON(out, "{");
    eob_billable_period(out, claim, false);
    care_team(out, claim, lines);
    if (lines->referred)
        referral_contained(out, claim);
    JSON(out, "\"diagnosis\":[");
    eob_diagnoses(out, claim, lines->diagnosis_count, DIAGNOSIS_PRINCIPAL);
    JSON(out, "],\"disposition\":\"");
    buffer_append_text(out, claim->adjusted || claim->cancelled ? "03" : claim->revision ? "02" : "01");
    JSON(out, "\",");
    claim_extensions(out, claim, lines);
    eob_id(out, claim);
    JSON(out, "\"information\":[");
    information_processed(out, claim, &sequence);
    JSON(out, "],");
    eob_insurance(out, claim, 'b');
    JSON(out, "\"item\":[");
    for (uint32_t i = 0; i < lines->count; i++)
        line_write(out, claim, lines, i, place);
    JSON(out, "],");
    eob_meta(out, claim);
    eob_patient(out, claim);
    eob_payment(out, lines->paid);
    if (lines->referred)
        JSON(out, "\"referral\":{\"reference\":\"#1\"},");
}

void carrier_write(struct buffer *out, struct claim *claim)
{
    struct lines lines;
    lines_draw(&lines, claim, professional_services, CARRIER_ONE_PERMILLE, CARRIER_MORE_PERMILLE);
    professional_write(out, claim, &lines, code_draw(place_codes, &claim->random));
    eob_status(out, claim);
    JSON(out,
         "\"type\":{\"coding\":["
         "{\"code\":\"71\",\"display\":\"Local carrier non-durable medical equipment, prosthetics, "
         "orthotics, and "
         "supplies (DMEPOS) claim\",\"system\":\"" VARIABLE_URL "nch_clm_type_cd\"},"
         "{\"code\":\"CARRIER\",\"system\":\"" CODESYSTEM_URL "eob-type\"},"
         "{\"code\":\"professional\",\"display\":\"Professional\",\"system\":\"" FHIR_URL "ex-claimtype\"},"
         "{\"code\":\"O\",\"display\":\"Part B physician/supplier claim record (processed by local carriers; "
         "can "
         "include DMEPOS services)\",\"system\":\"" VARIABLE_URL "nch_near_line_rec_ident_cd\"}]}}\n");
}

void equipment_write(struct buffer *out, struct claim *claim)
{
    struct lines lines;
    lines_draw(&lines, claim, equipment_services, EQUIPMENT_ONE_PERMILLE, EQUIPMENT_MORE_PERMILLE);
    /* Equipment is for use at home, the seventh of the list. */
    struct code place = random_chance(&claim->random, 900) ? place_codes.codes[6] : place_codes.codes[0];
    professional_write(out, claim, &lines, place);
    eob_status(out, claim);
    JSON(out, "\"type\":{\"coding\":["
              "{\"code\":\"82\",\"display\":\"DMERC; DMEPOS claim\",\"system\":\"" VARIABLE_URL
              "nch_clm_type_cd\"},"
              "{\"code\":\"DME\",\"system\":\"" CODESYSTEM_URL "eob-type\"},"
              "{\"code\":\"M\",\"display\":\"Part B DMEPOS claim record (processed by DME Regional "
              "Carrier)\",\"system\":\"" VARIABLE_URL "nch_near_line_rec_ident_cd\"}]}}\n");
}
