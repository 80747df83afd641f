// The programs that plans become: whatever the geometry, what a program counts is what the graph asks for.
#include "tests/sim_support.h"

#include "model/graph/graph_count.h"
#include "sim/flow/flow.h"

#include <string.h>

static const graph_node *node_of(const graph *g, const char *origin) {
  for (u32 n = 0; n < g->node_count; n++)
    if (strcmp(g->nodes[n].name, origin) == 0) return &g->nodes[n];
  fail_msg("no node %s", origin);
  return NULL;
}

// Elements of an opcode over all PEs of a phase.
static u64 elements_of(const program *p, const program_phase *ph, u32 which) {
  u64 sum = 0;
  for (u32 c = ph->first_class; c < ph->first_class + ph->class_count; c++)
    for (u32 i = p->classes[c].first_op; i < p->classes[c].first_op + p->classes[c].op_count; i++)
      if (p->ops[i].opcode == which) sum += p->ops[i].elements * p->classes[c].pes;
  return sum;
}

// Multiply-adds of matrix products: AXPYs in either precision and dots.
static u64 products(const program *p, const program_phase *ph) {
  return elements_of(p, ph, OPCODE_AXPY16) + elements_of(p, ph, OPCODE_AXPY32) + elements_of(p, ph, OPCODE_DOT16);
}

// Twice the keys that a token sees on average.
static u64 twice_seen(const graph *g) {
  return g->model.attention == ATTENTION_CAUSAL ? g->seq + 1ull : 2ull * g->seq;
}

// Multiply-adds that a node asks for over a microbatch; a bias is added, its gradient multiplied with ones.
static u64 asked(const graph *g, const graph_node *n, u64 tokens) {
  const graph_tensor *t = g->tensors;
  switch (n->op) {
  case OP_LINEAR:
  case OP_LINEAR_GRAD_X:
    return tokens * t[n->in[1]].rows * t[n->in[1]].cols;
  case OP_LINEAR_GRAD_W:
    return tokens * ((u64)t[n->out[0]].rows * t[n->out[0]].cols + (n->out[1] != GRAPH_NONE ? t[n->in[0]].cols : 0));
  case OP_LOSS_GRAD:
    return tokens * g->model.vocab * g->model.width; // logits a second time
  case OP_ATTENTION:
    return tokens * twice_seen(g) / 2 * 2 * g->model.width;
  case OP_ATTENTION_GRAD:
    return tokens * twice_seen(g) / 2 * 5 * g->model.width; // dV, dP, dQ, dK and the scores again
  default:
    return 0;
  }
}

static bool sums_products(u32 op) {
  return op == OP_LINEAR || op == OP_LINEAR_GRAD_X || op == OP_LINEAR_GRAD_W || op == OP_LOSS_GRAD ||
         op == OP_ATTENTION || op == OP_ATTENTION_GRAD;
}

static void multiplies_what_is_asked(built *b) {
  program p = sim_lower(b);
  u64 tokens = (u64)b->plan.microbatch * b->graph.seq;
  for (u32 i = 0; i < p.phase_count; i++) {
    const graph_node *n = node_of(&b->graph, p.phases[i].origin);
    if (!sums_products(n->op)) continue;
    u64 done = products(&p, &p.phases[i]);
    if (done != asked(&b->graph, n, tokens))
      fail_msg("%s: %llu multiply-adds, asked for %llu", n->name, (unsigned long long)done,
               (unsigned long long)asked(&b->graph, n, tokens));
  }
}

static void programs_multiply_what_the_graph_asks(void **state) {
  (void)state;
  sim_every_case(multiplies_what_is_asked);
}

// Each node runs once; forward nodes once more where backward rebuilds them.
static void runs_every_node(built *b) {
  program p = sim_lower(b);
  const graph *g = &b->graph;
  u32 again = 0;
  for (u32 n = 0; n < g->backward_end; n++) {
    u32 times = 0;
    for (u32 i = 0; i < p.phase_count; i++) times += strcmp(p.phases[i].origin, g->nodes[n].name) == 0;
    bool may_repeat = b->plan.policy != POLICY_RESIDENT && n < g->forward_end && g->nodes[n].layer != GRAPH_NONE;
    assert_true(times == 1 || (may_repeat && times == 2));
    again += times == 2;
  }
  // all of a block but its last product and residual, whose results nobody's gradient reads; of both branches where
  // they do not follow each other; and the product and residual that make the middle where that is kept
  u32 forward = 0, spared = g->model.block == BLOCK_PARALLEL ? 4 : b->plan.kept == KEPT_MIDDLE ? 4 : 2;
  for (u32 n = 0; n < g->forward_end; n++) forward += g->nodes[n].layer == 0;
  assert_int_equal(again, b->plan.policy == POLICY_RESIDENT ? 0 : g->model.layers * (forward - spared));
  assert_int_equal(p.group_count, 1);
  assert_true(p.groups[0].repeat == b->plan.microbatches);
}

