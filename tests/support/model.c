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
    for (int i = 0; i < MODEL_MBIS; i++) {
        model->mbis[i].carrier = -1;
        model->mbis[i].lifted = moment_exactly(MODEL_NEVER + 1);
        model->mbis[i].due = MODEL_FOREVER;
    }
    memset(model->newest, 0xff, sizeof model->newest);
    model->lookback_days = 60;
}

void model_release(struct model *model)
{
    free(model->versions);
}

/* ---- attribution ---- */

static struct moment later_of(struct moment a, struct moment b)
{
    return (struct moment){a.after > b.after ? a.after : b.after, a.until > b.until ? a.until : b.until};
}

static struct moment earlier_of(struct moment a, struct moment b)
{
    return (struct moment){a.after < b.after ? a.after : b.after, a.until < b.until ? a.until : b.until};
}

/* The earliest begin of what attributes it; false: nothing does. */
static bool is_attributed(const struct model *model, int aco, int beneficiary, struct moment *ret_since)
{
    const struct model_beneficiary *b = &model->beneficiaries[beneficiary];
    const struct model_aco *a = &model->acos[aco];
    bool found = b->of[aco].direct;
    *ret_since = b->of[aco].direct_since;
    for (int i = 0; i < b->mbi_count; i++) {
        struct moment since = a->listed_since[b->mbis[i]];
        if (!a->listed[b->mbis[i]])
            continue;
        *ret_since = found ? earlier_of(*ret_since, since) : since;
        found = true;
    }
    return found;
}

/* Whether one of its MBIs hides it; and if not, since when none does. */
static bool is_suppressed(const struct model *model, int beneficiary, struct moment *ret_lifted)
{
    const struct model_beneficiary *b = &model->beneficiaries[beneficiary];
    bool found = false;
    *ret_lifted = moment_exactly(MODEL_NEVER + 1);
    for (int i = 0; i < b->mbi_count; i++) {
        found |= model->mbis[b->mbis[i]].suppressed;
        *ret_lifted = later_of(*ret_lifted, model->mbis[b->mbis[i]].lifted);
    }
    return found;
}

/* A source's time counts, unless an export of the ACO has looked past it or it is still to come. */
static struct moment choose_moment(const struct model *model, int aco, int64_t source, int64_t now,
                                   struct moment span)
{
    return source > model->acos[aco].given && source <= now ? moment_exactly(source) : span;
}

/* Lets exportability follow attribution and opt-outs, at that moment. It begins when the last of what it
 * needs did. */
