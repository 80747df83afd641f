// The flow engine on tiny programs made by hand, with answers worked out by hand; and programs that break
// an invariant, each refused by name.
#include "tests/sim_support.h"

#include "sim/flow/flow.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// A machine of round numbers: 1 GHz, 2 wavelets a cycle through the edge each way, 100 cycles between
// phases, 1,000 cycles of MemoryX latency, a parameter a cycle, 2,000 cycles per level of SwarmX.
static machine round_machine(void) {
  return sim_machine("mesh16", "clock=1GHz fabric.hop_cycles=1 fabric.ramp_cycles=2 fabric.wavelet_cycles=1 "
                               "dsd.fma16_rate=2 dsd.dot16_rate=2 dsd.fma32_rate=0.5 dsd.add32_rate=1 "
                               "dsd.copy16_rate=4 dsd.copy32_rate=2 dsd.copy_setup_cycles=10 "
                               "dsd.fma16_setup_cycles=10 dsd.axpy_issue_cycles=10 math.exp_cycles=40 "
                               "phase.route_switch_cycles=100 io.rate=64Gb/s memoryx.rate=64Gb/s "
                               "memoryx.update_rate=1G/s memoryx.latency=1us swarmx.latency=2us swarmx.fanout=4");
}
enum { SWITCH = 100, LATENCY = 1000, LEVEL = 2000 };

enum { ROOM = 512 };

// A program with room to grow; the arrays are `p`'s.
typedef struct maker {
  program p;
  program_phase phases[ROOM];
  program_class classes[ROOM];
  program_op ops[ROOM];
  program_group groups[ROOM];
  program_transfer transfers[ROOM];
} maker;

static maker *make(arena *a, const machine *m) {
  maker *k = arena_array(a, maker, 1);
  k->p = (program){.machine_hash = machine_hash(m),
                   .phases = k->phases,
                   .classes = k->classes,
                   .ops = k->ops,
                   .groups = k->groups,
                   .transfers = k->transfers,
                   .code_bytes = m->spec.code_base_bytes,
                   .systems = 1};
  snprintf(k->p.name, sizeof k->p.name, "made by hand");
  return k;
}

static program_phase *add_phase(maker *k) {
  program_phase *ph = &k->phases[k->p.phase_count];
  *ph = (program_phase){
      .layer = UINT32_MAX, .first_class = k->p.class_count, .width = 4, .height = 4, .iterations = 1, .colors = 1};
  snprintf(ph->origin, sizeof ph->origin, "p%u", k->p.phase_count++);
  return ph;
}

static void add_class(maker *k, u32 pes, u64 tasks) {
  k->classes[k->p.class_count++] = (program_class){.pes = pes, .first_op = k->p.op_count, .tasks = tasks};
  k->phases[k->p.phase_count - 1].class_count++;
}

static void add_op(maker *k, program_op op) {
  k->ops[k->p.op_count++] = op;
  k->classes[k->p.class_count - 1].op_count++;
}

static program_transfer *add_transfer(maker *k, u32 after, u32 before, u64 wavelets) {
  program_transfer *t = &k->transfers[k->p.transfer_count];
  *t = (program_transfer){.after = after, .before = before, .wavelets = wavelets, .hops = 1};
  snprintf(t->name, sizeof t->name, "t%u", k->p.transfer_count++);
  return t;
}

// All phases since the last group, `repeat` times.
static void add_group(maker *k, u64 repeat) {
  u32 first = 0;
  for (u32 i = 0; i < k->p.group_count; i++) first += k->groups[i].count;
  k->groups[k->p.group_count++] = (program_group){first, k->p.phase_count - first, repeat, false};
}

// A phase of SWITCH + cycles in which nothing but the datapath works: cycles = 10 + elements / 2.
static program_phase *add_work(maker *k, u64 cycles) {
  program_phase *ph = add_phase(k);
  add_class(k, 2, 1);
  add_op(k, (program_op){.opcode = OPCODE_FMA16, .issues = 1, .elements = 2 * (cycles - 10)});
  return ph;
}

