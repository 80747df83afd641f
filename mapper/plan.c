// Choosing a plan: what fits is found by measuring memory, what is fastest by asking the engine.
#include "mapper/lower.h"
#include "mapper/pipeline.h"

#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROW(...) FIELD_ROW(plan_options, __VA_ARGS__)
static const field rows[] = {PLAN_FIELDS(ROW)};
const field_table plan_table = {"plan", "How the step is laid onto the wafer; 0 and auto let the mapper choose.", rows,
                                COUNT_OF(rows), sizeof(plan_options)};

const char *plan_policy_name(u32 policy) {
  static const char *const names[] = {"auto", "resident", "recompute", "offload"};
  require(policy < COUNT_OF(names));
  return names[policy];
}

const char *plan_kept_name(u32 kept) {
  static const char *const names[] = {"auto", "input", "middle", "attention", "qkv", "all"};
  require(kept < COUNT_OF(names));
  return names[kept];
}

// How far a search goes. The usual one tries what is mostly best; the other all that differ.
typedef struct reach {
  u32 more_microbatches, replicas_max, replicas_fine; // replicas one by one up to replicas_fine
} reach;
static const reach usual = {3, 64, 7}, wide = {6, 96, 16};
enum { CHOICES_MAX = 64, AHEAD_MAX = 3 };
enum { HOPELESS = 2 }; // times the best: more replicas send more weights, and it only gets worse

typedef struct choice {
  schedule_choice what;
  schedule order;
} choice;

typedef struct search {
  const plan_request *r;
  const reach *reach;
  arena *memory;
  tile_area area;
  choice choices[CHOICES_MAX];
  u32 choice_count;
  choice *at; // the one being tried
  u32 code_bytes;
  u32 share; // sequences per system and step
  plan best;
  bool found;
  status *st;           // what the engine refused
  plan_memory tightest; // of the attempt that came nearest to fitting
  u32 tightest_policy;
} search;

static void fill_memory(search *s, plan *p) {
  schedule *order = &s->at->order;
  schedule_measure(s->r->graph, &p->tiles, p->axpy, s->memory, order);
  const graph *g = s->r->graph;
  const schedule_step *peak = &order->steps[order->peak];
  plan_memory *m = &p->memory;
  *m = (plan_memory){.code_bytes = s->code_bytes, .limit_bytes = s->r->machine->spec.sram_bytes};
  m->buffer_bytes = peak->kind == STEP_NODE ? schedule_buffer_bytes(g, &p->tiles, p->axpy, peak->node) : 0;
  m->activation_bytes = order->peak_bytes - m->buffer_bytes;
  m->total_bytes = m->code_bytes + order->peak_bytes;
  const char *name = peak->kind == STEP_NODE ? g->nodes[peak->node].name : g->tensors[peak->tensor].name;
  snprintf(m->peak_node, sizeof m->peak_node, "%s", name);
}

// Does a microbatch fit with this choice and number of replicas? Fills the plan's geometry and memory.
static bool fits(search *s, plan *p, u32 replicas, u32 microbatch) {
  p->policy = s->at->what.policy;
  p->kept = s->at->what.kept;
  p->kept_blocks = s->at->what.kept_blocks;
  p->ahead = s->at->what.ahead;
  p->microbatch = microbatch;
  p->memory = (plan_memory){0};
  if (!tiles_choose(s->r->graph, s->area, replicas, microbatch, &p->tiles)) return false;
  fill_memory(s, p);
  return p->memory.total_bytes <= p->memory.limit_bytes;
}

// The same for what was asked for, not for how far one could go: remembers what came nearest.
static bool attempt(search *s, plan *p, u32 replicas, u32 microbatch) {
  if (fits(s, p, replicas, microbatch)) return true;
  if (!p->memory.total_bytes) return false; // no geometry
  if (!s->tightest.total_bytes || p->memory.total_bytes < s->tightest.total_bytes) {
    s->tightest = p->memory;
    s->tightest_policy = p->policy;
  }
  return false;
}

// Largest multiple of `replicas` sequences that fits; memory grows with the slots of a group.
static u32 capacity(search *s, plan *p, u32 replicas) {
  if (!attempt(s, p, replicas, replicas)) return 0;
  u32 low = 1, high = 2;
  while (fits(s, p, replicas, high * replicas)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    u32 middle = low + (high - low) / 2;
    if (fits(s, p, replicas, middle * replicas))
      low = middle;
    else
      high = middle;
  }
  return low * replicas;
}

