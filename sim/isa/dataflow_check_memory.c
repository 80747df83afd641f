// The verifier's second look at vectors: where their bytes lie in every PE of every region. What varies
// affinely over a region has its extremes at the corners, so the corners stand for all; where lengths
// divide or some PEs have nothing to do, every PE is visited.
//
// Registers: a vector that they move or make longer is checked where it is used, as far as the code says what they hold
// (SET, the count of a LOOP, never written). What depends on the order of tasks is left to the engines.
#include "sim/isa/dataflow_check.h"

#include <stdio.h>

// Affine in 64 bits, for sums of what is affine.
typedef struct wide {
  i64 base, dx, dy;
} wide;

static wide widen(df_affine v) {
  return (wide){v.base, v.dx, v.dy};
}
static i64 wide_at(wide v, u32 x, u32 y) {
  return v.base + x * v.dx + y * v.dy;
}
static wide plus(wide a, wide b, i64 times) {
  return (wide){a.base + b.base * times, a.dx + b.dx * times, a.dy + b.dy * times};
}
static bool is_constant(wide v) {
  return !v.dx && !v.dy;
}

// What a register may hold at a place in the code: from low to high, where low <= high.
typedef struct content {
  bool known;
  wide low, high;
} content;

typedef struct view {
  const df_checker *c;
  const df_region *region;
  const df_class *class;
  content reg[DF_REGISTERS];
  u32 until[DF_REGISTERS]; // unknown before this instruction, whatever is written: a skip may jump there
  u32 guarded;             // instructions before this one may be skipped
  u32 written;             // registers that some task of the class writes, as bits
  const df_task *task;     // with `at`, the instruction that is looked at; NULL: none
  u32 at;
} view;

enum { WHERE_MAX = 128 };

static const char *where(const view *w, char out[WHERE_MAX]) {
  if (!w->task)
    snprintf(out, WHERE_MAX, "class %s", w->class->name);
  else
    snprintf(out, WHERE_MAX, "class %s, task %s, instruction %u (%s)", w->class->name, w->task->name, w->at,
             instruction_get(w->c->d->instructions[w->task->first + w->at].opcode)->name);
  return out;
}
#define REFUSE(w, format, ...) DF_REFUSE((w)->c, "%s" format, where((w), (char[WHERE_MAX]){0}), __VA_ARGS__)

// ---- one vector

// The steps that visit the corners only, or every PE.
static df_place stride_of(df_rect r, bool corners) {
  return corners ? (df_place){r.w > 1 ? r.w - 1 : 1, r.h > 1 ? r.h - 1 : 1} : (df_place){1, 1};
}

static i64 lesser(i64 a, i64 b) {
  return a < b ? a : b;
}
static i64 greater(i64 a, i64 b) {
  return a > b ? a : b;
}

// Lowest and highest offset of an element of a vector of n > 0 elements in rows of `wrap`.
static void offsets(const df_vector *v, i64 n, i64 wrap, i64 *ret_low, i64 *ret_high) {
  const i64 rows = wrap ? (n - 1) / wrap : 0, last = wrap ? (n - 1) % wrap : n - 1;
  const i64 at[] = {0, last * v->stride + rows * v->outer, rows * (i64)v->outer, rows ? (wrap - 1) * v->stride : 0,
                    rows ? (wrap - 1) * v->stride + (rows - 1) * v->outer : 0};
  *ret_low = *ret_high = 0;
  for (u32 i = 0; i < COUNT_OF(at); i++) {
    *ret_low = lesser(*ret_low, at[i]);
    *ret_high = greater(*ret_high, at[i]);
  }
}

// The address's range by the registers that move the vector; false where one of them is unknown.
static bool address_range(const view *w, const df_vector *v, wide *ret_low, wide *ret_high) {
  *ret_low = *ret_high = widen(v->address);
  for (u32 i = 0; i < COUNT_OF(v->reg); i++) {
    if (v->reg[i] == DF_NO_REGISTER) continue;
    const content *r = &w->reg[v->reg[i]];
    if (!r->known) return false;
    const bool up = v->scale[i] >= 0;
    *ret_low = plus(*ret_low, up ? r->low : r->high, v->scale[i]);
    *ret_high = plus(*ret_high, up ? r->high : r->low, v->scale[i]);
  }
  return true;
}

