#include "server/feed_body.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/encoder.h"
#include "tests/support/store_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_US    (20 * US_PER_SECOND)
#define STEPS_MAX  64
#define PULL_BYTES ((size_t)40000)

/* A file as an export writes it: what stands there after each of its writes. */
struct sample {
    struct buffer gzip, raw, index;
    struct export_feed_view steps[STEPS_MAX];
    size_t step_count;
};

static void sample_step(struct sample *sample, struct encoder *encoder)
{
    size_t count, bytes;
    const struct iovec *slices = encoder_output(encoder, &count, &bytes);
    for (size_t i = 0; i < count; i++)
        buffer_append(&sample->gzip, slices[i].iov_base, slices[i].iov_len);
    encoder_clear_output(encoder);
    buffer_append_slice(&sample->index, encoder_index(encoder));
    encoder_clear_index(encoder);
    sample->steps[sample->step_count++] =
        (struct export_feed_view){.gzip_bytes = sample->gzip.size, .index_bytes = sample->index.size};
}

static void sample_make(struct sample *sample, size_t segments, size_t line_bytes)
{
    struct encoder *encoder = encoder_new();
    struct segment_builder *builder = segment_builder_new(DEFLATE_LEVEL_GOOD);
    uint64_t random = store_fixture_seed();
    *sample = (struct sample){.gzip = BUFFER_INIT};
    encoder_begin(encoder);
    for (size_t i = 0; i < segments; i++) {
        struct buffer value = BUFFER_INIT;
        struct segment segment;
        size_t at = sample->raw.size;
        for (size_t k = 0; k < line_bytes; k++)
            buffer_append_char(&sample->raw, (char)('a' + store_fixture_random(&random) % 20));
        struct segment_entry entry = {.id = SLICE_LITERAL("x"), .stamp_us = 1, .source_us = 1};
        segment_builder_add(builder, &entry, slice_make(sample->raw.data + at, line_bytes));
        buffer_append_char(&sample->raw, '\n');
        segment_builder_finish(builder, &value);
        assert_int_equal(segment_open(buffer_slice(&value), &segment, NULL), STATUS_OK);
        assert_int_equal(encoder_segment(encoder, &segment, INT64_MIN, INT64_MAX, NULL), STATUS_OK);
        sample_step(sample, encoder);
        buffer_release(&value);
    }
    encoder_end(encoder);
    sample_step(sample, encoder);
    segment_builder_free(builder);
    encoder_free(encoder);
}

static void sample_release(struct sample *sample)
{
    buffer_release(&sample->gzip);
    buffer_release(&sample->raw);
    buffer_release(&sample->index);
}

/* The writer's side. */
struct writing {
    const struct sample *sample;
    int fd, index_fd;
    struct export_feed *feed;
    struct export_feed_view written;
};

