#include "storage/accounts.h"
#include "tools/sluicectl/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* One command to the writer, without a result that matters. */
static int send_command(const struct invocation *invocation, uint32_t command, struct buffer *payload)
{
    struct link *link = open_link(invocation);
    if (!link)
        return EXIT_FAILED;
    struct buffer reply = BUFFER_INIT;
    struct error error;
    enum status status = link_call(link, command, buffer_slice(payload), &reply, &error);
    link_close(link);
    buffer_release(&reply);
    return status == STATUS_OK ? EXIT_DONE : complain(&error);
}

int command_aco_add(const struct invocation *invocation)
{
    const char *name = invocation->options[OPTION_NAME] ? invocation->options[OPTION_NAME] : "";
    struct buffer payload = BUFFER_INIT;
    buffer_append_sized(&payload, slice_from_text(invocation->arguments[0]));
    buffer_append_sized(&payload, slice_from_text(name));
    int exit_status = send_command(invocation, CONTROL_COMMAND_ACO_ADD, &payload);
    buffer_release(&payload);
    if (exit_status == EXIT_DONE && !is_quiet(invocation))
        printf("%s\n", invocation->arguments[0]);
    return exit_status;
}

int command_aco_remove(const struct invocation *invocation)
{
    struct buffer payload = BUFFER_INIT;
    buffer_append_sized(&payload, slice_from_text(invocation->arguments[0]));
    int exit_status = send_command(invocation, CONTROL_COMMAND_ACO_REMOVE, &payload);
    buffer_release(&payload);
    return exit_status;
}

static enum status list_aco(void *context, const struct aco *aco, struct error *error)
{
    (void)error;
    struct listing *listing = context;
    listing_row_begin(listing);
    listing_text(listing, "id", aco->id);
    listing_text(listing, "name", aco->name);
    listing_instant(listing, "added", aco->created_us);
    listing_instant(listing, "newestTransactionTime", aco->newest_transaction_time_us);
    listing_row_end(listing);
    return STATUS_OK;
}

static enum status fill_acos(struct listing *listing, struct error *error)
{
    return listing_pass_damage(listing, aco_each(listing->steps.txn, list_aco, listing, error), error);
}

int command_aco_list(const struct invocation *invocation)
{
    static const char *const titles[] = {"ACO", "name", "added", "newest transactionTime"};
    return listing_run(invocation, titles, 4, fill_acos);
}

/* The first line of a file, or of standard input ("-"). */
static enum status read_secret(const char *path, char secret[CLIENT_SECRET_SIZE + 2], struct error *error)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, "%s: cannot open", path);
    size_t size = 0;
    ssize_t got;
    while (
        size < CLIENT_SECRET_SIZE + 1 &&
        ((got = read(fd, secret + size, CLIENT_SECRET_SIZE + 1 - size)) > 0 || (got < 0 && errno == EINTR)))
        size += got > 0 ? (size_t)got : 0;
    if (fd != STDIN_FILENO)
        close(fd);
    secret[size] = '\0';
    secret[strcspn(secret, "\r\n")] = '\0';
    if (strlen(secret) != CLIENT_SECRET_SIZE)
        return error_set(error, STATUS_INVALID, "%s: a secret is %d hex digits on the first line", path,
                         CLIENT_SECRET_SIZE);
    return STATUS_OK;
}

static enum status credentials_send(const struct invocation *invocation,
                                    const struct credential_create *create, char name[ACO_NAME_MAX + 1],
                                    struct error *error)
{
    struct link *link;
    enum status status = link_open(invocation->dir, NULL, &link, error);
    if (status != STATUS_OK)
        return status;
    struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
    struct engine_txn *txn;
    struct aco aco;
    status = engine_begin_read(store_engine(link_store(link)), &txn, error);
    if (status == STATUS_OK) {
        status = aco_find(txn, slice_from_text(create->aco_id), &aco, error);
        engine_end(txn);
    }
    if (status == STATUS_OK) {
        snprintf(name, ACO_NAME_MAX + 1, "%s", *aco.name ? aco.name : aco.id);
        buffer_append_sized(&payload, slice_from_text(create->aco_id));
        buffer_append_sized(&payload, slice_from_text(create->credential.client_id));
        buffer_append(&payload, create->credential.salt, sizeof create->credential.salt);
        buffer_append(&payload, create->credential.hash, sizeof create->credential.hash);
        status = link_call(link, CONTROL_COMMAND_CREDENTIAL_CREATE, buffer_slice(&payload), &reply, error);
    }
    buffer_release(&payload);
    buffer_release(&reply);
    link_close(link);
    return status;
}

int command_credentials_create(const struct invocation *invocation)
{
    char brought[CLIENT_SECRET_SIZE + 2] = "", secret[CLIENT_SECRET_SIZE + 1], name[ACO_NAME_MAX + 1];
    const char *client_id = invocation->options[OPTION_CLIENT_ID];
    const char *secret_file = invocation->options[OPTION_SECRET_FILE];
    struct credential_create create;
    struct error error;
    enum status status = secret_file ? read_secret(secret_file, brought, &error) : STATUS_OK;
    if (status == STATUS_OK)
        status = credential_create_init(&create, slice_from_text(invocation->arguments[0]),
                                        slice_from_text(client_id ? client_id : ""), slice_from_text(brought),
                                        secret, &error);
    if (status == STATUS_OK)
        status = credentials_send(invocation, &create, name, &error);
    if (status == STATUS_OK)
        printf("%s\n%s\n%s\n", name, create.credential.client_id, secret);
    explicit_bzero(secret, sizeof secret);
    explicit_bzero(brought, sizeof brought);
    return status == STATUS_OK ? EXIT_DONE : complain(&error);
}

int command_credentials_revoke(const struct invocation *invocation)
{
    struct buffer payload = BUFFER_INIT;
    buffer_append_sized(&payload, slice_from_text(invocation->arguments[0]));
    int exit_status = send_command(invocation, CONTROL_COMMAND_CREDENTIAL_REVOKE, &payload);
    buffer_release(&payload);
    return exit_status;
}

static enum status list_credential(void *context, const struct credential *credential, struct error *error)
{
    struct listing *listing = context;
    struct aco aco;
    enum status status = aco_get(listing->steps.txn, credential->aco, &aco, error);
    if (status != STATUS_OK)
        return status;
    listing_row_begin(listing);
    listing_text(listing, "clientId", credential->client_id);
    listing_text(listing, "aco", aco.id);
    listing_instant(listing, "made", credential->created_us);
    listing_text(listing, "state", credential->revoked ? "revoked" : "active");
    listing_row_end(listing);
    return STATUS_OK;
}

static enum status fill_credentials(struct listing *listing, struct error *error)
{
    struct aco aco = {.number = 0};
    enum status status = STATUS_OK;
    if (listing->invocation->argument_count)
        status =
            aco_find(listing->steps.txn, slice_from_text(listing->invocation->arguments[0]), &aco, error);
    if (status != STATUS_OK)
        return status;
    status = credential_each(listing->steps.txn, aco.number, list_credential, listing, error);
    return listing_pass_damage(listing, status, error);
}

int command_credentials_list(const struct invocation *invocation)
{
    static const char *const titles[] = {"client id", "ACO", "made", "state"};
    return listing_run(invocation, titles, 4, fill_credentials);
}
