#include "storage/control.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"
#include "storage/accounts.h"
#include "storage/attribution.h"
#include "storage/frame.h"
#include "storage/homes.h"
#include "storage/jobs_expire.h"
#include "storage/resource_index.h"
#include "storage/resources.h"
#include "storage/space.h"
#include "storage/suppression.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- commands ---- */

struct control_call {
    struct writer *writer;
    const struct control_hooks *hooks;
    struct reader payload;
    struct buffer *reply;
};

static enum status malformed(struct error *error)
{
    return error_set(error, STATUS_INVALID,
                     "the command's payload is malformed: tool and server do not match");
}

static enum status execute_ping(struct control_call *call, struct error *error)
{
    return reader_done(&call->payload) ? STATUS_OK : malformed(error);
}

static enum status execute_deltas(struct control_call *call, struct error *error)
{
    struct delta_batch batch;
    uint32_t count = reader_u32(&call->payload);
    struct slice encodings = reader_take(&call->payload, reader_left(&call->payload));
    if (call->payload.failed)
        return malformed(error);
    delta_batch_init(&batch);
    batch.count = count;
    batch.request.bytes = encodings.size;
    /* Borrowed for the call's length: writer_call waits. */
    batch.encodings = (struct buffer){(char *)(uintptr_t)encodings.data, encodings.size, encodings.size};
    enum status status = writer_call(call->writer, &batch.request, error);
    if (status == STATUS_OK)
        buffer_append_slice(call->reply, buffer_slice(&batch.ret_stale));
    buffer_init(&batch.encodings);
    delta_batch_release(&batch);
    return status;
}

static enum status execute_aco_add(struct control_call *call, struct error *error)
{
    struct aco_add add;
    struct slice id = reader_sized(&call->payload), name = reader_sized(&call->payload);
    if (!reader_done(&call->payload))
        return malformed(error);
    enum status status = aco_add_init(&add, id, name, error);
    if (status == STATUS_OK)
        status = writer_call(call->writer, &add.request, error);
    if (status == STATUS_OK)
        buffer_append_u32(call->reply, add.ret_number);
    return status;
}

static enum status execute_aco_remove(struct control_call *call, struct error *error)
{
    struct aco_remove remove;
    struct slice id = reader_sized(&call->payload);
    if (!reader_done(&call->payload))
        return malformed(error);
    enum status status = aco_remove_init(&remove, id, error);
    return status == STATUS_OK ? writer_call(call->writer, &remove.request, error) : status;
}

static enum status execute_credential_create(struct control_call *call, struct error *error)
{
    struct credential_create create;
    struct slice aco = reader_sized(&call->payload), client_id = reader_sized(&call->payload);
    struct slice salt = reader_take(&call->payload, sizeof create.credential.salt);
    struct slice hash = reader_take(&call->payload, sizeof create.credential.hash);
    if (!reader_done(&call->payload))
        return malformed(error);
    /* The tool made the secret and showed it; only its hash comes here. */
    char unused[CLIENT_SECRET_SIZE + 1];
    enum status status = credential_create_init(&create, aco, client_id, (struct slice){0}, unused, error);
    if (status != STATUS_OK)
        return status;
    explicit_bzero(unused, sizeof unused);
    memcpy(create.credential.salt, salt.data, salt.size);
    memcpy(create.credential.hash, hash.data, hash.size);
    return writer_call(call->writer, &create.request, error);
}

static enum status execute_credential_revoke(struct control_call *call, struct error *error)
{
    struct credential_revoke revoke;
    struct slice client_id = reader_sized(&call->payload);
    if (!reader_done(&call->payload))
        return malformed(error);
    enum status status = credential_revoke_init(&revoke, client_id, error);
    return status == STATUS_OK ? writer_call(call->writer, &revoke.request, error) : status;
}

static enum status execute_roster(struct control_call *call, struct error *error)
{
    struct roster_apply apply;
    roster_apply_init(&apply);
    struct slice aco = reader_sized(&call->payload), name = reader_sized(&call->payload);
    apply.at_us = reader_i64(&call->payload);
    struct slice links = reader_sized(&call->payload);
    struct slice mbis = reader_take(&call->payload, reader_left(&call->payload));
    if (call->payload.failed || aco.size >= sizeof apply.aco_id || name.size >= sizeof apply.name ||
        mbis.size % MBI_SIZE_MAX != 0 || links.size % (2 * (size_t)MBI_SIZE_MAX) != 0)
        return malformed(error);
    memcpy(apply.aco_id, aco.data, aco.size);
    memcpy(apply.name, name.data, name.size);
    apply.mbis = mbis.data;
    apply.mbi_count = mbis.size / MBI_SIZE_MAX;
    apply.links = links.data;
    apply.link_count = links.size / (2 * (size_t)MBI_SIZE_MAX);
    apply.request.bytes = mbis.size + links.size;
    enum status status = writer_call(call->writer, &apply.request, error);
    if (status == STATUS_OK) {
        buffer_append_u64(call->reply, apply.ret_total);
        buffer_append_u64(call->reply, apply.ret_joined);
        buffer_append_u64(call->reply, apply.ret_left);
        buffer_append_u64(call->reply, apply.ret_unknown);
        buffer_append_u64(call->reply, apply.ret_linked);
    }
    return status;
}

