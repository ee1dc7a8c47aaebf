#include "storage/compact.h"

#include "codec/base/arena.h"
#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/mem.h"
#include "codec/base/reader.h"
#include "codec/instant.h"
#include "storage/jobs.h"
#include "storage/statistics.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define COMPACT_THREADS_MAX 64
#define TURN_BENEFICIARIES  32                  /* that a thread takes at a time */
#define TURN_DAMAGE_BYTES   ((size_t)64 * 1024) /* of texts: then the turn ends */
#define BATCH_BYTES         ((size_t)1024 * 1024)
#define BATCH_TASKS_MAX     (TURN_BENEFICIARIES * RESOURCE_TYPE_COUNT)
#define STALE_ATTEMPTS_MAX  1000 /* of one task; each means that a change came between */
#define WAIT_STEP_US        (US_PER_SECOND / 10)
#define SNAPSHOT_US         (US_PER_SECOND / 20) /* how long a read transaction may live */

/* One beneficiary and type. */
struct task {
    struct slice beneficiary;
    enum resource_type type;
    bool is_changed; /* something of it was rewritten */
    unsigned stale;
    uint64_t replaced, made, replaced_bytes, made_bytes, dropped; /* by the delta that is in the batch */
};

struct compact;

struct compact_thread {
    struct compact *compact;
    struct compactor *compactor;
    struct arena ids; /* of this turn */
    struct task tasks[BATCH_TASKS_MAX];
    size_t task_count;
    struct task *sent[BATCH_TASKS_MAX]; /* those whose deltas are in the batch, in its order */
    size_t sent_count;
    struct buffer payload; /* u32 count, then u32 size and encoding each */
    struct buffer stale;
    struct buffer damage; /* what turn_take found: texts, each ended by NUL */
    enum status status;
    struct error error;
};

struct compact {
    struct link *link;
    const struct compact_options *options;
    uint64_t bytes_total;

    pthread_mutex_t lock; /* guards what follows, and the callbacks */
    struct buffer
        last; /* key of the beneficiary that was taken last, and a NUL: the next one's lower bound */
    bool at_end;
    bool is_failed; /* a thread failed: the others stop */
    uint64_t bytes_done;
    struct compact_counts counts;
    /* Bytes that were replaced while a job was active that may need them, and the newest sequence at which
     * that was so. */
    uint64_t pinned_bytes;
    uint64_t pinned_sequence;
    uint64_t replaced_since; /* bytes, since space was given back */

    unsigned thread_count;
    struct compact_thread threads[COMPACT_THREADS_MAX];
};

/* It costs only what it is about. */
static bool is_damage(enum status status)
{
    return status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED;
}

static bool is_stopped(struct compact *compact)
{
    return compact->options->is_stopped && compact->options->is_stopped(compact->options->context);
}

/* With the lock held, and no transaction open. */
static void tell_damage(struct compact *compact, const char *reason)
{
    compact->counts.damaged++;
    if (compact->options->damaged)
        compact->options->damaged(compact->options->context, reason);
}

/* With the lock held. */
static void show_progress(struct compact *compact, const char *note)
{
    if (compact->options->progress)
        compact->options->progress(compact->options->context, compact->bytes_done, compact->bytes_total,
                                   note);
}

/* ---- what jobs pin ---- */

static uint64_t pinned_bytes_max(const struct compact *compact)
{
    return compact->options->pinned_bytes_max ? compact->options->pinned_bytes_max : COMPACT_PINNED_BYTES_MAX;
}

