// What the weight products share.
#include "mapper/weave_product.h"

// An axis whose last column is unlike the others.
static weave_axis ending(const weave_axis *a) {
  return (weave_axis){1, 2 * a->parts - 1, a->parts};
}

weave_runs weave_product_columns(const weave_axis *in, const weave_axis *out, bool parity) {
  const weave_axis in_end = ending(in), out_end = ending(out);
  const weave_axis *axes[] = {in, out, &in_end, &out_end};
  return weave_columns(in->parts > out->parts ? in->parts : out->parts, axes, parity);
}

u32 weave_table(weave *w, const char *name, weave_rows_at at) {
  const u32 v = weave_at(w, name, at.type, at.address, df_just((i32)(at.each * at.count)));
  if (at.count > 1 && at.pitch != at.each * df_type_bytes(at.type))
    df_build_rows(w->b, v, df_just((i32)at.each), (i32)at.pitch);
  return v;
}

// An instruction of no element: it is issued when the one before it is complete.
void weave_await(weave *w, u32 thread) {
  const u32 nothing = weave_at(w, "nothing", DF_F32, 0, df_just(0));
  df_build_op(w->b, df_on(df_vv(DF_MOV, nothing, nothing), thread));
}

void weave_turn(weave *w, u32 reg, u32 count) {
  df_build_op(w->b, df_rn(DF_STEP, reg, df_just(1)));
  df_build_op(w->b, df_skip_less(reg, df_just((i32)count), 1));
  df_build_op(w->b, df_rn(DF_SET, reg, df_just(0)));
}

u32 weave_skip(weave *w, df_instruction i) {
  return df_build_op(w->b, i) - 1;
}