static void programs_run_every_node(void **state) {
  (void)state;
  for (u32 i = 0; i < sim_case_count; i++) {
    if (strcmp(sim_cases[i].machine, "mesh16") != 0) continue;
    built b = sim_build(&sim_cases[i]);
    runs_every_node(&b);
    arena_destroy(b.memory);
  }
}

// The sums over a step are the published accountings of FLOPs.
static void totals_are_the_published_accounting(void **state) {
  (void)state;
  static const plan_case c[] = {
      {"cs2", NULL, "layers=4 width=768 heads=12 vocab=50257 bias=false", 1024, 64, 1, "activations=resident"},
      {"mesh16", NULL, "layers=3 width=42 heads=7 vocab=101 mlp=2.5 bias=false", 13, 64, 1,
       "activations=resident microbatch=16"},
      {"mesh16", NULL, LLAMA, 13, 16, 1, "activations=resident"},
      {"mesh16", NULL, GPTJ "bias=false", 13, 16, 1, "activations=resident"},
      {"mesh16", NULL, BERT "bias=false", 13, 16, 1, "activations=resident"},
  };
  for (u32 k = 0; k < COUNT_OF(c); k++) {
    built b = sim_build(&c[k]);
    program p = sim_lower(&b);
    graph_counts n = graph_count(&b.graph);
    double linear = 0, attention = 0, tokens = (double)b.plan.microbatch * b.graph.seq;
    for (u32 i = 0; i < p.phase_count; i++) {
      u32 family = p.phases[i].family;
      double macs = (double)products(&p, &p.phases[i]);
      if (family == FAMILY_ATTENTION) attention += macs;
      if (family == FAMILY_LINEAR || family == FAMILY_GRAD_X || family == FAMILY_GRAD_W) linear += macs;
    }
    double square = 12.0 * b.graph.model.width * b.graph.seq * b.graph.model.layers; // of attention, a token's
    assert_true(linear == tokens * (n.flops_explicit - square) / 2);
    // attention over the keys that are seen; backward computes the scores once more: 7 products where 6 are counted
    sim_near(attention, tokens * (n.flops_causal - (n.flops_explicit - square)) / 2 * 7 / 6, 1e-12);
    arena_destroy(b.memory);
  }
}

static void updates_each_parameter_once(built *b) {
  program p = sim_lower(b);
  u64 updated = 0;
  for (u32 i = 0; i < p.phase_count; i++) updated += p.phases[i].update_params;
  assert_true(updated == graph_count(&b->graph).params);
}

static void every_parameter_is_updated_once(void **state) {
  (void)state;
  sim_every_case(updates_each_parameter_once);
}

// (query, key) pairs of attention times heads, per microbatch.
static u64 pairs_of(const built *b) {
  return b->plan.microbatch * (b->graph.seq * twice_seen(&b->graph) / 2) * b->graph.model.heads;
}

// Every score is exponentiated by one PE: what dividing over columns rounds up is the only excess.
static void exponentiates_each_score(built *b) {
  program p = sim_lower(b);
  u64 pairs = pairs_of(b), room = (u64)b->plan.tiles.rows * b->plan.tiles.replicas * b->plan.tiles.group_width * 2;
  u64 vocab = (u64)b->plan.microbatch * b->graph.seq * b->graph.model.vocab;
  for (u32 i = 0; i < p.phase_count; i++) {
    u64 done = elements_of(&p, &p.phases[i], OPCODE_EXP);
    if (p.phases[i].family == FAMILY_ATTENTION)
      assert_true(done >= pairs && done <= pairs + room);
    else if (p.phases[i].family == FAMILY_LOSS)
      assert_true(done == vocab);
    else
      assert_true(done == 0);
  }
}

static void every_score_is_exponentiated_once(void **state) {
  (void)state;
  sim_every_case(exponentiates_each_score);
}

// What a column sends of dy goes west and, but for the last column, east. All PEs of the row receive it, and those that
// sent it both ways once more.
static void dy_is_heard(const built *b, const program *p, const program_phase *ph, u64 values) {
  u64 width = b->plan.tiles.group_width, heard = elements_of(p, ph, OPCODE_RECV16);
  assert_true(heard >= values * width);
  u64 twice = heard - values * width;
  assert_true(twice <= values && (twice > 0) == (width > 1));
  assert_true(elements_of(p, ph, OPCODE_SEND16) == (width == 1 ? 0 : width == 2 ? values : values + twice));
}

