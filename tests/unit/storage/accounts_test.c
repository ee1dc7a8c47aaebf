#include "storage/accounts.h"

#include "codec/base/buffer.h"
#include "codec/base/mem.h"
#include "tests/support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const struct slice nothing;
static const char client[] = "5b1e1c0a-9d3f-4c57-8f0e-2f6d1a7b3c4d";
static const char secret[] = "0123456789abcdef0123456789abcdef01234567"
                             "89ABCDEF0123456789abcdef0123456789abcdef";

static void expect_status(enum status status, enum status expected, const struct error *error)
{
    if (status != expected)
        fail_msg("%s instead of %s: %s", status_name(status), status_name(expected), error->text);
}

static int setup(void **state)
{
    struct store_fixture *fixture = mem_new(struct store_fixture);
    store_fixture_open(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    store_fixture_close(*state);
    mem_free(*state);
    return 0;
}

static enum status add(struct store_fixture *fixture, const char *id, uint32_t *ret_number,
                       struct error *error)
{
    struct aco_add request;
    enum status status = aco_add_init(&request, slice_from_text(id), SLICE_LITERAL("Name"), error);
    if (status == STATUS_OK)
        status = writer_call(fixture->writer, &request.request, error);
    if (status == STATUS_OK)
        *ret_number = request.ret_number;
    return status;
}

static void remove_aco(struct store_fixture *fixture, const char *id, enum status expected)
{
    struct error error = {0};
    struct aco_remove request;
    expect_status(aco_remove_init(&request, slice_from_text(id), &error), STATUS_OK, &error);
    expect_status(writer_call(fixture->writer, &request.request, &error), expected, &error);
}

static enum status create(struct store_fixture *fixture, const char *aco, const char *client_id,
                          char ret_secret[CLIENT_SECRET_SIZE + 1], struct credential *ret_credential,
                          struct error *error)
{
    struct credential_create request;
    enum status status = credential_create_init(&request, slice_from_text(aco), slice_from_text(client_id),
                                                nothing, ret_secret, error);
    if (status == STATUS_OK)
        status = writer_call(fixture->writer, &request.request, error);
    if (status == STATUS_OK && ret_credential)
        *ret_credential = request.credential;
    return status;
}

static void revoke(struct store_fixture *fixture, const char *client_id, enum status expected)
{
    struct error error = {0};
    struct credential_revoke request;
    expect_status(credential_revoke_init(&request, slice_from_text(client_id), &error), STATUS_OK, &error);
    expect_status(writer_call(fixture->writer, &request.request, &error), expected, &error);
}

static struct credential credential_of(struct store_fixture *fixture, const char *client_id)
{
    struct error error = {0};
    struct credential credential;
    struct engine_txn *txn = store_fixture_read(fixture);
    expect_status(credential_get(txn, slice_from_text(client_id), &credential, &error), STATUS_OK, &error);
    engine_end(txn);
    return credential;
}

/* Handlers that append one line a record. */
static enum status list_aco(void *context, const struct aco *aco, struct error *error)
{
    (void)error;
    buffer_appendf(context, "%u %s\n", aco->number, aco->id);
    return STATUS_OK;
}

static enum status list_credential(void *context, const struct credential *credential, struct error *error)
{
    (void)error;
    buffer_appendf(context, "%u %s%s\n", credential->aco, credential->client_id,
                   credential->revoked ? " revoked" : "");
    return STATUS_OK;
}

static enum status refuse_aco(void *context, const struct aco *aco, struct error *error)
{
    (void)aco;
    ++*(int *)context;
    return error_set(error, STATUS_CANCELLED, "enough");
}

static void expect_acos(struct store_fixture *fixture, const char *expected)
{
    struct error error = {0};
    struct buffer list = BUFFER_INIT;
    struct engine_txn *txn = store_fixture_read(fixture);
    expect_status(aco_each(txn, list_aco, &list, &error), STATUS_OK, &error);
    engine_end(txn);
    assert_string_equal(buffer_text(&list), expected);
    buffer_release(&list);
}

static void expect_credentials(struct store_fixture *fixture, uint32_t aco, const char *expected)
{
    struct error error = {0};
    struct buffer list = BUFFER_INIT;
    struct engine_txn *txn = store_fixture_read(fixture);
    expect_status(credential_each(txn, aco, list_credential, &list, &error), STATUS_OK, &error);
    engine_end(txn);
    assert_string_equal(buffer_text(&list), expected);
    buffer_release(&list);
}

/* ---- ACOs ---- */

static void added_aco_is_found_by_number_and_id_also_after_a_restart(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    struct aco_add request;
    struct aco aco;
    expect_status(aco_add_init(&request, SLICE_LITERAL("A9994"), SLICE_LITERAL("Bäume & Söhne"), &error),
                  STATUS_OK, &error);
    expect_status(writer_call(fixture->writer, &request.request, &error), STATUS_OK, &error);
    assert_int_equal(request.ret_number, 1);
    store_fixture_reopen(fixture);

    struct engine_txn *txn = store_fixture_read(fixture);
    for (int by_id = 0; by_id < 2; by_id++) {
        memset(&aco, 0xee, sizeof aco);
        expect_status(by_id ? aco_find(txn, SLICE_LITERAL("A9994"), &aco, &error)
                            : aco_get(txn, 1, &aco, &error),
                      STATUS_OK, &error);
        assert_int_equal(aco.number, 1);
        assert_string_equal(aco.id, "A9994");
        assert_string_equal(aco.name, "Bäume & Söhne");
        assert_false(aco.removed);
        assert_true(aco.newest_transaction_time_us == INT64_MIN);
    }
    struct store_clock clock;
    expect_status(store_clock_read(txn, &clock, &error), STATUS_OK, &error);
    assert_true(aco.created_us == clock.instant_us);
    engine_end(txn);
}

static void aco_ids_and_names_are_checked(void **state)
{
    (void)state;
    struct aco_add request;
    struct error error = {0};
    static const char *const ids[] = {"", "a9994", "A999", "A99944", "A9994\n", "\"><script>", "A9994 "};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        expect_status(aco_add_init(&request, slice_from_text(ids[i]), SLICE_LITERAL("Name"), &error),
                      STATUS_INVALID, &error);
    expect_status(aco_add_init(&request, SLICE_LITERAL("A99\0004"), SLICE_LITERAL("Name"), &error),
                  STATUS_INVALID, &error);

    char name[ACO_NAME_MAX + 1];
    memset(name, 'x', sizeof name);
    expect_status(aco_add_init(&request, SLICE_LITERAL("A9994"), slice_make(name, ACO_NAME_MAX), &error),
                  STATUS_OK, &error);
    expect_status(aco_add_init(&request, SLICE_LITERAL("A9994"), nothing, &error), STATUS_OK, &error);
    expect_status(aco_add_init(&request, SLICE_LITERAL("A9994"), slice_make(name, sizeof name), &error),
                  STATUS_INVALID, &error);
    static const char *const names[] = {"a\nb", "a\tb", "\x7f", "\xff", "caf\xc3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_status(aco_add_init(&request, SLICE_LITERAL("A9994"), slice_from_text(names[i]), &error),
                      STATUS_INVALID, &error);
    expect_status(aco_add_init(&request, SLICE_LITERAL("A9994"), SLICE_LITERAL("a\0b"), &error),
                  STATUS_INVALID, &error);

    struct aco_remove remove;
    expect_status(aco_remove_init(&remove, SLICE_LITERAL("nonsense"), &error), STATUS_INVALID, &error);
}

static void longest_name_is_kept(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    struct aco_add request;
    struct aco aco;
    char name[ACO_NAME_MAX];
    memset(name, 'x', sizeof name);
    expect_status(aco_add_init(&request, SLICE_LITERAL("A9994"), slice_make(name, sizeof name), &error),
                  STATUS_OK, &error);
    expect_status(writer_call(fixture->writer, &request.request, &error), STATUS_OK, &error);
    struct engine_txn *txn = store_fixture_read(fixture);
    expect_status(aco_get(txn, request.ret_number, &aco, &error), STATUS_OK, &error);
    assert_int_equal(strlen(aco.name), ACO_NAME_MAX);
    engine_end(txn);
}

static void unknown_acos_are_not_found_and_named(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    struct aco aco;
    struct engine_txn *txn = store_fixture_read(fixture);
    expect_status(aco_find(txn, SLICE_LITERAL("A9994"), &aco, &error), STATUS_NOT_FOUND, &error);
    assert_non_null(strstr(error.text, "A9994"));
    expect_status(aco_get(txn, 7, &aco, &error), STATUS_NOT_FOUND, &error);
    assert_non_null(strstr(error.text, "7"));
    /* What a client sends as an id reaches no key. */
    char endless[1000];
    memset(endless, 'A', sizeof endless);
    expect_status(aco_find(txn, slice_make(endless, sizeof endless), &aco, &error), STATUS_NOT_FOUND, &error);
    expect_status(aco_find(txn, SLICE_LITERAL("A\0B"), &aco, &error), STATUS_NOT_FOUND, &error);
    expect_status(aco_find(txn, nothing, &aco, &error), STATUS_NOT_FOUND, &error);
    engine_end(txn);
    remove_aco(fixture, "A9994", STATUS_NOT_FOUND);
}

static void an_aco_exists_once(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    uint32_t number = 0;
    expect_status(add(fixture, "A9994", &number, &error), STATUS_OK, &error);
    expect_status(add(fixture, "A9994", &number, &error), STATUS_EXISTS, &error);
    assert_non_null(strstr(error.text, "A9994"));
    expect_acos(fixture, "1 A9994\n");
}

static void removed_aco_is_gone_and_its_number_is_never_given_again(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    struct aco aco;
    uint32_t number = 0;
    assert_int_equal(store_fixture_add_aco(fixture, "A9994"), 1);
    assert_int_equal(store_fixture_add_aco(fixture, "A9995"), 2);
    remove_aco(fixture, "A9994", STATUS_OK);
    remove_aco(fixture, "A9994", STATUS_NOT_FOUND);
    expect_acos(fixture, "2 A9995\n");

    struct engine_txn *txn = store_fixture_read(fixture);
    expect_status(aco_find(txn, SLICE_LITERAL("A9994"), &aco, &error), STATUS_NOT_FOUND, &error);
    expect_status(aco_get(txn, 1, &aco, &error), STATUS_OK, &error);
    assert_true(aco.removed);
    engine_end(txn);

    expect_status(add(fixture, "A9994", &number, &error), STATUS_OK, &error);
    assert_int_equal(number, 3);
    expect_acos(fixture, "2 A9995\n3 A9994\n");
}

static void handler_ends_the_walk(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    int calls = 0;
    store_fixture_add_aco(fixture, "A9994");
    store_fixture_add_aco(fixture, "A9995");
    struct engine_txn *txn = store_fixture_read(fixture);
    expect_status(aco_each(txn, refuse_aco, &calls, &error), STATUS_CANCELLED, &error);
    engine_end(txn);
    assert_int_equal(calls, 1);
    assert_string_equal(error.text, "enough");
}

struct note {
    struct write_request request;
    uint32_t aco;
    int64_t us;
};

static enum status note_apply(struct write_request *request, struct store_write *write, struct error *error)
{
    struct note *note = (struct note *)request;
    return aco_note_transaction_time(write, note->aco, note->us, error);
}

static void newest_transaction_time_never_moves_back(void **state)
{
    struct store_fixture *fixture = *state;
    static const struct {
        int64_t given, kept;
    } steps[] = {{-5, -5}, {1000, 1000}, {999, 1000}, {1000, 1000}, {1001, 1001}};
    struct error error = {0};
    uint32_t number = store_fixture_add_aco(fixture, "A9994");
    uint64_t generation = store_accounts_generation(fixture->store);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct note note = {.request.apply = note_apply, .aco = number, .us = steps[i].given};
        expect_status(writer_call(fixture->writer, &note.request, &error), STATUS_OK, &error);
        struct aco aco;
        struct engine_txn *txn = store_fixture_read(fixture);
        expect_status(aco_get(txn, number, &aco, &error), STATUS_OK, &error);
        engine_end(txn);
        assert_true(aco.newest_transaction_time_us == steps[i].kept);
        assert_string_equal(aco.id, "A9994");
    }
    /* No reason for anybody to verify tokens again. */
    assert_true(store_accounts_generation(fixture->store) == generation);
    struct note unknown = {.request.apply = note_apply, .aco = 77};
    expect_status(writer_call(fixture->writer, &unknown.request, &error), STATUS_NOT_FOUND, &error);
}

