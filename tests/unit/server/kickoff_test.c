#include "server/kickoff.h"

#include "codec/instant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#define NOW_US   INT64_C(1767225600000000) /* 2026-01-01T00:00:00Z */
#define FEB_2020 INT64_C(1581598800000000) /* 2020-02-13T13:00:00Z: the advanced guide's _since */
#define ALL      INSTANT_MIN_US

#define ACCEPT_MISSING "Accept header is required"
#define ACCEPT_OTHER   "application/fhir+json is the only supported response format"
#define PREFER_MISSING "Prefer header is required"
#define PREFER_OTHER   "Only asynchronous responses are supported"
#define GROUP_UNKNOWN  "Invalid group ID"
#define TYPE_UNKNOWN   "Invalid resource type"
#define TYPE_REPEATED  "Repeated resource type"
#define SINCE_INVALID                                                                                        \
    "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format."
#define SINCE_FUTURE                                                                                         \
    "Invalid date format supplied in _since parameter. Date must be a date that has already passed"
#define FORMAT_OTHER      "_outputFormat parameter must be application/fhir+ndjson, application/ndjson, or ndjson"
#define UNSUPPORTED(name) "Invalid parameter: this server does not support the " name " parameter."

#define FHIR  "application/fhir+json"
#define ASYNC "respond-async"

struct form {
    const char *accept, *prefer, *group, *query;
};

static bool parse(const struct form *form, struct arena *arena, struct kickoff *ret_kickoff,
                  struct kickoff_problem *ret_problem)
{
    struct slice accept = slice_from_text(form->accept ? form->accept : "");
    struct slice prefer = slice_from_text(form->prefer ? form->prefer : "");
    struct slice group = slice_from_text(form->group ? form->group : "");
    struct kickoff_input input = {
        .accept = form->accept ? &accept : NULL,
        .prefer = form->prefer ? &prefer : NULL,
        .group = form->group ? &group : NULL,
        .query = slice_from_text(form->query),
        .newest_us = NOW_US,
    };
    return kickoff_parse(&input, arena, ret_kickoff, ret_problem);
}

static void assert_refused(const struct form *form, const char *issue_code, enum problem_class class,
                           const char *text)
{
    struct arena arena = ARENA_INIT;
    struct kickoff kickoff;
    struct kickoff_problem problem;
    if (parse(form, &arena, &kickoff, &problem))
        fail_msg("accepted: Accept %s, Prefer %s, group %s, query %s", form->accept, form->prefer,
                 form->group, form->query);
    if (strcmp(problem.text, text) != 0)
        fail_msg("Accept %s, Prefer %s, group %s, query %s: \"%s\" instead of \"%s\"", form->accept,
                 form->prefer, form->group, form->query, problem.text, text);
    assert_int_equal(problem.http_status, 400);
    assert_string_equal(problem.issue_code, issue_code);
    assert_int_equal(problem.class, class);
    arena_release(&arena);
}

