#include "tests/support/world_operations.h"

#include "codec/base/failpoint.h"
#include "server/expiry.h"
#include "server/limiter.h"
#include "storage/restored.h"
#include "storage/verify.h"
#include "tests/support/world_answers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void operation_clock(struct world *world, uint64_t random)
{
    static const int64_t seconds[] = {1, 3600, -3600, 7200, -86400, 50000};
    int64_t now = fake_now_us;
    switch (draw_below(&random, 8)) {
    case 0: /* right to the store's */
        fake_now_us = world->instant;
        break;
    case 1: /* exactly to midnight, when opt-outs begin and end */
        fake_now_us = (world_now(world) / DAY_US + 1) * DAY_US;
        break;
    default:
        fake_now_us += seconds[draw_below(&random, sizeof seconds / sizeof *seconds)] * US_PER_SECOND;
        break;
    }
    fake_tick_us = draw_below(&random, 3);
    world_trace(world, "%+" PRId64 " us, %" PRId64 " us a look", fake_now_us - now, fake_tick_us);
    (void)world_span(world, 0);
}

/* ---- restarts ---- */

static enum job_state job_state_of(struct world *world, uint64_t id)
{
    struct error error = {0};
    struct arena arena = ARENA_INIT;
    struct job job;
    struct engine_txn *txn = world_read(world);
    world_expect_ok(world, job_get(txn, id, &arena, &job, &error), &error);
    engine_end(txn);
    arena_release(&arena);
    return job.state;
}

static bool ack_has_ended(const struct ack *ack, uint64_t id)
{
    for (size_t i = 0; i < ENDED_MAX; i++) {
        if (ack->ended[i] == id)
            return true;
    }
    return false;
}

/* What became of the jobs in a process that is no more: of those that ended with the acknowledged operation,
 * or of all. */
static void jobs_look(struct world *world)
{
    for (size_t i = 0; i < world->job_count; i++) {
        struct tracked_job *job = world->jobs[i];
        if (job->ended || (world->acked && !ack_has_ended(world->acked, job->id)))
            continue;
        enum job_state state = job_state_of(world, job->id);
        if (state == JOB_STATE_COMPLETED)
            job_settle(world, job);
        else if (state == JOB_STATE_CANCELLED)
            job_end(world, job);
        else if (!job_state_is_active(state))
            world_fail(world, "job %" PRIu64 " is %s", job->id, job_state_name(state));
    }
}

/* As sluiced starts: what no record names is swept. With `runs` it also runs what is active. */
static void world_start_server(struct world *world, bool runs)
{
    struct error error = {0};
    if (!runs) {
        struct expiry *expiry;
        world_expect_ok(world, expiry_open(&world->service, WORLD_KEEP_US, &expiry, &error), &error);
        expiry_close(expiry);
        return;
    }
    static const struct limiter_rule rules[LIMITER_KIND_COUNT] = {[LIMITER_JOB] = {.capacity = 1}};
    world->service.limiter = limiter_new(rules);
    world_expect_ok(world, exports_open(&world->service, &world->options, &world->service.exports, &error),
                    &error);
    for (size_t i = 0; i < world->job_count; i++) {
        while (!world->jobs[i]->ended && job_state_is_active(job_state_of(world, world->jobs[i]->id)))
            nanosleep(&(struct timespec){.tv_nsec = 100 * 1000}, NULL);
    }
    exports_close(world->service.exports);
    limiter_free(world->service.limiter);
    world->service.exports = NULL;
    world->service.limiter = NULL;
}

void operation_reopen(struct world *world, uint64_t random)
{
    world_close(world);
    world_open(world);
    world_start_server(world, draw_one_in(&random, 2));
    world_settle(world);
    jobs_look(world);
    (void)world_span(world, 0);
}

static enum status take_piece(void *context, struct slice bytes, struct error *error)
{
    if (fwrite(bytes.data, 1, bytes.size, context) != bytes.size)
        return error_set_errno(error, "the copy cannot be written");
    return STATUS_OK;
}

void operation_restore(struct world *world, uint64_t random)
{
    (void)random;
    struct error error = {0};
    struct store_restored restored;
    char copy[STORE_FIXTURE_PATH_MAX + 32], path[STORE_FIXTURE_PATH_MAX + 32];
    snprintf(copy, sizeof copy, "%s/copy.mdb", world->root);
    snprintf(path, sizeof path, "%s/store.mdb", world->dir);
    FILE *file = fopen(copy, "wb");
    if (!file)
        world_fail(world, "%s: %s", copy, strerror(errno));
    world_expect_ok(world, engine_copy(store_engine(world->store), take_piece, file, &error), &error);
    if (fclose(file) != 0)
        world_fail(world, "%s: %s", copy, strerror(errno));
    world_close(world);
    if (rename(copy, path) != 0)
        world_fail(world, "%s: %s", path, strerror(errno));
    world_open(world);
    store_restored_init(&restored);
    world_expect_ok(world, writer_call(world->writer, &restored.request, &error), &error);
    model_restored(&world->model, restored.ret_instant_us);
    (void)world_span(world, 0);
}

static void write_ack(struct world *world, int fd)
{
    world->ack.fake_now = fake_now_us;
    if (write(fd, &world->ack, sizeof world->ack) != sizeof world->ack)
        _exit(1);
}

/* The process that is killed. */
static void crash_body(struct world *world, const struct operation *operations, size_t count,
                       const char *failpoint, int fd)
{
    if (failpoint) {
        setenv("SLUICE_FAILPOINTS", failpoint, 1);
        failpoint_state = 0;
    }
    world_open(world);
    world_start_server(world, false);
    world_settle(world);
    write_ack(world, fd); /* of nothing yet: what its clock says */
    for (size_t i = 0; i < count; i++) {
        operation_run(world, &operations[i]);
        write_ack(world, fd);
    }
    kill(getpid(), SIGKILL);
}

