// The graph and its resolved rules as text for people.
#include "model/graph/graph.h"

#include <stdio.h>
#include <string.h>

static const char *const op_names[OP_COUNT] = {
    [OP_EMBED] = "embed",
    [OP_LAYERNORM] = "layernorm",
    [OP_LINEAR] = "linear",
    [OP_ATTENTION] = "attention",
    [OP_ACTIVATION] = "activation",
    [OP_RESIDUAL] = "residual",
    [OP_LOSS] = "loss",
    [OP_LOSS_GRAD] = "loss_grad",
    [OP_LINEAR_GRAD_X] = "linear_grad_x",
    [OP_LINEAR_GRAD_W] = "linear_grad_w",
    [OP_LAYERNORM_GRAD] = "layernorm_grad",
    [OP_ATTENTION_GRAD] = "attention_grad",
    [OP_ACTIVATION_GRAD] = "activation_grad",
    [OP_RESIDUAL_GRAD] = "residual_grad",
    [OP_EMBED_GRAD] = "embed_grad",
    [OP_GRAD_NORM] = "grad_norm",
    [OP_ADAMW] = "adamw",
    [OP_RMSNORM] = "rmsnorm",
    [OP_GATE] = "gate",
    [OP_ROTARY] = "rotary",
    [OP_RMSNORM_GRAD] = "rmsnorm_grad",
    [OP_GATE_GRAD] = "gate_grad",
    [OP_ROTARY_GRAD] = "rotary_grad",
};

const char *graph_op_name(graph_op op) {
  require((u32)op < OP_COUNT);
  return op_names[op];
}

static void print_node(const graph *g, u32 index, text *out) {
  const graph_node *n = &g->nodes[index];
  text_format(out, "%5u  %-24s %-15s (", index, n->name, graph_op_name(n->op));
  const char *comma = "";
  for (u32 i = 0; i < NODE_IN_MAX; i++) {
    if (n->in[i] == GRAPH_NONE) continue;
    text_format(out, "%s%s", comma, g->tensors[n->in[i]].name);
    comma = ", ";
  }
  if (n->op == OP_GRAD_NORM) text_add(out, "every gradient");
  text_add(out, ") ->");
  for (u32 i = 0; i < NODE_OUT_MAX; i++) {
    if (n->out[i] == GRAPH_NONE) continue;
    const graph_tensor *t = &g->tensors[n->out[i]];
    text_format(out, " %s%s[%ux%u]", n->accumulate >> i & 1 ? "+" : "", t->name, t->rows, t->cols);
  }
  if (n->scale != 1) text_format(out, "  scale %.9g", n->scale);
  text_add(out, "\n");
}

void graph_print(const graph *g, text *out) {
  const model_spec *m = &g->model;
  text_format(out, "graph: %u layers, width %u, %u heads of %u, hidden %u, vocabulary %u, sequence %u\n",
              m->layers, m->width, m->heads, model_head_width(m), model_hidden_width(m), m->vocab, g->seq);
  text_format(out, "%u parameters, %u tensors, %u nodes; + before an output means added to it\n",
              g->param_count, g->tensor_count, g->node_count);
  for (u32 i = 0; i < g->node_count; i++) {
    if (i == 0) text_add(out, "forward\n");
    if (i == g->forward_end) text_add(out, "gradients\n");
    if (i == g->backward_end) text_add(out, "updates\n");
    print_node(g, i, out);
  }
}

static void print_rule(const graph *g, u32 param, text *out) {
  const graph_tensor *t = &g->tensors[g->params[param]];
  role_rule r = graph_param_rule(g, param);
  char name[GRAPH_NAME_MAX + 2], init[32];
  if (t->layer == GRAPH_NONE)
    snprintf(name, sizeof name, "%s", t->name);
  else
    snprintf(name, sizeof name, "h*%s", strchr(t->name, '.'));
  if (r.init_std > 0)
    snprintf(init, sizeof init, "%.6g", r.init_std);
  else
    snprintf(init, sizeof init, "%s", graph_param_is_gain(g, param) ? "= 1" : "= 0");
  text_format(out, "%-14s %-9s %6u x %-6u %-12s %-12.6g %-12.6g %.6g\n", name, rules_role_name(t->role),
              t->rows, t->cols, init, r.lr, r.eps, r.weight_decay);
}

void graph_print_rules(const graph *g, text *out) {
  const model_rules *r = &g->rules;
  char kind[32];
  field_choice(field_find(&model_table, "parameterization"), g->model.parameterization, kind, sizeof kind);
  text_format(out, "%s: m_N = %.6g, m_L = %.6g, alpha = %.6g\n", kind, r->m_width, r->m_depth,
              g->model.alpha);
  text_format(out, "multipliers: residual branches %.6g, embedding %.6g, logits %.6g, q.k %.6g",
              r->residual_mult, r->embed_mult, r->logit_mult, r->attention_scale);
  if (r->beta_horizon_mult != 1) text_format(out, ", 1 - beta %.6g", r->beta_horizon_mult);
  text_add(out, "\n");
  text_format(out, "%-14s %-9s %-15s %-12s %-12s %-12s %s\n", "parameter", "group", "shape", "init std", "lr",
              "eps", "decay");
  // Blocks differ in nothing but their number, so the first stands for all.
  for (u32 p = 0; p < g->param_count; p++) {
    u32 layer = g->tensors[g->params[p]].layer;
    if (layer == GRAPH_NONE || layer == 0) print_rule(g, p, out);
  }
}
