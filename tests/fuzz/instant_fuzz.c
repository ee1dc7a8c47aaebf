/*
 * Instants, dates and HTTP dates: what is accepted lies in the range, and comes back the same from each form
 * it is written in; the three parsers agree with each other.
 */
#include "codec/instant.h"

#include "codec/base/bytes.h"
#include "codec/base/check.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trips(int64_t us)
{
    CHECK(us >= INSTANT_MIN_US && us <= INSTANT_MAX_US);
    char text[INSTANT_TEXT_SIZE];
    int64_t back_us = 0;
    size_t size = instant_format(us, text);
    CHECK(size == strlen(text) && size < INSTANT_TEXT_SIZE);
    CHECK(instant_parse(slice_make(text, size), &back_us, NULL) == STATUS_OK && back_us == us);
    CHECK(datetime_parse_since(slice_make(text, size), &back_us, NULL) == STATUS_OK && back_us == us);
    int32_t day;
    CHECK(date_parse_days(slice_make(text, size), &day, NULL) == STATUS_OK);
    CHECK(day * INT64_C(86400000000) <= us && us < (day + 1) * INT64_C(86400000000));
    size = instant_format_meta(us, text);
    CHECK(size == strlen(text) && size < INSTANT_TEXT_SIZE);
    CHECK(instant_parse(slice_make(text, size), &back_us, NULL) == STATUS_OK && back_us == us);
    size = http_date_format(us, text);
    CHECK(size == strlen(text) && size < INSTANT_TEXT_SIZE);
    CHECK(http_date_parse(slice_make(text, size), &back_us, NULL) == STATUS_OK);
    CHECK(back_us <= us && us < back_us + 1000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make(data, size);
    struct error error;
    int64_t instant_us = 0, since_us = 0, http_us = 0;
    int32_t day = 0;
    enum status as_instant = instant_parse(text, &instant_us, &error);
    enum status as_since = datetime_parse_since(text, &since_us, &error);
    enum status as_date = date_parse_days(text, &day, &error);
    CHECK(as_instant == STATUS_OK || as_instant == STATUS_INVALID);
    if (as_instant == STATUS_OK) {
        CHECK(as_since == STATUS_OK && as_date == STATUS_OK);
        CHECK(instant_us == since_us || instant_us == since_us + 1);
        check_round_trips(instant_us);
    }
    if (as_since == STATUS_OK)
        check_round_trips(since_us);
    if (http_date_parse(text, &http_us, &error) == STATUS_OK)
        check_round_trips(http_us);
    if (size >= 8) {
        uint64_t range = (uint64_t)(INSTANT_MAX_US - INSTANT_MIN_US) + 1;
        check_round_trips(INSTANT_MIN_US + (int64_t)(load_u64_le(data) % range));
    }
    return 0;
}
