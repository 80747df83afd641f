// Kernels of the pipeline: what each has to do, the least rectangle that does it in time, and how rectangles
// are packed.
#include "mapper/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BYTES_WEIGHT = 2 + 4 + 3 * 4 }; // fp16 copy, fp32 gradient, master and two moments

static u32 ceil_div(u64 a, u64 b) {
  return (u32)((a + b - 1) / b);
}

static void add_op(pipeline_op *ops, u32 *count, opcode op, u64 issues, u64 elements) {
  if (!elements) return;
  require(*count < PIPELINE_OPS_MAX);
  ops[(*count)++] = (pipeline_op){op, issues, elements};
}

// Every weight of the PE meets every token three times: y += w x, dx += w dy, dw += dy x.
static u32 linear_ops(const graph *g, const plan_kernel *k, pipeline_share pe, u32 tile, bool again, pipeline_op *ops) {
  u64 t = g->seq, tiles = ceil_div(t, tile), i = pe.in, o = pe.out, forward = again ? 2 : 1;
  u32 n = 0;
  add_op(ops, &n, OPCODE_RECV16, forward * tiles, forward * i * t);
  add_op(ops, &n, OPCODE_AXPY16, forward * tiles * i * o, forward * i * o * t);
  add_op(ops, &n, OPCODE_CHAIN32, forward * tiles, forward * o * t);
  add_op(ops, &n, OPCODE_RECV16, tiles, o * t);
  add_op(ops, &n, OPCODE_AXPY16, tiles * i * o, i * o * t);
  add_op(ops, &n, OPCODE_CHAIN32, tiles, i * t);
  add_op(ops, &n, OPCODE_DOT16, tiles * i * o, i * o * t);
  if (g->nodes[k->node].out[0] == g->logits) { // and the loss: maximum, sum, gradient, by the row in equal parts
    u64 own = ceil_div(o * t, k->width);
    add_op(ops, &n, OPCODE_FMA16, 3 * tiles, 3 * own);
    add_op(ops, &n, OPCODE_EXP, tiles, own);
  }
  return n;
}

// As in streaming: rows take tokens in turn and pass keys and values round; 2 products forward, 5 backward.
static u32 attention_ops(const graph *g, const plan_kernel *k, pipeline_share pe, bool again, pipeline_op *ops) {
  bool causal = g->model.attention == ATTENTION_CAUSAL;
  u64 seq = g->seq, tokens = pe.out, f = pe.in, forward = again ? 2 : 1;
  u64 pairs = causal ? tokens * (seq + 1) / 2 : tokens * seq;
  u64 scores = ceil_div(pairs * g->model.heads, k->width); // divided over the columns of a head
  u32 n = 0;
  add_op(ops, &n, OPCODE_AXPY16, (2 * forward + 3) * seq * f, (2 * forward + 3) * pairs * f);
  add_op(ops, &n, OPCODE_DOT16, 2 * seq * f, 2 * pairs * f);
  add_op(ops, &n, OPCODE_EXP, seq, (forward + 1) * scores);
  add_op(ops, &n, OPCODE_FMA16, 3 * (forward + 2) * seq, 3 * (forward + 2) * scores);
  add_op(ops, &n, OPCODE_CHAIN32, (forward + 2) * seq, (forward + 2) * pairs * ceil_div(f * g->model.heads, k->in));
  add_op(ops, &n, OPCODE_RECV16, 4 * seq, 4 * f * (seq - tokens));
  return n;
}

typedef struct element_work { // per feature and token
  u32 forward, backward, functions, sums;
} element_work;

static element_work work_of(const graph *g, u32 op) {
  bool relu2 = g->model.activation == ACT_RELU2;
  switch (op) { // as lower_norm.c and lower_elementwise.c count them
  case OP_LAYERNORM:
    return (element_work){4, 7, 0, 2};
  case OP_RMSNORM:
    return (element_work){3, 5, 0, 1};
  case OP_GATE:
    return (element_work){3, 8, 1, 0};
  case OP_ROTARY:
    return (element_work){4, 4, 1, 0};
  case OP_ACTIVATION:
    return relu2 ? (element_work){2, 2, 0, 0} : (element_work){4, 7, 1, 0};
  case OP_RESIDUAL:
    return (element_work){1, 1, 0, 0};
  default:
    return (element_work){2, 2, 0, 0};
  }
}