static void follow(struct model *model, int aco, int beneficiary, struct moment when)
{
    struct model_beneficiary *b = &model->beneficiaries[beneficiary];
    struct model_attribution *attribution = &b->of[aco];
    struct moment since, lifted;
    bool wanted = is_attributed(model, aco, beneficiary, &since);
    wanted &= !is_suppressed(model, beneficiary, &lifted);
    if (wanted == attribution->exportable)
        return;
    attribution->exportable = wanted;
    if (wanted) {
        require(attribution->interval_count < MODEL_INTERVALS_MAX, "too many intervals");
        attribution->intervals[attribution->interval_count++] =
            (struct model_interval){later_of(when, later_of(since, lifted)), moment_exactly(MODEL_FOREVER)};
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
    /* What is linked to one of them is his too, unless another one carries it. */
    for (int i = 0; i < merged_count; i++) {
        for (int mbi = 0; mbi < MODEL_MBIS; mbi++) {
            int carrier = model->mbis[mbi].carrier;
            if (model->linked[merged[i]][mbi] && !known[mbi] && (carrier < 0 || carrier == beneficiary)) {
                merged[merged_count++] = mbi;
                known[mbi] = true;
            }
        }
    }
    memcpy(b->mbis, merged, sizeof merged);
    b->mbi_count = merged_count;
    for (int i = 0; i < merged_count; i++) {
        int before = model->mbis[merged[i]].carrier;
        model->mbis[merged[i]].carrier = beneficiary;
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

/* Behind the ACO's last roster it makes no difference what is in it. */
static enum model_verdict model_roster_again(const struct model_aco *a, int roster,
                                             const bool listed[MODEL_MBIS])
{
    for (int i = 0; i < a->roster_count; i++) {
        if (i != roster && a->rosters[i].at >= a->rosters[roster].at)
            return MODEL_REPEATED;
    }
    return memcmp(listed, a->listed, sizeof a->listed) == 0 ? MODEL_REPEATED : MODEL_DIFFERENT;
}

enum model_verdict model_roster(struct model *model, int aco, int name, int64_t at,
                                const struct model_link *links, int link_count, const bool listed[MODEL_MBIS],
                                int64_t now, struct moment span)
{
    struct model_aco *a = &model->acos[aco];
    if (at > now + DAY_US)
        return MODEL_AHEAD;
    for (int i = 0; i < a->roster_count; i++) {
        if (a->rosters[i].at == at && a->rosters[i].name == name)
            return model_roster_again(a, i, listed);
    }
    for (int i = 0; i < a->roster_count; i++) {
        if (a->rosters[i].at > at)
            return MODEL_OUTDATED;
    }
    require(a->roster_count < MODEL_ROSTERS_MAX, "too many rosters");
    a->rosters[a->roster_count++] = (struct model_roster){at, name};
    for (int i = 0; i < link_count; i++) {
        int mbi = links[i].mbi, other = links[i].other;
        int carrier = model->mbis[mbi].carrier, other_carrier = model->mbis[other].carrier;
        if (model->linked[mbi][other])
            continue;
        model->linked[mbi][other] = model->linked[other][mbi] = true;
        if ((carrier < 0) != (other_carrier < 0))
            learn_mbis(model, carrier < 0 ? other_carrier : carrier, NULL, 0, span);
    }
    struct moment when = choose_moment(model, aco, at, now, span);
    for (int i = 0; i < MODEL_MBIS; i++) {
        if (listed[i] && !a->listed[i])
            a->listed_since[i] = when;
        a->listed[i] = listed[i];
    }
    for (int i = 0; i < MODEL_BENEFICIARIES; i++) {
        model->beneficiaries[i].of[aco].direct = false;
        follow(model, aco, i, when);
    }
    return MODEL_ACCEPTED;
}

/* ---- opt-outs ---- */

/* The latest preference that counts at an instant decides; of those of one day an opt-out. NULL: none. */
static const struct model_preference *deciding(const struct model *model, int mbi, int64_t now)
{
    const struct model_mbi *m = &model->mbis[mbi];
    const struct model_preference *found = NULL;
    for (int i = 0; i < m->preference_count; i++) {
        const struct model_preference *preference = &m->preferences[i];
        bool is_past = model->lookback_days && preference->at <= now - model->lookback_days * DAY_US;
        if (preference->at > now || is_past)
            continue;
        if (!found || preference->at > found->at || (preference->at == found->at && preference->opts_out))
            found = preference;
    }
    return found;
}

/* Looks at an MBI. `source`: since when it is as it is; MODEL_FOREVER: since the preference that decides;
 * MODEL_NEVER: now. */
static void look_at_mbi(struct model *model, int mbi, int64_t source, int64_t now, struct moment span)
{
    struct model_mbi *m = &model->mbis[mbi];
    const struct model_preference *decides = deciding(model, mbi, now);
    bool suppressed = decides && decides->opts_out;
    m->due = MODEL_FOREVER;
    for (int i = 0; i < m->preference_count; i++) {
        if (m->preferences[i].at > now && m->preferences[i].at < m->due)
            m->due = m->preferences[i].at;
    }
    if (suppressed && model->lookback_days && decides->at + model->lookback_days * DAY_US < m->due)
        m->due = decides->at + model->lookback_days * DAY_US;
    if (source == MODEL_FOREVER)
        source = decides ? decides->at : MODEL_NEVER;
    if (suppressed == m->suppressed)
        return;
    m->suppressed = suppressed;
    m->lifted = !suppressed && source != MODEL_NEVER && source <= now ? moment_exactly(source) : span;
    for (int aco = 0; m->carrier >= 0 && aco < MODEL_ACOS; aco++)
        follow(model, aco, m->carrier, choose_moment(model, aco, source, now, span));
}

void model_prefer(struct model *model, int mbi, const struct model_preference *preferences, int count,
                  int64_t now, struct moment span)
{
    struct model_mbi *m = &model->mbis[mbi];
    require(m->preference_count + count <= MODEL_PREFERENCES_MAX, "too many preferences");
    for (int i = 0; i < count; i++)
        m->preferences[m->preference_count++] = preferences[i];
    look_at_mbi(model, mbi, MODEL_FOREVER, now, span);
}

void model_set_lookback(struct model *model, int days)
{
    model->lookback_changed |= days != model->lookback_days;
    model->lookback_days = days;
}

void model_settle(struct model *model, int64_t now, struct moment span)
{
    for (int mbi = 0; model->lookback_changed && mbi < MODEL_MBIS; mbi++) {
        if (model->mbis[mbi].preference_count)
            look_at_mbi(model, mbi, MODEL_NEVER, now, span);
    }
    model->lookback_changed = false;
    for (;;) { /* what was due first, first */
        int first = -1;
        for (int mbi = 0; mbi < MODEL_MBIS; mbi++) {
            if (model->mbis[mbi].due <= now && (first < 0 || model->mbis[mbi].due < model->mbis[first].due))
                first = mbi;
        }
        if (first < 0)
            return;
        look_at_mbi(model, first, model->mbis[first].due, now, span);
    }
}

void model_restored(struct model *model, int64_t now)
{
    for (int aco = 0; aco < MODEL_ACOS; aco++)
        model->acos[aco].given = now;
}

void model_kick_off(struct model *model, int aco, int64_t transaction_time)
{
    require(transaction_time > model->acos[aco].given, "a transactionTime is not later than the one before");
    model_settle(model, transaction_time, moment_exactly(transaction_time));
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

const struct moment *model_source(const struct model *model, enum model_type type, int number)
{
    int newest = model->newest[type][number];
    const struct model_tombstone *tombstone = &model->tombstones[type][number];
    return newest >= 0 ? &model->versions[newest].source : tombstone->exists ? &tombstone->source : NULL;
}

/* Under whom it stands, or was deleted; -1: nobody. */
static int owner_of(const struct model *model, enum model_type type, int number)
{
    int newest = model->newest[type][number];
    const struct model_tombstone *tombstone = &model->tombstones[type][number];
    return newest >= 0 ? model->versions[newest].owner : tombstone->exists ? tombstone->owner : -1;
}

static bool is_same_resource(const struct model_line *a, const struct model_line *b)
{
    return a->type == b->type && a->number == b->number;
}

void model_find_owners(const struct model *model, struct model_line *lines, int count)
{
    for (int i = 0; i < count; i++) {
        if (!lines[i].deletes)
            continue;
        lines[i].beneficiary = lines[i].type == MODEL_PATIENT
                                   ? lines[i].number
                                   : owner_of(model, lines[i].type, lines[i].number);
        for (int k = 0; k < count && lines[i].beneficiary < 0; k++) {
            if (!lines[k].deletes && is_same_resource(&lines[i], &lines[k]))
                lines[i].beneficiary = lines[k].beneficiary;
        }
    }
}

static int64_t line_time(const struct model_line *line)
{
    return line->has_time ? line->time : line->deletes ? MODEL_FOREVER : UNDATED_US;
}

/* An import: its clock's least, the span of its stamps, and of its write requests. */
struct import_times {
    int64_t now;
    struct moment stamps, span;
};

struct import_group {
    enum model_type type;
    int beneficiary; /* -1: nobody's */
    int number;      /* of a deletion of nobody's; else -1 */
    int64_t looked_past;
};

/* Its own time, if no export that may ask again has looked past it, and if it has come. */
static struct moment choose_stamp(const struct model_line *line, const struct import_times *times,
                                  const struct import_group *group, struct model_counts *counts)
{
    if (line_time(line) > group->looked_past && line_time(line) <= times->now)
        return moment_exactly(line_time(line));
    struct moment stamp = times->stamps;
    if (stamp.after < group->looked_past)
        stamp.after = group->looked_past;
    require(stamp.after < stamp.until, "an import took no time");
    counts->stamped += line_time(line) <= times->now;
    return stamp;
}

static void accept_line(struct model *model, const struct model_line *line, const struct import_times *times,
                        const struct import_group *group, struct model_counts *counts)
{
    bool is_future = line_time(line) > times->now;
    model->versions = realloc(model->versions, (size_t)(model->version_count + 1) * sizeof *model->versions);
    require(model->versions != NULL, "no memory");
    struct model_version *version = &model->versions[model->version_count];
    memset(version, 0, sizeof *version);
    version->type = line->type;
    version->number = line->number;
    version->owner = line->beneficiary;
    memcpy(version->content, line->content, sizeof version->content);
    version->source = is_future ? times->stamps : moment_exactly(line_time(line));
    version->stamp = choose_stamp(line, times, group, counts);
    model->newest[line->type][line->number] = model->version_count++;
    model->tombstones[line->type][line->number].exists = false;
    counts->future += is_future;
    counts->undated += !line->has_time;
}

/* What becomes of a line. */
enum fate { FATE_REFUSED, FATE_PASSED, FATE_ACCEPTED };

static enum fate take_resource(struct model *model, const struct model_line *line,
                               const struct import_times *times, const struct import_group *group,
                               struct model_counts *counts)
{
    int owner = owner_of(model, line->type, line->number);
    const struct moment *known = model_source(model, line->type, line->number);
    bool stands = model->newest[line->type][line->number] >= 0;
    bool is_future = line_time(line) > times->now;
    bool is_newer = is_future || !known || !moment_is_later(known, line_time(line) - 1);
    bool is_older = !is_future && known && moment_is_later(known, line_time(line));
    if (owner >= 0 && owner != line->beneficiary) {
        counts->refused++;
        return FATE_REFUSED;
    }
    if (!stands && known && !is_newer) { /* deleted since */
        counts->late++;
        return FATE_REFUSED;
    }
    if (stands) {
        bool is_same =
            strcmp(model->versions[model->newest[line->type][line->number]].content, line->content) == 0;
        if (is_same && (is_future || !is_newer)) {
            counts->identical++;
            return FATE_PASSED;
        }
        if (is_older) {
            counts->late++;
            return FATE_PASSED;
        }
    }
    *(stands ? &counts->replaced : &counts->added) += 1;
    accept_line(model, line, times, group, counts);
    return FATE_ACCEPTED;
}

static void take_deletion(struct model *model, const struct model_line *line,
                          const struct import_times *times, const struct import_group *group,
                          struct model_counts *counts)
{
    int newest = model->newest[line->type][line->number];
    const struct moment *known = model_source(model, line->type, line->number);
    struct model_tombstone *tombstone = &model->tombstones[line->type][line->number];
    bool is_future = line_time(line) > times->now;
    struct moment source = is_future ? times->stamps : moment_exactly(line_time(line));
    if (newest >= 0 && model->versions[newest].owner != line->beneficiary) {
        counts->refused++;
    } else if (newest >= 0 && !is_future && moment_is_later(known, line_time(line))) {
        counts->late++;
    } else if (newest >= 0) {
        counts->deleted++;
        counts->future += is_future && line->has_time;
        *tombstone = (struct model_tombstone){true, line->beneficiary, source,
                                              choose_stamp(line, times, group, counts)};
        model->newest[line->type][line->number] = -1;
    } else if (!tombstone->exists) {
        counts->deleted_unknown++;
        *tombstone = (struct model_tombstone){.exists = true, .owner = -1, .source = source};
    } else {
        counts->identical++;
        /* Without a time of its own it says nothing new. Whoever was told, was told. */
        if (line->has_time && (is_future || !moment_is_later(known, line_time(line) - 1)))
            tombstone->source = source;
    }
}

static bool is_in_group(const struct model_line *line, const struct import_group *group)
{
    return line->type == group->type && line->beneficiary == group->beneficiary &&
           (group->number < 0 || line->number == group->number);
}

/* Of two lines with one id the newer one counts; of equally new ones a deletion, else the later line. */
static bool is_before(const struct model_line *a, const struct model_line *b)
{
    if (line_time(a) != line_time(b))
        return line_time(a) < line_time(b);
    return a->deletes != b->deletes ? b->deletes : a < b;
}

/* Of the group's lines with that number the one that counts; NULL: none. The others are told as identical or
 * late by the line that follows each. */
static const struct model_line *choose_best(const struct model_line *lines, int count,
                                            const struct import_group *group, int number,
                                            struct model_counts *counts)
{
    const struct model_line *best = NULL;
    for (int i = 0; i < count; i++) {
        const struct model_line *next = NULL;
        if (!is_in_group(&lines[i], group) || lines[i].number != number)
            continue;
        for (int k = 0; k < count; k++) {
            if (k != i && is_in_group(&lines[k], group) && lines[k].number == number &&
                is_before(&lines[i], &lines[k]) && (!next || is_before(&lines[k], next)))
                next = &lines[k];
        }
        if (!next) {
            best = &lines[i];
            continue;
        }
        bool is_same = line_time(next) == line_time(&lines[i]) && next->deletes == lines[i].deletes &&
                       strcmp(next->content, lines[i].content) == 0;
        *(is_same ? &counts->identical : &counts->late) += 1;
    }
    return best;
}

/* The lines of one beneficiary and type. */
static void take_group(struct model *model, int aco, const struct model_line *lines, int count,
                       struct import_group group, const struct import_times *times,
                       struct model_counts *counts)
{
    const struct model_line *learnt = NULL;
    bool any = false;
    group.looked_past = group.beneficiary < 0 ? MODEL_NEVER : watermark(model, group.beneficiary);
    for (int number = 0; number < MODEL_NUMBERS; number++) {
        const struct model_line *best = choose_best(lines, count, &group, number, counts);
        if (best && best->deletes) {
            take_deletion(model, best, times, &group, counts);
        } else if (best) {
            enum fate fate = take_resource(model, best, times, &group, counts);
            any |= fate != FATE_REFUSED;
            if (fate == FATE_ACCEPTED && group.type == MODEL_PATIENT)
                learnt = best;
        }
    }
    if (aco >= 0 && any) {
        struct model_attribution *attribution = &model->beneficiaries[group.beneficiary].of[aco];
        if (!attribution->direct)
            attribution->direct_since = times->span;
        attribution->direct = true;
        follow(model, aco, group.beneficiary, times->span);
    }
    if (learnt && learnt->mbi_count)
        learn_mbis(model, group.beneficiary, learnt->mbis, learnt->mbi_count, times->span);
}

void model_import(struct model *model, int aco, const struct model_line *lines, int count, int64_t now,
                  struct moment span, int64_t packed_after, struct model_counts *ret_counts)
{
    struct import_times times = {now, {packed_after, span.until}, span};
    static const enum model_type order[] = {MODEL_PATIENT, MODEL_EOB, MODEL_COVERAGE};
    memset(ret_counts, 0, sizeof *ret_counts);
    for (int number = 0; number < MODEL_NUMBERS; number++) {
        for (int i = 0; i < MODEL_TYPES; i++)
            take_group(model, -1, lines, count, (struct import_group){order[i], -1, number, 0}, &times,
                       ret_counts);
    }
    for (int beneficiary = 0; beneficiary < MODEL_BENEFICIARIES; beneficiary++) {
        for (int i = 0; i < MODEL_TYPES; i++)
            take_group(model, aco, lines, count, (struct import_group){order[i], beneficiary, -1, 0}, &times,
                       ret_counts);
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

static void answer_number(const struct model *model, const struct model_request *request,
                          enum model_type type, int number, struct model_answer *answer)
{
    int newest = model->newest[type][number], owner = owner_of(model, type, number);
    const struct model_tombstone *tombstone = &model->tombstones[type][number];
    if (owner < 0 || !answer->exportable[owner])
        return;
    bool is_new = request->separates && !answer->existing[owner];
    enum model_set set = !request->separates ? MODEL_ALL : is_new ? MODEL_NEW : MODEL_EXISTING;
    bool is_bounded = request->since != MODEL_NEVER && !is_new;
    if (newest >= 0 && is_bounded && !moment_is_later(&model->versions[newest].stamp, request->since))
        return;
    if (newest >= 0)
        answer->items[answer->count++] = (struct model_item){set, newest};
    else if (is_bounded && moment_is_later(&tombstone->stamp, request->since))
        answer->deletions[answer->deletion_count++] =
            (struct model_deletion){type, number, owner, tombstone->stamp};
}

void model_answer(const struct model *model, const struct model_request *request,
                  struct model_answer *ret_answer)
{
    memset(ret_answer, 0, sizeof *ret_answer);
    for (int i = 0; i < MODEL_BENEFICIARIES; i++) {
        const struct model_attribution *attribution = &model->beneficiaries[i].of[request->aco];
        ret_answer->exportable[i] = attribution->exportable;
        ret_answer->existing[i] = attribution->exportable && request->since != MODEL_NEVER &&
                                  was_exportable(attribution, request->since);
    }
    for (int i = 0; i < request->type_count; i++) {
        for (int number = 0; number < MODEL_NUMBERS; number++)
            answer_number(model, request, request->types[i], number, ret_answer);
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
            const struct model_tombstone *tombstone = &model->tombstones[type][number];
            if (newest >= 0 && hides(&model->versions[newest].stamp, us, ret_better))
                return true;
            if (tombstone->exists && tombstone->owner >= 0 && hides(&tombstone->stamp, us, ret_better))
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
