#include "storage/verify.h"

#include "codec/base/buffer.h"
#include "codec/base/mem.h"
#include "storage/accounts.h"
#include "storage/beneficiary.h"
#include "tests/support/load_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ACO      "A0001"
#define EOB      RESOURCE_TYPE_EXPLANATION_OF_BENEFIT
#define COVERAGE RESOURCE_TYPE_COVERAGE
#define PATIENT  RESOURCE_TYPE_PATIENT

struct fixture {
    struct load_fixture load;
    struct buffer faults; /* "where: what\n" */
    struct verify_counts counts;
};

static void note_fault(void *context, const char *where, const char *what)
{
    buffer_appendf(context, "%s: %s\n", where, what);
}

static const char *verify(struct fixture *f)
{
    struct verify_options options = {.context = &f->faults, .fault = note_fault};
    buffer_reset(&f->faults);
    assert_int_equal(verify_run(f->load.store.store, &options, &f->counts, NULL), STATUS_OK);
    return buffer_text(&f->faults);
}

/* A little of everything: rosters, direct attribution, replaced resources that an active job pins. */
static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    struct buffer text = BUFFER_INIT;
    load_fixture_open(&f->load);
    uint32_t aco = store_fixture_add_aco(&f->load.store, ACO);
    struct credential_create create;
    char secret[CLIENT_SECRET_SIZE + 1];
    assert_int_equal(credential_create_init(&create, SLICE_LITERAL(ACO), (struct slice){0}, (struct slice){0},
                                            secret, NULL),
                     STATUS_OK);
    assert_int_equal(writer_call(f->load.store.writer, &create.request, NULL), STATUS_OK);
    store_fixture_add_aco(&f->load.store, "A0002");
    load_line(&text, PATIENT, "b1", "b1", "1A", 1, "2020-05-01T00:00:00Z");
    load_line(&text, EOB, "e1", "b1", NULL, 1, "2020-05-01T00:00:00Z");
    load_line(&text, EOB, "e2", "b1", NULL, 1, "2020-05-02T00:00:00Z");
    load_line(&text, COVERAGE, "c1", "b1", NULL, 1, "2020-05-01T00:00:00Z");
    load_line(&text, PATIENT, "b2", "b2", "2A", 1, "2020-05-01T00:00:00Z");
    load_text(&f->load, buffer_slice(&text), NULL);
    load_roster(&f->load, ACO, "r1", 1000, "1A 2A 3A");
    load_roster(&f->load, "A0002", "r1", 1000, "1A");
    buffer_reset(&text);
    load_line(&text, EOB, "e3", "b3", NULL, 1, "2020-05-01T00:00:00Z");
    load_text(&f->load, buffer_slice(&text), ACO);
    load_kick_off(&f->load, aco, "Patient");
    buffer_reset(&text);
    load_line(&text, EOB, "e2", "b1", NULL, 2, "2020-06-01T00:00:00Z");
    buffer_append_text(&text, "{\"resourceType\":\"Bundle\",\"entry\":["
                              "{\"request\":{\"method\":\"DELETE\",\"url\":\"ExplanationOfBenefit/e1\"}},"
                              "{\"request\":{\"method\":\"DELETE\",\"url\":\"Coverage/unknown\"}}]}\n");
    load_text(&f->load, buffer_slice(&text), NULL);
    load_roster(&f->load, ACO, "r2", 2000, "1A 3A");
    buffer_release(&text);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    load_fixture_close(&f->load);
    buffer_release(&f->faults);
    mem_free(f);
    return 0;
}

struct change {
    struct write_request request;
    unsigned table;
    struct slice key, value; /* value.data NULL: delete */
};

static enum status change_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct change *change = (struct change *)request;
    return change->value.data ? engine_put(write->txn, change->table, change->key, change->value, error)
                              : engine_delete(write->txn, change->table, change->key, error);
}

static void change(struct fixture *f, unsigned table, struct slice key, struct slice value)
{
    struct change request = {{.apply = change_run}, table, key, value};
    assert_int_equal(writer_call(f->load.store.writer, &request.request, NULL), STATUS_OK);
}

struct mbi_change {
    struct write_request request;
    struct slice mbi;
    const struct mbi_row *row;
};

static enum status mbi_change_run(struct write_request *request, struct store_write *write,
                                  struct error *error)
{
    struct mbi_change *change = (struct mbi_change *)request;
    return mbi_row_put(write, change->mbi, change->row, error);
}

