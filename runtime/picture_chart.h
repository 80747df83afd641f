// A line chart: axes, ticks, a legend, linear or logarithmic.
#pragma once

#include "runtime/picture.h"

typedef enum { SCALE_LINEAR, SCALE_LOG10, SCALE_LOG2 } chart_scale;
typedef enum { SERIES_LINE, SERIES_THIN, SERIES_POINTS, SERIES_LINE_POINTS } series_style;

typedef struct chart_series {
  const char *name;    // NULL: not in the legend
  const double *x, *y; // what is not finite breaks the line, and what is not positive on a log scale
  u32 count;
  series_style style;
  picture_ink ink; // INK_NONE: the next data ink
} chart_series;

typedef struct chart {
  const char *title; // always told to those who do not see; drawn if draw_title
  bool draw_title;
  const char *x_label, *y_label;
  chart_scale x_scale, y_scale;
  const chart_series *series;
  u32 count;
  double w, h;          // 0: 720 x 340
  double y_low, y_high; // limits of y; equal: from the data
} chart;

void picture_chart(picture *ret_picture, arena *a, const chart *c);
// Each point by the line fitted to those within half a window on both sides: no lag, and no bias at the
// ends. Values that are not finite are left out.
double *picture_chart_smooth(arena *a, const double *y, u32 count, u32 window);
