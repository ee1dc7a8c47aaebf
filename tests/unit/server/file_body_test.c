#include "server/file_body.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/encoder.h"
#include "tests/support/store_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_US (20 * US_PER_SECOND)

/* A file of segments with its index behind it, and what is in it. */
struct sample {
    char dir[STORE_FIXTURE_PATH_MAX];
    char path[STORE_FIXTURE_PATH_MAX + 16];
    struct buffer gzip, raw, index;
};

static void sample_write(struct sample *sample)
{
    const struct buffer *gzip = &sample->gzip, *index = &sample->index;
    int fd = open(sample->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, gzip->data, gzip->size), (ssize_t)gzip->size);
    assert_int_equal(write(fd, index->data, index->size), (ssize_t)index->size);
    assert_int_equal(fsync(fd), 0);
    /* Out of the page cache: the first reads have to wait for the disk. */
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

static void encode(struct sample *sample, struct encoder *encoder, struct slice value)
{
    struct segment segment;
    size_t count, bytes;
    assert_int_equal(segment_open(value, &segment, NULL), STATUS_OK);
    assert_int_equal(encoder_segment(encoder, &segment, INT64_MIN, INT64_MAX, NULL), STATUS_OK);
    const struct iovec *slices = encoder_output(encoder, &count, &bytes);
    for (size_t i = 0; i < count; i++)
        buffer_append(&sample->gzip, slices[i].iov_base, slices[i].iov_len);
    encoder_clear_output(encoder);
}

/* `sizes`: bytes of the single line of each segment. */
static void sample_make(struct sample *sample, const size_t *sizes, size_t count)
{
    struct encoder *encoder = encoder_new();
    struct segment_builder *builder = segment_builder_new(DEFLATE_LEVEL_GOOD);
    struct buffer value = BUFFER_INIT;
    uint64_t random = store_fixture_seed();
    size_t slices, bytes;
    *sample = (struct sample){.gzip = BUFFER_INIT};
    store_fixture_dir_make(sample->dir);
    snprintf(sample->path, sizeof sample->path, "%s/file.gz", sample->dir);
    encoder_begin(encoder);
    for (size_t i = 0; i < count; i++) {
        size_t at = sample->raw.size;
        for (size_t k = 0; k < sizes[i]; k++)
            buffer_append_char(&sample->raw, (char)('a' + store_fixture_random(&random) % 20));
        struct segment_entry entry = {.id = SLICE_LITERAL("x"), .stamp_us = 1, .source_us = 1};
        segment_builder_add(builder, &entry, slice_make(sample->raw.data + at, sizes[i]));
        buffer_append_char(&sample->raw, '\n');
        buffer_reset(&value);
        segment_builder_finish(builder, &value);
        encode(sample, encoder, buffer_slice(&value));
    }
    encoder_end(encoder);
    const struct iovec *trailer = encoder_output(encoder, &slices, &bytes);
    assert_int_equal(slices, 1);
    buffer_append(&sample->gzip, trailer->iov_base, trailer->iov_len);
    buffer_append_slice(&sample->index, encoder_index(encoder));
    sample_write(sample);
    buffer_release(&value);
    segment_builder_free(builder);
    encoder_free(encoder);
}

static void sample_release(struct sample *sample)
{
    store_fixture_dir_remove(sample->dir);
    buffer_release(&sample->gzip);
    buffer_release(&sample->raw);
    buffer_release(&sample->index);
}

/* What a reactor does with a body. */
struct puller {
    struct mailbox *mailbox;
    struct io_workers *io;
    struct file_body *body;
    bool opened;
    enum status status;
    unsigned ready;
};

static void on_opened(void *context, struct file_body *body, enum status status, const struct error *error)
{
    struct puller *puller = context;
    (void)error;
    puller->body = body;
    puller->opened = true;
    puller->status = status;
}

static void on_ready(void *context)
{
    ((struct puller *)context)->ready++;
}

static void puller_init(struct puller *puller)
{
    *puller = (struct puller){.mailbox = mailbox_new(4)};
    assert_int_equal(io_workers_start(2, &puller->io, NULL), STATUS_OK);
}

static void puller_release(struct puller *puller)
{
    io_workers_stop(puller->io);
    message_deliver_all(mailbox_take(puller->mailbox), NULL);
    mailbox_free(puller->mailbox);
}

static void wait_for_message(struct puller *puller)
{
    struct message *list = mailbox_wait(puller->mailbox, clock_monotonic_us() + WAIT_US);
    assert_non_null(list);
    message_deliver_all(list, NULL);
}

