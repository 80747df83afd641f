// The layout of a pipelined plan: every kernel's rectangle to scale, coloured by family, the way of a token from
// kernel to kernel, and how busy and how full the kernels are.
#include "runtime/picture_step.h"

#include <math.h>

enum { THUMBNAIL_BELOW = 360 };

typedef struct floor_plan {
  picture *p;
  const step_parts *s;
  picture_box wafer; // the usable rectangle on the page
  double scale;      // page units per PE
} floor_plan;

static const picture_letters note = {12, INK_MUTED, PICTURE_LEFT, 0, 0};
static const picture_ink inks[FAMILY_COUNT] = {
    [FAMILY_EMBED] = INK_PINK,       [FAMILY_LINEAR] = INK_BLUE, [FAMILY_NORM] = INK_YELLOW,
    [FAMILY_ATTENTION] = INK_ORANGE, [FAMILY_LOSS] = INK_RED,    [FAMILY_ELEMENTWISE] = INK_GREEN};

static picture_box box_of(const floor_plan *f, u32 kernel) {
  const plan_kernel *k = &f->s->plan->pipeline.kernels[kernel];
  return (picture_box){f->wafer.x + f->scale * k->x, f->wafer.y + f->scale * k->y, f->scale * k->width,
                       f->scale * k->height};
}

// What a kernel's PEs do of the period, and what they hold of their memory: the maps of load and of memory.
static double load_of(const floor_plan *f, u32 kernel) {
  return f->s->plan->pipeline.kernels[kernel].token_cycles / f->s->plan->pipeline.period_cycles;
}
static double memory_of(const floor_plan *f, u32 kernel) {
  return (double)f->s->plan->pipeline.kernels[kernel].sram_bytes / f->s->machine->spec.sram_bytes;
}

static void kernels_draw(const floor_plan *f) {
  const plan_pipeline *line = &f->s->plan->pipeline;
  for (u32 i = 0; i < line->count; i++) {
    const program_phase *ph = &f->s->program->phases[i];
    const picture_box b = box_of(f, i);
    const char *tip =
        arena_format(f->p->memory, "%s: %u x %u PEs, busy %.0f %%, memory %.0f %%", ph->origin, line->kernels[i].width,
                     line->kernels[i].height, 100 * load_of(f, i), 100 * memory_of(f, i));
    picture_rect(f->p, b, (picture_style){.fill = INK_PAPER});
    picture_rect(f->p, b,
                 (picture_style){.fill = inks[ph->family],
                                 .opacity = ph->layer % 2 ? 0.55 : 0.8, // neighbours in depth
                                 .stroke = INK_PAPER,
                                 .width = 0.6,
                                 .tip = tip});
    const char *words = picture_fit(f->p, ph->origin, 11, b.w - 4);
    if (b.h > 13 && b.w > 30)
      picture_text(f->p, (picture_point){b.x + 3, b.y + 11}, (picture_letters){11, INK_BLACK, PICTURE_LEFT, 0, 0},
                   words);
  }
}

static void way_draw(const floor_plan *f) {
  const u32 count = f->s->plan->pipeline.count;
  picture_point *points = arena_array(f->p->memory, picture_point, count);
  for (u32 i = 0; i < count; i++) {
    const picture_box b = box_of(f, i);
    points[i] = (picture_point){b.x + b.w / 2, b.y + b.h / 2};
  }
  picture_line(f->p, points, count, (picture_style){.stroke = INK_TEXT, .width = 0.7, .opacity = 0.55});
}

