/*
 * A job's error file: one OperationOutcome a line for what could not be read, file by file in the order of
 * the plan, and for each parameter that handling=lenient ignored. Stored and served as every other file.
 *
 * Threading: one thread at a time for one job.
 */
#ifndef SERVER_EXPORT_ERROR_FILE_H
#define SERVER_EXPORT_ERROR_FILE_H

#include "storage/jobs.h"

/* ret_file->count is 0 if there is nothing to tell: no file is made then. Else it is durable, and *ret_file
 * is what JOB_CHANGE_COMPLETE wants. folder_fd: the job's folder, open. */
NODISCARD enum status export_error_file_write(const char *dir, const struct job *job, int folder_fd,
                                              struct job_file *ret_file, struct error *error);

#endif
