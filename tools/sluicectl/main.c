#include "server/service.h"
#include "tools/sluicectl/command.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BIT(id) (1u << (id))
#define COMMON  (BIT(OPTION_DATA) | BIT(OPTION_QUIET))

static const struct {
    const char *name;
    bool takes_value;
} option_table[OPTION_COUNT] = {
    [OPTION_DATA] = {"data", true},
    [OPTION_JSON] = {"json", false},
    [OPTION_QUIET] = {"quiet", false},
    [OPTION_NAME] = {"name", true},
    [OPTION_CLIENT_ID] = {"client-id", true},
    [OPTION_SECRET_FILE] = {"secret-file", true},
    [OPTION_ACO] = {"aco", true},
    [OPTION_STRICT] = {"strict", false},
    [OPTION_DELETE_ENTERED_IN_ERROR] = {"delete-entered-in-error", false},
    [OPTION_AT] = {"at", true},
    [OPTION_STATE] = {"state", true},
    [OPTION_TYPE] = {"type", true},
    [OPTION_SINCE] = {"since", true},
    [OPTION_OLDER_THAN_DAYS] = {"older-than-days", true},
    [OPTION_WITHOUT_JOB_FILES] = {"without-job-files", false},
    [OPTION_HISTORY_YEARS] = {"history-years", true},
};

struct command {
    const char *words[2];
    const char *synopsis; /* of arguments and own options */
    const char *help;
    int arguments_min, arguments_max; /* max -1: any number */
    unsigned options;                 /* bits of what it takes */
    bool needs_dir;
    int (*run)(const struct invocation *invocation);
};

