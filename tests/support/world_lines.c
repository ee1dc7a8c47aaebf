#include "tests/support/world_lines.h"

#include <stdio.h>
#include <time.h>

#define FAR_FUTURE_US INT64_C(7258118400000000) /* 2200-01-01 */

const char *const type_names[MODEL_TYPES] = {"ExplanationOfBenefit", "Coverage", "Patient"};

const char *number_id(enum model_type type, int number)
{
    static char texts[4][16];
    static int next;
    if (type == MODEL_PATIENT)
        return beneficiary_ids[number];
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "%c%d", type == MODEL_EOB ? 'e' : 'c', number);
    return text;
}

int number_of_id(enum model_type type, const char *id, size_t size)
{
    for (int i = 0; i < (type == MODEL_PATIENT ? MODEL_BENEFICIARIES : MODEL_NUMBERS); i++) {
        const char *text = number_id(type, i);
        if (strlen(text) == size && memcmp(text, id, size) == 0)
            return i;
    }
    return -1;
}

/* In one of the ways in which sources write it. */
static void time_write(int64_t us, unsigned way, char target[48])
{
    int64_t zone_minutes = way == 2 ? 330 : way == 3 ? -600 : 0;
    int64_t local = us + zone_minutes * 60 * US_PER_SECOND;
    time_t seconds = (time_t)(local / US_PER_SECOND);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t size = strftime(target, 48, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(target + size, 48 - size, ".%06d%s", (int)(local % US_PER_SECOND),
             way == 0   ? "+00:00"
             : way == 1 ? "Z"
             : way == 2 ? "+05:30"
                        : "-10:00");
}

int64_t time_read(const struct world *world, const char *text)
{
    struct tm tm = {0};
    int used = 0;
    if (sscanf(text, "%d-%d-%dT%d:%d:%d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec, &used) != 6)
        world_fail(world, "no time: %.40s", text);
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int64_t us = (int64_t)timegm(&tm) * US_PER_SECOND;
    const char *at = text + used;
    if (*at == '.') {
        int64_t unit = US_PER_SECOND / 10;
        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
            us += (*at - '0') * unit;
    }
    if (*at == '+' || *at == '-') {
        int hours = 0, minutes = 0;
        sscanf(at + 1, "%d:%d", &hours, &minutes);
        us -= (*at == '+' ? 1 : -1) * (int64_t)(hours * 60 + minutes) * 60 * US_PER_SECOND;
    }
    return us;
}

void line_write(const struct model_line *line, unsigned way, struct buffer *target)
{
    char time[48];
    if (line->deletes) {
        buffer_append_text(target, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",");
        if (line->has_time) {
            time_write(line->time, way, time);
            buffer_appendf(target, "\"meta\":{\"lastUpdated\":\"%s\"},", time);
        }
        buffer_appendf(target, "\"entry\":[{\"request\":{\"method\":\"DELETE\",\"url\":\"%s/%s\"}}]}\n",
                       type_names[line->type], number_id(line->type, line->number));
        return;
    }
    buffer_appendf(target, "{\"resourceType\":\"%s\",\"id\":\"%s\",", type_names[line->type],
                   number_id(line->type, line->number));
    if (line->has_time) {
        time_write(line->time, way, time);
        buffer_appendf(target, "\"meta\":{\"lastUpdated\":\"%s\"},", time);
    }
    buffer_appendf(target, "%s}\n", line->content);
}

static void make_content(struct model_line *line, uint64_t *random, unsigned version)
{
    char *at = line->content, *end = at + sizeof line->content;
    static const char *const references[] = {"patient", "beneficiary"};
    memset(line->content, 0, sizeof line->content);
    if (line->type != MODEL_PATIENT)
        at += snprintf(at, (size_t)(end - at), "\"%s\":{\"reference\":\"Patient/%s\"},",
                       references[line->type], beneficiary_ids[line->beneficiary]);
    for (int i = 0; i < line->mbi_count; i++)
        at += snprintf(
            at, (size_t)(end - at), "%s{\"system\":\"http://hl7.org/fhir/sid/us-mbi\",\"value\":\"%s\"}%s",
            i ? "," : "\"identifier\":[", mbi_texts[line->mbis[i]], i + 1 < line->mbi_count ? "" : "],");
    at += snprintf(at, (size_t)(end - at), "\"version\":\"v%u\"", version);
    if (draw_one_in(random, 6))
        snprintf(at, (size_t)(end - at), ",\"pad\":\"%0*d\"", 150, (int)version);
}

/* A time that a source may give; what the model could not judge is moved a little. */
static void choose_time(struct world *world, struct model_line *line, uint64_t *random)
{
    int64_t now = world_now(world);
    const struct moment *known = model_source(&world->model, line->type, line->number);
    int64_t given = world->model.acos[draw_below(random, MODEL_ACOS)].given;
    line->has_time = true;
    switch (draw_below(random, 10)) {
    case 0:
        line->has_time = false;
        return;
    case 1:
        line->time = FAR_FUTURE_US + draw_below(random, 3);
        return;
    case 2:
    case 3:
        line->time = LONG_AGO_US + draw_below(random, 4) * US_PER_SECOND;
        break;
    case 4:
        line->time = now - (int64_t)draw_below(random, 5);
        break;
    case 5:
        line->time = now - (int64_t)draw_below(random, 5000) * US_PER_SECOND;
        break;
    case 6:
    case 7:
        line->time = known ? known->until - 1 + (int64_t)draw_below(random, 4) : now;
        break;
    default:
        line->time = given != MODEL_NEVER ? given - 1 + (int64_t)draw_below(random, 3) : now - 100;
        break;
    }
    if (line->time > now)
        line->time = now;
    if (known && !moment_is_exact(known) && line->time > known->after && line->time <= known->until)
        line->time = known->until < now ? known->until + 1 : known->after;
}

static void choose_line(struct world *world, struct model_line *line, uint64_t *random, int beneficiary,
                        int type)
{
    static const enum model_type types[] = {MODEL_EOB,      MODEL_EOB,     MODEL_EOB,     MODEL_EOB,
                                            MODEL_EOB,      MODEL_PATIENT, MODEL_PATIENT, MODEL_PATIENT,
                                            MODEL_COVERAGE, MODEL_COVERAGE};
    memset(line, 0, sizeof *line);
    line->type = type >= 0 ? (enum model_type)type : types[draw_below(random, sizeof types / sizeof *types)];
    line->beneficiary = beneficiary >= 0 ? beneficiary : (int)draw_below(random, MODEL_BENEFICIARIES);
    if (line->type == MODEL_PATIENT) {
        line->number = line->beneficiary;
        for (int left = (int)draw_below(random, 4); left > 0; left--) {
            int mbi = draw_one_in(random, 3) ? (int)draw_below(random, MODEL_MBIS) : line->beneficiary;
            bool is_there = false;
            for (int i = 0; i < line->mbi_count; i++)
                is_there |= line->mbis[i] == mbi;
            if (!is_there)
                line->mbis[line->mbi_count++] = mbi;
        }
    } else if (draw_one_in(random, 20)) { /* perhaps somebody else's */
        line->number = (int)draw_below(random, MODEL_NUMBERS);
    } else {
        line->number = line->beneficiary +
                       MODEL_BENEFICIARIES * (int)draw_below(random, MODEL_NUMBERS / MODEL_BENEFICIARIES);
    }
    if (draw_one_in(random, 6)) {
        line->deletes = true;
        line->mbi_count = 0;
    } else {
        make_content(line, random, draw_below(random, 4));
    }
    choose_time(world, line, random);
}

bool load_is_clear(const struct world *world, const struct load *load)
{
    for (int i = 0; i < load->count; i++) {
        const struct model_line *line = &load->lines[i];
        const struct moment *known = model_source(&world->model, line->type, line->number);
        if (!line->has_time || line->time >= FAR_FUTURE_US)
            continue;
        if (line->time > world_now(world))
            return false; /* it may lie in the future or not */
        if (known && (moment_hides(known, line->time) || moment_hides(known, line->time - 1)))
            return false;
    }
    return true;
}

/* A line from the future, and a deletion without a time, is judged by the instant of its own import, which
 * only the store knows: whether another one of the time since the last instant is older cannot be told. */
static bool times_are_unclear(const struct world *world, const struct model_line *line,
                              const struct model_line *other)
{
    bool takes_instant = line->has_time ? line->time >= FAR_FUTURE_US : line->deletes;
    return takes_instant && other->has_time && other->time > world->instant && other->time < FAR_FUTURE_US;
}

/* Of two beneficiaries' lines with one new id one is refused; which, depends on what is packed again. */
static bool owner_is_unclear(const struct world *world, const struct model_line *line,
                             const struct model_line *other)
{
    return line->beneficiary != other->beneficiary && world->model.newest[line->type][line->number] < 0;
}

static void drop_rivals(const struct world *world, struct load *load)
{
    for (int i = 0; i < load->count; i++) {
        for (int k = i + 1; k < load->count; k++) {
            const struct model_line *line = &load->lines[i], *other = &load->lines[k];
            if (line->type == other->type && line->number == other->number &&
                (owner_is_unclear(world, line, other) || times_are_unclear(world, line, other) ||
                 times_are_unclear(world, other, line)))
                load->lines[k--] = load->lines[--load->count];
        }
    }
}

void load_choose(struct world *world, struct load *load, uint64_t *random, bool one_group)
{
    if (draw_one_in(random, 8) && !one_group && world->last_load.count &&
        load_is_clear(world, &world->last_load)) {
        *load = world->last_load; /* the same again */
    } else {
        int beneficiary =
            one_group || draw_one_in(random, 2) ? (int)draw_below(random, MODEL_BENEFICIARIES) : -1;
        int type = one_group ? (int)draw_below(random, MODEL_TYPES) : -1;
        load->count = 1 + (int)draw_below(random, LINES_MAX);
        for (int i = 0; i < load->count; i++)
            choose_line(world, &load->lines[i], random, beneficiary, type);
    }
    load->aco = draw_one_in(random, 4) ? (int)draw_below(random, MODEL_ACOS) : -1;
    load->now = world_now(world);
    model_find_owners(&world->model, load->lines, load->count);
    drop_rivals(world, load);
    for (int i = 0; one_group && i < load->count; i++) {
        bool is_nobodys = load->lines[0].beneficiary < 0;
        if (load->lines[i].beneficiary != load->lines[0].beneficiary ||
            (is_nobodys && load->lines[i].number != load->lines[0].number))
            load->lines[i--] = load->lines[--load->count]; /* a deletion of another one's */
    }
    for (int i = 0; i < load->count; i++) {
        const struct model_line *line = &load->lines[i];
        char time[48] = "undated";
        if (line->has_time)
            time_write(line->time, 1, time);
        world_trace(world, "%s %s of %s, %s (%" PRId64 "): %s%s%s", type_names[line->type],
                    number_id(line->type, line->number),
                    line->beneficiary < 0 ? "nobody" : beneficiary_ids[line->beneficiary], time, line->time,
                    line->deletes ? "deleted" : line->content, load->aco >= 0 ? " for " : "",
                    load->aco >= 0 ? aco_ids[load->aco] : "");
    }
}
