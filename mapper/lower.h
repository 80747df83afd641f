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
void lower_class(lowering *l, program_phase *ph, pe_share pe); // one task a PE, which starts with the phase
// Adds an instruction to the class begun last. Where there are no elements only the code carries it, so
// that the size of the code does not depend on the geometry.
void lower_op(lowering *l, opcode op, u64 issues, u64 elements, u32 hops);
void lower_beside(lowering *l, u32 thread, opcode op, u64 issues, u64 elements,
                  u32 hops); // on a microthread, if there is one
// Vector instructions over the PE's tokens, so many per feature. What is between two tensors is in F32; what gives a
// tensor's values rounds them.
typedef struct lower_term {
  u32 opcode, times;
} lower_term;
enum { LOWER_TERMS = 8 };
typedef struct lower_formula {
  lower_term terms[LOWER_TERMS];
  u32 constants, rows; // before the loop: numbers in memory, and rows of tokens that are filled with one
} lower_formula;
void lower_formula_ops(lowering *l, const lower_formula *f, u64 features, u64 tokens);
void lower_turns(lowering *l, u64 turns); // of loops over the features
// A number in memory that an instruction multiplies with.
void lower_constants(lowering *l, u32 count);
// Sums per token of the whole row, `times` of them one after the other and `each` of them in one instruction: a chain
// to the row's end, which sends the totals back to every PE.
void lower_row_sums(lowering *l, pe_share pe, u64 times, u64 each);
// A product's outputs on one PE (lower_matmul.c): `weights` of it and the chains along the row to the outputs' owners,
// each on a microthread; `own` outputs are the PE's.
void lower_products(lowering *l, pe_share pe, u64 outputs, u64 weights, u64 own);
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
lower_node lower_linear, lower_grad_x, lower_grad_w; // lower_matmul.c
lower_node lower_norm, lower_norm_grad;              // lower_norm.c
lower_node lower_activation, lower_activation_grad;  // lower_elementwise.c
lower_node lower_residual, lower_residual_grad;
lower_node lower_gate, lower_gate_grad, lower_rotary;
lower_node lower_embed, lower_embed_grad;
lower_node lower_attention, lower_attention_grad; // lower_attention.c
lower_node lower_loss, lower_loss_grad;           // lower_loss.c
