#include "storage/restored.h"

#include "codec/base/buffer.h"
#include "storage/accounts.h"

#define REQUEST_BYTES 65536

static enum status collect_aco(void *context, const struct aco *aco, struct error *error)
{
    (void)error;
    buffer_append(context, &aco->number, sizeof aco->number);
    return STATUS_OK;
}

static enum status restored_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct store_restored *restored = (struct store_restored *)request;
    struct buffer numbers = BUFFER_INIT;
    enum status status = aco_each(write->txn, collect_aco, &numbers, error);
    for (size_t at = 0; status == STATUS_OK && at < numbers.size; at += sizeof(uint32_t)) {
        uint32_t number;
        memcpy(&number, numbers.data + at, sizeof number);
        status = aco_note_transaction_time(write, number, write->instant_us, error);
    }
    buffer_release(&numbers);
    if (status == STATUS_OK)
        status = store_counter_skip(write, "job", RESTORED_JOB_IDS, error);
    if (status == STATUS_OK)
        restored->ret_instant_us = write->instant_us;
    return status;
}

void store_restored_init(struct store_restored *restored)
{
    *restored = (struct store_restored){.request = {.apply = restored_run, .bytes = REQUEST_BYTES}};
}
