#include "codec/documents.h"

#include "codec/instant.h"
#include "codec/json_writer.h"
#include "codec/utf8.h"

#include <stdio.h>

/* A text of any origin: the writer takes valid UTF-8 only. */
static void put_text(struct json_writer *writer, const char *key, struct slice text)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    struct buffer mended = BUFFER_INIT;
    struct slice left = text;
    size_t valid;
    while ((valid = utf8_valid_size(left)) < left.size) {
        buffer_append(&mended, left.data, valid);
        buffer_append_text(&mended, replacement);
        left = slice_skip(left, valid + 1);
    }
    if (mended.size > 0) {
        buffer_append_slice(&mended, left);
        text = buffer_slice(&mended);
    }
    json_member_string(writer, key, text);
    buffer_release(&mended);
}

/* "<base_url><path>" */
static void put_url(struct json_writer *writer, const char *key, struct slice base_url, const char *path)
{
    struct buffer url = BUFFER_INIT;
    buffer_append_slice(&url, base_url);
    buffer_append_text(&url, path);
    put_text(writer, key, buffer_slice(&url));
    buffer_release(&url);
}

static void put_instant(struct json_writer *writer, const char *key, int64_t us)
{
    char text[INSTANT_TEXT_SIZE];
    size_t size = instant_format(us, text);
    json_member_string(writer, key, slice_make(text, size));
}

static void begin_member_object(struct json_writer *writer, const char *key)
{
    json_key(writer, key);
    json_object_begin(writer);
}

static void begin_member_array(struct json_writer *writer, const char *key)
{
    json_key(writer, key);
    json_array_begin(writer);
}

static void finish(struct json_writer *writer)
{
    json_writer_finish(writer);
    json_writer_free(writer);
}

/* ---- OperationOutcome */

void document_outcome(struct buffer *target, const char *severity, const char *issue_code,
                      const char *error_class, const char *text)
{
    struct json_writer *writer = json_writer_new(target);
    struct slice detail = text ? slice_from_text(text) : (struct slice){NULL, 0};
    json_object_begin(writer);
    json_member_text(writer, "resourceType", "OperationOutcome");
    begin_member_array(writer, "issue");
    json_object_begin(writer);
    json_member_text(writer, "severity", severity);
    json_member_text(writer, "code", issue_code);
    begin_member_object(writer, "details");
    begin_member_array(writer, "coding");
    json_object_begin(writer);
    json_member_text(writer, "system", "http://hl7.org/fhir/ValueSet/operation-outcome");
    json_member_text(writer, "code", error_class);
    if (text)
        put_text(writer, "display", detail);
    json_object_end(writer);
    json_array_end(writer);
    if (text)
        put_text(writer, "text", detail);
    json_object_end(writer);
    if (text)
        put_text(writer, "diagnostics", detail);
    json_object_end(writer);
    json_array_end(writer);
    json_object_end(writer);
    finish(writer);
}

/* ---- The manifest of a completed job */

static void put_files(struct json_writer *writer, const char *key, const struct manifest_file *files,
                      size_t count)
{
    begin_member_array(writer, key);
    for (size_t i = 0; i < count; i++) {
        json_object_begin(writer);
        json_member_text(writer, "type", files[i].type);
        put_text(writer, "url", files[i].url);
        json_member_number(writer, "count", (int64_t)files[i].count);
        json_member_number(writer, "fileSize", (int64_t)files[i].raw_bytes);
        json_object_end(writer);
    }
    json_array_end(writer);
}

static void put_following(struct json_writer *writer, const struct manifest_following *files, size_t count)
{
    begin_member_object(writer, "extension");
    begin_member_array(writer, "inProgress");
    for (size_t i = 0; i < count; i++) {
        json_object_begin(writer);
        json_member_text(writer, "type", files[i].type);
        put_text(writer, "url", files[i].url);
        json_object_end(writer);
    }
    json_array_end(writer);
    json_object_end(writer);
}

void document_manifest(struct buffer *target, const struct manifest *manifest)
{
    struct json_writer *writer = json_writer_new(target);
    json_object_begin(writer);
    put_instant(writer, "transactionTime", manifest->transaction_time_us);
    put_text(writer, "request", manifest->request);
    json_member_bool(writer, "requiresAccessToken", true);
    put_files(writer, "output", manifest->output, manifest->output_count);
    put_files(writer, "deleted", manifest->deleted, manifest->deleted_count);
    put_files(writer, "error", manifest->error, manifest->error_count);
    json_member_number(writer, "JobID", (int64_t)manifest->job_id);
    if (manifest->is_partial)
        put_following(writer, manifest->following, manifest->following_count);
    json_object_end(writer);
    finish(writer);
}

