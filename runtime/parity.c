// Cases of parity, and a step of each by both engines.
#include "runtime/parity.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- cases

// clang-format off
static const parity_case stated[] = {
    // grid  features, heads, vocabulary, tokens, sequences
    {8, 8,   64, 4, 64, 8, 8, "fp16"},
    {6, 5,   40, 4, 61, 7, 9, "fp16"}, // remainders along both axes
    {7, 3,   24, 3, 50, 5, 4, "fp16"},
    {4, 4,   16, 2, 32, 16, 1, "fp16"}, // one sequence over all rows
    {1, 1,   8, 1, 16, 4, 1, "fp16"},
    {2, 1,   8, 2, 16, 4, 2, "fp16"},
    {3, 2,   12, 2, 16, 3, 2, "fp16"},
    {8, 8,   64, 4, 64, 8, 8, "fp32"},
    {6, 5,   40, 4, 61, 7, 9, "fp32"},
    {4, 4,   16, 2, 32, 16, 1, "fp32"},
    {3, 2,   12, 2, 16, 3, 2, "fp32"},
};
static const parity_case larger[] = {
    {16, 16, 64, 4, 64, 8, 16, "fp16"},
    {32, 32, 64, 4, 64, 32, 8, "fp16"},
    {64, 64, 64, 4, 64, 8, 64, "fp16"},
    {16, 16, 64, 4, 64, 8, 16, "fp32"},
};
// clang-format on
enum { DRAWN = 6, SEED = 1, WORDS = 24 };

static u32 draw(u32 which, u32 what, u32 low, u32 high) {
  return low + (u32)random_below(SEED, RANDOM_TEST, which, what, high - low + 1);
}

static parity_case drawn_case(u32 i) {
  const u32 heads = draw(i, 0, 1, 4);
  return (parity_case){.width = draw(i, 1, 2, 12),
                       .height = draw(i, 2, 2, 12),
                       .features = heads * 2 * draw(i, 3, 2, 8),
                       .heads = heads,
                       .vocab = draw(i, 4, 16, 80),
                       .seq = draw(i, 5, 4, 16),
                       .batch = draw(i, 6, 1, 12),
                       .precision = i % 2 ? "fp32" : "fp16"};
}

// ---- a case by an engine

typedef struct words {
  run_assignment sets[WORDS];
  u32 count;
  arena *memory;
} words;

static void state(words *w, const char *key, const char *value) {
  require(w->count < WORDS);
  w->sets[w->count++] = (run_assignment){.key = key, .value = value, .where = "parity"};
}

static void state_number(words *w, const char *key, u32 value) {
  state(w, key, arena_format(w->memory, "%u", value));
}

// like: the other engine's step, if it has been.
static bool run_engine(const parity_case *c, const char *name, const step_sim *like, arena *a, step_sim *ret_sim,
                       status *st) {
  words w = {.memory = a};
  state(&w, "machine", "cs3");
  state(&w, "engine.name", name);
  state(&w, "model.layers", "1");
  state_number(&w, "model.width", c->features);
  state_number(&w, "model.heads", c->heads);
  state_number(&w, "model.vocab", c->vocab);
  state_number(&w, "train.seq", c->seq);
  state_number(&w, "train.batch", c->batch);
  state(&w, "train.precision", c->precision);
  state_number(&w, "plan.width", c->width);
  state_number(&w, "plan.height", like ? like->plan.tiles.rows : c->height);
  state(&w, "plan.axpy", c->precision);
  state(&w, "plan.activations", "resident");
  state(&w, "plan.grid", "plain");
  state(&w, "plan.tokens", "contiguous");
  state(&w, "plan.replicas", "1");
  if (like) state_number(&w, "plan.microbatch", like->plan.microbatch);
  run_spec *r = arena_array(a, run_spec, 1);
  return run_spec_load(r, NULL, w.sets, w.count, a, st) && step_sim_run(r, false, a, ret_sim, st);
}

static u32 find_phase(const program *p, const char *origin) {
  for (u32 i = 0; i < p->phase_count; i++)
    if (strcmp(p->phases[i].origin, origin) == 0) return i;
  return UINT32_MAX;
}

