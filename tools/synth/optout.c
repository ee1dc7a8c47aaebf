#include "tools/synth/optout.h"

#include "codec/base/check.h"
#include "tools/synth/sink.h"

#define TOLD_PERMILLE 5   /* of all, between two files */
#define OUT_PERMILLE  800 /* of those: the others want in again */

void optout_init(struct optout *optout, int32_t day)
{
    *optout = (struct optout){day, BUFFER_INIT, 0};
}

void optout_release(struct optout *optout)
{
    buffer_release(&optout->rows);
}

/* Offsets count from 0, as in the layout's slices. */
static void field_put(char *row, size_t from, size_t to, struct slice text)
{
    memcpy(row + from, text.data, text.size < to - from ? text.size : to - from);
}

static void number_append(struct buffer *out, int32_t day)
{
    struct date date = date_from_day(day);
    json_digits(out, (uint64_t)date.year * 10000 + (uint64_t)date.month * 100 + (uint64_t)date.day, 8);
}

static void day_put(char *row, size_t from, int32_t day)
{
    struct buffer digits = BUFFER_INIT;
    number_append(&digits, day);
    field_put(row, from, from + 8, buffer_slice(&digits));
    buffer_release(&digits);
}

void optout_consider(struct optout *optout, const struct beneficiary *b, uint32_t week)
{
    CHECK(week % OPTOUT_WEEKS == 0);
    struct random random;
    random_seed(&random, random_mix(random_mix(b->seed, 'o'), week));
    if (b->death_day != INT32_MAX || !random_chance(&random, TOLD_PERMILLE))
        return;
    char *row = buffer_extend(&optout->rows, OPTOUT_ROW_BYTES + 1);
    memset(row, ' ', OPTOUT_ROW_BYTES);
    row[OPTOUT_ROW_BYTES] = '\n';
    int32_t told = optout->day - 1 - (int32_t)random_below(&random, 7 * OPTOUT_WEEKS - 1);
    field_put(row, 0, 11, slice_make(b->mbi, MBI_SIZE));
    field_put(row, 21, 51, b->given);
    row[51] = b->middle;
    field_put(row, 81, 121, b->family);
    day_put(row, 121, b->birth_day);
    field_put(row, 294, 334, b->state->city);
    field_put(row, 334, 336, b->state->usps);
    row[345] = b->female ? 'F' : 'M';
    day_put(row, 346, told);
    day_put(row, 354, told);
    field_put(row, 362, 367, SLICE_LITERAL("1-800"));
    row[367] = 'T'; /* told on the telephone */
    row[368] = random_chance(&random, OUT_PERMILLE) ? 'N' : 'Y';
    optout->row_count++;
}

enum status optout_write(const struct optout *optout, const char *directory, struct error *error)
{
    struct date date = date_from_day(optout->day);
    struct buffer path = BUFFER_INIT;
    struct sink sink = SINK_INIT;
    buffer_appendf(&path, "%s/P#EFT.ON.ACO.NGD1800.DPRF.D%02d%02d%02d.T0000000", directory, date.year % 100,
                   date.month, date.day);
    enum status status = sink_open(&sink, buffer_text(&path), false, error);
    if (!status) {
        JSON(&sink.buffer, "HDR_BENEDATASHR");
        number_append(&sink.buffer, optout->day);
        JSON(&sink.buffer, "\n");
        buffer_append_slice(&sink.buffer, buffer_slice(&optout->rows));
        JSON(&sink.buffer, "TRL_BENEDATASHR");
        number_append(&sink.buffer, optout->day);
        buffer_appendf(&sink.buffer, "%-10u\n", optout->row_count);
        status = sink_finish(&sink, error);
    }
    sink_close(&sink);
    buffer_release(&path);
    return status;
}
