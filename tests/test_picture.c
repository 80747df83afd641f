// Pictures: well-formed SVG and real PNG, the same bytes every time, hostile words escaped, and never
// more shapes than a page can show.
#include "markup.h"
#include "runtime/picture_chart.h"
#include "runtime/picture_step.h"
#include "step_fake.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static char *svg_of(const picture *p, bool inside, arena *a) {
  text out = {0};
  picture_svg(p, inside, &out);
  char *copy = arena_text(a, text_get(&out));
  text_free(&out);
  char wrong[200];
  if (markup_wrong(copy, wrong, sizeof wrong)) fail_msg("%s", wrong);
  assert_null(strstr(copy, "nan"));
  assert_null(strstr(copy, "inf\""));
  return copy;
}

static step_parts parts_of(const step_sim *s) {
  return (step_parts){&s->plan, &s->machine, &s->program, &s->result};
}

static void loss_chart(arena *a, picture *p, const double *y, u32 count, chart_scale scale) {
  double *x = arena_array(a, double, count + 1);
  for (u32 i = 0; i < count; i++) x[i] = i;
  const chart_series lines[] = {{"loss", x, y, count, SERIES_THIN, INK_NONE},
                                {"points", x, y, count, SERIES_POINTS, INK_RED}};
  const chart c = {.title = "Loss",
                   .x_label = "step",
                   .y_label = "nat",
                   .series = lines,
                   .count = 2,
                   .y_scale = scale,
                   .x_scale = scale};
  picture_chart(p, a, &c);
}

static void test_chart_survives_any_values(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const double cases[][5] = {
      {5, 4, 3, 2, 1},     {NAN, NAN, NAN, NAN, NAN},  {2, 2, 2, 2, 2}, {1, NAN, INFINITY, -INFINITY, 3},
      {-1, 0, -3, -4, -5}, {1e-300, 1, 1e300, 1e9, 1}, {0, 0, 0, 0, 0}, {1e-9, 2e-9, 3e-9, 1e-9, 2e-9}};
  for (u32 i = 0; i < COUNT_OF(cases); i++)
    for (u32 scale = SCALE_LINEAR; scale <= SCALE_LOG2; scale++)
      for (u32 count = 0; count <= 5; count++) {
        picture p;
        loss_chart(a, &p, cases[i], count, (chart_scale)scale);
        svg_of(&p, false, a);
      }
  arena_destroy(a);
}

static void test_long_line_stays_small(void **state) {
  (void)state;
  arena *a = arena_create("test");
  enum { POINTS = 200000 };
  double *y = arena_array(a, double, POINTS), *x = arena_array(a, double, POINTS);
  for (u32 i = 0; i < POINTS; i++) x[i] = i, y[i] = 2 + sin(i * 0.37) + (i == 77777 ? 40 : 0);
  const chart_series line = {"loss", x, y, POINTS, SERIES_LINE, INK_BLUE};
  picture p;
  picture_chart(&p, a, &(chart){.title = "Loss", .series = &line, .count = 1});
  const char *svg = svg_of(&p, false, a);
  assert_true(strlen(svg) < 150000);
  double lowest = INFINITY; // the one outlier is still drawn: the line touches the top of the plot
  for (const picture_shape *s = p.first; s; s = s->next)
    for (u32 i = 0; s->kind == SHAPE_LINE && s->count > 100 && i < s->count; i++) lowest = fmin(lowest, s->points[i].y);
  assert_true(lowest < 60);
  arena_destroy(a);
}

static void test_stated_limits_cut_lines(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const double x[] = {0, 1, 2, 3}, y[] = {1, 100, 1, -100};
  const chart_series line = {"a", x, y, 4, SERIES_LINE_POINTS, INK_BLUE};
  picture p;
  picture_chart(&p, a, &(chart){.title = "t", .series = &line, .count = 1, .y_low = 0, .y_high = 2, .h = 300});
  for (const picture_shape *s = p.first; s; s = s->next)
    for (u32 i = 0; s->kind == SHAPE_LINE && i < s->count; i++)
      if (isfinite(s->points[i].y)) assert_true(s->points[i].y >= 0 && s->points[i].y <= 300);
  arena_destroy(a);
}

static void test_smoothing_keeps_lines_and_ends(void **state) {
  (void)state;
  arena *a = arena_create("test");
  double y[200];
  for (u32 i = 0; i < 200; i++) y[i] = i == 50 ? NAN : 3 - 0.01 * i;
  const double *smooth = picture_chart_smooth(a, y, 200, 31);
  for (u32 i = 0; i < 200; i++) assert_true(fabs(smooth[i] - (3 - 0.01 * i)) < 1e-9);
  const double one = 7;
  assert_true(picture_chart_smooth(a, &one, 1, 31)[0] == 7);
  arena_destroy(a);
}

static void draw_all(arena *a, const step_sim *s, picture out[5]) {
  const step_parts parts = parts_of(s);
  const timeline whole = {0}, block = {.first_phase = 1, .phase_count = 4};
  picture_wafer(&out[0], a, &parts, 940);
  picture_wafer(&out[1], a, &parts, 160);
  picture_timeline(&out[2], a, &parts, &whole);
  picture_timeline(&out[3], a, &parts, &block);
  picture_step_cycles(&out[4], a, &parts, 940);
}

