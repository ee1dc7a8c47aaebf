#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/encoder.h"
#include "codec/instant.h"
#include "codec/json_reader.h"
#include "codec/ndjson.h"
#include "codec/resource.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_claims.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yajl/yajl_gen.h>
#include <yajl/yajl_parse.h>

/* ---- JSON in ---- */

/* yajl alone, with callbacks that do nothing: what any parser on top of it pays. */
static void bench_yajl_parse(struct bench_loop *loop)
{
    static const yajl_callbacks none = {0};
    const struct bench_claims *claims = bench_claims();
    bool good = true;
    while (bench_next(loop)) {
        for (size_t b = 0; b < claims->beneficiary_count; b++) {
            const struct bench_beneficiary *one = &claims->beneficiaries[b];
            for (size_t i = 0; i < one->count; i++) {
                yajl_handle handle = yajl_alloc(&none, NULL, NULL);
                good &= yajl_parse(handle, (const unsigned char *)one->claims[i].line.data,
                                   one->claims[i].line.size) == yajl_status_ok &&
                        yajl_complete_parse(handle) == yajl_status_ok;
                yajl_free(handle);
            }
        }
    }
    if (!good)
        bench_wrong(loop, "yajl refused a claim");
    bench_bytes(loop, claims->ndjson.size);
    bench_items(loop, claims->count);
}

static enum status count_event(void *context, enum json_event event, struct slice text, unsigned depth,
                               struct error *error)
{
    (void)event, (void)text, (void)depth, (void)error;
    *(uint64_t *)context += 1;
    return STATUS_OK;
}

static void bench_json_read(struct bench_loop *loop)
{
    const struct bench_claims *claims = bench_claims();
    struct json_reader *reader = json_reader_new();
    uint64_t events = 0, first = 0;
    bool good = true;
    while (bench_next(loop)) {
        events = 0;
        for (size_t b = 0; b < claims->beneficiary_count; b++) {
            const struct bench_beneficiary *one = &claims->beneficiaries[b];
            for (size_t i = 0; i < one->count; i++)
                good &= json_read(reader, one->claims[i].line, count_event, &events, NULL) == STATUS_OK;
        }
        good &= !first || events == first;
        first = events;
    }
    if (!good || events < claims->count * 100)
        bench_wrong(loop, "a claim was refused, or gave other events");
    bench_bytes(loop, claims->ndjson.size);
    bench_items(loop, claims->count);
    json_reader_free(reader);
}

struct parse_check {
    struct resource_parser *parser;
    uint64_t hashes, lines;
};

static enum status parse_line(void *context, uint64_t number, struct slice line, bool too_long,
                              struct error *error)
{
    (void)number, (void)too_long;
    struct parse_check *check = context;
    struct resource resource;
    enum status status = resource_parse(check->parser, line, &resource, error);
    if (status == STATUS_OK) {
        check->hashes ^= resource.content_hash;
        check->lines++;
    }
    return status;
}

/* What an import does with its lines before anything is deflated: split, check, make canonical, take apart.
 */
static void parse_lines(struct bench_loop *loop, struct slice ndjson, uint64_t expected_hashes)
{
    struct parse_check check = {.parser = resource_parser_new()};
    bool good = true;
    while (bench_next(loop)) {
        struct ndjson_splitter splitter;
        check.hashes = 0;
        check.lines = 0;
        ndjson_splitter_init(&splitter, RESOURCE_BYTES_MAX);
        good &= ndjson_splitter_feed(&splitter, ndjson, parse_line, &check, NULL) == STATUS_OK &&
                ndjson_splitter_end(&splitter, parse_line, &check, NULL) == STATUS_OK;
        ndjson_splitter_release(&splitter);
        good &= check.hashes == expected_hashes && check.lines == bench_claims()->count;
    }
    if (!good)
        bench_wrong(loop, "the lines were not taken apart as expected");
    bench_bytes(loop, ndjson.size);
    bench_items(loop, check.lines);
    resource_parser_free(check.parser);
}

static uint64_t hashes_of(const struct bench_claims *claims)
{
    uint64_t hashes = 0;
    for (size_t b = 0; b < claims->beneficiary_count; b++) {
        for (size_t i = 0; i < claims->beneficiaries[b].count; i++)
            hashes ^= claims->beneficiaries[b].claims[i].entry.content_hash;
    }
    return hashes;
}

static void bench_resource_parse(struct bench_loop *loop)
{
    const struct bench_claims *claims = bench_claims();
    parse_lines(loop, claims->ndjson, hashes_of(claims));
}

