#include "storage/verify.h"

#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "storage/read_steps.h"
#include "storage/verify_check.h"

#include <stdio.h>

#define VERIFY_PENDING_BYTES ((size_t)1024 * 1024) /* of faults that a step may find */

void verify_fault(struct verify *verify, unsigned table, struct slice key, const char *what)
{
    char text[KEY_TEXT_SIZE], where[KEY_TEXT_SIZE + 64];
    key_text(key, text);
    snprintf(where, sizeof where, "%s %s", table_names[table], text);
    verify->counts.faults++;
    buffer_append(&verify->pending, where, strlen(where) + 1);
    buffer_append(&verify->pending, what, strlen(what) + 1);
}

/* Whoever is told may block on a pipe: when no transaction is open. */
static void tell_faults(struct verify *verify)
{
    for (size_t at = 0; at < verify->pending.size;) {
        const char *where = verify->pending.data + at, *what = where + strlen(where) + 1;
        verify->options->fault(verify->options->context, where, what);
        at += strlen(where) + 1 + strlen(what) + 1;
    }
    buffer_reset(&verify->pending);
}

/* True if the status is a fault of the data (reported) or OK; false if the walk cannot go on. */
static bool note_status(struct verify *verify, unsigned table, struct slice key, enum status status,
                        const struct error *error)
{
    if (status == STATUS_OK)
        return true;
    if (status != STATUS_CORRUPT && status != STATUS_UNSUPPORTED && status != STATUS_NOT_FOUND)
        return false;
    verify_fault(verify, table, key,
                 status == STATUS_NOT_FOUND ? "a record that it names is missing" : error->text);
    return true;
}

/* ---- the walk ---- */

/* The engine checks every record's checksum; a table without a row here is only walked. */
static record_check *const checks[TABLE_COUNT] = {
    [TABLE_SEGMENT + RESOURCE_TYPE_EXPLANATION_OF_BENEFIT] = verify_eob,
    [TABLE_SEGMENT + RESOURCE_TYPE_COVERAGE] = verify_coverage,
    [TABLE_SEGMENT + RESOURCE_TYPE_PATIENT] = verify_patient,
    [TABLE_SUMMARY] = verify_summary,
    [TABLE_RESOURCE] = verify_resource,
    [TABLE_TOMBSTONE] = verify_tombstone,
    [TABLE_DELETED] = verify_deleted,
    [TABLE_BENEFICIARY] = verify_beneficiary,
    [TABLE_MBI] = verify_mbi,
    [TABLE_ATTRIBUTION] = verify_attribution,
    [TABLE_EXPORTABLE] = verify_exportable,
    [TABLE_MBI_LINK] = verify_mbi_link,
    [TABLE_SUPPRESSION] = verify_suppression,
    [TABLE_SUPPRESSION_DUE] = verify_suppression_due,
    [TABLE_SUPPRESSION_FILE] = verify_suppression_file,
    [TABLE_DEAD] = verify_dead,
    [TABLE_MOVE] = verify_move,
    [TABLE_JOB] = verify_job,
    [TABLE_JOB_BY_ACO] = verify_job_by_aco,
    [TABLE_JOB_ACTIVE] = verify_job_active,
    [TABLE_ACO] = verify_aco,
    [TABLE_ACO_BY_ID] = verify_aco_by_id,
    [TABLE_CREDENTIAL] = verify_credential,
    [TABLE_CREDENTIAL_BY_ACO] = verify_credential_by_aco,
};

