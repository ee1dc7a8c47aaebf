#include "storage/job_record.h"

#include "codec/base/buffer.h"
#include "codec/base/reader.h"

#include <inttypes.h>
#include <stdio.h>

#define JOB_KIND           'J'
#define JOB_VERSION        1
#define JOB_FLAG_SEPARATES 1
#define JOB_FLAG_PLANNED   2
#define JOB_FLAG_PARTIAL   4
#define PLAN_KIND          'P'
#define PLAN_VERSION       1
#define OUTCOME_KIND       'F'
#define OUTCOME_VERSION    2
#define ACTIVE_KIND        'E'
#define ACTIVE_VERSION     1

#define UUID_BYTES 16

_Static_assert(JOB_ENDPOINT_MAX <= UINT8_MAX && RESOURCE_ID_MAX <= UINT8_MAX, "their length is one byte");

static enum status record_fail(uint64_t id, const char *what, uint8_t version, uint8_t version_known,
                               struct error *error)
{
    if (version != version_known)
        return error_set(error, STATUS_UNSUPPORTED,
                         "job %" PRIu64 ": its %s has version %u, this program reads %u", id, what, version,
                         version_known);
    return error_set(error, STATUS_CORRUPT, "job %" PRIu64 ": its %s is malformed", id, what);
}

