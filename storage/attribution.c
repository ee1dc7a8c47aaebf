#include "storage/attribution.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"
#include "storage/interval.h"
#include "storage/jobs.h"
#include "storage/mbi_link.h"

#define ROSTER_KIND    'R'
#define ROSTER_VERSION 1
/* A roster dated later would keep every right one out until then. */
#define ROSTER_AHEAD_US_MAX (24 * 3600 * US_PER_SECOND)

/* Lists of ACO numbers, in a beneficiary's row and in an MBI's. */
static bool acos_contain(const uint32_t *acos, size_t count, uint32_t aco)
{
    for (size_t i = 0; i < count; i++) {
        if (acos[i] == aco)
            return true;
    }
    return false;
}

static enum status acos_add(uint32_t *acos, size_t *count, uint32_t aco, struct error *error)
{
    if (acos_contain(acos, *count, aco))
        return STATUS_OK;
    if (*count == BENEFICIARY_ACOS_MAX)
        return error_set(error, STATUS_TOO_LARGE, "a beneficiary is attributed to more than %d ACOs",
                         BENEFICIARY_ACOS_MAX);
    acos[(*count)++] = aco;
    return STATUS_OK;
}

static void acos_remove(uint32_t *acos, size_t *count, uint32_t aco)
{
    for (size_t i = 0; i < *count; i++) {
        if (acos[i] == aco) {
            acos[i] = acos[--*count];
            return;
        }
    }
}

/* ---- changes ---- */

/* One ACO's change of attribution within a write request. */
struct attributor {
    struct store_write *write;
    uint32_t aco;
    int64_t at_us;            /* when intervals begin and end */
    int64_t given_us;         /* newest transactionTime given to the ACO */
    uint64_t oldest_sequence; /* of active jobs */
};

/* The source's time, unless an export may already have looked past it or it is still to come: then now. */
static enum status attributor_init(struct attributor *attributor, struct store_write *write,
                                   uint32_t aco_number, int64_t source_us, struct error *error)
{
    struct aco aco;
    enum status status = aco_get(write->txn, aco_number, &aco, error);
    if (status != STATUS_OK)
        return status;
    bool is_kept = source_us > aco.newest_transaction_time_us && source_us <= write->instant_us;
    *attributor = (struct attributor){
        .write = write,
        .aco = aco_number,
        .at_us = is_kept ? source_us : write->instant_us,
        .given_us = aco.newest_transaction_time_us,
    };
    return job_oldest_sequence_within(write, &attributor->oldest_sequence, error);
}

/* Opens or closes the interval of one row; nothing if it is as wanted already. */
static enum status attributor_set(struct attributor *attributor, unsigned table, const struct key *key,
                                  bool wanted, uint32_t home, bool *ret_changed, struct error *error)
{
    struct interval_row row;
    enum status status = interval_row_get(attributor->write->txn, table, key_slice(key), &row, error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    *ret_changed = (interval_row_open_one(&row) != NULL) != wanted;
    if (!*ret_changed)
        return STATUS_OK;
    if (wanted)
        interval_row_begin(&row, attributor->at_us, attributor->write->sequence, home);
    else
        interval_row_end(&row, attributor->at_us, attributor->write->sequence);
    return interval_row_put(attributor->write, table, key_slice(key), &row, attributor->oldest_sequence,
                            error);
}

/* A beneficiary without segments stands nowhere yet: its first ACO becomes its home. */
static void beneficiary_settle(struct beneficiary *beneficiary, uint32_t aco)
{
    if (beneficiary->home != 0)
        return;
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        if (beneficiary->changed[i])
            return;
    }
    beneficiary->home = aco;
}

static enum status attributor_set_exportable(struct attributor *attributor, struct slice id,
                                             struct beneficiary *beneficiary, bool attributed, bool wanted,
                                             struct error *error)
{
    struct key key;
    bool changed;
    if (attributed)
        beneficiary_settle(beneficiary, attributor->aco);
    key_aco_beneficiary(&key, attributor->aco, id);
    enum status status =
        attributor_set(attributor, TABLE_EXPORTABLE, &key, wanted, beneficiary->home, &changed, error);
    if (status != STATUS_OK)
        return status;
    if (attributed && !wanted)
        status = acos_add(beneficiary->hidden, &beneficiary->hidden_count, attributor->aco, error);
    else
        acos_remove(beneficiary->hidden, &beneficiary->hidden_count, attributor->aco);
    if (status == STATUS_OK && wanted)
        return acos_add(beneficiary->acos, &beneficiary->aco_count, attributor->aco, error);
    acos_remove(beneficiary->acos, &beneficiary->aco_count, attributor->aco);
    if (changed && attributor->given_us > beneficiary->lost_us)
        beneficiary->lost_us = attributor->given_us;
    return status;
}

