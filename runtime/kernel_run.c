// A kernel on the fabric: data in, run, results compared with the reference.
#include "runtime/kernel_run.h"

#include "base/file.h"
#include "sim/fabric/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const type_names[] = {[DF_F32] = "f32", [DF_F16] = "f16", [DF_BF16] = "bf16", [DF_I32] = "i32"};

const char *kernel_type_name(u32 type) {
  require(type < COUNT_OF(type_names));
  return type_names[type];
}

bool kernel_type_parse(const char *name, u32 *ret_type) {
  for (u32 i = 0; i < DF_I32; i++)
    if (strcmp(name, type_names[i]) == 0) {
      *ret_type = i;
      return true;
    }
  return false;
}

void kernel_encode(u32 type, const float *values, u32 count, void *ret_bytes) {
  u8 *at = ret_bytes;
  for (u32 i = 0; i < count; i++, at += df_type_bytes(type)) {
    u16 half = type == DF_F16 ? number_to_f16(values[i]) : number_to_bf16(values[i]);
    i32 whole = type == DF_I32 ? (i32)values[i] : 0;
    if (type == DF_F32)
      memcpy(at, &values[i], 4);
    else if (type == DF_I32)
      memcpy(at, &whole, 4);
    else
      memcpy(at, &half, 2);
  }
}

void kernel_decode(u32 type, const void *bytes, u32 count, float *ret_values) {
  const u8 *at = bytes;
  for (u32 i = 0; i < count; i++, at += df_type_bytes(type)) {
    u16 half;
    i32 whole;
    memcpy(&half, at, 2);
    if (type == DF_F16) ret_values[i] = number_from_f16(half);
    if (type == DF_BF16) ret_values[i] = number_from_bf16(half);
    if (type == DF_F32) memcpy(&ret_values[i], at, 4);
    if (type != DF_I32) continue;
    memcpy(&whole, at, 4);
    ret_values[i] = (float)whole;
  }
}

static void write_inputs(const kernel_case *k, fabric *f, void *bytes) {
  for (u32 i = 0; i < k->input_count; i++) {
    const df_symbol *s = &k->program.symbols[k->inputs[i].symbol];
    const float *values = k->inputs[i].values;
    for (u32 row = 0; row < s->rect.h; row++)
      for (u32 column = 0; column < s->rect.w; column++, values += s->count) {
        kernel_encode(s->type, values, s->count, bytes);
        fabric_write(f, kernel_x(s, column), kernel_y(s, row), s->address, bytes, s->count * df_type_bytes(s->type));
      }
  }
  for (u32 i = 0; i < k->program.port_count; i++)
    if (!k->program.ports[i].out) fabric_feed(f, i, k->feed);
}

static void note_difference(const df_symbol *s, u32 column, u32 row, u32 at, kernel_outcome *o) {
  snprintf(o->where, sizeof o->where, "%s[%u] of PE (%u, %u)", s->name, at, kernel_x(s, column), kernel_y(s, row));
}

// Not a number where one is expected is an infinite deviation.
static double deviation(float value, float expected) {
  double d = fabs((double)value - expected);
  return isnan(d) ? INFINITY : d;
}

static void compare(const kernel_case *k, const fabric *f, void *bytes, float *values, kernel_outcome *o) {
  const df_symbol *s = &k->program.symbols[k->result.symbol];
  const float *expected = k->result.values;
  o->equal = true;
  for (u32 row = 0; row < s->rect.h; row++)
    for (u32 column = 0; column < s->rect.w; column++, expected += s->count) {
      fabric_read(f, kernel_x(s, column), kernel_y(s, row), s->address, bytes, s->count * df_type_bytes(s->type));
      kernel_decode(s->type, bytes, s->count, values);
      for (u32 i = 0; i < s->count; i++) {
        double d = deviation(values[i], expected[i]);
        if (d > 0 && o->equal) note_difference(s, column, row, i, o);
        if (d > 0) o->equal = false;
        o->largest = fmax(o->largest, d);
        o->compared++;
      }
    }
  o->checked = true;
}

static u32 largest_symbol(const dataflow *d) {
  u32 most = 1;
  for (u32 i = 0; i < d->symbol_count; i++)
    if (d->symbols[i].count > most) most = d->symbols[i].count;
  return most;
}

fabric *kernel_open(const dataflow *d, const machine *m, const kernel_how *how, arena *own, status *st) {
  if (!how) return fabric_open(d, m, NULL, own, st);
  fabric_options options = how->fabric;
  if (how->view && !kernel_view_check(how->view, d, st)) return NULL;
  if (how->view && how->view->watched) options.watch = &how->view->watch;
  return fabric_open(d, m, &options, own, st);
}

// What was seen of a stall is worth most; the stall is what is reported.
bool kernel_execute(fabric *f, const dataflow *d, const kernel_how *how, kernel_outcome *ret_outcome, status *st) {
  double begin = clock_seconds();
  bool ok = fabric_run(f, UINT64_MAX, &ret_outcome->fabric, st);
  ret_outcome->wall_s = clock_seconds() - begin;
  if (!how || !how->view) return ok;
  status own = {0};
  return kernel_view_take(how->view, f, d, ok ? st : &own) && ok;
}

static bool run_case(const kernel_case *k, const machine *m, const kernel_how *how, arena *a, kernel_outcome *o,
                     status *st) {
  u32 most = largest_symbol(&k->program);
  float *values = arena_array(a, float, most);
  void *bytes = arena_take(a, (size_t)most * 4);
  arena *own = arena_create("fabric"); // open seals it
  fabric *f = kernel_open(&k->program, m, how, own, st);
  bool ok = f != NULL;
  if (ok) {
    write_inputs(k, f, bytes);
    ok = kernel_execute(f, &k->program, how, o, st);
  }
  if (ok) {
    o->rate = kernel_rate(k, (double)o->fabric.cycles);
    o->rate_unit = k->rate_unit;
    o->tolerance = k->tolerance;
    if (k->checked) compare(k, f, bytes, values, o);
    o->pass = !o->checked || o->equal || o->largest <= k->tolerance;
  }
  arena_destroy(own);
  return ok;
}

bool kernel_run(const kernel_request *r, const machine *m, const kernel_how *how, kernel_outcome *ret_outcome,
                status *st) {
  arena *a = arena_create("kernel");
  kernel_request request = *r;
  request.machine = m;
  kernel_case k;
  kernel_outcome o = {0};
  bool ok = kernel_build(&request, a, &k, st) && run_case(&k, m, how, a, &o, st);
  if (ok) *ret_outcome = o;
  arena_destroy(a);
  return ok;
}
