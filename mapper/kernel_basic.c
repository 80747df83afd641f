// Kernels of one PE or two: messages, vector instructions, a task per wavelet, a tile times a vector.
#include "mapper/kernel_parts.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>

enum { COLOR = 0, QUEUE = 0 };
static const i32 one_word = 1729;

static u32 type_bytes(u32 type) {
  return df_type_bytes(type);
}

// ---- p2p: from (0, 0) along row 0, then down the last column

static void p2p_routes(df_builder *b, u32 w, u32 h) {
  df_build_route(b, df_pe(0, 0), COLOR, PORT_RAMP, w > 1 ? PORT_EAST : PORT_SOUTH);
  if (w > 2) df_build_route(b, df_block(1, 0, w - 2, 1), COLOR, PORT_WEST, PORT_EAST);
  if (w > 1 && h > 1) df_build_route(b, df_pe(w - 1, 0), COLOR, PORT_WEST, PORT_SOUTH);
  if (h > 2) df_build_route(b, df_block(w - 1, 1, 1, h - 2), COLOR, PORT_NORTH, PORT_SOUTH);
  df_build_route(b, df_pe(w - 1, h - 1), COLOR, h > 1 ? PORT_NORTH : PORT_WEST, PORT_RAMP);
}

// One word starts a task where it arrives; more are a stream between two vectors.
static void p2p_word(df_builder *b) {
  df_build_class(b, "sender");
  u32 out = df_build_out(b, "out", DF_I32, df_just(1), COLOR, QUEUE);
  df_build_task(b, "main");
  df_build_start_active(b);
  df_build_op(b, df_vn(DF_SEND, out, df_just(one_word)));
  df_build_class(b, "receiver");
  u32 received = df_build_array(b, "received", DF_I32, 1);
  u32 in = df_build_in(b, "in", DF_I32, df_just(1), COLOR, QUEUE);
  df_build_task(b, "receive");
  df_build_started_by(b, TRIGGER_DATA, COLOR, QUEUE);
  df_build_op(b, df_vv(DF_MOV, received, in));
}

static void p2p_stream(df_builder *b, const kernel_request *r) {
  df_affine n = df_just((i32)r->words);
  df_build_class(b, "sender");
  u32 data = df_build_array(b, "data", r->type, r->words);
  u32 out = df_build_out(b, "out", r->type, n, COLOR, QUEUE);
  df_build_task(b, "main");
  df_build_start_active(b);
  df_build_op(b, df_vv(DF_MOV, out, data));
  df_build_class(b, "receiver");
  u32 received = df_build_array(b, "received", r->type, r->words);
  u32 in = df_build_in(b, "in", r->type, n, COLOR, QUEUE);
  df_build_task(b, "main");
  df_build_start_active(b);
  df_build_op(b, df_vv(DF_MOV, received, in));
}

bool kernel_p2p(const kernel_request *r, arena *a, kernel_case *k, status *st) {
  u32 w = r->width, h = r->height;
  if (w * h < 2) return status_fail(st, CODE_USAGE, "kernel p2p: a message needs two PEs, the grid has one");
  df_builder *b = df_build_begin(a, "p2p", w, h);
  bool word = r->words == 1;
  if (word)
    p2p_word(b);
  else
    p2p_stream(b, r);
  df_build_region(b, df_pe(0, 0), "sender");
  df_build_region(b, df_pe(w - 1, h - 1), "receiver");
  p2p_routes(b, w, h);
  if (!word) df_build_symbol(b, "data", df_pe(0, 0), r->type, 0, r->words);
  df_build_symbol(b, "received", df_pe(w - 1, h - 1), word ? DF_I32 : r->type, 0, r->words);
  df_build_finish(b, &k->program);
  const float *data = word ? NULL : kernel_fill(r, a, k, kernel_symbol(k, "data"));
  float *expected = kernel_expect(a, k, kernel_symbol(k, "received"));
  for (u32 i = 0; i < r->words; i++) expected[i] = word ? (float)one_word : data[i];
  k->work = r->words;
  k->rate_unit = "elements/cycle";
  return true;
}

// ---- dsd

bool kernel_dsd(const kernel_request *r, arena *a, kernel_case *k, status *st) {
  (void)st;
  bool fma = kernel_pattern_is(r, "fma");
  df_builder *b = df_build_begin(a, "dsd", r->width, r->height);
  df_build_class(b, "pe");
  u32 to = df_build_array(b, "to", r->type, r->words), x = df_build_array(b, "x", r->type, r->words);
  u32 y = fma ? df_build_array(b, "y", r->type, r->words) : 0;
  df_build_task(b, "main");
  df_build_start_active(b);
  if (r->repeat > 1) df_build_op(b, df_rn(DF_LOOP, 0, df_just((i32)r->repeat)));
  df_build_op(b, fma ? df_vvv(DF_FMA, to, x, y) : df_vv(DF_MOV, to, x));
  if (r->repeat > 1) df_build_op(b, df_none(DF_END));
  df_rect all = df_block(0, 0, r->width, r->height);
  df_build_region(b, all, "pe");
  df_build_symbol(b, "to", all, r->type, df_build_address(b, to), r->words);
  df_build_symbol(b, "x", all, r->type, df_build_address(b, x), r->words);
  if (fma) df_build_symbol(b, "y", all, r->type, df_build_address(b, y), r->words);
  df_build_finish(b, &k->program);
  const float *tos = kernel_fill(r, a, k, 0), *xs = kernel_fill(r, a, k, 1), *ys = fma ? kernel_fill(r, a, k, 2) : NULL;
  size_t n = (size_t)r->width * r->height * r->words;
  float *expected = kernel_expect(a, k, 0);
  for (size_t i = 0; i < n; i++) expected[i] = fma ? tos[i] + (float)r->repeat * (xs[i] * ys[i]) : xs[i];
  if (fma) kernel_tolerate(r, k, r->repeat + 1, r->repeat + 1);
  k->work = (double)r->words * r->repeat;
  k->rate_unit = "elements/cycle";
  return true;
}

