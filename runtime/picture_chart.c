// A line chart: ranges and ticks from the data, then the frame, then the series.
#include "runtime/picture_chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TICKS_MAX = 64 };

typedef struct axis {
  chart_scale scale;
  double low, high;        // of the values; logarithms on a log scale
  double first, room;      // position of low on the page, and length (negative upwards)
  double ticks[TICKS_MAX]; // values
  u32 count;
  double step; // between ticks of a linear axis, for the digits of its labels
} axis;

static double along(chart_scale scale, double value) {
  if (scale == SCALE_LINEAR) return value;
  if (!(value > 0)) return NAN;
  return scale == SCALE_LOG2 ? log2(value) : log10(value);
}

static double position(const axis *x, double value) {
  return x->first + x->room * (along(x->scale, value) - x->low) / (x->high - x->low);
}

static void tick_add(axis *x, double value) {
  const double v = along(x->scale, value), slack = 1e-9 * (x->high - x->low);
  if (x->count < TICKS_MAX && v >= x->low - slack && v <= x->high + slack) x->ticks[x->count++] = value;
}

static double round_step(double span, u32 wanted) {
  const double raw = span / wanted, decade = pow(10, floor(log10(raw)));
  const double part = raw / decade;
  return decade * (part < 1.45 ? 1 : part < 3.2 ? 2 : part < 7.1 ? 5 : 10);
}

static void ticks_linear(axis *x, double low, double high, u32 wanted) {
  x->step = round_step(high - low, wanted);
  for (double i = ceil(low / x->step - 1e-9); i * x->step <= high + 1e-9 * (high - low); i++) tick_add(x, i * x->step);
}

// Whole decades, or 1-2-5 within them, or plain steps when the values span too little for either.
static void ticks_log10(axis *x, u32 wanted) {
  const double span = x->high - x->low;
  if (span < 0.7) {
    ticks_linear(x, pow(10, x->low), pow(10, x->high), wanted);
    return;
  }
  const double every = fmax(1, ceil(span / wanted));
  for (double k = floor(x->low / every) * every; k <= x->high; k += every) {
    tick_add(x, pow(10, k));
    if (span > 2.5 || every > 1) continue;
    tick_add(x, 2 * pow(10, k));
    tick_add(x, 5 * pow(10, k));
  }
}

static void ticks_log2(axis *x, u32 wanted) {
  const double every = fmax(1, ceil((x->high - x->low) / wanted));
  for (double k = ceil(x->low / every) * every; k <= x->high; k += every) tick_add(x, exp2(k));
}

static void axis_ticks(axis *x, u32 wanted) {
  if (x->scale == SCALE_LINEAR)
    ticks_linear(x, x->low, x->high, wanted);
  else if (x->scale == SCALE_LOG10)
    ticks_log10(x, wanted);
  else
    ticks_log2(x, wanted);
}

// "10" or "2" to the power of `exponent`, with raised digits.
static const char *raised(arena *a, const char *base, int exponent) {
  static const char *const digits[] = {"\xe2\x81\xb0", "\xc2\xb9",     "\xc2\xb2",     "\xc2\xb3",     "\xe2\x81\xb4",
                                       "\xe2\x81\xb5", "\xe2\x81\xb6", "\xe2\x81\xb7", "\xe2\x81\xb8", "\xe2\x81\xb9"};
  char plain[16];
  char *out = arena_format(a, "%s%s", base, exponent < 0 ? "\xe2\x81\xbb" : "");
  snprintf(plain, sizeof plain, "%d", exponent < 0 ? -exponent : exponent);
  for (const char *d = plain; *d; d++) out = arena_format(a, "%s%s", out, digits[*d - '0']);
  return out;
}

