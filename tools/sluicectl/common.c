#include "codec/instant.h"
#include "tools/sluicectl/command.h"

#include <stdarg.h>
#include <stdio.h>

int complain(const struct error *error)
{
    fprintf(stderr, "sluicectl: %s\n", error->text);
    return EXIT_FAILED;
}

int complain_text(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sluicectl: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_FAILED;
}

struct link *open_link(const struct invocation *invocation)
{
    struct link *link;
    struct error error;
    if (link_open(invocation->dir, NULL, &link, &error) == STATUS_OK)
        return link;
    complain(&error);
    return NULL;
}

struct store *open_store(const struct invocation *invocation)
{
    struct store *store;
    struct error error;
    if (store_open(invocation->dir, STORE_ACCESS_READ, NULL, &store, &error) == STATUS_OK)
        return store;
    complain(&error);
    return NULL;
}

void instant_text(int64_t us, char text[40])
{
    if (us < INSTANT_MIN_US || us > INSTANT_MAX_US) {
        strcpy(text, "-");
        return;
    }
    text[instant_format(us, text)] = '\0';
}

void print_json(struct buffer *document)
{
    fwrite(document->data, 1, document->size, stdout);
    fputc('\n', stdout);
}
