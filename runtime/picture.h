// Drawings for people: a list of shapes that becomes SVG text (real text, tooltips, light and dark) or a
// PNG through cairo. Knows shapes, inks and how wide a text is, nothing of what is drawn.
#pragma once

#include "base/arena.h"
#include "base/text.h"

// Colours by purpose. The eight data inks are Okabe and Ito's, which stay apart for every kind of colour
// vision; each ink has a light and a dark value.
typedef enum picture_ink {
  INK_NONE,
  INK_PAPER, // background
  INK_TEXT,
  INK_MUTED, // axis labels, notes
  INK_LINE,  // frames and ticks
  INK_GRID,
  INK_IDLE,  // what is there but unused
  INK_BLACK, // on bright fills, in light and dark
  INK_BLUE,
  INK_RED,
  INK_GREEN,
  INK_PINK,
  INK_SKY,
  INK_ORANGE,
  INK_YELLOW,
  INK_GREY,
  INK_COUNT
} picture_ink;
enum { INK_DATA_COUNT = INK_COUNT - INK_BLUE };

typedef enum { PICTURE_LEFT, PICTURE_MIDDLE, PICTURE_RIGHT } picture_anchor;

typedef struct picture_style {
  picture_ink fill, stroke;
  double width;   // of the stroke; 0 means 1
  double opacity; // 0 means 1
  bool dashed;
  const char *tip; // NULL, or what a pointer over it shows (SVG only)
} picture_style;

typedef struct picture_point {
  double x, y;
} picture_point;

typedef struct picture_box {
  double x, y, w, h;
} picture_box;

typedef struct picture_letters {
  double size;
  picture_ink ink;
  picture_anchor anchor;
  bool bold, upright; // upright: turned by a quarter, reading upwards
} picture_letters;

typedef struct picture_shape picture_shape;
typedef struct picture {
  arena *memory;
  double w, h;
  const char *title; // for those who do not see it
  picture_shape *first, *last;
} picture;

// Everything drawn lives in the arena; texts and points are copied.
void picture_init(picture *p, arena *memory, double w, double h, const char *title);
void picture_rect(picture *p, picture_box box, picture_style style);
// Breaks at points that are not finite.
void picture_line(picture *p, const picture_point *points, u32 count, picture_style style);
void picture_polygon(picture *p, const picture_point *points, u32 count, picture_style style);
void picture_dot(picture *p, picture_point at, double radius, picture_style style);
// `at` is on the baseline.
void picture_text(picture *p, picture_point at, picture_letters letters, const char *words);
void picture_segment(picture *p, picture_point from, picture_point to, picture_style style);
// A line that ends in a head at `to`.
void picture_arrow(picture *p, picture_point from, picture_point to, picture_style style);
// Parallel strokes across a box, for what is idle.
void picture_hatch(picture *p, picture_box box, picture_style style);

// Width that a text may take, by Helvetica's tables and a tenth more since a reader's font may be wider:
// the same on every machine, whatever fonts it has.
double picture_text_width(const char *words, double size, bool bold);
// Copies `words` cut to the width with an ellipsis; "" when not even that fits.
const char *picture_fit(picture *p, const char *words, double size, double width);
// The ink for letters on a fill.
picture_ink picture_ink_over(picture_ink fill);
// "12.3k", "4 M", "0.002": for axes and labels.
const char *picture_number(arena *a, double value, double step);

const char *picture_count(arena *a, u64 n); // "859,560"

typedef struct picture_legend {
  picture_ink ink;
  const char *words;
} picture_legend;
// A row of swatches with words, wrapped to the width; returns the height that it took.
double picture_legend_row(picture *p, picture_box at, const picture_legend *items, u32 count);

// `inside` a page: no XML head and no background, and colours come from the page's style sheet.
void picture_svg(const picture *p, bool inside, text *out);
void picture_style_sheet(text *out); // the rules for the inks' classes, light and dark
// SVG or PNG by the path's suffix, atomically. A PNG is light and has two pixels per unit.
bool picture_save(const picture *p, const char *path, status *st);
bool picture_save_png(const picture *p, const char *path, status *st);

// Text as XML and HTML want it, attributes included. What is not valid UTF-8, and what no page may hold,
// becomes U+FFFD.
void picture_escape(text *out, const char *words);
// Length of the UTF-8 sequence at s; 0 when it is not one, or is a control character.
u32 picture_letter_bytes(const u8 *s);

// --- for the two ways out (picture_svg.c, picture_png.c)
typedef enum { SHAPE_RECT, SHAPE_LINE, SHAPE_POLYGON, SHAPE_DOT, SHAPE_TEXT } shape_kind;
struct picture_shape {
  picture_shape *next;
  shape_kind kind;
  u32 count;
  const picture_point *points; // a rectangle: corner and size; a dot: centre and radius
  picture_style style;
  picture_letters letters;
  const char *words;
};
typedef struct ink_colour {
  const char *name; // class in style sheets
  u32 light, dark;  // 0xrrggbb
} ink_colour;
ink_colour picture_ink_colour(picture_ink ink);
