// Allreduce by a ring that is folded onto the line: even positions outwards, odd ones back, so that no step
// is longer than two links. First every part's sum travels once around (each PE adds its own and sends on),
// then every finished part does.
#include "mapper/kernel_parts.h"

#include <math.h>
#include <stdio.h>

// A PE's data are P parts ("slots"), its own first: slot j of the PE with place q in the ring is part
// (q + j) mod P. So parts are sent in the order 0, P-1, P-2, ... at every PE.
//
// All PEs send before they receive, so a step's words must fit into what lies between two neighbours in the
// ring; longer parts go in several rounds.
typedef struct ring {
  const kernel_request *r;
  df_builder *b;
  u32 pes;
  u32 segment, rounds; // elements of a part per round
  u32 part;            // segment x rounds: elements of a part, with what fills it up
  i32 element;         // bytes
} ring;

// A router that passes a stream at full rate holds the wavelets of a hop and one more (of slower links not
// more than ROUTER_WAVELETS). Of the two routers and the queue between neighbours one place must stay free,
// or nothing moves.
enum { ROUTER_WAVELETS = 4 };
static u32 segment_wavelets(const machine *m) {
  u32 hop = (u32)ceil(m->spec.hop_cycles);
  return 2 * (hop < ROUTER_WAVELETS ? hop + 1 : ROUTER_WAVELETS) + m->spec.queue_words - 1;
}

static ring ring_of(const kernel_request *r, df_builder *b, u32 pes) {
  ring g = {.r = r, .b = b, .pes = pes, .element = (i32)df_type_bytes(r->type)};
  u32 pack = 4 / (u32)g.element, most = segment_wavelets(r->machine) * pack, part = (r->words + pes - 1) / pes;
  g.rounds = (part + most - 1) / most;
  g.segment = (part + g.rounds - 1) / g.rounds;
  g.segment = (g.segment + pack - 1) / pack * pack; // whole wavelets
  g.part = g.segment * g.rounds;
  return g;
}

// `count` slots from `slot` downwards, the segment of this round (register 0) of each.
static u32 slots(const ring *g, const char *name, u32 slot, u32 count) {
  i32 part = (i32)g->part * g->element, segment = (i32)g->segment;
  u32 v = df_build_view(g->b, name, g->r->type, df_just((i32)slot * part), df_just(segment * (i32)count));
  if (count > 1) df_build_rows(g->b, v, df_just(segment), -part);
  df_build_moved_by(g->b, v, 0, segment * g->element);
  return v;
}

enum { SUMS, PARTS, SEEN, PART_COLORS = 4 }; // queues; colors of parts follow those of sums

static u32 incoming(const ring *g, const char *name, u32 color, u32 queue, u32 count) {
  return df_build_in(g->b, name, g->r->type, df_just((i32)(g->segment * count)), color, queue);
}

static u32 outgoing(const ring *g, const char *name, u32 color, u32 queue, u32 count) {
  return df_build_out(g->b, name, g->r->type, df_just((i32)(g->segment * count)), color, queue);
}

// Own part out, then sums through, until the sum of the part in slot 1 is complete.
static void travel_sums(const ring *g, u32 in, u32 out) {
  u32 p = g->pes;
  df_build_op(g->b, df_vv(DF_MOV, outgoing(g, "first", out, SUMS, 1), slots(g, "own", 0, 1)));
  if (p > 2)
    df_build_op(g->b, df_vvv(DF_ADD, outgoing(g, "sums_out", out, SUMS, p - 2), incoming(g, "sums_in", in, SUMS, p - 2),
                             slots(g, "others", p - 1, p - 2)));
  u32 last = slots(g, "complete", 1, 1);
  df_build_op(g->b, df_vvv(DF_ADD, last, incoming(g, "last_sum", in, SUMS, 1), last));
}

// Finished parts pass through on thread 1. Its router hands a PE what it sends once more, and thread 2 stores
// that: each part is received once, sent once and kept.
static void travel_parts(const ring *g, u32 in, u32 out) {
  u32 p = g->pes, begin = p > 2 ? 2 : 1;
  df_builder *b = g->b;
  u32 complete = df_build_find_vector(b, "complete");
  u32 seen = incoming(g, "seen_first", out, SEEN, begin);
  df_build_op(b, df_on(df_vv(DF_MOV, slots(g, "keep_first", 1, begin), seen), 2));
  df_build_op(b, df_on(df_vv(DF_MOV, outgoing(g, "part", out, PARTS, 1), complete), 1));
  if (p > 2) {
    u32 to = outgoing(g, "parts_out", out, PARTS, p - 2);
    df_build_op(b, df_on(df_vv(DF_MOV, to, incoming(g, "parts_in", in, PARTS, p - 2)), 1));
  }
  if (p > 3) {
    u32 keep = slots(g, "keep", p - 1, p - 3);
    df_build_op(b, df_on(df_vv(DF_MOV, keep, incoming(g, "seen", out, SEEN, p - 3)), 2));
  }
  u32 last = slots(g, "keep_last", p > 2 ? 2 : 0, 1);
  df_build_op(b, df_on(df_vv(DF_MOV, last, incoming(g, "last_part", in, PARTS, 1)), 1));
}