static engine_result run(const maker *k, const machine *m, arena *a) {
  engine_result r;
  status st = {0};
  support_ok(flow_engine()->run(&k->p, m, a, &r, &st), &st);
  double resources = 0, phases = 0;
  for (u32 i = 0; i < RESOURCE_COUNT; i++) resources += r.by_resource[i];
  for (u32 i = 0; i < k->p.phase_count; i++) phases += r.by_phase[i];
  sim_near(resources, r.cycles, 1e-12);
  sim_near(phases + r.host_cycles, r.cycles, 1e-12);
  assert_int_equal(r.span_count, k->p.phase_count);
  return r;
}

static int setup(void **state) {
  *state = arena_create("test");
  return 0;
}

static int teardown(void **state) {
  arena_destroy(*state);
  return 0;
}

// ---- one phase

static void one_phase(arena *a, program_phase stated, u32 resource, double busy) {
  const machine m = round_machine();
  maker *k = make(a, &m);
  program_phase *ph = add_work(k, 1000); // 1,000 cycles of datapath in any case
  ph->row_wavelets = stated.row_wavelets;
  ph->column_wavelets = stated.column_wavelets;
  ph->stream_in = stated.stream_in;
  ph->stream_out = stated.stream_out;
  ph->latency_cycles = stated.latency_cycles;
  add_group(k, 1);
  engine_result r = run(k, &m, a);
  double fixed = SWITCH + stated.latency_cycles;
  sim_near(r.cycles, fixed + busy + LATENCY, 1e-12);
  sim_near(r.by_resource[resource], busy, 1e-12);
  sim_near(r.by_resource[RESOURCE_SWITCH], fixed, 1e-12);
  sim_near(r.by_resource[RESOURCE_HOST], LATENCY, 1e-12);
  sim_near(r.spans[0].end_cycle, fixed + busy, 1e-12);
  sim_near(r.spans[0].work_cycles, 1000, 1e-12);
  assert_int_equal(r.spans[0].resource, busy >= fixed ? resource : RESOURCE_SWITCH);
  assert_true(r.spans[0].start_cycle == 0 && r.spans[0].wait_cycles == 0);
  sim_near(r.first_repeat_cycles, r.cycles, 1e-12);
  sim_near(r.compute_busy_cycles, 1000, 1e-12);
  sim_near(r.io_in_busy_cycles, (double)stated.stream_in / 2, 1e-12);
  sim_near(r.io_out_busy_cycles, (double)stated.stream_out / 2, 1e-12);
}

static void each_resource_binds_in_turn(void **state) {
  one_phase(*state, (program_phase){0}, RESOURCE_COMPUTE, 1000);
  one_phase(*state, (program_phase){.row_wavelets = 999, .stream_in = 1998, .stream_out = 1998}, RESOURCE_COMPUTE,
            1000);
  one_phase(*state, (program_phase){.row_wavelets = 5000}, RESOURCE_FABRIC, 5000);
  one_phase(*state, (program_phase){.column_wavelets = 7000, .row_wavelets = 5000}, RESOURCE_FABRIC, 7000);
  one_phase(*state, (program_phase){.stream_in = 30000, .column_wavelets = 7000}, RESOURCE_IO_IN, 15000);
  one_phase(*state, (program_phase){.stream_out = 40000, .stream_in = 30000}, RESOURCE_IO_OUT, 20000);
  one_phase(*state, (program_phase){.latency_cycles = 2500}, RESOURCE_COMPUTE, 1000);
}

static void a_links_rate_is_the_machines(void **state) {
  machine_spec s = round_machine().spec;
  machine m;
  status st = {0};
  s.wavelet_cycles = 1.125;
  support_ok(machine_build(&s, &m, &st), &st);
  maker *k = make(*state, &m);
  add_phase(k)->row_wavelets = 8000;
  add_group(k, 1);
  sim_near(run(k, &m, *state).by_resource[RESOURCE_FABRIC], 9000, 1e-12);
}

