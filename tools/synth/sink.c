#include "tools/synth/sink.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#define GZIP_LEVEL       6
#define GZIP_WINDOW_BITS (15 + 16) /* 16 asks for the gzip form */
#define GZIP_MEMORY      8
#define PACKED_BYTES     ((size_t)256 << 10)

struct sink_packer {
    z_stream stream;
    unsigned char packed[PACKED_BYTES];
};

enum status sink_open(struct sink *sink, const char *path, bool gzip, struct error *error)
{
    struct buffer name = BUFFER_INIT;
    buffer_append_text(&name, path);
    if (gzip)
        buffer_append_text(&name, ".gz");
    *sink = (struct sink)SINK_INIT;
    sink->path = mem_strdup(buffer_text(&name));
    buffer_release(&name);
    sink->fd = open(sink->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (sink->fd < 0)
        return error_set_errno(error, "cannot make %s", sink->path);
    if (gzip) {
        sink->packer = mem_new(struct sink_packer);
        int result = deflateInit2(&sink->packer->stream, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS,
                                  GZIP_MEMORY, Z_DEFAULT_STRATEGY);
        CHECK(result == Z_OK); /* it fails only without memory or by wrong parameters */
    }
    return STATUS_OK;
}

static enum status bytes_write(struct sink *sink, const void *data, size_t size, struct error *error)
{
    const char *at = data;
    while (size) {
        ssize_t written = write(sink->fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return error_set_errno(error, "cannot write %s", sink->path);
        at += written;
        size -= (size_t)written;
    }
    return STATUS_OK;
}

static enum status buffer_pack(struct sink *sink, int flush, struct error *error)
{
    z_stream *stream = &sink->packer->stream;
    CHECK(sink->buffer.size <= UINT32_MAX);
    stream->next_in = (unsigned char *)sink->buffer.data;
    stream->avail_in = (uInt)sink->buffer.size;
    do {
        stream->next_out = sink->packer->packed;
        stream->avail_out = PACKED_BYTES;
        int result = deflate(stream, flush);
        CHECK(result != Z_STREAM_ERROR);
        enum status status = bytes_write(sink, sink->packer->packed, PACKED_BYTES - stream->avail_out, error);
        if (status)
            return status;
    } while (stream->avail_out == 0);
    return STATUS_OK;
}

static enum status buffer_write(struct sink *sink, int flush, struct error *error)
{
    enum status status = sink->packer ? buffer_pack(sink, flush, error)
                                      : bytes_write(sink, sink->buffer.data, sink->buffer.size, error);
    if (status == STATUS_OK) {
        sink->line_bytes += sink->buffer.size;
        buffer_reset(&sink->buffer);
    }
    return status;
}

enum status sink_relieve(struct sink *sink, struct error *error)
{
    return sink->buffer.size < SINK_WRITE_BYTES ? STATUS_OK : buffer_write(sink, Z_NO_FLUSH, error);
}

enum status sink_finish(struct sink *sink, struct error *error)
{
    enum status status = buffer_write(sink, Z_FINISH, error);
    if (status)
        return status;
    int fd = sink->fd;
    sink->fd = -1;
    if (close(fd))
        return error_set_errno(error, "cannot write %s", sink->path);
    return STATUS_OK;
}

void sink_close(struct sink *sink)
{
    if (sink->fd >= 0)
        close(sink->fd);
    if (sink->packer)
        deflateEnd(&sink->packer->stream);
    mem_free(sink->packer);
    mem_free(sink->path);
    buffer_release(&sink->buffer);
    *sink = (struct sink)SINK_INIT;
}
