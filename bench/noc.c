// How fast the fabric moves wavelets: meshes of k x k PEs under patterns of traffic made by programs, in
// wavelet-hops per CPU second of one thread, walked hop by hop and with pipes; how much faster two threads are, by
// the clock on the wall; and a whole wafer that is almost idle. Medians of runs in turn.
// `noc [--json] [--quick] [--pattern NAME] [--size K] [--rounds N] [--threads N]`.
#include "bench/measure.h"
#include "bench/streams.h"

#include "base/config.h"
#include "sim/fabric/fabric.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- measuring

static machine machine_of(const char *preset) {
  arena *a = arena_create("machine");
  status st = {0};
  config c;
  machine_spec spec;
  machine m;
  config_init(&c, a);
  config_bind(&c, &machine_table, &spec);
  bool ok = machine_preset(&c, preset, &st) && machine_build(&spec, &m, &st);
  if (!ok) fprintf(stderr, "noc: %s\n", st.text);
  require(ok);
  arena_destroy(a);
  return m;
}

enum { ROUNDS_MAX = 101 };

typedef struct measured {
  fabric_result result;
  double cpu_s, wall_s;
  size_t bytes;
} measured;

static measured measure(const dataflow *d, const machine *m, fabric_options o) {
  measured r;
  arena *a = arena_create("noc");
  status st = {0};
  fabric *f = fabric_open(d, m, &o, a, &st);
  if (!f) fprintf(stderr, "noc: %s\n", st.text);
  require(f != NULL);
  r.bytes = arena_bytes(a);
  double cpu = measure_cpu_s(), wall = measure_wall_s();
  if (!fabric_run(f, UINT32_MAX, &r.result, &st)) fprintf(stderr, "noc: %s\n", st.text);
  r.cpu_s = measure_cpu_s() - cpu;
  r.wall_s = measure_wall_s() - wall;
  arena_destroy(a);
  return r;
}

// Ways to run a program, in turn, so that what else the computer does meets all of them.
enum { PIPES, WALK, THREADS, WAYS };
typedef struct compared {
  measured way[WAYS]; // of the last round, with the median of the times
  double gain;        // median over rounds: time of one thread over that of several
} compared;

typedef struct asked {
  bool json, quick;
  const char *only;
  u32 rounds, threads, size; // 0: all sizes
} asked;

static compared compare(const dataflow *d, const machine *m, const asked *q) {
  double cpu[WAYS][ROUNDS_MAX], wall[WAYS][ROUNDS_MAX], gain[ROUNDS_MAX];
  compared c;
  for (u32 i = 0; i < q->rounds; i++) {
    for (u32 w = 0; w < WAYS; w++) {
      c.way[w] = measure(d, m, (fabric_options){.walk = w == WALK, .threads = w == THREADS ? q->threads : 1});
      cpu[w][i] = c.way[w].cpu_s;
      wall[w][i] = c.way[w].wall_s;
    }
    gain[i] = wall[PIPES][i] / wall[THREADS][i];
    require(c.way[PIPES].result.cycles == c.way[THREADS].result.cycles &&
            c.way[PIPES].result.cycles == c.way[WALK].result.cycles);
  }
  for (u32 w = 0; w < WAYS; w++) {
    c.way[w].cpu_s = measure_median(cpu[w], q->rounds);
    c.way[w].wall_s = measure_median(wall[w], q->rounds);
  }
  c.gain = measure_median(gain, q->rounds);
  return c;
}

static void report(json_t *rows, const asked *q, const char *preset, const char *pattern, u32 k, const compared *c) {
  const fabric_result *x = &c->way[PIPES].result;
  double links = 4.0 * k * (k - 1), load = (double)x->counts.hops / ((double)x->cycles * links);
  double hops = (double)x->counts.hops, all = hops + (double)x->received;
  json_array_append_new(
      rows, json_pack("{s:s,s:s,s:i,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:i,s:f,s:i}", "machine", preset, "pattern",
                      pattern, "k", (int)k, "cycles", (json_int_t)x->cycles, "stepped", (json_int_t)x->stepped,
                      "link_load", load, "hops_per_s", hops / c->way[PIPES].cpu_s, "hops_with_ejection_per_s",
                      all / c->way[PIPES].cpu_s, "walked_hops_per_s", hops / c->way[WALK].cpu_s,
                      "walked_hops_with_ejection_per_s", all / c->way[WALK].cpu_s, "cycle_s",
                      c->way[PIPES].wall_s / (double)x->stepped, "bytes_per_pe", (double)c->way[PIPES].bytes / k / k,
                      "threads", (int)q->threads, "threads_gain", c->gain, "rounds", (int)q->rounds));
  if (q->json) return;
  printf("%-4s %3u x %-3u %-12s %6llu cycles, links %4.1f%% busy: %6.1f M hops/s (%6.1f with ejection), walked %5.1f "
         "(%5.1f), %6.2f us a cycle, "
         "%u threads x %.2f, %5.0f B a PE\n",
         preset, k, k, pattern, (unsigned long long)x->cycles, 100 * load, hops / c->way[PIPES].cpu_s / 1e6,
         all / c->way[PIPES].cpu_s / 1e6, hops / c->way[WALK].cpu_s / 1e6, all / c->way[WALK].cpu_s / 1e6,
         1e6 * c->way[PIPES].wall_s / (double)x->stepped, q->threads, c->gain, (double)c->way[PIPES].bytes / k / k);
  fflush(stdout);
}

