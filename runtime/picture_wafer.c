// The layout of a plan: the usable rectangle to scale with its column groups and sequence slots, and
// beside it how one sequence lies in a group.
#include "runtime/picture_step.h"

#include <math.h>

enum { THUMBNAIL_BELOW = 360 };

typedef struct layout {
  picture *p;
  const step_parts *s;
  picture_box wafer; // the usable rectangle on the page
  double scale;      // page units per PE
  u32 across, down;  // usable PEs along the page; a transposed plan is drawn on its side
  bool small;
} layout;

static const picture_letters note = {12, INK_MUTED, PICTURE_LEFT, 0, 0};

// Sequences are dealt to the groups evenly, so the last groups may use a slot less.
static u32 group_rows(const plan *d, u32 group) {
  const u32 sequences = d->microbatch / d->tiles.replicas + (group < d->microbatch % d->tiles.replicas);
  const u32 slots = (sequences + d->tiles.row_seqs - 1) / d->tiles.row_seqs;
  return slots * d->tiles.seq_rows;
}

static picture_box group_box(const layout *l, u32 group) {
  const plan_tiles *t = &l->s->plan->tiles;
  return (picture_box){l->wafer.x + l->scale * group * t->group_width, l->wafer.y, l->scale * t->group_width,
                       l->scale * group_rows(l->s->plan, group)};
}

// Lines between slots; where slots are too thin to tell apart, one line for every few of them.
static void bands_draw(const layout *l, picture_box box) {
  const double slot = l->scale * l->s->plan->tiles.seq_rows, least = l->small ? 4 : 5;
  const double every = slot * fmax(1, ceil(least / slot));
  const u32 lines = (u32)fmax(0, ceil(box.h / every - 1e-6) - 1);
  picture_point *points = arena_array(l->p->memory, picture_point, 3 * (size_t)lines + 1);
  for (u32 i = 0; i < lines; i++) {
    const double y = box.y + every * (i + 1);
    points[3 * i] = (picture_point){box.x, y};
    points[3 * i + 1] = (picture_point){box.x + box.w, y};
    points[3 * i + 2] = (picture_point){NAN, NAN};
  }
  picture_line(l->p, points, 3 * lines, (picture_style){.stroke = INK_PAPER, .width = 0.8, .opacity = 0.8});
}

static void groups_draw(const layout *l) {
  const plan *d = l->s->plan;
  for (u32 g = 0; g < d->tiles.replicas; g++) {
    picture_box box = group_box(l, g);
    const u32 sequences = d->microbatch / d->tiles.replicas + (g < d->microbatch % d->tiles.replicas);
    const char *tip = arena_format(l->p->memory, "column group %u: %u columns, %u rows, %u sequences", g + 1,
                                   d->tiles.group_width, group_rows(d, g), sequences);
    picture_rect(l->p, box, (picture_style){.fill = INK_PAPER}); // hides the hatching
    picture_rect(l->p, box,
                 (picture_style){.fill = g % 2 ? INK_SKY : INK_BLUE, .opacity = g % 2 ? 0.45 : 0.42, .tip = tip});
    bands_draw(l, box);
    if (g > 0 && box.w > 2.5)
      picture_segment(l->p, (picture_point){box.x, box.y}, (picture_point){box.x, box.y + box.h},
                      (picture_style){.stroke = INK_PAPER, .width = 1.5});
  }
  picture_box one = group_box(l, 0); // the slot that the inset enlarges
  one.h = fmin(one.h, fmax(2, l->scale * d->tiles.seq_rows));
  picture_rect(l->p, one, (picture_style){.fill = INK_BLUE, .tip = "one sequence"});
}

