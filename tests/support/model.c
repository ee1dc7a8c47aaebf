#include "tests/support/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNDATED_US INT64_C(1577836800000000) /* 2020-01-01: a resource without meta.lastUpdated */
#define DAY_US     INT64_C(86400000000)

static void require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "the model itself is wrong: %s\n", what);
        abort();
    }
}

/* ---- moments ---- */

struct moment moment_exactly(int64_t us)
{
    return (struct moment){us - 1, us};
}

bool moment_is_exact(const struct moment *moment)
{
    return moment->after == moment->until - 1;
}

bool moment_hides(const struct moment *moment, int64_t us)
{
    return moment->after < us && us < moment->until;
}

bool moment_is_later(const struct moment *moment, int64_t us)
{
    require(!moment_hides(moment, us), "it is asked about an instant that it cannot know");
    return moment->until > us;
}

/* ---- life ---- */

void model_init(struct model *model)
{
    memset(model, 0, sizeof *model);
    for (int i = 0; i < MODEL_ACOS; i++)
        model->acos[i].given = MODEL_NEVER;
    for (int i = 0; i < MODEL_BENEFICIARIES; i++)
        model->beneficiaries[i].lost = MODEL_NEVER;
    for (int i = 0; i < MODEL_MBIS; i++)
        model->carrier[i] = -1;
    memset(model->owner, 0xff, sizeof model->owner);
    memset(model->newest, 0xff, sizeof model->newest);
}

void model_release(struct model *model)
{
    free(model->versions);
}

/* ---- attribution ---- */

static bool is_attributed(const struct model *model, int aco, int beneficiary)
{
    const struct model_beneficiary *b = &model->beneficiaries[beneficiary];
    if (b->of[aco].direct)
        return true;
    for (int i = 0; i < b->mbi_count; i++) {
        if (model->acos[aco].listed[b->mbis[i]])
            return true;
    }
    return false;
}

/* Lets exportability follow attribution, at that moment. */
static void follow(struct model *model, int aco, int beneficiary, struct moment when)
{
    struct model_beneficiary *b = &model->beneficiaries[beneficiary];
    struct model_attribution *attribution = &b->of[aco];
    bool wanted = is_attributed(model, aco, beneficiary);
    if (wanted == attribution->exportable)
        return;
    attribution->exportable = wanted;
    if (wanted) {
        require(attribution->interval_count < MODEL_INTERVALS_MAX, "too many intervals");
        attribution->intervals[attribution->interval_count++] =
            (struct model_interval){when, moment_exactly(MODEL_FOREVER)};
    } else {
        attribution->intervals[attribution->interval_count - 1].end = when;
        if (model->acos[aco].given > b->lost)
            b->lost = model->acos[aco].given;
    }
}

/* A Patient says that its beneficiary has these MBIs. Whoever carried one before loses it. */
static void learn_mbis(struct model *model, int beneficiary, const int *mbis, int count, struct moment when)
{
    struct model_beneficiary *b = &model->beneficiaries[beneficiary];
    int merged[MODEL_MBIS], merged_count = 0;
    bool known[MODEL_MBIS] = {false};
    for (int i = 0; i < count + b->mbi_count; i++) {
        int mbi = i < count ? mbis[i] : b->mbis[i - count];
        if (!known[mbi])
            merged[merged_count++] = mbi;
        known[mbi] = true;
    }
    memcpy(b->mbis, merged, sizeof merged);
    b->mbi_count = merged_count;
    for (int i = 0; i < merged_count; i++) {
        int before = model->carrier[merged[i]];
        model->carrier[merged[i]] = beneficiary;
        if (before < 0 || before == beneficiary)
            continue;
        struct model_beneficiary *loser = &model->beneficiaries[before];
        int left = 0;
        for (int k = 0; k < loser->mbi_count; k++) {
            if (loser->mbis[k] != merged[i])
                loser->mbis[left++] = loser->mbis[k];
        }
        loser->mbi_count = left;
        for (int aco = 0; aco < MODEL_ACOS; aco++)
            follow(model, aco, before, when);
    }
    for (int aco = 0; aco < MODEL_ACOS; aco++)
        follow(model, aco, beneficiary, when);
}

