// The kernel library on the fabric: every kernel on grids of all shapes and sizes that divide nothing, in all
// types, bit for bit on small integers; and programs in text form.
#include "runtime/kernel_program.h"
#include "runtime/kernel_run.h"
#include "tests/child.h"
#include "tests/sim_support.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const u32 grids[][2] = {{1, 1}, {2, 1}, {3, 1},  {4, 1}, {5, 1}, {8, 1}, {13, 1},
                               {1, 2}, {1, 7}, {1, 16}, {2, 2}, {5, 3}, {3, 5}, {17, 2}};

static kernel_request request(const char *name, u32 type) {
  return (kernel_request){.name = name, .width = 1, .height = 1, .words = 13, .tile = 3, .repeat = 1, .type = type};
}

// Runs it hop by hop and with pipes: the same results in the same cycles.
static kernel_outcome runs(const kernel_request *r, const machine *m) {
  static const kernel_how both[] = {{.fabric.walk = true}, {.fabric.walk = false}};
  kernel_outcome o[2] = {{.rate = 0}};
  for (u32 i = 0; i < 2; i++) {
    status st = {0};
    if (!kernel_run(r, m, &both[i], &o[i], &st))
      fail_msg("%s %s %ux%u type %u: %s", r->name, r->pattern ? r->pattern : "", r->width, r->height, r->type, st.text);
    assert_true(o[i].checked);
    if (!o[i].pass || (!r->random && !o[i].equal))
      fail_msg("%s %s %ux%u type %u: %s deviates, %g at most", r->name, r->pattern ? r->pattern : "", r->width,
               r->height, r->type, o[i].where, o[i].largest);
  }
  assert_int_equal(o[0].fabric.cycles, o[1].fabric.cycles);
  assert_memory_equal(&o[0].fabric.counts, &o[1].fabric.counts, sizeof o[0].fabric.counts);
  return o[0];
}

static void on_all_grids(kernel_request r) {
  static const char *const machines[] = {"cs2", "cs3"};
  static const u32 words[] = {1, 2, 13, 64};
  for (u32 k = 0; k < COUNT_OF(machines); k++) {
    machine m = sim_machine(machines[k], NULL);
    for (u32 g = 0; g < COUNT_OF(grids); g++)
      for (u32 type = DF_F32; type <= DF_BF16; type++)
        for (u32 w = 0; w < COUNT_OF(words); w++) {
          r.width = grids[g][0];
          r.height = grids[g][1];
          r.words = words[w];
          r.type = type;
          if (strcmp(r.name, "p2p") == 0 && r.width * r.height == 1) continue;
          if (strcmp(r.name, "summa") == 0) r.height = r.width, r.tile = 1 + w;
          runs(&r, &m);
        }
  }
}

static void messages_and_instructions(void **state) {
  (void)state;
  static const char *const names[] = {"p2p", "task", "broadcast", "matvec"};
  for (u32 i = 0; i < COUNT_OF(names); i++) on_all_grids(request(names[i], DF_F32));
  static const char *const patterns[] = {"copy", "fma"};
  for (u32 i = 0; i < COUNT_OF(patterns); i++) {
    kernel_request r = request("dsd", DF_F32);
    r.pattern = patterns[i];
    r.repeat = 1 + 2 * i;
    on_all_grids(r);
  }
}

static void sums_along_lines(void **state) {
  (void)state;
  static const char *const patterns[] = {"chain", "star", "tree", "two-phase"};
  for (u32 i = 0; i < COUNT_OF(patterns); i++) {
    kernel_request r = request("reduce", DF_F32);
    r.pattern = patterns[i];
    on_all_grids(r);
  }
  on_all_grids(request("allreduce", DF_F32));
}