static bool check_aligned(const view *w, const df_vector *v) {
  const i32 unit = (i32)df_type_bytes(v->type);
  const df_rect r = w->region->rect;
  bool ok = v->address.base % unit == 0 && (r.w == 1 || v->address.dx % unit == 0) &&
            (r.h == 1 || v->address.dy % unit == 0) && v->stride % unit == 0;
  if (v->wrap.base || v->wrap.dx || v->wrap.dy) ok = ok && v->outer % unit == 0;
  for (u32 i = 0; i < COUNT_OF(v->reg); i++) ok = ok && (v->reg[i] == DF_NO_REGISTER || v->scale[i] % unit == 0);
  return ok || REFUSE(w, ", vector %s is not aligned to its elements of %d bytes", v->name, unit);
}

// The length's range by the register that makes the vector longer; false where that is unknown.
static bool length_range(const view *w, const df_vector *v, wide *ret_low, wide *ret_high) {
  *ret_low = *ret_high = widen(v->length);
  if (v->length_reg == DF_NO_REGISTER) return true;
  const content *r = &w->reg[v->length_reg];
  *ret_low = plus(*ret_low, r->low, 1);
  *ret_high = plus(*ret_high, r->high, 1);
  return r->known;
}

static bool is_moved(const df_vector *v) {
  return v->reg[0] != DF_NO_REGISTER || v->reg[1] != DF_NO_REGISTER || v->length_reg != DF_NO_REGISTER;
}

typedef struct extent { // addresses and lengths that registers may bring about
  wide first, last, shortest, longest;
} extent;

// One PE; *ret_idle: it has no element, or never comes to the instruction.
static bool check_at(const view *w, const df_vector *v, df_place p, const extent *e, bool *ret_idle) {
  const i64 n = wide_at(e->longest, p.x, p.y), wrap = df_at(v->wrap, p.x, p.y);
  const i64 first = wide_at(e->first, p.x, p.y), last = wide_at(e->last, p.x, p.y);
  const df_place pe = df_place_in(w->region->rect, p.x, p.y);
  *ret_idle = n <= 0 || first > last || wide_at(e->shortest, p.x, p.y) > n;
  if (*ret_idle) return true;
  i64 low, high;
  offsets(v, n, wrap, &low, &high);
  const i64 from = first + low, to = last + high + df_type_bytes(v->type);
  return (from >= 0 && to <= w->class->data_bytes) ||
         REFUSE(w, ", vector %s of PE (%u, %u) takes bytes %lld to %lld, its class has %u", v->name, pe.x, pe.y,
                (long long)from, (long long)to, w->class->data_bytes);
}

static bool check_extent(const view *w, const df_vector *v) {
  extent e;
  if (!address_range(w, v, &e.first, &e.last) || !length_range(w, v, &e.shortest, &e.longest)) return true;
  const df_rect r = w->region->rect;
  const bool flat = !v->wrap.base && !v->wrap.dx && !v->wrap.dy;
  bool corners = flat || (is_constant(e.longest) && is_constant(widen(v->wrap))), again = true;
  while (again) {
    const df_place step = stride_of(r, corners);
    again = false;
    for (u32 y = 0; y < r.h; y += step.y)
      for (u32 x = 0; x < r.w; x += step.x) {
        bool idle;
        if (!check_at(w, v, (df_place){x, y}, &e, &idle)) return false;
        again = again || (idle && corners);
      }
    corners = false; // an idle corner says nothing about the PEs next to it
  }
  return true;
}

// ---- values and lengths

// Whether an affine value, and the products on the way to it, stay within 32 bits.
static bool fits(wide v, df_rect r) {
  if (greater(v.dx < 0 ? -v.dx : v.dx, v.dy < 0 ? -v.dy : v.dy) > (i64)1 << 31) return false;
  const i64 far_x = (i64)(r.w - 1) * v.dx, far_y = (i64)(r.h - 1) * v.dy;
  const i64 at[] = {v.base, far_x, far_y, v.base + far_x, v.base + far_y, v.base + far_x + far_y};
  for (u32 i = 0; i < COUNT_OF(at); i++)
    if (at[i] < INT32_MIN || at[i] > INT32_MAX) return false;
  return true;
}

static bool check_not_negative(const view *w, const df_vector *v, df_affine value, const char *what) {
  const df_rect r = w->region->rect;
  const df_place step = stride_of(r, true);
  for (u32 y = 0; y < r.h; y += step.y)
    for (u32 x = 0; x < r.w; x += step.x)
      if (df_at(value, x, y) < 0)
        return REFUSE(w, ", vector %s has a negative %s at PE (%u, %u)", v->name, what, df_place_in(r, x, y).x,
                      df_place_in(r, x, y).y);
  return true;
}

