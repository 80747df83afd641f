// A graph by hand on the fabric, in tests.
#include "tests/weave_support.h"

// What a phase prints is a program: it reads back with the same identity.
static void check_text(const dataflow *d) {
  arena *a = arena_create("text");
  text page = {0};
  status st = {0};
  dataflow again;
  dataflow_print(d, &page);
  support_ok(dataflow_parse("phase", text_get(&page), page.size, a, &again, &st), &st);
  assert_true(dataflow_hash(&again) == dataflow_hash(d));
  text_free(&page);
  arena_destroy(a);
}

void weave_support_run(weave_case *c, const char *preset, u32 width, u32 height, df_type type) {
  const machine m = sim_machine(preset, NULL);
  weave_support_run_on(c, &m, width, height, type);
}

void weave_support_run_on(weave_case *c, const machine *m, u32 width, u32 height, df_type type) {
  status st = {0};
  if (!weave_case_weave(c, m, width, height, type, &st) || !weave_case_run(c, &st))
    fail_msg("%ux%u: %s", width, height, st.text);
  for (u32 p = 0; p < c->step.phase_count; p++) check_text(&c->step.phases[p].flow);
}
