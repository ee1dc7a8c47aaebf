#include "tests/support/world_operations.h"

#include "storage/import.h"
#include "tests/support/world_lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void note_refusal(void *context, const char *file, uint64_t line, const char *reason)
{
    (void)file;
    if (!strstr(reason, " under another beneficiary"))
        world_fail(context, "line %" PRIu64 " was refused: %s", line, reason);
}

static void compare_counts(struct world *world, const struct import_counts *got,
                           const struct model_counts *want)
{
    const struct {
        const char *name;
        uint64_t got, want;
    } rows[] = {
        {"added", got->added, want->added},
        {"replaced", got->replaced, want->replaced},
        {"identical", got->identical, want->identical},
        {"late", got->late, want->late},
        {"refused", got->refused, want->refused},
        {"stamped", got->stamped, want->stamped},
        {"undated", got->undated, want->undated},
        {"deleted", got->deleted, want->deleted},
        {"deleted_unknown", got->deleted_unknown, want->deleted_unknown},
        {"future", got->future, want->future},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].got != rows[i].want)
            world_fail(world, "%s: %" PRIu64 " instead of %" PRIu64, rows[i].name, rows[i].got, rows[i].want);
    }
}

void operation_import(struct world *world, uint64_t random)
{
    struct load load;
    struct import_counts counts = {0};
    struct error error = {0};
    load_choose(world, &load, &random, false);
    unsigned way = draw_below(&random, 4);
    bool has_patients = false;
    for (int i = 0; i < load.count; i++)
        has_patients |= load.lines[i].type == MODEL_PATIENT;
    if (!world->acked) {
        struct buffer text = BUFFER_INIT;
        char path[STORE_FIXTURE_PATH_MAX + 32];
        const char *paths[] = {path};
        snprintf(path, sizeof path, "%s/load.ndjson", world->root);
        for (int i = 0; i < load.count; i++)
            line_write(&load.lines[i], way, &text);
        FILE *file = fopen(path, "wb");
        if (!file || fwrite(text.data, 1, text.size, file) != text.size || fclose(file) != 0)
            world_fail(world, "%s: %s", path, strerror(errno));
        buffer_release(&text);
        struct import_options options = {.paths = paths,
                                         .path_count = 1,
                                         .aco_id = load.aco >= 0 ? aco_ids[load.aco] : NULL,
                                         /* Who takes an MBI from whom depends on the order of Patients. */
                                         .threads = has_patients ? 1 : 2,
                                         .context = world,
                                         .refuse = note_refusal};
        world_expect_ok(world, import_run(world->link, &options, &counts, &error), &error);
    }
    struct model_counts want;
    model_import(&world->model, load.aco, load.lines, load.count, load.now, world_span(world, world->instant),
                 world->instant, &want);
    if (!world->acked && !world->repeats)
        compare_counts(world, &counts, &want);
    world->last_load = load;
}

static void refuse_foreign(void *context, const struct import_item *item, const char *reason)
{
    note_refusal(context, "", item->line, reason);
}

