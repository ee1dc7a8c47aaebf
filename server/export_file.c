#include "server/export_file.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/documents.h"
#include "codec/instant.h"
#include "server/export_deletions.h"
#include "server/export_output.h"
#include "server/job_files.h"
#include "storage/resources.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define EXPORT_WRITE_BYTES ((size_t)1024 * 1024) /* that gather before they are written */
#define INDEX_PIECE_BYTES  ((size_t)64 * 1024)   /* that are copied at once */

struct export_file {
    const char *dir;
    const struct job *job;
    const struct job_file *plan;
    struct encoder *encoder; /* until it has ended */
    int64_t since_us;        /* lower bound for the encoder: INSTANT_MIN_US is none */
    struct export_output data;
    struct export_output index; /* its begin, while the file grows: never gets a name */
    size_t index_bytes_max;
    struct export_output error_lines;
    struct export_output *kept[2]; /* of these, once the file has ended, those that get a name */
    size_t kept_count;
    struct export_feed *feed; /* NULL: nobody may follow */
    struct buffer errors;     /* lines */
    uint64_t error_count;
    struct buffer next; /* the beneficiary to go on with, */
    bool is_listed;     /* or rather those */
    struct slice list;  /* that are left of the plan's list */
    uint64_t walked_bytes;
    struct deletion_lines *deletions; /* of a file of deletions; else NULL */
    bool begun;
};

struct export_file *export_file_new(const char *dir, const struct job *job, size_t file_index,
                                    const struct export_plan *plan, struct encoder *encoder,
                                    size_t index_bytes_max)
{
    struct export_file *file = mem_new(struct export_file);
    file->dir = dir;
    file->job = job;
    file->plan = &job->files[file_index];
    file->encoder = encoder;
    file->index_bytes_max = index_bytes_max;
    file->since_us = file->plan->set == JOB_SET_NEW ? INSTANT_MIN_US : job->since_us;
    file->data = (struct export_output)EXPORT_OUTPUT_INIT;
    file->index = (struct export_output)EXPORT_OUTPUT_INIT;
    file->error_lines = (struct export_output)EXPORT_OUTPUT_INIT;
    if (file->plan->set == JOB_SET_DELETED)
        file->deletions = deletion_lines_new();
    buffer_append_slice(&file->next, file->plan->first);
    file->is_listed = plan && export_plan_list(plan, file_index, &file->list);
    return file;
}

void export_file_free(struct export_file *file)
{
    if (!file)
        return;
    if (file->feed)
        export_feed_end(file->feed, EXPORT_FEED_BROKEN);
    export_feed_unref(file->feed);
    export_output_release(&file->data);
    export_output_release(&file->index);
    export_output_release(&file->error_lines);
    deletion_lines_free(file->deletions);
    buffer_release(&file->errors);
    buffer_release(&file->next);
    mem_free(file);
}

uint64_t export_file_walked_bytes(const struct export_file *file)
{
    return file->walked_bytes;
}

struct export_feed *export_file_feed(const struct export_file *file)
{
    return file->feed;
}

/* ---- what cannot be read ---- */

static void outcome_line(struct buffer *target, const char *severity, const char *issue_code,
                         const char *class, const char *text)
{
    document_outcome(target, severity, issue_code, class, text);
    buffer_append_char(target, '\n');
}

/* "Patient resources" */
static const char *what_it_holds(const struct export_file *file, char text[64])
{
    if (file->deletions)
        return "deletions";
    snprintf(text, 64, "%s resources", resource_type_name(file->plan->type));
    return text;
}

/* `beneficiary` NULL: a row that should have named one. An id is the ACO's own, in the ACO's own file. */
static void note_damage(struct export_file *file, const struct slice *beneficiary)
{
    if (file->error_count++ >= EXPORT_FILE_ERRORS_MAX)
        return;
    char held[64];
    const char *what = what_it_holds(file, held);
    struct buffer text = BUFFER_INIT;
    if (beneficiary)
        buffer_appendf(&text,
                       "Some %s of beneficiary %.*s cannot be read from storage and are missing "
                       "from this export.",
                       what, SLICE_PRINT(*beneficiary));
    else
        buffer_appendf(&text,
                       "One beneficiary's entry cannot be read from storage; its %s are missing "
                       "from this export.",
                       what);
    outcome_line(&file->errors, "error", "exception", "Internal Error", buffer_text(&text));
    buffer_release(&text);
}

static void note_how_many_more(struct export_file *file)
{
    if (file->error_count <= EXPORT_FILE_ERRORS_MAX)
        return;
    char text[160], held[64];
    snprintf(text, sizeof text, "%" PRIu64 " more parts of the %s cannot be read from storage.",
             file->error_count - EXPORT_FILE_ERRORS_MAX, what_it_holds(file, held));
    outcome_line(&file->errors, "error", "exception", "Internal Error", text);
}

