#include "tests/support/world_answers.h"

#include "storage/jobs.h"
#include "tests/support/world_lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

struct got_line {
    enum model_type type;
    enum model_set set;
    int number;
    int64_t stamp;
    char *line; /* without its end */
    char *content;
};

struct got_deletion {
    enum model_type type;
    int number;
    int64_t stamp;
    bool is_matched;
};

struct got {
    struct got_line *lines;
    int count;
    struct got_deletion deletions[MODEL_ITEMS_MAX];
    int deletion_count;
    uint64_t hash; /* of all files' bytes, as they are stored */
};

static void got_release(struct got *got)
{
    for (int i = 0; i < got->count; i++) {
        free(got->lines[i].line);
        free(got->lines[i].content);
    }
    free(got->lines);
}

static void hash_bytes(uint64_t *hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ at[i]) * UINT64_C(0x100000001b3);
}

/* A member's text inside a line that we made: "id":"…". */
static const char *member(const struct world *world, const char *line, const char *name, size_t *ret_size)
{
    char mark[40];
    snprintf(mark, sizeof mark, "\"%s\":\"", name);
    const char *at = strstr(line, mark);
    if (!at)
        world_fail(world, "no %s in %s", name, line);
    at += strlen(mark);
    *ret_size = strcspn(at, "\"");
    return at;
}

static void take_line(struct world *world, struct got *got, enum model_set set, enum model_type file_type,
                      const char *text, size_t size)
{
    got->lines = realloc(got->lines, (size_t)(got->count + 1) * sizeof *got->lines);
    struct got_line *line = &got->lines[got->count++];
    line->line = strndup(text, size);
    line->content = strndup(text, size);
    line->set = set;
    size_t found;
    const char *value = member(world, line->line, "resourceType", &found);
    if (strlen(type_names[file_type]) != found || memcmp(value, type_names[file_type], found) != 0)
        world_fail(world, "in a file of %s: %s", type_names[file_type], line->line);
    line->type = file_type;
    value = member(world, line->line, "id", &found);
    line->number = number_of_id(line->type, value, found);
    if (line->number < 0)
        world_fail(world, "nobody's: %s", line->line);
    line->stamp = time_read(world, member(world, line->line, "lastUpdated", &found));
    char *meta = strstr(line->content, "\"meta\":{"), *end = meta ? strstr(meta, "},") : NULL;
    if (!end)
        world_fail(world, "no meta: %s", line->line);
    memmove(meta, end + 2, strlen(end + 2) + 1);
}

/* A Bundle of deletions. */
static void take_bundle(struct world *world, struct got *got, const char *line)
{
    static const char mark[] = "\"request\":{\"method\":\"DELETE\",\"url\":\"";
    size_t found;
    if (!strstr(line, "\"resourceType\":\"Bundle\"") || !strstr(line, "\"type\":\"transaction\""))
        world_fail(world, "no transaction: %s", line);
    int64_t stamp = time_read(world, member(world, line, "lastUpdated", &found));
    for (const char *at = line; (at = strstr(at, mark));) {
        at += strlen(mark);
        struct got_deletion deletion = {.type = MODEL_TYPES, .number = -1, .stamp = stamp};
        for (int type = 0; type < MODEL_TYPES; type++) {
            size_t size = strlen(type_names[type]);
            if (strncmp(at, type_names[type], size) == 0 && at[size] == '/') {
                deletion.type = (enum model_type)type;
                deletion.number = number_of_id(deletion.type, at + size + 1, strcspn(at + size + 1, "\""));
            }
        }
        if (deletion.number < 0 || got->deletion_count == MODEL_ITEMS_MAX)
            world_fail(world, "nobody's, or too many: %s", at);
        got->deletions[got->deletion_count++] = deletion;
    }
}

