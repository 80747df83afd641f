// Bars of a modelled step: where its cycles went and what fills a PE; and the colour of each resource.
#include "runtime/picture_step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

picture_ink picture_step_ink(u32 resource) {
  static const picture_ink inks[RESOURCE_COUNT] = {
      [RESOURCE_COMPUTE] = INK_BLUE, [RESOURCE_FABRIC] = INK_GREEN, [RESOURCE_IO_IN] = INK_ORANGE,
      [RESOURCE_IO_OUT] = INK_RED,   [RESOURCE_SWITCH] = INK_GREY,  [RESOURCE_HOST] = INK_PINK};
  require(resource < RESOURCE_COUNT);
  return inks[resource];
}

const char *picture_step_resource(u32 resource) {
  return engine_resource_name(resource);
}

u32 picture_step_resources_used(const engine_result *r, picture_legend ret_items[RESOURCE_COUNT]) {
  bool used[RESOURCE_COUNT] = {0};
  for (u32 i = 0; i < RESOURCE_COUNT; i++) used[i] = r->by_resource[i] > 0;
  for (u32 i = 0; i < r->span_count; i++) used[r->spans[i].resource] = true;
  u32 n = 0;
  for (u32 i = 0; i < RESOURCE_COUNT; i++)
    if (used[i]) ret_items[n++] = (picture_legend){picture_step_ink(i), picture_step_resource(i)};
  return n;
}

typedef struct bar {
  const char *name;
  double parts[RESOURCE_COUNT], total;
  bool heading;
} bar;

// One bar for the step, one per family with cycles in it (largest first), one for the host.
static u32 bars_collect(const step_parts *s, bar ret_bars[FAMILY_COUNT + 2]) {
  const engine_result *r = s->result;
  bar families[FAMILY_COUNT] = {0};
  for (u32 f = 0; f < FAMILY_COUNT; f++) families[f].name = phase_family_name(f);
  for (u32 i = 0; i < r->span_count; i++) {
    bar *b = &families[s->program->phases[i].family];
    b->parts[r->spans[i].resource] += r->by_phase[i];
    b->total += r->by_phase[i];
  }
  u32 n = 0;
  ret_bars[n] = (bar){.name = "whole step", .total = r->cycles, .heading = true};
  memcpy(ret_bars[n++].parts, r->by_resource, sizeof r->by_resource);
  for (;;) {
    u32 largest = 0;
    for (u32 f = 1; f < FAMILY_COUNT; f++)
      if (families[f].total > families[largest].total) largest = f;
    if (!(families[largest].total > 0)) break;
    ret_bars[n++] = families[largest];
    families[largest].total = 0;
  }
  if (r->host_cycles > 0) {
    ret_bars[n] = (bar){.name = "host, exposed", .total = r->host_cycles};
    ret_bars[n++].parts[RESOURCE_HOST] = r->host_cycles;
  }
  return n;
}

static const char *cycles_text(arena *a, double cycles) {
  char out[40];
  text_si(cycles, "", out, sizeof out);
  return arena_format(a, "%s", out);
}

static void bar_draw(picture *p, const bar *b, picture_box at, double whole) {
  double x = at.x;
  for (u32 r = 0; r < RESOURCE_COUNT; r++) {
    const double w = at.w * b->parts[r] / whole;
    if (!(w > 0)) continue;
    const picture_ink ink = picture_step_ink(r);
    const double share = 100 * b->parts[r] / whole;
    const char *tip = arena_format(p->memory, "%s, %s: %s cycles, %.1f %% of the step", b->name,
                                   picture_step_resource(r), cycles_text(p->memory, b->parts[r]), share);
    picture_rect(p, (picture_box){x, at.y, fmax(w - (w > 3 ? 0.75 : 0), 0.4), at.h},
                 (picture_style){.fill = ink, .tip = tip});
    if (b->heading && w > 44)
      picture_text(p, (picture_point){x + w / 2, at.y + at.h / 2 + 4.5},
                   (picture_letters){12, picture_ink_over(ink), PICTURE_MIDDLE, true, 0},
                   arena_format(p->memory, "%.0f %%", share));
    x += w;
  }
}

