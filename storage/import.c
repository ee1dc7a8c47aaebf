#include "storage/import.h"

#include "codec/base/arena.h"
#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/bundle.h"
#include "codec/instant.h"
#include "storage/accounts.h"
#include "storage/deletion.h"
#include "storage/import_feed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMPORT_THREADS_MAX 64
#define OWNERS_IN_SNAPSHOT 10000 /* looked for in one read transaction: about 10 ms */
#define BATCH_BYTES        ((size_t)512 * 1024)
#define PART_BYTES         ((size_t)8 * 1024 * 1024) /* of one beneficiary's lines in a delta */
#define BATCH_DELTAS_MAX   1024
#define STALE_ATTEMPTS_MAX 1000 /* of one delta; each means that a kick-off or a change came between */
/* In an item's order, below the number of its line: the entry of a line that is a Bundle. */
#define ORDER_ENTRY_BITS 21
_Static_assert(BUNDLE_ENTRIES_MAX < (size_t)1 << ORDER_ENTRY_BITS, "an entry's number fits into its bits");
/* Of the memory, what one beneficiary may take and be kept when it is full. */
#define CARRIED_SHARE 4

struct import_thread {
    struct import *import;
    struct resource_parser *parser;
    struct bundle bundle;
    struct packer *packer;
    struct buffer refused; /* struct refused_item: of packing */
    struct arena reasons;
    struct import_counts counts;
    enum status status;
    struct error error;
};

struct refused_item {
    const struct import_item *item;
    const char *reason;
};

/* One beneficiary and type in the sorted items. */
struct import_group {
    struct import_item **items;
    size_t count;
    bool *counted; /* its beneficiary's: it is among counts.beneficiaries; of the thread that packs it */
};

_Static_assert(sizeof(struct import_item *) + sizeof(struct import_group) + sizeof(size_t) + sizeof(bool) <=
                   IMPORT_ORDER_BYTES,
               "what the feed counts covers what import_group_items takes");

struct import {
    struct link *link;
    const struct import_options *options;
    struct import_files files;
    struct import_counts counts;
    uint32_t aco;
    struct import_feed feed; /* its list: the load so far */
    bool keeps;              /* false: looks only */

    size_t next; /* the beneficiary that a thread packs next */
    struct import_item **items;
    struct import_group *groups;
    size_t *firsts; /* index of each beneficiary's first group, and the end */
    bool *counted;  /* a beneficiary each */
    size_t beneficiary_count;
    struct arena owners; /* of deleted resources */

    unsigned thread_count;
    struct import_thread threads[IMPORT_THREADS_MAX];
};

/* Runs `body` on all threads and waits. The first failure, if any. */
static enum status import_parallel(struct import *import, void *(*body)(void *), struct error *error)
{
    pthread_t ids[IMPORT_THREADS_MAX];
    unsigned started = 0;
    __atomic_store_n(&import->next, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < import->thread_count; i++)
        import->threads[i].status = STATUS_OK;
    for (; started + 1 < import->thread_count; started++) {
        if (pthread_create(&ids[started], NULL, body, &import->threads[started + 1]) != 0)
            break; /* fewer threads do the same work */
    }
    body(&import->threads[0]);
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
    for (unsigned i = 0; i < import->thread_count; i++) {
        if (status == STATUS_OK && import->threads[i].status != STATUS_OK) {
            status = import->threads[i].status;
            if (error)
                *error = import->threads[i].error;
        }
    }
    return status;
}

/* ---- parsing ---- */

static struct slice keep(struct parsed_block *parsed, struct slice text)
{
    const struct buffer *lines = &parsed->block.text;
    bool is_inside = text.data >= lines->data && text.data + text.size <= lines->data + lines->size;
    return is_inside ? text : arena_copy(&parsed->block.arena, text);
}

/* Keys of attribution begin with an MBI, or with DIRECT_MARK and a beneficiary's id: what could be taken for
 * the other leads to nobody. */
static bool mbi_is_storable(struct slice mbi)
{
    for (size_t i = 0; i < mbi.size; i++) {
        if (mbi.data[i] <= ' ' || mbi.data[i] > '~')
            return false;
    }
    return mbi.size && !slice_starts_with(mbi, SLICE_LITERAL(DIRECT_MARK));
}

static void refuse_item(struct parsed_block *parsed, size_t index, uint64_t line, enum status status,
                        const struct error *error)
{
    struct import_refusal *refusal = &parsed->refusals[index];
    refusal->line = line;
    refusal->is_unsupported = status == STATUS_UNSUPPORTED;
    refusal->reason = arena_text(&parsed->block.arena, slice_from_text(error->text));
}