/* The same claims with a blank behind every comma and colon outside strings. */
static void bench_resource_canonicalise(struct bench_loop *loop)
{
    const struct bench_claims *claims = bench_claims();
    struct buffer spaced = BUFFER_INIT;
    bool in_string = false;
    for (size_t i = 0; i < claims->ndjson.size; i++) {
        char c = claims->ndjson.data[i];
        buffer_append_char(&spaced, c);
        if (in_string && c == '\\')
            buffer_append_char(&spaced, claims->ndjson.data[++i]);
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == ',' || c == ':'))
            buffer_append_char(&spaced, ' ');
    }
    parse_lines(loop, buffer_slice(&spaced), hashes_of(claims));
    buffer_release(&spaced);
}

/* ---- segments ---- */

/* As an import's packer does: all claims of a beneficiary into segments. */
static void build_segments(struct bench_loop *loop, enum deflate_level level)
{
    const struct bench_claims *claims = bench_claims();
    struct segment_builder *builder = segment_builder_new(level);
    struct buffer values = BUFFER_INIT;
    while (bench_next(loop)) {
        buffer_reset(&values);
        for (size_t b = 0; b < claims->beneficiary_count; b++) {
            const struct bench_beneficiary *one = &claims->beneficiaries[b];
            for (size_t i = 0; i < one->count; i++) {
                if (segment_builder_is_full_for(builder, one->claims[i].line.size + 1))
                    segment_builder_finish(builder, &values);
                segment_builder_add(builder, &one->claims[i].entry, one->claims[i].line);
            }
            segment_builder_finish(builder, &values);
        }
    }
    /* The last one must be sound. */
    if (values.size < claims->ndjson.size / 100 || values.size > claims->ndjson.size / 5)
        bench_wrong(loop, "the segments have an unlikely size");
    bench_bytes(loop, claims->ndjson.size);
    bench_figure(loop, "ratio", (double)claims->ndjson.size / (double)values.size);
    buffer_release(&values);
    segment_builder_free(builder);
}

static void bench_segment_build_good(struct bench_loop *loop)
{
    build_segments(loop, DEFLATE_LEVEL_GOOD);
}

static void bench_segment_build_best(struct bench_loop *loop)
{
    build_segments(loop, DEFLATE_LEVEL_BEST);
}

static void bench_segment_inflate(struct bench_loop *loop)
{
    const struct bench_segments *all = bench_segments();
    struct inflater *inflater = inflater_new();
    struct buffer lines = BUFFER_INIT;
    bool good = true;
    while (bench_next(loop)) {
        for (size_t i = 0; i < all->count; i++) {
            buffer_reset(&lines);
            good &= segment_inflate(&all->segments[i], inflater, &lines, NULL) == STATUS_OK;
        }
    }
    if (!good)
        bench_wrong(loop, "a segment is not what it was");
    bench_bytes(loop, all->raw_bytes);
    buffer_release(&lines);
    inflater_free(inflater);
}

static void bench_segment_table_read(struct bench_loop *loop)
{
    const struct bench_segments *all = bench_segments();
    struct segment_table table;
    uint64_t entries = 0;
    bool good = true;
    segment_table_init(&table);
    while (bench_next(loop)) {
        entries = 0;
        for (size_t i = 0; i < all->count; i++) {
            good &= segment_table_read(&table, &all->segments[i], NULL) == STATUS_OK;
            entries += table.count;
        }
    }
    if (!good || entries != all->resources)
        bench_wrong(loop, "a table is not what it was");
    bench_items(loop, all->resources);
    segment_table_release(&table);
}

/* ---- CRCs ---- */

static void bench_crc32c_segment(struct bench_loop *loop)
{
    const struct bench_segments *all = bench_segments();
    uint32_t sum = 0, first = 0;
    bool good = true;
    while (bench_next(loop)) {
        sum = 0;
        for (size_t i = 0; i < all->count; i++)
            sum ^= crc32c_of(0, all->values[i]);
        good &= !first || sum == first;
        first = sum;
    }
    if (!good || crc32c_of(0, SLICE_LITERAL("123456789")) != 0xe3069283)
        bench_wrong(loop, "no CRC-32C");
    bench_bytes(loop, all->stored_bytes);
}

static void bench_crc32_join(struct bench_loop *loop)
{
    const struct bench_segments *all = bench_segments();
    uint32_t crc = 0;
    while (bench_next(loop)) {
        crc = 0;
        for (size_t i = 0; i < all->count; i++)
            crc = crc32_join(crc, all->segments[i].crc, all->segments[i].crc_operator);
    }
    if (crc != crc32_of(0, bench_claims()->ndjson))
        bench_wrong(loop, "the joined CRC is not that of the lines");
    bench_items(loop, all->count);
}

