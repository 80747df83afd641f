// A picture as PNG, through cairo.
#include "runtime/picture.h"
#include "base/file.h"

#include <cairo.h>
#include <math.h>

// fontconfig keeps its fonts for the life of the process; the address sanitizer need not tell.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PICTURE_LEAKS_WATCHED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define PICTURE_LEAKS_WATCHED
#endif
#ifdef PICTURE_LEAKS_WATCHED
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
  return "leak:libfontconfig";
}
#endif

enum { PIXELS_PER_UNIT = 2, PIXELS_MAX = 16384 };

static void set_ink(cairo_t *c, picture_ink ink, double opacity) {
  const u32 rgb = picture_ink_colour(ink).light;
  cairo_set_source_rgba(c, (rgb >> 16 & 255) / 255.0, (rgb >> 8 & 255) / 255.0, (rgb & 255) / 255.0,
                        opacity > 0 ? opacity : 1);
}

static void trace_shape(cairo_t *c, const picture_shape *s) {
  const picture_point *at = s->points;
  if (s->kind == SHAPE_RECT) cairo_rectangle(c, at[0].x, at[0].y, at[1].x, at[1].y);
  if (s->kind == SHAPE_DOT) cairo_arc(c, at[0].x, at[0].y, at[1].x, 0, 8 * atan(1));
  if (s->kind != SHAPE_LINE && s->kind != SHAPE_POLYGON) return;
  bool open = false;
  for (u32 i = 0; i < s->count; i++) {
    const bool here = isfinite(at[i].x) && isfinite(at[i].y);
    if (here && open)
      cairo_line_to(c, at[i].x, at[i].y);
    else if (here)
      cairo_move_to(c, at[i].x, at[i].y);
    open = here;
  }
  if (s->kind == SHAPE_POLYGON) cairo_close_path(c);
}

static void select_letters(cairo_t *c, double size, bool bold) {
  cairo_select_font_face(c, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                         bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(c, size);
}

// How much narrower than the font at hand the letters are that the layout was measured with.
static double letter_fit(cairo_t *c, bool bold) {
  const char *sample = "The quick brown fox jumps over 0123456789 lazy dogs";
  cairo_text_extents_t box;
  select_letters(c, 100, bold);
  cairo_text_extents(c, sample, &box);
  const double fit = box.x_advance > 0 ? picture_text_width(sample, 100, bold) / box.x_advance : 1;
  return fmax(0.8, fmin(1, fit));
}

static void draw_words(cairo_t *c, const picture_shape *s) {
  const picture_letters *l = &s->letters;
  cairo_text_extents_t box;
  const double fit = letter_fit(c, l->bold);
  select_letters(c, l->size * fit, l->bold);
  cairo_text_extents(c, s->words, &box);
  const double back = l->anchor == PICTURE_LEFT ? 0 : l->anchor == PICTURE_RIGHT ? 1 : 0.5;
  cairo_save(c);
  cairo_translate(c, s->points[0].x, s->points[0].y);
  if (l->upright) cairo_rotate(c, -2 * atan(1));
  cairo_move_to(c, -back * box.x_advance, 0);
  set_ink(c, l->ink, 1);
  cairo_show_text(c, s->words);
  cairo_restore(c);
}

static void draw_shape(cairo_t *c, const picture_shape *s) {
  if (s->kind == SHAPE_TEXT) {
    draw_words(c, s);
    return;
  }
  cairo_new_path(c);
  trace_shape(c, s);
  if (s->style.fill != INK_NONE) {
    set_ink(c, s->style.fill, s->style.opacity);
    cairo_fill_preserve(c);
  }
  if (s->style.stroke != INK_NONE) {
    set_ink(c, s->style.stroke, s->style.opacity);
    cairo_set_line_width(c, s->style.width > 0 ? s->style.width : 1);
    cairo_set_line_join(c, CAIRO_LINE_JOIN_ROUND);
    cairo_set_dash(c, (double[]){4, 3}, s->style.dashed ? 2 : 0, 0);
    cairo_stroke(c);
  }
  cairo_new_path(c);
}

typedef struct png_sink {
  file_writer file;
  status *st;
} png_sink;

static cairo_status_t put_bytes(void *user, const unsigned char *bytes, unsigned n) {
  png_sink *sink = user;
  return file_put(&sink->file, bytes, n, sink->st) ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static bool write_png(cairo_surface_t *surface, const char *path, status *st) {
  png_sink sink = {.st = st};
  if (!file_begin(&sink.file, path, st)) return false;
  const cairo_status_t done = cairo_surface_write_to_png_stream(surface, put_bytes, &sink);
  if (done == CAIRO_STATUS_SUCCESS) return file_commit(&sink.file, st);
  file_abandon(&sink.file);
  return status_fail(st, CODE_IO, "%s: cannot be drawn: %s", path, cairo_status_to_string(done));
}

bool picture_save_png(const picture *p, const char *path, status *st) {
  const double scale = fmin(PIXELS_PER_UNIT, PIXELS_MAX / fmax(p->w, p->h));
  cairo_surface_t *surface =
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(p->w * scale), (int)ceil(p->h * scale));
  cairo_t *c = cairo_create(surface);
  cairo_scale(c, scale, scale);
  set_ink(c, INK_PAPER, 1);
  cairo_paint(c);
  for (const picture_shape *s = p->first; s; s = s->next) draw_shape(c, s);
  const cairo_status_t drawn = cairo_status(c);
  cairo_destroy(c);
  bool ok = drawn == CAIRO_STATUS_SUCCESS;
  if (ok)
    ok = write_png(surface, path, st);
  else
    status_fail(st, CODE_IO, "%s: cannot be drawn: %s", path, cairo_status_to_string(drawn));
  cairo_surface_destroy(surface);
  return ok;
}
