#include "tests/support/world_operations.h"

#include "storage/suppression.h"

#include <stdio.h>

/* ---- rosters ---- */

static int64_t choose_roster_time(struct world *world, int aco, uint64_t *random)
{
    int64_t now = world_now(world);
    const struct model_aco *a = &world->model.acos[aco];
    int64_t last = a->roster_count ? a->rosters[a->roster_count - 1].at : LONG_AGO_US;
    int64_t at;
    switch (draw_below(random, 8)) {
    case 0:
        return now + (draw_one_in(random, 4) ? 48 : 2) * 3600 * US_PER_SECOND;
    case 1:
        at = now - (int64_t)draw_below(random, 4);
        break;
    case 2:
        at = a->given != MODEL_NEVER ? a->given - 1 + (int64_t)draw_below(random, 3) : now;
        break;
    case 3:
        at = last - (int64_t)draw_below(random, 2);
        break;
    case 4:
        at = now - (int64_t)draw_below(random, 3000) * US_PER_SECOND;
        break;
    default:
        at = last + (int64_t)draw_below(random, 3) * 1000;
        break;
    }
    bool is_near = at > now && at < now + US_PER_SECOND;
    bool is_near_a_day = at > now + 86399 * US_PER_SECOND && at < now + 86401 * US_PER_SECOND;
    return is_near || is_near_a_day ? now : at;
}

void operation_roster(struct world *world, uint64_t random)
{
    int aco = (int)draw_below(&random, MODEL_ACOS);
    int64_t at = choose_roster_time(world, aco, &random), now = world_now(world);
    int name = draw_one_in(&random, 10) && world->next_roster ? world->next_roster - 1 : world->next_roster++;
    bool listed[MODEL_MBIS];
    char text[32], named[MODEL_MBIS * 13 + 1] = "";
    for (int i = 0; i < MODEL_MBIS; i++) {
        /* Mostly as it was. */
        listed[i] = draw_one_in(&random, 4) ? draw_one_in(&random, 2) : world->model.acos[aco].listed[i];
        if (listed[i])
            strcat(strcat(named, " "), mbi_texts[i]);
    }
    world_trace(world, "%s r%d at %" PRId64 ":%s", aco_ids[aco], name, at, named);
    struct model_link links[2];
    int link_count = draw_one_in(&random, 4) ? 1 + (int)draw_below(&random, 2) : 0;
    struct buffer told = BUFFER_INIT;
    for (int i = 0; i < link_count; i++) {
        int mbi = (int)draw_below(&random, MODEL_MBIS);
        links[i] =
            (struct model_link){mbi, (mbi + 1 + (int)draw_below(&random, MODEL_MBIS - 1)) % MODEL_MBIS};
        buffer_appendf(&told, "%-11s%-11s", mbi_texts[links[i].mbi], mbi_texts[links[i].other]);
        world_trace(world, "%s was %s", mbi_texts[links[i].mbi], mbi_texts[links[i].other]);
    }
    enum status status = STATUS_OK;
    struct error error = {0};
    if (!world->acked) {
        struct buffer payload = BUFFER_INIT, reply = BUFFER_INIT;
        snprintf(text, sizeof text, "r%d", name);
        buffer_append_sized(&payload, slice_from_text(aco_ids[aco]));
        buffer_append_sized(&payload, slice_from_text(text));
        buffer_append_i64(&payload, at);
        buffer_append_sized(&payload, buffer_slice(&told));
        for (int i = 0; i < MODEL_MBIS; i++) {
            if (listed[i])
                buffer_appendf(&payload, "%-11s", mbi_texts[i]);
        }
        status = link_call(world->link, CONTROL_COMMAND_ROSTER, buffer_slice(&payload), &reply, &error);
        buffer_release(&payload);
        buffer_release(&reply);
    }
    enum model_verdict verdict = model_roster(&world->model, aco, name, at, links, link_count, listed, now,
                                              world_span(world, world->instant));
    buffer_release(&told);
    static const enum status expected[] = {[MODEL_ACCEPTED] = STATUS_OK,
                                           [MODEL_REPEATED] = STATUS_EXISTS,
                                           [MODEL_DIFFERENT] = STATUS_CONFLICT,
                                           [MODEL_OUTDATED] = STATUS_CONFLICT,
                                           [MODEL_AHEAD] = STATUS_INVALID};
    bool was_done = world->repeats && verdict == MODEL_ACCEPTED && status == STATUS_EXISTS;
    if (!world->acked && !was_done && status != expected[verdict])
        world_fail(world, "roster r%d of %s at %" PRId64 ": %s instead of %s (%s)", name, aco_ids[aco], at,
                   status_name(status), status_name(expected[verdict]), error.text);
}

/* ---- opt-outs ---- */

void world_settle(struct world *world)
{
    struct error error = {0};
    struct suppression_settle settle;
    int64_t now = world_now(world);
    suppression_settle_init(&settle, SUPPRESSION_PORTION);
    world_expect_ok(world, writer_call(world->writer, &settle.request, &error), &error);
    model_settle(&world->model, now, world_span(world, world->instant));
    world->instant = world->ack.instant;
}

static void take_preferences(struct world *world, uint64_t *random)
{
    struct error error = {0};
    struct suppression_apply apply;
    struct buffer rows = BUFFER_INIT;
    struct model_preference preferences[MODEL_MBIS][2];
    int counts[MODEL_MBIS] = {0};
    int64_t now = world_now(world), today = now / DAY_US;
    for (int mbi = (int)draw_below(random, 4); mbi < MODEL_MBIS; mbi += 1 + (int)draw_below(random, 10)) {
        int64_t day = today - 3 + draw_below(random, 6);
        counts[mbi] = 1 + draw_one_in(random, 4);
        for (int i = 0; i < counts[mbi]; i++, day++) {
            bool opts_out = !draw_one_in(random, 3);
            preferences[mbi][i] = (struct model_preference){day * DAY_US, opts_out};
            buffer_appendf(&rows, "%-11s", mbi_texts[mbi]);
            buffer_append_u32(&rows, (uint32_t)day);
            buffer_append_char(&rows, opts_out ? 'N' : 'Y');
            world_trace(world, "%s: %c from day %+" PRId64, mbi_texts[mbi], opts_out ? 'N' : 'Y',
                        day - today);
        }
    }
    suppression_apply_init(&apply);
    snprintf(apply.name, sizeof apply.name, "o%d", world->next_file++);
    apply.is_last = true;
    apply.encoded = buffer_slice(&rows);
    world_expect_ok(world, writer_call(world->writer, &apply.request, &error), &error);
    struct moment span = world_span(world, world->instant);
    for (int mbi = 0; mbi < MODEL_MBIS; mbi++) {
        if (counts[mbi])
            model_prefer(&world->model, mbi, preferences[mbi], counts[mbi], now, span);
    }
    buffer_release(&rows);
}

void operation_opt_out(struct world *world, uint64_t random)
{
    struct error error = {0};
    struct suppression_configure configure;
    static const uint32_t days[] = {0, 1, 2, 60};
    switch (draw_below(&random, 8)) {
    case 0:
        world_trace(world, "what is due");
        world_settle(world);
        break;
    case 1:
        suppression_configure_init(&configure, days[draw_below(&random, sizeof days / sizeof *days)]);
        world_trace(world, "look-back of %u days", configure.lookback_days);
        world_expect_ok(world, writer_call(world->writer, &configure.request, &error), &error);
        model_set_lookback(&world->model, (int)configure.lookback_days);
        break;
    default:
        take_preferences(world, &random);
        break;
    }
    (void)world_span(world, 0);
}
