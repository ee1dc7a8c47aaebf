#include "tools/synth/folder.h"

#include <errno.h>
#include <sys/stat.h>

static const char *const file_names[FOLDER_FILE_COUNT] = {
    [FOLDER_PATIENT] = "Patient.ndjson",
    [FOLDER_COVERAGE] = "Coverage.ndjson",
    [FOLDER_CLAIM] = "ExplanationOfBenefit.ndjson",
};

enum status directory_make(const char *path, struct error *error)
{
    if (mkdir(path, 0777) && errno != EEXIST)
        return error_set_errno(error, "cannot make the directory %s", path);
    return STATUS_OK;
}

enum status folder_open(struct folder *folder, const char *path, bool gzip, struct error *error)
{
    for (int i = 0; i < FOLDER_FILE_COUNT; i++)
        folder->files[i] = (struct sink)SINK_INIT;
    enum status status = directory_make(path, error);
    for (int i = 0; i < FOLDER_FILE_COUNT && !status; i++) {
        struct buffer name = BUFFER_INIT;
        buffer_appendf(&name, "%s/%s", path, file_names[i]);
        status = sink_open(&folder->files[i], buffer_text(&name), gzip, error);
        buffer_release(&name);
    }
    return status;
}

enum status folder_relieve(struct folder *folder, struct error *error)
{
    enum status status = STATUS_OK;
    for (int i = 0; i < FOLDER_FILE_COUNT && !status; i++)
        status = sink_relieve(&folder->files[i], error);
    return status;
}

enum status folder_finish(struct folder *folder, struct error *error)
{
    enum status status = STATUS_OK;
    for (int i = 0; i < FOLDER_FILE_COUNT && !status; i++)
        status = sink_finish(&folder->files[i], error);
    return status;
}

void folder_close(struct folder *folder)
{
    for (int i = 0; i < FOLDER_FILE_COUNT; i++)
        sink_close(&folder->files[i]);
}

uint64_t folder_line_bytes(const struct folder *folder)
{
    uint64_t bytes = 0;
    for (int i = 0; i < FOLDER_FILE_COUNT; i++)
        bytes += folder->files[i].line_bytes + folder->files[i].buffer.size;
    return bytes;
}
