// A picture as SVG. Colours are attributes, so that any reader shows them, and classes beside them, which
// a style sheet may turn dark. Written here rather than by cairo's SVG surface, which turns letters into
// outlines, repeats ids between pictures of one page and knows no tooltips.
#include "runtime/picture.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void picture_escape(text *out, const char *words) {
  for (const u8 *s = (const u8 *)words; *s;) {
    const u32 n = picture_letter_bytes(s);
    if (n == 0)
      text_add(out, "\xef\xbf\xbd");
    else if (*s == '&')
      text_add(out, "&amp;");
    else if (*s == '<')
      text_add(out, "&lt;");
    else if (*s == '>')
      text_add(out, "&gt;");
    else if (*s == '"')
      text_add(out, "&quot;");
    else if (*s == '\'')
      text_add(out, "&#39;");
    else
      text_add_bytes(out, s, n);
    s += n ? n : 1;
  }
}

// Two decimals at most, and none that are zero.
static void add_number(text *out, double v) {
  char digits[40];
  snprintf(digits, sizeof digits, "%.2f", v);
  size_t n = strlen(digits);
  while (n > 1 && digits[n - 1] == '0') n--;
  if (digits[n - 1] == '.') n--;
  digits[n] = 0;
  text_add(out, strcmp(digits, "-0") == 0 ? "0" : digits);
}

static void add_attribute(text *out, const char *name, double v) {
  text_format(out, " %s=\"", name);
  add_number(out, v);
  text_add(out, "\"");
}

static void add_colour(text *out, const char *attribute, picture_ink ink) {
  if (ink == INK_NONE)
    text_format(out, " %s=\"none\"", attribute);
  else
    text_format(out, " %s=\"#%06x\"", attribute, picture_ink_colour(ink).light);
}

static void add_style(text *out, const picture_style *s) {
  text_add(out, " class=\"");
  if (s->fill != INK_NONE) text_format(out, "f-%s", picture_ink_colour(s->fill).name);
  if (s->stroke != INK_NONE)
    text_format(out, "%ss-%s", s->fill != INK_NONE ? " " : "", picture_ink_colour(s->stroke).name);
  text_add(out, "\"");
  add_colour(out, "fill", s->fill);
  if (s->stroke != INK_NONE) {
    add_colour(out, "stroke", s->stroke);
    if (s->width > 0) add_attribute(out, "stroke-width", s->width);
    if (s->dashed) text_add(out, " stroke-dasharray=\"4 3\"");
    text_add(out, " stroke-linejoin=\"round\"");
  }
  if (s->opacity > 0) add_attribute(out, "opacity", s->opacity);
}

static void add_path(text *out, const picture_shape *s) {
  bool open = false;
  text_add(out, "<path d=\"");
  for (u32 i = 0; i < s->count; i++) {
    const picture_point at = s->points[i];
    if (!isfinite(at.x) || !isfinite(at.y)) {
      open = false;
      continue;
    }
    text_add(out, open ? "L" : "M");
    add_number(out, at.x);
    text_add(out, " ");
    add_number(out, at.y);
    open = true;
  }
  text_add(out, s->kind == SHAPE_POLYGON ? "Z\"" : "\"");
}

static void add_words(text *out, const picture_shape *s) {
  static const char *const anchors[] = {"start", "middle", "end"};
  const picture_point at = s->points[0];
  text_add(out, "<text");
  add_attribute(out, "x", at.x);
  add_attribute(out, "y", at.y);
  add_attribute(out, "font-size", s->letters.size);
  if (s->letters.anchor != PICTURE_LEFT) text_format(out, " text-anchor=\"%s\"", anchors[s->letters.anchor]);
  if (s->letters.bold) text_add(out, " font-weight=\"600\"");
  if (s->letters.upright) {
    text_add(out, " transform=\"rotate(-90 ");
    add_number(out, at.x);
    text_add(out, " ");
    add_number(out, at.y);
    text_add(out, ")\"");
  }
  add_style(out, &s->style);
  text_add(out, ">");
  picture_escape(out, s->words);
  text_add(out, "</text>\n");
}

static void add_shape(text *out, const picture_shape *s) {
  const char *name = "path";
  if (s->kind == SHAPE_TEXT) {
    add_words(out, s);
    return;
  }
  if (s->kind == SHAPE_RECT) {
    name = "rect";
    text_add(out, "<rect");
    add_attribute(out, "x", s->points[0].x);
    add_attribute(out, "y", s->points[0].y);
    add_attribute(out, "width", s->points[1].x);
    add_attribute(out, "height", s->points[1].y);
  } else if (s->kind == SHAPE_DOT) {
    name = "circle";
    text_add(out, "<circle");
    add_attribute(out, "cx", s->points[0].x);
    add_attribute(out, "cy", s->points[0].y);
    add_attribute(out, "r", s->points[1].x);
  } else {
    add_path(out, s);
  }
  add_style(out, &s->style);
  if (s->style.tip) {
    text_add(out, "><title>");
    picture_escape(out, s->style.tip);
    text_format(out, "</title></%s>\n", name);
  } else {
    text_add(out, "/>\n");
  }
}

void picture_style_sheet(text *out) {
  for (u32 i = INK_PAPER; i < INK_COUNT; i++) {
    const ink_colour c = picture_ink_colour((picture_ink)i);
    text_format(out, ".f-%s{fill:#%06x}.s-%s{stroke:#%06x}\n", c.name, c.light, c.name, c.light);
  }
  text_add(out, "@media (prefers-color-scheme:dark){\n");
  for (u32 i = INK_PAPER; i < INK_COUNT; i++) {
    const ink_colour c = picture_ink_colour((picture_ink)i);
    text_format(out, ".f-%s{fill:#%06x}.s-%s{stroke:#%06x}\n", c.name, c.dark, c.name, c.dark);
  }
  text_add(out, "}\n");
}

void picture_svg(const picture *p, bool inside, text *out) {
  if (!inside) text_add(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
  text_add(out, "<svg ");
  if (!inside) text_add(out, "xmlns=\"http://www.w3.org/2000/svg\" "); // HTML knows what svg is
  text_add(out, "role=\"img\" viewBox=\"0 0 ");
  add_number(out, p->w);
  text_add(out, " ");
  add_number(out, p->h);
  text_add(out, "\"");
  add_attribute(out, "width", p->w);
  add_attribute(out, "height", p->h);
  text_add(out, " font-family=\"Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif\">\n");
  text_add(out, "<title>");
  picture_escape(out, p->title);
  text_add(out, "</title>\n");
  if (!inside) {
    text_add(out, "<style>\n");
    picture_style_sheet(out);
    text_add(out, "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\" class=\"f-paper\"/>\n");
  }
  for (const picture_shape *s = p->first; s; s = s->next) add_shape(out, s);
  text_add(out, "</svg>\n");
}

bool picture_save(const picture *p, const char *path, status *st) {
  if (text_ends(path, ".png")) return picture_save_png(p, path, st);
  if (!text_ends(path, ".svg")) return status_fail(st, CODE_USAGE, "%s: a picture's name ends in .svg or .png", path);
  text out = {0};
  picture_svg(p, false, &out);
  const bool ok = file_write(path, out.data, out.size, st);
  text_free(&out);
  return ok;
}