/* ---- writing ---- */

static enum status open_index(struct export_file *file, struct error *error)
{
    export_output_release(&file->index); /* of a try that failed */
    return export_output_open(&file->index, file->dir, file->job->id, file->plan->uuid, JOB_FILE_INDEX_SUFFIX,
                              error);
}

static enum status begin(struct export_file *file, struct error *error)
{
    bool is_followed = file->job->partial_manifests;
    enum status status =
        export_output_open(&file->data, file->dir, file->job->id, file->plan->uuid, JOB_FILE_SUFFIX, error);
    if (status == STATUS_OK && is_followed)
        status = open_index(file, error);
    if (status == STATUS_BUSY) {
        export_output_release(&file->data);
        export_output_release(&file->index);
        return status;
    }
    if (status == STATUS_OK && is_followed)
        file->feed = export_feed_new(file->data.fd, file->index.fd);
    encoder_begin(file->encoder);
    file->begun = status == STATUS_OK;
    return status;
}

/* Out of memory into its own file. Where descriptors are short it goes on to gather. */
static enum status write_index(struct export_file *file, struct error *error)
{
    enum status status = file->index.fd >= 0 ? STATUS_OK : open_index(file, error);
    if (status == STATUS_BUSY)
        return STATUS_OK;
    if (status == STATUS_OK)
        status = export_output_append(&file->index, encoder_index(file->encoder), error);
    encoder_clear_index(file->encoder);
    return status;
}

/* Behind the gzip bytes: what went into its own file, and what is in memory. */
static enum status append_index(struct export_file *file, struct error *error)
{
    enum status status = STATUS_OK;
    struct buffer piece = BUFFER_INIT;
    for (uint64_t at = 0; status == STATUS_OK && at < file->index.bytes; at += piece.size) {
        buffer_reset(&piece);
        ssize_t got;
        do {
            char *room = buffer_reserve(&piece, INDEX_PIECE_BYTES);
            got = pread(file->index.fd, room, INDEX_PIECE_BYTES, (off_t)at);
        } while (got < 0 && errno == EINTR);
        if (got < 0)
            status = error_set_errno(error, "%s: cannot read", file->index.part_path);
        else if (got == 0)
            status = error_set(error, STATUS_IO, "%s: is shorter than it was", file->index.part_path);
        else
            piece.size = (size_t)got;
        if (status == STATUS_OK)
            status = export_output_append(&file->data, buffer_slice(&piece), error);
    }
    buffer_release(&piece);
    return status == STATUS_OK ? export_output_append(&file->data, encoder_index(file->encoder), error)
                               : status;
}

/* The slices borrow from the read transaction: out with them before it ends. */
static enum status write_output(struct export_file *file, struct error *error)
{
    size_t count, bytes;
    const struct iovec *slices = encoder_output(file->encoder, &count, &bytes);
    enum status status = count ? export_output_write(&file->data, slices, count, error) : STATUS_OK;
    encoder_clear_output(file->encoder);
    if (status == STATUS_OK) /* within the slice, so that the disk writes while the next bytes are gathered */
        export_output_flush(&file->data, false);
    if (status == STATUS_OK && file->feed)
        status = write_index(file, error);
    if (status == STATUS_OK && file->feed)
        export_feed_publish(file->feed, file->data.bytes, file->index.bytes);
    return status;
}

static bool output_is_due(const struct encoder *encoder)
{
    size_t count, bytes;
    encoder_output(encoder, &count, &bytes);
    return bytes >= EXPORT_WRITE_BYTES || encoder_output_is_full(encoder);
}

/* ---- walking ---- */

static enum status write_beneficiary(struct export_file *file, struct segment_scan *segments,
                                     const struct exportable *exportable, struct error *error)
{
    segment_scan_seek(segments, exportable->home, exportable->beneficiary,
                      file->since_us == INSTANT_MIN_US ? INT64_MIN : file->since_us);
    for (struct stored_segment stored;;) {
        enum status status = segment_scan_next(segments, &stored, error);
        if (status == STATUS_NOT_FOUND)
            return STATUS_OK;
        if (status == STATUS_OK) {
            file->walked_bytes += stored.segment.raw_bytes;
            status = encoder_segment(file->encoder, &stored.segment, file->since_us,
                                     file->job->transaction_time_us, error);
        }
        if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED) {
            note_damage(file, &exportable->beneficiary);
            continue;
        }
        if (status == STATUS_OK && output_is_due(file->encoder))
            status = write_output(file, error);
        if (status != STATUS_OK)
            return status;
    }
}

