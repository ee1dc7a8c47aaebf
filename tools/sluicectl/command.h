/*
 * The commands of sluicectl: one table in main.c, one file a family. A command gets its options parsed and
 * returns its exit status.
 *
 * Results go to standard output, diagnostics to standard error.
 */
#ifndef TOOLS_SLUICECTL_COMMAND_H
#define TOOLS_SLUICECTL_COMMAND_H

#include "codec/base/buffer.h"
#include "codec/instant.h"
#include "codec/json_writer.h"
#include "storage/control.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Every option of every command; main.c's table gives their names. */
enum option_id {
    OPTION_DATA,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_NAME,
    OPTION_CLIENT_ID,
    OPTION_SECRET_FILE,
    OPTION_ACO,
    OPTION_STRICT,
    OPTION_DELETE_ENTERED_IN_ERROR,
    OPTION_AT,
    OPTION_STATE,
    OPTION_TYPE,
    OPTION_SINCE,
    OPTION_OLDER_THAN_DAYS,
    OPTION_WITHOUT_JOB_FILES,
    OPTION_HISTORY_YEARS,
    OPTION_COUNT
};

struct invocation {
    const char *dir;                   /* --data, else $SLUICE_DATA */
    const char *options[OPTION_COUNT]; /* NULL: not given; a switch: "" */
    char **arguments;
    int argument_count;
};

static inline bool wants_json(const struct invocation *invocation)
{
    return invocation->options[OPTION_JSON] != NULL;
}

static inline bool is_quiet(const struct invocation *invocation)
{
    return invocation->options[OPTION_QUIET] != NULL;
}

/* "sluicectl: <text>" on standard error; returns EXIT_FAILED. */
int complain(const struct error *error);
int complain_text(const char *format, ...) PRINTF_LIKE(1, 2);

/* Opens what the command needs, or complains: the writer (through a server or here), or only for reading. */
struct link *open_link(const struct invocation *invocation);
struct store *open_store(const struct invocation *invocation);
/* Where no server does it: brings beneficiaries to their new homes (storage/homes.h), with progress. */
int move_homes(const struct invocation *invocation, struct link *link);

/* An instant as people read it, "-" for none; NUL-terminated. */
void instant_text(int64_t us, char text[INSTANT_TEXT_SIZE]);
/* The same as a member of an object: null for none. */
void json_member_instant(struct json_writer *writer, const char *key, int64_t us);

/* --at: *ret_us is left alone without it. False, and EXIT_USAGE is due, if it is no instant: complained. */
bool option_at(const struct invocation *invocation, int64_t *ret_us);

/* Writes a finished JSON document and a newline to standard output. */
void print_json(struct buffer *document);

int command_init(const struct invocation *invocation);
int command_aco_add(const struct invocation *invocation);
int command_aco_list(const struct invocation *invocation);
int command_aco_remove(const struct invocation *invocation);
int command_credentials_create(const struct invocation *invocation);
int command_credentials_list(const struct invocation *invocation);
int command_credentials_revoke(const struct invocation *invocation);
int command_import(const struct invocation *invocation);
int command_attribution_import(const struct invocation *invocation);
int command_attribution_list(const struct invocation *invocation);
int command_attribution_status(const struct invocation *invocation);
int command_suppression_import(const struct invocation *invocation);
int command_suppression_list(const struct invocation *invocation);
int command_jobs_list(const struct invocation *invocation);
int command_jobs_show(const struct invocation *invocation);
int command_jobs_cancel(const struct invocation *invocation);
int command_jobs_expire(const struct invocation *invocation);
int command_stat(const struct invocation *invocation);
int command_get(const struct invocation *invocation);
int command_dump(const struct invocation *invocation);
int command_compact(const struct invocation *invocation);
int command_verify(const struct invocation *invocation);
int command_backup(const struct invocation *invocation);
int command_restore(const struct invocation *invocation);
int command_config_show(const struct invocation *invocation);
int command_config_check(const struct invocation *invocation);

#endif
