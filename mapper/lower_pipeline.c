// The pipeline as a program: one phase per kernel, side by side, a sequence at a time; then the update of the
// weights where they lie.
#include "mapper/lower.h"
#include "mapper/pipeline.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct writer {
  const plan *p;
  const graph *g;
  const machine *m;
  program_phase *phases;
  program_class *classes;
  program_op *ops;
  u32 phase_count, class_count, op_count;
} writer;

static const u32 families[OP_COUNT] = {
    [OP_EMBED] = FAMILY_EMBED,         [OP_LAYERNORM] = FAMILY_NORM,         [OP_LINEAR] = FAMILY_LINEAR,
    [OP_ATTENTION] = FAMILY_ATTENTION, [OP_ACTIVATION] = FAMILY_ELEMENTWISE, [OP_RMSNORM] = FAMILY_NORM,
    [OP_GATE] = FAMILY_ELEMENTWISE,    [OP_ROTARY] = FAMILY_ELEMENTWISE,     [OP_RESIDUAL] = FAMILY_ELEMENTWISE};

static void write_op(writer *w, opcode op, u64 issues, u64 elements) {
  if (!elements) return;
  w->ops[w->op_count++] =
      (program_op){.opcode = op, .hops = opcode_get(op)->half_wavelets ? 1 : 0, .issues = issues, .elements = elements};
  w->classes[w->class_count - 1].op_count++;
}

// AdamW: moments, decay and the step, with a root and a division, each for every weight.
static void write_update(writer *w, u64 weights) {
  enum { MULTIPLY_ADDS = 6 };
  write_op(w, OPCODE_FMA32, MULTIPLY_ADDS, MULTIPLY_ADDS * weights);
  write_op(w, OPCODE_RSQRT, 1, weights);
  write_op(w, OPCODE_DIV, 1, weights);
}

static void write_class(writer *w, const plan_kernel *k, pipeline_share pe, u32 pes, bool update) {
  w->classes[w->class_count++] = (program_class){.pes = pes, .first_op = w->op_count, .tasks = 1};
  if (update) {
    write_update(w, pipeline_pe_weights(w->g, k, pe));
    return;
  }
  pipeline_op ops[PIPELINE_OPS_MAX];
  const plan_pipeline *line = &w->p->pipeline;
  u32 count = pipeline_ops(w->g, k, pe, line->tile, w->p->policy == POLICY_RECOMPUTE, ops);
  for (u32 i = 0; i < count; i++) write_op(w, (opcode)ops[i].opcode, ops[i].issues, ops[i].elements);
}

// Balanced parts come in two sizes along each side.
static void write_classes(writer *w, const plan_kernel *k, bool update) {
  u32 along = k->kind == KERNEL_LINEAR ? k->out : k->kind == KERNEL_ATTENTION ? w->g->seq : k->height;
  u32 more_x = k->in % k->width, more_y = along % k->height;
  const u32 columns[] = {more_x, k->width - more_x}, rows[] = {more_y, k->height - more_y};
  for (u32 x = 0; x < 2; x++)
    for (u32 y = 0; y < 2; y++) {
      pipeline_share pe = {k->in / k->width + (x == 0), along / k->height + (y == 0)};
      if (columns[x] && rows[y]) write_class(w, k, pe, columns[x] * rows[y], update);
    }
}

static u32 distance(const plan_kernel *a, const plan_kernel *b) {
  int dx = abs((int)(2 * a->x + a->width) - (int)(2 * b->x + b->width)) / 2;
  int dy = abs((int)(2 * a->y + a->height) - (int)(2 * b->y + b->height)) / 2;
  return (u32)(dx + dy);
}

static program_phase *write_phase(writer *w, const plan_kernel *k, bool update) {
  const graph_node *n = &w->g->nodes[k->node];
  program_phase *ph = &w->phases[w->phase_count++];
  *ph = (program_phase){.family = families[n->op],
                        .layer = n->layer,
                        .first_class = w->class_count,
                        .x = k->x,
                        .y = k->y,
                        .width = k->width,
                        .height = k->height,
                        .iterations = update ? 1 : w->g->seq,
                        .sram_bytes = k->sram_bytes - w->p->memory.code_bytes,
                        .colors = 6};
  snprintf(ph->origin, sizeof ph->origin, "%.31s%s", n->name, update ? ".update" : "");
  write_classes(w, k, update);
  ph->class_count = w->class_count - ph->first_class;
  return ph;
}

