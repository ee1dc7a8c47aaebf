#include "server/reactor.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/connection.h"
#include "server/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DRAIN_LOOK_US            (US_PER_SECOND / 10)
#define LISTEN_BACKLOG           1024
#define ACCEPTS_PER_TURN_MAX     64
#define ACCEPT_PAUSE_MS          100
#define MAILBOX_MESSAGES_MAX     4096
#define LISTEN_HOST_BYTES_MAX    255
#define LISTEN_ADDRESS_BYTES_MAX (INET6_ADDRSTRLEN + 8)

struct reactor;

/* What the main thread tells a reactor; embedded there, so that there is always room. */
struct control {
    struct message message;
    void (*act)(struct reactor *reactor);
};

struct reactor {
    struct reactors *reactors;
    pthread_t thread;
    bool has_thread;
    struct event_base *base;
    struct connection_group group;
    int listener; /* -1: no longer */
    struct event *listen_event, *pause_timer;
    struct mailbox *mailbox;
    struct event *mailbox_event;
    struct event *log_event; /* made active when the log has gathered a line */
    void *local;
    atomic_ulong accept_pauses;
    struct control drain, cut, stop;
    bool is_stopping;
    bool is_drained; /* under reactors->lock */
};

struct reactors {
    struct reactors_options options;
    struct connection_census census;
    _Atomic(struct tls_context *) tls;
    char address[LISTEN_ADDRESS_BYTES_MAX];
    pthread_mutex_t lock;
    pthread_cond_t drained;
    unsigned count;
    struct reactor *each;
};

/* ---- listening ----------------------------------------------------------------------------------------- */

/* "host:port" or "[host]:port". */
static enum status address_parse(const char *listen, struct sockaddr_storage *ret_address,
                                 socklen_t *ret_size, struct error *error)
{
    char host[LISTEN_HOST_BYTES_MAX + 1];
    const char *colon = strrchr(listen, ':');
    const char *first = listen, *last = colon;
    if (colon && *first == '[' && last > first && last[-1] == ']') {
        first++;
        last--;
    } else if (colon && memchr(first, ':', (size_t)(last - first))) {
        colon = NULL;
    }
    size_t size = colon ? (size_t)(last - first) : 0;
    if (!colon || size == 0 || size > LISTEN_HOST_BYTES_MAX)
        return error_set(error, STATUS_INVALID,
                         "cannot listen on \"%s\": write it as 127.0.0.1:8443 or [::1]:8443", listen);
    memcpy(host, first, size);
    host[size] = '\0';
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    int failed = getaddrinfo(host, colon + 1, &hints, &found);
    if (failed)
        return error_set(error, STATUS_INVALID, "cannot listen on \"%s\": %s", listen, gai_strerror(failed));
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    *ret_size = found->ai_addrlen;
    freeaddrinfo(found);
    return STATUS_OK;
}

static unsigned address_port(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET6
                     ? ((const struct sockaddr_in6 *)(const void *)address)->sin6_port
                     : ((const struct sockaddr_in *)(const void *)address)->sin_port);
}

/* Accepted sockets inherit these from their listener, which saves as many system calls for each. */
static bool socket_prepare(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        /* Otherwise an answer's last packet waits up to 40 ms for the ACK of the one before it. */
        {IPPROTO_TCP, TCP_NODELAY, 1},
        /* Finds a peer that vanished while nothing is sent, such as one that follows a running job. */
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) != 0)
            return false;
    return true;
}

static enum status socket_bind(const struct sockaddr_storage *address, socklen_t size, bool is_shared,
                               const char *listen, int *ret_fd, struct error *error)
{
    int on = 1, off = 0;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(error, "cannot make a socket for %s", listen);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (is_shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
        (address->ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) ||
        bind(fd, (const struct sockaddr *)address, size) != 0) {
        enum status status = error_set_errno(error, "cannot listen on %s", listen);
        close(fd);
        return status;
    }
    *ret_fd = fd;
    return STATUS_OK;
}