static enum status parse_resource(struct import_thread *thread, struct parsed_block *parsed,
                                  struct slice text, struct import_item *item, struct error *error)
{
    struct arena *arena = &parsed->block.arena;
    struct resource resource;
    enum status status = resource_parse(thread->parser, text, &resource, error);
    if (status != STATUS_OK)
        return status;
    item->beneficiary = arena_copy(arena, resource.beneficiary);
    item->id = arena_copy(arena, resource.id);
    item->has_last_updated = resource.has_last_updated;
    item->type = (uint8_t)resource.type;
    if (resource.entered_in_error && thread->import->options->deletes_errors) {
        item->is_deletion = true;
        item->source_us = resource.has_last_updated ? resource.last_updated_us : INT64_MAX;
        return STATUS_OK;
    }
    struct slice *mbis = NULL;
    size_t mbi_count = 0;
    if (resource.mbi_count) {
        mbis = arena_alloc(arena, resource.mbi_count * sizeof *mbis);
        for (size_t i = 0; i < resource.mbi_count; i++) {
            if (mbi_is_storable(resource.mbis[i]))
                mbis[mbi_count++] = arena_copy(arena, resource.mbis[i]);
        }
    }
    item->json = keep(parsed, resource.json);
    item->mbis = mbis;
    item->mbi_count = (uint8_t)mbi_count;
    item->source_us = resource.has_last_updated ? resource.last_updated_us : LAST_UPDATED_DEFAULT_US;
    item->content_hash = resource.content_hash;
    item->service_first_day = resource.service_first_day;
    item->service_last_day = resource.service_last_day;
    item->stamp_place = (uint8_t)resource.stamp_place;
    item->stamp_offset = (uint32_t)resource.stamp_offset;
    item->stamp_size = (uint32_t)resource.stamp_size;
    item->stamp_comma = resource.stamp_comma;
    return STATUS_OK;
}

/* A Patient is its own beneficiary; of the others it is found when the load is put in order. */
static enum status parse_deletion(struct parsed_block *parsed, struct slice url, struct slice time,
                                  struct import_item *item, struct error *error)
{
    enum resource_type type;
    struct slice id;
    if (url.size == 0)
        return error_set(error, STATUS_INVALID, "request.url: missing");
    enum status status = resource_url_parse(url, &type, &id, error);
    item->has_last_updated = time.size != 0;
    item->source_us = INT64_MAX;
    if (status == STATUS_OK && time.size) {
        status = instant_parse(time, &item->source_us, error);
        if (status != STATUS_OK)
            error_prefix(error, "the deletion's time");
    }
    if (status != STATUS_OK)
        return status;
    item->is_deletion = true;
    item->type = (uint8_t)type;
    item->id = arena_copy(&parsed->block.arena, id);
    if (type == RESOURCE_TYPE_PATIENT)
        item->beneficiary = item->id;
    return STATUS_OK;
}

static void item_init(struct import_item *item, const struct parsed_block *parsed, size_t line_index,
                      uint64_t entry)
{
    *item = (struct import_item){
        .type = RESOURCE_TYPE_COUNT,
        .order = (parsed->order + line_index) << ORDER_ENTRY_BITS | entry,
        .line = import_block_line(&parsed->block, line_index)->number,
        .file = parsed->file,
    };
}

/* The entries of a line that is a Bundle, each as an item of its own. */
static void parse_entries(struct import_thread *thread, struct parsed_block *parsed, size_t line_index)
{
    const struct bundle *bundle = &thread->bundle;
    size_t count = bundle_count(bundle);
    parsed_block_reserve(parsed, parsed->item_count + count);
    for (size_t i = 0; i < count; i++) {
        const struct bundle_entry *entry = bundle_entry_at(bundle, i);
        size_t index = parsed->item_count++;
        struct import_item *item = &parsed->items[index];
        struct error error;
        item_init(item, parsed, line_index, i + 1);
        parsed->refusals[index].reason = NULL;
        enum status status = entry->is_deletion
                                 ? parse_deletion(parsed, entry->text, entry->time, item, &error)
                                 : parse_resource(thread, parsed, entry->text, item, &error);
        if (status != STATUS_OK) {
            error_prefix(&error, "entry %llu", (unsigned long long)entry->number);
            refuse_item(parsed, index, item->line, status, &error);
        }
    }
}

/* Bundles are rare in NDJSON: a line is read a second time only if it may be one. */
static enum status parse_bundle(struct import_thread *thread, struct parsed_block *parsed, size_t index,
                                struct error *error)
{
    struct slice text = import_block_line(&parsed->block, index)->text;
    if (!memmem(text.data, text.size, "\"Bundle\"", sizeof "\"Bundle\"" - 1))
        return STATUS_UNSUPPORTED;
    struct error problem;
    enum status status = bundle_read(&thread->bundle, text, &problem);
    if (status != STATUS_OK) {
        *error = problem;
        return status;
    }
    if (!thread->bundle.is_bundle)
        return STATUS_UNSUPPORTED;
    parse_entries(thread, parsed, index);
    return STATUS_OK;
}

