// Phases along time as a Gantt chart: a strip of the whole step, a ruler of layers, a lane per phase
// family, and the streams through the edge as rates.
#include "runtime/picture_step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLUMN_UNITS = 1, WIDE_UNITS = 1, TIP_UNITS = 3, LANE_UNITS = 24, LANE_GAP = 8 };

typedef struct view {
  picture *p;
  const step_parts *s;
  u32 first, end;     // phases
  double from, until; // cycles
  double x, w;        // of the plot
  u32 columns;
  double *shares; // columns x RESOURCE_COUNT: cycles of narrow phases in the lane being drawn
} view;

static const picture_letters lane_name = {12.5, INK_TEXT, PICTURE_RIGHT, 0, 0};

static double at_cycle(const view *v, double cycle) {
  return v->x + v->w * (cycle - v->from) / (v->until - v->from);
}

static double units(const view *v, double cycles) {
  return v->w * cycles / (v->until - v->from);
}

static const char *span_tip(const view *v, u32 phase) {
  const program_phase *ph = &v->s->program->phases[phase];
  const engine_span *span = &v->s->result->spans[phase];
  char cycles[40], time[40];
  text_si(span->end_cycle - span->start_cycle, "", cycles, sizeof cycles);
  text_si((span->end_cycle - span->start_cycle) / v->s->machine->spec.clock_hz, "s", time, sizeof time);
  return arena_format(v->p->memory, "%s (%s): %s cycles, %s, most of it %s", ph->origin, phase_family_name(ph->family),
                      cycles, time, picture_step_resource(span->resource));
}

// Adds the cycles of [start, end) to the columns that they cover.
static void share_add(view *v, u32 resource, double start, double end, double weight) {
  const double column = (v->until - v->from) / v->columns;
  const double low = fmax(0, (start - v->from) / column), high = fmin(v->columns, (end - v->from) / column);
  for (u32 i = (u32)low; i < v->columns && i < high; i++) {
    const double part = fmin(high, i + 1) - fmax(low, i);
    if (part > 0) v->shares[i * RESOURCE_COUNT + resource] += part * weight;
  }
}

// Columns of one resource as a single stepped area, on top of the resources before it.
static void shares_draw(view *v, u32 resource, double y, double h) {
  picture_point *points = arena_array(v->p->memory, picture_point, 4 * (size_t)v->columns + 4);
  for (u32 i = 0; i < v->columns;) {
    u32 n = 0;
    const u32 start = i;
    while (i < v->columns && v->shares[i * RESOURCE_COUNT + resource] > 0.01) i++;
    if (i == start) {
      i++;
      continue;
    }
    for (u32 side = 0; side < 2; side++) { // upper edge to the right, lower edge back
      double last = NAN;
      for (u32 k = 0; k < i - start; k++) {
        const u32 c = side ? i - 1 - k : start + k;
        double below = 0;
        for (u32 r = 0; r < resource + !side; r++) below += v->shares[c * RESOURCE_COUNT + r];
        const double level = round(2 * (y + h * (1 - fmin(1, below)))) / 2;
        const double left = v->x + v->w * c / v->columns, right = v->x + v->w * (c + 1) / v->columns;
        if (level == last)
          n--; // the same level goes on
        else
          points[n++] = (picture_point){side ? right : left, level};
        points[n++] = (picture_point){side ? left : right, level};
        last = level;
      }
    }
    picture_polygon(v->p, points, n, (picture_style){.fill = picture_step_ink(resource)});
  }
}

static void wide_draw(view *v, u32 phase, double y) {
  const engine_span *span = &v->s->result->spans[phase];
  const double x = at_cycle(v, span->start_cycle), w = units(v, span->end_cycle - span->start_cycle);
  const picture_ink ink = picture_step_ink(span->resource);
  const char *tip = w >= TIP_UNITS ? span_tip(v, phase) : NULL;
  picture_rect(v->p, (picture_box){x, y, w > 4 ? w - 0.8 : w, LANE_UNITS}, (picture_style){.fill = ink, .tip = tip});
  if (w < 24) return;
  const char *origin = v->s->program->phases[phase].origin, *part = strchr(origin, '.');
  const bool fits = picture_text_width(origin, 11, false) <= w - 8;
  const char *words = picture_fit(v->p, fits || !part ? origin : part + 1, 11, w - 8); // less its layer
  picture_text(v->p, (picture_point){x + 4, y + LANE_UNITS / 2.0 + 4},
               (picture_letters){11, picture_ink_over(ink), 0, 0, 0}, words);
}

