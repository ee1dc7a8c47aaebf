#include "tools/synth/options.h"

#include "codec/base/version.h"
#include "tools/synth/claim.h"
#include "tools/synth/course.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_ACOS          1
#define DEFAULT_BENEFICIARIES 100
#define DEFAULT_YEARS         3
#define DEFAULT_FIRST_ACO     9990 /* A9990, A9991, ...; a tenth goes on at A9980 */

#define LIMIT_TEXT_(number) #number
#define LIMIT_TEXT(number)  LIMIT_TEXT_(number)

enum option_key {
    KEY_OUT = 'o',
    KEY_QUIET = 'q',
    KEY_SEED = 256,
    KEY_ACOS,
    KEY_BENEFICIARIES,
    KEY_SHARED,
    KEY_YEARS,
    KEY_WEEKS,
    KEY_DELETIONS,
    KEY_GZIP,
    KEY_ACO_IDS,
};

static const struct argp_option option_table[] = {
    {"out", KEY_OUT, "DIR", 0, "Write to this directory, which must be new or empty (required)", 0},
    {"seed", KEY_SEED, "N", 0, "Another number gives another dataset (1)", 0},
    {"acos", KEY_ACOS, "N", 0, "ACOs (1; at most " LIMIT_TEXT(ACOS_MAX) ")", 0},
    {"aco-ids", KEY_ACO_IDS, "ID,...", 0, "Their ids (A9990, A9991, ...); sets --acos", 0},
    {"beneficiaries", KEY_BENEFICIARIES, "N", 0,
     "Beneficiaries of each ACO (100; at most " LIMIT_TEXT(BENEFICIARIES_MAX) ")", 0},
    {"shared", KEY_SHARED, "N", 0, "So many of each ACO are in the next ACO's roster too (0)", 0},
    {"years", KEY_YEARS, "N", 0, "Years of claims, up to the end of 2025 (3; at most 10)", 0},
    {"weeks", KEY_WEEKS, "N", 0, "Weekly updates after the base (0; at most " LIMIT_TEXT(WEEKS_MAX) ")", 0},
    {"deletions", KEY_DELETIONS, NULL, 0, "Weeks with a Bundle of deleted claims, deleted.json", 0},
    {"gzip", KEY_GZIP, NULL, 0, "Write .ndjson.gz", 0},
    {"quiet", KEY_QUIET, NULL, 0, "No progress and no summary", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static const char documentation[] =
    "Writes synthetic Medicare claims as BCDA v1 would (STU3, NDJSON), and the CCLF archives that say whose "
    "they "
    "are. The same arguments give the same bytes.\v"
    "Examples:\n"
    "  sluice-synth --out demo\n"
    "  sluice-synth --out demo --acos 3 --beneficiaries 200 --shared 5 --gzip\n"
    "  sluice-synth --out demo --aco-ids A9994,A9995 --years 7 --seed 42\n"
    "  sluice-synth --out demo --acos 2 --weeks 6\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage.\n"
    "A beneficiary has about 0.55 MB of lines for each year. week-01 is the load of the first Saturday of "
    "2026;\n"
    "a week has new, revised and cancelled claims, changes of persons and a roster of each ACO.";

static uint64_t number_parse(struct argp_state *state, const char *name, const char *text, uint64_t low,
                             uint64_t high)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value < low || value > high)
        argp_error(state, "--%s: '%s' is not a number from %llu to %llu", name, text, (unsigned long long)low,
                   (unsigned long long)high);
    return value;
}

static void aco_ids_parse(struct argp_state *state, struct options *options, const char *text)
{
    uint32_t count = 0;
    for (const char *at = text;; at++) {
        struct slice id = {at, strcspn(at, ",")};
        at += id.size;
        if (!aco_id_valid(id))
            argp_error(state, "--aco-ids: '%.*s' is no ACO id (for example A9994)", SLICE_PRINT(id));
        if (count == ACOS_MAX)
            argp_error(state, "--aco-ids: more than %d", ACOS_MAX);
        for (uint32_t i = 0; i < count; i++)
            if (slice_equal(options->acos[i], id))
                argp_error(state, "--aco-ids: '%.*s' comes twice", SLICE_PRINT(id));
        options->acos[count++] = id;
        if (!*at)
            break;
    }
    options->dataset.aco_count = count;
}

