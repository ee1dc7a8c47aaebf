#include "tests/support/world.h"

#include "storage/resources.h"
#include "storage/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

const char *const aco_ids[MODEL_ACOS] = {"A9990", "A9991", "A9992"};
const char *const beneficiary_ids[MODEL_BENEFICIARIES] = {"-",  "A", "A-", "A-1", "A.",  "A0",
                                                          "AA", "B", "a",  "a1",  "a10", "a2"};
const char *const mbi_texts[MODEL_MBIS] = {"1", "1A", "1A0", "1B", "2", "20",          "200", "2A",
                                           "3", "3Z", "4",   "4A", "5", "5AA5AA5AA55", "6",   "7"};

const char *const operation_names[OPERATION_KIND_COUNT] = {
    [OPERATION_IMPORT] = "import",   [OPERATION_PACK] = "pack",         [OPERATION_SEND] = "send",
    [OPERATION_ROSTER] = "roster",   [OPERATION_KICK_OFF] = "kick off", [OPERATION_CLIENT] = "client",
    [OPERATION_STEP] = "step",       [OPERATION_FINISH] = "finish",     [OPERATION_CANCEL] = "cancel",
    [OPERATION_COLLECT] = "collect", [OPERATION_CLOCK] = "clock",       [OPERATION_REOPEN] = "reopen",
    [OPERATION_CRASH] = "crash",     [OPERATION_VERIFY] = "verify",     [OPERATION_MOVE] = "move",
    [OPERATION_COMPACT] = "compact", [OPERATION_OPT_OUT] = "opt out",   [OPERATION_RESTORE] = "restore",
    [OPERATION_MERGE] = "merge"};

static const struct {
    unsigned weight;
    bool in_crash;
} kinds[OPERATION_KIND_COUNT] = {
    [OPERATION_IMPORT] = {30, true}, [OPERATION_PACK] = {7, true},     [OPERATION_SEND] = {9, true},
    [OPERATION_ROSTER] = {12, true}, [OPERATION_KICK_OFF] = {9, true}, [OPERATION_CLIENT] = {14, true},
    [OPERATION_STEP] = {16, true},   [OPERATION_FINISH] = {8, true},   [OPERATION_CANCEL] = {2, true},
    [OPERATION_COLLECT] = {3, true}, [OPERATION_CLOCK] = {9, true},    [OPERATION_REOPEN] = {2, false},
    [OPERATION_CRASH] = {5, false},  [OPERATION_VERIFY] = {3, false},  [OPERATION_MOVE] = {6, true},
    [OPERATION_COMPACT] = {3, true}, [OPERATION_OPT_OUT] = {6, false}, [OPERATION_RESTORE] = {1, false},
    [OPERATION_MERGE] = {3, true},
};

enum operation_kind operation_choose_kind(uint64_t *random, bool in_crash)
{
    unsigned sum = 0;
    for (int i = 0; i < OPERATION_KIND_COUNT; i++)
        sum += !in_crash || kinds[i].in_crash ? kinds[i].weight : 0;
    unsigned at = (unsigned)(store_fixture_random(random) % sum);
    for (int i = 0; i < OPERATION_KIND_COUNT; i++) {
        unsigned weight = !in_crash || kinds[i].in_crash ? kinds[i].weight : 0;
        if (at < weight)
            return (enum operation_kind)i;
        at -= weight;
    }
    return OPERATION_IMPORT;
}

/* ---- the store ---- */

void world_fail(const struct world *world, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "operation %zu (%s): ", world->step, world->doing);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    fflush(stderr);
    _exit(1);
}

void world_trace(const struct world *world, const char *format, ...)
{
    va_list args;
    if (!world->traces)
        return;
    fprintf(stderr, "%zu %s%s: ", world->step, world->doing,
            world->acked     ? " (before the crash)"
            : world->repeats ? " (again)"
                             : "");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
}

void world_expect_ok(const struct world *world, enum status status, const struct error *error)
{
    if (status != STATUS_OK)
        world_fail(world, "%s: %s", status_name(status), error->text);
}

unsigned draw_below(uint64_t *random, unsigned bound)
{
    return (unsigned)(store_fixture_random(random) % bound);
}

bool draw_one_in(uint64_t *random, unsigned bound)
{
    return draw_below(random, bound) == 0;
}

void world_open(struct world *world)
{
    static const struct store_options options = {.map_bytes = WORLD_MAP_BYTES};
    struct error error = {0};
    world_expect_ok(world, store_open(world->dir, STORE_ACCESS_WRITE, &options, &world->store, &error),
                    &error);
    world_expect_ok(world, writer_start(world->store, &world->writer, &error), &error);
    world->link = link_new(world->store, world->writer);
    world->packer = packer_new(world->store);
    world->service = (struct service){.store = world->store, .writer = world->writer};
}

void job_stop(struct tracked_job *job)
{
    struct export_run *run = job->run;
    for (size_t i = 0; run && run->files && i < run->job.file_count; i++)
        encoder_free(run->files[i].encoder);
    export_run_free(run);
    job->run = NULL;
}

void world_close(struct world *world)
{
    for (size_t i = 0; i < world->job_count; i++)
        job_stop(world->jobs[i]);
    world->pending.exists = false;
    packer_free(world->packer);
    link_close(world->link);
    writer_stop(world->writer);
    store_close(world->store);
}

struct engine_txn *world_read(struct world *world)
{
    struct error error = {0};
    struct engine_txn *txn = NULL;
    world_expect_ok(world, engine_begin_read(store_engine(world->store), &txn, &error), &error);
    return txn;
}

void world_look_at_clock(struct world *world)
{
    struct error error = {0};
    struct store_clock clock;
    struct engine_txn *txn = world_read(world);
    world_expect_ok(world, store_clock_read(txn, &clock, &error), &error);
    engine_end(txn);
    if (clock.instant_us < world->instant)
        world_fail(world, "the store's instant went back from %" PRId64 " to %" PRId64, world->instant,
                   clock.instant_us);
    world->ack.instant = clock.instant_us;
}

/* The instants that the operation had, once it is done. */
struct moment world_span(struct world *world, int64_t after)
{
    if (!world->acked)
        world_look_at_clock(world);
    return (struct moment){after, world->acked ? world->acked->instant : world->ack.instant};
}

/* What no write request's instant, nor a packer's clock, can be earlier than. */
int64_t world_now(const struct world *world)
{
    int64_t now = __atomic_load_n(&fake_now_us, __ATOMIC_RELAXED);
    return now > world->instant ? now : world->instant;
}

void world_collect(struct world *world, size_t limit)
{
    struct resources_collect collect;
    struct error error = {0};
    do {
        resources_collect_init(&collect, limit);
        world_expect_ok(world, writer_call(world->writer, &collect.request, &error), &error);
    } while (collect.ret_more);
}

static enum status count_row(void *context, struct slice key, struct slice value, struct error *error)
{
    (void)key, (void)value, (void)error;
    ++*(size_t *)context;
    return STATUS_OK;
}

void world_expect_nothing_superseded(struct world *world)
{
    size_t count = 0;
    struct error error = {0};
    for (size_t i = 0; i < world->job_count; i++) {
        if (!world->jobs[i]->ended)
            return;
    }
    struct engine_txn *txn = world_read(world);
    world_expect_ok(world, engine_each(txn, TABLE_DEAD, slice_make(NULL, 0), count_row, &count, &error),
                    &error);
    engine_end(txn);
    if (count)
        world_fail(world, "no job is active, and %zu superseded segments stay", count);
}