static void note_trial(plan_trials *t, const plan *p, const engine_result *result) {
  if (!t) return;
  if (t->count == t->room) {
    u32 room = t->room ? 2 * t->room : 256;
    plan_trial *list = arena_array(t->memory, plan_trial, room);
    if (t->count) memcpy(list, t->list, t->count * sizeof *list);
    t->list = list;
    t->room = room;
  }
  plan_trial *trial = &t->list[t->count++];
  *trial = (plan_trial){.policy = p->policy,
                        .kept = p->kept,
                        .kept_blocks = p->kept_blocks,
                        .ahead = p->ahead,
                        .replicas = p->tiles.replicas,
                        .microbatch = p->microbatch,
                        .microbatches = p->microbatches,
                        .total_bytes = p->memory.total_bytes,
                        .transposed = p->tiles.transposed,
                        .interleaved = p->tiles.interleaved,
                        .cycles = result->cycles};
  memcpy(trial->by_resource, result->by_resource, sizeof trial->by_resource);
}

static double try_plan(search *s, plan candidate) {
  arena_mark mark = arena_save(s->memory);
  program lowered;
  engine_result result = {0};
  lower_program(&candidate, s->r->graph, s->r->machine, &s->at->order, s->memory, &lowered);
  bool ok = s->r->engine->run(&lowered, s->r->machine, s->memory, &result, s->st);
  candidate.estimate_cycles = result.cycles;
  arena_rewind(s->memory, mark);
  if (!ok) return INFINITY; // it fits the memory, but not the machine's colors
  note_trial(s->r->trials, &candidate, &result);
  if (s->found && s->best.estimate_cycles <= candidate.estimate_cycles) return candidate.estimate_cycles;
  u32 largest = s->best.largest_microbatch;
  char limit[sizeof s->best.limit];
  memcpy(limit, s->best.limit, sizeof limit);
  s->best = candidate;
  s->best.largest_microbatch = largest;
  memcpy(s->best.limit, limit, sizeof limit);
  s->found = true;
  return candidate.estimate_cycles;
}

// The stated microbatch, or a few counts of equal microbatches from the fewest that fit upwards; the time of
// the fastest.
static double try_counts(search *s, plan p, u32 replicas, u32 most) {
  u32 stated = s->r->options->microbatch;
  u32 fewest = stated ? tiles_ceil(s->share, stated) : tiles_ceil(s->share, most);
  u32 last_size = 0;
  double fastest = INFINITY;
  for (u32 n = fewest; n <= fewest + (stated ? 0 : s->reach->more_microbatches) && n <= s->share; n++) {
    u32 size = stated ? stated : tiles_ceil(s->share, n);
    if (size == last_size) continue;
    last_size = size;
    p.microbatches = tiles_ceil(s->share, size);
    if (attempt(s, &p, replicas, size)) fastest = fmin(fastest, try_plan(s, p));
  }
  return fastest;
}

static void note_largest(search *s, plan p, u32 replicas, u32 most) {
  if (most <= s->best.largest_microbatch) return;
  s->best.largest_microbatch = most;
  fits(s, &p, replicas, most + replicas);
  snprintf(s->best.limit, sizeof s->best.limit,
           "SRAM: %u sequences would take %u of %u bytes in the fullest PE, at %s (%s, %u replicas)", most + replicas,
           p.memory.total_bytes, p.memory.limit_bytes, p.memory.peak_node, plan_policy_name(p.policy), replicas);
}

static void search_replicas(search *s, plan p) {
  u32 stated = s->r->options->replicas;
  u32 most_replicas = stated ? stated : s->reach->replicas_max;
  u32 step = 1;
  for (u32 g = stated ? stated : 1; g <= most_replicas; g += step) {
    if (g > s->area.width || (!stated && g > s->share)) break;
    if (g > s->reach->replicas_fine) step = g / 8 * 2; // finer steps change little up there
    u32 most = capacity(s, &p, g);
    if (!most) continue;
    note_largest(s, p, g, most);
    double fastest = try_counts(s, p, g, most);
    if (s->found && fastest > HOPELESS * s->best.estimate_cycles && g >= s->reach->replicas_fine) break;
  }
}