static const char *tick_label(arena *a, const axis *x, double value) {
  if (x->scale == SCALE_LOG2) {
    const int k = (int)lround(log2(value));
    return k >= 0 && k < 14 ? arena_format(a, "%d", 1 << k) : raised(a, "2", k);
  }
  if (x->scale == SCALE_LINEAR || x->step > 0) {
    const bool tiny = x->step < 1e-4 && value != 0;
    return tiny ? arena_format(a, "%.3g", value) : picture_number(a, value, x->step);
  }
  const double k = log10(value);
  const bool decade = fabs(k - round(k)) < 1e-9;
  if (decade && (k > 3.5 || k < -2.5)) return raised(a, "10", (int)lround(k));
  return value >= 999.5 ? picture_number(a, value, value) : arena_format(a, "%.3g", value);
}

static void widen(double v, double *low, double *high) {
  if (!isfinite(v)) return;
  *low = fmin(*low, v);
  *high = fmax(*high, v);
}

static void ranges(const chart *c, axis *x, axis *y) {
  x->low = y->low = INFINITY;
  x->high = y->high = -INFINITY;
  for (u32 s = 0; s < c->count; s++) {
    for (u32 i = 0; i < c->series[s].count; i++) {
      const double at = along(x->scale, c->series[s].x[i]), v = along(y->scale, c->series[s].y[i]);
      if (!isfinite(at)) continue;
      widen(at, &x->low, &x->high);
      widen(v, &y->low, &y->high);
    }
  }
  if (c->y_high > c->y_low && isfinite(along(y->scale, c->y_low))) {
    y->low = along(y->scale, c->y_low);
    y->high = along(y->scale, c->y_high);
  } else if (y->high > y->low) {
    const double air = 0.05 * (y->high - y->low);
    y->low -= air;
    y->high += air;
  }
  axis *both[] = {x, y};
  for (u32 i = 0; i < 2; i++) {
    axis *v = both[i];
    if (!(v->low <= v->high)) v->low = 0, v->high = 1; // nothing to show
    if (v->low == v->high) v->low -= 0.5 * fmax(1e-3, fabs(v->low)), v->high += 0.5 * fmax(1e-3, fabs(v->high));
  }
}

static picture_ink series_ink(const chart *c, u32 s) {
  if (c->series[s].ink != INK_NONE) return c->series[s].ink;
  return (picture_ink)((u32)INK_BLUE + s % INK_DATA_COUNT);
}

// Points of a line as positions. Many points per column of the page keep what can be seen of them:
// the first, the two extremes and the last.
static u32 line_points(const chart_series *s, const axis *x, const axis *y, picture_point *points) {
  u32 n = 0, start = 0;
  for (u32 i = 0; i < s->count; i++) {
    const picture_point at = {position(x, s->x[i]), position(y, s->y[i])};
    if (!isfinite(at.x) || !isfinite(at.y)) {
      points[n++] = (picture_point){NAN, NAN};
      start = n;
      continue;
    }
    if (n < start + 4 || floor(2 * at.x) != floor(2 * points[n - 4].x)) {
      points[n++] = at;
      continue;
    }
    picture_point *kept = &points[n - 3];
    const picture_point three[3] = {kept[0], kept[1], kept[2]};
    u32 least = 0, most = 0;
    for (u32 k = 1; k < 3; k++) {
      if (three[k].y < three[least].y) least = k;
      if (three[k].y > three[most].y) most = k;
    }
    kept[0] = three[least < most ? least : most];
    kept[1] = three[least < most ? most : least];
    kept[2] = at;
  }
  return n;
}

static picture_point cut_at(picture_point a, picture_point b, double y) {
  return (picture_point){a.x + (b.x - a.x) * (y - a.y) / (b.y - a.y), y};
}

// Cuts a line at the upper and lower edge of the plot, where limits were stated.
static u32 line_clip(const picture_point *in, u32 count, double top, double bottom, picture_point *out) {
  u32 n = 0;
  for (u32 i = 0; i < count; i++) {
    const picture_point b = in[i];
    if (!isfinite(b.x)) {
      out[n++] = b;
      continue;
    }
    if (i > 0 && isfinite(in[i - 1].x)) {
      const picture_point a = in[i - 1];
      const double edges[2] = {a.y < b.y ? top : bottom, a.y < b.y ? bottom : top}; // in the order met
      for (u32 e = 0; e < 2; e++)
        if ((a.y - edges[e]) * (b.y - edges[e]) < 0) out[n++] = cut_at(a, b, edges[e]);
    }
    if (b.y >= top && b.y <= bottom)
      out[n++] = b;
    else
      out[n++] = (picture_point){NAN, NAN};
  }
  return n;
}