static void parse_line(struct import_thread *thread, struct parsed_block *parsed, size_t index)
{
    const struct import_line *line = import_block_line(&parsed->block, index);
    struct import_item *item = &parsed->items[index];
    struct error error;
    enum status status;
    item_init(item, parsed, index, 0);
    parsed->refusals[index].reason = NULL;
    if (line->too_long)
        status = error_set(&error, STATUS_TOO_LARGE, "the line is longer than %zu bytes", RESOURCE_BYTES_MAX);
    else if (line->is_deletion)
        status = parse_deletion(parsed, line->text, line->time, item, &error);
    else
        status = parse_resource(thread, parsed, line->text, item, &error);
    if (status == STATUS_UNSUPPORTED && !line->is_entry)
        status = parse_bundle(thread, parsed, index, &error);
    if (status != STATUS_OK)
        refuse_item(parsed, index, line->number, status, &error);
}

static void import_progress(struct import *import)
{
    if (import->keeps && import->options->progress)
        import->options->progress(import->options->context, import_feed_position(&import->feed),
                                  import->files.bytes, &import->counts);
}

static void *parse_body(void *argument)
{
    struct import_thread *thread = argument;
    struct import *import = thread->import;
    struct parsed_block *parsed = NULL;
    while ((parsed = import_feed_next(&import->feed, parsed))) {
        for (size_t i = 0; i < parsed->line_count; i++)
            parse_line(thread, parsed, i);
        if (thread == &import->threads[0]) /* the caller's own */
            import_progress(import);
    }
    return NULL;
}

static void import_refuse(struct import *import, uint32_t file, uint64_t line, const char *reason)
{
    if (import->options->refuse)
        import->options->refuse(import->options->context, import->files.paths[file], line, reason);
}

/* Reports and counts what came in the blocks from `list` on. */
static void import_report(struct import *import, const struct parsed_block *list)
{
    for (; list; list = list->next) {
        import->counts.bytes += list->block.text.size;
        import->counts.lines += list->line_count;
        for (size_t i = 0; i < list->item_count; i++) {
            const struct import_refusal *refusal = &list->refusals[i];
            if (!refusal->reason)
                continue;
            if (refusal->is_unsupported) {
                import->counts.unsupported++;
            } else {
                import->counts.refused++;
                import_refuse(import, list->file, refusal->line, refusal->reason);
            }
        }
        /* The rest of the files goes on without this one, or with what was good in it. */
        if (list->failure) {
            import->counts.files_failed++;
            import_refuse(import, list->file, 0, list->failure);
        }
    }
}

/* ---- packing ---- */

static void note_refused(void *context, const struct import_item *item, const char *reason)
{
    struct import_thread *thread = context;
    struct refused_item refused = {item, reason};
    buffer_append(&thread->refused, &refused, sizeof refused);
}

static void counts_add(struct import_counts *sum, const struct import_counts *more)
{
    sum->added += more->added;
    sum->replaced += more->replaced;
    sum->identical += more->identical;
    sum->late += more->late;
    sum->deleted += more->deleted;
    sum->deleted_unknown += more->deleted_unknown;
    sum->refused += more->refused;
    sum->stamped += more->stamped;
    sum->undated += more->undated;
    sum->future += more->future;
    sum->beneficiaries += more->beneficiaries;
}

/* Of a group whose changes are durable, or that changes nothing. */
static void group_done(struct import_thread *thread, const struct import_group *group,
                       const struct import_counts *counts, bool changes)
{
    counts_add(&thread->counts, counts);
    bool is_somebodys = group->items[0]->beneficiary.size != 0;
    if (changes && is_somebodys && !*group->counted) {
        *group->counted = true;
        thread->counts.beneficiaries++;
    }
}

/* Deltas on their way to the writer. */
struct batch {
    struct buffer payload; /* u32 count, then u32 size and encoding each */
    struct buffer entries; /* struct batch_entry: of each delta */
    struct buffer reply;
    struct buffer again; /* struct import_group: what is to be packed anew */
};

struct batch_entry {
    struct import_group group; /* or a part of one */
    struct import_counts counts;
    size_t begin, end; /* of size and encoding in the payload */
};

static void batch_reset(struct batch *batch)
{
    buffer_reset(&batch->payload);
    buffer_append_u32(&batch->payload, 0);
    buffer_reset(&batch->entries);
}

static size_t batch_count(const struct batch *batch)
{
    return batch->entries.size / sizeof(struct batch_entry);
}

static const struct batch_entry *batch_entry_at(const struct batch *batch, size_t index)
{
    return (const struct batch_entry *)(const void *)batch->entries.data + index;
}

