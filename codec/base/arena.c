#include "codec/base/arena.h"

#include "codec/base/mem.h"

#include <stddef.h>
#include <string.h>

#define ARENA_BLOCK_BYTES ((size_t)64 * 1024)

struct arena_block {
    struct arena_block *older;
    size_t used;
    size_t capacity;
    _Alignas(16) char data[];
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena)ARENA_INIT;
}

void arena_release(struct arena *arena)
{
    while (arena->newest) {
        struct arena_block *older = arena->newest->older;
        mem_free(arena->newest);
        arena->newest = older;
    }
    arena->bytes = 0;
}

void arena_reset(struct arena *arena)
{
    while (arena->newest && arena->newest->older) {
        struct arena_block *older = arena->newest->older;
        mem_free(arena->newest);
        arena->newest = older;
    }
    if (arena->newest)
        arena->newest->used = 0;
    arena->bytes = 0;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    struct arena_block *block = arena->newest;
    if (!block || block->capacity - block->used < rounded) {
        size_t capacity = rounded > ARENA_BLOCK_BYTES ? rounded : ARENA_BLOCK_BYTES;
        block = mem_alloc(sizeof *block + capacity);
        block->older = arena->newest;
        block->used = 0;
        block->capacity = capacity;
        arena->newest = block;
    }
    void *memory = block->data + block->used;
    block->used += rounded;
    arena->bytes += rounded;
    return memory;
}

struct slice arena_copy(struct arena *arena, struct slice slice)
{
    char *copy = arena_alloc(arena, slice.size);
    if (slice.size)
        memcpy(copy, slice.data, slice.size);
    return slice_make(copy, slice.size);
}

char *arena_text(struct arena *arena, struct slice slice)
{
    char *copy = arena_alloc(arena, slice.size + 1);
    if (slice.size)
        memcpy(copy, slice.data, slice.size);
    copy[slice.size] = '\0';
    return copy;
}
