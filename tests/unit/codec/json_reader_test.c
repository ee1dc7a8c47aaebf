#include "codec/json_reader.h"

#include "codec/base/buffer.h"
#include "tests/support/json_events.h"
#include "tests/support/shared_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

struct fixture {
    struct json_reader *reader;
    struct buffer log;
    struct buffer text;
    struct error error;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.reader = json_reader_new()};
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    json_reader_free(fixture->reader);
    buffer_release(&fixture->log);
    buffer_release(&fixture->text);
    return 0;
}

static enum status read_text(struct fixture *fixture, struct slice document)
{
    fixture->error = (struct error){.status = STATUS_OK};
    return json_events_read(fixture->reader, document, &fixture->log, &fixture->error);
}

static void assert_accepted(struct fixture *fixture, struct slice document)
{
    if (read_text(fixture, document) != STATUS_OK)
        fail_msg("refused: %.*s: %s", SLICE_PRINT(document), fixture->error.text);
}

static void assert_refused(struct fixture *fixture, struct slice document, enum status status)
{
    enum status got = read_text(fixture, document);
    if (got != status || fixture->error.status != status)
        fail_msg("%.*s: %s (%s), expected %s", (int)(document.size < 200 ? document.size : 200),
                 document.data, status_name(got), fixture->error.text, status_name(status));
}

static void assert_error_begins(struct fixture *fixture, struct slice document, const char *begin)
{
    if (strncmp(fixture->error.text, begin, strlen(begin)) != 0)
        fail_msg("%.*s: \"%s\", expected \"%s...\"", SLICE_PRINT(document), fixture->error.text, begin);
}

static void events_come_in_order_with_depth_and_decoded_text(void **state)
{
    struct fixture *fixture = *state;
    assert_accepted(
        fixture,
        slice_from_text(" {\"a\":[1,-2.50e+3,null,true,false,{}],\r\n\t\"\\u0062\\n\":{\"\":\"x\\\"\\/"
                        "\\u20ac\\ud83d\\ude00\"},\"c\":[]} "));
    assert_string_equal(buffer_text(&fixture->log), "0 object\n"
                                                    "1 key 1:a\n"
                                                    "1 array\n"
                                                    "2 number 1:1\n"
                                                    "2 number 8:-2.50e+3\n"
                                                    "2 null\n"
                                                    "2 true\n"
                                                    "2 false\n"
                                                    "2 object\n"
                                                    "2 object end\n"
                                                    "1 array end\n"
                                                    "1 key 2:b\n\n"
                                                    "1 object\n"
                                                    "2 key 0:\n"
                                                    "2 string 10:x\"/\xE2\x82\xAC\xF0\x9F\x98\x80\n"
                                                    "1 object end\n"
                                                    "1 key 1:c\n"
                                                    "1 array\n"
                                                    "1 array end\n"
                                                    "0 object end\n");
}