/* ---- the encoder, and what it is measured against ---- */

/* A file whose pages are in memory already: new ones are slow on virtual machines. */
static int resident_file(size_t bytes)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/sluice-bench-XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    unlink(path);
    char *block = mem_zalloc(1 << 20);
    for (size_t done = 0; done < bytes; done += 1 << 20) {
        ssize_t written = pwrite(fd, block, 1 << 20, (off_t)done);
        CHECK(written == 1 << 20);
    }
    mem_free(block);
    return fd;
}

static bool flush_output(struct encoder *encoder, int fd)
{
    size_t count, bytes;
    const struct iovec *slices = encoder_output(encoder, &count, &bytes);
    bool good = !count || writev(fd, slices, (int)count) == (ssize_t)bytes;
    encoder_clear_output(encoder);
    encoder_clear_index(encoder);
    return good;
}

/* All segments of a file as the server does it: slices gathered to a megabyte, then one writev. */
static void encode_file(struct bench_loop *loop, int64_t since_us)
{
    const struct bench_segments *all = bench_segments();
    struct encoder *encoder = encoder_new();
    int fd = resident_file(all->raw_bytes);
    bool good = true;
    while (bench_next(loop)) {
        lseek(fd, 0, SEEK_SET);
        encoder_begin(encoder);
        for (size_t i = 0; i < all->count; i++) {
            size_t count, bytes;
            good &= encoder_segment(encoder, &all->segments[i], since_us, INSTANT_MAX_US, NULL) == STATUS_OK;
            encoder_output(encoder, &count, &bytes);
            if (bytes >= 1 << 20 || encoder_output_is_full(encoder))
                good &= flush_output(encoder, fd);
        }
        encoder_end(encoder);
        good &= flush_output(encoder, fd);
    }
    if (!good || (since_us == INSTANT_MIN_US && encoder_raw_bytes(encoder) != all->raw_bytes) ||
        encoder_count(encoder) == 0 || lseek(fd, 0, SEEK_CUR) != (off_t)encoder_gzip_bytes(encoder))
        bench_wrong(loop, "the file does not hold what it should");
    bench_bytes(loop, all->raw_bytes);
    bench_items(loop, all->count);
    close(fd);
    encoder_free(encoder);
}

static void bench_encode_verbatim(struct bench_loop *loop)
{
    encode_file(loop, INSTANT_MIN_US);
}

/* A `_since` in the middle: most segments are left out, copied whole or picked from. */
static void bench_encode_filtered(struct bench_loop *loop)
{
    const struct bench_segments *all = bench_segments();
    int64_t oldest_us = INT64_MAX, newest_us = INT64_MIN;
    for (size_t i = 0; i < all->count; i++) {
        oldest_us = all->segments[i].oldest_us < oldest_us ? all->segments[i].oldest_us : oldest_us;
        newest_us = all->segments[i].newest_us > newest_us ? all->segments[i].newest_us : newest_us;
    }
    encode_file(loop, oldest_us + (newest_us - oldest_us) / 2);
}

/* As `cp` does where the file system does not clone: reads and writes of 256 KiB, page cache to page cache.
 */
static void bench_copy_raw(struct bench_loop *loop)
{
    enum { BLOCK = 256 * 1024 };
    const struct bench_claims *claims = bench_claims();
    int source = resident_file(claims->ndjson.size), target = resident_file(claims->ndjson.size);
    char *block = mem_alloc_pages(BLOCK);
    bool good = pwrite(source, claims->ndjson.data, claims->ndjson.size, 0) == (ssize_t)claims->ndjson.size &&
                ftruncate(source, (off_t)claims->ndjson.size) == 0;
    off_t copied = 0;
    while (bench_next(loop)) {
        ssize_t got;
        for (copied = 0; (got = pread(source, block, BLOCK, copied)) > 0; copied += got)
            good &= pwrite(target, block, (size_t)got, copied) == got;
    }
    if (!good || copied != (off_t)claims->ndjson.size)
        bench_wrong(loop, "not everything was copied");
    bench_bytes(loop, claims->ndjson.size);
    mem_free(block);
    close(source);
    close(target);
}

/* ---- the obvious design: every resource through yajl, in and out, and deflated anew ---- */

static int gen_null(void *gen)
{
    return yajl_gen_null(gen) == yajl_gen_status_ok;
}

static int gen_boolean(void *gen, int value)
{
    return yajl_gen_bool(gen, value) == yajl_gen_status_ok;
}

static int gen_number(void *gen, const char *text, size_t size)
{
    return yajl_gen_number(gen, text, size) == yajl_gen_status_ok;
}

