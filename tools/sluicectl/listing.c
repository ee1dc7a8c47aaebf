#include "tools/sluicectl/listing.h"

#include "codec/instant.h"
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

void listing_switch(struct listing *listing, const char *key, bool value)
{
    text_table_cell(&listing->table, "%s", value ? "yes" : "");
    json_member_bool(listing->json, key, value);
}

void listing_instant(struct listing *listing, const char *key, int64_t us)
{
    char text[INSTANT_TEXT_SIZE];
    instant_text(us, text);
    if (strlen(text) > sizeof "2026-11-28T04:20") /* "2026-11-28 04:20Z" will do in a table */
        text_table_cell(&listing->table, "%.10s %.5sZ", text, text + 11);
    else
        text_table_cell(&listing->table, "%s", text);
    json_member_instant(listing->json, key, us);
}

void listing_rows_begin(struct listing *listing, const char *key)
{
    json_key(listing->json, key);
    json_array_begin(listing->json);
}

void listing_rows_end(struct listing *listing)
{
    json_array_end(listing->json);
    listing->has_rows_ended = true;
}

void listing_line(struct listing *listing, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct buffer *lines = listing->has_rows_ended ? &listing->below : &listing->above;
    buffer_append_text(lines, text);
    buffer_append_char(lines, '\n');
}

enum status listing_pass_damage(struct listing *listing, enum status status, const struct error *error)
{
    if (status != STATUS_CORRUPT && status != STATUS_UNSUPPORTED)
        return status;
    listing->is_incomplete = true;
    read_steps_end(&listing->steps);
    complain(error);
    return STATUS_OK;
}

/* For a person: an empty table is not shown where lines say what there is to say. */
static void listing_print(struct listing *listing)
{
    fputs(buffer_text(&listing->above), stdout);
    if (listing->table.cells.size || !listing->above.size) {
        if (listing->above.size)
            putchar('\n');
        text_table_print(&listing->table, stdout);
    }
    if (listing->below.size)
        putchar('\n');
    fputs(buffer_text(&listing->below), stdout);
}

static enum status fill_array(struct listing *listing, listing_fill *fill, struct error *error)
{
    json_array_begin(listing->json);
    enum status status = fill(listing, error);
    if (status == STATUS_OK)
        json_array_end(listing->json);
    return status;
}

static enum status fill_object(struct listing *listing, listing_fill *fill, struct error *error)
{
    json_object_begin(listing->json);
    enum status status = fill(listing, error);
    if (status == STATUS_OK)
        json_object_end(listing->json);
    return status;
}

/* Prints what `fill` adds; nothing if it fails. */
static enum status fill_and_print(struct listing *listing, const char *const *titles, size_t columns,
                                  bool is_object, listing_fill *fill, struct error *error)
{
    text_table_init(&listing->table, titles, columns);
    listing->json = json_writer_new(&listing->json_text);
    enum status status = is_object ? fill_object(listing, fill, error) : fill_array(listing, fill, error);
    if (listing->store) /* nobody waits for a terminal within a step */
        read_steps_end(&listing->steps);
    if (status == STATUS_OK) {
        json_writer_finish(listing->json);
        if (wants_json(listing->invocation))
            print_json(&listing->json_text);
        else
            listing_print(listing);
    }
    json_writer_free(listing->json);
    buffer_release(&listing->json_text);
    buffer_release(&listing->above);
    buffer_release(&listing->below);
    text_table_release(&listing->table);
    return status;
}

static int run(const struct invocation *invocation, const char *const *titles, size_t columns, bool is_object,
               listing_fill *fill)
{
    struct listing listing = {.invocation = invocation, .store = open_store(invocation)};
    if (!listing.store)
        return EXIT_FAILED;
    struct error error;
    read_steps_init(&listing.steps, store_engine(listing.store));
    enum status status = read_steps_begin(&listing.steps, &error);
    if (status == STATUS_OK)
        status = fill_and_print(&listing, titles, columns, is_object, fill, &error);
    store_close(listing.store);
    if (status != STATUS_OK)
        return complain(&error);
    return listing.is_incomplete ? EXIT_FAILED : EXIT_DONE;
}

int listing_run(const struct invocation *invocation, const char *const *titles, size_t columns,
                listing_fill *fill)
{
    return run(invocation, titles, columns, false, fill);
}

int listing_run_object(const struct invocation *invocation, const char *const *titles, size_t columns,
                       listing_fill *fill)
{
    return run(invocation, titles, columns, true, fill);
}

int listing_show(const struct invocation *invocation, const char *const *titles, size_t columns,
                 listing_fill *fill, void *context)
{
    struct listing listing = {.invocation = invocation, .context = context};
    struct error error;
    enum status status = fill_and_print(&listing, titles, columns, true, fill, &error);
    return status == STATUS_OK ? EXIT_DONE : complain(&error);
}
