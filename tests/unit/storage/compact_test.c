#include "storage/compact.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/compactor.h"
#include "storage/statistics.h"
#include "tests/support/load_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#define EOB        RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define PATIENT    RESOURCE_TYPE_PATIENT
#define ACO        "A0001"
#define US_PER_DAY (86400 * US_PER_SECOND)

struct fixture {
    struct load_fixture load;
    uint32_t aco;
    uint64_t random;
    struct compact_options options;
    struct compact_counts counts;
    struct error error;
    char damage[256];
    unsigned looks, looks_max; /* is_stopped answers yes after so many */
};

static void note_damaged(void *context, const char *reason)
{
    struct fixture *f = context;
    snprintf(f->damage, sizeof f->damage, "%s", reason);
}

static bool is_stopped(void *context)
{
    struct fixture *f = context;
    return __atomic_fetch_add(&f->looks, 1, __ATOMIC_RELAXED) >= f->looks_max;
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    f->random = store_fixture_seed();
    f->looks_max = UINT32_MAX;
    f->options = (struct compact_options){
        .rules = {.merge_before_us = INT64_MAX, .gather_before_us = INT64_MIN, .keep_from_day = DAY_NONE},
        .threads = 2,
        .context = f,
        .damaged = note_damaged,
        .is_stopped = is_stopped};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_fixture_close(&f->load);
    mem_free(f);
    return 0;
}

static enum status try_compact(struct fixture *f)
{
    f->looks = 0;
    return compact_run(f->load.link, &f->options, &f->counts, &f->error);
}

static void compact(struct fixture *f)
{
    if (try_compact(f) != STATUS_OK)
        fail_msg("%s", f->error.text);
    load_verify(&f->load);
}

/* Days after 2020-01-01, as text in one of a few buffers. */
static const char *day_text(int day)
{
    static char texts[4][INSTANT_TEXT_SIZE];
    static unsigned next;
    char *text = texts[next++ % 4];
    text[instant_format(LAST_UPDATED_DEFAULT_US + day * US_PER_DAY, text)] = '\0';
    return text;
}

static void load_one(struct fixture *f, enum resource_type type, const char *id, const char *beneficiary,
                     unsigned version, int day)
{
    struct buffer text = BUFFER_INIT;
    load_line(&text, type, id, beneficiary, type == PATIENT ? "1S00E00AA11" : NULL, version, day_text(day));
    load_text(&f->load, buffer_slice(&text), ACO);
    buffer_release(&text);
}

/* One load with claims first..end-1 of b, each about `bytes` large. */
static void load_claims(struct fixture *f, int first, int end, size_t bytes, int day)
{
    struct buffer text = BUFFER_INIT;
    for (int i = first; i < end; i++) {
        buffer_appendf(
            &text,
            "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"c%05d\",\"meta\":{\"lastUpdated\":"
            "\"%s\"},\"patient\":{\"reference\":\"Patient/b\"},\"version\":\"v1\",\"note\":\"",
            i, day_text(day));
        for (size_t end_size = text.size + bytes; text.size < end_size;)
            buffer_append_u64(&text, (store_fixture_random(&f->random) & UINT64_C(0x0f0f0f0f0f0f0f0f)) |
                                         UINT64_C(0x4040404040404040));
        buffer_append_text(&text, "\"}\n");
    }
    load_text(&f->load, buffer_slice(&text), ACO);
    buffer_release(&text);
}

/* Fragments: a claim a load, of two beneficiaries, some replaced, and Patients. */
static void load_fragments(struct fixture *f)
{
    load_one(f, PATIENT, "b", "b", 1, 0);
    load_one(f, PATIENT, "d", "d", 1, 0);
    for (int i = 0; i < 12; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i * 7 % 12);
        load_one(f, EOB, id, i % 3 ? "b" : "d", 1, 10 + i);
    }
    load_one(f, EOB, "e4", "b", 2, 40);
    load_one(f, PATIENT, "b", "b", 2, 41);
}

static uint64_t segments_of(struct fixture *f, enum resource_type type)
{
    struct statistics statistics;
    struct read_steps steps;
    read_steps_init(&steps, store_engine(f->load.store.store));
    assert_int_equal(statistics_read(&steps, 0, &statistics, NULL), STATUS_OK);
    return statistics.of[type].segments;
}

