#include "storage/suppression.h"

#include "codec/base/bytes.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/attribution.h"
#include "storage/homes.h"
#include "storage/interval.h"
#include "storage/jobs.h"
#include "tests/support/load_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ACO     "A0001"
#define OTHER   "A0002"
#define PATIENT RESOURCE_TYPE_PATIENT
#define EOB     RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define DAY     (86400 * US_PER_SECOND)

struct fixture {
    struct load_fixture load;
    uint32_t aco, other;
    int64_t began_us;
    int32_t today; /* day number of began_us */
    long shift;    /* of the clock, seconds */
    unsigned versions, files;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    load_clock_shift(0);
    f->shift = 43200 - (long)(clock_now_us() / US_PER_SECOND % 86400); /* noon: no day ends on the way */
    load_clock_shift(f->shift);
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    f->other = store_fixture_add_aco(&f->load.store, OTHER);
    f->began_us = clock_now_us();
    f->today = (int32_t)(f->began_us / DAY);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_verify(&f->load);
    load_clock_shift(0);
    load_fixture_close(&f->load);
    mem_free(f);
    return 0;
}

static void days_pass(struct fixture *f, unsigned days)
{
    f->shift += (long)days * 86400;
    load_clock_shift(f->shift);
}

static void resource(struct fixture *f, enum resource_type type, const char *id, const char *beneficiary,
                     const char *mbi, int64_t time_us, const char *aco_id)
{
    struct buffer text = BUFFER_INIT;
    char time[INSTANT_TEXT_SIZE];
    instant_format(time_us, time);
    load_line(&text, type, id, beneficiary, mbi, ++f->versions, time);
    load_text(&f->load, buffer_slice(&text), aco_id);
    buffer_release(&text);
}

/* Newer than those before it, and older than the test. */
static void patient(struct fixture *f, const char *id, const char *mbi, const char *aco_id)
{
    resource(f, PATIENT, id, id, mbi, f->began_us - 100 * DAY + f->versions * US_PER_SECOND, aco_id);
}

/* "1A N -3; 2A Y 0": MBI, preference, day from today; sorted. */
static struct suppression_apply optout_parse(struct fixture *f, const char *rows, struct buffer *encoded)
{
    struct suppression_apply apply;
    suppression_apply_init(&apply);
    snprintf(apply.name, sizeof apply.name, "file%u", f->files++);
    apply.is_last = true;
    apply.day = f->today;
    buffer_reset(encoded);
    for (const char *at = rows; *at;) {
        char mbi[16], preference;
        int day, used = 0;
        if (sscanf(at, " %15s %c %d%n", mbi, &preference, &day, &used) != 3)
            fail_msg("no row: %s", at);
        char *place = buffer_extend(encoded, SUPPRESSION_ROW_BYTES);
        memset(place, ' ', MBI_SIZE_MAX);
        memcpy(place, mbi, strlen(mbi));
        store_u32_le(place + MBI_SIZE_MAX, (uint32_t)(f->today + day));
        place[MBI_SIZE_MAX + 4] = preference;
        apply.rows++;
        at += used;
        at += *at == ';';
    }
    apply.content_hash = apply.rows;
    apply.encoded = buffer_slice(encoded);
    return apply;
}

