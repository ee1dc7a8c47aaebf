/*
 * An arena: many allocations, one release. For what lives as long as a request, a job or a batch.
 * arena_reset keeps the first block for reuse. Memory is aligned to 16 bytes and not zeroed.
 *
 * Threading: one thread at a time.
 */
#ifndef CODEC_BASE_ARENA_H
#define CODEC_BASE_ARENA_H

#include "codec/base/slice.h"

struct arena_block;

struct arena {
    struct arena_block *newest;
    size_t bytes; /* handed out since the last reset: what a caller's budget counts */
};

#define ARENA_INIT                                                                                           \
    {                                                                                                        \
        NULL, 0                                                                                              \
    }

void arena_init(struct arena *arena);
void arena_release(struct arena *arena);
void arena_reset(struct arena *arena);
void *arena_alloc(struct arena *arena, size_t size);
/* Copies that live until the arena's reset or release. */
struct slice arena_copy(struct arena *arena, struct slice slice);
char *arena_text(struct arena *arena, struct slice slice); /* NUL-terminated */

#endif