// ---- task: every PE of a row gets the row's stream and starts a task for each word

static void task_class(df_builder *b, u32 words) {
  df_build_class(b, "pe");
  u32 received = df_build_array(b, "received", DF_I32, words);
  u32 place = df_build_view(b, "place", DF_I32, df_just((i32)df_build_address(b, received)), df_just(1));
  df_build_moved_by(b, place, 0, 4);
  u32 in = df_build_in(b, "in", DF_I32, df_just(1), COLOR, QUEUE);
  df_build_task(b, "receive");
  df_build_started_by(b, TRIGGER_DATA, COLOR, QUEUE);
  df_build_op(b, df_vv(DF_MOV, place, in));
  df_build_op(b, df_rn(DF_STEP, 0, df_just(1)));
}

bool kernel_task(const kernel_request *r, arena *a, kernel_case *k, status *st) {
  (void)st;
  u32 w = r->width, h = r->height;
  df_builder *b = df_build_begin(a, "task", w, h);
  task_class(b, r->words);
  df_rect all = df_block(0, 0, w, h);
  df_build_region(b, all, "pe");
  if (w > 1) df_build_route(b, df_block(0, 0, w - 1, h), COLOR, PORT_WEST, PORT_EAST | PORT_RAMP);
  df_build_route(b, df_block(w - 1, 0, 1, h), COLOR, PORT_WEST, PORT_RAMP);
  for (u32 y = 0; y < h; y++) {
    char name[DF_NAME_MAX];
    snprintf(name, sizeof name, "row%u", y);
    df_build_port(b, name, (df_port){.y = y, .port = PORT_WEST, .color = COLOR, .wavelets = r->words});
  }
  df_build_symbol(b, "received", all, DF_I32, 0, r->words);
  df_build_finish(b, &k->program);
  u32 *feed = arena_array(a, u32, r->words);
  for (u32 i = 0; i < r->words; i++) feed[i] = (u32)random_below(r->seed, RANDOM_TEST, 0, i, 1u << 20);
  k->feed = feed;
  float *expected = kernel_expect(a, k, 0);
  for (size_t pe = 0; pe < (size_t)w * h; pe++)
    for (u32 i = 0; i < r->words; i++) expected[pe * r->words + i] = (float)feed[i];
  k->work = r->words;
  k->rate_unit = "cycles/word";
  k->cycles_per_work = true;
  return true;
}

// ---- matvec: y += A x, one AXPY per column of the tile (its columns lie one after the other)

static void matvec_class(df_builder *b, const kernel_request *r) {
  u32 n = r->tile;
  i32 bytes = (i32)type_bytes(r->type);
  df_build_class(b, "pe");
  u32 tile = df_build_array(b, "a", r->type, n * n), x = df_build_array(b, "x", r->type, n);
  u32 y = df_build_array(b, "y", r->type, n);
  u32 column = df_build_view(b, "column", r->type, df_just((i32)df_build_address(b, tile)), df_just((i32)n));
  df_build_moved_by(b, column, 0, (i32)n * bytes);
  u32 scalar = df_build_view(b, "scalar", r->type, df_just((i32)df_build_address(b, x)), df_just(1));
  df_build_moved_by(b, scalar, 0, bytes);
  df_build_task(b, "main");
  df_build_start_active(b);
  if (r->repeat > 1) df_build_op(b, df_rn(DF_LOOP, 1, df_just((i32)r->repeat)));
  df_build_op(b, df_rn(DF_LOOP, 0, df_just((i32)n)));
  df_build_op(b, df_vvv(DF_AXPY, y, column, scalar));
  df_build_op(b, df_none(DF_END));
  if (r->repeat > 1) df_build_op(b, df_none(DF_END));
  df_rect all = df_block(0, 0, r->width, r->height);
  df_build_region(b, all, "pe");
  df_build_symbol(b, "a", all, r->type, df_build_address(b, tile), n * n);
  df_build_symbol(b, "x", all, r->type, df_build_address(b, x), n);
  df_build_symbol(b, "y", all, r->type, df_build_address(b, y), n);
}

bool kernel_matvec(const kernel_request *r, arena *a, kernel_case *k, status *st) {
  (void)st;
  u32 n = r->tile;
  df_builder *b = df_build_begin(a, "matvec", r->width, r->height);
  matvec_class(b, r);
  df_build_finish(b, &k->program);
  const float *as = kernel_fill(r, a, k, 0), *xs = kernel_fill(r, a, k, 1), *ys = kernel_fill(r, a, k, 2);
  float *expected = kernel_expect(a, k, 2);
  double magnitude = 0;
  for (size_t pe = 0; pe < (size_t)r->width * r->height; pe++)
    for (u32 i = 0; i < n; i++) {
      double sum = 0, size = 0;
      for (u32 j = 0; j < n; j++) {
        double product = (double)as[pe * n * n + (size_t)j * n + i] * xs[pe * n + j];
        sum += product;
        size += fabs(product);
      }
      expected[pe * n + i] = (float)(ys[pe * n + i] + r->repeat * sum);
      magnitude = fmax(magnitude, 1 + r->repeat * size);
    }
  kernel_tolerate(r, k, (double)n * r->repeat + 1, magnitude);
  k->work = (double)n * n * r->repeat;
  k->rate_unit = "MACs/cycle per PE";
  return true;
}