static struct suppression_apply optout(struct fixture *f, const char *rows)
{
    struct buffer encoded = BUFFER_INIT;
    struct error error = {0};
    struct suppression_apply apply = optout_parse(f, rows, &encoded);
    if (writer_call(f->load.store.writer, &apply.request, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    buffer_release(&encoded);
    return apply;
}

static void settle(struct fixture *f, size_t portion)
{
    struct suppression_settle settle;
    struct error error = {0};
    do {
        suppression_settle_init(&settle, portion);
        if (writer_call(f->load.store.writer, &settle.request, &error) != STATUS_OK)
            fail_msg("%s", error.text);
        assert_int_equal(settle.ret_damaged, 0);
    } while (settle.ret_more);
}

static void configure(struct fixture *f, uint32_t days, bool changes)
{
    struct suppression_configure configure;
    suppression_configure_init(&configure, days);
    assert_int_equal(writer_call(f->load.store.writer, &configure.request, NULL), STATUS_OK);
    assert_int_equal(configure.ret_changed, changes);
}

/* "b1 b2+ ": with a + for those that were exportable at since_us. */
static const char *exportable_at(struct fixture *f, uint32_t aco, uint64_t sequence, int64_t since_us)
{
    static struct buffer text;
    buffer_release(&text);
    struct exportable_scan *scan;
    struct exportable exportable;
    struct error error = {0};
    enum status status;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(exportable_scan_open(txn, aco, sequence, since_us, &scan, &error), STATUS_OK);
    while ((status = exportable_scan_next(scan, &exportable, &error)) == STATUS_OK)
        buffer_appendf(&text, "%.*s%s ", SLICE_PRINT(exportable.beneficiary), exportable.at_since ? "+" : "");
    assert_int_equal(status, STATUS_NOT_FOUND);
    exportable_scan_close(scan);
    engine_end(txn);
    return buffer_text(&text);
}

static const char *exportable_now(struct fixture *f, uint32_t aco)
{
    return exportable_at(f, aco, UINT64_MAX - 1, 0);
}

/* A job that begins and ends: its transactionTime was given. */
static struct load_view export(struct fixture *f, uint32_t aco)
{
    struct load_view view = load_kick_off(&f->load, aco, "Group/all");
    load_end_job(&f->load, &view);
    return view;
}

/* ---- which preference decides ---- */

static void the_latest_preference_within_the_look_back_decides(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *rows;
        int at;          /* days from today, at its begin */
        int look_back;   /* days */
        char preference; /* that decides */
        int due;         /* days from today; 9999: never */
    } cases[] = {
        {"1A N 0", 0, 60, 'N', 60},
        {"1A N 0", -1, 60, ' ', 0},
        {"1A N 0", 59, 60, 'N', 60},
        {"1A N 0", 60, 60, ' ', 9999}, /* the lower bound is not within */
        {"1A N 0", 60, 61, 'N', 61},
        {"1A N 0", 30000, 0, 'N', 9999}, /* 0: for ever */
        {"1A Y 0", 0, 60, 'Y', 9999},
        {"1A N -3; 1A Y 0", 0, 60, 'Y', 9999},
        {"1A N -3; 1A Y 0", -1, 60, 'N', 0},
        {"1A N -3; 1A Y 0", 60, 60, ' ', 9999},
        {"1A Y -3; 1A N 0", 0, 60, 'N', 60},
        {"1A Y -3; 1A N 0", -1, 60, 'Y', 0},
        {"1A N 0; 1A Y 0", 0, 60, 'N', 60}, /* at one date any N wins */
        {"1A Y -1; 1A N 0; 1A Y 0", 0, 60, 'N', 60},
        {"1A N 0; 1A N 70", 0, 60, 'N', 60},
        {"1A N 0; 1A N 50", 0, 60, 'N', 50},
        {"1A N 0; 1A N 50", 59, 60, 'N', 110},
        {"1A N 0; 1A Y 5; 1A N 9", 6, 60, 'Y', 9},
        {"1A N 0; 1A Y 5; 1A N 9", 6, 0, 'Y', 9},
        {"1AA N 0", 0, 60, ' ', 9999}, /* another MBI's */
        {"1 N 0; 2A N 0", 0, 60, ' ', 9999},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct suppression_state found;
        struct error error = {0};
        int64_t today_us = f->today * DAY;
        teardown(state);
        setup(state);
        f = *state;
        optout(f, cases[i].rows);
        struct engine_txn *txn = store_fixture_read(&f->load.store);
        assert_int_equal(suppression_evaluate(txn, SLICE_LITERAL("1A"), (uint32_t)cases[i].look_back,
                                              today_us + cases[i].at * DAY, &found, &error),
                         STATUS_OK);
        engine_end(txn);
        int64_t due_us = cases[i].due == 9999 ? INT64_MAX : today_us + cases[i].due * DAY;
        if (found.preference != cases[i].preference || found.due_us != due_us ||
            found.suppressed != (found.preference == 'N'))
            fail_msg("case %zu (%s): '%c', due after %" PRId64 " days", i, cases[i].rows, found.preference,
                     (found.due_us - today_us) / DAY);
    }
}

/* ---- what it does ---- */

static void an_opt_out_hides_a_person_from_every_aco(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", NULL);
    patient(f, "b2", "2A", OTHER);
    load_roster(&f->load, ACO, "r", f->began_us - 50 * DAY, "1A 2A");
    load_roster(&f->load, OTHER, "r", f->began_us - 50 * DAY, "2A");
    struct suppression_apply apply = optout(f, "2A N -2; 3A N -2");
    assert_int_equal(apply.ret_added, 2);
    assert_int_equal(apply.ret_suppressed, 2);
    assert_int_equal(apply.ret_unknown, 1);
    assert_string_equal(exportable_now(f, f->aco), "b1 ");
    assert_string_equal(exportable_now(f, f->other), "");
    /* Nothing had been given: it ends as of the effective date. */
    apply = optout(f, "2A Y -1");
    assert_int_equal(apply.ret_lifted, 1);
    assert_string_equal(exportable_at(f, f->aco, UINT64_MAX - 1, f->today * DAY - 2 * DAY - 1), "b1+ b2+ ");
    assert_string_equal(exportable_at(f, f->aco, UINT64_MAX - 1, f->today * DAY - 2 * DAY), "b1+ b2 ");
    assert_string_equal(exportable_at(f, f->aco, UINT64_MAX - 1, f->today * DAY - DAY - 1), "b1+ b2 ");
    assert_string_equal(exportable_at(f, f->aco, UINT64_MAX - 1, f->today * DAY - DAY), "b1+ b2+ ");
    assert_string_equal(exportable_now(f, f->other), "b2 ");
}

static void an_active_job_keeps_whom_it_has_and_the_next_obeys(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", ACO);
    patient(f, "b2", "2A", ACO);
    struct load_view job = load_kick_off(&f->load, f->aco, "Patient");
    optout(f, "1A N -2");
    struct load_view second = load_kick_off(&f->load, f->aco, "Group/all");
    optout(f, "1A Y -1");
    optout(f, "2A N -1");
    load_fixture_reopen(&f->load);
    assert_string_equal(exportable_at(f, f->aco, job.sequence, 0), "b1 b2 ");
    assert_string_equal(exportable_at(f, f->aco, second.sequence, 0), "b2 ");
    assert_string_equal(exportable_now(f, f->aco), "b1 ");
    load_end_job(&f->load, &job);
    load_end_job(&f->load, &second);
}

/* The three cases of Group/all with _since. */
static void since_tells_who_was_hidden_then_from_who_was_hidden_between(void **state)
{
    struct fixture *f = *state;
    patient(f, "between", "1A", ACO);
    patient(f, "lifted", "2A", ACO);
    patient(f, "now", "3A", ACO);
    optout(f, "2A N -9");
    struct load_view since = export(f, f->aco);
    assert_string_equal(exportable_at(f, f->aco, since.sequence, 0), "between now ");
    optout(f, "1A N -8; 2A Y -8; 3A N -8");
    struct load_view mid = export(f, f->aco);
    assert_string_equal(exportable_at(f, f->aco, mid.sequence, since.transaction_time_us), "lifted ");
    optout(f, "1A Y -7");
    struct load_view last = export(f, f->aco);
    assert_string_equal(exportable_at(f, f->aco, last.sequence, since.transaction_time_us),
                        "between+ lifted ");
    assert_string_equal(exportable_at(f, f->aco, last.sequence, mid.transaction_time_us), "between lifted+ ");
}

/* Its client goes on asking from what it was given before. */
static void a_claim_that_came_while_hidden_is_later_than_what_was_given(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", ACO);
    struct load_view since = export(f, f->aco);
    optout(f, "1A N -2");
    resource(f, EOB, "e1", "b1", NULL, f->began_us - 40 * DAY, NULL);
    optout(f, "1A Y -1");
    struct load_view view = export(f, f->aco);
    struct load_export got;
    load_export_read(&f->load, &view, since.transaction_time_us, LOAD_BOUND_GROUP, &got);
    assert_string_equal(load_export_text(&got), "ExplanationOfBenefit/e1 v2\n");
    assert_true(got.items[0].at_since);
    load_export_release(&got);
}

static void the_patient_may_come_after_the_opt_out(void **state)
{
    struct fixture *f = *state;
    optout(f, "1A N -2; 2A N -2");
    load_roster(&f->load, ACO, "r", f->began_us - DAY, "1A 3A");
    patient(f, "b1", "1A", NULL);
    patient(f, "b2", "2A", ACO); /* attributed directly */
    patient(f, "b3", "3A", NULL);
    assert_string_equal(exportable_now(f, f->aco), "b3 ");
    optout(f, "1A Y -1; 2A Y -1");
    assert_string_equal(exportable_now(f, f->aco), "b1 b2 b3 ");
}

static void who_joins_while_hidden_is_exported_when_that_is_lifted(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", NULL);
    patient(f, "b2", "2A", NULL);
    optout(f, "1A N -9; 2A N -9");
    load_roster(&f->load, ACO, "r1", f->began_us - 4 * DAY, "1A 2A");
    assert_string_equal(exportable_now(f, f->aco), "");
    load_roster(&f->load, ACO, "r2", f->began_us - 3 * DAY, "1A");
    optout(f, "1A Y -5; 2A Y -5");
    /* Not since the opt-out was lifted, but since the roster. */
    assert_string_equal(exportable_at(f, f->aco, UINT64_MAX - 1, f->began_us - 4 * DAY - 1), "b1 ");
    assert_string_equal(exportable_at(f, f->aco, UINT64_MAX - 1, f->began_us - 4 * DAY), "b1+ ");
}

static void a_roster_dated_before_the_lifting_does_not_reach_back_behind_it(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", NULL);
    optout(f, "1A N -9; 1A Y -1");
    load_roster(&f->load, ACO, "r1", f->began_us - 4 * DAY, "1A");
    assert_string_equal(exportable_at(f, f->aco, UINT64_MAX - 1, f->began_us - 4 * DAY), "b1+ ");
    optout(f, "2A N -9");
    optout(f, "2A Y -1");
    patient(f, "b2", "2A", NULL);
    load_roster(&f->load, OTHER, "r1", f->began_us - 4 * DAY, "2A");
    assert_string_equal(exportable_at(f, f->other, UINT64_MAX - 1, f->today * DAY - DAY - 1), "b2 ");
    assert_string_equal(exportable_at(f, f->other, UINT64_MAX - 1, f->today * DAY - DAY), "b2+ ");
}

static void any_mbi_of_a_person_hides_him_whole(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", OTHER);
    load_roster(&f->load, ACO, "r1", f->began_us - 4 * DAY, "1A");
    optout(f, "9A N -1"); /* his new MBI, of which nothing is known yet */
    assert_string_equal(exportable_now(f, f->aco), "b1 ");
    patient(f, "b1", "9A", NULL);
    assert_string_equal(exportable_now(f, f->aco), "");
    assert_string_equal(exportable_now(f, f->other), "");
    optout(f, "1A N -1");
    optout(f, "9A Y 0");
    assert_string_equal(exportable_now(f, f->aco), "");
    optout(f, "1A Y 0");
    assert_string_equal(exportable_now(f, f->aco), "b1 ");
    assert_string_equal(exportable_now(f, f->other), "b1 ");
}

static void an_opt_out_goes_with_its_mbi_to_another_patient(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", ACO);
    patient(f, "b2", "2A", ACO);
    optout(f, "1A N -1");
    assert_string_equal(exportable_now(f, f->aco), "b2 ");
    patient(f, "b2", "1A", NULL);
    assert_string_equal(exportable_now(f, f->aco), "b1 ");
    patient(f, "b1", "1A", NULL);
    assert_string_equal(exportable_now(f, f->aco), "b2 ");
}

/* ---- files ---- */

static void the_same_file_again_changes_nothing_and_another_of_its_name_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buffer encoded = BUFFER_INIT;
    struct error error = {0};
    patient(f, "b1", "1A", ACO);
    optout(f, "1A N -1");
    uint64_t before = load_contents_hash(&f->load);
    f->files = 0;
    struct suppression_apply apply = optout_parse(f, "1A N -1", &encoded);
    assert_int_equal(writer_call(f->load.store.writer, &apply.request, &error), STATUS_EXISTS);
    f->files = 0;
    apply = optout_parse(f, "1A N -1; 2A N -1", &encoded);
    assert_int_equal(writer_call(f->load.store.writer, &apply.request, &error), STATUS_CONFLICT);
    assert_non_null(strstr(error.text, "file0"));
    assert_int_equal(load_contents_hash(&f->load), before);
    buffer_release(&encoded);
}