/* Gives the encoder the lines that wait. */
static enum status write_lines(struct export_file *file, struct error *error)
{
    uint64_t count;
    struct slice lines = deletion_lines_waiting(file->deletions, &count);
    if (lines.size == 0)
        return STATUS_OK;
    encoder_lines(file->encoder, lines, count);
    deletion_lines_clear(file->deletions);
    return output_is_due(file->encoder) ? write_output(file, error) : STATUS_OK;
}

static enum status write_deletions(struct export_file *file, struct deletion_scan *deletions,
                                   const struct exportable *exportable, struct error *error)
{
    deletion_scan_seek(deletions, exportable->beneficiary, file->since_us);
    for (struct deletion deletion;;) {
        uint64_t count;
        enum status status = deletion_scan_next(deletions, &deletion, error);
        if (status == STATUS_NOT_FOUND)
            return STATUS_OK;
        if (status == STATUS_CORRUPT) {
            note_damage(file, &exportable->beneficiary);
            continue;
        }
        if (status != STATUS_OK)
            return status;
        if (!job_has_type(file->job, deletion.type) || deletion.stamp_us > file->job->transaction_time_us)
            continue;
        file->walked_bytes += DELETION_PLANNED_BYTES;
        deletion_lines_add(file->deletions, &deletion);
        if (deletion_lines_waiting(file->deletions, &count).size >= DELETION_PIECE_BYTES)
            status = write_lines(file, error);
        if (status != STATUS_OK)
            return status;
    }
}

static bool has_nothing(struct export_file *file, struct summary_scan *summaries,
                        const struct exportable *exportable)
{
    /* Only worth a look where a bound leaves most beneficiaries out, and the plan has not done so. */
    struct summary summary;
    if (file->since_us == INSTANT_MIN_US || file->is_listed)
        return false;
    enum status status =
        summary_scan_get(summaries, exportable->home, exportable->beneficiary, &summary, NULL);
    return status == STATUS_NOT_FOUND ||
           (status == STATUS_OK && summary.of[file->plan->type].newest_us <= file->since_us);
}

/* What a slice reads by. */
struct export_scans {
    struct exportable_scan *beneficiaries;
    struct summary_scan *summaries;
    struct segment_scan *segments;   /* or */
    struct deletion_scan *deletions; /* of a file of deletions */
};

static enum status walk_beneficiary(struct export_file *file, const struct export_scans *scans,
                                    const struct exportable *exportable, struct error *error)
{
    if (!job_set_takes(file->job, file->plan->set, exportable->at_since))
        return STATUS_OK;
    if (file->deletions)
        return write_deletions(file, scans->deletions, exportable, error);
    return has_nothing(file, scans->summaries, exportable)
               ? STATUS_OK
               : write_beneficiary(file, scans->segments, exportable, error);
}

/* Of the list, if there is one: what is not on it has nothing for this file, in the view that the plan had.
 */
static enum status next_beneficiary(struct export_file *file, struct exportable_scan *scan,
                                    struct exportable *ret_exportable, struct error *error)
{
    struct slice listed;
    if (!file->is_listed)
        return exportable_scan_next(scan, ret_exportable, error);
    while (export_plan_list_take(&file->list, &listed)) {
        exportable_scan_seek(scan, listed);
        enum status status = exportable_scan_next(scan, ret_exportable, error);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
        if (status == STATUS_OK && slice_equal(ret_exportable->beneficiary, listed))
            return STATUS_OK;
    }
    return STATUS_NOT_FOUND;
}

static enum status walk(struct export_file *file, const struct export_scans *scans, int64_t deadline_us,
                        bool *ret_done, struct error *error)
{
    struct exportable_scan *beneficiaries = scans->beneficiaries;
    exportable_scan_seek(beneficiaries, buffer_slice(&file->next));
    for (bool first = true;; first = false) {
        struct exportable exportable;
        struct slice list = file->list;
        enum status status = next_beneficiary(file, beneficiaries, &exportable, error);
        if (status == STATUS_CORRUPT) {
            if (file->plan->set != JOB_SET_NEW) /* one of the two sets tells of it */
                note_damage(file, NULL);
            continue;
        }
        if (status == STATUS_NOT_FOUND || (status == STATUS_OK && file->plan->end.size &&
                                           slice_compare(exportable.beneficiary, file->plan->end) >= 0)) {
            *ret_done = true;
            return STATUS_OK;
        }
        if (status == STATUS_OK && !first && clock_monotonic_us() >= deadline_us) {
            buffer_reset(&file->next);
            buffer_append_slice(&file->next, exportable.beneficiary);
            file->list = list;
            return STATUS_OK;
        }
        if (status == STATUS_OK)
            status = walk_beneficiary(file, scans, &exportable, error);
        if (status != STATUS_OK)
            return status;
    }
}

