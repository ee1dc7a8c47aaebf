/*
 * Settings: one table of them (name, kind, default, bounds, unit, meaning) in config.c. The file is
 * "name = value" a line; "#" at a line's begin or behind white space begins a comment. Numbers are in the
 * setting's own unit, bytes also with KiB, MiB, GiB or TiB behind them; switches are yes or no. An unknown,
 * bad or repeated setting is refused and named with its line.
 *
 * Threading: read-only once loaded.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "codec/base/buffer.h"
#include "server/reactor.h"

struct config {
    char listen[128];
    char tls_certificate[512];
    char tls_key[512];
    bool plaintext;
    unsigned reactors;       /* 0: one a core */
    unsigned export_workers; /* 0: two a core */
    struct connection_limits limits;
    char public_url[256];
    char trusted_proxy[128]; /* address whose X-Forwarded-* are believed */
    char cors_origin[256];   /* "*", or origins with spaces between; empty: no CORS */
    char issuer[128];
    unsigned token_lifetime_seconds;
    unsigned request_rate_per_minute;   /* per client; 0: off */
    unsigned login_failures_per_minute; /* per address; 0: off */
    uint64_t file_bytes_max;
    uint64_t small_job_bytes; /* 0: every job's steps are recorded one by one */
    uint64_t disk_reserve_bytes;
    uint64_t map_bytes;
    unsigned suppression_lookback_days; /* 0: opt-outs hold for ever */
    unsigned keep_hours;                /* of finished files: Completed -> Archived -> Expired */
    unsigned stop_grace_seconds;
    char publisher[200];
    char software_name[200];
    char log_level[16];
};

#define CONFIG_FILE_BYTES_MAX ((size_t)1024 * 1024)

void config_init(struct config *config); /* the defaults */
/* Over what `config` holds. On failure `config` is unchanged. */
NODISCARD enum status config_load(struct config *config, const char *path, struct error *error);
/* Sets one setting by name; for the command line. */
NODISCARD enum status config_set(struct config *config, const char *name, const char *value,
                                 struct error *error);
/* Takes over from `fresh` what may change while the server runs. */
void config_reload(struct config *config, const struct config *fresh);
/* The first setting whose change has to wait for the next start, or NULL. */
const char *config_waiting(const struct config *before, const struct config *fresh);
/* Every setting with value, default, unit and meaning, as a file that config_load takes. */
void config_show(const struct config *config, struct buffer *target);

#endif