static void products(void **state) {
  (void)state;
  machine m = sim_machine("cs2", NULL);
  for (u32 p = 1; p <= 7; p++)
    for (u32 type = DF_F32; type <= DF_BF16; type++) {
      kernel_request r = request("summa", type);
      r.width = r.height = p;
      r.tile = 1 + p % 4;
      runs(&r, &m);
    }
  kernel_request r = request("matvec", DF_F16);
  r.tile = 17;
  r.repeat = 3;
  kernel_outcome o = runs(&r, &m);
  assert_int_equal(o.fabric.counts.macs, 3 * 17 * 17);
}

// A PE has eight queues: a tree of more rounds hands the last ones on through a neighbour.
static void deep_trees(void **state) {
  (void)state;
  machine m =
      sim_machine("cs2", "fabric.width=2000 fabric.height=2000 fabric.usable_width=1500 fabric.usable_height=1500");
  static const u32 lengths[] = {256, 257, 258, 512, 513, 700, 1029, 1300};
  for (u32 i = 0; i < COUNT_OF(lengths); i++) {
    kernel_request r = request("reduce", DF_F32);
    r.pattern = "tree";
    r.width = lengths[i];
    r.words = 3;
    runs(&r, &m);
    r.width = 1;
    r.height = lengths[i];
    runs(&r, &m);
  }
}

// Segments of the ring must fit between neighbours whatever the machine.
static void rings_never_jam(void **state) {
  (void)state;
  static const char *const changes[] = {"pe.queue_words=1",       "pe.queue_words=8",     "fabric.hop_cycles=3",
                                        "fabric.hop_cycles=9",    "fabric.ramp_cycles=7", "dsd.add32_rate=0.25",
                                        "fabric.wavelet_cycles=3"};
  for (u32 i = 0; i < COUNT_OF(changes); i++)
    for (u32 p = 2; p < 12; p++) {
      machine m = sim_machine("cs2", changes[i]);
      kernel_request r = request("allreduce", p % 2 ? DF_F16 : DF_F32);
      r.width = p;
      r.words = 200 + 7 * p;
      runs(&r, &m);
    }
}

static void random_data(void **state) {
  (void)state;
  static const char *const names[] = {"dsd", "reduce", "allreduce", "matvec", "summa", "broadcast"};
  machine m = sim_machine("cs3", NULL);
  for (u32 i = 0; i < COUNT_OF(names); i++)
    for (u32 type = DF_F32; type <= DF_BF16; type++)
      for (u64 seed = 1; seed < 4; seed++) {
        kernel_request r = request(names[i], type);
        r.width = r.height = 6;
        r.random = true;
        r.seed = seed;
        runs(&r, &m);
      }
}

// Without inputs the sums are zero: no reference leaks into the result.
static void results_come_from_the_fabric(void **state) {
  (void)state;
  arena *a = arena_create("kernel"), *own = arena_create("fabric");
  machine m = sim_machine("cs3", NULL);
  kernel_request r = request("reduce", DF_F32);
  r.width = 4;
  r.machine = &m;
  status st = {0};
  kernel_case k;
  support_ok(kernel_build(&r, a, &k, &st), &st);
  fabric *f = fabric_open(&k.program, &m, NULL, own, &st);
  support_ok(f != NULL, &st);
  fabric_result result;
  support_ok(fabric_run(f, 100000, &result, &st), &st);
  float sum[13], expected = 0;
  fabric_read(f, 0, 0, k.program.symbols[k.result.symbol].address, sum, sizeof sum);
  for (u32 i = 0; i < 13; i++) {
    assert_true(sum[i] == 0);
    expected += k.result.values[i] * k.result.values[i];
  }
  assert_true(expected > 0);
  arena_destroy(own);
  arena_destroy(a);
}

