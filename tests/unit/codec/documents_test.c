#include "codec/documents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <yajl/yajl_tree.h>

/* Byte for byte, and JSON. */
static void document_must_be(struct buffer *document, const char *expected)
{
    assert_string_equal(buffer_text(document), expected);
    char message[200];
    yajl_val tree = yajl_tree_parse(buffer_text(document), message, sizeof message);
    if (!tree)
        fail_msg("%s", message);
    yajl_tree_free(tree);
    buffer_reset(document);
}

static void outcome_has_its_text_where_every_client_looks(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    document_outcome(&document, "error", "structure", "Formatting Error", "Accept header is required");
    document_must_be(
        &document,
        "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":\"structure\","
        "\"details\":{\"coding\":[{\"system\":\"http://hl7.org/fhir/ValueSet/operation-outcome\","
        "\"code\":\"Formatting Error\",\"display\":\"Accept header is required\"}],"
        "\"text\":\"Accept header is required\"},\"diagnostics\":\"Accept header is required\"}]}");
    buffer_release(&document);
}

static void outcome_without_text_is_bare(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    document_outcome(&document, "error", "login", "Invalid Token", NULL);
    document_must_be(
        &document,
        "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":\"login\","
        "\"details\":{\"coding\":[{\"system\":\"http://hl7.org/fhir/ValueSet/operation-outcome\","
        "\"code\":\"Invalid Token\"}]}}]}");
    buffer_release(&document);
}

