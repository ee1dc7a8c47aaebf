/*
 * A service with a store, its writer and exports, and made-up beneficiaries in it, for tests of exports.
 *
 * Resources say in their text whose they are: each line holds its ACO's id and its beneficiary's, so a test
 * sees at once what stands in a file where it should not.
 *
 * Threading: one thread at a time.
 */
#ifndef TESTS_SUPPORT_EXPORT_FIXTURE_H
#define TESTS_SUPPORT_EXPORT_FIXTURE_H

#include "codec/base/arena.h"
#include "server/exports.h"
#include "tests/support/store_fixture.h"

struct export_fixture {
    struct store_fixture store;
    struct service service;
    struct exports_options options; /* change before export_fixture_start */
    struct arena arena;             /* of the jobs read; until the close */
};

void export_fixture_open(struct export_fixture *fixture);
/* Starts and stops exports; every start is a new process to them. */
void export_fixture_start(struct export_fixture *fixture);
void export_fixture_stop(struct export_fixture *fixture);
void export_fixture_close(struct export_fixture *fixture);

/* Imports `count` resources of one beneficiary and type in one load (one segment), numbered from `first`,
 * with that lastUpdated; exportable by the ACO from now on. `padding`: bytes added to each line. */
struct export_load {
    uint32_t aco;
    const char *aco_id;
    const char *beneficiary;
    enum resource_type type;
    unsigned first, count;
    const char *last_updated;
    size_t padding;
};
void export_fixture_load(struct export_fixture *fixture, const struct export_load *load);

/* Deletes those numbers of a beneficiary, at that source time, in one load; they must stand there. */
void export_fixture_delete(struct export_fixture *fixture, const char *beneficiary, enum resource_type type,
                           unsigned first, unsigned count, const char *deleted_at);

/* As a kick-off does it; exports is woken if it runs. `types` NULL: all. */
struct export_request {
    uint32_t aco;
    const char *endpoint; /* NULL: "Patient" */
    const enum resource_type *types;
    size_t type_count;
    int64_t since_us; /* 0: everything */
    bool separates_new;
    bool partial_manifests;
    const char *warnings;
};
uint64_t export_fixture_request(struct export_fixture *fixture, const struct export_request *request);

/* The job's record, in the fixture's arena. */
struct job export_fixture_job(struct export_fixture *fixture, uint64_t id);
/* Waits until the job is in that state; fails after a minute. */
struct job export_fixture_await(struct export_fixture *fixture, uint64_t id, enum job_state state);

/* The file's gzip bytes, and its lines. Checked: the gzip is one whole member, the index behind it leads
 * through all of it. Appended. */
void export_fixture_read_gzip(struct export_fixture *fixture, uint64_t job_id, const struct job_file *file,
                              struct buffer *target);
void export_fixture_read(struct export_fixture *fixture, uint64_t job_id, const struct job_file *file,
                         struct buffer *target);

/* How many names stand in the job's folder; -1 if there is none. */
int export_fixture_count_names(struct export_fixture *fixture, uint64_t job_id);

/* A short wait between two looks at a condition; fails the test at the deadline (clock_monotonic_us). */
void export_fixture_wait(int64_t deadline_us, const char *what);

#endif