static void take_file(struct world *world, struct got *got, const struct job *job,
                      const struct job_file *file)
{
    static const enum model_set sets[] = {
        [JOB_SET_ALL] = MODEL_ALL, [JOB_SET_EXISTING] = MODEL_EXISTING, [JOB_SET_NEW] = MODEL_NEW};
    char path[STORE_FIXTURE_PATH_MAX + 120];
    static char text[(MODEL_ITEMS_MAX + 1) * LINE_BYTES_MAX];
    if (file->set == JOB_SET_ERROR)
        world_fail(world, "job %" PRIu64 " has an error file", job->id);
    if (!file->count)
        return;
    snprintf(path, sizeof path, "%s/jobs/%" PRIu64 "/%s.ndjson.gz", world->dir, job->id, file->uuid);
    FILE *stored = fopen(path, "rb");
    if (!stored)
        world_fail(world, "%s: %s", path, strerror(errno));
    for (int byte; (byte = fgetc(stored)) != EOF;)
        hash_bytes(&got->hash, &(char){(char)byte}, 1);
    fclose(stored);
    gzFile gzip = gzopen(path, "rb");
    int size = gzread(gzip, text, sizeof text - 1);
    if (size < 0 || gzclose(gzip) != Z_OK || (uint64_t)size != file->raw_bytes)
        world_fail(world, "%s: %d bytes instead of %" PRIu64, path, size, file->raw_bytes);
    text[size] = '\0';
    uint64_t count = 0;
    for (char *at = text, *end; *at; at = end + 1, count++) {
        end = strchr(at, '\n');
        if (!end)
            world_fail(world, "a line without end: %s", at);
        *end = '\0';
        if (file->set == JOB_SET_DELETED)
            take_bundle(world, got, at);
        else if (got->deletion_count)
            world_fail(world, "a file of resources comes behind one of deletions");
        else
            take_line(world, got, sets[file->set], (enum model_type)file->type, at, (size_t)(end - at));
    }
    if (count != file->count)
        world_fail(world, "%s: %" PRIu64 " lines instead of %" PRIu64, path, count, file->count);
}

static struct got got_read(struct world *world, uint64_t id)
{
    struct error error = {0};
    struct arena arena = ARENA_INIT;
    struct job job;
    struct got got = {.hash = UINT64_C(0xcbf29ce484222325)};
    struct engine_txn *txn = world_read(world);
    world_expect_ok(world, job_get(txn, id, &arena, &job, &error), &error);
    engine_end(txn);
    for (size_t i = 0; i < job.file_count; i++)
        take_file(world, &got, &job, &job.files[i]);
    arena_release(&arena);
    return got;
}

static const char *const set_names[] = {"all", "existing", "new"};

/* By what the line itself says. */
static int beneficiary_of(const struct got_line *line)
{
    const char *at = strstr(line->content, "\"reference\":\"Patient/");
    if (line->type == MODEL_PATIENT)
        return line->number;
    at = at ? strchr(at, '/') + 1 : "";
    return number_of_id(MODEL_PATIENT, at, strcspn(at, "\""));
}

/* Types in the order of the request, existing before new, beneficiaries in order. */
static void compare_order(struct world *world, const struct tracked_job *job, const struct got *got)
{
    int before = -1;
    for (int i = 0; i < got->count; i++) {
        const struct got_line *line = &got->lines[i];
        int type = 0;
        while (type < job->request.type_count && job->request.types[type] != line->type)
            type++;
        if (type == job->request.type_count)
            world_fail(world, "job %" PRIu64 ": %s was not asked for", job->id, type_names[line->type]);
        int place = (type * 3 + (int)line->set) * MODEL_BENEFICIARIES + beneficiary_of(line);
        if (place < before)
            world_fail(world, "job %" PRIu64 ": out of order: %s", job->id, line->line);
        before = place;
    }
}