static void a_document_may_be_any_value(void **state)
{
    struct fixture *fixture = *state;
    static const char *const rows[][2] = {
        {"0", "0 number 1:0\n"},
        {" 12.5 ", "0 number 4:12.5\n"},
        {"\n-1", "0 number 2:-1\n"},
        {"\"\"", "0 string 0:\n"},
        {"null", "0 null\n"},
        {"\ttrue", "0 true\n"},
        {"false\r\n", "0 false\n"},
        {"[]", "0 array\n0 array end\n"},
        {"{}", "0 object\n0 object end\n"},
        {"\"\\u0000\"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_accepted(fixture, slice_from_text(rows[i][0]));
        if (rows[i][1])
            assert_string_equal(buffer_text(&fixture->log), rows[i][1]);
    }
    assert_int_equal(fixture->log.size, sizeof "0 string 1:?\n" - 1);
    assert_memory_equal(fixture->log.data, "0 string 1:\0\n", fixture->log.size);
}

static void numbers_keep_their_text(void **state)
{
    struct fixture *fixture = *state;
    static const char *const numbers[] = {
        "0.00",
        "-0",
        "777.00",
        "1E5",
        "1e-999",
        "1e999",
        "9223372036854775808",
        "-9223372036854775809",
        "0.1000000000000000055511151231257827021181583404541015625",
        "123456789012345678901234567890.5e+10",
    };
    static const char *const shapes[][3] = {
        {"", "", "0"}, {" ", "\n", "0"}, {"[", "]", "1"}, {"[", " ,0]", "1"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++) {
            char expected[128];
            snprintf(expected, sizeof expected, "%s number %zu:%s\n", shapes[shape][2], strlen(numbers[i]),
                     numbers[i]);
            buffer_reset(&fixture->text);
            buffer_appendf(&fixture->text, "%s%s%s", shapes[shape][0], numbers[i], shapes[shape][1]);
            assert_accepted(fixture, buffer_slice(&fixture->text));
            assert_non_null(strstr(buffer_text(&fixture->log), expected));
        }
}

struct token_log {
    struct json_reader *reader;
    struct slice document;
    struct buffer tokens;
    size_t borrowed;
};

static enum status log_token(void *context, enum json_event event, struct slice text, unsigned depth,
                             struct error *error)
{
    (void)depth;
    (void)error;
    struct token_log *log = context;
    struct slice token = json_reader_token(log->reader);
    assert_true(token.data >= log->document.data);
    assert_true(token.data + token.size <= log->document.data + log->document.size);
    if (event == JSON_EVENT_STRING || event == JSON_EVENT_KEY) {
        bool escaped = memchr(token.data, '\\', token.size) != NULL;
        bool borrowed = text.data == token.data + 1;
        assert_int_equal(borrowed, !escaped);
        log->borrowed += borrowed;
    } else {
        assert_ptr_equal(text.data, token.data);
        assert_int_equal(text.size, token.size);
    }
    buffer_append_slice(&log->tokens, token);
    buffer_append_char(&log->tokens, '|');
    return STATUS_OK;
}

static void tokens_are_the_bytes_of_the_document(void **state)
{
    struct fixture *fixture = *state;
    static const char *const rows[][2] = {
        {"{ \"a\" : \"b\\n\" , \"\\u0063\":[ 1 , 2.0 , true,false , null ] , \"d\":{} }",
         "{|\"a\"|\"b\\n\"|\"\\u0063\"|[|1|2.0|true|false|null|]|\"d\"|{|}|}|"},
        {"{\"a\":\"b\\n\",\"\\u0063\":[1,2.0,true,false,null],\"d\":{}}",
         "{|\"a\"|\"b\\n\"|\"\\u0063\"|[|1|2.0|true|false|null|]|\"d\"|{|}|}|"},
        {"[\"\\\\\",\"\\\"\",\"\",\"\\\\\"]", "[|\"\\\\\"|\"\\\"\"|\"\"|\"\\\\\"|]|"},
        {"  \"\\t\"  ", "\"\\t\"|"},
        {"12", "12|"},
        {" 12 ", "12|"},
        {"[[\"\\n\"],[],\"\\n\"]", "[|[|\"\\n\"|]|[|]|\"\\n\"|]|"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct token_log log = {.reader = fixture->reader, .document = slice_from_text(rows[i][0])};
        assert_int_equal(json_read(fixture->reader, log.document, log_token, &log, &fixture->error),
                         STATUS_OK);
        assert_string_equal(buffer_text(&log.tokens), rows[i][1]);
        buffer_release(&log.tokens);
    }
}

static void what_is_no_json_is_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const documents[] = {
        "",
        " ",
        "\n",
        "-",
        "01",
        "-01",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "1 2",
        "tr ue",
        "True",
        "nul",
        "nulll",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1]",
        "{\"a\":1} x",
        "{\"a\":1}{}",
        "[] []",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\U0041\"",
        "'a'",
        "\"\t\"",
        "\"\n\"",
        "\"\x01\"",
        "/* c */ 1",
        "1 // c",
        "[1/* c */]",
        "\xEF\xBB\xBF{}",
        "[1,\v2]",
        "[1,\f2]",
        "\f1",
        "1\v",
        "[\v]",
        "\xC2\xA0{}",
        "1 \"",
        "{}\"abc",
        "[]\n\"{",
        "12 \"x\\\"",
        "{} -",
        "{} t",
        "{} \xE2\x82\xAC",
    };
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        assert_refused(fixture, slice_from_text(documents[i]), STATUS_INVALID);
        assert_error_begins(fixture, slice_from_text(documents[i]), "at byte ");
        assert_null(strchr(fixture->error.text, '\n'));
    }
}