static void idle_draw(const layout *l) {
  const plan_tiles *t = &l->s->plan->tiles;
  const double used_w = l->scale * t->replicas * t->group_width;
  const picture_style strokes = {.stroke = INK_LINE, .width = 0.7, .opacity = 0.45};
  picture_rect(l->p, l->wafer, (picture_style){.fill = INK_IDLE});
  picture_hatch(l->p, (picture_box){l->wafer.x + used_w, l->wafer.y, l->wafer.w - used_w, l->wafer.h}, strokes);
  for (u32 g = 0; g < t->replicas && g < 4096; g++) {
    const picture_box b = group_box(l, g);
    if (l->wafer.h - b.h > 3) picture_hatch(l->p, (picture_box){b.x, b.y + b.h, b.w, l->wafer.h - b.h}, strokes);
  }
}

static void streams_draw(const layout *l, double top) {
  const plan_tiles *t = &l->s->plan->tiles;
  const double used_w = l->scale * t->replicas * t->group_width;
  const double gap = fmax(28, l->scale * t->group_width);
  const u32 pairs = (u32)fmax(1, floor(used_w / gap + 0.01));
  const double pitch = used_w / pairs, apart = fmin(9, pitch / 4), end = l->wafer.y - 3;
  for (u32 i = 0; i < pairs; i++) {
    const double x = l->wafer.x + pitch * (i + 0.5);
    picture_arrow(l->p, (picture_point){x - apart, top}, (picture_point){x - apart, end},
                  (picture_style){.stroke = INK_ORANGE, .width = 2.2, .tip = "weights stream in"});
    picture_arrow(l->p, (picture_point){x + apart, end}, (picture_point){x + apart, top + 2},
                  (picture_style){.stroke = INK_RED, .width = 2.2, .tip = "gradients stream out"});
  }
}

static void edge_draw(const layout *l, double y) {
  const machine *m = l->s->machine;
  const picture_box box = {l->wafer.x, y, l->wafer.w, 26};
  picture_rect(l->p, box, (picture_style){.fill = INK_PINK, .opacity = 0.35});
  picture_text(l->p, (picture_point){box.x + box.w / 2, y + 17.5},
               (picture_letters){13, INK_TEXT, PICTURE_MIDDLE, true, 0}, "MemoryX");
  streams_draw(l, y + box.h + 2);
  const picture_letters letters = {12, INK_MUTED, PICTURE_LEFT, 0, 0};
  picture_text(l->p, (picture_point){box.x + box.w + 10, y + 17}, letters,
               arena_format(l->p->memory, "%.3g wavelets a cycle in, as many out", m->io_wavelets_per_cycle));
}

static void labels_draw(const layout *l) {
  const plan_tiles *t = &l->s->plan->tiles;
  const bool turned = t->transposed;
  const double below = l->wafer.y + l->wafer.h;
  const picture_letters middle = {12, INK_MUTED, PICTURE_MIDDLE, 0, 0};
  for (u32 g = 0; g < t->replicas; g++) {
    const picture_box b = group_box(l, g);
    const char *words =
        b.w > 64 ? arena_format(l->p->memory, "group %u", g + 1) : arena_format(l->p->memory, "%u", g + 1);
    if (picture_text_width(words, 12, false) + 6 > b.w) break;
    picture_text(l->p, (picture_point){b.x + b.w / 2, below + 15}, middle, words);
  }
  picture_text(l->p, (picture_point){l->wafer.x + l->wafer.w / 2, below + 33}, middle,
               arena_format(l->p->memory, "%u usable %s", l->across, turned ? "rows (drawn on its side)" : "columns"));
  picture_letters upright = middle;
  upright.upright = true;
  picture_text(l->p, (picture_point){l->wafer.x - 9, l->wafer.y + l->wafer.h / 2}, upright,
               arena_format(l->p->memory, "%u usable %s", l->down, turned ? "columns" : "rows"));
}

// --- the inset: one sequence in its group

enum { INSET_COLUMNS = 16, INSET_ROWS = 5 };

