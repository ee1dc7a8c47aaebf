#include "codec/optout.h"

#include "codec/base/clock.h"
#include "codec/cclf.h"
#include "codec/instant.h"

#include <xxhash.h>

#define HEADER_MARK  "HDR_BENEDATASHR"
#define TRAILER_MARK "TRL_BENEDATASHR"
#define MARK_BYTES   (sizeof HEADER_MARK - 1)
#define DATE_BYTES   8
#define COUNT_BYTES  10

/* Columns of a row, from 0. */
enum {
    COLUMN_LINK_KEY = 11,
    COLUMN_LINK_KEY_END = 21,
    COLUMN_EFFECTIVE = 354,
    COLUMN_PREFERENCE = 368,
    COLUMN_SAMHSA_EFFECTIVE = 369,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool all_digits(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit(text.data[i]))
            return false;
    }
    return text.size > 0;
}

static struct slice trimmed(struct slice text)
{
    while (text.size && text.data[0] == ' ')
        text = slice_skip(text, 1);
    while (text.size && text.data[text.size - 1] == ' ')
        text.size--;
    return text;
}

static unsigned number_of(const char *digits, size_t count)
{
    unsigned number = 0;
    for (size_t i = 0; i < count; i++)
        number = number * 10 + (unsigned)(digits[i] - '0');
    return number;
}

/* The Gregorian calendar of the centuries in which anybody may have said something. */
static bool day_parse(unsigned year, unsigned month, unsigned day, int32_t *ret_day)
{
    static const unsigned month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1900 || year > 2199 || month < 1 || month > 12 || day < 1)
        return false;
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > month_days[month - 1] + (month == 2 && is_leap))
        return false;
    *ret_day = day_from_civil((int)year, month, day);
    return true;
}

/* CCYYMMDD. */
static bool date_parse(struct slice text, int32_t *ret_day)
{
    return text.size == DATE_BYTES && all_digits(text) &&
           day_parse(number_of(text.data, 4), number_of(text.data + 4, 2), number_of(text.data + 6, 2),
                     ret_day);
}

/* Blanks, or BCDA's zeros, are no date: DAY_NONE. */
static bool date_parse_or_none(struct slice text, int32_t *ret_day)
{
    *ret_day = DAY_NONE;
    return trimmed(text).size == 0 || slice_equal_text(text, "00000000") || date_parse(text, ret_day);
}

/* ---- names ---- */

enum status optout_name_parse(struct slice name, struct optout_name *ret_name, struct error *error)
{
    static const char pattern[] = "##EFT.ON.ACO.NGD1800.DPRF.D######.T#######";
    const size_t date_at = 27, time_at = 35;
    struct slice rest = name;
    bool good = name.size == sizeof pattern - 1 && (name.data[0] == 'P' || name.data[0] == 'T') &&
                name.data[1] == '#';
    for (size_t i = 2; good && i < name.size; i++)
        good = pattern[i] == '#' ? is_digit(name.data[i]) : name.data[i] == pattern[i];
    if (!good)
        return error_set(error, STATUS_INVALID,
                         "not an opt-out file's name: it should look like "
                         "\"P#EFT.ON.ACO.NGD1800.DPRF.D190816.T0241390\"");
    int32_t day;
    rest = slice_skip(name, date_at);
    if (!day_parse(2000 + number_of(rest.data, 2), number_of(rest.data + 2, 2), number_of(rest.data + 4, 2),
                   &day))
        return error_set(error, STATUS_INVALID, "the name's date should be year, month, day (D190816)");
    rest = slice_skip(name, time_at);
    unsigned hour = number_of(rest.data, 2), minute = number_of(rest.data + 2, 2),
             second = number_of(rest.data + 4, 2);
    if (hour > 23 || minute > 59 || second > 59)
        return error_set(error, STATUS_INVALID, "the name's time is no time of day (T0241390)");
    *ret_name = (struct optout_name){
        .test = name.data[0] == 'T',
        .at_us = ((int64_t)day * 86400 + hour * 3600 + minute * 60 + second) * US_PER_SECOND,
    };
    return STATUS_OK;
}

/* ---- lines ---- */

static enum status PRINTF_LIKE(3, 4) refuse(uint64_t number, struct error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_setv(error, STATUS_INVALID, format, args);
    va_end(args);
    error_prefix(error, "line %llu", (unsigned long long)number);
    return STATUS_INVALID;
}

static enum status read_header(struct optout_reader *reader, uint64_t number, struct slice line,
                               struct error *error)
{
    if (reader->has_header)
        return refuse(number, error, "a second header");
    if (!slice_starts_with(line, SLICE_LITERAL(HEADER_MARK)))
        return refuse(number, error, "the file does not begin with \"" HEADER_MARK "\"");
    if (!date_parse(trimmed(slice_skip(line, MARK_BYTES)), &reader->day))
        return refuse(number, error, "the header's date is no date");
    reader->has_header = true;
    return STATUS_OK;
}

