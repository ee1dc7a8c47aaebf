/*
 * sluiced: reads its command line and settings, starts the parts in the order in which they need one another,
 * waits for signals, and stops the parts in the opposite order. All else happens in their threads.
 */
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/config.h"
#include "server/exports.h"
#include "server/limiter.h"
#include "server/log.h"
#include "server/mover.h"
#include "server/reactor.h"
#include "server/router.h"
#include "server/service.h"
#include "server/tls.h"
#include "server/token.h"
#include "storage/control.h"
#include "storage/suppression.h"
#include "storage/writer.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define US_PER_HOUR (3600 * US_PER_SECOND)

enum { EXIT_STATUS_FAILED = 1, EXIT_STATUS_USAGE = 2 };

static const char usage[] =
    "Usage: sluiced --data DIR [OPTION]...\n"
    "Serves the bulk claims of the data directory DIR until SIGTERM.\n"
    "\n"
    "  --data DIR              the data directory that sluicectl init made; else $SLUICE_DATA\n"
    "  --config FILE           settings; sluicectl config show prints all of them\n"
    "  --listen ADDR:PORT      where to listen (127.0.0.1:8443); port 0: any free one\n"
    "  --tls-cert FILE         the certificate and its chain, PEM\n"
    "  --tls-key FILE          its private key, PEM, not readable by everybody\n"
    "  --plaintext             plain HTTP, without a certificate\n"
    "  --help, --version\n"
    "\n"
    "An option overrides the file's setting. When the server is ready it prints \"listening on URL\".\n"
    "Its log goes to standard error, JSON, one line an event.\n"
    "\n"
    "SIGTERM, SIGINT: no new connections; requests and downloads that have begun finish, within a\n"
    "limit, and at once after a second one; exports go on at the next start. SIGHUP: the settings that may\n"
    "change while it runs and the certificate are read again; nobody is cut off.\n"
    "\n"
    "Examples:\n"
    "  sluiced --data /var/lib/sluice --tls-cert server.pem --tls-key server.key --listen '[::]:443'\n"
    "  sluiced --data /tmp/try --plaintext --listen 127.0.0.1:0\n"
    "\n"
    "Exit status: 0 stopped as told, 1 failed, 2 wrong usage.\n";

/* Everything that is started, in this order. */
struct server {
    const char *dir;
    const char *config_path; /* NULL: none */
    struct {
        const char *setting, *value; /* from the command line; NULL: not given */
    } over[4];
    struct config loaded;        /* as file and command line say */
    struct config *config;       /* in use */
    struct config **old_configs; /* handlers may still read them until the reactors stop */
    size_t old_config_count;
    struct service service;
    struct tls_context *tls;
    struct tls_context **old_tls; /* connections may still use them until the reactors stop */
    size_t old_tls_count;
    struct control_server *control;
    struct mover *mover;
    struct reactors *reactors;
};

/* ---- The command line ---- */

static _Noreturn void fail(int exit_status, const char *text)
{
    fprintf(stderr, "sluiced: %s\n", text);
    if (exit_status == EXIT_STATUS_USAGE)
        fputs("sluiced: try --help\n", stderr);
    exit(exit_status);
}

