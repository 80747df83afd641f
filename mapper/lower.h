// What the families of lowering share: a program under construction, and the classes of PEs that a phase
// runs on. A family turns one node into one phase and decides nothing.
#pragma once

#include "mapper/schedule.h"

typedef struct lowering {
  const plan *plan;
  const graph *graph;
  const machine *machine;
  tile_map map;
  arena *memory;
  program_phase *phases;
  program_class *classes;
  program_op *ops;
  program_transfer *transfers;
  u32 phase_count, phase_room, class_count, class_room, op_count, op_room, transfer_count, transfer_room;
  u32 opcodes_used[FAMILY_COUNT]; // bit sets, for the size of the code
} lowering;

// The PE that work is written for.
typedef struct pe_share {
  const tile_column *column;
  const tile_row *row;
} pe_share;

// What a linear product needs to know, in either direction.
u32 lower_share(const tile_column *c, feature_axis axis);  // of one column
u32 lower_share_max(const lowering *l, feature_axis axis); // of the fullest column
u32 lower_total(const lowering *l, feature_axis axis);

// Begins a phase for a node; its classes follow. The family fills streams, links and iterations.
program_phase *lower_phase(lowering *l, phase_family family, const graph_node *node);
void lower_class(lowering *l, program_phase *ph, pe_share pe, u64 tasks);
// Adds an instruction to the class begun last. Where there are no elements only the code carries it, so
// that the size of the code does not depend on the geometry.
void lower_op(lowering *l, opcode op, u64 issues, u64 elements, u32 hops);
void lower_beside(lowering *l, u32 thread, opcode op, u64 issues, u64 elements,
                  u32 hops); // on a microthread, if there is one
// Sums per token of the whole row: a chain to the row's end, which sends the totals back to every PE.
void lower_row_sums(lowering *l, pe_share pe, u64 sums);
// Is the gradient complete after this node? (A tied embedding has two.)
bool lower_completes(const lowering *l, const graph_node *node, u32 gradient);
// The gradient's phase completes `params` parameters: of its forward node, which streams them first.
void lower_update(lowering *l, program_phase *ph, const graph_node *node, u64 params);
u32 lower_tokens_max(const lowering *l);
u64 lower_tokens(const lowering *l); // of a microbatch, padding of whole sequences excluded

// plan_lower with the plan's schedule at hand.
void lower_program(const plan *p, const graph *g, const machine *m, schedule *s, arena *a, program *ret_program);

// Of `weights` of a block's product, those that are not zero; a head's all are.
u64 lower_nonzeros(const lowering *l, const graph_node *node, u64 weights);

typedef void lower_node(lowering *l, const graph_node *node);
lower_node lower_linear, lower_grad_x, lower_grad_w;                // lower_matmul.c
lower_node lower_norm, lower_norm_grad;                             // lower_norm.c
lower_node lower_activation, lower_activation_grad, lower_residual; // lower_elementwise.c
lower_node lower_gate, lower_gate_grad, lower_rotary;
lower_node lower_embed, lower_embed_grad;
lower_node lower_attention, lower_attention_grad; // lower_attention.c
lower_node lower_loss, lower_loss_grad;           // lower_loss.c
