/*
 * The rows of the OpenAPI document against the router's table, and the document as JSON.
 */
#include "server/openapi.h"

#include "codec/json_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void every_route_has_a_row_or_is_left_out_on_purpose(void **state)
{
    (void)state;
    for (size_t i = 0; i < route_count; i++) {
        bool is_described = openapi_operation_of(&routes[i]) != NULL;
        if (is_described == openapi_leaves_out(&routes[i]))
            fail_msg("%s: it is %s", routes[i].pattern,
                     is_described ? "both described and left out" : "neither described nor left out");
    }
}

static void every_row_is_of_a_route(void **state)
{
    (void)state;
    for (size_t i = 0; i < openapi_operation_count; i++) {
        bool is_found = false;
        for (size_t j = 0; j < route_count; j++)
            is_found |= openapi_operation_of(&routes[j]) == &openapi_operations[i];
        if (!is_found)
            fail_msg("no route has the method and pattern of %s, %s", openapi_operations[i].id,
                     openapi_operations[i].pattern);
    }
}

static void a_row_describes_the_parameters_of_its_path(void **state)
{
    (void)state;
    for (size_t i = 0; i < openapi_operation_count; i++) {
        const struct openapi_operation *operation = &openapi_operations[i];
        size_t braces = 0, in_path = 0;
        for (const char *at = operation->pattern; (at = strchr(at, '{')); at++)
            braces++;
        for (size_t j = 0; j < OPENAPI_PARAMETERS_MAX && operation->parameters[j].name; j++) {
            char braced[64];
            if (!operation->parameters[j].in_path)
                continue;
            in_path++;
            snprintf(braced, sizeof braced, "{%s}", operation->parameters[j].name);
            if (!strstr(operation->pattern, braced))
                fail_msg("%s has no %s", operation->pattern, braced);
        }
        if (braces != in_path)
            fail_msg("%s: %zu of %zu parameters are described", operation->pattern, in_path, braces);
    }
}

static enum status count_event(void *context, enum json_event event, struct slice text, unsigned depth,
                               struct error *error)
{
    size_t *operations = context;
    (void)depth;
    (void)error;
    if (event == JSON_EVENT_KEY && slice_equal_text(text, "operationId"))
        ++*operations;
    return STATUS_OK;
}

static size_t count_operations(const char *title)
{
    struct buffer text = BUFFER_INIT;
    struct json_reader *reader = json_reader_new();
    struct error error = {0};
    size_t operations = 0;
    openapi_document(&text, SLICE_LITERAL("https://api.example"), title, 1200);
    if (json_read(reader, buffer_slice(&text), count_event, &operations, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    assert_true(json_reader_was_minified(reader));
    json_reader_free(reader);
    buffer_release(&text);
    return operations;
}

static void the_document_is_json_and_holds_every_row(void **state)
{
    (void)state;
    assert_int_equal(count_operations("Claims"), openapi_operation_count);
}

static void a_title_that_is_not_utf8_does_no_harm(void **state)
{
    (void)state;
    assert_int_equal(count_operations("Claims \xff"), openapi_operation_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_has_a_row_or_is_left_out_on_purpose),
        cmocka_unit_test(every_row_is_of_a_route),
        cmocka_unit_test(a_row_describes_the_parameters_of_its_path),
        cmocka_unit_test(the_document_is_json_and_holds_every_row),
        cmocka_unit_test(a_title_that_is_not_utf8_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