/* The last part notes the file; what an earlier try left is found there. */
static void an_import_that_broke_off_is_run_again(void **state)
{
    struct fixture *f = *state;
    struct buffer encoded = BUFFER_INIT;
    patient(f, "b1", "1A", ACO);
    struct suppression_apply apply = optout_parse(f, "1A N -1", &encoded);
    apply.is_last = false;
    assert_int_equal(writer_call(f->load.store.writer, &apply.request, NULL), STATUS_OK);
    assert_string_equal(exportable_now(f, f->aco), "");
    f->files = 0;
    apply = optout(f, "1A N -1");
    assert_int_equal(apply.ret_added, 0);
    assert_int_equal(apply.ret_suppressed, 0);
    buffer_release(&encoded);
}

static void malformed_rows_are_refused_whole(void **state)
{
    struct fixture *f = *state;
    static const char *const rows[] = {"2A N 0; 1A N 0", "1A N 0; 1A N 0", "1A Y 0; 1A N 0", "1A X 0",
                                       "!b1 N 0",        "1A N 900000",    "1A N -900000"};
    uint64_t before = load_contents_hash(&f->load);
    struct buffer encoded = BUFFER_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct suppression_apply apply = optout_parse(f, rows[i], &encoded);
        assert_int_equal(writer_call(f->load.store.writer, &apply.request, NULL), STATUS_INVALID);
    }
    struct suppression_apply apply = optout_parse(f, "1A N 0", &encoded);
    apply.encoded.size--;
    assert_int_equal(writer_call(f->load.store.writer, &apply.request, NULL), STATUS_INVALID);
    assert_int_equal(load_contents_hash(&f->load), before);
    buffer_release(&encoded);
}

