// Vector instructions on their way, element by element: values, the datapath's time, waiting for wavelets
// to come and for room to send.
#include "sim/fabric/fabric_state.h"
#include "sim/fabric/number.h"

#include <math.h>

static u32 type_bytes(u32 type) { return type == DF_F16 || type == DF_BF16 ? 2 : 4; }

static operand resolve(const strip *s, const unit *u, u32 vector) {
  const df_class *c = &s->d->classes[u->class];
  const df_vector *v = &s->d->vectors[c->first_vector + vector];
  operand o = {.kind = v->kind, .type = v->type, .stride = v->stride, .outer = v->outer};
  o.color = v->kind == VECTOR_MEMORY ? 0 : s->dense_of[v->color];
  i32 address = df_at(v->address, u->rx, u->ry);
  for (u32 i = 0; i < 2; i++)
    if (v->reg[i] != DF_NO_REGISTER) address += u->reg[v->reg[i]] * v->scale[i];
  o.address = (u32)address;
  o.wrap = (u32)df_at(v->wrap, u->rx, u->ry);
  return o;
}

static u32 length_of(const strip *s, const unit *u, u32 vector) {
  const df_class *c = &s->d->classes[u->class];
  const df_vector *v = &s->d->vectors[c->first_vector + vector];
  i64 n = df_at(v->length, u->rx, u->ry);
  if (v->length_reg != DF_NO_REGISTER) n += u->reg[v->length_reg];
  return n > 0 ? (u32)n : 0;
}

static inline i64 offset_of(const operand *o, u32 i) {
  return o->wrap ? (i64)(i % o->wrap) * o->stride + (i64)(i / o->wrap) * o->outer : (i64)i * o->stride;
}

// thread_start has seen to it that it lies in the PE's memory.
static inline u8 *element(const strip *s, const unit *u, const operand *o, u32 i) {
  return s->memory + u->memory + (i64)o->address + offset_of(o, i);
}

// Do elements 0 .. n - 1 lie in the PE's data bytes? dataflow_check has seen to it, registers aside. The lowest and
// the highest are at a corner: of the full rows, or of the last one.
static bool is_inside(const unit *u, const operand *o, u32 n) {
  if (o->kind != VECTOR_MEMORY || !n) return true;
  u32 row = o->wrap ? (n - 1) / o->wrap * o->wrap : 0; // first element of the last row
  u32 corners[] = {0, row ? o->wrap - 1 : 0, row ? row - o->wrap : 0, row ? row - 1 : 0, row, n - 1};
  for (u32 i = 0; i < COUNT_OF(corners); i++) {
    i64 at = (i64)o->address + offset_of(o, corners[i]);
    if (at < 0 || at + type_bytes(o->type) > u->data_bytes) return false;
  }
  return true;
}

static float decode(u32 bits, u32 type) {
  switch (type) {
  case DF_F16:
    return number_from_f16((u16)bits);
  case DF_BF16:
    return number_from_bf16((u16)bits);
  default:
    return number_of_bits(bits);
  }
}

static u32 encode(float v, u32 type) {
  switch (type) {
  case DF_F16:
    return number_to_f16(v);
  case DF_BF16:
    return number_to_bf16(v);
  default:
    return number_bits(v);
  }
}

static u32 load_bits(const u8 *p, u32 type) {
  u32 wide;
  u16 narrow;
  if (type_bytes(type) == 4) {
    memcpy(&wide, p, 4);
    return wide;
  }
  memcpy(&narrow, p, 2);
  return narrow;
}

static void store_bits(u8 *p, u32 bits, u32 type) {
  u16 narrow = (u16)bits;
  if (type_bytes(type) == 4) memcpy(p, &bits, 4);
  else memcpy(p, &narrow, 2);
}

static float round_to(float v, u32 type) { return decode(encode(v, type), type); }

// The cost row of an instruction by what its operands are.
static u32 cost_row(const df_instruction *i, const thread *t) {
  const instruction_facts *facts = instruction_get(i->opcode);
  u32 type = instruction_gathers(i->opcode) ? t->a.type : t->to.type;
  if (type_bytes(type) == 2) return facts->cost16;
  return t->has_in || t->has_out ? facts->cost32_fabric : facts->cost32;
}

