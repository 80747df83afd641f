// Maps of links, datapaths and memory.
#include "runtime/picture_maps.h"

#include <math.h>

enum { CELLS = 64 }; // squares along the longer side, at most

typedef struct panel {
  picture *p;
  const step_fabric *f;
  const step_map *map;
  picture_box box; // of the squares
  u32 each;        // PEs along a square's side
  double cell;
} panel;

static const picture_letters note = {12, INK_MUTED, PICTURE_LEFT, 0, 0};

static double largest_of(const panel *n, u32 x0, u32 y0, u32 w, u32 h) {
  double most = 0;
  for (u32 y = y0; y < n->f->height && y < y0 + h; y++)
    for (u32 x = x0; x < n->f->width && x < x0 + w; x++) most = fmax(most, n->map->values[y * n->f->width + x]);
  return most;
}

static const char *words_of(const panel *n, double value) {
  return arena_format(n->p->memory, "%.4g %s", value, n->map->unit);
}

static void squares_draw(const panel *n, double most) {
  for (u32 y = 0; y < n->f->height; y += n->each)
    for (u32 x = 0; x < n->f->width; x += n->each) {
      const double value = largest_of(n, x, y, n->each, n->each), share = most > 0 ? value / most : 0;
      const picture_box at = {n->box.x + n->cell * (x / n->each), n->box.y + n->cell * (y / n->each), n->cell, n->cell};
      const char *tip = arena_format(n->p->memory, "PE (%u, %u): %s", x, y, words_of(n, value));
      picture_rect(
          n->p, at,
          (picture_style){.fill = share > 0 ? INK_BLUE : INK_IDLE, .opacity = 0.08 + 0.92 * share, .tip = tip});
    }
  picture_rect(n->p, n->box, (picture_style){.stroke = INK_LINE, .width = 1});
}

// From nothing to the largest value, below the squares.
static void scale_draw(const panel *n, double most) {
  enum { STEPS = 24 };
  const double w = fmin(n->box.w, 160), y = n->box.y + n->box.h + 10;
  for (u32 i = 0; i < STEPS; i++)
    picture_rect(n->p, (picture_box){n->box.x + w * i / STEPS, y, w / STEPS, 8},
                 (picture_style){.fill = INK_BLUE, .opacity = 0.08 + 0.92 * (i + 0.5) / STEPS});
  picture_text(n->p, (picture_point){n->box.x, y + 24}, note, arena_format(n->p->memory, "0 to %s", words_of(n, most)));
}

void picture_maps(picture *ret_picture, arena *a, const step_fabric *f, double w) {
  const double gap = 28, panel_w = (w - gap * (STEP_MAPS + 1)) / STEP_MAPS, top = 46;
  const u32 longer = f->width > f->height ? f->width : f->height, each = (longer + CELLS - 1) / CELLS;
  const u32 columns = (f->width + each - 1) / each, rows = (f->height + each - 1) / each;
  const double cell = fmin(panel_w / columns, 2 * panel_w / rows);
  picture_init(ret_picture, a, w, top + cell * rows + 46,
               arena_format(a, "What a step asks of the %u x %u PEs of its grid", f->width, f->height));
  for (u32 i = 0; i < STEP_MAPS; i++) {
    const panel n = {.p = ret_picture,
                     .f = f,
                     .map = &f->maps[i],
                     .box = {gap + i * (panel_w + gap), top, cell * columns, cell * rows},
                     .each = each,
                     .cell = cell};
    const double most = largest_of(&n, 0, 0, f->width, f->height);
    picture_text(ret_picture, (picture_point){n.box.x, 18}, (picture_letters){14, INK_TEXT, 0, true, 0}, n.map->name);
    picture_text(ret_picture, (picture_point){n.box.x, 36}, note,
                 picture_fit(ret_picture, n.map->sentence, note.size, panel_w + gap - 8));
    squares_draw(&n, most);
    scale_draw(&n, most);
  }
}
