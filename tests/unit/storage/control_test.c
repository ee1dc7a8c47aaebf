/*
 * Commands, executed here and over the socket. The server is a process of its own: LMDB lets a process open
 * a store once.
 */
#include "storage/control.h"

#include "codec/base/bytes.h"
#include "codec/base/mem.h"
#include "storage/frame.h"
#include "storage/import.h"
#include "storage/resources.h"
#include "tests/support/load_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ACO "A0001"
#define EOB RESOURCE_TYPE_EXPLANATION_OF_BENEFIT

static const struct store_options options = {.map_bytes = STORE_FIXTURE_MAP_BYTES};

/* A data directory and, if it was asked for, a process that serves it. */
struct fixture {
    char root[STORE_FIXTURE_PATH_MAX];
    char dir[STORE_FIXTURE_PATH_MAX + 8];
    pid_t server;
    int stop; /* the server goes on until this is closed */
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    struct error error;
    store_fixture_dir_make(f->root);
    snprintf(f->dir, sizeof f->dir, "%s/data", f->root);
    assert_int_equal(store_create(f->dir, &options, &error), STATUS_OK);
    f->stop = -1;
    *state = f;
    return 0;
}

/* In the child. */
static _Noreturn void serve(const char *dir, int ready, int stop, bool only_lock)
{
    struct error error = {0};
    struct store *store;
    struct writer *writer;
    struct control_server *server = NULL;
    char byte;
    if (store_open(dir, STORE_ACCESS_WRITE, &options, &store, &error) != STATUS_OK ||
        writer_start(store, &writer, &error) != STATUS_OK ||
        (!only_lock && control_server_start(store, writer, NULL, &server, &error) != STATUS_OK)) {
        fprintf(stderr, "%s\n", error.text);
        _exit(1);
    }
    if (write(ready, "r", 1) != 1)
        _exit(2);
    while (read(stop, &byte, 1) < 0 && errno == EINTR)
        continue;
    control_server_stop(server);
    writer_stop(writer);
    store_close(store);
    _exit(0);
}

static void server_start(struct fixture *f, bool only_lock)
{
    int ready[2], stop[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stop), 0);
    f->server = fork();
    assert_true(f->server >= 0);
    if (f->server == 0) {
        close(ready[0]);
        close(stop[1]);
        serve(f->dir, ready[1], stop[0], only_lock);
    }
    close(ready[1]);
    close(stop[0]);
    f->stop = stop[1];
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
}

static void server_stop(struct fixture *f)
{
    int status;
    if (!f->server)
        return;
    close(f->stop);
    assert_int_equal(waitpid(f->server, &status, 0), f->server);
    f->server = 0;
    assert_int_equal(status, 0);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    server_stop(f);
    store_fixture_dir_remove(f->root);
    mem_free(f);
    return 0;
}