static void bind(strip *s, const unit *u, const df_instruction *i, thread *t) {
  df_form form = instruction_get(i->opcode)->form;
  t->to = resolve(s, u, i->to);
  if (form != FORM_VN) t->a = resolve(s, u, i->a);
  if (form == FORM_VVV || form == FORM_SVV || form == FORM_VVS) t->b = resolve(s, u, i->b);
  bool b_streams = (form == FORM_VVV || form == FORM_SVV) && t->b.kind == VECTOR_FABRIC_IN;
  t->awaits_factor = instruction_takes_factor(i->opcode) && t->b.kind == VECTOR_FABRIC_IN;
  t->has_in = (form != FORM_VN && t->a.kind == VECTOR_FABRIC_IN) || b_streams;
  t->has_out = t->to.kind == VECTOR_FABRIC_OUT;
  bool narrow_in = t->has_in && type_bytes(b_streams ? t->b.type : t->a.type) == 2;
  t->per_wavelet = narrow_in || (t->has_out && type_bytes(t->to.type) == 2) ? 2 : 1;
  t->length = length_of(s, u, instruction_gathers(i->opcode) ? i->a : i->to);
  t->has_in |= t->awaits_factor;
  u32 color = t->a.kind == VECTOR_FABRIC_IN ? t->a.color : t->b.color;
  if (t->has_in) t->input = u->first_queue + s->classes[u->class].queue_of[color];
  t->words = i->opcode == DF_MOV && t->a.type == t->to.type && type_bytes(t->to.type) == 4 && !t->a.wrap && !t->to.wrap;
}

static u32 first_bits(const strip *s, const unit *u, const operand *o) { return load_bits(element(s, u, o, 0), o->type); }

// First elements that an instruction reads once: a scalar, or what it gathers in.
static void bind_scalars(const strip *s, const unit *u, const df_instruction *i, thread *t) {
  if (instruction_takes_factor(i->opcode) && !t->awaits_factor) t->scalar = decode(first_bits(s, u, &t->b), t->b.type);
  if (instruction_gathers(i->opcode)) t->scalar = decode(first_bits(s, u, &t->to), t->to.type);
  if (i->opcode == DF_EQUAL) t->integer = (i32)first_bits(s, u, &t->b);
  if (i->opcode == DF_CONST) t->scalar = number_of_bits((u32)df_at(i->value, u->rx, u->ry));
  if (i->opcode == DF_FILL) {
    t->integer = df_at(i->value, u->rx, u->ry);
    t->scalar = (float)t->integer;
  }
}

// The vector of an instruction that leaves the PE's memory; NOBODY: all stay inside.
static u32 strays(const unit *u, const df_instruction *i, const thread *t) {
  df_form form = instruction_get(i->opcode)->form;
  if (!is_inside(u, &t->to, instruction_gathers(i->opcode) ? 1 : t->length)) return i->to;
  if (form != FORM_VN && !is_inside(u, &t->a, t->length)) return i->a;
  bool has_b = form == FORM_VVV || form == FORM_SVV || form == FORM_VVS;
  return has_b && !is_inside(u, &t->b, form == FORM_VVS ? 1 : t->length) ? i->b : NOBODY;
}

// Operands in memory that an element reads; the first element of b, where only that is read, is in a register.
static u32 read_of(const thread *t, const operand *ret_read[3]) {
  df_form form = instruction_get(t->opcode)->form;
  const operand *o[] = {t->opcode == DF_FMA || t->opcode == DF_AXPY ? &t->to : NULL, &t->a,
                        form == FORM_VVV || form == FORM_SVV ? &t->b : NULL};
  u32 count = 0;
  for (u32 k = 0; k < COUNT_OF(o); k++)
    if (o[k] && o[k]->kind == VECTOR_MEMORY) ret_read[count++] = o[k];
  return count;
}

static bool banks_meet(const operand *const *read, u32 count, u32 i) {
  u32 seen = 0;
  for (u32 k = 0; k < count; k++) {
    u32 bit = 1u << timing_bank(read[k]->address + (u32)offset_of(read[k], i));
    if (seen & bit) return true;
    seen |= bit;
  }
  return false;
}

