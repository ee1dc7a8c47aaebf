#include "server/openapi.h"

#include "codec/base/check.h"
#include "codec/json_writer.h"
#include "codec/utf8.h"
#include "server/service.h"

#include <stdio.h>

#define SECTION_AUTH     "auth"
#define SECTION_METADATA "metadata"
#define SECTION_DATA     "bulkData"

#define SCHEME_CREDENTIALS "credentials"
#define SCHEME_TOKEN       "token"

/* ---- The operations, in the order of the page ---- */

/* The names and first words of these three are those of the getting-started guide. */
#define PARAMETER_TYPE                                                                                       \
    {                                                                                                        \
        "_type", false, OPENAPI_KIND_TYPES, "Resource types requested"                                       \
    }
#define PARAMETER_SINCE                                                                                      \
    {                                                                                                        \
        "_since", false, OPENAPI_KIND_STRING,                                                                \
            "(Optional) Only data that was updated after this date and time, written as "                    \
            "`YYYY-MM-DDThh:mm:ss.sss+zz:zz`. For example, noon of February 20, 2020, EST is "               \
            "`2020-02-20T12:00:00.000-05:00`."                                                               \
    }
#define PARAMETER_JOB                                                                                        \
    {                                                                                                        \
        "jobId", true, OPENAPI_KIND_NUMBER,                                                                  \
            "The job number: what stands behind the last `/` of `content-location` in the answer that "      \
            "started the export"                                                                             \
    }

#define TYPES_TEXT                                                                                           \
    "Types are `ExplanationOfBenefit` (claims), `Patient` (who your beneficiaries are) and `Coverage` "      \
    "(their Medicare plans). Without a type you get all three."
#define STARTED_TEXT                                                                                         \
    "The export has been started. `content-location` is its address; the number at its end is the job "      \
    "number (`jobId`)."