// PEs that receive on one color and send on another; `at` may be empty.
static void ring_region(const ring *g, const line *l, run at, u32 in, u32 out) {
  if (!at.n) return;
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "from%u_to%u", in, out);
  df_build_class(g->b, name);
  if (df_build_find_vector(g->b, "data") == UINT32_MAX) {
    df_build_array(g->b, "data", g->r->type, g->part * g->pes);
    df_build_task(g->b, "main");
    df_build_start_active(g->b);
    df_build_op(g->b, df_rn(DF_LOOP, 0, df_just((i32)g->rounds)));
    travel_sums(g, in, out);
    travel_parts(g, in + PART_COLORS, out + PART_COLORS);
    df_build_op(g->b, df_none(DF_END));
  }
  line_region(g->b, l, at, name);
}

// Every fourth position from `first` on, below `end`.
static run fourths(u32 first, u32 end) {
  return (run){first, first < end ? (end - first + 3) / 4 : 0, 4};
}

static run moved(run at, i32 by) {
  return (run){(u32)((i32)at.first + by), at.n, at.step};
}

static u32 even_color(u32 position) {
  return position / 2 % 2;
}
static u32 odd_color(u32 position) {
  return 2 + (position - 1) / 2 % 2;
}

static void ring_regions(const ring *g, const line *l) {
  u32 p = g->pes, last_even = (p - 1) / 2 * 2, last_odd = p / 2 * 2 - 1;
  ring_region(g, l, (run){0, 1, 1}, 2, 0);
  ring_region(g, l, fourths(2, p), 0, 1);
  ring_region(g, l, fourths(4, p), 1, 0);
  ring_region(g, l, fourths(1, last_odd), 3, 2);
  ring_region(g, l, fourths(3, last_odd), 2, 3);
  ring_region(g, l, (run){last_odd, 1, 1}, even_color(last_even), odd_color(last_odd));
}

// base: 0 for sums; PART_COLORS for parts, with `self` the sender's own ramp.
static void ring_routes(const ring *g, const line *l, u32 base, u32 self) {
  u32 p = g->pes, low = line_low(l), high = line_high(l), last_even = (p - 1) / 2 * 2;
  df_builder *b = g->b;
  for (u32 i = 0; i < 2; i++) { // two links outwards, two links back
    run out = fourths(2 * i, p > 2 ? p - 2 : 0), back = fourths(3 + 2 * i, p);
    u32 color = base + i, back_color = base + 3 - i;
    line_route(b, l, out, color, PORTS(PORT_RAMP, high | self));
    line_route(b, l, moved(out, 1), color, PORTS(low, high));
    line_route(b, l, moved(out, 2), color, PORTS(low, PORT_RAMP));
    line_route(b, l, back, back_color, PORTS(PORT_RAMP, low | self));
    line_route(b, l, moved(back, -1), back_color, PORTS(high, low));
    line_route(b, l, moved(back, -2), back_color, PORTS(high, PORT_RAMP));
  }
  // the two ends, one link each
  u32 color = base + even_color(last_even), there = p % 2 ? low : high, here = p % 2 ? high : low;
  line_route(b, l, (run){last_even, 1, 1}, color, PORTS(PORT_RAMP, there | self));
  line_route(b, l, (run){p % 2 ? last_even - 1 : last_even + 1, 1, 1}, color, PORTS(here, PORT_RAMP));
  line_route(b, l, (run){1, 1, 1}, base + 2, PORTS(PORT_RAMP, low | self));
  line_route(b, l, (run){0, 1, 1}, base + 2, PORTS(high, PORT_RAMP));
}

// ---- the reference

static u32 place_of(u32 position, u32 pes) {
  return position % 2 ? pes - 1 - position / 2 : position / 2;
}

// Element e of part `part` at a position of a line.
static size_t index_of(const ring *g, u32 line_index, u32 position, u32 part, u32 e) {
  u32 slot = (part + g->pes - place_of(position, g->pes)) % g->pes;
  return (((size_t)line_index * g->pes + position) * g->pes + slot) * g->part + e;
}

static void ring_expected(const ring *g, u32 lines, kernel_case *k, const float *data, float *expected) {
  double magnitude = 0;
  for (u32 i = 0; i < lines; i++)
    for (u32 part = 0; part < g->pes; part++)
      for (u32 e = 0; e < g->part; e++) {
        double sum = 0, size = 0;
        for (u32 p = 0; p < g->pes; p++) {
          double v = data[index_of(g, i, p, part, e)];
          sum += v;
          size += fabs(v);
        }
        for (u32 p = 0; p < g->pes; p++) expected[index_of(g, i, p, part, e)] = (float)sum;
        magnitude = fmax(magnitude, size);
      }
  kernel_tolerate(g->r, k, g->pes, magnitude);
}

bool kernel_allreduce(const kernel_request *r, arena *a, kernel_case *k, status *st) {
  (void)st;
  line l = line_of(r);
  df_builder *b = df_build_begin(a, "allreduce", r->width, r->height);
  ring g = ring_of(r, b, l.length);
  if (l.length == 1) {
    df_build_class(b, "alone");
    df_build_array(b, "data", r->type, g.part);
    line_region(b, &l, (run){0, 1, 1}, "alone");
  } else {
    ring_regions(&g, &l);
    ring_routes(&g, &l, 0, 0);
    ring_routes(&g, &l, PART_COLORS, PORT_RAMP);
  }
  df_build_symbol(b, "data", df_block(0, 0, r->width, r->height), r->type, 0, g.part * g.pes);
  df_build_finish(b, &k->program);
  const float *data = kernel_fill(r, a, k, 0);
  ring_expected(&g, l.count, k, data, kernel_expect(a, k, 0));
  k->work = r->words;
  k->rate_unit = "elements/cycle";
  return true;
}
