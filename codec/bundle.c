#include "codec/bundle.h"

#include "codec/json_reader.h"

/* The member of the Bundle, or of one of its entries, that is being read. */
enum bundle_member { MEMBER_OTHER, MEMBER_TYPE, MEMBER_META, MEMBER_TIMESTAMP, MEMBER_ENTRIES };
enum entry_member { ENTRY_OTHER, ENTRY_RESOURCE, ENTRY_REQUEST, ENTRY_RESPONSE };
enum leaf { LEAF_OTHER, LEAF_UPDATED, LEAF_METHOD, LEAF_URL, LEAF_MODIFIED };

struct bundle_walk {
    struct bundle *bundle;
    enum bundle_member member; /* by the key at depth 1 */
    enum entry_member part;    /* by the key at depth 3, in an entry */
    enum leaf leaf;            /* by the key at depth 2 of meta, at depth 4 of request and response */
    uint64_t number;
    struct slice updated, timestamp;
    /* Of the entry that is being read. */
    const char *begin;     /* of its resource, once that has begun, if it is a container */
    struct slice resource; /* data NULL: none. What is no object is refused later, so that it is counted */
    struct slice url, modified;
    bool deletes;
};

void bundle_init(struct bundle *bundle)
{
    *bundle = (struct bundle){.reader = json_reader_new()};
    arena_init(&bundle->arena);
}

void bundle_release(struct bundle *bundle)
{
    json_reader_free(bundle->reader);
    arena_release(&bundle->arena);
    buffer_release(&bundle->entries);
}

size_t bundle_count(const struct bundle *bundle)
{
    return bundle->entries.size / sizeof(struct bundle_entry);
}

const struct bundle_entry *bundle_entry_at(const struct bundle *bundle, size_t index)
{
    return (const struct bundle_entry *)(const void *)bundle->entries.data + index;
}

static enum status entry_end(struct bundle_walk *walk, struct error *error)
{
    struct bundle *bundle = walk->bundle;
    if (!walk->deletes && !walk->resource.data)
        return STATUS_OK;
    if (bundle_count(bundle) == BUNDLE_ENTRIES_MAX)
        return error_set(error, STATUS_TOO_LARGE, "the Bundle has more than %zu entries", BUNDLE_ENTRIES_MAX);
    struct bundle_entry entry = {.number = walk->number, .is_deletion = walk->deletes};
    entry.text = walk->deletes ? walk->url : walk->resource;
    if (walk->deletes)
        entry.time = walk->modified;
    buffer_append(&bundle->entries, &entry, sizeof entry);
    return STATUS_OK;
}

static void walk_key(struct bundle_walk *walk, struct slice key, unsigned depth)
{
    if (depth == 1) {
        walk->member = slice_equal_text(key, "entry")          ? MEMBER_ENTRIES
                       : slice_equal_text(key, "resourceType") ? MEMBER_TYPE
                       : slice_equal_text(key, "meta")         ? MEMBER_META
                       : slice_equal_text(key, "timestamp")    ? MEMBER_TIMESTAMP
                                                               : MEMBER_OTHER;
    } else if (depth == 2 && walk->member == MEMBER_META) {
        walk->leaf = slice_equal_text(key, "lastUpdated") ? LEAF_UPDATED : LEAF_OTHER;
    } else if (depth == 3 && walk->member == MEMBER_ENTRIES) {
        walk->part = slice_equal_text(key, "resource")   ? ENTRY_RESOURCE
                     : slice_equal_text(key, "request")  ? ENTRY_REQUEST
                     : slice_equal_text(key, "response") ? ENTRY_RESPONSE
                                                         : ENTRY_OTHER;
        walk->leaf = LEAF_OTHER;
    } else if (depth == 4 && walk->part == ENTRY_REQUEST) {
        walk->leaf = slice_equal_text(key, "method") ? LEAF_METHOD
                     : slice_equal_text(key, "url")  ? LEAF_URL
                                                     : LEAF_OTHER;
    } else if (depth == 4 && walk->part == ENTRY_RESPONSE) {
        walk->leaf = slice_equal_text(key, "lastModified") ? LEAF_MODIFIED : LEAF_OTHER;
    }
}

static void walk_string(struct bundle_walk *walk, struct slice text, unsigned depth)
{
    struct bundle *bundle = walk->bundle;
    if (depth == 1 && walk->member == MEMBER_TYPE)
        bundle->is_bundle = slice_equal_text(text, "Bundle");
    else if (depth == 1 && walk->member == MEMBER_TIMESTAMP)
        walk->timestamp = arena_copy(&bundle->arena, text);
    else if (depth == 2 && walk->member == MEMBER_META && walk->leaf == LEAF_UPDATED)
        walk->updated = arena_copy(&bundle->arena, text);
    else if (depth == 4 && walk->member == MEMBER_ENTRIES && walk->leaf == LEAF_METHOD)
        walk->deletes = slice_equal_text(text, "DELETE");
    else if (depth == 4 && walk->member == MEMBER_ENTRIES && walk->leaf == LEAF_URL)
        walk->url = arena_copy(&bundle->arena, text);
    else if (depth == 4 && walk->member == MEMBER_ENTRIES && walk->leaf == LEAF_MODIFIED)
        walk->modified = arena_copy(&bundle->arena, text);
}

static enum status walk_event(void *context, enum json_event event, struct slice text, unsigned depth,
                              struct error *error)
{
    struct bundle_walk *walk = context;
    if (event == JSON_EVENT_KEY) {
        walk_key(walk, text, depth);
        return STATUS_OK;
    }
    if (event == JSON_EVENT_STRING)
        walk_string(walk, text, depth);
    if (walk->member != MEMBER_ENTRIES)
        return STATUS_OK;
    if (event == JSON_EVENT_OBJECT_BEGIN && depth == 2) {
        walk->number++;
        walk->part = ENTRY_OTHER;
        walk->leaf = LEAF_OTHER;
        walk->deletes = false;
        walk->begin = NULL;
        walk->resource = walk->url = walk->modified = (struct slice){NULL, 0};
        return STATUS_OK;
    }
    if (event == JSON_EVENT_OBJECT_END && depth == 2)
        return entry_end(walk, error);
    if (depth != 3 || walk->part != ENTRY_RESOURCE)
        return STATUS_OK;
    struct slice token = json_reader_token(walk->bundle->reader);
    if (event == JSON_EVENT_OBJECT_BEGIN || event == JSON_EVENT_ARRAY_BEGIN)
        walk->begin = token.data;
    else if (walk->begin)
        walk->resource = slice_make(walk->begin, (size_t)(token.data + token.size - walk->begin));
    else
        walk->resource = token;
    return STATUS_OK;
}

enum status bundle_read(struct bundle *bundle, struct slice document, struct error *error)
{
    struct bundle_walk walk = {.bundle = bundle};
    bundle->is_bundle = false;
    arena_reset(&bundle->arena);
    buffer_reset(&bundle->entries);
    enum status status = json_read(bundle->reader, document, walk_event, &walk, error);
    /* Events come before the document is known to be valid, and before it says what it is. */
    if (status != STATUS_OK || !bundle->is_bundle)
        buffer_reset(&bundle->entries);
    struct slice time = walk.updated.size ? walk.updated : walk.timestamp;
    struct bundle_entry *entries = (struct bundle_entry *)(void *)bundle->entries.data;
    for (size_t i = 0; i < bundle_count(bundle); i++) {
        if (entries[i].is_deletion && entries[i].time.size == 0)
            entries[i].time = time;
    }
    return status;
}