static struct link *open_link(const struct fixture *f)
{
    struct link *link;
    struct error error = {0};
    if (link_open(f->dir, &options, &link, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    return link;
}

/* ---- commands ---- */

static void transcribe(struct buffer *text, struct link *link, uint32_t command, struct slice payload)
{
    struct buffer reply = BUFFER_INIT;
    struct error error = {0};
    enum status status = link_call(link, command, payload, &reply, &error);
    buffer_appendf(text, "%u: %s", command, status_name(status));
    if (status != STATUS_OK)
        buffer_appendf(text, " (%s)", error.text);
    for (size_t i = 0; i < reply.size; i++)
        buffer_appendf(text, " %02x", (unsigned char)reply.data[i]);
    buffer_append_char(text, '\n');
    buffer_release(&reply);
}

static void payload_aco(struct buffer *payload, const char *id, const char *name)
{
    buffer_reset(payload);
    buffer_append_sized(payload, slice_from_text(id));
    buffer_append_sized(payload, slice_from_text(name));
}

static void payload_roster(struct buffer *payload, const char *aco, const char *name, const char *mbis)
{
    buffer_reset(payload);
    buffer_append_sized(payload, slice_from_text(aco));
    buffer_append_sized(payload, slice_from_text(name));
    buffer_append_i64(payload, 1000);
    buffer_append_sized(payload, SLICE_LITERAL("1A         9A         "));
    buffer_append_text(payload, mbis);
}

static void transcribe_import(struct buffer *text, const struct fixture *f, struct link *link)
{
    struct buffer lines = BUFFER_INIT;
    char path[STORE_FIXTURE_PATH_MAX + 32];
    for (int i = 0; i < 500; i++) {
        char id[32], owner[32];
        snprintf(id, sizeof id, "e%d", i);
        snprintf(owner, sizeof owner, "b%d", i % 20);
        load_line(&lines, EOB, id, owner, NULL, (unsigned)i, i % 3 ? "2020-05-01T00:00:00Z" : NULL);
    }
    buffer_append_text(&lines, "nothing\n");
    snprintf(path, sizeof path, "%s/load.ndjson", f->root);
    FILE *file = fopen(path, "w");
    fwrite(lines.data, 1, lines.size, file);
    fclose(file);
    buffer_release(&lines);
    const char *paths = path;
    struct import_options import = {.paths = &paths, .path_count = 1, .aco_id = ACO, .threads = 5};
    for (int i = 0; i < 2; i++) {
        struct import_counts counts;
        struct error error = {0};
        enum status status = import_run(link, &import, &counts, &error);
        buffer_appendf(text, "import: %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                       status == STATUS_OK ? "" : error.text, counts.added, counts.identical, counts.refused,
                       counts.undated, counts.beneficiaries);
    }
}

static void transcribe_all(struct buffer *text, const struct fixture *f, struct link *link)
{
    struct buffer payload = BUFFER_INIT;
    transcribe(text, link, CONTROL_COMMAND_PING, SLICE_LITERAL(""));
    transcribe(text, link, CONTROL_COMMAND_PING, SLICE_LITERAL("x"));
    transcribe(text, link, 4711, SLICE_LITERAL("x"));
    payload_aco(&payload, ACO, "One");
    transcribe(text, link, CONTROL_COMMAND_ACO_ADD, buffer_slice(&payload));
    transcribe(text, link, CONTROL_COMMAND_ACO_ADD, buffer_slice(&payload));
    payload_aco(&payload, "no ACO", "One");
    transcribe(text, link, CONTROL_COMMAND_ACO_ADD, buffer_slice(&payload));
    payload_roster(&payload, ACO, "roster", "1A         2A         ");
    transcribe(text, link, CONTROL_COMMAND_ROSTER, buffer_slice(&payload));
    transcribe(text, link, CONTROL_COMMAND_ROSTER, buffer_slice(&payload));
    payload_roster(&payload, ACO, "roster2", "2A         1A         ");
    transcribe(text, link, CONTROL_COMMAND_ROSTER, buffer_slice(&payload));
    buffer_reset(&payload);
    buffer_append_u64(&payload, 5);
    transcribe(text, link, CONTROL_COMMAND_JOB_CANCEL, buffer_slice(&payload));
    transcribe_import(text, f, link);
    struct engine_txn *txn;
    assert_int_equal(engine_begin_read(store_engine(link_store(link)), &txn, NULL), STATUS_OK);
    for (int i = 0; i < 500; i += 50) {
        char id[32];
        snprintf(id, sizeof id, "e%d", i);
        assert_int_equal(resource_get(txn, EOB, slice_from_text(id), text, NULL), STATUS_OK);
    }
    engine_end(txn);
    payload_aco(&payload, ACO, "");
    transcribe(text, link, CONTROL_COMMAND_ACO_REMOVE, slice_make(payload.data, payload.size - 4));
    transcribe(text, link, CONTROL_COMMAND_ACO_REMOVE, slice_make(payload.data, payload.size - 4));
    buffer_release(&payload);
}

static void here_and_over_the_socket_everything_is_the_same(void **state)
{
    struct fixture *f = *state, *other;
    struct buffer here = BUFFER_INIT, there = BUFFER_INIT;
    setup((void **)&other);
    struct link *local = open_link(f);
    assert_false(link_is_remote(local));
    transcribe_all(&here, f, local);
    link_close(local);
    server_start(other, false);
    struct link *remote = open_link(other);
    assert_true(link_is_remote(remote));
    transcribe_all(&there, other, remote);
    link_close(remote);
    assert_string_equal(buffer_text(&here), buffer_text(&there));
    assert_non_null(strstr(buffer_text(&here), "import:  500 0 1 167 20\nimport:  0 500 1 0 0\n"));
    teardown((void **)&other);
    buffer_release(&here);
    buffer_release(&there);
}

/* Every command with every payload that is cut or has a byte more: an answer, never a crash. */
static void payloads_of_a_wrong_size_are_refused(void **state)
{
    (void)state;
    struct store_fixture f;
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    store_fixture_open(&f);
    store_fixture_add_aco(&f, ACO);
    for (uint32_t command = 0; command < CONTROL_COMMAND_COUNT; command++) {
        if (command == CONTROL_COMMAND_CREDENTIAL_CREATE) {
            payload_aco(&payload, ACO, "");
            memset(buffer_extend(&payload, 64), 'h', 64);
        } else if (command == CONTROL_COMMAND_ROSTER) {
            payload_roster(&payload, ACO, "roster", "1A         ");
        } else if (command == CONTROL_COMMAND_JOB_CANCEL) {
            buffer_reset(&payload);
            buffer_append_u64(&payload, 1);
        } else {
            payload_aco(&payload, "A0002", "Two");
        }
        buffer_append_char(&payload, 'x');
        for (size_t size = 0; size <= payload.size; size++) {
            struct error error = {0};
            char *exact = malloc(size ? size : 1);
            memcpy(exact, payload.data, size);
            enum status status =
                control_execute(f.writer, NULL, command, slice_make(exact, size), &reply, &error);
            if (size == payload.size && status == STATUS_OK)
                fail_msg("command %u takes a byte too many", command);
            if (status != STATUS_OK && !error.text[0])
                fail_msg("command %u fails without a text", command);
            free(exact);
        }
    }
    buffer_release(&payload);
    buffer_release(&reply);
    store_fixture_close(&f);
}

static void note_cancelled(void *context, uint64_t job_id)
{
    *(uint64_t *)context += job_id;
}

static void the_server_hears_of_cancelled_jobs(void **state)
{
    (void)state;
    struct load_fixture f;
    uint64_t cancelled = 0;
    struct control_hooks hooks = {.job_ended = note_cancelled, .context = &cancelled};
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    struct error error;
    load_fixture_open(&f);
    uint32_t aco = store_fixture_add_aco(&f.store, ACO);
    struct load_view view = load_kick_off(&f, aco, "Patient");
    buffer_append_u64(&payload, view.job);
    assert_int_equal(control_execute(f.store.writer, &hooks, CONTROL_COMMAND_JOB_CANCEL,
                                     buffer_slice(&payload), &reply, &error),
                     STATUS_OK);
    assert_int_equal(cancelled, view.job);
    assert_int_equal(control_execute(f.store.writer, &hooks, CONTROL_COMMAND_JOB_CANCEL,
                                     buffer_slice(&payload), &reply, &error),
                     STATUS_NOT_FOUND);
    assert_int_equal(cancelled, view.job);
    buffer_release(&payload);
    buffer_release(&reply);
    load_fixture_close(&f);
}

/* ---- the socket ---- */

static void a_second_tool_is_told_why_it_must_wait(void **state)
{
    struct fixture *f = *state;
    struct link *link;
    struct error error = {0};
    server_start(f, true); /* as a sluicectl that works without a server */
    assert_int_equal(link_open(f->dir, &options, &link, &error), STATUS_BUSY);
    assert_non_null(strstr(error.text, "another sluicectl"));
    server_stop(f);
    link_close(open_link(f));
}

static int connect_raw(const struct fixture *f)
{
    struct sockaddr_un address;
    struct error error;
    assert_int_equal(frame_address(f->dir, &address, &error), STATUS_OK);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void send_head(int fd, uint32_t magic, uint32_t command, uint32_t size)
{
    char head[12];
    store_u32_le(head, magic);
    store_u32_le(head + 4, command);
    store_u32_le(head + 8, size);
    assert_int_equal(frame_write(fd, slice_make(head, 12), NULL), STATUS_OK);
}

static void malformed_frames_end_their_connection_alone(void **state)
{
    struct fixture *f = *state;
    char byte, head[8];
    server_start(f, false);
    struct link *link = open_link(f);
    struct buffer reply = BUFFER_INIT;
    for (int i = 0; i < 3; i++) {
        int fd = connect_raw(f);
        if (i == 0)
            send_head(fd, 0x20544547, 0, 0); /* "GET " */
        else if (i == 1)
            send_head(fd, CONTROL_MAGIC, 0, CONTROL_PAYLOAD_BYTES_MAX + 1);
        else
            send_head(fd, CONTROL_MAGIC, 0, 10);
        if (i == 2)
            shutdown(fd, SHUT_WR); /* the payload never comes */
        ssize_t got = read(fd, &byte, 1);
        assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
        close(fd);
        assert_int_equal(link_call(link, CONTROL_COMMAND_PING, SLICE_LITERAL(""), &reply, NULL), STATUS_OK);
    }
    int fd = connect_raw(f); /* unknown, but well-formed: an answer, and the connection goes on */
    for (int i = 0; i < 2; i++) {
        send_head(fd, CONTROL_MAGIC, 999 + (uint32_t)i, 0);
        assert_int_equal(frame_read(fd, head, 8, NULL), STATUS_OK);
        assert_int_equal(load_u32_le(head), STATUS_UNSUPPORTED);
        char text[ERROR_TEXT_MAX];
        assert_in_range(load_u32_le(head + 4), 10, sizeof text);
        assert_int_equal(frame_read(fd, text, load_u32_le(head + 4), NULL), STATUS_OK);
    }
    close(fd);
    buffer_release(&reply);
    link_close(link);
}

static void a_server_stops_though_a_tool_is_connected(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct buffer reply = BUFFER_INIT;
    server_start(f, false);
    struct link *link = open_link(f);
    int fd = connect_raw(f);
    send_head(fd, CONTROL_MAGIC, 0, 1000); /* and one in the middle of a frame */
    server_stop(f);
    assert_int_equal(link_call(link, CONTROL_COMMAND_PING, SLICE_LITERAL(""), &reply, &error), STATUS_IO);
    assert_true(error.text[0]);
    /* There is nobody to connect to, but nothing hangs. */
    assert_int_equal(link_call(link, CONTROL_COMMAND_PING, SLICE_LITERAL(""), &reply, &error), STATUS_BUSY);
    link_close(link);
    close(fd);
    buffer_release(&reply);
    struct link *local = open_link(f);
    assert_false(link_is_remote(local));
    link_close(local);
}

static void a_socket_left_by_a_dead_server_is_replaced(void **state)
{
    struct fixture *f = *state;
    char path[STORE_FIXTURE_PATH_MAX + 32];
    struct stat info;
    server_start(f, false);
    snprintf(path, sizeof path, "%s/control.sock", f->dir);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    kill(f->server, SIGKILL);
    waitpid(f->server, NULL, 0);
    close(f->stop);
    f->server = 0;
    assert_int_equal(stat(path, &info), 0);
    server_start(f, false);
    link_close(open_link(f));
    server_stop(f);
    assert_int_equal(stat(path, &info), -1);
}

static void a_full_server_says_so_and_has_room_again(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CONNECTIONS_MAX];
    struct link *link;
    struct error error = {0};
    server_start(f, false);
    for (int i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
        char head[8];
        fds[i] = connect_raw(f);
        send_head(fds[i], CONTROL_MAGIC, CONTROL_COMMAND_PING, 0);
        assert_int_equal(frame_read(fds[i], head, 8, NULL), STATUS_OK);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(link_open(f->dir, &options, &link, &error), STATUS_BUSY);
        assert_non_null(strstr(error.text, "too many tools"));
    }
    for (int i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
        close(fds[i]);
    enum status status = STATUS_BUSY; /* until the first thread has seen the end */
    while (status == STATUS_BUSY)
        status = link_open(f->dir, &options, &link, &error);
    assert_int_equal(status, STATUS_OK);
    link_close(link);
}

/* ---- many tools ---- */

static _Noreturn void import_as_a_tool(const struct fixture *f, const char *path, int result)
{
    struct link *link;
    struct error error = {0};
    struct import_counts counts = {0};
    struct import_options import = {
        .paths = &path, .path_count = 1, .aco_id = ACO, .threads = 9, .memory_bytes = 100000};
    enum status status = link_open(f->dir, &options, &link, &error);
    if (status == STATUS_OK && !link_is_remote(link))
        _exit(3);
    if (status == STATUS_OK)
        status = import_run(link, &import, &counts, &error);
    if (status != STATUS_OK) {
        fprintf(stderr, "%s\n", error.text);
        _exit(1);
    }
    if (write(result, &counts, sizeof counts) != sizeof counts)
        _exit(2);
    link_close(link);
    _exit(0);
}

static void four_tools_import_the_same_at_once(void **state)
{
    struct fixture *f = *state;
    enum { TOOLS = 4, LINES = 3000 };
    struct buffer lines = BUFFER_INIT, payload = BUFFER_INIT, reply = BUFFER_INIT;
    char path[STORE_FIXTURE_PATH_MAX + 32];
    int result[2];
    pid_t tools[TOOLS];
    uint64_t added = 0;
    server_start(f, false);
    for (int i = 0; i < LINES; i++) {
        char id[32], owner[32];
        snprintf(id, sizeof id, "e%d", i);
        snprintf(owner, sizeof owner, "b%d", i % 50);
        load_line(&lines, EOB, id, owner, NULL, (unsigned)i, "2020-05-01T00:00:00Z");
    }
    snprintf(path, sizeof path, "%s/load.ndjson", f->root);
    FILE *file = fopen(path, "w");
    fwrite(lines.data, 1, lines.size, file);
    fclose(file);
    payload_aco(&payload, ACO, "One");
    struct link *link = open_link(f);
    assert_int_equal(link_call(link, CONTROL_COMMAND_ACO_ADD, buffer_slice(&payload), &reply, NULL),
                     STATUS_OK);
    link_close(link);
    assert_int_equal(pipe(result), 0);
    for (int i = 0; i < TOOLS; i++) {
        tools[i] = fork();
        assert_true(tools[i] >= 0);
        if (tools[i] == 0)
            import_as_a_tool(f, path, result[1]);
    }
    for (int i = 0; i < TOOLS; i++) {
        int status;
        struct import_counts counts;
        assert_int_equal(waitpid(tools[i], &status, 0), tools[i]);
        assert_int_equal(status, 0);
        assert_int_equal(read(result[0], &counts, sizeof counts), sizeof counts);
        assert_int_equal(counts.added + counts.identical, LINES);
        added += counts.added;
    }
    assert_int_equal(added, LINES);
    close(result[0]);
    close(result[1]);
    buffer_release(&lines);
    buffer_release(&payload);
    buffer_release(&reply);
}

int main(void)
{
    load_clock_shift(0);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(here_and_over_the_socket_everything_is_the_same),
        cmocka_unit_test(payloads_of_a_wrong_size_are_refused),
        cmocka_unit_test(the_server_hears_of_cancelled_jobs),
        TEST(a_second_tool_is_told_why_it_must_wait),
        TEST(malformed_frames_end_their_connection_alone),
        TEST(a_server_stops_though_a_tool_is_connected),
        TEST(a_socket_left_by_a_dead_server_is_replaced),
        TEST(a_full_server_says_so_and_has_room_again),
        TEST(four_tools_import_the_same_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