static u32 element_ops(const graph *g, const plan_kernel *k, pipeline_share pe, u32 tile, bool again,
                       pipeline_op *ops) {
  element_work w = work_of(g, g->nodes[k->node].op);
  u64 tokens = ceil_div(g->seq, k->height), tiles = ceil_div(tokens, tile), i = pe.in, forward = again ? 2 : 1;
  u32 n = 0;
  add_op(ops, &n, OPCODE_RECV16, 2 * tiles, (forward + 1) * i * tokens);
  add_op(ops, &n, OPCODE_FMA16, (forward * w.forward + w.backward) * tiles * i,
         (forward * w.forward + w.backward) * i * tokens);
  add_op(ops, &n, OPCODE_DOT16, w.sums * tiles * i, w.sums * i * tokens);
  add_op(ops, &n, OPCODE_CHAIN32, 2 * w.sums * tiles, (forward + 1) * w.sums * tokens);
  add_op(ops, &n, OPCODE_TANH, 2 * w.functions * tiles * i, (forward + 1) * w.functions * i * tokens);
  add_op(ops, &n, OPCODE_SEND16, 2 * tiles, (forward + 1) * i * tokens);
  return n;
}

u32 pipeline_ops(const graph *g, const plan_kernel *k, pipeline_share pe, u32 tile, bool again,
                 pipeline_op ops[PIPELINE_OPS_MAX]) {
  if (k->kind == KERNEL_LINEAR) return linear_ops(g, k, pe, tile, again, ops);
  if (k->kind == KERNEL_ATTENTION) return attention_ops(g, k, pe, again, ops);
  return element_ops(g, k, pe, tile, again, ops);
}

u64 pipeline_pe_weights(const graph *g, const plan_kernel *k, pipeline_share pe) {
  const graph_node *n = &g->nodes[k->node];
  if (k->kind == KERNEL_LINEAR) return (u64)pe.in * pe.out + pe.out;
  if (n->op == OP_LAYERNORM || n->op == OP_RMSNORM) return 2 * pe.in;
  if (n->op != OP_EMBED) return 0;
  u64 table = 0; // a tied table lies with the unembedding, which looks tokens up
  for (u32 i = 0; i < NODE_IN_MAX; i++) {
    if (n->in[i] == GRAPH_NONE || g->tensors[n->in[i]].kind != TENSOR_PARAM) continue;
    if (!g->model.tied || g->tensors[n->in[i]].role != g->tensors[n->in[0]].role) table += g->tensors[n->in[i]].rows;
  }
  return ceil_div(table, k->height) * (u64)pe.in;
}

u64 pipeline_bytes(const graph *g, const plan_kernel *k, u32 tile) {
  pipeline_share pe = {k->in_pe, k->out_pe};
  u64 weights = pipeline_pe_weights(g, k, pe) * BYTES_WEIGHT;
  // what waits is spread over all PEs of the kernel
  u64 waiting = ceil_div((u64)k->stored * 2 * g->seq * k->flight, (u64)k->width * k->height);
  u64 tokens = k->kind == KERNEL_ATTENTION ? k->out_pe : tile;
  u64 buffers = 2 * tokens * 2 * k->in_pe + tokens * (k->kind == KERNEL_LINEAR ? 4 * k->out_pe : 12);
  return weights + waiting + buffers;
}

u32 pipeline_code_bytes(const machine *m) {
  return m->spec.code_base_bytes + 6 * m->spec.code_task_bytes + PIPELINE_OPS_MAX * m->spec.code_op_bytes;
}

// --- sizes

typedef struct sizing {
  const graph *g;
  const machine *m;
  u32 width, height; // of the usable rectangle
  u32 tile;
  bool again;
  double period;
} sizing;

static double token_cycles(const sizing *z, const plan_kernel *k) {
  pipeline_op ops[PIPELINE_OPS_MAX];
  u32 count = pipeline_ops(z->g, k, (pipeline_share){k->in_pe, k->out_pe}, z->tile, z->again, ops);
  double cycles = 0;
  for (u32 i = 0; i < count; i++) cycles += timing_dsd(z->m, ops[i].opcode, ops[i].issues, ops[i].elements);
  return cycles / z->g->seq;
}

static bool in_time_and_fits(const sizing *z, plan_kernel *k) {
  k->token_cycles = token_cycles(z, k);
  u64 bytes = pipeline_bytes(z->g, k, z->tile) + pipeline_code_bytes(z->m);
  if (bytes > z->m->spec.sram_bytes || k->token_cycles > z->period) return false;
  k->sram_bytes = (u32)bytes;
  return true;
}

