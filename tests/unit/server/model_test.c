/*
 * The whole store against a naive model (tests/support/model.h): random imports, rosters, kick-offs, exports
 * that go on slice by slice while other things happen, cancellations, restarts and kills at failpoints and at
 * any moment, under a clock that stands still and jumps. After each export it is compared with the model's
 * answer: which resources, in which content, under which stamp, in which set and order. Beside that runs a
 * client for each ACO that does what docs/decisions/time.md promises to serve: it must miss nothing and be
 * told nothing twice.
 *
 * A run is episodes, each a fresh store in a process of its own and a list of operations that its seed gives.
 * An operation draws from its own seed, so that the list stays meaningful when some are left out: a failure
 * is played again with fewer and fewer until all that are left are needed.
 *
 *   SLUICE_TEST_SEED=n        the first episode's seed; the next one's is n + 1, and so on
 *   SLUICE_MODEL_SECONDS=s    how long; an hour: SLUICE_MODEL_SECONDS=3600
 * build/release/tests/unit/server/model_test SLUICE_MODEL_EPISODES=n   n episodes instead
 *   SLUICE_MODEL_TRACE=1      tells every operation
 *   SLUICE_MODEL_SHRINK=s     how long a failure is made smaller
 */
#include "codec/base/clock.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "server/expiry.h"
#include "server/export_run.h"
#include "server/limiter.h"
#include "server/log.h"
#include "storage/import.h"
#include "storage/packer.h"
#include "storage/verify.h"
#include "tests/support/model.h"
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SECONDS_DEFAULT 10
#else
#define SECONDS_DEFAULT 30
#endif
#define SHRINK_SECONDS       40
#define OPERATIONS           220 /* of an episode */
#define LINES_MAX            10
#define CRASH_OPERATIONS_MAX 8
#define LINE_BYTES_MAX       (MODEL_CONTENT_MAX + 300)
#define MAP_BYTES            (UINT64_C(256) * 1024 * 1024)
#define KEEP_US              (INT64_C(100) * 365 * 86400 * 1000000) /* files stay */
#define FAR_FUTURE_US        INT64_C(7258118400000000)              /* 2200-01-01 */
#define LONG_AGO_US          INT64_C(1609459200000000)              /* 2021-01-01 */

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

static int64_t fake_now_us = INT64_C(1790000000000000);
static int64_t fake_tick_us; /* by which each look moves it */
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

/* ---- operations ---- */

enum operation_kind {
    OPERATION_IMPORT,
    OPERATION_PACK, /* packs and keeps the delta */
    OPERATION_SEND, /* brings it to the writer, who may find it stale */
    OPERATION_ROSTER,
    OPERATION_KICK_OFF,
    OPERATION_CLIENT, /* of the loop: kicks off, or lets its export finish */
    OPERATION_STEP,   /* a few slices of an active export */
    OPERATION_FINISH,
    OPERATION_CANCEL,
    OPERATION_COLLECT,
    OPERATION_CLOCK,
    OPERATION_REOPEN,
    OPERATION_CRASH, /* a few others in a process that is killed meanwhile */
    OPERATION_VERIFY,
    OPERATION_KIND_COUNT
};

static const struct {
    const char *name;
    unsigned weight;
    bool in_crash;
} kinds[OPERATION_KIND_COUNT] = {
    [OPERATION_IMPORT] = {"import", 30, true},    [OPERATION_PACK] = {"pack", 7, true},
    [OPERATION_SEND] = {"send", 9, true},         [OPERATION_ROSTER] = {"roster", 12, true},
    [OPERATION_KICK_OFF] = {"kick off", 9, true}, [OPERATION_CLIENT] = {"client", 14, true},
    [OPERATION_STEP] = {"step", 16, true},        [OPERATION_FINISH] = {"finish", 8, true},
    [OPERATION_CANCEL] = {"cancel", 2, true},     [OPERATION_COLLECT] = {"collect", 3, true},
    [OPERATION_CLOCK] = {"clock", 9, true},       [OPERATION_REOPEN] = {"reopen", 2, false},
    [OPERATION_CRASH] = {"crash", 4, false},      [OPERATION_VERIFY] = {"verify", 3, false},
};

struct operation {
    enum operation_kind kind;
    uint64_t seed;
};

static enum operation_kind choose_kind(uint64_t *random, bool in_crash)
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

static size_t make_operations(uint64_t seed, struct operation operations[OPERATIONS])
{
    uint64_t random = seed;
    for (size_t i = 0; i < OPERATIONS; i++)
        operations[i] = (struct operation){choose_kind(&random, false), store_fixture_random(&random)};
    return OPERATIONS;
}

/* ---- the world ---- */

#define ENDPOINTS 4
#define JOBS_MAX  (OPERATIONS * 2 * (CRASH_OPERATIONS_MAX + 1))
static const char *const endpoints[ENDPOINTS] = {"Group/all", "Patient", "a", "b"};
#define ENDPOINT_TWIN "twin"

struct tracked_job {
    uint64_t id;
    int endpoint; /* -1: the twin's */
    struct model_request request;
    int64_t transaction_time;
    struct model_answer answer, full; /* full: without _since */
    uint64_t twin_hash;               /* of the bytes of an export of the same view; 0: there is none */
    bool ended;
    struct export_run *run;
    uint64_t random;
};

/* A client that keeps the newest line of each resource that it was sent. */
struct client {
    int64_t since;
    char *lines[MODEL_TYPES][MODEL_NUMBERS];
};

struct load {
    struct model_line lines[LINES_MAX];
    int count;
    int aco;
    int64_t now;
};

struct pending { /* a delta on its way */
    bool exists;
    struct load load;
    int64_t after;
    struct buffer encoding;
};

#define ENDED_MAX (MODEL_ACOS * ENDPOINTS + 1)

/* What an operation did that cannot be worked out again. */
struct ack {
    int64_t instant, fake_now;
    struct {
        uint64_t id, hash;
        int64_t transaction_time, twin_time;
    } kicked;
    uint64_t ended[ENDED_MAX]; /* jobs; 0: no more */
};

struct world {
    const char *root;
    char dir[STORE_FIXTURE_PATH_MAX + 8];
    struct store *store;
    struct writer *writer;
    struct link *link;
    struct service service;
    struct exports_options options;
    struct packer *packer;
    struct model model;
    int64_t instant; /* of the newest write request, as far as we looked */
    uint32_t numbers[MODEL_ACOS];
    struct tracked_job *jobs[JOBS_MAX];
    size_t job_count;
    struct client clients[MODEL_ACOS];
    struct load last_load;
    struct pending pending;
    int next_roster, next_file;
    size_t step;
    const char *doing;
    bool traces;
    uint64_t done[OPERATION_KIND_COUNT], compared;

    /* Of an operation that is done again after a crash, or was done by a process that died. */
    bool repeats;
    const struct ack *acked;
    struct ack ack;
};

static const char *const aco_ids[MODEL_ACOS] = {"A9990", "A9991", "A9992"};
/* In the order of their bytes. */
static const char *const beneficiary_ids[MODEL_BENEFICIARIES] = {"-",  "A", "A-", "A-1", "A.",  "A0",
                                                                 "AA", "B", "a",  "a1",  "a10", "a2"};
static const char *const mbi_texts[MODEL_MBIS] = {"1", "1A", "1A0", "1B", "2", "20",          "200", "2A",
                                                  "3", "3Z", "4",   "4A", "5", "5AA5AA5AA55", "6",   "7"};

