#include "tests/support/claims.h"

#include "codec/instant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t claims_seed(void)
{
    const char *text = getenv("SLUICE_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 1;
    printf("SLUICE_TEST_SEED=%" PRIu64 "\n", seed);
    return seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

uint64_t claims_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t claims_below(uint64_t *state, uint64_t bound)
{
    return (claims_random(state) >> 11) % bound;
}

static void claim_json(struct buffer *json, uint64_t *state, const struct claim *claim)
{
    static const char *const categories[] = {"line_sbmtd_chrg_amt", "line_coinsrnc_amt",
                                             "line_prvdr_pmt_amt",  "line_bene_pmt_amt",
                                             "line_nch_pmt_amt",    "line_alowd_chrg_amt"};
    char stamp[INSTANT_TEXT_SIZE];
    snprintf(stamp, sizeof stamp, "%" PRId64, claim->entry.stamp_us);
    buffer_reset(json);
    buffer_appendf(json, "{\"billablePeriod\":{\"end\":\"2021-%02u-%02u\"},\"id\":\"%.*s\",\"item\":[",
                   (unsigned)claims_below(state, 12) + 1, (unsigned)claims_below(state, 28) + 1,
                   SLICE_PRINT(claim->entry.id));
    size_t lines = 1 + claims_below(state, 3);
    for (size_t line = 0; line < lines; line++) {
        buffer_appendf(json, "%s{\"adjudication\":[", line ? "," : "");
        for (size_t i = 0; i < 6; i++)
            buffer_appendf(
                json,
                "%s{\"amount\":{\"code\":\"USD\",\"system\":\"urn:iso:std:iso:4217\",\"value\":%u.%02u},"
                "\"category\":{\"coding\":[{\"code\":\"https://bluebutton.cms.gov/resources/variables/%s\","
                "\"system\":\"https://bluebutton.cms.gov/resources/codesystem/adjudication\"}]}}",
                i ? "," : "", (unsigned)claims_below(state, 900), (unsigned)claims_below(state, 100),
                categories[i]);
        buffer_appendf(json, "],\"sequence\":%zu}", line + 1);
    }
    buffer_appendf(json, "],\"meta\":{\"lastUpdated\":\"%s\"},\"resourceType\":\"ExplanationOfBenefit\"}",
                   stamp);
}

struct claim *claims_make(struct arena *arena, uint64_t *state, size_t count, int64_t oldest_us,
                          int64_t step_us)
{
    struct claim *claims = arena_alloc(arena, count * sizeof *claims);
    struct buffer json = BUFFER_INIT;
    static const char *const kinds[] = {"carrier", "dme", "hha", "outpatient", "pde"}; /* ascending */
    static const unsigned shares[] = {44, 4, 1, 9, 42};
    uint64_t number = 0;
    size_t kind = 0;
    size_t kind_end = 0;
    for (size_t i = 0, share = 0; i < count; i++) {
        while (i == kind_end) {
            kind = number ? kind + 1 : 0;
            share += shares[kind];
            kind_end = kind == 4 ? count : count * share / 100;
            number = 10000000000000 + claims_below(state, 1000000000);
        }
        struct claim *claim = &claims[i];
        *claim = (struct claim){0};
        char id[64];
        int id_size = snprintf(id, sizeof id, "%s--%" PRIu64, kinds[kind], number);
        number += 1 + claims_below(state, 100000000);
        claim->entry.id = arena_copy(arena, slice_make(id, (size_t)id_size));
        claim->entry.source_us = oldest_us + (int64_t)claims_below(state, 8) * step_us;
        claim->entry.stamp_us = claim->entry.source_us;
        if (claims_below(state, 8) == 0)
            claim->entry.stamp_us += step_us;
        claim->entry.service_first_day = DAY_NONE;
        claim->entry.service_last_day = DAY_NONE;
        if (claims_below(state, 10) > 0) {
            claim->entry.service_first_day = 16000 + (int32_t)claims_below(state, 2500);
            claim->entry.service_last_day = claim->entry.service_first_day +
                                            (claims_below(state, 5) ? 0 : (int32_t)claims_below(state, 30));
        }
        claim->entry.content_hash = claims_random(state);
        claim_json(&json, state, claim);
        claim->json = arena_copy(arena, buffer_slice(&json));
    }
    buffer_release(&json);
    return claims;
}

void claims_segment(const struct claim *claims, size_t count, enum deflate_level level, struct buffer *target)
{
    struct segment_builder *builder = segment_builder_new(level);
    for (size_t i = 0; i < count; i++)
        segment_builder_add(builder, &claims[i].entry, claims[i].json);
    segment_builder_finish(builder, target);
    segment_builder_free(builder);
}
