/*
 * The JSON documents of the API: what stands in a response's body. Pure: data in, bytes out, appended to
 * `target`, minified, without a newline. The wire contract (docs/api.md) gives every key and its order.
 *
 * Texts that may come from outside (outcome texts, requests, URLs) need not be valid UTF-8: what is not
 * becomes U+FFFD. `&`, `<` and `>` are written as they are.
 *
 * Threading: pure functions.
 */
#ifndef CODEC_DOCUMENTS_H
#define CODEC_DOCUMENTS_H

#include "codec/base/buffer.h"

#include <stdint.h>

/* An OperationOutcome with one issue. `text` goes into display, details.text and diagnostics, where clients
 * of different generations look. NULL: the bare form of a 401, with none of the three. */
void document_outcome(struct buffer *target, const char *severity, const char *issue_code,
                      const char *error_class, const char *text);

struct manifest_file {
    const char *type; /* "Patient", "Bundle" of deletions, or "OperationOutcome" */
    struct slice url;
    uint64_t count;
    uint64_t raw_bytes; /* identity bytes: `fileSize` */
};

struct manifest_following { /* a file that is being written */
    const char *type;
    struct slice url;
};

struct manifest {
    int64_t transaction_time_us;
    struct slice request; /* the kick-off URL */
    const struct manifest_file *output;
    size_t output_count;
    const struct manifest_file *deleted;
    size_t deleted_count;
    const struct manifest_file *error;
    size_t error_count;
    uint64_t job_id;
    bool is_partial; /* of a job that is active: has an `extension` with `following` */
    const struct manifest_following *following;
    size_t following_count;
};
/* Files of `deleted` and `error` have the same keys as those of `output`. */
void document_manifest(struct buffer *target, const struct manifest *manifest);

struct deletion_item {
    const char *type; /* "Patient" */
    struct slice id;
};
/* A transaction Bundle that deletes each of them, as of an instant, which is the Bundle's meta.lastUpdated
 * (in a transaction no entry has a place for it). There is at least one. */
void document_deletions(struct buffer *target, int64_t us, const struct deletion_item *items, size_t count);

struct capability {
    struct slice base_url; /* https://host, without a slash at its end */
    const char *version;
    const char *release_date; /* YYYY-MM-DD */
    const char *publisher;
    const char *software_name;
};
void document_capability_statement(struct buffer *target, const struct capability *capability);

struct task_item {
    uint64_t job_id;
    const char *status;   /* FHIR Task status: requested, in-progress, completed, failed, cancelled */
    struct slice state;   /* the job's own state, "In Progress" */
    struct slice request; /* the kick-off URL */
    int64_t created_us;
    int64_t updated_us; /* of a job that has ended: when it did */
};
/* A searchset Bundle of Task. Without items it has no `entry` (FHIR has no empty arrays). */
void document_job_bundle(struct buffer *target, struct slice base_url, const struct task_item *items,
                         size_t count);

/* When the newest attribution was loaded. */
void document_attribution_status(struct buffer *target, int64_t loaded_us);

/* The answer of the token endpoint (RFC 6749 section 5.1). */
void document_token(struct buffer *target, struct slice token, unsigned lifetime_seconds);

#endif
