/*
 * The store's promise, held against a naive model: random loads, rosters, clock jumps, jobs and restarts;
 * what each export gives must be what the model says, and a client that applies each delta must hold what a
 * full export holds.
 */
#include "storage/store.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/attribution.h"
#include "storage/resources.h"
#include "tests/support/load_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ACOS          3
#define PEOPLE        6
#define CLAIMS        5 /* ids of a person and type */
#define RESOURCES     (1 + 2 * CLAIMS)
#define MBIS          8
#define VIEWS_MAX     8  /* past exports that are remembered */
#define JOBS_MAX      3  /* active at once */
#define LINES_MAX     12 /* of one load */
#define ROUNDS        10
#define STEPS         150
#define ROSTER_GRID_S 40

static const char *const aco_ids[ACOS] = {"A0001", "A0002", "A0003"};
/* In order, as the packer goes through them; some are prefixes of others. */
static const char *const people[PEOPLE] = {"-1000", "p", "p-2", "p1", "p10", "q.9"};
static const char *const mbis[MBIS] = {"1A", "1AB", "1S00E00AA00", "2S00E00AA00",
                                       "3S", "4S",  "5S00E00AA00", "9Z"};

/* What the model knows of one resource. */
struct item {
    bool present;
    unsigned version;
    int64_t source_us;
};

struct person {
    struct item items[RESOURCES];
    int mbis[MBIS]; /* in no order */
    int mbi_count;
};

struct model {
    struct person people[PEOPLE];
    int owner[MBIS]; /* of each MBI; -1: no Patient carried it */
    bool on_roster[ACOS][MBIS];
    bool direct[ACOS][PEOPLE];
};

/* What a client holds after an export. */
struct view {
    struct load_view load;
    bool in_set[PEOPLE];
    struct item items[PEOPLE][RESOURCES];
    int64_t stamps[PEOPLE][RESOURCES];
};

struct job {
    struct load_view load;
    struct model model;
};

struct world {
    struct load_fixture fixture;
    uint64_t random;
    uint32_t acos[ACOS];
    int64_t roster_us[ACOS];
    unsigned rosters, versions;
    struct model model;
    struct view views[ACOS][VIEWS_MAX];
    int view_count[ACOS];
    struct job jobs[JOBS_MAX];
    int job_count;
    bool job_of[ACOS];
};

static uint64_t below(struct world *w, uint64_t bound)
{
    return store_fixture_random(&w->random) % bound;
}

static enum resource_type type_of(int item)
{
    if (item == 0)
        return RESOURCE_TYPE_PATIENT;
    return item <= CLAIMS ? RESOURCE_TYPE_EXPLANATION_OF_BENEFIT : RESOURCE_TYPE_COVERAGE;
}

static void item_id(int person, int item, char id[64])
{
    if (item == 0)
        snprintf(id, 64, "%s", people[person]);
    else
        snprintf(id, 64, "%s-%d", people[person], (item - 1) % CLAIMS);
}

static bool has_mbi(const struct person *person, int mbi)
{
    for (int i = 0; i < person->mbi_count; i++) {
        if (person->mbis[i] == mbi)
            return true;
    }
    return false;
}

static bool is_exportable(const struct model *model, int aco, int person)
{
    if (model->direct[aco][person])
        return true;
    for (int i = 0; i < model->people[person].mbi_count; i++) {
        if (model->on_roster[aco][model->people[person].mbis[i]])
            return true;
    }
    return false;
}

static void learn_mbi(struct model *model, int person, int mbi)
{
    int loser = model->owner[mbi];
    if (loser == person)
        return;
    if (loser >= 0) {
        struct person *p = &model->people[loser];
        for (int i = 0; i < p->mbi_count; i++) {
            if (p->mbis[i] == mbi)
                p->mbis[i--] = p->mbis[--p->mbi_count];
        }
    }
    model->owner[mbi] = person;
    assert_false(has_mbi(&model->people[person], mbi));
    model->people[person].mbis[model->people[person].mbi_count++] = mbi;
}

/* ---- loads ---- */

