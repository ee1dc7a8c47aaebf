#include "codec/resource.h"

#include "codec/instant.h"
#include "codec/json_reader.h"
#include "tests/support/json_events.h"
#include "tests/support/shared_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT_OF(rows) (sizeof(rows) / sizeof *(rows))
#define MBI_SYSTEM     "http://hl7.org/fhir/sid/us-mbi"
#define CURRENCY(code)                                                                                       \
    "\"extension\":[{\"url\":\"https://bluebutton.cms.gov/resources/codesystem/identifier-currency\","       \
    "\"valueCoding\":{\"code\":\"" code "\"}}]"
#define MBI(value)          "{\"system\":\"" MBI_SYSTEM "\",\"value\":\"" value "\"}"
#define MBI_AS(code, value) "{" CURRENCY(code) ",\"system\":\"" MBI_SYSTEM "\",\"value\":\"" value "\"}"

struct fixture {
    struct resource_parser *parser;
    struct json_reader *reader;
    struct resource resource;
    struct error error;
    struct buffer text;
    struct buffer stamped;
    struct buffer log;
    struct buffer other_log;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.parser = resource_parser_new(), .reader = json_reader_new()};
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    resource_parser_free(fixture->parser);
    json_reader_free(fixture->reader);
    buffer_release(&fixture->text);
    buffer_release(&fixture->stamped);
    buffer_release(&fixture->log);
    buffer_release(&fixture->other_log);
    return 0;
}

static enum status parse(struct fixture *fixture, struct slice line)
{
    fixture->error = (struct error){.status = STATUS_OK};
    return resource_parse(fixture->parser, line, &fixture->resource, &fixture->error);
}

static void assert_parsed(struct fixture *fixture, struct slice line)
{
    if (parse(fixture, line) != STATUS_OK)
        fail_msg("%.*s: %s", SLICE_PRINT(line), fixture->error.text);
}

static void assert_refused(struct fixture *fixture, struct slice line, enum status status,
                           const char *error_begin)
{
    enum status got = parse(fixture, line);
    if (got != status || strncmp(fixture->error.text, error_begin, strlen(error_begin)) != 0)
        fail_msg("%.*s: %s \"%s\", expected %s \"%s\"", SLICE_PRINT(line), status_name(got),
                 fixture->error.text, status_name(status), error_begin);
}

static void assert_slice(struct slice slice, const char *expected)
{
    if (!slice_equal_text(slice, expected))
        fail_msg("\"%.*s\", expected \"%s\"", SLICE_PRINT(slice), expected);
}

/* ---- Finding ----------------------------------------------------------------------------------------- */

static void types_have_the_names_of_fhir(void **state)
{
    (void)state;
    static const char *const names[] = {"ExplanationOfBenefit", "Coverage", "Patient"};
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        enum resource_type type = RESOURCE_TYPE_COUNT;
        assert_string_equal(resource_type_name((enum resource_type)i), names[i]);
        assert_true(resource_type_find(slice_from_text(names[i]), &type));
        assert_int_equal(type, i);
    }
    enum resource_type type = RESOURCE_TYPE_COVERAGE;
    assert_false(resource_type_find(SLICE_LITERAL("patient"), &type));
    assert_false(resource_type_find(SLICE_LITERAL("Patient "), &type));
    assert_false(resource_type_find(slice_make(NULL, 0), &type));
    assert_int_equal(type, RESOURCE_TYPE_COVERAGE);
}

/* The members of a document in all orders, with and without white space. */
struct members {
    const char *texts[6];
    size_t count;
    void (*check)(struct fixture *fixture);
};

static void check_orders(struct fixture *fixture, const struct members *members, size_t order[6],
                         size_t chosen)
{
    if (chosen == members->count) {
        for (int spaced = 0; spaced < 2; spaced++) {
            buffer_reset(&fixture->text);
            for (size_t i = 0; i < chosen; i++)
                buffer_appendf(&fixture->text, "%s%s%s", i ? "," : "{", spaced ? "\n  " : "",
                               members->texts[order[i]]);
            buffer_append_text(&fixture->text, spaced ? "\r\n}\n" : "}\n");
            assert_parsed(fixture, buffer_slice(&fixture->text));
            members->check(fixture);
        }
        return;
    }
    for (size_t i = 0; i < members->count; i++) {
        bool used = false;
        for (size_t j = 0; j < chosen; j++)
            used |= order[j] == i;
        if (!used) {
            order[chosen] = i;
            check_orders(fixture, members, order, chosen + 1);
        }
    }
}

static void check_claim(struct fixture *fixture)
{
    const struct resource *resource = &fixture->resource;
    assert_int_equal(resource->type, RESOURCE_TYPE_EXPLANATION_OF_BENEFIT);
    assert_slice(resource->id, "carrier--10000000004049");
    assert_slice(resource->beneficiary, "-10000000000066");
    assert_int_equal(resource->mbi_count, 0);
    assert_true(resource->has_last_updated);
    assert_int_equal(resource->last_updated_us, INT64_C(1629222340767000));
    assert_int_equal(resource->service_first_day, 18334);
    assert_int_equal(resource->service_last_day, 18343);
}

static void a_claim_is_taken_apart_whatever_the_order_of_keys(void **state)
{
    static const struct members members = {
        .texts = {"\"resourceType\":\"ExplanationOfBenefit\"", "\"id\":\"carrier--10000000004049\"",
                  "\"meta\":{\"lastUpdated\":\"2021-08-17T13:45:40.767-04:00\"}",
                  "\"patient\":{\"reference\":\"Patient/-10000000000066\"}",
                  "\"billablePeriod\":{\"end\":\"2020-03-22\",\"start\":\"2020-03-13\"}",
                  "\"item\":[{\"servicedPeriod\":{\"start\":\"2019-01-01\",\"end\":\"2022-01-01\"}}]"},
        .count = 6,
        .check = check_claim,
    };
    size_t order[6];
    check_orders(*state, &members, order, 0);
}

