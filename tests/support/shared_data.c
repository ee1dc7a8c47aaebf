#include "tests/support/shared_data.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

#define PATH_SIZE 1024

static void make_path(const char *name, char path[PATH_SIZE])
{
    const char *shared = getenv("SLUICE_SHARED");
    int size = snprintf(path, PATH_SIZE, "%s/data/%s", shared && *shared ? shared : "../shared", name);
    assert_in_range(size, 1, PATH_SIZE - 1);
}

static _Noreturn void fail_absent(const char *path)
{
    fprintf(stderr, "this test needs %s; set SLUICE_SHARED if the shared data is not at ../shared\n", path);
    fail();
    abort();
}

void shared_data_read(const char *name, struct buffer *target)
{
    char path[PATH_SIZE];
    make_path(name, path);
    gzFile file = gzopen(path, "rb"); /* reads plain files as well */
    if (!file)
        fail_absent(path);
    enum { STEP = 1 << 18 };
    int size;
    while ((size = gzread(file, buffer_reserve(target, STEP), STEP)) > 0)
        target->size += (size_t)size;
    assert_int_equal(size, 0);
    assert_int_equal(gzclose(file), Z_OK);
}

void shared_data_each(const char *name, void (*visit)(void *context, const char *name, struct slice contents),
                      void *context)
{
    char path[PATH_SIZE];
    make_path(name, path);
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        fail_absent(path);
    struct buffer contents = BUFFER_INIT;
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            char child[PATH_SIZE];
            assert_in_range(snprintf(child, sizeof child, "%s/%s", name, entries[i]->d_name), 1,
                            PATH_SIZE - 1);
            buffer_reset(&contents);
            shared_data_read(child, &contents);
            visit(context, entries[i]->d_name, buffer_slice(&contents));
        }
        free(entries[i]);
    }
    free(entries);
    buffer_release(&contents);
}
