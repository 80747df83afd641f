// Patterns of traffic on a mesh, made by programs.
#include "bench/streams.h"

#include "base/random.h"

#include <stdio.h>
#include <string.h>

enum { COLORS = 24, WORDS = 400, BLOCK = 16, SLOTS = 3, NONE = -1 };

// Streams of single words, each a message of its own, on paths first along x and then along y.
typedef struct traffic {
  df_builder *b;
  arena *memory;
  u32 k, drawn;
  i32 words;
  bool slow;                       // senders have a word every other cycle
  u8 (*taken)[COLORS];             // per router
  i32 (*out)[SLOTS], (*in)[SLOTS]; // per PE: colors
} traffic;

static u32 below(traffic *t, u32 n) {
  return (u32)random_below(1, RANDOM_TEST, 0, t->drawn++, n);
}

// ---- paths

typedef struct step {
  u32 router, rx, tx;
} step;

// The routers from PE a to PE b; returns how many.
static u32 path_of(const traffic *t, u32 a, u32 b, step *ret_steps) {
  u32 x = a % t->k, y = a / t->k, bx = b % t->k, by = b / t->k, n = 0, rx = PORT_RAMP;
  for (;; n++) {
    u32 tx = x < bx ? PORT_EAST : x > bx ? PORT_WEST : y < by ? PORT_SOUTH : y > by ? PORT_NORTH : PORT_RAMP;
    ret_steps[n] = (step){y * t->k + x, rx, tx};
    if (tx == PORT_RAMP) return n + 1;
    x += (u32)(tx == PORT_EAST) - (u32)(tx == PORT_WEST);
    y += (u32)(tx == PORT_SOUTH) - (u32)(tx == PORT_NORTH);
    rx = tx < 4 ? tx * 4 : tx / 4;
  }
}

static i32 *free_slot(i32 slots[SLOTS]) {
  for (u32 i = 0; i < SLOTS; i++)
    if (slots[i] == NONE) return &slots[i];
  return NULL;
}

// A stream from a to b on the first color from `color` on that is free all the way; false where there is none.
static bool stream(traffic *t, u32 a, u32 b, u32 color) {
  step *steps = arena_array(t->memory, step, 2 * t->k);
  u32 n = path_of(t, a, b, steps);
  i32 *out = free_slot(t->out[a]), *in = free_slot(t->in[b]);
  for (; out && in && color < COLORS; color++) {
    bool all_free = true;
    for (u32 i = 0; i < n && all_free; i++) all_free = !t->taken[steps[i].router][color];
    if (!all_free) continue;
    for (u32 i = 0; i < n; i++) {
      t->taken[steps[i].router][color] = 1;
      df_build_route(t->b, df_pe(steps[i].router % t->k, steps[i].router / t->k), color, steps[i].rx, steps[i].tx);
    }
    *out = *in = (i32)color;
    return true;
  }
  return false;
}

// ---- patterns

static void rows(traffic *t) {
  for (u32 y = 0; y < t->k; y++) stream(t, y * t->k, y * t->k + t->k - 1, 0);
}

static void columns(traffic *t) {
  for (u32 x = 0; x < t->k; x++) stream(t, x, (t->k - 1) * t->k + x, 0);
}

// Pairs of neighbours along x and along y send to each other.
static void neighbours(traffic *t) {
  for (u32 y = 0; y < t->k; y++)
    for (u32 x = 0; x < t->k; x++) {
      u32 pe = y * t->k + x;
      stream(t, pe, y * t->k + (x ^ 1), x & 1);
      stream(t, pe, (y ^ 1) * t->k + x, 2 + (y & 1));
    }
}

// (x, y) to (y, x) within blocks; a color for each column of a block.
static void transpose(traffic *t) {
  t->slow = true;
  u32 block = t->k < BLOCK ? t->k : BLOCK;
  for (u32 y = 0; y < t->k; y++)
    for (u32 x = 0; x < t->k; x++) {
      u32 u = x % block, v = y % block;
      if (u != v && below(t, 3) == 0) stream(t, y * t->k + x, (y - v + u) * t->k + x - u + v, 0);
    }
}

