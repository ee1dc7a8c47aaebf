#include "codec/base/check.h"
#include "codec/base/reader.h"
#include "storage/roster_source.h"
#include "tools/sluicectl/listing.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A file that a path led to, and the time that its name gives. */
struct candidate {
    char *path;
    int64_t at_us;
};

struct candidates {
    struct arena arena;
    struct buffer items; /* struct candidate */
    size_t ignored;      /* files in directories whose names are no rosters' */
};

static void candidates_add(struct candidates *candidates, const char *path, int64_t at_us)
{
    struct candidate candidate = {arena_text(&candidates->arena, slice_from_text(path)), at_us};
    buffer_append(&candidates->items, &candidate, sizeof candidate);
}

static enum status candidates_from_directory(struct candidates *candidates, const char *path,
                                             struct error *error)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        return error_set_errno(error, "%s: cannot read the directory", path);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        struct buffer full = BUFFER_INIT;
        struct stat info;
        struct cclf_name parsed;
        buffer_appendf(&full, "%s/%s", path, name);
        if (name[0] != '.' && stat(buffer_text(&full), &info) == 0 && S_ISREG(info.st_mode)) {
            bool is_roster = cclf_name_parse(slice_from_text(name), &parsed, NULL) == STATUS_OK &&
                             (parsed.kind == CCLF_KIND_ARCHIVE || parsed.kind == CCLF_KIND_BENEFICIARIES);
            if (is_roster)
                candidates_add(candidates, buffer_text(&full), parsed.at_us);
            else
                candidates->ignored++;
        }
        buffer_release(&full);
        free(entries[i]);
    }
    free(entries);
    return STATUS_OK;
}

static enum status candidates_find(struct candidates *candidates, const struct invocation *invocation,
                                   struct error *error)
{
    for (int i = 0; i < invocation->argument_count; i++) {
        const char *path = invocation->arguments[i];
        struct stat info;
        struct cclf_name name;
        if (stat(path, &info) != 0)
            return error_set_errno(error, "%s: cannot look at it", path);
        if (S_ISDIR(info.st_mode)) {
            enum status status = candidates_from_directory(candidates, path, error);
            if (status != STATUS_OK)
                return status;
            continue;
        }
        const char *slash = strrchr(path, '/');
        /* A name that does not parse is refused when the file is loaded. */
        bool is_known = cclf_name_parse(slice_from_text(slash ? slash + 1 : path), &name, NULL) == STATUS_OK;
        candidates_add(candidates, path, is_known ? name.at_us : 0);
    }
    return STATUS_OK;
}

static int candidate_compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int order = (x->at_us > y->at_us) - (x->at_us < y->at_us);
    return order ? order : strcmp(x->path, y->path);
}

/* What became of the files: lines for a person, an array with --json. */
struct roster_report {
    bool wants_json;
    struct buffer text;
    struct json_writer *json;
};

static void report_begin(struct roster_report *report, const char *file, const char *state)
{
    json_object_begin(report->json);
    json_member_text(report->json, "file", file);
    json_member_text(report->json, "state", state);
}

static void report_applied(struct roster_report *report, const struct roster_file *roster, struct slice reply)
{
    struct reader reader = reader_make(reply);
    uint64_t total = reader_u64(&reader), joined = reader_u64(&reader), left = reader_u64(&reader),
             unknown = reader_u64(&reader);
    report_begin(report, roster->file, "applied");
    json_member_text(report->json, "aco", roster->name.aco);
    json_member_number(report->json, "beneficiaries", (int64_t)total);
    json_member_number(report->json, "joined", (int64_t)joined);
    json_member_number(report->json, "unknown", (int64_t)unknown);
    json_member_number(report->json, "left", (int64_t)left);
    json_object_end(report->json);
    if (!report->wants_json)
        printf("%s: %s: %llu beneficiaries, %llu joined (%llu of them without a Patient yet), %llu left\n",
               roster->file, roster->name.aco, (unsigned long long)total, (unsigned long long)joined,
               (unsigned long long)unknown, (unsigned long long)left);
}

static void report_not_applied(struct roster_report *report, const char *path, const struct error *error)
{
    bool is_skipped = error->status == STATUS_EXISTS;
    report_begin(report, path, is_skipped ? "skipped" : "refused");
    json_member_text(report->json, "reason", error->text);
    json_object_end(report->json);
    if (!is_skipped)
        complain(error);
    else if (!report->wants_json)
        printf("%s: skipped\n", error->text);
}

static enum status apply_roster(struct link *link, const char *path, const int64_t *at_us,
                                struct roster_report *report, struct error *error)
{
    struct roster_file roster;
    enum status status = roster_file_load(path, &roster, error);
    if (status != STATUS_OK)
        return status;
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    buffer_append_sized(&payload, slice_from_text(roster.name.aco));
    buffer_append_sized(&payload, slice_from_text(roster.file));
    buffer_append_i64(&payload, at_us ? *at_us : roster.name.at_us);
    buffer_append_slice(&payload, buffer_slice(&roster.mbis));
    status = link_call(link, CONTROL_COMMAND_ROSTER, buffer_slice(&payload), &reply, error);
    if (status == STATUS_OK)
        report_applied(report, &roster, buffer_slice(&reply));
    else if (!strstr(error->text, roster.file)) /* of many, which? */
        error_prefix(error, "%s", path);
    buffer_release(&payload);
    buffer_release(&reply);
    roster_file_release(&roster);
    return status;
}