static void check_coverage(struct fixture *fixture)
{
    const struct resource *resource = &fixture->resource;
    assert_int_equal(resource->type, RESOURCE_TYPE_COVERAGE);
    assert_slice(resource->id, "part-a--10000000000066");
    assert_slice(resource->beneficiary, "-10000000000066");
    assert_int_equal(resource->mbi_count, 0);
    assert_false(resource->has_last_updated);
    assert_int_equal(resource->service_first_day, DAY_NONE);
    assert_int_equal(resource->service_last_day, DAY_NONE);
}

static void a_coverage_is_taken_apart_whatever_the_order_of_keys(void **state)
{
    static const struct members members = {
        .texts = {"\"resourceType\":\"Coverage\"", "\"id\":\"part-a--10000000000066\"",
                  "\"beneficiary\":{\"display\":\"x\",\"reference\":\"Patient/-10000000000066\"}",
                  "\"patient\":{\"reference\":\"Patient/1\"}", "\"identifier\":[" MBI("1S00E00AA66") "]",
                  "\"billablePeriod\":{\"end\":\"2020-03-22\",\"start\":\"2020-03-13\"}"},
        .count = 6,
        .check = check_coverage,
    };
    size_t order[6];
    check_orders(*state, &members, order, 0);
}

static void check_patient(struct fixture *fixture)
{
    const struct resource *resource = &fixture->resource;
    assert_int_equal(resource->type, RESOURCE_TYPE_PATIENT);
    assert_slice(resource->id, "-10000000000066");
    assert_slice(resource->beneficiary, "-10000000000066");
    assert_int_equal(resource->mbi_count, 1);
    assert_slice(resource->mbis[0], "1S00E00AA66");
    assert_true(resource->has_last_updated);
    assert_int_equal(resource->last_updated_us, 1);
    assert_int_equal(resource->service_first_day, DAY_NONE);
}

static void a_patient_is_taken_apart_whatever_the_order_of_keys(void **state)
{
    static const struct members members = {
        .texts = {"\"resourceType\":\"Patient\"", "\"id\":\"-10000000000066\"",
                  "\"meta\":{\"versionId\":\"3\",\"lastUpdated\":\"1970-01-01T00:00:00.000001Z\"}",
                  "\"identifier\":[" MBI("1S00E00AA66") "]", "\"beneficiary\":{\"reference\":\"Patient/1\"}",
                  "\"item\":[{\"servicedDate\":\"2020-01-01\"}]"},
        .count = 6,
        .check = check_patient,
    };
    size_t order[6];
    check_orders(*state, &members, order, 0);
}

static void only_the_places_named_are_looked_at(void **state)
{
    struct fixture *fixture = *state;
    struct slice line = SLICE_LITERAL(
        "{\"contained\":[{\"resourceType\":\"Practitioner\",\"id\":\"inner\",\"meta\":{\"lastUpdated\":"
        "\"bad\"},"
        "\"patient\":{\"reference\":\"Patient/9\"},\"identifier\":[" MBI(
            "9S00E00AA99") "]}],"
                           "\"meta\":{\"extension\":[{\"lastUpdated\":\"bad\",\"id\":\"m\"}],\"tag\":{"
                           "\"lastUpdated\":7},"
                           "\"lastUpdated\":\"1970-01-01T00:00:01Z\"},"
                           "\"extension\":[{\"url\":\"id\",\"id\":\"e\",\"valueReference\":{\"reference\":"
                           "\"Patient/8\"}}],"
                           "\"patient\":{\"extension\":[{\"reference\":\"Patient/"
                           "7\"}],\"identifier\":{\"reference\":\"Patient/6\"},"
                           "\"reference\":\"Patient/1\"},"
                           "\"item\":[{\"id\":\"i\",\"patient\":{\"reference\":\"Patient/"
                           "5\"},\"meta\":{\"lastUpdated\":null},"
                           "\"detail\":[{\"servicedDate\":\"1990-01-01\"}],\"servicedPeriod\":{\"extension\":"
                           "[{\"start\":\"1991-01-01\"}]},"
                           "\"servicedDate\":\"2020-01-02\"},[{\"servicedDate\":\"1992-01-01\"}],\"1993-01-"
                           "01\",null],"
                           "\"billablePeriod\":{\"extension\":[{\"start\":\"1994-01-01\"}]},"
                           "\"identifier\":[{\"id\":\"x\",\"value\":\"1\"},[{\"id\":\"y\"}],\"id\"],"
                           "\"id\":\"outer\",\"resourceType\":\"ExplanationOfBenefit\"}");
    assert_parsed(fixture, line);
    assert_slice(fixture->resource.id, "outer");
    assert_slice(fixture->resource.beneficiary, "1");
    assert_int_equal(fixture->resource.last_updated_us, 1000000);
    assert_int_equal(fixture->resource.service_first_day, 18263);
    assert_int_equal(fixture->resource.service_last_day, 18263);
}