// So that no product of a register or a length with it passes 64 bits; far beyond any SRAM.
enum { STRIDE_MAX = 1 << 24 };
static bool is_far(i32 bytes) {
  return bytes > STRIDE_MAX || bytes < -STRIDE_MAX;
}

static bool check_vector_values(const view *w, const df_vector *v) {
  const df_rect r = w->region->rect;
  const bool memory = v->kind == VECTOR_MEMORY;
  if (!fits(widen(v->length), r) || (memory && (!fits(widen(v->address), r) || !fits(widen(v->wrap), r))))
    return REFUSE(w, ", vector %s has a value beyond 32 bits in its region at (%u, %u)", v->name, r.x, r.y);
  if (v->length_reg == DF_NO_REGISTER && !check_not_negative(w, v, v->length, "length")) return false;
  if (!memory) return true;
  if (is_far(v->stride) || is_far(v->outer) || (v->reg[0] != DF_NO_REGISTER && is_far(v->scale[0])) ||
      (v->reg[1] != DF_NO_REGISTER && is_far(v->scale[1])))
    return REFUSE(w, ", vector %s steps by more than %d bytes", v->name, STRIDE_MAX);
  return check_not_negative(w, v, v->wrap, "wrap") && check_aligned(w, v);
}

// A memory operand has an element for each that the instruction runs over, which is the length of `leader`;
// NULL: one. What one register makes longer together is compared without it.
static bool check_long_enough(const view *w, const df_vector *v, const df_vector *leader) {
  if (v->kind != VECTOR_MEMORY) return true;
  wide least = {1, 0, 0}, has = widen(v->length), other;
  if (leader && leader->length_reg == v->length_reg) {
    least = widen(leader->length);
  } else {
    const bool varies = v->length_reg != DF_NO_REGISTER || (leader && leader->length_reg != DF_NO_REGISTER);
    if (varies && w->at < w->guarded) return true;
    if (!length_range(w, v, &has, &other) || (leader && !length_range(w, leader, &other, &least))) return true;
  }
  const df_rect r = w->region->rect;
  const df_place step = stride_of(r, true);
  for (u32 y = 0; y < r.h; y += step.y)
    for (u32 x = 0; x < r.w; x += step.x)
      if (wide_at(has, x, y) < wide_at(least, x, y))
        return REFUSE(w, " runs over %lld elements at PE (%u, %u), vector %s has %lld", (long long)wide_at(least, x, y),
                      df_place_in(r, x, y).x, df_place_in(r, x, y).y, v->name, (long long)wide_at(has, x, y));
  return true;
}

static bool check_lengths(const view *w, const df_instruction *i) {
  const char *operands = instruction_operands(i->opcode);
  const df_vector *leader = df_operand(w->c->d, w->class, instruction_gathers(i->opcode) ? i->a : i->to);
  for (const char *o = operands; *o; o += 2)
    if (o[0] == 'V' || o[0] == 'S') {
      const df_vector *v = df_operand(w->c->d, w->class, df_field(i, o[1]));
      if (!check_long_enough(w, v, o[0] == 'S' ? NULL : leader)) return false;
    }
  return true;
}

// ---- what registers hold along the code

static bool writes(const df_instruction *i, u32 reg) {
  return (i->opcode == DF_SET || i->opcode == DF_STEP || i->opcode == DF_LOOP) && i->to == reg;
}

static bool written_between(const df_instruction *code, u32 from, u32 to, u32 reg) {
  for (u32 n = from; n < to; n++)
    if (writes(&code[n], reg)) return true;
  return false;
}

static u32 end_of_loop(const df_instruction *code, u32 at) {
  u32 depth = 1, n = at + 1;
  for (; depth; n++) depth += (u32)(code[n].opcode == DF_LOOP) - (u32)(code[n].opcode == DF_END);
  return n - 1;
}

// Forgets the registers that instructions from..to - 1 write; with `until`, up to there for good.
static void forget(view *w, const df_instruction *code, u32 from, u32 to, u32 until) {
  for (u32 r = 0; r < DF_REGISTERS; r++)
    if (written_between(code, from, to, r)) {
      w->reg[r].known = false;
      if (w->until[r] < until) w->until[r] = until;
    }
}

static void hold(view *w, u32 reg, u32 at, wide low, wide high) {
  w->reg[reg] = (content){at >= w->until[reg], low, high};
}

