#include "codec/cclf.h"

#include "codec/base/clock.h"
#include "codec/instant.h"

#include <stdint.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return c >= 'A' && c <= 'Z';
}

/* `#` a digit, `@` an upper-case letter, `*` either, everything else itself. */
static bool matches(struct slice text, const char *pattern)
{
    size_t i = 0;
    for (; i < text.size && pattern[i]; i++) {
        char c = text.data[i];
        bool good = pattern[i] == '#'   ? is_digit(c)
                    : pattern[i] == '@' ? is_letter(c)
                    : pattern[i] == '*' ? is_digit(c) || is_letter(c)
                                        : c == pattern[i];
        if (!good)
            return false;
    }
    return i == text.size && !pattern[i];
}

bool aco_id_is_valid(struct slice id)
{
    static const char *const patterns[] = {
        "A####",                              /* Medicare Shared Savings Program */
        "V###",                               /* Next Generation ACO */
        "E####",                              /* Comprehensive ESRD Care */
        "C####",                              /* Comprehensive Kidney Care Contracting */
        "K####",                              /* Kidney Care First */
        "D####",                              /* Direct Contracting, ACO REACH */
        "F###",                               /* Vermont All-Payer */
        "P######",                            /* Primary Care First */
        "M####",                              /* Making Care Primary */
        "CT####",   "CT#####",    "CT######", /* the rest: models whose rosters BCDA also takes */
        "DA####",   "IOTA###",    "GUIDE-####", "TEST###",
        "SBX@@###", "ACCES#####", "T####", /* test ACOs to 2019 */
    };
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (matches(id, patterns[i]))
            return true;
    return false;
}

bool mbi_is_valid(struct slice mbi)
{
    return matches(mbi, "#@*#@*#@@##");
}

static unsigned two_digits(const char *at)
{
    return (unsigned)(at[0] - '0') * 10 + (unsigned)(at[1] - '0');
}

/* ---- Names */

#define PARTS_MAX 6 /* of a name, between dots */

static size_t name_split(struct slice name, struct slice parts[PARTS_MAX])
{
    size_t count = 0;
    size_t begin = 0;
    for (size_t i = 0; i <= name.size; i++) {
        if (i < name.size && name.data[i] != '.')
            continue;
        if (count == PARTS_MAX)
            return PARTS_MAX + 1;
        parts[count++] = slice_make(name.data + begin, i - begin);
        begin = i + 1;
    }
    return count;
}

/* "ZC8Y18": file, Y or R, year. Archives have no file, and may have no letter. */
static bool parse_file(struct slice part, struct cclf_name *name, bool *ret_has_file)
{
    *ret_has_file = matches(part, "ZC*@##");
    if (!*ret_has_file && !matches(part, "ZC@##") && !matches(part, "ZC##"))
        return false;
    char letter = part.size == 4 ? 'Y' : part.data[part.size - 3];
    if (letter != 'Y' && letter != 'R')
        return false;
    char file = *ret_has_file ? part.data[2] : '\0';
    name->kind = file == '\0'  ? CCLF_KIND_ARCHIVE
                 : file == '0' ? CCLF_KIND_SUMMARY
                 : file == '8' ? CCLF_KIND_BENEFICIARIES
                 : file == '9' ? CCLF_KIND_CROSS_REFERENCE
                               : CCLF_KIND_OTHER;
    name->holds = name->kind;
    name->runout = letter == 'R';
    name->performance_year = two_digits(part.data + part.size - 2);
    return true;
}

static bool parse_day(struct slice part, int64_t *ret_us)
{
    static const unsigned month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!matches(part, "D######"))
        return false;
    int year = 2000 + (int)two_digits(part.data + 1);
    unsigned month = two_digits(part.data + 3);
    unsigned day = two_digits(part.data + 5);
    if (month < 1 || month > 12 || day < 1)
        return false;
    if (day > month_days[month - 1] + (month == 2 && year % 4 == 0)) /* 2000 was a leap year, too */
        return false;
    *ret_us = (int64_t)day_from_civil(year, month, day) * 86400 * US_PER_SECOND;
    return true;
}

static bool parse_time(struct slice part, int64_t *ret_us)
{
    unsigned hour = two_digits(part.data + 1);
    unsigned minute = two_digits(part.data + 3);
    unsigned second = two_digits(part.data + 5);
    if (hour > 23 || minute > 59 || second > 59)
        return false;
    *ret_us = (int64_t)(hour * 3600 + minute * 60 + second) * US_PER_SECOND;
    return true;
}