static void escaped_keys_and_values_count_as_what_they_mean(void **state)
{
    struct fixture *fixture = *state;
    for (int spaced = 0; spaced < 2; spaced++) {
        buffer_reset(&fixture->text);
        buffer_appendf(
            &fixture->text,
            "{%s\"resource\\u0054ype\":\"\\u0050atient\",\"\\u0069d\":\"a\\u0062c\",\"m\\u0065ta\":"
            "{\"lastUpd\\u0061ted\":%s\"2020-01-01T00\\u003a00:00Z\"},\"identifier\":[{\"system\":"
            "\"http:\\/\\/hl7.org\\/fhir\\/sid\\/us-mbi\",\"value\":\"1S00E00\\u0041A66\"}]}",
            spaced ? " " : "", spaced ? " " : "");
        assert_parsed(fixture, buffer_slice(&fixture->text));
        assert_int_equal(fixture->resource.type, RESOURCE_TYPE_PATIENT);
        assert_slice(fixture->resource.id, "abc");
        assert_slice(fixture->resource.beneficiary, "abc");
        assert_int_equal(fixture->resource.mbi_count, 1);
        assert_slice(fixture->resource.mbis[0], "1S00E00AA66");
        assert_int_equal(fixture->resource.last_updated_us, INT64_C(1577836800000000));
        resource_stamp(&fixture->resource, 0, &fixture->stamped);
        assert_slice(buffer_slice(&fixture->stamped),
                     "{\"resource\\u0054ype\":\"\\u0050atient\",\"\\u0069d\":\"a\\u0062c\",\"m\\u0065ta\":"
                     "{\"lastUpd\\u0061ted\":\"1970-01-01T00:00:00.000+00:00\"},\"identifier\":[{\"system\":"
                     "\"http:\\/\\/hl7.org\\/fhir\\/sid\\/us-mbi\",\"value\":\"1S00E00\\u0041A66\"}]}");
        buffer_reset(&fixture->stamped);
    }
}

static void mbis_come_with_the_current_ones_first(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *identifiers;
        const char *mbis;
    } rows[] = {
        {"[]", ""},
        {"null", ""},
        {"{}", ""},
        {"[" MBI("1A") "," MBI("2A") "]", "1A 2A "},
        {"[" MBI_AS("historic", "1H") "," MBI("2U") "," MBI_AS("current", "3C") "]", "3C 2U 1H "},
        {"[" MBI_AS("historic", "1H") "," MBI_AS("historic", "2H") "," MBI_AS("current", "3C") "," MBI_AS(
             "current", "4C") "]",
         "3C 4C 1H 2H "},
        {"[" MBI_AS("current", "1A") "," MBI_AS("historic", "1A") "]", "1A "},
        {"[" MBI_AS("other", "1O") "," MBI_AS("current", "2C") "]", "2C 1O "},
        {"[{\"value\":\"1A\",\"system\":\"" MBI_SYSTEM "\"," CURRENCY("historic") "}," MBI("2A") "]",
         "2A 1A "},
        {"[{\"system\":\"x\",\"value\":\"1A\"},{\"value\":\"2A\"},{\"system\":\"" MBI_SYSTEM
         "\"}," MBI("3A") "]",
         "3A "},
        {"[" MBI("") "," MBI("123456789012") "," MBI("12345678901") "]", "12345678901 "},
        {"[{\"system\":\"" MBI_SYSTEM "\",\"value\":7},{\"system\":[\"" MBI_SYSTEM "\"],\"value\":\"1A\"}]",
         ""},
        /* an extension of something else, or elsewhere, says nothing */
        {"[{\"extension\":[{\"url\":\"x\",\"valueCoding\":{\"code\":\"current\"}}],\"system\":\"" MBI_SYSTEM
         "\",\"value\":\"1U\"}," MBI_AS("current", "2C") "]",
         "2C 1U "},
        {"[{\"type\":{" CURRENCY("historic") "},\"system\":\"" MBI_SYSTEM
                                             "\",\"value\":\"1U\"}," MBI("2U") "]",
         "1U 2U "},
        /* several extensions, keys the other way round */
        {"[{\"system\":\"" MBI_SYSTEM
         "\",\"value\":\"1C\",\"extension\":[{\"url\":\"x\"},{\"valueCoding\":{\"system\":"
         "\"y\",\"code\":\"historic\"},\"url\":\"https://bluebutton.cms.gov/resources/codesystem/"
         "identifier-currency\"}"
         ",{\"url\":\"z\"}]}," MBI("2U") "]",
         "2U 1C "},
        {"[" MBI("01") "," MBI("02") "," MBI("03") "," MBI("04") "," MBI("05") "," MBI("06") "," MBI("07") "," MBI("08") "," MBI("09") "," MBI("10") "," MBI(
             "11") "," MBI("12") "," MBI("13") "," MBI("14") "," MBI("15") "," MBI("16") "," MBI("17") "," MBI_AS("historic",
                                                                                                                  "18") "," MBI_AS("current",
                                                                                                                                   "19") "]",
         "19 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 "},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        buffer_reset(&fixture->text);
        buffer_appendf(&fixture->text, "{\"identifier\":%s,\"id\":\"1\",\"resourceType\":\"Patient\"}",
                       rows[i].identifiers);
        assert_parsed(fixture, buffer_slice(&fixture->text));
        buffer_reset(&fixture->log);
        for (size_t j = 0; j < fixture->resource.mbi_count; j++)
            buffer_appendf(&fixture->log, "%.*s ", SLICE_PRINT(fixture->resource.mbis[j]));
        if (strcmp(buffer_text(&fixture->log), rows[i].mbis) != 0)
            fail_msg("%s gave \"%s\", expected \"%s\"", rows[i].identifiers, buffer_text(&fixture->log),
                     rows[i].mbis);
    }
}