static enum status execute_job_cancel(struct control_call *call, struct error *error)
{
    struct job_change change;
    uint64_t id = reader_u64(&call->payload);
    if (!reader_done(&call->payload))
        return malformed(error);
    job_change_init(&change, JOB_CHANGE_DELETE, id);
    change.request.urgent = true;
    enum status status = writer_call(call->writer, &change.request, error);
    if (status == STATUS_OK && call->hooks && call->hooks->job_ended)
        call->hooks->job_ended(call->hooks->context, id);
    return status;
}

static void append_expired(void *context, uint64_t id, enum job_state state, uint64_t bytes)
{
    struct control_call *call = context;
    buffer_append_u64(call->reply, id);
    buffer_append_u8(call->reply, (uint8_t)state);
    buffer_append_u64(call->reply, bytes);
    if (state == JOB_STATE_EXPIRED && call->hooks && call->hooks->job_ended)
        call->hooks->job_ended(call->hooks->context, id);
}

static enum status execute_jobs_expire(struct control_call *call, struct error *error)
{
    size_t at = call->reply->size;
    uint64_t unreadable = 0;
    if (!reader_done(&call->payload))
        return malformed(error);
    buffer_append_u64(call->reply, 0);
    enum status status = jobs_expire(call->writer, append_expired, call, &unreadable, error);
    store_u64_le(call->reply->data + at, unreadable);
    return status;
}

static enum status execute_homes_step(struct control_call *call, struct error *error)
{
    struct homes_step step;
    struct homes_position from = {.size = 0};
    struct slice position = reader_sized(&call->payload);
    uint64_t bytes_max = reader_u64(&call->payload);
    if (!reader_done(&call->payload) || position.size > sizeof from.id ||
        bytes_max > WRITER_GROUP_BYTES_MAX || (position.size && memchr(position.data, 0, position.size)))
        return malformed(error);
    if (position.size)
        memcpy(from.id, position.data, position.size);
    from.size = position.size;
    homes_step_init(&step, &from);
    step.bytes_max = bytes_max;
    enum status status = writer_call(call->writer, &step.request, error);
    if (status == STATUS_OK) {
        buffer_append_u64(call->reply, step.ret_moved);
        buffer_append_u64(call->reply, step.ret_bytes);
        buffer_append_u8(call->reply, step.ret_done);
        buffer_append_sized(call->reply, slice_make(step.ret_next.id, step.ret_next.size));
    }
    return status;
}

static enum status execute_suppression(struct control_call *call, struct error *error)
{
    struct suppression_apply apply;
    suppression_apply_init(&apply);
    struct slice name = reader_sized(&call->payload);
    apply.day = (int32_t)reader_u32(&call->payload);
    apply.content_hash = reader_u64(&call->payload);
    apply.rows = reader_u64(&call->payload);
    apply.preferences = reader_u64(&call->payload);
    apply.has_trailer = reader_u8(&call->payload);
    apply.is_last = reader_u8(&call->payload);
    apply.encoded = reader_take(&call->payload, reader_left(&call->payload));
    if (call->payload.failed || name.size >= sizeof apply.name)
        return malformed(error);
    memcpy(apply.name, name.data, name.size);
    enum status status = writer_call(call->writer, &apply.request, error);
    if (status == STATUS_OK) {
        buffer_append_u64(call->reply, apply.ret_added);
        buffer_append_u64(call->reply, apply.ret_suppressed);
        buffer_append_u64(call->reply, apply.ret_lifted);
        buffer_append_u64(call->reply, apply.ret_unknown);
    }
    return status;
}

static enum status execute_index_pack(struct control_call *call, struct error *error)
{
    struct resource_index_pack pack;
    struct slice position = reader_sized(&call->payload);
    if (!reader_done(&call->payload) || position.size >= sizeof pack.position.bytes)
        return malformed(error);
    resource_index_pack_init(&pack, position);
    enum status status = writer_call(call->writer, &pack.request, error);
    if (status == STATUS_OK) {
        buffer_append_sized(call->reply, key_slice(&pack.ret_next));
        buffer_append_u8(call->reply, pack.ret_more);
        buffer_append_sized(call->reply, slice_from_text(pack.ret_damage.text));
    }
    return status;
}

