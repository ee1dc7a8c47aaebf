#include "codec/base/mem.h"

#include "codec/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEM_PAGE_BYTES 4096

static void *mem_require(void *memory, size_t size)
{
    if (!memory) {
        fprintf(stderr, "out of memory: %zu bytes were refused\n", size);
        abort();
    }
    return memory;
}

void *mem_alloc(size_t size)
{
    return mem_require(malloc(size ? size : 1), size);
}

void *mem_alloc_pages(size_t size)
{
    void *memory;
    int failed = posix_memalign(&memory, MEM_PAGE_BYTES, size ? size : 1);
    return mem_require(failed ? NULL : memory, size);
}

void *mem_zalloc(size_t size)
{
    return mem_require(calloc(1, size ? size : 1), size);
}

void *mem_zalloc_array(size_t size, size_t count)
{
    size_t total;
    CHECK(!__builtin_mul_overflow(size, count, &total));
    return mem_zalloc(total);
}

void *mem_realloc(void *old, size_t size)
{
    return mem_require(realloc(old, size ? size : 1), size);
}

char *mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc(size), text, size);
}

void mem_free(void *memory)
{
    free(memory);
}
