#include "server/config.h"

#include "codec/base/check.h"
#include "codec/utf8.h"
#include "server/log.h"
#include "storage/suppression.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)

enum setting_kind {
    SETTING_TEXT,
    SETTING_SWITCH,
    SETTING_NUMBER, /* unsigned */
    SETTING_BYTES   /* uint64_t */
};

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;
    size_t size;                       /* of the field */
    const char *text;                  /* default of SETTING_TEXT */
    uint64_t number;                   /* default of the others */
    uint64_t least, most;              /* bounds of SETTING_NUMBER and SETTING_BYTES */
    const char *unit;                  /* "" where there is none */
    bool (*accepts)(const char *text); /* of SETTING_TEXT; NULL: anything */
    const char *expects;               /* for its message */
    const char *help;
};

static bool is_host_and_port(const char *text)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1] || strlen(colon + 1) > 5)
        return false;
    unsigned port = 0;
    for (const char *at = colon + 1; *at; at++) {
        if (*at < '0' || *at > '9')
            return false;
        port = port * 10 + (unsigned)(*at - '0');
    }
    return port <= 65535;
}

static bool is_address_or_empty(const char *text)
{
    struct in6_addr address;
    return !*text || inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

/* As address_format writes it, for that is what it is compared with: ::ffff:192.0.2.1 and 0:0:0:0:0:0:0:1
 * would otherwise be addresses that no peer ever has. */
static void write_address(char *text, size_t size)
{
    struct in6_addr address;
    if (inet_pton(AF_INET6, text, &address) != 1)
        return;
    if (IN6_IS_ADDR_V4MAPPED(&address))
        CHECK(inet_ntop(AF_INET, address.s6_addr + 12, text, (socklen_t)size));
    else
        CHECK(inet_ntop(AF_INET6, &address, text, (socklen_t)size));
}

/* scheme "://" authority, with nothing behind: that is also what an Origin is (RFC 6454 section 7). */
static bool is_origin(struct slice text)
{
    size_t scheme = slice_starts_with(text, SLICE_LITERAL("https://"))  ? 8
                    : slice_starts_with(text, SLICE_LITERAL("http://")) ? 7
                                                                        : 0;
    if (!scheme || text.size == scheme)
        return false;
    for (size_t i = scheme; i < text.size; i++) {
        char c = text.data[i];
        bool is_alphanumeric = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!is_alphanumeric && (c == '\0' || !strchr(".-_:[]", c)))
            return false;
    }
    return true;
}

static bool is_origin_or_empty(const char *text)
{
    return !*text || is_origin(slice_from_text(text));
}

static bool is_origin_list(const char *text)
{
    if (!*text || strcmp(text, "*") == 0)
        return true;
    for (;;) {
        size_t size = strcspn(text, " ");
        if (!is_origin(slice_make(text, size)))
            return false;
        if (!text[size])
            return true;
        text += size + 1;
    }
}

static bool is_not_empty(const char *text)
{
    return *text;
}

static bool is_log_level(const char *text)
{
    enum log_level level;
    return log_level_parse(text, &level);
}

#define FIELD(member)     offsetof(struct config, member), sizeof(((struct config *)NULL)->member)
#define TEXT(name)        #name, SETTING_TEXT, FIELD(name)
#define SWITCH(name)      #name, SETTING_SWITCH, FIELD(name)
#define NUMBER(name)      #name, SETTING_NUMBER, FIELD(name)
#define BYTES(name)       #name, SETTING_BYTES, FIELD(name)
#define LIMIT(name)       #name, SETTING_NUMBER, FIELD(limits.name)
#define LIMIT_BYTES(name) #name, SETTING_BYTES, FIELD(limits.name)