/* Everything that exports of a view can give: all lines, for any bound. */
static void append_exports(struct fixture *f, const struct load_view *view, struct buffer *target)
{
    static const int days[] = {-1, 0, 9, 10, 14, 15, 21, 39, 40, 41, 100};
    for (size_t i = 0; i <= sizeof days / sizeof *days; i++) {
        int64_t since_us = i ? LAST_UPDATED_DEFAULT_US + days[i - 1] * US_PER_DAY : INSTANT_MIN_US;
        for (int bound = LOAD_BOUND_PATIENT; bound <= LOAD_BOUND_GROUP; bound++) {
            struct load_export export;
            load_export_read(&f->load, view, since_us, (enum load_bound)bound, &export);
            buffer_appendf(target, "since %lld\n", (long long)since_us);
            for (size_t k = 0; k < export.count; k++)
                buffer_appendf(target, "%.*s %lld %.*s\n", SLICE_PRINT(export.items[k].beneficiary),
                               (long long)export.items[k].source_us, SLICE_PRINT(export.items[k].json));
            load_export_release(&export);
        }
    }
}

static void assert_same(struct buffer *before, struct buffer *after)
{
    assert_true(before->size > 0);
    assert_string_equal(buffer_text(after), buffer_text(before));
    buffer_release(before);
    buffer_release(after);
}

static void fragments_become_one_segment_and_exports_stay_the_same(void **state)
{
    struct fixture *f = *state;
    struct buffer before = BUFFER_INIT, after = BUFFER_INIT;
    load_fragments(f);
    assert_int_equal(segments_of(f, EOB), 12);
    struct load_view view = load_now(&f->load, f->aco);
    append_exports(f, &view, &before);
    compact(f);
    assert_int_equal(segments_of(f, EOB), 2);
    assert_int_equal(segments_of(f, PATIENT), 2);
    assert_int_equal(f->counts.beneficiaries, 2);
    assert_int_equal(f->counts.beneficiaries_total, 2);
    assert_int_equal(f->counts.changed, 4);
    assert_int_equal(f->counts.replaced, 14);
    assert_int_equal(f->counts.made, 4);
    view = load_now(&f->load, f->aco);
    append_exports(f, &view, &after);
    assert_same(&before, &after);
}

static void a_second_run_changes_nothing(void **state)
{
    struct fixture *f = *state;
    load_fragments(f);
    load_claims(f, 0, 300, 5000, 5);
    compact(f);
    assert_true(f->counts.replaced > 0);
    uint64_t contents = load_contents_hash(&f->load);
    compact(f);
    assert_int_equal(f->counts.replaced, 0);
    assert_int_equal(load_contents_hash(&f->load), contents);
}

static void young_segments_are_recompressed_and_stay_apart(void **state)
{
    struct fixture *f = *state;
    load_fragments(f);
    f->options.rules.merge_before_us =
        LAST_UPDATED_DEFAULT_US + 15 * US_PER_DAY; /* e of days 10 to 14 are old */
    compact(f);
    assert_int_equal(segments_of(f, EOB), 2 + 8);
    assert_int_equal(f->counts.replaced, 14);
    compact(f);
    assert_int_equal(f->counts.replaced, 0);
    f->options.rules.merge_before_us++; /* the bound is excluded */
    compact(f);
    assert_int_equal(segments_of(f, EOB), 2 + 7);
}

static void segments_in_between_are_merged_by_months(void **state)
{
    struct fixture *f = *state;
    int today = (int)(LAST_UPDATED_DEFAULT_US / US_PER_DAY);
    /* The first day of a month, counted from 2020-01-01. */
    int month = (today / COMPACT_MONTH_DAYS + 2) * COMPACT_MONTH_DAYS - today;
    for (int i = -10; i < 80; i += 4)
        load_claims(f, 100 + i, 101 + i, 500, month + i);
    assert_int_equal(segments_of(f, EOB), 23);
    f->options.rules.merge_before_us = INT64_MIN;
    f->options.rules.gather_before_us = LAST_UPDATED_DEFAULT_US + (month + 72) * US_PER_DAY;
    compact(f); /* -10 to -2, 2 to 26, 30 to 58, 62 to 70; 74 and 78 are young */
    assert_int_equal(segments_of(f, EOB), 4 + 2);
    compact(f);
    assert_int_equal(f->counts.replaced, 0);
    f->options.rules.merge_before_us = LAST_UPDATED_DEFAULT_US + (month + 40) * US_PER_DAY;
    compact(f); /* the first two are old */
    assert_int_equal(segments_of(f, EOB), 1 + 2 + 2);
}