/* One listener for each reactor; the first chooses the port if it is 0. */
static enum status reactors_listen(struct reactors *reactors, struct error *error)
{
    const char *listen_on = reactors->options.listen;
    struct sockaddr_storage address;
    socklen_t size;
    enum status status = address_parse(listen_on, &address, &size, error);
    if (status != STATUS_OK)
        return status;
    if (address_port(&address) != 0) {
        /* SO_REUSEPORT would let a second server in silently, to take half of the connections. A socket
         * without it is refused while another one listens. */
        int probe;
        status = socket_bind(&address, size, false, listen_on, &probe, error);
        if (status != STATUS_OK)
            return status;
        close(probe);
    }
    for (unsigned i = 0; i < reactors->count; i++) {
        struct reactor *reactor = &reactors->each[i];
        status = socket_bind(&address, size, true, listen_on, &reactor->listener, error);
        if (status != STATUS_OK)
            return status;
        if (!socket_prepare(reactor->listener) || listen(reactor->listener, LISTEN_BACKLOG) != 0 ||
            getsockname(reactor->listener, (struct sockaddr *)&address, &size) != 0)
            return error_set_errno(error, "cannot listen on %s", listen_on);
    }
    char host[INET6_ADDRSTRLEN];
    if (address.ss_family == AF_INET6) {
        /* Not address_format, which writes mapped addresses as IPv4. */
        CHECK(inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)&address)->sin6_addr, host, sizeof host));
        snprintf(reactors->address, sizeof reactors->address, "[%s]:%u", host, address_port(&address));
    } else {
        address_format((const struct sockaddr *)&address, host);
        snprintf(reactors->address, sizeof reactors->address, "%s:%u", host, address_port(&address));
    }
    return STATUS_OK;
}

/* ---- on the reactor's thread --------------------------------------------------------------------------- */

static void accept_pause(struct reactor *reactor)
{
    /* The connection stays in the queue, so the listener stays readable: without a pause this would spin. */
    const struct timeval pause = {0, (suseconds_t)ACCEPT_PAUSE_MS * 1000};
    atomic_fetch_add_explicit(&reactor->accept_pauses, 1, memory_order_relaxed);
    CHECK(event_del(reactor->listen_event) == 0);
    CHECK(event_add(reactor->pause_timer, &pause) == 0);
}

/* False: the queue is empty, or accepting pauses. */
static bool accept_one(struct reactor *reactor)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    int fd = accept4(reactor->listener, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        connection_accept(&reactor->group, fd, (struct sockaddr *)&address,
                          atomic_load_explicit(&reactor->reactors->tls, memory_order_acquire));
        return true;
    }
    switch (errno) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        accept_pause(reactor);
        return false;
    default:
        return true; /* what became of one connection: ECONNABORTED and the like */
    }
}

static void on_listener(evutil_socket_t fd, short what, void *argument)
{
    struct reactor *reactor = argument;
    (void)fd;
    (void)what;
    for (unsigned i = 0; i < ACCEPTS_PER_TURN_MAX && accept_one(reactor); i++)
        ;
}

static void on_pause_over(evutil_socket_t fd, short what, void *argument)
{
    struct reactor *reactor = argument;
    (void)fd;
    (void)what;
    if (reactor->listener >= 0)
        CHECK(event_add(reactor->listen_event, NULL) == 0);
}

static void on_mailbox(evutil_socket_t fd, short what, void *argument)
{
    struct reactor *reactor = argument;
    (void)fd;
    (void)what;
    message_deliver_all(mailbox_take(reactor->mailbox), reactor);
}

/* The first line of the log since the loop last slept: it is written, with those that follow it, when all
 * other events of this round have been dealt with. */
static void on_log_begun(void *context)
{
    struct reactor *reactor = context;
    event_active(reactor->log_event, EV_TIMEOUT, 0);
}

static void on_log_due(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    (void)argument;
    log_flush();
}

static void listener_close(struct reactor *reactor)
{
    if (reactor->listener < 0)
        return;
    CHECK(event_del(reactor->listen_event) == 0);
    CHECK(event_del(reactor->pause_timer) == 0);
    close(reactor->listener);
    reactor->listener = -1;
}

static void on_emptied(struct connection_group *group)
{
    struct reactor *reactor = group->pool.reactor;
    struct reactors *reactors = reactor->reactors;
    if (group->draining && group->connections == 0) {
        pthread_mutex_lock(&reactors->lock);
        reactor->is_drained = true;
        pthread_cond_signal(&reactors->drained);
        pthread_mutex_unlock(&reactors->lock);
    }
    if (reactor->is_stopping && group->connections == 0 && group->exchanges == 0)
        event_base_loopbreak(reactor->base);
}

static void act_drain(struct reactor *reactor)
{
    /* Whoever is in the queue was told by the kernel that he is connected; closing it would reset him. */
    for (unsigned i = 0; i < LISTEN_BACKLOG && reactor->listener >= 0 && accept_one(reactor); i++)
        ;
    listener_close(reactor);
    connection_group_drain(&reactor->group);
}

