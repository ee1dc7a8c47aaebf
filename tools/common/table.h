/*
 * Tables that a person likes to read: columns as wide as their widest cell, numbers to the right.
 *
 * Threading: one thread.
 */
#ifndef TOOLS_COMMON_TABLE_H
#define TOOLS_COMMON_TABLE_H

#include "codec/base/arena.h"
#include "codec/base/buffer.h"

#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct text_table {
    const char *const *titles; /* a title that begins with ">" is a column of numbers */
    size_t columns;
    struct buffer cells; /* char *, row by row */
    struct arena arena;
};

/* Borrows the titles. */
void text_table_init(struct text_table *table, const char *const *titles, size_t columns);
void text_table_release(struct text_table *table);
/* Adds one cell, left to right, row after row. */
void text_table_cell(struct text_table *table, const char *format, ...) PRINTF_LIKE(2, 3);
void text_table_print(const struct text_table *table, FILE *out);

#endif
