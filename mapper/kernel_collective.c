// Broadcast over a grid, and four ways to sum along a line: who sends to whom, on which color.
#include "mapper/kernel_parts.h"

#include <math.h>
#include <stdio.h>

static df_affine length_of(const kernel_request *r) {
  return df_just((i32)r->words);
}

// ---- broadcast: along row 0, and from there down every column

static void broadcast_routes(df_builder *b, u32 w, u32 h) {
  u32 down = h > 1 ? PORT_SOUTH : 0;
  if (w * h == 1) return;
  df_build_route(b, df_pe(0, 0), 0, PORT_RAMP, down | (w > 1 ? PORT_EAST : 0));
  if (w > 2) df_build_route(b, df_block(1, 0, w - 2, 1), 0, PORT_WEST, PORT_EAST | PORT_RAMP | down);
  if (w > 1) df_build_route(b, df_pe(w - 1, 0), 0, PORT_WEST, PORT_RAMP | down);
  if (h > 2) df_build_route(b, df_block(0, 1, w, h - 2), 0, PORT_NORTH, PORT_SOUTH | PORT_RAMP);
  if (h > 1) df_build_route(b, df_block(0, h - 1, w, 1), 0, PORT_NORTH, PORT_RAMP);
}

bool kernel_broadcast(const kernel_request *r, arena *a, kernel_case *k, status *st) {
  (void)st;
  u32 w = r->width, h = r->height;
  df_builder *b = df_build_begin(a, "broadcast", w, h);
  df_build_class(b, "root");
  u32 data = df_build_array(b, "data", r->type, r->words);
  if (w * h > 1) {
    u32 out = df_build_out(b, "out", r->type, length_of(r), 0, 0);
    df_build_task(b, "main");
    df_build_start_active(b);
    df_build_op(b, df_vv(DF_MOV, out, data));
    df_build_class(b, "receiver");
    data = df_build_array(b, "data", r->type, r->words);
    u32 in = df_build_in(b, "in", r->type, length_of(r), 0, 0);
    df_build_task(b, "main");
    df_build_start_active(b);
    df_build_op(b, df_vv(DF_MOV, data, in));
  }
  df_build_region(b, df_pe(0, 0), "root");
  if (w > 1) df_build_region(b, df_block(1, 0, w - 1, 1), "receiver");
  if (h > 1) df_build_region(b, df_block(0, 1, w, h - 1), "receiver");
  broadcast_routes(b, w, h);
  df_build_symbol(b, "source", df_pe(0, 0), r->type, 0, r->words);
  df_build_symbol(b, "data", df_block(0, 0, w, h), r->type, 0, r->words);
  df_build_finish(b, &k->program);
  const float *source = kernel_fill(r, a, k, 0);
  float *expected = kernel_expect(a, k, 1);
  for (size_t pe = 0; pe < (size_t)w * h; pe++)
    for (u32 i = 0; i < r->words; i++) expected[pe * r->words + i] = source[i];
  k->work = r->words;
  k->rate_unit = "elements/cycle";
  return true;
}

// ---- reduce

// What a PE does: adds what comes on the colors in turn to its data, then sends the sum on, if it sends.
enum { NO_COLOR = 255, RECEIVES_MAX = 24 };
typedef struct member {
  u32 in[RECEIVES_MAX], queue[RECEIVES_MAX]; // colors and queues, in order
  u32 receives;
  u32 out; // NO_COLOR: the sum stays
} member;

// The last sum goes out as it is made: one ADD from and to the fabric.
static void member_class(df_builder *b, const char *name, const kernel_request *r, const member *m) {
  char vector[DF_NAME_MAX];
  df_build_class(b, name);
  u32 data = df_build_array(b, "data", r->type, r->words);
  if (!m->receives && m->out == NO_COLOR) return;
  u32 out = m->out == NO_COLOR ? data : df_build_out(b, "out", r->type, length_of(r), m->out, 0);
  df_build_task(b, "main");
  df_build_start_active(b);
  if (!m->receives) df_build_op(b, df_vv(DF_MOV, out, data));
  for (u32 i = 0; i < m->receives; i++) {
    snprintf(vector, sizeof vector, "in%u", i);
    u32 in = df_build_in(b, vector, r->type, length_of(r), m->in[i], m->queue[i]);
    df_build_op(b, df_vvv(DF_ADD, i + 1 == m->receives ? out : data, in, data));
  }
}

