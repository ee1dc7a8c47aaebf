#include "server/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_decodes(enum base64_form form, const char *text, const char *expected)
{
    char target[BASE64_DECODED_SIZE(64)];
    struct slice bytes;
    assert_true(base64_decode(form, slice_from_text(text), target, &bytes));
    assert_int_equal(bytes.size, strlen(expected));
    assert_memory_equal(bytes.data, expected, bytes.size);
}

static void assert_refused(enum base64_form form, const char *text)
{
    char target[BASE64_DECODED_SIZE(64)];
    struct slice bytes;
    if (base64_decode(form, slice_from_text(text), target, &bytes))
        fail_msg("\"%s\" was taken for %zu bytes", text, bytes.size);
}

/* RFC 4648 section 10. */
static void the_standards_own_examples_decode(void **state)
{
    (void)state;
    static const char *const bytes[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const padded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    static const char *const url[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        assert_decodes(BASE64_FORM_PADDED, padded[i], bytes[i]);
        assert_decodes(BASE64_FORM_URL, url[i], bytes[i]);
    }
    assert_decodes(BASE64_FORM_PADDED, "++//", "\xfb\xef\xff");
    assert_decodes(BASE64_FORM_URL, "--__", "\xfb\xef\xff");
}

static void the_other_forms_alphabet_is_refused(void **state)
{
    (void)state;
    assert_refused(BASE64_FORM_PADDED, "--__");
    assert_refused(BASE64_FORM_URL, "++//");
    assert_refused(BASE64_FORM_URL, "Zg==");
    assert_refused(BASE64_FORM_PADDED, "Zg");
}

static void what_is_not_canonical_is_refused(void **state)
{
    (void)state;
    static const char *const padded[] = {"Z",    "Zg=",  "Z===", "====", "Zg==Zg==", "Zm9v\n",    " Zm9v",
                                         "Zm 9", "Zh==", "Zm9=", "=Zg=", "Zm9vYg=",  "Zm9vYg===", "Zm9\x80"};
    for (size_t i = 0; i < sizeof padded / sizeof *padded; i++)
        assert_refused(BASE64_FORM_PADDED, padded[i]);
    static const char *const url[] = {"Z", "Zh", "Zm9", "Zm9vY", "Zm 9v", "Zm9v."};
    for (size_t i = 0; i < sizeof url / sizeof *url; i++)
        assert_refused(BASE64_FORM_URL, url[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standards_own_examples_decode),
        cmocka_unit_test(the_other_forms_alphabet_is_refused),
        cmocka_unit_test(what_is_not_canonical_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