/* In the order in which config_show tells them. */
static const struct setting settings[] = {
    {TEXT(listen), "127.0.0.1:8443", 0, 0, 0, "", is_host_and_port, "ADDRESS:PORT",
     "Where the server listens: ADDRESS:PORT, [IPV6]:PORT. Port 0 is any free one."},
    {TEXT(tls_certificate), "", 0, 0, 0, "", NULL, NULL,
     "File with the certificate and its chain (PEM). Read again on SIGHUP."},
    {TEXT(tls_key), "", 0, 0, 0, "", NULL, NULL,
     "File with the certificate's private key (PEM), not readable by everybody. Read again on SIGHUP."},
    {SWITCH(plaintext), NULL, 0, 0, 0, "", NULL, NULL,
     "Serves plain HTTP without a certificate: for tests, or behind a proxy on the same machine."},
    {TEXT(public_url), "", 0, 0, 0, "", is_origin_or_empty, "http(s)://HOST[:PORT] and nothing behind it",
     "Scheme and host of every URL that the server writes. Empty: those of the request. Read again on "
     "SIGHUP."},
    {TEXT(trusted_proxy), "", 0, 0, 0, "", is_address_or_empty, "an IP address",
     "Address of the one proxy whose X-Forwarded-Proto, -Host and -For are believed. Empty: none. Read again "
     "on SIGHUP."},
    {TEXT(cors_origin), "*", 0, 0, 0, "", is_origin_list, "* or origins with one space between them",
     "Origins whose pages may read answers: *, or http(s)://HOST[:PORT] with spaces between. Empty: none. "
     "Read again on SIGHUP."},
    {NUMBER(reactors), NULL, 0, 0, 256, "threads", NULL, NULL,
     "Threads that serve connections. 0: one a core."},
    {NUMBER(export_workers), NULL, 0, 0, 256, "threads", NULL, NULL,
     "Threads that write export files. 0: two a core: one computes while another waits for the disk."},
    {LIMIT(head_timeout_ms), NULL, 10000, 100, 600000, "ms", NULL, NULL,
     "Time for a complete request head, from its first byte."},
    {LIMIT(body_timeout_ms), NULL, 30000, 100, 600000, "ms", NULL, NULL, "Time for a complete request body."},
    {LIMIT(idle_timeout_ms), NULL, 60000, 100, 3600000, "ms", NULL, NULL,
     "Time that a connection may stay open between requests."},
    {LIMIT(handshake_timeout_ms), NULL, 10000, 100, 600000, "ms", NULL, NULL, "Time for a TLS handshake."},
    {LIMIT(download_bytes_per_second_min), NULL, 1024, 0, 1000000000, "bytes/s", NULL, NULL,
     "A client that takes less than this, over 30 s, while data waits for it is cut off. 0: any byte will "
     "do."},
    {LIMIT_BYTES(body_bytes_max), NULL, 64 * KIB, 1 * KIB, 16 * MIB, "bytes", NULL, NULL,
     "Largest request body."},
    {LIMIT(connections_max), NULL, 10000, 1, 1000000, "connections", NULL, NULL, "Open connections in all."},
    {LIMIT(connections_per_address_max), NULL, 1000, 0, 1000000, "connections", NULL, NULL,
     "Open connections of one address. 0: no limit of their own."},
    {TEXT(issuer), "sluice", 0, 0, 0, "", is_not_empty, "a name",
     "Claim iss of the access tokens; tokens of another issuer are refused."},
    {NUMBER(token_lifetime_seconds), NULL, 1200, 1, 86400, "s", NULL, NULL, "Lifetime of an access token."},
    {NUMBER(request_rate_per_minute), NULL, 0, 0, 1000000, "requests/min", NULL, NULL,
     "Requests of one client. 0: no limit."},
    {NUMBER(login_failures_per_minute), NULL, 30, 0, 1000000, "failures/min", NULL, NULL,
     "Failed requests for a token from one address (IPv6: one /64). 0: no limit."},
    {BYTES(file_bytes_max), NULL, 1 * GIB, 1 * KIB, 1 * TIB, "bytes", NULL, NULL,
     "Uncompressed size at which an export begins a further file; beneficiaries are not split."},
    {BYTES(small_job_bytes), NULL, 256 * MIB, 0, 1 * GIB, "bytes", NULL, NULL,
     "Uncompressed size up to which a job is written in one go, with one commit at its end; it goes from "
     "Pending to Completed, and after a crash it is written again. 0: no job is."},
    {BYTES(disk_reserve_bytes), NULL, 1 * GIB, 0, 1024 * TIB, "bytes", NULL, NULL,
     "Exports stop when less of the disk is free."},
    {BYTES(map_bytes), NULL, 1 * TIB, 16 * MIB, 64 * TIB, "bytes", NULL, NULL,
     "Address space of the store, and so the most it can ever hold. It costs nothing until used."},
    {NUMBER(suppression_lookback_days), NULL, SUPPRESSION_LOOKBACK_DAYS_DEFAULT, 0,
     SUPPRESSION_LOOKBACK_DAYS_MAX, "days", NULL, NULL,
     "How long an opt-out holds from its effective date on; then the person is exported again. 0: until he "
     "takes it back. Kept in the store, so that sluicectl applies the same."},
    {NUMBER(keep_hours), NULL, 24, 1, 87600, "h", NULL, NULL,
     "How long finished files are served; then they are kept as long again before they are deleted."},
    {NUMBER(stop_grace_seconds), NULL, 30, 0, 3600, "s", NULL, NULL,
     "How long SIGTERM lets requests and downloads that have begun go on. Read again on SIGHUP."},
    {TEXT(publisher), "Centers for Medicare & Medicaid Services", 0, 0, 0, "", is_not_empty, "a name",
     "publisher of the CapabilityStatement. Read again on SIGHUP."},
    {TEXT(software_name), "Beneficiary Claims Data API", 0, 0, 0, "", is_not_empty, "a name",
     "software.name of the CapabilityStatement. Read again on SIGHUP."},
    {TEXT(log_level), "info", 0, 0, 0, "", is_log_level, "debug, info, warning or error",
     "What is logged at least: debug, info, warning, error. Each request is one line of level info. Read "
     "again on SIGHUP."},
};