/* ---- Credentials ---- */

static void only_the_right_secret_matches(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    char given[CLIENT_SECRET_SIZE + 1];
    struct credential created;
    store_fixture_add_aco(fixture, "A9994");
    expect_status(create(fixture, "A9994", "", given, &created, &error), STATUS_OK, &error);
    assert_int_equal(strlen(given), CLIENT_SECRET_SIZE);
    assert_int_equal(strspn(given, "0123456789abcdef"), CLIENT_SECRET_SIZE);
    store_fixture_reopen(fixture);

    struct credential credential = credential_of(fixture, created.client_id);
    assert_string_equal(credential.client_id, created.client_id);
    assert_int_equal(credential.aco, 1);
    assert_false(credential.revoked);
    assert_true(credential_matches(&credential, slice_from_text(given)));
    for (size_t i = 0; i < CLIENT_SECRET_SIZE; i++) {
        given[i] = given[i] == '0' ? '1' : '0';
        assert_false(credential_matches(&credential, slice_from_text(given)));
        given[i] = given[i] == '0' ? '1' : '0';
    }
    assert_false(credential_matches(&credential, slice_make(given, CLIENT_SECRET_SIZE - 1)));
    assert_false(credential_matches(&credential, nothing));
    struct credential nobody = {.aco = 0};
    assert_false(credential_matches(&nobody, slice_from_text(given)));
    assert_false(credential_matches(&nobody, nothing));
}