static void meshes(json_t *rows, const asked *q) {
  static const u32 sizes[] = {8, 16, 32, 64, 128};
  static const char *const machines[] = {"cs2", "cs3"};
  for (u32 i = 0; i < COUNT_OF(machines); i++)
    for (u32 p = 0; p < STREAMS_PATTERNS; p++)
      for (u32 s = 0; s < (q->quick ? 4u : COUNT_OF(sizes)); s++) {
        if ((q->only && strcmp(q->only, streams_name(p))) || (q->size && q->size != sizes[s])) continue;
        machine m = machine_of(machines[i]);
        arena *a = arena_create("noc program");
        m.spec.sram_bytes = 1 << 20; // long streams: what is measured is the fabric
        i32 words = streams_words(p) * (q->quick ? 1 : sizes[s] < 64 ? 20 : 4);
        dataflow d = streams_build(sizes[s], p, words, a);
        compared c = compare(&d, &m, q);
        report(rows, q, machines[i], streams_name(p), sizes[s], &c);
        arena_destroy(a);
      }
}

// A whole wafer of which one router in five hundred is busy.
static void idle_wafer(json_t *rows, bool json) {
  enum { WIDTH = 762, HEIGHT = 1172, STEP = 32, IDLE_WORDS = 2000 };
  machine m = machine_of("cs3");
  m.spec.usable_width = WIDTH;
  m.spec.usable_height = HEIGHT;
  arena *a = arena_create("noc program");
  df_builder *b = df_build_begin(a, "wafer", WIDTH, HEIGHT);
  df_rect from = df_every(df_block(0, 0, WIDTH / STEP, HEIGHT / STEP), STEP, STEP), to = from;
  to.x = 1;
  df_build_class(b, "sender");
  u32 data = df_build_array(b, "data", DF_F32, IDLE_WORDS),
      out = df_build_out(b, "out", DF_F32, df_just(IDLE_WORDS), 0, 0);
  df_build_task(b, "main");
  df_build_start_active(b);
  df_build_op(b, df_vv(DF_MOV, out, data));
  df_build_class(b, "receiver");
  u32 got = df_build_array(b, "got", DF_F32, IDLE_WORDS), in = df_build_in(b, "in", DF_F32, df_just(IDLE_WORDS), 0, 0);
  df_build_task(b, "main");
  df_build_start_active(b);
  df_build_op(b, df_vv(DF_MOV, got, in));
  df_build_class(b, "idle");
  df_build_data_bytes(b, 64);
  df_build_region(b, from, "sender");
  df_build_region(b, to, "receiver");
  for (u32 x = 2; x < 4; x++) df_build_region(b, df_every(df_block(x, 0, WIDTH / 4, HEIGHT), 4, 1), "idle");
  df_build_route(b, from, 0, PORT_RAMP, PORT_EAST);
  df_build_route(b, to, 0, PORT_WEST, PORT_RAMP);
  dataflow d;
  df_build_finish(b, &d);
  size_t stored = arena_bytes(a);
  measured r = measure(&d, &m, (fabric_options){.threads = 1});
  double rate = (double)r.result.stepped / r.cpu_s,
         active = (double)r.result.counts.hops * 2 / (double)r.result.cycles / WIDTH / HEIGHT;
  json_array_append_new(rows, json_pack("{s:s,s:s,s:I,s:I,s:f,s:f,s:I,s:I}", "machine", "cs3", "pattern", "idle wafer",
                                        "cycles", (json_int_t)r.result.cycles, "stepped", (json_int_t)r.result.stepped,
                                        "active", active, "wafer_cycles_per_s", rate, "bytes", (json_int_t)r.bytes,
                                        "program_bytes", (json_int_t)stored));
  if (!json)
    printf("cs3  %u x %u, %.2f%% of the routers busy: %.0f wafer-cycles/s, %.0f MB (%.0f B a PE), program %.0f kB\n",
           WIDTH, HEIGHT, 100 * active, rate, (double)r.bytes / 1e6, (double)r.bytes / WIDTH / HEIGHT,
           (double)stored / 1e3);
  arena_destroy(a);
}

int main(int argc, char **argv) {
  asked q = {.rounds = 3, .threads = 2};
  for (int i = 1; i < argc; i++) {
    q.json |= !strcmp(argv[i], "--json");
    q.quick |= !strcmp(argv[i], "--quick");
    if (i + 1 == argc) break;
    if (!strcmp(argv[i], "--pattern")) q.only = argv[i + 1];
    if (!strcmp(argv[i], "--rounds")) q.rounds = (u32)strtoul(argv[i + 1], NULL, 10);
    if (!strcmp(argv[i], "--size")) q.size = (u32)strtoul(argv[i + 1], NULL, 10);
    if (!strcmp(argv[i], "--threads")) q.threads = (u32)strtoul(argv[i + 1], NULL, 10);
  }
  require(q.rounds > 0 && q.rounds < ROUNDS_MAX);
  json_t *rows = json_array();
  meshes(rows, &q);
  if (!q.only || !strcmp(q.only, "wafer")) idle_wafer(rows, q.json);
  if (q.json) json_dumpf(json_pack("{s:s, s:o}", "schema", "weft.bench.noc/2", "rows", rows), stdout, JSON_INDENT(1));
  if (q.json) printf("\n");
  return 0;
}
