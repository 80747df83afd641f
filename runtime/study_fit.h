// Numbers of studies: lines, optima and spreads over seeds. Values that are not finite are left out.
#pragma once

#include "base/types.h"

typedef struct fit_spread {
  double mean, sd, low, high; // sd of the sample; 0 for a single value, all NaN for none
  u32 count;
} fit_spread;
fit_spread fit_spread_of(const double *values, u32 count);
// Of the mean: sd / sqrt(count).
double fit_error(fit_spread s);

// y = intercept + slope x by least squares; NaN with fewer than two different x.
typedef struct fit_line {
  double slope, intercept;
  double x_mean, x_square; // sum of (x - mean)^2
  double residual_sd;      // NaN with fewer than three points
  u32 count;
} fit_line;
fit_line fit_line_of(const double *x, const double *y, u32 count);
double fit_at(const fit_line *f, double x);
// Standard error of a prediction of the line (not of a single new value) at x; NaN where residual_sd is.
double fit_error_at(const fit_line *f, double x);
// Slope of log2 y against log2 x.
double fit_power(const double *x, const double *y, u32 count);

// The lowest point of a curve: a parabola through the lowest value and its neighbours in x.
typedef struct fit_optimum {
  double x, y; // NaN where no value is finite
  u32 lowest;  // index of the lowest value
  bool edge;   // the lowest value is the first or last: the optimum lies there or beyond
} fit_optimum;
fit_optimum fit_optimum_of(const double *x, const double *y, u32 count);

double fit_median(double *values, u32 count); // reorders; NaN where there is none