// A tile through the kernel and on to the next, there and back; attention's gradient waits for a sequence.
static double fill_of(const writer *w, u32 index) {
  const plan_pipeline *line = &w->p->pipeline;
  const plan_kernel *k = &line->kernels[index];
  u32 hops = index + 1 < line->count ? distance(k, k + 1) : 0;
  double one_way = line->tile * k->token_cycles / 2 + timing_chain(w->m, k->width) + timing_path(w->m, hops);
  return 2 * one_way + (k->kind == KERNEL_ATTENTION ? line->period_cycles * w->g->seq : 0);
}

static void write_stream(const writer *w, const plan_kernel *k, program_phase *ph) {
  u64 seq = w->g->seq;
  bool last = w->g->nodes[k->node].out[0] == w->g->logits;
  u64 out = last ? 0 : (w->g->tensors[w->g->nodes[k->node].out[0]].cols + 1u) / 2, links = w->p->options.links;
  ph->row_wavelets = (out + links - 1) / links * seq; // gradients take the links the other way
  // inputs come down as pairs; their gradients' sums go the same way
  ph->column_wavelets = k->kind == KERNEL_LINEAR ? (u64)k->in_pe * seq * 3 / 2 : 0;
  if (k == w->p->pipeline.kernels || last) ph->stream_in = seq; // tokens, targets
  ph->stream_in_hops = ph->stream_in ? k->y + k->height / 2 + 1 : 0;
}

void pipeline_lower(const plan *p, const graph *g, const machine *m, arena *a, program *ret_program) {
  u32 count = p->pipeline.count;
  writer w = {.p = p,
              .g = g,
              .m = m,
              .phases = arena_array(a, program_phase, 2 * count),
              .classes = arena_array(a, program_class, 8 * count),
              .ops = arena_array(a, program_op, (u64)8 * count * PIPELINE_OPS_MAX)};
  for (u32 i = 0; i < count; i++) {
    program_phase *ph = write_phase(&w, &p->pipeline.kernels[i], false);
    ph->latency_cycles = fill_of(&w, i);
    write_stream(&w, &p->pipeline.kernels[i], ph);
  }
  for (u32 i = 0; i < count; i++) {
    const plan_kernel *k = &p->pipeline.kernels[i];
    if (pipeline_pe_weights(g, k, (pipeline_share){k->in_pe, k->out_pe})) write_phase(&w, k, true);
  }
  program_group *groups = arena_array(a, program_group, 2);
  groups[0] = (program_group){0, count, p->batch, true};
  groups[1] = (program_group){count, w.phase_count - count, 1, true};
  *ret_program = (program){.machine_hash = machine_hash(m),
                           .plan_hash = plan_hash(p),
                           .phase_count = w.phase_count,
                           .class_count = w.class_count,
                           .op_count = w.op_count,
                           .group_count = 2,
                           .phases = w.phases,
                           .classes = w.classes,
                           .ops = w.ops,
                           .groups = groups,
                           .task_kinds = 6,
                           .op_kinds = PIPELINE_OPS_MAX,
                           .code_bytes = pipeline_code_bytes(m),
                           .systems = 1};
  snprintf(ret_program->name, sizeof ret_program->name, "pipeline L%u N%u T%u", g->model.layers, g->model.width,
           g->seq);
}

void pipeline_print(const plan *p, const graph *g, text *out) {
  const plan_pipeline *line = &p->pipeline;
  u64 pes = 0;
  for (u32 i = 0; i < line->count; i++) pes += (u64)line->kernels[i].width * line->kernels[i].height;
  text_format(out, "plan: layer-pipelined, %u kernels on %llu PEs\n", line->count, (unsigned long long)pes);
  text_format(out, "  period       %.5g cycles a token; %s; the widest stream takes %.5g\n", line->period_cycles,
              p->limit, line->link_cycles);
  text_format(out, "  tile         %u tokens handed on at once; activations %s\n", line->tile,
              plan_policy_name(p->policy));
  text_format(out, "  memory       %u of %u bytes in the fullest PE, of %s\n", p->memory.total_bytes,
              p->memory.limit_bytes, p->memory.peak_node);
  text_add(
      out,
      "  kernels of the first block and outside the blocks: PEs, place, cycles a token, SRAM, sequences that wait\n");
  for (u32 i = 0; i < line->count; i++) {
    const plan_kernel *k = &line->kernels[i];
    const graph_node *n = &g->nodes[k->node];
    if (n->layer != GRAPH_NONE && n->layer > 0) continue;
    text_format(out, "    %-20s %6u = %3u x %-4u at %3u, %-4u %8.5g %6u B %4u\n", n->name, k->width * k->height,
                k->width, k->height, k->x, k->y, k->token_cycles, k->sram_bytes, k->flight);
  }
}