static void the_busiest_class_counts(void **state) {
  const machine m = round_machine();
  maker *k = make(*state, &m);
  add_phase(k);
  add_class(k, 3, 2); // 10 + 100 + 10 x 2 + 2 x 40 = 210
  add_op(k, (program_op){.opcode = OPCODE_FMA16, .issues = 1, .elements = 200});
  add_op(k, (program_op){.opcode = OPCODE_AXPY16, .issues = 2, .elements = 0});
  add_op(k, (program_op){.opcode = OPCODE_EXP, .issues = 1, .elements = 2});
  add_class(k, 5, 7); // 3 x 10 + 400 = 430
  add_op(k, (program_op){.opcode = OPCODE_AXPY32, .issues = 3, .elements = 200});
  add_group(k, 1);
  engine_result r = run(k, &m, *state);
  sim_near(r.by_resource[RESOURCE_COMPUTE], 430, 1e-12);
  assert_true(r.counts.tasks == 3 * 2 + 5 * 7);
  assert_true(r.counts.macs == 3 * 200 + 5 * 200);
  assert_int_equal(r.pes_used, 8);
}

static void counts_are_those_worked_out_by_hand(void **state) {
  const machine m = round_machine();
  maker *k = make(*state, &m);
  program_phase *ph = add_phase(k);
  ph->stream_in = 50;
  ph->stream_in_hops = 7;
  ph->stream_out = 20;
  ph->stream_out_hops = 3;
  add_class(k, 6, 4);
  add_op(k, (program_op){.opcode = OPCODE_SEND16, .hops = 4, .issues = 1, .elements = 5}); // 3 wavelets a PE
  add_op(k, (program_op){.opcode = OPCODE_CHAIN32, .hops = 1, .issues = 1, .elements = 10});
  add_op(k, (program_op){.opcode = OPCODE_DOT16, .issues = 1, .elements = 8});
  ph = add_phase(k); // shares the class
  ph->first_class = 0;
  ph->class_count = 1;
  add_group(k, 3);
  add_transfer(k, 0, 1, 11)->hops = 5;
  engine_result r = run(k, &m, *state);
  u64 wavelets = 6 * 3 + 6 * 10, hops = 6 * 3 * 4 + 6 * 10; // of a phase's class
  assert_true(r.counts.wavelets == 3 * (2 * wavelets + 50 + 11));
  assert_true(r.counts.hops == 3 * (2 * hops + 50 * 7 + 20 * 3 + 11 * 5));
  assert_true(r.counts.macs == 3 * 2 * 6 * 8);
  assert_true(r.counts.sram_read_bytes == 3 * 2 * 6 * (5 * 2 + 10 * 4 + 8 * 4));
  assert_true(r.counts.sram_write_bytes == 0);
  assert_true(r.counts.tasks == 3 * 2 * 6 * 4);
}

static void memory_is_the_fullest_phases(void **state) {
  const machine m = round_machine();
  maker *k = make(*state, &m);
  add_work(k, 100)->sram_bytes = 1000;
  add_work(k, 100)->sram_bytes = 3000;
  add_work(k, 100)->sram_bytes = 2000;
  add_group(k, 1);
  assert_int_equal(run(k, &m, *state).sram_peak_bytes, 3000 + m.spec.code_base_bytes);
}

static void phases_without_classes_take_their_streams_time(void **state) {
  const machine m = round_machine();
  maker *k = make(*state, &m);
  add_phase(k)->stream_in = 600; // shares first_class, but none of the classes, with the next
  add_work(k, 500);
  add_phase(k)->stream_out = 800;
  add_group(k, 2);
  engine_result r = run(k, &m, *state);
  sim_near(r.cycles, 2 * (3 * SWITCH + 300 + 500 + 400) + LATENCY, 1e-12);
  assert_true(r.counts.macs == 2 * 2 * 980);
}

// ---- transfers

// Phases of 1,000 cycles in all (SWITCH + 900), so 2,000 wavelets cross the edge beside each.
static maker *three_phases(arena *a, const machine *m) {
  maker *k = make(a, m);
  for (u32 i = 0; i < 3; i++) add_work(k, 900);
  return k;
}

static void transfers_hide_beside_phases(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  add_transfer(k, 0, 2, 2000);             // beside phase 1, to the cycle
  add_transfer(k, UINT32_MAX, 1, 1999);    // beside phase 0
  add_transfer(k, 0, 2, 2000)->out = true; // the other way
  add_group(k, 1);
  engine_result r = run(k, &m, *state);
  sim_near(r.cycles, 3000 + LATENCY, 1e-9);
  assert_true(r.transfer_wait_cycles < 1e-6);
  sim_near(r.io_in_busy_cycles, 3999.0 / 2, 1e-12);
  sim_near(r.io_out_busy_cycles, 1000, 1e-12);
}

