/*
 * Where an import reads from: files, plain or gzip, directories of them, standard input. A source is cut into
 * blocks of whole lines; a FHIR Bundle (or a single resource) in a .json file becomes one block whose "lines"
 * are its resources and deletions, numbered by entry. A Bundle in a line of NDJSON stays a line.
 *
 * Threading: one thread at a time.
 */
#ifndef STORAGE_IMPORT_SOURCE_H
#define STORAGE_IMPORT_SOURCE_H

#include "codec/base/arena.h"
#include "codec/base/buffer.h"

#include <stdint.h>

#define IMPORT_BLOCK_BYTES ((size_t)4 * 1024 * 1024)

/* The files that the paths mean, directories walked in order of name (*.ndjson, *.ndjson.gz, *.json,
 * *.json.gz; hidden files are skipped), symbolic links followed for files only. "-" stays as it is. */
struct import_files {
    struct arena arena;
    char **paths;
    size_t count;
    uint64_t bytes; /* of all regular files: the known work */
};
NODISCARD enum status import_files_find(const char *const *paths, size_t count,
                                        struct import_files *ret_files, struct error *error);
void import_files_release(struct import_files *files);

struct import_line {
    uint64_t number;
    struct slice text; /* lives as long as the block */
    bool too_long;     /* over RESOURCE_BYTES_MAX; text is empty */
    bool is_entry;     /* of a Bundle */
    bool is_deletion;  /* then text is request.url */
    struct slice time; /* of a deletion, as text; empty: none */
};

struct import_block {
    struct buffer text;
    struct arena arena;  /* lines that began in the block before */
    struct buffer lines; /* struct import_line */
};
void import_block_release(struct import_block *block);
size_t import_block_count(const struct import_block *block);
const struct import_line *import_block_line(const struct import_block *block, size_t index);

struct import_source;

NODISCARD enum status import_source_open(const char *path, struct import_source **ret_source,
                                         struct error *error);
void import_source_close(struct import_source *source);
/* What the next block takes: blocks begin small and grow to IMPORT_BLOCK_BYTES. 0: a document takes what it
 * takes. */
size_t import_source_block_bytes(const struct import_source *source);
/* Fills an empty block. STATUS_NOT_FOUND (without a text) at the end. A gzip file that is cut short fails
 * after its whole lines were handed out; one that is damaged, or followed by something else, after those
 * before it. */
NODISCARD enum status import_source_next(struct import_source *source, struct import_block *block,
                                         struct error *error);
/* Bytes of the file (as stored) read so far. */
uint64_t import_source_position(const struct import_source *source);

#endif