struct line {
    int person, item, mbi; /* mbi -1: none */
    unsigned version;
    bool undated, future, foreign;
    int64_t source_us;
    int order;
};

static int64_t now_us(struct world *w)
{
    int64_t clock_us = clock_now_us(), store_us = load_now(&w->fixture, w->acos[0]).transaction_time_us;
    return clock_us > store_us ? clock_us : store_us + 1;
}

static struct line random_line(struct world *w, int64_t now, int order)
{
    struct line line = {.person = (int)below(w, PEOPLE), .order = order, .mbi = -1};
    line.item = below(w, 4) == 0 ? 0 : (int)below(w, RESOURCES);
    const struct item *item = &w->model.people[line.person].items[line.item];
    line.version = item->present && below(w, 4) == 0 ? item->version : ++w->versions;
    if (line.item == 0) /* the version stands for the whole content */
        line.mbi = (int)(line.version * 7 % (MBIS + 1)) - 1;
    switch (below(w, 8)) {
    case 0:
        line.undated = true;
        line.source_us = LAST_UPDATED_DEFAULT_US;
        break;
    case 1:
        line.future = true;
        line.source_us = now + (int64_t)(1 + below(w, 5)) * 100000 * US_PER_SECOND;
        break;
    case 2: /* the same time again */
        line.source_us = item->present && item->source_us < now ? item->source_us : now - 50 * US_PER_SECOND;
        break;
    default:
        line.source_us = now - (int64_t)(1 + below(w, 2000)) * US_PER_SECOND;
    }
    /* Somebody else's claim, known already. One a load: of two with one id the older is late, not refused. */
    line.foreign = order == 0 && line.item && item->present && below(w, 2) == 0;
    return line;
}

static void write_line(struct buffer *target, const struct line *line)
{
    char id[64], time[INSTANT_TEXT_SIZE];
    item_id(line->person, line->item, id);
    instant_format(line->source_us, time);
    int beneficiary = line->foreign ? (line->person + 1) % PEOPLE : line->person;
    load_line(target, type_of(line->item), id, people[beneficiary], line->mbi < 0 ? NULL : mbis[line->mbi],
              line->version, line->undated ? NULL : time);
}

/* As the packer orders them. */
static int compare_lines(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->person != y->person)
        return x->person - y->person;
    if (x->item != y->item)
        return x->item - y->item;
    if (x->source_us != y->source_us)
        return x->source_us < y->source_us ? -1 : 1;
    return x->order - y->order;
}

static bool is_same_content(const struct line *line, const struct item *item)
{
    return item->version == line->version;
}

static void apply_lines(struct world *w, struct line *lines, int count, int aco, struct import_counts *counts)
{
    struct model *model = &w->model;
    qsort(lines, (size_t)count, sizeof *lines, compare_lines);
    for (int i = 0; i < count; i++) {
        struct line *line = &lines[i];
        if (line->foreign) {
            counts->refused++;
            continue;
        }
        if (aco >= 0)
            model->direct[aco][line->person] = true;
    }
    for (int i = 0; i < count; i++) {
        struct line *line = &lines[i];
        struct item *item = &model->people[line->person].items[line->item];
        if (line->foreign)
            continue;
        int next = i + 1;
        while (next < count && lines[next].foreign)
            next++;
        if (next < count && lines[next].person == line->person && lines[next].item == line->item) {
            bool same = lines[next].source_us == line->source_us && lines[next].version == line->version;
            *(same ? &counts->identical : &counts->late) += 1;
            continue;
        }
        if (!item->present) {
            counts->added++;
        } else if (is_same_content(line, item) && (line->future || line->source_us <= item->source_us)) {
            counts->identical++;
            continue;
        } else if (!line->future && line->source_us < item->source_us) {
            counts->late++;
            continue;
        } else {
            counts->replaced++;
        }
        counts->future += line->future;
        counts->undated += line->undated;
        *item = (struct item){true, line->version, line->future ? INT64_MAX : line->source_us};
        if (line->item == 0 && line->mbi >= 0)
            learn_mbi(model, line->person, line->mbi);
    }
}