// The registers behind instruction `at` of a task.
static void follow(view *w, const df_instruction *code, u32 at) {
  const df_instruction *i = &code[at];
  const wide value = widen(i->value);
  u32 end;
  switch (i->opcode) {
  case DF_SET:
    hold(w, i->to, at, value, value);
    return;
  case DF_STEP:
    w->reg[i->to].low = plus(w->reg[i->to].low, value, 1);
    w->reg[i->to].high = plus(w->reg[i->to].high, value, 1);
    if (!fits(w->reg[i->to].low, w->region->rect) || !fits(w->reg[i->to].high, w->region->rect))
      w->reg[i->to].known = false;
    return;
  case DF_LOOP: // the body sees 0 to value - 1, unless it writes there itself
    end = end_of_loop(code, at);
    forget(w, code, at + 1, end, 0);
    if (!written_between(code, at + 1, end, i->to))
      hold(w, i->to, at, (wide){0, 0, 0}, plus(value, (wide){1, 0, 0}, -1));
    return;
  case DF_END: { // the body may have run or not
    u32 start = at, depth = 1;
    for (; depth; start--) depth += (u32)(code[start - 1].opcode == DF_END) - (u32)(code[start - 1].opcode == DF_LOOP);
    forget(w, code, start, at, 0);
    return;
  }
  case DF_SKIP:
  case DF_SKIP_LESS:
    forget(w, code, at + 1, at + 1 + i->a, at + 1 + i->a);
    if (w->guarded < at + 1 + i->a) w->guarded = at + 1 + i->a;
    return;
  default:
    return;
  }
}

// What may be skipped is not judged by its registers: the skip may be what keeps it in bounds.
static bool check_use(const view *w, const df_instruction *i) {
  if (!instruction_is_vector(i->opcode)) return true;
  if (!check_lengths(w, i)) return false;
  if (w->at < w->guarded) return true;
  for (const char *o = instruction_operands(i->opcode); *o; o += 2) {
    if (o[0] != 'V' && o[0] != 'S') continue;
    const df_vector *v = df_operand(w->c->d, w->class, df_field(i, o[1]));
    if (v->kind == VECTOR_MEMORY && is_moved(v) && !check_extent(w, v)) return false;
  }
  return true;
}

static bool check_task_memory(view *w, const df_task *t) {
  const df_instruction *code = &w->c->d->instructions[t->first];
  const df_rect r = w->region->rect;
  w->task = t;
  w->guarded = 0;
  for (u32 k = 0; k < DF_REGISTERS; k++) { // never written: 0; else another task may have left anything
    w->until[k] = 0;
    w->reg[k] = (content){.known = !(w->written >> k & 1)};
  }
  for (w->at = 0; w->at < t->count; w->at++) {
    const df_instruction *i = &code[w->at];
    if (!fits(widen(i->value), r)) return REFUSE(w, " has a value beyond 32 bits in its region at (%u, %u)", r.x, r.y);
    if (!check_use(w, i)) return false;
    follow(w, code, w->at);
  }
  return true;
}

// ---- regions

static u32 registers_written(const dataflow *d, const df_class *k) {
  u32 written = 0;
  for (u32 t = 0; t < k->task_count; t++) {
    const df_task *task = &d->tasks[k->first_task + t];
    for (u32 r = 0; r < DF_REGISTERS; r++)
      if (written_between(&d->instructions[task->first], 0, task->count, r)) written |= 1u << r;
  }
  return written;
}

static bool check_region_memory(const df_checker *c, const df_region *region) {
  const df_class *k = &c->d->classes[region->class];
  view w = {.c = c, .region = region, .class = k, .written = registers_written(c->d, k)};
  for (u32 i = 0; i < k->vector_count; i++) {
    const df_vector *v = df_operand(c->d, k, i);
    const bool still = v->kind == VECTOR_MEMORY && !is_moved(v);
    if (!check_vector_values(&w, v) || (still && !check_extent(&w, v))) return false;
  }
  for (u32 t = 0; t < k->task_count; t++)
    if (!check_task_memory(&w, &c->d->tasks[k->first_task + t])) return false;
  return true;
}

bool df_check_memory(const df_checker *c) {
  for (u32 i = 0; i < c->d->class_count; i++) {
    const df_class *k = &c->d->classes[i];
    const u32 code = dataflow_code_bytes(c->d, c->m, i);
    if ((u64)code + k->data_bytes > c->m->spec.sram_bytes)
      return DF_REFUSE(c, "class %s takes %u bytes of code and %u of data, a PE has %u", k->name, code, k->data_bytes,
                       c->m->spec.sram_bytes);
  }
  for (u32 i = 0; i < c->d->region_count; i++)
    if (!check_region_memory(c, &c->d->regions[i])) return false;
  return true;
}
