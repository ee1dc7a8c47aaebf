/*
 * A delta that is accepted is one that delta_encode could have made.
 */
#include "storage/resources.h"

#include "codec/base/arena.h"
#include "codec/base/buffer.h"
#include "codec/base/check.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena arena;
    static struct buffer again;
    struct slice input = slice_make(data, size);
    struct delta delta, back;
    struct error error = {.status = STATUS_OK};
    arena_reset(&arena);
    enum status status = delta_decode(input, &arena, &delta, &error);
    if (status != STATUS_OK) {
        CHECK(status == STATUS_INVALID && error.text[0]);
        return 0;
    }
    CHECK((unsigned)delta.type < RESOURCE_TYPE_COUNT);
    CHECK(delta.beneficiary.size <= RESOURCE_ID_MAX);
    CHECK(delta.beneficiary.size ||
          (delta.segment_count == 0 && delta.id_count == 0 && delta.dropped_count == 0));
    CHECK(delta.mbi_count <= RESOURCE_MBI_MAX && delta.segment_count <= DELTA_SEGMENTS_MAX);
    buffer_reset(&again);
    delta_encode(&delta, &again);
    CHECK(again.size == size);
    CHECK(delta_decode(buffer_slice(&again), &arena, &back, &error) == STATUS_OK);
    CHECK(back.seen == delta.seen && back.newest_us == delta.newest_us && back.stamped == delta.stamped);
    CHECK(back.id_count == delta.id_count && back.superseded_count == delta.superseded_count);
    CHECK(back.as_of == delta.as_of && back.deletion_count == delta.deletion_count);
    CHECK(back.dropped_count == delta.dropped_count);
    return 0;
}
