#include "server/export_plan.h"

#include "codec/base/clock.h"
#include "codec/instant.h"
#include "tests/support/export_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define EOB      RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define COVERAGE RESOURCE_TYPE_COVERAGE
#define PATIENT  RESOURCE_TYPE_PATIENT

static void load(struct export_fixture *fixture, uint32_t aco, const char *beneficiary,
                 enum resource_type type, unsigned first, unsigned count, const char *last_updated)
{
    export_fixture_load(fixture, &(struct export_load){.aco = aco,
                                                       .aco_id = "A9994",
                                                       .beneficiary = beneficiary,
                                                       .type = type,
                                                       .first = first,
                                                       .count = count,
                                                       .last_updated = last_updated,
                                                       .padding = 500});
}

static struct job make_job(struct export_fixture *fixture, uint32_t aco, int64_t since_us, bool separates_new)
{
    uint64_t id = export_fixture_request(
        fixture, &(struct export_request){.aco = aco, .since_us = since_us, .separates_new = separates_new});
    return export_fixture_job(fixture, id);
}

/* Makes the plan in as many slices as there are beneficiaries, or in one. */
static struct export_plan *make_plan(struct export_fixture *fixture, const struct job *job,
                                     uint64_t file_bytes_max, bool in_slices, unsigned *ret_steps)
{
    struct export_plan *plan = export_plan_new(job, file_bytes_max);
    bool done = false;
    unsigned steps = 0;
    while (!done) {
        struct error error = {0};
        int64_t deadline_us = in_slices ? 0 : INT64_MAX;
        enum status status =
            export_plan_step(plan, store_engine(fixture->store.store), deadline_us, &done, &error);
        if (status != STATUS_OK)
            fail_msg("%s: %s", status_name(status), error.text);
        steps++;
    }
    *ret_steps = steps;
    return plan;
}

static bool is_uuid(const char *text)
{
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !strchr("0123456789abcdef", text[i]))
            return false;
    }
    return text[36] == '\0';
}

static void plan_of_nothing_has_no_files(void **state)
{
    (void)state;
    struct export_fixture fixture;
    unsigned steps;
    size_t count = 99;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    struct job job = make_job(&fixture, aco, 0, false);
    struct export_plan *plan = make_plan(&fixture, &job, 1000, false, &steps);
    export_plan_files(plan, &count);
    assert_int_equal(count, 0);
    export_plan_free(plan);
    export_fixture_close(&fixture);
}

static void ranges_of_a_type_join_without_gap(void **state)
{
    (void)state;
    struct export_fixture fixture;
    size_t counts[2];
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    for (unsigned i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%02u", i);
        load(&fixture, aco, name, EOB, 0, 1 + i % 4, "2021-01-01T00:00:00Z");
        if (i % 3 == 0)
            load(&fixture, aco, name, PATIENT, 0, 1, "2021-01-01T00:00:00Z");
    }
    struct job job = make_job(&fixture, aco, 0, false);
    for (int in_slices = 0; in_slices < 2; in_slices++) {
        unsigned steps;
        struct export_plan *plan = make_plan(&fixture, &job, 4000, in_slices != 0, &steps);
        const struct job_file *files = export_plan_files(plan, &counts[in_slices]);
        uint64_t planned = 0;
        assert_int_equal(steps, in_slices ? 30 : 1);
        for (size_t i = 0; i < counts[in_slices]; i++) {
            bool first = i == 0 || files[i - 1].type != files[i].type;
            bool last = i + 1 == counts[in_slices] || files[i + 1].type != files[i].type;
            assert_true(is_uuid(files[i].uuid));
            assert_int_equal(files[i].set, JOB_SET_ALL);
            assert_int_equal(first, files[i].first.size == 0);
            assert_int_equal(last, files[i].end.size == 0);
            if (!first)
                assert_true(slice_equal(files[i].first, files[i - 1].end));
            /* One beneficiary alone may be larger. */
            assert_true(files[i].planned_bytes > 0 && files[i].planned_bytes <= 4000);
            assert_false(files[i].done);
            planned += files[i].planned_bytes;
        }
        assert_true(planned > 73 * 500);
        assert_true(counts[in_slices] > 10);
        assert_int_equal(files[0].type, EOB);
        assert_int_equal(files[counts[in_slices] - 1].type, PATIENT); /* nobody has a Coverage */
        export_plan_free(plan);
    }
    assert_int_equal(counts[0], counts[1]);
    export_fixture_close(&fixture);
}

