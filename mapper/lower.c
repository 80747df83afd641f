// A plan becomes a program: the schedule's nodes, each lowered by its family, and the transfers of what
// leaves the wafer in between.
#include "mapper/lower.h"
#include "mapper/pipeline.h"

#include <stdio.h>
#include <string.h>

static lower_node *const families[OP_COUNT] = {
    [OP_EMBED] = lower_embed,
    [OP_LAYERNORM] = lower_norm,
    [OP_LINEAR] = lower_linear,
    [OP_ATTENTION] = lower_attention,
    [OP_ACTIVATION] = lower_activation,
    [OP_RESIDUAL] = lower_residual,
    [OP_LOSS] = lower_loss,
    [OP_LOSS_GRAD] = lower_loss_grad,
    [OP_LINEAR_GRAD_X] = lower_grad_x,
    [OP_LINEAR_GRAD_W] = lower_grad_w,
    [OP_LAYERNORM_GRAD] = lower_norm_grad,
    [OP_ATTENTION_GRAD] = lower_attention_grad,
    [OP_ACTIVATION_GRAD] = lower_activation_grad,
    [OP_RESIDUAL_GRAD] = lower_residual_grad,
    [OP_EMBED_GRAD] = lower_embed_grad,
    [OP_RMSNORM] = lower_norm,
    [OP_GATE] = lower_gate,
    [OP_ROTARY] = lower_rotary,
    [OP_RMSNORM_GRAD] = lower_norm_grad,
    [OP_GATE_GRAD] = lower_gate_grad,
    [OP_ROTARY_GRAD] = lower_rotary,
};

static void *grow(arena *a, void *old, u32 count, u32 *room, size_t size) {
  if (count < *room) return old;
  *room = *room ? 2 * *room : 64;
  void *p = arena_take(a, *room * size);
  if (count) memcpy(p, old, count * size);
  return p;
}

u32 lower_share(const tile_column *c, feature_axis axis) {
  switch (axis) {
  case AXIS_WIDTH:
    return c->features;
  case AXIS_QKV:
    return 3 * c->features;
  case AXIS_HIDDEN:
    return c->hidden;
  case AXIS_VOCAB:
    return c->vocab;
  }
  require(false);
}

u32 lower_share_max(const lowering *l, feature_axis axis) {
  u32 most = 0;
  for (u32 i = 0; i < l->map.column_count; i++) {
    u32 share = lower_share(&l->map.columns[i], axis);
    if (share > most) most = share;
  }
  return most;
}

u32 lower_total(const lowering *l, feature_axis axis) {
  const model_spec *m = &l->graph->model;
  const u32 totals[] = {[AXIS_WIDTH] = m->width,
                        [AXIS_QKV] = 3 * m->width,
                        [AXIS_HIDDEN] = model_hidden_width(m),
                        [AXIS_VOCAB] = m->vocab};
  return totals[axis];
}

u32 lower_tokens_max(const lowering *l) {
  return l->plan->tiles.tokens_max;
}
u64 lower_tokens(const lowering *l) {
  return (u64)l->plan->microbatch * l->graph->seq;
}

program_phase *lower_phase(lowering *l, phase_family family, const graph_node *node) {
  l->phases = grow(l->memory, l->phases, l->phase_count, &l->phase_room, sizeof *l->phases);
  program_phase *ph = &l->phases[l->phase_count++];
  *ph = (program_phase){
      .family = family, .layer = node->layer, .first_class = l->class_count, .iterations = 1, .colors = 4};
  snprintf(ph->origin, sizeof ph->origin, "%s", node->name);
  const plan_tiles *t = &l->plan->tiles;
  u32 columns = t->replicas * t->group_width;
  ph->width = t->transposed ? t->rows : columns;
  ph->height = t->transposed ? columns : t->rows;
  return ph;
}

void lower_class(lowering *l, program_phase *ph, pe_share pe) {
  l->classes = grow(l->memory, l->classes, l->class_count, &l->class_room, sizeof *l->classes);
  l->classes[l->class_count++] =
      (program_class){.pes = pe.column->columns * pe.row->rows, .first_op = l->op_count, .tasks = 1};
  ph->class_count++;
}

void lower_beside(lowering *l, u32 thread, opcode op, u64 issues, u64 elements, u32 hops) {
  l->opcodes_used[l->phases[l->phase_count - 1].family] |= 1u << op;
  if (!elements) return;
  if (thread >= l->machine->spec.microthreads) thread = 0;
  l->ops = grow(l->memory, l->ops, l->op_count, &l->op_room, sizeof *l->ops);
  l->ops[l->op_count++] =
      (program_op){.opcode = op, .hops = hops, .thread = thread, .issues = issues, .elements = elements};
  l->classes[l->class_count - 1].op_count++;
}

