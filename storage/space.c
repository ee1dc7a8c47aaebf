#include "storage/space.h"

static enum status space_release_run(struct write_request *request, struct store_write *write,
                                     struct error *error)
{
    struct space_release *release = (struct space_release *)request;
    release->ret_next = release->position;
    release->ret_bytes = 0;
    release->ret_more = true;
    if (engine_writes(write->txn))
        return STATUS_OK;
    return engine_release_space(write->txn, SPACE_RELEASE_US, &release->ret_next, &release->ret_bytes,
                                &release->ret_more, error);
}

void space_release_init(struct space_release *release, uint64_t position)
{
    *release = (struct space_release){
        .request = {.apply = space_release_run, .urgent = true, .bytes = WRITER_GROUP_BYTES_MAX},
        .position = position};
}
