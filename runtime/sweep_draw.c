// Drawing the random points of a sweep.
#include "runtime/sweep_draw.h"

#include "base/hash.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_whole(const field *f) {
  return f->type == FIELD_U32 || f->type == FIELD_U64;
}

// The value that the field reads from a word which is known to fit it.
static double value_of(const field *f, const field_table *t, void *spec, const char *word) {
  status st = {0};
  u32 narrow;
  u64 wide;
  double real;
  require(field_parse(t, f, spec, word, "", &st));
  const char *at = (const char *)spec + f->offset;
  switch (f->type) {
  case FIELD_U32:
    memcpy(&narrow, at, sizeof narrow);
    return narrow;
  case FIELD_U64:
    memcpy(&wide, at, sizeof wide);
    return (double)wide;
  default:
    memcpy(&real, at, sizeof real);
    return real;
  }
}

const char *sweep_range_check(sweep_range *r, const config_section *section) {
  if (r->field->type != FIELD_F64 && !is_whole(r->field))
    return "only a number has a range; a list of choices fits here";
  r->low = value_of(r->field, section->table, section->spec, r->min);
  r->high = value_of(r->field, section->table, section->spec, r->max);
  if (r->low > r->high) return "min is above max";
  return r->log && r->low <= 0 ? "a logarithmic range begins above 0" : NULL;
}

// Six digits: enough for any axis, readable, and the same on hosts whose exp differs in the last bit.
static const char *draw_range(const sweep_range *r, double unit, arena *a) {
  char word[64];
  if (is_whole(r->field)) {
    const double top = r->high + 1;
    const double x = r->log ? exp(log(r->low) + unit * (log(top) - log(r->low))) : r->low + unit * (top - r->low);
    snprintf(word, sizeof word, "%.0f", fmin(fmax(floor(x), r->low), r->high));
    return arena_text(a, word);
  }
  const double x = r->log ? exp(log(r->low) + unit * (log(r->high) - log(r->low))) : r->low + unit * (r->high - r->low);
  snprintf(word, sizeof word, "%.6g", x);
  const double rounded = strtod(word, NULL);
  return rounded < r->low ? r->min : rounded > r->high ? r->max : arena_text(a, word);
}

static const char *draw_one(const sweep_draw *d, const sweep_range *r, u32 index, arena *a) {
  const u32 stream = (u32)hash_text(HASH_START, r->key);
  if (r->choices) return r->choices[random_below(d->seed, RANDOM_SWEEP, stream, index, r->choice_count)];
  return draw_range(r, random_unit(d->seed, RANDOM_SWEEP, stream, index), a);
}

void sweep_draw_rows(const sweep_draw *d, sweep_factor *f, u32 count, arena *a) {
  f->rows = count;
  f->values = arena_array(a, const char *, (size_t)count * f->key_count);
  for (u32 row = 0; row < count; row++) {
    for (u32 k = 0; k < f->key_count; k++) f->values[row * f->key_count + k] = draw_one(d, &d->ranges[k], row, a);
  }
}