static void service_days_are_those_of_the_claim_or_else_of_its_items(void **state)
{
    struct fixture *fixture = *state;
    enum { JAN1 = 18262 }; /* of 2020 */
    static const struct {
        const char *members;
        int32_t first;
        int32_t last;
    } rows[] = {
        {"\"x\":1", DAY_NONE, DAY_NONE},
        {"\"billablePeriod\":{\"start\":\"2020-01-01\",\"end\":\"2020-01-03\"}", JAN1, JAN1 + 2},
        {"\"billablePeriod\":{\"start\":\"2020-01-01\"}", JAN1, JAN1},
        {"\"billablePeriod\":{\"end\":\"2020-01-03\"}", JAN1 + 2, JAN1 + 2},
        {"\"billablePeriod\":{\"start\":\"2020-01-03\",\"end\":\"2020-01-01\"}", JAN1, JAN1 + 2},
        {"\"billablePeriod\":{\"start\":\"2020\",\"end\":\"2020-02\"}", JAN1, JAN1 + 31},
        {"\"billablePeriod\":{\"start\":\"2020-01-01T23:00:00-05:00\",\"end\":\"x\"}", JAN1, JAN1},
        {"\"billablePeriod\":{\"start\":\"x\",\"end\":7},\"item\":[{\"servicedDate\":\"2020-01-02\"}]",
         JAN1 + 1, JAN1 + 1},
        {"\"billablePeriod\":[],\"item\":[{\"servicedDate\":\"2020-01-02\"}]", JAN1 + 1, JAN1 + 1},
        {"\"item\":[{\"servicedDate\":\"2020-01-02\"},{\"servicedPeriod\":{\"end\":\"2020-01-09\",\"start\":"
         "\"2020-01-05\"}},{\"servicedDate\":\"2020-01-04\"},{\"servicedDate\":\"20-01-04\"},{}]",
         JAN1 + 1, JAN1 + 8},
        {"\"item\":[{\"servicedPeriod\":{\"start\":\"2020-01-01\"}}],\"billablePeriod\":{\"end\":\"2020-01-"
         "03\"}",
         JAN1 + 2, JAN1 + 2},
        {"\"item\":{\"servicedDate\":\"2020-01-02\"}", DAY_NONE, DAY_NONE},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        buffer_reset(&fixture->text);
        buffer_appendf(&fixture->text,
                       "{%s,\"id\":\"1\",\"patient\":{\"reference\":\"Patient/1\"},\"resourceType\":"
                       "\"ExplanationOfBenefit\"}",
                       rows[i].members);
        assert_parsed(fixture, buffer_slice(&fixture->text));
        if (fixture->resource.service_first_day != rows[i].first ||
            fixture->resource.service_last_day != rows[i].last)
            fail_msg("%s gave %d to %d, expected %d to %d", rows[i].members,
                     fixture->resource.service_first_day, fixture->resource.service_last_day, rows[i].first,
                     rows[i].last);
    }
}

/* ---- Refusing ---------------------------------------------------------------------------------------- */

static void each_refusal_names_the_element(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *line;
        enum status status;
        const char *error_begin;
    } rows[] = {
        {"", STATUS_INVALID, "at byte 0: "},
        {"\n", STATUS_INVALID, "at byte 0: "},
        {"[]", STATUS_INVALID, "at byte 0: a resource must be a JSON object"},
        {" \"Patient\"", STATUS_INVALID, "at byte 1: a resource must be a JSON object"},
        {"null", STATUS_INVALID, "at byte 0: a resource must be a JSON object"},
        {"7", STATUS_INVALID, "at byte 0: a resource must be a JSON object"},
        {"{} {}", STATUS_INVALID, "at byte "},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\"", STATUS_INVALID, "at byte "},

        {"{}", STATUS_INVALID, "resourceType: missing"},
        {"{\"id\":\"1\"}", STATUS_INVALID, "resourceType: missing"},
        {"{\"id\":\"1\",\"resourceType\":null}", STATUS_INVALID, "resourceType: must be a string"},
        {"{\"id\":\"1\",\"resourceType\":[\"Patient\"]}", STATUS_INVALID, "resourceType: must be a string"},
        {"{\"id\":\"1\",\"resourceType\":{\"id\":\"Patient\"}}", STATUS_INVALID,
         "resourceType: must be a string"},
        {"{\"id\":\"1\",\"resourceType\":\"\"}", STATUS_UNSUPPORTED, "resourceType: \"\" is not served here"},
        {"{\"id\":\"1\",\"resourceType\":\"patient\"}", STATUS_UNSUPPORTED,
         "resourceType: \"patient\" is not"},
        {"{\"resourceType\":\"Practitioner\",\"id\":7}", STATUS_UNSUPPORTED,
         "resourceType: \"Practitioner\" is not"},

        {"{\"resourceType\":\"Patient\"}", STATUS_INVALID, "id: missing"},
        {"{\"resourceType\":\"Patient\",\"id\":1}", STATUS_INVALID, "id: must be a string"},
        {"{\"resourceType\":\"Patient\",\"id\":null}", STATUS_INVALID, "id: must be a string"},
        {"{\"resourceType\":\"Patient\",\"id\":\"\"}", STATUS_INVALID, "id: is not 1 to 64 letters"},
        {"{\"resourceType\":\"Patient\",\"id\":\"a_b\"}", STATUS_INVALID, "id: is not 1 to 64 letters"},
        {"{\"resourceType\":\"Patient\",\"id\":\"a/b\"}", STATUS_INVALID, "id: is not 1 to 64 letters"},
        {"{\"resourceType\":\"Patient\",\"id\":\"a b\"}", STATUS_INVALID, "id: is not 1 to 64 letters"},
        {"{\"resourceType\":\"Patient\",\"id\":\"\xC3\xA9\"}", STATUS_INVALID, "id: is not 1 to 64 letters"},
        {"{\"resourceType\":\"Patient\",\"id\":\"a\\u0000\"}", STATUS_INVALID, "id: is not 1 to 64 letters"},
        {"{\"resourceType\":\"Patient\",\"id\":"
         "\"12345678901234567890123456789012345678901234567890123456789012345\"}",
         STATUS_INVALID, "id: is not 1 to 64 letters"},

        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":null}", STATUS_INVALID,
         "meta: must be an object"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":[{}]}", STATUS_INVALID,
         "meta: must be an object"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":\"x\"}", STATUS_INVALID,
         "meta: must be an object"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"lastUpdated\":\"IGNORED_FIELD\"}}",
         STATUS_INVALID, "meta.lastUpdated: \"IGNORED_FIELD\" is not a FHIR instant: "},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"lastUpdated\":\"2020-01-01\"}}",
         STATUS_INVALID, "meta.lastUpdated: \"2020-01-01\" is not a FHIR instant: time and zone are missing"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"lastUpdated\":\"2020-01-01T00:00:00\"}}",
         STATUS_INVALID,
         "meta.lastUpdated: \"2020-01-01T00:00:00\" is not a FHIR instant: the zone is missing"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"lastUpdated\":\"\"}}", STATUS_INVALID,
         "meta.lastUpdated: \"\" is not"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"lastUpdated\":null}}", STATUS_INVALID,
         "meta.lastUpdated: must be a string"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"lastUpdated\":1577836800000}}",
         STATUS_INVALID, "meta.lastUpdated: must be a string"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"lastUpdated\":[\"2020-01-01T00:00:00Z\"]}}",
         STATUS_INVALID, "meta.lastUpdated: must be a string"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"lastUpdated\":"
         "\"x234567890123456789012345678901234567"
         "8901234567890\"}}",
         STATUS_INVALID, "meta.lastUpdated: \"x234567890123456789012345678901234567890...\" is not"},

        {"{\"resourceType\":\"Coverage\",\"id\":\"1\"}", STATUS_INVALID, "beneficiary.reference: missing"},
        {"{\"resourceType\":\"Coverage\",\"id\":\"1\",\"patient\":{\"reference\":\"Patient/1\"}}",
         STATUS_INVALID, "beneficiary.reference: missing"},
        {"{\"resourceType\":\"Coverage\",\"id\":\"1\",\"beneficiary\":{}}", STATUS_INVALID,
         "beneficiary.reference: missing"},
        {"{\"resourceType\":\"Coverage\",\"id\":\"1\",\"beneficiary\":\"Patient/1\"}", STATUS_INVALID,
         "beneficiary.reference: missing"},
        {"{\"resourceType\":\"Coverage\",\"id\":\"1\",\"beneficiary\":[{\"reference\":\"Patient/1\"}]}",
         STATUS_INVALID, "beneficiary.reference: missing"},
        {"{\"resourceType\":\"Coverage\",\"id\":\"1\",\"beneficiary\":{\"reference\":null}}", STATUS_INVALID,
         "beneficiary.reference: must be a string"},
        {"{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"1\"}", STATUS_INVALID,
         "patient.reference: missing"},
        {"{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"1\",\"beneficiary\":{\"reference\":\"Patient/"
         "1\"}}",
         STATUS_INVALID, "patient.reference: missing"},

        {"{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"1\",\"patient\":{\"reference\":\"Patient/1\"},"
         "\"patient\":{\"reference\":\"Patient/2\"}}",
         STATUS_INVALID, "at byte 84: the key \"patient\" is repeated"},
        {"{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"1\",\"patient\":{\"reference\":\"Patient/1\"},"
         "\"p\\u0061tient\":{\"reference\":\"Patient/2\"}}",
         STATUS_INVALID, "at byte 84: the key \"patient\" is repeated"},
        {"{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"1\",\"patient\":{\"reference\":\"Patient/1\","
         "\"reference\":\"Patient/2\"}}",
         STATUS_INVALID, "at byte 83: the key \"reference\" is repeated"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"id\":\"2\"}", STATUS_INVALID,
         "at byte 35: the key \"id\" is"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"x\":\"\\ud800\"}", STATUS_INVALID,
         "at byte 40: half of a"},
        {"{\"resourceType\":\"Patient\",\"id\":\"1\",\"x\":\"\xC0\x80\"}", STATUS_INVALID,
         "at byte 40: not UTF-8"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_refused(fixture, slice_from_text(rows[i].line), rows[i].status, rows[i].error_begin);
    assert_int_equal(resource_parse(fixture->parser, SLICE_LITERAL("{}"), &fixture->resource, NULL),
                     STATUS_INVALID);
}