/* One group through the packer, as an import's thread does it. False: nothing changes. */
static bool load_pack(struct world *world, const struct load *load, struct buffer *target)
{
    struct arena arena = ARENA_INIT;
    struct error error = {0};
    struct resource_parser *parser = resource_parser_new();
    struct import_item items[LINES_MAX], *sorted[LINES_MAX];
    struct buffer text = BUFFER_INIT;
    for (int i = 0; i < load->count; i++) {
        const struct model_line *line = &load->lines[i];
        struct resource resource;
        sorted[i] = &items[i];
        if (line->deletes) {
            items[i] = (struct import_item){
                .beneficiary =
                    slice_from_text(line->beneficiary < 0 ? "" : beneficiary_ids[line->beneficiary]),
                .id = arena_copy(&arena, slice_from_text(number_id(line->type, line->number))),
                .source_us = line->has_time ? line->time : INT64_MAX,
                .has_last_updated = line->has_time,
                .order = (uint64_t)i,
                .type = (uint8_t)line->type,
                .is_deletion = true,
            };
            continue;
        }
        buffer_reset(&text);
        line_write(&load->lines[i], (unsigned)i % 4, &text);
        world_expect_ok(world, resource_parse(parser, buffer_slice(&text), &resource, &error), &error);
        struct slice *mbis = arena_alloc(&arena, (resource.mbi_count + 1) * sizeof *mbis);
        for (size_t k = 0; k < resource.mbi_count; k++)
            mbis[k] = arena_copy(&arena, resource.mbis[k]);
        items[i] = (struct import_item){
            .beneficiary = arena_copy(&arena, resource.beneficiary),
            .id = arena_copy(&arena, resource.id),
            .json = arena_copy(&arena, resource.json),
            .mbis = mbis,
            .mbi_count = (uint8_t)resource.mbi_count,
            .source_us = resource.has_last_updated ? resource.last_updated_us : LAST_UPDATED_DEFAULT_US,
            .content_hash = resource.content_hash,
            .order = (uint64_t)i,
            .service_first_day = resource.service_first_day,
            .service_last_day = resource.service_last_day,
            .stamp_offset = (uint32_t)resource.stamp_offset,
            .stamp_size = (uint32_t)resource.stamp_size,
            .type = (uint8_t)resource.type,
            .stamp_place = (uint8_t)resource.stamp_place,
            .stamp_comma = resource.stamp_comma,
            .has_last_updated = resource.has_last_updated,
        };
    }
    qsort(sorted, (size_t)load->count, sizeof *sorted, import_item_compare);
    struct pack_result result;
    world_expect_ok(world,
                    packer_pack(world->packer, sorted, (size_t)load->count,
                                load->aco >= 0 ? world->numbers[load->aco] : 0, refuse_foreign, world,
                                &result, &error),
                    &error);
    buffer_reset(target);
    if (result.has_delta)
        delta_encode(&result.delta, target);
    buffer_release(&text);
    resource_parser_free(parser);
    arena_release(&arena);
    return result.has_delta;
}

void operation_pack(struct world *world, uint64_t random)
{
    struct pending *pending = &world->pending;
    load_choose(world, &pending->load, &random, true);
    pending->exists = true;
    pending->merges = false;
    pending->after = world->instant;
    buffer_reset(&pending->encoding);
    if (!world->acked)
        (void)!load_pack(world, &pending->load, &pending->encoding);
    (void)world_span(world, 0);
}

/* False if it was stale. */
static bool delta_send(struct world *world, const struct buffer *encoding)
{
    struct error error = {0};
    struct arena arena = ARENA_INIT;
    struct delta delta;
    struct delta_batch batch;
    world_expect_ok(world, delta_decode(buffer_slice(encoding), &arena, &delta, &error), &error);
    delta_batch_init(&batch);
    delta_batch_add(&batch, &delta);
    world_expect_ok(world, writer_call(world->writer, &batch.request, &error), &error);
    bool is_stale = batch.ret_stale.size > 0;
    delta_batch_release(&batch);
    arena_release(&arena);
    return !is_stale;
}

void operation_send(struct world *world, uint64_t random)
{
    (void)random;
    struct pending *pending = &world->pending;
    if (pending->exists && pending->merges) {
        if (!world->acked && pending->encoding.size)
            world_trace(world, "%s", delta_send(world, &pending->encoding) ? "applied" : "stale");
        pending->exists = false;
        (void)world_span(world, 0);
        return;
    }
    if (!pending->exists || !load_is_clear(world, &pending->load)) {
        pending->exists = false;
        (void)world_span(world, 0);
        return;
    }
    pending->load.now = world_now(world);
    if (!world->acked) {
        /* After a crash, or where the packer saw nothing to do, it is packed now. */
        bool is_sent = pending->encoding.size && delta_send(world, &pending->encoding);
        world_trace(world, "%s", is_sent ? "applied" : "packed again");
        for (int attempts = 0; !is_sent && load_pack(world, &pending->load, &pending->encoding); attempts++) {
            is_sent = delta_send(world, &pending->encoding);
            if (attempts == 3)
                world_fail(world, "a delta stays stale, though nothing changes");
        }
    }
    if (pending->load.lines[0].beneficiary < 0) /* whose it is may be known by now */
        model_find_owners(&world->model, pending->load.lines, pending->load.count);
    struct model_counts counts;
    model_import(&world->model, pending->load.aco, pending->load.lines, pending->load.count,
                 pending->load.now, world_span(world, world->instant), pending->after, &counts);
    pending->exists = false;
}