/* Cuts "-1" off the last part. */
static bool parse_part(struct slice *last, unsigned *ret_part)
{
    *ret_part = 0;
    if (last->size <= 8 || last->data[8] != '-')
        return true;
    struct slice number = slice_skip(*last, 9);
    if (!matches(number, "#") && !matches(number, "##"))
        return false;
    for (size_t i = 0; i < number.size; i++)
        *ret_part = *ret_part * 10 + (unsigned)(number.data[i] - '0');
    last->size = 8;
    return *ret_part > 0;
}

static void set_aco(struct cclf_name *name, struct slice id)
{
    memcpy(name->aco, id.data, id.size);
    name->aco[id.size] = '\0';
}

static enum status refuse(struct error *error, const char *what)
{
    return error_set(error, STATUS_INVALID, "not a CCLF name: %s", what);
}

/* A model of capitals, an ACO, and the year, which not all have. */
static bool is_csv_name(const struct slice parts[PARTS_MAX], size_t count)
{
    if (count != 5 && (count != 6 || !(matches(parts[3], "Y##") || matches(parts[3], "R##"))))
        return false;
    for (size_t i = 0; i < parts[1].size; i++) {
        if (!is_letter(parts[1].data[i]))
            return false;
    }
    return parts[1].size > 1 && !matches(parts[1], "BCD") && aco_id_is_valid(parts[2]) &&
           parts[count - 2].size && parts[count - 2].data[0] == 'D';
}

static enum status parse_csv_name(const struct slice parts[PARTS_MAX], size_t count, struct cclf_name *found,
                                  struct cclf_name *ret_name, struct error *error)
{
    int64_t day_us, time_us;
    found->kind = found->holds = CCLF_KIND_CSV;
    set_aco(found, parts[2]);
    if (count == 6) {
        found->runout = parts[3].data[0] == 'R';
        found->performance_year = two_digits(parts[3].data + 1);
    }
    if (!parse_day(parts[count - 2], &day_us))
        return refuse(error, "the date should look like \"D250630\" (year, month, day)");
    if (!matches(parts[count - 1], "T#######") || !parse_time(parts[count - 1], &time_us))
        return refuse(error, "the time should look like \"T1000009\" (hour, minute, second, tenth)");
    found->at_us = day_us + time_us;
    *ret_name = *found;
    return STATUS_OK;
}

enum status cclf_name_parse(struct slice name, struct cclf_name *ret_name, struct error *error)
{
    struct slice parts[PARTS_MAX];
    struct cclf_name found = {0};
    if (name.size > CCLF_NAME_BYTES_MAX)
        return refuse(error, "it is too long");
    size_t count = name_split(name, parts);
    if (count < 1 || !(matches(parts[0], "P") || matches(parts[0], "T")))
        return refuse(error, "it does not begin with \"P.\" or \"T.\"");
    found.test = matches(parts[0], "T");

    /* Who: one or two parts */
    bool old_archive = false;
    size_t at;
    if (count == 6 && matches(parts[1], "BCD") && matches(parts[2], "ACO")) {
        old_archive = true;
        at = 3;
    } else if (count == 6 && matches(parts[1], "BCD") && aco_id_is_valid(parts[2])) {
        set_aco(&found, parts[2]);
        at = 3;
    } else if (count == 6 && (matches(parts[2], "ACO") || matches(parts[2], "PRT")) &&
               aco_id_is_valid(parts[1])) {
        set_aco(&found, parts[1]);
        at = 3;
    } else if (count == 5 && matches(parts[1], "CEC")) {
        at = 2;
    } else if (is_csv_name(parts, count)) {
        return parse_csv_name(parts, count, &found, ret_name, error);
    } else if (count == 5 || count == 6) {
        return refuse(error, "its second and third part name no ACO that is known here");
    } else {
        return refuse(error, "it has not six parts between dots");
    }

    bool has_file;
    if (!parse_file(parts[at], &found, &has_file))
        return refuse(error, "the file and year should look like \"ZC8Y18\" or \"ZCY18\"");
    int64_t day_us;
    if (!parse_day(parts[at + 1], &day_us))
        return refuse(error, "the date should look like \"D181120\" (year, month, day)");
    struct slice time = parts[at + 2];
    if (!parse_part(&time, &found.part) || !matches(time, "T#######"))
        return refuse(error, "the time should look like \"T1000009\" (hour, minute, second, tenth)");
    int64_t time_us = 0;
    if (old_archive) {
        char id[] = {'A', time.data[1], time.data[2], time.data[3], time.data[4]};
        set_aco(&found, slice_make(id, sizeof id));
        found.kind = CCLF_KIND_ARCHIVE; /* `holds` says of what */
    } else if (!parse_time(time, &time_us)) {
        return refuse(error, "there is no such time of day");
    }
    found.at_us = day_us + time_us;
    *ret_name = found;
    return STATUS_OK;
}