static void a_reference_is_exactly_patient_and_an_id(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {
        "",
        "1",
        "/1",
        "Patient",
        "Patient/",
        "patient/1",
        "Patient/1/",
        "Patient/1/_history/2",
        "/Patient/1",
        " Patient/1",
        "Patient/1 ",
        "Patient//1",
        "Patient/Patient/1",
        "Patient/1?x",
        "Patient/1#x",
        "Patient/1|2",
        "Patient/a_b",
        "Patient/\\u0000",
        "Coverage/1",
        "#1",
        "urn:uuid:0b8a6ef0-07c8-48ca-804d-1e64f6e",
        "https://example.org/fhir/Patient/1",
        "Patient/12345678901234567890123456789012345678901234567890123456789012345",
    };
    static const char *const forms[][2] = {
        {"{\"resourceType\":\"Coverage\",\"id\":\"1\",\"beneficiary\":{\"reference\":\"%s\"}}",
         "beneficiary.reference: is not"},
        {"{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"1\",\"patient\":{\"reference\":\"%s\"}}",
         "patient.reference: is not"},
    };
    for (size_t form = 0; form < COUNT_OF(forms); form++) {
        const char *split = strstr(forms[form][0], "%s");
        struct slice before = {forms[form][0], (size_t)(split - forms[form][0])};
        for (size_t i = 0; i < COUNT_OF(bad); i++) {
            buffer_reset(&fixture->text);
            buffer_appendf(&fixture->text, "%.*s%s%s", SLICE_PRINT(before), bad[i], split + 2);
            assert_refused(fixture, buffer_slice(&fixture->text), STATUS_INVALID, forms[form][1]);
        }
        static const char *const good[] = {
            "1", "-10000000000066", "A.b-9",
            "1234567890123456789012345678901234567890123456789012345678901234"};
        for (size_t i = 0; i < COUNT_OF(good); i++) {
            buffer_reset(&fixture->text);
            buffer_appendf(&fixture->text, "%.*sPatient/%s%s", SLICE_PRINT(before), good[i], split + 2);
            assert_parsed(fixture, buffer_slice(&fixture->text));
            assert_slice(fixture->resource.beneficiary, good[i]);
        }
    }
}

