// Operations of a training step as kernels: on grids of all kinds, printed and read back, and as a command.
#include "runtime/kernel_woven.h"
#include "tests/child.h"
#include "tests/sim_support.h"

#include <string.h>

typedef struct sizes {
  u32 width, height, features, outputs, tokens, sequences, heads;
} sizes;

// 1x1, 1xN, Nx1, sizes that divide nothing, a grid larger than the tensor, a sequence over several rows, several
// sequences per row.
static const sizes all_sizes[] = {{1, 1, 6, 4, 4, 2, 2},  {5, 1, 10, 7, 3, 2, 2}, {1, 6, 7, 9, 8, 3, 1},
                                  {4, 3, 14, 9, 5, 7, 7}, {9, 8, 4, 3, 6, 2, 1},  {3, 6, 12, 11, 12, 2, 3},
                                  {2, 2, 8, 5, 3, 5, 4}};

static kernel_woven_request request(const char *name, const machine *m, const sizes *s) {
  return (kernel_woven_request){.name = name,
                                .machine = m,
                                .width = s->width,
                                .height = s->height,
                                .features = s->features,
                                .outputs = s->outputs,
                                .tokens = s->tokens,
                                .sequences = s->sequences,
                                .heads = s->heads};
}

static void check(kernel_woven_request r, bool must_be_equal) {
  status st = {0};
  kernel_outcome o;
  support_ok(kernel_woven_run(&r, &o, &st), &st);
  if (!o.pass || (must_be_equal && !o.equal))
    fail_msg("%s %s on %ux%u, type %u: %s is %.3g away, at most %.3g", r.name, r.pattern ? r.pattern : "", r.width,
             r.height, r.type, o.where, o.largest, o.tolerance);
  assert_true(o.checked && o.compared > 0 && o.fabric.cycles > 0);
}

static bool sums_only(const char *name) {
  static const char *const names[] = {"linear",   "grad_x",        "grad_w", "activation", "activation_grad",
                                      "residual", "residual_grad", "embed",  "embed_grad"};
  for (u32 i = 0; i < COUNT_OF(names); i++)
    if (strcmp(names[i], name) == 0) return true;
  return false;
}

static void test_every_kernel_on_every_grid(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  for (u32 k = 0; k < kernel_woven_count(); k++)
    for (u32 i = 0; i < COUNT_OF(all_sizes); i++)
      for (u32 type = DF_F32; type <= DF_BF16; type++)
        for (u32 random = 0; random < 2; random++) {
          kernel_woven_request r = request(kernel_woven_get(k)->name, &m, &all_sizes[i]);
          r.type = type;
          r.random = random;
          r.seed = i + 1;
          check(r, !random && sums_only(r.name));
        }
}

static void test_patterns(void **state) {
  (void)state;
  static const char *const named[][2] = {{"attention", "alibi"},  {"attention_grad", "alibi"},
                                         {"activation", "gelu"},  {"activation", "gelu_erf"},
                                         {"activation", "relu2"}, {"activation_grad", "gelu_erf"}};
  const machine m = sim_machine("cs2", NULL);
  for (u32 i = 0; i < COUNT_OF(named); i++) {
    kernel_woven_request r = request(named[i][0], &m, &all_sizes[3]);
    r.pattern = named[i][1];
    r.random = true;
    r.seed = 5;
    check(r, false);
  }
}

// What a kernel prints is a program: it reads back with the same identity, and prints the same.
static void test_text(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  for (u32 k = 0; k < kernel_woven_count(); k++)
    for (u32 i = 2; i < 4; i++) {
      arena *a = arena_create("kernel");
      kernel_woven_request r = request(kernel_woven_get(k)->name, &m, &all_sizes[i]);
      status st = {0};
      text page = {0}, again = {0};
      dataflow d;
      r.type = DF_F16;
      support_ok(kernel_woven_print(&r, &page, &st), &st);
      support_ok(dataflow_parse("kernel", text_get(&page), page.size, a, &d, &st), &st);
      support_ok(dataflow_check(&d, &m, &st), &st);
      dataflow_print(&d, &again);
      assert_string_equal(text_get(&page), text_get(&again));
      text_free(&page);
      text_free(&again);
      arena_destroy(a);
    }
}

static void refused(kernel_woven_request r, status_code code, const char *words) {
  status st = {0};
  kernel_outcome o;
  support_failed(kernel_woven_run(&r, &o, &st), &st, code, words);
}

static void test_refusals(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  kernel_woven_request r = request("attention", &m, &all_sizes[0]);
  r.heads = 4;
  refused(r, CODE_USAGE, "4 heads do not divide 6 features");
  r.heads = 2;
  r.pattern = "alibe";
  refused(r, CODE_USAGE, "plain|alibi");
  r = request("linear", &m, &all_sizes[0]);
  r.pattern = "plain";
  refused(r, CODE_USAGE, "no pattern");
  r = request("linear", &m, &all_sizes[0]);
  r.features = r.outputs = 4096;
  r.tokens = 16;
  refused(r, CODE_CONFIG, "a PE has 49152");
  r.width = 100000;
  refused(r, CODE_CONFIG, "the machine offers");
}

static void expect(const char *folder, const char *const *arguments, int code, const char *words) {
  child c = child_run(folder, arguments);
  if (c.code != code || !strstr(code ? c.err : c.out, words))
    fail_msg("code %d, \"%s\" not in: %s%s", c.code, words, c.out, c.err);
  child_free(&c);
}

static void test_command(void **state) {
  (void)state;
  char folder[256];
  support_folder(folder, sizeof folder);
  expect(folder, CHILD_ARGS("kernel"), 0, "attention_grad");
  expect(folder, CHILD_ARGS("kernel", "linear", "--grid", "3x2", "--outputs", "9"), 0, "equal in all 288 values");
  expect(folder, CHILD_ARGS("kernel", "layernorm", "--dtype", "bf16", "--seed", "2", "--json"), 0, "\"pass\": true");
  expect(folder, CHILD_ARGS("kernel", "loss", "--print"), 0, "\nclass ");
  expect(folder, CHILD_ARGS("kernel", "loss", "--words", "8"), 2, "looks at grid features tokens sequences");
  expect(folder, CHILD_ARGS("kernel", "summa", "--features", "8"), 2, "looks at grid tile");
  expect(folder, CHILD_ARGS("kernel", "atention"), 2, "did you mean \"attention\"?");
  expect(folder, CHILD_ARGS("kernel", "atention"), 2, "summa");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_kernel_on_every_grid),
      cmocka_unit_test(test_patterns),
      cmocka_unit_test(test_text),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_command),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