/* The source time under which the import's own instant was kept. */
static int64_t stored_source_us(struct world *w, int person, int item)
{
    struct engine_txn *txn = store_fixture_read(&w->fixture.store);
    struct error error = {0};
    struct beneficiary beneficiary;
    struct segment_scan *scan;
    struct segment_table table;
    struct stored_segment stored;
    char id[64];
    int64_t source_us = INT64_MIN;
    item_id(person, item, id);
    segment_table_init(&table);
    assert_int_equal(beneficiary_get(txn, slice_from_text(people[person]), &beneficiary, &error), STATUS_OK);
    assert_int_equal(segment_scan_open(txn, type_of(item), UINT64_MAX - 1, &scan, &error), STATUS_OK);
    segment_scan_seek(scan, beneficiary.home, slice_from_text(people[person]), INT64_MIN);
    while (segment_scan_next(scan, &stored, &error) == STATUS_OK) {
        assert_int_equal(segment_table_read(&table, &stored.segment, &error), STATUS_OK);
        const struct segment_entry *entry = segment_table_find(&table, slice_from_text(id));
        if (entry)
            source_us = entry->source_us;
    }
    segment_scan_close(scan);
    segment_table_release(&table);
    engine_end(txn);
    assert_true(source_us != INT64_MIN);
    return source_us;
}

static void check_counts(const struct import_counts *got, const struct import_counts *want)
{
    if (got->added != want->added || got->replaced != want->replaced || got->identical != want->identical ||
        got->late != want->late || got->refused != want->refused || got->future != want->future ||
        got->undated != want->undated)
        fail_msg("added %d/%d replaced %d/%d identical %d/%d late %d/%d refused %d/%d future %d/%d undated "
                 "%d/%d",
                 (int)got->added, (int)want->added, (int)got->replaced, (int)want->replaced,
                 (int)got->identical, (int)want->identical, (int)got->late, (int)want->late,
                 (int)got->refused, (int)want->refused, (int)got->future, (int)want->future,
                 (int)got->undated, (int)want->undated);
}

static void step_load(struct world *w)
{
    struct line lines[LINES_MAX];
    int count = 1 + (int)below(w, LINES_MAX);
    int aco = below(w, 3) == 0 ? (int)below(w, ACOS) : -1;
    int64_t now = now_us(w);
    struct buffer text = BUFFER_INIT;
    for (int i = 0; i < count; i++) {
        lines[i] = random_line(w, now, i);
        write_line(&text, &lines[i]);
    }
    /* Two MBIs that change hands in one load depend on the order of its threads. */
    const char *path = load_file(&w->fixture, ".ndjson", buffer_slice(&text));
    struct import_options options = {.paths = &path,
                                     .path_count = 1,
                                     .aco_id = aco < 0 ? NULL : aco_ids[aco],
                                     .threads = 1,
                                     .memory_bytes = 0};
    struct import_counts want = {0}, got = load_run(&w->fixture, &options);
    /* The packer goes by beneficiary id. */
    apply_lines(w, lines, count, aco, &want);
    check_counts(&got, &want);
    for (int person = 0; person < PEOPLE; person++) {
        for (int item = 0; item < RESOURCES; item++) {
            if (w->model.people[person].items[item].source_us == INT64_MAX)
                w->model.people[person].items[item].source_us = stored_source_us(w, person, item);
        }
    }
    /* The same again: nothing new. (With an ACO, one that has just lost an MBI's beneficiary gets it back.)
     */
    uint64_t before = aco < 0 && below(w, 4) == 0 ? load_contents_hash(&w->fixture) : 0;
    if (before) {
        got = load_run(&w->fixture, &options);
        if (got.added || got.replaced || got.beneficiaries)
            fail_msg("the same load again adds %d, replaces %d", (int)got.added, (int)got.replaced);
        if (before != load_contents_hash(&w->fixture))
            fail_msg("the same load again changes the store");
    }
    unlink(path);
    buffer_release(&text);
}

