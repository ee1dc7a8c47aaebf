#include "tools/backup/copy.h"

#include "codec/base/check.h"
#include "codec/base/failpoint.h"
#include "codec/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)64 * 1024)
#define READ_BYTES  ((size_t)1024 * 1024)

static EVP_MD_CTX *digest_new(void)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    CHECK(digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1);
    return digest;
}

static void digest_add(EVP_MD_CTX *digest, struct slice bytes)
{
    CHECK(EVP_DigestUpdate(digest, bytes.data, bytes.size) == 1);
}

static void digest_finish(EVP_MD_CTX *digest, char ret_digest[COPY_DIGEST_SIZE])
{
    unsigned char hash[32];
    CHECK(EVP_DigestFinal_ex(digest, hash, NULL) == 1);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(ret_digest + 2 * i, 3, "%02x", hash[i]);
}

void copy_digest(struct slice bytes, char ret_digest[COPY_DIGEST_SIZE])
{
    EVP_MD_CTX *digest = digest_new();
    digest_add(digest, bytes);
    digest_finish(digest, ret_digest);
    EVP_MD_CTX_free(digest);
}

uint64_t copy_disk_bytes(const struct stat *file)
{
    uint64_t size = (uint64_t)file->st_size, blocks = (uint64_t)file->st_blocks * 512;
    return blocks < size ? blocks : size; /* more blocks are reserved ones */
}

enum status copy_output_open(struct copy_output *output, const char *path, struct copy_progress *progress,
                             struct error *error)
{
    *output = COPY_OUTPUT_INIT;
    output->path = mem_strdup(path);
    output->progress = progress;
    output->digest = digest_new();
    output->fd = failpoint_hit("backup.file.open")
                     ? -1
                     : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return output->fd < 0 ? error_set_errno(error, "%s: cannot make", path) : STATUS_OK;
}

static bool is_zero(struct slice block)
{
    return block.data[0] == 0 && memcmp(block.data, block.data + 1, block.size - 1) == 0;
}

static enum status write_block(struct copy_output *output, struct slice block, struct error *error)
{
    while (block.size) {
        ssize_t put = -1;
        if (!failpoint_hit("backup.file.write"))
            put = pwrite(output->fd, block.data, block.size, (off_t)output->bytes);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return error_set_errno(error, "%s: cannot write", output->path);
        output->bytes += (uint64_t)put;
        block = slice_skip(block, (size_t)put);
    }
    return STATUS_OK;
}

/* Begins to write the window that is full, and waits for the one before it. Hints: what they cannot do the
 * sync at the end does, and reports. */
static void flush_window(struct copy_output *output)
{
    off_t before = (off_t)output->written, at = (off_t)output->flushed;
    (void)sync_file_range(output->fd, at, (off_t)(output->bytes - output->flushed), SYNC_FILE_RANGE_WRITE);
    if (at > before) {
        (void)sync_file_range(output->fd, before, at - before,
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                  SYNC_FILE_RANGE_WAIT_AFTER);
        (void)posix_fadvise(output->fd, before, at - before, POSIX_FADV_DONTNEED);
    }
    output->written = output->flushed;
    output->flushed = output->bytes;
}

enum status copy_output_write(struct copy_output *output, struct slice bytes, struct error *error)
{
    digest_add(output->digest, bytes);
    if (output->progress) {
        output->progress->done_bytes += bytes.size;
        if (output->progress->show)
            output->progress->show(output->progress->context, output->progress->done_bytes);
    }
    while (bytes.size) {
        struct slice block = slice_make(bytes.data, bytes.size < BLOCK_BYTES ? bytes.size : BLOCK_BYTES);
        enum status status = STATUS_OK;
        if (block.size == BLOCK_BYTES && is_zero(block))
            output->bytes += block.size;
        else
            status = write_block(output, block, error);
        if (status != STATUS_OK)
            return status;
        bytes = slice_skip(bytes, block.size);
    }
    if (output->bytes - output->flushed >= COPY_WINDOW_BYTES)
        flush_window(output);
    return STATUS_OK;
}

enum status copy_output_finish(struct copy_output *output, char ret_digest[COPY_DIGEST_SIZE],
                               struct error *error)
{
    if (failpoint_hit("backup.file.fsync") || ftruncate(output->fd, (off_t)output->bytes) != 0 ||
        fsync(output->fd) != 0)
        return error_set_errno(error, "%s: cannot sync", output->path);
    digest_finish(output->digest, ret_digest);
    return STATUS_OK;
}

void copy_output_release(struct copy_output *output)
{
    if (output->fd >= 0)
        close(output->fd);
    EVP_MD_CTX_free(output->digest);
    mem_free(output->path);
    *output = COPY_OUTPUT_INIT;
}

static enum status copy_bytes(int source, const char *path, struct copy_output *output, struct error *error)
{
    char *piece = mem_alloc_pages(READ_BYTES);
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        ssize_t got = failpoint_hit("backup.file.read") ? -1 : read(source, piece, READ_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = error_set_errno(error, "%s: cannot read", path);
        if (got <= 0)
            break;
        status = copy_output_write(output, slice_make(piece, (size_t)got), error);
    }
    mem_free(piece);
    return status;
}

enum status copy_file(const char *source, const char *target, struct copy_progress *progress,
                      char ret_digest[COPY_DIGEST_SIZE], uint64_t *ret_bytes, struct error *error)
{
    int fd = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && (errno == ENOENT || errno == ELOOP))
        return error_set(error, STATUS_NOT_FOUND, "%s: is not there", source);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", source);
    struct copy_output output = COPY_OUTPUT_INIT;
    enum status status = copy_output_open(&output, target, progress, error);
    if (status == STATUS_OK)
        status = copy_bytes(fd, source, &output, error);
    if (status == STATUS_OK)
        status = copy_output_finish(&output, ret_digest, error);
    if (status == STATUS_OK)
        *ret_bytes = output.bytes;
    copy_output_release(&output);
    close(fd);
    return status;
}
