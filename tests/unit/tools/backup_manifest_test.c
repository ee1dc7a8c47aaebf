#include "tools/backup/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void write_manifest(struct buffer *text, const char *const *names, size_t count)
{
    struct manifest manifest = {
        .store_format = 3, .sequence = 1234, .instant_us = INT64_C(1600000000123456), .has_job_files = true};
    manifest_begin(text, &manifest);
    for (size_t i = 0; i < count; i++)
        manifest_add(text, names[i], digest);
    manifest_end(text, count);
}

static enum status parse(struct slice text, struct manifest *manifest)
{
    struct arena arena = ARENA_INIT;
    struct error error = {0};
    enum status status = manifest_parse(text, &arena, manifest, &error);
    if (status != STATUS_OK)
        assert_true(error.text[0]);
    arena_release(&arena);
    return status;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    static const char *const names[] = {"store.mdb", "keys/token.pem", "jobs/17/a-b.ndjson.gz"};
    struct buffer text = BUFFER_INIT;
    struct arena arena = ARENA_INIT;
    struct manifest manifest;
    write_manifest(&text, names, 3);
    assert_int_equal(manifest_parse(buffer_slice(&text), &arena, &manifest, NULL), STATUS_OK);
    assert_int_equal(manifest.store_format, 3);
    assert_int_equal(manifest.sequence, 1234);
    assert_int_equal(manifest.instant_us, INT64_C(1600000000123456));
    assert_true(manifest.has_job_files);
    assert_int_equal(manifest.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(slice_equal_text(manifest.entries[i].name, names[i]));
        assert_true(slice_equal_text(manifest.entries[i].digest, digest));
    }
    arena_release(&arena);
    buffer_release(&text);
}

static void every_cut_and_every_changed_byte_is_noticed(void **state)
{
    (void)state;
    static const char *const names[] = {"store.mdb", "keys/token.pem"};
    struct buffer text = BUFFER_INIT;
    struct manifest manifest;
    write_manifest(&text, names, 2);
    for (size_t size = 0; size < text.size; size++) {
        char *exact = malloc(size ? size : 1);
        memcpy(exact, text.data, size);
        if (parse(slice_make(exact, size), &manifest) == STATUS_OK)
            fail_msg("cut to %zu bytes it is read", size);
        free(exact);
    }
    for (size_t at = 0; at < text.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            text.data[at] = (char)(text.data[at] ^ (1 << bit));
            if (parse(buffer_slice(&text), &manifest) == STATUS_OK)
                fail_msg("with bit %d of byte %zu changed it is read", bit, at);
            text.data[at] = (char)(text.data[at] ^ (1 << bit));
        }
    }
    assert_int_equal(parse(buffer_slice(&text), &manifest), STATUS_OK);
    buffer_append_char(&text, '\n');
    assert_int_equal(parse(buffer_slice(&text), &manifest), STATUS_CORRUPT);
    buffer_release(&text);
}

static void names_lead_nowhere_else(void **state)
{
    (void)state;
    static const char *const names[] = {"../x",         "/etc/passwd",    "keys/..", "keys/../x",
                                        "keys/.hidden", "keys",           "keys/",   "keys//x",
                                        "lock",         "jobs/1/../../x", "jobs/1",  "jobs/1/x/y",
                                        "jobs//x",      "jobs/../x/y",    "",        "store.mdb/x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buffer text = BUFFER_INIT;
        struct manifest manifest;
        write_manifest(&text, &names[i], 1);
        if (parse(buffer_slice(&text), &manifest) != STATUS_CORRUPT)
            fail_msg("\"%s\" is taken", names[i]);
        buffer_release(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(every_cut_and_every_changed_byte_is_noticed),
        cmocka_unit_test(names_lead_nowhere_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