static void line_draw(picture *p, const chart_series *s, const axis *x, const axis *y, picture_style style) {
  picture_point *points = arena_array(p->memory, picture_point, s->count + 1);
  picture_point *clipped = arena_array(p->memory, picture_point, 3 * (size_t)s->count + 1);
  const u32 n = line_points(s, x, y, points);
  picture_line(p, clipped, line_clip(points, n, y->first + y->room - 0.5, y->first + 0.5, clipped), style);
}

static void series_draw(picture *p, const chart *c, u32 index, const axis *x, const axis *y) {
  const chart_series *s = &c->series[index];
  const picture_ink ink = series_ink(c, index);
  const bool thin = s->style == SERIES_THIN;
  if (s->style != SERIES_POINTS)
    line_draw(p, s, x, y, (picture_style){.stroke = ink, .width = thin ? 1 : 2, .opacity = thin ? 0.38 : 1});
  if (s->style != SERIES_POINTS && s->style != SERIES_LINE_POINTS) return;
  for (u32 i = 0; i < s->count; i++) {
    const picture_point at = {position(x, s->x[i]), position(y, s->y[i])};
    if (!isfinite(at.x) || !isfinite(at.y)) continue;
    const double air = 6;
    if (at.y < y->first + y->room - air || at.y > y->first + air) continue; // beyond stated limits
    const char *tip = arena_format(p->memory, "%s: %.6g at %.6g", s->name ? s->name : "", s->y[i], s->x[i]);
    picture_dot(p, at, s->style == SERIES_POINTS ? 4 : 3,
                (picture_style){.fill = ink, .stroke = INK_PAPER, .width = 1.25, .tip = tip});
  }
}

static double legend_draw(picture *p, const chart *c, picture_box at) {
  double x = at.x, y = at.y;
  bool any = false;
  for (u32 s = 0; s < c->count; s++) {
    const chart_series *one = &c->series[s];
    if (!one->name) continue;
    const double w = 28 + picture_text_width(one->name, 12, false);
    if (x > at.x && x + w > at.x + at.w) x = at.x, y += 19;
    const picture_ink ink = series_ink(c, s);
    const bool thin = one->style == SERIES_THIN;
    if (one->style != SERIES_POINTS)
      picture_segment(p, (picture_point){x, y + 8.5}, (picture_point){x + 20, y + 8.5},
                      (picture_style){.stroke = ink, .width = thin ? 1 : 2, .opacity = thin ? 0.5 : 1});
    if (one->style == SERIES_POINTS || one->style == SERIES_LINE_POINTS)
      picture_dot(p, (picture_point){x + 10, y + 8.5}, 4, (picture_style){.fill = ink});
    picture_text(p, (picture_point){x + 27, y + 12.5}, (picture_letters){12, INK_TEXT, 0, 0, 0}, one->name);
    x += w + 16;
    any = true;
  }
  return any ? y + 21 - at.y : 0;
}

static void frame_draw(picture *p, const axis *x, const axis *y) {
  const picture_letters small = {12, INK_MUTED, PICTURE_RIGHT, 0, 0};
  for (u32 i = 0; i < y->count; i++) {
    const double at = position(y, y->ticks[i]);
    picture_segment(p, (picture_point){x->first, at}, (picture_point){x->first + x->room, at},
                    (picture_style){.stroke = INK_GRID});
    picture_text(p, (picture_point){x->first - 8, at + 4}, small, tick_label(p->memory, y, y->ticks[i]));
  }
  picture_segment(p, (picture_point){x->first, y->first}, (picture_point){x->first + x->room, y->first},
                  (picture_style){.stroke = INK_LINE});
  for (u32 i = 0; i < x->count; i++) {
    const double at = position(x, x->ticks[i]);
    picture_segment(p, (picture_point){at, y->first}, (picture_point){at, y->first + 4},
                    (picture_style){.stroke = INK_LINE});
    picture_text(p, (picture_point){at, y->first + 18}, (picture_letters){12, INK_MUTED, PICTURE_MIDDLE, 0, 0},
                 tick_label(p->memory, x, x->ticks[i]));
  }
}

