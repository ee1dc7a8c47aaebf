#include "storage/resources.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"
#include "storage/deletion.h"
#include "storage/homes.h"
#include "storage/jobs.h"
#include "storage/resource_index.h"

/* A segment's value in the store: what the store knows of it, then the segment's own bytes. */
#define RECORD_KIND        'G'
#define RECORD_VERSION     1
#define RECORD_HEADER_SIZE 16 /* u8 kind, u8 version, u16 0, u32 0, u64 death */

#define SUMMARY_KIND    'U'
#define SUMMARY_VERSION 2

static enum table segment_table_of(enum resource_type type)
{
    CHECK((unsigned)type < RESOURCE_TYPE_COUNT);
    return (enum table)(TABLE_SEGMENT + (int)type);
}

static void record_header(char header[RECORD_HEADER_SIZE], uint64_t death)
{
    memset(header, 0, RECORD_HEADER_SIZE);
    header[0] = RECORD_KIND;
    header[1] = RECORD_VERSION;
    store_u64_le(header + 8, death);
}

enum status stored_segment_open(struct slice record, struct stored_segment *stored, struct error *error)
{
    if (record.size < RECORD_HEADER_SIZE || record.data[0] != RECORD_KIND || record.data[1] != RECORD_VERSION)
        return error_set(error, STATUS_CORRUPT, "a stored segment's header is malformed");
    stored->death = load_u64_le(record.data + 8);
    stored->value = slice_skip(record, RECORD_HEADER_SIZE);
    return segment_open(stored->value, &stored->segment, error);
}

/* ---- summaries ---- */

void summary_init(struct summary *summary)
{
    *summary = (struct summary){0};
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        summary->of[i].newest_us = INT64_MIN;
}

enum status summary_parse(struct slice value, struct summary *ret_summary, struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    uint16_t types = reader_u16(&reader);
    if (reader.failed || kind != SUMMARY_KIND || version != SUMMARY_VERSION || types != RESOURCE_TYPE_COUNT)
        return error_set(error, STATUS_CORRUPT, "a summary's row is malformed");
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        ret_summary->of[i].segments = reader_u32(&reader);
        ret_summary->of[i].resources = reader_u64(&reader);
        ret_summary->of[i].newest_us = reader_i64(&reader);
        ret_summary->of[i].raw_bytes = reader_u64(&reader);
        ret_summary->of[i].stored_bytes = reader_u64(&reader);
    }
    ret_summary->left = reader_u64(&reader);
    if (!reader_done(&reader))
        return error_set(error, STATUS_CORRUPT, "a summary's row has a wrong size");
    return STATUS_OK;
}

enum status summary_get(struct engine_txn *txn, uint32_t home, struct slice beneficiary,
                        struct summary *ret_summary, struct error *error)
{
    struct key key;
    struct slice value;
    key_aco_beneficiary(&key, home, beneficiary);
    enum status status = engine_get(txn, TABLE_SUMMARY, key_slice(&key), &value, error);
    return status == STATUS_OK ? summary_parse(value, ret_summary, error) : status;
}

struct summary_scan {
    struct engine_txn *txn;
    struct engine_cursor *cursor;
    bool is_placed; /* behind the last answer */
};

enum status summary_scan_open(struct engine_txn *txn, struct summary_scan **ret_scan, struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, TABLE_SUMMARY, &cursor, error);
    if (status != STATUS_OK)
        return status;
    *ret_scan = mem_new(struct summary_scan);
    **ret_scan = (struct summary_scan){.txn = txn, .cursor = cursor};
    return STATUS_OK;
}

void summary_scan_close(struct summary_scan *scan)
{
    if (scan)
        engine_cursor_close(scan->cursor);
    mem_free(scan);
}

