/*
 * Exports: running the jobs. Worker threads take slices of at most EXPORT_SLICE_MS; the job that would end
 * first, were all served alike, goes first, so a small ACO is not stuck behind large ones. Slices that
 * compute are no more at once than there are cores, so that they do not slow each other down; those that wait
 * for the disk go on beside them.
 *
 * A job's way: planned (walk the exportable beneficiaries and summaries, cut into files between
 * beneficiaries, store the plan: In Progress), then file after file (segments spliced into
 * DIR/jobs/<id>/<uuid>.part; fsync, rename, fsync the directory, commit FILE_DONE), then Completed. Several
 * files of one job may run at once. A small job takes one worker and one commit (export_run.h). Whatever a
 * crash leaves is swept at the start, and active jobs go on.
 *
 * Where the files are: server/job_files.h. How long: server/expiry.h.
 *
 * Files of a job that allows partial manifests can be followed while they are written (export_feed.h), from
 * the end of their first slice to their record.
 *
 * What cannot be read costs only itself: an OperationOutcome in the job's error file. What cannot be
 * written fails the job (disk full too).
 *
 * Threading: exports_open/close from main; the others from any thread.
 */
#ifndef SERVER_EXPORTS_H
#define SERVER_EXPORTS_H

#include "server/job_files.h"
#include "server/service.h"
#include "storage/jobs.h"

#define EXPORT_SLICE_MS         50
#define EXPORT_INDEX_BYTES      ((size_t)64 * 1024)
#define EXPORT_IO_WORKERS       4
#define EXPORT_WORKERS_PER_CORE 2 /* one computes while another waits for the disk */

struct exports_options {
    unsigned workers;
    unsigned computing;       /* of them compute at once: the cores; the others wait for the disk. 0: all */
    uint64_t file_bytes_max;  /* raw bytes after which a file is cut, between beneficiaries */
    uint64_t small_job_bytes; /* raw bytes of a job that is written as a whole; 0: none is */
    uint64_t disk_reserve_bytes; /* exports stop when less is free */
    int64_t keep_us;             /* Completed -> Archived -> Expired */
    int64_t slice_us;            /* 0: EXPORT_SLICE_MS */
    size_t index_bytes_max; /* of a file's index that gather in memory, but for while descriptors are short;
                             * 0: EXPORT_INDEX_BYTES */
    unsigned io_workers;    /* threads that read for downloads; 0: EXPORT_IO_WORKERS */
};

/* Sweeps orphans, takes up the active jobs (and their buckets), starts the workers. */
NODISCARD enum status exports_open(struct service *service, const struct exports_options *options,
                                   struct exports **ret_exports, struct error *error);
/* Lets running slices end; jobs go on at the next start. */
void exports_close(struct exports *exports);

/* A job was created. Its token in LIMITER_JOB was taken; exports gives it back when the job ends. */
void exports_wake(struct exports *exports, uint64_t job_id, uint32_t aco, const char *endpoint);
/* A job was deleted: its token is given back at once, its work stops, its files go (downloads that have begun
 * keep theirs open). */
void exports_cancel(struct exports *exports, uint64_t job_id);

struct exports_progress {
    unsigned percent;      /* 0..99 while active, never falls */
    unsigned seconds_left; /* an honest estimate, 1..120 */
};
/* STATUS_NOT_FOUND if it is not running here. */
NODISCARD enum status exports_progress(struct exports *exports, uint64_t job_id,
                                       struct exports_progress *ret_progress);

/* Which files of a job can be followed now, as indexes of its plan, in order; at most `limit`. */
size_t exports_list_followed(struct exports *exports, uint64_t job_id, size_t *ret_indexes, size_t limit);
/* A reference to the feed of one; NULL if it is not begun, complete, or not running here. */
struct export_feed;
struct export_feed *exports_follow(struct exports *exports, uint64_t job_id, size_t file_index);

/* Threads that wait for the disk, for downloads. */
struct io_workers *exports_io(struct exports *exports);

/* The name of an endpoint's bucket in LIMITER_JOB. */
#define EXPORT_BUCKET_SIZE (JOB_ENDPOINT_MAX + 12)
void export_bucket_name(char target[EXPORT_BUCKET_SIZE], uint32_t aco, const char *endpoint);

#endif