static void compare_with_model(struct world *world, const struct tracked_job *job, const struct got *got)
{
    bool matched[MODEL_ITEMS_MAX] = {false};
    for (int i = 0; i < got->count; i++) {
        const struct got_line *line = &got->lines[i];
        const struct model_answer *answer = &job->answer;
        int at = 0;
        while (at < answer->count &&
               (world->model.versions[answer->items[at].version].type != line->type ||
                world->model.versions[answer->items[at].version].number != line->number))
            at++;
        if (at == answer->count)
            world_fail(world, "job %" PRIu64 " of %s since %" PRId64 " has what it should not (%s): %s",
                       job->id, aco_ids[job->request.aco], job->request.since, set_names[line->set],
                       line->line);
        struct model_version *want = &world->model.versions[answer->items[at].version];
        char content[LINE_BYTES_MAX];
        snprintf(content, sizeof content, "{\"resourceType\":\"%s\",\"id\":\"%s\",%s}",
                 type_names[want->type], number_id(want->type, want->number), want->content);
        if (matched[at])
            world_fail(world, "job %" PRIu64 ": twice: %s", job->id, line->line);
        if (strcmp(content, line->content) != 0)
            world_fail(world, "job %" PRIu64 " has %s instead of %s", job->id, line->content, content);
        if (line->set != answer->items[at].set)
            world_fail(world, "job %" PRIu64 " since %" PRId64 " has it among the %s instead of the %s: %s",
                       job->id, job->request.since, set_names[line->set], set_names[answer->items[at].set],
                       line->line);
        if (line->stamp <= want->stamp.after || line->stamp > want->stamp.until)
            world_fail(world, "job %" PRIu64 ": stamp %" PRId64 " is not in (%" PRId64 ", %" PRId64 "]: %s",
                       job->id, line->stamp, want->stamp.after, want->stamp.until, line->line);
        want->stamp = moment_exactly(line->stamp); /* now and for ever */
        matched[at] = true;
    }
    for (int i = 0; i < job->answer.count; i++) {
        const struct model_version *want = &world->model.versions[job->answer.items[i].version];
        if (!matched[i])
            world_fail(world,
                       "job %" PRIu64 " of %s since %" PRId64
                       " misses %s/%s of %s (%s), %s, stamped in (%" PRId64 ", %" PRId64 "]",
                       job->id, aco_ids[job->request.aco], job->request.since, type_names[want->type],
                       number_id(want->type, want->number), beneficiary_ids[want->owner],
                       set_names[job->answer.items[i].set], want->content, want->stamp.after,
                       want->stamp.until);
    }
}

static void compare_deletions(struct world *world, const struct tracked_job *job, struct got *got)
{
    int before = -1;
    for (int i = 0; i < job->answer.deletion_count; i++) {
        const struct model_deletion *want = &job->answer.deletions[i];
        int at = 0;
        while (at < got->deletion_count &&
               (got->deletions[at].type != want->type || got->deletions[at].number != want->number ||
                got->deletions[at].is_matched))
            at++;
        if (at == got->deletion_count)
            world_fail(world,
                       "job %" PRIu64 " of %s since %" PRId64 " does not tell of the deletion of %s/%s",
                       job->id, aco_ids[job->request.aco], job->request.since, type_names[want->type],
                       number_id(want->type, want->number));
        if (got->deletions[at].stamp <= want->stamp.after || got->deletions[at].stamp > want->stamp.until)
            world_fail(world,
                       "job %" PRIu64 ": the deletion of %s/%s is stamped %" PRId64 ", not in (%" PRId64
                       ", %" PRId64 "]",
                       job->id, type_names[want->type], number_id(want->type, want->number),
                       got->deletions[at].stamp, want->stamp.after, want->stamp.until);
        got->deletions[at].is_matched = true;
    }
    for (int i = 0; i < got->deletion_count; i++) {
        const struct got_deletion *deletion = &got->deletions[i];
        int owner = -1;
        for (int k = 0; k < job->answer.deletion_count; k++) {
            if (job->answer.deletions[k].type == deletion->type &&
                job->answer.deletions[k].number == deletion->number)
                owner = job->answer.deletions[k].owner;
        }
        if (!deletion->is_matched)
            world_fail(world,
                       "job %" PRIu64 " of %s since %" PRId64 " tells of the deletion of %s/%s (%" PRId64 ")",
                       job->id, aco_ids[job->request.aco], job->request.since, type_names[deletion->type],
                       number_id(deletion->type, deletion->number), deletion->stamp);
        if (owner < before)
            world_fail(world, "job %" PRIu64 ": deletions are out of order", job->id);
        before = owner;
    }
}

