/*
 * Base64, strictly (RFC 4648): the alphabet alone, exact padding, and zero in the bits that stand for
 * nothing, so that no two texts mean the same bytes.
 *
 * Threading: pure functions.
 */
#ifndef SERVER_BASE64_H
#define SERVER_BASE64_H

#include "codec/base/slice.h"

enum base64_form {
    BASE64_FORM_PADDED, /* section 4: + and /, padded to four digits */
    BASE64_FORM_URL     /* section 5: - and _, without padding (RFC 7515) */
};

#define BASE64_DECODED_SIZE(text_size) ((text_size) / 4 * 3 + 3)

/* `target` has room for BASE64_DECODED_SIZE(text.size); ret_bytes borrows from it. */
bool base64_decode(enum base64_form form, struct slice text, char *target, struct slice *ret_bytes);

#endif
