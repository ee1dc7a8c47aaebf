#include "codec/instant.h"
#include "storage/deletion.h"
#include "storage/homes.h"
#include "storage/statistics.h"
#include "storage/verify.h"
#include "tools/common/progress.h"
#include "tools/sluicectl/listing.h"

#include <stdio.h>
#include <sys/statvfs.h>

/* ---- stat ---- */

static void list_statistics(struct listing *listing, const char *aco, const struct statistics *statistics)
{
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        const struct statistics_row *row = &statistics->of[type];
        listing_row_begin(listing);
        listing_text(listing, "aco", aco);
        listing_text(listing, "type", resource_type_name((enum resource_type)type));
        listing_number(listing, "beneficiaries", row->beneficiaries);
        listing_number(listing, "resources", row->resources);
        listing_number(listing, "segments", row->segments);
        listing_bytes(listing, "bytes", row->raw_bytes);
        listing_bytes(listing, "stored", row->stored_bytes);
        listing_instant(listing, "newest", row->newest_us);
        listing_row_end(listing);
    }
}

static enum status collect_aco(void *context, const struct aco *aco, struct error *error)
{
    (void)error;
    buffer_append(context, aco, sizeof *aco);
    return STATUS_OK;
}

/* After the step: standard error may block. */
static void tell_unreadable(struct listing *listing, const char *aco, const struct statistics *statistics)
{
    if (statistics->unreadable == 0)
        return;
    listing->is_incomplete = true;
    complain_text("%s: %llu beneficiaries cannot be read and are not counted; sluicectl verify tells more",
                  aco, (unsigned long long)statistics->unreadable);
}

/* Of each ACO, then of all that is stored. */
static enum status list_all_statistics(struct listing *listing, struct error *error)
{
    struct buffer acos = BUFFER_INIT;
    struct aco aco;
    struct statistics statistics;
    enum status status = aco_each(listing->steps.txn, collect_aco, &acos, error);
    status = listing_pass_damage(listing, status, error);
    read_steps_end(&listing->steps);
    for (size_t at = 0; status == STATUS_OK && at < acos.size; at += sizeof aco) {
        memcpy(&aco, acos.data + at, sizeof aco);
        status = statistics_read(&listing->steps, aco.number, &statistics, error);
        if (status == STATUS_OK)
            list_statistics(listing, aco.id, &statistics);
        if (status == STATUS_OK)
            tell_unreadable(listing, aco.id, &statistics);
    }
    buffer_release(&acos);
    if (status == STATUS_OK)
        status = statistics_read(&listing->steps, 0, &statistics, error);
    if (status == STATUS_OK)
        list_statistics(listing, "all", &statistics);
    if (status == STATUS_OK)
        tell_unreadable(listing, "all", &statistics);
    return status;
}

static enum status show_space(struct listing *listing, struct error *error)
{
    struct engine_stats stats;
    struct statvfs disk;
    char file[32], unused[32], map[32], free_on_disk[32];
    read_steps_end(&listing->steps); /* not to be counted among the readers */
    enum status status = engine_stats(store_engine(listing->store), &stats, error);
    if (status != STATUS_OK)
        return status;
    if (statvfs(store_dir(listing->store), &disk) != 0)
        return error_set_errno(error, "%s: its free space is not known", store_dir(listing->store));
    uint64_t disk_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    json_member_number(listing->json, "fileBytes", (int64_t)stats.file_bytes);
    json_member_number(listing->json, "freeBytes", (int64_t)stats.free_bytes);
    json_member_number(listing->json, "mapBytes", (int64_t)stats.map_bytes);
    json_member_number(listing->json, "diskFreeBytes", (int64_t)disk_free_bytes);
    json_member_number(listing->json, "readers", stats.readers);
    json_member_number(listing->json, "readersMax", stats.readers_max);
    json_member_number(listing->json, "oldestReaderAge", (int64_t)stats.oldest_reader_age);
    bytes_text(stats.file_bytes, file);
    bytes_text(stats.free_bytes, unused);
    bytes_text(stats.map_bytes, map);
    bytes_text(disk_free_bytes, free_on_disk);
    listing_line(listing, "store %s (of them %s free for reuse; at most %s), %s free on the disk", file,
                 unused, map, free_on_disk);
    listing_line(listing, "readers %u of %u, the oldest %llu transactions behind", stats.readers,
                 stats.readers_max, (unsigned long long)stats.oldest_reader_age);
    return STATUS_OK;
}

/* What exports with _since tell of (for a while also what an active job still tells of), and what is kept
 * out. */
static enum status show_deleted(struct listing *listing, struct error *error)
{
    struct engine_table_stats told, remembered;
    enum status status = engine_table_stats(listing->steps.txn, TABLE_DELETED, &told, error);
    if (status == STATUS_OK)
        status = engine_table_stats(listing->steps.txn, TABLE_TOMBSTONE, &remembered, error);
    if (status != STATUS_OK)
        return status;
    json_member_number(listing->json, "deleted", (int64_t)told.entries);
    json_member_number(listing->json, "tombstones", (int64_t)remembered.entries);
    if (remembered.entries)
        listing_line(listing,
                     "deleted %llu resources; %llu tombstones, those of what was never here included",
                     (unsigned long long)told.entries, (unsigned long long)remembered.entries);
    return STATUS_OK;
}

static enum status fill_statistics(struct listing *listing, struct error *error)
{
    uint64_t waiting;
    listing_rows_begin(listing, "types");
    enum status status = list_all_statistics(listing, error);
    if (status == STATUS_OK)
        status = read_steps_begin(&listing->steps, error);
    if (status != STATUS_OK)
        return status;
    listing_rows_end(listing);
    status = homes_count(listing->steps.txn, &waiting, error);
    if (status == STATUS_OK)
        status = show_deleted(listing, error);
    if (status != STATUS_OK)
        return status;
    json_member_number(listing->json, "moving", (int64_t)waiting);
    if (waiting)
        listing_line(listing, "%llu beneficiaries wait to be moved to a new home",
                     (unsigned long long)waiting);
    return show_space(listing, error);
}

