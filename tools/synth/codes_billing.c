#include "tools/synth/codes.h"

static const struct code place_array[] = {
    CODE(
        "11",
        "Office. Location other than a hospital, skilled nursing facility (SNF), military treatment "
        "facility, "
        "community health center, public health clinic or intermediate care facility (ICF), where the health "
        "professional routinely examines, diagnoses and treats illness or injury on an ambulatory basis."),
    CODE("81", "Independent Laboratory. A laboratory certified to perform diagnostic and/or clinical tests "
               "independent of an institution or a physician's office."),
    CODE("21", "Inpatient Hospital. A facility, other than psychiatric, which primarily provides diagnostic, "
               "therapeutic (both surgical and nonsurgical), and rehabilitation services by, or under, the "
               "supervision of physicians to patients admitted for a variety of medical conditions."),
    CODE("22",
         "Outpatient Hospital. A portion of a hospital's main campus which provides diagnostic, therapeutic "
         "(both surgical and nonsurgical), and rehabilitation services to sick or injured persons who do not "
         "require hospitalization or institutionalization."),
    CODE("23", "Emergency Room - Hospital. A portion of a hospital where emergency diagnosis and treatment "
               "of illness "
               "or injury is provided."),
    CODE("31",
         "Skilled Nursing Facility. A facility which primarily provides inpatient skilled nursing care and "
         "related services to patients who require medical, nursing, or rehabilitative services but does not "
         "provide the level of care or treatment available in a hospital."),
    CODE("12", "Home. Location, other than a hospital or other facility, where the patient receives care in "
               "a private "
               "residence."),
    CODE("24", "Ambulatory Surgical Center. A freestanding facility, other than a physician's office, where "
               "surgical "
               "and diagnostic services are provided on an ambulatory basis."),
    CODE(
        "32",
        "Nursing Facility. A facility which primarily provides to residents skilled nursing care and related "
        "services for the rehabilitation of injured, disabled, or sick persons, or, on a regular basis, "
        "health-related care services above the level of custodial care."),
    CODE("65",
         "End-Stage Renal Disease Treatment Facility. A facility other than a hospital, which provides "
         "dialysis "
         "treatment, maintenance, and/or training to patients or caregivers on an ambulatory or home-care "
         "basis."),
    CODE(
        "19",
        "Off Campus-Outpatient Hospital. A portion of an off-campus hospital provider based department which "
        "provides diagnostic, therapeutic (both surgical and nonsurgical), and rehabilitation services to "
        "sick or injured persons who do not require hospitalization."),
    CODE("41",
         "Ambulance - Land. A land vehicle specifically designed, equipped and staffed for lifesaving and "
         "transporting the sick or injured."),
    CODE("20",
         "Urgent Care Facility. Location, distinct from a hospital emergency room, an office, or a clinic, "
         "whose purpose is to diagnose and treat illness or injury for unscheduled, ambulatory patients."),
    CODE("49",
         "Independent Clinic. A location, not part of a hospital and not described by any other Place of "
         "Service code, that provides preventive, diagnostic, therapeutic, rehabilitative, or palliative "
         "services to outpatients only."),
};
const struct code_list place_codes = LIST_OF(place_array);

static const struct code specialty_array[] = {
    CODE("11", "Internal medicine"),
    CODE("08", "Family practice"),
    CODE("06", "Cardiology"),
    CODE("30", "Diagnostic radiology"),
    CODE("69", "Clinical laboratory (billing independently)"),
    CODE("50", "Nurse practitioner"),
    CODE("18", "Ophthalmology"),
    CODE("65", "Physical therapist in private practice"),
    CODE("93", "Emergency medicine"),
    CODE("07", "Dermatology"),
    CODE("20", "Orthopedic surgery"),
    CODE("97", "Physician assistant"),
    CODE("48", "Podiatry"),
    CODE("10", "Gastroenterology"),
    CODE("34", "Urology"),
    CODE("41", "Optometrist"),
    CODE("83", "Hematology/oncology"),
    CODE("29", "Pulmonary disease"),
    CODE("39", "Nephrology"),
    CODE("13", "Neurology"),
    CODE("35", "Chiropractic"),
    CODE("05", "Anesthesiology"),
    CODE("26", "Psychiatry"),
    CODE("02", "General surgery"),
    CODE("46", "Endocrinology"),
    CODE("66", "Rheumatology"),
    CODE("22", "Pathology"),
    CODE("01", "General practice"),
    CODE("59", "Ambulance service supplier, e.g., private ambulance companies"),
    CODE("A5", "Pharmacy (DMERC)"),
};
const struct code_list specialty_codes = LIST_OF(specialty_array);

