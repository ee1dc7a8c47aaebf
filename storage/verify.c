#include "storage/verify.h"

#include "codec/base/arena.h"
#include "codec/base/buffer.h"
#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "storage/accounts.h"
#include "storage/interval.h"
#include "storage/jobs.h"
#include "storage/resources.h"

#include <stdio.h>
#include <stdlib.h>

#define VERIFY_SNAPSHOT_US (US_PER_SECOND / 20) /* how long one read transaction may live */

struct verify {
    struct store *store;
    const struct verify_options *options;
    struct verify_counts counts;
    struct engine_txn *txn;
    struct inflater *inflater;
    struct segment_table table;
    struct arena arena;
    struct buffer ids;                     /* struct slice: of one beneficiary and type */
    uint64_t live[RESOURCE_TYPE_COUNT];    /* resources found in segments */
    uint64_t indexed[RESOURCE_TYPE_COUNT]; /* rows of TABLE_RESOURCE */
};

static void fault_at(struct verify *verify, unsigned table, struct slice key, const char *what)
{
    char text[KEY_TEXT_SIZE], where[KEY_TEXT_SIZE + 64];
    key_text(key, text);
    snprintf(where, sizeof where, "%s %s", table_names[table], text);
    verify->counts.faults++;
    verify->options->fault(verify->options->context, where, what);
}

/* True if the status is a fault of the data (reported) or OK; false if the walk cannot go on. */
static bool note_status(struct verify *verify, unsigned table, struct slice key, enum status status,
                        const struct error *error)
{
    if (status == STATUS_OK)
        return true;
    if (status != STATUS_CORRUPT && status != STATUS_NOT_FOUND)
        return false;
    fault_at(verify, table, key,
             status == STATUS_CORRUPT ? error->text : "a record that it names is missing");
    return true;
}

/* ---- one record of each table ---- */

typedef enum status record_check(struct verify *verify, struct slice key, struct slice value,
                                 struct error *error);

