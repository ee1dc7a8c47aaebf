#include "server/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* A file of the test's own directory with this text; the path lives until the next call. */
static const char *file_with(const void *text, size_t size)
{
    static char path[4096];
    const char *directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/config-%d.conf", directory ? directory : "/tmp", (int)getpid());
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static enum status load(struct config *config, const char *text, struct error *error)
{
    const char *path = file_with(text, strlen(text));
    enum status status = config_load(config, path, error);
    unlink(path);
    return status;
}

static void assert_refused(const char *text, const char *message)
{
    struct config config, before;
    struct error error = {0};
    config_init(&config);
    before = config;
    assert_int_equal(load(&config, text, &error), STATUS_INVALID);
    const char *name = strrchr(error.text, '/');
    assert_non_null(name);
    const char *colon = strchr(name, ':');
    assert_non_null(colon);
    assert_string_equal(colon + 1, message);
    assert_memory_equal(&config, &before, sizeof config);
}

static void the_defaults_are_safe(void **state)
{
    (void)state;
    struct config config;
    config_init(&config);
    assert_string_equal(config.listen, "127.0.0.1:8443");
    assert_false(config.plaintext);
    assert_string_equal(config.tls_certificate, "");
    assert_string_equal(config.trusted_proxy, "");
    assert_string_equal(config.cors_origin, "*");
    assert_int_equal(config.limits.head_timeout_ms, 10000);
    assert_int_equal(config.limits.body_timeout_ms, 30000);
    assert_int_equal(config.limits.idle_timeout_ms, 60000);
    assert_int_equal(config.limits.handshake_timeout_ms, 10000);
    assert_int_equal(config.limits.body_bytes_max, 65536);
    assert_int_equal(config.token_lifetime_seconds, 1200);
    assert_int_equal(config.login_failures_per_minute, 30);
    assert_int_equal(config.request_rate_per_minute, 0);
    assert_int_equal(config.keep_hours, 24);
    assert_int_equal(config.file_bytes_max, 1 << 30);
    assert_int_equal(config.disk_reserve_bytes, 1 << 30);
}

static void a_file_sets_what_it_names(void **state)
{
    (void)state;
    struct config config;
    struct error error = {0};
    config_init(&config);
    enum status status = load(&config,
                              "# a comment\n"
                              "\n"
                              "listen = [::1]:0   # behind a value too\n"
                              "\tplaintext=yes\r\n"
                              "file_bytes_max = 3 MiB\n"
                              "disk_reserve_bytes = 2GiB\n"
                              "body_bytes_max = 4096\n"
                              "head_timeout_ms = 500\n"
                              "cors_origin = https://a.example https://b.example:8443\n"
                              "publisher = Caf\xC3\xA9 #1 & Co\n"
                              "tls_key = /a path/with#hash = x",
                              &error);
    assert_string_equal(error.text, "");
    assert_int_equal(status, STATUS_OK);
    assert_string_equal(config.listen, "[::1]:0");
    assert_true(config.plaintext);
    assert_int_equal(config.file_bytes_max, 3 << 20);
    assert_int_equal(config.disk_reserve_bytes, UINT64_C(2) << 30);
    assert_int_equal(config.limits.body_bytes_max, 4096);
    assert_int_equal(config.limits.head_timeout_ms, 500);
    assert_string_equal(config.cors_origin, "https://a.example https://b.example:8443");
    assert_string_equal(config.publisher, "Caf\xC3\xA9"); /* " #1" began a comment */
    assert_string_equal(config.tls_key, "/a path/with#hash = x");
    assert_int_equal(config.limits.idle_timeout_ms, 60000);
}

static void a_bad_setting_is_named_with_its_line(void **state)
{
    (void)state;
    assert_refused("listen = 127.0.0.1:1\nnonsense = 1\n",
                   "2: setting \"nonsense\": there is no such setting");
    assert_refused("Listen = 127.0.0.1:1\n", "1: setting \"Listen\": there is no such setting");
    assert_refused("\n\nkeep_hours = 0\n", "3: setting \"keep_hours\": expects 1 to 87600 h");
    assert_refused("keep_hours = 24h\n", "1: setting \"keep_hours\": expects a whole number");
    assert_refused("keep_hours =\n", "1: setting \"keep_hours\": expects a whole number");
    assert_refused("keep_hours = -1\n", "1: setting \"keep_hours\": expects a whole number");
    assert_refused("keep_hours = 1KiB\n", "1: setting \"keep_hours\": expects a whole number");
    assert_refused("keep_hours = 99999999999999999999999\n",
                   "1: setting \"keep_hours\": expects a whole number");
    assert_refused("body_bytes_max = 1 GiB\n", "1: setting \"body_bytes_max\": expects 1KiB to 16MiB bytes");
    assert_refused("map_bytes = 1 GB\n",
                   "1: setting \"map_bytes\": expects a whole number of bytes, or of KiB, MiB, GiB, TiB");
    assert_refused("map_bytes = 99999999999 GiB\n",
                   "1: setting \"map_bytes\": expects a whole number of bytes, or of KiB, MiB, GiB, TiB");
    assert_refused("plaintext = true\n", "1: setting \"plaintext\": expects yes or no");
    assert_refused("listen = 8443\n", "1: setting \"listen\": expects ADDRESS:PORT");
    assert_refused("listen = host:65536\n", "1: setting \"listen\": expects ADDRESS:PORT");
    assert_refused("log_level = loud\n", "1: setting \"log_level\": expects debug, info, warning or error");
    assert_refused("trusted_proxy = proxy.example\n", "1: setting \"trusted_proxy\": expects an IP address");
    assert_refused("issuer =\n", "1: setting \"issuer\": expects a name");
    assert_refused("publisher = a\xFF\n",
                   "1: setting \"publisher\": expects UTF-8 without control characters");
    assert_refused("publisher = a\x01z\n",
                   "1: setting \"publisher\": expects UTF-8 without control characters");
    assert_refused("just words\n", "1: expects name = value");
    assert_refused("= 1\n", "1: setting \"\": there is no such setting");
    assert_refused("keep_hours = 1\nkeep_hours = 1\n",
                   "2: setting \"keep_hours\": stands here for the second time");
}

static void a_public_url_is_scheme_and_host_only(void **state)
{
    (void)state;
    static const char *const good[] = {"", "https://api.example", "http://[::1]:8443", "https://a.b-c:1"};
    static const char *const bad[] = {"api.example", "https://",    "https://a/", "https://a/b",
                                      "https://a b", "https://a\"", "ftp://a",    "https://a?b"};
    struct config config;
    config_init(&config);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(config_set(&config, "public_url", good[i], NULL), STATUS_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(config_set(&config, "public_url", bad[i], NULL), STATUS_INVALID);
}

static void cors_origins_are_a_star_or_a_list(void **state)
{
    (void)state;
    static const char *const good[] = {"", "*", "https://a", "https://a http://b:1"};
    static const char *const bad[] = {"**",   "* https://a", "https://a  https://b", "https://a,https://b",
                                      "null", "https://a/"};
    struct config config;
    config_init(&config);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(config_set(&config, "cors_origin", good[i], NULL), STATUS_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(config_set(&config, "cors_origin", bad[i], NULL), STATUS_INVALID);
}

static void an_address_is_kept_as_peers_are_written(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"192.0.2.1", "192.0.2.1"},        {"::1", "::1"},
        {"0:0:0:0:0:0:0:1", "::1"},        {"2001:DB8:0::7", "2001:db8::7"},
        {"::ffff:192.0.2.1", "192.0.2.1"}, {"", ""}};
    struct config config;
    struct error error;
    config_init(&config);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(config_set(&config, "trusted_proxy", pairs[i][0], &error), STATUS_OK);
        assert_string_equal(config.trusted_proxy, pairs[i][1]);
    }
}

