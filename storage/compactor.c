#include "storage/compactor.h"

#include "codec/base/arena.h"
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"

#include <stdlib.h>

#define DELTA_SUPERSEDED_MAX 4096
/* Of the target: parts are cut where they come nearest to equal sizes, and may be so much larger. */
#define PART_SLACK_BYTES (SEGMENT_RAW_TARGET / 16)

#define GROUP_ALONE INT64_MAX
#define GROUP_OLD   INT64_MIN /* else the number of a month */

/* A stored segment, as the choice sees it. */
struct candidate {
    struct segment_name name;
    struct slice value; /* borrowed from the snapshot */
    uint32_t raw_bytes;
    int64_t group; /* what it may be merged with; GROUP_ALONE: nothing */
    bool is_due;   /* not at the best level, or something in it is kept no more */
};

/* A chosen one, copied out of the snapshot. */
struct chosen {
    struct segment_name name;
    size_t offset, size; /* in compactor->values */
    int64_t group;
};

/* A line of the segments that are merged. */
struct merge_line {
    struct segment_entry entry; /* id borrowed from the chosen segment's table */
    struct slice json;          /* without "\n" */
};

struct compactor {
    struct store *store;
    struct compact_rules rules;
    struct inflater *inflater;
    struct segment_builder *builder;
    struct buffer candidates;     /* struct candidate, oldest newest stamp first */
    struct buffer chosen;         /* struct chosen */
    struct buffer values;         /* their segments */
    struct buffer lines;          /* inflated */
    struct buffer merged;         /* struct merge_line */
    struct segment_table *tables; /* of those that are merged; reused */
    size_t table_capacity;
    struct buffer made;      /* finished segments, one after another */
    struct buffer made_ends; /* size_t: where each ends */
    struct buffer slices;    /* struct slice: of `made`, for the delta */
    struct buffer superseded;
    struct buffer dropped; /* struct slice: ids, in `ids` */
    struct arena ids;
    enum resource_type type;
    uint64_t seen;
};

struct compactor *compactor_new(struct store *store, const struct compact_rules *rules)
{
    struct compactor *compactor = mem_new(struct compactor);
    compactor->store = store;
    compactor->rules = *rules;
    compactor->inflater = inflater_new();
    compactor->builder = segment_builder_new(DEFLATE_LEVEL_BEST);
    return compactor;
}

static void compactor_reset(struct compactor *compactor)
{
    struct buffer *buffers[] = {&compactor->candidates, &compactor->chosen, &compactor->values,
                                &compactor->lines,      &compactor->merged, &compactor->made,
                                &compactor->made_ends,  &compactor->slices, &compactor->superseded,
                                &compactor->dropped};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buffer_reset(buffers[i]);
    arena_reset(&compactor->ids);
}

void compactor_free(struct compactor *compactor)
{
    if (!compactor)
        return;
    struct buffer *buffers[] = {&compactor->candidates, &compactor->chosen, &compactor->values,
                                &compactor->lines,      &compactor->merged, &compactor->made,
                                &compactor->made_ends,  &compactor->slices, &compactor->superseded,
                                &compactor->dropped};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buffer_release(buffers[i]);
    for (size_t i = 0; i < compactor->table_capacity; i++)
        segment_table_release(&compactor->tables[i]);
    mem_free(compactor->tables);
    arena_release(&compactor->ids);
    segment_builder_free(compactor->builder);
    inflater_free(compactor->inflater);
    mem_free(compactor);
}

static struct segment_table *table_at(struct compactor *compactor, size_t index)
{
    if (index >= compactor->table_capacity) {
        size_t capacity = compactor->table_capacity ? compactor->table_capacity * 2 : 8;
        compactor->tables = mem_realloc(compactor->tables, capacity * sizeof *compactor->tables);
        for (size_t i = compactor->table_capacity; i < capacity; i++)
            segment_table_init(&compactor->tables[i]);
        compactor->table_capacity = capacity;
    }
    return &compactor->tables[index];
}

static bool keeps(const struct compactor *compactor, const struct segment_entry *entry)
{
    if (compactor->type != RESOURCE_TYPE_EXPLANATION_OF_BENEFIT || compactor->rules.keep_from_day == DAY_NONE)
        return true;
    int32_t day = entry->service_last_day != DAY_NONE ? entry->service_last_day : entry->service_first_day;
    return day == DAY_NONE || day >= compactor->rules.keep_from_day;
}