static void what_is_refused(void **state) {
  (void)state;
  machine m = sim_machine("cs2", NULL);
  kernel_outcome o;
  kernel_request r = request("sumna", DF_F32);
  status st = {0};
  support_failed(kernel_run(&r, &m, NULL, &o, &st), &st, CODE_USAGE, "did you mean \"summa\"");
  r = request("summa", DF_F32);
  r.width = 2;
  status_clear(&st);
  support_failed(kernel_run(&r, &m, NULL, &o, &st), &st, CODE_USAGE, "square");
  r = request("matvec", DF_F32);
  r.tile = 110;
  status_clear(&st);
  support_failed(kernel_run(&r, &m, NULL, &o, &st), &st, CODE_CONFIG, "49152");
  r = request("broadcast", DF_F32);
  r.width = 751;
  status_clear(&st);
  support_failed(kernel_run(&r, &m, NULL, &o, &st), &st, CODE_CONFIG, "");
  r = request("reduce", DF_F32);
  r.pattern = "ring";
  status_clear(&st);
  support_failed(kernel_run(&r, &m, NULL, &o, &st), &st, CODE_USAGE, "chain|star|tree|two-phase");
}

// What a kernel prints is a program: it reads back equal and has the same identity.
static void kernels_as_text(void **state) {
  (void)state;
  machine m = sim_machine("cs2", NULL);
  for (u32 i = 0; i < kernel_count(); i++) {
    arena *a = arena_create("kernel");
    const kernel_facts *facts = kernel_get(i);
    kernel_request r = request(facts->name, DF_F16);
    r.width = r.height = 5;
    r.machine = &m;
    status st = {0};
    kernel_case k;
    support_ok(kernel_build(&r, a, &k, &st), &st);
    text page = {0};
    dataflow_print(&k.program, &page);
    dataflow again;
    support_ok(dataflow_parse("kernel", text_get(&page), page.size, a, &again, &st), &st);
    assert_true(dataflow_hash(&again) == dataflow_hash(&k.program));
    text_free(&page);
    arena_destroy(a);
  }
}

static void put(const char *folder, const char *name, const char *words, char *path, size_t room) {
  status st = {0};
  snprintf(path, room, "%s/%s", folder, name);
  support_ok(file_write(path, words, strlen(words), &st), &st);
}

static void programs_of_ones_own(void **state) {
  (void)state;
  char folder[256], numbers[300], input[340];
  support_folder(folder, sizeof folder);
  put(folder, "numbers.txt", "1 2 3 4\n5 6 7 -8.5\n", numbers, sizeof numbers);
  snprintf(input, sizeof input, "words=%s", numbers);
  machine m = sim_machine("mesh16", NULL);
  arena *a = arena_create("program");
  const char *inputs[] = {input}, *dumps[] = {"total"}, *wrong[] = {"totals"};
  program_request r = {WEFT_SOURCE_DIR "/presets/programs/chain4.weft", inputs, dumps, 1, 1};
  program_outcome o;
  status st = {0};
  support_ok(kernel_program_run(&r, &m, NULL, a, &o, &st), &st);
  assert_int_equal(o.dumps[0].count, 8);
  for (u32 i = 0; i < 7; i++) assert_true(o.dumps[0].values[i] == 4.0f * (float)(i + 1));
  assert_true(o.dumps[0].values[7] == -34);
  r.dumps = wrong;
  support_failed(kernel_program_run(&r, &m, NULL, a, &o, &st), &st, CODE_USAGE, "it has words total");
  r.dumps = dumps;
  put(folder, "numbers.txt", "1 2 three", numbers, sizeof numbers);
  status_clear(&st);
  support_failed(kernel_program_run(&r, &m, NULL, a, &o, &st), &st, CODE_DATA, "number 3");
  put(folder, "numbers.txt", "1 2", numbers, sizeof numbers);
  status_clear(&st);
  support_failed(kernel_program_run(&r, &m, NULL, a, &o, &st), &st, CODE_DATA, "takes 8 (the same for every PE) or 32");
  arena_destroy(a);
  support_remove(folder);
}