static void a_nul_byte_is_refused_anywhere(void **state)
{
    struct fixture *fixture = *state;
    static const char document[] = "{\"key\":[12,\"text\",true,\"\\n\"]}";
    char copy[sizeof document];
    for (size_t at = 0; at < sizeof document; at++) {
        memcpy(copy, document, at);
        copy[at] = '\0';
        memcpy(copy + at + 1, document + at, sizeof document - 1 - at);
        assert_refused(fixture, slice_make(copy, sizeof document), STATUS_INVALID);
    }
}

static void no_begin_of_a_document_is_one(void **state)
{
    struct fixture *fixture = *state;
    static const char document[] = "{\"a\":[12,\"t\\u0041\",true,null,{\"b\":false}],\"\\n\":\"\"}";
    for (size_t size = 0; size < sizeof document - 1; size++)
        assert_refused(fixture, slice_make(document, size), STATUS_INVALID);
    assert_accepted(fixture, slice_make(document, sizeof document - 1));
}

static void errors_tell_the_byte(void **state)
{
    struct fixture *fixture = *state;
    static const char *const rows[][2] = {
        {"{\"a\":1,\"b\":2,\"a\":3}", "at byte 13: the key \"a\" is repeated"},
        {"[\"\xFF\"]", "at byte 2: not UTF-8"},
        {"[\"x\\ud800\"]", "at byte 3: half of a surrogate pair"},
        {"[1,\f2]", "at byte 3: lexical error"},
        {"[1", "at byte 2: parse error: premature EOF"},
        {"12 x", "at byte 4: "},
        {"{} {}", "at byte 4: parse error: trailing garbage"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_refused(fixture, slice_from_text(rows[i][0]), STATUS_INVALID);
        assert_error_begins(fixture, slice_from_text(rows[i][0]), rows[i][1]);
    }
    /* And quote little: */
    buffer_append_text(&fixture->text, "{\"");
    for (int i = 0; i < 1000; i++)
        buffer_append_char(&fixture->text, 'k');
    struct slice key = slice_skip(buffer_slice(&fixture->text), 1);
    struct buffer document = BUFFER_INIT;
    buffer_appendf(&document, "{%.*s\":1,%.*s\":1}", SLICE_PRINT(key), SLICE_PRINT(key));
    assert_refused(fixture, buffer_slice(&document), STATUS_INVALID);
    assert_string_equal(fixture->error.text,
                        "at byte 1006: the key \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...\" is repeated");
    assert_int_equal(json_events_read(fixture->reader, buffer_slice(&document), &fixture->log, NULL),
                     STATUS_INVALID);
    buffer_release(&document);
}

static void bad_utf8_is_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "\xC0\x80",
        "\xC1\xBF",
        "\xC2",
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xE2\x82",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF",
        "\xF0\x9F\x98",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xF8\x88\x80\x80\x80",
        "\xFE",
        "\xFF",
        "\xED\xA0\xBD\xED\xB8\x80",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int key = 0; key < 2; key++) {
            buffer_reset(&fixture->text);
            buffer_appendf(&fixture->text, key ? "{\"abc%s\":1}" : "[\"abc%s\"]", bad[i]);
            assert_refused(fixture, buffer_slice(&fixture->text), STATUS_INVALID);
            assert_error_begins(fixture, buffer_slice(&fixture->text), "at byte 5: not UTF-8");
        }
    static const char *const good[] = {"\xC2\x80",         "\xDF\xBF",        "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",     "\xEE\x80\x80",    "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        buffer_reset(&fixture->text);
        buffer_appendf(&fixture->text, "\"%s\"", good[i]);
        assert_accepted(fixture, buffer_slice(&fixture->text));
    }
}