// What chains along a row is passed on by every PE but the one that it ends at, and sent values are
// received by every other PE of the row.
static void sends_what_is_received(built *b) {
  program p = sim_lower(b);
  u64 tokens = (u64)b->plan.microbatch * b->graph.seq, others = b->plan.tiles.group_width - 1;
  for (u32 i = 0; i < p.phase_count; i++) {
    const program_phase *ph = &p.phases[i];
    const graph_node *n = node_of(&b->graph, ph->origin);
    u64 chained = elements_of(&p, ph, OPCODE_CHAIN32);
    u64 outputs = n->out[0] == GRAPH_NONE ? 0 : b->graph.tensors[n->out[0]].cols;
    if (n->op == OP_LINEAR || n->op == OP_LINEAR_GRAD_X || n->op == OP_LOSS_GRAD)
      assert_true(chained == outputs * others * tokens);
    if (n->op == OP_LINEAR_GRAD_W) dy_is_heard(b, &p, ph, b->graph.tensors[n->in[0]].cols * tokens);
    if (n->op == OP_LAYERNORM || n->op == OP_RMSNORM || n->op == OP_LOSS) {
      bool loss = n->op == OP_LOSS; // largest, exponentials and the targets' logits; a word a row goes down the end
      const plan_tiles *t = &b->plan.tiles;
      u64 sums = (n->op == OP_RMSNORM ? 1 : loss ? 3 : 2) * tokens, pes = 0;
      for (u32 c = ph->first_class; c < ph->first_class + ph->class_count; c++) pes += p.classes[c].pes;
      u64 targets = loss ? (u64)t->rows * t->tokens_max * pes : 0;
      assert_true(chained == sums * others + (loss ? pes / (others + 1) : 0));
      assert_true(elements_of(&p, ph, OPCODE_SEND32) == (others ? sums : 0));
      assert_true(elements_of(&p, ph, OPCODE_RECV32) == (others ? sums * (others + 1) : 0) + targets);
    }
  }
}

static void sums_and_broadcasts_conserve_wavelets(void **state) {
  (void)state;
  sim_every_case(sends_what_is_received);
}

// Each value of a gate has its sigmoid, each rotated feature a cosine or a sine that q and k share, both ways.
static void evaluates_functions(built *b) {
  program p = sim_lower(b);
  const model_spec *m = &b->graph.model;
  u64 tokens = (u64)b->plan.microbatch * b->graph.seq;
  for (u32 i = 0; i < p.phase_count; i++) {
    const graph_node *n = node_of(&b->graph, p.phases[i].origin);
    u64 done = elements_of(&p, &p.phases[i], OPCODE_TANH);
    if (n->op == OP_GATE || n->op == OP_GATE_GRAD) assert_true(done == tokens * model_hidden_width(m));
    if (n->op != OP_ROTARY && n->op != OP_ROTARY_GRAD) continue;
    u64 turned = tokens * m->heads * model_rotary_dims(m); // a column's share is rounded up
    assert_true(done >= turned && done < turned + tokens * b->plan.tiles.group_width);
    assert_true(elements_of(&p, &p.phases[i], OPCODE_FMA16) == 4 * done);
  }
}

static void gates_and_turns_have_their_functions(void **state) {
  (void)state;
  sim_every_case(evaluates_functions);
}

// Keys and values that leave a row arrive in another.
static void rotation_conserves(built *b) {
  if (b->plan.tiles.seq_rows == 1 || b->plan.tiles.head_pes > 1) return; // else probabilities use the same opcodes
  program p = sim_lower(b);
  for (u32 i = 0; i < p.phase_count; i++)
    if (p.phases[i].family == FAMILY_ATTENTION) {
      assert_true(elements_of(&p, &p.phases[i], OPCODE_SEND16) == elements_of(&p, &p.phases[i], OPCODE_RECV16));
      assert_true(elements_of(&p, &p.phases[i], OPCODE_SEND32) == elements_of(&p, &p.phases[i], OPCODE_RECV32));
    }
}

static void rotating_keys_arrive(void **state) {
  (void)state;
  const plan_case c = {"mesh16", NULL, "layers=2 width=48 heads=16 vocab=64", 64, 3, 1, "replicas=1"};
  built b = sim_build(&c);
  assert_true(b.plan.tiles.seq_rows > 1 && b.plan.tiles.head_pes == 1);
  rotation_conserves(&b);
  arena_destroy(b.memory);
  const plan_case both = {"mesh16", NULL, BERT "heads=42", 30, 3, 1, "replicas=1"};
  b = sim_build(&both);
  assert_true(b.plan.tiles.seq_rows > 2 && b.plan.tiles.head_pes <= 1);
  rotation_conserves(&b);
  arena_destroy(b.memory);
  sim_every_case(rotation_conserves);
}

