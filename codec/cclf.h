/*
 * CCLF: the fixed-width files by which CMS tells an ACO who its beneficiaries are (CCLF Information Packet
 * v38; names as in BCDA). Only CCLF0 (counts) and CCLF8 (beneficiaries) are needed for attribution.
 *
 * Names are parsed in both eras and in CMS's own form; the instant is the name's Dyymmdd.Thhmmss, UTC.
 *
 * Threading: pure functions.
 */
#ifndef CODEC_CCLF_H
#define CODEC_CCLF_H

#include "codec/base/slice.h"
#include "codec/base/status.h"
#include "codec/resource.h"

#include <stdint.h>

#define ACO_ID_MAX 15 /* characters of the longest model's id, with room */

enum cclf_kind {
    CCLF_KIND_SUMMARY,         /* CCLF0 */
    CCLF_KIND_BENEFICIARIES,   /* CCLF8 */
    CCLF_KIND_CROSS_REFERENCE, /* CCLF9 */
    CCLF_KIND_OTHER,           /* another CCLF file: ignored */
    CCLF_KIND_ARCHIVE          /* the zip's own name, era 2020 on */
};

struct cclf_name {
    enum cclf_kind kind;
    char aco[ACO_ID_MAX + 1]; /* empty if the name does not tell (outer names to 2019: digits of the time) */
    bool runout;
    bool test;                 /* T instead of P */
    unsigned performance_year; /* two digits */
    int64_t at_us;
};

/* `name` without directories. STATUS_INVALID if it is no CCLF name; the text says what is wrong. */
NODISCARD enum status cclf_name_parse(struct slice name, struct cclf_name *ret_name, struct error *error);

/* An ACO id by the patterns of the models (A9994, V123, E1234, C1234, K1234, D1234, CT, DA, GUIDE-, ACCES,
 * IOTA, TEST, SBX...). */
bool aco_id_is_valid(struct slice id);

/* An MBI: 11 characters, upper-case letters and digits, real or synthetic pattern (position 2 may be S);
 * strict enough to catch shifted columns, tolerant of the 2019 test files. */
bool mbi_is_valid(struct slice mbi);

/* The CCLF8 line of a CCLF0 file. STATUS_INVALID if it is missing, doubled or no number. */
NODISCARD enum status cclf0_parse(struct slice file, uint64_t *ret_count, uint32_t *ret_record_bytes,
                                  struct error *error);

/* Walks a CCLF8 file: `mbi` of each row, in order, repeats included. record_bytes_max: of CCLF0, or 549.
 * Refuses the whole file with the line's number for an empty row, a row over the length, a bad MBI. */
typedef enum status cclf8_handler(void *context, struct slice mbi, struct error *error);
NODISCARD enum status cclf8_parse(struct slice file, uint32_t record_bytes_max, cclf8_handler *handler,
                                  void *context, uint64_t *ret_rows, struct error *error);

#endif
