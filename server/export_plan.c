#include "server/export_plan.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "server/export_deletions.h"
#include "storage/resources.h"

#define WALKED_BETWEEN_LOOKS 16 /* beneficiaries, between looks at the clock */

/* Files of one type and set, by ascending beneficiary. */
struct plan_slot {
    enum resource_type type;
    enum job_set set;
    int64_t since_us; /* lower bound of its resources; INT64_MIN: none */
    struct job_file *files;
    size_t *lists; /* where each file's list begins */
    size_t count, capacity;
    struct buffer list; /* beneficiaries of its files: sizes (a byte each) and bytes */
    bool unlisted;      /* there are too many, or some could not be read */
};

struct export_plan {
    const struct job *job;
    uint64_t file_bytes_max;
    struct plan_slot slots[2 * RESOURCE_TYPE_COUNT + 1]; /* in the order of the files */
    size_t slot_count;
    size_t file_count;  /* of all slots */
    struct buffer next; /* the beneficiary to go on with */
    bool done;
    struct arena arena;
    struct job_file *files; /* once done */
};

static void slot_add(struct export_plan *plan, enum resource_type type, enum job_set set, int64_t since_us)
{
    plan->slots[plan->slot_count++] = (struct plan_slot){
        .type = type,
        .set = set,
        .since_us = since_us == INSTANT_MIN_US ? INT64_MIN : since_us,
        .unlisted = set == JOB_SET_ALL && since_us == INSTANT_MIN_US}; /* it has something of everybody */
}

struct export_plan *export_plan_new(const struct job *job, uint64_t file_bytes_max)
{
    struct export_plan *plan = mem_new(struct export_plan);
    plan->job = job;
    plan->file_bytes_max = file_bytes_max;
    arena_init(&plan->arena);
    for (size_t i = 0; i < job->type_count; i++) {
        if (job->separates_new) {
            slot_add(plan, job->types[i], JOB_SET_EXISTING, job->since_us);
            slot_add(plan, job->types[i], JOB_SET_NEW, INSTANT_MIN_US);
        } else {
            slot_add(plan, job->types[i], JOB_SET_ALL, job->since_us);
        }
    }
    /* Who asks for everything replaces what he has. */
    if (job->since_us != INSTANT_MIN_US)
        slot_add(plan, (enum resource_type)0, JOB_SET_DELETED, job->since_us);
    return plan;
}

void export_plan_free(struct export_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->slot_count; i++) {
        mem_free(plan->slots[i].files);
        mem_free(plan->slots[i].lists);
        buffer_release(&plan->slots[i].list);
    }
    buffer_release(&plan->next);
    arena_release(&plan->arena);
    mem_free(plan);
}

/* ---- putting beneficiaries into files ---- */

static struct job_file *slot_new_file(struct export_plan *plan, struct plan_slot *slot)
{
    if (slot->count == slot->capacity) {
        slot->capacity = slot->capacity ? slot->capacity * 2 : 4;
        slot->files = mem_realloc(slot->files, slot->capacity * sizeof *slot->files);
        slot->lists = mem_realloc(slot->lists, slot->capacity * sizeof *slot->lists);
    }
    slot->lists[slot->count] = slot->list.size;
    struct job_file *file = &slot->files[slot->count++];
    *file = (struct job_file){.type = slot->type, .set = slot->set};
    plan->file_count++;
    return file;
}

static void slot_unlist(struct plan_slot *slot)
{
    slot->unlisted = true;
    buffer_release(&slot->list);
}

static void slot_list(struct plan_slot *slot, struct slice beneficiary)
{
    if (slot->unlisted)
        return;
    if (beneficiary.size > UINT8_MAX || slot->list.size >= EXPORT_PLAN_LIST_BYTES_MAX) {
        slot_unlist(slot);
        return;
    }
    buffer_append_u8(&slot->list, (uint8_t)beneficiary.size);
    buffer_append_slice(&slot->list, beneficiary);
}

static void slot_put(struct export_plan *plan, struct plan_slot *slot, struct slice beneficiary,
                     uint64_t bytes)
{
    struct job_file *file = slot->count ? &slot->files[slot->count - 1] : slot_new_file(plan, slot);
    uint64_t planned = file->planned_bytes;
    bool full = planned && (planned >= plan->file_bytes_max || bytes > plan->file_bytes_max - planned);
    if (full && plan->file_count < JOB_FILES_MAX) {
        struct slice border = arena_copy(&plan->arena, beneficiary);
        file->end = border;
        file = slot_new_file(plan, slot);
        file->first = border;
    }
    file->planned_bytes += bytes;
    slot_list(slot, beneficiary);
}

/* What cannot be read is found and reported while a file is written: there must be one. */
static void slot_need_file(struct export_plan *plan, struct plan_slot *slot)
{
    if (slot->count == 0)
        slot_new_file(plan, slot);
    slot_unlist(slot);
}

/* ---- walking ---- */