static void expect(const char *folder, const char *const *arguments, int code, const char *part) {
  child c = child_run(folder, arguments);
  child_expect(&c, code);
  if (!strstr(c.out, part) && !strstr(c.err, part)) fail_msg("no \"%s\" in:\n%s%s", part, c.out, c.err);
  child_free(&c);
}

static void a_log_of_pes(void **state) {
  (void)state;
  char folder[256];
  support_folder(folder, sizeof folder);
#define P2P "kernel", "p2p", "--grid", "4x1", "--words", "3", "--machine", "cs3"
  expect(folder, CHILD_ARGS(P2P, "--trace-pes", "1:3,0:1"), 0,
         "   cycle  PE     6 entries\n"
         "      20  (1,0)  wavelet color 0 west -> east 0xc0000000 (-2)\n"
         "      21  (1,0)  wavelet color 0 west -> east 0xc0000000 (-2)\n"
         "      22  (1,0)  wavelet color 0 west -> east 0x3f800000 (1)\n"
         "      22  (2,0)  wavelet color 0 west -> east 0xc0000000 (-2)\n");
  expect(folder, CHILD_ARGS(P2P, "--trace-pes", "3:4,0:1", "--trace-window", "27:29"), 0,
         "PE     6 entries\n"
         "      27  (3,0)  task main goes on, started at 0\n"
         "      27  (3,0)  MOV received in, 3 elements, started at 0\n"
         "      27  (3,0)  takes color 0 0xc0000000 (-2)\n");
  expect(folder, CHILD_ARGS(P2P, "--pe", "3,0"), 0,
         "memory of PE (3,0), class receiver, 12 bytes of data\n  received     f32[3] at 0: -2 -2 1\n");
  expect(folder, CHILD_ARGS(P2P, "--trace-pes", "0:1,0:1", "--trace", "a.pftrace"), 0, "task main ends");
  expect(folder, CHILD_ARGS("trace", "top", "a.pftrace"), 0, "PE (0,0)/task  MOV out data");
  expect(folder, CHILD_ARGS(P2P, "--trace-pes", "0:5,0:1"), 2, "the program has PEs 0:4,0:1");
  expect(folder, CHILD_ARGS(P2P, "--trace-pes", "0:5,0:1", "--trace", "b.pftrace"), 2, "the program has PEs 0:4,0:1");
  expect(folder, CHILD_ARGS(P2P, "--trace-pes", "2:2,0:1"), 2, "x0 < x1");
  expect(folder, CHILD_ARGS(P2P, "--trace-pes", "0:-1,0:1"), 2, "x0 < x1");
  expect(folder, CHILD_ARGS(P2P, "--trace-pes", "0:1,0:1", "--trace-window", "9:3"), 2, "a < b");
  expect(folder, CHILD_ARGS(P2P, "--trace-window", "3:9"), 2, "--trace-window goes with --trace-pes");
  expect(folder, CHILD_ARGS(P2P, "--pe", "1,0"), 2, "no code and no memory");
  expect(folder, CHILD_ARGS(P2P, "--pe", "4,0"), 2, "the program has PEs 0:4,0:1");
  expect(folder, CHILD_ARGS(P2P, "--pe", "4"), 2, "not of the form x,y");
  support_remove(folder);
}

// The documents hold what the lines say.
static void a_log_as_json(void **state) {
  (void)state;
  char folder[256];
  support_folder(folder, sizeof folder);
  child c = child_run(folder, CHILD_ARGS(P2P, "--json", "--trace-pes", "3:4,0:1", "--pe", "3,0"));
  child_expect(&c, 0);
  json_t *d = json_loads(c.out, 0, NULL);
  assert_non_null(d);
  json_t *log = json_object_get(json_object_get(d, "log"), "entries");
  u32 takes = 0;
  for (size_t i = 0; i < json_array_size(log); i++)
    takes += !strcmp(json_string_value(json_object_get(json_array_get(log, i), "event")), "takes");
  assert_int_equal(takes, 3);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(d, "log"), "left_out")), 0);
  json_t *received = json_array_get(json_object_get(json_object_get(d, "memory"), "vectors"), 0);
  assert_string_equal(json_string_value(json_object_get(received, "name")), "received");
  assert_true(json_real_value(json_array_get(json_object_get(received, "values"), 2)) == 1);
  json_decref(d);
  child_free(&c);
  support_remove(folder);
}

