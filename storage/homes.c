#include "storage/homes.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/failpoint.h"
#include "codec/base/reader.h"
#include "storage/accounts.h"
#include "storage/interval.h"
#include "storage/jobs.h"
#include "storage/resources.h"

#define MOVE_KIND        'H'
#define MOVE_VERSION     1
#define MOVE_FLAG_COPIES 1

static const struct move nothing_copied;

/* ---- rows ---- */

enum status move_get(struct engine_txn *txn, struct slice id, struct move *ret_move, struct error *error)
{
    struct key key;
    struct slice value;
    key_of_id(&key, id);
    enum status status = engine_get(txn, TABLE_MOVE, key_slice(&key), &value, error);
    if (status != STATUS_OK)
        return status;
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    uint8_t flags = reader_u8(&reader);
    struct move move = {.has_copies = flags & MOVE_FLAG_COPIES, .type = reader_u8(&reader)};
    move.copy_home = reader_u32(&reader);
    move.name.newest_us = reader_i64(&reader);
    move.name.birth = reader_u64(&reader);
    move.name.ordinal = reader_u16(&reader);
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        move.changed[i] = reader_u64(&reader);
    if (!reader_done(&reader) || kind != MOVE_KIND || version != MOVE_VERSION ||
        move.type >= RESOURCE_TYPE_COUNT)
        return error_set(error, STATUS_CORRUPT, "a move's row is malformed");
    *ret_move = move;
    return STATUS_OK;
}