static void exposed_transfers_wait_exactly(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  add_transfer(k, 0, 2, 2500); // 2,000 beside phase 1, then 250 cycles more
  add_group(k, 1);
  engine_result r = run(k, &m, *state);
  sim_near(r.cycles, 3250 + LATENCY, 1e-12);
  sim_near(r.transfer_wait_cycles, 250, 1e-12);
  sim_near(r.by_resource[RESOURCE_IO_IN], 250, 1e-12);
  sim_near(r.by_phase[2], 1250, 1e-12);
  sim_near(r.spans[2].wait_cycles, 250, 1e-12);
  sim_near(r.spans[2].start_cycle, 2250, 1e-12);
  sim_near(r.spans[2].end_cycle, 3250, 1e-12);
}

static void transfers_take_what_the_phase_leaves(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  k->phases[1].stream_in = 1500;           // leaves 500
  add_transfer(k, 0, 2, 2000);             // 1,500 left: 750 cycles
  add_transfer(k, 0, 2, 3000)->out = true; // 1,000 left: done within the 750 of the other lane
  add_group(k, 1);
  engine_result r = run(k, &m, *state);
  sim_near(r.cycles, 3750 + LATENCY, 1e-12);
  sim_near(r.by_resource[RESOURCE_IO_IN], 750, 1e-12);
  assert_true(r.by_resource[RESOURCE_IO_OUT] < 1e-6);
}

static void transfers_queue_in_order(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  add_transfer(k, UINT32_MAX, 2, 3000); // first in the queue; 2,000 beside phase 0
  add_transfer(k, UINT32_MAX, 1, 400);  // waits for it: 1,000 + 400 left when phase 0 ends
  add_group(k, 1);
  engine_result r = run(k, &m, *state);
  sim_near(r.by_phase[1], 1000 + 700, 1e-12);
  sim_near(r.cycles, 3700 + LATENCY, 1e-12);
}

static void transfers_that_nobody_waits_for_still_cross(void **state) {
  const machine m = round_machine();
  maker *k = make(*state, &m);
  add_work(k, 900);
  add_transfer(k, 0, UINT32_MAX, 4000)->out = true; // 2,000 cycles, a phase is 1,000
  add_group(k, 10);
  engine_result r = run(k, &m, *state);
  // the first starts at 1,000; each later one waits for the one before; the last ends the step
  sim_near(r.cycles, 1000 + 10 * 2000 + LATENCY, 1e-12);
  sim_near(r.by_resource[RESOURCE_IO_OUT], 1000 + 10 * 2000 - 10 * 1000, 1e-12);
}

static void empty_transfers_cost_nothing(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  add_transfer(k, UINT32_MAX, 0, 0);
  add_transfer(k, 1, 2, 0);
  add_group(k, 4);
  sim_near(run(k, &m, *state).cycles, 12000 + LATENCY, 1e-12);
}

// ---- repetitions

// A repetition with hidden and exposed transfers and phases that each bind on something else.
static void add_repetition(maker *k) {
  u32 first = k->p.phase_count;
  add_work(k, 317);
  add_work(k, 33)->stream_in = 4001;
  add_work(k, 1200)->latency_cycles = 12.25;
  add_phase(k)->row_wavelets = 777;
  add_work(k, 50)->stream_out = 301;
  add_transfer(k, first, first + 2, 3333);
  add_transfer(k, first + 1, first + 2, 700)->out = true;
  add_transfer(k, first + 1, first + 3, 5000);
  add_transfer(k, first + 2, first + 4, 9001)->out = true;
}