static void secret_from_outside_is_kept_as_it_is(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    struct credential_create request;
    char given[CLIENT_SECRET_SIZE + 1];
    store_fixture_add_aco(fixture, "A9994");
    expect_status(credential_create_init(&request, SLICE_LITERAL("A9994"), slice_from_text(client),
                                         slice_from_text(secret), given, &error),
                  STATUS_OK, &error);
    assert_string_equal(given, secret);
    strcpy(request.credential.name, "nightly export");
    expect_status(writer_call(fixture->writer, &request.request, &error), STATUS_OK, &error);
    struct credential credential = credential_of(fixture, client);
    assert_string_equal(credential.name, "nightly export");
    assert_true(credential_matches(&credential, slice_from_text(secret)));
    for (char *c = given; *c; c++) {
        if (*c >= 'A' && *c <= 'F')
            *c = (char)(*c | 0x20);
    }
    assert_false(credential_matches(&credential, slice_from_text(given)));
}

static void secret_is_nowhere_in_the_store(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    char given[CLIENT_SECRET_SIZE + 1];
    store_fixture_add_aco(fixture, "A9994");
    expect_status(create(fixture, "A9994", client, given, NULL, &error), STATUS_OK, &error);
    char path[sizeof fixture->dir + 16];
    snprintf(path, sizeof path, "%s/store.mdb", fixture->dir);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    struct buffer bytes = BUFFER_INIT;
    size_t size;
    while ((size = fread(buffer_reserve(&bytes, 65536), 1, 65536, file)) > 0)
        bytes.size += size;
    fclose(file);
    assert_non_null(memmem(bytes.data, bytes.size, client, CLIENT_ID_SIZE));
    assert_null(memmem(bytes.data, bytes.size, given, CLIENT_SECRET_SIZE));
    buffer_release(&bytes);
}

