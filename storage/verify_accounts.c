#include "codec/base/buffer.h"
#include "storage/accounts.h"
#include "storage/attribution.h"
#include "storage/job_record.h"
#include "storage/jobs.h"
#include "storage/verify_check.h"

#include <stdio.h>

/* An index has this row, whatever its value. */
static enum status check_listed(struct verify *verify, unsigned table, struct slice key, unsigned index,
                                const struct key *row, struct error *error)
{
    struct slice value;
    enum status status = engine_get(verify->txn, index, key_slice(row), &value, error);
    if (status == STATUS_NOT_FOUND) {
        char what[96];
        snprintf(what, sizeof what, "the table %s does not list it", table_names[index]);
        verify_fault(verify, table, key, what);
        return STATUS_OK;
    }
    return status;
}

enum status verify_job(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key;
    struct job job;
    uint64_t id, active_id;
    if (!key_take_u64(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_JOB, key, "the key is malformed");
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
        verify_fault(verify, TABLE_JOB, key, "is active, but the index of active jobs does not say so");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* What an index names must be there, and be the ACO's. */
enum status verify_job_by_aco(struct verify *verify, struct slice key, struct slice value,
                              struct error *error)
{
    (void)value;
    struct slice rest = key;
    struct job job;
    uint32_t aco;
    uint64_t id;
    if (!key_take_u32(&rest, &aco) || !key_take_u64(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_JOB_BY_ACO, key, "the key is malformed");
        return STATUS_OK;
    }
    arena_reset(&verify->arena);
    enum status status = job_get(verify->txn, id, &verify->arena, &job, error);
    if (status == STATUS_OK && job.aco != aco)
        verify_fault(verify, TABLE_JOB_BY_ACO, key, "names another ACO's job");
    return status;
}

enum status verify_credential_by_aco(struct verify *verify, struct slice key, struct slice value,
                                     struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct credential credential;
    uint32_t aco;
    if (!key_take_u32(&rest, &aco) || !key_take_id(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_CREDENTIAL_BY_ACO, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = credential_get(verify->txn, id, &credential, error);
    if (status == STATUS_OK && credential.aco != aco)
        verify_fault(verify, TABLE_CREDENTIAL_BY_ACO, key, "names another ACO's credential");
    return status;
}

/* A row of a job that is over would pin history, and keep its endpoint closed, for ever; one with another
 * view would let go of what the job reads. */
enum status verify_job_active(struct verify *verify, struct slice key, struct slice value,
                              struct error *error)
{
    struct slice rest = key, endpoint;
    struct job_active active;
    struct job job;
    uint32_t aco;
    if (!key_take_u32(&rest, &aco) || !key_take_id(&rest, &endpoint) || rest.size) {
        verify_fault(verify, TABLE_JOB_ACTIVE, key, "the key is malformed");
        return STATUS_OK;
    }
    arena_reset(&verify->arena);
    enum status status = job_active_decode(value, &active, error);
    if (status == STATUS_OK)
        status = job_get(verify->txn, active.id, &verify->arena, &job, error);
    if (status != STATUS_OK)
        return status;
    if (!job_state_is_active(job.state))
        verify_fault(verify, TABLE_JOB_ACTIVE, key, "names a job that is not active");
    if (job.aco != aco || !slice_equal_text(endpoint, job.endpoint))
        verify_fault(verify, TABLE_JOB_ACTIVE, key, "names a job of another ACO or endpoint");
    if (job.sequence != active.sequence)
        verify_fault(verify, TABLE_JOB_ACTIVE, key, "keeps another view than the job reads");
    return STATUS_OK;
}

static enum status pass_roster(void *context, const struct roster *roster, struct error *error)
{
    (void)context, (void)roster, (void)error;
    return STATUS_OK;
}

enum status verify_aco(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key;
    struct aco aco;
    uint32_t number;
    if (!key_take_u32(&rest, &number) || rest.size) {
        verify_fault(verify, TABLE_ACO, key, "the key is malformed");
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
        verify_fault(verify, TABLE_ACO, key, "its id does not lead to it");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status verify_aco_by_id(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct aco aco;
    if (!key_take_id(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_ACO_BY_ID, key, "the key is malformed");
        return STATUS_OK;
    }
    enum status status = aco_find(verify->txn, id, &aco, error);
    if (status == STATUS_OK && !slice_equal_text(id, aco.id))
        verify_fault(verify, TABLE_ACO_BY_ID, key, "leads to an ACO of another id");
    return status;
}

enum status verify_credential(struct verify *verify, struct slice key, struct slice value,
                              struct error *error)
{
    (void)value;
    struct slice rest = key, id;
    struct credential credential;
    if (!key_take_id(&rest, &id) || rest.size) {
        verify_fault(verify, TABLE_CREDENTIAL, key, "the key is malformed");
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