static void size_and_depth_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    static const char head[] = "{\"resourceType\":\"Patient\",\"id\":\"1\",\"x\":\"";
    for (size_t over = 0; over < 2; over++) {
        buffer_reset(&fixture->text);
        buffer_append_text(&fixture->text, head);
        size_t filler = RESOURCE_BYTES_MAX - (sizeof head - 1) - 2 + over;
        memset(buffer_extend(&fixture->text, filler), 'x', filler);
        buffer_append_text(&fixture->text, "\"}\r\n");
        assert_int_equal(parse(fixture, buffer_slice(&fixture->text)), over ? STATUS_TOO_LARGE : STATUS_OK);
    }
    assert_string_equal(fixture->error.text, "a resource of 8388609 bytes is over the limit of 8388608");
    buffer_reset(&fixture->text);
    buffer_append_text(&fixture->text, "{\"resourceType\":\"Patient\",\"id\":\"1\",\"x\":");
    for (int i = 0; i < 100; i++)
        buffer_append_char(&fixture->text, '[');
    assert_refused(fixture, buffer_slice(&fixture->text), STATUS_TOO_LARGE,
                   "at byte 102: nested deeper than 64");
}

static void a_parser_forgets_the_line_before(void **state)
{
    struct fixture *fixture = *state;
    assert_parsed(
        fixture, SLICE_LITERAL(
                     "{\"meta\":{\"lastUpdated\":\"2020-01-01T00:00:00Z\"},\"id\":\"1\",\"identifier\":[" MBI(
                         "1A") "],\"resourceType\":\"Patient\"}"));
    assert_refused(
        fixture,
        SLICE_LITERAL("{\"resourceType\":\"Coverage\",\"beneficiary\":{\"reference\":\"Patient/1\"}}"),
        STATUS_INVALID, "id: missing");
    assert_refused(fixture, SLICE_LITERAL("{\"id\":\"1\",\"beneficiary\":{\"reference\":\"Patient/1\"}"),
                   STATUS_INVALID, "at byte ");
    assert_refused(fixture, SLICE_LITERAL("{\"resourceType\":\"Coverage\",\"id\":\"2\"}"), STATUS_INVALID,
                   "beneficiary.reference: missing");
    assert_parsed(fixture, SLICE_LITERAL("{\"id\":\"2\",\"resourceType\":\"Patient\"}"));
    assert_false(fixture->resource.has_last_updated);
    assert_int_equal(fixture->resource.mbi_count, 0);
    resource_parser_free(NULL);
}

/* ---- Making canonical, stamping, hashing ----------------------------------------------------------------
 */

static void a_line_without_white_space_is_canonical_as_it_is(void **state)
{
    struct fixture *fixture = *state;
    static const char line[] =
        "{\"id\":\"1\",\"b\":0.00,\"a\":\"\\u0041 b\\/\",\"x\":[1E5,-0],\"resourceType\":\"Patient\"}";
    static const char *const ends[] = {"", "\n", "\r\n"};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        buffer_reset(&fixture->text);
        buffer_appendf(&fixture->text, "%s%s", line, ends[i]);
        assert_parsed(fixture, buffer_slice(&fixture->text));
        assert_ptr_equal(fixture->resource.json.data, fixture->text.data);
        assert_int_equal(fixture->resource.json.size, sizeof line - 1);
    }
    assert_parsed(fixture,
                  SLICE_LITERAL(" { \"id\" : \"1\", \"b\":\t0.00,\"a\":\"\\u0041 b\\/\",\"x\":[1E5\r,-0],\r\n"
                                "\"resourceType\":\"Patient\" } \n"));
    assert_slice(fixture->resource.json, line);
}

/* Each line as it comes, and as it is with the stamp 2020-02-20T12:00:00.123456Z. */
static void a_stamp_changes_nothing_but_the_time(void **state)
{
    struct fixture *fixture = *state;
#define STAMP "\"lastUpdated\":\"2020-02-20T12:00:00.123456+00:00\""
#define REST  "\"id\":\"1\",\"resourceType\":\"Patient\"}"
    static const struct {
        const char *line;
        enum resource_stamp_place place;
        const char *stamped;
    } rows[] = {
        {"{\"meta\":{\"lastUpdated\":\"1999-01-01T00:00:00Z\"}," REST, RESOURCE_STAMP_REPLACE,
         "{\"meta\":{" STAMP "}," REST},
        {"{\"meta\":{\"a\":1,\"lastUpdated\":\"1999-01-01T00:00:00Z\",\"b\":2}," REST, RESOURCE_STAMP_REPLACE,
         "{\"meta\":{\"a\":1," STAMP ",\"b\":2}," REST},
        {"{\"id\":\"1\",\"resourceType\":\"Patient\",\"meta\":{\"lastUpdated\":\"1999-01-01T00:00:00Z\"}}",
         RESOURCE_STAMP_REPLACE, "{\"id\":\"1\",\"resourceType\":\"Patient\",\"meta\":{" STAMP "}}"},
        {"{\"meta\":{\"lastUpdated\":\"1999-01-01T00:00\\u003a00\\u005A\"}," REST, RESOURCE_STAMP_REPLACE,
         "{\"meta\":{" STAMP "}," REST},
        {" { \"meta\" : { \"a\" : 1 , \"lastUpdated\" : \"1999-01-01T00:00:00Z\" , \"b c\" : 2 } , " REST,
         RESOURCE_STAMP_REPLACE, "{\"meta\":{\"a\":1," STAMP ",\"b c\":2}," REST},
        {"{\"meta\":{}," REST, RESOURCE_STAMP_INTO_META, "{\"meta\":{" STAMP "}," REST},
        {"{ \"meta\" : { } , " REST, RESOURCE_STAMP_INTO_META, "{\"meta\":{" STAMP "}," REST},
        {"{\"meta\":{\"versionId\":\"1\"}," REST, RESOURCE_STAMP_INTO_META,
         "{\"meta\":{" STAMP ",\"versionId\":\"1\"}," REST},
        {"{\"meta\":{ \"tag\":{\"lastUpdated\":\"x\"}}," REST, RESOURCE_STAMP_INTO_META,
         "{\"meta\":{" STAMP ",\"tag\":{\"lastUpdated\":\"x\"}}," REST},
        {"{" REST, RESOURCE_STAMP_INTO_RESOURCE, "{\"meta\":{" STAMP "}," REST},
        {"\t{ \"x\":{\"meta\":{}}, " REST, RESOURCE_STAMP_INTO_RESOURCE,
         "{\"meta\":{" STAMP "},\"x\":{\"meta\":{}}," REST},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_parsed(fixture, slice_from_text(rows[i].line));
        if (fixture->resource.stamp_place != rows[i].place)
            fail_msg("%s: place %d", rows[i].line, (int)fixture->resource.stamp_place);
        uint64_t hash = fixture->resource.content_hash;
        buffer_reset(&fixture->stamped);
        buffer_append_text(&fixture->stamped, ">");
        resource_stamp(&fixture->resource, INT64_C(1582200000123456), &fixture->stamped);
        struct slice stamped = slice_skip(buffer_slice(&fixture->stamped), 1);
        assert_slice(stamped, rows[i].stamped);
        assert_parsed(fixture, stamped);
        assert_ptr_equal(fixture->resource.json.data, stamped.data);
        assert_int_equal(fixture->resource.last_updated_us, INT64_C(1582200000123456));
        assert_int_equal(fixture->resource.content_hash, hash);
    }
}