static member member_of(u32 in, u32 out) {
  member m = {.out = out};
  if (in != NO_COLOR) m.in[m.receives++] = in;
  return m;
}

// Routes of a chain over positions 0, step, 2 step, ... (count of them): the i-th sends on color base + i % 2,
// so that a PE receives on one color and sends on the other.
static void chain_routes(df_builder *b, const line *l, u32 count, u32 step, u32 base) {
  u32 low = line_low(l), high = line_high(l);
  for (u32 parity = 0; parity < 2; parity++) {
    u32 first = parity ? 1 : 2, color = base + parity;
    if (first >= count) continue;
    u32 n = (count - first + 1) / 2;
    line_route(b, l, (run){first * step, n, 2 * step}, color, PORTS(PORT_RAMP, low));
    line_route_gaps(b, l, (run){(first - 1) * step + 1, n, 2 * step}, step - 1, color, PORTS(high, low));
    line_route(b, l, (run){(first - 1) * step, n, 2 * step}, color, PORTS(high, PORT_RAMP));
  }
}

static void reduce_chain(df_builder *b, const kernel_request *r, const line *l) {
  u32 p = l->length;
  member root = member_of(p > 1 ? 1 : NO_COLOR, NO_COLOR), last = member_of(NO_COLOR, (p - 1) % 2);
  member odd = member_of(0, 1), even = member_of(1, 0);
  member_class(b, "root", r, &root);
  line_region(b, l, (run){0, 1, 1}, "root");
  if (p == 1) return;
  member_class(b, "last", r, &last);
  line_region(b, l, (run){p - 1, 1, 1}, "last");
  if (p > 2) member_class(b, "odd", r, &odd);
  if (p > 3) member_class(b, "even", r, &even);
  line_region(b, l, (run){1, (p - 1) / 2, 2}, "odd");
  line_region(b, l, (run){2, p > 3 ? (p - 2) / 2 : 0, 2}, "even");
  chain_routes(b, l, p, 1, 0);
}

// ---- two-phase: chains inside groups of about sqrt(P), then a chain over the groups' first PEs

typedef struct groups {
  u32 size, count, tail; // tail: PEs of the last group
} groups;

static groups groups_of(u32 p) {
  u32 size = (u32)lround(sqrt(p));
  groups g = {size ? size : 1, 0, 0};
  g.count = (p + g.size - 1) / g.size;
  g.tail = p - (g.count - 1) * g.size;
  return g;
}

// Colors 0 and 1 inside groups, by the parity of the place in the group; 2 and 3 between them.
static void leader_class(df_builder *b, const kernel_request *r, const groups *g, u32 group) {
  member m = {.out = group ? 2 + group % 2 : NO_COLOR};
  u32 size = group + 1 == g->count ? g->tail : g->size;
  if (size > 1) {
    m.queue[m.receives] = 0;
    m.in[m.receives++] = 1;
  }
  if (group + 1 < g->count) {
    m.queue[m.receives] = 1;
    m.in[m.receives++] = 2 + (group + 1) % 2;
  }
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "leader%u", group);
  member_class(b, name, r, &m);
}

static void leader_regions(df_builder *b, const kernel_request *r, const line *l, const groups *g) {
  u32 last = g->count - 1;
  leader_class(b, r, g, 0);
  line_region(b, l, (run){0, 1, 1}, "leader0");
  char name[DF_NAME_MAX];
  for (u32 first = 1; first <= 2 && first < last; first++) { // odd and even ones in between
    leader_class(b, r, g, first);
    snprintf(name, sizeof name, "leader%u", first);
    line_region(b, l, (run){first * g->size, (last - first + 1) / 2, 2 * g->size}, name);
  }
  if (!last) return;
  leader_class(b, r, g, last);
  snprintf(name, sizeof name, "leader%u", last);
  line_region(b, l, (run){last * g->size, 1, 1}, name);
}

