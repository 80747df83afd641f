// Random legal programs for the fabric. A color is a tree of routes: from one source to many ends, or from
// many sources to one end; a switched one sends to each branch in turn. PEs send, receive and forward what
// the trees need, each color in some way drawn by chance.
#include "tests/fabric_support.h"

#include "base/random.h"
#include "sim/fabric/number.h"

#include <stdio.h>
#include <string.h>

enum { NODES = 40, STREAMS = 8, ACTIONS = 6, WORDS_MAX = 150, PES = 80, CHECKS = 64, NONE = 255 };

typedef struct tree {
  u32 count, pe[NODES], parent[NODES], junction;
  u8 up[NODES], kids[NODES]; // ports; up of the root: 0, or the host's
  bool ramp[NODES];          // an end at the PE
  u32 depth[NODES];
} tree;

typedef enum action_kind { SENDS, SENDS_SWITCHED, TAKES, TAKES_EACH, FORWARDS } action_kind;
typedef struct action {
  u8 kind, stream, from; // from: FORWARDS this stream
  bool in_order, control;
  u32 n, delay, op, address; // n: elements
} action;

typedef struct stream {
  tree t;
  u8 type;
  bool merges, switched, ring, from_host, to_host, known;
  u32 n, wavelets, rounds; // of each source (switched: to each branch and round)
  u32 words[WORDS_MAX];    // that arrive, where known
} stream;

struct random_check {
  u32 x, y, address, n, words[WORDS_MAX];
  bool right;
};

typedef struct maker {
  u64 seed, drawn;
  random_case *c;
  u32 w, h, pes, streams, actions[PES], controls[PES];
  stream s[STREAMS];
  action act[PES][ACTIONS];
} maker;

static u32 below(maker *m, u32 n) { return (u32)random_below(m->seed, RANDOM_TEST, 7, m->drawn++, n); }
static bool chance(maker *m, u32 percent) { return below(m, 100) < percent; }

// ---- trees

static u32 step_to(const maker *m, u32 pe, u32 port) {
  u32 x = pe % m->w, y = pe / m->w;
  if (port == PORT_NORTH) return y ? pe - m->w : NODES + PES;
  if (port == PORT_SOUTH) return y + 1 < m->h ? pe + m->w : NODES + PES;
  if (port == PORT_EAST) return x + 1 < m->w ? pe + 1 : NODES + PES;
  return x ? pe - 1 : NODES + PES;
}

static u8 across(u32 port) { return (u8)(port < 4 ? port * 4 : port / 4); }

static u32 node_at(const tree *t, u32 pe) {
  for (u32 i = 0; i < t->count; i++)
    if (t->pe[i] == pe) return i;
  return NODES;
}

// Adds a node beside `from`, straight on where it can; false where all is taken.
static bool tree_grow(maker *m, tree *t, u32 from) {
  u32 straight = t->up[from] ? across(t->up[from]) : 0;
  for (u32 attempt = 0; attempt < 6; attempt++) {
    u32 port = straight && attempt == 0 && chance(m, 75) ? straight : 1u << below(m, 4);
    u32 pe = step_to(m, t->pe[from], port);
    if (pe >= m->pes || t->count == NODES || node_at(t, pe) != NODES || (t->up[from] & port)) continue;
    u32 i = t->count++;
    t->pe[i] = pe;
    t->parent[i] = from;
    t->depth[i] = t->depth[from] + 1;
    t->up[i] = across(port);
    t->kids[from] |= (u8)port;
    return true;
  }
  return false;
}

static void tree_make(maker *m, tree *t, u32 root) {
  *t = (tree){.count = 1};
  t->pe[0] = root;
  u32 size = 2 + below(m, chance(m, 50) ? 8 : NODES - 2), tip = 0, branching = below(m, 3) * 12;
  for (u32 i = 0; i < 3 * size && t->count < size; i++) {
    if (chance(m, branching)) tip = below(m, t->count);
    tip = tree_grow(m, t, tip) ? t->count - 1 : below(m, t->count);
  }
}

static u8 edge_port(const maker *m, u32 pe, u8 taken) {
  for (u8 port = 1; port <= 8; port = (u8)(port * 2)) // a spinner's row lies in the south
    if (port != PORT_SOUTH && step_to(m, pe, port) >= m->pes && !(taken & port)) return port;
  return 0;
}