static void puller_open_ranges(struct puller *puller, const struct sample *sample, enum file_coding coding,
                               const struct byte_range *ranges, size_t range_count, const struct slice *texts)
{
    puller->opened = false;
    file_body_open(&(struct file_body_options){
        .io = puller->io,
        .reply_to = puller->mailbox,
        .coding = coding,
        .path = sample->path,
        .gzip_bytes = sample->gzip.size,
        .raw_bytes = sample->raw.size,
        .ranges = ranges,
        .range_count = range_count,
        .texts = texts,
        .context = puller,
        .opened = on_opened,
        .ready = on_ready,
    });
    while (!puller->opened)
        wait_for_message(puller);
}

static void puller_open(struct puller *puller, const struct sample *sample, enum file_coding coding)
{
    puller_open_ranges(puller, sample, coding, NULL, 0, NULL);
}

static void puller_close(struct puller *puller)
{
    struct body_source *source = file_body_source(puller->body);
    source->close(source);
}

/* Everything that comes; true if it ended well. */
static bool pull_all(struct puller *puller, size_t bytes_max, struct buffer *target)
{
    struct body_source *source = file_body_source(puller->body);
    for (;;) {
        struct slice chunk;
        unsigned ready_before = puller->ready;
        switch (source->pull(source, bytes_max, &chunk)) {
        case BODY_PULL_MORE:
            assert_true(chunk.size > 0);
            assert_true(chunk.size <= bytes_max);
            buffer_append_slice(target, chunk);
            break;
        case BODY_PULL_END:
            buffer_append_slice(target, chunk);
            return true;
        case BODY_PULL_WAIT:
            while (puller->ready == ready_before)
                wait_for_message(puller);
            break;
        case BODY_PULL_FAIL:
            return false;
        }
    }
}

static void assert_same(const struct buffer *got, const struct buffer *want)
{
    assert_int_equal(got->size, want->size);
    assert_memory_equal(got->data, want->data, want->size);
}

static void check_bodies(const size_t *sizes, size_t count)
{
    static const size_t chunk_sizes[] = {1000, 16384, 256 * 1024, 4 * 1024 * 1024};
    struct sample sample;
    struct puller puller;
    sample_make(&sample, sizes, count);
    puller_init(&puller);
    for (int coding = 0; coding < 2; coding++) {
        for (size_t i = 0; i < sizeof chunk_sizes / sizeof *chunk_sizes; i++) {
            struct buffer got = BUFFER_INIT;
            puller_open(&puller, &sample, (enum file_coding)coding);
            assert_int_equal(puller.status, STATUS_OK);
            assert_true(pull_all(&puller, chunk_sizes[i], &got));
            assert_same(&got, coding == FILE_CODING_GZIP ? &sample.gzip : &sample.raw);
            puller_close(&puller);
            buffer_release(&got);
        }
    }
    puller_release(&puller);
    sample_release(&sample);
}

static void bodies_are_the_files_bytes(void **state)
{
    (void)state;
    size_t one[] = {10};
    size_t many[3000];
    for (size_t i = 0; i < 3000; i++)
        many[i] = 1 + i * 7 % 2000;
    size_t mixed[] = {100, 300 * 1024, 5, 3 * 1024 * 1024, 1, 256 * 1024, 256 * 1024 - 1, 77};
    check_bodies(one, 1);
    check_bodies(many, 3000);
    check_bodies(mixed, 8);
}