// Whatever the strides, banks of a row come back after eight elements of 16 bit at most: the first stand for all.
static double wait_for_banks(const strip *s, const thread *t) {
  enum { PERIOD = BANKS * BANK_BYTES / 2 };
  const operand *read[3];
  u32 count = timing_has_banks(t->cost) ? read_of(t, read) : 0, n = t->length < PERIOD ? t->length : PERIOD, meet = 0;
  if (count < 2 || !n) return 1;
  for (u32 i = 0; i < n; i++) meet += banks_meet(read, count, i);
  return timing_banks(s->m, (double)meet / n);
}

static u64 setup_ticks(const strip *s, const thread *t) { return (u64)lround(timing_dsd(s->m, t->cost, 1, 0) * TICKS); }

bool thread_start(strip *s, unit *u, const df_instruction *i, u64 from_tick) {
  thread *t = thread_at(s, u, i->thread);
  if (u->running >> i->thread & 1) return false;
  *t = (thread){.opcode = i->opcode, .done = i->done, .done_task = i->done_task};
  bind(s, u, i, t);
  u32 vector = strays(u, i, t);
  if (vector != NOBODY) {
    stall_note_fault(s, u, i->opcode, vector);
    return false;
  }
  u->running |= 1u << i->thread;
  bind_scalars(s, u, i, t);
  if (!t->length || t->awaits_factor) u->ending |= 1u << i->thread;
  t->cost = cost_row(i, t);
  t->element_ticks = (u32)lround(timing_datapath(s->m, t->cost, 1) * wait_for_banks(s, t) * TICKS);
  u->busy += setup_ticks(s, t);
  t->ready = from_tick + (t->awaits_factor ? 0 : setup_ticks(s, t));
  if (s->watch) watch_vector(s, u, i, t);
  return true;
}

static i32 combine_integers(u32 code, i32 a, i32 b) {
  switch (code) {
  case DF_ADD:
    return (i32)((u32)a + (u32)b);
  case DF_SUB:
    return (i32)((u32)a - (u32)b);
  default:
    return a > b ? a : b;
  }
}

static float combine(const thread *t, float to, float a, float b) {
  switch (t->opcode) {
  case DF_ADD:
    return a + b;
  case DF_SUB:
    return a - b;
  case DF_MAX:
    return a > b ? a : b;
  case DF_MUL:
    return a * b;
  case DF_FMA:
    return to + round_to(a * b, t->to.type);
  case DF_AXPY:
    return to + round_to(a * t->scalar, t->to.type);
  case DF_SCALE:
    return a * t->scalar;
  case DF_EXP:
    return expf(a);
  case DF_LOG:
    return logf(a);
  case DF_TANH:
    return tanhf(a);
  case DF_ERF:
    return erff(a);
  case DF_RSQRT:
    return 1 / sqrtf(a);
  case DF_DIV:
    return a / b;
  default: // FILL, CONST
    return t->scalar;
  }
}

// Bits of an operand's i-th element: from memory, or from the half of a received word.
static u32 operand_bits(const strip *s, const unit *u, const operand *o, u32 i, u32 word, u32 half) {
  if (o->kind == VECTOR_MEMORY) return load_bits(element(s, u, o, i), o->type);
  return type_bytes(o->type) == 2 ? word >> 16 * half & 0xffff : word;
}

static u32 element_value(strip *s, const unit *u, thread *t, u32 i, u32 word, u32 half) {
  if (t->opcode == DF_FILL || t->opcode == DF_CONST) return t->to.type == DF_I32 ? (u32)t->integer : encode(t->scalar, t->to.type);
  u32 a = operand_bits(s, u, &t->a, i, word, half);
  if (t->opcode == DF_MOV) return t->a.type == t->to.type ? a : encode(decode(a, t->a.type), t->to.type);
  if (t->opcode == DF_EQUAL) return encode((i32)a == t->integer, t->to.type);
  bool two = t->opcode <= DF_FMA || t->opcode == DF_DIV;
  u32 b = two ? operand_bits(s, u, &t->b, i, word, half) : 0;
  if (t->to.type == DF_I32) return (u32)combine_integers(t->opcode, (i32)a, (i32)b);
  float to = 0;
  if (t->opcode == DF_FMA || t->opcode == DF_AXPY) to = decode(operand_bits(s, u, &t->to, i, 0, 0), t->to.type);
  return encode(combine(t, to, decode(a, t->a.type), two ? decode(b, t->b.type) : 0), t->to.type);
}

