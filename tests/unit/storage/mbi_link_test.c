#include "storage/mbi_link.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/instant.h"
#include "storage/attribution.h"
#include "tests/support/load_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ACO     "A0001"
#define PATIENT RESOURCE_TYPE_PATIENT
#define DAY     (86400 * US_PER_SECOND)

struct fixture {
    struct load_fixture load;
    uint32_t aco;
    int64_t began_us;
    unsigned versions, rosters;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    load_fixture_open(&f->load);
    f->aco = store_fixture_add_aco(&f->load.store, ACO);
    f->began_us = clock_now_us();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_verify(&f->load);
    load_fixture_close(&f->load);
    mem_free(f);
    return 0;
}

static void patient(struct fixture *f, const char *id, const char *mbi)
{
    struct buffer text = BUFFER_INIT;
    char time[INSTANT_TEXT_SIZE];
    instant_format(f->began_us - 100 * DAY + ++f->versions * US_PER_SECOND, time);
    load_line(&text, PATIENT, id, id, mbi, f->versions, time);
    load_text(&f->load, buffer_slice(&text), NULL);
    buffer_release(&text);
}

/* "2A 3A": padded. */
static void append_mbis(struct buffer *target, const char *mbis)
{
    for (const char *at = mbis; *at; at += strspn(at, " <")) {
        size_t size = strcspn(at, " <");
        char *place = buffer_extend(target, MBI_SIZE_MAX);
        memset(place, ' ', MBI_SIZE_MAX);
        memcpy(place, at, size);
        at += size;
    }
}

/* A roster of `mbis` (in order), and links "2A<1A 3A<2A": the current MBI, and the one before. */
static enum status try_roster(struct fixture *f, int64_t at_us, const char *mbis, const char *links,
                              struct roster_apply *apply)
{
    struct buffer listed = BUFFER_INIT, linked = BUFFER_INIT;
    struct error error = {0};
    append_mbis(&listed, mbis);
    append_mbis(&linked, links);
    roster_apply_init(apply);
    strcpy(apply->aco_id, ACO);
    snprintf(apply->name, sizeof apply->name, "r%u", f->rosters++);
    apply->at_us = at_us;
    apply->mbis = listed.data;
    apply->mbi_count = listed.size / MBI_SIZE_MAX;
    apply->links = linked.data;
    apply->link_count = linked.size / (2 * (size_t)MBI_SIZE_MAX);
    enum status status = writer_call(f->load.store.writer, &apply->request, &error);
    buffer_release(&listed);
    buffer_release(&linked);
    return status;
}

static void roster(struct fixture *f, const char *mbis, const char *links)
{
    struct roster_apply apply;
    assert_int_equal(try_roster(f, f->began_us - DAY + f->rosters * US_PER_SECOND, mbis, links, &apply),
                     STATUS_OK);
}

/* "b1 b2+ ": with a + for those that were exportable at since_us. */
static const char *exportable_at(struct fixture *f, uint64_t sequence, int64_t since_us)
{
    static struct buffer text;
    buffer_release(&text);
    struct exportable_scan *scan;
    struct exportable exportable;
    enum status status;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(exportable_scan_open(txn, f->aco, sequence, since_us, &scan, NULL), STATUS_OK);
    while ((status = exportable_scan_next(scan, &exportable, NULL)) == STATUS_OK)
        buffer_appendf(&text, "%.*s%s ", SLICE_PRINT(exportable.beneficiary), exportable.at_since ? "+" : "");
    assert_int_equal(status, STATUS_NOT_FOUND);
    exportable_scan_close(scan);
    engine_end(txn);
    return buffer_text(&text);
}

static const char *exportable_now(struct fixture *f)
{
    return exportable_at(f, UINT64_MAX - 1, 0);
}

static void a_roster_with_the_new_mbi_finds_the_patient_with_the_old_one(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A");
    roster(f, "2A", "");
    assert_string_equal(exportable_now(f), "");
    roster(f, "2A", "2A<1A");
    assert_string_equal(exportable_now(f), "b1 ");
}

static void a_roster_with_the_old_mbi_finds_the_patient_with_the_new_one(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "2A");
    roster(f, "1A", "2A<1A");
    assert_string_equal(exportable_now(f), "b1 ");
}

static void the_patient_may_come_after_the_link(void **state)
{
    struct fixture *f = *state;
    roster(f, "3A", "3A<2A 2A<1A");
    patient(f, "b1", "1A");
    assert_string_equal(exportable_now(f), "b1 ");
}

static void a_change_of_mbi_is_no_gap(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A");
    roster(f, "1A", "");
    int64_t since_us = load_now(&f->load, f->aco).transaction_time_us;
    roster(f, "2A", "2A<1A");
    assert_string_equal(exportable_at(f, UINT64_MAX - 1, since_us), "b1+ ");
}

static void chains_are_followed_in_any_order_of_their_links(void **state)
{
    static const char *const orders[] = {"2A<1A 3A<2A 4A<3A", "4A<3A 3A<2A 2A<1A", "3A<2A 4A<3A 2A<1A",
                                         "2A<1A 4A<3A 3A<2A"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        teardown(state);
        setup(state);
        struct fixture *f = *state;
        patient(f, "b1", "1A");
        roster(f, "4A", orders[i]);
        if (strcmp(exportable_now(f), "b1 ") != 0)
            fail_msg("%s: %s", orders[i], exportable_now(f));
    }
}

static void a_ring_of_links_ends(void **state)
{
    struct fixture *f = *state;
    roster(f, "3A", "2A<1A 3A<2A 1A<3A 5A<5A");
    patient(f, "b1", "1A");
    assert_string_equal(exportable_now(f), "b1 ");
}

