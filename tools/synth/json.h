/*
 * Writing minified JSON in the form the source emits: keys in alphabetical order (the caller's duty),
 * numbers in shortest form, `<`, `>` and `&` as \u003c, \u003e and \u0026.
 *
 * All text that reaches these functions is JSON text already: the code lists and names of this folder hold
 * no character that would need an escape, except where they spell it out.
 *
 * Threading: one buffer, one thread.
 */
#ifndef TOOLS_SYNTH_JSON_H
#define TOOLS_SYNTH_JSON_H

#include "codec/base/buffer.h"

#include <stdint.h>

/* A slice of a literal as a constant initialiser (SLICE_LITERAL is an expression). */
#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        "" literal, sizeof(literal) - 1                                                                      \
    }
#define JSON(out, literal) buffer_append((out), "" literal, sizeof(literal) - 1)

#define VARIABLE_URL   "https://bluebutton.cms.gov/resources/variables/"
#define CODESYSTEM_URL "https://bluebutton.cms.gov/resources/codesystem/"
#define IDENTIFIER_URL "https://bluebutton.cms.gov/resources/identifier/"
#define FHIR_URL       "http://hl7.org/fhir/"
#define NPI_URL        FHIR_URL "sid/us-npi"

/* A code and what it means; an empty slice leaves its key out. */
struct code {
    struct slice value;
    struct slice display;
};
#define CODE(value, display)                                                                                 \
    {                                                                                                        \
        TEXT(value), TEXT(display)                                                                           \
    }

/* A variable of the source's data dictionary: the url that names it, and its title. */
struct field {
    struct slice url;
    struct slice title;
};
#define FIELD(name, title) CODE(VARIABLE_URL name, title)

extern const struct code code_absent; /* neither value nor display: the source writes only the system */

/* A comma, unless an array or object has just been opened. */
static inline void json_next(struct buffer *out)
{
    char last = out->data[out->size - 1];
    if (last != '[' && last != '{')
        buffer_append_char(out, ',');
}

void json_integer(struct buffer *out, int64_t value);
/* Hundredths, in shortest form: 1250 gives 12.5. */
void json_hundredths(struct buffer *out, int64_t hundredths);
/* Exactly `count` digits, with leading zeros. */
void json_digits(struct buffer *out, uint64_t value, int count);
void json_money(struct buffer *out, int64_t cents);
/* {"code":..,"display":..,"system":..} */
void json_coding(struct buffer *out, struct code code, struct slice system);
/* {"coding":[..]} */
void json_concept(struct buffer *out, struct code code, struct slice system);

/* Members of an `extension` array; they put the comma themselves. */
void extension_money(struct buffer *out, const struct field *field, int64_t cents);
void extension_code(struct buffer *out, const struct field *field, struct code code);
void extension_identifier(struct buffer *out, const struct field *field, struct slice value);
void extension_number(struct buffer *out, const struct field *field, uint64_t value,
                      int digit_count); /* as text */
void extension_quantity(struct buffer *out, const struct field *field, int64_t hundredths);

#endif
