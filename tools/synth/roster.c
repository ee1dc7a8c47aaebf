#include "tools/synth/roster.h"

#include <zip.h>

/* `#` is a digit, `@` a capital letter; the part behind the bar follows the id in the inner names. */
static const struct aco_form {
    const char *pattern;
    const char *before;
    const char *after;
} aco_forms[] = {
    {"A####", "BCD.", ""},    {"V###", "", ".ACO"},    {"C####", "", ".ACO"},
    {"K####", "", ".ACO"},    {"D####", "", ".ACO"},   {"TEST###", "", ".ACO"},
    {"SBX@@###", "", ".ACO"}, {"IOTA###", "", ".PRT"}, {"CEC", "", ""},
};

static bool pattern_matches(const char *pattern, struct slice text)
{
    if (strlen(pattern) != text.size)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool digit = c >= '0' && c <= '9';
        bool capital = c >= 'A' && c <= 'Z';
        if (pattern[i] == '#' ? !digit : pattern[i] == '@' ? !capital : pattern[i] != c)
            return false;
    }
    return true;
}

static const struct aco_form *aco_form_find(struct slice aco)
{
    for (size_t i = 0; i < sizeof aco_forms / sizeof aco_forms[0]; i++)
        if (pattern_matches(aco_forms[i].pattern, aco))
            return &aco_forms[i];
    return NULL;
}

bool aco_id_valid(struct slice aco)
{
    return aco_form_find(aco) != NULL;
}

void roster_init(struct roster *roster, struct slice aco, int32_t day)
{
    *roster = (struct roster){aco, day, BUFFER_INIT, BUFFER_INIT, 0, 0};
}

void roster_release(struct roster *roster)
{
    buffer_release(&roster->demographics);
    buffer_release(&roster->cross_references);
}

/* Positions count from 1 and include both ends, as the layout's tables do. */
static void field_put(char *row, int first, int last, struct slice text)
{
    size_t room = (size_t)(last - first + 1);
    memcpy(row + first - 1, text.data, text.size < room ? text.size : room);
}

static void field_put_number(char *row, int first, int last, uint32_t value)
{
    for (int at = last; at >= first; at--, value /= 10)
        row[at - 1] = (char)('0' + value % 10);
}

static void field_put_day(char *row, int first, int32_t day)
{
    struct date date = date_from_day(day);
    field_put_number(row, first, first + 3, (uint32_t)date.year);
    row[first + 3] = '-';
    field_put_number(row, first + 5, first + 6, (uint32_t)date.month);
    row[first + 6] = '-';
    field_put_number(row, first + 8, first + 9, (uint32_t)date.day);
}

static char *row_begin(struct buffer *out, size_t bytes)
{
    char *row = buffer_extend(out, bytes + 1);
    memset(row, ' ', bytes);
    row[bytes] = '\n';
    return row;
}

static void address_put(char *row, const struct beneficiary *b)
{
    struct buffer street = BUFFER_INIT;
    json_integer(&street, 1 + (int64_t)(b->seed % 9000));
    buffer_append_char(&street, ' ');
    buffer_append_slice(&street, street_names.names[b->seed / 9000 % street_names.count]);
    field_put(row, 189, 233, buffer_slice(&street));
    buffer_release(&street);
    field_put(row, 439, 538, b->state->city);
    field_put(row, 539, 540, b->state->usps);
    field_put_number(row, 541, 545, b->zip);
    field_put_number(row, 546, 549, b->zip_plus);
}

static void demographics_add(struct roster *roster, const struct beneficiary *b)
{
    char *row = row_begin(&roster->demographics, CCLF8_ROW_BYTES);
    struct date birth = date_from_day(b->birth_day);
    struct date now = date_from_day(roster->day);
    bool had_birthday = now.month > birth.month || (now.month == birth.month && now.day >= birth.day);
    uint32_t age = (uint32_t)(now.year - birth.year - !had_birthday);
    field_put(row, 1, 11, slice_make(b->mbi, MBI_SIZE));
    field_put(row, 23, 24, b->state->fips);
    field_put_number(row, 25, 27, b->county);
    field_put_number(row, 28, 32, b->zip);
    field_put_day(row, 33, b->birth_day);
    field_put_number(row, 43, 43, b->female ? 2 : 1);
    field_put_number(row, 44, 44, b->race);
    field_put_number(row, 45, 47, age);
    field_put_number(row, 48, 49, (b->disabled ? 20U : 10U) + b->renal);
    field_put(row, 50, 51, slice_from_text("NA"));
    if (b->death_day <= roster->day)
        field_put_day(row, 52, b->death_day);
    field_put(row, 82, 111, b->given);
    row[112 - 1] = b->middle;
    field_put(row, 127, 166, b->family);
    field_put_number(row, 167, 167, b->disabled);
    field_put_number(row, 168, 168, 3); /* Part A and Part B */
    int32_t enrolled = day_from_date(birth.year + (b->disabled ? 37 : 65), birth.month, 1);
    field_put_day(row, 169, enrolled);
    field_put_day(row, 179, enrolled);
    address_put(row, b);
    roster->row_count++;
}