/* Adds what was replaced just now, and forgets what no job can need any more. */
static enum status note_pinned(struct compact *compact, uint64_t bytes, struct error *error)
{
    struct engine_txn *txn;
    uint64_t oldest_sequence;
    struct store_clock clock;
    enum status status = engine_begin_read(store_engine(link_store(compact->link)), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = job_oldest_sequence(txn, &oldest_sequence, error);
    if (status == STATUS_OK)
        status = store_clock_read(txn, &clock, error);
    engine_end(txn);
    if (status != STATUS_OK)
        return status;
    pthread_mutex_lock(&compact->lock);
    if (oldest_sequence >= compact->pinned_sequence)
        compact->pinned_bytes = 0;
    if (oldest_sequence != UINT64_MAX && bytes) {
        compact->pinned_bytes += bytes;
        compact->pinned_sequence = clock.sequence;
    }
    pthread_mutex_unlock(&compact->lock);
    return STATUS_OK;
}

/* Counts what stands superseded, from behind `last` on, for as long as one snapshot may live.
 * STATUS_NOT_FOUND: that is all, or more than is asked for. */
static enum status count_dead(struct compact *compact, struct engine_txn *txn, struct buffer *last,
                              struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, TABLE_DEAD, &cursor, error);
    if (status != STATUS_OK)
        return status;
    int64_t deadline_us = clock_monotonic_us() + SNAPSHOT_US;
    engine_seek(cursor, buffer_slice(last), (struct slice){0});
    while (status == STATUS_OK && clock_monotonic_us() < deadline_us) {
        struct slice key, value, record, rest;
        uint64_t death;
        uint8_t type;
        if (compact->pinned_bytes > pinned_bytes_max(compact))
            return STATUS_NOT_FOUND;
        status = engine_next(cursor, &key, &value, error);
        if (status != STATUS_OK && !(status == STATUS_CORRUPT && key.size))
            break;
        bool is_damaged = status != STATUS_OK;
        status = STATUS_OK;
        buffer_reset(last);
        buffer_append_slice(last, key);
        buffer_append_char(last, '\0');
        rest = key;
        if (is_damaged || !key_take_u64(&rest, &death) || !key_take_u8(&rest, &type) ||
            type >= RESOURCE_TYPE_COUNT)
            continue; /* no segment */
        compact->pinned_sequence = death;
        if (engine_get(txn, TABLE_SEGMENT + (unsigned)type, rest, &record, NULL) == STATUS_OK)
            compact->pinned_bytes += record.size;
    }
    return status;
}

/* What earlier runs and imports left for jobs counts, too. */
static enum status measure_dead(struct compact *compact, struct error *error)
{
    struct buffer last = BUFFER_INIT;
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        struct engine_txn *txn;
        status = engine_begin_read(store_engine(link_store(compact->link)), &txn, error);
        if (status != STATUS_OK)
            break;
        status = count_dead(compact, txn, &last, error);
        engine_end(txn);
    }
    buffer_release(&last);
    return status == STATUS_NOT_FOUND ? note_pinned(compact, 0, error) : status;
}

/* Waits while jobs pin more than they may. */
static enum status wait_for_jobs(struct compact *compact, struct error *error)
{
    const struct compact_options *options = compact->options;
    uint64_t bound = pinned_bytes_max(compact);
    int64_t deadline_us = clock_monotonic_us() + options->wait_seconds * US_PER_SECOND;
    for (;;) {
        pthread_mutex_lock(&compact->lock);
        uint64_t pinned_bytes = compact->pinned_bytes;
        if (pinned_bytes > bound)
            show_progress(compact, "waits for export jobs, which still need what was replaced");
        bool is_failed = compact->is_failed;
        pthread_mutex_unlock(&compact->lock);
        if (pinned_bytes <= bound || is_failed)
            return STATUS_OK;
        if (is_stopped(compact))
            return error_set(error, STATUS_CANCELLED, "stopped");
        if (clock_monotonic_us() >= deadline_us)
            return error_set(error, STATUS_BUSY,
                             "active export jobs still need %llu bytes of what was replaced (sluicectl jobs "
                             "list): run it again when they are done",
                             (unsigned long long)pinned_bytes);
        nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_US * 1000}, NULL);
        enum status status = note_pinned(compact, 0, error);
        if (status != STATUS_OK)
            return status;
    }
}

/* ---- the index ---- */

