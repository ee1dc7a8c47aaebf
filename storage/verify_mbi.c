#include "storage/mbi_link.h"
#include "storage/suppression.h"
#include "storage/verify_check.h"

/* The row says what held when it was looked at; that still holds at every instant until it is due. */
enum status verify_mbi_suppression(struct verify *verify, unsigned table, struct slice key, struct slice mbi,
                                   const struct mbi_row *row, struct error *error)
{
    struct suppression_state state;
    struct store_clock clock;
    uint32_t lookback_days;
    bool in_review;
    enum status status = store_clock_read(verify->txn, &clock, error);
    if (status == STATUS_OK)
        status = suppression_lookback(verify->txn, &lookback_days, error);
    if (status == STATUS_OK)
        status = suppression_is_in_review(verify->txn, &in_review, error);
    if (status != STATUS_OK)
        return status;
    int64_t at_us = row->due_us <= clock.instant_us ? row->due_us - 1 : clock.instant_us;
    status = suppression_evaluate(verify->txn, mbi, lookback_days, at_us, &state, error);
    if (status == STATUS_OK && !in_review &&
        (state.suppressed != row->suppressed || state.due_us != row->due_us))
        verify_fault(verify, table, key, "the MBI's row does not say what its preferences say");
    if (status == STATUS_OK && row->due_us != INT64_MAX) {
        struct key due;
        struct slice value;
        key_suppression_due(&due, row->due_us, mbi);
        status = engine_get(verify->txn, TABLE_SUPPRESSION_DUE, key_slice(&due), &value, error);
        if (status == STATUS_NOT_FOUND)
            verify_fault(verify, table, key, "the MBI's row changes at an instant that is not listed");
        status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    return status;
}

/* Suppression without an MBI's row would hide nobody. */
enum status verify_suppression(struct verify *verify, struct slice key, struct slice value,
                               struct error *error)
{
    struct suppression_row row;
    struct mbi_row mbi_row;
    enum status status = suppression_row_parse(key, value, &row, error);
    if (status == STATUS_OK)
        status = mbi_row_get(verify->txn, row.mbi, &mbi_row, error);
    return status == STATUS_OK
               ? verify_mbi_suppression(verify, TABLE_SUPPRESSION, key, row.mbi, &mbi_row, error)
               : status;
}

enum status verify_suppression_due(struct verify *verify, struct slice key, struct slice value,
                                   struct error *error)
{
    (void)value;
    struct mbi_row row;
    struct slice mbi;
    int64_t due_us;
    enum status status = suppression_due_parse(key, &due_us, &mbi, error);
    if (status == STATUS_OK)
        status = mbi_row_get(verify->txn, mbi, &row, error);
    if (status == STATUS_OK && row.due_us != due_us)
        verify_fault(verify, TABLE_SUPPRESSION_DUE, key, "its MBI changes at another instant");
    return status;
}

enum status verify_suppression_file(struct verify *verify, struct slice key, struct slice value,
                                    struct error *error)
{
    (void)verify;
    struct suppression_file file;
    return suppression_file_parse(key, value, &file, error);
}

/* Both sides are there; and if one of the two is somebody's, so is the other, unless he has no room for it.
 */
enum status verify_mbi_link(struct verify *verify, struct slice key, struct slice value, struct error *error)
{
    struct mbi_link link, back;
    struct key other_key;
    struct slice other_value;
    struct mbi_row row, other;
    struct beneficiary beneficiary;
    enum status status = mbi_link_parse(key, value, &link, error);
    if (status != STATUS_OK)
        return status;
    key_mbi_link(&other_key, link.other, link.mbi);
    status = engine_get(verify->txn, TABLE_MBI_LINK, key_slice(&other_key), &other_value, error);
    if (status == STATUS_OK)
        status = mbi_link_parse(key_slice(&other_key), other_value, &back, error);
    if (status == STATUS_OK)
        status = mbi_row_get(verify->txn, link.mbi, &row, error);
    if (status == STATUS_OK)
        status = mbi_row_get(verify->txn, link.other, &other, error);
    if (status != STATUS_OK || row.beneficiary_size == 0 || other.beneficiary_size)
        return status;
    status = beneficiary_get(verify->txn, mbi_row_beneficiary(&row), &beneficiary, error);
    if (status == STATUS_OK && beneficiary.mbi_count < RESOURCE_MBI_MAX)
        verify_fault(verify, TABLE_MBI_LINK, key, "whoever has the one MBI has not the other");
    return status;
}
