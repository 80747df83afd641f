// The laws of time against numbers worked out by hand from the published rows.
#include "tests/sim_support.h"

#include <math.h>

static double dsd(const machine *m, opcode op, u64 issues, u64 elements) {
  return timing_dsd(m, op, issues, elements);
}

// WSE-3 silicon: set-up cycles and elements per cycle (arXiv 2608.25124).
static void instructions_cost_what_silicon_measured(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  sim_near(dsd(&m, OPCODE_FMA16, 1, 4096), 16 + 4096 / 2.92, 1e-14);
  sim_near(dsd(&m, OPCODE_FMA16, 1, 4096), 1418.7397260273972, 1e-12);
  sim_near(dsd(&m, OPCODE_AXPY16, 1, 100), 16 + 100 / 2.92, 1e-14);
  sim_near(dsd(&m, OPCODE_AXPY32, 1, 100), 16 + 200, 1e-14);
  sim_near(dsd(&m, OPCODE_DOT16, 1, 292), 116, 1e-14);
  sim_near(dsd(&m, OPCODE_COPY16, 1, 482), 115, 1e-14);
  sim_near(dsd(&m, OPCODE_NARROW, 1, 244), 115, 1e-14);
  // streams: not faster than a link, 1.125 cycles a wavelet of one fp32 or two fp16 values
  sim_near(dsd(&m, OPCODE_CHAIN32, 1, 1000), 15 + 1125, 1e-14);
  sim_near(dsd(&m, OPCODE_SEND32, 1, 1000), 15 + 1125, 1e-14);
  sim_near(dsd(&m, OPCODE_RECV32, 1, 1000), 15 + 1125, 1e-14);
  sim_near(dsd(&m, OPCODE_SEND16, 1, 1000), 15 + 562.5, 1e-14);
  sim_near(dsd(&m, OPCODE_RECV16, 1, 1000), 15 + 562.5, 1e-14);
  // functions of one value have no set-up
  sim_near(dsd(&m, OPCODE_EXP, 1, 7), 280, 1e-14);
  sim_near(dsd(&m, OPCODE_LOG, 1, 7), 280, 1e-14);
  sim_near(dsd(&m, OPCODE_TANH, 1, 7), 420, 1e-14);
  sim_near(dsd(&m, OPCODE_RSQRT, 1, 7), 280, 1e-14);
  sim_near(dsd(&m, OPCODE_DIV, 1, 7), 350, 1e-14);
}

typedef struct on_thread {
  u32 thread;
  opcode op;
  u64 issues, elements;
} on_thread;

static double together(const machine *m, const on_thread *of, u32 count) {
  timing_load l = {0};
  for (u32 i = 0; i < count; i++) timing_load_add(&l, m, of[i].thread, of[i].op, of[i].issues, of[i].elements);
  return timing_load_cycles(&l);
}

// FMA16 takes 16 cycles of set-up and COPY32 15, which take the datapath for 1 / 2.92 and 1 / 2.44 an element.
static void threads_share_the_datapath(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  const on_thread work[] = {{1, OPCODE_FMA16, 10, 2920}, {2, OPCODE_COPY32, 1, 244}, {2, OPCODE_COPY32, 9, 2196}};
  sim_near(together(&m, work, 1), 160 + 1000, 1e-14);
  sim_near(together(&m, work, 2), 160 + 1000, 1e-14);       // 100 cycles in the 160 of set-ups
  sim_near(together(&m, work, 3), 1000 + 100 + 900, 1e-14); // the datapath is full
  // the longest thread, where neither the other nor the datapath takes longer
  const on_thread short_ones[] = {{1, OPCODE_COPY32, 1, 1}, {2, OPCODE_COPY32, 50, 50}, {3, OPCODE_FMA16, 2, 292}};
  sim_near(together(&m, short_ones, 3), 50 * 15 + 50 / 2.44, 1e-14);
  // the task's own thread is in sequence with all, and so are its loops
  const on_thread sequence[] = {{0, OPCODE_FMA16, 1, 292}, {1, OPCODE_FMA16, 10, 2920}, {0, OPCODE_EXP, 1, 1}};
  sim_near(together(&m, sequence, 3), 116 + 1160 + 40, 1e-14);
  timing_load turns = {0};
  timing_load_turns(&turns, &m, 3);
  sim_near(timing_load_cycles(&turns), 3 * m.spec.loop_cycles, 1e-14);
}