static void a_text_longer_than_its_field_is_refused(void **state)
{
    (void)state;
    struct config config;
    struct error error;
    char text[200];
    memset(text, 'x', sizeof text);
    text[sizeof config.issuer] = '\0';
    config_init(&config);
    assert_int_equal(config_set(&config, "issuer", text, &error), STATUS_INVALID);
    assert_string_equal(error.text, "setting \"issuer\": expects at most 127 bytes");
    text[sizeof config.issuer - 1] = '\0';
    assert_int_equal(config_set(&config, "issuer", text, &error), STATUS_OK);
    assert_string_equal(config.issuer, text);
}

static void a_file_that_is_none_is_refused(void **state)
{
    (void)state;
    struct config config;
    struct error error;
    config_init(&config);
    assert_int_equal(config_load(&config, "/nonexistent/sluice.conf", &error), STATUS_IO);
    assert_int_equal(config_load(&config, "/", &error), STATUS_IO);
    assert_int_equal(config_load(&config, "/dev/zero", &error), STATUS_TOO_LARGE);
    const char *path = file_with("keep_hours = 1\0\n", 16);
    assert_int_equal(config_load(&config, path, &error), STATUS_INVALID);
    unlink(path);
}

static void what_is_shown_loads_again(void **state)
{
    (void)state;
    struct config config, loaded;
    struct error error = {0};
    config_init(&config);
    assert_int_equal(config_set(&config, "listen", "[::]:443", &error), STATUS_OK);
    assert_int_equal(config_set(&config, "file_bytes_max", "1025", &error), STATUS_OK);
    assert_int_equal(config_set(&config, "plaintext", "yes", &error), STATUS_OK);
    assert_int_equal(config_set(&config, "publisher", "A & B", &error), STATUS_OK);
    struct buffer text = BUFFER_INIT, again = BUFFER_INIT;
    config_show(&config, &text);
    config_init(&loaded);
    assert_int_equal(load(&loaded, buffer_text(&text), &error), STATUS_OK);
    assert_string_equal(error.text, "");
    config_show(&loaded, &again);
    assert_string_equal(buffer_text(&again), buffer_text(&text));
    assert_string_equal(loaded.listen, "[::]:443");
    assert_int_equal(loaded.file_bytes_max, 1025);
    buffer_release(&text);
    buffer_release(&again);
}

