#include "storage/dump.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"
#include "codec/base/reader.h"
#include "codec/instant.h"
#include "storage/read_steps.h"
#include "storage/resources.h"

struct dump {
    const struct dump_options *options;
    struct dump_counts *counts;
    struct read_steps steps;
    uint32_t aco; /* 0: everything */
    enum resource_type type;
    struct buffer next; /* the beneficiary to go on with */
    bool done;          /* with this type */
    /* What a step found, handed on when it is over: */
    struct buffer segments; /* sized each */
    struct buffer damage;   /* texts, each ended by NUL */
    struct inflater *inflater;
    struct segment_table table;
    struct buffer lines;
};

/* ---- a step: copies what stands ---- */

/* STATUS_CORRUPT and STATUS_UNSUPPORTED cost only what they are about. */
static bool note_damage(struct dump *dump, enum status status, const struct error *error)
{
    if (status != STATUS_CORRUPT && status != STATUS_UNSUPPORTED)
        return false;
    dump->counts->damaged++;
    buffer_append(&dump->damage, error->text, strlen(error->text) + 1);
    return true;
}

static bool has_nothing(struct dump *dump, uint32_t home, struct slice beneficiary)
{
    struct summary summary;
    if (dump->options->since_us == INSTANT_MIN_US)
        return false;
    enum status status = summary_get(dump->steps.txn, home, beneficiary, &summary, NULL);
    return status == STATUS_NOT_FOUND ||
           (status == STATUS_OK && summary.of[dump->type].newest_us <= dump->options->since_us);
}

static enum status copy_beneficiary(struct dump *dump, struct segment_scan *scan, uint32_t home,
                                    struct slice beneficiary, struct error *error)
{
    int64_t since_us = dump->options->since_us;
    size_t begin = dump->segments.size;
    if (has_nothing(dump, home, beneficiary))
        return STATUS_OK;
    segment_scan_seek(scan, home, beneficiary, since_us == INSTANT_MIN_US ? INT64_MIN : since_us);
    for (struct stored_segment stored;;) {
        struct error found;
        enum status status = segment_scan_next(scan, &stored, &found);
        if (status == STATUS_NOT_FOUND)
            return STATUS_OK;
        if (status == STATUS_OK && stored.value.size > DUMP_BENEFICIARY_BYTES - (dump->segments.size - begin))
            status = error_set(&found, STATUS_UNSUPPORTED,
                               "beneficiary %.*s: has more %s resources than can be read at one moment",
                               SLICE_PRINT(beneficiary), resource_type_name(dump->type));
        if (status == STATUS_OK) {
            buffer_append_sized(&dump->segments, stored.value);
        } else if (!note_damage(dump, status, &found)) {
            if (error)
                *error = found;
            return status;
        } else if (status == STATUS_UNSUPPORTED) {
            return STATUS_OK;
        }
    }
}

/* The beneficiaries to walk: an ACO's, or all. */
struct walk {
    struct exportable_scan *exportable;
    struct engine_cursor *all;
};

static enum status walk_open(struct dump *dump, struct walk *walk, struct error *error)
{
    enum status status;
    if (dump->aco) {
        status = exportable_scan_open(dump->steps.txn, dump->aco, UINT64_MAX - 1, INT64_MIN,
                                      &walk->exportable, error);
        if (status == STATUS_OK)
            exportable_scan_seek(walk->exportable, buffer_slice(&dump->next));
        return status;
    }
    status = engine_cursor_open(dump->steps.txn, TABLE_BENEFICIARY, &walk->all, error);
    if (status == STATUS_OK)
        engine_seek(walk->all, buffer_slice(&dump->next), (struct slice){0});
    return status;
}

static enum status walk_next(struct dump *dump, struct walk *walk, struct slice *ret_id, uint32_t *ret_home,
                             struct error *error)
{
    if (walk->exportable) {
        struct exportable exportable;
        enum status status = exportable_scan_next(walk->exportable, &exportable, error);
        if (status == STATUS_OK) {
            *ret_id = exportable.beneficiary;
            *ret_home = exportable.home;
        }
        return status;
    }
    struct slice key, value;
    struct beneficiary beneficiary;
    enum status status = engine_next(walk->all, &key, &value, error);
    if (status == STATUS_OK && !key_take_id(&key, ret_id))
        return error_set(error, STATUS_CORRUPT, "a key of table %s is malformed",
                         table_names[TABLE_BENEFICIARY]);
    if (status == STATUS_OK)
        status = beneficiary_get(dump->steps.txn, *ret_id, &beneficiary, error);
    if (status == STATUS_OK)
        *ret_home = beneficiary.home;
    return status;
}

static void walk_close(struct walk *walk)
{
    exportable_scan_close(walk->exportable);
    engine_cursor_close(walk->all);
}

static bool step_is_over(const struct dump *dump)
{
    size_t most = dump->options->step_bytes ? dump->options->step_bytes : DUMP_STEP_BYTES;
    return dump->segments.size + dump->damage.size >= most || read_steps_are_due(&dump->steps);
}