static void equal_secrets_are_stored_differently(void **state)
{
    (void)state;
    struct error error = {0};
    struct credential_create first, second;
    char given[CLIENT_SECRET_SIZE + 1];
    expect_status(credential_create_init(&first, SLICE_LITERAL("A9994"), nothing, slice_from_text(secret),
                                         given, &error),
                  STATUS_OK, &error);
    expect_status(credential_create_init(&second, SLICE_LITERAL("A9994"), nothing, slice_from_text(secret),
                                         given, &error),
                  STATUS_OK, &error);
    assert_memory_not_equal(first.credential.hash, second.credential.hash, sizeof first.credential.hash);
    assert_string_not_equal(first.credential.client_id, second.credential.client_id);
}

static void secrets_and_client_ids_from_outside_are_checked(void **state)
{
    (void)state;
    struct error error = {0};
    struct credential_create request;
    char given[CLIENT_SECRET_SIZE + 1], bad[CLIENT_SECRET_SIZE + 1];
    static const size_t sizes[] = {1, 40, 79, 81};
    static const char *const ids[] = {"x",
                                      "5b1e1c0a-9d3f-4c57-8f0e-2f6d1a7b3c4",
                                      "5b1e1c0a9d3f4c578f0e2f6d1a7b3c4d",
                                      "5b1e1c0a-9d3f-4c57-8f0e-2f6d1a7b3c4g",
                                      "5b1e1c0a-9d3f-4c57-8f0e+2f6d1a7b3c4d",
                                      "{5b1e1c0a-9d3f-4c57-8f0e-2f6d1a7b3c}"};
    memset(bad, 'a', sizeof bad);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        expect_status(credential_create_init(&request, SLICE_LITERAL("A9994"), nothing,
                                             slice_make(bad, sizes[i]), given, &error),
                      STATUS_INVALID, &error);
    static const char wrong[] = {'g', 'G', ' ', '/', ':', '@', '`', '\0', '\x11', (char)0xe1};
    for (size_t i = 0; i < sizeof wrong; i++) {
        bad[i] = wrong[i];
        expect_status(credential_create_init(&request, SLICE_LITERAL("A9994"), nothing,
                                             slice_make(bad, CLIENT_SECRET_SIZE), given, &error),
                      STATUS_INVALID, &error);
        assert_null(strstr(error.text, "aaaa")); /* no part of it */
        bad[i] = 'a';
    }
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        expect_status(credential_create_init(&request, SLICE_LITERAL("A9994"), slice_from_text(ids[i]),
                                             nothing, given, &error),
                      STATUS_INVALID, &error);
        struct credential_revoke revocation;
        expect_status(credential_revoke_init(&revocation, slice_from_text(ids[i]), &error), STATUS_INVALID,
                      &error);
    }
    expect_status(
        credential_create_init(&request, SLICE_LITERAL("nonsense"), nothing, nothing, given, &error),
        STATUS_INVALID, &error);
}

