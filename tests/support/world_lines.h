/*
 * Lines of an import, as the model sees them and as text; and how a load is drawn.
 *
 * Threading: one thread.
 */
#ifndef TESTS_SUPPORT_WORLD_LINES_H
#define TESTS_SUPPORT_WORLD_LINES_H

#include "tests/support/world.h"

extern const char *const type_names[MODEL_TYPES];

/* The id of a resource; and back, -1: there is none. */
const char *number_id(enum model_type type, int number);
int number_of_id(enum model_type type, const char *id, size_t size);

/* An instant that a server wrote. */
int64_t time_read(const struct world *world, const char *text);
/* Appends the line; `way` 0 to 3: how its time is written. */
void line_write(const struct model_line *line, unsigned way, struct buffer *target);

/* True if the model can tell what becomes of it now. */
bool load_is_clear(const struct world *world, const struct load *load);
/* `one_group`: of one beneficiary and type. */
void load_choose(struct world *world, struct load *load, uint64_t *random, bool one_group);

#endif
