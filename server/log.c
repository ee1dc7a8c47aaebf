#include "server/log.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/instant.h"
#include "codec/utf8.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int log_level_least = LOG_LEVEL_INFO;

/* One at a time, so that what poll says still holds for the write behind it. */
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t output_lost; /* lines since the last that was written */
static bool output_is_cut;   /* within a line: the disk was full */

/* What a thread has gathered. */
struct log_batch {
    void (*begun)(void *context); /* NULL: it gathers nothing */
    void *context;
    struct buffer spare; /* the memory of the last line, for the next */
    size_t lines;
    size_t size;
    size_t size_max;
    char text[LOG_BATCH_BYTES];
};
static _Thread_local struct log_batch batch;

static const char *const log_level_names[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_ERROR] = "error",
};

void log_set_level(enum log_level level)
{
    __atomic_store_n(&log_level_least, (int)level, __ATOMIC_RELAXED);
}

bool log_level_parse(const char *name, enum log_level *ret_level)
{
    for (size_t i = 0; i < sizeof log_level_names / sizeof *log_level_names; i++)
        if (strcmp(name, log_level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    return false;
}

/* Whoever sends bytes that are no UTF-8, or line breaks, must not be able to end the line or the string. */
static void append_quoted(struct buffer *target, struct slice text)
{
    bool was_cut = text.size > LOG_STRING_BYTES_MAX;
    if (was_cut)
        text.size = LOG_STRING_BYTES_MAX;
    buffer_append_char(target, '"');
    while (text.size) {
        size_t valid = utf8_valid_size(text), plain = 0;
        for (size_t i = 0; i < valid; i++) {
            unsigned char c = (unsigned char)text.data[i];
            if (c != '"' && c != '\\' && c >= 0x20 && c != 0x7F)
                continue;
            buffer_append(target, text.data + plain, i - plain);
            plain = i + 1;
            if (c == '"' || c == '\\')
                buffer_appendf(target, "\\%c", c);
            else
                buffer_appendf(target, "\\u%04x", (unsigned)c);
        }
        buffer_append(target, text.data + plain, valid - plain);
        text = slice_skip(text, valid);
        if (text.size) {
            buffer_append_text(target, "\xEF\xBF\xBD"); /* U+FFFD */
            text = slice_skip(text, 1);
        }
    }
    buffer_append_text(target, was_cut ? "...\"" : "\"");
}

struct log_line log_begin(enum log_level level, const char *event)
{
    struct log_line line = {.text = BUFFER_INIT,
                            .level = level,
                            .wanted = (int)level >= __atomic_load_n(&log_level_least, __ATOMIC_RELAXED)};
    if (line.wanted) {
        char time[INSTANT_TEXT_SIZE];
        instant_format(clock_now_us(), time);
        line.text = batch.spare;
        buffer_init(&batch.spare);
        buffer_reserve(&line.text, 512);
        buffer_append_text(&line.text, "{\"time\":\"");
        buffer_append_text(&line.text, time);
        buffer_append_text(&line.text, "\",\"level\":\"");
        buffer_append_text(&line.text, log_level_names[level]);
        buffer_append_text(&line.text, "\",\"event\":\"");
        buffer_append_text(&line.text, event);
        buffer_append_char(&line.text, '"');
    }
    return line;
}

static void append_key(struct buffer *target, const char *key)
{
    buffer_append(target, ",\"", 2);
    buffer_append_text(target, key);
    buffer_append(target, "\":", 2);
}

void log_string(struct log_line *line, const char *key, struct slice value)
{
    if (!line->wanted)
        return;
    append_key(&line->text, key);
    append_quoted(&line->text, value);
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    log_string(line, key, slice_from_text(value));
}

void log_number(struct log_line *line, const char *key, int64_t value)
{
    if (!line->wanted)
        return;
    append_key(&line->text, key);
    if (value < 0)
        buffer_append_char(&line->text, '-');
    buffer_append_decimal(&line->text, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

/* False: it would have had to wait. A pipe that poll calls writable takes PIPE_BUF bytes at once, which is
 * more than a line has. One write, so that lines of several processes do not mix (POSIX: writes of at most
 * PIPE_BUF bytes to a pipe, and appends to a file, are not interleaved). */
static bool output_write(struct slice text)
{
    struct pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&output, 1, 0) != 1 || !(output.revents & POLLOUT))
        return false;
    while (text.size) {
        ssize_t written = write(STDERR_FILENO, text.data, text.size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        text = slice_skip(text, (size_t)written);
        output_is_cut = text.size > 0;
    }
    return true;
}

/* Under the lock. An error, so that no level leaves it out. */
static bool output_tell_lost(void)
{
    struct log_line line = log_begin(LOG_LEVEL_ERROR, "log_lines_lost");
    log_number(&line, "count", (int64_t)output_lost);
    buffer_append_text(&line.text, "}\n");
    bool is_told =
        (!output_is_cut || output_write(SLICE_LITERAL("\n"))) && output_write(buffer_slice(&line.text));
    buffer_release(&line.text);
    return is_told;
}

static void output_lines(struct slice text, size_t lines)
{
    pthread_mutex_lock(&output_lock);
    if (output_lost && output_tell_lost())
        output_lost = 0;
    if (output_lost || !output_write(text))
        output_lost += lines;
    pthread_mutex_unlock(&output_lock);
}

void log_flush(void)
{
    if (batch.lines)
        output_lines(slice_make(batch.text, batch.size), batch.lines);
    batch.lines = batch.size = 0;
}

void log_gather(void (*begun)(void *context), void *context)
{
    struct stat output;
    bool is_file = fstat(STDERR_FILENO, &output) == 0 && S_ISREG(output.st_mode);
    batch.size_max = is_file ? sizeof batch.text : PIPE_BUF;
    batch.begun = begun;
    batch.context = context;
}

void log_gather_end(void)
{
    log_flush();
    buffer_release(&batch.spare);
    batch.begun = NULL;
}

static void batch_add(struct slice text)
{
    if (text.size > batch.size_max - batch.size)
        log_flush();
    memcpy(batch.text + batch.size, text.data, text.size);
    batch.size += text.size;
    if (batch.lines++ == 0)
        batch.begun(batch.context);
}

void log_end(struct log_line *line)
{
    if (line->wanted) {
        buffer_append_text(&line->text, "}\n");
        struct slice text = buffer_slice(&line->text);
        if (batch.begun && line->level < LOG_LEVEL_WARNING && text.size <= batch.size_max) {
            batch_add(text);
            buffer_release(&batch.spare);
            batch.spare = line->text;
            buffer_init(&line->text);
            buffer_reset(&batch.spare);
        } else {
            log_flush();
            output_lines(text, 1);
        }
    }
    line->wanted = false;
    buffer_release(&line->text);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    struct log_line line = log_begin(level, event);
    if (line.wanted) {
        char text[LOG_STRING_BYTES_MAX + 1];
        va_list args;
        va_start(args, format);
        CHECK(vsnprintf(text, sizeof text, format, args) >= 0);
        va_end(args);
        log_text(&line, "text", text);
    }
    log_end(&line);
}