static void repetitions_are_as_if_written_out(void **state) {
  const machine m = round_machine();
  static const u64 times[] = {1, 2, 3, 4, 50};
  for (u32 n = 0; n < COUNT_OF(times); n++) {
    maker *k = make(*state, &m), *all = make(*state, &m), *groups = make(*state, &m);
    add_repetition(k);
    add_group(k, times[n]);
    for (u64 i = 0; i < times[n]; i++) {
      add_repetition(all);
      add_repetition(groups);
      add_group(groups, 1);
    }
    add_group(all, 1);
    engine_result r = run(k, &m, *state), w = run(all, &m, *state), g = run(groups, &m, *state);
    sim_near(r.cycles, w.cycles, 1e-12);
    sim_near(g.cycles, w.cycles, 1e-12);
    assert_true(r.transfer_wait_cycles > 100);
    sim_near(r.transfer_wait_cycles, w.transfer_wait_cycles, 1e-12);
    for (u32 i = 0; i < RESOURCE_COUNT; i++) sim_near(r.by_resource[i], w.by_resource[i], 1e-9);
    for (u32 i = 0; i < k->p.phase_count; i++) {
      double sum = 0;
      for (u32 j = i; j < all->p.phase_count; j += k->p.phase_count) sum += w.by_phase[j];
      sim_near(r.by_phase[i], sum, 1e-12);
      assert_memory_equal(&r.spans[i], &w.spans[i], sizeof r.spans[i]);
    }
    assert_memory_equal(&r.counts, &w.counts, sizeof r.counts);
    assert_memory_equal(&g.counts, &w.counts, sizeof r.counts);
    sim_near(r.io_in_busy_cycles, w.io_in_busy_cycles, 1e-12);
    sim_near(r.io_out_busy_cycles, w.io_out_busy_cycles, 1e-12);
    sim_near(r.compute_busy_cycles, w.compute_busy_cycles, 1e-12);
    if (times[n] > 1) sim_near(r.first_repeat_cycles, w.spans[k->p.phase_count].start_cycle, 1e-12);
  }
}

// A transfer that is under way when its repetition ends delays the ones of the next.
static void what_is_left_over_delays_the_next_repetition(void **state) {
  const machine m = round_machine();
  static const u64 times[] = {1, 2, 3, 7, 40};
  for (u32 n = 0; n < COUNT_OF(times); n++) {
    maker *k = make(*state, &m), *all = make(*state, &m);
    for (u64 i = 0; i <= times[n]; i++) {
      maker *into = i ? all : k;
      u32 first = into->p.phase_count;
      add_work(into, 900);
      add_work(into, 900);
      add_transfer(into, first + 1, UINT32_MAX, 1500); // beside the next repetition's first phase
      add_transfer(into, first, first + 1, 700);       // and this one behind it
    }
    add_group(k, times[n]);
    add_group(all, 1);
    sim_near(run(k, &m, *state).cycles, run(all, &m, *state).cycles, 1e-12);
  }
}

static void a_million_repetitions_are_a_product(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  add_transfer(k, 0, 2, 2500);
  add_group(k, 1000000);
  sim_near(run(k, &m, *state).cycles, 3250e6 + LATENCY, 1e-12);
}

// ---- MemoryX and SwarmX

static void the_host_shows_only_what_is_left(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  k->phases[0].update_params = 1500; // from 1,000 to 2,500: hidden
  k->phases[1].update_params = 400;  // from 2,500 to 2,900: hidden
  add_group(k, 1);
  sim_near(run(k, &m, *state).host_cycles, LATENCY, 1e-12);
  k->phases[2].update_params = 70; // from 3,000: 70 shown
  sim_near(run(k, &m, *state).host_cycles, LATENCY + 70, 1e-12);
  k->phases[1].update_params = 4000; // from 2,500 to 6,500, then 70
  sim_near(run(k, &m, *state).host_cycles, LATENCY + 3570, 1e-12);
}

static void the_last_repetition_completes_gradients(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  k->phases[0].update_params = 2500; // begins when the last repetition's phase 0 ends: 500 shown
  add_group(k, 20);
  engine_result r = run(k, &m, *state);
  sim_near(r.host_cycles, LATENCY + 500, 1e-12);
  sim_near(r.cycles, 60000 + LATENCY + 500, 1e-12);
}

static void swarmx_adds_its_levels(void **state) {
  static const struct { u32 systems, levels; } trees[] = {{1, 0}, {2, 1}, {4, 1}, {5, 2}, {16, 2}, {17, 3}};
  const machine m = round_machine();
  for (u32 i = 0; i < COUNT_OF(trees); i++) {
    maker *k = three_phases(*state, &m);
    k->p.systems = trees[i].systems;
    k->phases[2].update_params = 70; // gradients through the tree, then weights back through it
    add_group(k, 1);
    sim_near(run(k, &m, *state).host_cycles, LATENCY + 70 + 2.0 * LEVEL * trees[i].levels, 1e-12);
  }
}

