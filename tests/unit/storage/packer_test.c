#include "storage/packer.h"

#include "codec/base/bytes.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "tests/support/load_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define EOB     RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define PATIENT RESOURCE_TYPE_PATIENT
#define ACO     "A0001"

struct fixture {
    struct load_fixture load;
    uint32_t aco;
    struct packer *packer;
    struct resource_parser *parser;
    struct arena arena;
    struct buffer refusals;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    load_clock_shift(0);
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    f->packer = packer_new(f->load.store.store);
    f->parser = resource_parser_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_verify(&f->load);
    packer_free(f->packer);
    resource_parser_free(f->parser);
    arena_release(&f->arena);
    buffer_release(&f->refusals);
    load_fixture_close(&f->load);
    load_clock_shift(0);
    mem_free(f);
    return 0;
}

static void note_refused(void *context, const struct import_item *item, const char *reason)
{
    struct fixture *f = context;
    buffer_appendf(&f->refusals, "%.*s: %s\n", SLICE_PRINT(item->id), reason);
}

static struct import_item *item_of(struct fixture *f, enum resource_type type, const char *id,
                                   unsigned version, const char *time)
{
    struct buffer text = BUFFER_INIT;
    struct resource resource;
    struct error error;
    load_line(&text, type, id, "b", NULL, version, time);
    assert_int_equal(resource_parse(f->parser, buffer_slice(&text), &resource, &error), STATUS_OK);
    struct import_item *item = arena_alloc(&f->arena, sizeof *item);
    *item = (struct import_item){
        .beneficiary = arena_copy(&f->arena, resource.beneficiary),
        .id = arena_copy(&f->arena, resource.id),
        .json = arena_copy(&f->arena, resource.json),
        .source_us = resource.has_last_updated ? resource.last_updated_us : LAST_UPDATED_DEFAULT_US,
        .has_last_updated = resource.has_last_updated,
        .content_hash = resource.content_hash,
        .service_first_day = resource.service_first_day,
        .service_last_day = resource.service_last_day,
        .type = (uint8_t)resource.type,
        .stamp_place = (uint8_t)resource.stamp_place,
        .stamp_offset = (uint32_t)resource.stamp_offset,
        .stamp_size = (uint32_t)resource.stamp_size,
        .stamp_comma = resource.stamp_comma,
    };
    buffer_release(&text);
    return item;
}