// ---- what PEs do

static u32 wavelets_of(u32 type, u32 n) { return df_type_bytes((df_type)type) == 2 ? (n + 1) / 2 : n; }

static bool has_room(const maker *m, u32 pe) { return m->actions[pe] < ACTIONS; }

static action *act(maker *m, u32 pe, action_kind kind, u32 s) {
  action *a = &m->act[pe][m->actions[pe]++];
  *a = (action){.kind = (u8)kind, .stream = (u8)s, .from = NONE, .n = m->s[s].n};
  a->delay = chance(m, 40) ? below(m, 60) : 0;
  a->in_order = chance(m, 15);
  return a;
}

// Does a branch below `node` hold an end? Routes that end nowhere are not legal.
static bool node_is_leaf(const tree *t, u32 node) { return !t->kids[node]; }

static bool is_below(const tree *t, u32 node, u32 ancestor) {
  while (node && node != ancestor) node = t->parent[node];
  return node == ancestor;
}

// How often what the source sends to a branch comes by here: above and beside the switch it is every branch's.
static u32 branches_at(const stream *z, u32 node) {
  u32 branches = (u32)__builtin_popcount(z->t.kids[z->t.junction]);
  if (!z->switched || branches < 2) return 1;
  return node != z->t.junction && is_below(&z->t, node, z->t.junction) ? 1 : branches;
}

static void take(maker *m, u32 s, u32 node) {
  stream *z = &m->s[s];
  u32 pe = z->t.pe[node];
  z->t.ramp[node] = true;
  bool each = chance(m, 20);
  action *a = act(m, pe, each ? TAKES_EACH : TAKES, s);
  a->control = z->switched;
  a->n *= z->rounds * branches_at(z, node);
  a->op = z->type == DF_I32 ? (chance(m, 60) ? DF_MOV : DF_ADD) : below(m, 7);
  if (each || z->type == DF_I32) return;
  if (chance(m, 50)) a->op = DF_MOV;
}

static void draw_words(maker *m, stream *z) {
  for (u32 i = 0; i < WORDS_MAX; i++) z->words[i] = below(m, 1000);
}

// A PE where a stream with one source ends, to go on from there; NODES where there is none.
static bool find_relay(maker *m, u32 s, u32 *ret_pe, u32 *ret_action) {
  for (u32 attempt = 0; attempt < 8; attempt++) {
    u32 pe = below(m, m->pes);
    for (u32 i = 0; i < m->actions[pe]; i++) {
      const action *a = &m->act[pe][i];
      const stream *z = &m->s[a->stream];
      if (a->kind != TAKES || z->switched || z->merges || z->type != DF_I32 || a->stream == s) continue;
      *ret_pe = pe;
      *ret_action = i;
      return true;
    }
  }
  return false;
}

static bool one_to_many(maker *m, u32 s) {
  stream *z = &m->s[s];
  u32 root = below(m, m->pes), relayed = 0;
  bool relay = chance(m, 35) && find_relay(m, s, &root, &relayed);
  if (!relay && !has_room(m, root)) return false;
  tree_make(m, &z->t, root);
  tree *t = &z->t;
  for (u32 i = 1; i < t->count; i++)
    if (node_is_leaf(t, i) && !has_room(m, t->pe[i])) return false;
  if (t->count < 2) return false;
  u8 host = relay ? 0 : edge_port(m, root, t->kids[0]);
  z->from_host = host && chance(m, 25);
  z->known = z->type == DF_I32;
  draw_words(m, z);
  if (relay) {
    action *a = &m->act[root][relayed];
    a->kind = FORWARDS;
    a->from = a->stream;
    a->stream = (u8)s;
    z->n = a->n = m->s[a->from].n;
    z->type = DF_I32;
    z->known = m->s[a->from].known;
    memcpy(z->words, m->s[a->from].words, sizeof z->words);
  } else if (z->from_host) t->up[0] = host;
  else act(m, root, SENDS, s);
  for (u32 i = 1; i < t->count; i++)
    if (node_is_leaf(t, i) || (chance(m, 8) && has_room(m, t->pe[i]))) take(m, s, i);
  return true;
}

