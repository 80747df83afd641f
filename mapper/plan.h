// All decisions of a mapping, with what each costs: which microbatch, how the wafer is divided, what
// stays in memory. Lowering turns a plan into a program and decides nothing.
#pragma once

#include "model/graph/graph.h"
#include "sim/engine.h"

typedef enum { PLAN_STREAMING, PLAN_PIPELINED } plan_mode;
typedef enum { POLICY_AUTO, POLICY_RESIDENT, POLICY_RECOMPUTE, POLICY_OFFLOAD } activation_policy;
// What of a block backward finds again instead of rebuilding it; each level keeps what the one before keeps.
typedef enum { KEPT_AUTO, KEPT_INPUT, KEPT_MIDDLE, KEPT_ATTENTION, KEPT_QKV, KEPT_ALL } kept_level;
typedef enum { TOKENS_AUTO, TOKENS_CONTIGUOUS, TOKENS_INTERLEAVED } token_order;
typedef enum { GRID_AUTO, GRID_PLAIN, GRID_TRANSPOSED } grid_choice;
typedef enum { AXPY_FP16, AXPY_FP32 } axpy_precision;

#define PLAN_FIELDS(F)                                                                                                 \
  F(ENUM, mode, "mode", UNIT_NONE, "streaming", 0, 0, "streaming|pipelined",                                           \
    "weights stream in from MemoryX, layer by layer; or all layers lie side by side with their weights")               \
  F(U32, links, "links", UNIT_NONE, "1", 1, 1024, NULL,                                                                \
    "pipelined: links side by side that carry the stream from one kernel to the next")                                 \
  F(U32, microbatch, "microbatch", UNIT_NONE, "0", 0, 16777216, NULL,                                                  \
    "sequences at once on one wafer; 0 takes the fastest that fits")                                                   \
  F(U32, replicas, "replicas", UNIT_NONE, "0", 0, 65536, NULL,                                                         \
    "column groups that each hold all features of their own sequences; 0 takes the fastest")                           \
  F(ENUM, activations, "activations", UNIT_NONE, "auto", 0, 0, "auto|resident|recompute|offload",                      \
    "kept for backward in SRAM, rebuilt from the layer's input, or that input moved off the wafer")                    \
  F(ENUM, kept, "kept", UNIT_NONE, "auto", 0, 0, "auto|input|middle|attention|qkv|all",                                \
    "what of a block is kept or moved, besides its input: the residual stream after attention, what attention makes, " \
    "queries keys and values, everything; the rest is rebuilt")                                                        \
  F(U32, kept_blocks, "kept_blocks", UNIT_NONE, "0", 0, 100000, NULL,                                                  \
    "blocks, spread evenly, that keep what plan.kept says, the others one level less; 0: chosen, mostly all")          \
  F(U32, ahead, "ahead", UNIT_NONE, "0", 0, 3, NULL,                                                                   \
    "tensors that are on their way back while another is in use; 0: chosen, mostly one")                               \
  F(ENUM, tokens, "tokens", UNIT_NONE, "auto", 0, 0, "auto|contiguous|interleaved",                                    \
    "a sequence over several rows: runs of tokens, or token t in row t mod rows, which evens out causal attention")    \
  F(ENUM, grid, "grid", UNIT_NONE, "auto", 0, 0, "auto|plain|transposed",                                              \
    "features along x and tokens along y, or the other way round")                                                     \
  F(ENUM, axpy, "axpy", UNIT_NONE, "fp16", 0, 0, "fp16|fp32",                                                          \
    "where the local AXPY accumulates; chains and gradients always accumulate in fp32")                                \
  F(F64, density, "density", UNIT_NONE, "1", 0.0001, 1, NULL,                                                          \
    "share of the blocks' weights that are not zero, spread evenly: only those are streamed, multiplied and updated "  \
    "in the modelled step (training itself keeps every weight)")                                                       \
  F(BOOL, search, "search", UNIT_NONE, "false", 0, 0, NULL,                                                            \
    "try every combination of what is not stated; false tries the usual few")                                          \
  F(U32, width, "width", UNIT_NONE, "0", 0, 100000, NULL, "columns that the program may use; 0 takes the machine's")   \
  F(U32, height, "height", UNIT_NONE, "0", 0, 100000, NULL, "rows that the program may use; 0 takes the machine's")

typedef struct plan_options {
  PLAN_FIELDS(FIELD_MEMBER)
} plan_options;
extern const field_table plan_table; // section "plan"

