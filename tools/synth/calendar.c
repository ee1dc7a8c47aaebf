#include "tools/synth/calendar.h"

#include "codec/base/check.h"

#define DAY_2020 18262 /* 2020-01-01 */

static const struct instant instant_unrecorded = {DAY_2020, -1};

/* Both directions count years from March, so that the leap day is the last of its year. */
int32_t day_from_date(int32_t year, int32_t month, int32_t day)
{
    int32_t march_year = month <= 2 ? year - 1 : year;
    int32_t era = march_year / 400;
    int32_t year_of_era = march_year - era * 400;
    int32_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int32_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

struct date date_from_day(int32_t day)
{
    int32_t z = day + 719468;
    int32_t era = z / 146097;
    int32_t day_of_era = z - era * 146097;
    int32_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int32_t march_month = (5 * day_of_year + 2) / 153;
    int32_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    return (struct date){year_of_era + era * 400 + (month <= 2), month,
                         day_of_year - (153 * march_month + 2) / 5 + 1};
}

int32_t day_weekday(int32_t day)
{
    int32_t weekday = (day + 4) % 7; /* 1970-01-01 was a Thursday */
    return weekday < 0 ? weekday + 7 : weekday;
}

int32_t day_at_or_after(int32_t day, int32_t weekday)
{
    return day + (weekday - day_weekday(day) + 7) % 7;
}

bool day_is_standard_time(int32_t day)
{
    int32_t year = date_from_day(day).year;
    int32_t spring = day_at_or_after(day_from_date(year, 3, 8), 0);
    int32_t autumn = day_at_or_after(day_from_date(year, 11, 1), 0);
    return day < spring || day >= autumn;
}

static char *digits_put(char *at, int32_t value, int32_t count)
{
    for (int32_t i = count - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + count;
}

static char *date_put(char *at, int32_t day)
{
    struct date date = date_from_day(day);
    at = digits_put(at, date.year, 4);
    *at++ = '-';
    at = digits_put(at, date.month, 2);
    *at++ = '-';
    return digits_put(at, date.day, 2);
}

void date_append(struct buffer *out, int32_t day)
{
    date_put(buffer_extend(out, 10), day);
}

static void offset_append(struct buffer *out, int32_t day)
{
    buffer_append(out, day_is_standard_time(day) ? "-05:00" : "-04:00", 6);
}

void date_append_midnight(struct buffer *out, int32_t day)
{
    date_append(out, day);
    buffer_append(out, "T00:00:00", 9);
    offset_append(out, day);
}

void instant_append(struct buffer *out, struct instant instant)
{
    if (instant.millisecond < 0) {
        static const char unrecorded[] = "2020-01-01T00:00:00.000+00:00";
        buffer_append(out, unrecorded, sizeof unrecorded - 1);
        return;
    }
    char *at = date_put(buffer_extend(out, 23), instant.day);
    int32_t second = instant.millisecond / 1000;
    *at++ = 'T';
    at = digits_put(at, second / 3600, 2);
    *at++ = ':';
    at = digits_put(at, second / 60 % 60, 2);
    *at++ = ':';
    at = digits_put(at, second % 60, 2);
    *at++ = '.';
    digits_put(at, instant.millisecond % 1000, 3);
    offset_append(out, instant.day);
}

struct instant instant_of_load(int32_t day, int32_t millisecond)
{
    CHECK(millisecond >= 0 && millisecond < MS_PER_DAY);
    return day < DAY_2020 ? instant_unrecorded : (struct instant){day, millisecond};
}
