/*
 * The command line of sluice-synth. options_parse ends the process by itself for --help, --version (status
 * 0) and wrong usage (status 2), with the reason on stderr.
 *
 * Threading: call once, at the start.
 */
#ifndef TOOLS_SYNTH_OPTIONS_H
#define TOOLS_SYNTH_OPTIONS_H

#include "tools/synth/dataset.h"

#define EXIT_USAGE 2

struct options {
    struct dataset_options dataset;
    bool quiet;
    struct slice acos[ACOS_MAX];
    char default_acos[ACOS_MAX][ACO_ID_SIZE_MAX + 1];
};

/* `options` must outlive the use of options->dataset, which points into it and into argv. */
void options_parse(struct options *options, int argc, char **argv);

#endif