static enum status walk_run(struct dump *dump, struct walk *walk, struct segment_scan *segments,
                            struct error *error)
{
    for (bool is_first = true;; is_first = false) {
        struct slice id;
        uint32_t home = 0;
        struct error found;
        enum status status = walk_next(dump, walk, &id, &home, &found);
        if (status == STATUS_NOT_FOUND) {
            dump->done = true;
            return STATUS_OK;
        }
        if (status == STATUS_OK && !is_first && step_is_over(dump)) {
            buffer_reset(&dump->next);
            buffer_append_slice(&dump->next, id);
            return STATUS_OK;
        }
        if (status == STATUS_OK)
            status = copy_beneficiary(dump, segments, home, id, &found);
        if (status != STATUS_OK && !note_damage(dump, status, &found)) {
            if (error)
                *error = found;
            return status;
        }
    }
}

static enum status step(struct dump *dump, struct error *error)
{
    struct walk walk = {0};
    struct segment_scan *segments = NULL;
    enum status status = read_steps_begin(&dump->steps, error);
    if (status != STATUS_OK)
        return status;
    status = segment_scan_open(dump->steps.txn, dump->type, UINT64_MAX - 1, &segments, error);
    if (status == STATUS_OK)
        status = walk_open(dump, &walk, error);
    if (status == STATUS_OK)
        status = walk_run(dump, &walk, segments, error);
    walk_close(&walk);
    segment_scan_close(segments);
    read_steps_end(&dump->steps);
    return status;
}

/* ---- between steps: hands it on ---- */

static enum status emit(struct dump *dump, struct slice lines, uint64_t count, struct error *error)
{
    dump->counts->resources += count;
    dump->counts->raw_bytes += lines.size;
    return dump->options->lines(dump->options->context, lines, error);
}

static enum status emit_later(struct dump *dump, const struct segment *segment, struct error *error)
{
    struct error found;
    enum status status = segment_table_read(&dump->table, segment, &found);
    if (status != STATUS_OK)
        return note_damage(dump, status, &found) ? STATUS_OK : status;
    for (size_t i = 0; status == STATUS_OK && i < dump->table.count; i++) {
        const struct segment_entry *entry = &dump->table.entries[i];
        if (entry->stamp_us > dump->options->since_us)
            status = emit(dump, slice_make(dump->lines.data + entry->offset, entry->size), 1, error);
    }
    return status;
}

static enum status emit_segment(struct dump *dump, struct slice value, struct error *error)
{
    struct segment segment;
    struct error found;
    buffer_reset(&dump->lines);
    enum status status = segment_open(value, &segment, &found);
    if (status == STATUS_OK)
        status = segment_inflate(&segment, dump->inflater, &dump->lines, &found);
    if (status != STATUS_OK) {
        if (!note_damage(dump, status, &found) && error)
            *error = found;
        return status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED ? STATUS_OK : status;
    }
    int64_t since_us = dump->options->since_us;
    if (since_us == INSTANT_MIN_US || segment.oldest_us > since_us)
        return emit(dump, buffer_slice(&dump->lines), segment.count, error);
    return emit_later(dump, &segment, error);
}

static enum status hand_on(struct dump *dump, struct error *error)
{
    enum status status = STATUS_OK;
    struct reader reader = reader_make(buffer_slice(&dump->segments));
    while (status == STATUS_OK && reader_left(&reader))
        status = emit_segment(dump, reader_sized(&reader), error);
    CHECK(!reader.failed);
    for (size_t at = 0; at < dump->damage.size; at += strlen(dump->damage.data + at) + 1)
        dump->options->damage(dump->options->context, dump->damage.data + at);
    buffer_reset(&dump->segments);
    buffer_reset(&dump->damage);
    return status;
}

/* ---- the whole ---- */

/* The ACO, and the sequence of the newest write. */
static enum status look(struct dump *dump, uint64_t *ret_sequence, struct error *error)
{
    struct store_clock clock;
    struct aco aco;
    enum status status = read_steps_begin(&dump->steps, error);
    if (status != STATUS_OK)
        return status;
    status = store_clock_read(dump->steps.txn, &clock, error);
    if (status == STATUS_OK && dump->options->aco_id && !dump->aco) {
        status = aco_find(dump->steps.txn, slice_from_text(dump->options->aco_id), &aco, error);
        if (status == STATUS_OK)
            dump->aco = aco.number;
    }
    read_steps_end(&dump->steps);
    if (status == STATUS_OK)
        *ret_sequence = clock.sequence;
    return status;
}

static enum status dump_type(struct dump *dump, enum resource_type type, struct error *error)
{
    enum status status = STATUS_OK;
    dump->type = type;
    dump->done = false;
    buffer_reset(&dump->next);
    while (status == STATUS_OK && !dump->done) {
        status = step(dump, error);
        if (status == STATUS_OK)
            status = hand_on(dump, error);
    }
    return status;
}

enum status dump_run(struct store *store, const struct dump_options *options, struct dump_counts *ret_counts,
                     struct error *error)
{
    CHECK(options->lines && options->damage);
    struct dump dump = {.options = options, .counts = ret_counts, .inflater = inflater_new()};
    uint64_t before = 0, after = 0;
    *ret_counts = (struct dump_counts){0};
    read_steps_init(&dump.steps, store_engine(store));
    segment_table_init(&dump.table);
    enum status status = look(&dump, &before, error);
    for (size_t i = 0; status == STATUS_OK && i < options->type_count; i++)
        status = dump_type(&dump, options->types[i], error);
    if (status == STATUS_OK)
        status = look(&dump, &after, error);
    ret_counts->changed = before != after;
    buffer_release(&dump.next);
    buffer_release(&dump.segments);
    buffer_release(&dump.damage);
    buffer_release(&dump.lines);
    segment_table_release(&dump.table);
    inflater_free(dump.inflater);
    return status;
}
