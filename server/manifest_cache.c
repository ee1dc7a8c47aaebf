#include "server/manifest_cache.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

struct entry {
    uint64_t used; /* 0: empty; else the cache's tick of the last use */
    uint64_t job_id;
    uint32_t aco;
    uint64_t commit; /* of the store when job and ACO were last looked at */
    int64_t updated_us;
    int64_t expires_us;
    int64_t due_us; /* when the job is archived */
    size_t base_url_size;
    struct buffer text; /* the base URL, then the manifest */
};

struct manifest_cache {
    uint64_t tick;
    struct entry entries[MANIFEST_CACHE_ENTRIES];
};

struct manifest_cache *manifest_cache_new(void)
{
    return mem_new(struct manifest_cache);
}

void manifest_cache_free(struct manifest_cache *cache)
{
    for (size_t i = 0; i < MANIFEST_CACHE_ENTRIES; i++)
        buffer_release(&cache->entries[i].text);
    mem_free(cache);
}

static struct entry *entry_of(struct manifest_cache *cache, uint64_t job_id, struct slice base_url)
{
    for (struct entry *entry = cache->entries; entry < cache->entries + MANIFEST_CACHE_ENTRIES; entry++) {
        struct slice text = buffer_slice(&entry->text);
        if (entry->used && entry->job_id == job_id &&
            slice_equal(slice_make(text.data, entry->base_url_size), base_url))
            return entry;
    }
    return NULL;
}

static void give(struct manifest_cache *cache, struct entry *entry, struct kept_manifest *ret_manifest)
{
    entry->used = ++cache->tick;
    ret_manifest->text = slice_skip(buffer_slice(&entry->text), entry->base_url_size);
    ret_manifest->expires_us = entry->expires_us;
}

bool manifest_cache_find(struct manifest_cache *cache, const struct job *job, uint64_t commit,
                         struct slice base_url, struct kept_manifest *ret_manifest)
{
    struct entry *entry = entry_of(cache, job->id, base_url);
    if (!entry || entry->updated_us != job->updated_us || entry->expires_us != job->expires_us)
        return false;
    entry->aco = job->aco;
    entry->commit = commit;
    entry->due_us = job->due_us;
    give(cache, entry, ret_manifest);
    return true;
}

bool manifest_cache_recall(struct manifest_cache *cache, uint64_t job_id, uint32_t aco, uint64_t commit,
                           int64_t now_us, struct slice base_url, struct kept_manifest *ret_manifest)
{
    struct entry *entry = entry_of(cache, job_id, base_url);
    if (!entry || entry->aco != aco || entry->commit != commit || entry->due_us <= now_us)
        return false;
    give(cache, entry, ret_manifest);
    return true;
}

static struct entry *least_used(struct manifest_cache *cache)
{
    struct entry *least = cache->entries;
    for (struct entry *entry = cache->entries; entry < cache->entries + MANIFEST_CACHE_ENTRIES; entry++)
        if (entry->used < least->used)
            least = entry;
    return least;
}

void manifest_cache_keep(struct manifest_cache *cache, const struct job *job, uint64_t commit,
                         struct slice base_url, struct slice manifest)
{
    CHECK(job->state == JOB_STATE_COMPLETED);
    if (base_url.size + manifest.size > MANIFEST_CACHE_BYTES_MAX)
        return;
    struct entry *place = entry_of(cache, job->id, base_url); /* its times have changed */
    if (!place)
        place = least_used(cache);
    place->used = ++cache->tick;
    place->job_id = job->id;
    place->aco = job->aco;
    place->commit = commit;
    place->updated_us = job->updated_us;
    place->expires_us = job->expires_us;
    place->due_us = job->due_us;
    place->base_url_size = base_url.size;
    buffer_reset(&place->text);
    buffer_append_slice(&place->text, base_url);
    buffer_append_slice(&place->text, manifest);
}