// Obeys what is stated; a choice that makes no difference is left out.
static void add_choice(search *s, schedule_choice c) {
  const plan_options *o = s->r->options;
  bool moves = c.policy == POLICY_OFFLOAD, keeps = c.policy != POLICY_RESIDENT;
  if (o->activations != POLICY_AUTO && o->activations != c.policy) return;
  if (keeps && o->kept != KEPT_AUTO && o->kept != c.kept) return;
  if (!schedule_keeps_more(s->r->graph, c.kept) && o->kept != c.kept) return;
  if (o->kept_blocks && keeps) c.kept_blocks = o->kept_blocks < c.kept_blocks ? o->kept_blocks : c.kept_blocks;
  if (o->ahead) c.ahead = o->ahead;
  if (!moves) c.ahead = 1;
  for (u32 i = 0; i < s->choice_count; i++)
    if (memcmp(&s->choices[i].what, &c, sizeof c) == 0) return;
  require(s->choice_count < CHOICES_MAX);
  choice *added = &s->choices[s->choice_count++];
  added->what = c;
  schedule_build(s->r->graph, c, s->memory, &added->order);
}

static void add_choices(search *s, u32 ahead) {
  const plan_options *o = s->r->options;
  u32 most = o->search || o->kept != KEPT_AUTO ? KEPT_ALL : KEPT_MIDDLE, blocks = s->r->graph->model.layers;
  // what is stated as kept is said of a plan that keeps everything, too
  add_choice(s, (schedule_choice){POLICY_RESIDENT, o->kept == KEPT_AUTO ? KEPT_INPUT : o->kept, blocks, 1});
  for (u32 policy = POLICY_RECOMPUTE; policy <= POLICY_OFFLOAD; policy++)
    for (u32 kept = KEPT_INPUT; kept <= most; kept++)
      for (u32 i = 1; i <= ahead; i++) add_choice(s, (schedule_choice){policy, kept, blocks, i});
}

// Near the best so far: some blocks keep one level more, more is on its way.
static void add_choices_near(search *s, schedule_choice best) {
  enum { PARTS = 4 };
  u32 blocks = s->r->graph->model.layers;
  u32 most = best.kept < KEPT_ALL ? best.kept + 1 : best.kept;
  for (u32 kept = best.kept; kept <= most && best.policy != POLICY_RESIDENT; kept++)
    for (u32 part = 1; part <= PARTS; part++)
      for (u32 ahead = 1; ahead <= AHEAD_MAX; ahead++) {
        u32 some = tiles_ceil(blocks * part, PARTS);
        add_choice(s, (schedule_choice){best.policy, kept, some, ahead});
      }
}

// Every choice on one grid and order of tokens.
static void search_area(search *s, u32 grid, u32 tokens) {
  const plan_options *o = s->r->options;
  if (o->grid != GRID_AUTO) grid = o->grid;
  if (o->tokens != TOKENS_AUTO) tokens = o->tokens;
  s->area = tiles_area(s->r->machine, o, grid == GRID_TRANSPOSED, tokens == TOKENS_INTERLEAVED);
  for (u32 i = 0; i < s->choice_count; i++) {
    s->at = &s->choices[i];
    plan p = {.options = *o, .batch = s->r->batch, .systems = s->r->systems, .axpy = o->axpy};
    search_replicas(s, p);
  }
}

// First all that differs much, coarsely; then finely around the best. The first part is, among others, what is
// tried without a search, so that a search never loses.
static void search_all(search *s) {
  const plan_options *o = s->r->options;
  add_choices(s, o->search ? 2 : 1);
  search_area(s, GRID_PLAIN, TOKENS_INTERLEAVED);
  if (!o->search) return;
  if (o->grid == GRID_AUTO) search_area(s, GRID_TRANSPOSED, TOKENS_INTERLEAVED);
  if (!s->found) return;
  plan best = s->best;
  s->reach = &wide;
  s->choice_count = 0;
  add_choices_near(s, (schedule_choice){best.policy, best.kept, best.kept_blocks, best.ahead});
  u32 grid = best.tiles.transposed ? GRID_TRANSPOSED : GRID_PLAIN;
  search_area(s, grid, TOKENS_INTERLEAVED);
  s->choice_count = 0;
  add_choice(s, (schedule_choice){s->best.policy, s->best.kept, s->best.kept_blocks, s->best.ahead});
  if (o->tokens == TOKENS_AUTO) search_area(s, grid, TOKENS_CONTIGUOUS);
}