static void text_that_is_no_utf8_is_mended(void **unused)
{
    (void)unused;
    static const struct {
        const char *text, *display;
    } rows[] = {
        {"plain", "plain"},
        {"\xc3\xa9 <&> \"\\\x01", "\xc3\xa9 <&> \\\"\\\\\\u0001"},
        {"\xff", "\xef\xbf\xbd"},
        {"a\xc3", "a\xef\xbf\xbd"}, /* a text that was cut inside a character */
        {"\xff\xfe_\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd_\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer document = BUFFER_INIT;
        struct buffer expected = BUFFER_INIT;
        document_outcome(&document, "error", "value", "Request Error", rows[i].text);
        buffer_appendf(
            &expected,
            "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":\"value\","
            "\"details\":{\"coding\":[{\"system\":\"http://hl7.org/fhir/ValueSet/operation-outcome\","
            "\"code\":\"Request Error\",\"display\":\"%s\"}],\"text\":\"%s\"},\"diagnostics\":\"%s\"}]}",
            rows[i].display, rows[i].display, rows[i].display);
        document_must_be(&document, buffer_text(&expected));
        buffer_release(&document);
        buffer_release(&expected);
    }
}

static void manifest_has_the_keys_of_the_contract_in_their_order(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    struct manifest_file output[] = {
        {"ExplanationOfBenefit", SLICE_LITERAL("https://host/data/42/a.ndjson"), 100, 123456},
        {"Patient", SLICE_LITERAL("https://host/data/42/b.ndjson"), 1, UINT64_C(5000000000)},
    };
    struct manifest_file deleted[] = {
        {"Bundle", SLICE_LITERAL("https://host/data/42/d-deleted.ndjson"), 3, 300}};
    struct manifest_file error[] = {
        {"OperationOutcome", SLICE_LITERAL("https://host/data/42/c-error.ndjson"), 2, 700}};
    struct manifest manifest = {
        .transaction_time_us = INT64_C(1575924241705398), /* the guide's instant */
        .request =
            SLICE_LITERAL("https://host/api/v1/Group/all/$export?_type=Patient&_since=2020-02-13T08:00:00Z"),
        .job_id = 42,
    };
    document_manifest(&document, &manifest);
    document_must_be(
        &document,
        "{\"transactionTime\":\"2019-12-09T20:44:01.705398Z\",\"request\":\"https://host/api/v1/Group/all/"
        "$export?_type=Patient&_since=2020-02-13T08:00:00Z\",\"requiresAccessToken\":true,\"output\":[],"
        "\"deleted\":[],\"error\":[],\"JobID\":42}");
    manifest.request = SLICE_LITERAL("https://host/api/v1/Patient/$export");
    manifest.output = output;
    manifest.output_count = 2;
    manifest.deleted = deleted;
    manifest.deleted_count = 1;
    manifest.error = error;
    manifest.error_count = 1;
    document_manifest(&document, &manifest);
    document_must_be(
        &document,
        "{\"transactionTime\":\"2019-12-09T20:44:01.705398Z\",\"request\":\"https://host/api/v1/Patient/"
        "$export\",\"requiresAccessToken\":true,\"output\":["
        "{\"type\":\"ExplanationOfBenefit\",\"url\":\"https://host/data/42/a.ndjson\",\"count\":100,"
        "\"fileSize\":123456},"
        "{\"type\":\"Patient\",\"url\":\"https://host/data/42/b.ndjson\",\"count\":1,"
        "\"fileSize\":5000000000}],\"deleted\":["
        "{\"type\":\"Bundle\",\"url\":\"https://host/data/42/d-deleted.ndjson\",\"count\":3,"
        "\"fileSize\":300}],\"error\":["
        "{\"type\":\"OperationOutcome\",\"url\":\"https://host/data/42/c-error.ndjson\",\"count\":2,"
        "\"fileSize\":700}],\"JobID\":42}");
    buffer_release(&document);
}

static void deletions_are_a_transaction_of_their_instant(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    const struct deletion_item items[] = {{"Patient", SLICE_LITERAL("-10000010254618")},
                                          {"ExplanationOfBenefit", SLICE_LITERAL("carrier-1")}};
    document_deletions(&document, INT64_C(1575924241705398), items, 2);
    document_must_be(
        &document,
        "{\"resourceType\":\"Bundle\",\"meta\":{\"lastUpdated\":\"2019-12-09T20:44:01.705398+00:00\"},"
        "\"type\":\"transaction\",\"entry\":["
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/-10000010254618\"}},"
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"ExplanationOfBenefit/carrier-1\"}}]}");
    buffer_release(&document);
}

static void partial_manifest_names_the_files_in_progress_under_its_extension(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    struct manifest_file output[] = {{"Patient", SLICE_LITERAL("https://host/data/42/b.ndjson"), 1, 2}};
    struct manifest_following following[] = {{"Coverage", SLICE_LITERAL("https://host/data/42/d.ndjson")},
                                             {"Coverage", SLICE_LITERAL("https://host/data/42/e.ndjson")}};
    struct manifest manifest = {
        .transaction_time_us = INT64_C(1575924241705398),
        .request = SLICE_LITERAL("https://host/api/v1/Patient/$export?allowPartialManifests=true"),
        .job_id = 42,
        .is_partial = true,
    };
    document_manifest(&document, &manifest);
    document_must_be(
        &document, "{\"transactionTime\":\"2019-12-09T20:44:01.705398Z\",\"request\":\"https://host/api/v1/"
                   "Patient/$export?allowPartialManifests=true\",\"requiresAccessToken\":true,\"output\":[],"
                   "\"deleted\":[],\"error\":[],\"JobID\":42,\"extension\":{\"inProgress\":[]}}");
    manifest.output = output;
    manifest.output_count = 1;
    manifest.following = following;
    manifest.following_count = 2;
    document_manifest(&document, &manifest);
    document_must_be(
        &document, "{\"transactionTime\":\"2019-12-09T20:44:01.705398Z\",\"request\":\"https://host/api/v1/"
                   "Patient/$export?allowPartialManifests=true\",\"requiresAccessToken\":true,\"output\":["
                   "{\"type\":\"Patient\",\"url\":\"https://host/data/42/b.ndjson\",\"count\":1,"
                   "\"fileSize\":2}],\"deleted\":[],\"error\":[],\"JobID\":42,\"extension\":{\"inProgress\":["
                   "{\"type\":\"Coverage\",\"url\":\"https://host/data/42/d.ndjson\"},"
                   "{\"type\":\"Coverage\",\"url\":\"https://host/data/42/e.ndjson\"}]}}");
    buffer_release(&document);
}

/* The advanced guide's sample, with what docs/api.md section 7 adds. */
static void capability_statement_is_the_guides_sample_and_the_operations_of_bulk_data(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    struct capability capability = {
        .base_url = SLICE_LITERAL("https://api.bcda.cms.gov"),
        .version = "latest",
        .release_date = "2019-12-09",
        .publisher = "Centers for Medicare & Medicaid Services",
        .software_name = "Beneficiary Claims Data API",
    };
    document_capability_statement(&document, &capability);
    document_must_be(
        &document,
        "{\"resourceType\":\"CapabilityStatement\",\"status\":\"active\",\"date\":\"2019-12-09\","
        "\"publisher\":\"Centers for Medicare & Medicaid Services\",\"kind\":\"capability\","
        "\"instantiates\":[\"http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data\"],"
        "\"software\":{\"name\":\"Beneficiary Claims Data "
        "API\",\"version\":\"latest\",\"releaseDate\":\"2019-12-09\"},"
        "\"implementation\":{\"description\":\"Beneficiary Claims Data API\","
        "\"url\":\"https://api.bcda.cms.gov\"},\"fhirVersion\":\"3.0.1\","
        "\"acceptUnknown\":\"extensions\",\"format\":[\"application/json\",\"application/fhir+json\"],"
        "\"rest\":[{\"mode\":\"server\",\"security\":{"
        "\"extension\":[{\"url\":\"http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris\","
        "\"extension\":[{\"url\":\"token\",\"valueUri\":\"https://api.bcda.cms.gov/auth/token\"}]}],"
        "\"cors\":true,\"service\":["
        "{\"coding\":[{\"system\":\"http://hl7.org/fhir/ValueSet/"
        "restful-security-service\",\"code\":\"OAuth\","
        "\"display\":\"OAuth\"}],\"text\":\"OAuth\"},"
        "{\"coding\":[{\"system\":\"http://hl7.org/fhir/ValueSet/restful-security-service\","
        "\"code\":\"SMART-on-FHIR\",\"display\":\"SMART-on-FHIR\"}],\"text\":\"SMART-on-FHIR\"}]},"
        "\"interaction\":[{\"code\":\"batch\"},{\"code\":\"search-system\"}],\"operation\":["
        "{\"name\":\"export\",\"definition\":{\"reference\":\"https://api.bcda.cms.gov/api/v1/Patient/"
        "$export\"}},"
        "{\"name\":\"jobs\",\"definition\":{\"reference\":\"https://api.bcda.cms.gov/api/v1/jobs/[jobId]\"}},"
        "{\"name\":\"metadata\",\"definition\":{\"reference\":\"https://api.bcda.cms.gov/api/v1/metadata\"}},"
        "{\"name\":\"version\",\"definition\":{\"reference\":\"https://api.bcda.cms.gov/_version\"}},"
        "{\"name\":\"data\",\"definition\":{\"reference\":"
        "\"https://api.bcda.cms.gov/data/[jobID]/[random_UUID].ndjson\"}},"
        "{\"name\":\"patient-export\",\"definition\":{\"reference\":"
        "\"http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export\"}},"
        "{\"name\":\"group-export\",\"definition\":{\"reference\":"
        "\"http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export\"}}]}]}");
    buffer_release(&document);
}

static void job_bundle_holds_a_task_for_each_job(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    struct task_item items[] = {
        {42, "in-progress", SLICE_LITERAL("In Progress"),
         SLICE_LITERAL("https://host/api/v1/Patient/$export"), INT64_C(1575924241705398),
         INT64_C(1575924242000000)},
        {41, "completed", SLICE_LITERAL("Archived"),
         SLICE_LITERAL("https://host/api/v1/Group/all/$export?_type=Patient"), INT64_C(1575924241000000),
         INT64_C(1575924243000000)},
    };
    document_job_bundle(&document, SLICE_LITERAL("https://host"), items, 2);
    document_must_be(
        &document,
        "{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"total\":2,\"entry\":["
        "{\"fullUrl\":\"https://host/api/v1/jobs/42\",\"resource\":{\"resourceType\":\"Task\",\"id\":\"42\","
        "\"identifier\":[{\"system\":\"https://host/api/v1/"
        "jobs\",\"value\":\"42\"}],\"status\":\"in-progress\","
        "\"businessStatus\":{\"text\":\"In Progress\"},\"intent\":\"order\","
        "\"executionPeriod\":{\"start\":\"2019-12-09T20:44:01.705398Z\"},"
        "\"authoredOn\":\"2019-12-09T20:44:01.705398Z\",\"lastModified\":\"2019-12-09T20:44:02.000000Z\","
        "\"input\":[{\"type\":{\"text\":\"BULK FHIR Export\"},"
        "\"valueString\":\"GET https://host/api/v1/Patient/$export\"}]},\"search\":{\"mode\":\"match\"}},"
        "{\"fullUrl\":\"https://host/api/v1/jobs/41\",\"resource\":{\"resourceType\":\"Task\",\"id\":\"41\","
        "\"identifier\":[{\"system\":\"https://host/api/v1/"
        "jobs\",\"value\":\"41\"}],\"status\":\"completed\","
        "\"businessStatus\":{\"text\":\"Archived\"},\"intent\":\"order\","
        "\"executionPeriod\":{\"start\":\"2019-12-09T20:44:01.000000Z\",\"end\":\"2019-12-09T20:44:03."
        "000000Z\"},"
        "\"authoredOn\":\"2019-12-09T20:44:01.000000Z\",\"lastModified\":\"2019-12-09T20:44:03.000000Z\","
        "\"input\":[{\"type\":{\"text\":\"BULK FHIR Export\"},"
        "\"valueString\":\"GET https://host/api/v1/Group/all/$export?_type=Patient\"}]},"
        "\"search\":{\"mode\":\"match\"}}]}");
    document_job_bundle(&document, SLICE_LITERAL("https://host"), NULL, 0);
    document_must_be(&document, "{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"total\":0}");
    buffer_release(&document);
}

static void token_document_is_rfc_6749s(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    document_token(&document, SLICE_LITERAL("a.b.c"), 1200);
    document_must_be(&document, "{\"access_token\":\"a.b.c\",\"token_type\":\"bearer\",\"expires_in\":1200}");
    buffer_release(&document);
}

static void document_is_appended(void **unused)
{
    (void)unused;
    struct buffer document = BUFFER_INIT;
    buffer_append_text(&document, "before ");
    document_token(&document, SLICE_LITERAL("t"), 1);
    assert_string_equal(buffer_text(&document),
                        "before {\"access_token\":\"t\",\"token_type\":\"bearer\",\"expires_in\":1}");
    buffer_release(&document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcome_has_its_text_where_every_client_looks),
        cmocka_unit_test(outcome_without_text_is_bare),
        cmocka_unit_test(text_that_is_no_utf8_is_mended),
        cmocka_unit_test(manifest_has_the_keys_of_the_contract_in_their_order),
        cmocka_unit_test(deletions_are_a_transaction_of_their_instant),
        cmocka_unit_test(partial_manifest_names_the_files_in_progress_under_its_extension),
        cmocka_unit_test(capability_statement_is_the_guides_sample_and_the_operations_of_bulk_data),
        cmocka_unit_test(job_bundle_holds_a_task_for_each_job),
        cmocka_unit_test(token_document_is_rfc_6749s),
        cmocka_unit_test(document_is_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
