// The modelled step as a trace: every phase of the first microbatch, later microbatches as one slice
// each, what streams through the edge, and the host at the end.
//
// Invariant: slices of one track follow each other in time and never overlap.
#include "runtime/step_sim.h"
#include "traces/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  PHASES_MAX = 200000, // beyond this many the trace has layers only
  REPEATS_MAX = 4096,  // beyond this many later microbatches are one slice together
  LANES_MAX = 16       // tracks for transfers of one direction that overlap
};

typedef struct tracks {
  trace *t;
  const step_sim *s;
  trace_track process, repeats, layers, compute, streams[2], reduce, optimizer, host, rates[2];
  const char *unit; // what a repetition of a group is
  u64 repeats_total;
} tracks;

static i64 nanoseconds(const step_sim *s, double cycle) {
  return (i64)llround(cycle * 1e9 / s->machine.spec.clock_hz);
}

typedef struct stretch { // of time, in cycles
  double from, until;
} stretch;

typedef struct arguments {
  const trace_arg *list;
  u32 count;
} arguments;

static const arguments none = {NULL, 0};

static void slice_add(tracks *k, trace_track track, const char *name, const char *category, stretch when,
                      arguments args) {
  trace_add_slice(k->t, &(trace_slice){track, name, category, nanoseconds(k->s, when.from),
                                       nanoseconds(k->s, when.until), args.list, args.count});
}

static void tracks_open(tracks *k) {
  char name[FIELD_TEXT_MAX + 64];
  snprintf(name, sizeof name, "modelled step on %s", k->s->machine.spec.preset);
  k->process = trace_add_track(k->t, 0, name);
  for (u32 g = 0; g < k->s->program.group_count; g++) k->repeats_total += k->s->program.groups[g].repeat;
  k->unit = k->repeats_total == k->s->plan.microbatches ? "microbatch" : "repetition";
  k->repeats =
      trace_add_track(k->t, k->process, k->repeats_total == k->s->plan.microbatches ? "microbatches" : "repetitions");
  k->layers = trace_add_track(k->t, k->process, "layers");
  k->compute = trace_add_track(k->t, k->process, "compute");
  k->streams[0] = trace_add_track(k->t, k->process, "stream in");
  if (k->s->fabric) k->reduce = trace_add_track(k->t, k->process, "reduce");
  k->streams[1] = trace_add_track(k->t, k->process, "stream out");
  k->rates[0] = trace_add_counter(k->t, k->process, "stream in, wavelets per cycle", "wavelets/cycle");
  k->rates[1] = trace_add_counter(k->t, k->process, "stream out, wavelets per cycle", "wavelets/cycle");
  if (k->s->fabric) k->optimizer = trace_add_track(k->t, k->process, "optimizer");
  k->host = trace_add_track(k->t, k->process, "host");
}

// --- repetitions

typedef struct window {
  double start, first_end, end;
} window;

static window group_window(const step_sim *s, u32 g) {
  const engine_result *r = &s->result;
  const program_group *group = &s->program.groups[g];
  const engine_span *first = &r->spans[group->first];
  window w = {.start = first->start_cycle - first->wait_cycles, .end = r->cycles - r->host_cycles};
  if (g + 1 < s->program.group_count) {
    const engine_span *next = &r->spans[group[1].first];
    w.end = next->start_cycle - next->wait_cycles;
  }
  w.first_end = group->repeat > 1 ? r->spans[group->first + group->count - 1].end_cycle : w.end;
  return w;
}

static void repeats_add(tracks *k, u32 g, u64 before) {
  const window w = group_window(k->s, g);
  const u64 repeat = k->s->program.groups[g].repeat, total = k->repeats_total;
  const double each = repeat > 1 ? (w.end - w.first_end) / (double)(repeat - 1) : 0;
  char name[160];
  snprintf(name, sizeof name, "%s %llu of %llu", k->unit, (unsigned long long)before + 1, (unsigned long long)total);
  slice_add(k, k->repeats, name, "repeat", (stretch){w.start, w.first_end}, none);
  if (repeat > REPEATS_MAX) {
    snprintf(name, sizeof name, "%s %llu to %llu of %llu: %llu like the one before", k->unit,
             (unsigned long long)before + 2, (unsigned long long)(before + repeat), (unsigned long long)total,
             (unsigned long long)(repeat - 1));
    slice_add(k, k->repeats, name, "repeat", (stretch){w.first_end, w.end}, none);
    return;
  }
  for (u64 i = 1; i < repeat; i++) {
    snprintf(name, sizeof name, "%s %llu of %llu: phases as in %llu", k->unit, (unsigned long long)(before + i + 1),
             (unsigned long long)total, (unsigned long long)before + 1);
    slice_add(k, k->repeats, name, "repeat",
              (stretch){w.first_end + each * (double)(i - 1), w.first_end + each * (double)i}, none);
  }
}

