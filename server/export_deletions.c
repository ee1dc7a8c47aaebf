#include "server/export_deletions.h"

#include "codec/base/arena.h"
#include "codec/base/mem.h"
#include "codec/documents.h"

struct deletion_lines {
    struct deletion_item items[DELETIONS_IN_BUNDLE]; /* of the Bundle that is open */
    size_t item_count;
    int64_t instant_us; /* its */
    struct arena ids;
    struct buffer lines;
    uint64_t line_count;
};

struct deletion_lines *deletion_lines_new(void)
{
    struct deletion_lines *lines = mem_new(struct deletion_lines);
    arena_init(&lines->ids);
    return lines;
}

void deletion_lines_free(struct deletion_lines *lines)
{
    if (!lines)
        return;
    arena_release(&lines->ids);
    buffer_release(&lines->lines);
    mem_free(lines);
}

void deletion_lines_end(struct deletion_lines *lines)
{
    if (lines->item_count == 0)
        return;
    document_deletions(&lines->lines, lines->instant_us, lines->items, lines->item_count);
    buffer_append_char(&lines->lines, '\n');
    lines->line_count++;
    lines->item_count = 0;
    arena_reset(&lines->ids);
}

void deletion_lines_add(struct deletion_lines *lines, const struct deletion *deletion)
{
    if (lines->item_count == DELETIONS_IN_BUNDLE || deletion->stamp_us != lines->instant_us)
        deletion_lines_end(lines);
    lines->instant_us = deletion->stamp_us;
    lines->items[lines->item_count++] = (struct deletion_item){.type = resource_type_name(deletion->type),
                                                               .id = arena_copy(&lines->ids, deletion->id)};
}

struct slice deletion_lines_waiting(const struct deletion_lines *lines, uint64_t *ret_count)
{
    *ret_count = lines->line_count;
    return buffer_slice(&lines->lines);
}

void deletion_lines_clear(struct deletion_lines *lines)
{
    buffer_reset(&lines->lines);
    lines->line_count = 0;
}
