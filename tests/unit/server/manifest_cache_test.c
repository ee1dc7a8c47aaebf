#include "server/manifest_cache.h"

#include "codec/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HOST SLICE_LITERAL("https://a")

static struct job completed(uint64_t id)
{
    return (struct job){
        .id = id, .state = JOB_STATE_COMPLETED, .updated_us = 10, .expires_us = 20, .due_us = 20};
}

static bool is_kept(struct manifest_cache *cache, struct job job, struct slice base_url, const char *manifest)
{
    struct kept_manifest found;
    return manifest_cache_find(cache, &job, 1, base_url, &found) && slice_equal_text(found.text, manifest) &&
           found.expires_us == job.expires_us;
}

static void a_manifest_is_found_for_the_same_job_times_and_host(void **state)
{
    (void)state;
    struct manifest_cache *cache = manifest_cache_new();
    struct job job = completed(1), later = job, longer = job;
    later.updated_us++;
    longer.expires_us++;
    assert_false(is_kept(cache, job, HOST, "{}"));
    manifest_cache_keep(cache, &job, 1, HOST, SLICE_LITERAL("{}"));
    assert_true(is_kept(cache, job, HOST, "{}"));
    assert_false(is_kept(cache, completed(2), HOST, "{}"));
    assert_false(is_kept(cache, later, HOST, "{}"));
    assert_false(is_kept(cache, longer, HOST, "{}"));
    assert_false(is_kept(cache, job, SLICE_LITERAL("https://b"), "{}"));
    assert_false(is_kept(cache, job, SLICE_LITERAL("https://"), "a{}"));
    manifest_cache_free(cache);
}

static void what_was_used_least_recently_makes_room(void **state)
{
    (void)state;
    struct manifest_cache *cache = manifest_cache_new();
    for (uint64_t id = 1; id <= MANIFEST_CACHE_ENTRIES; id++) {
        struct job job = completed(id);
        manifest_cache_keep(cache, &job, 1, HOST, SLICE_LITERAL("{}"));
    }
    assert_true(is_kept(cache, completed(1), HOST, "{}"));
    struct job job = completed(MANIFEST_CACHE_ENTRIES + 1);
    manifest_cache_keep(cache, &job, 1, HOST, SLICE_LITERAL("[]"));
    assert_true(is_kept(cache, completed(1), HOST, "{}"));
    assert_false(is_kept(cache, completed(2), HOST, "{}"));
    assert_true(is_kept(cache, completed(3), HOST, "{}"));
    assert_true(is_kept(cache, job, HOST, "[]"));
    manifest_cache_free(cache);
}

static void what_is_too_large_is_not_kept(void **state)
{
    (void)state;
    struct manifest_cache *cache = manifest_cache_new();
    struct job small = completed(1), large = completed(2);
    char *text = mem_zalloc(MANIFEST_CACHE_BYTES_MAX + 1);
    struct kept_manifest found;
    manifest_cache_keep(cache, &small, 1, HOST, slice_make(text, MANIFEST_CACHE_BYTES_MAX - HOST.size));
    manifest_cache_keep(cache, &large, 1, HOST, slice_make(text, MANIFEST_CACHE_BYTES_MAX - HOST.size + 1));
    assert_true(manifest_cache_find(cache, &small, 1, HOST, &found));
    assert_int_equal(found.text.size, MANIFEST_CACHE_BYTES_MAX - HOST.size);
    assert_false(manifest_cache_find(cache, &large, 1, HOST, &found));
    mem_free(text);
    manifest_cache_free(cache);
}

static int64_t now_us = 15;

static bool is_recalled(struct manifest_cache *cache, struct job job, uint64_t commit, struct slice base_url)
{
    struct kept_manifest found;
    return manifest_cache_recall(cache, job.id, job.aco, commit, now_us, base_url, &found) &&
           slice_equal_text(found.text, "{}") && found.expires_us == job.expires_us;
}

static void a_manifest_is_recalled_only_of_the_commit_at_which_it_was_last_seen(void **state)
{
    (void)state;
    struct manifest_cache *cache = manifest_cache_new();
    struct kept_manifest found;
    struct job job = completed(1), of_another = job, longer = job;
    job.aco = 5;
    of_another.aco = 6;
    assert_false(is_recalled(cache, job, 7, HOST));
    manifest_cache_keep(cache, &job, 7, HOST, SLICE_LITERAL("{}"));
    assert_true(is_recalled(cache, job, 7, HOST));
    assert_false(is_recalled(cache, job, 8, HOST));
    assert_false(is_recalled(cache, of_another, 7, HOST));
    assert_false(is_recalled(cache, job, 7, SLICE_LITERAL("https://b")));
    assert_true(manifest_cache_find(cache, &job, 8, HOST, &found)); /* looked at again */
    assert_true(is_recalled(cache, job, 8, HOST));
    assert_false(is_recalled(cache, job, 7, HOST));
    longer.aco = 5;
    longer.expires_us++;
    assert_false(manifest_cache_find(cache, &longer, 9, HOST, &found));
    manifest_cache_keep(cache, &longer, 9, HOST, SLICE_LITERAL("{}"));
    assert_true(is_recalled(cache, longer, 9, HOST));
    assert_false(is_recalled(cache, longer, 8, HOST)); /* the one of before was written over */
    now_us = 20;                                       /* archived, though nothing was committed */
    assert_false(is_recalled(cache, longer, 9, HOST));
    manifest_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_is_found_for_the_same_job_times_and_host),
        cmocka_unit_test(what_was_used_least_recently_makes_room),
        cmocka_unit_test(what_is_too_large_is_not_kept),
        cmocka_unit_test(a_manifest_is_recalled_only_of_the_commit_at_which_it_was_last_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
