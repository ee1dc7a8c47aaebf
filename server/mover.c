#include "server/mover.h"

#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "server/config.h"
#include "server/job_files.h"
#include "server/log.h"
#include "storage/homes.h"
#include "storage/jobs.h"

#include <pthread.h>

#define MOVER_PERIOD_US US_PER_SECOND        /* between two looks at how many wait */
#define MOVER_RETRY_US  (30 * US_PER_SECOND) /* for those that could not be moved, and after a failure */
#define MOVER_REST      3                    /* rests so many times as long as a step took */

struct mover {
    struct service *service;
    struct link *link;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
};

/* True if it is to go on after that time. */
static bool mover_wait(struct mover *mover, int64_t us)
{
    int64_t wake_us = clock_monotonic_us() + us;
    struct timespec wake = {.tv_sec = wake_us / US_PER_SECOND, .tv_nsec = wake_us % US_PER_SECOND * 1000};
    int waited = 0;
    pthread_mutex_lock(&mover->lock);
    while (!mover->stopping && waited == 0)
        waited = pthread_cond_timedwait(&mover->changed, &mover->lock, &wake);
    bool goes_on = !mover->stopping;
    pthread_mutex_unlock(&mover->lock);
    return goes_on;
}

/* While a job is active, what was moved stands twice: imports and exports need the disk more. */
static enum status check_disk(struct mover *mover, struct error *error)
{
    const struct service *service = mover->service;
    return disk_check_reserve(store_dir(service->store), service_config(service)->disk_reserve_bytes, error);
}

static bool rest(void *context, const struct homes_counts *counts, int64_t step_us)
{
    struct error error;
    (void)counts;
    return mover_wait(context, MOVER_REST * step_us) && check_disk(context, &error) == STATUS_OK;
}

/* What says whether there may be something to do. */
struct outlook {
    uint64_t waiting;
    uint64_t oldest_sequence; /* of active jobs: some wait for one to end */
};

/* Nobody waits, if it cannot be read. */
static struct outlook look(struct mover *mover)
{
    struct engine_txn *txn;
    struct outlook found = {.waiting = 0};
    if (engine_begin_read(store_engine(mover->service->store), &txn, NULL) != STATUS_OK)
        return found;
    if (homes_count(txn, &found.waiting, NULL) != STATUS_OK ||
        job_oldest_sequence(txn, &found.oldest_sequence, NULL) != STATUS_OK)
        found.waiting = 0;
    engine_end(txn);
    return found;
}

static void log_moved(const struct homes_counts *counts, int64_t duration_us)
{
    struct log_line line = log_begin(LOG_LEVEL_INFO, "homes moved");
    log_number(&line, "beneficiaries", (int64_t)counts->moved);
    log_number(&line, "stored_bytes", (int64_t)counts->bytes);
    log_number(&line, "steps", (int64_t)counts->steps);
    log_number(&line, "waiting", (int64_t)counts->waiting);
    log_number(&line, "duration_us", duration_us);
    log_end(&line);
}

static void *mover_main(void *argument)
{
    struct mover *mover = argument;
    struct homes_options options = {.context = mover, .rest = rest};
    struct outlook before = {.waiting = 0}; /* when it was tried last */
    int64_t retry_us = INT64_MIN;
    do {
        struct outlook now = look(mover);
        bool is_same = now.waiting == before.waiting && now.oldest_sequence == before.oldest_sequence;
        if (now.waiting == 0 || (is_same && clock_monotonic_us() < retry_us))
            continue;
        struct homes_counts counts = {.moved = 0};
        struct error error;
        int64_t begin_us = clock_monotonic_us();
        enum status status = check_disk(mover, &error);
        if (status == STATUS_OK)
            status = homes_run(mover->link, &options, &counts, &error);
        if (status != STATUS_OK) {
            log_event(LOG_LEVEL_ERROR, "homes not moved", "%s", error.text);
            counts.waiting = look(mover).waiting;
        }
        if (counts.moved)
            log_moved(&counts, clock_monotonic_us() - begin_us);
        before = (struct outlook){counts.waiting, now.oldest_sequence};
        retry_us = clock_monotonic_us() + MOVER_RETRY_US;
    } while (mover_wait(mover, MOVER_PERIOD_US));
    return NULL;
}

enum status mover_open(struct service *service, struct mover **ret_mover, struct error *error)
{
    struct mover *mover = mem_new(struct mover);
    pthread_condattr_t attributes;
    mover->service = service;
    mover->link = link_new(service->store, service->writer);
    pthread_mutex_init(&mover->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&mover->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&mover->thread, NULL, mover_main, mover) != 0) {
        mover->stopping = true; /* there is no thread to join */
        mover_close(mover);
        return error_set(error, STATUS_INTERNAL, "the thread that moves homes cannot be started");
    }
    *ret_mover = mover;
    return STATUS_OK;
}

void mover_close(struct mover *mover)
{
    if (!mover)
        return;
    pthread_mutex_lock(&mover->lock);
    bool runs = !mover->stopping;
    mover->stopping = true;
    pthread_cond_signal(&mover->changed);
    pthread_mutex_unlock(&mover->lock);
    if (runs)
        pthread_join(mover->thread, NULL);
    link_close(mover->link);
    pthread_cond_destroy(&mover->changed);
    pthread_mutex_destroy(&mover->lock);
    mem_free(mover);
}
