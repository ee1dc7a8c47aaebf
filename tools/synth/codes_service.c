#include "tools/synth/codes.h"

#define MEDICAL    CODE("1", "Medical care")
#define SURGERY    CODE("2", "Surgery")
#define CONSULT    CODE("3", "Consultation")
#define RADIOLOGY  CODE("4", "Diagnostic radiology")
#define LABORATORY CODE("5", "Diagnostic laboratory")
#define ANESTHESIA CODE("7", "Anesthesia")
#define OTHER      CODE("9", "Other medical items or services")
#define AMBULANCE  CODE("D", "Ambulance")
#define VACCINE    CODE("V", "Pneumococcal/flu vaccine")
#define THERAPY    CODE("W", "Physical therapy")
#define PURCHASE   CODE("P", "Lump sum purchase of DME, prosthetics orthotics")
#define RENTAL     CODE("R", "Rental of DME")

#define SERVICE(hcpcs, betos, betos_title, kind, cents)                                                      \
    {                                                                                                        \
        CODE(hcpcs, ""), CODE(betos, betos_title), kind, cents                                               \
    }

static const struct service professional_array[] = {
    SERVICE("99214", "M1B", "Office visits - established", MEDICAL, 16800),
    SERVICE("99213", "M1B", "Office visits - established", MEDICAL, 11400),
    SERVICE("36415", "T1A", "Lab tests - routine venipuncture (non-Medicare fee schedule)", LABORATORY, 1200),
    SERVICE("85025", "T1D", "Lab tests - blood counts", LABORATORY, 2400),
    SERVICE("80053", "T1B", "Lab tests - automated general profiles", LABORATORY, 3900),
    SERVICE("99232", "M2B", "Hospital visit - subsequent", MEDICAL, 14200),
    SERVICE("80061", "T1B", "Lab tests - automated general profiles", LABORATORY, 4700),
    SERVICE("97110", "P8I", "Other - physical and occupational therapy", THERAPY, 5900),
    SERVICE("83036", "T1H", "Lab tests - other (non-Medicare fee schedule)", LABORATORY, 3300),
    SERVICE("93000", "T2A", "Other tests - electrocardiograms", MEDICAL, 4200),
    SERVICE("84443", "T1H", "Lab tests - other (non-Medicare fee schedule)", LABORATORY, 6100),
    SERVICE("71046", "I1A", "Standard imaging - chest", RADIOLOGY, 7600),
    SERVICE("99233", "M2B", "Hospital visit - subsequent", MEDICAL, 20500),
    SERVICE("99285", "M3", "Emergency room visit", MEDICAL, 48900),
    SERVICE("G0439", "M1B", "Office visits - established", MEDICAL, 19700),
    SERVICE("99204", "M1A", "Office visits - new", MEDICAL, 25700),
    SERVICE("99203", "M1A", "Office visits - new", MEDICAL, 17600),
    SERVICE("92014", "M5C", "Specialist - ophthalmology", MEDICAL, 17900),
    SERVICE("93306", "I3C", "Echography/ultrasonography - heart", MEDICAL, 62400),
    SERVICE("17000", "P5A", "Ambulatory procedures - skin", SURGERY, 12900),
    SERVICE("17003", "P5A", "Ambulatory procedures - skin", SURGERY, 2100),
    SERVICE("11721", "P6A", "Minor procedures - skin", SURGERY, 7400),
    SERVICE("20610", "P6B", "Minor procedures - musculoskeletal", SURGERY, 15500),
    SERVICE("98941", "M5D", "Specialist - other", MEDICAL, 5800),
    SERVICE("90833", "M5B", "Specialist - psychiatry", MEDICAL, 11800),
    SERVICE("90837", "M5B", "Specialist - psychiatry", MEDICAL, 20100),
    SERVICE("G0008", "O1G", "Immunizations/Vaccinations", VACCINE, 3100),
    SERVICE("90662", "O1G", "Immunizations/Vaccinations", VACCINE, 7200),
    SERVICE("77067", "I1C", "Standard imaging - breast", RADIOLOGY, 24100),
    SERVICE("88305", "T1G", "Lab tests - other (Medicare fee schedule)", LABORATORY, 14300),
    SERVICE("87086", "T1F", "Lab tests - bacterial cultures", LABORATORY, 2700),
    SERVICE("81001", "T1C", "Lab tests - urinalysis", LABORATORY, 900),
    SERVICE("82306", "T1H", "Lab tests - other (non-Medicare fee schedule)", LABORATORY, 9100),
    SERVICE("85610", "T1D", "Lab tests - blood counts", LABORATORY, 1500),
    SERVICE("82962", "T1E", "Lab tests - glucose", LABORATORY, 800),
    SERVICE("70450", "I2A", "Advanced imaging - CAT/CT/CTA: brain/head/neck", RADIOLOGY, 46200),
    SERVICE("74177", "I2B", "Advanced imaging - CAT/CT/CTA: other", RADIOLOGY, 97800),
    SERVICE("70553", "I2C", "Advanced imaging - MRI/MRA: brain/head/neck", RADIOLOGY, 144300),
    SERVICE("72148", "I2D", "Advanced imaging - MRI/MRA: other", RADIOLOGY, 98600),
    SERVICE("73562", "I1B", "Standard imaging - musculoskeletal", RADIOLOGY, 9600),
    SERVICE("78452", "I1E", "Standard imaging - nuclear medicine", RADIOLOGY, 134800),
    SERVICE("77080", "I1F", "Standard imaging - other", RADIOLOGY, 14900),
    SERVICE("93880", "I3D", "Echography/ultrasonography - carotid arteries", RADIOLOGY, 52400),
    SERVICE("76700", "I3B", "Echography/ultrasonography - abdomen/pelvis", RADIOLOGY, 34500),
    SERVICE("92134", "I3A", "Echography/ultrasonography - eye", RADIOLOGY, 8400),
    SERVICE("93015", "T2B", "Other tests - cardiovascular stress tests", MEDICAL, 28800),
    SERVICE("93224", "T2C", "Other tests - EKG monitoring", MEDICAL, 24200),
    SERVICE("94060", "T2D", "Other tests - other", MEDICAL, 11700),
    SERVICE("95810", "T2D", "Other tests - other", MEDICAL, 131500),
    SERVICE("45378", "P8D", "Endoscopy - colonoscopy", SURGERY, 112400),
    SERVICE("45385", "P8D", "Endoscopy - colonoscopy", SURGERY, 148700),
    SERVICE("43239", "P8B", "Endoscopy - upper gastrointestinal", SURGERY, 96100),
    SERVICE("52000", "P8F", "Endoscopy - cystoscopy", SURGERY, 52900),
    SERVICE("66984", "P4B", "Eye procedure - cataract removal/lens insertion", SURGERY, 214300),
    SERVICE("67028", "P4E", "Eye procedure - other", SURGERY, 43100),
    SERVICE("27447", "P3C", "Major procedure, orthopedic - Knee replacement", SURGERY, 441200),
    SERVICE("27130", "P3B", "Major procedure, orthopedic - Hip replacement", SURGERY, 432900),
    SERVICE("33208", "P2E", "Major procedure, cardiovascular-Pacemaker insertion", SURGERY, 186700),
    SERVICE("92928", "P2D", "Major procedure, cardiovascular-Coronary angioplasty (PTCA)", SURGERY, 248100),
    SERVICE("00142", "P0", "Anesthesia", ANESTHESIA, 61200),
    SERVICE("00840", "P0", "Anesthesia", ANESTHESIA, 88400),
    SERVICE("77386", "P7A", "Oncology - radiation therapy", OTHER, 152600),
    SERVICE("96413", "P7B", "Oncology - other", OTHER, 46300),
    SERVICE("90935", "P9A", "Dialysis services (medicare fee schedule)", MEDICAL, 17300),
    SERVICE("A0429", "O1A", "Ambulance", AMBULANCE, 98700),
    SERVICE("A0425", "O1A", "Ambulance", AMBULANCE, 14800),
    SERVICE("J0897", "O1E", "Other drugs", MEDICAL, 183200),
    SERVICE("J9271", "O1D", "Chemotherapy", MEDICAL, 1264500),
    SERVICE("J1100", "O1E", "Other drugs", MEDICAL, 600),
    SERVICE("99222", "M2A", "Hospital visit - initial", CONSULT, 26400),
    SERVICE("99309", "M4B", "Nursing home visit", MEDICAL, 17200),
    SERVICE("99349", "M4A", "Home visit", MEDICAL, 22600),
    SERVICE("99490", "M5D", "Specialist - other", MEDICAL, 8600),
    SERVICE("99497", "M6", "Consultations", CONSULT, 13300),
};
const struct service_list professional_services = LIST_OF(professional_array);