static void beneficiary_larger_than_a_file_gets_one_of_its_own(void **state)
{
    (void)state;
    struct export_fixture fixture;
    unsigned steps;
    size_t count;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load(&fixture, aco, "a", EOB, 0, 1, "2021-01-01T00:00:00Z");
    load(&fixture, aco, "b", EOB, 0, 20, "2021-01-01T00:00:00Z");
    load(&fixture, aco, "c", EOB, 0, 1, "2021-01-01T00:00:00Z");
    struct job job = make_job(&fixture, aco, 0, false);
    struct export_plan *plan = make_plan(&fixture, &job, 2000, false, &steps);
    const struct job_file *files = export_plan_files(plan, &count);
    assert_int_equal(count, 3);
    assert_true(slice_equal_text(files[1].first, "b"));
    assert_true(slice_equal_text(files[1].end, "c"));
    assert_true(files[1].planned_bytes > 10000);
    export_plan_free(plan);
    export_fixture_close(&fixture);
}

static void bounded_files_plan_only_what_is_later(void **state)
{
    (void)state;
    struct export_fixture fixture;
    unsigned steps;
    size_t count;
    int64_t since_us;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    for (unsigned i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%02u", i);
        load(&fixture, aco, name, EOB, 0, 5, "2021-01-01T00:00:00Z");
        load(&fixture, aco, name, COVERAGE, 0, 1, "2021-01-01T00:00:00Z");
    }
    load(&fixture, aco, "b04", EOB, 100, 2, "2021-06-01T00:00:00Z");
    assert_int_equal(instant_parse(SLICE_LITERAL("2021-03-01T00:00:00Z"), &since_us, NULL), STATUS_OK);
    struct job job = make_job(&fixture, aco, since_us, false);
    struct export_plan *plan = make_plan(&fixture, &job, 1 << 20, false, &steps);
    const struct job_file *files = export_plan_files(plan, &count);
    assert_int_equal(count, 1); /* no Coverage is later */
    assert_int_equal(files[0].type, EOB);
    assert_in_range(files[0].planned_bytes, 2 * 500, 2 * 800);
    export_plan_free(plan);
    export_fixture_close(&fixture);
}

static void existing_come_before_new_for_each_type(void **state)
{
    (void)state;
    struct export_fixture fixture;
    unsigned steps;
    size_t count;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load(&fixture, aco, "b", EOB, 0, 2, "2021-01-01T00:00:00Z");
    load(&fixture, aco, "b", PATIENT, 0, 1, "2021-01-01T00:00:00Z");
    struct job before = make_job(&fixture, aco, 0, false);
    load(&fixture, aco, "a", EOB, 0, 3, "2021-01-01T00:00:00Z"); /* new, and first in order */
    load(&fixture, aco, "a", PATIENT, 0, 1, "2021-01-01T00:00:00Z");
    load(&fixture, aco, "b", EOB, 50, 1, "2021-01-01T00:00:00Z");
    uint64_t id =
        export_fixture_request(&fixture, &(struct export_request){.aco = aco,
                                                                  .endpoint = "Group/all",
                                                                  .since_us = before.transaction_time_us,
                                                                  .separates_new = true});
    struct job job = export_fixture_job(&fixture, id);
    struct export_plan *plan = make_plan(&fixture, &job, 1 << 20, true, &steps);
    const struct job_file *files = export_plan_files(plan, &count);
    assert_int_equal(count, 3);
    assert_int_equal(files[0].type, EOB);
    assert_int_equal(files[0].set, JOB_SET_EXISTING);
    assert_in_range(files[0].planned_bytes, 500, 800);
    assert_int_equal(files[1].type, EOB);
    assert_int_equal(files[1].set, JOB_SET_NEW);
    assert_in_range(files[1].planned_bytes, 3 * 500, 3 * 800);
    assert_int_equal(files[2].type, PATIENT);
    assert_int_equal(files[2].set, JOB_SET_NEW);
    export_plan_free(plan);
    export_fixture_close(&fixture);
}

