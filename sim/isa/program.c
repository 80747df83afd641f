// Checking, hashing and printing programs.
#include "sim/isa/program.h"

#include "base/hash.h"

#include <stdio.h>
#include <string.h>

static const char *const family_names[FAMILY_COUNT] = {"embed", "linear",    "grad_x",      "grad_w",
                                                       "norm",  "attention", "elementwise", "loss"};

const char *phase_family_name(u32 family) {
  require(family < FAMILY_COUNT);
  return family_names[family];
}

static bool fail(status *st, const char *origin, const char *what) {
  return status_fail(st, CODE_CONFIG, "program: phase %s %s", origin, what);
}

static bool check_class(const program *p, const machine *m, u32 index, status *st) {
  const program_class *c = &p->classes[index];
  const char *what = NULL;
  if ((u64)c->first_op + c->op_count > p->op_count) what = "has operations outside the program";
  for (u64 i = 0; !what && i < c->op_count; i++) {
    const program_op *op = &p->ops[c->first_op + i];
    if (op->opcode >= OPCODE_COUNT)
      what = "has an unknown opcode";
    else if (op->elements && !op->issues)
      what = "has elements that no instruction issues";
    else if (opcode_get(op->opcode)->half_wavelets && !op->hops)
      what = "sends wavelets nowhere";
    else if (op->thread >= m->spec.microthreads)
      what = "runs on a microthread that the machine does not have";
  }
  return !what || status_fail(st, CODE_CONFIG, "program: class %u %s", index, what);
}

static bool check_phase(const program *p, const program_phase *ph, const machine *m, status *st) {
  if (!memchr(ph->origin, 0, sizeof ph->origin))
    return status_fail(st, CODE_CONFIG, "program: a phase's name does not end");
  if (ph->family >= FAMILY_COUNT) return fail(st, ph->origin, "has an unknown family");
  if ((u64)ph->first_class + ph->class_count > p->class_count)
    return fail(st, ph->origin, "has classes outside the program");
  if ((u64)ph->x + ph->width > m->spec.usable_width || (u64)ph->y + ph->height > m->spec.usable_height)
    return fail(st, ph->origin, "is larger than the machine's usable rectangle");
  u64 pes = 0;
  for (u32 i = 0; i < ph->class_count; i++) pes += p->classes[ph->first_class + i].pes;
  if (pes > (u64)ph->width * ph->height) return fail(st, ph->origin, "has more PEs than its rectangle");
  if ((u64)ph->sram_bytes + p->code_bytes > m->spec.sram_bytes)
    return status_fail(st, CODE_CONFIG, "program: phase %s needs %llu bytes of SRAM with code, a PE has %u", ph->origin,
                       (unsigned long long)ph->sram_bytes + p->code_bytes, m->spec.sram_bytes);
  if (ph->update_params && ph->update_use >= p->phase_count)
    return fail(st, ph->origin, "updates parameters that no phase uses");
  if (ph->colors > m->spec.colors) return fail(st, ph->origin, "uses more colors than the machine routes");
  return true;
}

static u32 group_of(const program *p, u32 phase) {
  u32 i = 0;
  while (phase - p->groups[i].first >= p->groups[i].count) i++; // groups tile the phases
  return i;
}

static bool check_transfer(const program *p, const program_transfer *t, status *st) {
  if (!memchr(t->name, 0, sizeof t->name))
    return status_fail(st, CODE_CONFIG, "program: a transfer's name does not end");
  if (!p->group_count) return status_fail(st, CODE_CONFIG, "program: transfer %s belongs to no group", t->name);
  bool after_ok = t->after == UINT32_MAX || t->after < p->phase_count;
  bool before_ok = t->before == UINT32_MAX || t->before < p->phase_count;
  bool ordered = t->after == UINT32_MAX || t->before == UINT32_MAX || t->after < t->before;
  if (after_ok && before_ok && ordered) {
    bool both = t->after != UINT32_MAX && t->before != UINT32_MAX;
    if (!both || group_of(p, t->after) == group_of(p, t->before)) return true;
    return status_fail(st, CODE_CONFIG, "program: transfer %s begins in one group of phases and ends in another",
                       t->name);
  }
  return status_fail(st, CODE_CONFIG,
                     "program: transfer %s ends at a phase that does not come after the one that starts it", t->name);
}

