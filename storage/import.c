#include "storage/import.h"

#include "codec/base/arena.h"
#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "storage/accounts.h"
#include "storage/import_source.h"
#include "storage/packer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IMPORT_THREADS_MAX   64
#define IMPORT_LINES_AT_ONCE 16 /* that a parsing thread takes */
#define BATCH_BYTES          ((size_t)1024 * 1024)
#define BATCH_DELTAS_MAX     1024
#define STALE_ATTEMPTS_MAX   1000 /* of one delta; each means that a kick-off or a change came between */

/* A line that was refused, until it is reported in order. */
struct import_refusal {
    uint64_t line;
    const char *reason; /* in the block's arena */
    bool is_unsupported;
};

/* A block of lines and what was made of it. Kept until the load is packed: items point into it. */
struct parsed_block {
    struct import_block block;
    uint32_t file;
    uint64_t order; /* of its first line in the load */
    size_t line_count;
    struct import_item *items;       /* line_count of them; type RESOURCE_TYPE_COUNT: no resource */
    struct import_refusal *refusals; /* likewise; reason NULL: none */
    struct parsed_block *next;
};

struct import_thread {
    struct import *import;
    struct arena arena; /* ids and copies of this load; reset when it is packed */
    struct resource_parser *parser;
    struct packer *packer;
    struct buffer refused; /* struct refused_item: of packing */
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

struct import {
    struct link *link;
    const struct import_options *options;
    struct import_files files;
    struct import_counts counts;
    uint32_t aco;
    uint64_t bytes_before; /* of the files that are done */
    size_t memory_bytes;
    uint64_t order;

    struct parsed_block *blocks, **blocks_end; /* of the load so far */
    size_t load_bytes;

    struct parsed_block *parsing; /* the blocks that the threads parse now */
    size_t next;                  /* what the threads take from: a line, or a beneficiary */