static const struct service equipment_array[] = {
    SERVICE("E1390", "D1C", "Oxygen and supplies", RENTAL, 18400),
    SERVICE("A4253", "D1A", "Medical/surgical supplies", PURCHASE, 3700),
    SERVICE("E0601", "D1E", "Other DME", RENTAL, 9800),
    SERVICE("A7038", "D1E", "Other DME", PURCHASE, 900),
    SERVICE("A7037", "D1E", "Other DME", PURCHASE, 4300),
    SERVICE("A7034", "D1E", "Other DME", PURCHASE, 13800),
    SERVICE("K0001", "D1D", "Wheelchairs", RENTAL, 6100),
    SERVICE("E0143", "D1E", "Other DME", PURCHASE, 12900),
    SERVICE("E0431", "D1C", "Oxygen and supplies", RENTAL, 3400),
    SERVICE("A4259", "D1A", "Medical/surgical supplies", PURCHASE, 1400),
    SERVICE("E0260", "D1B", "Hospital beds", RENTAL, 14300),
    SERVICE("E0570", "D1E", "Other DME", RENTAL, 1900),
    SERVICE("J7620", "O1E", "Other drugs", PURCHASE, 1300),
    SERVICE("J7626", "O1E", "Other drugs", PURCHASE, 9600),
    SERVICE("K0823", "D1D", "Wheelchairs", RENTAL, 46800),
    SERVICE("L1833", "D1F", "Prosthetic/Orthotic devices", PURCHASE, 71200),
    SERVICE("L3000", "D1F", "Prosthetic/Orthotic devices", PURCHASE, 38500),
    SERVICE("A5500", "D1F", "Prosthetic/Orthotic devices", PURCHASE, 14700),
    SERVICE("A4351", "D1F", "Prosthetic/Orthotic devices", PURCHASE, 300),
    SERVICE("B4150", "O1C", "Enteral and parenteral", PURCHASE, 100),
    SERVICE("A6212", "D1A", "Medical/surgical supplies", PURCHASE, 1500),
    SERVICE("E0784", "D1E", "Other DME", RENTAL, 49800),
    SERVICE("V2632", "D1F", "Prosthetic/Orthotic devices", PURCHASE, 15400),
};
const struct service_list equipment_services = LIST_OF(equipment_array);