/* What TABLE_DEAD does not list would never be collected. */
static enum status check_dead_is_listed(struct verify *verify, enum resource_type type, struct slice key,
                                        uint64_t death, struct error *error)
{
    struct buffer dead = BUFFER_INIT;
    struct key prefix;
    struct slice value;
    key_of_u64(&prefix, death);
    key_u8(&prefix, (uint8_t)type);
    buffer_append_slice(&dead, key_slice(&prefix));
    buffer_append_slice(&dead, key);
    enum status status = engine_get(verify->txn, TABLE_DEAD, buffer_slice(&dead), &value, error);
    buffer_release(&dead);
    if (status == STATUS_NOT_FOUND)
        fault_at(verify, TABLE_SEGMENT + (unsigned)type, key, "was superseded, but is not listed as dead");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status check_segment(struct verify *verify, enum resource_type type, struct slice key,
                                 struct slice value, struct error *error)
{
    unsigned table = TABLE_SEGMENT + (unsigned)type;
    struct slice rest = key, beneficiary_id;
    struct segment_name name;
    uint32_t home;
    if (!key_take_u32(&rest, &home) || !key_take_id(&rest, &beneficiary_id) ||
        !key_take_instant(&rest, &name.newest_us) || !key_take_u64(&rest, &name.birth) ||
        !key_take_u16(&rest, &name.ordinal) || rest.size) {
        fault_at(verify, table, key, "the key is malformed");
        return STATUS_OK;
    }
    struct stored_segment stored;
    enum status status = stored_segment_open(value, &stored, error);
    if (status == STATUS_OK)
        status = segment_check(&stored.segment, verify->inflater, error);
    if (status != STATUS_OK)
        return status;
    verify->counts.segments++;
    verify->counts.raw_bytes += stored.segment.raw_bytes;
    if (stored.segment.newest_us != name.newest_us)
        fault_at(verify, table, key, "the key's instant is not the segment's newest");
    struct beneficiary beneficiary;
    if (stored.death != SEQUENCE_NEVER) {
        if (stored.death <= name.birth)
            fault_at(verify, table, key, "was superseded before it was born");
        return check_dead_is_listed(verify, type, key, stored.death, error);
    }
    verify->counts.resources += stored.segment.count;
    status = beneficiary_get(verify->txn, beneficiary_id, &beneficiary, error);
    if (status == STATUS_OK && beneficiary.home != home)
        fault_at(verify, table, key, "stands under a home that is not its beneficiary's");
    return status;
}

static enum status check_eob(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    return check_segment(verify, RESOURCE_TYPE_EXPLANATION_OF_BENEFIT, key, value, error);
}

static enum status check_coverage(struct verify *verify, struct slice key, struct slice value,
                                  struct error *error)
{
    return check_segment(verify, RESOURCE_TYPE_COVERAGE, key, value, error);
}

static enum status check_patient(struct verify *verify, struct slice key, struct slice value,
                                 struct error *error)
{
    return check_segment(verify, RESOURCE_TYPE_PATIENT, key, value, error);
}

static int slice_order(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* The standing segments of one type against the summary and the index of ids. */
static enum status check_beneficiary_type(struct verify *verify, struct slice key, struct slice id,
                                          const struct beneficiary *beneficiary, enum resource_type type,
                                          const struct summary *summary, struct error *error)
{
    struct segment_scan *scan;
    enum status status = segment_scan_open(verify->txn, type, UINT64_MAX - 1, &scan, error);
    if (status != STATUS_OK)
        return status;
    uint64_t segments = 0, resources = 0, raw_bytes = 0, stored_bytes = 0;
    int64_t newest_us = INT64_MIN;
    struct stored_segment stored;
    arena_reset(&verify->arena);
    buffer_reset(&verify->ids);
    segment_scan_seek(scan, beneficiary->home, id, INT64_MIN);
    while ((status = segment_scan_next(scan, &stored, error)) == STATUS_OK) {
        segments++;
        resources += stored.segment.count;
        raw_bytes += stored.segment.raw_bytes;
        stored_bytes += stored.value.size;
        newest_us = stored.segment.newest_us > newest_us ? stored.segment.newest_us : newest_us;
        status = segment_table_read(&verify->table, &stored.segment, error);
        if (status != STATUS_OK)
            break;
        for (size_t i = 0; i < verify->table.count; i++) {
            struct slice copy = arena_copy(&verify->arena, verify->table.entries[i].id);
            buffer_append(&verify->ids, &copy, sizeof copy);
        }
    }
    segment_scan_close(scan);
    if (status != STATUS_NOT_FOUND)
        return status; /* a damaged segment is reported where the segments are walked */
    if (segments != summary->of[type].segments || resources != summary->of[type].resources ||
        raw_bytes != summary->of[type].raw_bytes || stored_bytes != summary->of[type].stored_bytes ||
        newest_us > summary->of[type].newest_us)
        fault_at(verify, TABLE_SUMMARY, key, "the summary does not agree with the segments");
    verify->live[type] += resources;

    struct slice *ids = (struct slice *)(void *)verify->ids.data;
    size_t count = verify->ids.size / sizeof *ids;
    if (count)
        qsort(ids, count, sizeof *ids, slice_order);
    for (size_t i = 0; i < count; i++) {
        struct buffer owner = BUFFER_INIT;
        if (i && slice_equal(ids[i], ids[i - 1]))
            fault_at(verify, TABLE_SEGMENT + (unsigned)type, key, "a resource stands in two segments");
        status = resource_find(verify->txn, type, ids[i], &owner, error);
        if (status == STATUS_NOT_FOUND || (status == STATUS_OK && !slice_equal(buffer_slice(&owner), id))) {
            struct key row;
            key_init(&row);
            key_u8(&row, (uint8_t)type);
            key_id(&row, ids[i]);
            fault_at(verify, TABLE_RESOURCE, key_slice(&row), "the index does not lead to its beneficiary");
        }
        buffer_release(&owner);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
    }
    return STATUS_OK;
}

static enum status interval_is_open(struct engine_txn *txn, unsigned table, const struct key *key,
                                    bool *ret_open, struct error *error)
{
    struct interval_row row;
    enum status status = interval_row_get(txn, table, key_slice(key), &row, error);
    *ret_open = status == STATUS_OK && interval_row_open_one(&row);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* By an open row of any of its MBIs, or of itself. */
static enum status beneficiary_is_attributed(struct verify *verify, uint32_t aco, struct slice id,
                                             const struct beneficiary *beneficiary, bool *ret_attributed,
                                             struct error *error)
{
    struct key key;
    key_attribution_direct(&key, aco, id);
    enum status status = interval_is_open(verify->txn, TABLE_ATTRIBUTION, &key, ret_attributed, error);
    for (size_t i = 0; status == STATUS_OK && !*ret_attributed && i < beneficiary->mbi_count; i++) {
        key_attribution(&key, aco, beneficiary->mbis[i]);
        status = interval_is_open(verify->txn, TABLE_ATTRIBUTION, &key, ret_attributed, error);
    }
    return status;
}

static bool contains(const uint32_t *numbers, size_t count, uint32_t number)
{
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] == number)
            return true;
    }
    return false;
}

