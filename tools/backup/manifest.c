#include "tools/backup/manifest.h"

#include "codec/instant.h"

#include <inttypes.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 200

void manifest_begin(struct buffer *text, const struct manifest *manifest)
{
    char instant[INSTANT_TEXT_SIZE];
    instant_format(manifest->instant_us, instant);
    buffer_appendf(
        text, "# sluice backup %d\n# store format %u\n# sequence %" PRIu64 "\n# instant %s\n# job files %s\n",
        MANIFEST_VERSION, manifest->store_format, manifest->sequence, instant,
        manifest->has_job_files ? "yes" : "no");
}

void manifest_add(struct buffer *text, const char *name, const char *digest)
{
    buffer_appendf(text, "%s  %s\n", digest, name);
}

void manifest_end(struct buffer *text, size_t count)
{
    char digest[COPY_DIGEST_SIZE];
    copy_digest(buffer_slice(text), digest);
    buffer_appendf(text, "# end %zu %s\n", count, digest);
}

/* ---- reading ---- */

static bool take_line(struct slice *rest, struct slice *ret_line)
{
    const char *end = rest->size ? memchr(rest->data, '\n', rest->size) : NULL;
    if (!end)
        return false;
    *ret_line = slice_make(rest->data, (size_t)(end - rest->data));
    *rest = slice_skip(*rest, ret_line->size + 1);
    return true;
}

/* What stands behind `title` in the next line. */
static bool take_field(struct slice *rest, const char *title, struct slice *ret_value)
{
    struct slice line, begin = slice_from_text(title);
    if (!take_line(rest, &line) || !slice_starts_with(line, begin))
        return false;
    *ret_value = slice_skip(line, begin.size);
    return true;
}

static bool take_number(struct slice *rest, const char *title, uint64_t *ret_value)
{
    struct slice value;
    char text[24], *end;
    if (!take_field(rest, title, &value) || value.size == 0 || value.size > 19)
        return false;
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    *ret_value = strtoull(text, &end, 10);
    return *end == '\0' && text[0] >= '0' && text[0] <= '9';
}

static bool name_part_is_plain(struct slice part)
{
    if (part.size == 0 || part.data[0] == '.')
        return false;
    for (size_t i = 0; i < part.size; i++) {
        char c = part.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '.' || c == '_'))
            return false;
    }
    return true;
}

/* "store.mdb", "keys/x" or "jobs/1/x". */
static bool name_is_allowed(struct slice name)
{
    struct slice parts[4];
    size_t count = 0;
    for (struct slice rest = name; count < 4;) {
        const char *slash = rest.size ? memchr(rest.data, '/', rest.size) : NULL;
        parts[count++] = slash ? slice_make(rest.data, (size_t)(slash - rest.data)) : rest;
        if (!slash)
            break;
        rest = slice_skip(rest, (size_t)(slash - rest.data) + 1);
    }
    for (size_t i = 0; i < count; i++) {
        if (!name_part_is_plain(parts[i]))
            return false;
    }
    if (name.size > NAME_MAX_BYTES)
        return false;
    if (count == 1)
        return slice_equal_text(name, MANIFEST_STORE);
    if (count == 2)
        return slice_equal_text(parts[0], "keys");
    return count == 3 && slice_equal_text(parts[0], "jobs");
}

static bool is_digest(struct slice text)
{
    if (text.size != COPY_DIGEST_SIZE - 1)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!((text.data[i] >= '0' && text.data[i] <= '9') || (text.data[i] >= 'a' && text.data[i] <= 'f')))
            return false;
    }
    return true;
}

static bool take_entry(struct slice line, struct manifest_entry *ret_entry)
{
    if (line.size < COPY_DIGEST_SIZE + 2)
        return false;
    ret_entry->digest = slice_make(line.data, COPY_DIGEST_SIZE - 1);
    struct slice rest = slice_skip(line, COPY_DIGEST_SIZE - 1);
    if (!is_digest(ret_entry->digest) || !slice_starts_with(rest, SLICE_LITERAL("  ")))
        return false;
    ret_entry->name = slice_skip(rest, 2);
    return name_is_allowed(ret_entry->name);
}

/* The last line vouches for those above it. */
static bool end_agrees(struct slice text, struct slice above, struct slice last, size_t count)
{
    char digest[COPY_DIGEST_SIZE];
    struct buffer expected = BUFFER_INIT;
    copy_digest(above, digest);
    buffer_appendf(&expected, "# end %zu %s", count, digest);
    bool agrees = slice_equal(buffer_slice(&expected), last) && above.size + last.size + 1 == text.size;
    buffer_release(&expected);
    return agrees;
}

enum status manifest_parse(struct slice text, struct arena *arena, struct manifest *ret_manifest,
                           struct error *error)
{
    struct slice rest = text, instant, job_files, line = {0};
    struct manifest manifest = {.count = 0};
    uint64_t version, format;
    if (!take_number(&rest, "# sluice backup ", &version))
        return error_set(error, STATUS_CORRUPT, "is no manifest of a backup");
    if (version != MANIFEST_VERSION)
        return error_set(error, STATUS_UNSUPPORTED,
                         "is of version %" PRIu64 ", this program reads version %d; use the matching program",
                         version, MANIFEST_VERSION);
    if (!take_number(&rest, "# store format ", &format) || format > UINT32_MAX ||
        !take_number(&rest, "# sequence ", &manifest.sequence) ||
        !take_field(&rest, "# instant ", &instant) ||
        instant_parse(instant, &manifest.instant_us, NULL) != STATUS_OK ||
        !take_field(&rest, "# job files ", &job_files))
        return error_set(error, STATUS_CORRUPT, "was changed or cut short");
    manifest.store_format = (uint32_t)format;
    manifest.has_job_files = slice_equal_text(job_files, "yes");

    struct buffer entries = BUFFER_INIT;
    const char *above_end = NULL;
    while (take_line(&rest, &line)) {
        struct manifest_entry entry;
        if (!take_entry(line, &entry)) {
            above_end = line.data;
            break;
        }
        buffer_append(&entries, &entry, sizeof entry);
        manifest.count++;
    }
    bool is_whole = above_end && end_agrees(text, slice_make(text.data, (size_t)(above_end - text.data)),
                                            line, manifest.count);
    if (is_whole) {
        manifest.entries = arena_alloc(arena, entries.size + 1);
        if (entries.size)
            memcpy(manifest.entries, entries.data, entries.size);
        *ret_manifest = manifest;
    }
    buffer_release(&entries);
    return is_whole ? STATUS_OK : error_set(error, STATUS_CORRUPT, "was changed or cut short");
}