static void parse_options(int argc, char **argv, struct server *server)
{
    enum {
        DATA = 256,
        CONFIG,
        HELP,
        VERSION,
        LISTEN,
        CERTIFICATE,
        KEY,
        PLAINTEXT
    }; /* the last four as `over` */
    static const struct option options[] = {
        {"data", required_argument, NULL, DATA},
        {"config", required_argument, NULL, CONFIG},
        {"listen", required_argument, NULL, LISTEN},
        {"tls-cert", required_argument, NULL, CERTIFICATE},
        {"tls-key", required_argument, NULL, KEY},
        {"plaintext", no_argument, NULL, PLAINTEXT},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0},
    };
    static const char *const overridden[] = {"listen", "tls_certificate", "tls_key", "plaintext"};
    for (size_t i = 0; i < sizeof overridden / sizeof *overridden; i++)
        server->over[i].setting = overridden[i];
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case DATA:
            server->dir = optarg;
            break;
        case CONFIG:
            server->config_path = optarg;
            break;
        case LISTEN:
        case CERTIFICATE:
        case KEY:
        case PLAINTEXT:
            server->over[option - LISTEN].value = option == PLAINTEXT ? "yes" : optarg;
            break;
        case HELP:
            fputs(usage, stdout);
            exit(0);
        case VERSION:
            puts("sluiced " SLUICE_VERSION);
            exit(0);
        default:
            fputs("sluiced: try --help\n", stderr); /* getopt has said what is wrong */
            exit(EXIT_STATUS_USAGE);
        }
    if (optind < argc)
        fail(EXIT_STATUS_USAGE, "takes options only, no other arguments");
    if (!server->dir)
        server->dir = getenv("SLUICE_DATA");
    if (!server->dir || !*server->dir)
        fail(EXIT_STATUS_USAGE, "needs --data DIR, or $SLUICE_DATA");
}

/* An option overrides the file's setting. `ret_is_usage`: it is the command line that is wrong. */
static enum status load_config(const struct server *server, struct config *config, bool *ret_is_usage,
                               struct error *error)
{
    config_init(config);
    *ret_is_usage = false;
    enum status status = server->config_path ? config_load(config, server->config_path, error) : STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < sizeof server->over / sizeof *server->over; i++) {
        *ret_is_usage = true;
        if (server->over[i].value)
            status = config_set(config, server->over[i].setting, server->over[i].value, error);
    }
    return status;
}

/* Claims must not go over a network in the clear because somebody forgot an option. */
static void check_transport(const struct config *config)
{
    bool has_certificate = config->tls_certificate[0], has_key = config->tls_key[0];
    if (config->plaintext && (has_certificate || has_key))
        fail(EXIT_STATUS_USAGE, "plaintext and a certificate exclude each other");
    if (!config->plaintext && !(has_certificate && has_key))
        fail(EXIT_STATUS_USAGE, "needs a certificate: --tls-cert and --tls-key (or --plaintext, for tests)");
}

/* ---- Starting and stopping ---- */

static unsigned core_count(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) != 0)
        return 1;
    return (unsigned)CPU_COUNT(&cores);
}

/* Whoever opens connections and says nothing must not take the last file descriptor: exports would fail for
 * want of one. So a quarter of them is left for files. */
static void bound_connections(struct config *config)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
            return;
    }
    rlim_t most = limit.rlim_cur - limit.rlim_cur / 4;
    if (config->limits.connections_max <= most)
        return;
    log_event(LOG_LEVEL_WARNING, "few_file_descriptors",
              "%llu are allowed (ulimit -n), so connections_max is %llu instead of %u",
              (unsigned long long)limit.rlim_cur, (unsigned long long)most, config->limits.connections_max);
    config->limits.connections_max = (unsigned)most;
}

static struct limiter *make_limiter(const struct config *config)
{
    const struct limiter_rule rules[LIMITER_KIND_COUNT] = {
        [LIMITER_JOB] = {.capacity = 1},
        [LIMITER_REQUEST] = {config->request_rate_per_minute, config->request_rate_per_minute},
        [LIMITER_LOGIN] = {config->login_failures_per_minute, config->login_failures_per_minute},
    };
    return limiter_new(rules);
}

static enum status start_reactors(struct server *server, struct error *error)
{
    const struct config *config = server->config;
    struct reactors_options options = {
        .count = config->reactors ? config->reactors : core_count(),
        .listen = config->listen,
        .tls = server->tls,
        .limits = config->limits,
        .service = &server->service,
        .handle = router_handle,
        .finished = router_finished,
        .local_new = router_local_new,
        .local_free = router_local_free,
        .refuse = router_refuse,
    };
    enum status status = reactors_start(&options, &server->reactors, error);
    if (status == STATUS_OK) /* a request may be there already */
        __atomic_store_n(&server->service.reactors, server->reactors, __ATOMIC_RELEASE);
    return status;
}