static u32 inset_columns(const layout *l) {
  const u32 width = l->s->plan->tiles.group_width;
  return width < INSET_COLUMNS ? width : INSET_COLUMNS;
}

static void inset_cells(const layout *l, picture_box at, u32 rows, double cell) {
  const u32 columns = inset_columns(l), owner = columns * 5 / 8;
  for (u32 y = 0; y < rows; y++)
    for (u32 x = 0; x < columns; x++) {
      const picture_box pe = {at.x + cell * x, at.y + cell * y, cell - 2, cell - 2};
      picture_rect(l->p, pe, (picture_style){.fill = INK_BLUE, .opacity = x == owner ? 0.85 : 0.25});
    }
  for (u32 y = 0; y < rows; y++) {
    const double mid = at.y + cell * (y + 0.5) - 1, meet = at.x + cell * owner;
    const picture_style sums = {.stroke = INK_GREEN, .width = 1.8};
    if (owner > 0) picture_arrow(l->p, (picture_point){at.x + 3, mid}, (picture_point){meet, mid}, sums);
    if (owner + 1 < columns)
      picture_arrow(l->p, (picture_point){at.x + at.w - 5, mid}, (picture_point){meet + cell - 2, mid}, sums);
  }
  for (u32 x = columns > 2 ? 2 : 0; x < columns; x += 5)
    picture_arrow(l->p, (picture_point){at.x + cell * (x + 0.5) - 1, at.y - 20},
                  (picture_point){at.x + cell * (x + 0.5) - 1, at.y + cell * rows - 4},
                  (picture_style){.stroke = INK_ORANGE, .width = 1.8});
}

static double inset_draw(const layout *l, double x, double y) {
  const plan_tiles *t = &l->s->plan->tiles;
  const u32 rows = t->seq_rows < INSET_ROWS ? t->seq_rows : INSET_ROWS;
  const double cell = 24;
  picture_text(l->p, (picture_point){x, y + 14}, (picture_letters){14, INK_TEXT, 0, true, 0},
               t->row_seqs > 1 ? arena_format(l->p->memory, "One row of a group: %u sequences", t->row_seqs)
                               : arena_format(l->p->memory, "One sequence: %u %s of a group", t->seq_rows,
                                              t->seq_rows == 1 ? "row" : "rows"));
  const picture_box at = {x + 20, y + 50, cell * inset_columns(l), cell * rows};
  inset_cells(l, at, rows, cell);
  picture_text(l->p, (picture_point){at.x, at.y + at.h + 15}, note,
               arena_format(l->p->memory,
                            t->group_width > INSET_COLUMNS ? "features along %u columns (%u shown)"
                                                           : "features along %u columns",
                            t->group_width, inset_columns(l)));
  picture_letters upright = {12, INK_MUTED, PICTURE_MIDDLE, 0, 1};
  picture_text(l->p, (picture_point){x + 11, at.y + at.h / 2}, upright, rows > 2 ? "tokens" : "");
  return at.y + at.h + 24;
}

// --- facts

static double fact(const layout *l, double x, double y, const char *name, const char *words) {
  picture_text(l->p, (picture_point){x, y + 14}, note, name);
  picture_text(l->p, (picture_point){x + 128, y + 14}, (picture_letters){13, INK_TEXT, 0, 0, 0}, words);
  return y + 21;
}

static const char *heads_text(arena *a, const plan_tiles *t) {
  if (t->head_pes == 0) return "whole heads in a column";
  return arena_format(a, "a head spans %u columns%s", t->head_pes,
                      t->heads_aligned ? "" : ", some PEs hold parts of two");
}