/* From one MBI to the one before it: several changes make a chain. */
static void cross_reference_add(struct roster *roster, const struct beneficiary *b, uint32_t former)
{
    char *row = row_begin(&roster->cross_references, CCLF9_ROW_BYTES);
    const char *newer = former ? b->former_mbis[former - 1] : b->mbi;
    bool oldest = former + 1 == b->former_mbi_count;
    row[0] = 'M';
    field_put(row, 2, 12, slice_make(newer, MBI_SIZE));
    field_put(row, 13, 23, slice_make(b->former_mbis[former], MBI_SIZE));
    /* The first MBIs were given in April of 2018. */
    field_put_day(row, 24, oldest ? day_from_date(2018, 4, 1) : b->former_until[former + 1]);
    field_put_day(row, 34, b->former_until[former]);
    roster->cross_reference_count++;
}

void roster_add(struct roster *roster, const struct beneficiary *beneficiary)
{
    demographics_add(roster, beneficiary);
    for (uint32_t i = 0; i < beneficiary->former_mbi_count; i++)
        cross_reference_add(roster, beneficiary, i);
}

static void summary_row(struct buffer *out, const char *file, const char *description, uint32_t count,
                        uint32_t length)
{
    char *row = row_begin(out, CCLF0_ROW_BYTES);
    field_put(row, 1, 7, slice_from_text(file));
    row[8 - 1] = row[52 - 1] = row[64 - 1] = '|';
    field_put(row, 9, 51, slice_from_text(description));
    for (int at = 63; at >= 53 && (count || at == 63); at--, count /= 10)
        row[at - 1] = (char)('0' + count % 10);
    for (int at = 69; at >= 65 && length; at--, length /= 10)
        row[at - 1] = (char)('0' + length % 10);
}

void roster_summary_append(struct buffer *out, const struct roster *roster)
{
    buffer_append_text(out, "File Number  |File Description    |Total Records Count |Record Length\n");
    summary_row(out, "CCLF8", "Beneficiary Demographics File", roster->row_count, CCLF8_ROW_BYTES);
    summary_row(out, "CCLF9", "BENE XREF File", roster->cross_reference_count, CCLF9_ROW_BYTES);
}

/* Y26.D260101.T0000000: performance year, date, time of day. */
static void name_end(struct buffer *out, int32_t day)
{
    struct date date = date_from_day(day);
    uint64_t year = (uint64_t)date.year % 100;
    JSON(out, "Y");
    json_digits(out, year, 2);
    JSON(out, ".D");
    json_digits(out, year * 10000 + (uint64_t)date.month * 100 + (uint64_t)date.day, 6);
    JSON(out, ".T0000000");
}

void roster_name_append(struct buffer *out, const struct roster *roster)
{
    JSON(out, "P.BCD.");
    buffer_append_slice(out, roster->aco);
    JSON(out, ".ZC");
    name_end(out, roster->day);
}

static void inner_name_append(struct buffer *out, const struct roster *roster, char file)
{
    const struct aco_form *form = aco_form_find(roster->aco);
    JSON(out, "P.");
    buffer_append_text(out, form->before);
    buffer_append_slice(out, roster->aco);
    buffer_append_text(out, form->after);
    JSON(out, ".ZC");
    buffer_append_char(out, file);
    name_end(out, roster->day);
}

/*
 * The time is given in the zip's own form: libzip would turn a time_t into it by the machine's time zone.
 * Noon, because it converts the value back and forth by that zone, and noon exists on every day in all.
 */
static bool member_add(zip_t *archive, const struct roster *roster, char file, struct slice content)
{
    struct date date = date_from_day(roster->day);
    zip_uint16_t dos_date = (zip_uint16_t)((date.year - 1980) << 9 | date.month << 5 | date.day);
    zip_uint16_t dos_noon = 12 << 11;
    struct buffer name = BUFFER_INIT;
    inner_name_append(&name, roster, file);
    zip_source_t *source = zip_source_buffer(archive, content.data ? content.data : "", content.size, 0);
    zip_int64_t index = -1;
    if (source) {
        index = zip_file_add(archive, buffer_text(&name), source, 0);
        if (index < 0)
            zip_source_free(source);
    }
    buffer_release(&name);
    return index >= 0 && zip_file_set_dostime(archive, (zip_uint64_t)index, dos_noon, dos_date, 0) == 0 &&
           zip_set_file_compression(archive, (zip_uint64_t)index, ZIP_CM_DEFLATE, 6) == 0;
}

enum status roster_write(const struct roster *roster, const char *directory, struct error *error)
{
    enum status status = STATUS_OK;
    struct buffer path = BUFFER_INIT;
    struct buffer summary = BUFFER_INIT;
    buffer_append_text(&path, directory);
    JSON(&path, "/");
    roster_name_append(&path, roster);
    roster_summary_append(&summary, roster);

    int code = 0;
    zip_t *archive = zip_open(buffer_text(&path), ZIP_CREATE | ZIP_EXCL, &code);
    if (!archive) {
        zip_error_t detail;
        zip_error_init_with_code(&detail, code);
        status = error_set(error, STATUS_IO, "cannot make %s: %s", buffer_text(&path),
                           zip_error_strerror(&detail));
        zip_error_fini(&detail);
        goto done;
    }
    /* Nothing is written before zip_close, which therefore reports a full disk. */
    bool added = member_add(archive, roster, '0', buffer_slice(&summary)) &&
                 member_add(archive, roster, '8', buffer_slice(&roster->demographics)) &&
                 member_add(archive, roster, '9', buffer_slice(&roster->cross_references));
    if (!added || zip_close(archive)) {
        status =
            error_set(error, STATUS_IO, "cannot write %s: %s", buffer_text(&path), zip_strerror(archive));
        zip_discard(archive);
    }
done:
    buffer_release(&path);
    buffer_release(&summary);
    return status;
}
