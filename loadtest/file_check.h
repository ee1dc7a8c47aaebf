/*
 * Checks the NDJSON of a downloaded file as it arrives, whatever pieces it comes in: every line is one JSON
 * object of the file's type (each line is looked at, one in FILE_CHECK_SAMPLE is parsed whole), and count,
 * bytes and a checksum that does not depend on the order of lines are kept for comparison. Nothing of the
 * file is kept.
 *
 * Threading: one thread at a time.
 */
#ifndef LOADTEST_FILE_CHECK_H
#define LOADTEST_FILE_CHECK_H

#include "codec/ndjson.h"
#include "codec/resource.h"

#define FILE_CHECK_SAMPLE 64

struct file_check {
    struct ndjson_splitter splitter;
    struct resource_parser *parser; /* borrowed */
    const char *type;               /* borrowed */
    uint64_t lines, bytes, sum;
};

/* `type`: "Patient". The parser may serve several checks. */
void file_check_init(struct file_check *check, const char *type, struct resource_parser *parser);
void file_check_release(struct file_check *check);
/* STATUS_INVALID: a line is wrong; the text says which and why, and nothing of its contents. */
NODISCARD enum status file_check_feed(struct file_check *check, struct slice data, struct error *error);
NODISCARD enum status file_check_end(struct file_check *check, struct error *error);

#endif
