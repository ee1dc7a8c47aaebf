/* Prescription drug events (PDE): one fill of one drug. */
#include "tools/synth/eob.h"

static const struct field information_product =
    FIELD("daw_prod_slctn_cd", "Dispense as Written (DAW) Product Selection Code");
static const struct field information_dispensing = FIELD("dspnsng_stus_cd", "Dispensing Status Code");
static const struct field information_coverage = FIELD("drug_cvrg_stus_cd", "Drug Coverage Status Code");
static const struct field information_adjustment = FIELD("adjstmt_dltn_cd", "Adjustment Deletion Code");
static const struct field information_format = FIELD("nstd_frmt_cd", "Non-Standard Format Code");
static const struct field information_catastrophic = FIELD("ctstrphc_cvrg_cd", "Catastrophic Coverage Code");
static const struct field information_origin = FIELD("rx_orgn_cd", "Prescription Origination Code");
static const struct field information_brand =
    FIELD("brnd_gnrc_cd", "Brand-Generic Code Reported by Submitting Plan");
static const struct field information_service = FIELD("phrmcy_srvc_type_cd", "Pharmacy service type code");
static const struct field information_residence = FIELD("ptnt_rsdnc_cd", "Patient Residence Code");

static const struct field information_clarification = FIELD("submsn_clr_cd", "Submission clarification code");
static const struct field information_pricing = FIELD("prcng_excptn_cd", "Pricing Exception Code");

static const struct field adjudication_plan =
    FIELD("cvrd_d_plan_pd_amt", "Amount paid by Part D plan for the PDE (drug is covered by Part D)");
static const struct field adjudication_below =
    FIELD("gdc_blw_oopt_amt", "Gross Drug Cost Below Part D Out-of-Pocket Threshold (GDCB)");
static const struct field adjudication_above =
    FIELD("gdc_abv_oopt_amt", "Gross Drug Cost Above Part D Out-of-Pocket Threshold (GDCA)");
static const struct field adjudication_patient = FIELD("ptnt_pay_amt", "Amount Paid by Patient");
static const struct field adjudication_other =
    FIELD("othr_troop_amt", "Other True Out-of-Pocket (TrOOP) Amount");
static const struct field adjudication_subsidy =
    FIELD("lics_amt", "Amount paid for the PDE by Part D low income subsidy");
static const struct field adjudication_reduction =
    FIELD("plro_amt", "Reduction in patient liability due to payments by other payers (PLRO)");
static const struct field adjudication_total = FIELD("tot_rx_cst_amt", "Total drug cost (Part D)");
static const struct field adjudication_gap = FIELD("rptd_gap_dscnt_num", "Gap Discount Amount");

static const struct field plan_contract = FIELD("plan_cntrct_rec_id", "");
static const struct field plan_package = FIELD("plan_pbp_rec_num", "");
static const struct field quantity_fill = FIELD("fill_num", "");
static const struct field quantity_days = FIELD("days_suply_num", "");

