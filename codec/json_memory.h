/*
 * yajl's memory: allocation that does not fail (codec/base/mem.h), so that yajl's unchecked allocations
 * cannot matter. For json_reader.c and json_writer.c alone.
 *
 * Threading: constant; as malloc.
 */
#ifndef CODEC_JSON_MEMORY_H
#define CODEC_JSON_MEMORY_H

#include <yajl/yajl_common.h>

/* yajl takes it without const and only reads it. */
extern yajl_alloc_funcs json_yajl_memory;

#endif
