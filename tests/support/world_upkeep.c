#include "tests/support/world_operations.h"

#include "codec/instant.h"
#include "storage/compact.h"
#include "storage/compactor.h"
#include "storage/homes.h"
#include "tests/support/world_lines.h"

static int64_t choose_bound(struct world *world, uint64_t *random)
{
    static const int64_t ages[] = {-1, 0, 1, 3600, 1000000000};
    return world_now(world) - ages[draw_below(random, sizeof ages / sizeof *ages)] * US_PER_SECOND;
}

static struct compact_rules choose_rules(struct world *world, uint64_t *random)
{
    struct compact_rules rules = {.merge_before_us = choose_bound(world, random), .keep_from_day = DAY_NONE};
    rules.gather_before_us = choose_bound(world, random);
    return rules;
}

static void note_damage(void *context, const char *reason)
{
    world_fail(context, "compact: %s", reason);
}

void operation_compact(struct world *world, uint64_t random)
{
    struct error error = {0};
    struct compact_counts counts;
    struct compact_options options = {.rules = choose_rules(world, &random),
                                      .threads = 1 + draw_below(&random, 3),
                                      .context = world,
                                      .damaged = note_damage};
    if (!world->acked) {
        world_expect_ok(world, compact_run(world->link, &options, &counts, &error), &error);
        world_trace(world, "%" PRIu64 " segments became %" PRIu64, counts.replaced, counts.made);
    }
    (void)world_span(world, 0);
}

void operation_merge(struct world *world, uint64_t random)
{
    struct pending *pending = &world->pending;
    const char *id = beneficiary_ids[draw_below(&random, MODEL_BENEFICIARIES)];
    enum resource_type type = (enum resource_type)draw_below(&random, MODEL_TYPES);
    struct compact_rules rules = choose_rules(world, &random);
    pending->exists = pending->merges = true;
    buffer_reset(&pending->encoding);
    if (!world->acked) {
        struct error error = {0};
        struct compact_result result;
        struct compactor *compactor = compactor_new(world->store, &rules);
        enum status status = compactor_pack(compactor, type, slice_from_text(id), &result, &error);
        if (status != STATUS_NOT_FOUND)
            world_expect_ok(world, status, &error);
        if (status == STATUS_OK && result.has_delta)
            delta_encode(&result.delta, &pending->encoding);
        world_trace(world, "%s of %s: %zu bytes", type_names[type], id, pending->encoding.size);
        compactor_free(compactor);
    }
    (void)world_span(world, 0);
}

void operation_move(struct world *world, uint64_t random)
{
    struct error error = {0};
    struct homes_position from = {.size = 0};
    size_t bytes_max = draw_one_in(&random, 3) ? 0 : 1 + draw_below(&random, 800);
    for (unsigned left = 1 + draw_below(&random, 3); !world->acked && left; left--) {
        struct homes_step step;
        homes_step_init(&step, &from);
        step.bytes_max = bytes_max;
        world_expect_ok(world, writer_call(world->writer, &step.request, &error), &error);
        world_trace(world, "%" PRIu64 " moved, %" PRIu64 " bytes copied", step.ret_moved, step.ret_bytes);
        from = step.ret_next;
        if (step.ret_done)
            break;
    }
    (void)world_span(world, 0);
}

void world_expect_all_moved(struct world *world)
{
    struct error error = {0};
    struct homes_options options = {.step_bytes = 0};
    struct homes_counts counts;
    world_expect_ok(world, homes_run(world->link, &options, &counts, &error), &error);
    world_collect(world, 100);
    world_expect_ok(world, homes_run(world->link, &options, &counts, &error), &error);
    if (counts.waiting)
        world_fail(world, "%" PRIu64 " beneficiaries cannot be moved", counts.waiting);
    world_collect(world, 100);
    world_expect_nothing_superseded(world);
}