static int temporary_file(void)
{
    const char *folder = getenv("TMPDIR");
    char path[STORE_FIXTURE_PATH_MAX];
    snprintf(path, sizeof path, "%s/feed.XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path); /* as a file that was deleted while it is followed */
    return fd;
}

static void writing_begin(struct writing *writing, const struct sample *sample)
{
    *writing = (struct writing){.sample = sample, .fd = temporary_file(), .index_fd = temporary_file()};
    writing->feed = export_feed_new(writing->fd, writing->index_fd);
    assert_non_null(writing->feed);
}

static void writing_step(struct writing *writing, size_t step)
{
    const struct export_feed_view *to = &writing->sample->steps[step];
    size_t bytes = to->gzip_bytes - writing->written.gzip_bytes;
    size_t index_bytes = to->index_bytes - writing->written.index_bytes;
    const struct sample *sample = writing->sample;
    if (write(writing->fd, sample->gzip.data + writing->written.gzip_bytes, bytes) != (ssize_t)bytes ||
        (index_bytes && write(writing->index_fd, sample->index.data + writing->written.index_bytes,
                              index_bytes) != (ssize_t)index_bytes))
        abort();
    writing->written = *to;
    export_feed_publish(writing->feed, to->gzip_bytes, to->index_bytes);
}

/* The writer lets go of the file; followers keep it. */
static void writing_release(struct writing *writing)
{
    close(writing->fd);
    close(writing->index_fd);
    export_feed_unref(writing->feed);
    writing->feed = NULL;
}

static void *write_all(void *argument)
{
    struct writing *writing = argument;
    for (size_t i = 0; i < writing->sample->step_count; i++) {
        writing_step(writing, i);
        if (i % 3 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    }
    export_feed_end(writing->feed, EXPORT_FEED_COMPLETE);
    return NULL;
}

/* What a reactor does with a body. */
struct follower {
    struct mailbox *mailbox;
    struct io_workers *io;
    struct body_source *source;
    struct buffer got;
    unsigned ready;
};

static void on_ready(void *context)
{
    ((struct follower *)context)->ready++;
}

static void follower_begin(struct follower *follower, struct export_feed *feed, enum file_coding coding)
{
    *follower = (struct follower){.mailbox = mailbox_new(4)};
    assert_int_equal(io_workers_start(1, &follower->io, NULL), STATUS_OK);
    follower->source = feed_body_new(&(struct feed_body_options){
        .io = follower->io,
        .reply_to = follower->mailbox,
        .coding = coding,
        .feed = feed,
        .context = follower,
        .ready = on_ready,
    });
}

static void follower_close(struct follower *follower)
{
    follower->source->close(follower->source);
    io_workers_stop(follower->io);
    message_deliver_all(mailbox_take(follower->mailbox), NULL);
    mailbox_free(follower->mailbox);
    buffer_release(&follower->got);
}

/* Until it has to wait, or the end. */
static enum body_pull follower_pull(struct follower *follower)
{
    for (;;) {
        struct slice chunk;
        enum body_pull result = follower->source->pull(follower->source, PULL_BYTES, &chunk);
        assert_true(chunk.size <= PULL_BYTES);
        buffer_append_slice(&follower->got, chunk);
        if (result != BODY_PULL_MORE)
            return result;
        assert_true(chunk.size > 0);
    }
}

static void follower_wait(struct follower *follower)
{
    struct message *list = mailbox_wait(follower->mailbox, clock_monotonic_us() + WAIT_US);
    assert_non_null(list);
    message_deliver_all(list, NULL);
    assert_int_equal(follower->ready, 1);
    follower->ready = 0;
}

/* With the disk's waits gone through. */
static enum body_pull follower_pull_until(struct follower *follower, size_t bytes)
{
    enum body_pull result;
    while ((result = follower_pull(follower)) == BODY_PULL_WAIT && follower->got.size < bytes)
        follower_wait(follower);
    return result;
}

static enum body_pull follower_pull_all(struct follower *follower)
{
    return follower_pull_until(follower, SIZE_MAX);
}

static const struct buffer *bytes_of(const struct sample *sample, enum file_coding coding)
{
    return coding == FILE_CODING_GZIP ? &sample->gzip : &sample->raw;
}

static void assert_got(const struct follower *follower, struct slice wanted)
{
    assert_int_equal(follower->got.size, wanted.size);
    assert_memory_equal(follower->got.data, wanted.data, wanted.size);
}

/* ---- tests ---- */

static void follower_gets_every_byte_of_a_file_that_grows(void **state)
{
    (void)state;
    static const struct {
        size_t segments, line_bytes;
    } shapes[] = {{1, 10}, {40, 5000}, {60, 100000}, {0, 0}};
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        enum file_coding coding = i % 2 ? FILE_CODING_GZIP : FILE_CODING_IDENTITY;
        struct sample sample;
        struct writing writing;
        struct follower follower;
        pthread_t writer;
        sample_make(&sample, shapes[i / 2].segments, shapes[i / 2].line_bytes);
        writing_begin(&writing, &sample);
        follower_begin(&follower, writing.feed, coding);
        assert_int_equal(pthread_create(&writer, NULL, write_all, &writing), 0);
        assert_int_equal(follower_pull_all(&follower), BODY_PULL_END);
        assert_got(&follower, buffer_slice(bytes_of(&sample, coding)));
        pthread_join(writer, NULL);
        follower_close(&follower);
        writing_release(&writing);
        sample_release(&sample);
    }
}

static void follower_gets_what_is_published_and_then_waits(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        enum file_coding coding = i ? FILE_CODING_GZIP : FILE_CODING_IDENTITY;
        struct sample sample;
        struct writing writing;
        struct follower follower;
        sample_make(&sample, 5, 999);
        writing_begin(&writing, &sample);
        follower_begin(&follower, writing.feed, coding);
        assert_int_equal(follower_pull(&follower), BODY_PULL_WAIT);
        assert_int_equal(follower.got.size, 0);
        for (size_t step = 0; step < 5; step++) {
            size_t bytes = coding == FILE_CODING_GZIP ? sample.steps[step].gzip_bytes : (step + 1) * 1000;
            writing_step(&writing, step);
            follower_wait(&follower);
            assert_int_equal(follower_pull_until(&follower, bytes), BODY_PULL_WAIT);
            assert_got(&follower, slice_make(bytes_of(&sample, coding)->data, bytes));
        }
        writing_step(&writing, 5);
        export_feed_end(writing.feed, EXPORT_FEED_COMPLETE);
        writing_release(&writing);
        follower_wait(&follower);
        assert_int_equal(follower_pull_all(&follower), BODY_PULL_END);
        assert_got(&follower, buffer_slice(bytes_of(&sample, coding)));
        follower_close(&follower);
        sample_release(&sample);
    }
}