#define SETTING_COUNT (sizeof settings / sizeof *settings)

static char *setting_field(const struct setting *setting, struct config *config)
{
    return (char *)config + setting->offset;
}

static void setting_store_number(const struct setting *setting, struct config *config, uint64_t number)
{
    char *field = setting_field(setting, config);
    switch (setting->kind) {
    case SETTING_SWITCH:
        CHECK(setting->size == sizeof(bool));
        *(bool *)field = number;
        break;
    case SETTING_NUMBER:
        CHECK(setting->size == sizeof(unsigned));
        *(unsigned *)(void *)field = (unsigned)number;
        break;
    case SETTING_BYTES:
        CHECK(setting->size == sizeof(uint64_t)); /* size_t too */
        *(uint64_t *)(void *)field = number;
        break;
    case SETTING_TEXT:
        CHECK(false);
    }
}

static uint64_t setting_load_number(const struct setting *setting, const struct config *config)
{
    const char *field = (const char *)config + setting->offset;
    switch (setting->kind) {
    case SETTING_SWITCH:
        return *(const bool *)field;
    case SETTING_NUMBER:
        return *(const unsigned *)(const void *)field;
    default:
        return *(const uint64_t *)(const void *)field;
    }
}

static const struct setting *setting_find(struct slice name)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (slice_equal_text(name, settings[i].name))
            return &settings[i];
    return NULL;
}

void config_init(struct config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        if (setting->kind == SETTING_TEXT) {
            CHECK(strlen(setting->text) < setting->size);
            strcpy(setting_field(setting, config), setting->text);
        } else {
            setting_store_number(setting, config, setting->number);
        }
    }
}

/* ---- Values ---- */

static const struct {
    const char *name;
    uint64_t factor;
} byte_units[] = {{"TiB", TIB}, {"GiB", GIB}, {"MiB", MIB}, {"KiB", KIB}};

static bool parse_number(struct slice text, bool is_bytes, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t digits = 0;
    for (; digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9'; digits++)
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(text.data[digits] - '0'), &number))
            return false;
    if (digits == 0)
        return false;
    struct slice unit = slice_skip(text, digits);
    if (unit.size && is_bytes) {
        if (unit.data[0] == ' ')
            unit = slice_skip(unit, 1);
        for (size_t i = 0; i < sizeof byte_units / sizeof *byte_units; i++)
            if (slice_equal_text(unit, byte_units[i].name)) {
                if (__builtin_mul_overflow(number, byte_units[i].factor, &number))
                    return false;
                unit.size = 0;
            }
    }
    if (unit.size)
        return false;
    *ret_number = number;
    return true;
}

static void append_number(struct buffer *target, const struct setting *setting, uint64_t number)
{
    if (setting->kind == SETTING_SWITCH) {
        buffer_append_text(target, number ? "yes" : "no");
        return;
    }
    if (setting->kind == SETTING_BYTES && number)
        for (size_t i = 0; i < sizeof byte_units / sizeof *byte_units; i++)
            if (number % byte_units[i].factor == 0) {
                buffer_appendf(target, "%llu%s", (unsigned long long)(number / byte_units[i].factor),
                               byte_units[i].name);
                return;
            }
    buffer_appendf(target, "%llu", (unsigned long long)number);
}