static uint64_t hash_of(struct fixture *fixture, const char *line)
{
    assert_parsed(fixture, slice_from_text(line));
    return fixture->resource.content_hash;
}

static void the_hash_leaves_out_the_time_and_nothing_else(void **state)
{
    struct fixture *fixture = *state;
#define TIME "\"lastUpdated\":\"2020-02-20T12:00:00Z\""
    static const char *const equal[][2] = {
        {"{\"meta\":{" TIME "}," REST, "{\"meta\":{\"lastUpdated\":\"2021-03-21T13:01:01.001-05:00\"}," REST},
        {"{\"meta\":{" TIME "}," REST, "{" REST},
        {"{\"meta\":{" TIME "}," REST, "{\"meta\":{}," REST},
        {"{\"meta\":{}," REST, "{" REST},
        {"{\"id\":\"1\",\"resourceType\":\"Patient\",\"meta\":{" TIME "}}", "{" REST},
        {"{\"id\":\"1\",\"meta\":{" TIME "},\"resourceType\":\"Patient\"}", "{" REST},
        {"{\"meta\":{" TIME ",\"a\":1}," REST, "{\"meta\":{\"a\":1}," REST},
        {"{\"meta\":{\"a\":1," TIME "}," REST, "{\"meta\":{\"a\":1}," REST},
        {"{\"meta\":{\"a\":1," TIME ",\"b\":2}," REST, "{\"meta\":{\"a\":1,\"b\":2}," REST},
        {"{ \"meta\" : { \"a\" : 1 , " TIME " } ,\n" REST, "{\"meta\":{\"a\":1}," REST},
        {"{ \"meta\" : { " TIME " } ,\n" REST, "{" REST},
    };
    for (size_t i = 0; i < COUNT_OF(equal); i++)
        if (hash_of(fixture, equal[i][0]) != hash_of(fixture, equal[i][1]))
            fail_msg("%s and %s have different hashes", equal[i][0], equal[i][1]);
    static const char *const different[] = {
        "{" REST,
        "{\"resourceType\":\"Patient\",\"id\":\"1\"}",
        "{\"id\":\"2\",\"resourceType\":\"Patient\"}",
        "{\"id\":\"\\u0031\",\"resourceType\":\"Patient\"}",
        "{\"x\":0," REST,
        "{\"x\":0.0," REST,
        "{\"x\":\"0\"," REST,
        "{\"x\":{" TIME "}," REST,
        "{\"meta\":{\"a\":1}," REST,
        "{\"meta\":{\"a\":1,\"b\":2}," REST,
        "{\"meta\":{\"b\":2,\"a\":1}," REST,
        "{\"id\":\"1\",\"meta\":{\"a\":1},\"resourceType\":\"Patient\"}",
        "{\"contained\":[{\"meta\":{" TIME "}}]," REST,
        "{\"contained\":[{}]," REST,
    };
    for (size_t i = 0; i < COUNT_OF(different); i++)
        for (size_t j = 0; j < i; j++)
            if (hash_of(fixture, different[i]) == hash_of(fixture, different[j]))
                fail_msg("%s and %s have the same hash", different[i], different[j]);
    /* Hashes are stored: the function must not change. */
    assert_true(hash_of(fixture, "{" REST) == UINT64_C(0x93A94301B336D1D6));
}

/* ---- Real data --------------------------------------------------------------------------------------- */

/* Logs the events of a resource without meta.lastUpdated, and without a meta that has nothing else. */
struct untimed_log {
    struct buffer *log;
    bool in_meta;
    bool skip_value;
    size_t meta_begin;  /* in the log */
    size_t meta_inside; /* in the log, behind meta's begin */
};

static enum status log_untimed(void *context, enum json_event event, struct slice text, unsigned depth,
                               struct error *error)
{
    struct untimed_log *untimed = context;
    if (untimed->skip_value) {
        untimed->skip_value = false;
        return STATUS_OK;
    }
    if (event == JSON_EVENT_KEY && depth == 1 && slice_equal_text(text, "meta")) {
        untimed->in_meta = true;
        untimed->meta_begin = untimed->log->size;
    }
    if (event == JSON_EVENT_KEY && depth == 2 && untimed->in_meta && slice_equal_text(text, "lastUpdated")) {
        untimed->skip_value = true;
        return STATUS_OK;
    }
    enum status status = json_events_handler(untimed->log, event, text, depth, error);
    if (untimed->in_meta && depth == 1 && event == JSON_EVENT_OBJECT_BEGIN)
        untimed->meta_inside = untimed->log->size;
    if (untimed->in_meta && depth == 1 && event == JSON_EVENT_OBJECT_END) {
        untimed->in_meta = false;
        if (untimed->log->size == untimed->meta_inside + strlen("1 object end\n"))
            untimed->log->size = untimed->meta_begin;
    }
    return status;
}

