/*
 * The log: one JSON object a line on standard error. Keys: time, level, event, then the event's own. No
 * token, secret, MBI, beneficiary id, name, query or body ever stands in it.
 *
 * Threading: any thread; a line is one write.
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include "codec/base/buffer.h"

#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

void log_set_level(enum log_level level);

/* A line is built on the caller's stack and written by log_end. */
struct log_line {
    struct buffer text;
    bool wanted;
};
struct log_line log_begin(enum log_level level, const char *event);
void log_text(struct log_line *line, const char *key, const char *value);
void log_string(struct log_line *line, const char *key, struct slice value); /* made valid, bounded to 1 KB */
void log_number(struct log_line *line, const char *key, int64_t value);
void log_end(struct log_line *line);

/* One event with a text, for the simple cases. */
void log_event(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
