/*
 * The command line of sluice-load.
 *
 * Threading: once, at the start.
 */
#ifndef LOADTEST_OPTIONS_H
#define LOADTEST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct options {
    const char *url; /* without a slash at its end; owned by argv */
    const char *credentials;
    const char *scenario; /* a name from scenario.h */
    unsigned seconds;
    unsigned connections;
    double rate; /* of the scenario's work, a second; 0: the scenario's own */
    const char *ca_file;
    bool insecure;
    bool identity;    /* downloads without gzip */
    bool changing;    /* the store changes meanwhile: exports of one ACO may differ */
    unsigned poll_ms; /* 0: as Retry-After says */
    uint64_t seed;
    pid_t server;       /* 0: unknown */
    const char *report; /* NULL: none */
    bool json;
    bool quiet;
};

/* Exits with 2 and usage if the command line is wrong; with 0 after --help and --version. */
void options_parse(struct options *options, int argc, char **argv);

#endif
