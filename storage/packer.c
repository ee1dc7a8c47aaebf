#include "storage/packer.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "storage/deletion.h"

#include <stdio.h>

int import_item_compare(const void *a, const void *b)
{
    const struct import_item *x = *(const struct import_item *const *)a;
    const struct import_item *y = *(const struct import_item *const *)b;
    int order = slice_compare(x->beneficiary, y->beneficiary);
    if (order == 0 && x->type != y->type) {
        /* The Patient first; the others by number. */
        order = (x->type != RESOURCE_TYPE_PATIENT) - (y->type != RESOURCE_TYPE_PATIENT);
        order = order ? order : x->type - y->type;
    }
    if (order == 0)
        order = slice_compare(x->id, y->id);
    if (order == 0)
        order = (x->source_us > y->source_us) - (x->source_us < y->source_us);
    if (order == 0)
        order = x->is_deletion - y->is_deletion;
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

/* A stored segment of the beneficiary, with its table. */
struct packer_segment {
    struct stored_segment stored;
    struct segment_table table;
    struct buffer gone; /* a byte an entry: 1 if a newer version arrives */
    size_t gone_count;
};

struct packer {
    struct store *store;
    struct inflater *inflater;
    struct segment_builder *builder;
    struct packer_segment *segments; /* capacity segment_capacity; tables are reused */
    size_t segment_count, segment_capacity;
    struct buffer values;     /* finished segments, one after another */
    struct buffer value_ends; /* size_t: where each ends in values */
    struct buffer slices;     /* struct slice: of values, for the delta */
    struct buffer superseded; /* struct segment_name */
    struct buffer ids;        /* struct slice */
    struct buffer deletions;  /* struct delta_deletion */
    struct buffer stamped_json, lines, owner, owner_found;
    /* Of the pack that runs: */
    struct engine_txn *txn;
    struct slice beneficiary_id;
    struct beneficiary beneficiary;
    struct store_clock clock;
    int64_t watermark_us, now_us;
    struct pack_result *result;
    bool taken; /* something belongs to the beneficiary */
};

struct packer *packer_new(struct store *store)
{
    struct packer *packer = mem_new(struct packer);
    packer->store = store;
    packer->inflater = inflater_new();
    packer->builder = segment_builder_new(DEFLATE_LEVEL_GOOD);
    return packer;
}

void packer_free(struct packer *packer)
{
    if (!packer)
        return;
    for (size_t i = 0; i < packer->segment_capacity; i++) {
        segment_table_release(&packer->segments[i].table);
        buffer_release(&packer->segments[i].gone);
    }
    mem_free(packer->segments);
    struct buffer *buffers[] = {
        &packer->values, &packer->value_ends,   &packer->slices, &packer->superseded,  &packer->ids,
        &packer->lines,  &packer->stamped_json, &packer->owner,  &packer->owner_found, &packer->deletions};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buffer_release(buffers[i]);
    segment_builder_free(packer->builder);
    inflater_free(packer->inflater);
    mem_free(packer);
}

static struct packer_segment *packer_next_segment(struct packer *packer)
{
    if (packer->segment_count == packer->segment_capacity) {
        size_t capacity = packer->segment_capacity ? packer->segment_capacity * 2 : 8;
        packer->segments = mem_realloc(packer->segments, capacity * sizeof *packer->segments);
        for (size_t i = packer->segment_capacity; i < capacity; i++) {
            packer->segments[i] = (struct packer_segment){.gone = BUFFER_INIT};
            segment_table_init(&packer->segments[i].table);
        }
        packer->segment_capacity = capacity;
    }
    return &packer->segments[packer->segment_count++];
}

/* Opens the tables of what is stored of this beneficiary and type. */
static enum status packer_load_segments(struct packer *packer, enum resource_type type,
                                        struct slice beneficiary, struct error *error)
{
    packer->segment_count = 0;
    if (packer->beneficiary.changed[type] == 0)
        return STATUS_OK;
    struct segment_scan *scan;
    enum status status = segment_scan_open(packer->txn, type, UINT64_MAX - 1, &scan, error);
    if (status != STATUS_OK)
        return status;
    segment_scan_seek(scan, packer->beneficiary.home, beneficiary, INT64_MIN);
    struct stored_segment stored;
    while ((status = segment_scan_next(scan, &stored, error)) == STATUS_OK) {
        struct packer_segment *segment = packer_next_segment(packer);
        segment->stored = stored;
        segment->gone_count = 0;
        status = segment_table_read(&segment->table, &stored.segment, error);
        if (status != STATUS_OK)
            break;
        buffer_reset(&segment->gone);
        memset(buffer_extend(&segment->gone, segment->table.count), 0, segment->table.count);
    }
    segment_scan_close(scan);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static const struct segment_entry *packer_find(struct packer *packer, struct slice id,
                                               struct packer_segment **ret_segment)
{
    for (size_t i = 0; i < packer->segment_count; i++) {
        const struct segment_entry *entry = segment_table_find(&packer->segments[i].table, id);
        if (entry) {
            *ret_segment = &packer->segments[i];
            return entry;
        }
    }
    return NULL;
}

static void packer_finish_segment(struct packer *packer)
{
    if (segment_builder_count(packer->builder) == 0)
        return;
    segment_builder_finish(packer->builder, &packer->values);
    buffer_append(&packer->value_ends, &packer->values.size, sizeof packer->values.size);
}

static void packer_add_line(struct packer *packer, const struct segment_entry *entry, struct slice json)
{
    if (segment_builder_is_full_for(packer->builder, json.size + 1))
        packer_finish_segment(packer);
    segment_builder_add(packer->builder, entry, json);
}

/* Under which instant something is committed that its source dated so: its own, or the stamp. */
static int64_t packer_stamp(struct packer *packer, int64_t source_us, bool is_future)
{
    struct delta *delta = &packer->result->delta;
    bool is_stamped = is_future || source_us <= packer->watermark_us;
    int64_t stamp_us = is_stamped ? packer->now_us : source_us;
    if (is_stamped) {
        delta->stamped = true;
        delta->stamp_us = stamp_us;
    } else if (source_us < delta->kept_min_us) {
        delta->kept_min_us = source_us;
    }
    if (stamp_us > delta->newest_us)
        delta->newest_us = stamp_us;
    packer->result->counts.stamped += is_stamped && !is_future;
    return stamp_us;
}

/* Puts an accepted item into the builder under its own time or the stamp. */
static void packer_accept(struct packer *packer, const struct import_item *item, bool is_future)
{
    struct pack_result *result = packer->result;
    int64_t source_us = is_future ? packer->now_us : item->source_us;
    struct segment_entry entry = {
        .id = item->id,
        .source_us = source_us,
        .stamp_us = packer_stamp(packer, source_us, is_future),
        .service_first_day = item->service_first_day,
        .service_last_day = item->service_last_day,
        .content_hash = item->content_hash,
    };
    struct slice json = item->json;
    if (entry.stamp_us != item->source_us || !item->has_last_updated) {
        struct resource resource = {
            .type = (enum resource_type)item->type,
            .json = item->json,
            .stamp_place = (enum resource_stamp_place)item->stamp_place,
            .stamp_offset = item->stamp_offset,
            .stamp_size = item->stamp_size,
            .stamp_comma = item->stamp_comma,
        };
        buffer_reset(&packer->stamped_json);
        resource_stamp(&resource, entry.stamp_us, &packer->stamped_json);
        json = buffer_slice(&packer->stamped_json);
    }
    packer_add_line(packer, &entry, json);
    result->counts.future += is_future;
    result->counts.undated += !item->has_last_updated;
}

/* True if the resource is stored under another beneficiary. */
static enum status packer_is_foreign(struct packer *packer, const struct import_item *item, bool *ret_foreign,
                                     struct error *error)
{
    buffer_reset(&packer->owner);
    enum status status =
        resource_find(packer->txn, (enum resource_type)item->type, item->id, &packer->owner, error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    *ret_foreign = status == STATUS_OK && !slice_equal(buffer_slice(&packer->owner), packer->beneficiary_id);
    return STATUS_OK;
}

static void packer_refuse(struct packer *packer, const struct import_item *item, pack_refuse *refuse,
                          void *context, const char *reason)
{
    refuse(context, item, reason);
    packer->result->counts.refused++;
}

/* A resource that is not stored. *ret_taken: it is new, or comes back; else it was counted. */
static enum status packer_check_new(struct packer *packer, const struct import_item *item, bool is_future,
                                    pack_refuse *refuse, void *context, bool *ret_taken, struct error *error)
{
    struct tombstone tombstone;
    bool is_foreign;
    *ret_taken = false;
    enum status status = packer_is_foreign(packer, item, &is_foreign, error);
    if (status != STATUS_OK)
        return status;
    if (is_foreign) {
        packer_refuse(packer, item, refuse, context,
                      "this resource is stored under another beneficiary: moving it could show it to "
                      "another ACO");
        return STATUS_OK;
    }
    status = tombstone_get(packer->txn, (enum resource_type)item->type, item->id, &tombstone, error);
    *ret_taken = status == STATUS_NOT_FOUND;
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    if (tombstone.beneficiary.size && !slice_equal(tombstone.beneficiary, item->beneficiary)) {
        packer_refuse(packer, item, refuse, context,
                      "this resource was deleted under another beneficiary: it can come back under that one "
                      "only");
        return STATUS_OK;
    }
    *ret_taken = is_future || item->source_us > tombstone.source_us;
    packer->result->counts.late += !*ret_taken;
    return STATUS_OK;
}

static void packer_lose(struct packer_segment *segment, const struct segment_entry *entry)
{
    segment->gone.data[entry - segment->table.entries] = 1;
    segment->gone_count++;
}

static void packer_add_deletion(struct packer *packer, const struct import_item *item, int64_t source_us,
                                bool is_stored, int64_t stamp_us)
{
    struct delta_deletion deletion = {item->id, source_us, is_stored, stamp_us};
    buffer_append(&packer->deletions, &deletion, sizeof deletion);
}

/* A deletion of what is not stored, or not any more. */
static enum status packer_remember(struct packer *packer, const struct import_item *item, int64_t source_us,
                                   pack_refuse *refuse, void *context, struct error *error)
{
    struct tombstone tombstone;
    buffer_reset(&packer->owner);
    enum status status =
        resource_find(packer->txn, (enum resource_type)item->type, item->id, &packer->owner, error);
    if (status == STATUS_OK && slice_equal(buffer_slice(&packer->owner), packer->beneficiary_id))
        return error_set(error, STATUS_CORRUPT, "a resource is indexed that stands in no segment");
    if (status == STATUS_OK) {
        packer_refuse(packer, item, refuse, context, "this resource is stored under another beneficiary");
        return STATUS_OK;
    }
    if (status != STATUS_NOT_FOUND)
        return status;
    status = tombstone_get(packer->txn, (enum resource_type)item->type, item->id, &tombstone, error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    bool is_known = status == STATUS_OK;
    *(is_known ? &packer->result->counts.identical : &packer->result->counts.deleted_unknown) += 1;
    /* One without a time of its own says nothing new of what is deleted already. */
    if (!is_known || (item->has_last_updated && source_us > tombstone.source_us))
        packer_add_deletion(packer, item, source_us, false, 0);
    return STATUS_OK;
}

static enum status packer_take_deletion(struct packer *packer, const struct import_item *item,
                                        pack_refuse *refuse, void *context, struct error *error)
{
    struct import_counts *counts = &packer->result->counts;
    struct packer_segment *segment = NULL;
    const struct segment_entry *stored = packer_find(packer, item->id, &segment);
    bool is_future = item->source_us > packer->now_us;
    int64_t source_us = is_future ? packer->now_us : item->source_us;
    if (!stored)
        return packer_remember(packer, item, source_us, refuse, context, error);
    if (source_us < stored->source_us) {
        counts->late++;
        return STATUS_OK;
    }
    packer_lose(segment, stored);
    packer_add_deletion(packer, item, source_us, true, packer_stamp(packer, source_us, is_future));
    counts->deleted++;
    counts->future += is_future && item->has_last_updated;
    return STATUS_OK;
}

static enum status packer_take_item(struct packer *packer, const struct import_item *item,
                                    pack_refuse *refuse, void *context, struct error *error)
{
    struct pack_result *result = packer->result;
    struct packer_segment *segment = NULL;
    const struct segment_entry *stored = packer_find(packer, item->id, &segment);
    bool is_future = item->source_us > packer->now_us;
    if (!stored) {
        bool is_taken;
        enum status status = packer_check_new(packer, item, is_future, refuse, context, &is_taken, error);
        if (status != STATUS_OK || !is_taken)
            return status;
        packer->taken = true;
        buffer_append(&packer->ids, &item->id, sizeof item->id);
        result->counts.added++;
    } else {
        packer->taken = true;
        bool is_identical = stored->content_hash == item->content_hash;
        if (is_identical && (is_future || item->source_us <= stored->source_us)) {
            result->counts.identical++;
            return STATUS_OK;
        }
        if (!is_future && item->source_us < stored->source_us) {
            result->counts.late++;
            return STATUS_OK;
        }
        packer_lose(segment, stored);
        result->counts.replaced++;
    }
    packer_accept(packer, item, is_future);
    return STATUS_OK;
}

/* What remains of a segment that lost some of its resources. Their stamps stay as they were. */
static enum status packer_rewrite(struct packer *packer, struct packer_segment *segment, struct error *error)
{
    buffer_append(&packer->superseded, &segment->stored.name, sizeof segment->stored.name);
    if (segment->gone_count == segment->table.count)
        return STATUS_OK;
    buffer_reset(&packer->lines);
    enum status status = segment_inflate(&segment->stored.segment, packer->inflater, &packer->lines, error);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < segment->table.count; i++) {
        const struct segment_entry *entry = &segment->table.entries[i];
        if (!segment->gone.data[i])
            packer_add_line(packer, entry, slice_make(packer->lines.data + entry->offset, entry->size - 1));
    }
    packer_finish_segment(packer);
    return STATUS_OK;
}

static void packer_fill_delta(struct packer *packer, struct import_item *const *items, size_t count,
                              uint32_t aco)
{
    struct delta *delta = &packer->result->delta;
    const struct import_item *last = items[count - 1];
    delta->type = (enum resource_type)last->type;
    delta->beneficiary = packer->beneficiary_id;
    delta->seen = packer->beneficiary.changed[delta->type];
    delta->as_of = packer->clock.sequence;
    /* Lines that were all refused say nothing about this beneficiary. */
    if (aco && packer->taken)
        delta->attribute = aco;
    if (packer->values.size) {
        delta->mbis = last->mbis;
        delta->mbi_count = last->mbi_count;
    }
    size_t begin = 0;
    buffer_reset(&packer->slices);
    for (size_t i = 0; i < packer->value_ends.size / sizeof(size_t); i++) {
        size_t end;
        memcpy(&end, packer->value_ends.data + i * sizeof end, sizeof end);
        struct slice value = slice_make(packer->values.data + begin, end - begin);
        buffer_append(&packer->slices, &value, sizeof value);
        begin = end;
    }
    delta->segments = (const struct slice *)(const void *)packer->slices.data;
    delta->segment_count = packer->slices.size / sizeof(struct slice);
    delta->superseded = (const struct segment_name *)(const void *)packer->superseded.data;
    delta->superseded_count = packer->superseded.size / sizeof(struct segment_name);
    delta->ids = (const struct slice *)(const void *)packer->ids.data;
    delta->id_count = packer->ids.size / sizeof(struct slice);
    delta->deletions = (const struct delta_deletion *)(const void *)packer->deletions.data;
    delta->deletion_count = packer->deletions.size / sizeof(struct delta_deletion);
}

/* Whose the items are. Of a deletion it may have become known since the load was put in order. */
static enum status packer_find_beneficiary(struct packer *packer, const struct import_item *item,
                                           struct error *error)
{
    packer->beneficiary_id = item->beneficiary;
    beneficiary_init(&packer->beneficiary);
    if (item->beneficiary.size == 0) {
        buffer_reset(&packer->owner_found);
        enum status status =
            resource_find(packer->txn, (enum resource_type)item->type, item->id, &packer->owner_found, error);
        if (status != STATUS_OK)
            return status == STATUS_NOT_FOUND ? STATUS_OK : status;
        packer->beneficiary_id = buffer_slice(&packer->owner_found);
    }
    enum status status = beneficiary_get(packer->txn, packer->beneficiary_id, &packer->beneficiary, error);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status packer_read_state(struct packer *packer, const struct import_item *item,
                                     struct error *error)
{
    enum status status = packer_find_beneficiary(packer, item, error);
    if (status == STATUS_OK)
        status = beneficiary_watermark(packer->txn, &packer->beneficiary, &packer->watermark_us, error);
    if (status == STATUS_OK)
        status = store_clock_read(packer->txn, &packer->clock, error);
    if (status != STATUS_OK)
        return status;
    int64_t now_us = clock_now_us();
    packer->now_us = now_us > packer->clock.instant_us ? now_us : packer->clock.instant_us + 1;
    return STATUS_OK;
}

static enum status packer_check_size(const struct packer *packer, struct import_item *const *items,
                                     size_t count, struct error *error)
{
    if (packer->values.size <= PACK_BYTES_MAX || slice_equal(items[0]->id, items[count - 1]->id))
        return STATUS_OK;
    return error_set(error, STATUS_TOO_LARGE, "more than %zu bytes of segments at once", PACK_BYTES_MAX);
}

static enum status packer_run(struct packer *packer, struct import_item *const *items, size_t count,
                              uint32_t aco, pack_refuse *refuse, void *context, struct error *error)
{
    enum resource_type type = (enum resource_type)items[0]->type;
    enum status status = packer_read_state(packer, items[0], error);
    if (status == STATUS_OK)
        status = packer_load_segments(packer, type, packer->beneficiary_id, error);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        if (i + 1 < count && slice_equal(items[i]->id, items[i + 1]->id)) {
            /* A newer version stands behind it in the order; or the same again. */
            bool is_same = items[i]->source_us == items[i + 1]->source_us &&
                           items[i]->is_deletion == items[i + 1]->is_deletion &&
                           items[i]->content_hash == items[i + 1]->content_hash;
            *(is_same ? &packer->result->counts.identical : &packer->result->counts.late) += 1;
            continue;
        }
        status = items[i]->is_deletion ? packer_take_deletion(packer, items[i], refuse, context, error)
                                       : packer_take_item(packer, items[i], refuse, context, error);
    }
    packer_finish_segment(packer);
    if (status == STATUS_OK)
        status = packer_check_size(packer, items, count, error);
    for (size_t i = 0; status == STATUS_OK && i < packer->segment_count; i++) {
        if (!packer->segments[i].gone_count)
            continue;
        status = packer_rewrite(packer, &packer->segments[i], error);
        if (status == STATUS_OK)
            status = packer_check_size(packer, items, count, error);
    }
    if (status != STATUS_OK) {
        /* The builder must be empty for the next one. */
        packer_finish_segment(packer);
        return status;
    }
    packer_fill_delta(packer, items, count, aco);
    const struct delta *delta = &packer->result->delta;
    bool is_direct = true;
    if (delta->attribute)
        status = attribution_is_direct(packer->txn, aco, packer->beneficiary_id, &is_direct, error);
    packer->result->has_delta =
        delta->segment_count || delta->superseded_count || !is_direct || delta->deletion_count;
    return status;
}

enum status packer_pack(struct packer *packer, struct import_item *const *items, size_t count, uint32_t aco,
                        pack_refuse *refuse, void *context, struct pack_result *ret_result,
                        struct error *error)
{
    CHECK(count > 0);
    struct buffer *buffers[] = {&packer->values, &packer->value_ends, &packer->superseded, &packer->ids,
                                &packer->deletions};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buffer_reset(buffers[i]);
    *ret_result = (struct pack_result){.delta = {.kept_min_us = INT64_MAX, .newest_us = INT64_MIN}};
    packer->result = ret_result;
    packer->taken = false;
    enum status status = engine_begin_read(store_engine(packer->store), &packer->txn, error);
    if (status != STATUS_OK)
        return status;
    status = packer_run(packer, items, count, aco, refuse, context, error);
    engine_end(packer->txn);
    packer->txn = NULL;
    return status;
}
