// Collects the shapes of a picture, and measures text by a fixed table so that a layout is the same
// wherever it is made.
#include "runtime/picture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void picture_init(picture *p, arena *memory, double w, double h, const char *title) {
  *p = (picture){.memory = memory, .w = w, .h = h, .title = arena_text(memory, title)};
}

static picture_shape *shape_add(picture *p, shape_kind kind, const picture_point *points, u32 count,
                                picture_style style) {
  picture_shape *s = arena_array(p->memory, picture_shape, 1);
  picture_point *copy = arena_array(p->memory, picture_point, count ? count : 1);
  if (count) memcpy(copy, points, sizeof *copy * count);
  *s = (picture_shape){.kind = kind, .points = copy, .count = count, .style = style};
  if (style.tip) s->style.tip = arena_text(p->memory, style.tip);
  if (p->last)
    p->last->next = s;
  else
    p->first = s;
  p->last = s;
  return s;
}

void picture_rect(picture *p, picture_box box, picture_style style) {
  if (box.w <= 0 || box.h <= 0) return;
  shape_add(p, SHAPE_RECT, (picture_point[]){{box.x, box.y}, {box.w, box.h}}, 2, style);
}

void picture_line(picture *p, const picture_point *points, u32 count, picture_style style) {
  if (count) shape_add(p, SHAPE_LINE, points, count, style);
}

void picture_polygon(picture *p, const picture_point *points, u32 count, picture_style style) {
  if (count > 2) shape_add(p, SHAPE_POLYGON, points, count, style);
}

void picture_dot(picture *p, picture_point at, double radius, picture_style style) {
  shape_add(p, SHAPE_DOT, (picture_point[]){at, {radius, radius}}, 2, style);
}

u32 picture_letter_bytes(const u8 *s) {
  const bool control = (*s < 32 && *s != '\t' && *s != '\n' && *s != '\r') || *s == 127;
  const u32 n = control ? 0 : *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;
  for (u32 i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  const bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
  const bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f) ||
                       (s[0] == 0xef && s[1] == 0xbf && s[2] > 0xbd); // U+FFFE and U+FFFF
  return overlong || outside ? 0 : n;
}

// A copy that a font can be asked to show.
static const char *clean_words(arena *a, const char *words) {
  char *copy = arena_text(a, words);
  for (u8 *s = (u8 *)copy; *s;) {
    const u32 n = picture_letter_bytes(s);
    if (n == 0)
      *s = '?';
    else if (n == 1 && *s < 32)
      *s = ' ';
    s += n ? n : 1;
  }
  return copy;
}

void picture_text(picture *p, picture_point at, picture_letters letters, const char *words) {
  if (!words[0]) return;
  picture_shape *s = shape_add(p, SHAPE_TEXT, &at, 1, (picture_style){.fill = letters.ink});
  s->letters = letters;
  s->words = clean_words(p->memory, words);
}

void picture_segment(picture *p, picture_point from, picture_point to, picture_style style) {
  picture_line(p, (picture_point[]){from, to}, 2, style);
}

void picture_arrow(picture *p, picture_point from, picture_point to, picture_style style) {
  const double dx = to.x - from.x, dy = to.y - from.y, length = hypot(dx, dy);
  if (!(length > 0)) return;
  const double width = style.width > 0 ? style.width : 1;
  const double head = fmin(length, 3 + 2.4 * width), ux = dx / length, uy = dy / length;
  const picture_point neck = {to.x - head * ux, to.y - head * uy};
  const double side = 0.55 * head;
  picture_segment(p, from, neck, style);
  const picture_point tip[] = {to, {neck.x - side * uy, neck.y + side * ux}, {neck.x + side * uy, neck.y - side * ux}};
  picture_polygon(p, tip, 3, (picture_style){.fill = style.stroke, .opacity = style.opacity});
}

void picture_hatch(picture *p, picture_box box, picture_style style) {
  const double gap = 7;
  if (box.w <= 0 || box.h <= 0) return;
  const u32 lines = (u32)((box.w + box.h) / gap);
  picture_point *points = arena_array(p->memory, picture_point, 3 * (lines + 1));
  u32 n = 0;
  // The stroke that starts d along the upper edge runs down and to the left; both ends are clipped.
  for (u32 i = 1; i <= lines; i++) {
    const double d = gap * i;
    const double low = fmax(0, d - box.w), high = fmin(d, box.h);
    points[n++] = (picture_point){box.x + d - low, box.y + low};
    points[n++] = (picture_point){box.x + d - high, box.y + high};
    points[n++] = (picture_point){NAN, NAN};
  }
  picture_line(p, points, n, style);
}

