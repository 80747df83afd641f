// SUMMA: C += A B with one tile of each per PE of a P x P grid, in P steps. In step k the PEs of column k send
// their tile of A along the row, both ways, and those of row k their tile of B along the column; then each PE
// multiplies the two tiles that came. Five tiles in memory: A, B, C and two that are received.
#include "mapper/kernel_parts.h"

#include <math.h>

enum { A_COLOR, B_COLOR };                         // their queues as well
enum { BEFORE, OWN, AFTER };                       // positions: the sender is at a lower place, is this PE, at a higher
enum { ROW = 0, INNER = 1, STEP = 2 };             // registers
enum { RECEIVE_A = 1, RECEIVE_B, SEND_A, SEND_B }; // microthreads

static u32 moving(df_builder *b, const char *name, u32 type, u32 of, i32 length) {
  return df_build_view(b, name, (df_type)type, df_just((i32)df_build_address(b, of)), df_just(length));
}

// The positions of this step, by where step k is from this PE's x and y: all pairs, so that both change in one go.
static void set_routes(df_builder *b) {
  const df_affine x[] = {df_affine_of(0, 1, 0), df_affine_of(1, 1, 0)},
                  y[] = {df_affine_of(0, 0, 1), df_affine_of(1, 0, 1)};
  u32 ends[9], end_count = 0, to_before, to_own;
  u32 at_before = df_build_op(b, df_skip_less(STEP, x[0], 0)) - 1,
      at_own = df_build_op(b, df_skip_less(STEP, x[1], 0)) - 1;
  for (i32 a_position = AFTER; a_position >= BEFORE; a_position--) {
    if (a_position == OWN) df_build_skip_to_here(b, at_own);
    if (a_position == BEFORE) df_build_skip_to_here(b, at_before);
    to_before = df_build_op(b, df_skip_less(STEP, y[0], 0)) - 1;
    to_own = df_build_op(b, df_skip_less(STEP, y[1], 0)) - 1;
    for (i32 b_position = AFTER; b_position >= BEFORE; b_position--) {
      if (b_position == OWN) df_build_skip_to_here(b, to_own);
      if (b_position == BEFORE) df_build_skip_to_here(b, to_before);
      df_build_op(b, df_cn(DF_ROUTE, A_COLOR, df_just(a_position)));
      df_build_op(b, df_cn(DF_ROUTE, B_COLOR, df_just(b_position)));
      if (a_position != BEFORE || b_position != BEFORE) ends[end_count++] = df_build_op(b, df_skip(0)) - 1;
    }
  }
  while (end_count) df_build_skip_to_here(b, ends[--end_count]);
}

// Does `op` in the step whose number is this PE's place.
static void when_own(df_builder *b, df_affine place, df_instruction op) {
  df_build_op(b, df_skip_less(STEP, place, 3)); // not yet
  place.base++;
  df_build_op(b, df_skip_less(STEP, place, 1)); // now
  df_build_op(b, df_skip(1));
  df_build_op(b, op);
}

static void step_task(df_builder *b, const kernel_request *r, u32 a_tile, u32 b_tile) {
  df_affine n = df_just((i32)(r->tile * r->tile));
  u32 a_in = df_build_in(b, "a_in", r->type, n, A_COLOR, A_COLOR),
      b_in = df_build_in(b, "b_in", r->type, n, B_COLOR, B_COLOR);
  u32 a_out = df_build_out(b, "a_out", r->type, n, A_COLOR, A_COLOR);
  u32 b_out = df_build_out(b, "b_out", r->type, n, B_COLOR, B_COLOR);
  u32 product = df_build_task_index(b, "product");
  u32 a_now = df_build_find_vector(b, "a_now"), b_now = df_build_find_vector(b, "b_now");
  set_routes(b);
  df_build_op(b, df_then(df_on(df_vv(DF_MOV, a_now, a_in), RECEIVE_A), DONE_UNBLOCK, product));
  df_build_op(b, df_then(df_on(df_vv(DF_MOV, b_now, b_in), RECEIVE_B), DONE_ACTIVATE, product));
  when_own(b, df_affine_of(0, 1, 0), df_on(df_vv(DF_MOV, a_out, a_tile), SEND_A));
  when_own(b, df_affine_of(0, 0, 1), df_on(df_vv(DF_MOV, b_out, b_tile), SEND_B));
}

// Row i of C gains A[i][m] times row m of B: t x t AXPYs.
static void product_task(df_builder *b, const kernel_request *r, u32 c_tile, u32 steps) {
  i32 t = (i32)r->tile, bytes = (i32)df_type_bytes(r->type);
  u32 c_row = moving(b, "c_row", r->type, c_tile, t);
  df_build_moved_by(b, c_row, ROW, t * bytes);
  u32 b_row = moving(b, "b_row", r->type, df_build_find_vector(b, "b_now"), t);
  df_build_moved_by(b, b_row, INNER, t * bytes);
  u32 scalar = moving(b, "a_element", r->type, df_build_find_vector(b, "a_now"), 1);
  df_build_moved_by(b, scalar, ROW, t * bytes);
  df_build_moved_by(b, scalar, INNER, bytes);
  u32 step = df_build_task_index(b, "step"), product = df_build_task(b, "product");
  df_build_start_blocked(b);
  df_build_op(b, df_t(DF_BLOCK, product)); // until the next tiles are here
  df_build_op(b, df_rn(DF_LOOP, ROW, df_just(t)));
  df_build_op(b, df_rn(DF_LOOP, INNER, df_just(t)));
  df_build_op(b, df_vvv(DF_AXPY, c_row, b_row, scalar));
  df_build_op(b, df_none(DF_END));
  df_build_op(b, df_none(DF_END));
  df_build_op(b, df_rn(DF_STEP, STEP, df_just(1)));
  df_build_op(b, df_skip_less(STEP, df_just((i32)steps), 1));
  df_build_op(b, df_skip(1));
  df_build_op(b, df_t(DF_ACTIVATE, step));
}