static bool many_to_one(maker *m, u32 s) {
  stream *z = &m->s[s];
  u32 root = below(m, m->pes), sources = 0;
  z->type = DF_I32;
  tree_make(m, &z->t, root);
  tree *t = &z->t;
  u8 host = edge_port(m, root, t->kids[0]);
  z->to_host = host && chance(m, 30);
  for (u32 i = 1; i < t->count; i++)
    if (node_is_leaf(t, i) && !has_room(m, t->pe[i])) return false;
  if (t->count < 2 || (!z->to_host && !has_room(m, root))) return false;
  z->merges = true;
  z->n = 1 + below(m, 30);
  for (u32 i = 1; i < t->count; i++)
    if (node_is_leaf(t, i) || (chance(m, 8) && has_room(m, t->pe[i]))) {
      t->ramp[i] = true;
      act(m, t->pe[i], SENDS, s);
      if (++sources == 4) break;
    }
  for (u32 i = 1; i < t->count; i++) // branches behind the last source are cut off
    if (node_is_leaf(t, i) && !t->ramp[i]) return false;
  if (z->to_host) {
    t->up[0] = host;
    return true;
  }
  action *a = act(m, root, chance(m, 20) ? TAKES_EACH : TAKES, s);
  a->n *= sources;
  a->op = chance(m, 50) ? DF_MOV : DF_ADD;
  return true;
}

static bool switched(maker *m, u32 s) {
  stream *z = &m->s[s];
  u32 root = below(m, m->pes);
  tree_make(m, &z->t, root);
  tree *t = &z->t;
  if (t->count < 2 || !has_room(m, root)) return false;
  z->n = 1 + below(m, 20);
  if (df_type_bytes((df_type)z->type) == 2) z->n *= 2;
  for (u32 i = 0; i < t->count; i++)
    if (__builtin_popcount(t->kids[i]) > 1) t->junction = i;
  for (u32 i = 1; i < t->count; i++)
    if (node_is_leaf(t, i) && (!has_room(m, t->pe[i]) || m->controls[t->pe[i]])) return false;
  z->switched = true;
  z->ring = chance(m, 40);
  z->rounds = z->ring ? 2 : 1;
  act(m, root, SENDS_SWITCHED, s)->in_order = true;
  for (u32 i = 1; i < t->count; i++)
    if (node_is_leaf(t, i)) {
      take(m, s, i);
      m->controls[t->pe[i]]++;
    }
  return true;
}

static bool stream_make(maker *m, u32 s) {
  stream *z = &m->s[s];
  memset(z, 0, sizeof *z);
  z->type = (u8)(chance(m, 50) ? DF_I32 : below(m, 3));
  z->n = 1 + below(m, chance(m, 30) ? WORDS_MAX - 1 : 24);
  z->rounds = 1;
  u32 saved[PES];
  memcpy(saved, m->actions, sizeof saved);
  u32 kind = below(m, 10);
  bool ok = kind < 6 ? one_to_many(m, s) : kind < 8 ? many_to_one(m, s) : switched(m, s);
  if (!ok) memcpy(m->actions, saved, sizeof saved);
  return ok;
}

// ---- code

static u32 color_of(u32 s) { return s * 3; }

static u32 emit_in(df_builder *b, maker *m, u32 s, u32 n, u32 queue) {
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "in%u", queue);
  return df_build_in(b, name, (df_type)m->s[s].type, df_just((i32)n), color_of(s), queue);
}

static u32 emit_out(df_builder *b, maker *m, u32 s, u32 n, u32 queue) {
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "out%u", queue);
  return df_build_out(b, name, (df_type)m->s[s].type, df_just((i32)n), color_of(s), queue);
}

static void emit_delay(df_builder *b, const action *a) {
  if (!a->delay) return;
  df_build_op(b, df_rn(DF_LOOP, 0, df_just((i32)a->delay)));
  df_build_op(b, df_none(DF_END));
}

static df_instruction receiving(u32 op, u32 to, u32 in) {
  switch (op) {
  case DF_MOV:
    return df_vv(DF_MOV, to, in);
  case DF_AXPY:
    return df_vvv(DF_AXPY, to, in, to);
  default:
    return df_vvv((df_opcode)op, to, in, to);
  }
}