/* The promise of docs/decisions/time.md, whatever the model thinks of stamps. */
static void tell_client(struct world *world, const struct tracked_job *job, const struct got *got)
{
    struct client *client = &world->clients[job->request.aco];
    const char *who = aco_ids[job->request.aco];
    bool is_full = job->request.since == MODEL_NEVER;
    bool right[MODEL_TYPES][MODEL_NUMBERS] = {{false}};
    /* Of whoever is new it takes what it is given for all there is. */
    for (int i = 0; i < MODEL_TYPES * MODEL_NUMBERS; i++) {
        struct held *held = &client->held[i / MODEL_NUMBERS][i % MODEL_NUMBERS];
        if (held->line && (is_full || (job->answer.exportable[held->beneficiary] &&
                                       !job->answer.existing[held->beneficiary])))
            held->line[0] = '\0';
    }
    for (int i = 0; i < got->count; i++) {
        const struct got_line *line = &got->lines[i];
        struct held *held = &client->held[line->type][line->number];
        if (line->set != MODEL_NEW && held->line && strcmp(held->line, line->line) == 0)
            world_fail(world, "the client of %s since %" PRId64 " is told again: %s", who, client->since,
                       line->line);
        free(held->line);
        held->line = strdup(line->line);
        held->beneficiary = beneficiary_of(line);
    }
    for (int i = 0; i < got->deletion_count; i++) {
        const struct got_deletion *deletion = &got->deletions[i];
        struct held *held = &client->held[deletion->type][deletion->number];
        if (held->deleted == deletion->stamp)
            world_fail(world, "the client of %s since %" PRId64 " is told again of the deletion of %s/%s",
                       who, client->since, type_names[deletion->type],
                       number_id(deletion->type, deletion->number));
        held->deleted = deletion->stamp;
        if (held->line)
            held->line[0] = '\0';
    }
    for (int i = 0; i < job->full.count; i++) {
        const struct model_version *want = &world->model.versions[job->full.items[i].version];
        const char *line = client->held[want->type][want->number].line;
        right[want->type][want->number] = true;
        if (!line || !strstr(line, want->content))
            world_fail(world, "the client of %s since %" PRId64 " was not told of %s/%s %s; it has %s", who,
                       client->since, type_names[want->type], number_id(want->type, want->number),
                       want->content, line ? line : "nothing");
    }
    for (int i = 0; i < MODEL_TYPES * MODEL_NUMBERS; i++) {
        const struct held *held = &client->held[i / MODEL_NUMBERS][i % MODEL_NUMBERS];
        if (held->line && held->line[0] && job->answer.exportable[held->beneficiary] &&
            !right[i / MODEL_NUMBERS][i % MODEL_NUMBERS])
            world_fail(world, "the client of %s since %" PRId64 " was not told that this is gone: %s", who,
                       client->since, held->line);
    }
    client->since = job->transaction_time;
}

void job_end(struct world *world, struct tracked_job *job)
{
    size_t at = 0;
    job_stop(job);
    job->ended = true;
    while (at < ENDED_MAX - 1 && world->ack.ended[at])
        at++;
    world->ack.ended[at] = job->id;
}

void job_settle(struct world *world, struct tracked_job *job)
{
    struct got got = got_read(world, job->id);
    world_trace(world, "job %" PRIu64 " of %s is complete: %d resources", job->id, aco_ids[job->request.aco],
                got.count);
    job_end(world, job);
    compare_order(world, job, &got);
    compare_with_model(world, job, &got);
    compare_deletions(world, job, &got);
    if (job->twin_hash && job->twin_hash != got.hash)
        world_fail(world, "job %" PRIu64 " has other bytes than the export of the same view", job->id);
    if (job->endpoint == 0)
        tell_client(world, job, &got);
    if (job->endpoint < 0)
        job->twin_hash = got.hash; /* for whom it was made */
    world->compared++;
    got_release(&got);
}
