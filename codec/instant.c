#include "codec/instant.h"

#include "codec/base/check.h"
#include "codec/base/clock.h"
#include "codec/utf8.h"

#include <stdio.h>

#define SECONDS_PER_DAY INT64_C(86400)
#define US_PER_DAY      (SECONDS_PER_DAY * US_PER_SECOND)
#define FRACTION_DIGITS 6 /* microseconds */

/* A date or dateTime as it is written. */
struct written_time {
    int year;
    unsigned month; /* 1 if absent */
    unsigned day;
    bool has_time;
    bool has_more; /* digits other than 0 beyond the microseconds */
    int64_t time_of_day_us;
    int zone_minutes; /* east of UTC */
};

struct cursor {
    const char *at;
    const char *end;
};

static struct cursor cursor_make(struct slice text)
{
    const char *begin = text.size ? text.data : "";
    return (struct cursor){begin, begin + text.size};
}

static bool cursor_is_at_end(const struct cursor *cursor)
{
    return cursor->at == cursor->end;
}

static bool cursor_take_char(struct cursor *cursor, char c)
{
    if (cursor_is_at_end(cursor) || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static bool cursor_take_text(struct cursor *cursor, const char *text)
{
    size_t size = strlen(text);
    if ((size_t)(cursor->end - cursor->at) < size || memcmp(cursor->at, text, size) != 0)
        return false;
    cursor->at += size;
    return true;
}

/* Exactly `count` digits that give a number from `min` to `max`. */
static bool cursor_take_number(struct cursor *cursor, int count, unsigned min, unsigned max,
                               unsigned *ret_number)
{
    unsigned number = 0;
    if (cursor->end - cursor->at < count)
        return false;
    for (int i = 0; i < count; i++) {
        char c = cursor->at[i];
        if (c < '0' || c > '9')
            return false;
        number = number * 10 + (unsigned)(c - '0');
    }
    if (number < min || number > max)
        return false;
    cursor->at += count;
    *ret_number = number;
    return true;
}

static unsigned days_of_month(int year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* The parsers below return what is wrong, or NULL. */

static const char *take_time_of_day(struct cursor *cursor, struct written_time *written)
{
    unsigned hour, minute, second;
    if (!cursor_take_number(cursor, 2, 0, 23, &hour))
        return "the hour must be 00 to 23";
    if (!cursor_take_char(cursor, ':') || !cursor_take_number(cursor, 2, 0, 59, &minute))
        return "the minute must be 00 to 59";
    if (!cursor_take_char(cursor, ':') || !cursor_take_number(cursor, 2, 0, 59, &second))
        return "the seconds are missing or not 00 to 59";
    int64_t fraction_us = 0;
    if (cursor_take_char(cursor, '.')) {
        int digits = 0;
        for (; !cursor_is_at_end(cursor) && *cursor->at >= '0' && *cursor->at <= '9'; cursor->at++) {
            if (digits == FRACTION_DIGITS) {
                written->has_more |= *cursor->at != '0';
                continue;
            }
            fraction_us = fraction_us * 10 + (*cursor->at - '0');
            digits++;
        }
        if (digits == 0)
            return "a digit must follow the decimal point";
        for (; digits < FRACTION_DIGITS; digits++)
            fraction_us *= 10;
    }
    written->has_time = true;
    written->time_of_day_us = (int64_t)(hour * 3600 + minute * 60 + second) * US_PER_SECOND + fraction_us;
    return NULL;
}

static const char *take_zone(struct cursor *cursor, bool space_is_plus, struct written_time *written)
{
    if (cursor_take_char(cursor, 'Z'))
        return NULL;
    int sign = -1;
    if (!cursor_take_char(cursor, '-')) {
        sign = 1;
        if (!cursor_take_char(cursor, '+') && !(space_is_plus && cursor_take_char(cursor, ' ')))
            return "the zone is missing (Z, +hh:mm or -hh:mm)";
    }
    unsigned hours, minutes;
    if (!cursor_take_number(cursor, 2, 0, 14, &hours) || !cursor_take_char(cursor, ':') ||
        !cursor_take_number(cursor, 2, 0, hours == 14 ? 0 : 59, &minutes))
        return "the zone must be -14:00 to +14:00";
    written->zone_minutes = sign * (int)(hours * 60 + minutes);
    return NULL;
}

/* The whole text: YYYY, YYYY-MM, YYYY-MM-DD or a date with time and zone. */
static const char *written_parse(struct slice text, bool space_is_plus, struct written_time *ret_written)
{
    struct written_time written = {.month = 1, .day = 1};
    struct cursor cursor = cursor_make(text);
    unsigned year;
    if (!cursor_take_number(&cursor, 4, 1, 9999, &year))
        return "it must begin with a year from 0001 to 9999";
    written.year = (int)year;
    const char *problem = NULL;
    if (cursor_is_at_end(&cursor))
        goto done;
    if (!cursor_take_char(&cursor, '-') || !cursor_take_number(&cursor, 2, 1, 12, &written.month))
        return "the month must be 01 to 12, behind a hyphen";
    if (cursor_is_at_end(&cursor))
        goto done;
    if (!cursor_take_char(&cursor, '-') ||
        !cursor_take_number(&cursor, 2, 1, days_of_month(written.year, written.month), &written.day))
        return "there is no such day in that month";
    if (cursor_is_at_end(&cursor))
        goto done;
    if (!cursor_take_char(&cursor, 'T'))
        return "a T must stand between date and time";
    problem = take_time_of_day(&cursor, &written);
    if (!problem)
        problem = take_zone(&cursor, space_is_plus, &written);
    if (!problem && !cursor_is_at_end(&cursor))
        problem = "something follows the zone";
done:
    if (!problem)
        *ret_written = written;
    return problem;
}

int32_t day_from_civil(int year, unsigned month, unsigned day)
{
    /* Years that begin in March have the leap day at their end; 400 of them have always the same length.
     * (Howard Hinnant, chrono-compatible low-level date algorithms, days_from_civil) */
    int y = month <= 2 ? year - 1 : year;
    int era = (y >= 0 ? y : y - 399) / 400;
    int year_of_era = y - era * 400;
    int month_from_march = (int)month + (month > 2 ? -3 : 9);
    int day_of_year = (153 * month_from_march + 2) / 5 + (int)day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void civil_from_day(int32_t days, int *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    int z = days + 719468;
    int era = (z >= 0 ? z : z - 146096) / 146097;
    int day_of_era = z - era * 146097;
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    *ret_day = (unsigned)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    *ret_month = (unsigned)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2 ? 1 : 0);
}

static const char *written_to_us(const struct written_time *written, bool round_up, int64_t *ret_us)
{
    int64_t us = day_from_civil(written->year, written->month, written->day) * US_PER_DAY +
                 written->time_of_day_us - written->zone_minutes * 60 * US_PER_SECOND;
    if (round_up && written->has_more)
        us++;
    if (us < INSTANT_MIN_US || us > INSTANT_MAX_US)
        return "in UTC it is outside of the years 0001 to 9999";
    *ret_us = us;
    return NULL;
}

static enum status fail_as(struct slice text, const char *kind, const char *problem, struct error *error)
{
    char excerpt[UTF8_EXCERPT_SIZE];
    return error_set(error, STATUS_INVALID, "\"%s\" is not %s: %s", utf8_excerpt(text, excerpt), kind,
                     problem);
}

enum status instant_parse(struct slice text, int64_t *ret_us, struct error *error)
{
    struct written_time written;
    const char *problem = written_parse(text, false, &written);
    if (!problem && !written.has_time)
        problem = "time and zone are missing";
    if (!problem)
        problem = written_to_us(&written, true, ret_us);
    return problem ? fail_as(text, "a FHIR instant", problem, error) : STATUS_OK;
}

enum status datetime_parse_since(struct slice text, int64_t *ret_us, struct error *error)
{
    struct written_time written;
    const char *problem = written_parse(text, true, &written);
    if (!problem)
        problem = written_to_us(&written, false, ret_us);
    return problem ? fail_as(text, "a FHIR instant or dateTime", problem, error) : STATUS_OK;
}

enum status date_parse_days(struct slice text, int32_t *ret_days, struct error *error)
{
    struct written_time written;
    const char *problem = written_parse(text, false, &written);
    if (problem)
        return fail_as(text, "a FHIR date or dateTime", problem, error);
    *ret_days = day_from_civil(written.year, written.month, written.day);
    return STATUS_OK;
}

/* An instant taken apart, UTC. */
struct civil_time {
    int year;
    unsigned month;
    unsigned day;
    unsigned hour;
    unsigned minute;
    unsigned second;
    unsigned us;
    unsigned weekday; /* 0: Sunday */
};

static struct civil_time civil_from_us(int64_t us)
{
    CHECK(us >= INSTANT_MIN_US && us <= INSTANT_MAX_US);
    int64_t since_min_us = us - INSTANT_MIN_US;
    int32_t day_since_min = (int32_t)(since_min_us / US_PER_DAY);
    int64_t of_day_us = since_min_us % US_PER_DAY;
    unsigned of_day = (unsigned)(of_day_us / US_PER_SECOND);
    struct civil_time civil = {
        .hour = of_day / 3600,
        .minute = of_day / 60 % 60,
        .second = of_day % 60,
        .us = (unsigned)(of_day_us % US_PER_SECOND),
        .weekday = (unsigned)(day_since_min + 1) % 7, /* 0001-01-01 was a Monday */
    };
    civil_from_day(day_since_min + (int32_t)(INSTANT_MIN_US / US_PER_DAY), &civil.year, &civil.month,
                   &civil.day);
    return civil;
}

static char *put_digits(char *at, unsigned number, int count)
{
    for (int i = count; i-- > 0; number /= 10)
        at[i] = (char)('0' + number % 10);
    return at + count;
}

static char *put_text(char *at, const char *text)
{
    size_t size = strlen(text);
    memcpy(at, text, size);
    return at + size;
}

static char *put_time_of_day(char *at, const struct civil_time *civil)
{
    at = put_digits(at, civil->hour, 2);
    *at++ = ':';
    at = put_digits(at, civil->minute, 2);
    *at++ = ':';
    return put_digits(at, civil->second, 2);
}

/* Up to the decimal point. */
static char *put_seconds(char *at, const struct civil_time *civil)
{
    at = put_digits(at, (unsigned)civil->year, 4);
    *at++ = '-';
    at = put_digits(at, civil->month, 2);
    *at++ = '-';
    at = put_digits(at, civil->day, 2);
    *at++ = 'T';
    at = put_time_of_day(at, civil);
    *at++ = '.';
    return at;
}

static size_t put_end(char *at, const char *text)
{
    *at = '\0';
    return (size_t)(at - text);
}

size_t instant_format(int64_t us, char text[INSTANT_TEXT_SIZE])
{
    struct civil_time civil = civil_from_us(us);
    char *at = put_seconds(text, &civil);
    at = put_digits(at, civil.us, 6);
    *at++ = 'Z';
    return put_end(at, text);
}

size_t instant_format_meta(int64_t us, char text[INSTANT_TEXT_SIZE])
{
    struct civil_time civil = civil_from_us(us);
    char *at = put_seconds(text, &civil);
    at = civil.us % 1000 == 0 ? put_digits(at, civil.us / 1000, 3) : put_digits(at, civil.us, 6);
    at = put_text(at, "+00:00");
    return put_end(at, text);
}

static const char *const weekday_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                            "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

size_t http_date_format(int64_t us, char text[INSTANT_TEXT_SIZE])
{
    struct civil_time civil = civil_from_us(us);
    memcpy(text, weekday_names[civil.weekday], 3);
    char *at = put_text(text + 3, ", ");
    at = put_digits(at, civil.day, 2);
    *at++ = ' ';
    at = put_text(at, month_names[civil.month - 1]);
    *at++ = ' ';
    at = put_digits(at, (unsigned)civil.year, 4);
    *at++ = ' ';
    at = put_time_of_day(at, &civil);
    at = put_text(at, " GMT");
    return put_end(at, text);
}

static bool take_month_name(struct cursor *cursor, unsigned *ret_month)
{
    for (unsigned i = 0; i < 12; i++)
        if (cursor_take_text(cursor, month_names[i])) {
            *ret_month = i + 1;
            return true;
        }
    return false;
}

static bool take_clock(struct cursor *cursor, int64_t *ret_seconds)
{
    unsigned hour, minute, second;
    if (!cursor_take_number(cursor, 2, 0, 23, &hour) || !cursor_take_char(cursor, ':') ||
        !cursor_take_number(cursor, 2, 0, 59, &minute) || !cursor_take_char(cursor, ':') ||
        !cursor_take_number(cursor, 2, 0, 59, &second))
        return false;
    *ret_seconds = hour * 3600 + minute * 60 + second;
    return true;
}

/* RFC 9110 section 5.6.7: a two-digit year that seems more than 50 years ahead is the latest such year that
 * is past. */
static unsigned year_from_two_digits(unsigned digits)
{
    struct civil_time now = civil_from_us(clock_now_us());
    unsigned this_year = (unsigned)now.year;
    unsigned year = this_year - this_year % 100 + digits;
    return year > this_year + 50 ? year - 100 : year;
}

/* Sun, 06 Nov 1994 08:49:37 GMT, behind the weekday's name */
static bool take_imf_fixdate(struct cursor *cursor, unsigned *year, unsigned *month, unsigned *day,
                             int64_t *seconds)
{
    return cursor_take_text(cursor, ", ") && cursor_take_number(cursor, 2, 1, 31, day) &&
           cursor_take_char(cursor, ' ') && take_month_name(cursor, month) && cursor_take_char(cursor, ' ') &&
           cursor_take_number(cursor, 4, 1, 9999, year) && cursor_take_char(cursor, ' ') &&
           take_clock(cursor, seconds) && cursor_take_text(cursor, " GMT");
}

/* Sunday, 06-Nov-94 08:49:37 GMT */
static bool take_rfc850_date(struct cursor *cursor, unsigned *year, unsigned *month, unsigned *day,
                             int64_t *seconds)
{
    unsigned digits;
    if (!(cursor_take_text(cursor, ", ") && cursor_take_number(cursor, 2, 1, 31, day) &&
          cursor_take_char(cursor, '-') && take_month_name(cursor, month) && cursor_take_char(cursor, '-') &&
          cursor_take_number(cursor, 2, 0, 99, &digits) && cursor_take_char(cursor, ' ') &&
          take_clock(cursor, seconds) && cursor_take_text(cursor, " GMT")))
        return false;
    *year = year_from_two_digits(digits);
    return true;
}

/* Sun Nov  6 08:49:37 1994 */
static bool take_asctime_date(struct cursor *cursor, unsigned *year, unsigned *month, unsigned *day,
                              int64_t *seconds)
{
    if (!cursor_take_char(cursor, ' ') || !take_month_name(cursor, month) || !cursor_take_char(cursor, ' '))
        return false;
    int digits = cursor_take_char(cursor, ' ') ? 1 : 2;
    return cursor_take_number(cursor, digits, 1, 31, day) && cursor_take_char(cursor, ' ') &&
           take_clock(cursor, seconds) && cursor_take_char(cursor, ' ') &&
           cursor_take_number(cursor, 4, 1, 9999, year);
}

enum status http_date_parse(struct slice text, int64_t *ret_us, struct error *error)
{
    unsigned year = 0, month = 0, day = 0;
    int64_t seconds = 0;
    bool taken = false;
    for (size_t i = 0; i < 7 && !taken; i++) {
        char short_name[4] = "";
        memcpy(short_name, weekday_names[i], 3);
        struct cursor rfc850 = cursor_make(text);
        struct cursor others = rfc850;
        if (cursor_take_text(&rfc850, weekday_names[i]))
            taken = take_rfc850_date(&rfc850, &year, &month, &day, &seconds) && cursor_is_at_end(&rfc850);
        else if (cursor_take_text(&others, short_name))
            taken = (cursor_is_at_end(&others) || *others.at != ','
                         ? take_asctime_date(&others, &year, &month, &day, &seconds)
                         : take_imf_fixdate(&others, &year, &month, &day, &seconds)) &&
                    cursor_is_at_end(&others);
    }
    if (!taken || day > days_of_month((int)year, month))
        return fail_as(text, "an HTTP date", "the form is \"Sun, 06 Nov 1994 08:49:37 GMT\"", error);
    *ret_us = (day_from_civil((int)year, month, day) * SECONDS_PER_DAY + seconds) * US_PER_SECOND;
    return STATUS_OK;
}
