/*
 * One job while it is run: the steps that bring it from its record to its end, each a slice of work.
 *
 * A small job is written as a whole: its plan is not recorded, its files are written and synced together, and
 * one commit records plan, outcomes and end. After a crash it is done again from the start. Of any other each
 * step is recorded, and several of its files may be written at once.
 *
 * Threading: who may take which step next is decided by exports.c under its lock. The fields behind "guarded"
 * are read and written only under that lock; the others belong to whoever holds the step. Steps other than
 * those of files are taken by one worker alone, with no other in the run.
 */
#ifndef SERVER_EXPORT_RUN_H
#define SERVER_EXPORT_RUN_H

#include "codec/base/arena.h"
#include "server/export_file.h"
#include "server/export_plan.h"
#include "server/exports.h"
#include "storage/accounts.h"

enum run_phase {
    RUN_PHASE_PLAN,
    RUN_PHASE_FILES,   /* each written and recorded by itself, */
    RUN_PHASE_WHOLE,   /* or of a small job all written one after the other, */
    RUN_PHASE_PUBLISH, /* and made durable together */
    RUN_PHASE_COMPLETE,
    RUN_PHASE_FAIL
};

#define RUN_WHOLE_FILES_MAX 8 /* of a small job; they are open at once */

enum run_file_state {
    RUN_FILE_WAITS,
    RUN_FILE_HELD,    /* by a worker */
    RUN_FILE_WRITTEN, /* waits to be made durable and recorded */
    RUN_FILE_DONE
};

/* What a job's time went into; for its line in the log. */
struct run_times {
    int64_t plan_us;
    int64_t write_us;
    int64_t sync_us;
    int64_t commit_us;
    uint64_t unreadable; /* rows and segments that could not be read */
};

struct run_file {
    enum run_file_state state;        /* guarded */
    uint64_t credit;                  /* guarded: how much of the planned bytes counts as done */
    struct export_file *file;         /* NULL until begun and after its end */
    struct encoder *encoder;          /* while it is written */
    struct export_file_result result; /* once it is written */
    struct export_feed *feed;         /* guarded; a reference, while the file can be followed */
};

struct export_run {
    /* Constant. */
    uint64_t id;
    char bucket[EXPORT_BUCKET_SIZE];
    int64_t woken_us; /* clock_monotonic_us */

    /* Guarded. */
    struct export_run *next;
    enum run_phase phase;
    unsigned workers; /* in it now */
    bool cancelled;   /* deleted by its client */
    bool ended;       /* nothing is left to do */
    bool keeps_files;
    bool token_returned;
    uint64_t served;     /* turn in which it last got a worker */
    int64_t retry_at_us; /* not before; 0: at once */
    bool has_waited;     /* for what passes, and told so */
    uint64_t planned_bytes, done_bytes;
    uint64_t due_bytes;         /* of files: when exports.c's shared_bytes gets there it would have ended */
    int64_t files_begun_us;     /* when the first file was begun, */
    uint64_t files_begun_bytes; /* and what had been done before */
    unsigned percent;           /* of progress, as it may be told */
    size_t first_file;          /* none before it waits */
    struct run_times times;
    int64_t begun_us;

    /* The step's. */
    bool loaded;
    struct arena arena;
    struct job job;
    char aco_id[ACO_ID_MAX + 1];
    struct export_plan *plan;
    bool whole;             /* nothing is recorded before its end */
    struct run_file *files; /* job.file_count */
    size_t next_file;       /* of RUN_PHASE_WHOLE: those before it have ended */
    int folder_fd;          /* the job's folder; -1: not open */
    int progress_fd;        /* of the job's progress; -1: not open */
};

struct run_context {
    struct service *service;
    const struct exports_options *options;
    int jobs_fd; /* DIR/jobs */
};

struct export_run *export_run_new(uint64_t id, uint32_t aco, const char *endpoint);
/* Closes its files; unfinished ones are removed. Encoders must have been taken back. */
void export_run_free(struct export_run *run);

/* Opens what keeps the percentage that was told; gives what an earlier process told, 0 if none did. Without
 * it the percentage may fall over a restart, and nothing else. */
unsigned export_run_open_progress(struct export_run *run, const char *dir, bool create);
/* Reads the record, then plans; *ret_done: the plan is stored (or was already), or run->whole is set. */
NODISCARD enum status export_run_plan(struct export_run *run, const struct run_context *context,
                                      bool *ret_done, struct run_times *times, struct error *error);
/* Writes a slice of one file. Computes; what follows, export_run_record, waits for the disk. */
NODISCARD enum status export_run_file(struct export_run *run, size_t index, const struct run_context *context,
                                      bool *ret_done, struct run_times *times, struct error *error);
/* Makes a written file durable and records it. */
NODISCARD enum status export_run_record(struct export_run *run, size_t index,
                                        const struct run_context *context, struct run_times *times,
                                        struct error *error);
/* Writes a slice of the files of a small job, one after the other. The encoder is that of the first. */
NODISCARD enum status export_run_whole(struct export_run *run, const struct run_context *context,
                                       bool *ret_done, struct run_times *times, struct error *error);
/* Makes all files of a small job durable. */
NODISCARD enum status export_run_publish(struct export_run *run, struct run_times *times,
                                         struct error *error);
/* Keeps a percentage that is about to be told, so that a later process does not tell a lower one. It outlives
 * the process, not a power cut: who polled before that has other worries. */
void export_run_keep_percent(const struct export_run *run, unsigned percent);
NODISCARD enum status export_run_complete(struct export_run *run, const struct run_context *context,
                                          struct run_times *times, struct error *error);
NODISCARD enum status export_run_fail(struct export_run *run, const struct run_context *context,
                                      struct error *error);

/* The event "job completed" with its phases. `last`: of the last step, not yet added to the run's. */
void export_run_log_completed(const struct export_run *run, const struct run_times *last);
void run_times_add(struct run_times *times, const struct run_times *more);

#endif