static double widest_label(arena *a, const axis *y) {
  double widest = 16;
  for (u32 i = 0; i < y->count; i++)
    widest = fmax(widest, picture_text_width(tick_label(a, y, y->ticks[i]), 12, false));
  return widest;
}

void picture_chart(picture *ret_picture, arena *a, const chart *c) {
  picture *p = ret_picture;
  const double w = c->w > 0 ? c->w : 720, h = c->h > 0 ? c->h : 340;
  picture_init(p, a, w, h, c->title ? c->title : "");
  axis x = {.scale = c->x_scale}, y = {.scale = c->y_scale};
  ranges(c, &x, &y);
  axis_ticks(&y, (u32)fmax(2, (h - 90) / 42));
  axis_ticks(&x, (u32)fmax(2, w / (x.scale == SCALE_LOG2 ? 56 : 90)));
  double top = 4;
  if (c->draw_title && c->title) {
    picture_text(p, (picture_point){0, 16}, (picture_letters){15, INK_TEXT, 0, true, 0}, c->title);
    top = 28;
  }
  const double left = 14 + widest_label(a, &y), right = 14;
  top += legend_draw(p, c, (picture_box){left, top, w - left - right, 0});
  if (c->y_label) {
    picture_text(p, (picture_point){left, top + 12}, (picture_letters){12, INK_MUTED, 0, 0, 0}, c->y_label);
    top += 22;
  }
  const double bottom = c->x_label ? 42 : 24;
  x.first = left, x.room = w - left - right;
  y.first = h - bottom, y.room = -(h - bottom - top);
  frame_draw(p, &x, &y);
  for (u32 s = 0; s < c->count; s++) series_draw(p, c, s, &x, &y);
  if (c->x_label)
    picture_text(p, (picture_point){left + x.room / 2, h - 6}, (picture_letters){12, INK_MUTED, PICTURE_MIDDLE, 0, 0},
                 c->x_label);
}

// Sums over the values up to a point, of those that are finite.
typedef struct moments {
  double n, x, xx, y, xy;
} moments;

static moments moments_between(moments low, moments high) {
  return (moments){high.n - low.n, high.x - low.x, high.xx - low.xx, high.y - low.y, high.xy - low.xy};
}

// The value at x of the line fitted to the points.
static double line_at(moments m, double x) {
  if (m.n < 1) return NAN;
  const double across = m.xx - m.x * m.x / m.n, slope = (m.xy - m.x * m.y / m.n) / across;
  return m.y / m.n + (m.n > 2 && across > 0 ? slope * (x - m.x / m.n) : 0);
}

double *picture_chart_smooth(arena *a, const double *y, u32 count, u32 window) {
  double *out = arena_array(a, double, count + 1);
  moments *sum = arena_array(a, moments, count + 1);
  for (u32 i = 0; i < count; i++) {
    const moments b = sum[i];
    const bool is = isfinite(y[i]);
    const double x = i, v = is ? y[i] : 0;
    sum[i + 1] = is ? (moments){b.n + 1, b.x + x, b.xx + x * x, b.y + v, b.xy + x * v} : b;
  }
  for (u32 i = 0; i < count; i++) {
    const u32 from = i > window / 2 ? i - window / 2 : 0;
    const u32 to = count - i > window / 2 ? i + window / 2 + 1 : count;
    out[i] = line_at(moments_between(sum[from], sum[to]), i);
  }
  return out;
}