// Sets the shape from the shares of a PE; false where it would not fit the machine.
static bool shape(const sizing *z, plan_kernel *k, u32 in_pe, u32 rows) {
  k->width = ceil_div(k->in, in_pe);
  k->in_pe = ceil_div(k->in, k->width);
  u32 along = k->kind == KERNEL_LINEAR ? k->out : z->g->seq;
  k->height = rows;
  k->out_pe = k->kind == KERNEL_ELEMENTS ? 1 : ceil_div(along, rows);
  return k->width <= z->width && k->height <= z->height && rows <= along;
}

// Fewest rows that do it with this many inputs a PE; more rows never take longer or more memory.
static bool fewest_rows(const sizing *z, plan_kernel *k, u32 in_pe) {
  u32 most = k->kind == KERNEL_LINEAR ? k->out : z->g->seq, low = 0;
  if (most > z->height) most = z->height;
  u32 high = most;
  if (!shape(z, k, in_pe, most) || !in_time_and_fits(z, k)) return false;
  while (high - low > 1) {
    u32 middle = low + (high - low) / 2;
    bool ok = shape(z, k, in_pe, middle) && in_time_and_fits(z, k);
    if (ok)
      high = middle;
    else
      low = middle;
  }
  shape(z, k, in_pe, high);
  return in_time_and_fits(z, k);
}

static u64 cost_of(const plan_kernel *k) {
  return 2 * (u64)k->width * k->height + k->width + k->height;
}

// The least rectangle, where a border of a quarter of a PE all round counts too: squarer ones pack better.
static bool size_kernel(const sizing *z, plan_kernel *k) {
  plan_kernel best = {0};
  u32 last = 0;
  for (u32 in_pe = 1; in_pe <= k->in; in_pe++) {
    plan_kernel tried = *k;
    u32 columns = ceil_div(k->in, in_pe);
    if (columns == last) continue;
    last = columns;
    if (!fewest_rows(z, &tried, in_pe)) continue;
    if (!best.width || cost_of(&tried) < cost_of(&best)) best = tried;
  }
  if (!best.width) return false;
  *k = best;
  return true;
}

// --- packing: the largest kernel first, each into the corner of the free rectangle that it fills best, which
// is then cut in two; equal kernels keep the order of the pipeline.

typedef struct space {
  u32 x, y, width, height;
} space;

static void by_area(const plan_kernel *k, u32 count, u32 *order) {
  for (u32 i = 0; i < count; i++) {
    u32 at = i;
    u64 area = (u64)k[i].width * k[i].height;
    for (; at > 0 && (u64)k[order[at - 1]].width * k[order[at - 1]].height < area; at--) order[at] = order[at - 1];
    order[at] = i;
  }
}

// The free rectangle whose shorter leftover side is least; `count` if none has room.
static u32 best_space(const space *s, u32 count, const plan_kernel *k) {
  u32 best = count, least = UINT32_MAX;
  for (u32 i = 0; i < count; i++) {
    if (s[i].width < k->width || s[i].height < k->height) continue;
    u32 dx = s[i].width - k->width, dy = s[i].height - k->height, left = dx < dy ? dx : dy;
    if (left >= least) continue;
    least = left;
    best = i;
  }
  return best;
}

// What is left beside and below; the longer leftover side gets the larger part.
static void cut(space *s, u32 *count, u32 at, const plan_kernel *k) {
  space old = s[at], beside = old, below = old;
  u32 dx = old.width - k->width, dy = old.height - k->height;
  beside.x += k->width;
  beside.width = dx;
  below.y += k->height;
  below.height = dy;
  if (dx > dy)
    below.width = k->width;
  else
    beside.height = k->height;
  s[at] = beside;
  s[(*count)++] = below;
}

static bool pack(const sizing *z, plan_kernel *kernels, u32 count, arena *a) {
  arena_mark mark = arena_save(a);
  u32 *order = arena_array(a, u32, count), spaces = 1;
  space *s = arena_array(a, space, count + 1);
  s[0] = (space){0, 0, z->width, z->height};
  by_area(kernels, count, order);
  bool ok = true;
  for (u32 i = 0; ok && i < count; i++) {
    plan_kernel *k = &kernels[order[i]];
    u32 at = best_space(s, spaces, k);
    ok = at < spaces;
    if (!ok) break;
    k->x = s[at].x;
    k->y = s[at].y;
    cut(s, &spaces, at, k);
  }
  arena_rewind(a, mark);
  return ok;
}