// ---- programs that are wrong

typedef void breakage(maker *k);
static void far_op(maker *k) {
  k->classes[0].op_count = 100;
}
static void wrapped_op(maker *k) {
  k->classes[0].first_op = UINT32_MAX, k->classes[0].op_count = 2;
}
static void strange_opcode(maker *k) {
  k->ops[0].opcode = OPCODE_COUNT;
}
static void no_issue(maker *k) {
  k->ops[0].issues = 0;
}
static void no_hops(maker *k) {
  k->ops[0].opcode = OPCODE_CHAIN32;
}
static void endless_name(maker *k) {
  memset(k->p.name, 'x', sizeof k->p.name);
}
static void endless_origin(maker *k) {
  memset(k->phases[0].origin, 'x', sizeof k->phases[0].origin);
}
static void endless_transfer(maker *k) {
  memset(k->transfers[0].name, 'x', sizeof k->transfers[0].name);
}
static void strange_family(maker *k) {
  k->phases[1].family = FAMILY_COUNT;
}
static void far_class(maker *k) {
  k->phases[2].class_count = 2;
}
static void wrapped_class(maker *k) {
  k->phases[2].first_class = UINT32_MAX;
}
static void too_wide(maker *k) {
  k->phases[1].width = 17;
}
static void too_high(maker *k) {
  k->phases[1].height = 17;
}
static void too_many_pes(maker *k) {
  k->classes[1].pes = 17;
}
static void too_full(maker *k) {
  k->phases[1].sram_bytes = 49152 - 4200 + 1;
}
static void very_full(maker *k) {
  k->phases[1].sram_bytes = UINT32_MAX;
}
static void wrong_code(maker *k) {
  k->p.code_bytes++;
}
static void too_many_colors(maker *k) {
  k->phases[1].colors = 25;
}
static void other_machine(maker *k) {
  k->p.machine_hash++;
}
static void gap_in_groups(maker *k) {
  k->groups[0].first = 1;
}
static void short_groups(maker *k) {
  k->groups[0].count = 2;
}
static void long_groups(maker *k) {
  k->groups[0].count = 4;
}
static void never(maker *k) {
  k->groups[0].repeat = 0;
}
static void empty_group(maker *k) {
  k->groups[k->p.group_count++] = (program_group){3, 0, 1, false};
}
static void backwards(maker *k) {
  k->transfers[0].before = 0;
}
static void at_once(maker *k) {
  k->transfers[0].before = 1;
}
static void far_transfer(maker *k) {
  k->transfers[0].before = 3;
}
static void far_start(maker *k) {
  k->transfers[0].after = 3;
}
static void across_groups(maker *k) {
  k->groups[0].count = 2;
  k->groups[k->p.group_count++] = (program_group){2, 1, 1, false};
}

