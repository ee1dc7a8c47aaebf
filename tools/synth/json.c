#include "tools/synth/json.h"

const struct code code_absent = {{NULL, 0}, {NULL, 0}};

void json_digits(struct buffer *out, uint64_t value, int count)
{
    char *digits = buffer_extend(out, (size_t)count);
    for (int i = count - 1; i >= 0; i--) {
        digits[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void json_integer(struct buffer *out, int64_t value)
{
    uint64_t rest = value < 0 ? UINT64_C(0) - (uint64_t)value : (uint64_t)value;
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        buffer_append_char(out, '-');
    buffer_append(out, digits + at, sizeof digits - at);
}

void json_hundredths(struct buffer *out, int64_t hundredths)
{
    if (hundredths < 0) {
        buffer_append_char(out, '-');
        hundredths = -hundredths;
    }
    json_integer(out, hundredths / 100);
    int64_t rest = hundredths % 100;
    if (rest) {
        buffer_append_char(out, '.');
        buffer_append_char(out, (char)('0' + rest / 10));
        if (rest % 10)
            buffer_append_char(out, (char)('0' + rest % 10));
    }
}

void json_money(struct buffer *out, int64_t cents)
{
    JSON(out, "{\"code\":\"USD\",\"system\":\"urn:iso:std:iso:4217\",\"value\":");
    json_hundredths(out, cents);
    JSON(out, "}");
}

void json_coding(struct buffer *out, struct code code, struct slice system)
{
    JSON(out, "{");
    if (code.value.size) {
        JSON(out, "\"code\":\"");
        buffer_append_slice(out, code.value);
        JSON(out, "\",");
    }
    if (code.display.size) {
        JSON(out, "\"display\":\"");
        buffer_append_slice(out, code.display);
        JSON(out, "\",");
    }
    JSON(out, "\"system\":\"");
    buffer_append_slice(out, system);
    JSON(out, "\"}");
}

void json_concept(struct buffer *out, struct code code, struct slice system)
{
    JSON(out, "{\"coding\":[");
    json_coding(out, code, system);
    JSON(out, "]}");
}

static void extension_open(struct buffer *out, const struct field *field)
{
    json_next(out);
    JSON(out, "{\"url\":\"");
    buffer_append_slice(out, field->url);
}

void extension_money(struct buffer *out, const struct field *field, int64_t cents)
{
    extension_open(out, field);
    JSON(out, "\",\"valueMoney\":");
    json_money(out, cents);
    JSON(out, "}");
}

void extension_code(struct buffer *out, const struct field *field, struct code code)
{
    extension_open(out, field);
    JSON(out, "\",\"valueCoding\":");
    json_coding(out, code, field->url);
    JSON(out, "}");
}

void extension_identifier(struct buffer *out, const struct field *field, struct slice value)
{
    extension_open(out, field);
    JSON(out, "\",\"valueIdentifier\":{\"system\":\"");
    buffer_append_slice(out, field->url);
    JSON(out, "\",\"value\":\"");
    buffer_append_slice(out, value);
    JSON(out, "\"}}");
}

void extension_number(struct buffer *out, const struct field *field, uint64_t value, int digit_count)
{
    char digits[20];
    for (int i = digit_count - 1; i >= 0; i--, value /= 10)
        digits[i] = (char)('0' + value % 10);
    extension_identifier(out, field, slice_make(digits, (size_t)digit_count));
}

void extension_quantity(struct buffer *out, const struct field *field, int64_t hundredths)
{
    extension_open(out, field);
    JSON(out, "\",\"valueQuantity\":{\"value\":");
    json_hundredths(out, hundredths);
    JSON(out, "}}");
}