static void credential_needs_its_aco(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    char given[CLIENT_SECRET_SIZE + 1];
    expect_status(create(fixture, "A9994", client, given, NULL, &error), STATUS_NOT_FOUND, &error);
    store_fixture_add_aco(fixture, "A9994");
    remove_aco(fixture, "A9994", STATUS_OK);
    expect_status(create(fixture, "A9994", client, given, NULL, &error), STATUS_NOT_FOUND, &error);
    expect_credentials(fixture, 0, "");
}

static void client_id_is_given_once_in_either_case(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    char given[CLIENT_SECRET_SIZE + 1], upper[CLIENT_ID_SIZE + 1];
    for (size_t i = 0; i <= CLIENT_ID_SIZE; i++)
        upper[i] = (char)(client[i] >= 'a' && client[i] <= 'f' ? client[i] & ~0x20 : client[i]);
    store_fixture_add_aco(fixture, "A9994");
    expect_status(create(fixture, "A9994", upper, given, NULL, &error), STATUS_OK, &error);
    expect_status(create(fixture, "A9994", client, given, NULL, &error), STATUS_EXISTS, &error);
    assert_string_equal(credential_of(fixture, client).client_id, client);
    assert_string_equal(credential_of(fixture, upper).client_id, client);
    revoke(fixture, upper, STATUS_OK);
    assert_true(credential_of(fixture, client).revoked);
    /* Also after its revocation: who holds the old secret must stay out. */
    expect_status(create(fixture, "A9994", client, given, NULL, &error), STATUS_EXISTS, &error);
}

static void bad_name_of_a_credential_is_refused(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    struct credential_create request;
    char given[CLIENT_SECRET_SIZE + 1];
    store_fixture_add_aco(fixture, "A9994");
    expect_status(credential_create_init(&request, SLICE_LITERAL("A9994"), nothing, nothing, given, &error),
                  STATUS_OK, &error);
    strcpy(request.credential.name, "two\nlines");
    expect_status(writer_call(fixture->writer, &request.request, &error), STATUS_INVALID, &error);
    expect_status(credential_create_init(&request, SLICE_LITERAL("A9994"), nothing, nothing, given, &error),
                  STATUS_OK, &error);
    memset(request.credential.name, 'x', sizeof request.credential.name); /* no NUL */
    expect_status(writer_call(fixture->writer, &request.request, &error), STATUS_INVALID, &error);
}

