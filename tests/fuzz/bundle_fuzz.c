/*
 * A Bundle that is accepted gives entries that lie in it, in order; resources among them are whole values.
 */
#include "codec/bundle.h"

#include "codec/base/check.h"
#include "codec/json_reader.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status any_event(void *context, enum json_event event, struct slice text, unsigned depth,
                             struct error *error)
{
    (void)context, (void)event, (void)text, (void)depth, (void)error;
    return STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bundle bundle;
    static struct json_reader *reader;
    if (!reader) {
        reader = json_reader_new();
        bundle_init(&bundle);
    }
    struct slice document = slice_make(data, size);
    struct error error = {.status = STATUS_OK};
    enum status status = bundle_read(&bundle, document, &error);
    CHECK((status == STATUS_OK) == (json_read(reader, document, any_event, NULL, NULL) == STATUS_OK));
    CHECK(error.status == status);
    if (status != STATUS_OK || !bundle.is_bundle)
        CHECK(bundle_count(&bundle) == 0);
    uint64_t number = 0;
    for (size_t i = 0; i < bundle_count(&bundle); i++) {
        const struct bundle_entry *entry = bundle_entry_at(&bundle, i);
        CHECK(entry->number > number);
        number = entry->number;
        if (entry->is_deletion)
            continue;
        CHECK(entry->time.size == 0);
        CHECK(entry->text.data >= document.data &&
              entry->text.data + entry->text.size <= document.data + document.size);
        CHECK(json_read(reader, entry->text, any_event, NULL, NULL) == STATUS_OK);
    }
    return 0;
}