/* Random ranges of both codings, one and several, with and without texts between them. */
static void ranges_are_those_bytes(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100000, 300000, 5, 700, 262143, 262144, 40000, 1, 90000};
    struct sample sample;
    struct puller puller;
    uint64_t random = store_fixture_seed();
    struct buffer got = BUFFER_INIT, want = BUFFER_INIT;
    sample_make(&sample, sizes, sizeof sizes / sizeof *sizes);
    puller_init(&puller);
    for (unsigned round = 0; round < 400; round++) {
        enum file_coding coding = round % 2 ? FILE_CODING_GZIP : FILE_CODING_IDENTITY;
        const struct buffer *bytes = coding == FILE_CODING_GZIP ? &sample.gzip : &sample.raw;
        struct byte_range ranges[RANGES_MAX];
        struct slice texts[RANGES_MAX + 1];
        size_t count = round % 4 < 2 ? 1 : 1 + store_fixture_random(&random) % RANGES_MAX;
        bool has_texts = count > 1;
        buffer_reset(&got);
        buffer_reset(&want);
        for (size_t i = 0; i <= count; i++) {
            texts[i] = slice_make("--between--", 1 + store_fixture_random(&random) % 11);
            if (has_texts)
                buffer_append_slice(&want, texts[i]);
            if (i == count)
                break;
            ranges[i].begin = store_fixture_random(&random) % bytes->size;
            uint64_t left = bytes->size - ranges[i].begin;
            uint64_t most = store_fixture_random(&random) % 3 ? left : left < 50 ? left : 50;
            ranges[i].end = ranges[i].begin + 1 + store_fixture_random(&random) % most;
            buffer_append(&want, bytes->data + ranges[i].begin, ranges[i].end - ranges[i].begin);
        }
        puller_open_ranges(&puller, &sample, coding, ranges, count, has_texts ? texts : NULL);
        assert_int_equal(puller.status, STATUS_OK);
        assert_true(pull_all(&puller, 1 + store_fixture_random(&random) % 300000, &got));
        assert_same(&got, &want);
        puller_close(&puller);
    }
    buffer_release(&got);
    buffer_release(&want);
    puller_release(&puller);
    sample_release(&sample);
}

static void body_goes_on_after_the_file_is_deleted(void **state)
{
    (void)state;
    size_t sizes[] = {1000, 2000, 3000};
    struct sample sample;
    struct puller puller;
    struct buffer got = BUFFER_INIT;
    sample_make(&sample, sizes, 3);
    puller_init(&puller);
    puller_open(&puller, &sample, FILE_CODING_IDENTITY);
    unlink(sample.path);
    assert_true(pull_all(&puller, 100, &got));
    assert_same(&got, &sample.raw);
    puller_close(&puller);
    puller_open(&puller, &sample, FILE_CODING_GZIP);
    assert_int_equal(puller.status, STATUS_NOT_FOUND);
    puller_close(&puller);
    buffer_release(&got);
    puller_release(&puller);
    sample_release(&sample);
}

/* Whatever byte is wrong, the client must not get wrong bytes that look complete. */
static void damaged_file_never_looks_complete(void **state)
{
    (void)state;
    size_t sizes[] = {3000, 4000, 5000};
    struct sample sample;
    struct puller puller;
    uint64_t random = store_fixture_seed();
    sample_make(&sample, sizes, 3);
    puller_init(&puller);
    for (int i = 0; i < 400; i++) {
        struct buffer *damaged = i % 4 == 0 ? &sample.index : &sample.gzip;
        size_t at = store_fixture_random(&random) % damaged->size;
        char flip = (char)(1 << store_fixture_random(&random) % 8);
        if (damaged == &sample.gzip && at < GZIP_HEADER_SIZE)
            continue; /* identity does not look at it */
        damaged->data[at] ^= flip;
        sample_write(&sample);
        puller_open(&puller, &sample, FILE_CODING_IDENTITY);
        if (puller.status == STATUS_OK) {
            struct buffer got = BUFFER_INIT;
            /* A flip may be without effect, as in a block's unused bits: then the bytes are right. */
            if (pull_all(&puller, 256 * 1024, &got))
                assert_same(&got, &sample.raw);
            buffer_release(&got);
        }
        puller_close(&puller);
        damaged->data[at] ^= flip;
    }
    puller_release(&puller);
    sample_release(&sample);
}

static void file_of_another_size_is_refused(void **state)
{
    (void)state;
    size_t sizes[] = {3000, 4000};
    struct sample sample;
    struct puller puller;
    sample_make(&sample, sizes, 2);
    puller_init(&puller);
    size_t right = sample.gzip.size + sample.index.size;
    size_t wrong[] = {0,
                      sample.gzip.size - 1,
                      sample.gzip.size,
                      right - 1,
                      right + 1,
                      right - ENCODER_INDEX_ENTRY_SIZE,
                      right + ENCODER_INDEX_ENTRY_SIZE};
    for (size_t i = 0; i < 2 * (sizeof wrong / sizeof *wrong); i++) {
        sample_write(&sample);
        assert_int_equal(truncate(sample.path, (off_t)wrong[i / 2]), 0);
        puller_open(&puller, &sample, i % 2 ? FILE_CODING_IDENTITY : FILE_CODING_GZIP);
        assert_int_equal(puller.status, STATUS_CORRUPT);
        puller_close(&puller);
    }
    puller_release(&puller);
    sample_release(&sample);
}