#define PLAIN(value) CODE(value, "")

static const struct code outpatient_hcpcs_array[] = {
    PLAIN("36415"), PLAIN("80053"), PLAIN("85025"), PLAIN("G0463"), PLAIN("80048"), PLAIN("83036"),
    PLAIN("84443"), PLAIN("80061"), PLAIN("71046"), PLAIN("93005"), PLAIN("97110"), PLAIN("99284"),
    PLAIN("99285"), PLAIN("96374"), PLAIN("J2405"), PLAIN("81001"), PLAIN("85610"), PLAIN("87086"),
    PLAIN("82565"), PLAIN("83735"), PLAIN("84484"), PLAIN("96360"), PLAIN("96361"), PLAIN("J7030"),
    PLAIN("70450"), PLAIN("74177"), PLAIN("77067"), PLAIN("97530"), PLAIN("97140"), PLAIN("97161"),
    PLAIN("90999"), PLAIN("Q9967"), PLAIN("J1885"), PLAIN("J3010"), PLAIN("96413"), PLAIN("96415"),
    PLAIN("J9271"), PLAIN("99213"), PLAIN("73562"), PLAIN("93306"), PLAIN("87635"), PLAIN("G0378"),
    PLAIN("45385"), PLAIN("43239"), PLAIN("66984"), PLAIN("C1713"), PLAIN("A9500"), PLAIN("78452"),
};
const struct code_list outpatient_hcpcs = LIST_OF(outpatient_hcpcs_array);

static const struct code home_health_hcpcs_array[] = {
    PLAIN("G0299"), PLAIN("G0151"), PLAIN("G0300"), PLAIN("G0152"), PLAIN("G0156"),
    PLAIN("G0157"), PLAIN("G0153"), PLAIN("G0155"), PLAIN("2CB11"), PLAIN("3BC21"),
};
const struct code_list home_health_hcpcs = LIST_OF(home_health_hcpcs_array);

static const struct code hospice_hcpcs_array[] = {
    PLAIN("Q5001"), PLAIN("G0299"), PLAIN("Q5003"), PLAIN("G0156"),
    PLAIN("Q5002"), PLAIN("G0155"), PLAIN("Q5004"),
};
const struct code_list hospice_hcpcs = LIST_OF(hospice_hcpcs_array);

static const struct code rate_hcpcs_array[] = {
    PLAIN("IBXF1"), PLAIN("KAXE1"), PLAIN("KBXD1"), PLAIN("NHNC1"), PLAIN("LCXE1"), PLAIN("MDHF0"),
    PLAIN("JBWC1"), PLAIN("OGKD1"), PLAIN("HAXE1"), PLAIN("EAXD0"), PLAIN("PCYF1"), PLAIN("GANE1"),
};
const struct code_list rate_hcpcs = LIST_OF(rate_hcpcs_array);

static const struct code modifier_array[] = {
    PLAIN("25"), PLAIN("GP"), PLAIN("59"), PLAIN("RT"), PLAIN("LT"), PLAIN("26"), PLAIN("KX"), PLAIN("NU"),
    PLAIN("RR"), PLAIN("QW"), PLAIN("GA"), PLAIN("50"), PLAIN("95"), PLAIN("XU"), PLAIN("Q8"), PLAIN("TC"),
};
const struct code_list modifier_codes = LIST_OF(modifier_array);
