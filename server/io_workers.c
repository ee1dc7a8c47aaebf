#include "server/io_workers.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

#include <pthread.h>

struct io_workers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct message *first; /* oldest first */
    struct message **end;
    bool stopping;
    unsigned count;
    pthread_t threads[];
};

static void deliver_finished(struct message *message, void *receiver)
{
    (void)receiver;
    struct io_task *task = (struct io_task *)message; /* message is the first member */
    task->finished(task);
}

static struct io_task *wait_for_task(struct io_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    while (!workers->first && !workers->stopping)
        pthread_cond_wait(&workers->work, &workers->lock);
    struct message *message = workers->first;
    if (message) {
        workers->first = message->next;
        if (!workers->first)
            workers->end = &workers->first;
    }
    pthread_mutex_unlock(&workers->lock);
    return (struct io_task *)message;
}

/* Under the lock, so that a mailbox whose owner has abandoned the task is not touched any more. */
static void send_back(struct io_workers *workers, struct io_task *task)
{
    pthread_mutex_lock(&workers->lock);
    bool is_abandoned = task->is_abandoned;
    if (!is_abandoned) {
        task->is_posted = true;
        task->message.next = NULL;
        task->message.deliver = deliver_finished;
        mailbox_post_reply(task->reply_to, &task->message);
    }
    pthread_mutex_unlock(&workers->lock);
    if (is_abandoned)
        task->dropped(task);
}

static void *worker_main(void *argument)
{
    struct io_workers *workers = argument;
    for (struct io_task *task; (task = wait_for_task(workers));) {
        task->run(task);
        send_back(workers, task);
    }
    return NULL;
}

enum status io_workers_start(unsigned count, struct io_workers **ret_workers, struct error *error)
{
    CHECK(count > 0);
    struct io_workers *workers = mem_zalloc(sizeof *workers + count * sizeof workers->threads[0]);
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->work, NULL);
    workers->end = &workers->first;
    for (; workers->count < count; workers->count++) {
        if (pthread_create(&workers->threads[workers->count], NULL, worker_main, workers) != 0) {
            io_workers_stop(workers);
            return error_set(error, STATUS_INTERNAL, "a thread for file reads cannot be started");
        }
    }
    *ret_workers = workers;
    return STATUS_OK;
}

void io_workers_stop(struct io_workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->count; i++)
        pthread_join(workers->threads[i], NULL);
    pthread_cond_destroy(&workers->work);
    pthread_mutex_destroy(&workers->lock);
    mem_free(workers);
}

void io_workers_submit(struct io_workers *workers, struct io_task *task)
{
    CHECK(task->run && task->finished && task->dropped && task->reply_to);
    task->message.next = NULL;
    task->is_posted = false;
    task->is_abandoned = false;
    pthread_mutex_lock(&workers->lock);
    *workers->end = &task->message;
    workers->end = &task->message.next;
    pthread_cond_signal(&workers->work);
    pthread_mutex_unlock(&workers->lock);
}

bool io_workers_abandon(struct io_workers *workers, struct io_task *task)
{
    pthread_mutex_lock(&workers->lock);
    bool in_time = !task->is_posted;
    if (in_time)
        task->is_abandoned = true;
    pthread_mutex_unlock(&workers->lock);
    return in_time;
}