void lower_op(lowering *l, opcode op, u64 issues, u64 elements, u32 hops) {
  lower_beside(l, 0, op, issues, elements, hops);
}

void lower_formula_ops(lowering *l, const lower_formula *f, u64 features, u64 tokens) {
  for (u32 i = 0; i < LOWER_TERMS; i++) {
    const lower_term *t = &f->terms[i];
    if (t->times) lower_op(l, (opcode)t->opcode, t->times * features, t->times * features * tokens, 0);
  }
}

void lower_turns(lowering *l, u64 turns) {
  l->classes[l->class_count - 1].turns += turns;
}

void lower_constants(lowering *l, u32 count) {
  lower_op(l, OPCODE_COPY32, count, count, 0);
}

void lower_row_sums(lowering *l, pe_share pe, u64 times, u64 each) {
  u64 values = l->plan->tiles.group_width > 1 ? times * each * pe.row->tokens : 0;
  bool end = pe.column->row_end;
  lower_op(l, OPCODE_CHAIN32, times, end ? 0 : values, 1);
  lower_op(l, OPCODE_RECV32, times, values, 0); // the end receives the sums, the others the totals
  lower_op(l, OPCODE_SEND32, times, end ? values : 0, l->plan->tiles.group_width - 1);
}

bool lower_completes(const lowering *l, const graph_node *node, u32 gradient) {
  const graph *g = l->graph;
  for (u32 n = (u32)(node - g->nodes) + 1; n < g->backward_end; n++)
    for (u32 i = 0; i < NODE_OUT_MAX; i++)
      if (g->nodes[n].out[i] == gradient) return false;
  return true;
}

// A step begins with every forward node once, in order: the node's index is its first phase's.
static u32 first_phase_of(const lowering *l, const graph_node *node) {
  u32 forward = node->forward == GRAPH_NONE ? 0 : node->forward;
  require(strcmp(l->phases[forward].origin, l->graph->nodes[forward].name) == 0);
  return forward;
}

void lower_update(lowering *l, program_phase *ph, const graph_node *node, u64 params) {
  ph->update_params = params;
  ph->update_use = params ? first_phase_of(l, node) : 0;
}

// Blocks are alike: a node with the same operation on tensors of the same shape as one lowered before
// shares that phase's classes.
static bool same_shape(const graph *g, const graph_node *a, const graph_node *b) {
  if (a->op != b->op || (a->layer == GRAPH_NONE) != (b->layer == GRAPH_NONE)) return false;
  for (u32 i = 0; i < NODE_IN_MAX; i++) {
    if ((a->in[i] == GRAPH_NONE) != (b->in[i] == GRAPH_NONE)) return false;
    if (a->in[i] == GRAPH_NONE) continue;
    const graph_tensor *x = &g->tensors[a->in[i]], *y = &g->tensors[b->in[i]];
    if (x->rows != y->rows || x->cols != y->cols || x->kind != y->kind) return false;
  }
  const char *dot_a = strchr(a->name, '.'), *dot_b = strchr(b->name, '.');
  return a->layer == GRAPH_NONE ? a == b : dot_a && dot_b && strcmp(dot_a, dot_b) == 0;
}

static u32 find_alike(const lowering *l, u32 node, const u32 *lowered, u32 lowered_count) {
  const graph *g = l->graph;
  for (u32 i = lowered_count; i-- > 0;)
    if (same_shape(g, &g->nodes[lowered[i]], &g->nodes[node])) return i;
  return GRAPH_NONE;
}

typedef struct seen_nodes {
  u32 *nodes, *phases; // distinct shapes lowered so far, and their phases
  u32 count;
} seen_nodes;

static void lower_step(lowering *l, const schedule_step *step, seen_nodes *seen) {
  const graph_node *node = &l->graph->nodes[step->node];
  u32 alike = find_alike(l, step->node, seen->nodes, seen->count);
  if (alike == GRAPH_NONE) {
    seen->nodes[seen->count] = step->node;
    seen->phases[seen->count++] = l->phase_count;
    require(families[node->op]);
    families[node->op](l, node);
    require(l->phase_count == seen->phases[seen->count - 1] + 1);
  } else {
    program_phase *ph = lower_phase(l, FAMILY_EMBED, node);
    program_phase twin = l->phases[seen->phases[alike]];
    memcpy(twin.origin, ph->origin, sizeof twin.origin);
    twin.layer = node->layer;
    *ph = twin;
    if (twin.update_params) ph->update_use = first_phase_of(l, node);
  }
  l->phases[l->phase_count - 1].sram_bytes = step->bytes;
}