static double phase_cycles(const step_sim *s, u32 phase) {
  const double change = ceil(s->machine.spec.route_switch_cycles), repeat = s->plan.microbatches;
  return s->result.by_phase[phase] / repeat - change;
}

static u32 op_of(const graph *g, const char *node) {
  for (u32 n = 0; n < g->backward_end; n++)
    if (strcmp(g->nodes[n].name, node) == 0) return g->nodes[n].op;
  bug_fail(__FILE__, __LINE__, "a phase of no node");
}

typedef struct rows {
  parity_row *rows;
  u32 count, room;
} rows;

// Flow has the rows that the fabric uses: weaving divides a sequence over rows in equal parts only.
static bool run_case(const parity_case *c, arena *a, rows *all, status *st) {
  step_sim *fabric = arena_array(a, step_sim, 1), *flow = arena_array(a, step_sim, 1);
  if (!run_engine(c, "fabric", NULL, a, fabric, st) || !run_engine(c, "flow", fabric, a, flow, st)) return false;
  for (u32 i = 0; i < fabric->program.phase_count; i++) {
    const char *node = fabric->program.phases[i].origin;
    const u32 twin = find_phase(&flow->program, node);
    if (twin == UINT32_MAX) return status_fail(st, CODE_BUG, "parity: flow has no phase %s", node);
    require(all->count < all->room);
    parity_row *r = &all->rows[all->count++];
    *r = (parity_row){.of = *c,
                      .node = node,
                      .op = op_of(&fabric->graph, node),
                      .fabric = phase_cycles(fabric, i),
                      .flow = phase_cycles(flow, twin),
                      .fabric_counts = fabric->result.phase_counts[i],
                      .flow_counts = flow->result.phase_counts[twin]};
    r->error = r->flow / r->fabric - 1;
  }
  return true;
}

bool parity_run(bool few, arena *a, parity *ret_parity, status *st) {
  enum { CASES_MAX = COUNT_OF(stated) + COUNT_OF(larger) + DRAWN, NODES_MAX = 64 };
  rows all = {.rows = arena_array(a, parity_row, CASES_MAX * NODES_MAX), .room = CASES_MAX * NODES_MAX};
  for (u32 i = 0; i < COUNT_OF(stated); i++)
    if (!run_case(&stated[i], a, &all, st)) return false;
  for (u32 i = 0; i < DRAWN; i++) {
    const parity_case c = drawn_case(i);
    if (!run_case(&c, a, &all, st)) return false;
  }
  for (u32 i = 0; i < COUNT_OF(larger) && !few; i++)
    if (!run_case(&larger[i], a, &all, st)) return false;
  *ret_parity = (parity){all.rows, all.count};
  return true;
}

// ---- what comes of it

const char *parity_count_name(parity_count c) {
  static const char *const names[] = {"MACs", "wavelets", "hops", "SRAM bytes", "tasks"};
  require((u32)c < PARITY_COUNTS);
  return names[c];
}

u64 parity_count_of(const sim_counts *n, parity_count c) {
  const u64 values[] = {n->macs, n->wavelets, n->hops, n->sram_read_bytes + n->sram_write_bytes, n->tasks};
  require((u32)c < PARITY_COUNTS);
  return values[c];
}

static int by_size(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

parity_summary parity_summarize(const parity *p, u32 op, const char *precision, arena *a) {
  parity_summary s = {0};
  double *errors = arena_array(a, double, p->count);
  for (u32 i = 0; i < p->count; i++) {
    const parity_row *r = &p->rows[i];
    if (r->op != op || strcmp(r->of.precision, precision) != 0) continue;
    errors[s.rows++] = fabs(r->error);
    if (!s.worst || fabs(r->error) > fabs(s.worst->error)) s.worst = r;
    for (u32 k = 0; k < PARITY_COUNTS; k++)
      s.equal[k] +=
          parity_count_of(&r->fabric_counts, (parity_count)k) == parity_count_of(&r->flow_counts, (parity_count)k);
  }
  if (!s.rows) return s;
  qsort(errors, s.rows, sizeof *errors, by_size);
  s.median = (errors[(s.rows - 1) / 2] + errors[s.rows / 2]) / 2;
  return s;
}
