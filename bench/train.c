// Training steps per second on four models (forward, backward and AdamW), beside the peak that the same
// threads reach in turn with them, and beside PyTorch where it is installed.
// Usage: bench_train [--config abcd] [--threads 1,2] [--seconds 2] [--set key=value]... [--torch] [--profile] [--json]
#include "bench/measure.h"
#include "model/compute/trainer.h"
#include "model/graph/graph_count.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 7, THREADS_MAX = 8, SETS_MAX = 8 };

// GPT-2-shaped: tied, learned positions, GELU by tanh, biases.
static const struct {
  char name;
  u32 layers, width, heads, seq, batch, vocab;
} configs[] = {
    {'a', 4, 128, 4, 256, 8, 256},
    {'b', 8, 256, 4, 256, 8, 256},
    {'c', 2, 768, 12, 256, 4, 50257},
    {'d', 32, 64, 2, 128, 8, 256},
};

typedef struct request {
  const char *which, *sets[SETS_MAX];
  u32 threads[THREADS_MAX], thread_counts, set_count;
  double seconds;
  bool torch, json, profile;
} request;

// One model, ready to step.
typedef struct subject {
  arena *a;
  graph g;
  train_options options;
  trainer *t;
  u32 *inputs, *targets;
  double tokens; // per step
} subject;

static _Noreturn void stop(const char *why) {
  fprintf(stderr, "bench_train: %s\n", why);
  exit(2);
}

static void apply(const request *r, train_options *o) {
  for (u32 i = 0; i < r->set_count; i++) {
    const char *equals = strchr(r->sets[i], '=');
    char key[64];
    snprintf(key, sizeof key, "%.*s", equals ? (int)(equals - r->sets[i]) : 0, r->sets[i]);
    const field *f = field_find(&train_table, key);
    status st = {0};
    if (!f) stop("--set wants a key of the section train");
    if (!field_parse(&train_table, f, o, equals + 1, "--set", &st)) stop(st.text);
  }
}

static subject subject_of(const request *r, u32 config, u32 threads) {
  subject s = {.a = arena_create("bench")};
  model_spec m;
  status st = {0};
  field_defaults(&model_table, &m);
  field_defaults(&train_table, &s.options);
  m.layers = configs[config].layers, m.width = configs[config].width, m.heads = configs[config].heads;
  m.vocab = configs[config].vocab, m.tied = true, m.activation = ACT_GELU, m.position = POSITION_LEARNED;
  s.options.seq = configs[config].seq, s.options.batch = configs[config].batch, s.options.steps = 1000000;
  s.options.lr = 1e-4, s.options.eps = 1e-8;
  apply(r, &s.options);
  if (!graph_build(&m, (base_hyper){s.options.lr, 0, s.options.eps}, s.options.seq, s.a, &s.g, &st)) stop(st.text);
  graph *g = arena_array(s.a, graph, 1);
  *g = s.g;
  train_options *o = arena_array(s.a, train_options, 1);
  *o = s.options;
  s.t = trainer_create(
      &(trainer_setup){.graph = g, .options = o, .kernels = trainer_kernels(o), .seed = 1, .threads = threads}, s.a,
      &st);
  if (!s.t) stop(st.text);
  u32 tokens = o->batch * o->seq;
  s.tokens = tokens;
  s.inputs = arena_array(s.a, u32, tokens + 1);
  s.targets = s.inputs + 1;
  for (u32 i = 0; i <= tokens; i++) s.inputs[i] = (u32)((i * 2654435761u) >> 8) % m.vocab;
  return s;
}

// What was measured of one model on one number of threads.
typedef struct figures {
  double by_wall, by_cpu;     // tokens per second; the latter as if the threads had the cores for themselves
  double gflops, peak, share; // per thread, by CPU time
  double flop, bytes;         // per token; of the trainer
} figures;

static figures measure(subject *s, u32 threads, double seconds) {
  double wall[REPEATS], cpu[REPEATS], peak[REPEATS], share[REPEATS];
  figures f = {.flop = graph_count(&s->g).flops_causal, .bytes = (double)arena_bytes(s->a)};
  trainer_step_on(s->t, s->inputs, s->targets);
  for (u32 r = 0; r < REPEATS; r++) {
    peak[r] = measure_peak(PEAK_FP32, threads, 0.05);
    double wall0 = measure_wall_s(), cpu0 = measure_cpu_s();
    u32 steps = 0;
    while (steps == 0 || measure_wall_s() - wall0 < seconds / REPEATS) {
      trainer_step_on(s->t, s->inputs, s->targets);
      steps++;
    }
    wall[r] = steps * s->tokens / (measure_wall_s() - wall0);
    cpu[r] = steps * s->tokens / (measure_cpu_s() - cpu0);
    share[r] = cpu[r] * f.flop / peak[r];
  }
  f.by_wall = measure_median(wall, REPEATS);
  f.by_cpu = measure_median(cpu, REPEATS) * threads;
  f.peak = measure_median(peak, REPEATS) / 1e9;
  f.share = measure_median(share, REPEATS);
  f.gflops = f.by_cpu / threads * f.flop / 1e9;
  return f;
}

