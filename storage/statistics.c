#include "storage/statistics.h"

#include "codec/base/buffer.h"

static void statistics_add(struct statistics *statistics, const struct summary *summary)
{
    statistics->beneficiaries++;
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        struct statistics_row *row = &statistics->of[i];
        row->beneficiaries += summary->of[i].resources != 0;
        row->resources += summary->of[i].resources;
        row->segments += summary->of[i].segments;
        row->raw_bytes += summary->of[i].raw_bytes;
        row->stored_bytes += summary->of[i].stored_bytes;
        if (summary->of[i].newest_us > row->newest_us)
            row->newest_us = summary->of[i].newest_us;
    }
}

/* Damage is counted, and the walk goes on. */
static enum status statistics_pass_damage(struct statistics *statistics, enum status status)
{
    if (status != STATUS_CORRUPT && status != STATUS_UNSUPPORTED)
        return status;
    statistics->unreadable++;
    return STATUS_OK;
}

static enum status statistics_add_beneficiary(struct engine_txn *txn, uint32_t home, struct slice id,
                                              struct statistics *statistics, struct error *error)
{
    struct summary summary;
    summary_init(&summary);
    enum status status = summary_get(txn, home, id, &summary, error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    statistics_add(statistics, &summary);
    return STATUS_OK;
}

/* One step from the beneficiary `next` on; it is then the one to go on with. STATUS_NOT_FOUND at the end. */
static enum status aco_step(struct read_steps *steps, uint32_t aco, struct buffer *next,
                            struct statistics *statistics, struct error *error)
{
    struct exportable_scan *scan;
    struct exportable exportable;
    enum status status = exportable_scan_open(steps->txn, aco, UINT64_MAX - 1, INT64_MIN, &scan, error);
    if (status != STATUS_OK)
        return status;
    exportable_scan_seek(scan, buffer_slice(next));
    for (bool is_first = true;; is_first = false) {
        status = exportable_scan_next(scan, &exportable, error);
        if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED) {
            statistics->unreadable++;
            continue;
        }
        if (status != STATUS_OK)
            break;
        if (!is_first && read_steps_are_due(steps)) {
            buffer_reset(next);
            buffer_append_slice(next, exportable.beneficiary);
            break;
        }
        status = statistics_add_beneficiary(steps->txn, exportable.home, exportable.beneficiary, statistics,
                                            error);
        status = statistics_pass_damage(statistics, status);
        if (status != STATUS_OK)
            break;
    }
    exportable_scan_close(scan);
    return status;
}

/* By beneficiaries and not by summaries: one that moves to another home meanwhile is counted once. */
static enum status all_step(struct read_steps *steps, uint32_t aco, struct buffer *next,
                            struct statistics *statistics, struct error *error)
{
    (void)aco;
    struct engine_cursor *cursor;
    struct slice key, value, id;
    struct beneficiary beneficiary;
    enum status status = engine_cursor_open(steps->txn, TABLE_BENEFICIARY, &cursor, error);
    if (status != STATUS_OK)
        return status;
    engine_seek(cursor, buffer_slice(next), (struct slice){0});
    do {
        status = engine_next(cursor, &key, &value, error);
        if (status != STATUS_OK && !(status == STATUS_CORRUPT && key.size))
            break;
        buffer_reset(next);
        buffer_append_slice(next, key);
        buffer_append_char(next, '\0');
        if (status == STATUS_OK && !key_take_id(&key, &id))
            status = error_set(error, STATUS_CORRUPT, "a key of table %s is malformed",
                               table_names[TABLE_BENEFICIARY]);
        if (status == STATUS_OK)
            status = beneficiary_get(steps->txn, id, &beneficiary, error);
        if (status == STATUS_OK)
            status = statistics_add_beneficiary(steps->txn, beneficiary.home, id, statistics, error);
        status = statistics_pass_damage(statistics, status);
    } while (status == STATUS_OK && !read_steps_are_due(steps));
    engine_cursor_close(cursor);
    return status;
}

enum status statistics_read(struct read_steps *steps, uint32_t aco, struct statistics *ret_statistics,
                            struct error *error)
{
    struct buffer next = BUFFER_INIT;
    enum status status = STATUS_OK;
    *ret_statistics = (struct statistics){0};
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        ret_statistics->of[i].newest_us = INT64_MIN;
    while (status == STATUS_OK) {
        status = read_steps_begin(steps, error);
        if (status == STATUS_OK)
            status = (aco ? aco_step : all_step)(steps, aco, &next, ret_statistics, error);
        read_steps_end(steps);
    }
    buffer_release(&next);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}