static double facts_draw(const layout *l, double x, double y) {
  const plan *d = l->s->plan;
  const plan_tiles *t = &d->tiles;
  const machine *m = l->s->machine;
  arena *a = l->p->memory;
  const u32 used_w = t->replicas * t->group_width;
  u64 used = 0;
  for (u32 g = 0; g < t->replicas; g++) used += (u64)group_rows(d, g) * t->group_width;
  y = fact(l, x, y, "column groups",
           t->replicas == 1 ? arena_format(a, "one of %u columns", t->group_width)
                            : arena_format(a, "%u of %u columns each", t->replicas, t->group_width));
  y = fact(l, x, y, "slots in a group",
           t->row_seqs > 1 ? arena_format(a, "%u rows with %u whole sequences each", t->slots, t->row_seqs)
                           : arena_format(a, "%u, one sequence over %u %s", t->slots, t->seq_rows,
                                          t->seq_rows == 1 ? "row" : "rows"));
  y = fact(l, x, y, "microbatch",
           arena_format(a, d->microbatches > 1 ? "%u sequences, %u times a step" : "%u sequences, once a step",
                        d->microbatch, d->microbatches));
  y = fact(l, x, y, "fullest PE",
           arena_format(a, "%u tokens x %u features (%u of the MLP)", t->tokens_max, t->features_max, t->hidden_max));
  y = fact(l, x, y, "attention", heads_text(a, t));
  y = fact(l, x, y, "PEs used",
           arena_format(a, "%s of %s usable (%.1f %%)", picture_count(a, used), picture_count(a, m->pes_usable),
                        100.0 * (double)used / m->pes_usable));
  const u32 idle_columns = l->across > used_w ? l->across - used_w : 0;
  const u32 idle_rows = l->down > t->rows ? l->down - t->rows : 0;
  return fact(l, x, y, "left idle",
              arena_format(a, "%u %s, %u %s", idle_columns, idle_columns == 1 ? "column" : "columns", idle_rows,
                           idle_rows == 1 ? "row" : "rows"));
}

static double side_draw(const layout *l, double x, double y) {
  const picture_legend items[] = {{INK_ORANGE, "weights in, down the columns"},
                                  {INK_GREEN, "partial sums, to the owner"},
                                  {INK_RED, "gradients out"},
                                  {INK_BLUE, "one sequence"},
                                  {INK_IDLE, "idle"}};
  y = inset_draw(l, x, y) + 6;
  y += picture_legend_row(l->p, (picture_box){x, y, l->p->w - x, 0}, items, COUNT_OF(items)) + 14;
  return facts_draw(l, x, y);
}

void picture_wafer(picture *ret_picture, arena *a, const step_parts *s, double w) {
  if (s->plan->options.mode == PLAN_PIPELINED) {
    picture_pipeline(ret_picture, a, s, w);
    return;
  }
  const machine_spec *m = &s->machine->spec;
  layout l = {.p = ret_picture, .s = s, .small = w < THUMBNAIL_BELOW};
  l.across = s->plan->tiles.transposed ? m->usable_height : m->usable_width;
  l.down = s->plan->tiles.transposed ? m->usable_width : m->usable_height;
  const char *title = arena_format(a, "The plan on the wafer: %u column groups of %u columns", s->plan->tiles.replicas,
                                   s->plan->tiles.group_width);
  const double left = l.small ? 2 : 26, top = l.small ? 2 : 64;
  const double room_w = l.small ? w - 4 : 0.4 * w, room_h = l.small ? 1.6 * w : 480;
  l.scale = fmin(room_w / l.across, room_h / l.down);
  l.wafer = (picture_box){left, top, l.scale * l.across, l.scale * l.down};
  picture_init(l.p, a, l.small ? l.wafer.w + 4 : w, l.wafer.h + top + (l.small ? 2 : 42), title);
  idle_draw(&l);
  groups_draw(&l);
  picture_rect(l.p, l.wafer, (picture_style){.stroke = INK_LINE, .width = 1.2});
  if (l.small) return;
  edge_draw(&l, 4);
  labels_draw(&l);
  l.p->h = fmax(l.p->h, side_draw(&l, l.wafer.x + l.wafer.w + 48, l.wafer.y - 14) + 6);
}
