/*
 * A file of lines being written, plain or as gzip. What is appended to `buffer` goes to the file in large
 * writes once it is more than SINK_WRITE_BYTES. The gzip header holds no name and no time, so that the same
 * lines give the same bytes.
 *
 * Life cycle: sink_open, then append to `buffer` and call sink_relieve between lines, then sink_finish;
 * sink_close at the end in any case.
 *
 * Threading: one thread at a time.
 */
#ifndef TOOLS_SYNTH_SINK_H
#define TOOLS_SYNTH_SINK_H

#include "codec/base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

#define SINK_WRITE_BYTES ((size_t)1 << 20)

struct sink_packer;

struct sink {
    struct buffer buffer;
    int fd;
    char *path;
    struct sink_packer *packer; /* NULL: plain */
    uint64_t line_bytes;        /* before compression */
};

/* Closed: what sink_close accepts. */
#define SINK_INIT                                                                                            \
    {                                                                                                        \
        BUFFER_INIT, -1, NULL, NULL, 0                                                                       \
    }

/* Makes the file, which must not exist yet; with `gzip`, ".gz" is added to its name. */
NODISCARD enum status sink_open(struct sink *sink, const char *path, bool gzip, struct error *error);
NODISCARD enum status sink_relieve(struct sink *sink, struct error *error);
/* Writes all that is left and closes the file, so that a failure the system reports late is seen. */
NODISCARD enum status sink_finish(struct sink *sink, struct error *error);
void sink_close(struct sink *sink);

#endif