struct plan_walk {
    struct export_plan *plan;
    struct engine_txn *txn;
    struct exportable_scan *beneficiaries;
    struct summary_scan *summaries;
    struct segment_scan *segments[RESOURCE_TYPE_COUNT]; /* opened when first needed */
    struct deletion_scan *deletions;                    /* likewise */
};

/* Raw bytes of the segments that a bounded file takes from a beneficiary. */
static enum status bounded_bytes(struct plan_walk *walk, const struct plan_slot *slot,
                                 const struct exportable *exportable, uint64_t *ret_bytes, bool *ret_any,
                                 struct error *error)
{
    struct segment_scan **scan = &walk->segments[slot->type];
    enum status status = STATUS_OK;
    if (!*scan)
        status = segment_scan_open(walk->txn, slot->type, walk->plan->job->sequence, scan, error);
    if (status != STATUS_OK)
        return status;
    segment_scan_seek(*scan, exportable->home, exportable->beneficiary, slot->since_us);
    for (struct stored_segment stored;;) {
        status = segment_scan_next(*scan, &stored, error);
        if (status == STATUS_NOT_FOUND)
            return STATUS_OK;
        if (status != STATUS_OK && status != STATUS_CORRUPT)
            return status;
        *ret_any = true;
        if (status == STATUS_OK)
            *ret_bytes += stored.segment.raw_bytes;
    }
}

static enum status plan_deletions(struct plan_walk *walk, struct plan_slot *slot,
                                  const struct exportable *exportable, struct error *error)
{
    const struct job *job = walk->plan->job;
    enum status status = STATUS_OK;
    if (!walk->deletions)
        status = deletion_scan_open(walk->txn, job->sequence, &walk->deletions, error);
    if (status != STATUS_OK)
        return status;
    deletion_scan_seek(walk->deletions, exportable->beneficiary, slot->since_us);
    uint64_t bytes = 0;
    for (struct deletion deletion;;) {
        status = deletion_scan_next(walk->deletions, &deletion, error);
        if (status == STATUS_NOT_FOUND)
            break;
        if (status != STATUS_OK && status != STATUS_CORRUPT)
            return status;
        if (status == STATUS_CORRUPT || job_has_type(job, deletion.type))
            bytes += DELETION_PLANNED_BYTES;
    }
    if (bytes)
        slot_put(walk->plan, slot, exportable->beneficiary, bytes);
    return STATUS_OK;
}

/* Who has no summary has nothing; but where only that row is missing, files of new beneficiaries, which do
 * not look at it, find what there is. */
static void slots_unlist_new(struct export_plan *plan)
{
    for (size_t i = 0; i < plan->slot_count; i++) {
        if (plan->slots[i].set == JOB_SET_NEW)
            slot_unlist(&plan->slots[i]);
    }
}

/* Sequences of the last changes, by type; 0 where that cannot be told. */
static enum status read_changed(struct engine_txn *txn, struct slice id,
                                uint64_t ret_changed[RESOURCE_TYPE_COUNT], struct error *error)
{
    struct beneficiary beneficiary;
    enum status status = beneficiary_get(txn, id, &beneficiary, error);
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        ret_changed[i] = status == STATUS_OK ? beneficiary.changed[i] : 0;
    return status == STATUS_NOT_FOUND || status == STATUS_CORRUPT ? STATUS_OK : status;
}

static enum status plan_beneficiary(struct plan_walk *walk, const struct exportable *exportable,
                                    struct error *error)
{
    struct export_plan *plan = walk->plan;
    struct plan_slot *last = plan->slot_count ? &plan->slots[plan->slot_count - 1] : NULL;
    struct summary summary;
    enum status status = STATUS_OK;
    bool may_be_deleted =
        last && last->set == JOB_SET_DELETED && !(walk->deletions && deletion_scan_is_over(walk->deletions));
    if (may_be_deleted && job_set_takes(plan->job, last->set, exportable->at_since))
        status = plan_deletions(walk, last, exportable, error);
    if (status != STATUS_OK)
        return status;
    status = summary_scan_get(walk->summaries, exportable->home, exportable->beneficiary, &summary, error);
    if (status == STATUS_NOT_FOUND) {
        slots_unlist_new(plan);
        return STATUS_OK;
    }
    bool has_summary = status == STATUS_OK;
    if (!has_summary && status != STATUS_CORRUPT)
        return status;
    uint64_t changed[RESOURCE_TYPE_COUNT];
    bool has_changed = false; /* read only where the summary excludes nothing: `_since` mostly finds nobody */
    for (size_t i = 0; i < plan->slot_count; i++) {
        struct plan_slot *slot = &plan->slots[i];
        if (slot->set == JOB_SET_DELETED || !job_set_takes(plan->job, slot->set, exportable->at_since))
            continue;
        /* newest_us never falls: what it excludes now is excluded at the job's sequence, too. */
        if (has_summary && summary.of[slot->type].newest_us <= slot->since_us)
            continue;
        if (!has_changed)
            status = read_changed(walk->txn, exportable->beneficiary, changed, error);
        if (!has_changed && status != STATUS_OK)
            return status;
        has_changed = true;
        uint64_t bytes = has_summary ? summary.of[slot->type].raw_bytes : 0;
        bool any = true;
        /* A summary tells of now. Where files are cut must follow from the job's own view, or a plan that is
         * made again after a crash would cut elsewhere. */
        bool is_changed = changed[slot->type] > plan->job->sequence;
        if (slot->since_us != INT64_MIN || is_changed) {
            bytes = 0;
            any = false;
            status = bounded_bytes(walk, slot, exportable, &bytes, &any, error);
            if (status != STATUS_OK)
                return status;
        }
        if (any)
            slot_put(plan, slot, exportable->beneficiary, bytes);
    }
    return STATUS_OK;
}