static enum status move_put(struct store_write *write, struct slice id, const struct move *move,
                            struct error *error)
{
    struct buffer value = BUFFER_INIT;
    struct key key;
    buffer_append_u8(&value, MOVE_KIND);
    buffer_append_u8(&value, MOVE_VERSION);
    buffer_append_u8(&value, move->has_copies ? MOVE_FLAG_COPIES : 0);
    buffer_append_u8(&value, move->type);
    buffer_append_u32(&value, move->copy_home);
    buffer_append_i64(&value, move->name.newest_us);
    buffer_append_u64(&value, move->name.birth);
    buffer_append_u16(&value, move->name.ordinal);
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        buffer_append_u64(&value, move->changed[i]);
    key_of_id(&key, id);
    enum status status = engine_put(write->txn, TABLE_MOVE, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

static enum status move_delete(struct store_write *write, struct slice id, struct error *error)
{
    struct key key;
    key_of_id(&key, id);
    return engine_delete(write->txn, TABLE_MOVE, key_slice(&key), error);
}

/* True also if it is at home with a removed ACO, while another exports it. */
static enum status home_is_to_change(struct engine_txn *txn, const struct beneficiary *beneficiary,
                                     bool *ret_changes, struct error *error)
{
    bool is_removed = false, has_other = false;
    *ret_changes = beneficiary_is_to_move(beneficiary);
    for (size_t i = 0; !*ret_changes && beneficiary->aco_count > 1 && i < beneficiary->aco_count; i++) {
        struct aco aco;
        enum status status = aco_get(txn, beneficiary->acos[i], &aco, error);
        if (status != STATUS_OK)
            return status;
        if (aco.number == beneficiary->home)
            is_removed = aco.removed;
        else
            has_other |= !aco.removed;
    }
    *ret_changes |= is_removed && has_other;
    return STATUS_OK;
}

enum status homes_note(struct store_write *write, struct slice id, const struct beneficiary *beneficiary,
                       struct error *error)
{
    bool changes;
    struct key key;
    struct slice value;
    enum status status = home_is_to_change(write->txn, beneficiary, &changes, error);
    if (status != STATUS_OK || !changes)
        return status;
    key_of_id(&key, id);
    status = engine_get(write->txn, TABLE_MOVE, key_slice(&key), &value, error);
    return status == STATUS_NOT_FOUND ? move_put(write, id, &nothing_copied, error) : status;
}

enum status homes_count(struct engine_txn *txn, uint64_t *ret_count, struct error *error)
{
    struct engine_table_stats stats;
    enum status status = engine_table_stats(txn, TABLE_MOVE, &stats, error);
    if (status == STATUS_OK)
        *ret_count = stats.entries;
    return status;
}

/* ---- what is to be done with one that waits ---- */

enum move_action {
    MOVE_FORGET,  /* it is at home */
    MOVE_CLEAN,   /* what stands under move.copy_home is no good */
    MOVE_COLLECT, /* nobody needs any more what stands where it belongs: it left there at `left` */
    MOVE_WAIT,
    MOVE_GO,
};

struct move_plan {
    enum move_action action;
    struct move move;
    struct beneficiary beneficiary; /* its MBIs are borrowed */
    uint32_t home;                  /* where it belongs */
    uint64_t left;                  /* when it left there; SEQUENCE_NEVER: all is collected */
    uint64_t oldest_sequence;       /* of active jobs */
};

/* One of the ACOs that may export it: not a removed one, if possible; then by the begin of its interval. */
static enum status home_choose(struct engine_txn *txn, struct slice id, const struct beneficiary *beneficiary,
                               uint64_t oldest_sequence, uint32_t *ret_home, bool *ret_room,
                               struct error *error)
{
    bool best_removed = true;
    int64_t best_us = INT64_MAX;
    uint32_t best = beneficiary->acos[0];
    for (size_t i = 0; i < beneficiary->aco_count; i++) {
        struct interval_row row;
        struct key key;
        struct aco aco;
        uint32_t number = beneficiary->acos[i];
        key_aco_beneficiary(&key, number, id);
        enum status status = interval_row_get(txn, TABLE_EXPORTABLE, key_slice(&key), &row, error);
        if (status == STATUS_OK)
            status = aco_get(txn, number, &aco, error);
        if (status != STATUS_OK)
            return status;
        const struct interval *open = interval_row_open_one(&row);
        if (!open)
            return error_set(error, STATUS_CORRUPT, "a beneficiary names an ACO that may not export it");
        *ret_room &= interval_row_may_move(&row, oldest_sequence);
        bool is_better = aco.removed != best_removed ? best_removed
                         : open->start_us != best_us ? open->start_us < best_us
                                                     : number < best;
        if (i == 0 || is_better) {
            best_removed = aco.removed;
            best_us = open->start_us;
            best = number;
        }
    }
    *ret_home = best;
    return STATUS_OK;
}

static bool move_is_current(const struct move_plan *plan)
{
    return plan->move.copy_home == plan->home &&
           memcmp(plan->move.changed, plan->beneficiary.changed, sizeof plan->move.changed) == 0;
}

/* Damage is STATUS_CORRUPT: then it waits. */
static enum status move_plan_make(struct engine_txn *txn, struct slice id, struct move_plan *plan,
                                  struct error *error)
{
    struct summary here, left;
    bool changes, has_room = true;
    enum status status = move_get(txn, id, &plan->move, error);
    if (status == STATUS_OK)
        status = beneficiary_get(txn, id, &plan->beneficiary, error);
    if (status == STATUS_OK)
        status = job_oldest_sequence(txn, &plan->oldest_sequence, error);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? error_set(error, STATUS_CORRUPT, "a beneficiary's row is missing")
                                          : status;
    plan->home = plan->beneficiary.home;
    status = home_is_to_change(txn, &plan->beneficiary, &changes, error);
    if (status == STATUS_OK && changes)
        status =
            home_choose(txn, id, &plan->beneficiary, plan->oldest_sequence, &plan->home, &has_room, error);
    if (status == STATUS_NOT_FOUND) /* to callers that would be the end of those that wait */
        status = error_set(error, STATUS_CORRUPT, "a row is missing that a beneficiary's row names");
    if (status != STATUS_OK)
        return status;
    if (plan->move.has_copies && !move_is_current(plan)) {
        plan->action = MOVE_CLEAN;
    } else if (plan->home == plan->beneficiary.home) {
        plan->action = MOVE_FORGET;
    } else {
        status = summary_get(txn, plan->beneficiary.home, id, &here, error); /* the switch needs it */
        if (status == STATUS_OK || status == STATUS_NOT_FOUND)
            status = summary_get(txn, plan->home, id, &left, error);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
        plan->left = status == STATUS_OK ? left.left : SEQUENCE_NEVER;
        if (plan->left != SEQUENCE_NEVER && plan->left <= plan->oldest_sequence)
            plan->action = MOVE_COLLECT;
        else /* a job still reads it there */
            plan->action = status == STATUS_OK || !has_room ? MOVE_WAIT : MOVE_GO;
    }
    return STATUS_OK;
}

/* What cannot be read costs only itself. */
static bool is_damage(enum status status)
{
    return status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED;
}

/* ---- deleting ---- */

/* Deletes segments of a home that nobody reads: at most `limit`. Those that have a death of their own are
 * listed themselves, and stay for who does. */
static enum status segments_clear(struct store_write *write, uint32_t home, struct slice id, size_t limit,
                                  size_t *ret_deleted, bool *ret_all, struct error *error)
{
    struct key prefix;
    struct buffer keys = BUFFER_INIT; /* struct key */
    enum status status = STATUS_OK;
    key_segment_prefix(&prefix, home, id);
    *ret_deleted = 0;
    *ret_all = true;
    for (unsigned type = 0; status == STATUS_OK && *ret_all && type < RESOURCE_TYPE_COUNT; type++) {
        struct engine_cursor *cursor;
        struct slice key, value;
        buffer_reset(&keys);
        status = engine_cursor_open(write->txn, TABLE_SEGMENT + type, &cursor, error);
        if (status != STATUS_OK)
            break;
        engine_seek_prefix(cursor, key_slice(&prefix), (struct slice){0});
        while ((status = engine_next(cursor, &key, &value, error)) == STATUS_OK ||
               (status == STATUS_CORRUPT && key.size)) {
            struct stored_segment stored;
            struct key copy;
            if (status == STATUS_OK && stored_segment_open(value, &stored, NULL) == STATUS_OK &&
                stored.death != SEQUENCE_NEVER)
                continue;
            if (*ret_deleted == limit) {
                *ret_all = false;
                status = STATUS_NOT_FOUND;
                break;
            }
            CHECK(key.size <= sizeof copy.bytes);
            copy.size = key.size;
            memcpy(copy.bytes, key.data, key.size);
            buffer_append(&keys, &copy, sizeof copy);
            ++*ret_deleted;
        }
        engine_cursor_close(cursor);
        if (status == STATUS_NOT_FOUND)
            status = STATUS_OK;
        for (size_t at = 0; status == STATUS_OK && at < keys.size; at += sizeof(struct key)) {
            struct key copy;
            memcpy(&copy, keys.data + at, sizeof copy);
            status = engine_delete(write->txn, TABLE_SEGMENT + type, key_slice(&copy), error);
        }
    }
    buffer_release(&keys);
    return status;
}

static enum status delete_if_there(struct store_write *write, unsigned table, const struct key *key,
                                   struct error *error)
{
    enum status status = engine_delete(write->txn, table, key_slice(key), error);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status home_collect(struct store_write *write, uint32_t home, struct slice id, uint64_t left,
                         size_t limit, size_t *ret_deleted, struct error *error)
{
    bool all;
    struct key summary, dead;
    key_aco_beneficiary(&summary, home, id);
    key_dead_home(&dead, left, home, id);
    CHECK(limit > 0);
    enum status status = segments_clear(write, home, id, limit, ret_deleted, &all, error);
    if (status != STATUS_OK || !all || *ret_deleted == limit)
        return status;
    ++*ret_deleted; /* counts as one, so that every turn comes forward */
    status = delete_if_there(write, TABLE_SUMMARY, &summary, error);
    return status == STATUS_OK ? delete_if_there(write, TABLE_DEAD, &dead, error) : status;
}

/* ---- copying ---- */

struct copy_item {
    unsigned type;
    struct segment_name name;
};

static bool name_is_after(const struct segment_name *a, const struct segment_name *b)
{
    if (a->newest_us != b->newest_us)
        return a->newest_us > b->newest_us;
    return a->birth != b->birth ? a->birth > b->birth : a->ordinal > b->ordinal;
}

/* The standing segments that are not copied yet, as far as one step may take them. Reads each, so that what
 * is damaged is found before anything is written. */
static enum status copy_list(struct engine_txn *txn, struct slice id, const struct move_plan *plan,
                             size_t bytes_max, struct buffer *items, size_t *ret_bytes, bool *ret_all,
                             struct error *error)
{
    const struct move *move = &plan->move;
    *ret_bytes = 0;
    *ret_all = true;
    for (unsigned type = move->has_copies ? move->type : 0; type < RESOURCE_TYPE_COUNT; type++) {
        struct segment_scan *scan;
        struct stored_segment stored;
        bool is_begun = move->has_copies && type == move->type;
        enum status status = segment_scan_open(txn, (enum resource_type)type, UINT64_MAX - 1, &scan, error);
        if (status != STATUS_OK)
            return status;
        segment_scan_seek(scan, plan->beneficiary.home, id, is_begun ? move->name.newest_us - 1 : INT64_MIN);
        while ((status = segment_scan_next(scan, &stored, error)) == STATUS_OK) {
            struct copy_item item = {type, stored.name};
            size_t count = items->size / sizeof item;
            if (is_begun && !name_is_after(&stored.name, &move->name))
                continue;
            if (count && (*ret_bytes + stored.value.size > bytes_max || count == HOMES_STEP_SEGMENTS)) {
                *ret_all = false;
                break;
            }
            *ret_bytes += stored.value.size;
            buffer_append(items, &item, sizeof item);
        }
        segment_scan_close(scan);
        if (!*ret_all)
            return STATUS_OK;
        if (status != STATUS_NOT_FOUND)
            return status;
    }
    return STATUS_OK;
}

static enum status copy_one(struct store_write *write, struct slice id, const struct move_plan *plan,
                            const struct copy_item *item, struct error *error)
{
    struct key from, to;
    struct slice record;
    key_segment(&from, plan->beneficiary.home, id, &item->name);
    key_segment(&to, plan->home, id, &item->name);
    enum status status = engine_get(write->txn, TABLE_SEGMENT + item->type, key_slice(&from), &record, error);
    return status == STATUS_OK
               ? engine_put(write->txn, TABLE_SEGMENT + item->type, key_slice(&to), record, error)
               : status;
}

/* ---- switching ---- */

static enum status switch_rows(struct store_write *write, struct slice id, const struct move_plan *plan,
                               struct error *error)
{
    /* Fresh: the plan's MBIs were borrowed from a row that copies may have moved. */
    struct beneficiary beneficiary;
    enum status status = beneficiary_get(write->txn, id, &beneficiary, error);
    if (status != STATUS_OK)
        return status;
    beneficiary.home = plan->home;
    status = beneficiary_put(write, id, &beneficiary, error);
    for (size_t i = 0; status == STATUS_OK && i < beneficiary.aco_count; i++) {
        struct interval_row row;
        struct key key;
        key_aco_beneficiary(&key, beneficiary.acos[i], id);
        status = interval_row_get(write->txn, TABLE_EXPORTABLE, key_slice(&key), &row, error);
        if (status != STATUS_OK)
            break;
        interval_row_move(&row, write->sequence, plan->home);
        status =
            interval_row_put(write, TABLE_EXPORTABLE, key_slice(&key), &row, plan->oldest_sequence, error);
    }
    return status;
}

/* All is copied. What active jobs may need stays as it is; without one it goes, and what of it is more than a
 * step may delete is left to the next as copies that are no good. */
static enum status move_switch(struct store_write *write, struct slice id, const struct move_plan *plan,
                               size_t *ret_deleted, bool *ret_finished, struct error *error)
{
    static const uint64_t nothing_changed_so[RESOURCE_TYPE_COUNT] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    uint32_t old = plan->beneficiary.home;
    struct summary summary;
    struct key key;
    *ret_deleted = 0;
    *ret_finished = true;
    enum status status = switch_rows(write, id, plan, error);
    if (status == STATUS_OK)
        status = summary_get(write->txn, old, id, &summary, error);
    if (status == STATUS_NOT_FOUND)
        return move_delete(write, id, error); /* nothing stands there */
    if (status == STATUS_OK)
        status = summary_put(write, plan->home, id, &summary, error);
    if (status == STATUS_OK && plan->oldest_sequence != UINT64_MAX) {
        summary.left = write->sequence;
        status = summary_put(write, old, id, &summary, error);
        key_dead_home(&key, write->sequence, old, id);
        if (status == STATUS_OK)
            status = engine_put(write->txn, TABLE_DEAD, key_slice(&key), SLICE_LITERAL(""), error);
        return status == STATUS_OK ? move_delete(write, id, error) : status;
    }
    key_aco_beneficiary(&key, old, id);
    if (status == STATUS_OK)
        status = engine_delete(write->txn, TABLE_SUMMARY, key_slice(&key), error);
    if (status == STATUS_OK)
        status = segments_clear(write, old, id, HOMES_STEP_SEGMENTS, ret_deleted, ret_finished, error);
    if (status != STATUS_OK || *ret_finished)
        return status == STATUS_OK ? move_delete(write, id, error) : status;
    struct move rest = {.has_copies = true, .copy_home = old};
    memcpy(rest.changed, nothing_changed_so, sizeof rest.changed);
    return move_put(write, id, &rest, error);
}

/* ---- a step ---- */

struct step_state {
    struct homes_step *step;
    struct store_write *write;
    size_t bytes_max;
    size_t segments; /* copied and deleted so far */
};

/* Copies are rows that nobody reads; `ret_finished` false: the step is full. */
static enum status step_go(struct step_state *state, struct slice id, const struct move_plan *plan,
                           bool *ret_finished, struct error *error)
{
    struct store_write *write = state->write;
    struct buffer items = BUFFER_INIT;
    size_t bytes, deleted;
    bool all;
    *ret_finished = false;
    enum status status = copy_list(write->txn, id, plan, state->bytes_max, &items, &bytes, &all, error);
    size_t count = items.size / sizeof(struct copy_item);
    /* What does not fit behind others comes first in the next step. */
    bool has_room = state->segments == 0 || (all && state->step->ret_bytes + bytes <= state->bytes_max);
    if (status != STATUS_OK || !has_room) {
        buffer_release(&items);
        return status;
    }
    struct copy_item item = {0};
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        memcpy(&item, items.data + i * sizeof item, sizeof item);
        status = copy_one(write, id, plan, &item, error);
    }
    buffer_release(&items);
    if (status == STATUS_OK && failpoint_hit("homes.copied"))
        status = error_set_errno(error, "homes.copied");
    if (status != STATUS_OK)
        return status;
    state->step->ret_bytes += bytes;
    state->segments += count;
    if (!all) {
        struct move move = {
            .has_copies = true, .copy_home = plan->home, .type = (uint8_t)item.type, .name = item.name};
        memcpy(move.changed, plan->beneficiary.changed, sizeof move.changed);
        return move_put(write, id, &move, error);
    }
    status = move_switch(write, id, plan, &deleted, ret_finished, error);
    if (status == STATUS_OK && failpoint_hit("homes.switched"))
        status = error_set_errno(error, "homes.switched");
    state->segments += deleted;
    state->step->ret_moved++;
    return status;
}

/* `ret_finished` false: there is more to do with this one. */
static enum status step_one(struct step_state *state, struct slice id, bool *ret_finished,
                            struct error *error)
{
    struct move_plan plan;
    size_t deleted;
    bool all;
    enum status status = move_plan_make(state->write->txn, id, &plan, error);
    *ret_finished = true;
    if (is_damage(status))
        return STATUS_OK;
    if (status != STATUS_OK)
        return status;
    switch (plan.action) {
    case MOVE_WAIT:
        return STATUS_OK;
    case MOVE_FORGET:
        return move_delete(state->write, id, error);
    case MOVE_CLEAN:
        *ret_finished = false; /* what comes then is looked at afresh */
        status =
            segments_clear(state->write, plan.move.copy_home, id, HOMES_STEP_SEGMENTS, &deleted, &all, error);
        state->segments += deleted;
        return status == STATUS_OK && all ? move_put(state->write, id, &nothing_copied, error) : status;
    case MOVE_COLLECT:
        *ret_finished = false;
        status = home_collect(state->write, plan.home, id, plan.left, HOMES_STEP_SEGMENTS, &deleted, error);
        state->segments += deleted;
        return status;
    case MOVE_GO:
        break;
    }
    uint64_t writes = engine_writes(state->write->txn);
    status = step_go(state, id, &plan, ret_finished, error);
    if (is_damage(status) && engine_writes(state->write->txn) == writes) {
        *ret_finished = true;
        return STATUS_OK;
    }
    return status;
}

/* Goes on to the first that waits, from `at` on. STATUS_NOT_FOUND: there is none. */
static enum status move_next(struct engine_txn *txn, struct homes_position *at, struct error *error)
{
    struct engine_cursor *cursor;
    struct key first;
    struct slice key, value, found;
    enum status status = engine_cursor_open(txn, TABLE_MOVE, &cursor, error);
    if (status != STATUS_OK)
        return status;
    key_of_id(&first, slice_make(at->id, at->size));
    engine_seek(cursor, at->size ? key_slice(&first) : (struct slice){0}, (struct slice){0});
    status = engine_next(cursor, &key, &value, error);
    if (status == STATUS_CORRUPT && key.size)
        status = STATUS_OK; /* whose it is can be read */
    if (status == STATUS_OK &&
        (!key_take_id(&key, &found) || key.size || found.size == 0 || found.size > RESOURCE_ID_MAX))
        status = error_set(error, STATUS_CORRUPT, "a key of table %s is malformed", table_names[TABLE_MOVE]);
    if (status == STATUS_OK) {
        memcpy(at->id, found.data, found.size);
        at->size = found.size;
    }
    engine_cursor_close(cursor);
    return status;
}

/* From an id to the place right behind it. */
static void position_pass(struct homes_position *at)
{
    at->id[at->size++] = 1; /* the least byte that an id may hold */
}

static bool step_is_full(const struct step_state *state, size_t rows, int64_t deadline_us)
{
    return rows == HOMES_STEP_ROWS || state->segments >= HOMES_STEP_SEGMENTS ||
           state->step->ret_bytes >= state->bytes_max || clock_monotonic_us() >= deadline_us;
}

static enum status homes_step_run(struct write_request *request, struct store_write *write,
                                  struct error *error)
{
    struct homes_step *step = (struct homes_step *)request;
    struct step_state state = {
        .step = step, .write = write, .bytes_max = step->bytes_max ? step->bytes_max : HOMES_STEP_BYTES};
    int64_t deadline_us = clock_monotonic_us() + HOMES_STEP_US;
    bool is_finished = true;
    step->ret_next = step->from;
    step->ret_moved = step->ret_bytes = 0;
    enum status status = move_next(write->txn, &step->ret_next, error);
    for (size_t rows = 0; status == STATUS_OK && is_finished && !step_is_full(&state, rows, deadline_us);
         rows++) {
        char id[RESOURCE_ID_MAX];
        memcpy(id, step->ret_next.id, step->ret_next.size);
        status = step_one(&state, slice_make(id, step->ret_next.size), &is_finished, error);
        if (status == STATUS_OK && is_finished) {
            position_pass(&step->ret_next);
            status = move_next(write->txn, &step->ret_next, error);
        }
    }
    step->ret_done = status == STATUS_NOT_FOUND;
    return step->ret_done ? STATUS_OK : status;
}

void homes_step_init(struct homes_step *step, const struct homes_position *from)
{
    *step =
        (struct homes_step){.request = {.apply = homes_step_run, .bytes = HOMES_STEP_BYTES}, .from = *from};
}

/* ---- all of them ---- */

#define LOOK_US 20000 /* how long one snapshot is held */

/* Goes on to the first with which something can be done, so that those that wait cost no commit. Not found:
 * the snapshot is old. STATUS_NOT_FOUND: there is none. */
static enum status look(struct engine_txn *txn, struct homes_position *at, bool *ret_found,
                        struct error *error)
{
    int64_t deadline_us = clock_monotonic_us() + LOOK_US;
    *ret_found = false;
    do {
        struct move_plan plan;
        enum status status = move_next(txn, at, error);
        if (status != STATUS_OK)
            return status;
        status = move_plan_make(txn, slice_make(at->id, at->size), &plan, error);
        *ret_found = status == STATUS_OK && plan.action != MOVE_WAIT;
        if (*ret_found)
            return STATUS_OK;
        if (status != STATUS_OK && !is_damage(status))
            return status;
        position_pass(at);
    } while (clock_monotonic_us() < deadline_us);
    return STATUS_OK;
}

static enum status read_at(struct store *store, struct homes_position *at, bool *ret_found,
                           uint64_t *ret_waiting, struct error *error)
{
    struct engine_txn *txn;
    enum status status = engine_begin_read(store_engine(store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = homes_count(txn, ret_waiting, error);
    if (status == STATUS_OK)
        status = look(txn, at, ret_found, error);
    engine_end(txn);
    return status;
}

static enum status call_step(struct link *link, size_t step_bytes, struct homes_position *at,
                             struct homes_counts *counts, struct error *error)
{
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    bool is_done = false;
    buffer_append_sized(&payload, slice_make(at->id, at->size));
    buffer_append_u64(&payload, step_bytes);
    enum status status = link_call(link, CONTROL_COMMAND_HOMES_STEP, buffer_slice(&payload), &reply, error);
    if (status == STATUS_OK) {
        struct reader reader = reader_make(buffer_slice(&reply));
        counts->moved += reader_u64(&reader);
        counts->bytes += reader_u64(&reader);
        is_done = reader_u8(&reader) != 0;
        struct slice next = reader_sized(&reader);
        CHECK(reader_done(&reader) && next.size <= sizeof at->id);
        memcpy(at->id, next.data, next.size);
        at->size = next.size;
        counts->steps++;
    }
    buffer_release(&payload);
    buffer_release(&reply);
    return status == STATUS_OK && is_done ? STATUS_NOT_FOUND : status;
}

enum status homes_run(struct link *link, const struct homes_options *options, struct homes_counts *ret_counts,
                      struct error *error)
{
    struct homes_position at = {.size = 0};
    enum status status = STATUS_OK;
    bool found, goes_on = true;
    *ret_counts = (struct homes_counts){0};
    while (status == STATUS_OK && goes_on) {
        status = read_at(link_store(link), &at, &found, &ret_counts->waiting, error);
        if (status != STATUS_OK || !found)
            continue;
        if (failpoint_hit("homes.step"))
            return error_set_errno(error, "homes.step");
        int64_t begin_us = clock_monotonic_us();
        status = call_step(link, options->step_bytes, &at, ret_counts, error);
        if (options->rest && (status == STATUS_OK || status == STATUS_NOT_FOUND))
            goes_on = options->rest(options->context, ret_counts, clock_monotonic_us() - begin_us);
    }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    struct engine_txn *txn;
    status = engine_begin_read(store_engine(link_store(link)), &txn, error);
    if (status == STATUS_OK) {
        status = homes_count(txn, &ret_counts->waiting, error);
        engine_end(txn);
    }
    return status;
}