static void put_mbi(struct fixture *f, struct slice mbi, const struct mbi_row *row)
{
    struct mbi_change request = {{.apply = mbi_change_run}, mbi, row};
    assert_int_equal(writer_call(f->load.store.writer, &request.request, NULL), STATUS_OK);
}

/* Every row of a table, copied. */
struct rows {
    struct slice keys[64], values[64];
    size_t count;
    struct arena arena;
};

static void rows_read(struct fixture *f, unsigned table, struct rows *rows)
{
    struct engine_cursor *cursor;
    struct slice key, value;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    *rows = (struct rows){.arena = ARENA_INIT};
    assert_int_equal(engine_cursor_open(txn, table, &cursor, NULL), STATUS_OK);
    while (engine_next(cursor, &key, &value, NULL) == STATUS_OK) {
        assert_in_range(rows->count, 0, 63);
        rows->keys[rows->count] = arena_copy(&rows->arena, key);
        rows->values[rows->count] = arena_copy(&rows->arena, value);
        if (!rows->values[rows->count].data)
            rows->values[rows->count].data = "";
        rows->count++;
    }
    engine_cursor_close(cursor);
    engine_end(txn);
}

static void a_sound_store_has_no_faults(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(verify(f), "");
    assert_int_equal(f->counts.faults, 0);
    assert_int_equal(f->counts.beneficiaries, 3);
    assert_int_equal(f->counts.resources, 5);
    assert_int_equal(f->counts.segments, 6); /* one of them superseded */
    load_collect(&f->load);
    assert_string_equal(verify(f), "");
}

/* Tables whose every row something else must agree with. */
static const unsigned indexed[] = {TABLE_SEGMENT + EOB,
                                   TABLE_SEGMENT + COVERAGE,
                                   TABLE_SEGMENT + PATIENT,
                                   TABLE_SUMMARY,
                                   TABLE_RESOURCE,
                                   TABLE_DELETED,
                                   TABLE_BENEFICIARY,
                                   TABLE_MBI,
                                   TABLE_DEAD,
                                   TABLE_JOB_ACTIVE,
                                   TABLE_JOB,
                                   TABLE_JOB_BY_ACO,
                                   TABLE_ACO,
                                   TABLE_ACO_BY_ID,
                                   TABLE_CREDENTIAL_BY_ACO};

static void every_lost_row_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct rows rows;
    for (size_t t = 0; t < sizeof indexed / sizeof *indexed; t++) {
        rows_read(f, indexed[t], &rows);
        assert_true(rows.count > 0);
        for (size_t i = 0; i < rows.count; i++) {
            char name[KEY_TEXT_SIZE];
            key_text(rows.keys[i], name);
            change(f, indexed[t], rows.keys[i], (struct slice){NULL, 0});
            if (!*verify(f))
                fail_msg("%s %s is missing and nobody noticed", table_names[indexed[t]], name);
            change(f, indexed[t], rows.keys[i], rows.values[i]);
        }
        arena_release(&rows.arena);
    }
    assert_string_equal(verify(f), "");
}

/* One that leads to another ACO's thing would show it to it. */
static void an_index_row_of_another_aco_is_noticed(void **state)
{
    struct fixture *f = *state;
    static const unsigned tables[] = {TABLE_JOB_BY_ACO, TABLE_CREDENTIAL_BY_ACO, TABLE_JOB_ACTIVE,
                                      TABLE_EXPORTABLE, TABLE_ATTRIBUTION};
    struct rows rows;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        size_t noticed = 0;
        rows_read(f, tables[t], &rows);
        for (size_t i = 0; i < rows.count; i++) {
            struct buffer key = BUFFER_INIT;
            buffer_append_slice(&key, rows.keys[i]);
            key.data[3] = 9; /* the ACO's number */
            change(f, tables[t], buffer_slice(&key), rows.values[i]);
            noticed += strstr(verify(f), table_names[tables[t]]) != NULL;
            change(f, tables[t], buffer_slice(&key), (struct slice){NULL, 0});
            buffer_release(&key);
        }
        /* In force: exportable b1 and b1; attribution 1A, 3A and 1A of the other ACO. */
        assert_int_equal(noticed, t < 3 ? rows.count : t == 3 ? 2 : 3);
        assert_true(noticed > 0);
        arena_release(&rows.arena);
    }
    assert_string_equal(verify(f), "");
}

