/*
 * One load's folder: a file of lines for each resource type, being written.
 *
 *     DIR/NAME/Patient.ndjson, Coverage.ndjson, ExplanationOfBenefit.ndjson   (.gz with gzip)
 *
 * Life cycle: folder_open, then append to the sinks' buffers and call folder_relieve between lines, then
 * folder_finish; folder_close at the end in any case.
 *
 * Threading: one thread at a time.
 */
#ifndef TOOLS_SYNTH_FOLDER_H
#define TOOLS_SYNTH_FOLDER_H

#include "tools/synth/sink.h"

enum folder_file { FOLDER_PATIENT, FOLDER_COVERAGE, FOLDER_CLAIM, FOLDER_FILE_COUNT };

struct folder {
    struct sink files[FOLDER_FILE_COUNT];
};

/* Makes a directory; it may exist. */
NODISCARD enum status directory_make(const char *path, struct error *error);

NODISCARD enum status folder_open(struct folder *folder, const char *path, bool gzip, struct error *error);
NODISCARD enum status folder_relieve(struct folder *folder, struct error *error);
NODISCARD enum status folder_finish(struct folder *folder, struct error *error);
void folder_close(struct folder *folder);
/* Before compression, with what is still in buffers. */
uint64_t folder_line_bytes(const struct folder *folder);

#endif