// Each weight crosses the edge once per stream and replica, each gradient once per replica.
static void streams_are_the_parameters(built *b) {
  program p = sim_lower(b);
  const graph_tensor *t = b->graph.tensors;
  u64 replicas = b->plan.tiles.replicas;
  for (u32 i = 0; i < p.phase_count; i++) {
    const program_phase *ph = &p.phases[i];
    const graph_node *n = node_of(&b->graph, ph->origin);
    u64 weights = 0, gradients = 0;
    for (u32 k = 0; k < NODE_IN_MAX; k++)
      if (n->in[k] != GRAPH_NONE && t[n->in[k]].kind == TENSOR_PARAM)
        weights += (u64)t[n->in[k]].rows * t[n->in[k]].cols;
    for (u32 k = 0; k < NODE_OUT_MAX; k++)
      if (n->out[k] != GRAPH_NONE && t[n->out[k]].kind == TENSOR_PARAM_GRAD)
        gradients += (u64)t[n->out[k]].rows * t[n->out[k]].cols;
    if (n->op == OP_EMBED || n->op == OP_EMBED_GRAD || n->op == OP_LOSS || n->op == OP_LOSS_GRAD) continue; // tokens
    assert_true(ph->stream_in == weights * replicas);
    assert_true(ph->stream_out == gradients * replicas);
  }
}

static void weights_stream_once_per_replica(void **state) {
  (void)state;
  sim_every_case(streams_are_the_parameters);
}

// Offloaded block inputs leave and come back once, whole.
static void offloading_moves_each_input_twice(void **state) {
  (void)state;
  const plan_case c = {"mesh16", NULL, ODD, 13, 11, 1, "activations=offload kept=input microbatch=11"};
  built b = sim_build(&c);
  program p = sim_lower(&b);
  assert_int_equal(p.transfer_count, 2 * b.graph.model.layers);
  for (u32 i = 0; i < p.transfer_count; i++) {
    const program_transfer *t = &p.transfers[i];
    assert_true(t->wavelets == (11 * 13 * 42 + 1) / 2);
    assert_true(t->after < t->before && t->before < p.phase_count);
    const graph_node *reader = node_of(&b.graph, p.phases[t->before].origin);
    if (!t->out) assert_true(b.graph.tensors[reader->in[0]].layer != reader->layer && reader->layer != GRAPH_NONE);
  }
  u32 out = 0;
  for (u32 i = 0; i < p.transfer_count; i++) out += p.transfers[i].out;
  assert_int_equal(out, b.graph.model.layers);
  arena_destroy(b.memory);
}

// The classes of a phase are all PEs that hold tokens, never more than the rectangle.
static void classes_are_the_rectangle(built *b) {
  program p = sim_lower(b);
  u64 used = (u64)b->plan.microbatch * b->plan.tiles.seq_rows; // rows with tokens over all replicas
  if (b->plan.tiles.row_seqs > 1) used = (b->plan.microbatch - 1) / b->plan.tiles.row_seqs + 1;
  for (u32 i = 0; i < p.phase_count; i++) {
    u64 pes = 0;
    for (u32 c = 0; c < p.phases[i].class_count; c++) pes += p.classes[p.phases[i].first_class + c].pes;
    assert_true(pes == used * b->plan.tiles.group_width);
    assert_true(p.phases[i].sram_bytes + p.code_bytes <= b->plan.memory.total_bytes);
  }
  assert_int_equal(p.code_bytes, b->plan.memory.code_bytes);
}

static void classes_cover_the_rectangle(void **state) {
  (void)state;
  sim_every_case(classes_are_the_rectangle);
}

static void the_fullest_phase_is_the_plans_memory(void **state) {
  (void)state;
  static const u32 picks[] = {0, 14, 22, 28, 32, 34};
  for (u32 i = 0; i < COUNT_OF(picks); i++) {
    built b = sim_build(&sim_cases[picks[i]]);
    program p = sim_lower(&b);
    engine_result r;
    status st = {0};
    support_ok(flow_engine()->run(&p, &b.machine, b.memory, &r, &st), &st);
    assert_int_equal(r.sram_peak_bytes, b.plan.memory.total_bytes);
    sim_near(r.cycles, b.plan.estimate_cycles, 1e-12);
    arena_destroy(b.memory);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(programs_multiply_what_the_graph_asks), cmocka_unit_test(programs_run_every_node),
      cmocka_unit_test(totals_are_the_published_accounting),   cmocka_unit_test(every_parameter_is_updated_once),
      cmocka_unit_test(every_score_is_exponentiated_once),     cmocka_unit_test(sums_and_broadcasts_conserve_wavelets),
      cmocka_unit_test(gates_and_turns_have_their_functions),  cmocka_unit_test(rotating_keys_arrive),
      cmocka_unit_test(weights_stream_once_per_replica),       cmocka_unit_test(offloading_moves_each_input_twice),
      cmocka_unit_test(classes_cover_the_rectangle),           cmocka_unit_test(the_fullest_phase_is_the_plans_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