static enum status set_number(const struct setting *setting, struct config *config, struct slice value,
                              struct error *error)
{
    uint64_t number;
    bool is_bytes = setting->kind == SETTING_BYTES;
    if (!parse_number(value, is_bytes, &number))
        return error_set(error, STATUS_INVALID, "setting \"%s\": expects a whole number%s", setting->name,
                         is_bytes ? " of bytes, or of KiB, MiB, GiB, TiB" : "");
    if (number < setting->least || number > setting->most) {
        struct buffer bounds = BUFFER_INIT;
        append_number(&bounds, setting, setting->least);
        buffer_append_text(&bounds, " to ");
        append_number(&bounds, setting, setting->most);
        error_set(error, STATUS_INVALID, "setting \"%s\": expects %s %s", setting->name, buffer_text(&bounds),
                  setting->unit);
        buffer_release(&bounds);
        return STATUS_INVALID;
    }
    setting_store_number(setting, config, number);
    return STATUS_OK;
}

static enum status set_switch(const struct setting *setting, struct config *config, struct slice value,
                              struct error *error)
{
    bool is_on = slice_equal_text(value, "yes");
    if (!is_on && !slice_equal_text(value, "no"))
        return error_set(error, STATUS_INVALID, "setting \"%s\": expects yes or no", setting->name);
    setting_store_number(setting, config, is_on);
    return STATUS_OK;
}

static enum status set_text(const struct setting *setting, struct config *config, struct slice value,
                            struct error *error)
{
    if (value.size >= setting->size)
        return error_set(error, STATUS_INVALID, "setting \"%s\": expects at most %zu bytes", setting->name,
                         setting->size - 1);
    /* Some of these stand in JSON documents and header fields. */
    bool is_clean = utf8_is_valid(value);
    for (size_t i = 0; i < value.size; i++)
        is_clean &= (unsigned char)value.data[i] >= 0x20 && value.data[i] != 0x7F;
    if (!is_clean)
        return error_set(error, STATUS_INVALID, "setting \"%s\": expects UTF-8 without control characters",
                         setting->name);
    char text[1024];
    CHECK(setting->size <= sizeof text);
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    if (setting->accepts && !setting->accepts(text))
        return error_set(error, STATUS_INVALID, "setting \"%s\": expects %s", setting->name,
                         setting->expects);
    if (setting->accepts == is_address_or_empty)
        write_address(text, setting->size);
    strcpy(setting_field(setting, config), text);
    return STATUS_OK;
}

static enum status setting_set(const struct setting *setting, struct config *config, struct slice value,
                               struct error *error)
{
    switch (setting->kind) {
    case SETTING_TEXT:
        return set_text(setting, config, value, error);
    case SETTING_SWITCH:
        return set_switch(setting, config, value, error);
    default:
        return set_number(setting, config, value, error);
    }
}

static enum status unknown_setting(struct slice name, struct error *error)
{
    char excerpt[UTF8_EXCERPT_SIZE];
    return error_set(error, STATUS_INVALID, "setting \"%s\": there is no such setting",
                     utf8_excerpt(name, excerpt));
}

enum status config_set(struct config *config, const char *name, const char *value, struct error *error)
{
    const struct setting *setting = setting_find(slice_from_text(name));
    if (!setting)
        return unknown_setting(slice_from_text(name), error);
    return setting_set(setting, config, slice_from_text(value), error);
}

