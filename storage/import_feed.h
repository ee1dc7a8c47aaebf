/*
 * The feed of an import: blocks of lines from one file after another, for any of its threads. A thread takes
 * a block and parses it by itself, so that reading goes on while others parse, in small files as in large.
 *
 * Handed out blocks stay in the feed's list, in the order of the input, until the load is packed: items point
 * into them. Then they are used again: fresh memory for every part of a load cost a tenth of an import's time
 * in page faults.
 *
 * Threading: import_feed_next and import_feed_position from any thread; the rest, and the list, while no
 * thread takes blocks.
 */
#ifndef STORAGE_IMPORT_FEED_H
#define STORAGE_IMPORT_FEED_H

#include "storage/import_source.h"
#include "storage/packer.h"

#include <pthread.h>

/* What putting an item in order takes beside it: a pointer, its group, and where its beneficiary begins. */
#define IMPORT_ORDER_BYTES 48

/* A line that was refused, until it is reported in order. */
struct import_refusal {
    uint64_t line;
    const char *reason; /* in the block's arena; NULL: not refused */
    bool is_unsupported;
};

/* A block of lines and what was made of it. */
struct parsed_block {
    struct import_block block;
    uint32_t file;
    uint64_t order; /* of its first line in the load: numbers of lines */
    size_t line_count;
    struct import_item *items;       /* one a line, then those of entries of lines that are Bundles; type
                                        RESOURCE_TYPE_COUNT: nothing to pack */
    struct import_refusal *refusals; /* likewise */
    size_t item_count;               /* of both */
    size_t capacity;                 /* of both */
    const char *failure;             /* of the file itself, behind these lines; NULL: none */
    size_t bytes_counted;            /* of it, in the feed's bytes */
    struct parsed_block *next;
};

struct import_feed {
    pthread_mutex_t lock;
    const struct import_files *files;
    size_t memory_bytes;
    uint32_t file, end; /* the file that is read, and where to stop */
    struct import_source *source;
    uint64_t order;
    uint64_t bytes_before; /* of the files that are done */
    struct parsed_block *blocks, **blocks_end;
    size_t bytes; /* of memory, of the list */
    struct parsed_block *spare;
    size_t spare_bytes;
};

/* Borrows `files`. */
void import_feed_init(struct import_feed *feed, const struct import_files *files, size_t memory_bytes);
void import_feed_release(struct import_feed *feed);

/* What is handed out next: the files first..end-1. */
void import_feed_begin(struct import_feed *feed, uint32_t first, uint32_t end);
bool import_feed_at_end(const struct import_feed *feed);
bool import_feed_is_full(const struct import_feed *feed);

/* The next block; `done` (NULL at first) is the one that the thread took before and has parsed. NULL: the
 * memory is full, or the files are at their end. A block without lines tells of a failure. */
struct parsed_block *import_feed_next(struct import_feed *feed, struct parsed_block *done);
/* Bytes of the files (as stored) read so far. */
uint64_t import_feed_position(struct import_feed *feed);

/* Makes room for so many items, those that are there included. */
void parsed_block_reserve(struct parsed_block *parsed, size_t items);
/* A block outside the list with room for so many items and bytes of text; import_feed_put takes it into the
 * list, behind what is there. */
struct parsed_block *parsed_block_new(size_t items, size_t text_bytes);
void import_feed_put(struct import_feed *feed, struct parsed_block *parsed);
/* Empties the list. */
void import_feed_clear(struct import_feed *feed);

#endif
