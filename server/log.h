/*
 * The log: one JSON object a line on standard error. Keys: time, level, event, then the event's own. No
 * token, secret, MBI, beneficiary id, name, query or body ever stands in it.
 *
 * Nobody waits for whoever reads the log: while a pipe, a terminal or a socket takes nothing, lines are left
 * out, and the first one that gets through again comes after a `log_lines_lost` with their count.
 *
 * A thread that writes many lines may gather them (log_gather): then up to LOG_BATCH_BYTES of them are one
 * write, or what a pipe takes at once where standard error is no file. Warnings and errors are never kept
 * back, nor any line before them.
 *
 * Threading: any thread; a line, or what a thread has gathered, is one write.
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include "codec/base/buffer.h"

#include <stdint.h>

#define LOG_STRING_BYTES_MAX 1024 /* of one value; the rest is cut */
#define LOG_BATCH_BYTES      ((size_t)32 * 1024)

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* "debug", "info", "warning", "error". */
bool log_level_parse(const char *name, enum log_level *ret_level);
/* Lines below it are not written; info until it is called. */
void log_set_level(enum log_level level);

/* A line is built on the caller's stack and written by log_end. */
struct log_line {
    struct buffer text;
    enum log_level level;
    bool wanted;
};
struct log_line log_begin(enum log_level level, const char *event);
void log_text(struct log_line *line, const char *key, const char *value);
void log_string(struct log_line *line, const char *key, struct slice value); /* made valid, bounded */
void log_number(struct log_line *line, const char *key, int64_t value);
void log_end(struct log_line *line);

/* From now on the calling thread gathers its lines below a warning. `begun` is called when the first is kept:
 * before the thread sleeps it must call log_flush. */
void log_gather(void (*begun)(void *context), void *context);
/* Writes what the calling thread has gathered. */
void log_flush(void);
/* Flushes, and gathers no longer. Before the thread ends. */
void log_gather_end(void);

/* One event with a text, for the simple cases. */
void log_event(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