static const struct command commands[] = {
    {{"init"}, "", "make DIR: an empty store and a signing key", 0, 0, COMMON, true, command_init},
    {{"aco", "add"},
     "ID [--name NAME]",
     "add an ACO, e.g. A9994",
     1,
     1,
     COMMON | BIT(OPTION_NAME),
     true,
     command_aco_add},
    {{"aco", "list"}, "[--json]", "list the ACOs", 0, 0, COMMON | BIT(OPTION_JSON), true, command_aco_list},
    {{"aco", "remove"},
     "ID",
     "remove an ACO and revoke its credentials",
     1,
     1,
     COMMON,
     true,
     command_aco_remove},
    {{"credentials", "create"},
     "ID [--client-id UUID] [--secret-file F]",
     "make credentials: prints name, client id and secret, which is shown this once",
     1,
     1,
     COMMON | BIT(OPTION_CLIENT_ID) | BIT(OPTION_SECRET_FILE),
     true,
     command_credentials_create},
    {{"credentials", "list"},
     "[ID] [--json]",
     "list credentials",
     0,
     1,
     COMMON | BIT(OPTION_JSON),
     true,
     command_credentials_list},
    {{"credentials", "revoke"},
     "CLIENT_ID",
     "revoke credentials, at once",
     1,
     1,
     COMMON,
     true,
     command_credentials_revoke},
    {{"import"},
     "PATH... [--aco ID] [--strict] [--delete-entered-in-error] [--json]",
     "import resources: NDJSON, NDJSON.gz, Bundles, directories of them, or -",
     1,
     -1,
     COMMON | BIT(OPTION_ACO) | BIT(OPTION_STRICT) | BIT(OPTION_DELETE_ENTERED_IN_ERROR) | BIT(OPTION_JSON),
     true,
     command_import},
    {{"attribution", "import"},
     "PATH... [--aco ID] [--at INSTANT] [--json]",
     "apply rosters: CCLF archives, CCLF8 and CSV files, directories",
     1,
     -1,
     COMMON | BIT(OPTION_ACO) | BIT(OPTION_AT) | BIT(OPTION_JSON),
     true,
     command_attribution_import},
    {{"attribution", "list"},
     "ID [--at INSTANT] [--json]",
     "list an ACO's beneficiaries",
     1,
     1,
     COMMON | BIT(OPTION_AT) | BIT(OPTION_JSON),
     true,
     command_attribution_list},
    {{"attribution", "status"},
     "[ID] [--json]",
     "list the rosters that were applied",
     0,
     1,
     COMMON | BIT(OPTION_JSON),
     true,
     command_attribution_status},
    {{"suppression", "import"},
     "PATH... [--json]",
     "apply opt-outs: 1-800-MEDICARE data sharing preference files, directories",
     1,
     -1,
     COMMON | BIT(OPTION_JSON),
     true,
     command_suppression_import},
    {{"suppression", "list"},
     "[--json]",
     "list the MBIs that have a preference, and which are suppressed",
     0,
     0,
     COMMON | BIT(OPTION_JSON),
     true,
     command_suppression_list},
    {{"jobs", "list"},
     "[--aco ID] [--state S] [--json]",
     "list export jobs",
     0,
     0,
     COMMON | BIT(OPTION_ACO) | BIT(OPTION_STATE) | BIT(OPTION_JSON),
     true,
     command_jobs_list},
    {{"jobs", "show"},
     "N [--json]",
     "show one job and its files",
     1,
     1,
     COMMON | BIT(OPTION_JSON),
     true,
     command_jobs_show},
    {{"jobs", "cancel"},
     "N",
     "cancel a job, or free a finished one",
     1,
     1,
     COMMON,
     true,
     command_jobs_cancel},
    {{"jobs", "expire"},
     "[--json]",
     "archive and expire the jobs that are due, and remove files that no job has any more",
     0,
     0,
     COMMON | BIT(OPTION_JSON),
     true,
     command_jobs_expire},
    {{"stat"},
     "[--json]",
     "what the store holds, and its space",
     0,
     0,
     COMMON | BIT(OPTION_JSON),
     true,
     command_stat},
    {{"get"}, "TYPE/ID", "print one resource", 1, 1, COMMON, true, command_get},
    {{"dump"},
     "[--aco ID] [--type T,...] [--since INSTANT]",
     "print the resources that an export would hold now, as NDJSON",
     0,
     0,
     COMMON | BIT(OPTION_ACO) | BIT(OPTION_TYPE) | BIT(OPTION_SINCE),
     true,
     command_dump},
    {{"verify"},
     "[--json]",
     "walk everything and list each fault; exit 1 if there is any",
     0,
     0,
     COMMON | BIT(OPTION_JSON),
     true,
     command_verify},
    {{"compact"},
     "[--history-years N] [--older-than-days N] [--json]",
     "merge and recompress what is stored, give space back; may be interrupted",
     0,
     0,
     COMMON | BIT(OPTION_OLDER_THAN_DAYS) | BIT(OPTION_HISTORY_YEARS) | BIT(OPTION_JSON),
     true,
     command_compact},
    {{"backup"},
     "PATH [--without-job-files] [--json]",
     "copy everything to PATH, consistently, while it is served",
     1,
     1,
     COMMON | BIT(OPTION_WITHOUT_JOB_FILES) | BIT(OPTION_JSON),
     true,
     command_backup},
    {{"restore"},
     "PATH [--json]",
     "make DIR from a backup; DIR must be empty or not there",
     1,
     1,
     COMMON | BIT(OPTION_JSON),
     true,
     command_restore},
    {{"config", "check"}, "FILE", "check a file of settings", 1, 1, COMMON, false, command_config_check},
    {{"config", "show"},
     "",
     "every setting with its default, unit and meaning",
     0,
     0,
     COMMON,
     false,
     command_config_show},
};

#define COMMAND_SYNOPSIS_SIZE 128

/* "aco add ID [--name NAME]" */
static const char *command_synopsis(const struct command *command, char text[COMMAND_SYNOPSIS_SIZE])
{
    const char *second = command->words[1] ? command->words[1] : "";
    snprintf(text, COMMAND_SYNOPSIS_SIZE, "%s%s%s%s%s", command->words[0], *second ? " " : "", second,
             *command->synopsis ? " " : "", command->synopsis);
    return text;
}

static void print_usage(FILE *out)
{
    fputs("Usage: sluicectl [--data DIR] COMMAND [ARGUMENT]... [OPTION]...\n"
          "Administers the data directory DIR (else $SLUICE_DATA), also beside a running sluiced.\n\n",
          out);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *command = &commands[i];
        char synopsis[COMMAND_SYNOPSIS_SIZE];
        fprintf(out, "  %s\n      %s\n", command_synopsis(command, synopsis), command->help);
    }
    fputs(
        "\nEverywhere: --quiet (no progress), --help, --version. INSTANT: 2020-02-20T12:00:00Z.\n"
        "\nExamples:\n"
        "  sluicectl --data /var/lib/sluice init\n"
        "  sluicectl --data /var/lib/sluice aco add A9994 --name 'Example ACO'\n"
        "  sluicectl --data /var/lib/sluice credentials create A9994\n"
        "  sluicectl --data /var/lib/sluice import /incoming/week-12\n"
        "  sluicectl --data /var/lib/sluice attribution import /incoming/P.BCD.A9994.ZCY26.D260301.T1200000\n"
        "\nExit status: 0 done, 1 failed or partly refused, 2 wrong usage.\n",
        out);
}