const struct openapi_operation openapi_operations[] = {
    {
        .method = HTTP_METHOD_POST,
        .pattern = "/auth/token",
        .section = SECTION_AUTH,
        .id = "getToken",
        .summary = "Get an access token",
        .description = "Click the lock to enter your client ID and secret, then *Try it out* and "
                       "*Execute*. Copy `access_token` from the response, without the quotes.",
        .takes_credentials = true,
        .answers =
            {{200, OPENAPI_BODY_TOKEN, "Your access token", {NULL}},
             {400, OPENAPI_BODY_TOKEN_PROBLEM, "No client ID and secret were sent: click the lock.", {NULL}},
             {401, OPENAPI_BODY_TOKEN_PROBLEM, "This client ID and secret are not valid together.", {NULL}},
             {429,
              OPENAPI_BODY_TOKEN_PROBLEM,
              "Too many failed attempts. Try again later.",
              {"Retry-After", NULL}}},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/_auth",
        .section = SECTION_METADATA,
        .id = "getAuthProvider",
        .summary = "Who checks credentials",
        .description = "The authorization and authentication provider that this server uses. Needs no token.",
        .answers = {{200, OPENAPI_BODY_PROVIDER, "The provider and its version", {NULL}}},
        .problems = {400},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/_version",
        .section = SECTION_METADATA,
        .id = "getVersion",
        .summary = "The server's version",
        .description = "The version of the API that is running. Needs no token.",
        .answers = {{200, OPENAPI_BODY_VERSION, "The version", {NULL}}},
        .problems = {400},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/api/v1/metadata",
        .section = SECTION_METADATA,
        .id = "getMetadata",
        .summary = "What the API can do",
        .description = "The server's FHIR CapabilityStatement. Needs no token.",
        .answers = {{200, OPENAPI_BODY_CAPABILITY, "The CapabilityStatement", {NULL}}},
        .problems = {400},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/api/v1/Patient/$export",
        .section = SECTION_DATA,
        .id = "exportPatients",
        .summary = "Start an export for all your beneficiaries",
        .description = TYPES_TEXT " With `_since`, you get what was updated after that time, for every "
                                  "beneficiary.",
        .parameters = {PARAMETER_TYPE, PARAMETER_SINCE},
        .answers = {{202, OPENAPI_BODY_NONE, STARTED_TEXT, {"Content-Location", NULL}}},
        .problems = {400, 429},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/api/v1/Group/{groupId}/$export",
        .section = SECTION_DATA,
        .id = "exportGroup",
        .summary = "Start an export for a group of your beneficiaries",
        .description = TYPES_TEXT " With `_since`, you get what was updated after that time, and for "
                                  "beneficiaries who have joined your ACO since then, their whole history.",
        .parameters = {{"groupId", true, OPENAPI_KIND_STRING, "The group: `all`"},
                       PARAMETER_TYPE,
                       PARAMETER_SINCE},
        .answers = {{202, OPENAPI_BODY_NONE, STARTED_TEXT, {"Content-Location", NULL}}},
        .problems = {400, 429},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/api/v1/jobs",
        .section = SECTION_DATA,
        .id = "listJobs",
        .summary = "List your jobs",
        .description = "The newest first.",
        .parameters = {{"_status", false, OPENAPI_KIND_TYPES,
                        "States of the jobs to list, for example "
                        "`Completed`; all without it"}},
        .answers = {{200, OPENAPI_BODY_JOBS, "A Bundle with a Task for each job", {NULL}}},
        .problems = {400},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/api/v1/jobs/{jobId}",
        .section = SECTION_DATA,
        .id = "getJob",
        .summary = "Ask how far a job is",
        .description =
            "While the answer is 202, ask again later. When it is 200, its body lists the files: the "
            "end of a `url`, behind the last `/`, is the `filename` for downloading it.",
        .parameters = {PARAMETER_JOB},
        .answers = {{202,
                     OPENAPI_BODY_NONE,
                     "Not complete yet. `x-progress` says how far it is.",
                     {"X-Progress", "Retry-After", NULL}},
                    {200,
                     OPENAPI_BODY_MANIFEST,
                     "Complete. The files can be downloaded until `expires`.",
                     {"X-Progress", "Expires", NULL}}},
        .problems = {404, 410, 500},
    },
    {
        .method = HTTP_METHOD_DELETE,
        .pattern = "/api/v1/jobs/{jobId}",
        .section = SECTION_DATA,
        .id = "deleteJob",
        .summary = "Cancel a job, or remove a finished one",
        .description = "Its files are deleted.",
        .parameters = {PARAMETER_JOB},
        .answers = {{202, OPENAPI_BODY_NONE, "The job is cancelled or removed.", {NULL}}},
        .problems = {404, 410},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/api/v1/attribution_status",
        .section = SECTION_DATA,
        .id = "getAttributionStatus",
        .summary = "When your beneficiaries were last updated",
        .description = "The time at which the newest list of your beneficiaries was loaded. Export "
                       "`Group/all` with `_since` afterwards to get the whole history of those who joined.",
        .answers = {{200, OPENAPI_BODY_ATTRIBUTION, "The time of the last update", {NULL}},
                    {404, OPENAPI_BODY_OUTCOME, "No list has been loaded yet.", {NULL}}},
    },
    {
        .method = HTTP_METHOD_GET,
        .pattern = "/data/{jobId}/{filename}",
        .section = SECTION_DATA,
        .id = "getFile",
        .summary = "Download a file of a finished job",
        .description = "After *Execute*, click *Download* below the response body to save the file. A large "
                       "file may take a while.",
        .parameters =
            {PARAMETER_JOB,
             {"filename", true, OPENAPI_KIND_STRING,
              "The file's name: what stands behind the last `/` of its `url`, ending in `.ndjson`"}},
        .answers = {{200, OPENAPI_BODY_FILE, "The resources, one on each line", {"Expires", NULL}}},
        .problems = {404, 410},
    },
};
const size_t openapi_operation_count = sizeof openapi_operations / sizeof *openapi_operations;

