#include "codec/ndjson.h"

#include "codec/base/check.h"

#define BYTE_ORDER_MARK "\xEF\xBB\xBF"

struct slice ndjson_skip_mark(struct slice text)
{
    bool has_mark = slice_starts_with(text, SLICE_LITERAL(BYTE_ORDER_MARK));
    return has_mark ? slice_skip(text, sizeof BYTE_ORDER_MARK - 1) : text;
}

void ndjson_splitter_init(struct ndjson_splitter *splitter, size_t line_bytes_max)
{
    CHECK(line_bytes_max <= SIZE_MAX / 2);
    *splitter = (struct ndjson_splitter){.line_bytes_max = line_bytes_max, .at_begin = true};
}

void ndjson_splitter_release(struct ndjson_splitter *splitter)
{
    buffer_release(&splitter->partial);
}

static bool ndjson_is_blank(struct slice line)
{
    for (size_t i = 0; i < line.size; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

/* The bytes that a line may have before its end is known: "\r" and a byte order mark do not count. */
static size_t ndjson_held_max(const struct ndjson_splitter *splitter)
{
    return splitter->line_bytes_max + 1 + (splitter->at_begin ? sizeof BYTE_ORDER_MARK - 1 : 0);
}

/* A whole line without its "\n". */
static enum status ndjson_hand_out(struct ndjson_splitter *splitter, struct slice line,
                                   ndjson_handler *handler, void *context, struct error *error)
{
    if (splitter->at_begin)
        line = ndjson_skip_mark(line);
    splitter->at_begin = false;
    splitter->line_number++;
    if (line.size && line.data[line.size - 1] == '\r')
        line.size--;
    if (line.size > splitter->line_bytes_max)
        return handler(context, splitter->line_number, slice_make("", 0), true, error);
    if (ndjson_is_blank(line))
        return STATUS_OK;
    return handler(context, splitter->line_number, line, false, error);
}

/* The end of a line that is in part, or in whole, in `partial`. */
static enum status ndjson_end_partial(struct ndjson_splitter *splitter, struct slice rest,
                                      ndjson_handler *handler, void *context, struct error *error)
{
    if (splitter->skipping) { /* was reported when it passed the bound */
        splitter->skipping = false;
        return STATUS_OK;
    }
    struct slice line = rest;
    if (splitter->partial.size) {
        buffer_append_slice(&splitter->partial, rest);
        line = buffer_slice(&splitter->partial);
    }
    /* The handler still reads `line`: reset forgets the size, not the bytes. */
    buffer_reset(&splitter->partial);
    return ndjson_hand_out(splitter, line, handler, context, error);
}

enum status ndjson_splitter_feed(struct ndjson_splitter *splitter, struct slice chunk,
                                 ndjson_handler *handler, void *context, struct error *error)
{
    while (chunk.size) {
        const char *end = memchr(chunk.data, '\n', chunk.size);
        struct slice piece = {chunk.data, end ? (size_t)(end - chunk.data) : chunk.size};
        chunk = slice_skip(chunk, piece.size + (end ? 1 : 0));
        enum status status = STATUS_OK;
        if (!splitter->skipping && splitter->partial.size + piece.size > ndjson_held_max(splitter)) {
            splitter->skipping = true;
            splitter->at_begin = false;
            buffer_reset(&splitter->partial);
            splitter->line_number++;
            status = handler(context, splitter->line_number, slice_make("", 0), true, error);
        }
        if (status == STATUS_OK && end)
            status = ndjson_end_partial(splitter, piece, handler, context, error);
        else if (status == STATUS_OK && !splitter->skipping)
            buffer_append_slice(&splitter->partial, piece);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status ndjson_splitter_end(struct ndjson_splitter *splitter, ndjson_handler *handler, void *context,
                                struct error *error)
{
    enum status status = STATUS_OK;
    if (splitter->skipping || splitter->partial.size)
        status = ndjson_end_partial(splitter, slice_make("", 0), handler, context, error);
    CHECK(splitter->partial.size == 0 && !splitter->skipping);
    return status;
}