enum status summary_scan_get(struct summary_scan *scan, uint32_t home, struct slice beneficiary,
                             struct summary *ret_summary, struct error *error)
{
    struct key wanted;
    struct slice key, value;
    if (scan->is_placed && engine_next(scan->cursor, &key, &value, NULL) == STATUS_OK &&
        key_is_aco_beneficiary(key, home, beneficiary))
        return summary_parse(value, ret_summary, error);
    key_aco_beneficiary(&wanted, home, beneficiary);
    engine_seek(scan->cursor, key_slice(&wanted), (struct slice){0});
    scan->is_placed = engine_next(scan->cursor, &key, &value, NULL) == STATUS_OK &&
                      slice_compare(key, key_slice(&wanted)) == 0;
    if (scan->is_placed)
        return summary_parse(value, ret_summary, error);
    return summary_get(scan->txn, home, beneficiary, ret_summary, error); /* absent, or damaged: it says */
}

enum status summary_put(struct store_write *write, uint32_t home, struct slice beneficiary,
                        const struct summary *summary, struct error *error)
{
    struct buffer value = BUFFER_INIT;
    buffer_append_u8(&value, SUMMARY_KIND);
    buffer_append_u8(&value, SUMMARY_VERSION);
    buffer_append_u16(&value, RESOURCE_TYPE_COUNT);
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        buffer_append_u32(&value, summary->of[i].segments);
        buffer_append_u64(&value, summary->of[i].resources);
        buffer_append_i64(&value, summary->of[i].newest_us);
        buffer_append_u64(&value, summary->of[i].raw_bytes);
        buffer_append_u64(&value, summary->of[i].stored_bytes);
    }
    buffer_append_u64(&value, summary->left);
    struct key key;
    key_aco_beneficiary(&key, home, beneficiary);
    enum status status = engine_put(write->txn, TABLE_SUMMARY, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

/* ---- deltas ---- */

#define DELTA_VERSION       3
#define DELTA_DELETION_SIZE 21 /* without the bytes of its id */

void delta_encode(const struct delta *delta, struct buffer *target)
{
    CHECK(delta->segment_count <= DELTA_SEGMENTS_MAX);
    buffer_append_u8(target, DELTA_VERSION);
    buffer_append_u8(target, (uint8_t)delta->type);
    buffer_append_sized(target, delta->beneficiary);
    buffer_append_u64(target, delta->seen);
    buffer_append_u64(target, delta->as_of);
    buffer_append_u32(target, delta->attribute);
    buffer_append_i64(target, delta->kept_min_us);
    buffer_append_i64(target, delta->newest_us);
    buffer_append_u8(target, delta->stamped);
    buffer_append_i64(target, delta->stamp_us);
    buffer_append_u32(target, (uint32_t)delta->mbi_count);
    for (size_t i = 0; i < delta->mbi_count; i++)
        buffer_append_sized(target, delta->mbis[i]);
    buffer_append_u32(target, (uint32_t)delta->superseded_count);
    for (size_t i = 0; i < delta->superseded_count; i++) {
        buffer_append_i64(target, delta->superseded[i].newest_us);
        buffer_append_u64(target, delta->superseded[i].birth);
        buffer_append_u16(target, delta->superseded[i].ordinal);
    }
    buffer_append_u32(target, (uint32_t)delta->segment_count);
    for (size_t i = 0; i < delta->segment_count; i++)
        buffer_append_sized(target, delta->segments[i]);
    buffer_append_u32(target, (uint32_t)delta->id_count);
    for (size_t i = 0; i < delta->id_count; i++)
        buffer_append_sized(target, delta->ids[i]);
    buffer_append_u32(target, (uint32_t)delta->deletion_count);
    for (size_t i = 0; i < delta->deletion_count; i++) {
        buffer_append_sized(target, delta->deletions[i].id);
        buffer_append_i64(target, delta->deletions[i].source_us);
        buffer_append_u8(target, delta->deletions[i].is_stored);
        buffer_append_i64(target, delta->deletions[i].stamp_us);
    }
    buffer_append_u32(target, (uint32_t)delta->dropped_count);
    for (size_t i = 0; i < delta->dropped_count; i++)
        buffer_append_sized(target, delta->dropped[i]);
}

/* A count of items that each take at least `item_bytes` of what is left. */
static size_t reader_count(struct reader *reader, size_t item_bytes)
{
    size_t count = reader_u32(reader);
    if (count > reader_left(reader) / item_bytes)
        reader->failed = true;
    return reader->failed ? 0 : count;
}

static struct slice *reader_slices(struct reader *reader, struct arena *arena, size_t *ret_count)
{
    size_t count = reader_count(reader, sizeof(uint32_t));
    struct slice *slices = arena_alloc(arena, count * sizeof *slices);
    for (size_t i = 0; i < count; i++)
        slices[i] = reader_sized(reader);
    *ret_count = count;
    return slices;
}

static bool id_is_storable(struct slice id)
{
    return id.size >= 1 && id.size <= RESOURCE_ID_MAX && !memchr(id.data, '\0', id.size);
}

static const struct delta_deletion *reader_deletions(struct reader *reader, struct arena *arena,
                                                     size_t *ret_count)
{
    size_t count = reader_count(reader, DELTA_DELETION_SIZE);
    struct delta_deletion *deletions = arena_alloc(arena, count * sizeof *deletions);
    for (size_t i = 0; i < count; i++) {
        deletions[i].id = reader_sized(reader);
        deletions[i].source_us = reader_i64(reader);
        deletions[i].is_stored = reader_u8(reader) != 0;
        deletions[i].stamp_us = reader_i64(reader);
    }
    *ret_count = count;
    return deletions;
}

/* Something of the beneficiary changes, other than what is remembered of deletions. */
static bool delta_changes_beneficiary(const struct delta *delta)
{
    return delta->attribute || delta->mbi_count || delta->segment_count || delta->superseded_count ||
           delta->id_count || delta->dropped_count;
}

static bool delta_is_sound(const struct delta *delta)
{
    bool is_nobodys = delta->beneficiary.size == 0;
    bool sound = (unsigned)delta->type < RESOURCE_TYPE_COUNT &&
                 (is_nobodys ? !delta_changes_beneficiary(delta) : id_is_storable(delta->beneficiary)) &&
                 delta->mbi_count <= RESOURCE_MBI_MAX && delta->segment_count <= DELTA_SEGMENTS_MAX;
    for (size_t i = 0; sound && i < delta->deletion_count; i++)
        sound = id_is_storable(delta->deletions[i].id) && !(is_nobodys && delta->deletions[i].is_stored);
    for (size_t i = 0; sound && i < delta->id_count; i++)
        sound = id_is_storable(delta->ids[i]);
    for (size_t i = 0; sound && i < delta->dropped_count; i++)
        sound = id_is_storable(delta->dropped[i]);
    for (size_t i = 0; sound && i < delta->mbi_count; i++)
        sound = id_is_storable(delta->mbis[i]);
    return sound;
}

enum status delta_decode(struct slice encoding, struct arena *arena, struct delta *ret_delta,
                         struct error *error)
{
    struct reader reader = reader_make(encoding);
    struct delta delta = {0};
    uint8_t version = reader_u8(&reader);
    delta.type = (enum resource_type)reader_u8(&reader);
    delta.beneficiary = reader_sized(&reader);
    delta.seen = reader_u64(&reader);
    delta.as_of = reader_u64(&reader);
    delta.attribute = reader_u32(&reader);
    delta.kept_min_us = reader_i64(&reader);
    delta.newest_us = reader_i64(&reader);
    delta.stamped = reader_u8(&reader) != 0;
    delta.stamp_us = reader_i64(&reader);
    delta.mbis = reader_slices(&reader, arena, &delta.mbi_count);
    delta.superseded_count = reader_count(&reader, 18);
    struct segment_name *superseded = arena_alloc(arena, delta.superseded_count * sizeof *superseded);
    for (size_t i = 0; i < delta.superseded_count; i++) {
        superseded[i].newest_us = reader_i64(&reader);
        superseded[i].birth = reader_u64(&reader);
        superseded[i].ordinal = reader_u16(&reader);
    }
    delta.superseded = superseded;
    delta.segments = reader_slices(&reader, arena, &delta.segment_count);
    delta.ids = reader_slices(&reader, arena, &delta.id_count);
    delta.deletions = reader_deletions(&reader, arena, &delta.deletion_count);
    delta.dropped = reader_slices(&reader, arena, &delta.dropped_count);
    if (!reader_done(&reader) || version != DELTA_VERSION || !delta_is_sound(&delta))
        return error_set(error, STATUS_INVALID, "a delta is malformed");
    *ret_delta = delta;
    return STATUS_OK;
}

/* ---- applying ---- */

/* A new resource: nobody has it, and the packer has seen its tombstone, if there is one. */
static enum status check_id(struct store_write *write, const struct delta *delta, struct slice id,
                            struct error *error)
{
    struct slice owner;
    struct tombstone tombstone;
    enum status status = resource_index_get(write->txn, delta->type, id, &owner, error);
    if (status == STATUS_OK && !slice_equal(owner, delta->beneficiary))
        return STATUS_STALE;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    status = tombstone_get(write->txn, delta->type, id, &tombstone, error);
    if (status == STATUS_OK && tombstone.changed > delta->as_of)
        return STATUS_STALE;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Of what was not here: it still is not. */
static enum status check_deletion(struct store_write *write, const struct delta *delta,
                                  const struct delta_deletion *deletion, struct error *error)
{
    struct slice owner;
    if (deletion->is_stored)
        return STATUS_OK; /* then the beneficiary's segments are as the packer saw them */
    enum status status = resource_index_get(write->txn, delta->type, deletion->id, &owner, error);
    if (status == STATUS_OK)
        return STATUS_STALE;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Everything that the packer relied on still holds? STATUS_STALE if not. Writes nothing. */
static enum status delta_check(struct store_write *write, const struct delta *delta,
                               const struct beneficiary *beneficiary, struct error *error)
{
    if (beneficiary->changed[delta->type] != delta->seen)
        return STATUS_STALE;
    int64_t watermark_us;
    enum status status = beneficiary_watermark(write->txn, beneficiary, &watermark_us, error);
    if (status != STATUS_OK)
        return status;
    if (delta->kept_min_us <= watermark_us || (delta->stamped && delta->stamp_us <= watermark_us))
        return STATUS_STALE;
    /* Nothing may be newer than the commit that brings it: here the clock was set back since the packing. */
    if (delta->newest_us > write->instant_us)
        return STATUS_STALE;
    for (size_t i = 0; status == STATUS_OK && i < delta->id_count; i++)
        status = check_id(write, delta, delta->ids[i], error);
    for (size_t i = 0; status == STATUS_OK && i < delta->deletion_count; i++)
        status = check_deletion(write, delta, &delta->deletions[i], error);
    return status;
}

static void summary_count(struct summary *summary, enum resource_type type, const struct segment *segment,
                          size_t stored_bytes, int direction)
{
    uint64_t sign = direction > 0 ? 1 : UINT64_MAX; /* modulo 2^64: adding UINT64_MAX subtracts one */
    summary->of[type].segments += (uint32_t)sign;
    summary->of[type].resources += sign * segment->count;
    summary->of[type].raw_bytes += sign * segment->raw_bytes;
    summary->of[type].stored_bytes += sign * stored_bytes;
    if (direction > 0 && segment->newest_us > summary->of[type].newest_us)
        summary->of[type].newest_us = segment->newest_us;
}

/* The segment leaves the newest view. While a job is active its version stays for that job. */
static enum status segment_supersede(struct store_write *write, enum resource_type type, uint32_t home,
                                     struct slice beneficiary, const struct segment_name *name,
                                     bool is_pinned, struct summary *summary, struct error *error)
{
    struct key key;
    struct slice record;
    struct stored_segment stored;
    key_segment(&key, home, beneficiary, name);
    enum status status = engine_get(write->txn, segment_table_of(type), key_slice(&key), &record, error);
    if (status == STATUS_OK)
        status = stored_segment_open(record, &stored, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_INVALID, "a delta supersedes a segment that is not there");
    if (status != STATUS_OK)
        return status;
    if (stored.death != SEQUENCE_NEVER)
        return error_set(error, STATUS_INVALID, "a delta supersedes a segment that was superseded before");
    summary_count(summary, type, &stored.segment, stored.value.size, -1);
    if (!is_pinned)
        return engine_delete(write->txn, segment_table_of(type), key_slice(&key), error);

    /* The put moves the page that the value stands on: work on a copy. */
    struct buffer copy = BUFFER_INIT;
    struct key dead;
    char header[RECORD_HEADER_SIZE];
    buffer_append_slice(&copy, stored.value);
    record_header(header, write->sequence);
    status = engine_put2(write->txn, segment_table_of(type), key_slice(&key),
                         slice_make(header, sizeof header), buffer_slice(&copy), error);
    buffer_release(&copy);
    if (status != STATUS_OK)
        return status;
    key_of_u64(&dead, write->sequence);
    key_u8(&dead, (uint8_t)type);
    CHECK(dead.size + key.size <= sizeof dead.bytes);
    memcpy(dead.bytes + dead.size, key.bytes, key.size);
    dead.size += key.size;
    return engine_put(write->txn, TABLE_DEAD, key_slice(&dead), SLICE_LITERAL(""), error);
}

static enum status segment_put(struct store_write *write, enum resource_type type, uint32_t home,
                               struct slice beneficiary, uint16_t ordinal, struct slice value,
                               struct summary *summary, struct error *error)
{
    struct segment segment;
    enum status status = segment_open(value, &segment, error);
    if (status != STATUS_OK)
        return status;
    if (segment.newest_us > write->instant_us)
        return error_set(error, STATUS_INVALID, "a delta holds a segment that is newer than its commit");
    struct key key;
    char header[RECORD_HEADER_SIZE];
    struct segment_name name = {.newest_us = segment.newest_us, .birth = write->sequence, .ordinal = ordinal};
    key_segment(&key, home, beneficiary, &name);
    record_header(header, SEQUENCE_NEVER);
    summary_count(summary, type, &segment, value.size, 1);
    return engine_put2(write->txn, segment_table_of(type), key_slice(&key), slice_make(header, sizeof header),
                       value, error);
}

static enum status ids_put(struct store_write *write, const struct delta *delta, bool is_pinned,
                           struct error *error)
{
    enum status status =
        resource_index_put(write, delta->type, delta->ids, delta->id_count, delta->beneficiary, error);
    for (size_t i = 0; status == STATUS_OK && i < delta->id_count; i++)
        status = deletion_end(write, delta->type, delta->ids[i], is_pinned, error);
    return status;
}

/* What leaves the beneficiary's segments, whose state the packer saw. Of others' nothing goes. */
static enum status dropped_delete(struct store_write *write, const struct delta *delta, struct error *error)
{
    for (size_t i = 0; i < delta->dropped_count; i++) {
        struct slice owner;
        enum status status = resource_index_get(write->txn, delta->type, delta->dropped[i], &owner, error);
        if (status == STATUS_NOT_FOUND || (status == STATUS_OK && !slice_equal(owner, delta->beneficiary)))
            return error_set(error, STATUS_INVALID, "a delta drops a resource that is not there");
        if (status != STATUS_OK)
            return status;
    }
    return resource_index_delete(write, delta->type, delta->dropped, delta->dropped_count, error);
}

static enum status deletions_put(struct store_write *write, const struct delta *delta, struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < delta->deletion_count; i++) {
        const struct delta_deletion *deletion = &delta->deletions[i];
        if (!deletion->is_stored)
            status = deletion_remember(write, delta->type, deletion->id, deletion->source_us, error);
        else if (deletion->stamp_us > write->instant_us)
            status =
                error_set(error, STATUS_INVALID, "a delta holds a deletion that is newer than its commit");
        else
            status = deletion_record(write, delta->type, deletion->id, delta->beneficiary,
                                     deletion->source_us, deletion->stamp_us, error);
    }
    return status;
}

static enum status delta_attribute(struct store_write *write, const struct delta *delta,
                                   struct beneficiary *beneficiary, struct arena *arena, struct error *error)
{
    enum status status = STATUS_OK;
    /* Copies: the row that they borrow from is about to change. */
    for (size_t i = 0; i < beneficiary->mbi_count; i++)
        beneficiary->mbis[i] = arena_copy(arena, beneficiary->mbis[i]);
    if (delta->attribute)
        status = attribution_add_beneficiary(write, delta->attribute, delta->beneficiary, beneficiary, error);
    /* An MBI among them that is suppressed ends what has just begun. */
    if (status == STATUS_OK && delta->mbi_count)
        status = attribution_learn_mbis(write, delta->beneficiary, beneficiary, delta->mbis, delta->mbi_count,
                                        arena, error);
    return status;
}

static enum status delta_segments(struct store_write *write, const struct delta *delta, uint32_t home,
                                  bool is_pinned, struct error *error)
{
    struct summary summary;
    enum status status = summary_get(write->txn, home, delta->beneficiary, &summary, error);
    if (status == STATUS_NOT_FOUND) {
        summary_init(&summary);
        status = STATUS_OK;
    }
    for (size_t i = 0; status == STATUS_OK && i < delta->superseded_count; i++)
        status = segment_supersede(write, delta->type, home, delta->beneficiary, &delta->superseded[i],
                                   is_pinned, &summary, error);
    for (size_t i = 0; status == STATUS_OK && i < delta->segment_count; i++)
        status = segment_put(write, delta->type, home, delta->beneficiary, (uint16_t)i, delta->segments[i],
                             &summary, error);
    return status == STATUS_OK ? summary_put(write, home, delta->beneficiary, &summary, error) : status;
}

enum status resources_apply(struct store_write *write, const struct delta *delta, struct arena *arena,
                            struct error *error)
{
    struct beneficiary beneficiary;
    uint64_t oldest_sequence;
    beneficiary_init(&beneficiary);
    enum status status = delta->beneficiary.size
                             ? beneficiary_get(write->txn, delta->beneficiary, &beneficiary, error)
                             : STATUS_NOT_FOUND;
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        status = delta_check(write, delta, &beneficiary, error);
    if (status == STATUS_OK)
        status = job_oldest_sequence_within(write, &oldest_sequence, error);
    if (status != STATUS_OK)
        return status;

    bool is_pinned = oldest_sequence != UINT64_MAX;
    status = delta_attribute(write, delta, &beneficiary, arena, error);
    if (status == STATUS_OK && (delta->segment_count || delta->superseded_count)) {
        beneficiary.changed[delta->type] = write->sequence;
        status = delta_segments(write, delta, beneficiary.home, is_pinned, error);
        if (status == STATUS_OK)
            status = ids_put(write, delta, is_pinned, error);
        if (status == STATUS_OK)
            status = dropped_delete(write, delta, error);
    }
    if (status == STATUS_OK)
        status = deletions_put(write, delta, error);
    return status == STATUS_OK && delta_changes_beneficiary(delta)
               ? beneficiary_put(write, delta->beneficiary, &beneficiary, error)
               : status;
}

static enum status delta_batch_run(struct write_request *request, struct store_write *write,
                                   struct error *error)
{
    struct delta_batch *batch = (struct delta_batch *)request;
    struct arena arena = ARENA_INIT;
    struct reader reader = reader_make(buffer_slice(&batch->encodings));
    enum status status = STATUS_OK;
    buffer_reset(&batch->ret_stale);
    for (uint32_t i = 0; status == STATUS_OK && i < batch->count; i++) {
        struct delta delta;
        arena_reset(&arena);
        status = delta_decode(reader_sized(&reader), &arena, &delta, error);
        if (status == STATUS_OK)
            status = resources_apply(write, &delta, &arena, error);
        if (status == STATUS_STALE) {
            buffer_append_u32(&batch->ret_stale, i);
            status = STATUS_OK;
        }
    }
    if (status == STATUS_OK && !reader_done(&reader))
        status = error_set(error, STATUS_INVALID, "a batch of deltas has more bytes than it says");
    arena_release(&arena);
    return status;
}

void delta_batch_init(struct delta_batch *batch)
{
    *batch = (struct delta_batch){.request = {.apply = delta_batch_run}};
}

void delta_batch_release(struct delta_batch *batch)
{
    buffer_release(&batch->encodings);
    buffer_release(&batch->ret_stale);
}

void delta_batch_add(struct delta_batch *batch, const struct delta *delta)
{
    size_t at = batch->encodings.size;
    buffer_append_u32(&batch->encodings, 0);
    delta_encode(delta, &batch->encodings);
    store_u32_le(batch->encodings.data + at, (uint32_t)(batch->encodings.size - at - sizeof(uint32_t)));
    batch->count++;
    batch->request.bytes = batch->encodings.size;
}

/* ---- reading ---- */

struct segment_scan {
    struct engine_cursor *cursor;
    uint64_t sequence;
};

enum status segment_scan_open(struct engine_txn *txn, enum resource_type type, uint64_t sequence,
                              struct segment_scan **ret_scan, struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, segment_table_of(type), &cursor, error);
    if (status != STATUS_OK)
        return status;
    struct segment_scan *scan = mem_new(struct segment_scan);
    scan->cursor = cursor;
    scan->sequence = sequence;
    *ret_scan = scan;
    return STATUS_OK;
}

void segment_scan_close(struct segment_scan *scan)
{
    if (!scan)
        return;
    engine_cursor_close(scan->cursor);
    mem_free(scan);
}

void segment_scan_seek(struct segment_scan *scan, uint32_t home, struct slice beneficiary, int64_t since_us)
{
    struct key prefix, from;
    key_segment_prefix(&prefix, home, beneficiary);
    from = prefix;
    key_instant(&from, since_us == INT64_MAX ? since_us : since_us + 1);
    engine_seek_prefix(scan->cursor, key_slice(&prefix), key_slice(&from));
}

enum status segment_scan_next(struct segment_scan *scan, struct stored_segment *ret_segment,
                              struct error *error)
{
    for (;;) {
        struct slice key, value, beneficiary;
        struct stored_segment stored;
        uint32_t home;
        enum status status = engine_next(scan->cursor, &key, &value, error);
        if (status != STATUS_OK)
            return status;
        if (!key_take_u32(&key, &home) || !key_take_id(&key, &beneficiary) ||
            !key_take_instant(&key, &stored.name.newest_us) || !key_take_u64(&key, &stored.name.birth) ||
            !key_take_u16(&key, &stored.name.ordinal) || key.size)
            return error_set(error, STATUS_CORRUPT, "a segment's key is malformed");
        if (stored.name.birth > scan->sequence)
            continue;
        status = stored_segment_open(value, &stored, error);
        if (status != STATUS_OK)
            return status;
        if (stored.death != SEQUENCE_NEVER && stored.death <= scan->sequence)
            continue;
        *ret_segment = stored;
        return STATUS_OK;
    }
}

enum status resource_find(struct engine_txn *txn, enum resource_type type, struct slice id,
                          struct buffer *ret_beneficiary, struct error *error)
{
    struct slice owner;
    enum status status = resource_index_get(txn, type, id, &owner, error);
    if (status == STATUS_OK)
        buffer_append_slice(ret_beneficiary, owner);
    return status;
}

/* The line of `id` in the beneficiary's segments. */
static enum status segments_find_line(struct engine_txn *txn, enum resource_type type, uint32_t home,
                                      struct slice beneficiary, struct slice id, struct buffer *target,
                                      struct error *error)
{
    struct segment_scan *scan;
    struct segment_table table;
    enum status status = segment_scan_open(txn, type, UINT64_MAX - 1, &scan, error);
    if (status != STATUS_OK)
        return status;
    struct inflater *inflater = inflater_new();
    struct buffer lines = BUFFER_INIT;
    segment_table_init(&table);
    segment_scan_seek(scan, home, beneficiary, INT64_MIN);
    struct stored_segment stored;
    const struct segment_entry *entry = NULL;
    while (!entry && (status = segment_scan_next(scan, &stored, error)) == STATUS_OK) {
        status = segment_table_read(&table, &stored.segment, error);
        if (status != STATUS_OK)
            break;
        entry = segment_table_find(&table, id);
    }
    if (status == STATUS_OK)
        status = segment_inflate(&stored.segment, inflater, &lines, error);
    if (status == STATUS_OK)
        buffer_append(target, lines.data + entry->offset, entry->size - 1); /* without its "\n" */
    buffer_release(&lines);
    segment_table_release(&table);
    inflater_free(inflater);
    segment_scan_close(scan);
    return status;
}

enum status resource_get(struct engine_txn *txn, enum resource_type type, struct slice id,
                         struct buffer *target, struct error *error)
{
    struct buffer owner = BUFFER_INIT;
    struct beneficiary beneficiary;
    enum status status = resource_find(txn, type, id, &owner, error);
    if (status == STATUS_OK)
        status = beneficiary_get(txn, buffer_slice(&owner), &beneficiary, error);
    if (status == STATUS_OK)
        status = segments_find_line(txn, type, beneficiary.home, buffer_slice(&owner), id, target, error);
    buffer_release(&owner);
    return status;
}

/* ---- collecting what nobody needs ---- */

/* What one row of TABLE_DEAD names, and the row; a home may take several turns. */
static enum status collect_one(struct store_write *write, struct slice dead_key, size_t limit,
                               size_t *ret_deleted, struct error *error)
{
    struct key copy;
    uint64_t death;
    uint32_t home;
    uint8_t type;
    struct slice id;
    CHECK(dead_key.size <= sizeof copy.bytes);
    copy.size = dead_key.size;
    memcpy(copy.bytes, dead_key.data, dead_key.size);
    struct slice version = key_slice(&copy);
    if (!key_take_u64(&version, &death) || !key_take_u8(&version, &type))
        return error_set(error, STATUS_CORRUPT, "a key of table %s is malformed", table_names[TABLE_DEAD]);
    if (type == DEAD_HOME && key_take_u32(&version, &home) && key_take_id(&version, &id))
        return home_collect(write, home, id, death, limit, ret_deleted, error);
    if (type >= RESOURCE_TYPE_COUNT && type != DEAD_DELETED)
        return error_set(error, STATUS_CORRUPT, "a key of table %s is malformed", table_names[TABLE_DEAD]);
    *ret_deleted = 1;
    enum status status =
        type == DEAD_DELETED
            ? deletion_collect(write, version, error)
            : engine_delete(write->txn, segment_table_of((enum resource_type)type), version, error);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        status = engine_delete(write->txn, TABLE_DEAD, key_slice(&copy), error);
    return status;
}

static enum status collect_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct resources_collect *collect = (struct resources_collect *)request;
    uint64_t oldest_sequence;
    struct engine_cursor *cursor;
    collect->ret_deleted = 0;
    collect->ret_more = false;
    enum status status = job_oldest_sequence_within(write, &oldest_sequence, error);
    if (status == STATUS_OK)
        status = engine_cursor_open(write->txn, TABLE_DEAD, &cursor, error);
    if (status != STATUS_OK)
        return status;
    while (status == STATUS_OK) {
        struct slice key, value;
        engine_seek(cursor, (struct slice){0}, (struct slice){0});
        status = engine_next(cursor, &key, &value, error);
        if (status != STATUS_OK || key.size < sizeof(uint64_t) || load_u64_be(key.data) > oldest_sequence)
            break;
        if (collect->ret_deleted == collect->limit) {
            collect->ret_more = true;
            break;
        }
        size_t deleted = 0;
        status = collect_one(write, key, collect->limit - collect->ret_deleted, &deleted, error);
        collect->ret_deleted += deleted;
    }
    engine_cursor_close(cursor);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

void resources_collect_init(struct resources_collect *collect, size_t limit)
{
    *collect = (struct resources_collect){.request = {.apply = collect_run}, .limit = limit};
}