/* For programs and operators, or the page itself. */
static const char *const left_out[] = {
    "/auth/welcome",
    "/_health",
    "/api/v1/swagger",
    "/api/v1/swagger/",
    "/api/v1/swagger/openapi.json",
    "/api/v1/swagger/{asset}",
};

const struct openapi_operation *openapi_operation_of(const struct route *route)
{
    for (size_t i = 0; i < openapi_operation_count; i++)
        if (openapi_operations[i].method == route->method &&
            strcmp(openapi_operations[i].pattern, route->pattern) == 0)
            return &openapi_operations[i];
    return NULL;
}

bool openapi_leaves_out(const struct route *route)
{
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (strcmp(left_out[i], route->pattern) == 0)
            return true;
    return false;
}

/* ---- What rows refer to ---- */

static const struct {
    const char *name;
    const char *description;
} sections[] = {
    {SECTION_AUTH, "Get an access token"},
    {SECTION_METADATA, "About the server; open to everybody"},
    {SECTION_DATA, "Export and download your beneficiaries' data; needs an access token"},
};

static const struct {
    const char *name;
    const char *type;
    const char *description;
} fields[] = {
    {"Content-Location", "string", "The address of the job"},
    {"X-Progress", "string",
     "The job's state: Pending, In Progress (with a percentage), Completed, Archived, Expired or Failed"},
    {"Retry-After", "integer", "Seconds to wait before asking again"},
    {"Expires", "string", "Until when the files can be downloaded"},
};

static const struct {
    unsigned status;
    const char *name; /* in components */
    const char *description;
} problems[] = {
    {400, "BadRequest", "Something in the request is not right; `diagnostics` says what."},
    {401, "NotAuthorized",
     "No valid token. Click *Authorize* at the top, type `Bearer`, a space, and paste a fresh token: it is "
     "valid for a limited time."},
    {404, "NotFound", "There is no such job or file of yours."},
    {410, "Gone", "The job has expired and its files are no longer kept."},
    {429, "TooManyRequests", "A job of this endpoint is still active: wait until it is complete."},
    {500, "Failed", "The job has failed. Start the export again."},
};

struct property {
    const char *name;
    const char *type; /* "string", "integer", "boolean", "object" or "array"; of objects */
    const char *example;
};

/* Schemas say as much as the page needs; docs/api.md has every key. */
static const struct {
    const char *name; /* in components; NULL: a plain text */
    const char *content_type;
    struct property properties[8];
} bodies[OPENAPI_BODY_COUNT] = {
    [OPENAPI_BODY_TOKEN] = {"Token",
                            "application/json",
                            {{"access_token", "string", "eyJhbGciOiJSUzUxMiIsInR5cCI6IkpXVCJ9.e30.c2ln"},
                             {"token_type", "string", "bearer"},
                             {"expires_in", "integer", "1200"}}},
    [OPENAPI_BODY_TOKEN_PROBLEM] = {"TokenProblem",
                                    "application/json",
                                    {{"error", "string", "invalid_client"}}},
    [OPENAPI_BODY_PROVIDER] = {"AuthProvider",
                               "application/json",
                               {{"auth_provider", "string", "alpha"}, {"version", "string", SLUICE_VERSION}}},
    [OPENAPI_BODY_VERSION] = {"Version", "application/json", {{"version", "string", SLUICE_VERSION}}},
    [OPENAPI_BODY_CAPABILITY] = {"CapabilityStatement",
                                 "application/json",
                                 {{"resourceType", "string", "CapabilityStatement"},
                                  {"status", "string", "active"},
                                  {"fhirVersion", "string", "3.0.1"}}},
    [OPENAPI_BODY_MANIFEST] = {"Manifest",
                               "application/json",
                               {{"transactionTime", "string", "2019-12-09T20:44:01.705398Z"},
                                {"request", "string", "https://example.org/api/v1/Patient/$export"},
                                {"requiresAccessToken", "boolean", "true"},
                                {"output", "array", NULL},
                                {"deleted", "array", NULL},
                                {"error", "array", NULL},
                                {"JobID", "integer", "42"}}},
    [OPENAPI_BODY_JOBS] = {"JobBundle",
                           "application/fhir+json",
                           {{"resourceType", "string", "Bundle"},
                            {"type", "string", "searchset"},
                            {"total", "integer", "1"},
                            {"entry", "array", NULL}}},
    [OPENAPI_BODY_ATTRIBUTION] = {"AttributionStatus",
                                  "application/json",
                                  {{"ingestion_dates", "array", NULL}}},
    [OPENAPI_BODY_FILE] = {NULL, "application/fhir+ndjson", {{NULL, NULL, NULL}}},
    [OPENAPI_BODY_OUTCOME] = {"OperationOutcome",
                              "application/fhir+json",
                              {{"resourceType", "string", "OperationOutcome"}, {"issue", "array", NULL}}},
};

