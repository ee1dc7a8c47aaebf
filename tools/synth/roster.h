/*
 * The attribution of one ACO at one date: a CCLF archive, as CMS delivers it since 2020. A zip without
 * suffix, P.BCD.A9990.ZCY26.D260101.T0000000, which holds CCLF0 (the summary), CCLF8 (demographics, 549
 * bytes a row) and CCLF9 (changes of MBI, 55 bytes a row); layouts are those of the CMS CCLF Information
 * Packet, version 38.
 *
 * The rows are kept in memory until the archive is written: at most 550 MB for BENEFICIARIES_MAX.
 *
 * Threading: one thread at a time.
 */
#ifndef TOOLS_SYNTH_ROSTER_H
#define TOOLS_SYNTH_ROSTER_H

#include "tools/synth/beneficiary.h"

#define CCLF0_ROW_BYTES 69
#define CCLF8_ROW_BYTES 549
#define CCLF9_ROW_BYTES 55

#define ACO_ID_SIZE_MAX 8

struct roster {
    struct slice aco;
    int32_t day; /* the date in the archive's name */
    struct buffer demographics;
    struct buffer cross_references;
    uint32_t row_count;
    uint32_t cross_reference_count;
};

/* One of the id forms that the archive's names have a place for: A0001, V001, C0001, SBXBA001 and so on. */
bool aco_id_valid(struct slice aco);

void roster_init(struct roster *roster, struct slice aco, int32_t day); /* borrows aco */
void roster_release(struct roster *roster);
void roster_add(struct roster *roster, const struct beneficiary *beneficiary);

/* P.BCD.A9990.ZCY26.D260101.T0000000 */
void roster_name_append(struct buffer *out, const struct roster *roster);
/* What CCLF0 says about the other two. */
void roster_summary_append(struct buffer *out, const struct roster *roster);
/* Makes the archive in the directory; it must not exist yet. */
NODISCARD enum status roster_write(const struct roster *roster, const char *directory, struct error *error);

#endif