static void batch_release(struct batch *batch)
{
    buffer_release(&batch->payload);
    buffer_release(&batch->entries);
    buffer_release(&batch->reply);
    buffer_release(&batch->again);
}

/* What is wrong with one beneficiary costs its lines, and nobody else's. */
static void group_refuse(struct import_thread *thread, const struct import_group *group, struct slice reason)
{
    const char *kept = arena_text(&thread->reasons, reason);
    for (size_t i = 0; i < group->count; i++)
        note_refused(thread, group->items[i], kept);
    thread->counts.refused += group->count;
}

static void group_refuse_damaged(struct import_thread *thread, const struct import_group *group,
                                 const char *problem)
{
    struct buffer reason = BUFFER_INIT;
    buffer_appendf(&reason, "what is stored of its beneficiary is damaged (%s): see sluicectl verify",
                   problem);
    group_refuse(thread, group, buffer_slice(&reason));
    buffer_release(&reason);
}

/* Where the part of a group ends that begins at `begin` and holds at most so many bytes and items. Never
 * between two versions of one resource; so at least one resource, whatever it takes. */
static size_t group_part_end(const struct import_group *group, size_t begin, size_t bytes_max,
                             size_t count_max)
{
    size_t end = begin, bytes = 0;
    while (end < group->count) {
        size_t next = end, next_bytes = bytes;
        do
            next_bytes += group->items[next++]->json.size;
        while (next < group->count && slice_equal(group->items[next]->id, group->items[end]->id));
        if (end > begin && (next_bytes > bytes_max || next - begin > count_max))
            break;
        end = next;
        bytes = next_bytes;
    }
    return end;
}

static struct import_group group_part(const struct import_group *group, size_t begin, size_t end)
{
    return (struct import_group){group->items + begin, end - begin, group->counted};
}

/* Puts a group's delta into the batch; several, if it is too much for one. Those behind the first will be
 * stale, and packed again. */
static enum status batch_pack(struct import_thread *thread, struct batch *batch,
                              const struct import_group *group, struct error *error)
{
    struct pack_result result;
    size_t refused_before = thread->refused.size;
    enum status status = packer_pack(thread->packer, group->items, group->count, thread->import->aco,
                                     note_refused, thread, &result, error);
    if (status == STATUS_TOO_LARGE) {
        size_t end = group_part_end(group, 0, SIZE_MAX, group->count / 2);
        struct import_group parts[2] = {group_part(group, 0, end), group_part(group, end, group->count)};
        CHECK(end < group->count);
        thread->refused.size = refused_before; /* each part tells its own */
        status = batch_pack(thread, batch, &parts[0], error);
        return status == STATUS_OK ? batch_pack(thread, batch, &parts[1], error) : status;
    }
    if (status == STATUS_CORRUPT) {
        group_refuse_damaged(thread, group, error->text);
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        return status;
    if (!result.has_delta) {
        group_done(thread, group, &result.counts, false);
        return STATUS_OK;
    }
    struct batch_entry entry = {.group = *group, .counts = result.counts, .begin = batch->payload.size};
    buffer_append_u32(&batch->payload, 0);
    delta_encode(&result.delta, &batch->payload);
    entry.end = batch->payload.size;
    store_u32_le(batch->payload.data + entry.begin, (uint32_t)(entry.end - entry.begin - sizeof(uint32_t)));
    buffer_append(&batch->entries, &entry, sizeof entry);
    return STATUS_OK;
}

/* Sends the deltas first..end-1, which `payload` holds behind room for their number. Those that were stale go
 * to `again`. */
static enum status batch_call(struct import_thread *thread, struct batch *batch, size_t first, size_t end,
                              struct buffer *payload, struct error *error)
{
    store_u32_le(payload->data, (uint32_t)(end - first));
    buffer_reset(&batch->reply);
    enum status status =
        link_call(thread->import->link, CONTROL_COMMAND_DELTAS, buffer_slice(payload), &batch->reply, error);
    if (status != STATUS_OK)
        return status;
    size_t stale_count = batch->reply.size / sizeof(uint32_t), taken = 0;
    CHECK(stale_count <= end - first);
    for (size_t i = first; i < end; i++) {
        const struct batch_entry *entry = batch_entry_at(batch, i);
        bool is_stale =
            taken < stale_count && load_u32_le(batch->reply.data + taken * sizeof(uint32_t)) == i - first;
        taken += is_stale;
        if (is_stale)
            buffer_append(&batch->again, &entry->group, sizeof entry->group);
        else
            group_done(thread, &entry->group, &entry->counts, true);
    }
    return STATUS_OK;
}

/* For one of the deltas there is no room, and nothing was written: finds out which, and leaves out its lines
 * alone. */
static enum status batch_call_each(struct import_thread *thread, struct batch *batch, struct error *error)
{
    struct buffer payload = BUFFER_INIT;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < batch_count(batch); i++) {
        const struct batch_entry *entry = batch_entry_at(batch, i);
        buffer_reset(&payload);
        buffer_append_u32(&payload, 0);
        buffer_append(&payload, batch->payload.data + entry->begin, entry->end - entry->begin);
        struct error problem = {0};
        status = batch_call(thread, batch, i, i + 1, &payload, &problem);
        if (status == STATUS_TOO_LARGE) {
            group_refuse(thread, &entry->group, slice_from_text(problem.text));
            status = STATUS_OK;
        }
        if (status != STATUS_OK)
            *error = problem;
    }
    buffer_release(&payload);
    return status;
}

