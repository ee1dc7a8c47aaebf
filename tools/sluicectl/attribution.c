#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"
#include "codec/instant.h"
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

static enum status apply_roster(struct link *link, const struct candidate *candidate, const int64_t *at_us,
                                struct error *error)
{
    struct roster_file roster;
    enum status status = roster_file_load(candidate->path, &roster, error);
    if (status != STATUS_OK)
        return status;
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    buffer_append_sized(&payload, slice_from_text(roster.name.aco));
    buffer_append_sized(&payload, slice_from_text(roster.file));
    buffer_append_i64(&payload, at_us ? *at_us : roster.name.at_us);
    buffer_append_slice(&payload, buffer_slice(&roster.mbis));
    status = link_call(link, CONTROL_COMMAND_ROSTER, buffer_slice(&payload), &reply, error);
    if (status == STATUS_OK) {
        struct reader reader = reader_make(buffer_slice(&reply));
        unsigned long long total = reader_u64(&reader), joined = reader_u64(&reader),
                           left = reader_u64(&reader), unknown = reader_u64(&reader);
        printf("%s: %s: %llu beneficiaries, %llu joined (%llu of them without a Patient yet), %llu left\n",
               roster.file, roster.name.aco, total, joined, unknown, left);
    }
    buffer_release(&payload);
    buffer_release(&reply);
    roster_file_release(&roster);
    return status;
}

int command_attribution_import(const struct invocation *invocation)
{
    struct error error;
    int64_t at_us = 0;
    const char *at = invocation->options[OPTION_AT];
    if (at && instant_parse(slice_from_text(at), &at_us, &error) != STATUS_OK) {
        complain_text("--at: %s", error.text);
        return EXIT_USAGE;
    }
    struct candidates candidates = {.arena = ARENA_INIT};
    if (candidates_find(&candidates, invocation, &error) != STATUS_OK)
        return complain(&error);
    struct candidate *items = (struct candidate *)(void *)candidates.items.data;
    size_t count = candidates.items.size / sizeof *items;
    if (count == 0)
        return complain_text("no CCLF archive or CCLF8 file found");
    qsort(items, count, sizeof *items, candidate_compare);
    struct link *link = open_link(invocation);
    int exit_status = link ? EXIT_DONE : EXIT_FAILED;
    for (size_t i = 0; link && i < count; i++) {
        enum status status = apply_roster(link, &items[i], at ? &at_us : NULL, &error);
        if (status == STATUS_EXISTS)
            printf("%s: skipped\n", error.text);
        else if (status != STATUS_OK)
            exit_status = complain(&error);
    }
    if (candidates.ignored && !is_quiet(invocation))
        fprintf(stderr, "sluicectl: %zu other files were ignored\n", candidates.ignored);
    link_close(link);
    buffer_release(&candidates.items);
    arena_release(&candidates.arena);
    return exit_status;
}

static enum status list_member(void *context, struct slice mbi, struct slice beneficiary,
                               const struct interval *intervals, size_t count, struct error *error)
{
    (void)error;
    struct listing *listing = context;
    int64_t since_us = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        if (intervals[i].end_us == INTERVAL_OPEN_US && intervals[i].death == SEQUENCE_NEVER)
            since_us = intervals[i].start_us;
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
    int64_t at_us = INTERVAL_OPEN_US;
    const char *at = listing->invocation->options[OPTION_AT];
    enum status status = at ? instant_parse(slice_from_text(at), &at_us, error) : STATUS_OK;
    if (status == STATUS_OK)
        status = aco_find(listing->txn, slice_from_text(listing->invocation->arguments[0]), &aco, error);
    return status == STATUS_OK
               ? attribution_each(listing->txn, aco.number, at_us, list_member, listing, error)
               : status;
}

int command_attribution_list(const struct invocation *invocation)
{
    static const char *const titles[] = {"MBI", "beneficiary", "since"};
    return listing_run(invocation, titles, 3, fill_members);
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
    return roster_each(walk.listing->txn, aco->number, list_roster, &walk, error);
}

static enum status fill_rosters(struct listing *listing, struct error *error)
{
    if (listing->invocation->argument_count == 0)
        return aco_each(listing->txn, list_rosters_of, listing, error);
    struct aco aco;
    enum status status =
        aco_find(listing->txn, slice_from_text(listing->invocation->arguments[0]), &aco, error);
    return status == STATUS_OK ? list_rosters_of(listing, &aco, error) : status;
}

int command_attribution_status(const struct invocation *invocation)
{
    static const char *const titles[] = {"ACO",     "roster", "as of", "applied", ">beneficiaries",
                                         ">joined", ">left"};
    return listing_run(invocation, titles, 7, fill_rosters);
}