static void file_cut_while_it_is_sent_fails(void **state)
{
    (void)state;
    size_t sizes[] = {900 * 1024, 900 * 1024};
    struct sample sample;
    struct puller puller;
    sample_make(&sample, sizes, 2);
    puller_init(&puller);
    for (int coding = 0; coding < 2; coding++) {
        struct buffer got = BUFFER_INIT;
        sample_write(&sample);
        puller_open(&puller, &sample, (enum file_coding)coding);
        assert_int_equal(puller.status, STATUS_OK);
        assert_int_equal(truncate(sample.path, (off_t)sample.gzip.size / 2), 0);
        assert_false(pull_all(&puller, 65536, &got));
        puller_close(&puller);
        buffer_release(&got);
    }
    puller_release(&puller);
    sample_release(&sample);
}

static void body_may_be_closed_at_any_time(void **state)
{
    (void)state;
    size_t sizes[] = {700 * 1024, 700 * 1024, 700 * 1024};
    struct sample sample;
    struct puller puller;
    sample_make(&sample, sizes, 3);
    puller_init(&puller);
    for (int i = 0; i < 40; i++) {
        struct slice chunk;
        sample_write(&sample);
        puller_open(&puller, &sample, i % 2 ? FILE_CODING_GZIP : FILE_CODING_IDENTITY);
        struct body_source *source = file_body_source(puller.body);
        for (int k = 0; k < i / 4; k++) {
            if (source->pull(source, 65536, &chunk) == BODY_PULL_WAIT)
                break;
        }
        puller_close(&puller); /* an I/O worker may be reading for it */
    }
    puller_release(&puller);
    sample_release(&sample);
}

static void coding_is_chosen_as_the_field_says(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        int coding; /* -1: none is acceptable */
    } rows[] = {
        {NULL, FILE_CODING_IDENTITY},
        {"", FILE_CODING_IDENTITY},
        {"gzip", FILE_CODING_GZIP},
        {"GZIP", FILE_CODING_GZIP},
        {"x-gzip", FILE_CODING_GZIP},
        {"identity", FILE_CODING_IDENTITY},
        {"br", FILE_CODING_IDENTITY},
        {"br, gzip", FILE_CODING_GZIP},
        {"gzip, deflate, br, zstd", FILE_CODING_GZIP},
        {"gzip;q=0", FILE_CODING_IDENTITY},
        {"gzip;q=0.000", FILE_CODING_IDENTITY},
        {"gzip;q=0.001", FILE_CODING_GZIP},
        {"gzip;q=0.5, identity", FILE_CODING_IDENTITY},
        {"gzip;q=0.5, identity;q=0.5", FILE_CODING_GZIP},
        {"gzip;q=0.5, identity;q=0.6", FILE_CODING_IDENTITY},
        {"gzip;q=0.5, *;q=0.6", FILE_CODING_IDENTITY},
        {"*", FILE_CODING_GZIP},
        {"*;q=0", -1},
        {"*;q=0, identity", FILE_CODING_IDENTITY},
        {"*;q=0, gzip", FILE_CODING_GZIP},
        {"identity;q=0", -1},
        {"identity;q=0, br", -1},
        {"identity;q=0, gzip;q=0", -1},
        {"identity;q=0, gzip;q=0, *", -1},
        {"identity;q=0, *", FILE_CODING_GZIP},
        {"identity;q=0, gzip", FILE_CODING_GZIP},
        {"gzip;q=2", FILE_CODING_IDENTITY},
        {" , ,gzip ; q=0.8", FILE_CODING_GZIP},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice field = slice_from_text(rows[i].field ? rows[i].field : "");
        enum file_coding coding;
        bool found = file_coding_choose(rows[i].field ? &field : NULL, &coding);
        if (found != (rows[i].coding >= 0) || (found && (int)coding != rows[i].coding))
            fail_msg("\"%s\": %d", rows[i].field, found ? (int)coding : -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_the_files_bytes),
        cmocka_unit_test(ranges_are_those_bytes),
        cmocka_unit_test(body_goes_on_after_the_file_is_deleted),
        cmocka_unit_test(damaged_file_never_looks_complete),
        cmocka_unit_test(file_of_another_size_is_refused),
        cmocka_unit_test(file_cut_while_it_is_sent_fails),
        cmocka_unit_test(body_may_be_closed_at_any_time),
        cmocka_unit_test(coding_is_chosen_as_the_field_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