/* ---- time ---- */

static void a_date_to_come_and_one_that_runs_out_act_before_the_next_kick_off(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", ACO);
    patient(f, "b2", "2A", ACO);
    optout(f, "1A N 2; 2A N -1");
    struct load_view first = export(f, f->aco);
    assert_string_equal(exportable_at(f, f->aco, first.sequence, 0), "b1 ");
    days_pass(f, 1);
    struct load_view before = export(f, f->aco);
    assert_string_equal(exportable_at(f, f->aco, before.sequence, 0), "b1 ");
    days_pass(f, 1);
    struct load_view hidden = export(f, f->aco);
    assert_string_equal(exportable_at(f, f->aco, hidden.sequence, 0), "");
    days_pass(f, 57);
    struct load_view over = export(f, f->aco);
    assert_string_equal(exportable_at(f, f->aco, over.sequence, hidden.transaction_time_us), "b2 ");
    assert_string_equal(exportable_at(f, f->aco, over.sequence, (f->today + 59) * DAY - 1), "b2 ");
    assert_string_equal(exportable_at(f, f->aco, over.sequence, (f->today + 59) * DAY), "b2+ ");
    days_pass(f, 3);
    struct load_view last = export(f, f->aco);
    assert_string_equal(exportable_at(f, f->aco, last.sequence, before.transaction_time_us), "b1+ b2 ");
}