static bool overlap(const program_phase *a, const program_phase *b) {
  return a->x < b->x + b->width && b->x < a->x + a->width && a->y < b->y + b->height && b->y < a->y + a->height;
}

static bool check_beside(const program *p, const program_group *g, status *st) {
  for (u32 i = 0; g->beside && i < g->count; i++)
    for (u32 k = 0; k < i; k++) {
      const program_phase *a = &p->phases[g->first + i], *b = &p->phases[g->first + k];
      if (overlap(a, b))
        return status_fail(st, CODE_CONFIG, "program: phases %s and %s lie on each other", a->origin, b->origin);
    }
  return true;
}

static bool check_groups(const program *p, status *st) {
  u64 next = 0;
  for (u32 i = 0; i < p->group_count; i++) {
    const program_group *g = &p->groups[i];
    if (g->first != next || !g->count || !g->repeat)
      return status_fail(st, CODE_CONFIG, "program: group %u does not continue the one before it", i);
    next += g->count;
  }
  for (u32 i = 0; next == p->phase_count && i < p->group_count; i++)
    if (!check_beside(p, &p->groups[i], st)) return false;
  return next == p->phase_count || status_fail(st, CODE_CONFIG, "program: groups cover %llu of %u phases",
                                               (unsigned long long)next, p->phase_count);
}

bool program_check(const program *p, const machine *m, status *st) {
  if (!memchr(p->name, 0, sizeof p->name)) return status_fail(st, CODE_CONFIG, "program: its name does not end");
  if (p->machine_hash != machine_hash(m))
    return status_fail(st, CODE_CONFIG, "program: it was lowered for another machine");
  u64 code =
      m->spec.code_base_bytes + (u64)p->task_kinds * m->spec.code_task_bytes + (u64)p->op_kinds * m->spec.code_op_bytes;
  if (p->code_bytes != code)
    return status_fail(st, CODE_CONFIG, "program: code of %u bytes, but its tasks and operations take %llu",
                       p->code_bytes, (unsigned long long)code);
  for (u32 i = 0; i < p->class_count; i++)
    if (!check_class(p, m, i, st)) return false;
  for (u32 i = 0; i < p->phase_count; i++)
    if (!check_phase(p, &p->phases[i], m, st)) return false;
  if (!check_groups(p, st)) return false;
  for (u32 i = 0; i < p->transfer_count; i++)
    if (!check_transfer(p, &p->transfers[i], st)) return false;
  return true;
}

static u64 hash_phase(u64 h, const program_phase *ph) {
  h = hash_text(h, ph->origin);
  const u64 words[] = {ph->family,          ph->layer,         ph->first_class, ph->class_count,
                       ph->width,           ph->height,        ph->iterations,  ph->row_wavelets,
                       ph->column_wavelets, ph->stream_in,     ph->stream_out,  ph->stream_in_hops,
                       ph->stream_out_hops, ph->update_params, ph->sram_bytes,  ph->colors,
                       ph->own_stream,      ph->update_use,    ph->x,           ph->y};
  for (u32 i = 0; i < COUNT_OF(words); i++) h = hash_u64(h, words[i]);
  u64 bits;
  memcpy(&bits, &ph->latency_cycles, sizeof bits);
  return hash_u64(h, bits);
}

u64 program_hash(const program *p) {
  u64 h = hash_u64(hash_text(HASH_START, "program"), p->systems);
  h = hash_u64(h, p->code_bytes);
  for (u32 i = 0; i < p->phase_count; i++) h = hash_phase(h, &p->phases[i]);
  for (u32 i = 0; i < p->class_count; i++) {
    const program_class *c = &p->classes[i];
    h = hash_u64(hash_u64(hash_u64(hash_u64(h, c->pes), c->first_op), c->op_count), c->tasks);
    h = hash_u64(h, c->turns);
  }
  for (u32 i = 0; i < p->op_count; i++) {
    const program_op *op = &p->ops[i];
    h = hash_u64(hash_u64(hash_u64(hash_u64(h, op->opcode), op->hops), op->issues), op->elements);
    h = hash_u64(h, op->thread);
  }
  for (u32 i = 0; i < p->group_count; i++) {
    const program_group *g = &p->groups[i];
    h = hash_u64(hash_u64(hash_u64(hash_u64(h, g->first), g->count), g->repeat), g->beside);
  }
  for (u32 i = 0; i < p->transfer_count; i++) {
    const program_transfer *t = &p->transfers[i];
    h = hash_u64(hash_u64(hash_u64(hash_u64(h, t->after), t->before), t->wavelets), t->hops);
    h = hash_u64(h, t->out);
  }
  return h;
}