// The code does not depend on the geometry: any lowering tells its size.
static u32 measure_code(search *s) {
  arena_mark mark = arena_save(s->memory);
  plan p = {.microbatch = 1, .microbatches = 1, .policy = POLICY_RECOMPUTE, .kept = KEPT_INPUT, .systems = 1};
  p.kept_blocks = s->r->graph->model.layers;
  p.axpy = s->r->options->axpy;
  bool ok = tiles_choose(s->r->graph, s->area, 1, 1, &p.tiles);
  require(ok);
  program lowered;
  schedule order;
  schedule_build(s->r->graph, (schedule_choice){p.policy, p.kept, p.kept_blocks, 1}, s->memory, &order);
  lower_program(&p, s->r->graph, s->r->machine, &order, s->memory, &lowered);
  arena_rewind(s->memory, mark);
  return lowered.code_bytes;
}

static bool fail_to_fit(const search *s, status *st) {
  const plan_options *o = s->r->options;
  const plan_memory *m = &s->tightest;
  char stated[64] = "one sequence";
  if (o->microbatch) snprintf(stated, sizeof stated, "plan.microbatch = %u", o->microbatch);
  if (!m->total_bytes)
    return status_fail(st, CODE_CONFIG,
                       "plan: plan.replicas = %u leaves a replica without a column or a sequence: there are %u columns "
                       "and %u sequences at once at most; lower plan.replicas",
                       o->replicas, s->area.width, o->microbatch ? o->microbatch : s->share);
  char larger[96] = "shorten train.seq, narrow the model or take a larger machine";
  if (o->microbatch && s->best.largest_microbatch)
    snprintf(larger, sizeof larger, "the largest that fits is %u", s->best.largest_microbatch);
  return status_fail(st, CODE_CONFIG,
                     "plan: %s of %u tokens does not fit the SRAM: %u bytes in the fullest PE at %s (activations %s), "
                     "%u more than its %u; %s",
                     stated, s->r->graph->seq, m->total_bytes, m->peak_node, plan_policy_name(s->tightest_policy),
                     m->total_bytes - m->limit_bytes, m->limit_bytes, larger);
}

// A rectangle beyond the machine's would have to be cut down, and nothing rewrites what was stated.
static bool check_stated(const plan_request *r, status *st) {
  const machine_spec *m = &r->machine->spec;
  if (r->options->width <= m->usable_width && r->options->height <= m->usable_height) return true;
  return status_fail(
      st, CODE_CONFIG,
      "plan: %u x %u is larger than the machine's usable rectangle of %u x %u; state less, or 0 for all of it",
      r->options->width ? r->options->width : m->usable_width,
      r->options->height ? r->options->height : m->usable_height, m->usable_width, m->usable_height);
}

// The pipeline's rate follows from its kernels; the engine adds fill, drain and the update.
static bool build_pipelined(const plan_request *r, arena *a, plan *ret_plan, status *st) {
  plan p = {.options = *r->options, .batch = r->batch, .systems = r->systems, .axpy = r->options->axpy};
  if (!pipeline_build(r, a, &p, st) || !plan_check(&p, r->graph, r->machine, st)) return false;
  arena_mark mark = arena_save(a);
  program lowered;
  engine_result result;
  bool ok =
      plan_lower(&p, r->graph, r->machine, a, &lowered, st) && r->engine->run(&lowered, r->machine, a, &result, st);
  if (ok) p.estimate_cycles = result.cycles;
  arena_rewind(a, mark);
  if (ok) *ret_plan = p;
  return ok;
}

