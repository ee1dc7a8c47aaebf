#include "loadtest/credentials.h"

#include "codec/base/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static enum status file_read(const char *path, struct buffer *target, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, "cannot open the credentials %s", path);
    ssize_t got;
    enum status status = STATUS_OK;
    while ((got = read(fd, buffer_reserve(target, 65536), 65536)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = error_set_errno(error, "cannot read the credentials %s", path);
            break;
        }
        target->size += (size_t)got;
        if (target->size > CREDENTIALS_FILE_BYTES_MAX) {
            status = error_set(error, STATUS_TOO_LARGE, "the credentials %s are more than %zu bytes", path,
                               CREDENTIALS_FILE_BYTES_MAX);
            break;
        }
    }
    close(fd);
    return status;
}

static struct slice next_line(struct slice *rest, size_t *number)
{
    const char *end = memchr(rest->data, '\n', rest->size);
    struct slice line = {rest->data, end ? (size_t)(end - rest->data) : rest->size};
    *rest = slice_skip(*rest, line.size + (end != NULL));
    ++*number;
    while (line.size && (line.data[line.size - 1] == '\r' || line.data[line.size - 1] == ' '))
        line.size--;
    return line;
}

enum status credentials_read(const char *path, struct arena *arena, struct credential **ret_list,
                             size_t *ret_count, struct error *error)
{
    struct buffer text = BUFFER_INIT, list = BUFFER_INIT;
    enum status status = file_read(path, &text, error);
    struct slice rest = buffer_slice(&text);
    size_t number = 0;
    while (status == STATUS_OK && rest.size) {
        struct slice lines[3];
        lines[0] = next_line(&rest, &number);
        if (!lines[0].size)
            continue;
        for (size_t i = 1; i < 3; i++)
            lines[i] = rest.size ? next_line(&rest, &number) : (struct slice){NULL, 0};
        if (!lines[1].size || !lines[2].size || memchr(lines[1].data, ':', lines[1].size)) {
            status = error_set(error, STATUS_INVALID,
                               "%s:%zu: three lines belong together: name, client id, secret", path, number);
            break;
        }
        if (list.size / sizeof(struct credential) == CREDENTIALS_MAX) {
            status =
                error_set(error, STATUS_TOO_LARGE, "%s: more than %d credentials", path, CREDENTIALS_MAX);
            break;
        }
        struct credential credential = {arena_text(arena, lines[0]), arena_text(arena, lines[1]),
                                        arena_text(arena, lines[2])};
        buffer_append(&list, &credential, sizeof credential);
    }
    if (status == STATUS_OK && !list.size)
        status = error_set(error, STATUS_INVALID, "%s: no credentials", path);
    if (status == STATUS_OK) {
        *ret_count = list.size / sizeof(struct credential);
        *ret_list = arena_alloc(arena, list.size);
        memcpy(*ret_list, list.data, list.size);
    }
    if (text.size)
        explicit_bzero(text.data, text.size);
    buffer_release(&text);
    buffer_release(&list);
    return status;
}
