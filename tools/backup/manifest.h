/*
 * The manifest of a backup: what it is of, and the SHA-256 of every file in it. It is text, and
 * `sha256sum -c MANIFEST` checks the files, too:
 *
 *     # sluice backup 1
 *     # store format 2
 *     # sequence 1234
 *     # instant 2026-11-28T04:20:00.123456Z
 *     # job files yes
 *     <digest>  store.mdb
 *     <digest>  keys/token.pem
 *     <digest>  jobs/17/<uuid>.ndjson.gz
 *     # end 3 <digest of all lines above>
 *
 * Names are paths below the backup and of these three forms only, so that nothing is ever written elsewhere.
 *
 * Threading: plain values.
 */
#ifndef TOOLS_BACKUP_MANIFEST_H
#define TOOLS_BACKUP_MANIFEST_H

#include "codec/base/arena.h"
#include "codec/base/buffer.h"
#include "tools/backup/copy.h"

#define MANIFEST_NAME      "MANIFEST"
#define MANIFEST_VERSION   1
#define MANIFEST_BYTES_MAX ((size_t)1024 * 1024 * 1024)
#define MANIFEST_STORE     "store.mdb"
#define MANIFEST_KEY       "keys/token.pem"

struct manifest_entry {
    struct slice name;
    struct slice digest; /* 64 hex digits */
};

struct manifest {
    uint32_t store_format;
    uint64_t sequence;  /* of the newest write request in it */
    int64_t instant_us; /* and its instant */
    bool has_job_files;
    struct manifest_entry *entries;
    size_t count;
};

/* In the order of the text: begin, entries, end. */
void manifest_begin(struct buffer *text, const struct manifest *manifest);
void manifest_add(struct buffer *text, const char *name, const char *digest);
void manifest_end(struct buffer *text, size_t count);

/* Entries live in the arena and borrow from the text. STATUS_UNSUPPORTED: of a later version. STATUS_CORRUPT:
 * cut short, changed, or none. */
NODISCARD enum status manifest_parse(struct slice text, struct arena *arena, struct manifest *ret_manifest,
                                     struct error *error);

#endif
