// Weaving a step: who owns what, where it lies, and the phases in the order of the graph.
#include "mapper/weave_parts.h"

#include "base/hash.h"

#include <string.h>

// ---- tokens over rows

u32 weave_row_tokens(const weave_tokens *t, u32 row) {
  if (row >= t->rows) return 0;
  if (t->seq_rows > 1) return t->seq / t->seq_rows;
  return t->seq * (t->sequences / t->rows + (row < t->sequences % t->rows));
}

u32 weave_row_first(const weave_tokens *t, u32 row) {
  if (t->seq_rows > 1) return row * (t->seq / t->seq_rows);
  const u32 more = t->sequences % t->rows;
  return t->seq * (row * (t->sequences / t->rows) + (row < more ? row : more));
}

// Rows in equal parts of a sequence, as many as the height has; else whole sequences.
static weave_tokens share_tokens(u32 seq, u32 sequences, u32 height) {
  weave_tokens t = {.seq = seq, .sequences = sequences, .seq_rows = 1};
  for (u32 rows = 1; (u64)rows * sequences <= height && rows <= seq; rows++)
    if (seq % rows == 0) t.seq_rows = rows;
  t.rows = t.seq_rows > 1 ? t.seq_rows * sequences : sequences < height ? sequences : height;
  t.row_max = weave_row_tokens(&t, 0);
  return t;
}

// ---- features over columns

static weave_axis even_axis(u32 features, u32 width) {
  return (weave_axis){1, features, features < width ? features : width};
}

// Heads: a column holds whole ones, or several columns hold one in equal parts.
static weave_axis head_axis(const model_spec *m, u32 width) {
  const u32 d = model_head_width(m);
  if (m->heads > width) return (weave_axis){d, m->heads, width};
  u32 spread = 1;
  for (u32 n = 1; n <= d && (u64)n * m->heads <= width; n++)
    if (d % n == 0) spread = n;
  return (weave_axis){d / spread, m->heads * spread, m->heads * spread};
}

static u32 heads_of_column(const model_spec *m, u32 width) {
  return m->heads > width ? (m->heads + width - 1) / width : 1;
}

// ---- places

typedef struct life {
  u32 first, last; // nodes that touch a tensor
} life;

static void touch(life *l, u32 node) {
  if (l->first == GRAPH_NONE) l->first = node;
  l->last = node;
}

static void find_lives(const graph *g, bool keep, life *lives) {
  for (u32 i = 0; i < g->tensor_count; i++) lives[i].first = lives[i].last = GRAPH_NONE;
  for (u32 n = 0; n < g->backward_end; n++) {
    for (u32 k = 0; k < NODE_IN_MAX; k++)
      if (g->nodes[n].in[k] != GRAPH_NONE) touch(&lives[g->nodes[n].in[k]], n);
    for (u32 k = 0; k < NODE_OUT_MAX; k++)
      if (g->nodes[n].out[k] != GRAPH_NONE) touch(&lives[g->nodes[n].out[k]], n);
  }
  for (u32 i = 0; keep && i < g->tensor_count; i++)
    if (lives[i].first < g->forward_end && lives[i].last + 1 < g->forward_end) lives[i].last = g->forward_end - 1;
}

static bool meet(const life *a, const life *b) {
  return a->first <= b->last && b->first <= a->last;
}

// The lowest address at which nothing lies that lives at the same time.
static void find_room(const graph *g, const life *lives, weave_place *places, u32 tensor) {
  weave_place *p = &places[tensor];
  p->address = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (u32 i = 0; i < g->tensor_count; i++) {
      const weave_place *q = &places[i];
      if (!q->placed || !meet(&lives[i], &lives[tensor])) continue;
      if (p->address >= q->address + q->bytes || q->address >= p->address + p->bytes) continue;
      p->address = q->address + q->bytes;
      moved = true;
    }
  }
  p->placed = true;
}

// Activations by heads: what attention reads and writes, and the gradients of that.
static void mark_heads(const graph *g, bool *by_heads) {
  for (u32 n = 0; n < g->forward_end; n++) {
    if (g->nodes[n].op != OP_ATTENTION) continue;
    const u32 of[] = {g->nodes[n].in[0], g->nodes[n].out[0]};
    for (u32 k = 0; k < COUNT_OF(of); k++) {
      by_heads[of[k]] = true;
      if (g->tensors[of[k]].twin != GRAPH_NONE) by_heads[g->tensors[of[k]].twin] = true;
    }
  }
}