/* Sends the batch; packs what was stale again until nothing is. */
static enum status batch_send(struct import_thread *thread, struct batch *batch, struct error *error)
{
    for (unsigned attempt = 0; batch_count(batch); attempt++) {
        if (attempt == STALE_ATTEMPTS_MAX)
            return error_set(error, STATUS_BUSY,
                             "the store changes faster than this import can follow; run it again");
        buffer_reset(&batch->again);
        enum status status = batch_call(thread, batch, 0, batch_count(batch), &batch->payload, error);
        if (status == STATUS_TOO_LARGE)
            status = batch_call_each(thread, batch, error);
        batch_reset(batch);
        const struct import_group *again = (const struct import_group *)(const void *)batch->again.data;
        for (size_t i = 0; status == STATUS_OK && i < batch->again.size / sizeof *again; i++)
            status = batch_pack(thread, batch, &again[i], error);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* Packs a group, in parts if it is large; each part must be there before the next one is packed. */
static enum status batch_add(struct import_thread *thread, struct batch *batch,
                             const struct import_group *group, struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t begin = 0, end; status == STATUS_OK && begin < group->count; begin = end) {
        end = group_part_end(group, begin, PART_BYTES, SIZE_MAX);
        struct import_group part = group_part(group, begin, end);
        if (begin)
            status = batch_send(thread, batch, error);
        if (status == STATUS_OK)
            status = batch_pack(thread, batch, &part, error);
        if (thread == &thread->import->threads[0]) /* the caller's own: rate and time left go on */
            import_progress(thread->import);
    }
    if (status == STATUS_OK && (batch->payload.size >= BATCH_BYTES || batch_count(batch) >= BATCH_DELTAS_MAX))
        status = batch_send(thread, batch, error);
    return status;
}

static void *pack_body(void *argument)
{
    struct import_thread *thread = argument;
    struct import *import = thread->import;
    struct batch batch = {BUFFER_INIT, BUFFER_INIT, BUFFER_INIT, BUFFER_INIT};
    batch_reset(&batch);
    enum status status = STATUS_OK;
    for (;;) {
        size_t index = __atomic_fetch_add(&import->next, 1, __ATOMIC_RELAXED);
        if (index >= import->beneficiary_count || status != STATUS_OK)
            break;
        for (size_t i = import->firsts[index]; status == STATUS_OK && i < import->firsts[index + 1]; i++)
            status = batch_add(thread, &batch, &import->groups[i], &thread->error);
    }
    if (status == STATUS_OK)
        status = batch_send(thread, &batch, &thread->error);
    thread->status = status;
    batch_release(&batch);
    return NULL;
}

/* ---- whose deleted resources are ---- */

/* A deletion of which that is not known. Each is packed by itself. */
static bool item_is_nobodys(const struct import_item *item)
{
    return item->beneficiary.size == 0;
}

static int item_compare_names(const struct import_item *x, const struct import_item *y)
{
    return x->type != y->type ? x->type - y->type : slice_compare(x->id, y->id);
}

static int item_order_by_name(const void *a, const void *b)
{
    return item_compare_names(*(const struct import_item *const *)a, *(const struct import_item *const *)b);
}

/* As the store knows it now. */
static enum status item_find_owner(struct import *import, struct engine_txn *txn, struct import_item *item,
                                   struct error *error)
{
    struct tombstone tombstone;
    struct slice owner = {0};
    struct buffer found = BUFFER_INIT;
    enum status status = resource_find(txn, (enum resource_type)item->type, item->id, &found, error);
    if (status == STATUS_OK) {
        owner = buffer_slice(&found);
    } else if (status == STATUS_NOT_FOUND) {
        status = tombstone_get(txn, (enum resource_type)item->type, item->id, &tombstone, error);
        if (status == STATUS_OK)
            owner = tombstone.beneficiary;
    }
    if (status == STATUS_OK && owner.size)
        item->beneficiary = arena_copy(&import->owners, owner);
    buffer_release(&found);
    /* What is damaged is met again, and reported, when the deletion is packed. */
    return status == STATUS_NOT_FOUND || status == STATUS_CORRUPT ? STATUS_OK : status;
}

static enum status import_ask_store(struct import *import, struct import_item *const *items, size_t count,
                                    struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t done = 0; status == STATUS_OK && done < count;) {
        struct engine_txn *txn;
        size_t end = count - done < OWNERS_IN_SNAPSHOT ? count : done + OWNERS_IN_SNAPSHOT;
        status = engine_begin_read(store_engine(link_store(import->link)), &txn, error);
        if (status != STATUS_OK)
            return status;
        for (; status == STATUS_OK && done < end; done++)
            status = item_find_owner(import, txn, items[done], error);
        engine_end(txn);
    }
    return status;
}

