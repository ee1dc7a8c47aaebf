#include "loadtest/manifest.h"

#include "codec/base/buffer.h"
#include "codec/json_reader.h"

#include <stdlib.h>
#include <string.h>

enum list { LIST_NONE, LIST_OUTPUT, LIST_ERROR };

struct parse {
    struct arena *arena;
    struct buffer files; /* struct manifest_file */
    struct manifest_file file;
    size_t error_count;
    enum list list; /* the list that depth 1 is in */
    bool has_output;
    char key[16]; /* of the file's member that comes */
};

static bool number_of(struct slice text, uint64_t *ret_number)
{
    char copy[24], *end;
    if (!text.size || text.size >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *ret_number = strtoull(copy, &end, 10);
    return copy[0] >= '0' && copy[0] <= '9' && *end == '\0';
}

static enum status take_member(struct parse *parse, enum json_event event, struct slice text)
{
    struct manifest_file *file = &parse->file;
    if (event == JSON_EVENT_STRING && strcmp(parse->key, "type") == 0)
        file->type = arena_text(parse->arena, text);
    else if (event == JSON_EVENT_STRING && strcmp(parse->key, "url") == 0)
        file->url = arena_text(parse->arena, text);
    else if (event == JSON_EVENT_NUMBER && strcmp(parse->key, "count") == 0)
        file->has_count = number_of(text, &file->count);
    else if (event == JSON_EVENT_NUMBER && strcmp(parse->key, "fileSize") == 0)
        file->has_bytes = number_of(text, &file->bytes);
    return STATUS_OK;
}

/* Depth 1: members of the manifest; 2: entries of a list; 3: members of an entry. */
static enum status take_event(void *context, enum json_event event, struct slice text, unsigned depth,
                              struct error *error)
{
    struct parse *parse = context;
    if (event == JSON_EVENT_KEY && depth == 1) {
        parse->list = slice_equal_text(text, "output")  ? LIST_OUTPUT
                      : slice_equal_text(text, "error") ? LIST_ERROR
                                                        : LIST_NONE;
        parse->has_output |= parse->list == LIST_OUTPUT;
    } else if (event == JSON_EVENT_OBJECT_BEGIN && depth == 2 && parse->list != LIST_NONE) {
        parse->file = (struct manifest_file){NULL, NULL, 0, 0, false, false};
    } else if (event == JSON_EVENT_KEY && depth == 3) {
        size_t size = text.size < sizeof parse->key - 1 ? text.size : sizeof parse->key - 1;
        memcpy(parse->key, text.data, size);
        parse->key[size] = '\0';
    } else if (depth == 3 && parse->list == LIST_OUTPUT) {
        return take_member(parse, event, text);
    } else if (event == JSON_EVENT_OBJECT_END && depth == 2 && parse->list == LIST_ERROR) {
        parse->error_count++;
    } else if (event == JSON_EVENT_OBJECT_END && depth == 2 && parse->list == LIST_OUTPUT) {
        if (!parse->file.type || !parse->file.url)
            return error_set(error, STATUS_INVALID, "the manifest lists a file without type or url");
        if (parse->files.size / sizeof parse->file == MANIFEST_FILES_MAX)
            return error_set(error, STATUS_TOO_LARGE, "the manifest lists more than %d files",
                             MANIFEST_FILES_MAX);
        buffer_append(&parse->files, &parse->file, sizeof parse->file);
    }
    return STATUS_OK;
}

enum status manifest_parse(struct slice body, struct arena *arena, struct manifest *ret_manifest,
                           struct error *error)
{
    struct parse parse = {.arena = arena, .files = BUFFER_INIT};
    struct json_reader *reader = json_reader_new();
    enum status status = json_read(reader, body, take_event, &parse, error);
    if (status == STATUS_OK && !parse.has_output)
        status = error_set(error, STATUS_INVALID, "the answer is no manifest: it has no output");
    if (status == STATUS_OK) {
        ret_manifest->output_count = parse.files.size / sizeof(struct manifest_file);
        ret_manifest->output = arena_alloc(arena, parse.files.size + 1);
        if (parse.files.size)
            memcpy(ret_manifest->output, parse.files.data, parse.files.size);
        ret_manifest->error_count = parse.error_count;
    } else {
        error_prefix(error, "manifest");
        status = STATUS_INVALID;
    }
    buffer_release(&parse.files);
    json_reader_free(reader);
    return status;
}
