/*
 * Import: files of FHIR resources -> segments.
 *
 * Lines are parsed on all cores and kept until IMPORT_MEMORY_BYTES are full or the input ends; then they are
 * put in order by beneficiary, type and id, packed into deltas on all cores (storage/packer.h) and handed to
 * the writer in batches. So memory is bounded whatever the input's shape, and a beneficiary whose lines stand
 * together gets one segment a type and load (or a few, of about SEGMENT_RAW_TARGET): the one in whose lines
 * the memory ended is kept for the next part.
 *
 * Deletions come as entries of Bundles (codec/bundle.h), in .json files and in lines of NDJSON, where a
 * Bundle's resources are taken, too. Such an entry does not say whose its resource is: that is looked for in
 * the store and in the load. One without a time happened when the import runs.
 *
 * What a batch holds is durable when its call returns. An import that was interrupted is simply run again:
 * what is there already is recognised by source time and content and changes nothing.
 *
 * Threading: import_run on one thread; it uses its own threads and returns when they are done. Callbacks
 * come on the calling thread.
 */
#ifndef STORAGE_IMPORT_H
#define STORAGE_IMPORT_H

#include "codec/resource.h"
#include "storage/control.h"

#define IMPORT_MEMORY_BYTES ((size_t)256 * 1024 * 1024)

struct import_counts {
    uint64_t files, files_failed;
    uint64_t bytes;           /* of lines read */
    uint64_t lines;           /* that were not blank */
    uint64_t added;           /* resources that were not there */
    uint64_t replaced;        /* newer versions of resources that were there */
    uint64_t identical;       /* there already, or deleted already */
    uint64_t late;            /* older than what is there, or than another line of the same load */
    uint64_t deleted;         /* resources that were there, and are not any more */
    uint64_t deleted_unknown; /* deletions of what was not there; remembered */
    uint64_t refused;         /* bad lines; each was reported */
    uint64_t unsupported;     /* other resource types */
    uint64_t stamped; /* committed under the importing instant, since an export had looked past their own */
    uint64_t undated; /* had no meta.lastUpdated: 2020-01-01 */
    uint64_t future;  /* had a meta.lastUpdated later than the import: the import's instant */
    uint64_t beneficiaries; /* changed; one that came in two parts of a load counts twice */
};

struct import_options {
    const char *const *paths;
    size_t path_count;
    const char *aco_id; /* attribute every beneficiary seen to it; NULL: none */
    bool strict;        /* commit nothing of a file that has a bad line (not: one refused beside the store) */
    bool deletes_errors; /* a resource whose status is entered-in-error is a deletion of it */
    unsigned threads;    /* 0: one a core */
    size_t memory_bytes; /* 0: IMPORT_MEMORY_BYTES */
    void *context;
    /* A line that is refused; `line` 0: the file as a whole. May be NULL. */
    void (*refuse)(void *context, const char *file, uint64_t line, const char *reason);
    /* Now and then: bytes of the files read so far, of all known (0: standard input). May be NULL. */
    void (*progress)(void *context, uint64_t bytes_done, uint64_t bytes_total,
                     const struct import_counts *counts);
};

/* STATUS_OK also if lines were refused (see the counts). */
NODISCARD enum status import_run(struct link *link, const struct import_options *options,
                                 struct import_counts *ret_counts, struct error *error);

#endif
