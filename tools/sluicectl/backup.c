#include "tools/backup/backup.h"
#include "tools/backup/restore.h"
#include "tools/common/progress.h"
#include "tools/sluicectl/command.h"

#include <stdio.h>

static void show_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    progress_show(context, done_bytes, total_bytes > done_bytes ? total_bytes : 0, "");
}

/* ---- backup ---- */

static void print_backup(const struct invocation *invocation, const struct backup_counts *counts)
{
    char bytes[32], grown[32], instant[INSTANT_TEXT_SIZE];
    bytes_text(counts->bytes, bytes);
    bytes_text(counts->grown_bytes, grown);
    instant_text(counts->instant_us, instant);
    printf("%llu files, %s, as of the change at %s\n", (unsigned long long)counts->files, bytes, instant);
    if (is_quiet(invocation))
        return;
    if (counts->jobs_left_out)
        fprintf(stderr, "%llu jobs ended meanwhile or cannot be read: their files are left out\n",
                (unsigned long long)counts->jobs_left_out);
    if (counts->grown_bytes)
        fprintf(stderr, "the store grew by %s while it was copied, which took %.1f s\n", grown,
                (double)counts->snapshot_us / 1e6);
}

static void print_backup_json(const struct backup_counts *counts)
{
    struct buffer text = BUFFER_INIT;
    struct json_writer *json = json_writer_new(&text);
    json_object_begin(json);
    json_member_number(json, "files", (int64_t)counts->files);
    json_member_number(json, "bytes", (int64_t)counts->bytes);
    json_member_number(json, "sequence", (int64_t)counts->sequence);
    json_member_instant(json, "asOf", counts->instant_us ? counts->instant_us : INT64_MIN);
    json_member_number(json, "jobsLeftOut", (int64_t)counts->jobs_left_out);
    json_member_number(json, "snapshotMicroseconds", (int64_t)counts->snapshot_us);
    json_member_number(json, "grownBytes", (int64_t)counts->grown_bytes);
    json_object_end(json);
    json_writer_finish(json);
    json_writer_free(json);
    print_json(&text);
    buffer_release(&text);
}

int command_backup(const struct invocation *invocation)
{
    struct progress progress;
    struct backup_options options = {.dir = invocation->dir,
                                     .path = invocation->arguments[0],
                                     .without_job_files =
                                         invocation->options[OPTION_WITHOUT_JOB_FILES] != NULL,
                                     .context = &progress,
                                     .progress = show_progress};
    struct backup_counts counts;
    struct error error;
    progress_begin(&progress, "backup", is_quiet(invocation));
    enum status status = backup_run(&options, &counts, &error);
    progress_end(&progress);
    if (status != STATUS_OK)
        return complain(&error);
    if (wants_json(invocation))
        print_backup_json(&counts);
    else
        print_backup(invocation, &counts);
    return EXIT_DONE;
}

/* ---- restore ---- */

static void print_restore(const struct invocation *invocation, const struct restore_counts *counts)
{
    char bytes[32], instant[INSTANT_TEXT_SIZE];
    bytes_text(counts->bytes, bytes);
    instant_text(counts->instant_us, instant);
    printf("%llu files, %s, as of the change at %s\n", (unsigned long long)counts->files, bytes, instant);
    if (counts->jobs_cancelled)
        printf("%llu jobs whose files the backup does not have are cancelled\n",
               (unsigned long long)counts->jobs_cancelled);
    if (!is_quiet(invocation))
        fputs("What came later is not in it. Before the server starts, import again all that was imported "
              "since:\n"
              "claims, rosters, opt-outs. Revoke again the credentials that were revoked since.\n",
              stderr);
}

static void print_restore_json(const struct restore_counts *counts)
{
    struct buffer text = BUFFER_INIT;
    struct json_writer *json = json_writer_new(&text);
    json_object_begin(json);
    json_member_number(json, "files", (int64_t)counts->files);
    json_member_number(json, "bytes", (int64_t)counts->bytes);
    json_member_number(json, "sequence", (int64_t)counts->sequence);
    json_member_instant(json, "asOf", counts->instant_us ? counts->instant_us : INT64_MIN);
    json_member_instant(json, "restored", counts->restored_us);
    json_member_number(json, "jobsCancelled", (int64_t)counts->jobs_cancelled);
    json_object_end(json);
    json_writer_finish(json);
    json_writer_free(json);
    print_json(&text);
    buffer_release(&text);
}

int command_restore(const struct invocation *invocation)
{
    struct progress progress;
    struct restore_options options = {.dir = invocation->dir,
                                      .path = invocation->arguments[0],
                                      .context = &progress,
                                      .progress = show_progress};
    struct restore_counts counts;
    struct error error;
    progress_begin(&progress, "restore", is_quiet(invocation));
    enum status status = restore_run(&options, &counts, &error);
    progress_end(&progress);
    if (status != STATUS_OK)
        return complain(&error);
    if (wants_json(invocation))
        print_restore_json(&counts);
    else
        print_restore(invocation, &counts);
    return EXIT_DONE;
}