/* SLUICE_TEST_BLESS=1 writes the page anew. */
static void the_documentation_shows_these_settings(void **state)
{
    (void)state;
    static const char path[] = "docs/operating/configuration.md";
    struct buffer expected = BUFFER_INIT, page = BUFFER_INIT;
    struct config config;
    config_init(&config);
    buffer_append_text(
        &expected,
        "# Configuration\n"
        "\n"
        "`sluiced --config FILE` reads settings, one `name = value` a line; `#` at a line's begin or behind\n"
        "white space begins a comment. An unknown, bad or repeated setting stops the start and is named "
        "with\n"
        "its line. Numbers are in the setting's own unit, bytes also as `64KiB`, `16MiB`, `1GiB`, `1TiB`. "
        "The\n"
        "options `--listen`, `--tls-cert`, `--tls-key` and `--plaintext` override `listen`, "
        "`tls_certificate`,\n"
        "`tls_key` and `plaintext`.\n"
        "\n"
        "This is a complete file with every default, as `sluicectl config show` prints it. The table behind "
        "it\n"
        "is `server/config.c`; `config_test` compares this page with it, and writes it anew with\n"
        "`SLUICE_TEST_BLESS=1`.\n"
        "\n"
        "```\n");
    config_show(&config, &expected);
    buffer_append_text(&expected, "```\n");
    if (getenv("SLUICE_TEST_BLESS")) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(expected.data, 1, expected.size, file), expected.size);
        assert_int_equal(fclose(file), 0);
    }
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s is not there (tests run in the top folder)", path);
    page.size = fread(buffer_reserve(&page, 1 << 20), 1, 1 << 20, file);
    fclose(file);
    assert_string_equal(buffer_text(&page), buffer_text(&expected));
    buffer_release(&page);
    buffer_release(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_safe),
        cmocka_unit_test(a_file_sets_what_it_names),
        cmocka_unit_test(a_bad_setting_is_named_with_its_line),
        cmocka_unit_test(a_public_url_is_scheme_and_host_only),
        cmocka_unit_test(cors_origins_are_a_star_or_a_list),
        cmocka_unit_test(an_address_is_kept_as_peers_are_written),
        cmocka_unit_test(a_text_longer_than_its_field_is_refused),
        cmocka_unit_test(a_file_that_is_none_is_refused),
        cmocka_unit_test(what_is_shown_loads_again),
        cmocka_unit_test(the_documentation_shows_these_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