enum model_verdict model_roster(struct model *model, int aco, int name, int64_t at,
                                const bool listed[MODEL_MBIS], int64_t now, struct moment span)
{
    struct model_aco *a = &model->acos[aco];
    if (at > now + DAY_US)
        return MODEL_AHEAD;
    for (int i = 0; i < a->roster_count; i++) {
        if (a->rosters[i].at == at && a->rosters[i].name == name)
            return MODEL_REPEATED;
    }
    for (int i = 0; i < a->roster_count; i++) {
        if (a->rosters[i].at > at)
            return MODEL_OUTDATED;
    }
    require(a->roster_count < MODEL_ROSTERS_MAX, "too many rosters");
    a->rosters[a->roster_count++] = (struct model_roster){at, name};
    struct moment when = at > a->given && at <= now ? moment_exactly(at) : span;
    memcpy(a->listed, listed, sizeof a->listed);
    for (int i = 0; i < MODEL_BENEFICIARIES; i++) {
        model->beneficiaries[i].of[aco].direct = false;
        follow(model, aco, i, when);
    }
    return MODEL_ACCEPTED;
}

void model_kick_off(struct model *model, int aco, int64_t transaction_time)
{
    require(transaction_time > model->acos[aco].given, "a transactionTime is not later than the one before");
    model->acos[aco].given = transaction_time;
}

/* ---- resources ---- */

static int64_t watermark(const struct model *model, int beneficiary)
{
    const struct model_beneficiary *b = &model->beneficiaries[beneficiary];
    int64_t newest = b->lost;
    for (int aco = 0; aco < MODEL_ACOS; aco++) {
        if (b->of[aco].exportable && model->acos[aco].given > newest)
            newest = model->acos[aco].given;
    }
    return newest;
}

static int64_t line_time(const struct model_line *line)
{
    return line->has_time ? line->time : UNDATED_US;
}

/* An import: its clock's least, the span of its stamps, and of its write requests. */
struct import_times {
    int64_t now;
    struct moment stamps, span;
};

static void accept_line(struct model *model, const struct model_line *line, const struct import_times *times,
                        int64_t looked_past, struct model_counts *counts)
{
    bool is_future = line_time(line) > times->now;
    bool is_stamped = is_future || line_time(line) <= looked_past;
    struct moment span = times->stamps;
    if (span.after < looked_past)
        span.after = looked_past;
    require(!is_stamped || span.after < span.until, "an import took no time");
    model->versions = realloc(model->versions, (size_t)(model->version_count + 1) * sizeof *model->versions);
    require(model->versions != NULL, "no memory");
    struct model_version *version = &model->versions[model->version_count];
    memset(version, 0, sizeof *version);
    version->type = line->type;
    version->number = line->number;
    version->owner = line->beneficiary;
    memcpy(version->content, line->content, sizeof version->content);
    version->source = is_future ? span : moment_exactly(line_time(line));
    version->stamp = is_stamped ? span : moment_exactly(line_time(line));
    model->newest[line->type][line->number] = model->version_count++;
    model->owner[line->type][line->number] = line->beneficiary;
    counts->future += is_future;
    counts->stamped += is_stamped && !is_future;
    counts->undated += !line->has_time;
}

/* True if the line belongs to its beneficiary; *ret_accepted: it changes something. */
static bool take_line(struct model *model, const struct model_line *line, const struct import_times *times,
                      int64_t looked_past, bool *ret_accepted, struct model_counts *counts)
{
    int owner = model->owner[line->type][line->number];
    bool is_future = line_time(line) > times->now;
    *ret_accepted = false;
    if (owner >= 0 && owner != line->beneficiary) {
        counts->refused++;
        return false;
    }
    if (model->newest[line->type][line->number] < 0) {
        counts->added++;
    } else {
        const struct model_version *stored = &model->versions[model->newest[line->type][line->number]];
        bool is_newer = is_future || !moment_is_later(&stored->source, line_time(line) - 1);
        bool is_older = !is_future && moment_is_later(&stored->source, line_time(line));
        bool is_same = strcmp(stored->content, line->content) == 0;
        if (is_same && (is_future || !is_newer)) {
            counts->identical++;
            return true;
        }
        if (is_older) {
            counts->late++;
            return true;
        }
        counts->replaced++;
    }
    accept_line(model, line, times, looked_past, counts);
    *ret_accepted = true;
    return true;
}