static enum status read_trailer(struct optout_reader *reader, uint64_t number, struct slice line,
                                struct error *error)
{
    int32_t day;
    struct slice date = slice_skip(line, MARK_BYTES);
    struct slice count = trimmed(slice_skip(date, DATE_BYTES));
    date.size = date.size < DATE_BYTES ? date.size : DATE_BYTES;
    if (!date_parse(date, &day))
        return refuse(number, error, "the trailer's date is no date");
    if (!all_digits(count) || count.size > COUNT_BYTES)
        return refuse(number, error, "the trailer's count is no number");
    uint64_t expected = 0;
    for (size_t i = 0; i < count.size; i++)
        expected = expected * 10 + (uint64_t)(count.data[i] - '0');
    if (expected != reader->rows)
        return refuse(number, error, "the trailer counts %llu rows, the file has %llu",
                      (unsigned long long)expected, (unsigned long long)reader->rows);
    reader->has_trailer = true;
    return STATUS_OK;
}

static bool is_identifier(struct slice id)
{
    for (size_t i = 0; i < id.size; i++) {
        if (!is_digit(id.data[i]) && !(id.data[i] >= 'A' && id.data[i] <= 'Z'))
            return false;
    }
    return id.size > 0;
}

static bool is_integer_or_blank(struct slice text)
{
    text = trimmed(text);
    if (text.size && text.data[0] == '-')
        return all_digits(slice_skip(text, 1));
    return text.size == 0 || all_digits(text);
}

static enum status read_row(struct optout_reader *reader, uint64_t number, struct slice line,
                            struct optout_row *row, struct error *error)
{
    if (line.size > OPTOUT_ROW_BYTES && trimmed(slice_skip(line, OPTOUT_ROW_BYTES)).size == 0)
        line.size = OPTOUT_ROW_BYTES;
    if (line.size != OPTOUT_ROW_BYTES)
        return refuse(number, error, "has %zu characters instead of %d", line.size, OPTOUT_ROW_BYTES);
    struct slice id = trimmed(slice_make(line.data, MBI_SIZE_MAX));
    if (!is_identifier(id))
        return refuse(number, error, "what stands in columns 1 to 11 is no MBI");
    if (!is_integer_or_blank(slice_make(line.data + COLUMN_LINK_KEY, COLUMN_LINK_KEY_END - COLUMN_LINK_KEY)))
        return refuse(number, error, "the link key (columns 12 to 21) is no integer");
    int32_t effective_day, samhsa_day;
    if (!date_parse_or_none(slice_make(line.data + COLUMN_EFFECTIVE, DATE_BYTES), &effective_day))
        return refuse(number, error, "the effective date (columns 355 to 362) is no date");
    if (!date_parse_or_none(slice_make(line.data + COLUMN_SAMHSA_EFFECTIVE, DATE_BYTES), &samhsa_day))
        return refuse(number, error, "the SAMHSA effective date (columns 370 to 377) is no date");
    char preference = line.data[COLUMN_PREFERENCE];
    if (preference != 'Y' && preference != 'N' && preference != ' ')
        return refuse(number, error, "the preference (column 369) is neither Y nor N");
    if (preference != ' ' && effective_day == DAY_NONE)
        return refuse(number, error, "a preference without an effective date (columns 355 to 362)");
    reader->rows++;
    reader->preferences += preference != ' ';
    reader->foreign += !mbi_is_valid(id);
    *row = (struct optout_row){id, preference == ' ' ? DAY_NONE : effective_day, preference};
    return STATUS_OK;
}

void optout_reader_init(struct optout_reader *reader)
{
    *reader = (struct optout_reader){.day = DAY_NONE};
}

enum status optout_read_line(struct optout_reader *reader, uint64_t number, struct slice line,
                             struct optout_row *ret_row, bool *ret_is_row, struct error *error)
{
    reader->content_hash = XXH3_64bits_withSeed(line.data, line.size, reader->content_hash);
    *ret_is_row = false;
    if (reader->has_trailer)
        return refuse(number, error, "stands behind the trailer");
    if (!reader->has_header || slice_starts_with(line, SLICE_LITERAL("HDR_")))
        return read_header(reader, number, line, error);
    if (slice_starts_with(line, SLICE_LITERAL(TRAILER_MARK)))
        return read_trailer(reader, number, line, error);
    enum status status = read_row(reader, number, line, ret_row, error);
    *ret_is_row = status == STATUS_OK;
    return status;
}

enum status optout_read_end(const struct optout_reader *reader, struct error *error)
{
    return reader->has_header ? STATUS_OK : error_set(error, STATUS_INVALID, "is empty");
}
