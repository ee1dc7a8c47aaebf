#include "codec/base/bytes.h"
#include "codec/base/mem.h"
#include "storage/control.h"
#include "storage/frame.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct link {
    struct store *store;
    struct writer *writer; /* NULL: a server executes */
    struct sockaddr_un address;
    pthread_mutex_t lock; /* guards idle */
    int idle[CONTROL_CONNECTIONS_MAX];
    size_t idle_count;
};

static enum status link_connect(struct link *link, int *ret_fd, struct error *error)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(error, "no socket");
    if (connect(fd, (struct sockaddr *)&link->address, sizeof link->address) != 0) {
        int number = errno;
        close(fd);
        if (number == ENOENT || number == ECONNREFUSED)
            return error_set(
                error, STATUS_BUSY,
                "another process writes this data directory and takes no commands: another sluicectl, or "
                "a sluiced that is starting or stopping; try again");
        errno = number;
        return error_set_errno(error, "%s: cannot connect", link->address.sun_path);
    }
    *ret_fd = fd;
    return STATUS_OK;
}

enum status link_open(const char *dir, const struct store_options *options, struct link **ret_link,
                      struct error *error)
{
    struct link *link = mem_new(struct link);
    pthread_mutex_init(&link->lock, NULL);
    enum status status = store_open(dir, STORE_ACCESS_WRITE, options, &link->store, error);
    if (status == STATUS_OK) {
        status = writer_start(link->store, &link->writer, error);
    } else if (status == STATUS_BUSY) {
        int fd = -1;
        status = frame_address(dir, &link->address, error);
        if (status == STATUS_OK)
            status = link_connect(link, &fd, error);
        if (status == STATUS_OK) {
            link->idle[link->idle_count++] = fd;
            status = store_open(dir, STORE_ACCESS_READ, options, &link->store, error);
        }
    }
    if (status != STATUS_OK) {
        link_close(link);
        return status;
    }
    *ret_link = link;
    return STATUS_OK;
}

void link_close(struct link *link)
{
    if (!link)
        return;
    writer_stop(link->writer);
    store_close(link->store);
    for (size_t i = 0; i < link->idle_count; i++)
        close(link->idle[i]);
    pthread_mutex_destroy(&link->lock);
    mem_free(link);
}

struct store *link_store(struct link *link)
{
    return link->store;
}

bool link_is_remote(const struct link *link)
{
    return link->writer == NULL;
}

static enum status link_borrow(struct link *link, int *ret_fd, struct error *error)
{
    pthread_mutex_lock(&link->lock);
    int fd = link->idle_count ? link->idle[--link->idle_count] : -1;
    pthread_mutex_unlock(&link->lock);
    if (fd < 0)
        return link_connect(link, ret_fd, error);
    *ret_fd = fd;
    return STATUS_OK;
}

static void link_return(struct link *link, int fd)
{
    pthread_mutex_lock(&link->lock);
    bool fits = link->idle_count < CONTROL_CONNECTIONS_MAX;
    if (fits)
        link->idle[link->idle_count++] = fd;
    pthread_mutex_unlock(&link->lock);
    if (!fits)
        close(fd);
}

/* STATUS_NOT_FOUND of frame_read: closed between two frames. */
static enum status closed_is_an_error(enum status status, struct error *error)
{
    return status == STATUS_NOT_FOUND ? error_set(error, STATUS_IO, "the server closed the control socket")
                                      : status;
}

static enum status remote_call(int fd, uint32_t command, struct slice payload, struct buffer *reply,
                               enum status *ret_result, struct error *error)
{
    char head[12];
    store_u32_le(head, CONTROL_MAGIC);
    store_u32_le(head + 4, command);
    store_u32_le(head + 8, (uint32_t)payload.size);
    enum status status = frame_write(fd, slice_make(head, sizeof head), error);
    if (status == STATUS_OK)
        status = frame_write(fd, payload, error);
    if (status == STATUS_OK)
        status = closed_is_an_error(frame_read(fd, head, 8, error), error);
    if (status != STATUS_OK)
        return status;
    uint32_t result = load_u32_le(head), size = load_u32_le(head + 4);
    if (result >= STATUS_COUNT || size > CONTROL_PAYLOAD_BYTES_MAX)
        return error_set(error, STATUS_INTERNAL,
                         "the server's answer is malformed: tool and server do not match");
    size_t before = reply->size;
    if (size)
        status = closed_is_an_error(frame_read(fd, buffer_extend(reply, size), size, error), error);
    if (status != STATUS_OK)
        return status;
    *ret_result = (enum status)result;
    if (result != STATUS_OK) {
        error_set(error, (enum status)result, "%.*s", (int)size, reply->data ? reply->data + before : "");
        reply->size = before;
    }
    return STATUS_OK;
}

enum status link_call(struct link *link, uint32_t command, struct slice payload, struct buffer *reply,
                      struct error *error)
{
    if (payload.size > CONTROL_PAYLOAD_BYTES_MAX)
        return error_set(error, STATUS_TOO_LARGE, "a command of %zu bytes; %zu at most", payload.size,
                         CONTROL_PAYLOAD_BYTES_MAX);
    if (link->writer)
        return control_execute(link->writer, NULL, command, payload, reply, error);
    int fd;
    enum status result = STATUS_OK;
    enum status status = link_borrow(link, &fd, error);
    if (status != STATUS_OK)
        return status;
    status = remote_call(fd, command, payload, reply, &result, error);
    if (status != STATUS_OK) {
        close(fd);
        return status;
    }
    link_return(link, fd);
    return result;
}