static const struct code product_selections[] = {
    CODE("0", "No Product Selection Indicated (may also have missing values)"),
    CODE("1", "Substitution Not Allowed by Prescriber"),
    CODE("2", "Substitution Allowed - Patient Requested That Brand Product Be Dispensed"),
    CODE("5", "Substitution Allowed - Brand Drug Dispensed as Generic"),
    CODE("3", "Substitution Allowed - Pharmacist Selected Product Dispensed"),
    CODE("8", "Substitution Allowed - Generic Drug Not Available in Marketplace"),
};
static const struct code origins[] = {
    CODE("3", "Electronic"), CODE("1", "Written"),  CODE("2", "Telephone"),
    CODE("4", "Facsimile"),  CODE("5", "Pharmacy"), CODE("0", "Not specified"),
};
static const struct code pharmacy_services[] = {
    CODE("01", "Community/retail pharmacy"), CODE("06", "Mail order pharmacy"),
    CODE("05", "Long-term care pharmacy"),   CODE("08", "Specialty care pharmacy"),
    CODE("04", "Institutional pharmacy"),    CODE("07", "Managed care organization (MCO) pharmacy"),
};
static const struct code residences[] = {
    CODE("01", "Home"),
    CODE("01", "Home"),
    CODE("04", "Assisted Living Facility"),
    CODE("03", "Nursing facility (long-term care facility)"),
    CODE("02", "Skilled Nursing Facility"),
};
static const struct code clarifications[] = {
    CODE("08", "Process compound for approved ingredients"),
    CODE("02", "Other override"),
    CODE("05", "Therapy change: the physician decided that another therapy was needed"),
    CODE("21", "LTC dispensing: 14 days or less not applicable"),
    CODE("22", "LTC dispensing: 7 days"),
    CODE("36", "LTC dispensing: 14 days"),
    CODE("10", "Meets plan limitations"),
    CODE("07", "Medically necessary"),
};
/* A strength and a form, by the drug and the labeler: what follows a product's name. */
static const char *const strengths[] = {"5 MG",   "10 MG",  "20 MG",  "25 MG",  "40 MG",
                                        "50 MG",  "75 MG",  "100 MG", "150 MG", "200 MG",
                                        "250 MG", "500 MG", "2.5 MG", "12.5 MG"};
static const char *const forms[] = {"TABLET",
                                    "CAPSULE",
                                    "TABLET, FILM COATED",
                                    "TABLET, EXTENDED RELEASE",
                                    "SOLUTION",
                                    "CAPSULE, DELAYED RELEASE PELLETS",
                                    "TABLET, COATED",
                                    "INJECTION, SOLUTION"};

static const struct code partial = CODE("P", "Partial fill");
static const struct code completion = CODE("C", "Completion of partial fill");
static const struct code paper = CODE("P", "Paper claim");
static const struct code out_of_network = CODE("O", "Out of network pharmacy");
static const struct code attachment = CODE("A", "Attachment point met on this event");
static const struct code covered = CODE("C", "Covered");
static const struct code generic = CODE("G", "Generic Null/missing");
static const struct code brand = CODE("B", "Brand");
static const struct code adjusted = CODE("A", "Adjustment");
static const struct code deleted = CODE("D", "Deletion");
static const struct code catastrophic = CODE("C", "Above attachment point");

static const struct code_list product_selection_codes = LIST_OF(product_selections);
static const struct code_list origin_codes = LIST_OF(origins);
static const struct code_list pharmacy_service_codes = LIST_OF(pharmacy_services);
static const struct code_list clarification_codes = LIST_OF(clarifications);
static const struct code_list residence_codes = LIST_OF(residences);

struct fill {
    const struct drug *drug;
    uint64_t ndc; /* eleven digits: labeler, product and package, all made up */
    uint32_t days;
    uint32_t quantity;
    uint32_t number;
    int64_t total;
    int64_t above; /* the part of it past the out-of-pocket threshold */
    int64_t patient, subsidy, other, reduction, gap, plan;
    struct facility pharmacy;
    struct code service;
};

