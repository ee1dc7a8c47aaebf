/*
 * The code lists that claims draw from: excerpts of the public standards (ICD-10, HCPCS, the NUBC and CMS
 * lists), in our own words where a standard's wording is not needed, each ordered by how often the code is
 * used, so that random_skewed() over an index gives a plausible mix. Texts are JSON text (json.h).
 *
 * No drug code is a real product: a National Drug Code is made up for each prescription (claim_pde.c).
 *
 * Threading: constant data.
 */
#ifndef TOOLS_SYNTH_CODES_H
#define TOOLS_SYNTH_CODES_H

#include "tools/synth/json.h"
#include "tools/synth/random.h"

struct code_list {
    const struct code *codes;
    uint32_t count;
};

/* A procedure or supply as a professional bills it. */
struct service {
    struct code hcpcs; /* no display: the source gives none */
    struct code betos;
    struct code kind; /* line_cms_type_srvc_cd */
    uint32_t cents;   /* a usual charge for one */
};

struct service_list {
    const struct service *services;
    uint32_t count;
};

struct drug {
    struct slice name;
    uint32_t cents; /* a usual price of one unit, e.g. a tablet */
    uint8_t daily;  /* units a day */
    bool brand;
};

struct drug_list {
    const struct drug *drugs;
    uint32_t count;
};

struct state {
    struct slice ssa; /* the Social Security Administration's code, which Medicare uses */
    struct slice fips;
    struct slice usps;
    struct slice name;
    struct slice city;
    uint16_t zip_prefix; /* the first three digits */
};

struct state_list {
    const struct state *states;
    uint32_t count;
};

struct name_list {
    const struct slice *names;
    uint32_t count;
};

/* codes_clinical.c */
extern const struct code_list diagnosis_codes;
extern const struct code_list external_cause_codes;
extern const struct code_list procedure_codes; /* ICD-10-PCS */
extern const struct code_list drg_codes;
extern const struct drug_list drugs;

/* codes_service.c */
extern const struct service_list professional_services;
extern const struct service_list equipment_services;
extern const struct code_list outpatient_hcpcs;
extern const struct code_list home_health_hcpcs;
extern const struct code_list hospice_hcpcs;
extern const struct code_list rate_hcpcs; /* skilled nursing: payment groups instead of procedures */
extern const struct code_list modifier_codes;

/* codes_billing.c */
extern const struct code_list place_codes;
extern const struct code_list specialty_codes;
extern const struct code_list inpatient_revenue_codes;
extern const struct code_list outpatient_revenue_codes;
extern const struct code_list home_health_revenue_codes;
extern const struct code_list hospice_revenue_codes;
extern const struct code_list revenue_status_codes;
extern const struct code_list revenue_deductible_codes;
extern const struct code_list reason_codes; /* claim adjustment: group and reason in one */
extern const struct code_list discharge_codes;
extern const struct code_list admission_type_codes;
extern const struct code_list admission_source_codes;
extern const struct code_list primary_payer_codes;
extern const struct code_list non_payment_codes;
extern const struct code_list line_processing_codes;
extern const struct code_list supplier_type_codes;

/* codes_person.c */
extern const struct state_list states;
extern const struct name_list family_names;
extern const struct name_list female_names;
extern const struct name_list male_names;
extern const struct name_list street_names;
extern const struct name_list facility_names; /* without what kind of house it is */

static inline struct code code_draw(struct code_list list, struct random *random)
{
    return list.codes[random_skewed(random, list.count)];
}

#define LIST_OF(array)                                                                                       \
    {                                                                                                        \
        array, (uint32_t)(sizeof(array) / sizeof((array)[0]))                                                \
    }

#endif
