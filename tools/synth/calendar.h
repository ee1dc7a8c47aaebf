/*
 * Days and load instants. A day counts from 1970-01-01. An instant is a day and a millisecond of it on the
 * clocks of the source's servers, which stand in US Eastern time: its offset is written as -05:00 or -04:00
 * by that day's season, never from the machine's own time zone.
 *
 * Threading: plain values; no shared state.
 */
#ifndef TOOLS_SYNTH_CALENDAR_H
#define TOOLS_SYNTH_CALENDAR_H

#include "codec/base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct date {
    int32_t year;
    int32_t month; /* 1..12 */
    int32_t day;   /* 1..31 */
};

struct instant {
    int32_t day;
    int32_t millisecond; /* of the day */
};

#define MS_PER_DAY 86400000

int32_t day_from_date(int32_t year, int32_t month, int32_t day);
struct date date_from_day(int32_t day);
/* 0 is Sunday. */
int32_t day_weekday(int32_t day);
/* The first day of that weekday at or after `day`. */
int32_t day_at_or_after(int32_t day, int32_t weekday);
/* False from the second Sunday of March to the first of November. */
bool day_is_standard_time(int32_t day);

/* Writes 2025-03-01. */
void date_append(struct buffer *out, int32_t day);
/* Writes 2025-03-01T00:00:00-05:00. */
void date_append_midnight(struct buffer *out, int32_t day);
/* Writes 2025-03-01T02:13:05.123-05:00, or the constant of the time before 2020 (see instant_of_load). */
void instant_append(struct buffer *out, struct instant instant);

/*
 * What a load that took place on `day` stamps. The source began to record lastUpdated in 2020 and gave all
 * that it held already one constant, 2020-01-01T00:00:00.000+00:00.
 */
struct instant instant_of_load(int32_t day, int32_t millisecond);

#endif