static void lane_open(view *v, const char *name, double y) {
  picture_text(v->p, (picture_point){v->x - 10, y + LANE_UNITS / 2.0 + 4.5}, lane_name, name);
  picture_rect(v->p, (picture_box){v->x, y, v->w, LANE_UNITS}, (picture_style){.fill = INK_GRID, .opacity = 0.4});
}

static void family_draw(view *v, u32 family, double y) {
  bool narrow = false;
  lane_open(v, phase_family_name(family), y);
  memset(v->shares, 0, sizeof(double) * v->columns * RESOURCE_COUNT);
  for (u32 i = v->first; i < v->end; i++) {
    if (v->s->program->phases[i].family != family) continue;
    const engine_span *span = &v->s->result->spans[i];
    if (span->wait_cycles > 0) {
      narrow = true;
      share_add(v, RESOURCE_IO_IN, span->start_cycle - span->wait_cycles, span->start_cycle, 1);
    }
    if (units(v, span->end_cycle - span->start_cycle) >= WIDE_UNITS) {
      wide_draw(v, i, y);
    } else {
      narrow = true;
      share_add(v, span->resource, span->start_cycle, span->end_cycle, 1);
    }
  }
  for (u32 r = 0; narrow && r < RESOURCE_COUNT; r++) shares_draw(v, r, y, LANE_UNITS);
}

// --- streams

static double stream_rate(const view *v, u32 phase, bool out) {
  const program_phase *ph = &v->s->program->phases[phase];
  const engine_span *span = &v->s->result->spans[phase];
  const double cycles = span->end_cycle - span->start_cycle;
  const double wavelets = (double)(out ? ph->stream_out : ph->stream_in);
  return cycles > 0 ? wavelets / cycles / v->s->machine->io_wavelets_per_cycle : 0;
}

static void stream_draw(view *v, bool out, double y) {
  const u32 resource = out ? RESOURCE_IO_OUT : RESOURCE_IO_IN;
  memset(v->shares, 0, sizeof(double) * v->columns * RESOURCE_COUNT);
  for (u32 i = v->first; i < v->end; i++) {
    const double rate = stream_rate(v, i, out);
    if (rate > 0)
      share_add(v, resource, v->s->result->spans[i].start_cycle, v->s->result->spans[i].end_cycle, fmin(1, rate));
  }
  lane_open(v, out ? "stream out" : "stream in", y);
  shares_draw(v, resource, y, LANE_UNITS);
  picture_segment(v->p, (picture_point){v->x, y}, (picture_point){v->x + v->w, y},
                  (picture_style){.stroke = INK_LINE, .width = 0.6, .dashed = true, .tip = "the edge's full rate"});
}

// --- ruler of layers

static void layer_tick(view *v, u32 layer, double from, double until, double y, bool labelled) {
  const double x = at_cycle(v, from), w = units(v, until - from);
  picture_rect(v->p, (picture_box){x, y + 16, fmax(0.5, w - 1), 3}, (picture_style){.fill = INK_LINE, .opacity = 0.8});
  if (labelled)
    picture_text(v->p, (picture_point){x + w / 2, y + 11.5}, (picture_letters){11, INK_MUTED, PICTURE_MIDDLE, 0, 0},
                 arena_format(v->p->memory, "%u", layer));
}

// Nothing, and false, where the window is one layer.
static bool ruler_draw(view *v, double y) {
  const program *g = v->s->program;
  const engine_span *spans = v->s->result->spans;
  double free = v->x; // labels end here
  u32 other = v->first;
  while (other < v->end && g->phases[other].layer == g->phases[v->first].layer) other++;
  if (other == v->end) return false;
  for (u32 i = v->first; i < v->end;) {
    const u32 layer = g->phases[i].layer, start = i;
    while (i < v->end && g->phases[i].layer == layer) i++;
    if (layer == UINT32_MAX) continue;
    const double from = spans[start].start_cycle, until = spans[i - 1].end_cycle;
    const double x = at_cycle(v, from), w = units(v, until - from), need = layer < 10 ? 9 : layer < 100 ? 15 : 21;
    const bool labelled = x + w / 2 - need / 2 > free && x + w / 2 + need / 2 < v->x + v->w;
    layer_tick(v, layer, from, until, y, labelled);
    if (labelled) free = x + w / 2 + need / 2 + 5;
  }
  picture_text(v->p, (picture_point){v->x - 10, y + 14}, (picture_letters){12.5, INK_MUTED, PICTURE_RIGHT, 0, 0},
               "layer");
  return true;
}