/* Those that a resource of this load may be: `nobodys` are in order of their names. */
static void import_ask_load(struct import *import, size_t count, struct import_item **nobodys,
                            size_t nobody_count)
{
    for (size_t i = 0; i < count; i++) {
        const struct import_item *item = import->items[i];
        if (item_is_nobodys(item))
            continue;
        struct import_item **found =
            bsearch(&item, nobodys, nobody_count, sizeof *nobodys, item_order_by_name);
        for (; found && found > nobodys && item_compare_names(found[-1], item) == 0; found--)
            ;
        for (; found && found < nobodys + nobody_count && item_compare_names(*found, item) == 0; found++) {
            if (item_is_nobodys(*found))
                (*found)->beneficiary = item->beneficiary;
        }
    }
}

static enum status import_find_owners(struct import *import, size_t count, struct error *error)
{
    struct import_item **nobodys = NULL;
    size_t nobody_count = 0;
    for (size_t i = 0; i < count; i++)
        nobody_count += item_is_nobodys(import->items[i]);
    if (nobody_count == 0)
        return STATUS_OK;
    nobodys = mem_new_array(struct import_item *, nobody_count);
    for (size_t i = 0, at = 0; i < count; i++) {
        if (item_is_nobodys(import->items[i]))
            nobodys[at++] = import->items[i];
    }
    enum status status = import_ask_store(import, nobodys, nobody_count, error);
    if (status == STATUS_OK) {
        qsort(nobodys, nobody_count, sizeof *nobodys, item_order_by_name);
        import_ask_load(import, count, nobodys, nobody_count);
    }
    mem_free(nobodys);
    return status;
}

/* Puts the load's items in order and finds its groups. */
static enum status import_group_items(struct import *import, struct error *error)
{
    size_t count = 0, capacity = 0;
    for (const struct parsed_block *parsed = import->feed.blocks; parsed; parsed = parsed->next)
        capacity += parsed->item_count;
    import->items = mem_new_array(struct import_item *, capacity);
    for (struct parsed_block *parsed = import->feed.blocks; parsed; parsed = parsed->next) {
        for (size_t i = 0; i < parsed->item_count; i++) {
            if (parsed->items[i].type != RESOURCE_TYPE_COUNT)
                import->items[count++] = &parsed->items[i];
        }
    }
    enum status status = import_find_owners(import, count, error);
    if (status != STATUS_OK)
        return status;
    qsort(import->items, count, sizeof *import->items, import_item_compare);
    import->groups = mem_new_array(struct import_group, count);
    import->firsts = mem_new_array(size_t, count + 1);
    import->counted = mem_new_array(bool, count + 1);
    import->beneficiary_count = 0;
    size_t group_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct import_item *item = import->items[i], *before = i ? import->items[i - 1] : NULL;
        bool is_beneficiary = !before || !slice_equal(before->beneficiary, item->beneficiary) ||
                              (item_is_nobodys(item) && item_compare_names(before, item) != 0);
        if (is_beneficiary)
            import->firsts[import->beneficiary_count++] = group_count;
        if (is_beneficiary || before->type != item->type)
            import->groups[group_count++] =
                (struct import_group){&import->items[i], 0, &import->counted[import->beneficiary_count - 1]};
        import->groups[group_count - 1].count++;
    }
    import->firsts[import->beneficiary_count] = group_count;
    return STATUS_OK;
}

static int refused_compare(const void *a, const void *b)
{
    const struct refused_item *x = a, *y = b;
    return (x->item->order > y->item->order) - (x->item->order < y->item->order);
}

static void import_report_packed(struct import *import)
{
    struct buffer all = BUFFER_INIT;
    for (unsigned i = 0; i < import->thread_count; i++) {
        struct import_thread *thread = &import->threads[i];
        buffer_append_slice(&all, buffer_slice(&thread->refused));
        buffer_reset(&thread->refused);
        counts_add(&import->counts, &thread->counts);
        thread->counts = (struct import_counts){0};
    }
    size_t count = all.size / sizeof(struct refused_item);
    struct refused_item *items = (struct refused_item *)(void *)all.data;
    if (count)
        qsort(items, count, sizeof *items, refused_compare);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || items[i].item != items[i - 1].item) /* packed again: reported once */
            import_refuse(import, items[i].item->file, items[i].item->line, items[i].reason);
    }
    for (unsigned i = 0; i < import->thread_count; i++)
        arena_reset(&import->threads[i].reasons);
    buffer_release(&all);
}

