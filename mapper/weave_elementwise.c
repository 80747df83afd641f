// What a PE does by itself, feature by feature: activations and residuals, forward and backward. Sums are F32 in
// scratch and rounded once, on their way into the tensor.
#include "mapper/weave_parts.h"

#include <math.h>

enum { FEATURE = 0 }; // register

// The class of a cell as its formulas see it.
typedef struct pointwise {
  weave *w;
  const graph_node *node;
  u32 tokens, tile;
  u32 x, y;          // features of tensors, moved by FEATURE
  u32 s, t, q, ones; // F32 rows
} pointwise;

static void op(pointwise *p, df_opcode code, u32 to, u32 a, u32 b) {
  df_build_op(p->w->b, df_vvv(code, to, a, b));
}
static void of(pointwise *p, df_opcode code, u32 to, u32 a) {
  df_build_op(p->w->b, df_vv(code, to, a));
}

// Constants come before the loop over features; each formula asks for its own.
enum { CONSTANTS_MAX = 4 };
typedef struct formula {
  double constants[CONSTANTS_MAX];
  u32 count;
  void (*emit)(pointwise *p, const u32 *constant);
} formula;

// s = tanh(sqrt(2/pi) (x + 0.044715 x^3))
static void gelu_inner(pointwise *p, const u32 *k) {
  op(p, DF_MUL, p->s, p->x, p->x);
  op(p, DF_MUL, p->s, p->s, p->x);
  op(p, DF_SCALE, p->s, p->s, k[0]);
  op(p, DF_ADD, p->s, p->s, p->x);
  op(p, DF_SCALE, p->s, p->s, k[1]);
  of(p, DF_TANH, p->s, p->s);
}

// y = (x + x s) / 2
static void gelu_outer(pointwise *p, u32 half) {
  op(p, DF_MUL, p->t, p->x, p->s);
  op(p, DF_ADD, p->t, p->t, p->x);
  op(p, DF_SCALE, p->y, p->t, half);
}

static void gelu(pointwise *p, const u32 *k) {
  gelu_inner(p, k);
  gelu_outer(p, k[2]);
}

static void gelu_erf(pointwise *p, const u32 *k) {
  op(p, DF_SCALE, p->s, p->x, k[0]);
  of(p, DF_ERF, p->s, p->s);
  gelu_outer(p, k[1]);
}

static void relu2(pointwise *p, const u32 *k) {
  (void)k;
  op(p, DF_MAX, p->s, p->x, p->q); // q holds zeros
  op(p, DF_MUL, p->y, p->s, p->s);
}

// q = dLoss/dx over dy: (1 + s + x (1 - s^2) (c + 3 c 0.044715 x^2)) / 2 with s the tanh.
static void gelu_slope(pointwise *p, const u32 *k) {
  gelu_inner(p, k);
  op(p, DF_MUL, p->q, p->x, p->x);
  op(p, DF_SCALE, p->q, p->q, k[2]);
  op(p, DF_AXPY, p->q, p->ones, k[1]);
  op(p, DF_MUL, p->q, p->q, p->x);
  op(p, DF_MUL, p->t, p->s, p->s);
  op(p, DF_SUB, p->t, p->ones, p->t);
  op(p, DF_MUL, p->q, p->q, p->t);
  op(p, DF_ADD, p->q, p->q, p->s);
  op(p, DF_ADD, p->q, p->q, p->ones);
  op(p, DF_SCALE, p->q, p->q, k[3]);
}

// (1 + erf(x / sqrt 2)) / 2 + x e^(-x^2 / 2) / sqrt(2 pi)
static void gelu_erf_slope(pointwise *p, const u32 *k) {
  op(p, DF_SCALE, p->s, p->x, k[0]);
  of(p, DF_ERF, p->s, p->s);
  op(p, DF_ADD, p->s, p->s, p->ones);
  op(p, DF_SCALE, p->s, p->s, k[1]);
  op(p, DF_MUL, p->q, p->x, p->x);
  op(p, DF_SCALE, p->q, p->q, k[2]);
  of(p, DF_EXP, p->q, p->q);
  op(p, DF_SCALE, p->q, p->q, k[3]);
  op(p, DF_MUL, p->q, p->q, p->x);
  op(p, DF_ADD, p->q, p->q, p->s);
}

static void relu2_slope(pointwise *p, const u32 *k) {
  op(p, DF_MAX, p->q, p->x, p->t); // t holds zeros
  op(p, DF_SCALE, p->q, p->q, k[0]);
}

static formula forward_of(u32 activation) {
  const double c = sqrt(2 / M_PI);
  if (activation == ACT_GELU) return (formula){{0.044715, c, 0.5}, 3, gelu};
  if (activation == ACT_GELU_ERF) return (formula){{M_SQRT1_2, 0.5}, 2, gelu_erf};
  return (formula){{0}, 0, relu2};
}

static formula slope_of(u32 activation) {
  const double c = sqrt(2 / M_PI);
  if (activation == ACT_GELU) return (formula){{0.044715, c, 3 * 0.044715 * c, 0.5}, 4, gelu_slope};
  if (activation == ACT_GELU_ERF) return (formula){{M_SQRT1_2, 0.5, -0.5, 1 / sqrt(2 * M_PI)}, 4, gelu_erf_slope};
  return (formula){{2}, 1, relu2_slope};
}

