/*
 * One export as a client goes through it: kick-off, polls, manifest, files, DELETE. Each file is checked as
 * it arrives (file_check.h) against the manifest, and the export's contents against those of the ACO's
 * earlier ones, unless the store changes meanwhile (--changing).
 *
 * Threading: as run.h.
 */
#ifndef LOADTEST_EXPORT_FLOW_H
#define LOADTEST_EXPORT_FLOW_H

#include "loadtest/run.h"

struct export_wish {
    int64_t intended_us;
    bool keeps_job;            /* no downloads, no DELETE: session->job_url is the Completed job */
    uint64_t bytes_per_second; /* of each download; 0: as fast as it comes */
};

/* The session must not export already (CHECK). session->exports is false again when it has ended. */
void export_flow_begin(struct session *session, const struct export_wish *wish);
/* DELETE of session->job_url, which is forgotten. Not measured. */
void export_flow_delete_job(struct session *session);

#endif
