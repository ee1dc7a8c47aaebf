#include "codec/base/buffer.h"
#include "storage/deletion.h"
#include "storage/homes.h"
#include "storage/interval.h"
#include "storage/resource_index.h"
#include "storage/verify_check.h"

#include <stdlib.h>

/* What TABLE_DEAD does not list would never be collected. `kind`: as it stands there, the type or
 * DEAD_DELETED.
 */
static enum status check_dead_is_listed(struct verify *verify, unsigned table, uint8_t kind, struct slice key,
                                        uint64_t death, struct error *error)
{
    struct buffer dead = BUFFER_INIT;
    struct key prefix;
    struct slice value;
    key_of_u64(&prefix, death);
    key_u8(&prefix, kind);
    buffer_append_slice(&dead, key_slice(&prefix));
    buffer_append_slice(&dead, key);
    enum status status = engine_get(verify->txn, TABLE_DEAD, buffer_slice(&dead), &value, error);
    buffer_release(&dead);
    if (status == STATUS_NOT_FOUND)
        verify_fault(verify, table, key, "was superseded, but is not listed as dead");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* A home that is not the beneficiary's: it was left, or copies are being made under it. */
static enum status home_is_other(struct verify *verify, uint32_t home, struct slice id, bool *ret_explained,
                                 struct error *error)
{
    struct summary summary;
    struct move move;
    *ret_explained = false;
    enum status status = summary_get(verify->txn, home, id, &summary, error);
    if (status == STATUS_OK)
        *ret_explained = summary.left != SEQUENCE_NEVER;
    if (status != STATUS_NOT_FOUND)
        return status;
    status = move_get(verify->txn, id, &move, error);
    if (status == STATUS_OK)
        *ret_explained = move.has_copies && move.copy_home == home;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status check_segment(struct verify *verify, enum resource_type type, struct slice key,
                                 struct slice value, struct error *error)
{
    unsigned table = TABLE_SEGMENT + (unsigned)type;
    struct slice rest = key, beneficiary_id;
    struct segment_name name;
    uint32_t home;
    if (!key_take_u32(&rest, &home) || !key_take_id(&rest, &beneficiary_id) ||
        !key_take_instant(&rest, &name.newest_us) || !key_take_u64(&rest, &name.birth) ||
        !key_take_u16(&rest, &name.ordinal) || rest.size) {
        verify_fault(verify, table, key, "the key is malformed");
        return STATUS_OK;
    }
    struct stored_segment stored;
    enum status status = stored_segment_open(value, &stored, error);
    if (status == STATUS_OK)
        status = segment_check(&stored.segment, verify->inflater, error);
    if (status != STATUS_OK)
        return status;
    verify->counts.segments++;
    verify->counts.raw_bytes += stored.segment.raw_bytes;
    if (stored.segment.newest_us != name.newest_us)
        verify_fault(verify, table, key, "the key's instant is not the segment's newest");
    struct beneficiary beneficiary;
    if (stored.death != SEQUENCE_NEVER) {
        if (stored.death <= name.birth)
            verify_fault(verify, table, key, "was superseded before it was born");
        return check_dead_is_listed(verify, table, (uint8_t)type, key, stored.death, error);
    }
    status = beneficiary_get(verify->txn, beneficiary_id, &beneficiary, error);
    if (status != STATUS_OK || beneficiary.home == home) {
        verify->counts.resources += stored.segment.count;
        return status;
    }
    bool is_explained;
    status = home_is_other(verify, home, beneficiary_id, &is_explained, error);
    if (status == STATUS_OK && !is_explained)
        verify_fault(verify, table, key, "stands under a home that is not its beneficiary's");
    return status;
}

enum status verify_eob(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    return check_segment(verify, RESOURCE_TYPE_EXPLANATION_OF_BENEFIT, key, value, error);
}

enum status verify_coverage(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    return check_segment(verify, RESOURCE_TYPE_COVERAGE, key, value, error);
}

enum status verify_patient(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    return check_segment(verify, RESOURCE_TYPE_PATIENT, key, value, error);
}

static int slice_order(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* The standing segments of one type against the summary and the index of ids. */
static enum status check_beneficiary_type(struct verify *verify, struct slice key, struct slice id,
                                          const struct beneficiary *beneficiary, enum resource_type type,
                                          const struct summary *summary, struct error *error)
{
    struct segment_scan *scan;
    enum status status = segment_scan_open(verify->txn, type, UINT64_MAX - 1, &scan, error);
    if (status != STATUS_OK)
        return status;
    uint64_t segments = 0, resources = 0, raw_bytes = 0, stored_bytes = 0;
    int64_t newest_us = INT64_MIN;
    struct stored_segment stored;
    arena_reset(&verify->arena);
    buffer_reset(&verify->ids);
    segment_scan_seek(scan, beneficiary->home, id, INT64_MIN);
    while ((status = segment_scan_next(scan, &stored, error)) == STATUS_OK) {
        segments++;
        resources += stored.segment.count;
        raw_bytes += stored.segment.raw_bytes;
        stored_bytes += stored.value.size;
        newest_us = stored.segment.newest_us > newest_us ? stored.segment.newest_us : newest_us;
        status = segment_table_read(&verify->table, &stored.segment, error);
        if (status != STATUS_OK)
            break;
        for (size_t i = 0; i < verify->table.count; i++) {
            struct slice copy = arena_copy(&verify->arena, verify->table.entries[i].id);
            buffer_append(&verify->ids, &copy, sizeof copy);
        }
    }
    segment_scan_close(scan);
    if (status != STATUS_NOT_FOUND)
        return status; /* a damaged segment is reported where the segments are walked */
    if (segments != summary->of[type].segments || resources != summary->of[type].resources ||
        raw_bytes != summary->of[type].raw_bytes || stored_bytes != summary->of[type].stored_bytes ||
        newest_us > summary->of[type].newest_us)
        verify_fault(verify, TABLE_SUMMARY, key, "the summary does not agree with the segments");
    verify->live[type] += resources;

    struct slice *ids = (struct slice *)(void *)verify->ids.data;
    size_t count = verify->ids.size / sizeof *ids;
    if (count)
        qsort(ids, count, sizeof *ids, slice_order);
    for (size_t i = 0; i < count; i++) {
        struct buffer owner = BUFFER_INIT;
        if (i && slice_equal(ids[i], ids[i - 1]))
            verify_fault(verify, TABLE_SEGMENT + (unsigned)type, key, "a resource stands in two segments");
        status = resource_find(verify->txn, type, ids[i], &owner, error);
        if (status == STATUS_NOT_FOUND || (status == STATUS_OK && !slice_equal(buffer_slice(&owner), id))) {
            struct key row;
            key_init(&row);
            key_u8(&row, (uint8_t)type);
            key_id(&row, ids[i]);
            verify_fault(verify, TABLE_RESOURCE, key_slice(&row),
                         "the index does not lead to its beneficiary");
        }
        buffer_release(&owner);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
    }
    return STATUS_OK;
}

static enum status interval_is_open(struct engine_txn *txn, unsigned table, const struct key *key,
                                    bool *ret_open, struct error *error)
{
    struct interval_row row;
    enum status status = interval_row_get(txn, table, key_slice(key), &row, error);
    *ret_open = status == STATUS_OK && interval_row_open_one(&row);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* By an open row of any of its MBIs, or of itself. */
static enum status beneficiary_is_attributed(struct verify *verify, uint32_t aco, struct slice id,
                                             const struct beneficiary *beneficiary, bool *ret_attributed,
                                             struct error *error)
{
    struct key key;
    key_attribution_direct(&key, aco, id);
    enum status status = interval_is_open(verify->txn, TABLE_ATTRIBUTION, &key, ret_attributed, error);
    for (size_t i = 0; status == STATUS_OK && !*ret_attributed && i < beneficiary->mbi_count; i++) {
        key_attribution(&key, aco, beneficiary->mbis[i]);
        status = interval_is_open(verify->txn, TABLE_ATTRIBUTION, &key, ret_attributed, error);
    }
    return status;
}

static enum status beneficiary_is_suppressed(struct verify *verify, const struct beneficiary *beneficiary,
                                             bool *ret_suppressed, struct error *error)
{
    enum status status = STATUS_OK;
    *ret_suppressed = false;
    for (size_t i = 0; status == STATUS_OK && !*ret_suppressed && i < beneficiary->mbi_count; i++) {
        struct mbi_row row;
        status = mbi_row_get(verify->txn, beneficiary->mbis[i], &row, error);
        *ret_suppressed = status == STATUS_OK && row.suppressed;
    }
    return status;
}

static bool contains(const uint32_t *numbers, size_t count, uint32_t number)
{
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] == number)
            return true;
    }
    return false;
}

/* Whom it is attributed to and suppressed for. */
static enum status check_hidden(struct verify *verify, struct slice key, struct slice id,
                                const struct beneficiary *beneficiary, struct error *error)
{
    bool suppressed;
    enum status status = beneficiary_is_suppressed(verify, beneficiary, &suppressed, error);
    if (status == STATUS_OK && suppressed && beneficiary->aco_count)
        verify_fault(verify, TABLE_BENEFICIARY, key, "is suppressed, but exportable");
    if (status == STATUS_OK && !suppressed && beneficiary->hidden_count)
        verify_fault(verify, TABLE_BENEFICIARY, key, "is hidden from an ACO, but not suppressed");
    for (size_t i = 0; status == STATUS_OK && i < beneficiary->hidden_count; i++) {
        struct key exportable;
        bool open, attributed;
        key_aco_beneficiary(&exportable, beneficiary->hidden[i], id);
        status = interval_is_open(verify->txn, TABLE_EXPORTABLE, &exportable, &open, error);
        if (status == STATUS_OK)
            status = beneficiary_is_attributed(verify, beneficiary->hidden[i], id, beneficiary, &attributed,
                                               error);
        if (status == STATUS_OK && (open || !attributed))
            verify_fault(verify, TABLE_BENEFICIARY, key,
                         open ? "is exportable for an ACO from which it is hidden"
                              : "is hidden from an ACO to which nothing attributes it");
    }
    return status;
}

enum status verify_beneficiary(struct verify *verify, struct slice key, struct slice value,
                               struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct beneficiary beneficiary;
    if (!key_take_id(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_BENEFICIARY, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = beneficiary_get(verify->txn, id, &beneficiary, error);
    if (status != STATUS_OK)
        return status;
    verify->counts.beneficiaries++;
    for (size_t i = 0; status == STATUS_OK && i < beneficiary.aco_count; i++) {
        struct key exportable;
        bool open;
        key_aco_beneficiary(&exportable, beneficiary.acos[i], id);
        status = interval_is_open(verify->txn, TABLE_EXPORTABLE, &exportable, &open, error);
        if (status == STATUS_OK && !open)
            verify_fault(verify, TABLE_BENEFICIARY, key, "names an ACO that may not export it");
    }
    if (status == STATUS_OK)
        status = check_hidden(verify, key, id, &beneficiary, error);
    for (size_t i = 0; status == STATUS_OK && i < beneficiary.mbi_count; i++) {
        struct mbi_row row;
        status = mbi_row_get(verify->txn, beneficiary.mbis[i], &row, error);
        if (status == STATUS_OK && !slice_equal(mbi_row_beneficiary(&row), id))
            verify_fault(verify, TABLE_BENEFICIARY, key, "has an MBI that leads to another beneficiary");
    }
    if (status == STATUS_OK && beneficiary_is_to_move(&beneficiary)) {
        struct move move;
        status = move_get(verify->txn, id, &move, error);
        if (status == STATUS_NOT_FOUND) {
            verify_fault(verify, TABLE_BENEFICIARY, key, "its home has to change, and nothing says so");
            status = STATUS_OK;
        }
    }
    struct summary summary;
    summary_init(&summary);
    if (status == STATUS_OK)
        status = summary_get(verify->txn, beneficiary.home, id, &summary, error);
    if (status == STATUS_NOT_FOUND)
        status = STATUS_OK;
    for (int type = 0; status == STATUS_OK && type < RESOURCE_TYPE_COUNT; type++)
        status =
            check_beneficiary_type(verify, key, id, &beneficiary, (enum resource_type)type, &summary, error);
    return status;
}

enum status verify_resource(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    struct resource_block block;
    arena_reset(&verify->arena);
    enum status status = resource_block_read(key, value, &verify->arena, &block, error);
    if (status != STATUS_OK)
        return status;
    verify->indexed[block.type] += block.count;
    /* The one that is asked for its first id is the one that it stands in. */
    struct slice owner;
    status = resource_index_get(verify->txn, block.type, block.entries[0].id, &owner, error);
    if (status == STATUS_NOT_FOUND ||
        (status == STATUS_OK && !slice_equal(owner, block.beneficiaries[block.entries[0].beneficiary])))
        verify_fault(verify, TABLE_RESOURCE, key, "stands behind another block that is asked for its ids");
    for (size_t i = 0; i < block.beneficiary_count && (status == STATUS_OK || status == STATUS_NOT_FOUND);
         i++) {
        struct beneficiary beneficiary;
        status = beneficiary_get(verify->txn, block.beneficiaries[i], &beneficiary, error);
        if (status == STATUS_NOT_FOUND)
            verify_fault(verify, TABLE_RESOURCE, key, "names a beneficiary that is not there");
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static bool take_resource_key(struct slice key, enum resource_type *ret_type, struct slice *ret_id)
{
    uint8_t type;
    if (!key_take_u8(&key, &type) || type >= RESOURCE_TYPE_COUNT || !key_take_id(&key, ret_id) || key.size)
        return false;
    *ret_type = (enum resource_type)type;
    return true;
}

enum status verify_tombstone(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    struct tombstone tombstone;
    enum resource_type type;
    struct slice id, found;
    struct key deleted;
    if (!take_resource_key(key, &type, &id)) {
        verify_fault(verify, TABLE_TOMBSTONE, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = tombstone_parse(value, &tombstone, error);
    if (status == STATUS_OK && tombstone.beneficiary.size) {
        key_deleted(&deleted, &(struct deletion){.beneficiary = tombstone.beneficiary,
                                                 .id = id,
                                                 .type = type,
                                                 .stamp_us = tombstone.stamp_us,
                                                 .birth = tombstone.birth});
        status = engine_get(verify->txn, TABLE_DELETED, key_slice(&deleted), &found, error);
    }
    if (status != STATUS_OK)
        return status;
    status = resource_index_get(verify->txn, type, id, &found, error);
    if (status == STATUS_OK)
        verify_fault(verify, TABLE_TOMBSTONE, key, "the resource stands");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status verify_deleted(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    struct deletion deletion;
    struct tombstone tombstone;
    enum status status = deletion_parse(key, value, &deletion, error);
    if (status != STATUS_OK)
        return status;
    if (deletion.death != SEQUENCE_NEVER) {
        if (deletion.death <= deletion.birth)
            verify_fault(verify, TABLE_DELETED, key, "was superseded before it was born");
        return check_dead_is_listed(verify, TABLE_DELETED, DEAD_DELETED, key, deletion.death, error);
    }
    status = tombstone_get(verify->txn, deletion.type, deletion.id, &tombstone, error);
    if (status == STATUS_OK && (!slice_equal(tombstone.beneficiary, deletion.beneficiary) ||
                                tombstone.birth != deletion.birth || tombstone.stamp_us != deletion.stamp_us))
        verify_fault(verify, TABLE_DELETED, key, "is not the deletion that its tombstone names");
    return status;
}

enum status verify_summary(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    struct slice rest = key, id;
    struct summary summary;
    struct beneficiary beneficiary;
    uint32_t home;
    if (!key_take_u32(&rest, &home) || !key_take_id(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_SUMMARY, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = summary_parse(value, &summary, error);
    if (status == STATUS_OK)
        status = beneficiary_get(verify->txn, id, &beneficiary, error);
    if (status != STATUS_OK)
        return status;
    if (summary.left == SEQUENCE_NEVER) {
        if (beneficiary.home != home)
            verify_fault(verify, TABLE_SUMMARY, key, "stands under a home that is not its beneficiary's");
        return STATUS_OK;
    }
    struct key dead;
    struct slice nothing;
    if (beneficiary.home == home)
        verify_fault(verify, TABLE_SUMMARY, key, "is its beneficiary's home, but says that it was left");
    key_dead_home(&dead, summary.left, home, id);
    status = engine_get(verify->txn, TABLE_DEAD, key_slice(&dead), &nothing, error);
    if (status == STATUS_NOT_FOUND)
        verify_fault(verify, TABLE_SUMMARY, key, "its home was left, but is not listed as dead");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status verify_move(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct beneficiary beneficiary;
    struct summary summary;
    struct move move;
    if (!key_take_id(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_MOVE, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = beneficiary_get(verify->txn, id, &beneficiary, error);
    if (status == STATUS_OK)
        status = move_get(verify->txn, id, &move, error);
    if (status != STATUS_OK || !move.has_copies)
        return status;
    if (beneficiary.home == move.copy_home)
        verify_fault(verify, TABLE_MOVE, key, "copies to where the beneficiary is at home");
    status = summary_get(verify->txn, move.copy_home, id, &summary, error);
    if (status == STATUS_OK)
        verify_fault(verify, TABLE_MOVE, key, "copies to a home that has a summary");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status verify_exportable(struct verify *verify, struct slice key, struct slice value,
                              struct error *error)
{
    struct slice rest = key, id;
    struct interval_row row;
    struct beneficiary beneficiary;
    uint32_t aco;
    if (!key_take_u32(&rest, &aco) || !key_take_id(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_EXPORTABLE, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = interval_row_parse(value, &row, error);
    if (status != STATUS_OK)
        return status;
    const struct interval *open = interval_row_open_one(&row);
    if (!open)
        return STATUS_OK;
    status = beneficiary_get(verify->txn, id, &beneficiary, error);
    if (status == STATUS_OK && !contains(beneficiary.acos, beneficiary.aco_count, aco))
        verify_fault(verify, TABLE_EXPORTABLE, key, "is open, but the beneficiary does not name the ACO");
    if (status == STATUS_OK && open->home != beneficiary.home)
        verify_fault(verify, TABLE_EXPORTABLE, key, "has another home than its beneficiary");
    bool is_attributed;
    if (status == STATUS_OK)
        status = beneficiary_is_attributed(verify, aco, id, &beneficiary, &is_attributed, error);
    if (status == STATUS_OK && !is_attributed)
        verify_fault(verify, TABLE_EXPORTABLE, key,
                     "is open, but nothing attributes the beneficiary to the ACO");
    return status;
}

enum status verify_attribution(struct verify *verify, struct slice key, struct slice value,
                               struct error *error)
{
    struct slice rest = key, mbi;
    struct interval_row row;
    struct mbi_row mbi_row;
    uint32_t aco;
    if (!key_take_u32(&rest, &aco) || !key_take_id(&rest, &mbi) || rest.size) {
        verify_fault(verify, TABLE_ATTRIBUTION, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = interval_row_parse(value, &row, error);
    bool is_open = status == STATUS_OK && interval_row_open_one(&row);
    struct slice id = {0};
    if (status == STATUS_OK && slice_starts_with(mbi, SLICE_LITERAL(DIRECT_MARK))) {
        id = slice_skip(mbi, sizeof DIRECT_MARK - 1);
    } else if (status == STATUS_OK) {
        status = mbi_row_get(verify->txn, mbi, &mbi_row, error);
        if (status == STATUS_OK && contains(mbi_row.acos, mbi_row.aco_count, aco) != is_open)
            verify_fault(verify, TABLE_ATTRIBUTION, key, "the MBI's own row says otherwise");
        if (status == STATUS_OK)
            id = mbi_row_beneficiary(&mbi_row);
    }
    if (status == STATUS_OK && is_open && id.size) {
        struct key exportable;
        struct beneficiary beneficiary;
        bool is_exportable;
        key_aco_beneficiary(&exportable, aco, id);
        status = interval_is_open(verify->txn, TABLE_EXPORTABLE, &exportable, &is_exportable, error);
        if (status == STATUS_OK)
            status = beneficiary_get(verify->txn, id, &beneficiary, error);
        /* Whether it is suppressed is looked at with the beneficiary. */
        if (status == STATUS_OK && !is_exportable &&
            !contains(beneficiary.hidden, beneficiary.hidden_count, aco))
            verify_fault(verify, TABLE_ATTRIBUTION, key, "is open, but its beneficiary is not exportable");
    }
    return status;
}

/* He has it among his, unless he has as many as there is room for. */
static enum status check_mbi_is_carried(struct verify *verify, struct slice key, struct slice mbi,
                                        const struct mbi_row *row, struct error *error)
{
    struct beneficiary beneficiary;
    if (row->beneficiary_size == 0)
        return STATUS_OK;
    enum status status = beneficiary_get(verify->txn, mbi_row_beneficiary(row), &beneficiary, error);
    if (status != STATUS_OK)
        return status;
    bool is_carried = beneficiary.mbi_count == RESOURCE_MBI_MAX;
    for (size_t i = 0; !is_carried && i < beneficiary.mbi_count; i++)
        is_carried = slice_equal(beneficiary.mbis[i], mbi);
    if (!is_carried)
        verify_fault(verify, TABLE_MBI, key, "leads to a beneficiary that does not carry it");
    return STATUS_OK;
}

enum status verify_mbi(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key, mbi;
    struct mbi_row row;
    if (!key_take_id(&rest, &mbi) || rest.size) {
        verify_fault(verify, TABLE_MBI, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = mbi_row_get(verify->txn, mbi, &row, error);
    for (size_t i = 0; status == STATUS_OK && i < row.aco_count; i++) {
        struct key attribution;
        bool open;
        key_attribution(&attribution, row.acos[i], mbi);
        status = interval_is_open(verify->txn, TABLE_ATTRIBUTION, &attribution, &open, error);
        if (status == STATUS_OK && !open)
            verify_fault(verify, TABLE_MBI, key, "names an ACO to which it is not attributed");
    }
    if (status == STATUS_OK)
        status = check_mbi_is_carried(verify, key, mbi, &row, error);
    return status == STATUS_OK ? verify_mbi_suppression(verify, TABLE_MBI, key, mbi, &row, error) : status;
}

static enum status check_dead_deletion(struct verify *verify, struct slice key, struct slice deleted_key,
                                       uint64_t death, struct error *error)
{
    struct deletion deletion;
    struct slice value;
    enum status status = engine_get(verify->txn, TABLE_DELETED, deleted_key, &value, error);
    if (status == STATUS_OK)
        status = deletion_parse(deleted_key, value, &deletion, error);
    if (status == STATUS_OK && deletion.death != death)
        verify_fault(verify, TABLE_DEAD, key, "the deletion's own death is another");
    return status;
}

enum status verify_dead(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key, record, id;
    struct stored_segment stored;
    uint64_t death;
    uint32_t home;
    uint8_t type;
    bool is_sound = key_take_u64(&rest, &death) && key_take_u8(&rest, &type);
    if (is_sound && type == DEAD_HOME && key_take_u32(&rest, &home) && key_take_id(&rest, &id)) {
        struct summary summary;
        enum status status = summary_get(verify->txn, home, id, &summary, error);
        if (status == STATUS_OK && (summary.left != death || rest.size))
            verify_fault(verify, TABLE_DEAD, key, "the summary says that its home was not left then");
        return status;
    }
    if (is_sound && type == DEAD_DELETED)
        return check_dead_deletion(verify, key, rest, death, error);
    if (!is_sound || type >= RESOURCE_TYPE_COUNT) {
        verify_fault(verify, TABLE_DEAD, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = engine_get(verify->txn, TABLE_SEGMENT + (unsigned)type, rest, &record, error);
    if (status == STATUS_OK)
        status = stored_segment_open(record, &stored, error);
    if (status == STATUS_OK && stored.death != death)
        verify_fault(verify, TABLE_DEAD, key, "the segment's own death is another");
    return status;
}