// --- the whole step

typedef struct repeats {
  u64 count; // of the first group
  double first_end, others_end;
} repeats;

static repeats step_repeats(const step_parts *s) {
  const engine_result *r = s->result;
  const program *g = s->program;
  repeats out = {.count = g->groups[0].repeat};
  out.others_end = g->group_count > 1
                       ? r->spans[g->groups[1].first].start_cycle - r->spans[g->groups[1].first].wait_cycles
                       : r->cycles - r->host_cycles;
  out.first_end = out.count > 1 ? fmin(r->first_repeat_cycles, out.others_end) : out.others_end;
  return out;
}

static double strip_draw(view *v, double y) {
  const engine_result *r = v->s->result;
  const repeats n = step_repeats(v->s);
  const double whole = fmax(r->cycles, 1), h = 18;
  const double first = v->w * n.first_end / whole, others = v->w * (n.others_end - n.first_end) / whole;
  const double wafer = v->w * (r->cycles - r->host_cycles) / whole;
  picture_text(v->p, (picture_point){v->x - 10, y + 13.5}, lane_name, "whole step");
  picture_rect(v->p, (picture_box){v->x, y, wafer, h}, (picture_style){.fill = INK_IDLE});
  if (n.count > 1 && others / (double)(n.count - 1) > 4)
    for (u64 i = 1; i < n.count; i++) {
      const double x = v->x + first + others * (double)(i - 1) / (double)(n.count - 1);
      picture_segment(v->p, (picture_point){x, y}, (picture_point){x, y + h},
                      (picture_style){.stroke = INK_PAPER, .width = 1.2});
    }
  picture_rect(v->p, (picture_box){v->x, y, fmax(first, 1.5), h},
               (picture_style){.fill = INK_MUTED, .tip = "the microbatch drawn below"});
  picture_rect(v->p, (picture_box){v->x + wafer, y, fmax(v->w - wafer, 0), h},
               (picture_style){.fill = picture_step_ink(RESOURCE_HOST),
                               .tip = "host, exposed: update and latency of MemoryX and SwarmX"});
  // What is drawn below, opening up from its place in the step.
  const picture_point beam[] = {
      {v->x, y + h}, {v->x + fmax(first, 1.5), y + h}, {v->x + v->w, y + h + 14}, {v->x, y + h + 14}};
  if (n.count > 1) {
    picture_polygon(v->p, beam, 4, (picture_style){.fill = INK_IDLE, .opacity = 0.5});
    const char *words =
        n.count > 2 ? arena_format(v->p->memory, "%llu times in all", (unsigned long long)n.count) : "twice";
    if (others > 110)
      picture_text(v->p, (picture_point){v->x + first + 8, y + 13.5}, (picture_letters){12, INK_TEXT, 0, 0, 0}, words);
  }
  return y + h + 16;
}

// --- axis

static void axis_draw(view *v, double top, double bottom, bool whole) {
  const double span = v->until - v->from, raw = span / 8, decade = pow(10, floor(log10(raw)));
  const double part = raw / decade, step = decade * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
  const double clock = v->s->machine->spec.clock_hz;
  for (double t = 0; t <= span * 1.0001; t += step) {
    const double x = at_cycle(v, v->from + t);
    picture_segment(v->p, (picture_point){x, top}, (picture_point){x, bottom + 4},
                    (picture_style){.stroke = INK_GRID, .width = 1});
    picture_text(v->p, (picture_point){x, bottom + 18}, (picture_letters){12, INK_MUTED, PICTURE_MIDDLE, 0, 0},
                 picture_number(v->p->memory, t, step));
  }
  char time[40];
  text_si(span / clock, "s", time, sizeof time);
  picture_text(v->p, (picture_point){v->x + v->w, bottom + 36}, (picture_letters){12, INK_MUTED, PICTURE_RIGHT, 0, 0},
               arena_format(v->p->memory, "cycles; %s in all at %.3g GHz", time, clock / 1e9));
  if (whole)
    picture_text(v->p, (picture_point){v->x, bottom + 36}, (picture_letters){12, INK_MUTED, PICTURE_LEFT, 0, 0},
                 "Streams: share of the edge's rate. Phases too short to draw: share of the time that they fill.");
}