int command_stat(const struct invocation *invocation)
{
    static const char *const titles[] = {"ACO",       "type",   ">beneficiaries", ">resources",
                                         ">segments", ">bytes", ">stored",        "newest update"};
    return listing_run_object(invocation, titles, 8, fill_statistics);
}

/* ---- get ---- */

/* Why there is none: STATUS_NOT_FOUND, with what is known of it. */
static enum status tell_why_missing(struct engine_txn *txn, const char *name, enum resource_type type,
                                    struct slice id, struct error *error)
{
    struct tombstone tombstone;
    char source[INSTANT_TEXT_SIZE], told[INSTANT_TEXT_SIZE];
    enum status status = tombstone_get(txn, type, id, &tombstone, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_NOT_FOUND, "%s: there is none", name);
    if (status != STATUS_OK)
        return status;
    instant_format(tombstone.source_us, source);
    if (tombstone.beneficiary.size == 0)
        return error_set(error, STATUS_NOT_FOUND,
                         "%s: there is none; it was deleted as of %s, before any version of it came", name,
                         source);
    instant_format(tombstone.stamp_us, told);
    return error_set(error, STATUS_NOT_FOUND,
                     "%s: was deleted as of %s (exports tell %s); of beneficiary %.*s", name, source, told,
                     SLICE_PRINT(tombstone.beneficiary));
}

static enum status get_resource(struct store *store, const char *name, struct buffer *text,
                                struct error *error)
{
    const char *slash = strchr(name, '/');
    enum resource_type type;
    if (!slash || !resource_type_find(slice_make(name, (size_t)(slash - name)), &type))
        return error_set(error, STATUS_INVALID,
                         "%s: name a resource as TYPE/ID, e.g. Patient/-10000000000066", name);
    struct slice id = slice_from_text(slash + 1);
    if (id.size == 0 || id.size > RESOURCE_ID_MAX)
        return error_set(error, STATUS_INVALID, "%s: an id has 1 to %d characters", name, RESOURCE_ID_MAX);
    struct engine_txn *txn;
    enum status status = engine_begin_read(store_engine(store), &txn, error);
    if (status != STATUS_OK)
        return status;
    status = resource_get(txn, type, id, text, error);
    if (status == STATUS_NOT_FOUND)
        status = tell_why_missing(txn, name, type, id, error);
    engine_end(txn);
    return status;
}

int command_get(const struct invocation *invocation)
{
    struct store *store = open_store(invocation);
    if (!store)
        return EXIT_FAILED;
    struct error error;
    struct buffer text = BUFFER_INIT;
    enum status status = get_resource(store, invocation->arguments[0], &text, &error);
    if (status == STATUS_OK)
        print_json(&text);
    buffer_release(&text);
    store_close(store);
    return status == STATUS_OK ? EXIT_DONE : complain(&error);
}

/* ---- verify ---- */

struct verify_run {
    struct progress progress;
    struct json_writer *json;
    bool wants_json;
};

static void show_fault(void *context, const char *where, const char *what)
{
    struct verify_run *run = context;
    progress_end(&run->progress);
    if (!run->wants_json) {
        printf("%s: %s\n", where, what);
        return; /* there may be millions */
    }
    json_object_begin(run->json);
    json_member_text(run->json, "where", where);
    json_member_text(run->json, "what", what);
    json_object_end(run->json);
}

static void show_verified(void *context, const struct verify_counts *counts)
{
    struct verify_run *run = context;
    progress_show(&run->progress, counts->raw_bytes, 0, "");
}

static void print_verified(struct verify_run *run, struct buffer *text, const struct verify_counts *counts)
{
    char raw[32];
    bytes_text(counts->raw_bytes, raw);
    json_array_end(run->json);
    json_member_number(run->json, "records", (int64_t)counts->records);
    json_member_number(run->json, "segments", (int64_t)counts->segments);
    json_member_number(run->json, "resources", (int64_t)counts->resources);
    json_member_number(run->json, "beneficiaries", (int64_t)counts->beneficiaries);
    json_object_end(run->json);
    json_writer_finish(run->json);
    if (run->wants_json)
        print_json(text);
    else
        printf(
            "%llu faults in %llu records: %llu segments, %llu resources, %llu beneficiaries, %s inflated and "
            "checked\n",
            (unsigned long long)counts->faults, (unsigned long long)counts->records,
            (unsigned long long)counts->segments, (unsigned long long)counts->resources,
            (unsigned long long)counts->beneficiaries, raw);
}

int command_verify(const struct invocation *invocation)
{
    struct store *store = open_store(invocation);
    if (!store)
        return EXIT_FAILED;
    struct buffer text = BUFFER_INIT;
    struct verify_run run = {.json = json_writer_new(&text), .wants_json = wants_json(invocation)};
    struct verify_options options = {.context = &run, .fault = show_fault, .progress = show_verified};
    struct verify_counts counts;
    struct error error;
    json_object_begin(run.json);
    json_key(run.json, "faults");
    json_array_begin(run.json);
    progress_begin(&run.progress, "verify", is_quiet(invocation));
    enum status status = verify_run(store, &options, &counts, &error);
    progress_end(&run.progress);
    if (status == STATUS_OK)
        print_verified(&run, &text, &counts);
    json_writer_free(run.json);
    buffer_release(&text);
    store_close(store);
    if (status != STATUS_OK)
        return complain(&error);
    return counts.faults ? EXIT_FAILED : EXIT_DONE;
}
