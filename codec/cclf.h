/*
 * CCLF: the fixed-width files by which CMS tells an ACO who its beneficiaries are (CCLF Information Packet
 * v38; names as in BCDA). For attribution CCLF0 (counts), CCLF8 (beneficiaries) and CCLF9 (which MBI followed
 * which) are needed. Newer models get a list of MBIs instead, a CSV file of one column.
 *
 * Names, T for test or P for production in front, y the performance year, Y or R (run-out) before it:
 *
 *   P.BCD.ACO.ZC8Yyy.Dyymmdd.Tnnnnttt     an archive, to 2019: one per file; nnnn is the ACO (A0001)
 *   P.A0001.ACO.ZC8Yyy.Dyymmdd.Thhmmsst   what is in it; the same form is CMS's own, of files and, without
 *                                         the 8, of archives (ZCYyy; ZCyy in Primary Care First)
 *   P.BCD.A0001.ZCYyy.Dyymmdd.Thhmmsst    an archive, from 2020: one per ACO and month
 *   P.BCD.A0001.ZC8Yyy.Dyymmdd.Thhmmsst   what is in it; other models: A0001.ACO, IOTA001.PRT, CEC
 *   T.GUIDE.GUIDE-0001.Yyy.Dyymmdd.Thhmmsst   a CSV file: model and ACO; the part with the year may be
 * missing
 *
 * The instant is the name's Dyymmdd.Thhmmss, UTC; the tenth of a second is dropped, as BCDA does.
 *
 * Threading: pure functions.
 */
#ifndef CODEC_CCLF_H
#define CODEC_CCLF_H

#include "codec/base/slice.h"
#include "codec/base/status.h"
#include "codec/resource.h"

#include <stdint.h>

#define ACO_ID_MAX            15  /* characters of the longest model's id, with room */
#define CCLF8_RECORD_BYTES    549 /* where no CCLF0 says otherwise */
#define CCLF9_RECORD_BYTES    55
#define CCLF_NAME_BYTES_MAX   128
#define CCLF_RECORD_BYTES_MAX 99999 /* five digits in CCLF0 */

enum cclf_kind {
    CCLF_KIND_SUMMARY,         /* CCLF0 */
    CCLF_KIND_BENEFICIARIES,   /* CCLF8 */
    CCLF_KIND_CROSS_REFERENCE, /* CCLF9 */
    CCLF_KIND_OTHER,           /* another CCLF file: ignored */
    CCLF_KIND_ARCHIVE,         /* the zip's own name */
    CCLF_KIND_CSV              /* a list of MBIs */
};

struct cclf_name {
    enum cclf_kind kind;
    char aco[ACO_ID_MAX + 1]; /* empty if the name does not tell (CEC) */
    bool runout;
    bool test;                 /* T instead of P */
    unsigned performance_year; /* two digits */
    unsigned part;             /* n of a file cut into parts, whose name ends in "-n"; else 0 */
    int64_t at_us;             /* archives to 2019: the day's begin */
    /* Of an archive: what it holds, to 2019 one kind of file; CCLF_KIND_ARCHIVE: all kinds. */
    enum cclf_kind holds;
};

/* `name` without directories. STATUS_INVALID if it is no CCLF name; the text says what is wrong. */
NODISCARD enum status cclf_name_parse(struct slice name, struct cclf_name *ret_name, struct error *error);

/* An ACO id by the patterns of the models (A9994, V123, E1234, C1234, K1234, D1234, CT, DA, GUIDE-, ACCES,
 * IOTA, TEST, SBX...). */
bool aco_id_is_valid(struct slice id);

/* An MBI: 11 upper-case letters and digits, each where CMS's pattern wants one or the other. Position 2 may
 * be S (synthetic), and letters that real MBIs leave out are taken: test files have them. What is refused is
 * a shifted column, a blank and a HICN. */
bool mbi_is_valid(struct slice mbi);

/* One line of a CCLF0 file. */
struct cclf_counted {
    bool there;
    uint64_t count;
    uint32_t record_bytes;
};
/* The line of a file, "CCLF8", of a CCLF0 file, which need not be there. STATUS_INVALID if it is doubled or
 * no number. */
NODISCARD enum status cclf0_find(struct slice file, const char *counted, struct cclf_counted *ret_counted,
                                 struct error *error);
/* The CCLF8 line, which must be there. */
NODISCARD enum status cclf0_parse(struct slice file, uint64_t *ret_count, uint32_t *ret_record_bytes,
                                  struct error *error);

/* Walks a CCLF8 file: `mbi` of each row, in order, repeats included. record_bytes_max: of CCLF0, or
 * CCLF8_RECORD_BYTES. Rows may be shorter (sandbox files are). STATUS_INVALID with the line's number for an
 * empty row, a row over the length (blanks at its end do not count) and a bad MBI. The handler sees the rows
 * before it, so it must not act before the whole file has passed. */
typedef enum status cclf8_handler(void *context, struct slice mbi, struct error *error);
NODISCARD enum status cclf8_parse(struct slice file, uint32_t record_bytes_max, cclf8_handler *handler,
                                  void *context, uint64_t *ret_rows, struct error *error);

/* Walks a CCLF9 file: of each row that tells which MBI followed which, the two. Rows about HICNs are counted
 * and passed over. STATUS_INVALID as in cclf8_parse, and for a row of neither kind. */
typedef enum status cclf9_handler(void *context, struct slice current, struct slice previous,
                                  struct error *error);
NODISCARD enum status cclf9_parse(struct slice file, uint32_t record_bytes_max, cclf9_handler *handler,
                                  void *context, uint64_t *ret_rows, struct error *error);

/* Walks a CSV file: a line "MBIs", then one MBI a line, which may stand in double quotes. MBIs of test files
 * do not keep to the pattern, so here 1 to 11 capitals and digits are one. STATUS_INVALID with the line. */
NODISCARD enum status csv_roster_parse(struct slice file, cclf8_handler *handler, void *context,
                                       uint64_t *ret_rows, struct error *error);

#endif
