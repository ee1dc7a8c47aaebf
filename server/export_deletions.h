/*
 * The lines of a file of deletions: each a FHIR transaction Bundle of DELETE requests (codec/documents.h).
 * The deletions of one instant that come one behind the other share a Bundle, up to DELETIONS_IN_BUNDLE, so
 * what is made depends on their order alone.
 *
 * Threading: one thread at a time.
 */
#ifndef SERVER_EXPORT_DELETIONS_H
#define SERVER_EXPORT_DELETIONS_H

#include "codec/base/buffer.h"
#include "storage/deletion.h"

#define DELETIONS_IN_BUNDLE    100
#define DELETION_PIECE_BYTES   ((size_t)64 * 1024) /* of lines that wait, before they are worth a piece */
#define DELETION_PLANNED_BYTES 100                 /* about what one takes in its line */

struct deletion_lines;

struct deletion_lines *deletion_lines_new(void);
void deletion_lines_free(struct deletion_lines *lines);

/* Copies what it is given. */
void deletion_lines_add(struct deletion_lines *lines, const struct deletion *deletion);
/* Ends the last Bundle. */
void deletion_lines_end(struct deletion_lines *lines);

/* The whole lines that wait, and how many they are; until the next call. */
struct slice deletion_lines_waiting(const struct deletion_lines *lines, uint64_t *ret_count);
void deletion_lines_clear(struct deletion_lines *lines);

#endif