/* ---- choosing, within the snapshot ---- */

static int64_t group_of(const struct compactor *compactor, int64_t newest_us)
{
    const int64_t month_us = COMPACT_MONTH_DAYS * 86400 * US_PER_SECOND;
    if (newest_us < compactor->rules.merge_before_us)
        return GROUP_OLD;
    return newest_us < compactor->rules.gather_before_us ? newest_us / month_us : GROUP_ALONE;
}

static enum status holds_expired(struct compactor *compactor, const struct segment *segment, bool *ret_holds,
                                 struct error *error)
{
    *ret_holds = false;
    if (compactor->type != RESOURCE_TYPE_EXPLANATION_OF_BENEFIT || compactor->rules.keep_from_day == DAY_NONE)
        return STATUS_OK;
    struct segment_table *table = table_at(compactor, 0);
    enum status status = segment_table_read(table, segment, error);
    for (size_t i = 0; status == STATUS_OK && !*ret_holds && i < table->count; i++)
        *ret_holds = !keeps(compactor, &table->entries[i]);
    return status;
}

static enum status list_candidates(struct compactor *compactor, struct engine_txn *txn,
                                   enum resource_type type, struct slice id,
                                   const struct beneficiary *beneficiary, struct error *error)
{
    struct segment_scan *scan;
    enum status status = segment_scan_open(txn, type, UINT64_MAX - 1, &scan, error);
    if (status != STATUS_OK)
        return status;
    segment_scan_seek(scan, beneficiary->home, id, INT64_MIN);
    struct stored_segment stored;
    while ((status = segment_scan_next(scan, &stored, error)) == STATUS_OK) {
        bool is_expired;
        status = holds_expired(compactor, &stored.segment, &is_expired, error);
        if (status != STATUS_OK)
            break;
        struct candidate candidate = {
            .name = stored.name,
            .value = stored.value,
            .raw_bytes = stored.segment.raw_bytes,
            .group = group_of(compactor, stored.segment.newest_us),
            .is_due = stored.segment.level != DEFLATE_LEVEL_BEST || is_expired,
        };
        buffer_append(&compactor->candidates, &candidate, sizeof candidate);
    }
    segment_scan_close(scan);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* False if the delta takes no more. */
static bool choose(struct compactor *compactor, const struct candidate *candidate, size_t *raw_bytes)
{
    size_t count = compactor->chosen.size / sizeof(struct chosen);
    if (count == DELTA_SUPERSEDED_MAX ||
        (count && *raw_bytes + candidate->raw_bytes > COMPACT_DELTA_RAW_BYTES_MAX))
        return false;
    struct chosen chosen = {candidate->name, compactor->values.size, candidate->value.size, candidate->group};
    buffer_append_slice(&compactor->values, candidate->value);
    buffer_append(&compactor->chosen, &chosen, sizeof chosen);
    *raw_bytes += candidate->raw_bytes;
    return true;
}

static bool is_small(const struct candidate *candidate)
{
    return candidate->group != GROUP_ALONE && !candidate->is_due &&
           candidate->raw_bytes < COMPACT_SMALL_BYTES;
}

/* Whether another one is to be merged with it. */
static bool has_company(const struct candidate *candidates, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++) {
        if (i != index && candidates[i].group == candidates[index].group &&
            (candidates[i].is_due || is_small(&candidates[i])))
            return true;
    }
    return false;
}

/* What is due first: if a delta holds one segment alone it must be one that gains by itself, or compaction
 * would not come to an end. Small ones beside each other, or beside one that is due, always become fewer; and
 * of as many as one delta takes some are beside each other, since there are few groups. */
static void choose_all(struct compactor *compactor)
{
    const struct candidate *candidates = (const struct candidate *)(const void *)compactor->candidates.data;
    size_t count = compactor->candidates.size / sizeof *candidates;
    size_t raw_bytes = 0;
    bool has_room = true;
    for (size_t i = 0; has_room && i < count; i++) {
        if (candidates[i].is_due)
            has_room = choose(compactor, &candidates[i], &raw_bytes);
    }
    for (size_t i = 0; has_room && i < count; i++) {
        if (is_small(&candidates[i]) && has_company(candidates, count, i))
            has_room = choose(compactor, &candidates[i], &raw_bytes);
    }
}