/* The lines of one beneficiary and type. */
static void import_group(struct model *model, int aco, const struct model_line *lines, int count,
                         enum model_type type, int beneficiary, const struct import_times *times,
                         struct model_counts *counts)
{
    int64_t looked_past = watermark(model, beneficiary);
    const struct model_line *learnt = NULL;
    bool any = false;
    for (int number = 0; number < MODEL_NUMBERS; number++) {
        /* Of several with one id the newest counts; of equally new ones the last. */
        const struct model_line *best = NULL;
        for (int i = 0; i < count; i++) {
            const struct model_line *line = &lines[i];
            if (line->type == type && line->beneficiary == beneficiary && line->number == number &&
                (!best || line_time(line) >= line_time(best)))
                best = line;
        }
        if (!best)
            continue;
        for (int i = 0; i < count; i++) {
            const struct model_line *line = &lines[i];
            if (line == best || line->type != type || line->beneficiary != beneficiary ||
                line->number != number)
                continue;
            /* Told as identical or late by the line that follows in the order of times. */
            const struct model_line *next = NULL;
            for (int k = 0; k < count; k++) {
                const struct model_line *other = &lines[k];
                if (other->type != type || other->beneficiary != beneficiary || other->number != number ||
                    other == line)
                    continue;
                bool is_behind = line_time(other) > line_time(line) ||
                                 (line_time(other) == line_time(line) && other > line);
                bool is_nearer = !next || line_time(other) < line_time(next) ||
                                 (line_time(other) == line_time(next) && other < next);
                if (is_behind && is_nearer)
                    next = other;
            }
            bool is_same = line_time(next) == line_time(line) && strcmp(next->content, line->content) == 0;
            *(is_same ? &counts->identical : &counts->late) += 1;
        }
        bool accepted;
        any |= take_line(model, best, times, looked_past, &accepted, counts);
        if (accepted && type == MODEL_PATIENT)
            learnt = best;
    }
    if (aco >= 0 && any) {
        model->beneficiaries[beneficiary].of[aco].direct = true;
        follow(model, aco, beneficiary, times->span);
    }
    if (learnt && learnt->mbi_count)
        learn_mbis(model, beneficiary, learnt->mbis, learnt->mbi_count, times->span);
}

void model_import(struct model *model, int aco, const struct model_line *lines, int count, int64_t now,
                  struct moment span, int64_t packed_after, struct model_counts *ret_counts)
{
    struct import_times times = {now, {packed_after, span.until}, span};
    static const enum model_type order[] = {MODEL_PATIENT, MODEL_EOB, MODEL_COVERAGE};
    memset(ret_counts, 0, sizeof *ret_counts);
    for (int beneficiary = 0; beneficiary < MODEL_BENEFICIARIES; beneficiary++) {
        for (int i = 0; i < MODEL_TYPES; i++)
            import_group(model, aco, lines, count, order[i], beneficiary, &times, ret_counts);
    }
}

/* ---- answers ---- */

static bool was_exportable(const struct model_attribution *attribution, int64_t us)
{
    for (int i = 0; i < attribution->interval_count; i++) {
        if (!moment_is_later(&attribution->intervals[i].start, us) &&
            moment_is_later(&attribution->intervals[i].end, us))
            return true;
    }
    return false;
}

void model_answer(const struct model *model, const struct model_request *request,
                  struct model_answer *ret_answer)
{
    ret_answer->count = 0;
    for (int i = 0; i < request->type_count; i++) {
        for (int number = 0; number < MODEL_NUMBERS; number++) {
            int newest = model->newest[request->types[i]][number];
            if (newest < 0)
                continue;
            const struct model_version *version = &model->versions[newest];
            const struct model_attribution *attribution =
                &model->beneficiaries[version->owner].of[request->aco];
            if (!attribution->exportable)
                continue;
            enum model_set set = MODEL_ALL;
            if (request->separates)
                set = was_exportable(attribution, request->since) ? MODEL_EXISTING : MODEL_NEW;
            if (set != MODEL_NEW && request->since != MODEL_NEVER &&
                !moment_is_later(&version->stamp, request->since))
                continue;
            require(ret_answer->count < MODEL_ITEMS_MAX, "an answer is too long");
            ret_answer->items[ret_answer->count++] = (struct model_item){set, newest};
        }
    }
}

static bool hides(const struct moment *moment, int64_t us, int64_t *ret_better)
{
    if (!moment_hides(moment, us))
        return false;
    *ret_better = moment->until;
    return true;
}

bool model_hides(const struct model *model, int64_t us, int64_t *ret_better)
{
    for (int type = 0; type < MODEL_TYPES; type++) {
        for (int number = 0; number < MODEL_NUMBERS; number++) {
            int newest = model->newest[type][number];
            if (newest >= 0 && hides(&model->versions[newest].stamp, us, ret_better))
                return true;
        }
    }
    for (int i = 0; i < MODEL_BENEFICIARIES; i++) {
        for (int aco = 0; aco < MODEL_ACOS; aco++) {
            const struct model_attribution *attribution = &model->beneficiaries[i].of[aco];
            for (int k = 0; k < attribution->interval_count; k++) {
                if (hides(&attribution->intervals[k].start, us, ret_better) ||
                    hides(&attribution->intervals[k].end, us, ret_better))
                    return true;
            }
        }
    }
    return false;
}
