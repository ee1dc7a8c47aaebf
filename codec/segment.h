/*
 * Segments: the resources of one beneficiary and type that one load brought, compressed once.
 *
 * A segment is one immutable value: a fixed header, a table of what is inside, and the resources' lines
 * (each ended by "\n", in id order, memcmp) as one deflate piece followed by DEFLATE_END. An export copies
 * the piece and reads nothing but the header; the table is only opened to find, replace, filter or check.
 *
 *   u8 kind 'S', u8 version, u16 count, u32 raw bytes, u32 crc32 of raw, u32 crc operator of raw,
 *   u32 table bytes, u32 piece bytes, i64 oldest stamp, i64 newest stamp, u8 level,
 *   table, u64 content hash of each resource, piece, DEFLATE_END
 *
 * The level (enum deflate_level) is the one that made the piece: compaction leaves alone what is at the best
 * one.
 *
 * The table is not deflated: its columns are packed in bits, which is smaller for tables of this size (a
 * Huffman header costs 70 bytes) and needs no inflating. A *number* is LEB128: 7 bits a byte, the low ones
 * first. A *column* of n values is the lowest of them (number), u8 the bits of the largest distance from it,
 * and n distances in so many bits each, the low bits first, padded to a byte. *Zigzag* makes signed values
 * small unsigned ones: 0, -1, 1, -2 become 0, 1, 2, 3. One behind the other:
 *
 *   instants      number: how many different ones; number: zigzag(lowest - the header's oldest stamp);
 *                 number: unit (greatest common divisor of the distances, 0 if there is one instant);
 *                 column: (instant - lowest) / unit, ascending
 *   stamps        column: index of the stamp in `instants`
 *   source times  column: zigzag(index of the source time - index of the stamp)
 *   sizes         column: bytes of the line, with the "\n". Offsets follow from them.
 *   first days    number: zigzag(base); column: 0 for DAY_NONE, else 1 + first day - base
 *   last days     column: 0 for DAY_NONE, else 1 + zigzag(last day - (first day, or base if none))
 *   ids           column: bytes shared with the id before; column: bytes that follow; u8 size of the
 *                 alphabet, and the alphabet: the different bytes among all that follow; their indexes in it
 *                 in the bits of the largest index, all ids in one run, padded to a byte. Size 0: no
 *                 alphabet, the bytes themselves (where that is smaller).
 *
 * Table and hashes of made-up claims (ids like "carrier--10000000004049", tests/support/claims.c) take 22.3
 * bytes a resource where a segment has 25 of them, 20.7 where it has 50, 19.4 where it has 200. 8 of them are
 * the hash, which nothing makes smaller.
 *
 * Bounds: 1 <= count <= SEGMENT_COUNT_MAX; raw bytes about SEGMENT_RAW_TARGET, more only if a single
 * resource is larger, never more than SEGMENT_RAW_MAX. Ids have 1 to RESOURCE_ID_MAX bytes. Whatever bytes
 * are opened, a wrong one is an error and never more memory than the bounds allow.
 *
 * Stamps are the instants under which a resource is committed and exported (the text in its
 * meta.lastUpdated); source times are what the source said. They differ when the import had to stamp.
 *
 * Threading: builders and tables belong to one thread at a time. A `struct segment` is a view and borrows
 * from the value it was opened on.
 */
#ifndef CODEC_SEGMENT_H
#define CODEC_SEGMENT_H

#include "codec/base/buffer.h"
#include "codec/deflate.h"

#include <stdint.h>

#define SEGMENT_RAW_TARGET  ((size_t)1024 * 1024)
#define SEGMENT_RAW_MAX     ((size_t)64 * 1024 * 1024)
#define SEGMENT_COUNT_MAX   65535
#define SEGMENT_HEADER_SIZE 41

struct segment_entry {
    struct slice id;
    int64_t source_us;
    int64_t stamp_us;
    int32_t service_first_day; /* DAY_NONE if it has none */
    int32_t service_last_day;
    uint64_t content_hash;
    uint32_t offset; /* of the line in the raw bytes; set by the builder */
    uint32_t size;   /* of the line with its "\n" */
};

/* A view of a stored segment. Borrows from the value. */
struct segment {
    uint32_t count;
    uint32_t raw_bytes;
    uint32_t crc;
    uint32_t crc_operator;
    int64_t oldest_us; /* stamps */
    int64_t newest_us;
    enum deflate_level level; /* of the piece: good or best */
    struct slice table;       /* the columns */
    struct slice hashes;      /* u64 each */
    struct slice piece;       /* without DEFLATE_END, which follows it in memory */
};

/* Checks the header and the lengths, not the compressed contents. STATUS_UNSUPPORTED for a later version,
 * STATUS_CORRUPT for what is no segment. */
NODISCARD enum status segment_open(struct slice value, struct segment *ret_segment, struct error *error);

/* The opened table; reusable for one segment after another. After a failure it is empty. */
struct segment_table {
    struct segment_entry *entries; /* in id order; ids borrow from `ids` */
    size_t count;
    size_t capacity;
    struct buffer ids;
    int64_t *instants;
    size_t instant_capacity;
};
void segment_table_init(struct segment_table *table);
void segment_table_release(struct segment_table *table);
/* The entries agree with the header afterwards: as many, ids ascending, sizes that add up to the raw bytes,
 * stamps from oldest to newest. */
NODISCARD enum status segment_table_read(struct segment_table *table, const struct segment *segment,
                                         struct error *error);
/* The entry of that id or NULL. */
const struct segment_entry *segment_table_find(const struct segment_table *table, struct slice id);

/* Appends the raw lines; checks length and CRC (STATUS_CORRUPT, and `target` is as it was). */
NODISCARD enum status segment_inflate(const struct segment *segment, struct inflater *inflater,
                                      struct buffer *target, struct error *error);

/* Everything: CRC and its operator, table against header and lines (offsets, sizes, order of ids, oldest and
 * newest). For verify. */
NODISCARD enum status segment_check(const struct segment *segment, struct inflater *inflater,
                                    struct error *error);

struct segment_builder;
struct segment_builder *segment_builder_new(enum deflate_level level);
void segment_builder_free(struct segment_builder *builder);
/* Adds a line (`json` without "\n"). Copies both. Ids must come in strictly ascending order, the bounds above
 * hold, service days lie within years -9999 to 9999 or are DAY_NONE (CHECK). entry->offset and size are
 * ignored. */
void segment_builder_add(struct segment_builder *builder, const struct segment_entry *entry,
                         struct slice json);
size_t segment_builder_count(const struct segment_builder *builder);
size_t segment_builder_raw_bytes(const struct segment_builder *builder);
/* True if a line of that size should rather begin the next segment. Never true of an empty builder. */
bool segment_builder_is_full_for(const struct segment_builder *builder, size_t line_bytes);
/* Appends the value and empties the builder. There must be at least one resource. */
void segment_builder_finish(struct segment_builder *builder, struct buffer *target);

#endif