static enum status execute_space_release(struct control_call *call, struct error *error)
{
    struct space_release release;
    space_release_init(&release, reader_u64(&call->payload));
    if (!reader_done(&call->payload))
        return malformed(error);
    enum status status = writer_call(call->writer, &release.request, error);
    if (status == STATUS_OK) {
        buffer_append_u64(call->reply, release.ret_next);
        buffer_append_u64(call->reply, release.ret_bytes);
        buffer_append_u8(call->reply, release.ret_more);
    }
    return status;
}

enum status control_execute(struct writer *writer, const struct control_hooks *hooks, uint32_t command,
                            struct slice payload, struct buffer *reply, struct error *error)
{
    static enum status (*const executors[CONTROL_COMMAND_COUNT])(struct control_call *, struct error *) = {
        [CONTROL_COMMAND_PING] = execute_ping,
        [CONTROL_COMMAND_DELTAS] = execute_deltas,
        [CONTROL_COMMAND_ACO_ADD] = execute_aco_add,
        [CONTROL_COMMAND_ACO_REMOVE] = execute_aco_remove,
        [CONTROL_COMMAND_CREDENTIAL_CREATE] = execute_credential_create,
        [CONTROL_COMMAND_CREDENTIAL_REVOKE] = execute_credential_revoke,
        [CONTROL_COMMAND_ROSTER] = execute_roster,
        [CONTROL_COMMAND_JOB_CANCEL] = execute_job_cancel,
        [CONTROL_COMMAND_JOBS_EXPIRE] = execute_jobs_expire,
        [CONTROL_COMMAND_HOMES_STEP] = execute_homes_step,
        [CONTROL_COMMAND_SUPPRESSION] = execute_suppression,
        [CONTROL_COMMAND_INDEX_PACK] = execute_index_pack,
        [CONTROL_COMMAND_SPACE_RELEASE] = execute_space_release,
    };
    if (command >= CONTROL_COMMAND_COUNT)
        return error_set(error, STATUS_UNSUPPORTED,
                         "command %u is not known here: tool and server do not match", command);
    struct control_call call = {writer, hooks, reader_make(payload), reply};
    return executors[command](&call, error);
}

/* ---- the server ---- */

#define ACCEPT_PAUSE_MS 100

struct control_connection {
    struct control_server *server;
    pthread_t thread;
    int fd;     /* -1: the slot is free */
    bool ended; /* the thread is done and can be joined */
};

struct control_server {
    struct writer *writer;
    struct control_hooks hooks;
    struct sockaddr_un address;
    int listener;
    int stop_event;
    pthread_t thread;
    pthread_mutex_t lock; /* guards connections */
    struct control_connection connections[CONTROL_CONNECTIONS_MAX];
};

static enum status connection_answer(int fd, enum status status, struct slice payload, struct error *error)
{
    struct buffer frame = BUFFER_INIT;
    buffer_append_u32(&frame, (uint32_t)status);
    buffer_append_sized(&frame, payload);
    enum status result = frame_write(fd, buffer_slice(&frame), error);
    buffer_release(&frame);
    return result;
}

/* One request and its reply; a failure ends the connection. */
static enum status connection_serve(struct control_server *server, int fd, struct buffer *payload,
                                    struct buffer *reply, struct error *error)
{
    char head[12];
    enum status status = frame_read(fd, head, sizeof head, error);
    if (status != STATUS_OK)
        return status;
    uint32_t magic = load_u32_le(head), command = load_u32_le(head + 4), size = load_u32_le(head + 8);
    if (magic != CONTROL_MAGIC || size > CONTROL_PAYLOAD_BYTES_MAX)
        return error_set(error, STATUS_INVALID, "no control frame");
    buffer_reset(payload);
    buffer_reset(reply);
    status = frame_read(fd, buffer_extend(payload, size), size, error);
    if (status != STATUS_OK)
        return status;
    struct error failure = {0};
    enum status result =
        control_execute(server->writer, &server->hooks, command, buffer_slice(payload), reply, &failure);
    struct slice answer = result == STATUS_OK ? buffer_slice(reply) : slice_from_text(failure.text);
    return connection_answer(fd, result, answer, error);
}

