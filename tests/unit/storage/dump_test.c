#include "storage/dump.h"

#include "codec/base/buffer.h"
#include "codec/instant.h"
#include "storage/accounts.h"
#include "storage/resources.h"
#include "tests/support/load_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ACO     "A0001"
#define EOB     RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define PATIENT RESOURCE_TYPE_PATIENT

struct fixture {
    struct load_fixture load;
    uint32_t aco;
    struct buffer lines, damage;
    struct dump_counts counts;
    unsigned pieces;
    void (*between)(struct fixture *f); /* at each piece; may be NULL */
};

static enum status take_lines(void *context, struct slice lines, struct error *error)
{
    (void)error;
    struct fixture *f = context;
    struct engine_stats stats;
    assert_int_equal(engine_stats(store_engine(f->load.store.store), &stats, NULL), STATUS_OK);
    assert_int_equal(stats.oldest_reader_age, 0);
    buffer_append_slice(&f->lines, lines);
    f->pieces++;
    if (f->between)
        f->between(f);
    return STATUS_OK;
}

static void take_damage(void *context, const char *what)
{
    struct fixture *f = context;
    buffer_appendf(&f->damage, "%s\n", what);
}

static const char *dump(struct fixture *f, const char *aco_id, int64_t since_us)
{
    struct dump_options options = {
        .aco_id = aco_id,
        .types = {EOB, RESOURCE_TYPE_COVERAGE, PATIENT},
        .type_count = 3,
        .since_us = since_us,
        .step_bytes = 1,
        .context = f,
        .lines = take_lines,
        .damage = take_damage,
    };
    struct error error = {0};
    buffer_reset(&f->lines);
    buffer_reset(&f->damage);
    f->pieces = 0;
    if (dump_run(f->load.store.store, &options, &f->counts, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    return buffer_text(&f->lines);
}

static void load(struct fixture *f, const char *id, const char *beneficiary, unsigned version,
                 const char *time)
{
    struct buffer text = BUFFER_INIT;
    load_line(&text, EOB, id, beneficiary, NULL, version, time);
    load_text(&f->load, buffer_slice(&text), NULL);
    buffer_release(&text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct buffer text = BUFFER_INIT;
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    load_line(&text, PATIENT, "b1", "b1", "1A", 1, "2020-05-01T00:00:00Z");
    load_line(&text, PATIENT, "b2", "b2", "2A", 1, "2020-05-02T00:00:00Z");
    load_line(&text, EOB, "e1", "b1", NULL, 1, "2020-05-01T00:00:00Z");
    load_line(&text, EOB, "e2", "b1", NULL, 1, "2020-05-03T00:00:00Z");
    load_line(&text, EOB, "e3", "b2", NULL, 1, "2020-05-01T00:00:00Z");
    load_line(&text, EOB, "e4", "b3", NULL, 1, "2020-05-01T00:00:00Z");
    load_text(&f->load, buffer_slice(&text), NULL);
    load_roster(&f->load, ACO, "r1", 1000, "1A 2A");
    load(f, "e3", "b2", 2, "2020-06-01T00:00:00Z");
    buffer_release(&text);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_fixture_close(&f->load);
    buffer_release(&f->lines);
    buffer_release(&f->damage);
    free(f);
    return 0;
}

/* "e1 v1 e2 v1 ..." of lines, in their order. */
static const char *names(const char *lines)
{
    static char text[4096];
    size_t size = 0;
    text[0] = '\0';
    for (const char *at = lines; (at = strstr(at, "\"id\":\"")); at++) {
        const char *id = at + 6, *version = strstr(at, "\"version\":\"") + 11;
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%.*s %.*s", size ? " " : "",
                                 (int)strcspn(id, "\""), id, (int)strcspn(version, "\""), version);
    }
    return text;
}

static void a_dump_of_an_aco_holds_what_an_export_would(void **state)
{
    struct fixture *f = *state;
    static const char *const times[] = {NULL, "2020-05-01T00:00:00Z", "2020-05-02T12:00:00Z",
                                        "2020-07-01T00:00:00Z"};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t since_us = INSTANT_MIN_US;
        struct load_export export;
        struct load_view view = load_now(&f->load, f->aco);
        if (times[i])
            assert_int_equal(instant_parse(slice_from_text(times[i]), &since_us, NULL), STATUS_OK);
        const char *lines = dump(f, ACO, since_us);
        load_export_read(&f->load, &view, since_us, LOAD_BOUND_PATIENT, &export);
        assert_int_equal(f->counts.resources, export.count);
        assert_int_equal(f->counts.raw_bytes, strlen(lines));
        for (size_t k = 0; k < export.count; k++) {
            char json[1024];
            snprintf(json, sizeof json, "%.*s", SLICE_PRINT(export.items[k].json));
            assert_non_null(strstr(lines, json));
        }
        assert_false(f->counts.changed);
        load_export_release(&export);
    }
}

static void types_come_one_after_another_and_beneficiaries_in_order(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(names(dump(f, ACO, INSTANT_MIN_US)), "e1 v1 e2 v1 e3 v2 b1 v1 b2 v1");
    assert_string_equal(names(dump(f, NULL, INSTANT_MIN_US)), "e1 v1 e2 v1 e3 v2 e4 v1 b1 v1 b2 v1");
}

static void an_unknown_aco_is_named(void **state)
{
    struct fixture *f = *state;
    struct dump_options options = {
        .aco_id = "A0002", .lines = take_lines, .damage = take_damage, .context = f};
    struct error error = {0};
    assert_int_equal(dump_run(f->load.store.store, &options, &f->counts, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "A0002"));
}

/* While b1 is handed on: replaces in what was read and in what was not, adds, and lets b2 leave. */
static void change_the_store(struct fixture *f)
{
    if (f->pieces != 1)
        return;
    load(f, "e1", "b1", 2, "2020-07-01T00:00:00Z");
    load(f, "e3", "b2", 3, "2020-07-01T00:00:00Z");
    load(f, "e5", "b1", 1, "2020-07-01T00:00:00Z");
    load(f, "e6", "b4", 1, "2020-07-01T00:00:00Z");
}

static void what_is_written_meanwhile_neither_repeats_nor_hides_anything(void **state)
{
    struct fixture *f = *state;
    f->between = change_the_store;
    assert_string_equal(names(dump(f, NULL, INSTANT_MIN_US)), "e1 v1 e2 v1 e3 v3 e4 v1 e6 v1 b1 v1 b2 v1");
    assert_true(f->counts.changed);
    f->between = NULL;
    assert_string_equal(names(dump(f, NULL, INSTANT_MIN_US)),
                        "e2 v1 e1 v2 e5 v1 e3 v3 e4 v1 e6 v1 b1 v1 b2 v1");
    assert_false(f->counts.changed);
}

static void what_cannot_be_read_is_told_and_costs_only_itself(void **state)
{
    struct fixture *f = *state;
    struct key key;
    struct segment_name name = {.newest_us = 1, .birth = 1};
    key_segment(&key, f->aco, SLICE_LITERAL("b1"), &name);
    store_fixture_put(&f->load.store, TABLE_SEGMENT + EOB, key_slice(&key), SLICE_LITERAL("no segment"));
    key_of_id(&key, SLICE_LITERAL("b0"));
    store_fixture_put(&f->load.store, TABLE_BENEFICIARY, key_slice(&key), SLICE_LITERAL("nobody"));
    const char *found = names(dump(f, NULL, INSTANT_MIN_US));
    assert_non_null(strstr(found, "e3 v2 e4 v1 b1 v1 b2 v1"));
    assert_true(f->counts.damaged >= 1);
    assert_true(f->damage.size > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dump_of_an_aco_holds_what_an_export_would, setup, teardown),
        cmocka_unit_test_setup_teardown(types_come_one_after_another_and_beneficiaries_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_unknown_aco_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_written_meanwhile_neither_repeats_nor_hides_anything, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_told_and_costs_only_itself, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
