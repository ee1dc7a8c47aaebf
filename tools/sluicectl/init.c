#include "server/config.h"
#include "server/token.h"
#include "tools/sluicectl/command.h"

#include <stdio.h>

int command_init(const struct invocation *invocation)
{
    struct error error;
    enum status status = store_create(invocation->dir, NULL, &error);
    if (status != STATUS_OK)
        return complain(&error);
    if (token_key_create(invocation->dir, &error) != STATUS_OK)
        return complain_text("%s; the store has no signing key: remove %s and try again", error.text,
                             invocation->dir);
    if (!is_quiet(invocation))
        printf("%s: an empty store and a signing key\n", invocation->dir);
    return EXIT_DONE;
}

int command_config_show(const struct invocation *invocation)
{
    (void)invocation;
    struct config config;
    struct buffer text = BUFFER_INIT;
    config_init(&config);
    config_show(&config, &text);
    fwrite(text.data, 1, text.size, stdout);
    buffer_release(&text);
    return EXIT_DONE;
}

int command_config_check(const struct invocation *invocation)
{
    struct config config;
    struct error error;
    config_init(&config);
    if (config_load(&config, invocation->arguments[0], &error) != STATUS_OK)
        return complain(&error);
    printf("%s: good\n", invocation->arguments[0]);
    return EXIT_DONE;
}