static void *connection_main(void *argument)
{
    struct control_connection *connection = argument;
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    struct error error;
    while (connection_serve(connection->server, connection->fd, &payload, &reply, &error) == STATUS_OK)
        continue;
    buffer_release(&payload);
    buffer_release(&reply);
    /* The descriptor is closed when the slot is wanted again; the peer must not wait for that. */
    shutdown(connection->fd, SHUT_RDWR);
    pthread_mutex_lock(&connection->server->lock);
    connection->ended = true;
    pthread_mutex_unlock(&connection->server->lock);
    return NULL;
}

/* With the lock held. */
static void connection_reap(struct control_connection *connection)
{
    pthread_join(connection->thread, NULL);
    close(connection->fd);
    connection->fd = -1;
    connection->ended = false;
}

static void server_accept(struct control_server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        /* Out of descriptors, mostly. The listener stays readable: without a pause this would spin. */
        struct pollfd stop = {.fd = server->stop_event, .events = POLLIN};
        poll(&stop, 1, ACCEPT_PAUSE_MS);
        return;
    }
    pthread_mutex_lock(&server->lock);
    struct control_connection *slot = NULL;
    for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
        struct control_connection *connection = &server->connections[i];
        if (connection->ended)
            connection_reap(connection);
        if (connection->fd < 0 && !slot)
            slot = connection;
    }
    if (slot) {
        slot->fd = fd;
        if (pthread_create(&slot->thread, NULL, connection_main, slot) != 0) {
            slot->fd = -1;
            slot = NULL;
        }
    }
    pthread_mutex_unlock(&server->lock);
    if (!slot) {
        struct error error;
        (void)!connection_answer(fd, STATUS_BUSY, SLICE_LITERAL("too many tools at once: try again later"),
                                 &error);
        close(fd);
    }
}

static void *server_main(void *argument)
{
    struct control_server *server = argument;
    for (;;) {
        struct pollfd watched[2] = {{.fd = server->listener, .events = POLLIN},
                                    {.fd = server->stop_event, .events = POLLIN}};
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (watched[1].revents)
            return NULL;
        if (watched[0].revents)
            server_accept(server);
    }
}

static enum status server_listen(struct control_server *server, struct error *error)
{
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->listener < 0)
        return error_set_errno(error, "the control socket cannot be made");
    unlink(server->address.sun_path);
    /* Nobody can connect before the listen. Not by umask, which is the whole process's: the folder of a job
     * that goes on in another thread would be made without the right to search it. */
    if (bind(server->listener, (struct sockaddr *)&server->address, sizeof server->address) != 0 ||
        chmod(server->address.sun_path, 0600) != 0 || listen(server->listener, CONTROL_CONNECTIONS_MAX) != 0)
        return error_set_errno(error, "%s: cannot listen", server->address.sun_path);
    return STATUS_OK;
}

enum status control_server_start(struct store *store, struct writer *writer,
                                 const struct control_hooks *hooks, struct control_server **ret_server,
                                 struct error *error)
{
    struct control_server *server = mem_new(struct control_server);
    server->writer = writer;
    server->hooks = hooks ? *hooks : (struct control_hooks){0};
    server->listener = -1;
    server->stop_event = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&server->lock, NULL);
    for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
        server->connections[i].server = server;
        server->connections[i].fd = -1;
    }
    enum status status = server->stop_event < 0 ? error_set_errno(error, "no eventfd") : STATUS_OK;
    if (status == STATUS_OK)
        status = frame_address(store_dir(store), &server->address, error);
    if (status == STATUS_OK)
        status = server_listen(server, error);
    if (status == STATUS_OK && pthread_create(&server->thread, NULL, server_main, server) != 0)
        status = error_set(error, STATUS_INTERNAL, "the control thread cannot be started");
    if (status != STATUS_OK) {
        if (server->listener >= 0)
            close(server->listener);
        if (server->stop_event >= 0)
            close(server->stop_event);
        mem_free(server);
        return status;
    }
    *ret_server = server;
    return STATUS_OK;
}

void control_server_stop(struct control_server *server)
{
    if (!server)
        return;
    uint64_t one = 1;
    ssize_t put = write(server->stop_event, &one, sizeof one);
    CHECK(put == sizeof one);
    pthread_join(server->thread, NULL);
    unlink(server->address.sun_path);
    for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
        struct control_connection *connection = &server->connections[i];
        if (connection->fd < 0)
            continue;
        /* The thread finishes its command, finds no further one, and ends. */
        shutdown(connection->fd, SHUT_RD);
        connection_reap(connection);
    }
    close(server->listener);
    close(server->stop_event);
    pthread_mutex_destroy(&server->lock);
    mem_free(server);
}