static void an_active_job_reads_the_same_bytes_until_it_ends(void **state)
{
    struct fixture *f = *state;
    struct buffer before = BUFFER_INIT, during = BUFFER_INIT;
    load_fragments(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    append_exports(f, &view, &before);
    load_one(f, EOB, "e5", "b", 3, 60);
    compact(f);
    compact(f);
    append_exports(f, &view, &during);
    assert_same(&before, &during);
    assert_int_equal(load_collect(&f->load), 0);
    load_end_job(&f->load, &view);
    assert_int_equal(load_collect(&f->load), 15);
    load_verify(&f->load);
    assert_int_equal(segments_of(f, EOB), 2);
}

static void segments_are_filled_to_about_their_target_and_then_left_alone(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 30; i++)
        load_claims(f, i * 20, i * 20 + 20, 5000, i); /* 3 MB in 30 pieces */
    assert_int_equal(segments_of(f, EOB), 30);
    compact(f);
    assert_in_range(segments_of(f, EOB), 3, 4);
    uint64_t full = segments_of(f, EOB);
    for (int i = 0; i < 4; i++)
        load_claims(f, 1000 + i, 1001 + i, 5000, 50 + i);
    compact(f);
    assert_int_equal(f->counts.replaced, 4);
    assert_int_equal(f->counts.made, 1);
    load_claims(f, 2000, 2001, 5000, 60);
    compact(f);
    assert_int_equal(f->counts.replaced, 2);
    assert_int_equal(segments_of(f, EOB), full + 1);
}

static void more_than_one_delta_takes_is_done_in_several(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        load_claims(f, i, i + 1, 6 * 1024 * 1024, i);
    for (int i = 0; i < 3; i++)
        load_claims(f, 10 + i, 11 + i, 1000, 10 + i);
    compact(f);
    assert_int_equal(segments_of(f, EOB), 4); /* a large one each, and the small ones together */
    compact(f);
    assert_int_equal(f->counts.replaced, 0);
}

static void the_space_that_is_gained_is_given_back(void **state)
{
    struct fixture *f = *state;
    char path[STORE_FIXTURE_PATH_MAX + 32];
    struct stat before, after;
    snprintf(path, sizeof path, "%s/store.mdb", f->load.store.dir);
    for (int i = 0; i < 100; i++)
        load_claims(f, i, i + 1, 5000, i);
    assert_int_equal(stat(path, &before), 0);
    compact(f);
    assert_int_equal(stat(path, &after), 0);
    assert_true(f->counts.released_bytes > 0);
    assert_false(f->counts.no_holes);
    assert_true(after.st_blocks < before.st_blocks * 3 / 4);
}

/* A claim of b by its days of service, "" for none. */
static void append_served(struct buffer *text, const char *id, const char *first, const char *last)
{
    buffer_appendf(text,
                   "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"%s\",\"meta\":{\"lastUpdated\":"
                   "\"2020-05-01T00:00:00Z\"},\"patient\":{\"reference\":\"Patient/b\"},\"version\":\"v1\"",
                   id);
    if (*first)
        buffer_appendf(text, ",\"billablePeriod\":{\"start\":\"%s\"%s%s%s}", first,
                       *last ? ",\"end\":\"" : "", last, *last ? "\"" : "");
    buffer_append_text(text, "}\n");
}

static void load_served(struct fixture *f)
{
    struct buffer text = BUFFER_INIT;
    load_one(f, PATIENT, "b", "b", 1, 0);
    append_served(&text, "before", "2010-01-01", "2012-12-31");
    append_served(&text, "ends-on", "2010-01-01", "2013-01-01");
    append_served(&text, "no-days", "", "");
    append_served(&text, "only-start", "2012-12-31", "");
    load_text(&f->load, buffer_slice(&text), ACO);
    buffer_reset(&text);
    append_served(&text, "alone", "1999-01-01", "1999-01-02");
    load_text(&f->load, buffer_slice(&text), ACO);
    buffer_release(&text);
}

