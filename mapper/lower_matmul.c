// Linear layers with streamed weights: y = x W^T, its product for dX, and dW.
//
// Forward: each weight comes down the column that owns its input feature and triggers an AXPY over the
// PE's tokens; an output's partial sums travel along the row to its owner while the next weights
// arrive. dX is the same with the transposed stream. dW: the owner of an output's gradient sends it
// along the row, every PE multiplies it with its resident inputs, and sums chain down the column to the
// edge.
#include "mapper/lower.h"

#include <math.h>

u64 lower_nonzeros(const lowering *l, const graph_node *node, u64 weights) {
  double density = l->plan->options.density;
  return node->layer == GRAPH_NONE || density >= 1 ? weights : (u64)ceil((double)weights * density);
}

enum { CHAIN = 1, EASTERN, PRODUCTS };                  // microthreads of a product
enum { LINK = 1, HEAR, WEST, EAST, CLEAR, DROP, DOTS }; // of a gradient of weights

typedef struct product {
  feature_axis from, to; // axis of the summed features, of the outputs
  bool bias;
} product;

static opcode axpy_op(const lowering *l) {
  return l->plan->axpy == AXPY_FP16 ? OPCODE_AXPY16 : OPCODE_AXPY32;
}

// Features of an axis are there so many times over: queries, keys, values.
static u32 blocks_of(feature_axis axis) {
  return axis == AXIS_QKV ? 3 : 1;
}

// What is done with the own sums of each block when all are there.
static void finish_own(lowering *l, const graph_node *node, product p, u64 own, u64 tokens) {
  const u64 blocks = blocks_of(p.to), values = own * tokens;
  const bool add = node->accumulate & 1, scaled = node->scale != 1;
  if (p.bias) {
    lower_op(l, OPCODE_RECV32, blocks, own, 0);
    lower_op(l, scaled || add ? OPCODE_ADD32 : OPCODE_ADD16, blocks, values, 0);
  }
  if (scaled)
    lower_op(l, add ? OPCODE_AXPY16 : OPCODE_FMA16, blocks, values, 0);
  else if (add)
    lower_op(l, OPCODE_ADD16, blocks, values, 0);
  else if (!p.bias)
    lower_op(l, OPCODE_NARROW, blocks, values, 0);
}

// As weave_linear.c has them: products on one microthread, links of the chain (own sums from one side among them) on
// another, own sums from the other side on a third. What a PE owns it does not pass on: chains from both sides end
// there.
void lower_products(lowering *l, pe_share pe, u64 outputs, u64 weights, u64 own) {
  const u32 width = l->plan->tiles.group_width;
  const u64 tokens = pe.row->tokens;
  lower_beside(l, PRODUCTS, axpy_op(l), weights, weights * tokens, 0);
  lower_beside(l, CHAIN, OPCODE_CHAIN32, outputs - own, (outputs - own) * tokens, 1);
  lower_beside(l, CHAIN, width > 1 ? OPCODE_RECV32 : OPCODE_COPY32, own, own * tokens, 0);
  if (width > 2) lower_beside(l, EASTERN, OPCODE_RECV32, own, own * tokens, 0);
}

static void product_classes(lowering *l, program_phase *ph, const graph_node *node, product p) {
  u64 outputs = lower_total(l, p.to);
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 tokens = pe.row->tokens, from = lower_share(pe.column, p.from), to = lower_share(pe.column, p.to);
      lower_class(l, ph, pe);
      u64 weights = lower_nonzeros(l, node, outputs * from);
      lower_products(l, pe, outputs, weights, to);
      finish_own(l, node, p, to, tokens);
    }
}

static void lower_product(lowering *l, const graph_node *node, phase_family family, product p) {
  const plan_tiles *t = &l->plan->tiles;
  program_phase *ph = lower_phase(l, family, node);
  u64 outputs = lower_total(l, p.to), inputs = lower_total(l, p.from);
  ph->iterations = outputs;
  ph->latency_cycles = timing_path(l->machine, t->rows) + timing_chain(l->machine, t->group_width);
  ph->row_wavelets = outputs * lower_tokens_max(l);
  u64 down = lower_nonzeros(l, node, outputs * lower_share_max(l, p.from));
  ph->column_wavelets = down + (p.bias ? lower_share_max(l, p.to) : 0);
  u64 weights = lower_nonzeros(l, node, outputs * inputs);          // a wavelet each: 16 bits of value, 16 of index
  ph->stream_in = (weights + (p.bias ? outputs : 0)) * t->replicas; // each group has its own copy
  ph->stream_in_hops = t->rows - 1;                                 // the edge is at the first row
  product_classes(l, ph, node, p);
}

