#include "codec/base/buffer.h"
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
    bool borrows;          /* store and writer */
    struct sockaddr_un address;
    pthread_mutex_t lock;    /* guards what follows */
    pthread_cond_t returned; /* a connection came back or ended */
    int idle[LINK_CONNECTIONS_MAX];
    size_t idle_count;
    size_t open_count; /* idle ones and borrowed ones */
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

struct link *link_new(struct store *store, struct writer *writer)
{
    struct link *link = mem_new(struct link);
    pthread_mutex_init(&link->lock, NULL);
    pthread_cond_init(&link->returned, NULL);
    link->store = store;
    link->writer = writer;
    link->borrows = true;
    return link;
}

enum status link_open(const char *dir, const struct store_options *options, struct link **ret_link,
                      struct error *error)
{
    struct link *link = link_new(NULL, NULL);
    link->borrows = false;
    enum status status = store_open(dir, STORE_ACCESS_WRITE, options, &link->store, error);
    if (status == STATUS_OK) {
        status = writer_start(link->store, &link->writer, error);
    } else if (status == STATUS_BUSY) {
        struct buffer nothing = BUFFER_INIT;
        status = frame_address(dir, &link->address, error);
        if (status == STATUS_OK) /* is somebody there, and is there room? */
            status = link_call(link, CONTROL_COMMAND_PING, (struct slice){0}, &nothing, error);
        if (status == STATUS_OK)
            status = store_open(dir, STORE_ACCESS_READ, options, &link->store, error);
        buffer_release(&nothing);
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
    if (!link->borrows) {
        writer_stop(link->writer);
        store_close(link->store);
    }
    for (size_t i = 0; i < link->idle_count; i++)
        close(link->idle[i]);
    pthread_cond_destroy(&link->returned);
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

/* A connection that is still good, or -1 for one that ended. */
static void link_return(struct link *link, int fd)
{
    pthread_mutex_lock(&link->lock);
    if (fd >= 0)
        link->idle[link->idle_count++] = fd;
    else
        link->open_count--;
    pthread_cond_signal(&link->returned);
    pthread_mutex_unlock(&link->lock);
}

static enum status link_borrow(struct link *link, int *ret_fd, struct error *error)
{
    pthread_mutex_lock(&link->lock);
    while (link->idle_count == 0 && link->open_count == LINK_CONNECTIONS_MAX)
        pthread_cond_wait(&link->returned, &link->lock);
    int fd = -1;
    if (link->idle_count)
        fd = link->idle[--link->idle_count];
    else
        link->open_count++;
    pthread_mutex_unlock(&link->lock);
    enum status status = fd < 0 ? link_connect(link, &fd, error) : STATUS_OK;
    if (status == STATUS_OK)
        *ret_fd = fd;
    else
        link_return(link, -1);
    return status;
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
    struct error write_error = {0};
    enum status write_status = frame_write(fd, slice_make(head, sizeof head), &write_error);
    if (write_status == STATUS_OK)
        write_status = frame_write(fd, payload, &write_error);
    /* A server that has no room says so and closes, without having read. */
    enum status status = closed_is_an_error(frame_read(fd, head, 8, error), error);
    if (status != STATUS_OK && write_status != STATUS_OK && error)
        *error = write_error;
    if (status != STATUS_OK)
        return write_status != STATUS_OK ? write_status : status;
    uint32_t result = load_u32_le(head), size = load_u32_le(head + 4);
    if (result >= STATUS_COUNT || size > CONTROL_PAYLOAD_BYTES_MAX)
        return error_set(error, STATUS_INTERNAL,
                         "the server's answer is malformed: tool and server do not match");
    size_t before = reply->size;
    if (size)
        status = closed_is_an_error(frame_read(fd, buffer_extend(reply, size), size, error), error);
    if (status != STATUS_OK) {
        reply->size = before;
        return status;
    }
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
    bool is_good = status == STATUS_OK && result != STATUS_BUSY;
    if (!is_good)
        close(fd);
    link_return(link, is_good ? fd : -1);
    return status != STATUS_OK ? status : result;
}
