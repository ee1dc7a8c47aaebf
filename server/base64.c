#include "server/base64.h"

static int base64_digit(enum base64_form form, char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (form == BASE64_FORM_URL ? '-' : '+'))
        return 62;
    return c == (form == BASE64_FORM_URL ? '_' : '/') ? 63 : -1;
}

bool base64_decode(enum base64_form form, struct slice text, char *target, struct slice *ret_bytes)
{
    if (form == BASE64_FORM_PADDED) {
        if (text.size % 4 != 0)
            return false;
        for (int i = 0; i < 2 && text.size && text.data[text.size - 1] == '='; i++)
            text.size--;
    }
    if (text.size % 4 == 1)
        return false;
    unsigned bits = 0, held = 0;
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        int digit = base64_digit(form, text.data[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (unsigned)digit;
        held += 6;
        if (held >= 8) {
            held -= 8;
            target[size++] = (char)(bits >> held);
            bits &= (1U << held) - 1;
        }
    }
    if (bits)
        return false;
    *ret_bytes = slice_make(target, size);
    return true;
}