static void what_is_due_is_applied_in_portions_and_no_job_begins_before(void **state)
{
    struct fixture *f = *state;
    const unsigned count = SUPPRESSION_PORTION + 50;
    struct buffer rows = BUFFER_INIT;
    patient(f, "b1", "9Z", ACO);
    for (unsigned i = 0; i < count; i++)
        buffer_appendf(&rows, "1A%04u N 1;", i);
    buffer_appendf(&rows, "9Z N 1");
    optout(f, buffer_text(&rows));
    days_pass(f, 2);
    struct job_create create;
    job_create_init(&create);
    create.aco = f->aco;
    snprintf(create.endpoint, sizeof create.endpoint, "Patient");
    create.url = mem_strdup("http://localhost/");
    create.types[create.type_count++] = PATIENT;
    unsigned calls = 0;
    do {
        assert_int_equal(writer_call(f->load.store.writer, &create.request, NULL), STATUS_OK);
        calls++;
    } while (create.ret_unsettled);
    assert_int_equal(calls, 2);
    assert_string_equal(exportable_now(f, f->aco), "");
    job_create_release(&create);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    bool due;
    assert_int_equal(suppression_is_due(txn, clock_now_us(), &due, NULL), STATUS_OK);
    assert_false(due);
    assert_int_equal(suppression_is_due(txn, clock_now_us() + 60 * DAY, &due, NULL), STATUS_OK);
    assert_true(due);
    engine_end(txn);
    buffer_release(&rows);
}