static void act_cut(struct reactor *reactor)
{
    connection_group_cut(&reactor->group);
}

static void act_stop(struct reactor *reactor)
{
    reactor->is_stopping = true;
    on_emptied(&reactor->group);
}

static void control_deliver(struct message *message, void *receiver)
{
    struct control *control = (struct control *)message;
    control->act(receiver);
}

static void control_send(struct reactor *reactor, struct control *control, void (*act)(struct reactor *))
{
    control->message.deliver = control_deliver;
    control->act = act;
    mailbox_post_reply(reactor->mailbox, &control->message);
}

static void *reactor_run(void *argument)
{
    struct reactor *reactor = argument;
    const struct reactors_options *options = &reactor->reactors->options;
    pthread_setname_np(pthread_self(), "reactor");
    log_gather(on_log_begun, reactor);
    if (options->local_new)
        reactor->local = options->local_new(options->service);
    CHECK(event_add(reactor->mailbox_event, NULL) == 0);
    CHECK(event_add(reactor->listen_event, NULL) == 0);
    CHECK(event_base_loop(reactor->base, EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
    for (struct message *list; (list = mailbox_take(reactor->mailbox));)
        message_deliver_all(list, reactor);
    if (options->local_free)
        options->local_free(reactor->local);
    log_gather_end();
    return NULL;
}

/* ---- from the main thread ------------------------------------------------------------------------------ */

static void reactor_set_up(struct reactor *reactor, struct reactors *reactors)
{
    reactor->reactors = reactors;
    reactor->listener = -1;
    struct event_config *config = event_config_new();
    CHECK(config);
    /* Its thread alone uses a base, so it needs no locks; and no variable of the environment chooses another
     * backend than epoll. */
    CHECK(event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0);
    reactor->base = event_base_new_with_config(config);
    event_config_free(config);
    CHECK(reactor->base);
    reactor->mailbox = mailbox_new(MAILBOX_MESSAGES_MAX);
    reactor->mailbox_event =
        event_new(reactor->base, mailbox_fd(reactor->mailbox), EV_READ | EV_PERSIST, on_mailbox, reactor);
    reactor->log_event = evtimer_new(reactor->base, on_log_due, NULL);
    reactor->pause_timer = evtimer_new(reactor->base, on_pause_over, reactor);
    CHECK(reactor->mailbox_event && reactor->pause_timer && reactor->log_event);
    connection_group_init(&reactor->group, reactor->base, reactor, &reactors->options, &reactors->census);
    reactor->group.emptied = on_emptied;
}

static void reactor_tear_down(struct reactor *reactor)
{
    if (!reactor->base)
        return;
    if (reactor->listen_event)
        event_free(reactor->listen_event);
    event_free(reactor->mailbox_event);
    event_free(reactor->pause_timer);
    event_free(reactor->log_event);
    if (reactor->listener >= 0)
        close(reactor->listener);
    connection_group_release(&reactor->group);
    mailbox_free(reactor->mailbox);
    event_base_free(reactor->base);
}

static void reactors_free(struct reactors *reactors)
{
    for (unsigned i = 0; i < reactors->count; i++)
        reactor_tear_down(&reactors->each[i]);
    address_count_free(reactors->census.addresses);
    pthread_cond_destroy(&reactors->drained);
    pthread_mutex_destroy(&reactors->lock);
    mem_free(reactors->each);
    mem_free(reactors);
}

static enum status reactor_start_thread(struct reactor *reactor, struct error *error)
{
    /* Signals are for the main thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&reactor->thread, NULL, reactor_run, reactor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return error_set(error, STATUS_INTERNAL, "cannot start a reactor's thread: %s", strerror(failed));
    reactor->has_thread = true;
    return STATUS_OK;
}

enum status reactors_start(const struct reactors_options *options, struct reactors **ret_reactors,
                           struct error *error)
{
    CHECK(options->count > 0 && options->handle);
    struct reactors *reactors = mem_new(struct reactors);
    reactors->options = *options;
    reactors->count = options->count;
    reactors->each = mem_new_array(struct reactor, reactors->count);
    reactors->census.addresses = address_count_new(options->limits.connections_per_address_max);
    atomic_init(&reactors->tls, options->tls);
    CHECK(pthread_mutex_init(&reactors->lock, NULL) == 0);
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&reactors->drained, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    for (unsigned i = 0; i < reactors->count; i++)
        reactor_set_up(&reactors->each[i], reactors);

    /* All sends say MSG_NOSIGNAL; this is for what a library may write. */
    signal(SIGPIPE, SIG_IGN);
    enum status status = reactors_listen(reactors, error);
    for (unsigned i = 0; status == STATUS_OK && i < reactors->count; i++) {
        struct reactor *reactor = &reactors->each[i];
        reactor->listen_event =
            event_new(reactor->base, reactor->listener, EV_READ | EV_PERSIST, on_listener, reactor);
        CHECK(reactor->listen_event);
    }
    for (unsigned i = 0; status == STATUS_OK && i < reactors->count; i++)
        status = reactor_start_thread(&reactors->each[i], error);
    if (status != STATUS_OK) {
        reactors_stop(reactors);
        return status;
    }
    reactors->options.listen = NULL; /* borrowed for the start only */
    *ret_reactors = reactors;
    return STATUS_OK;
}

const char *reactors_address(const struct reactors *reactors)
{
    return reactors->address;
}

/* False: the time is over. */
static bool reactors_await_drained(struct reactors *reactors, int64_t deadline_us)
{
    struct timespec until = {deadline_us / US_PER_SECOND, deadline_us % US_PER_SECOND * 1000};
    bool in_time = true;
    pthread_mutex_lock(&reactors->lock);
    for (unsigned i = 0; i < reactors->count && in_time; i++)
        while (reactors->each[i].has_thread && !reactors->each[i].is_drained && in_time)
            in_time = (deadline_us == INT64_MAX
                           ? pthread_cond_wait(&reactors->drained, &reactors->lock)
                           : pthread_cond_timedwait(&reactors->drained, &reactors->lock, &until)) == 0;
    pthread_mutex_unlock(&reactors->lock);
    return in_time;
}

void reactors_drain(struct reactors *reactors, unsigned grace_ms, bool (*is_hurried)(void *context),
                    void *context)
{
    int64_t deadline_us = clock_monotonic_us() + (int64_t)grace_ms * 1000;
    if (reactors_await_drained(reactors, 0))
        return; /* by an earlier call */
    for (unsigned i = 0; i < reactors->count; i++)
        if (reactors->each[i].has_thread)
            control_send(&reactors->each[i], &reactors->each[i].drain, act_drain);
    for (int64_t now_us; (now_us = clock_monotonic_us()) < deadline_us;) {
        int64_t look_us = now_us + DRAIN_LOOK_US;
        if (reactors_await_drained(reactors, look_us < deadline_us ? look_us : deadline_us))
            return;
        if (is_hurried && is_hurried(context))
            break;
    }
    for (unsigned i = 0; i < reactors->count; i++)
        if (reactors->each[i].has_thread)
            control_send(&reactors->each[i], &reactors->each[i].cut, act_cut);
    (void)reactors_await_drained(reactors, INT64_MAX);
}

void reactors_stop(struct reactors *reactors)
{
    if (!reactors)
        return;
    reactors_drain(reactors, 0, NULL, NULL);
    for (unsigned i = 0; i < reactors->count; i++) {
        struct reactor *reactor = &reactors->each[i];
        if (!reactor->has_thread)
            continue;
        control_send(reactor, &reactor->stop, act_stop);
        CHECK(pthread_join(reactor->thread, NULL) == 0);
    }
    reactors_free(reactors);
}

void reactors_set_tls(struct reactors *reactors, struct tls_context *tls)
{
    atomic_store_explicit(&reactors->tls, tls, memory_order_release);
}

struct mailbox *reactor_mailbox(struct reactor *reactor)
{
    return reactor->mailbox;
}

void *reactor_local(struct reactor *reactor)
{
    return reactor->local;
}

struct reactors_stats reactors_stats(const struct reactors *reactors)
{
    struct reactors_stats stats = {0};
    stats.connections = atomic_load_explicit(&reactors->census.connections, memory_order_relaxed);
    for (unsigned i = 0; i < reactors->count; i++) {
        const struct reactor *reactor = &reactors->each[i];
        stats.accepted += atomic_load_explicit(&reactor->group.accepted, memory_order_relaxed);
        stats.refused += atomic_load_explicit(&reactor->group.refused, memory_order_relaxed);
        stats.requests += atomic_load_explicit(&reactor->group.requests, memory_order_relaxed);
        stats.accept_pauses += atomic_load_explicit(&reactor->accept_pauses, memory_order_relaxed);
    }
    return stats;
}