// A task that takes the wavelets of its color, one element (or word) each time.
static void emit_each(df_builder *b, maker *m, action *a, u32 i) {
  char name[DF_NAME_MAX];
  u32 type = m->s[a->stream].type, pair = df_type_bytes((df_type)type) == 2 ? 2 : 1;
  snprintf(name, sizeof name, "mem%u", i);
  u32 memory = df_build_array(b, name, (df_type)type, a->n);
  df_build_bytes(b, 4); // the last word of an odd number of halves
  a->address = df_build_address(b, memory);
  snprintf(name, sizeof name, "place%u", i);
  u32 place = df_build_view(b, name, (df_type)type, df_just((i32)a->address), df_just((i32)pair));
  df_build_moved_by(b, place, 1 + i, 4);
  u32 in = emit_in(b, m, a->stream, pair, i);
  snprintf(name, sizeof name, "each%u", i);
  df_build_task(b, name);
  df_build_started_by(b, TRIGGER_DATA, color_of(a->stream), i);
  df_build_op(b, receiving(a->op == DF_ADD ? DF_ADD : DF_MOV, place, in));
  df_build_op(b, df_rn(DF_STEP, 1 + i, df_just(1)));
}

static void emit_switched(df_builder *b, maker *m, action *a, u32 out, u32 memory) {
  const stream *z = &m->s[a->stream];
  u32 branches = (u32)__builtin_popcount(z->t.kids[z->t.junction]);
  df_build_op(b, df_rn(DF_LOOP, 7, df_just((i32)(branches * z->rounds))));
  df_build_op(b, df_vv(DF_MOV, out, memory));
  df_build_op(b, df_v(DF_CONTROL, out));
  df_build_op(b, df_none(DF_END));
}

static void emit_action(df_builder *b, maker *m, action *a, u32 i) {
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "mem%u", i);
  u32 memory = df_build_array(b, name, (df_type)m->s[a->stream].type, a->n), thread = a->in_order ? 0 : i + 1;
  a->address = df_build_address(b, memory);
  emit_delay(b, a);
  if (a->kind == SENDS_SWITCHED) emit_switched(b, m, a, emit_out(b, m, a->stream, a->n, i), memory);
  if (a->kind == SENDS) df_build_op(b, df_on(df_vv(DF_MOV, emit_out(b, m, a->stream, a->n, i), memory), thread));
  if (a->kind == FORWARDS)
    df_build_op(b, df_on(df_vv(DF_MOV, emit_out(b, m, a->stream, a->n, i), emit_in(b, m, a->from, a->n, i)), thread));
  if (a->kind == TAKES) {
    df_instruction op = receiving(a->op, memory, emit_in(b, m, a->stream, a->n, i));
    u32 after = df_build_task_index(b, "after");
    df_build_op(b, df_on(chance(m, 30) ? df_then(op, DONE_ACTIVATE, after) : op, thread));
  }
}

static void emit_control(df_builder *b, const action *a, u32 i) {
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "control%u", i);
  df_build_task(b, name);
  df_build_started_by(b, TRIGGER_CONTROL, color_of(a->stream), i);
  df_build_op(b, df_rn(DF_STEP, 7, df_just(1)));
}

static void emit_pe(df_builder *b, maker *m, u32 pe) {
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "pe%u", pe);
  df_build_class(b, name);
  for (u32 i = 0; i < m->actions[pe]; i++) {
    action *a = &m->act[pe][i];
    if (a->kind == TAKES_EACH) emit_each(b, m, a, i);
    if (a->control) emit_control(b, a, i);
    df_build_task(b, "main");
    if (a->kind != TAKES_EACH) emit_action(b, m, a, i);
  }
  df_build_task(b, "after");
  df_build_op(b, df_rn(DF_STEP, 0, df_just(1)));
  df_build_task(b, "main");
  df_build_start_active(b);
  df_build_region(b, df_pe(pe % m->w, pe / m->w), name);
}

static void emit_routes(df_builder *b, maker *m, u32 s) {
  const stream *z = &m->s[s];
  const tree *t = &z->t;
  for (u32 i = 0; i < t->count; i++) {
    df_rect at = df_pe(t->pe[i] % m->w, t->pe[i] / m->w);
    u8 up = i || t->up[0] ? t->up[i] : PORT_RAMP, down = (u8)(t->kids[i] | (t->ramp[i] ? PORT_RAMP : 0));
    if (z->switched && i == t->junction && __builtin_popcount(t->kids[i]) > 1) {
      bool first = true;
      for (u32 port = 1; port <= 8; port *= 2) {
        if (!(t->kids[i] & port)) continue;
        if (first) df_build_route(b, at, color_of(s), up, port);
        else df_build_position(b, up, port);
        first = false;
      }
      if (z->ring) df_build_ring(b);
    } else df_build_route(b, at, color_of(s), z->merges ? down : up, z->merges ? up : down);
  }
}

