#include "codec/base/reader.h"
#include "storage/optout_source.h"
#include "tools/sluicectl/candidates.h"
#include "tools/sluicectl/listing.h"

#include <stdio.h>

/* ---- import ---- */

static bool is_optout_name(const char *name, int64_t *ret_at_us)
{
    char own[SUPPRESSION_FILE_NAME_MAX + 1];
    struct optout_name parsed;
    if (!optout_path_name(name, own, &parsed, NULL))
        return false;
    *ret_at_us = parsed.at_us;
    return true;
}

struct optout_outcome {
    uint64_t added, suppressed, lifted, unknown;
};

static enum status apply_part(struct link *link, const struct optout_file *file, struct slice part,
                              bool is_last, struct optout_outcome *outcome, struct error *error)
{
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    buffer_append_sized(&payload, slice_from_text(file->name));
    buffer_append_u32(&payload, (uint32_t)file->counts.day);
    buffer_append_u64(&payload, file->counts.content_hash);
    buffer_append_u64(&payload, file->counts.rows);
    buffer_append_u64(&payload, file->counts.preferences);
    buffer_append_u8(&payload, file->counts.has_trailer);
    buffer_append_u8(&payload, is_last);
    buffer_append_slice(&payload, part);
    enum status status = link_call(link, CONTROL_COMMAND_SUPPRESSION, buffer_slice(&payload), &reply, error);
    if (status == STATUS_OK) {
        struct reader reader = reader_make(buffer_slice(&reply));
        outcome->added += reader_u64(&reader);
        outcome->suppressed += reader_u64(&reader);
        outcome->lifted += reader_u64(&reader);
        outcome->unknown += reader_u64(&reader);
    }
    buffer_release(&payload);
    buffer_release(&reply);
    return status;
}

static void report_applied(struct file_report *report, const struct optout_file *file,
                           const struct optout_outcome *outcome)
{
    file_report_file(report, file->name, "applied");
    json_member_number(report->json, "rows", (int64_t)file->counts.rows);
    json_member_number(report->json, "preferences", (int64_t)file->counts.preferences);
    json_member_number(report->json, "added", (int64_t)outcome->added);
    json_member_number(report->json, "suppressed", (int64_t)outcome->suppressed);
    json_member_number(report->json, "lifted", (int64_t)outcome->lifted);
    json_member_number(report->json, "unknown", (int64_t)outcome->unknown);
    json_member_number(report->json, "foreign", (int64_t)file->counts.foreign);
    json_member_bool(report->json, "trailer", file->counts.has_trailer);
    json_object_end(report->json);
    if (!report->wants_json)
        printf("%s: %llu rows, %llu preferences (%llu of them new): %llu MBIs suppressed, %llu no longer "
               "(%llu without a Patient yet)\n",
               file->name, (unsigned long long)file->counts.rows,
               (unsigned long long)file->counts.preferences, (unsigned long long)outcome->added,
               (unsigned long long)outcome->suppressed, (unsigned long long)outcome->lifted,
               (unsigned long long)outcome->unknown);
    if (!file->counts.has_trailer)
        complain_text("%s: warning: it has no trailer, so nothing tells that it is complete", file->name);
    if (file->counts.foreign)
        complain_text("%s: warning: %llu rows name no MBI (a HICN, in files to 2019), and hide nobody",
                      file->name, (unsigned long long)file->counts.foreign);
}

static enum status apply_file(struct link *link, const char *path, struct file_report *report,
                              struct error *error)
{
    struct optout_file file;
    struct optout_outcome outcome = {0};
    enum status status = optout_file_load(path, &file, error);
    if (status != STATUS_OK)
        return status;
    size_t offset = 0;
    do {
        struct slice part = optout_file_part(&file, offset);
        offset += part.size;
        status = apply_part(link, &file, part, offset == file.rows.size, &outcome, error);
    } while (status == STATUS_OK && offset < file.rows.size);
    if (status == STATUS_OK)
        report_applied(report, &file, &outcome);
    else if (!strstr(error->text, file.name))
        error_prefix(error, "%s", path);
    optout_file_release(&file);
    return status;
}