enum status export_file_step(struct export_file *file, struct engine *engine, int64_t deadline_us,
                             bool *ret_done, struct error *error)
{
    bool done = false;
    struct engine_txn *txn = NULL;
    struct export_scans scans = {.beneficiaries = NULL};
    enum status status = engine_begin_read(engine, &txn, error);
    if (status != STATUS_OK)
        return status; /* nothing was done: may be tried again */
    if (!file->begun)
        status = begin(file, error);
    if (status == STATUS_BUSY) { /* still nothing was done */
        engine_end(txn);
        return status;
    }
    if (status == STATUS_OK)
        status = exportable_scan_open(txn, file->job->aco, file->job->sequence, file->job->since_us,
                                      &scans.beneficiaries, error);
    if (status == STATUS_OK)
        status = summary_scan_open(txn, &scans.summaries, error);
    if (status == STATUS_OK)
        status = file->deletions
                     ? deletion_scan_open(txn, file->job->sequence, &scans.deletions, error)
                     : segment_scan_open(txn, file->plan->type, file->job->sequence, &scans.segments, error);
    if (status == STATUS_OK)
        status = walk(file, &scans, deadline_us, &done, error);
    if (status == STATUS_OK && done && file->deletions) {
        deletion_lines_end(file->deletions);
        status = write_lines(file, error);
    }
    if (status == STATUS_OK)
        status = write_output(file, error);
    segment_scan_close(scans.segments);
    deletion_scan_close(scans.deletions);
    summary_scan_close(scans.summaries);
    exportable_scan_close(scans.beneficiaries);
    engine_end(txn);
    if (status == STATUS_OK && encoder_index(file->encoder).size >= file->index_bytes_max)
        status = write_index(file, error);
    if (status != STATUS_OK) {
        encoder_clear_output(file->encoder); /* it may borrow from what has just ended */
        return status == STATUS_BUSY ? STATUS_INTERNAL : status;
    }
    *ret_done = done;
    return STATUS_OK;
}

/* ---- the end ---- */

enum status export_file_end(struct export_file *file, struct export_file_result *ret_result,
                            struct error *error)
{
    enum status status = STATUS_OK;
    encoder_end(file->encoder);
    uint64_t count = encoder_count(file->encoder);
    /* Who followed an empty file gets its end too: a gzip file without content. */
    if (count || file->feed)
        status = write_output(file, error);
    encoder_clear_output(file->encoder);
    CHECK(status != STATUS_OK || !count || encoder_gzip_bytes(file->encoder) == file->data.bytes);
    if (status == STATUS_OK && count)
        status = append_index(file, error);
    encoder_clear_index(file->encoder);
    note_how_many_more(file);
    if (status == STATUS_OK && file->errors.size) {
        status = export_output_open(&file->error_lines, file->dir, file->job->id, file->plan->uuid,
                                    JOB_FILE_ERRORS_SUFFIX, error);
        if (status == STATUS_OK)
            status = export_output_append(&file->error_lines, buffer_slice(&file->errors), error);
    }
    if (status != STATUS_OK)
        return status == STATUS_BUSY ? STATUS_IO : status; /* too late to begin again */
    if (count)
        file->kept[file->kept_count++] = &file->data;
    if (file->errors.size)
        file->kept[file->kept_count++] = &file->error_lines;
    *ret_result = (struct export_file_result){
        .count = count,
        .raw_bytes = encoder_raw_bytes(file->encoder),
        .gzip_bytes = encoder_gzip_bytes(file->encoder),
        .errors = file->error_count,
    };
    file->encoder = NULL;
    for (size_t i = 0; i < file->kept_count; i++)
        export_output_flush(file->kept[i], true);
    return STATUS_OK;
}

typedef enum status output_step(struct export_output *output, struct error *error);

static enum status each_kept(struct export_file *const files[], size_t count, output_step *step,
                             struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; status == STATUS_OK && k < files[i]->kept_count; k++)
            status = step(files[i]->kept[k], error);
    }
    return status;
}

/* In this order, so that a name never stands before its bytes. All are on their way to the disk before the
 * first is waited for, so they mostly share one commit of the filesystem's journal. */
enum status export_files_publish(struct export_file *const files[], size_t count, int folder_fd,
                                 struct error *error)
{
    size_t kept_count = 0;
    for (size_t i = 0; i < count; i++)
        kept_count += files[i]->kept_count;
    enum status status = each_kept(files, count, export_output_sync, error);
    if (status == STATUS_OK)
        status = each_kept(files, count, export_output_publish, error);
    if (status == STATUS_OK && kept_count)
        status = job_files_sync(folder_fd, files[0]->dir, error);
    return status;
}