static void lone_surrogates_are_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {
        "\\ud800",
        "\\uDBFF",
        "\\udc00",
        "\\uDFFF",
        "\\ud800x",
        "\\ud800\\n",
        "\\ud800\\u0041",
        "\\ud800\\ud800",
        "\\ud800\\ud800\\udc00",
        "\\udc00\\ud800",
        "\\ud83d\\ude00\\ud83d",
        "\\ud83d\\ude00\\ude00",
        "\\ud800\\\\udc00",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int key = 0; key < 2; key++) {
            buffer_reset(&fixture->text);
            buffer_appendf(&fixture->text, key ? "{\"%s\":1}" : "[ \"%s\"]", bad[i]);
            assert_refused(fixture, buffer_slice(&fixture->text), STATUS_INVALID);
            assert_non_null(strstr(fixture->error.text, "surrogate"));
        }
    static const char *const good[] = {"\\ud83d\\ude00", "\\\\ud800",      "\\\\\\\\udc00",
                                       "\\ud800\\udc00", "\\uDBFF\\uDFFF", "\\ud7ff",
                                       "\\ue000",        "\\u0000",        "\\uffff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        buffer_reset(&fixture->text);
        buffer_appendf(&fixture->text, "[\"%s\"]", good[i]);
        assert_accepted(fixture, buffer_slice(&fixture->text));
    }
}

static void a_repeated_key_is_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"\\u0061\":1}",
        "{\"\\u0061\":1,\"a\":1}",
        "{\"\\u0061\":1,\"\\u0061\":1}",
        "{\"\":1,\"\":1}",
        "[{\"x\":{\"a\":1,\"b\":{\"a\":1},\"a\":1}}]",
        "{\"patient\":{\"reference\":\"Patient/1\"},\"patient\":{\"reference\":\"Patient/2\"}}",
        "{\"a\":{\"k\":{},\"l\":[{\"k\":1}]},\"b\":1,\"a\":2}",
        "{\"/\":1,\"\\/\":1}",
        "{\"\xE2\x82\xAC\":1,\"\\u20AC\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused(fixture, slice_from_text(bad[i]), STATUS_INVALID);
        assert_non_null(strstr(fixture->error.text, "is repeated"));
    }
    static const char *const good[] = {
        "{\"a\":{\"a\":{\"a\":1}},\"b\":{\"a\":1}}",
        "[{\"a\":1},{\"a\":1}]",
        "{\"a\":1,\"A\":1,\"aa\":1,\"\":1,\"a\\u0000\":1,\"\\u0000a\":1}",
        "{\"12345678a12345678\":1,\"12345678b12345678\":1,\"1234567812345678\":1}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_accepted(fixture, slice_from_text(good[i]));
}

/* Keys that only a whole comparison tells apart. */
static void append_key(struct buffer *text, size_t number, bool escaped)
{
    buffer_appendf(text, "%s\"%sfix-%08zu-suffix\":%zu", text->size > 1 ? "," : "",
                   escaped ? "\\u0070re" : "pre", number, number);
}