/* From one end to the other. */
static enum status pack_index(struct compact *compact, struct error *error)
{
    struct buffer position = BUFFER_INIT, payload = BUFFER_INIT, reply = BUFFER_INIT;
    enum status status = STATUS_OK;
    for (bool more = true; more && status == STATUS_OK && !is_stopped(compact);) {
        buffer_reset(&payload);
        buffer_reset(&reply);
        buffer_append_sized(&payload, buffer_slice(&position));
        status = link_call(compact->link, CONTROL_COMMAND_INDEX_PACK, buffer_slice(&payload), &reply, error);
        struct reader reader = reader_make(buffer_slice(&reply));
        struct slice next = reader_sized(&reader);
        more = reader_u8(&reader) != 0;
        struct slice damage = reader_sized(&reader);
        if (status == STATUS_OK && !reader_done(&reader))
            status =
                error_set(error, STATUS_INTERNAL, "the reply is malformed: tool and server do not match");
        buffer_reset(&position);
        if (status == STATUS_OK)
            buffer_append_slice(&position, next);
        if (status == STATUS_OK && damage.size) {
            struct error told;
            error_set(&told, STATUS_CORRUPT, "%.*s", SLICE_PRINT(damage));
            pthread_mutex_lock(&compact->lock);
            tell_damage(compact, told.text);
            pthread_mutex_unlock(&compact->lock);
        }
    }
    buffer_release(&position);
    buffer_release(&payload);
    buffer_release(&reply);
    return status;
}

/* ---- giving space back ---- */

static enum status release_step(struct compact *compact, uint64_t *position, bool *ret_more,
                                struct error *error)
{
    char payload[sizeof(uint64_t)];
    struct buffer reply = BUFFER_INIT;
    store_u64_le(payload, *position);
    enum status status = link_call(compact->link, CONTROL_COMMAND_SPACE_RELEASE,
                                   slice_make(payload, sizeof payload), &reply, error);
    struct reader reader = reader_make(buffer_slice(&reply));
    uint64_t next = reader_u64(&reader), bytes = reader_u64(&reader);
    bool more = reader_u8(&reader) != 0;
    if (status == STATUS_OK && !reader_done(&reader))
        status = error_set(error, STATUS_INTERNAL, "the reply is malformed: tool and server do not match");
    if (status == STATUS_OK) {
        *position = next;
        *ret_more = more;
        pthread_mutex_lock(&compact->lock);
        compact->counts.released_bytes += bytes;
        show_progress(compact, "gives space back");
        pthread_mutex_unlock(&compact->lock);
    }
    buffer_release(&reply);
    return status;
}

/* Once over the whole file. */
static enum status release_space(struct compact *compact, struct error *error)
{
    uint64_t position = 0;
    bool more = true;
    struct error failure = {0};
    while (more && !is_stopped(compact)) {
        enum status status = release_step(compact, &position, &more, &failure);
        if (status == STATUS_UNSUPPORTED) {
            pthread_mutex_lock(&compact->lock);
            compact->counts.no_holes = true;
            pthread_mutex_unlock(&compact->lock);
            return STATUS_OK;
        }
        if (status != STATUS_OK) {
            if (error)
                *error = failure;
            return status;
        }
    }
    return STATUS_OK;
}

/* By whoever comes first when enough was replaced. */
static enum status release_if_due(struct compact *compact, struct error *error)
{
    pthread_mutex_lock(&compact->lock);
    bool is_due = compact->replaced_since >= COMPACT_RELEASE_BYTES;
    if (is_due)
        compact->replaced_since = 0;
    pthread_mutex_unlock(&compact->lock);
    return is_due ? release_space(compact, error) : STATUS_OK;
}

/* ---- a batch ---- */

static void batch_reset(struct compact_thread *thread)
{
    buffer_reset(&thread->payload);
    buffer_append_u32(&thread->payload, 0);
    thread->sent_count = 0;
}

static void note_applied(struct compact *compact, struct task *task)
{
    compact->counts.changed += !task->is_changed;
    compact->counts.replaced += task->replaced;
    compact->counts.made += task->made;
    compact->counts.replaced_bytes += task->replaced_bytes;
    compact->counts.made_bytes += task->made_bytes;
    compact->counts.dropped += task->dropped;
    task->is_changed = true;
    task->stale = 0;
}