/* ---- Writing ---- */

static void begin_object(struct json_writer *writer, const char *key)
{
    json_key(writer, key);
    json_object_begin(writer);
}

static void put_reference(struct json_writer *writer, const char *kind, const char *name)
{
    char text[96];
    snprintf(text, sizeof text, "#/components/%s/%s", kind, name);
    json_object_begin(writer);
    json_member_text(writer, "$ref", text);
    json_object_end(writer);
}

static void put_info(struct json_writer *writer, const char *title, unsigned token_lifetime_seconds)
{
    struct buffer text = BUFFER_INIT;
    buffer_appendf(
        &text,
        "Request and download the Medicare claims data of your beneficiaries from this page. You do not "
        "need to write code.\n\n"
        "1. **Get a token.** Under *auth*, click the lock. Enter your client ID as the username and your "
        "secret as the password, click *Authorize*, then *Close*. Open `POST /auth/token`, click *Try it "
        "out*, then *Execute*, and copy the `access_token` from the response.\n"
        "2. **Show the token.** Click *Authorize* here at the top. In the *Value* box type `Bearer`, a "
        "space, and paste the token. Click *Authorize*, then *Close*. A token is valid for %u minutes; "
        "afterwards, get a new one.\n"
        "3. **Start an export.** Under *bulkData*, open `GET /api/v1/Patient/$export`, click *Try it out*, "
        "then *Execute*. Note the job number at the end of `content-location` in the response headers.\n"
        "4. **Wait for it.** Open `GET /api/v1/jobs/{jobId}` and enter the job number. While the code is 202 "
        "the job is running; when it is 200, the response lists the files.\n"
        "5. **Download each file.** Open `GET /data/{jobId}/{filename}`, enter the job number and the part "
        "of the file's address behind the last `/`, then click *Execute* and *Download*.\n\n"
        "The page forgets your secret and your token when you close or reload it.",
        token_lifetime_seconds / 60);
    struct slice name = slice_from_text(title);
    if (utf8_valid_size(name) != name.size)
        name = SLICE_LITERAL("Beneficiary Claims Data API");
    begin_object(writer, "info");
    json_member_string(writer, "title", name);
    json_member_text(writer, "version", SLUICE_VERSION);
    json_member_string(writer, "description", buffer_slice(&text));
    json_object_end(writer);
    buffer_release(&text);
}

static void put_parameter(struct json_writer *writer, const struct openapi_parameter *parameter)
{
    static const char *const types[] = {
        [OPENAPI_KIND_STRING] = "string", [OPENAPI_KIND_NUMBER] = "integer", [OPENAPI_KIND_TYPES] = "array"};
    json_object_begin(writer);
    json_member_text(writer, "name", parameter->name);
    json_member_text(writer, "in", parameter->in_path ? "path" : "query");
    json_member_text(writer, "description", parameter->description);
    if (parameter->in_path)
        json_member_bool(writer, "required", true);
    if (parameter->kind == OPENAPI_KIND_TYPES) {
        json_member_text(writer, "style", "form");
        json_member_bool(writer, "explode", false);
    }
    begin_object(writer, "schema");
    json_member_text(writer, "type", types[parameter->kind]);
    if (parameter->kind == OPENAPI_KIND_TYPES) {
        begin_object(writer, "items");
        json_member_text(writer, "type", "string");
        json_object_end(writer);
    }
    json_object_end(writer);
    json_object_end(writer);
}