/* Whether a row is open, and the earliest begin of those that are. */
static enum status row_is_open(struct engine_txn *txn, const struct key *key, bool *open, int64_t *since_us,
                               struct error *error)
{
    struct interval_row row;
    enum status status = interval_row_get(txn, TABLE_ATTRIBUTION, key_slice(key), &row, error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    const struct interval *one = interval_row_open_one(&row);
    if (one && (!*open || one->start_us < *since_us))
        *since_us = one->start_us;
    *open |= one != NULL;
    return STATUS_OK;
}

enum status attribution_is_direct(struct engine_txn *txn, uint32_t aco, struct slice beneficiary_id,
                                  bool *ret_direct, struct error *error)
{
    struct key key;
    int64_t since_us = INT64_MIN;
    key_attribution_direct(&key, aco, beneficiary_id);
    *ret_direct = false;
    return row_is_open(txn, &key, ret_direct, &since_us, error);
}

/* By any of its MBIs, or directly; and since when. */
static enum status beneficiary_is_attributed(struct engine_txn *txn, uint32_t aco, struct slice id,
                                             const struct beneficiary *beneficiary, bool *ret_attributed,
                                             int64_t *ret_since_us, struct error *error)
{
    struct key key;
    key_attribution_direct(&key, aco, id);
    bool open = false;
    int64_t since_us = INT64_MIN;
    enum status status = row_is_open(txn, &key, &open, &since_us, error);
    for (size_t i = 0; status == STATUS_OK && i < beneficiary->mbi_count; i++) {
        key_attribution(&key, aco, beneficiary->mbis[i]);
        status = row_is_open(txn, &key, &open, &since_us, error);
    }
    if (status == STATUS_OK) {
        *ret_attributed = open;
        *ret_since_us = since_us;
    }
    return status;
}

/* By any of its MBIs. *ret_lifted_us: since when by none of them; INT64_MIN if it never was. */
static enum status beneficiary_is_suppressed(struct engine_txn *txn, const struct beneficiary *beneficiary,
                                             bool *ret_suppressed, int64_t *ret_lifted_us,
                                             struct error *error)
{
    bool suppressed = false;
    int64_t lifted_us = INT64_MIN;
    for (size_t i = 0; !suppressed && i < beneficiary->mbi_count; i++) {
        struct mbi_row row;
        enum status status = mbi_row_get(txn, beneficiary->mbis[i], &row, error);
        if (status != STATUS_OK)
            return status;
        suppressed = row.suppressed;
        lifted_us = row.suppressed_us > lifted_us ? row.suppressed_us : lifted_us;
    }
    *ret_suppressed = suppressed;
    *ret_lifted_us = lifted_us;
    return STATUS_OK;
}

/* Lets a beneficiary's exportability follow its attribution and its suppression. It begins when the last of
 * what it needs did: a lifted opt-out dated before the roster does not make it exportable before the roster,
 * nor a roster before the opt-out was lifted. */
static enum status attributor_follow(const struct attributor *attributor, struct slice id,
                                     struct beneficiary *beneficiary, struct error *error)
{
    struct engine_txn *txn = attributor->write->txn;
    struct attributor own = *attributor;
    bool attributed, suppressed;
    int64_t attributed_us, lifted_us;
    enum status status =
        beneficiary_is_attributed(txn, own.aco, id, beneficiary, &attributed, &attributed_us, error);
    if (status == STATUS_OK)
        status = beneficiary_is_suppressed(txn, beneficiary, &suppressed, &lifted_us, error);
    if (status != STATUS_OK)
        return status;
    bool wanted = attributed && !suppressed;
    if (wanted && attributed_us > own.at_us)
        own.at_us = attributed_us;
    if (wanted && lifted_us > own.at_us)
        own.at_us = lifted_us;
    return attributor_set_exportable(&own, id, beneficiary, attributed, wanted, error);
}

enum status attribution_follow(struct store_write *write, struct slice beneficiary_id,
                               struct beneficiary *beneficiary, int64_t source_us, struct error *error)
{
    uint32_t acos[2 * BENEFICIARY_ACOS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < beneficiary->aco_count; i++)
        acos[count++] = beneficiary->acos[i];
    for (size_t i = 0; i < beneficiary->hidden_count; i++)
        acos[count++] = beneficiary->hidden[i];
    enum status damage = STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        struct attributor attributor;
        struct error found = {0};
        enum status status = attributor_init(&attributor, write, acos[i], source_us, &found);
        if (status == STATUS_OK)
            status = attributor_follow(&attributor, beneficiary_id, beneficiary, &found);
        bool is_damage = status == STATUS_CORRUPT || status == STATUS_NOT_FOUND;
        if (status != STATUS_OK && (!is_damage || damage == STATUS_OK) && error)
            *error = found;
        if (status != STATUS_OK && !is_damage)
            return status;
        if (damage == STATUS_OK)
            damage = status;
    }
    struct error found;
    enum status status = beneficiary_put(write, beneficiary_id, beneficiary, &found);
    if (status != STATUS_OK && error)
        *error = found;
    return status == STATUS_OK ? damage : status;
}

