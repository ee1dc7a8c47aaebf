#include "server/feed_body.h"

#include "codec/base/mem.h"
#include "server/file_window.h"

#include <stddef.h>

struct feed_body {
    struct body_source source; /* first member */
    struct file_reader reader;
    struct export_feed_waiter waiter;
    struct feed_body_options options;
    struct export_feed_view view; /* as last looked at */
    bool waits_for_more;          /* its waiter is with the feed, or the message in the mailbox */
    bool waiting;                 /* the last answer was BODY_PULL_WAIT */
    bool closed;                  /* while a message is in the mailbox: free when it is delivered */

    struct file_cursor cursor; /* of gzip only `file` and `at`: the next byte to hand out */

    /* Identity */
    struct buffer raw; /* inflated, handed out up to raw_given */
    size_t raw_given;
};

static void release_memory(struct feed_body *body)
{
    buffer_release(&body->cursor.file.data);
    buffer_release(&body->cursor.index.data);
    buffer_release(&body->raw);
    body->raw_given = 0;
}

static void body_free(struct feed_body *body)
{
    release_memory(body);
    inflater_free(body->cursor.inflater);
    export_feed_unref(body->options.feed);
    mem_free(body);
}

/* A message has come back. */
static void go_on(struct feed_body *body)
{
    if (body->closed)
        body_free(body);
    else if (body->waiting)
        body->options.ready(body->options.context);
}

static struct feed_body *body_of_task(struct io_task *task)
{
    return (struct feed_body *)((char *)task - offsetof(struct feed_body, reader.task));
}

static void finished_read(struct io_task *task)
{
    struct feed_body *body = body_of_task(task);
    body->reader.busy = false;
    go_on(body);
}

static void dropped(struct io_task *task)
{
    body_free(body_of_task(task));
}

static void deliver_more(struct message *message, void *receiver)
{
    struct feed_body *body =
        (struct feed_body *)((char *)message - offsetof(struct feed_body, waiter.message));
    (void)receiver;
    body->waits_for_more = false;
    go_on(body);
}

/* ---- what stands there ---- */

/* OK: *ret_chunk holds bytes, or is empty because all that was published has been handed out. */
static enum file_fill next_gzip(struct feed_body *body, size_t bytes_max, struct slice *ret_chunk)
{
    if (body->cursor.at == body->view.gzip_bytes)
        return FILE_FILL_OK;
    return file_cursor_take(&body->cursor, &body->reader, bytes_max, ret_chunk);
}

/* As next_gzip. */
static enum file_fill next_identity(struct feed_body *body, size_t bytes_max, struct slice *ret_chunk)
{
    if (body->raw_given == body->raw.size) {
        buffer_reset(&body->raw);
        body->raw_given = 0;
        while (body->cursor.index_at < body->view.index_bytes && body->raw.size < FILE_BODY_WINDOW_BYTES) {
            struct encoder_index_entry entry;
            enum file_fill result = file_cursor_peek(&body->cursor, &body->reader, &entry);
            if (result == FILE_FILL_OK)
                result = file_cursor_inflate(&body->cursor, &body->reader, &entry, &body->raw);
            if (result == FILE_FILL_WAIT && body->raw.size)
                break; /* what is there goes out meanwhile */
            if (result != FILE_FILL_OK)
                return result;
        }
    }
    size_t size = body->raw.size - body->raw_given;
    if (size > bytes_max)
        size = bytes_max;
    if (size)
        *ret_chunk = slice_make(body->raw.data + body->raw_given, size);
    body->raw_given += size;
    return FILE_FILL_OK;
}

/* ---- the source ---- */

static enum body_pull pull(struct feed_body *body, size_t bytes_max, struct slice *ret_chunk)
{
    bool is_identity = body->options.coding == FILE_CODING_IDENTITY;
    for (;;) {
        if (body->waits_for_more || (body->reader.busy && body->raw_given == body->raw.size))
            return BODY_PULL_WAIT;
        if (!body->reader.busy) {
            body->view = export_feed_look(body->options.feed);
            body->cursor.file.file_bytes = body->view.gzip_bytes;
            body->cursor.index.file_bytes = body->view.index_bytes;
        }
        if (body->view.state == EXPORT_FEED_BROKEN)
            return BODY_PULL_FAIL;
        enum file_fill result =
            is_identity ? next_identity(body, bytes_max, ret_chunk) : next_gzip(body, bytes_max, ret_chunk);
        if (result == FILE_FILL_OK && ret_chunk->size)
            return BODY_PULL_MORE;
        if (result == FILE_FILL_OK && body->view.state == EXPORT_FEED_COMPLETE) {
            if (is_identity)
                result = file_cursor_check_trailer(&body->cursor, &body->reader);
            if (result == FILE_FILL_OK)
                return BODY_PULL_END;
        }
        if (result != FILE_FILL_OK)
            return result == FILE_FILL_WAIT ? BODY_PULL_WAIT : BODY_PULL_FAIL;
        body->waits_for_more = export_feed_wait(body->options.feed, &body->waiter, &body->view);
        if (body->waits_for_more)
            release_memory(body);
    }
}

static enum body_pull body_pull(struct body_source *source, size_t bytes_max, struct slice *ret_chunk)
{
    struct feed_body *body = (struct feed_body *)source; /* its first member */
    *ret_chunk = (struct slice){NULL, 0};
    enum body_pull result = pull(body, bytes_max, ret_chunk);
    body->waiting = result == BODY_PULL_WAIT;
    return result;
}

static void body_close(struct body_source *source)
{
    struct feed_body *body = (struct feed_body *)source;
    if (body->reader.busy) {
        if (!io_workers_abandon(body->options.io, &body->reader.task))
            body->closed = true; /* its message is already there and frees it */
    } else if (body->waits_for_more && !export_feed_unwait(body->options.feed, &body->waiter)) {
        body->closed = true;
    } else {
        body_free(body);
    }
}

struct body_source *feed_body_new(const struct feed_body_options *options)
{
    struct feed_body *body = mem_new(struct feed_body);
    body->source.pull = body_pull;
    body->source.close = body_close;
    body->options = *options;
    export_feed_ref(options->feed);
    body->cursor.file.fd = export_feed_fd(options->feed);
    body->cursor.index.fd = export_feed_index_fd(options->feed);
    body->reader.io = options->io;
    body->reader.finished = finished_read;
    body->reader.task.dropped = dropped;
    body->reader.task.reply_to = options->reply_to;
    body->waiter.message.deliver = deliver_more;
    body->waiter.reply_to = options->reply_to;
    if (options->coding == FILE_CODING_IDENTITY) {
        body->cursor.at = GZIP_HEADER_SIZE;
        body->cursor.inflater = inflater_new();
    }
    return &body->source;
}
