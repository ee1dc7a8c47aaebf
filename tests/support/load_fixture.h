/*
 * A store for tests of what is loaded and exported: resources are made up and imported through files, rosters
 * applied, jobs kicked off; what an export gives is collected as text. What cannot be set up fails the
 * running cmocka test.
 *
 * Threading: one thread at a time; load_run on several with files of their own.
 */
#ifndef TESTS_SUPPORT_LOAD_FIXTURE_H
#define TESTS_SUPPORT_LOAD_FIXTURE_H

#include "codec/base/arena.h"
#include "storage/import.h"
#include "tests/support/store_fixture.h"

struct load_fixture {
    struct store_fixture store;
    struct link *link;
    unsigned files;                   /* written so far */
    struct buffer refusals;           /* "line reason\n" of the last load; line 0: the file */
    uint64_t bytes_done, bytes_total; /* of its last progress */
};

/* Shifts clock_now_us by whole seconds; at first call from main, before any thread. */
void load_clock_shift(long seconds);

void load_fixture_open(struct load_fixture *fixture);
void load_fixture_reopen(struct load_fixture *fixture);
void load_fixture_close(struct load_fixture *fixture);

/* One line, "\n" included. `time` NULL: no meta. Patients carry `mbi` if there is one. */
void load_line(struct buffer *target, enum resource_type type, const char *id, const char *beneficiary,
               const char *mbi, unsigned version, const char *time);
/* A file in the fixture's directory with that ending; returns its path (in a static ring of a few). */
const char *load_file(struct load_fixture *fixture, const char *ending, struct slice contents);

/* Imports; the counts. */
struct import_counts load_run(struct load_fixture *fixture, const struct import_options *options);
struct import_counts load_text(struct load_fixture *fixture, struct slice lines, const char *aco_id);

/* `mbis` separated by blanks, in order. */
enum status load_try_roster(struct load_fixture *fixture, const char *aco_id, const char *name, int64_t at_us,
                            const char *mbis, struct error *error);
void load_roster(struct load_fixture *fixture, const char *aco_id, const char *name, int64_t at_us,
                 const char *mbis);

/* A view that an export reads. */
struct load_view {
    uint32_t aco;
    uint64_t job; /* 0: no job holds it */
    uint64_t sequence;
    int64_t transaction_time_us;
};
/* Of a new job. */
struct load_view load_kick_off(struct load_fixture *fixture, uint32_t aco, const char *endpoint);
/* Ends the job: its view may be collected from now on. */
void load_end_job(struct load_fixture *fixture, const struct load_view *view);
/* What stands now, without a job. */
struct load_view load_now(struct load_fixture *fixture, uint32_t aco);

/* Runs the collection of superseded segments to its end; how many went. */
size_t load_collect(struct load_fixture *fixture);

struct load_resource {
    enum resource_type type;
    struct slice beneficiary, id, json;
    int64_t stamp_us, source_us;
    bool at_since; /* its beneficiary was exportable at since_us */
};
struct load_export {
    struct arena arena;
    struct load_resource *items; /* in order of beneficiary, type and id */
    size_t count;
};
enum load_bound { LOAD_BOUND_PATIENT, LOAD_BOUND_GROUP };
/* since_us INSTANT_MIN_US: everything. Checks that each stamp is the text's meta.lastUpdated and lies within
 * the view. */
void load_export_read(struct load_fixture *fixture, const struct load_view *view, int64_t since_us,
                      enum load_bound bound, struct load_export *ret_export);
void load_export_release(struct load_export *export);
/* "Patient/b1 v2\n" and so on, in order; in a static buffer. */
const char *load_export_text(const struct load_export *export);
/* As one call, of everything that stands now. */
const char *load_exported_now(struct load_fixture *fixture, uint32_t aco);

/* Fails if verify finds a fault. */
void load_verify(struct load_fixture *fixture);

/* Every key and value of the store but the clock's, hashed: equal if nothing changed. */
uint64_t load_contents_hash(struct load_fixture *fixture);

#endif