// --- phases

static void phase_add(tracks *k, u32 index) {
  const program_phase *ph = &k->s->program.phases[index];
  const engine_span *span = &k->s->result.spans[index];
  const char *family = phase_family_name(ph->family);
  trace_arg args[8] = {{"family", family, 0},
                       {"bound by", engine_resource_name(span->resource), 0},
                       {"cycles", NULL, span->end_cycle - span->start_cycle},
                       {"work cycles of the busiest PE", NULL, span->work_cycles},
                       {"iterations", NULL, (double)ph->iterations}};
  u32 n = 5;
  if (ph->layer != UINT32_MAX) args[n++] = (trace_arg){"layer", NULL, ph->layer};
  if (ph->update_params) args[n++] = (trace_arg){"parameters that it completes", NULL, (double)ph->update_params};
  if (span->wait_cycles > 0)
    slice_add(k, k->compute, "wait for a transfer", "wait",
              (stretch){span->start_cycle - span->wait_cycles, span->start_cycle}, none);
  slice_add(k, k->compute, ph->origin, family, (stretch){span->start_cycle, span->end_cycle}, (arguments){args, n});
}

static void streams_add(tracks *k, u32 index, double last_rates[2]) {
  const program_phase *ph = &k->s->program.phases[index];
  const engine_span *span = &k->s->result.spans[index];
  const double cycles = span->end_cycle - span->start_cycle;
  const u64 wavelets[2] = {ph->stream_in, ph->stream_out};
  for (u32 out = 0; out < 2; out++) {
    const double rate = cycles > 0 ? (double)wavelets[out] / cycles : 0;
    if (rate != last_rates[out]) trace_add_value(k->t, k->rates[out], nanoseconds(k->s, span->start_cycle), rate);
    last_rates[out] = rate;
    const trace_arg args[] = {{"wavelets", NULL, (double)wavelets[out]}, {"wavelets per cycle", NULL, rate}};
    if (wavelets[out])
      slice_add(k, k->streams[out], ph->origin, "stream", (stretch){span->start_cycle, span->end_cycle},
                (arguments){args, COUNT_OF(args)});
  }
}

// What the fabric has measured, from the first wavelet to the last.
static void measured_add(tracks *k, trace_track track, const char *origin, const char *category, step_stretch when) {
  if (when.until > 0) slice_add(k, track, origin, category, (stretch){when.from, when.until}, none);
}

static void activity_add(tracks *k, u32 index) {
  const program_phase *ph = &k->s->program.phases[index];
  const step_activity *own = &k->s->fabric->phases[index];
  const step_stretch streams[2] = {own->in, own->out};
  const u64 wavelets[2] = {ph->stream_in, ph->stream_out};
  for (u32 out = 0; out < 2; out++) {
    if (streams[out].until <= 0) continue;
    const double rate = (double)wavelets[out] / (streams[out].until - streams[out].from);
    const trace_arg args[] = {{"wavelets", NULL, (double)wavelets[out]}, {"wavelets per cycle", NULL, rate}};
    slice_add(k, k->streams[out], ph->origin, "stream", (stretch){streams[out].from, streams[out].until},
              (arguments){args, COUNT_OF(args)});
    trace_add_value(k->t, k->rates[out], nanoseconds(k->s, streams[out].from), rate);
    trace_add_value(k->t, k->rates[out], nanoseconds(k->s, streams[out].until), 0);
  }
  measured_add(k, k->reduce, ph->origin, "reduce", own->reduce);
  measured_add(k, k->optimizer, ph->origin, "optimizer", own->update);
}

static void layers_add(tracks *k, const program_group *g) {
  const program_phase *phases = k->s->program.phases;
  const engine_span *spans = k->s->result.spans;
  for (u32 i = g->first; i < g->first + g->count;) {
    const u32 layer = phases[i].layer, start = i;
    while (i < g->first + g->count && phases[i].layer == layer) i++;
    if (layer == UINT32_MAX) continue;
    char name[40];
    snprintf(name, sizeof name, "layer %u", layer);
    slice_add(k, k->layers, name, "layer",
              (stretch){spans[start].start_cycle - spans[start].wait_cycles, spans[i - 1].end_cycle}, none);
  }
}