/* Sends what is in the batch. What was stale is found again by the next look at its task. */
static enum status batch_send(struct compact_thread *thread, struct error *error)
{
    struct compact *compact = thread->compact;
    if (thread->sent_count == 0)
        return STATUS_OK;
    store_u32_le(thread->payload.data, (uint32_t)thread->sent_count);
    buffer_reset(&thread->stale);
    enum status status = link_call(compact->link, CONTROL_COMMAND_DELTAS, buffer_slice(&thread->payload),
                                   &thread->stale, error);
    if (status != STATUS_OK)
        return status;
    size_t stale_count = thread->stale.size / sizeof(uint32_t), taken = 0;
    uint64_t replaced_bytes = 0;
    CHECK(stale_count <= thread->sent_count);
    pthread_mutex_lock(&compact->lock);
    for (size_t i = 0; i < thread->sent_count; i++) {
        struct task *task = thread->sent[i];
        if (taken < stale_count && load_u32_le(thread->stale.data + taken * sizeof(uint32_t)) == i) {
            taken++;
            task->stale++;
            compact->counts.stale++;
            if (task->stale == STALE_ATTEMPTS_MAX)
                status = error_set(error, STATUS_BUSY,
                                   "the store changes faster than it can be compacted; run it again later");
        } else {
            replaced_bytes += task->replaced_bytes;
            note_applied(compact, task);
        }
    }
    compact->replaced_since += replaced_bytes;
    pthread_mutex_unlock(&compact->lock);
    batch_reset(thread);
    if (status == STATUS_OK)
        status = note_pinned(compact, replaced_bytes, error);
    return status == STATUS_OK ? release_if_due(compact, error) : status;
}

/* Puts the next delta of the task into the batch. *ret_more false: nothing is left to do for it. */
static enum status task_pack(struct compact_thread *thread, struct task *task, bool *ret_more,
                             struct error *error)
{
    struct compact *compact = thread->compact;
    struct compact_result result;
    struct error failure;
    enum status status = compactor_pack(thread->compactor, task->type, task->beneficiary, &result, &failure);
    *ret_more = status == STATUS_OK && result.has_delta;
    if (is_damage(status)) {
        pthread_mutex_lock(&compact->lock);
        tell_damage(compact, failure.text);
        pthread_mutex_unlock(&compact->lock);
        return STATUS_OK;
    }
    if (status != STATUS_OK && error)
        *error = failure;
    if (!*ret_more)
        return status;
    size_t at = thread->payload.size;
    buffer_append_u32(&thread->payload, 0);
    delta_encode(&result.delta, &thread->payload);
    store_u32_le(thread->payload.data + at, (uint32_t)(thread->payload.size - at - sizeof(uint32_t)));
    task->replaced = result.delta.superseded_count;
    task->made = result.delta.segment_count;
    task->replaced_bytes = result.stored_before;
    task->made_bytes = result.stored_after;
    task->dropped = result.dropped;
    thread->sent[thread->sent_count++] = task;
    return STATUS_OK;
}

/* All tasks of a turn, round by round: what a round has changed is looked at again in the next one. */
static enum status turn_run(struct compact_thread *thread, struct error *error)
{
    struct compact *compact = thread->compact;
    struct task *round[BATCH_TASKS_MAX];
    size_t count = thread->task_count;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count; i++)
        round[i] = &thread->tasks[i];
    while (status == STATUS_OK && count) {
        size_t again = 0;
        for (size_t i = 0; status == STATUS_OK && i < count; i++) {
            bool has_more = false;
            if (is_stopped(compact)) {
                status = error_set(error, STATUS_CANCELLED, "stopped");
                break;
            }
            status = wait_for_jobs(compact, error);
            if (status == STATUS_OK)
                status = task_pack(thread, round[i], &has_more, error);
            if (has_more)
                round[again++] = round[i];
            if (status == STATUS_OK && thread->payload.size >= BATCH_BYTES)
                status = batch_send(thread, error);
        }
        /* Also of what was stopped: it is made already. */
        if (status == STATUS_OK || status == STATUS_CANCELLED) {
            struct error failure;
            enum status sent = batch_send(thread, &failure);
            if (sent != STATUS_OK) {
                status = sent;
                if (error)
                    *error = failure;
            }
        }
        count = again;
    }
    return status;
}