// Cells of an axis, each a class with a loop over its features.
typedef void cell_body(pointwise *p);
static bool each_cell(weave *w, const graph_node *node, u32 tensor, cell_body *body) {
  const weave_axis *axis = &w->places[tensor].axis, *axes[] = {axis, NULL};
  require(w->places[tensor].blocks == 1);
  weave_begin(w, node, FAMILY_ELEMENTWISE);
  const u32 scratch[] = {weave_scratch(w, 4 * w->tokens.row_max), weave_scratch(w, 4 * w->tokens.row_max),
                         weave_scratch(w, 4 * w->tokens.row_max), weave_scratch(w, 4 * w->tokens.row_max)};
  const weave_runs columns = weave_columns(axis->parts, axes, false), rows = weave_rows(w, false, false);
  for (u32 r = 0; r < rows.count; r++)
    for (u32 c = 0; c < columns.count; c++) {
      pointwise p = {.w = w,
                     .node = node,
                     .tokens = weave_row_tokens(&w->tokens, rows.run[r].first),
                     .tile = weave_tile(axis, columns.run[c].first)};
      u32 *const row[] = {&p.s, &p.t, &p.q, &p.ones};
      weave_class(w, columns.run[c], rows.run[r]);
      df_build_task(w->b, "main");
      df_build_start_active(w->b);
      for (u32 i = 0; i < COUNT_OF(row); i++) *row[i] = weave_at(w, "row", DF_F32, scratch[i], df_just((i32)p.tokens));
      body(&p);
    }
  return weave_end(w);
}

static u32 feature(pointwise *p, const char *name, u32 tensor) {
  return weave_feature(p->w, name, tensor, p->tokens, FEATURE, DF_NO_REGISTER);
}

static void begin_loop(pointwise *p) {
  df_build_op(p->w->b, df_rn(DF_LOOP, FEATURE, df_just((i32)p->tile)));
}
static void end_loop(pointwise *p) {
  df_build_op(p->w->b, df_none(DF_END));
}
static void fill(pointwise *p, u32 row, i32 value) {
  df_build_op(p->w->b, df_vn(DF_FILL, row, df_just(value)));
}

static void take_constants(pointwise *p, const formula *f, u32 constant[CONSTANTS_MAX]) {
  for (u32 i = 0; i < f->count; i++) constant[i] = weave_constant(p->w, "k", f->constants[i]);
}

static void activation_cell(pointwise *p) {
  const formula f = forward_of(p->w->graph->model.activation);
  u32 constant[CONSTANTS_MAX];
  p->x = feature(p, "x", p->node->in[0]);
  p->y = feature(p, "y", p->node->out[0]);
  take_constants(p, &f, constant);
  fill(p, p->q, 0);
  begin_loop(p);
  f.emit(p, constant);
  end_loop(p);
}

bool weave_activation(weave *w, const graph_node *node) {
  return each_cell(w, node, node->in[0], activation_cell);
}

// dx (+)= row a times row b
static void give_product(pointwise *p, u32 dx, u32 a, u32 b, bool accumulate) {
  op(p, DF_MUL, accumulate ? p->s : dx, a, b);
  if (accumulate) op(p, DF_ADD, dx, dx, p->s);
}

static void activation_grad_cell(pointwise *p) {
  const formula f = slope_of(p->w->graph->model.activation);
  u32 constant[CONSTANTS_MAX];
  const u32 dy = feature(p, "dy", p->node->in[0]), dx = feature(p, "dx", p->node->out[0]);
  p->x = feature(p, "x", p->node->in[1]);
  take_constants(p, &f, constant);
  fill(p, p->t, 0);
  fill(p, p->ones, 1);
  begin_loop(p);
  f.emit(p, constant);
  give_product(p, dx, dy, p->q, p->node->accumulate & 1);
  end_loop(p);
}

bool weave_activation_grad(weave *w, const graph_node *node) {
  return each_cell(w, node, node->in[0], activation_grad_cell);
}

static void residual_cell(pointwise *p) {
  const u32 x = feature(p, "x", p->node->in[0]), branch = feature(p, "branch", p->node->in[1]);
  const u32 y = feature(p, "y", p->node->out[0]), scale = weave_constant(p->w, "scale", p->node->scale);
  begin_loop(p);
  op(p, DF_SCALE, p->s, branch, scale);
  op(p, DF_ADD, y, x, p->s);
  end_loop(p);
}

bool weave_residual(weave *w, const graph_node *node) {
  return each_cell(w, node, node->in[0], residual_cell);
}

static void residual_grad_cell(pointwise *p) {
  const u32 dy = feature(p, "dy", p->node->in[0]), dx = feature(p, "dx", p->node->out[0]);
  const u32 branch = feature(p, "dbranch", p->node->out[1]), scale = weave_constant(p->w, "scale", p->node->scale);
  const bool add_x = p->node->accumulate & 1, add_branch = p->node->accumulate & 2;
  begin_loop(p);
  op(p, DF_SCALE, add_branch ? p->s : branch, dy, scale);
  if (add_branch) op(p, DF_ADD, branch, branch, p->s);
  if (add_x)
    op(p, DF_ADD, dx, dx, dy);
  else
    of(p, DF_MOV, dx, dy);
  end_loop(p);
}

bool weave_residual_grad(weave *w, const graph_node *node) {
  return each_cell(w, node, node->in[0], residual_grad_cell);
}
