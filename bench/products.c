// Matrix products on one thread: ours against OpenBLAS and oneDNN where they were found, at the shapes of
// a training step. Each shape runs forward, input gradient and weight gradient, in turn with the peak.
// Usage: bench_products [--json]
#include "bench/measure.h"
#include "base/arena.h"
#include "model/compute/kernels_level.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#if defined HAVE_OPENBLAS
#include <cblas.h>
#endif
#if defined HAVE_DNNL
#include <dnnl.h>
#include <omp.h>
#endif

enum { REPEATS = 7 };

typedef void product(const gemm_request *r, float *scratch);

static const kernels_level *level(void) {
  u32 best = 0;
  for (u32 i = 0; i < KERNELS_LEVELS; i++)
    if (kernels_level_get(i)) best = i;
  return kernels_level_get(best);
}

static void ours(const gemm_request *r, float *scratch) { level()->gemm(r, scratch); }

#if defined HAVE_OPENBLAS
static void openblas(const gemm_request *r, float *scratch) {
  (void)scratch;
  int m = (int)r->m, n = (int)r->n, k = (int)r->k;
  cblas_sgemm(CblasRowMajor, r->a_transposed ? CblasTrans : CblasNoTrans, r->b_transposed ? CblasTrans : CblasNoTrans, m, n,
              k, r->alpha, r->a, r->a_transposed ? m : k, r->b, r->b_transposed ? k : n, r->accumulate ? 1 : 0, r->c, n);
}
#endif

#if defined HAVE_DNNL
static void onednn(const gemm_request *r, float *scratch) {
  (void)scratch;
  dnnl_dim_t m = r->m, n = r->n, k = r->k;
  dnnl_sgemm(r->a_transposed ? 'T' : 'N', r->b_transposed ? 'T' : 'N', m, n, k, r->alpha, r->a, r->a_transposed ? m : k,
             r->b, r->b_transposed ? k : n, r->accumulate ? 1 : 0, r->c, n);
}
#endif

static const struct {
  const char *name;
  product *run;
} libraries[] = {
    {"ours", ours},
#if defined HAVE_OPENBLAS
    {"OpenBLAS", openblas},
#endif
#if defined HAVE_DNNL
    {"oneDNN", onednn},
#endif
};

static const u32 shapes[][3] = {{256, 64, 64},   {128, 64, 256},   {256, 128, 384},  {256, 128, 512}, {256, 512, 128},
                                {256, 256, 768}, {256, 256, 1024}, {256, 768, 2304}, {256, 768, 3072}, {256, 3072, 768}};

// Tokens x in -> out: y = x W^T, dx = dy W, dW += dy^T x.
typedef struct layer {
  gemm_request forward, grad_x, grad_w;
  float *scratch;
  double flop;
} layer;

static layer layer_of(const u32 *shape, arena *a) {
  u32 t = shape[0], in = shape[1], out = shape[2];
  float *x = arena_array(a, float, t * in), *w = arena_array(a, float, in * out), *y = arena_array(a, float, t * out);
  float *dw = arena_array(a, float, in * out), *dx = arena_array(a, float, t * in);
  for (u32 i = 0; i < t * in; i++) x[i] = (float)(i % 7) / 8;
  for (u32 i = 0; i < in * out; i++) w[i] = (float)(i % 5) / 8;
  return (layer){.forward = {t, out, in, x, w, false, true, y, 1, false},
                 .grad_x = {t, in, out, y, w, false, false, dx, 1, false},
                 .grad_w = {out, in, t, y, x, true, false, dw, 1e-6f, true},
                 .scratch = arena_array(a, float, level()->gemm_scratch_floats),
                 .flop = 6.0 * t * in * out};
}

static double rate(product *run, const layer *l) {
  double start = measure_cpu_s(), now = start;
  u32 times = 0;
  for (; now - start < 0.05; now = measure_cpu_s(), times++) {
    run(&l->forward, l->scratch);
    run(&l->grad_x, l->scratch);
    run(&l->grad_w, l->scratch);
  }
  return l->flop * times / (now - start) / 1e9;
}

static json_t *measure_shape(const u32 *shape, bool json) {
  arena *a = arena_create("products");
  layer l = layer_of(shape, a);
  double values[COUNT_OF(libraries)][REPEATS], peak[REPEATS];
  for (u32 r = 0; r < REPEATS; r++) {
    peak[r] = measure_peak(PEAK_FP32, 1, 0.02) / 1e9;
    for (u32 i = 0; i < COUNT_OF(libraries); i++) values[i][r] = rate(libraries[i].run, &l);
  }
  char name[48];
  snprintf(name, sizeof name, "%u x %u x %u", shape[0], shape[1], shape[2]);
  double top = measure_median(peak, REPEATS);
  json_t *row = json_pack("{s:s, s:f}", "shape", name, "peak_gflops", top);
  if (!json) printf("%-16s", name);
  for (u32 i = 0; i < COUNT_OF(libraries); i++) {
    double got = measure_median(values[i], REPEATS);
    json_object_set_new(row, libraries[i].name, json_real(got));
    if (!json) printf("  %-8s %6.1f (%2.0f%%)", libraries[i].name, got, 100 * got / top);
  }
  if (!json) printf("  of %.1f GFLOP/s\n", top);
  arena_destroy(a);
  return row;
}

int main(int argc, char **argv) {
  bool json = argc > 1 && !strcmp(argv[1], "--json");
#if defined HAVE_OPENBLAS
  openblas_set_num_threads(1);
#endif
#if defined HAVE_DNNL
  omp_set_num_threads(1);
#endif
  json_t *rows = json_array();
  if (!json) printf("tokens x in x out, forward and both gradients together, one thread\n");
  for (u32 i = 0; i < COUNT_OF(shapes); i++) json_array_append_new(rows, measure_shape(shapes[i], json));
  if (json) json_dumpf(json_pack("{s:s, s:o}", "schema", "weft.bench.products/1", "rows", rows), stdout, JSON_INDENT(1));
  if (json) printf("\n");
  json_decref(rows);
  return 0;
}