/* ---- the run ---- */

/* What is stored of it, from its summary. It is read before anything is made: the writer needs it too. */
static enum status beneficiary_summary(struct engine_txn *txn, struct slice id, struct summary *ret_summary,
                                       struct error *error)
{
    struct beneficiary beneficiary;
    enum status status = beneficiary_get(txn, id, &beneficiary, error);
    summary_init(ret_summary);
    if (status == STATUS_OK)
        status = summary_get(txn, beneficiary.home, id, ret_summary, error);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static void note_damage(struct compact_thread *thread, struct slice key, const struct error *error)
{
    char name[KEY_TEXT_SIZE];
    key_text(key, name);
    buffer_appendf(&thread->damage, "%s %s: %s", table_names[TABLE_BENEFICIARY], name, error->text);
    buffer_append_char(&thread->damage, '\0');
}

/* Takes the next beneficiaries from the cursor; those that are damaged are noted. */
static enum status turn_fill(struct compact_thread *thread, struct engine_txn *txn,
                             struct engine_cursor *cursor, uint64_t *ret_bytes, struct error *error)
{
    struct compact *compact = thread->compact;
    while (thread->task_count < BATCH_TASKS_MAX && thread->damage.size < TURN_DAMAGE_BYTES) {
        struct slice key, value, id;
        struct summary summary;
        struct error found;
        enum status status = engine_next(cursor, &key, &value, &found);
        if (status != STATUS_OK && !(status == STATUS_CORRUPT && key.size)) {
            if (error)
                *error = found;
            return status;
        }
        buffer_reset(&compact->last);
        buffer_append_slice(&compact->last, key);
        buffer_append_char(&compact->last, '\0');
        struct slice rest = key;
        if (status == STATUS_OK && !key_take_id(&rest, &id))
            status = error_set(&found, STATUS_CORRUPT, "the key is malformed");
        if (status == STATUS_OK)
            status = beneficiary_summary(txn, id, &summary, &found);
        compact->counts.beneficiaries++;
        if (is_damage(status)) {
            note_damage(thread, key, &found);
            continue;
        }
        if (status != STATUS_OK) {
            if (error)
                *error = found;
            return status;
        }
        id = arena_copy(&thread->ids, id);
        for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
            *ret_bytes += summary.of[type].raw_bytes;
            thread->tasks[thread->task_count++] =
                (struct task){.beneficiary = id, .type = (enum resource_type)type};
        }
    }
    return STATUS_OK;
}

/* Takes the next beneficiaries; *ret_bytes: what is stored of them, raw. With the lock held. */
static enum status turn_take(struct compact_thread *thread, uint64_t *ret_bytes, struct error *error)
{
    struct compact *compact = thread->compact;
    struct engine_txn *txn;
    struct engine_cursor *cursor;
    enum status status = engine_begin_read(store_engine(link_store(compact->link)), &txn, error);
    if (status != STATUS_OK)
        return status;
    thread->task_count = 0;
    *ret_bytes = 0;
    arena_reset(&thread->ids);
    buffer_reset(&thread->damage);
    status = engine_cursor_open(txn, TABLE_BENEFICIARY, &cursor, error);
    if (status == STATUS_OK) {
        engine_seek(cursor, buffer_slice(&compact->last), (struct slice){0});
        status = turn_fill(thread, txn, cursor, ret_bytes, error);
    }
    engine_end(txn);
    for (size_t at = 0; at < thread->damage.size; at += strlen(thread->damage.data + at) + 1)
        tell_damage(compact, thread->damage.data + at);
    compact->at_end = status == STATUS_NOT_FOUND;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static void *thread_main(void *argument)
{
    struct compact_thread *thread = argument;
    struct compact *compact = thread->compact;
    batch_reset(thread);
    pthread_mutex_lock(&compact->lock);
    while (!compact->at_end && !compact->is_failed) {
        uint64_t bytes;
        enum status status = turn_take(thread, &bytes, &thread->error);
        if (status == STATUS_OK) {
            pthread_mutex_unlock(&compact->lock);
            status = turn_run(thread, &thread->error);
            pthread_mutex_lock(&compact->lock);
        }
        if (status == STATUS_OK) {
            compact->bytes_done += bytes;
            show_progress(compact, "");
        } else {
            thread->status = status;
            compact->is_failed = true;
        }
    }
    pthread_mutex_unlock(&compact->lock);
    return NULL;
}

/* What there is at the beginning, for the progress. */
static enum status measure(struct compact *compact, struct error *error)
{
    struct read_steps steps;
    struct statistics statistics;
    read_steps_init(&steps, store_engine(link_store(compact->link)));
    enum status status = statistics_read(&steps, 0, &statistics, error);
    if (status != STATUS_OK)
        return status;
    compact->counts.beneficiaries_total = statistics.beneficiaries;
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++)
        compact->bytes_total += statistics.of[type].raw_bytes;
    return STATUS_OK;
}