static void fail_now(const struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

static void fail_now(const struct world *world, const char *format, ...)
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

static void trace(const struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void trace(const struct world *world, const char *format, ...)
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

static void expect_ok(const struct world *world, enum status status, const struct error *error)
{
    if (status != STATUS_OK)
        fail_now(world, "%s: %s", status_name(status), error->text);
}

static unsigned below(uint64_t *random, unsigned bound)
{
    return (unsigned)(store_fixture_random(random) % bound);
}

static bool one_in(uint64_t *random, unsigned bound)
{
    return below(random, bound) == 0;
}

static void world_open(struct world *world)
{
    static const struct store_options options = {.map_bytes = MAP_BYTES};
    struct error error = {0};
    expect_ok(world, store_open(world->dir, STORE_ACCESS_WRITE, &options, &world->store, &error), &error);
    expect_ok(world, writer_start(world->store, &world->writer, &error), &error);
    world->link = link_new(world->store, world->writer);
    world->packer = packer_new(world->store);
    world->service = (struct service){.store = world->store, .writer = world->writer};
}

static void job_stop(struct tracked_job *job)
{
    struct export_run *run = job->run;
    for (size_t i = 0; run && run->files && i < run->job.file_count; i++)
        encoder_free(run->files[i].encoder);
    export_run_free(run);
    job->run = NULL;
}

static void world_close(struct world *world)
{
    for (size_t i = 0; i < world->job_count; i++)
        job_stop(world->jobs[i]);
    world->pending.exists = false;
    packer_free(world->packer);
    link_close(world->link);
    writer_stop(world->writer);
    store_close(world->store);
}

static struct engine_txn *world_read(struct world *world)
{
    struct error error = {0};
    struct engine_txn *txn = NULL;
    expect_ok(world, engine_begin_read(store_engine(world->store), &txn, &error), &error);
    return txn;
}

static void look_at_clock(struct world *world)
{
    struct error error = {0};
    struct store_clock clock;
    struct engine_txn *txn = world_read(world);
    expect_ok(world, store_clock_read(txn, &clock, &error), &error);
    engine_end(txn);
    if (clock.instant_us < world->instant)
        fail_now(world, "the store's instant went back from %" PRId64 " to %" PRId64, world->instant,
                 clock.instant_us);
    world->ack.instant = clock.instant_us;
}

/* The instants that the operation had, once it is done. */
static struct moment span_of(struct world *world, int64_t after)
{
    if (!world->acked)
        look_at_clock(world);
    return (struct moment){after, world->acked ? world->acked->instant : world->ack.instant};
}

/* What no write request's instant, nor a packer's clock, can be earlier than. */
static int64_t earliest_now(const struct world *world)
{
    int64_t now = __atomic_load_n(&fake_now_us, __ATOMIC_RELAXED);
    return now > world->instant ? now : world->instant;
}

/* ---- lines ---- */

static const char *const type_names[MODEL_TYPES] = {"ExplanationOfBenefit", "Coverage", "Patient"};

static const char *number_id(enum model_type type, int number)
{
    static char texts[4][16];
    static int next;
    if (type == MODEL_PATIENT)
        return beneficiary_ids[number];
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "%c%d", type == MODEL_EOB ? 'e' : 'c', number);
    return text;
}

static int number_of_id(enum model_type type, const char *id, size_t size)
{
    for (int i = 0; i < (type == MODEL_PATIENT ? MODEL_BENEFICIARIES : MODEL_NUMBERS); i++) {
        const char *text = number_id(type, i);
        if (strlen(text) == size && memcmp(text, id, size) == 0)
            return i;
    }
    return -1;
}

/* In one of the ways in which sources write it. */
static void write_time(int64_t us, unsigned way, char target[48])
{
    int64_t zone_minutes = way == 2 ? 330 : way == 3 ? -600 : 0;
    int64_t local = us + zone_minutes * 60 * US_PER_SECOND;
    time_t seconds = (time_t)(local / US_PER_SECOND);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t size = strftime(target, 48, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(target + size, 48 - size, ".%06d%s", (int)(local % US_PER_SECOND),
             way == 0   ? "+00:00"
             : way == 1 ? "Z"
             : way == 2 ? "+05:30"
                        : "-10:00");
}

static int64_t read_time(const struct world *world, const char *text)
{
    struct tm tm = {0};
    int used = 0;
    if (sscanf(text, "%d-%d-%dT%d:%d:%d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec, &used) != 6)
        fail_now(world, "no time: %.40s", text);
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int64_t us = (int64_t)timegm(&tm) * US_PER_SECOND;
    const char *at = text + used;
    if (*at == '.') {
        int64_t unit = US_PER_SECOND / 10;
        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
            us += (*at - '0') * unit;
    }
    if (*at == '+' || *at == '-') {
        int hours = 0, minutes = 0;
        sscanf(at + 1, "%d:%d", &hours, &minutes);
        us -= (*at == '+' ? 1 : -1) * (int64_t)(hours * 60 + minutes) * 60 * US_PER_SECOND;
    }
    return us;
}

static void write_line(const struct model_line *line, unsigned way, struct buffer *target)
{
    char time[48];
    buffer_appendf(target, "{\"resourceType\":\"%s\",\"id\":\"%s\",", type_names[line->type],
                   number_id(line->type, line->number));
    if (line->has_time) {
        write_time(line->time, way, time);
        buffer_appendf(target, "\"meta\":{\"lastUpdated\":\"%s\"},", time);
    }
    buffer_appendf(target, "%s}\n", line->content);
}

static void make_content(struct model_line *line, uint64_t *random, unsigned version)
{
    char *at = line->content, *end = at + sizeof line->content;
    static const char *const references[] = {"patient", "beneficiary"};
    memset(line->content, 0, sizeof line->content);
    if (line->type != MODEL_PATIENT)
        at += snprintf(at, (size_t)(end - at), "\"%s\":{\"reference\":\"Patient/%s\"},",
                       references[line->type], beneficiary_ids[line->beneficiary]);
    for (int i = 0; i < line->mbi_count; i++)
        at += snprintf(
            at, (size_t)(end - at), "%s{\"system\":\"http://hl7.org/fhir/sid/us-mbi\",\"value\":\"%s\"}%s",
            i ? "," : "\"identifier\":[", mbi_texts[line->mbis[i]], i + 1 < line->mbi_count ? "" : "],");
    at += snprintf(at, (size_t)(end - at), "\"version\":\"v%u\"", version);
    if (one_in(random, 6))
        snprintf(at, (size_t)(end - at), ",\"pad\":\"%0*d\"", 150, (int)version);
}

/* A time that a source may give; what the model could not judge is moved a little. */
static void choose_time(struct world *world, struct model_line *line, uint64_t *random)
{
    int64_t now = earliest_now(world);
    int newest = world->model.newest[line->type][line->number];
    const struct model_version *stored = newest >= 0 ? &world->model.versions[newest] : NULL;
    int64_t given = world->model.acos[below(random, MODEL_ACOS)].given;
    line->has_time = true;
    switch (below(random, 10)) {
    case 0:
        line->has_time = false;
        return;
    case 1:
        line->time = FAR_FUTURE_US + below(random, 3);
        return;
    case 2:
    case 3:
        line->time = LONG_AGO_US + below(random, 4) * US_PER_SECOND;
        break;
    case 4:
        line->time = now - (int64_t)below(random, 5);
        break;
    case 5:
        line->time = now - (int64_t)below(random, 5000) * US_PER_SECOND;
        break;
    case 6:
    case 7:
        line->time = stored ? stored->source.until - 1 + (int64_t)below(random, 4) : now;
        break;
    default:
        line->time = given != MODEL_NEVER ? given - 1 + (int64_t)below(random, 3) : now - 100;
        break;
    }
    if (line->time > now)
        line->time = now;
    if (stored && !moment_is_exact(&stored->source) && line->time > stored->source.after &&
        line->time <= stored->source.until)
        line->time = stored->source.until < now ? stored->source.until + 1 : stored->source.after;
}

static void choose_line(struct world *world, struct model_line *line, uint64_t *random, int beneficiary,
                        int type)
{
    static const enum model_type types[] = {MODEL_EOB,      MODEL_EOB,     MODEL_EOB,     MODEL_EOB,
                                            MODEL_EOB,      MODEL_PATIENT, MODEL_PATIENT, MODEL_PATIENT,
                                            MODEL_COVERAGE, MODEL_COVERAGE};
    memset(line, 0, sizeof *line);
    line->type = type >= 0 ? (enum model_type)type : types[below(random, sizeof types / sizeof *types)];
    line->beneficiary = beneficiary >= 0 ? beneficiary : (int)below(random, MODEL_BENEFICIARIES);
    if (line->type == MODEL_PATIENT) {
        line->number = line->beneficiary;
        for (int left = (int)below(random, 4); left > 0; left--) {
            int mbi = one_in(random, 3) ? (int)below(random, MODEL_MBIS) : line->beneficiary;
            bool is_there = false;
            for (int i = 0; i < line->mbi_count; i++)
                is_there |= line->mbis[i] == mbi;
            if (!is_there)
                line->mbis[line->mbi_count++] = mbi;
        }
    } else if (one_in(random, 20)) { /* perhaps somebody else's */
        line->number = (int)below(random, MODEL_NUMBERS);
    } else {
        line->number =
            line->beneficiary + MODEL_BENEFICIARIES * (int)below(random, MODEL_NUMBERS / MODEL_BENEFICIARIES);
    }
    make_content(line, random, below(random, 4));
    choose_time(world, line, random);
}

/* True if the model can tell what becomes of it now. */
static bool load_is_clear(const struct world *world, const struct load *load)
{
    for (int i = 0; i < load->count; i++) {
        const struct model_line *line = &load->lines[i];
        int newest = world->model.newest[line->type][line->number];
        if (!line->has_time || line->time >= FAR_FUTURE_US)
            continue;
        if (line->time > earliest_now(world))
            return false; /* it may lie in the future or not */
        if (newest >= 0 && (moment_hides(&world->model.versions[newest].source, line->time) ||
                            moment_hides(&world->model.versions[newest].source, line->time - 1)))
            return false;
    }
    return true;
}

static void choose_load(struct world *world, struct load *load, uint64_t *random, bool one_group)
{
    if (one_in(random, 8) && !one_group && world->last_load.count &&
        load_is_clear(world, &world->last_load)) {
        *load = world->last_load; /* the same again */
    } else {
        int beneficiary = one_group || one_in(random, 2) ? (int)below(random, MODEL_BENEFICIARIES) : -1;
        int type = one_group ? (int)below(random, MODEL_TYPES) : -1;
        load->count = 1 + (int)below(random, LINES_MAX);
        for (int i = 0; i < load->count; i++)
            choose_line(world, &load->lines[i], random, beneficiary, type);
    }
    load->aco = one_in(random, 4) ? (int)below(random, MODEL_ACOS) : -1;
    load->now = earliest_now(world);
    for (int i = 0; i < load->count; i++) {
        const struct model_line *line = &load->lines[i];
        char time[48] = "undated";
        if (line->has_time)
            write_time(line->time, 1, time);
        trace(world, "%s %s of %s, %s (%" PRId64 "): %s%s%s", type_names[line->type],
              number_id(line->type, line->number), beneficiary_ids[line->beneficiary], time, line->time,
              line->content, load->aco >= 0 ? " for " : "", load->aco >= 0 ? aco_ids[load->aco] : "");
    }
}

/* ---- imports ---- */

static void note_refusal(void *context, const char *file, uint64_t line, const char *reason)
{
    (void)file;
    if (!strstr(reason, "under another beneficiary"))
        fail_now(context, "line %" PRIu64 " was refused: %s", line, reason);
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
        {"future", got->future, want->future},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].got != rows[i].want)
            fail_now(world, "%s: %" PRIu64 " instead of %" PRIu64, rows[i].name, rows[i].got, rows[i].want);
    }
}

static void do_import(struct world *world, uint64_t random)
{
    struct load load;
    struct import_counts counts = {0};
    struct error error = {0};
    choose_load(world, &load, &random, false);
    unsigned way = below(&random, 4);
    bool has_patients = false;
    for (int i = 0; i < load.count; i++)
        has_patients |= load.lines[i].type == MODEL_PATIENT;
    if (!world->acked) {
        struct buffer text = BUFFER_INIT;
        char path[STORE_FIXTURE_PATH_MAX + 32];
        const char *paths[] = {path};
        snprintf(path, sizeof path, "%s/load.ndjson", world->root);
        for (int i = 0; i < load.count; i++)
            write_line(&load.lines[i], way, &text);
        FILE *file = fopen(path, "wb");
        if (!file || fwrite(text.data, 1, text.size, file) != text.size || fclose(file) != 0)
            fail_now(world, "%s: %s", path, strerror(errno));
        buffer_release(&text);
        struct import_options options = {.paths = paths,
                                         .path_count = 1,
                                         .aco_id = load.aco >= 0 ? aco_ids[load.aco] : NULL,
                                         /* Who takes an MBI from whom depends on the order of Patients. */
                                         .threads = has_patients ? 1 : 2,
                                         .context = world,
                                         .refuse = note_refusal};
        expect_ok(world, import_run(world->link, &options, &counts, &error), &error);
    }
    struct model_counts want;
    model_import(&world->model, load.aco, load.lines, load.count, load.now, span_of(world, world->instant),
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
static bool pack(struct world *world, const struct load *load, struct buffer *target)
{
    struct arena arena = ARENA_INIT;
    struct error error = {0};
    struct resource_parser *parser = resource_parser_new();
    struct import_item items[LINES_MAX], *sorted[LINES_MAX];
    struct buffer text = BUFFER_INIT;
    for (int i = 0; i < load->count; i++) {
        struct resource resource;
        buffer_reset(&text);
        write_line(&load->lines[i], (unsigned)i % 4, &text);
        expect_ok(world, resource_parse(parser, buffer_slice(&text), &resource, &error), &error);
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
        sorted[i] = &items[i];
    }
    qsort(sorted, (size_t)load->count, sizeof *sorted, import_item_compare);
    struct pack_result result;
    expect_ok(world,
              packer_pack(world->packer, sorted, (size_t)load->count,
                          load->aco >= 0 ? world->numbers[load->aco] : 0, refuse_foreign, world, &result,
                          &error),
              &error);
    buffer_reset(target);
    if (result.has_delta)
        delta_encode(&result.delta, target);
    buffer_release(&text);
    resource_parser_free(parser);
    arena_release(&arena);
    return result.has_delta;
}

static void do_pack(struct world *world, uint64_t random)
{
    struct pending *pending = &world->pending;
    choose_load(world, &pending->load, &random, true);
    pending->exists = true;
    pending->after = world->instant;
    buffer_reset(&pending->encoding);
    if (!world->acked)
        (void)!pack(world, &pending->load, &pending->encoding);
    (void)span_of(world, 0);
}

/* False if it was stale. */
static bool send(struct world *world, const struct buffer *encoding)
{
    struct error error = {0};
    struct arena arena = ARENA_INIT;
    struct delta delta;
    struct delta_batch batch;
    expect_ok(world, delta_decode(buffer_slice(encoding), &arena, &delta, &error), &error);
    delta_batch_init(&batch);
    delta_batch_add(&batch, &delta);
    expect_ok(world, writer_call(world->writer, &batch.request, &error), &error);
    bool is_stale = batch.ret_stale.size > 0;
    delta_batch_release(&batch);
    arena_release(&arena);
    return !is_stale;
}

static void do_send(struct world *world, uint64_t random)
{
    (void)random;
    struct pending *pending = &world->pending;
    if (!pending->exists || !load_is_clear(world, &pending->load)) {
        pending->exists = false;
        (void)span_of(world, 0);
        return;
    }
    pending->load.now = earliest_now(world);
    if (!world->acked) {
        /* After a crash, or where the packer saw nothing to do, it is packed now. */
        bool is_sent = pending->encoding.size && send(world, &pending->encoding);
        trace(world, "%s", is_sent ? "applied" : "packed again");
        for (int attempts = 0; !is_sent && pack(world, &pending->load, &pending->encoding); attempts++) {
            is_sent = send(world, &pending->encoding);
            if (attempts == 3)
                fail_now(world, "a delta stays stale, though nothing changes");
        }
    }
    struct model_counts counts;
    model_import(&world->model, pending->load.aco, pending->load.lines, pending->load.count,
                 pending->load.now, span_of(world, world->instant), pending->after, &counts);
    pending->exists = false;
}

/* ---- rosters ---- */

static int64_t choose_roster_time(struct world *world, int aco, uint64_t *random)
{
    int64_t now = earliest_now(world);
    const struct model_aco *a = &world->model.acos[aco];
    int64_t last = a->roster_count ? a->rosters[a->roster_count - 1].at : LONG_AGO_US;
    int64_t at;
    switch (below(random, 8)) {
    case 0:
        return now + (one_in(random, 4) ? 48 : 2) * 3600 * US_PER_SECOND;
    case 1:
        at = now - (int64_t)below(random, 4);
        break;
    case 2:
        at = a->given != MODEL_NEVER ? a->given - 1 + (int64_t)below(random, 3) : now;
        break;
    case 3:
        at = last - (int64_t)below(random, 2);
        break;
    case 4:
        at = now - (int64_t)below(random, 3000) * US_PER_SECOND;
        break;
    default:
        at = last + (int64_t)below(random, 3) * 1000;
        break;
    }
    bool is_near = at > now && at < now + US_PER_SECOND;
    bool is_near_a_day = at > now + 86399 * US_PER_SECOND && at < now + 86401 * US_PER_SECOND;
    return is_near || is_near_a_day ? now : at;
}

static void do_roster(struct world *world, uint64_t random)
{
    int aco = (int)below(&random, MODEL_ACOS);
    int64_t at = choose_roster_time(world, aco, &random), now = earliest_now(world);
    int name = one_in(&random, 10) && world->next_roster ? world->next_roster - 1 : world->next_roster++;
    bool listed[MODEL_MBIS];
    char text[32], named[MODEL_MBIS * 13 + 1] = "";
    for (int i = 0; i < MODEL_MBIS; i++) {
        /* Mostly as it was. */
        listed[i] = one_in(&random, 4) ? one_in(&random, 2) : world->model.acos[aco].listed[i];
        if (listed[i])
            strcat(strcat(named, " "), mbi_texts[i]);
    }
    trace(world, "%s r%d at %" PRId64 ":%s", aco_ids[aco], name, at, named);
    enum status status = STATUS_OK;
    struct error error = {0};
    if (!world->acked) {
        struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
        snprintf(text, sizeof text, "r%d", name);
        buffer_append_sized(&payload, slice_from_text(aco_ids[aco]));
        buffer_append_sized(&payload, slice_from_text(text));
        buffer_append_i64(&payload, at);
        for (int i = 0; i < MODEL_MBIS; i++) {
            if (listed[i])
                buffer_appendf(&payload, "%-11s", mbi_texts[i]);
        }
        status = link_call(world->link, CONTROL_COMMAND_ROSTER, buffer_slice(&payload), &reply, &error);
        buffer_release(&payload);
        buffer_release(&reply);
    }
    enum model_verdict verdict =
        model_roster(&world->model, aco, name, at, listed, now, span_of(world, world->instant));
    static const enum status expected[] = {[MODEL_ACCEPTED] = STATUS_OK,
                                           [MODEL_REPEATED] = STATUS_EXISTS,
                                           [MODEL_OUTDATED] = STATUS_CONFLICT,
                                           [MODEL_AHEAD] = STATUS_INVALID};
    bool was_done = world->repeats && verdict == MODEL_ACCEPTED && status == STATUS_EXISTS;
    if (!world->acked && !was_done && status != expected[verdict])
        fail_now(world, "roster r%d of %s at %" PRId64 ": %s instead of %s (%s)", name, aco_ids[aco], at,
                 status_name(status), status_name(expected[verdict]), error.text);
}

/* ---- what an export gave ---- */

struct got_line {
    enum model_type type;
    enum model_set set;
    int number;
    int64_t stamp;
    char *line; /* without its end */
    char *content;
};

struct got {
    struct got_line *lines;
    int count;
    uint64_t hash; /* of all files' bytes, as they are stored */
};

static void got_release(struct got *got)
{
    for (int i = 0; i < got->count; i++) {
        free(got->lines[i].line);
        free(got->lines[i].content);
    }
    free(got->lines);
}

static void hash_bytes(uint64_t *hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ at[i]) * UINT64_C(0x100000001b3);
}

/* A member's text inside a line that we made: "id":"…". */
static const char *member(const struct world *world, const char *line, const char *name, size_t *ret_size)
{
    char mark[40];
    snprintf(mark, sizeof mark, "\"%s\":\"", name);
    const char *at = strstr(line, mark);
    if (!at)
        fail_now(world, "no %s in %s", name, line);
    at += strlen(mark);
    *ret_size = strcspn(at, "\"");
    return at;
}

static void take_line(struct world *world, struct got *got, enum model_set set, enum model_type file_type,
                      const char *text, size_t size)
{
    got->lines = realloc(got->lines, (size_t)(got->count + 1) * sizeof *got->lines);
    struct got_line *line = &got->lines[got->count++];
    line->line = strndup(text, size);
    line->content = strndup(text, size);
    line->set = set;
    size_t found;
    const char *value = member(world, line->line, "resourceType", &found);
    if (strlen(type_names[file_type]) != found || memcmp(value, type_names[file_type], found) != 0)
        fail_now(world, "in a file of %s: %s", type_names[file_type], line->line);
    line->type = file_type;
    value = member(world, line->line, "id", &found);
    line->number = number_of_id(line->type, value, found);
    if (line->number < 0)
        fail_now(world, "nobody's: %s", line->line);
    line->stamp = read_time(world, member(world, line->line, "lastUpdated", &found));
    char *meta = strstr(line->content, "\"meta\":{"), *end = meta ? strstr(meta, "},") : NULL;
    if (!end)
        fail_now(world, "no meta: %s", line->line);
    memmove(meta, end + 2, strlen(end + 2) + 1);
}

static void take_file(struct world *world, struct got *got, const struct job *job,
                      const struct job_file *file)
{
    static const enum model_set sets[] = {
        [JOB_SET_ALL] = MODEL_ALL, [JOB_SET_EXISTING] = MODEL_EXISTING, [JOB_SET_NEW] = MODEL_NEW};
    char path[STORE_FIXTURE_PATH_MAX + 120];
    static char text[(MODEL_ITEMS_MAX + 1) * LINE_BYTES_MAX];
    if (file->set == JOB_SET_ERROR)
        fail_now(world, "job %" PRIu64 " has an error file", job->id);
    if (!file->count)
        return;
    snprintf(path, sizeof path, "%s/jobs/%" PRIu64 "/%s.ndjson.gz", world->dir, job->id, file->uuid);
    FILE *stored = fopen(path, "rb");
    if (!stored)
        fail_now(world, "%s: %s", path, strerror(errno));
    for (int byte; (byte = fgetc(stored)) != EOF;)
        hash_bytes(&got->hash, &(char){(char)byte}, 1);
    fclose(stored);
    gzFile gzip = gzopen(path, "rb");
    int size = gzread(gzip, text, sizeof text - 1);
    if (size < 0 || gzclose(gzip) != Z_OK || (uint64_t)size != file->raw_bytes)
        fail_now(world, "%s: %d bytes instead of %" PRIu64, path, size, file->raw_bytes);
    text[size] = '\0';
    uint64_t count = 0;
    for (char *at = text, *end; *at; at = end + 1, count++) {
        end = strchr(at, '\n');
        if (!end)
            fail_now(world, "a line without end: %s", at);
        take_line(world, got, sets[file->set], (enum model_type)file->type, at, (size_t)(end - at));
    }
    if (count != file->count)
        fail_now(world, "%s: %" PRIu64 " lines instead of %" PRIu64, path, count, file->count);
}

static struct got read_export(struct world *world, uint64_t id)
{
    struct error error = {0};
    struct arena arena = ARENA_INIT;
    struct job job;
    struct got got = {.hash = UINT64_C(0xcbf29ce484222325)};
    struct engine_txn *txn = world_read(world);
    expect_ok(world, job_get(txn, id, &arena, &job, &error), &error);
    engine_end(txn);
    for (size_t i = 0; i < job.file_count; i++)
        take_file(world, &got, &job, &job.files[i]);
    arena_release(&arena);
    return got;
}

static const char *const set_names[] = {"all", "existing", "new"};

static int beneficiary_of(const struct world *world, const struct got_line *line)
{
    return world->model.owner[line->type][line->number];
}

/* Types in the order of the request, existing before new, beneficiaries in order. */
static void compare_order(struct world *world, const struct tracked_job *job, const struct got *got)
{
    int before = -1;
    for (int i = 0; i < got->count; i++) {
        const struct got_line *line = &got->lines[i];
        int type = 0;
        while (type < job->request.type_count && job->request.types[type] != line->type)
            type++;
        if (type == job->request.type_count)
            fail_now(world, "job %" PRIu64 ": %s was not asked for", job->id, type_names[line->type]);
        int place = (type * 3 + (int)line->set) * MODEL_BENEFICIARIES + beneficiary_of(world, line);
        if (place < before)
            fail_now(world, "job %" PRIu64 ": out of order: %s", job->id, line->line);
        before = place;
    }
}

static void compare_with_model(struct world *world, const struct tracked_job *job, const struct got *got)
{
    bool matched[MODEL_ITEMS_MAX] = {false};
    for (int i = 0; i < got->count; i++) {
        const struct got_line *line = &got->lines[i];
        const struct model_answer *answer = &job->answer;
        int at = 0;
        while (at < answer->count &&
               (world->model.versions[answer->items[at].version].type != line->type ||
                world->model.versions[answer->items[at].version].number != line->number))
            at++;
        if (at == answer->count)
            fail_now(world, "job %" PRIu64 " of %s since %" PRId64 " has what it should not (%s): %s",
                     job->id, aco_ids[job->request.aco], job->request.since, set_names[line->set],
                     line->line);
        struct model_version *want = &world->model.versions[answer->items[at].version];
        char content[LINE_BYTES_MAX];
        snprintf(content, sizeof content, "{\"resourceType\":\"%s\",\"id\":\"%s\",%s}",
                 type_names[want->type], number_id(want->type, want->number), want->content);
        if (matched[at])
            fail_now(world, "job %" PRIu64 ": twice: %s", job->id, line->line);
        if (strcmp(content, line->content) != 0)
            fail_now(world, "job %" PRIu64 " has %s instead of %s", job->id, line->content, content);
        if (line->set != answer->items[at].set)
            fail_now(world, "job %" PRIu64 " since %" PRId64 " has it among the %s instead of the %s: %s",
                     job->id, job->request.since, set_names[line->set], set_names[answer->items[at].set],
                     line->line);
        if (line->stamp <= want->stamp.after || line->stamp > want->stamp.until)
            fail_now(world, "job %" PRIu64 ": stamp %" PRId64 " is not in (%" PRId64 ", %" PRId64 "]: %s",
                     job->id, line->stamp, want->stamp.after, want->stamp.until, line->line);
        want->stamp = moment_exactly(line->stamp); /* now and for ever */
        matched[at] = true;
    }
    for (int i = 0; i < job->answer.count; i++) {
        const struct model_version *want = &world->model.versions[job->answer.items[i].version];
        if (!matched[i])
            fail_now(world,
                     "job %" PRIu64 " of %s since %" PRId64
                     " misses %s/%s of %s (%s), %s, stamped in (%" PRId64 ", %" PRId64 "]",
                     job->id, aco_ids[job->request.aco], job->request.since, type_names[want->type],
                     number_id(want->type, want->number), beneficiary_ids[want->owner],
                     set_names[job->answer.items[i].set], want->content, want->stamp.after,
                     want->stamp.until);
    }
}

/* The promise of docs/decisions/time.md, whatever the model thinks of stamps. */
static void tell_client(struct world *world, const struct tracked_job *job, const struct got *got)
{
    struct client *client = &world->clients[job->request.aco];
    for (int i = 0; i < got->count; i++) {
        const struct got_line *line = &got->lines[i];
        char **held = &client->lines[line->type][line->number];
        if (line->set != MODEL_NEW && *held && strcmp(*held, line->line) == 0)
            fail_now(world, "the client of %s since %" PRId64 " is told again: %s", aco_ids[job->request.aco],
                     client->since, line->line);
        free(*held);
        *held = strdup(line->line);
    }
    for (int i = 0; i < job->full.count; i++) {
        const struct model_version *want = &world->model.versions[job->full.items[i].version];
        const char *held = client->lines[want->type][want->number];
        if (!held || !strstr(held, want->content))
            fail_now(world, "the client of %s since %" PRId64 " was not told of %s/%s %s; it has %s",
                     aco_ids[job->request.aco], client->since, type_names[want->type],
                     number_id(want->type, want->number), want->content, held ? held : "nothing");
    }
    client->since = job->transaction_time;
}

static void job_end(struct world *world, struct tracked_job *job)
{
    size_t at = 0;
    job_stop(job);
    job->ended = true;
    while (at < ENDED_MAX - 1 && world->ack.ended[at])
        at++;
    world->ack.ended[at] = job->id;
}

static void job_settle(struct world *world, struct tracked_job *job)
{
    struct got got = read_export(world, job->id);
    trace(world, "job %" PRIu64 " of %s is complete: %d resources", job->id, aco_ids[job->request.aco],
          got.count);
    job_end(world, job);
    compare_order(world, job, &got);
    compare_with_model(world, job, &got);
    if (job->twin_hash && job->twin_hash != got.hash)
        fail_now(world, "job %" PRIu64 " has other bytes than the export of the same view", job->id);
    if (job->endpoint == 0)
        tell_client(world, job, &got);
    if (job->endpoint < 0)
        job->twin_hash = got.hash; /* for whom it was made */
    world->compared++;
    got_release(&got);
}

/* ---- exports ---- */

/* One slice. */
static void job_step(struct world *world, struct tracked_job *job, uint64_t *random)
{
    struct run_context context = {&world->service, &world->options};
    struct run_times times = {0};
    struct error error = {0};
    bool done = false;
    if (!job->run)
        job->run = export_run_new(job->id, world->numbers[job->request.aco], "a");
    struct export_run *run = job->run;
    if (run->phase == RUN_PHASE_PLAN) {
        expect_ok(world, export_run_plan(run, &context, &done, &times, &error), &error);
        run->phase = done ? RUN_PHASE_FILES : RUN_PHASE_PLAN;
        return;
    }
    /* Any file that is not done: several of them may be under way. */
    size_t open = 0, at = 0;
    for (size_t i = 0; i < run->job.file_count; i++)
        open += !run->job.files[i].done;
    if (!open) {
        expect_ok(world, export_run_complete(run, &context, &times, &error), &error);
        job_settle(world, job);
        return;
    }
    for (size_t left = below(random, (unsigned)open) + 1; left; at++)
        left -= !run->job.files[at].done;
    struct run_file *file = &run->files[--at];
    if (!file->encoder)
        file->encoder = encoder_new();
    expect_ok(world, export_run_file(run, at, &context, &done, &times, &error), &error);
    if (done) {
        export_file_free(file->file);
        encoder_free(file->encoder);
        file->file = NULL;
        file->encoder = NULL;
    }
}

static void collect(struct world *world, size_t limit)
{
    struct resources_collect collect;
    struct error error = {0};
    do {
        resources_collect_init(&collect, limit);
        expect_ok(world, writer_call(world->writer, &collect.request, &error), &error);
    } while (collect.ret_more);
}

static enum status count_row(void *context, struct slice key, struct slice value, struct error *error)
{
    (void)key, (void)value, (void)error;
    ++*(size_t *)context;
    return STATUS_OK;
}

static void expect_nothing_superseded(struct world *world)
{
    size_t count = 0;
    struct error error = {0};
    for (size_t i = 0; i < world->job_count; i++) {
        if (!world->jobs[i]->ended)
            return;
    }
    struct engine_txn *txn = world_read(world);
    expect_ok(world, engine_each(txn, TABLE_DEAD, slice_make(NULL, 0), count_row, &count, &error), &error);
    engine_end(txn);
    if (count)
        fail_now(world, "no job is active, and %zu superseded segments stay", count);
}

static void job_finish(struct world *world, struct tracked_job *job)
{
    while (!job->ended)
        job_step(world, job, &job->random);
}

static struct tracked_job *active_job(struct world *world, int aco, int endpoint)
{
    for (size_t i = 0; i < world->job_count; i++) {
        struct tracked_job *job = world->jobs[i];
        if (!job->ended && job->request.aco == aco && job->endpoint == endpoint)
            return job;
    }
    return NULL;
}

static struct tracked_job *choose_active_job(struct world *world, uint64_t *random)
{
    size_t count = 0;
    for (size_t i = 0; i < world->job_count; i++)
        count += !world->jobs[i]->ended;
    if (!count)
        return NULL;
    size_t left = below(random, (unsigned)count);
    for (size_t i = 0;; i++) {
        if (!world->jobs[i]->ended && left-- == 0)
            return world->jobs[i];
    }
}

static enum status submit_kick_off(struct world *world, const struct model_request *request,
                                   const char *endpoint, uint64_t *ret_id, int64_t *ret_transaction_time,
                                   struct error *error)
{
    struct job_create create;
    job_create_init(&create);
    create.aco = world->numbers[request->aco];
    snprintf(create.endpoint, sizeof create.endpoint, "%s", endpoint);
    create.url = mem_strdup("http://localhost/export");
    create.since_us = request->since == MODEL_NEVER ? INSTANT_MIN_US : request->since;
    create.separates_new = request->separates;
    create.type_count = (size_t)request->type_count;
    for (int i = 0; i < request->type_count; i++)
        create.types[i] = (enum resource_type)request->types[i];
    enum status status = writer_call(world->writer, &create.request, error);
    *ret_id = create.ret_id;
    *ret_transaction_time = create.ret_transaction_time_us;
    job_create_release(&create);
    return status;
}

static int64_t job_transaction_time(struct world *world, uint64_t id)
{
    struct error error = {0};
    struct arena arena = ARENA_INIT;
    struct job job;
    struct engine_txn *txn = world_read(world);
    expect_ok(world, job_get(txn, id, &arena, &job, &error), &error);
    engine_end(txn);
    int64_t time = job.transaction_time_us;
    arena_release(&arena);
    return time;
}

/* The answer is written down before anything else can happen. */
static struct tracked_job *track_job(struct world *world, const struct model_request *request, int endpoint,
                                     uint64_t id, int64_t transaction_time)
{
    struct tracked_job *job = calloc(1, sizeof *job);
    struct model_request everything = *request;
    everything.since = MODEL_NEVER;
    everything.separates = false;
    *job = (struct tracked_job){.id = id,
                                .endpoint = endpoint,
                                .request = *request,
                                .transaction_time = transaction_time,
                                .random = id};
    model_kick_off(&world->model, request->aco, transaction_time);
    model_answer(&world->model, request, &job->answer);
    model_answer(&world->model, &everything, &job->full);
    world->jobs[world->job_count++] = job;
    return job;
}

/* An export of the same view, made at once: what the other one must still give after whatever comes. */
static uint64_t make_twin(struct world *world, const struct model_request *request)
{
    struct error error = {0};
    uint64_t id = 0;
    int64_t transaction_time = 0;
    if (!world->acked) {
        enum status status = submit_kick_off(world, request, ENDPOINT_TWIN, &id, &transaction_time, &error);
        if (world->repeats && status == STATUS_CONFLICT)
            transaction_time = job_transaction_time(world, id);
        else
            expect_ok(world, status, &error);
        world->ack.kicked.twin_time = transaction_time;
    } else {
        transaction_time = world->acked->kicked.twin_time;
    }
    struct tracked_job *twin = track_job(world, request, -1, id, transaction_time);
    if (world->acked) {
        twin->ended = true;
        return world->acked->kicked.hash;
    }
    job_finish(world, twin);
    return twin->twin_hash;
}

static void kick_off(struct world *world, int endpoint, const struct model_request *request, bool has_twin)
{
    struct error error = {0};
    uint64_t id = 0;
    int64_t transaction_time = 0;
    bool is_active = active_job(world, request->aco, endpoint) != NULL;
    trace(world, "%s %s since %" PRId64, aco_ids[request->aco], endpoints[endpoint], request->since);
    if (world->acked) {
        id = world->acked->kicked.id;
        transaction_time = world->acked->kicked.transaction_time;
        has_twin = has_twin && world->acked->kicked.hash;
    } else {
        enum status status =
            submit_kick_off(world, request, endpoints[endpoint], &id, &transaction_time, &error);
        if (world->repeats && !is_active && status == STATUS_CONFLICT) {
            transaction_time = job_transaction_time(world, id); /* it came through before the crash */
            status = STATUS_OK;
        }
        enum status expected = is_active ? STATUS_CONFLICT : STATUS_OK;
        if (status != expected)
            fail_now(world, "a kick-off gave %s instead of %s: %s", status_name(status),
                     status_name(expected), error.text);
    }
    if (!is_active) {
        struct tracked_job *job = track_job(world, request, endpoint, id, transaction_time);
        trace(world, "job %" PRIu64 " at %" PRId64, id, transaction_time);
        if (has_twin)
            job->twin_hash = make_twin(world, request);
        world->ack.kicked.id = id;
        world->ack.kicked.transaction_time = transaction_time;
        world->ack.kicked.hash = job->twin_hash;
    }
    (void)span_of(world, 0);
}

static void choose_types(struct model_request *request, uint64_t *random)
{
    bool taken[MODEL_TYPES] = {false};
    request->type_count = one_in(random, 3) ? 1 + (int)below(random, MODEL_TYPES) : MODEL_TYPES;
    for (int i = 0; i < request->type_count; i++) {
        int type = (int)below(random, MODEL_TYPES);
        while (taken[type])
            type = (type + 1) % MODEL_TYPES;
        taken[type] = true;
        request->types[i] = (enum model_type)type;
    }
}

static void choose_since(struct world *world, struct model_request *request, uint64_t *random)
{
    const struct model *model = &world->model;
    int64_t since = MODEL_NEVER, given = model->acos[request->aco].given;
    switch (below(random, 6)) {
    case 0:
        break;
    case 1:
        since = given == MODEL_NEVER ? given : given - 1 + (int64_t)below(random, 3);
        break;
    case 2:
    case 3:
        if (world->job_count)
            since = world->jobs[below(random, (unsigned)world->job_count)]->transaction_time - 1 +
                    (int64_t)below(random, 3);
        break;
    default:
        if (model->version_count)
            since = model->versions[below(random, (unsigned)model->version_count)].stamp.until - 1 +
                    (int64_t)below(random, 3);
        break;
    }
    if (since > world->instant)
        since = world->instant;
    for (int64_t better; since != MODEL_NEVER && model_hides(model, since, &better);)
        since = better;
    request->since = since;
    request->separates = since != MODEL_NEVER && one_in(random, 2);
}

static void do_kick_off(struct world *world, uint64_t random)
{
    struct model_request request = {.aco = (int)below(&random, MODEL_ACOS)};
    int endpoint = 1 + (int)below(&random, ENDPOINTS - 1);
    choose_types(&request, &random);
    choose_since(world, &request, &random);
    kick_off(world, endpoint, &request, one_in(&random, 3));
}

static void do_client(struct world *world, uint64_t random)
{
    struct model_request request = {.aco = (int)below(&random, MODEL_ACOS),
                                    .types = {MODEL_EOB, MODEL_COVERAGE, MODEL_PATIENT},
                                    .type_count = MODEL_TYPES};
    struct tracked_job *job = active_job(world, request.aco, 0);
    if (job) {
        if (!world->acked)
            job_finish(world, job);
        (void)span_of(world, 0);
        return;
    }
    request.since = world->clients[request.aco].since;
    request.separates = request.since != MODEL_NEVER;
    kick_off(world, 0, &request, one_in(&random, 8));
}

static void do_step(struct world *world, uint64_t random)
{
    struct tracked_job *job = choose_active_job(world, &random);
    for (unsigned left = 1 + below(&random, 6); !world->acked && job && !job->ended && left; left--)
        job_step(world, job, &random);
    (void)span_of(world, 0);
}

static void do_finish(struct world *world, uint64_t random)
{
    struct tracked_job *job = choose_active_job(world, &random);
    if (job && !world->acked) {
        job_finish(world, job);
        if (!one_in(&random, 3))
            collect(world, 100);
    }
    (void)span_of(world, 0);
}

static void do_cancel(struct world *world, uint64_t random)
{
    struct tracked_job *job = choose_active_job(world, &random);
    if (job && !world->acked) {
        struct error error = {0};
        struct job_change change;
        trace(world, "job %" PRIu64, job->id);
        job_change_init(&change, JOB_CHANGE_DELETE, job->id);
        expect_ok(world, writer_call(world->writer, &change.request, &error), &error);
        job_end(world, job);
        expect_ok(world, job_files_remove(world->dir, job->id, &error), &error);
    }
    (void)span_of(world, 0);
}

static void do_collect(struct world *world, uint64_t random)
{
    if (!world->acked) {
        collect(world, 1 + below(&random, 5));
        expect_nothing_superseded(world);
    }
    (void)span_of(world, 0);
}

static void do_clock(struct world *world, uint64_t random)
{
    static const int64_t seconds[] = {1, 1, 3600, -3600, 7200, -86400, 50000, 0};
    int64_t jump = seconds[below(&random, sizeof seconds / sizeof *seconds)] * US_PER_SECOND;
    if (jump == 0)
        jump = world->instant - fake_now_us; /* right to the store's */
    __atomic_fetch_add(&fake_now_us, jump, __ATOMIC_RELAXED);
    __atomic_store_n(&fake_tick_us, (int64_t)below(&random, 3), __ATOMIC_RELAXED);
    trace(world, "%+" PRId64 " s, %" PRId64 " us a look", jump / US_PER_SECOND, fake_tick_us);
    (void)span_of(world, 0);
}

/* ---- restarts ---- */

static enum job_state job_state_of(struct world *world, uint64_t id)
{
    struct error error = {0};
    struct arena arena = ARENA_INIT;
    struct job job;
    struct engine_txn *txn = world_read(world);
    expect_ok(world, job_get(txn, id, &arena, &job, &error), &error);
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
static void look_at_jobs(struct world *world)
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
            fail_now(world, "job %" PRIu64 " is %s", job->id, job_state_name(state));
    }
}

/* As sluiced starts: what no record names is swept. With `runs` it also runs what is active. */
static void start_server(struct world *world, bool runs)
{
    struct error error = {0};
    if (!runs) {
        struct expiry *expiry;
        expect_ok(world, expiry_open(&world->service, KEEP_US, &expiry, &error), &error);
        expiry_close(expiry);
        return;
    }
    static const struct limiter_rule rules[LIMITER_KIND_COUNT] = {[LIMITER_JOB] = {.capacity = 1}};
    world->service.limiter = limiter_new(rules);
    expect_ok(world, exports_open(&world->service, &world->options, &world->service.exports, &error), &error);
    for (size_t i = 0; i < world->job_count; i++) {
        while (!world->jobs[i]->ended && job_state_is_active(job_state_of(world, world->jobs[i]->id)))
            nanosleep(&(struct timespec){.tv_nsec = 100 * 1000}, NULL);
    }
    exports_close(world->service.exports);
    limiter_free(world->service.limiter);
    world->service.exports = NULL;
    world->service.limiter = NULL;
}

static void do_reopen(struct world *world, uint64_t random)
{
    world_close(world);
    world_open(world);
    start_server(world, one_in(&random, 2));
    look_at_jobs(world);
    (void)span_of(world, 0);
}

static void run_operation(struct world *world, const struct operation *operation);

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
    start_server(world, false);
    write_ack(world, fd); /* of nothing yet: what its clock says */
    for (size_t i = 0; i < count; i++) {
        run_operation(world, &operations[i]);
        write_ack(world, fd);
    }
    kill(getpid(), SIGKILL);
}