static void emit_port(df_builder *b, maker *m, u32 s) {
  const stream *z = &m->s[s];
  if (!z->from_host && !z->to_host) return;
  u32 sources = 0;
  for (u32 i = 1; i < z->t.count; i++) sources += z->t.ramp[i];
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "port%u", s);
  u64 n = z->to_host ? (u64)sources * z->wavelets : z->wavelets;
  df_build_port(b, name, (df_port){.x = z->t.pe[0] % m->w, .y = z->t.pe[0] / m->w, .port = z->t.up[0], .color = (u8)color_of(s), .out = z->to_host, .wavelets = n});
}

// ---- sums

static u32 branch_edges(const tree *t, u32 node) { // links from the junction's branch down to the end
  u32 n = 0;
  for (; node; node = t->parent[node]) n++;
  return n;
}

static void expect_stream(maker *m, const stream *z) {
  random_case *c = m->c;
  const tree *t = &z->t;
  u64 sources = 0;
  for (u32 i = 1; i < t->count; i++) sources += t->ramp[i];
  if (z->merges) {
    c->wavelets += sources * z->wavelets;
    c->received += sources * z->wavelets;
    for (u32 i = 1; i < t->count; i++)
      if (t->ramp[i]) c->hops += (u64)z->wavelets * (branch_edges(t, i) + z->to_host);
    return;
  }
  u64 each = z->switched ? ((u64)z->wavelets + 1) * z->rounds : z->wavelets;
  c->wavelets += each * (z->switched ? (u32)__builtin_popcount(t->kids[t->junction]) : 1);
  for (u32 i = 1; i < t->count; i++) {
    c->hops += each * branches_at(z, i);
    if (t->ramp[i]) c->received += each * branches_at(z, i);
  }
}

static void add_checks(maker *m) {
  random_case *c = m->c;
  c->checks = arena_array(c->memory, struct random_check, CHECKS);
  for (u32 pe = 0; pe < m->pes; pe++)
    for (u32 i = 0; i < m->actions[pe]; i++) {
      const action *a = &m->act[pe][i];
      const stream *z = &m->s[a->stream];
      if ((a->kind != TAKES && a->kind != TAKES_EACH) || !z->known || z->merges || z->switched || a->n != z->n || c->check_count == CHECKS) continue;
      struct random_check *k = &c->checks[c->check_count++];
      *k = (struct random_check){.x = pe % m->w, .y = pe / m->w, .address = a->address, .n = a->n};
      memcpy(k->words, z->words, sizeof k->words);
    }
}

static void draw_machine(maker *m, u32 spin) {
  static const char *const names[] = {"cs2", "cs3", "cs2", "cs3", "cs2"};
  char changes[256];
  u32 kind = below(m, 5), words = 2 + below(m, 7);
  const char *hop = kind == 4 ? "fabric.hop_cycles=3" : "";
  snprintf(changes, sizeof changes, "pe.queue_words=%u task.loop_cycles=%u fabric.ramp_cycles=%u pe.sram_bytes=256KiB %s", words, spin ? 1 : 7,
           1 + below(m, 3), hop);
  m->c->machine = sim_machine(names[kind], changes);
}

static void emit_spinner(df_builder *b, maker *m, u32 spin) {
  df_build_class(b, "spinner");
  df_build_task(b, "main");
  df_build_start_active(b);
  df_build_op(b, df_rn(DF_LOOP, 0, df_just((i32)(spin / 2))));
  df_build_op(b, df_rn(DF_SET, 1, df_just(1)));
  df_build_op(b, df_none(DF_END));
  df_build_region(b, df_pe(0, m->h), "spinner");
}