/* The row's slices borrow from the store; a change of the row would pull them away. */
static void beneficiary_keep_mbis(struct beneficiary *beneficiary, struct arena *arena)
{
    for (size_t i = 0; i < beneficiary->mbi_count; i++)
        beneficiary->mbis[i] = arena_copy(arena, beneficiary->mbis[i]);
}

/* Another Patient carries this MBI now: the one that carried it before loses it, and with it what it was
 * exportable for. */
static enum status mbi_leave_beneficiary(struct store_write *write, struct slice mbi,
                                         const struct mbi_row *row, struct arena *arena, struct error *error)
{
    struct slice id = mbi_row_beneficiary(row);
    struct beneficiary loser;
    enum status status = beneficiary_get(write->txn, id, &loser, error);
    if (status != STATUS_OK)
        return status;
    beneficiary_keep_mbis(&loser, arena);
    for (size_t i = 0; i < loser.mbi_count; i++) {
        if (slice_equal(loser.mbis[i], mbi)) {
            memmove(loser.mbis + i, loser.mbis + i + 1, (loser.mbi_count - i - 1) * sizeof *loser.mbis);
            loser.mbi_count--;
            break;
        }
    }
    for (size_t i = 0; status == STATUS_OK && i < row->aco_count; i++) {
        struct attributor attributor;
        status = attributor_init(&attributor, write, row->acos[i], INT64_MIN, error);
        if (status == STATUS_OK)
            status = attributor_follow(&attributor, id, &loser, error);
    }
    /* What was suppressed by this MBI alone is no longer. */
    return status == STATUS_OK ? attribution_follow(write, id, &loser, INT64_MIN, error) : status;
}

/* The Patient's MBIs first, in its order, then those known from before. */
static void beneficiary_merge_mbis(struct beneficiary *beneficiary, const struct slice *mbis, size_t count,
                                   struct arena *arena)
{
    struct slice merged[RESOURCE_MBI_MAX];
    size_t merged_count = 0;
    for (size_t i = 0; i < count + beneficiary->mbi_count && merged_count < RESOURCE_MBI_MAX; i++) {
        struct slice mbi = i < count ? mbis[i] : beneficiary->mbis[i - count];
        bool is_known = false;
        for (size_t j = 0; j < merged_count; j++)
            is_known |= slice_equal(merged[j], mbi);
        if (!is_known)
            merged[merged_count++] = arena_copy(arena, mbi);
    }
    memcpy(beneficiary->mbis, merged, merged_count * sizeof *merged);
    beneficiary->mbi_count = merged_count;
}

enum status attribution_learn_mbis(struct store_write *write, struct slice beneficiary_id,
                                   struct beneficiary *beneficiary, const struct slice *mbis,
                                   size_t mbi_count, struct arena *arena, struct error *error)
{
    bool is_suppressed = false;
    beneficiary_merge_mbis(beneficiary, mbis, mbi_count, arena);
    enum status expanded =
        mbi_link_expand(write->txn, beneficiary_id, beneficiary->mbis, &beneficiary->mbi_count, arena, error);
    if (expanded != STATUS_OK)
        return expanded;
    for (size_t i = 0; i < beneficiary->mbi_count; i++) {
        struct slice mbi = beneficiary->mbis[i];
        struct mbi_row row;
        enum status status = mbi_row_get(write->txn, mbi, &row, error);
        if (status != STATUS_OK)
            return status;
        if (slice_equal(mbi_row_beneficiary(&row), beneficiary_id))
            continue;
        if (row.beneficiary_size) {
            status = mbi_leave_beneficiary(write, mbi, &row, arena, error);
            if (status != STATUS_OK)
                return status;
        }
        memcpy(row.beneficiary, beneficiary_id.data, beneficiary_id.size);
        row.beneficiary_size = beneficiary_id.size;
        is_suppressed |= row.suppressed;
        status = mbi_row_put(write, mbi, &row, error);
        for (size_t j = 0; status == STATUS_OK && j < row.aco_count; j++) {
            struct attributor attributor;
            status = attributor_init(&attributor, write, row.acos[j], INT64_MIN, error);
            if (status == STATUS_OK)
                status = attributor_follow(&attributor, beneficiary_id, beneficiary, error);
        }
        if (status != STATUS_OK)
            return status;
    }
    /* A new MBI's opt-out hides it also from those to which its other MBIs attribute it. */
    return is_suppressed ? attribution_follow(write, beneficiary_id, beneficiary, INT64_MIN, error)
                         : STATUS_OK;
}

