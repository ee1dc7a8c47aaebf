// The one C++ file: hands the C benchmarks of bench.h to Google Benchmark.
#include "tests/bench/bench.h"

#include <benchmark/benchmark.h>

#include <string>

struct bench_loop {
    benchmark::State &state;
};

bool bench_next(struct bench_loop *loop)
{
    return loop->state.KeepRunning();
}

void bench_pause(struct bench_loop *loop)
{
    loop->state.PauseTiming();
}

void bench_resume(struct bench_loop *loop)
{
    loop->state.ResumeTiming();
}

void bench_bytes(struct bench_loop *loop, uint64_t bytes)
{
    loop->state.SetBytesProcessed(static_cast<int64_t>(bytes) *
                                  static_cast<int64_t>(loop->state.iterations()));
}

void bench_items(struct bench_loop *loop, uint64_t items)
{
    loop->state.SetItemsProcessed(static_cast<int64_t>(items) *
                                  static_cast<int64_t>(loop->state.iterations()));
}

void bench_figure(struct bench_loop *loop, const char *name, double value)
{
    loop->state.counters[name] = value;
}

void bench_wrong(struct bench_loop *loop, const char *text)
{
    loop->state.SkipWithError(text);
}

static void register_all(const char *folder, const struct bench_case *cases)
{
    for (const struct bench_case *it = cases; it->name; it++) {
        auto run = it->run;
        benchmark::RegisterBenchmark((std::string(folder) + "/" + it->name).c_str(),
                                     [run](benchmark::State &state) {
                                         struct bench_loop loop = {state};
                                         run(&loop);
                                     });
    }
}

int main(int argc, char **argv)
{
    register_all("codec", bench_codec);
    register_all("storage", bench_storage);
    register_all("server", bench_server);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