static const struct code inpatient_revenue_array[] = {
    CODE("0250", "Pharmacy-general classification"),
    CODE("0301", "Laboratory-chemistry"),
    CODE("0120", "Room \\u0026 Board-semi-private 2 bed (medical or general)-general classification"),
    CODE("0270", "Medical/surgical supplies-general classification"),
    CODE("0305", "Laboratory-hematology"),
    CODE("0450", "Emergency room-general classification"),
    CODE("0420", "Physical therapy-general classification"),
    CODE("0300", "Laboratory-general classification"),
    CODE("0730", "EKG/ECG-general classification"),
    CODE("0636", "Drugs requiring specific identification-detailed coding (eff 3/92)"),
    CODE("0320", "Radiology diagnostic-general classification"),
    CODE("0410", "Respiratory services-general classification"),
    CODE("0206", "Intensive care-post ICU; redefined as intermediate ICU"),
    CODE("0258", "Pharmacy-IV solutions"),
    CODE("0272", "Medical/surgical supplies-sterile supply"),
    CODE("0306", "Laboratory-bacteriology and microbiology"),
    CODE("0351", "Computed tomographic (CT) scan-head scan"),
    CODE("0352", "Computed tomographic (CT) scan-body scan"),
    CODE("0360", "Operating room services-general classification"),
    CODE("0370", "Anesthesia-general classification"),
    CODE("0200", "Intensive care-general classification"),
    CODE("0110", "Room \\u0026 Board-private (medical or general)-general classification"),
    CODE("0430", "Occupational therapy-general classification"),
    CODE("0402", "Other imaging services-ultrasound"),
    CODE("0480", "Cardiology-general classification"),
    CODE("0710", "Recovery room-general classification"),
    CODE("0278", "Medical/surgical supplies-other implants"),
    CODE("0391", "Blood storage and processing-blood administration"),
    CODE("0440", "Speech language pathology-general classification"),
    CODE("0800", "Inpatient renal dialysis-general classification"),
    CODE("0921", "Other diagnostic services-peripheral vascular lab"),
};
const struct code_list inpatient_revenue_codes = LIST_OF(inpatient_revenue_array);

static const struct code outpatient_revenue_array[] = {
    CODE("0300", "Laboratory-general classification"),
    CODE("0301", "Laboratory-chemistry"),
    CODE("0510", "Clinic-general classification"),
    CODE("0305", "Laboratory-hematology"),
    CODE("0636", "Drugs requiring specific identification-detailed coding (eff 3/92)"),
    CODE("0450", "Emergency room-general classification"),
    CODE("0320", "Radiology diagnostic-general classification"),
    CODE("0420", "Physical therapy-general classification"),
    CODE("0250", "Pharmacy-general classification"),
    CODE("0730", "EKG/ECG-general classification"),
    CODE("0821", "Hemodialysis OP or home dialysis-hemodialysis composite or other rate"),
    CODE("0352", "Computed tomographic (CT) scan-body scan"),
    CODE("0403", "Other imaging services-screening mammography"),
    CODE("0335", "Radiology therapeutic-chemotherapy IV"),
    CODE("0480", "Cardiology-general classification"),
    CODE("0761", "Treatment or observation room-treatment room"),
    CODE("0762", "Treatment or observation room-observation room"),
    CODE("0270", "Medical/surgical supplies-general classification"),
    CODE("0360", "Operating room services-general classification"),
    CODE("0521", "Freestanding clinic-clinic visit by member to RHC/FQHC"),
    CODE("0610", "Magnetic resonance technology (MRT)-general classification"),
    CODE("0460", "Pulmonary function-general classification"),
    CODE("0771", "Preventative care services-vaccine administration"),
    CODE("0710", "Recovery room-general classification"),
};
const struct code_list outpatient_revenue_codes = LIST_OF(outpatient_revenue_array);

static const struct code home_health_revenue_array[] = {
    CODE("0551", "Skilled nursing-visit charge"),
    CODE("0421", "Physical therapy-visit charge"),
    CODE("0023", "Home Health services paid under PPS"),
    CODE("0431", "Occupational therapy-visit charge"),
    CODE("0571", "Home health aide-visit charge"),
    CODE("0441", "Speech language pathology-visit charge"),
    CODE("0561", "Medical social services-visit charge"),
};
const struct code_list home_health_revenue_codes = LIST_OF(home_health_revenue_array);

static const struct code hospice_revenue_array[] = {
    CODE("0651", "Hospice services-routine home care"),
    CODE("0551", "Skilled nursing-visit charge"),
    CODE("0571", "Home health aide-visit charge"),
    CODE("0652", "Hospice services-continuous home care-1/2"),
    CODE("0656", "Hospice services-general inpatient care (non-respite)"),
    CODE("0561", "Medical social services-visit charge"),
    CODE("0655", "Hospice services-inpatient care"),
};
const struct code_list hospice_revenue_codes = LIST_OF(hospice_revenue_array);