static void fill_draw(struct fill *fill, struct claim *claim)
{
    const struct beneficiary *b = claim->beneficiary;
    struct random *random = &claim->random;
    uint32_t index = random_chance(random, 600) ? b->regimen[random_below(random, REGIMEN_COUNT)]
                                                : random_skewed(random, drugs.count);
    fill->drug = &drugs.drugs[index];
    uint32_t labeler = random_below(random, 12);
    fill->ndc = (uint64_t)(90000 + (index * 12 + labeler) * 7 % 9990) * 1000000 +
                random_mix(index, labeler) % 10000 * 100 + random_below(random, 4) * 10 + 1;
    static const uint32_t supplies[] = {30, 90, 30, 30, 90, 14, 60, 7};
    fill->days = supplies[random_skewed(random, sizeof supplies / sizeof supplies[0])];
    bool unit = fill->drug->cents >= 2000; /* pens and inhalers are counted, not taken daily */
    fill->quantity =
        unit ? (fill->days + 29) / 30 * (1 + random_below(random, 2)) : fill->days * fill->drug->daily;
    fill->number = random_geometric(random, 700, 11);
    fill->total = percent_of((int64_t)fill->drug->cents * fill->quantity, random_between(random, 75, 140));
    fill->total += random_between(random, 60, 380); /* dispensing */
    fill->above = random_chance(random, 350) ? percent_of(fill->total, random_between(random, 10, 100)) : 0;
    fill->patient = percent_of(fill->total, random_between(random, 0, 50));
    fill->gap = random_chance(random, fill->drug->brand ? 700 : 150)
                    ? percent_of(fill->total, random_between(random, 20, 50))
                    : 0;
    fill->subsidy =
        random_chance(random, 450) ? percent_of(fill->patient, random_between(random, 40, 95)) : 0;
    fill->patient -= fill->subsidy;
    fill->other = random_chance(random, 300) ? percent_of(fill->patient, random_between(random, 10, 90)) : 0;
    fill->patient -= fill->other;
    fill->reduction =
        random_chance(random, 300) ? percent_of(fill->patient, random_between(random, 10, 90)) : 0;
    fill->patient -= fill->reduction;
    fill->plan = fill->total - fill->patient - fill->subsidy - fill->other - fill->reduction - fill->gap;
    fill->pharmacy = claim->beneficiary->pharmacy;
    if (random_chance(random, 450))
        fill->pharmacy = beneficiary_facility_draw(claim->beneficiary, random);
    if (claim->adjusted)
        fill->plan = percent_of(fill->plan, 94);
    fill->plan = claim_paid(claim, fill->plan);
    fill->service = code_draw(pharmacy_service_codes, random);
}

static void pharmacy_identity(struct buffer *out, const struct fill *fill)
{
    JSON(out, "\"identifier\":{\"system\":\"" NPI_URL
              "\",\"type\":{\"coding\":[{\"code\":\"NPI\",\"display\":\"National "
              "Provider Identifier\",\"system\":\"" NPI_URL "\"}]},\"value\":\"");
    json_digits(out, fill->pharmacy.npi, 10);
    JSON(out, "\"}},");
}

static void fill_information(struct buffer *out, struct claim *claim, const struct fill *fill)
{
    struct random *random = &claim->random;
    uint32_t sequence = 0;
    uint32_t rare = random_below(random, 1000);
    JSON(out, "\"information\":[");
    information_code(out, &information_product, code_draw(product_selection_codes, random), &sequence);
    information_code(out, &information_dispensing,
                     rare < 40   ? partial
                     : rare < 80 ? completion
                                 : code_absent,
                     &sequence);
    information_code(out, &information_coverage, covered, &sequence);
    information_code(out, &information_adjustment,
                     claim->cancelled                     ? deleted
                     : claim->adjusted || claim->revision ? adjusted
                                                          : code_absent,
                     &sequence);
    information_code(out, &information_format, rare >= 900 ? paper : code_absent, &sequence);
    information_code(out, &information_catastrophic,
                     fill->above == fill->total ? catastrophic
                     : fill->above              ? attachment
                                                : code_absent,
                     &sequence);
    information_code(out, &information_origin, code_draw(origin_codes, random), &sequence);
    information_code(out, &information_brand, fill->drug->brand ? brand : generic, &sequence);
    information_code(out, &information_service, fill->service, &sequence);
    information_code(out, &information_residence, code_draw(residence_codes, random), &sequence);
    if (random_chance(random, 250))
        information_code(out, &information_clarification, code_draw(clarification_codes, random), &sequence);
    if (random_chance(random, 80))
        information_code(out, &information_pricing, out_of_network, &sequence);
    JSON(out, "],");
}

static void fill_insurance(struct buffer *out, const struct claim *claim)
{
    char contract[5] = {'S'};
    for (uint32_t i = 4, rest = claim->beneficiary->plan_contract; i >= 1; i--, rest /= 10)
        contract[i] = (char)('0' + rest % 10);
    JSON(out, "\"insurance\":{\"coverage\":{\"extension\":[");
    extension_identifier(out, &plan_contract, slice_make(contract, sizeof contract));
    extension_number(out, &plan_package, 1 + claim->beneficiary->plan_contract % 37, 3);
    JSON(out, "],\"reference\":\"Coverage/part-d-");
    beneficiary_id_append(out, claim->beneficiary);
    JSON(out, "\"}},");
}