static int gen_string(void *gen, const unsigned char *text, size_t size)
{
    return yajl_gen_string(gen, text, size) == yajl_gen_status_ok;
}

static int gen_map_begin(void *gen)
{
    return yajl_gen_map_open(gen) == yajl_gen_status_ok;
}

static int gen_map_end(void *gen)
{
    return yajl_gen_map_close(gen) == yajl_gen_status_ok;
}

static int gen_array_begin(void *gen)
{
    return yajl_gen_array_open(gen) == yajl_gen_status_ok;
}

static int gen_array_end(void *gen)
{
    return yajl_gen_array_close(gen) == yajl_gen_status_ok;
}

static const yajl_callbacks regenerate = {
    .yajl_null = gen_null,
    .yajl_boolean = gen_boolean,
    .yajl_number = gen_number,
    .yajl_string = gen_string,
    .yajl_map_key = gen_string,
    .yajl_start_map = gen_map_begin,
    .yajl_end_map = gen_map_end,
    .yajl_start_array = gen_array_begin,
    .yajl_end_array = gen_array_end,
};

/* Appends the line as yajl writes it. */
static bool naive_line(struct slice line, struct buffer *target)
{
    const unsigned char *text;
    size_t size;
    yajl_gen gen = yajl_gen_alloc(NULL);
    yajl_handle handle = yajl_alloc(&regenerate, NULL, gen);
    bool good = yajl_parse(handle, (const unsigned char *)line.data, line.size) == yajl_status_ok &&
                yajl_complete_parse(handle) == yajl_status_ok &&
                yajl_gen_get_buf(gen, &text, &size) == yajl_gen_status_ok;
    if (good)
        buffer_append(target, text, size);
    buffer_append_char(target, '\n');
    yajl_free(handle);
    yajl_gen_free(gen);
    return good;
}

static void bench_naive_export(struct bench_loop *loop)
{
    const struct bench_claims *claims = bench_claims();
    struct buffer lines = BUFFER_INIT;
    int fd = resident_file(claims->ndjson.size);
    bool good = true;
    uint64_t written = 0;
    while (bench_next(loop)) {
        written = 0;
        lseek(fd, 0, SEEK_SET);
        for (size_t b = 0; b < claims->beneficiary_count; b++) {
            const struct bench_beneficiary *one = &claims->beneficiaries[b];
            buffer_reset(&lines);
            for (size_t i = 0; i < one->count; i++)
                good &= naive_line(one->claims[i].line, &lines);
            good &= write(fd, lines.data, lines.size) == (ssize_t)lines.size;
            written += lines.size;
        }
    }
    if (!good || written < claims->ndjson.size / 10 * 9)
        bench_wrong(loop, "not everything was written");
    bench_bytes(loop, claims->ndjson.size);
    bench_items(loop, claims->count);
    buffer_release(&lines);
    close(fd);
}

/* ---- instants ---- */

static void bench_instant_parse(struct bench_loop *loop)
{
    int64_t us = 0;
    bool good = true;
    while (bench_next(loop))
        good &= instant_parse(SLICE_LITERAL("2021-08-17T17:45:40.767-05:00"), &us, NULL) == STATUS_OK;
    if (!good || us != INT64_C(1629240340767000))
        bench_wrong(loop, "another instant");
    bench_items(loop, 1);
}

static void bench_instant_format(struct bench_loop *loop)
{
    char text[INSTANT_TEXT_SIZE] = "";
    while (bench_next(loop))
        instant_format(INT64_C(1575924241705398), text);
    if (strcmp(text, "2019-12-09T20:44:01.705398Z") != 0)
        bench_wrong(loop, "another text");
    bench_items(loop, 1);
}

const struct bench_case bench_codec[] = {
    {"yajl_parse", bench_yajl_parse},
    {"json_read", bench_json_read},
    {"resource_parse", bench_resource_parse},
    {"resource_canonicalise", bench_resource_canonicalise},
    {"segment_build_good", bench_segment_build_good},
    {"segment_build_best", bench_segment_build_best},
    {"segment_inflate", bench_segment_inflate},
    {"segment_table_read", bench_segment_table_read},
    {"crc32c_segment", bench_crc32c_segment},
    {"crc32_join", bench_crc32_join},
    {"encode_verbatim", bench_encode_verbatim},
    {"encode_filtered", bench_encode_filtered},
    {"copy_raw", bench_copy_raw},
    {"naive_export", bench_naive_export},
    {"instant_parse", bench_instant_parse},
    {"instant_format", bench_instant_format},
    {NULL, NULL},
};
