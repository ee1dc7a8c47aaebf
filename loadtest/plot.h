/*
 * Plots as SVG, to stand in a page: axes with round numbers, a legend, lines. Colours follow the page's light
 * or dark scheme through its style sheet (report_html.c).
 *
 * Threading: plain functions.
 */
#ifndef LOADTEST_PLOT_H
#define LOADTEST_PLOT_H

#include "codec/base/buffer.h"

#include <stdbool.h>

#define PLOT_SERIES_MAX 8

struct plot_series {
    const char *name;
    unsigned style;      /* its class is "s<style>", below PLOT_SERIES_MAX */
    const double *x, *y; /* a y of 0 or less is no point of a logarithmic axis, and is left out */
    size_t count;
};

struct plot {
    const char *title;
    const char *x_label;
    void (*y_text)(double value, char text[32]); /* of the marks of the y axis */
    void (*x_text)(double value, char text[32]); /* NULL: as a number */
    bool y_is_logarithmic;
    double x_end; /* where a line says x_end_text, if points lie behind it; 0: nowhere */
    const char *x_end_text;
    struct plot_series series[PLOT_SERIES_MAX];
    size_t series_count;
};

/* Appends a figure; nothing if no series has a point. */
void plot_append(const struct plot *plot, struct buffer *out);

/* Text for a page: & < > " are escaped. */
void plot_escape(struct buffer *out, const char *text);

#endif