// Steps once more with the clock on every operation.
static void show_profile(subject *s, double flop_seconds) {
  execute_time rows[EXECUTE_TIMES];
  executor *e = trainer_executor(s->t);
  execute_profile(e, true);
  double cpu = measure_cpu_s();
  for (u32 i = 0; i < 3; i++) trainer_step_on(s->t, s->inputs, s->targets);
  cpu = measure_cpu_s() - cpu;
  u32 count = execute_times(e, rows);
  for (u32 i = 0; i < count; i++)
    printf("   %-22s %6.1f%%  %9.3f ms  %7llu calls\n", rows[i].name, 100 * rows[i].seconds / cpu,
           1e3 * rows[i].seconds / 3, (unsigned long long)rows[i].calls / 3);
  printf("   of %.1f ms of CPU a step; its FLOP take %.1f ms at the peak\n", 1e3 * cpu / 3, 1e3 * flop_seconds);
  execute_profile(e, false);
}

static void show(const figures *f, u32 config, u32 threads) {
  printf("%c  L%u N%u H%u T%u B%u V%u  %u thread%s  %9.0f tokens/s (%.0f by wall)  %6.1f GFLOP/s a thread, %2.0f%% of "
         "%.1f  %5.0f MB\n",
         configs[config].name, configs[config].layers, configs[config].width, configs[config].heads,
         configs[config].seq, configs[config].batch, configs[config].vocab, threads, threads > 1 ? "s" : " ", f->by_cpu,
         f->by_wall, f->gflops, 100 * f->share, f->peak, f->bytes / 1e6);
  fflush(stdout);
}

// Tokens per second of the same step in PyTorch, or 0.
static double torch_rate(char config, u32 threads) {
  char line[256];
  snprintf(line, sizeof line, "python3 %s %c %u", WEFT_TRAIN_TORCH, config, threads);
  FILE *pipe = popen(line, "r");
  double rate = 0;
  if (pipe && fgets(line, sizeof line, pipe)) {
    rate = strtod(line, NULL);
    if (rate == 0) fputs(line, stderr);
  }
  if (pipe) pclose(pipe);
  return rate;
}

static json_t *run_one(const request *r, u32 config, u32 threads) {
  subject s = subject_of(r, config, threads);
  figures f = measure(&s, threads, r->seconds);
  if (!r->json) show(&f, config, threads);
  if (r->profile && !r->json) show_profile(&s, f.flop * s.tokens / f.peak / 1e9);
  const char name[2] = {configs[config].name, 0};
  json_t *row =
      json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "config", name, "threads", (int)threads,
                "tokens_per_s", f.by_cpu, "tokens_per_s_wall", f.by_wall, "gflops_per_thread", f.gflops,
                "peak_gflops_per_thread", f.peak, "share", f.share, "flop_per_token", f.flop, "bytes", f.bytes);
  arena_destroy(s.a);
  if (!r->torch) return row;
  double other = torch_rate(configs[config].name, threads);
  if (other > 0) json_object_set_new(row, "torch_tokens_per_s", json_real(other));
  if (!r->json && other > 0)
    printf("   PyTorch %.0f tokens/s by wall: ours is %.2f times it\n", other, f.by_wall / other);
  return row;
}

static request request_of(int argc, char **argv) {
  request r = {.which = "abcd", .threads = {1, 2}, .thread_counts = 2, .seconds = 2};
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(argv[i], "--json"))
      r.json = true;
    else if (!strcmp(argv[i], "--torch"))
      r.torch = true;
    else if (!strcmp(argv[i], "--profile"))
      r.profile = true;
    else if (!strcmp(argv[i], "--config"))
      r.which = value, i++;
    else if (!strcmp(argv[i], "--seconds"))
      r.seconds = strtod(value, NULL), i++;
    else if (!strcmp(argv[i], "--set") && r.set_count < SETS_MAX)
      r.sets[r.set_count++] = value, i++;
    else if (!strcmp(argv[i], "--threads")) {
      char *end = argv[++i];
      for (r.thread_counts = 0; end && *end && r.thread_counts < THREADS_MAX; end += *end == ',')
        r.threads[r.thread_counts++] = (u32)strtoul(end, &end, 10);
    } else
      stop("usage: bench_train [--config abcd] [--threads 1,2] [--seconds 2] [--set key=value] [--torch] [--profile] "
           "[--json]");
  }
  return r;
}

int main(int argc, char **argv) {
  request r = request_of(argc, argv);
  json_t *rows = json_array();
  if (!r.json)
    printf("FLOP by explicit count, causal half of attention; tokens/s and shares by the CPU time the threads got\n");
  for (u32 c = 0; c < COUNT_OF(configs); c++)
    for (u32 t = 0; strchr(r.which, configs[c].name) && t < r.thread_counts; t++)
      json_array_append_new(rows, run_one(&r, c, r.threads[t]));
  json_t *all = json_pack("{s:s, s:o}", "schema", "weft.bench.train/1", "rows", rows);
  if (r.json) json_dumpf(all, stdout, JSON_INDENT(1));
  if (r.json) printf("\n");
  json_decref(all);
  return 0;
}