// PEs 1 .. size - 1 of `n` groups from position `first` on.
static void group_regions(df_builder *b, const kernel_request *r, const line *l, run at, u32 size) {
  for (u32 i = 1; i < size; i++) {
    bool ends = i + 1 == size;
    char name[DF_NAME_MAX];
    snprintf(name, sizeof name, "%s%u", ends ? "end" : "member", i % 2);
    member m = member_of(ends ? NO_COLOR : (i + 1) % 2, i % 2);
    u32 count = at.n;
    run places = {at.first + i, count, at.step};
    if (!count) continue;
    df_build_class(b, name);
    if (df_build_find_vector(b, "data") == UINT32_MAX) member_class(b, name, r, &m);
    line_region(b, l, places, name);
    u32 low = line_low(l), high = line_high(l);
    line_route(b, l, places, i % 2, PORTS(PORT_RAMP, low));
    places.first--;
    line_route(b, l, places, i % 2, PORTS(high, PORT_RAMP));
  }
}

static void reduce_two_phase(df_builder *b, const kernel_request *r, const line *l) {
  groups g = groups_of(l->length);
  leader_regions(b, r, l, &g);
  group_regions(b, r, l, (run){0, g.count - 1, g.size}, g.size);
  group_regions(b, r, l, (run){(g.count - 1) * g.size, 1, g.size}, g.tail);
  chain_routes(b, l, g.count, g.size, 2);
}

// ---- star: everyone's words go to the root one PE after the other. A router passes its own PE's first; the
// control wavelet behind them turns it to those from further out.

// 16-bit elements come in pairs: the root reads all messages as one vector.
static kernel_request star_request(const kernel_request *r) {
  kernel_request even = *r;
  if (df_type_bytes(r->type) == 2) even.words += r->words % 2;
  return even;
}

static void star_root(df_builder *b, const kernel_request *r, u32 senders) {
  df_build_class(b, "root");
  u32 data = df_build_array(b, "data", r->type, r->words);
  if (!senders) return;
  df_affine all = df_just((i32)(r->words * senders));
  u32 sums = df_build_view(b, "sums", r->type, df_just((i32)df_build_address(b, data)), all);
  df_build_rows(b, sums, length_of(r), 0);
  u32 in = df_build_in(b, "in", r->type, all, 0, 0);
  df_build_task(b, "main");
  df_build_start_active(b);
  df_build_op(b, df_on(df_vvv(DF_ADD, sums, in, sums), 1));
  df_build_task(b, "end_of_message"); // takes the control wavelets out of the queue
  df_build_started_by(b, TRIGGER_CONTROL, 0, 0);
}

static void reduce_star(df_builder *b, const kernel_request *r, const line *l) {
  u32 p = l->length, low = line_low(l), high = line_high(l);
  star_root(b, r, p - 1);
  line_region(b, l, (run){0, 1, 1}, "root");
  if (p == 1) return;
  member sender = member_of(NO_COLOR, 0);
  member_class(b, "sender", r, &sender);
  df_build_op(b, df_v(DF_CONTROL, df_build_find_vector(b, "out")));
  line_region(b, l, (run){1, p - 1, 1}, "sender");
  line_route(b, l, (run){0, 1, 1}, 0, PORTS(high, PORT_RAMP));
  if (p > 2) {
    line_route(b, l, (run){1, p - 2, 1}, 0, PORTS(PORT_RAMP, low));
    df_build_position(b, high, low);
  }
  line_route(b, l, (run){p - 1, 1, 1}, 0, PORTS(PORT_RAMP, low));
}

// ---- tree: in round k, on color k, PE j with j mod 2^(k+1) = 2^k sends its sum over 2^k PEs to j - 2^k.
// A PE has DIRECT input queues only. What is meant for j in a later round is taken in by j + 1, whose own
// message was in round 0, and handed on by color 0.

enum { DIRECT = 8 };

// Rounds in which j receives: those before the one in which it sends, as far as there is a sender.
static u32 tree_receives(u32 j, u32 p) {
  u32 k = 0;
  while ((j == 0 || j % (2u << k) == 0) && (1ull << k) + j < p) k++;
  return k;
}

static void tree_member(df_builder *b, const kernel_request *r, const line *l, u32 j) {
  u32 receives = tree_receives(j, l->length), sends = j ? (u32)__builtin_ctz(j) : NO_COLOR;
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "add%u%s%u", receives, j ? "send" : "end", j ? sends : 0);
  member m = {.out = sends};
  for (; m.receives < receives; m.receives++)
    m.in[m.receives] = m.queue[m.receives] = m.receives < DIRECT ? m.receives : 0;
  df_build_class(b, name);
  if (df_build_find_vector(b, "data") == UINT32_MAX) member_class(b, name, r, &m);
  line_region(b, l, (run){j, 1, 1}, name);
}