// Advance widths of Helvetica in 1/1000 of the size, from blank to tilde (Adobe's published metrics).
static const u16 advance[95] = {278,  278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
                                556,  556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
                                1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
                                667,  778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
                                333,  556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
                                556,  556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584};

double picture_text_width(const char *words, double size, bool bold) {
  u32 units = 0;
  for (const u8 *s = (const u8 *)words; *s; s++) {
    if (*s >= 32 && *s < 127)
      units += advance[*s - 32];
    else if ((*s & 0xc0) != 0x80)
      units += 556; // one per code point
  }
  return 1.1 * size * units * (bold ? 1.06 : 1) / 1000;
}

const char *picture_fit(picture *p, const char *words, double size, double width) {
  if (picture_text_width(words, size, false) <= width) return arena_text(p->memory, words);
  const double dots = picture_text_width("...", size, false);
  char *cut = arena_text(p->memory, words);
  for (size_t n = strlen(cut); n > 0; n--) {
    if (((u8)cut[n] & 0xc0) == 0x80) continue; // inside a code point
    cut[n] = 0;
    if (n > 1 && picture_text_width(cut, size, false) + dots <= width)
      return arena_format(p->memory, "%s\xe2\x80\xa6", cut);
  }
  return "";
}

picture_ink picture_ink_over(picture_ink fill) {
  const bool deep = fill == INK_BLUE || fill == INK_RED || fill == INK_GREEN || fill == INK_GREY;
  return deep ? INK_PAPER : INK_BLACK;
}

const char *picture_number(arena *a, double value, double step) {
  static const struct {
    double scale;
    const char *suffix;
  } units[] = {{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  const double size = fabs(value);
  if (!(size > 0)) return "0";
  for (u32 i = 0; i < COUNT_OF(units); i++) {
    if (size < units[i].scale || (units[i].scale < 1e4 && size < 1e4 && step < 1e3)) continue;
    const double v = value / units[i].scale, s = step / units[i].scale;
    const int digits = s > 0 && s < 1 ? (int)ceil(-log10(s) - 1e-9) : 0;
    return arena_format(a, "%.*f%s", digits, v, units[i].suffix);
  }
  const int digits = step > 0 && step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
  if (digits > 5) return arena_format(a, "%.3g", value);
  return arena_format(a, "%.*f", digits, value);
}

const char *picture_count(arena *a, u64 n) {
  char digits[24], out[32];
  const int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
  u32 k = 0;
  for (int i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0) out[k++] = ',';
    out[k++] = digits[i];
  }
  out[k] = 0;
  return arena_text(a, out);
}

double picture_legend_row(picture *p, picture_box at, const picture_legend *items, u32 count) {
  const double size = 12, swatch = 11, line = 19;
  double x = at.x, y = at.y;
  for (u32 i = 0; i < count; i++) {
    const double w = swatch + 6 + picture_text_width(items[i].words, size, false);
    if (x > at.x && x + w > at.x + at.w) {
      x = at.x;
      y += line;
    }
    picture_rect(p, (picture_box){x, y + 3, swatch, swatch}, (picture_style){.fill = items[i].ink});
    picture_text(p, (picture_point){x + swatch + 6, y + 12.5}, (picture_letters){size, INK_TEXT, 0, 0, 0},
                 items[i].words);
    x += w + 16;
  }
  return count ? y + line - at.y : 0;
}

ink_colour picture_ink_colour(picture_ink ink) {
  static const ink_colour colours[INK_COUNT] = {
      [INK_NONE] = {"none", 0, 0},
      [INK_PAPER] = {"paper", 0xffffff, 0x15181c},
      [INK_TEXT] = {"text", 0x1c2126, 0xe7eaed},
      [INK_MUTED] = {"muted", 0x5b646e, 0xa0aab4},
      [INK_LINE] = {"line", 0x8b949d, 0x6c757f},
      [INK_GRID] = {"grid", 0xe3e6ea, 0x2c3238},
      [INK_IDLE] = {"idle", 0xdde1e5, 0x32383f},
      [INK_BLACK] = {"black", 0x14181c, 0x14181c},
      [INK_BLUE] = {"blue", 0x0072b2, 0x4aa3dc},
      [INK_RED] = {"red", 0xd55e00, 0xec8140},
      [INK_GREEN] = {"green", 0x009e73, 0x2fbd94},
      [INK_PINK] = {"pink", 0xcc79a7, 0xd998be},
      [INK_SKY] = {"sky", 0x56b4e9, 0x86ccf3},
      [INK_ORANGE] = {"orange", 0xe69f00, 0xf0b23a},
      [INK_YELLOW] = {"yellow", 0xcdb800, 0xf0e442},
      [INK_GREY] = {"grey", 0x868c93, 0x969da5},
  };
  require((u32)ink < INK_COUNT);
  return colours[ink];
}