static void deletions_come_last_and_are_cut_between_beneficiaries(void **state)
{
    (void)state;
    struct export_fixture fixture;
    unsigned steps;
    size_t count;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    uint32_t other = store_fixture_add_aco(&fixture.store, "A9995");
    for (unsigned i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i);
        load(&fixture, i == 5 ? other : aco, name, EOB, 0, 4, "2021-01-01T00:00:00Z");
    }
    struct job first = make_job(&fixture, aco, 0, false);
    for (unsigned i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i);
        if (i != 2)
            export_fixture_delete(&fixture, name, EOB, 0, 3, "2021-02-01T00:00:00Z");
    }
    /* Everything, or a view before them: no deletions. */
    struct export_plan *plan = make_plan(&fixture, &first, 1 << 20, false, &steps);
    const struct job_file *files = export_plan_files(plan, &count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(files[i].set, JOB_SET_ALL);
    export_plan_free(plan);
    struct job none = first;
    none.since_us = first.transaction_time_us - US_PER_SECOND;
    plan = make_plan(&fixture, &none, 1 << 20, false, &steps);
    export_plan_files(plan, &count);
    assert_int_equal(count, 0);
    export_plan_free(plan);
    uint64_t id =
        export_fixture_request(&fixture, &(struct export_request){.aco = aco,
                                                                  .endpoint = "Group/all",
                                                                  .since_us = first.transaction_time_us,
                                                                  .separates_new = true});
    struct job job = export_fixture_job(&fixture, id);
    size_t counts[2];
    for (int in_slices = 0; in_slices < 2; in_slices++) {
        plan = make_plan(&fixture, &job, 500, in_slices != 0, &steps);
        files = export_plan_files(plan, &counts[in_slices]);
        size_t deleted = 0;
        for (size_t i = 0; i < counts[in_slices]; i++) {
            bool is_deleted = files[i].set == JOB_SET_DELETED;
            assert_true(is_deleted || deleted == 0);
            deleted += is_deleted;
        }
        /* b0, b1, b3 and b4 with 3 each, cut at 500: 300 a file, since a second would be more. */
        assert_int_equal(deleted, 4);
        const struct job_file *last = &files[counts[in_slices] - 1];
        assert_true(slice_equal_text(last->first, "b4"));
        assert_int_equal(last->end.size, 0);
        assert_int_equal(last->planned_bytes, 300);
        export_plan_free(plan);
    }
    assert_int_equal(counts[0], counts[1]);
    struct job patients = job;
    patients.types[0] = PATIENT;
    patients.type_count = 1;
    plan = make_plan(&fixture, &patients, 500, false, &steps);
    export_plan_files(plan, &count);
    assert_int_equal(count, 0);
    export_plan_free(plan);
    export_fixture_close(&fixture);
}

