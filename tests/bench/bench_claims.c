#include "tests/bench/bench_claims.h"

#include "codec/base/arena.h"
#include "codec/base/check.h"
#include "codec/base/mem.h"
#include "codec/resource.h"
#include "tools/synth/claim.h"

#include <stdlib.h>

#define SEED                    1
#define BENEFICIARIES_DEFAULT   8
#define BENEFICIARIES_BENCH_MAX 4096

#define FIRST_YEAR (HISTORY_END_YEAR - 3)

static struct arena arena;

static int compare_claims(const void *a, const void *b)
{
    const struct bench_claim *first = a, *second = b;
    return slice_compare(first->entry.id, second->entry.id);
}

static struct bench_claim take_apart(struct resource_parser *parser, struct slice line)
{
    struct resource resource;
    struct error error = {0};
    enum status status = resource_parse(parser, line, &resource, &error);
    CHECK(status == STATUS_OK);
    return (struct bench_claim){
        .line = arena_copy(&arena, resource.json),
        .entry = {.id = arena_copy(&arena, resource.id),
                  .source_us = resource.last_updated_us,
                  .stamp_us = resource.last_updated_us,
                  .service_first_day = resource.service_first_day,
                  .service_last_day = resource.service_last_day,
                  .content_hash = resource.content_hash},
    };
}

/* False: he has no claims. */
static bool make_beneficiary(struct resource_parser *parser, uint32_t index, struct bench_beneficiary *target)
{
    struct beneficiary person;
    struct claim_cursor cursor;
    struct claim claim;
    struct buffer line = BUFFER_INIT, claims = BUFFER_INIT;
    beneficiary_draw(&person, SEED, SLICE_LITERAL("A9990"), 0, index);
    claim_cursor_init(&cursor, &person, FIRST_YEAR, HISTORY_END_YEAR, INT32_MIN,
                      day_from_date(HISTORY_END_YEAR, 1, 1));
    target->raw_bytes = 0;
    while (claim_next(&cursor, &claim)) {
        buffer_reset(&line);
        claim_write(&line, &claim);
        struct bench_claim made = take_apart(parser, buffer_slice(&line));
        target->raw_bytes += made.line.size + 1;
        buffer_append(&claims, &made, sizeof made);
    }
    target->count = claims.size / sizeof *target->claims;
    target->claims = arena_alloc(&arena, claims.size + 1);
    if (claims.size)
        memcpy(target->claims, claims.data, claims.size);
    qsort(target->claims, target->count, sizeof *target->claims, compare_claims);
    buffer_release(&claims);
    buffer_release(&line);
    return target->count > 0;
}

const struct bench_claims *bench_claims(void)
{
    static struct bench_claims all;
    if (all.count)
        return &all;
    struct resource_parser *parser = resource_parser_new();
    struct buffer ndjson = BUFFER_INIT; /* kept */
    arena_init(&arena);
    const char *wanted = getenv("SLUICE_BENCH_BENEFICIARIES");
    all.beneficiary_count = wanted ? strtoul(wanted, NULL, 10) : BENEFICIARIES_DEFAULT;
    CHECK(all.beneficiary_count >= 1 && all.beneficiary_count <= BENEFICIARIES_BENCH_MAX);
    all.beneficiaries = arena_alloc(&arena, all.beneficiary_count * sizeof *all.beneficiaries);
    size_t made = 0;
    for (uint32_t index = 0; made < all.beneficiary_count; index++) {
        struct bench_beneficiary *one = &all.beneficiaries[made];
        if (!make_beneficiary(parser, index, one))
            continue;
        for (size_t i = 0; i < one->count; i++) {
            buffer_append_slice(&ndjson, one->claims[i].line);
            buffer_append_char(&ndjson, '\n');
        }
        all.count += one->count;
        made++;
    }
    all.ndjson = buffer_slice(&ndjson);
    resource_parser_free(parser);
    return &all;
}

const struct bench_segments *bench_segments(void)
{
    static struct bench_segments all;
    if (all.count)
        return &all;
    const struct bench_claims *claims = bench_claims();
    struct segment_builder *builder = segment_builder_new(DEFLATE_LEVEL_GOOD);
    struct buffer value = BUFFER_INIT, values = BUFFER_INIT;
    for (size_t b = 0; b < claims->beneficiary_count; b++) {
        const struct bench_beneficiary *one = &claims->beneficiaries[b];
        for (size_t i = 0; i < one->count; i++) {
            segment_builder_add(builder, &one->claims[i].entry, one->claims[i].line);
            if (i + 1 < one->count && !segment_builder_is_full_for(builder, one->claims[i + 1].line.size + 1))
                continue;
            buffer_reset(&value);
            segment_builder_finish(builder, &value);
            struct slice kept = arena_copy(&arena, buffer_slice(&value));
            buffer_append(&values, &kept, sizeof kept);
        }
    }
    all.count = values.size / sizeof *all.values;
    all.values = arena_alloc(&arena, values.size);
    memcpy(all.values, values.data, values.size);
    all.segments = arena_alloc(&arena, all.count * sizeof *all.segments);
    for (size_t i = 0; i < all.count; i++) {
        enum status status = segment_open(all.values[i], &all.segments[i], NULL);
        CHECK(status == STATUS_OK);
        all.raw_bytes += all.segments[i].raw_bytes;
        all.stored_bytes += all.values[i].size;
        all.resources += all.segments[i].count;
    }
    buffer_release(&value);
    buffer_release(&values);
    segment_builder_free(builder);
    return &all;
}