void lower_linear(lowering *l, const graph_node *node) {
  product p = {schedule_axis(l->graph, node->in[0]), schedule_axis(l->graph, node->out[0]), node->in[2] != GRAPH_NONE};
  lower_product(l, node, FAMILY_LINEAR, p);
}

void lower_grad_x(lowering *l, const graph_node *node) {
  product p = {schedule_axis(l->graph, node->in[0]), schedule_axis(l->graph, node->out[0]), false};
  lower_product(l, node, FAMILY_GRAD_X, p);
}

// The own values to the west, and to the east where a column is; what comes back from the own router is dropped.
// Together they cross the whole row, on the average half of it on each side.
static void send_own(lowering *l, pe_share pe, u64 values) {
  const u32 width = l->plan->tiles.group_width;
  if (width < 2) return;
  const u32 all = width - 1, west = pe.column->row_end ? all : all / 2;
  lower_beside(l, WEST, west ? OPCODE_SEND16 : OPCODE_COPY16, 1, values, west); // nobody hears the first of two
  if (pe.column->row_end) return;
  lower_beside(l, EAST, OPCODE_SEND16, 2, values, all - west);
  lower_beside(l, DROP, OPCODE_RECV16, 1, values, 0);
}

// As weave_grad_w.c has it: what is heard, multiplied, summed down the column and cleared for the next output but three
// is each on a microthread of its own.
void lower_grad_w(lowering *l, const graph_node *node) {
  const plan_tiles *t = &l->plan->tiles;
  feature_axis out_axis = schedule_axis(l->graph, node->in[0]), in_axis = schedule_axis(l->graph, node->in[1]);
  u64 outputs = lower_total(l, out_axis), inputs = lower_total(l, in_axis);
  bool bias = node->out[1] != GRAPH_NONE;
  program_phase *ph = lower_phase(l, FAMILY_GRAD_W, node);
  ph->iterations = outputs;
  ph->latency_cycles = timing_path(l->machine, t->group_width) + timing_chain(l->machine, t->rows);
  ph->row_wavelets = (outputs * lower_tokens_max(l) + 1) / 2;
  u64 down = lower_nonzeros(l, node, outputs * lower_share_max(l, in_axis));
  ph->column_wavelets = down + (bias ? lower_share_max(l, out_axis) : 0);
  u64 params = lower_nonzeros(l, node, outputs * inputs) +
               (bias ? outputs : 0); // a tied embedding comes again with the tokens' gradient
  ph->stream_out = params * t->replicas;
  ph->stream_out_hops = 0; // the last hop of the column chain crosses the edge
  lower_update(l, ph, node, lower_completes(l, node, node->out[0]) ? params : 0);
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 tokens = pe.row->tokens, in = lower_share(pe.column, in_axis), out = lower_share(pe.column, out_axis);
      lower_class(l, ph, pe);
      if (blocks_of(out_axis) > 1) lower_op(l, OPCODE_COPY16, blocks_of(out_axis), out * tokens, 0);
      send_own(l, pe, out * tokens);
      lower_beside(l, HEAR, OPCODE_RECV16, outputs, outputs * tokens, 0);
      u64 weights = lower_nonzeros(l, node, outputs * in); // masked ones need no gradient
      lower_beside(l, CLEAR, OPCODE_COPY32, outputs, weights, 0);
      lower_beside(l, DOTS, OPCODE_DOT16, weights, weights * tokens, 0);
      lower_beside(l, LINK, OPCODE_CHAIN32, outputs, weights, 1);
      if (node->scale != 1) lower_op(l, OPCODE_FMA32, outputs, weights, 0);
      if (!bias) out = 0;
      lower_op(l, OPCODE_DOT16, out, out * tokens, 0);
      lower_op(l, OPCODE_CHAIN32, 1, out, 1);
    }
}