static void a_repeated_key_is_found_among_many(void **state)
{
    struct fixture *fixture = *state;
    static const size_t counts[] = {2, 31, 32, 33, 34, 100, 5000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (int variant = 0; variant < 6; variant++) {
            size_t count = counts[i];
            /* Which key comes a second time, at the end: the first, a middle one, the last; escaped or not.
             */
            size_t repeated = variant % 3 == 0 ? 0 : variant % 3 == 1 ? count / 2 : count - 1;
            buffer_reset(&fixture->text);
            buffer_append_char(&fixture->text, '{');
            for (size_t number = 0; number < count; number++)
                append_key(&fixture->text, number, number % 7 == 0);
            size_t size = fixture->text.size;
            buffer_append_char(&fixture->text, '}');
            assert_accepted(fixture, buffer_slice(&fixture->text));

            fixture->text.size = size;
            append_key(&fixture->text, repeated, variant >= 3);
            buffer_append_char(&fixture->text, '}');
            assert_refused(fixture, buffer_slice(&fixture->text), STATUS_INVALID);
            char expected[128];
            snprintf(expected, sizeof expected, "at byte %zu: the key \"prefix-%08zu-suffix\" is repeated",
                     size + 1, repeated);
            assert_string_equal(fixture->error.text, expected);
        }
}

/* Half a million keys that begin and end alike: quadratic time would not end before the runner's timeout. */
static void very_many_keys_do_not_take_quadratic_time(void **state)
{
    struct fixture *fixture = *state;
    buffer_append_text(&fixture->text, "[{");
    for (size_t number = 0; number < 500000; number++)
        buffer_appendf(&fixture->text, "%s\"prefix--%06zu--suffix\":0", number ? "," : "", number);
    buffer_append_text(&fixture->text, "},{\"a\":1}]");
    assert_accepted(fixture, buffer_slice(&fixture->text));
    assert_accepted(fixture, SLICE_LITERAL("{\"a\":1}"));
}

static void depth_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    static const char *const shapes[][2] = {{"[", "]"}, {"{\"a\":", "}"}};
    for (int shape = 0; shape < 2; shape++)
        for (int depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
            buffer_reset(&fixture->text);
            for (int i = 0; i < depth; i++)
                buffer_append_text(&fixture->text, shapes[shape][0]);
            buffer_append_char(&fixture->text, '1');
            for (int i = 0; i < depth; i++)
                buffer_append_text(&fixture->text, shapes[shape][1]);
            if (depth <= JSON_DEPTH_MAX)
                assert_accepted(fixture, buffer_slice(&fixture->text));
            else
                assert_refused(fixture, buffer_slice(&fixture->text), STATUS_TOO_LARGE);
        }
    assert_string_equal(fixture->error.text, "at byte 320: nested deeper than 64 levels");
}

static void size_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    assert_refused(fixture, slice_make("1", JSON_DOCUMENT_BYTES_MAX + 1), STATUS_TOO_LARGE);
    assert_error_begins(fixture, SLICE_LITERAL("1"), "at byte 67108864: ");
    assert_int_equal(read_text(fixture, slice_make(NULL, 0)), STATUS_INVALID);
}

static enum status stop_at_key(void *context, enum json_event event, struct slice text, unsigned depth,
                               struct error *error)
{
    (void)depth;
    size_t *events = context;
    ++*events;
    if (event == JSON_EVENT_KEY && slice_equal_text(text, "stop"))
        return error_set(error, STATUS_BUSY, "enough");
    return STATUS_OK;
}

static void a_handlers_failure_stops_the_reader(void **state)
{
    struct fixture *fixture = *state;
    size_t events = 0;
    enum status status = json_read(fixture->reader, SLICE_LITERAL("{\"a\":[1,2],\"stop\":1,\"b\":2}"),
                                   stop_at_key, &events, &fixture->error);
    assert_int_equal(status, STATUS_BUSY);
    assert_string_equal(fixture->error.text, "enough");
    assert_int_equal(events, 7);
    assert_accepted(fixture, SLICE_LITERAL("{\"a\":1,\"stop\":2}"));
}