    struct import_item **items;
    struct import_group *groups;
    size_t *firsts; /* index of each beneficiary's first group, and the end */
    bool *counted;  /* a beneficiary each */
    size_t beneficiary_count;

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

static struct slice keep(struct import_thread *thread, const struct parsed_block *parsed, struct slice text)
{
    const struct buffer *lines = &parsed->block.text;
    bool is_inside = text.data >= lines->data && text.data + text.size <= lines->data + lines->size;
    return is_inside ? text : arena_copy(&thread->arena, text);
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

static void parse_line(struct import_thread *thread, struct parsed_block *parsed, size_t index)
{
    const struct import_line *line = import_block_line(&parsed->block, index);
    struct import_item *item = &parsed->items[index];
    struct import_refusal *refusal = &parsed->refusals[index];
    struct resource resource;
    struct error error;
    enum status status = STATUS_OK;
    item->type = RESOURCE_TYPE_COUNT;
    if (line->too_long)
        status = error_set(&error, STATUS_TOO_LARGE, "the line is longer than %zu bytes", RESOURCE_BYTES_MAX);
    else
        status = resource_parse(thread->parser, line->text, &resource, &error);
    if (status != STATUS_OK) {
        refusal->line = line->number;
        refusal->is_unsupported = status == STATUS_UNSUPPORTED;
        refusal->reason = arena_text(&thread->arena, slice_from_text(error.text));
        return;
    }
    struct slice *mbis = NULL;
    size_t mbi_count = 0;
    if (resource.mbi_count) {
        mbis = arena_alloc(&thread->arena, resource.mbi_count * sizeof *mbis);
        for (size_t i = 0; i < resource.mbi_count; i++) {
            if (mbi_is_storable(resource.mbis[i]))
                mbis[mbi_count++] = arena_copy(&thread->arena, resource.mbis[i]);
        }
    }
    *item = (struct import_item){
        .beneficiary = arena_copy(&thread->arena, resource.beneficiary),
        .id = arena_copy(&thread->arena, resource.id),
        .json = keep(thread, parsed, resource.json),
        .mbis = mbis,
        .mbi_count = (uint8_t)mbi_count,
        .source_us = resource.has_last_updated ? resource.last_updated_us : LAST_UPDATED_DEFAULT_US,
        .has_last_updated = resource.has_last_updated,
        .content_hash = resource.content_hash,
        .order = parsed->order + index,
        .line = line->number,
        .file = parsed->file,
        .service_first_day = resource.service_first_day,
        .service_last_day = resource.service_last_day,
        .type = (uint8_t)resource.type,
        .stamp_place = (uint8_t)resource.stamp_place,
        .stamp_offset = (uint32_t)resource.stamp_offset,
        .stamp_size = (uint32_t)resource.stamp_size,
        .stamp_comma = resource.stamp_comma,
    };
}

/* Takes a few lines at a time from the list of blocks that are being parsed. */
static void *parse_body(void *argument)
{
    struct import_thread *thread = argument;
    struct import *import = thread->import;
    for (;;) {
        size_t at = __atomic_fetch_add(&import->next, IMPORT_LINES_AT_ONCE, __ATOMIC_RELAXED);
        size_t left = IMPORT_LINES_AT_ONCE;
        struct parsed_block *parsed = import->parsing;
        for (; parsed && at >= parsed->line_count; parsed = parsed->next)
            at -= parsed->line_count;
        if (!parsed)
            return NULL;
        for (; parsed && left; at = 0, parsed = parsed->next) {
            for (; at < parsed->line_count && left; at++, left--)
                parse_line(thread, parsed, at);
        }
    }
}

static void parsed_block_free(struct parsed_block *parsed)
{
    import_block_release(&parsed->block);
    mem_free(parsed->items);
    mem_free(parsed->refusals);
    mem_free(parsed);
}

static void parsed_list_free(struct parsed_block *list)
{
    while (list) {
        struct parsed_block *next = list->next;
        parsed_block_free(list);
        list = next;
    }
}

static void import_refuse(struct import *import, uint32_t file, uint64_t line, const char *reason)
{
    if (import->options->refuse)
        import->options->refuse(import->options->context, import->files.paths[file], line, reason);
}

/* Reports and counts what was refused in the blocks just parsed. */
static void import_report(struct import *import, const struct parsed_block *list)
{
    for (; list; list = list->next) {
        import->counts.lines += list->line_count;
        for (size_t i = 0; i < list->line_count; i++) {
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
    if (changes && !*group->counted) {
        *group->counted = true;
        thread->counts.beneficiaries++;
    }
}

/* Deltas on their way to the writer, with the groups they came from: the stale ones are packed again. */
struct batch {
    struct buffer payload; /* u32 count, then u32 size and encoding each */
    struct buffer stale;
    size_t count;
    const struct import_group *groups[BATCH_DELTAS_MAX];
    struct import_counts counts[BATCH_DELTAS_MAX];
};

static void batch_reset(struct batch *batch)
{
    buffer_reset(&batch->payload);
    buffer_append_u32(&batch->payload, 0);
    batch->count = 0;
}

static enum status batch_pack(struct import_thread *thread, struct batch *batch,
                              const struct import_group *group, struct error *error)
{
    struct pack_result result;
    enum status status = packer_pack(thread->packer, group->items, group->count, thread->import->aco,
                                     note_refused, thread, &result, error);
    if (status != STATUS_OK)
        return status;
    if (!result.has_delta) {
        group_done(thread, group, &result.counts, false);
        return STATUS_OK;
    }
    size_t at = batch->payload.size;
    buffer_append_u32(&batch->payload, 0);
    delta_encode(&result.delta, &batch->payload);
    store_u32_le(batch->payload.data + at, (uint32_t)(batch->payload.size - at - sizeof(uint32_t)));
    batch->groups[batch->count] = group;
    batch->counts[batch->count] = result.counts;
    batch->count++;
    return STATUS_OK;
}

/* Sends the batch; packs what was stale again until nothing is. */
static enum status batch_send(struct import_thread *thread, struct batch *batch, struct error *error)
{
    for (unsigned attempt = 0; batch->count; attempt++) {
        if (attempt == STALE_ATTEMPTS_MAX)
            return error_set(error, STATUS_BUSY,
                             "the store changes faster than this import can follow; run it again");
        store_u32_le(batch->payload.data, (uint32_t)batch->count);
        buffer_reset(&batch->stale);
        enum status status = link_call(thread->import->link, CONTROL_COMMAND_DELTAS,
                                       buffer_slice(&batch->payload), &batch->stale, error);
        if (status != STATUS_OK)
            return status;
        size_t stale_count = batch->stale.size / sizeof(uint32_t);
        const struct import_group *again[BATCH_DELTAS_MAX];
        CHECK(stale_count <= batch->count);
        size_t taken = 0;
        for (size_t i = 0; i < batch->count; i++) {
            bool is_stale =
                taken < stale_count && load_u32_le(batch->stale.data + taken * sizeof(uint32_t)) == i;
            if (is_stale)
                again[taken++] = batch->groups[i];
            else
                group_done(thread, batch->groups[i], &batch->counts[i], true);
        }
        batch_reset(batch);
        for (size_t i = 0; i < taken; i++) {
            status = batch_pack(thread, batch, again[i], error);
            if (status != STATUS_OK)
                return status;
        }
    }
    return STATUS_OK;
}

static void *pack_body(void *argument)
{
    struct import_thread *thread = argument;
    struct import *import = thread->import;
    struct batch *batch = mem_new(struct batch);
    batch_reset(batch);
    enum status status = STATUS_OK;
    for (;;) {
        size_t index = __atomic_fetch_add(&import->next, 1, __ATOMIC_RELAXED);
        if (index >= import->beneficiary_count || status != STATUS_OK)
            break;
        for (size_t i = import->firsts[index]; status == STATUS_OK && i < import->firsts[index + 1]; i++)
            status = batch_pack(thread, batch, &import->groups[i], &thread->error);
        if (status == STATUS_OK &&
            (batch->payload.size >= BATCH_BYTES || batch->count + RESOURCE_TYPE_COUNT > BATCH_DELTAS_MAX))
            status = batch_send(thread, batch, &thread->error);
    }
    if (status == STATUS_OK)
        status = batch_send(thread, batch, &thread->error);
    thread->status = status;
    buffer_release(&batch->payload);
    buffer_release(&batch->stale);
    mem_free(batch);
    return NULL;
}

/* Puts the load's items in order and finds its groups. */
static void import_group_items(struct import *import)
{
    size_t count = 0, capacity = 0;
    for (const struct parsed_block *parsed = import->blocks; parsed; parsed = parsed->next)
        capacity += parsed->line_count;
    import->items = mem_new_array(struct import_item *, capacity);
    for (struct parsed_block *parsed = import->blocks; parsed; parsed = parsed->next) {
        for (size_t i = 0; i < parsed->line_count; i++) {
            if (parsed->items[i].type != RESOURCE_TYPE_COUNT)
                import->items[count++] = &parsed->items[i];
        }
    }
    qsort(import->items, count, sizeof *import->items, import_item_compare);
    import->groups = mem_new_array(struct import_group, count);
    import->firsts = mem_new_array(size_t, count + 1);
    import->counted = mem_new_array(bool, count + 1);
    import->beneficiary_count = 0;
    size_t group_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct import_item *item = import->items[i], *before = i ? import->items[i - 1] : NULL;
        bool is_beneficiary = !before || !slice_equal(before->beneficiary, item->beneficiary);
        if (is_beneficiary)
            import->firsts[import->beneficiary_count++] = group_count;
        if (is_beneficiary || before->type != item->type)
            import->groups[group_count++] =
                (struct import_group){&import->items[i], 0, &import->counted[import->beneficiary_count - 1]};
        import->groups[group_count - 1].count++;
    }
    import->firsts[import->beneficiary_count] = group_count;
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
    buffer_release(&all);
}

/* Packs and sends everything that was kept; nothing is kept afterwards. */
static enum status import_flush(struct import *import, struct error *error)
{
    enum status status = STATUS_OK;
    if (import->blocks) {
        import_group_items(import);
        status = import_parallel(import, pack_body, error);
        import_report_packed(import);
        mem_free(import->items);
        mem_free(import->groups);
        mem_free(import->firsts);
        mem_free(import->counted);
    }
    parsed_list_free(import->blocks);
    import->blocks = NULL;
    import->blocks_end = &import->blocks;
    import->load_bytes = 0;
    for (unsigned i = 0; i < import->thread_count; i++)
        arena_reset(&import->threads[i].arena);
    return status;
}

/* ---- files ---- */

static void import_progress(struct import *import, struct import_source *source)
{
    if (import->options->progress)
        import->options->progress(import->options->context,
                                  import->bytes_before + import_source_position(source), import->files.bytes,
                                  &import->counts);
}

/* Reads the next blocks, at most one a thread. `ret_status`: why there are no more. */
static struct parsed_block *import_read(struct import *import, struct import_source *source, uint32_t file,
                                        enum status *ret_status, struct error *error)
{
    struct parsed_block *list = NULL, **end = &list;
    *ret_status = STATUS_OK;
    for (unsigned i = 0; i < import->thread_count && *ret_status == STATUS_OK; i++) {
        struct parsed_block *parsed = mem_new(struct parsed_block);
        *ret_status = import_source_next(source, &parsed->block, error);
        parsed->line_count = import_block_count(&parsed->block);
        if (parsed->line_count == 0) {
            parsed_block_free(parsed);
            continue;
        }
        parsed->file = file;
        parsed->order = import->order;
        parsed->items = mem_new_array(struct import_item, parsed->line_count);
        parsed->refusals = mem_new_array(struct import_refusal, parsed->line_count);
        import->order += parsed->line_count;
        *end = parsed;
        end = &parsed->next;
    }
    return list;
}

static size_t parsed_block_memory(const struct parsed_block *parsed)
{
    return parsed->block.text.capacity + parsed->block.arena.bytes +
           parsed->line_count * (sizeof *parsed->items + sizeof *parsed->refusals);
}

static size_t import_memory(const struct import *import)
{
    size_t bytes = import->load_bytes;
    for (unsigned i = 0; i < import->thread_count; i++)
        bytes += import->threads[i].arena.bytes;
    return bytes;
}

/* The rest of the files goes on without this one, or with what was good in it. */
static void import_refuse_file(struct import *import, uint32_t file, const struct error *failure,
                               bool *ret_good)
{
    import_refuse(import, file, 0, failure->text);
    *ret_good = false;
}

/* Reads and parses one file; keeps its blocks if `keeps`, else only reports. A failure of the file itself is
 * reported, and *ret_good then false; a failure that is returned ends the import. */
static enum status import_file(struct import *import, uint32_t file, bool keeps, bool *ret_good,
                               struct error *error)
{
    struct import_source *source;
    struct error read_error = {0};
    enum status status = STATUS_OK;
    enum status read_status = import_source_open(import->files.paths[file], &source, &read_error);
    if (read_status != STATUS_OK) {
        import_refuse_file(import, file, &read_error, ret_good);
        return STATUS_OK;
    }
    while (status == STATUS_OK && read_status == STATUS_OK) {
        struct parsed_block *list = import_read(import, source, file, &read_status, &read_error);
        import->parsing = list;
        (void)!import_parallel(import, parse_body, NULL); /* parsing refuses lines, it does not fail */
        import_report(import, list);
        for (const struct parsed_block *parsed = list; parsed; parsed = parsed->next)
            import->counts.bytes += parsed->block.text.size;
        if (!keeps) {
            parsed_list_free(list);
            for (unsigned i = 0; i < import->thread_count; i++)
                arena_reset(&import->threads[i].arena);
            continue;
        }
        *import->blocks_end = list;
        for (; *import->blocks_end; import->blocks_end = &(*import->blocks_end)->next)
            import->load_bytes += parsed_block_memory(*import->blocks_end);
        if (import_memory(import) >= import->memory_bytes)
            status = import_flush(import, error);
        import_progress(import, source);
    }
    if (keeps)
        import->bytes_before += import_source_position(source);
    import_source_close(source);
    if (status == STATUS_OK && read_status != STATUS_NOT_FOUND)
        import_refuse_file(import, file, &read_error, ret_good);
    return status;
}

/* Looks at a file without keeping anything. *ret_good false if it has a bad line or cannot be read; that was
 * reported. */
static enum status import_rehearse(struct import *import, uint32_t file, bool *ret_good, struct error *error)
{
    if (strcmp(import->files.paths[file], "-") == 0)
        return error_set(error, STATUS_INVALID,
                         "--strict reads each file twice: it cannot read standard input");
    enum status status =
        import_flush(import, error); /* what is kept must not be dropped with the rehearsal */
    if (status != STATUS_OK)
        return status;
    struct import_counts before = import->counts;
    status = import_file(import, file, false, ret_good, error);
    uint64_t refused = import->counts.refused - before.refused;
    import->counts = before;
    if (refused) {
        import->counts.refused += refused;
        import_refuse(import, file, 0, "has bad lines: nothing of it was imported (--strict)");
        *ret_good = false;
    }
    return status;
}

static enum status import_all(struct import *import, struct error *error)
{
    struct error failure = {0};
    enum status status = STATUS_OK;
    for (uint32_t file = 0; status == STATUS_OK && file < import->files.count; file++) {
        bool is_good = true;
        if (import->options->strict)
            status = import_rehearse(import, file, &is_good, &failure);
        if (status == STATUS_OK && is_good)
            status = import_file(import, file, true, &is_good, &failure);
        import->counts.files++;
        import->counts.files_failed += !is_good;
    }
    if (status == STATUS_OK)
        status = import_flush(import, &failure);
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
    import->memory_bytes = options->memory_bytes ? options->memory_bytes : IMPORT_MEMORY_BYTES;
    import->blocks_end = &import->blocks;
    /* One more than cores: while one waits for the writer's fsync the others work. */
    import->thread_count = options->threads ? options->threads : (unsigned)(cores > 0 ? cores + 1 : 2);
    if (import->thread_count > IMPORT_THREADS_MAX)
        import->thread_count = IMPORT_THREADS_MAX;
    for (unsigned i = 0; i < import->thread_count; i++) {
        import->threads[i].import = import;
        import->threads[i].parser = resource_parser_new();
        import->threads[i].packer = packer_new(link_store(link));
    }
    enum status status = import_find_aco(import, error);
    if (status == STATUS_OK)
        status = import_files_find(options->paths, options->path_count, &import->files, error);
    if (status == STATUS_OK)
        status = import_all(import, error);
    *ret_counts = import->counts;
    import_files_release(&import->files);
    parsed_list_free(import->blocks);
    for (unsigned i = 0; i < import->thread_count; i++) {
        resource_parser_free(import->threads[i].parser);
        packer_free(import->threads[i].packer);
        arena_release(&import->threads[i].arena);
        buffer_release(&import->threads[i].refused);
    }
    mem_free(import);
    return status;
}