static void another_look_back_is_applied_in_portions_over_a_restart(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A", ACO);
    patient(f, "b2", "2A", ACO);
    patient(f, "b3", "3A", ACO);
    optout(f, "1A N -70; 2A N -5; 3A N -200; 4A N -70");
    assert_string_equal(exportable_now(f, f->aco), "b1 b3 ");
    configure(f, SUPPRESSION_LOOKBACK_DAYS_DEFAULT, false);
    configure(f, 100, true);
    struct suppression_settle portion;
    suppression_settle_init(&portion, 1);
    assert_int_equal(writer_call(f->load.store.writer, &portion.request, NULL), STATUS_OK);
    assert_true(portion.ret_more);
    assert_string_equal(exportable_now(f, f->aco), "b3 ");
    load_verify(&f->load);
    load_fixture_reopen(&f->load);
    configure(f, 100, false);
    settle(f, 1);
    assert_string_equal(exportable_now(f, f->aco), "b3 ");
    configure(f, 0, true);
    settle(f, 2);
    assert_string_equal(exportable_now(f, f->aco), "");
    days_pass(f, 3000);
    settle(f, 2);
    assert_string_equal(exportable_now(f, f->aco), "");
    configure(f, 60, true);
    struct load_view view = export(f, f->aco); /* a kick-off does it too */
    assert_string_equal(exportable_at(f, f->aco, view.sequence, 0), "b1 b2 b3 ");
}

/* ---- at random ---- */

#define MBIS     6
#define PATIENTS 4
#define MEMBERS  2

/* Who has what, the plain way: preferences of each MBI, by day; the Patient that carries it; the rosters. */
struct model {
    char preferences[MBIS][400]; /* by day from the first; 0, 'Y' or 'N' */
    int carrier[MBIS];           /* -1: nobody */
    bool listed[MEMBERS][MBIS];
    int lookback;
};

#define MODEL_PAST 150 /* days before the test's first */

static bool model_suppressed(const struct model *model, int mbi, int day)
{
    for (int at = day; at >= 0 && (model->lookback == 0 || at > day - model->lookback); at--) {
        if (model->preferences[mbi][at])
            return model->preferences[mbi][at] == 'N';
    }
    return false;
}

static void model_expect(const struct model *model, int member, int day, struct buffer *text)
{
    buffer_reset(text);
    for (int person = 0; person < PATIENTS; person++) {
        bool listed = false, hidden = false;
        for (int mbi = 0; mbi < MBIS; mbi++) {
            if (model->carrier[mbi] != person)
                continue;
            listed |= model->listed[member][mbi];
            hidden |= model_suppressed(model, mbi, day);
        }
        if (listed && !hidden)
            buffer_appendf(text, "b%d ", person);
    }
}

static void exports_are_what_a_plain_model_says(void **state)
{
    struct fixture *f = *state;
    struct model model = {.lookback = SUPPRESSION_LOOKBACK_DAYS_DEFAULT};
    struct buffer text = BUFFER_INIT;
    uint64_t seed = store_fixture_seed();
    unsigned rosters = 0;
    int day = MODEL_PAST;
    memset(model.carrier, -1, sizeof model.carrier);
    for (int step = 0; step < 250; step++) {
        uint64_t dice = store_fixture_random(&seed);
        int mbi = (int)((dice >> 8) % MBIS), person = (int)((dice >> 16) % PATIENTS),
            member = (int)((dice >> 24) % MEMBERS);
        char id[32], name[32];
        buffer_reset(&text);
        switch (dice % 8) {
        case 0:
        case 1:
        case 2: { /* a preference */
            int at = day + (int)((dice >> 32) % 110) - 90;
            char preference = (dice >> 40) % 3 ? 'N' : 'Y';
            buffer_appendf(&text, "%dA %c %d", mbi, preference, at - MODEL_PAST);
            optout(f, buffer_text(&text));
            if (model.preferences[mbi][at] != 'N')
                model.preferences[mbi][at] = preference;
            break;
        }
        case 3: /* a Patient that carries one more MBI */
            snprintf(id, sizeof id, "b%d", person);
            snprintf(name, sizeof name, "%dA", mbi);
            patient(f, id, name, NULL);
            model.carrier[mbi] = person;
            break;
        case 4:
        case 5: /* a roster */
            for (int i = 0; i < MBIS; i++) {
                model.listed[member][i] = (dice >> (32 + i)) & 1;
                if (model.listed[member][i])
                    buffer_appendf(&text, "%s%dA", text.size ? " " : "", i);
            }
            snprintf(name, sizeof name, "r%u", rosters++);
            load_roster(&f->load, member ? OTHER : ACO, name, clock_now_us(), buffer_text(&text));
            break;
        case 6:
            if (day < 260) {
                unsigned days = 1 + (unsigned)(dice >> 32) % 4;
                days_pass(f, days);
                day += (int)days;
            }
            break;
        case 7:
            mbi = (int)((dice >> 32) % 3 * 40); /* days, here */
            configure(f, (uint32_t)mbi, model.lookback != mbi);
            model.lookback = mbi;
            break;
        }
        if ((dice >> 52) % 4 == 0) { /* segments follow those who are exportable */
            struct homes_options options = {.step_bytes = 0};
            struct homes_counts counts;
            assert_int_equal(homes_run(f->load.link, &options, &counts, NULL), STATUS_OK);
        }
        if ((dice >> 48) % 4 == 0) {
            struct load_view view = export(f, member ? f->other : f->aco);
            model_expect(&model, member, day, &text);
            const char *found = exportable_at(f, view.aco, view.sequence, 0);
            if (strcmp(found, buffer_text(&text)) != 0)
                fail_msg("step %d: %s instead of %s", step, found, buffer_text(&text));
        }
        if (step % 50 == 49)
            load_verify(&f->load);
    }
    buffer_release(&text);
}