/* sluicectl cancelled or expired a job over the control socket. */
static void job_ended(void *context, uint64_t job_id)
{
    const struct service *service = context;
    exports_cancel(service->exports, job_id);
}

/* Before anything is exported: the next kick-off applies what follows from it. A store that has it already is
 * not written: a server starts on a full disk, too. */
static enum status set_lookback(struct server *server, struct error *error)
{
    struct suppression_configure configure;
    struct engine_txn *txn;
    uint32_t stored_days, days = server->config->suppression_lookback_days;
    enum status status = engine_begin_read(store_engine(server->service.store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = suppression_lookback(txn, &stored_days, error);
    engine_end(txn);
    if (status != STATUS_OK || stored_days == days)
        return status;
    suppression_configure_init(&configure, days);
    status = writer_call(server->service.writer, &configure.request, error);
    if (status == STATUS_OK)
        log_event(LOG_LEVEL_WARNING, "suppression look-back changed",
                  "opt-outs hold for %u days now%s; each is looked at anew", days,
                  days == 0 ? " (0: for ever)" : "");
    else
        error_prefix(error, "suppression_lookback_days cannot be set");
    return status;
}

static enum status start(struct server *server, struct error *error)
{
    const struct config *config = server->config;
    struct service *service = &server->service;
    service->config = config;
    service->started_us = clock_now_us();
    service->limiter = make_limiter(config);
    enum status status = STATUS_OK;
    if (!config->plaintext)
        status = tls_context_open(config->tls_certificate, config->tls_key, &server->tls, error);
    if (status == STATUS_OK)
        status = store_open(server->dir, STORE_ACCESS_WRITE,
                            &(struct store_options){.map_bytes = config->map_bytes}, &service->store, error);
    if (status == STATUS_OK)
        status = writer_start(service->store, &service->writer, error);
    if (status == STATUS_OK)
        status = set_lookback(server, error);
    if (status == STATUS_OK)
        status = tokens_open(service->store, config->issuer, config->token_lifetime_seconds, &service->tokens,
                             error);
    if (status == STATUS_OK) {
        struct exports_options options = {
            .workers =
                config->export_workers ? config->export_workers : EXPORT_WORKERS_PER_CORE * core_count(),
            .computing = core_count(),
            .file_bytes_max = config->file_bytes_max,
            .small_job_bytes = config->small_job_bytes,
            .disk_reserve_bytes = config->disk_reserve_bytes,
            .keep_us = config->keep_hours * US_PER_HOUR,
        };
        status = exports_open(service, &options, &service->exports, error);
    }
    if (status == STATUS_OK) {
        struct control_hooks hooks = {.job_ended = job_ended, .context = service};
        status = control_server_start(service->store, service->writer, &hooks, &server->control, error);
    }
    if (status == STATUS_OK)
        status = mover_open(service, &server->mover, error);
    if (status == STATUS_OK)
        status = start_reactors(server, error);
    return status;
}

/* A further SIGTERM or SIGINT cuts the time short that downloads are given. */
static bool is_told_again(void *context)
{
    const sigset_t *signals = context;
    for (int number; (number = sigtimedwait(signals, NULL, &(struct timespec){0})) > 0;) {
        if (number == SIGHUP)
            continue;
        log_event(LOG_LEVEL_INFO, "stopping", "at once, on signal %d", number);
        return true;
    }
    return false;
}

/* Also of a server that was started in part. The reactors wait for exchanges that signer, writer and exports
 * hold, so those stop later. */
static void stop(struct server *server, const sigset_t *signals)
{
    struct service *service = &server->service;
    if (server->reactors) {
        reactors_drain(server->reactors, server->config->stop_grace_seconds * 1000, is_told_again,
                       (void *)(uintptr_t)signals);
        reactors_stop(server->reactors);
    }
    control_server_stop(server->control);
    mover_close(server->mover);
    exports_close(service->exports);
    tokens_close(service->tokens);
    writer_stop(service->writer);
    store_close(service->store);
    limiter_free(service->limiter);
    tls_context_close(server->tls);
    for (size_t i = 0; i < server->old_tls_count; i++)
        tls_context_close(server->old_tls[i]);
    mem_free(server->old_tls);
    for (size_t i = 0; i < server->old_config_count; i++)
        mem_free(server->old_configs[i]);
    mem_free(server->old_configs);
    mem_free(server->config);
}

/* ---- Running ---- */

static bool reload_certificate(struct server *server)
{
    struct tls_context *fresh;
    struct error error;
    if (server->config->plaintext)
        return true;
    if (tls_context_open(server->config->tls_certificate, server->config->tls_key, &fresh, &error) !=
        STATUS_OK) {
        log_event(LOG_LEVEL_ERROR, "reload_failed", "the old certificate stays in use: %s", error.text);
        return false;
    }
    server->old_tls =
        mem_realloc(server->old_tls, (server->old_tls_count + 1) * sizeof(struct tls_context *));
    server->old_tls[server->old_tls_count++] = server->tls;
    server->tls = fresh;
    reactors_set_tls(server->reactors, fresh);
    return true;
}

static void set_log_level(const struct config *config)
{
    enum log_level level;
    CHECK(log_level_parse(config->log_level, &level));
    log_set_level(level);
}

/* SIGHUP: what cannot be read changes nothing. */
static void reload(struct server *server)
{
    struct config fresh;
    struct error error;
    bool is_usage;
    if (load_config(server, &fresh, &is_usage, &error) != STATUS_OK) {
        log_event(LOG_LEVEL_ERROR, "reload_failed", "the old settings stay in use: %s", error.text);
        return;
    }
    const char *waiting = config_waiting(&server->loaded, &fresh);
    if (waiting)
        log_event(LOG_LEVEL_WARNING, "reload", "the change of %s takes effect at the next start", waiting);
    struct config *config = mem_new(struct config);
    *config = *server->config;
    config_reload(config, &fresh);
    server->old_configs =
        mem_realloc(server->old_configs, (server->old_config_count + 1) * sizeof(struct config *));
    server->old_configs[server->old_config_count++] = server->config;
    server->config = config;
    __atomic_store_n(&server->service.config, config, __ATOMIC_RELEASE);
    set_log_level(config);
    if (reload_certificate(server))
        log_event(LOG_LEVEL_INFO, "reloaded", "settings and certificate are in use as they are now");
}

static void block_signals(sigset_t *ret_signals)
{
    sigemptyset(ret_signals);
    sigaddset(ret_signals, SIGTERM);
    sigaddset(ret_signals, SIGINT);
    sigaddset(ret_signals, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, ret_signals, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
}

static void run(struct server *server, const sigset_t *signals)
{
    log_event(LOG_LEVEL_INFO, "started", "sluiced " SLUICE_VERSION " listens on %s",
              reactors_address(server->reactors));
    printf("listening on %s://%s\n", server->config->plaintext ? "http" : "https",
           reactors_address(server->reactors));
    fflush(stdout);
    for (;;) {
        int number;
        CHECK(sigwait(signals, &number) == 0);
        if (number != SIGHUP) {
            log_event(LOG_LEVEL_INFO, "stopping", "on signal %d", number);
            return;
        }
        reload(server);
    }
}

int main(int argc, char **argv)
{
    struct server server = {0};
    struct error error;
    sigset_t signals;
    bool is_usage;
    parse_options(argc, argv, &server);
    if (load_config(&server, &server.loaded, &is_usage, &error) != STATUS_OK)
        fail(is_usage ? EXIT_STATUS_USAGE : EXIT_STATUS_FAILED, error.text);
    server.config = mem_new(struct config);
    *server.config = server.loaded;
    check_transport(server.config);
    set_log_level(server.config);
    umask(077);
    bound_connections(server.config);
    block_signals(&signals); /* before any thread is there */

    enum status status = start(&server, &error);
    if (status == STATUS_OK)
        run(&server, &signals);
    stop(&server, &signals);
    if (status != STATUS_OK)
        fail(EXIT_STATUS_FAILED, error.text);
    log_event(LOG_LEVEL_INFO, "stopped", "all is on disk");
    return 0;
}