// The tile grid: `replicas` groups of `group_width` columns; in a group, slots of `seq_rows` rows hold
// one sequence each, or a row holds `row_seqs` whole sequences.
typedef struct plan_tiles {
  u32 replicas, group_width;
  u32 seq_rows, row_seqs; // one of them is 1
  u32 slots;              // rows of slots used in a group
  u32 rows;               // slots * seq_rows
  u32 tokens_max;         // tokens of the fullest PE row
  u32 features_max;       // of the residual width, in the fullest PE
  u32 hidden_max;         // of the MLP's hidden width
  u32 head_pes;           // columns that the most spread head spans; 0 when a column holds whole heads
  u32 heads_max;          // of which one PE holds features
  bool heads_aligned;     // no PE holds parts of two heads
  bool interleaved;       // token t of a sequence lies in row t mod seq_rows
  bool transposed;        // features along y: "columns" are the machine's rows
} plan_tiles;

typedef struct plan_memory { // bytes of the fullest PE
  u32 code_bytes, buffer_bytes, activation_bytes, total_bytes, limit_bytes;
  char peak_node[GRAPH_NAME_MAX]; // where the activations peak
} plan_memory;

// Pipelined: one operation of the forward pass with its gradients and weights, on a rectangle of its own.
typedef enum { KERNEL_LINEAR, KERNEL_ATTENTION, KERNEL_ELEMENTS } kernel_kind;
typedef struct plan_kernel {
  u32 node, kind;
  u32 in, out;             // features that enter and leave
  u32 x, y, width, height; // linear: inputs along x, outputs along y; attention: features, tokens
  u32 in_pe, out_pe;       // features of the fullest PE (attention: features, tokens of a sequence)
  u32 flight;              // sequences whose results wait here for their gradients
  u32 stored;              // features of a token that wait
  u32 sram_bytes;          // of the fullest PE, with code
  double token_cycles;     // of the fullest PE, forward and backward
} plan_kernel;

typedef struct plan_pipeline {
  const plan_kernel *kernels; // in the order of the forward pass; lives in the arena of plan_build
  u32 count, tile;            // tokens that a kernel hands on at once
  double period_cycles;       // per token: of the slowest kernel, or of the widest stream between two
  double link_cycles;         // of that stream
} plan_pipeline;

typedef struct plan {
  plan_options options;         // as stated
  u32 batch, systems;           // sequences per step over all systems
  u32 microbatch, microbatches; // per system: microbatches x microbatch >= batch / systems
  u32 policy, kept;             // activation_policy and kept_level, resolved
  u32 kept_blocks;              // that keep it; the others one level less
  u32 ahead;                    // fetched before they are needed
  u32 axpy;
  plan_tiles tiles;       // streaming
  plan_pipeline pipeline; // pipelined
  plan_memory memory;
  double estimate_cycles; // of one step, by the engine that the plan was chosen with
  u32 largest_microbatch; // that fits with any policy and replicas, and what runs out beyond it
  char limit[200];
} plan;

// A plan that was costed while searching, in the order tried.
typedef struct plan_trial {
  u32 policy, kept, kept_blocks, ahead, replicas, microbatch, microbatches, total_bytes;
  bool transposed, interleaved;
  double cycles, by_resource[RESOURCE_COUNT];
} plan_trial;

typedef struct plan_trials {
  plan_trial *list; // grows in an arena of the caller's
  u32 count, room;
  arena *memory;
} plan_trials;

typedef struct plan_request {
  const graph *graph;
  const machine *machine;
  const plan_options *options;
  const engine *engine; // costs candidates; the mapper knows it only as the door
  u32 batch, systems;
  plan_trials *trials; // collects what was tried; NULL: not wanted
} plan_request;

// Chooses and checks a plan. CODE_CONFIG with what does not fit and by how much.
bool plan_build(const plan_request *r, arena *a, plan *ret_plan, status *st);
// Recomputes memory and geometry from graph and machine alone; shares no code with plan_build.
bool plan_check(const plan *p, const graph *g, const machine *m, status *st);
u64 plan_hash(const plan *p);
void plan_print(const plan *p, const graph *g, text *out);
// The fastest trials with what limits each, and for every decision the best plan that decides otherwise.
void plan_trials_print(const plan_trials *t, u32 best, text *out);
const char *plan_policy_name(u32 policy);
const char *plan_kept_name(u32 kept);

// The plan as a program for the machine (lower.c); constant, lives in `a`.
bool plan_lower(const plan *p, const graph *g, const machine *m, arena *a, program *ret_program, status *st);
