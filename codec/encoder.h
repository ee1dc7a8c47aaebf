/*
 * The encoder: segments in, one NDJSON file out, as gzip.
 *
 * One interface, two paths. *Verbatim* splices a segment whose every resource is wanted: no parsing, no
 * compression, no copy (the piece is handed on as a slice borrowed from the segment). *Filtered* inflates a
 * segment that `since` falls into, picks the lines with a later stamp and deflates them again. Both give
 * the same bytes after inflating.
 *
 * The output is a list of slices that the caller writes with writev and then clears: slices borrow from the
 * segments passed in and from the encoder, until encoder_clear_output. The caller clears before he lets go
 * of the segments (ends his read transaction).
 *
 * With the file goes an index: for each piece, where it begins in the gzip file and in the raw lines.
 *
 * Threading: an encoder belongs to one thread at a time (it may move between slices of work).
 */
#ifndef CODEC_ENCODER_H
#define CODEC_ENCODER_H

#include "codec/gzip_splice.h"
#include "codec/segment.h"

#include <sys/uio.h>

#define ENCODER_OUTPUT_MAX 256 /* slices that may be pending */

/* 24 bytes in the index, little-endian, one a piece, in order. */
struct encoder_index_entry {
    uint64_t gzip_offset; /* of the piece's first byte in the file */
    uint64_t raw_offset;  /* of its first line in the identity bytes */
    uint32_t piece_bytes;
    uint32_t raw_bytes;
};
#define ENCODER_INDEX_ENTRY_SIZE 24
void encoder_index_entry_store(char target[ENCODER_INDEX_ENTRY_SIZE],
                               const struct encoder_index_entry *entry);
void encoder_index_entry_load(const char source[ENCODER_INDEX_ENTRY_SIZE],
                              struct encoder_index_entry *ret_entry);

struct encoder;

struct encoder *encoder_new(void);
void encoder_free(struct encoder *encoder);

/* Starts a file: everything is forgotten but the memory. The header is the first slice of the output. */
void encoder_begin(struct encoder *encoder);

/* Puts the resources of `segment` with stamp > since_us and <= until_us into the output. INSTANT_MIN_US as
 * since_us is no lower bound, INSTANT_MAX_US as until_us no upper one. At most one slice is added. When
 * encoder_output_is_full, clear first (CHECK). STATUS_CORRUPT leaves the output, the index and the counts as
 * they were: the caller may report the segment and go on. */
NODISCARD enum status encoder_segment(struct encoder *encoder, const struct segment *segment,
                                      int64_t since_us, int64_t until_us, struct error *error);

/* Puts whole lines, `count` of them, into the output as a piece of its own, deflated here. Of what stands in
 * no segment. Same rule about encoder_output_is_full. */
void encoder_lines(struct encoder *encoder, struct slice lines, uint64_t count);

/* Ends the file; no segment may follow before encoder_begin. There is always room for the trailer. */
void encoder_end(struct encoder *encoder);

/* No room for another slice, or filtered pieces hold as much memory as they may. */
bool encoder_output_is_full(const struct encoder *encoder);
/* The pending slices, in order, and the bytes in them. */
const struct iovec *encoder_output(const struct encoder *encoder, size_t *ret_count, size_t *ret_bytes);
void encoder_clear_output(struct encoder *encoder);

/* Index entries made since encoder_clear_index; in memory until then. */
struct slice encoder_index(const struct encoder *encoder);
void encoder_clear_index(struct encoder *encoder);

uint64_t encoder_count(const struct encoder *encoder);      /* resources so far */
uint64_t encoder_raw_bytes(const struct encoder *encoder);  /* identity bytes so far */
uint64_t encoder_gzip_bytes(const struct encoder *encoder); /* bytes of the file so far, header included */

#endif