static int apply_files(const struct invocation *invocation, const struct candidates *candidates)
{
    struct link *link = open_link(invocation);
    if (!link)
        return EXIT_FAILED;
    struct file_report report;
    file_report_begin(&report, invocation);
    for (size_t i = 0; i < candidates_count(candidates); i++) {
        struct error error;
        const char *path = candidates_at(candidates, i)->path;
        if (apply_file(link, path, &report, &error) != STATUS_OK)
            file_report_not_applied(&report, path, &error);
    }
    file_report_end(&report);
    link_close(link);
    return report.exit_status;
}

int command_suppression_import(const struct invocation *invocation)
{
    struct error error;
    struct candidates candidates;
    int exit_status;
    if (candidates_find(&candidates, invocation, is_optout_name, &error) != STATUS_OK)
        exit_status = complain(&error);
    else if (candidates_count(&candidates) == 0)
        exit_status = complain_text("no opt-out file found");
    else
        exit_status = apply_files(invocation, &candidates);
    candidates_end(&candidates, invocation);
    return exit_status;
}

/* ---- list ---- */

static void list_date(struct listing *listing, const char *key, int64_t us)
{
    char text[INSTANT_TEXT_SIZE];
    instant_text(us, text);
    if (us != INT64_MIN && us != INT64_MAX)
        text[sizeof "2020-01-01" - 1] = '\0';
    text_table_cell(&listing->table, "%s", text);
    json_key(listing->json, key);
    if (us != INT64_MIN && us != INT64_MAX)
        json_text(listing->json, text);
    else
        json_null(listing->json);
}

/* For a person without what all names begin with. */
static void list_file(struct listing *listing, struct slice name)
{
    static const char begin[] = "P#EFT.ON.ACO.NGD1800.DPRF.";
    size_t skipped = name.size > sizeof begin - 1 ? sizeof begin - 1 : 0;
    text_table_cell(&listing->table, "%.*s", SLICE_PRINT(slice_skip(name, skipped)));
    json_member_string(listing->json, "file", name);
}

static void list_mbi(struct listing *listing, const struct suppression_entry *entry)
{
    const struct suppression_state *state = &entry->state;
    listing_row_begin(listing);
    listing_string(listing, "mbi", entry->mbi);
    listing_string(listing, "beneficiary", mbi_row_beneficiary(&entry->row));
    listing_string(listing, "preference", slice_make(&state->preference, state->preference != ' '));
    list_date(listing, "effective", state->effective_us);
    json_member_bool(listing->json, "suppressed", state->suppressed);
    listing_instant(listing, "since", entry->since_us); /* none unless it is suppressed */
    list_date(listing, "changes", state->due_us);
    list_file(listing, state->file);
    listing_row_end(listing);
}

static enum status fill_suppression(struct listing *listing, struct error *error)
{
    uint32_t days;
    struct suppression_position position = {.size = 0};
    struct suppression_entry entry;
    enum status status = suppression_lookback(listing->steps.txn, &days, error);
    if (status != STATUS_OK)
        return status;
    json_member_number(listing->json, "lookbackDays", days);
    if (days)
        listing_line(listing, "an opt-out holds for %u days from its effective date on", days);
    else
        listing_line(listing, "an opt-out holds until it is taken back");
    listing_rows_begin(listing, "mbis");
    while ((status = read_steps_begin(&listing->steps, error)) == STATUS_OK &&
           (status = suppression_next(listing->steps.txn, &position, &entry, error)) == STATUS_OK) {
        list_mbi(listing, &entry);
        read_steps_rest(&listing->steps);
    }
    listing_rows_end(listing);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

int command_suppression_list(const struct invocation *invocation)
{
    static const char *const titles[] = {"MBI",     "beneficiary", "shares", "effective", "suppressed since",
                                         "changes", "file of"};
    return listing_run_object(invocation, titles, 7, fill_suppression);
}
