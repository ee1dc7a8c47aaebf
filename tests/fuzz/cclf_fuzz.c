/*
 * CCLF names and files. What passes keeps what the header promises: ids and MBIs of the patterns, a count of
 * rows that is the count of calls, a text for every refusal.
 */
#include "codec/cclf.h"

#include "codec/base/check.h"
#include "codec/instant.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status count_row(void *context, struct slice mbi, struct error *error)
{
    (void)error;
    CHECK(mbi.size == MBI_SIZE_MAX && mbi_is_valid(mbi));
    ++*(uint64_t *)context;
    return STATUS_OK;
}

static enum status count_listed(void *context, struct slice mbi, struct error *error)
{
    (void)error;
    CHECK(mbi.size > 0 && mbi.size <= MBI_SIZE_MAX && !memchr(mbi.data, '\0', mbi.size));
    ++*(uint64_t *)context;
    return STATUS_OK;
}

static enum status count_link(void *context, struct slice current, struct slice previous, struct error *error)
{
    (void)error;
    CHECK(mbi_is_valid(current) && mbi_is_valid(previous));
    ++*(uint64_t *)context;
    return STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_make(data, size);
    struct error error = {0};

    struct cclf_name name;
    enum status status = cclf_name_parse(input, &name, &error);
    CHECK(status == STATUS_OK || (status == STATUS_INVALID && error.text[0]));
    if (status == STATUS_OK) {
        CHECK(name.aco[0] == '\0' || aco_id_is_valid(slice_from_text(name.aco)));
        CHECK(name.at_us >= INT64_C(946684800000000) && name.at_us < INT64_C(4102444800000000)); /* 20yy */
        CHECK(name.performance_year <= 99 && name.part <= 99);
    }

    error.text[0] = '\0';
    uint64_t count;
    uint32_t record_bytes = CCLF8_RECORD_BYTES;
    status = cclf0_parse(input, &count, &record_bytes, &error);
    CHECK(status == STATUS_OK || (status == STATUS_INVALID && error.text[0]));
    CHECK(record_bytes >= MBI_SIZE_MAX && record_bytes <= CCLF_RECORD_BYTES_MAX);

    error.text[0] = '\0';
    uint64_t calls = 0;
    uint64_t rows = 0;
    status = cclf8_parse(input, record_bytes, count_row, &calls, &rows, &error);
    CHECK(status == STATUS_OK ? rows == calls : (status == STATUS_INVALID && error.text[0]));

    error.text[0] = '\0';
    calls = 0;
    status = cclf9_parse(input, record_bytes, count_link, &calls, &rows, &error);
    CHECK(status == STATUS_OK ? rows >= calls : (status == STATUS_INVALID && error.text[0]));

    error.text[0] = '\0';
    calls = 0;
    status = csv_roster_parse(input, count_listed, &calls, &rows, &error);
    CHECK(status == STATUS_OK ? rows == calls : (status == STATUS_INVALID && error.text[0]));
    return 0;
}
