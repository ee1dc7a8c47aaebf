/*
 * Export jobs, durably: state, request, the view they read (sequence and transactionTime), and their files.
 *
 *   Pending -> In Progress -> Completed -> Archived -> Expired
 *                          -> Failed | Cancelled
 *
 * A small job goes from Pending to Completed in one step.
 *
 * A job is active while Pending or In Progress; there is at most one active job for an ACO and endpoint
 * (decided inside the kick-off's transaction). An active job pins history: versions superseded after its
 * sequence stay until it ends.
 *
 * The plan (which file holds which type and range of beneficiaries) is stored before the first byte is
 * written, so that a job that is interrupted goes on with its finished files, and its bytes are those of an
 * undisturbed run. Of a small job plan, outcomes and end are stored together, behind its last byte: what is
 * interrupted is done again.
 *
 * A job stays known for ever, its files until it is Expired, Failed or Cancelled.
 *
 * Threading: as accounts.h.
 */
#ifndef STORAGE_JOBS_H
#define STORAGE_JOBS_H

#include "storage/writer.h"

#define JOB_REQUEST_BYTES_MAX  16384
#define JOB_WARNINGS_BYTES_MAX 65536
#define JOB_FILES_MAX          100000
#define JOB_ENDPOINT_MAX       40

enum job_state {
    JOB_STATE_PENDING,
    JOB_STATE_IN_PROGRESS,
    JOB_STATE_COMPLETED,
    JOB_STATE_ARCHIVED,
    JOB_STATE_EXPIRED,
    JOB_STATE_FAILED,
    JOB_STATE_CANCELLED,
    JOB_STATE_COUNT
};
const char *job_state_name(enum job_state state); /* "In Progress" */
bool job_state_is_active(enum job_state state);
bool job_state_has_files(enum job_state state); /* until Expired, Failed or Cancelled */

enum job_set {                   /* whose resources a file holds */
               JOB_SET_ALL,      /* every beneficiary, same lower bound */
               JOB_SET_EXISTING, /* Group with _since: those exportable at that time, bounded */
               JOB_SET_NEW,      /* Group with _since: the others, in full */
               JOB_SET_ERROR,    /* OperationOutcomes; listed in the manifest's error */
               JOB_SET_DELETED, /* with _since: the deletions, as Bundles; listed in the manifest's deleted */
               JOB_SET_COUNT
};

struct job_file {
    char uuid[37];
    enum resource_type type; /* of JOB_SET_ERROR and JOB_SET_DELETED: unused */
    enum job_set set;
    bool done;
    struct slice first;     /* beneficiaries >= first ... */
    struct slice end;       /* ... and < end; empty: to the last. memcmp order */
    uint64_t planned_bytes; /* raw, estimated from the summaries: the known work */
    uint64_t count;         /* of resources, once done; 0 -> not listed, no file is kept */
    uint64_t raw_bytes;
    uint64_t gzip_bytes;
};

struct job {
    uint64_t id;
    uint32_t aco;
    enum job_state state;
    char endpoint[JOB_ENDPOINT_MAX + 1]; /* "Patient", "Group/all" */
    struct slice request;                /* the kick-off URL on the public base */
    enum resource_type types[RESOURCE_TYPE_COUNT];
    size_t type_count;
    int64_t since_us;   /* INSTANT_MIN_US: everything */
    bool separates_new; /* Group with _since */
    bool partial_manifests;
    uint64_t sequence;
    int64_t transaction_time_us;
    int64_t created_us;
    int64_t updated_us; /* of the last change of state */
    int64_t expires_us; /* Completed: when it is archived; Archived, Expired: when that was due; else 0 */
    int64_t due_us;     /* Completed: when it is archived; Archived: when it expires; else INT64_MAX */
    bool planned;
    struct job_file *files; /* of Pending, In Progress, Completed and Archived; forgotten afterwards */
    size_t file_count;
    struct slice warnings; /* parameters ignored under handling=lenient, one a line */
};

static inline bool job_has_type(const struct job *job, enum resource_type type)
{
    for (size_t i = 0; i < job->type_count; i++) {
        if (job->types[i] == type)
            return true;
    }
    return false;
}

/* Whether a file of that set holds something of a beneficiary; `at_since`: it was exportable at the job's
 * _since. Deletions are told of those whose resources the client may have. */
static inline bool job_set_takes(const struct job *job, enum job_set set, bool at_since)
{
    switch (set) {
    case JOB_SET_EXISTING:
        return at_since;
    case JOB_SET_NEW:
        return !at_since;
    case JOB_SET_DELETED:
        return at_since || !job->separates_new;
    default:
        return true;
    }
}

/* All but the files, and borrowed from the transaction: job_get without what it costs. STATUS_NOT_FOUND. */
NODISCARD enum status job_peek(struct engine_txn *txn, uint64_t id, struct job *ret_job, struct error *error);
/* The rest of a job that was peeked at in the same transaction: its files, and slices that live in `arena`.
 */
struct arena;
struct buffer;
NODISCARD enum status job_fill(struct engine_txn *txn, struct arena *arena, struct job *job,
                               struct error *error);