bool plan_build(const plan_request *r, arena *a, plan *ret_plan, status *st) {
  if (!check_stated(r, st)) return false;
  if (r->options->mode == PLAN_PIPELINED) return build_pipelined(r, a, ret_plan, st);
  arena_mark mark = arena_save(a);
  search s = {.r = r,
              .reach = &usual,
              .memory = a,
              .st = st,
              .area = tiles_area(r->machine, r->options, r->options->grid == GRID_TRANSPOSED, false),
              .share = tiles_ceil(r->batch, r->systems)};
  s.code_bytes = measure_code(&s);
  search_all(&s);
  arena_rewind(a, mark);
  if (!status_ok(st)) return false;
  if (!s.found) return fail_to_fit(&s, st);
  if (!plan_check(&s.best, r->graph, r->machine, st)) return false;
  *ret_plan = s.best;
  return true;
}

u64 plan_hash(const plan *p) {
  u64 h = hash_text(HASH_START, "plan");
  const plan_tiles *t = &p->tiles;
  const u32 words[] = {p->batch,       p->systems,      p->microbatch, p->microbatches, p->policy,
                       p->kept,        p->kept_blocks,  p->ahead,      p->axpy,         t->replicas,
                       t->group_width, t->seq_rows,     t->row_seqs,   t->slots,        t->rows,
                       t->tokens_max,  t->features_max, t->hidden_max, t->head_pes,     t->heads_aligned,
                       t->interleaved, t->transposed};
  for (u32 i = 0; i < COUNT_OF(words); i++) h = hash_u64(h, words[i]);
  if (p->options.density < 1) { // a dense plan's identity does not know of it
    u64 bits;
    memcpy(&bits, &p->options.density, sizeof bits);
    h = hash_u64(h, bits);
  }
  for (u32 i = 0; i < p->pipeline.count; i++) {
    const plan_kernel *k = &p->pipeline.kernels[i];
    const u32 place[] = {k->node, k->x, k->y, k->width, k->height, k->flight, p->pipeline.tile};
    for (u32 n = 0; n < COUNT_OF(place); n++) h = hash_u64(h, place[n]);
  }
  return h;
}

void plan_print(const plan *p, const graph *g, text *out) {
  if (p->options.mode == PLAN_PIPELINED) {
    pipeline_print(p, g, out);
    text_format(out, "  estimate     %.6g cycles a step\n", p->estimate_cycles);
    return;
  }
  const plan_tiles *t = &p->tiles;
  const plan_memory *m = &p->memory;
  text_format(out, "plan: weight streaming on %u system%s\n", p->systems, p->systems == 1 ? "" : "s");
  text_format(out, "  batch        %u sequences a step: %u microbatch%s of %u on each system\n", p->batch,
              p->microbatches, p->microbatches == 1 ? "" : "es", p->microbatch);
  if (t->transposed) text_add(out, "  grid         transposed: what follows calls the machine's rows columns\n");
  text_format(out, "  columns      %u replica%s x %u columns; up to %u features and %u hidden features a PE\n",
              t->replicas, t->replicas == 1 ? "" : "s", t->group_width, t->features_max, t->hidden_max);
  if (t->head_pes)
    text_format(out, "  heads        one spans %u columns%s\n", t->head_pes,
                t->heads_aligned ? "" : ", some PEs hold parts of two");
  else
    text_add(out, "  heads        whole heads in a column\n");
  if (t->row_seqs > 1)
    text_format(out, "  rows         %u used, %u whole sequences in each\n", t->rows, t->row_seqs);
  else
    text_format(out, "  rows         %u used: %u sequences below each other, %u rows each, up to %u tokens a row%s\n",
                t->rows, t->slots, t->seq_rows, t->tokens_max, t->interleaved ? ", interleaved" : "");
  text_format(out, "  activations  %s", plan_policy_name(p->policy));
  if (p->policy != POLICY_RESIDENT)
    text_format(out, ", kept: %s in %u blocks%s", plan_kept_name(p->kept), p->kept_blocks,
                p->ahead > 1 ? ", fetched early" : "");
  text_add(out, "\n");
  if (p->options.density < 1) text_format(out, "  density      %g of the blocks' weights\n", p->options.density);
  text_format(out, "  memory       %u of %u bytes in the fullest PE: code %u, activations %u, buffers %u; peak at %s\n",
              m->total_bytes, m->limit_bytes, m->code_bytes, m->activation_bytes, m->buffer_bytes, m->peak_node);
  text_format(out, "  largest      microbatch %u; beyond it %s\n", p->largest_microbatch, p->limit);
  text_format(out, "  estimate     %.6g cycles a step\n", p->estimate_cycles);
}