static void what_a_patient_says_goes_before_a_link(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A");
    roster(f, "2A", "2A<1A");
    assert_string_equal(exportable_now(f), "b1 ");
    patient(f, "b2", "2A"); /* another Patient carries it */
    assert_string_equal(exportable_now(f), "b2 ");
    patient(f, "b1", "1A");
    assert_string_equal(exportable_now(f), "b2 ");
    roster(f, "1A", "");
    assert_string_equal(exportable_now(f), "b1 ");
}

static void a_link_between_two_patients_changes_nothing(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A");
    patient(f, "b2", "2A");
    roster(f, "2A", "2A<1A");
    assert_string_equal(exportable_now(f), "b2 ");
}

static void a_link_is_kept_when_no_later_roster_repeats_it(void **state)
{
    struct fixture *f = *state;
    roster(f, "9A", "2A<1A");
    patient(f, "b1", "1A");
    roster(f, "2A", "");
    assert_string_equal(exportable_now(f), "b1 ");
}

static void an_active_job_does_not_see_a_link_that_came_later(void **state)
{
    struct fixture *f = *state;
    patient(f, "b1", "1A");
    roster(f, "2A", "");
    struct load_view view = load_kick_off(&f->load, f->aco, "Patient");
    roster(f, "2A", "2A<1A");
    assert_string_equal(exportable_at(f, view.sequence, 0), "");
    /* He is new to whoever asks since then. */
    assert_string_equal(exportable_at(f, UINT64_MAX - 1, view.transaction_time_us), "b1 ");
    load_end_job(&f->load, &view);
}

static void a_refused_roster_links_nothing(void **state)
{
    struct fixture *f = *state;
    struct roster_apply apply;
    patient(f, "b1", "1A");
    roster(f, "2A", "");
    uint64_t before = load_contents_hash(&f->load);
    assert_int_equal(try_roster(f, f->began_us - 9 * DAY, "2A", "2A<1A", &apply), STATUS_CONFLICT);
    assert_int_equal(try_roster(f, f->began_us, "2A", "!b<1A", &apply), STATUS_INVALID);
    assert_int_equal(load_contents_hash(&f->load), before);
    assert_int_equal(try_roster(f, f->began_us, "2A", "2A<1A", &apply), STATUS_OK);
    assert_int_equal(apply.ret_linked, 1);
    assert_int_equal(try_roster(f, f->began_us + 1, "2A", "2A<1A", &apply), STATUS_OK);
    assert_int_equal(apply.ret_linked, 0);
}

/* Three persons of four MBIs each, one Patient a person with one of them; everything comes in any order. */
static void whatever_comes_first_the_set_is_the_same(void **state)
{
    static const char *const links[] = {"2A<1A", "3A<2A", "4A<3A", "2B<1B", "3B<2B",
                                        "4B<3B", "2C<1C", "3C<2C", "4C<3C"};
    enum { LINKS = sizeof links / sizeof *links, PERSONS = 3, EVENTS = LINKS + PERSONS };
    uint64_t seed = store_fixture_seed();
    for (int round = 0; round < 12; round++) {
        teardown(state);
        setup(state);
        struct fixture *f = *state;
        int order[EVENTS];
        for (int i = 0; i < EVENTS; i++)
            order[i] = i;
        for (int i = EVENTS - 1; i > 0; i--) {
            int other = (int)(store_fixture_random(&seed) % (unsigned)(i + 1)), kept = order[i];
            order[i] = order[other];
            order[other] = kept;
        }
        char listed[32], mbi[PERSONS][8];
        for (int i = 0; i < PERSONS; i++)
            snprintf(mbi[i], sizeof mbi[i], "%d%c", 1 + (int)(store_fixture_random(&seed) % 4), 'A' + i);
        snprintf(listed, sizeof listed, "%dA", 1 + (int)(store_fixture_random(&seed) % 4));
        snprintf(listed + 2, sizeof listed - 2, " %dC", 1 + (int)(store_fixture_random(&seed) % 4));
        if (listed[0] > listed[3]) { /* in order */
            char first[3] = {listed[0], listed[1], '\0'};
            memcpy(listed, listed + 3, 2);
            memcpy(listed + 3, first, 2);
        }
        for (int i = 0; i < EVENTS; i++) {
            if (order[i] < LINKS) {
                roster(f, listed, links[order[i]]);
            } else {
                char id[8];
                snprintf(id, sizeof id, "b%c", 'A' + order[i] - LINKS);
                patient(f, id, mbi[order[i] - LINKS]);
            }
        }
        if (strcmp(exportable_now(f), "bA bC ") != 0)
            fail_msg("round %d: %s listed: %s", round, listed, exportable_now(f));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_roster_with_the_new_mbi_finds_the_patient_with_the_old_one),
        TEST(a_roster_with_the_old_mbi_finds_the_patient_with_the_new_one),
        TEST(the_patient_may_come_after_the_link),
        TEST(a_change_of_mbi_is_no_gap),
        TEST(chains_are_followed_in_any_order_of_their_links),
        TEST(a_ring_of_links_ends),
        TEST(what_a_patient_says_goes_before_a_link),
        TEST(a_link_between_two_patients_changes_nothing),
        TEST(a_link_is_kept_when_no_later_roster_repeats_it),
        TEST(an_active_job_does_not_see_a_link_that_came_later),
        TEST(a_refused_roster_links_nothing),
        TEST(whatever_comes_first_the_set_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
