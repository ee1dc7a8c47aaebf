/*
 * Giving disk space back: a write request that lets the engine make holes where its free pages are.
 *
 * It wants to be the first in its transaction, so it goes before bulk requests; if something urgent came
 * first, it does nothing and is to be sent again.
 *
 * Threading: as writer.h.
 */
#ifndef STORAGE_SPACE_H
#define STORAGE_SPACE_H

#include "storage/writer.h"

#define SPACE_RELEASE_US (10 * INT64_C(1000)) /* of the writer's time, for one request */

struct space_release {
    struct write_request request;
    uint64_t position; /* 0: from the beginning; else ret_next */
    uint64_t ret_next;
    uint64_t ret_bytes;
    bool ret_more;
};
void space_release_init(struct space_release *release, uint64_t position);

#endif