static struct pack_result pack(struct fixture *f, struct import_item **items, size_t count)
{
    struct pack_result result;
    struct error error = {0};
    qsort(items, count, sizeof *items, import_item_compare);
    if (packer_pack(f->packer, items, count, f->aco, note_refused, f, &result, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    return result;
}

/* Applies the batch; how many of it were stale. */
static size_t apply(struct fixture *f, struct delta_batch *batch)
{
    struct error error = {0};
    if (writer_call(f->load.store.writer, &batch->request, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    return batch->ret_stale.size / sizeof(uint32_t);
}

static size_t apply_one(struct fixture *f, const struct delta *delta)
{
    struct delta_batch batch;
    delta_batch_init(&batch);
    delta_batch_add(&batch, delta);
    size_t stale = apply(f, &batch);
    delta_batch_release(&batch);
    return stale;
}

static void a_kick_off_between_packing_and_applying_makes_kept_times_stale(void **state)
{
    struct fixture *f = *state;
    struct import_item *patient = item_of(f, PATIENT, "b", 1, "2020-01-05T00:00:00Z");
    struct pack_result result = pack(f, &patient, 1);
    assert_int_equal(apply_one(f, &result.delta), 0);

    struct import_item *claim = item_of(f, EOB, "e", 1, "2020-01-05T00:00:00Z");
    result = pack(f, &claim, 1);
    assert_false(result.delta.stamped);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    uint64_t before = load_contents_hash(&f->load);
    assert_int_equal(apply_one(f, &result.delta), 1);
    assert_int_equal(load_contents_hash(&f->load), before);

    result = pack(f, &claim, 1);
    assert_true(result.delta.stamped);
    assert_true(result.delta.stamp_us > view.transaction_time_us);
    assert_int_equal(result.counts.stamped, 1);
    assert_int_equal(apply_one(f, &result.delta), 0);
    assert_string_equal(load_exported_now(&f->load, f->aco), "ExplanationOfBenefit/e v1\nPatient/b v1\n");
}

static void a_kick_off_between_makes_an_older_stamp_stale_too(void **state)
{
    struct fixture *f = *state;
    struct import_item *patient = item_of(f, PATIENT, "b", 1, "2300-01-05T00:00:00Z"); /* stamped: future */
    struct pack_result result = pack(f, &patient, 1);
    assert_true(result.delta.stamped);
    assert_int_equal(apply_one(f, &result.delta), 0);
    struct import_item *claim = item_of(f, EOB, "e", 1, "2300-01-05T00:00:00Z");
    result = pack(f, &claim, 1);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    assert_true(result.delta.stamp_us < view.transaction_time_us);
    assert_int_equal(apply_one(f, &result.delta), 1);
    result = pack(f, &claim, 1);
    assert_true(result.delta.stamp_us > view.transaction_time_us);
    assert_int_equal(apply_one(f, &result.delta), 0);
}

static void a_change_between_makes_only_its_own_type_stale(void **state)
{
    struct fixture *f = *state;
    struct import_item *a = item_of(f, EOB, "e1", 1, NULL), *b = item_of(f, EOB, "e2", 1, NULL);
    struct import_item *c = item_of(f, PATIENT, "b", 1, NULL);
    struct pack_result result;
    struct delta_batch batch;
    delta_batch_init(&batch);
    result = pack(f, &a, 1);
    delta_batch_add(&batch, &result.delta);
    result = pack(f, &b, 1);
    delta_batch_add(&batch, &result.delta);
    result = pack(f, &c, 1);
    delta_batch_add(&batch, &result.delta);
    assert_int_equal(apply(f, &batch), 1);
    assert_int_equal(load_u32_le(batch.ret_stale.data), 1);
    delta_batch_release(&batch);
    result = pack(f, &b, 1);
    assert_int_equal(apply_one(f, &result.delta), 0);
    assert_string_equal(load_exported_now(&f->load, f->aco),
                        "ExplanationOfBenefit/e1 v1\nExplanationOfBenefit/e2 v1\nPatient/b v1\n");
}

static void a_clock_set_back_between_makes_the_newest_stale(void **state)
{
    struct fixture *f = *state;
    load_clock_shift(3600);
    struct import_item *claim = item_of(f, EOB, "e", 1, "2300-01-05T00:00:00Z");
    struct pack_result result = pack(f, &claim, 1);
    load_clock_shift(0);
    assert_int_equal(apply_one(f, &result.delta), 1);
    result = pack(f, &claim, 1);
    assert_int_equal(apply_one(f, &result.delta), 0);
    assert_true(load_now(&f->load, f->aco).transaction_time_us < clock_now_us() + US_PER_SECOND);
}

static void what_is_identical_gives_no_delta(void **state)
{
    struct fixture *f = *state;
    struct import_item *items[] = {item_of(f, EOB, "e1", 1, NULL), item_of(f, EOB, "e2", 1, NULL)};
    struct pack_result result = pack(f, items, 2);
    assert_true(result.has_delta);
    assert_int_equal(result.delta.id_count, 2);
    assert_int_equal(apply_one(f, &result.delta), 0);
    result = pack(f, items, 2);
    assert_false(result.has_delta);
    assert_int_equal(result.counts.identical, 2);
}

static void a_replaced_resource_supersedes_its_segment_and_rewrites_the_rest(void **state)
{
    struct fixture *f = *state;
    struct import_item *items[] = {item_of(f, EOB, "e1", 1, "2020-01-01T00:00:00Z"),
                                   item_of(f, EOB, "e2", 1, "2020-01-02T00:00:00Z"),
                                   item_of(f, EOB, "e3", 1, "2020-01-03T00:00:00Z")};
    struct pack_result result = pack(f, items, 3);
    assert_int_equal(result.delta.segment_count, 1);
    assert_int_equal(apply_one(f, &result.delta), 0);
    struct import_item *newer = item_of(f, EOB, "e3", 2, "2020-01-04T00:00:00Z");
    result = pack(f, &newer, 1);
    assert_int_equal(result.delta.superseded_count, 1);
    assert_int_equal(result.delta.segment_count, 2);
    assert_int_equal(result.delta.id_count, 0);
    struct segment added, rest;
    assert_int_equal(segment_open(result.delta.segments[0], &added, NULL), STATUS_OK);
    assert_int_equal(segment_open(result.delta.segments[1], &rest, NULL), STATUS_OK);
    assert_int_equal(added.count, 1);
    assert_int_equal(rest.count, 2);
    assert_int_equal(rest.newest_us, items[1]->source_us);
    assert_int_equal(apply_one(f, &result.delta), 0);
    /* The whole of a segment leaves no rest. */
    newer = item_of(f, EOB, "e3", 3, "2020-01-05T00:00:00Z");
    result = pack(f, &newer, 1);
    assert_int_equal(result.delta.superseded_count, 1);
    assert_int_equal(result.delta.segment_count, 1);
    assert_int_equal(apply_one(f, &result.delta), 0);
}

static void segments_stay_about_their_target_size(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 20000 };
    struct import_item **items = mem_new_array(struct import_item *, COUNT);
    for (int i = 0; i < COUNT; i++) {
        char id[32];
        snprintf(id, sizeof id, "e%d", i);
        items[i] = item_of(f, EOB, id, 1, NULL);
    }
    struct pack_result result = pack(f, items, COUNT);
    assert_in_range(result.delta.segment_count, 2, 10);
    uint64_t count = 0;
    for (size_t i = 0; i < result.delta.segment_count; i++) {
        struct segment segment;
        assert_int_equal(segment_open(result.delta.segments[i], &segment, NULL), STATUS_OK);
        assert_in_range(segment.raw_bytes, 1, SEGMENT_RAW_TARGET);
        count += segment.count;
    }
    assert_int_equal(count, COUNT);
    assert_int_equal(apply_one(f, &result.delta), 0);
    mem_free(items);
}

static struct import_item *deletion_of(struct fixture *f, const char *id, const char *beneficiary,
                                       int64_t source_us)
{
    struct import_item *item = arena_alloc(&f->arena, sizeof *item);
    *item = (struct import_item){.beneficiary = slice_from_text(beneficiary),
                                 .id = slice_from_text(id),
                                 .type = EOB,
                                 .source_us = source_us,
                                 .has_last_updated = true,
                                 .is_deletion = true};
    return item;
}

static void a_deletion_and_its_resource_that_cross_make_the_second_stale(void **state)
{
    struct fixture *f = *state;
    struct import_item *claim = item_of(f, EOB, "e", 1, "2020-01-05T00:00:00Z");
    struct import_item *deletion = deletion_of(f, "e", "", claim->source_us + 1);
    struct packer *other = packer_new(f->load.store.store);
    struct pack_result added, deleted;
    struct error error = {0};
    /* Each is packed without knowing of the other. */
    added = pack(f, &claim, 1);
    assert_int_equal(packer_pack(other, &deletion, 1, 0, note_refused, f, &deleted, &error), STATUS_OK);
    assert_int_equal(deleted.delta.beneficiary.size, 0);
    assert_int_equal(deleted.counts.deleted_unknown, 1);
    assert_int_equal(apply_one(f, &added.delta), 0);
    assert_int_equal(apply_one(f, &deleted.delta), 1);
    /* Packed again it knows whose the resource is. */
    assert_int_equal(packer_pack(other, &deletion, 1, 0, note_refused, f, &deleted, &error), STATUS_OK);
    assert_true(slice_equal_text(deleted.delta.beneficiary, "b"));
    assert_int_equal(deleted.counts.deleted, 1);
    assert_int_equal(apply_one(f, &deleted.delta), 0);
    assert_string_equal(load_exported_now(&f->load, f->aco), "");

    claim = item_of(f, EOB, "e2", 1, "2020-01-05T00:00:00Z");
    deletion = deletion_of(f, "e2", "", claim->source_us + 1);
    added = pack(f, &claim, 1);
    assert_int_equal(packer_pack(other, &deletion, 1, 0, note_refused, f, &deleted, &error), STATUS_OK);
    assert_int_equal(apply_one(f, &deleted.delta), 0);
    assert_int_equal(apply_one(f, &added.delta), 1);
    added = pack(f, &claim, 1);
    assert_int_equal(added.counts.late, 1);
    assert_false(added.has_delta);
    packer_free(other);
}

static void a_kick_off_between_makes_a_deletion_s_kept_time_stale(void **state)
{
    struct fixture *f = *state;
    struct import_item *claim = item_of(f, EOB, "e", 1, "2020-01-05T00:00:00Z");
    struct pack_result result = pack(f, &claim, 1);
    assert_int_equal(apply_one(f, &result.delta), 0);
    struct import_item *deletion = deletion_of(f, "e", "b", claim->source_us + 1);
    result = pack(f, &deletion, 1);
    assert_false(result.delta.stamped);
    assert_int_equal(result.delta.deletions[0].stamp_us, claim->source_us + 1);
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    assert_int_equal(apply_one(f, &result.delta), 1);
    result = pack(f, &deletion, 1);
    assert_true(result.delta.stamped);
    assert_true(result.delta.deletions[0].stamp_us > view.transaction_time_us);
    assert_int_equal(result.delta.deletions[0].source_us, claim->source_us + 1);
    assert_int_equal(apply_one(f, &result.delta), 0);
}

static void lines_that_are_all_refused_attribute_nobody(void **state)
{
    struct fixture *f = *state;
    struct import_item *claim = item_of(f, EOB, "e", 1, NULL);
    struct pack_result result = pack(f, &claim, 1);
    assert_int_equal(apply_one(f, &result.delta), 0);
    claim->beneficiary = SLICE_LITERAL("thief");
    result = pack(f, &claim, 1);
    assert_false(result.has_delta);
    assert_int_equal(result.counts.refused, 1);
    assert_string_equal(
        buffer_text(&f->refusals),
        "e: this resource is stored under another beneficiary: moving it could show it to another ACO\n");
}

int main(void)
{
    load_clock_shift(0);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_kick_off_between_packing_and_applying_makes_kept_times_stale),
        TEST(a_kick_off_between_makes_an_older_stamp_stale_too),
        TEST(a_change_between_makes_only_its_own_type_stale),
        TEST(a_clock_set_back_between_makes_the_newest_stale),
        TEST(what_is_identical_gives_no_delta),
        TEST(a_replaced_resource_supersedes_its_segment_and_rewrites_the_rest),
        TEST(segments_stay_about_their_target_size),
        TEST(a_deletion_and_its_resource_that_cross_make_the_second_stale),
        TEST(a_kick_off_between_makes_a_deletion_s_kept_time_stale),
        TEST(lines_that_are_all_refused_attribute_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