// 1.125 cycles a wavelet, in a thread and over all that send.
static void threads_share_the_ramp(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  const on_thread links[] = {{1, OPCODE_CHAIN32, 1, 1000}, {2, OPCODE_SEND32, 1, 1000}, {3, OPCODE_RECV32, 1, 1000}};
  sim_near(together(&m, links, 1), 15 + 1125, 1e-14);
  sim_near(together(&m, links, 2), fmax(2 * 1125, 1000 / m.spec.add32_rate + 1000 / 2.44), 1e-14);
  sim_near(timing_datapath(&m, OPCODE_SEND32, 244), 100, 1e-14);
}

static void issues_and_elements_add_up(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  sim_near(dsd(&m, OPCODE_FMA16, 1000, 2920), 16 * 1000 + 1000, 1e-14);
  assert_true(dsd(&m, OPCODE_FMA16, 0, 0) == 0);
}

// 8 banks of 32 bit; two reads are free where their banks differ modulo 4, and take 1.94 times as long elsewhere.
static void operands_wait_for_banks(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL), sdk = sim_machine("cs2_sdk", NULL);
  static const u32 banks[][2] = {{0, 0}, {3, 0}, {4, 1}, {10, 2}, {12, 3}, {16, 0}, {20, 1}};
  for (u32 i = 0; i < COUNT_OF(banks); i++) assert_int_equal(timing_bank(banks[i][0]), banks[i][1]);
  sim_near(timing_banks(&m, 1), 1.94, 1e-14);
  sim_near(timing_banks(&m, 0.5), 1.47, 1e-14);
  assert_true(timing_banks(&m, 0) == 1);
  assert_true(timing_banks(&sdk, 1) == 1);
  for (u32 op = 0; op < OPCODE_COUNT; op++)
    assert_int_equal(timing_has_banks((opcode)op),
                     op == OPCODE_AXPY16 || op == OPCODE_DOT16 || op == OPCODE_FMA16 || op == OPCODE_ADD16);
}

// The vendor's simulator (class [SIM]): 1,040 cycles for one DSD over 4096 fp16 multiply-adds.
static void the_vendors_simulator_is_another_machine(void **state) {
  (void)state;
  const machine m = sim_machine("cs2_sdk", NULL);
  sim_near(dsd(&m, OPCODE_FMA16, 1, 4096), 7 + 1024, 1e-14);
  sim_near(dsd(&m, OPCODE_FMA16, 1, 4096), 1040, 0.01);
  sim_near(dsd(&m, OPCODE_AXPY32, 1, 100), 107, 1e-14); // fp32 at 1.0 per cycle
}

// WSE-2, arXiv 2404.15888 with T_R = 2.
static void collectives_follow_the_published_forms(void **state) {
  (void)state;
  const machine m = sim_machine("cs2", NULL);
  // chain = B + (2 T_R + 2)(P - 1), here for P = 512, B = 1024
  sim_near(timing_chain(&m, 512), 6 * 511, 1e-14);
  sim_near(timing_chain(&m, 512) + dsd(&m, OPCODE_CHAIN32, 0, 1024), 6 * 511 + 1024, 1e-14);
  assert_true(timing_chain(&m, 1) == 0);
  assert_true(timing_chain(&m, 0) == 0);
  sim_near(timing_chain(&m, 2), 6, 1e-14);
  // broadcast = B + P + 2 T_R
  sim_near(timing_path(&m, 512) + dsd(&m, OPCODE_SEND32, 0, 1024), 1024 + 512 + 4, 1e-14);
  assert_true(timing_path(&m, 0) == 4);
}