static enum status read_and_choose(struct compactor *compactor, enum resource_type type, struct slice id,
                                   struct error *error)
{
    struct engine_txn *txn;
    struct beneficiary beneficiary;
    enum status status = engine_begin_read(store_engine(compactor->store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = beneficiary_get(txn, id, &beneficiary, error);
    if (status == STATUS_OK && beneficiary.changed[type]) {
        compactor->seen = beneficiary.changed[type];
        status = list_candidates(compactor, txn, type, id, &beneficiary, error);
        if (status == STATUS_OK)
            choose_all(compactor);
    }
    engine_end(txn);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* ---- making, outside of it ---- */

static void drop(struct compactor *compactor, const struct segment_entry *entry)
{
    struct slice id = arena_copy(&compactor->ids, entry->id);
    buffer_append(&compactor->dropped, &id, sizeof id);
}

static void finish_segment(struct compactor *compactor)
{
    if (segment_builder_count(compactor->builder) == 0)
        return;
    segment_builder_finish(compactor->builder, &compactor->made);
    buffer_append(&compactor->made_ends, &compactor->made.size, sizeof compactor->made.size);
}

static enum status open_chosen(struct compactor *compactor, const struct chosen *chosen,
                               struct segment *ret_segment, struct error *error)
{
    return segment_open(slice_make(compactor->values.data + chosen->offset, chosen->size), ret_segment,
                        error);
}

/* A young one: what is kept of it, at the best level. */
static enum status recompress(struct compactor *compactor, const struct chosen *chosen, struct error *error)
{
    struct segment segment;
    struct segment_table *table = table_at(compactor, 0);
    buffer_reset(&compactor->lines);
    enum status status = open_chosen(compactor, chosen, &segment, error);
    if (status == STATUS_OK)
        status = segment_table_read(table, &segment, error);
    if (status == STATUS_OK)
        status = segment_inflate(&segment, compactor->inflater, &compactor->lines, error);
    for (size_t i = 0; status == STATUS_OK && i < table->count; i++) {
        const struct segment_entry *entry = &table->entries[i];
        if (keeps(compactor, entry))
            segment_builder_add(compactor->builder, entry,
                                slice_make(compactor->lines.data + entry->offset, entry->size - 1));
        else
            drop(compactor, entry);
    }
    if (status == STATUS_OK)
        finish_segment(compactor);
    return status;
}

static int merge_line_order(const void *a, const void *b)
{
    const struct merge_line *x = a, *y = b;
    return slice_compare(x->entry.id, y->entry.id);
}

/* Reads the tables and lines of a group's into `merged`, in order of ids. */
static enum status collect_lines(struct compactor *compactor, int64_t group, struct error *error)
{
    const struct chosen *chosen = (const struct chosen *)(const void *)compactor->chosen.data;
    size_t count = compactor->chosen.size / sizeof *chosen, raw_bytes = 0;
    struct segment segment;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        if (chosen[i].group != group)
            continue;
        status = open_chosen(compactor, &chosen[i], &segment, error);
        raw_bytes += status == STATUS_OK ? segment.raw_bytes : 0;
    }
    buffer_reset(&compactor->lines);
    buffer_reset(&compactor->merged);
    if (status == STATUS_OK && raw_bytes)
        buffer_reserve(&compactor->lines, raw_bytes); /* slices into it must stay */
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        if (chosen[i].group != group)
            continue;
        struct segment_table *table = table_at(compactor, i);
        size_t begin = compactor->lines.size;
        status = open_chosen(compactor, &chosen[i], &segment, error);
        if (status == STATUS_OK)
            status = segment_table_read(table, &segment, error);
        if (status == STATUS_OK)
            status = segment_inflate(&segment, compactor->inflater, &compactor->lines, error);
        for (size_t k = 0; status == STATUS_OK && k < table->count; k++) {
            const struct segment_entry *entry = &table->entries[k];
            struct merge_line line = {
                *entry, slice_make(compactor->lines.data + begin + entry->offset, entry->size - 1)};
            if (keeps(compactor, entry))
                buffer_append(&compactor->merged, &line, sizeof line);
            else
                drop(compactor, entry);
        }
    }
    struct merge_line *lines = (struct merge_line *)(void *)compactor->merged.data;
    size_t line_count = compactor->merged.size / sizeof *lines;
    if (status == STATUS_OK && line_count)
        qsort(lines, line_count, sizeof *lines, merge_line_order);
    for (size_t i = 1; status == STATUS_OK && i < line_count; i++) {
        if (slice_equal(lines[i - 1].entry.id, lines[i].entry.id))
            status = error_set(error, STATUS_CORRUPT, "a resource stands in two segments");
    }
    return status;
}

/* In parts of equal size, as nearly as lines allow: a small rest would be merged again next time. */
static void build_parts(struct compactor *compactor)
{
    const struct merge_line *lines = (const struct merge_line *)(const void *)compactor->merged.data;
    size_t count = compactor->merged.size / sizeof *lines;
    size_t total = 0, done = 0, part = 1;
    for (size_t i = 0; i < count; i++)
        total += lines[i].json.size + 1;
    size_t target = SEGMENT_RAW_TARGET - PART_SLACK_BYTES;
    size_t parts = (total + target - 1) / target;
    for (size_t i = 0; i < count; i++) {
        size_t line_bytes = lines[i].json.size + 1;
        bool is_next = false;
        for (; part < parts && done + line_bytes / 2 > total / parts * part; part++)
            is_next = true;
        if (is_next || segment_builder_is_full_for(compactor->builder, line_bytes))
            finish_segment(compactor);
        segment_builder_add(compactor->builder, &lines[i].entry, lines[i].json);
        done += line_bytes;
    }
    finish_segment(compactor);
}

static enum status merge(struct compactor *compactor, int64_t group, struct error *error)
{
    enum status status = collect_lines(compactor, group, error);
    if (status == STATUS_OK)
        build_parts(compactor);
    return status;
}

static bool is_first_of_group(const struct chosen *chosen, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (chosen[i].group == chosen[index].group)
            return false;
    }
    return true;
}

