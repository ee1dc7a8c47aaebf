#include "server/manifest_cache.h"

#include "codec/base/check.h"
#include "codec/base/mem.h"

struct entry {
    uint64_t used; /* 0: empty; else the cache's tick of the last use */
    uint64_t job_id;
    int64_t updated_us;
    int64_t expires_us;
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

bool manifest_cache_find(struct manifest_cache *cache, const struct job *job, struct slice base_url,
                         struct slice *ret_manifest)
{
    for (struct entry *entry = cache->entries; entry < cache->entries + MANIFEST_CACHE_ENTRIES; entry++) {
        struct slice text = buffer_slice(&entry->text);
        if (!entry->used || entry->job_id != job->id || entry->updated_us != job->updated_us ||
            entry->expires_us != job->expires_us ||
            !slice_equal(slice_make(text.data, entry->base_url_size), base_url))
            continue;
        entry->used = ++cache->tick;
        *ret_manifest = slice_skip(text, entry->base_url_size);
        return true;
    }
    return false;
}

void manifest_cache_keep(struct manifest_cache *cache, const struct job *job, struct slice base_url,
                         struct slice manifest)
{
    CHECK(job->state == JOB_STATE_COMPLETED);
    if (base_url.size + manifest.size > MANIFEST_CACHE_BYTES_MAX)
        return;
    struct entry *oldest = cache->entries;
    for (struct entry *entry = cache->entries; entry < cache->entries + MANIFEST_CACHE_ENTRIES; entry++)
        if (entry->used < oldest->used)
            oldest = entry;
    oldest->used = ++cache->tick;
    oldest->job_id = job->id;
    oldest->updated_us = job->updated_us;
    oldest->expires_us = job->expires_us;
    oldest->base_url_size = base_url.size;
    buffer_reset(&oldest->text);
    buffer_append_slice(&oldest->text, base_url);
    buffer_append_slice(&oldest->text, manifest);
}