static void step_roster(struct world *w)
{
    int aco = (int)below(w, ACOS);
    struct buffer text = BUFFER_INIT;
    bool on[MBIS];
    for (int i = 0; i < MBIS; i++) {
        on[i] = below(w, 2);
        if (on[i])
            buffer_appendf(&text, "%s ", mbis[i]);
    }
    int64_t at_us = now_us(w) - (int64_t)below(w, ROSTER_GRID_S) * US_PER_SECOND;
    char name[64];
    snprintf(name, sizeof name, "roster%u", w->rosters++);
    struct error error = {0};
    enum status status = load_try_roster(&w->fixture, aco_ids[aco], name, at_us, buffer_text(&text), &error);
    if (at_us < w->roster_us[aco]) {
        assert_int_equal(status, STATUS_CONFLICT);
    } else {
        if (status != STATUS_OK)
            fail_msg("%s: %s", status_name(status), error.text);
        w->roster_us[aco] = at_us;
        memcpy(w->model.on_roster[aco], on, sizeof on);
        memset(w->model.direct[aco], 0, sizeof w->model.direct[aco]);
    }
    buffer_release(&text);
}

/* ---- exports ---- */

static void find_item(const struct load_resource *resource, int *ret_person, int *ret_item)
{
    for (int person = 0; person < PEOPLE; person++) {
        for (int item = 0; item < RESOURCES; item++) {
            char id[64];
            item_id(person, item, id);
            if (slice_equal_text(resource->id, id) && resource->type == type_of(item) &&
                slice_equal_text(resource->beneficiary, people[person])) {
                *ret_person = person;
                *ret_item = item;
                return;
            }
        }
    }
    fail_msg("%.*s of %.*s was never loaded", SLICE_PRINT(resource->id), SLICE_PRINT(resource->beneficiary));
}

static unsigned version_of(const struct load_resource *resource)
{
    static const char mark[] = "\"version\":\"v";
    const char *at = memmem(resource->json.data, resource->json.size, mark, sizeof mark - 1);
    assert_non_null(at);
    return (unsigned)strtoul(at + sizeof mark - 1, NULL, 10);
}

static void check_full(struct view *view, const struct model *model, int aco)
{
    for (int person = 0; person < PEOPLE; person++) {
        view->in_set[person] = is_exportable(model, aco, person);
        for (int item = 0; item < RESOURCES; item++) {
            const struct item *want = &model->people[person].items[item], *got = &view->items[person][item];
            char id[64];
            item_id(person, item, id);
            bool expected = want->present && view->in_set[person];
            if (got->present != expected)
                fail_msg("%s: %s %s is%s exported", aco_ids[aco], resource_type_name(type_of(item)), id,
                         expected ? " not" : "");
            if (expected && got->version != want->version)
                fail_msg("%s: %s has version %u instead of %u", aco_ids[aco], id, got->version,
                         want->version);
        }
    }
}

static void read_full(struct world *w, const struct load_view *load, struct view *view)
{
    struct load_export export;
    *view = (struct view){.load = *load};
    load_export_read(&w->fixture, load, INSTANT_MIN_US, LOAD_BOUND_GROUP, &export);
    for (size_t i = 0; i < export.count; i++) {
        int person = 0, item = 0;
        find_item(&export.items[i], &person, &item);
        view->items[person][item] =
            (struct item){true, version_of(&export.items[i]), export.items[i].source_us};
        view->stamps[person][item] = export.items[i].stamp_us;
    }
    load_export_release(&export);
}

