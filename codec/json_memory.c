#include "codec/json_memory.h"

#include "codec/base/mem.h"

static void *json_yajl_alloc(void *context, size_t size)
{
    (void)context;
    return mem_alloc(size);
}

static void *json_yajl_realloc(void *context, void *old, size_t size)
{
    (void)context;
    return mem_realloc(old, size);
}

static void json_yajl_free(void *context, void *memory)
{
    (void)context;
    mem_free(memory);
}

yajl_alloc_funcs json_yajl_memory = {json_yajl_alloc, json_yajl_realloc, json_yajl_free, NULL};