/* What an active job reads is kept by what this row says. */
static void an_active_job_that_is_listed_with_another_view_or_endpoint_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct rows rows;
    rows_read(f, TABLE_JOB_ACTIVE, &rows);
    assert_int_equal(rows.count, 1);
    struct buffer bytes = BUFFER_INIT;
    buffer_append_slice(&bytes, rows.values[0]);
    bytes.data[bytes.size - 8] ^= 1; /* the sequence */
    change(f, TABLE_JOB_ACTIVE, rows.keys[0], buffer_slice(&bytes));
    assert_non_null(strstr(verify(f), "job_active "));
    change(f, TABLE_JOB_ACTIVE, rows.keys[0], rows.values[0]);
    buffer_reset(&bytes);
    buffer_append_slice(&bytes, rows.keys[0]);
    bytes.data[bytes.size - 2] ^= 1; /* the endpoint's last byte */
    change(f, TABLE_JOB_ACTIVE, buffer_slice(&bytes), rows.values[0]);
    assert_non_null(strstr(verify(f), "job_active "));
    buffer_release(&bytes);
    arena_release(&rows.arena);
}

/* Of these only rows that are in force. */
static void a_lost_row_of_attribution_is_noticed(void **state)
{
    struct fixture *f = *state;
    static const unsigned tables[] = {TABLE_ATTRIBUTION, TABLE_EXPORTABLE};
    struct rows rows;
    for (size_t t = 0; t < 2; t++) {
        size_t noticed = 0;
        rows_read(f, tables[t], &rows);
        for (size_t i = 0; i < rows.count; i++) {
            change(f, tables[t], rows.keys[i], (struct slice){NULL, 0});
            noticed += *verify(f) != '\0';
            change(f, tables[t], rows.keys[i], rows.values[i]);
        }
        /* In force: attribution 1A, 3A and 1A of the other ACO; exportable b1 and b1. */
        assert_int_equal(noticed, t == 0 ? 3 : 2);
        arena_release(&rows.arena);
    }
}

static void every_row_with_a_byte_less_or_more_is_named(void **state)
{
    struct fixture *f = *state;
    struct rows rows;
    for (unsigned table = 0; table < TABLE_COUNT; table++) {
        /* Rows without a value; and those that are reported with the row that they belong to. */
        bool is_value = table != TABLE_META && table != TABLE_JOB_BY_ACO && table != TABLE_DEAD &&
                        table != TABLE_CREDENTIAL_BY_ACO;
        bool is_part = table == TABLE_ROSTER || table == TABLE_JOB_FILE || table == TABLE_ACO_BY_ID;
        if (!is_value)
            continue;
        rows_read(f, table, &rows);
        for (size_t i = 0; i < rows.count; i++) {
            for (int more = 0; more < 2; more++) {
                struct buffer value = BUFFER_INIT;
                char name[KEY_TEXT_SIZE + 64], hex[KEY_TEXT_SIZE];
                key_text(rows.keys[i], hex);
                snprintf(name, sizeof name, "%s %s", table_names[table], hex);
                buffer_append_slice(&value, rows.values[i]);
                if (more)
                    buffer_append_char(&value, 'x');
                else
                    value.size--;
                change(f, table, rows.keys[i], buffer_slice(&value));
                /* A resource's row is its beneficiary's id: another id leads nowhere. */
                if (!strstr(verify(f), is_part ? "" : name) || !f->counts.faults)
                    fail_msg("%s has a byte %s, reported is: %s", name, more ? "more" : "less",
                             buffer_text(&f->faults));
                change(f, table, rows.keys[i], rows.values[i]);
                buffer_release(&value);
            }
        }
        arena_release(&rows.arena);
    }
    assert_string_equal(verify(f), "");
}