/* In the order of their times: an older one after a newer one would be refused. */
static int apply_rosters(const struct invocation *invocation, const struct candidates *candidates,
                         const int64_t *at_us)
{
    struct link *link = open_link(invocation);
    if (!link)
        return EXIT_FAILED;
    struct candidate *items = (struct candidate *)(void *)candidates->items.data;
    size_t count = candidates->items.size / sizeof *items;
    struct roster_report report = {.wants_json = wants_json(invocation)};
    report.json = json_writer_new(&report.text);
    json_array_begin(report.json);
    int exit_status = EXIT_DONE;
    qsort(items, count, sizeof *items, candidate_compare);
    for (size_t i = 0; i < count; i++) {
        struct error error;
        enum status status = apply_roster(link, items[i].path, at_us, &report, &error);
        if (status != STATUS_OK)
            report_not_applied(&report, items[i].path, &error);
        if (status != STATUS_OK && status != STATUS_EXISTS)
            exit_status = EXIT_FAILED;
    }
    json_array_end(report.json);
    json_writer_finish(report.json);
    if (report.wants_json)
        print_json(&report.text);
    json_writer_free(report.json);
    buffer_release(&report.text);
    int moved = move_homes(invocation, link);
    link_close(link);
    return exit_status == EXIT_DONE ? moved : exit_status;
}

int command_attribution_import(const struct invocation *invocation)
{
    struct error error;
    int64_t at_us = 0;
    if (!option_at(invocation, &at_us))
        return EXIT_USAGE;
    struct candidates candidates = {.arena = ARENA_INIT};
    int exit_status;
    if (candidates_find(&candidates, invocation, &error) != STATUS_OK)
        exit_status = complain(&error);
    else if (candidates.items.size == 0)
        exit_status = complain_text("no CCLF archive or CCLF8 file found");
    else
        exit_status = apply_rosters(invocation, &candidates, invocation->options[OPTION_AT] ? &at_us : NULL);
    if (candidates.ignored && !is_quiet(invocation))
        fprintf(stderr, "sluicectl: %zu other files were ignored\n", candidates.ignored);
    buffer_release(&candidates.items);
    arena_release(&candidates.arena);
    return exit_status;
}

struct member_walk {
    struct listing *listing;
    int64_t at_us; /* INTERVAL_OPEN_US: now */
};

/* Since when: of the interval that was asked for, which may have ended since. */
static enum status list_member(void *context, struct slice mbi, struct slice beneficiary,
                               const struct interval *intervals, size_t count, struct error *error)
{
    (void)error;
    struct member_walk *walk = context;
    struct listing *listing = walk->listing;
    int64_t since_us = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        const struct interval *interval = &intervals[i];
        bool is_asked_for = walk->at_us == INTERVAL_OPEN_US
                                ? interval->end_us == INTERVAL_OPEN_US
                                : interval->start_us <= walk->at_us && walk->at_us < interval->end_us;
        if (is_asked_for && interval->death == SEQUENCE_NEVER)
            since_us = interval->start_us;
    }
    listing_row_begin(listing);
    listing_string(listing, "mbi", mbi);
    listing_string(listing, "beneficiary", beneficiary);
    listing_instant(listing, "since", since_us);
    listing_row_end(listing);
    return STATUS_OK;
}

static enum status fill_members(struct listing *listing, struct error *error)
{
    struct aco aco;
    struct member_walk walk = {listing, INTERVAL_OPEN_US};
    CHECK(option_at(listing->invocation, &walk.at_us));
    enum status status =
        aco_find(listing->steps.txn, slice_from_text(listing->invocation->arguments[0]), &aco, error);
    return status == STATUS_OK
               ? attribution_each(listing->steps.txn, aco.number, walk.at_us, list_member, &walk, error)
               : status;
}

int command_attribution_list(const struct invocation *invocation)
{
    static const char *const titles[] = {"MBI", "beneficiary", "since"};
    int64_t at_us;
    return option_at(invocation, &at_us) ? listing_run(invocation, titles, 3, fill_members) : EXIT_USAGE;
}

struct roster_walk {
    struct listing *listing;
    const char *aco;
};

static enum status list_roster(void *context, const struct roster *roster, struct error *error)
{
    (void)error;
    struct roster_walk *walk = context;
    struct listing *listing = walk->listing;
    listing_row_begin(listing);
    listing_text(listing, "aco", walk->aco);
    listing_string(listing, "name", roster->name);
    listing_instant(listing, "asOf", roster->at_us);
    listing_instant(listing, "applied", roster->applied_us);
    listing_number(listing, "beneficiaries", roster->total);
    listing_number(listing, "joined", roster->joined);
    listing_number(listing, "left", roster->left);
    listing_row_end(listing);
    return STATUS_OK;
}

static enum status list_rosters_of(void *context, const struct aco *aco, struct error *error)
{
    struct roster_walk walk = {context, aco->id};
    return roster_each(walk.listing->steps.txn, aco->number, list_roster, &walk, error);
}

static enum status fill_rosters(struct listing *listing, struct error *error)
{
    if (listing->invocation->argument_count == 0)
        return aco_each(listing->steps.txn, list_rosters_of, listing, error);
    struct aco aco;
    enum status status =
        aco_find(listing->steps.txn, slice_from_text(listing->invocation->arguments[0]), &aco, error);
    return status == STATUS_OK ? list_rosters_of(listing, &aco, error) : status;
}

int command_attribution_status(const struct invocation *invocation)
{
    static const char *const titles[] = {"ACO",     "roster", "as of", "applied", ">beneficiaries",
                                         ">joined", ">left"};
    return listing_run(invocation, titles, 7, fill_rosters);
}