enum status attribution_add_beneficiary(struct store_write *write, uint32_t aco, struct slice beneficiary_id,
                                        struct beneficiary *beneficiary, struct error *error)
{
    struct attributor attributor;
    struct key key;
    bool is_direct, changed;
    enum status status = attribution_is_direct(write->txn, aco, beneficiary_id, &is_direct, error);
    if (status != STATUS_OK || is_direct)
        return status;
    status = attributor_init(&attributor, write, aco, INT64_MIN, error);
    if (status != STATUS_OK)
        return status;
    key_attribution_direct(&key, aco, beneficiary_id);
    status = attributor_set(&attributor, TABLE_ATTRIBUTION, &key, true, 0, &changed, error);
    if (status == STATUS_OK)
        status = attributor_follow(&attributor, beneficiary_id, beneficiary, error);
    return status;
}

/* ---- rosters ---- */

static void key_roster(struct key *key, uint32_t aco, int64_t at_us, struct slice name)
{
    key_init(key);
    key_u32(key, aco);
    key_instant(key, at_us);
    key_id(key, name);
}

/* Refuses a roster that was applied before (STATUS_EXISTS), or that is older than one that was. */
static enum status roster_check_order(struct store_write *write, uint32_t aco,
                                      const struct roster_apply *apply, struct error *error)
{
    struct key key;
    struct slice found;
    key_roster(&key, aco, apply->at_us, slice_from_text(apply->name));
    enum status status = engine_get(write->txn, TABLE_ROSTER, key_slice(&key), &found, error);
    if (status == STATUS_OK)
        return error_set(error, STATUS_EXISTS, "%s: was imported before", apply->name);
    if (status != STATUS_NOT_FOUND)
        return status;

    struct engine_cursor *cursor;
    struct key prefix;
    struct slice key_found, value;
    status = engine_cursor_open(write->txn, TABLE_ROSTER, &cursor, error);
    if (status != STATUS_OK)
        return status;
    key_of_u32(&prefix, aco);
    key_init(&key);
    key_u32(&key, aco);
    key_instant(&key, apply->at_us + 1);
    engine_seek_prefix(cursor, key_slice(&prefix), key_slice(&key));
    status = engine_next(cursor, &key_found, &value, error);
    engine_cursor_close(cursor);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status == STATUS_OK)
        return error_set(
            error, STATUS_CONFLICT,
            "%s: a newer roster of %s was imported before; import rosters in the order of their times",
            apply->name, apply->aco_id);
    return status;
}

/* The rows that a roster changes: MBIs as they stand in the keys, MBI_SIZE_MAX or more bytes each. */
struct roster_change {
    struct slice mbi;
    bool joins;
};

struct roster_changes {
    struct arena arena;
    struct buffer items; /* struct roster_change */
};

static void roster_changes_add(struct roster_changes *changes, struct slice mbi, bool joins)
{
    struct roster_change change = {arena_copy(&changes->arena, mbi), joins};
    buffer_append(&changes->items, &change, sizeof change);
}

static struct slice padded_mbi(const char *mbis, size_t index)
{
    struct slice mbi = {mbis + index * MBI_SIZE_MAX, MBI_SIZE_MAX};
    while (mbi.size && mbi.data[mbi.size - 1] == ' ')
        mbi.size--;
    return mbi;
}

static struct slice roster_mbi(const struct roster_apply *apply, size_t index)
{
    return padded_mbi(apply->mbis, index);
}

static bool is_storable_mbi(struct slice mbi)
{
    return mbi.size && !memchr(mbi.data, '\0', mbi.size) &&
           !slice_starts_with(mbi, SLICE_LITERAL(DIRECT_MARK));
}

/* Rosters come through the control socket too: what would break the order of keys is refused here. */
static enum status roster_check(const struct store_write *write, const struct roster_apply *apply,
                                struct error *error)
{
    if (apply->mbi_count > ROSTER_MBIS_MAX)
        return error_set(error, STATUS_TOO_LARGE, "%s: more than %zu beneficiaries", apply->name,
                         ROSTER_MBIS_MAX);
    if (apply->at_us > write->instant_us + ROSTER_AHEAD_US_MAX)
        return error_set(error, STATUS_INVALID, "%s: is dated more than a day ahead of this machine's clock",
                         apply->name);
    struct slice before = {0};
    for (size_t i = 0; i < apply->mbi_count; i++) {
        struct slice mbi = roster_mbi(apply, i);
        if (!is_storable_mbi(mbi))
            return error_set(error, STATUS_INVALID, "%s: its beneficiary %zu is no MBI", apply->name, i + 1);
        if (i && slice_compare(before, mbi) >= 0)
            return error_set(error, STATUS_INVALID, "%s: its beneficiaries are not in order", apply->name);
        before = mbi;
    }
    if (apply->link_count > ROSTER_MBIS_MAX)
        return error_set(error, STATUS_TOO_LARGE, "%s: more than %zu links between MBIs", apply->name,
                         ROSTER_MBIS_MAX);
    for (size_t i = 0; i < 2 * apply->link_count; i++) {
        if (!is_storable_mbi(padded_mbi(apply->links, i)))
            return error_set(error, STATUS_INVALID, "%s: its link %zu names no MBI", apply->name, i / 2 + 1);
    }
    return STATUS_OK;
}