static void form_errors_have_their_texts(void **state)
{
    (void)state;
    static const struct {
        struct form form;
        const char *issue_code;
        enum problem_class class;
        const char *text;
    } rows[] = {
        {{NULL, ASYNC, NULL, ""}, "structure", PROBLEM_FORMATTING, ACCEPT_MISSING},
        {{"", ASYNC, NULL, ""}, "structure", PROBLEM_FORMATTING, ACCEPT_MISSING},
        {{"application/json", ASYNC, NULL, ""}, "structure", PROBLEM_FORMATTING, ACCEPT_OTHER},
        {{"text/*", ASYNC, NULL, ""}, "structure", PROBLEM_FORMATTING, ACCEPT_OTHER},
        {{"application/fhir+json;q=0", ASYNC, NULL, ""}, "structure", PROBLEM_FORMATTING, ACCEPT_OTHER},
        {{"*/*, application/fhir+json;q=0.000", ASYNC, NULL, ""},
         "structure",
         PROBLEM_FORMATTING,
         ACCEPT_OTHER},
        {{"application/*;q=0, */*", ASYNC, NULL, ""}, "structure", PROBLEM_FORMATTING, ACCEPT_OTHER},
        {{"application/fhir+json;q=7", ASYNC, NULL, ""}, "structure", PROBLEM_FORMATTING, ACCEPT_OTHER},
        {{"application/fhir+jsonx", ASYNC, NULL, ""}, "structure", PROBLEM_FORMATTING, ACCEPT_OTHER},
        {{"text/plain;a=\", application/fhir+json\"", ASYNC, NULL, ""},
         "structure",
         PROBLEM_FORMATTING,
         ACCEPT_OTHER},
        {{FHIR, NULL, NULL, ""}, "structure", PROBLEM_FORMATTING, PREFER_MISSING},
        {{FHIR, "", NULL, ""}, "structure", PROBLEM_FORMATTING, PREFER_MISSING},
        {{FHIR, "wait=10", NULL, ""}, "structure", PROBLEM_FORMATTING, PREFER_OTHER},
        {{FHIR, "respond-sync", NULL, ""}, "structure", PROBLEM_FORMATTING, PREFER_OTHER},
        {{FHIR, "respond-asynchronously", NULL, ""}, "structure", PROBLEM_FORMATTING, PREFER_OTHER},
        {{FHIR, "x=\"respond-async\"", NULL, ""}, "structure", PROBLEM_FORMATTING, PREFER_OTHER},
        {{FHIR, "wait; respond-async", NULL, ""}, "structure", PROBLEM_FORMATTING, PREFER_OTHER},
        {{FHIR, ASYNC, "none", ""}, "value", PROBLEM_REQUEST, GROUP_UNKNOWN},
        {{FHIR, ASYNC, "All", ""}, "value", PROBLEM_REQUEST, GROUP_UNKNOWN},
        {{FHIR, ASYNC, "all%20", ""}, "value", PROBLEM_REQUEST, GROUP_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type="}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=patient"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=Practitioner"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=Patient,"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=,Patient"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=Patient, Coverage"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=Patient%00"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=Patient%"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=Patient&_type="}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=Patient,Patient"}, "value", PROBLEM_REQUEST, TYPE_REPEATED},
        {{FHIR, ASYNC, NULL, "_type=Patient&_type=Patient"}, "value", PROBLEM_REQUEST, TYPE_REPEATED},
        {{FHIR, ASYNC, NULL, "_type=Patient,Coverage&_type=Coverage"},
         "value",
         PROBLEM_REQUEST,
         TYPE_REPEATED},
        {{FHIR, ASYNC, NULL, "_type=Patient,Patient,Nonsense"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_type=Patient,Patient&_type=Nonsense"}, "value", PROBLEM_REQUEST, TYPE_UNKNOWN},
        {{FHIR, ASYNC, NULL, "_since="}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=yesterday"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2020-13-01"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2021-02-29"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2020-02-20T12:00:00"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2020-02-20T12:00Z"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2020-02-20T24:00:00Z"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2020-02-20T23:59:60Z"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2020-02-20T12:00:00Z%"}, "value", PROBLEM_FORMATTING, SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2021-01-01&_since=2021-01-01"},
         "value",
         PROBLEM_FORMATTING,
         SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2021-01-01?_since=2021-01-01"},
         "value",
         PROBLEM_FORMATTING,
         SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2030-01-01&_since=2021-01-01"},
         "value",
         PROBLEM_FORMATTING,
         SINCE_INVALID},
        {{FHIR, ASYNC, NULL, "_since=2026-01-01T00:00:00.000001Z"},
         "value",
         PROBLEM_FORMATTING,
         SINCE_FUTURE},
        {{FHIR, ASYNC, NULL, "_since=9999"}, "value", PROBLEM_FORMATTING, SINCE_FUTURE},
        {{FHIR, ASYNC, NULL, "_outputFormat="}, "value", PROBLEM_FORMATTING, FORMAT_OTHER},
        {{FHIR, ASYNC, NULL, "_outputFormat=csv"}, "value", PROBLEM_FORMATTING, FORMAT_OTHER},
        {{FHIR, ASYNC, NULL, "_outputFormat=NDJSON"}, "value", PROBLEM_FORMATTING, FORMAT_OTHER},
        {{FHIR, ASYNC, NULL, "_outputFormat=ndjson&_outputFormat=xml"},
         "value",
         PROBLEM_FORMATTING,
         FORMAT_OTHER},
        {{FHIR, ASYNC, NULL, "_elements=id"}, "not-supported", PROBLEM_REQUEST, UNSUPPORTED("_elements")},
        {{FHIR, ASYNC, NULL, "_typeFilter=a&_elements=id"},
         "not-supported",
         PROBLEM_REQUEST,
         UNSUPPORTED("_typeFilter")},
        {{FHIR, ASYNC, NULL, "_until=2021"}, "not-supported", PROBLEM_REQUEST, UNSUPPORTED("_until")},
        {{FHIR, ASYNC, NULL, "_made_up"}, "not-supported", PROBLEM_REQUEST, UNSUPPORTED("_made_up")},
        {{FHIR, ASYNC, NULL, "%5Funtil=1"}, "not-supported", PROBLEM_REQUEST, UNSUPPORTED("_until")},
        {{FHIR, ASYNC, NULL, "_a%0d%0ab"}, "not-supported", PROBLEM_REQUEST, UNSUPPORTED("_a??b")},
        {{FHIR, ASYNC, NULL, "patient=Patient/1"}, "not-supported", PROBLEM_REQUEST, UNSUPPORTED("patient")},
        {{FHIR, ASYNC, NULL, "includeAssociatedData=x"},
         "not-supported",
         PROBLEM_REQUEST,
         UNSUPPORTED("includeAssociatedData")},
        {{FHIR, ASYNC, NULL, "organizeOutputBy=Patient"},
         "not-supported",
         PROBLEM_REQUEST,
         UNSUPPORTED("organizeOutputBy")},
        {{FHIR, ASYNC, NULL, "allowPartialManifests=yes"},
         "not-supported",
         PROBLEM_REQUEST,
         UNSUPPORTED("allowPartialManifests")},
        {{FHIR, "respond-async, handling=strict, handling=lenient", NULL, "_until=2021"},
         "not-supported",
         PROBLEM_REQUEST,
         UNSUPPORTED("_until")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_refused(&rows[i].form, rows[i].issue_code, rows[i].class, rows[i].text);
}

static void form_is_understood(void **state)
{
    (void)state;
    static const enum resource_type everything[] = {RESOURCE_TYPE_EXPLANATION_OF_BENEFIT,
                                                    RESOURCE_TYPE_COVERAGE, RESOURCE_TYPE_PATIENT};
    static const enum resource_type patient[] = {RESOURCE_TYPE_PATIENT};
    static const enum resource_type two[] = {RESOURCE_TYPE_COVERAGE, RESOURCE_TYPE_EXPLANATION_OF_BENEFIT};
    static const struct {
        struct form form;
        const enum resource_type *types;
        size_t type_count;
        int64_t since_us;
        bool separates_new;
        const char *warnings;
    } rows[] = {
        {{FHIR, ASYNC, NULL, ""}, everything, 3, ALL, false, ""},
        {{"APPLICATION/FHIR+JSON", "Respond-Async", NULL, ""}, everything, 3, ALL, false, ""},
        {{"*/*", ASYNC, NULL, ""}, everything, 3, ALL, false, ""},
        {{"application/*;q=0.1", ASYNC, NULL, ""}, everything, 3, ALL, false, ""},
        {{"text/html, application/xhtml+xml;q=0.9, */*;q=0.001", ASYNC, NULL, ""},
         everything,
         3,
         ALL,
         false,
         ""},
        {{"*/*;q=0, application/fhir+json", ASYNC, NULL, ""}, everything, 3, ALL, false, ""},
        {{"application/fhir+json; fhirVersion=3.0 ; q=1.000", ASYNC, NULL, ""},
         everything,
         3,
         ALL,
         false,
         ""},
        {{",, application/json ,\tapplication/fhir+json", ASYNC, NULL, ""}, everything, 3, ALL, false, ""},
        {{FHIR, "wait=10; x=\"a,b\", respond-async; y", NULL, ""}, everything, 3, ALL, false, ""},
        {{FHIR, "respond-async,handling=strict", NULL, ""}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, "all", ""}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_type=Patient"}, patient, 1, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_type=Coverage,ExplanationOfBenefit"}, two, 2, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_type=Coverage&_type=ExplanationOfBenefit"}, two, 2, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_type=Coverage%2CExplanationOfBenefit"}, two, 2, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "&&_type=Patient&"}, patient, 1, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "%5ftype=%50atient"}, patient, 1, ALL, false, ""},
        /* The advanced guide's own command. */
        {{FHIR, ASYNC, NULL, "_type=Patient?_since=2020-02-13T08:00:00.000-05:00"},
         patient,
         1,
         FEB_2020,
         false,
         ""},
        {{FHIR, ASYNC, NULL, "_since=2020-02-13T08:00:00.000-05:00?_type=Patient?_outputFormat=ndjson"},
         patient,
         1,
         FEB_2020,
         false,
         ""},
        {{FHIR, ASYNC, NULL, "_since=2020-02-13T13:00:00Z"}, everything, 3, FEB_2020, false, ""},
        {{FHIR, ASYNC, "all", "_since=2020-02-13T13:00:00Z"}, everything, 3, FEB_2020, true, ""},
        {{FHIR, ASYNC, "all", "_since=2020-02-13T15:00:00+02:00"}, everything, 3, FEB_2020, true, ""},
        {{FHIR, ASYNC, "all", "_since=2020-02-13T15:00:00%2B02:00"}, everything, 3, FEB_2020, true, ""},
        {{FHIR, ASYNC, NULL, "_since=2020-02-13T13:00:00.0000009Z"}, everything, 3, FEB_2020, false, ""},
        {{FHIR, ASYNC, NULL, "_since=2020-02-12"}, everything, 3, KICKOFF_SINCE_MIN_US, false, ""},
        {{FHIR, ASYNC, NULL, "_since=2020-02-11T23:59:59.999999Z"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, "all", "_since=2020-02-11"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, "all", "_since=2020"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_since=2026"}, everything, 3, NOW_US, false, ""},
        {{FHIR, ASYNC, NULL, "_since=2026-01-01T00:00:00Z"}, everything, 3, NOW_US, false, ""},
        {{FHIR, ASYNC, NULL, "_outputFormat=application/fhir+ndjson"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_outputFormat=application/fhir%2Bndjson"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_outputFormat=application%2Ffhir%20ndjson"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_outputFormat=application/ndjson"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_outputFormat=ndjson"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "_format=json&_pretty=true"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "foo=bar&type=Nonsense&Patient=1"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "allowPartialManifests=false"}, everything, 3, ALL, false, ""},
        {{FHIR, ASYNC, NULL, "allowPartialManifests=true"}, everything, 3, ALL, false, ""},
        {{FHIR, "respond-async, handling=lenient", NULL, "_elements=id&_until=1&_elements=x&_type=Patient"},
         patient,
         1,
         ALL,
         false,
         "_elements\n_until"},
        {{FHIR, "handling=\"Lenient\";x=y, respond-async", NULL, "organizeOutputBy=Patient"},
         everything,
         3,
         ALL,
         false,
         "organizeOutputBy"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena = ARENA_INIT;
        struct kickoff kickoff;
        struct kickoff_problem problem;
        if (!parse(&rows[i].form, &arena, &kickoff, &problem))
            fail_msg("Accept %s, Prefer %s, group %s, query %s: %s", rows[i].form.accept, rows[i].form.prefer,
                     rows[i].form.group, rows[i].form.query, problem.text);
        assert_string_equal(kickoff.endpoint, rows[i].form.group ? "Group/all" : "Patient");
        assert_int_equal(kickoff.type_count, rows[i].type_count);
        assert_memory_equal(kickoff.types, rows[i].types, rows[i].type_count * sizeof *rows[i].types);
        if (kickoff.since_us != rows[i].since_us || kickoff.separates_new != rows[i].separates_new)
            fail_msg("group %s, query %s: since %lld, separates %d", rows[i].form.group, rows[i].form.query,
                     (long long)kickoff.since_us, kickoff.separates_new);
        assert_int_equal(kickoff.partial_manifests,
                         strcmp(rows[i].form.query, "allowPartialManifests=true") == 0);
        assert_int_equal(kickoff.warnings.size, strlen(rows[i].warnings));
        if (kickoff.warnings.size)
            assert_memory_equal(kickoff.warnings.data, rows[i].warnings, kickoff.warnings.size);
        arena_release(&arena);
    }
}

/* Every two faults in one request: the one that stands first in docs/api.md section 3 answers, in whatever
 * order the parameters come. */
static void first_fault_in_the_order_of_checks_answers(void **state)
{
    (void)state;
    static const struct {
        const char *accept, *prefer, *group, *query; /* NULL: as it should be */
        const char *issue_code, *text;
        enum problem_class class;
    } faults[] = {
        {"", NULL, NULL, NULL, "structure", ACCEPT_MISSING, PROBLEM_FORMATTING},
        {"text/plain", NULL, NULL, NULL, "structure", ACCEPT_OTHER, PROBLEM_FORMATTING},
        {NULL, "", NULL, NULL, "structure", PREFER_MISSING, PROBLEM_FORMATTING},
        {NULL, "return=minimal", NULL, NULL, "structure", PREFER_OTHER, PROBLEM_FORMATTING},
        {NULL, NULL, "some", NULL, "value", GROUP_UNKNOWN, PROBLEM_REQUEST},
        {NULL, NULL, NULL, "_type=Nonsense", "value", TYPE_UNKNOWN, PROBLEM_REQUEST},
        {NULL, NULL, NULL, "_type=Patient,Patient", "value", TYPE_REPEATED, PROBLEM_REQUEST},
        {NULL, NULL, NULL, "_since=x", "value", SINCE_INVALID, PROBLEM_FORMATTING},
        {NULL, NULL, NULL, "_since=2999", "value", SINCE_FUTURE, PROBLEM_FORMATTING},
        {NULL, NULL, NULL, "_outputFormat=x", "value", FORMAT_OTHER, PROBLEM_FORMATTING},
        {NULL, NULL, NULL, "_until=x", "not-supported", UNSUPPORTED("_until"), PROBLEM_REQUEST},
    };
    size_t count = sizeof faults / sizeof *faults;
    for (size_t first = 0; first < count; first++) {
        for (size_t second = first + 1; second < count; second++) {
            for (int reversed = 0; reversed < 2; reversed++) {
                char query[200];
                const char *a = faults[first].query, *b = faults[second].query;
                if (faults[first].accept && faults[second].accept)
                    continue; /* one field cannot be missing and wrong */
                if (faults[first].prefer && faults[second].prefer)
                    continue;
                if (reversed)
                    snprintf(query, sizeof query, "%s&%s", b ? b : "", a ? a : "");
                else
                    snprintf(query, sizeof query, "%s&%s", a ? a : "", b ? b : "");
                struct form form = {
                    .accept = faults[first].accept    ? faults[first].accept
                              : faults[second].accept ? faults[second].accept
                                                      : FHIR,
                    .prefer = faults[first].prefer    ? faults[first].prefer
                              : faults[second].prefer ? faults[second].prefer
                                                      : ASYNC,
                    .group = faults[first].group    ? faults[first].group
                             : faults[second].group ? faults[second].group
                                                    : "all",
                    .query = query,
                };
                /* A repeated _since is unparsable, so the first of the two wins here, too. */
                assert_refused(&form, faults[first].issue_code, faults[first].class, faults[first].text);
            }
        }
    }
}

/* The least processor time of a few runs, in ns. */
static int64_t cost_of_ignored(unsigned count)
{
    enum { RUNS = 7 };
    struct buffer query = BUFFER_INIT;
    int64_t least = INT64_MAX;
    for (unsigned i = 0; i < count; i++)
        buffer_appendf(&query, "_%04u&_%04u&", i * 7919 % count, i);
    struct form form = {FHIR, "respond-async, handling=lenient", NULL, buffer_text(&query)};
    for (unsigned run = 0; run < RUNS; run++) {
        struct arena arena = ARENA_INIT;
        struct kickoff kickoff;
        struct kickoff_problem problem;
        struct timespec begin, end;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        assert_true(parse(&form, &arena, &kickoff, &problem));
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        int64_t cost = (end.tv_sec - begin.tv_sec) * INT64_C(1000000000) + end.tv_nsec - begin.tv_nsec;
        least = cost < least ? cost : least;
        assert_int_equal(kickoff.warnings.size, count * 6 - 1); /* each once: "_0000\n" */
        assert_memory_equal(kickoff.warnings.data, "_0000\n_0001\n", 12);
        arena_release(&arena);
    }
    buffer_release(&query);
    return least;
}

/* Kick-offs are parsed on a reactor, which has others to serve. */
static void ignored_parameters_are_told_once_each_at_a_cost_that_grows_with_their_number(void **state)
{
    (void)state;
    int64_t few = cost_of_ignored(150), many = cost_of_ignored(8 * 150);
    if (many > 20 * few)
        fail_msg("150 names cost %lld ns, eight times as many %lld ns", (long long)few, (long long)many);
}

static void long_names_are_cut_in_answers(void **state)
{
    (void)state;
    char query[2048] = "_", text[KICKOFF_PROBLEM_MAX];
    memset(query + 1, 'x', sizeof query - 2);
    query[sizeof query - 1] = '\0';
    struct form form = {FHIR, ASYNC, NULL, query};
    kickoff_unsupported_text(slice_make(query, 64), text);
    assert_refused(&form, "not-supported", PROBLEM_REQUEST, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(form_errors_have_their_texts),
        cmocka_unit_test(form_is_understood),
        cmocka_unit_test(first_fault_in_the_order_of_checks_answers),
        cmocka_unit_test(ignored_parameters_are_told_once_each_at_a_cost_that_grows_with_their_number),
        cmocka_unit_test(long_names_are_cut_in_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
