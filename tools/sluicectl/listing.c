#include "tools/sluicectl/listing.h"

#include "tools/common/progress.h"

#include <stdio.h>

void listing_row_begin(struct listing *listing)
{
    json_object_begin(listing->json);
}

void listing_row_end(struct listing *listing)
{
    json_object_end(listing->json);
}

void listing_string(struct listing *listing, const char *key, struct slice value)
{
    text_table_cell(&listing->table, "%.*s", SLICE_PRINT(value));
    json_member_string(listing->json, key, value);
}

void listing_text(struct listing *listing, const char *key, const char *value)
{
    listing_string(listing, key, slice_from_text(value));
}

void listing_number(struct listing *listing, const char *key, uint64_t value)
{
    text_table_cell(&listing->table, "%llu", (unsigned long long)value);
    json_member_number(listing->json, key, (int64_t)value);
}

void listing_bytes(struct listing *listing, const char *key, uint64_t bytes)
{
    char text[32];
    bytes_text(bytes, text);
    text_table_cell(&listing->table, "%s", text);
    json_member_number(listing->json, key, (int64_t)bytes);
}

void listing_instant(struct listing *listing, const char *key, int64_t us)
{
    char text[40];
    instant_text(us, text);
    listing_text(listing, key, text);
}

int listing_run(const struct invocation *invocation, const char *const *titles, size_t columns,
                enum status (*fill)(struct listing *listing, struct error *error))
{
    struct listing listing = {.invocation = invocation, .store = open_store(invocation)};
    if (!listing.store)
        return EXIT_FAILED;
    struct error error;
    text_table_init(&listing.table, titles, columns);
    listing.json = json_writer_new(&listing.json_text);
    json_array_begin(listing.json);
    enum status status = engine_begin_read(store_engine(listing.store), &listing.txn, &error);
    if (status == STATUS_OK) {
        status = fill(&listing, &error);
        engine_end(listing.txn);
    }
    if (status == STATUS_OK) {
        json_array_end(listing.json);
        json_writer_finish(listing.json);
        if (wants_json(invocation))
            print_json(&listing.json_text);
        else
            text_table_print(&listing.table, stdout);
    }
    json_writer_free(listing.json);
    buffer_release(&listing.json_text);
    text_table_release(&listing.table);
    store_close(listing.store);
    return status == STATUS_OK ? EXIT_DONE : complain(&error);
}