/* Merges the roster with the ACO's rows, both in order. */
static enum status roster_compare(struct store_write *write, uint32_t aco, const struct roster_apply *apply,
                                  struct roster_changes *changes, struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(write->txn, TABLE_ATTRIBUTION, &cursor, error);
    if (status != STATUS_OK)
        return status;
    struct key prefix;
    key_of_u32(&prefix, aco);
    engine_seek_prefix(cursor, key_slice(&prefix), (struct slice){0});
    size_t at = 0;
    for (;;) {
        struct slice key, value, mbi;
        struct interval_row row;
        status = engine_next(cursor, &key, &value, error);
        if (status != STATUS_OK)
            break;
        key = slice_skip(key, sizeof(uint32_t));
        if (!key_take_id(&key, &mbi)) {
            status = error_set(error, STATUS_CORRUPT, "a key of attribution is malformed");
            break;
        }
        status = interval_row_parse(value, &row, error);
        if (status != STATUS_OK)
            break;
        bool is_open = interval_row_open_one(&row) != NULL;
        for (; at < apply->mbi_count && slice_compare(roster_mbi(apply, at), mbi) < 0; at++)
            roster_changes_add(changes, roster_mbi(apply, at), true);
        bool is_listed = at < apply->mbi_count && slice_equal(roster_mbi(apply, at), mbi);
        at += is_listed;
        if (is_listed != is_open)
            roster_changes_add(changes, mbi, is_listed);
    }
    engine_cursor_close(cursor);
    if (status != STATUS_NOT_FOUND)
        return status;
    for (; at < apply->mbi_count; at++)
        roster_changes_add(changes, roster_mbi(apply, at), true);
    return STATUS_OK;
}

/* Of a roster that was applied before. While it is the ACO's last one, the ACO's open rows say what was in
 * it: another file of the same name and time is told from the same one. */
static enum status roster_known(struct store_write *write, uint32_t aco, const struct roster_apply *apply,
                                struct roster_changes *changes, struct error *error)
{
    struct engine_cursor *cursor;
    struct key prefix, first, own;
    struct slice key, value;
    enum status status = engine_cursor_open(write->txn, TABLE_ROSTER, &cursor, error);
    if (status != STATUS_OK)
        return status;
    key_of_u32(&prefix, aco);
    key_init(&first);
    key_u32(&first, aco);
    key_instant(&first, apply->at_us);
    key_roster(&own, aco, apply->at_us, slice_from_text(apply->name));
    engine_seek_prefix(cursor, key_slice(&prefix), key_slice(&first));
    bool is_last = true;
    while ((status = engine_next(cursor, &key, &value, error)) == STATUS_OK)
        is_last = is_last && slice_equal(key, key_slice(&own));
    engine_cursor_close(cursor);
    if (status == STATUS_NOT_FOUND)
        status = is_last ? roster_compare(write, aco, apply, changes, error) : STATUS_OK;
    if (status != STATUS_OK)
        return status;
    const struct roster_change *items = (const struct roster_change *)(const void *)changes->items.data;
    for (size_t i = 0; i < changes->items.size / sizeof *items; i++) {
        /* Whom `import --aco` added since. */
        if (!items[i].joins && slice_starts_with(items[i].mbi, SLICE_LITERAL(DIRECT_MARK)))
            continue;
        return error_set(error, STATUS_CONFLICT,
                         "%s: a roster of this name and time was imported before, with other contents; if "
                         "this one is right, give it a later time by --at",
                         apply->name);
    }
    return error_set(error, STATUS_EXISTS, "%s: was imported before", apply->name);
}

static enum status roster_change_apply(struct attributor *attributor, const struct roster_change *change,
                                       struct roster_apply *apply, struct arena *arena, struct error *error)
{
    struct store_write *write = attributor->write;
    struct key key;
    bool changed;
    key_attribution(&key, attributor->aco, change->mbi);
    enum status status =
        attributor_set(attributor, TABLE_ATTRIBUTION, &key, change->joins, 0, &changed, error);
    if (status != STATUS_OK)
        return status;