// A small wafer whose kernels are as dark as a share says.
typedef double share(const floor_plan *f, u32 kernel);
static double map_draw(const floor_plan *f, double x, double y, double h, const char *title, share *of) {
  floor_plan small = *f;
  small.scale = h / f->s->machine->spec.usable_height;
  small.wafer = (picture_box){x, y + 20, small.scale * f->s->machine->spec.usable_width, h};
  picture_text(f->p, (picture_point){x, y + 14}, note, title);
  picture_rect(f->p, small.wafer, (picture_style){.fill = INK_IDLE});
  for (u32 i = 0; i < f->s->plan->pipeline.count; i++)
    picture_rect(f->p, box_of(&small, i), (picture_style){.fill = INK_RED, .opacity = fmax(0.02, of(f, i))});
  picture_rect(f->p, small.wafer, (picture_style){.stroke = INK_LINE, .width = 1});
  return small.wafer.w;
}

static double fact(const floor_plan *f, double x, double y, const char *name, const char *words) {
  picture_text(f->p, (picture_point){x, y + 14}, note, name);
  picture_text(f->p, (picture_point){x + 128, y + 14}, (picture_letters){13, INK_TEXT, 0, 0, 0}, words);
  return y + 21;
}

static double facts_draw(const floor_plan *f, double x, double y) {
  const plan *d = f->s->plan;
  arena *a = f->p->memory;
  u64 used = 0;
  for (u32 i = 0; i < d->pipeline.count; i++) used += (u64)d->pipeline.kernels[i].width * d->pipeline.kernels[i].height;
  y = fact(f, x, y, "kernels", arena_format(a, "%u, %u tokens handed on at once", d->pipeline.count, d->pipeline.tile));
  y = fact(f, x, y, "PEs used",
           arena_format(a, "%s of %s usable (%.1f %%)", picture_count(a, used),
                        picture_count(a, f->s->machine->pes_usable), 100.0 * (double)used / f->s->machine->pes_usable));
  y = fact(f, x, y, "period", arena_format(a, "%.4g cycles a token", d->pipeline.period_cycles));
  return fact(f, x, y, "", picture_fit(f->p, d->limit, 13, f->p->w - x - 132));
}

void picture_pipeline(picture *ret_picture, arena *a, const step_parts *s, double w) {
  const machine_spec *m = &s->machine->spec;
  const bool small = w < THUMBNAIL_BELOW;
  floor_plan f = {.p = ret_picture, .s = s};
  const double left = small ? 2 : 26, top = small ? 2 : 20;
  f.scale = fmin((small ? w - 4 : 0.5 * w) / m->usable_width, (small ? 1.6 * w : 600) / m->usable_height);
  f.wafer = (picture_box){left, top, f.scale * m->usable_width, f.scale * m->usable_height};
  const char *title = arena_format(a, "The plan on the wafer: %u kernels side by side", s->plan->pipeline.count);
  picture_init(f.p, a, small ? f.wafer.w + 4 : w, f.wafer.h + top + (small ? 2 : 30), title);
  picture_rect(f.p, f.wafer, (picture_style){.fill = INK_IDLE});
  kernels_draw(&f);
  picture_rect(f.p, f.wafer, (picture_style){.stroke = INK_LINE, .width = 1.2});
  if (small) return;
  way_draw(&f);
  picture_text(
      f.p, (picture_point){left, top + f.wafer.h + 18}, note,
      arena_format(a, "%u x %u usable PEs; the line is the way of a token", m->usable_width, m->usable_height));
  static const picture_legend items[] = {{INK_BLUE, "linear"},       {INK_ORANGE, "attention"}, {INK_YELLOW, "norm"},
                                         {INK_GREEN, "elementwise"}, {INK_PINK, "embedding"},   {INK_IDLE, "idle"}};
  const double x = f.wafer.x + f.wafer.w + 30;
  double y = top;
  y += picture_legend_row(f.p, (picture_box){x, y, w - x - 10, 0}, items, COUNT_OF(items)) + 12;
  y = facts_draw(&f, x, y) + 10;
  const double map_w = map_draw(&f, x, y, 220, "load: share of the period", load_of);
  map_draw(&f, x + map_w + 24, y, 220, "memory: share of the SRAM", memory_of);
  f.p->h = fmax(f.p->h, y + 260);
}
