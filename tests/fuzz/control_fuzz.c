/*
 * Commands with arbitrary payloads, executed on a store of its own: an answer with a text, never a crash, and
 * a store that goes on. The input is a run of commands: u8 command, u16 size, payload.
 */
#include "storage/control.h"

#include "codec/base/check.h"
#include "codec/base/reader.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INPUTS_A_STORE 2000 /* then a fresh one, so that it stays small */
#define COMMANDS_MAX   8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[256], dir[300];
static struct store *store;
static struct writer *writer;
static unsigned inputs;

static void scratch_close(void)
{
    if (!writer)
        return;
    writer_stop(writer);
    store_close(store);
    writer = NULL;
    static const char *const names[] = {"store.mdb", "store.mdb-lock", "lock", "keys", "jobs", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        remove(path);
    }
    remove(root);
}

static void scratch_open(void)
{
    static const struct store_options options = {.map_bytes = UINT64_C(256) * 1024 * 1024};
    const char *parent = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/control-fuzz-XXXXXX", parent ? parent : "/tmp");
    CHECK(mkdtemp(root));
    snprintf(dir, sizeof dir, "%s/data", root);
    CHECK(store_create(dir, &options, NULL) == STATUS_OK);
    CHECK(store_open(dir, STORE_ACCESS_WRITE, &options, &store, NULL) == STATUS_OK);
    CHECK(writer_start(store, &writer, NULL) == STATUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buffer reply;
    struct reader reader = reader_make(slice_make(data, size));
    struct error error;
    if (inputs == 0)
        atexit(scratch_close);
    if (inputs++ % INPUTS_A_STORE == 0) {
        scratch_close();
        scratch_open();
    }
    for (int i = 0; i < COMMANDS_MAX && reader_left(&reader); i++) {
        uint32_t command = reader_u8(&reader);
        struct slice payload = reader_take(&reader, reader_u16(&reader));
        if (reader.failed)
            break;
        error = (struct error){.status = STATUS_OK};
        buffer_reset(&reply);
        enum status status = control_execute(writer, NULL, command, payload, &reply, &error);
        CHECK(status == STATUS_OK || error.text[0]);
    }
    buffer_reset(&reply);
    CHECK(control_execute(writer, NULL, CONTROL_COMMAND_PING, SLICE_LITERAL(""), &reply, &error) ==
          STATUS_OK);
    return 0;
}
