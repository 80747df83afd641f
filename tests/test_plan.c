// Plans: every one passes the independent check, mutated ones do not, what does not fit says so, and the
// same request gives the same plan.
#include "tests/sim_support.h"

#include "sim/flow/flow.h"

#include <stdio.h>
#include <string.h>

static void passes(built *b) {
  status st = {0};
  support_ok(plan_check(&b->plan, &b->graph, &b->machine, &st), &st);
  const plan_options *o = &b->options;
  if (o->microbatch) assert_int_equal(b->plan.microbatch, o->microbatch);
  if (o->replicas) assert_int_equal(b->plan.tiles.replicas, o->replicas);
  if (o->activations) assert_int_equal(b->plan.policy, o->activations);
  assert_int_equal(b->plan.axpy, o->axpy);
  assert_true(b->plan.estimate_cycles > 0);
  assert_true(b->plan.largest_microbatch >= 1);
  assert_non_null(strstr(b->plan.limit, "bytes in the fullest PE"));
}

static void plans_pass_their_check(void **state) {
  (void)state;
  assert_true(sim_case_count >= 30);
  sim_every_case(passes);
}

// Each policy, stated, passes too: nobody else compares them.
static void every_policy_passes(void **state) {
  (void)state;
  for (u32 i = 0; i < sim_case_count; i++) {
    static const char *const policies[] = {"activations=resident", "activations=recompute", "activations=offload"};
    for (u32 k = 0; k < COUNT_OF(policies); k++) {
      plan_case c = sim_cases[i];
      if (strcmp(c.machine, "mesh16") != 0 || (c.options && strstr(c.options, "activations"))) continue;
      char options[128];
      snprintf(options, sizeof options, "%s %s", policies[k], c.options ? c.options : "");
      c.options = options;
      built b;
      status st = {0};
      if (sim_try_build(&c, &b, &st))
        passes(&b);
      else
        assert_non_null(strstr(st.text, "does not fit the SRAM"));
      arena_destroy(b.memory);
    }
  }
}

typedef void mutation(plan *p);
static void m_replicas(plan *p) {
  p->tiles.replicas++;
}
static void m_no_replicas(plan *p) {
  p->tiles.replicas = 0;
}
static void m_group_width(plan *p) {
  p->tiles.group_width = 100000;
}
static void m_no_width(plan *p) {
  p->tiles.group_width = 0;
}
static void m_narrow(plan *p) {
  p->tiles.group_width = 1;
}
static void m_seq_rows(plan *p) {
  p->tiles.seq_rows++;
}
static void m_row_seqs(plan *p) {
  p->tiles.row_seqs++;
}
static void m_no_row_seqs(plan *p) {
  p->tiles.row_seqs = 0;
}
static void m_slots(plan *p) {
  p->tiles.slots++;
}
static void m_fewer_slots(plan *p) {
  p->tiles.slots--;
}
static void m_more_slots(plan *p) {
  p->tiles.slots++, p->tiles.rows = p->tiles.slots * p->tiles.seq_rows;
}
static void m_rows(plan *p) {
  p->tiles.rows++;
}
static void m_tokens(plan *p) {
  p->tiles.tokens_max++;
}
static void m_fewer_tokens(plan *p) {
  p->tiles.tokens_max--;
}
static void m_features(plan *p) {
  p->tiles.features_max++;
}
static void m_fewer_features(plan *p) {
  p->tiles.features_max--;
}
static void m_hidden(plan *p) {
  p->tiles.hidden_max++;
}
static void m_fewer_hidden(plan *p) {
  p->tiles.hidden_max--;
}
static void m_head_pes(plan *p) {
  p->tiles.head_pes = p->tiles.head_pes == 1 ? 2 : p->tiles.head_pes + 2;
}
static void m_heads_max(plan *p) {
  p->tiles.heads_max++;
}
static void m_aligned(plan *p) {
  p->tiles.heads_aligned = !p->tiles.heads_aligned;
}
static void m_batch(plan *p) {
  p->batch += 16777216;
}
static void m_small_batch(plan *p) {
  p->microbatch *= p->batch + 1, p->microbatches = 2;
}
static void m_systems(plan *p) {
  p->systems += p->batch * p->microbatches, p->microbatches++;
}
static void m_no_microbatches(plan *p) {
  p->microbatches = 0;
}
static void m_microbatches(plan *p) {
  p->microbatches++;
}
static void m_stated_microbatch(plan *p) {
  p->options.microbatch = p->microbatch + 1;
}
static void m_stated_replicas(plan *p) {
  p->options.replicas = p->tiles.replicas + 1;
}
static void m_stated_policy(plan *p) {
  p->options.activations = p->policy == POLICY_RESIDENT ? POLICY_OFFLOAD : POLICY_RESIDENT;
}
static void m_policy(plan *p) {
  p->policy = POLICY_AUTO;
}
static void m_axpy(plan *p) {
  p->axpy = !p->axpy;
}
static void m_total(plan *p) {
  p->memory.total_bytes++;
}
static void m_activations(plan *p) {
  p->memory.activation_bytes -= 4, p->memory.total_bytes -= 4;
}
static void m_buffers(plan *p) {
  p->memory.buffer_bytes++, p->memory.total_bytes++;
}
static void m_code(plan *p) {
  p->memory.code_bytes = 0, p->memory.total_bytes = p->memory.buffer_bytes + p->memory.activation_bytes;
}
static void m_limit(plan *p) {
  p->memory.limit_bytes++;
}
static void m_overfull(plan *p) {
  u32 more = p->memory.limit_bytes - p->memory.total_bytes + 1;
  p->memory.code_bytes += more, p->memory.total_bytes += more;
}