/* ---- Lines */

struct lines {
    struct slice left;
    uint64_t number; /* of the line handed out last, from 1 */
};

/* The end of the file is no line of its own. */
static bool lines_next(struct lines *lines, struct slice *ret_line)
{
    if (lines->left.size == 0)
        return false;
    const char *end = memchr(lines->left.data, '\n', lines->left.size);
    size_t size = end ? (size_t)(end - lines->left.data) : lines->left.size;
    struct slice line = {lines->left.data, size};
    lines->left = slice_skip(lines->left, size + 1);
    lines->number++;
    if (line.size > 0 && line.data[line.size - 1] == '\r')
        line.size--;
    *ret_line = line;
    return true;
}

static struct slice without_trailing_blanks(struct slice text)
{
    while (text.size > 0 && text.data[text.size - 1] == ' ')
        text.size--;
    return text;
}

static struct slice trimmed(struct slice text)
{
    while (text.size > 0 && text.data[0] == ' ')
        text = slice_skip(text, 1);
    return without_trailing_blanks(text);
}

static bool parse_number(struct slice text, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text.size == 0)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit(text.data[i]))
            return false;
        number = number * 10 + (uint64_t)(text.data[i] - '0');
        if (number > max)
            return false;
    }
    *ret_number = number;
    return true;
}

/* ---- CCLF0: "CCLF8  |Beneficiary Demographics File              |          7|  549" */

#define CCLF0_FIELDS 4

/* By the bars and not by the columns: both eras then read alike. */
static bool fields_split(struct slice line, struct slice fields[CCLF0_FIELDS])
{
    for (size_t i = 0; i < CCLF0_FIELDS; i++) {
        const char *bar = line.size ? memchr(line.data, '|', line.size) : NULL;
        if ((bar == NULL) != (i == CCLF0_FIELDS - 1))
            return false;
        size_t size = bar ? (size_t)(bar - line.data) : line.size;
        fields[i] = trimmed(slice_make(line.data, size));
        line = slice_skip(line, size + 1);
    }
    return true;
}

enum status cclf0_find(struct slice file, const char *counted, struct cclf_counted *ret_counted,
                       struct error *error)
{
    struct lines lines = {file, 0};
    struct slice line;
    uint64_t first_line = 0;
    uint64_t count = 0;
    uint64_t record_bytes = 0;
    while (lines_next(&lines, &line)) {
        struct slice fields[CCLF0_FIELDS];
        if (!slice_starts_with(line, slice_from_text(counted)))
            continue;
        if (first_line)
            return error_set(error, STATUS_INVALID, "CCLF0 lines %llu and %llu both count %s",
                             (unsigned long long)first_line, (unsigned long long)lines.number, counted);
        first_line = lines.number;
        if (!fields_split(line, fields) || !slice_equal_text(fields[0], counted))
            return error_set(error, STATUS_INVALID, "CCLF0 line %llu has not four fields between bars",
                             (unsigned long long)lines.number);
        if (!parse_number(fields[2], UINT64_C(99999999999), &count))
            return error_set(error, STATUS_INVALID, "CCLF0 line %llu: the count of records is no number",
                             (unsigned long long)lines.number);
        if (!parse_number(fields[3], CCLF_RECORD_BYTES_MAX, &record_bytes) || record_bytes < MBI_SIZE_MAX)
            return error_set(error, STATUS_INVALID,
                             "CCLF0 line %llu: the record length is no possible number",
                             (unsigned long long)lines.number);
    }
    *ret_counted = (struct cclf_counted){first_line != 0, count, (uint32_t)record_bytes};
    return STATUS_OK;
}

enum status cclf0_parse(struct slice file, uint64_t *ret_count, uint32_t *ret_record_bytes,
                        struct error *error)
{
    struct cclf_counted counted;
    enum status status = cclf0_find(file, "CCLF8", &counted, error);
    if (status == STATUS_OK && !counted.there)
        status = error_set(error, STATUS_INVALID, "CCLF0 has no line for CCLF8");
    if (status != STATUS_OK)
        return status;
    *ret_count = counted.count;
    *ret_record_bytes = counted.record_bytes;
    return STATUS_OK;
}

/* ---- CCLF8 */

