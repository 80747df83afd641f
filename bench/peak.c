// What this machine's arithmetic reaches at most: multiply-adds in registers, one to N threads.
// Usage: bench_peak [--threads N] [--json]
#include "bench/measure.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 9 };

int main(int argc, char **argv) {
  u32 most = 2;
  bool json = false;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--json")) json = true;
    if (!strcmp(argv[i], "--threads") && i + 1 < argc) most = (u32)strtoul(argv[++i], NULL, 10);
  }
  json_t *rows = json_array();
  for (u32 threads = 1; threads <= most; threads++) {
    for (peak_kind kind = PEAK_FP32; kind <= PEAK_BF16; kind++) {
      if (!measure_peak_exists(kind)) continue;
      double values[REPEATS];
      for (u32 r = 0; r < REPEATS; r++) values[r] = measure_peak(kind, threads, 0.1) / 1e9;
      double each = measure_median(values, REPEATS);
      json_array_append_new(rows, json_pack("{s:s, s:s, s:i, s:f, s:f, s:f}", "type", kind ? "bf16" : "fp32", "instruction",
                                            measure_peak_name(kind), "threads", (int)threads, "gflops_per_thread", each,
                                            "slowest", values[0], "fastest", values[REPEATS - 1]));
      if (!json)
        printf("%s  %u thread%s  %6.1f GFLOP/s a thread (%.1f to %.1f over %d runs), %s\n", kind ? "bf16" : "fp32", threads,
               threads > 1 ? "s" : " ", each, values[0], values[REPEATS - 1], REPEATS, measure_peak_name(kind));
    }
  }
  if (json) json_dumpf(json_pack("{s:s, s:o}", "schema", "weft.bench.peak/1", "rows", rows), stdout, JSON_INDENT(1));
  if (json) printf("\n");
  return 0;
}