static void fill_item(struct buffer *out, const struct claim *claim, const struct fill *fill)
{
    JSON(out, "\"item\":[{\"adjudication\":[");
    adjudication_amount(out, &adjudication_plan, fill->plan);
    out->size--; /* reopened: what the plan paid also says why */
    JSON(out, ",\"reason\":");
    json_concept(out, covered, information_coverage.url);
    JSON(out, "}");
    adjudication_amount(out, &adjudication_below, fill->total - fill->above);
    adjudication_amount(out, &adjudication_above, fill->above);
    adjudication_amount(out, &adjudication_patient, fill->patient);
    adjudication_amount(out, &adjudication_other, fill->other);
    adjudication_amount(out, &adjudication_subsidy, fill->subsidy);
    adjudication_amount(out, &adjudication_reduction, fill->reduction);
    adjudication_amount(out, &adjudication_total, fill->total);
    adjudication_amount(out, &adjudication_gap, fill->gap);
    JSON(out, "],\"careTeamLinkId\":[2],\"quantity\":{\"extension\":[");
    extension_quantity(out, &quantity_fill, (int64_t)fill->number * 100);
    extension_quantity(out, &quantity_days, (int64_t)fill->days * 100);
    JSON(out, "],\"value\":");
    json_integer(out, fill->quantity);
    JSON(out, "},\"sequence\":1,\"service\":{\"coding\":[{\"code\":\"");
    json_digits(out, fill->ndc, 11);
    JSON(out, "\",\"display\":\"");
    buffer_append_slice(out, fill->drug->name);
    JSON(out, " ");
    buffer_append_text(out, strengths[fill->ndc / 1000 % (sizeof strengths / sizeof strengths[0])]);
    JSON(out, " ");
    buffer_append_text(out, forms[fill->ndc / 1000000 % (sizeof forms / sizeof forms[0])]);
    JSON(out, "\",\"system\":\"" FHIR_URL "sid/ndc\"}]},\"servicedDate\":\"");
    date_append(out, claim->from_day);
    JSON(out, "\"}],");
}

void pharmacy_write(struct buffer *out, struct claim *claim)
{
    static const struct slice npi_system = TEXT(NPI_URL);
    struct fill fill;
    fill_draw(&fill, claim);
    uint64_t prescriber = beneficiary_provider_draw(claim->beneficiary, &claim->random);

    JSON(out, "{");
    eob_billable_period(out, claim, false);
    JSON(out, "\"careTeam\":[");
    eob_care_team(out, npi_system, prescriber, CARE_PRIMARY, 2);
    JSON(out, "],\"extension\":[");
    eob_aco_extension(out, claim);
    JSON(out, "],\"facility\":{\"extension\":[");
    extension_code(out, &information_service, fill.service);
    JSON(out, "],");
    pharmacy_identity(out, &fill);
    eob_id(out, claim);
    fill_information(out, claim, &fill);
    fill_insurance(out, claim);
    fill_item(out, claim, &fill);
    eob_meta(out, claim);
    JSON(out, "\"organization\":{\"display\":\"");
    facility_name_append(out, &fill.pharmacy, "PHARMACY ");
    json_digits(out, fill.pharmacy.npi % 10000, 4);
    JSON(out, "\",");
    pharmacy_identity(out, &fill);
    eob_patient(out, claim);
    JSON(out, "\"payment\":{\"date\":\"");
    date_append(out, claim->processed_day);
    JSON(out, "\"},");
    eob_status(out, claim);
    JSON(out,
         "\"type\":{\"coding\":["
         "{\"code\":\"PDE\",\"system\":\"" CODESYSTEM_URL "eob-type\"},"
         "{\"code\":\"pharmacy\",\"display\":\"Pharmacy\",\"system\":\"" FHIR_URL "ex-claimtype\"}]}}\n");
}
