#include "storage/suppression.h"

#include "codec/base/arena.h"
#include "codec/base/buffer.h"
#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/base/reader.h"
#include "storage/attribution.h"

#define ROW_KIND       'X'
#define ROW_VERSION    1
#define FILE_KIND      'Y'
#define FILE_VERSION   1
#define META_LOOKBACK  SLICE_LITERAL("suppression.lookback") /* u32 days; absent: the default */
#define META_REVIEW    SLICE_LITERAL("suppression.review")   /* the MBI behind which it goes on */
#define DAY_US         (86400 * US_PER_SECOND)
#define ROW_BYTES_HINT 400 /* about what one row makes a request write */

/* ---- keys and values ---- */

static void key_suppression(struct key *key, struct slice mbi, int64_t effective_us, char preference)
{
    key_of_id(key, mbi);
    key_instant(key, effective_us);
    key_u8(key, (uint8_t)preference);
}

void key_suppression_due(struct key *key, int64_t due_us, struct slice mbi)
{
    key_init(key);
    key_instant(key, due_us);
    key_id(key, mbi);
}

enum status suppression_row_parse(struct slice key, struct slice value, struct suppression_row *row,
                                  struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader), preference;
    row->birth = reader_u64(&reader);
    row->file = reader_take(&reader, reader_u8(&reader));
    if (!reader_done(&reader) || kind != ROW_KIND || version != ROW_VERSION ||
        !key_take_id(&key, &row->mbi) || !key_take_instant(&key, &row->effective_us) ||
        !key_take_u8(&key, &preference) || key.size || (preference != 'Y' && preference != 'N'))
        return error_set(error, STATUS_CORRUPT, "a row of table %s is malformed",
                         table_names[TABLE_SUPPRESSION]);
    row->preference = (char)preference;
    return STATUS_OK;
}

enum status suppression_due_parse(struct slice key, int64_t *ret_due_us, struct slice *ret_mbi,
                                  struct error *error)
{
    if (!key_take_instant(&key, ret_due_us) || !key_take_id(&key, ret_mbi) || key.size)
        return error_set(error, STATUS_CORRUPT, "a key of table %s is malformed",
                         table_names[TABLE_SUPPRESSION_DUE]);
    return STATUS_OK;
}

enum status suppression_file_parse(struct slice key, struct slice value, struct suppression_file *file,
                                   struct error *error)
{
    struct reader reader = reader_make(value);
    uint8_t kind = reader_u8(&reader), version = reader_u8(&reader);
    file->applied_us = reader_i64(&reader);
    file->day = (int32_t)reader_u32(&reader);
    file->content_hash = reader_u64(&reader);
    file->rows = reader_u64(&reader);
    file->preferences = reader_u64(&reader);
    uint8_t has_trailer = reader_u8(&reader);
    if (!reader_done(&reader) || kind != FILE_KIND || version != FILE_VERSION || has_trailer > 1 ||
        !key_take_id(&key, &file->name) || key.size)
        return error_set(error, STATUS_CORRUPT, "a row of table %s is malformed",
                         table_names[TABLE_SUPPRESSION_FILE]);
    file->has_trailer = has_trailer;
    return STATUS_OK;
}

enum status suppression_lookback(struct engine_txn *txn, uint32_t *ret_days, struct error *error)
{
    struct slice value;
    enum status status = engine_get(txn, TABLE_META, META_LOOKBACK, &value, error);
    *ret_days = SUPPRESSION_LOOKBACK_DAYS_DEFAULT;
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        return status;
    if (value.size != sizeof(uint32_t) || load_u32_le(value.data) > SUPPRESSION_LOOKBACK_DAYS_MAX)
        return error_set(error, STATUS_CORRUPT, "the store's suppression look-back is malformed");
    *ret_days = load_u32_le(value.data);
    return STATUS_OK;
}

/* ---- what the rows say ---- */

