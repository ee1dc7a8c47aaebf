/*
 * Opt-out files: what beneficiaries told 1-800-MEDICARE about the sharing of their data (names and layout as
 * in BCDA). One file a week or so, of all ACOs' beneficiaries:
 *
 *   P#EFT.ON.ACO.NGD1800.DPRF.Dyymmdd.Thhmmsst     T in front: test; t: tenths of a second, dropped
 *
 *   HDR_BENEDATASHRccyymmdd                        first
 *   rows of OPTOUT_ROW_BYTES, fixed width          one preference each, or none
 *   TRL_BENEDATASHRccyymmddnnnnnnnnnn              last: the number of rows, blanks behind it
 *
 * A file is good or bad as a whole, so what is read of it must not act before optout_read_end. Refused, with
 * the line: a header that is none or missing, or a second one; a row of another length; an identifier that is
 * neither an MBI nor digits and capitals (files to 2019 have HICNs: those rows are good and match nobody); a
 * link key that is no integer; a date that is none; a preference that is neither Y, N nor blank, or has no
 * effective date; anything behind the trailer; a count that is not the number of rows. A trailer may be
 * missing, as BCDA lets it: whoever reads says so. No text names an identifier.
 *
 * Threading: a reader belongs to one thread at a time.
 */
#ifndef CODEC_OPTOUT_H
#define CODEC_OPTOUT_H

#include "codec/base/slice.h"
#include "codec/base/status.h"
#include "codec/resource.h"

#include <stdint.h>

#define OPTOUT_ROW_BYTES      459
#define OPTOUT_NAME_BYTES_MAX 48

struct optout_name {
    bool test;     /* T instead of P */
    int64_t at_us; /* UTC */
};
/* `name` without directories and without ".gz". STATUS_INVALID says what is wrong. */
NODISCARD enum status optout_name_parse(struct slice name, struct optout_name *ret_name, struct error *error);

/* One preference. */
struct optout_row {
    struct slice mbi;      /* borrowed from the line */
    int32_t effective_day; /* since 1970-01-01 */
    char preference;       /* 'Y', 'N', or ' ': none, and then without a day */
};

struct optout_reader {
    bool has_header, has_trailer;
    int32_t day;          /* of the header */
    uint64_t rows;        /* so far */
    uint64_t preferences; /* of them not blank */
    uint64_t foreign;     /* of them with an identifier that is no MBI */
    uint64_t content_hash;
};
void optout_reader_init(struct optout_reader *reader);
/* The next line, without its end, and its number for messages. *ret_is_row false: it was header or trailer.
 * After a failure the reader is of no further use. */
NODISCARD enum status optout_read_line(struct optout_reader *reader, uint64_t number, struct slice line,
                                       struct optout_row *ret_row, bool *ret_is_row, struct error *error);
/* The file has ended. */
NODISCARD enum status optout_read_end(const struct optout_reader *reader, struct error *error);

#endif