/* Both at once. */
NODISCARD enum status job_get(struct engine_txn *txn, uint64_t id, struct arena *arena, struct job *ret_job,
                              struct error *error);
/* Appends the ids (uint64_t) of an ACO's jobs (0: of all), oldest first; damage as in engine_each. For walks
 * that read each job in a step of their own (read_steps.h). */
NODISCARD enum status job_list_ids(struct engine_txn *txn, uint32_t aco, struct buffer *ret_ids,
                                   struct error *error);
typedef enum status job_handler(void *context, const struct job *job, struct error *error);
/* Of one ACO (0: all), newest first, at most `limit` (0: all); without their files, of which there may be
 * many. Damage as in engine_each. `job` lives as long as the call. */
NODISCARD enum status job_each(struct engine_txn *txn, uint32_t aco, size_t limit, job_handler *handler,
                               void *context, struct error *error);
/* The active job of an ACO's endpoint; STATUS_NOT_FOUND. */
NODISCARD enum status job_find_active(struct engine_txn *txn, uint32_t aco, const char *endpoint,
                                      uint64_t *ret_id, struct error *error);
/* All active jobs' ids, oldest first. At most `limit` are given. On STATUS_CORRUPT those that could be read
 * are given nevertheless. */
NODISCARD enum status job_list_active(struct engine_txn *txn, uint64_t *ret_ids, size_t limit,
                                      size_t *ret_count, struct error *error);
/* The smallest sequence of an active job, UINT64_MAX if none is active: versions superseded at or before
 * it are needed by nobody. */
NODISCARD enum status job_oldest_sequence(struct engine_txn *txn, uint64_t *ret_sequence,
                                          struct error *error);

/* The same within a write request, read once: only job_record.c changes it. */
NODISCARD enum status job_oldest_sequence_within(struct store_write *write, uint64_t *ret_sequence,
                                                 struct error *error);

/* Kick-off: gives id, sequence and transactionTime. No job sees a suppression that is due and not applied: if
 * more is due than one request may change, a part of it was applied, ret_unsettled is set, and no job was
 * made; submit the request again. STATUS_CONFLICT if a job of this endpoint is active
 * (ret_id is then that job's). Checks again what time decided: a since later than both the server's time
 * and the ACO's newest transactionTime is STATUS_INVALID. STATUS_NOT_FOUND, STATUS_DENIED: there is no such
 * ACO, or it was removed. STATUS_TOO_LARGE: url or warnings. */
struct job_create {
    struct write_request request;
    uint32_t aco;
    char endpoint[JOB_ENDPOINT_MAX + 1];
    char *url;      /* owned until job_create_release */
    char *warnings; /* may be NULL; owned */
    enum resource_type types[RESOURCE_TYPE_COUNT];
    size_t type_count;
    int64_t since_us;
    bool separates_new;
    bool partial_manifests; /* the status of the job while it is active lists its files */
    bool ret_unsettled;
    uint64_t ret_id;
    int64_t ret_transaction_time_us;
};
void job_create_init(struct job_create *create);
void job_create_release(struct job_create *create);

/* One struct for every later change: `change` says which. A change that does not apply changes nothing:
 * STATUS_CANCELLED where the job has gone on without it (it is no longer active; ARCHIVE: no longer
 * Completed; EXPIRE: no longer Archived), STATUS_CONFLICT where it has not come so far yet. STATUS_NOT_FOUND:
 * unknown, or another ACO's than `aco` (0: whosever). */
enum job_change_kind {
    JOB_CHANGE_PLAN,      /* files, file_count -> In Progress. STATUS_INVALID, STATUS_TOO_LARGE: the files */
    JOB_CHANGE_FILE_DONE, /* file_index, count, raw_bytes, gzip_bytes. May be repeated; the last one holds */
    JOB_CHANGE_COMPLETE,  /* keep_us: expires_us = instant + keep_us. Adds files, done ones, if there are any
                             in `files` (the error file). STATUS_CONFLICT if a planned one is not done */
    JOB_CHANGE_WHOLE, /* PLAN, FILE_DONE of all and COMPLETE in one: files, all of them done, and keep_us */
    JOB_CHANGE_FAIL,
    JOB_CHANGE_DELETE,  /* the client's DELETE: active, Completed, Failed, Archived -> Cancelled.
                           STATUS_NOT_FOUND also: cancelled before; STATUS_CONFLICT: Expired */
    JOB_CHANGE_ARCHIVE, /* Completed and due -> Archived, due again keep_us after expires_us */
    JOB_CHANGE_EXPIRE,  /* Archived and due -> Expired */
    JOB_CHANGE_COUNT
};
struct job_change {
    struct write_request request;
    enum job_change_kind change;
    uint64_t id;
    uint32_t aco;
    const struct job_file *files; /* borrowed until the request is back */
    size_t file_count;
    size_t file_index;
    uint64_t count, raw_bytes, gzip_bytes;
    int64_t keep_us;
    enum job_state ret_before; /* the state before */
};
void job_change_init(struct job_change *change, enum job_change_kind kind, uint64_t id);

#endif