static void mutants_are_refused(built *b) {
  static const struct {
    mutation *change;
    const char *name;
  } mutations[] = {
#define M(name) {m_##name, #name}
      M(replicas),
      M(no_replicas),
      M(group_width),
      M(no_width),
      M(seq_rows),
      M(row_seqs),
      M(no_row_seqs),
      M(slots),
      M(fewer_slots),
      M(more_slots),
      M(rows),
      M(tokens),
      M(fewer_tokens),
      M(features),
      M(fewer_features),
      M(hidden),
      M(fewer_hidden),
      M(head_pes),
      M(heads_max),
      M(aligned),
      M(batch),
      M(small_batch),
      M(systems),
      M(no_microbatches),
      M(microbatches),
      M(stated_microbatch),
      M(stated_replicas),
      M(stated_policy),
      M(policy),
      M(axpy),
      M(total),
      M(activations),
      M(buffers),
      M(code),
      M(limit),
      M(overfull),
  };
  for (u32 i = 0; i < COUNT_OF(mutations); i++) {
    plan p = b->plan;
    mutations[i].change(&p);
    status st = {0};
    if (mutations[i].change == m_narrow && b->plan.tiles.group_width == 1) continue;
    if (plan_check(&p, &b->graph, &b->machine, &st))
      fail_msg("the mutant %s of %s passes", mutations[i].name, b->graph.nodes[0].name);
    assert_int_equal(st.code, CODE_BUG);
    assert_true(strncmp(st.text, "plan check ", 11) == 0);
  }
  plan p = b->plan;
  m_narrow(&p);
  status st = {0};
  assert_true(b->plan.tiles.group_width == 1 || !plan_check(&p, &b->graph, &b->machine, &st));
}

static void mutated_plans_are_refused(void **state) {
  (void)state;
  sim_every_case(mutants_are_refused);
}

static void the_policy_is_part_of_the_memory(void **state) {
  (void)state;
  const plan_case c = {"mesh16", NULL, ODD, 13, 11, 1, "activations=resident"};
  built b = sim_build(&c);
  plan p = b.plan;
  p.options.activations = POLICY_AUTO;
  p.policy = POLICY_RECOMPUTE;
  status st = {0};
  support_failed(plan_check(&p, &b.graph, &b.machine, &st), &st, CODE_BUG, "tensors and buffers peak at");
  arena_destroy(b.memory);
}

// What is kept costs memory: resident > recompute > offload for a deep model.
static void policies_order_by_memory(void **state) {
  (void)state;
  static const char *const options[] = {"microbatch=2 replicas=1 activations=offload",
                                        "microbatch=2 replicas=1 activations=recompute",
                                        "microbatch=2 replicas=1 activations=resident"};
  u32 previous = 0;
  for (u32 i = 0; i < COUNT_OF(options); i++) {
    const plan_case c = {"mesh16", NULL, "layers=6 width=32 heads=4 vocab=64", 32, 2, 1, options[i]};
    built b = sim_build(&c);
    assert_true(b.plan.memory.total_bytes > previous);
    previous = b.plan.memory.total_bytes;
    arena_destroy(b.memory);
  }
}