void operation_crash(struct world *world, uint64_t random)
{
    static const char *const places[] = {"engine.put",
                                         "engine.put",
                                         "engine.put",
                                         "engine.commit.before",
                                         "engine.commit.after",
                                         "engine.commit.after",
                                         "homes.step",
                                         "homes.copied",
                                         "homes.switched",
                                         "export.mkdir",
                                         "export.plan.before-commit",
                                         "export.plan.after-commit",
                                         "export.file.write",
                                         "export.file.rename",
                                         "export.file.before-commit",
                                         "export.file.after-commit",
                                         "export.complete.before-commit",
                                         "export.complete.after-commit"};
    char failpoint[80];
    struct operation operations[CRASH_OPERATIONS_MAX];
    size_t count = 1 + draw_below(&random, CRASH_OPERATIONS_MAX), acked = 0;
    int64_t kill_after_us = draw_one_in(&random, 4) ? (int64_t)draw_below(&random, 20000) : -1;
    const char *place = places[draw_below(&random, sizeof places / sizeof *places)];
    snprintf(failpoint, sizeof failpoint, "%s=kill@%u", place,
             1 + draw_below(&random, strcmp(place, "engine.put") == 0 ? 60 : 6));
    for (size_t i = 0; i < count; i++)
        operations[i] =
            (struct operation){operation_choose_kind(&random, true), store_fixture_random(&random)};
    world_trace(world, "%zu operations, %s", count, kill_after_us < 0 ? failpoint : "at any moment");
    world_close(world);
    int fds[2];
    if (pipe(fds) != 0)
        world_fail(world, "no pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        crash_body(world, operations, count, kill_after_us < 0 ? failpoint : NULL, fds[1]);
    }
    close(fds[1]);
    if (kill_after_us >= 0) {
        nanosleep(&(struct timespec){.tv_nsec = kill_after_us * 1000}, NULL);
        kill(child, SIGKILL);
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        world_fail(world, "in the process that was to be killed (status %d)", status);
    world_open(world);
    struct ack ack;
    bool has_begun = read(fds[0], &ack, sizeof ack) == sizeof ack;
    int64_t its_now = ack.fake_now;
    if (has_begun) {
        model_settle(&world->model, world_now(world), (struct moment){world->instant, ack.instant});
        world->instant = ack.instant;
    }
    for (; has_begun && acked < count && read(fds[0], &ack, sizeof ack) == sizeof ack; acked++) {
        /* It drew what it drew by its clock. */
        __atomic_store_n(&fake_now_us, its_now, __ATOMIC_RELAXED);
        its_now = ack.fake_now;
        world->acked = &ack;
        operation_run(world, &operations[acked]);
        world->acked = NULL;
    }
    close(fds[0]);
    /* What was under way is done again: whoever got no answer does that. */
    if (has_begun) {
        __atomic_store_n(&fake_now_us, its_now, __ATOMIC_RELAXED);
        jobs_look(world);
    }
    if (has_begun && acked < count) {
        world->repeats = true;
        operation_run(world, &operations[acked]);
        world->repeats = false;
    }
    world->doing = "crash";
    memset(&world->ack, 0, sizeof world->ack);
    for (size_t i = 0; i < world->job_count; i++)
        job_stop(world->jobs[i]);
    world_start_server(world, draw_one_in(&random, 2));
    world_settle(world);
    jobs_look(world);
    (void)world_span(world, 0);
}

static void note_fault(void *context, const char *where, const char *what)
{
    struct world *world = context;
    world_fail(world, "verify: %s: %s", where, what);
}

void operation_verify(struct world *world, uint64_t random)
{
    (void)random;
    struct error error = {0};
    struct verify_counts counts;
    struct verify_options options = {.context = world, .fault = note_fault};
    world_expect_ok(world, verify_run(world->store, &options, &counts, &error), &error);
    (void)world_span(world, 0);
}

void operation_run(struct world *world, const struct operation *operation)
{
    static void (*const bodies[OPERATION_KIND_COUNT])(struct world *, uint64_t) = {
        [OPERATION_IMPORT] = operation_import,     [OPERATION_PACK] = operation_pack,
        [OPERATION_SEND] = operation_send,         [OPERATION_ROSTER] = operation_roster,
        [OPERATION_KICK_OFF] = operation_kick_off, [OPERATION_CLIENT] = operation_client,
        [OPERATION_STEP] = operation_step,         [OPERATION_FINISH] = operation_finish,
        [OPERATION_CANCEL] = operation_cancel,     [OPERATION_COLLECT] = operation_collect,
        [OPERATION_CLOCK] = operation_clock,       [OPERATION_REOPEN] = operation_reopen,
        [OPERATION_CRASH] = operation_crash,       [OPERATION_VERIFY] = operation_verify,
        [OPERATION_OPT_OUT] = operation_opt_out,   [OPERATION_RESTORE] = operation_restore,
        [OPERATION_MOVE] = operation_move,         [OPERATION_COMPACT] = operation_compact,
        [OPERATION_MERGE] = operation_merge};
    memset(&world->ack, 0, sizeof world->ack);
    world->doing = operation_names[operation->kind];
    world->done[operation->kind]++;
    bodies[operation->kind](world, operation->seed);
    if (world->acked)
        jobs_look(world);
    world->instant = world->acked ? world->acked->instant : world->ack.instant;
}