static void count_elements(strip *s, const thread *t, u32 n) {
  const opcode_facts *facts = opcode_get(t->cost);
  sim_counts *c = &s->result.counts;
  c->macs += (u64)n * facts->macs;
  c->sram_read_bytes += (u64)n * facts->read_bytes;
  c->sram_write_bytes += (u64)n * facts->write_bytes;
}

static u32 run_word(strip *s, unit *u, thread *t, u32 word) {
  u32 bits = word;
  if (!t->has_in) memcpy(&bits, element(s, u, &t->a, t->at), 4);
  if (!t->has_out) memcpy(element(s, u, &t->to, t->at), &bits, 4);
  t->at++;
  count_elements(s, t, 1);
  return bits;
}

// n elements that share one received word and one sent one.
static u32 run_elements(strip *s, unit *u, thread *t, u32 n, u32 word) {
  u32 sent = 0;
  for (u32 k = 0; k < n; k++) {
    u32 i = t->at + k;
    if (t->opcode == DF_DOT) {
      float a = decode(operand_bits(s, u, &t->a, i, word, k), t->a.type);
      t->scalar += a * decode(operand_bits(s, u, &t->b, i, word, k), t->b.type);
      continue;
    }
    if (t->opcode == DF_TOP) {
      float a = decode(operand_bits(s, u, &t->a, i, word, k), t->a.type);
      if (a > t->scalar) t->scalar = a;
      continue;
    }
    u32 bits = element_value(s, u, t, i, word, k);
    if (t->has_out) sent |= type_bytes(t->to.type) == 2 ? bits << 16 * k : bits;
    else store_bits(element(s, u, &t->to, i), bits, t->to.type);
  }
  count_elements(s, t, n);
  t->at += n;
  return sent;
}

// A data wavelet at the head of the queue; a control wavelet waits for its task.
static bool input_is_there(const queue *q, u64 now) { return queue_ready(q, now) && !q->q[q->head].control; }

static void send_word(strip *s, unit *u, const thread *t, u32 word) {
  u64 at = s->now * TICKS;
  u->ramp_out = (u->ramp_out > at ? u->ramp_out : at) + s->ramp_ticks;
  // it was computed in this cycle and is at the ramp in the next
  lane_push(s, u->router, t->to.color, word, (u32)s->now + 1 + s->ramp, false);
  if (s->watch) watch_send(s, u, t->to.color, word, false);
  s->result.counts.wavelets++;
  stretch_note(&s->result.sent, s->now);
}

static void take_datapath(strip *s, unit *u, u64 ticks) {
  u64 at = s->now * TICKS;
  u->datapath = (u->datapath > at ? u->datapath : at) + ticks;
  u->busy += ticks;
  s->progress = true;
}

static void run_fabric(strip *s, unit *u, thread *t) {
  queue *q = t->has_in ? &s->queues[t->input] : NULL;
  while (t->at < t->length && u->datapath < (s->now + 1) * TICKS) {
    if (q && !input_is_there(q, s->now)) return;
    if (t->has_out && !unit_may_send(s, u, t->to.color)) return;
    u32 n = t->length - t->at < t->per_wavelet ? t->length - t->at : t->per_wavelet;
    u32 word = q ? queue_pop(s, u, t->input) : 0;
    u32 sent = t->words ? run_word(s, u, t, word) : run_elements(s, u, t, n, word);
    take_datapath(s, u, (u64)n * t->element_ticks);
    if (t->has_out) send_word(s, u, t, sent);
  }
}

// Elements of an fp32 operand that lie side by side, from the thread's next one on; NULL where they do not.
static float *plain_row(const strip *s, const unit *u, const thread *t, const operand *o) {
  if (o->kind != VECTOR_MEMORY || o->type != DF_F32 || o->wrap || o->stride != 4) return NULL;
  return (float *)(void *)element(s, u, o, t->at);
}

