// Maps of a step over the grid.
#include "runtime/fabric_maps.h"

#include <string.h>

// From the first to the last phase that touches the tensor; false: it is in no PE.
static bool life_of(const woven *w, u32 tensor, u32 *ret_first, u32 *ret_last) {
  bool any = false;
  for (u32 p = 0; w->places[tensor].placed && p < w->phase_count; p++) {
    const graph_node *n = &w->graph->nodes[w->phases[p].node];
    bool touched = false;
    for (u32 k = 0; k < NODE_IN_MAX; k++) touched |= n->in[k] == tensor;
    for (u32 k = 0; k < NODE_OUT_MAX; k++) touched |= n->out[k] == tensor;
    if (!touched) continue;
    if (!any) *ret_first = p;
    *ret_last = p;
    any = true;
  }
  return any;
}

static void add_tile(const woven *w, const weave_place *p, float *values) {
  for (u32 y = 0; y < w->height; y++)
    for (u32 x = 0; x < w->width; x++) {
      const u32 features = p->blocks * (p->everywhere ? p->axis.unit : weave_tile(&p->axis, x));
      values[y * w->width + x] += (float)(features * weave_row_tokens(&w->tokens, y) * df_type_bytes(p->type));
    }
}

// Bytes of a PE's tensors in the phase in which they are most.
static float *sram(const woven *w, arena *a) {
  const u32 pes = w->width * w->height, tensors = w->graph->tensor_count;
  float *most = arena_array(a, float, pes), *now = arena_array(a, float, pes);
  u32 *first = arena_array(a, u32, tensors), *last = arena_array(a, u32, tensors);
  bool *lives = arena_array(a, bool, tensors);
  for (u32 t = 0; t < tensors; t++) lives[t] = life_of(w, t, &first[t], &last[t]);
  for (u32 p = 0; p < w->phase_count; p++) {
    memset(now, 0, pes * sizeof *now);
    for (u32 t = 0; t < tensors; t++)
      if (lives[t] && first[t] <= p && p <= last[t]) add_tile(w, &w->places[t], now);
    for (u32 i = 0; i < pes; i++)
      if (now[i] > most[i]) most[i] = now[i];
  }
  return most;
}

static float *per_cycle(const u64 *counts, u32 pes, u64 cycles, arena *a) {
  float *values = arena_array(a, float, pes);
  for (u32 i = 0; i < pes; i++) values[i] = (float)((double)counts[i] / (double)cycles);
  return values;
}

void fabric_maps(const fabric_step *f, arena *a, step_map ret_maps[STEP_MAPS]) {
  const woven *w = fabric_step_woven(f);
  const fabric_load *load = fabric_step_load(f);
  const u32 pes = w->width * w->height;
  const u64 cycles = fabric_step_cycles(f);
  require(load != NULL);
  ret_maps[0] = (step_map){"links", "wavelets/cycle", "wavelets that leave a router by its links, per cycle",
                           per_cycle(load->hops, pes, cycles, a)};
  ret_maps[1] = (step_map){"compute", "of the cycles", "share of the cycles that a datapath works",
                           per_cycle(load->busy, pes, cycles, a)};
  ret_maps[2] = (step_map){"sram", "bytes", "bytes of tensors at the fullest moment", sram(w, a)};
}