/* ---- Files ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trimmed(struct slice text)
{
    while (text.size && is_blank(text.data[0]))
        text = slice_skip(text, 1);
    while (text.size && is_blank(text.data[text.size - 1]))
        text.size--;
    return text;
}

static struct slice without_comment(struct slice line)
{
    for (size_t i = 0; i < line.size; i++)
        if (line.data[i] == '#' && (i == 0 || is_blank(line.data[i - 1])))
            return slice_make(line.data, i);
    return line;
}

static enum status load_line(struct config *config, struct slice line, bool seen[SETTING_COUNT],
                             struct error *error)
{
    line = trimmed(without_comment(line));
    if (line.size == 0)
        return STATUS_OK;
    const char *equals = memchr(line.data, '=', line.size);
    if (!equals)
        return error_set(error, STATUS_INVALID, "expects name = value");
    struct slice name = trimmed(slice_make(line.data, (size_t)(equals - line.data)));
    struct slice value = trimmed(slice_skip(line, (size_t)(equals - line.data) + 1));
    const struct setting *setting = setting_find(name);
    if (!setting)
        return unknown_setting(name, error);
    if (seen[setting - settings])
        return error_set(error, STATUS_INVALID, "setting \"%s\": stands here for the second time",
                         setting->name);
    seen[setting - settings] = true;
    return setting_set(setting, config, value, error);
}

static enum status read_file(const char *path, struct buffer *target, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", path);
    enum status status = STATUS_OK;
    for (;;) {
        ssize_t size = read(fd, buffer_reserve(target, 4096), 4096);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            status = error_set_errno(error, "%s: cannot read", path);
        if (size <= 0)
            break;
        target->size += (size_t)size;
        if (target->size > CONFIG_FILE_BYTES_MAX) {
            status =
                error_set(error, STATUS_TOO_LARGE, "%s: larger than %zu bytes", path, CONFIG_FILE_BYTES_MAX);
            break;
        }
    }
    close(fd);
    return status;
}

enum status config_load(struct config *config, const char *path, struct error *error)
{
    struct buffer file = BUFFER_INIT;
    enum status status = read_file(path, &file, error);
    struct config loaded = *config;
    bool seen[SETTING_COUNT] = {false};
    struct slice rest = buffer_slice(&file);
    for (size_t number = 1; status == STATUS_OK && rest.size; number++) {
        const char *newline = memchr(rest.data, '\n', rest.size);
        struct slice line = {rest.data, newline ? (size_t)(newline - rest.data) : rest.size};
        rest = slice_skip(rest, line.size + 1);
        status = load_line(&loaded, line, seen, error);
        if (status != STATUS_OK)
            error_prefix(error, "%s:%zu", path, number);
    }
    if (status == STATUS_OK)
        *config = loaded;
    buffer_release(&file);
    return status;
}

void config_show(const struct config *config, struct buffer *target)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        buffer_appendf(target, "%s# %s\n# ", i ? "\n" : "", setting->help);
        bool has_bounds = setting->kind == SETTING_NUMBER || setting->kind == SETTING_BYTES;
        if (has_bounds) {
            buffer_appendf(target, "Unit: %s. From ", setting->unit);
            append_number(target, setting, setting->least);
            buffer_append_text(target, " to ");
            append_number(target, setting, setting->most);
            buffer_append_text(target, ". ");
        }
        buffer_append_text(target, "Default: ");
        if (setting->kind == SETTING_TEXT) {
            buffer_append_text(target, *setting->text ? setting->text : "empty");
            buffer_appendf(target, "\n%s =%s%s\n", setting->name,
                           *((const char *)config + setting->offset) ? " " : "",
                           (const char *)config + setting->offset);
        } else {
            append_number(target, setting, setting->number);
            buffer_appendf(target, "\n%s = ", setting->name);
            append_number(target, setting, setting_load_number(setting, config));
            buffer_append_char(target, '\n');
        }
    }
}

/* ---- SIGHUP ---- */

/* What takes effect while the server runs; the help of each says so. The rest is built into threads, sockets
 * and files when they are made. */
static const char *const reloaded[] = {"tls_certificate", "tls_key",       "public_url",
                                       "trusted_proxy",   "cors_origin",   "publisher",
                                       "log_level",       "software_name", "stop_grace_seconds"};

static bool is_reloaded(const struct setting *setting)
{
    for (size_t i = 0; i < sizeof reloaded / sizeof *reloaded; i++) {
        if (strcmp(setting->name, reloaded[i]) == 0)
            return true;
    }
    return false;
}

void config_reload(struct config *config, const struct config *fresh)
{
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (is_reloaded(&settings[i]))
            memcpy((char *)config + settings[i].offset, (const char *)fresh + settings[i].offset,
                   settings[i].size);
    }
}

const char *config_waiting(const struct config *before, const struct config *fresh)
{
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const struct setting *setting = &settings[i];
        const char *old = (const char *)before + setting->offset,
                   *now = (const char *)fresh + setting->offset;
        bool is_same =
            setting->kind == SETTING_TEXT ? strcmp(old, now) == 0 : memcmp(old, now, setting->size) == 0;
        if (!is_same && !is_reloaded(setting))
            return setting->name;
    }
    return NULL;
}