/* What another program wrote costs only itself, like damage: the walk goes on behind it. */
static void every_row_of_another_version_is_named(void **state)
{
    struct fixture *f = *state;
    struct rows rows;
    for (unsigned table = 0; table < TABLE_COUNT; table++) {
        bool is_versioned = table != TABLE_META && table != TABLE_JOB_BY_ACO && table != TABLE_DEAD &&
                            table != TABLE_CREDENTIAL_BY_ACO;
        bool is_part =
            table == TABLE_ROSTER || table == TABLE_JOB_FILE; /* reported with what they belong to */
        if (!is_versioned)
            continue;
        rows_read(f, table, &rows);
        for (size_t i = 0; i < rows.count; i++) {
            struct buffer value = BUFFER_INIT;
            char name[KEY_TEXT_SIZE + 64], hex[KEY_TEXT_SIZE];
            key_text(rows.keys[i], hex);
            snprintf(name, sizeof name, "%s %s", table_names[table], hex);
            buffer_append_slice(&value, rows.values[i]);
            value.data[1] = 99;
            change(f, table, rows.keys[i], buffer_slice(&value));
            if (!strstr(verify(f), is_part ? "" : name) || !f->counts.faults)
                fail_msg("%s is of version 99, reported is: %s", name, buffer_text(&f->faults));
            change(f, table, rows.keys[i], rows.values[i]);
            buffer_release(&value);
        }
        arena_release(&rows.arena);
    }
    assert_string_equal(verify(f), "");
}

/* An MBI without a Patient that leads to somebody would attribute him by another's roster. */
static void an_mbi_of_somebody_who_does_not_carry_it_is_noticed(void **state)
{
    struct fixture *f = *state;
    static const char *const beneficiaries[] = {"b1", "zz"};
    struct key key;
    struct mbi_row row;
    char name[KEY_TEXT_SIZE + 64], hex[KEY_TEXT_SIZE];
    key_of_id(&key, SLICE_LITERAL("3A"));
    key_text(key_slice(&key), hex);
    snprintf(name, sizeof name, "%s %s: ", table_names[TABLE_MBI], hex);
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    assert_int_equal(mbi_row_get(txn, SLICE_LITERAL("3A"), &row, NULL), STATUS_OK);
    engine_end(txn);
    assert_int_equal(row.beneficiary_size, 0);
    for (size_t i = 0; i < 2; i++) {
        row.beneficiary_size = 2;
        memcpy(row.beneficiary, beneficiaries[i], 2);
        put_mbi(f, SLICE_LITERAL("3A"), &row);
        if (!strstr(verify(f), name))
            fail_msg("3A leads to %s, reported is: %s", beneficiaries[i], buffer_text(&f->faults));
    }
    row.beneficiary_size = 0;
    put_mbi(f, SLICE_LITERAL("3A"), &row);
    assert_string_equal(verify(f), "");
}

static void a_resource_in_two_segments_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct rows rows;
    rows_read(f, TABLE_SEGMENT + PATIENT, &rows);
    struct buffer key = BUFFER_INIT;
    buffer_append_slice(&key, rows.keys[0]);
    key.data[key.size - 1] ^= 1; /* the ordinal */
    change(f, TABLE_SEGMENT + PATIENT, buffer_slice(&key), rows.values[0]);
    assert_non_null(strstr(verify(f), "a resource stands in two segments"));
    assert_non_null(strstr(buffer_text(&f->faults), "the summary does not agree with the segments"));
    buffer_release(&key);
    arena_release(&rows.arena);
}

static void a_segment_under_another_instant_or_home_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct rows rows;
    rows_read(f, TABLE_SEGMENT + COVERAGE, &rows);
    struct buffer key = BUFFER_INIT;
    buffer_append_slice(&key, rows.keys[0]);
    key.data[key.size - 11] ^= 1; /* the last byte of the instant */
    change(f, TABLE_SEGMENT + COVERAGE, rows.keys[0], (struct slice){NULL, 0});
    change(f, TABLE_SEGMENT + COVERAGE, buffer_slice(&key), rows.values[0]);
    assert_non_null(strstr(verify(f), "the key's instant is not the segment's newest"));
    change(f, TABLE_SEGMENT + COVERAGE, buffer_slice(&key), (struct slice){NULL, 0});
    key.data[key.size - 11] ^= 1;
    key.data[3] ^= 7; /* the home */
    change(f, TABLE_SEGMENT + COVERAGE, buffer_slice(&key), rows.values[0]);
    assert_non_null(strstr(verify(f), "stands under a home that is not its beneficiary's"));
    buffer_release(&key);
    arena_release(&rows.arena);
}

