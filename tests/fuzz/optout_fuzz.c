/*
 * Opt-out names and files, line by line. What passes keeps what the header promises: rows with an identifier,
 * a preference with a date or neither, counts that are the counts of rows, a text for every refusal.
 */
#include "codec/optout.h"

#include "codec/base/check.h"
#include "codec/instant.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice left = slice_make(data, size);
    struct error error = {0};

    struct optout_name name;
    enum status status = optout_name_parse(left, &name, &error);
    CHECK(status == STATUS_OK || (status == STATUS_INVALID && error.text[0]));
    if (status == STATUS_OK)
        CHECK(name.at_us >= INT64_C(946684800000000) && name.at_us < INT64_C(4102444800000000)); /* 20yy */

    struct optout_reader reader;
    optout_reader_init(&reader);
    uint64_t rows = 0, preferences = 0, number = 0;
    error.text[0] = '\0';
    status = STATUS_OK;
    while (status == STATUS_OK && left.size) {
        const char *end = memchr(left.data, '\n', left.size);
        struct slice line = slice_make(left.data, end ? (size_t)(end - left.data) : left.size);
        struct optout_row row;
        bool is_row;
        left = slice_skip(left, line.size + 1);
        status = optout_read_line(&reader, ++number, line, &row, &is_row, &error);
        CHECK(status == STATUS_OK || (status == STATUS_INVALID && error.text[0] && !is_row));
        if (!is_row)
            continue;
        rows++;
        preferences += row.preference != ' ';
        CHECK(row.mbi.size > 0 && row.mbi.size <= MBI_SIZE_MAX);
        CHECK(!memchr(row.mbi.data, '\0', row.mbi.size) && !memchr(row.mbi.data, ' ', row.mbi.size));
        CHECK(row.preference == 'Y' || row.preference == 'N' || row.preference == ' ');
        CHECK((row.preference == ' ') == (row.effective_day == DAY_NONE));
    }
    if (status == STATUS_OK) {
        status = optout_read_end(&reader, &error);
        CHECK(status == STATUS_OK || (status == STATUS_INVALID && error.text[0]));
        CHECK(reader.rows == rows && reader.preferences == preferences && reader.foreign <= rows);
    }
    return 0;
}