    struct mbi_row row = {.aco_count = 0};
    struct slice id;
    if (slice_starts_with(change->mbi, SLICE_LITERAL(DIRECT_MARK))) {
        id = slice_skip(change->mbi, sizeof DIRECT_MARK - 1);
    } else {
        status = mbi_row_get(write->txn, change->mbi, &row, error);
        if (status == STATUS_OK && change->joins)
            status = acos_add(row.acos, &row.aco_count, attributor->aco, error);
        else
            acos_remove(row.acos, &row.aco_count, attributor->aco);
        if (status == STATUS_OK)
            status = mbi_row_put(write, change->mbi, &row, error);
        if (status != STATUS_OK)
            return status;
        id = mbi_row_beneficiary(&row);
    }
    *(change->joins ? &apply->ret_joined : &apply->ret_left) += 1;
    if (id.size == 0) {
        apply->ret_unknown += change->joins;
        return STATUS_OK;
    }
    struct beneficiary beneficiary;
    status = beneficiary_get(write->txn, id, &beneficiary, error);
    if (status != STATUS_OK)
        return status;
    beneficiary_keep_mbis(&beneficiary, arena);
    status = attributor_follow(attributor, id, &beneficiary, error);
    return status == STATUS_OK ? beneficiary_put(write, id, &beneficiary, error) : status;
}

/* Whoever carries one of two linked MBIs has the other too. */
static enum status link_apply(struct store_write *write, struct slice current, struct slice previous,
                              struct arena *arena, struct error *error)
{
    struct mbi_row rows[2];
    struct beneficiary beneficiary;
    enum status status = mbi_row_get(write->txn, current, &rows[0], error);
    if (status == STATUS_OK)
        status = mbi_row_get(write->txn, previous, &rows[1], error);
    if (status != STATUS_OK || (rows[0].beneficiary_size != 0) == (rows[1].beneficiary_size != 0))
        return status;
    struct slice id = mbi_row_beneficiary(rows[0].beneficiary_size ? &rows[0] : &rows[1]);
    status = beneficiary_get(write->txn, id, &beneficiary, error);
    if (status != STATUS_OK)
        return status;
    beneficiary_keep_mbis(&beneficiary, arena);
    status = attribution_learn_mbis(write, id, &beneficiary, NULL, 0, arena, error);
    return status == STATUS_OK ? beneficiary_put(write, id, &beneficiary, error) : status;
}

static enum status roster_link(struct store_write *write, struct roster_apply *apply, struct arena *arena,
                               struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < apply->link_count; i++) {
        struct slice current = padded_mbi(apply->links, 2 * i),
                     previous = padded_mbi(apply->links, 2 * i + 1);
        bool is_new;
        arena_reset(arena);
        status = mbi_link_put(write, current, previous, &is_new, error);
        if (status == STATUS_OK && is_new) {
            apply->ret_linked++;
            status = link_apply(write, current, previous, arena, error);
        }
    }
    return status;
}

