#include "loadtest/plot.h"

#include <math.h>
#include <stdio.h>

#define WIDTH      860.0
#define HEIGHT     260.0
#define LEFT       76.0
#define RIGHT      16.0
#define TOP        12.0
#define BOTTOM     40.0
#define MARKS      5
#define POINTS_MAX 600 /* more would be narrower than a pixel */

struct scale {
    double from, to;
    bool is_logarithmic;
};

static double scale_at(const struct scale *scale, double value)
{
    if (scale->is_logarithmic)
        return (log10(value) - log10(scale->from)) / (log10(scale->to) - log10(scale->from));
    return (value - scale->from) / (scale->to - scale->from);
}

void plot_escape(struct buffer *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            buffer_append_text(out, "&amp;");
            break;
        case '<':
            buffer_append_text(out, "&lt;");
            break;
        case '>':
            buffer_append_text(out, "&gt;");
            break;
        case '"':
            buffer_append_text(out, "&quot;");
            break;
        default:
            buffer_append_char(out, *text);
        }
    }
}

/* 1, 2 or 5 times a power of ten: so that about MARKS of them reach `span`. */
static double round_step(double span)
{
    double power = pow(10, floor(log10(span / MARKS)));
    double step = span / MARKS / power;
    return power * (step <= 1 ? 1 : step <= 2 ? 2 : step <= 5 ? 5 : 10);
}

static bool find_scales(const struct plot *plot, struct scale *x, struct scale *y)
{
    bool any = false;
    for (size_t i = 0; i < plot->series_count; i++) {
        const struct plot_series *series = &plot->series[i];
        for (size_t k = 0; k < series->count; k++) {
            if (plot->y_is_logarithmic && series->y[k] <= 0)
                continue;
            x->to = !any || series->x[k] > x->to ? series->x[k] : x->to;
            x->from = !any || series->x[k] < x->from ? series->x[k] : x->from;
            y->to = !any || series->y[k] > y->to ? series->y[k] : y->to;
            y->from = !any || series->y[k] < y->from ? series->y[k] : y->from;
            any = true;
        }
    }
    y->is_logarithmic = plot->y_is_logarithmic;
    if (y->is_logarithmic) {
        y->from = pow(10, floor(log10(y->from)));
        y->to = pow(10, ceil(log10(y->to * 1.001)));
    } else {
        y->from = 0;
        y->to = y->to > 0 ? y->to * 1.05 : 1;
    }
    if (x->to <= x->from)
        x->to = x->from + 1;
    return any;
}

static double x_place(const struct scale *scale, double value)
{
    return LEFT + scale_at(scale, value) * (WIDTH - LEFT - RIGHT);
}

static double y_place(const struct scale *scale, double value)
{
    return HEIGHT - BOTTOM - scale_at(scale, value) * (HEIGHT - TOP - BOTTOM);
}

static void y_mark(const struct plot *plot, const struct scale *scale, double value, struct buffer *out)
{
    char text[32];
    double at = y_place(scale, value);
    plot->y_text(value, text);
    buffer_appendf(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", LEFT, at,
                   WIDTH - RIGHT, at);
    buffer_appendf(out, "<text class=\"mark\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                   LEFT - 8, at + 4, text);
}

static void axes_append(const struct plot *plot, const struct scale *x, const struct scale *y,
                        struct buffer *out)
{
    if (y->is_logarithmic) {
        for (double value = y->from; value <= y->to * 1.001; value *= 10)
            y_mark(plot, y, value, out);
    } else {
        double step = round_step(y->to);
        for (double value = 0; value <= y->to; value += step)
            y_mark(plot, y, value, out);
    }
    double step = round_step(x->to - x->from);
    for (double value = ceil(x->from / step) * step; value <= x->to + step / 1000; value += step) {
        char text[32];
        snprintf(text, sizeof text, "%g", value);
        if (plot->x_text)
            plot->x_text(value, text);
        buffer_appendf(out, "<text class=\"mark\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
                       x_place(x, value), HEIGHT - BOTTOM + 18, text);
    }
    buffer_appendf(out, "<text class=\"mark\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", WIDTH - RIGHT,
                   HEIGHT - 6);
    plot_escape(out, plot->x_label);
    buffer_append_text(out, "</text>\n");
}

/* The line at x_end, and what it says. */
static void end_append(const struct plot *plot, const struct scale *x, struct buffer *out)
{
    if (plot->x_end <= x->from || plot->x_end >= x->to)
        return;
    double at = x_place(x, plot->x_end);
    buffer_appendf(out,
                   "<line class=\"grid end\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>"
                   "<text class=\"mark\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                   at, TOP, at, HEIGHT - BOTTOM, at, HEIGHT - 6);
    plot_escape(out, plot->x_end_text);
    buffer_append_text(out, "</text>\n");
}

static void series_append(const struct plot *plot, size_t number, const struct scale *x,
                          const struct scale *y, struct buffer *out)
{
    const struct plot_series *series = &plot->series[number];
    size_t group = (series->count + POINTS_MAX - 1) / POINTS_MAX;
    buffer_appendf(out, "<path class=\"line s%u\" d=\"", series->style);
    bool begun = false;
    for (size_t i = 0; i < series->count; i += group) {
        /* Of what falls on one pixel the highest counts: a spike must not vanish. */
        size_t highest = i;
        for (size_t k = i; k < i + group && k < series->count; k++)
            highest = series->y[k] > series->y[highest] ? k : highest;
        if (plot->y_is_logarithmic && series->y[highest] <= 0)
            continue;
        buffer_appendf(out, "%c%.1f %.1f", begun ? 'L' : 'M', x_place(x, series->x[highest]),
                       y_place(y, series->y[highest]));
        if (!begun)
            buffer_append_text(out, "h0"); /* a point alone is a dot */
        begun = true;
    }
    buffer_append_text(out, "\"/>\n");
}

void plot_append(const struct plot *plot, struct buffer *out)
{
    struct scale x = {0, 0, false}, y = {0, 0, false};
    if (!find_scales(plot, &x, &y))
        return;
    buffer_append_text(out, "<figure><figcaption>");
    plot_escape(out, plot->title);
    for (size_t i = 0; plot->series_count > 1 && i < plot->series_count; i++) {
        buffer_appendf(
            out,
            " <span class=\"key\"><svg width=\"18\" height=\"8\"><line class=\"line s%u\" x1=\"0\" "
            "y1=\"4\" x2=\"18\" y2=\"4\"/></svg> ",
            plot->series[i].style);
        plot_escape(out, plot->series[i].name);
        buffer_append_text(out, "</span>");
    }
    buffer_appendf(out, "</figcaption>\n<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n", WIDTH, HEIGHT);
    axes_append(plot, &x, &y, out);
    end_append(plot, &x, out);
    for (size_t i = 0; i < plot->series_count; i++)
        series_append(plot, i, &x, &y, out);
    buffer_append_text(out, "</svg></figure>\n");
}