// --- the pipeline

static u32 features_out(const graph *g, const graph_node *n) {
  return g->tensors[n->out[0]].cols;
}

// Sequences between a kernel's forward work and its gradients: each layer behind it hands on tiles in both
// directions, and in backward waits for a whole sequence, whose last query may change the first key's gradient.
static u32 flight_of(const graph *g, u32 layer, u32 kernels_per_layer, u32 tile) {
  u32 behind = layer == GRAPH_NONE ? 0 : g->model.layers - layer;
  double per_layer = 1 + 2.0 * kernels_per_layer * tile / g->seq;
  return (u32)ceil(behind * per_layer) + 1;
}

static u32 list_kernels(const graph *g, plan_kernel *kernels) {
  u32 count = 0;
  for (u32 n = 0; n < g->forward_end; n++) {
    const graph_node *node = &g->nodes[n];
    if (node->op == OP_LOSS) continue; // with the unembedding
    plan_kernel *k = &kernels[count++];
    *k = (plan_kernel){.node = n, .kind = KERNEL_ELEMENTS, .out = features_out(g, node)};
    k->in = node->op == OP_EMBED ? k->out : g->tensors[node->in[0]].cols;
    if (node->op == OP_LINEAR) k->kind = KERNEL_LINEAR;
    if (node->op == OP_ATTENTION) *k = (plan_kernel){.node = n, .kind = KERNEL_ATTENTION, .in = k->out, .out = k->out};
  }
  return count;
}

// What waits for gradients: the operand; in attention queries, keys, values and the result; nothing where an
// addition or a table needs none. Rebuilding keeps the block's input alone, with its first kernel, and all
// else only while a sequence passes.
static void set_flights(const graph *g, u32 tile, bool again, plan_kernel *kernels, u32 count) {
  u32 per_layer = count / g->model.layers;
  for (u32 i = 0; i < count; i++) {
    plan_kernel *k = &kernels[i];
    const graph_node *n = &g->nodes[k->node];
    bool first = n->layer != GRAPH_NONE && (k->node == 0 || g->nodes[k->node - 1].layer != n->layer);
    k->stored = n->op == OP_ATTENTION ? 4 * k->in : n->op == OP_GATE ? 2 * k->in : n->op == OP_EMBED ? 0 : k->in;
    k->flight = flight_of(g, n->layer, per_layer, tile);
    if ((again && !first) || n->op == OP_RESIDUAL) k->flight = k->flight < 2 ? k->flight : 2;
  }
}

// Wavelets of the widest stream between two kernels, on its links, per token.
static double widest_stream(const graph *g, const machine *m, const plan_kernel *kernels, u32 count, u32 links) {
  double widest = 0;
  for (u32 i = 0; i < count; i++) {
    if (g->nodes[kernels[i].node].out[0] == g->logits) continue; // stay where they are made
    u32 features = features_out(g, &g->nodes[kernels[i].node]);
    widest = fmax(widest, m->spec.wavelet_cycles * ceil_div(ceil_div(features, 2), links));
  }
  return widest;
}

// Blocks are alike but for what waits in them: a kernel as the one before of the same name, where that fits.
static bool size_all(const sizing *z, plan_kernel *kernels, u32 count, arena *a) {
  u64 pes = 0;
  u32 per_layer = count / z->g->model.layers;
  for (u32 i = 0; i < count; i++) {
    plan_kernel *k = &kernels[i];
    const plan_kernel *like = i >= per_layer ? &kernels[i - per_layer] : NULL;
    bool same = like && like->kind == k->kind && like->in == k->in && like->out == k->out &&
                like->flight == k->flight && z->g->nodes[like->node].op == z->g->nodes[k->node].op;
    if (same) {
      u32 node = k->node;
      *k = *like;
      k->node = node;
    } else if (!size_kernel(z, k))
      return false;
    pes += (u64)k->width * k->height;
    if (pes > (u64)z->width * z->height) return false;
  }
  return pack(z, kernels, count, a);
}

typedef struct attempt {
  plan_kernel *kernels;
  u32 tile;
  bool again, found;
  double period;
  u64 pes;
} attempt;

static u64 area_of(const plan_kernel *kernels, u32 count) {
  u64 pes = 0;
  for (u32 i = 0; i < count; i++) pes += (u64)kernels[i].width * kernels[i].height;
  return pes;
}