// Statistics of tokens, in every column: mean and root of a row, the log sums of the heads that the column holds. How
// many values per token; 0: it is no such tensor.
static void mark_statistics(const graph *g, u32 width, u32 *values) {
  for (u32 n = 0; n < g->forward_end; n++) {
    const u32 out = g->nodes[n].out[1];
    if (out != GRAPH_NONE)
      values[out] = g->nodes[n].op == OP_ATTENTION ? heads_of_column(&g->model, width) : g->tensors[out].cols;
  }
}

static void shape_place(const weave *w, u32 tensor, bool by_heads, u32 statistics) {
  const graph *g = w->graph;
  const u32 cols = g->tensors[tensor].cols;
  weave_place *p = &w->places[tensor];
  *p = (weave_place){.type = w->type, .blocks = 1};
  if (statistics) {
    p->type = DF_F32;
    p->everywhere = true;
    p->axis = (weave_axis){statistics, 1, 1};
  } else if (by_heads) {
    p->blocks = cols / g->model.width;
    p->axis = head_axis(&g->model, w->width);
  } else {
    p->axis = even_axis(cols, w->width);
  }
  p->pitch = w->tokens.row_max * df_type_bytes(p->type);
  p->block_bytes = (p->pitch * weave_tile_max(&p->axis) + 3) & ~3u;
  if (w->type != DF_F32) p->block_bytes = weave_pair(p->block_bytes);
  p->bytes = p->block_bytes * p->blocks;
}

static void place_tensors(weave *w) {
  const graph *g = w->graph;
  life *lives = arena_array(w->memory, life, g->tensor_count);
  bool *by_heads = arena_array(w->memory, bool, g->tensor_count);
  u32 *statistics = arena_array(w->memory, u32, g->tensor_count);
  w->places = arena_array(w->memory, weave_place, g->tensor_count);
  find_lives(g, w->request->keep, lives);
  mark_heads(g, by_heads);
  mark_statistics(g, w->width, statistics);
  for (u32 n = 0; n < g->backward_end; n++)
    for (u32 i = 0; i < g->tensor_count; i++) {
      const graph_tensor *t = &g->tensors[i];
      if (lives[i].first != n || (t->kind != TENSOR_ACT && t->kind != TENSOR_ACT_GRAD) || i == g->loss) continue;
      shape_place(w, i, by_heads[i], statistics[i]);
      find_room(g, lives, w->places, i);
      const u32 end = w->places[i].address + w->places[i].bytes;
      if (end > w->tensor_bytes) w->tensor_bytes = end;
    }
}

// ---- code

static u64 shape_of_code(const dataflow *d, const df_class *c) {
  u64 h = HASH_START;
  for (u32 t = 0; t < c->task_count; t++) {
    const df_task *task = &d->tasks[c->first_task + t];
    h = hash_u64(h, task->trigger);
    for (u32 i = 0; i < task->count; i++) h = hash_u64(h, d->instructions[task->first + i].opcode);
  }
  return h;
}

// Code of all phases in one PE: what differs in addresses, lengths and colors only is there once, as parameters of
// one piece of code. From above: each phase's largest class.
static u32 code_of(const weave *w) {
  const machine *m = w->request->machine;
  u64 *seen = arena_array(w->memory, u64, w->phase_count);
  u32 seen_count = 0, bytes = m->spec.code_base_bytes;
  for (u32 i = 0; i < w->phase_count; i++) {
    const dataflow *d = &w->phases[i].flow;
    u32 most = 0, largest = 0, at = 0;
    for (u32 c = 0; c < d->class_count; c++) {
      const u32 own = dataflow_code_bytes(d, m, c) - m->spec.code_base_bytes;
      if (own > most) most = own, largest = c;
    }
    const u64 shape = shape_of_code(d, &d->classes[largest]);
    while (at < seen_count && seen[at] != shape) at++;
    if (at < seen_count) continue;
    seen[seen_count++] = shape;
    bytes += most;
  }
  return bytes;
}

// ---- the step