static void put_content(struct json_writer *writer, enum openapi_body body)
{
    if (body == OPENAPI_BODY_NONE)
        return;
    begin_object(writer, "content");
    begin_object(writer, bodies[body].content_type);
    json_key(writer, "schema");
    if (bodies[body].name) {
        put_reference(writer, "schemas", bodies[body].name);
    } else {
        json_object_begin(writer);
        json_member_text(writer, "type", "string");
        json_object_end(writer);
    }
    json_object_end(writer);
    json_object_end(writer);
}

static void put_answer(struct json_writer *writer, const struct openapi_answer *answer)
{
    char status[16];
    snprintf(status, sizeof status, "%u", answer->status);
    begin_object(writer, status);
    json_member_text(writer, "description", answer->description);
    if (answer->fields[0])
        begin_object(writer, "headers");
    for (size_t i = 0; answer->fields[i]; i++) {
        json_key(writer, answer->fields[i]);
        put_reference(writer, "headers", answer->fields[i]);
    }
    if (answer->fields[0])
        json_object_end(writer);
    put_content(writer, answer->body);
    json_object_end(writer);
}

static void put_problem(struct json_writer *writer, unsigned status)
{
    char text[16];
    snprintf(text, sizeof text, "%u", status);
    size_t i = 0;
    while (problems[i].status != status)
        CHECK(++i < sizeof problems / sizeof *problems);
    json_key(writer, text);
    put_reference(writer, "responses", problems[i].name);
}

static void put_security(struct json_writer *writer, const struct route *route,
                         const struct openapi_operation *operation)
{
    json_key(writer, "security");
    json_array_begin(writer);
    if (operation->takes_credentials || route->auth == ROUTE_AUTH_BEARER) {
        json_object_begin(writer);
        json_key(writer, operation->takes_credentials ? SCHEME_CREDENTIALS : SCHEME_TOKEN);
        json_array_begin(writer);
        json_array_end(writer);
        json_object_end(writer);
    }
    json_array_end(writer);
}

static void put_operation(struct json_writer *writer, const struct route *route,
                          const struct openapi_operation *operation)
{
    static const char *const methods[] = {
        [HTTP_METHOD_GET] = "get", [HTTP_METHOD_POST] = "post", [HTTP_METHOD_DELETE] = "delete"};
    begin_object(writer, methods[route->method]);
    json_key(writer, "tags");
    json_array_begin(writer);
    json_text(writer, operation->section);
    json_array_end(writer);
    json_member_text(writer, "operationId", operation->id);
    json_member_text(writer, "summary", operation->summary);
    json_member_text(writer, "description", operation->description);
    put_security(writer, route, operation);
    if (operation->parameters[0].name) {
        json_key(writer, "parameters");
        json_array_begin(writer);
        for (size_t i = 0; i < OPENAPI_PARAMETERS_MAX && operation->parameters[i].name; i++)
            put_parameter(writer, &operation->parameters[i]);
        json_array_end(writer);
    }
    begin_object(writer, "responses");
    for (size_t i = 0; i < OPENAPI_ANSWERS_MAX && operation->answers[i].status; i++)
        put_answer(writer, &operation->answers[i]);
    if (route->auth == ROUTE_AUTH_BEARER)
        put_problem(writer, 401);
    for (size_t i = 0; i < OPENAPI_PROBLEMS_MAX && operation->problems[i]; i++)
        put_problem(writer, operation->problems[i]);
    json_object_end(writer);
    json_object_end(writer);
}

static bool is_first_of_path(size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(routes[i].pattern, routes[index].pattern) == 0)
            return false;
    return true;
}