static enum status roster_record(struct store_write *write, uint32_t aco, const struct roster_apply *apply,
                                 struct error *error)
{
    struct buffer value = BUFFER_INIT;
    buffer_append_u8(&value, ROSTER_KIND);
    buffer_append_u8(&value, ROSTER_VERSION);
    buffer_append_i64(&value, write->instant_us);
    buffer_append_u64(&value, apply->mbi_count);
    buffer_append_u64(&value, apply->ret_joined);
    buffer_append_u64(&value, apply->ret_left);
    struct key key;
    key_roster(&key, aco, apply->at_us, slice_from_text(apply->name));
    enum status status = engine_put(write->txn, TABLE_ROSTER, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

static enum status roster_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct roster_apply *apply = (struct roster_apply *)request;
    struct roster_changes changes = {.arena = ARENA_INIT, .items = BUFFER_INIT};
    struct arena scratch = ARENA_INIT;
    struct aco aco;
    struct attributor attributor;
    apply->ret_joined = apply->ret_left = apply->ret_unknown = apply->ret_linked = 0;
    enum status status = roster_check(write, apply, error);
    if (status == STATUS_OK)
        status = aco_find(write->txn, slice_from_text(apply->aco_id), &aco, error);
    if (status == STATUS_OK)
        status = roster_check_order(write, aco.number, apply, error);
    if (status == STATUS_EXISTS)
        status = roster_known(write, aco.number, apply, &changes, error);
    if (status == STATUS_OK)
        status = roster_compare(write, aco.number, apply, &changes, error);
    if (status == STATUS_OK) /* before the rows: who is listed by a new MBI is found by the old one */
        status = roster_link(write, apply, &scratch, error);
    if (status == STATUS_OK)
        status = attributor_init(&attributor, write, aco.number, apply->at_us, error);
    const struct roster_change *items = (const struct roster_change *)(const void *)changes.items.data;
    size_t count = changes.items.size / sizeof *items;
    /* Those who join come first: a beneficiary that only changes the MBI by which it is attributed (or was
     * added directly before) never stops being exportable, and so is not taken for a new one. */
    for (int joins = 1; joins >= 0; joins--) {
        for (size_t i = 0; status == STATUS_OK && i < count; i++) {
            if (items[i].joins != (joins == 1))
                continue;
            arena_reset(&scratch);
            status = roster_change_apply(&attributor, &items[i], apply, &scratch, error);
        }
    }
    if (status == STATUS_OK)
        status = roster_record(write, aco.number, apply, error);
    apply->ret_total = apply->mbi_count;
    arena_release(&changes.arena);
    arena_release(&scratch);
    buffer_release(&changes.items);
    return status;
}

void roster_apply_init(struct roster_apply *apply)
{
    *apply = (struct roster_apply){.request = {.apply = roster_run}};
}

/* ---- reading ---- */

struct exportable_scan {
    struct engine_cursor *cursor;
    uint32_t aco;
    uint64_t sequence;
    int64_t since_us;
    struct interval_row row;
};

enum status exportable_scan_open(struct engine_txn *txn, uint32_t aco, uint64_t sequence, int64_t since_us,
                                 struct exportable_scan **ret_scan, struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, TABLE_EXPORTABLE, &cursor, error);
    if (status != STATUS_OK)
        return status;
    struct exportable_scan *scan = mem_new(struct exportable_scan);
    scan->cursor = cursor;
    scan->aco = aco;
    scan->sequence = sequence;
    scan->since_us = since_us;
    exportable_scan_seek(scan, (struct slice){0});
    *ret_scan = scan;
    return STATUS_OK;
}

void exportable_scan_close(struct exportable_scan *scan)
{
    if (!scan)
        return;
    engine_cursor_close(scan->cursor);
    mem_free(scan);
}

void exportable_scan_seek(struct exportable_scan *scan, struct slice first)
{
    struct key prefix, from;
    key_of_u32(&prefix, scan->aco);
    key_aco_beneficiary(&from, scan->aco, first);
    engine_seek_prefix(scan->cursor, key_slice(&prefix), first.size ? key_slice(&from) : (struct slice){0});
}

enum status exportable_scan_next(struct exportable_scan *scan, struct exportable *ret_exportable,
                                 struct error *error)
{
    for (;;) {
        struct slice key, value, beneficiary;
        enum status status = engine_next(scan->cursor, &key, &value, error);
        if (status != STATUS_OK)
            return status;
        key = slice_skip(key, sizeof(uint32_t));
        if (!key_take_id(&key, &beneficiary) || key.size)
            return error_set(error, STATUS_CORRUPT, "a key of table %s is malformed",
                             table_names[TABLE_EXPORTABLE]);
        status = interval_row_parse(value, &scan->row, error);
        if (status != STATUS_OK)
            return status;
        const struct interval *open = interval_row_open_at(&scan->row, scan->sequence);
        if (!open)
            continue;
        *ret_exportable = (struct exportable){
            .beneficiary = beneficiary,
            .home = open->home,
            .at_since = interval_row_covers(&scan->row, scan->sequence, scan->since_us),
        };
        return STATUS_OK;
    }
}

static enum status roster_parse(struct slice key, struct slice value, struct roster *ret_roster,
                                struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    ret_roster->applied_us = reader_i64(&reader);
    ret_roster->total = reader_u64(&reader);
    ret_roster->joined = reader_u64(&reader);
    ret_roster->left = reader_u64(&reader);
    key = slice_skip(key, sizeof(uint32_t));
    if (!reader_done(&reader) || kind != ROSTER_KIND || version != ROSTER_VERSION ||
        !key_take_instant(&key, &ret_roster->at_us) || !key_take_id(&key, &ret_roster->name))
        return error_set(error, STATUS_CORRUPT, "a roster's row is malformed");
    return STATUS_OK;
}