// A permutation of some PEs, so many that links are busy for about a quarter of the time.
static void permutation_from(traffic *t, u32 color) {
  u32 pes = t->k * t->k, *to = arena_array(t->memory, u32, pes);
  t->slow = true;
  for (u32 i = 0; i < pes; i++) to[i] = i;
  for (u32 i = pes - 1; i > 0; i--) {
    u32 k = below(t, i + 1), other = to[i];
    to[i] = to[k];
    to[k] = other;
  }
  for (u32 i = 0; i < pes; i++)
    if (to[i] != i && below(t, 10 * t->k) < 34) stream(t, i, to[i], color);
}

static void permutation(traffic *t) {
  permutation_from(t, 0);
}

static void mixed(traffic *t) {
  neighbours(t);
  permutation_from(t, 4);
  t->slow = false; // three streams each way keep the PE busy as it is
}

// ---- code: PEs that do the same share a class

static void code(traffic *t, u32 pe, const char *name) {
  df_builder *b = t->b;
  u32 thread = 1;
  df_build_class(b, name);
  u32 data = df_build_array(b, "data", DF_F32, (u32)t->words), got = df_build_array(b, "got", DF_F32, (u32)t->words);
  df_build_task(b, "main");
  df_build_start_active(b);
  for (u32 i = 0; i < SLOTS; i++) {
    char vector[DF_NAME_MAX];
    if (t->out[pe][i] != NONE) {
      snprintf(vector, sizeof vector, "out%u", i);
      u32 v = df_build_out(b, vector, DF_F32, df_just(t->words), (u32)t->out[pe][i], i);
      df_build_op(b, df_on(t->slow ? df_vvv(DF_MUL, v, data, data) : df_vv(DF_MOV, v, data), thread++));
    }
    if (t->in[pe][i] != NONE) {
      snprintf(vector, sizeof vector, "in%u", i);
      u32 v = df_build_in(b, vector, DF_F32, df_just(t->words), (u32)t->in[pe][i], i);
      df_build_op(b, df_on(df_vv(DF_MOV, got, v), thread++));
    }
  }
}

static void mover(traffic *t, u32 pe) {
  char name[2 * SLOTS + 2] = "p";
  bool any = false;
  for (u32 i = 0; i < SLOTS; i++) {
    name[1 + i] = t->out[pe][i] == NONE ? '_' : (char)('a' + t->out[pe][i]);
    name[1 + SLOTS + i] = t->in[pe][i] == NONE ? '_' : (char)('a' + t->in[pe][i]);
    any |= t->out[pe][i] != NONE || t->in[pe][i] != NONE;
  }
  if (!any) return;
  if (df_build_find_class(t->b, name) == UINT32_MAX) code(t, pe, name);
  df_build_region(t->b, df_pe(pe % t->k, pe / t->k), name);
}

static const struct {
  const char *name;
  void (*make)(traffic *t);
  i32 longer; // streams, so that a run takes long enough to be timed
} patterns[] = {{"rows", rows, 10},          {"columns", columns, 10},        {"neighbours", neighbours, 1},
                {"transpose", transpose, 1}, {"permutation", permutation, 1}, {"mixed", mixed, 1}};
_Static_assert(COUNT_OF(patterns) == STREAMS_PATTERNS, "each has its row");

const char *streams_name(u32 pattern) {
  require(pattern < STREAMS_PATTERNS);
  return patterns[pattern].name;
}

i32 streams_words(u32 pattern) {
  return WORDS * patterns[pattern].longer;
}

dataflow streams_build(u32 k, u32 pattern, i32 words, arena *a) {
  traffic t = {.b = df_build_begin(a, "noc", k, k), .memory = a, .k = k, .words = words};
  size_t pes = (size_t)k * k;
  t.taken = arena_take(a, pes * sizeof *t.taken);
  t.out = arena_take(a, pes * sizeof *t.out);
  t.in = arena_take(a, pes * sizeof *t.in);
  memset(t.out, 0xff, pes * sizeof *t.out);
  memset(t.in, 0xff, pes * sizeof *t.in);
  patterns[pattern].make(&t);
  for (u32 pe = 0; pe < pes; pe++) mover(&t, pe);
  dataflow d;
  df_build_finish(t.b, &d);
  return d;
}
