#include "codec/base/check.h"
#include "codec/base/reader.h"
#include "storage/roster_source.h"
#include "tools/sluicectl/candidates.h"
#include "tools/sluicectl/listing.h"

#include <stdio.h>

static bool is_roster_name(const char *name, int64_t *ret_at_us)
{
    struct cclf_name parsed;
    if (cclf_name_parse(slice_from_text(name), &parsed, NULL) != STATUS_OK)
        return false;
    *ret_at_us = parsed.at_us;
    return parsed.holds == CCLF_KIND_ARCHIVE || parsed.holds == CCLF_KIND_BENEFICIARIES ||
           parsed.holds == CCLF_KIND_CSV;
}

static void report_applied(struct file_report *report, const struct roster_file *roster, struct slice reply)
{
    struct reader reader = reader_make(reply);
    uint64_t total = reader_u64(&reader), joined = reader_u64(&reader), left = reader_u64(&reader),
             unknown = reader_u64(&reader), linked = reader_u64(&reader);
    file_report_file(report, roster->file, "applied");
    json_member_text(report->json, "aco", roster->name.aco);
    json_member_number(report->json, "beneficiaries", (int64_t)total);
    json_member_number(report->json, "joined", (int64_t)joined);
    json_member_number(report->json, "unknown", (int64_t)unknown);
    json_member_number(report->json, "left", (int64_t)left);
    json_member_number(report->json, "linked", (int64_t)linked);
    json_object_end(report->json);
    if (report->wants_json)
        return;
    printf("%s: %s: %llu beneficiaries, %llu joined (%llu of them without a Patient yet), %llu left",
           roster->file, roster->name.aco, (unsigned long long)total, (unsigned long long)joined,
           (unsigned long long)unknown, (unsigned long long)left);
    if (linked)
        printf(", %llu MBIs linked to another", (unsigned long long)linked);
    putchar('\n');
}

static enum status apply_roster(const struct invocation *invocation, struct link *link, const char *path,
                                const int64_t *at_us, struct file_report *report, struct error *error)
{
    struct roster_file roster;
    enum status status = roster_file_load(path, invocation->options[OPTION_ACO], &roster, error);
    if (status != STATUS_OK)
        return status;
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    buffer_append_sized(&payload, slice_from_text(roster.name.aco));
    buffer_append_sized(&payload, slice_from_text(roster.file));
    buffer_append_i64(&payload, at_us ? *at_us : roster.name.at_us);
    buffer_append_sized(&payload, buffer_slice(&roster.links));
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
    struct file_report report;
    file_report_begin(&report, invocation);
    for (size_t i = 0; i < candidates_count(candidates); i++) {
        struct error error;
        const char *path = candidates_at(candidates, i)->path;
        if (apply_roster(invocation, link, path, at_us, &report, &error) != STATUS_OK)
            file_report_not_applied(&report, path, &error);
    }
    file_report_end(&report);
    int moved = move_homes(invocation, link);
    link_close(link);
    return report.exit_status == EXIT_DONE ? moved : report.exit_status;
}

int command_attribution_import(const struct invocation *invocation)
{
    struct error error;
    int64_t at_us = 0;
    if (!option_at(invocation, &at_us))
        return EXIT_USAGE;
    struct candidates candidates;
    int exit_status;
    if (candidates_find(&candidates, invocation, is_roster_name, &error) != STATUS_OK)
        exit_status = complain(&error);
    else if (candidates_count(&candidates) == 0)
        exit_status = complain_text("no CCLF archive, CCLF8 or CSV file found");
    else
        exit_status = apply_rosters(invocation, &candidates, invocation->options[OPTION_AT] ? &at_us : NULL);
    candidates_end(&candidates, invocation);
    return exit_status;
}

struct member_walk {
    struct listing *listing;
    int64_t at_us; /* INTERVAL_OPEN_US: now */
};

/* Since when: of the interval that was asked for, which may have ended since. */
static enum status list_member(void *context, const struct attributed *member, struct error *error)
{
    (void)error;
    struct member_walk *walk = context;
    struct listing *listing = walk->listing;
    int64_t since_us = INT64_MIN;
    for (size_t i = 0; i < member->interval_count; i++) {
        const struct interval *interval = &member->intervals[i];
        bool is_asked_for = walk->at_us == INTERVAL_OPEN_US
                                ? interval->end_us == INTERVAL_OPEN_US
                                : interval->start_us <= walk->at_us && walk->at_us < interval->end_us;
        if (is_asked_for && interval->death == SEQUENCE_NEVER)
            since_us = interval->start_us;
    }
    listing_row_begin(listing);
    listing_string(listing, "mbi", member->mbi);
    listing_string(listing, "beneficiary", member->beneficiary);
    listing_instant(listing, "since", since_us);
    listing_switch(listing, "suppressed", member->suppressed);
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
               ? attribution_each(&listing->steps, aco.number, walk.at_us, list_member, &walk, error)
               : status;
}

int command_attribution_list(const struct invocation *invocation)
{
    static const char *const titles[] = {"MBI", "beneficiary", "since", "suppressed"};
    int64_t at_us;
    return option_at(invocation, &at_us) ? listing_run(invocation, titles, 4, fill_members) : EXIT_USAGE;
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
        return listing_pass_damage(listing, aco_each(listing->steps.txn, list_rosters_of, listing, error),
                                   error);
    struct aco aco;
    enum status status =
        aco_find(listing->steps.txn, slice_from_text(listing->invocation->arguments[0]), &aco, error);
    if (status != STATUS_OK)
        return status;
    return listing_pass_damage(listing, list_rosters_of(listing, &aco, error), error);
}

int command_attribution_status(const struct invocation *invocation)
{
    static const char *const titles[] = {"ACO", "roster", "as of", "applied", ">listed", ">new", ">left"};
    return listing_run(invocation, titles, 7, fill_rosters);
}