enum status roster_each(struct engine_txn *txn, uint32_t aco, roster_handler *handler, void *context,
                        struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, TABLE_ROSTER, &cursor, error);
    if (status != STATUS_OK)
        return status;
    /* Keys are in order of time; newest first is asked for. Keys stay valid until the transaction ends only
     * by copy, so they are kept in an arena. */
    struct arena arena = ARENA_INIT;
    struct buffer rosters = BUFFER_INIT;
    struct key prefix;
    key_of_u32(&prefix, aco);
    engine_seek_prefix(cursor, key_slice(&prefix), (struct slice){0});
    struct slice key, value;
    while ((status = engine_next(cursor, &key, &value, error)) == STATUS_OK) {
        struct roster roster;
        status = roster_parse(key, value, &roster, error);
        if (status != STATUS_OK)
            break;
        roster.name = arena_copy(&arena, roster.name);
        buffer_append(&rosters, &roster, sizeof roster);
    }
    engine_cursor_close(cursor);
    if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
        for (size_t i = rosters.size / sizeof(struct roster); status == STATUS_OK && i-- > 0;) {
            struct roster roster;
            memcpy(&roster, rosters.data + i * sizeof roster, sizeof roster);
            status = handler(context, &roster, error);
        }
    }
    buffer_release(&rosters);
    arena_release(&arena);
    return status;
}

/* What a row in force tells; borrows from the row and from mbi_row. */
static enum status attributed_read(struct engine_txn *txn, uint32_t aco, struct slice mbi,
                                   const struct interval_row *row, struct mbi_row *mbi_row,
                                   struct attributed *ret, struct error *error)
{
    enum status status = STATUS_OK;
    *ret = (struct attributed){.intervals = row->items, .interval_count = row->count};
    if (slice_starts_with(mbi, SLICE_LITERAL(DIRECT_MARK))) {
        ret->beneficiary = slice_skip(mbi, sizeof DIRECT_MARK - 1);
    } else {
        status = mbi_row_get(txn, mbi, mbi_row, error);
        if (status != STATUS_OK)
            return status;
        ret->mbi = mbi;
        ret->beneficiary = mbi_row_beneficiary(mbi_row);
        ret->suppressed = mbi_row->suppressed;
    }
    if (ret->beneficiary.size && !ret->suppressed) { /* by another of its MBIs? */
        struct beneficiary beneficiary;
        status = beneficiary_get(txn, ret->beneficiary, &beneficiary, error);
        if (status == STATUS_NOT_FOUND)
            status = error_set(error, STATUS_CORRUPT, "a beneficiary's row is missing that is attributed");
        if (status == STATUS_OK)
            ret->suppressed = acos_contain(beneficiary.hidden, beneficiary.hidden_count, aco);
    }
    return status;
}

static enum status attribution_row(struct read_steps *steps, uint32_t aco, int64_t at_us, struct slice key,
                                   struct slice value, attribution_handler *handler, void *context,
                                   struct error *error)
{
    struct interval_row row;
    struct mbi_row mbi_row = {.aco_count = 0};
    struct attributed attributed;
    struct slice mbi;
    key = slice_skip(key, sizeof(uint32_t));
    if (!key_take_id(&key, &mbi))
        return error_set(error, STATUS_CORRUPT, "a key of attribution is malformed");
    enum status status = interval_row_parse(value, &row, error);
    if (status != STATUS_OK)
        return status;
    bool is_in_force = at_us == INTERVAL_OPEN_US ? interval_row_open_one(&row) != NULL
                                                 : interval_row_covers(&row, UINT64_MAX - 1, at_us);
    if (!is_in_force)
        return STATUS_OK;
    status = attributed_read(steps->txn, aco, mbi, &row, &mbi_row, &attributed, error);
    return status == STATUS_OK ? handler(context, &attributed, error) : status;
}

/* From `from` on until the step is over; `from` is then the next key. STATUS_NOT_FOUND: there are no more. */
static enum status attribution_step(struct read_steps *steps, uint32_t aco, int64_t at_us,
                                    struct buffer *from, attribution_handler *handler, void *context,
                                    struct error *error)
{
    struct engine_cursor *cursor;
    struct key prefix;
    struct slice key, value;
    enum status status = engine_cursor_open(steps->txn, TABLE_ATTRIBUTION, &cursor, error);
    if (status != STATUS_OK)
        return status;
    key_of_u32(&prefix, aco);
    engine_seek_prefix(cursor, key_slice(&prefix), buffer_slice(from));
    do {
        status = engine_next(cursor, &key, &value, error);
        if (status != STATUS_OK)
            break;
        buffer_reset(from);
        buffer_append_slice(from, key);
        buffer_append_char(from, '\0');
        status = attribution_row(steps, aco, at_us, key, value, handler, context, error);
    } while (status == STATUS_OK && !read_steps_are_due(steps));
    engine_cursor_close(cursor);
    return status;
}

enum status attribution_each(struct read_steps *steps, uint32_t aco, int64_t at_us,
                             attribution_handler *handler, void *context, struct error *error)
{
    struct buffer from = BUFFER_INIT;
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        status = read_steps_begin(steps, error);
        if (status == STATUS_OK)
            status = attribution_step(steps, aco, at_us, &from, handler, context, error);
        read_steps_end(steps);
    }
    buffer_release(&from);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}
