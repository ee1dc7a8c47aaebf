#include "loadtest/options.h"

#include "codec/base/version.h"
#include "loadtest/scenario.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX     7200
#define CONNECTIONS_MAX 20000

enum option_key {
    KEY_QUIET = 'q',
    KEY_URL = 256,
    KEY_CREDENTIALS,
    KEY_SECONDS,
    KEY_CONNECTIONS,
    KEY_RATE,
    KEY_CA_FILE,
    KEY_INSECURE,
    KEY_IDENTITY,
    KEY_CHANGING,
    KEY_POLL_MS,
    KEY_SEED,
    KEY_SERVER,
    KEY_REPORT,
    KEY_JSON
};

static const struct argp_option option_table[] = {
    {"url", KEY_URL, "BASE", 0, "The server, e.g. https://127.0.0.1:8443 (required)", 1},
    {"credentials", KEY_CREDENTIALS, "FILE", 0,
     "What `sluicectl credentials create` printed, of one ACO after another (required)", 1},
    {"seconds", KEY_SECONDS, "N", 0, "How long work is begun (10; at most 7200)", 2},
    {"connections", KEY_CONNECTIONS, "N", 0, "Connections at once, at most (64; at most 20000)", 2},
    {"rate", KEY_RATE, "R", 0, "How much work begins a second, whatever the server does (the scenario's own)",
     2},
    {"poll-ms", KEY_POLL_MS, "N", 0, "Milliseconds between two polls of a job (50; 0: as Retry-After says)",
     2},
    {"identity", KEY_IDENTITY, NULL, 0, "Download without gzip", 2},
    {"changing", KEY_CHANGING, NULL, 0, "The store changes meanwhile: two exports of one ACO may differ", 2},
    {"seed", KEY_SEED, "N", 0, "Of what is chosen at random (1)", 2},
    {"ca", KEY_CA_FILE, "FILE", 0, "Trust this certificate (PEM)", 3},
    {"insecure", KEY_INSECURE, NULL, 0, "Trust any certificate", 3},
    {"server-pid", KEY_SERVER, "PID", 0,
     "The server's process on this machine: its processor time and memory are told", 3},
    {"report", KEY_REPORT, "FILE", 0, "Write a page with plots (HTML, complete in itself)", 4},
    {"json", KEY_JSON, NULL, 0, "Results as JSON", 4},
    {"quiet", KEY_QUIET, NULL, 0, "No progress", 4},
    {NULL, 0, NULL, 0, NULL, 0},
};

static unsigned long long number_parse(struct argp_state *state, const char *name, const char *text,
                                       unsigned long long low, unsigned long long high)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value < low || value > high)
        argp_error(state, "--%s: '%s' is not a number from %llu to %llu", name, text, low, high);
    return value;
}

static double rate_parse(struct argp_state *state, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (text == end || *end || !isfinite(value) || value < 0.001 || value > 1e6)
        argp_error(state, "--rate: '%s' is not a number from 0.001 to 1000000", text);
    return value;
}

static void options_complete(struct argp_state *state, struct options *options)
{
    if (!options->url ||
        (strncmp(options->url, "http://", 7) != 0 && strncmp(options->url, "https://", 8) != 0))
        argp_error(state, "--url is required: http://... or https://...");
    if (options->url[strlen(options->url) - 1] == '/')
        argp_error(state, "--url: no slash at its end, please");
    if (!options->credentials)
        argp_error(state, "--credentials is required");
}

static error_t option_parse(int key, char *value, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case KEY_URL:
        options->url = value;
        break;
    case KEY_CREDENTIALS:
        options->credentials = value;
        break;
    case KEY_SECONDS:
        options->seconds = (unsigned)number_parse(state, "seconds", value, 1, SECONDS_MAX);
        break;
    case KEY_CONNECTIONS:
        options->connections = (unsigned)number_parse(state, "connections", value, 1, CONNECTIONS_MAX);
        break;
    case KEY_RATE:
        options->rate = rate_parse(state, value);
        break;
    case KEY_POLL_MS:
        options->poll_ms = (unsigned)number_parse(state, "poll-ms", value, 0, 3600000);
        break;
    case KEY_SEED:
        options->seed = number_parse(state, "seed", value, 0, UINT64_MAX);
        break;
    case KEY_SERVER:
        options->server = (pid_t)number_parse(state, "server-pid", value, 1, INT32_MAX);
        break;
    case KEY_CA_FILE:
        options->ca_file = value;
        break;
    case KEY_REPORT:
        options->report = value;
        break;
    case KEY_INSECURE:
        options->insecure = true;
        break;
    case KEY_IDENTITY:
        options->identity = true;
        break;
    case KEY_CHANGING:
        options->changing = true;
        break;
    case KEY_JSON:
        options->json = true;
        break;
    case KEY_QUIET:
        options->quiet = true;
        break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0 || !scenario_find(value))
            argp_error(state, "'%s' is no scenario", value);
        options->scenario = value;
        break;
    case ARGP_KEY_END:
        options_complete(state, options);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static char *help_filter(int key, const char *text, void *input)
{
    (void)input;
    return key == ARGP_KEY_HELP_POST_DOC ? scenario_help(text) : (char *)(uintptr_t)text;
}

void options_parse(struct options *options, int argc, char **argv)
{
    static const struct argp parser = {
        .options = option_table,
        .parser = option_parse,
        .args_doc = "[SCENARIO]",
        .doc =
            "Puts load on a BCDA-like server and measures. Work begins at its time whatever the server does "
            "(open loop), and durations count from there. What is downloaded is checked: a fast wrong "
            "answer is a failure.\v"
            "Exit status: 0 done without a failure, 1 with failures, 2 wrong usage.",
        .help_filter = help_filter,
    };
    argp_program_version = "sluice-load " SLUICE_VERSION;
    argp_err_exit_status = 2;
    *options =
        (struct options){.scenario = "export", .seconds = 10, .connections = 64, .poll_ms = 50, .seed = 1};
    argp_parse(&parser, argc, argv, 0, NULL, options);
}