static void bounded_files_know_whom_they_are_of(void **state)
{
    (void)state;
    struct export_fixture fixture;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    for (unsigned i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%02u", i);
        load(&fixture, aco, name, EOB, 0, 1, "2021-01-01T00:00:00Z");
        load(&fixture, aco, name, PATIENT, 0, 1, "2021-01-01T00:00:00Z");
    }
    int64_t since_us = export_fixture_job(&fixture, make_job(&fixture, aco, 0, false).id).transaction_time_us;
    for (unsigned i = 0; i < 40; i += 4) {
        char name[16];
        snprintf(name, sizeof name, "b%02u", i);
        load(&fixture, aco, name, EOB, 1, 2, "2021-02-01T00:00:00Z");
    }
    for (int in_slices = 0; in_slices < 2; in_slices++) {
        char endpoint[16];
        unsigned steps;
        size_t count;
        struct slice list, beneficiary;
        snprintf(endpoint, sizeof endpoint, "%d", in_slices);
        uint64_t id = export_fixture_request(
            &fixture, &(struct export_request){.aco = aco, .endpoint = endpoint, .since_us = since_us});
        struct job job = export_fixture_job(&fixture, id);
        struct export_plan *plan = make_plan(&fixture, &job, 2000, in_slices != 0, &steps);
        const struct job_file *files = export_plan_files(plan, &count);
        assert_true(count > 2); /* cut between beneficiaries */
        unsigned listed = 0;
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(files[i].type, EOB);
            assert_true(export_plan_list(plan, i, &list));
            while (export_plan_list_take(&list, &beneficiary)) {
                char name[16];
                snprintf(name, sizeof name, "b%02u", 4 * listed++);
                assert_true(slice_equal_text(beneficiary, name));
                assert_true(slice_compare(beneficiary, files[i].first) >= 0);
                assert_true(!files[i].end.size || slice_compare(beneficiary, files[i].end) < 0);
            }
        }
        assert_int_equal(listed, 10);
        export_plan_free(plan);
    }
    export_fixture_close(&fixture);
}

/* Everybody is no list, and neither are those among whom one cannot be read: it has to be told of. */
static void no_list_where_it_would_not_help_or_is_not_known(void **state)
{
    (void)state;
    struct export_fixture fixture;
    unsigned steps;
    size_t count;
    struct slice list;
    export_fixture_open(&fixture);
    uint32_t aco = store_fixture_add_aco(&fixture.store, "A9994");
    load(&fixture, aco, "b1", EOB, 0, 1, "2021-01-01T00:00:00Z");
    load(&fixture, aco, "b2", EOB, 0, 1, "2021-01-01T00:00:00Z");
    struct job job = make_job(&fixture, aco, 0, false);
    struct export_plan *plan = make_plan(&fixture, &job, 1 << 20, false, &steps);
    export_plan_files(plan, &count);
    assert_int_equal(count, 1);
    assert_false(export_plan_list(plan, 0, &list));
    export_plan_free(plan);

    load(&fixture, aco, "b1", EOB, 1, 1, "2021-02-01T00:00:00Z");
    struct key key;
    key_of_u32(&key, aco);
    key_id(&key, SLICE_LITERAL("b2"));
    store_fixture_put(&fixture.store, TABLE_EXPORTABLE, key_slice(&key), SLICE_LITERAL("no row"));
    uint64_t id = export_fixture_request(
        &fixture,
        &(struct export_request){.aco = aco, .endpoint = "again", .since_us = job.transaction_time_us});
    job = export_fixture_job(&fixture, id);
    plan = make_plan(&fixture, &job, 1 << 20, false, &steps);
    export_plan_files(plan, &count);
    assert_true(count >= 1);
    for (size_t i = 0; i < count; i++)
        assert_false(export_plan_list(plan, i, &list));
    export_plan_free(plan);
    export_fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_of_nothing_has_no_files),
        cmocka_unit_test(ranges_of_a_type_join_without_gap),
        cmocka_unit_test(beneficiary_larger_than_a_file_gets_one_of_its_own),
        cmocka_unit_test(bounded_files_plan_only_what_is_later),
        cmocka_unit_test(existing_come_before_new_for_each_type),
        cmocka_unit_test(deletions_come_last_and_are_cut_between_beneficiaries),
        cmocka_unit_test(bounded_files_know_whom_they_are_of),
        cmocka_unit_test(no_list_where_it_would_not_help_or_is_not_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
