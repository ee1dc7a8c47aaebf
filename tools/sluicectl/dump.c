#include "storage/dump.h"
#include "tools/common/progress.h"
#include "tools/sluicectl/command.h"

#include <stdio.h>
#include <unistd.h>

struct dump_show {
    struct progress progress;
    uint64_t bytes;
};

static enum status write_lines(void *context, struct slice lines, struct error *error)
{
    struct dump_show *show = context;
    if (fwrite(lines.data, 1, lines.size, stdout) != lines.size)
        return error_set_errno(error, "standard output cannot be written");
    show->bytes += lines.size;
    progress_show(&show->progress, show->bytes, 0, "");
    return STATUS_OK;
}

static void show_damage(void *context, const char *what)
{
    struct dump_show *show = context;
    progress_end(&show->progress);
    fprintf(stderr, "%s\n", what);
}

/* "Patient,Coverage", in that order, each once. Without --type all, in the order of exports. */
static bool option_types(const struct invocation *invocation, struct dump_options *options)
{
    const char *text = invocation->options[OPTION_TYPE];
    if (!text) {
        for (int type = 0; type < RESOURCE_TYPE_COUNT; type++)
            options->types[options->type_count++] = (enum resource_type)type;
        return true;
    }
    for (bool is_seen[RESOURCE_TYPE_COUNT] = {false}; text; text = *text ? text + 1 : NULL) {
        struct slice name = slice_make(text, strcspn(text, ","));
        enum resource_type type;
        if (!resource_type_find(name, &type) || is_seen[type]) {
            complain_text("--type: \"%.*s\" is %s; the types are ExplanationOfBenefit, Coverage and Patient",
                          SLICE_PRINT(name), name.size ? "none, or named twice" : "missing");
            return false;
        }
        is_seen[type] = true;
        options->types[options->type_count++] = type;
        text += name.size;
    }
    return true;
}

static bool option_since(const struct invocation *invocation, struct dump_options *options)
{
    struct error error;
    const char *since = invocation->options[OPTION_SINCE];
    options->since_us = INSTANT_MIN_US;
    if (!since || datetime_parse_since(slice_from_text(since), &options->since_us, &error) == STATUS_OK)
        return true;
    complain_text("--since: %s", error.text);
    return false;
}

int command_dump(const struct invocation *invocation)
{
    struct dump_show show = {.bytes = 0};
    struct dump_options options = {.aco_id = invocation->options[OPTION_ACO],
                                   .context = &show,
                                   .lines = write_lines,
                                   .damage = show_damage};
    if (!option_types(invocation, &options) || !option_since(invocation, &options))
        return EXIT_USAGE;
    struct store *store = open_store(invocation);
    if (!store)
        return EXIT_FAILED;
    struct dump_counts counts;
    struct error error;
    /* Lines that go to the terminal show the progress themselves. */
    progress_begin(&show.progress, "dump", is_quiet(invocation) || isatty(STDOUT_FILENO));
    enum status status = dump_run(store, &options, &counts, &error);
    progress_end(&show.progress);
    store_close(store);
    if (status != STATUS_OK)
        return complain(&error);
    if (counts.changed && !is_quiet(invocation))
        fprintf(stderr,
                "The store was written to meanwhile: each beneficiary is as it stood when it was read.\n");
    if (counts.damaged)
        return complain_text("%llu records could not be read and are missing; sluicectl verify tells more",
                             (unsigned long long)counts.damaged);
    return EXIT_DONE;
}