static const char *window_title(const view *v, arena *a, const timeline *t) {
  if (t->title) return t->title;
  const u64 count = v->s->plan->microbatches;
  return count > 1 ? arena_format(a, "Timeline of the first of %llu microbatches", (unsigned long long)count)
                   : "Timeline of the step";
}

static bool view_open(view *v, picture *p, arena *a, const step_parts *s, const timeline *t) {
  *v = (view){.p = p, .s = s};
  const program *g = s->program;
  v->first = t->phase_count ? t->first_phase : g->group_count ? g->groups[0].first : 0;
  v->end = v->first + (t->phase_count ? t->phase_count : g->group_count ? g->groups[0].count : 0);
  const double w = t->w > 0 ? t->w : 960;
  picture_init(p, a, w, 40, window_title(v, a, t));
  require(v->end <= s->result->span_count && s->result->span_count <= g->phase_count);
  if (v->first == v->end) return false;
  const engine_span *spans = s->result->spans;
  v->from = spans[v->first].start_cycle - spans[v->first].wait_cycles;
  v->until = fmax(spans[v->end - 1].end_cycle, v->from + 1);
  v->x = 96, v->w = w - v->x - 14;
  v->columns = (u32)(v->w / COLUMN_UNITS);
  v->shares = arena_array(a, double, (size_t)v->columns *RESOURCE_COUNT);
  return true;
}

// The host shows at the end of the window only where the window is the whole step.
static bool shows_host(const view *v) {
  const program *g = v->s->program;
  return v->s->result->host_cycles > 0 && v->end == g->phase_count && g->group_count == 1 && g->groups[0].repeat == 1;
}

static void host_draw(view *v, double y) {
  const engine_result *r = v->s->result;
  lane_open(v, "host", y);
  picture_rect(v->p,
               (picture_box){at_cycle(v, r->cycles - r->host_cycles), y, fmax(1, units(v, r->host_cycles)), LANE_UNITS},
               (picture_style){.fill = picture_step_ink(RESOURCE_HOST),
                               .tip = "exposed: update and latency of MemoryX and SwarmX"});
}

typedef struct lanes {
  bool families[FAMILY_COUNT], in, out, host;
  u32 count;
} lanes;

static lanes lanes_used(const view *v) {
  lanes l = {.host = shows_host(v)};
  for (u32 i = v->first; i < v->end; i++) {
    const program_phase *ph = &v->s->program->phases[i];
    l.families[ph->family] = true;
    l.in |= ph->stream_in > 0;
    l.out |= ph->stream_out > 0;
  }
  l.count = (u32)l.in + (u32)l.out + (u32)l.host;
  for (u32 f = 0; f < FAMILY_COUNT; f++) l.count += l.families[f];
  return l;
}

static void lanes_draw(view *v, const lanes *l, double y) {
  const double pitch = LANE_UNITS + LANE_GAP;
  if (l->in) stream_draw(v, false, y), y += pitch;
  for (u32 f = 0; f < FAMILY_COUNT; f++)
    if (l->families[f]) family_draw(v, f, y), y += pitch;
  if (l->out) stream_draw(v, true, y), y += pitch;
  if (l->host) host_draw(v, y);
}

void picture_timeline(picture *ret_picture, arena *a, const step_parts *s, const timeline *t) {
  view v;
  if (!view_open(&v, ret_picture, a, s, t)) return;
  if (shows_host(&v)) v.until = s->result->cycles;
  picture_legend items[RESOURCE_COUNT];
  const u32 used = picture_step_resources_used(s->result, items);
  double y = t->phase_count ? 0 : 10 + picture_legend_row(v.p, (picture_box){v.x, 0, v.w, 0}, items, used);
  if (!t->phase_count && !shows_host(&v)) y = strip_draw(&v, y); // else the window is the step
  if (ruler_draw(&v, y))
    y += 26;
  else
    y += 6;
  const lanes l = lanes_used(&v);
  const double bottom = y + l.count * (LANE_UNITS + LANE_GAP) - LANE_GAP + 2;
  axis_draw(&v, y - 4, bottom, !t->phase_count);
  lanes_draw(&v, &l, y);
  v.p->h = bottom + 42;
}