enum status cclf8_parse(struct slice file, uint32_t record_bytes_max, cclf8_handler *handler, void *context,
                        uint64_t *ret_rows, struct error *error)
{
    struct lines lines = {file, 0};
    struct slice line;
    while (lines_next(&lines, &line)) {
        unsigned long long number = lines.number;
        line = without_trailing_blanks(line);
        if (line.size == 0)
            return error_set(error, STATUS_INVALID, "CCLF8 line %llu is empty", number);
        if (line.size > record_bytes_max)
            return error_set(error, STATUS_INVALID, "CCLF8 line %llu has %zu characters, more than %u",
                             number, line.size, record_bytes_max);
        struct slice mbi = {line.data, line.size < MBI_SIZE_MAX ? line.size : MBI_SIZE_MAX};
        if (trimmed(mbi).size == 0)
            return error_set(error, STATUS_INVALID, "CCLF8 line %llu has no MBI in columns 1 to 11", number);
        if (!mbi_is_valid(mbi))
            return error_set(error, STATUS_INVALID,
                             "CCLF8 line %llu: what stands in columns 1 to 11 is no MBI", number);
        enum status status = handler(context, mbi, error);
        if (status != STATUS_OK)
            return status;
    }
    *ret_rows = lines.number;
    return STATUS_OK;
}

/* ---- CCLF9: "M1A69B98CD351A69B98CD341959-12-312018-12-31            " */

/* Columns, from 0. */
enum { CCLF9_CURRENT = 1, CCLF9_PREVIOUS = 12, CCLF9_PREVIOUS_END = 23 };

enum status cclf9_parse(struct slice file, uint32_t record_bytes_max, cclf9_handler *handler, void *context,
                        uint64_t *ret_rows, struct error *error)
{
    struct lines lines = {file, 0};
    struct slice line;
    while (lines_next(&lines, &line)) {
        unsigned long long number = lines.number;
        line = without_trailing_blanks(line);
        if (line.size == 0)
            return error_set(error, STATUS_INVALID, "CCLF9 line %llu is empty", number);
        if (line.size > record_bytes_max)
            return error_set(error, STATUS_INVALID, "CCLF9 line %llu has %zu characters, more than %u",
                             number, line.size, record_bytes_max);
        if (line.data[0] == 'H')
            continue;
        if (line.data[0] != 'M')
            return error_set(error, STATUS_INVALID, "CCLF9 line %llu begins with neither M nor H", number);
        struct slice current = slice_make(line.data + CCLF9_CURRENT, MBI_SIZE_MAX);
        struct slice previous = slice_make(line.data + CCLF9_PREVIOUS, MBI_SIZE_MAX);
        if (line.size < CCLF9_PREVIOUS_END || !mbi_is_valid(current) || !mbi_is_valid(previous))
            return error_set(error, STATUS_INVALID,
                             "CCLF9 line %llu: what stands in columns 2 to 12 or 13 to 23 is no MBI", number);
        enum status status = handler(context, current, previous, error);
        if (status != STATUS_OK)
            return status;
    }
    *ret_rows = lines.number;
    return STATUS_OK;
}

/* ---- CSV */

static struct slice without_quotes(struct slice text)
{
    bool is_quoted = text.size >= 2 && text.data[0] == '"' && text.data[text.size - 1] == '"';
    return is_quoted ? slice_make(text.data + 1, text.size - 2) : text;
}

enum status csv_roster_parse(struct slice file, cclf8_handler *handler, void *context, uint64_t *ret_rows,
                             struct error *error)
{
    static const struct slice byte_order_mark = SLICE_LITERAL("\xEF\xBB\xBF");
    if (slice_starts_with(file, byte_order_mark))
        file = slice_skip(file, byte_order_mark.size);
    struct lines lines = {file, 0};
    struct slice line;
    while (lines_next(&lines, &line)) {
        unsigned long long number = lines.number;
        line = without_quotes(trimmed(line));
        if (number == 1) {
            if (!slice_equal_text(line, "MBIs"))
                return error_set(error, STATUS_INVALID, "line 1 is not the title \"MBIs\" of its one column");
            continue;
        }
        if (line.size == 0)
            return error_set(error, STATUS_INVALID, "line %llu is empty", number);
        if (memchr(line.data, ',', line.size))
            return error_set(error, STATUS_INVALID, "line %llu has more than one column", number);
        bool good = line.size <= MBI_SIZE_MAX;
        for (size_t i = 0; good && i < line.size; i++)
            good = is_digit(line.data[i]) || is_letter(line.data[i]);
        if (!good)
            return error_set(error, STATUS_INVALID, "line %llu is no MBI", number);
        enum status status = handler(context, line, error);
        if (status != STATUS_OK)
            return status;
    }
    if (lines.number == 0)
        return error_set(error, STATUS_INVALID, "is empty");
    *ret_rows = lines.number - 1;
    return STATUS_OK;
}