static void add_transfer(lowering *l, const char *name, u32 tensor, bool out, u32 after) {
  l->transfers = grow(l->memory, l->transfers, l->transfer_count, &l->transfer_room, sizeof *l->transfers);
  program_transfer *t = &l->transfers[l->transfer_count++];
  *t = (program_transfer){.after = after, .before = UINT32_MAX, .out = out};
  snprintf(t->name, sizeof t->name, "%.*s %s", GRAPH_NAME_MAX - 10, l->graph->tensors[tensor].name, name);
  t->wavelets = (lower_tokens(l) * l->graph->tensors[tensor].cols + 1) / 2; // two fp16 values a wavelet
  t->hops = l->plan->tiles.rows / 2 + 1;
}

static bool reads(const graph_node *n, u32 tensor) {
  for (u32 i = 0; i < NODE_IN_MAX; i++)
    if (n->in[i] == tensor) return true;
  return false;
}

// A store must have left by its step, and may leave once the tensor is there; a fetch may come from its
// step on, and must be there for its first reader.
static void lower_transfers(lowering *l, const schedule *s, const u32 *phase_of) {
  for (u32 i = 0; i < s->count; i++) {
    u32 tensor = s->steps[i].tensor;
    if (s->steps[i].kind == STEP_STORE) {
      u32 k = 0;
      while (s->steps[k].kind != STEP_NODE || s->steps[k].node != l->graph->tensors[tensor].producer) k++;
      add_transfer(l, "leaves", tensor, true, phase_of[k]);
      l->transfers[l->transfer_count - 1].before = phase_of[i];
    } else if (s->steps[i].kind == STEP_FETCH) {
      u32 k = i;
      while (s->steps[k].kind != STEP_NODE || !reads(&l->graph->nodes[s->steps[k].node], tensor)) k++;
      add_transfer(l, "returns", tensor, false, phase_of[i] - 1);
      l->transfers[l->transfer_count - 1].before = phase_of[k];
    }
  }
}

// A family is two tasks (its stream, its end) and one vector instruction per opcode.
static void size_code(const lowering *l, program *p) {
  for (u32 i = 0; i < FAMILY_COUNT; i++) {
    if (!l->opcodes_used[i]) continue;
    p->task_kinds += 2;
    p->op_kinds += (u32)__builtin_popcount(l->opcodes_used[i]);
  }
  const machine_spec *m = &l->machine->spec;
  p->code_bytes = m->code_base_bytes + p->task_kinds * m->code_task_bytes + p->op_kinds * m->code_op_bytes;
}

void lower_program(const plan *p, const graph *g, const machine *m, schedule *s, arena *a, program *ret_program) {
  lowering l = {.plan = p, .graph = g, .machine = m, .memory = a};
  tiles_map(g, &p->tiles, p->microbatch, a, &l.map);
  schedule_measure(g, &p->tiles, p->axpy, a, s);
  seen_nodes seen = {arena_array(a, u32, g->node_count), arena_array(a, u32, g->node_count), 0};
  u32 *phase_of = arena_array(a, u32, s->count); // a store or fetch: the phase that follows it
  for (u32 i = 0; i < s->count; i++) {
    phase_of[i] = l.phase_count;
    if (s->steps[i].kind == STEP_NODE) lower_step(&l, &s->steps[i], &seen);
  }
  lower_transfers(&l, s, phase_of);
  program_group *group = arena_array(a, program_group, 1);
  *group = (program_group){0, l.phase_count, p->microbatches, false};
  *ret_program = (program){.machine_hash = machine_hash(m),
                           .plan_hash = plan_hash(p),
                           .phase_count = l.phase_count,
                           .class_count = l.class_count,
                           .op_count = l.op_count,
                           .group_count = 1,
                           .transfer_count = l.transfer_count,
                           .phases = l.phases,
                           .classes = l.classes,
                           .ops = l.ops,
                           .groups = group,
                           .transfers = l.transfers,
                           .systems = p->systems};
  size_code(&l, ret_program);
  snprintf(ret_program->name, sizeof ret_program->name, "step L%u N%u T%u", g->model.layers, g->model.width, g->seq);
}

bool plan_lower(const plan *p, const graph *g, const machine *m, arena *a, program *ret_program, status *st) {
  if (p->options.mode == PLAN_PIPELINED) {
    pipeline_lower(p, g, m, a, ret_program);
    return program_check(ret_program, m, st);
  }
  schedule s;
  schedule_build(g, (schedule_choice){p->policy, p->kept, p->kept_blocks, p->ahead}, a, &s);
  lower_program(p, g, m, &s, a, ret_program);
  return program_check(ret_program, m, st);
}