static void put_paths(struct json_writer *writer)
{
    begin_object(writer, "paths");
    for (size_t i = 0; i < route_count; i++) {
        if (openapi_leaves_out(&routes[i]) || !is_first_of_path(i))
            continue;
        begin_object(writer, routes[i].pattern);
        for (size_t j = i; j < route_count; j++) {
            const struct openapi_operation *operation = openapi_operation_of(&routes[j]);
            if (operation && strcmp(routes[i].pattern, routes[j].pattern) == 0)
                put_operation(writer, &routes[j], operation);
        }
        json_object_end(writer);
    }
    json_object_end(writer);
}

static void put_schemas(struct json_writer *writer)
{
    begin_object(writer, "schemas");
    for (size_t i = 0; i < OPENAPI_BODY_COUNT; i++) {
        if (!bodies[i].name)
            continue;
        begin_object(writer, bodies[i].name);
        json_member_text(writer, "type", "object");
        begin_object(writer, "properties");
        for (const struct property *property = bodies[i].properties; property->name; property++) {
            begin_object(writer, property->name);
            json_member_text(writer, "type", property->type);
            if (strcmp(property->type, "array") == 0) {
                begin_object(writer, "items");
                json_member_text(writer, "type", "object");
                json_object_end(writer);
            } else if (strcmp(property->type, "string") == 0) {
                json_member_text(writer, "example", property->example);
            } else {
                json_key(writer, "example");
                json_number_text(writer, slice_from_text(property->example));
            }
            json_object_end(writer);
        }
        json_object_end(writer);
        json_object_end(writer);
    }
    json_object_end(writer);
}

static void put_security_schemes(struct json_writer *writer)
{
    begin_object(writer, "securitySchemes");
    begin_object(writer, SCHEME_CREDENTIALS);
    json_member_text(writer, "type", "http");
    json_member_text(writer, "scheme", "basic");
    json_member_text(writer, "description",
                     "For `POST /auth/token`: your client ID is the username, your secret is the password.");
    json_object_end(writer);
    /* Not http/bearer: the getting-started guide has people type the word Bearer. */
    begin_object(writer, SCHEME_TOKEN);
    json_member_text(writer, "type", "apiKey");
    json_member_text(writer, "in", "header");
    json_member_text(writer, "name", "Authorization");
    json_member_text(writer, "description",
                     "For everything under *bulkData*: type the word `Bearer` and a space, then paste your "
                     "access token. `Bearer` is case-sensitive.");
    json_object_end(writer);
    json_object_end(writer);
}

static void put_components(struct json_writer *writer)
{
    begin_object(writer, "components");
    put_security_schemes(writer);
    begin_object(writer, "headers");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        begin_object(writer, fields[i].name);
        json_member_text(writer, "description", fields[i].description);
        begin_object(writer, "schema");
        json_member_text(writer, "type", fields[i].type);
        json_object_end(writer);
        json_object_end(writer);
    }
    json_object_end(writer);
    begin_object(writer, "responses");
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
        begin_object(writer, problems[i].name);
        json_member_text(writer, "description", problems[i].description);
        put_content(writer, OPENAPI_BODY_OUTCOME);
        json_object_end(writer);
    }
    json_object_end(writer);
    put_schemas(writer);
    json_object_end(writer);
}

void openapi_document(struct buffer *target, struct slice base_url, const char *title,
                      unsigned token_lifetime_seconds)
{
    struct json_writer *writer = json_writer_new(target);
    json_object_begin(writer);
    json_member_text(writer, "openapi", "3.0.3");
    put_info(writer, title, token_lifetime_seconds);
    json_key(writer, "servers");
    json_array_begin(writer);
    json_object_begin(writer);
    json_member_string(writer, "url", base_url);
    json_object_end(writer);
    json_array_end(writer);
    json_key(writer, "tags");
    json_array_begin(writer);
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        json_object_begin(writer);
        json_member_text(writer, "name", sections[i].name);
        json_member_text(writer, "description", sections[i].description);
        json_object_end(writer);
    }
    json_array_end(writer);
    put_paths(writer);
    put_components(writer);
    json_object_end(writer);
    json_writer_finish(writer);
    json_writer_free(writer);
}
