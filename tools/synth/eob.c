#include "tools/synth/eob.h"

static const struct field field_query = FIELD("claim_query_cd", "");
static const struct field field_aco = FIELD("aco_id_num", "");
static const struct field field_processed = FIELD("nch_wkly_proc_dt", "NCH Weekly Claim Processing Date");

void eob_billable_period(struct buffer *out, const struct claim *claim, bool with_query_code)
{
    static const struct code final_bill = CODE("3", "Final bill");
    static const struct code adjusted_bill = CODE("5", "Debit adjustment");
    static const struct code cancelled_bill = CODE("0", "Credit adjustment");
    JSON(out, "\"billablePeriod\":{\"end\":\"");
    date_append(out, claim->through_day);
    if (with_query_code) {
        JSON(out, "\",\"extension\":[");
        extension_code(out, &field_query,
                       claim->cancelled                     ? cancelled_bill
                       : claim->adjusted || claim->revision ? adjusted_bill
                                                            : final_bill);
        JSON(out, "],\"start\":\"");
    } else {
        JSON(out, "\",\"start\":\"");
    }
    date_append(out, claim->from_day);
    JSON(out, "\"},");
}

static void claim_number_append(struct buffer *out, uint64_t number)
{
    JSON(out, "-");
    json_digits(out, number, 14);
}

void eob_id(struct buffer *out, const struct claim *claim)
{
    JSON(out, "\"id\":\"");
    claim_id_append(out, claim);
    if (claim->family == CLAIM_PDE)
        JSON(out, "\",\"identifier\":[{\"system\":\"" VARIABLE_URL "pde_id\",\"value\":\"");
    else
        JSON(out, "\",\"identifier\":[{\"system\":\"" VARIABLE_URL "clm_id\",\"value\":\"");
    claim_number_append(out, claim->id);
    JSON(out, "\"},{\"system\":\"" IDENTIFIER_URL "claim-group\",\"value\":\"");
    claim_number_append(out, claim->group);
    if (claim->family == CLAIM_PDE) {
        JSON(out, "\"},{\"system\":\"" VARIABLE_URL "rx_srvc_rfrnc_num\",\"value\":\"");
        json_digits(out, random_mix(claim->id, 'r') % UINT64_C(1000000000000), 12);
    }
    JSON(out, "\"}],");
}

void eob_insurance(struct buffer *out, const struct claim *claim, char part)
{
    JSON(out, "\"insurance\":{\"coverage\":{\"reference\":\"Coverage/part-");
    buffer_append_char(out, part);
    JSON(out, "-");
    beneficiary_id_append(out, claim->beneficiary);
    JSON(out, "\"}},");
}

void eob_meta(struct buffer *out, const struct claim *claim)
{
    JSON(out, "\"meta\":{\"lastUpdated\":\"");
    instant_append(out, claim->loaded);
    JSON(out, "\"},");
}

void eob_patient(struct buffer *out, const struct claim *claim)
{
    JSON(out, "\"patient\":{\"reference\":\"Patient/");
    beneficiary_id_append(out, claim->beneficiary);
    JSON(out, "\"},");
}

void eob_payment(struct buffer *out, int64_t cents)
{
    JSON(out, "\"payment\":{\"amount\":");
    json_money(out, cents);
    JSON(out, "},");
}

void eob_aco_extension(struct buffer *out, const struct claim *claim)
{
    extension_identifier(out, &field_aco, claim->beneficiary->aco);
}

void eob_status(struct buffer *out, const struct claim *claim)
{
    JSON(out, "\"resourceType\":\"ExplanationOfBenefit\",\"status\":\"");
    buffer_append_text(out, claim->cancelled ? "cancelled" : "active");
    JSON(out, "\",");
}

void eob_care_team(struct buffer *out, struct slice system, uint64_t provider, enum care_role role,
                   int sequence)
{
    static const struct code roles[] = {
        [CARE_PRIMARY] = CODE("primary", "Primary provider"),
        [CARE_OTHER] = CODE("other", "Other"),
        [CARE_ASSIST] = CODE("assist", "Assisting Provider"),
    };
    static const struct slice role_system = TEXT(FHIR_URL "claimcareteamrole");
    /* The name follows from the number. */
    uint64_t person = random_mix(provider, 'n');
    struct name_list given = person & 1 ? female_names : male_names;
    json_next(out);
    JSON(out, "{\"provider\":{\"display\":\"");
    buffer_append_slice(out, given.names[(person >> 8) % given.count]);
    JSON(out, " ");
    buffer_append_slice(out, family_names.names[(person >> 32) % family_names.count]);
    JSON(out, "\",\"identifier\":{\"system\":\"");
    buffer_append_slice(out, system);
    JSON(out, "\",\"value\":\"");
    json_digits(out, provider, 10);
    JSON(out, "\"}},\"role\":");
    json_concept(out, roles[role], role_system);
    JSON(out, ",\"sequence\":");
    json_integer(out, sequence);
    JSON(out, "}");
}

#define TYPE_CODING(code, display)                                                                           \
    "{\"coding\":[{\"code\":\"" code "\",\"display\":\"" display "\",\"system\":\"" CODESYSTEM_URL           \
    "diagnosis-type\"}]}"