static void group_add(tracks *k, u32 index) {
  const program_group *g = &k->s->program.groups[index];
  double rates[2] = {0};
  if (g->count == 0) return;
  layers_add(k, g);
  for (u32 i = g->first; k->s->program.phase_count <= PHASES_MAX && i < g->first + g->count; i++) {
    phase_add(k, i);
    if (k->s->fabric)
      activity_add(k, i);
    else
      streams_add(k, i, rates);
  }
  for (u32 out = 0; out < 2; out++)
    if (rates[out] > 0)
      trace_add_value(k->t, k->rates[out], nanoseconds(k->s, k->s->result.spans[g->first + g->count - 1].end_cycle), 0);
}

// --- transfers beside the phases

typedef struct interval {
  double from, until;
  const program_transfer *what;
} interval;

static int by_start(const void *a, const void *b) {
  const interval *x = a, *y = b;
  if (x->from != y->from) return x->from < y->from ? -1 : 1;
  return x->what < y->what ? -1 : x->what > y->what;
}

// From when a transfer may start until it must be done, in the first repetition of its group.
static interval transfer_window(const step_sim *s, const program_transfer *t) {
  const engine_span *spans = s->result.spans;
  const window first = group_window(s, 0);
  const double from = t->after == UINT32_MAX ? first.start : spans[t->after].end_cycle;
  const double until = t->before == UINT32_MAX ? first.first_end : spans[t->before].start_cycle;
  return (interval){from, fmax(from, until), t};
}

static void transfer_add(tracks *k, trace_track track, const interval *i) {
  const trace_arg args[] = {{"wavelets", NULL, (double)i->what->wavelets},
                            {"cycles at the edge's full rate", NULL, timing_io(&k->s->machine, i->what->wavelets)},
                            {"hops", NULL, i->what->hops}};
  slice_add(k, track, i->what->name, "transfer", (stretch){i->from, i->until}, (arguments){args, COUNT_OF(args)});
}

// Windows overlap, so each goes to the first track that is free; those beyond the last track are only
// counted, in the name of one slice.
static void transfers_add(tracks *k, bool out, const interval *sorted, u32 count) {
  const char *name = out ? "transfers out (from when each may leave until it must be gone)"
                         : "transfers in (from when each may start until it is needed)";
  trace_track lanes[LANES_MAX];
  double busy[LANES_MAX];
  u32 used = 0, left_out = 0;
  for (u32 i = 0; i < count; i++) {
    if (sorted[i].what->out != out) continue;
    u32 lane = 0;
    while (lane < used && busy[lane] > sorted[i].from) lane++;
    if (lane == LANES_MAX) {
      left_out++;
      continue;
    }
    if (lane == used) lanes[used++] = trace_add_track(k->t, k->process, name);
    busy[lane] = sorted[i].until;
    transfer_add(k, lanes[lane], &sorted[i]);
  }
  if (!left_out) return;
  char words[80];
  snprintf(words, sizeof words, "%u more %s, not drawn", left_out, left_out == 1 ? "transfer" : "transfers");
  const window first = group_window(k->s, 0);
  slice_add(k, trace_add_track(k->t, k->process, name), words, "transfer", (stretch){first.start, first.first_end},
            none);
}

static void all_transfers_add(tracks *k) {
  const program *p = &k->s->program;
  interval *sorted = malloc(sizeof *sorted * (p->transfer_count ? p->transfer_count : 1));
  require(sorted);
  for (u32 i = 0; i < p->transfer_count; i++) sorted[i] = transfer_window(k->s, &p->transfers[i]);
  qsort(sorted, p->transfer_count, sizeof *sorted, by_start);
  transfers_add(k, false, sorted, p->transfer_count);
  transfers_add(k, true, sorted, p->transfer_count);
  free(sorted);
}

bool step_sim_trace(const step_sim *s, const char *path, status *st) {
  require(s->result.span_count == s->program.phase_count);
  tracks k = {.s = s, .t = trace_create(path, 0, st)};
  if (!k.t) return false;
  tracks_open(&k);
  u64 before = 0;
  for (u32 g = 0; g < s->program.group_count; g++) {
    if (s->program.groups[g].count) repeats_add(&k, g, before);
    group_add(&k, g);
    before += s->program.groups[g].repeat;
  }
  if (s->program.group_count && s->program.groups[0].count) all_transfers_add(&k);
  if (s->result.host_cycles > 0)
    slice_add(&k, k.host, "update and latency of MemoryX and SwarmX, exposed", "host",
              (stretch){s->result.cycles - s->result.host_cycles, s->result.cycles}, none);
  return trace_finish(k.t, st);
}