enum status suppression_evaluate(struct engine_txn *txn, struct slice mbi, uint32_t lookback_days,
                                 int64_t at_us, struct suppression_state *ret_state, struct error *error)
{
    struct engine_cursor *cursor;
    struct suppression_state state = {.preference = ' ', .effective_us = INT64_MIN, .due_us = INT64_MAX};
    const int64_t lookback_us = lookback_days * DAY_US;
    struct key prefix;
    enum status status = engine_cursor_open(txn, TABLE_SUPPRESSION, &cursor, error);
    if (status != STATUS_OK)
        return status;
    key_of_id(&prefix, mbi);
    engine_seek_prefix(cursor, key_slice(&prefix), (struct slice){0});
    for (;;) {
        struct slice key, value;
        struct suppression_row row;
        status = engine_next(cursor, &key, &value, error);
        if (status == STATUS_OK)
            status = suppression_row_parse(key, value, &row, error);
        if (status != STATUS_OK)
            break;
        if (row.effective_us > at_us) {
            state.due_us = row.effective_us; /* the rows are in order: the next one */
            status = STATUS_NOT_FOUND;
            break;
        }
        if (lookback_us && row.effective_us <= at_us - lookback_us)
            continue;
        /* At one date N comes before Y in the key's order, and wins. */
        if (row.effective_us == state.effective_us && state.preference == 'N')
            continue;
        state.preference = row.preference;
        state.effective_us = row.effective_us;
        state.file = row.file;
    }
    engine_cursor_close(cursor);
    if (status != STATUS_NOT_FOUND)
        return status;
    state.suppressed = state.preference == 'N';
    /* When a Y leaves the look-back, everything before it has left too: nothing changes. */
    if (state.suppressed && lookback_us && state.effective_us + lookback_us < state.due_us)
        state.due_us = state.effective_us + lookback_us;
    *ret_state = state;
    return STATUS_OK;
}

/* ---- changes ---- */

struct suppression_counts {
    uint64_t suppressed, lifted, unknown;
};

static enum status due_move(struct store_write *write, struct slice mbi, int64_t before_us, int64_t after_us,
                            struct error *error)
{
    struct key key;
    enum status status = STATUS_OK;
    if (before_us != INT64_MAX) {
        key_suppression_due(&key, before_us, mbi);
        status = engine_delete(write->txn, TABLE_SUPPRESSION_DUE, key_slice(&key), error);
        if (status == STATUS_NOT_FOUND)
            status = STATUS_OK;
    }
    if (status == STATUS_OK && after_us != INT64_MAX) {
        key_suppression_due(&key, after_us, mbi);
        status = engine_put(write->txn, TABLE_SUPPRESSION_DUE, key_slice(&key), SLICE_LITERAL(""), error);
    }
    return status;
}

#define SINCE_NOW        INT64_MIN
#define SINCE_PREFERENCE INT64_MAX /* since the date of the preference that decides; without one, now */

/* Lets an MBI's row, and its beneficiary, follow what the MBI's preferences say at this request's instant.
 * source_us: when that began to be so. `mbi` is not borrowed from a row. */
static enum status mbi_settle(struct store_write *write, struct slice mbi, uint32_t lookback_days,
                              int64_t source_us, struct suppression_counts *counts, struct arena *arena,
                              struct error *error)
{
    struct suppression_state state;
    struct mbi_row row;
    struct beneficiary beneficiary;
    enum status status =
        suppression_evaluate(write->txn, mbi, lookback_days, write->instant_us, &state, error);
    if (status == STATUS_OK)
        status = mbi_row_get(write->txn, mbi, &row, error);
    if (status != STATUS_OK)
        return status;
    if (source_us == SINCE_PREFERENCE)
        source_us = state.effective_us == INT64_MIN ? SINCE_NOW : state.effective_us;
    bool changes = row.suppressed != state.suppressed;
    struct slice id = mbi_row_beneficiary(&row);
    counts->unknown += id.size == 0;
    if (!changes && row.due_us == state.due_us)
        return STATUS_OK;
    if (changes && id.size) {
        status = beneficiary_get(write->txn, id, &beneficiary, error);
        if (status != STATUS_OK)
            return status;
        for (size_t i = 0; i < beneficiary.mbi_count; i++) /* its row is about to change */
            beneficiary.mbis[i] = arena_copy(arena, beneficiary.mbis[i]);
    }
    status = due_move(write, mbi, row.due_us, state.due_us, error);
    if (status != STATUS_OK)
        return status;
    row.due_us = state.due_us;
    if (changes) {
        bool is_dated = source_us != SINCE_NOW && source_us <= write->instant_us;
        row.suppressed = state.suppressed;
        row.suppressed_us = state.suppressed || !is_dated ? write->instant_us : source_us;
        *(state.suppressed ? &counts->suppressed : &counts->lifted) += 1;
    }
    status = mbi_row_put(write, mbi, &row, error);
    if (status == STATUS_OK && changes && id.size)
        status = attribution_follow(write, id, &beneficiary, source_us, error);
    return status;
}

