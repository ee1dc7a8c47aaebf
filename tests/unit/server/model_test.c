/*
 * The whole store against a naive model (tests/support/model.h): random operations
 * (tests/support/world_operations.h), kills at failpoints and at any moment among them, under a clock that
 * stands still and jumps. Exports go on slice by slice while other things happen. After each it is compared
 * with the model's answer: which resources, in which content, under which stamp, in which set and order.
 * Beside that runs a client for each ACO that does what docs/decisions/time.md promises to serve: it must
 * miss nothing and be told nothing twice.
 *
 * A run is episodes, each a fresh store in a process of its own and a list of operations that its seed gives.
 * An operation draws from its own seed, so that the list stays meaningful when some are left out: a failure
 * is played again with fewer and fewer until all that are left are needed.
 *
 *   SLUICE_TEST_SEED=n        the first episode's seed; the next one's is n + 1, and so on
 *   SLUICE_MODEL_SECONDS=s    how long (docs/building.md)
 *   SLUICE_MODEL_EPISODES=n   n episodes instead
 *   SLUICE_MODEL_SHRINK=s     how long a failure is made smaller
 *   SLUICE_MODEL_TRACE=1      tells every operation
 */
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/log.h"
#include "tests/support/world_operations.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SECONDS_DEFAULT 10
#else
#define SECONDS_DEFAULT 30
#endif
#define SHRINK_SECONDS 40

/* ---- what the test puts in the place of the C library's and of codec/base/clock.c ---- */

/* A process that dies loses nothing that it wrote: only a power cut needs these, and they take most of the
 * time. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

int64_t fake_now_us = INT64_C(1790000000000000);
int64_t fake_tick_us; /* by which each look moves it */
static int64_t fake_monotonic_us = 1;

int64_t clock_now_us(void)
{
    int64_t tick_us = __atomic_load_n(&fake_tick_us, __ATOMIC_RELAXED);
    return __atomic_fetch_add(&fake_now_us, tick_us, __ATOMIC_RELAXED);
}

/* A microsecond a look: a slice of one ends after one beneficiary. */
int64_t clock_monotonic_us(void)
{
    return __atomic_fetch_add(&fake_monotonic_us, 1, __ATOMIC_RELAXED);
}

static int64_t real_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

/* ---- an episode ---- */

static size_t make_operations(uint64_t seed, struct operation operations[OPERATIONS_MAX])
{
    uint64_t random = seed;
    for (size_t i = 0; i < OPERATIONS_MAX; i++)
        operations[i] =
            (struct operation){operation_choose_kind(&random, false), store_fixture_random(&random)};
    return OPERATIONS_MAX;
}

struct episode_sums {
    uint64_t done[OPERATION_KIND_COUNT], compared;
};

static void finish_episode(struct world *world)
{
    world->doing = "the end";
    for (size_t i = 0; i < world->job_count; i++)
        job_finish(world, world->jobs[i]);
    world->done[OPERATION_COLLECT]++;
    world_collect(world, 100);
    world_expect_nothing_superseded(world);
    world_expect_all_moved(world);
    (void)world_span(world, 0);
    world->instant = world->ack.instant;
    for (int round = 0; round < 2; round++) {
        for (int aco = 0; aco < MODEL_ACOS; aco++) {
            struct model_request request = {.aco = aco,
                                            .since = world->clients[aco].since,
                                            .separates = world->clients[aco].since != MODEL_NEVER,
                                            .types = {MODEL_EOB, MODEL_COVERAGE, MODEL_PATIENT},
                                            .type_count = MODEL_TYPES};
            job_kick_off(world, 0, &request, false);
            struct tracked_job *job = world->jobs[world->job_count - 1];
            if (round == 1 && job->answer.count + job->answer.deletion_count)
                world_fail(world, "nothing changed, and a client is to be told something");
            job_finish(world, job);
        }
    }
    operation_verify(world, 0);
}

/* In a process of its own. */
static void run_episode(const char *root, const struct operation *operations, size_t count, bool traces,
                        int fd)
{
    struct world *world = mem_new(struct world);
    static const struct store_options options = {.map_bytes = WORLD_MAP_BYTES};
    struct error error = {0};
    log_set_level(LOG_LEVEL_ERROR);
    world->root = root;
    world->traces = traces;
    world->doing = "the begin";
    world->options =
        (struct exports_options){.workers = 2,
                                 .file_bytes_max = operations[0].seed % 2 ? 1500 : UINT64_C(1) << 30,
                                 .small_job_bytes = (uint64_t[]){0, 1000, 1000000}[operations[0].seed % 3],
                                 .keep_us = WORLD_KEEP_US,
                                 .slice_us = 1};
    snprintf(world->dir, sizeof world->dir, "%s/data", root);
    world_expect_ok(world, store_create(world->dir, &options, &error), &error);
    model_init(&world->model);
    world_open(world);
    world_expect_ok(world, job_files_prepare(world->dir, &error), &error);
    for (int i = 0; i < MODEL_ACOS; i++) {
        struct aco_add add;
        world_expect_ok(
            world, aco_add_init(&add, slice_from_text(aco_ids[i]), SLICE_LITERAL("an ACO"), &error), &error);
        world_expect_ok(world, writer_call(world->writer, &add.request, &error), &error);
        world->numbers[i] = add.ret_number;
        world->clients[i].since = MODEL_NEVER;
    }
    world_look_at_clock(world);
    world->instant = world->ack.instant;
    for (world->step = 0; world->step < count; world->step++)
        operation_run(world, &operations[world->step]);
    finish_episode(world);
    world_close(world);
    struct episode_sums sums = {.compared = world->compared};
    memcpy(sums.done, world->done, sizeof sums.done);
    if (write(fd, &sums, sizeof sums) != sizeof sums)
        _exit(1);
}

