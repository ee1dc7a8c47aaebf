/*
 * Memory: allocation that does not fail.
 *
 * Every size that depends on input is bounded by a named limit before it reaches these functions, so an
 * allocation that fails means that the machine is out of memory, not that somebody sent a large request.
 * The process then stops with a message: everything acknowledged is on disk, and a restart goes on from
 * there. That is safer than thousands of error paths that never run (docs/decisions/allocation.md).
 *
 * Threading: as malloc.
 */
#ifndef CODEC_BASE_MEM_H
#define CODEC_BASE_MEM_H

#include <stddef.h>

/* Never NULL, also for size 0. mem_new zeroes. Free with mem_free. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *old, size_t size);
/* Begins at a page. For what a file is read into: the kernel copies a page of the page cache to 1 to 31 bytes
 * behind a page's begin five times as slowly as elsewhere (docs/performance/requests.md), and large
 * allocations begin 16 bytes behind. */
void *mem_alloc_pages(size_t size);
char *mem_strdup(const char *text);
void mem_free(void *memory); /* NULL is allowed */

#define mem_new(type)              ((type *)mem_zalloc(sizeof(type)))
#define mem_new_array(type, count) ((type *)mem_zalloc_array(sizeof(type), (count)))
void *mem_zalloc_array(size_t size, size_t count); /* stops on overflow of size * count */

#endif