/* ---- files ---- */

static struct slice encoded_mbi(const char *row)
{
    struct slice mbi = {row, MBI_SIZE_MAX};
    while (mbi.size && mbi.data[mbi.size - 1] == ' ')
        mbi.size--;
    return mbi;
}

static int64_t encoded_us(const char *row)
{
    return (int32_t)load_u32_le(row + MBI_SIZE_MAX) * DAY_US;
}

static char encoded_preference(const char *row)
{
    return row[MBI_SIZE_MAX + 4];
}

/* By the key that the row will have. */
static int encoded_compare(const char *a, const char *b)
{
    int order = slice_compare(encoded_mbi(a), encoded_mbi(b));
    if (order == 0)
        order = (encoded_us(a) > encoded_us(b)) - (encoded_us(a) < encoded_us(b));
    return order ? order : encoded_preference(a) - encoded_preference(b);
}

/* They come through the control socket too. */
static enum status apply_check(const struct suppression_apply *apply, struct error *error)
{
    const int32_t day_max = 200000; /* beyond the year 2500: no sum overflows */
    const char *before = NULL, *end = apply->encoded.data + apply->encoded.size;
    if (!*apply->name || apply->encoded.size % SUPPRESSION_ROW_BYTES != 0)
        return error_set(error, STATUS_INVALID, "%s: its rows are malformed", apply->name);
    for (const char *row = apply->encoded.data; row < end; row += SUPPRESSION_ROW_BYTES) {
        struct slice mbi = encoded_mbi(row);
        int32_t day = (int32_t)load_u32_le(row + MBI_SIZE_MAX);
        if (mbi.size == 0 || memchr(mbi.data, '\0', mbi.size) || day < -day_max || day > day_max ||
            slice_starts_with(mbi, SLICE_LITERAL(DIRECT_MARK)) ||
            (encoded_preference(row) != 'Y' && encoded_preference(row) != 'N') ||
            (before && encoded_compare(before, row) >= 0))
            return error_set(error, STATUS_INVALID, "%s: its rows are malformed or not in order",
                             apply->name);
        before = row;
    }
    return STATUS_OK;
}

static enum status file_check(struct engine_txn *txn, const struct suppression_apply *apply,
                              struct error *error)
{
    struct key key;
    struct slice value;
    struct suppression_file file;
    key_of_id(&key, slice_from_text(apply->name));
    enum status status = engine_get(txn, TABLE_SUPPRESSION_FILE, key_slice(&key), &value, error);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    status = suppression_file_parse(key_slice(&key), value, &file, error);
    if (status != STATUS_OK)
        return status;
    if (file.content_hash != apply->content_hash)
        return error_set(error, STATUS_CONFLICT,
                         "%s: a file of this name was imported before, with other contents", apply->name);
    return error_set(error, STATUS_EXISTS, "%s: was imported before", apply->name);
}

