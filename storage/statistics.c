#include "storage/statistics.h"

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

static enum status statistics_of_aco(struct engine_txn *txn, uint32_t aco, struct statistics *statistics,
                                     struct error *error)
{
    struct exportable_scan *scan;
    enum status status = exportable_scan_open(txn, aco, UINT64_MAX - 1, INT64_MIN, &scan, error);
    if (status != STATUS_OK)
        return status;
    struct exportable exportable;
    while ((status = exportable_scan_next(scan, &exportable, error)) == STATUS_OK) {
        struct summary summary;
        summary_init(&summary);
        status = summary_get(txn, exportable.home, exportable.beneficiary, &summary, error);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            break;
        statistics_add(statistics, &summary);
    }
    exportable_scan_close(scan);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status statistics_of_all(struct engine_txn *txn, struct statistics *statistics,
                                     struct error *error)
{
    struct engine_cursor *cursor;
    enum status status = engine_cursor_open(txn, TABLE_SUMMARY, &cursor, error);
    if (status != STATUS_OK)
        return status;
    engine_seek(cursor, (struct slice){0}, (struct slice){0});
    struct slice key, value;
    while ((status = engine_next(cursor, &key, &value, error)) == STATUS_OK) {
        struct summary summary;
        status = summary_parse(value, &summary, error);
        if (status != STATUS_OK)
            break;
        if (summary.left == SEQUENCE_NEVER)
            statistics_add(statistics, &summary);
    }
    engine_cursor_close(cursor);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status statistics_read(struct engine_txn *txn, uint32_t aco, struct statistics *ret_statistics,
                            struct error *error)
{
    *ret_statistics = (struct statistics){0};
    for (size_t i = 0; i < RESOURCE_TYPE_COUNT; i++)
        ret_statistics->of[i].newest_us = INT64_MIN;
    return aco ? statistics_of_aco(txn, aco, ret_statistics, error)
               : statistics_of_all(txn, ret_statistics, error);
}