static void broken_programs_are_refused_by_name(void **state) {
  static const struct {
    breakage *break_it;
    const char *part;
  } cases[] = {
      {far_op, "class 0 has operations outside the program"},
      {wrapped_op, "class 0 has operations outside the program"},
      {strange_opcode, "class 0 has an unknown opcode"},
      {no_issue, "class 0 has elements that no instruction issues"},
      {no_hops, "class 0 sends wavelets nowhere"},
      {endless_name, "its name does not end"},
      {endless_origin, "a phase's name does not end"},
      {endless_transfer, "a transfer's name does not end"},
      {strange_family, "phase p1 has an unknown family"},
      {far_class, "phase p2 has classes outside the program"},
      {wrapped_class, "phase p2 has classes outside the program"},
      {too_wide, "phase p1 is larger than the machine's usable rectangle"},
      {too_high, "phase p1 is larger than the machine's usable rectangle"},
      {too_many_pes, "phase p1 has more PEs than its rectangle"},
      {too_full, "phase p1 needs 49153 bytes of SRAM with code, a PE has 49152"},
      {very_full, "phase p1 needs 4294971495 bytes"},
      {wrong_code, "code of 4201 bytes, but its tasks and operations take 4200"},
      {too_many_colors, "phase p1 uses more colors"},
      {other_machine, "lowered for another machine"},
      {gap_in_groups, "group 0 does not continue"},
      {short_groups, "groups cover 2 of 3 phases"},
      {long_groups, "groups cover 4 of 3 phases"},
      {never, "group 0 does not continue"},
      {empty_group, "group 1 does not continue"},
      {backwards, "transfer t0 ends at a phase that does not come after"},
      {at_once, "transfer t0 ends at a phase that does not come after"},
      {far_transfer, "transfer t0 ends at a phase that does not come after"},
      {far_start, "transfer t0 ends at a phase that does not come after"},
      {across_groups, "transfer t0 begins in one group of phases and ends in another"},
  };
  const machine m = round_machine();
  for (u32 i = 0; i < COUNT_OF(cases); i++) {
    maker *k = three_phases(*state, &m);
    add_transfer(k, 1, 2, 10);
    add_group(k, 2);
    run(k, &m, *state);
    cases[i].break_it(k);
    status st = {0};
    engine_result r;
    support_failed(program_check(&k->p, &m, &st), &st, CODE_CONFIG, cases[i].part);
    st = (status){0};
    support_failed(flow_engine()->run(&k->p, &m, *state, &r, &st), &st, CODE_CONFIG, cases[i].part);
  }
}

// ---- identity

static void hash_follows_what_runs(void **state) {
  static breakage *const changes[] = {far_op,   wrapped_op, strange_opcode, no_issue,  strange_family,  far_class,
                                      too_wide, too_high,   too_many_pes,   too_full,  too_many_colors, gap_in_groups,
                                      never,    backwards,  far_start,      wrong_code};
  const machine m = round_machine();
  u64 hashes[COUNT_OF(changes) + 1];
  for (u32 i = 0; i <= COUNT_OF(changes); i++) {
    maker *k = three_phases(*state, &m);
    add_transfer(k, 1, 2, 10);
    add_group(k, 2);
    if (i) changes[i - 1](k);
    hashes[i] = program_hash(&k->p);
    for (u32 j = 0; j < i; j++)
      if (hashes[j] == hashes[i]) fail_msg("changes %u and %u have one hash", j, i);
  }
}

static void printing_names_everything(void **state) {
  const machine m = round_machine();
  maker *k = three_phases(*state, &m);
  add_transfer(k, 1, 2, 10);
  add_group(k, 2);
  text t = {0};
  program_print(&k->p, &t);
  static const char *const parts[] = {"program made by hand\n",
                                      "group first=0 count=3 repeat=2\n",
                                      "phase 2 p2 embed rect=4x4",
                                      "class pes=2 tasks=1\n",
                                      "FMA16 issues=1 elements=1780 hops=0\n",
                                      "transfer t0 in wavelets=10 hops=1 after=1 before=2\n"};
  for (u32 i = 0; i < COUNT_OF(parts); i++)
    if (!strstr(text_get(&t), parts[i])) fail_msg("no \"%s\" in:\n%s", parts[i], text_get(&t));
  text_free(&t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(each_resource_binds_in_turn),
      TEST(a_links_rate_is_the_machines),
      TEST(the_busiest_class_counts),
      TEST(counts_are_those_worked_out_by_hand),
      TEST(memory_is_the_fullest_phases),
      TEST(phases_without_classes_take_their_streams_time),
      TEST(transfers_hide_beside_phases),
      TEST(exposed_transfers_wait_exactly),
      TEST(transfers_take_what_the_phase_leaves),
      TEST(transfers_queue_in_order),
      TEST(transfers_that_nobody_waits_for_still_cross),
      TEST(empty_transfers_cost_nothing),
      TEST(repetitions_are_as_if_written_out),
      TEST(what_is_left_over_delays_the_next_repetition),
      TEST(a_million_repetitions_are_a_product),
      TEST(the_host_shows_only_what_is_left),
      TEST(the_last_repetition_completes_gradients),
      TEST(swarmx_adds_its_levels),
      TEST(broken_programs_are_refused_by_name),
      TEST(hash_follows_what_runs),
      TEST(printing_names_everything),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
