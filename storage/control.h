/*
 * Commands: every change that an operator's tool makes, as bytes. Whoever holds the data directory's lock
 * executes them: sluiced for tools that come over the socket DIR/control.sock (0600), or the tool itself when
 * no server runs. So there is one path, and one process that writes.
 *
 *   request: u32 CONTROL_MAGIC, u32 command, u32 size, payload     reply: u32 status, u32 size, payload
 *
 * A reply's payload is the command's result, or the error's text.
 *
 * Threading: control_execute on any thread that may block. The server has a thread that accepts and one for
 * each connection (CONTROL_CONNECTIONS_MAX).
 */
#ifndef STORAGE_CONTROL_H
#define STORAGE_CONTROL_H

#include "codec/base/buffer.h"
#include "storage/writer.h"

#define CONTROL_MAGIC             UINT32_C(0x31434c53) /* "SLC1" */
#define CONTROL_PAYLOAD_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define CONTROL_CONNECTIONS_MAX   32
#define LINK_CONNECTIONS_MAX      4 /* of one tool: more would only wait for the same writer */

enum control_command {
    CONTROL_COMMAND_PING,              /* nothing -> nothing */
    CONTROL_COMMAND_DELTAS,            /* u32 count, encodings -> u32 indexes of the stale ones */
    CONTROL_COMMAND_ACO_ADD,           /* sized id, sized name -> u32 number */
    CONTROL_COMMAND_ACO_REMOVE,        /* sized id -> nothing */
    CONTROL_COMMAND_CREDENTIAL_CREATE, /* sized ACO id, sized client id, salt, hash -> nothing */
    CONTROL_COMMAND_CREDENTIAL_REVOKE, /* sized client id -> nothing */
    /* sized ACO id, sized name, i64 at, sized links (pairs of MBIs), MBIs -> u64 total, joined, left,
       unknown, linked */
    CONTROL_COMMAND_ROSTER,
    CONTROL_COMMAND_JOB_CANCEL,  /* u64 id -> nothing */
    CONTROL_COMMAND_JOBS_EXPIRE, /* nothing -> u64 unreadable, then each change: u64 id, u8 state, u64 bytes
                                  */
    CONTROL_COMMAND_HOMES_STEP,  /* sized position, u64 bytes -> u64 moved, u64 bytes, u8 done, sized position
                                  */
    /* sized name, i32 day, u64 content hash, rows, preferences, u8 has a trailer, is the last part, rows of
       SUPPRESSION_ROW_BYTES -> u64 added, suppressed, lifted, unknown */
    CONTROL_COMMAND_SUPPRESSION,
    CONTROL_COMMAND_INDEX_PACK,    /* sized position -> sized position, u8 more, sized damage */
    CONTROL_COMMAND_SPACE_RELEASE, /* u64 position -> u64 position, u64 bytes, u8 more */
    CONTROL_COMMAND_COUNT
};

/* What the process that executes wants to hear of. */
struct control_hooks {
    /* The job's files are needed no more: it was cancelled, or has expired. May be NULL. */
    void (*job_ended)(void *context, uint64_t job_id);
    void *context;
};

/* Executes one command and waits until it is durable. Appends the result to `reply`. */
NODISCARD enum status control_execute(struct writer *writer, const struct control_hooks *hooks,
                                      uint32_t command, struct slice payload, struct buffer *reply,
                                      struct error *error);

struct control_server;
/* Listens on DIR/control.sock (a socket that a dead process left is replaced: the caller holds DIR's lock).
 */
NODISCARD enum status control_server_start(struct store *store, struct writer *writer,
                                           const struct control_hooks *hooks,
                                           struct control_server **ret_server, struct error *error);
/* Stops accepting; commands that run finish. */
void control_server_stop(struct control_server *server);

/* The other end, for tools. A link executes here if nobody holds DIR's lock, else over the socket. */
struct link;
NODISCARD enum status link_open(const char *dir, const struct store_options *options, struct link **ret_link,
                                struct error *error);
/* A link within the process that writes. Borrows both. */
struct link *link_new(struct store *store, struct writer *writer);
void link_close(struct link *link);
/* For reading. */
struct store *link_store(struct link *link);
/* True if a server executes. */
bool link_is_remote(const struct link *link);
/* Any thread; concurrent calls use connections of their own, or wait for one. */
NODISCARD enum status link_call(struct link *link, uint32_t command, struct slice payload,
                                struct buffer *reply, struct error *error);

#endif