static _Noreturn void PRINTF_LIKE(1, 2) usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sluicectl: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nTry: sluicectl --help\n", stderr);
    va_end(args);
    exit(EXIT_USAGE);
}

enum { LONG_HELP = OPTION_COUNT, LONG_VERSION };

static void make_long_options(struct option options[OPTION_COUNT + 3])
{
    for (int i = 0; i < OPTION_COUNT; i++)
        options[i] =
            (struct option){option_table[i].name,
                            option_table[i].takes_value ? required_argument : no_argument, NULL, 256 + i};
    options[LONG_HELP] = (struct option){"help", no_argument, NULL, 256 + LONG_HELP};
    options[LONG_VERSION] = (struct option){"version", no_argument, NULL, 256 + LONG_VERSION};
    options[OPTION_COUNT + 2] = (struct option){NULL, 0, NULL, 0};
}

/* Options may stand anywhere; getopt moves the other words to the end. */
static void parse_options(int argc, char **argv, struct invocation *invocation)
{
    struct option options[OPTION_COUNT + 3];
    make_long_options(options);
    int found;
    while ((found = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (found == 256 + LONG_HELP) {
            print_usage(stdout);
            exit(EXIT_DONE);
        }
        if (found == 256 + LONG_VERSION) {
            puts("sluicectl " SLUICE_VERSION);
            exit(EXIT_DONE);
        }
        if (found == '?')
            exit(EXIT_USAGE); /* getopt has said what is wrong */
        invocation->options[found - 256] = optarg ? optarg : "";
    }
    invocation->arguments = argv + optind;
    invocation->argument_count = argc - optind;
}

static const struct command *find_command(struct invocation *invocation)
{
    if (invocation->argument_count == 0) {
        print_usage(stderr);
        exit(EXIT_USAGE);
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *command = &commands[i];
        int words = command->words[1] ? 2 : 1;
        if (invocation->argument_count < words || strcmp(invocation->arguments[0], command->words[0]) != 0 ||
            (words == 2 && strcmp(invocation->arguments[1], command->words[1]) != 0))
            continue;
        invocation->arguments += words;
        invocation->argument_count -= words;
        return command;
    }
    const char *first = invocation->arguments[0];
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char synopsis[COMMAND_SYNOPSIS_SIZE];
        if (strcmp(first, commands[i].words[0]) != 0)
            continue;
        if (invocation->argument_count > 1)
            usage_error("no such command: %s %s", first, invocation->arguments[1]);
        usage_error("%s is half a command; one is: sluicectl %s", first,
                    command_synopsis(&commands[i], synopsis));
    }
    usage_error("no such command: %s", first);
}

int main(int argc, char **argv)
{
    struct invocation invocation = {0};
    parse_options(argc, argv, &invocation);
    const struct command *command = find_command(&invocation);
    char synopsis[COMMAND_SYNOPSIS_SIZE];
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (invocation.options[i] && !(command->options & BIT(i)))
            usage_error("this command takes no --%s", option_table[i].name);
    }
    if (invocation.argument_count < command->arguments_min ||
        (command->arguments_max >= 0 && invocation.argument_count > command->arguments_max))
        usage_error("wrong number of arguments; it goes: sluicectl %s", command_synopsis(command, synopsis));
    invocation.dir = invocation.options[OPTION_DATA];
    if (!invocation.dir)
        invocation.dir = getenv("SLUICE_DATA");
    if (command->needs_dir && (!invocation.dir || !*invocation.dir))
        usage_error("%s", "say where the data directory is: --data DIR or $SLUICE_DATA");
    int status = command->run(&invocation);
    if (fflush(stdout) != 0 || ferror(stdout))
        return complain_text("standard output cannot be written");
    return status;
}
