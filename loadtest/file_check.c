#include "loadtest/file_check.h"

#include "codec/deflate.h"

#include <inttypes.h>
#include <string.h>

void file_check_init(struct file_check *check, const char *type, struct resource_parser *parser)
{
    *check = (struct file_check){.parser = parser, .type = type};
    ndjson_splitter_init(&check->splitter, RESOURCE_BYTES_MAX);
}

void file_check_release(struct file_check *check)
{
    ndjson_splitter_release(&check->splitter);
}

static enum status check_line(void *context, uint64_t number, struct slice line, bool too_long,
                              struct error *error)
{
    struct file_check *check = context;
    if (too_long || line.size < 2 || line.data[0] != '{' || line.data[line.size - 1] != '}')
        return error_set(error, STATUS_INVALID, "line %" PRIu64 " is no JSON object", number);
    check->lines++;
    check->sum += ((uint64_t)crc32c_of(0, line) << 20) ^ line.size;
    if (number % FILE_CHECK_SAMPLE != 1)
        return STATUS_OK;
    struct resource resource;
    struct error detail = {0};
    if (resource_parse(check->parser, line, &resource, &detail) != STATUS_OK)
        return error_set(error, STATUS_INVALID, "line %" PRIu64 " is no resource: %s", number, detail.text);
    if (strcmp(resource_type_name(resource.type), check->type) != 0)
        return error_set(error, STATUS_INVALID, "line %" PRIu64 " is no %s", number, check->type);
    if (!slice_equal(resource.json, line))
        return error_set(error, STATUS_INVALID, "line %" PRIu64 " is not canonical", number);
    return STATUS_OK;
}

enum status file_check_feed(struct file_check *check, struct slice data, struct error *error)
{
    check->bytes += data.size;
    return ndjson_splitter_feed(&check->splitter, data, check_line, check, error);
}

enum status file_check_end(struct file_check *check, struct error *error)
{
    if (check->splitter.partial.size)
        return error_set(error, STATUS_INVALID, "the last line has no end");
    return ndjson_splitter_end(&check->splitter, check_line, check, error);
}
