#include "storage/import_feed.h"

#include "codec/base/mem.h"

void import_feed_init(struct import_feed *feed, const struct import_files *files, size_t memory_bytes)
{
    *feed = (struct import_feed){.files = files, .memory_bytes = memory_bytes};
    feed->blocks_end = &feed->blocks;
    pthread_mutex_init(&feed->lock, NULL);
}

static void parsed_block_free(struct parsed_block *parsed)
{
    import_block_release(&parsed->block);
    mem_free(parsed->items);
    mem_free(parsed->refusals);
    mem_free(parsed);
}

static void parsed_list_free(struct parsed_block *list)
{
    while (list) {
        struct parsed_block *next = list->next;
        parsed_block_free(list);
        list = next;
    }
}

void import_feed_release(struct import_feed *feed)
{
    import_source_close(feed->source);
    parsed_list_free(feed->blocks);
    parsed_list_free(feed->spare);
    pthread_mutex_destroy(&feed->lock);
}

void import_feed_begin(struct import_feed *feed, uint32_t first, uint32_t end)
{
    feed->file = first;
    feed->end = end;
}

bool import_feed_at_end(const struct import_feed *feed)
{
    return feed->file == feed->end;
}

bool import_feed_is_full(const struct import_feed *feed)
{
    return feed->bytes >= feed->memory_bytes;
}

/* ---- blocks ---- */

static size_t parsed_block_bytes(const struct parsed_block *parsed)
{
    return parsed->block.text.capacity + parsed->block.lines.capacity + parsed->block.arena.bytes +
           parsed->capacity * (sizeof *parsed->items + sizeof *parsed->refusals + IMPORT_ORDER_BYTES);
}

void parsed_block_reserve(struct parsed_block *parsed, size_t items)
{
    if (items <= parsed->capacity)
        return;
    parsed->items = mem_realloc(parsed->items, items * sizeof *parsed->items);
    parsed->refusals = mem_realloc(parsed->refusals, items * sizeof *parsed->refusals);
    parsed->capacity = items;
}

struct parsed_block *parsed_block_new(size_t items, size_t text_bytes)
{
    struct parsed_block *parsed = mem_new(struct parsed_block);
    parsed_block_reserve(parsed, items);
    if (text_bytes)
        buffer_reserve(&parsed->block.text, text_bytes);
    return parsed;
}

static struct parsed_block *spare_pop(struct import_feed *feed)
{
    struct parsed_block *parsed = feed->spare;
    feed->spare = parsed->next;
    feed->spare_bytes -= parsed_block_bytes(parsed);
    parsed->next = NULL;
    return parsed;
}

/* Only a source that fills whole blocks gets a used one: a thousand small files must not take a thousand
 * large blocks. */
static struct parsed_block *block_take(struct import_feed *feed)
{
    if (feed->spare && import_source_block_bytes(feed->source) == IMPORT_BLOCK_BYTES)
        return spare_pop(feed);
    while (feed->spare && feed->bytes + feed->spare_bytes >= feed->memory_bytes)
        parsed_block_free(spare_pop(feed));
    return parsed_block_new(0, 0);
}

static void block_give(struct import_feed *feed, struct parsed_block *parsed)
{
    struct import_block *block = &parsed->block;
    if (block->text.capacity != IMPORT_BLOCK_BYTES) {
        parsed_block_free(parsed);
        return;
    }
    buffer_reset(&block->text);
    buffer_reset(&block->lines);
    arena_reset(&block->arena);
    parsed->line_count = parsed->item_count = 0;
    parsed->failure = NULL;
    parsed->next = feed->spare;
    feed->spare = parsed;
    feed->spare_bytes += parsed_block_bytes(parsed);
}

void import_feed_put(struct import_feed *feed, struct parsed_block *parsed)
{
    *feed->blocks_end = parsed;
    feed->blocks_end = &parsed->next;
    parsed->bytes_counted = parsed_block_bytes(parsed);
    feed->bytes += parsed->bytes_counted;
}

void import_feed_clear(struct import_feed *feed)
{
    struct parsed_block *list = feed->blocks;
    feed->blocks = NULL;
    feed->blocks_end = &feed->blocks;
    feed->bytes = 0;
    while (list) {
        struct parsed_block *next = list->next;
        block_give(feed, list);
        list = next;
    }
}

/* ---- reading ---- */

static void feed_end_file(struct import_feed *feed)
{
    if (feed->source)
        feed->bytes_before += import_source_position(feed->source);
    import_source_close(feed->source);
    feed->source = NULL;
    feed->file++;
}

/* Reads a block of the current file; NULL if it gives neither lines nor a failure. */
static struct parsed_block *feed_read(struct import_feed *feed)
{
    struct error error = {0};
    enum status status = STATUS_OK;
    struct parsed_block *parsed;
    if (!feed->source)
        status = import_source_open(feed->files->paths[feed->file], &feed->source, &error);
    if (status == STATUS_OK) {
        parsed = block_take(feed);
        status = import_source_next(feed->source, &parsed->block, &error);
    } else {
        parsed = parsed_block_new(0, 0);
    }
    parsed->file = feed->file;
    parsed->order = feed->order;
    parsed->line_count = parsed->item_count = import_block_count(&parsed->block);
    parsed_block_reserve(parsed, parsed->line_count);
    feed->order += parsed->line_count;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        parsed->failure = arena_text(&parsed->block.arena, slice_from_text(error.text));
    if (status != STATUS_OK)
        feed_end_file(feed);
    if (parsed->line_count || parsed->failure)
        return parsed;
    block_give(feed, parsed);
    return NULL;
}

struct parsed_block *import_feed_next(struct import_feed *feed, struct parsed_block *done)
{
    struct parsed_block *parsed = NULL;
    pthread_mutex_lock(&feed->lock);
    if (done) {
        feed->bytes -= done->bytes_counted;
        done->bytes_counted = parsed_block_bytes(done);
        feed->bytes += done->bytes_counted;
    }
    while (!parsed && !import_feed_at_end(feed) && !import_feed_is_full(feed))
        parsed = feed_read(feed);
    if (parsed)
        import_feed_put(feed, parsed);
    pthread_mutex_unlock(&feed->lock);
    return parsed;
}

uint64_t import_feed_position(struct import_feed *feed)
{
    pthread_mutex_lock(&feed->lock);
    uint64_t bytes = feed->bytes_before + (feed->source ? import_source_position(feed->source) : 0);
    pthread_mutex_unlock(&feed->lock);
    return bytes;
}