/* A client that holds `old` applies what came since: it must hold `full`, and have got nothing twice. */
static void check_since(struct world *w, const struct view *old, const struct view *full,
                        enum load_bound bound)
{
    struct load_export export;
    struct view mine = *old;
    int64_t since_us = old->load.transaction_time_us;
    load_export_read(&w->fixture, &full->load, since_us, bound, &export);
    bool is_new[PEOPLE];
    for (int person = 0; person < PEOPLE; person++)
        is_new[person] = full->in_set[person] && !old->in_set[person];
    for (size_t i = 0; i < export.count; i++) {
        const struct load_resource *resource = &export.items[i];
        int person = 0, item = 0;
        find_item(resource, &person, &item);
        if (resource->at_since != old->in_set[person])
            fail_msg("%s was%s exportable at the time of _since", people[person],
                     old->in_set[person] ? "" : " not");
        if (!is_new[person] && mine.stamps[person][item] == resource->stamp_us)
            fail_msg("%.*s comes twice", SLICE_PRINT(resource->id));
        if (!is_new[person] && resource->stamp_us <= since_us)
            fail_msg("%.*s is not later than _since", SLICE_PRINT(resource->id));
        mine.items[person][item] = (struct item){true, version_of(resource), resource->source_us};
        mine.stamps[person][item] = resource->stamp_us;
    }
    load_export_release(&export);
    for (int person = 0; person < PEOPLE; person++) {
        bool is_promised = full->in_set[person] && (bound == LOAD_BOUND_GROUP || old->in_set[person]);
        for (int item = 0; is_promised && item < RESOURCES; item++) {
            if (mine.stamps[person][item] != full->stamps[person][item] ||
                mine.items[person][item].version != full->items[person][item].version)
                fail_msg("a client of %s missed %s item %d: has version %u, should have %u",
                         aco_ids[full->load.aco - w->acos[0]], people[person], item,
                         mine.items[person][item].version, full->items[person][item].version);
        }
    }
}

static void check_job(struct world *w, const struct job *job)
{
    int aco = 0;
    while (w->acos[aco] != job->load.aco)
        aco++;
    struct view full;
    read_full(w, &job->load, &full);
    check_full(&full, &job->model, aco);
    for (int i = 0; i < w->view_count[aco]; i++) {
        const struct view *old = &w->views[aco][i];
        if (old->load.transaction_time_us < job->load.transaction_time_us) {
            check_since(w, old, &full, LOAD_BOUND_GROUP);
            check_since(w, old, &full, LOAD_BOUND_PATIENT);
        }
    }
}

static void remember_view(struct world *w, int aco, const struct view *view)
{
    int at = w->view_count[aco] < VIEWS_MAX ? w->view_count[aco]++ : (int)below(w, VIEWS_MAX);
    w->views[aco][at] = *view;
}

static void step_kick_off(struct world *w)
{
    int aco = (int)below(w, ACOS);
    if (w->job_count == JOBS_MAX || w->job_of[aco])
        return;
    struct job *job = &w->jobs[w->job_count++];
    job->load = load_kick_off(&w->fixture, w->acos[aco], "Group/all");
    job->model = w->model;
    w->job_of[aco] = true;
}

static void step_end_job(struct world *w)
{
    if (!w->job_count)
        return;
    int at = (int)below(w, (uint64_t)w->job_count), aco = 0;
    struct job *job = &w->jobs[at];
    while (w->acos[aco] != job->load.aco)
        aco++;
    check_job(w, job);
    struct view full;
    read_full(w, &job->load, &full);
    check_full(&full, &job->model, aco);
    load_end_job(&w->fixture, &job->load);
    remember_view(w, aco, &full);
    w->job_of[aco] = false;
    *job = w->jobs[--w->job_count];
}

static void step(struct world *w)
{
    switch (below(w, 16)) {
    case 0:
    case 1:
        step_roster(w);
        break;
    case 2:
    case 3:
    case 4:
        step_kick_off(w);
        break;
    case 5:
    case 6:
    case 7:
        step_end_job(w);
        break;
    case 8:
        load_collect(&w->fixture);
        break;
    case 9:
        if (w->job_count)
            check_job(w, &w->jobs[below(w, (uint64_t)w->job_count)]);
        break;
    case 10:
        if (below(w, 3) == 0)
            load_clock_shift((long)below(w, 4000) - 2000);
        break;
    case 11:
        if (below(w, 4) == 0)
            load_fixture_reopen(&w->fixture);
        break;
    default:
        step_load(w);
    }
}

