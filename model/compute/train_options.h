// How training runs: steps, batch, optimizer, schedule, data. Stated by the user in `train` and `data`.
#pragma once

#include "base/field.h"

typedef enum { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE } schedule_kind;
typedef enum { NUMBERS_COMPUTE, NUMBERS_FABRIC } numbers_kind; // who computes losses and gradients
typedef enum { PRECISION_FP32, PRECISION_BF16, PRECISION_FP16 } precision_kind;
typedef enum { RECOMPUTE_NONE, RECOMPUTE_BLOCK } recompute_kind;
typedef enum { VOCAB_BYTES, VOCAB_CHARS } data_vocab_kind;
typedef enum { FORMAT_AUTO, FORMAT_TEXT, FORMAT_NANOGPT, FORMAT_LLMC } data_format_kind;

#define TRAIN_FIELDS(F)                                                                            \
  F(U32, steps, "steps", UNIT_NONE, "900", 0, 1000000000, NULL, "optimizer steps")                 \
  F(U32, batch, "batch", UNIT_NONE, "8", 1, 16777216, NULL,                                        \
    "sequences per step, over all systems")                                                       \
  F(U32, seq, "seq", UNIT_NONE, "128", 1, 1048576, NULL, "tokens per sequence")                    \
  F(F64, lr, "lr", UNIT_NONE, "2^-7", 0, 1000, NULL, "base learning rate, eta")                    \
  F(ENUM, schedule, "schedule", UNIT_NONE, "linear", 0, 0, "constant|linear|cosine",               \
    "how the rate falls after warmup, down to lr_end")                                            \
  F(F64, warmup, "warmup", UNIT_NONE, "0.1", 0, 1000000000, NULL,                                  \
    "linear warmup: below 1 a fraction of the steps, otherwise steps")                            \
  F(F64, lr_end, "lr_end", UNIT_NONE, "0", 0, 1, NULL,                                             \
    "fraction of lr that the rate would reach one step after the last")                            \
  F(F64, weight_decay, "weight_decay", UNIT_NONE, "0", 0, 1000, NULL, "base weight decay, lambda") \
  F(F64, eps, "eps", UNIT_NONE, "1e-12", 0, 1, NULL, "base AdamW epsilon")                         \
  F(F64, beta1, "beta1", UNIT_NONE, "0.9", 0, 1, NULL, "AdamW first moment decay")                 \
  F(F64, beta2, "beta2", UNIT_NONE, "0.95", 0, 1, NULL, "AdamW second moment decay")               \
  F(F64, clip, "clip", UNIT_NONE, "0", 0, 1e9, NULL, "global gradient norm limit; 0 is off")       \
  F(U64, tokens, "tokens", UNIT_NONE, "0", 0, 1e18, NULL,                                          \
    "tokens of the whole training, for time and energy to train; 0 means steps x batch x seq")    \
  F(ENUM, numbers, "numbers", UNIT_NONE, "compute", 0, 0, "compute|fabric",                        \
    "who computes losses and gradients: the host's backend, or the wavelets of engine.name=fabric") \
  F(ENUM, precision, "precision", UNIT_NONE, "fp32", 0, 0, "fp32|bf16|fp16",                       \
    "operands of linear layers: fp32, or rounded to bfloat16 or fp16 with fp32 sums and weights") \
  F(ENUM, recompute, "recompute", UNIT_NONE, "none", 0, 0, "none|block",                           \
    "block runs each block forward again for its gradients instead of keeping what is inside")    \
  F(TEXT, init, "init", UNIT_NONE, "", 0, 0, NULL,                                                 \
    "weights to start from: a GPT-2 folder or .safetensors (Hugging Face), or a .bin of llm.c")   \
  F(U32, eval_every, "eval_every", UNIT_NONE, "0", 0, 1000000000, NULL,                            \
    "steps between evaluations; 0 evaluates at the end only")                                     \
  F(U32, eval_sequences, "eval_sequences", UNIT_NONE, "0", 0, 1000000, NULL,                      \
    "held-out sequences per evaluation; 0 takes as many as make 65536 tokens, a batch where numbers=fabric") \
  F(U32, checkpoint_every, "checkpoint_every", UNIT_NONE, "0", 0, 1000000000, NULL,                \
    "steps between checkpoints; 0 writes one at the end and on interruption")

typedef struct train_options { TRAIN_FIELDS(FIELD_MEMBER) } train_options;
extern const field_table train_table; // section "train"
// Held-out sequences per evaluation, at least one.
u32 train_eval_sequences(const train_options *o);

#define DATA_FIELDS(F)                                                                             \
  F(TEXT, path, "path", UNIT_NONE, "", 0, 0, NULL,                                                 \
    "training data: a text file, a nanoGPT .bin or an llm.c .bin; empty takes the built-in text") \
  F(TEXT, val_path, "val_path", UNIT_NONE, "", 0, 0, NULL,                                         \
    "held-out data of the same format; empty holds out the tail of `path`")                       \
  F(ENUM, format, "format", UNIT_NONE, "auto", 0, 0, "auto|text|nanogpt|llmc",                     \
    "auto: .bin files by their header, anything else is text")                                    \
  F(ENUM, vocab, "vocab", UNIT_NONE, "bytes", 0, 0, "bytes|chars",                                 \
    "text only: 256 byte values, or just the characters that occur, sorted")                      \
  F(F64, held_out, "held_out", UNIT_NONE, "0.1", 0, 0.9, NULL, "fraction at the end held out for evaluation")

typedef struct data_options { DATA_FIELDS(FIELD_MEMBER) } data_options;
extern const field_table data_table; // section "data"