// Sends its own data, then hands on rounds DIRECT .. rounds - 1.
static void tree_relay(df_builder *b, const kernel_request *r, const line *l, u32 j, u32 rounds) {
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "relay%u", rounds);
  df_build_class(b, name);
  if (df_build_find_vector(b, "data") == UINT32_MAX) {
    member m = member_of(NO_COLOR, 0);
    member_class(b, name, r, &m);
    u32 out = df_build_find_vector(b, "out");
    for (u32 k = DIRECT; k < rounds; k++) {
      snprintf(name, sizeof name, "in%u", k);
      df_build_op(b, df_vv(DF_MOV, out, df_build_in(b, name, r->type, length_of(r), k, k - DIRECT)));
    }
    snprintf(name, sizeof name, "relay%u", rounds);
  }
  line_region(b, l, (run){j, 1, 1}, name);
}

static void tree_routes(df_builder *b, const line *l, u32 k) {
  u32 p = l->length, low = line_low(l), high = line_high(l), reach = 1u << k;
  u32 taken = k < DIRECT ? 0 : 1; // place of the receiver
  run senders = {reach, (p - 1 - reach) / (2 * reach) + 1, 2 * reach};
  line_route(b, l, senders, k, PORTS(PORT_RAMP, low));
  run to = {taken, senders.n, 2 * reach}, between = {taken + 1, senders.n, 2 * reach};
  line_route(b, l, to, k, PORTS(high, PORT_RAMP));
  line_route_gaps(b, l, between, reach - 1 - taken, k, PORTS(high, low));
}

// The odd PEs are leaves; an even one is told by what it receives and when it sends.
static void reduce_tree(df_builder *b, const kernel_request *r, const line *l) {
  u32 p = l->length;
  member plain = member_of(NO_COLOR, 0);
  if (p > 1) member_class(b, "leaf", r, &plain);
  u32 block = 2u << DIRECT; // one relay at most in each
  for (u32 start = 0; start < p; start += block) {
    u32 rounds = tree_receives(start, p), end = start + block < p ? start + block : p;
    u32 first = start + (rounds > DIRECT ? 3 : 1);
    if (rounds > DIRECT) tree_relay(b, r, l, start + 1, rounds);
    if (first < end) line_region(b, l, (run){first, (end - first + 1) / 2, 2}, "leaf");
  }
  for (u32 j = 0; j < p; j += 2) tree_member(b, r, l, j);
  for (u32 k = 0; 1ull << k < p; k++) tree_routes(b, l, k);
}

// The sum of the first `words` elements over the line, for every line.
static void reduce_expected(const kernel_request *r, const line *l, kernel_case *k, const float *data,
                            float *expected) {
  u32 n = r->words;
  double magnitude = 0;
  for (u32 i = 0; i < l->count; i++)
    for (u32 e = 0; e < n; e++) {
      double sum = 0, size = 0;
      for (u32 j = 0; j < l->length; j++) {
        double v = data[((size_t)i * l->length + j) * n + e]; // a line is a row, or the grid is one column
        sum += v;
        size += fabs(v);
      }
      expected[(size_t)i * n + e] = (float)sum;
      magnitude = fmax(magnitude, size);
    }
  kernel_tolerate(r, k, l->length, magnitude);
}

bool kernel_reduce(const kernel_request *request, arena *a, kernel_case *k, status *st) {
  (void)st;
  line l = line_of(request);
  bool star = kernel_pattern_is(request, "star");
  kernel_request r = star ? star_request(request) : *request;
  df_builder *b = df_build_begin(a, "reduce", r.width, r.height);
  if (star)
    reduce_star(b, &r, &l);
  else if (kernel_pattern_is(&r, "tree"))
    reduce_tree(b, &r, &l);
  else if (kernel_pattern_is(&r, "two-phase"))
    reduce_two_phase(b, &r, &l);
  else
    reduce_chain(b, &r, &l);
  df_build_symbol(b, "data", df_block(0, 0, r.width, r.height), r.type, 0, r.words);
  df_build_symbol(b, "sum", line_rect(&l, (run){0, 1, 1}), r.type, 0, r.words);
  df_build_finish(b, &k->program);
  const float *data = kernel_fill(&r, a, k, 0);
  reduce_expected(&r, &l, k, data, kernel_expect(a, k, 1));
  k->work = request->words;
  k->rate_unit = "elements/cycle";
  return true;
}