static enum status run_threads(struct compact *compact, struct error *error)
{
    pthread_t ids[COMPACT_THREADS_MAX];
    unsigned started = 0;
    for (; started + 1 < compact->thread_count; started++) {
        if (pthread_create(&ids[started], NULL, thread_main, &compact->threads[started + 1]) != 0)
            break; /* fewer threads do the same work */
    }
    thread_main(&compact->threads[0]);
    for (unsigned i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
    for (unsigned i = 0; i < compact->thread_count; i++) {
        if (compact->threads[i].status != STATUS_OK) {
            if (error)
                *error = compact->threads[i].error;
            return compact->threads[i].status;
        }
    }
    return STATUS_OK;
}

int32_t compact_keep_from_day(int64_t now_us, unsigned years)
{
    time_t seconds = (time_t)(now_us / US_PER_SECOND);
    struct tm date;
    CHECK(gmtime_r(&seconds, &date));
    unsigned month = (unsigned)date.tm_mon + 1, day = (unsigned)date.tm_mday;
    if (month == 2 && day == 29)
        day = 28; /* not every year has it: one day more is kept */
    return day_from_civil(date.tm_year + 1900 - (int)years, month, day);
}

enum status compact_run(struct link *link, const struct compact_options *options,
                        struct compact_counts *ret_counts, struct error *error)
{
    struct compact *compact = mem_new(struct compact);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    compact->link = link;
    compact->options = options;
    pthread_mutex_init(&compact->lock, NULL);
    /* One more than cores: while one waits for the writer's fsync the others work. */
    compact->thread_count = options->threads ? options->threads : (unsigned)(cores > 0 ? cores + 1 : 2);
    if (compact->thread_count > COMPACT_THREADS_MAX)
        compact->thread_count = COMPACT_THREADS_MAX;
    for (unsigned i = 0; i < compact->thread_count; i++) {
        compact->threads[i].compact = compact;
        compact->threads[i].compactor = compactor_new(link_store(link), &options->rules);
    }
    enum status status = measure(compact, error);
    if (status == STATUS_OK)
        status = measure_dead(compact, error);
    if (status == STATUS_OK)
        status = run_threads(compact, error);
    if (status == STATUS_OK)
        status = pack_index(compact, error);
    /* The newest commits' pages are free only after one more: the second time gets them. */
    for (int pass = 0; status == STATUS_OK && pass < 2; pass++)
        status = release_space(compact, error);
    if (status == STATUS_OK && is_stopped(compact))
        status = error_set(error, STATUS_CANCELLED, "stopped");
    *ret_counts = compact->counts;
    for (unsigned i = 0; i < compact->thread_count; i++) {
        struct compact_thread *thread = &compact->threads[i];
        compactor_free(thread->compactor);
        arena_release(&thread->ids);
        buffer_release(&thread->payload);
        buffer_release(&thread->stale);
        buffer_release(&thread->damage);
    }
    buffer_release(&compact->last);
    pthread_mutex_destroy(&compact->lock);
    mem_free(compact);
    return status;
}
