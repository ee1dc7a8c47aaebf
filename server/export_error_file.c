#include "server/export_error_file.h"

#include "codec/documents.h"
#include "codec/encoder.h"
#include "server/export_output.h"
#include "server/job_files.h"
#include "server/kickoff.h"
#include "storage/accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ERRORS_FILE_BYTES_MAX ((size_t)4 * 1024 * 1024)   /* of one file's .errors */
#define ERROR_FILE_BYTES_MAX  ((size_t)256 * 1024 * 1024) /* raw, in all; what is beyond is left out */

struct error_file {
    struct export_output data;
    struct buffer index;
    struct deflater *deflater;
    struct gzip_splice splice;
    uint64_t count;
};

/* Appends the whole file to `target`; STATUS_NOT_FOUND if there is none. */
static enum status read_whole(const char *path, size_t bytes_max, struct buffer *target, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? STATUS_NOT_FOUND : disk_open_failed(path, error);
    size_t before = target->size;
    ssize_t got;
    do {
        char *room = buffer_reserve(target, 65536);
        got = read(fd, room, 65536);
        if (got > 0)
            target->size += (size_t)got;
    } while ((got > 0 && target->size - before < bytes_max) || (got < 0 && errno == EINTR));
    enum status status = got < 0 ? error_set_errno(error, "%s: cannot read", path) : STATUS_OK;
    close(fd);
    return status;
}

static enum status open_outputs(struct error_file *out, const char *dir, const struct job *job,
                                const char *uuid, struct error *error)
{
    char header[GZIP_HEADER_SIZE];
    enum status status = export_output_open(&out->data, dir, job->id, uuid, JOB_ERROR_SUFFIX, error);
    gzip_splice_begin(&out->splice, header);
    if (status == STATUS_OK)
        status = export_output_append(&out->data, slice_make(header, sizeof header), error);
    return status;
}

static enum status put_lines(struct error_file *out, const char *dir, const struct job *job, const char *uuid,
                             struct slice lines, struct error *error)
{
    enum status status = STATUS_OK;
    if (lines.size == 0 || out->splice.raw_bytes >= ERROR_FILE_BYTES_MAX)
        return STATUS_OK;
    if (out->data.fd < 0)
        status = open_outputs(out, dir, job, uuid, error);
    if (status != STATUS_OK)
        return status;
    struct buffer piece = BUFFER_INIT;
    deflater_piece(out->deflater, lines, &piece);
    encoder_index_entry_store(buffer_extend(&out->index, ENCODER_INDEX_ENTRY_SIZE),
                              &(struct encoder_index_entry){.gzip_offset = out->splice.gzip_bytes,
                                                            .raw_offset = out->splice.raw_bytes,
                                                            .piece_bytes = (uint32_t)piece.size,
                                                            .raw_bytes = (uint32_t)lines.size});
    gzip_splice_piece(&out->splice, piece.size, lines.size, crc32_of(0, lines), crc32_operator(lines.size));
    status = export_output_append(&out->data, buffer_slice(&piece), error);
    buffer_release(&piece);
    for (const char *at = lines.data, *end = lines.data + lines.size; at < end; at++)
        out->count += *at == '\n';
    return status;
}

static enum status put_errors_of_files(struct error_file *out, const char *dir, const struct job *job,
                                       const char *uuid, struct error *error)
{
    enum status status = STATUS_OK;
    struct buffer path = BUFFER_INIT, lines = BUFFER_INIT;
    for (size_t i = 0; status == STATUS_OK && i < job->file_count; i++) {
        buffer_reset(&path);
        buffer_reset(&lines);
        export_path(&path, dir, job->id, job->files[i].uuid, JOB_FILE_ERRORS_SUFFIX);
        status = read_whole(buffer_text(&path), ERRORS_FILE_BYTES_MAX, &lines, error);
        if (status == STATUS_NOT_FOUND)
            status = STATUS_OK;
        if (status == STATUS_OK)
            status = put_lines(out, dir, job, uuid, buffer_slice(&lines), error);
    }
    buffer_release(&path);
    buffer_release(&lines);
    return status;
}

/* One warning a name. */
static void warning_lines(struct slice names, struct buffer *target)
{
    while (names.size) {
        const char *end = memchr(names.data, '\n', names.size);
        size_t size = end ? (size_t)(end - names.data) : names.size;
        char text[KICKOFF_PROBLEM_MAX];
        kickoff_unsupported_text(slice_make(names.data, size), text);
        document_outcome(target, "warning", "not-supported", "Request Error", text);
        buffer_append_char(target, '\n');
        names = slice_skip(names, size + 1);
    }
}

static enum status publish(struct error_file *out, const char *dir, int folder_fd, struct error *error)
{
    char trailer[GZIP_TRAILER_SIZE];
    gzip_splice_end(&out->splice, trailer);
    enum status status = export_output_append(&out->data, slice_make(trailer, sizeof trailer), error);
    if (status == STATUS_OK)
        status = export_output_append(&out->data, buffer_slice(&out->index), error);
    if (status == STATUS_OK)
        status = export_output_sync(&out->data, error);
    if (status == STATUS_OK)
        status = export_output_publish(&out->data, error);
    return status == STATUS_OK ? job_files_sync(folder_fd, dir, error) : status;
}

enum status export_error_file_write(const char *dir, const struct job *job, int folder_fd,
                                    struct job_file *ret_file, struct error *error)
{
    struct error_file out = {.data = EXPORT_OUTPUT_INIT, .index = BUFFER_INIT};
    struct job_file file = {.set = JOB_SET_ERROR, .done = true};
    struct buffer warnings = BUFFER_INIT;
    uuid_make(file.uuid);
    out.deflater = deflater_new(DEFLATE_LEVEL_FAST);
    enum status status = put_errors_of_files(&out, dir, job, file.uuid, error);
    warning_lines(job->warnings, &warnings);
    if (status == STATUS_OK)
        status = put_lines(&out, dir, job, file.uuid, buffer_slice(&warnings), error);
    if (status == STATUS_OK && out.count)
        status = publish(&out, dir, folder_fd, error);
    if (status == STATUS_OK) {
        file.count = out.count;
        file.raw_bytes = out.splice.raw_bytes;
        file.gzip_bytes = out.count ? out.splice.gzip_bytes : 0;
        *ret_file = file;
    }
    buffer_release(&warnings);
    export_output_release(&out.data);
    buffer_release(&out.index);
    deflater_free(out.deflater);
    return status;
}
