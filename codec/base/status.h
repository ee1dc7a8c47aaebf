/*
 * Status codes and error details: how every fallible function of the project reports.
 *
 * A fallible function returns `enum status` and hands results out through pointers, which it leaves
 * untouched when it fails. Detail for a person goes into an optional `struct error *` (NULL is allowed
 * everywhere). The text never holds a token, a secret or a beneficiary's data other than ids that the
 * reader of the message brought himself.
 *
 * Threading: plain values; no shared state.
 */
#ifndef CODEC_BASE_STATUS_H
#define CODEC_BASE_STATUS_H

#include <stdarg.h>

#define NODISCARD                              __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_index) __attribute__((format(printf, format_index, first_index)))

enum status {
    STATUS_OK = 0,
    STATUS_INVALID,     /* the input is wrong; the text says what, where and what to do */
    STATUS_UNSUPPORTED, /* well-formed, but not something this build or version handles */
    STATUS_NOT_FOUND,
    STATUS_EXISTS,    /* it is there already, nothing was changed */
    STATUS_CONFLICT,  /* refused by a rule about what may exist together, e.g. one active job */
    STATUS_STALE,     /* the store moved on since the caller's snapshot: read again and retry */
    STATUS_TOO_LARGE, /* a named bound was exceeded */
    STATUS_DENIED,    /* wrong credentials, token or permission */
    STATUS_BUSY,      /* a queue or limit is full: retry later */
    STATUS_CANCELLED, /* the work was told to stop */
    STATUS_CORRUPT,   /* stored data fails its checksum or its structure; the text names the key */
    STATUS_NO_SPACE,  /* disk or map full */
    STATUS_IO,        /* the operating system failed a read, write or sync */
    STATUS_INTERNAL,  /* a dependency failed in a way that is not the input's fault */
    STATUS_COUNT
};

#define ERROR_TEXT_MAX 512

struct error {
    enum status status;
    char text[ERROR_TEXT_MAX]; /* one line, NUL-terminated, truncated if longer */
};

/* Fills `error` (if not NULL) and returns `status`, so that a failure reads `return error_set(...)`. */
enum status error_set(struct error *error, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);
enum status error_setv(struct error *error, enum status status, const char *format, va_list args)
    PRINTF_LIKE(3, 0);

/* As error_set, with ": <strerror(errno)>" appended; ENOSPC and EDQUOT become STATUS_NO_SPACE, the rest
 * STATUS_IO. Reads errno first. */
enum status error_set_errno(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts "<prefix>: " before the text that `error` holds; keeps its status. */
void error_prefix(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* A short lower-case name, e.g. "not found". Never NULL. */
const char *status_name(enum status status);

#endif
