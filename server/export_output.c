#include "server/export_output.h"

#include "codec/base/check.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"
#include "server/job_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define EXPORT_FLUSH_BYTES      ((uint64_t)1024 * 1024) /* that wait before their writing is started */
#define EXPORT_WRITE_SLICES_MAX 1024                    /* IOV_MAX of Linux */

enum status export_output_open(struct export_output *output, const char *dir, uint64_t job_id,
                               const char *uuid, const char *suffix, struct error *error)
{
    CHECK(output->fd < 0 && !output->path);
    struct buffer path = BUFFER_INIT;
    export_path(&path, dir, job_id, uuid, suffix);
    output->path = mem_strdup(buffer_text(&path));
    buffer_append_text(&path, JOB_FILE_PART_SUFFIX);
    output->part_path = mem_strdup(buffer_text(&path));
    buffer_release(&path);
    output->bytes = 0;
    output->flushed = 0;
    if (!failpoint_hit("export.file.open"))
        output->fd = open(output->part_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return output->fd >= 0 ? STATUS_OK : disk_open_failed(output->part_path, error);
}

enum status export_output_write(struct export_output *output, const struct iovec *slices, size_t count,
                                struct error *error)
{
    struct iovec left[EXPORT_WRITE_SLICES_MAX];
    CHECK(count <= EXPORT_WRITE_SLICES_MAX);
    memcpy(left, slices, count * sizeof *slices);
    struct iovec *at = left;
    while (count) {
        ssize_t written = -1;
        if (!failpoint_hit("export.file.write"))
            written = writev(output->fd, at, (int)count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return error_set_errno(error, "%s: cannot write", output->part_path);
        output->bytes += (uint64_t)written;
        while (count && (size_t)written >= at->iov_len) {
            written -= (ssize_t)at->iov_len;
            at++;
            count--;
        }
        if (count) {
            at->iov_base = (char *)at->iov_base + written;
            at->iov_len -= (size_t)written;
        }
    }
    return STATUS_OK;
}

enum status export_output_append(struct export_output *output, struct slice data, struct error *error)
{
    if (data.size == 0)
        return STATUS_OK;
    struct iovec slice = {(void *)(uintptr_t)data.data, data.size};
    return export_output_write(output, &slice, 1, error);
}

void export_output_flush(struct export_output *output, bool all)
{
    if (output->bytes - output->flushed < (all ? 1 : EXPORT_FLUSH_BYTES))
        return;
    /* A hint: what it cannot do the sync will do, and report. */
    (void)sync_file_range(output->fd, (off_t)output->flushed, (off_t)(output->bytes - output->flushed),
                          SYNC_FILE_RANGE_WRITE);
    output->flushed = output->bytes;
}

enum status export_output_sync(struct export_output *output, struct error *error)
{
    if (failpoint_hit("export.file.fsync") || fsync(output->fd) != 0)
        return error_set_errno(error, "%s: cannot sync", output->part_path);
    return STATUS_OK;
}

enum status export_output_publish(struct export_output *output, struct error *error)
{
    if (!output->part_path)
        return STATUS_OK;
    if (failpoint_hit("export.file.rename") || rename(output->part_path, output->path) != 0)
        return error_set_errno(error, "%s: cannot rename", output->part_path);
    mem_free(output->part_path);
    output->part_path = NULL;
    return STATUS_OK;
}

void export_output_release(struct export_output *output)
{
    if (output->fd >= 0) {
        if (output->part_path)
            unlink(output->part_path);
        close(output->fd);
    }
    mem_free(output->path);
    mem_free(output->part_path);
    *output = (struct export_output)EXPORT_OUTPUT_INIT;
}
