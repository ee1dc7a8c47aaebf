#include "codec/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Written another way than the code under test: decodes, then asks whether the result may be so encoded. */
static size_t reference_character_size(const unsigned char *at, size_t left)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : at[0] >> 3 == 30 ? 4 : 0;
    if (size == 0 || left < size)
        return 0;
    uint32_t code = size == 1 ? at[0] : at[0] & (0x7Fu >> size);
    for (size_t i = 1; i < size; i++) {
        if (at[i] >> 6 != 2)
            return 0;
        code = code << 6 | (at[i] & 0x3Fu);
    }
    bool allowed = code >= smallest[size] && code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
    return allowed ? size : 0;
}

static size_t reference_valid_size(struct slice text)
{
    size_t at = 0;
    while (at < text.size) {
        size_t size = reference_character_size((const unsigned char *)text.data + at, text.size - at);
        if (size == 0)
            break;
        at += size;
    }
    return at;
}

static void valid_size_agrees_with_a_decoder_on_all_beginnings(void **state)
{
    (void)state;
    /* All first bytes, and all that can matter behind them: the limits of every range in RFC 3629. */
    static const unsigned char tails[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    enum { TAILS = sizeof tails };
    for (unsigned first = 0; first < 256; first++)
        for (unsigned second = 0; second < 256; second++)
            for (unsigned rest = 0; rest < TAILS * TAILS; rest++) {
                unsigned char bytes[4] = {(unsigned char)first, (unsigned char)second, tails[rest / TAILS],
                                          tails[rest % TAILS]};
                for (size_t size = 1; size <= sizeof bytes; size++) {
                    struct slice text = slice_make(bytes, size);
                    if (utf8_valid_size(text) != reference_valid_size(text))
                        fail_msg("%02x %02x %02x %02x, %zu bytes: %zu, expected %zu", bytes[0], bytes[1],
                                 bytes[2], bytes[3], size, utf8_valid_size(text), reference_valid_size(text));
                }
            }
}

static void a_bad_byte_is_found_wherever_it_stands(void **state)
{
    (void)state;
    char text[150];
    for (size_t size = 0; size <= sizeof text; size++) {
        memset(text, 'a', sizeof text);
        assert_int_equal(utf8_valid_size(slice_make(text, size)), size);
        for (size_t bad = 0; bad < size; bad++) {
            text[bad] = (char)0xFF;
            assert_int_equal(utf8_valid_size(slice_make(text, size)), bad);
            text[bad] = 'a';
        }
        for (size_t at = 0; at + 3 <= size; at++) {
            memcpy(text + at, "\xE2\x82\xAC", 3);
            assert_int_equal(utf8_valid_size(slice_make(text, size)), size);
            assert_int_equal(utf8_valid_size(slice_make(text, at + 2)), at);
            memset(text + at, 'a', 3);
        }
    }
    assert_int_equal(utf8_valid_size(slice_make(NULL, 0)), 0);
}

static void excerpt_is_bounded_and_printable(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *excerpt;
    } rows[] = {
        {"", ""},
        {"plain", "plain"},
        {"a\"b\nc\x7F", "a?b?c?"},
        {"\xE2\x82\xAC\xFF", "\xE2\x82\xAC?"},
        {"0123456789012345678901234567890123456789", "0123456789012345678901234567890123456789"},
        {"01234567890123456789012345678901234567890", "0123456789012345678901234567890123456789..."},
        {"012345678901234567890123456789012345678\xE2\x82\xAC", "012345678901234567890123456789012345678..."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char excerpt[UTF8_EXCERPT_SIZE];
        assert_string_equal(utf8_excerpt(slice_from_text(rows[i].text), excerpt), rows[i].excerpt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_size_agrees_with_a_decoder_on_all_beginnings),
        cmocka_unit_test(a_bad_byte_is_found_wherever_it_stands),
        cmocka_unit_test(excerpt_is_bounded_and_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
