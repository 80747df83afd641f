// The independent verifier of pipelined plans; shares no code with what sizes and packs kernels.
//
//  1. every operation of the forward pass but the loss has one kernel, in order
//  2. every rectangle lies inside what machine and options leave, and on no other
//  3. the shares of the fullest PE are what the rectangle's sides leave: all features and outputs have a place
//  4. memory: weights with gradient and optimizer state, what waits for gradients and code fit the PE
//  5. the period is not shorter than any kernel's time nor than any stream between two kernels
#include "mapper/pipeline.h"

static bool refuse(status *st, u32 number, const char *node, const char *what) {
  return status_fail(st, CODE_BUG, "plan check %u: kernel %s %s", number, node, what);
}

static bool shares_ok(const plan_kernel *k, const graph *g) {
  u64 outputs = k->kind == KERNEL_LINEAR ? k->out : k->kind == KERNEL_ATTENTION ? g->seq : 1;
  u64 rows = k->kind == KERNEL_ELEMENTS ? 1 : k->height;
  if (!k->width || !k->height || !k->in_pe || !k->out_pe) return false;
  bool all = (u64)k->in_pe * k->width >= k->in && (u64)k->out_pe * rows >= outputs;
  bool none_idle = (u64)(k->in_pe - 1) * k->width < k->in && (u64)(k->out_pe - 1) * rows < outputs;
  return all && none_idle;
}

// Bytes that the fullest PE cannot do without.
static u64 least_bytes(const plan_kernel *k, const graph *g, const machine *m) {
  enum { HALF = 2, FULL = 4 };
  u64 weights = k->kind == KERNEL_LINEAR ? (u64)k->in_pe * k->out_pe : 0;
  u64 waiting = (u64)k->flight * k->stored * g->seq * HALF / ((u64)k->width * k->height);
  return m->spec.code_base_bytes + weights * (HALF + 4 * FULL) + waiting;
}

static bool check_kernel(const plan *p, const graph *g, const machine *m, u32 index, status *st) {
  const plan_kernel *k = &p->pipeline.kernels[index];
  const char *name = g->nodes[k->node].name;
  u64 width = p->options.width ? p->options.width : m->spec.usable_width;
  u64 height = p->options.height ? p->options.height : m->spec.usable_height;
  if ((u64)k->x + k->width > width || (u64)k->y + k->height > height) return refuse(st, 2, name, "leaves the machine");
  for (u32 i = 0; i < index; i++) {
    const plan_kernel *o = &p->pipeline.kernels[i];
    bool apart =
        o->x + o->width <= k->x || k->x + k->width <= o->x || o->y + o->height <= k->y || k->y + k->height <= o->y;
    if (!apart) return refuse(st, 2, name, "lies on another");
  }
  if (!shares_ok(k, g)) return refuse(st, 3, name, "does not hold what its operation needs");
  if (k->sram_bytes > m->spec.sram_bytes || k->sram_bytes > p->memory.total_bytes ||
      least_bytes(k, g, m) > k->sram_bytes)
    return refuse(st, 4, name, "does not fit its PEs");
  const graph_node *n = &g->nodes[k->node];
  double stream = n->out[0] == g->logits ? 0 : g->tensors[n->out[0]].cols / 2.0 / p->options.links;
  if (p->pipeline.period_cycles < k->token_cycles || p->pipeline.period_cycles < stream * m->spec.wavelet_cycles)
    return refuse(st, 5, name, "is slower than the pipeline");
  return true;
}

bool pipeline_check(const plan *p, const graph *g, const machine *m, status *st) {
  u32 next = 0;
  for (u32 i = 0; i < p->pipeline.count; i++) {
    while (next < g->forward_end && g->nodes[next].op == OP_LOSS) next++;
    if (p->pipeline.kernels[i].node != next) return refuse(st, 1, g->nodes[next].name, "is missing or out of order");
    next++;
    if (!check_kernel(p, g, m, i, st)) return false;
  }
  while (next < g->forward_end && g->nodes[next].op == OP_LOSS) next++;
  if (next != g->forward_end) return refuse(st, 1, g->nodes[next].name, "is missing");
  return p->systems == 1 || refuse(st, 1, g->nodes[0].name, "runs on several systems");
}