/* In the file, past every checksum's maker. */
static void a_flipped_bit_on_disk_is_named_with_its_key(void **state)
{
    struct fixture *f = *state;
    struct rows rows;
    char path[STORE_FIXTURE_PATH_MAX + 32], name[KEY_TEXT_SIZE + 64], hex[KEY_TEXT_SIZE];
    rows_read(f, TABLE_SEGMENT + COVERAGE, &rows);
    key_text(rows.keys[0], hex);
    snprintf(name, sizeof name, "segment.Coverage %s", hex);
    link_close(f->load.link);
    f->load.link = NULL;
    writer_stop(f->load.store.writer);
    store_close(f->load.store.store);
    f->load.store.writer = NULL;

    snprintf(path, sizeof path, "%s/store.mdb", f->load.store.dir);
    int fd = open(path, O_RDWR);
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    char *map = mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    size_t found = 0;
    struct slice value = rows.values[0];
    for (char *at = map; (at = memmem(at, (size_t)(map + info.st_size - at), value.data, value.size));
         at += value.size) {
        at[value.size / 2] ^= 4; /* older copies of the page too */
        found++;
    }
    assert_true(found > 0);
    munmap(map, (size_t)info.st_size);
    close(fd);
    struct error error = {0};
    struct store_options options = {.map_bytes = STORE_FIXTURE_MAP_BYTES};
    assert_int_equal(
        store_open(f->load.store.dir, STORE_ACCESS_WRITE, &options, &f->load.store.store, &error), STATUS_OK);
    if (!strstr(verify(f), name))
        fail_msg("%s is damaged, reported is: %s", name, buffer_text(&f->faults));
    arena_release(&rows.arena);
}

static void a_deletion_that_does_not_agree_with_its_tombstone_is_found(void **state)
{
    struct fixture *f = *state;
    struct buffer text = BUFFER_INIT;
    struct rows tombstones, deletions, deads;
    buffer_append_text(&text, "{\"resourceType\":\"Bundle\",\"entry\":["
                              "{\"request\":{\"method\":\"DELETE\",\"url\":\"Coverage/c1\"}}]}\n");
    load_text(&f->load, buffer_slice(&text), NULL);
    buffer_reset(&text);
    load_line(&text, EOB, "e1", "b1", NULL, 2, "2300-01-01T00:00:00Z"); /* comes back; a job pins the row */
    load_text(&f->load, buffer_slice(&text), NULL);
    assert_string_equal(verify(f), "");
    rows_read(f, TABLE_TOMBSTONE, &tombstones);
    rows_read(f, TABLE_DELETED, &deletions);
    rows_read(f, TABLE_DEAD, &deads);
    assert_int_equal(tombstones.count, 2);
    assert_int_equal(deletions.count, 2);

    /* As the block of the index that has nothing but this one. */
    struct buffer key = BUFFER_INIT, value = BUFFER_INIT;
    struct slice deleted_id = slice_skip(tombstones.keys[0], 1);
    deleted_id.size--; /* its NUL */
    buffer_append_char(&key, tombstones.keys[0].data[0]);
    buffer_append_char(&key, '\0');
    buffer_append_slice(&key, slice_skip(tombstones.keys[0], 1));
    buffer_append(&value,
                  "I\x01\x01\x00\x01\x00\x02"
                  "b1\x00",
                  10);
    buffer_append_u8(&value, (uint8_t)deleted_id.size);
    buffer_append_slice(&value, deleted_id);
    buffer_append_u16(&value, 0);
    change(f, TABLE_RESOURCE, buffer_slice(&key), buffer_slice(&value));
    assert_non_null(strstr(verify(f), ": the resource stands\n"));
    change(f, TABLE_RESOURCE, buffer_slice(&key), (struct slice){0});
    buffer_release(&key);
    buffer_release(&value);
    assert_string_equal(verify(f), "");
    change(f, TABLE_TOMBSTONE, tombstones.keys[0], (struct slice){0});
    assert_non_null(strstr(verify(f), "deleted "));
    change(f, TABLE_TOMBSTONE, tombstones.keys[0], tombstones.values[0]);
    for (size_t i = 0; i < deletions.count; i++) { /* one is named by a tombstone, one in dead */
        change(f, TABLE_DELETED, deletions.keys[i], (struct slice){0});
        assert_non_null(strstr(verify(f), "a record that it names is missing\n"));
        change(f, TABLE_DELETED, deletions.keys[i], deletions.values[i]);
        assert_string_equal(verify(f), "");
    }
    for (size_t i = 0; i < deads.count; i++) {
        change(f, TABLE_DEAD, deads.keys[i], (struct slice){0});
        assert_non_null(strstr(verify(f), "was superseded, but is not listed as dead\n"));
        change(f, TABLE_DEAD, deads.keys[i], deads.values[i]);
    }
    assert_string_equal(verify(f), "");
    buffer_release(&text);
    arena_release(&tombstones.arena);
    arena_release(&deletions.arena);
    arena_release(&deads.arena);
}

