/*
 * Micro-benchmarks in C, run by Google Benchmark. A benchmark is a function:
 *
 *     static void bench_inflate(struct bench_loop *loop)
 *     {
 *         ... set up, from fixed seeds ...
 *         while (bench_next(loop))
 *             ... the work ...
 *         if (the result is not what it must be)
 *             bench_wrong(loop, "what is wrong");
 *         bench_bytes(loop, bytes of one round);
 *         ... clean up ...
 *     }
 *
 * and a row in its file's table, which bench.cc registers. A benchmark checks its result: a fast wrong answer
 * fails (the run says ERROR OCCURRED, and tests/run.py counts it as a failure). tests/run.py runs each for a
 * moment; `ninja bench` runs them at full size.
 *
 * Threading: one benchmark at a time, on one thread.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_loop;

/* True while another round is to be measured. */
bool bench_next(struct bench_loop *loop);
/* What is between these two within a round is not counted; they cost about a microsecond together. */
void bench_pause(struct bench_loop *loop);
void bench_resume(struct bench_loop *loop);
/* What one round did, for the columns bytes_per_second and items_per_second. */
void bench_bytes(struct bench_loop *loop, uint64_t bytes);
void bench_items(struct bench_loop *loop, uint64_t items);
/* A figure of its own in the table, e.g. the ratio of compression. */
void bench_figure(struct bench_loop *loop, const char *name, double value);
/* The result is wrong. `text` lives as long as the program. */
void bench_wrong(struct bench_loop *loop, const char *text);

struct bench_case {
    const char *name; /* "segment_inflate" */
    void (*run)(struct bench_loop *loop);
};

/* Each ends with a row without a name. */
extern const struct bench_case bench_codec[];   /* codec_bench.c */
extern const struct bench_case bench_storage[]; /* storage_bench.c */
extern const struct bench_case bench_server[];  /* server_bench.c */

#ifdef __cplusplus
}
#endif

#endif
