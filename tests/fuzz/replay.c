/*
 * Runs a fuzz target over given inputs, once each: how a committed corpus is an ordinary test in the
 * variants without libFuzzer. Arguments are files and directories of files (not deeper).
 *
 * Each input lies in a block of exactly its size, so that a sanitizer sees a read past its end.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static size_t inputs_run;

static _Noreturn void fail(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(1);
}

static void replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    if (!file || !data || fread(data, 1, size, file) != size)
        fail(path);
    fclose(file);
    /* Before the input runs: if it crashes, the last line names it. */
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs_run++;
}

static void replay(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        fail(path);
    if (S_ISREG(status.st_mode)) {
        replay_file(path, (size_t)status.st_size);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        fail(path);
    for (int i = 0; i < count; i++) {
        char *child;
        if (asprintf(&child, "%s/%s", path, entries[i]->d_name) < 0)
            fail(path);
        if (stat(child, &status) != 0)
            fail(child);
        if (S_ISREG(status.st_mode))
            replay_file(child, (size_t)status.st_size);
        free(child);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%zu inputs replayed\n", inputs_run);
    return inputs_run == 0;
}