static void revoked_credential_matches_nothing_and_stays_listed(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    char given[CLIENT_SECRET_SIZE + 1], line[80];
    store_fixture_add_aco(fixture, "A9994");
    expect_status(create(fixture, "A9994", client, given, NULL, &error), STATUS_OK, &error);
    revoke(fixture, client, STATUS_OK);
    struct credential credential = credential_of(fixture, client);
    assert_true(credential.revoked);
    assert_false(credential_matches(&credential, slice_from_text(given)));
    snprintf(line, sizeof line, "1 %s revoked\n", client);
    expect_credentials(fixture, 1, line);
    revoke(fixture, client, STATUS_OK);
    revoke(fixture, "00000000-0000-0000-0000-000000000000", STATUS_NOT_FOUND);
}

static void unknown_client_ids_are_not_found(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    struct credential credential;
    char endless[2000];
    memset(endless, 'a', sizeof endless);
    struct engine_txn *txn = store_fixture_read(fixture);
    const struct slice ids[] = {
        nothing,
        slice_from_text(client),
        slice_make(endless, sizeof endless),
        SLICE_LITERAL("5b1e1c0a-9d3f-4c57-8f0e-2f6d1a7b3c4\0"),
        SLICE_LITERAL("' or 1=1 --"),
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        expect_status(credential_get(txn, ids[i], &credential, &error), STATUS_NOT_FOUND, &error);
    engine_end(txn);
}

static void credentials_are_listed_by_aco_in_order(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    char given[CLIENT_SECRET_SIZE + 1];
    store_fixture_add_aco(fixture, "A9994");
    store_fixture_add_aco(fixture, "A9995");
    static const struct {
        const char *aco, *client_id;
    } rows[] = {
        {"A9995", "c0000000-0000-4000-8000-000000000000"},
        {"A9994", "b0000000-0000-4000-8000-000000000000"},
        {"A9995", "a0000000-0000-4000-8000-000000000000"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_status(create(fixture, rows[i].aco, rows[i].client_id, given, NULL, &error), STATUS_OK,
                      &error);
    expect_credentials(fixture, 1, "1 b0000000-0000-4000-8000-000000000000\n");
    expect_credentials(fixture, 2,
                       "2 a0000000-0000-4000-8000-000000000000\n2 c0000000-0000-4000-8000-000000000000\n");
    expect_credentials(fixture, 3, "");
    expect_credentials(fixture, 0,
                       "2 a0000000-0000-4000-8000-000000000000\n1 b0000000-0000-4000-8000-000000000000\n"
                       "2 c0000000-0000-4000-8000-000000000000\n");
}

static void removing_an_aco_revokes_its_credentials_and_no_others(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    char given[CLIENT_SECRET_SIZE + 1];
    struct credential mine[3], other;
    store_fixture_add_aco(fixture, "A9994");
    store_fixture_add_aco(fixture, "A9995");
    for (int i = 0; i < 3; i++)
        expect_status(create(fixture, "A9994", "", given, &mine[i], &error), STATUS_OK, &error);
    expect_status(create(fixture, "A9995", "", given, &other, &error), STATUS_OK, &error);
    revoke(fixture, mine[1].client_id, STATUS_OK);
    /* One that cannot be read does not keep the others alive. */
    struct key key;
    key_of_id(&key, slice_from_text(mine[2].client_id));
    store_fixture_put(fixture, TABLE_CREDENTIAL, key_slice(&key), SLICE_LITERAL("garbage"));
    remove_aco(fixture, "A9994", STATUS_OK);
    for (int i = 0; i < 2; i++)
        assert_true(credential_of(fixture, mine[i].client_id).revoked);
    assert_false(credential_of(fixture, other.client_id).revoked);
}

static void each_change_moves_the_accounts_generation(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    char given[CLIENT_SECRET_SIZE + 1];
    uint64_t before = store_accounts_generation(fixture->store);
    uint32_t number = 0;
#define EXPECT_MOVED(moved)                                                                                  \
    do {                                                                                                     \
        uint64_t now = store_accounts_generation(fixture->store);                                            \
        assert_int_equal(now > before, moved);                                                               \
        before = now;                                                                                        \
    } while (0)
    store_fixture_add_aco(fixture, "A9994");
    EXPECT_MOVED(true);
    expect_status(add(fixture, "A9994", &number, &error), STATUS_EXISTS, &error);
    EXPECT_MOVED(false);
    expect_status(create(fixture, "A9994", client, given, NULL, &error), STATUS_OK, &error);
    EXPECT_MOVED(true);
    revoke(fixture, client, STATUS_OK);
    EXPECT_MOVED(true);
    revoke(fixture, client, STATUS_OK);
    EXPECT_MOVED(false);
    remove_aco(fixture, "A9994", STATUS_OK);
    EXPECT_MOVED(true);
#undef EXPECT_MOVED
}

/* ---- Records of other makers ---- */

static void damaged_and_newer_records_are_told_apart_and_cost_only_themselves(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error = {0};
    struct aco aco;
    struct credential credential;
    struct key key;
    char given[CLIENT_SECRET_SIZE + 1];
    store_fixture_add_aco(fixture, "A9994");
    store_fixture_add_aco(fixture, "A9995");
    store_fixture_add_aco(fixture, "A9996");
    expect_status(create(fixture, "A9996", client, given, NULL, &error), STATUS_OK, &error);
    key_of_u32(&key, 1);
    store_fixture_put(fixture, TABLE_ACO, key_slice(&key), SLICE_LITERAL("O\x01 cut"));
    key_of_u32(&key, 2);
    store_fixture_put(fixture, TABLE_ACO, key_slice(&key), SLICE_LITERAL("O\x02 something newer"));
    key_of_id(&key, slice_from_text(client));
    store_fixture_put(fixture, TABLE_CREDENTIAL, key_slice(&key), SLICE_LITERAL("C\x09"));

    struct engine_txn *txn = store_fixture_read(fixture);
    expect_status(aco_get(txn, 1, &aco, &error), STATUS_CORRUPT, &error);
    expect_status(aco_get(txn, 2, &aco, &error), STATUS_UNSUPPORTED, &error);
    assert_non_null(strstr(error.text, "version 2"));
    struct buffer list = BUFFER_INIT;
    expect_status(aco_each(txn, list_aco, &list, &error), STATUS_CORRUPT, &error);
    assert_non_null(strstr(error.text, "ACO 1"));
    assert_string_equal(buffer_text(&list), "3 A9996\n");
    expect_status(credential_get(txn, slice_from_text(client), &credential, &error), STATUS_UNSUPPORTED,
                  &error);
    expect_status(credential_each(txn, 3, list_credential, &list, &error), STATUS_UNSUPPORTED, &error);
    engine_end(txn);
    buffer_release(&list);
}

static void uuids_are_version_4_and_differ(void **state)
{
    (void)state;
    char uuids[100][37];
    for (size_t i = 0; i < 100; i++) {
        uuid_make(uuids[i]);
        assert_int_equal(strlen(uuids[i]), 36);
        assert_int_equal(strspn(uuids[i], "0123456789abcdef-"), 36);
        for (size_t at = 0; at < 36; at++)
            assert_int_equal(uuids[i][at] == '-', at == 8 || at == 13 || at == 18 || at == 23);
        assert_int_equal(uuids[i][14], '4');
        assert_non_null(strchr("89ab", uuids[i][19]));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(uuids[i], uuids[j]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(added_aco_is_found_by_number_and_id_also_after_a_restart),
        cmocka_unit_test(aco_ids_and_names_are_checked),
        TEST(longest_name_is_kept),
        TEST(unknown_acos_are_not_found_and_named),
        TEST(an_aco_exists_once),
        TEST(removed_aco_is_gone_and_its_number_is_never_given_again),
        TEST(handler_ends_the_walk),
        TEST(newest_transaction_time_never_moves_back),
        TEST(only_the_right_secret_matches),
        TEST(secret_from_outside_is_kept_as_it_is),
        TEST(secret_is_nowhere_in_the_store),
        cmocka_unit_test(equal_secrets_are_stored_differently),
        cmocka_unit_test(secrets_and_client_ids_from_outside_are_checked),
        TEST(credential_needs_its_aco),
        TEST(client_id_is_given_once_in_either_case),
        TEST(bad_name_of_a_credential_is_refused),
        TEST(revoked_credential_matches_nothing_and_stays_listed),
        TEST(unknown_client_ids_are_not_found),
        TEST(credentials_are_listed_by_aco_in_order),
        TEST(removing_an_aco_revokes_its_credentials_and_no_others),
        TEST(each_change_moves_the_accounts_generation),
        TEST(damaged_and_newer_records_are_told_apart_and_cost_only_themselves),
        cmocka_unit_test(uuids_are_version_4_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