// WSE-3: one word took 40 + 2 x hops cycles; a path is the part that grows with the distance, the rest
// is what sending and receiving instructions cost.
static void hops_cost_what_silicon_measured(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  static const struct { u32 hops, cycles; } measured[] = {{1, 42}, {2, 44}, {4, 48}, {8, 56}, {16, 72}, {32, 104}};
  for (u32 i = 1; i < COUNT_OF(measured); i++)
    sim_near(timing_path(&m, measured[i].hops) - timing_path(&m, measured[0].hops),
             measured[i].cycles - measured[0].cycles, 1e-14);
  // T = 33 + 2 x hops + 20 x turns + 1.125 x wavelets: what a wavelet and a hop add
  sim_near(dsd(&m, OPCODE_SEND32, 1, 2000) - dsd(&m, OPCODE_SEND32, 1, 1000), 1125, 1e-14);
}

static void the_edge_is_a_rate(void **state) {
  (void)state;
  const machine m = sim_machine("cs2", NULL);
  sim_near(timing_io(&m, 1200000000), 1200000000.0 * 32 / 1.2e12 * 1.1e9, 1e-12);
  assert_true(timing_io(&m, 0) == 0);
  sim_near(timing_cycles(&m, 10e-6), 11000, 1e-12);
}

static void more_takes_longer(void **state) {
  (void)state;
  static const char *const names[] = {"cs2", "cs2_sdk", "cs3", "mesh16"};
  for (u32 k = 0; k < COUNT_OF(names); k++) {
    const machine m = sim_machine(names[k], NULL);
    for (u32 op = 0; op < OPCODE_COUNT; op++) {
      assert_true(dsd(&m, op, 1, 2) > dsd(&m, op, 1, 1));
      assert_true(dsd(&m, op, 2, 2) >= dsd(&m, op, 1, 2));
      assert_true(dsd(&m, op, 1, 1000000000000ull) > dsd(&m, op, 1, 999999999999ull));
    }
    for (u32 n = 1; n < 1000; n++) {
      assert_true(timing_path(&m, n + 1) > timing_path(&m, n));
      assert_true(timing_chain(&m, n + 1) > timing_chain(&m, n));
      assert_true(timing_io(&m, n + 1) > timing_io(&m, n));
    }
  }
}

// Per cycle an SRAM gives two 64-bit reads and takes one 64-bit write: no multiply-add may need more.
// (Copies do: 4.82 fp16 values a cycle are measured on WSE-3, so its memory must be wider than that.)
static void no_multiply_exceeds_the_memory(void **state) {
  (void)state;
  static const char *const names[] = {"cs2", "cs3", "mesh16"};
  for (u32 k = 0; k < COUNT_OF(names); k++) {
    const machine m = sim_machine(names[k], NULL);
    for (u32 op = 0; op < OPCODE_COUNT; op++) {
      double cycles = dsd(&m, op, 0, 1) * (1 + 1e-12);
      if (!opcode_get(op)->macs) continue;
      assert_true(opcode_get(op)->read_bytes <= 16 * cycles);
      assert_true(opcode_get(op)->write_bytes <= 8 * cycles);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(instructions_cost_what_silicon_measured),
      cmocka_unit_test(threads_share_the_datapath),
      cmocka_unit_test(threads_share_the_ramp),
      cmocka_unit_test(issues_and_elements_add_up),
      cmocka_unit_test(operands_wait_for_banks),
      cmocka_unit_test(the_vendors_simulator_is_another_machine),
      cmocka_unit_test(collectives_follow_the_published_forms),
      cmocka_unit_test(hops_cost_what_silicon_measured),
      cmocka_unit_test(the_edge_is_a_rate),
      cmocka_unit_test(more_takes_longer),
      cmocka_unit_test(no_multiply_exceeds_the_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