/* ---- Deletions */

void document_deletions(struct buffer *target, int64_t us, const struct deletion_item *items, size_t count)
{
    struct json_writer *writer = json_writer_new(target);
    struct buffer url = BUFFER_INIT;
    char instant[INSTANT_TEXT_SIZE];
    size_t instant_size = instant_format_meta(us, instant);
    json_object_begin(writer);
    json_member_text(writer, "resourceType", "Bundle");
    begin_member_object(writer, "meta");
    json_member_string(writer, "lastUpdated", slice_make(instant, instant_size));
    json_object_end(writer);
    json_member_text(writer, "type", "transaction");
    begin_member_array(writer, "entry");
    for (size_t i = 0; i < count; i++) {
        buffer_reset(&url);
        buffer_appendf(&url, "%s/%.*s", items[i].type, SLICE_PRINT(items[i].id));
        json_object_begin(writer);
        begin_member_object(writer, "request");
        json_member_text(writer, "method", "DELETE");
        json_member_string(writer, "url", buffer_slice(&url));
        json_object_end(writer);
        json_object_end(writer);
    }
    json_array_end(writer);
    json_object_end(writer);
    buffer_release(&url);
    finish(writer);
}

/* ---- The CapabilityStatement (STU3; the advanced guide's sample) */

static void put_token_extension(struct json_writer *writer, struct slice base_url)
{
    begin_member_array(writer, "extension");
    json_object_begin(writer);
    json_member_text(writer, "url", "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris");
    begin_member_array(writer, "extension");
    json_object_begin(writer);
    json_member_text(writer, "url", "token");
    put_url(writer, "valueUri", base_url, "/auth/token");
    json_object_end(writer);
    json_array_end(writer);
    json_object_end(writer);
    json_array_end(writer);
}

static void put_security_service(struct json_writer *writer, const char *code)
{
    json_object_begin(writer);
    begin_member_array(writer, "coding");
    json_object_begin(writer);
    json_member_text(writer, "system", "http://hl7.org/fhir/ValueSet/restful-security-service");
    json_member_text(writer, "code", code);
    json_member_text(writer, "display", code);
    json_object_end(writer);
    json_array_end(writer);
    json_member_text(writer, "text", code);
    json_object_end(writer);
}

static void put_interaction(struct json_writer *writer, const char *code)
{
    json_object_begin(writer);
    json_member_text(writer, "code", code);
    json_object_end(writer);
}

static const struct {
    const char *name;
    const char *definition; /* a path here, or a URL */
} operations[] = {
    {"export", "/api/v1/Patient/$export"},
    {"jobs", "/api/v1/jobs/[jobId]"},
    {"metadata", "/api/v1/metadata"},
    {"version", "/_version"},
    {"data", "/data/[jobID]/[random_UUID].ndjson"},
    {"patient-export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export"},
    {"group-export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export"},
};

static void put_operations(struct json_writer *writer, struct slice base_url)
{
    begin_member_array(writer, "operation");
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        const char *definition = operations[i].definition;
        json_object_begin(writer);
        json_member_text(writer, "name", operations[i].name);
        begin_member_object(writer, "definition");
        put_url(writer, "reference", definition[0] == '/' ? base_url : (struct slice){NULL, 0}, definition);
        json_object_end(writer);
        json_object_end(writer);
    }
    json_array_end(writer);
}

static void put_rest(struct json_writer *writer, struct slice base_url)
{
    begin_member_array(writer, "rest");
    json_object_begin(writer);
    json_member_text(writer, "mode", "server");
    begin_member_object(writer, "security");
    put_token_extension(writer, base_url);
    json_member_bool(writer, "cors", true);
    begin_member_array(writer, "service");
    put_security_service(writer, "OAuth");
    put_security_service(writer, "SMART-on-FHIR");
    json_array_end(writer);
    json_object_end(writer);
    begin_member_array(writer, "interaction");
    put_interaction(writer, "batch");
    put_interaction(writer, "search-system");
    json_array_end(writer);
    put_operations(writer, base_url);
    json_object_end(writer);
    json_array_end(writer);
}