static enum status file_put(struct store_write *write, const struct suppression_apply *apply,
                            struct error *error)
{
    struct buffer value = BUFFER_INIT;
    struct key key;
    buffer_append_u8(&value, FILE_KIND);
    buffer_append_u8(&value, FILE_VERSION);
    buffer_append_i64(&value, write->instant_us);
    buffer_append_u32(&value, (uint32_t)apply->day);
    buffer_append_u64(&value, apply->content_hash);
    buffer_append_u64(&value, apply->rows);
    buffer_append_u64(&value, apply->preferences);
    buffer_append_u8(&value, apply->has_trailer);
    key_of_id(&key, slice_from_text(apply->name));
    enum status status =
        engine_put(write->txn, TABLE_SUPPRESSION_FILE, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

/* What is there keeps the sequence and the file that brought it first. */
static enum status row_put(struct store_write *write, struct suppression_apply *apply, const char *row,
                           struct error *error)
{
    struct buffer value = BUFFER_INIT;
    struct slice found, name = slice_from_text(apply->name);
    struct key key;
    key_suppression(&key, encoded_mbi(row), encoded_us(row), encoded_preference(row));
    enum status status = engine_get(write->txn, TABLE_SUPPRESSION, key_slice(&key), &found, error);
    if (status != STATUS_NOT_FOUND)
        return status;
    apply->ret_added++;
    buffer_append_u8(&value, ROW_KIND);
    buffer_append_u8(&value, ROW_VERSION);
    buffer_append_u64(&value, write->sequence);
    buffer_append_u8(&value, (uint8_t)name.size);
    buffer_append_slice(&value, name);
    status = engine_put(write->txn, TABLE_SUPPRESSION, key_slice(&key), buffer_slice(&value), error);
    buffer_release(&value);
    return status;
}

static enum status apply_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct suppression_apply *apply = (struct suppression_apply *)request;
    struct suppression_counts counts = {0};
    struct arena arena = ARENA_INIT;
    uint32_t lookback_days;
    apply->ret_added = 0;
    enum status status = apply_check(apply, error);
    if (status == STATUS_OK)
        status = file_check(write->txn, apply, error);
    if (status == STATUS_OK)
        status = suppression_lookback(write->txn, &lookback_days, error);
    const char *row = apply->encoded.data, *end = row + apply->encoded.size;
    while (status == STATUS_OK && row < end) {
        struct slice mbi = encoded_mbi(row);
        for (; status == STATUS_OK && row < end && slice_equal(encoded_mbi(row), mbi);
             row += SUPPRESSION_ROW_BYTES)
            status = row_put(write, apply, row, error);
        arena_reset(&arena);
        if (status == STATUS_OK)
            status = mbi_settle(write, mbi, lookback_days, SINCE_PREFERENCE, &counts, &arena, error);
    }
    if (status == STATUS_OK && apply->is_last)
        status = file_put(write, apply, error);
    apply->ret_suppressed = counts.suppressed;
    apply->ret_lifted = counts.lifted;
    apply->ret_unknown = counts.unknown;
    arena_release(&arena);
    return status;
}

void suppression_apply_init(struct suppression_apply *apply)
{
    *apply = (struct suppression_apply){.request = {.apply = apply_run}};
    apply->request.bytes = SUPPRESSION_PORTION * ROW_BYTES_HINT;
}

/* ---- what is due ---- */

static enum status review_position(struct engine_txn *txn, struct slice *ret_position, bool *ret_in_review,
                                   struct error *error)
{
    enum status status = engine_get(txn, TABLE_META, META_REVIEW, ret_position, error);
    *ret_in_review = status == STATUS_OK;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status suppression_is_in_review(struct engine_txn *txn, bool *ret_in_review, struct error *error)
{
    struct slice position;
    return review_position(txn, &position, ret_in_review, error);
}

/* The first MBI with preferences behind the id `position` (empty: of all), copied; STATUS_NOT_FOUND. */
static enum status next_mbi(struct engine_txn *txn, struct slice position, struct arena *arena,
                            struct slice *ret_mbi, struct error *error)
{
    struct engine_cursor *cursor;
    struct buffer from = BUFFER_INIT;
    struct slice key, value, mbi;
    enum status status = engine_cursor_open(txn, TABLE_SUPPRESSION, &cursor, error);
    if (status != STATUS_OK)
        return status;
    if (position.size) { /* behind its NUL, and so behind all its rows */
        buffer_append_slice(&from, position);
        buffer_append_char(&from, '\1');
    }
    engine_seek(cursor, buffer_slice(&from), (struct slice){0});
    do /* a damaged row may hide an MBI, but not those behind it */
        status = engine_next(cursor, &key, &value, error);
    while (status == STATUS_CORRUPT && key.size);
    if (status == STATUS_OK && !key_take_id(&key, &mbi))
        status = error_set(error, STATUS_CORRUPT, "a key of table %s is malformed",
                           table_names[TABLE_SUPPRESSION]);
    if (status == STATUS_OK)
        *ret_mbi = arena_copy(arena, mbi);
    engine_cursor_close(cursor);
    buffer_release(&from);
    return status;
}

/* Damage costs only itself: whom it concerns stays as he is for the ACO whose row it is, or if his own cannot
 * be read, for all; and verify names it. */
static enum status settle_one(struct store_write *write, struct suppression_settle *settle, struct slice mbi,
                              uint32_t lookback_days, int64_t source_us, struct arena *arena,
                              struct error *error)
{
    struct suppression_counts counts = {0};
    enum status status = mbi_settle(write, mbi, lookback_days, source_us, &counts, arena, error);
    settle->ret_suppressed += counts.suppressed;
    settle->ret_lifted += counts.lifted;
    if (status != STATUS_CORRUPT && status != STATUS_NOT_FOUND)
        return status;
    settle->ret_damaged++;
    return STATUS_OK;
}

static enum status settle_review(struct store_write *write, struct suppression_settle *settle, size_t *left,
                                 uint32_t lookback_days, struct error *error)
{
    struct arena arena = ARENA_INIT, scratch = ARENA_INIT;
    struct slice position, mbi;
    bool in_review;
    enum status status = review_position(write->txn, &position, &in_review, error);
    if (status == STATUS_OK && in_review) {
        mbi = arena_copy(&arena, position);
        while (*left && (status = next_mbi(write->txn, mbi, &arena, &mbi, error)) == STATUS_OK) {
            arena_reset(&scratch);
            status = settle_one(write, settle, mbi, lookback_days, SINCE_NOW, &scratch, error);
            if (status != STATUS_OK)
                break;
            --*left;
        }
        if (status == STATUS_NOT_FOUND)
            status = engine_delete(write->txn, TABLE_META, META_REVIEW, error);
        else if (status == STATUS_OK)
            status = engine_put(write->txn, TABLE_META, META_REVIEW, mbi, error);
    }
    arena_release(&arena);
    arena_release(&scratch);
    return status;
}

/* The first of what is due; STATUS_NOT_FOUND. The MBI is copied. */
static enum status first_due(struct engine_txn *txn, int64_t now_us, struct arena *arena, int64_t *ret_due_us,
                             struct slice *ret_mbi, struct error *error)
{
    struct engine_cursor *cursor;
    struct slice key, value, mbi;
    enum status status = engine_cursor_open(txn, TABLE_SUPPRESSION_DUE, &cursor, error);
    if (status != STATUS_OK)
        return status;
    engine_seek(cursor, (struct slice){0}, (struct slice){0});
    status = engine_next(cursor, &key, &value, error);
    if (status == STATUS_OK || (status == STATUS_CORRUPT && key.size)) /* an index: the key says it all */
        status = suppression_due_parse(key, ret_due_us, &mbi, error);
    if (status == STATUS_OK && *ret_due_us > now_us)
        status = STATUS_NOT_FOUND;
    if (status == STATUS_OK && arena)
        *ret_mbi = arena_copy(arena, mbi);
    engine_cursor_close(cursor);
    return status;
}

static enum status settle_due(struct store_write *write, struct suppression_settle *settle, size_t *left,
                              uint32_t lookback_days, struct error *error)
{
    struct arena arena = ARENA_INIT;
    struct slice mbi;
    int64_t due_us;
    enum status status = STATUS_OK;
    while (*left && status == STATUS_OK) {
        arena_reset(&arena);
        status = first_due(write->txn, write->instant_us, &arena, &due_us, &mbi, error);
        if (status == STATUS_OK)
            status = settle_one(write, settle, mbi, lookback_days, due_us, &arena, error);
        if (status == STATUS_OK) { /* what could not be settled is not tried for ever */
            struct key key;
            key_suppression_due(&key, due_us, mbi);
            status = engine_delete(write->txn, TABLE_SUPPRESSION_DUE, key_slice(&key), error);
            --*left;
            if (status == STATUS_NOT_FOUND)
                status = STATUS_OK;
        }
    }
    arena_release(&arena);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status suppression_is_due(struct engine_txn *txn, int64_t now_us, bool *ret_due, struct error *error)
{
    int64_t due_us;
    enum status status = suppression_is_in_review(txn, ret_due, error);
    if (status != STATUS_OK || *ret_due)
        return status;
    status = first_due(txn, now_us, NULL, &due_us, NULL, error);
    *ret_due = status == STATUS_OK;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status suppression_settle_within(struct store_write *write, struct suppression_settle *settle,
                                      struct error *error)
{
    uint32_t lookback_days;
    size_t left = settle->limit;
    settle->ret_more = false;
    enum status status = suppression_lookback(write->txn, &lookback_days, error);
    if (status == STATUS_OK)
        status = settle_review(write, settle, &left, lookback_days, error);
    if (status == STATUS_OK)
        status = settle_due(write, settle, &left, lookback_days, error);
    if (status == STATUS_OK && left == 0)
        status = suppression_is_due(write->txn, write->instant_us, &settle->ret_more, error);
    return status;
}

static enum status settle_run(struct write_request *request, struct store_write *write, struct error *error)
{
    struct suppression_settle *settle = (struct suppression_settle *)request;
    settle->ret_suppressed = settle->ret_lifted = settle->ret_damaged = 0;
    return suppression_settle_within(write, settle, error);
}

void suppression_settle_init(struct suppression_settle *settle, size_t limit)
{
    *settle = (struct suppression_settle){.request = {.apply = settle_run}, .limit = limit};
    settle->request.bytes = limit * ROW_BYTES_HINT;
}

/* ---- the look-back ---- */

static enum status configure_run(struct write_request *request, struct store_write *write,
                                 struct error *error)
{
    struct suppression_configure *configure = (struct suppression_configure *)request;
    uint32_t days;
    char value[sizeof days];
    enum status status = suppression_lookback(write->txn, &days, error);
    if (status != STATUS_OK)
        return status;
    if (configure->lookback_days > SUPPRESSION_LOOKBACK_DAYS_MAX)
        return error_set(error, STATUS_INVALID, "a look-back of more than %d days",
                         SUPPRESSION_LOOKBACK_DAYS_MAX);
    configure->ret_changed = days != configure->lookback_days;
    if (!configure->ret_changed)
        return STATUS_OK;
    store_u32_le(value, configure->lookback_days);
    status = engine_put(write->txn, TABLE_META, META_LOOKBACK, slice_make(value, sizeof value), error);
    if (status == STATUS_OK) /* from the begin, also if an earlier change is under way */
        status = engine_put(write->txn, TABLE_META, META_REVIEW, SLICE_LITERAL(""), error);
    return status;
}

void suppression_configure_init(struct suppression_configure *configure, uint32_t lookback_days)
{
    *configure =
        (struct suppression_configure){.request = {.apply = configure_run}, .lookback_days = lookback_days};
}

/* ---- for people ---- */

enum status suppression_next(struct engine_txn *txn, struct suppression_position *position,
                             struct suppression_entry *ret_entry, struct error *error)
{
    struct arena arena = ARENA_INIT;
    struct slice mbi;
    struct store_clock clock;
    uint32_t lookback_days;
    enum status status = next_mbi(txn, slice_make(position->mbi, position->size), &arena, &mbi, error);
    if (status == STATUS_OK) {
        memcpy(position->mbi, mbi.data, mbi.size);
        position->size = mbi.size;
        ret_entry->mbi = slice_make(position->mbi, position->size);
        status = mbi_row_get(txn, mbi, &ret_entry->row, error);
    }
    arena_release(&arena);
    if (status == STATUS_OK)
        status = suppression_lookback(txn, &lookback_days, error);
    if (status == STATUS_OK)
        status = store_clock_read(txn, &clock, error);
    if (status != STATUS_OK)
        return status;
    /* As of when it was applied: what is due since then is not. */
    const struct mbi_row *row = &ret_entry->row;
    int64_t at_us = row->due_us <= clock.instant_us ? row->due_us - 1 : clock.instant_us;
    status = suppression_evaluate(txn, ret_entry->mbi, lookback_days, at_us, &ret_entry->state, error);
    if (status == STATUS_OK && ret_entry->state.preference == ' ') /* what was told last, though it is over */
        status = suppression_evaluate(txn, ret_entry->mbi, 0, at_us, &ret_entry->state, error);
    ret_entry->state.suppressed = row->suppressed;
    ret_entry->state.due_us = row->due_us;
    ret_entry->since_us = row->suppressed ? row->suppressed_us : INT64_MIN;
    return status;
}
