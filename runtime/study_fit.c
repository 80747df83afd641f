// Lines, optima and spreads.
#include "runtime/study_fit.h"

#include <math.h>
#include <stdlib.h>

fit_spread fit_spread_of(const double *values, u32 count) {
  fit_spread s = {.mean = NAN, .sd = NAN, .low = NAN, .high = NAN};
  double sum = 0;
  for (u32 i = 0; i < count; i++) {
    if (!isfinite(values[i])) continue;
    sum += values[i];
    s.low = s.count ? fmin(s.low, values[i]) : values[i];
    s.high = s.count ? fmax(s.high, values[i]) : values[i];
    s.count++;
  }
  if (!s.count) return s;
  s.mean = sum / s.count;
  double square = 0;
  for (u32 i = 0; i < count; i++)
    if (isfinite(values[i])) square += (values[i] - s.mean) * (values[i] - s.mean);
  s.sd = s.count > 1 ? sqrt(square / (s.count - 1)) : 0;
  return s;
}

double fit_error(fit_spread s) {
  return s.sd / sqrt(s.count);
}

fit_line fit_line_of(const double *x, const double *y, u32 count) {
  fit_line f = {.slope = NAN, .intercept = NAN, .residual_sd = NAN};
  double y_mean = 0;
  for (u32 i = 0; i < count; i++) {
    if (!isfinite(x[i]) || !isfinite(y[i])) continue;
    f.x_mean += x[i];
    y_mean += y[i];
    f.count++;
  }
  if (!f.count) return f;
  f.x_mean /= f.count;
  y_mean /= f.count;
  double product = 0, rest = 0;
  for (u32 i = 0; i < count; i++) {
    if (!isfinite(x[i]) || !isfinite(y[i])) continue;
    f.x_square += (x[i] - f.x_mean) * (x[i] - f.x_mean);
    product += (x[i] - f.x_mean) * (y[i] - y_mean);
  }
  if (!(f.x_square > 0)) return f;
  f.slope = product / f.x_square;
  f.intercept = y_mean - f.slope * f.x_mean;
  for (u32 i = 0; i < count; i++)
    if (isfinite(x[i]) && isfinite(y[i])) rest += pow(y[i] - fit_at(&f, x[i]), 2);
  if (f.count > 2) f.residual_sd = sqrt(rest / (f.count - 2));
  return f;
}

double fit_at(const fit_line *f, double x) {
  return f->intercept + f->slope * x;
}

double fit_error_at(const fit_line *f, double x) {
  return f->residual_sd * sqrt(1.0 / f->count + (x - f->x_mean) * (x - f->x_mean) / f->x_square);
}

double fit_power(const double *x, const double *y, u32 count) {
  double *logs = calloc(2 * (size_t)count + 1, sizeof *logs);
  require(logs);
  for (u32 i = 0; i < count; i++) {
    logs[i] = log2(x[i]);
    logs[count + i] = y[i] > 0 ? log2(y[i]) : NAN;
  }
  const double slope = fit_line_of(logs, logs + count, count).slope;
  free(logs);
  return slope;
}

// The vertex of the parabola through three points; the middle one where they do not bend upwards.
static fit_optimum vertex(const double *x, const double *y) {
  const double left = (y[1] - y[0]) / (x[1] - x[0]), right = (y[2] - y[1]) / (x[2] - x[1]);
  const double bend = (right - left) / (x[2] - x[0]);
  if (!isfinite(bend) || bend <= 0) return (fit_optimum){.x = x[1], .y = y[1]};
  const double at = (x[0] + x[1]) / 2 - left / (2 * bend);
  return (fit_optimum){.x = at, .y = y[1] + (left + bend * (at - x[0])) * (at - x[1])};
}

fit_optimum fit_optimum_of(const double *x, const double *y, u32 count) {
  u32 low = count;
  for (u32 i = 0; i < count; i++)
    if (isfinite(y[i]) && (low == count || y[i] < y[low])) low = i;
  if (low == count) return (fit_optimum){.x = NAN, .y = NAN};
  fit_optimum o = {.x = x[low], .y = y[low]};
  const bool edge = low == 0 || low + 1 == count;
  if (!edge) o = vertex(x + low - 1, y + low - 1);
  o.lowest = low;
  o.edge = edge;
  return o;
}

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double fit_median(double *values, u32 count) {
  u32 n = 0;
  for (u32 i = 0; i < count; i++)
    if (isfinite(values[i])) values[n++] = values[i];
  if (!n) return NAN;
  qsort(values, n, sizeof *values, by_value);
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