static void print_class(const program *p, const program_class *c, text *out) {
  text_format(out, "  class pes=%u tasks=%llu", c->pes, (unsigned long long)c->tasks);
  if (c->turns) text_format(out, " turns=%llu", (unsigned long long)c->turns);
  text_add(out, "\n");
  for (u32 i = 0; i < c->op_count; i++) {
    const program_op *op = &p->ops[c->first_op + i];
    text_format(out, "    %s issues=%llu elements=%llu hops=%u", opcode_get(op->opcode)->name,
                (unsigned long long)op->issues, (unsigned long long)op->elements, op->hops);
    if (op->thread) text_format(out, " thread=%u", op->thread);
    text_add(out, "\n");
  }
}

static void print_phase(const program *p, u32 index, text *out) {
  const program_phase *ph = &p->phases[index];
  text_format(out, "phase %u %s %s", index, ph->origin, phase_family_name(ph->family));
  if (ph->layer != UINT32_MAX) text_format(out, " layer=%u", ph->layer);
  text_format(out, " rect=%ux%u+%u+%u iterations=%llu latency=%.17g sram=%u colors=%u\n", ph->width, ph->height, ph->x,
              ph->y, (unsigned long long)ph->iterations, ph->latency_cycles, ph->sram_bytes, ph->colors);
  text_format(out, "  links row=%llu column=%llu\n", (unsigned long long)ph->row_wavelets,
              (unsigned long long)ph->column_wavelets);
  if (ph->stream_in)
    text_format(out, "  in wavelets=%llu hops=%llu\n", (unsigned long long)ph->stream_in,
                (unsigned long long)ph->stream_in_hops);
  if (ph->stream_out)
    text_format(out, "  out wavelets=%llu hops=%llu\n", (unsigned long long)ph->stream_out,
                (unsigned long long)ph->stream_out_hops);
  if (ph->own_stream) text_add(out, "  streams own\n");
  if (ph->update_params)
    text_format(out, "  update params=%llu use=%u\n", (unsigned long long)ph->update_params, ph->update_use);
  for (u32 i = 0; i < index; i++) // classes are printed where they are first used
    if (p->phases[i].first_class == ph->first_class && ph->class_count) {
      text_format(out, "  classes as phase %u\n", i);
      return;
    }
  for (u32 i = 0; i < ph->class_count; i++) print_class(p, &p->classes[ph->first_class + i], out);
}

void program_print(const program *p, text *out) {
  text_format(out, "program %s\nmachine %016llx plan %016llx systems %u\ncode bytes=%u tasks=%u ops=%u\n", p->name,
              (unsigned long long)p->machine_hash, (unsigned long long)p->plan_hash, p->systems, p->code_bytes,
              p->task_kinds, p->op_kinds);
  for (u32 i = 0; i < p->group_count; i++)
    text_format(out, "group first=%u count=%u repeat=%llu%s\n", p->groups[i].first, p->groups[i].count,
                (unsigned long long)p->groups[i].repeat, p->groups[i].beside ? " beside" : "");
  for (u32 i = 0; i < p->phase_count; i++) print_phase(p, i, out);
  for (u32 i = 0; i < p->transfer_count; i++) {
    const program_transfer *t = &p->transfers[i];
    text_format(out, "transfer %s %s wavelets=%llu hops=%u", t->name, t->out ? "out" : "in",
                (unsigned long long)t->wavelets, t->hops);
    if (t->after != UINT32_MAX) text_format(out, " after=%u", t->after);
    if (t->before != UINT32_MAX) text_format(out, " before=%u", t->before);
    text_add(out, "\n");
  }
}