/* A record as it is, copied. */
static struct buffer get_record(struct fixture *f, unsigned table, const struct key *key)
{
    struct buffer record = BUFFER_INIT;
    struct slice value;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(engine_get(txn, table, key_slice(key), &value, NULL), STATUS_OK);
    buffer_append_slice(&record, value);
    engine_end(txn);
    return record;
}

static void an_opt_out_hides_from_the_others_when_one_acos_row_is_damaged(void **state)
{
    struct fixture *f = *state;
    struct key key;
    patient(f, "b1", "1A", ACO);
    load_roster(&f->load, OTHER, "r", f->began_us - 50 * DAY, "1A");
    optout(f, "1A N 1");
    assert_string_equal(exportable_now(f, f->other), "b1 ");
    key_aco_beneficiary(&key, f->aco, SLICE_LITERAL("b1"));
    struct buffer kept = get_record(f, TABLE_EXPORTABLE, &key);
    store_fixture_put(&f->load.store, TABLE_EXPORTABLE, key_slice(&key), SLICE_LITERAL("A"));
    days_pass(f, 1);
    struct load_view view = export(f, f->other); /* the kick-off applies what is due */
    assert_string_equal(exportable_at(f, f->other, view.sequence, 0), "");
    store_fixture_put(&f->load.store, TABLE_EXPORTABLE, key_slice(&key), buffer_slice(&kept));
    optout(f, "1A Y 1"); /* at that date N wins: nothing changes */
    days_pass(f, 1);
    optout(f, "1A Y 2");
    assert_string_equal(exportable_now(f, f->aco), "b1 ");
    assert_string_equal(exportable_now(f, f->other), "b1 ");
    buffer_release(&kept);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_latest_preference_within_the_look_back_decides),
        TEST(an_opt_out_hides_a_person_from_every_aco),
        TEST(an_active_job_keeps_whom_it_has_and_the_next_obeys),
        TEST(since_tells_who_was_hidden_then_from_who_was_hidden_between),
        TEST(a_claim_that_came_while_hidden_is_later_than_what_was_given),
        TEST(the_patient_may_come_after_the_opt_out),
        TEST(who_joins_while_hidden_is_exported_when_that_is_lifted),
        TEST(a_roster_dated_before_the_lifting_does_not_reach_back_behind_it),
        TEST(any_mbi_of_a_person_hides_him_whole),
        TEST(an_opt_out_goes_with_its_mbi_to_another_patient),
        TEST(the_same_file_again_changes_nothing_and_another_of_its_name_is_refused),
        TEST(an_import_that_broke_off_is_run_again),
        TEST(malformed_rows_are_refused_whole),
        TEST(a_date_to_come_and_one_that_runs_out_act_before_the_next_kick_off),
        TEST(what_is_due_is_applied_in_portions_and_no_job_begins_before),
        TEST(another_look_back_is_applied_in_portions_over_a_restart),
        TEST(an_opt_out_hides_from_the_others_when_one_acos_row_is_damaged),
        TEST(exports_are_what_a_plain_model_says),
    };
    load_clock_shift(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
