// The unembedding and loss of sequences whose forward pass is done, by all threads together: logits exist for
// HEAD_ROWS tokens at a time, and the gradient of the unembedding exists once, not once per lane.
// With it comes the gradient of the embedding, which may be the same matrix: one thread adds it up in
// the order of the sequences.
#include "model/compute/execute_parts.h"

#include <omp.h>
#include <string.h>

static u32 parts_of(u32 all, u32 size) { return (all + size - 1) / size; }

bool execute_head_open(executor *e, arena *a, status *st) {
  const graph *g = e->graph;
  size_t chunks = parts_of(g->model.vocab, HEAD_CHUNK), parts = chunks * HEAD_ROWS * 2;
  e->head.logits = arena_take_big(a, chunks * HEAD_ROWS * HEAD_CHUNK * sizeof(float), "logits", st);
  if (!e->head.logits) return false;
  e->head.parts = arena_take(a, parts * sizeof(float));
  e->head.sums = arena_take(a, sizeof(float) * 2 * HEAD_ROWS);
  e->head.loss = arena_take(a, sizeof(float) * HEAD_ROWS);
  e->head.node = g->tensors[g->logits].producer;
  for (u32 n = g->forward_end; n < g->backward_end; n++)
    if (g->nodes[n].op == OP_EMBED_GRAD) e->head.embed_grad = n;
  return true;
}

static head_call head_of(const execute_run *r, u32 sequence, float *block, u32 row) {
  const executor *e = r->e;
  const graph *g = e->graph;
  const graph_node *n = &g->nodes[e->head.node];
  u32 width = g->model.width, x = e->order.head_x, weight = g->tensors[n->in[1]].param;
  size_t at = (size_t)row * width;
  return (head_call){.rows = g->seq - row < HEAD_ROWS ? g->seq - row : HEAD_ROWS, .width = width, .vocab = g->model.vocab,
                     .x = block + e->plan.offsets[x] + at, .weight = r->b->params[weight],
                     .targets = r->b->targets + (size_t)sequence * g->seq + row,
                     .scale = (float)n->scale, .factor = (float)(1 / r->targets),
                     .logits = e->head.logits, .parts = e->head.parts, .sums = e->head.sums, .loss = e->head.loss,
                     .dx = block + e->plan.offsets[g->tensors[x].twin] + at,
                     .dweight = r->grads ? r->grads[weight] : NULL,
                     .accumulate_dweight = sequence > 0 || row > 0};
}

// All threads take tasks; the barrier is the loop's.
static void share(const execute_run *r, const head_call *h, head_task *task, u32 count) {
  float *scratch = r->e->scratch[omp_get_thread_num()];
#pragma omp for schedule(dynamic, 1)
  for (u32 i = 0; i < count; i++) task(h, i, scratch);
}

void execute_head_run(const execute_run *r, u32 sequence, float *block) {
  executor *e = r->e;
  const kernel_table *k = e->kernels;
  for (u32 row = 0; row < e->graph->seq; row += HEAD_ROWS) {
    head_call h = head_of(r, sequence, block, row);
    u64 since = execute_now(e);
    share(r, &h, k->head_logits, parts_of(h.vocab, HEAD_CHUNK));
    share(r, &h, k->head_loss, parts_of(h.rows, HEAD_ROW_BLOCK));
    execute_add_time(e, EXTRA_HEAD, since);
#pragma omp single
    for (u32 t = 0; t < h.rows; t++) e->losses[sequence] += h.loss[t];
    if (!r->grads) continue;
    since = execute_now(e);
    share(r, &h, k->head_grad_w, parts_of(h.vocab, HEAD_CHUNK));
    share(r, &h, k->head_grad_x, parts_of(h.width, HEAD_COLUMN_BLOCK));
    execute_add_time(e, EXTRA_HEAD_GRAD, since);
  }
}

// The embedding's gradient of sequences first .. first + count, which lie in the lanes' blocks.
void execute_head_finish(const execute_run *r, u32 first, u32 count) {
  const executor *e = r->e;
  const graph *g = e->graph;
  const graph_node *n = &g->nodes[e->head.embed_grad];
#pragma omp single
  for (u32 i = 0; i < count; i++) {
    const u32 *ids = r->b->inputs + (size_t)(first + i) * g->seq;
    kernel_call c = {.graph = g, .node = n, .seq = g->seq, .accumulate = n->accumulate};
    c.in[0] = execute_block(e, i) + e->plan.offsets[n->in[0]];
    c.in[1] = (float *)(uintptr_t)ids;
    c.in_cols[0] = g->model.width;
    for (u32 k = 0; k < NODE_OUT_MAX; k++) {
      if (n->out[k] == GRAPH_NONE) continue;
      const graph_tensor *t = &g->tensors[n->out[k]];
      c.out[k] = r->grads[t->param];
      // A table of its own is cleared first; a tied one holds the unembedding's gradient by now.
      bool tied = t->param == g->tensors[g->nodes[e->head.node].in[1]].param;
      if (first + i == 0 && !tied) memset(c.out[k], 0, (size_t)t->rows * t->cols * sizeof(float));
    }
    e->kernels->run[OP_EMBED_GRAD](&c);
  }
}