void document_capability_statement(struct buffer *target, const struct capability *capability)
{
    struct json_writer *writer = json_writer_new(target);
    json_object_begin(writer);
    json_member_text(writer, "resourceType", "CapabilityStatement");
    json_member_text(writer, "status", "active");
    json_member_text(writer, "date", capability->release_date);
    put_text(writer, "publisher", slice_from_text(capability->publisher));
    json_member_text(writer, "kind", "capability");
    begin_member_array(writer, "instantiates");
    json_text(writer, "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data");
    json_array_end(writer);
    begin_member_object(writer, "software");
    put_text(writer, "name", slice_from_text(capability->software_name));
    json_member_text(writer, "version", capability->version);
    json_member_text(writer, "releaseDate", capability->release_date);
    json_object_end(writer);
    begin_member_object(writer, "implementation");
    put_text(writer, "description", slice_from_text(capability->software_name)); /* STU3 wants one: 1..1 */
    put_text(writer, "url", capability->base_url);
    json_object_end(writer);
    json_member_text(writer, "fhirVersion", "3.0.1");
    json_member_text(writer, "acceptUnknown", "extensions");
    begin_member_array(writer, "format");
    json_text(writer, "application/json");
    json_text(writer, "application/fhir+json");
    json_array_end(writer);
    put_rest(writer, capability->base_url);
    json_object_end(writer);
    finish(writer);
}

/* ---- The list of jobs */

static bool status_is_final(const char *status)
{
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
           strcmp(status, "cancelled") == 0;
}

static void put_task(struct json_writer *writer, struct slice base_url, const struct task_item *item)
{
    char id[24];
    snprintf(id, sizeof id, "%llu", (unsigned long long)item->job_id);
    json_member_text(writer, "resourceType", "Task");
    json_member_text(writer, "id", id);
    begin_member_array(writer, "identifier");
    json_object_begin(writer);
    put_url(writer, "system", base_url, "/api/v1/jobs");
    json_member_text(writer, "value", id);
    json_object_end(writer);
    json_array_end(writer);
    json_member_text(writer, "status", item->status);
    begin_member_object(writer, "businessStatus");
    put_text(writer, "text", item->state);
    json_object_end(writer);
    json_member_text(writer, "intent", "order");
    begin_member_object(writer, "executionPeriod");
    put_instant(writer, "start", item->created_us);
    if (status_is_final(item->status))
        put_instant(writer, "end", item->updated_us);
    json_object_end(writer);
    put_instant(writer, "authoredOn", item->created_us);
    put_instant(writer, "lastModified", item->updated_us);
    begin_member_array(writer, "input");
    json_object_begin(writer);
    begin_member_object(writer, "type");
    json_member_text(writer, "text", "BULK FHIR Export");
    json_object_end(writer);
    struct buffer request = BUFFER_INIT;
    buffer_append_text(&request, "GET ");
    buffer_append_slice(&request, item->request);
    put_text(writer, "valueString", buffer_slice(&request));
    buffer_release(&request);
    json_object_end(writer);
    json_array_end(writer);
}

void document_job_bundle(struct buffer *target, struct slice base_url, const struct task_item *items,
                         size_t count)
{
    struct json_writer *writer = json_writer_new(target);
    json_object_begin(writer);
    json_member_text(writer, "resourceType", "Bundle");
    json_member_text(writer, "type", "searchset");
    json_member_number(writer, "total", (int64_t)count);
    if (count > 0) {
        begin_member_array(writer, "entry");
        for (size_t i = 0; i < count; i++) {
            char path[48];
            snprintf(path, sizeof path, "/api/v1/jobs/%llu", (unsigned long long)items[i].job_id);
            json_object_begin(writer);
            put_url(writer, "fullUrl", base_url, path);
            begin_member_object(writer, "resource");
            put_task(writer, base_url, &items[i]);
            json_object_end(writer);
            begin_member_object(writer, "search");
            json_member_text(writer, "mode", "match");
            json_object_end(writer);
            json_object_end(writer);
        }
        json_array_end(writer);
    }
    json_object_end(writer);
    finish(writer);
}

/* ---- The state of attribution (BCDA's) */

void document_attribution_status(struct buffer *target, int64_t loaded_us)
{
    struct json_writer *writer = json_writer_new(target);
    json_object_begin(writer);
    begin_member_array(writer, "ingestion_dates");
    json_object_begin(writer);
    put_instant(writer, "timestamp", loaded_us);
    json_member_text(writer, "type", "last_attribution_update");
    json_object_end(writer);
    json_array_end(writer);
    json_object_end(writer);
    finish(writer);
}

/* ---- The token */

void document_token(struct buffer *target, struct slice token, unsigned lifetime_seconds)
{
    struct json_writer *writer = json_writer_new(target);
    json_object_begin(writer);
    put_text(writer, "access_token", token);
    json_member_text(writer, "token_type", "bearer");
    json_member_number(writer, "expires_in", lifetime_seconds);
    json_object_end(writer);
    finish(writer);
}