// One place along an axis: low and high are the ports towards lower and higher places, 0 at the grid's ends.
// At the ends a position that no step asks for is the PE's own.
static void axis_route(df_builder *b, df_rect rect, u32 color, u32 low, u32 high) {
  df_build_route(b, rect, color, low ? low : PORT_RAMP, PORT_RAMP | high);
  df_build_position(b, PORT_RAMP, PORT_RAMP | low | high);
  df_build_position(b, high ? high : PORT_RAMP, PORT_RAMP | low);
}

static void summa_routes(df_builder *b, u32 p) {
  axis_route(b, df_block(0, 0, 1, p), A_COLOR, 0, p > 1 ? PORT_EAST : 0);
  axis_route(b, df_block(0, 0, p, 1), B_COLOR, 0, p > 1 ? PORT_SOUTH : 0);
  if (p > 2) axis_route(b, df_block(1, 0, p - 2, p), A_COLOR, PORT_WEST, PORT_EAST);
  if (p > 2) axis_route(b, df_block(0, 1, p, p - 2), B_COLOR, PORT_NORTH, PORT_SOUTH);
  if (p > 1) axis_route(b, df_block(p - 1, 0, 1, p), A_COLOR, PORT_WEST, 0);
  if (p > 1) axis_route(b, df_block(0, p - 1, p, 1), B_COLOR, PORT_NORTH, 0);
}

// C tile by tile, by way of `tile`; `absolute`: the sum of the products' sizes instead.
static void multiply(const kernel_request *r, const kernel_case *k, double *tile, float *result, bool absolute) {
  u32 p = r->width, t = r->tile, each = t * t;
  for (size_t pe = 0; pe < (size_t)p * p; pe++) {
    for (u32 i = 0; i < each; i++)
      tile[i] = absolute ? fabs(k->inputs[2].values[pe * each + i]) : k->inputs[2].values[pe * each + i];
    for (u32 step = 0; step < p; step++) {
      const float *left = k->inputs[0].values + (pe / p * p + step) * each,
                  *right = k->inputs[1].values + (step * p + pe % p) * each;
      for (u32 i = 0; i < each; i++) {
        double scale = absolute ? fabs(left[i]) : left[i];
        const float *row = right + (size_t)(i % t) * t;
        for (u32 j = 0; j < t; j++) tile[i / t * t + j] += scale * (absolute ? fabs(row[j]) : row[j]);
      }
    }
    for (u32 i = 0; i < each; i++) result[pe * each + i] = (float)tile[i];
  }
}

static void summa_expected(const kernel_request *r, arena *a, kernel_case *k) {
  float *expected = kernel_expect(a, k, 2);
  double magnitude = 0, *tile = arena_array(a, double, (size_t)r->tile * r->tile);
  if (r->random) {
    multiply(r, k, tile, expected, true);
    for (size_t i = 0; i < (size_t)r->width * r->height * r->tile * r->tile; i++)
      magnitude = fmax(magnitude, expected[i]);
  }
  multiply(r, k, tile, expected, false);
  kernel_tolerate(r, k, (double)r->width * r->tile + 1, magnitude);
}

bool kernel_summa(const kernel_request *r, arena *a, kernel_case *k, status *st) {
  u32 p = r->width, each = r->tile * r->tile;
  if (p != r->height)
    return status_fail(st, CODE_USAGE, "kernel summa: the grid is square, not %ux%u", r->width, r->height);
  df_builder *b = df_build_begin(a, "summa", p, p);
  df_build_class(b, "pe");
  u32 a_tile = df_build_array(b, "a", r->type, each), b_tile = df_build_array(b, "b", r->type, each);
  u32 c_tile = df_build_array(b, "c", r->type, each);
  df_build_array(b, "a_now", r->type, each);
  df_build_array(b, "b_now", r->type, each);
  df_rect all = df_block(0, 0, p, p);
  df_build_symbol(b, "a", all, r->type, df_build_address(b, a_tile), each);
  df_build_symbol(b, "b", all, r->type, df_build_address(b, b_tile), each);
  df_build_symbol(b, "c", all, r->type, df_build_address(b, c_tile), each);
  df_build_task(b, "step");
  df_build_start_active(b);
  step_task(b, r, a_tile, b_tile);
  product_task(b, r, c_tile, p);
  df_build_region(b, all, "pe");
  summa_routes(b, p);
  df_build_finish(b, &k->program);
  k->work = (double)p * each * r->tile;
  k->rate_unit = "MACs/cycle per PE";
  if (r->extent == KERNEL_PROGRAM_ONLY) return true;
  for (u32 i = 0; i < 3; i++) kernel_fill(r, a, k, i);
  if (r->extent == KERNEL_WHOLE) summa_expected(r, a, k);
  return true;
}