static void test_step_pictures(void **state) {
  (void)state;
  arena *a = arena_create("test");
  step_sim s;
  fake_step(&(fake_options){.layers = 3, .repeat = 5, .host_cycles = 900}, a, &s);
  picture first[5], second[5];
  draw_all(a, &s, first);
  draw_all(a, &s, second);
  for (u32 i = 0; i < 5; i++) assert_string_equal(svg_of(&first[i], false, a), svg_of(&second[i], false, a));
  const char *wafer = svg_of(&first[0], true, a), *time = svg_of(&first[2], true, a),
             *block = svg_of(&first[3], true, a);
  assert_non_null(strstr(wafer, "2 of 7 columns each"));
  assert_non_null(strstr(wafer, "13 sequences, 5 times a step"));
  assert_non_null(strstr(wafer, "2 columns, 2 rows")); // 2 x 7 of 16, 14 of 16
  assert_non_null(strstr(time, ">stream in<"));
  assert_non_null(strstr(time, "5 times in all"));
  assert_non_null(strstr(block, "h0.attn.qkv (linear): 3.00 k cycles"));
  assert_null(strstr(wafer, "http"));
  arena_destroy(a);
}

static void test_thousands_of_phases(void **state) {
  (void)state;
  arena *a = arena_create("test");
  step_sim s;
  fake_step(&(fake_options){.layers = 2000, .repeat = 1, .host_cycles = 900}, a, &s);
  assert_true(s.program.phase_count > 20000);
  const step_parts parts = parts_of(&s);
  picture p;
  picture_timeline(&p, a, &parts, &(timeline){.w = 960});
  u32 thin = 0, shapes = 0;
  for (const picture_shape *shape = p.first; shape; shape = shape->next) {
    shapes++;
    thin += shape->kind == SHAPE_RECT && shape->points[1].x < 0.49;
  }
  assert_true(shapes < 5000);
  assert_int_equal(thin, 0);
  assert_true(strlen(svg_of(&p, false, a)) < 600000);
  arena_destroy(a);
}

static void test_hostile_words(void **state) {
  (void)state;
  arena *a = arena_create("test");
  picture p;
  picture_init(&p, a, 100, 100, "a <title> & \"more\"");
  picture_text(&p, (picture_point){1, 2}, (picture_letters){12, INK_TEXT, 0, 0, 0},
               "</text><script>x</script>\x01\xff\xc3(");
  picture_rect(&p, (picture_box){1, 1, 2, 2}, (picture_style){.fill = INK_BLUE, .tip = "<&>\xed\xa0\x80"});
  const char *svg = svg_of(&p, false, a);
  assert_null(strstr(svg, "<script"));
  assert_non_null(strstr(svg, "&lt;script&gt;"));
  assert_null(strchr(svg, '\x01'));
  assert_null(strchr(svg, '\xff'));
  arena_destroy(a);
}

static char *file_bytes(arena *a, const char *path, size_t *ret_size) {
  status st = {0};
  char *data = NULL;
  support_ok(file_read(path, a, &data, ret_size, &st), &st);
  return data;
}

static void test_files(void **state) {
  (void)state;
  arena *a = arena_create("test");
  char folder[512];
  support_folder(folder, sizeof folder);
  step_sim s;
  fake_step(&(fake_options){.layers = 2, .repeat = 1}, a, &s);
  const step_parts parts = parts_of(&s);
  picture p;
  picture_wafer(&p, a, &parts, 940);
  status st = {0};
  const char *png = arena_format(a, "%s/wafer.png", folder), *svg = arena_format(a, "%s/wafer.svg", folder);
  support_ok(picture_save(&p, png, &st), &st);
  support_ok(picture_save(&p, svg, &st), &st);
  size_t size, again;
  const char *bytes = file_bytes(a, png, &size);
  assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n", 8);
  const u8 *head = (const u8 *)bytes + 16; // width and height, big-endian
  assert_int_equal(head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3], 2 * 940);
  support_ok(picture_save(&p, png, &st), &st);
  assert_memory_equal(bytes, file_bytes(a, png, &again), size);
  assert_int_equal(size, again);
  assert_string_equal(file_bytes(a, svg, &size), svg_of(&p, false, a));
  support_failed(picture_save(&p, arena_format(a, "%s/wafer.gif", folder), &st), &st, CODE_USAGE, ".svg or .png");
  status_clear(&st);
  support_failed(picture_save(&p, arena_format(a, "%s/none/wafer.png", folder), &st), &st, CODE_CANT_CREATE,
                 "wafer.png");
  support_remove(folder);
  arena_destroy(a);
}

static void test_numbers_on_axes(void **state) {
  (void)state;
  arena *a = arena_create("test");
  assert_string_equal(picture_number(a, 0, 5), "0");
  assert_string_equal(picture_number(a, 2000, 500), "2000");
  assert_string_equal(picture_number(a, 20000, 5000), "20k");
  assert_string_equal(picture_number(a, 1.5e6, 5e5), "1.5M");
  assert_string_equal(picture_number(a, 0.25, 0.05), "0.25");
  assert_string_equal(picture_number(a, -3, 1), "-3");
  assert_string_equal(picture_count(a, 0), "0");
  assert_string_equal(picture_count(a, 859560), "859,560");
  assert_string_equal(picture_count(a, 1000000), "1,000,000");
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chart_survives_any_values),
      cmocka_unit_test(test_long_line_stays_small),
      cmocka_unit_test(test_stated_limits_cut_lines),
      cmocka_unit_test(test_smoothing_keeps_lines_and_ends),
      cmocka_unit_test(test_step_pictures),
      cmocka_unit_test(test_thousands_of_phases),
      cmocka_unit_test(test_hostile_words),
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_numbers_on_axes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