/* ---- what is carried over ---- */

static const struct import_item *import_last_item(const struct import *import)
{
    const struct import_item *last = NULL;
    for (const struct parsed_block *parsed = import->feed.blocks; parsed; parsed = parsed->next) {
        for (size_t i = parsed->item_count; i > 0; i--) {
            const struct import_item *item = &parsed->items[i - 1];
            if (item->type != RESOURCE_TYPE_COUNT && !item_is_nobodys(item)) {
                last = item;
                break;
            }
        }
    }
    return last;
}

/* Appends the beneficiary's items, struct import_item *; returns the bytes of their lines. */
static size_t import_items_of(const struct import *import, struct slice beneficiary, struct buffer *items)
{
    size_t bytes = 0;
    for (const struct parsed_block *parsed = import->feed.blocks; parsed; parsed = parsed->next) {
        for (size_t i = 0; i < parsed->item_count; i++) {
            struct import_item *item = &parsed->items[i];
            if (item->type == RESOURCE_TYPE_COUNT || !slice_equal(item->beneficiary, beneficiary))
                continue;
            buffer_append(items, &item, sizeof item);
            bytes += item->json.size;
        }
    }
    return bytes;
}

static struct slice carry_json(struct parsed_block *carried, struct slice json)
{
    buffer_append_slice(&carried->block.text, json);
    return slice_make(carried->block.text.data + carried->block.text.size - json.size, json.size);
}

/* Takes the beneficiary that was seen last out of the load: more of it may stand right behind what the memory
 * had room for, and two parts would be two segments for ever. NULL: nobody, or too much. */
static struct parsed_block *import_carry(struct import *import)
{
    const struct import_item *last = import_last_item(import);
    struct buffer found = BUFFER_INIT;
    struct parsed_block *carried = NULL;
    size_t bytes = last ? import_items_of(import, last->beneficiary, &found) : 0;
    size_t count = found.size / sizeof(struct import_item *);
    if (count && bytes + count * sizeof(struct import_item) < import->feed.memory_bytes / CARRIED_SHARE) {
        struct import_item **items = (struct import_item **)(void *)found.data;
        carried = parsed_block_new(count, bytes);
        carried->item_count = count;
        struct arena *arena = &carried->block.arena;
        for (size_t i = 0; i < count; i++) {
            struct import_item *item = &carried->items[i];
            *item = *items[i];
            item->beneficiary = i ? carried->items[0].beneficiary : arena_copy(arena, item->beneficiary);
            item->id = arena_copy(arena, item->id);
            item->json = carry_json(carried, item->json);
            struct slice *mbis = arena_alloc(arena, item->mbi_count * sizeof *mbis);
            for (size_t k = 0; k < item->mbi_count; k++)
                mbis[k] = arena_copy(arena, item->mbis[k]);
            item->mbis = mbis;
            items[i]->type = RESOURCE_TYPE_COUNT;
        }
    }
    buffer_release(&found);
    return carried;
}

/* Packs and sends what was kept; with `carries` all but one beneficiary, who stays. */
static enum status import_flush(struct import *import, bool carries, struct error *error)
{
    if (!import->feed.blocks)
        return STATUS_OK;
    struct parsed_block *carried = carries ? import_carry(import) : NULL;
    enum status status = import_group_items(import, error);
    if (status == STATUS_OK)
        status = import_parallel(import, pack_body, error);
    import_report_packed(import);
    mem_free(import->items);
    mem_free(import->groups);
    mem_free(import->firsts);
    mem_free(import->counted);
    import->items = NULL;
    import->groups = NULL;
    import->firsts = NULL;
    import->counted = NULL;
    arena_reset(&import->owners);
    import_feed_clear(&import->feed);
    if (carried)
        import_feed_put(&import->feed, carried);
    return status;
}

/* ---- files ---- */

/* Reads and parses the files first..end-1, and packs whenever the memory is full; what is read last stays in
 * the load. With keeps false everything is only looked at. */
static enum status import_range(struct import *import, uint32_t first, uint32_t end, bool keeps,
                                struct error *error)
{
    enum status status = STATUS_OK;
    struct import_feed *feed = &import->feed;
    import->keeps = keeps;
    import_feed_begin(feed, first, end);
    while (status == STATUS_OK && !import_feed_at_end(feed)) {
        struct parsed_block **fresh = feed->blocks_end;
        (void)!import_parallel(import, parse_body, NULL); /* parsing refuses lines, it does not fail */
        import_report(import, *fresh);
        if (!keeps)
            import_feed_clear(feed);
        else if (import_feed_is_full(feed))
            status = import_flush(import, true, error);
        import_progress(import);
    }
    import->counts.files += feed->file - first;
    return status;
}