static void every_export_is_what_the_model_says(void **state)
{
    (void)state;
    uint64_t seed = store_fixture_seed();
    for (int round = 0; round < ROUNDS; round++) {
        struct world *w = mem_new(struct world);
        load_clock_shift(0);
        w->random = seed * 1000 + (uint64_t)round;
        load_fixture_open(&w->fixture);
        for (int i = 0; i < ACOS; i++) {
            w->acos[i] = store_fixture_add_aco(&w->fixture.store, aco_ids[i]);
            w->roster_us[i] = INT64_MIN;
        }
        for (int i = 0; i < MBIS; i++)
            w->model.owner[i] = -1;
        for (int i = 0; i < STEPS; i++)
            step(w);
        load_verify(&w->fixture);
        while (w->job_count)
            step_end_job(w);
        load_collect(&w->fixture);
        load_verify(&w->fixture);
        for (int aco = 0; aco < ACOS; aco++) {
            struct job now = {load_now(&w->fixture, w->acos[aco]), w->model};
            check_job(w, &now);
        }
        struct engine_txn *txn = store_fixture_read(&w->fixture.store);
        struct engine_table_stats stats;
        assert_int_equal(engine_table_stats(txn, TABLE_DEAD, &stats, NULL), STATUS_OK);
        assert_int_equal(stats.entries, 0);
        engine_end(txn);
        load_fixture_close(&w->fixture);
        mem_free(w);
    }
    load_clock_shift(0);
}

/* ---- opening ---- */

static void a_directory_that_is_not_empty_is_left_alone(void **state)
{
    (void)state;
    char root[STORE_FIXTURE_PATH_MAX], file[STORE_FIXTURE_PATH_MAX + 16];
    struct error error = {0};
    store_fixture_dir_make(root);
    snprintf(file, sizeof file, "%s/letter", root);
    fclose(fopen(file, "w"));
    assert_int_equal(store_create(root, NULL, &error), STATUS_EXISTS);
    snprintf(file, sizeof file, "%s/keys", root);
    assert_int_equal(access(file, F_OK), -1);
    store_fixture_dir_remove(root);
}

static void a_store_is_made_for_its_owner_alone(void **state)
{
    (void)state;
    struct store_fixture fixture;
    struct stat info;
    store_fixture_open(&fixture);
    assert_int_equal(stat(fixture.dir, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    store_fixture_close(&fixture);
}

static void a_second_writer_is_refused_while_the_first_is_open(void **state)
{
    (void)state;
    struct store_fixture fixture;
    struct store *second;
    struct error error = {0};
    struct store_options options = {.map_bytes = STORE_FIXTURE_MAP_BYTES};
    store_fixture_open(&fixture);
    assert_int_equal(store_open(fixture.dir, STORE_ACCESS_WRITE, &options, &second, &error), STATUS_BUSY);
    assert_non_null(strstr(error.text, "another process"));
    store_fixture_close(&fixture);
}

static void a_directory_without_a_store_says_how_to_make_one(void **state)
{
    (void)state;
    char root[STORE_FIXTURE_PATH_MAX];
    struct store *store;
    struct error error = {0};
    store_fixture_dir_make(root);
    assert_int_equal(store_open(root, STORE_ACCESS_READ, NULL, &store, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "sluicectl init"));
    store_fixture_dir_remove(root);
}

static void another_format_is_refused_with_both_numbers(void **state)
{
    (void)state;
    struct store_fixture fixture;
    struct store *store;
    struct error error = {0};
    struct store_options options = {.map_bytes = STORE_FIXTURE_MAP_BYTES};
    store_fixture_open(&fixture);
    store_fixture_put(&fixture, TABLE_META, SLICE_LITERAL("format"), SLICE_LITERAL("\x63\0\0\0"));
    writer_stop(fixture.writer);
    store_close(fixture.store);
    assert_int_equal(store_open(fixture.dir, STORE_ACCESS_WRITE, &options, &store, &error),
                     STATUS_UNSUPPORTED);
    assert_non_null(strstr(error.text, "format 99"));
    fixture.writer = NULL;
    fixture.store = NULL;
    store_fixture_close(&fixture);
}

int main(void)
{
    load_clock_shift(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_export_is_what_the_model_says),
        cmocka_unit_test(a_directory_that_is_not_empty_is_left_alone),
        cmocka_unit_test(a_store_is_made_for_its_owner_alone),
        cmocka_unit_test(a_second_writer_is_refused_while_the_first_is_open),
        cmocka_unit_test(a_directory_without_a_store_says_how_to_make_one),
        cmocka_unit_test(another_format_is_refused_with_both_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