/* Walks from behind `last` for as long as one snapshot may live. STATUS_NOT_FOUND: the table's end. */
static enum status verify_part(struct verify *verify, unsigned table, struct buffer *last,
                               struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(verify->txn, table, &cursor, error);
    if (status != STATUS_OK)
        return status;
    int64_t step_us = verify->options->step_us ? verify->options->step_us : READ_STEP_US;
    int64_t deadline_us = clock_monotonic_us() + step_us;
    engine_seek(cursor, buffer_slice(last), (struct slice){0});
    do {
        struct slice key, value;
        struct error local = {0};
        status = engine_next(cursor, &key, &value, &local);
        if (status == STATUS_NOT_FOUND)
            break;
        if (status == STATUS_CORRUPT && key.size == 0) {
            /* The engine's own structure: what stands behind it in this table cannot be reached. */
            verify_fault(verify, table, buffer_slice(last), local.text);
            status = STATUS_NOT_FOUND;
            break;
        }
        if (status != STATUS_OK && status != STATUS_CORRUPT) {
            if (error)
                *error = local;
            break;
        }
        verify->counts.records++;
        verify->rows[table]++;
        buffer_reset(last);
        buffer_append_slice(last, key);
        buffer_append_char(last, '\0'); /* the next key in order */
        struct slice own_key = slice_make(last->data, last->size - 1);
        if (status == STATUS_OK && checks[table])
            status = checks[table](verify, own_key, value, &local);
        if (!note_status(verify, table, own_key, status, &local)) {
            if (error)
                *error = local;
            break;
        }
        status = STATUS_OK;
    } while (clock_monotonic_us() < deadline_us && verify->pending.size < VERIFY_PENDING_BYTES);
    engine_cursor_close(cursor);
    return status;
}

static enum status verify_table(struct verify *verify, unsigned table, struct error *error)
{
    struct buffer last = BUFFER_INIT;
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        status = engine_begin_read(store_engine(verify->store), &verify->txn, error);
        if (status != STATUS_OK)
            break;
        status = verify_part(verify, table, &last, error);
        engine_end(verify->txn);
        tell_faults(verify);
        if (verify->options->progress)
            verify->options->progress(verify->options->context, &verify->counts);
    }
    buffer_release(&last);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status verify_clock(struct verify *verify, struct store_clock *ret_clock, struct error *error)
{
    enum status status = engine_begin_read(store_engine(verify->store), &verify->txn, error);
    if (status != STATUS_OK)
        return status;
    status = store_clock_read(verify->txn, ret_clock, error);
    engine_end(verify->txn);
    return status;
}

/* Totals can be compared only if nothing was written since the walk began. What a damaged page hides is
 * counted by its table still. */
static enum status verify_totals(struct verify *verify, const struct store_clock *begun, struct error *error)
{
    char what[128];
    struct store_clock now;
    enum status status = engine_begin_read(store_engine(verify->store), &verify->txn, error);
    if (status != STATUS_OK)
        return status;
    status = store_clock_read(verify->txn, &now, error);
    if (status != STATUS_OK || now.sequence != begun->sequence) {
        engine_end(verify->txn);
        return status;
    }
    for (unsigned table = 0; status == STATUS_OK && table < TABLE_COUNT; table++) {
        struct engine_table_stats stats;
        status = engine_table_stats(verify->txn, table, &stats, error);
        if (status == STATUS_OK && stats.entries != verify->rows[table]) {
            snprintf(what, sizeof what, "the table has %llu records, %llu of them were reached",
                     (unsigned long long)stats.entries, (unsigned long long)verify->rows[table]);
            verify_fault(verify, table, SLICE_LITERAL(""), what);
        }
    }
    engine_end(verify->txn);
    for (int type = 0; status == STATUS_OK && type < RESOURCE_TYPE_COUNT; type++) {
        if (verify->live[type] != verify->indexed[type]) {
            snprintf(what, sizeof what, "the index has %llu entries of %s, the segments hold %llu resources",
                     (unsigned long long)verify->indexed[type], resource_type_name((enum resource_type)type),
                     (unsigned long long)verify->live[type]);
            verify_fault(verify, TABLE_RESOURCE, SLICE_LITERAL(""), what);
        }
    }
    return status;
}

enum status verify_run(struct store *store, const struct verify_options *options,
                       struct verify_counts *ret_counts, struct error *error)
{
    CHECK(options->fault);
    struct verify verify = {.store = store, .options = options, .inflater = inflater_new()};
    struct store_clock begun;
    segment_table_init(&verify.table);
    enum status status = verify_clock(&verify, &begun, error);
    for (unsigned table = 0; status == STATUS_OK && table < TABLE_COUNT; table++)
        status = verify_table(&verify, table, error);
    if (status == STATUS_OK)
        status = verify_totals(&verify, &begun, error);
    tell_faults(&verify);
    *ret_counts = verify.counts;
    segment_table_release(&verify.table);
    inflater_free(verify.inflater);
    arena_release(&verify.arena);
    buffer_release(&verify.ids);
    buffer_release(&verify.pending);
    return status;
}