/* ---- beside a writer ---- */

struct beside {
    struct fixture *f;
    uint32_t aco;
    unsigned changes;      /* as many as steps */
    struct load_view view; /* of a job that pins what is superseded */
};

static void load_version(struct fixture *f, const char *id, const char *beneficiary, unsigned version)
{
    struct buffer text = BUFFER_INIT;
    char time[64];
    snprintf(time, sizeof time, "2020-07-01T%02u:%02u:00Z", version / 60, version % 60);
    load_line(&text, EOB, id, beneficiary, NULL, version, time);
    load_text(&f->load, buffer_slice(&text), NULL);
    buffer_release(&text);
}

/* Between any two records something else has changed: claims, the roster, jobs, what is superseded. */
static void change_something(void *context, const struct verify_counts *counts)
{
    (void)counts;
    struct beside *beside = context;
    struct fixture *f = beside->f;
    struct engine_stats stats;
    char text[32];
    assert_int_equal(engine_stats(store_engine(f->load.store.store), &stats, NULL), STATUS_OK);
    assert_int_equal(stats.oldest_reader_age, 0);
    unsigned n = beside->changes++;
    switch (n < 150 ? n % 6 : 6) {
    case 0:
        load_version(f, "e1", "b1", n);
        break;
    case 1:
        snprintf(text, sizeof text, "new%u", n);
        load_version(f, text, n % 4 < 2 ? "b2" : "b4", n);
        break;
    case 2:
        snprintf(text, sizeof text, "w%u", n);
        load_roster(&f->load, ACO, text, 3000 + n, n % 4 < 2 ? "2A" : "1A 2A 3A");
        break;
    case 3:
        beside->view = load_kick_off(&f->load, beside->aco, "Group/all");
        break;
    case 4:
        load_version(f, "e3", "b3", n);
        break;
    case 5:
        load_end_job(&f->load, &beside->view);
        load_collect(&f->load);
        break;
    default:
        break;
    }
}

static void fail_at_fault(void *context, const char *where, const char *what)
{
    struct beside *beside = context;
    fail_msg("after change %u, %s: %s", beside->changes, where, what);
}

static void what_changes_between_two_steps_is_no_fault(void **state)
{
    struct fixture *f = *state;
    struct engine_txn *txn = store_fixture_read(&f->load.store);
    struct aco aco;
    assert_int_equal(aco_find(txn, SLICE_LITERAL(ACO), &aco, NULL), STATUS_OK);
    engine_end(txn);
    struct beside beside = {.f = f, .aco = aco.number};
    struct verify_options options = {
        .context = &beside, .step_us = 1, .fault = fail_at_fault, .progress = change_something};
    for (int round = 0; round < 2; round++)
        assert_int_equal(verify_run(f->load.store.store, &options, &f->counts, NULL), STATUS_OK);
    assert_true(beside.changes > 100);
    assert_string_equal(verify(f), "");
}

int main(void)
{
    load_clock_shift(0);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_sound_store_has_no_faults),
        TEST(what_changes_between_two_steps_is_no_fault),
        TEST(every_lost_row_is_noticed),
        TEST(an_index_row_of_another_aco_is_noticed),
        TEST(an_active_job_that_is_listed_with_another_view_or_endpoint_is_noticed),
        TEST(a_lost_row_of_attribution_is_noticed),
        TEST(every_row_with_a_byte_less_or_more_is_named),
        TEST(every_row_of_another_version_is_named),
        TEST(an_mbi_of_somebody_who_does_not_carry_it_is_noticed),
        TEST(a_resource_in_two_segments_is_noticed),
        TEST(a_segment_under_another_instant_or_home_is_noticed),
        TEST(a_deletion_that_does_not_agree_with_its_tombstone_is_found),
        TEST(a_flipped_bit_on_disk_is_named_with_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
