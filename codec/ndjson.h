/*
 * Lines out of a stream of bytes. Lines end at "\n" ("\r\n" is taken too, the last line may lack its end);
 * an empty or all-blank line is skipped and counted; a line over the bound (its end not counted) is skipped
 * and reported once, without holding its bytes. What is handed out does not depend on how the stream was cut
 * into chunks. After a failure nothing may follow but ndjson_splitter_release.
 *
 * Threading: one thread at a time.
 */
#ifndef CODEC_NDJSON_H
#define CODEC_NDJSON_H

#include "codec/base/buffer.h"

#include <stdint.h>

struct ndjson_splitter {
    struct buffer partial; /* the begin of a line whose end has not come yet */
    size_t line_bytes_max;
    uint64_t line_number; /* of the last line handed out, from 1 */
    bool skipping;        /* inside a line that is too long */
    bool at_begin;        /* a byte order mark is dropped here */
};

/* Called for each line, which lives until the handler returns. `too_long`: the line was over the bound,
 * `line` is empty. A status other than OK stops the splitter, which returns it. */
typedef enum status ndjson_handler(void *context, uint64_t line_number, struct slice line, bool too_long,
                                   struct error *error);

/* line_bytes_max is at most SIZE_MAX / 2 (CHECK). */
void ndjson_splitter_init(struct ndjson_splitter *splitter, size_t line_bytes_max);
void ndjson_splitter_release(struct ndjson_splitter *splitter);
/* Takes the next bytes; lines inside one chunk are handed out without a copy. */
NODISCARD enum status ndjson_splitter_feed(struct ndjson_splitter *splitter, struct slice chunk,
                                           ndjson_handler *handler, void *context, struct error *error);
NODISCARD enum status ndjson_splitter_end(struct ndjson_splitter *splitter, ndjson_handler *handler,
                                          void *context, struct error *error);

/* The text without the byte order mark that a file may begin with. */
struct slice ndjson_skip_mark(struct slice text);

#endif
