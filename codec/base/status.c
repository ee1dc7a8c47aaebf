#include "codec/base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum status error_setv(struct error *error, enum status status, const char *format, va_list args)
{
    if (error) {
        error->status = status;
        vsnprintf(error->text, sizeof error->text, format, args);
    }
    return status;
}

enum status error_set(struct error *error, enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_setv(error, status, format, args);
    va_end(args);
    return status;
}

enum status error_set_errno(struct error *error, const char *format, ...)
{
    int number = errno;
    enum status status = number == ENOSPC || number == EDQUOT ? STATUS_NO_SPACE : STATUS_IO;
    if (error) {
        va_list args;
        va_start(args, format);
        error_setv(error, status, format, args);
        va_end(args);
        size_t used = strlen(error->text);
        char text[128];
        snprintf(error->text + used, sizeof error->text - used, ": %s",
                 strerror_r(number, text, sizeof text));
    }
    return status;
}

void error_prefix(struct error *error, const char *format, ...)
{
    if (!error)
        return;
    char old[ERROR_TEXT_MAX];
    memcpy(old, error->text, sizeof old);
    va_list args;
    va_start(args, format);
    error_setv(error, error->status, format, args);
    va_end(args);
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof error->text - used, ": %s", old);
}

const char *status_name(enum status status)
{
    static const char *const names[STATUS_COUNT] = {
        [STATUS_OK] = "ok",
        [STATUS_INVALID] = "invalid",
        [STATUS_UNSUPPORTED] = "unsupported",
        [STATUS_NOT_FOUND] = "not found",
        [STATUS_EXISTS] = "exists",
        [STATUS_CONFLICT] = "conflict",
        [STATUS_STALE] = "stale",
        [STATUS_TOO_LARGE] = "too large",
        [STATUS_DENIED] = "denied",
        [STATUS_BUSY] = "busy",
        [STATUS_CANCELLED] = "cancelled",
        [STATUS_CORRUPT] = "corrupt",
        [STATUS_NO_SPACE] = "no space",
        [STATUS_IO] = "input/output error",
        [STATUS_INTERNAL] = "internal error",
    };
    return (unsigned)status < STATUS_COUNT ? names[status] : "unknown status";
}
