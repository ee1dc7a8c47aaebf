#include "storage/compact.h"

#include "codec/base/clock.h"
#include "storage/statistics.h"
#include "tools/common/progress.h"
#include "tools/sluicectl/command.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DAYS_MAX   36500
#define YEARS_MAX  1000
#define US_PER_DAY (INT64_C(86400) * US_PER_SECOND)

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* The first one ends the work in order, the second one the process. */
static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

struct compact_command {
    struct progress progress;
    struct compact_counts counts;
    struct space {
        uint64_t segments, stored_bytes, file_bytes;
    } before, after;
};

static bool is_interrupted(void *context)
{
    (void)context;
    return interrupted != 0;
}

static void show_compacted(void *context, uint64_t done, uint64_t total, const char *note)
{
    struct compact_command *command = context;
    progress_show(&command->progress, done, total, note);
}

static void show_damaged(void *context, const char *reason)
{
    struct compact_command *command = context;
    progress_end(&command->progress);
    fprintf(stderr, "left as it is: %s\n", reason);
}

/* False, and EXIT_USAGE is due, if it is no number of days: complained. */
static bool option_days(const struct invocation *invocation, enum option_id option, long *ret_days)
{
    const char *text = invocation->options[option];
    if (!text)
        return true;
    char *end;
    long days = strtol(text, &end, 10);
    if (!*text || *end || days < 0 || days > DAYS_MAX) {
        complain_text("%s: a number of days from 0 to %d is wanted", text, DAYS_MAX);
        return false;
    }
    *ret_days = days;
    return true;
}

static bool option_years(const struct invocation *invocation, int32_t *ret_keep_from_day)
{
    const char *text = invocation->options[OPTION_HISTORY_YEARS];
    if (!text)
        return true;
    char *end;
    long years = strtol(text, &end, 10);
    if (!*text || *end || years < 0 || years > YEARS_MAX) {
        complain_text("--history-years: %s: a number of years from %d to %d is wanted", text,
                      COMPACT_HISTORY_YEARS_MIN, YEARS_MAX);
        return false;
    }
    if (years < COMPACT_HISTORY_YEARS_MIN) {
        complain_text(
            "--history-years: %ld are too few: an ACO is to get %d years of claims of whoever comes to it",
            years, COMPACT_HISTORY_YEARS_MIN);
        return false;
    }
    *ret_keep_from_day = compact_keep_from_day(clock_now_us(), (unsigned)years);
    return true;
}

static enum status measure(struct store *store, struct space *ret_space, struct error *error)
{
    struct read_steps steps;
    struct statistics statistics;
    struct buffer path = BUFFER_INIT;
    struct stat file;
    read_steps_init(&steps, store_engine(store));
    enum status status = statistics_read(&steps, 0, &statistics, error);
    buffer_appendf(&path, "%s/store.mdb", store_dir(store));
    if (status == STATUS_OK && stat(buffer_text(&path), &file) != 0)
        status = error_set_errno(error, "%s: its size is not known", buffer_text(&path));
    buffer_release(&path);
    if (status != STATUS_OK)
        return status;
    *ret_space = (struct space){.file_bytes = (uint64_t)file.st_blocks * 512};
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        ret_space->segments += statistics.of[type].segments;
        ret_space->stored_bytes += statistics.of[type].stored_bytes;
    }
    return STATUS_OK;
}

static void json_member_space(struct json_writer *json, const char *key, const struct space *space)
{
    json_key(json, key);
    json_object_begin(json);
    json_member_number(json, "segments", (int64_t)space->segments);
    json_member_number(json, "storedBytes", (int64_t)space->stored_bytes);
    json_member_number(json, "fileBytes", (int64_t)space->file_bytes);
    json_object_end(json);
}