static enum status make_segments(struct compactor *compactor, struct error *error)
{
    const struct chosen *chosen = (const struct chosen *)(const void *)compactor->chosen.data;
    size_t count = compactor->chosen.size / sizeof *chosen;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        buffer_append(&compactor->superseded, &chosen[i].name, sizeof chosen[i].name);
        if (chosen[i].group == GROUP_ALONE)
            status = recompress(compactor, &chosen[i], error);
        else if (is_first_of_group(chosen, i))
            status = merge(compactor, chosen[i].group, error);
    }
    return status;
}

static void fill_result(struct compactor *compactor, enum resource_type type, struct slice beneficiary,
                        struct compact_result *result)
{
    size_t begin = 0;
    for (size_t i = 0; i < compactor->made_ends.size / sizeof(size_t); i++) {
        size_t end;
        memcpy(&end, compactor->made_ends.data + i * sizeof end, sizeof end);
        struct slice value = slice_make(compactor->made.data + begin, end - begin);
        buffer_append(&compactor->slices, &value, sizeof value);
        begin = end;
    }
    result->has_delta = true;
    result->stored_before = compactor->values.size;
    result->stored_after = compactor->made.size;
    result->dropped = compactor->dropped.size / sizeof(struct slice);
    /* Nothing arrives: there is no time that a kick-off could have made stale. */
    result->delta = (struct delta){
        .type = type,
        .beneficiary = beneficiary,
        .seen = compactor->seen,
        .kept_min_us = INT64_MAX,
        .newest_us = INT64_MIN,
        .superseded = (const struct segment_name *)(const void *)compactor->superseded.data,
        .superseded_count = compactor->superseded.size / sizeof(struct segment_name),
        .segments = (const struct slice *)(const void *)compactor->slices.data,
        .segment_count = compactor->slices.size / sizeof(struct slice),
        .dropped = (const struct slice *)(const void *)compactor->dropped.data,
        .dropped_count = compactor->dropped.size / sizeof(struct slice),
    };
}

enum status compactor_pack(struct compactor *compactor, enum resource_type type, struct slice beneficiary,
                           struct compact_result *ret_result, struct error *error)
{
    compactor_reset(compactor);
    *ret_result = (struct compact_result){.has_delta = false};
    compactor->type = type;
    enum status status = read_and_choose(compactor, type, beneficiary, error);
    if (status != STATUS_OK || compactor->chosen.size == 0)
        return status;
    status = make_segments(compactor, error);
    if (status == STATUS_OK)
        fill_result(compactor, type, beneficiary, ret_result);
    return status;
}