/* Looks at a file without keeping anything. *ret_good false if it has a bad line or cannot be read; that was
 * reported. */
static enum status import_rehearse(struct import *import, uint32_t file, bool *ret_good, struct error *error)
{
    /* What is kept must not be dropped with the rehearsal. */
    enum status status = import_flush(import, false, error);
    if (status != STATUS_OK)
        return status;
    struct import_counts before = import->counts;
    uint64_t bytes_before = import->feed.bytes_before;
    status = import_range(import, file, file + 1, false, error);
    uint64_t refused = import->counts.refused - before.refused;
    *ret_good = refused == 0 && import->counts.files_failed == before.files_failed;
    import->counts = before;
    import->feed.bytes_before = bytes_before;
    if (refused) {
        import->counts.refused += refused;
        import_refuse(import, file, 0, "has bad lines: nothing of it was imported (--strict)");
    }
    return status;
}

/* Strict reads each file twice. A pipe gives nothing the second time, or waits for ever. */
static enum status import_check_rereadable(const struct import *import, struct error *error)
{
    for (size_t file = 0; file < import->files.count; file++) {
        const char *path = import->files.paths[file];
        struct stat info;
        if (strcmp(path, "-") == 0 || (stat(path, &info) == 0 && !S_ISREG(info.st_mode)))
            return error_set(error, STATUS_INVALID,
                             "%s: --strict reads each file twice: it cannot read standard input or a pipe",
                             path);
    }
    return STATUS_OK;
}

/* Each file by itself: all of it, or nothing. */
static enum status import_strict(struct import *import, struct error *error)
{
    enum status status = import_check_rereadable(import, error);
    for (uint32_t file = 0; status == STATUS_OK && file < import->files.count; file++) {
        bool is_good = false;
        status = import_rehearse(import, file, &is_good, error);
        if (status == STATUS_OK && is_good) {
            status = import_range(import, file, file + 1, true, error);
        } else {
            import->counts.files++;
            import->counts.files_failed++;
        }
    }
    return status;
}

static enum status import_all(struct import *import, struct error *error)
{
    struct error failure = {0};
    enum status status = import->options->strict
                             ? import_strict(import, &failure)
                             : import_range(import, 0, (uint32_t)import->files.count, true, &failure);
    if (status == STATUS_OK)
        status = import_flush(import, false, &failure);
    if (status != STATUS_OK && error)
        *error = failure;
    return status;
}

static enum status import_find_aco(struct import *import, struct error *error)
{
    if (!import->options->aco_id)
        return STATUS_OK;
    struct engine_txn *txn;
    struct aco aco;
    enum status status = engine_begin_read(store_engine(link_store(import->link)), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = aco_find(txn, slice_from_text(import->options->aco_id), &aco, error);
    engine_end(txn);
    if (status == STATUS_OK)
        import->aco = aco.number;
    return status;
}

enum status import_run(struct link *link, const struct import_options *options,
                       struct import_counts *ret_counts, struct error *error)
{
    struct import *import = mem_new(struct import);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    import->link = link;
    import->options = options;
    import_feed_init(&import->feed, &import->files,
                     options->memory_bytes ? options->memory_bytes : IMPORT_MEMORY_BYTES);
    /* One more than cores: while one waits for the writer's fsync the others work. */
    import->thread_count = options->threads ? options->threads : (unsigned)(cores > 0 ? cores + 1 : 2);
    if (import->thread_count > IMPORT_THREADS_MAX)
        import->thread_count = IMPORT_THREADS_MAX;
    for (unsigned i = 0; i < import->thread_count; i++) {
        import->threads[i].import = import;
        import->threads[i].parser = resource_parser_new();
        bundle_init(&import->threads[i].bundle);
        import->threads[i].packer = packer_new(link_store(link));
    }
    enum status status = import_find_aco(import, error);
    if (status == STATUS_OK)
        status = import_files_find(options->paths, options->path_count, &import->files, error);
    if (status == STATUS_OK)
        status = import_all(import, error);
    *ret_counts = import->counts;
    import_feed_release(&import->feed);
    import_files_release(&import->files);
    arena_release(&import->owners);
    for (unsigned i = 0; i < import->thread_count; i++) {
        resource_parser_free(import->threads[i].parser);
        bundle_release(&import->threads[i].bundle);
        packer_free(import->threads[i].packer);
        buffer_release(&import->threads[i].refused);
        arena_release(&import->threads[i].reasons);
    }
    mem_free(import);
    return status;
}