static void read_untimed(struct fixture *fixture, struct slice document, struct buffer *log)
{
    struct untimed_log untimed = {.log = log};
    buffer_reset(log);
    assert_int_equal(json_read(fixture->reader, document, log_untimed, &untimed, &fixture->error), STATUS_OK);
}

static bool find(struct fixture *fixture, struct slice document, const char *path)
{
    buffer_reset(&fixture->text);
    enum status status = json_find(fixture->reader, document, path, &fixture->text, &fixture->error);
    assert_true(status == STATUS_OK || status == STATUS_NOT_FOUND);
    return status == STATUS_OK;
}

static void check_real_line(struct fixture *fixture, struct slice line, enum resource_type type)
{
    static const char *const references[RESOURCE_TYPE_COUNT] = {"patient.reference", "beneficiary.reference",
                                                                "id"};
    assert_parsed(fixture, line);
    struct resource *resource = &fixture->resource;
    assert_int_equal(resource->type, type);
    assert_true(find(fixture, line, "id"));
    assert_slice(resource->id, buffer_text(&fixture->text));
    assert_true(find(fixture, line, references[type]));
    struct slice reference = buffer_slice(&fixture->text);
    if (type != RESOURCE_TYPE_PATIENT)
        reference = slice_skip(reference, strlen("Patient/"));
    assert_true(slice_equal(resource->beneficiary, reference));
    assert_int_equal(resource->has_last_updated, find(fixture, line, "meta.lastUpdated"));
    if (type == RESOURCE_TYPE_EXPLANATION_OF_BENEFIT)
        assert_int_not_equal(resource->service_first_day, DAY_NONE);

    int64_t us = INT64_C(1582200000123456);
    uint64_t hash = resource->content_hash;
    buffer_reset(&fixture->stamped);
    resource_stamp(resource, us, &fixture->stamped);
    read_untimed(fixture, line, &fixture->log);
    read_untimed(fixture, buffer_slice(&fixture->stamped), &fixture->other_log);
    if (!slice_equal(buffer_slice(&fixture->log), buffer_slice(&fixture->other_log)))
        fail_msg("stamping changed %.*s", SLICE_PRINT(line));
    assert_parsed(fixture, buffer_slice(&fixture->stamped));
    assert_true(resource->has_last_updated);
    assert_int_equal(resource->last_updated_us, us);
    assert_true(resource->content_hash == hash);
}

static size_t check_real_file(struct fixture *fixture, const char *folder, enum resource_type type)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%s.ndjson.gz", folder, resource_type_name(type));
    struct buffer file = BUFFER_INIT;
    shared_data_read(name, &file);
    size_t lines = 0;
    for (struct slice rest = buffer_slice(&file); rest.size; lines++) {
        const char *end = memchr(rest.data, '\n', rest.size);
        struct slice line = {rest.data, end ? (size_t)(end + 1 - rest.data) : rest.size};
        rest = slice_skip(rest, line.size);
        check_real_line(fixture, line, type);
    }
    buffer_release(&file);
    return lines;
}

static void real_resources_are_parsed_and_stamped(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *folder;
        size_t lines[RESOURCE_TYPE_COUNT];
    } rows[] = {
        {"bcda-coherent", {305, 16, 4}},
        {"cms-ab2d/stu3", {599, 3, 6}},
        {"cms-dpc/stu3", {214, 14, 288}},
        {"cms-bluebutton/stu3", {7, 3, 1}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t type = 0; type < RESOURCE_TYPE_COUNT; type++)
            assert_int_equal(check_real_file(fixture, rows[i].folder, (enum resource_type)type),
                             rows[i].lines[type]);
}

static void real_patients_tell_their_mbis(void **state)
{
    struct fixture *fixture = *state;
    struct buffer file = BUFFER_INIT;
    shared_data_read("bcda-coherent/Patient.ndjson.gz", &file);
    const char *end = memchr(file.data, '\n', file.size);
    assert_parsed(fixture, slice_make(file.data, (size_t)(end - file.data)));
    assert_slice(fixture->resource.id, "-10000000000066");
    assert_int_equal(fixture->resource.mbi_count, 1);
    assert_slice(fixture->resource.mbis[0], "1S00E00AA66");
    assert_int_equal(fixture->resource.last_updated_us, INT64_C(1629222180037000));
    buffer_release(&file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(types_have_the_names_of_fhir),
        TEST(a_claim_is_taken_apart_whatever_the_order_of_keys),
        TEST(a_coverage_is_taken_apart_whatever_the_order_of_keys),
        TEST(a_patient_is_taken_apart_whatever_the_order_of_keys),
        TEST(only_the_places_named_are_looked_at),
        TEST(escaped_keys_and_values_count_as_what_they_mean),
        TEST(mbis_come_with_the_current_ones_first),
        TEST(service_days_are_those_of_the_claim_or_else_of_its_items),
        TEST(each_refusal_names_the_element),
        TEST(a_reference_is_exactly_patient_and_an_id),
        TEST(size_and_depth_are_bounded),
        TEST(a_parser_forgets_the_line_before),
        TEST(a_line_without_white_space_is_canonical_as_it_is),
        TEST(a_stamp_changes_nothing_but_the_time),
        TEST(the_hash_leaves_out_the_time_and_nothing_else),
        TEST(real_resources_are_parsed_and_stamped),
        TEST(real_patients_tell_their_mbis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