static void do_crash(struct world *world, uint64_t random)
{
    static const char *const places[] = {"engine.put",
                                         "engine.put",
                                         "engine.put",
                                         "engine.commit.before",
                                         "engine.commit.after",
                                         "engine.commit.after",
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
    size_t count = 1 + below(&random, CRASH_OPERATIONS_MAX), acked = 0;
    int64_t kill_after_us = one_in(&random, 4) ? (int64_t)below(&random, 20000) : -1;
    const char *place = places[below(&random, sizeof places / sizeof *places)];
    snprintf(failpoint, sizeof failpoint, "%s=kill@%u", place,
             1 + below(&random, strcmp(place, "engine.put") == 0 ? 60 : 6));
    for (size_t i = 0; i < count; i++)
        operations[i] = (struct operation){choose_kind(&random, true), store_fixture_random(&random)};
    trace(world, "%zu operations, %s", count, kill_after_us < 0 ? failpoint : "at any moment");
    world_close(world);
    int fds[2];
    if (pipe(fds) != 0)
        fail_now(world, "no pipe");
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
        fail_now(world, "in the process that was to be killed (status %d)", status);
    world_open(world);
    struct ack ack;
    bool has_begun = read(fds[0], &ack, sizeof ack) == sizeof ack;
    int64_t its_now = ack.fake_now;
    for (; has_begun && acked < count && read(fds[0], &ack, sizeof ack) == sizeof ack; acked++) {
        /* It drew what it drew by its clock. */
        __atomic_store_n(&fake_now_us, its_now, __ATOMIC_RELAXED);
        its_now = ack.fake_now;
        world->acked = &ack;
        run_operation(world, &operations[acked]);
        world->acked = NULL;
    }
    close(fds[0]);
    world->doing = "crash";
    memset(&world->ack, 0, sizeof world->ack);
    start_server(world, false);
    look_at_jobs(world);
    /* What was under way is done again: whoever got no answer does that. */
    if (has_begun && acked < count) {
        __atomic_store_n(&fake_now_us, its_now, __ATOMIC_RELAXED);
        world->repeats = true;
        run_operation(world, &operations[acked]);
        world->repeats = false;
        world->doing = "crash";
    }
    if (one_in(&random, 2)) {
        for (size_t i = 0; i < world->job_count; i++)
            job_stop(world->jobs[i]);
        start_server(world, true);
    }
    look_at_jobs(world);
    (void)span_of(world, 0);
}

static void note_fault(void *context, const char *where, const char *what)
{
    struct world *world = context;
    fail_now(world, "verify: %s: %s", where, what);
}

static void do_verify(struct world *world, uint64_t random)
{
    (void)random;
    struct error error = {0};
    struct verify_counts counts;
    struct verify_options options = {.context = world, .fault = note_fault};
    expect_ok(world, verify_run(world->store, &options, &counts, &error), &error);
    (void)span_of(world, 0);
}

static void run_operation(struct world *world, const struct operation *operation)
{
    static void (*const bodies[OPERATION_KIND_COUNT])(struct world *, uint64_t) = {
        [OPERATION_IMPORT] = do_import,   [OPERATION_PACK] = do_pack,         [OPERATION_SEND] = do_send,
        [OPERATION_ROSTER] = do_roster,   [OPERATION_KICK_OFF] = do_kick_off, [OPERATION_CLIENT] = do_client,
        [OPERATION_STEP] = do_step,       [OPERATION_FINISH] = do_finish,     [OPERATION_CANCEL] = do_cancel,
        [OPERATION_COLLECT] = do_collect, [OPERATION_CLOCK] = do_clock,       [OPERATION_REOPEN] = do_reopen,
        [OPERATION_CRASH] = do_crash,     [OPERATION_VERIFY] = do_verify};
    memset(&world->ack, 0, sizeof world->ack);
    world->doing = kinds[operation->kind].name;
    world->done[operation->kind]++;
    bodies[operation->kind](world, operation->seed);
    if (world->acked)
        look_at_jobs(world);
    world->instant = world->acked ? world->acked->instant : world->ack.instant;
}

/* ---- an episode ---- */

struct episode_sums {
    uint64_t done[OPERATION_KIND_COUNT], compared;
};

static void finish_episode(struct world *world)
{
    world->doing = "the end";
    for (size_t i = 0; i < world->job_count; i++)
        job_finish(world, world->jobs[i]);
    world->done[OPERATION_COLLECT]++;
    collect(world, 100);
    expect_nothing_superseded(world);
    (void)span_of(world, 0);
    world->instant = world->ack.instant;
    for (int round = 0; round < 2; round++) {
        for (int aco = 0; aco < MODEL_ACOS; aco++) {
            struct model_request request = {.aco = aco,
                                            .since = world->clients[aco].since,
                                            .separates = world->clients[aco].since != MODEL_NEVER,
                                            .types = {MODEL_EOB, MODEL_COVERAGE, MODEL_PATIENT},
                                            .type_count = MODEL_TYPES};
            kick_off(world, 0, &request, false);
            struct tracked_job *job = world->jobs[world->job_count - 1];
            if (round == 1 && job->answer.count)
                fail_now(world, "nothing changed, and a client is to be told something");
            job_finish(world, job);
        }
    }
    do_verify(world, 0);
}

/* In a process of its own. */
static void run_episode(const char *root, const struct operation *operations, size_t count, bool traces,
                        int fd)
{
    struct world *world = mem_new(struct world);
    static const struct store_options options = {.map_bytes = MAP_BYTES};
    struct error error = {0};
    log_set_level(LOG_LEVEL_ERROR);
    world->root = root;
    world->traces = traces;
    world->doing = "the begin";
    world->options =
        (struct exports_options){.workers = 2,
                                 .file_bytes_max = operations[0].seed % 2 ? 1500 : UINT64_C(1) << 30,
                                 .keep_us = KEEP_US,
                                 .slice_us = 1};
    snprintf(world->dir, sizeof world->dir, "%s/data", root);
    expect_ok(world, store_create(world->dir, &options, &error), &error);
    model_init(&world->model);
    world_open(world);
    expect_ok(world, job_files_prepare(world->dir, &error), &error);
    for (int i = 0; i < MODEL_ACOS; i++) {
        struct aco_add add;
        expect_ok(world, aco_add_init(&add, slice_from_text(aco_ids[i]), SLICE_LITERAL("an ACO"), &error),
                  &error);
        expect_ok(world, writer_call(world->writer, &add.request, &error), &error);
        world->numbers[i] = add.ret_number;
        world->clients[i].since = MODEL_NEVER;
    }
    look_at_clock(world);
    world->instant = world->ack.instant;
    for (world->step = 0; world->step < count; world->step++)
        run_operation(world, &operations[world->step]);
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
            struct operation fewer[OPERATIONS];
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
        struct operation operations[OPERATIONS];
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
        print_message(" %s %" PRIu64, kinds[i].name, sums.done[i]);
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
