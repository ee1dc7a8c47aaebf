/*
 * What is accepted can be stamped with any instant, and is then the same resource with that instant. The
 * first 8 bytes of the input choose the instant, the rest is the line.
 */
#include "codec/resource.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/instant.h"
#include "codec/json_reader.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool slice_is_in(struct slice slice, struct slice whole)
{
    return slice.data >= whole.data && slice.data + slice.size <= whole.data + whole.size;
}

/* Of the resource that came, copied, because the parser's next call ends what it borrows. */
struct expected {
    enum resource_type type;
    uint64_t content_hash;
    int32_t service_first_day;
    int32_t service_last_day;
    struct buffer names; /* id, beneficiary, MBIs */
};

static void remember(struct expected *expected, const struct resource *resource)
{
    expected->type = resource->type;
    expected->content_hash = resource->content_hash;
    expected->service_first_day = resource->service_first_day;
    expected->service_last_day = resource->service_last_day;
    buffer_reset(&expected->names);
    buffer_append_sized(&expected->names, resource->id);
    buffer_append_sized(&expected->names, resource->beneficiary);
    for (size_t i = 0; i < resource->mbi_count; i++)
        buffer_append_sized(&expected->names, resource->mbis[i]);
}

static void check_same(const struct expected *a, const struct expected *b)
{
    CHECK(a->type == b->type);
    CHECK(a->content_hash == b->content_hash);
    CHECK(a->service_first_day == b->service_first_day && a->service_last_day == b->service_last_day);
    CHECK(slice_equal(buffer_slice(&a->names), buffer_slice(&b->names)));
}

static void check_resource(const struct resource *resource)
{
    CHECK(resource->json.size >= 2 && resource->json.data[0] == '{');
    CHECK(json_is_minified(resource->json));
    CHECK(resource->id.size >= 1 && resource->id.size <= RESOURCE_ID_MAX);
    CHECK(resource->beneficiary.size >= 1 && resource->beneficiary.size <= RESOURCE_ID_MAX);
    CHECK(resource->mbi_count <= RESOURCE_MBI_MAX);
    CHECK(resource->type == RESOURCE_TYPE_PATIENT || resource->mbi_count == 0);
    CHECK((resource->service_first_day == DAY_NONE) == (resource->service_last_day == DAY_NONE));
    CHECK(resource->service_first_day <= resource->service_last_day);
    CHECK(resource->has_last_updated == (resource->stamp_place == RESOURCE_STAMP_REPLACE));
    struct slice replaced = {resource->json.data + resource->stamp_offset, resource->stamp_size};
    CHECK(slice_is_in(replaced, resource->json));
    if (resource->has_last_updated)
        CHECK(replaced.size >= 2 && replaced.data[0] == '"' && replaced.data[replaced.size - 1] == '"');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct resource_parser *parser;
    static struct json_reader *reader;
    static struct expected before, after;
    static struct buffer stamped, again;
    if (!parser) {
        parser = resource_parser_new();
        reader = json_reader_new();
    }
    if (size < 8)
        return 0;
    int64_t us =
        INSTANT_MIN_US + (int64_t)(load_u64_le(data) % (uint64_t)(INSTANT_MAX_US - INSTANT_MIN_US + 1));
    struct slice line = slice_make(data + 8, size - 8);
    struct resource resource;
    struct error error = {.status = STATUS_OK};
    enum status status = resource_parse(parser, line, &resource, &error);
    CHECK(error.status == status);
    if (status != STATUS_OK) {
        CHECK(status == STATUS_INVALID || status == STATUS_UNSUPPORTED || status == STATUS_TOO_LARGE);
        CHECK(error.text[0]);
        return 0;
    }
    check_resource(&resource);
    remember(&before, &resource);
    bool has_last_updated = resource.has_last_updated;
    int64_t last_updated_us = resource.last_updated_us;
    buffer_reset(&stamped);
    resource_stamp(&resource, us, &stamped);
    if (has_last_updated) { /* the accepted time itself gives a line that means the same */
        buffer_reset(&again);
        resource_stamp(&resource, last_updated_us, &again);
    }

    CHECK(resource_parse(parser, buffer_slice(&stamped), &resource, &error) == STATUS_OK);
    check_resource(&resource);
    remember(&after, &resource);
    check_same(&before, &after);
    CHECK(resource.has_last_updated && resource.last_updated_us == us);
    CHECK(slice_equal(resource.json, buffer_slice(&stamped)));
    char expected[INSTANT_TEXT_SIZE];
    instant_format_meta(us, expected);
    struct buffer found = BUFFER_INIT;
    CHECK(json_find(reader, resource.json, "meta.lastUpdated", &found, NULL) == STATUS_OK);
    CHECK(slice_equal_text(buffer_slice(&found), expected));
    buffer_release(&found);

    if (has_last_updated) {
        CHECK(resource_parse(parser, buffer_slice(&again), &resource, &error) == STATUS_OK);
        CHECK(resource.last_updated_us == last_updated_us);
    }
    return 0;
}