static weave_node *const families[OP_COUNT] = {
    [OP_EMBED] = weave_embed,
    [OP_LAYERNORM] = weave_norm,
    [OP_LINEAR] = weave_linear,
    [OP_ATTENTION] = weave_attention,
    [OP_ACTIVATION] = weave_activation,
    [OP_RESIDUAL] = weave_residual,
    [OP_LOSS] = weave_loss,
    [OP_LOSS_GRAD] = weave_loss_grad,
    [OP_LINEAR_GRAD_X] = weave_grad_x,
    [OP_LINEAR_GRAD_W] = weave_grad_w,
    [OP_LAYERNORM_GRAD] = weave_norm_grad,
    [OP_ATTENTION_GRAD] = weave_attention_grad,
    [OP_ACTIVATION_GRAD] = weave_activation_grad,
    [OP_RESIDUAL_GRAD] = weave_residual_grad,
    [OP_EMBED_GRAD] = weave_embed_grad,
};

// Choices that the families do not look at.
static bool check_model(const weave *w) {
  const model_spec *m = &w->graph->model;
  const char *what = m->attention == ATTENTION_BIDIRECTIONAL ? "model.attention=bidirectional"
                     : m->activation == ACT_SILU             ? "model.activation=silu"
                                                             : NULL;
  return !what ||
         status_fail(w->st, CODE_CONFIG, "%s has no form on the fabric yet; simulate with engine.name=flow", what);
}

static bool weave_nodes(weave *w) {
  for (u32 n = 0; n < w->graph->backward_end; n++) {
    const graph_node *node = &w->graph->nodes[n];
    if (!families[node->op])
      return status_fail(w->st, CODE_CONFIG, "%s: %s has no form on the fabric yet; simulate with engine.name=flow",
                         node->name, graph_op_name(node->op));
    if (!families[node->op](w, node)) return false;
  }
  return true;
}

static bool check_grid(const weave_request *r, status *st) {
  const machine_spec *m = &r->machine->spec;
  if (r->width == 0 || r->height == 0 || r->width > m->usable_width || r->height > m->usable_height)
    return status_fail(st, CODE_CONFIG, "a grid of %ux%u PEs; the machine offers 1x1 to %ux%u", r->width, r->height,
                       m->usable_width, m->usable_height);
  return true;
}

static bool check_room(const weave *w, const woven *all, status *st) {
  const weave_request *r = w->request;
  const machine_spec *m = &r->machine->spec;
  const u32 need = all->data_bytes + all->code_bytes;
  if (need <= m->sram_bytes) return true;
  const bool grows = r->width < m->usable_width || r->height < m->usable_height;
  const char *help = all->code_bytes > m->sram_bytes ? "the code alone has no room"
                     : grows && r->microbatch > 1    ? "a larger grid or a smaller microbatch may fit"
                     : grows                         ? "a larger grid may fit"
                     : r->microbatch > 1             ? "a smaller microbatch may fit"
                                                     : "a smaller model or another machine";
  return status_fail(
      st, CODE_CONFIG,
      "the step takes %u bytes of a PE (%u tensors, %u scratch, %u code) on %ux%u PEs for a microbatch of %u, "
      "%u more than it has: %s",
      need, w->tensor_bytes, w->scratch_max, all->code_bytes, r->width, r->height, r->microbatch, need - m->sram_bytes,
      help);
}

bool weave_step(const weave_request *r, arena *a, woven *ret_woven, status *st) {
  if (!check_grid(r, st)) return false;
  require(r->loss_scale > 0 && r->microbatch > 0 && r->batch >= r->microbatch &&
          (r->type == DF_F32 || r->type == DF_F16 || r->type == DF_BF16));
  weave w = {
      .request = r, .graph = r->graph, .width = r->width, .height = r->height, .type = r->type, .memory = a, .st = st};
  w.acc_type = r->axpy_fp32 ? DF_F32 : r->type;
  w.tokens = share_tokens(r->graph->seq, r->microbatch, r->height);
  w.height = w.tokens.rows; // the edge is where the used rows end
  place_tensors(&w);
  if (!check_model(&w) || !weave_nodes(&w)) return false;
  *ret_woven = (woven){.graph = r->graph,
                       .width = w.width,
                       .height = w.height,
                       .type = w.type,
                       .loss_scale = r->loss_scale,
                       .tokens = w.tokens,
                       .places = w.places,
                       .data_bytes = w.tensor_bytes + w.scratch_max,
                       .code_bytes = code_of(&w),
                       .phase_count = w.phase_count,
                       .stream_count = w.stream_count,
                       .segment_count = w.segment_count,
                       .phases = w.phases,
                       .streams = w.streams,
                       .segments = w.segments};
  return check_room(&w, ret_woven, st);
}