void picture_step_cycles(picture *ret_picture, arena *a, const step_parts *s, double w) {
  picture *p = ret_picture;
  bar bars[FAMILY_COUNT + 2];
  const u32 count = bars_collect(s, bars);
  const double names = 108, numbers = 132, line = 26, tall = 34;
  picture_init(p, a, w, 60 + tall + line * count + 8, "Cycles of the step by resource and by phase family");
  picture_legend items[RESOURCE_COUNT];
  const u32 used = picture_step_resources_used(s->result, items);
  double y = 2 + picture_legend_row(p, (picture_box){0, 0, w, 0}, items, used) + 8;
  const double whole = fmax(s->result->cycles, 1e-9);
  for (u32 i = 0; i < count; i++) {
    const bar *b = &bars[i];
    const double h = b->heading ? tall : 17, room = w - names - numbers;
    const picture_letters letters = {13, INK_TEXT, PICTURE_LEFT, b->heading, 0};
    picture_text(p, (picture_point){0, y + h / 2 + 4.5}, letters, b->name);
    picture_rect(p, (picture_box){names, y, room, h}, (picture_style){.fill = INK_GRID, .opacity = 0.6});
    bar_draw(p, b, (picture_box){names, y, room, h}, whole);
    picture_letters right = letters;
    right.anchor = PICTURE_RIGHT;
    picture_text(p, (picture_point){w - 62, y + h / 2 + 4.5}, right, cycles_text(a, b->total));
    right.ink = INK_MUTED;
    picture_text(p, (picture_point){w, y + h / 2 + 4.5}, right,
                 arena_format(a, b->heading ? "%.0f %%" : "%.1f %%", 100 * b->total / whole));
    y += b->heading ? tall + 14 : line;
  }
  p->h = y + 2;
}

void picture_step_memory(picture *ret_picture, arena *a, const plan *decided, double w) {
  picture *p = ret_picture;
  const plan_memory *m = &decided->memory;
  picture_init(p, a, w, 84, "Memory of the fullest PE");
  const struct {
    const char *name;
    u32 bytes;
    picture_ink ink;
  } parts[] = {{"code", m->code_bytes, INK_GREY},
               {"buffers", m->buffer_bytes, INK_SKY},
               {"activations", m->activation_bytes, INK_BLUE},
               {"free", m->limit_bytes > m->total_bytes ? m->limit_bytes - m->total_bytes : 0, INK_IDLE}};
  const double whole = fmax(m->limit_bytes, 1);
  picture_legend items[COUNT_OF(parts)];
  for (u32 i = 0; i < COUNT_OF(parts); i++) {
    char size[40];
    text_bytes(parts[i].bytes, size, sizeof size);
    items[i] = (picture_legend){parts[i].ink, arena_format(a, "%s %s", parts[i].name, size)};
  }
  double y = picture_legend_row(p, (picture_box){0, 0, w, 0}, items, COUNT_OF(parts)) + 8, x = 0;
  for (u32 i = 0; i < COUNT_OF(parts); i++) {
    const double part = w * parts[i].bytes / whole;
    if (!(part > 0)) continue;
    picture_rect(p, (picture_box){x, y, fmax(part - 0.75, 0.4), 30},
                 (picture_style){.fill = parts[i].ink, .tip = items[i].words});
    if (part > 48)
      picture_text(p, (picture_point){x + part / 2, y + 19.5},
                   (picture_letters){12, parts[i].ink == INK_IDLE ? INK_MUTED : picture_ink_over(parts[i].ink),
                                     PICTURE_MIDDLE, true, 0},
                   arena_format(a, "%.0f %%", 100 * parts[i].bytes / whole));
    x += part;
  }
  y += 30;
  char limit[40];
  text_bytes(m->limit_bytes, limit, sizeof limit);
  picture_text(p, (picture_point){0, y + 17}, (picture_letters){12, INK_MUTED, 0, 0, 0}, "0");
  picture_text(p, (picture_point){w, y + 17}, (picture_letters){12, INK_MUTED, PICTURE_RIGHT, 0, 0}, limit);
  p->h = y + 24;
}