/* The clock is not looked at for each: that would take a tenth of the time of those who have nothing. */
static bool is_over(uint64_t walked, int64_t deadline_us)
{
    return walked > 0 && (walked == 1 || walked % WALKED_BETWEEN_LOOKS == 0) &&
           clock_monotonic_us() >= deadline_us;
}

static enum status plan_walk(struct plan_walk *walk, int64_t deadline_us, struct error *error)
{
    struct export_plan *plan = walk->plan;
    exportable_scan_seek(walk->beneficiaries, buffer_slice(&plan->next));
    for (uint64_t walked = 0;; walked++) {
        struct exportable exportable;
        enum status status = exportable_scan_next(walk->beneficiaries, &exportable, error);
        if (status == STATUS_NOT_FOUND) {
            plan->done = true;
            return STATUS_OK;
        }
        if (status == STATUS_CORRUPT) {
            for (size_t i = 0; i < plan->slot_count; i++) {
                if (plan->slots[i].set != JOB_SET_NEW)
                    slot_need_file(plan, &plan->slots[i]);
            }
            continue;
        }
        if (status != STATUS_OK)
            return status;
        if (is_over(walked, deadline_us)) {
            buffer_reset(&plan->next);
            buffer_append_slice(&plan->next, exportable.beneficiary);
            return STATUS_OK;
        }
        status = plan_beneficiary(walk, &exportable, error);
        if (status != STATUS_OK)
            return status;
    }
}

static void plan_finish(struct export_plan *plan)
{
    size_t count = 0;
    plan->files = arena_alloc(&plan->arena, plan->file_count * sizeof *plan->files + 1);
    for (size_t i = 0; i < plan->slot_count; i++) {
        for (size_t k = 0; k < plan->slots[i].count; k++) {
            plan->files[count] = plan->slots[i].files[k];
            uuid_make(plan->files[count++].uuid);
        }
    }
    CHECK(count == plan->file_count);
}

enum status export_plan_step(struct export_plan *plan, struct engine *engine, int64_t deadline_us,
                             bool *ret_done, struct error *error)
{
    struct plan_walk walk = {.plan = plan};
    if (plan->done) {
        *ret_done = true;
        return STATUS_OK;
    }
    enum status status = engine_begin_read(engine, &walk.txn, error);
    if (status == STATUS_OK)
        status = exportable_scan_open(walk.txn, plan->job->aco, plan->job->sequence, plan->job->since_us,
                                      &walk.beneficiaries, error);
    if (status == STATUS_OK)
        status = summary_scan_open(walk.txn, &walk.summaries, error);
    if (status == STATUS_OK)
        status = plan_walk(&walk, deadline_us, error);
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        segment_scan_close(walk.segments[i]);
    deletion_scan_close(walk.deletions);
    summary_scan_close(walk.summaries);
    exportable_scan_close(walk.beneficiaries);
    engine_end(walk.txn);
    if (status != STATUS_OK)
        return status;
    if (plan->done)
        plan_finish(plan);
    *ret_done = plan->done;
    return STATUS_OK;
}

const struct job_file *export_plan_files(struct export_plan *plan, size_t *ret_count)
{
    CHECK(plan->done);
    *ret_count = plan->file_count;
    return plan->files;
}

bool export_plan_list(const struct export_plan *plan, size_t file_index, struct slice *ret_list)
{
    const struct plan_slot *slot = plan->slots;
    CHECK(plan->done && file_index < plan->file_count);
    for (; file_index >= slot->count; slot++)
        file_index -= slot->count;
    if (slot->unlisted)
        return false;
    size_t from = slot->lists[file_index];
    size_t to = file_index + 1 < slot->count ? slot->lists[file_index + 1] : slot->list.size;
    *ret_list = slice_make(slot->list.data + from, to - from);
    return true;
}

bool export_plan_list_take(struct slice *list, struct slice *ret_beneficiary)
{
    if (list->size == 0)
        return false;
    size_t size = (unsigned char)list->data[0];
    CHECK(size < list->size);
    *ret_beneficiary = slice_make(list->data + 1, size);
    *list = slice_skip(*list, 1 + size);
    return true;
}