static void print_compacted_json(const struct compact_command *command, bool is_complete)
{
    struct buffer text = BUFFER_INIT;
    struct json_writer *json = json_writer_new(&text);
    const struct compact_counts *counts = &command->counts;
    json_object_begin(json);
    json_member_bool(json, "complete", is_complete);
    json_member_number(json, "beneficiaries", (int64_t)counts->beneficiaries);
    json_member_number(json, "replaced", (int64_t)counts->replaced);
    json_member_number(json, "made", (int64_t)counts->made);
    json_member_number(json, "expired", (int64_t)counts->dropped);
    json_member_number(json, "releasedBytes", (int64_t)counts->released_bytes);
    json_member_number(json, "damaged", (int64_t)counts->damaged);
    json_member_space(json, "before", &command->before);
    json_member_space(json, "after", &command->after);
    json_object_end(json);
    json_writer_finish(json);
    json_writer_free(json);
    print_json(&text);
    buffer_release(&text);
}

static void print_bytes(const char *title, uint64_t before, uint64_t after)
{
    char before_text[32], after_text[32];
    bytes_text(before, before_text);
    bytes_text(after, after_text);
    printf("%-15s %10s -> %10s\n", title, before_text, after_text);
}

static void print_compacted(const struct compact_command *command)
{
    const struct compact_counts *counts = &command->counts;
    if (counts->replaced == 0)
        printf("nothing to compact\n");
    else
        printf("%llu segments were replaced by %llu, of %llu beneficiaries looked at\n",
               (unsigned long long)counts->replaced, (unsigned long long)counts->made,
               (unsigned long long)counts->beneficiaries);
    if (counts->dropped)
        printf("%llu claims were older than is kept, and left\n", (unsigned long long)counts->dropped);
    printf("%-15s %10llu -> %10llu\n", "segments", (unsigned long long)command->before.segments,
           (unsigned long long)command->after.segments);
    print_bytes("stored", command->before.stored_bytes, command->after.stored_bytes);
    print_bytes("blocks of file", command->before.file_bytes, command->after.file_bytes);
    if (counts->no_holes)
        printf("the file system makes no holes in files: free pages keep their space, and are used again\n");
}

static enum status compact(struct link *link, struct compact_command *command,
                           const struct compact_options *options, struct error *error)
{
    struct error failure = {0};
    enum status status = measure(link_store(link), &command->before, error);
    if (status != STATUS_OK)
        return status;
    status = compact_run(link, options, &command->counts, &failure);
    enum status measured = measure(link_store(link), &command->after, error);
    if (status != STATUS_OK && error)
        *error = failure;
    return status == STATUS_OK ? measured : status;
}

int command_compact(const struct invocation *invocation)
{
    long days = COMPACT_OLDER_THAN_DAYS;
    int32_t keep_from_day = DAY_NONE;
    if (!option_days(invocation, OPTION_OLDER_THAN_DAYS, &days) || !option_years(invocation, &keep_from_day))
        return EXIT_USAGE;
    catch_interrupts();
    struct link *link = open_link(invocation);
    if (!link)
        return EXIT_FAILED;
    struct compact_command command = {.counts = {0}};
    int64_t now_us = clock_now_us();
    struct compact_options options = {
        .rules = {.merge_before_us = now_us - days * US_PER_DAY,
                  .gather_before_us = now_us - COMPACT_GATHER_DAYS * US_PER_DAY,
                  .keep_from_day = keep_from_day},
        .wait_seconds = COMPACT_WAIT_SECONDS,
        .context = &command,
        .progress = show_compacted,
        .damaged = show_damaged,
        .is_stopped = is_interrupted,
    };
    struct error error;
    progress_begin(&command.progress, "compact", is_quiet(invocation));
    enum status status = compact(link, &command, &options, &error);
    progress_end(&command.progress);
    link_close(link);
    if (wants_json(invocation))
        print_compacted_json(&command, status == STATUS_OK);
    else if (status == STATUS_OK || status == STATUS_CANCELLED || status == STATUS_BUSY)
        print_compacted(&command);
    if (status == STATUS_CANCELLED)
        return complain_text("interrupted at %llu of %llu beneficiaries; run it again and it goes on",
                             (unsigned long long)command.counts.beneficiaries,
                             (unsigned long long)command.counts.beneficiaries_total);
    if (status != STATUS_OK)
        return complain(&error);
    return command.counts.damaged ? EXIT_FAILED : EXIT_DONE;
}