static void minifying_removes_white_space_outside_strings(void **state)
{
    struct fixture *fixture = *state;
    static const char *const rows[][2] = {
        {"{}", "{}"},
        {" { } ", "{}"},
        {"[1, 2,\t3 ]\r\n", "[1,2,3]"},
        {"{ \"a b\" : \" c \\\" d \" , \"e\\\\\" : [ ] }", "{\"a b\":\" c \\\" d \",\"e\\\\\":[]}"},
        {"\" \"", "\" \""},
        {"  true", "true"},
        {"{\"a\": \"0123456789 0123456789 0123456789\\\\\" , \"b\": \"\\\\\\\" \\\\\" }",
         "{\"a\":\"0123456789 0123456789 0123456789\\\\\",\"b\":\"\\\\\\\" \\\\\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice document = slice_from_text(rows[i][0]);
        bool minified = slice_equal_text(document, rows[i][1]);
        buffer_reset(&fixture->text);
        json_minify(document, &fixture->text);
        assert_string_equal(buffer_text(&fixture->text), rows[i][1]);
        assert_int_equal(json_is_minified(document), minified);
        assert_true(json_is_minified(buffer_slice(&fixture->text)));
        assert_accepted(fixture, document);
        assert_int_equal(json_reader_was_minified(fixture->reader), minified);
        assert_accepted(fixture, buffer_slice(&fixture->text));
        assert_true(json_reader_was_minified(fixture->reader));
    }
}

/* The fast paths look at 16 bytes at a time: each length of a string, each place of an escape. */
static void white_space_is_found_whatever_the_alignment(void **state)
{
    struct fixture *fixture = *state;
    struct buffer spaced = BUFFER_INIT;
    for (size_t size = 2; size < 50; size++)
        for (size_t escape = 0; escape + 2 <= size; escape++) {
            struct buffer *text = &fixture->text;
            buffer_reset(text);
            buffer_append_text(text, "[\"");
            for (size_t i = 0; i < size; i++)
                buffer_append_char(text, i == escape       ? '\\'
                                         : i == escape + 1 ? "\"\\"[size % 2]
                                                           : "x "[i % 2]);
            buffer_append_text(text, "\",1]");
            assert_accepted(fixture, buffer_slice(text));
            assert_true(json_reader_was_minified(fixture->reader));
            assert_true(json_is_minified(buffer_slice(text)));

            buffer_reset(&spaced);
            buffer_append(&spaced, text->data, text->size - 2);
            buffer_append_text(&spaced, " 1]");
            assert_accepted(fixture, buffer_slice(&spaced));
            assert_false(json_reader_was_minified(fixture->reader));
            assert_false(json_is_minified(buffer_slice(&spaced)));
            struct buffer minified = BUFFER_INIT;
            json_minify(buffer_slice(&spaced), &minified);
            assert_int_equal(minified.size, text->size);
            assert_memory_equal(minified.data, text->data, text->size);
            buffer_release(&minified);
        }
    buffer_release(&spaced);
}

static void white_space_is_noticed_between_any_tokens(void **state)
{
    struct fixture *fixture = *state;
    static const char *const tokens[] = {"{", "\"a\"",   ":", "[", "1", ",", "\"\\n\"", ",", "true", "]",
                                         ",", "\"\\t\"", ":", "{", "}", ",", "\"c\"",   ":", "null", "}"};
    enum { COUNT = sizeof tokens / sizeof *tokens };
    for (size_t space_before = 0; space_before <= COUNT + 1; space_before++) {
        buffer_reset(&fixture->text);
        for (size_t i = 0; i < COUNT; i++) {
            if (i == space_before)
                buffer_append_char(&fixture->text, "\t\n\r "[i % 4]);
            buffer_append_text(&fixture->text, tokens[i]);
        }
        if (space_before == COUNT)
            buffer_append_char(&fixture->text, ' ');
        assert_accepted(fixture, buffer_slice(&fixture->text));
        assert_int_equal(json_reader_was_minified(fixture->reader), space_before == COUNT + 1);
    }
}

static void find_gives_the_value_at_a_path(void **state)
{
    struct fixture *fixture = *state;
    struct slice document =
        SLICE_LITERAL("{\"a\":{\"x\":{\"b\":0}},\"meta\": {\"lastUpdated\":\"20\\u0032\\n\",\"n\":1.50} "
                      ",\"output\":[ {\"url\":\"u0\"},"
                      "{\"a\":{\"url\":1},\"url\":\"u1\"},[true,null]],\"\":7,\"b\":[]}");
    static const char *const rows[][2] = {
        {"meta.lastUpdated", "202\n"},
        {"meta.n", "1.50"},
        {"meta", "{\"lastUpdated\":\"20\\u0032\\n\",\"n\":1.50}"},
        {"output.0.url", "u0"},
        {"output.1.url", "u1"},
        {"output.1.a", "{\"url\":1}"},
        {"output.2", "[true,null]"},
        {"output.2.0", "true"},
        {"output.2.1", "null"},
        {"b", "[]"},
        {"a.x.b", "0"},
        {"output.3", NULL},
        {"output.00", NULL},
        {"output.url", NULL},
        {"meta.lastUpdated.x", NULL},
        {"url", NULL},
        {"met", NULL},
        {"metas", NULL},
        {"a.b", NULL},
        {"b.0", NULL},
        {"output.2.0.0", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer_reset(&fixture->text);
        buffer_append_text(&fixture->text, ">");
        enum status status =
            json_find(fixture->reader, document, rows[i][0], &fixture->text, &fixture->error);
        if (status != (rows[i][1] ? STATUS_OK : STATUS_NOT_FOUND))
            fail_msg("%s: %s", rows[i][0], status_name(status));
        assert_string_equal(buffer_text(&fixture->text) + 1, rows[i][1] ? rows[i][1] : "");
    }
    buffer_reset(&fixture->text);
    assert_int_equal(json_find(fixture->reader, SLICE_LITERAL(" [1 ] "), "", &fixture->text, NULL),
                     STATUS_OK);
    assert_string_equal(buffer_text(&fixture->text), "[1 ]");
    assert_int_equal(json_find(fixture->reader, SLICE_LITERAL("{\"a\":1,}"), "a", &fixture->text, NULL),
                     STATUS_INVALID);
    assert_string_equal(buffer_text(&fixture->text), "[1 ]");
}

static void check_suite_file(void *context, const char *name, struct slice contents)
{
    struct fixture *fixture = context;
    enum status status = read_text(fixture, contents);
    /* The suite accepts what RFC 8259 allows but advises against; we do not. */
    bool repeated_key = strncmp(name, "y_object_duplicated_key", 23) == 0;
    if (name[0] == 'y' && !repeated_key && status != STATUS_OK)
        fail_msg("%s was refused: %s", name, fixture->error.text);
    if ((name[0] == 'n' || repeated_key) && status == STATUS_OK)
        fail_msg("%s was accepted", name);
    bool no_text = strncmp(name, "i_string_", 9) == 0; /* all of them bad UTF-8, UTF-16 or lone surrogates */
    if (no_text && status == STATUS_OK)
        fail_msg("%s was accepted", name);
}

static void check_transform_file(void *context, const char *name, struct slice contents)
{
    struct fixture *fixture = context;
    enum status status = read_text(fixture, contents);
    bool bad = strstr(name, "same_key") || strstr(name, "invalid_codepoint");
    if ((status != STATUS_OK) != bad)
        fail_msg("%s: %s %s", name, status_name(status), fixture->error.text);
}

static void the_json_test_suite_is_passed(void **state)
{
    struct fixture *fixture = *state;
    shared_data_each("json-nasty/JSONTestSuite/test_parsing", check_suite_file, fixture);
    shared_data_each("json-nasty/JSONTestSuite/test_transform", check_transform_file, fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(events_come_in_order_with_depth_and_decoded_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_document_may_be_any_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_keep_their_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tokens_are_the_bytes_of_the_document, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_json_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nul_byte_is_refused_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_begin_of_a_document_is_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errors_tell_the_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_utf8_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lone_surrogates_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_repeated_key_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_repeated_key_is_found_among_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(very_many_keys_do_not_take_quadratic_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(depth_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(size_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_handlers_failure_stops_the_reader, set_up, tear_down),
        cmocka_unit_test_setup_teardown(minifying_removes_white_space_outside_strings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(white_space_is_found_whatever_the_alignment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(white_space_is_noticed_between_any_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(find_gives_the_value_at_a_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_json_test_suite_is_passed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
