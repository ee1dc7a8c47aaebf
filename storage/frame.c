#include "storage/frame.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum status frame_read(int fd, void *target, size_t size, struct error *error)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = recv(fd, (char *)target + done, size - done, 0);
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0) {
            if (done == 0)
                return STATUS_NOT_FOUND;
            return error_set(error, STATUS_IO, "the other end closed the control socket");
        } else if (errno != EINTR) {
            return error_set_errno(error, "the control socket cannot be read");
        }
    }
    return STATUS_OK;
}

enum status frame_write(int fd, struct slice data, struct error *error)
{
    while (data.size) {
        ssize_t put = send(fd, data.data, data.size, MSG_NOSIGNAL);
        if (put >= 0)
            data = slice_skip(data, (size_t)put);
        else if (errno != EINTR)
            return error_set_errno(error, "the control socket cannot be written");
    }
    return STATUS_OK;
}

enum status frame_address(const char *dir, struct sockaddr_un *ret_address, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int size = snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", dir);
    if (size < 0 || (size_t)size >= sizeof address.sun_path)
        return error_set(
            error, STATUS_TOO_LARGE,
            "%s: the path of the data directory is too long for a socket in it (%zu bytes at most)", dir,
            sizeof address.sun_path - sizeof "/control.sock");
    *ret_address = address;
    return STATUS_OK;
}