// What was seen before a stall is shown with it.
static void a_log_of_a_stall(void **state) {
  (void)state;
  char folder[256], path[300];
  support_folder(folder, sizeof folder);
  put(folder, "stall.weft",
      "program stall 1x1\n"
      "class pe data=8\n"
      "  vector got i32 memory address=0 length=2\n"
      "  vector in i32 in color=4 queue=2 length=2\n"
      "  vector out i32 out color=4 queue=2 length=2\n"
      "  task main local active\n"
      "    MOV got in\n"
      "    MOV out got\n"
      "region 0,0 1x1 class=pe\n"
      "route 0,0 1x1 color=4 ramp->ramp\n",
      path, sizeof path);
  child c = child_run(
      folder, CHILD_ARGS("kernel", "--program", path, "--machine", "mesh16", "--trace-pes", "0:1,0:1", "--pe", "0,0"));
  child_expect(&c, 1);
  if (!strstr(c.out, "MOV got in: waits for a wavelet of color 4 since 15\n")) fail_msg("%s%s", c.out, c.err);
  assert_non_null(strstr(c.out, "i32[2] at 0: 0 0\n"));
  assert_non_null(strstr(c.err, "stalled at cycle"));
  child_free(&c);
  support_remove(folder);
}

static void the_command(void **state) {
  (void)state;
  char folder[256];
  support_folder(folder, sizeof folder);
  expect(folder, CHILD_ARGS("kernel"), 0, "chain|star|tree|two-phase");
  expect(folder, CHILD_ARGS("kernel", "manual"), 0, "# Dataflow programs");
  expect(folder, CHILD_ARGS("kernel", "summa", "--grid", "3x3", "--tile", "2"), 0, "equal in all 36 values");
  expect(folder, CHILD_ARGS("kernel", "reduce", "--seed", "7", "--dtype", "bf16", "--json"), 0, "\"pass\": true");
  expect(folder, CHILD_ARGS("kernel", "dsd", "--json"), 0, "\"rate_unit\": \"elements/cycle\"");
  expect(folder, CHILD_ARGS("kernel", "p2p", "--print"), 0, "program p2p 2x1");
  expect(folder, CHILD_ARGS("kernel", "p2p", "--tile", "3"), 2, "does not look at --tile");
  expect(folder, CHILD_ARGS("kernel", "p2p", "--grid", "3by3"), 2, "not of the form WxH");
  expect(folder, CHILD_ARGS("kernel", "p2p", "--dump", "x"), 2, "goes with --program");
  expect(folder, CHILD_ARGS("kernel", "--program", "none.weft"), 66, "none.weft");
  expect(folder, CHILD_ARGS("validate", "--row", "V7"), 0, "within its gate");
  expect(folder, CHILD_ARGS("validate", "--row", "V99"), 2, "V1 to V24");
  support_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_and_instructions),
      cmocka_unit_test(sums_along_lines),
      cmocka_unit_test(products),
      cmocka_unit_test(deep_trees),
      cmocka_unit_test(rings_never_jam),
      cmocka_unit_test(random_data),
      cmocka_unit_test(results_come_from_the_fabric),
      cmocka_unit_test(what_is_refused),
      cmocka_unit_test(kernels_as_text),
      cmocka_unit_test(programs_of_ones_own),
      cmocka_unit_test(a_log_of_pes),
      cmocka_unit_test(a_log_as_json),
      cmocka_unit_test(a_log_of_a_stall),
      cmocka_unit_test(the_command),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