// The shortest period for which everything can be packed: the streams', or longer by steps of a 64th.
static void try_tile(sizing z, const plan_kernel *list, u32 count, double least, arena *a, attempt *best) {
  enum { STEPS_MAX = 512 };
  plan_kernel *kernels = arena_array(a, plan_kernel, count);
  u32 low = 0, high = STEPS_MAX;
  z.period = 0;
  for (bool first = true; low < high; first = false) {
    u32 step = first ? 0 : low + (high - low) / 2;
    z.period = least * pow(2, step / 64.0);
    memcpy(kernels, list, count * sizeof *list);
    set_flights(z.g, z.tile, z.again, kernels, count);
    bool ok = size_all(&z, kernels, count, a);
    if (ok) {
      u64 pes = area_of(kernels, count);
      if (!best->found || z.period < best->period || (z.period <= best->period && pes < best->pes)) {
        memcpy(best->kernels, kernels, count * sizeof *kernels);
        *best = (attempt){best->kernels, z.tile, z.again, true, z.period, pes};
      }
      high = step;
    } else
      low = step + 1;
  }
}

static void fill_plan(const plan_request *r, const attempt *best, u32 count, double link, plan *p) {
  p->policy = best->again ? POLICY_RECOMPUTE : POLICY_RESIDENT;
  p->kept = KEPT_INPUT;
  p->microbatch = 1;
  p->microbatches = r->batch;
  p->largest_microbatch = 1;
  p->pipeline = (plan_pipeline){.kernels = best->kernels, .count = count, .tile = best->tile, .link_cycles = link};
  double slowest = link;
  const plan_kernel *fullest = best->kernels;
  for (u32 i = 0; i < count; i++) {
    slowest = fmax(slowest, best->kernels[i].token_cycles);
    if (best->kernels[i].sram_bytes > fullest->sram_bytes) fullest = &best->kernels[i];
  }
  p->pipeline.period_cycles = slowest;
  u32 code = pipeline_code_bytes(r->machine);
  p->memory = (plan_memory){.code_bytes = code,
                            .activation_bytes = fullest->sram_bytes - code,
                            .total_bytes = fullest->sram_bytes,
                            .limit_bytes = r->machine->spec.sram_bytes};
  snprintf(p->memory.peak_node, sizeof p->memory.peak_node, "%s", r->graph->nodes[fullest->node].name);
  snprintf(p->limit, sizeof p->limit, "%s",
           slowest > link ? "the slowest kernel sets the rate" : "the widest stream between two kernels sets the rate");
}

bool pipeline_build(const plan_request *r, arena *a, plan *p, status *st) {
  if (r->systems > 1)
    return status_fail(st, CODE_CONFIG, "plan: the pipelined mode keeps weights on one wafer; state systems: 1");
  if (p->options.density < 1)
    return status_fail(st, CODE_CONFIG, "plan: plan.density is of streamed weights; the pipelined mode has none");
  const plan_options *o = &p->options;
  const machine_spec *m = &r->machine->spec;
  sizing z = {.g = r->graph, .m = r->machine};
  z.width = o->width ? o->width : m->usable_width;
  z.height = o->height ? o->height : m->usable_height;
  attempt best = {.kernels = arena_array(a, plan_kernel, r->graph->forward_end)};
  arena_mark mark = arena_save(a);
  plan_kernel *list = arena_array(a, plan_kernel, r->graph->forward_end);
  u32 count = list_kernels(r->graph, list);
  double link = widest_stream(r->graph, r->machine, list, count, o->links);
  for (u32 again = 0; again < 2; again++)
    for (u32 tile = 16; tile <= 128; tile *= 2) {
      if (o->activations == POLICY_OFFLOAD ||
          (o->activations != POLICY_AUTO && (o->activations == POLICY_RECOMPUTE) != again))
        continue;
      z.tile = tile < r->graph->seq ? tile : r->graph->seq;
      z.again = again;
      try_tile(z, list, count, link, a, &best);
    }
  arena_rewind(a, mark);
  if (!best.found)
    return status_fail(st, CODE_CONFIG,
                       "plan: the layers side by side with weights, optimizer state and what waits for gradients do "
                       "not fit %u x %u PEs; take fewer layers or plan.mode = streaming",
                       z.width, z.height);
  fill_plan(r, &best, count, link, p);
  return true;
}