static void what_does_not_fit_says_so(void **state) {
  (void)state;
  static const struct {
    plan_case c;
    const char *part;
  } bad[] = {
      {{"mesh16", NULL, "layers=2 width=8192 heads=4 vocab=64", 64, 1, 1, NULL},
       "one sequence of 64 tokens does not fit the SRAM"},
      {{"mesh16", NULL, TINY, 16, 4000, 1, "microbatch=4000"},
       "plan.microbatch = 4000 of 16 tokens does not fit the SRAM"},
      {{"mesh16", NULL, TINY, 16, 4000, 1, "microbatch=4000"}, "the largest that fits is"},
      {{"mesh16", NULL, TINY, 16, 64, 1, "replicas=17"}, "leaves a replica without a column or a sequence"},
      {{"mesh16", NULL, TINY, 16, 4, 1, "replicas=8"}, "leaves a replica without a column or a sequence"},
      {{"mesh16", NULL, TINY, 16, 64, 1, "replicas=8 microbatch=4"}, "leaves a replica without a column or a sequence"},
      {{"mesh16", "pe.sram_bytes=5KiB", TINY, 16, 4, 1, NULL}, "bytes in the fullest PE at"},
      {{"mesh16", NULL, TINY, 16, 4, 1, "width=17"},
       "17 x 16 is larger than the machine's usable rectangle of 16 x 16"},
      {{"mesh16", "fabric.colors=2", TINY, 16, 4, 1, NULL}, "colors"},
  };
  for (u32 i = 0; i < COUNT_OF(bad); i++) {
    built b;
    status st = {0};
    memset(&b.plan, 0x5a, sizeof b.plan);
    plan before = b.plan;
    support_failed(sim_try_build(&bad[i].c, &b, &st), &st, CODE_CONFIG, bad[i].part);
    assert_memory_equal(&before, &b.plan, sizeof before);
    arena_destroy(b.memory);
  }
}

// The microbatch that the plan calls the largest fits when stated; one step more does not.
static void the_largest_microbatch_is_the_largest(void **state) {
  (void)state;
  plan_case c = {"mesh16", "pe.sram_bytes=16KiB", ODD, 64, 1000, 1, "replicas=2"};
  built b = sim_build(&c);
  char options[64];
  snprintf(options, sizeof options, "replicas=2 microbatch=%u", b.plan.largest_microbatch);
  c.options = options;
  built stated = sim_build(&c);
  assert_int_equal(stated.plan.microbatch, b.plan.largest_microbatch);
  arena_destroy(stated.memory);
  snprintf(options, sizeof options, "replicas=2 microbatch=%u", b.plan.largest_microbatch + 2);
  status st = {0};
  support_failed(sim_try_build(&c, &stated, &st), &st, CODE_CONFIG, "the largest that fits is");
  arena_destroy(stated.memory);
  arena_destroy(b.memory);
}

// What the mapper chooses is no slower than anything one may state instead.
static void nothing_stated_is_faster(void **state) {
  (void)state;
  static const char *const stated[] = {"replicas=1",
                                       "replicas=2",
                                       "replicas=4",
                                       "activations=recompute",
                                       "activations=offload",
                                       "activations=resident",
                                       "replicas=2 activations=recompute"};
  plan_case c = {"mesh16", "pe.sram_bytes=16KiB", ODD, 64, 40, 1, NULL};
  built best = sim_build(&c);
  for (u32 i = 0; i < COUNT_OF(stated); i++) {
    c.options = stated[i];
    built b;
    status st = {0};
    if (sim_try_build(&c, &b, &st)) assert_true(best.plan.estimate_cycles <= b.plan.estimate_cycles);
    arena_destroy(b.memory);
  }
  arena_destroy(best.memory);
}

// The same request gives the same plan and program, alone or after others in the same memory.
static void plans_are_deterministic(void **state) {
  (void)state;
  static const u32 picks[] = {0, 14, 17, 22, 28, 32};
  u64 plans[COUNT_OF(picks)], programs[COUNT_OF(picks)];
  for (u32 i = 0; i < COUNT_OF(picks); i++) {
    built b = sim_build(&sim_cases[picks[i]]);
    program p = sim_lower(&b);
    plans[i] = plan_hash(&b.plan);
    programs[i] = program_hash(&p);
    arena_destroy(b.memory);
  }
  arena *shared = arena_create("shared");
  for (u32 i = COUNT_OF(picks); i-- > 0;) {
    const plan_case *c = &sim_cases[picks[i]];
    built b = {
        .memory = shared, .machine = sim_machine(c->machine, c->machine_changes), .options = sim_options(c->options)};
    b.graph = sim_graph(c->model, c->seq, shared);
    plan_request r = {.graph = &b.graph,
                      .machine = &b.machine,
                      .options = &b.options,
                      .engine = flow_engine(),
                      .batch = c->batch,
                      .systems = c->systems};
    status st = {0};
    support_ok(plan_build(&r, shared, &b.plan, &st), &st);
    program p = sim_lower(&b);
    assert_true(plan_hash(&b.plan) == plans[i]);
    assert_true(program_hash(&p) == programs[i]);
    for (u32 k = 0; k < i; k++) assert_true(plans[k] != plans[i] && programs[k] != programs[i]);
  }
  arena_destroy(shared);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plans_pass_their_check),
      cmocka_unit_test(every_policy_passes),
      cmocka_unit_test(mutated_plans_are_refused),
      cmocka_unit_test(the_policy_is_part_of_the_memory),
      cmocka_unit_test(policies_order_by_memory),
      cmocka_unit_test(what_does_not_fit_says_so),
      cmocka_unit_test(the_largest_microbatch_is_the_largest),
      cmocka_unit_test(nothing_stated_is_faster),
      cmocka_unit_test(plans_are_deterministic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