#define ADMITTING                                                                                            \
    TYPE_CODING("admitting",                                                                                 \
                "The diagnosis given as the reason why the patient was admitted to the hospital.")
#define PRINCIPAL                                                                                            \
    TYPE_CODING("principal", "The single medical diagnosis that is most relevant to the patient's chief "    \
                             "complaint or need for treatment.")

void eob_diagnosis(struct buffer *out, struct code code, enum diagnosis_role role, uint32_t sequence)
{
    static const struct slice system = TEXT(FHIR_URL "sid/icd-10");
    static const struct slice types[] = {
        [DIAGNOSIS_PLAIN] = TEXT("}"),
        [DIAGNOSIS_PRINCIPAL] = TEXT(",\"type\":[" PRINCIPAL "]}"),
        [DIAGNOSIS_ADMITTING_PRINCIPAL] = TEXT(",\"type\":[" ADMITTING "," PRINCIPAL "]}"),
        [DIAGNOSIS_EXTERNAL_FIRST] = TEXT(",\"type\":[" TYPE_CODING(
            "external-first", "The code used to identify the 1st external cause of injury, "
                              "poisoning, or other adverse effect.") "]}"),
        [DIAGNOSIS_EXTERNAL] =
            TEXT(",\"type\":[" TYPE_CODING("external", "A code used to identify an external cause of injury, "
                                                       "poisoning, or other adverse effect.") "]}"),
    };
    json_next(out);
    JSON(out, "{\"diagnosisCodeableConcept\":");
    json_concept(out, code, system);
    JSON(out, ",\"sequence\":");
    json_integer(out, sequence);
    buffer_append_slice(out, types[role]);
}

void eob_diagnoses(struct buffer *out, struct claim *claim, uint32_t count, enum diagnosis_role first)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = random_chance(&claim->random, 350)
                             ? claim->beneficiary->conditions[random_below(&claim->random, CONDITION_COUNT)]
                             : random_below(&claim->random, diagnosis_codes.count);
        eob_diagnosis(out, diagnosis_codes.codes[index], i ? DIAGNOSIS_PLAIN : first, i + 1);
    }
}

static void information_open(struct buffer *out, const struct field *field)
{
    json_next(out);
    JSON(out, "{\"category\":{\"coding\":[{\"code\":\"");
    buffer_append_slice(out, field->url);
    JSON(out, "\",\"display\":\"");
    buffer_append_slice(out, field->title);
    JSON(out, "\",\"system\":\"" CODESYSTEM_URL "information\"}]},");
}

static void sequence_append(struct buffer *out, uint32_t *sequence)
{
    JSON(out, "\"sequence\":");
    json_integer(out, ++*sequence);
}

void information_code(struct buffer *out, const struct field *field, struct code code, uint32_t *sequence)
{
    information_open(out, field);
    JSON(out, "\"code\":");
    json_concept(out, code, field->url);
    JSON(out, ",");
    sequence_append(out, sequence);
    JSON(out, "}");
}

void information_date(struct buffer *out, const struct field *field, int32_t day, uint32_t *sequence)
{
    information_open(out, field);
    sequence_append(out, sequence);
    JSON(out, ",\"timingDate\":\"");
    date_append(out, day);
    JSON(out, "\"}");
}

void information_period(struct buffer *out, const struct field *field, int32_t from, int32_t through,
                        uint32_t *sequence)
{
    information_open(out, field);
    sequence_append(out, sequence);
    JSON(out, ",\"timingPeriod\":{\"end\":\"");
    date_append(out, through);
    JSON(out, "\",\"start\":\"");
    date_append(out, from);
    JSON(out, "\"}}");
}

void information_pints(struct buffer *out, const struct field *field, int64_t pints, uint32_t *sequence)
{
    information_open(out, field);
    sequence_append(out, sequence);
    JSON(
        out,
        ",\"valueQuantity\":{\"code\":\"[pt_us]\",\"system\":\"http://unitsofmeasure.org\",\"unit\":\"pint\","
        "\"value\":");
    json_integer(out, pints);
    JSON(out, "}}");
}

void information_processed(struct buffer *out, const struct claim *claim, uint32_t *sequence)
{
    information_date(out, &field_processed, claim->processed_day, sequence);
}

static void adjudication_category(struct buffer *out, const struct field *field)
{
    JSON(out, "\"category\":{\"coding\":[{\"code\":\"");
    buffer_append_slice(out, field->url);
    JSON(out, "\",\"display\":\"");
    buffer_append_slice(out, field->title);
    JSON(out, "\",\"system\":\"" CODESYSTEM_URL "adjudication\"}]}");
}

void adjudication_amount(struct buffer *out, const struct field *field, int64_t cents)
{
    json_next(out);
    JSON(out, "{\"amount\":");
    json_money(out, cents);
    JSON(out, ",");
    adjudication_category(out, field);
    JSON(out, "}");
}

void adjudication_reason(struct buffer *out, const struct field *field, struct code reason)
{
    json_next(out);
    JSON(out, "{");
    adjudication_category(out, field);
    JSON(out, ",\"reason\":");
    json_concept(out, reason, field->url);
    JSON(out, "}");
}
