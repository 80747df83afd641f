// A graph by hand on the fabric, in tests.
#include "tests/weave_support.h"

void weave_support_run(weave_case *c, const char *preset, u32 width, u32 height, df_type type) {
  status st = {0};
  const machine m = sim_machine(preset, NULL);
  if (!weave_case_weave(c, &m, width, height, type, &st) || !weave_case_run(c, &st))
    fail_msg("%ux%u: %s", width, height, st.text);
}