// The common case in one loop: the same operations in the same order as run_elements. False where it is not
// the common case.
static bool run_plain(strip *s, const unit *u, thread *t, u32 n) {
  const bool scalar = t->opcode == DF_AXPY || t->opcode == DF_SCALE;
  if (!n || (!scalar && t->opcode != DF_FMA && t->opcode != DF_ADD && t->opcode != DF_MUL)) return false;
  float *to = plain_row(s, u, t, &t->to);
  const float *a = plain_row(s, u, t, &t->a), *b = scalar ? a : plain_row(s, u, t, &t->b), factor = t->scalar;
  if (!to || !a || !b) return false;
  for (u32 i = 0; i < n && t->opcode == DF_AXPY; i++) to[i] += a[i] * factor;
  for (u32 i = 0; i < n && t->opcode == DF_SCALE; i++) to[i] = a[i] * factor;
  for (u32 i = 0; i < n && t->opcode == DF_FMA; i++) to[i] += a[i] * b[i];
  for (u32 i = 0; i < n && t->opcode == DF_ADD; i++) to[i] = a[i] + b[i];
  for (u32 i = 0; i < n && t->opcode == DF_MUL; i++) to[i] = a[i] * b[i];
  count_elements(s, t, n);
  t->at += n;
  return true;
}

static void run_memory(strip *s, unit *u, thread *t, bool alone) {
  u32 slice = alone || !t->element_ticks ? t->length : SLICE_CYCLES * TICKS / t->element_ticks + 1;
  if (u->datapath >= (s->now + 1) * TICKS) return;
  u32 n = t->length - t->at < slice ? t->length - t->at : slice;
  if (!run_plain(s, u, t, n)) run_elements(s, u, t, n, 0);
  take_datapath(s, u, (u64)n * t->element_ticks);
}

static void complete(strip *s, unit *u, u32 index) {
  const thread *t = thread_at(s, u, index);
  if (s->watch) watch_vector_end(s, u, index);
  u->running &= ~(1u << index);
  u->ending &= ~(1u << index);
  if (instruction_gathers(t->opcode)) store_bits(element(s, u, &t->to, 0), encode(t->scalar, t->to.type), t->to.type);
  if (t->done == DONE_ACTIVATE) u->active |= 1u << t->done_task;
  if (t->done == DONE_UNBLOCK) u->blocked &= ~(1u << t->done_task);
  if (index == 0 && u->main < t->ready) u->main = t->ready; // the task has waited for it
  if (t->ready > s->end) s->end = t->ready;
  s->progress = true;
}

// The factor is there: it is taken, and the set-up begins. From then on it is an instruction like others.
static void take_factor(strip *s, unit *u, u32 index) {
  thread *t = thread_at(s, u, index);
  if (!input_is_there(&s->queues[t->input], s->now)) return;
  u64 at = s->now * TICKS;
  t->scalar = decode(operand_bits(s, u, &t->b, 0, queue_pop(s, u, t->input), 0), t->b.type);
  t->awaits_factor = t->has_in = false;
  t->ready = (t->ready > at ? t->ready : at) + setup_ticks(s, t);
  if (t->length) u->ending &= ~(1u << index);
  s->progress = true;
}

void thread_run(strip *s, unit *u, u32 index) {
  thread *t = thread_at(s, u, index);
  if (t->ready >= (s->now + 1) * TICKS) return;
  if (t->awaits_factor) take_factor(s, u, index);
  if (t->awaits_factor || t->ready >= (s->now + 1) * TICKS) return;
  if (!t->finishing) {
    if (t->has_in || t->has_out) run_fabric(s, u, t);
    else run_memory(s, u, t, u->running == 1u << index);
    if (t->at < t->length) return;
    t->finishing = true;
    u->ending |= 1u << index;
    u64 at = s->now * TICKS;
    t->ready = t->length && u->datapath > at ? u->datapath : at > t->ready ? at : t->ready;
  }
  if (t->ready < (s->now + 1) * TICKS) complete(s, u, index);
}

u64 thread_wake(strip *s, const unit *u, const thread *t) {
  u64 ready = t->ready / TICKS;
  if (ready > s->now) return ready;
  if (t->finishing) return s->now + 1;
  if (!t->awaits_factor && u->datapath / TICKS > s->now) return u->datapath / TICKS;
  if (t->has_in) {
    const queue *q = &s->queues[t->input];
    if (!q->count) return NEVER;
    if (!wave_is_due(&q->q[q->head], s->now)) return s->now + (q->q[q->head].ready - (u32)s->now);
    if (q->q[q->head].control) return NEVER;
  }
  return t->has_out && !t->awaits_factor ? unit_send_due(s, u, t->to.color) : s->now + 1;
}