random_case random_case_make(u64 seed, u32 spin) {
  random_case c = {.memory = arena_create("random case")};
  maker *m = arena_array(c.memory, maker, 1);
  m->seed = seed;
  m->c = &c;
  draw_machine(m, spin);
  bool line = chance(m, 20);
  m->w = line ? 8 + below(m, 33) : 1 + below(m, 8);
  m->h = line ? 1 : 1 + below(m, 8);
  if (line && chance(m, 30)) {
    m->h = m->w;
    m->w = 1;
  }
  m->pes = m->w * m->h;
  u32 wanted = 1 + below(m, STREAMS);
  for (u32 i = 0; i < 3 * wanted && m->streams < wanted; i++) m->streams += stream_make(m, m->streams);
  for (u32 s = 0; s < m->streams; s++) m->s[s].wavelets = wavelets_of(m->s[s].type, m->s[s].n);
  if (chance(m, 4) && m->actions[0] && m->act[0][0].kind == TAKES) m->act[0][0].n++; // more than is sent
  df_builder *b = df_build_begin(c.memory, "random", m->w, m->h + 1);
  for (u32 pe = 0; pe < m->pes; pe++)
    if (m->actions[pe]) emit_pe(b, m, pe);
  for (u32 s = 0; s < m->streams; s++) emit_routes(b, m, s);
  for (u32 s = 0; s < m->streams; s++) emit_port(b, m, s);
  if (spin) emit_spinner(b, m, spin);
  df_build_finish(b, &c.program);
  for (u32 s = 0; s < m->streams; s++) expect_stream(m, &m->s[s]);
  add_checks(m);
  c.made = m;
  return c;
}

void random_case_free(random_case *c) { arena_destroy(c->memory); }

// ---- runs

static void put_words(fabric *f, const maker *m, u32 pe, const action *a) {
  const stream *z = &m->s[a->stream];
  u8 bytes[(WORDS_MAX + 1) * 4] = {0};
  u32 width = df_type_bytes((df_type)z->type);
  for (u32 i = 0; i < a->n; i++) {
    float value = (float)(z->words[i] % 64);
    u32 word = z->words[i];
    u16 narrow = z->type == DF_F16 ? number_to_f16(value) : number_to_bf16(value);
    if (z->type == DF_F32) word = number_bits(value);
    if (width == 4) memcpy(bytes + 4 * i, &word, 4);
    else memcpy(bytes + 2 * i, &narrow, 2);
  }
  fabric_write(f, pe % m->w, pe / m->w, a->address, bytes, a->n * width);
}

static void begin_run(fabric *f, void *of) {
  const random_case *c = of;
  const maker *m = c->made;
  for (u32 pe = 0; pe < m->pes; pe++)
    for (u32 i = 0; i < m->actions[pe]; i++) {
      u32 kind = m->act[pe][i].kind;
      if (kind == SENDS || kind == SENDS_SWITCHED) put_words(f, m, pe, &m->act[pe][i]);
    }
  for (u32 s = 0, port = 0; s < m->streams; s++) {
    if (m->s[s].from_host) fabric_feed(f, port, m->s[s].words);
    port += m->s[s].from_host || m->s[s].to_host;
  }
}

static void end_run(fabric *f, void *of) {
  const random_case *c = of;
  for (u32 i = 0; i < c->check_count; i++) {
    struct random_check *k = &c->checks[i];
    u32 words[WORDS_MAX];
    fabric_read(f, k->x, k->y, k->address, words, k->n * 4);
    k->right = !memcmp(words, k->words, k->n * 4);
  }
}

fabric_outcome random_case_run(random_case *c, fabric_options options) {
  fabric_how how = {.options = options, .before = begin_run, .after = end_run, .of = c};
  return fabric_try(&c->program, &c->machine, &how);
}

void random_case_verify(const random_case *c, const fabric_outcome *o, u64 seed) {
  for (u32 i = 0; i < c->check_count; i++)
    if (!c->checks[i].right) fail_msg("seed %llu: wrong words in PE (%u, %u)", (unsigned long long)seed, c->checks[i].x, c->checks[i].y);
  const sim_counts *n = &o->result.counts;
  if (n->wavelets != c->wavelets || o->result.received != c->received || n->hops != c->hops)
    fail_msg("seed %llu: %llu wavelets, %llu hops, %llu received; the trees say %llu, %llu, %llu", (unsigned long long)seed,
             (unsigned long long)n->wavelets, (unsigned long long)n->hops, (unsigned long long)o->result.received,
             (unsigned long long)c->wavelets, (unsigned long long)c->hops, (unsigned long long)c->received);
}