enum status job_record_put(struct store_write *write, const struct job *job, struct error *error)
{
    struct key key;
    struct buffer value = BUFFER_INIT;
    size_t endpoint_size = strlen(job->endpoint);
    key_of_u64(&key, job->id);
    buffer_append_u8(&value, JOB_KIND);
    buffer_append_u8(&value, JOB_VERSION);
    buffer_append_u8(&value, (uint8_t)job->state);
    buffer_append_u8(&value, (uint8_t)((job->separates_new ? JOB_FLAG_SEPARATES : 0) |
                                       (job->planned ? JOB_FLAG_PLANNED : 0) |
                                       (job->partial_manifests ? JOB_FLAG_PARTIAL : 0)));
    buffer_append_u32(&value, job->aco);
    buffer_append_u64(&value, job->sequence);
    buffer_append_i64(&value, job->transaction_time_us);
    buffer_append_i64(&value, job->since_us);
    buffer_append_i64(&value, job->created_us);
    buffer_append_i64(&value, job->updated_us);
    buffer_append_i64(&value, job->expires_us);
    buffer_append_i64(&value, job->due_us);
    buffer_append_u32(&value, (uint32_t)job->file_count);
    buffer_append_u8(&value, (uint8_t)job->type_count);
    for (size_t i = 0; i < job->type_count; i++)
        buffer_append_u8(&value, (uint8_t)job->types[i]);
    buffer_append_u8(&value, (uint8_t)endpoint_size);
    buffer_append(&value, job->endpoint, endpoint_size);
    buffer_append_sized(&value, job->request);
    buffer_append_sized(&value, job->warnings);
    enum status status = engine_put(write->txn, TABLE_JOB, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

/* Everything but the files. The texts borrow from `value`. */
static enum status job_decode(uint64_t id, struct slice value, struct job *ret_job, struct error *error)
{
    struct reader reader = reader_make(value);
    struct job job = {.id = id};
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    uint8_t state = reader_u8(&reader), flags = reader_u8(&reader);
    job.state = (enum job_state)state;
    job.separates_new = flags & JOB_FLAG_SEPARATES;
    job.planned = flags & JOB_FLAG_PLANNED;
    job.partial_manifests = flags & JOB_FLAG_PARTIAL;
    job.aco = reader_u32(&reader);
    job.sequence = reader_u64(&reader);
    job.transaction_time_us = reader_i64(&reader);
    job.since_us = reader_i64(&reader);
    job.created_us = reader_i64(&reader);
    job.updated_us = reader_i64(&reader);
    job.expires_us = reader_i64(&reader);
    job.due_us = reader_i64(&reader);
    job.file_count = reader_u32(&reader);
    job.type_count = reader_u8(&reader);
    bool types_known = job.type_count <= RESOURCE_TYPE_COUNT;
    for (size_t i = 0; types_known && i < job.type_count; i++) {
        uint8_t type = reader_u8(&reader);
        types_known = type < RESOURCE_TYPE_COUNT;
        job.types[i] = (enum resource_type)type;
    }
    struct slice endpoint = reader_take(&reader, reader_u8(&reader));
    job.request = reader_sized(&reader);
    job.warnings = reader_sized(&reader);
    if (!reader_done(&reader) || kind != JOB_KIND || version != JOB_VERSION || state >= JOB_STATE_COUNT ||
        !types_known || endpoint.size > JOB_ENDPOINT_MAX || job.file_count > JOB_FILES_MAX)
        return record_fail(id, "record", version, JOB_VERSION, error);
    memcpy(job.endpoint, endpoint.data, endpoint.size);
    *ret_job = job;
    return STATUS_OK;
}

enum status job_record_get(struct engine_txn *txn, uint64_t id, struct job *ret_job, struct error *error)
{
    struct key key;
    struct slice value;
    key_of_u64(&key, id);
    enum status status = engine_get(txn, TABLE_JOB, key_slice(&key), &value, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_NOT_FOUND, "there is no job %" PRIu64, id);
    return status == STATUS_OK ? job_decode(id, value, ret_job, error) : status;
}

static void key_aco_endpoint(struct key *key, uint32_t aco, const char *endpoint)
{
    key_of_u32(key, aco);
    key_id(key, slice_from_text(endpoint));
}

static void key_outcome(struct key *key, uint64_t id, size_t file)
{
    key_of_u64(key, id);
    key_u32(key, (uint32_t)file);
}

/* A UUID in lower case, as uuid_make writes it: the names of files depend on it. */
static bool uuid_pack(const char text[37], char bytes[UUID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    size_t nibbles = 0;
    for (size_t i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-')
                return false;
            continue;
        }
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit)
            return false;
        char *byte = &bytes[nibbles++ / 2];
        *byte = (char)(((unsigned char)*byte << 4 | (digit - digits)) & 0xff);
    }
    return text[36] == '\0';
}

static void uuid_unpack(const char *bytes, char text[37])
{
    unsigned char b[UUID_BYTES];
    memcpy(b, bytes, sizeof b);
    snprintf(text, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* Appends the plan's entry of a file. */
static enum status plan_append(struct buffer *plan, size_t index, const struct job_file *file,
                               struct error *error)
{
    char uuid[UUID_BYTES] = {0};
    bool has_type = file->set != JOB_SET_ERROR && file->set != JOB_SET_DELETED;
    unsigned type = has_type ? (unsigned)file->type : 0;
    if (!uuid_pack(file->uuid, uuid) || type >= RESOURCE_TYPE_COUNT || (unsigned)file->set >= JOB_SET_COUNT ||
        file->first.size > RESOURCE_ID_MAX || file->end.size > RESOURCE_ID_MAX)
        return error_set(error, STATUS_INVALID, "file %zu of the plan is malformed", index);
    buffer_append(plan, uuid, sizeof uuid);
    buffer_append_u8(plan, (uint8_t)type);
    buffer_append_u8(plan, (uint8_t)file->set);
    buffer_append_u8(plan, (uint8_t)file->first.size);
    buffer_append_slice(plan, file->first);
    buffer_append_u8(plan, (uint8_t)file->end.size);
    buffer_append_slice(plan, file->end);
    buffer_append_u64(plan, file->planned_bytes);
    return STATUS_OK;
}

static bool plan_take(struct reader *reader, struct job_file *ret_file)
{
    struct job_file file = {.done = false};
    struct slice uuid = reader_take(reader, UUID_BYTES);
    uint8_t type = reader_u8(reader), set = reader_u8(reader);
    file.type = (enum resource_type)type;
    file.set = (enum job_set)set;
    file.first = reader_take(reader, reader_u8(reader));
    file.end = reader_take(reader, reader_u8(reader));
    file.planned_bytes = reader_u64(reader);
    if (reader->failed || type >= RESOURCE_TYPE_COUNT || set >= JOB_SET_COUNT)
        return false;
    uuid_unpack(uuid.data, file.uuid);
    *ret_file = file;
    return true;
}

struct file_walk {
    const struct job *job;
    size_t done; /* outcomes found */
};

/* A row of TABLE_JOB_FILE: the plan, which comes first, or the outcome of a file. Fills job->files, if there
 * are any, and counts. */
static enum status job_file_row(void *context, struct slice key, struct slice value, struct error *error)
{
    struct file_walk *walk = context;
    const struct job *job = walk->job;
    struct reader reader = reader_make(value);
    uint64_t id;
    uint32_t index;
    if (key.size == sizeof id)
        return STATUS_OK;
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    uint64_t count = reader_u64(&reader), raw_bytes = reader_u64(&reader), gzip_bytes = reader_u64(&reader);
    if (!key_take_u64(&key, &id) || !key_take_u32(&key, &index) || key.size || index >= job->file_count ||
        !reader_done(&reader) || kind != OUTCOME_KIND || version != OUTCOME_VERSION)
        return record_fail(job->id, "record of a file", version, OUTCOME_VERSION, error);
    walk->done++;
    if (job->files) {
        struct job_file *file = &job->files[index];
        file->done = true;
        file->count = count;
        file->raw_bytes = raw_bytes;
        file->gzip_bytes = gzip_bytes;
    }
    return STATUS_OK;
}

enum status job_files_count_done(struct engine_txn *txn, const struct job *job, size_t *ret_done,
                                 struct error *error)
{
    struct file_walk walk = {.job = job};
    struct key prefix;
    key_of_u64(&prefix, job->id);
    enum status status = engine_each(txn, TABLE_JOB_FILE, key_slice(&prefix), job_file_row, &walk, error);
    if (status == STATUS_OK)
        *ret_done = walk.done;
    return status;
}

enum status job_files_get(struct engine_txn *txn, struct arena *arena, struct job *job, struct error *error)
{
    struct key key;
    struct slice value;
    key_of_u64(&key, job->id);
    enum status status = engine_get(txn, TABLE_JOB_FILE, key_slice(&key), &value, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_CORRUPT, "job %" PRIu64 ": its plan is missing", job->id);
    if (status != STATUS_OK)
        return status;
    struct reader reader = reader_make(arena_copy(arena, value));
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    if (kind != PLAN_KIND || version != PLAN_VERSION)
        return record_fail(job->id, "plan", version, PLAN_VERSION, error);
    job->files = arena_alloc(arena, job->file_count * sizeof *job->files);
    for (size_t i = 0; i < job->file_count; i++) {
        if (!plan_take(&reader, &job->files[i]))
            return record_fail(job->id, "plan", version, PLAN_VERSION, error);
    }
    if (!reader_done(&reader))
        return record_fail(job->id, "plan", version, PLAN_VERSION, error);
    size_t done;
    return job_files_count_done(txn, job, &done, error);
}

enum status job_files_add(struct store_write *write, struct job *job, const struct job_file *files,
                          size_t count, struct error *error)
{
    static const char header[] = {PLAN_KIND, PLAN_VERSION};
    if (count > JOB_FILES_MAX - job->file_count)
        return error_set(error, STATUS_TOO_LARGE, "job %" PRIu64 ": needs more than %d files", job->id,
                         JOB_FILES_MAX);
    if (count == 0)
        return STATUS_OK;
    struct buffer entries = BUFFER_INIT;
    struct slice plan = slice_make(header, sizeof header);
    struct key key;
    enum status status = STATUS_OK;
    key_of_u64(&key, job->id);
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status = plan_append(&entries, job->file_count + i, &files[i], error);
    if (status == STATUS_OK && job->file_count)
        status = engine_get(write->txn, TABLE_JOB_FILE, key_slice(&key), &plan, error);
    if (status == STATUS_OK)
        status =
            engine_put2(write->txn, TABLE_JOB_FILE, key_slice(&key), plan, buffer_slice(&entries), error);
    buffer_release(&entries);
    if (status == STATUS_OK)
        job->file_count += count;
    return status;
}

enum status job_file_put_done(struct store_write *write, const struct job *job, size_t index, uint64_t count,
                              uint64_t raw_bytes, uint64_t gzip_bytes, struct error *error)
{
    struct key key;
    struct slice stored;
    struct buffer value = BUFFER_INIT;
    key_outcome(&key, job->id, index);
    buffer_append_u8(&value, OUTCOME_KIND);
    buffer_append_u8(&value, OUTCOME_VERSION);
    buffer_append_u64(&value, count);
    buffer_append_u64(&value, raw_bytes);
    buffer_append_u64(&value, gzip_bytes);
    enum status status = engine_get(write->txn, TABLE_JOB_FILE, key_slice(&key), &stored, error);
    if (status != STATUS_OK || !slice_equal(stored, buffer_slice(&value)))
        status = engine_put(write->txn, TABLE_JOB_FILE, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

enum status job_files_forget(struct store_write *write, struct job *job, struct error *error)
{
    if (job->file_count == 0)
        return STATUS_OK;
    struct key key;
    key_of_u64(&key, job->id);
    enum status status = engine_delete(write->txn, TABLE_JOB_FILE, key_slice(&key), error);
    for (size_t i = 0; i < job->file_count && (status == STATUS_OK || status == STATUS_NOT_FOUND); i++) {
        key_outcome(&key, job->id, i);
        status = engine_delete(write->txn, TABLE_JOB_FILE, key_slice(&key), error);
    }
    job->file_count = 0;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status job_active_decode(struct slice value, struct job_active *ret_active, struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    struct job_active active;
    active.id = reader_u64(&reader);
    active.sequence = reader_u64(&reader);
    if (!reader_done(&reader) || kind != ACTIVE_KIND || version != ACTIVE_VERSION)
        return error_set(error, STATUS_CORRUPT, "table %s holds a malformed record",
                         table_names[TABLE_JOB_ACTIVE]);
    *ret_active = active;
    return STATUS_OK;
}

enum status job_active_get(struct engine_txn *txn, uint32_t aco, const char *endpoint,
                           struct job_active *ret_active, struct error *error)
{
    struct key key;
    struct slice value;
    key_aco_endpoint(&key, aco, endpoint);
    enum status status = engine_get(txn, TABLE_JOB_ACTIVE, key_slice(&key), &value, error);
    return status == STATUS_OK ? job_active_decode(value, ret_active, error) : status;
}

enum status job_active_put(struct store_write *write, const struct job *job, struct error *error)
{
    struct key key;
    struct buffer value = BUFFER_INIT;
    key_aco_endpoint(&key, job->aco, job->endpoint);
    write->oldest_sequence = 0;
    buffer_append_u8(&value, ACTIVE_KIND);
    buffer_append_u8(&value, ACTIVE_VERSION);
    buffer_append_u64(&value, job->id);
    buffer_append_u64(&value, job->sequence);
    enum status status =
        engine_put(write->txn, TABLE_JOB_ACTIVE, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

enum status job_active_delete(struct store_write *write, const struct job *job, struct error *error)
{
    struct key key;
    key_aco_endpoint(&key, job->aco, job->endpoint);
    write->oldest_sequence = 0;
    enum status status = engine_delete(write->txn, TABLE_JOB_ACTIVE, key_slice(&key), error);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status; /* that it is gone is what was wanted */
}