static void follower_of_a_broken_file_fails(void **state)
{
    (void)state;
    struct sample sample;
    struct writing writing;
    struct follower waiting, late;
    sample_make(&sample, 5, 999);
    writing_begin(&writing, &sample);
    writing_step(&writing, 0);
    follower_begin(&waiting, writing.feed, FILE_CODING_IDENTITY);
    assert_int_equal(follower_pull_until(&waiting, 1000), BODY_PULL_WAIT);
    export_feed_end(writing.feed, EXPORT_FEED_BROKEN);
    export_feed_end(writing.feed, EXPORT_FEED_COMPLETE); /* too late */
    follower_wait(&waiting);
    assert_int_equal(follower_pull_all(&waiting), BODY_PULL_FAIL);
    follower_begin(&late, writing.feed, FILE_CODING_GZIP);
    assert_int_equal(follower_pull_all(&late), BODY_PULL_FAIL);
    follower_close(&waiting);
    follower_close(&late);
    writing_release(&writing);
    sample_release(&sample);
}

static void identity_of_damaged_bytes_does_not_end(void **state)
{
    (void)state;
    struct sample sample;
    sample_make(&sample, 3, 999);
    /* A piece; the CRC of the trailer; its length. */
    size_t places[] = {GZIP_HEADER_SIZE + 300, sample.gzip.size - 6, sample.gzip.size - 2};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct writing writing;
        struct follower follower;
        sample.gzip.data[places[i]] ^= 0x10;
        writing_begin(&writing, &sample);
        for (size_t step = 0; step < sample.step_count; step++)
            writing_step(&writing, step);
        export_feed_end(writing.feed, EXPORT_FEED_COMPLETE);
        follower_begin(&follower, writing.feed, FILE_CODING_IDENTITY);
        assert_int_equal(follower_pull_all(&follower), BODY_PULL_FAIL);
        follower_close(&follower);
        writing_release(&writing);
        sample.gzip.data[places[i]] ^= 0x10;
    }
    sample_release(&sample);
}

static void follower_may_go_at_any_time(void **state)
{
    (void)state;
    struct sample sample;
    sample_make(&sample, 20, 30000);
    for (int how = 0; how < 12; how++) {
        enum file_coding coding = how % 2 ? FILE_CODING_GZIP : FILE_CODING_IDENTITY;
        struct writing writing;
        struct follower follower, second;
        pthread_t writer;
        writing_begin(&writing, &sample);
        follower_begin(&follower, writing.feed, coding);
        follower_begin(&second, writing.feed, coding);
        if (how >= 2) /* it waits */
            assert_int_equal(follower_pull(&follower), BODY_PULL_WAIT);
        if (how >= 4) { /* the message is in its mailbox */
            writing_step(&writing, 0);
            posix_fadvise(writing.fd, 0, 0, POSIX_FADV_DONTNEED);
        }
        if (how >= 6) /* half way */
            follower_pull_until(&follower, 1);
        if (how >= 8) {
            export_feed_unref(writing.feed);
            writing.feed = NULL;
        } else if (how < 4) {
            assert_int_equal(pthread_create(&writer, NULL, write_all, &writing), 0);
        }
        follower_close(&follower);
        if (how < 4) {
            assert_int_equal(follower_pull_all(&second), BODY_PULL_END);
            assert_got(&second, buffer_slice(bytes_of(&sample, coding)));
            pthread_join(writer, NULL);
        }
        follower_close(&second);
        writing_release(&writing);
    }
    sample_release(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follower_gets_every_byte_of_a_file_that_grows),
        cmocka_unit_test(follower_gets_what_is_published_and_then_waits),
        cmocka_unit_test(follower_of_a_broken_file_fails),
        cmocka_unit_test(identity_of_damaged_bytes_does_not_end),
        cmocka_unit_test(follower_may_go_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