static void claims_older_than_is_kept_leave_and_nothing_else_does(void **state)
{
    struct fixture *f = *state;
    static const char kept[] =
        "ExplanationOfBenefit/ends-on v1\nExplanationOfBenefit/no-days v1\nPatient/b v1\n";
    struct buffer found = BUFFER_INIT, before = BUFFER_INIT, during = BUFFER_INIT;
    load_served(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    append_exports(f, &view, &before);
    f->options.rules.keep_from_day = day_from_civil(2013, 1, 1);
    f->options.rules.merge_before_us = INT64_MIN; /* of young ones, too */
    compact(f);
    assert_int_equal(f->counts.dropped, 3);
    assert_string_equal(load_exported_now(&f->load, f->aco), kept);
    append_exports(f, &view, &during); /* a job that began before still has them */
    assert_same(&before, &during);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(resource_find(txn, EOB, SLICE_LITERAL("before"), &found, NULL), STATUS_NOT_FOUND);
    assert_int_equal(resource_find(txn, EOB, SLICE_LITERAL("ends-on"), &found, NULL), STATUS_OK);
    engine_end(txn);
    buffer_release(&found);
    compact(f);
    assert_int_equal(f->counts.replaced, 0);
    load_end_job(&f->load, &view);
    load_collect(&f->load);
    load_verify(&f->load);
    /* They may come again, and go again. */
    load_served(f);
    f->options.rules.merge_before_us = INT64_MAX;
    compact(f);
    assert_int_equal(f->counts.dropped, 3);
    assert_string_equal(load_exported_now(&f->load, f->aco), kept);
    assert_int_equal(segments_of(f, EOB), 1);
}

static void without_retention_the_oldest_claims_stay(void **state)
{
    struct fixture *f = *state;
    load_served(f);
    compact(f);
    assert_int_equal(f->counts.dropped, 0);
    assert_int_equal(segments_of(f, EOB), 1);
}

static void years_are_counted_by_the_calendar(void **state)
{
    (void)state;
    static const struct {
        int32_t today;
        unsigned years;
        int32_t keep_from;
    } cases[] = {
        {0, 7, -2557},     /* 1970-01-01, 1963-01-01 */
        {20785, 7, 18228}, /* 2026-11-28, 2019-11-28 */
        {19782, 7, 17225}, /* 2024-02-29, 2017-02-28 */
        {19782, 8, 16859}, /* 2024-02-29, 2016-02-28: a day more than need be */
        {19783, 8, 16861}, /* 2024-03-01, 2016-03-01 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(compact_keep_from_day(cases[i].today * US_PER_DAY, cases[i].years),
                         cases[i].keep_from);
        assert_int_equal(compact_keep_from_day((cases[i].today + 1) * US_PER_DAY - 1, cases[i].years),
                         cases[i].keep_from);
    }
}

static void a_change_between_makes_a_delta_stale(void **state)
{
    struct fixture *f = *state;
    struct compact_result result;
    struct delta_batch batch;
    struct error error = {0};
    load_fragments(f);
    struct compactor *compactor = compactor_new(f->load.store.store, &f->options.rules);
    assert_int_equal(compactor_pack(compactor, EOB, SLICE_LITERAL("b"), &result, &error), STATUS_OK);
    assert_true(result.has_delta);
    load_one(f, EOB, "e4", "b", 3, 50);
    delta_batch_init(&batch);
    delta_batch_add(&batch, &result.delta);
    uint64_t contents = load_contents_hash(&f->load);
    assert_int_equal(writer_call(f->load.store.writer, &batch.request, &error), STATUS_OK);
    assert_int_equal(batch.ret_stale.size, sizeof(uint32_t));
    assert_int_equal(load_contents_hash(&f->load), contents);
    delta_batch_release(&batch);
    /* A kick-off between is none: nothing arrives that it could have missed. */
    assert_int_equal(compactor_pack(compactor, EOB, SLICE_LITERAL("b"), &result, &error), STATUS_OK);
    load_kick_off(&f->load, f->aco, "Patient");
    delta_batch_init(&batch);
    delta_batch_add(&batch, &result.delta);
    assert_int_equal(writer_call(f->load.store.writer, &batch.request, &error), STATUS_OK);
    assert_int_equal(batch.ret_stale.size, 0);
    delta_batch_release(&batch);
    compactor_free(compactor);
    load_verify(&f->load);
}

static void a_run_that_is_stopped_goes_on_where_it_was(void **state)
{
    struct fixture *f = *state;
    enum { BENEFICIARIES = 120 };
    struct buffer text = BUFFER_INIT;
    f->options.threads = 1;
    for (int load = 0; load < 2; load++) {
        buffer_reset(&text);
        for (int i = 0; i < BENEFICIARIES; i++) {
            char id[32], beneficiary[32];
            snprintf(id, sizeof id, "e%d-%d", load, i);
            snprintf(beneficiary, sizeof beneficiary, "b%d", i);
            load_line(&text, EOB, id, beneficiary, NULL, 1, day_text(load));
        }
        load_text(&f->load, buffer_slice(&text), ACO);
    }
    buffer_release(&text);
    f->looks_max = 150;
    uint64_t done = 0;
    unsigned runs = 1;
    while (try_compact(f) == STATUS_CANCELLED) {
        assert_int_equal(f->counts.beneficiaries_total, BENEFICIARIES);
        assert_true(f->counts.beneficiaries < BENEFICIARIES);
        assert_true(f->counts.changed > 0);
        done += f->counts.changed;
        assert_int_equal(segments_of(f, EOB), 2 * BENEFICIARIES - done);
        load_verify(&f->load);
        f->looks_max += 150; /* looking again at what is done costs looks, too */
        assert_in_range(++runs, 1, 10);
    }
    assert_true(runs > 1);
    assert_int_equal(done + f->counts.changed, BENEFICIARIES);
    assert_int_equal(segments_of(f, EOB), BENEFICIARIES);
    load_verify(&f->load);
}

static void it_stops_when_jobs_pin_more_than_they_may(void **state)
{
    struct fixture *f = *state;
    load_fragments(f);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    f->options.pinned_bytes_max = 1;
    f->options.threads = 1;
    assert_int_equal(try_compact(f), STATUS_BUSY); /* behind the first batch */
    assert_non_null(strstr(f->error.text, "active export jobs still need"));
    assert_int_equal(f->counts.replaced, 14);
    /* What was pinned before counts, too. */
    load_one(f, EOB, "e5", "b", 3, 60);
    assert_int_equal(try_compact(f), STATUS_BUSY);
    assert_int_equal(f->counts.replaced, 0);
    load_verify(&f->load);
    load_end_job(&f->load, &view);
    load_collect(&f->load);
    compact(f);
    assert_int_equal(f->counts.replaced, 2);
}

static void what_cannot_be_read_is_left_and_costs_only_itself(void **state)
{
    struct fixture *f = *state;
    load_fragments(f);
    struct key key;
    struct slice record;
    struct buffer damaged = BUFFER_INIT;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct segment_scan *scan;
    struct stored_segment stored;
    struct beneficiary beneficiary;
    assert_int_equal(beneficiary_get(txn, SLICE_LITERAL("b"), &beneficiary, NULL), STATUS_OK);
    assert_int_equal(segment_scan_open(txn, EOB, UINT64_MAX - 1, &scan, NULL), STATUS_OK);
    segment_scan_seek(scan, beneficiary.home, SLICE_LITERAL("b"), INT64_MIN);
    assert_int_equal(segment_scan_next(scan, &stored, NULL), STATUS_OK);
    key_segment(&key, beneficiary.home, SLICE_LITERAL("b"), &stored.name);
    assert_int_equal(engine_get(txn, TABLE_SEGMENT + EOB, key_slice(&key), &record, NULL), STATUS_OK);
    buffer_append_slice(&damaged, record);
    damaged.data[damaged.size - 9] ^= 0x10; /* in the piece */
    segment_scan_close(scan);
    engine_end(txn);
    store_fixture_put(&f->load.store, TABLE_SEGMENT + EOB, key_slice(&key), buffer_slice(&damaged));
    buffer_release(&damaged);
    assert_int_equal(try_compact(f), STATUS_OK);
    assert_int_equal(f->counts.damaged, 1);
    assert_non_null(strstr(f->damage, "segment"));
    assert_int_equal(f->counts.changed, 3);
    assert_int_equal(segments_of(f, EOB), 8 + 1); /* b's, and the one of d */
}

/* A value with another byte at its end, past all rules. */
static void damage(struct fixture *f, unsigned table, const struct key *key)
{
    struct slice found;
    struct buffer value = BUFFER_INIT;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_get(txn, table, key_slice(key), &found, NULL), STATUS_OK);
    buffer_append_slice(&value, found);
    engine_end(txn);
    buffer_append_char(&value, 'x');
    store_fixture_put(&f->load.store, table, key_slice(key), buffer_slice(&value));
    buffer_release(&value);
}

static void a_beneficiary_whose_records_are_damaged_is_named_and_the_others_are_compacted(void **state)
{
    struct fixture *f = *state;
    struct key beneficiary, summary;
    load_fragments(f);
    key_of_id(&beneficiary, SLICE_LITERAL("d"));
    key_of_u32(&summary, f->aco);
    key_id(&summary, SLICE_LITERAL("d"));
    const struct {
        unsigned table;
        const struct key *key;
    } records[] = {{TABLE_SUMMARY, &summary}, {TABLE_BENEFICIARY, &beneficiary}};
    for (size_t i = 0; i < 2; i++) {
        damage(f, records[i].table, records[i].key);
        load_one(f, EOB, "e5", "b", 10 + (unsigned)i, 60 + (int)i); /* something to do */
        f->damage[0] = '\0';
        if (try_compact(f) != STATUS_OK)
            fail_msg("%s is damaged: %s", table_names[records[i].table], f->error.text);
        assert_int_equal(f->counts.damaged, 1);
        assert_true(f->counts.changed >= 1);
        if (!strstr(f->damage, "beneficiary 6400: "))
            fail_msg("%s is damaged, told is: %s", table_names[records[i].table], f->damage);
    }
}

static void a_block_of_the_index_that_is_damaged_is_named_and_the_rest_is_done(void **state)
{
    struct fixture *f = *state;
    struct key first;
    struct slice key, value;
    struct engine_cursor *cursor;
    load_fragments(f);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_cursor_open(txn, TABLE_RESOURCE, &cursor, NULL), STATUS_OK);
    assert_int_equal(engine_next(cursor, &key, &value, NULL), STATUS_OK);
    memcpy(first.bytes, key.data, key.size);
    first.size = key.size;
    engine_end(txn);
    damage(f, TABLE_RESOURCE, &first);
    if (try_compact(f) != STATUS_OK)
        fail_msg("%s", f->error.text);
    assert_int_equal(f->counts.damaged, 1);
    assert_non_null(strstr(f->damage, "index"));
    assert_true(f->counts.released_bytes > 0);
}

int main(void)
{
    load_clock_shift(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fragments_become_one_segment_and_exports_stay_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_second_run_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(young_segments_are_recompressed_and_stay_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(segments_in_between_are_merged_by_months, setup, teardown),
        cmocka_unit_test_setup_teardown(an_active_job_reads_the_same_bytes_until_it_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(segments_are_filled_to_about_their_target_and_then_left_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(more_than_one_delta_takes_is_done_in_several, setup, teardown),
        cmocka_unit_test_setup_teardown(the_space_that_is_gained_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(claims_older_than_is_kept_leave_and_nothing_else_does, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_retention_the_oldest_claims_stay, setup, teardown),
        cmocka_unit_test(years_are_counted_by_the_calendar),
        cmocka_unit_test_setup_teardown(a_change_between_makes_a_delta_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_is_stopped_goes_on_where_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(it_stops_when_jobs_pin_more_than_they_may, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_left_and_costs_only_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_beneficiary_whose_records_are_damaged_is_named_and_the_others_are_compacted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_block_of_the_index_that_is_damaged_is_named_and_the_rest_is_done,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