static const struct code revenue_status_array[] = {
    CODE("A",
         "Services not paid under OPPS; uses a different fee schedule (e.g., ambulance, PT, mammography)"),
    CODE("N", "Packaged incidental service (no separate APC payment)"),
    CODE("S", "Significant procedure not subject to multiple procedure discounting"),
    CODE("V", "Medical visit to clinic or emergency department"),
    CODE("T", "Significant procedure subject to multiple procedure discounting"),
    CODE("K", "Non pass-through drug or biological, paid under OPPS with its own APC payment"),
    CODE("Q", "Packaged services subject to separate payment based on criteria"),
};
const struct code_list revenue_status_codes = LIST_OF(revenue_status_array);

static const struct code revenue_deductible_array[] = {
    CODE("0", "Charges are subject to deductible and coinsurance"),
    CODE("3", "Charges are not subject to deductible or coinsurance"),
    CODE("1", "Charges are not subject to deductible"),
    CODE("2", "Charges are not subject to coinsurance"),
    CODE("4", "No charge or units associated with this revenue center code"),
};
const struct code_list revenue_deductible_codes = LIST_OF(revenue_deductible_array);

static const struct code reason_array[] = {
    CODE("CO45", ""), CODE("PR2", ""),  CODE("CO97", ""), CODE("PR1", ""),
    CODE("OA94", ""), CODE("CO16", ""), CODE("CO50", ""), CODE("CO253", ""),
};
const struct code_list reason_codes = LIST_OF(reason_array);

static const struct code discharge_array[] = {
    CODE("01", "Discharged to home/self-care (routine charge)."),
    CODE("03", "Discharged/transferred to skilled nursing facility (SNF) with Medicare certification."),
    CODE("06", "Discharged/transferred to home care of organized home health service organization."),
    CODE("30", "Still patient."),
    CODE("20", "Expired (patient did not recover)."),
    CODE("62", "Discharged/transferred to an inpatient rehabilitation facility."),
    CODE("02", "Discharged/transferred to other short term general hospital for inpatient care."),
    CODE("07", "Left against medical advice or discontinued care."),
    CODE("50", "Discharged/transferred to a Hospice – home."),
    CODE("51", "Discharged/transferred to a Hospice – medical facility."),
};
const struct code_list discharge_codes = LIST_OF(discharge_array);

static const struct code admission_type_array[] = {
    CODE("1", "Emergency - The patient required immediate medical intervention as a result of severe, life "
              "threatening, or potentially disabling conditions."),
    CODE(
        "3",
        "Elective - The patient's condition permitted adequate time to schedule the availability of suitable "
        "accommodations."),
    CODE("2", "Urgent - The patient required immediate attention for the care and treatment of a physical or "
              "mental "
              "disorder."),
    CODE("5", "Trauma center - Visits to a trauma center/hospital as licensed or designated by the State."),
};
const struct code_list admission_type_codes = LIST_OF(admission_type_array);

static const struct code admission_source_array[] = {
    CODE("1", ""), CODE("2", ""), CODE("4", ""), CODE("5", ""), CODE("8", ""),
};
const struct code_list admission_source_codes = LIST_OF(admission_source_array);

static const struct code primary_payer_array[] = {
    {{NULL, 0}, {NULL, 0}},
    {{NULL, 0}, {NULL, 0}},
    {{NULL, 0}, {NULL, 0}},
    CODE("A", "Employer group health plan (EGHP) insurance for an aged beneficiary"),
    CODE("D", "No fault automobile insurance"),
};
const struct code_list primary_payer_codes = LIST_OF(primary_payer_array);

static const struct code non_payment_array[] = {
    {{NULL, 0}, {NULL, 0}},         {{NULL, 0}, {NULL, 0}},         {{NULL, 0}, {NULL, 0}},
    CODE("P", "Payment requested"), CODE("B", "Benefit exhausted"),
};
const struct code_list non_payment_codes = LIST_OF(non_payment_array);

static const struct code line_processing_array[] = {
    CODE("A", "Allowed"),
    CODE("A", "Allowed"),
    CODE("A", "Allowed"),
    CODE("A", "Allowed"),
    CODE("C", "Non-covered care"),
    CODE("O", "Other"),
    CODE("N", "Medically unnecessary"),
    CODE("M", "Multiple submittal--duplicate line item"),
    CODE("R", "Reprocessed--adjustments based on subsequent reprocessing of claim"),
};
const struct code_list line_processing_codes = LIST_OF(line_processing_array);

static const struct code supplier_type_array[] = {
    CODE("3", "Partnerships or other entities for whom EI numbers are used in coding the ID field."),
    CODE("8",
         "Other entities for whom employer identification (EI) numbers are used in coding the ID field."),
    CODE("1", "Sole proprietorship for whom Social Security numbers are used in coding the ID field."),
    CODE("4",
         "Suppliers (other than sole proprietorship) for whom EI numbers are used in coding the ID field."),
};
const struct code_list supplier_type_codes = LIST_OF(supplier_type_array);