static enum status check_beneficiary(struct verify *verify, struct slice key, struct slice value,
                                     struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct beneficiary beneficiary;
    if (!key_take_id(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_BENEFICIARY, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = beneficiary_get(verify->txn, id, &beneficiary, error);
    if (status != STATUS_OK)
        return status;
    verify->counts.beneficiaries++;
    for (size_t i = 0; status == STATUS_OK && i < beneficiary.aco_count; i++) {
        struct key exportable;
        bool open;
        key_aco_beneficiary(&exportable, beneficiary.acos[i], id);
        status = interval_is_open(verify->txn, TABLE_EXPORTABLE, &exportable, &open, error);
        if (status == STATUS_OK && !open)
            fault_at(verify, TABLE_BENEFICIARY, key, "names an ACO that may not export it");
    }
    for (size_t i = 0; status == STATUS_OK && i < beneficiary.mbi_count; i++) {
        struct mbi_row row;
        status = mbi_row_get(verify->txn, beneficiary.mbis[i], &row, error);
        if (status == STATUS_OK && !slice_equal(mbi_row_beneficiary(&row), id))
            fault_at(verify, TABLE_BENEFICIARY, key, "has an MBI that leads to another beneficiary");
    }
    struct summary summary;
    summary_init(&summary);
    if (status == STATUS_OK)
        status = summary_get(verify->txn, beneficiary.home, id, &summary, error);
    if (status == STATUS_NOT_FOUND)
        status = STATUS_OK;
    for (int type = 0; status == STATUS_OK && type < RESOURCE_TYPE_COUNT; type++)
        status =
            check_beneficiary_type(verify, key, id, &beneficiary, (enum resource_type)type, &summary, error);
    return status;
}

static enum status check_resource(struct verify *verify, struct slice key, struct slice value,
                                  struct error *error)
{
    struct slice rest = key, id;
    struct beneficiary beneficiary;
    uint8_t type;
    if (!key_take_u8(&rest, &type) || type >= RESOURCE_TYPE_COUNT || !key_take_id(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_RESOURCE, key, "the key is malformed");
        return STATUS_OK;
    }
    verify->indexed[type]++;
    return beneficiary_get(verify->txn, value, &beneficiary, error);
}

static enum status check_summary(struct verify *verify, struct slice key, struct slice value,
                                 struct error *error)
{
    struct slice rest = key, id;
    struct summary summary;
    struct beneficiary beneficiary;
    uint32_t home;
    if (!key_take_u32(&rest, &home) || !key_take_id(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_SUMMARY, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = summary_parse(value, &summary, error);
    if (status == STATUS_OK)
        status = beneficiary_get(verify->txn, id, &beneficiary, error);
    if (status == STATUS_OK && beneficiary.home != home)
        fault_at(verify, TABLE_SUMMARY, key, "stands under a home that is not its beneficiary's");
    return status;
}

static enum status check_exportable(struct verify *verify, struct slice key, struct slice value,
                                    struct error *error)
{
    struct slice rest = key, id;
    struct interval_row row;
    struct beneficiary beneficiary;
    uint32_t aco;
    if (!key_take_u32(&rest, &aco) || !key_take_id(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_EXPORTABLE, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = interval_row_parse(value, &row, error);
    if (status != STATUS_OK)
        return status;
    const struct interval *open = interval_row_open_one(&row);
    if (!open)
        return STATUS_OK;
    status = beneficiary_get(verify->txn, id, &beneficiary, error);
    if (status == STATUS_OK && !contains(beneficiary.acos, beneficiary.aco_count, aco))
        fault_at(verify, TABLE_EXPORTABLE, key, "is open, but the beneficiary does not name the ACO");
    if (status == STATUS_OK && open->home != beneficiary.home)
        fault_at(verify, TABLE_EXPORTABLE, key, "has another home than its beneficiary");
    bool is_attributed;
    if (status == STATUS_OK)
        status = beneficiary_is_attributed(verify, aco, id, &beneficiary, &is_attributed, error);
    if (status == STATUS_OK && !is_attributed)
        fault_at(verify, TABLE_EXPORTABLE, key, "is open, but nothing attributes the beneficiary to the ACO");
    return status;
}

static enum status check_attribution(struct verify *verify, struct slice key, struct slice value,
                                     struct error *error)
{
    struct slice rest = key, mbi;
    struct interval_row row;
    struct mbi_row mbi_row;
    uint32_t aco;
    if (!key_take_u32(&rest, &aco) || !key_take_id(&rest, &mbi) || rest.size) {
        fault_at(verify, TABLE_ATTRIBUTION, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = interval_row_parse(value, &row, error);
    bool is_open = status == STATUS_OK && interval_row_open_one(&row);
    struct slice id = {0};
    if (status == STATUS_OK && slice_starts_with(mbi, SLICE_LITERAL(DIRECT_MARK))) {
        id = slice_skip(mbi, sizeof DIRECT_MARK - 1);
    } else if (status == STATUS_OK) {
        status = mbi_row_get(verify->txn, mbi, &mbi_row, error);
        if (status == STATUS_OK && contains(mbi_row.acos, mbi_row.aco_count, aco) != is_open)
            fault_at(verify, TABLE_ATTRIBUTION, key, "the MBI's own row says otherwise");
        if (status == STATUS_OK)
            id = mbi_row_beneficiary(&mbi_row);
    }
    if (status == STATUS_OK && is_open && id.size) {
        struct key exportable;
        bool is_exportable;
        key_aco_beneficiary(&exportable, aco, id);
        status = interval_is_open(verify->txn, TABLE_EXPORTABLE, &exportable, &is_exportable, error);
        if (status == STATUS_OK && !is_exportable)
            fault_at(verify, TABLE_ATTRIBUTION, key, "is open, but its beneficiary is not exportable");
    }
    return status;
}

static enum status check_mbi(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key, mbi;
    struct mbi_row row;
    if (!key_take_id(&rest, &mbi) || rest.size) {
        fault_at(verify, TABLE_MBI, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = mbi_row_get(verify->txn, mbi, &row, error);
    for (size_t i = 0; status == STATUS_OK && i < row.aco_count; i++) {
        struct key attribution;
        bool open;
        key_attribution(&attribution, row.acos[i], mbi);
        status = interval_is_open(verify->txn, TABLE_ATTRIBUTION, &attribution, &open, error);
        if (status == STATUS_OK && !open)
            fault_at(verify, TABLE_MBI, key, "names an ACO to which it is not attributed");
    }
    return status;
}

static enum status check_dead(struct verify *verify, struct slice key, struct slice value,
                              struct error *error)
{
    (void)value;
    struct slice rest = key, record;
    struct stored_segment stored;
    uint64_t death;
    uint8_t type;
    if (!key_take_u64(&rest, &death) || !key_take_u8(&rest, &type) || type >= RESOURCE_TYPE_COUNT) {
        fault_at(verify, TABLE_DEAD, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = engine_get(verify->txn, TABLE_SEGMENT + (unsigned)type, rest, &record, error);
    if (status == STATUS_OK)
        status = stored_segment_open(record, &stored, error);
    if (status == STATUS_OK && stored.death != death)
        fault_at(verify, TABLE_DEAD, key, "the segment's own death is another");
    return status;
}

/* An index has this row, whatever its value. */
static enum status check_listed(struct verify *verify, unsigned table, struct slice key, unsigned index,
                                const struct key *row, struct error *error)
{
    struct slice value;
    enum status status = engine_get(verify->txn, index, key_slice(row), &value, error);
    if (status == STATUS_NOT_FOUND) {
        char what[96];
        snprintf(what, sizeof what, "the table %s does not list it", table_names[index]);
        fault_at(verify, table, key, what);
        return STATUS_OK;
    }
    return status;
}

static enum status check_job(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key;
    struct job job;
    uint64_t id, active_id;
    if (!key_take_u64(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_JOB, key, "the key is malformed");
        return STATUS_OK;
    }
    arena_reset(&verify->arena);
    enum status status = job_get(verify->txn, id, &verify->arena, &job, error);
    if (status != STATUS_OK)
        return status;
    struct key by_aco;
    key_of_u32(&by_aco, job.aco);
    key_u64(&by_aco, id);
    status = check_listed(verify, TABLE_JOB, key, TABLE_JOB_BY_ACO, &by_aco, error);
    if (status != STATUS_OK || !job_state_is_active(job.state))
        return status;
    status = job_find_active(verify->txn, job.aco, job.endpoint, &active_id, error);
    if (status == STATUS_NOT_FOUND || (status == STATUS_OK && active_id != id))
        fault_at(verify, TABLE_JOB, key, "is active, but the index of active jobs does not say so");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* What an index names must be there, and be the ACO's. */
static enum status check_job_by_aco(struct verify *verify, struct slice key, struct slice value,
                                    struct error *error)
{
    (void)value;
    struct slice rest = key;
    struct job job;
    uint32_t aco;
    uint64_t id;
    if (!key_take_u32(&rest, &aco) || !key_take_u64(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_JOB_BY_ACO, key, "the key is malformed");
        return STATUS_OK;
    }
    arena_reset(&verify->arena);
    enum status status = job_get(verify->txn, id, &verify->arena, &job, error);
    if (status == STATUS_OK && job.aco != aco)
        fault_at(verify, TABLE_JOB_BY_ACO, key, "names another ACO's job");
    return status;
}

static enum status check_credential_by_aco(struct verify *verify, struct slice key, struct slice value,
                                           struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct credential credential;
    uint32_t aco;
    if (!key_take_u32(&rest, &aco) || !key_take_id(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_CREDENTIAL_BY_ACO, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = credential_get(verify->txn, id, &credential, error);
    if (status == STATUS_OK && credential.aco != aco)
        fault_at(verify, TABLE_CREDENTIAL_BY_ACO, key, "names another ACO's credential");
    return status;
}

/* A row of a job that is over would pin history, and keep its endpoint closed, for ever. */
static enum status check_job_active(struct verify *verify, struct slice key, struct slice value,
                                    struct error *error)
{
    (void)value;
    struct slice rest = key, endpoint;
    struct job job;
    uint32_t aco;
    uint64_t id;
    char text[JOB_ENDPOINT_MAX + 1];
    if (!key_take_u32(&rest, &aco) || !key_take_id(&rest, &endpoint) || rest.size ||
        endpoint.size >= sizeof text) {
        fault_at(verify, TABLE_JOB_ACTIVE, key, "the key is malformed");
        return STATUS_OK;
    }
    memcpy(text, endpoint.data, endpoint.size);
    text[endpoint.size] = '\0';
    arena_reset(&verify->arena);
    enum status status = job_find_active(verify->txn, aco, text, &id, error);
    if (status == STATUS_OK)
        status = job_get(verify->txn, id, &verify->arena, &job, error);
    if (status == STATUS_OK && !job_state_is_active(job.state))
        fault_at(verify, TABLE_JOB_ACTIVE, key, "names a job that is not active");
    return status;
}

static enum status pass_roster(void *context, const struct roster *roster, struct error *error)
{
    (void)context, (void)roster, (void)error;
    return STATUS_OK;
}

static enum status check_aco(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key;
    struct aco aco;
    uint32_t number;
    if (!key_take_u32(&rest, &number) || rest.size) {
        fault_at(verify, TABLE_ACO, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = aco_get(verify->txn, number, &aco, error);
    if (status == STATUS_OK)
        status = roster_each(verify->txn, number, pass_roster, NULL, error);
    if (status != STATUS_OK || aco.removed)
        return status;
    struct aco found;
    status = aco_find(verify->txn, slice_from_text(aco.id), &found, error);
    if (status == STATUS_NOT_FOUND || (status == STATUS_OK && found.number != number))
        fault_at(verify, TABLE_ACO, key, "its id does not lead to it");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status check_aco_by_id(struct verify *verify, struct slice key, struct slice value,
                                   struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct aco aco;
    if (!key_take_id(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_ACO_BY_ID, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = aco_find(verify->txn, id, &aco, error);
    if (status == STATUS_OK && !slice_equal_text(id, aco.id))
        fault_at(verify, TABLE_ACO_BY_ID, key, "leads to an ACO of another id");
    return status;
}

static enum status check_credential(struct verify *verify, struct slice key, struct slice value,
                                    struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct credential credential;
    if (!key_take_id(&rest, &id) || rest.size) {
        fault_at(verify, TABLE_CREDENTIAL, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = credential_get(verify->txn, id, &credential, error);
    if (status != STATUS_OK)
        return status;
    struct key by_aco;
    key_of_u32(&by_aco, credential.aco);
    key_id(&by_aco, id);
    return check_listed(verify, TABLE_CREDENTIAL, key, TABLE_CREDENTIAL_BY_ACO, &by_aco, error);
}

/* ---- the walk ---- */

/* The engine checks every record's checksum; a table without a row here is only walked. */
static record_check *const checks[TABLE_COUNT] = {
    [TABLE_SEGMENT + RESOURCE_TYPE_EXPLANATION_OF_BENEFIT] = check_eob,
    [TABLE_SEGMENT + RESOURCE_TYPE_COVERAGE] = check_coverage,
    [TABLE_SEGMENT + RESOURCE_TYPE_PATIENT] = check_patient,
    [TABLE_SUMMARY] = check_summary,
    [TABLE_RESOURCE] = check_resource,
    [TABLE_BENEFICIARY] = check_beneficiary,
    [TABLE_MBI] = check_mbi,
    [TABLE_ATTRIBUTION] = check_attribution,
    [TABLE_EXPORTABLE] = check_exportable,
    [TABLE_DEAD] = check_dead,
    [TABLE_JOB] = check_job,
    [TABLE_JOB_BY_ACO] = check_job_by_aco,
    [TABLE_JOB_ACTIVE] = check_job_active,
    [TABLE_ACO] = check_aco,
    [TABLE_ACO_BY_ID] = check_aco_by_id,
    [TABLE_CREDENTIAL] = check_credential,
    [TABLE_CREDENTIAL_BY_ACO] = check_credential_by_aco,
};

/* Walks from behind `last` for as long as one snapshot may live. STATUS_NOT_FOUND: the table's end. */
static enum status verify_part(struct verify *verify, unsigned table, struct buffer *last,
                               struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(verify->txn, table, &cursor, error);
    if (status != STATUS_OK)
        return status;
    int64_t deadline_us = clock_monotonic_us() + VERIFY_SNAPSHOT_US;
    engine_seek(cursor, buffer_slice(last), (struct slice){0});
    do {
        struct slice key, value;
        struct error local = {0};
        status = engine_next(cursor, &key, &value, &local);
        if (status == STATUS_NOT_FOUND)
            break;
        if (status == STATUS_CORRUPT && key.size == 0) {
            /* The engine's own structure: what stands behind it in this table cannot be reached. */
            fault_at(verify, table, buffer_slice(last), local.text);
            status = STATUS_NOT_FOUND;
            break;
        }
        if (status != STATUS_OK && status != STATUS_CORRUPT) {
            if (error)
                *error = local;
            break;
        }
        verify->counts.records++;
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
    } while (clock_monotonic_us() < deadline_us);
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

enum status verify_run(struct store *store, const struct verify_options *options,
                       struct verify_counts *ret_counts, struct error *error)
{
    CHECK(options->fault);
    struct verify verify = {.store = store, .options = options, .inflater = inflater_new()};
    struct store_clock before, after;
    segment_table_init(&verify.table);
    enum status status = verify_clock(&verify, &before, error);
    for (unsigned table = 0; status == STATUS_OK && table < TABLE_COUNT; table++)
        status = verify_table(&verify, table, error);
    if (status == STATUS_OK)
        status = verify_clock(&verify, &after, error);
    /* Totals can be compared only if nothing was written meanwhile. */
    for (int type = 0; status == STATUS_OK && before.sequence == after.sequence && type < RESOURCE_TYPE_COUNT;
         type++) {
        if (verify.live[type] != verify.indexed[type]) {
            char what[128];
            snprintf(what, sizeof what, "the index has %llu rows of %s, the segments hold %llu resources",
                     (unsigned long long)verify.indexed[type], resource_type_name((enum resource_type)type),
                     (unsigned long long)verify.live[type]);
            fault_at(&verify, TABLE_RESOURCE, SLICE_LITERAL(""), what);
        }
    }
    *ret_counts = verify.counts;
    segment_table_release(&verify.table);
    inflater_free(verify.inflater);
    arena_release(&verify.arena);
    buffer_release(&verify.ids);
    return status;
}
