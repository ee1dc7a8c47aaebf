/*
 * The OpenAPI 3 document of the API, which the interactive page shows. It is made from the router's table
 * and, for each route in it, a row here with what the table does not say: section, texts, parameters,
 * answers. A test holds the two tables to each other.
 *
 * Threading: pure functions over constant tables.
 */
#ifndef SERVER_OPENAPI_H
#define SERVER_OPENAPI_H

#include "server/router.h"

#define OPENAPI_PARAMETERS_MAX 3
#define OPENAPI_ANSWERS_MAX    4
#define OPENAPI_PROBLEMS_MAX   6

enum openapi_parameter_kind {
    OPENAPI_KIND_STRING,
    OPENAPI_KIND_NUMBER,
    OPENAPI_KIND_TYPES, /* any number of texts, joined by commas */
};

struct openapi_parameter {
    const char *name;
    bool in_path; /* else in the query, where none is required */
    enum openapi_parameter_kind kind;
    const char *description;
};

/* What an answer's body is; the table of schemas stands in openapi.c. */
enum openapi_body {
    OPENAPI_BODY_NONE,
    OPENAPI_BODY_TOKEN,
    OPENAPI_BODY_TOKEN_PROBLEM,
    OPENAPI_BODY_PROVIDER,
    OPENAPI_BODY_VERSION,
    OPENAPI_BODY_CAPABILITY,
    OPENAPI_BODY_MANIFEST,
    OPENAPI_BODY_JOBS,
    OPENAPI_BODY_ATTRIBUTION,
    OPENAPI_BODY_FILE,
    OPENAPI_BODY_OUTCOME,
    OPENAPI_BODY_COUNT
};

struct openapi_answer {
    unsigned status;
    enum openapi_body body;
    const char *description;
    const char *fields[4]; /* header fields; up to the first NULL */
};

struct openapi_operation {
    enum http_method method;
    const char *pattern; /* of the route */
    const char *section;
    const char *id;
    const char *summary;
    const char *description;
    bool takes_credentials; /* HTTP Basic; what needs a token says the route */
    struct openapi_parameter parameters[OPENAPI_PARAMETERS_MAX]; /* up to the first without a name */
    struct openapi_answer answers[OPENAPI_ANSWERS_MAX];          /* up to the first without a status */
    unsigned problems[OPENAPI_PROBLEMS_MAX]; /* more statuses, with an OperationOutcome; up to the first 0 */
};

extern const struct openapi_operation openapi_operations[];
extern const size_t openapi_operation_count;

/* The row of a route, or NULL: it is not in the document. */
const struct openapi_operation *openapi_operation_of(const struct route *route);
/* True if the document leaves the route out on purpose. */
bool openapi_leaves_out(const struct route *route);

/* Appended, minified. The title is replaced by the API's own name if it is not UTF-8. */
void openapi_document(struct buffer *target, struct slice base_url, const char *title,
                      unsigned token_lifetime_seconds);

#endif
