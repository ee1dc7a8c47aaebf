#include "storage/homes.h"
#include "tools/common/progress.h"
#include "tools/sluicectl/command.h"

#include <stdarg.h>
#include <stdio.h>

int complain(const struct error *error)
{
    fprintf(stderr, "sluicectl: %s\n", *error->text ? error->text : status_name(error->status));
    return EXIT_FAILED;
}

int complain_text(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sluicectl: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_FAILED;
}

struct link *open_link(const struct invocation *invocation)
{
    struct link *link;
    struct error error;
    if (link_open(invocation->dir, NULL, &link, &error) == STATUS_OK)
        return link;
    complain(&error);
    return NULL;
}

struct store *open_store(const struct invocation *invocation)
{
    struct store *store;
    struct error error;
    if (store_open(invocation->dir, STORE_ACCESS_READ, NULL, &store, &error) == STATUS_OK)
        return store;
    complain(&error);
    return NULL;
}

static bool show_moved(void *context, const struct homes_counts *counts, int64_t step_us)
{
    char note[96];
    (void)step_us;
    snprintf(note, sizeof note, "%llu beneficiaries, %llu wait", (unsigned long long)counts->moved,
             (unsigned long long)counts->waiting);
    progress_show(context, counts->bytes, 0, note);
    return true;
}

int move_homes(const struct invocation *invocation, struct link *link)
{
    struct progress progress;
    struct homes_options options = {.context = &progress, .rest = show_moved};
    struct homes_counts counts;
    struct error error;
    if (link_is_remote(link))
        return EXIT_DONE;
    progress_begin(&progress, "moving to new homes", is_quiet(invocation));
    enum status status = homes_run(link, &options, &counts, &error);
    progress_end(&progress);
    if (status != STATUS_OK)
        return complain(&error);
    if (counts.moved && !is_quiet(invocation))
        fprintf(stderr, "%llu beneficiaries moved to new homes\n", (unsigned long long)counts.moved);
    return EXIT_DONE;
}

static bool is_instant(int64_t us)
{
    return us >= INSTANT_MIN_US && us <= INSTANT_MAX_US;
}

void instant_text(int64_t us, char text[INSTANT_TEXT_SIZE])
{
    if (is_instant(us))
        instant_format(us, text);
    else
        strcpy(text, "-");
}

void json_member_instant(struct json_writer *writer, const char *key, int64_t us)
{
    char text[INSTANT_TEXT_SIZE];
    instant_text(us, text);
    json_key(writer, key);
    if (is_instant(us))
        json_text(writer, text);
    else
        json_null(writer);
}

bool option_at(const struct invocation *invocation, int64_t *ret_us)
{
    struct error error;
    const char *at = invocation->options[OPTION_AT];
    if (!at || instant_parse(slice_from_text(at), ret_us, &error) == STATUS_OK)
        return true;
    complain_text("--at: %s", error.text);
    return false;
}

void print_json(struct buffer *document)
{
    fwrite(document->data, 1, document->size, stdout);
    fputc('\n', stdout);
}