/* ---- the run ---- */

/* Runs it in a process of its own. True if all was as it should be. `report`: where it writes what was not.
 */
static bool try_operations(const struct operation *operations, size_t count, bool traces, FILE *report,
                           struct episode_sums *ret_sums)
{
    char root[STORE_FIXTURE_PATH_MAX];
    int fds[2], status = 1;
    struct episode_sums sums;
    store_fixture_dir_make(root);
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(fds[0]);
        dup2(fileno(report), STDERR_FILENO);
        run_episode(root, operations, count, traces, fds[1]);
        _exit(0);
    }
    close(fds[1]);
    bool is_told = read(fds[0], &sums, sizeof sums) == sizeof sums;
    close(fds[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    store_fixture_dir_remove(root);
    if (is_told && status == 0) {
        for (int i = 0; i < OPERATION_KIND_COUNT; i++)
            ret_sums->done[i] += sums.done[i];
        ret_sums->compared += sums.compared;
    } else if (WIFSIGNALED(status)) {
        fprintf(report, "ended by signal %d\n", WTERMSIG(status));
    }
    return is_told && status == 0;
}

static long setting(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 0) : otherwise;
}

/* Leaves out what is not needed for a failure, in ever smaller parts, as long as there is time. */
static size_t shrink(struct operation *operations, size_t count)
{
    int64_t deadline_us = real_us() + setting("SLUICE_MODEL_SHRINK", SHRINK_SECONDS) * US_PER_SECOND;
    struct episode_sums sums = {.compared = 0};
    FILE *nowhere = fopen("/dev/null", "w");
    assert_non_null(nowhere);
    for (size_t part = count / 2; part > 0; part /= 2) {
        for (size_t at = 0; at < count && real_us() < deadline_us;) {
            struct operation fewer[OPERATIONS_MAX];
            size_t end = at + part < count ? at + part : count;
            memcpy(fewer, operations, at * sizeof *fewer);
            memcpy(fewer + at, operations + end, (count - end) * sizeof *fewer);
            if (try_operations(fewer, count - (end - at), false, nowhere, &sums)) {
                at = end;
            } else {
                memcpy(operations, fewer, sizeof fewer);
                count -= end - at;
            }
        }
    }
    fclose(nowhere);
    return count;
}

static void the_store_and_a_naive_model_agree_whatever_happens(void **state)
{
    (void)state;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const char *text = getenv("SLUICE_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)now.tv_sec * 1000003 % 1000000007;
    long episodes_max = setting("SLUICE_MODEL_EPISODES", LONG_MAX);
    int64_t deadline_us = real_us() + setting("SLUICE_MODEL_SECONDS", SECONDS_DEFAULT) * US_PER_SECOND;
    bool traces = setting("SLUICE_MODEL_TRACE", 0) != 0;
    struct episode_sums sums = {.compared = 0};
    long episodes = 0;
    print_message("SLUICE_TEST_SEED=%" PRIu64 "\n", seed);
    for (; episodes < episodes_max && (real_us() < deadline_us || episodes_max != LONG_MAX); episodes++) {
        struct operation operations[OPERATIONS_MAX];
        size_t count = make_operations(seed + (uint64_t)episodes, operations);
        if (try_operations(operations, count, traces, stderr, &sums))
            continue;
        fprintf(stderr,
                "SLUICE_TEST_SEED=%" PRIu64 " SLUICE_MODEL_EPISODES=1 shows it again; looking for less\n",
                seed + (uint64_t)episodes);
        count = shrink(operations, count);
        fprintf(stderr, "these %zu operations are left:\n", count);
        (void)!try_operations(operations, count, true, stderr, &sums);
        fail_msg("the store and the model differ");
    }
    print_message("%ld episodes, %" PRIu64 " exports compared; operations:", episodes, sums.compared);
    uint64_t total = 0;
    for (int i = 0; i < OPERATION_KIND_COUNT; i++) {
        print_message(" %s %" PRIu64, operation_names[i], sums.done[i]);
        total += sums.done[i];
    }
    print_message("; %" PRIu64 " in all\n", total);
    assert_true(sums.compared > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_store_and_a_naive_model_agree_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