static void default_acos_make(struct options *options)
{
    for (uint32_t i = 0; i < options->dataset.aco_count; i++) {
        uint32_t number = DEFAULT_FIRST_ACO - i / 10 * 10 + i % 10;
        char *id = options->default_acos[i];
        snprintf(id, sizeof options->default_acos[i], "A%04u", number % 10000);
        options->acos[i] = slice_from_text(id);
    }
}

static void options_complete(struct argp_state *state, struct options *options, bool ids_given)
{
    struct dataset_options *dataset = &options->dataset;
    if (!dataset->directory || !dataset->directory[0])
        argp_error(state, "--out is required");
    if (!ids_given)
        default_acos_make(options);
    if (dataset->shared_count > dataset->beneficiary_count)
        argp_error(state, "--shared %u is more than --beneficiaries %u", dataset->shared_count,
                   dataset->beneficiary_count);
    if (dataset->shared_count && dataset->aco_count < 2)
        argp_error(state, "--shared needs at least two ACOs");
    dataset->acos = options->acos;
}

struct parse {
    struct options *options;
    bool count_given;
    bool ids_given;
};

static error_t option_parse(int key, char *value, struct argp_state *state)
{
    struct parse *parse = state->input;
    struct dataset_options *dataset = &parse->options->dataset;
    switch (key) {
    case KEY_OUT:
        dataset->directory = value;
        return 0;
    case KEY_SEED:
        dataset->seed = number_parse(state, "seed", value, 0, UINT64_MAX);
        return 0;
    case KEY_ACOS:
        dataset->aco_count = (uint32_t)number_parse(state, "acos", value, 1, ACOS_MAX);
        parse->count_given = true;
        break;
    case KEY_ACO_IDS:
        aco_ids_parse(state, parse->options, value);
        parse->ids_given = true;
        break;
    case KEY_BENEFICIARIES:
        dataset->beneficiary_count =
            (uint32_t)number_parse(state, "beneficiaries", value, 1, BENEFICIARIES_MAX);
        return 0;
    case KEY_SHARED:
        dataset->shared_count = (uint32_t)number_parse(state, "shared", value, 0, BENEFICIARIES_MAX);
        return 0;
    case KEY_YEARS:
        dataset->year_count = (int32_t)number_parse(state, "years", value, 1, CLAIM_YEARS_MAX);
        return 0;
    case KEY_WEEKS:
        dataset->week_count = (uint32_t)number_parse(state, "weeks", value, 0, WEEKS_MAX);
        return 0;
    case KEY_DELETIONS:
        dataset->deletions = true;
        return 0;
    case KEY_GZIP:
        dataset->gzip = true;
        return 0;
    case KEY_QUIET:
        parse->options->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", value);
        return 0;
    case ARGP_KEY_END:
        options_complete(state, parse->options, parse->ids_given);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    if (parse->count_given && parse->ids_given)
        argp_error(state, "give either --acos or --aco-ids");
    return 0;
}

void options_parse(struct options *options, int argc, char **argv)
{
    static const struct argp argp = {option_table, option_parse, NULL, documentation, NULL, NULL, NULL};
    argp_program_version = "sluice-synth " SLUICE_VERSION;
    argp_err_exit_status = EXIT_USAGE;
    memset(options, 0, sizeof *options);
    options->dataset.seed = 1;
    options->dataset.aco_count = DEFAULT_ACOS;
    options->dataset.beneficiary_count = DEFAULT_BENEFICIARIES;
    options->dataset.year_count = DEFAULT_YEARS;
    struct parse parse = {.options = options};
    argp_parse(&argp, argc, argv, 0, NULL, &parse);
}
